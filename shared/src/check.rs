//! What `--check` prints, alike in both programs: the values in effect, then what became of each check.
//!
//! ```text
//! # ./smartmeter-config.yml
//! send_interval: 60                                  # default
//! …
//!
//! # ok     queue: queue will be made, writable; 12.3 GiB free on its disk
//! # FAILED port: /dev/ttyUSB0: no such device
//! ```
//!
//! All of it together is a valid configuration file: what is no value is a comment.

use std::fmt::Display;
use std::io::Write;

use crate::config::Loaded;
use crate::outside;

/// The lines, as they are printed. Where nobody reads them the exit code tells.
pub struct Report<'a> {
    output: &'a mut dyn Write,
    failed: u32,
}

impl<'a> Report<'a> {
    /// Prints the heading, the values in effect and the warnings that they give rise to.
    pub fn begin(loaded: &Loaded, output: &'a mut dyn Write) -> Self {
        let mut report = Self { output, failed: 0 };
        match &loaded.file {
            Some(file) => report.print(&format_args!("# {}", outside::escaped(&file.to_string_lossy()))),
            None => report.print(&"# no configuration file: flags, environment and defaults"),
        }
        report.print(&loaded.effective);
        for warning in &loaded.warnings {
            report.note(warning);
        }
        report
    }

    /// Prints what became of the check of this name.
    pub fn take(&mut self, name: &str, outcome: &Result<String, String>) {
        match outcome {
            Ok(words) => self.line("ok", &format!("{name}: {words}")),
            Err(words) => {
                self.failed += 1;
                self.line("FAILED", &format!("{name}: {words}"));
            }
        }
    }

    /// Prints what is worth knowing and no failure.
    pub fn note(&mut self, words: &str) {
        self.line("note", words);
    }

    /// All checks are made.
    ///
    /// # Errors
    ///
    /// In words, where some failed.
    pub fn end(self) -> Result<(), String> {
        match self.failed {
            0 => Ok(()),
            1 => Err("a check failed".to_owned()),
            failed => Err(format!("{failed} checks failed")),
        }
    }

    fn line(&mut self, mark: &str, words: &str) {
        // A line that goes on is a comment as well.
        let words = words.trim_end().replace('\n', "\n#        ");
        self.print(&format_args!("# {mark:<7}{words}"));
    }

    fn print(&mut self, text: &dyn Display) {
        let _ = writeln!(self.output, "{}", outside::escaped_lines(&text.to_string()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::flags::Flags;
    use crate::config::load;

    #[test]
    fn results_stand_below_the_values_and_all_of_it_is_a_configuration() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("meter.yml");
        std::fs::write(&file, "send_interval: 7\n").unwrap();
        let flags = |config| Flags {
            config: Some(config),
            ..Flags::default()
        };
        let loaded = load(&flags(file.clone())).unwrap();
        let mut output = Vec::new();
        let mut report = Report::begin(&loaded, &mut output);
        report.take("port", &Err("is not there\nand never was\n".to_owned()));
        report.take("queue", &Ok("will be made".to_owned()));
        report.note("nothing else");
        assert_eq!(report.end(), Err("a check failed".to_owned()));

        let text = String::from_utf8(output).unwrap();
        assert!(
            text.starts_with(&format!("# {}\nsend_interval: 7", file.display())),
            "{text}"
        );
        let results = "\n\n# FAILED port: is not there\n#        and never was\n# ok     queue: will be made\n\
                       # note   nothing else\n";
        assert!(text.ends_with(results), "{text}");
        std::fs::write(&file, text).unwrap();
        assert_eq!(load(&flags(file)).unwrap().config, loaded.config);
    }

    #[test]
    fn nothing_failed_where_all_is_well() {
        let mut output = Vec::new();
        let loaded = load(&Flags::default()).unwrap();
        let mut report = Report::begin(&loaded, &mut output);
        report.take("port", &Ok("open".to_owned()));
        assert_eq!(report.end(), Ok(()));
        assert!(
            output.starts_with(b"# no configuration file"),
            "{}",
            output.escape_ascii()
        );
    }
}

//! The terminal: lines that stay, and one at the bottom that is written over. Where standard output is
//! no terminal, plain lines, and the one at the bottom only now and then.

use std::io::{IsTerminal, Write, stdout};
use std::time::{Duration, Instant};

/// Where the demo is shown.
pub(crate) struct Screen {
    is_terminal: bool,
    has_colour: bool,
    live: String,
    last_plain_live: Option<Instant>,
    frame: usize,
}

/// How a piece of text looks.
#[derive(Clone, Copy)]
pub(crate) enum Look {
    Title,
    Act,
    Dim,
    Good,
    Bad,
    Waiting,
}

const SPINNER: [char; 10] = ['⠋', '⠙', '⠹', '⠸', '⠼', '⠴', '⠦', '⠧', '⠇', '⠏'];
const PLAIN_LIVE_EVERY: Duration = Duration::from_secs(2);

impl Screen {
    pub(crate) fn of_this_terminal() -> Self {
        let is_terminal =
            stdout().is_terminal() && std::env::var_os("TERM").is_none_or(|term| term != "dumb");
        let has_colour = is_terminal && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        Self {
            is_terminal,
            has_colour,
            live: String::new(),
            last_plain_live: None,
            frame: 0,
        }
    }

    /// Text in a look, where there is colour.
    pub(crate) fn paint(&self, look: Look, text: &str) -> String {
        if !self.has_colour {
            return text.to_owned();
        }
        let code = match look {
            Look::Title => "1",
            Look::Act => "1;36",
            Look::Dim => "2",
            Look::Good => "1;32",
            Look::Bad => "1;31",
            Look::Waiting => "33",
        };
        format!("\u{1b}[{code}m{text}\u{1b}[0m")
    }

    /// A line that stays, above the live one.
    pub(crate) fn say(&mut self, line: &str) {
        self.write(&if self.is_terminal {
            format!("\r\u{1b}[2K{line}\n{}", self.live)
        } else {
            format!("{line}\n")
        });
    }

    /// The beginning of an act.
    pub(crate) fn act(&mut self, line: &str) {
        let line = self.paint(Look::Act, &format!("▶ {line}"));
        self.say("");
        self.say(&line);
    }

    /// What went wrong.
    pub(crate) fn complain(&mut self, error: &str) {
        self.end_live();
        let line = self.paint(Look::Bad, &format!("demo: {error}"));
        eprintln!("{line}");
    }

    /// Writes the live line over.
    pub(crate) fn live(&mut self, line: &str) {
        if self.is_terminal {
            self.frame = (self.frame + 1) % SPINNER.len();
            let spinner = SPINNER.get(self.frame).copied().unwrap_or(' ');
            self.live = format!("  {} {line}", self.paint(Look::Act, &spinner.to_string()));
            self.write(&format!("\r\u{1b}[2K{}", self.live));
        } else if self
            .last_plain_live
            .is_none_or(|last| last.elapsed() >= PLAIN_LIVE_EVERY)
        {
            self.last_plain_live = Some(Instant::now());
            self.write(&format!("    {line}\n"));
        }
    }

    /// The live line is done with.
    pub(crate) fn end_live(&mut self) {
        if self.is_terminal && !self.live.is_empty() {
            self.live.clear();
            self.write("\r\u{1b}[2K");
        }
        self.last_plain_live = None;
    }

    fn write(&self, text: &str) {
        // A terminal that is gone is no reason to stop counting.
        let mut output = stdout().lock();
        let _ = output.write_all(text.as_bytes());
        let _ = output.flush();
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        self.end_live();
    }
}

/// A bar of so many cells, `value` of `of` full.
pub(crate) fn bar(value: u64, of: u64, cells: usize) -> String {
    let eighths = if of == 0 {
        0
    } else {
        (value.min(of) as usize * cells * 8) / of as usize
    };
    let mut text = "█".repeat(eighths / 8);
    if let Some(part) = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"].get(eighths % 8) {
        text.push_str(part);
    }
    let used = eighths.div_ceil(8);
    text.push_str(&"·".repeat(cells.saturating_sub(used)));
    text
}

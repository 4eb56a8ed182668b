//! What a program tells whoever started it: the exit codes of both.
//!
//! The numbers are those of BSD's `sysexits.h`, which service managers and scripts know.

use std::process::ExitCode;

use clap::error::{ContextKind, ContextValue};

use crate::config::secret::may_be_in;
use crate::outside;

/// How a program ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Done, or told to stop.
    Done = 0,
    /// A check or an input failed.
    Failed = 1,
    /// The command line is wrong.
    Usage = 64,
    /// The queue's storage failed.
    Storage = 74,
    /// Something else is in the way; the same command may succeed later.
    TryAgain = 75,
    /// The configuration is wrong.
    Configuration = 78,
}

impl Exit {
    /// The number that the program ends with.
    pub fn code(self) -> u8 {
        self as u8
    }

    /// Prints what clap has to say where it belongs, help and version to standard output and mistakes
    /// to standard error, and tells how to end.
    pub fn after_clap(error: clap::Error) -> Self {
        let error = without_secrets(error);
        // Nobody is left to be told where the terminal has gone.
        let _ = error.print();
        if error.use_stderr() {
            Self::Usage
        } else {
            Self::Done
        }
    }
}

/// What may hold a secret is not shown: no value, and nothing that is glued to a letter as in `-pSECRET`.
fn without_secrets(mut error: clap::Error) -> clap::Error {
    let is_near_a_flag = error.get(ContextKind::SuggestedArg).is_some();
    for kind in [
        ContextKind::InvalidArg,
        ContextKind::InvalidSubcommand,
        ContextKind::InvalidValue,
    ] {
        let Some(ContextValue::String(text)) = error.get(kind) else {
            continue;
        };
        let shown = match text.strip_prefix("--").and_then(|name| name.chars().next()) {
            Some(letter @ ('p' | 'P')) if kind == ContextKind::InvalidArg && !is_near_a_flag => {
                format!("-{letter}…")
            }
            _ if text.starts_with('-') || !may_be_in(text) => outside::escaped(text).into_owned(),
            _ => "(not shown, since it may hold a secret)".to_owned(),
        };
        error.insert(kind, ContextValue::String(shown));
    }
    error
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_the_documented_ones() {
        let all = [
            Exit::Done,
            Exit::Failed,
            Exit::Usage,
            Exit::Storage,
            Exit::TryAgain,
            Exit::Configuration,
        ];
        assert_eq!(all.map(Exit::code), [0, 1, 64, 74, 75, 78]);
    }

    #[test]
    fn help_is_done_and_a_wrong_flag_is_usage() {
        let command = || clap::Command::new("x");
        let help = command()
            .try_get_matches_from(["x", "--help"])
            .expect_err("help ends the program");
        let wrong = command()
            .try_get_matches_from(["x", "--no-such"])
            .expect_err("there is no such flag");
        assert_eq!(Exit::after_clap(help), Exit::Done);
        assert_eq!(Exit::after_clap(wrong), Exit::Usage);
    }

    #[test]
    fn a_secret_on_the_command_line_is_not_printed_back() {
        for words in [
            &["--password", "hunter2"][..],
            &["--password=hunter2"],
            &["--Phunter"],
            &["me:hunter2@broker"],
            &["run", "me:hunter2@broker"],
        ] {
            let command = clap::Command::new("x").subcommand(clap::Command::new("run"));
            let wrong = command
                .try_get_matches_from(["x"].iter().chain(words))
                .expect_err("it is wrong");
            let printed = without_secrets(wrong).to_string();
            assert!(
                printed.contains("error:") && !printed.contains("unter"),
                "{printed}"
            );
        }
    }
}

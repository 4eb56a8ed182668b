//! What a program tells whoever started it: the exit codes of both.
//!
//! The numbers are those of BSD's `sysexits.h`, which service managers and scripts know.

use std::process::ExitCode;

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
    pub fn after_clap(error: &clap::Error) -> Self {
        // Nobody is left to be told where the terminal has gone.
        let _ = error.print();
        if error.use_stderr() {
            Self::Usage
        } else {
            Self::Done
        }
    }
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
        assert_eq!(Exit::after_clap(&help), Exit::Done);
        assert_eq!(Exit::after_clap(&wrong), Exit::Usage);
    }
}

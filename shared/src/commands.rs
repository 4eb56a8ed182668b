//! The names of the two programs as a person types them here. The Debian package installs them as `smartmeter-capture`
//! and `smartmeter-publisher`, since a name such as `capture` is too common for `/usr/bin`; hints, help and examples
//! say the name under which the program was started.

use std::ffi::{OsStr, OsString};
use std::path::Path;
use std::sync::LazyLock;

use clap::builder::StyledStr;
use clap::{Command, Parser};

/// What the package puts before both names.
const PREFIX: &str = "smartmeter-";
const PROGRAMS: [&str; 2] = ["capture", "publisher"];
const PACKAGED: [&str; 2] = ["smartmeter-capture", "smartmeter-publisher"];

/// A command line of one of the two programs, such as `capture status`, as it is typed here.
pub fn command(line: &str) -> String {
    format!("{}{line}", *HERE)
}

/// Parses a command line; its help and examples have the names that are typed here.
///
/// # Errors
/// As clap's.
pub fn parse<T: Parser>(arguments: Vec<OsString>) -> Result<T, clap::Error> {
    let mut command = named(&HERE, T::command());
    let mut matches = command.try_get_matches_from_mut(arguments)?;
    T::from_arg_matches_mut(&mut matches).map_err(|error| error.format(&mut command))
}

/// What stands before the programs' names here.
static HERE: LazyLock<&str> = LazyLock::new(|| {
    let started_as = std::env::args_os().next().unwrap_or_default();
    prefix_of(&started_as)
});

fn prefix_of(started_as: &OsStr) -> &'static str {
    let name = Path::new(started_as).file_name().and_then(OsStr::to_str);
    let is_packaged = name.is_some_and(|name| PACKAGED.contains(&name));
    if is_packaged { PREFIX } else { "" }
}

fn named(prefix: &str, command: Command) -> Command {
    if prefix.is_empty() {
        return command;
    }
    let again = |text: Option<&StyledStr>| text.map(|text| examples(prefix, &text.to_string()));
    let after_help = again(command.get_after_help());
    let command = match after_help {
        Some(after_help) => command.after_help(after_help),
        None => command,
    };
    let command = command.mut_args(|argument| match again(argument.get_help()) {
        Some(help) => argument.help(help),
        None => argument,
    });
    let mut programs = PROGRAMS.iter().zip(PACKAGED);
    let name = programs.find(|(program, _)| command.get_name() == **program);
    let command = match name {
        Some((_, packaged)) => command.name(packaged),
        None => command,
    };
    command.mut_subcommands(|subcommand| named(prefix, subcommand))
}

/// The text with the prefix before each name that begins a command line.
fn examples(prefix: &str, text: &str) -> String {
    let mut text = text.to_owned();
    for program in PROGRAMS {
        for before in ["  ", "| ", "`"] {
            text = text.replace(
                &format!("{before}{program} "),
                &format!("{before}{prefix}{program} "),
            );
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_under_which_a_program_was_started_tells_how_both_are_called() {
        for (started_as, prefix) in [
            ("capture", ""),
            ("target/release/publisher", ""),
            ("/usr/bin/smartmeter-capture", PREFIX),
            ("smartmeter-publisher", PREFIX),
            ("/opt/smartmeter-reader/capture", ""),
            ("smartmeter-test", ""),
            ("", ""),
        ] {
            assert_eq!(prefix_of(OsStr::new(started_as)), prefix, "{started_as}");
        }
    }

    #[test]
    fn only_what_begins_a_command_line_is_a_name() {
        assert_eq!(
            examples(
                PREFIX,
                "Examples:\n  capture export --from 1h | publisher parse -\nThis is what capture does; see `capture status`"
            ),
            "Examples:\n  smartmeter-capture export --from 1h | smartmeter-publisher parse -\nThis is what capture does; \
             see `smartmeter-capture status`"
        );
    }
}

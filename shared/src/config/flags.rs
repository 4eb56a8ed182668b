//! The flags that both programs share, and command lines as they were written for the Go program.
//!
//! Flags are taken as text and checked together with the file, so that a mistake reads the same
//! wherever it was made. [`normalize`] goes before clap: it turns `-usb X` into `--usb X`, `-debug true`
//! into `--debug=true`, and splits one argument that holds a whole command line.

use std::ffi::OsString;
use std::path::PathBuf;

use super::key::DEBUG;

/// The flags of both programs, as given. A flag given twice counts as last given.
#[derive(Debug, Clone, Default, PartialEq, Eq, clap::Args)]
pub struct Flags {
    /// Configuration file; without it the first of ./smartmeter-config.yml,
    /// /config/smartmeter-reader.yml and /etc/smartmeter-reader/smartmeter-reader.yml [env: SMARTMETER_CONFIG]
    #[arg(long, value_name = "FILE", global = true, overrides_with = "config", help_heading = HEADING)]
    pub config: Option<PathBuf>,

    /// Print every telegram and log at debug level [env: SMARTMETER_DEBUG]
    #[arg(
        long, value_name = "BOOL", global = true, overrides_with = "debug", help_heading = HEADING,
        num_args = 0..=1, require_equals = true, default_missing_value = "true"
    )]
    pub debug: Option<String>,

    /// Seconds an interval lasts; 0 publishes every telegram as it comes [env: SMARTMETER_INTERVAL]
    #[arg(
        long, value_name = "SECONDS", global = true, overrides_with = "interval", help_heading = HEADING,
        allow_hyphen_values = true
    )]
    pub interval: Option<String>,

    /// Broker, such as localhost:1883 or mqtts://broker; several with commas between
    /// [env: SMARTMETER_MQTT_ADDRESS]
    #[arg(
        long = "mqtt_address", alias = "mqtt-address", value_name = "ADDRESS", global = true,
        overrides_with = "mqtt_address", help_heading = HEADING
    )]
    pub mqtt_address: Option<String>,

    /// Java properties file with the broker's `user` and `password` [env: SMARTMETER_MQTT_CRED_FILE]
    #[arg(
        long = "mqtt_cred_file", alias = "mqtt-cred-file", value_name = "FILE", global = true,
        overrides_with = "mqtt_cred_file", help_heading = HEADING
    )]
    pub mqtt_cred_file: Option<String>,

    /// Topic of the readings [env: SMARTMETER_MQTT_TOPIC]
    #[arg(
        long = "mqtt_topic", alias = "mqtt-topic", value_name = "TOPIC", global = true,
        overrides_with = "mqtt_topic", help_heading = HEADING
    )]
    pub mqtt_topic: Option<String>,

    /// Where the telegrams come from: a serial device, tcp://host:port or file:PATH [env: SMARTMETER_USB]
    #[arg(long, value_name = "PORT", global = true, overrides_with = "usb", help_heading = HEADING)]
    pub usb: Option<String>,

    /// Capture's queue folder [env: SMARTMETER_QUEUE]
    #[arg(long, value_name = "FOLDER", global = true, overrides_with = "queue", help_heading = HEADING)]
    pub queue: Option<String>,

    /// Where capture serves the queue [env: SMARTMETER_SOCKET]
    #[arg(long, value_name = "PATH", global = true, overrides_with = "socket", help_heading = HEADING)]
    pub socket: Option<String>,

    /// Users beside root and capture's own who may commit, register consumers, forget and append through the
    /// socket: names or numeric ids with commas between [env: SMARTMETER_QUEUE_WRITERS]
    #[arg(
        long = "queue_writers", alias = "queue-writers", value_name = "USERS", global = true,
        overrides_with = "queue_writers", help_heading = HEADING
    )]
    pub queue_writers: Option<String>,

    /// Check the configuration, the credentials, the port, the socket and the broker, print the values
    /// in effect without secrets, and exit [env: SMARTMETER_CHECK]
    #[arg(
        long, global = true, overrides_with = "check", help_heading = HEADING,
        env = "SMARTMETER_CHECK", hide_env = true, value_parser = clap::builder::FalseyValueParser::new()
    )]
    pub check: bool,
}

const HEADING: &str = "Configuration (a flag stands for a key that the file leaves out)";

impl Flags {
    /// The names of all flags, without dashes.
    pub fn names() -> impl Iterator<Item = &'static str> {
        NAMES.into_iter()
    }

    /// What was given for the flag of that name that stands for a key.
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        match name {
            "debug" => self.debug.as_deref(),
            "interval" => self.interval.as_deref(),
            "mqtt_address" => self.mqtt_address.as_deref(),
            "mqtt_cred_file" => self.mqtt_cred_file.as_deref(),
            "mqtt_topic" => self.mqtt_topic.as_deref(),
            "usb" => self.usb.as_deref(),
            "queue" => self.queue.as_deref(),
            "socket" => self.socket.as_deref(),
            "queue_writers" => self.queue_writers.as_deref(),
            _ => None,
        }
    }
}

const NAMES: [&str; 11] = [
    "config",
    "debug",
    "interval",
    "mqtt_address",
    "mqtt_cred_file",
    "mqtt_topic",
    "usb",
    "queue",
    "socket",
    "queue_writers",
    "check",
];

/// A command line as clap reads it, from one as people write it; the first item is the program's name.
///
/// * An argument that begins with `-` and holds blanks is a command line of its own, as the Go image's
///   users hand it to docker: `"-config /config/x.yml -debug"`. Quotes group words in it, and after
///   `--name=` the words up to the next dash belong to the value.
/// * `-name` is `--name` where the name has two letters or more.
/// * `-debug true` and `-debug false` are `--debug=true` and `--debug=false`.
///
/// What follows `--` is left as it is.
pub fn normalize(arguments: impl IntoIterator<Item = OsString>) -> Vec<OsString> {
    let mut arguments = arguments.into_iter();
    let mut normal: Vec<OsString> = arguments.next().into_iter().collect();
    let mut words = Vec::new();
    let mut is_literal = false;
    for argument in arguments {
        is_literal |= argument == "--";
        match argument.to_str() {
            Some(text) if !is_literal && text.starts_with('-') && text.contains(char::is_whitespace) => {
                words.extend(split(text).into_iter().map(OsString::from));
            }
            _ => words.push(argument),
        }
    }

    let mut words = words.into_iter().peekable();
    while let Some(word) = words.next() {
        if word == "--" {
            normal.push(word);
            normal.extend(words);
            break;
        }
        let word = with_two_dashes(word);
        let is_debug = DEBUG
            .flag
            .is_some_and(|flag| word.to_str().and_then(|text| text.strip_prefix("--")) == Some(flag));
        let value = words.next_if(|next| {
            is_debug
                && next
                    .to_str()
                    .is_some_and(|next| ["true", "false"].contains(&next.to_ascii_lowercase().as_str()))
        });
        normal.push(match value {
            Some(value) => [word, value].join("=".as_ref()),
            None => word,
        });
    }
    normal
}

fn with_two_dashes(word: OsString) -> OsString {
    let Some(text) = word.to_str() else { return word };
    let name = text.split('=').next().unwrap_or(text);
    let is_long = name.strip_prefix('-').is_some_and(|name| {
        name.len() > 1
            && name.starts_with(|c: char| c.is_ascii_alphabetic())
            && name
                .chars()
                .all(|c| c.is_ascii_alphabetic() || c == '_' || c == '-')
    });
    if is_long {
        OsString::from(format!("-{text}"))
    } else {
        word
    }
}

/// The words of a command line, which quotes may group.
fn split(line: &str) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    for c in line.chars() {
        match quote {
            Some(open) if c == open => quote = None,
            Some(_) => word.get_or_insert_default().push(c),
            None if c == '"' || c == '\'' => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            None if c.is_whitespace() => words.extend(word.take()),
            None => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);

    let mut grouped: Vec<String> = Vec::new();
    for word in words {
        match grouped.last_mut() {
            Some(last) if last.starts_with('-') && last.contains('=') && !word.starts_with('-') => {
                last.push(' ');
                last.push_str(&word);
            }
            _ => grouped.push(word),
        }
    }
    grouped
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    /// A program with the shared flags and a command of its own.
    #[derive(Debug, Parser)]
    struct Program {
        #[command(flatten)]
        flags: Flags,
        #[command(subcommand)]
        command: Option<Command>,
    }

    #[derive(Debug, PartialEq, Eq, clap::Subcommand)]
    enum Command {
        Run,
        Parse {
            files: Vec<String>,
        },
        Replay {
            #[arg(long)]
            from: String,
        },
    }

    fn program(arguments: &[&str]) -> Program {
        let arguments = ["capture"].iter().chain(arguments).map(OsString::from);
        let normal = normalize(arguments);
        Program::try_parse_from(&normal).unwrap_or_else(|error| panic!("{normal:?}: {error}"))
    }

    fn flags(arguments: &[&str]) -> Flags {
        program(arguments).flags
    }

    #[test]
    fn command_lines_of_the_go_program_are_read() {
        let expected = Flags {
            config: Some("/config/smartmeter-reader.yml".into()),
            debug: Some("true".into()),
            interval: Some("10".into()),
            mqtt_address: Some("broker:1883".into()),
            mqtt_cred_file: Some("/run/secrets/mqtt.properties".into()),
            mqtt_topic: Some("home/meter".into()),
            usb: Some("/dev/ttyUSB1".into()),
            ..Flags::default()
        };
        let separate = [
            "-config",
            "/config/smartmeter-reader.yml",
            "-debug",
            "-interval",
            "10",
            "-mqtt_address",
            "broker:1883",
            "-mqtt_cred_file",
            "/run/secrets/mqtt.properties",
            "-mqtt_topic",
            "home/meter",
            "-usb",
            "/dev/ttyUSB1",
        ];
        let joined = [
            "-config=/config/smartmeter-reader.yml",
            "-debug=true",
            "-interval=10",
            "-mqtt_address=broker:1883",
            "-mqtt_cred_file=/run/secrets/mqtt.properties",
            "-mqtt_topic=home/meter",
            "-usb=/dev/ttyUSB1",
        ];
        let two_dashes: Vec<String> = separate
            .iter()
            .map(|word| {
                if word.starts_with('-') {
                    format!("-{word}")
                } else {
                    (*word).to_owned()
                }
            })
            .collect();
        assert_eq!(flags(&separate), expected);
        assert_eq!(flags(&joined), expected);
        assert_eq!(
            flags(&two_dashes.iter().map(String::as_str).collect::<Vec<_>>()),
            expected
        );
        assert_eq!(
            flags(&[&separate.join(" ")]),
            expected,
            "one argument with blanks, as docker hands it over"
        );
        assert_eq!(flags(&[&joined.join(" ")]), expected);
    }

    #[test]
    fn a_switch_may_stand_alone_or_with_a_value() {
        for (arguments, debug) in [
            (&["-debug"][..], "true"),
            (&["-debug=true"], "true"),
            (&["-debug", "true"], "true"),
            (&["--debug", "false"], "false"),
            (&["-debug=false"], "false"),
            (&["-debug true"], "true"),
            (&["-debug", "-usb", "/dev/x"], "true"),
        ] {
            assert_eq!(
                flags(arguments).debug.as_deref(),
                Some(debug),
                "for {arguments:?}"
            );
        }
        let program = program(&["-debug", "run"]);
        assert_eq!(
            program.command,
            Some(Command::Run),
            "a command after the switch is no value of it"
        );
    }

    #[test]
    fn flags_stand_before_and_after_a_command() {
        for arguments in [["-usb", "/dev/x", "run"], ["run", "-usb", "/dev/x"]] {
            assert_eq!(flags(&arguments).usb.as_deref(), Some("/dev/x"));
        }
    }

    #[test]
    fn the_last_of_a_repeated_flag_counts() {
        assert_eq!(
            flags(&["-interval", "10", "-interval=20"]).interval.as_deref(),
            Some("20")
        );
        assert_eq!(flags(&["-debug", "-debug=false"]).debug.as_deref(), Some("false"));
        assert!(flags(&["--check", "-check"]).check);
    }

    #[test]
    fn the_flags_of_this_program_are_read_too() {
        let flags = flags(&["--queue", "/q", "-socket=/s", "-check", "--mqtt-topic", "t"]);
        assert_eq!(
            (flags.queue.as_deref(), flags.socket.as_deref(), flags.check),
            (Some("/q"), Some("/s"), true)
        );
        assert_eq!(flags.mqtt_topic.as_deref(), Some("t"));
    }

    #[test]
    fn values_keep_their_blanks() {
        assert_eq!(
            flags(&["-usb", "/dev/my meter"]).usb.as_deref(),
            Some("/dev/my meter")
        );
        assert_eq!(
            flags(&["-usb=/dev/my meter"]).usb.as_deref(),
            Some("/dev/my meter")
        );
        assert_eq!(
            flags(&["-usb '/dev/my meter' -debug"]).usb.as_deref(),
            Some("/dev/my meter")
        );
        let command = program(&["replay", "--from=2026-11-20 08:00"]).command;
        assert_eq!(
            command,
            Some(Command::Replay {
                from: "2026-11-20 08:00".into()
            })
        );
    }

    #[test]
    fn a_single_dash_and_what_follows_two_are_left_alone() {
        assert_eq!(
            program(&["parse", "-"]).command,
            Some(Command::Parse {
                files: vec!["-".into()]
            })
        );
        let command = program(&["parse", "--", "-debug", "-a b"]).command;
        assert_eq!(
            command,
            Some(Command::Parse {
                files: vec!["-debug".into(), "-a b".into()]
            })
        );
        for word in ["-h", "-V", "-5", "-2h"] {
            assert_eq!(normalize(["x".into(), word.into()]), ["x", word]);
        }
    }

    #[test]
    fn every_flag_is_listed_and_names_its_variable_in_the_help() {
        use clap::CommandFactory;
        let command = Program::command();
        let mut listed: Vec<&str> = command.get_arguments().filter_map(clap::Arg::get_long).collect();
        listed.sort_unstable();
        let mut names: Vec<&str> = Flags::names().collect();
        names.sort_unstable();
        assert_eq!(listed, names);
        for argument in command.get_arguments() {
            let name = argument.get_long().expect("every flag has a name");
            let help = argument.get_help().map(ToString::to_string).unwrap_or_default();
            let variable = super::super::key::environment_variable(name);
            assert!(help.contains(&format!("[env: {variable}]")), "--{name}: {help}");
        }
    }

    #[test]
    fn every_key_that_a_flag_stands_for_is_read_from_it() {
        let all = [
            "-debug",
            "-interval",
            "1",
            "-mqtt_address",
            "a",
            "-mqtt_cred_file",
            "b",
            "-mqtt_topic",
            "c",
            "-usb",
            "d",
            "-queue",
            "e",
            "-socket",
            "f",
            "-queue_writers",
            "g",
        ];
        let flags = flags(&all);
        for key in super::super::key::ALL {
            if let Some(flag) = key.flag {
                assert!(
                    flags.text(flag).is_some(),
                    "--{flag} is not read for {}",
                    key.path
                );
            }
        }
    }
}

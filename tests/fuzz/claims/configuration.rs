//! Any file, flags and environment are a configuration or mistakes that fit a terminal, and the listing of what is in
//! effect is a configuration file that says the same.
//!
//! The input is the file, and behind zero bytes the values of flags and of environment variables, in turn.

use shared::config::flags::Flags;
use shared::config::{ConfigError, Environment, Loaded, load_from};

use super::scratch::File;

/// A mistake shows at most 80 characters of a value, beside its key's and file's name.
const LONGEST_LINE_CHARS: usize = 1_000;
/// Fifty mistakes, and a line before and after them.
const MOST_LINES: usize = 52;

const VARIABLES: [&str; 10] = [
    "SMARTMETER_DEBUG",
    "SMARTMETER_INTERVAL",
    "SMARTMETER_MQTT_ADDRESS",
    "SMARTMETER_MQTT_CRED_FILE",
    "SMARTMETER_MQTT_TOPIC",
    "SMARTMETER_USB",
    "SMARTMETER_QUEUE",
    "SMARTMETER_SOCKET",
    "SMARTMETER_QUEUE_WRITERS",
    "SMARTMETER_QUEUE_PATH",
];

/// Asserts every claim for these bytes. Whether they are a configuration whose listing was read again.
pub(crate) fn hold_for(bytes: &[u8]) -> bool {
    let mut parts = bytes.split(|byte| *byte == 0);
    let file = File::holding("configuration", parts.next().unwrap_or_default());
    let mut next = || parts.next().filter(|part| !part.is_empty());
    let mut text = || next().map(|part| String::from_utf8_lossy(part).into_owned());
    let flags = Flags {
        debug: text(),
        interval: text(),
        mqtt_address: text(),
        mqtt_cred_file: text(),
        mqtt_topic: text(),
        usb: text(),
        queue: text(),
        socket: text(),
        queue_writers: text(),
        config: None,
        check: false,
    };
    let environment: Environment = VARIABLES
        .iter()
        .filter_map(|name| {
            let part = next()?;
            Some(((*name).to_owned(), String::from_utf8(part.to_vec()).ok()))
        })
        .collect();
    match load(&file, &flags, &environment) {
        Ok(loaded) => {
            let listing = loaded.effective.to_string();
            fits_a_terminal(&listing);
            loaded
                .warnings
                .iter()
                .for_each(|warning| fits_a_terminal(warning));
            if listing.contains("(given, not shown)") {
                return false;
            }
            let listed = File::holding("listing", listing.as_bytes());
            match load(&listed, &Flags::default(), &Environment::new()) {
                Ok(again) => assert_eq!(again.config, loaded.config, "{listing}"),
                Err(error) => panic!("{error}\nin the listing\n{listing}"),
            }
            true
        }
        Err(error) => {
            let words = error.to_string();
            fits_a_terminal(&words);
            assert!(words.lines().count() <= MOST_LINES, "{words}");
            for line in words.lines() {
                assert!(line.chars().count() <= LONGEST_LINE_CHARS, "{line}");
            }
            false
        }
    }
}

fn load(file: &File, flags: &Flags, environment: &Environment) -> Result<Loaded, ConfigError> {
    load_from(flags, environment, &[file.path().to_owned()], "host")
}

fn fits_a_terminal(words: &str) {
    let raw = words
        .chars()
        .find(|character| character.is_control() && *character != '\n');
    assert_eq!(raw, None, "{words:?}");
}

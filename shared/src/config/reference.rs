//! Holds three lists of keys together: the code's, the reference file's and the README's table.
//!
//! In `config/smartmeter-reader.example.yml` a line `#name: value`, without a blank after the `#`, is a setting
//! that is off; prose has a blank there. Above each setting a line of prose says `Default: …`.

use std::path::Path;

use super::key::{self, ALL, Key, SECTIONS};
use super::*;

const FILE: &str = include_str!("../../../config/smartmeter-reader.example.yml");

/// A setting of the reference file.
struct Setting {
    path: String,
    value: String,
    default: String,
    /// What is said behind the default: its bounds, an example.
    further: String,
    is_on: bool,
}

/// The settings of the reference file, in its order.
fn settings() -> Vec<Setting> {
    let mut settings = Vec::new();
    let (mut section, mut default) = (String::new(), None);
    for line in FILE.lines() {
        let is_indented = line.starts_with(' ');
        let content = line.trim_start();
        if let Some(prose) = content.strip_prefix("# ") {
            if let Some((_, text)) = prose.split_once("Default: ") {
                let (first, further) = text.split_once(". ").unwrap_or((text, ""));
                default = Some((first.trim_end_matches('.').to_owned(), further.to_owned()));
            }
            continue;
        }
        let is_on = !content.starts_with('#');
        let Some((name, value)) = content.trim_start_matches('#').split_once(':') else {
            continue;
        };
        if value.is_empty() {
            section = format!("{name}.");
            continue;
        }
        let path = if is_indented {
            format!("{section}{name}")
        } else {
            name.to_owned()
        };
        let (default, further) = default
            .take()
            .unwrap_or_else(|| panic!("{path} has no `Default:` above it"));
        settings.push(Setting {
            path,
            value: value.trim().to_owned(),
            default,
            further,
            is_on,
        });
    }
    settings
}

/// What a document for people calls the default.
fn default_in_words(key: &Key) -> &'static str {
    match key.default {
        Some(default) => default,
        None if key.path == key::MQTT_CA_FILE.path => "platform roots",
        None => "none",
    }
}

fn load(text: &str) -> Loaded {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("smartmeter-reader.yml");
    std::fs::write(&path, text).unwrap();
    load_from(&Flags::default(), &Environment::new(), &[path], "pi").unwrap_or_else(|error| panic!("{error}"))
}

#[test]
fn the_file_has_every_key_in_order_with_its_default() {
    let settings = settings();
    let in_file: Vec<(&str, &str)> = settings
        .iter()
        .map(|s| (s.path.as_str(), s.default.as_str()))
        .collect();
    let in_code: Vec<(&str, &str)> = ALL.iter().map(|key| (key.path, default_in_words(key))).collect();
    assert_eq!(in_file, in_code);
    for (setting, key) in settings.iter().zip(ALL).filter(|(setting, _)| !setting.is_on) {
        if let Some(default) = key.default {
            assert_eq!(
                setting.value, default,
                "{} stands commented with its default",
                setting.path
            );
        }
    }
}

/// Seconds or bytes, as a bare number stands for them.
fn bare(text: &str) -> u64 {
    let digits = text.trim_end_matches(|c: char| !c.is_ascii_digit());
    let unit = match &text[digits.len()..] {
        "" | "s" => 1,
        "m" => 60,
        "d" => 86_400,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        unit => panic!("the unit {unit:?} of {text}"),
    };
    digits.parse::<u64>().unwrap() * unit
}

#[test]
fn the_bounds_that_the_file_states_are_the_ones_that_hold() {
    let is_taken = |path: &str, value: u64| {
        let line = path.replace('.', ":\n  ");
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("smartmeter-reader.yml");
        std::fs::write(&file, format!("{line}: {value}\n")).unwrap();
        load_from(&Flags::default(), &Environment::new(), &[file], "pi").is_ok()
    };
    let mut stated = Vec::new();
    for setting in settings() {
        let words: Vec<&str> = setting
            .further
            .split_whitespace()
            .map(|word| word.trim_end_matches('.'))
            .collect();
        let (least, most) = match words[..] {
            ["At", "most", most, ..] => (None, Some(bare(most))),
            ["At", "least", least, ..] => (Some(bare(least)), None),
            ["From", least, "to", most, ..] => (Some(bare(least)), Some(bare(most))),
            _ => continue,
        };
        for (bound, beyond) in [
            least.map(|least| (least, least - 1)),
            most.map(|most| (most, most + 1)),
        ]
        .into_iter()
        .flatten()
        {
            assert!(is_taken(&setting.path, bound), "{} of {bound}", setting.path);
            assert!(!is_taken(&setting.path, beyond), "{} of {beyond}", setting.path);
        }
        stated.push(setting.path);
    }
    assert_eq!(
        stated,
        [
            "send_interval",
            "meter_timeout",
            "mqtt.max_payload",
            "queue.max_size",
            "queue.flush_interval"
        ]
    );
}

#[test]
fn debians_file_is_the_same_but_for_users_and_places() {
    let of_service = |name: &str| format!("/run/credentials/smartmeter-publisher.service/smartmeter-{name}");
    let mut expected = FILE.to_owned();
    for (line, debians) in [
        (
            "#path: ./smartmeter-queue\n",
            "path: /var/lib/smartmeter-reader/queue\n".to_owned(),
        ),
        (
            "#socket: ./smartmeter-queue.sock\n",
            "socket: /run/smartmeter-reader/queue.sock\n".to_owned(),
        ),
        ("[65533]", "[smartmeter-publisher]".to_owned()),
        ("/run/secrets/decryption_key", of_service("decryption.key")),
        (
            "/run/secrets/authentication_key",
            of_service("authentication.key"),
        ),
        ("/run/secrets/mqtt_credentials", of_service("mqtt.properties")),
        ("/run/secrets/client_key", of_service("client.key")),
    ] {
        assert_eq!(expected.matches(line).count(), 1, "{line}");
        expected = expected.replace(line, &debians);
    }
    assert_eq!(
        include_str!("../../../config/debian/smartmeter-reader.yml"),
        expected
    );
}

#[test]
fn every_section_is_known() {
    let sections: Vec<&str> = FILE
        .lines()
        .filter_map(|line| line.strip_suffix(':'))
        .filter(|line| !line.contains(' '))
        .collect();
    assert_eq!(sections, SECTIONS);
}

#[test]
fn the_file_as_it_is_turns_on_the_topics_and_nothing_else() {
    let loaded = load(FILE);
    assert_eq!(loaded.warnings, Vec::<String>::new());
    let mut expected = load("").config;
    expected.mqtt.topic = "energy/smartmeter".into();
    expected.mqtt.summary_topic = Some("energy/smartmeter/summary".into());
    expected.mqtt.state_topic = Some("energy/smartmeter/state".into());
    expected.mqtt.availability_topic = Some("energy/smartmeter/availability".into());
    assert_eq!(loaded.config, expected);
}

#[test]
fn every_line_of_the_file_can_be_turned_on() {
    let all_on: String = FILE
        .lines()
        .map(|line| {
            let content = line.trim_start();
            let indentation = &line[..line.len() - content.len()];
            let is_off =
                content.starts_with('#') && content[1..].starts_with(|c: char| c.is_ascii_lowercase());
            let line = if is_off {
                format!("{indentation}{}", &content[1..])
            } else {
                line.to_owned()
            };
            // The files for TLS make sense with TLS alone.
            line.replace("address: localhost:1883", "address: mqtts://localhost:1883") + "\n"
        })
        .collect();
    let loaded = load(&all_on);
    let file = loaded.file.as_ref().unwrap().display().to_string();
    let from_file = loaded
        .effective
        .to_string()
        .lines()
        .filter(|line| line.ends_with(&file))
        .count();
    assert_eq!(from_file, ALL.len(), "{}", loaded.effective);
}

#[test]
fn the_readme_has_every_key_in_order_with_its_default() {
    let readme = Path::new(env!("CARGO_MANIFEST_DIR")).join("../README.md");
    let readme =
        std::fs::read_to_string(&readme).unwrap_or_else(|error| panic!("{}: {error}", readme.display()));
    let table = readme
        .lines()
        .skip_while(|line| *line != "| key | default | meaning |")
        .skip(2);
    let rows: Vec<(String, String)> = table
        .take_while(|line| line.starts_with('|'))
        .map(|row| {
            let cells: Vec<&str> = row.trim_matches('|').splitn(3, '|').map(str::trim).collect();
            assert!(cells.len() == 3 && !cells[2].is_empty(), "no meaning in {row}");
            (
                cells[0].trim_matches('`').to_owned(),
                cells[1].trim_matches('`').to_owned(),
            )
        })
        .collect();
    let expected: Vec<(String, String)> = ALL
        .iter()
        .map(|key| (key.path.to_owned(), default_in_words(key).to_owned()))
        .collect();
    assert_eq!(rows, expected);
}

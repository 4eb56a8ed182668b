//! Turns what was given, as text, into the checked [`Config`], once, and collects every mistake on the way.

use std::path::PathBuf;
use std::time::Duration;

use super::effective::{Effective, Entry};
use super::key::{self, HOSTNAME, Key};
use super::mistake::{Mistake, Origin, shown, shown_address};
use super::raw::{Given, Raw};
use super::{
    BrokerAddress, BrokerOrder, Config, CrcPolicy, DecryptionConfig, MqttConfig, MqttVersion, OnTrouble,
    PortAddress, PortConfig, QueueConfig, SerialSetting, address, duration, secret, size, topic,
};
use crate::accounts;
use crate::wire::Start;

/// Longest interval: readings of more than a month belong in a database.
const LONGEST_SEND_INTERVAL: Duration = Duration::from_secs(31 * 86_400);

/// A meter sends every ten seconds at most seldom; less than a second tells nothing.
const METER_TIMEOUT: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(31 * 86_400));

/// Beyond this a power cut loses more than anyone expects.
const LONGEST_FLUSH_INTERVAL: Duration = Duration::from_secs(600);

/// Longer is what `forever` is for.
const LONGEST_RETENTION: Duration = Duration::from_secs(100 * 365 * 86_400);

/// A reading or two fit into the smallest; the largest is held in memory several times over.
const MAX_PAYLOAD_BYTES: (u64, u64) = (1024, 16 * 1024 * 1024);

/// The database needs some MiB to work in beside what it holds.
const MAX_SIZE_BYTES: (u64, u64) = (8 << 20, 1 << 50);

/// Longest path of a Unix socket on Linux, in bytes (`unix(7)`: 108 with the closing zero).
const LONGEST_SOCKET_PATH_BYTES: usize = 107;

/// What the Go program's last will puts before the topic.
const WILL_PREFIX: &str = "will:";

/// The configuration, where nothing is wrong, and what is in effect; otherwise all mistakes.
pub(super) fn check(raw: &Raw, hostname: &str) -> Result<(Config, Effective), Vec<Mistake>> {
    let mut checker = Checker {
        raw,
        hostname,
        mistakes: raw.mistakes.clone(),
        entries: Vec::new(),
    };
    let config = checker.config();
    checker.check_combinations(&config);
    if checker.mistakes.is_empty() {
        return Ok((config, Effective::new(checker.entries)));
    }
    Err(checker.mistakes)
}

struct Checker<'a> {
    raw: &'a Raw,
    hostname: &'a str,
    mistakes: Vec<Mistake>,
    entries: Vec<Entry>,
}

impl Checker<'_> {
    fn config(&mut self) -> Config {
        Config {
            send_interval_seconds: self.value(&key::SEND_INTERVAL, send_interval),
            debug: self.value(&key::DEBUG, switch),
            port: PortConfig {
                address: self.value(&key::USB, usb),
                line: self.value(&key::SERIAL, |text| {
                    one_of(
                        text,
                        &[
                            ("auto", SerialSetting::Auto),
                            ("115200-8N1", SerialSetting::Baud115200),
                            ("9600-7E1", SerialSetting::Baud9600),
                        ],
                    )
                }),
                crc: self.value(&key::CRC, |text| {
                    one_of(
                        text,
                        &[
                            ("auto", CrcPolicy::Auto),
                            ("required", CrcPolicy::Required),
                            // YAML's `off` is the same text here, and what other readers make of it too.
                            ("off", CrcPolicy::Off),
                            ("false", CrcPolicy::Off),
                            ("no", CrcPolicy::Off),
                        ],
                    )
                }),
            },
            decryption: DecryptionConfig {
                decryption_key: self.optional(&key::DECRYPTION_KEY, secret::key_source),
                authentication_key: self.optional(&key::AUTHENTICATION_KEY, secret::key_source),
                on_undecryptable: self.value(&key::ON_UNDECRYPTABLE, on_trouble),
            },
            meter_timeout: self.value(&key::METER_TIMEOUT, |text| {
                span(text, METER_TIMEOUT.0, METER_TIMEOUT.1)
            }),
            mqtt: self.mqtt(),
            queue: QueueConfig {
                path: self.value(&key::QUEUE_PATH, path),
                socket: self.value(&key::QUEUE_SOCKET, socket),
                writers: self.writers(),
                retention: self.value(&key::QUEUE_RETENTION, |text| match text {
                    "forever" => Ok(None),
                    _ => span(text, Duration::ZERO, LONGEST_RETENTION)
                        .map(Some)
                        .map_err(|fault| format!("{fault}, or `forever`")),
                }),
                max_size_bytes: self.value(&key::QUEUE_MAX_SIZE, |text| {
                    bytes(text, MAX_SIZE_BYTES.0, MAX_SIZE_BYTES.1)
                }),
                flush_interval: self.value(&key::QUEUE_FLUSH_INTERVAL, |text| {
                    span(text, Duration::ZERO, LONGEST_FLUSH_INTERVAL)
                }),
            },
        }
    }

    fn mqtt(&mut self) -> MqttConfig {
        let consumer = self.value(&key::MQTT_CONSUMER, topic::consumer);
        MqttConfig {
            brokers: self.brokers(),
            broker_order: self.value(&key::MQTT_ADDRESS_ORDER, |text| {
                one_of(
                    text,
                    &[("listed", BrokerOrder::Listed), ("random", BrokerOrder::Random)],
                )
            }),
            version: self.value(&key::MQTT_VERSION, |text| {
                one_of(
                    text,
                    &[
                        ("auto", MqttVersion::Auto),
                        ("5", MqttVersion::V5),
                        ("3.1.1", MqttVersion::V311),
                        ("5.0", MqttVersion::V5),
                    ],
                )
            }),
            topic: self.value(&key::MQTT_TOPIC, topic::topic),
            credentials_file: self.optional(&key::MQTT_CRED_FILE, file),
            ca_file: self.optional(&key::MQTT_CA_FILE, file),
            client_certificate_file: self.optional(&key::MQTT_CLIENT_CERT_FILE, file),
            client_key_file: self.optional(&key::MQTT_CLIENT_KEY_FILE, file),
            max_payload_bytes: self.value(&key::MQTT_MAX_PAYLOAD, |text| {
                let bytes = bytes(text, MAX_PAYLOAD_BYTES.0, MAX_PAYLOAD_BYTES.1)?;
                usize::try_from(bytes).map_err(|_| "is too large".to_owned())
            }),
            on_rejected: self.value(&key::MQTT_ON_REJECTED, on_trouble),
            client_id: self.client_id(&consumer),
            consumer,
            start: self.value(&key::MQTT_START, |text| {
                one_of(text, &[("oldest", Start::Oldest), ("newest", Start::Newest)])
            }),
            summary_topic: self.optional(&key::MQTT_SUMMARY_TOPIC, topic::topic),
            state_topic: self.optional(&key::MQTT_STATE_TOPIC, topic::topic),
            availability_topic: self.optional(&key::MQTT_AVAILABILITY_TOPIC, topic::topic),
        }
    }

    /// What is impossible only together.
    fn check_combinations(&mut self, config: &Config) {
        let mqtt = &config.mqtt;
        match (&mqtt.client_certificate_file, &mqtt.client_key_file) {
            (Some(_), None) => self.mistake(
                &key::MQTT_CLIENT_CERT_FILE,
                "stands alone; expected mqtt.client_key_file beside it",
            ),
            (None, Some(_)) => self.mistake(
                &key::MQTT_CLIENT_KEY_FILE,
                "stands alone; expected mqtt.client_cert_file beside it",
            ),
            _ => {}
        }
        let uses_tls = mqtt.brokers.iter().any(|broker| broker.is_tls);
        let tls_files = [
            (&key::MQTT_CA_FILE, &mqtt.ca_file),
            (&key::MQTT_CLIENT_CERT_FILE, &mqtt.client_certificate_file),
        ];
        for (key, _) in tls_files
            .into_iter()
            .filter(|(_, file)| file.is_some() && !uses_tls)
        {
            self.mistake(key, "is for TLS, and mqtt.address names no broker with it; expected an address such as mqtts://broker");
        }
        let decryption = &config.decryption;
        if decryption.authentication_key.is_some() && decryption.decryption_key.is_none() {
            self.mistake(
                &key::AUTHENTICATION_KEY,
                "stands alone; expected decryption_key beside it",
            );
        }
        let topics = [
            (&key::MQTT_TOPIC, Some(&mqtt.topic)),
            (&key::MQTT_SUMMARY_TOPIC, mqtt.summary_topic.as_ref()),
            (&key::MQTT_STATE_TOPIC, mqtt.state_topic.as_ref()),
            (&key::MQTT_AVAILABILITY_TOPIC, mqtt.availability_topic.as_ref()),
        ];
        for (index, (key, topic)) in topics.iter().enumerate() {
            let same = topics
                .iter()
                .take(index)
                .find(|(_, other)| topic.is_some() && other == topic);
            if let Some((other, _)) = same {
                self.mistake(
                    key,
                    &format!("is the same topic as {}; expected one of its own", other.path),
                );
            }
        }
        if mqtt.availability_topic.is_none()
            && mqtt.topic.len() + WILL_PREFIX.len() > topic::LONGEST_TEXT_BYTES
        {
            self.mistake(
                &key::MQTT_TOPIC,
                "is too long for the last will's topic, which puts `will:` before it",
            );
        }
        if config.queue.socket == config.queue.path {
            self.mistake(
                &key::QUEUE_SOCKET,
                "is the same path as queue.path; expected one of its own",
            );
        }
    }

    fn mistake(&mut self, key: &Key, fault: &str) {
        let origin = self
            .raw
            .values
            .get(key.path)
            .map_or(Origin::Default, |(_, origin)| origin.clone());
        self.mistakes.push(Mistake {
            origin,
            key: key.path.to_owned(),
            line: None,
            fault: fault.to_owned(),
        });
    }

    /// The value of a key that always has one. After a mistake it is the default, so that the rest is checked too.
    fn value<T>(&mut self, key: &Key, parse: impl Fn(&str) -> Result<T, String>) -> T {
        self.value_or(key, key.default.unwrap_or_default(), parse)
    }

    /// The same where the default depends on other keys.
    fn value_or<T>(&mut self, key: &Key, default: &str, parse: impl Fn(&str) -> Result<T, String>) -> T {
        let default = default.replace(HOSTNAME, self.hostname);
        let given = self.raw.values.get(key.path).cloned();
        let parsed = given.and_then(|(given, origin)| self.parse(key, given, origin, &parse));
        parsed.unwrap_or_else(|| {
            self.entries
                .push(Entry::new(key, vec![default.clone()], Origin::Default));
            parse(&default)
                .unwrap_or_else(|fault| panic!("the default of {}, {default:?}, {fault}", key.path))
        })
    }

    /// `mqtt.client_id`; by default with the consumer's name where that is not the default one, since a
    /// broker ends the older connection of the same client.
    fn client_id(&mut self, consumer: &str) -> String {
        let key = &key::MQTT_CLIENT_ID;
        let default = key.default.unwrap_or_default();
        if Some(consumer) == key::MQTT_CONSUMER.default {
            return self.value_or(key, default, topic::client_id);
        }
        let default = default.replacen('@', &format!("-{consumer}@"), 1);
        self.value_or(key, &default, topic::client_id)
    }

    /// The value of a key that is off where nothing is given.
    fn optional<T>(&mut self, key: &Key, parse: impl Fn(&str) -> Result<T, String>) -> Option<T> {
        let given = self.raw.values.get(key.path).cloned();
        let parsed = given.and_then(|(given, origin)| self.parse(key, given, origin, &parse));
        if parsed.is_none() {
            self.entries.push(Entry::new(key, Vec::new(), Origin::Default));
        }
        parsed
    }

    fn parse<T>(
        &mut self,
        key: &Key,
        given: Given,
        origin: Origin,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Option<T> {
        let fault = match given {
            Given::Text(text) => match parse(text.trim()) {
                Ok(value) => {
                    self.entries.push(Entry::new(key, vec![text], origin));
                    return Some(value);
                }
                Err(fault)
                    if key.is_secret
                        || (key.path.ends_with("_file") && secret::is_in_place_of_path(&text)) =>
                {
                    fault
                }
                Err(fault) if key.path == key::USB.path => {
                    format!("{} {fault}", shown_address(&text, &[]))
                }
                Err(fault) => format!("{} {fault}", shown(&text)),
            },
            Given::List(_) => "is a list; expected one value".to_owned(),
            Given::Other(what) => format!(
                "is {what}; expected a value such as {}",
                key.default.unwrap_or("a text")
            ),
        };
        self.mistakes.push(Mistake {
            origin,
            key: key.path.to_owned(),
            line: None,
            fault,
        });
        None
    }

    /// `mqtt.address`: one, a list, or several with commas between.
    fn brokers(&mut self) -> Vec<BrokerAddress> {
        let key = &key::MQTT_ADDRESS;
        let expected = "expected an address such as localhost:1883";
        let (texts, origin) = self.texts(key, &format!("{expected}, or a list of them"));
        if texts.is_empty() {
            self.mistake(key, &format!("is an empty list; {expected}"));
        }
        let brokers = self.each(key, &texts, address::broker, |text| shown_address(text, &texts));
        let shown = brokers.iter().map(ToString::to_string).collect();
        self.entries.push(Entry::new(key, shown, origin));
        brokers
    }

    /// `queue.writers`: one user, a list, or several with commas between; an empty list is nobody.
    fn writers(&mut self) -> Vec<u32> {
        let key = &key::QUEUE_WRITERS;
        let expected = format!("expected {USER_FORM}, or a list of them");
        let (texts, origin) = self.texts(key, &expected);
        let writers = self.each(key, &texts, user, shown);
        self.entries.push(Entry::new(key, texts, origin));
        writers
    }

    /// What was given for a key that takes a list.
    fn texts(&mut self, key: &Key, expected: &str) -> (Vec<String>, Origin) {
        let split = |text: &str| text.split(',').map(|text| text.trim().to_owned()).collect();
        let default = || (key.default.map(split).unwrap_or_default(), Origin::Default);
        match self.raw.values.get(key.path).cloned() {
            None => default(),
            Some((Given::Text(text), origin)) => (split(&text), origin),
            Some((Given::List(texts), origin)) => (texts, origin),
            Some((Given::Other(what), _)) => {
                self.mistake(key, &format!("is {what}; {expected}"));
                default()
            }
        }
    }

    /// Each of the texts as a value; those that are none are mistakes.
    fn each<T>(
        &mut self,
        key: &Key,
        texts: &[String],
        parse: impl Fn(&str) -> Result<T, String>,
        shown: impl Fn(&str) -> String,
    ) -> Vec<T> {
        let mut values = Vec::with_capacity(texts.len());
        for text in texts {
            match parse(text.trim()) {
                Ok(value) => values.push(value),
                Err(fault) => self.mistake(key, &format!("{} {fault}", shown(text))),
            }
        }
        values
    }
}

/// What stands for a user.
const USER_FORM: &str =
    "the name of a user in /etc/passwd, such as smartmeter-publisher, or a numeric user id";

/// A user's number. `u32::MAX` stands for no user (`setuid(2)`).
fn user(text: &str) -> Result<u32, String> {
    let number = match text.parse() {
        Ok(number) => Some(number).filter(|&number| number != u32::MAX),
        Err(_) => accounts::user_id(text),
    };
    number.ok_or_else(|| format!("is no user of this system; expected {USER_FORM}"))
}

/// A switch: YAML 1.1's words, and those of Go's flags.
fn switch(text: &str) -> Result<bool, String> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "yes" | "on" | "y" | "t" | "1" => Ok(true),
        "false" | "no" | "off" | "n" | "f" | "0" => Ok(false),
        _ => Err("is no switch; expected true or false".to_owned()),
    }
}

fn one_of<T: Clone>(text: &str, choices: &[(&str, T)]) -> Result<T, String> {
    let names = || {
        choices
            .iter()
            .map(|(name, _)| *name)
            .collect::<Vec<_>>()
            .join(", ")
    };
    let chosen = choices.iter().find(|(name, _)| name.eq_ignore_ascii_case(text));
    chosen
        .map(|(_, value)| value.clone())
        .ok_or_else(|| format!("is not one of the choices; expected one of: {}", names()))
}

fn on_trouble(text: &str) -> Result<OnTrouble, String> {
    one_of(text, &[("wait", OnTrouble::Wait), ("skip", OnTrouble::Skip)])
}

fn usb(text: &str) -> Result<PortAddress, String> {
    let address = address::port(text)?;
    if let PortAddress::Serial(device) | PortAddress::File(device) = &address {
        path(&device.to_string_lossy())?;
    }
    Ok(address)
}

fn send_interval(text: &str) -> Result<u32, String> {
    let expected = || {
        format!(
            "expected seconds from 0 to {}, such as 60",
            LONGEST_SEND_INTERVAL.as_secs()
        )
    };
    let interval = duration::parse(text).ok_or_else(|| format!("is no number of seconds; {}", expected()))?;
    let seconds = u32::try_from(interval.as_secs()).ok();
    seconds
        .filter(|_| interval <= LONGEST_SEND_INTERVAL && interval.subsec_nanos() == 0)
        .ok_or_else(|| format!("is no interval that can be kept; {}", expected()))
}

fn span(text: &str, least: Duration, most: Duration) -> Result<Duration, String> {
    let value =
        duration::parse(text).ok_or_else(|| format!("is no duration; expected {}", duration::FORM))?;
    if value < least || value > most {
        let (least, most) = (duration::in_words(least), duration::in_words(most));
        return Err(format!("is out of bounds; expected {least} to {most}"));
    }
    Ok(value)
}

fn bytes(text: &str, least: u64, most: u64) -> Result<u64, String> {
    let value = size::parse(text).ok_or_else(|| format!("is no size; expected {}", size::FORM))?;
    if value < least || value > most {
        return Err(format!(
            "is out of bounds; expected {} to {}",
            size::in_words(least),
            size::in_words(most)
        ));
    }
    Ok(value)
}

fn path(text: &str) -> Result<PathBuf, String> {
    if text.is_empty() {
        return Err("is empty; expected a path".to_owned());
    }
    if text.contains('\0') {
        return Err("has a zero byte in it; expected a path".to_owned());
    }
    if text == "~" || text.starts_with("~/") {
        return Err("begins with `~`, which only a shell replaces; expected the whole path".to_owned());
    }
    Ok(PathBuf::from(text))
}

/// The path of a file that is only read, and that what it should hold may stand in place of.
fn file(text: &str) -> Result<PathBuf, String> {
    if secret::is_in_place_of_path(text) {
        return Err("looks like what the file should hold; expected the path of that file".to_owned());
    }
    path(text)
}

fn socket(text: &str) -> Result<PathBuf, String> {
    if text.len() > LONGEST_SOCKET_PATH_BYTES {
        return Err(format!(
            "is {} bytes long, and a socket's path has at most {LONGEST_SOCKET_PATH_BYTES}; expected a shorter one, \
             such as a relative path",
            text.len()
        ));
    }
    path(text)
}

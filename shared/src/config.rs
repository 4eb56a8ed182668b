//! The configuration: one YAML file and one set of flags for both processes, turned once into the
//! checked values below. Nothing downstream checks again, and each part takes the values it needs,
//! not the whole configuration.
//!
//! On the way: `file` takes the YAML in as text, `raw` brings file, flags and environment together,
//! `check` turns texts into values and collects every mistake, `key` lists all keys and defaults.
//!
//! Secrets in files are not read here: the configuration holds the *files* they are in, and the process
//! that needs one reads it (`credentials`, `secret`). Nothing here prints a secret.

mod address;
mod check;
pub mod credentials;
pub mod duration;
pub mod effective;
pub mod file;
pub mod flags;
pub mod key;
pub mod mistake;
mod raw;
pub mod secret;
pub mod size;
pub mod suggestion;
pub mod topic;

use std::path::{Path, PathBuf};
use std::time::Duration;

use effective::Effective;
use file::{Document, FileError};
use flags::Flags;
use mistake::{Mistake, Mistakes, Origin};
use raw::Raw;
use secret::SecretKey;

pub use raw::Environment;

/// A configuration and how it came about.
#[derive(Debug, Clone, PartialEq)]
pub struct Loaded {
    /// The values, checked.
    pub config: Config,
    /// The file that was read; none where there is none.
    pub file: Option<PathBuf>,
    /// What to log as warnings, such as flags that the file overrules.
    pub warnings: Vec<String>,
    /// Every key with its value and origin, for `--check`.
    pub effective: Effective,
}

/// Why there is no configuration. All of these end the program with
/// [`Exit::Configuration`](crate::exit::Exit::Configuration).
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be taken in.
    #[error(transparent)]
    File(#[from] FileError),
    /// Its keys or values, or those of flags and environment, are wrong.
    #[error("{0}")]
    Mistakes(Mistakes),
}

/// Loads the configuration: from the file that the flags or the environment name, else the first of
/// [`file::PLACES`] that exists, with flags and environment for the keys that it leaves out.
///
/// # Errors
/// Where the named file is missing, a file is unreadable or not YAML, or a key or value is wrong.
/// Then every mistake is in the error, not only the first.
pub fn load(flags: &Flags) -> Result<Loaded, ConfigError> {
    let text = |text: std::ffi::OsString| text.into_string();
    let environment =
        std::env::vars_os().filter_map(|(name, value)| Some((text(name).ok()?, text(value).ok())));
    load_from(
        flags,
        &environment.collect(),
        &file::PLACES.map(PathBuf::from),
        &hostname(),
    )
}

fn hostname() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// Where [`load`] looks for the file: the one named, or all places.
pub fn places(flags: &Flags) -> Vec<PathBuf> {
    let variable = key::environment_variable("config");
    let from_environment = std::env::var_os(variable).map(PathBuf::from);
    named(flags, from_environment).map_or_else(|| file::PLACES.map(PathBuf::from).to_vec(), |file| vec![file])
}

fn named(flags: &Flags, from_environment: Option<PathBuf>) -> Option<PathBuf> {
    let is_named = |path: &PathBuf| !path.as_os_str().is_empty();
    let flag = flags.config.clone().filter(is_named);
    flag.or(from_environment.filter(is_named))
}

/// [`load`] with what it would ask the system for: the environment, the places where the file may be, and the
/// machine's name.
///
/// # Errors
/// As of [`load`].
pub fn load_from(
    flags: &Flags,
    environment: &Environment,
    places: &[PathBuf],
    hostname: &str,
) -> Result<Loaded, ConfigError> {
    let variable = key::environment_variable("config");
    let from_environment = environment.get(&variable).cloned().flatten().map(PathBuf::from);
    let named = named(flags, from_environment);

    let file = file::find(named.as_deref(), places)?;
    let document = file.as_deref().map(file::read).transpose()?;
    let root = document.as_ref().map(|document| &document.root);
    let mut raw = Raw::gather(file.as_deref().zip(root), flags, environment);
    let (config, effective) = check::check(&raw, hostname).map_err(|mut mistakes| {
        if let Some(document) = &document {
            mistakes
                .iter_mut()
                .take(MISTAKES_WITH_LINE)
                .for_each(|mistake| find_line(mistake, document));
        }
        ConfigError::Mistakes(Mistakes(mistakes))
    })?;
    raw.warnings.extend(
        file.as_deref()
            .and_then(|file| warn_of_open_secret(file, &config)),
    );
    Ok(Loaded {
        config,
        file,
        warnings: raw.warnings,
        effective,
    })
}

/// More than anyone reads; each costs reading the file once more.
const MISTAKES_WITH_LINE: usize = 50;

/// Adds the line on which the mistake stands.
fn find_line(mistake: &mut Mistake, document: &Document) {
    if !matches!(mistake.origin, Origin::File(_)) || mistake.key.is_empty() {
        return;
    }
    // An unknown key at the top may hold a dot in its name.
    let is_at_top = document.line_of(&[], &[&mistake.key], false).is_some();
    let (section, name) = match mistake.key.rsplit_once('.') {
        Some((section, name)) if !is_at_top => (Some(section), name),
        _ => (None, mistake.key.as_str()),
    };
    let alias = key::ALL
        .iter()
        .find(|key| key.path == mistake.key)
        .and_then(|key| key.alias);
    let names: Vec<&str> = std::iter::once(name).chain(alias).collect();
    let sections: Vec<&str> = section.into_iter().collect();
    let is_last = mistake.fault.starts_with(raw::STANDS_TWICE);
    mistake.line = document.line_of(&sections, &names, is_last);
}

/// A configuration file is no secret, unless a key stands in it.
fn warn_of_open_secret(file: &Path, config: &Config) -> Option<String> {
    let keys = [
        &config.decryption.decryption_key,
        &config.decryption.authentication_key,
    ];
    let has_secret = keys.into_iter().any(|key| matches!(key, Some(KeySource::Key(_))));
    has_secret
        .then(|| file.metadata().ok())
        .flatten()
        .and_then(|metadata| secret::others_read(file, &metadata))
}

/// Everything that can be set, checked.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// `send_interval`: seconds that an interval lasts; 0 publishes every telegram as it comes.
    pub send_interval_seconds: u32,
    /// `debug`: print every telegram and log at debug level.
    pub debug: bool,
    /// The meter's port.
    pub port: PortConfig,
    /// Keys of meters that encrypt.
    pub decryption: DecryptionConfig,
    /// `meter_timeout`: silence after which the meter counts as offline.
    pub meter_timeout: Duration,
    /// The broker and the topics.
    pub mqtt: MqttConfig,
    /// Capture's queue and its socket.
    pub queue: QueueConfig,
}

impl Default for Config {
    /// What applies where nothing is given at all.
    fn default() -> Self {
        match check::check(&Raw::default(), &hostname()) {
            Ok((config, _)) => config,
            Err(mistakes) => unreachable!("the defaults are wrong: {}", Mistakes(mistakes)),
        }
    }
}

/// `usb`, `serial` and `crc`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PortConfig {
    /// `usb`: where the telegrams come from.
    pub address: PortAddress,
    /// `serial`: the line's setting.
    pub line: SerialSetting,
    /// `crc`: which telegrams without a CRC are taken.
    pub crc: CrcPolicy,
}

/// Where telegrams come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PortAddress {
    /// A serial device.
    Serial(PathBuf),
    /// `tcp://host:port`: ser2net or a network P1 adapter.
    Tcp {
        /// Name or address.
        host: String,
        /// Port number.
        port: u16,
    },
    /// `file:PATH`: a capture to take in once.
    File(PathBuf),
    /// `file:-`: standard input, to take in once.
    Stdin,
}

/// Speed and frame of a serial line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SerialSetting {
    /// Try both until a telegram is valid.
    Auto,
    /// 115200 baud, 8 data bits, no parity, 1 stop bit: DSMR 4 and 5.
    Baud115200,
    /// 9600 baud, 7 data bits, even parity, 1 stop bit: DSMR 2.2 and 3.
    Baud9600,
}

/// Which telegrams without a CRC are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CrcPolicy {
    /// Those of meters that have never sent one with a CRC.
    Auto,
    /// None.
    Required,
    /// All, and a CRC that is there is not looked at.
    Off,
}

/// `decryption_key`, `authentication_key` and `on_undecryptable`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DecryptionConfig {
    /// The meter's encryption key.
    pub decryption_key: Option<KeySource>,
    /// The authentication key.
    pub authentication_key: Option<KeySource>,
    /// What to do with a frame while the key has opened nothing yet.
    pub on_undecryptable: OnTrouble,
}

/// A 128-bit key or the file that holds it as 32 hex digits.
#[derive(Clone, PartialEq, Eq)]
pub enum KeySource {
    /// The key itself.
    Key(SecretKey),
    /// A file that holds it.
    File(PathBuf),
}

impl std::fmt::Debug for KeySource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Key(_) => f.write_str("Key(not shown)"),
            Self::File(path) => write!(f, "File({})", path.display()),
        }
    }
}

/// Wait until a person mends it, or pass over and count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnTrouble {
    /// `wait`.
    Wait,
    /// `skip`.
    Skip,
}

/// The `mqtt` section.
#[derive(Debug, Clone, PartialEq)]
pub struct MqttConfig {
    /// `address`: brokers to try in turn; never empty.
    pub brokers: Vec<BrokerAddress>,
    /// `address_order`: the order in which they are tried.
    pub broker_order: BrokerOrder,
    /// `version`.
    pub version: MqttVersion,
    /// `topic`: where the readings go.
    pub topic: String,
    /// `cred_file` or `credfile`: Java properties with `user` and `password`.
    pub credentials_file: Option<PathBuf>,
    /// `ca_file`: authority of the broker's certificate; the platform's where absent.
    pub ca_file: Option<PathBuf>,
    /// `client_cert_file`.
    pub client_certificate_file: Option<PathBuf>,
    /// `client_key_file`.
    pub client_key_file: Option<PathBuf>,
    /// `max_payload`: larger arrays are split, in bytes.
    pub max_payload_bytes: usize,
    /// `on_rejected`: what to do with a message that the broker will never take.
    pub on_rejected: OnTrouble,
    /// `consumer`: name of this publisher's cursor.
    pub consumer: String,
    /// `start`: where a new consumer begins.
    pub start: crate::wire::Start,
    /// `client_id`; may hold [`key::QUEUE`].
    pub client_id: String,
    /// `summary_topic`; off where none.
    pub summary_topic: Option<String>,
    /// `state_topic`; off where none.
    pub state_topic: Option<String>,
    /// `availability_topic`; off where none.
    pub availability_topic: Option<String>,
}

/// One broker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BrokerAddress {
    /// Name or address.
    pub host: String,
    /// Port number; 1883, or 8883 with TLS, where the configuration gives none.
    pub port: u16,
    /// Whether the connection is TLS.
    pub is_tls: bool,
}

/// The order in which a list of brokers is tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BrokerOrder {
    /// As they are listed.
    Listed,
    /// Shuffled at each start, so that many publishers with one list spread over it.
    Random,
}

/// Which version of MQTT to speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MqttVersion {
    /// 5, and 3.1.1 where the broker does not know it.
    Auto,
    /// 5 alone.
    V5,
    /// 3.1.1 alone.
    V311,
}

/// The `queue` section.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueueConfig {
    /// `path`: capture's folder.
    pub path: PathBuf,
    /// `socket`: where capture serves the queue.
    pub socket: PathBuf,
    /// `writers`: numbers of the users who may change the queue through the socket, beside root and the user that
    /// capture runs as.
    pub writers: Vec<u32>,
    /// `retention`: how long delivered telegrams are kept; none is `forever`.
    pub retention: Option<Duration>,
    /// `max_size`: bound on the folder's size on disk, in bytes.
    pub max_size_bytes: u64,
    /// `flush_interval`: longest time between a telegram and the flush that makes it durable.
    pub flush_interval: Duration,
}

#[cfg(test)]
mod reference;
#[cfg(test)]
mod tests;

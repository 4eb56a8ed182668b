//! The configuration: one YAML file and one set of flags for both processes, turned once into the
//! checked values below. Nothing downstream checks again, and each part takes the values it needs,
//! not the whole configuration.
//!
//! Secrets are not read here: the configuration holds the *files* they are in, and the process that
//! needs one reads it.

use std::path::PathBuf;
use std::time::Duration;

/// Everything that can be set, checked. [`Config::default`] is what an empty file means.
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
    Key([u8; 16]),
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
    /// `client_id`.
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
    /// `retention`: how long delivered telegrams are kept; none is `forever`.
    pub retention: Option<Duration>,
    /// `max_size`: bound on the folder's size on disk, in bytes.
    pub max_size_bytes: u64,
    /// `flush_interval`: longest time between a telegram and the flush that makes it durable.
    pub flush_interval: Duration,
}

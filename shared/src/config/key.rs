//! Every key of the configuration: its path, its default, and the flag that can stand for it.
//!
//! The one list that the file, the flags, the environment, the effective listing and the reference
//! file are held against. A default is the text that a user would write, and goes through the same
//! check as what a user writes.

/// One key of the configuration.
#[derive(Debug)]
pub struct Key {
    /// Dotted path in the file, such as `mqtt.topic`.
    pub path: &'static str,
    /// Another name of its last part that the file may use.
    pub alias: Option<&'static str>,
    /// What applies where nothing is given, as a user would write it; none where that is *off*.
    pub default: Option<&'static str>,
    /// The flag that can stand for it, without dashes.
    pub flag: Option<&'static str>,
    /// Whether its value is never printed, unless it names a file.
    pub is_secret: bool,
}

impl Key {
    const fn new(path: &'static str, default: &'static str) -> Self {
        Self {
            path,
            alias: None,
            default: Some(default),
            flag: None,
            is_secret: false,
        }
    }

    const fn off(path: &'static str) -> Self {
        Self {
            path,
            alias: None,
            default: None,
            flag: None,
            is_secret: false,
        }
    }

    const fn flag(self, flag: &'static str) -> Self {
        Self {
            flag: Some(flag),
            ..self
        }
    }

    const fn alias(self, alias: &'static str) -> Self {
        Self {
            alias: Some(alias),
            ..self
        }
    }

    const fn secret(self) -> Self {
        Self {
            is_secret: true,
            ..self
        }
    }

    /// The environment variable that can stand for it, where a flag can.
    pub fn environment_variable(&self) -> Option<String> {
        self.flag.map(environment_variable)
    }
}

/// Name of the environment variable that stands for a flag: `SMARTMETER_MQTT_ADDRESS` for `mqtt_address`.
pub fn environment_variable(flag: &str) -> String {
    format!("{ENVIRONMENT_PREFIX}{}", flag.to_ascii_uppercase())
}

/// What the names of the environment variables begin with.
pub const ENVIRONMENT_PREFIX: &str = "SMARTMETER_";

/// Stands in a default for the name of the machine.
pub const HOSTNAME: &str = "<hostname>";

/// Stands in a client identifier for the identity of the queue, which is known when capture answers.
pub const QUEUE: &str = "{queue}";

macro_rules! keys {
    ($($(#[$doc:meta])* $name:ident = $key:expr;)*) => {
        $($(#[$doc])* pub const $name: Key = $key;)*

        /// All keys, in the order of the reference file.
        pub const ALL: &[Key] = &[$($name),*];
    };
}

keys! {
    /// Seconds an interval lasts.
    SEND_INTERVAL = Key::new("send_interval", "60").flag("interval");
    /// Print every telegram.
    DEBUG = Key::new("debug", "false").flag("debug");
    /// The meter's port.
    USB = Key::new("usb", "/dev/ttyUSB0").flag("usb");
    /// The serial line's setting.
    SERIAL = Key::new("serial", "auto");
    /// Which telegrams without a CRC are taken.
    CRC = Key::new("crc", "auto");
    /// The meter's encryption key.
    DECRYPTION_KEY = Key::off("decryption_key").secret();
    /// The meter's authentication key.
    AUTHENTICATION_KEY = Key::off("authentication_key").secret();
    /// What to do with what a key does not open.
    ON_UNDECRYPTABLE = Key::new("on_undecryptable", "wait");
    /// Silence after which the meter counts as offline.
    METER_TIMEOUT = Key::new("meter_timeout", "2m");
    /// Brokers to try in turn.
    MQTT_ADDRESS = Key::new("mqtt.address", "localhost:1883").flag("mqtt_address");
    /// In which order the brokers are tried.
    MQTT_ADDRESS_ORDER = Key::new("mqtt.address_order", "listed");
    /// MQTT's version.
    MQTT_VERSION = Key::new("mqtt.version", "auto");
    /// Where the readings go.
    MQTT_TOPIC = Key::new("mqtt.topic", "dev.sample.topic").flag("mqtt_topic");
    /// The file with user and password.
    MQTT_CRED_FILE = Key::off("mqtt.cred_file").alias("credfile").flag("mqtt_cred_file");
    /// Authority of the broker's certificate.
    MQTT_CA_FILE = Key::off("mqtt.ca_file");
    /// The client's certificate.
    MQTT_CLIENT_CERT_FILE = Key::off("mqtt.client_cert_file");
    /// The client's private key.
    MQTT_CLIENT_KEY_FILE = Key::off("mqtt.client_key_file");
    /// Largest message.
    MQTT_MAX_PAYLOAD = Key::new("mqtt.max_payload", "512KiB");
    /// What to do with a message that the broker will never take.
    MQTT_ON_REJECTED = Key::new("mqtt.on_rejected", "wait");
    /// Name of the cursor.
    MQTT_CONSUMER = Key::new("mqtt.consumer", "mqtt");
    /// Where a new consumer begins.
    MQTT_START = Key::new("mqtt.start", "oldest");
    /// MQTT's client identifier.
    MQTT_CLIENT_ID = Key::new("mqtt.client_id", "smartmeter-reader@<hostname>-{queue}");
    /// Where summaries go.
    MQTT_SUMMARY_TOPIC = Key::off("mqtt.summary_topic");
    /// Where the state goes.
    MQTT_STATE_TOPIC = Key::off("mqtt.state_topic");
    /// Where the availability goes.
    MQTT_AVAILABILITY_TOPIC = Key::off("mqtt.availability_topic");
    /// The queue's folder.
    QUEUE_PATH = Key::new("queue.path", "./smartmeter-queue").flag("queue");
    /// The queue's socket.
    QUEUE_SOCKET = Key::new("queue.socket", "./smartmeter-queue.sock").flag("socket");
    /// The users who may change the queue through its socket.
    QUEUE_WRITERS = Key::off("queue.writers").flag("queue_writers");
    /// How long delivered telegrams are kept.
    QUEUE_RETENTION = Key::new("queue.retention", "7d");
    /// Bound on the folder's size.
    QUEUE_MAX_SIZE = Key::new("queue.max_size", "1GiB");
    /// Longest time between a telegram and its flush.
    QUEUE_FLUSH_INTERVAL = Key::new("queue.flush_interval", "0s");
}

/// The sections that keys lie in.
pub const SECTIONS: &[&str] = &["mqtt", "queue"];

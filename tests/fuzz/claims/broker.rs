//! Any bytes from a broker, in either version of MQTT, end the connection or are answers, and what is said of them
//! fits a log line.

use publisher::mqtt::{MqttSettings, Topics, understood};
use shared::config::{BrokerAddress, BrokerOrder, MqttVersion};

/// As many as words from outside are cut to, beside our own.
const LONGEST_LINE_CHARS: usize = 400;

const BROKER: BrokerAddress = BrokerAddress {
    host: String::new(),
    port: 1883,
    is_tls: false,
};

fn settings(version: MqttVersion) -> MqttSettings {
    MqttSettings {
        brokers: vec![BROKER],
        order: BrokerOrder::Listed,
        version,
        client_id: "id".to_owned(),
        login: None,
        tls: None,
        will: None,
        topics: Topics {
            readings: "meter".to_owned(),
            summary: None,
            state: None,
            availability: None,
        },
    }
}

/// Asserts every claim for these bytes. How many packets were understood, of both versions together.
pub(crate) fn hold_for(bytes: &[u8]) -> usize {
    let mut understood_packets = 0;
    for version in [MqttVersion::V5, MqttVersion::V311] {
        let (packets, trouble) = understood(&settings(version), &BROKER, bytes);
        // The smallest packet has two bytes.
        assert!(packets <= bytes.len() / 2);
        understood_packets += packets;
        let Some(trouble) = trouble else { continue };
        let words = trouble.to_string();
        assert!(!words.chars().any(char::is_control), "{words:?}");
        assert!(words.chars().count() <= LONGEST_LINE_CHARS, "{words}");
    }
    understood_packets
}

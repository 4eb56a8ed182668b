//! A consumer as `capture status --json` and `publisher status --json` both print it.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::ConsumerStatus;

impl ConsumerStatus {
    /// One flat object. What its publisher reports is null before it has reported anything.
    pub fn to_json(&self) -> Map<String, Value> {
        let report = self.report.as_ref();
        let fields = [
            ("consumer", json!(self.name)),
            ("is_running", json!(self.is_connected)),
            ("cursor", json!(self.cursor)),
            ("lag", json!(self.lag)),
            ("reported_at", json!(report.and_then(|report| time(report.at_us)))),
            ("version", json!(report.map(|report| &report.version))),
            ("connection", json!(report.map(|report| &report.connection))),
            // Of the broker. A publisher that has gone is not connected, whatever it said last.
            (
                "is_connected",
                json!(report.map(|report| report.is_connected && self.is_connected)),
            ),
            (
                "acknowledged_messages",
                json!(report.map(|report| report.acknowledged_messages)),
            ),
            (
                "last_acknowledged_at",
                json!(
                    report
                        .and_then(|report| report.last_acknowledged_at_us)
                        .and_then(time)
                ),
            ),
            (
                "last_acknowledged_sequence",
                json!(report.and_then(|report| report.last_acknowledged_sequence)),
            ),
            ("skipped", json!(report.map(|report| counts(report.skipped())))),
            ("stopped", json!(report.map(|report| counts(report.stopped())))),
        ];
        fields
            .into_iter()
            .map(|(key, value)| (key.to_owned(), value))
            .collect()
    }
}

fn counts<'r>(counts: impl Iterator<Item = (&'r str, u64)>) -> BTreeMap<&'r str, u64> {
    counts.collect()
}

/// RFC 3339; none for what no clock can have shown.
pub fn time(at_us: i64) -> Option<String> {
    jiff::Timestamp::from_microsecond(at_us)
        .ok()
        .map(|time| time.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::PublisherReport;

    #[test]
    fn the_keys_are_those_of_the_readme_and_a_publisher_that_has_gone_is_not_connected() {
        let mut consumer = ConsumerStatus {
            name: "mqtt".to_owned(),
            cursor: 7,
            lag: 3,
            is_connected: true,
            report: None,
        };
        let keys = [
            "consumer",
            "is_running",
            "cursor",
            "lag",
            "reported_at",
            "version",
            "connection",
            "is_connected",
            "acknowledged_messages",
            "last_acknowledged_at",
            "last_acknowledged_sequence",
            "skipped",
            "stopped",
        ];
        let value = consumer.to_json();
        assert_eq!(value.len(), keys.len());
        assert!(keys.iter().all(|key| value.contains_key(*key)), "{value:?}");
        let readme = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../README.md")).unwrap();
        for key in keys {
            assert!(readme.contains(&format!("`{key}`")), "the README lacks `{key}`");
        }
        consumer.report = Some(PublisherReport {
            is_connected: true,
            last_acknowledged_at_us: Some(1_800_000_000_000_000),
            ..PublisherReport::default()
        });
        assert_eq!(consumer.to_json()["is_connected"], true);
        assert_eq!(consumer.to_json()["last_acknowledged_at"], "2027-01-15T08:00:00Z");
        consumer.is_connected = false;
        assert_eq!(consumer.to_json()["is_connected"], false);
    }

    #[test]
    fn what_was_skipped_and_what_has_stopped_are_apart() {
        let mut report = PublisherReport::default();
        report.skipped.insert("undecryptable".to_owned(), 2);
        report.has_stopped("voltage_l1_v", 412);
        let consumer = ConsumerStatus {
            name: "mqtt".to_owned(),
            cursor: 7,
            lag: 3,
            is_connected: true,
            report: Some(report),
        };
        let object = consumer.to_json();
        assert_eq!(object["skipped"], json!({ "undecryptable": 2 }));
        assert_eq!(object["stopped"], json!({ "voltage_l1_v": 412 }));
    }
}

//! What must come out of a telegram: the reading, the registers and the gauges, as they were computed
//! and not as they were read.

use std::collections::BTreeMap;

use rust_decimal::Decimal;
use serde_json::{Map, Value};

/// The truth about one telegram.
#[derive(Debug, Clone, PartialEq)]
pub struct Truth {
    /// The meter's time, UTC seconds; none where the dialect sends none.
    pub sent_time: Option<i64>,
    /// When the telegram's period ended, UTC seconds, whether the meter says so or not.
    pub at: i64,
    /// The reading as it must be published, but for `Received_at`, `Queue`, `Sequence`, and where the
    /// meter sends no time `Date_timestamp`, which capture and its clock add.
    pub reading: Map<String, Value>,
    /// Registers by the names that the summary uses.
    pub registers: BTreeMap<String, Decimal>,
    /// Gauges by the names that the summary uses.
    pub gauges: BTreeMap<String, Decimal>,
}

/// Keys of a reading that do not come from the telegram.
pub const KEYS_OF_THE_ARRIVAL: [&str; 3] = ["Received_at", "Queue", "Sequence"];

impl Truth {
    /// What a published reading has wrong, a line for each key; empty where all is as it must be.
    ///
    /// Numbers are compared digit for digit, so that `0.30000000000000004` is not `0.3`.
    pub fn differences(&self, published: &Value) -> Vec<String> {
        let Some(published) = published.as_object() else {
            return vec![format!("expected an object, found {published}")];
        };
        let mut differences = Vec::new();
        for (key, expected) in &self.reading {
            match published.get(key) {
                Some(found) if found == expected => {}
                Some(found) => differences.push(format!("{key}: expected {expected}, found {found}")),
                None => differences.push(format!("{key}: expected {expected}, found nothing")),
            }
        }
        for (key, found) in published {
            let is_of_the_arrival = KEYS_OF_THE_ARRIVAL.contains(&key.as_str())
                || key == "Date_timestamp" && self.sent_time.is_none();
            if !is_of_the_arrival && !self.reading.contains_key(key) {
                differences.push(format!("{key}: expected nothing, found {found}"));
            }
        }
        differences
    }

    /// Panics with all differences where the published reading is not as it must be.
    pub fn assert_published_as(&self, published: &Value) {
        let differences = self.differences(published);
        assert!(
            differences.is_empty(),
            "the reading of {} differs from what the household produced:\n  {}",
            super::calendar::rfc3339(self.at),
            differences.join("\n  ")
        );
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Dialect, Household, Settings};
    use super::*;

    #[test]
    fn a_reading_that_differs_in_one_digit_or_one_key_is_told() {
        for dialect in Dialect::ALL {
            let truth = Household::new(Settings::seeded(3, dialect)).telegram().truth;
            let mut published = Value::Object(truth.reading.clone());
            published["Sequence"] = serde_json::json!(1);
            assert_eq!(truth.differences(&published), Vec::<String>::new(), "{dialect:?}");

            published["Crc_string"] = serde_json::json!("FFFFF");
            published["Extra"] = serde_json::json!(1);
            published.as_object_mut().unwrap().remove("Manufacture_spec");
            assert_eq!(truth.differences(&published).len(), 3, "{dialect:?}");
        }
    }
}

//! Whatever the records, each is published once and in order, and after the last the cursor can pass it. In summaries
//! and states stands no number that a household cannot have.

use publisher::aggregate::{Aggregator, Output, Settings, Taken};
use publisher::decrypt::{Decryption, is_encrypted};
use shared::config::OnTrouble;
use shared::record::Record;

/// Asserts every claim for these bytes.
pub(crate) fn hold_for(bytes: &[u8]) {
    let Some((&[seconds, payload, ..], rest)) = bytes.split_first_chunk::<2>() else {
        return;
    };
    let settings = Settings {
        interval_seconds: u32::from(seconds),
        max_payload_bytes: usize::from(payload) * 16,
        queue: "fuzzfuzz".to_owned(),
        has_summary: true,
        has_state: true,
    };
    let mut aggregator = Aggregator::new(settings, Decryption::new(None, OnTrouble::Skip));
    let (mut outputs, mut taken) = (Vec::new(), Vec::new());
    let mut last_sequence = 0;
    // Records stand one behind the other: eight bytes of clock, two of silence, and a telegram up to a zero.
    for (sequence, part) in (1..).zip(rest.split(|byte| *byte == 0)) {
        let Some((clock, part)) = part.split_first_chunk::<8>() else {
            continue;
        };
        let Some((silence, telegram)) = part.split_first_chunk::<2>() else {
            continue;
        };
        last_sequence = sequence;
        let record = Record {
            sequence,
            captured_at_us: i64::from_le_bytes(*clock),
            silence_ms: u64::from(u16::from_le_bytes(*silence)),
            telegram: telegram.to_vec().into(),
        };
        match aggregator.take(&record, &mut outputs) {
            Taken::Read => taken.push(sequence),
            Taken::Skipped { .. } => assert!(is_encrypted(telegram)),
            Taken::Waiting { .. } => panic!("nothing is waited for"),
        }
    }
    aggregator.silence(u64::MAX, &mut outputs);

    let (mut published, mut closed) = (Vec::new(), 0);
    for output in &outputs {
        match output {
            Output::Readings { payload, .. } => {
                let readings: Vec<serde_json::Value> = serde_json::from_slice(payload).expect("JSON");
                for reading in &readings {
                    let time = &reading["Date_timestamp"];
                    let time = time.as_str().expect("a time");
                    assert!(
                        time >= "2004-12-31T22" || reading["Received_at"] == time,
                        "{reading}"
                    );
                }
                published.extend(readings.iter().filter_map(|reading| reading["Sequence"].as_u64()));
            }
            Output::Summary { payload } => {
                let summary: serde_json::Value = serde_json::from_slice(payload).expect("JSON");
                for part in ["registers", "gauges"] {
                    for (name, span) in summary[part].as_object().expect("an object") {
                        for number in ["first", "last", "min", "mean", "max"] {
                            is_possible(name, &span[number]);
                        }
                    }
                }
            }
            Output::State(state) => {
                let state: serde_json::Value = serde_json::from_slice(&state.payload).expect("JSON");
                for (name, value) in state.as_object().expect("an object") {
                    is_possible(name, value);
                }
            }
            Output::Closed { last_sequence } => {
                assert!(*last_sequence > closed);
                closed = *last_sequence;
            }
        }
    }
    assert_eq!(published, taken);
    assert_eq!(closed, last_sequence);
}

/// Asserts of a register or a gauge that it is one, by the unit that its name ends with.
fn is_possible(name: &str, value: &serde_json::Value) {
    let most = match name.rsplit('_').next() {
        Some("kwh") => 1e8,
        Some("kw") => 225.0,
        Some("v") => 300.0,
        Some("a") => 250.0,
        Some("m3") => 1e7,
        Some("gj") => 3.6e5,
        _ => return,
    };
    if let Some(number) = value.as_f64() {
        assert!(number.abs() <= most, "{name}: {value}");
    }
}

//! Whatever the records, each is published once and in order, and after the last the cursor can pass it.

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
                published.extend(readings.iter().filter_map(|reading| reading["Sequence"].as_u64()));
            }
            Output::Summary { payload } => {
                assert!(serde_json::from_slice::<serde_json::Value>(payload).is_ok())
            }
            Output::State(state) => {
                assert!(serde_json::from_slice::<serde_json::Value>(&state.payload).is_ok())
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

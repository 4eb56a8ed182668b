//! Whatever the records, each is published once and in order, and after the last the cursor can pass it. In summaries
//! and states stands no number that a household cannot have. Deltas of a register add up, whatever is
//! absent, wherever intervals end, and when its meter is exchanged.

use publisher::aggregate::{Aggregator, Output, Settings, Taken};
use publisher::decrypt::{Decryption, is_encrypted};
use shared::config::OnTrouble;
use shared::record::Record;

/// Asserts every claim for these bytes.
pub(crate) fn hold_for(bytes: &[u8]) {
    let Some((&[seconds, payload, ..], rest)) = bytes.split_first_chunk::<2>() else {
        return;
    };
    deltas_add_up(u32::from(seconds).max(1), rest);
    let mut aggregator = aggregator(u32::from(seconds), usize::from(payload) * 16);
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

fn aggregator(interval_seconds: u32, max_payload_bytes: usize) -> Aggregator {
    let settings = Settings {
        interval_seconds,
        max_payload_bytes,
        queue: "fuzzfuzz".to_owned(),
        has_summary: true,
        has_state: true,
    };
    Aggregator::new(settings, Decryption::new(None, OnTrouble::Skip))
}

/// Each three bytes make a telegram: seconds since the one before, what the register has counted in watt-hours, and
/// bits for an absent value, an absent identifier, an exchange of the meter and an end of the publisher.
fn deltas_add_up(interval_seconds: u32, bytes: &[u8]) {
    const IMPORT: &str = "electricity_import_tariff1_kwh";
    let (mut meter, mut is_stated, mut seconds, mut watt_hours) = (0_u32, false, 0_i64, 1_u64);
    let (mut first, mut last, mut expected) = (None, 0, 0);
    let (mut records, mut ends) = (Vec::new(), Vec::new());
    // No more than a reader looks back.
    for (sequence, made) in (1..).zip(bytes.chunks_exact(3).take(60)) {
        let &[step, grown, flags] = made else { break };
        seconds += i64::from(step);
        watt_hours += u64::from(grown);
        if flags & 0b11100 == 0b11100 {
            expected += last - first.take().unwrap_or(last);
            meter += 1;
            is_stated = false;
            watt_hours = watt_hours % 1000 + 1;
        }
        let mut lines = String::new();
        // A meter that has never said who it is cannot be told from the one before.
        if flags & 1 == 0 || !is_stated {
            is_stated = true;
            lines = format!("0-0:96.1.1(45{meter:06})\r\n");
        }
        if flags & 2 == 0 {
            first.get_or_insert(watt_hours);
            last = watt_hours;
            lines += &format!(
                "1-0:1.8.1({}.{:03}*kWh)\r\n",
                watt_hours / 1000,
                watt_hours % 1000
            );
        }
        ends.push(flags & 0b1110_0000 == 0);
        records.push(Record {
            sequence,
            captured_at_us: (1_700_000_000 + seconds) * 1_000_000,
            silence_ms: u64::from(step) * 1000,
            telegram: format!("/X\r\n\r\n{lines}!\r\n").into_bytes().into(),
        });
    }
    expected += last - first.unwrap_or(last);

    let (mut sum, mut next) = (0, 0);
    while next < records.len() {
        let mut aggregator = aggregator(interval_seconds, 64 * 1024);
        for before in &records[..next] {
            aggregator.prime(before);
        }
        let mut outputs = Vec::new();
        for record in &records[next..] {
            assert_eq!(aggregator.take(record, &mut outputs), Taken::Read);
        }
        aggregator.silence(u64::MAX, &mut outputs);
        for output in outputs {
            match output {
                Output::Summary { payload } => {
                    let summary: serde_json::Value = serde_json::from_slice(&payload).expect("JSON");
                    sum += watt_hours_of(&summary["registers"][IMPORT]["delta"]);
                }
                Output::Closed { last_sequence } => {
                    next = usize::try_from(last_sequence).expect("small");
                    if ends[next - 1] {
                        break;
                    }
                }
                Output::Readings { .. } | Output::State(_) => {}
            }
        }
    }
    assert_eq!(sum, expected);
}

/// Kilowatt-hours of at most three digits behind the point; 0 if there are none.
fn watt_hours_of(delta: &serde_json::Value) -> u64 {
    if delta.is_null() {
        return 0;
    }
    let text = delta.to_string();
    let (whole, fraction) = text.split_once('.').unwrap_or((&text, ""));
    let fraction = format!("{fraction:0<3}");
    whole.parse::<u64>().expect("not negative") * 1000 + fraction.parse::<u64>().expect("digits")
}

//! Records of a made-up meter, and what must come of them.

use proptest::prelude::*;
use serde_json::Value;
use shared::config::OnTrouble;

use super::*;
use crate::decrypt::Keys;
use crate::decrypt::tests::{forged, frame_of, keys, keys_with_authentication, with_crc};

const QUEUE: &str = "a1b2c3d4";
/// 2026-11-20T08:00:00Z, in winter time 09:00.
const EIGHT: i64 = 1_795_161_600;

fn settings() -> Settings {
    Settings {
        interval_seconds: 60,
        max_payload_bytes: 512 * 1024,
        queue: QUEUE.to_owned(),
        has_summary: true,
        has_state: true,
    }
}

fn aggregator(settings: Settings) -> Aggregator {
    Aggregator::new(settings, Decryption::new(None, OnTrouble::Wait))
}

/// A telegram at this second after eight with this register, in watt-hours.
fn telegram(seconds: i64, watt_hours: u64) -> Vec<u8> {
    let local = Timestamp::from_second(EIGHT + seconds + 3600).expect("a time");
    let time = local.strftime("%y%m%d%H%M%SW");
    format!(
        "/XYZ5\\2\r\n\r\n0-0:1.0.0({time})\r\n0-0:96.1.1(4530)\r\n0-0:96.14.0(0002)\r\n\
         1-0:1.8.1({:06}.{:03}*kWh)\r\n1-0:1.7.0(00.{:03}*kW)\r\n!0000\r\n",
        watt_hours / 1000,
        watt_hours % 1000,
        watt_hours % 1000
    )
    .into_bytes()
}

fn record(sequence: u64, telegram: Vec<u8>, silence_ms: u64) -> Record {
    let captured_at_us = (EIGHT + i64::try_from(sequence).expect("small")) * 1_000_000;
    Record {
        sequence,
        captured_at_us,
        silence_ms,
        telegram: telegram.into(),
    }
}

/// One record a second, each with one watt-hour more.
fn records(sequences: std::ops::Range<u64>) -> Vec<Record> {
    sequences
        .map(|at| record(at, telegram(i64::try_from(at).expect("small"), 5000 + at), 1000))
        .collect()
}

fn take(aggregator: &mut Aggregator, records: &[Record]) -> Vec<Output> {
    let mut outputs = Vec::new();
    for record in records {
        assert_eq!(aggregator.take(record, &mut outputs), Taken::Read);
    }
    outputs
}

/// What came out, each in a few words: the sequences of an array, the span of a summary.
fn shown(outputs: &[Output]) -> Vec<String> {
    outputs
        .iter()
        .map(|output| match output {
            Output::Readings {
                payload,
                first_sequence,
                last_sequence,
            } => {
                let readings: Vec<Value> = serde_json::from_slice(payload).expect("an array");
                let sequences: Vec<u64> = readings
                    .iter()
                    .map(|reading| reading["Sequence"].as_u64().expect("a number"))
                    .collect();
                assert_eq!(sequences.first(), Some(first_sequence));
                assert_eq!(sequences.last(), Some(last_sequence));
                format!("{sequences:?}")
            }
            Output::Summary { payload } => {
                let summary: Value = serde_json::from_slice(payload).expect("an object");
                let minute = |key: &str| summary[key].as_str().expect("a time")[11..19].to_owned();
                format!(
                    "{}-{} {}",
                    minute("interval_start"),
                    minute("interval_end"),
                    summary["telegrams"]
                )
            }
            Output::State(state) => format!("state {}", state.sequence),
            Output::Closed { last_sequence } => format!("closed {last_sequence}"),
        })
        .collect()
}

fn summaries(outputs: &[Output]) -> Vec<Value> {
    outputs
        .iter()
        .filter_map(|output| match output {
            Output::Summary { payload } => Some(serde_json::from_slice(payload).expect("an object")),
            _ => None,
        })
        .collect()
}

#[test]
fn an_interval_closes_when_a_telegram_of_the_next_comes() {
    let mut aggregator = aggregator(settings());
    let outputs = take(&mut aggregator, &records(58..62));
    assert_eq!(
        shown(&outputs),
        ["[58, 59]", "08:00:00-08:01:00 2", "state 59", "closed 59"]
    );
}

#[test]
fn silence_closes_an_interval_live_and_on_record_alike() {
    let mut live = aggregator(settings());
    let mut outputs = take(&mut live, &records(1..3));
    live.silence(30_000, &mut outputs);
    assert_eq!(shown(&outputs), [""; 0]);
    live.silence(30_001, &mut outputs);
    let closed = ["[1, 2]", "08:00:00-08:01:00 2", "state 2", "closed 2"];
    assert_eq!(shown(&outputs), closed);
    live.silence(60_000, &mut outputs);
    let late = record(3, telegram(40, 6000), 38_000);
    outputs.extend(take(&mut live, std::slice::from_ref(&late)));
    assert_eq!(
        shown(&outputs),
        closed,
        "closed once, and the same interval is open again"
    );

    let mut replayed = aggregator(settings());
    let mut records = records(1..3);
    records.push(late);
    assert_eq!(take(&mut replayed, &records), outputs);
}

#[test]
fn a_telegram_without_time_belongs_by_captures_clock() {
    let mut aggregator = aggregator(settings());
    let without_time = |sequence| record(sequence, b"/X\r\n\r\n1-0:1.7.0(1*kW)\r\n!\r\n".to_vec(), 1000);
    let outputs = take(
        &mut aggregator,
        &[without_time(59), without_time(60), without_time(61)],
    );
    assert_eq!(
        shown(&outputs),
        ["[59]", "08:00:00-08:01:00 1", "state 59", "closed 59"]
    );
}

#[test]
fn meter_time_that_comes_back_makes_a_further_message() {
    let mut aggregator = aggregator(settings());
    let at = |sequence, seconds| record(sequence, telegram(seconds, 5000), 1000);
    let outputs = take(&mut aggregator, &[at(1, 59), at(2, 60), at(3, 59), at(4, 60)]);
    let intervals: Vec<_> = shown(&outputs)
        .into_iter()
        .filter(|shown| shown.starts_with('['))
        .collect();
    assert_eq!(intervals, ["[1]", "[2]", "[3]"]);
}

#[test]
fn a_meter_whose_clock_stands_still_does_not_keep_its_interval_open() {
    let mut aggregator = aggregator(settings());
    let standing: Vec<Record> = (1..=200)
        .map(|at| record(at, telegram(5, 5000 + at), 1000))
        .collect();
    let outputs = take(&mut aggregator, &standing);
    let closed: Vec<_> = shown(&outputs)
        .into_iter()
        .filter(|shown| shown.starts_with("closed"))
        .collect();
    assert_eq!(
        closed,
        ["closed 91", "closed 182"],
        "60 s and 30 s more after the first"
    );
}

#[test]
fn when_an_interval_closes_at_the_earliest_counts_from_its_last_record() {
    let seconds = |aggregator: &Aggregator| aggregator.closes_in().map(|time| time.as_secs());
    let mut under_test = aggregator(settings());
    assert_eq!(seconds(&under_test), None, "none is open");
    take(&mut under_test, &[record(1, telegram(10, 1), 0)]);
    assert_eq!(seconds(&under_test), Some(50));
    take(&mut under_test, &[record(2, telegram(59, 1), 1000)]);
    assert_eq!(seconds(&under_test), Some(1));
    take(&mut under_test, &[record(3, telegram(60, 1), 1000)]);
    assert_eq!(seconds(&under_test), Some(60));
    // Its clock stands still, and what it spans counts.
    let mut outputs = Vec::new();
    for sequence in 4..=7 {
        let _ = under_test.take(&record(sequence, telegram(60, 1), 20_000), &mut outputs);
    }
    assert_eq!(seconds(&under_test), Some(10));
    under_test.silence(INTERVAL_SILENCE_MS + 1, &mut outputs);
    assert_eq!(seconds(&under_test), None);
    // Without a time by capture's clock, to the microsecond; a frame that does not open has none, and takes up time.
    let mut under_test = skipping(settings());
    let mut without_time = record(1, b"/XYZ5\\2\r\n\r\n!\r\n".to_vec(), 0);
    without_time.captured_at_us += 500_000;
    take(&mut under_test, &[without_time]);
    assert_eq!(under_test.closes_in(), Some(Duration::from_millis(58_500)));
    let frame = vec![0xDB, 0x08, 1, 2];
    let _ = under_test.take(&record(2, frame, 1_200), &mut outputs);
    assert_eq!(under_test.closes_in(), Some(Duration::from_millis(57_300)));
    let mut each = aggregator(Settings {
        interval_seconds: 0,
        ..settings()
    });
    take(&mut each, &records(1..3));
    assert_eq!(each.closes_in(), None);
}

#[test]
fn a_meter_in_the_wrong_year_has_its_own_intervals() {
    let mut aggregator = aggregator(settings());
    let mut outputs = Vec::new();
    for (sequence, time) in [
        (1, "390101000030W"),
        (2, "390101000059W"),
        (3, "060102000000W"),
        (4, "261120090001W"),
    ] {
        let telegram = format!("/X\r\n\r\n0-0:1.0.0({time})\r\n!\r\n").into_bytes();
        assert_eq!(
            aggregator.take(&record(sequence, telegram, 1000), &mut outputs),
            Taken::Read
        );
    }
    let intervals: Vec<_> = shown(&outputs)
        .into_iter()
        .filter(|shown| shown.starts_with('['))
        .collect();
    assert_eq!(intervals, ["[1, 2]", "[3]"]);
}

#[test]
fn a_meter_whose_clock_was_never_set_has_the_time_and_the_intervals_of_captures_clock() {
    let mut aggregator = aggregator(Settings {
        has_summary: true,
        ..settings()
    });
    let mut outputs = Vec::new();
    // One clock stands still, and one goes on from its epoch.
    for (sequence, time) in [
        (1, "000101010000W"),
        (2, "700101010001W"),
        (61, "000101010000W"),
        (121, "000101010002W"),
    ] {
        let telegram = format!("/X\r\n\r\n0-0:1.0.0({time})\r\n!\r\n").into_bytes();
        assert_eq!(
            aggregator.take(&record(sequence, telegram, 1000), &mut outputs),
            Taken::Read
        );
    }
    let arrays: Vec<serde_json::Value> = outputs
        .iter()
        .filter_map(|output| match output {
            Output::Readings { payload, .. } => serde_json::from_slice(payload).ok(),
            _ => None,
        })
        .collect();
    let times: Vec<Vec<&str>> = (arrays.iter())
        .map(|array| {
            let readings = array.as_array().expect("an array");
            readings
                .iter()
                .filter_map(|reading| reading["Date_timestamp"].as_str())
                .collect()
        })
        .collect();
    let expected = [
        vec!["2026-11-20T08:00:01Z", "2026-11-20T08:00:02Z"],
        vec!["2026-11-20T08:01:01Z"],
    ];
    assert_eq!(times, expected);
}

#[test]
fn captures_clock_may_stand_anywhere() {
    let mut aggregator = aggregator(settings());
    let mut outputs = Vec::new();
    for (sequence, captured_at_us) in [(1, i64::MIN), (2, i64::MAX), (3, 0)] {
        let record = Record {
            sequence,
            captured_at_us,
            silence_ms: 1,
            telegram: b"/X\r\n!\r\n".to_vec().into(),
        };
        assert_eq!(aggregator.take(&record, &mut outputs), Taken::Read);
    }
    let closed: Vec<_> = shown(&outputs)
        .into_iter()
        .filter(|shown| shown.starts_with("closed"))
        .collect();
    assert_eq!(closed, ["closed 1", "closed 2"]);
}

#[test]
fn without_intervals_each_telegram_is_a_message() {
    let mut aggregator = aggregator(Settings {
        interval_seconds: 0,
        ..settings()
    });
    let outputs = take(&mut aggregator, &records(1..3));
    assert_eq!(
        shown(&outputs),
        ["[1]", "state 1", "closed 1", "[2]", "state 2", "closed 2"]
    );
}

#[test]
fn arrays_are_split_in_order_and_full_parts_go_out_before_the_interval_ends() {
    let one = take(
        &mut aggregator(Settings {
            interval_seconds: 0,
            ..settings()
        }),
        &records(1..2),
    );
    let Some(Output::Readings { payload, .. }) = one.first() else {
        panic!("{one:?}")
    };
    let three_fit = payload.len() * 3;
    let mut aggregator = aggregator(Settings {
        max_payload_bytes: three_fit,
        ..settings()
    });
    let outputs = take(&mut aggregator, &records(1..8));
    assert_eq!(shown(&outputs), ["[1, 2, 3]", "[4, 5, 6]"]);
    for output in &outputs {
        assert!(matches!(output, Output::Readings { payload, .. } if payload.len() <= three_fit));
    }
    let mut outputs = Vec::new();
    aggregator.silence(31_000, &mut outputs);
    assert_eq!(
        shown(&outputs),
        ["[7]", "08:00:00-08:01:00 7", "state 7", "closed 7"]
    );
}

#[test]
fn a_reading_larger_than_the_bound_is_a_message_of_its_own() {
    let mut aggregator = aggregator(Settings {
        max_payload_bytes: 10,
        ..settings()
    });
    let outputs = take(&mut aggregator, &records(1..3));
    assert_eq!(shown(&outputs), ["[1]"]);
}

#[test]
fn deltas_count_from_the_last_telegram_before_the_interval() {
    let all = records(57..121);
    let mut from_the_start = aggregator(settings());
    let outputs = take(&mut from_the_start, &all);
    let name = "electricity_import_tariff1_kwh";
    let [first, second] = summaries(&outputs).try_into().expect("two summaries");
    assert_eq!(
        first["registers"][name],
        serde_json::json!({"first": 5.057, "last": 5.059, "delta": 0.002, "delta_from": "first"})
    );
    assert_eq!(
        second["registers"][name],
        serde_json::json!({"first": 5.06, "last": 5.119, "delta": 0.06})
    );
    assert_eq!(
        second["gauges"]["power_import_kw"],
        serde_json::json!({"min": 0.06, "mean": 0.09, "max": 0.119, "last": 0.119})
    );
    assert_eq!(second["equipment_id"], "E0");
    assert_eq!(
        (&second["first_sequence"], &second["last_sequence"]),
        (&60.into(), &119.into())
    );
}

#[test]
fn a_meter_that_is_exchanged_begins_its_deltas_anew() {
    let other = |sequence, seconds, kwh: &str| {
        let telegram = String::from_utf8(telegram(seconds, 0)).expect("ASCII");
        record(
            sequence,
            telegram
                .replace("4530", "4531")
                .replace("000000.000*kWh", kwh)
                .into_bytes(),
            1000,
        )
    };
    let mut aggregator = aggregator(settings());
    let mut all = records(57..60);
    all.extend([
        other(60, 60, "000000.100*kWh"),
        other(61, 61, "000000.250*kWh"),
        other(62, 120, "000000.300*kWh"),
    ]);
    let [_, second] = summaries(&take(&mut aggregator, &all))
        .try_into()
        .expect("two summaries");
    assert_eq!(
        second["registers"]["electricity_import_tariff1_kwh"],
        serde_json::json!({"first": 0.1, "last": 0.25, "delta": 0.15, "delta_from": "first"})
    );
}

#[test]
fn no_zero_stands_for_what_the_meter_does_not_send() {
    let mut aggregator = aggregator(settings());
    let outputs = take(&mut aggregator, &records(59..61));
    let [summary] = summaries(&outputs).try_into().expect("one summary");
    let names = |key: &str| {
        summary[key]
            .as_object()
            .expect("an object")
            .keys()
            .cloned()
            .collect::<Vec<_>>()
    };
    assert_eq!(names("registers"), ["electricity_import_tariff1_kwh"]);
    assert_eq!(names("gauges"), ["power_import_kw"]);
    let Some(Output::State(state)) = outputs.get(2) else {
        panic!("{outputs:?}")
    };
    assert_eq!(
        String::from_utf8_lossy(&state.payload),
        r#"{"time":"2026-11-20T08:00:59Z","sequence":59,"equipment_id":"E0","tariff":"0002","electricity_import_tariff1_kwh":5.059,"power_import_kw":0.059}"#
    );
}

#[test]
fn the_state_of_a_record_is_that_of_its_interval_if_it_were_the_last() {
    let mut aggregator = aggregator(settings());
    let all = records(59..61);
    let alone = aggregator.state_of(&all[0]).expect("a state");
    let outputs = take(&mut aggregator, &all);
    assert!(outputs.contains(&Output::State(alone)));
}

#[test]
fn a_frame_that_does_not_open_waits_or_is_passed_over_with_its_sequence() {
    let frame = || record(60, vec![0xDB, 0x08, 1, 2], 1000);
    let mut waiting = aggregator(settings());
    let mut outputs = take(&mut waiting, &records(58..60));
    assert_eq!(
        waiting.take(&frame(), &mut outputs),
        Taken::Waiting {
            why: Undecryptable::NoKey
        }
    );
    assert_eq!(outputs, []);

    let decryption = Decryption::new(Some(Keys::new([1; 16])), OnTrouble::Skip);
    let mut skipping = Aggregator::new(settings(), decryption);
    let why = Undecryptable::Malformed { bytes: 4 };
    assert_eq!(
        skipping.take(&frame(), &mut outputs),
        Taken::Skipped { why: why.clone() }
    );
    assert_eq!(
        shown(&outputs),
        ["closed 60"],
        "with no interval open the cursor may pass at once"
    );
    outputs.clear();
    outputs.extend(take(&mut skipping, &records(61..63)));
    let mut later = frame();
    later.sequence = 63;
    assert_eq!(skipping.take(&later, &mut outputs), Taken::Skipped { why });
    skipping.silence(31_000, &mut outputs);
    assert_eq!(
        shown(&outputs),
        ["[61, 62]", "08:01:00-08:02:00 2", "state 62", "closed 63"]
    );
}

#[test]
fn an_interval_closes_while_frames_come_that_do_not_open() {
    for interval_seconds in [1, 10, 60] {
        let settings = || Settings {
            interval_seconds,
            ..settings()
        };
        let mut all = records(60..100);
        all.extend((100..160).map(|sequence| record(sequence, vec![0xDB, 0x08, 1, 2], 1000)));
        let run = |aggregator: &mut Aggregator, records: &[Record]| {
            let mut outputs = Vec::new();
            for record in records {
                let is_frame = record.sequence >= 100;
                let taken = aggregator.take(record, &mut outputs);
                assert_eq!(matches!(taken, Taken::Skipped { .. }), is_frame, "{taken:?}");
            }
            outputs
        };
        let whole = run(&mut skipping(settings()), &all);
        let closings: Vec<(usize, u64)> = whole
            .iter()
            .enumerate()
            .filter_map(|(at, output)| match output {
                Output::Closed { last_sequence } => Some((at, *last_sequence)),
                _ => None,
            })
            .collect();
        assert_eq!(
            closings.last().map(|(_, last_sequence)| *last_sequence),
            Some(159),
            "at {interval_seconds} s the cursor goes on with what is passed over"
        );
        let shown = shown(&whole);
        assert!(shown.iter().any(|shown| shown.ends_with("99]")), "{shown:?}");
        for (at, last_sequence) in closings {
            let done = all.partition_point(|record| record.sequence <= last_sequence);
            let mut resumed = skipping(settings());
            prime(&mut resumed, &all[..done]);
            assert_eq!(
                run(&mut resumed, &all[done..]),
                &whole[at + 1..],
                "resumed after record {last_sequence}"
            );
        }
    }
}

/// Records of a meter that encrypts, once its first has come, and of somebody on its line: what each is, and a number
/// that varies it.
fn attacked(kinds: &[(u8, u32)]) -> Vec<Record> {
    let plain = |at: u32, watt_hours: u64| {
        let mut telegram = telegram(at.into(), watt_hours);
        telegram.truncate(telegram.len() - "0000\r\n".len());
        with_crc(&telegram)
    };
    let frame = |at: u32| frame_of(*b"SYSTEMID", &plain(at, 5000), &keys(), at);
    let telegram = |at: u32, kind: u8, number: u32| match kind {
        0..3 => frame(at),
        3 => forged(&frame(at), &plain(at, 5000), &plain(at, 9000)),
        4 => frame(at.saturating_sub(number).max(1)),
        5 => plain(at + 300 * number, 9000),
        6 => frame_of(*b"EXCHANGE", &plain(at, 5000), &keys(), number),
        _ => vec![0xDB, 0x08, 1],
    };
    let kinds = [&[(0, 0)], kinds].concat();
    (1..)
        .zip(kinds)
        .map(|(at, (kind, number))| record(at.into(), telegram(at, kind, number), 1000))
        .collect()
}

/// Takes these in; beside the outputs, how many were refused.
fn take_attacked(aggregator: &mut Aggregator, records: &[Record]) -> (Vec<Output>, u32) {
    let (mut outputs, mut refused) = (Vec::new(), 0);
    for record in records {
        match aggregator.take(record, &mut outputs) {
            Taken::Read => {}
            Taken::Skipped { .. } => refused += 1,
            Taken::Waiting { why } => panic!("record {}: {why}", record.sequence),
        }
    }
    aggregator.silence(31_000, &mut outputs);
    (outputs, refused)
}

/// How a meter's telegrams come in a property: how much later each is by its own clock (or by none), by the
/// one that does not jump, and whether it can be opened.
fn steps() -> impl Strategy<Value = Vec<(i64, u64, u8)>> {
    let step = prop_oneof![8 => 1..12_i64, 1 => Just(0), 1 => -90..200_i64];
    let silence = prop_oneof![9 => 500..11_000_u64, 1 => 29_000..40_000_u64];
    proptest::collection::vec((step, silence, 0..30_u8), 1..60)
}

fn stepped(steps: &[(i64, u64, u8)]) -> Vec<Record> {
    let mut seconds = 0;
    (1..)
        .zip(steps)
        .map(|(sequence, &(step, silence_ms, kind))| {
            seconds += step;
            let telegram = match kind {
                0 => vec![0xDB, 0x08, 1],
                1 => b"/XYZ5\\2\r\n\r\n1-0:1.7.0(00.500*kW)\r\n!\r\n".to_vec(),
                _ => telegram(seconds, 5000 + sequence * 3),
            };
            record(sequence, telegram, silence_ms)
        })
        .collect()
}

fn take_all(aggregator: &mut Aggregator, records: &[Record]) -> Vec<Output> {
    let mut outputs = Vec::new();
    for record in records {
        assert!(!matches!(
            aggregator.take(record, &mut outputs),
            Taken::Waiting { .. }
        ));
    }
    aggregator.silence(31_000, &mut outputs);
    outputs
}

/// Shows the aggregation as many of these records as it asks for.
fn prime(aggregator: &mut Aggregator, before: &[Record]) {
    let last = before.last().map_or(0, |record| record.sequence);
    let from = last.saturating_sub(aggregator.look_back());
    for record in before.iter().filter(|record| record.sequence > from) {
        aggregator.prime(record);
    }
}

fn skipping(settings: Settings) -> Aggregator {
    Aggregator::new(settings, Decryption::new(None, OnTrouble::Skip))
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn the_same_records_give_the_same_bytes_from_any_closed_intervals_end_on(
        steps in steps(),
        interval_seconds in prop_oneof![Just(0_u32), Just(1), Just(10), Just(60), Just(3600)],
        max_payload_bytes in 500..5000_usize,
    ) {
        let settings = Settings { interval_seconds, max_payload_bytes, ..settings() };
        let records = stepped(&steps);
        let whole = take_all(&mut skipping(settings.clone()), &records);
        let closings = whole.iter().enumerate().filter_map(|(at, output)| match output {
            Output::Closed { last_sequence } => Some((at, *last_sequence)),
            _ => None,
        });
        for (at, last_sequence) in closings {
            let done = usize::try_from(last_sequence).expect("small");
            let mut resumed = skipping(settings.clone());
            prime(&mut resumed, &records[..done]);
            let outputs = take_all(&mut resumed, &records[done..]);
            prop_assert_eq!(shown(&outputs), shown(&whole[at + 1..]));
            prop_assert_eq!(&outputs, &whole[at + 1..], "resumed after record {}", last_sequence);
        }
    }

    #[test]
    fn of_an_encrypted_meter_a_reader_that_begins_later_takes_and_refuses_the_same(
        kinds in proptest::collection::vec((0..8_u8, 0..5_u32), 1..50),
        has_authentication_key: bool,
        has_summary: bool,
    ) {
        let settings = Settings { interval_seconds: 10, has_summary, has_state: has_summary, ..settings() };
        let keys = if has_authentication_key { keys_with_authentication() } else { keys() };
        let aggregator =
            || Aggregator::new(settings.clone(), Decryption::new(Some(keys.clone()), OnTrouble::Wait));
        let records = attacked(&kinds);
        let (whole, refused) = take_attacked(&mut aggregator(), &records);
        let forged = kinds.iter().filter(|(kind, _)| [3, 5, 7].contains(kind)).count();
        prop_assert!(refused as usize >= forged, "{} refused of {} or more", refused, forged);
        let closings = whole.iter().enumerate().filter_map(|(at, output)| match output {
            Output::Closed { last_sequence } => Some((at, *last_sequence)),
            _ => None,
        });
        for (at, last_sequence) in closings {
            let done = usize::try_from(last_sequence).expect("small");
            let mut resumed = aggregator();
            prime(&mut resumed, &records[..done]);
            let (outputs, _) = take_attacked(&mut resumed, &records[done..]);
            prop_assert_eq!(shown(&outputs), shown(&whole[at + 1..]), "resumed after record {}", last_sequence);
            prop_assert_eq!(&outputs, &whole[at + 1..], "resumed after record {}", last_sequence);
        }
    }

    #[test]
    fn every_telegram_is_published_once_and_in_order(steps in steps(), max_payload_bytes in 500..5000_usize) {
        let records = stepped(&steps);
        let outputs = take_all(&mut skipping(Settings { max_payload_bytes, ..settings() }), &records);
        let mut published = Vec::new();
        let mut closed = 0;
        for output in &outputs {
            match output {
                Output::Readings { payload, .. } => {
                    let readings: Vec<Value> = serde_json::from_slice(payload).expect("an array");
                    published.extend(readings.iter().map(|reading| reading["Sequence"].as_u64().expect("a number")));
                }
                Output::Closed { last_sequence } => {
                    prop_assert!(*last_sequence > closed);
                    prop_assert!(published.last().is_none_or(|last| last <= last_sequence));
                    closed = *last_sequence;
                }
                _ => {}
            }
        }
        let readable: Vec<u64> =
            records.iter().filter(|record| record.telegram.len() > 3).map(|record| record.sequence).collect();
        prop_assert_eq!(published, readable);
        prop_assert_eq!(closed, records.len() as u64);
    }

    #[test]
    fn deltas_add_up_to_the_register(steps in steps(), interval_seconds in 1..100_u32) {
        let steps: Vec<_> = steps.into_iter().map(|(step, silence, _)| (step, silence, 9)).collect();
        let records = stepped(&steps);
        let outputs = take_all(&mut skipping(Settings { interval_seconds, ..settings() }), &records);
        let register = |value: &Value| value.to_string().parse::<rust_decimal::Decimal>().expect("a decimal");
        let mut sum = rust_decimal::Decimal::ZERO;
        for summary in summaries(&outputs) {
            sum += register(&summary["registers"]["electricity_import_tariff1_kwh"]["delta"]);
        }
        let risen = rust_decimal::Decimal::new(3 * (i64::try_from(records.len()).expect("small") - 1), 3);
        prop_assert_eq!(sum, risen);
    }
}

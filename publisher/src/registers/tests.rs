//! Deltas of whole sequences of telegrams, whatever is absent from them and wherever reading begins.

use std::ops::RangeInclusive;
use std::path::Path;

use proptest::prelude::*;
use serde_json::{Value, json};
use shared::config::{CrcPolicy, OnTrouble};
use shared::record::Record;
use shared::telegram::assembler::{Found, find_all};

use super::*;
use crate::aggregate::{Aggregator, Output, Settings, Taken};
use crate::decrypt::Decryption;

/// 2026-11-20T08:00:00Z, in winter time 09:00.
const EIGHT: i64 = 1_795_161_600;
const IMPORT: &str = "electricity_import_tariff1_kwh";

fn aggregator(interval_seconds: u32) -> Aggregator {
    let settings = Settings {
        interval_seconds,
        max_payload_bytes: 512 * 1024,
        queue: "a1b2c3d4".to_owned(),
        has_summary: true,
        has_state: true,
    };
    Aggregator::new(settings, Decryption::new(None, OnTrouble::Wait))
}

/// A record of a telegram at this second after eight.
fn record(sequence: u64, seconds: i64, lines: &[String]) -> Record {
    let local = Timestamp::from_second(EIGHT + seconds + 3600).expect("a time");
    let time = local.strftime("%y%m%d%H%M%SW");
    let lines: String = lines.iter().map(|line| format!("{line}\r\n")).collect();
    let telegram = format!("/XYZ5\\2\r\n\r\n0-0:1.0.0({time})\r\n{lines}!0000\r\n");
    Record {
        sequence,
        captured_at_us: (EIGHT + seconds) * 1_000_000,
        silence_ms: 1000,
        telegram: telegram.into_bytes().into(),
    }
}

fn import(kwh: &str) -> String {
    format!("1-0:1.8.1({kwh}*kWh)")
}

fn gas(channel: u8, id: Option<&str>, m3: &str) -> Vec<String> {
    let mut lines = vec![format!("0-{channel}:24.1.0(003)")];
    lines.extend(id.map(|id| format!("0-{channel}:96.1.0({id})")));
    lines.push(format!("0-{channel}:24.2.1(261120080000W)({m3}*m3)"));
    lines
}

fn take(aggregator: &mut Aggregator, records: &[Record]) -> Vec<Output> {
    let mut outputs = Vec::new();
    for record in records {
        assert_eq!(aggregator.take(record, &mut outputs), Taken::Read);
    }
    outputs
}

fn take_all(records: &[Record]) -> Vec<Output> {
    let mut aggregator = aggregator(10);
    let mut outputs = take(&mut aggregator, records);
    aggregator.silence(60_000, &mut outputs);
    outputs
}

fn summaries(outputs: &[Output]) -> Vec<Value> {
    let payloads = outputs.iter().filter_map(|output| match output {
        Output::Summary { payload } => Some(payload),
        _ => None,
    });
    payloads
        .map(|payload| serde_json::from_slice(payload).expect("JSON"))
        .collect()
}

/// The register's delta in each interval, and whether it counts from its first.
fn deltas(outputs: &[Output], register: &str) -> Vec<(Decimal, bool)> {
    let summaries = summaries(outputs).into_iter();
    let spans = summaries.filter_map(|summary| summary["registers"].get(register).cloned());
    spans
        .map(|span| (decimal(&span["delta"].to_string()), span["delta_from"] == "first"))
        .collect()
}

fn expected<const N: usize>(deltas: [(&str, bool); N]) -> [(Decimal, bool); N] {
    deltas.map(|(delta, is_from_first)| (decimal(delta), is_from_first))
}

fn sum(deltas: &[(Decimal, bool)]) -> Decimal {
    deltas.iter().map(|(delta, _)| *delta).sum()
}

fn decimal(text: &str) -> Decimal {
    text.parse().expect("a number")
}

/// What comes of these telegrams, given as the second and the import register, in intervals of ten seconds.
fn of_import(values: &[(i64, &str)]) -> (Vec<Output>, Vec<HeldBack>) {
    let lines = |value: &str| ["0-0:96.1.1(4530)".to_owned(), import(value)];
    let records = (1..)
        .zip(values)
        .map(|(sequence, (seconds, value))| record(sequence, *seconds, &lines(value)));
    let records: Vec<Record> = records.collect();
    let mut aggregator = aggregator(10);
    let mut outputs = take(&mut aggregator, &records);
    aggregator.silence(60_000, &mut outputs);
    (outputs, aggregator.held_back())
}

#[test]
fn reported_sequences_lose_nothing() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/reports");
    if !folder.is_dir() {
        println!("skipped: there is no folder {} of reports", folder.display());
        return;
    }
    for file in [
        "26-gas-missing-in-last-telegram-of-interval.txt",
        "27-gas-line-absent-in-last-telegram.txt",
    ] {
        let bytes = std::fs::read(folder.join(file)).expect("a file");
        let found = find_all(&bytes, CrcPolicy::Auto).into_iter();
        let telegrams = found.filter_map(|found| match found {
            Found::Telegram(telegram) => Some(telegram.bytes),
            Found::Rejected(_) => None,
        });
        let records = (1..).zip(telegrams).map(|(sequence, telegram)| Record {
            telegram: telegram.into(),
            ..record(sequence, 0, &[])
        });
        let records: Vec<Record> = records.collect();
        assert_eq!(records.len(), 6, "{file}");
        assert_eq!(
            sum(&deltas(&take_all(&records), "gas_m3")),
            decimal("0.044"),
            "{file}"
        );
    }
}

#[test]
fn a_total_that_drops_to_zero_and_comes_back_is_no_consumption_and_is_told_once() {
    let (outputs, told) = of_import(&[
        (0, "7842.1"),
        (10, "0"),
        (20, "0"),
        (30, "7842.11"),
        (40, "0"),
        (50, "7842.12"),
    ]);
    assert_eq!(
        deltas(&outputs, IMPORT),
        expected([("0", true), ("0.01", false), ("0.01", false)])
    );
    let held = HeldBack {
        register: IMPORT.to_owned(),
        value: decimal("7842.1"),
        sequence: 2,
    };
    assert_eq!(told, [held]);
    let states = outputs.iter().filter_map(|output| match output {
        Output::State(state) => Some(&state.payload),
        _ => None,
    });
    let shown: Vec<Option<String>> = states
        .map(|payload| {
            let state: Value = serde_json::from_slice(payload).expect("JSON");
            state.get(IMPORT).map(Value::to_string)
        })
        .collect();
    let in_state = [Some("7842.1"), None, None, Some("7842.11"), None, Some("7842.12")];
    assert_eq!(shown, in_state.map(|value| value.map(str::to_owned)));
    let zeros = outputs.iter().filter(|output| match output {
        Output::Readings { payload, .. } => {
            String::from_utf8_lossy(payload).contains(r#""Electricity_incoming_tariff1_kwh":0,"#)
        }
        _ => false,
    });
    assert_eq!(zeros.count(), 3, "readings are as the meter said them");
}

#[test]
fn within_an_interval_a_zero_leaves_no_trace() {
    let (outputs, _) = of_import(&[(0, "7842.1"), (1, "0"), (2, "7842.11"), (3, "0")]);
    assert_eq!(
        summaries(&outputs)[0]["registers"][IMPORT],
        json!({"first": 7842.1, "last": 7842.11, "delta": 0.01, "delta_from": "first"})
    );
}

#[test]
fn a_restarted_meter_that_counts_from_zero_is_a_new_register() {
    let (outputs, _) = of_import(&[(0, "7842.1"), (10, "0"), (20, "0.2"), (30, "0.5")]);
    assert_eq!(
        deltas(&outputs, IMPORT),
        expected([("0", true), ("0", true), ("0.3", false)])
    );
}

#[test]
fn after_ten_minutes_of_zeros_the_register_is_new() {
    let (outputs, _) = of_import(&[(0, "7842.1"), (10, "0"), (609, "0"), (610, "0"), (620, "0.2")]);
    assert_eq!(
        deltas(&outputs, IMPORT),
        expected([("0", true), ("0", true), ("0.2", false)])
    );
}

#[test]
fn a_clock_that_jumps_during_a_restart_makes_no_huge_delta() {
    for jump in [-400_000_000, 400_000_000] {
        let (outputs, _) = of_import(&[
            (0, "7842.1"),
            (10, "0"),
            (jump, "0"),
            (jump + 1, "0"),
            (30, "7842.11"),
        ]);
        let deltas = deltas(&outputs, IMPORT);
        assert_eq!(sum(&deltas), decimal("0.01"), "{deltas:?}");
    }
}

#[test]
fn a_register_that_wraps_begins_again() {
    let (outputs, _) = of_import(&[(0, "99999.998"), (10, "0.003"), (20, "0.005")]);
    assert_eq!(
        deltas(&outputs, IMPORT),
        expected([("0", true), ("0", true), ("0.002", false)])
    );
}

#[test]
fn a_register_below_zero_goes_either_way() {
    let (outputs, _) = of_import(&[(0, "0.5"), (10, "-1"), (20, "-1.5"), (30, "-1"), (40, "0.25")]);
    assert_eq!(
        deltas(&outputs, IMPORT),
        expected([
            ("0", true),
            ("-1.5", false),
            ("-0.5", false),
            ("0.5", false),
            ("1.25", false)
        ])
    );
}

#[test]
fn gas_with_a_valid_time_and_zero_is_held_back_too() {
    let at = |sequence, seconds, value| record(sequence, seconds, &gas(1, Some("31"), value));
    let outputs = take_all(&[at(1, 0, "5123.456"), at(2, 10, "0"), at(3, 20, "5123.5")]);
    assert_eq!(
        deltas(&outputs, "gas_m3"),
        expected([("0", true), ("0.044", false)])
    );
}

#[test]
fn devices_without_identifiers_are_told_apart_by_their_channel() {
    let both = |old: &str, new: &str| [gas(1, None, old), gas(2, None, new)].concat();
    let outputs = take_all(&[
        record(1, 0, &both("10", "500")),
        record(2, 10, &gas(2, None, "501")),
        record(3, 20, &both("11", "503")),
    ]);
    let plain = sum(&deltas(&outputs, "gas_m3"));
    assert_eq!(
        plain,
        decimal("1"),
        "channel 1 has the name, then 2, then 1 again"
    );
    assert_eq!(sum(&deltas(&outputs, "gas_channel2_m3")), decimal("3"));
}

#[test]
fn the_state_of_the_head_leaves_out_a_total_that_fell_to_zero() {
    let mut aggregator = aggregator(10);
    let at = |sequence, value| record(sequence, 0, &[import(value)]);
    let shows = |aggregator: &mut Aggregator, record: &Record| {
        let state = aggregator.state_of(record).expect("a state");
        String::from_utf8_lossy(&state.payload).contains(IMPORT)
    };
    assert!(shows(&mut aggregator, &at(9, "0")), "nothing is known of it");
    aggregator.prime(&at(1, "7842.1"));
    assert!(!shows(&mut aggregator, &at(9, "0")));
    assert!(shows(&mut aggregator, &at(9, "7842.2")));
}

#[test]
fn a_meter_of_many_identifiers_does_not_grow_the_memory() {
    let mut registers = Registers::default();
    for sequence in 1..=1000 {
        let mut lines = gas(1, Some(&sequence.to_string()), "1");
        lines.extend([format!("0-0:96.1.1({sequence})"), import("1")]);
        let record = record(sequence, 0, &lines);
        registers.read(
            &shared::dsmr::parse(&record.telegram),
            sequence,
            Timestamp::UNIX_EPOCH,
        );
        assert!(registers.entries.len() <= MOST_ENTRIES);
        assert!(registers.ids.len() <= 5);
    }
}

#[test]
fn a_register_that_was_away_for_longer_than_the_look_back_begins_again_for_every_reader() {
    for (absent, delta) in [(LOOK_BACK - 1, ("1", false)), (LOOK_BACK, ("0", true))] {
        let last = absent + 2;
        let lines = |sequence| match sequence {
            1 => vec![import("5")],
            _ if sequence == last => vec![import("6")],
            _ => Vec::new(),
        };
        let seconds = |sequence| i64::try_from(sequence).expect("small") * 10;
        let records =
            [1, last - 1, last].map(|sequence| record(sequence, seconds(sequence), &lines(sequence)));
        let deltas_of = |aggregator: &mut Aggregator, records: &[Record]| {
            let mut outputs = take(aggregator, records);
            aggregator.silence(60_000, &mut outputs);
            deltas(&outputs, IMPORT)
        };
        let [from_the_start, back] = expected([("0", true), delta]);
        assert_eq!(deltas_of(&mut aggregator(10), &records), [from_the_start, back]);
        let (before, rest) = records.split_at(records.len() - 1);
        assert_eq!(
            deltas_of(&mut resumed(10, before), rest),
            [back],
            "{absent} absent"
        );
    }
}

/// What is generated of a telegram: seconds since the one before; whether the value and the identifier of import and
/// of gas are present; which of the two meters is exchanged with it; how much both have counted, in thousandths.
type Made = (i64, [bool; 4], usize, u32);

fn made(most: usize) -> impl Strategy<Value = Vec<Made>> {
    let step = prop_oneof![8 => 1..12_i64, 1 => 30..200_i64];
    let is_present = prop::array::uniform4(prop::bool::weighted(0.6));
    proptest::collection::vec((step, is_present, 0..16_usize, 0..50_u32), 1..most)
}

/// A register of one device, with its values and their sequences.
struct Counted {
    register: &'static str,
    device: u32,
    values: Vec<(u64, Decimal)>,
}

fn generated(made: &[Made]) -> (Vec<Record>, Vec<Counted>) {
    let (mut seconds, mut counts, mut devices, mut is_stated) = (0, [1_000_u32, 5_000], [0, 0], [false; 2]);
    let (mut records, mut counted) = (Vec::new(), Vec::<Counted>::new());
    for (sequence, (step, is_present, exchanged, grown)) in (1..).zip(made) {
        seconds += step;
        let mut lines = vec!["0-1:24.1.0(003)".to_owned()];
        for at in 0..2 {
            counts[at] += grown;
            if *exchanged == at {
                devices[at] += 1;
                is_stated[at] = false;
                // The new one can be above the old one, and below it.
                counts[at] = (counts[at] * 7 + 3) % 9_000 + 1;
            }
            // A device that has never said who it is cannot be told from the one before.
            if is_present[at * 2 + 1] || !is_stated[at] {
                is_stated[at] = true;
                let reference = ["0-0:96.1.1", "0-1:96.1.0"][at];
                lines.push(format!("{reference}(45{:02})", devices[at]));
            }
            if !is_present[at * 2] {
                continue;
            }
            let value = Decimal::new(i64::from(counts[at]), 3);
            lines.push(match at {
                0 => import(&value.to_string()),
                _ => format!("0-1:24.2.1(261120080000W)({value}*m3)"),
            });
            let (register, device) = ([IMPORT, "gas_m3"][at], devices[at]);
            let same = |known: &&mut Counted| known.register == register && known.device == device;
            match counted.iter_mut().find(same) {
                Some(known) => known.values.push((sequence, value)),
                None => counted.push(Counted {
                    register,
                    device,
                    values: vec![(sequence, value)],
                }),
            }
        }
        records.push(record(sequence, seconds, &lines));
    }
    (records, counted)
}

/// The delta of an interval, and whether a device is new in it. None if there is no value in it.
fn delta(counted: &[Counted], register: &str, interval: &RangeInclusive<u64>) -> Option<(Decimal, bool)> {
    let devices = counted.iter().filter(|counted| counted.register == register);
    let deltas = devices.filter_map(|device| {
        let values = device.values.iter();
        let mut within = values.clone().filter(|(sequence, _)| interval.contains(sequence));
        let before = values.rev().find(|(sequence, _)| sequence < interval.start());
        let (first, last) = (within.clone().next()?, within.next_back()?);
        Some((last.1 - before.unwrap_or(first).1, before.is_none()))
    });
    deltas.reduce(|sum, device| (sum.0 + device.0, sum.1 || device.1))
}

/// An aggregation that has been shown as many of the records before as it asks for.
fn resumed(interval_seconds: u32, before: &[Record]) -> Aggregator {
    let mut aggregator = aggregator(interval_seconds);
    let last = before.last().map_or(0, |record| record.sequence);
    let from = last.saturating_sub(aggregator.look_back());
    for record in before.iter().filter(|record| record.sequence > from) {
        aggregator.prime(record);
    }
    aggregator
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn deltas_add_up_whatever_is_absent_and_wherever_reading_is_interrupted(
        made in made(60),
        interval_seconds in prop_oneof![Just(1_u32), Just(10), Just(60), Just(3600)],
        interruptions in proptest::collection::vec(any::<bool>(), 60),
    ) {
        let (records, counted) = generated(&made);
        let (mut outputs, mut next) = (Vec::new(), 0);
        let mut interruptions = interruptions.into_iter();
        while next < records.len() {
            let mut aggregator = resumed(interval_seconds, &records[..next]);
            let mut of_this = take(&mut aggregator, &records[next..]);
            aggregator.silence(60_000, &mut of_this);
            for output in of_this {
                let Output::Closed { last_sequence } = output else {
                    outputs.push(output);
                    continue;
                };
                // Ended after one of its commits: the next one begins behind it.
                next = usize::try_from(last_sequence).expect("small");
                if interruptions.next().unwrap_or(false) {
                    break;
                }
            }
        }
        let mut sums = [Decimal::ZERO; 2];
        for summary in summaries(&outputs) {
            let sequence = |key: &str| summary[key].as_u64().expect("a number");
            let interval = sequence("first_sequence")..=sequence("last_sequence");
            for (register, sum) in [IMPORT, "gas_m3"].into_iter().zip(&mut sums) {
                let span = summary["registers"].get(register);
                let got = span.map(|span| (decimal(&span["delta"].to_string()), span["delta_from"] == "first"));
                prop_assert_eq!(got, delta(&counted, register, &interval), "{} in {:?}", register, interval);
                *sum += got.map_or(Decimal::ZERO, |(delta, _)| delta);
            }
        }
        for (register, sum) in [IMPORT, "gas_m3"].into_iter().zip(sums) {
            let devices = counted.iter().filter(|counted| counted.register == register);
            let grown = devices.map(|device| device.values[device.values.len() - 1].1 - device.values[0].1);
            prop_assert_eq!(sum, grown.sum::<Decimal>(), "{}", register);
        }
    }

    #[test]
    fn what_is_further_back_than_the_look_back_changes_no_bytes(
        made in made(200),
        zeros in proptest::collection::vec(any::<bool>(), 200),
        skipped in 0..17_usize,
    ) {
        let (mut records, _) = generated(&made);
        for (record, _) in records.iter_mut().zip(zeros).filter(|(_, is_zero)| *is_zero) {
            let text = String::from_utf8(record.telegram.to_vec()).expect("ASCII");
            let lines = text.split_inclusive("\r\n");
            let lines = lines.map(|line| if line.contains("*kWh") { "1-0:1.8.1(0*kWh)\r\n" } else { line });
            record.telegram = lines.collect::<String>().into_bytes().into();
        }
        // Of sequences this far apart a look back holds sixty.
        for record in &mut records {
            record.sequence *= LOOK_BACK / 60;
        }
        let whole = take(&mut aggregator(10), &records);
        // Each reads all the rest, so not after every one of them.
        for (at, output) in whole.iter().enumerate().skip(skipped).step_by(17) {
            if let Output::Closed { last_sequence } = output {
                let done = usize::try_from(*last_sequence / (LOOK_BACK / 60)).expect("small");
                let outputs = take(&mut resumed(10, &records[..done]), &records[done..]);
                prop_assert_eq!(&outputs, &whole[at + 1..], "resumed after record {}", last_sequence);
            }
        }
    }
}

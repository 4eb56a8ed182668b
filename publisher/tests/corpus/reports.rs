//! Reports of other readers' users: an input each, and what is right. `P1_REPORTS` names their folder, by default
//! `../shared/reports` beside the repository.

use std::collections::BTreeSet;
use std::path::Path;

use publisher::aggregate::{Aggregator, Output, Settings, Taken};
use publisher::decrypt::Decryption;
use serde_json::{Value, json};
use shared::config::{CrcPolicy, OnTrouble};
use shared::record::Record;

use super::{folder, parsed, telegrams};

/// What comes of a file: the readings that `publisher parse` prints.
type Claim = fn(&[Value], &Path);

const REPORTS: [(&str, Claim); 15] = [
    ("01m-demand-value-then-time.txt", |readings, _| {
        must_hold(
            &readings[0],
            &[
                ("Maximum_demand_month_kW", json!(8.796)),
                ("Maximum_demand_month_time", json!("2026-01-02T00:00:00Z")),
                ("Other_objects", Value::Null),
            ],
        );
    }),
    ("03m-kA.txt", |readings, _| {
        must_hold(
            &readings[0],
            &[
                ("Instantaneous_current_l1_amp", json!(5)),
                ("Instantaneous_current_l2_amp", json!(5)),
                ("Voltage_L1_V", json!(230.1)),
                ("Other_objects", Value::Null),
            ],
        );
    }),
    ("03-lt-eso5.txt", |readings, _| {
        must_hold(
            &readings[0],
            &[
                ("Instantaneous_current_l1_amp", json!(5)),
                ("Instantaneous_current_l2_amp", json!(4)),
                ("Instantaneous_current_l3_amp", json!(4)),
                ("Voltage_L1_V", json!(242)),
                ("Voltage_L2_V", json!(228)),
                ("Voltage_L3_V", json!(239)),
                ("Fuse_threshold_A", json!(3)),
                ("Electricity_incoming_total_kwh", json!(9548.086)),
                ("Electricity_outgoing_tariff1_kwh", json!(7251.697)),
                ("Electricity_incoming_tariff3_kwh", json!(0)),
                ("InstantaneousPower_outgoing_L3_kW", json!(1.014)),
            ],
        );
    }),
    ("05n-duplicate-in-98.1.0-block.txt", |readings, _| {
        must_hold(
            &readings[0],
            &[
                ("Electricity_incoming_total_kwh", json!(3668.743)),
                ("Date_timestamp", json!("2026-01-04T15:25:15Z")),
                (
                    "Other_objects",
                    json!({"0-0:98.1.0": ["0-0:1.0.0(260101000000W)", "1-0:1.8.0(00003600.000*kWh)"]}),
                ),
            ],
        );
    }),
    ("10-clock-2000.txt", |readings, path| {
        assert!(readings.iter().all(|reading| reading["Date_timestamp"] == ""));
        let outputs = aggregated(path, 60, 10);
        let mut starts = BTreeSet::new();
        for reading in outputs.iter().flat_map(Outputs::readings) {
            assert_eq!(reading["Date_timestamp"], reading["Received_at"]);
            assert_eq!(reading["Power_failure_history"], json!([]));
        }
        for summary in outputs.iter().filter_map(Outputs::summary) {
            starts.insert(summary["interval_start"].as_str().unwrap_or_default().to_owned());
        }
        let expected = ["2026-11-20T08:00:00Z", "2026-11-20T08:01:00Z"];
        assert_eq!(starts, BTreeSet::from(expected.map(str::to_owned)));
    }),
    ("11b-gas-exchanged-old-one-ahead.txt", |readings, path| {
        must_hold(
            &readings[0],
            &[
                ("Gas_readings/0/Value_m3", json!(17.1)),
                ("Gas_device_id", json!("4730300000000000000000000000000002")),
                ("Mbus_devices/0/Value", json!(1269.375)),
                ("Mbus_devices/1/Value", json!(17.1)),
            ],
        );
        let outputs = aggregated(path, 60, 10);
        let state = outputs.iter().find_map(Outputs::state).expect("a state");
        must_hold(
            &state,
            &[
                ("gas_m3", json!(17.1)),
                ("gas_channel1_m3", json!(1269.375)),
                ("gas_channel2_m3", json!(17.1)),
            ],
        );
    }),
    ("14m-gas-no-value-000101010000W.txt", |readings, path| {
        must_hold(
            &readings[0],
            &[
                ("Gas_readings", json!([])),
                ("Gas_device_type", json!("003")),
                ("Mbus_devices/0/Value", Value::Null),
                (
                    "Other_objects",
                    json!({"0-1:24.2.1": ["000101010000W", "0000000000"]}),
                ),
            ],
        );
        let outputs = aggregated(path, 60, 10);
        let state = outputs.iter().find_map(Outputs::state).expect("a state");
        assert_eq!(state.get("gas_m3"), None);
        let summary = outputs.iter().find_map(Outputs::summary).expect("a summary");
        assert_eq!(summary["registers"], json!({}));
    }),
    ("14d-marker-000101010000W.txt", |readings, path| {
        assert_eq!(readings[1]["Gas_readings"], json!([]));
        must_add_up_to(&deltas(path, 30, "gas_m3"), "0.044");
    }),
    (
        "26-gas-missing-in-last-telegram-of-interval.txt",
        |readings, path| {
            assert_eq!(readings[2]["Gas_readings"], json!([]));
            must_add_up_to(&deltas(path, 10, "gas_m3"), "0.044");
        },
    ),
    ("27-gas-line-absent-in-last-telegram.txt", |readings, path| {
        assert_eq!(readings[2]["Gas_readings"], json!([]));
        must_add_up_to(&deltas(path, 10, "gas_m3"), "0.044");
    }),
    ("08-de-mt382.txt", |readings, _| {
        must_hold(
            &readings[0],
            &[
                ("Equipment_id", json!("3100000000000000000000000037")),
                ("Actualpower_incoming_kW", json!(1.322)),
                ("Electricity_incoming_total_kwh", json!(10192.57)),
                ("Electricity_incoming_tariff1_kwh", json!(6094.31)),
                ("Electricity_incoming_tariff2_kwh", json!(1410.19)),
                ("Electricity_incoming_tariff3_kwh", json!(981.3)),
                ("Electricity_incoming_tariff4_kwh", json!(1706.76)),
                ("Electricity_incoming_tariff5_kwh", json!(0)),
                ("Electricity_outgoing_total_kwh", json!(6715.38)),
                ("Maximum_demand_month_kW", json!(7.072)),
                ("Maximum_demand_month_time", Value::Null),
                ("Other_objects/1-0:1.2.0", json!(["106.732*kW"])),
                ("Other_objects/1-0:0.2.2", json!(["Smart001"])),
            ],
        );
    }),
    ("09-de-ebz.txt", |readings, _| {
        assert_eq!(readings.len(), 2);
        must_hold(
            &readings[0],
            &[
                ("Manufacture_spec", json!("EBZ5DD3BZ06ETA_107")),
                ("Equipment_id", json!("1EBZ0100000001")),
                ("Actualpower_signed_kW", json!(0.37054)),
                ("Other_objects/1-0:36.7.0", json!(["000241.91*W"])),
            ],
        );
        assert_eq!(
            readings[0]["Electricity_incoming_total_kwh"].to_string(),
            "422.20196574"
        );
        must_hold(
            &readings[1],
            &[
                ("Electricity_outgoing_total_kwh", json!(22.1)),
                ("Actualpower_signed_kW", json!(-0.37054)),
                ("Other_objects/1-0:36.7.0", json!(["-000241.91*W"])),
            ],
        );
    }),
    ("13-dst-end.txt", |readings, _| {
        let times: Vec<_> = readings
            .iter()
            .filter_map(|reading| reading["Date_timestamp"].as_str())
            .collect();
        let expected = [
            "2016-10-30T00:59:50Z",
            "2016-10-30T00:59:55Z",
            "2016-10-30T01:00:00Z",
            "2016-10-30T01:00:10Z",
            "2016-10-30T01:05:00Z",
        ];
        assert_eq!(times, expected);
        assert_eq!(
            readings[0]["Gas_readings"][0]["Capture_time"],
            "2016-10-30T00:00:00Z"
        );
        assert_eq!(
            readings[2]["Gas_readings"][0]["Capture_time"],
            "2016-10-30T01:00:00Z"
        );
    }),
    ("19a-hu-raw-ff-arc.bin", |readings, _| {
        must_hold(
            &readings[0],
            &[
                ("Electricity_incoming_total_kwh", json!(3600)),
                ("Text_msg_maxchars", json!(1024)),
                ("Text_msg", json!("\u{ff}".repeat(1024))),
                ("Other_objects/0-0:98.1.0/1", json!("003533.017*kWh")),
                ("Maximum_demand_history", Value::Null),
            ],
        );
    }),
    ("29-dot255-empty-values.txt", |readings, path| {
        must_hold(
            &readings[0],
            &[
                ("Version_info", json!("50")),
                ("Date_timestamp", json!("2023-03-10T05:17:19Z")),
                ("Electricity_incoming_tariff1_kwh", json!(0)),
                ("Electricity_outgoing_tariff1_kwh", json!(1.5)),
                ("Tarrif_id", json!("0002")),
                ("Gas_readings/0/Value_m3", json!(12.345)),
                ("Other_objects", Value::Null),
            ],
        );
        let outputs = aggregated(path, 60, 10);
        let state = outputs.iter().find_map(Outputs::state).expect("a state");
        assert_eq!(state.get("electricity_import_tariff1_kwh"), None);
    }),
];

#[test]
fn every_report_comes_out_right() {
    let Some(reports) = folder("P1_REPORTS", "reports", "reports") else {
        return;
    };
    for (file, claim) in REPORTS {
        let path = reports.join(file);
        let (readings, problems) = parsed(&path);
        let problems: Vec<_> = problems
            .iter()
            .filter(|problem| !problem.contains("outside"))
            .collect();
        assert!(problems.is_empty(), "{file}: {problems:?}");
        println!("{file}");
        claim(&readings, &path);
    }
    let index = std::fs::read_to_string(reports.join("INDEX.tsv")).expect("the index");
    let listed: BTreeSet<&str> = index
        .lines()
        .skip(1)
        .filter_map(|line| line.split('\t').next())
        .collect();
    assert_eq!(
        listed,
        REPORTS.map(|(file, _)| file).into(),
        "every report is claimed"
    );
}

/// Asserts what stands behind these JSON pointers, without their first slash; null is nothing.
fn must_hold(found: &Value, expected: &[(&str, Value)]) {
    for (pointer, expected) in expected {
        let there = found.pointer(&format!("/{pointer}")).unwrap_or(&Value::Null);
        assert_eq!(there, expected, "{pointer} in {found}");
    }
}

/// What the aggregation makes of a file.
enum Outputs {
    Readings(Vec<Value>),
    Summary(Value),
    State(Value),
}

impl Outputs {
    fn readings(&self) -> &[Value] {
        match self {
            Self::Readings(readings) => readings,
            _ => &[],
        }
    }

    fn summary(&self) -> Option<Value> {
        match self {
            Self::Summary(summary) => Some(summary.clone()),
            _ => None,
        }
    }

    fn state(&self) -> Option<Value> {
        match self {
            Self::State(state) => Some(state.clone()),
            _ => None,
        }
    }
}

/// The file's telegrams, captured so many seconds apart from 2026-11-20T08:00:00Z on, in intervals of this length.
fn aggregated(path: &Path, interval_seconds: u32, seconds_apart: u64) -> Vec<Outputs> {
    const EIGHT_US: i64 = 1_795_161_600_000_000;
    let settings = Settings {
        interval_seconds,
        max_payload_bytes: 1 << 20,
        queue: "abcd2345".to_owned(),
        has_summary: true,
        has_state: true,
    };
    let mut aggregator = Aggregator::new(settings, Decryption::new(None, OnTrouble::Skip));
    let mut outputs = Vec::new();
    let bytes = std::fs::read(path).expect("the file");
    for (sequence, telegram) in (1..).zip(telegrams(&bytes, CrcPolicy::Auto)) {
        let after_us = (sequence - 1) * seconds_apart * 1_000_000;
        let record = Record {
            sequence,
            captured_at_us: EIGHT_US + i64::try_from(after_us).expect("a short file"),
            silence_ms: seconds_apart * 1000,
            telegram: telegram.into(),
        };
        assert_eq!(aggregator.take(&record, &mut outputs), Taken::Read);
    }
    aggregator.silence(u64::MAX, &mut outputs);
    let value = |payload: &[u8]| serde_json::from_slice(payload).expect("JSON");
    let outputs = outputs.into_iter().filter_map(|output| match output {
        Output::Readings { payload, .. } => Some(Outputs::Readings(
            serde_json::from_slice(&payload).expect("an array"),
        )),
        Output::Summary { payload } => Some(Outputs::Summary(value(&payload))),
        Output::State(state) => Some(Outputs::State(value(&state.payload))),
        Output::Closed { .. } => None,
    });
    outputs.collect()
}

/// By how much a register grows in each interval.
fn deltas(path: &Path, interval_seconds: u32, register: &str) -> Vec<f64> {
    let outputs = aggregated(path, interval_seconds, 5);
    let summaries = outputs.iter().filter_map(Outputs::summary);
    summaries
        .filter_map(|summary| summary["registers"][register]["delta"].as_f64())
        .collect()
}

/// Asserts that none of them falls, and of their sum to the litre.
fn must_add_up_to(deltas: &[f64], sum: &str) {
    assert!(deltas.iter().all(|delta| *delta >= 0.0), "{deltas:?}");
    assert_eq!(format!("{:.3}", deltas.iter().sum::<f64>()), sum, "{deltas:?}");
}

//! Sums of few telegrams, worked out by hand.

use serde_json::{Value, json};
use shared::dsmr;

use super::*;

/// The summary of telegrams with these lines, the first of which came before the interval.
fn summary(before: &[&str], telegrams: &[&[&str]]) -> Value {
    let bytes = |lines: &[&str]| format!("/X\r\n\r\n{}\r\n!\r\n", lines.join("\r\n")).into_bytes();
    let (mut summary, mut registers) = (Summary::default(), Registers::default());
    registers.read(&dsmr::parse(&bytes(before)), 100, Timestamp::UNIX_EPOCH);
    for (sequence, lines) in (101..).zip(telegrams) {
        let telegram = bytes(lines);
        summary.add(
            &dsmr::parse(&telegram),
            sequence,
            Timestamp::UNIX_EPOCH,
            &mut registers,
        );
    }
    let moment = |text: &str| text.parse().expect("a time");
    let payload = summary.to_payload(moment("2026-11-20T08:00:00Z"), moment("2026-11-20T08:01:00Z"));
    serde_json::from_slice(&payload).expect("JSON")
}

#[test]
fn the_whole_object() {
    let summary = summary(
        &["0-0:96.1.1(4530)", "1-0:1.8.1(000003.360*kWh)"],
        &[
            &[
                "0-0:96.1.1(4530)",
                "1-0:1.8.1(000003.365*kWh)",
                "1-0:1.7.0(00.180*kW)",
            ],
            &[
                "0-0:96.1.1(4530)",
                "1-0:1.8.1(000003.369*kWh)",
                "1-0:1.7.0(00.451*kW)",
            ],
        ],
    );
    let expected = json!({
        "interval_start": "2026-11-20T08:00:00Z", "interval_end": "2026-11-20T08:01:00Z",
        "telegrams": 2, "first_sequence": 101, "last_sequence": 102, "equipment_id": "E0",
        "registers": {"electricity_import_tariff1_kwh": {"first": 3.365, "last": 3.369, "delta": 0.009}},
        // (0.180 + 0.451) / 2 = 0.3155, whose even neighbour is 0.316.
        "gauges": {"power_import_kw": {"min": 0.18, "mean": 0.316, "max": 0.451, "last": 0.451}},
    });
    assert_eq!(summary, expected);
}

#[test]
fn a_mean_is_rounded_half_to_even_at_the_finest_resolution() {
    let mean =
        |name: &str, telegrams: &[&[&str]]| summary(&[], telegrams)["gauges"][name]["mean"].to_string();
    assert_eq!(
        mean(
            "power_import_kw",
            &[&["1-0:1.7.0(0.001*kW)"], &["1-0:1.7.0(0.002*kW)"]]
        ),
        "0.002"
    );
    assert_eq!(
        mean(
            "power_import_kw",
            &[&["1-0:1.7.0(0.002*kW)"], &["1-0:1.7.0(0.003*kW)"]]
        ),
        "0.002"
    );
    assert_eq!(
        mean(
            "power_import_kw",
            &[
                &["1-0:1.7.0(1.01*kW)"],
                &["1-0:1.7.0(1*kW)"],
                &["1-0:1.7.0(1*kW)"]
            ]
        ),
        "1.003"
    );
    assert_eq!(
        mean(
            "power_import_kw",
            &[
                &["1-0:1.7.0(001688.21*W)"],
                &["1-0:1.7.0(1*kW)"],
                &["1-0:1.7.0(1*kW)"]
            ]
        ),
        "1.2294"
    );
    assert_eq!(
        mean("current_l1_a", &[&["1-0:31.7.0(001*A)"], &["1-0:31.7.0(002*A)"]]),
        "1.5"
    );
}

#[test]
fn devices_have_the_names_of_their_kind_and_unit() {
    let summary = summary(
        &[],
        &[&[
            "0-1:24.1.0(003)",
            "0-1:24.2.1(200512134558S)(00112.384*m3)",
            "0-2:24.1.0(007)",
            "0-2:24.2.1(200512134558S)(00872.234*m3)",
            "0-3:24.1.0(004)",
            "0-3:24.2.1(200512134558S)(12785.333*MJ)",
            "0-4:24.1.0(012)",
            "0-4:24.2.1(200512134558S)(00005.500)",
        ]],
    );
    let registers = summary["registers"].as_object().expect("an object");
    let lasts: Vec<_> = registers
        .iter()
        .map(|(name, span)| (name.as_str(), span["last"].to_string()))
        .collect();
    let expected = [
        ("gas_m3", "112.384".to_owned()),
        ("heat_gj", "12.785333".to_owned()),
        ("heat_or_cooling_gj", "5.5".to_owned()),
        ("water_m3", "872.234".to_owned()),
    ];
    assert_eq!(lasts, expected);
}

#[test]
fn of_two_gas_meters_the_live_one_has_the_plain_name_and_both_have_their_channels() {
    let exchanged = [
        "0-1:24.1.0(003)",
        "0-1:96.1.0(31)",
        "0-1:24.2.1(190320181003W)(00304.089*m3)",
        "0-2:24.1.0(003)",
        "0-2:96.1.0(32)",
        "0-2:24.2.1(200320181003W)(00001.089*m3)",
    ];
    let summary = summary(&[], &[&exchanged]);
    let registers = summary["registers"].as_object().expect("an object");
    let lasts: Vec<_> = registers
        .iter()
        .map(|(name, span)| (name.as_str(), span["last"].to_string()))
        .collect();
    let expected = [
        ("gas_channel1_m3", "304.089".to_owned()),
        ("gas_channel2_m3", "1.089".to_owned()),
        ("gas_m3", "1.089".to_owned()),
    ];
    assert_eq!(lasts, expected);
}

#[test]
fn a_delta_does_not_run_from_one_device_to_another() {
    let gas = |id: &'static str, reading: &'static str| ["0-1:24.1.0(003)", id, reading];
    let old = gas("0-1:96.1.0(31)", "0-1:24.2.1(190320181003W)(00304.089*m3)");
    let new = gas("0-1:96.1.0(32)", "0-1:24.2.1(200320181003W)(00001.089*m3)");
    let summary = summary(&old, &[&new]);
    let expected = json!({"first": 1.089, "last": 1.089, "delta": 0, "delta_from": "first"});
    assert_eq!(summary["registers"]["gas_m3"], expected);
}

#[test]
fn numbers_with_as_many_digits_as_a_decimal_holds_are_summed_up() {
    let long = ["1-0:1.7.0(1.2345678901234567890123456789*kW)"];
    let summary = summary(&[], &[&long, &long]);
    let gauge = &summary["gauges"]["power_import_kw"];
    assert_eq!(gauge["max"].to_string(), "1.2345678901234567890123456789");
    assert!(
        gauge["mean"].to_string().starts_with("1.2345678901234567890"),
        "{gauge}"
    );
}

#[test]
fn what_no_household_has_is_in_no_summary() {
    let large = [
        "1-0:1.7.0(79228162514264337593543950335*kW)",
        "1-0:1.8.1(260102010000*kWh)",
        "0-1:24.1.0(003)",
        "0-1:24.2.1(200512134558S)(99999999.999*m3)",
    ];
    let summary = summary(&large, &[&large, &large]);
    assert_eq!(summary["gauges"], json!({}));
    assert_eq!(summary["registers"], json!({}));
}

#[test]
fn a_meter_without_identifier_is_named_by_its_identification_line() {
    let summary = summary(&[], &[&["1-0:1.8.0(00000003.997*kWh)"]]);
    assert_eq!(summary["equipment_id"], "X");
}

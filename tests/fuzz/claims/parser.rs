//! Any bytes are read without a panic, and what is published of them is JSON no larger than their size times
//! a small constant. No number in it is more than a household can have, no time of before the standard, and what is
//! neither is kept as it came.

use std::collections::BTreeSet;

use shared::dsmr::{DeviceUnit, Measure, Quantity, Readings};

/// A byte of a telegram is at most `\u00XX` in JSON; an M-Bus device's identifier stands there twice, and a
/// list of what was half understood once more.
const LARGEST_FACTOR: usize = 24;

/// The keys that are always there, and all the others' names.
const KEYS_BYTES: usize = 8 * 1024;

/// Asserts every claim for these bytes.
pub(crate) fn hold_for(bytes: &[u8]) {
    let readings = shared::dsmr::parse(bytes);
    let mut out = Vec::new();
    publisher::reading::write(&mut out, &readings, None);
    assert!(
        out.len() <= bytes.len() * LARGEST_FACTOR + KEYS_BYTES,
        "{} bytes of JSON for {} bytes of telegram",
        out.len(),
        bytes.len()
    );
    let value: serde_json::Value = serde_json::from_slice(&out).expect("JSON");
    let kept = value["Other_objects"].as_object();
    let references: BTreeSet<_> = (readings.other.iter())
        .map(|object| object.reference().into_owned())
        .collect();
    assert_eq!(
        kept.map_or(0, serde_json::Map::len),
        references.len(),
        "each reference stands there once"
    );
    for object in &readings.other {
        let groups = kept.and_then(|kept| kept[&*object.reference()].as_array());
        let groups = groups.expect("what has no key is kept");
        for group in object.groups() {
            assert!(groups.iter().any(|kept| *kept == *group), "{group:?} is not kept");
        }
    }
    for misfit in &readings.misfits {
        assert!(
            readings.other.contains(&misfit.object),
            "{misfit}: it is not kept"
        );
        let said = misfit.to_string();
        assert!(!said.chars().any(char::is_control), "{said:?}");
        let quote = said.split_once('"').map_or(0, |(_, quote)| quote.chars().count());
        assert!(quote <= 64 * LONGEST_ESCAPE + LONGEST_CAUSE, "{said}");
    }
    numbers_are_possible(&readings);
    times_are_possible(&readings);
}

/// `\u{7f}`.
const LONGEST_ESCAPE: usize = 6;
/// Behind a quote.
const LONGEST_CAUSE: usize = 80;

fn numbers_are_possible(readings: &Readings<'_>) {
    for quantity in Quantity::ALL {
        let Some(number) = readings.quantity(quantity) else {
            continue;
        };
        if quantity.is_off(number) {
            continue;
        }
        let (least, most) = match quantity.measure() {
            Measure::Energy => (-100_000_000, 100_000_000),
            Measure::Power => (-225, 225),
            Measure::StatedPower => (0, 225),
            Measure::Voltage => (0, 300),
            Measure::Current => (-250, 250),
            Measure::StatedCurrent => (0, 250),
            Measure::Count => (0, 99_999),
        };
        assert!(
            number >= least.into() && number <= most.into(),
            "{quantity:?}: {number}"
        );
    }
    for device in &readings.devices {
        if let Some((number, unit)) = device.register() {
            let most = match unit {
                DeviceUnit::CubicMetre => 10_000_000,
                DeviceUnit::GigaJoule => 360_000,
                DeviceUnit::KilowattHour => 100_000_000,
            };
            assert!(number.abs() <= most.into(), "{device:?}");
        }
    }
}

fn times_are_possible(readings: &Readings<'_>) {
    // The last day of 2004 in UTC, which is the first of 2005 where meters are.
    const EARLIEST_SECONDS: i64 = 1_104_444_000;
    let peaks = readings.maximum_demand_history.iter().flatten();
    let times = [
        readings.time,
        readings.maximum_demand_month_time,
        readings.maximum_export_demand_month_time,
    ];
    let times = (times.into_iter().flatten())
        .chain(readings.power_failures.iter().map(|failure| failure.ended))
        .chain(peaks.flat_map(|peak| [Some(peak.period), peak.time]).flatten())
        .chain(
            readings
                .devices
                .iter()
                .filter_map(|device| Some(device.reading.as_ref()?.time)),
        );
    for time in times {
        assert!(time.as_second() >= EARLIEST_SECONDS, "{time}");
    }
}

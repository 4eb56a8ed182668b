//! The JSON object of one telegram.
//!
//! First come the keys of the Go program that this one replaces, with its spelling, in its order, always
//! all of them: a number that the meter does not send is 0, a text `""`, a list `[]`. Then come the keys
//! that it did not have, left out where the meter does not send them; last `Other_objects` with everything
//! that has no key of its own, each as the contents of its brackets.
//!
//! `Instantaneous_activepower_incoming_kW` and `…_outgoing_kW` are always 0, as they were: no reference
//! stands for them.

use std::ops::Range;
use std::sync::LazyLock;

use jiff::Timestamp;
use rust_decimal::Decimal;
use shared::dsmr::{Device, DeviceKind, DeviceUnit, Field, Object, Quantity, Readings};

use crate::payload::json::{ObjectWriter, push_text};

pub(crate) mod series;

use series::Part;

/// Where a telegram came from.
#[derive(Debug, Clone, Copy)]
pub struct Origin<'a> {
    /// Capture's clock when the telegram's last byte came.
    pub received_at: Timestamp,
    /// Identity of the queue's folder.
    pub queue: &'a str,
    /// The record's sequence.
    pub sequence: u64,
}

/// Appends the JSON object of a telegram to `out`. A telegram without a time of its own gets the time that
/// it was received; one read from a file, without origin, gets `""` then.
pub fn write(out: &mut Vec<u8>, readings: &Readings<'_>, origin: Option<Origin<'_>>) {
    write_noting(out, readings, origin, |_, _| {});
}

/// The same; `note` is told where the values stand that telegrams of a series differ in.
fn write_noting(
    out: &mut Vec<u8>,
    readings: &Readings<'_>,
    origin: Option<Origin<'_>>,
    mut note: impl FnMut(Part, Range<usize>),
) {
    let mut object = ObjectWriter::begin(out);
    write_go_keys(&mut object, readings, origin, &mut note);
    if let Some(origin) = origin {
        note(Part::ReceivedAt, object.moment("Received_at", origin.received_at));
        object.text("Queue", origin.queue);
        note(Part::Sequence, object.integer("Sequence", origin.sequence));
    }
    for quantity in FURTHER_NUMBERS.into_iter().chain(IN_NO_LIST.iter().copied()) {
        quantity_if_sent(&mut object, readings, quantity, &mut note);
    }
    if !readings.devices.is_empty() {
        object.array("Mbus_devices", &readings.devices, write_device);
    }
    write_belgian_keys(&mut object, readings, &mut note);
    if !readings.other.is_empty() {
        let mut other = object.object("Other_objects");
        for kept in readings.other.chunk_by(Object::is_named_as) {
            let Some(first) = kept.first() else { continue };
            let groups = kept.iter().flat_map(Object::groups);
            other.array(&first.reference(), groups, |out, group| push_text(out, &group));
        }
        other.end();
    }
    object.end();
}

/// The Go program's registers.
const GO_REGISTERS: [Quantity; 4] = [
    Quantity::ImportTariff1,
    Quantity::ExportTariff1,
    Quantity::ImportTariff2,
    Quantity::ExportTariff2,
];

/// The Go program's numbers between the tariff and the power failures.
const GO_POWERS: [Quantity; 8] = [
    Quantity::PowerImport,
    Quantity::PowerExport,
    Quantity::PowerImportL1,
    Quantity::PowerImportL2,
    Quantity::PowerImportL3,
    Quantity::PowerExportL1,
    Quantity::PowerExportL2,
    Quantity::PowerExportL3,
];

/// Those between the power failures and the message.
const GO_COUNTS: [Quantity; 2] = [Quantity::SagsL1, Quantity::SwellsL1];

/// Those behind the message.
const GO_CURRENTS: [Quantity; 3] = [Quantity::CurrentL1, Quantity::CurrentL2, Quantity::CurrentL3];

/// Numbers that the Go program did not have, in the order in which they were added. A quantity that stands in no list
/// comes after these, so a new row of the table needs no line here.
const FURTHER_NUMBERS: [Quantity; 17] = [
    Quantity::ImportTotal,
    Quantity::ExportTotal,
    Quantity::ImportTariff3,
    Quantity::ExportTariff3,
    Quantity::ImportTariff4,
    Quantity::ExportTariff4,
    Quantity::ImportTariff5,
    Quantity::ExportTariff5,
    Quantity::PowerSigned,
    Quantity::LongPowerFailures,
    Quantity::SagsL2,
    Quantity::SagsL3,
    Quantity::SwellsL2,
    Quantity::SwellsL3,
    Quantity::VoltageL1,
    Quantity::VoltageL2,
    Quantity::VoltageL3,
];

/// Each month's or quarter-hour's demand, before its time.
const DEMANDS: [Quantity; 4] = [
    Quantity::CurrentAverageDemand,
    Quantity::MaximumDemandMonth,
    Quantity::CurrentAverageExportDemand,
    Quantity::MaximumExportDemandMonth,
];

/// Behind the history of demands.
const LIMITS: [Quantity; 3] = [
    Quantity::BreakerState,
    Quantity::LimiterThreshold,
    Quantity::FuseThreshold,
];

/// The quantities that no list names, in the order of the table.
static IN_NO_LIST: LazyLock<Vec<Quantity>> = LazyLock::new(|| {
    let lists: [&[Quantity]; 8] = [
        &GO_REGISTERS,
        &GO_POWERS,
        &[Quantity::PowerFailures],
        &GO_COUNTS,
        &GO_CURRENTS,
        &FURTHER_NUMBERS,
        &DEMANDS,
        &LIMITS,
    ];
    let listed = lists.concat();
    Quantity::ALL
        .into_iter()
        .filter(|quantity| !listed.contains(quantity))
        .collect()
});

fn write_go_keys(
    object: &mut ObjectWriter<'_>,
    readings: &Readings<'_>,
    origin: Option<Origin<'_>>,
    note: &mut impl FnMut(Part, Range<usize>),
) {
    object.text("Manufacture_spec", &readings.identification);
    object.text("Version_info", readings.version.as_deref().unwrap_or_default());
    match (readings.time, origin) {
        (Some(time), _) => note(Part::Said(Field::Time), object.moment("Date_timestamp", time)),
        (None, Some(origin)) => note(
            Part::ReceivedAt,
            object.moment("Date_timestamp", origin.received_at),
        ),
        (None, None) => drop(object.text("Date_timestamp", "")),
    }
    object.text(
        "Equipment_id",
        readings.equipment_id.as_deref().unwrap_or_default(),
    );
    let mut number = |object: &mut ObjectWriter<'_>, quantity: Quantity| {
        let value = readings.quantity(quantity).unwrap_or_default();
        note(
            Part::Said(Field::Quantity(quantity)),
            object.number(quantity.row().key, value),
        );
    };
    for quantity in GO_REGISTERS {
        number(object, quantity);
    }
    object.text("Tarrif_id", readings.tariff.as_deref().unwrap_or_default());
    for quantity in GO_POWERS {
        number(object, quantity);
    }
    number(object, Quantity::PowerFailures);
    object.array(
        "Power_failure_history",
        &readings.power_failures,
        |out, failure| {
            let mut entry = ObjectWriter::begin(out);
            entry.moment("Failure_time", failure.ended);
            entry.number("Failure_duration", failure.seconds);
            entry.end();
        },
    );
    for quantity in GO_COUNTS {
        number(object, quantity);
    }
    let message = readings.message.as_deref().unwrap_or_default();
    object.text("Text_msg", readings.message_code.as_deref().unwrap_or(message));
    object.integer("Text_msg_maxchars", message.chars().count() as u64);
    for quantity in GO_CURRENTS {
        number(object, quantity);
    }
    object.number("Instantaneous_activepower_incoming_kW", Decimal::ZERO);
    object.number("Instantaneous_activepower_outgoing_kW", Decimal::ZERO);
    write_gas(object, readings);
    let crc = readings.crc.as_deref().unwrap_or_default();
    note(Part::Said(Field::Crc), object.text("Crc_string", crc));
}

/// The gas meter, on whichever channel it is. A reading that is no volume is among the M-Bus devices only.
fn write_gas(object: &mut ObjectWriter<'_>, readings: &Readings<'_>) {
    let gas = readings.live_device(DeviceKind::Gas);
    object.text(
        "Gas_device_type",
        gas.and_then(|gas| gas.device_type.as_deref()).unwrap_or_default(),
    );
    object.text(
        "Gas_device_id",
        gas.and_then(|gas| gas.id.as_deref()).unwrap_or_default(),
    );
    let in_cubic_metres = gas.and_then(|gas| {
        let (value, unit) = gas.register()?;
        let time = gas.reading.as_ref()?.time;
        (unit == DeviceUnit::CubicMetre).then_some((time, value))
    });
    object.array("Gas_readings", in_cubic_metres, |out, (time, value)| {
        let mut entry = ObjectWriter::begin(out);
        entry.moment("Capture_time", time);
        entry.number("Value_m3", value);
        entry.end();
    });
}

fn write_device(out: &mut Vec<u8>, device: &Device<'_>) {
    let mut entry = ObjectWriter::begin(out);
    entry.integer("Channel", u64::from(device.channel));
    text_if_sent(&mut entry, "Device_type", device.device_type.as_deref());
    text_if_sent(&mut entry, "Device_id", device.id.as_deref());
    if let Some(reading) = &device.reading {
        entry.moment("Capture_time", reading.time);
        entry.number("Value", reading.value);
        text_if_sent(&mut entry, "Unit", reading.unit.as_deref());
    }
    number_if_sent(&mut entry, "Valve_position", device.valve_position);
    entry.end();
}

fn write_belgian_keys(
    object: &mut ObjectWriter<'_>,
    readings: &Readings<'_>,
    note: &mut impl FnMut(Part, Range<usize>),
) {
    for quantity in DEMANDS {
        quantity_if_sent(object, readings, quantity, note);
        let (key, time) = match quantity {
            Quantity::MaximumDemandMonth => ("Maximum_demand_month_time", readings.maximum_demand_month_time),
            Quantity::MaximumExportDemandMonth => (
                "Maximum_demand_month_outgoing_time",
                readings.maximum_export_demand_month_time,
            ),
            _ => continue,
        };
        if let Some(time) = time {
            object.moment(key, time);
        }
    }
    if let Some(peaks) = &readings.maximum_demand_history {
        object.array("Maximum_demand_history", peaks, |out, peak| {
            let mut entry = ObjectWriter::begin(out);
            entry.moment("Period", peak.period);
            if let Some(time) = peak.time {
                entry.moment("Time", time);
            }
            entry.number("Demand_kW", peak.demand_kw);
            entry.end();
        });
    }
    for quantity in LIMITS {
        quantity_if_sent(object, readings, quantity, note);
    }
}

fn quantity_if_sent(
    object: &mut ObjectWriter<'_>,
    readings: &Readings<'_>,
    quantity: Quantity,
    note: &mut impl FnMut(Part, Range<usize>),
) {
    if let Some(value) = readings.quantity(quantity) {
        let place = object.number(quantity.row().key, value);
        note(Part::Said(Field::Quantity(quantity)), place);
    }
}

fn number_if_sent(object: &mut ObjectWriter<'_>, key: &str, value: Option<Decimal>) {
    if let Some(value) = value {
        object.number(key, value);
    }
}

fn text_if_sent(object: &mut ObjectWriter<'_>, key: &str, value: Option<&str>) {
    if let Some(value) = value {
        object.text(key, value);
    }
}

#[cfg(test)]
mod tests;

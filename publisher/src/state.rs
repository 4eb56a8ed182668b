//! The state object: the newest of every register and gauge, flat, for dashboards that show *now*.

use jiff::Timestamp;
use shared::dsmr::Readings;

use crate::measurement::{Measurement, measurements, meter_name};
use crate::payload::json::ObjectWriter;

/// The JSON object of one telegram, without what is held back. `time` is its own time, else capture's.
pub(crate) fn to_payload(
    readings: &Readings<'_>,
    time: Timestamp,
    sequence: u64,
    is_held: impl Fn(&Measurement<'_>) -> bool,
) -> Vec<u8> {
    let mut out = Vec::new();
    let mut object = ObjectWriter::begin(&mut out);
    object.moment("time", time);
    object.integer("sequence", sequence);
    if let Some(id) = meter_name(readings) {
        object.text("equipment_id", &id);
    }
    if let Some(tariff) = &readings.tariff {
        object.text("tariff", tariff);
    }
    for measured in measurements(readings).filter(|measured| !is_held(measured)) {
        object.number(&measured.name.text(), measured.value);
    }
    object.end();
    out
}

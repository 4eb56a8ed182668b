//! A telegram being written, and beside each line what must come out of it.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::amount::Amount;
use super::calendar;
use super::truth::Truth;

/// The lines so far and the truth about them.
pub(crate) struct Sheet {
    text: Vec<u8>,
    truth: Truth,
}

/// Where a number goes beside its line.
#[derive(Clone, Copy)]
pub(crate) enum Kind<'a> {
    Register(&'a str),
    Gauge(&'a str),
    /// Neither: a count, or a value of another period.
    Other,
}

/// The Go program's keys, which are always there.
const NUMBERS: [&str; 21] = [
    "Electricity_incoming_tariff1_kwh",
    "Electricity_outgoing_tariff1_kwh",
    "Electricity_incoming_tariff2_kwh",
    "Electricity_outgoing_tariff2_kwh",
    "Actualpower_incoming_kW",
    "Actualpower_outgoing_kW",
    "InstantaneousPower_incoming_L1_kW",
    "InstantaneousPower_incoming_L2_kW",
    "InstantaneousPower_incoming_L3_kW",
    "InstantaneousPower_outgoing_L1_kW",
    "InstantaneousPower_outgoing_L2_kW",
    "InstantaneousPower_outgoing_L3_kW",
    "Power_failure_count",
    "L1_voltage_sag_count",
    "L1_voltage_swell_count",
    "Text_msg_maxchars",
    "Instantaneous_current_l1_amp",
    "Instantaneous_current_l2_amp",
    "Instantaneous_current_l3_amp",
    "Instantaneous_activepower_incoming_kW",
    "Instantaneous_activepower_outgoing_kW",
];
const TEXTS: [&str; 9] = [
    "Manufacture_spec",
    "Version_info",
    "Date_timestamp",
    "Equipment_id",
    "Tarrif_id",
    "Text_msg",
    "Gas_device_type",
    "Gas_device_id",
    "Crc_string",
];
const LISTS: [&str; 2] = ["Power_failure_history", "Gas_readings"];

impl Sheet {
    /// Begins with the identification line (without `/`) and the blank line after it.
    pub(crate) fn begin(identification: &str, at: i64) -> Self {
        let mut reading = Map::new();
        reading.extend(NUMBERS.iter().map(|key| ((*key).to_owned(), json!(0))));
        reading.extend(TEXTS.iter().map(|key| ((*key).to_owned(), json!(""))));
        reading.extend(LISTS.iter().map(|key| ((*key).to_owned(), json!([]))));
        reading.remove("Date_timestamp");
        reading.insert("Manufacture_spec".to_owned(), json!(identification));
        let truth = Truth {
            sent_time: None,
            at,
            reading,
            registers: BTreeMap::new(),
            gauges: BTreeMap::new(),
        };
        Self {
            text: format!("/{identification}\r\n\r\n").into_bytes(),
            truth,
        }
    }

    /// A line of which nothing must come out but what is said with [`Sheet::expect`].
    pub(crate) fn line(&mut self, line: &str) {
        self.text.extend_from_slice(line.as_bytes());
        self.text.extend_from_slice(b"\r\n");
    }

    /// This key of the reading must be this.
    pub(crate) fn expect(&mut self, key: &str, value: Value) {
        self.truth.reading.insert(key.to_owned(), value);
    }

    /// An object whose text goes under a key as it is.
    pub(crate) fn text(&mut self, reference: &str, text: &str, key: &str) {
        self.line(&format!("{reference}({text})"));
        self.expect(key, json!(text));
    }

    /// The telegram's time.
    pub(crate) fn time(&mut self, at: i64) {
        self.line(&format!("0-0:1.0.0({})", calendar::stamp(at)));
        self.expect("Date_timestamp", json!(calendar::rfc3339(at)));
        self.truth.sent_time = Some(at);
    }

    /// An object with a number: `digits` before the point, behind it as many as the amount has.
    pub(crate) fn number(
        &mut self,
        reference: &str,
        digits: usize,
        amount: Amount,
        unit: &str,
        key: &str,
        kind: Kind<'_>,
    ) {
        let unit_text = if unit.is_empty() {
            String::new()
        } else {
            format!("*{unit}")
        };
        self.line(&format!("{reference}({}{unit_text})", amount.padded(digits)));
        // Readings are in kW and kWh, whatever the meter writes.
        let amount = match unit {
            "W" | "Wh" => Amount::thousandths(amount.units()),
            _ => amount,
        };
        self.expect(key, amount.json());
        match kind {
            Kind::Register(name) => drop(self.truth.registers.insert(name.to_owned(), amount.decimal())),
            Kind::Gauge(name) => drop(self.truth.gauges.insert(name.to_owned(), amount.decimal())),
            Kind::Other => {}
        }
    }

    /// A register that is not an object of the telegram's own head, such as gas.
    pub(crate) fn register(&mut self, name: &str, amount: Amount) {
        self.truth.registers.insert(name.to_owned(), amount.decimal());
    }

    /// A gauge whose line has been written.
    pub(crate) fn gauge(&mut self, name: &str, amount: Amount) {
        self.truth.gauges.insert(name.to_owned(), amount.decimal());
    }

    /// An object that has no key of its own: it is kept under `Other_objects`, values as they are.
    pub(crate) fn other(&mut self, reference: &str, values: &[&str]) {
        let brackets: String = values.iter().map(|value| format!("({value})")).collect();
        self.line(&format!("{reference}{brackets}"));
        let others = self
            .truth
            .reading
            .entry("Other_objects")
            .or_insert_with(|| json!({}));
        if let Some(others) = others.as_object_mut() {
            others.insert(reference.to_owned(), json!(values));
        }
    }

    /// A further M-Bus device.
    pub(crate) fn mbus_device(&mut self, device: Value) {
        let devices = self
            .truth
            .reading
            .entry("Mbus_devices")
            .or_insert_with(|| json!([]));
        if let Some(devices) = devices.as_array_mut() {
            devices.push(device);
            devices.sort_by_key(|device| device.get("Channel").and_then(Value::as_u64));
        }
    }

    /// Ends with `!`, the CRC that the function computes, in at least so many digits, and a line end.
    pub(crate) fn end_with_crc(mut self, crc: fn(&[u8]) -> u16, digits: usize) -> (Vec<u8>, Truth) {
        self.text.push(b'!');
        let crc = crc(&self.text);
        self.expect("Crc_string", json!(format!("{crc:04X}")));
        self.line(&format!("{crc:0digits$X}"));
        (self.text, self.truth)
    }

    /// Ends with `!` alone.
    pub(crate) fn end_without_crc(mut self) -> (Vec<u8>, Truth) {
        self.line("!");
        (self.text, self.truth)
    }
}

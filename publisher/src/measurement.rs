//! Registers and gauges of a telegram under the names that summary and state give them.
//!
//! A name says what, from where, and last the unit: `electricity_import_tariff1_kwh`, `power_import_l1_kw`,
//! `gas_m3`. Of several M-Bus devices of one kind the live one has the plain name (`gas_m3`); where there
//! are several with readings, each has one with its channel besides (`gas_channel1_m3`,
//! `gas_channel2_m3`), so that none is missed when another becomes the live one.

use std::borrow::Cow;

use rust_decimal::Decimal;
use shared::dsmr::{Device, DeviceKind, DeviceUnit, Quantity, Readings};

/// A register or a gauge, by what it measures.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Name {
    /// Of the electricity meter.
    Electricity(Quantity),
    /// Of an M-Bus device; without a channel the live one of its kind.
    Device {
        kind: DeviceKind,
        channel: Option<u8>,
        unit: DeviceUnit,
    },
}

/// One number of a telegram.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Measurement<'r> {
    pub(crate) name: Name,
    pub(crate) value: Decimal,
    /// For a register the meter that counts, which changes when the meter is exchanged. None for a gauge.
    pub(crate) meter: Option<Meter<'r>>,
}

/// The meter that a register is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Meter<'r> {
    /// M-Bus channel; 0 for the electricity meter.
    pub(crate) channel: u8,
    /// Its identifier, if the telegram states one and no other device has the same.
    pub(crate) id: Option<&'r str>,
}

impl Name {
    pub(crate) fn text(self) -> Cow<'static, str> {
        match self {
            Self::Electricity(quantity) => quantity.row().name.unwrap_or_default().into(),
            Self::Device { kind, channel, unit } => {
                let kind: Cow<'static, str> = match kind {
                    DeviceKind::Electricity => "electricity_submeter".into(),
                    DeviceKind::Gas => "gas".into(),
                    DeviceKind::Heat => "heat".into(),
                    DeviceKind::WarmWater => "warm_water".into(),
                    DeviceKind::Water => "water".into(),
                    DeviceKind::HeatOrCooling => "heat_or_cooling".into(),
                    DeviceKind::Other(device_type) => format!("mbus_type{device_type}").into(),
                };
                let unit = match unit {
                    DeviceUnit::CubicMetre => "m3",
                    DeviceUnit::GigaJoule => "gj",
                    DeviceUnit::KilowattHour => "kwh",
                };
                match channel {
                    None => format!("{kind}_{unit}").into(),
                    Some(channel) => format!("{kind}_channel{channel}_{unit}").into(),
                }
            }
        }
    }
}

/// Every register and gauge that the telegram states, electricity first.
pub(crate) fn measurements<'r>(readings: &'r Readings<'_>) -> impl Iterator<Item = Measurement<'r>> {
    let meter = electricity_meter(readings);
    let electricity = Quantity::ALL.into_iter().filter_map(move |quantity| {
        quantity.row().name?;
        let meter = quantity.is_register().then_some(meter);
        Some(Measurement {
            name: Name::Electricity(quantity),
            value: readings.quantity(quantity)?,
            meter,
        })
    });
    electricity.chain(
        readings
            .devices
            .iter()
            .flat_map(|device| device_measurements(readings, device)),
    )
}

/// What the telegram states a number of, each once; a device always by its channel.
pub(crate) fn stated(readings: &Readings<'_>) -> impl Iterator<Item = Name> {
    let electricity = Quantity::ALL
        .into_iter()
        .filter(|quantity| quantity.row().name.is_some() && readings.quantity(*quantity).is_some());
    let devices = readings.devices.iter().filter_map(|device| {
        let (kind, (_, unit)) = device.kind().zip(device.register())?;
        let channel = Some(device.channel);
        Some(Name::Device { kind, channel, unit })
    });
    electricity.map(Name::Electricity).chain(devices)
}

/// Every meter that the telegram speaks of.
pub(crate) fn meters<'r>(readings: &'r Readings<'_>) -> impl Iterator<Item = Meter<'r>> {
    let devices = readings.devices.iter();
    std::iter::once(electricity_meter(readings)).chain(devices.map(|device| device_meter(readings, device)))
}

fn electricity_meter<'r>(readings: &'r Readings<'_>) -> Meter<'r> {
    Meter {
        channel: 0,
        id: readings.equipment_id.as_deref(),
    }
}

fn device_meter<'r>(readings: &Readings<'_>, device: &'r Device<'_>) -> Meter<'r> {
    let same = readings.devices.iter().filter(|other| other.id == device.id);
    let is_unique = same.count() == 1;
    Meter {
        channel: device.channel,
        id: device.id.as_deref().filter(|_| is_unique),
    }
}

fn device_measurements<'r>(
    readings: &'r Readings<'_>,
    device: &'r Device<'_>,
) -> impl Iterator<Item = Measurement<'r>> {
    let measured = device.kind().zip(device.register());
    let names = measured.map(|(kind, (_, unit))| {
        let is_live = readings
            .live_device(kind)
            .is_some_and(|live| live.channel == device.channel);
        let others = readings
            .devices
            .iter()
            .filter(|other| other.kind() == Some(kind) && other.reading.is_some());
        let plain = is_live.then_some(Name::Device {
            kind,
            channel: None,
            unit,
        });
        let with_channel = (others.count() > 1).then_some(Name::Device {
            kind,
            channel: Some(device.channel),
            unit,
        });
        [plain, with_channel].into_iter().flatten()
    });
    let value = measured.map(|(_, (value, _))| value).unwrap_or_default();
    let meter = Some(device_meter(readings, device));
    names
        .into_iter()
        .flatten()
        .map(move |name| Measurement { name, value, meter })
}

/// What names the meter: its identifier, as the text that its hex digits stand for if they stand for one; of a meter
/// that sends none its identification line. None if that is empty too.
pub(crate) fn meter_name(readings: &Readings<'_>) -> Option<String> {
    let id = readings.equipment_id.as_deref().map(readable);
    id.or_else(|| {
        let line = readings.identification.replace(char::is_control, "");
        Some(line.trim().to_owned()).filter(|line| !line.is_empty())
    })
}

/// The text that pairs of hex digits stand for, if they do.
fn readable(id: &str) -> String {
    let decoded: Option<Vec<u8>> = (id.len() % 2 == 0 && id.bytes().all(|digit| digit.is_ascii_hexdigit()))
        .then(|| {
            (0..id.len())
                .step_by(2)
                .map(|at| u8::from_str_radix(id.get(at..at + 2)?, 16).ok())
                .collect()
        })
        .flatten();
    let text = decoded.filter(|bytes| bytes.iter().all(|byte| matches!(byte, b' '..=b'~')));
    match text.and_then(|bytes| String::from_utf8(bytes).ok()) {
        Some(text) if !text.trim().is_empty() => text.trim().to_owned(),
        _ => id.to_owned(),
    }
}

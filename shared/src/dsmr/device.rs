//! M-Bus devices: the gas, water, heat or further electricity meters behind the electricity meter, on
//! channels 1 to 4.

use jiff::Timestamp;
use rust_decimal::Decimal;

use super::Text;
use super::object::{groups, is_blank};
use super::quantity::Measure;
use super::sorting::{Place, Sorted};
use super::text::{latin1, owned};
use super::time::moment;
use super::value::{number_and_unit, only_in_unit};

/// One device, with what the telegram says of it.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Device<'t> {
    /// M-Bus channel, 1 to 4.
    pub channel: u8,
    /// Its type as sent, `0-n:24.1.0`.
    pub device_type: Option<Text<'t>>,
    /// Its identifier as sent, `0-n:96.1.0`, in Belgium `0-n:96.1.1`.
    pub id: Option<Text<'t>>,
    /// Its last reading: `0-n:24.2.1`, `24.2.3`, or in DSMR 2.2 and 3 `24.3.0`.
    pub reading: Option<DeviceReading<'t>>,
    /// State of its valve or switch, `0-n:24.4.0`.
    pub valve_position: Option<Decimal>,
}

/// A reading of a device.
#[derive(Debug, Clone, PartialEq)]
pub struct DeviceReading<'t> {
    /// When the device was read.
    pub time: Timestamp,
    /// The number.
    pub value: Decimal,
    /// Its unit as sent; none where none is.
    pub unit: Option<Text<'t>>,
}

/// What a device measures, by its M-Bus type (EN 13757-3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DeviceKind {
    /// Type 2.
    Electricity,
    /// Type 3.
    Gas,
    /// Type 4.
    Heat,
    /// Type 6.
    WarmWater,
    /// Type 7.
    Water,
    /// Type 12: heat or cooling.
    HeatOrCooling,
    /// Any other.
    Other(u8),
}

impl Device<'_> {
    /// What it measures; none where it states no type that is a number up to 255.
    ///
    /// A device that states no type at all but counts cubic metres is taken for gas, which is what it is in
    /// every telegram known to leave the type out.
    pub fn kind(&self) -> Option<DeviceKind> {
        let Some(device_type) = &self.device_type else {
            let reading = self.reading.as_ref()?;
            return reading
                .unit
                .as_ref()?
                .eq_ignore_ascii_case("m3")
                .then_some(DeviceKind::Gas);
        };
        Some(match device_type.trim().parse().ok()? {
            2 => DeviceKind::Electricity,
            3 => DeviceKind::Gas,
            4 => DeviceKind::Heat,
            6 => DeviceKind::WarmWater,
            7 => DeviceKind::Water,
            12 => DeviceKind::HeatOrCooling,
            other => DeviceKind::Other(other),
        })
    }

    /// The same without the telegram that it was read from.
    pub(super) fn into_owned(self) -> Device<'static> {
        Device {
            channel: self.channel,
            device_type: self.device_type.map(owned),
            id: self.id.map(owned),
            reading: self.reading.map(|reading| DeviceReading {
                time: reading.time,
                value: reading.value,
                unit: reading.unit.map(owned),
            }),
            valve_position: self.valve_position,
        }
    }
}

/// The device of this kind with the newest reading; of equally new ones that on the lowest channel.
pub(super) fn live<'d, 't>(devices: &'d [Device<'t>], kind: DeviceKind) -> Option<&'d Device<'t>> {
    devices
        .iter()
        .filter(|device| device.kind() == Some(kind))
        .reduce(|best, device| {
            let time = |device: &Device<'_>| device.reading.as_ref().map(|reading| reading.time);
            if time(device) > time(best) { device } else { best }
        })
}

/// What a reference of a channel says about its device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum DeviceField {
    Type,
    Id,
    BelgianId,
    Reading,
    GasReading,
    OldReading,
    Valve,
}

/// How many fields there are.
pub(super) const DEVICE_FIELDS: usize = DeviceField::Valve as usize + 1;

impl DeviceField {
    /// The field of `0-n:C.D.E`.
    pub(super) fn of(c: u8, d: u8, e: u8) -> Option<Self> {
        Some(match (c, d, e) {
            (24, 1, 0) => Self::Type,
            (96, 1, 0) => Self::Id,
            (96, 1, 1) => Self::BelgianId,
            (24, 2, 1) => Self::Reading,
            (24, 2, 3) => Self::GasReading,
            (24, 3, 0) => Self::OldReading,
            (24, 4, 0) => Self::Valve,
            _ => return None,
        })
    }
}

/// Reads the device of a channel. None where all that the channel says is blank or no value: nothing is
/// connected to it.
pub(super) fn device<'t>(channel: u8, sorted: &mut Sorted<'t>) -> Option<Device<'t>> {
    if !sorted.has_device(channel) {
        return None;
    }
    let place = |field| Place::Device(channel, field);
    let device_type = sorted.text(place(DeviceField::Type));
    let id = sorted
        .text(place(DeviceField::Id))
        .or_else(|| sorted.text(place(DeviceField::BelgianId)));
    let valve_position = sorted.take(place(DeviceField::Valve), |contents| {
        only_in_unit(contents, Measure::Count)
    });
    let reading = sorted
        .take(place(DeviceField::Reading), new_reading)
        .or_else(|| sorted.take(place(DeviceField::GasReading), new_reading))
        .or_else(|| sorted.take(place(DeviceField::OldReading), old_reading));
    let says_nothing = device_type.is_none() && id.is_none() && reading.is_none() && valve_position.is_none();
    (!says_nothing).then_some(Device {
        channel,
        device_type,
        id,
        reading,
        valve_position,
    })
}

/// `(time)(value*unit)`.
fn new_reading(contents: &[u8]) -> Option<DeviceReading<'_>> {
    let mut groups = groups(contents);
    let time = moment(groups.next()?)?;
    let (value, unit) = number_and_unit(groups.next()?)?;
    if groups.next().is_some() {
        return None;
    }
    Some(DeviceReading {
        time,
        value,
        unit: stated(unit),
    })
}

/// `(time)(status)(period)(count)(reference)(unit)(value)`, the value on a line of its own.
fn old_reading(contents: &[u8]) -> Option<DeviceReading<'_>> {
    let mut groups = groups(contents);
    let time = moment(groups.next()?)?;
    let unit = groups.nth(4)?;
    let (value, own_unit) = number_and_unit(groups.next()?)?;
    if groups.next().is_some() {
        return None;
    }
    Some(DeviceReading {
        time,
        value,
        unit: stated(own_unit).or(stated(unit)),
    })
}

fn stated(unit: &[u8]) -> Option<Text<'_>> {
    (!is_blank(unit)).then(|| latin1(unit))
}

//! M-Bus devices: the gas, water, heat or further electricity meters behind the electricity meter, on
//! channels 1 to 4.

use jiff::{SignedDuration, Timestamp};
use rust_decimal::Decimal;

use super::Text;
use super::bounds;
use super::misfit::Cause;
use super::obis::Quantity;
use super::object::{groups, is_blank};
use super::sorting::{Place, Sorted};
use super::text::{latin1, owned};
use super::time::moment;
use super::unit::{Dimension, unit};
use super::value::{Number, only_in_unit, scaled};

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
    /// The number as sent.
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

/// Units that the registers of devices are given in; others of the same kind are turned into these.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DeviceUnit {
    /// m³.
    CubicMetre,
    /// GJ.
    GigaJoule,
    /// kWh.
    KilowattHour,
}

impl Device<'_> {
    /// What it measures; none where it states no type that is a number up to 255.
    ///
    /// A device that states no type at all but counts cubic metres is taken for gas, which is what it is in
    /// every telegram known to leave the type out.
    pub fn kind(&self) -> Option<DeviceKind> {
        let Some(device_type) = &self.device_type else {
            let reading = self.reading.as_ref()?;
            let (dimension, _) = unit(reading.unit.as_ref()?)?;
            return (dimension == Dimension::Volume).then_some(DeviceKind::Gas);
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

    /// Its reading in one of the three units. None without a reading, or if nothing is known of its unit.
    pub fn register(&self) -> Option<(Decimal, DeviceUnit)> {
        self.fitting().ok().flatten()
    }

    /// The same, or why its reading does not fit its kind.
    fn fitting(&self) -> Result<Option<(Decimal, DeviceUnit)>, Cause> {
        let (Some(reading), kind) = (&self.reading, self.kind()) else {
            return Ok(None);
        };
        let (dimension, power_of_ten) = match (&reading.unit, kind) {
            (Some(text), _) => unit(text).ok_or(Cause::Unit)?,
            (None, Some(kind)) => match kind.dimensions() {
                [only_known, ..] if !matches!(kind, DeviceKind::Other(_)) => (*only_known, 0),
                _ => return Ok(None),
            },
            (None, None) => return Ok(None),
        };
        let kind = kind.unwrap_or(DeviceKind::Other(0));
        let is_of_kind = kind.dimensions().contains(&dimension);
        let (unit, bounds) = match dimension {
            Dimension::Volume => (DeviceUnit::CubicMetre, bounds::VOLUME),
            Dimension::Heat => (DeviceUnit::GigaJoule, bounds::HEAT),
            Dimension::Energy => (DeviceUnit::KilowattHour, bounds::ENERGY),
            Dimension::Power | Dimension::Voltage | Dimension::Current => return Err(Cause::Unit),
        };
        if !is_of_kind {
            return Err(Cause::Unit);
        }
        let value = scaled(reading.value, power_of_ten).filter(|value| bounds.contain(*value));
        Ok(Some((value.ok_or(Cause::Bounds(bounds))?, unit)))
    }

    /// Whether its reading is of more than a day after this time, the telegram's own.
    pub(super) fn is_ahead_of(&self, time: Option<Timestamp>) -> bool {
        const DAY: SignedDuration = SignedDuration::from_hours(24);
        self.reading
            .as_ref()
            .zip(time)
            .is_some_and(|(reading, time)| reading.time.duration_since(time) > DAY)
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

impl DeviceKind {
    /// What a device of this kind counts; first what it counts if it does not say.
    fn dimensions(self) -> &'static [Dimension] {
        use Dimension::{Energy, Heat, Volume};
        match self {
            Self::Electricity => &[Energy],
            Self::Gas | Self::WarmWater => &[Volume, Energy, Heat],
            Self::Water => &[Volume],
            Self::Heat | Self::HeatOrCooling => &[Heat, Energy, Volume],
            Self::Other(_) => &[Volume, Energy, Heat],
        }
    }
}

/// The device of this kind with the newest reading that is not ahead of the telegram's time, else with the newest; of
/// equally new ones that on the lowest channel.
pub(super) fn live<'d, 't>(
    devices: &'d [Device<'t>],
    kind: DeviceKind,
    time: Option<Timestamp>,
) -> Option<&'d Device<'t>> {
    let rank = |device: &Device<'_>| {
        let reading = device.reading.as_ref()?;
        Some((!device.is_ahead_of(time), reading.time))
    };
    devices
        .iter()
        .filter(|device| device.kind() == Some(kind))
        .reduce(|best, device| if rank(device) > rank(best) { device } else { best })
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
    let valve_position = sorted.fitting(place(DeviceField::Valve), |contents| {
        only_in_unit(contents, Quantity::BreakerState)
    });
    let mut device = Device {
        channel,
        device_type,
        id,
        reading: None,
        valve_position,
    };
    for (field, form) in [
        (DeviceField::Reading, new_reading as Form),
        (DeviceField::GasReading, new_reading),
        (DeviceField::OldReading, old_reading),
    ] {
        if device.reading.is_some() {
            break;
        }
        let place = place(field);
        match sorted.contents(place).map_or(Ok(None), form) {
            Ok(None) => continue,
            Ok(reading) => device.reading = reading,
            Err(cause) => {
                sorted.misfit(place, cause);
                continue;
            }
        }
        match device.fitting() {
            Ok(_) => sorted.done(place, true),
            Err(cause) => {
                sorted.misfit(place, cause);
                // The value of a unit that is in no table is that all the same.
                let has_unknown_unit = |reading: &DeviceReading<'_>| {
                    let stated = reading.unit.as_ref();
                    stated.is_some_and(|text| unit(text).is_none())
                };
                device.reading = device.reading.filter(has_unknown_unit);
            }
        }
    }
    let says_nothing = device.device_type.is_none()
        && device.id.is_none()
        && device.reading.is_none()
        && device.valve_position.is_none();
    (!says_nothing).then_some(device)
}

/// Reads what stands under a reference. No reading and no cause if it has no time.
type Form = for<'t> fn(&'t [u8]) -> Result<Option<DeviceReading<'t>>, Cause>;

/// `(time)(value*unit)`, in either order.
fn new_reading(contents: &[u8]) -> Result<Option<DeviceReading<'_>>, Cause> {
    let mut groups = groups(contents);
    let (Some(one), Some(other), None) = (groups.next(), groups.next(), groups.next()) else {
        return Err(Cause::Form);
    };
    let (time, number) = match (Number::read(one), Number::read(other)) {
        (None, Some(number)) => (one, number),
        (Some(number), None) => (other, number),
        (None, None) if moment(one).or(moment(other)).is_none() => return Ok(None),
        _ => return Err(Cause::Form),
    };
    reading(time, number, None)
}

/// `(time)(status)(period)(count)(reference)(unit)(value)`, the value on a line of its own.
fn old_reading(contents: &[u8]) -> Result<Option<DeviceReading<'_>>, Cause> {
    let mut groups = groups(contents);
    let time = groups.next().ok_or(Cause::Form)?;
    let unit = groups.nth(4).ok_or(Cause::Form)?;
    let (Some(number), None) = (groups.next().and_then(Number::read), groups.next()) else {
        return Err(Cause::Form);
    };
    reading(time, number, stated(unit))
}

/// `stated` is the unit that stands in a place of its own.
fn reading<'t>(
    time: &[u8],
    number: Number<'t>,
    stated: Option<Text<'t>>,
) -> Result<Option<DeviceReading<'t>>, Cause> {
    let Some(time) = moment(time) else {
        return Ok(None);
    };
    let unit = match number.unit {
        Some(b"") => return Err(Cause::Form),
        Some(unit) => Some(latin1(unit)),
        None => stated,
    };
    // F8(2,2) and F8(3,3).
    if unit.is_none() && !matches!(number.form(), (8, 2 | 3)) {
        return Err(Cause::Form);
    }
    Ok(Some(DeviceReading {
        time,
        value: number.value,
        unit,
    }))
}

fn stated(unit: &[u8]) -> Option<Text<'_>> {
    (!is_blank(unit)).then(|| latin1(unit))
}

//! What a telegram says: its bytes turned into readings.
//!
//! [`parse`] is total. It takes any bytes, never fails and never panics; what it cannot make sense of is
//! handed on, not dropped. Its time is linear in the input and what it allocates is bounded by the
//! input's size times a small constant.
//!
//! Four rules hold for every telegram:
//!
//! * **Nothing is lost.** A data object is either said in full by a field of [`Readings`], or it is in
//!   [`Readings::other`] as it came. Where a field says only part of it (a power-failure log with an entry
//!   without a time), it is in both. Blank brackets say nothing. Of a reference that comes twice the first
//!   counts, and all others are in [`Readings::other`]. A line that is no data object is in
//!   [`Readings::not_understood`].
//! * **A value is chosen by what it is**, never by its place only: a number whose unit fits the quantity, or a
//!   number without a unit in the form that the standard gives it, within what a household can have. What is
//!   none is in [`Readings::misfits`]. A time is one of 2005 or later, when there were meters of the standard.
//! * **No binary floating point.** Numbers are decimals with the digits that the meter sent.
//! * **Bytes, not text.** The standard promises ASCII and meters do not keep to it, so text is read as
//!   Latin-1: each byte becomes the character of the same number, which loses nothing and can be undone.
//!
//! Sources: DSMR P1 companion standard 5.0.2 (section 6), its predecessors 2.2, 3 and 4, the Belgian
//! eMUCS-P1 1.7 and 2.1, the Luxembourg Smarty P1 specification 1.1.3, and what meters send beside them.

mod bounds;
mod device;
mod history;
mod misfit;
mod obis;
mod object;
mod quantity;
mod reference;
mod series;
mod sorting;
mod text;
mod time;
mod unit;
mod value;

use std::borrow::Cow;

use jiff::Timestamp;
use rust_decimal::Decimal;

use crate::telegram::seven_bit;

pub use bounds::Bounds;
pub use device::{Device, DeviceKind, DeviceUnit};
pub use history::{DemandPeak, PowerFailure};
pub use misfit::{Cause, Misfit};
pub use obis::{Quantity, Row};
pub use object::Object;
pub use quantity::{Measure, Quantities};
pub use series::{Difference, Field, Fields, Series};

/// Text of a telegram, Latin-1.
pub type Text<'t> = Cow<'t, str>;

/// Everything that a telegram says.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Readings<'t> {
    /// The identification line without `/`; empty where the bytes begin with none.
    pub identification: Text<'t>,
    /// Version of the P1 port: `1-3:0.2.8`, in Belgium `0-0:96.1.4`.
    pub version: Option<Text<'t>>,
    /// The telegram's own time, `0-0:1.0.0`; none where it is not sent, impossible or of before 2005.
    pub time: Option<Timestamp>,
    /// The electricity meter's identifier as sent: `0-0:96.1.1`, else `0-0:96.1.0`, else what comes
    /// nearest to one (serial number, logical device name, device address).
    pub equipment_id: Option<Text<'t>>,
    /// The tariff in force, as sent: `0-0:96.14.0`.
    pub tariff: Option<Text<'t>>,
    /// Every number that is a key of its own.
    pub quantities: Quantities,
    /// The log of long power failures, `1-0:99.97.0`: the entries whose time is known.
    pub power_failures: Vec<PowerFailure>,
    /// The numeric message code as sent, `0-0:96.13.1`.
    pub message_code: Option<Text<'t>>,
    /// The text message decoded, `0-0:96.13.0`.
    pub message: Option<Text<'t>>,
    /// M-Bus devices on channels 1 to 4, in the order of their channels.
    pub devices: Vec<Device<'t>>,
    /// When [`Quantity::MaximumDemandMonth`] was reached, `1-0:1.6.0`.
    pub maximum_demand_month_time: Option<Timestamp>,
    /// When [`Quantity::MaximumExportDemandMonth`] was reached, `1-0:2.6.0`.
    pub maximum_export_demand_month_time: Option<Timestamp>,
    /// The monthly peaks of the last 13 months, `0-0:98.1.0` in Belgium.
    pub maximum_demand_history: Option<Vec<DemandPeak>>,
    /// The CRC as four hex digits, in the case that the meter sent.
    pub crc: Option<Text<'t>>,
    /// Every data object that no field above says in full, in the order of the telegram; but all of one reference
    /// stand one behind the other.
    pub other: Vec<Object<'t>>,
    /// Those of [`Readings::other`] that stand where a value should and are none.
    pub misfits: Vec<Misfit<'t>>,
    /// Lines that are no data objects, in the order of the telegram.
    pub not_understood: Vec<Text<'t>>,
}

/// Understands a telegram as far as it can be understood.
///
/// Telegrams of a 7E1 line read as 8N1 are read without their parity bits.
pub fn parse(telegram: &[u8]) -> Readings<'_> {
    match seven_bit::stripped(telegram) {
        Cow::Borrowed(telegram) => sorting::read(telegram, &mut |_, _| {}),
        Cow::Owned(telegram) => sorting::read(&telegram, &mut |_, _| {}).into_owned(),
    }
}

impl<'t> Readings<'t> {
    /// The number of this quantity, in the unit of its [`Measure`]; none where the meter does not send it.
    pub fn quantity(&self, quantity: Quantity) -> Option<Decimal> {
        self.quantities.value(quantity)
    }

    /// The device of this kind that is in use: the one with the newest reading, since a meter that was
    /// exchanged stays on its channel with its last. One that is dated more than a day ahead of the telegram
    /// is that only if there is no other. If none of that kind has a reading, the first.
    pub fn live_device(&self, kind: DeviceKind) -> Option<&Device<'t>> {
        device::live(&self.devices, kind, self.time)
    }

    /// The same without the telegram that it was read from.
    pub fn into_owned(self) -> Readings<'static> {
        Readings {
            identification: text::owned(self.identification),
            version: self.version.map(text::owned),
            time: self.time,
            equipment_id: self.equipment_id.map(text::owned),
            tariff: self.tariff.map(text::owned),
            quantities: self.quantities,
            power_failures: self.power_failures,
            message_code: self.message_code.map(text::owned),
            message: self.message.map(text::owned),
            devices: self.devices.into_iter().map(Device::into_owned).collect(),
            maximum_demand_month_time: self.maximum_demand_month_time,
            maximum_export_demand_month_time: self.maximum_export_demand_month_time,
            maximum_demand_history: self.maximum_demand_history,
            crc: self.crc.map(text::owned),
            other: self.other.into_iter().map(Object::into_owned).collect(),
            misfits: self.misfits.into_iter().map(Misfit::into_owned).collect(),
            not_understood: self.not_understood.into_iter().map(text::owned).collect(),
        }
    }
}

#[cfg(test)]
mod tests;

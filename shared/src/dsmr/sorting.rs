//! Puts each data object of a telegram in the place that its reference names, and reads the places once
//! all are filled. Of a reference that comes twice the first has the place. What is left then, with all
//! that has no place, is what [`Readings::other`] hands on.

use std::collections::HashMap;

use jiff::Timestamp;
use rust_decimal::Decimal;

use super::device::{DEVICE_FIELDS, DeviceField, device};
use super::history::{demand_peaks, power_failures};
use super::misfit::{Cause, Misfit};
use super::obis::{QUANTITIES, Quantity};
use super::object::{Object, Piece, bracketed, groups, identification, is_blank, pieces, single};
use super::quantity::Measure;
use super::reference::{Obis, without_suffix};
use super::series::Field;
use super::text::{latin1, message, trim};
use super::time::moment;
use super::value::{Number, in_unit, only_in_unit};
use super::{Readings, Text};

/// Reads a telegram of which all eight bits of a byte count. `note` is told from which bytes each [`Field`] was read,
/// where all that they say is that field.
pub(super) fn read<'t>(telegram: &'t [u8], note: &mut dyn FnMut(Field, &'t [u8])) -> Readings<'t> {
    let (identification, body) = identification(telegram);
    let mut crc = None;
    let mut sorted = Sorted::new();
    let mut not_understood = Vec::new();
    for piece in pieces(body) {
        match piece {
            Piece::Object {
                reference,
                name,
                contents,
            } => sorted.put(reference, name, contents),
            Piece::Line(line) => not_understood.push(latin1(line)),
            Piece::End(end) => {
                crc = four_hex_digits(end);
                if end.len() == 4 && crc.is_some() {
                    note(Field::Crc, end);
                }
            }
        }
    }
    let mut readings = Readings {
        identification: latin1(identification),
        version: sorted
            .text(Place::Version)
            .or_else(|| sorted.text(Place::BelgianVersion)),
        time: sorted.take(Place::Time, |contents| {
            let time = moment(single(contents)?)?;
            note(Field::Time, contents);
            Some(time)
        }),
        equipment_id: sorted
            .text(Place::EquipmentId)
            .or_else(|| sorted.text(Place::OtherEquipmentId)),
        tariff: sorted.text(Place::Tariff),
        message_code: sorted.text(Place::MessageCode),
        crc,
        not_understood,
        ..Readings::default()
    };
    if let Some(text) = sorted.read(Place::Message, |contents| bracketed(contents).map(message)) {
        // One key holds either, and the code goes first: a text beside it is kept as it came as well.
        sorted.done(Place::Message, readings.message_code.is_none());
        readings.message = Some(text);
    }
    for quantity in Quantity::ALL {
        let place = Place::Quantity(quantity);
        let Some(contents) = sorted.contents(place) else {
            continue;
        };
        let value = match only_in_unit(contents, quantity) {
            Ok(value) => {
                note(Field::Quantity(quantity), contents);
                sorted.done(place, true);
                Ok(value)
            }
            Err(cause) => demand(contents, quantity).unwrap_or(Err(cause)).map(|demand| {
                let time = match quantity {
                    Quantity::MaximumDemandMonth => Some(&mut readings.maximum_demand_month_time),
                    Quantity::MaximumExportDemandMonth => {
                        Some(&mut readings.maximum_export_demand_month_time)
                    }
                    _ => None,
                };
                sorted.done(place, time.is_some() && demand.time.is_some());
                if let Some(time) = time {
                    *time = demand.time;
                }
                demand.value
            }),
        };
        match value {
            Ok(value) => readings.quantities.set(quantity, Some(value)),
            Err(cause) if is_misfit(quantity, cause) => sorted.misfit(place, cause),
            Err(_) => {}
        }
    }
    if let Some(log) = sorted.read(Place::PowerFailureLog, |contents| Some(power_failures(contents))) {
        readings.power_failures = log.entries;
        sorted.done(Place::PowerFailureLog, log.is_whole);
    }
    if let Some(log) = sorted.read(Place::DemandHistory, demand_peaks) {
        readings.maximum_demand_history = Some(log.entries);
        sorted.done(Place::DemandHistory, log.is_whole);
    }
    readings.devices = (1..=CHANNELS)
        .filter_map(|channel| device(channel, &mut sorted))
        .collect();
    readings.misfits = sorted.misfits();
    readings.other = sorted.rest();
    if readings.equipment_id.is_none() {
        readings.equipment_id = nearest_to_an_equipment_id(&readings.other);
    }
    readings
}

/// A demand, and when it was; no time for a marker.
struct Demand {
    time: Option<Timestamp>,
    value: Decimal,
}

/// `(time)(number*kW)`, in either order. None for what is no demand.
fn demand(contents: &[u8], quantity: Quantity) -> Option<Result<Demand, Cause>> {
    use Quantity::{
        CurrentAverageDemand, CurrentAverageExportDemand, MaximumDemandMonth, MaximumExportDemandMonth,
    };
    if !matches!(
        quantity,
        CurrentAverageDemand | CurrentAverageExportDemand | MaximumDemandMonth | MaximumExportDemandMonth
    ) {
        return None;
    }
    let mut groups = groups(contents);
    let (Some(one), Some(other), None) = (groups.next(), groups.next(), groups.next()) else {
        return None;
    };
    let (time, number) = match (Number::read(one), Number::read(other)) {
        (None, Some(_)) => (one, other),
        (Some(_), None) => (other, one),
        _ => return None,
    };
    let time = moment(time);
    Some(in_unit(number, quantity).map(|value| Demand { time, value }))
}

/// Whether it is to be said that this quantity is none. A threshold is in A or kVA elsewhere, or has two values.
fn is_misfit(quantity: Quantity, cause: Cause) -> bool {
    let has_other_meaning = matches!(quantity.measure(), Measure::StatedPower | Measure::StatedCurrent);
    !has_other_meaning || matches!(cause, Cause::Bounds(_))
}

/// What stands behind `!` with the leading zeros that some meters leave out.
fn four_hex_digits(crc: &[u8]) -> Option<Text<'_>> {
    let is_crc = (1..=4).contains(&crc.len()) && crc.iter().all(u8::is_ascii_hexdigit);
    match crc.len() {
        _ if !is_crc => None,
        4 => Some(latin1(crc)),
        _ => Some(format!("{:0>4}", latin1(crc)).into()),
    }
}

/// Meters without an equipment identifier name themselves by one of these, the best first: serial number,
/// COSEM logical device name, device address. They stay where they are, since the meter does not call
/// them equipment identifier.
fn nearest_to_an_equipment_id<'t>(other: &[Object<'t>]) -> Option<Text<'t>> {
    const SUBSTITUTES: [&[u8]; 4] = [b"0-0:96.1.255", b"0-0:42.0.0", b"0-0:0.0.0", b"1-0:0.0.0"];
    SUBSTITUTES.iter().find_map(|name| {
        let object = other.iter().find(|object| object.name() == *name)?;
        let id = object.groups().next()?.into_owned();
        (!id.is_empty()).then_some(id.into())
    })
}

/// Highest M-Bus channel; the lowest is 1, since 0 is the electricity meter itself.
const CHANNELS: u8 = 4;

/// Where an object goes.
#[derive(Debug, Clone, Copy)]
pub(super) enum Place {
    Quantity(Quantity),
    Device(u8, DeviceField),
    Version,
    BelgianVersion,
    Time,
    EquipmentId,
    OtherEquipmentId,
    Tariff,
    MessageCode,
    Message,
    PowerFailureLog,
    DemandHistory,
}

/// How many places there are beside quantities and device fields.
const SINGLE_PLACES: usize = 10;
const PLACES: usize = SINGLE_PLACES + QUANTITIES + DEVICE_FIELDS * CHANNELS as usize;

impl Place {
    fn of(reference: Obis) -> Option<Self> {
        let Obis { a, b, c, d, e } = reference;
        match (a, b) {
            // A Swiss meter prints 1-1 in place of 1-0.
            (1, 0 | 1) => match (c, d, e) {
                (99, 97, 0) => Some(Self::PowerFailureLog),
                _ => Quantity::of(reference).map(Self::Quantity),
            },
            (0, 0) => match (c, d, e) {
                (1, 0, 0) => Some(Self::Time),
                (96, 1, 0) => Some(Self::OtherEquipmentId),
                (96, 1, 1) => Some(Self::EquipmentId),
                (96, 1, 4) => Some(Self::BelgianVersion),
                (96, 13, 0) => Some(Self::Message),
                (96, 13, 1) => Some(Self::MessageCode),
                (96, 14, 0) => Some(Self::Tariff),
                (98, 1, 0) => Some(Self::DemandHistory),
                _ => Quantity::of(reference).map(Self::Quantity),
            },
            (0, 1..=CHANNELS) => DeviceField::of(c, d, e).map(|field| Self::Device(b, field)),
            (1, 3) if (c, d, e) == (0, 2, 8) => Some(Self::Version),
            _ => None,
        }
    }

    fn index(self) -> usize {
        match self {
            Self::Version => 0,
            Self::BelgianVersion => 1,
            Self::Time => 2,
            Self::EquipmentId => 3,
            Self::OtherEquipmentId => 4,
            Self::Tariff => 5,
            Self::MessageCode => 6,
            Self::Message => 7,
            Self::PowerFailureLog => 8,
            Self::DemandHistory => 9,
            Self::Quantity(quantity) => SINGLE_PLACES + quantity as usize,
            Self::Device(channel, field) => {
                let before = usize::from(channel.saturating_sub(1)) * DEVICE_FIELDS;
                SINGLE_PLACES + QUANTITIES + before + field as usize
            }
        }
    }
}

/// A data object in the telegram's bytes.
#[derive(Debug)]
struct Found<'t> {
    name: &'t [u8],
    contents: &'t [u8],
    /// Nothing of it is left to hand on: a field says it in full, or it has a place and says nothing.
    is_done: bool,
}

/// The objects of a telegram, in its order, and which of them is in which place.
pub(super) struct Sorted<'t> {
    objects: Vec<Found<'t>>,
    /// The index of the object in each place, or [`NOWHERE`].
    places: [usize; PLACES],
    /// The indexes of those that are no value, and why.
    misfits: Vec<(usize, Cause)>,
}

/// No object has this index.
const NOWHERE: usize = usize::MAX;

impl<'t> Sorted<'t> {
    fn new() -> Self {
        Self {
            objects: Vec::with_capacity(USUAL_OBJECTS),
            places: [NOWHERE; PLACES],
            misfits: Vec::new(),
        }
    }

    /// `reference` where the name is known to be one.
    fn put(&mut self, reference: Option<Obis>, name: &'t [u8], contents: &'t [u8]) {
        let (name, reference) = match reference {
            Some(_) => (name, reference),
            None => {
                let name = without_suffix(trim(name));
                (name, Obis::read(name))
            }
        };
        let index = self.objects.len();
        let place = reference.and_then(Place::of);
        let place = place.and_then(|place| self.places.get_mut(place.index()));
        let mut object = Found {
            name,
            contents,
            is_done: false,
        };
        if let Some(place) = place {
            object.is_done = is_blank(contents);
            let is_taken = self.objects.get(*place).is_some_and(|present| {
                // Two references that mean the same: the one that the standard prints has the place.
                let is_better = name.starts_with(b"1-0:") && !present.name.starts_with(b"1-0:");
                object.is_done || !present.is_done && !is_better
            });
            if !is_taken {
                *place = index;
            }
        }
        self.objects.push(object);
    }

    /// What is in a place; none where nothing is, or blanks.
    pub(super) fn contents(&mut self, place: Place) -> Option<&'t [u8]> {
        let object = self.in_place(place)?;
        (!object.is_done).then_some(object.contents)
    }

    /// Reads what is in a place and leaves it there.
    fn read<T>(&mut self, place: Place, read: impl FnOnce(&'t [u8]) -> Option<T>) -> Option<T> {
        read(self.contents(place)?)
    }

    /// The place has been read; `is_whole` where that is all that the object says.
    pub(super) fn done(&mut self, place: Place, is_whole: bool) {
        if let Some(object) = self.in_place(place) {
            object.is_done |= is_whole;
        }
    }

    fn in_place(&mut self, place: Place) -> Option<&mut Found<'t>> {
        self.objects.get_mut(*self.places.get(place.index())?)
    }

    /// Reads what is in a place; that is all that the object says, where it succeeds.
    pub(super) fn take<T>(&mut self, place: Place, read: impl FnOnce(&'t [u8]) -> Option<T>) -> Option<T> {
        let value = self.read(place, read)?;
        self.done(place, true);
        Some(value)
    }

    /// The same, and remembers why what is there does not fit.
    pub(super) fn fitting<T>(
        &mut self,
        place: Place,
        read: impl FnOnce(&'t [u8]) -> Result<T, Cause>,
    ) -> Option<T> {
        match read(self.contents(place)?) {
            Ok(value) => {
                self.done(place, true);
                Some(value)
            }
            Err(cause) => {
                self.misfit(place, cause);
                None
            }
        }
    }

    /// What is in the place is no value, or none that its reference can have, and is handed on.
    pub(super) fn misfit(&mut self, place: Place, cause: Cause) {
        if let Some(object) = self.in_place(place) {
            object.is_done = false;
        }
        if let Some(&index) = self.places.get(place.index()) {
            self.misfits.push((index, cause));
        }
    }

    /// Whether anything is in the places of the device on this channel.
    pub(super) fn has_device(&self, channel: u8) -> bool {
        let first = Place::Device(channel, DeviceField::Type).index();
        let places = self.places.get(first..first + DEVICE_FIELDS);
        places.is_some_and(|places| places.iter().any(|&index| index != NOWHERE))
    }

    /// Takes the text in a place.
    pub(super) fn text(&mut self, place: Place) -> Option<Text<'t>> {
        self.take(place, |contents| single(contents).map(latin1))
    }

    /// What is no value.
    fn misfits(&self) -> Vec<Misfit<'t>> {
        let misfit = |&(index, cause): &(usize, Cause)| {
            let found = self.objects.get(index)?;
            let object = Object::new(found.name, found.contents);
            Some(Misfit { object, cause })
        };
        self.misfits.iter().filter_map(misfit).collect()
    }

    /// What is left to hand on, in the telegram's order, but that all of one reference stand behind its first.
    fn rest(mut self) -> Vec<Object<'t>> {
        self.objects.retain(|object| !object.is_done);
        let mut firsts = HashMap::new();
        let mut ordered: Vec<(usize, &Found<'t>)> = (self.objects.iter().enumerate())
            .map(|(index, object)| (*firsts.entry(object.name).or_insert(index), object))
            .collect();
        if firsts.len() < ordered.len() {
            ordered.sort_by_key(|(first, _)| *first);
        }
        ordered
            .into_iter()
            .map(|(_, object)| Object::new(object.name, object.contents))
            .collect()
    }
}

/// Room for the objects of all but a few telegrams.
const USUAL_OBJECTS: usize = 48;

//! The telegrams of a meter one after the other, of which only what is new is read.
//!
//! A meter says the same every second but for some numbers, the time and the CRC, and says them in the same places.
//! So a telegram is compared with the one before it, and where it differs in nothing but the contents of such fields,
//! and these are written as the standard prints them, they alone are read. Any other telegram is read whole.
//!
//! Invariant: [`Series::readings`] is what [`super::parse`] makes of the last telegram. Contents are read alone
//! only where the field says them in full, before and now, and where they hold neither bracket nor line end within, so
//! that the lines are the same. Which object has which place, and what is left to hand on, follows from the names and
//! from all other contents, and those are among the bytes that have to be the same.

use std::ops::Range;

use jiff::Timestamp;

use super::obis::{QUANTITIES, Quantity};
use super::time::moment;
use super::value::usual;
use super::{Device, Readings, sorting};
use crate::telegram::seven_bit;

/// Reads the telegrams of a meter, or of several, in any order.
#[derive(Debug, Default)]
pub struct Series {
    /// The last telegram, without parity bits.
    telegram: Vec<u8>,
    /// Where its fields stand, in its order.
    spans: Vec<Span>,
    readings: Readings<'static>,
}

/// What a telegram says in one place of its own, and can say anew without anything else changing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Field {
    /// [`Readings::quantity`].
    Quantity(Quantity),
    /// [`Readings::time`].
    Time,
    /// [`Readings::crc`].
    Crc,
}

/// A set of fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Fields(u64);

/// In what a telegram's readings differ from those before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Difference {
    /// In these fields at most, all of which were there before.
    Fields(Fields),
    /// In anything.
    Any,
}

/// Where a field's contents stand in the telegram.
#[derive(Debug)]
struct Span {
    field: Field,
    range: Range<usize>,
}

impl Series {
    /// Reads the next telegram.
    pub fn read(&mut self, telegram: &[u8]) -> Difference {
        let telegram = seven_bit::stripped(telegram);
        let difference = match self.read_fields(&telegram) {
            Some(fields) => Difference::Fields(fields),
            None => {
                self.read_whole(&telegram);
                Difference::Any
            }
        };
        self.telegram.clear();
        self.telegram.extend_from_slice(&telegram);
        difference
    }

    /// What the last telegram says.
    pub fn readings(&self) -> &Readings<'static> {
        &self.readings
    }

    fn read_whole(&mut self, telegram: &[u8]) {
        let spans = &mut self.spans;
        spans.clear();
        let mut note = |field, contents| spans.extend(Span::of(field, contents, telegram));
        self.readings = sorting::read(telegram, &mut note).into_owned();
        spans.sort_unstable_by_key(|span| span.range.start);
    }

    /// Reads the fields that are new, and says which; none where the telegram has to be read whole, and then some may
    /// have been read.
    fn read_fields(&mut self, telegram: &[u8]) -> Option<Fields> {
        if telegram.len() != self.telegram.len() {
            return None;
        }
        let mut fields = Fields::default();
        let mut compared = 0;
        let mut spans = self.spans.iter();
        while let Some(ahead) = first_difference(self.telegram.get(compared..)?, telegram.get(compared..)?) {
            let place = compared + ahead;
            // The first span that ends behind the difference has to begin before it.
            let next = spans.find(|span| span.range.end > place);
            let span = next.filter(|span| span.range.contains(&place))?;
            self.readings
                .read_field(span.field, telegram.get(span.range.clone())?)?;
            fields.insert(span.field);
            compared = span.range.end;
        }
        // Nothing was before the first.
        (!self.telegram.is_empty()).then_some(fields)
    }
}

impl Span {
    fn of(field: Field, contents: &[u8], telegram: &[u8]) -> Option<Self> {
        let start = contents.as_ptr().addr().checked_sub(telegram.as_ptr().addr())?;
        let range = start..start + contents.len();
        Some(Self { field, range })
    }
}

impl Readings<'static> {
    /// Reads the new contents of a field; none where they are not written as the standard prints them.
    fn read_field(&mut self, field: Field, contents: &[u8]) -> Option<()> {
        match field {
            Field::Quantity(quantity) => {
                let value = usual(contents, quantity)?;
                self.quantities.set(quantity, Some(value));
            }
            Field::Time => {
                let time = Some(usual_time(contents)?);
                // Which device is the live one may follow from it.
                let is_changed =
                    |device: &Device<'_>| device.is_ahead_of(time) != device.is_ahead_of(self.time);
                if self.devices.iter().any(is_changed) {
                    return None;
                }
                self.time = time;
            }
            Field::Crc => {
                let digits = std::str::from_utf8(contents).ok()?;
                if !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
                    return None;
                }
                let crc = self.crc.get_or_insert_default().to_mut();
                crc.clear();
                crc.push_str(digits);
            }
        }
        Some(())
    }
}

/// A time between brackets, and nothing else there.
fn usual_time(contents: &[u8]) -> Option<Timestamp> {
    let time = contents.strip_prefix(b"(")?.strip_suffix(b")")?;
    time.iter().all(u8::is_ascii_alphanumeric).then(|| moment(time))?
}

/// Where two texts of the same length differ first.
fn first_difference(left: &[u8], right: &[u8]) -> Option<usize> {
    // Chunk by chunk, whose length the compiler knows: nearly all of it is the same.
    const CHUNK: usize = 16;
    let (mut lefts, mut rights) = (left, right);
    while let (Some((one, left)), Some((other, right))) = (
        lefts.split_first_chunk::<CHUNK>(),
        rights.split_first_chunk::<CHUNK>(),
    ) {
        if one != other {
            break;
        }
        (lefts, rights) = (left, right);
    }
    let same = left.len() - lefts.len();
    let within = lefts.iter().zip(rights).position(|(one, other)| one != other)?;
    Some(same + within)
}

impl Fields {
    /// Whether this one is among them.
    pub fn contains(self, field: Field) -> bool {
        self.0 & Self::bit(field) != 0
    }

    fn insert(&mut self, field: Field) {
        self.0 |= Self::bit(field);
    }

    fn bit(field: Field) -> u64 {
        const { assert!(QUANTITIES + 2 <= u64::BITS as usize, "a bit for each") };
        match field {
            Field::Time => 1,
            Field::Crc => 2,
            Field::Quantity(quantity) => 4 << quantity as u32,
        }
    }
}

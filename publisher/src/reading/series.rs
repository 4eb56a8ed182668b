//! The JSON objects of telegrams one after the other, of which only what is new is written: the rest is copied from
//! the object before.
//!
//! Invariant: the object is byte for byte what [`super::write`] makes of the same readings. Each value that a
//! telegram can say anew by itself ([`Field`]) stands in one place of the object, noted when it was written whole, and
//! nothing else in the object is made of it.

use std::ops::Range;

use shared::dsmr::{Difference, Field, Fields, Readings};

use super::{Origin, write_noting};
use crate::payload::json::{push_integer, push_moment, push_number, push_text};

/// A value of the object that can be written anew by itself.
#[derive(Debug, Clone, Copy)]
pub(super) enum Part {
    /// What the telegram says.
    Said(Field),
    /// [`Origin::received_at`].
    ReceivedAt,
    /// [`Origin::sequence`].
    Sequence,
}

/// The objects of a queue's telegrams, which [`shared::dsmr::Series`] reads.
#[derive(Debug, Default)]
pub(crate) struct Series {
    json: Vec<u8>,
    /// The object before, while it is copied; kept for its memory.
    before: Vec<u8>,
    /// Where in `json` each part stands, in its order.
    parts: Vec<(Part, Range<usize>)>,
}

impl Series {
    /// Writes the object of the next telegram, whose readings differ from those of the one before as it says. The
    /// queue is the same for all.
    pub(crate) fn write(&mut self, difference: Difference, readings: &Readings<'_>, origin: Origin<'_>) {
        match difference {
            Difference::Fields(fields) if !self.json.is_empty() => self.write_parts(fields, readings, origin),
            Difference::Fields(_) | Difference::Any => {
                self.json.clear();
                self.parts.clear();
                let note = |part, place| self.parts.push((part, place));
                write_noting(&mut self.json, readings, Some(origin), note);
            }
        }
    }

    /// The last object.
    pub(crate) fn json(&self) -> &[u8] {
        &self.json
    }

    fn write_parts(&mut self, fields: Fields, readings: &Readings<'_>, origin: Origin<'_>) {
        std::mem::swap(&mut self.json, &mut self.before);
        self.json.clear();
        let mut copied = 0;
        for (part, place) in &mut self.parts {
            let is_new = match part {
                Part::Said(field) => fields.contains(*field),
                Part::ReceivedAt | Part::Sequence => true,
            };
            // What is between the parts is copied with the next that is new.
            let start = self.json.len() + (place.start - copied);
            if !is_new {
                *place = start..start + place.len();
                continue;
            }
            let unchanged = self.before.get(copied..place.start).unwrap_or_default();
            self.json.extend_from_slice(unchanged);
            copied = place.end;
            part.push(&mut self.json, readings, origin);
            *place = start..self.json.len();
        }
        self.json
            .extend_from_slice(self.before.get(copied..).unwrap_or_default());
    }
}

impl Part {
    /// As [`super::write`] writes it.
    fn push(self, out: &mut Vec<u8>, readings: &Readings<'_>, origin: Origin<'_>) {
        match self {
            Self::Said(Field::Quantity(quantity)) => {
                push_number(out, readings.quantity(quantity).unwrap_or_default());
            }
            Self::Said(Field::Time) => {
                push_moment(out, readings.time.unwrap_or(origin.received_at));
            }
            Self::Said(Field::Crc) => push_text(out, readings.crc.as_deref().unwrap_or_default()),
            Self::ReceivedAt => push_moment(out, origin.received_at),
            Self::Sequence => push_integer(out, origin.sequence),
        }
    }
}

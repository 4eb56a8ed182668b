//! The last known value of every register of every meter, from which deltas count.
//!
//! A register can be absent from a telegram, or from all telegrams of an interval; its delta counts from its last
//! value all the same. An exchanged meter begins again: what one meter counted says nothing about another.
//!
//! What comes out at a telegram depends only on it and on the [`LOOK_BACK`] sequences before it. A reader that begins
//! anywhere, and looks that far back first, gets the same bytes as one that has read everything. At most
//! [`MOST_ENTRIES`] registers are kept, the most recently seen: a meter that states another identifier in each telegram
//! does not grow the memory.
//!
//! * A total that falls to zero is held back until it is above zero again, or until ten minutes have passed by the
//!   telegrams' times. Meters that restart send such zeros. After ten minutes it is a new register.
//! * A total that falls to another value above zero is a new register: it has wrapped, or another meter has the
//!   identifier. One that is below zero nets both ways: what it falls by counts.
//! * A meter whose identifier is absent from a telegram is the one that was last stated on that channel.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use rust_decimal::Decimal;
use shared::dsmr::Readings;

use crate::measurement::{Meter, Name, measurements, meters};

/// How many sequences back a value is still known: 8 hours of a meter that sends every second.
pub(crate) const LOOK_BACK: u64 = 30_000;
/// Most registers kept. Twelve of electricity and two names for each of four M-Bus devices make twenty.
const MOST_ENTRIES: usize = 64;
/// For so long a total that fell to zero is held back.
const ZERO_HOLD: SignedDuration = SignedDuration::from_mins(10);

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Registers {
    entries: Vec<Entry>,
    /// The identifier that was stated last, by channel.
    ids: BTreeMap<u8, Id>,
    sequence: u64,
    time: Timestamp,
    held: Vec<Name>,
    news: Vec<HeldBack>,
}

/// What a value of a register means for the deltas.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// The register is new, or begins again: the delta counts from this value.
    First,
    /// The register has grown by this much. None beyond what a decimal holds.
    Grown(Option<Decimal>),
    /// The total fell to zero: it counts for nothing yet.
    Held,
}

/// A total fell to zero and is held back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeldBack {
    /// Name of the register.
    pub register: String,
    /// What it read before.
    pub value: Decimal,
    /// Sequence of the telegram in which it is zero.
    pub sequence: u64,
}

/// A meter's identifier, and the sequence that stated it last.
#[derive(Debug, Clone)]
struct Id {
    text: Arc<str>,
    sequence: u64,
}

/// A register of one meter.
#[derive(Debug)]
struct Entry {
    name: Name,
    channel: u8,
    id: Option<Id>,
    /// The last value that counts, and its sequence.
    value: Decimal,
    value_sequence: u64,
    /// The last sequence with this register, held back or not.
    seen_sequence: u64,
    /// Since when it is held back.
    zero_since: Option<Timestamp>,
    /// Its value before it was taken for a new register that begins at zero, and the sequence of that value.
    before_zero: Option<(Decimal, u64)>,
    is_told: bool,
}

impl Registers {
    /// This telegram is next.
    pub(crate) fn begin(&mut self, readings: &Readings<'_>, sequence: u64, time: Timestamp) {
        (self.sequence, self.time) = (sequence, time);
        self.held.clear();
        self.ids.retain(|_, id| is_known(id.sequence, sequence));
        for meter in meters(readings) {
            match (self.ids.get_mut(&meter.channel), meter.id) {
                (Some(known), Some(id)) if *known.text == *id => known.sequence = sequence,
                (_, Some(id)) => {
                    let text = id.into();
                    self.ids.insert(meter.channel, Id { text, sequence });
                }
                (_, None) => {}
            }
        }
    }

    /// Takes in every register of a telegram.
    pub(crate) fn read(&mut self, readings: &Readings<'_>, sequence: u64, time: Timestamp) {
        self.begin(readings, sequence, time);
        for measured in measurements(readings) {
            if let Some(meter) = measured.meter {
                self.count(measured.name, meter, measured.value);
            }
        }
    }

    /// Takes in a register of the telegram that was begun.
    pub(crate) fn count(&mut self, name: Name, meter: Meter<'_>, value: Decimal) -> Step {
        let (sequence, time) = (self.sequence, self.time);
        let id = self.ids.get(&meter.channel).cloned();
        let Some(at) = self.find(name, meter.channel, id.as_ref().map(|id| &*id.text)) else {
            self.insert(name, meter.channel, id, value);
            return Step::First;
        };
        let entry = &mut self.entries[at];
        entry.forget(sequence);
        entry.seen_sequence = sequence;
        entry.channel = meter.channel;
        entry.id = id;
        let step = entry.step(value, sequence, time);
        if step == Step::Held {
            self.held.push(name);
            if !std::mem::replace(&mut entry.is_told, true) {
                self.news.push(HeldBack {
                    register: name.text().into_owned(),
                    value: entry.value,
                    sequence,
                });
            }
        }
        step
    }

    /// The registers of the last telegram that are held back.
    pub(crate) fn held(&self) -> &[Name] {
        &self.held
    }

    /// Whether this zero would be held back if the telegram came next.
    pub(crate) fn would_hold(&self, name: Name, meter: Meter<'_>, value: Decimal) -> bool {
        let known = self.ids.get(&meter.channel).map(|id| &*id.text);
        let entry = self.find(name, meter.channel, meter.id.or(known));
        value.is_zero() && entry.is_some_and(|at| self.entries[at].value > Decimal::ZERO)
    }

    /// What has been held back and not been told.
    pub(crate) fn take_news(&mut self) -> Vec<HeldBack> {
        std::mem::take(&mut self.news)
    }

    /// The entry of that meter: by its identifier, else the last one seen on that channel if it has none.
    fn find(&self, name: Name, channel: u8, id: Option<&str>) -> Option<usize> {
        let entries = || {
            let all = self.entries.iter().enumerate();
            all.filter(|(_, entry)| entry.name == name && is_known(entry.seen_sequence, self.sequence))
        };
        let id_of = |entry: &Entry| {
            let known = entry.id.as_ref();
            known
                .filter(|id| is_known(id.sequence, self.sequence))
                .map(|id| Arc::clone(&id.text))
        };
        let same = entries().find(|(_, entry)| id.is_some() && id_of(entry).as_deref() == id);
        let last = || {
            let here = entries().filter(|(_, entry)| entry.channel == channel);
            let last = here.max_by_key(|(_, entry)| entry.seen_sequence);
            last.filter(|(_, entry)| id_of(entry).is_none())
        };
        same.or_else(last).map(|(at, _)| at)
    }

    fn insert(&mut self, name: Name, channel: u8, id: Option<Id>, value: Decimal) {
        let sequence = self.sequence;
        let entry = Entry {
            name,
            channel,
            id,
            value,
            value_sequence: sequence,
            seen_sequence: sequence,
            zero_since: None,
            before_zero: None,
            is_told: false,
        };
        if self.entries.len() < MOST_ENTRIES {
            self.entries.push(entry);
        } else if let Some(oldest) = self
            .entries
            .iter_mut()
            .min_by_key(|entry| (entry.seen_sequence, entry.name))
        {
            *oldest = entry;
        }
    }
}

impl Entry {
    /// Forgets what a reader could not know that begins [`LOOK_BACK`] before this sequence.
    fn forget(&mut self, sequence: u64) {
        if !is_known(self.value_sequence, sequence) {
            // It has been held back since, so what is known of it are zeros.
            (self.value, self.value_sequence) = (Decimal::ZERO, self.seen_sequence);
            self.zero_since = None;
        }
        self.before_zero = self.before_zero.filter(|(_, before)| is_known(*before, sequence));
    }

    fn step(&mut self, value: Decimal, sequence: u64, time: Timestamp) -> Step {
        let before = self.value;
        if value.is_zero() && before > Decimal::ZERO {
            let since = *self.zero_since.get_or_insert(time);
            if time.duration_since(since) < ZERO_HOLD {
                // A clock that is set back begins the ten minutes again.
                self.zero_since = Some(since.min(time));
                return Step::Held;
            }
            self.before_zero = Some((before, self.value_sequence));
        }
        self.zero_since = None;
        (self.value, self.value_sequence) = (value, sequence);
        // Ten minutes of a clock that jumps are no time: a register that is back at once is not new after all.
        let returns_to = self
            .before_zero
            .filter(|(former, _)| before.is_zero() && value >= *former);
        if !value.is_zero() {
            self.before_zero = None;
        }
        match returns_to {
            Some((former, _)) => Step::Grown(value.checked_sub(former)),
            // One that is below zero nets both ways, so it can fall.
            None if value < before && !value.is_sign_negative() && !before.is_sign_negative() => Step::First,
            None => Step::Grown(value.checked_sub(before)),
        }
    }
}

fn is_known(sequence: u64, at: u64) -> bool {
    at.saturating_sub(sequence) <= LOOK_BACK
}

#[cfg(test)]
mod tests;

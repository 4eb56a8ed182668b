//! The values that a meter has stopped sending while its telegrams go on: in Belgium the grid operator's opening of the
//! P1 port lapses after a year, and then only some values disappear.
//!
//! * A value that was in [`REGULAR`] telegrams one after another comes regularly. What comes now and then never counts
//!   as stopped. Only registers and gauges are looked at: texts, counts and logs come when there is something to say.
//! * It has stopped when it is missing for more than an hour and for [`REGULAR`] telegrams. M-Bus devices are read once
//!   an hour, so that after a power cut theirs may be missing for that long. A silence counts as at most a minute of
//!   that hour: while the meter is off nothing is missing.
//! * Another electricity meter, and another M-Bus device of the same kind on whichever channel, need not send what the
//!   former one sent: its values are forgotten.
//!
//! Depends on records only, and holds at most [`MOST_ENTRIES`] values.

use shared::dsmr::Readings;

use crate::measurement::{Name, stated};

/// So many telegrams make a habit, and so many without the value end it.
const REGULAR: u64 = 100;
const LONGEST_ABSENCE_MS: u64 = 3_600_000;
const MOST_SILENCE_MS: u64 = 60_000;
/// More than the electricity quantities that have a name, and one device on each of four channels.
const MOST_ENTRIES: usize = 64;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Stopped {
    entries: Vec<Entry>,
    /// The identifier of the electricity meter that was stated last.
    meter: Option<String>,
    news: Vec<News>,
}

/// What a person is to be told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct News {
    /// The values, by the names that summary and state give them.
    pub names: Vec<String>,
    /// Whether they have stopped; else they come again.
    pub has_stopped: bool,
    /// Sequence of the telegram that shows it.
    pub sequence: u64,
}

#[derive(Debug)]
struct Entry {
    name: Name,
    /// Since when it has come.
    first_sequence: u64,
    last_sequence: u64,
    /// In how many telegrams it was, one after another, up to [`REGULAR`]. It stays there until the value has stopped.
    in_a_row: u64,
    missing_telegrams: u64,
    missing_ms: u64,
    /// The name that a person was told.
    told: Option<String>,
}

impl Entry {
    fn is_regular(&self) -> bool {
        self.in_a_row >= REGULAR
    }

    fn device_kind(&self) -> Option<shared::dsmr::DeviceKind> {
        match self.name {
            Name::Electricity(_) => None,
            Name::Device { kind, .. } => Some(kind),
        }
    }
}

impl Stopped {
    /// Takes in the next telegram, which came after this silence.
    pub(crate) fn read(&mut self, readings: &Readings<'_>, sequence: u64, silence_ms: u64) {
        let mut come_again = self.come(readings, sequence);
        self.forget_exchanged(readings, sequence, &mut come_again);
        let silence_ms = silence_ms.min(MOST_SILENCE_MS);
        self.entries
            .retain(|entry| entry.last_sequence == sequence || entry.is_regular());
        let mut stopped = Vec::new();
        for at in 0..self.entries.len() {
            let entry = &mut self.entries[at];
            if entry.last_sequence == sequence {
                continue;
            }
            entry.missing_telegrams += 1;
            entry.missing_ms = entry.missing_ms.saturating_add(silence_ms);
            let is_long = entry.missing_ms > LONGEST_ABSENCE_MS && entry.missing_telegrams >= REGULAR;
            if is_long && entry.told.is_none() {
                let told = self.told_name(at);
                self.entries[at].told = Some(told.clone());
                stopped.push(told);
            }
        }
        for (names, has_stopped) in [(come_again, false), (stopped, true)] {
            if !names.is_empty() {
                self.news.push(News {
                    names,
                    has_stopped,
                    sequence,
                });
            }
        }
    }

    /// What has not been told yet.
    pub(crate) fn take_news(&mut self) -> Vec<News> {
        std::mem::take(&mut self.news)
    }

    /// The values that have stopped, each with the number of telegrams since.
    pub(crate) fn values(&self) -> impl Iterator<Item = (&str, u64)> {
        let entries = self.entries.iter();
        entries.filter_map(|entry| Some((entry.told.as_deref()?, entry.missing_telegrams)))
    }

    /// Notes what is in the telegram. The names of what had stopped.
    fn come(&mut self, readings: &Readings<'_>, sequence: u64) -> Vec<String> {
        let mut come_again = Vec::new();
        // A telegram mostly states the same in the same order as the one before.
        for (place, name) in stated(readings).enumerate() {
            let is_it = |entry: &Entry| entry.name == name;
            let at = if self.entries.get(place).is_some_and(is_it) {
                Some(place)
            } else {
                self.entries.iter().position(is_it)
            };
            let Some(entry) = at.and_then(|at| self.entries.get_mut(at)) else {
                self.insert(name, sequence);
                continue;
            };
            if let Some(told) = entry.told.take() {
                come_again.push(told);
                entry.in_a_row = 0;
            }
            entry.in_a_row = (entry.in_a_row + 1).min(REGULAR);
            entry.last_sequence = sequence;
            (entry.missing_telegrams, entry.missing_ms) = (0, 0);
        }
        come_again
    }

    fn insert(&mut self, name: Name, sequence: u64) {
        if self.entries.len() >= MOST_ENTRIES {
            let absent = self.entries.iter().enumerate();
            let oldest = absent.min_by_key(|(_, entry)| entry.last_sequence);
            let Some((at, _)) = oldest.filter(|(_, entry)| entry.last_sequence < sequence) else {
                return;
            };
            self.entries.swap_remove(at);
        }
        self.entries.push(Entry {
            name,
            first_sequence: sequence,
            last_sequence: sequence,
            in_a_row: 1,
            missing_telegrams: 0,
            missing_ms: 0,
            told: None,
        });
    }

    /// Forgets what is missing because another meter is there. An M-Bus device that had stopped and has a successor
    /// comes again.
    fn forget_exchanged(&mut self, readings: &Readings<'_>, sequence: u64, come_again: &mut Vec<String>) {
        let stated = readings.equipment_id.as_deref();
        let is_other = stated.is_some() && self.meter.is_some() && self.meter.as_deref() != stated;
        if is_other || self.meter.is_none() {
            self.meter = stated.map(str::to_owned);
        }
        if self.entries.iter().all(|entry| entry.last_sequence == sequence) {
            return;
        }
        let devices: Vec<_> = (self.entries.iter())
            .filter(|entry| entry.last_sequence == sequence)
            .filter_map(|entry| Some((entry.device_kind()?, entry.first_sequence)))
            .collect();
        self.entries.retain_mut(|entry| {
            if entry.last_sequence == sequence {
                return true;
            }
            let Some(kind) = entry.device_kind() else {
                return !is_other;
            };
            let has_successor = devices
                .iter()
                .any(|(other, first)| *other == kind && *first > entry.first_sequence);
            if has_successor {
                come_again.extend(entry.told.take());
            }
            !has_successor
        });
    }

    /// The name that summary and state give it: that of a device has a channel only if there are several of its kind.
    fn told_name(&self, at: usize) -> String {
        let entry = &self.entries[at];
        let same_kind = (self.entries.iter())
            .filter(|other| entry.device_kind().is_some() && other.device_kind() == entry.device_kind());
        let name = match entry.name {
            Name::Device { kind, unit, .. } if same_kind.count() == 1 => Name::Device {
                kind,
                channel: None,
                unit,
            },
            name => name,
        };
        name.text().into_owned()
    }
}

#[cfg(test)]
mod tests;

//! Turns records into messages: the readings of an interval as arrays, its summary, and the state.
//!
//! Pure. What comes out depends on the records alone, not on when they are read or where reading began:
//! the same records give the same bytes, from any closed interval's end on. That is what makes a message
//! that is sent twice a duplicate and not a contradiction.
//!
//! An interval is `[n·s, (n+1)·s)` of UTC time, and a telegram belongs by its own time, or capture's where it
//! has none. An interval closes
//!
//! * when a telegram of another interval comes, be it a later or an earlier one;
//! * where a record says that more than 30 s of silence came before it;
//! * when its records span, by a clock that does not jump, 30 s more than an interval lasts: the meter's
//!   clock stands still, and without this the interval would never end.
//!
//! What is held of an open interval is at most one array of `max_payload_bytes`, the last telegram, and the
//! few numbers of its summary, however long it lasts.
//!
//! Deltas count from values before the interval ([`crate::registers`]): a reader looks at [`Aggregator::look_back`]
//! sequences before the first that it takes. So does what is required of encrypted telegrams ([`crate::decrypt`]).

use std::time::Duration;

use jiff::Timestamp;
use shared::dsmr::{self, Misfit, Readings};
use shared::record::{INTERVAL_SILENCE_MS, Record};

use crate::decrypt::{Decryption, Opened, Undecryptable};
use crate::measurement::{Measurement, Name};
use crate::payload::Part;
use crate::reading::{self, Origin};
use crate::registers::{self, HeldBack, Registers};
use crate::state;
use crate::stopped::{self, Stopped};
use crate::summary::Summary;

/// What shapes the messages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// How long an interval lasts, in seconds; with 0 each telegram is a message of its own.
    pub interval_seconds: u32,
    /// Bound on an array of readings, in bytes. A single reading that is larger goes out all the same.
    pub max_payload_bytes: usize,
    /// Identity of the queue's folder.
    pub queue: String,
    /// Whether summaries are wanted.
    pub has_summary: bool,
    /// Whether states are wanted.
    pub has_state: bool,
}

/// What the records have come to, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// An array of readings.
    Readings {
        /// The JSON array.
        payload: Vec<u8>,
        /// Sequence of the first reading in it.
        first_sequence: u64,
        /// Sequence of the last reading in it.
        last_sequence: u64,
    },
    /// The summary of the interval that is about to close.
    Summary {
        /// The JSON object.
        payload: Vec<u8>,
    },
    /// The state as the interval's last telegram says it. Outside the commit.
    State(State),
    /// All up to here can be committed once everything before this has been acknowledged.
    Closed {
        /// Sequence of the last record that is done with.
        last_sequence: u64,
    },
}

/// The newest of every register and gauge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct State {
    /// The JSON object.
    pub payload: Vec<u8>,
    /// Sequence of the telegram that it is from.
    pub sequence: u64,
}

/// What became of a record.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub enum Taken {
    /// It is in the outputs, or will be.
    Read,
    /// It could not be opened, or is not the meter's, and is skipped: count it and report it.
    Skipped {
        /// Why.
        why: Undecryptable,
    },
    /// It could not be opened and was not taken: offer it again, perhaps with another key.
    Waiting {
        /// Why it could not be opened.
        why: Undecryptable,
    },
}

/// The aggregation of a queue's records. It is fed with records in the order of their sequence.
#[derive(Debug)]
pub struct Aggregator {
    settings: Settings,
    decryption: Decryption,
    open: Option<Interval>,
    registers: Registers,
    stopped: Stopped,
    /// Reads telegrams and writes their JSON objects, both from what is new since the one before.
    telegrams: dsmr::Series,
    objects: reading::series::Series,
    /// What an array of readings is expected to need: as much as the last one, and a little more.
    expected_bytes: usize,
}

/// An interval that can still grow.
#[derive(Debug)]
struct Interval {
    /// It begins at this many times the interval's length.
    number: i64,
    /// Sequence of the last record, telegram or skipped.
    last_sequence: u64,
    /// From its first record to its last, by a clock that does not jump.
    elapsed_ms: u64,
    /// From its last record to its end: from that telegram's time, less what has passed since.
    ends_in_ms: u64,
    part: Part,
    summary: Summary,
    last_telegram: Telegram,
}

/// The telegram that the state is made of.
#[derive(Debug, Default)]
struct Telegram {
    bytes: Vec<u8>,
    received_at: Timestamp,
    sequence: u64,
    /// Its registers that are held back.
    held: Vec<Name>,
}

impl Aggregator {
    /// With nothing taken yet.
    pub fn new(settings: Settings, decryption: Decryption) -> Self {
        Self {
            settings,
            decryption,
            open: None,
            registers: Registers::default(),
            stopped: Stopped::default(),
            telegrams: dsmr::Series::default(),
            objects: reading::series::Series::default(),
            expected_bytes: 0,
        }
    }

    /// How many sequences before the first that is taken [`Aggregator::prime`] is to see.
    pub fn look_back(&self) -> u64 {
        if self.counts_registers() || self.decryption.looks_back() {
            registers::LOOK_BACK
        } else {
            0
        }
    }

    /// Looks at a record before the first that will be taken, for the deltas to count from and for what is required of
    /// encrypted telegrams. Such records come in the order of their sequence.
    pub fn prime(&mut self, before: &Record) {
        debug_assert!(
            self.open.is_none(),
            "primed within an interval, before record {}",
            before.sequence
        );
        if let Opened::Telegram(telegram) = self.decryption.open(&before.telegram, before.sequence) {
            let readings = dsmr::parse(&telegram);
            let time = readings.time.unwrap_or(received_at(before));
            self.registers.read(&readings, before.sequence, time);
            self.registers.take_news();
            self.stopped.read(&readings, before.sequence, before.silence_ms);
        }
    }

    /// Whether tags of encrypted telegrams are required because one has verified, and not by the configuration.
    pub(crate) fn requires_tags_by_itself(&self) -> bool {
        self.decryption.requires_tags_by_itself()
    }

    /// The values that have stopped coming, or come again, each once.
    pub(crate) fn stopped_news(&mut self) -> Vec<stopped::News> {
        self.stopped.take_news()
    }

    /// The values that have stopped coming, each with the number of telegrams since.
    pub(crate) fn stopped(&self) -> impl Iterator<Item = (&str, u64)> {
        self.stopped.values()
    }

    /// The totals that fell to zero and are held back, each once.
    pub fn held_back(&mut self) -> Vec<HeldBack> {
        self.registers.take_news()
    }

    /// Takes the next record and appends to `outputs` what it completes.
    pub fn take(&mut self, record: &Record, outputs: &mut Vec<Output>) -> Taken {
        let telegram = match self.decryption.open(&record.telegram, record.sequence) {
            Opened::Waiting(why) => return Taken::Waiting { why },
            Opened::Skipped(why) => {
                self.pass_over(record, outputs);
                return Taken::Skipped { why };
            }
            Opened::Telegram(telegram) => telegram,
        };
        self.silence(record.silence_ms, outputs);
        let difference = self.telegrams.read(&telegram);
        let received_at = received_at(record);
        let time = self.telegrams.readings().time.unwrap_or(received_at);
        let number = self.interval_number(time);
        self.close_too_long(record, outputs);
        if self.open.as_ref().is_some_and(|open| open.number != number) {
            self.close(outputs);
        }
        let origin = Origin {
            received_at,
            queue: &self.settings.queue,
            sequence: record.sequence,
        };
        self.objects.write(difference, self.telegrams.readings(), origin);
        debug_assert!(
            self.objects.json() == written_whole(&telegram, origin),
            "record {} gives another object than its telegram alone",
            record.sequence
        );
        self.add(number, record, &telegram, outputs);
        let end = self.moment(number.saturating_add(1));
        if let Some(open) = &mut self.open {
            let ends_in_ms = end.as_millisecond() - time.as_millisecond();
            open.ends_in_ms = u64::try_from(ends_in_ms).unwrap_or(0);
        }
        self.count(record.sequence, time);
        let readings = self.telegrams.readings();
        self.stopped.read(readings, record.sequence, record.silence_ms);
        if self.settings.interval_seconds == 0 {
            self.close(outputs);
        }
        Taken::Read
    }

    /// What of the last telegram that was read stands where a value should and is none.
    pub fn misfits(&self) -> &[Misfit<'_>] {
        &self.telegrams.readings().misfits
    }

    /// Capture says that no telegram has come for this long, in milliseconds; closes what that closes.
    pub fn silence(&mut self, silence_ms: u64, outputs: &mut Vec<Output>) {
        if silence_ms > INTERVAL_SILENCE_MS {
            self.close(outputs);
        }
    }

    /// How long after the last record the one that closes the open interval comes at the earliest, of a meter whose
    /// clock goes on as it does. None where no interval is open.
    pub fn closes_in(&self) -> Option<Duration> {
        let open = self.open.as_ref()?;
        let too_long_in_ms = self.longest_ms().saturating_sub(open.elapsed_ms);
        Some(Duration::from_millis(open.ends_in_ms.min(too_long_in_ms)))
    }

    /// The state as this record says it: the queue's head before the backlog, so that dashboards are current
    /// at once. None if it cannot be opened or is not the meter's. Nothing else comes of the record.
    pub fn state_of(&self, record: &Record) -> Option<State> {
        let telegram = self.decryption.peek(&record.telegram, record.sequence)?;
        Some(state(
            &dsmr::parse(&telegram),
            received_at(record),
            record.sequence,
            |measured| {
                (measured.meter)
                    .is_some_and(|meter| self.registers.would_hold(measured.name, meter, measured.value))
            },
        ))
    }

    /// Takes the telegram's registers and gauges into the summary and the state of the open interval.
    fn count(&mut self, sequence: u64, time: Timestamp) {
        if !self.counts_registers() {
            return;
        }
        let readings = self.telegrams.readings();
        let Some(open) = &mut self.open else { return };
        if self.settings.has_summary {
            open.summary.add(readings, sequence, time, &mut self.registers);
        } else {
            self.registers.read(readings, sequence, time);
        }
        open.last_telegram.held.clear();
        open.last_telegram.held.extend_from_slice(self.registers.held());
    }

    fn counts_registers(&self) -> bool {
        self.settings.has_summary || self.settings.has_state
    }

    /// A record that does not open. It belongs to no interval, but its time counts: where nothing opens any
    /// longer, what was read before must not wait for it. The cursor passes it with the interval that is
    /// open, and at once where none is.
    fn pass_over(&mut self, record: &Record, outputs: &mut Vec<Output>) {
        self.silence(record.silence_ms, outputs);
        self.close_too_long(record, outputs);
        match &mut self.open {
            Some(open) => {
                open.last_sequence = record.sequence;
                open.elapsed_ms = open.elapsed_ms.saturating_add(record.silence_ms);
                open.ends_in_ms = open.ends_in_ms.saturating_sub(record.silence_ms);
            }
            None => {
                outputs.push(Output::Closed {
                    last_sequence: record.sequence,
                });
            }
        }
    }

    /// Adds the reading to the open interval, or begins one with it.
    fn add(&mut self, number: i64, record: &Record, telegram: &[u8], outputs: &mut Vec<Output>) {
        let sequence = record.sequence;
        let reading = self.objects.json();
        let open = match &mut self.open {
            Some(open) => {
                if !open
                    .part
                    .try_add(reading, sequence, self.settings.max_payload_bytes)
                {
                    let next = Part::begin(reading, sequence, self.expected_bytes);
                    let full = std::mem::replace(&mut open.part, next);
                    outputs.push(readings_of(full));
                }
                open.elapsed_ms = open.elapsed_ms.saturating_add(record.silence_ms);
                open.last_sequence = sequence;
                open
            }
            None => self.open.insert(Interval {
                number,
                last_sequence: sequence,
                elapsed_ms: 0,
                ends_in_ms: 0,
                part: Part::begin(reading, sequence, self.expected_bytes),
                summary: Summary::default(),
                last_telegram: Telegram::default(),
            }),
        };
        if self.settings.has_state {
            open.last_telegram.bytes.clear();
            open.last_telegram.bytes.extend_from_slice(telegram);
            open.last_telegram.received_at = received_at(record);
            open.last_telegram.sequence = sequence;
        }
    }

    /// Closes the interval that would span too long with this record.
    fn close_too_long(&mut self, record: &Record, outputs: &mut Vec<Output>) {
        let longest_ms = self.longest_ms();
        if self
            .open
            .as_ref()
            .is_some_and(|open| open.elapsed_ms.saturating_add(record.silence_ms) > longest_ms)
        {
            self.close(outputs);
        }
    }

    /// Closes the open interval, if there is one.
    fn close(&mut self, outputs: &mut Vec<Output>) {
        let Some(interval) = self.open.take() else { return };
        self.expected_bytes = interval.part.len() + interval.part.len() / 32;
        outputs.push(readings_of(interval.part));
        if self.settings.has_summary && self.settings.interval_seconds > 0 {
            let (start, end) = (
                self.moment(interval.number),
                self.moment(interval.number.saturating_add(1)),
            );
            outputs.push(Output::Summary {
                payload: interval.summary.to_payload(start, end),
            });
        }
        if self.settings.has_state {
            let last = &interval.last_telegram;
            outputs.push(Output::State(state(
                &dsmr::parse(&last.bytes),
                last.received_at,
                last.sequence,
                |measured| last.held.contains(&measured.name),
            )));
        }
        outputs.push(Output::Closed {
            last_sequence: interval.last_sequence,
        });
    }

    /// The longest that the records of one interval can span, in milliseconds.
    fn longest_ms(&self) -> u64 {
        u64::from(self.settings.interval_seconds) * 1000 + INTERVAL_SILENCE_MS
    }

    fn interval_number(&self, time: Timestamp) -> i64 {
        time.as_second()
            .div_euclid(i64::from(self.settings.interval_seconds.max(1)))
    }

    /// Where the interval of this number begins, as near as a timestamp comes to it.
    fn moment(&self, number: i64) -> Timestamp {
        let seconds = number.saturating_mul(i64::from(self.settings.interval_seconds.max(1)));
        Timestamp::from_second(seconds).unwrap_or(if number < 0 {
            Timestamp::MIN
        } else {
            Timestamp::MAX
        })
    }
}

fn readings_of(part: Part) -> Output {
    let (first_sequence, last_sequence) = (part.first_sequence, part.last_sequence);
    Output::Readings {
        payload: part.into_payload(),
        first_sequence,
        last_sequence,
    }
}

/// The JSON object of a telegram without regard to any other.
fn written_whole(telegram: &[u8], origin: Origin<'_>) -> Vec<u8> {
    let mut json = Vec::new();
    reading::write(&mut json, &dsmr::parse(telegram), Some(origin));
    json
}

fn state(
    readings: &Readings<'_>,
    received_at: Timestamp,
    sequence: u64,
    is_held: impl Fn(&Measurement<'_>) -> bool,
) -> State {
    let time = readings.time.unwrap_or(received_at);
    State {
        payload: state::to_payload(readings, time, sequence, is_held),
        sequence,
    }
}

/// Capture's clock, as near as a timestamp comes to it: a clock can stand anywhere.
fn received_at(record: &Record) -> Timestamp {
    let nearest = if record.captured_at_us < 0 {
        Timestamp::MIN
    } else {
        Timestamp::MAX
    };
    Timestamp::from_microsecond(record.captured_at_us).unwrap_or(nearest)
}

#[cfg(test)]
mod tests;

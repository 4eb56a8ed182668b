//! When the next read is due, and how long it may wait.
//!
//! A meter sends a telegram every second, and a read that waits for each wakes both programs for each, though
//! nothing can be published before the interval ends. So a publisher that has caught up reads several at once:
//! [`PACE`] after the last answer, or earlier where something is to be published. That is told from the records and
//! from capture alone, so that no clock has to agree with the meter's:
//!
//! * The record that closes the open interval comes no earlier after the last one than the interval goes on after
//!   the last one's time. From [`LEAD`] before that on it is read as it comes.
//! * So it is from [`LEAD`] before the silence closes the interval, or the meter counts as offline.
//!
//! Invariant: what these do not foresee (a meter whose clock is set, a system's clock that jumped back) is
//! read [`PACE`] later than it could be, and no more.

use std::time::Duration;

use shared::record::INTERVAL_SILENCE_MS;

use super::Now;
use crate::source::LONGEST_WAIT;

/// With nothing to be published a read is due this long after the last answer: as often as capture hears a report,
/// so that both are one going there.
pub const PACE: Duration = Duration::from_secs(20);
/// The meter's time has whole seconds, so that the closing record comes up to one earlier than it says; half a second
/// more is for telegrams that are not sent in equal steps.
pub(super) const LEAD: Duration = Duration::from_millis(1500);
/// The shortest wait of a read that waits: what is to come may be a little late.
const SHORTEST_WAIT: Duration = Duration::from_millis(20);

/// What answers have told of when something comes; all moments are by the clock that does not jump.
#[derive(Debug)]
pub(super) struct Pace {
    meter_timeout: Duration,
    answered_at: Duration,
    /// How long the meter was silent.
    silence: Span,
    /// How old the newest record was, for all that is known.
    age: Span,
}

/// How long something had lasted at a moment.
#[derive(Debug, Clone, Copy, Default)]
struct Span {
    lasted: Duration,
    at: Duration,
}

impl Span {
    /// When it has lasted this long.
    fn reaches(self, length: Duration) -> Duration {
        self.at.saturating_add(length).saturating_sub(self.lasted)
    }

    /// How long it has lasted by then.
    fn by(self, elapsed: Duration) -> Duration {
        self.lasted.saturating_add(elapsed.saturating_sub(self.at))
    }
}

impl Pace {
    /// With nothing known of meter and records.
    pub(super) fn new(meter_timeout: Duration) -> Self {
        Self {
            meter_timeout,
            answered_at: Duration::ZERO,
            silence: Span::default(),
            age: Span::default(),
        }
    }

    /// Capture has answered with records, the last of which came at this moment by the system's clock.
    pub(super) fn records(&mut self, now: Now, captured_at_us: i64) {
        // Where the clock has jumped back since, it can have waited to be read as long as any record: too early
        // a read does no harm.
        let age = u64::try_from(now.unix_us.saturating_sub(captured_at_us));
        let lasted = age.map_or(PACE, Duration::from_micros);
        let at = now.elapsed;
        self.answered_at = at;
        self.age = Span { lasted, at };
        // That an interval is closed by silence is for capture to say, and is asked for at once where it may be.
        let lasted = lasted.min(Duration::from_millis(INTERVAL_SILENCE_MS));
        self.silence = Span { lasted, at };
    }

    /// Capture has answered that there is nothing newer.
    pub(super) fn nothing(&mut self, elapsed: Duration, silence: Duration) {
        self.answered_at = elapsed;
        self.is_silent(elapsed, silence);
        // Capture's clock does not jump. It says less than the age where a record is on its way to the disk.
        let lasted = self.age.by(elapsed).max(silence);
        self.age = Span { lasted, at: elapsed };
    }

    /// Capture has said how long the meter has been silent.
    pub(super) fn is_silent(&mut self, elapsed: Duration, silence: Duration) {
        self.silence = Span {
            lasted: silence,
            at: elapsed,
        };
    }

    /// When the next read is due, where the record that closes the open interval comes this long after the last one
    /// or later.
    pub(super) fn due(&self, closes_in: Duration) -> Duration {
        self.silence_ends()
            .map(|end| self.silence.reaches(end))
            .into_iter()
            .chain([self.age.reaches(closes_in)])
            .map(|at| at.saturating_sub(LEAD))
            .fold(self.answered_at + PACE, Duration::min)
    }

    /// Whether so much of the pace has passed that a read goes along with what is sent to capture anyway.
    pub(super) fn is_half(&self, elapsed: Duration) -> bool {
        elapsed >= self.answered_at + PACE / 2
    }

    /// How long a read may wait: no longer than to where the silence means something.
    pub(super) fn longest_wait(&self, elapsed: Duration) -> Duration {
        let silence = self.silence.by(elapsed);
        self.silence_ends()
            .into_iter()
            .filter_map(|end| end.checked_sub(silence))
            .fold(LONGEST_WAIT, Duration::min)
            .max(SHORTEST_WAIT)
    }

    /// How long a silence is that means something: it closes the interval, the meter counts as offline.
    fn silence_ends(&self) -> [Duration; 2] {
        [Duration::from_millis(INTERVAL_SILENCE_MS + 1), self.meter_timeout]
    }
}

#[cfg(test)]
mod tests;

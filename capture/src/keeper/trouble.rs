//! What the keeper has to say, said once per change of state: trouble with the disk, losses, and a meter
//! that has gone silent.

use std::fmt::Display;
use std::time::{Duration, Instant};

use shared::commands::command;

use crate::queue::AppendError;
use crate::words;

/// Whether telegrams can be made durable at present.
#[derive(Debug, Default)]
pub(super) struct Trouble {
    current: Option<(String, Instant)>,
}

impl Trouble {
    /// Something could not be made durable.
    pub(super) fn begun(&mut self, error: &impl Display) {
        if self.current.is_none() {
            tracing::error!("telegrams cannot be stored and wait in memory: {error}");
            self.current = Some((error.to_string(), Instant::now()));
        }
    }

    /// Everything is durable; whether that is news.
    pub(super) fn over(&mut self) -> bool {
        let Some((_, since)) = self.current.take() else {
            return false;
        };
        tracing::info!(
            "telegrams are stored again, after {}",
            words::duration(since.elapsed())
        );
        true
    }

    pub(super) fn is_none(&self) -> bool {
        self.current.is_none()
    }

    /// What is wrong, where something is.
    pub(super) fn current(&self) -> Option<String> {
        self.current.as_ref().map(|(words, _)| words.clone())
    }
}

/// Whether the disk is full though telegrams are stored.
#[derive(Debug, Default)]
pub(super) struct Tightness {
    is_said: bool,
}

impl Tightness {
    /// What the queue says of it now.
    pub(super) fn look(&mut self, words: Option<&str>) {
        match words {
            Some(words) if !self.is_said => tracing::warn!("{words}"),
            None if self.is_said => tracing::info!("the disk has room again"),
            _ => {}
        }
        self.is_said = words.is_some();
    }
}

/// Losses as they go on: the first is said at once, more of the same once an hour.
#[derive(Debug, Default)]
pub(super) struct Losing {
    trimmed: Hourly,
    refused: Hourly,
}

impl Losing {
    /// Records went, beyond `max_size`, before every consumer had them.
    pub(super) fn trimmed(&mut self, records: u64) {
        if let Some(count) = self.trimmed.count(records) {
            tracing::warn!(
                "to stay within queue.max_size, {} removed before every consumer had them: `{}` shows which consumer \
                 is behind, `{}` removes one that is gone",
                words::counted_as(count, "telegram was", "telegrams were"),
                command("capture status"),
                command("capture forget")
            );
        }
    }

    /// A telegram was not taken.
    pub(super) fn refused(&mut self, error: &AppendError) {
        if let Some(count) = self.refused.count(1) {
            let lost = words::counted_as(count, "telegram is", "telegrams are");
            tracing::error!("{lost} lost, because the queue has not taken them: {error}");
        }
    }
}

#[derive(Debug, Default)]
struct Hourly {
    said_at: Option<Instant>,
    unsaid: u64,
}

impl Hourly {
    /// How many are to be said now, where any are.
    fn count(&mut self, more: u64) -> Option<u64> {
        self.unsaid += more;
        let is_time = self
            .said_at
            .is_none_or(|at| at.elapsed() >= Duration::from_secs(3600));
        if self.unsaid == 0 || !is_time {
            return None;
        }
        self.said_at = Some(Instant::now());
        Some(std::mem::take(&mut self.unsaid))
    }
}

/// Whether the meter is heard, by the clock that does not jump.
#[derive(Debug)]
pub(super) struct MeterSilence {
    timeout_us: Option<u64>,
    heard_at_us: u64,
    is_silent: bool,
}

impl MeterSilence {
    pub(super) fn new(timeout: Option<Duration>, uptime_us: u64) -> Self {
        let timeout_us = timeout.map(|timeout| u64::try_from(timeout.as_micros()).unwrap_or(u64::MAX));
        Self {
            timeout_us,
            heard_at_us: uptime_us,
            is_silent: false,
        }
    }

    /// A telegram came.
    pub(super) fn heard(&mut self, uptime_us: u64) {
        let silence = Duration::from_micros(uptime_us.saturating_sub(self.heard_at_us));
        if self.is_silent {
            tracing::info!("the meter is heard, after {}", words::duration(silence));
        }
        self.heard_at_us = uptime_us;
        self.is_silent = false;
    }

    /// Time has passed.
    pub(super) fn look(&mut self, uptime_us: u64) {
        let silence_us = uptime_us.saturating_sub(self.heard_at_us);
        if !self.is_silent && self.timeout_us.is_some_and(|timeout| silence_us >= timeout) {
            self.is_silent = true;
            tracing::warn!(
                "no valid telegram for {}: is the cable in, and the port open? `{}` shows what came instead, if \
                 anything did",
                words::duration(Duration::from_micros(silence_us)),
                command("capture status --rejected")
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_loss_is_said_at_once_and_more_of_it_is_gathered() {
        let mut hourly = Hourly::default();
        assert_eq!(hourly.count(0), None);
        assert_eq!(hourly.count(5), Some(5));
        assert_eq!(hourly.count(7), None);
        hourly.said_at = Instant::now().checked_sub(Duration::from_secs(3601));
        assert_eq!(hourly.count(1), Some(8), "what was not said is not forgotten");
    }

    #[test]
    fn a_meter_is_silent_from_the_timeout_until_it_is_heard() {
        let mut meter = MeterSilence::new(Some(Duration::from_secs(120)), 1_000_000);
        meter.look(120_999_999);
        assert!(!meter.is_silent);
        meter.look(121_000_000);
        assert!(meter.is_silent, "also one that has never been heard");
        meter.heard(130_000_000);
        assert!(!meter.is_silent);
        meter.look(249_999_999);
        assert!(!meter.is_silent);
        meter.look(250_000_000);
        assert!(meter.is_silent);
    }
}

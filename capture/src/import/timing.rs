//! When a telegram of a file was captured, and what silence came before it.
//!
//! A file of JSON lines states both. A raw capture states neither: its telegrams are dated by their own
//! time line, which is looked at here and nowhere else in capture. What carries no time at all (DSMR 2.2
//! and 3, frames that are encrypted) is dated ten seconds after the one before, or where none of the
//! file has a time, so that the last came when the file was last written.

use shared::record::INTERVAL_SILENCE_MS;

use super::source::Entry;

/// Dates the telegrams of one file, in order.
#[derive(Debug, Clone)]
pub struct Timing {
    /// Time of the last telegram of a file that has no times, in microseconds.
    ends_at_us: i64,
    /// Telegrams of the file.
    count: u64,
    dated: u64,
    previous_us: Option<i64>,
    guessed: u64,
}

impl Timing {
    /// For a file of `count` telegrams that was last written at `written_at_us`.
    pub fn new(written_at_us: i64, count: u64) -> Self {
        Self {
            ends_at_us: written_at_us,
            count,
            dated: 0,
            previous_us: None,
            guessed: 0,
        }
    }

    /// Captured at (microseconds since 1970-01-01T00:00:00Z) and silence (milliseconds) of the next.
    pub fn date(&mut self, entry: &Entry) -> (i64, u64) {
        let own = || {
            shared::dsmr::parse(&entry.telegram)
                .time
                .map(|time| time.as_microsecond())
        };
        let at_us = entry.stated_at_us.or_else(own).unwrap_or_else(|| {
            self.guessed += 1;
            match self.previous_us {
                Some(previous) => previous.saturating_add(PERIOD_US),
                None => {
                    let after = i64::try_from(self.count.saturating_sub(self.dated + 1)).unwrap_or(i64::MAX);
                    self.ends_at_us.saturating_sub(after.saturating_mul(PERIOD_US))
                }
            }
        });
        self.dated += 1;
        // What does not follow on is a new stretch: the silence before it is one that closes an interval.
        let silence_ms = entry.silence_ms.unwrap_or_else(|| {
            self.previous_us
                .and_then(|previous| u64::try_from(at_us.saturating_sub(previous)).ok())
                .map_or(INTERVAL_SILENCE_MS + 1, |silence_us| silence_us / 1000)
        });
        self.previous_us = Some(at_us);
        (at_us, silence_ms)
    }

    /// How many were dated by guess.
    pub fn guessed(&self) -> u64 {
        self.guessed
    }
}

/// Between two telegrams of the meters that send no time.
const PERIOD_US: i64 = 10_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(stated_at_us: Option<i64>, silence_ms: Option<u64>, telegram: &str) -> Entry {
        Entry {
            stated_at_us,
            silence_ms,
            telegram: telegram.as_bytes().to_vec(),
        }
    }

    fn telegram(time: &str) -> Entry {
        entry(None, None, &format!("/ISK5\r\n\r\n0-0:1.0.0({time})\r\n!\r\n"))
    }

    #[test]
    fn a_telegrams_own_time_dates_it_and_the_time_between_is_the_silence() {
        let mut timing = Timing::new(0, 4);
        // 20 March 2019, 17:14:03 UTC.
        let first = 1_553_102_043_000_000;
        assert_eq!(
            timing.date(&telegram("190320181403W")),
            (first, INTERVAL_SILENCE_MS + 1)
        );
        assert_eq!(
            timing.date(&telegram("190320181404W")),
            (first + 1_000_000, 1_000)
        );
        assert_eq!(
            timing.date(&telegram("190320181504W")),
            (first + 61_000_000, 60_000)
        );
        let back = timing.date(&telegram("190320181403W"));
        assert_eq!(
            back,
            (first, INTERVAL_SILENCE_MS + 1),
            "a step back is a new stretch"
        );
        assert_eq!(timing.guessed(), 0);
    }

    #[test]
    fn what_the_file_states_counts_before_the_telegrams_own() {
        let mut timing = Timing::new(0, 1);
        let mut stated = telegram("190320181403W");
        stated.stated_at_us = Some(7);
        stated.silence_ms = Some(42);
        assert_eq!(timing.date(&stated), (7, 42));
    }

    #[test]
    fn a_file_without_any_times_ends_when_it_was_last_written() {
        let mut timing = Timing::new(1_000_000_000, 3);
        let times: Vec<i64> = (0..3)
            .map(|_| timing.date(&entry(None, None, "/KMP5\r\n!\r\n")).0)
            .collect();
        assert_eq!(times, [980_000_000, 990_000_000, 1_000_000_000]);
        assert_eq!(timing.guessed(), 3);
    }

    #[test]
    fn a_time_that_is_missing_once_follows_the_one_before() {
        let mut timing = Timing::new(0, 2);
        let (first, _) = timing.date(&telegram("190320181403W"));
        assert_eq!(
            timing.date(&telegram("632525252525W")),
            (first + 10_000_000, 10_000)
        );
        assert_eq!(timing.guessed(), 1);
    }
}

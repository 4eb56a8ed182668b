//! What a person is told of a port that fails: once what is wrong and once that it works again, and of one that does
//! both again and again (a peer that closes after each telegram) at most one line a minute, with a count.
//!
//! Pure: the clock is handed in.

use std::time::Duration;

/// How long after one line about a port that comes and goes the next may follow, and how long such a port must have
/// stayed up before it is said to work again.
const EVERY: Duration = Duration::from_secs(60);

/// How many different troubles are told at once in a row of failures.
const MOST_KINDS: usize = 8;

/// What has been said of the port, and what has happened since.
#[derive(Debug, Default)]
pub(super) struct Outages {
    /// The troubles told since the port last worked for good.
    told: Vec<String>,
    /// When the last line was.
    said_at: Option<Duration>,
    /// Since when it has worked; none while it does not.
    works_since: Option<Duration>,
    /// Whether it was said that it works.
    is_told_to_work: bool,
    /// Whether it failed again soon after it had worked.
    comes_and_goes: bool,
    /// How often it has failed since the last line, after it had worked.
    untold: u64,
}

impl Outages {
    /// The port failed. What to say now, if anything.
    pub(super) fn failed(&mut self, words: &str, now: Duration) -> Option<String> {
        let worked_since = self.works_since.take();
        if worked_since.is_some_and(|since| now.saturating_sub(since) >= EVERY) {
            // It had worked for good: this is a new outage.
            *self = Self::default();
        } else if worked_since.is_some() {
            self.comes_and_goes = true;
        }
        if !self.told.iter().any(|told| told == words) && self.told.len() < MOST_KINDS {
            self.told.push(words.to_owned());
            self.is_told_to_work = false;
            self.said_at = Some(now);
            return Some(format!("{words} (it is tried again until it works)"));
        }
        // A port that does not come up in between is still the outage that was told.
        worked_since?;
        self.untold += 1;
        let since = now.saturating_sub(self.said_at.unwrap_or_default());
        if since < EVERY {
            return None;
        }
        self.said_at = Some(now);
        let count = std::mem::take(&mut self.untold);
        let times = shared::words::counted(count, "time");
        Some(format!(
            "{words} ({times} in {} s; in between it works)",
            since.as_secs()
        ))
    }

    /// A telegram came. Whether it is to be said that the port works again.
    pub(super) fn works(&mut self, now: Duration) -> bool {
        if self.told.is_empty() {
            return false;
        }
        let since = *self.works_since.get_or_insert(now);
        let has_stayed = now.saturating_sub(since) >= EVERY;
        // The first time it is said at once. If it then goes on failing, only when it has stayed.
        let is_news = if self.comes_and_goes {
            has_stayed
        } else {
            !self.is_told_to_work
        };
        if has_stayed {
            *self = Self::default();
        } else if is_news {
            self.is_told_to_work = true;
        }
        is_news
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLOSED: &str = "the other side closed the connection";

    fn second(second: u64) -> Duration {
        Duration::from_secs(second)
    }

    #[test]
    fn an_outage_is_said_once_and_its_end_once() {
        let mut outages = Outages::default();
        assert!(!outages.works(second(0)), "there was none");
        let line = outages.failed(CLOSED, second(10)).unwrap();
        assert_eq!(line, format!("{CLOSED} (it is tried again until it works)"));
        for at in 11..500 {
            assert_eq!(outages.failed(CLOSED, second(at)), None);
        }
        assert!(outages.works(second(500)));
        for at in 501..700 {
            assert!(!outages.works(second(at)));
        }
        assert!(outages.failed(CLOSED, second(700)).is_some(), "another outage");
        assert!(outages.works(second(701)));
    }

    #[test]
    fn another_trouble_is_said_at_once() {
        let mut outages = Outages::default();
        outages.failed(CLOSED, second(0)).unwrap();
        assert!(outages.failed("nothing listens there", second(1)).is_some());
        assert_eq!(outages.failed(CLOSED, second(2)), None);
    }

    #[test]
    fn a_peer_that_closes_after_each_telegram_is_said_once_a_minute_with_a_count() {
        let mut outages = Outages::default();
        let (mut failures, mut recoveries) = (Vec::new(), Vec::new());
        for at in 0..300 {
            if outages.works(second(at)) {
                recoveries.push(at);
            }
            // One in ten times it is a reset.
            let words = if at % 10 == 9 { "connection reset" } else { CLOSED };
            failures.extend(outages.failed(words, second(at)).map(|line| (at, line)));
        }
        assert_eq!(recoveries, [1]);
        let times: Vec<u64> = failures.iter().map(|(at, _)| *at).collect();
        assert_eq!(times, [0, 9, 69, 129, 189, 249], "{failures:?}");
        assert_eq!(
            failures[3].1,
            "connection reset (60 times in 60 s; in between it works)"
        );

        // It stays up: that is said once, when it has for a minute.
        let recovered: Vec<u64> = (300..700).filter(|at| outages.works(second(*at))).collect();
        assert_eq!(recovered, [360]);
    }
}

//! How often a log line is written that a party outside can cause: a few at once, then one a minute with the number of
//! those that were not written.
//!
//! Pure: the monotonic clock is handed in.

use std::time::Duration;

/// After how long one more line may be written.
const EVERY: Duration = Duration::from_secs(60);

/// The lines of one kind.
#[derive(Debug, Clone)]
pub struct Rate {
    at_once: u32,
    left: u32,
    /// Since when a further line is waited for.
    since: Duration,
    unsaid: u64,
}

impl Rate {
    /// So many lines at once, and one a minute from there on.
    pub fn new(at_once: u32) -> Self {
        Self {
            at_once,
            left: at_once,
            since: Duration::ZERO,
            unsaid: 0,
        }
    }

    /// There is something to say. What to put behind it if it may be said now: nothing, or how often it was not said
    /// since the last time.
    pub fn say(&mut self, now: Duration) -> Option<String> {
        let waited = now.saturating_sub(self.since).as_secs() / EVERY.as_secs();
        let more = u32::try_from(waited).unwrap_or(u32::MAX);
        if self.left == self.at_once {
            self.since = now;
        } else if more > 0 {
            self.left = self.left.saturating_add(more).min(self.at_once);
            self.since = now;
        }
        if self.left == 0 {
            self.unsaid += 1;
            return None;
        }
        self.left -= 1;
        Some(match std::mem::take(&mut self.unsaid) {
            0 => String::new(),
            unsaid => format!(" (and {} like this before it)", crate::words::number(unsaid)),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_are_said_and_then_one_a_minute_with_the_number_of_the_others() {
        let mut rate = Rate::new(2);
        let said: Vec<(u64, String)> = (1000..1200)
            .filter_map(|second| Some((second, rate.say(Duration::from_secs(second))?)))
            .collect();
        let expected = [
            (1000, ""),
            (1001, ""),
            (1060, " (and 58 like this before it)"),
            (1120, " (and 59 like this before it)"),
            (1180, " (and 59 like this before it)"),
        ];
        assert_eq!(said, expected.map(|(second, words)| (second, words.to_owned())));
        assert_eq!(
            rate.say(Duration::from_secs(9000)).as_deref(),
            Some(" (and 19 like this before it)")
        );
        assert_eq!(
            rate.say(Duration::from_secs(9000)).as_deref(),
            Some(""),
            "it has rested"
        );
        assert_eq!(rate.say(Duration::from_secs(9000)), None);
    }
}

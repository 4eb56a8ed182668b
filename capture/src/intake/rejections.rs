//! What a person is told about rejected telegrams: not each, but their number and what it usually means,
//! at most once a minute.
//!
//! Pure: the clock is handed in.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use shared::commands::command;
use shared::telegram::assembler::Reason;
use shared::words::{counted, counted_as};

/// How long after one line the next may follow.
const EVERY: Duration = Duration::from_secs(60);

/// Fewer are not worth a line: a meter stops now and then, and every line is noisy once in a while.
const WORTH_SAYING: u64 = 3;

/// What has been rejected since it was last said.
#[derive(Debug, Default)]
pub(super) struct Rejections {
    counts: BTreeMap<&'static str, u64>,
    accepted: u64,
    /// What the last one shows of its wrong CRC.
    shown: Option<&'static str>,
    said: Option<Duration>,
}

impl Rejections {
    pub(super) fn accepted(&mut self) {
        self.accepted += 1;
    }

    /// One more was rejected; `shown` is what its bytes show of a wrong CRC. What to say now, if anything.
    pub(super) fn rejected(
        &mut self,
        reason: &Reason,
        shown: Option<&'static str>,
        now: Duration,
    ) -> Option<String> {
        self.shown = shown;
        *self.counts.entry(reason.name()).or_insert(0) += 1;
        let total: u64 = self.counts.values().sum();
        if total < WORTH_SAYING || self.said.is_some_and(|said| now.saturating_sub(said) < EVERY) {
            return None;
        }
        let stretches = counted_as(total, "stretch", "stretches");
        let mut line = format!("rejected {stretches} of input (");
        for (at, (name, count)) in self.counts.iter().enumerate() {
            let _ = write!(line, "{}{count} {name}", if at == 0 { "" } else { ", " });
        }
        let _ = write!(
            line,
            ") and accepted {} {}: {}",
            counted(self.accepted, "telegram"),
            self.since(now),
            self.meaning(total)
        );
        *self = Self {
            said: Some(now),
            ..Self::default()
        };
        Some(line)
    }

    fn since(&self, now: Duration) -> String {
        self.said.map_or_else(
            || "so far".to_owned(),
            |said| format!("in {} s", now.saturating_sub(said).as_secs()),
        )
    }

    fn meaning(&self, total: u64) -> String {
        let rejected = command("capture status --rejected");
        let count = |name: &str| self.counts.get(name).copied().unwrap_or_default();
        if let Some(shown) = self.shown {
            shown.to_owned()
        } else if count("missing_crc") * 2 > total {
            "this meter sends no CRC now, though it did before; `crc: off` takes its telegrams as they are"
                .to_owned()
        } else if count("too_long") * 2 > total {
            "what comes does not end like telegrams do; is it a P1 port?".to_owned()
        } else if self.accepted == 0 && count("noise") * 2 > total {
            "usually the wrong `serial` setting, or something else than a P1 port".to_owned()
        } else if self.accepted == 0 {
            format!("usually a bad cable, or a line that is not inverted; `{rejected}` shows what came")
        } else {
            format!("usually a bad cable or too long a one; `{rejected}` shows what came")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WRONG: Reason = Reason::WrongCrc {
        given: 1,
        computed: 2,
    };

    fn second(second: u64) -> Duration {
        Duration::from_secs(second)
    }

    #[test]
    fn a_burst_is_said_once_a_minute_with_its_counts() {
        let mut rejections = Rejections::default();
        let said: Vec<(u64, String)> = (0..130)
            .filter_map(|at| {
                rejections.accepted();
                rejections
                    .rejected(&WRONG, None, second(at))
                    .map(|line| (at, line))
            })
            .collect();
        assert_eq!(said.iter().map(|(at, _)| *at).collect::<Vec<_>>(), [2, 62, 122]);
        assert!(
            said[0]
                .1
                .contains("rejected 3 stretches of input (3 wrong_crc) and accepted 3 telegrams so far")
        );
        assert!(
            said[1]
                .1
                .contains("(60 wrong_crc) and accepted 60 telegrams in 60 s"),
            "{}",
            said[1].1
        );
        assert!(said[1].1.contains("cable"));
    }

    #[test]
    fn what_the_bytes_show_goes_before_what_it_usually_means() {
        let mut rejections = Rejections::default();
        let line = (0..3).find_map(|at| rejections.rejected(&WRONG, Some("the line ends"), second(at)));
        assert!(
            line.unwrap()
                .ends_with("accepted 0 telegrams so far: the line ends")
        );
    }

    #[test]
    fn one_or_two_are_not_worth_a_line() {
        let mut rejections = Rejections::default();
        assert_eq!(rejections.rejected(&Reason::Noise, None, second(0)), None);
        assert_eq!(rejections.rejected(&Reason::Truncated, None, second(1000)), None);
        assert!(rejections.rejected(&WRONG, None, second(9000)).is_some());
    }

    #[test]
    fn what_it_usually_means_depends_on_what_came() {
        for (reason, accepted, word) in [
            (Reason::Noise, 0, "serial"),
            (WRONG, 0, "inverted"),
            (WRONG, 5, "cable"),
            (Reason::MissingCrc, 5, "crc: off"),
            (Reason::TooLong, 0, "P1 port"),
        ] {
            let mut rejections = Rejections::default();
            (0..accepted).for_each(|_| rejections.accepted());
            let line = (0..3)
                .find_map(|at| rejections.rejected(&reason, None, second(at)))
                .expect("worth a line");
            assert!(line.contains(word), "{line}");
        }
    }
}

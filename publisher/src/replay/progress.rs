//! How far a replay is: a live line on a terminal, a line now and then elsewhere, and at the end where
//! to go on from.

use std::io::Write;
use std::time::{Duration, Instant};

use shared::words::{counted, number};

use crate::delivery::Counts;

const ON_A_TERMINAL: Duration = Duration::from_millis(250);
const ELSEWHERE: Duration = Duration::from_secs(10);

/// See the module. Where it cannot be written nothing happens: the replay matters more.
pub(super) struct Progress<W> {
    out: W,
    first: u64,
    last: u64,
    is_terminal: bool,
    started: Instant,
    shown: Instant,
}

impl<W: Write> Progress<W> {
    pub(super) fn new(out: W, first: u64, last: u64) -> Self {
        use std::io::IsTerminal;
        let now = Instant::now();
        Self {
            out,
            first,
            last,
            is_terminal: std::io::stderr().is_terminal(),
            started: now,
            shown: now,
        }
    }

    /// Intervals up to `done` are acknowledged in full.
    pub(super) fn show(&mut self, done: u64, messages: u64, is_end: bool) {
        let pause = if self.is_terminal {
            ON_A_TERMINAL
        } else {
            ELSEWHERE
        };
        if !is_end && self.shown.elapsed() < pause {
            return;
        }
        self.shown = Instant::now();
        let line = self.line(done, messages, self.started.elapsed());
        let _ = match (self.is_terminal, is_end) {
            (true, false) => write!(self.out, "\r{line}\x1b[K"),
            (true, true) => writeln!(self.out, "\r{line}\x1b[K"),
            (false, _) => writeln!(self.out, "{line}"),
        };
        let _ = self.out.flush();
    }

    fn line(&self, done: u64, messages: u64, elapsed: Duration) -> String {
        let telegrams = (done + 1).saturating_sub(self.first);
        // The last interval may end beyond what was asked for.
        let all = (self.last + 1).saturating_sub(self.first).max(telegrams).max(1);
        let percent = (telegrams.min(all) * 100) / all;
        let rate = (telegrams as f64 / elapsed.as_secs_f64().max(0.001)) as u64;
        let left = all.saturating_sub(telegrams).checked_div(rate).unwrap_or(0);
        format!(
            "{} of {} ({percent} %) in {}, {} a second, {left} s left",
            number(telegrams),
            counted(all, "telegram"),
            counted(messages, "message"),
            number(rate),
        )
    }

    pub(super) fn open_interval(&mut self) {
        let _ = writeln!(
            self.out,
            "the interval that is still open is not replayed: it has not been published yet either"
        );
    }

    pub(super) fn interrupted(&mut self, next: u64) {
        let _ = writeln!(self.out, "interrupted: go on with --from \"#{next}\"");
    }

    pub(super) fn finished(&mut self, done: u64, counts: Counts) {
        if done < self.first {
            let _ = writeln!(self.out, "nothing was replayed");
            return;
        }
        let skipped = match counts.skipped {
            0 => String::new(),
            skipped => format!(", {} skipped", number(skipped)),
        };
        let telegrams = if done == self.first {
            format!("telegram #{done}")
        } else {
            format!("telegrams #{} to #{done}", self.first)
        };
        let _ = writeln!(
            self.out,
            "replayed {telegrams}: {}, all acknowledged{skipped}",
            counted(counts.acknowledged, "message"),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_has_share_rate_and_time_left() {
        let mut written = Vec::new();
        let progress = Progress::new(&mut written, 101, 1_100);
        assert_eq!(
            progress.line(350, 5, Duration::from_secs(5)),
            "250 of 1,000 telegrams (25 %) in 5 messages, 50 a second, 15 s left"
        );
        assert!(
            progress
                .line(100, 0, Duration::ZERO)
                .starts_with("0 of 1,000 telegrams (0 %)")
        );
        let one = Progress::new(&mut written, 7, 7);
        assert_eq!(
            one.line(7, 1, Duration::from_secs(1)),
            "1 of 1 telegram (100 %) in 1 message, 1 a second, 0 s left"
        );
    }

    #[test]
    fn what_was_replayed_is_counted_in_words() {
        let mut written = Vec::new();
        let counts = Counts {
            acknowledged: 1,
            ..Counts::default()
        };
        Progress::new(&mut written, 7, 7).finished(7, counts);
        Progress::new(&mut written, 7, 8).finished(8, counts);
        assert_eq!(
            String::from_utf8_lossy(&written),
            "replayed telegram #7: 1 message, all acknowledged\nreplayed telegrams #7 to #8: 1 message, all \
             acknowledged\n"
        );
    }

    #[test]
    fn an_interrupted_replay_says_where_to_go_on() {
        let mut written = Vec::new();
        Progress::new(&mut written, 1, 9).interrupted(7);
        assert!(String::from_utf8_lossy(&written).contains("--from \"#7\""));
    }
}

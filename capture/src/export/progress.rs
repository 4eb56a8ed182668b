//! How far an export is, on standard error: a live line on a terminal, elsewhere a line now and then, so that a
//! short export says nothing.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

use crate::words;

const ON_A_TERMINAL: Duration = Duration::from_millis(250);
const ELSEWHERE: Duration = Duration::from_secs(10);

/// See the module. Where it cannot be written nothing happens: the export matters more.
pub(super) struct Progress<W> {
    out: W,
    is_terminal: bool,
    first: u64,
    last: u64,
    started: Instant,
    shown: Option<Instant>,
}

impl Progress<std::io::Stderr> {
    /// On standard error, of an export of these sequences.
    pub(super) fn new(first: u64, last: u64) -> Self {
        let out = std::io::stderr();
        // Where the telegrams themselves go to the terminal nothing may be written between them.
        let is_terminal = out.is_terminal() && !std::io::stdout().is_terminal();
        Self {
            is_terminal,
            out,
            first,
            last,
            started: Instant::now(),
            shown: None,
        }
    }
}

impl<W: Write> Progress<W> {
    /// Everything before `next` has been printed.
    pub(super) fn show(&mut self, next: u64) {
        let pause = if self.is_terminal {
            ON_A_TERMINAL
        } else {
            ELSEWHERE
        };
        if self.shown.unwrap_or(self.started).elapsed() < pause {
            return;
        }
        self.shown = Some(Instant::now());
        let line = self.line(next, self.started.elapsed());
        let _ = if self.is_terminal {
            write!(self.out, "\r{line}\x1b[K")
        } else {
            writeln!(self.out, "{line}")
        };
        let _ = self.out.flush();
    }

    /// Nothing more is printed.
    pub(super) fn end(&mut self, next: u64) {
        if self.is_terminal && self.shown.is_some() {
            let line = self.line(next, self.started.elapsed());
            let _ = writeln!(self.out, "\r{line}\x1b[K");
        }
    }

    fn line(&self, next: u64, elapsed: Duration) -> String {
        let all = (self.last + 1).saturating_sub(self.first).max(1);
        let done = next.saturating_sub(self.first).min(all);
        let rate = (done as f64 / elapsed.as_secs_f64().max(0.001)) as u64;
        let left = (all - done).checked_div(rate).unwrap_or(0);
        format!(
            "{} of {} ({} %), {} a second, {} left",
            words::number(done),
            words::counted(all, "telegram"),
            done * 100 / all,
            words::number(rate),
            words::duration(Duration::from_secs(left)),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_has_share_rate_and_time_left() {
        let mut progress = Progress {
            out: Vec::new(),
            is_terminal: false,
            first: 101,
            last: 5_100,
            started: Instant::now(),
            shown: None,
        };
        assert_eq!(
            progress.line(1_351, Duration::from_secs(5)),
            "1,250 of 5,000 telegrams (25 %), 250 a second, 15 s left"
        );
        let of_one = Progress {
            last: 101,
            out: Vec::new(),
            ..progress
        };
        assert!(
            of_one
                .line(101, Duration::from_secs(5))
                .starts_with("0 of 1 telegram (0 %)")
        );
        progress.show(1_351);
        progress.end(5_101);
        assert_eq!(progress.out, b"", "a short export says nothing");
        progress.started = Instant::now().checked_sub(Duration::from_secs(11)).unwrap();
        progress.show(1_351);
        progress.show(1_352);
        let said = String::from_utf8_lossy(&progress.out).into_owned();
        assert_eq!(said.lines().count(), 1, "{said}");
    }
}

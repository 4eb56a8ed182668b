//! How fast a peer at `tcp://` is read. A meter sends some kilobyte a second; who sends much more is read at [`RATE_BYTES`]
//! a second once [`BURST_BYTES`] are used up, so that it costs neither a disk nor a processor. What is not read yet waits
//! in the network, which makes the sender wait: nothing is lost.
//!
//! Pure: the monotonic clock is handed in.

use std::time::Duration;

/// Bytes a second, many times what any meter sends.
pub(super) const RATE_BYTES: usize = 64 * 1024;
/// Bytes that may come at once: what an adapter has gathered for a quarter of an hour.
const BURST_BYTES: usize = 1024 * 1024;
/// Once all is used up, so many are waited for, lest each few bytes cost a read.
const WAITED_FOR_BYTES: usize = 8 * 1024;

/// What may be read at present.
#[derive(Debug)]
pub(super) struct Budget {
    left_bytes: usize,
    /// Up to when what has passed is in `left_bytes`.
    counted_to: Duration,
    is_used_up: bool,
}

/// What has changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    /// The peer is read more slowly than it sends.
    UsedUp,
    /// It sends so little that all of it is read as it comes.
    Recovered,
}

impl Budget {
    pub(super) fn new(now: Duration) -> Self {
        Self {
            left_bytes: BURST_BYTES,
            counted_to: now,
            is_used_up: false,
        }
    }

    /// How many bytes may be read now; if none, how long that is to be waited for.
    pub(super) fn allowance(&mut self, now: Duration) -> Result<usize, Duration> {
        let passed = now.saturating_sub(self.counted_to);
        let more = passed.as_micros() * RATE_BYTES as u128 / 1_000_000;
        // A rest of less than a byte goes on counting.
        if more > 0 {
            let more = usize::try_from(more).unwrap_or(BURST_BYTES);
            self.left_bytes = self.left_bytes.saturating_add(more).min(BURST_BYTES);
            self.counted_to = now;
        }
        let least = if self.is_used_up { WAITED_FOR_BYTES } else { 1 };
        if self.left_bytes >= least {
            return Ok(self.left_bytes);
        }
        let missing = (WAITED_FOR_BYTES - self.left_bytes) as u64;
        Err(Duration::from_micros(missing * 1_000_000 / RATE_BYTES as u64 + 1))
    }

    /// So many bytes were read.
    pub(super) fn read(&mut self, bytes: usize) -> Option<Change> {
        let was_used_up = self.is_used_up;
        self.left_bytes = self.left_bytes.saturating_sub(bytes);
        if self.left_bytes == 0 {
            self.is_used_up = true;
        } else if self.left_bytes >= BURST_BYTES / 2 {
            self.is_used_up = false;
        }
        match (was_used_up, self.is_used_up) {
            (false, true) => Some(Change::UsedUp),
            (true, false) => Some(Change::Recovered),
            _ => None,
        }
    }

    /// Whether the peer is read more slowly than it sends.
    pub(super) fn is_used_up(&self) -> bool {
        self.is_used_up
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A peer that has `bytes` ready every `every`, read for so long: what was read of it, in how many reads, how long
    /// it waited at most, and what changed.
    fn run(bytes: usize, every: Duration, lasts: Duration) -> (usize, u32, Duration, Vec<Change>) {
        let start = Duration::from_secs(5_000);
        let mut budget = Budget::new(start);
        let (mut now, mut read, mut reads, mut changes) = (start, 0, 0, Vec::new());
        let mut longest = Duration::ZERO;
        while now < start + lasts {
            let sent = ((now - start).as_micros() / every.as_micros() + 1) as usize * bytes;
            match budget.allowance(now) {
                Ok(allowed) if sent > read => {
                    let taken = allowed.min(sent - read).min(16 * 1024);
                    changes.extend(budget.read(taken));
                    read += taken;
                    reads += 1;
                }
                Ok(_) => now += every,
                Err(pause) => {
                    longest = longest.max(pause);
                    now += pause;
                }
            }
        }
        (read, reads, longest, changes)
    }

    #[test]
    fn a_meter_is_never_waited_with() {
        let (read, _, longest, changes) = run(2_000, Duration::from_secs(1), Duration::from_secs(3_600));
        assert_eq!((read, longest, changes), (2_000 * 3_600, Duration::ZERO, vec![]));
    }

    #[test]
    fn a_flood_is_read_at_the_rate_behind_its_first_mebibyte_in_few_reads() {
        let seconds = 100;
        let (read, reads, longest, changes) =
            run(1 << 30, Duration::from_secs(60), Duration::from_secs(seconds));
        let most = BURST_BYTES + RATE_BYTES * (seconds as usize + 1);
        assert!(read <= most && read > most / 10 * 9, "{read} bytes");
        assert!(reads < 64 + 9 * seconds as u32, "{reads} reads");
        assert!(longest <= Duration::from_millis(126), "{longest:?}");
        assert_eq!(changes, [Change::UsedUp]);
    }

    #[test]
    fn a_peer_that_becomes_a_meter_again_is_told_so_once() {
        let mut budget = Budget::new(Duration::ZERO);
        assert_eq!(budget.read(BURST_BYTES), Some(Change::UsedUp));
        assert!(budget.allowance(Duration::from_micros(3)).is_err());
        let changes: Vec<(u64, Change)> = (1..60)
            .filter_map(|second| {
                budget.allowance(Duration::from_secs(second)).unwrap();
                Some((second, budget.read(1_000)?))
            })
            .collect();
        assert_eq!(changes, [(9, Change::Recovered)]);
    }
}

//! When to look at the port again while a telegram trickles in.
//!
//! At 115200 baud a driver wakes its reader every few bytes, a hundred times a telegram. A meter's
//! telegrams are nearly all of one length, so that the end of this one can be foreseen: half of what is
//! left is slept through, then half of that, and the last two milliseconds are read as they come. So a
//! telegram costs about ten reads in place of a hundred, and its last byte is not kept waiting, except for
//! half of the time by which it is shorter than the last two.
//!
//! Pure: the clock is handed in. Where bytes come all at once (TCP, a pty) nothing is ever slept through.

use std::time::Duration;

/// What is left is read as it comes.
const READ_AS_IT_COMES: Duration = Duration::from_millis(4);

/// Never sleep longer: the kernel keeps 4096 bytes of a serial line for who reads late, 350 ms at the
/// greater speed.
const LONGEST: Duration = Duration::from_millis(50);

/// What is known about the rhythm of the bytes.
#[derive(Debug, Default)]
pub struct Pacing {
    /// Bytes and time of the last two telegrams.
    last: Option<Course>,
    before_last: Option<Course>,
    /// When the first byte of the telegram under way came, and how many have.
    begun: Option<(Duration, usize)>,
}

#[derive(Debug, Clone, Copy)]
struct Course {
    bytes: usize,
    took: Duration,
}

impl Pacing {
    /// Bytes came at `now`, by any clock that does not jump; with them, `ended` says, a telegram ended.
    pub fn received(&mut self, now: Duration, bytes: usize, ended: bool) {
        let (since, before) = self.begun.unwrap_or((now, 0));
        if ended {
            self.before_last = self.last;
            self.last = Some(Course {
                bytes: before + bytes,
                took: now.saturating_sub(since),
            });
            self.begun = None;
        } else {
            self.begun = Some((since, before + bytes));
        }
    }

    /// What came is no telegram, or the port was opened anew.
    pub fn forget(&mut self) {
        *self = Self::default();
    }

    /// The bytes stopped coming in the middle.
    pub fn paused(&mut self) {
        self.begun = None;
    }

    /// How long nothing needs to be read: zero when the next byte is to be read as it comes.
    #[must_use]
    pub fn pause(&self, now: Duration) -> Duration {
        let (Some((since, bytes)), Some(last), Some(before_last)) = (self.begun, self.last, self.before_last)
        else {
            return Duration::ZERO;
        };
        let shorter = if last.bytes < before_last.bytes {
            last
        } else {
            before_last
        };
        let took = last.took.min(before_last.took);
        let left_by_clock = took.saturating_sub(now.saturating_sub(since));
        let left_bytes = u32::try_from(shorter.bytes.saturating_sub(bytes)).unwrap_or_default();
        let left_by_bytes = took * left_bytes / u32::try_from(shorter.bytes).unwrap_or(u32::MAX).max(1);
        let left = left_by_clock.min(left_by_bytes);
        if left < READ_AS_IT_COMES {
            Duration::ZERO
        } else {
            (left / 2).min(LONGEST)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A line that brings a byte every 87 µs, read as [`Pacing`] says: how many reads each telegram takes,
    /// and how late its last byte is read.
    fn run(lengths: &[usize]) -> Vec<(usize, Duration)> {
        let byte = Duration::from_micros(87);
        let mut pacing = Pacing::default();
        let mut results = Vec::new();
        for (second, &length) in lengths.iter().enumerate() {
            let start = Duration::from_secs(second as u64);
            let last = start + byte * length as u32;
            let (mut now, mut read, mut reads) = (start, 0, 0);
            while read < length {
                now += pacing.pause(now);
                // A driver wakes its reader at the next byte.
                let there = (((now - start).as_nanos() / byte.as_nanos()) as usize).min(length);
                let there = there.max(read + 1);
                now = now.max(start + byte * there as u32);
                reads += 1;
                pacing.received(now, there - read, there == length);
                read = there;
            }
            results.push((reads, now - last));
        }
        results
    }

    #[test]
    fn a_telegram_costs_few_reads_and_its_last_byte_is_not_kept_waiting() {
        let results = run(&[800; 6]);
        assert_eq!(results[0].0, 800, "nothing is known yet");
        for (reads, late) in &results[2..] {
            assert!(
                *reads < 60,
                "{reads} reads, one byte each in the last milliseconds"
            );
            assert!(*late < Duration::from_millis(1), "{late:?} late");
        }
    }

    #[test]
    fn a_telegram_that_is_shorter_than_the_last_is_read_late_by_half_of_that_at_most() {
        for (length, late_by) in [(790, 1), (700, 5), (400, 18)] {
            let results = run(&[800, 800, length]);
            assert!(
                results[2].1 <= Duration::from_millis(late_by),
                "{length}: {:?}",
                results[2].1
            );
            let results = run(&[800, 800, 800, length, 800, length]);
            assert!(
                results[5].1 <= Duration::from_millis(1),
                "known by then: {:?}",
                results[5].1
            );
        }
    }

    #[test]
    fn bytes_that_come_all_at_once_are_never_waited_for() {
        let mut pacing = Pacing::default();
        for second in 0..5 {
            pacing.received(Duration::from_secs(second), 500, false);
            assert_eq!(pacing.pause(Duration::from_secs(second)), Duration::ZERO);
            pacing.received(Duration::from_secs(second), 300, true);
            assert_eq!(pacing.pause(Duration::from_secs(second)), Duration::ZERO);
        }
    }
}

//! How long to wait before trying again: doubling from a first delay up to a bound, with jitter, so
//! that a broker that comes back is not met by every reader in the same instant.
//!
//! Pure: the caller does the waiting and hands in the randomness.

use std::time::Duration;

/// Delays that double from `first` to `bound`.
#[derive(Debug, Clone)]
pub struct Backoff {
    first: Duration,
    bound: Duration,
    next: Duration,
}

impl Backoff {
    /// Starts at `first` and never waits longer than `bound`.
    pub fn new(first: Duration, bound: Duration) -> Self {
        Self {
            first,
            bound,
            next: first,
        }
    }

    /// The delay before the next attempt. `random` is uniform over all of `u32`; the delay is spread
    /// over the upper half of its nominal value.
    pub fn next_delay(&mut self, random: u32) -> Duration {
        let nominal = self.next;
        self.next = (nominal * 2).min(self.bound);
        let half = nominal / 2;
        half + half.mul_f64(f64::from(random) / f64::from(u32::MAX))
    }

    /// The attempt succeeded: the next failure starts from the first delay again.
    pub fn reset(&mut self) {
        self.next = self.first;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_double_up_to_the_bound_and_start_again_after_a_success() {
        let mut backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(30));
        let delays: Vec<u64> = (0..7).map(|_| backoff.next_delay(u32::MAX).as_secs()).collect();
        assert_eq!(delays, [1, 2, 4, 8, 16, 30, 30]);
        backoff.reset();
        assert_eq!(backoff.next_delay(u32::MAX), Duration::from_secs(1));
    }

    #[test]
    fn jitter_keeps_every_delay_between_half_and_all_of_its_nominal_value() {
        for random in [0, 1, u32::MAX / 2, u32::MAX] {
            let mut backoff = Backoff::new(Duration::from_secs(8), Duration::from_secs(30));
            let delay = backoff.next_delay(random);
            assert!(
                (4.0..=8.0).contains(&delay.as_secs_f64()),
                "{delay:?} for {random}"
            );
        }
    }
}

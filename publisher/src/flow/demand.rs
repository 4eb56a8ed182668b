//! What the meter sends, as bytes to publish a second of its time: beside what the link to the broker has shown, it
//! tells whether a backlog can ever be caught up with.

use crate::aggregate::Output;

/// Between two closed intervals: more is a gap in the records, or a clock that was set.
const LONGEST_US: i64 = 2 * 3_600 * 1_000_000;
/// Told again only after the link had carried so much more than is needed.
const ROOM_PERCENT: u64 = 120;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Demand {
    /// When the last interval closed.
    closed_at_us: Option<i64>,
    /// Bytes since then.
    bytes: u64,
    /// Bytes a second.
    rate: Option<u64>,
    is_told: bool,
}

/// The link carries less than the meter sends; both in bytes a second.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TooSlow {
    pub(super) carried: u64,
    pub(super) needed: u64,
}

impl Demand {
    /// What came of the record that was captured at that time.
    pub(super) fn take(&mut self, captured_at_us: i64, outputs: &[Output]) {
        for output in outputs {
            self.bytes += match output {
                Output::Readings { payload, .. } | Output::Summary { payload } => payload.len() as u64,
                Output::State(state) => state.payload.len() as u64,
                Output::Closed { .. } => {
                    self.close(captured_at_us);
                    0
                }
            };
        }
    }

    fn close(&mut self, at_us: i64) {
        let since_us = self.closed_at_us.replace(at_us);
        let bytes = std::mem::take(&mut self.bytes);
        let Some(elapsed_us) = since_us.map(|since_us| at_us - since_us) else {
            return;
        };
        if (1..=LONGEST_US).contains(&elapsed_us) {
            let rate = bytes.saturating_mul(1_000_000) / elapsed_us.unsigned_abs();
            self.rate = Some(self.rate.map_or(rate, |known| (3 * known + rate) / 4));
        }
    }

    /// Whether it is news that the link is too slow. The rate is that of a link that has shown to be slow.
    pub(super) fn is_news(&mut self, carried: Option<u64>) -> Option<TooSlow> {
        let needed = self.rate?;
        let Some(carried) = carried.filter(|carried| *carried < needed * ROOM_PERCENT / 100) else {
            self.is_told = false;
            return None;
        };
        if carried >= needed || self.is_told {
            return None;
        }
        self.is_told = true;
        Some(TooSlow { carried, needed })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn interval(demand: &mut Demand, at_s: i64, bytes: usize) {
        let outputs = [
            Output::Summary {
                payload: vec![b' '; bytes],
            },
            Output::Closed { last_sequence: 1 },
        ];
        demand.take(at_s * 1_000_000, &outputs);
    }

    #[test]
    fn a_link_that_carries_less_than_is_needed_is_told_once_until_it_carries_more() {
        let mut demand = Demand::default();
        interval(&mut demand, 0, 500);
        assert_eq!(demand.is_news(Some(1)), None, "nothing is known of the meter yet");
        interval(&mut demand, 60, 60_000);
        assert_eq!(demand.is_news(Some(1_100)), None, "it is enough");
        let too_slow = TooSlow {
            carried: 900,
            needed: 1_000,
        };
        assert_eq!(demand.is_news(Some(900)), Some(too_slow));
        assert_eq!(demand.is_news(Some(800)), None);
        assert_eq!(demand.is_news(Some(1_100)), None, "hardly enough");
        assert_eq!(demand.is_news(Some(900)), None);
        assert_eq!(demand.is_news(None), None);
        assert_eq!(demand.is_news(Some(900)), Some(too_slow));
    }

    #[test]
    fn gaps_and_clocks_that_are_set_tell_nothing() {
        let mut demand = Demand::default();
        interval(&mut demand, 0, 1);
        interval(&mut demand, 60, 60_000);
        interval(&mut demand, 100_000, 600_000);
        interval(&mut demand, 50, 600_000);
        interval(&mut demand, 50, 600_000);
        assert_eq!(demand.rate, Some(1_000));
    }
}

//! How much is sent at once: about what the link to the broker carries in some seconds, learned from what it has
//! shown. What is under way on a slow link delays everything behind it, a ping included, and is sent again if the
//! connection is lost.
//!
//! As in TCP's own control of congestion, acknowledgements that come soon let the amount grow, up to twice with each
//! round trip. One that comes late shows the rate of a link that is busy (a *delivery rate sample* of BBR: what was
//! delivered between the sending of a message and its acknowledgement), and the amount becomes what that rate
//! carries in [`IN_FLIGHT`]. A link that has shown nothing yet is given [`FIRST_BYTES`].

use std::time::Duration;

use super::WINDOW_BYTES;

/// What is under way takes about so long.
const IN_FLIGHT: Duration = Duration::from_secs(4);
/// An acknowledgement within this time is soon.
const SOON: Duration = Duration::from_secs(2);
/// A rate measured over less says nothing.
const MEASURED: Duration = Duration::from_secs(1);
/// To begin with: an interval of a minute with its summary.
const FIRST_BYTES: usize = 128 * 1024;
/// The least; a single reading goes however large it is.
const LEAST_BYTES: usize = 2 * 1024;

/// See the module.
#[derive(Debug)]
pub(super) struct Link {
    at_once: usize,
    /// Bytes a second, while it has shown that it is slow.
    rate: Option<u64>,
    /// Bytes of messages acknowledged, ever.
    delivered: u64,
}

impl Link {
    pub(super) fn new() -> Self {
        Self {
            at_once: FIRST_BYTES,
            rate: None,
            delivered: 0,
        }
    }

    /// So many bytes may be under way; a single larger message excepted.
    pub(super) fn at_once(&self) -> usize {
        self.at_once
    }

    /// Larger arrays are split: two are under way together, so that the link is not idle between them.
    pub(super) fn largest_array(&self) -> usize {
        self.rate.map_or(usize::MAX, |_| self.at_once / 2)
    }

    /// Bytes a second, if the link has shown that it is slow.
    pub(super) fn rate(&self) -> Option<u64> {
        self.rate
    }

    /// To be kept with a message that is sent now.
    pub(super) fn delivered(&self) -> u64 {
        self.delivered
    }

    /// A message was acknowledged so long after it was sent, when so much had been delivered before it.
    pub(super) fn acknowledged(&mut self, bytes: usize, after: Duration, delivered_before: u64) {
        self.delivered += bytes as u64;
        if after > SOON {
            self.measured(self.delivered - delivered_before, after);
        } else {
            self.at_once = (self.at_once + bytes).min(WINDOW_BYTES);
            if self.at_once == WINDOW_BYTES {
                self.rate = None;
            }
        }
    }

    /// The broker's side has taken so much while there was more to take.
    pub(super) fn taken(&mut self, bytes: usize, within: Duration) {
        if within >= MEASURED {
            self.measured(bytes as u64, within);
        }
    }

    /// Nothing at all has come back.
    pub(super) fn was_silent(&mut self) {
        self.at_once = (self.at_once / 2).max(LEAST_BYTES);
    }

    fn measured(&mut self, bytes: u64, within: Duration) {
        let rate = (bytes as f64 / within.as_secs_f64()) as u64;
        let carried = usize::try_from(rate * IN_FLIGHT.as_secs()).unwrap_or(usize::MAX);
        if carried >= WINDOW_BYTES {
            return;
        }
        self.rate = Some(self.rate.map_or(rate, |known| (3 * known + rate) / 4));
        if within > IN_FLIGHT || carried < self.at_once {
            self.at_once = self.at_once.min(carried).max(LEAST_BYTES);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A link of so many bytes a second with messages as large as it is given, for a while. What is under way at
    /// most takes how long?
    fn run(link: &mut Link, rate: f64, round_trip: f64, seconds: f64) -> f64 {
        let mut now = 0.0;
        let mut free_at: f64 = 0.0;
        let mut in_flight: std::collections::VecDeque<(f64, f64, usize, u64)> = [].into();
        let mut last = 0.0;
        while now < seconds {
            let under_way: usize = in_flight.iter().map(|(.., bytes, _)| bytes).sum();
            let size = link.largest_array().min(66_000);
            if in_flight.is_empty() || under_way + size <= link.at_once() {
                free_at = free_at.max(now) + size as f64 / rate;
                in_flight.push_back((now, free_at + round_trip, size, link.delivered()));
            } else if let Some((sent_at, at, bytes, before)) = in_flight.pop_front() {
                now = at;
                last = at - sent_at;
                link.acknowledged(bytes, Duration::from_secs_f64(last), before);
            }
        }
        last
    }

    #[test]
    fn a_slow_link_is_given_what_it_carries_in_some_seconds() {
        for rate in [500.0, 2_000.0, 8_000.0, 50_000.0] {
            let mut link = Link::new();
            let under_way = run(&mut link, rate, 0.05, 600.0);
            assert!((1.5..6.0).contains(&under_way), "{rate} B/s: {under_way} s");
            let shown = link.rate().expect("it is slow") as f64;
            assert!((0.7..1.3).contains(&(shown / rate)), "{rate} B/s: shown {shown}");
        }
    }

    #[test]
    fn a_fast_or_distant_link_is_given_the_whole_window_within_some_round_trips() {
        for (rate, round_trip) in [(100e6, 0.001), (20e6, 0.05), (10e6, 0.6)] {
            let mut link = Link::new();
            run(&mut link, rate, round_trip, 12.0 * round_trip + 0.2);
            assert_eq!(link.at_once(), WINDOW_BYTES, "{rate} B/s, {round_trip} s");
            assert_eq!(link.largest_array(), usize::MAX);
        }
    }

    #[test]
    fn a_link_that_becomes_faster_again_is_given_more_again() {
        let mut link = Link::new();
        run(&mut link, 2_000.0, 0.05, 300.0);
        assert!(link.at_once() < 16_000, "{}", link.at_once());
        run(&mut link, 10e6, 0.05, 60.0);
        assert_eq!((link.at_once(), link.rate()), (WINDOW_BYTES, None));
    }

    #[test]
    fn what_is_taken_without_an_acknowledgement_shows_the_rate_as_well() {
        let mut link = Link::new();
        link.taken(100, Duration::from_millis(10));
        assert_eq!(link.at_once(), FIRST_BYTES, "too short to tell");
        link.taken(8_000, Duration::from_secs(4));
        assert_eq!((link.at_once(), link.rate()), (8_000, Some(2_000)));
        for _ in 0..20 {
            link.was_silent();
        }
        assert_eq!(link.at_once(), LEAST_BYTES);
    }
}

//! How much is sent at once: about what the link to the broker carries in some seconds, learned from what it has
//! shown. What is under way on a slow link delays everything behind it, a ping included, and is sent again if the
//! connection is lost.
//!
//! Each acknowledgement is a *delivery rate sample* of BBR, TCP's control of congestion by measured rate: what was
//! delivered between the sending of a message and its acknowledgement, over that time. If the acknowledgement came
//! later than [`IN_FLIGHT`], the link is busy, and the amount becomes what that rate carries in [`IN_FLIGHT`]. If it
//! came within [`SOON`], the amount grows, up to twice with each round trip; in between it grows by an eighth. A link
//! that has shown nothing yet is given [`FIRST_BYTES`].

use std::time::Duration;

use super::WINDOW_BYTES;

/// What is under way takes about so long.
const IN_FLIGHT: Duration = Duration::from_secs(4);
/// An acknowledgement within this time shows that there is room for more.
const SOON: Duration = Duration::from_secs(2);
/// A rate measured over less says nothing.
const MEASURED: Duration = Duration::from_secs(1);
/// A rate measured over less is not told.
const KNOWN: Duration = Duration::from_secs(30);
/// What was measured counts against what is known by its length and this.
const REMEMBERED: Duration = Duration::from_secs(5);
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
    /// Over how long that was measured.
    measured: Duration,
    /// Bytes of messages acknowledged, ever.
    delivered: u64,
}

impl Link {
    pub(super) fn new() -> Self {
        Self {
            at_once: FIRST_BYTES,
            rate: None,
            measured: Duration::ZERO,
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

    /// Bytes a second, if the link has shown for long enough that it is slow: at first it also fills what lies on
    /// the way.
    pub(super) fn rate(&self) -> Option<u64> {
        self.rate.filter(|_| self.measured >= KNOWN)
    }

    /// To be kept with a message that is sent now.
    pub(super) fn delivered(&self) -> u64 {
        self.delivered
    }

    /// A message was acknowledged so long after it was sent, when so much had been delivered before it.
    pub(super) fn acknowledged(&mut self, bytes: usize, after: Duration, delivered_before: u64) {
        self.delivered += bytes as u64;
        let sample = Sample::new(self.delivered - delivered_before, after);
        if after > IN_FLIGHT {
            self.is_slow(&sample);
            return;
        }
        let grown = if after <= SOON { bytes } else { bytes / 8 };
        self.at_once = (self.at_once + grown).min(WINDOW_BYTES);
        if self.at_once == WINDOW_BYTES {
            self.rate = None;
            self.measured = Duration::ZERO;
        } else if self.rate.is_some() {
            self.note(&sample);
        }
    }

    /// The broker's side has taken so much while there was more to take.
    pub(super) fn taken(&mut self, bytes: usize, within: Duration) {
        let sample = Sample::new(bytes as u64, within);
        if within >= MEASURED && sample.carried() < self.at_once {
            self.is_slow(&sample);
        } else if self.rate.is_some() {
            self.note(&sample);
        }
    }

    /// Nothing at all has come back.
    pub(super) fn was_silent(&mut self) {
        self.at_once = (self.at_once / 2).max(LEAST_BYTES);
    }

    fn is_slow(&mut self, sample: &Sample) {
        if sample.carried() < WINDOW_BYTES {
            self.note(sample);
            self.at_once = self.at_once.min(sample.carried()).max(LEAST_BYTES);
        }
    }

    fn note(&mut self, sample: &Sample) {
        if sample.within < MEASURED {
            return;
        }
        self.rate = Some(self.rate.map_or(sample.rate as u64, |known| {
            let weight = sample.within.as_secs_f64() / (sample.within + REMEMBERED).as_secs_f64();
            (known as f64 + (sample.rate - known as f64) * weight) as u64
        }));
        self.measured += sample.within;
    }
}

/// What was seen of a rate.
struct Sample {
    /// Bytes a second.
    rate: f64,
    within: Duration,
}

impl Sample {
    fn new(bytes: u64, within: Duration) -> Self {
        // What takes no time is as good as infinite.
        let rate = bytes as f64 / within.as_secs_f64().max(1e-6);
        Self { rate, within }
    }

    /// Bytes that are under way for [`IN_FLIGHT`] at this rate.
    fn carried(&self) -> usize {
        (self.rate * IN_FLIGHT.as_secs_f64()) as usize
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
        for rate in [500.0, 2_000.0, 8_000.0] {
            let mut link = Link::new();
            let under_way = run(&mut link, rate, 0.05, 600.0);
            assert!((1.5..6.0).contains(&under_way), "{rate} B/s: {under_way} s");
            let shown = link.rate().expect("it is slow") as f64;
            assert!((0.7..1.3).contains(&(shown / rate)), "{rate} B/s: shown {shown}");
        }
    }

    #[test]
    fn a_fast_or_distant_link_is_given_the_whole_window_within_some_round_trips() {
        for (rate, round_trip, round_trips) in [
            (100e6, 0.001, 12.0),
            (20e6, 0.05, 12.0),
            (10e6, 0.6, 12.0),
            (10e6, 3.0, 40.0),
        ] {
            let mut link = Link::new();
            run(&mut link, rate, round_trip, round_trips * round_trip + 0.2);
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
        assert_eq!(
            (link.at_once(), link.rate()),
            (8_000, None),
            "not long enough to be told"
        );
        link.taken(64_000, Duration::from_secs(32));
        assert_eq!((link.at_once(), link.rate()), (8_000, Some(2_000)));
        for _ in 0..20 {
            link.was_silent();
        }
        assert_eq!(link.at_once(), LEAST_BYTES);
    }
}

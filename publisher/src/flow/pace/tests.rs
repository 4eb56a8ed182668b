//! When the next read is due, table by table: what capture has told so far, and what comes of it.

use super::*;

const BEGINNING: i64 = 1_700_000_000_000_000;

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn milliseconds(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

/// A moment of two clocks that go alike.
fn at(elapsed: Duration) -> Now {
    Now {
        elapsed,
        unix_us: unix_us(elapsed),
    }
}

fn unix_us(elapsed: Duration) -> i64 {
    BEGINNING + elapsed.as_micros() as i64
}

/// After records were read at 100 s, the last of which was this old.
fn read_at_100_s(age: Duration) -> Pace {
    let mut pace = Pace::new(seconds(120));
    pace.records(at(seconds(100)), unix_us(seconds(100) - age));
    pace
}

#[test]
fn amid_an_interval_the_next_read_is_due_a_pace_after_the_last_answer() {
    let pace = read_at_100_s(milliseconds(200));
    for closes_in in [22, 30, 59, 86_400] {
        assert_eq!(pace.due(seconds(closes_in)), seconds(100) + PACE, "{closes_in}");
    }
    assert_eq!(pace.due(Duration::MAX), seconds(100) + PACE);
}

#[test]
fn near_its_end_it_is_due_a_lead_before_the_closing_record_can_be_there() {
    for age in [0, 200, 900] {
        let pace = read_at_100_s(milliseconds(age));
        let due = pace.due(seconds(8));
        assert_eq!(due, seconds(108) - milliseconds(age) - LEAD, "{age}");
    }
}

#[test]
fn in_the_lead_and_in_an_interval_as_short_as_it_nothing_is_held_back() {
    for closes_in in [0, 1] {
        let pace = read_at_100_s(Duration::ZERO);
        assert!(pace.due(seconds(closes_in)) <= seconds(100), "{closes_in}");
    }
    // The record was so old when it was read that its successor can be there already.
    let pace = read_at_100_s(seconds(7));
    assert!(pace.due(seconds(8)) <= seconds(100));
}

#[test]
fn it_is_due_a_lead_before_the_silence_closes_the_interval_and_waits_to_that_moment() {
    let closes_by_silence = milliseconds(INTERVAL_SILENCE_MS + 1);
    let mut pace = read_at_100_s(seconds(4));
    assert_eq!(pace.due(seconds(500)), seconds(100) + PACE);
    pace.nothing(seconds(120), seconds(24));
    let due = seconds(96) + closes_by_silence - LEAD;
    assert_eq!(pace.due(seconds(500)), due, "the silence began at 96 s");
    assert_eq!(due + pace.longest_wait(due), seconds(96) + closes_by_silence);
}

#[test]
fn it_is_due_a_lead_before_the_meter_counts_as_offline_and_waits_to_that_moment() {
    let mut pace = Pace::new(seconds(6));
    pace.records(at(seconds(100)), unix_us(milliseconds(99_500)));
    let offline = milliseconds(105_500);
    assert_eq!(pace.due(seconds(500)), offline - LEAD);
    assert_eq!(offline - LEAD + pace.longest_wait(offline - LEAD), offline);
    // A meter_timeout that is as good as none.
    let mut pace = Pace::new(Duration::MAX);
    pace.records(at(seconds(100)), unix_us(seconds(100)));
    assert_eq!(pace.due(seconds(500)), seconds(100) + PACE);
}

#[test]
fn a_clock_that_jumps_makes_a_read_early_and_never_later_than_the_pace() {
    // An hour back, or an hour ahead, since the record came.
    for captured_at in [seconds(3_700), Duration::ZERO] {
        let mut pace = Pace::new(seconds(120));
        let now = Now {
            elapsed: seconds(100),
            unix_us: unix_us(seconds(3_600)),
        };
        pace.records(now, unix_us(captured_at));
        for closes_in in [1, 9, 30, 3_000] {
            let due = pace.due(seconds(closes_in));
            assert!(due <= seconds(100) + PACE, "{closes_in}");
            assert!(
                due <= seconds(100 + closes_in) - LEAD.min(seconds(closes_in)),
                "{closes_in}"
            );
        }
    }
    // Where the clocks say nothing, capture's own tells how old it is at least.
    let mut pace = Pace::new(seconds(120));
    let now = Now {
        elapsed: seconds(100),
        unix_us: i64::MIN,
    };
    pace.records(now, i64::MAX);
    pace.nothing(seconds(105), seconds(25));
    assert_eq!(pace.due(seconds(28)), seconds(80 + 28) - LEAD);
}

#[test]
fn a_record_on_its_way_to_the_disk_does_not_make_the_one_before_younger() {
    let mut pace = read_at_100_s(seconds(1));
    // Capture says 0 meanwhile.
    pace.nothing(seconds(105), Duration::ZERO);
    assert_eq!(pace.due(seconds(15)), seconds(114) - LEAD);
}

#[test]
fn half_a_pace_after_an_answer_a_read_goes_along() {
    let pace = read_at_100_s(Duration::ZERO);
    assert!(!pace.is_half(seconds(109)));
    assert!(pace.is_half(seconds(110)));
}

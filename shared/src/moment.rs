//! A moment in a queue, as people write it for `--from` and `--to`: a time by capture's clock, or a record.
//!
//! ```text
//! 2026-11-20T08:00:00Z   2026-11-20T08:00:00+01:00   RFC 3339
//! 2026-11-20   2026-11-20 08:00   2026-11-20 08:00:30   08:00   local
//! 2h   90 min   3 days   2h ago                          before now
//! now
//! #12345                                                 a record
//! ```
//!
//! Pure: now and the time zone are handed in.

use jiff::civil::{Date, DateTime, Time};
use jiff::{Span, Timestamp, Zoned};
use thiserror::Error;

/// A place in a queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    /// A time by capture's clock, in microseconds since 1970-01-01T00:00:00Z.
    At {
        /// That time.
        at_us: i64,
    },
    /// The record of this sequence.
    Sequence(u64),
}

/// A text that is no moment.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error(
    "{text:?} is no moment: expected a time (2026-11-20T08:00:00Z), a local date or time (2026-11-20, \
     \"2026-11-20 08:00\", 08:00), a span before now (2h, \"3 days\") or a sequence (#12345)"
)]
pub struct MomentError {
    text: String,
}

impl Moment {
    /// What `text` means at `now`, whose time zone is the local one. A time of day without a date is the
    /// latest that has been. In the hour that is there twice in autumn the earlier one is meant.
    ///
    /// # Errors
    ///
    /// Where it is none of the forms above, or out of the range that a clock can show.
    pub fn parse(text: &str, now: &Zoned) -> Result<Self, MomentError> {
        let trimmed = text.trim();
        let found = match trimmed.strip_prefix('#') {
            Some(number) => number.trim().parse().ok().map(Self::Sequence),
            None => time(trimmed, now).map(|time| Self::At {
                at_us: time.as_microsecond(),
            }),
        };
        found.ok_or_else(|| MomentError {
            text: text.to_owned(),
        })
    }

    /// As [`Moment::parse`], at this very moment in the zone of this machine.
    ///
    /// # Errors
    ///
    /// As [`Moment::parse`].
    pub fn parse_now(text: &str) -> Result<Self, MomentError> {
        Self::parse(text, &Zoned::now())
    }
}

fn time(text: &str, now: &Zoned) -> Option<Timestamp> {
    if text.is_empty() {
        return None;
    }
    if text.eq_ignore_ascii_case("now") {
        return Some(now.timestamp());
    }
    if let Ok(time) = text.parse::<Timestamp>() {
        return Some(time);
    }
    let zone = now.time_zone();
    let local = |civil: DateTime| civil.to_zoned(zone.clone()).ok().map(|time| time.timestamp());
    // jiff reads a date followed by anything; here the whole text has to be of one form.
    if let Ok(date) = Date::strptime("%Y-%m-%d", text) {
        return local(date.at(0, 0, 0, 0));
    }
    for form in [
        "%Y-%m-%d %H:%M",
        "%Y-%m-%d %H:%M:%S",
        "%Y-%m-%dT%H:%M",
        "%Y-%m-%dT%H:%M:%S",
    ] {
        if let Ok(civil) = DateTime::strptime(form, text) {
            return local(civil);
        }
    }
    for form in ["%H:%M", "%H:%M:%S"] {
        if let Ok(clock) = Time::strptime(form, text) {
            let today = local(now.date().to_datetime(clock))?;
            if today <= now.timestamp() {
                return Some(today);
            }
            return local(now.date().yesterday().ok()?.to_datetime(clock));
        }
    }
    let span: Span = text.parse().ok()?;
    // "2h ago" is read as a negative span.
    now.checked_sub(span.abs()).ok().map(|time| time.timestamp())
}

#[cfg(test)]
mod tests {
    use jiff::tz::TimeZone;

    use super::*;

    /// Friday, 20 November 2026, half past nine in the morning, one hour east of Greenwich; the clocks
    /// went back on 25 October. Written as a rule, so that the test needs no time-zone database.
    fn now() -> Zoned {
        let zone = TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").unwrap();
        "2026-11-20T08:30:00Z"
            .parse::<Timestamp>()
            .unwrap()
            .to_zoned(zone)
    }

    fn at(text: &str) -> String {
        match Moment::parse(text, &now()) {
            Ok(Moment::At { at_us }) => Timestamp::from_microsecond(at_us).unwrap().to_string(),
            other => panic!("{text:?} gave {other:?}"),
        }
    }

    #[test]
    fn a_time_with_an_offset_is_that_time() {
        assert_eq!(at("2026-11-20T08:00:00Z"), "2026-11-20T08:00:00Z");
        assert_eq!(at("2026-11-20T08:00:00.25+01:00"), "2026-11-20T07:00:00.25Z");
        assert_eq!(at("2026-11-20 08:00:00+01:00"), "2026-11-20T07:00:00Z");
    }

    #[test]
    fn a_date_or_time_without_an_offset_is_local() {
        assert_eq!(at("2026-11-20"), "2026-11-19T23:00:00Z");
        assert_eq!(at("2026-11-20 08:00"), "2026-11-20T07:00:00Z");
        assert_eq!(at("2026-11-20T08:00:30"), "2026-11-20T07:00:30Z");
        assert_eq!(at(" 2026-07-01 08:00 "), "2026-07-01T06:00:00Z", "in summer");
    }

    #[test]
    fn a_time_of_day_is_the_latest_that_has_been() {
        assert_eq!(at("09:29"), "2026-11-20T08:29:00Z");
        assert_eq!(at("09:31"), "2026-11-19T08:31:00Z");
        assert_eq!(at("22:00:01"), "2026-11-19T21:00:01Z");
    }

    #[test]
    fn the_night_that_has_an_hour_twice_means_the_first_of_them_and_one_that_lacks_it_goes_on() {
        assert_eq!(at("2026-10-25 02:30"), "2026-10-25T00:30:00Z");
        assert_eq!(at("2026-03-29 02:30"), "2026-03-29T01:30:00Z");
    }

    #[test]
    fn a_span_counts_back_from_now() {
        for (text, expected) in [
            ("2h", "2026-11-20T06:30:00Z"),
            ("2h ago", "2026-11-20T06:30:00Z"),
            ("90 min", "2026-11-20T07:00:00Z"),
            ("45s", "2026-11-20T08:29:15Z"),
            ("3 days", "2026-11-17T08:30:00Z"),
            ("1d 12h", "2026-11-18T20:30:00Z"),
            ("PT2H", "2026-11-20T06:30:00Z"),
            ("now", "2026-11-20T08:30:00Z"),
        ] {
            assert_eq!(at(text), expected, "{text}");
        }
        assert_eq!(
            at("1 month"),
            "2026-10-20T07:30:00Z",
            "the same time of day, across the change of clocks"
        );
    }

    #[test]
    fn a_number_behind_a_hash_is_a_record() {
        assert_eq!(Moment::parse("#12345", &now()), Ok(Moment::Sequence(12345)));
        assert_eq!(Moment::parse(" # 7 ", &now()), Ok(Moment::Sequence(7)));
    }

    #[test]
    fn anything_else_is_refused_in_words() {
        for text in [
            "",
            " ",
            "#",
            "#-1",
            "#x",
            "12345",
            "yesterday",
            "2026-11",
            "2026-13-01",
            "2026-02-30",
            "25:00",
            "2026-11-20 8",
            "2026-11-20 08:00 CET",
            "20/11/2026",
            "2 parsecs",
            "999999999999 years",
        ] {
            let error = Moment::parse(text, &now()).expect_err(text);
            let words = error.to_string();
            assert!(
                words.starts_with(&format!("{text:?} is no moment: expected a time")),
                "{words}"
            );
        }
    }
}

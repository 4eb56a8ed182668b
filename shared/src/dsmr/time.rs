//! Times as meters write them: `YYMMDDhhmmss` in local time with `S` (summer, UTC+2) or `W` (winter,
//! UTC+1) behind it, which needs no time-zone database (DSMR P1 5.0.2, section 6.4).
//!
//! DSMR 2.2 and 3 leave the mark out. Those meters stand in the Netherlands, so their times are
//! Europe/Amsterdam, and of an hour that comes twice the earlier.

use std::sync::LazyLock;

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::{Offset, TimeZone};

use super::text::trim;

/// Years whose times are times. The standard is of 2005, so a clock that shows an earlier year was never set: such
/// clocks begin in 2000 or in 1970, and from 70 on two digits mean the last century, as they do for POSIX.
const YEARS: std::ops::RangeInclusive<i8> = 5..=69;

/// The rules of Europe/Amsterdam since 1996.
static AMSTERDAM: LazyLock<Option<TimeZone>> =
    LazyLock::new(|| TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").ok());

/// The moment; none for what is blank, impossible or of no year in [`YEARS`], all of which mean *no time*.
pub(super) fn moment(text: &[u8]) -> Option<Timestamp> {
    let (digits, mark) = trim(text).split_first_chunk()?;
    let local = local_time(digits)?;
    let hours_east = match mark {
        b"S" | b"s" => 2,
        b"W" | b"w" => 1,
        // The compatible reading: the earlier of two, and past the gap in spring.
        b"" => {
            return AMSTERDAM
                .as_ref()?
                .to_ambiguous_timestamp(local)
                .compatible()
                .ok();
        }
        _ => return None,
    };
    Offset::from_hours(hours_east).ok()?.to_timestamp(local).ok()
}

/// Whether this is written as a time is: twelve digits with or without a mark, whatever time it would be. So it is no
/// number, and its mark no unit.
pub(super) fn is_written_as_time(text: &[u8]) -> bool {
    text.split_first_chunk::<12>().is_some_and(|(digits, mark)| {
        digits.iter().all(u8::is_ascii_digit) && matches!(mark, b"" | b"S" | b"s" | b"W" | b"w")
    })
}

fn local_time(digits: &[u8; 12]) -> Option<DateTime> {
    if !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let [year, month, day, hour, minute, second] = two_by_two(digits);
    if !YEARS.contains(&year) {
        return None;
    }
    DateTime::new(2000 + i16::from(year), month, day, hour, minute, second, 0).ok()
}

/// What each pair of digits makes.
fn two_by_two(digits: &[u8; 12]) -> [i8; 6] {
    let [y, year, m, month, d, day, h, hour, t, minute, s, second] = digits.map(|digit| (digit - b'0') as i8);
    [
        10 * y + year,
        10 * m + month,
        10 * d + day,
        10 * h + hour,
        10 * t + minute,
        10 * s + second,
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> Option<String> {
        moment(text.as_bytes()).map(|moment| moment.to_string())
    }

    #[test]
    fn the_mark_tells_the_offset() {
        assert_eq!(shown("190320181403W").as_deref(), Some("2019-03-20T17:14:03Z"));
        assert_eq!(shown("220901152201S").as_deref(), Some("2022-09-01T13:22:01Z"));
        assert_eq!(shown("150701190000s").as_deref(), Some("2015-07-01T17:00:00Z"));
        // Ireland's meter marks a February time with S: the mark counts, not the season.
        assert_eq!(shown("230202132747S").as_deref(), Some("2023-02-02T11:27:47Z"));
    }

    #[test]
    fn a_time_without_mark_is_amsterdams() {
        assert_eq!(shown("161107190000").as_deref(), Some("2016-11-07T18:00:00Z"));
        assert_eq!(shown("160410130000").as_deref(), Some("2016-04-10T11:00:00Z"));
    }

    #[test]
    fn twelve_digits_are_written_as_a_time_whatever_their_mark() {
        for text in ["260102010000", "260102010000W", "000000000000s", "999999999999S"] {
            assert!(is_written_as_time(text.as_bytes()), "{text}");
        }
        for text in [
            "26010201000",
            "2601020100000",
            "260102010000*W",
            "26010201000.0",
            "260102010000kW",
            "",
        ] {
            assert!(!is_written_as_time(text.as_bytes()), "{text}");
        }
    }

    #[test]
    fn of_an_hour_that_comes_twice_the_earlier_is_meant() {
        assert_eq!(shown("161030010000").as_deref(), Some("2016-10-29T23:00:00Z"));
        assert_eq!(shown("161030020000").as_deref(), Some("2016-10-30T00:00:00Z"));
        assert_eq!(shown("161030030000").as_deref(), Some("2016-10-30T02:00:00Z"));
        assert_eq!(shown("160327030000").as_deref(), Some("2016-03-27T01:00:00Z"));
    }

    #[test]
    fn times_before_the_standard_blanks_and_impossible_times_are_none() {
        for text in [
            "632525252525W",
            "632525252525S",
            "700101010000W",
            "000101000000W",
            "000101000001W",
            "000101010000W",
            "000101020000S",
            "000101000000",
            "000109031500W",
            "041231235959W",
            "700101010000",
            "700101020000S",
            "700101011742W",
            "991231235959W",
            "000000000000W",
            "",
            "   ",
            "190320181403X",
            "190320181403WW",
            "19032018140W",
            "190230120000W",
            "190320241403W",
            "1903201814:3W",
        ] {
            assert_eq!(shown(text), None, "{text}");
        }
        assert_eq!(shown("050101000000W").as_deref(), Some("2004-12-31T23:00:00Z"));
    }
}

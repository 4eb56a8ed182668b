//! The calendar by which meters write their time: civil dates of the Gregorian calendar and the
//! summer time of the European Union, in whole numbers and without a time-zone database.

/// A civil date and time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Civil {
    /// Year of our era.
    pub year: i64,
    /// 1 to 12.
    pub month: i64,
    /// 1 to 31.
    pub day: i64,
    /// 0 to 23.
    pub hour: i64,
    /// 0 to 59.
    pub minute: i64,
    /// 0 to 59.
    pub second: i64,
    /// 0 is Sunday.
    pub weekday: i64,
}

/// The civil time of seconds since 1970-01-01T00:00:00, in the same zone.
pub fn civil(seconds: i64) -> Civil {
    let days = seconds.div_euclid(86_400);
    let rest = seconds.rem_euclid(86_400);
    // Days to a date in years that begin in March, so that the leap day is the last of its year.
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let month = if month_from_march < 10 {
        month_from_march + 3
    } else {
        month_from_march - 9
    };
    Civil {
        year: year_of_era + era * 400 + i64::from(month <= 2),
        month,
        day: day_of_year - (153 * month_from_march + 2) / 5 + 1,
        hour: rest / 3_600,
        minute: rest / 60 % 60,
        second: rest % 60,
        weekday: (days + 4).rem_euclid(7),
    }
}

/// Seconds since 1970-01-01T00:00:00 of a civil date and time, in the same zone.
pub fn seconds(year: i64, month: i64, day: i64, hour: i64, minute: i64, second: i64) -> i64 {
    let shifted_year = if month <= 2 { year - 1 } else { year };
    let era = shifted_year.div_euclid(400);
    let year_of_era = shifted_year.rem_euclid(400);
    let month_from_march = (month + 9) % 12;
    let day_of_year = (153 * month_from_march + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    let days = era * 146_097 + day_of_era - 719_468;
    days * 86_400 + hour * 3_600 + minute * 60 + second
}

/// Whether summer time holds at this UTC time: from the last Sunday of March, 01:00 UTC, to the last
/// Sunday of October, 01:00 UTC (directive 2000/84/EC).
pub fn is_summer(utc: i64) -> bool {
    let year = civil(utc).year;
    let last_sunday = |month: i64| {
        let last = seconds(year, month, 31, 1, 0, 0);
        last - civil(last).weekday * 86_400
    };
    (last_sunday(3)..last_sunday(10)).contains(&utc)
}

/// Seconds by which local time is ahead of UTC at this UTC time.
pub fn utc_offset(utc: i64) -> i64 {
    if is_summer(utc) { 7_200 } else { 3_600 }
}

/// The meter's local time at this UTC time.
pub fn local(utc: i64) -> Civil {
    civil(utc + utc_offset(utc))
}

/// `YYMMDDhhmmss` and the mark `S` or `W`, as a meter writes its time.
pub fn stamp(utc: i64) -> String {
    format!(
        "{}{}",
        stamp_without_mark(utc),
        if is_summer(utc) { 'S' } else { 'W' }
    )
}

/// `YYMMDDhhmmss`, as DSMR 2.2 and 3 write the time of a gas reading.
pub fn stamp_without_mark(utc: i64) -> String {
    let at = local(utc);
    format!(
        "{:02}{:02}{:02}{:02}{:02}{:02}",
        at.year % 100,
        at.month,
        at.day,
        at.hour,
        at.minute,
        at.second
    )
}

/// RFC 3339 with `Z`, as the readings carry times.
pub fn rfc3339(utc: i64) -> String {
    let at = civil(utc);
    format!(
        "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}Z",
        at.year, at.month, at.day, at.hour, at.minute, at.second
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn civil_and_seconds_are_inverse_over_a_century_of_days() {
        for day in -3_000..40_000 {
            let at = day * 86_400 + 12_345;
            let c = civil(at);
            assert_eq!(
                seconds(c.year, c.month, c.day, c.hour, c.minute, c.second),
                at,
                "{c:?}"
            );
        }
    }

    #[test]
    fn well_known_times_are_written_as_the_world_writes_them() {
        assert_eq!(rfc3339(0), "1970-01-01T00:00:00Z");
        assert_eq!(rfc3339(951_827_696), "2000-02-29T12:34:56Z");
        assert_eq!(civil(0).weekday, 4, "1970-01-01 was a Thursday");
        assert_eq!(stamp(seconds(2019, 9, 5, 19, 40, 3)), "190905214003S");
    }

    #[test]
    fn the_hour_that_comes_twice_has_two_marks_and_the_lost_hour_is_never_written() {
        let autumn = seconds(2026, 10, 25, 0, 59, 59);
        assert_eq!(
            [stamp(autumn), stamp(autumn + 1)],
            ["261025025959S", "261025020000W"]
        );
        let spring = seconds(2026, 3, 29, 0, 59, 59);
        assert_eq!(
            [stamp(spring), stamp(spring + 1)],
            ["260329015959W", "260329030000S"]
        );
    }
}

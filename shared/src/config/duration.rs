//! A span of time as people write it.

use std::time::Duration;

/// What a duration may look like, for a message.
pub const FORM: &str = "a duration such as 10s, 2m, 6h or 7d (a bare number is seconds)";

/// The duration of `10s`, `2m`, `1h 30m`, `7d`, `3 days`, `500ms` or `60`; a bare number is seconds.
/// None where it is no such text or is negative. A day has 24 hours; months and years are not taken,
/// since they have no fixed length.
pub fn parse(text: &str) -> Option<Duration> {
    let text = text.trim();
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        return text.parse().ok().map(Duration::from_secs);
    }
    let span: jiff::Span = text.parse().ok()?;
    if span.is_negative() {
        return None;
    }
    let exact = span.to_duration(jiff::SpanRelativeTo::days_are_24_hours()).ok()?;
    Duration::try_from(exact).ok()
}

/// A duration in the largest unit that divides it: `2m`, `90s`, `7d`.
pub fn in_words(duration: Duration) -> String {
    if duration.subsec_millis() != 0 {
        return format!("{}ms", duration.as_millis());
    }
    let seconds = duration.as_secs();
    [("d", 86_400), ("h", 3_600), ("m", 60)]
        .into_iter()
        .find(|(_, unit)| seconds != 0 && seconds % unit == 0)
        .map_or_else(
            || format!("{seconds}s"),
            |(name, unit)| format!("{}{name}", seconds / unit),
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_people_write_them() {
        for (text, seconds) in [
            ("0s", 0),
            ("0", 0),
            ("60", 60),
            ("10s", 10),
            ("2m", 120),
            ("6h", 21_600),
            ("7d", 604_800),
            ("3 days", 259_200),
            ("1h 30m", 5_400),
            ("1h30m", 5_400),
            ("2w", 1_209_600),
        ] {
            assert_eq!(parse(text), Some(Duration::from_secs(seconds)), "for {text}");
        }
        assert_eq!(parse("500ms"), Some(Duration::from_millis(500)));
    }

    #[test]
    fn what_is_no_duration_is_refused() {
        for text in [
            "",
            "forever",
            "-5s",
            "5s ago",
            "1month",
            "1y",
            "10 parsecs",
            "s",
            "99999999999999999999",
        ] {
            assert_eq!(parse(text), None, "for {text}");
        }
    }

    #[test]
    fn a_duration_in_words_reads_back_as_itself() {
        for text in ["0s", "90s", "2m", "6h", "7d", "1500ms"] {
            assert_eq!(parse(text).map(in_words).as_deref(), Some(text));
        }
    }
}

//! Figures and bytes as a person reads them.

use std::time::Duration;

pub use shared::words::{counted, counted_as, number};

/// A span of time in its two largest units: `3 d 4 h`, `12 min 5 s`, `4.2 s`.
pub fn duration(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let parts = |large: u64, large_name: &str, small: u64, small_name: &str| match small {
        0 => format!("{large} {large_name}"),
        _ => format!("{large} {large_name} {small} {small_name}"),
    };
    match seconds {
        0..=9 => format!("{:.1} s", duration.as_secs_f64()),
        10..=59 => format!("{seconds} s"),
        60..=3_599 => parts(seconds / 60, "min", seconds % 60, "s"),
        3_600..=86_399 => parts(seconds / 3_600, "h", seconds % 3_600 / 60, "min"),
        _ => parts(seconds / 86_400, "d", seconds % 86_400 / 3_600, "h"),
    }
}

/// A size: `812 B`, `4.9 KiB`, `1.0 GiB`.
pub fn size(bytes: u64) -> String {
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let mut value = bytes as f64 / 1024.0;
    let mut unit = "KiB";
    for next in ["MiB", "GiB", "TiB"] {
        if value < 1023.95 {
            break;
        }
        value /= 1024.0;
        unit = next;
    }
    format!("{value:.1} {unit}")
}

/// Bytes for the eye: text and line ends as they are, everything else as `\x02`.
pub fn telegram(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for &byte in bytes {
        match byte {
            b'\r' => {}
            b'\n' | b' '..=b'~' => text.push(char::from(byte)),
            _ => text.push_str(&format!("\\x{byte:02x}")),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_have_two_units_at_most() {
        for (milliseconds, text) in [
            (0, "0.0 s"),
            (420, "0.4 s"),
            (9_900, "9.9 s"),
            (59_999, "59 s"),
            (60_000, "1 min"),
            (125_000, "2 min 5 s"),
            (3_600_000, "1 h"),
            (11_520_000, "3 h 12 min"),
            (86_400_000 * 3 + 3_600_000 * 4, "3 d 4 h"),
        ] {
            assert_eq!(duration(Duration::from_millis(milliseconds)), text);
        }
    }

    #[test]
    fn sizes_can_be_read_at_a_glance() {
        for (value, text) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.0 KiB"),
            (1_048_575, "1.0 MiB"),
            (1 << 30, "1.0 GiB"),
            (5_000_000_000_000_000, "4547.5 TiB"),
        ] {
            assert_eq!(size(value), text, "{value}");
        }
    }

    #[test]
    fn bytes_that_are_no_text_are_shown_as_numbers() {
        assert_eq!(telegram(b"/ISK\x02\xab\r\n!"), "/ISK\\x02\\xab\n!");
    }
}

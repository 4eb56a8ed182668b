//! Writes JSON objects key by key into a buffer.
//!
//! The readings are written by hand, not by serde, for two reasons: a number must appear with exactly its
//! decimal digits, and a day of telegrams is a hundred thousand of these objects, which should cost no
//! allocation each.

use std::io::Write;
use std::ops::Range;

use jiff::Timestamp;
use jiff::tz::Offset;
use rust_decimal::Decimal;

/// A JSON object under way. [`ObjectWriter::end`] closes it.
pub(crate) struct ObjectWriter<'b> {
    out: &'b mut Vec<u8>,
    is_empty: bool,
}

impl<'b> ObjectWriter<'b> {
    /// Opens an object at the end of `out`.
    pub(crate) fn begin(out: &'b mut Vec<u8>) -> Self {
        out.push(b'{');
        Self { out, is_empty: true }
    }

    /// Closes the object.
    pub(crate) fn end(self) {
        self.out.push(b'}');
    }

    /// As the methods below, says where in the buffer the value stands.
    pub(crate) fn text(&mut self, key: &str, value: &str) -> Range<usize> {
        self.pushed(key, |out| push_text(out, value))
    }

    pub(crate) fn number(&mut self, key: &str, value: Decimal) -> Range<usize> {
        self.pushed(key, |out| push_number(out, value))
    }

    pub(crate) fn integer(&mut self, key: &str, value: u64) -> Range<usize> {
        self.pushed(key, |out| push_integer(out, value))
    }

    pub(crate) fn moment(&mut self, key: &str, value: Timestamp) -> Range<usize> {
        self.pushed(key, |out| push_moment(out, value))
    }

    fn pushed(&mut self, key: &str, push: impl FnOnce(&mut Vec<u8>)) -> Range<usize> {
        let out = self.value(key);
        let start = out.len();
        push(out);
        start..out.len()
    }

    /// An array; `write` writes one element after each item's separator.
    pub(crate) fn array<T>(
        &mut self,
        key: &str,
        items: impl IntoIterator<Item = T>,
        mut write: impl FnMut(&mut Vec<u8>, T),
    ) {
        let out = self.value(key);
        out.push(b'[');
        for (index, item) in items.into_iter().enumerate() {
            if index > 0 {
                out.push(b',');
            }
            write(out, item);
        }
        out.push(b']');
    }

    /// An object within.
    pub(crate) fn object(&mut self, key: &str) -> ObjectWriter<'_> {
        ObjectWriter::begin(self.value(key))
    }

    /// Writes the key; the value is what is written next.
    fn value(&mut self, key: &str) -> &mut Vec<u8> {
        if !std::mem::replace(&mut self.is_empty, false) {
            self.out.push(b',');
        }
        push_text(self.out, key);
        self.out.push(b':');
        self.out
    }
}

/// A JSON string.
pub(crate) fn push_text(out: &mut Vec<u8>, text: &str) {
    let text = text.as_bytes();
    out.push(b'"');
    // Nothing is to be escaped in nearly all, and looking at all of the bytes without stopping takes a fifth of
    // the instructions.
    if text.iter().fold(false, |found, &byte| found | is_escaped(byte)) {
        let mut bytes = text.iter().copied();
        while let Some(byte) = bytes.next() {
            match byte {
                // What follows is the character's number, from U+0080 on: up to U+009F they are control characters.
                C1_LEAD => match bytes.next() {
                    Some(control @ ..0xA0) => push_escaped(out, control),
                    other => out.extend([byte].into_iter().chain(other)),
                },
                _ if is_escaped(byte) => push_escaped(out, byte),
                _ => out.push(byte),
            }
        }
    } else {
        out.extend_from_slice(text);
    }
    out.push(b'"');
}

fn is_escaped(byte: u8) -> bool {
    (byte < 0x20) | (byte == b'"') | (byte == b'\\') | (byte == 0x7F) | (byte == C1_LEAD)
}

/// The first byte in UTF-8 of U+0080 to U+00BF.
const C1_LEAD: u8 = 0xC2;

fn push_escaped(out: &mut Vec<u8>, byte: u8) {
    match byte {
        b'"' | b'\\' => out.extend_from_slice(&[b'\\', byte]),
        _ => {
            let digit = |value: u8| {
                if value < 10 {
                    b'0' + value
                } else {
                    b'a' + value - 10
                }
            };
            out.extend_from_slice(b"\\u00");
            out.extend_from_slice(&[digit(byte >> 4), digit(byte & 0xF)]);
        }
    }
}

pub(crate) fn push_integer(out: &mut Vec<u8>, number: u64) {
    push_number(out, Decimal::from(number));
}

/// RFC 3339 in UTC with `Z`, to the digit as `jiff` writes it, but without the machinery of formatting: each object
/// holds two that are new.
pub(crate) fn push_moment(out: &mut Vec<u8>, moment: Timestamp) {
    let civil = Offset::UTC.to_datetime(moment);
    let Ok(year) = u16::try_from(civil.year()) else {
        // Writing to a vector cannot fail.
        let _ = write!(out, "\"{moment}\"");
        return;
    };
    let mut text = *b"\"0000-00-00T00:00:00";
    let mut put = |at: usize, number: u16| {
        let digits = [b'0' + (number / 10) as u8, b'0' + (number % 10) as u8];
        if let Some(place) = text.get_mut(at..at + 2) {
            place.copy_from_slice(&digits);
        }
    };
    put(1, year / 100);
    put(3, year % 100);
    let others = [
        civil.month(),
        civil.day(),
        civil.hour(),
        civil.minute(),
        civil.second(),
    ];
    for (at, number) in [6, 9, 12, 15, 18].into_iter().zip(others) {
        put(at, number.unsigned_abs().into());
    }
    out.extend_from_slice(&text);
    let mut fraction = civil.subsec_nanosecond().unsigned_abs();
    if fraction > 0 {
        out.push(b'.');
        let mut unit = 100_000_000;
        while fraction > 0 {
            out.push(b'0' + (fraction / unit) as u8);
            fraction %= unit;
            unit /= 10;
        }
    }
    out.extend_from_slice(b"Z\"");
}

/// The number with all its digits but zeros that say nothing: none leading, none trailing in a fraction.
pub(crate) fn push_number(out: &mut Vec<u8>, number: Decimal) {
    let mut scale = number.scale() as usize;
    let mut mantissa = number.mantissa().unsigned_abs();
    if number.is_sign_negative() && mantissa > 0 {
        out.push(b'-');
    }
    // From the last digit to the first, into memory of its own: nearly all fit in 64 bits, whose division is
    // several times as fast as that of 128.
    let mut digits = [b'0'; DIGITS_OF_A_DECIMAL];
    let mut first = digits.len();
    while let Some(place) = first.checked_sub(1).and_then(|before| digits.get_mut(before)) {
        let digit = match u64::try_from(mantissa) {
            Ok(0) => break,
            Ok(short) => {
                mantissa = (short / 10).into();
                short % 10
            }
            Err(_) => {
                let digit = mantissa % 10;
                mantissa /= 10;
                digit as u64
            }
        };
        *place = b'0' + digit as u8;
        first -= 1;
    }
    let mut digits = digits.get(first..).unwrap_or_default();
    while scale > 0 {
        match digits.split_last() {
            Some((b'0', before)) => digits = before,
            Some(_) => break,
            None => {
                scale = 0;
                break;
            }
        }
        scale -= 1;
    }
    let (whole, fraction) = digits.split_at(digits.len().saturating_sub(scale));
    out.extend_from_slice(if whole.is_empty() { b"0" } else { whole });
    if scale > 0 {
        out.push(b'.');
        out.extend(std::iter::repeat_n(b'0', scale - fraction.len()));
        out.extend_from_slice(fraction);
    }
}

/// A decimal's mantissa has 96 bits, which make at most 29 digits.
const DIGITS_OF_A_DECIMAL: usize = 29;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn number(text: &str) -> String {
        let mut out = Vec::new();
        push_number(&mut out, text.parse().expect("a decimal"));
        String::from_utf8(out).expect("ASCII")
    }

    #[test]
    fn numbers_have_the_digits_that_say_something() {
        for (sent, written) in [
            ("0.000", "0"),
            ("-0.0", "0"),
            ("0.180", "0.18"),
            ("0.005", "0.005"),
            ("52185.7825309", "52185.7825309"),
            ("1200", "1200"),
            ("-63", "-63"),
            ("-0.063", "-0.063"),
            ("0.0000000000000000000000000001", "0.0000000000000000000000000001"),
        ] {
            assert_eq!(number(sent), written);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn any_text_comes_back_from_its_json(text in any::<String>()) {
            let mut out = Vec::new();
            push_text(&mut out, &text);
            let written = std::str::from_utf8(&out).expect("UTF-8");
            prop_assert!(!written.contains(char::is_control), "{written:?}");
            prop_assert_eq!(serde_json::from_slice::<String>(&out).expect("JSON"), text);
        }

        #[test]
        fn any_moment_is_written_as_jiff_writes_it(
            second in prop_oneof![
                Timestamp::MIN.as_second()..=Timestamp::MAX.as_second() - 1,
                946_684_800_i64..4_102_444_800,
            ],
            nanosecond in prop_oneof![Just(0), (0_i32..1_000_000).prop_map(|us| us * 1_000), 0_i32..1_000_000_000],
        ) {
            let moment = Timestamp::new(second, nanosecond).expect("a moment");
            let mut out = Vec::new();
            push_moment(&mut out, moment);
            prop_assert_eq!(String::from_utf8(out).expect("ASCII"), format!("\"{moment}\""));
        }

        #[test]
        fn any_number_comes_back_from_its_json(mantissa in -(1_i64 << 62)..1 << 62, scale in 0_u32..28) {
            let sent = Decimal::new(mantissa, scale);
            prop_assert_eq!(number(&sent.to_string()).parse::<Decimal>().expect("a decimal"), sent);
        }
    }
}

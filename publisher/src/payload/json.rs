//! Writes JSON objects key by key into a buffer.
//!
//! The readings are written by hand, not by serde, for two reasons: a number must appear with exactly its
//! decimal digits, and a day of telegrams is a hundred thousand of these objects, which should cost no
//! allocation each.

use std::io::Write;

use jiff::Timestamp;
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

    pub(crate) fn text(&mut self, key: &str, value: &str) {
        push_text(self.value(key), value);
    }

    pub(crate) fn number(&mut self, key: &str, value: Decimal) {
        push_number(self.value(key), value);
    }

    pub(crate) fn integer(&mut self, key: &str, value: u64) {
        push_number(self.value(key), Decimal::from(value));
    }

    /// RFC 3339 in UTC with `Z`.
    pub(crate) fn moment(&mut self, key: &str, value: Timestamp) {
        let out = self.value(key);
        out.push(b'"');
        // Writing to a vector cannot fail.
        let _ = write!(out, "{value}");
        out.push(b'"');
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
        for &byte in text {
            if is_escaped(byte) {
                push_escaped(out, byte);
            } else {
                out.push(byte);
            }
        }
    } else {
        out.extend_from_slice(text);
    }
    out.push(b'"');
}

fn is_escaped(byte: u8) -> bool {
    (byte < 0x20) | (byte == b'"') | (byte == b'\\')
}

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

/// The number with all its digits but zeros that say nothing: none leading, none trailing in a fraction.
fn push_number(out: &mut Vec<u8>, number: Decimal) {
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
            prop_assert_eq!(serde_json::from_slice::<String>(&out).expect("JSON"), text);
        }

        #[test]
        fn any_number_comes_back_from_its_json(mantissa in -(1_i64 << 62)..1 << 62, scale in 0_u32..28) {
            let sent = Decimal::new(mantissa, scale);
            prop_assert_eq!(number(&sent.to_string()).parse::<Decimal>().expect("a decimal"), sent);
        }
    }
}

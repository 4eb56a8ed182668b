//! The identification line of a telegram: what tells one meter from another, and what a telegram looks
//! like where it begins in the middle of a line, because the one before it was cut off there.
//!
//! IEC 62056-21 asks for `/`, three letters and a baud rate character (`/ISK5`); a heat meter's
//! `/NWA-WARMTELINK` shows that not all keep to the fourth.

use super::seven_bit;

/// Longest part of an identification line that tells meters apart, in bytes.
pub const MAX_KEY_BYTES: usize = 256;

/// The identification line without `/`, line end and parity bits, at most [`MAX_KEY_BYTES`] of it: what a
/// meter is remembered by.
#[must_use]
pub fn key(telegram: &[u8]) -> Vec<u8> {
    seven_bit::stripped(telegram.get(..MAX_KEY_BYTES + 1).unwrap_or(telegram))
        .iter()
        .skip(1)
        .take_while(|byte| !is_line_end(**byte))
        .copied()
        .collect()
}

/// Whether these bytes look like the start of a telegram: `/` and three letters, of either line. Where
/// fewer than four bytes are there, whether they may still become that.
#[must_use]
pub fn looks_like_start(bytes: &[u8]) -> bool {
    let is_seven_bit = seven_bit::is_seven_bit(bytes);
    !bytes.is_empty()
        && bytes
            .iter()
            .take(4)
            .enumerate()
            .all(|(at, &byte)| fits_start(byte, at, is_seven_bit))
}

/// Whether `byte` can stand at this offset from a telegram's first byte, looking at the first four alone.
#[must_use]
pub fn fits_start(byte: u8, offset: usize, is_seven_bit: bool) -> bool {
    let character = if is_seven_bit && seven_bit::has_even_parity(byte) {
        byte & 0x7F
    } else {
        byte
    };
    match offset {
        0 => character == b'/',
        1..=3 => character.is_ascii_alphabetic(),
        _ => true,
    }
}

/// Whether these bytes look like the start of a telegram so much that this decides where no CRC does:
/// `/`, three letters and a digit.
#[must_use]
pub fn is_certain_start(bytes: &[u8]) -> bool {
    let digit = if seven_bit::is_seven_bit(bytes) {
        bytes.get(4).map(|byte| byte & 0x7F)
    } else {
        bytes.get(4).copied()
    };
    looks_like_start(bytes) && digit.is_some_and(|byte| byte.is_ascii_digit())
}

/// CR or LF.
#[inline]
#[must_use]
pub fn is_line_end(byte: u8) -> bool {
    byte == b'\r' || byte == b'\n'
}

/// Whether a data object's line can hold this byte: printable ASCII or a line end.
#[inline]
#[must_use]
pub fn is_text(byte: u8) -> bool {
    matches!(byte, b' '..=b'~' | b'\r' | b'\n')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identification_lines_of_real_meters_look_like_a_start() {
        for line in [
            "/ISk5\\2MT382-1000\r\n",
            "/KMP5 ZABF001551772711\r\n",
            "/NWA-WARMTELINK\r\n",
            "/Lux5\\253694471_M\r\n",
        ] {
            assert!(looks_like_start(line.as_bytes()), "{line}");
        }
        assert!(is_certain_start(b"/ISk5\\2MT382-1000"));
        assert!(is_certain_start(
            b"\xafISK5".map(seven_bit::with_parity).as_slice()
        ));
    }

    #[test]
    fn a_slash_in_a_text_message_does_not() {
        for text in ["/-test", "/", "/24:00", "/1-0:1.8.1", "//ISK5", ""] {
            assert!(!is_certain_start(text.as_bytes()), "{text}");
        }
        assert!(
            !is_certain_start(b"/NWA-WARMTELINK"),
            "not certain, though it looks like one"
        );
        assert!(!looks_like_start(b"/-te"));
        assert!(looks_like_start(b"/IS"), "it may still become one");
    }

    #[test]
    fn a_meter_is_remembered_by_its_line_without_slash_line_end_and_parity() {
        assert_eq!(
            key(b"/ISK5\\2M550T-1012\r\n\r\n1-3:0.2.8(50)\r\n"),
            b"ISK5\\2M550T-1012"
        );
        assert_eq!(key(b"/KAM5\n"), b"KAM5");
        assert_eq!(key(b"/FLU5\xab7\r\n"), b"FLU5\xab7");
        let parity: Vec<u8> = b"/ISK5\\2M\r\n\r\n"
            .iter()
            .map(|&byte| seven_bit::with_parity(byte))
            .collect();
        assert_eq!(key(&parity), b"ISK5\\2M");
        assert_eq!(key(&[b'/'; 5000]).len(), MAX_KEY_BYTES);
        assert_eq!(key(b""), b"");
    }
}

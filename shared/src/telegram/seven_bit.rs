//! Telegrams of a 7E1 line read as 8N1: the parity bit shows as bit 7, so that `/` is 0xAF, CR is 0x8D
//! and LF, which has an even number of ones by itself, stays 0x0A.
//!
//! Such a telegram is kept as it came. Since every one of its bytes must have an even number of ones,
//! a flipped bit shows even where the meter sends no CRC.

use std::borrow::Cow;

/// `/` with its parity bit: what such a telegram begins with.
pub const START: u8 = 0xAF;

/// Whether this telegram came with parity bits: whether it begins with `/` and its parity bit.
#[must_use]
pub fn is_seven_bit(telegram: &[u8]) -> bool {
    telegram.first() == Some(&START)
}

/// The telegram as the meter meant it: without parity bits where it came with them, else as it is.
#[must_use]
pub fn stripped(telegram: &[u8]) -> Cow<'_, [u8]> {
    if is_seven_bit(telegram) {
        telegram.iter().map(|&byte| without_parity(byte)).collect()
    } else {
        Cow::Borrowed(telegram)
    }
}

/// The character without its parity bit.
#[inline]
#[must_use]
pub fn without_parity(byte: u8) -> u8 {
    byte & 0x7F
}

/// Whether the parity bit is the one that belongs to the character.
#[inline]
#[must_use]
pub fn has_even_parity(byte: u8) -> bool {
    byte.count_ones() % 2 == 0
}

/// The character with its parity bit, as a 7E1 line carries it.
#[must_use]
pub fn with_parity(character: u8) -> u8 {
    let character = without_parity(character);
    if has_even_parity(character) {
        character
    } else {
        character | 0x80
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_line_with_parity_shows_is_stripped_to_what_the_meter_meant() {
        let meant = b"/ISk5\\2MT382-1004\r\n\r\n1-0:1.8.1(00001.001*kWh)\r\n!\r\n";
        let shown: Vec<u8> = meant.iter().map(|&byte| with_parity(byte)).collect();
        assert_eq!(shown.get(..2), Some([0xAF, 0xC9].as_slice()));
        assert!(shown.ends_with(&[b'!', 0x8D, 0x0A]));
        assert!(is_seven_bit(&shown));
        assert_eq!(stripped(&shown), meant.as_slice());
    }

    #[test]
    fn an_eight_bit_telegram_is_left_alone_whatever_bytes_it_holds() {
        let telegram = b"/FLU5\xab769484_A\r\n\r\n!B315\r\n";
        assert!(matches!(stripped(telegram), Cow::Borrowed(bytes) if bytes == telegram));
        assert!(matches!(stripped(b""), Cow::Borrowed(b"")));
    }
}

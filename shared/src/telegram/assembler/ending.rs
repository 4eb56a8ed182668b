//! What may be the end of a telegram: `!` at the start of a line, up to four hex digits, a line end.

use super::seven_bit;

/// `!` at the start of a line and what has come of the CRC behind it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ending {
    /// Offset of the `!` in the buffer.
    pub(super) exclamation_mark: usize,
    /// The candidate's register after the `!`.
    pub(super) register: u16,
    /// How many digits have come, at most four.
    pub(super) digits: u32,
    /// Their value.
    pub(super) crc: u16,
    /// CR has come, so that LF alone can still belong to it.
    pub(super) has_carriage_return: bool,
    pub(super) has_plain_digits: bool,
    pub(super) has_even_digits: bool,
}

/// What a byte means to an ending.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// It belongs to it, and more may come.
    GoesOn,
    /// It is its last byte.
    EndsWithIt,
    /// The ending was whole before this byte.
    EndsBeforeIt,
    /// No telegram ends like this.
    IsNoEnd,
}

impl Ending {
    /// `follows_parity`: the line end before it has a parity bit, so that only a telegram with parity bits
    /// can end here.
    pub(super) fn new(exclamation_mark: usize, register: u16, follows_parity: bool) -> Self {
        Self {
            exclamation_mark,
            register,
            digits: 0,
            crc: 0,
            has_carriage_return: false,
            has_plain_digits: !follows_parity,
            has_even_digits: true,
        }
    }

    pub(super) fn step(&mut self, byte: u8) -> Step {
        let digit = char::from(seven_bit::without_parity(byte)).to_digit(16);
        match (byte, digit) {
            (b'\n', _) => Step::EndsWithIt,
            _ if self.has_carriage_return => Step::EndsBeforeIt,
            (b'\r' | 0x8D, _) => {
                self.has_carriage_return = true;
                Step::GoesOn
            }
            (_, Some(digit)) if self.digits < 4 => {
                self.digits += 1;
                self.crc = self.crc << 4 | u16::try_from(digit).unwrap_or_default();
                self.has_plain_digits &= byte < 0x80;
                self.has_even_digits &= seven_bit::has_even_parity(byte);
                Step::GoesOn
            }
            (b'/' | seven_bit::START, _) if self.digits == 4 => Step::EndsBeforeIt,
            _ => Step::IsNoEnd,
        }
    }

    /// Whether the digits are those of a telegram with or without parity bits.
    pub(super) fn fits(&self, is_seven_bit: bool) -> bool {
        if is_seven_bit {
            self.has_even_digits
        } else {
            self.has_plain_digits
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_of_a_crc_line_is_read_and_nothing_else() {
        use Step::{EndsBeforeIt, EndsWithIt, GoesOn, IsNoEnd};
        let table: [(&[u8], Step, u16); 14] = [
            (b"4BC6\r\n", EndsWithIt, 0x4BC6),
            (b"4bc6\n", EndsWithIt, 0x4BC6),
            (b"B9F\r\n", EndsWithIt, 0x0B9F),
            (b"0\n", EndsWithIt, 0),
            (b"\r\n", EndsWithIt, 0),
            (b"\n", EndsWithIt, 0),
            (b"4BC6\r/", EndsBeforeIt, 0x4BC6),
            (b"4BC6/", EndsBeforeIt, 0x4BC6),
            (b"4BC6\xaf", EndsBeforeIt, 0x4BC6),
            (b"4BC6", GoesOn, 0x4BC6),
            (b"4BC6A", IsNoEnd, 0x4BC6),
            (b"4B/", IsNoEnd, 0x4B),
            (b" ", IsNoEnd, 0),
            (b"/", IsNoEnd, 0),
        ];
        for (bytes, expected, crc) in table {
            let mut ending = Ending::new(0, 0, false);
            let (last, before) = bytes.split_last().expect("no row is empty");
            assert!(
                before.iter().all(|&byte| ending.step(byte) == GoesOn),
                "{bytes:?}"
            );
            assert_eq!(ending.step(*last), expected, "{bytes:?}");
            assert_eq!(ending.crc, crc, "{bytes:?}");
        }
    }

    #[test]
    fn digits_with_parity_bits_are_those_of_a_seven_bit_telegram_alone() {
        let mut ending = Ending::new(0, 0, false);
        for digit in *b"1B04" {
            assert_eq!(ending.step(seven_bit::with_parity(digit)), Step::GoesOn);
        }
        assert_eq!(ending.crc, 0x1B04);
        assert!(ending.fits(true));
        assert!(!ending.fits(false));
        assert!(!Ending::new(0, 0, true).fits(false) && Ending::new(0, 0, true).fits(true));
    }
}

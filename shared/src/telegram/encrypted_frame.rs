//! The frame that meters in Luxembourg and of some Austrian operators put around an encrypted telegram.
//! It has no `/`, no lines and no CRC of its own: it is cut by its length.
//!
//! | offset | bytes | what |
//! |---|---|---|
//! | 0 | 1 | `DB`: general-glo-ciphering |
//! | 1 | 1 | `08`: length of the system title |
//! | 2 | 8 | system title |
//! | 10 | 1 | `82`: two bytes of length follow |
//! | 11 | 2 | length L of what follows, big endian |
//! | 13 | 1 | `30`: security control, authenticated and encrypted |
//! | 14 | 4 | frame counter, big endian |
//! | 18 | L - 17 | ciphertext |
//! | L + 1 | 12 | GCM tag |
//!
//! (Luxembourg Smarty P1 specification 1.1.3, section 3.2.5; DLMS green book, general ciphering.)

use super::assembler::MAX_TELEGRAM_BYTES;

/// What a frame begins with.
pub const FIRST_BYTE: u8 = 0xDB;

/// Length of the part that says that a frame begins here, in bytes: up to the security control.
pub const HEAD_BYTES: usize = 14;

/// Smallest and largest frame, in bytes: one byte of ciphertext, and what is taken for a telegram at most.
pub const FRAME_BYTES: std::ops::RangeInclusive<usize> = 13 + 18..=MAX_TELEGRAM_BYTES;

/// The whole frame's length, where `bytes` begin with a whole head.
#[must_use]
pub fn frame_bytes(bytes: &[u8]) -> Option<usize> {
    let &[
        FIRST_BYTE,
        0x08,
        _,
        _,
        _,
        _,
        _,
        _,
        _,
        _,
        0x82,
        high,
        low,
        0x30,
        ..,
    ] = bytes
    else {
        return None;
    };
    let length = 13 + usize::from(u16::from_be_bytes([high, low]));
    FRAME_BYTES.contains(&length).then_some(length)
}

/// Whether these bytes, fewer than a head, are how a head begins.
#[must_use]
pub fn may_become_head(bytes: &[u8]) -> bool {
    let fits = |at: usize, expected: u8| bytes.get(at).is_none_or(|&byte| byte == expected);
    !bytes.is_empty()
        && fits(0, FIRST_BYTE)
        && fits(1, 0x08)
        && fits(10, 0x82)
        && fits(13, 0x30)
        && bytes
            .get(11)
            .is_none_or(|&high| usize::from(high) << 8 <= *FRAME_BYTES.end())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(length: u16) -> Vec<u8> {
        let [high, low] = length.to_be_bytes();
        [b"\xdb\x08SYSTEMID\x82".as_slice(), &[high, low, 0x30]].concat()
    }

    #[test]
    fn a_frame_is_thirteen_bytes_longer_than_the_length_it_states() {
        assert_eq!(frame_bytes(&head(498)), Some(511));
        assert_eq!(frame_bytes(&head(18)), Some(31));
        assert_eq!(frame_bytes(&head(16_371)), Some(MAX_TELEGRAM_BYTES));
    }

    #[test]
    fn only_a_whole_head_with_a_possible_length_counts() {
        assert_eq!(frame_bytes(&head(17)), None, "no ciphertext");
        assert_eq!(frame_bytes(&head(16_372)), None, "longer than any telegram");
        for at in [0, 1, 10, 13] {
            let mut bytes = head(498);
            bytes[at] ^= 1;
            assert_eq!(frame_bytes(&bytes), None, "byte {at} is another");
            assert!(!may_become_head(&bytes[..=at]));
        }
        for end in 1..HEAD_BYTES {
            assert_eq!(frame_bytes(&head(498)[..end]), None);
            assert!(may_become_head(&head(498)[..end]));
        }
        assert!(!may_become_head(b""));
    }
}

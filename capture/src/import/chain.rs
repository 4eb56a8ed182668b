//! The digest of a file's telegrams from its first one on, telegram by telegram: two files that begin with
//! the same telegrams have the same digests that far, so a file is known again under another name and
//! after it has grown.

use sha2::{Digest as _, Sha256};
use shared::telegram::seven_bit;
use shared::wire::Digest;

/// The digest so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Chain {
    /// How many telegrams it covers.
    pub telegrams: u64,
    /// Their digest: half of SHA-256 over the digest before, the time that the file states, if any, and
    /// the telegram without its line end, which it lacks where the file ended there. All zeros for none.
    pub digest: Digest,
}

impl Chain {
    /// One telegram further. `stated_at_us` is the time that the file gives beside it; a time that was
    /// guessed is no part of what the file says.
    pub fn push(&mut self, stated_at_us: Option<i64>, telegram: &[u8]) {
        let mut hash = Sha256::new();
        hash.update(self.digest);
        match stated_at_us {
            Some(at_us) => {
                hash.update([1]);
                hash.update(at_us.to_le_bytes());
            }
            None => hash.update([0]),
        }
        hash.update(without_line_end(telegram));
        let whole = hash.finalize();
        for (byte, from) in self.digest.iter_mut().zip(whole) {
            *byte = from;
        }
        self.telegrams += 1;
    }
}

fn without_line_end(telegram: &[u8]) -> &[u8] {
    let is_of_line_end = |byte: u8| matches!(seven_bit::without_parity(byte), b'\r' | b'\n');
    let end = telegram.iter().rposition(|&byte| !is_of_line_end(byte));
    telegram.get(..end.map_or(0, |end| end + 1)).unwrap_or_default()
}

/// The digest of one telegram alone.
pub fn digest_of(telegram: &[u8]) -> Digest {
    let mut chain = Chain::default();
    chain.push(None, telegram);
    chain.digest
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chain(telegrams: &[(Option<i64>, &str)]) -> Chain {
        let mut chain = Chain::default();
        for (at, telegram) in telegrams {
            chain.push(*at, telegram.as_bytes());
        }
        chain
    }

    #[test]
    fn files_agree_as_far_as_they_hold_the_same() {
        let short = chain(&[(None, "a"), (None, "b")]);
        let mut long = short;
        long.push(None, b"c");
        assert_eq!(short.telegrams, 2);
        assert_eq!(long, chain(&[(None, "a"), (None, "b"), (None, "c")]));
        assert_ne!(long.digest, short.digest);
    }

    #[test]
    fn a_telegram_whose_line_end_came_later_is_the_same() {
        let ends = ["!", "!\r", "!\r\n", "!\n"].map(|telegram| chain(&[(None, telegram)]).digest);
        assert_eq!(ends, [ends[0]; 4]);
    }

    #[test]
    fn order_borders_and_stated_times_count() {
        let all = [
            chain(&[(None, "a"), (None, "b")]),
            chain(&[(None, "b"), (None, "a")]),
            chain(&[(None, "ab")]),
            chain(&[(None, "a"), (Some(0), "b")]),
            chain(&[(None, "a"), (Some(1), "b")]),
            Chain::default(),
        ];
        for (number, one) in all.iter().enumerate() {
            for other in all.iter().skip(number + 1) {
                assert_ne!(one.digest, other.digest);
            }
        }
    }
}

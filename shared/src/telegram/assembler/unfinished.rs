//! What may have begun inside an encrypted frame and is not whole when the frame's length is reached: a
//! telegram or another frame. Where there is such a thing, the frame itself may be a false one, that noise
//! or a meter that stopped has made, so that it waits until the other is decided.
//!
//! In ciphertext, about one frame in two hundred ends so that it waits, for a few bytes of the next in
//! most cases: two letters must follow a `/` at its very end, or three a `/` in its last
//! [`MAX_IDENTIFICATION_BYTES`].

use crate::telegram::{encrypted_frame, identification, seven_bit};

/// How far from its `/` the line end of an identification line is looked for. Beyond it only text counts.
const MAX_IDENTIFICATION_BYTES: usize = 40;

/// What has begun, at which offset of the buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unfinished {
    Head {
        start: usize,
    },
    Telegram {
        start: usize,
        is_seven_bit: bool,
        has_line_end: bool,
    },
}

impl Unfinished {
    /// The first that begins at `from` or behind it and may go on behind the end of `bytes`; and how many
    /// bytes were looked at.
    pub(super) fn find(bytes: &[u8], from: usize) -> (Option<Self>, u64) {
        let (plain, plain_examined) = telegram(bytes, from, false);
        let (seven_bit, seven_bit_examined) = telegram(bytes, from, true);
        let head = (from.max((bytes.len() + 1).saturating_sub(encrypted_frame::HEAD_BYTES))..bytes.len())
            .take_while(|start| start + 2 <= bytes.len())
            .find(|&start| bytes.get(start..).is_some_and(encrypted_frame::may_become_head))
            .map(|start| Self::Head { start });
        let first = [plain, seven_bit, head]
            .into_iter()
            .flatten()
            .min_by_key(Self::start);
        (
            first,
            plain_examined + seven_bit_examined + encrypted_frame::HEAD_BYTES as u64,
        )
    }

    /// Where it begins.
    pub(super) fn start(&self) -> usize {
        match *self {
            Self::Head { start } | Self::Telegram { start, .. } => start,
        }
    }

    /// Whether it may still become whole after the last byte of `bytes`, which has just come.
    pub(super) fn goes_on(&mut self, bytes: &[u8]) -> bool {
        let Some(&byte) = bytes.last() else { return false };
        match self {
            Self::Head { start } => bytes.get(*start..).is_some_and(encrypted_frame::may_become_head),
            Self::Telegram {
                start,
                is_seven_bit,
                has_line_end,
            } => {
                let offset = bytes.len() - 1 - *start;
                let is_identified = *has_line_end;
                *has_line_end |= is_line_end(byte, *is_seven_bit);
                identification::fits_start(byte, offset, *is_seven_bit)
                    && match (is_identified, *has_line_end) {
                        (true, _) => is_text(byte, *is_seven_bit),
                        (false, true) => offset <= MAX_IDENTIFICATION_BYTES,
                        (false, false) => offset < MAX_IDENTIFICATION_BYTES,
                    }
            }
        }
    }
}

fn telegram(bytes: &[u8], from: usize, is_seven_bit: bool) -> (Option<Unfinished>, u64) {
    let start_byte = if is_seven_bit { seven_bit::START } else { b'/' };
    let mut first = None;
    let mut line_end = None;
    let mut last_other = None;
    let mut examined = 0;
    for (at, &byte) in bytes.iter().enumerate().skip(from).rev() {
        examined += 1;
        let identified = line_end.unwrap_or(bytes.len());
        if last_other.is_some_and(|other| other > identified || other - at > MAX_IDENTIFICATION_BYTES) {
            break;
        }
        if byte == start_byte
            && identified - at <= MAX_IDENTIFICATION_BYTES
            && bytes.len() - at >= 2
            && bytes.get(at..).is_some_and(identification::looks_like_start)
        {
            first = Some(Unfinished::Telegram {
                start: at,
                is_seven_bit,
                has_line_end: line_end.is_some(),
            });
        }
        if is_line_end(byte, is_seven_bit) {
            line_end = Some(at);
        } else if !is_text(byte, is_seven_bit) && last_other.is_none() {
            last_other = Some(at);
        }
    }
    (first, examined)
}

fn is_line_end(byte: u8, is_seven_bit: bool) -> bool {
    byte == b'\n' || byte == if is_seven_bit { 0x8D } else { b'\r' }
}

fn is_text(byte: u8, is_seven_bit: bool) -> bool {
    if is_seven_bit {
        seven_bit::has_even_parity(byte) && identification::is_text(seven_bit::without_parity(byte))
    } else {
        identification::is_text(byte)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(bytes: &[u8]) -> Option<usize> {
        Unfinished::find(bytes, 0).0.map(|unfinished| unfinished.start())
    }

    #[test]
    fn a_telegram_cut_anywhere_behind_its_first_byte_is_seen() {
        let noise = [0x9C; 100];
        let telegram = b"/ISk5\x02MT\xab382\r\n\r\n1-3:0.2.8(50)\r\n0-0:96.13.0(/abc)\r\n1-0:1.7.0(00.1";
        for end in 2..=telegram.len() {
            assert_eq!(
                found(&[&noise, &telegram[..end]].concat()),
                Some(100),
                "cut at {end}"
            );
            let parity: Vec<u8> = telegram[..end]
                .iter()
                .map(|&byte| seven_bit::with_parity(byte))
                .collect();
            assert_eq!(
                found(&[&noise, parity.as_slice()].concat()),
                Some(100),
                "with parity, cut at {end}"
            );
        }
        assert_eq!(
            found(&[&noise, telegram.as_slice(), &[0x9C]].concat()),
            None,
            "not text behind its first line"
        );
        assert_eq!(
            found(&[&noise, telegram[..8].as_ref(), &[0x9C; 60]].concat()),
            None,
            "a line that does not end"
        );
    }

    #[test]
    fn a_head_cut_anywhere_behind_its_first_byte_is_seen() {
        let head = b"\xdb\x08SYSTEMID\x82\x01\xf2\x30";
        for end in 2..head.len() {
            assert_eq!(
                found(&[&[0x9C; 50], &head[..end]].concat()),
                Some(50),
                "cut at {end}"
            );
        }
        assert_eq!(found(&[0x9C; 50]), None);
        assert_eq!(found(b""), None);
    }

    #[test]
    fn it_goes_on_exactly_as_long_as_it_would_be_found_anew() {
        let begun = [[0x9C; 20].as_slice(), b"/IS"].concat();
        for next in [
            b"K5\r\n1-0:1.7.0(00.1".as_slice(),
            b"9",
            b"K5\x02\x9c\r\n\x9c",
            &[b'a'; 80],
            b"K\n\x00",
        ] {
            let (mut unfinished, mut bytes) = (
                Unfinished::find(&begun, 0).0.expect("it has begun"),
                begun.clone(),
            );
            for &byte in next {
                bytes.push(byte);
                let goes_on = unfinished.goes_on(&bytes);
                assert_eq!(
                    goes_on,
                    Unfinished::find(&bytes, 0)
                        .0
                        .is_some_and(|again| again.start() == 20),
                    "{bytes:?}"
                );
                if !goes_on {
                    break;
                }
            }
        }
    }
}

//! What the assembler finds in a stream: telegrams, and stretches of bytes that are none, with the reason.

use std::fmt;

use super::{crc16, seven_bit};

/// What was found in the stream, in the order of the stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// A valid telegram or a whole encrypted frame.
    Telegram(Telegram),
    /// A stretch of bytes that is none.
    Rejected(Rejected),
}

/// A valid telegram.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Telegram {
    /// Offset of its first byte in the stream.
    pub position: u64,
    /// The bytes as they came: from `/` to the line end after the CRC, or a whole encrypted frame.
    pub bytes: Vec<u8>,
    /// How it was found to be whole.
    pub check: Check,
}

/// How a telegram was found to be whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Check {
    /// CRC-16/ARC.
    Arc,
    /// CRC-16/X-25, as one Hungarian meter sends it.
    X25,
    /// It carries no CRC, and the policy takes such telegrams of this meter, or the policy looks at none.
    None,
    /// An encrypted frame, whole by its length; what is inside is checked by who decrypts it.
    EncryptedFrame,
}

/// A stretch of bytes that is no telegram.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejected {
    /// Offset of its first byte in the stream.
    pub position: u64,
    /// The bytes as they came, at most [`super::assembler::MAX_TELEGRAM_BYTES`] of them.
    pub bytes: Vec<u8>,
    /// All of its length, in bytes.
    pub length: u64,
    /// Why.
    pub reason: Reason,
}

impl Rejected {
    /// What a wrong CRC comes from, if the bytes show it: it would be right with the line ends that the meter sent,
    /// or as CRC-16/X-25.
    #[must_use]
    pub fn meaning(&self) -> Option<&'static str> {
        let Reason::WrongCrc { given, .. } = self.reason else {
            return None;
        };
        let end = self.bytes.iter().rposition(|&byte| byte == b'!')?;
        let telegram = seven_bit::stripped(self.bytes.get(..=end)?);
        if crc16::X25.of(&telegram) == given {
            return Some(
                "its CRC is right as CRC-16/X-25, which some meters send: capture takes them after three in a row",
            );
        }
        LINE_ENDS
            .iter()
            .any(|line_end| crc16::ARC.of(&with_cr_lf(&telegram, line_end)) == given)
            .then_some(
                "its CRC is right with CR LF at the end of each line: something on the way has changed the line ends",
            )
    }
}

/// What programs and terminals make of CR LF.
const LINE_ENDS: [&[u8]; 4] = [b"\n", b"\r", b"\n\n", b"\r\r\n"];

fn with_cr_lf(mut telegram: &[u8], line_end: &[u8]) -> Vec<u8> {
    let mut restored = Vec::with_capacity(telegram.len() + telegram.len() / 8);
    while let Some((&first, rest)) = telegram.split_first() {
        if let Some(rest) = telegram.strip_prefix(line_end) {
            restored.extend_from_slice(b"\r\n");
            telegram = rest;
        } else {
            restored.push(first);
            telegram = rest;
        }
    }
    restored
}

/// Why a stretch of bytes was rejected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    /// Bytes outside any telegram.
    Noise,
    /// It stopped, and another began.
    Truncated,
    /// The CRC that it carries is not the CRC of its bytes.
    WrongCrc {
        /// The CRC that the telegram carries.
        given: u16,
        /// The CRC-16/ARC of its bytes.
        computed: u16,
    },
    /// It carries no CRC, but the policy asks for one, or this meter has sent one before.
    MissingCrc,
    /// What stands behind `!` is neither a CRC nor a line end.
    MalformedCrc,
    /// It came with parity bits (a 7E1 line read as 8N1), and some are wrong.
    WrongParity {
        /// How many characters have the wrong parity bit.
        characters: usize,
    },
    /// It carries no CRC, and holds a byte that no line of a telegram holds.
    NotText {
        /// The first such byte.
        byte: u8,
        /// How far from the telegram's first byte it stands.
        offset: usize,
    },
    /// It is longer than [`super::assembler::MAX_TELEGRAM_BYTES`].
    TooLong,
}

impl Reason {
    /// The name under which such stretches are counted; never changes.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Noise => "noise",
            Self::Truncated => "truncated",
            Self::WrongCrc { .. } => "wrong_crc",
            Self::MissingCrc => "missing_crc",
            Self::MalformedCrc => "malformed_crc",
            Self::WrongParity { .. } => "wrong_parity",
            Self::NotText { .. } => "not_text",
            Self::TooLong => "too_long",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Noise => f.write_str("bytes outside any telegram"),
            Self::Truncated => f.write_str("it stopped before its end, and another began"),
            Self::WrongCrc { given, computed } => {
                write!(
                    f,
                    "its CRC is {given:04X}, but that of its bytes is {computed:04X}"
                )
            }
            Self::MissingCrc => {
                f.write_str("it carries no CRC, though this meter sends one or `crc: required` asks for one")
            }
            Self::MalformedCrc => f.write_str("what follows its `!` is neither a CRC nor a line end"),
            Self::WrongParity { characters } => {
                write!(f, "{characters} of its characters came with the wrong parity bit")
            }
            Self::NotText { byte, offset } => {
                write!(
                    f,
                    "it carries no CRC, and its byte {byte:#04x} at offset {offset} is no text"
                )
            }
            Self::TooLong => {
                write!(
                    f,
                    "it is longer than the {} bytes of the longest telegram",
                    super::assembler::MAX_TELEGRAM_BYTES
                )
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rejected(bytes: &[u8], given: u16) -> Rejected {
        let computed = crc16::ARC.of(bytes);
        Rejected {
            position: 0,
            length: bytes.len() as u64,
            bytes: [bytes, format!("{given:04X}\r\n").as_bytes()].concat(),
            reason: Reason::WrongCrc { given, computed },
        }
    }

    #[test]
    fn a_wrong_crc_that_is_right_with_cr_lf_or_as_x25_is_explained() {
        let sent = "/ISK5\\2M550T-1012\r\n\r\n1-3:0.2.8(50)\r\n1-0:1.7.0(00.318*kW)\r\n!";
        let given = crc16::ARC.of(sent.as_bytes());
        for line_end in ["\n", "\r", "\n\n", "\r\r\n"] {
            let came = sent.replace("\r\n", line_end);
            let meaning = rejected(came.as_bytes(), given).meaning().unwrap_or_default();
            assert!(meaning.contains("CR LF"), "{line_end:?}: {meaning}");
            let damaged = came.replace("318", "319");
            assert_eq!(
                rejected(damaged.as_bytes(), given).meaning(),
                None,
                "{line_end:?}"
            );
        }
        let of_x25 = rejected(sent.as_bytes(), crc16::X25.of(sent.as_bytes()));
        assert!(of_x25.meaning().unwrap_or_default().contains("X-25"));
        assert_eq!(rejected(sent.as_bytes(), given ^ 1).meaning(), None);
    }

    #[test]
    fn names_are_stable_and_words_carry_the_values() {
        let reasons = [
            (Reason::Noise, "noise", "outside"),
            (Reason::Truncated, "truncated", "stopped"),
            (
                Reason::WrongCrc {
                    given: 0xBAD0,
                    computed: 0x0153,
                },
                "wrong_crc",
                "BAD0, but that of its bytes is 0153",
            ),
            (Reason::MissingCrc, "missing_crc", "no CRC"),
            (Reason::MalformedCrc, "malformed_crc", "neither"),
            (Reason::WrongParity { characters: 3 }, "wrong_parity", "3 of"),
            (
                Reason::NotText {
                    byte: 0x9C,
                    offset: 70,
                },
                "not_text",
                "0x9c at offset 70",
            ),
            (Reason::TooLong, "too_long", "16384"),
        ];
        for (reason, name, words) in reasons {
            assert_eq!(reason.name(), name);
            assert!(reason.to_string().contains(words), "{reason}");
        }
    }
}

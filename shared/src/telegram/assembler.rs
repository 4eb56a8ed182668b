//! Cuts a byte stream into telegrams, checks their CRC and says what it rejected, where and why.
//!
//! Pure: it knows no port and no clock. Any chunking of the same bytes gives the same result.

use std::collections::BTreeSet;

use crate::config::CrcPolicy;

/// Largest telegram or encrypted frame, in bytes. The standard states none; a full text message makes
/// more than 3 kB.
pub const MAX_TELEGRAM_BYTES: usize = 16 * 1024;

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
    /// It carries no CRC, and the policy takes such telegrams of this meter.
    None,
    /// An encrypted frame, whole by its length; what is inside is checked by who decrypts it.
    EncryptedFrame,
}

/// A stretch of bytes that is no telegram.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejected {
    /// Offset of its first byte in the stream.
    pub position: u64,
    /// The bytes as they came, at most [`MAX_TELEGRAM_BYTES`] of them.
    pub bytes: Vec<u8>,
    /// All of its length, in bytes.
    pub length: u64,
    /// Why.
    pub reason: Reason,
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
    /// It is longer than [`MAX_TELEGRAM_BYTES`].
    TooLong,
}

/// The state of the cut: what has come and is not decided yet.
#[derive(Debug)]
pub struct Assembler {
    policy: CrcPolicy,
    meters_with_crc: BTreeSet<Vec<u8>>,
}

impl Assembler {
    /// `meters_with_crc` are the identification lines (without `/` and line end) of the meters that have
    /// sent a CRC before; what is learnt is in [`Assembler::meters_with_crc`].
    pub fn new(policy: CrcPolicy, meters_with_crc: BTreeSet<Vec<u8>>) -> Self {
        Self {
            policy,
            meters_with_crc,
        }
    }

    /// Takes the next bytes of the stream and hands out what they complete.
    pub fn push(&mut self, _bytes: &[u8], _found: &mut Vec<Found>) {}

    /// The stream has ended: decides what is pending. Another stream may follow.
    pub fn finish(&mut self, _found: &mut Vec<Found>) {}

    /// Identification lines of the meters that have sent a CRC.
    pub fn meters_with_crc(&self) -> &BTreeSet<Vec<u8>> {
        &self.meters_with_crc
    }

    /// The policy that was given.
    pub fn policy(&self) -> CrcPolicy {
        self.policy
    }
}

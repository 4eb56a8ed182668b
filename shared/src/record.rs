//! The record: what the queue stores of one telegram, and what goes over the socket.
//!
//! A record holds the telegram exactly as it came off the wire. Everything derived from it (the
//! meter's time, the readings, the interval it belongs to) is computed by whoever reads it, so that
//! a mistake in that computation can be mended later and the telegrams replayed.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// One telegram with the circumstances of its arrival.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Counts from 1 and rises by one. Never given twice in the life of a queue; a gap means that
    /// records were lost to damage or an unclean power cut, and is reported as such.
    pub sequence: u64,
    /// The system's clock when the telegram's last byte came, in microseconds since
    /// 1970-01-01T00:00:00Z. Not monotone: machines without a battery clock boot into the past.
    pub captured_at_us: i64,
    /// Milliseconds between the previous telegram's arrival and this one's, by a clock that does not
    /// jump. 0 for the first record of a queue. Across a reboot, where no clock tells, it is more
    /// than [`INTERVAL_SILENCE_MS`].
    pub silence_ms: u64,
    /// The telegram byte for byte: from `/` to the line end after the CRC, or a whole encrypted frame. Those that
    /// were read together may lie in one stretch of memory, which is kept as long as any of them.
    pub telegram: Bytes,
}

/// A silence longer than this closes an interval: 30 s, three periods of the slowest meters.
pub const INTERVAL_SILENCE_MS: u64 = 30_000;

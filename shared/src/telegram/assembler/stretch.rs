//! Rejected stretches of the stream on their way out: each with its position, its whole length and, up to
//! a bound, its bytes.

use super::{Found, MAX_TELEGRAM_BYTES, Reason, Rejected};

/// The stretch that may go on, and the position in the stream that has been decided.
#[derive(Debug, Default)]
pub(super) struct Stretches {
    /// Offset in the stream of the next byte to be decided.
    position: u64,
    /// How many of the next bytes have been handed out before.
    already_out: usize,
    open: Option<Open>,
}

#[derive(Debug)]
struct Open {
    rejected: Rejected,
    is_blank: bool,
}

impl Stretches {
    /// Offset in the stream of the next byte to be decided.
    pub(super) fn position(&self) -> u64 {
        self.position
    }

    /// The length of the stretch that may go on, in bytes, and its reason.
    pub(super) fn open(&self) -> Option<(u64, Reason)> {
        self.open
            .as_ref()
            .map(|open| (open.rejected.length, open.rejected.reason))
    }

    /// What follows is a stretch of its own, with this reason.
    pub(super) fn begin(&mut self, reason: Reason, found: &mut Vec<Found>) {
        self.close(found);
        let position = self.position + self.already_out as u64;
        let rejected = Rejected {
            position,
            bytes: Vec::new(),
            length: 0,
            reason,
        };
        self.open = Some(Open {
            rejected,
            is_blank: true,
        });
    }

    /// These bytes belong to the stretch that is open; where none is, to noise.
    pub(super) fn extend(&mut self, bytes: &[u8], found: &mut Vec<Found>) {
        let skipped = self.already_out.min(bytes.len());
        let Some(bytes) = bytes.get(skipped..).filter(|bytes| !bytes.is_empty()) else {
            self.position += skipped as u64;
            self.already_out -= skipped;
            return;
        };
        if self.open.is_none() {
            self.begin(Reason::Noise, found);
        }
        self.already_out -= skipped;
        self.position += (skipped + bytes.len()) as u64;
        if let Some(Open { rejected, is_blank }) = &mut self.open {
            let room = MAX_TELEGRAM_BYTES.saturating_sub(rejected.bytes.len());
            rejected.bytes.extend(bytes.iter().take(room));
            rejected.length += bytes.len() as u64;
            *is_blank &= bytes
                .iter()
                .all(|byte| matches!(byte, b'\r' | b'\n' | b' ' | b'\t' | 0x8D));
        }
    }

    /// The open stretch is over: hands it out, unless it is nothing but blank lines.
    pub(super) fn close(&mut self, found: &mut Vec<Found>) {
        if let Some(Open { rejected, is_blank }) = self.open.take() {
            let is_between_telegrams = is_blank && rejected.reason == Reason::Noise;
            if rejected.length > 0 && !is_between_telegrams {
                found.push(Found::Rejected(rejected));
            }
        }
    }

    /// This many bytes went out as a telegram.
    pub(super) fn skip(&mut self, bytes: usize) {
        self.position += bytes as u64;
        self.already_out = 0;
    }

    /// The byte that went out last is looked at again.
    pub(super) fn look_again_at_last_byte(&mut self) {
        self.position -= 1;
        self.already_out = 1;
    }
}

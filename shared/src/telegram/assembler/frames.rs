//! Pending frames: where one begins, when it goes out, and for what it waits.

use super::ending::Ending;
use super::unfinished::Unfinished;
use super::{Assembler, Candidate, Check, Found, Frame, Telegram};
use crate::telegram::{encrypted_frame, seven_bit};

impl Assembler {
    /// Hands the frame out, and gives by how much offsets in the buffer have become smaller.
    pub(super) fn release_frame(&mut self, found: &mut Vec<Found>) -> usize {
        let Some(frame) = self.frame.take() else { return 0 };
        let behind = self.candidate.filter(|candidate| candidate.start >= frame.end);
        let ending_behind = self
            .ending
            .take()
            .filter(|ending| ending.exclamation_mark >= frame.end);
        self.candidate = self.candidate.filter(|candidate| candidate.start < frame.start);
        self.discard(frame.start, None, found);
        self.stretches.close(found);
        let length = frame.end - frame.start;
        let bytes: Vec<u8> = self.buffer.drain(..length).collect();
        let position = self.stretches.position();
        self.stretches.skip(length);
        // One byte is too little to wait for. Should a telegram or a frame begin with it, it is found all
        // the same, and this byte is in both.
        let last = bytes.last().copied().unwrap_or_default();
        if self.buffer.is_empty() {
            self.previous = b'\n';
            if matches!(last, encrypted_frame::FIRST_BYTE | b'/' | seven_bit::START) {
                self.buffer.push(last);
                self.stretches.look_again_at_last_byte();
            }
        }
        found.push(Found::Telegram(Telegram {
            position,
            bytes,
            check: Check::EncryptedFrame,
        }));
        self.candidate = behind.map(|candidate| Candidate {
            start: candidate.start - frame.end,
            ..candidate
        });
        self.searched = 0;
        self.ending = ending_behind.map(|ending| Ending {
            exclamation_mark: ending.exclamation_mark - frame.end,
            ..ending
        });
        frame.end
    }

    /// Looks whether a frame begins or ends with the byte that has just come.
    pub(super) fn watch_frames(&mut self, byte: u8, found: &mut Vec<Found>) {
        if byte == 0x30 {
            let start = self.buffer.len().saturating_sub(encrypted_frame::HEAD_BYTES);
            let length = self.buffer.get(start..).and_then(encrypted_frame::frame_bytes);
            if let Some(length) = length {
                self.begin_frame(start, length, found);
            }
        }
        let Some(frame) = &mut self.frame else { return };
        let from = match &mut frame.held_for {
            Some(unfinished) => {
                if unfinished.goes_on(&self.buffer) {
                    return;
                }
                unfinished.start() + 1
            }
            None if self.buffer.len() < frame.end => return,
            None => self
                .candidate
                .map_or(frame.start, |candidate| candidate.start.min(frame.start)),
        };
        let (unfinished, examined) = Unfinished::find(&self.buffer, from);
        self.examined += examined;
        frame.held_for = unfinished.filter(|unfinished| unfinished.start() < frame.end);
        if frame.held_for.is_none() {
            self.release_frame(found);
        }
    }

    /// A whole head ends with the last byte of the buffer.
    pub(super) fn begin_frame(&mut self, start: usize, length: usize, found: &mut Vec<Found>) {
        let mut start = start;
        match self.frame {
            Some(frame) if frame.held_for.is_some() && start >= frame.end => {
                start -= self.release_frame(found)
            }
            Some(_) => start -= self.discard(start, None, found),
            None => {}
        }
        if self.candidate.is_none() {
            start -= self.discard(start, None, found);
        }
        self.frame = Some(Frame {
            start,
            end: start + length,
            held_for: None,
        });
    }
}

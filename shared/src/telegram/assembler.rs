//! Cuts a byte stream into telegrams, checks their CRC and says what it rejected, where and why.
//!
//! Pure: it knows no port and no clock.
//!
//! # Invariants
//!
//! * Any chunking of the same bytes gives the same result, since every byte is a step of its own; a run of bytes
//!   that decide nothing is one step, which is the same.
//! * Memory is bounded by a small multiple of [`MAX_TELEGRAM_BYTES`], and time is linear in the input,
//!   whatever the input: [`Assembler::bytes_examined`] counts.
//! * A telegram goes out with the last byte of its line end, a frame with its last byte, except where
//!   what is being received just then may be something better (see [`unfinished`]).
//! * Every byte of the stream is in a telegram or in a rejected stretch, except blank lines between them.
//!   One byte can be in both: the last of a frame, where the next telegram turns out to begin with it.
//!
//! # How it decides
//!
//! `/` at the start of a line begins a telegram, whatever came before. `!` at the start of a line, up to
//! four hex digits and a line end end it. Where its CRC does not fit, the CRC given is run backwards over
//! everything undecided: where the register passes its start value at what looks like an identification
//! line, the meter stopped in the middle of a line and began again there. Telegrams without a CRC are
//! taken to begin at the last certain identification line.
//!
//! The head of an encrypted frame makes a frame pending. Nothing proves a frame, so whatever is proven
//! inside it wins: a telegram with a valid CRC, or another whole head. Only text wins without a CRC.

mod ending;
mod frames;
mod stretch;
mod unfinished;
mod verdict;
mod x25;

use std::collections::BTreeSet;

use memchr::{memchr, memchr3};

pub use super::found::{Check, Found, Reason, Rejected, Telegram};
use super::{crc16, encrypted_frame, identification, seven_bit};
use crate::config::CrcPolicy;
use ending::{Ending, Step};
use stretch::Stretches;
use unfinished::Unfinished;
use x25::X25Meter;

/// Largest telegram or encrypted frame, in bytes. The standard states none; a full text message makes
/// more than 3 kB.
pub const MAX_TELEGRAM_BYTES: usize = 16 * 1024;

/// How far is looked for the end of a run of bytes that decide nothing. A byte is looked at again only where a
/// frame may have begun before it, and then every fifteen bytes at most: less than twenty times in all.
const LOOK_AHEAD_BYTES: usize = 256;

/// Everything found in bytes that are all there: a file, a test telegram.
#[must_use]
pub fn find_all(bytes: &[u8], policy: CrcPolicy) -> Vec<Found> {
    let mut assembler = Assembler::new(policy, BTreeSet::new());
    let mut found = Vec::new();
    assembler.push(bytes, &mut found);
    assembler.finish(&mut found);
    found
}

/// The state of the cut: what has come and is not decided yet.
#[derive(Debug)]
pub struct Assembler {
    policy: CrcPolicy,
    meters_with_crc: BTreeSet<Vec<u8>>,
    x25_meter: X25Meter,
    /// What has come and is not decided yet.
    buffer: Vec<u8>,
    /// What is rejected, and not handed out yet because it may go on.
    stretches: Stretches,
    /// The byte before the next; a line end where a telegram may begin.
    previous: u8,
    candidate: Option<Candidate>,
    ending: Option<Ending>,
    frame: Option<Frame>,
    /// No telegram that is still to end begins before this offset of the buffer.
    searched: usize,
    examined: u64,
}

/// A telegram that began at the start of a line. Offsets are those of the buffer.
#[derive(Debug, Clone, Copy)]
struct Candidate {
    start: usize,
    is_seven_bit: bool,
    /// CRC-16/ARC of everything from its start on.
    register: u16,
    /// A `!` at the start of a line was followed by something else than a CRC.
    is_malformed: bool,
}

/// A frame whose head is whole.
#[derive(Debug, Clone, Copy)]
struct Frame {
    start: usize,
    end: usize,
    /// It is whole by its length, but this, which began inside it, is not decided yet.
    held_for: Option<Unfinished>,
}

impl Assembler {
    /// `meters_with_crc` are the identification lines (without `/` and line end) of the meters that have
    /// sent a CRC before; what is learnt is in [`Assembler::meters_with_crc`].
    #[must_use]
    pub fn new(policy: CrcPolicy, meters_with_crc: BTreeSet<Vec<u8>>) -> Self {
        Self {
            policy,
            meters_with_crc,
            x25_meter: X25Meter::default(),
            buffer: Vec::new(),
            stretches: Stretches::default(),
            previous: b'\n',
            candidate: None,
            ending: None,
            frame: None,
            searched: 0,
            examined: 0,
        }
    }

    /// Takes the next bytes of the stream and hands out what they complete.
    pub fn push(&mut self, bytes: &[u8], found: &mut Vec<Found>) {
        self.examined += bytes.len() as u64;
        let mut rest = bytes;
        while let Some((&byte, after)) = rest.split_first() {
            match rest.split_at(self.undeciding_bytes(rest)) {
                ([], _) => {
                    self.step(byte, found);
                    rest = after;
                }
                (run, after) => {
                    self.step_over(run);
                    rest = after;
                }
            }
        }
    }

    /// The stream has come to its proper end (of a file): decides what is pending. Its last telegram needs
    /// no line end. Another stream may follow; positions go on counting.
    pub fn finish(&mut self, found: &mut Vec<Found>) {
        if self.ending.is_some() {
            self.finish_ending(found);
        }
        self.abandon(found);
    }

    /// The stream broke off (a dropped connection, another setting of the line): what is pending is
    /// rejected unless it was whole. Another stream may follow; positions go on counting.
    pub fn interrupt(&mut self, found: &mut Vec<Found>) {
        if self
            .ending
            .is_some_and(|ending| ending.digits == 4 || ending.has_carriage_return)
        {
            self.finish_ending(found);
        }
        self.abandon(found);
    }

    /// Identification lines of the meters that have sent a CRC.
    #[must_use]
    pub fn meters_with_crc(&self) -> &BTreeSet<Vec<u8>> {
        &self.meters_with_crc
    }

    /// The policy that was given.
    #[must_use]
    pub fn policy(&self) -> CrcPolicy {
        self.policy
    }

    /// How many bytes have come that are not decided yet.
    #[must_use]
    pub fn pending_bytes(&self) -> usize {
        self.buffer.len()
    }

    /// How many bytes have been looked at so far, each as often as it was: for showing that the time taken
    /// is linear in the input.
    #[must_use]
    pub fn bytes_examined(&self) -> u64 {
        self.examined
    }

    /// How many of the next bytes decide nothing: no telegram and no frame begins or ends with them, and
    /// nothing becomes too long.
    fn undeciding_bytes(&self, next: &[u8]) -> usize {
        let has_own_steps = self.ending.is_some()
            || self.frame.is_some()
            || self.candidate.is_some_and(|candidate| candidate.is_seven_bit);
        if has_own_steps {
            return 0;
        }
        let length = self.buffer.len();
        let room = match self.candidate {
            Some(candidate) => (candidate.start + MAX_TELEGRAM_BYTES).saturating_sub(length),
            None => (2 * MAX_TELEGRAM_BYTES - 1).saturating_sub(length),
        };
        let before = self
            .buffer
            .get(length.saturating_sub(encrypted_frame::HEAD_BYTES)..);
        if before.is_none_or(|before| before.contains(&encrypted_frame::FIRST_BYTE)) {
            return 0;
        }
        let next = next.get(..room.min(LOOK_AHEAD_BYTES)).unwrap_or(next);
        let run = memchr3(b'!', b'/', seven_bit::START, next).unwrap_or(next.len());
        let run = next.get(..run).unwrap_or_default();
        memchr(encrypted_frame::FIRST_BYTE, run).unwrap_or(run.len())
    }

    /// Takes bytes that decide nothing: what [`Assembler::step`] does with each of them.
    fn step_over(&mut self, run: &[u8]) {
        self.buffer.extend_from_slice(run);
        if let Some(&last) = run.last() {
            self.previous = last;
        }
        if let Some(candidate) = &mut self.candidate {
            candidate.register = crc16::ARC.forwards_all(candidate.register, run);
        }
    }

    fn step(&mut self, byte: u8, found: &mut Vec<Found>) {
        let mut ends_with_it = false;
        if let Some(ending) = &mut self.ending {
            match ending.step(byte) {
                Step::GoesOn => {}
                Step::EndsWithIt => ends_with_it = true,
                Step::EndsBeforeIt => self.finish_ending(found),
                Step::IsNoEnd if self.is_proven(byte) => self.finish_ending(found),
                Step::IsNoEnd => {
                    self.ending = None;
                    if let Some(candidate) = &mut self.candidate {
                        candidate.is_malformed = true;
                    }
                }
            }
        }
        let is_line_start = self.is_line_start();
        let before = std::mem::replace(&mut self.previous, byte);
        self.buffer.push(byte);
        if let Some(candidate) = &mut self.candidate {
            let character = if candidate.is_seven_bit {
                seven_bit::without_parity(byte)
            } else {
                byte
            };
            candidate.register = crc16::ARC.forwards(candidate.register, character);
        }
        if ends_with_it {
            self.finish_ending(found);
        } else if is_line_start && self.ending.is_none() {
            match byte {
                b'!' => {
                    let register = self
                        .candidate
                        .map(|candidate| candidate.register)
                        .unwrap_or_default();
                    self.ending = Some(Ending::new(self.buffer.len() - 1, register, before == 0x8D));
                }
                b'/' => self.restart(false, found),
                seven_bit::START => self.restart(true, found),
                _ => {}
            }
        }
        self.watch_frames(byte, found);
        self.keep_bounds(found);
    }

    fn is_line_start(&self) -> bool {
        // In an eight-bit identification line 0x8D is a byte like any other.
        identification::is_line_end(self.previous)
            || self.previous == 0x8D && self.candidate.is_none_or(|candidate| candidate.is_seven_bit)
    }

    /// The last byte of the buffer is `/` at the start of a line.
    fn restart(&mut self, is_seven_bit: bool, found: &mut Vec<Found>) {
        if self
            .frame
            .is_some_and(|frame| frame.held_for.is_some() && self.buffer.len() > frame.end)
        {
            self.release_frame(found);
        }
        if self.frame.is_none() {
            self.discard(self.buffer.len() - 1, None, found);
            self.stretches.close(found);
        }
        self.candidate = Some(Candidate {
            start: self.buffer.len() - 1,
            is_seven_bit,
            register: crc16::ARC.forwards(crc16::ARC.start(), b'/'),
            is_malformed: false,
        });
    }

    /// Whether the ending is whole although neither a line end nor `/` follows: noise struck the line end
    /// of a telegram whose CRC is right.
    fn is_proven(&self, next: u8) -> bool {
        let (Some(ending), Some(candidate)) = (self.ending, self.candidate) else {
            return false;
        };
        ending.digits == 4
            && ending.register == ending.crc
            && ending.fits(candidate.is_seven_bit)
            && !next.is_ascii_hexdigit()
    }

    /// The buffer ends with what the ending has come to: accepts the telegram or rejects it.
    fn finish_ending(&mut self, found: &mut Vec<Found>) {
        let Some(mut ending) = self.ending.take() else {
            return;
        };
        if let Some(frame) = self.frame {
            match self
                .proven_start(&ending)
                .or_else(|| self.certain_text_start(&ending))
            {
                Some((start, check)) => {
                    let is_behind_held = frame.held_for.is_some() && start >= frame.end;
                    let released = if is_behind_held {
                        self.release_frame(found)
                    } else {
                        0
                    };
                    return self.accept(start - released, check, found);
                }
                None if frame.held_for.is_some() => {
                    ending.exclamation_mark =
                        ending.exclamation_mark.saturating_sub(self.release_frame(found));
                }
                // The `!` is a byte of the frame like any other.
                None => {
                    self.searched = ending.exclamation_mark + 1;
                    self.candidate = None;
                    return;
                }
            }
        }
        match self.judge(&ending) {
            Ok((start, check)) => self.accept(start, check, found),
            Err(rejection) => {
                if let Some((start, reason)) = rejection {
                    // What came before is a telegram of its own, cut off there, or noise.
                    self.discard(start, None, found);
                    self.candidate = None;
                    self.stretches.begin(reason, found);
                }
                self.discard(self.buffer.len(), None, found);
                self.stretches.close(found);
                self.previous = b'\n';
            }
        }
    }

    /// The buffer from `start` on is a telegram.
    fn accept(&mut self, start: usize, check: Check, found: &mut Vec<Found>) {
        self.discard(start, None, found);
        self.stretches.close(found);
        let bytes = std::mem::take(&mut self.buffer);
        let position = self.stretches.position();
        self.stretches.skip(bytes.len());
        found.push(Found::Telegram(Telegram {
            position,
            bytes,
            check,
        }));
        self.candidate = None;
        self.frame = None;
        self.searched = 0;
        self.previous = b'\n';
    }

    /// Gives up what has become too long to be decided.
    fn keep_bounds(&mut self, found: &mut Vec<Found>) {
        let length = self.buffer.len();
        if let Some(frame) = self.frame {
            if frame
                .held_for
                .is_some_and(|unfinished| length - unfinished.start() > MAX_TELEGRAM_BYTES)
            {
                self.release_frame(found);
            } else if self.candidate.is_some_and(|candidate| {
                candidate.start < frame.start && length - candidate.start > MAX_TELEGRAM_BYTES
            }) {
                self.discard(frame.start, Some(Reason::TooLong), found);
            }
        } else if let Some(candidate) = self.candidate {
            if length - candidate.start > MAX_TELEGRAM_BYTES {
                self.discard(candidate.start, None, found);
                self.candidate = None;
                self.stretches.begin(Reason::TooLong, found);
            }
        } else if length >= 2 * MAX_TELEGRAM_BYTES {
            self.discard(MAX_TELEGRAM_BYTES, None, found);
            if self
                .stretches
                .open()
                .is_some_and(|(length, reason)| length >= longest_stretch_bytes(reason))
            {
                self.stretches.close(found);
            }
        }
    }

    /// Moves the first `end` bytes of the buffer to the rejected stretches, and gives by how much offsets
    /// in the buffer have become smaller. A telegram that began there is rejected for this reason, a frame
    /// as truncated.
    fn discard(&mut self, end: usize, reason: Option<Reason>, found: &mut Vec<Found>) -> usize {
        let mut cuts = [None, None];
        if let Some(candidate) = self.candidate.take_if(|candidate| candidate.start < end) {
            let own = if candidate.is_malformed {
                Reason::MalformedCrc
            } else {
                Reason::Truncated
            };
            cuts[0] = Some((candidate.start, reason.unwrap_or(own)));
        }
        if let Some(frame) = self.frame.take_if(|frame| frame.start < end) {
            cuts[1] = Some((frame.start, Reason::Truncated));
        }
        if cuts[0].is_some()
            && cuts[1].is_some_and(|(start, _)| cuts[0].is_some_and(|(other, _)| start < other))
        {
            cuts.swap(0, 1);
        }
        let mut rest = self.buffer.get(..end).unwrap_or_default();
        let mut at = 0;
        for (start, reason) in cuts.into_iter().flatten() {
            let (before, behind) = rest.split_at(start - at);
            self.stretches.extend(before, found);
            self.stretches.begin(reason, found);
            (rest, at) = (behind, start);
        }
        self.stretches.extend(rest, found);
        self.buffer.drain(..end);
        self.searched = self.searched.saturating_sub(end);
        if let Some(candidate) = &mut self.candidate {
            candidate.start -= end;
        }
        if let Some(frame) = &mut self.frame {
            frame.start -= end;
            frame.end -= end;
        }
        self.ending = self.ending.and_then(|ending| {
            let exclamation_mark = ending.exclamation_mark.checked_sub(end)?;
            Some(Ending {
                exclamation_mark,
                ..ending
            })
        });
        end
    }

    /// Decides what is pending, since nothing follows.
    fn abandon(&mut self, found: &mut Vec<Found>) {
        if self.frame.is_some_and(|frame| frame.held_for.is_some()) {
            self.release_frame(found);
        }
        self.discard(self.buffer.len(), None, found);
        self.stretches.close(found);
        self.ending = None;
        self.previous = b'\n';
    }
}

/// Where a stretch is handed out although it may go on, in bytes: endless noise must be seen.
fn longest_stretch_bytes(reason: Reason) -> u64 {
    match reason {
        Reason::TooLong => 64 * MAX_TELEGRAM_BYTES as u64,
        _ => MAX_TELEGRAM_BYTES as u64,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What decides something, what only looks like it, and runs that come near to the bounds.
    fn piece() -> impl Strategy<Value = Vec<u8>> {
        prop_oneof![
            Just(b"/ISK5\\2M550E-1012\r\n\r\n".to_vec()),
            Just(b"1-0:1.7.0(00.202*kW)\r\n".to_vec()),
            Just(b"0-0:96.13.0(a/b!c)\r\n".to_vec()),
            Just(b"!0000\r\n".to_vec()),
            Just(b"!\r\n".to_vec()),
            Just(b"\xdb\x08SYSTEMID\x82\x00\x30\x30".to_vec()),
            Just(b"\xdb\x08SYSTEM".to_vec()),
            Just(b"\xaf\xc9\xd3\xcb5\r\n".to_vec()),
            prop::collection::vec(any::<u8>(), 0..40),
            prop::sample::select(vec![
                13,
                14,
                255,
                256,
                257,
                MAX_TELEGRAM_BYTES - 30,
                MAX_TELEGRAM_BYTES
            ])
            .prop_map(|length| vec![b'0'; length]),
        ]
    }

    /// What has been found and what is pending, after these bytes.
    #[derive(Debug, PartialEq)]
    struct State {
        found: Vec<Found>,
        buffer: Vec<u8>,
        previous: u8,
        candidate: Option<(usize, u16)>,
    }

    fn state(bytes: &[u8], take: fn(&mut Assembler, &[u8], &mut Vec<Found>)) -> State {
        let mut assembler = Assembler::new(CrcPolicy::Auto, BTreeSet::new());
        let mut found = Vec::new();
        take(&mut assembler, bytes, &mut found);
        State {
            found,
            buffer: assembler.buffer,
            previous: assembler.previous,
            candidate: (assembler.candidate).map(|candidate| (candidate.start, candidate.register)),
        }
    }

    fn in_steps(assembler: &mut Assembler, bytes: &[u8], found: &mut Vec<Found>) {
        for &byte in bytes {
            assembler.step(byte, found);
        }
    }

    proptest! {
        #[test]
        fn a_run_is_the_same_as_a_step_for_each_of_its_bytes(pieces in prop::collection::vec(piece(), 1..12)) {
            let bytes = pieces.concat();
            prop_assert_eq!(state(&bytes, Assembler::push), state(&bytes, in_steps));
        }
    }

    #[test]
    fn a_run_goes_no_further_than_to_where_something_becomes_too_long() {
        for begin in [b"".as_slice(), b"/ISK5\r\n"] {
            for bound in [MAX_TELEGRAM_BYTES, 2 * MAX_TELEGRAM_BYTES] {
                for length in bound - 3..bound + 4 {
                    let bytes = [begin, &vec![b'0'; length - begin.len()]].concat();
                    let (run, steps) = (state(&bytes, Assembler::push), state(&bytes, in_steps));
                    assert!(run == steps, "{length} bytes after {} of a start", begin.len());
                }
            }
        }
    }
}

//! Where the telegram that ends here begins, and how that is known; else why it is rejected.

use super::ending::Ending;
use super::{Assembler, Check, MAX_TELEGRAM_BYTES, Reason};
use crate::config::CrcPolicy;
use crate::telegram::{crc16, identification, seven_bit};

/// What is shorter is not believed to be a telegram inside a frame by being text alone: ciphertext holds
/// short stretches of text, but none of this length.
const MIN_CERTAIN_BYTES: usize = 64;

/// How many meters are remembered as sending a CRC.
const MAX_METERS: usize = 256;

impl Assembler {
    /// Where the telegram that ends here begins, and how that is known; else where it began, if it did at
    /// all, and why it is rejected.
    pub(super) fn judge(&mut self, ending: &Ending) -> Result<(usize, Check), Option<(usize, Reason)>> {
        if ending.digits > 0 && self.policy != CrcPolicy::Off {
            if let Some(proven) = self.proven_start(ending) {
                return Ok(proven);
            }
            let start = self
                .candidate
                .map(|candidate| candidate.start)
                .or_else(|| self.last_start(ending));
            return Err(start.map(|start| (start, self.reason_of_wrong_crc(start, ending))));
        }
        let start = self.last_start(ending).ok_or(None)?;
        if !self.fits_bound(start) {
            return Err(Some((start, Reason::TooLong)));
        }
        if self.policy == CrcPolicy::Off {
            return Ok((start, Check::None));
        }
        let telegram = self.buffer.get(start..).unwrap_or_default();
        self.examined += telegram.len() as u64;
        let reason = if self.policy == CrcPolicy::Required || self.has_sent_crc(telegram) {
            Some(Reason::MissingCrc)
        } else {
            reason_of_damaged_text(telegram)
        };
        reason.map_or(Ok((start, Check::None)), |reason| Err(Some((start, reason))))
    }

    pub(super) fn fits_bound(&self, start: usize) -> bool {
        self.buffer.len() - start <= MAX_TELEGRAM_BYTES
    }

    pub(super) fn reason_of_wrong_crc(&mut self, start: usize, ending: &Ending) -> Reason {
        let telegram = self
            .buffer
            .get(start..=ending.exclamation_mark)
            .unwrap_or_default();
        self.examined += telegram.len() as u64;
        let is_seven_bit = seven_bit::is_seven_bit(telegram);
        let odd = telegram
            .iter()
            .filter(|byte| !seven_bit::has_even_parity(**byte))
            .count();
        if !self.fits_bound(start) {
            Reason::TooLong
        } else if is_seven_bit && odd > 0 {
            Reason::WrongParity { characters: odd }
        } else if ending.fits(is_seven_bit) {
            let computed = crc16::ARC.of(&seven_bit::stripped(telegram));
            Reason::WrongCrc {
                given: ending.crc,
                computed,
            }
        } else {
            Reason::MalformedCrc
        }
    }

    pub(super) fn has_sent_crc(&self, telegram: &[u8]) -> bool {
        self.meters_with_crc.contains(&identification::key(telegram))
    }

    /// Where the telegram begins whose CRC is the one given, and which CRC that is.
    pub(super) fn proven_start(&mut self, ending: &Ending) -> Option<(usize, Check)> {
        if ending.digits == 0 {
            return None;
        }
        let by_arc = self
            .candidate_by_arc(ending)
            .or_else(|| self.start_by_crc(&crc16::ARC, ending));
        if let Some(start) = by_arc.filter(|&start| self.fits_bound(start)) {
            let key = identification::key(self.buffer.get(start..).unwrap_or_default());
            return self.x25_meter.sent_arc(&key).then(|| {
                self.remember(key);
                (start, Check::Arc)
            });
        }
        let start = self
            .start_by_crc(&crc16::X25, ending)
            .filter(|&start| self.fits_bound(start));
        match (start, self.candidate) {
            (Some(start), _) => {
                let key = identification::key(self.buffer.get(start..).unwrap_or_default());
                self.x25_meter.sent_x25(&key).then(|| {
                    self.remember(key);
                    (start, Check::X25)
                })
            }
            (None, Some(candidate)) => {
                let key = identification::key(self.buffer.get(candidate.start..).unwrap_or_default());
                self.x25_meter.sent_neither(&key);
                None
            }
            (None, None) => None,
        }
    }

    pub(super) fn candidate_by_arc(&mut self, ending: &Ending) -> Option<usize> {
        let candidate = self.candidate?;
        if ending.register != ending.crc || !ending.fits(candidate.is_seven_bit) {
            return None;
        }
        let telegram = self.buffer.get(candidate.start..=ending.exclamation_mark)?;
        self.examined += telegram.len() as u64;
        let is_whole =
            !candidate.is_seven_bit || telegram.iter().all(|byte| seven_bit::has_even_parity(*byte));
        is_whole.then_some(candidate.start)
    }

    /// Runs the CRC given backwards over everything undecided.
    pub(super) fn start_by_crc(&mut self, crc: &crc16::Crc16, ending: &Ending) -> Option<usize> {
        let undecided = self.buffer.get(self.searched..=ending.exclamation_mark)?;
        for is_seven_bit in [false, true] {
            if !ending.fits(is_seven_bit) {
                continue;
            }
            let mut register = crc.register_of(ending.crc);
            for (at, &byte) in undecided.iter().enumerate().rev() {
                if is_seven_bit && !seven_bit::has_even_parity(byte) {
                    break;
                }
                self.examined += 1;
                let character = if is_seven_bit {
                    seven_bit::without_parity(byte)
                } else {
                    byte
                };
                register = crc.backwards(register, character);
                let is_start = byte == if is_seven_bit { seven_bit::START } else { b'/' };
                let start = self.searched + at;
                if is_start
                    && register == crc.start()
                    && (self.candidate.is_some_and(|candidate| candidate.start == start)
                        || identification::looks_like_start(undecided.get(at..).unwrap_or_default()))
                {
                    return Some(start);
                }
            }
        }
        None
    }

    /// Where the telegram begins by its looks: at the last certain identification line, else where a line
    /// began with `/`.
    pub(super) fn last_start(&mut self, ending: &Ending) -> Option<usize> {
        let lowest = self
            .candidate
            .map_or(self.searched, |candidate| candidate.start + 1);
        let undecided = self
            .buffer
            .get(lowest..ending.exclamation_mark)
            .unwrap_or_default();
        self.examined += undecided.len() as u64;
        let certain = (0..undecided.len())
            .rev()
            .find(|&at| {
                undecided.get(at..).is_some_and(|bytes| {
                    identification::is_certain_start(bytes) && ending.fits(seven_bit::is_seven_bit(bytes))
                })
            })
            .map(|at| lowest + at);
        certain.or(self.candidate.map(|candidate| candidate.start))
    }

    /// A telegram without CRC inside a pending frame: it must begin with a certain identification line and
    /// be text throughout, which a stretch of ciphertext is not.
    pub(super) fn certain_text_start(&mut self, ending: &Ending) -> Option<(usize, Check)> {
        if ending.digits > 0 && self.policy != CrcPolicy::Off {
            return None;
        }
        let start = self.last_start(ending)?;
        let telegram = self.buffer.get(start..)?;
        self.examined += telegram.len() as u64;
        let is_certain = telegram.len() >= MIN_CERTAIN_BYTES
            && identification::is_certain_start(telegram)
            && seven_bit::stripped(telegram)
                .iter()
                .all(|&byte| identification::is_text(byte))
            && reason_of_damaged_text(telegram).is_none();
        let is_taken =
            self.policy == CrcPolicy::Off || self.policy == CrcPolicy::Auto && !self.has_sent_crc(telegram);
        (is_certain && is_taken && self.fits_bound(start)).then_some((start, Check::None))
    }

    pub(super) fn remember(&mut self, key: Vec<u8>) {
        if self.meters_with_crc.len() < MAX_METERS {
            self.meters_with_crc.insert(key);
        }
    }
}

/// What shows without a CRC that a telegram is damaged.
fn reason_of_damaged_text(telegram: &[u8]) -> Option<Reason> {
    if seven_bit::is_seven_bit(telegram) {
        let characters = telegram
            .iter()
            .filter(|byte| !seven_bit::has_even_parity(**byte))
            .count();
        if characters > 0 {
            return Some(Reason::WrongParity { characters });
        }
    }
    let characters = seven_bit::stripped(telegram);
    let first_line = characters
        .iter()
        .take_while(|byte| !identification::is_line_end(**byte))
        .count();
    let (offset, &byte) = characters
        .iter()
        .enumerate()
        .skip(first_line)
        .find(|(_, byte)| !identification::is_text(**byte))?;
    Some(Reason::NotText { byte, offset })
}

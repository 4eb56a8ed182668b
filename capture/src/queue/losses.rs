//! What was lost and which sequences were left out: a list beside the database, so that it outlives
//! the database that lost them.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use shared::wire::Loss;

/// Losses that are remembered; older ones make room.
pub const KEPT: usize = 100;

/// The list of losses and its file.
#[derive(Debug)]
pub struct Losses {
    path: PathBuf,
    list: Vec<Loss>,
    is_unsaved: bool,
}

impl Losses {
    /// Reads the list. Lines that make no sense are skipped: a damaged list must not stop capture.
    pub fn open(path: &Path) -> Self {
        let text = fs::read(path).unwrap_or_default();
        let mut list: Vec<Loss> = text
            .split(|&byte| byte == b'\n')
            .filter_map(|line| serde_json::from_slice::<Loss>(line).ok())
            .filter(|loss| loss.first_sequence <= loss.last_sequence)
            .collect();
        list.drain(..list.len().saturating_sub(KEPT));
        Self {
            path: path.to_owned(),
            list,
            is_unsaved: false,
        }
    }

    /// The losses, oldest first.
    pub fn list(&self) -> &[Loss] {
        &self.list
    }

    /// Notes a loss. One that goes on where the newest of the same cause ended extends that.
    pub fn add(&mut self, loss: Loss) {
        self.is_unsaved = true;
        if let Some(newest) = self.list.last_mut() {
            if newest.cause == loss.cause && newest.last_sequence.checked_add(1) == Some(loss.first_sequence)
            {
                newest.last_sequence = loss.last_sequence;
                newest.at_us = loss.at_us;
                return;
            }
        }
        self.list.push(loss);
        let surplus = self.list.len().saturating_sub(KEPT);
        self.list.drain(..surplus);
    }

    /// Whether every sequence of this stretch is in the list.
    pub fn covers(&self, first: u64, last: u64) -> bool {
        let mut stretches: Vec<_> = self
            .list
            .iter()
            .map(|loss| (loss.first_sequence, loss.last_sequence))
            .collect();
        stretches.sort_unstable();
        let mut missing = first;
        for (from, to) in stretches {
            if from <= missing && to >= missing {
                let Some(next) = to.checked_add(1) else {
                    return true;
                };
                missing = next;
            }
        }
        missing > last
    }

    /// Takes a stretch out of the list: its records have come back.
    pub fn found_again(&mut self, first: u64, last: u64) {
        let mut list = Vec::with_capacity(self.list.len());
        for loss in self.list.drain(..) {
            if loss.last_sequence < first || loss.first_sequence > last {
                list.push(loss);
                continue;
            }
            self.is_unsaved = true;
            if loss.first_sequence < first {
                list.push(Loss {
                    last_sequence: first - 1,
                    ..loss.clone()
                });
            }
            if loss.last_sequence > last {
                list.push(Loss {
                    first_sequence: last + 1,
                    ..loss
                });
            }
        }
        self.list = list;
    }

    /// Writes the list durably where it has changed since.
    ///
    /// # Errors
    /// Where it cannot be written; it is tried again with the next call.
    pub fn save(&mut self) -> io::Result<()> {
        if !self.is_unsaved {
            return Ok(());
        }
        let mut text = Vec::new();
        for loss in &self.list {
            serde_json::to_writer(&mut text, loss)?;
            text.push(b'\n');
        }
        super::layout::replace_file(&self.path, &text)?;
        self.is_unsaved = false;
        Ok(())
    }
}

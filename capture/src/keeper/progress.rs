//! How far the file that capture reads has been taken, noted around each flush.
//!
//! Before a flush it is noted that these telegrams are on their way, after it that they are taken (see
//! [`Taken`]); so a capture that is killed between the two finds out, and takes none of them twice.

use std::io;

use crate::import::chain::Chain;
use crate::import::taken::{Part, Taken};

/// How far the file has been taken.
#[derive(Debug)]
pub(super) struct Progress {
    source: String,
    durable: Chain,
    /// With what has been appended and waits for its flush.
    appended: Chain,
    /// The first telegram that waits for its flush; empty where none does.
    first_telegram: Vec<u8>,
    held: u64,
    /// What was noted last, behind which sequence: not noted a second time while flushes fail.
    noted: Option<(Chain, u64)>,
}

impl Progress {
    /// Of the file with this name, of which `taken` has been taken before.
    pub(super) fn new(source: String, taken: Chain) -> Self {
        Self {
            source,
            durable: taken,
            appended: taken,
            first_telegram: Vec::new(),
            held: 0,
            noted: None,
        }
    }

    /// The file's next telegram waits for its flush.
    pub(super) fn appended(&mut self, telegram: &[u8]) {
        if self.first_telegram.is_empty() {
            self.first_telegram = telegram.to_vec();
        }
        self.appended.push(None, telegram);
    }

    /// The file's next telegram is in the queue already.
    pub(super) fn held(&mut self, telegram: &[u8]) {
        self.held += 1;
        self.appended.push(None, telegram);
    }

    /// Its name.
    pub(super) fn name(&self) -> &str {
        &self.source
    }

    /// How many of its telegrams were in the queue already.
    pub(super) fn held_count(&self) -> u64 {
        self.held
    }

    /// Notes that what waits comes next behind `head`. Where an import's part waits before it, not yet.
    ///
    /// # Errors
    ///
    /// Where that cannot be written.
    pub(super) fn note(&mut self, taken: &mut Taken, head: u64) -> io::Result<()> {
        let is_noted = self.noted == Some((self.appended, head));
        let waits_behind_import = taken.is_unsettled() && self.noted.is_none();
        if self.appended == self.durable || is_noted || waits_behind_import {
            return Ok(());
        }
        let part = Part {
            import: IMPORT,
            source: &self.source,
            offset: self.durable.telegrams,
            before: self.durable.digest,
            count: self.appended.telegrams - self.durable.telegrams,
            after: self.appended.digest,
        };
        taken.begin(&part, head, &self.first_telegram)?;
        self.noted = Some((self.appended, head));
        Ok(())
    }

    /// Nothing waits any more; notes what could not be noted before.
    ///
    /// # Errors
    ///
    /// Where that cannot be written.
    pub(super) fn flushed(&mut self, taken: &mut Taken, head: u64) -> io::Result<()> {
        let is_noted = self.noted.is_some_and(|(noted, _)| noted == self.appended);
        let settled = taken.settle(head).and_then(|()| match is_noted {
            true => Ok(()),
            false => self.note(taken, head).and_then(|()| taken.settle(head)),
        });
        self.durable = self.appended;
        self.first_telegram.clear();
        self.noted = None;
        settled
    }
}

/// Stands for capture's own file where a session's number stands for an import.
pub(super) const IMPORT: u64 = u64::MAX;

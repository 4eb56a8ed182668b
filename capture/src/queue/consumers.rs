//! Consumers: named readers, and how far each has come.
//!
//! A cursor is in two places, the database and the mark, and the higher one counts at the next opening:
//! so a new database does not make a consumer skip, and neither place can move it back.

use std::collections::BTreeMap;

use shared::wire::Start;

use super::mark::{MAX_CONSUMER_NAME_BYTES, MAX_CONSUMERS};
use super::store::Change;
use super::{ConsumerError, FlushError, Queue};

impl Queue {
    /// Registers a consumer durably; one that is there already stays where it is. Returns its cursor.
    ///
    /// # Errors
    /// Where the name is impossible, there are too many, or it cannot be made durable.
    pub fn register(&mut self, name: &str, start: Start) -> Result<u64, ConsumerError> {
        if let Some(&cursor) = self.cursors.get(name) {
            return Ok(cursor);
        }
        if name.is_empty() || name.len() > MAX_CONSUMER_NAME_BYTES || name.chars().any(char::is_control) {
            return Err(ConsumerError::Name {
                name: name.to_owned(),
            });
        }
        if self.cursors.len() >= MAX_CONSUMERS {
            return Err(ConsumerError::TooMany);
        }
        let cursor = match start {
            Start::Oldest => self
                .shared
                .view()
                .index
                .first()
                .map_or(self.mark.head, |tail| tail - 1),
            Start::Newest => self.mark.head,
        };
        self.recover()?;
        self.write(&Change {
            cursors: vec![(name.to_owned(), cursor)],
            ..Change::default()
        })?;
        self.step("registration written");
        self.cursors.insert(name.to_owned(), cursor);
        self.mark.cursors = self.cursors.clone();
        self.write_mark_synced()?;
        self.step("registration marked");
        Ok(cursor)
    }

    /// Moves a consumer's cursor; durable with the next flush. One that is not ahead changes nothing.
    ///
    /// # Errors
    /// Where there is no such consumer, or the sequence is beyond the head.
    pub fn commit(&mut self, name: &str, sequence: u64) -> Result<(), ConsumerError> {
        let head = self.mark.head;
        let Some(cursor) = self.cursors.get_mut(name) else {
            return Err(ConsumerError::Unknown {
                name: name.to_owned(),
            });
        };
        if sequence > head {
            return Err(ConsumerError::BeyondHead { sequence, head });
        }
        if sequence > *cursor {
            *cursor = sequence;
            self.dirty_cursors.insert(name.to_owned(), sequence);
        }
        Ok(())
    }

    /// Removes a consumer durably; false where there was none.
    ///
    /// # Errors
    /// Where it cannot be made durable; the consumer is then still there.
    pub fn forget(&mut self, name: &str) -> Result<bool, ConsumerError> {
        if !self.cursors.contains_key(name) {
            return Ok(false);
        }
        self.recover()?;
        // The mark first: a cursor in either place counts at the next opening.
        let cursor = self.mark.cursors.remove(name);
        if let Err(error) = self.write_mark_synced() {
            self.mark
                .cursors
                .extend(cursor.map(|cursor| (name.to_owned(), cursor)));
            return Err(error.into());
        }
        self.step("forgetting marked");
        self.write(&Change {
            forget: vec![name.to_owned()],
            ..Change::default()
        })?;
        self.cursors.remove(name);
        self.dirty_cursors.remove(name);
        self.mark_file
            .write(&mut self.mark)
            .map_err(|source| FlushError::Mark {
                path: self.layout.mark(),
                source,
            })?;
        Ok(true)
    }

    /// The consumers' cursors.
    pub fn consumers(&self) -> &BTreeMap<String, u64> {
        &self.cursors
    }
}

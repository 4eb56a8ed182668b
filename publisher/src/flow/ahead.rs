//! Records that have been read and not taken in yet, batch by batch as they came.

use std::collections::VecDeque;

use shared::record::Record;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Ahead {
    /// None of them is empty.
    batches: VecDeque<VecDeque<Record>>,
}

impl Ahead {
    /// The next batch.
    pub(super) fn push(&mut self, records: Vec<Record>) {
        if !records.is_empty() {
            self.batches.push_back(records.into());
        }
    }

    /// The record to be taken in next.
    pub(super) fn first(&self) -> Option<&Record> {
        self.batches.front()?.front()
    }

    /// That record has been taken in.
    pub(super) fn pass(&mut self) {
        if let Some(batch) = self.batches.front_mut() {
            batch.pop_front();
            if batch.is_empty() {
                self.batches.pop_front();
            }
        }
    }

    /// How many batches there are of which not all has been taken in.
    pub(super) fn batches(&self) -> usize {
        self.batches.len()
    }

    /// Whether all has been taken in.
    pub(super) fn is_empty(&self) -> bool {
        self.batches.is_empty()
    }

    /// All of them, in order.
    pub(super) fn into_records(self) -> impl Iterator<Item = Record> {
        self.batches.into_iter().flatten()
    }
}

//! How much of a file a queue has taken already: the longest beginning of it that is remembered.

use std::collections::BTreeSet;

use shared::wire::{Digest, ImportedFile};

use super::chain::Chain;

/// A search for the longest beginning, telegram by telegram.
#[derive(Debug)]
pub struct Beginning {
    known: BTreeSet<(u64, Digest)>,
    whole: Chain,
    longest: Chain,
}

impl Beginning {
    /// `files` are those that are remembered.
    pub fn new(files: Vec<ImportedFile>) -> Self {
        Self {
            known: files
                .into_iter()
                .map(|file| (file.telegrams, file.digest))
                .collect(),
            whole: Chain::default(),
            longest: Chain::default(),
        }
    }

    /// The file's next telegram.
    pub fn push(&mut self, stated_at_us: Option<i64>, telegram: &[u8]) {
        self.whole.push(stated_at_us, telegram);
        if self.known.contains(&(self.whole.telegrams, self.whole.digest)) {
            self.longest = self.whole;
        }
    }

    /// Whether no longer beginning can be found, whatever follows.
    pub fn is_over(&self) -> bool {
        self.known
            .last()
            .is_none_or(|(telegrams, _)| *telegrams <= self.whole.telegrams)
    }

    /// The longest beginning that is known.
    pub fn longest(&self) -> Chain {
        self.longest
    }

    /// All telegrams so far.
    pub fn whole(&self) -> Chain {
        self.whole
    }
}

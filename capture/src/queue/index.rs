//! What blocks there are: one entry a block in memory, so that finding a record, a time or what to
//! trim reads nothing from the disk. Rebuilt from the blocks themselves at every start.

use std::collections::VecDeque;

use super::block::Header;

/// Where in the database a block is: in the journal, or in one of its trees. Each has a tree of its own, so that its
/// leaves stay small: sled writes a leaf anew after every ten changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// A flush's block that waits to be grouped, in the journal where there is room.
    Recent,
    /// Several of them, waiting to be merged.
    Grouped,
    /// A large block.
    Merged,
}

/// What the index knows of a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// Sequence of the first record; the block's key.
    pub first: u64,
    /// Sequence of the last record.
    pub last: u64,
    /// Bytes of the block as stored, header included.
    pub stored_bytes: u32,
    /// Bytes of its body before compression.
    pub raw_bytes: u32,
    /// Greatest capture time in it, in microseconds since 1970.
    pub newest_captured_us: i64,
    /// Silences of the records in it that came from the meter, summed, in milliseconds.
    pub elapsed_ms: u64,
    /// Which opening of the folder wrote it.
    pub generation: u32,
    /// Where it is kept.
    pub place: Place,
}

impl Entry {
    /// The entry of the block with this header.
    pub fn new(header: &Header, place: Place) -> Self {
        Self {
            place,
            first: header.first_sequence,
            last: header.last_sequence(),
            stored_bytes: header.block_bytes() as u32,
            raw_bytes: header.raw_length,
            newest_captured_us: header.newest_captured_us,
            elapsed_ms: header.elapsed_ms,
            generation: header.generation,
        }
    }
}

/// The blocks of a queue, in the order of their first sequences. They never overlap. Nearly all that changes is at
/// either end, so one piece of memory holds them in half of what a tree takes.
#[derive(Debug, Default, Clone)]
pub struct Index {
    entries: VecDeque<Entry>,
    stored_bytes: u64,
}

impl Index {
    /// Whether these blocks are in the order of their sequences and none overlaps another.
    pub fn is_in_order(blocks: &[Entry]) -> bool {
        blocks
            .windows(2)
            .all(|pair| matches!(pair, [before, after] if before.last < after.first))
    }

    /// The index of blocks that are [in order](Self::is_in_order), in the memory that they are in.
    pub fn of_blocks_in_order(mut blocks: Vec<Entry>) -> Self {
        blocks.shrink_to_fit();
        Self {
            stored_bytes: blocks.iter().map(|entry| u64::from(entry.stored_bytes)).sum(),
            entries: blocks.into(),
        }
    }

    /// Adds a block.
    pub fn insert(&mut self, entry: Entry) {
        self.remove(entry.first);
        let place = self.place_from(entry.first);
        self.entries.insert(place, entry);
        self.stored_bytes += u64::from(entry.stored_bytes);
    }

    /// Removes the block that begins with this sequence.
    pub fn remove(&mut self, first: u64) -> Option<Entry> {
        let place = self
            .entries
            .binary_search_by_key(&first, |entry| entry.first)
            .ok()?;
        let entry = self.entries.remove(place)?;
        self.stored_bytes -= u64::from(entry.stored_bytes);
        Some(entry)
    }

    /// The block that holds this sequence, or else the next one after it.
    pub fn at_or_after(&self, sequence: u64) -> Option<Entry> {
        let place = self.entries.partition_point(|entry| entry.last < sequence);
        self.entries.get(place).copied()
    }

    /// The first block that holds a record captured at or after this time.
    pub fn captured_at_or_after(&self, at_us: i64) -> Option<Entry> {
        self.entries
            .iter()
            .find(|entry| entry.newest_captured_us >= at_us)
            .copied()
    }

    /// The blocks in order.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &Entry> {
        self.entries.iter()
    }

    /// The blocks that begin at or after this sequence, in order.
    pub fn from(&self, first: u64) -> impl DoubleEndedIterator<Item = &Entry> {
        self.entries.range(self.place_from(first)..)
    }

    /// Where the first block is that begins at or after this sequence.
    fn place_from(&self, first: u64) -> usize {
        self.entries.partition_point(|entry| entry.first < first)
    }

    /// Lowest sequence there is.
    pub fn first(&self) -> Option<u64> {
        self.entries.front().map(|entry| entry.first)
    }

    /// Highest sequence there is.
    pub fn last(&self) -> Option<u64> {
        self.entries.back().map(|entry| entry.last)
    }

    /// How many blocks there are.
    pub fn block_count(&self) -> usize {
        self.entries.len()
    }

    /// Bytes of all blocks as stored.
    pub fn stored_bytes(&self) -> u64 {
        self.stored_bytes
    }

    /// The stretches of sequences between `from` and the last block that no block holds.
    pub fn holes(&self, from: u64) -> Vec<(u64, u64)> {
        let mut holes = Vec::new();
        let mut expected = from;
        for entry in self.iter() {
            if entry.first > expected {
                holes.push((expected, entry.first - 1));
            }
            expected = expected.max(entry.last + 1);
        }
        holes
    }
}

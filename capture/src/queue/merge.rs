//! Which blocks to merge: a function of the index.
//!
//! A flush makes a block of what has come since the last one, often of a single record, which hardly
//! compresses. So blocks grow in two steps, each kind in a tree of its own, so that sled, which writes a
//! leaf of its tree anew after every ten changes, writes little:
//!
//! 1. [`GROUP_BLOCKS`] blocks of flushes become one *grouped* block, within the flush that comes next:
//!    no further sync. The grouped block is written before its parts are removed, in sled's one log, so
//!    that a cut leaves both at most, and opening prefers the larger;
//! 2. grouped blocks of [`TARGET_RAW_BYTES`] together become one *merged* block, in upkeep, in one
//!    transaction of sled.

use super::block::Header;
use super::index::{Entry, Index, Place};

/// Blocks of flushes that become one.
pub const GROUP_BLOCKS: usize = 8;
/// Bytes before compression that a merged block aims at: some 150 telegrams, which compress to 3.3 KB.
pub const TARGET_RAW_BYTES: usize = 144 * 1024;
/// Most bytes of a block of several records as stored: 17 of them, a full leaf of sled's tree, stay below the quarter of
/// a segment, 64 KiB, that sled keeps in its log. A larger leaf becomes a file of its own, and where that cannot be
/// written sled waits for it for ever.
pub const MAX_STORED_BYTES: usize = 3700;
/// Most records of a block.
pub const MAX_RECORDS: u64 = 2048;

/// The tree for a block of a flush or a group: by its size.
pub fn place(header: &Header) -> Place {
    if is_full(&Entry::new(header, Place::Merged)) {
        Place::Merged
    } else if header.raw_length as usize >= TARGET_RAW_BYTES / 8 {
        Place::Grouped
    } else {
        Place::Recent
    }
}

/// The neighbouring blocks of flushes at the head that are enough to become one; empty where they are not.
pub fn group(index: &Index) -> Vec<Entry> {
    let mut run: Vec<Entry> = Vec::new();
    for entry in index.iter().rev() {
        let follows = run.last().is_none_or(|later| entry.last + 1 == later.first);
        if entry.place != Place::Recent || is_full(entry) || !follows || run.len() >= 4 * GROUP_BLOCKS {
            break;
        }
        run.push(*entry);
    }
    run.reverse();
    if run.len() < GROUP_BLOCKS {
        return Vec::new();
    }
    let mut raw = 0;
    run.into_iter()
        .take_while(|entry| {
            raw += entry.raw_bytes as usize;
            raw <= TARGET_RAW_BYTES / 2
        })
        .collect()
}

/// The oldest run of neighbouring blocks that is worth merging, looking only at those that begin at or
/// after `from`. Empty where there is none.
pub fn candidates(index: &Index, from: u64) -> Vec<Entry> {
    let mut run = Run::default();
    for entry in index.from(from) {
        if is_full(entry) {
            // What is before it can grow no more.
            if run.blocks.len() > 1 {
                return run.blocks;
            }
            run = Run::default();
            continue;
        }
        let follows = run.blocks.last().is_none_or(|last| last.last + 1 == entry.first);
        if !follows || !run.has_room_for(entry) {
            if run.blocks.len() > 1 {
                return run.blocks;
            }
            run = Run::default();
        }
        run.add(entry);
    }
    if run.is_worth_it() { run.blocks } else { Vec::new() }
}

/// How many blocks of a run to merge, where all of them together gave so many bytes; none where they fit, or are two,
/// which fit since neither is full. Neighbours compress alike, so it is known nearly.
pub fn fewer(blocks: usize, stored_bytes: usize) -> Option<usize> {
    let is_too_much = stored_bytes > MAX_STORED_BYTES && blocks > 2;
    is_too_much.then(|| (blocks * MAX_STORED_BYTES / stored_bytes).max(2))
}

/// Where the next search may begin: after the full blocks at the front.
pub fn first_not_full(index: &Index, from: u64) -> u64 {
    index
        .from(from)
        .find(|entry| !is_full(entry))
        .map_or_else(|| index.last().map_or(from, |last| last + 1), |entry| entry.first)
}

/// Whether a block is as large as merging makes them.
pub fn is_full(entry: &Entry) -> bool {
    entry.raw_bytes as usize >= TARGET_RAW_BYTES / 2
        || entry.stored_bytes as usize >= MAX_STORED_BYTES / 2
        || entry.last - entry.first + 1 >= MAX_RECORDS / 2
}

#[derive(Default)]
struct Run {
    blocks: Vec<Entry>,
    raw_bytes: usize,
    records: u64,
}

impl Run {
    fn add(&mut self, entry: &Entry) {
        self.blocks.push(*entry);
        self.raw_bytes += entry.raw_bytes as usize;
        self.records += entry.last - entry.first + 1;
    }

    fn has_room_for(&self, entry: &Entry) -> bool {
        self.raw_bytes + entry.raw_bytes as usize <= TARGET_RAW_BYTES
            && self.records + (entry.last - entry.first + 1) <= MAX_RECORDS
    }

    fn is_worth_it(&self) -> bool {
        self.blocks.len() > 1
            && (self.raw_bytes >= TARGET_RAW_BYTES / 16 * 15 || self.records >= MAX_RECORDS / 16 * 15)
    }
}

//! Which blocks to merge: a function of the index.
//!
//! A flush makes a block of what has come since the last one, often of a single record, which hardly
//! compresses. So blocks grow in two steps, each kind in a place of its own, so that sled, which writes a
//! leaf of its tree anew after every ten changes, writes little:
//!
//! 1. [`GROUP_BLOCKS`] blocks of flushes, or as many as are half a merged one, become one *grouped* block, in upkeep, or,
//!    where that does not come in time, within a flush. It is durable before its parts are removed, so that a cut leaves
//!    both at most, and opening prefers the larger;
//! 2. grouped blocks of [`TARGET_RAW_BYTES`] together become one *merged* block, in upkeep, in one
//!    transaction of sled.

use super::block::Header;
use super::index::{Entry, Index, Place};

/// Blocks of flushes that become one. They wait in the journal, see `store`, which has a page for each.
pub const GROUP_BLOCKS: usize = 64;
/// Bytes before compression that a merged block aims at: some 140 telegrams, which compress to 3 KB. With twice as much
/// a day takes a tenth more on disk, since sled writes the leaves that they are in anew as they grow.
pub const TARGET_RAW_BYTES: usize = 128 * 1024;
/// Most bytes of a block of several records as stored: 17 of them, a full leaf of sled's tree, stay below the 128 KiB
/// that sled keeps in its log. A larger leaf becomes a file of its own, and where that cannot be written sled waits for
/// it for ever.
pub const MAX_STORED_BYTES: usize = 7 * 1024;
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

/// The tree for a block that others have become.
pub fn place_of_group(header: &Header) -> Place {
    match place(header) {
        Place::Recent => Place::Grouped,
        place => place,
    }
}

/// The neighbouring blocks of flushes at the head that are enough to become one, and before them a grouped one that has
/// room for them; empty where they are not enough.
pub fn group(index: &Index) -> Vec<Entry> {
    let mut run: Vec<Entry> = Vec::new();
    let mut before = None;
    for entry in index.iter().rev() {
        let follows = run.last().is_none_or(|later| entry.last + 1 == later.first);
        if entry.place != Place::Recent || is_full(entry) || !follows || run.len() >= 4 * GROUP_BLOCKS {
            before = Some(*entry).filter(|entry| entry.place == Place::Grouped && !is_full(entry) && follows);
            break;
        }
        run.push(*entry);
    }
    let all: usize = run.iter().map(|entry| entry.raw_bytes as usize).sum();
    if run.len() < GROUP_BLOCKS && all < TARGET_RAW_BYTES / 2 {
        return Vec::new();
    }
    run.extend(before);
    run.reverse();
    let mut raw = 0;
    run.into_iter()
        .take_while(|entry| {
            raw += entry.raw_bytes as usize;
            raw <= TARGET_RAW_BYTES
        })
        .collect()
}

/// Blocks of flushes at which the next flush does not wait for upkeep to group them.
pub const LATE_GROUP_BLOCKS: usize = GROUP_BLOCKS + 8;

/// What to merge, and where to look the next time.
#[derive(Debug, PartialEq, Eq)]
pub enum Search {
    /// The oldest run of neighbouring blocks that is worth merging.
    Found(Vec<Entry>),
    /// There is none. Blocks that begin before this sequence never will be in one: what is before a full block or a
    /// hole can grow no more.
    NothingBefore(u64),
}

/// Looks for what to merge among the blocks that begin at or after `from`.
pub fn search(index: &Index, from: u64) -> Search {
    let mut run = Run::default();
    let mut end = from;
    for entry in index.from(from) {
        let follows = run.blocks.last().is_none_or(|last| last.last + 1 == entry.first);
        if is_full(entry) || !follows || !run.has_room_for(entry) {
            if run.blocks.len() > 1 {
                return Search::Found(run.blocks);
            }
            run = Run::default();
        }
        if !is_full(entry) {
            run.add(entry);
        }
        end = entry.last + 1;
    }
    if run.is_worth_it() {
        return Search::Found(run.blocks);
    }
    Search::NothingBefore(run.blocks.first().map_or(end, |block| block.first))
}

/// How many blocks of a run to merge, where all of them together gave so many bytes; none where they fit, or are two,
/// which fit since neither is full. Neighbours compress alike, so it is known nearly.
pub fn fewer(blocks: usize, stored_bytes: usize) -> Option<usize> {
    let is_too_much = stored_bytes > MAX_STORED_BYTES && blocks > 2;
    is_too_much.then(|| (blocks * MAX_STORED_BYTES / stored_bytes).max(2))
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Blocks of these sizes in sixteenths of a full one, each of ten records; a zero is a hole of ten.
    fn index(sixteenths: &[usize]) -> Index {
        let mut index = Index::default();
        for (first, size) in (1..).step_by(10).zip(sixteenths).filter(|(_, size)| **size > 0) {
            index.insert(Entry {
                first,
                last: first + 9,
                stored_bytes: 100,
                raw_bytes: (TARGET_RAW_BYTES / 16 * size) as u32,
                newest_captured_us: 0,
                elapsed_ms: 0,
                generation: 1,
                place: Place::Grouped,
            });
        }
        index
    }

    fn found(sixteenths: &[usize], from: u64) -> Result<Vec<u64>, u64> {
        match search(&index(sixteenths), from) {
            Search::Found(run) => Ok(run.iter().map(|entry| entry.first).collect()),
            Search::NothingBefore(sequence) => Err(sequence),
        }
    }

    #[test]
    fn what_is_found_and_from_where_nothing_was() {
        type Row<'a> = (&'a [usize], u64, Result<Vec<u64>, u64>);
        let table: [Row<'_>; 9] = [
            (&[], 0, Err(0)),
            (&[16, 16, 12], 0, Err(31)),
            // Not worth it yet.
            (&[16, 4, 4], 0, Err(11)),
            (&[16, 4, 4, 7], 0, Ok(vec![11, 21, 31])),
            // What a full block follows grows no more.
            (&[4, 4, 16, 4], 0, Ok(vec![1, 11])),
            (&[4, 16, 16, 4, 4], 0, Err(31)),
            (&[4, 0, 4, 4, 0, 16], 0, Ok(vec![21, 31])),
            (&[4, 0, 4, 0, 16], 0, Err(51)),
            (&[4, 4, 16, 4, 4], 21, Err(31)),
        ];
        for (sixteenths, from, expected) in table {
            assert_eq!(found(sixteenths, from), expected, "{sixteenths:?} from {from}");
        }
    }
}

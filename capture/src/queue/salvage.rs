//! Finding whole blocks in files that sled does not open, or opens without them.
//!
//! sled keeps a value in one piece, in its log or as a file of its own, and leaves what it has replaced
//! where it was until the room is needed. So every file of a database is searched for a block's magic,
//! and what follows counts where its checksum is right. The same records are often found several times,
//! in blocks of a flush and in merged ones: the higher generation counts, then the larger block.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use shared::record::Record;

use super::block::{self, BlockWriter, HEADER_BYTES, MAGIC, MAX_STORED_BYTES};
use super::index::{Entry, Place};
use super::{merge, retention};

const CHUNK_BYTES: usize = 256 * 1024;
const CUT_COMPRESSION_LEVEL: i32 = 3;

/// The whole blocks found in a folder, in order and without overlap.
#[derive(Debug, Default)]
pub struct Salvage {
    files: Vec<PathBuf>,
    found: Vec<FoundBlock>,
    pieces: Vec<Piece>,
}

#[derive(Debug, Clone, Copy)]
struct FoundBlock {
    entry: Entry,
    file: usize,
    offset: u64,
}

impl Salvage {
    /// Searches all files of a folder and of those inside it. Reads each once, and keeps a few dozen bytes
    /// for every block.
    ///
    /// # Errors
    /// Where the folder cannot be read. A file that cannot be read to its end is searched as far as it can.
    pub fn search(folder: &Path) -> io::Result<Self> {
        let mut files = Vec::new();
        list_files(folder, &mut files)?;
        let mut found = Vec::new();
        for (number, path) in files.iter().enumerate() {
            if let Ok(file) = File::open(path) {
                search_file(&file, number, &mut found);
            }
        }
        found.sort_by_key(|block| (block.entry.first, block.entry.last, block.entry.generation));
        found.dedup_by_key(|block| (block.entry.first, block.entry.last, block.entry.generation));
        let entries: Vec<Entry> = found.iter().map(|block| block.entry).collect();
        let pieces = resolve(&entries);
        Ok(Self { files, found, pieces })
    }

    /// How many records there are.
    pub fn records(&self) -> u64 {
        self.pieces.iter().map(|piece| piece.last - piece.first + 1).sum()
    }

    /// Whether nothing was found.
    pub fn is_empty(&self) -> bool {
        self.pieces.is_empty()
    }

    /// The records, in order, some at a time. A block that cannot be read any more is left out.
    pub fn blocks(&self) -> impl Iterator<Item = Vec<Record>> + '_ {
        self.pieces.iter().filter_map(|piece| {
            let (_, mut records) = block::decode(&self.read(self.found.get(piece.position)?)?).ok()?;
            records.retain(|record| (piece.first..=piece.last).contains(&record.sequence));
            Some(records)
        })
    }

    /// Whole blocks with the records from `from` on, in order, each record in one of them.
    pub(super) fn stored_from(&self, from: u64) -> impl Iterator<Item = (Entry, Vec<u8>)> + '_ {
        self.pieces
            .iter()
            .filter(move |piece| piece.last >= from)
            .filter_map(move |piece| {
                let found = self.found.get(piece.position)?;
                let bytes = self.read(found)?;
                let wanted = Piece {
                    first: piece.first.max(from),
                    ..*piece
                };
                if wanted.is_whole(&found.entry) {
                    Some((found.entry, bytes))
                } else {
                    cut(&bytes, wanted.first, wanted.last)
                }
            })
    }

    /// What they cost in a database, in bytes as retention counts them.
    pub(super) fn cost_bytes(&self) -> u64 {
        self.pieces.iter().map(|piece| self.cost_of(piece)).sum()
    }

    /// The first sequence from `from` on, and the last.
    pub(super) fn range(&self, from: u64) -> Option<(u64, u64)> {
        let first = self.pieces.iter().find(|piece| piece.last >= from)?;
        let last = self.pieces.last()?;
        Some((first.first.max(from), last.last))
    }

    fn cost_of(&self, piece: &Piece) -> u64 {
        let found = self.found.get(piece.position);
        found.map_or(0, |found| retention::cost_bytes(&found.entry))
    }

    /// The sequence from which on the blocks cost no more than this, in bytes as retention counts them.
    pub(super) fn newest_within(&self, max_cost_bytes: u64) -> u64 {
        let mut left = max_cost_bytes;
        for piece in self.pieces.iter().rev() {
            let Some(rest) = left.checked_sub(self.cost_of(piece)) else {
                return piece.last + 1;
            };
            left = rest;
        }
        0
    }

    /// The blocks that hold the newest records, as stored, as many as fit in `max_bytes`.
    pub(super) fn newest(&self, max_bytes: usize) -> Vec<(Entry, Vec<u8>)> {
        let mut left = max_bytes;
        let mut newest = Vec::new();
        let mut taken = None;
        for piece in self.pieces.iter().rev() {
            if taken.replace(piece.position) == Some(piece.position) {
                continue;
            }
            let Some(found) = self.found.get(piece.position) else {
                continue;
            };
            let Some(rest) = left.checked_sub(found.entry.stored_bytes as usize) else {
                break;
            };
            left = rest;
            newest.extend(self.read(found).map(|bytes| (found.entry, bytes)));
        }
        newest
    }

    fn read(&self, found: &FoundBlock) -> Option<Vec<u8>> {
        let file = File::open(self.files.get(found.file)?).ok()?;
        let mut bytes = vec![0; found.entry.stored_bytes as usize];
        file.read_exact_at(&mut bytes, found.offset).ok()?;
        block::verify(&bytes).ok()?;
        Some(bytes)
    }
}

/// A part of a block that no better block holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Piece {
    /// Which of the blocks.
    pub(super) position: usize,
    /// First record that is wanted of it.
    pub(super) first: u64,
    /// Last record that is wanted of it.
    pub(super) last: u64,
}

impl Piece {
    /// Whether all of the block is wanted.
    pub(super) fn is_whole(&self, entry: &Entry) -> bool {
        self.first == entry.first && self.last == entry.last
    }
}

/// Which part of which block holds each record, where several hold the same: the higher generation
/// counts, then the larger block, then the earlier in the list. In order of their sequences.
pub(super) fn resolve(entries: &[Entry]) -> Vec<Piece> {
    let mut order: Vec<(usize, &Entry)> = entries.iter().enumerate().collect();
    order.sort_by_key(|(position, entry)| {
        (
            Reverse(entry.generation),
            Reverse(entry.last - entry.first),
            *position,
        )
    });
    // First sequence of each stretch that is held, and its piece.
    let mut held: BTreeMap<u64, Piece> = BTreeMap::new();
    for (position, entry) in order {
        let mut missing = Vec::new();
        let mut next = entry.first;
        let before = held
            .range(..=entry.first)
            .next_back()
            .map_or(entry.first, |(first, _)| *first);
        for (first, piece) in held.range(before..=entry.last) {
            if *first > next {
                missing.push(Piece {
                    position,
                    first: next,
                    last: first - 1,
                });
            }
            next = next.max(piece.last + 1);
        }
        if next <= entry.last {
            missing.push(Piece {
                position,
                first: next,
                last: entry.last,
            });
        }
        held.extend(missing.into_iter().map(|piece| (piece.first, piece)));
    }
    held.into_values().collect()
}

/// Whether [`resolve`] would want nothing of a further block within `range`: blocks that are in order hold all of its
/// records, and come before it.
pub(super) fn is_superseded(further: &Entry, in_order: &[Entry], range: (u64, u64)) -> bool {
    let (first, last) = (further.first.max(range.0), further.last.min(range.1));
    let rank = |entry: &Entry| (entry.generation, entry.last - entry.first);
    let from = in_order.partition_point(|entry| entry.last < first);
    let mut next = first;
    for entry in in_order.iter().skip(from).take_while(|entry| entry.first <= last) {
        if entry.first > next || rank(entry) < rank(further) {
            return false;
        }
        next = entry.last + 1;
    }
    next > last
}

/// A block with only some of a block's records.
pub(super) fn cut(bytes: &[u8], first: u64, last: u64) -> Option<(Entry, Vec<u8>)> {
    let (header, mut records) = block::decode(bytes).ok()?;
    records.retain(|record| (first..=last).contains(&record.sequence));
    let elapsed_ms = records
        .iter()
        .map(|record| record.silence_ms)
        .sum::<u64>()
        .min(header.elapsed_ms);
    let bytes = BlockWriter::new(CUT_COMPRESSION_LEVEL)
        .ok()?
        .encode(&records, elapsed_ms, header.generation)
        .ok()?;
    let header = block::read_header(&bytes).ok()?;
    Some((Entry::new(&header, merge::place(&header)), bytes))
}

fn list_files(folder: &Path, files: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(folder)?.flatten() {
        let Ok(kind) = entry.file_type() else { continue };
        if kind.is_dir() {
            // One folder inside that cannot be read hides nothing of the others.
            let _ = list_files(&entry.path(), files);
        } else if kind.is_file() {
            files.push(entry.path());
        }
    }
    files.sort();
    Ok(())
}

fn search_file(file: &File, number: usize, found: &mut Vec<FoundBlock>) {
    let mut chunk = vec![0; CHUNK_BYTES];
    let mut start = 0u64;
    loop {
        let filled = read_up_to(file, &mut chunk, start);
        let bytes = chunk.get(..filled).unwrap_or_default();
        if filled < MAGIC.len() {
            // An unreadable sector in the middle hides its page only.
            let length = file.metadata().map_or(0, |metadata| metadata.len());
            if start + 4096 < length {
                start = (start / 4096 + 1) * 4096;
                continue;
            }
            return;
        }
        let mut from = 0;
        while let Some(at) = bytes
            .get(from..)
            .and_then(|rest| position(rest, &MAGIC))
            .map(|at| at + from)
        {
            let offset = start + at as u64;
            from = at + 1;
            let mut head = [0; HEADER_BYTES];
            if file.read_exact_at(&mut head, offset).is_err() {
                continue;
            }
            let Ok(header) = block::read_header(&head) else {
                continue;
            };
            if header.stored_length as usize > MAX_STORED_BYTES {
                continue;
            }
            let mut whole = vec![0; header.block_bytes()];
            if file.read_exact_at(&mut whole, offset).is_err() || block::verify(&whole).is_err() {
                continue;
            }
            from = at + header.block_bytes().min(bytes.len() - at);
            found.push(FoundBlock {
                entry: Entry::new(&header, Place::Merged),
                file: number,
                offset,
            });
        }
        // A magic may lie across the end of this chunk.
        start += (filled - (MAGIC.len() - 1)).max(1) as u64;
        if filled < CHUNK_BYTES
            && start
                >= file
                    .metadata()
                    .map_or(0, |metadata| metadata.len())
                    .saturating_sub(3)
        {
            return;
        }
    }
}

fn read_up_to(file: &File, buffer: &mut [u8], offset: u64) -> usize {
    let mut filled = 0;
    while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match file.read_at(rest, offset + filled as u64) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => break,
        }
    }
    filled
}

/// Where `needle` begins in `haystack`: by its last byte, which is rare.
fn position(haystack: &[u8], needle: &[u8; 4]) -> Option<usize> {
    let [first, second, third, last] = *needle;
    let mut from = 3;
    loop {
        let at = from + haystack.get(from..)?.iter().position(|&byte| byte == last)?;
        if haystack.get(at - 3..at) == Some(&[first, second, third]) {
            return Some(at - 3);
        }
        from = at + 1;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn entry(first: u64, length: u64, generation: u32) -> Entry {
        Entry {
            first,
            last: first + length - 1,
            stored_bytes: 100,
            raw_bytes: 100,
            newest_captured_us: 0,
            elapsed_ms: 0,
            generation,
            place: Place::Merged,
        }
    }

    proptest! {
        #[test]
        fn superseded_is_what_gives_no_piece(
            blocks in prop::collection::vec((0..3_u64, 1..6_u64, 1..4_u32), 0..12),
            (first, length, generation) in (1..40_u64, 1..8_u64, 1..4_u32),
            (from, up_to) in (1..30_u64, 10..60_u64),
        ) {
            let mut next = 1;
            let mut entries: Vec<Entry> = Vec::new();
            for (gap, length, generation) in blocks {
                entries.push(entry(next + gap, length, generation));
                next += gap + length;
            }
            let further = entry(first, length, generation);
            let is_superseded = is_superseded(&further, &entries, (from, up_to));
            let position = entries.len();
            entries.push(further);
            let is_wanted = resolve(&entries).iter().any(|piece| {
                piece.position == position && piece.first.max(from) <= piece.last.min(up_to)
            });
            // One that comes first beside others of its kind may give nothing all the same: that costs time alone.
            prop_assert!(!(is_superseded && is_wanted), "{entries:?}");
            if !is_wanted && further.generation == 1 && further.last == further.first {
                prop_assert!(is_superseded, "{entries:?}");
            }
        }
    }
}

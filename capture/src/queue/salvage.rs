//! Finding whole blocks in files that sled does not open, or opens without them.
//!
//! sled keeps a value in one piece, in its log or as a file of its own, and leaves what it has replaced
//! where it was until the room is needed. So every file of a database is searched for a block's magic,
//! and what follows counts where its checksum is right. The same records are often found several times,
//! in blocks of a flush and in merged ones: the higher generation counts, then the larger block.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use shared::record::Record;

use super::block::{self, HEADER_BYTES, MAGIC, MAX_STORED_BYTES};
use super::index::{Entry, Index, Place};

const CHUNK_BYTES: usize = 256 * 1024;

/// The whole blocks found in a folder, in order and without overlap.
#[derive(Debug, Default)]
pub struct Salvage {
    files: Vec<PathBuf>,
    blocks: Vec<FoundBlock>,
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
        let (index, _) = without_overlap(found.iter().map(|block| block.entry).collect());
        found.retain(|block| index.at_or_after(block.entry.first) == Some(block.entry));
        Ok(Self { files, blocks: found })
    }

    /// How many records the blocks hold.
    pub fn records(&self) -> u64 {
        self.blocks
            .iter()
            .map(|block| block.entry.last - block.entry.first + 1)
            .sum()
    }

    /// How many blocks there are.
    pub fn len(&self) -> usize {
        self.blocks.len()
    }

    /// Whether nothing was found.
    pub fn is_empty(&self) -> bool {
        self.blocks.is_empty()
    }

    /// The blocks' records, in order. One that cannot be read any more is left out.
    pub fn blocks(&self) -> impl Iterator<Item = Vec<Record>> + '_ {
        self.blocks
            .iter()
            .filter_map(|found| Some(block::decode(&self.read(found)?).ok()?.1))
    }

    /// The stored bytes of the blocks with records at or after `from`, in order.
    pub(super) fn stored_from(&self, from: u64) -> impl Iterator<Item = (Entry, Vec<u8>)> + '_ {
        self.blocks
            .iter()
            .filter(move |found| found.entry.first >= from)
            .filter_map(|found| Some((found.entry, self.read(found)?)))
    }

    /// The stored bytes of the newest blocks, as many as fit in `max_bytes`.
    pub(super) fn newest(&self, max_bytes: usize) -> Vec<(Entry, Vec<u8>)> {
        let mut left = max_bytes;
        let mut newest = Vec::new();
        for found in self.blocks.iter().rev() {
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

/// The entries without those whose records another holds too: the higher generation counts, then the
/// larger block. Also the places and keys of the others.
pub(super) fn without_overlap(mut entries: Vec<Entry>) -> (Index, Vec<(Place, u64)>) {
    use std::cmp::Reverse;
    entries.sort_by_key(|entry| {
        (
            Reverse(entry.generation),
            Reverse(entry.last - entry.first),
            entry.first,
        )
    });
    let mut index = Index::default();
    let mut superseded = Vec::new();
    for entry in entries {
        match index.at_or_after(entry.first) {
            Some(other) if other.first <= entry.last => {
                // A block found in the same place under the same key is the same one.
                if (other.place, other.first) != (entry.place, entry.first) {
                    superseded.push((entry.place, entry.first));
                }
            }
            _ => index.insert(entry),
        }
    }
    (index, superseded)
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

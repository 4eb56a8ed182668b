//! The journal: the blocks of the last flushes, in a file beside sled's log.
//!
//! For a flush sled writes 4.9 KB and wakes seven threads, which takes more than all else that is done for a telegram.
//! Here a flush is one page, written over one that is no longer needed in a file that keeps its size, so that syncing
//! it has nothing of the file system's to write. Some sixty flushes later their blocks go to sled as one.
//!
//! Invariants:
//!
//! * What is in it is behind all that sled has. A block that is to go to sled behind one of the journal's takes that one
//!   along.
//! * A page is written over only after what it held is durable elsewhere, or is to go.
//! * A block that is appended takes effect as a whole or not at all, with its cursors, and for ever when that returns.
//! * What a larger block has taken the place of may stay until it is written over. So each frame tells the first
//!   sequence that was still wanted when it was written, and an opening passes over what the newest one says is not. What
//!   goes without a larger block in its place is blanked.
//! * An opening hands to sled what is behind all that sled has, and begins with an empty one. So nothing in it is older
//!   than the process, and no cursor of a consumer that was forgotten comes back.
//!
//! # Bytes
//!
//! [`PAGES`] pages of 4096 bytes. A frame begins with a page and ends anywhere in one: a block, see `block`, and behind
//! it, little endian:
//!
//! ```text
//! size field
//!    8 floor     u64, the first sequence that was still wanted
//!    1 count     of the cursors that sled does not have yet
//!    … cursors   count × { length of the name u8, name, cursor u64 }
//!    4 checksum  CRC-32 (IEEE) of the block's checksum, as it is in the block, and of what is between
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::super::block::{self, BlockError, CHECKSUM, Header};
use super::super::layout;
use super::super::mark::{MAX_CONSUMER_NAME_BYTES, MAX_CONSUMERS};
use super::super::merge;
use super::super::own_files;

/// Name of the file in the database's folder.
const NAME: &str = "journal";
const PAGE_BYTES: usize = 4096;
/// For the blocks that are grouped at a time and those that come until they are, in a flush at the latest.
const PAGES: usize = merge::GROUP_BLOCKS + 16;

/// Bytes that a frame has behind its block, at most.
const MAX_TRAILER_BYTES: usize = 8 + 1 + MAX_CONSUMERS * (1 + MAX_CONSUMER_NAME_BYTES + 8) + 4;
/// The largest block that is taken: larger ones are not grouped, and would never leave.
pub(super) const MAX_BLOCK_BYTES: usize = merge::MAX_STORED_BYTES / 2 - 1;

/// A block that an earlier process has left, and the cursors with it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Frame {
    pub(super) header: Header,
    pub(super) block: Vec<u8>,
    /// None before this sequence was wanted when it was written.
    floor: u64,
    pub(super) cursors: BTreeMap<String, u64>,
}

/// The open journal. One thread changes it, others read.
#[derive(Debug)]
pub(super) struct Journal {
    file: File,
    path: PathBuf,
    held: Mutex<Held>,
}

/// What it holds.
#[derive(Debug, Default)]
struct Held {
    /// The blocks by their first sequence, and the pages of each.
    blocks: BTreeMap<u64, (Vec<u8>, Pages)>,
    /// The cursors that sled does not have yet.
    cursors: BTreeMap<String, u64>,
    /// Where the search for free pages begins: those written longest ago.
    next: usize,
}

/// Neighbouring pages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Pages {
    first: usize,
    count: usize,
}

impl Journal {
    /// What an earlier process has left in the database's folder, in the order of its pages.
    ///
    /// # Errors
    /// Where a later version of this program has written it, or it cannot be read.
    pub(super) fn recall(folder: &Path) -> io::Result<Result<Vec<Frame>, BlockError>> {
        let bytes = match fs::read(folder.join(NAME)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Ok(Vec::new())),
            bytes => bytes?,
        };
        let mut frames = Vec::new();
        let mut page = 0;
        while let Some(rest) = bytes.get(page * PAGE_BYTES..).filter(|rest| !rest.is_empty()) {
            page += 1;
            match block::verify(rest) {
                Ok(header) => {
                    let Some((frame, length)) = decode(header, rest) else {
                        continue;
                    };
                    page += length.div_ceil(PAGE_BYTES) - 1;
                    frames.push(frame);
                }
                Err(error @ BlockError::Version { .. }) => return Ok(Err(error)),
                Err(_) => {}
            }
        }
        let newest = frames
            .iter()
            .max_by_key(|frame| (frame.header.last_sequence(), frame.header.generation));
        let floor = newest.map_or(0, |newest| newest.floor);
        frames.retain(|frame| frame.header.first_sequence >= floor);
        Ok(Ok(frames))
    }

    /// An empty one; what was in it must be durable elsewhere. None where the disk has no room for it. One that seems to
    /// be blank may not be so on the disk if it `is_suspect`: syncing it may have failed before.
    ///
    /// # Errors
    /// Where it cannot be made or emptied for another reason.
    pub(super) fn begin(folder: &Path, is_suspect: bool) -> io::Result<Option<Self>> {
        let path = folder.join(NAME);
        match Self::make(&path, is_suspect) {
            Ok(journal) => {
                layout::sync_folder(folder)?;
                Ok(Some(journal))
            }
            Err(error) if super::is_full(&error) => {
                if path.exists() {
                    fs::remove_file(&path)?;
                    layout::sync_folder(folder)?;
                }
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    fn make(path: &Path, is_suspect: bool) -> io::Result<Self> {
        let file = own_files::open_or_make(path)?;
        let journal = Self {
            file,
            path: path.to_owned(),
            held: Mutex::default(),
        };
        if is_suspect || !journal.is_blank()? {
            journal.blank()?;
        }
        journal.drop_cached();
        Ok(journal)
    }

    /// Whether it is as [`Self::blank`] leaves it, with its place on the disk.
    fn is_blank(&self) -> io::Result<bool> {
        let metadata = self.file.metadata()?;
        let mut found = vec![1; PAGES * PAGE_BYTES];
        Ok(metadata.len() == found.len() as u64
            && metadata.blocks() * 512 >= metadata.len()
            && self.file.read_exact_at(&mut found, 0).is_ok()
            && found.iter().all(|byte| *byte == 0))
    }

    fn blank(&self) -> io::Result<()> {
        let blank = vec![0; PAGES * PAGE_BYTES];
        self.file.set_len(blank.len() as u64)?;
        self.file.write_all_at(&blank, 0)?;
        self.file.sync_all()
    }

    /// Pages that are cached in large pieces count whole in the system's account of bytes written when one of them is.
    fn drop_cached(&self) {
        let _ = rustix::fs::fadvise(&self.file, 0, None, rustix::fs::Advice::DontNeed);
    }

    /// Forgets everything, on the disk too.
    ///
    /// # Errors
    /// Where that cannot be written or synced.
    pub(super) fn clear(&self) -> io::Result<()> {
        *self.held() = Held::default();
        self.blank()?;
        self.drop_cached();
        Ok(())
    }

    /// The block that begins with this sequence.
    pub(super) fn read(&self, first: u64) -> Option<Vec<u8>> {
        self.held().blocks.get(&first).map(|(block, _)| block.clone())
    }

    /// The first sequences of its blocks.
    pub(super) fn firsts(&self) -> BTreeSet<u64> {
        self.held().blocks.keys().copied().collect()
    }

    /// The cursors that sled does not have yet.
    pub(super) fn cursors(&self) -> BTreeMap<String, u64> {
        self.held().cursors.clone()
    }

    /// Sled has all cursors.
    pub(super) fn settle_cursors(&self) {
        self.held().cursors.clear();
    }

    /// Whether there are pages for a block of this length with as many cursors as there may be.
    pub(super) fn has_room(&self, block_bytes: usize) -> bool {
        self.held().place(block_bytes + MAX_TRAILER_BYTES).is_some()
    }

    /// Appends the block that begins with the sequence `first` and moves cursors, durably. Those that begin with
    /// `released` are part of larger ones by now.
    ///
    /// # Errors
    /// Where it cannot be written or synced, or there is no room for it. What of it is on the disk is not known then.
    pub(super) fn append(
        &self,
        first: u64,
        block: &[u8],
        cursors: &[(String, u64)],
        released: &[u64],
    ) -> io::Result<()> {
        let (cursors, frame, pages) = {
            let held = self.held();
            let mut all = held.cursors.clone();
            all.extend(cursors.iter().cloned());
            let wanted = held.blocks.keys().filter(|first| !released.contains(first));
            let floor = wanted.chain([&first]).min().copied().unwrap_or(first);
            let frame = encode(block, floor, &all);
            let pages = held.place(frame.len());
            (all, frame, pages.ok_or(io::ErrorKind::StorageFull)?)
        };
        self.file
            .write_all_at(&frame, (pages.first * PAGE_BYTES) as u64)?;
        self.file.sync_data()?;
        if self.file.metadata()?.nlink() == 0 {
            return Err(io::Error::new(
                io::ErrorKind::NotFound,
                "it, or the whole folder, has been removed",
            ));
        }
        let mut held = self.held();
        held.cursors = cursors;
        held.blocks.insert(first, (block.to_vec(), pages));
        held.next = pages.first + pages.count;
        Ok(())
    }

    /// Lets blocks go that are part of larger ones now: their pages may be written over.
    pub(super) fn release(&self, firsts: &[u64]) {
        let mut held = self.held();
        for first in firsts {
            held.blocks.remove(first);
        }
    }

    /// Removes blocks, oldest first, durably.
    ///
    /// # Errors
    /// Where that cannot be written or synced.
    pub(super) fn remove(&self, firsts: &[u64]) -> io::Result<()> {
        let pages: Vec<Pages> = {
            let held = self.held();
            let known = firsts.iter().filter_map(|first| held.blocks.get(first));
            known.map(|(_, pages)| *pages).collect()
        };
        self.release(firsts);
        if pages.is_empty() {
            return Ok(());
        }
        // Without the newest, none tells what was wanted.
        if self.held().blocks.is_empty() {
            self.blank()?;
            self.drop_cached();
            return Ok(());
        }
        for pages in pages {
            self.file
                .write_all_at(&[0; PAGE_BYTES], (pages.first * PAGE_BYTES) as u64)?;
        }
        self.file.sync_data()
    }

    /// The file.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Held {
    /// Free pages for a frame of this length; none where there are too few.
    fn place(&self, length: usize) -> Option<Pages> {
        let mut is_free = [true; PAGES];
        for (_, pages) in self.blocks.values() {
            is_free
                .get_mut(pages.first..pages.first + pages.count)?
                .fill(false);
        }
        let count = length.div_ceil(PAGE_BYTES);
        let first = (0..PAGES)
            .map(|ahead| (self.next + ahead) % PAGES)
            .find(|first| {
                let wanted = is_free.get(*first..first + count);
                wanted.is_some_and(|wanted| wanted.iter().all(|is_free| *is_free))
            })?;
        Some(Pages { first, count })
    }
}

/// A frame, filled up to whole pages: so the system need not read what it writes over.
fn encode(block: &[u8], floor: u64, cursors: &BTreeMap<String, u64>) -> Vec<u8> {
    let mut frame = Vec::with_capacity(PAGE_BYTES);
    frame.extend_from_slice(block);
    frame.extend_from_slice(&floor.to_le_bytes());
    frame.push(cursors.len() as u8);
    for (name, cursor) in cursors {
        frame.push(name.len() as u8);
        frame.extend_from_slice(name.as_bytes());
        frame.extend_from_slice(&cursor.to_le_bytes());
    }
    let checksum = checksum(block, frame.get(block.len()..).unwrap_or_default());
    frame.extend_from_slice(&checksum.to_le_bytes());
    frame.resize(frame.len().next_multiple_of(PAGE_BYTES), 0);
    frame
}

/// The frame whose block has this header, and how many bytes it takes; none where it is not whole.
fn decode(header: Header, bytes: &[u8]) -> Option<(Frame, usize)> {
    let (block, behind) = bytes.split_at_checked(header.block_bytes())?;
    let (floor, rest) = behind.split_first_chunk()?;
    let (count, mut rest) = rest.split_first()?;
    let mut cursors = BTreeMap::new();
    for _ in 0..*count {
        let (length, named) = rest.split_first()?;
        let (name, numbered) = named.split_at_checked(usize::from(*length))?;
        let (cursor, behind) = numbered.split_first_chunk()?;
        cursors.insert(
            String::from_utf8(name.to_vec()).ok()?,
            u64::from_le_bytes(*cursor),
        );
        rest = behind;
    }
    let length = behind.len() - rest.len();
    if checksum(block, behind.get(..length)?) != u32::from_le_bytes(*rest.first_chunk()?) {
        return None;
    }
    let frame = Frame {
        header,
        block: block.to_vec(),
        floor: u64::from_le_bytes(*floor),
        cursors,
    };
    Some((frame, header.block_bytes() + length + 4))
}

fn checksum(block: &[u8], behind: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(block.get(CHECKSUM).unwrap_or_default());
    hasher.update(behind);
    hasher.finalize()
}

#[cfg(test)]
mod tests {
    use shared::record::Record;

    use super::*;

    fn block(first: u64, count: u64, generation: u32) -> Vec<u8> {
        let records: Vec<Record> = (first..first + count)
            .map(|sequence| Record {
                sequence,
                captured_at_us: 0,
                silence_ms: 1000,
                telegram: format!("/a telegram {sequence}").into(),
            })
            .collect();
        block::encode_plain(&records, 0, generation).unwrap()
    }

    fn journal() -> (tempfile::TempDir, Journal) {
        let folder = tempfile::tempdir().unwrap();
        let journal = Journal::begin(folder.path(), false)
            .unwrap()
            .expect("there is room");
        (folder, journal)
    }

    fn recalled(folder: &Path) -> Vec<u64> {
        let mut firsts: Vec<u64> = Journal::recall(folder)
            .unwrap()
            .unwrap()
            .iter()
            .map(|frame| frame.header.first_sequence)
            .collect();
        firsts.sort_unstable();
        firsts
    }

    #[test]
    fn what_was_appended_is_recalled_with_all_cursors_that_wait() {
        let (folder, journal) = journal();
        let (one, two) = (block(7, 1, 3), block(8, 2, 3));
        journal.append(7, &one, &[("mqtt".to_owned(), 5)], &[]).unwrap();
        journal.append(8, &two, &[("second".to_owned(), 6)], &[]).unwrap();
        assert_eq!(journal.read(8), Some(two.clone()));
        let frames = Journal::recall(folder.path()).unwrap().unwrap();
        let blocks: Vec<&Vec<u8>> = frames.iter().map(|frame| &frame.block).collect();
        assert_eq!(blocks, [&one, &two]);
        let cursors = |frame: &Frame| frame.cursors.clone().into_iter().collect::<Vec<_>>();
        assert_eq!(cursors(&frames[0]), [("mqtt".to_owned(), 5)]);
        assert_eq!(
            cursors(&frames[1]),
            [("mqtt".to_owned(), 5), ("second".to_owned(), 6)]
        );
        journal.settle_cursors();
        let three = block(10, 1, 3);
        journal.append(10, &three, &[], &[]).unwrap();
        let frames = Journal::recall(folder.path()).unwrap().unwrap();
        assert_eq!(cursors(&frames[2]), []);
    }

    #[test]
    fn an_empty_one_begins_whatever_was_there() {
        let (folder, journal) = journal();
        journal.append(1, &block(1, 1, 1), &[], &[]).unwrap();
        for cut in [None, Some(100), Some(5000)] {
            if let Some(length) = cut {
                journal.file.set_len(length).unwrap();
            }
            let again = Journal::begin(folder.path(), false)
                .unwrap()
                .expect("there is room");
            assert_eq!(again.read(1), None);
            assert_eq!(
                fs::read(folder.path().join(NAME)).unwrap(),
                vec![0; PAGES * PAGE_BYTES]
            );
        }
    }

    #[test]
    fn pages_are_written_over_only_when_their_block_has_gone_and_the_oldest_first() {
        let (folder, journal) = journal();
        let blocks: Vec<Vec<u8>> = (1..=PAGES as u64).map(|first| block(first, 1, 1)).collect();
        for (first, block) in (1..).zip(&blocks) {
            assert!(journal.has_room(block.len()), "for {first}");
            journal.append(first, block, &[], &[]).unwrap();
        }
        let next = PAGES as u64 + 1;
        let more = block(next, 1, 1);
        assert!(!journal.has_room(more.len()));
        let error = journal.append(next, &more, &[], &[]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
        assert_eq!(recalled(folder.path()), (1..next).collect::<Vec<_>>());
        journal.release(&[3, 4]);
        journal.append(next, &more, &[], &[]).unwrap();
        assert_eq!(journal.read(3), None);
        // Only one page was needed. The block before is wanted, so the other is found again: it was not removed.
        let expected: Vec<u64> = (1..=next).filter(|first| *first != 3).collect();
        assert_eq!(recalled(folder.path()), expected);
    }

    #[test]
    fn what_the_newest_frame_says_is_not_wanted_is_not_recalled() {
        let (folder, journal) = journal();
        let blocks: Vec<Vec<u8>> = (1..=5).map(|first| block(first, 1, 1)).collect();
        for (first, block) in (1..=4).zip(&blocks) {
            journal.append(first, block, &[], &[]).unwrap();
        }
        journal.append(5, &blocks[4], &[], &[1, 2, 3]).unwrap();
        journal.release(&[1, 2, 3]);
        assert_eq!(recalled(folder.path()), [4, 5]);
    }

    #[test]
    fn what_is_removed_is_not_recalled_and_neither_is_what_had_gone_before() {
        let (folder, journal) = journal();
        let blocks: Vec<Vec<u8>> = (1..=5).map(|first| block(first, 1, 1)).collect();
        for (first, block) in (1..).zip(&blocks) {
            journal.append(first, block, &[], &[]).unwrap();
        }
        journal.remove(&[1, 2]).unwrap();
        assert_eq!(recalled(folder.path()), [3, 4, 5]);
        journal.release(&[3, 4]);
        journal.remove(&[5, 6]).unwrap();
        assert_eq!(recalled(folder.path()), Vec::<u64>::new());
    }

    #[test]
    fn a_frame_that_is_not_whole_does_not_count() {
        let (folder, journal) = journal();
        let one = block(1, 1, 1);
        journal.append(1, &one, &[("mqtt".to_owned(), 1)], &[]).unwrap();
        let whole = fs::read(folder.path().join(NAME)).unwrap();
        let length = whole.iter().rposition(|byte| *byte != 0).unwrap() + 1;
        for at in 0..length {
            let mut bytes = whole.clone();
            bytes[at] ^= 0x10;
            fs::write(folder.path().join(NAME), bytes).unwrap();
            // A version's byte alone is covered by no checksum that a later version must have.
            assert_eq!(
                recalled(folder.path()),
                Vec::<u64>::new(),
                "with byte {at} changed"
            );
        }
        fs::write(folder.path().join(NAME), &whole).unwrap();
        assert_eq!(recalled(folder.path()), [1]);
    }

    #[test]
    fn a_journal_whose_file_was_removed_is_out_of_order() {
        let (folder, journal) = journal();
        fs::remove_file(folder.path().join(NAME)).unwrap();
        let error = journal.append(1, &block(1, 1, 1), &[], &[]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_read_without_panicking(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..9000)) {
            let folder = tempfile::tempdir().unwrap();
            fs::write(folder.path().join(NAME), bytes).unwrap();
            let _ = Journal::recall(folder.path()).unwrap();
        }
    }
}

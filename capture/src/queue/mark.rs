//! The mark: how far the queue has come, kept beside the database so that a database that has lost
//! something cannot make a sequence appear twice or a consumer skip.
//!
//! sled can lose flushed records silently when its file is damaged. So the highest sequence ever
//! made visible is written here too, after each flush and before the flush's records become visible:
//!
//! * *without syncing* after each flush. That survives the end of the process in any way, since the
//!   page is the kernel's;
//! * *synced* when the ceiling is raised, a consumer is registered or forgotten, and at start and end.
//!   No sequence above the ceiling is ever made visible, and the ceiling is raised in steps. So after
//!   a power cut, when the last unsynced writes may be missing, sequences go on above the ceiling.
//!
//! # Bytes
//!
//! The file has two slots, at offset 0 for the unsynced writes and at offset 4096 for the synced ones,
//! so that a torn unsynced write leaves the last synced one whole. Numbers are little endian.
//!
//! ```text
//! offset size field
//!      0    3 magic       50 31 4D ("P1M")
//!      3    1 version     1
//!      4    4 length      bytes of the payload
//!      8    4 checksum    CRC-32 (IEEE) of the payload
//!     12    … payload
//! ```
//!
//! Payload: counter u64 (rises with every write; the higher one is the newer), generation u32 (rises
//! with every opening), clean u8 (1 after an orderly end), boot id 16 bytes, identity 8 bytes, head,
//! next, ceiling, tail u64, uptime of the last arrival in microseconds u64 (all bits set where there
//! was none), number of consumers u8, and for each: length of its name u8, name, cursor u64; then, only
//! if the folder has had other identities: their number u8, and for each, oldest first: identity 8 bytes,
//! last sequence u64. (A program from before these ignores them, and drops them when it writes.)
//!
//! The version is that of the whole folder: whatever changes in it so that this program could not go on
//! with it raises this one, here and in no other place. From version 2 on the checksum covers the version's
//! byte and then the payload, which for ever tells a folder of a later version from a byte gone bad.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use super::own_files;

const MAGIC: [u8; 3] = [0x50, 0x31, 0x4D];
const SLOT_BYTES: u64 = 4096;
const HEAD_BYTES: usize = 12;
const LOCK_TRIES: u32 = 30;

/// Version of the folder's format. An older program leaves a folder of a later one alone.
pub const VERSION: u8 = 1;
/// Sequences that are reserved ahead by one synced write. A power cut leaves out at most this many.
pub const CEILING_STEP: u64 = 1000;
/// Most consumers a queue has: their cursors must fit in the mark's page.
pub const MAX_CONSUMERS: usize = 32;
/// Longest name of a consumer, in bytes.
pub const MAX_CONSUMER_NAME_BYTES: usize = 64;
/// Most former identities that are kept, the newest: they must fit in the mark's page beside the cursors.
pub const MAX_FORMER: usize = 64;

/// What the mark holds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Mark {
    /// Rises with every write.
    pub counter: u64,
    /// Rises with every opening of the folder.
    pub generation: u32,
    /// Whether the queue was closed in order after this.
    pub is_clean: bool,
    /// Which start of the machine wrote it.
    pub boot_id: [u8; 16],
    /// Identity of the folder.
    pub identity: [u8; 8],
    /// Highest sequence made visible.
    pub head: u64,
    /// Lowest sequence that has not been given.
    pub next: u64,
    /// No sequence above this has been made visible.
    pub ceiling: u64,
    /// Lowest sequence kept.
    pub tail: u64,
    /// Uptime of the last arrival, in microseconds.
    pub last_uptime_us: Option<u64>,
    /// The consumers' cursors.
    pub cursors: BTreeMap<String, u64>,
    /// Identities that the folder had before, oldest first.
    pub former: Vec<Former>,
}

/// An identity that the folder had before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Former {
    /// The identity.
    pub identity: [u8; 8],
    /// The last sequence that was accepted, or may have been, under it.
    pub last: u64,
}

/// The file that holds the mark.
#[derive(Debug)]
pub struct MarkFile {
    file: File,
}

impl MarkFile {
    /// Opens the mark, or makes an empty one, and reads what it says; none where neither slot is whole.
    ///
    /// # Errors
    /// Where the file cannot be opened or read.
    pub fn open(path: &Path) -> io::Result<(Self, Option<Mark>)> {
        let file = own_files::open_or_make(path)?;
        if let Some(folder) = path.parent() {
            super::layout::sync_folder(folder)?;
        }
        let slots = [0, SLOT_BYTES].map(|offset| read_slot(&file, offset));
        Ok((Self { file }, newest(slots)))
    }

    /// Reads a mark without changing anything.
    pub fn peek(path: &Path) -> Option<Mark> {
        let file = File::open(path).ok()?;
        newest([0, SLOT_BYTES].map(|offset| read_slot(&file, offset)))
    }

    /// The version of the folder where it is later than [`VERSION`], without changing anything. One slot that
    /// says so is enough: the other may not have been written since.
    pub fn later_version(path: &Path) -> Option<u8> {
        let file = File::open(path).ok()?;
        [0, SLOT_BYTES]
            .into_iter()
            .filter_map(|offset| later_version(&read_bytes(&file, offset)))
            .max()
    }

    /// Writes the mark without syncing: it survives the process, not a power cut.
    ///
    /// # Errors
    /// Where it cannot be written.
    pub fn write(&self, mark: &mut Mark) -> io::Result<()> {
        mark.counter = mark.counter.saturating_add(1);
        self.file.write_all_at(&encode(mark), 0)
    }

    /// Writes the mark durably.
    ///
    /// # Errors
    /// Where it cannot be written or synced.
    pub fn write_synced(&self, mark: &mut Mark) -> io::Result<()> {
        mark.counter = mark.counter.saturating_add(1);
        self.file.write_all_at(&encode(mark), SLOT_BYTES)?;
        self.file.sync_data()
    }

    /// Takes the lock that keeps other processes out of the folder; false where one has it.
    pub fn try_lock(&self) -> bool {
        // A process that is being started holds a copy for the moment until it becomes another program.
        (0..LOCK_TRIES).any(|attempt| {
            if attempt > 0 {
                std::thread::sleep(std::time::Duration::from_millis(10));
            }
            rustix::fs::flock(&self.file, rustix::fs::FlockOperation::NonBlockingLockExclusive).is_ok()
        })
    }

    /// Whether this is no longer the file at `path`: removed, or another in its place.
    pub fn is_gone_from(&self, path: &Path) -> bool {
        use std::os::unix::fs::MetadataExt;
        match (self.file.metadata(), std::fs::symlink_metadata(path)) {
            (Ok(own), Ok(there)) => (own.dev(), own.ino()) != (there.dev(), there.ino()),
            _ => true,
        }
    }
}

fn newest(slots: [Option<Mark>; 2]) -> Option<Mark> {
    let [first, second] = slots;
    let ceiling = first
        .iter()
        .chain(&second)
        .map(|mark| mark.ceiling)
        .max()
        .unwrap_or_default();
    let next = first
        .iter()
        .chain(&second)
        .map(|mark| mark.next)
        .max()
        .unwrap_or_default();
    let newest = match (first, second) {
        (Some(first), Some(second)) => Some(if first.counter > second.counter {
            first
        } else {
            second
        }),
        (first, second) => first.or(second),
    };
    newest.map(|mark| Mark {
        ceiling,
        next,
        ..mark
    })
}

fn read_slot(file: &File, offset: u64) -> Option<Mark> {
    decode(&read_bytes(file, offset))
}

fn read_bytes(file: &File, offset: u64) -> Vec<u8> {
    let mut slot = vec![0; SLOT_BYTES as usize];
    let mut filled = 0;
    // The second slot ends where it was written to, and a cut file anywhere.
    while let Some(rest) = slot.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match file.read_at(rest, offset + filled as u64) {
            Ok(0) | Err(_) => break,
            Ok(count) => filled += count,
        }
    }
    slot.truncate(filled);
    slot
}

fn encode(mark: &Mark) -> Vec<u8> {
    let mut payload = Vec::with_capacity(256);
    payload.extend_from_slice(&mark.counter.to_le_bytes());
    payload.extend_from_slice(&mark.generation.to_le_bytes());
    payload.push(u8::from(mark.is_clean));
    payload.extend_from_slice(&mark.boot_id);
    payload.extend_from_slice(&mark.identity);
    for value in [
        mark.head,
        mark.next,
        mark.ceiling,
        mark.tail,
        mark.last_uptime_us.unwrap_or(u64::MAX),
    ] {
        payload.extend_from_slice(&value.to_le_bytes());
    }
    payload.push(mark.cursors.len() as u8);
    for (name, cursor) in &mark.cursors {
        payload.push(name.len() as u8);
        payload.extend_from_slice(name.as_bytes());
        payload.extend_from_slice(&cursor.to_le_bytes());
    }
    if !mark.former.is_empty() {
        payload.push(mark.former.len() as u8);
        for former in &mark.former {
            payload.extend_from_slice(&former.identity);
            payload.extend_from_slice(&former.last.to_le_bytes());
        }
    }
    let mut slot = Vec::with_capacity(HEAD_BYTES + payload.len());
    slot.extend_from_slice(&MAGIC);
    slot.push(VERSION);
    slot.extend_from_slice(&(payload.len() as u32).to_le_bytes());
    slot.extend_from_slice(&crc32fast::hash(&payload).to_le_bytes());
    slot.extend_from_slice(&payload);
    assert!(
        slot.len() as u64 <= SLOT_BYTES,
        "a mark of {} bytes exceeds its {SLOT_BYTES}",
        slot.len()
    );
    slot
}

fn decode(slot: &[u8]) -> Option<Mark> {
    let mut rest = slot.strip_prefix(&MAGIC)?.strip_prefix(&[VERSION])?;
    let length = u32::from_le_bytes(take(&mut rest)?) as usize;
    let checksum = u32::from_le_bytes(take(&mut rest)?);
    let mut payload = rest.get(..length)?;
    if crc32fast::hash(payload) != checksum {
        return None;
    }
    let counter = u64::from_le_bytes(take(&mut payload)?);
    let generation = u32::from_le_bytes(take(&mut payload)?);
    let [clean] = take(&mut payload)?;
    let boot_id = take(&mut payload)?;
    let identity = take(&mut payload)?;
    let [head, next, ceiling, tail, uptime] = [(); 5].map(|()| take(&mut payload).map(u64::from_le_bytes));
    let [count] = take(&mut payload)?;
    let mut cursors = BTreeMap::new();
    for _ in 0..count {
        let [length] = take(&mut payload)?;
        let name = payload.get(..usize::from(length))?;
        payload = payload.get(usize::from(length)..)?;
        let cursor = u64::from_le_bytes(take(&mut payload)?);
        cursors.insert(String::from_utf8(name.to_vec()).ok()?, cursor);
    }
    let [former_count] = take(&mut payload).unwrap_or_default();
    let former = (0..former_count).map(|_| {
        Some(Former {
            identity: take(&mut payload)?,
            last: u64::from_le_bytes(take(&mut payload)?),
        })
    });
    let former = former.collect::<Option<Vec<_>>>()?;
    Some(Mark {
        counter,
        generation,
        is_clean: clean == 1,
        boot_id,
        identity,
        head: head?,
        next: next?,
        ceiling: ceiling?,
        tail: tail?,
        last_uptime_us: uptime.filter(|&uptime| uptime != u64::MAX),
        cursors,
        former,
    })
}

fn later_version(slot: &[u8]) -> Option<u8> {
    let mut rest = slot.strip_prefix(&MAGIC)?;
    let version: [u8; 1] = take(&mut rest)?;
    let length = u32::from_le_bytes(take(&mut rest)?) as usize;
    let checksum = u32::from_le_bytes(take(&mut rest)?);
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&version);
    hasher.update(rest.get(..length)?);
    let [version] = version;
    (version > VERSION && hasher.finalize() == checksum).then_some(version)
}

fn take<const N: usize>(from: &mut &[u8]) -> Option<[u8; N]> {
    let (head, rest) = from.split_first_chunk::<N>()?;
    *from = rest;
    Some(*head)
}

//! The database: with what is below it the one place that names sled.
//!
//! What sled 0.34 needs around it, found by reading and trying it:
//!
//! * `flush` writes and calls `sync_file_range`, which neither makes the file's length and block
//!   map durable nor empties the drive's cache. So a flush here ends with `fdatasync` of the same
//!   file through a handle of our own; only then is anything durable.
//! * After one failed write it answers every call with that error for ever. So the database is then
//!   closed and opened again, and what was not durable is written again.
//! * On a damaged file it may return an error, panic, or open without some of the records. So every
//!   call is guarded against panics, opening happens in a thread with a time limit, and every block is
//!   read and checked when opening.
//! * Opening, it writes a snapshot under a name ending in `.generating`, renames it, and syncs no folder.
//!   Cut off in between it takes the unfinished one for its newest and refuses the database. So those are
//!   removed before opening, and its files and their names are synced after. It also never syncs its
//!   settings (`conf`), without which it reads nothing.
//! * It gives the file's lock back a moment after it was dropped. So opening waits for it a little.
//! * Its cache has 256 parts, each of which keeps the page it saw last however large that is, and looks at
//!   what to drop only after 64 accesses. So it would hold 256 leaves of merged blocks, 20 MB, whatever its
//!   capacity. See `ballast`.
//! * A leaf of its tree holds up to 17 values and must stay below a quarter of a segment to be kept in
//!   the log: larger ones become files of their own, whose names it never syncs, and where one cannot be written it
//!   waits for it for ever. So merged blocks are kept small, see `merge`, and the block of a single telegram that is
//!   larger has a key without a value on either side, so that no leaf holds many of them.
//! * It writes over a segment whose pages it has written anew once the segment after those is full, whether or not
//!   anything was synced. So no more than a segment is written between two syncs: a large change is synced in pieces.
//! * It moves one page out of a segment that is to be written over for every ten changes of a leaf. When much is added
//!   and removed at once that is too few: segments wait to be cleared and its file grows, to forty times what is in it.
//!   See [`Store::collect`].
//! * Its seven threads wait for work a second at a time, each of them. See `slack`.
//! * A flush of a few hundred bytes costs it 4.9 KB of writing and wakes all seven. So the blocks of the last flushes
//!   are kept beside it. See `journal`.

mod ballast;
mod journal;
mod slack;

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use sled::Transactional;
use thiserror::Error;

use super::block::{self, BlockError};
use super::index::{Entry, Place};
use super::merge;
use super::own_files;
use ballast::Ballast;
use journal::{Frame, Journal};
use slack::with_late_threads;

const MERGED: &str = "merged";
const GROUPED: &str = "grouped";
const RECENT: &str = "recent";
const CURSORS: &str = "cursors";
/// A leaf that means nothing: it is changed to have sled move pages.
const TURNS: &str = "turns";
/// Changes after which sled writes a leaf again, and with it moves one page of a segment that it clears.
const CHANGES_A_TURN: u8 = 11;
/// A turn that writes less has moved no page, or a small one.
const MOVING_BYTES: usize = 1024;
/// After so many turns that moved nothing there is nothing to move.
const IDLE_TURNS: usize = 16;
/// Most bytes that are moved at a time. With many half-full segments there would be no end of it.
const MOVED_AT_ONCE_BYTES: usize = 512 * 1024;
const CACHE_BYTES: u64 = 1024 * 1024;
const SEGMENT_BYTES: usize = 512 * 1024;
/// Bytes of a change after which it is synced: three full blocks, or sixteen removals. With what sled writes anew
/// because of them, a leaf of up to 120 KB for every few and as much again while it clears a segment, that stays below a
/// segment.
const PIECE_BYTES: usize = 32 * 1024;
/// Bytes that a block costs in the log beside its own, and a removal altogether, in this account.
const CHANGE_BYTES: usize = 2 * 1024;
/// Values of a leaf of sled's tree before it is split. A leaf of fewer than four joins its neighbour, and both together
/// may have three more; but that is met at the tail alone, where there is no neighbour before, unless a dozen damaged
/// neighbours are removed.
const LEAF_VALUES: usize = 17;
/// The largest leaf: one large block at either end, each with one key beside it that has no value.
const LARGEST_LEAF_BYTES: usize =
    2 * block::most_bytes_of_one(super::MAX_TELEGRAM_BYTES) + (LEAF_VALUES - 4) * merge::MAX_STORED_BYTES;
/// What sled adds for the keys and lengths of a leaf, at most.
const LEAF_HEAD_BYTES: usize = 1024;
const _: () = assert!(LARGEST_LEAF_BYTES + LEAF_HEAD_BYTES < SEGMENT_BYTES / 4);
const _: () = assert!(LEAF_VALUES * merge::MAX_STORED_BYTES + LEAF_HEAD_BYTES < SEGMENT_BYTES / 4);
/// Syncs after which the file's clean pages are dropped from the system's cache.
const DROP_CACHE_SYNCS: u32 = 64;
/// How long opening waits for the lock of a handle that was just dropped.
const LOCK_PATIENCE: Duration = Duration::from_secs(3);

/// Why the database did not do what it was asked to.
#[derive(Debug, Error, Clone)]
#[error("{action} {path}: {detail}", path = path.display())]
pub struct StoreError {
    /// What was tried: `opening`, `writing to`, `reading from`.
    pub action: &'static str,
    /// The database's folder.
    pub path: PathBuf,
    /// What it said.
    pub detail: String,
    /// What that means.
    pub kind: StoreErrorKind,
}

/// What a failure of the database means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StoreErrorKind {
    /// Another process has it open.
    Locked,
    /// The disk or a quota is full.
    Full,
    /// The system refuses: read-only, no permission, the folder is gone, an I/O error while writing.
    System,
    /// The contents are not what sled wrote.
    Damaged,
    /// A later version of this program has written to it.
    Later,
}

/// The open database.
#[derive(Debug)]
pub struct Store {
    database: sled::Db,
    merged: sled::Tree,
    grouped: sled::Tree,
    recent: sled::Tree,
    cursors: sled::Tree,
    turns: sled::Tree,
    ballast: Ballast,
    /// None before it is begun, and where the disk had no room for it: then all goes to sled.
    journal: Option<Journal>,
    /// The file that sled writes, for syncing it.
    log: File,
    path: PathBuf,
    syncs: AtomicU32,
    uncollected_bytes: AtomicUsize,
}

/// An opened database and what was found in it.
#[derive(Debug)]
pub struct Opened {
    /// The database.
    pub store: Store,
    /// The whole blocks, in the order of their keys.
    pub entries: Vec<Entry>,
    /// Keys of the blocks that are not whole, and why.
    pub damaged: Vec<(Place, u64, BlockError)>,
    /// The cursors.
    pub cursors: BTreeMap<String, u64>,
}

/// What is written together.
#[derive(Debug, Default)]
pub struct Change {
    /// Blocks to add, by their first sequence.
    pub put: Vec<(Place, u64, Vec<u8>)>,
    /// Blocks to remove.
    pub remove: Vec<(Place, u64)>,
    /// Whether additions and removals take effect as one. Otherwise they take effect one after the other,
    /// additions first, each whole or not at all: cut off, all that was added before is there. (What is added to the
    /// journal comes after removals from sled; it is new, and no removal's replacement.) It costs a
    /// page less to write, and is enough where what is removed is also in what was added, or is to go anyway. As one there are only blocks
    /// that merging makes: none is large.
    pub is_atomic: bool,
    /// Cursors to set.
    pub cursors: Vec<(String, u64)>,
    /// Consumers to forget.
    pub forget: Vec<String>,
}

/// Where the parts of a change go.
struct Plan<'c> {
    needs_sled: bool,
    put: &'c [(Place, u64, Vec<u8>)],
    remove: Vec<(Place, u64)>,
    in_journal: Option<(u64, &'c [u8])>,
    /// Blocks of the journal that sled is to have, too.
    handed_over: Vec<u64>,
    /// Blocks that are to go from the journal.
    released: Vec<u64>,
    /// So that nothing of it comes back.
    empties_journal: bool,
}

impl Store {
    /// Opens the database, or makes an empty one, and reads and checks every block.
    ///
    /// # Errors
    /// Where it cannot be opened within `patience`, an opening that takes longer counts as damaged; or where
    /// a later version of this program has written blocks to it, which are then as they were.
    pub fn open(path: &Path, patience: Duration) -> Result<Opened, StoreError> {
        let (sender, receiver) = mpsc::sync_channel(1);
        let owned = path.to_owned();
        let spawned = std::thread::Builder::new()
            .name("queue-open".to_owned())
            .spawn(move || {
                let result = guarded("opening", &owned, || Self::open_and_read(&owned));
                // The receiver has gone where this took too long.
                let _ = sender.send(result);
            });
        let error = |detail: String, kind| StoreError {
            action: "opening",
            path: path.to_owned(),
            detail,
            kind,
        };
        spawned.map_err(|spawn| error(format!("no thread for it: {spawn}"), StoreErrorKind::System))?;
        match receiver.recv_timeout(patience) {
            Ok(result) => result,
            Err(_) => Err(error(
                format!("it was not open after {} s", patience.as_secs()),
                StoreErrorKind::Damaged,
            )),
        }
    }

    fn open_and_read(path: &Path) -> Result<Opened, StoreError> {
        let failed = |error: io::Error| from_io("opening", path, &error);
        remove_unfinished(path).map_err(failed)?;
        // A process that was killed may have left it unsynced, and sled begins by writing over what that replaces.
        if path.exists() {
            sync_files(path).map_err(failed)?;
        }
        let database = Self::open_database(path)?;
        with_late_threads(|| Self::read_opened(path, database))
    }

    fn read_opened(path: &Path, database: sled::Db) -> Result<Opened, StoreError> {
        let failed = |error: sled::Error| from_sled("opening", path, &error);
        let merged = database.open_tree(MERGED).map_err(failed)?;
        let grouped = database.open_tree(GROUPED).map_err(failed)?;
        let recent = database.open_tree(RECENT).map_err(failed)?;
        let cursors = database.open_tree(CURSORS).map_err(failed)?;
        let turns = database.open_tree(TURNS).map_err(failed)?;
        let ballast = Ballast::open(&database).map_err(failed)?;
        let log = File::open(path.join("db")).map_err(|error| from_io("opening", path, &error))?;
        let store = Self {
            database,
            merged,
            grouped,
            recent,
            cursors,
            turns,
            ballast,
            journal: None,
            log,
            path: path.to_owned(),
            syncs: AtomicU32::new(0),
            uncollected_bytes: AtomicUsize::new(0),
        };

        // One that cannot be read is one that is gone: the mark tells what was in it.
        let recalled = Journal::recall(path).unwrap_or_else(|_| Ok(Vec::new()));
        let frames = recalled.map_err(|error| later(path, &error))?;
        let mut entries = Vec::new();
        let mut damaged = Vec::new();
        let trees = [Place::Merged, Place::Grouped, Place::Recent].map(|place| (place, store.tree(place)));
        for (place, item) in trees
            .into_iter()
            .flat_map(|(place, tree)| tree.iter().map(move |item| (place, item)))
        {
            let (key, value) = item.map_err(failed)?;
            // A key of another length lies beside a large block.
            let Ok(key) = <[u8; 8]>::try_from(key.as_ref()) else {
                continue;
            };
            let first = u64::from_be_bytes(key);
            store.ballast.passed(value.len()).map_err(failed)?;
            match block::verify(&value) {
                Ok(header) if header.first_sequence == first => entries.push(Entry::new(&header, place)),
                Ok(header) => damaged.push((
                    place,
                    first,
                    BlockError::Contents {
                        first_sequence: header.first_sequence,
                        detail: format!("it is kept as block {first}"),
                    },
                )),
                Err(error @ BlockError::Version { .. }) => return Err(later(path, &error)),
                Err(error) => damaged.push((place, first, error)),
            }
        }
        let mut found = BTreeMap::new();
        for item in store.cursors.iter() {
            let (name, value) = item.map_err(failed)?;
            if let (Ok(name), Ok(cursor)) = (std::str::from_utf8(&name), <[u8; 8]>::try_from(value.as_ref()))
            {
                found.insert(name.to_owned(), u64::from_le_bytes(cursor));
            }
        }
        store.adopt(frames, &mut entries, &mut found)?;
        store.settle_ballast("opening", || store.flush("opening"))?;
        store.sync("opening")?;
        sync_files(path).map_err(|error| from_io("opening", path, &error))?;
        Ok(Opened {
            store,
            entries,
            damaged,
            cursors: found,
        })
    }

    fn open_database(path: &Path) -> Result<sled::Db, StoreError> {
        let started = Instant::now();
        loop {
            let config = sled::Config::new()
                .path(path)
                .cache_capacity(CACHE_BYTES)
                .segment_size(SEGMENT_BYTES)
                .mode(sled::Mode::LowSpace)
                .flush_every_ms(None);
            match with_late_threads(|| config.open()) {
                Ok(database) => return Ok(database),
                Err(error) => {
                    let error = from_sled("opening", path, &error);
                    if error.kind != StoreErrorKind::Locked || started.elapsed() > LOCK_PATIENCE {
                        return Err(error);
                    }
                    std::thread::sleep(Duration::from_millis(20));
                }
            }
        }
    }

    /// Begins to keep the blocks of flushes in a journal. Before, all goes to sled, and what an earlier process has left
    /// in the journal stays there, too. It is blanked even where it seems to be blank if it `is_suspect`.
    ///
    /// # Errors
    /// Where the journal cannot be made or blanked, and not for want of room.
    pub fn begin_journal(&mut self, is_suspect: bool) -> Result<(), StoreError> {
        let journal = Journal::begin(&self.path, is_suspect);
        self.journal = journal.map_err(|error| from_io("opening", &self.path, &error))?;
        Ok(())
    }

    /// Writes blocks, removals and cursors, and returns when they are durable.
    ///
    /// # Errors
    /// After an error nothing of the change may be relied on: some of it may be there after the next
    /// opening. The database answers no further writes; close it and open it again.
    pub fn write(&self, change: &Change) -> Result<(), StoreError> {
        self.apply(change, true)
    }

    /// Writes to a database that is thrown away where it is cut off: nothing is synced before
    /// [`Self::make_durable`]. It returns when the system has it, so that little waits in memory.
    ///
    /// # Errors
    /// As [`Self::write`].
    pub fn draft(&self, change: &Change) -> Result<(), StoreError> {
        self.apply(change, false)
    }

    /// Returns when all that was written is durable.
    ///
    /// # Errors
    /// As [`Self::write`].
    pub fn make_durable(&self) -> Result<(), StoreError> {
        guarded("writing to", &self.path, || {
            with_late_threads(|| self.flush("writing to"))
        })
    }

    fn apply(&self, change: &Change, syncs: bool) -> Result<(), StoreError> {
        let plan = self.plan(change, syncs);
        guarded("writing to", &self.path, || {
            if plan.needs_sled {
                // sled starts its threads where it first writes, which may also be where it is closed.
                with_late_threads(|| self.apply_to_sled(change, &plan, syncs))?;
            }
            let Some(journal) = self.journal.as_ref().filter(|_| syncs) else {
                return Ok(());
            };
            let failed = |error: io::Error| from_io("writing to", journal.path(), &error);
            if plan.empties_journal {
                return journal.clear().map_err(failed);
            }
            if plan.needs_sled {
                journal.settle_cursors();
                journal.release(&plan.handed_over);
            }
            if let Some((first, bytes)) = plan.in_journal {
                // What sled has got it need not get again.
                let cursors: &[_] = if plan.needs_sled { &[] } else { &change.cursors };
                journal
                    .append(first, bytes, cursors, &plan.released)
                    .map_err(failed)?;
            }
            if change.put.is_empty() {
                return journal.remove(&plan.released).map_err(failed);
            }
            // What takes their place is durable now.
            journal.release(&plan.released);
            Ok(())
        })
    }

    /// What of a change goes where. What is in the journal is always behind all that sled has: so an opening can tell
    /// what is still wanted of it.
    fn plan<'c>(&self, change: &'c Change, syncs: bool) -> Plan<'c> {
        let journal = self.journal.as_ref().filter(|_| syncs);
        let held = journal.map(Journal::firsts).unwrap_or_default();
        let empties_journal = journal.is_some() && !change.forget.is_empty();
        // The newest. Where new telegrams go to sled before it all the same, it does, too.
        let (in_sled, in_journal) = match change.put.split_last() {
            Some(((Place::Recent, first, bytes), others))
                if bytes.len() <= journal::MAX_BLOCK_BYTES
                    && !empties_journal
                    && (others.is_empty() || !change.remove.is_empty())
                    && journal.is_some_and(|journal| journal.has_room(bytes.len())) =>
            {
                (others, Some((*first, bytes.as_slice())))
            }
            _ => (change.put.as_slice(), None),
        };
        let is_held = |(place, first): &(Place, u64)| *place == Place::Recent && held.contains(first);
        let (from_journal, from_sled): (Vec<_>, Vec<_>) = change.remove.iter().partition(|key| is_held(key));
        let released: Vec<u64> = from_journal.into_iter().map(|(_, first)| first).collect();
        let newest_in_sled = in_sled.iter().map(|(_, first, _)| *first).max().unwrap_or(0);
        let hand_over =
            |first: &u64| !released.contains(first) && (empties_journal || *first < newest_in_sled);
        Plan {
            needs_sled: in_journal.is_none() || !in_sled.is_empty() || !from_sled.is_empty(),
            put: in_sled,
            remove: from_sled,
            in_journal,
            handed_over: held.into_iter().filter(hand_over).collect(),
            released,
            empties_journal,
        }
    }

    fn apply_to_sled(&self, change: &Change, plan: &Plan<'_>, syncs: bool) -> Result<(), StoreError> {
        let failed = |error: sled::Error| from_sled("writing to", &self.path, &error);
        let sync = || if syncs { self.flush("writing to") } else { Ok(()) };
        let journal = self.journal.as_ref().filter(|_| syncs);
        let handed_over: Vec<(u64, Vec<u8>)> = (plan.handed_over.iter())
            .filter_map(|first| Some((*first, journal?.read(*first)?)))
            .collect();
        let handed_over = handed_over
            .iter()
            .map(|(first, bytes)| (Place::Recent, *first, bytes.as_slice()));
        if change.is_atomic {
            self.apply_in_pieces(handed_over, &[], sync)?;
            self.apply_as_one(plan).map_err(failed)?;
        } else {
            let put = plan
                .put
                .iter()
                .map(|(place, first, bytes)| (*place, *first, bytes.as_slice()));
            self.apply_in_pieces(handed_over.chain(put), &plan.remove, sync)?;
        }
        for (_, _, bytes) in plan.put {
            self.ballast.passed(bytes.len()).map_err(failed)?;
        }
        let put_bytes: usize = plan.put.iter().map(|(_, _, bytes)| bytes.len()).sum();
        self.uncollected_bytes.fetch_add(
            put_bytes + (plan.put.len() + plan.remove.len()) * CHANGE_BYTES,
            Ordering::Relaxed,
        );
        self.settle_ballast("writing to", sync)?;
        let waiting = journal.map(Journal::cursors).unwrap_or_default();
        for (name, cursor) in waiting
            .iter()
            .chain(change.cursors.iter().map(|(name, cursor)| (name, cursor)))
        {
            self.cursors
                .insert(name.as_bytes(), &cursor.to_le_bytes())
                .map_err(failed)?;
        }
        for name in &change.forget {
            self.cursors.remove(name.as_bytes()).map_err(failed)?;
        }
        if syncs {
            sync()
        } else {
            self.database.flush().map_err(failed)?;
            Ok(())
        }
    }

    /// Takes over what an earlier process has left in the journal, durably.
    fn adopt(
        &self,
        frames: Vec<Frame>,
        entries: &mut Vec<Entry>,
        cursors: &mut BTreeMap<String, u64>,
    ) -> Result<(), StoreError> {
        let stored = entries.iter().map(|entry| entry.last).max().unwrap_or(0);
        let mut newest: BTreeMap<u64, Frame> = BTreeMap::new();
        let mut change = Change::default();
        for frame in frames {
            for (name, cursor) in &frame.cursors {
                // A consumer that sled does not know was forgotten.
                if let Some(known) = cursors.get_mut(name).filter(|known| **known < *cursor) {
                    *known = *cursor;
                    change.cursors = cursors
                        .iter()
                        .map(|(name, cursor)| (name.clone(), *cursor))
                        .collect();
                }
            }
            if frame.header.last_sequence() <= stored {
                continue;
            }
            // One may have been written again, after a failure, with what came then.
            let rank = |frame: &Frame| (frame.header.generation, frame.header.count);
            let known = newest.get(&frame.header.first_sequence);
            if known.is_none_or(|known| rank(known) < rank(&frame)) {
                newest.insert(frame.header.first_sequence, frame);
            }
        }
        for (first, frame) in newest {
            entries.push(Entry::new(&frame.header, Place::Recent));
            change.put.push((Place::Recent, first, frame.block));
        }
        if change.put.is_empty() && change.cursors.is_empty() {
            return Ok(());
        }
        self.apply(&change, true)
    }

    /// Makes the additions, then the removals, and syncs after each piece of them but the last.
    fn apply_in_pieces<'b>(
        &self,
        put: impl Iterator<Item = (Place, u64, &'b [u8])>,
        remove: &[(Place, u64)],
        sync: impl Fn() -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let failed = |error: sled::Error| from_sled("writing to", &self.path, &error);
        let mut unsynced = 0;
        let mut make_room = |bytes: usize| {
            if unsynced + bytes > PIECE_BYTES && unsynced > 0 {
                sync()?;
                unsynced = 0;
            }
            unsynced += bytes;
            Ok(())
        };
        for (place, first, bytes) in put {
            make_room(bytes.len() + CHANGE_BYTES)?;
            insert(self.tree(place), first, bytes).map_err(failed)?;
        }
        for (place, first) in remove {
            make_room(CHANGE_BYTES)?;
            remove_from(self.tree(*place), *first).map_err(failed)?;
        }
        Ok(())
    }

    /// Bytes of changes that sled got since [`Self::collect`] was called.
    pub fn uncollected_bytes(&self) -> usize {
        self.uncollected_bytes.load(Ordering::Relaxed)
    }

    /// Has sled move what is left in segments that are mostly free, so that they can be written over, or cut off at the
    /// end of the file.
    ///
    /// # Errors
    /// As [`Self::write`].
    pub fn collect(&self) -> Result<(), StoreError> {
        let failed = |error: sled::Error| from_sled("writing to", &self.path, &error);
        self.uncollected_bytes.store(0, Ordering::Relaxed);
        guarded("writing to", &self.path, || {
            with_late_threads(|| {
                let (mut idle_turns, mut moved_bytes, mut unsynced_bytes) = (0, 0, 0);
                while idle_turns < IDLE_TURNS && moved_bytes < MOVED_AT_ONCE_BYTES {
                    // The same value twice would be no change.
                    for change in 0..CHANGES_A_TURN {
                        self.turns.insert([0], &[change]).map_err(failed)?;
                    }
                    let written = self.database.flush().map_err(failed)?;
                    idle_turns = if written < MOVING_BYTES { idle_turns + 1 } else { 0 };
                    moved_bytes += written;
                    unsynced_bytes += written;
                    if unsynced_bytes > PIECE_BYTES {
                        self.sync("writing to")?;
                        unsynced_bytes = 0;
                    }
                }
                self.sync("writing to")
            })
        })
    }

    fn settle_ballast(
        &self,
        action: &'static str,
        sync: impl Fn() -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        while self
            .ballast
            .settle()
            .map_err(|error| from_sled(action, &self.path, &error))?
        {
            sync()?;
        }
        Ok(())
    }

    /// Makes durable what was written.
    fn flush(&self, action: &'static str) -> Result<(), StoreError> {
        self.database
            .flush()
            .map_err(|error| from_sled(action, &self.path, &error))?;
        self.sync(action)
    }

    fn apply_as_one(&self, plan: &Plan<'_>) -> sled::Result<()> {
        use sled::transaction::{ConflictableTransactionError, TransactionError};
        let outcome = (&self.merged, &self.grouped, &self.recent).transaction(|(merged, grouped, recent)| {
            let tree = |place| match place {
                Place::Merged => merged,
                Place::Grouped => grouped,
                Place::Recent => recent,
            };
            for (place, first) in &plan.remove {
                tree(*place).remove(&first.to_be_bytes())?;
            }
            for (place, first, bytes) in plan.put {
                tree(*place).insert(&first.to_be_bytes(), bytes.as_slice())?;
            }
            Ok::<(), ConflictableTransactionError<()>>(())
        });
        match outcome {
            Ok(()) | Err(TransactionError::Abort(())) => Ok(()),
            Err(TransactionError::Storage(error)) => Err(error),
        }
    }

    /// The bytes of the block that begins with this sequence.
    ///
    /// # Errors
    /// Where the database cannot read.
    pub fn read(&self, place: Place, first: u64) -> Result<Option<Vec<u8>>, StoreError> {
        let in_journal = self.journal.as_ref().filter(|_| place == Place::Recent);
        if let Some(bytes) = in_journal.and_then(|journal| journal.read(first)) {
            return Ok(Some(bytes));
        }
        guarded("reading from", &self.path, || {
            let failed = |error: sled::Error| from_sled("reading from", &self.path, &error);
            let value = self.tree(place).get(first.to_be_bytes()).map_err(failed)?;
            let value = value.map(|value| value.to_vec());
            if let Some(value) = &value {
                self.ballast.passed(value.len()).map_err(failed)?;
            }
            Ok(value)
        })
    }

    /// Whether small blocks wait in the journal until they are grouped.
    pub fn has_journal(&self) -> bool {
        self.journal.is_some()
    }

    fn tree(&self, place: Place) -> &sled::Tree {
        match place {
            Place::Merged => &self.merged,
            Place::Grouped => &self.grouped,
            Place::Recent => &self.recent,
        }
    }

    /// Closes the database.
    pub fn close(self) {
        // Its destructors write and sync, and unwrap the results.
        let _ = catch_unwind(AssertUnwindSafe(move || with_late_threads(move || drop(self))));
    }

    fn sync(&self, action: &'static str) -> Result<(), StoreError> {
        // Pages that stay cached in large pieces count whole in the system's account of bytes written
        // when a few bytes of them change, and this process reads little of what it wrote.
        if self.syncs.fetch_add(1, Ordering::Relaxed) % DROP_CACHE_SYNCS == 0 {
            let _ = rustix::fs::fadvise(&self.log, 0, None, rustix::fs::Advice::DontNeed);
        }
        self.log
            .sync_data()
            .map_err(|error| from_io(action, &self.path, &error))?;
        match self.log.metadata() {
            Ok(metadata) if metadata.nlink() > 0 => Ok(()),
            Ok(_) => Err(StoreError {
                action,
                path: self.path.clone(),
                detail: "the folder has been removed".to_owned(),
                kind: StoreErrorKind::System,
            }),
            Err(error) => Err(from_io(action, &self.path, &error)),
        }
    }
}

fn insert(tree: &sled::Tree, first: u64, bytes: &[u8]) -> sled::Result<()> {
    if is_large(bytes) {
        for spacer in spacers(first) {
            tree.insert(spacer, &[])?;
        }
    }
    tree.insert(first.to_be_bytes(), bytes)?;
    Ok(())
}

fn remove_from(tree: &sled::Tree, first: u64) -> sled::Result<()> {
    let removed = tree.remove(first.to_be_bytes())?;
    if removed.is_some_and(|bytes| is_large(&bytes)) {
        for spacer in spacers(first) {
            tree.remove(spacer)?;
        }
    }
    Ok(())
}

/// Whether seventeen of such a block are more than sled keeps in its log as one leaf. It is of a single telegram.
fn is_large(block: &[u8]) -> bool {
    block.len() > merge::MAX_STORED_BYTES
}

/// Keys just before and just behind that of a large block, other than those of its neighbours. Cut off, or where a
/// smaller block takes its place, they stay: a few bytes.
fn spacers(first: u64) -> [[u8; 9]; 2] {
    [(first.wrapping_sub(1), 1), (first, 0)].map(|(sequence, last)| {
        let mut key = [last; 9];
        if let Some(head) = key.first_chunk_mut() {
            *head = sequence.to_be_bytes();
        }
        key
    })
}

/// Removes snapshots that sled was cut off from writing: it would take one for its newest, and refuse it. The
/// one before and the log are whole, or it would have been renamed.
fn remove_unfinished(folder: &Path) -> io::Result<()> {
    let entries = match std::fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    for entry in entries {
        let path = entry?.path();
        if path
            .extension()
            .is_some_and(|extension| extension == "generating")
        {
            std::fs::remove_file(path)?;
        }
    }
    Ok(())
}

/// Makes durable what sled writes once, when opening, and leaves to the system: its settings (`conf`), without
/// which it reads nothing of the rest, its snapshot, and the names of all its files.
fn sync_files(folder: &Path) -> io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        File::open(entry?.path())?.sync_all()?;
    }
    super::layout::sync_folder(folder)
}

fn guarded<T>(
    action: &'static str,
    path: &Path,
    work: impl FnOnce() -> Result<T, StoreError>,
) -> Result<T, StoreError> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
        let detail = panic
            .downcast_ref::<String>()
            .map(String::as_str)
            .or_else(|| panic.downcast_ref::<&str>().copied())
            .unwrap_or("it panicked");
        Err(StoreError {
            action,
            path: path.to_owned(),
            detail: format!("the database gave up: {}", crate::panics::in_words(detail)),
            kind: StoreErrorKind::Damaged,
        })
    })
}

/// A later version of this program has written it.
fn later(path: &Path, error: &BlockError) -> StoreError {
    StoreError {
        action: "reading from",
        path: path.to_owned(),
        detail: format!("a newer version of capture has written to it: {error}"),
        kind: StoreErrorKind::Later,
    }
}

fn from_sled(action: &'static str, path: &Path, error: &sled::Error) -> StoreError {
    match error {
        sled::Error::Io(error) => from_io(action, path, error),
        other => StoreError {
            action,
            path: path.to_owned(),
            detail: other.to_string(),
            kind: StoreErrorKind::Damaged,
        },
    }
}

/// Whether the disk, or a quota, has no room.
fn is_full(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
    )
}

fn from_io(action: &'static str, path: &Path, error: &io::Error) -> StoreError {
    let detail = match error.to_string() {
        // sled keeps no more of the system's error than its kind and this.
        detail if detail.starts_with("Os {") => error.kind().to_string(),
        detail => detail,
    };
    let kind = match error.kind() {
        _ if is_full(error) => StoreErrorKind::Full,
        io::ErrorKind::UnexpectedEof | io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput => {
            StoreErrorKind::Damaged
        }
        _ if detail.contains("could not acquire lock") => StoreErrorKind::Locked,
        _ => StoreErrorKind::System,
    };
    StoreError {
        action,
        path: path.to_owned(),
        detail,
        kind,
    }
}

/// Writes every byte of the database's file anew, as the system's cache has it, and syncs. After a
/// failed sync the system may hold pages to be clean that never reached the disk; this makes them dirty.
///
/// # Errors
/// Where the file cannot be read, written or synced.
pub fn write_again(database: &Path) -> io::Result<()> {
    let file = own_files::open_to_write(&database.join("db"))?;
    let mut chunk = vec![0; 64 * 1024];
    let mut offset = 0;
    loop {
        let count = file.read_at(&mut chunk, offset)?;
        if count == 0 {
            return file.sync_all();
        }
        file.write_all_at(chunk.get(..count).unwrap_or_default(), offset)?;
        offset += count as u64;
    }
}

/// Length of the database's file; 0 where there is none.
pub fn file_bytes(database: &Path) -> u64 {
    std::fs::metadata(database.join("db")).map_or(0, |metadata| metadata.blocks() * 512)
}

/// Bytes of the disk that the database's file has behind its end.
pub fn ahead_bytes(database: &Path) -> u64 {
    std::fs::metadata(database.join("db")).map_or(0, |metadata| {
        (metadata.blocks() * 512).saturating_sub(metadata.len())
    })
}

/// Takes this many bytes of the disk behind the end of the database's file, which grows into them: whatever
/// others write, they are its own.
///
/// # Errors
/// Where there is no file, its file system cannot do that, or there is not that much room.
pub fn take_ahead(database: &Path, bytes: u64) -> io::Result<()> {
    let file = own_files::open_to_write(&database.join("db"))?;
    let end = file.metadata()?.len();
    Ok(rustix::fs::fallocate(
        &file,
        rustix::fs::FallocateFlags::KEEP_SIZE,
        end,
        bytes,
    )?)
}

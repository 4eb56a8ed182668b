//! The queue: telegrams in order, durable, small on disk, and never the same sequence twice.
//!
//! # Order constraints
//!
//! 1. *Visible implies durable.* A flush writes the block, syncs it, writes the mark, and only then
//!    raises the head that readers see.
//! 2. *A sequence is never given twice* once its record was visible. The mark holds the highest visible
//!    sequence; no sequence above its synced ceiling becomes visible.
//! 3. *A failed flush leaves nothing half done that counts*: its records stay in memory, invisible, and
//!    are written again into a database opened anew, from which anything above the head is removed first.
//! 4. *A cursor never moves back and never exceeds the head*; a consumer is registered durably before
//!    its name is given to a reader.
//! 5. *Records go from the tail only*, and never the one just before a cursor, except beyond the bound.
//!
//! # Killed or cut off anywhere
//!
//! A flush does, in this order: (a) raise the ceiling, synced, where the flush would pass it; (b) write
//! and sync the blocks and the pending cursors; (c) write the mark, unsynced; (d) raise the head.
//!
//! | ends | found at the next opening |
//! |---|---|
//! | killed before (b) is durable | the records were never visible; their sequences are given again |
//! | killed between (b) and (c) | the database is ahead of the mark: the records count, they were durable |
//! | killed after (c) | both agree |
//! | power cut anywhere | the mark may be old. It was another start of the machine and not an orderly end: sequences go on above the ceiling, and those left out are noted |
//! | database behind the mark | records that were visible are gone: noted as lost, sequences go on above the mark |
//! | killed while merging | the merge is one batch: the old blocks or the new one |
//! | killed while trimming | removal is one batch with nothing else; the mark's tail is written after it |
//! | killed while registering | (the cursor is durable in the database, then synced in the mark, then answered): the consumer was not answered yet, and asks again |
//! | killed while rebuilding | see `rebuild` |

pub mod block;
pub mod index;
pub mod layout;
pub mod losses;
pub mod mark;
pub mod merge;
mod reader;
pub mod reference;
pub mod retention;
pub mod store;

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

use shared::record::{INTERVAL_SILENCE_MS, Record};
use shared::wire::{Imported, Loss, Start};
use thiserror::Error;

pub use reader::{Batch, ReadError, Reader};
pub use store::{StoreError, StoreErrorKind};

use block::BlockWriter;
use index::{Entry, Index};
use layout::Layout;
use losses::Losses;
use mark::{CEILING_STEP, MAX_CONSUMER_NAME_BYTES, MAX_CONSUMERS, Mark, MarkFile};
use reader::{LastArrival, Shared, View};
use store::{Change, Opened, Store};

/// Largest telegram that the queue takes, in bytes.
pub const MAX_TELEGRAM_BYTES: usize = 64 * 1024;
/// Bytes of telegrams that wait in memory while they cannot be made durable. The oldest are kept: the
/// newest are refused, and so were never accepted.
pub const MAX_BUFFERED_BYTES: usize = 2 * 1024 * 1024;

/// How to open a queue.
#[derive(Debug, Clone)]
pub struct QueueOptions {
    /// The queue's folder. Made where it does not exist.
    pub path: PathBuf,
    /// Bound on the folder's size on disk, in bytes.
    pub max_size_bytes: u64,
    /// How long committed records are kept; none is for ever.
    pub retention: Option<Duration>,
    /// Which start of the machine this is.
    pub boot_id: [u8; 16],
    /// How long opening the database may take before it counts as damaged.
    pub open_patience: Duration,
}

impl QueueOptions {
    /// The defaults of the configuration for a folder, on this machine.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            max_size_bytes: 1 << 30,
            retention: Some(Duration::from_secs(7 * 86_400)),
            boot_id: current_boot_id(),
            open_patience: Duration::from_secs(300),
        }
    }
}

/// When a telegram came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Arrival {
    /// The system's clock, in microseconds since 1970-01-01T00:00:00Z.
    pub captured_at_us: i64,
    /// The clock that does not jump and counts from the start of the machine, in microseconds.
    pub uptime_us: u64,
}

/// What was found when the queue was opened.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OpenReport {
    /// Whether the folder is new.
    pub is_new: bool,
    /// Records that are kept.
    pub records: u64,
    /// Blocks that were not whole and are gone.
    pub damaged_blocks: u64,
    /// Where a database that could not be opened was moved to, and why.
    pub moved_aside: Option<(PathBuf, String)>,
    /// Records that were brought back from what was damaged.
    pub restored_records: u64,
    /// What was found lost or left out, each noted in the status too.
    pub losses: Vec<Loss>,
}

/// What a flush did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Flushed {
    /// Records that are durable and visible now and were not before.
    pub records: u64,
    /// Highest durable sequence.
    pub head: u64,
}

/// What a step of maintenance did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Maintained {
    /// Blocks merged into larger ones.
    pub merged_blocks: u64,
    /// Records removed because every consumer had them and they were old.
    pub trimmed_records: u64,
    /// Records removed because of the bound on the size before some consumer had them.
    pub lost_records: u64,
    /// Whether there is more to do at once.
    pub has_more: bool,
}

/// How the queue is doing.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct QueueStatus {
    /// Identity of the folder.
    pub identity: String,
    /// Lowest sequence kept; one more than the head in an empty queue.
    pub tail: u64,
    /// Highest durable sequence; 0 in an empty queue.
    pub head: u64,
    /// Bytes that the records take by the queue's own account.
    pub live_bytes: u64,
    /// Bytes of the folder on disk.
    pub disk_bytes: u64,
    /// The bound on the folder's size.
    pub max_size_bytes: u64,
    /// The consumers' cursors.
    pub cursors: BTreeMap<String, u64>,
    /// What was lost, oldest first.
    pub losses: Vec<Loss>,
    /// What keeps the queue from taking telegrams at present, in words.
    pub trouble: Option<String>,
    /// Telegrams that wait to be made durable, in bytes.
    pub buffered_bytes: u64,
    /// Telegrams refused because too many waited already.
    pub refused: u64,
    /// Damaged databases beside the present one.
    pub damaged: Vec<PathBuf>,
}

/// Why a queue could not be opened. Nothing of it is open afterwards.
#[derive(Debug, Error)]
pub enum OpenError {
    /// Another process has the queue open.
    #[error("the queue {path} is in use by another process", path = path.display())]
    Locked {
        /// The queue's folder.
        path: PathBuf,
    },
    /// The system refuses: no room, no permission, read-only.
    #[error("{action} {path}: {source}", path = path.display())]
    System {
        /// What was tried.
        action: &'static str,
        /// With what.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The database cannot be opened, for a reason that is not in its contents.
    #[error(transparent)]
    Storage(#[from] StoreError),
}

/// Why a telegram was not taken. The queue is as it was.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum AppendError {
    /// It is larger than any meter's.
    #[error("telegram of {bytes} bytes exceeds the limit of {MAX_TELEGRAM_BYTES}")]
    TooLarge {
        /// Its length.
        bytes: usize,
    },
    /// Telegrams cannot be made durable at present, and as many as fit wait already.
    #[error("{buffered} bytes of telegrams wait for the disk already, the limit is {MAX_BUFFERED_BYTES}")]
    Full {
        /// Bytes that wait.
        buffered: usize,
    },
}

/// Why a flush failed. Its records stay in memory, invisible, and the next flush writes them again.
#[derive(Debug, Error)]
pub enum FlushError {
    /// The database failed. It is closed, and opened again by a later flush.
    #[error(transparent)]
    Storage(#[from] StoreError),
    /// The mark cannot be written.
    #[error("writing {path}: {source}", path = path.display())]
    Mark {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The queue is out of order, and it is too early to try again.
    #[error("{trouble}; trying again in {seconds} s")]
    Waiting {
        /// What is wrong.
        trouble: String,
        /// Seconds until the next try.
        seconds: u64,
    },
}

/// Why a consumer could not be registered, moved or forgotten. Nothing has changed.
#[derive(Debug, Error)]
pub enum ConsumerError {
    /// The name is empty, too long or holds control characters.
    #[error("a consumer's name has 1 to {MAX_CONSUMER_NAME_BYTES} bytes and no control characters: {name:?}")]
    Name {
        /// The name.
        name: String,
    },
    /// There are as many consumers as there may be.
    #[error("there are {MAX_CONSUMERS} consumers already: `capture forget NAME` removes one that is gone")]
    TooMany,
    /// There is no consumer of that name.
    #[error("there is no consumer {name:?}")]
    Unknown {
        /// The name.
        name: String,
    },
    /// The sequence has not been made durable yet.
    #[error("sequence {sequence} is beyond the head, {head}")]
    BeyondHead {
        /// The sequence asked for.
        sequence: u64,
        /// The head.
        head: u64,
    },
    /// It could not be made durable.
    #[error(transparent)]
    Storage(#[from] FlushError),
}

/// The queue, held by the one thread that appends.
pub struct Queue {
    options: QueueOptions,
    layout: Layout,
    mark_file: MarkFile,
    mark: Mark,
    shared: Arc<Shared>,
    losses: Losses,
    writer: BlockWriter,
    /// Appended and not durable yet, in order.
    pending: VecDeque<Pending>,
    pending_bytes: usize,
    refused: u64,
    cursors: BTreeMap<String, u64>,
    /// Cursors that have moved since the last flush.
    dirty_cursors: BTreeMap<String, u64>,
    last_arrival: LastArrival,
    merge_from: u64,
    trouble: Option<Trouble>,
    last_upkeep: Option<u64>,
}

#[derive(Debug)]
struct Pending {
    record: Record,
    /// Whether its silence passed on this machine.
    is_live: bool,
}

#[derive(Debug)]
struct Trouble {
    words: String,
    next_try: Instant,
}

impl Queue {
    /// Opens the queue of a folder, or makes an empty one.
    ///
    /// A database that sled cannot open is moved aside and a new one begun; what was lost is noted.
    ///
    /// # Errors
    /// Where another process has it open, or the system refuses.
    pub fn open(options: &QueueOptions) -> Result<(Self, OpenReport), OpenError> {
        let layout = Layout::new(&options.path);
        let failed = |action, path: &Path| {
            let path = path.to_owned();
            move |source| OpenError::System { action, path, source }
        };
        std::fs::create_dir_all(&options.path).map_err(failed("making the queue's folder", &options.path))?;
        let (mark_file, found) = MarkFile::open(&layout.mark()).map_err(failed("opening", &layout.mark()))?;
        if !mark_file.try_lock() {
            return Err(OpenError::Locked {
                path: options.path.clone(),
            });
        }
        let now_us = jiff::Timestamp::now().as_microsecond();
        let mut report = OpenReport::default();
        let had_database = layout.database().exists();
        report.is_new = found.is_none() && !had_database;
        let opened = match Store::open(&layout.database(), options.open_patience) {
            Ok(opened) => opened,
            Err(error) if error.kind == StoreErrorKind::Locked => {
                return Err(OpenError::Locked {
                    path: options.path.clone(),
                });
            }
            Err(error) if error.kind != StoreErrorKind::Damaged => return Err(error.into()),
            Err(error) => {
                let moved = layout
                    .move_aside(jiff::Timestamp::now())
                    .map_err(failed("moving the damaged database aside in", &options.path))?;
                report.moved_aside = Some((moved, error.detail));
                Store::open(&layout.database(), options.open_patience)?
            }
        };
        let identity = identity(&layout, found.as_ref()).map_err(failed("writing", &layout.identity()))?;
        let losses = Losses::open(&layout.losses());
        let writer = BlockWriter::new(COMPRESSION_LEVEL)
            .map_err(failed("preparing compression for", &options.path))?;

        let mut queue = Self {
            options: options.clone(),
            mark_file,
            mark: Mark::default(),
            shared: Arc::new(Shared {
                identity: String::from_utf8_lossy(&identity).into_owned(),
                view: Mutex::default(),
                grown: Condvar::new(),
                store: RwLock::new(None),
            }),
            losses,
            writer,
            pending: VecDeque::new(),
            pending_bytes: 0,
            refused: 0,
            cursors: BTreeMap::new(),
            dirty_cursors: BTreeMap::new(),
            last_arrival: LastArrival::Never,
            merge_from: 0,
            trouble: None,
            last_upkeep: None,
            layout,
        };
        queue.take_over(opened, found, identity, now_us, &mut report)?;
        Ok((queue, report))
    }

    /// Settles what the database and the mark say, and begins a new generation.
    fn take_over(
        &mut self,
        opened: Opened,
        found: Option<Mark>,
        identity: [u8; 8],
        now_us: i64,
        report: &mut OpenReport,
    ) -> Result<(), OpenError> {
        let Opened {
            store,
            entries,
            damaged,
            cursors,
        } = opened;
        report.damaged_blocks = damaged.len() as u64;
        let (index, superseded) = without_overlap(entries);
        let mark = found.clone().unwrap_or_default();
        let is_same_boot = mark.boot_id == self.options.boot_id;
        // Whether the mark's unsynced part is known to be its newest.
        let is_vouched = found.is_some() && (is_same_boot || mark.is_clean);
        let stored_head = index.last().unwrap_or(0);

        let mut all_cursors = cursors;
        for (name, cursor) in &mark.cursors {
            let known = all_cursors.entry(name.clone()).or_insert(*cursor);
            *known = (*known).max(*cursor);
        }
        let highest_cursor = all_cursors.values().copied().max().unwrap_or(0);
        let head = stored_head.max(mark.head).max(highest_cursor);
        let mut next = mark.next.max(head + 1);
        if found.is_none() && stored_head > 0 {
            // The mark is gone: nothing tells how far above the database the sequences had come.
            next += CEILING_STEP;
        } else if !is_vouched {
            next = next.max(mark.ceiling + 1);
        }

        let mut lost = Vec::new();
        let mut note = |first: u64, last: u64, cause: &str| {
            lost.push(Loss {
                at_us: now_us,
                first_sequence: first,
                last_sequence: last,
                cause: cause.to_owned(),
            });
        };
        let cause = match &report.moved_aside {
            Some((folder, _)) => format!(
                "the database could not be opened; it is now {}, and `capture import --damaged` brings back what is whole in it",
                folder.display()
            ),
            None if damaged.is_empty() => "the database no longer holds them".to_owned(),
            None => "their blocks are damaged".to_owned(),
        };
        let from = if is_vouched {
            mark.tail.max(1)
        } else {
            index.first().unwrap_or(head + 1)
        };
        for (first, last) in index.holes(from) {
            if !self.losses.covers(first, last) {
                note(first, last, &cause);
            }
        }
        let known_from = index.last().map_or(from, |last| last + 1);
        if known_from <= head && !self.losses.covers(known_from, head) {
            note(known_from, head, &cause);
        }
        if next > head + 1 && mark.next <= head + 1 {
            note(
                head + 1,
                next - 1,
                "left out after a power cut, so that no sequence is given twice; no visible record is known to be missing",
            );
        }
        for loss in &lost {
            self.losses.add(loss.clone());
        }
        report.losses = lost;
        report.records = index.iter().map(|entry| entry.last - entry.first + 1).sum();

        let generation = index
            .iter()
            .map(|entry| entry.generation)
            .max()
            .unwrap_or(0)
            .max(mark.generation);
        self.last_arrival = match mark.last_uptime_us {
            Some(uptime) if is_same_boot => LastArrival::Uptime(uptime),
            _ if head > 0 => LastArrival::OtherBoot,
            _ => LastArrival::Never,
        };
        self.mark = Mark {
            counter: mark.counter,
            generation: generation + 1,
            is_clean: false,
            boot_id: self.options.boot_id,
            identity,
            head,
            next,
            ceiling: mark.ceiling.max(next - 1 + CEILING_STEP),
            tail: index.first().unwrap_or(head + 1),
            last_uptime_us: match self.last_arrival {
                LastArrival::Uptime(uptime) => Some(uptime),
                _ => None,
            },
            cursors: all_cursors.clone(),
        };
        let remove: Vec<u64> = damaged
            .iter()
            .map(|(first, _)| *first)
            .chain(superseded)
            .collect();
        let change = Change {
            remove,
            cursors: all_cursors
                .iter()
                .map(|(name, cursor)| (name.clone(), *cursor))
                .collect(),
            ..Change::default()
        };
        if !change.remove.is_empty() || !change.cursors.is_empty() {
            store.write(&change)?;
        }
        let system = |action, path: PathBuf| move |source| OpenError::System { action, path, source };
        self.losses
            .save()
            .map_err(system("writing", self.layout.losses()))?;
        self.mark_file
            .write_synced(&mut self.mark)
            .map_err(system("writing", self.layout.mark()))?;
        self.cursors = all_cursors;
        self.merge_from = merge::first_not_full(&index, 0);
        *self.shared.view() = View {
            head,
            index,
            last_arrival: self.last_arrival,
            ..View::default()
        };
        *self.shared.store.write().unwrap_or_else(PoisonError::into_inner) = Some(store);
        Ok(())
    }

    /// A view for another thread.
    pub fn reader(&self) -> Reader {
        Reader::new(Arc::clone(&self.shared))
    }

    /// Identity of the folder: eight characters.
    pub fn identity(&self) -> &str {
        &self.shared.identity
    }

    /// Highest durable sequence; 0 in an empty queue.
    pub fn head(&self) -> u64 {
        self.mark.head
    }

    /// Takes a telegram and gives it its sequence. It is neither durable nor visible before the next
    /// [`Self::flush`].
    ///
    /// # Errors
    /// Where it is too large, or too many wait already. The queue is as it was.
    pub fn append(&mut self, arrival: Arrival, telegram: &[u8]) -> Result<u64, AppendError> {
        let silence_ms = self.last_arrival.silence_ms(arrival.uptime_us);
        let sequence = self.push(arrival.captured_at_us, silence_ms, telegram, true)?;
        self.last_arrival = LastArrival::Uptime(arrival.uptime_us);
        Ok(sequence)
    }

    /// Takes a telegram from elsewhere, with the times it came with.
    ///
    /// # Errors
    /// As [`Self::append`].
    pub fn append_imported(&mut self, imported: &Imported) -> Result<u64, AppendError> {
        self.push(
            imported.captured_at_us,
            imported.silence_ms,
            &imported.telegram,
            false,
        )
    }

    fn push(
        &mut self,
        captured_at_us: i64,
        silence_ms: u64,
        telegram: &[u8],
        is_live: bool,
    ) -> Result<u64, AppendError> {
        if telegram.len() > MAX_TELEGRAM_BYTES {
            return Err(AppendError::TooLarge {
                bytes: telegram.len(),
            });
        }
        if self.pending_bytes + telegram.len() > MAX_BUFFERED_BYTES {
            self.refused += 1;
            return Err(AppendError::Full {
                buffered: self.pending_bytes,
            });
        }
        let sequence = self.mark.next + self.pending.len() as u64;
        self.pending_bytes += telegram.len();
        self.pending.push_back(Pending {
            record: Record {
                sequence,
                captured_at_us,
                silence_ms,
                telegram: telegram.to_vec(),
            },
            is_live,
        });
        if self.pending.len() == 1 {
            self.shared.view().is_unflushed = true;
        }
        Ok(sequence)
    }

    /// Bytes of telegrams that wait for a flush.
    pub fn buffered_bytes(&self) -> usize {
        self.pending_bytes
    }

    /// Makes durable what was appended and committed since the last flush, then makes it visible.
    ///
    /// # Errors
    /// What was appended stays in memory and invisible; the next flush writes it again, into a
    /// database that is opened anew where that is needed.
    pub fn flush(&mut self) -> Result<Flushed, FlushError> {
        if self.pending.is_empty() && self.dirty_cursors.is_empty() && self.trouble.is_none() {
            return Ok(Flushed {
                records: 0,
                head: self.mark.head,
            });
        }
        self.recover()?;
        let blocks = self.encode_pending();
        let last = self
            .pending
            .back()
            .map_or(self.mark.head, |pending| pending.record.sequence);
        if last > self.mark.ceiling {
            self.mark.ceiling = last + CEILING_STEP;
            self.write_mark_synced()?;
        }
        let change = Change {
            put: blocks
                .iter()
                .map(|(entry, bytes)| (entry.first, bytes.clone()))
                .collect(),
            cursors: self
                .dirty_cursors
                .iter()
                .map(|(name, cursor)| (name.clone(), *cursor))
                .collect(),
            ..Change::default()
        };
        self.write(&change)?;
        self.dirty_cursors.clear();

        let records = self.pending.len() as u64;
        self.pending.clear();
        self.pending_bytes = 0;
        self.mark.head = last;
        self.mark.next = self.mark.next.max(last + 1);
        self.mark.last_uptime_us = match self.last_arrival {
            LastArrival::Uptime(uptime) => Some(uptime),
            _ => self.mark.last_uptime_us,
        };
        self.mark.cursors = self.cursors.clone();
        // Durable already: a mark that cannot be written now is found behind at the next opening, not wrong.
        let marked = self.mark_file.write(&mut self.mark);
        {
            let mut view = self.shared.view();
            for (entry, _) in blocks {
                view.index.insert(entry);
            }
            view.head = last;
            view.is_unflushed = false;
            view.last_arrival = self.last_arrival;
        }
        self.shared.grown.notify_all();
        if let Err(source) = marked {
            return Err(FlushError::Mark {
                path: self.layout.mark(),
                source,
            });
        }
        Ok(Flushed { records, head: last })
    }

    /// Registers a consumer durably; one that is there already stays where it is. Returns its cursor.
    ///
    /// # Errors
    /// Where the name is impossible, there are too many, or it cannot be made durable.
    pub fn register(&mut self, name: &str, start: Start) -> Result<u64, ConsumerError> {
        if let Some(&cursor) = self.cursors.get(name) {
            return Ok(cursor);
        }
        if name.is_empty() || name.len() > MAX_CONSUMER_NAME_BYTES || name.chars().any(char::is_control) {
            return Err(ConsumerError::Name {
                name: name.to_owned(),
            });
        }
        if self.cursors.len() >= MAX_CONSUMERS {
            return Err(ConsumerError::TooMany);
        }
        let cursor = match start {
            Start::Oldest => self
                .shared
                .view()
                .index
                .first()
                .map_or(self.mark.head, |tail| tail - 1),
            Start::Newest => self.mark.head,
        };
        self.recover()?;
        self.write(&Change {
            cursors: vec![(name.to_owned(), cursor)],
            ..Change::default()
        })?;
        self.cursors.insert(name.to_owned(), cursor);
        self.mark.cursors = self.cursors.clone();
        self.write_mark_synced()?;
        Ok(cursor)
    }

    /// Moves a consumer's cursor; durable with the next flush. One that is not ahead changes nothing.
    ///
    /// # Errors
    /// Where there is no such consumer, or the sequence is beyond the head.
    pub fn commit(&mut self, name: &str, sequence: u64) -> Result<(), ConsumerError> {
        let head = self.mark.head;
        let Some(cursor) = self.cursors.get_mut(name) else {
            return Err(ConsumerError::Unknown {
                name: name.to_owned(),
            });
        };
        if sequence > head {
            return Err(ConsumerError::BeyondHead { sequence, head });
        }
        if sequence > *cursor {
            *cursor = sequence;
            self.dirty_cursors.insert(name.to_owned(), sequence);
        }
        Ok(())
    }

    /// Removes a consumer durably; false where there was none.
    ///
    /// # Errors
    /// Where it cannot be made durable; the consumer is then still there.
    pub fn forget(&mut self, name: &str) -> Result<bool, ConsumerError> {
        if !self.cursors.contains_key(name) {
            return Ok(false);
        }
        self.recover()?;
        // The mark first: a cursor in either place counts at the next opening.
        let cursor = self.mark.cursors.remove(name);
        if let Err(error) = self.write_mark_synced() {
            self.mark
                .cursors
                .extend(cursor.map(|cursor| (name.to_owned(), cursor)));
            return Err(error.into());
        }
        self.write(&Change {
            forget: vec![name.to_owned()],
            ..Change::default()
        })?;
        self.cursors.remove(name);
        self.dirty_cursors.remove(name);
        self.mark_file
            .write(&mut self.mark)
            .map_err(|source| FlushError::Mark {
                path: self.layout.mark(),
                source,
            })?;
        Ok(true)
    }

    /// The consumers' cursors.
    pub fn consumers(&self) -> &BTreeMap<String, u64> {
        &self.cursors
    }

    /// A bounded step of upkeep: writes commits that no telegram has carried, merges blocks, trims.
    /// Called after flushes and every second or so. `now_us` is the system's clock, `uptime_us` the one
    /// that does not jump.
    ///
    /// # Errors
    /// As [`Self::flush`].
    pub fn maintain(&mut self, now_us: i64, uptime_us: u64) -> Result<Maintained, FlushError> {
        let mut done = Maintained::default();
        if self.trouble.is_some() {
            self.flush()?;
        }
        let is_due = self
            .last_upkeep
            .is_none_or(|last| uptime_us.saturating_sub(last) >= UPKEEP_INTERVAL_US);
        if is_due {
            self.last_upkeep = Some(uptime_us);
            if !self.dirty_cursors.is_empty() {
                self.flush()?;
            }
        }
        self.merge(&mut done)?;
        self.trim(now_us, uptime_us, is_due, &mut done)?;
        if is_due {
            // Tried again with the next step; the losses are in memory and shown.
            let _ = self.losses.save();
        }
        Ok(done)
    }

    fn merge(&mut self, done: &mut Maintained) -> Result<(), FlushError> {
        let mut run = {
            let view = self.shared.view();
            merge::candidates(&view.index, self.merge_from)
        };
        if run.len() < 2 {
            return Ok(());
        }
        let mut records: Vec<Record> = Vec::new();
        for entry in &run {
            match self.read_block(entry)? {
                Some(block) => records.extend(block),
                // Its damage is found and noted by whoever reads it; it is not merged.
                None => {
                    self.merge_from = entry.last + 1;
                    return Ok(());
                }
            }
        }
        let (entry, bytes) = loop {
            let elapsed_ms = run.iter().map(|entry| entry.elapsed_ms).sum();
            let encoded = BlockWriter::new(MERGE_COMPRESSION_LEVEL)
                .and_then(|mut writer| writer.encode(&records, elapsed_ms, self.mark.generation))
                .map_err(|error| self.storage_error("compressing for", &error))?;
            if encoded.len() <= merge::MAX_STORED_BYTES || run.len() <= 2 {
                let header = block::read_header(&encoded)
                    .map_err(|error| self.storage_error("compressing for", &error))?;
                break (Entry::from(&header), encoded);
            }
            run.truncate(run.len().div_ceil(2));
            let last = run.last().map_or(0, |entry| entry.last);
            records.retain(|record| record.sequence <= last);
        };
        let change = Change {
            remove: run
                .iter()
                .map(|old| old.first)
                .filter(|&first| first != entry.first)
                .collect(),
            put: vec![(entry.first, bytes)],
            ..Change::default()
        };
        self.shared.view().is_changing = true;
        let written = self.write(&change);
        {
            let mut view = self.shared.view();
            view.is_changing = false;
            if written.is_ok() {
                for old in &run {
                    view.index.remove(old.first);
                }
                view.index.insert(entry);
                self.merge_from = merge::first_not_full(&view.index, self.merge_from);
            }
        }
        self.shared.grown.notify_all();
        written?;
        done.merged_blocks += run.len() as u64;
        Ok(())
    }

    fn trim(
        &mut self,
        now_us: i64,
        uptime_us: u64,
        is_due: bool,
        done: &mut Maintained,
    ) -> Result<(), FlushError> {
        let lowest_cursor = self.cursors.values().copied().min();
        let circumstances = retention::Circumstances {
            now_us,
            silence_ms: self.last_arrival.silence_ms(uptime_us),
            retention: self.options.retention.filter(|_| is_due),
            lowest_cursor,
            max_cost_bytes: self.max_cost_bytes(),
        };
        let verdict = retention::decide(&self.shared.view().index, &circumstances, TRIM_BLOCKS);
        let go: Vec<Entry> = verdict.surplus.iter().chain(&verdict.old).copied().collect();
        if go.is_empty() {
            return Ok(());
        }
        // Out of sight first: what is not shown may go.
        {
            let mut view = self.shared.view();
            for entry in &go {
                view.index.remove(entry.first);
            }
            self.mark.tail = view.index.first().unwrap_or(view.head + 1);
        }
        self.write(&Change {
            remove: go.iter().map(|entry| entry.first).collect(),
            ..Change::default()
        })?;
        self.merge_from = self.merge_from.max(self.mark.tail);
        done.trimmed_records += verdict
            .old
            .iter()
            .map(|entry| entry.last - entry.first + 1)
            .sum::<u64>();
        for entry in &verdict.surplus {
            let delivered = lowest_cursor.unwrap_or(0);
            if entry.last <= delivered {
                done.trimmed_records += entry.last - entry.first + 1;
                continue;
            }
            let first_sequence = entry.first.max(delivered + 1);
            done.lost_records += entry.last - first_sequence + 1;
            self.losses.add(Loss {
                at_us: now_us,
                first_sequence,
                last_sequence: entry.last,
                cause: format!(
                    "removed to stay within max_size ({} bytes)",
                    self.options.max_size_bytes
                ),
            });
        }
        done.has_more = go.len() == TRIM_BLOCKS;
        self.mark_file
            .write(&mut self.mark)
            .map_err(|source| FlushError::Mark {
                path: self.layout.mark(),
                source,
            })
    }

    /// How the queue is doing. Walks the folder for its size on disk.
    pub fn status(&self) -> QueueStatus {
        let view = self.shared.view();
        QueueStatus {
            identity: self.shared.identity.clone(),
            tail: view.index.first().unwrap_or(view.head + 1),
            head: view.head,
            live_bytes: retention::total_cost_bytes(&view.index),
            disk_bytes: layout::disk_bytes(self.layout.root()),
            max_size_bytes: self.options.max_size_bytes,
            cursors: self.cursors.clone(),
            losses: self.losses.list().to_vec(),
            trouble: self.trouble.as_ref().map(|trouble| trouble.words.clone()),
            buffered_bytes: self.pending_bytes as u64,
            refused: self.refused,
            damaged: self.layout.damaged(),
        }
    }

    /// Makes everything durable and notes that the queue was closed in order.
    ///
    /// # Errors
    /// As [`Self::flush`]; the queue is closed all the same, as if the process had ended.
    pub fn close(mut self) -> Result<(), FlushError> {
        let flushed = self.flush();
        let _ = self.losses.save();
        self.close_store();
        flushed?;
        self.mark.is_clean = true;
        self.write_mark_synced()
    }

    fn max_cost_bytes(&self) -> u64 {
        self.options.max_size_bytes / 3
    }

    fn encode_pending(&mut self) -> Vec<(Entry, Vec<u8>)> {
        let mut blocks = Vec::new();
        let pending: Vec<&Pending> = self.pending.iter().collect();
        let mut rest = pending.as_slice();
        while !rest.is_empty() {
            let mut raw = 0;
            let mut count = 0;
            while let Some(next) = rest.get(count) {
                raw += block::raw_bytes(next.record.telegram.len());
                if count > 0 && (raw > merge::TARGET_RAW_BYTES || count as u64 >= merge::MAX_RECORDS) {
                    break;
                }
                count += 1;
            }
            loop {
                let (group, _) = rest.split_at(count);
                let records: Vec<Record> = group.iter().map(|pending| pending.record.clone()).collect();
                let elapsed = group
                    .iter()
                    .filter(|pending| pending.is_live)
                    .map(|pending| pending.record.silence_ms)
                    .sum();
                let Ok(bytes) = self.writer.encode(&records, elapsed, self.mark.generation) else {
                    return blocks;
                };
                if bytes.len() > merge::MAX_STORED_BYTES && count > 1 {
                    count = count.div_ceil(2);
                    continue;
                }
                let Ok(header) = block::read_header(&bytes) else {
                    return blocks;
                };
                blocks.push((Entry::from(&header), bytes));
                break;
            }
            rest = rest.split_at(count).1;
        }
        blocks
    }

    fn read_block(&self, entry: &Entry) -> Result<Option<Vec<Record>>, FlushError> {
        let store = self.shared.store.read().unwrap_or_else(PoisonError::into_inner);
        let Some(store) = store.as_ref() else {
            return Ok(None);
        };
        Ok(store
            .read(entry.first)?
            .and_then(|bytes| block::decode(&bytes).ok())
            .map(|(_, records)| records))
    }

    fn write(&mut self, change: &Change) -> Result<(), FlushError> {
        let result = {
            let store = self.shared.store.read().unwrap_or_else(PoisonError::into_inner);
            store.as_ref().map(|store| store.write(change))
        };
        match result {
            Some(Ok(())) => Ok(()),
            Some(Err(error)) => {
                self.close_store();
                self.trouble = Some(Trouble {
                    words: error.to_string(),
                    next_try: Instant::now() + RETRY_INTERVAL,
                });
                Err(error.into())
            }
            None => Err(self.waiting()),
        }
    }

    /// Opens the database again after a failure; nothing to do where it is open.
    fn recover(&mut self) -> Result<(), FlushError> {
        let Some(trouble) = &self.trouble else {
            return Ok(());
        };
        if Instant::now() < trouble.next_try {
            return Err(self.waiting());
        }
        Err(self.waiting())
    }

    fn waiting(&self) -> FlushError {
        let (trouble, seconds) =
            self.trouble
                .as_ref()
                .map_or(("the queue is closed".to_owned(), 0), |trouble| {
                    (
                        trouble.words.clone(),
                        trouble
                            .next_try
                            .saturating_duration_since(Instant::now())
                            .as_secs(),
                    )
                });
        FlushError::Waiting { trouble, seconds }
    }

    fn close_store(&self) {
        let store = self
            .shared
            .store
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(store) = store {
            store.close();
        }
    }

    fn write_mark_synced(&mut self) -> Result<(), FlushError> {
        self.mark_file
            .write_synced(&mut self.mark)
            .map_err(|source| FlushError::Mark {
                path: self.layout.mark(),
                source,
            })
    }

    fn storage_error(&self, action: &'static str, error: &dyn std::error::Error) -> FlushError {
        FlushError::Storage(StoreError {
            action,
            path: self.layout.database(),
            detail: error.to_string(),
            kind: StoreErrorKind::System,
        })
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        self.shared.view().is_closed = true;
        self.shared.grown.notify_all();
        self.close_store();
    }
}

/// The entries without those whose records another holds too: the higher generation counts, then the
/// larger block. Also the keys of the others.
fn without_overlap(mut entries: Vec<Entry>) -> (Index, Vec<u64>) {
    entries.sort_by_key(|entry| {
        (
            std::cmp::Reverse(entry.generation),
            std::cmp::Reverse(entry.last - entry.first),
        )
    });
    let mut index = Index::default();
    let mut superseded = Vec::new();
    for entry in entries {
        match index.at_or_after(entry.first) {
            Some(other) if other.first <= entry.last => superseded.push(entry.first),
            _ => index.insert(entry),
        }
    }
    (index, superseded)
}

/// Which start of the machine this is; zeros where the system does not tell.
pub fn current_boot_id() -> [u8; 16] {
    let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let digits: Vec<u8> = text
        .chars()
        .filter_map(|digit| digit.to_digit(16))
        .map(|digit| digit as u8)
        .collect();
    let mut id = [0; 16];
    for (byte, pair) in id.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = pair.iter().fold(0, |value, digit| value << 4 | digit);
    }
    id
}

/// The folder's identity: as it was, from the mark where the file is gone, else drawn now.
fn identity(layout: &Layout, mark: Option<&Mark>) -> io::Result<[u8; 8]> {
    let is_whole = |identity: &[u8; 8]| identity.iter().all(u8::is_ascii_alphanumeric);
    let stored = std::fs::read(layout.identity())
        .ok()
        .and_then(|bytes| bytes.trim_ascii().try_into().ok());
    if let Some(identity) = stored.filter(is_whole) {
        return Ok(identity);
    }
    let identity = match mark.map(|mark| mark.identity).filter(is_whole) {
        Some(identity) => identity,
        None => {
            let mut drawn = [0; 8];
            io::Read::read_exact(&mut std::fs::File::open("/dev/urandom")?, &mut drawn)?;
            drawn.map(|byte| {
                ALPHABET
                    .get(usize::from(byte) % ALPHABET.len())
                    .copied()
                    .unwrap_or(b'a')
            })
        }
    };
    let mut line = identity.to_vec();
    line.push(b'\n');
    layout::replace_file(&layout.identity(), &line)?;
    Ok(identity)
}

const ALPHABET: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";
const COMPRESSION_LEVEL: i32 = 3;
const MERGE_COMPRESSION_LEVEL: i32 = 6;
const RETRY_INTERVAL: Duration = Duration::from_secs(5);
const UPKEEP_INTERVAL_US: u64 = 5_000_000;
/// Most blocks removed in one step.
const TRIM_BLOCKS: usize = 64;
const _: () = assert!(MAX_TELEGRAM_BYTES < block::MAX_RAW_BYTES && INTERVAL_SILENCE_MS > 0);

//! Reading the queue from other threads: records, the head, and waiting for it to rise.
//!
//! Readers see what has been flushed and nothing else. They read the database themselves, so a slow
//! one costs the thread that appends nothing.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, Instant};

use shared::bell::Bell;
use shared::record::{INTERVAL_SILENCE_MS, Record};
use shared::wire::Identity;
use thiserror::Error;

use super::bell::Bells;
use super::block::BlockDecoder;
use super::index::{Entry, Index};
use super::store::{Store, StoreError, StoreErrorKind};

/// Where the queue and its readers meet.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) identities: Mutex<Arc<[Identity]>>,
    pub(super) view: Mutex<View>,
    /// Signalled when the head rises and when the queue closes.
    pub(super) grown: Condvar,
    /// Rung at the same moments.
    pub(super) bells: Bells,
    /// None while the queue is out of order. Taken exclusively only to close or replace it.
    pub(super) store: RwLock<Option<Store>>,
}

/// What readers may see. Locked for moments only, never across reading or writing.
#[derive(Debug, Default)]
pub(super) struct View {
    pub(super) head: u64,
    pub(super) index: Index,
    pub(super) is_unflushed: bool,
    /// Until when, by the clock that does not jump, some reader was told that nothing came: a publisher may
    /// have closed an interval on that, so no record may say otherwise. In microseconds.
    pub(super) told_silent_until_us: u64,
    /// When a reader first asked for the silence, by the same clock: where no clock tells when the last
    /// telegram came, it is counted from here.
    pub(super) asked_since_us: Option<u64>,
    /// Some reader was told of a silence that closes an interval, and nothing was appended since.
    pub(super) is_interval_told_closed: bool,
    /// Blocks that readers found damaged, and why; taken out of the queue by upkeep.
    pub(super) damaged: Vec<(Entry, String)>,
    /// Blocks are being replaced: the index and the database may disagree for a moment.
    pub(super) is_changing: bool,
    pub(super) is_closed: bool,
    pub(super) last_arrival: LastArrival,
}

/// When the last telegram came.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) enum LastArrival {
    /// None has ever come.
    #[default]
    Never,
    /// At this uptime, in microseconds.
    Uptime(u64),
    /// Before this start of the machine: no clock tells.
    OtherBoot,
}

impl LastArrival {
    /// Silence since then, in milliseconds. Where no clock tells, it is counted from `since_us`, and after
    /// another start of the machine it was long before that already.
    pub(super) fn silence_ms(self, uptime_us: u64, since_us: Option<u64>) -> u64 {
        let counted = uptime_us.saturating_sub(since_us.unwrap_or(uptime_us)) / 1000;
        match self {
            Self::Never => counted,
            Self::Uptime(last) => uptime_us.saturating_sub(last) / 1000,
            Self::OtherBoot => INTERVAL_SILENCE_MS + 1 + counted,
        }
    }
}

impl Shared {
    pub(super) fn view(&self) -> MutexGuard<'_, View> {
        self.view.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Wakes whoever waits for the head to rise or the queue to close.
    pub(super) fn announce(&self) {
        self.grown.notify_all();
        self.bells.ring();
    }
}

/// Records in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    /// The records; empty where there is none at or after the sequence asked for.
    pub records: Vec<Record>,
    /// Highest durable sequence when they were read.
    pub head: u64,
}

/// Why nothing could be read.
#[derive(Debug, Error)]
pub enum ReadError {
    /// The queue is out of order at present; it is opened again as soon as that is possible.
    #[error("the queue is not open at present")]
    Unavailable,
    /// The database could not read.
    #[error(transparent)]
    Storage(#[from] StoreError),
}

/// A view of the queue for one reader. Clones are independent; each remembers the block it read last.
pub struct Reader {
    shared: Arc<Shared>,
    last_block: Option<(Entry, Arc<[Record]>)>,
    /// While there is something to read.
    decoder: Option<BlockDecoder>,
}

impl std::fmt::Debug for Reader {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Reader").finish_non_exhaustive()
    }
}

impl Clone for Reader {
    fn clone(&self) -> Self {
        Self {
            shared: Arc::clone(&self.shared),
            last_block: None,
            decoder: None,
        }
    }
}

impl Reader {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self {
            shared,
            last_block: None,
            decoder: None,
        }
    }

    /// The identities and where they begin, oldest first; another value as soon as there is a new one.
    pub fn identities(&self) -> Arc<[Identity]> {
        self.shared.identities()
    }

    /// Highest durable sequence; 0 in an empty queue.
    pub fn head(&self) -> u64 {
        self.shared.view().head
    }

    /// Lowest sequence kept; one more than the head in an empty queue.
    pub fn tail(&self) -> u64 {
        let view = self.shared.view();
        view.index.first().unwrap_or(view.head + 1)
    }

    /// Milliseconds since the last telegram came: the next record's silence will be at least this, also
    /// where that telegram has come already and is on its way to the queue. 0 while one is on its way to
    /// the disk. Where none has ever come, or none since the machine started, it grows from when this was first
    /// asked, so that a meter that never speaks shows. `uptime_us` is the clock that does not jump.
    pub fn silence_ms(&self, uptime_us: u64) -> u64 {
        let mut view = self.shared.view();
        if view.is_unflushed {
            0
        } else {
            view.told_silent_until_us = view.told_silent_until_us.max(uptime_us);
            let since_us = *view.asked_since_us.get_or_insert(uptime_us);
            let silence_ms = view.last_arrival.silence_ms(uptime_us, Some(since_us));
            view.is_interval_told_closed |= silence_ms > INTERVAL_SILENCE_MS;
            silence_ms
        }
    }

    /// The records from sequence `from` on, as many as fit in `max_bytes` of telegrams, at least one
    /// where there is one. Where `from` is no longer kept the next that is comes first. Each block is
    /// decoded once however many batches it is read in.
    ///
    /// # Errors
    /// Where the queue is not open or cannot be read. Damaged blocks are passed over and noted.
    pub fn read(&mut self, from: u64, max_bytes: usize) -> Result<Batch, ReadError> {
        let mut records = Vec::new();
        let mut bytes = 0usize;
        let mut next = from.max(1);
        let mut head;
        'blocks: loop {
            let entry = {
                let view = self.shared.view();
                head = view.head;
                view.index.at_or_after(next)
            };
            let Some(entry) = entry else { break };
            let block = match self.block(entry) {
                Ok(Some(block)) => block,
                // It has been merged or trimmed since, or was damaged and is passed over: look again.
                Ok(None) => {
                    self.pause();
                    continue;
                }
                Err(_) if !records.is_empty() => break,
                Err(error) => return Err(error),
            };
            for record in block
                .iter()
                .filter(|record| record.sequence >= next && record.sequence <= head)
            {
                if !records.is_empty() && bytes + record.telegram.len() > max_bytes {
                    break 'blocks;
                }
                bytes += record.telegram.len();
                records.push(record.clone());
            }
            next = entry.last + 1;
        }
        if records.is_empty() {
            self.decoder = None;
        }
        Ok(Batch { records, head })
    }

    /// Sequence of the first record captured at or after this time, in microseconds since 1970; one
    /// more than the head where there is none.
    ///
    /// # Errors
    /// Where the queue is not open or cannot be read.
    pub fn locate(&mut self, at_us: i64) -> Result<u64, ReadError> {
        loop {
            let entry = {
                let view = self.shared.view();
                match view.index.captured_at_or_after(at_us) {
                    Some(entry) => entry,
                    None => return Ok(view.head + 1),
                }
            };
            if let Some(block) = self.block(entry)? {
                let found = block.iter().find(|record| record.captured_at_us >= at_us);
                return Ok(found.map_or(entry.last + 1, |record| record.sequence));
            }
            self.pause();
        }
    }

    /// Rings when the head has risen and when the queue is closed: for who waits for something else as well.
    ///
    /// # Errors
    /// Where the system has no more files for this process.
    pub fn bell(&self) -> std::io::Result<Arc<Bell>> {
        self.shared.bells.hang()
    }

    /// Whether the queue is closed, so that its head will not rise again.
    pub fn is_closed(&self) -> bool {
        self.shared.view().is_closed
    }

    /// Waits until the head is beyond `sequence`, the time is over or the queue is closed; true in the
    /// first case.
    pub fn wait_beyond(&self, sequence: u64, timeout: Duration) -> bool {
        let deadline = Instant::now() + timeout;
        let mut view = self.shared.view();
        while view.head <= sequence && !view.is_closed {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            view = self
                .shared
                .grown
                .wait_timeout(view, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
        view.head > sequence
    }

    /// Waits a moment for blocks that are being replaced.
    fn pause(&self) {
        let view = self.shared.view();
        if view.is_changing {
            drop(self.shared.grown.wait_timeout(view, Duration::from_millis(5)));
        }
    }

    /// The records of a block; none where it is no longer there, or damaged.
    fn block(&mut self, entry: Entry) -> Result<Option<Arc<[Record]>>, ReadError> {
        if let Some((known, records)) = &self.last_block {
            if *known == entry {
                return Ok(Some(Arc::clone(records)));
            }
        }
        // Before another is decoded, so that its memory can be used for it.
        self.last_block = None;
        let read = {
            let store = self.shared.store.read().unwrap_or_else(PoisonError::into_inner);
            store
                .as_ref()
                .ok_or(ReadError::Unavailable)?
                .read(entry.place, entry.first)
        };
        let damage = match read {
            Ok(Some(bytes)) => match self.decoder.get_or_insert_default().decode(&bytes) {
                Ok((header, records)) if Entry::new(&header, entry.place) == entry => {
                    let records: Arc<[Record]> = records.into();
                    self.last_block = Some((entry, Arc::clone(&records)));
                    return Ok(Some(records));
                }
                Ok(_) => "another block is in its place".to_owned(),
                Err(error) => error.to_string(),
            },
            Ok(None) => "it is gone".to_owned(),
            Err(error) if error.kind == StoreErrorKind::Damaged => error.detail,
            Err(error) => return Err(error.into()),
        };
        let mut view = self.shared.view();
        // A block that is being replaced, or was, is found under its new entry by looking again.
        if !view.is_changing && view.index.at_or_after(entry.first) == Some(entry) {
            view.index.remove(entry.first);
            view.damaged.push((entry, damage));
        }
        Ok(None)
    }
}

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
//! 6. *No identity and sequence name two telegrams*, also after an older copy of the folder is put back: see
//!    `identities`.
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
//! | killed while trimming | blocks go oldest first; the mark's tail is written after them |
//! | killed while registering | (the cursor is durable in the database, then synced in the mark, then answered): the consumer was not answered yet, and asks again |
//! | killed while rebuilding, or while what is whole in a refused database is brought back | see `rebuild` |

mod bell;
mod birth;
pub mod block;
pub mod buffer;
mod consumers;
mod error;
mod headroom;
mod identities;
pub mod index;
pub mod layout;
pub mod losses;
pub mod mark;
pub mod merge;
mod opening;
mod outcome;
pub(crate) mod own_files;
mod reader;
pub mod rebuild;
mod recovery;
pub mod reference;
mod restore;
pub mod retention;
pub mod salvage;
pub mod store;
mod upkeep;

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError};
use std::time::Instant;

use bytes::Bytes;
use shared::record::{INTERVAL_SILENCE_MS, Record};
use shared::wire::Imported;

pub use error::{AppendError, ConsumerError, FlushError, OpenError};
pub use outcome::{
    Accepted, Arrival, Flushed, Maintained, OpenReport, QueueOptions, QueueStatus, current_boot_id,
};
pub use reader::{Batch, ReadError, Reader};
pub use salvage::Salvage;
pub use store::{StoreError, StoreErrorKind};

use birth::Birth;
use block::BlockWriter;
use buffer::Buffer;
use index::{Entry, Place};
use layout::Layout;
use losses::Losses;
use mark::{CEILING_STEP, Mark, MarkFile};
use reader::{LastArrival, Shared};
use recovery::Trouble;
use store::{Change, Store};

/// Largest telegram that the queue takes, in bytes: the largest that is ever found in what a meter sends.
pub const MAX_TELEGRAM_BYTES: usize = shared::telegram::assembler::MAX_TELEGRAM_BYTES;
/// Bytes of telegrams that wait in memory while they cannot be made durable. The oldest are kept: the
/// newest are refused, and so were never accepted.
pub const MAX_BUFFERED_BYTES: usize = 2 * 1024 * 1024;
/// Bytes of blocks after which a flush makes room again before it goes on.
const PART_BYTES: usize = 32 * 1024;

/// The queue, held by the one thread that appends.
pub struct Queue {
    options: QueueOptions,
    layout: Layout,
    mark_file: MarkFile,
    mark: Mark,
    birth: Birth,
    shared: Arc<Shared>,
    losses: Losses,
    writer: BlockWriter,
    buffer: Buffer,
    refused: u64,
    accepted: Accepted,
    cursors: BTreeMap<String, u64>,
    /// Cursors that have moved since the last flush.
    dirty_cursors: BTreeMap<String, u64>,
    last_arrival: LastArrival,
    /// Where the search for blocks to merge begins.
    merge_from: u64,
    /// How many blocks of flushes wait to be grouped.
    recent_blocks: usize,
    trouble: Option<Trouble>,
    /// Said while the disk is full and telegrams are stored all the same.
    tightness: Option<String>,
    last_upkeep: Option<u64>,
    /// Until when the disk has room for what is written in that time.
    has_room_until: Option<Instant>,
    /// When, by the clock that does not jump in microseconds, the folder was last measured and was far from its bound.
    measured_at_us: Option<u64>,
    /// What has gone to make room since upkeep last told.
    gone: Maintained,
    on_step: Option<StepHook>,
}

/// Called with the name of a step that has just been done.
pub type StepHook = Box<dyn FnMut(&'static str) + Send>;

impl Queue {
    /// A view for another thread.
    pub fn reader(&self) -> Reader {
        Reader::new(Arc::clone(&self.shared))
    }

    /// Highest durable sequence; 0 in an empty queue.
    pub fn head(&self) -> u64 {
        self.mark.head
    }

    /// Bytes of telegrams that wait for a flush.
    pub fn buffered_bytes(&self) -> usize {
        self.buffer.bytes()
    }

    /// What keeps the queue from taking telegrams at present, in words.
    pub fn trouble(&self) -> Option<&str> {
        self.trouble.as_ref().map(|trouble| trouble.words.as_str())
    }

    /// What a person should mend though telegrams are taken, in words.
    pub fn tightness(&self) -> Option<&str> {
        self.tightness.as_deref()
    }

    /// For tests: has `hook` called between the steps of whatever changes the folder, so that the folder can
    /// be looked at as a crash at that moment would leave it.
    #[doc(hidden)]
    pub fn on_step(&mut self, hook: StepHook) {
        self.on_step = Some(hook);
    }

    fn step(&mut self, name: &'static str) {
        if let Some(hook) = &mut self.on_step {
            hook(name);
        }
    }

    /// Takes a telegram and gives it its sequence. It is neither durable nor visible before the next
    /// [`Self::flush`].
    ///
    /// # Errors
    /// Where it is too large, or too many wait already. The queue is as it was.
    pub fn append(&mut self, arrival: Arrival, telegram: &[u8]) -> Result<u64, AppendError> {
        let (uptime_us, since_us, was_unflushed) = {
            let mut view = self.shared.view();
            let was_unflushed = std::mem::replace(&mut view.is_unflushed, true);
            // Stamped before, appended after a reader was told of the silence: what it was told holds.
            let uptime_us = arrival.uptime_us.max(view.told_silent_until_us);
            (uptime_us, view.asked_since_us, was_unflushed)
        };
        let silence_ms = match self.last_arrival {
            // The first record of a queue.
            LastArrival::Never => 0,
            last => last.silence_ms(uptime_us, since_us),
        };
        match self.push(arrival.captured_at_us, silence_ms, telegram, true) {
            Ok(sequence) => {
                self.last_arrival = LastArrival::Uptime(uptime_us);
                self.shared.view().is_interval_told_closed = false;
                Ok(sequence)
            }
            Err(error) => {
                self.shared.view().is_unflushed = was_unflushed;
                Err(error)
            }
        }
    }

    /// Takes a telegram from elsewhere, with the times it came with. Where a reader was told of a silence that
    /// closes an interval, its silence says so too: live and replayed, the same records give the same messages.
    ///
    /// # Errors
    /// As [`Self::append`].
    pub fn append_imported(&mut self, imported: &Imported) -> Result<u64, AppendError> {
        let (was_unflushed, is_told_closed) = {
            let mut view = self.shared.view();
            let was_unflushed = std::mem::replace(&mut view.is_unflushed, true);
            (was_unflushed, std::mem::take(&mut view.is_interval_told_closed))
        };
        let least_ms = if is_told_closed {
            INTERVAL_SILENCE_MS + 1
        } else {
            0
        };
        let pushed = self.push(
            imported.captured_at_us,
            imported.silence_ms.max(least_ms),
            &imported.telegram,
            false,
        );
        if pushed.is_err() {
            let mut view = self.shared.view();
            view.is_unflushed = was_unflushed;
            view.is_interval_told_closed = is_told_closed;
        }
        let sequence = pushed?;
        if self.last_arrival == LastArrival::Never {
            // A telegram from the meter that follows is not the first record, and no clock tells the silence.
            self.last_arrival = LastArrival::OtherBoot;
        }
        Ok(sequence)
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
        if self.buffer.bytes() + telegram.len() > MAX_BUFFERED_BYTES {
            self.refused += 1;
            return Err(AppendError::Full {
                buffered: self.buffer.bytes(),
            });
        }
        let sequence = self.mark.next + self.buffer.len() as u64;
        if self.buffer.is_empty() {
            self.shared.view().is_unflushed = true;
        }
        self.buffer.push(
            Record {
                sequence,
                captured_at_us,
                silence_ms,
                telegram: Bytes::copy_from_slice(telegram),
            },
            is_live,
        );
        Ok(sequence)
    }

    /// Makes durable what was appended and committed since the last flush, then makes it visible.
    ///
    /// # Errors
    /// What was appended stays in memory and invisible, what was committed stays to be written; the next
    /// flush writes both again, into a database that is opened anew where that is needed.
    pub fn flush(&mut self) -> Result<Flushed, FlushError> {
        let mut records = 0;
        if self.buffer.is_empty() && self.dirty_cursors.is_empty() && self.trouble.is_none() {
            let head = self.mark.head;
            return Ok(Flushed { records, head });
        }
        loop {
            records += self.flush_part()?;
            if self.buffer.is_empty() {
                let head = self.mark.head;
                return Ok(Flushed { records, head });
            }
        }
    }

    /// Makes as much durable as is written at a time, with room made for it first. Returns how many records.
    fn flush_part(&mut self) -> Result<u64, FlushError> {
        let head = self.mark.head;
        self.recover()?;
        let has_journal = {
            let store = self.shared.store.read().unwrap_or_else(PoisonError::into_inner);
            store.as_ref().is_some_and(Store::has_journal)
        };
        let blocks = self
            .buffer
            .encode(&mut self.writer, self.mark.generation, has_journal, PART_BYTES)
            .map_err(|error| self.failed("compressing for", &error))?;
        self.make_room(blocks.iter().map(|(entry, _)| retention::cost_bytes(entry)).sum())?;
        let last = blocks.last().map_or(head, |(entry, _)| entry.last);
        if last > self.mark.ceiling {
            self.mark.ceiling = last + CEILING_STEP;
            self.write_mark_synced()?;
            self.step("ceiling raised");
        }
        let mut change = Change {
            put: blocks
                .iter()
                .map(|(entry, bytes)| (entry.place, entry.first, bytes.clone()))
                .collect(),
            cursors: self
                .dirty_cursors
                .iter()
                .map(|(name, cursor)| (name.clone(), *cursor))
                .collect(),
            ..Change::default()
        };
        let grouped = if self.recent_blocks >= merge::LATE_GROUP_BLOCKS {
            self.group(&mut change)?
        } else {
            None
        };
        self.shared.view().is_changing = grouped.is_some();
        let written = self.write(&change);
        if written.is_err() {
            self.shared.view().is_changing = false;
        }
        written?;
        self.step("flush written");

        self.dirty_cursors.clear();
        let (records, live) = self.buffer.forget(last);
        if live > 0 {
            self.accepted.telegrams += live;
            if let LastArrival::Uptime(uptime) = self.last_arrival {
                self.accepted.last_uptime_us = Some(uptime);
            }
        }
        self.trouble = None;
        self.mark.head = last;
        self.mark.next = self.mark.next.max(last + 1);
        if let LastArrival::Uptime(uptime) = self.last_arrival {
            self.mark.last_uptime_us = Some(uptime);
        }
        self.mark.cursors = self.cursors.clone();
        // The records are durable already: a mark that cannot be written now is behind, not wrong.
        let marked = self.mark_file.write(&mut self.mark);
        self.step("flush marked");
        self.recent_blocks += blocks
            .iter()
            .filter(|(entry, _)| entry.place == Place::Recent)
            .count();
        {
            let mut view = self.shared.view();
            if let Some((old, new)) = grouped {
                self.recent_blocks -= old.len().min(self.recent_blocks);
                for entry in &old {
                    view.index.remove(entry.first);
                }
                view.index.insert(new);
            }
            for (entry, _) in &blocks {
                view.index.insert(*entry);
            }
            view.head = last;
            view.is_unflushed = !self.buffer.is_empty();
            view.is_changing = false;
            view.last_arrival = self.last_arrival;
        }
        self.shared.announce();
        marked.map_err(|source| FlushError::Mark {
            path: self.layout.mark(),
            source,
        })?;
        Ok(records)
    }

    /// Adds the grouping of the last flushes' blocks to a change, where there are enough: what goes and
    /// what comes for it.
    fn group(&mut self, change: &mut Change) -> Result<Option<(Vec<Entry>, Entry)>, FlushError> {
        let mut run = merge::group(&self.shared.view().index);
        if run.len() < 2 {
            return Ok(None);
        }
        let Some(mut records) = self.read_blocks(&run)? else {
            // A damaged one among them: left to whoever reads it, and to be merged around.
            self.recent_blocks = 0;
            return Ok(None);
        };
        let bytes = loop {
            let elapsed_ms = run.iter().map(|entry| entry.elapsed_ms).sum();
            let bytes = self
                .writer
                .encode(&records, elapsed_ms, self.mark.generation)
                .map_err(|error| self.failed("compressing for", &error))?;
            let Some(fewer) = merge::fewer(run.len(), bytes.len()) else {
                break bytes;
            };
            run.truncate(fewer);
            let last = run.last().map_or(0, |entry| entry.last);
            records.retain(|record| record.sequence <= last);
        };
        let header = block::read_header(&bytes).map_err(|error| self.failed("compressing for", &error))?;
        let new = Entry::new(&header, merge::place_of_group(&header));
        let replaced = run.iter().map(|old| (old.place, old.first));
        // What is added takes the place of what was under the same key.
        change
            .remove
            .extend(replaced.filter(|key| *key != (new.place, new.first)));
        change.put.insert(0, (new.place, new.first, bytes));
        Ok(Some((run, new)))
    }

    /// The records of neighbouring blocks; none where one of them is not whole.
    fn read_blocks(&self, run: &[Entry]) -> Result<Option<Vec<Record>>, FlushError> {
        let store = self.shared.store.read().unwrap_or_else(PoisonError::into_inner);
        let Some(store) = store.as_ref() else {
            return Ok(None);
        };
        let mut records = Vec::new();
        for entry in run {
            match store
                .read(entry.place, entry.first)?
                .map(|bytes| block::decode(&bytes))
            {
                Some(Ok((header, block))) if Entry::new(&header, entry.place) == *entry => {
                    records.extend(block)
                }
                _ => return Ok(None),
            }
        }
        Ok(Some(records))
    }

    /// How the queue is doing. Walks the folder for its size on disk.
    pub fn status(&self) -> QueueStatus {
        let (tail, head, live_bytes) = {
            let view = self.shared.view();
            let tail = view.index.first().unwrap_or(view.head + 1);
            (tail, view.head, retention::total_cost_bytes(&view.index))
        };
        QueueStatus {
            identity: self.identity().to_owned(),
            tail,
            head,
            live_bytes,
            disk_bytes: layout::disk_bytes(self.layout.root()),
            max_size_bytes: self.options.max_size_bytes,
            cursors: self.cursors.clone(),
            losses: self.losses.list().to_vec(),
            trouble: self.trouble().map(str::to_owned),
            buffered_bytes: self.buffer.bytes() as u64,
            refused: self.refused,
            accepted: self.accepted,
            damaged: self.layout.damaged(),
        }
    }

    /// Makes everything durable and notes that the queue was closed in order, so that the next opening
    /// leaves no gap.
    ///
    /// # Errors
    /// As [`Self::flush`]; the queue is closed all the same, as if the process had ended.
    pub fn close(mut self) -> Result<(), FlushError> {
        let flushed = self.flush();
        // In memory it ends here; in the file the list is then older, and holes are found again.
        let _ = self.losses.save();
        self.close_store();
        flushed?;
        self.mark.is_clean = true;
        self.write_mark_synced()?;
        self.write_birth();
        Ok(())
    }
}

impl Queue {
    fn write_birth(&mut self) {
        if self.options.is_copy_renewed {
            self.birth.write(&self.layout.birth());
        }
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        self.shared.view().is_closed = true;
        self.shared.announce();
        self.close_store();
    }
}

const _: () = assert!(MAX_TELEGRAM_BYTES < block::MAX_RAW_BYTES);

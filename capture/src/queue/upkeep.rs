//! Upkeep: what is done a little at a time beside appending. Merging blocks, removing what may or must
//! go, writing commits that no telegram has carried, noting damage that readers have met.

use std::sync::PoisonError;

use shared::wire::Loss;

use super::block::{self, BlockWriter, COMPRESSION_LEVEL};
use super::index::{Entry, Place};
use super::store::Change;
use super::{FlushError, Maintained, Queue, layout, merge, rebuild, retention};

impl Queue {
    /// A bounded step of upkeep. Called after flushes and every second or so. `now_us` is the system's
    /// clock, `uptime_us` the one that does not jump.
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
            .is_none_or(|last| uptime_us < last || uptime_us - last >= UPKEEP_INTERVAL_US);
        if is_due {
            self.last_upkeep = Some(uptime_us);
            if !self.dirty_cursors.is_empty() {
                self.flush()?;
            }
            self.note_damage(now_us)?;
        }
        self.group_recent(&mut done)?;
        self.merge(&mut done)?;
        if self.is_open() {
            done.has_more |= self.make_room(0)?;
        }
        if is_due {
            self.remove_old(now_us, uptime_us, &mut done)?;
            self.shrink(&done, uptime_us)?;
            // Tried again with the next step; the losses are in memory and shown.
            let _ = self.losses.save();
        }
        let gone = std::mem::take(&mut self.gone);
        done.trimmed_records += gone.trimmed_records;
        done.lost_records += gone.lost_records;
        Ok(done)
    }

    /// Whether upkeep has blocks of flushes to group, which is best done at once: the journal has little room behind
    /// them.
    pub fn is_group_due(&self) -> bool {
        self.recent_blocks >= merge::GROUP_BLOCKS
    }

    fn group_recent(&mut self, done: &mut Maintained) -> Result<(), FlushError> {
        if self.recent_blocks < 2 {
            return Ok(());
        }
        let mut change = Change::default();
        match self.group(&mut change)? {
            Some((old, new)) => self.replace(&old, new, &change, "group written", done),
            None => Ok(()),
        }
    }

    fn merge(&mut self, done: &mut Maintained) -> Result<(), FlushError> {
        let found = merge::search(&self.shared.view().index, self.merge_from);
        let mut run = match found {
            merge::Search::Found(run) => run,
            merge::Search::NothingBefore(sequence) => {
                self.merge_from = sequence;
                return Ok(());
            }
        };
        let Some(mut records) = self.read_blocks(&run)? else {
            // A damaged one among them: noted by whoever reads it. What is behind it is merged.
            self.merge_from = run.last().map_or(self.merge_from, |last| last.last + 1);
            return Ok(());
        };
        self.merge_from = run.first().map_or(self.merge_from, |first| first.first);
        let (entry, bytes) = loop {
            let elapsed_ms = run.iter().map(|entry| entry.elapsed_ms).sum();
            // A writer of its own: its memory is large, and is given back.
            let bytes = BlockWriter::new(COMPRESSION_LEVEL)
                .and_then(|mut writer| writer.encode(&records, elapsed_ms, self.mark.generation))
                .map_err(|error| self.failed("compressing for", &error))?;
            let Some(fewer) = merge::fewer(run.len(), bytes.len()) else {
                let header =
                    block::read_header(&bytes).map_err(|error| self.failed("compressing for", &error))?;
                break (Entry::new(&header, Place::Merged), bytes);
            };
            run.truncate(fewer);
            let last = run.last().map_or(0, |entry| entry.last);
            records.retain(|record| record.sequence <= last);
        };
        let change = Change {
            remove: run.iter().map(|old| (old.place, old.first)).collect(),
            put: vec![(entry.place, entry.first, bytes)],
            is_atomic: true,
            ..Change::default()
        };
        self.replace(&run, entry, &change, "merge written", done)
    }

    /// Carries a change out that puts one block in the place of others.
    fn replace(
        &mut self,
        old: &[Entry],
        new: Entry,
        change: &Change,
        step: &'static str,
        done: &mut Maintained,
    ) -> Result<(), FlushError> {
        self.shared.view().is_changing = true;
        let written = self.write(change);
        self.step(step);
        {
            let mut view = self.shared.view();
            view.is_changing = false;
            if written.is_ok() {
                for old in old {
                    view.index.remove(old.first);
                }
                view.index.insert(new);
            }
        }
        self.shared.grown.notify_all();
        written?;
        let recent = old.iter().filter(|old| old.place == Place::Recent).count();
        self.recent_blocks -= recent.min(self.recent_blocks);
        done.merged_blocks += old.len() as u64;
        Ok(())
    }

    /// Removes the oldest blocks until those of `coming_bytes` have room within the bound. Returns whether there is more to
    /// remove: that is so after `max_size` was lowered much, and then others are not kept waiting.
    pub(super) fn make_room(&mut self, coming_bytes: u64) -> Result<bool, FlushError> {
        let max_bytes = retention::max_cost_bytes(self.options.max_size_bytes).saturating_sub(coming_bytes);
        for _ in 0..TRIMS_AT_ONCE {
            let surplus = retention::surplus(&self.shared.view().index, max_bytes, TRIM_BLOCKS);
            if surplus.is_empty() {
                return self.collect().map(|()| false);
            }
            self.remove(&surplus)?;
            self.count_surplus(&surplus);
        }
        self.collect().map(|()| true)
    }

    /// Keeps the database's file small when much was written, so that the folder stays within its bound.
    fn collect(&mut self) -> Result<(), FlushError> {
        let max_bytes = self.options.max_size_bytes;
        let root = self.layout.root().to_owned();
        self.with_store(|store| {
            let is_due =
                store.uncollected_bytes() >= COLLECT_BYTES && layout::disk_bytes(&root) > max_bytes / 2;
            if is_due { store.collect() } else { Ok(()) }
        })?;
        self.remove_damaged_beyond(max_bytes / 8 * 7);
        Ok(())
    }

    /// Removes quarantined databases, the oldest first, until the folder is small enough: they can only be looked at.
    fn remove_damaged_beyond(&self, max_bytes: u64) {
        for oldest in self.layout.damaged() {
            if layout::disk_bytes(self.layout.root()) <= max_bytes {
                return;
            }
            // What cannot be removed now is tried again.
            let _ = std::fs::remove_dir_all(oldest);
        }
    }

    /// Notes what of these was lost: what a consumer had not committed.
    fn count_surplus(&mut self, surplus: &[Entry]) {
        let delivered = self.cursors.values().copied().min().unwrap_or(0);
        for entry in surplus {
            if entry.last <= delivered {
                self.gone.trimmed_records += records(entry);
                continue;
            }
            let first_sequence = entry.first.max(delivered + 1);
            self.gone.lost_records += entry.last - first_sequence + 1;
            self.losses.add(Loss {
                at_us: jiff::Timestamp::now().as_microsecond(),
                first_sequence,
                last_sequence: entry.last,
                cause: format!(
                    "removed to stay within max_size, {} bytes",
                    self.options.max_size_bytes
                ),
            });
        }
    }

    /// Removes blocks that every consumer has, and that are older than the retention.
    fn remove_old(&mut self, now_us: i64, uptime_us: u64, done: &mut Maintained) -> Result<(), FlushError> {
        let (Some(retention), Some(lowest_cursor)) =
            (self.options.retention, self.cursors.values().copied().min())
        else {
            return Ok(());
        };
        let circumstances = retention::Circumstances {
            now_us,
            silence_ms: self.last_arrival.silence_ms(uptime_us, None),
            retention,
            lowest_cursor,
        };
        let old = retention::old(&self.shared.view().index, &circumstances, TRIM_BLOCKS);
        self.remove(&old)?;
        done.has_more |= old.len() >= TRIM_BLOCKS;
        done.trimmed_records += old.iter().map(records).sum::<u64>();
        Ok(())
    }

    /// Removes records that every consumer has, however new: the disk is full. Returns how many blocks.
    pub(super) fn remove_delivered(&mut self) -> Result<usize, FlushError> {
        let Some(cursor) = self.cursors.values().copied().min() else {
            return Ok(0);
        };
        let go: Vec<Entry> = {
            let view = self.shared.view();
            let newest = view.index.last();
            let delivered = view
                .index
                .iter()
                .take_while(|entry| entry.last < cursor && Some(entry.last) != newest);
            delivered.take(TRIM_BLOCKS_WHEN_FULL).copied().collect()
        };
        self.remove(&go)?;
        Ok(go.len())
    }

    /// Removes blocks at the tail. Out of sight first: what is not shown may go.
    fn remove(&mut self, go: &[Entry]) -> Result<(), FlushError> {
        if go.is_empty() {
            return Ok(());
        }
        {
            let mut view = self.shared.view();
            for entry in go {
                view.index.remove(entry.first);
            }
            self.mark.tail = view.index.first().unwrap_or(view.head + 1);
        }
        self.merge_from = self.merge_from.max(self.mark.tail);
        self.write(&Change {
            remove: go.iter().map(|entry| (entry.place, entry.first)).collect(),
            ..Change::default()
        })?;
        self.step("trim written");
        self.mark_file
            .write(&mut self.mark)
            .map_err(|source| FlushError::Mark {
                path: self.layout.mark(),
                source,
            })
    }

    /// Takes damage that readers have met out of the queue and notes it.
    fn note_damage(&mut self, now_us: i64) -> Result<(), FlushError> {
        let damaged = std::mem::take(&mut self.shared.view().damaged);
        if damaged.is_empty() {
            return Ok(());
        }
        for (entry, detail) in &damaged {
            self.losses.add(Loss {
                at_us: now_us,
                first_sequence: entry.first,
                last_sequence: entry.last,
                cause: format!("their block is damaged: {detail}"),
            });
        }
        self.write(&Change {
            remove: damaged
                .iter()
                .map(|(entry, _)| (entry.place, entry.first))
                .collect(),
            ..Change::default()
        })
    }

    /// Writes the database anew where the folder is beyond its bound though the records are not: its
    /// file does not shrink by itself.
    fn shrink(&mut self, done: &Maintained, uptime_us: u64) -> Result<(), FlushError> {
        let max_bytes = self.options.max_size_bytes;
        let is_known = self.measured_at_us.is_some_and(|at| {
            uptime_us
                .checked_sub(at)
                .is_some_and(|age| age < MEASURE_INTERVAL_US)
        });
        if done.has_more || is_known {
            return Ok(());
        }
        let folder_bytes = layout::disk_bytes(self.layout.root());
        self.measured_at_us = (folder_bytes <= max_bytes / 2).then_some(uptime_us);
        if folder_bytes <= max_bytes {
            return Ok(());
        }
        if !self.layout.damaged().is_empty() {
            self.remove_damaged_beyond(max_bytes);
            return Ok(());
        }
        let entries: Vec<Entry> = self.shared.view().index.iter().copied().collect();
        let live = retention::total_cost_bytes(&self.shared.view().index);
        if store_is_tight(super::store::file_bytes(&self.layout.database()), live) {
            return Ok(());
        }
        let cursors = self
            .cursors
            .iter()
            .map(|(name, cursor)| (name.clone(), *cursor))
            .collect();
        {
            let store = self.shared.store.read().unwrap_or_else(PoisonError::into_inner);
            let Some(store) = store.as_ref() else {
                return Ok(());
            };
            rebuild::copy(&self.layout, store, &entries, cursors, self.options.open_patience)?;
        }
        self.step("rebuild copied");
        self.close_store();
        let switched = rebuild::switch(&self.layout);
        // Whatever the switch has left is settled by opening.
        self.recover()?;
        self.step("rebuild switched");
        switched.map_err(|error| self.failed("replacing", &error))
    }
}

fn records(entry: &Entry) -> u64 {
    entry.last - entry.first + 1
}

/// Whether writing the file anew would make it little smaller.
fn store_is_tight(file_bytes: u64, live_bytes: u64) -> bool {
    file_bytes < live_bytes * 2 + 4 * 1024 * 1024
}

/// Bytes of changes after which the folder is looked at, and its file collected.
const COLLECT_BYTES: usize = 32 * 1024;
/// How often commits are written and ages looked at, in microseconds.
const UPKEEP_INTERVAL_US: u64 = 5_000_000;
/// How often a folder is measured that is far from its bound, in microseconds.
const MEASURE_INTERVAL_US: u64 = 60_000_000;
/// Most blocks removed in one step.
const TRIM_BLOCKS: usize = 64;
/// How often that is done before others get their turn.
const TRIMS_AT_ONCE: usize = 16;
/// Most blocks removed in one step when the disk is full: removing rewrites leaves, which takes room first.
const TRIM_BLOCKS_WHEN_FULL: usize = 16;

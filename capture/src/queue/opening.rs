//! Opening the queue: what the database, the mark and the wreck of what sled has dropped say, settled.
//!
//! sled may refuse a damaged database, or open it without some of its records, and overwrites what it
//! has dropped while opening. So the database's files are searched for whole blocks before sled sees
//! them, and the newest found are held until it is known what sled still has; what is missing is put
//! back. A database that sled refuses is moved aside and everything whole in it put into a new one, each
//! record under its old sequence: see `restore`.

use std::collections::BTreeSet;
use std::sync::{Arc, Condvar, Mutex, PoisonError, RwLock};
use std::{fs, io};

use shared::wire::Loss;

use super::bell::Bells;
use super::birth::Birth;
use super::block::{BlockWriter, COMPRESSION_LEVEL};
use super::buffer::Buffer;
use super::error::system;
use super::index::{Entry, Index, Place};
use super::layout::{self, Layout};
use super::losses::Losses;
use super::mark::{CEILING_STEP, Mark, MarkFile};
use super::outcome::{Accepted, Maintained, OpenReport, QueueOptions};
use super::reader::{LastArrival, Shared, View};
use super::restore::{self, Restored};
use super::salvage::{Salvage, cut, is_superseded, resolve};
use super::store::{Change, Opened, Store, StoreErrorKind};
use super::{FlushError, OpenError, Queue, headroom, identities, own_files, rebuild};

/// An opened database, and whole blocks that were found in its files before it was opened.
pub(super) struct Found {
    opened: Opened,
    salvaged: Vec<(Entry, Vec<u8>)>,
    /// The first and the last sequence that were whole in a database that was moved aside, whether or not they have
    /// come back.
    wanted: Option<(u64, u64)>,
}

impl Queue {
    /// Opens the queue of a folder, or makes an empty one.
    ///
    /// A database that sled cannot open is moved aside and a new one begun with what is whole in it; what
    /// was lost is noted.
    ///
    /// # Errors
    /// Where another process has it open, a later version of this program has written it, or the system
    /// refuses.
    pub fn open(options: &QueueOptions) -> Result<(Self, OpenReport), OpenError> {
        let layout = Layout::new(&options.path);
        own_files::expect_own(&layout).map_err(|(path, found)| OpenError::NotOwn { path, found })?;
        // Before anything is touched: to this program a later version's mark and database are damaged ones,
        // and it would begin anew.
        if let Some(found) = MarkFile::later_version(&layout.mark()) {
            return Err(OpenError::Later {
                path: options.path.clone(),
                found,
            });
        }
        layout::make_folder(&options.path, options.folder_mode())
            .map_err(system("making the queue's folder", &options.path))?;
        let (mark_file, mark) = MarkFile::open(&layout.mark()).map_err(system("opening", &layout.mark()))?;
        if !mark_file.try_lock() {
            return Err(OpenError::Locked {
                path: options.path.clone(),
            });
        }
        let mut report = OpenReport {
            is_new: mark.is_none() && !layout.database().exists(),
            ..OpenReport::default()
        };
        let (birth, is_copy) = Birth::read(&layout.birth());
        let found = open_database(&layout, options, mark.as_ref(), &mut report)?;
        let identity = identity(&layout, mark.as_ref()).map_err(system("writing", &layout.identity()))?;
        let writer = BlockWriter::new(COMPRESSION_LEVEL)
            .map_err(system("preparing to compress for", &options.path))?;
        let mut queue = Self {
            options: options.clone(),
            mark_file,
            mark: Mark {
                identity,
                ..Mark::default()
            },
            birth,
            shared: Arc::new(Shared {
                identities: Mutex::new(Arc::from([])),
                view: Mutex::default(),
                grown: Condvar::new(),
                bells: Bells::default(),
                store: RwLock::new(None),
            }),
            losses: Losses::open(&layout.losses()),
            writer,
            buffer: Buffer::default(),
            refused: 0,
            accepted: Accepted::default(),
            cursors: std::collections::BTreeMap::new(),
            dirty_cursors: std::collections::BTreeMap::new(),
            last_arrival: LastArrival::Never,
            merge_from: 0,
            recent_blocks: 0,
            trouble: None,
            tightness: None,
            last_upkeep: None,
            has_room_until: None,
            measured_at_us: None,
            gone: Maintained::default(),
            on_step: None,
            layout,
        };
        queue.settle(found, mark, None, &mut report)?;
        queue.shared.name(&queue.mark);
        if is_copy && options.is_copy_renewed {
            let before = queue.identity().to_owned();
            queue.renew().map_err(renewing(&queue.layout))?;
            report.renewed = Some(before);
        }
        let lowest_cursor = queue.cursors.values().copied().min().unwrap_or(0);
        queue.birth.opened(queue.mark.next, lowest_cursor);
        queue.write_birth();
        Ok((queue, report))
    }

    /// Settles what the database, its wreck and the mark say, and begins a new generation.
    ///
    /// `written_to` is the head when the database is opened again in the same process: blocks above it
    /// are what a failed flush has left, and its records are still in memory.
    pub(super) fn settle(
        &mut self,
        found: Found,
        mark: Option<Mark>,
        written_to: Option<u64>,
        report: &mut OpenReport,
    ) -> Result<(), OpenError> {
        let Found {
            opened,
            salvaged,
            wanted,
        } = found;
        let Opened {
            mut store,
            mut entries,
            damaged,
            cursors,
        } = opened;
        let has_mark = mark.is_some();
        let mark = mark.unwrap_or_default();
        report.damaged_blocks = damaged.len() as u64;

        let is_leftover = |entry: &Entry| written_to.is_some_and(|head| entry.last > head);
        let leftover: Vec<Entry> = entries
            .iter()
            .filter(|entry| is_leftover(entry))
            // The newest goes first: cut off, there is no hole.
            .rev()
            .copied()
            .collect();
        entries.retain(|entry| !is_leftover(entry));
        let mut change = Change {
            remove: damaged
                .iter()
                .map(|(place, first, _)| (*place, *first))
                .chain(leftover.iter().map(|entry| (entry.place, entry.first)))
                .collect(),
            ..Change::default()
        };

        // Whether the unsynced part of the mark is known to be its newest.
        let is_same_boot = mark.boot_id == self.options.boot_id;
        let is_vouched = has_mark && (is_same_boot || mark.is_clean);
        let lowest = entries.iter().map(|entry| entry.first).min();
        let from = if is_vouched {
            mark.tail.max(1)
        } else {
            let lowest = lowest.into_iter().chain(wanted.map(|(first, _)| first)).min();
            lowest.unwrap_or(mark.tail.max(1))
        };
        let up_to = if is_vouched {
            written_to.unwrap_or(mark.head)
        } else {
            u64::MAX
        };

        let range = (from, up_to);
        let is_whole = Index::is_in_order(&entries)
            && (salvaged.iter()).all(|(found, _)| is_superseded(found, &entries, range));
        let index = if is_whole {
            // As it nearly always is. With a year of blocks this saves megabytes.
            Index::of_blocks_in_order(entries)
        } else {
            self.untangle(&store, entries, &salvaged, range, &mut change, report)?
        };
        drop(salvaged);

        let mut all_cursors = cursors;
        if has_mark {
            // A consumer that was being forgotten is in the database alone; all others are in both.
            for (name, cursor) in &mark.cursors {
                let known = all_cursors.entry(name.clone()).or_default();
                *known = (*known).max(*cursor);
            }
        }
        let stored_head = index.last().unwrap_or(0);
        let highest_cursor = all_cursors.values().copied().max().unwrap_or(0);
        // In the same process what was above the head is still in memory.
        let highest_wanted = wanted
            .filter(|_| written_to.is_none())
            .map_or(0, |(_, last)| last);
        let head = stored_head.max(mark.head).max(highest_cursor).max(highest_wanted);
        let mut next = mark.next.max(head + 1);
        if !has_mark && head > 0 {
            // Nothing tells how far above the database the sequences had come.
            next += CEILING_STEP;
        } else if !is_vouched {
            next = next.max(mark.ceiling + 1);
        }

        let lost = self.find_losses(&index, from, head, next, &mark, report);
        for loss in &lost {
            self.losses.add(loss.clone());
        }
        report.losses = lost;
        report.records = index.iter().map(|entry| entry.last - entry.first + 1).sum();

        let newest = index.iter().map(|entry| entry.generation).max().unwrap_or(0);
        if written_to.is_none() {
            self.last_arrival = match mark.last_uptime_us {
                Some(uptime) if is_same_boot => LastArrival::Uptime(uptime),
                _ if head > 0 => LastArrival::OtherBoot,
                _ => LastArrival::Never,
            };
        }
        self.mark = Mark {
            counter: mark.counter,
            generation: newest.max(mark.generation) + 1,
            is_clean: false,
            boot_id: self.options.boot_id,
            identity: self.mark.identity,
            head,
            next,
            ceiling: mark.ceiling.max(next - 1 + CEILING_STEP),
            tail: index.first().unwrap_or(head + 1),
            last_uptime_us: mark.last_uptime_us.filter(|_| is_same_boot),
            cursors: all_cursors.clone(),
            former: mark.former,
        };
        change.cursors = all_cursors
            .iter()
            .map(|(name, cursor)| (name.clone(), *cursor))
            .collect();
        // What is added takes the place of what was under the same key.
        let put: BTreeSet<(Place, u64)> = change
            .put
            .iter()
            .map(|(place, first, _)| (*place, *first))
            .collect();
        change.remove.retain(|key| !put.contains(key));
        if !change.remove.is_empty() || !change.put.is_empty() || !change.cursors.is_empty() {
            store.write(&change)?;
        }
        store.begin_journal(written_to.is_some())?;
        self.losses
            .save()
            .map_err(system("writing", &self.layout.losses()))?;
        self.mark_file
            .write_synced(&mut self.mark)
            .map_err(system("writing", &self.layout.mark()))?;
        self.cursors = all_cursors;
        self.merge_from = 0;
        self.recent_blocks = index.iter().filter(|entry| entry.place == Place::Recent).count();
        {
            let mut view = self.shared.view();
            *view = View {
                head,
                index,
                is_unflushed: !self.buffer.is_empty(),
                last_arrival: self.last_arrival,
                // What readers were told holds however often the database is opened.
                told_silent_until_us: view.told_silent_until_us,
                asked_since_us: view.asked_since_us,
                is_interval_told_closed: view.is_interval_told_closed,
                ..View::default()
            };
        }
        *self.shared.store.write().unwrap_or_else(PoisonError::into_inner) = Some(store);
        // Opening may have cut off what the file had ahead of it.
        self.keep_room();
        Ok(())
    }

    /// The index of blocks some of which hold the same records, or were found in a database that was moved aside: what
    /// is needed of those within `range` is added to the change, what is superseded is removed by it.
    fn untangle(
        &mut self,
        store: &Store,
        mut entries: Vec<Entry>,
        salvaged: &[(Entry, Vec<u8>)],
        range: (u64, u64),
        change: &mut Change,
        report: &mut OpenReport,
    ) -> Result<Index, OpenError> {
        // What the database has comes first: where it has the same block, that one stays.
        let (from, up_to) = range;
        let stored = entries.len();
        entries.extend(salvaged.iter().map(|(entry, _)| *entry));
        let mut index = Index::default();
        let mut kept = vec![false; stored];
        for piece in resolve(&entries) {
            let Some(entry) = entries.get(piece.position) else {
                continue;
            };
            let bytes = match kept.get_mut(piece.position) {
                Some(kept) if piece.is_whole(entry) => {
                    *kept = true;
                    index.insert(*entry);
                    continue;
                }
                Some(_) => store.read(entry.place, entry.first)?.unwrap_or_default(),
                None => salvaged
                    .get(piece.position - stored)
                    .map(|(_, bytes)| bytes.clone())
                    .unwrap_or_default(),
            };
            let is_stored = piece.position < stored;
            let (first, last) = if is_stored {
                (piece.first, piece.last)
            } else {
                (piece.first.max(from), piece.last.min(up_to))
            };
            if first > last {
                continue;
            }
            let restored = if (first, last) == (entry.first, entry.last) {
                Some((*entry, bytes))
            } else {
                cut(&bytes, first, last)
            };
            let Some((entry, bytes)) = restored else { continue };
            index.insert(entry);
            change.put.push((entry.place, entry.first, bytes));
            if !is_stored {
                report.restored_records += last - first + 1;
                self.losses.found_again(first, last);
            }
        }
        let superseded = entries
            .iter()
            .zip(&kept)
            .filter(|(_, kept)| !**kept)
            .map(|(entry, _)| (entry.place, entry.first));
        change.remove.extend(superseded);
        Ok(index)
    }

    /// Stretches of sequences that should be there and are not, and those left out on purpose.
    fn find_losses(
        &self,
        index: &Index,
        from: u64,
        head: u64,
        next: u64,
        mark: &Mark,
        report: &OpenReport,
    ) -> Vec<Loss> {
        let at_us = jiff::Timestamp::now().as_microsecond();
        let cause = match &report.moved_aside {
            Some((folder, _)) => {
                format!(
                    "the database could not be opened and is now {}; they were not whole in it, or had no room beside it",
                    folder.display()
                )
            }
            None if report.damaged_blocks > 0 => "their blocks are damaged".to_owned(),
            None => "the database no longer holds them".to_owned(),
        };
        let mut missing = index.holes(from);
        let behind = index.last().map_or(from, |last| last + 1);
        if behind <= head {
            missing.push((behind, head));
        }
        let mut lost: Vec<Loss> = missing
            .into_iter()
            .filter(|&(first, last)| !self.losses.covers(first, last))
            .map(|(first_sequence, last_sequence)| Loss {
                at_us,
                first_sequence,
                last_sequence,
                cause: cause.clone(),
            })
            .collect();
        // Those left out before were noted then; a second power cut in a row leaves out more.
        let first_left_out = mark.next.max(head + 1);
        if next > first_left_out {
            lost.push(Loss {
                at_us,
                first_sequence: first_left_out,
                last_sequence: next - 1,
                cause: "left out after a power cut, so that no sequence is given twice; no record is known to be missing"
                    .to_owned(),
            });
        }
        lost
    }
}

/// Why a new identity could not be made durable.
fn renewing(layout: &Layout) -> impl FnOnce(FlushError) -> OpenError {
    let path = layout.mark();
    move |error| system("renewing the identity in", &path)(io::Error::other(error))
}

/// Opens the database, or makes a new one with what is whole in one that cannot be opened.
pub(super) fn open_database(
    layout: &Layout,
    options: &QueueOptions,
    mark: Option<&Mark>,
    report: &mut OpenReport,
) -> Result<Found, OpenError> {
    headroom::make_room_to_open(layout);
    let cut_off = restore::cut_off(layout);
    if cut_off.is_none() {
        rebuild::finish(layout).map_err(system("finishing the rebuild of", layout.root()))?;
    }
    let database = layout.database();
    let mut salvaged = Vec::new();
    let (damaged, why) = match cut_off {
        Some(folder) => (
            folder,
            "that was found at a start before this one, which was cut off".to_owned(),
        ),
        None => {
            // A database that cannot even be searched has nothing to hold on to.
            salvaged = Salvage::search(&database)
                .map(|found| found.newest(HELD_BYTES))
                .unwrap_or_default();
            match Store::open(&database, options.open_patience) {
                Ok(opened) => {
                    return Ok(Found {
                        opened,
                        salvaged,
                        wanted: None,
                    });
                }
                Err(error) if error.kind == StoreErrorKind::Locked => {
                    return Err(OpenError::Locked {
                        path: options.path.clone(),
                    });
                }
                Err(error) if error.kind != StoreErrorKind::Damaged => return Err(error.into()),
                Err(error) => {
                    let moved = restore::begin(layout)
                        .map_err(system("moving the damaged database aside in", layout.root()))?;
                    (moved, error.detail)
                }
            }
        }
    };
    let tail = mark.map_or(0, |mark| mark.tail);
    let Restored { opened, wanted, from } = restore::run(layout, options, &damaged, tail)?;
    // For those before there was no room.
    salvaged.retain(|(entry, _)| entry.last >= from);
    report.restored_records = opened
        .entries
        .iter()
        .map(|entry| entry.last - entry.first + 1)
        .sum();
    report.moved_aside = Some((damaged, why));
    // What sled has overwritten while it tried is still held; what is held is in the files too, mostly.
    Ok(Found {
        opened,
        salvaged,
        wanted,
    })
}

/// The folder's identity: as it was, from the mark where the file is gone, else drawn now.
fn identity(layout: &Layout, mark: Option<&Mark>) -> io::Result<[u8; 8]> {
    let is_whole = |identity: &[u8; 8]| identity.iter().all(u8::is_ascii_alphanumeric);
    let stored = fs::read(layout.identity())
        .ok()
        .and_then(|bytes| bytes.trim_ascii().try_into().ok());
    let marked = mark.map(|mark| mark.identity).filter(is_whole);
    // The mark's has a checksum; the file is for people to read.
    if let Some(identity) = stored
        .filter(is_whole)
        .filter(|stored| marked.is_none_or(|marked| marked == *stored))
    {
        return Ok(identity);
    }
    let identity = match marked {
        Some(identity) => identity,
        None => identities::draw()?,
    };
    layout::replace_file(&layout.identity(), &identities::line(identity))?;
    Ok(identity)
}

/// Bytes of the newest blocks that are held while sled opens: some days of telegrams.
const HELD_BYTES: usize = 2 * 1024 * 1024;

//! What happens when the database fails: it is closed, what was not durable stays in memory, and it is
//! opened again when that may help.
//!
//! * *Disk full*: before each flush the room on the disk is looked at. Where there is too little and the
//!   database has no room inside its file either, nothing is written: reading goes on, delivered records
//!   are removed to make room inside the file, and the telegrams wait in memory within their bound.
//!   Room that was taken before counts, see `headroom`: others may have filled the disk to the last byte.
//! * *A failed write* closes the database, since sled answers nothing after one. It is opened anew after
//!   some seconds, again and again. Blocks above the head that the failed write may have left are removed,
//!   and the records written again from memory.
//! * *A failed sync* may leave pages that the system holds to be clean though they never reached the
//!   disk. So before opening again every byte of the file is written and synced again.
//! * *A folder that is gone* (removed, or its disk is) is made again, with the mark's contents, so that
//!   sequences go on.

use std::path::Path;
use std::sync::PoisonError;
use std::time::{Duration, Instant};

use super::headroom::{self, Room};
use super::mark::MarkFile;
use super::store::{self, Change, Store, StoreErrorKind};
use super::{FlushError, OpenReport, Queue, StoreError, identities, layout, opening, retention};

/// What is wrong, and when to try again.
#[derive(Debug)]
pub(super) struct Trouble {
    pub(super) words: String,
    next_try: Instant,
    /// A sync failed: the file must be written again before it is trusted.
    is_suspect: bool,
}

impl Queue {
    /// Whether the queue can be written to; opens the database again where it was closed by a failure.
    pub(super) fn recover(&mut self) -> Result<(), FlushError> {
        if self.is_open() {
            return self.check_room();
        }
        if let Some(trouble) = self
            .trouble
            .as_ref()
            .filter(|trouble| Instant::now() < trouble.next_try)
        {
            return Err(trouble.waiting());
        }
        let is_suspect = self.trouble.as_ref().is_some_and(|trouble| trouble.is_suspect);
        match self.reopen(is_suspect) {
            Ok(()) => self.check_room(),
            Err(words) => Err(self.set_trouble(words, is_suspect)),
        }
    }

    /// Carries a change out. Where that fails the database is closed.
    pub(super) fn write(&mut self, change: &Change) -> Result<(), FlushError> {
        self.with_store(|store| store.write(change))
    }

    /// Has the database do something. If that fails it is closed.
    pub(super) fn with_store(
        &mut self,
        work: impl FnOnce(&Store) -> Result<(), StoreError>,
    ) -> Result<(), FlushError> {
        let result = {
            let store = self.shared.store.read().unwrap_or_else(PoisonError::into_inner);
            store.as_ref().map(work)
        };
        match result {
            Some(Ok(())) => Ok(()),
            Some(Err(error)) => {
                self.close_store();
                self.set_trouble(error.to_string(), error.kind == StoreErrorKind::System);
                Err(error.into())
            }
            None => Err(self.trouble.as_ref().map_or_else(
                || self.failed("writing to", &"the queue is closed"),
                Trouble::waiting,
            )),
        }
    }

    pub(super) fn close_store(&self) {
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

    pub(super) fn write_mark_synced(&mut self) -> Result<(), FlushError> {
        let written = self.mark_file.write_synced(&mut self.mark);
        written.map_err(|source| {
            let error = FlushError::Mark {
                path: self.layout.mark(),
                source,
            };
            self.set_trouble(error.to_string(), false);
            error
        })
    }

    pub(super) fn failed(&self, action: &'static str, detail: &dyn std::fmt::Display) -> FlushError {
        FlushError::Storage(StoreError {
            action,
            path: self.layout.database(),
            detail: detail.to_string(),
            kind: StoreErrorKind::System,
        })
    }

    pub(super) fn is_open(&self) -> bool {
        self.shared
            .store
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .is_some()
    }

    fn set_trouble(&mut self, words: String, is_suspect: bool) -> FlushError {
        let trouble = Trouble {
            words,
            next_try: Instant::now() + self.options.retry_interval,
            is_suspect,
        };
        let waiting = trouble.waiting();
        self.trouble = Some(trouble);
        waiting
    }

    fn reopen(&mut self, is_suspect: bool) -> Result<(), String> {
        let root = self.layout.root().to_owned();
        let words = |action: &'static str, path: &Path| {
            let path = path.display().to_string();
            move |error: std::io::Error| format!("{action} {path}: {error}")
        };
        layout::make_folder(&root, self.options.folder_mode())
            .map_err(words("making the queue's folder", &root))?;
        if self.mark_file.is_gone_from(&self.layout.mark()) {
            let path = self.layout.mark();
            let (file, _) = MarkFile::open(&path).map_err(words("making", &path))?;
            if !file.try_lock() {
                return Err(format!("{} is in use by another process", root.display()));
            }
            self.mark_file = file;
            let path = self.layout.identity();
            let identity = identities::line(self.mark.identity);
            layout::replace_file(&path, &identity).map_err(words("writing", &path))?;
        }
        let database = self.layout.database();
        if is_suspect && database.exists() {
            store::write_again(&database).map_err(words("writing again", &database))?;
        }
        let mut report = OpenReport::default();
        let found = opening::open_database(&self.layout, &self.options, Some(&self.mark), &mut report)
            .map_err(|error| error.to_string())?;
        let mark = self.mark.clone();
        let head = mark.head;
        self.settle(found, Some(mark), Some(head), &mut report)
            .map_err(|error| error.to_string())
    }

    /// Whether there is room to write. Makes some inside the file where that is allowed.
    fn check_room(&mut self) -> Result<(), FlushError> {
        let reserve = self.options.reserve_free_bytes;
        if self.buffer.is_empty() || self.has_room_until.is_some_and(|until| Instant::now() < until) {
            return Ok(());
        }
        let room = self.keep_room();
        self.has_room_until = room.is_plenty().then(|| Instant::now() + PLENTY_LASTS);
        self.tell_tightness(room.free);
        if room.left() >= reserve.saturating_mul(2) {
            return Ok(());
        }
        // Begun early, since removing takes some room, too.
        while self.room_inside() < ROOM_INSIDE_BYTES && self.keep_room().left() >= reserve / 16 {
            if self.remove_delivered()? == 0 {
                break;
            }
        }
        let room = self.keep_room();
        // Below half of it sled might find none when it grows all the same, and would have to be closed.
        if room.left() >= reserve || (room.left() >= reserve / 2 && self.room_inside() >= ROOM_INSIDE_BYTES) {
            return Ok(());
        }
        let words = format!(
            "the disk of {} has {} bytes left, capture needs {}: free some, or lower max_size",
            self.layout.root().display(),
            room.left(),
            reserve
        );
        Err(self.set_trouble(words, false))
    }

    pub(super) fn keep_room(&self) -> Room {
        headroom::keep(
            &self.layout,
            self.options.reserve_free_bytes,
            self.options.max_size_bytes,
        )
    }

    fn tell_tightness(&mut self, free: u64) {
        let reserve = self.options.reserve_free_bytes;
        if free >= reserve.saturating_mul(2) {
            self.tightness = None;
        } else if free < reserve && self.tightness.is_none() {
            self.tightness = Some(format!(
                "the disk of {} is full; telegrams are still stored, in room that was taken before and in the \
                 place of delivered ones: free some",
                self.layout.root().display()
            ));
        }
    }

    /// Bytes inside the database's file that it will use before it grows, as far as can be told.
    fn room_inside(&self) -> u64 {
        let live = retention::total_cost_bytes(&self.shared.view().index);
        let database = self.layout.database();
        store::file_bytes(&database)
            .saturating_sub(store::ahead_bytes(&database))
            .saturating_sub(retention::disk_bytes(live))
    }
}

impl Trouble {
    fn waiting(&self) -> FlushError {
        let seconds = self.next_try.saturating_duration_since(Instant::now()).as_secs();
        FlushError::Waiting {
            trouble: self.words.clone(),
            seconds,
        }
    }
}

/// How long a disk with plenty of room is not looked at: others would have to write some hundred megabytes a second.
const PLENTY_LASTS: Duration = Duration::from_secs(5);
/// Room inside the file that is enough to go on with a full disk: sled does not use all of it first.
const ROOM_INSIDE_BYTES: u64 = 4 * 1024 * 1024;
/// How long after a failure the database is opened again.
pub(super) const RETRY_INTERVAL: Duration = Duration::from_secs(5);

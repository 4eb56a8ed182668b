//! Bringing back what is whole in a database that sled has refused and that was moved aside.
//!
//! It goes into `sled-new`, which becomes `sled` when it is complete. Until then `sled-new` alone, beside what was
//! moved aside, is the sign that this is under way: cut off anywhere, it is begun again at the next opening.
//!
//! What was quarantined and the new one are often more than the folder's bound. Then what was quarantined is first cut
//! down to the blocks that are whole.
//!
//! Where the disk has no room for all of it only the newest come back, at worst none: capture must not stand still.
//! The rest is told as lost, and may be imported from what was moved aside.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use super::headroom;
use super::layout::{self, Layout};
use super::outcome::QueueOptions;
use super::own_files;
use super::retention;
use super::salvage::Salvage;
use super::store::{Change, Opened, Store, StoreError, StoreErrorKind};
use super::{OpenError, error};

/// What has come back.
pub(super) struct Restored {
    /// The new database.
    pub(super) opened: Opened,
    /// The first and the last sequence of those that were to come back; none where nothing was whole.
    pub(super) wanted: Option<(u64, u64)>,
    /// None before this one has come back.
    pub(super) from: u64,
}

/// The database that was moved aside, where bringing it back was cut off.
pub(super) fn cut_off(layout: &Layout) -> Option<PathBuf> {
    let is_alone =
        layout.database_new().exists() && !layout.database().exists() && !layout.database_old().exists();
    layout.damaged().pop().filter(|_| is_alone)
}

/// Moves the database aside, to be brought back.
///
/// # Errors
/// Where the folder cannot be written to; the database is then where it was.
pub(super) fn begin(layout: &Layout) -> io::Result<PathBuf> {
    // A disk without room for a name has it afterwards, and then it goes without the sign.
    let _ = layout::make_folder(&layout.database_new(), own_files::FOLDER_MODE);
    layout.move_aside(jiff::Timestamp::now())
}

/// Makes a database with the records from `tail` on that are whole in one that was moved aside.
///
/// # Errors
/// Where not even an empty one can be made, or the system refuses.
pub(super) fn run(
    layout: &Layout,
    options: &QueueOptions,
    damaged: &Path,
    tail: u64,
) -> Result<Restored, OpenError> {
    let (database, new) = (layout.database(), layout.database_new());
    let found = within_bound(layout, options, damaged);
    let free = headroom::free_bytes(layout.root()).saturating_sub(options.reserve_free_bytes);
    let mut room = retention::max_cost_bytes(free.min(options.max_size_bytes)).min(found.cost_bytes());
    let from = loop {
        let from = tail.max(found.newest_within(room));
        match fill(&new, options, &found, from) {
            Ok(()) => break from,
            Err(error) if is_worth_less(&error) && room > 0 => {
                room = if room > LEAST_COST_BYTES { room / 2 } else { 0 };
            }
            Err(error) => return Err(error.into()),
        }
    };
    let named = fs::rename(&new, &database).and_then(|()| layout::sync_folder(layout.root()));
    named.map_err(error::system("naming the new database in", layout.root()))?;
    Ok(Restored {
        opened: Store::open(&database, options.open_patience)?,
        wanted: found.range(tail),
        from,
    })
}

/// What is whole in a database that was quarantined. If both it and the new one would be more than the folder's bound
/// it is cut down first to what is whole, in one file, at worst to the newest of that.
fn within_bound(layout: &Layout, options: &QueueOptions, damaged: &Path) -> Salvage {
    if damaged.join(LOG).exists() {
        // Of a start that was cut off while it was written.
        let _ = fs::remove_file(damaged.join(GATHERED));
    }
    let search = || Salvage::search(damaged).unwrap_or_default();
    let room = || {
        options
            .max_size_bytes
            .saturating_sub(layout::disk_bytes(layout.root()))
    };
    let found = search();
    let needed = retention::disk_bytes(found.cost_bytes());
    for older in layout.damaged().iter().filter(|older| *older != damaged) {
        if needed > room() {
            // What cannot be removed is no reason to stand still.
            let _ = fs::remove_dir_all(older);
        }
    }
    if needed <= room() {
        return found;
    }
    match gather(&found, damaged, found.newest_within(room())) {
        Ok(()) => search(),
        Err(error) => {
            // As where the disk is full: then less comes back, and the rest may be imported.
            tracing::debug!(
                "what is whole in {} stays where it is: {error}",
                damaged.display()
            );
            found
        }
    }
}

/// Puts the whole blocks from a sequence on into one file of the folder that they are in, durably, and removes the
/// others. Cut off, all is there at least once.
fn gather(found: &Salvage, damaged: &Path, from: u64) -> io::Result<()> {
    let path = damaged.join(GATHERED);
    let write = |file: File| {
        let mut file = BufWriter::new(file);
        for (_, bytes) in found.stored_from(from) {
            file.write_all(&bytes)?;
        }
        file.into_inner()?.sync_all()?;
        layout::sync_folder(damaged)
    };
    let file = File::create_new(&path)?;
    if let Err(error) = write(file) {
        let _ = fs::remove_file(&path);
        return Err(error);
    }
    // The log first: as long as it is there, the file may not be complete.
    fs::remove_file(damaged.join(LOG)).or_else(|error| match error.kind() {
        io::ErrorKind::NotFound => Ok(()),
        _ => Err(error),
    })?;
    layout::sync_folder(damaged)?;
    for entry in fs::read_dir(damaged)?.flatten() {
        let other = entry.path();
        if other != path {
            fs::remove_dir_all(&other).or_else(|_| fs::remove_file(&other))?;
        }
    }
    Ok(())
}

/// Whether it may work with less: there was no room, or sled gave up.
fn is_worth_less(error: &StoreError) -> bool {
    matches!(error.kind, StoreErrorKind::Full | StoreErrorKind::Damaged)
}

fn fill(new: &Path, options: &QueueOptions, found: &Salvage, from: u64) -> Result<(), StoreError> {
    // The folder itself stays: it is the sign.
    for entry in fs::read_dir(new).into_iter().flatten().flatten() {
        let path = entry.path();
        let _ = fs::remove_dir_all(&path).or_else(|_| fs::remove_file(&path));
    }
    let to = Store::open(new, options.open_patience)?.store;
    let write = || {
        let mut change = Change::default();
        for (entry, bytes) in found.stored_from(from) {
            change.put.push((entry.place, entry.first, bytes));
            if change.put.len() >= BLOCKS_AT_ONCE {
                to.draft(&std::mem::take(&mut change))?;
                to.collect()?;
            }
        }
        to.draft(&change)?;
        to.make_durable()
    };
    let written = write();
    // Also where that failed: its destructors panic.
    to.close();
    written?;
    // Opening writes, too: where there is no room for that either, it has not got its name yet.
    Store::open(new, options.open_patience)?.store.close();
    Ok(())
}

/// The file in a folder that was quarantined.
const GATHERED: &str = "blocks";
/// The file of sled that most of them come from.
const LOG: &str = "db";
/// Blocks that are put into the new database at a time.
const BLOCKS_AT_ONCE: usize = 64;
/// Below this no smaller part is tried.
const LEAST_COST_BYTES: u64 = 256 * 1024;

//! Writing the database anew: sled's file never shrinks, so a smaller `max_size` needs a new one.
//!
//! The live blocks are copied into `sled-new`, which is made durable; then `sled` becomes `sled-old` and
//! `sled-new` becomes `sled`, both inside the queue's folder, and `sled-old` is removed. Interrupted, the
//! names tell how far it had come:
//!
//! | there | means | so |
//! |---|---|---|
//! | `sled`, `sled-new` | the copy may be incomplete | `sled-new` is removed |
//! | `sled-new` alone, something `damaged` beside it | what is whole in that is being brought back | see `restore` |
//! | `sled-old`, `sled-new` | the copy is complete, the switch was cut | `sled-new` becomes `sled` |
//! | `sled-old` beside `sled` | the switch is done | `sled-old` is removed |

use std::fs;
use std::io;

use super::index::Entry;
use super::layout::{Layout, sync_folder};
use super::store::{Change, Store, StoreError};

const COPY_BYTES: usize = 256 * 1024;

/// Finishes or undoes what an interrupted rebuild has left.
///
/// # Errors
/// Where the folder cannot be changed.
pub fn finish(layout: &Layout) -> io::Result<()> {
    let (current, new, old) = (layout.database(), layout.database_new(), layout.database_old());
    if !current.exists() && old.exists() {
        // The switch was cut between its two names.
        let from = if new.exists() { &new } else { &old };
        fs::rename(from, &current)?;
        sync_folder(layout.root())?;
    }
    for leftover in [&new, &old] {
        if leftover.exists() {
            fs::remove_dir_all(leftover)?;
        }
    }
    Ok(())
}

/// Copies blocks and cursors into a new database beside the present one, durably, and closes it.
///
/// # Errors
/// Where a block cannot be read or written; what there is of the copy is then removed.
pub fn copy(
    layout: &Layout,
    from: &Store,
    entries: &[Entry],
    cursors: Vec<(String, u64)>,
    patience: std::time::Duration,
) -> Result<(), StoreError> {
    let new = layout.database_new();
    let result = copy_into(&new, from, entries, cursors, patience);
    if result.is_err() {
        let _ = fs::remove_dir_all(&new);
    }
    result
}

fn copy_into(
    new: &std::path::Path,
    from: &Store,
    entries: &[Entry],
    cursors: Vec<(String, u64)>,
    patience: std::time::Duration,
) -> Result<(), StoreError> {
    let _ = fs::remove_dir_all(new);
    let to = Store::open(new, patience)?.store;
    let filled = fill(&to, from, entries, cursors).and_then(|()| to.make_durable());
    // Also where that failed: its destructors panic.
    to.close();
    filled
}

fn fill(to: &Store, from: &Store, entries: &[Entry], cursors: Vec<(String, u64)>) -> Result<(), StoreError> {
    let mut change = Change {
        cursors,
        ..Change::default()
    };
    let mut bytes = 0;
    for entry in entries {
        // One that is damaged stays behind; it was noted when it was found.
        let Some(block) = from.read(entry.place, entry.first)? else {
            continue;
        };
        bytes += block.len();
        change.put.push((entry.place, entry.first, block));
        if bytes >= COPY_BYTES {
            to.draft(&change)?;
            to.collect()?;
            change = Change::default();
            bytes = 0;
        }
    }
    to.draft(&change)
}

/// Puts the copy in the place of the present database, which must be closed.
///
/// # Errors
/// Where a name cannot be changed; [`finish`] settles what is left.
pub fn switch(layout: &Layout) -> io::Result<()> {
    sync_folder(layout.root())?;
    fs::rename(layout.database(), layout.database_old())?;
    sync_folder(layout.root())?;
    fs::rename(layout.database_new(), layout.database())?;
    sync_folder(layout.root())?;
    fs::remove_dir_all(layout.database_old())
}

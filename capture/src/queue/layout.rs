//! Where things lie in the queue's folder.
//!
//! ```text
//! <queue.path>/             may be a mount point: nothing is ever renamed over it
//!   identity                eight characters: the newest identity, see `identities`
//!   birth.json              when it was born itself, which tells a copy, see `birth`
//!   mark                    high-water mark, ceiling and copies of the cursors, see `mark`
//!   losses                  what was lost, one JSON object a line, see `losses`
//!   meter.json              what was learnt about the meter and its line, see `crate::meter`
//!   imports.json            how far files have been imported, see `crate::import::taken`
//!   reserve                 room that is taken while the disk is getting full, see `headroom`
//!   sled/                   the database: blocks and cursors
//!     journal               blocks of the last flushes, see `store`
//!   sled-new/, sled-old/    while the database is being made anew, see `rebuild`
//!   damaged-<time>/         databases that could not be opened, the newest two
//! ```

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::own_files;

/// Damaged databases that are kept beside the new one.
pub const DAMAGED_KEPT: usize = 2;
const DAMAGED_PREFIX: &str = "damaged-";

/// The paths in a queue's folder.
#[derive(Debug, Clone)]
pub struct Layout {
    root: PathBuf,
}

impl Layout {
    /// The layout of the folder `root`.
    pub fn new(root: &Path) -> Self {
        Self {
            root: root.to_owned(),
        }
    }

    /// The folder itself.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The file that holds the newest identity.
    pub fn identity(&self) -> PathBuf {
        self.root.join("identity")
    }

    /// The file that tells a copy.
    pub fn birth(&self) -> PathBuf {
        self.root.join("birth.json")
    }

    /// The mark.
    pub fn mark(&self) -> PathBuf {
        self.root.join("mark")
    }

    /// The list of losses.
    pub fn losses(&self) -> PathBuf {
        self.root.join("losses")
    }

    /// Room for when the disk is full.
    pub fn reserve(&self) -> PathBuf {
        self.root.join("reserve")
    }

    /// The database.
    pub fn database(&self) -> PathBuf {
        self.root.join("sled")
    }

    /// The database that is being written, to take the place of the present one or of one that was moved aside.
    pub fn database_new(&self) -> PathBuf {
        self.root.join("sled-new")
    }

    /// The database that a rebuild has replaced.
    pub fn database_old(&self) -> PathBuf {
        self.root.join("sled-old")
    }

    /// The damaged databases that are kept, oldest first.
    pub fn damaged(&self) -> Vec<PathBuf> {
        let mut found: Vec<PathBuf> = fs::read_dir(&self.root)
            .into_iter()
            .flatten()
            .flatten()
            .filter(|entry| entry.file_name().to_string_lossy().starts_with(DAMAGED_PREFIX))
            .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
            .map(|entry| entry.path())
            .collect();
        found.sort();
        found
    }

    /// Moves the database aside, so that a new one can be begun, and removes all but the newest
    /// [`DAMAGED_KEPT`] of those moved aside. Returns where it is now.
    ///
    /// # Errors
    /// Where the folder cannot be written to; the database is then where it was.
    pub fn move_aside(&self, at: jiff::Timestamp) -> io::Result<PathBuf> {
        let stamp = at.strftime("%Y%m%dT%H%M%SZ").to_string();
        // A clock that stands still or jumps back must neither overwrite one nor make an old one the newest.
        let newest = self
            .damaged()
            .last()
            .and_then(|path| Some(path.file_name()?.to_str()?.to_owned()));
        let mut name = format!("{DAMAGED_PREFIX}{stamp}");
        if let Some(newest) = newest.filter(|newest| *newest >= name) {
            name = format!("{newest}+");
        }
        let target = self.root.join(name);
        fs::rename(self.database(), &target)?;
        sync_folder(&self.root)?;
        let damaged = self.damaged();
        for old in damaged.iter().take(damaged.len().saturating_sub(DAMAGED_KEPT)) {
            fs::remove_dir_all(old)?;
        }
        Ok(target)
    }
}

/// Bytes that a folder takes on disk, as `du` counts them: allocated blocks, not lengths.
pub fn disk_bytes(folder: &Path) -> u64 {
    let Ok(metadata) = fs::symlink_metadata(folder) else {
        return 0;
    };
    let own = metadata.blocks() * 512;
    if !metadata.is_dir() {
        return own;
    }
    let inside: u64 = fs::read_dir(folder)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| disk_bytes(&entry.path()))
        .sum();
    own + inside
}

/// Makes a folder with that mode and those above it, durably: without its name above it a power cut takes the whole
/// folder with it.
///
/// # Errors
/// Where it cannot be made, or the folder above one that was made cannot be synced.
pub fn make_folder(path: &Path, mode: u32) -> io::Result<()> {
    let path = std::path::absolute(path)?;
    let missing: Vec<&Path> = path.ancestors().take_while(|folder| !folder.exists()).collect();
    own_files::make_folder(&path, mode)?;
    missing
        .iter()
        .filter_map(|folder| folder.parent())
        .try_for_each(sync_folder)
}

/// Makes the names in a folder durable.
///
/// # Errors
/// Where the folder cannot be opened or synced.
pub fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// Replaces a small file so that a crash leaves the old or the new contents, durably.
///
/// # Errors
/// Where it cannot be written; the old contents then stay.
pub fn replace_file(path: &Path, contents: &[u8]) -> io::Result<()> {
    let (file, next) = own_files::make_next(path)?;
    io::Write::write_all(&mut &file, contents)?;
    file.sync_all()?;
    fs::rename(&next, path)?;
    path.parent().map_or(Ok(()), sync_folder)
}

//! Tells whether the folder is a copy: a file that holds the moment of its own birth, as the file system tells it.
//!
//! However a folder is copied and put back (`cp`, `rsync`, `tar`, over another folder or in place of it), what is then
//! at this name was born at another moment than it says, since the file is made again at every opening and at every
//! end in order. What is moved keeps its birth. It also holds when it was last written, for a copy that was taken since
//! the last opening and is put over the files after a kill.
//!
//! It is evidence and no promise, in both directions:
//!
//! * A folder that is only moved to another disk is a copy, too. It gets a new identity, which costs nothing.
//! * A file system without times of birth says nothing, and neither does an image of a whole disk that is put back:
//!   there the proof of a consumer counts, see [`super::identities`], or a person says so.
//!
//! So nothing here is synced, and a file that is missing or not whole says nothing.

use std::fs::{File, Metadata};
use std::io;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use super::own_files;

/// Openings that are remembered, the oldest of those that matter.
const KEPT: usize = 64;

/// What the file says.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Birth {
    /// When the file was made, in nanoseconds since 1970; none if the file system does not tell.
    born_ns: Option<u64>,
    /// When it was last written, likewise.
    written_ns: Option<u64>,
    /// The first sequence that each of the last openings could give, oldest first.
    pub(super) openings: Vec<u64>,
}

impl Birth {
    /// What the file at `path` says, and whether it is a copy.
    pub(super) fn read(path: &Path) -> (Self, bool) {
        let said: Self = std::fs::read(path)
            .ok()
            .and_then(|bytes| serde_json::from_slice(&bytes).ok())
            .unwrap_or_default();
        let (born, written) = File::open(path).map_or((None, None), |file| times_ns(&file));
        let differ = |said: Option<u64>, found| said.is_some() && found != said;
        let is_copy = born.is_some() && (differ(said.born_ns, born) || differ(said.written_ns, written));
        (said, is_copy)
    }

    /// Notes an opening that gives sequences from `next` on. Those up to every consumer's cursor matter no longer.
    pub(super) fn opened(&mut self, next: u64, lowest_cursor: u64) {
        self.openings.retain(|first| *first > lowest_cursor);
        if !self.openings.contains(&next) {
            // The older one counts where there are too many.
            self.openings.truncate(KEPT - 1);
            self.openings.push(next);
        }
    }

    /// The first sequence that may differ from what a consumer read of another history, if it was never seen in this
    /// one and its cursor here is `cursor`: what the first opening after that cursor could give.
    pub(super) fn first_after(&self, cursor: u64) -> Option<u64> {
        self.openings
            .iter()
            .copied()
            .filter(|first| *first > cursor)
            .min()
    }

    /// Makes the file again. A disk that has no room for it only keeps an older one.
    pub(super) fn write(&mut self, path: &Path) {
        let mut made = || {
            let (file, next) = own_files::make_next(path)?;
            // A time that is set, and read again, is one that the file system can hold.
            let set = |time_ns| file.set_modified(UNIX_EPOCH + Duration::from_nanos(time_ns));
            (self.born_ns, _) = times_ns(&file);
            self.born_ns.map_or(Ok(()), set)?;
            (_, self.written_ns) = times_ns(&file);
            serde_json::to_writer(&file, self)?;
            self.written_ns.map_or(Ok(()), set)?;
            std::fs::rename(&next, path)
        };
        if let Err(error) = made() {
            tracing::debug!("cannot write {}: {error}", path.display());
        }
    }
}

/// When a file was made, and when it was last written.
fn times_ns(file: &File) -> (Option<u64>, Option<u64>) {
    let metadata = file.metadata();
    let time = |of: fn(&Metadata) -> io::Result<SystemTime>| {
        let since = of(metadata.as_ref().ok()?)
            .ok()?
            .duration_since(UNIX_EPOCH)
            .ok()?;
        u64::try_from(since.as_nanos()).ok()
    };
    (time(Metadata::created), time(Metadata::modified))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_was_moved_is_none_and_one_that_was_copied_or_overwritten_is_a_copy() {
        let folder = tempfile::tempdir().unwrap();
        let [first, moved, copied] = ["a", "b", "c"].map(|name| folder.path().join(name));
        let mut birth = Birth::default();
        birth.opened(7, 0);
        birth.write(&first);
        assert!(!Birth::read(&first).1);
        std::fs::rename(&first, &moved).unwrap();
        std::fs::copy(&moved, &copied).unwrap();
        let (read, is_copy) = Birth::read(&moved);
        assert_eq!((read.openings, is_copy), (vec![7], false));
        assert!(Birth::read(&copied).1, "a copy");
        birth.write(&moved);
        std::fs::copy(&copied, &moved).unwrap();
        assert!(Birth::read(&moved).1, "a copy put into the file that was there");
        birth.write(&moved);
        let bytes = std::fs::read(&moved).unwrap();
        std::fs::write(&moved, bytes).unwrap();
        assert!(Birth::read(&moved).1, "its own copy put into it");
    }

    #[test]
    fn what_is_missing_or_torn_says_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("birth.json");
        assert!(!Birth::read(&path).1);
        Birth::default().write(&path);
        let whole = std::fs::read(&path).unwrap();
        for length in 0..whole.len() {
            std::fs::write(&path, &whole[..length]).unwrap();
            let (read, is_copy) = Birth::read(&path);
            assert_eq!((read.openings, is_copy), (vec![], false), "{length} bytes");
        }
    }

    #[test]
    fn of_many_openings_the_one_that_is_next_to_a_cursor_stays() {
        let mut birth = Birth::default();
        for next in 1..=1000 {
            birth.opened(next, 20);
        }
        assert_eq!(birth.first_after(20), Some(21));
        assert!(birth.openings.len() <= KEPT, "{:?}", birth.openings);
        assert_eq!(birth.first_after(83), Some(1000));
    }
}

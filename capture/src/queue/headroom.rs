//! Room on the disk that is taken while there is some, for when others have filled it to the last byte.
//!
//! To remove delivered records sled writes first, and to open it writes a snapshot. On a disk without a byte
//! left a queue would stand still until a person makes room, though it could make its own. So as soon as a
//! disk is getting full two pieces of it are taken, and nothing while it is not:
//!
//! * *ahead*: behind the end of the database's file, which grows into it whatever others write;
//! * a file, `reserve`, out of which what is ahead is taken again when it has been used up, or when sled has cut
//!   it off: that happens when it gives free segments at the end of its file back. What opening needs beside
//!   the database's file comes out of it, too.
//!
//! A program that takes every byte at once that becomes free gets what is cut off, and in the end all of the
//! reserve. Then the queue stands still when the disk is full, and says so, as it does where the file system
//! cannot take room ahead.
//!
//! Both pieces count as the folder's size. They are not taken where that would come near its bound; the file is
//! given up when the database comes near it, and when the disk has room again. What is ahead the database grows
//! into.

use std::fs;
use std::io;
use std::path::Path;

use super::layout::{self, Layout};
use super::own_files;
use super::store;

/// Room for what is to be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Room {
    /// Free on the disk, for this process as for others.
    pub(super) free: u64,
    /// Behind the end of the database's file.
    ahead: u64,
    /// In the reserve.
    reserve: u64,
}

impl Room {
    fn of(layout: &Layout) -> Self {
        Self {
            free: free_bytes(layout.root()),
            ahead: store::ahead_bytes(&layout.database()),
            reserve: fs::symlink_metadata(layout.reserve()).map_or(0, |metadata| metadata.len()),
        }
    }

    /// Whether the disk is far from getting full.
    pub(super) fn is_plenty(self) -> bool {
        self.free >= 8 * GETTING_FULL_BYTES
    }

    /// Bytes that the database can still grow by.
    pub(super) fn left(self) -> u64 {
        self.free.saturating_add(self.ahead).saturating_add(self.reserve)
    }
}

/// Takes room where the disk is getting full, in multiples of `unit`. Tells what there is then.
///
/// What cannot be had is asked for again with the next flush, so no failure is told.
pub(super) fn keep(layout: &Layout, unit: u64, max_size_bytes: u64) -> Room {
    let room = Room::of(layout);
    if unit == 0 || room.free >= 2 * GETTING_FULL_BYTES {
        if room.reserve > 0 {
            let _ = fs::remove_file(layout.reserve());
        }
        return room;
    }
    let (used, bound) = (layout::disk_bytes(layout.root()), max_size_bytes / 4 * 3);
    if used > bound && room.reserve > 0 {
        let _ = set_reserve(layout, room.reserve.saturating_sub(used - bound));
        return Room::of(layout);
    }
    if room.free >= GETTING_FULL_BYTES {
        return room;
    }
    let (ahead, reserve) = (
        unit.saturating_mul(AHEAD_UNITS),
        unit.saturating_mul(RESERVE_UNITS),
    );
    let (needs_ahead, needs_reserve) = (room.ahead < ahead / 2, room.reserve < reserve / 2);
    if !needs_ahead && !needs_reserve {
        return room;
    }
    // The mark and the lists need a little of the disk, too.
    let mut spare = room
        .free
        .saturating_sub(LEFT_FREE_BYTES)
        .min(bound.saturating_sub(used));
    if needs_ahead {
        let more = ahead - room.ahead;
        if spare >= more {
            let _ = store::take_ahead(&layout.database(), ahead);
            spare -= more;
        } else {
            let more = more.min(room.reserve);
            let _ = set_reserve(layout, room.reserve - more)
                .and_then(|()| store::take_ahead(&layout.database(), room.ahead + more));
        }
    }
    if needs_reserve && spare >= LEAST_BYTES {
        let _ = set_reserve(layout, reserve.min(room.reserve + spare));
    }
    Room::of(layout)
}

/// Gives some of the reserve up where the disk has less room than opening may need.
pub(super) fn make_room_to_open(layout: &Layout) {
    let room = Room::of(layout);
    if room.free < OPENING_BYTES && room.reserve > 0 {
        // Where that fails opening tells what is wrong with the disk.
        let _ = set_reserve(layout, room.reserve.saturating_sub(OPENING_BYTES));
    }
}

fn set_reserve(layout: &Layout, bytes: u64) -> io::Result<()> {
    let file = own_files::open_or_make(&layout.reserve())?;
    let before = file.metadata()?.len();
    if bytes > before {
        rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), before, bytes - before)?;
    } else {
        file.set_len(bytes)?;
    }
    Ok(())
}

/// Bytes that this process may still write to the disk that holds a folder; plenty where the system
/// does not tell.
pub(super) fn free_bytes(folder: &Path) -> u64 {
    rustix::fs::statvfs(folder).map_or(u64::MAX, |disk| disk.f_bavail.saturating_mul(disk.f_frsize))
}

/// A disk with less than this free is getting full: more than others write between two flushes.
const GETTING_FULL_BYTES: u64 = 512 * 1024 * 1024;
/// How many units are taken ahead, and again when half of them is used.
const AHEAD_UNITS: u64 = 1;
/// How many units the reserve has, with which it is filled up when half of them is used.
const RESERVE_UNITS: u64 = 3;
/// Several times a snapshot of a month's queue.
const OPENING_BYTES: u64 = 512 * 1024;
const LEAST_BYTES: u64 = 64 * 1024;
const LEFT_FREE_BYTES: u64 = 128 * 1024;

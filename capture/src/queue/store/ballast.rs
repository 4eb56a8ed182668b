//! Keeps sled's cache small.
//!
//! sled drops a page from its cache only for another one in the same of the cache's 256 parts (the page's
//! number modulo 256), never the last one there, and only at every 64th access to that part. Leaves of
//! merged blocks have up to 120 KB, so it would hold 20 MB of them whatever its capacity.
//!
//! So a database of many blocks has a tree of small leaves, made in one go, so that their numbers follow each
//! other and every part has one. Once [`PASSED_BYTES`] of blocks have gone through the cache each of those
//! leaves is looked up often enough to be the last one in its part, and what was there before goes.
//!
//! It costs up to 2 MB of the file, since sled moves small pages from segment to segment. So there is none
//! before [`NEEDED_FROM_BLOCKS`], when the large leaves are too few to matter. The tree means nothing: a
//! database without it, or with half of it, is as good.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The tree, and how much has been read and written since its leaves were looked up.
#[derive(Debug)]
pub(super) struct Ballast {
    database: sled::Db,
    tree: OnceLock<sled::Tree>,
    passed_bytes: AtomicUsize,
    passed_blocks: AtomicUsize,
    /// Keys of the tree that have been made, while it is.
    made_keys: AtomicUsize,
}

impl Ballast {
    /// The ballast of a database; none yet where it has none.
    pub(super) fn open(database: &sled::Db) -> sled::Result<Self> {
        let tree = OnceLock::new();
        if database
            .tree_names()
            .iter()
            .any(|name| name.as_ref() == TREE.as_bytes())
        {
            let _ = tree.set(database.open_tree(TREE)?);
        }
        Ok(Self {
            database: database.clone(),
            tree,
            passed_bytes: AtomicUsize::new(0),
            passed_blocks: AtomicUsize::new(0),
            made_keys: AtomicUsize::new(0),
        })
    }

    /// Told of every block that was read or written, so that what it left in the cache goes in time.
    pub(super) fn passed(&self, bytes: usize) -> sled::Result<()> {
        if bytes < LARGE_BYTES {
            return Ok(());
        }
        self.passed_blocks.fetch_add(1, Ordering::Relaxed);
        let passed = self.passed_bytes.fetch_add(bytes, Ordering::Relaxed) + bytes;
        let Some(tree) = self.tree.get().filter(|_| passed >= PASSED_BYTES) else {
            return Ok(());
        };
        self.passed_bytes.store(0, Ordering::Relaxed);
        for number in (0..KEYS).step_by(KEYS_A_LEAF) {
            for _ in 0..ACCESSES {
                tree.contains_key(key(number))?;
            }
        }
        Ok(())
    }

    /// Makes a part of the tree where there is none and it is needed. Called by whoever may write. `true` where it
    /// is to be flushed and called again.
    pub(super) fn settle(&self) -> sled::Result<bool> {
        if self.tree.get().is_some() || self.passed_blocks.load(Ordering::Relaxed) < NEEDED_FROM_BLOCKS {
            return Ok(false);
        }
        let tree = self.database.open_tree(TREE)?;
        let from = self.made_keys.load(Ordering::Relaxed);
        let until = (from + KEYS_AT_ONCE).min(KEYS);
        for number in from..until {
            tree.insert(key(number), &[])?;
        }
        self.made_keys.store(until, Ordering::Relaxed);
        if until == KEYS {
            let _ = self.tree.set(tree);
        }
        Ok(true)
    }
}

fn key(number: usize) -> [u8; 4] {
    (number as u32).to_be_bytes()
}

const TREE: &str = "ballast";
/// Blocks smaller than this do not count: the small ones of the last minutes are soon gone.
const LARGE_BYTES: usize = 1536;
/// Large blocks that have gone through the cache when the tree is made: a day and three quarters of telegrams.
const NEEDED_FROM_BLOCKS: usize = 1024;
/// Bytes of blocks after which the cache is cleared of them.
const PASSED_BYTES: usize = 512 * 1024;
/// Keys that sled leaves in a leaf which was filled in order.
const KEYS_A_LEAF: usize = 8;
/// Enough for more leaves than sled's cache has parts.
const KEYS: usize = KEYS_A_LEAF * 288;
/// Keys that are made between two syncs: no segment of sled's is filled by them.
const KEYS_AT_ONCE: usize = KEYS / 9;
/// One more than the accesses after which sled looks at what to drop.
const ACCESSES: usize = 65;

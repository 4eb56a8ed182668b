//! Which blocks may go, and which must: a function of the index, the cursors and the clocks.
//!
//! * *Old* blocks may go when every consumer has committed beyond them and they are older than the
//!   retention. With no consumer nothing counts as delivered, and none is old.
//! * *Surplus* blocks must go, oldest first, when the database would outgrow its bound, whoever has
//!   not read them.
//!
//! The record just before a cursor always stays as long as the bound allows: the first delta after it
//! is counted from that record.
//!
//! # Age
//!
//! The system's clock jumps: machines boot into 1970, a wrong setting reaches 2038 and comes back. So
//! a block is old only if both agree:
//!
//! * the system's clock: it is later than the block's newest capture time by more than the retention,
//!   where a capture time later than that of a later block counts as that block's (a record cannot have
//!   been captured after one that follows it);
//! * the clock that does not jump: the silences of the records after the block, and the one since the
//!   last record, add up to more than the retention.
//!
//! A clock that jumps ahead thus removes nothing before its time, and one that jumped back holds
//! nothing for ever. Time while the machine was off does not count, so that after a long time off
//! records stay up to the retention longer, within the bound.

use std::time::Duration;

use super::index::{Entry, Index};

/// What it depends on whether a block is old.
#[derive(Debug, Clone, Copy)]
pub struct Circumstances {
    /// The system's clock, in microseconds since 1970.
    pub now_us: i64,
    /// Time since the last record by the clock that does not jump, in milliseconds.
    pub silence_ms: u64,
    /// How long committed records are kept.
    pub retention: Duration,
    /// The lowest cursor.
    pub lowest_cursor: u64,
}

/// What a block costs in the database: its bytes, its key, and sled's own record of it.
pub fn cost_bytes(entry: &Entry) -> u64 {
    u64::from(entry.stored_bytes) + BLOCK_OVERHEAD_BYTES
}

/// What all blocks cost in the database.
pub fn total_cost_bytes(index: &Index) -> u64 {
    index.stored_bytes() + index.block_count() as u64 * BLOCK_OVERHEAD_BYTES
}

/// What the folder takes on disk for blocks of this cost, at most.
pub fn disk_bytes(cost_bytes: u64) -> u64 {
    cost_bytes.saturating_mul(DISK_PER_COST_TENTHS) / 10 + DISK_FIXED_BYTES
}

/// The cost of blocks that a folder of this size on disk has room for.
pub fn max_cost_bytes(max_size_bytes: u64) -> u64 {
    max_size_bytes.saturating_sub(DISK_FIXED_BYTES).saturating_mul(10) / DISK_PER_COST_TENTHS
}

/// The oldest blocks, at most `limit` of them, that must go for all to cost no more than `max_cost_bytes`, whether
/// delivered or not.
pub fn surplus(index: &Index, max_cost_bytes: u64, limit: usize) -> Vec<Entry> {
    let mut cost = total_cost_bytes(index);
    oldest(index, limit)
        .take_while(|entry| {
            let is_surplus = cost > max_cost_bytes;
            cost -= cost_bytes(entry);
            is_surplus
        })
        .collect()
}

/// The oldest blocks, at most `limit` of them, so that no hole is made. The newest always stays: the head must be
/// readable.
fn oldest(index: &Index, limit: usize) -> impl Iterator<Item = Entry> {
    let newest = index.last();
    let blocks = index.iter().filter(move |entry| Some(entry.last) != newest);
    blocks.take(limit).copied()
}

/// The oldest blocks, at most `limit` of them, that every consumer has and that have been kept long enough.
pub fn old(index: &Index, circumstances: &Circumstances, limit: usize) -> Vec<Entry> {
    let candidates: Vec<Entry> = oldest(index, limit)
        .take_while(|entry| entry.last < circumstances.lowest_cursor)
        .collect();
    let Some(last) = candidates.last() else {
        return Vec::new();
    };

    // Both ages are counted from the newest block backwards.
    let retention_ms = u64::try_from(circumstances.retention.as_millis()).unwrap_or(u64::MAX);
    let after = index.from(last.last + 1);
    let (mut elapsed_ms, mut captured_us) = after.fold(
        (circumstances.silence_ms, i64::MAX),
        |(elapsed, earliest), entry| {
            (
                elapsed.saturating_add(entry.elapsed_ms),
                earliest.min(entry.newest_captured_us),
            )
        },
    );
    let mut old = 0;
    for (position, entry) in candidates.iter().enumerate().rev() {
        captured_us = captured_us.min(entry.newest_captured_us);
        let age_ms = u64::try_from(circumstances.now_us.saturating_sub(captured_us) / 1000).unwrap_or(0);
        if age_ms > retention_ms && elapsed_ms > retention_ms {
            old = position + 1;
            break;
        }
        elapsed_ms = elapsed_ms.saturating_add(entry.elapsed_ms);
    }
    candidates.into_iter().take(old).collect()
}

const BLOCK_OVERHEAD_BYTES: u64 = 64;
/// sled's file, in tenths of what the blocks in it cost: measured, see `tests/bench queue`.
const DISK_PER_COST_TENTHS: u64 = 34;
/// What an empty queue takes: the journal, the segments that are written and cleared while much comes, the mark.
const DISK_FIXED_BYTES: u64 = 4 * 1024 * 1024 + 832 * 1024;

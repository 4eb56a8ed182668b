//! What has been appended and is not durable yet: kept in memory, in order, within a bound.
//!
//! While the disk is full or gone the oldest are kept and the newest refused: what was refused was
//! never accepted, and the sequences go on without a gap when there is room again.

use shared::record::Record;

use super::block::{self, BlockWriter};
use super::index::Entry;
use super::merge;

/// The records that wait for a flush.
#[derive(Debug, Default)]
pub struct Buffer {
    records: Vec<Record>,
    /// Silences of the records that came from the meter, beside each record.
    elapsed_ms: Vec<u64>,
    bytes: usize,
    live: u64,
}

impl Buffer {
    /// Adds a record. `is_live` where its silence passed on this machine.
    pub fn push(&mut self, record: Record, is_live: bool) {
        self.bytes += record.telegram.len();
        self.elapsed_ms.push(if is_live { record.silence_ms } else { 0 });
        self.live += u64::from(is_live);
        self.records.push(record);
    }

    /// Forgets all: they are durable.
    pub fn clear(&mut self) {
        *self = Self::default();
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// Bytes of their telegrams.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// How many of them came from the meter.
    pub fn live(&self) -> u64 {
        self.live
    }

    /// Sequence of the last one.
    pub fn last_sequence(&self) -> Option<u64> {
        self.records.last().map(|record| record.sequence)
    }

    /// All of them as blocks: one, or as many as keep each within the bounds of [`merge`]. A small one is not compressed
    /// where `is_plain`.
    ///
    /// # Errors
    /// Where zstd cannot get its memory.
    pub fn encode(
        &self,
        writer: &mut BlockWriter,
        generation: u32,
        is_plain: bool,
    ) -> std::io::Result<Vec<(Entry, Vec<u8>)>> {
        let mut blocks = Vec::new();
        let mut from = 0;
        // Neighbours compress alike: what was too many before is so again.
        let mut most = usize::MAX;
        while from < self.records.len() {
            let mut count = self.group_length(from).min(most);
            loop {
                let records = self.records.get(from..from + count).unwrap_or_default();
                let elapsed = self
                    .elapsed_ms
                    .get(from..from + count)
                    .unwrap_or_default()
                    .iter()
                    .sum();
                let raw_bytes: usize = records.iter().map(raw_bytes).sum();
                let bytes = if is_plain && raw_bytes <= block::MAX_PLAIN_BYTES {
                    block::encode_plain(records, elapsed, generation)?
                } else {
                    writer.encode(records, elapsed, generation)?
                };
                if bytes.len() > merge::MAX_STORED_BYTES && count > 1 {
                    count = (count * merge::MAX_STORED_BYTES / bytes.len()).max(1);
                    most = count;
                    continue;
                }
                let header = block::read_header(&bytes).map_err(std::io::Error::other)?;
                blocks.push((Entry::new(&header, merge::place(&header)), bytes));
                break;
            }
            from += count;
        }
        Ok(blocks)
    }

    /// How many records from this one on make the next block: what is left in parts of one size, none too large before
    /// compression. A small one behind large ones would never be merged.
    fn group_length(&self, from: usize) -> usize {
        let left = self.records.get(from..).unwrap_or_default();
        let all: usize = left.iter().map(raw_bytes).sum();
        let part = all.div_ceil(all.div_ceil(merge::TARGET_RAW_BYTES).max(1));
        let mut raw = 0;
        let fitting = left
            .iter()
            .take(merge::MAX_RECORDS as usize)
            .take_while(|&record| {
                raw += raw_bytes(record);
                raw <= part
            });
        fitting.count().max(1)
    }
}

fn raw_bytes(record: &Record) -> usize {
    block::raw_bytes(record.telegram.len())
}

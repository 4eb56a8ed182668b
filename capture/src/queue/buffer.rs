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
    /// Beside each record its silence, if it came from the meter.
    elapsed_ms: Vec<Option<u64>>,
    bytes: usize,
}

impl Buffer {
    /// Adds a record. `is_live` where its silence passed on this machine.
    pub fn push(&mut self, record: Record, is_live: bool) {
        self.bytes += record.telegram.len();
        self.elapsed_ms.push(is_live.then_some(record.silence_ms));
        self.records.push(record);
    }

    /// Forgets the first ones, up to this sequence: they are durable. Returns how many they were, and how many of them
    /// came from the meter.
    pub fn forget(&mut self, last: u64) -> (u64, u64) {
        let count = self.records.partition_point(|record| record.sequence <= last);
        let gone = self.records.drain(..count);
        self.bytes -= gone.map(|record| record.telegram.len()).sum::<usize>();
        let live = self.elapsed_ms.drain(..count).flatten().count() as u64;
        if self.records.is_empty() {
            *self = Self::default();
        }
        (count as u64, live)
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

    /// The first of them as blocks, each within the bounds of [`merge`], until these have `most_bytes`; in general all
    /// of them as one. A small one is not compressed if `is_plain`.
    ///
    /// # Errors
    /// Where zstd cannot get its memory.
    pub fn encode(
        &self,
        writer: &mut BlockWriter,
        generation: u32,
        is_plain: bool,
        most_bytes: usize,
    ) -> std::io::Result<Vec<(Entry, Vec<u8>)>> {
        let mut blocks = Vec::new();
        let mut from = 0;
        let mut stored = 0;
        // Neighbours compress alike: what was too many before is so again.
        let mut most = usize::MAX;
        while from < self.records.len() && stored < most_bytes {
            let mut count = self.group_length(from).min(most);
            loop {
                let records = self.records.get(from..from + count).unwrap_or_default();
                let elapsed = self
                    .elapsed_ms
                    .get(from..from + count)
                    .unwrap_or_default()
                    .iter()
                    .flatten()
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
                stored += bytes.len();
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

//! A block: one flush group of records, compressed, self-contained and checksummed.
//!
//! A block can be understood without anything else of the queue: it names its sequences, carries its
//! own reference (its first telegram, which the others are compressed against, and which is itself
//! compressed against a telegram compiled into the program and named by number), and a checksum over
//! all of it. So one that is damaged takes no other with it, and a whole one can be found in the
//! wreck of a database by its magic alone.
//!
//! # Bytes
//!
//! All numbers are little endian.
//!
//! ```text
//! offset size field
//!      0    4 magic            50 31 42 B5 ("P1B" and a byte that no ASCII text holds)
//!      4    1 version          1
//!      5    1 reference        number of the compiled-in telegram, see `reference`
//!      6    2 count            records in the block, 1 to 65535
//!      8    8 first_sequence   the records' sequences are this and those that follow, without a gap
//!     16    8 first_captured   i64, captured_at_us of the first record
//!     24    8 newest_captured  i64, greatest captured_at_us in the block
//!     32    8 elapsed_ms       silences of the records that came from the meter (not by import), summed
//!     40    4 generation       which opening of the folder wrote it: where two whole blocks hold the
//!                              same sequence, the higher one counts
//!     44    4 raw_length       bytes of the body before compression
//!     48    4 stored_length    bytes of the body as stored
//!     52    4 checksum         CRC-32 (IEEE) of bytes 0..52 and of the stored body
//!     56    … body             one zstd frame, dictionary: the compiled-in telegram as raw content
//! ```
//!
//! A block that is soon to be part of a larger one is not compressed: its frame has the bytes as they are.
//!
//! The body before compression:
//!
//! ```text
//! count ×  { captured_at_us less the one before, zigzag varint; the first less first_captured: 0
//!            silence_ms, varint
//!            length of the telegram, varint }
//! the telegrams, one after the other
//! ```
//!
//! Every version keeps magic, version, stored_length and checksum where they are, so that a program that
//! does not know it can still tell a whole block of it from a damaged one.
//!
//! A varint has seven bits a byte, lowest first, the eighth bit set where more follow. Zigzag maps
//! 0, -1, 1, -2 to 0, 1, 2, 3.

use bytes::{Bytes, BytesMut};
use shared::record::Record;
use thiserror::Error;
use zstd::bulk::{Compressor, Decompressor};

use super::reference;

/// First bytes of every block.
pub const MAGIC: [u8; 4] = [0x50, 0x31, 0x42, 0xB5];
/// Version of the layout above. Raised with every change of it; older ones stay readable.
pub const VERSION: u8 = 1;
/// Bytes before the body.
pub const HEADER_BYTES: usize = 56;
/// Most bytes that a body may have before compression. Checked before anything is allocated.
pub const MAX_RAW_BYTES: usize = 1024 * 1024;
/// Most bytes that a body may have as stored.
pub const MAX_STORED_BYTES: usize = MAX_RAW_BYTES + 16 * 1024;

const MAX_RECORDS: usize = u16::MAX as usize;
const CHECKSUM_OFFSET: usize = 52;
/// Where in a block its checksum is.
pub const CHECKSUM: std::ops::Range<usize> = CHECKSUM_OFFSET..HEADER_BYTES;

/// What a block's header says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// Number of the compiled-in reference telegram.
    pub reference: u8,
    /// Records in the block.
    pub count: u16,
    /// Sequence of the first record.
    pub first_sequence: u64,
    /// Capture's time of the first record, in microseconds since 1970.
    pub first_captured_us: i64,
    /// Greatest capture time in the block, in microseconds since 1970.
    pub newest_captured_us: i64,
    /// Sum of the silences of the records that came from the meter, in milliseconds.
    pub elapsed_ms: u64,
    /// Which opening of the folder wrote the block.
    pub generation: u32,
    /// Bytes of the body before compression.
    pub raw_length: u32,
    /// Bytes of the body as stored.
    pub stored_length: u32,
}

impl Header {
    /// Sequence of the last record.
    pub fn last_sequence(&self) -> u64 {
        self.first_sequence
            .saturating_add(u64::from(self.count).saturating_sub(1))
    }

    /// Bytes of the whole block as stored.
    pub fn block_bytes(&self) -> usize {
        HEADER_BYTES + self.stored_length as usize
    }
}

/// Why bytes are not a whole block.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum BlockError {
    /// Fewer bytes than the header, or than the header says.
    #[error("a block of {found} bytes ends before its {expected} bytes")]
    Short {
        /// Bytes that there are.
        found: usize,
        /// Bytes that there should be.
        expected: usize,
    },
    /// The first bytes are not a block's.
    #[error("the bytes do not begin as a block")]
    Magic,
    /// The version is one this program does not know; the block is whole.
    #[error("the block is of version {found}, this program knows 1 to {VERSION}")]
    Version {
        /// The version found.
        found: u8,
    },
    /// The checksum does not match.
    #[error("the checksum of block {first_sequence} does not match")]
    Checksum {
        /// Sequence that the header claims.
        first_sequence: u64,
    },
    /// The checksum matches, yet the contents make no sense: a fault in the program that wrote it.
    #[error("block {first_sequence} is not what its header says: {detail}")]
    Contents {
        /// Sequence of its first record.
        first_sequence: u64,
        /// What is wrong.
        detail: String,
    },
}

/// Reads and checks a block's header and checksum, without decompressing. `bytes` may go on behind it.
///
/// # Errors
/// Where the bytes do not begin with a whole block.
pub fn verify(bytes: &[u8]) -> Result<Header, BlockError> {
    let header = read_header(bytes);
    let (first_sequence, stored_length) = match &header {
        Ok(header) => (header.first_sequence, header.stored_length),
        Err(BlockError::Version { .. }) => (u64::from_le_bytes(array(bytes, 8)), read_u32(bytes, 48)),
        Err(_) => return header,
    };
    let expected = HEADER_BYTES.saturating_add(stored_length as usize);
    let Some(body) = bytes.get(HEADER_BYTES..expected) else {
        return Err(BlockError::Short {
            found: bytes.len(),
            expected,
        });
    };
    let head = bytes.get(..CHECKSUM_OFFSET).unwrap_or_default();
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(head);
    hasher.update(body);
    if read_u32(bytes, CHECKSUM_OFFSET) != hasher.finalize() {
        return Err(BlockError::Checksum { first_sequence });
    }
    header
}

/// Reads a block's header without looking at its checksum.
///
/// # Errors
/// Where the header is cut short, or is not one.
pub fn read_header(bytes: &[u8]) -> Result<Header, BlockError> {
    if !bytes.starts_with(&MAGIC) {
        return Err(BlockError::Magic);
    }
    if bytes.len() < HEADER_BYTES {
        return Err(BlockError::Short {
            found: bytes.len(),
            expected: HEADER_BYTES,
        });
    }
    let version = bytes.get(4).copied().unwrap_or_default();
    if version != VERSION {
        return Err(BlockError::Version { found: version });
    }
    let header = Header {
        reference: bytes.get(5).copied().unwrap_or_default(),
        count: u16::from_le_bytes(array(bytes, 6)),
        first_sequence: u64::from_le_bytes(array(bytes, 8)),
        first_captured_us: i64::from_le_bytes(array(bytes, 16)),
        newest_captured_us: i64::from_le_bytes(array(bytes, 24)),
        elapsed_ms: u64::from_le_bytes(array(bytes, 32)),
        generation: read_u32(bytes, 40),
        raw_length: read_u32(bytes, 44),
        stored_length: read_u32(bytes, 48),
    };
    let is_possible = header.count > 0
        && header.first_sequence > 0
        && header
            .first_sequence
            .checked_add(u64::from(header.count))
            .is_some()
        && header.raw_length as usize <= MAX_RAW_BYTES
        && header.stored_length as usize <= MAX_STORED_BYTES;
    if is_possible {
        Ok(header)
    } else {
        Err(BlockError::Magic)
    }
}

/// How hard blocks are compressed. zstd's 12 takes five times the instructions of appending a telegram, and
/// saves a thousandth of what is stored.
pub const COMPRESSION_LEVEL: i32 = 6;

/// Writes blocks; keeps the compressor's memory between them.
pub struct BlockWriter {
    compressor: Compressor<'static>,
}

impl BlockWriter {
    /// A writer that compresses as hard as `level` of zstd says (1 to 19).
    ///
    /// # Errors
    /// Where zstd cannot get its memory.
    pub fn new(level: i32) -> std::io::Result<Self> {
        Ok(Self {
            compressor: Compressor::with_dictionary(level, reference::CURRENT.1)?,
        })
    }

    /// Encodes records of consecutive sequences as one block.
    ///
    /// # Errors
    /// Where zstd cannot get its memory.
    ///
    /// # Panics
    /// Never on input: an empty slice, a gap or too many bytes are the caller's mistake, and asserted.
    pub fn encode(
        &mut self,
        records: &[Record],
        elapsed_ms: u64,
        generation: u32,
    ) -> std::io::Result<Vec<u8>> {
        encode(records, elapsed_ms, generation, |raw| {
            self.compressor.compress(raw)
        })
    }
}

/// Most bytes of a body that [`encode_plain`] takes: less than a page of the disk with everything around it.
pub const MAX_PLAIN_BYTES: usize = 3 * 1024;

/// As [`BlockWriter::encode`], but without compressing: that takes as much as all else that is done for a telegram,
/// and does not last.
///
/// # Errors
/// Never on input.
///
/// # Panics
/// As [`BlockWriter::encode`]; more than [`MAX_PLAIN_BYTES`] are too many.
pub fn encode_plain(records: &[Record], elapsed_ms: u64, generation: u32) -> std::io::Result<Vec<u8>> {
    encode(records, elapsed_ms, generation, |raw| Ok(plain_frame(raw)))
}

/// A zstd frame of one block that has the bytes as they are (RFC 8878, sections 3.1.1.1 and 3.1.1.2.2).
fn plain_frame(raw: &[u8]) -> Vec<u8> {
    assert!(
        raw.len() <= MAX_PLAIN_BYTES,
        "{} bytes exceed a plain frame",
        raw.len()
    );
    let length = raw.len() as u32;
    let mut frame = Vec::with_capacity(12 + raw.len());
    frame.extend_from_slice(&0xFD2F_B528_u32.to_le_bytes());
    // The content's length in four bytes, one segment, neither checksum nor number of a dictionary.
    frame.push(0b1010_0000);
    frame.extend_from_slice(&length.to_le_bytes());
    // The last block, of raw bytes.
    frame.extend(
        length
            .wrapping_shl(3)
            .wrapping_add(1)
            .to_le_bytes()
            .iter()
            .take(3),
    );
    frame.extend_from_slice(raw);
    frame
}

fn encode(
    records: &[Record],
    elapsed_ms: u64,
    generation: u32,
    pack: impl FnOnce(&[u8]) -> std::io::Result<Vec<u8>>,
) -> std::io::Result<Vec<u8>> {
    let (Some(first), Some(last)) = (records.first(), records.last()) else {
        return Err(std::io::Error::other("a block needs at least one record"));
    };
    assert!(
        records.len() <= MAX_RECORDS,
        "{} records exceed a block's {MAX_RECORDS}",
        records.len()
    );
    assert_eq!(
        last.sequence - first.sequence + 1,
        records.len() as u64,
        "a block's sequences have no gap: {} to {} in {} records",
        first.sequence,
        last.sequence,
        records.len()
    );
    let raw = encode_body(records, first.captured_at_us);
    assert!(
        raw.len() <= MAX_RAW_BYTES,
        "{} bytes exceed a block's {MAX_RAW_BYTES}",
        raw.len()
    );
    let body = pack(&raw)?;
    let newest = records
        .iter()
        .map(|record| record.captured_at_us)
        .max()
        .unwrap_or(first.captured_at_us);

    let mut bytes = Vec::with_capacity(HEADER_BYTES + body.len());
    bytes.extend_from_slice(&MAGIC);
    bytes.push(VERSION);
    bytes.push(reference::CURRENT.0);
    bytes.extend_from_slice(&(records.len() as u16).to_le_bytes());
    bytes.extend_from_slice(&first.sequence.to_le_bytes());
    bytes.extend_from_slice(&first.captured_at_us.to_le_bytes());
    bytes.extend_from_slice(&newest.to_le_bytes());
    bytes.extend_from_slice(&elapsed_ms.to_le_bytes());
    bytes.extend_from_slice(&generation.to_le_bytes());
    bytes.extend_from_slice(&(raw.len() as u32).to_le_bytes());
    bytes.extend_from_slice(&(body.len() as u32).to_le_bytes());
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&bytes);
    hasher.update(&body);
    bytes.extend_from_slice(&hasher.finalize().to_le_bytes());
    bytes.extend_from_slice(&body);
    Ok(bytes)
}

/// Bytes that a record adds to a body before compression, at most.
pub const fn raw_bytes(telegram_length: usize) -> usize {
    telegram_length + 24
}

/// Bytes of a stored block of one record that does not compress, at most: zstd adds less than a hundredth and 64 bytes.
pub const fn most_bytes_of_one(telegram_length: usize) -> usize {
    let raw = raw_bytes(telegram_length);
    HEADER_BYTES + raw + raw / 100 + 64
}

/// Decodes a whole block.
///
/// # Errors
/// Where the bytes do not begin with a whole block.
pub fn decode(bytes: &[u8]) -> Result<(Header, Vec<Record>), BlockError> {
    BlockDecoder::default().decode(bytes)
}

/// Decodes blocks; keeps the decompressor and its memory between them, some 300 KB, and up to three bodies. The
/// records of a block share one stretch of memory.
#[derive(Default)]
pub struct BlockDecoder {
    /// For blocks of this reference.
    decompressor: Option<(u8, Decompressor<'static>)>,
    bodies: Bodies,
}

/// What the last blocks were decompressed to: memory that is used again once their records are gone. While a block is
/// decoded for a batch, that batch mostly has records of one or two others.
#[derive(Default)]
struct Bodies([Bytes; 3]);

impl Bodies {
    /// Memory that nobody has any more; none where all are in use.
    fn vacant(&mut self) -> BytesMut {
        let vacant = self.0.iter_mut().find(|body| body.is_unique());
        vacant.map_or_else(BytesMut::new, |body| std::mem::take(body).into())
    }

    /// Keeps a body, in place of another where there are three.
    fn keep(&mut self, body: Bytes) {
        let [first, second, third] = &mut self.0;
        let place = [second, third]
            .into_iter()
            .find(|place| place.is_empty())
            .unwrap_or(first);
        *place = body;
    }
}

impl BlockDecoder {
    /// As [`decode`].
    ///
    /// # Errors
    /// As [`decode`].
    pub fn decode(&mut self, bytes: &[u8]) -> Result<(Header, Vec<Record>), BlockError> {
        decode_with(self, bytes)
    }
}

fn decode_with(decoder: &mut BlockDecoder, bytes: &[u8]) -> Result<(Header, Vec<Record>), BlockError> {
    let header = verify(bytes)?;
    let wrong = |detail: String| BlockError::Contents {
        first_sequence: header.first_sequence,
        detail,
    };
    let reference = reference::by_number(header.reference).ok_or_else(|| {
        wrong(format!(
            "reference {} is not known to this program",
            header.reference
        ))
    })?;
    let known = decoder
        .decompressor
        .take()
        .filter(|(number, _)| *number == header.reference);
    let (_, decompressor) = match known {
        Some(known) => decoder.decompressor.insert(known),
        None => {
            let new = Decompressor::with_dictionary(reference).map_err(|error| wrong(error.to_string()))?;
            decoder.decompressor.insert((header.reference, new))
        }
    };
    let body = bytes.get(HEADER_BYTES..header.block_bytes()).unwrap_or_default();
    let mut raw = decoder.bodies.vacant();
    raw.resize(header.raw_length as usize, 0);
    let length = decompressor
        .decompress_to_buffer(body, &mut raw[..])
        .map_err(|error| wrong(format!("it does not decompress: {error}")))?;
    if length != raw.len() {
        return Err(wrong(format!("{length} bytes instead of {}", raw.len())));
    }
    let raw = raw.freeze();
    let records = decode_body(&raw, &header).ok_or_else(|| wrong("its lengths do not add up".to_owned()))?;
    decoder.bodies.keep(raw);
    Ok((header, records))
}

fn encode_body(records: &[Record], first_captured_us: i64) -> Vec<u8> {
    let telegrams: usize = records.iter().map(|record| record.telegram.len()).sum();
    let mut raw = Vec::with_capacity(telegrams + 24 * records.len());
    let mut before = first_captured_us;
    for record in records {
        put_varint(&mut raw, zigzag(record.captured_at_us.wrapping_sub(before)));
        put_varint(&mut raw, record.silence_ms);
        put_varint(&mut raw, record.telegram.len() as u64);
        before = record.captured_at_us;
    }
    for record in records {
        raw.extend_from_slice(&record.telegram);
    }
    raw
}

fn decode_body(raw: &Bytes, header: &Header) -> Option<Vec<Record>> {
    let count = usize::from(header.count);
    // Each record has at least three bytes in the table: a lying count cannot make this allocate.
    if raw.len() < count * 3 {
        return None;
    }
    let mut rest = &raw[..];
    let mut captured = header.first_captured_us;
    let mut heads = Vec::with_capacity(count);
    for _ in 0..count {
        captured = captured.wrapping_add(unzigzag(take_varint(&mut rest)?));
        let silence_ms = take_varint(&mut rest)?;
        let length = usize::try_from(take_varint(&mut rest)?).ok()?;
        heads.push((captured, silence_ms, length));
    }
    let mut records = Vec::with_capacity(count);
    for (offset, (captured_at_us, silence_ms, length)) in (0u64..).zip(heads) {
        let (telegram, behind) = rest.split_at_checked(length)?;
        let telegram = raw.slice_ref(telegram);
        rest = behind;
        records.push(Record {
            sequence: header.first_sequence + offset,
            captured_at_us,
            silence_ms,
            telegram,
        });
    }
    rest.is_empty().then_some(records)
}

fn put_varint(to: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        to.push((value as u8) | 0x80);
        value >>= 7;
    }
    to.push(value as u8);
}

fn take_varint(from: &mut &[u8]) -> Option<u64> {
    let mut value = 0u64;
    for shift in (0..64).step_by(7) {
        let (&byte, rest) = from.split_first()?;
        *from = rest;
        value |= u64::from(byte & 0x7F) << shift;
        if byte < 0x80 {
            return Some(value);
        }
    }
    None
}

fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)) as u64
}

fn unzigzag(value: u64) -> i64 {
    ((value >> 1) as i64) ^ -((value & 1) as i64)
}

fn array<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    bytes
        .get(at..at + N)
        .and_then(|slice| slice.try_into().ok())
        .unwrap_or([0; N])
}

fn read_u32(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(array(bytes, at))
}

//! Any bytes as a stored block are decoded or refused; and so are any bytes behind a header and a
//! checksum that are right, compressed or not, since that is as far as a damaged disk's luck can go.

use capture::queue::block::{self, HEADER_BYTES, MAGIC, MAX_RAW_BYTES, VERSION};
use capture::queue::reference;

/// Asserts every claim for these bytes.
pub(crate) fn hold_for(bytes: &[u8]) {
    decoded(bytes);
    let Some((&[count, longer], rest)) = bytes.split_first_chunk() else {
        return;
    };
    let raw_length = rest.len().saturating_add(usize::from(longer));
    decoded(&sealed(u16::from(count), raw_length, rest));
    let compressed = zstd::bulk::Compressor::with_dictionary(1, reference::CURRENT.1)
        .and_then(|mut compressor| compressor.compress(rest));
    if let Ok(body) = compressed {
        decoded(&sealed(u16::from(count), rest.len(), &body));
        decoded(&sealed(u16::from(count), raw_length, &body));
    }
}

fn decoded(bytes: &[u8]) {
    let Ok((header, records)) = block::decode(bytes) else {
        return;
    };
    assert_eq!(
        records.len() as u64,
        header.last_sequence() - header.first_sequence + 1
    );
    let telegrams: usize = records.iter().map(|record| record.telegram.len()).sum();
    assert!(telegrams <= MAX_RAW_BYTES);
    for (place, record) in records.iter().enumerate() {
        assert_eq!(record.sequence, header.first_sequence + place as u64);
    }
}

/// A block with this body whose header and checksum are right.
fn sealed(count: u16, raw_length: usize, body: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(HEADER_BYTES + body.len());
    bytes.extend_from_slice(&MAGIC);
    bytes.extend_from_slice(&[VERSION, reference::CURRENT.0]);
    bytes.extend_from_slice(&count.to_le_bytes());
    bytes.extend_from_slice(&7_u64.to_le_bytes());
    bytes.extend_from_slice(&[0; 8 + 8 + 8 + 4]);
    bytes.extend_from_slice(&(raw_length as u32).to_le_bytes());
    bytes.extend_from_slice(&(body.len() as u32).to_le_bytes());
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&bytes);
    hasher.update(body);
    bytes.extend_from_slice(&hasher.finalize().to_le_bytes());
    assert_eq!(bytes.len(), HEADER_BYTES);
    bytes.extend_from_slice(body);
    bytes
}

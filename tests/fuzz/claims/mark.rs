//! Any bytes in the file of the high-water mark are a mark or none; and so are any bytes behind a head and a checksum
//! that are right. What is written is read again.

use capture::queue::mark::{MarkFile, VERSION};

use super::scratch::File;

/// Asserts every claim for these bytes. How many marks are in them.
pub(crate) fn hold_for(bytes: &[u8]) -> usize {
    let (left, right) = bytes.split_at(bytes.len() / 2);
    let mut both = sealed(left);
    both.resize(4096, 0);
    both.extend(sealed(right));
    let files = [bytes.to_vec(), sealed(bytes), both];
    files.iter().filter(|bytes| is_mark(bytes)).count()
}

fn is_mark(bytes: &[u8]) -> bool {
    let file = File::holding("mark", bytes);
    MarkFile::later_version(file.path());
    let peeked = MarkFile::peek(file.path());
    let (writer, found) = MarkFile::open(file.path()).expect("the file can be read");
    assert_eq!(found, peeked);
    let Some(mut mark) = found else { return false };
    writer.write(&mut mark).expect("the file can be written");
    writer.write_synced(&mut mark).expect("the file can be written");
    assert_eq!(MarkFile::peek(file.path()), Some(mark));
    true
}

/// A slot with this payload whose head and checksum are right.
fn sealed(payload: &[u8]) -> Vec<u8> {
    let payload = payload.get(..4084).unwrap_or(payload);
    let mut slot = vec![0x50, 0x31, 0x4D, VERSION];
    slot.extend((payload.len() as u32).to_le_bytes());
    slot.extend(crc32fast::hash(payload).to_le_bytes());
    slot.extend(payload);
    slot
}

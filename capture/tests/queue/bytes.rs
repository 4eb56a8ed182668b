//! The stored bytes are what they always were. A change here means that queues already on disk can no
//! longer be read: raise the version, keep reading the old one, and add a folder beside the frozen ones.

use std::fs;
use std::path::Path;

use capture::queue::block::{self, BlockDecoder, BlockError, BlockWriter, HEADER_BYTES};
use capture::queue::mark::{Mark, MarkFile};
use capture::queue::{Queue, reference};
use proptest::prelude::*;
use shared::record::Record;
use shared::wire::Start;

use crate::support::{captured_us, copy_folder, fill, options, read_all, scratch, telegram};

/// A block of two records, written by the first version.
const BLOCK_1: &str = include_str!("block-1.hex");
/// The mark of a queue with two consumers, written by the first version.
const MARK_1: &str = include_str!("mark-1.hex");

fn two_records() -> Vec<Record> {
    vec![
        Record {
            sequence: 258,
            captured_at_us: 1_764_000_000_000_001,
            silence_ms: 0,
            telegram: telegram(1).into(),
        },
        Record {
            sequence: 259,
            captured_at_us: 1_763_999_999_000_001,
            silence_ms: 300,
            telegram: b"/odd\x00\xff".to_vec().into(),
        },
    ]
}

#[test]
fn a_decoder_reads_a_block_as_it_is_read_alone_whatever_it_has_read_before() {
    let mut writer = BlockWriter::new(3).unwrap();
    let mut block = |sequence: u64, repeated: usize| {
        let telegram = format!("/{sequence}").repeat(repeated);
        let record = Record {
            sequence,
            captured_at_us: 0,
            silence_ms: 0,
            telegram: telegram.into(),
        };
        writer.encode(&[record], 0, 1).unwrap()
    };
    // A body that is said to be longer than it is, or shorter, by a header with a checksum that fits.
    let misstated = |mut bytes: Vec<u8>, raw_length: u32| {
        bytes[44..48].copy_from_slice(&raw_length.to_le_bytes());
        let mut hasher = crc32fast::Hasher::new();
        hasher.update(&bytes[..52]);
        hasher.update(&bytes[HEADER_BYTES..]);
        bytes[52..56].copy_from_slice(&hasher.finalize().to_le_bytes());
        bytes
    };
    let mut blocks = Vec::new();
    for sequence in (100..160).step_by(6) {
        blocks.push(block(sequence, 2_000));
        blocks.push(misstated(block(sequence + 1, 10), 7_000));
        blocks.push(block(sequence + 2, 10));
        blocks.push(misstated(block(sequence + 3, 2_000), 5));
        blocks.push(block(sequence + 4, 900));
    }
    let mut decoder = BlockDecoder::default();
    let mut held = Vec::new();
    let mut refused = 0;
    for (number, bytes) in blocks.iter().enumerate() {
        let alone = block::decode(bytes);
        let decoded = decoder.decode(bytes);
        assert_eq!(decoded, alone, "block {number}");
        refused += usize::from(decoded.is_err());
        // The memory of the others is used again.
        if number % 4 == 0 {
            held.push((decoded, alone));
        }
    }
    assert_eq!(refused, 20);
    for (decoded, alone) in held {
        assert_eq!(decoded, alone);
    }
}

#[test]
fn a_block_of_the_first_version_is_read() {
    let bytes = from_hex(BLOCK_1);
    let (header, records) = block::decode(&bytes).unwrap();
    assert_eq!(records, two_records());
    assert_eq!(
        (header.first_sequence, header.last_sequence(), header.count),
        (258, 259, 2)
    );
    assert_eq!(
        (header.first_captured_us, header.newest_captured_us),
        (1_764_000_000_000_001, 1_764_000_000_000_001)
    );
    assert_eq!(
        (header.elapsed_ms, header.generation, header.reference),
        (300, 7, 1)
    );
    // The header field by field, as documented.
    assert_eq!(bytes[..4], [0x50, 0x31, 0x42, 0xB5]);
    assert_eq!(bytes[4..8], [1, 1, 2, 0]);
    assert_eq!(bytes[8..16], 258u64.to_le_bytes());
    assert_eq!(bytes[16..24], 1_764_000_000_000_001i64.to_le_bytes());
    assert_eq!(bytes[24..32], 1_764_000_000_000_001i64.to_le_bytes());
    assert_eq!(bytes[32..40], 300u64.to_le_bytes());
    assert_eq!(bytes[40..44], 7u32.to_le_bytes());
    assert_eq!(bytes[48..52], ((bytes.len() - HEADER_BYTES) as u32).to_le_bytes());
    let sum = crc32fast::hash(&[&bytes[..52], &bytes[56..]].concat());
    assert_eq!(bytes[52..56], sum.to_le_bytes());
}

#[test]
fn the_header_is_written_as_it_was() {
    // The compressed body may change with zstd; the rest may not.
    let now = BlockWriter::new(12)
        .unwrap()
        .encode(&two_records(), 300, 7)
        .unwrap();
    assert_eq!(now[..48], from_hex(BLOCK_1)[..48]);
}

#[test]
fn the_reference_of_a_number_never_changes() {
    assert_eq!(
        crc32fast::hash(reference::by_number(1).unwrap()),
        REFERENCE_1_CRC32
    );
    assert_eq!(reference::by_number(0), None);
}

#[test]
fn a_mark_of_the_first_version_is_read_and_written_the_same() {
    let folder = scratch();
    let path = folder.path().join("mark");
    let expected = Mark {
        counter: 5,
        generation: 3,
        is_clean: true,
        boot_id: *b"0123456789abcdef",
        identity: *b"abcd2345",
        head: 1000,
        next: 1001,
        ceiling: 2000,
        tail: 17,
        last_uptime_us: Some(123_456_789),
        cursors: [("mqtt".to_owned(), 999), ("zweite".to_owned(), 17)].into(),
        former: Vec::new(),
    };
    fs::write(&path, from_hex(MARK_1)).unwrap();
    assert_eq!(MarkFile::peek(&path).as_ref(), Some(&expected));
    fs::remove_file(&path).unwrap();
    let (file, none) = MarkFile::open(&path).unwrap();
    assert_eq!(none, None);
    file.write(&mut Mark {
        counter: 4,
        ..expected
    })
    .unwrap();
    assert_eq!(to_hex(&fs::read(&path).unwrap()), MARK_1.trim());
}

#[test]
fn the_folder_of_the_first_version_opens_with_everything_in_it() {
    let frozen = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/queue-1");
    let folder = scratch();
    copy_folder(&frozen, folder.path());
    let (queue, report) = Queue::open(&options(folder.path())).unwrap();
    assert_eq!(
        (
            report.losses,
            report.records,
            report.moved_aside,
            report.damaged_blocks
        ),
        (Vec::new(), 700, None, 0)
    );
    assert_eq!(
        queue.identity(),
        fs::read_to_string(frozen.join("identity")).unwrap().trim()
    );
    assert_eq!(queue.consumers().get("mqtt"), Some(&650));
    for (number, record) in (1..).zip(read_all(&mut queue.reader())) {
        assert_eq!(
            (record.sequence, record.captured_at_us),
            (number, captured_us(number))
        );
        assert!(record.telegram == telegram(number));
    }
}

/// Writes the frozen files anew: only for a new version, under new names.
#[test]
#[ignore = "writes the frozen files"]
fn freeze() {
    let here = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    let block = BlockWriter::new(12)
        .unwrap()
        .encode(&two_records(), 300, 7)
        .unwrap();
    fs::write(here.join("queue/block-1.hex"), to_hex(&block) + "\n").unwrap();
    let folder = here.join("fixtures/queue-1");
    let _ = fs::remove_dir_all(&folder);
    let (mut queue, _) = Queue::open(&options(&folder)).unwrap();
    queue.register("mqtt", Start::Oldest).unwrap();
    fill(&mut queue, 700);
    queue.commit("mqtt", 650).unwrap();
    queue.close().unwrap();
}

proptest! {
    #[test]
    fn any_records_come_back_from_a_block(
        first in 1..u64::MAX / 2,
        contents in prop::collection::vec((any::<i64>(), any::<u64>(), prop::collection::vec(any::<u8>(), 0..300)), 1..40),
    ) {
        let records: Vec<Record> = (first..).zip(contents).map(|(sequence, (captured_at_us, silence_ms, telegram))| {
            Record { sequence, captured_at_us, silence_ms, telegram: telegram.into() }
        }).collect();
        let bytes = BlockWriter::new(3).unwrap().encode(&records, 5, 6).unwrap();
        let (header, decoded) = block::decode(&bytes).unwrap();
        prop_assert_eq!(header.last_sequence(), first + records.len() as u64 - 1);
        prop_assert_eq!(decoded, records);
    }

    #[test]
    fn no_flipped_bit_and_no_cut_goes_unnoticed(at in any::<prop::sample::Index>(), bit in 0..8u32) {
        let whole = from_hex(BLOCK_1);
        let mut flipped = whole.clone();
        let at = at.index(whole.len());
        flipped[at] ^= 1 << bit;
        prop_assert!(block::decode(&flipped).is_err());
        prop_assert!(block::decode(&whole[..at]).is_err());
    }

    #[test]
    fn any_bytes_are_refused_without_harm(bytes in prop::collection::vec(any::<u8>(), 0..200), has_magic in any::<bool>()) {
        let bytes = if has_magic { [&block::MAGIC[..], &[1], &bytes].concat() } else { bytes };
        prop_assert!(block::decode(&bytes).is_err());
    }
}

#[test]
fn a_later_version_is_refused_by_name() {
    let mut bytes = from_hex(BLOCK_1);
    bytes[4] = 2;
    // A byte gone bad, as the checksum tells; then a whole one.
    assert_eq!(
        block::decode(&bytes),
        Err(BlockError::Checksum { first_sequence: 258 })
    );
    let sum = crc32fast::hash(&[&bytes[..52], &bytes[56..]].concat());
    bytes[52..56].copy_from_slice(&sum.to_le_bytes());
    assert_eq!(block::decode(&bytes), Err(BlockError::Version { found: 2 }));
}

fn from_hex(text: &str) -> Vec<u8> {
    let digits: Vec<u32> = text.chars().filter_map(|digit| digit.to_digit(16)).collect();
    digits
        .chunks(2)
        .map(|pair| (pair[0] << 4 | pair[1]) as u8)
        .collect()
}

fn to_hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

const REFERENCE_1_CRC32: u32 = 0xC563_5147;

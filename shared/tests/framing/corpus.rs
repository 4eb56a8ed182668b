//! What real meters sent. What is expected is computed here from the collection's index (`INDEX.tsv`: the
//! CRC given, the CRC of the bytes, whether it is valid) and, for the files that hold more than one
//! telegram, stated after reading them.
//!
//! The collection is other people's data and not in this repository: these tests do nothing where its
//! folder does not exist.

use std::collections::BTreeMap;
use std::path::PathBuf;

use shared::config::CrcPolicy;
use shared::telegram::assembler::{Check, Found, Reason, find_all};

use crate::meter::{arc, assert_covers, checks, rejected, telegrams};

struct Row {
    file: String,
    bytes: Vec<u8>,
    crc_given: String,
    crc_computed: String,
    valid: String,
}

fn corpus() -> Option<Vec<Row>> {
    let folder = std::env::var_os("P1_CORPUS").map_or_else(
        || PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/telegrams")),
        PathBuf::from,
    );
    if !folder.exists() {
        eprintln!(
            "skipped: there is no {} (set P1_CORPUS to the folder of real telegrams)",
            folder.display()
        );
        return None;
    }
    let index = std::fs::read_to_string(folder.join("INDEX.tsv")).expect("INDEX.tsv can be read");
    let rows = index.lines().skip(1).map(|line| {
        let columns: Vec<&str> = line.split('\t').collect();
        let bytes = std::fs::read(folder.join(columns[0])).expect("a file that the index names can be read");
        assert_eq!(
            bytes.len().to_string(),
            columns[4],
            "{} has the length that the index states",
            columns[0]
        );
        Row {
            file: columns[0].to_owned(),
            bytes,
            crc_given: columns[5].to_owned(),
            crc_computed: columns[6].to_owned(),
            valid: columns[7].to_owned(),
        }
    });
    Some(rows.collect())
}

/// From the first `/` to the end of the line of the last `!`, by looking for those alone.
fn whole_of(row: &Row) -> &[u8] {
    let start = row
        .bytes
        .iter()
        .position(|&byte| byte == b'/')
        .expect("it has a start");
    let mark = row
        .bytes
        .iter()
        .rposition(|&byte| byte == b'!')
        .expect("it has an end");
    let line = row.bytes[mark..]
        .iter()
        .position(|&byte| byte == b'\n')
        .map_or(row.bytes.len(), |at| mark + at + 1);
    &row.bytes[start..line]
}

fn hex(digits: &str) -> u16 {
    u16::from_str_radix(digits, 16).expect("a CRC in hex")
}

/// Files of the index that hold something else than one telegram and nothing besides; each has a test.
const READ_BY_HAND: [&str; 6] = [
    "dsmr-reader__error_TestDataloggerDuplicateData.txt",
    "nielsbasjes__TestDsmrParserOnBadTelegram_testParseBadTestcase.txt",
    "nielsbasjes__CAPTURE_ttyUSB0-raw.txt",
    "nielsbasjes__CAPTURE_ttyUSB0-mini.txt",
    "esphome-dsmr_parser__ENCRYPTED_packet.bin",
    "ndokter__TELEGRAM_ESY5Q3DB1024_V304.txt",
];

#[test]
fn every_telegram_passes_or_is_rejected_as_the_index_says() {
    let Some(rows) = corpus() else { return };
    let mut counts = BTreeMap::new();
    for row in rows
        .iter()
        .filter(|row| !READ_BY_HAND.contains(&row.file.as_str()))
    {
        let whole = whole_of(row);
        for policy in [CrcPolicy::Auto, CrcPolicy::Required, CrcPolicy::Off] {
            let found = find_all(&row.bytes, policy);
            assert_covers(&row.bytes, &found);
            let context = format!("{} under {policy:?}: {:?}", row.file, rejected(&found));
            match (row.valid.as_str(), policy) {
                ("y", CrcPolicy::Auto | CrcPolicy::Required) => {
                    assert_eq!(telegrams(&found), [whole], "{context}");
                    assert_eq!(checks(&found), [Check::Arc], "{context}");
                }
                ("n", CrcPolicy::Auto | CrcPolicy::Required) => {
                    assert_eq!(telegrams(&found), [b""; 0], "{context}");
                    let given = hex(&row.crc_given);
                    let reason = Reason::WrongCrc {
                        given,
                        computed: hex(&row.crc_computed),
                    };
                    assert!(
                        rejected(&found)
                            .iter()
                            .any(|(_, length, seen)| *seen == reason && *length == whole.len() as u64),
                        "{context}"
                    );
                }
                ("n/a (no CRC)", CrcPolicy::Required) => {
                    assert_eq!(telegrams(&found), [b""; 0], "{context}");
                    assert!(
                        rejected(&found)
                            .iter()
                            .any(|(_, _, reason)| *reason == Reason::MissingCrc),
                        "{context}"
                    );
                }
                ("y" | "n" | "n/a (no CRC)", _) => {
                    // Without a look at the CRC, the file of an interrupted meter gives its last telegram.
                    let start = whole.windows(5).rposition(|at| at == b"/ISK5").unwrap_or(0);
                    assert_eq!(telegrams(&found), [&whole[start..]], "{context}");
                    assert_eq!(checks(&found), [Check::None], "{context}");
                }
                (other, _) => panic!(
                    "{} is {other:?} in the index: not a word this test knows",
                    row.file
                ),
            }
            *counts.entry(row.valid.clone()).or_insert(0) += 1;
        }
    }
    let expected = [("n", 9), ("n/a (no CRC)", 15), ("y", 49)];
    let expected = expected.map(|(valid, files)| (valid.to_owned(), 3 * files));
    assert_eq!(
        counts,
        BTreeMap::from(expected),
        "each kind was seen under each policy"
    );
}

#[test]
fn the_long_capture_gives_all_of_its_566_telegrams_byte_for_byte() {
    let Some(rows) = corpus() else { return };
    let stream = &rows
        .iter()
        .find(|row| row.file == "nielsbasjes__CAPTURE_ttyUSB0-raw.txt")
        .expect("it is there")
        .bytes;
    // The capture begins in the middle of a telegram; from there on one follows upon the other.
    let starts: Vec<usize> = (0..stream.len()).filter(|&at| stream[at] == b'/').collect();
    assert_eq!(starts.len(), 566);
    let expected: Vec<&[u8]> = starts
        .iter()
        .enumerate()
        .map(|(n, &start)| &stream[start..starts.get(n + 1).copied().unwrap_or(stream.len())])
        .collect();
    for policy in [CrcPolicy::Auto, CrcPolicy::Required] {
        let found = find_all(stream, policy);
        assert_eq!(telegrams(&found), expected);
        assert!(checks(&found).iter().all(|check| *check == Check::Arc));
        assert_eq!(
            rejected(&found),
            [(0, starts[0] as u64, Reason::Noise)],
            "the tail of an earlier one"
        );
        assert_covers(stream, &found);
    }
}

#[test]
fn the_capture_whose_line_ends_were_changed_gives_wrong_crcs_alone() {
    let Some(rows) = corpus() else { return };
    let stream = &rows
        .iter()
        .find(|row| row.file == "nielsbasjes__CAPTURE_ttyUSB0-mini.txt")
        .expect("it is there")
        .bytes;
    let found = find_all(stream, CrcPolicy::Auto);
    // Two whole telegrams with LF for CR LF, between the tail of one and the head of another.
    let reasons: Vec<Reason> = rejected(&found)
        .into_iter()
        .map(|(_, _, reason)| reason)
        .collect();
    assert_eq!(
        reasons,
        [
            Reason::Noise,
            Reason::WrongCrc {
                given: 0xD4BA,
                computed: 0x7B34
            },
            Reason::WrongCrc {
                given: 0x3B12,
                computed: 0x58C6
            },
            Reason::Truncated
        ]
    );
    assert_eq!(telegrams(&found), [b""; 0]);
    assert_covers(stream, &found);
}

/// The index computes the CRC of these two from their first `/`. The meter stopped and began again, so that
/// the second half is a telegram of its own, and a valid one.
#[test]
fn a_meter_that_stopped_and_began_again_loses_the_first_half_alone() {
    let Some(rows) = corpus() else { return };
    for (file, start, crc) in [
        ("dsmr-reader__error_TestDataloggerDuplicateData.txt", 225, 0x469F),
        (
            "nielsbasjes__TestDsmrParserOnBadTelegram_testParseBadTestcase.txt",
            424,
            0x34B6,
        ),
    ] {
        let row = rows.iter().find(|row| row.file == file).expect("it is there");
        let whole = whole_of(row);
        let offset = row
            .bytes
            .iter()
            .position(|&byte| byte == b'/')
            .expect("it has a start");
        let telegram = &whole[start - offset..];
        let mark = telegram
            .iter()
            .position(|&byte| byte == b'!')
            .expect("it has an end");
        assert_eq!(arc(&telegram[..=mark]), crc, "{file}: what was read is right");
        let found = find_all(&row.bytes, CrcPolicy::Auto);
        assert_eq!(telegrams(&found), [telegram], "{file}");
        assert_eq!(
            rejected(&found),
            [(offset as u64, (start - offset) as u64, Reason::Truncated)],
            "{file}"
        );
        assert_covers(&row.bytes, &found);
    }
}

#[test]
fn a_meter_that_pads_between_its_telegrams_gives_the_telegram_and_the_padding_as_noise() {
    let Some(rows) = corpus() else { return };
    let row = rows
        .iter()
        .find(|row| row.file == "ndokter__TELEGRAM_ESY5Q3DB1024_V304.txt")
        .expect("it is there");
    let whole = whole_of(row);
    let found = find_all(&row.bytes, CrcPolicy::Auto);
    assert_eq!(telegrams(&found), [whole]);
    assert_eq!(
        rejected(&found),
        [(
            whole.len() as u64,
            (row.bytes.len() - whole.len()) as u64,
            Reason::Noise
        )]
    );
    assert!(
        row.bytes.ends_with(&[0xFF; 32]) || row.bytes.contains(&0xFF),
        "the padding that the index speaks of"
    );
}

#[test]
fn the_encrypted_packet_is_one_frame_whatever_the_policy() {
    let Some(rows) = corpus() else { return };
    let row = rows
        .iter()
        .find(|row| row.file == "esphome-dsmr_parser__ENCRYPTED_packet.bin")
        .expect("it is there");
    for policy in [CrcPolicy::Auto, CrcPolicy::Required, CrcPolicy::Off] {
        let found = find_all(&row.bytes, policy);
        let [Found::Telegram(telegram)] = found.as_slice() else {
            panic!("{found:?}")
        };
        assert_eq!(telegram.bytes, row.bytes);
        assert_eq!((telegram.position, telegram.check), (0, Check::EncryptedFrame));
    }
}

//! A queue's folder with any damage in any of its files opens, gives no sequence again and no record otherwise than it
//! was, and takes what comes. The input is a list of damages of eight bytes: which file, what, where, and how much.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::Duration;

use capture::import::taken::Taken;
use capture::meter::MeterFile;
use capture::queue::{Arrival, Queue, QueueOptions};
use shared::wire::Start;

const RECORDS: u64 = 60;
const MOST_DAMAGES: usize = 8;

/// Asserts every claim for these bytes. Whether all records were still there.
pub(crate) fn hold_for(bytes: &[u8]) -> bool {
    let folder = tempfile::tempdir().expect("a folder");
    for (file, bytes) in whole() {
        let path = folder.path().join(file);
        fs::create_dir_all(path.parent().expect("it is below")).expect("a folder");
        fs::write(path, bytes).expect("a file");
    }
    let mut rest = bytes;
    for _ in 0..MOST_DAMAGES {
        let Some((damage, behind)) = rest.split_first_chunk() else {
            break;
        };
        carry_out(damage, folder.path());
        rest = behind;
    }
    let count = use_it(folder.path());
    count == RECORDS
}

fn carry_out(&[file, what, a, b, c, length, long, value]: &[u8; 8], folder: &Path) {
    let files = whole();
    let name = &files[usize::from(file) % files.len()].0;
    let path = folder.join(name);
    let mut bytes = fs::read(&path).unwrap_or_default();
    let at = u32::from_le_bytes([a, b, c, 0]) as usize % (bytes.len() + 1);
    let end = (at + usize::from(u16::from_le_bytes([length, long]))).min(bytes.len());
    match what % 6 {
        0 => bytes.truncate(at),
        1 => bytes[at..end].fill(value),
        2 => drop(bytes.drain(at..end)),
        3 => drop(bytes.splice(at..at, std::iter::repeat_n(value, end - at))),
        4 => bytes.iter_mut().skip(at).take(1).for_each(|byte| *byte ^= value),
        _ => {
            let _ = fs::remove_file(&path);
            return;
        }
    }
    fs::write(path, bytes).expect("a file");
}

/// Opens the folder twice and uses it. How many records there were.
fn use_it(folder: &Path) -> u64 {
    MeterFile::open(folder);
    let (mut queue, _) = Queue::open(&options(folder)).expect("it opens");
    let before = records(&queue);
    for (sequence, bytes) in &before {
        assert!((1..=RECORDS).contains(sequence), "{sequence} never was");
        assert!(*bytes == telegram(*sequence), "{sequence} came back otherwise");
    }
    assert!(queue.consumers().values().all(|cursor| *cursor <= queue.head()));
    let _ = Taken::open(&folder.join("imports.json"), &mut queue.reader());
    let next = append(&mut queue, RECORDS + 1);
    assert!(
        before.last().is_none_or(|(last, _)| next > *last),
        "{next} was given"
    );
    queue.maintain(0, 0).expect("upkeep");
    queue.close().expect("it closes");
    let (queue, _) = Queue::open(&options(folder)).expect("it opens again");
    let after = records(&queue);
    assert_eq!(after.len(), before.len() + 1);
    assert_eq!(after.last().map(|(last, _)| *last), Some(next));
    before.len() as u64
}

fn records(queue: &Queue) -> Vec<(u64, Vec<u8>)> {
    let mut reader = queue.reader();
    let mut records: Vec<(u64, Vec<u8>)> = Vec::new();
    loop {
        let from = records.last().map_or(1, |(last, _)| last + 1);
        let batch = reader.read(from, 64 * 1024).expect("what is there can be read");
        if batch.records.is_empty() {
            return records;
        }
        for record in batch.records {
            assert!(record.sequence >= from, "out of order");
            records.push((record.sequence, record.telegram.to_vec()));
        }
    }
}

/// The files of a queue that was closed in order, killed, and opened again.
fn whole() -> &'static [(PathBuf, Vec<u8>)] {
    static WHOLE: OnceLock<Vec<(PathBuf, Vec<u8>)>> = OnceLock::new();
    WHOLE.get_or_init(|| {
        let folder = tempfile::tempdir().expect("a folder");
        for third in 0..3 {
            let (mut queue, _) = Queue::open(&options(folder.path())).expect("it opens");
            if third == 0 {
                queue.register("mqtt", Start::Oldest).expect("a consumer");
            }
            for number in third * RECORDS / 3 + 1..=(third + 1) * RECORDS / 3 {
                assert_eq!(append(&mut queue, number), number);
            }
            queue.commit("mqtt", third * RECORDS / 3 + 1).expect("a commit");
            match third {
                1 => drop(queue),
                _ => queue.close().expect("it closes"),
            }
        }
        let mut files = Vec::new();
        list(folder.path(), folder.path(), &mut files);
        files.sort();
        files
    })
}

fn list(root: &Path, folder: &Path, files: &mut Vec<(PathBuf, Vec<u8>)>) {
    for entry in fs::read_dir(folder).expect("a folder").flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            list(root, &entry.path(), files);
        } else if let (Ok(name), Ok(bytes)) = (entry.path().strip_prefix(root), fs::read(entry.path())) {
            files.push((name.to_owned(), bytes));
        }
    }
}

fn append(queue: &mut Queue, number: u64) -> u64 {
    let arrival = Arrival {
        captured_at_us: number as i64 * 1_000_000,
        uptime_us: number * 1_000_000,
    };
    let sequence = queue.append(arrival, &telegram(number)).expect("there is room");
    queue.flush().expect("a flush");
    sequence
}

fn telegram(number: u64) -> Vec<u8> {
    format!("/ABC5MADE-UP\r\n\r\n1-0:1.8.1({number:010.3}*kWh)\r\n!0000\r\n").into_bytes()
}

fn options(folder: &Path) -> QueueOptions {
    QueueOptions {
        retry_interval: Duration::ZERO,
        reserve_free_bytes: 0,
        open_patience: Duration::from_secs(60),
        ..QueueOptions::new(folder)
    }
}

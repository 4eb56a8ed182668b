//! Flipped bytes, zeroed pages and cut files anywhere in the folder: capture neither dies nor hangs, no
//! sequence appears twice, no record comes back otherwise, what is missing is told, and most is there.
//!
//! `QUEUE_DAMAGES` sets how many damages are tried (default 60), `QUEUE_SEED` where the seeds begin. A seed
//! that fails is printed.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::Duration;

use capture::queue::{OpenReport, Queue, Salvage};
use shared::wire::Start;

use crate::support::{Random, arrival, captured_us, copy_folder, fill, options, read_all, scratch, telegram};

const RECORDS: u64 = 1500;
const COMMITTED: u64 = 1200;

#[derive(Default, Debug)]
struct Tally {
    trials: u64,
    moved_aside: u64,
    harmless: u64,
    trials_with_loss: u64,
    records_kept: u64,
    records_lost: u64,
    records_restored: u64,
    salvaged_after: u64,
}

#[test]
fn damage_anywhere_costs_only_what_it_hits_and_is_told() {
    let trials = setting("QUEUE_DAMAGES", 60);
    let first_seed = setting("QUEUE_SEED", 1);
    let base = scratch();
    prepare(base.path());
    let mut tally = Tally::default();
    for seed in first_seed..first_seed + trials {
        let folder = scratch();
        copy_folder(base.path(), folder.path());
        let words = damage(folder.path(), seed);
        let path = folder.path().to_owned();
        let (sender, receiver) = mpsc::channel();
        std::thread::spawn(move || {
            // Where nobody waits any more the test has failed already.
            let _ = sender.send(trial(&path));
        });
        let outcome = match receiver.recv_timeout(Duration::from_secs(120)) {
            Ok(outcome) => outcome,
            Err(mpsc::RecvTimeoutError::Disconnected) => {
                panic!("QUEUE_SEED={seed}: {words}: it died, see above")
            }
            Err(_) => panic!("QUEUE_SEED={seed}: {words}: it hangs"),
        };
        tally.trials += 1;
        tally.moved_aside += u64::from(outcome.report.moved_aside.is_some());
        tally.harmless += u64::from(outcome.missing == 0 && outcome.report.moved_aside.is_none());
        tally.trials_with_loss += u64::from(outcome.missing > 0);
        tally.records_kept += RECORDS - outcome.missing;
        tally.records_lost += outcome.missing;
        tally.records_restored += outcome.report.restored_records;
        tally.salvaged_after += outcome.salvaged;
        assert!(
            outcome.missing == 0 || outcome.told >= outcome.missing,
            "QUEUE_SEED={seed}: {words}: {} records are missing and {} told",
            outcome.missing,
            outcome.told
        );
    }
    println!("{tally:?}");
    // What was still whole came back, each trial has shown; a cut takes all that was behind it.
    assert!(
        tally.records_kept * 4 > tally.trials * RECORDS * 3,
        "too little came back: {tally:?}"
    );
}

#[test]
fn a_database_that_is_not_one_is_moved_aside_and_only_the_newest_two_are_kept() {
    let folder = scratch();
    let mut expected = 1;
    for round in 0..4 {
        let (mut queue, report) = Queue::open(&options(folder.path())).unwrap();
        assert_eq!(report.moved_aside.is_some(), round > 0);
        for _ in 0..3 {
            assert_eq!(
                queue.append(arrival(expected), &telegram(expected)).unwrap(),
                expected
            );
            expected += 1;
        }
        queue.flush().unwrap();
        let status = queue.status();
        assert_eq!(status.damaged.len(), std::cmp::min(round, 2));
        if round > 0 {
            // The blocks were overwritten, so nothing could be brought back.
            assert_eq!(
                status.losses.last().map(|loss| loss.last_sequence),
                Some(expected - 4)
            );
        }
        queue.close().unwrap();
        for file in ["sled/db", "sled/journal"] {
            fs::write(folder.path().join(file), [0x5A; 100_000]).unwrap();
        }
        for entry in fs::read_dir(folder.path().join("sled")).unwrap().flatten() {
            if entry.file_name().to_string_lossy().starts_with("snap.") {
                fs::write(entry.path(), b"not a snapshot, certainly").unwrap();
            }
        }
        fs::write(folder.path().join("sled/conf"), b"segment_size: a lot\nnonsense").unwrap();
    }
}

#[test]
fn what_is_whole_in_a_refused_database_comes_back_under_its_old_sequences() {
    let base = scratch();
    prepare(base.path());
    fs::write(base.path().join("sled/conf"), b"segment_size: a lot\nnonsense").unwrap();
    let (mut queue, report) = Queue::open(&options(base.path())).unwrap();
    assert!(report.moved_aside.is_some());
    assert_eq!((report.restored_records, report.records), (RECORDS, RECORDS));
    assert_eq!(report.losses, []);
    assert_eq!(queue.consumers().get("mqtt"), Some(&COMMITTED));
    assert_eq!(queue.append(arrival(9999), b"/next").unwrap(), RECORDS + 1);
    queue.flush().unwrap();
    assert_eq!(read_all(&mut queue.reader()).len() as u64, RECORDS + 1);
    let (moved, _) = report.moved_aside.unwrap();
    let salvage = Salvage::search(&moved).unwrap();
    assert_eq!(salvage.records(), RECORDS);
    assert_eq!(salvage.blocks().flatten().count() as u64, RECORDS);
}

struct Outcome {
    report: OpenReport,
    missing: u64,
    told: u64,
    salvaged: u64,
}

#[test]
fn bringing_back_what_is_whole_begins_again_where_it_was_cut_off() {
    let folder = scratch();
    let in_folder = |name: &str| folder.path().join(name);
    let (mut queue, _) = Queue::open(&options(folder.path())).unwrap();
    fill(&mut queue, 500);
    queue.close().unwrap();
    // It was moved aside, and the one that takes its place has hardly been begun.
    fs::rename(in_folder("sled"), in_folder("damaged-20260101T000000Z")).unwrap();
    fs::create_dir(in_folder("sled-new")).unwrap();
    fs::write(in_folder("sled-new/db"), [0; 1000]).unwrap();

    let (mut queue, report) = Queue::open(&options(folder.path())).unwrap();
    assert_eq!((report.restored_records, report.losses.len()), (500, 0));
    let (moved, why) = report.moved_aside.unwrap();
    assert!(
        moved.ends_with("damaged-20260101T000000Z") && why.contains("cut off"),
        "{why}"
    );
    fill(&mut queue, 1);
    queue.close().unwrap();
    let (queue, report) = Queue::open(&options(folder.path())).unwrap();
    assert_eq!((report.moved_aside, report.losses.len()), (None, 0));
    let records = read_all(&mut queue.reader());
    assert_eq!(records.len(), 501);
    for (number, record) in (1..).zip(records) {
        assert_eq!(
            (record.sequence, record.telegram),
            (number, telegram(number).into())
        );
    }
}

/// A queue with blocks of all sizes, closed and killed in between.
fn prepare(folder: &Path) {
    let (mut queue, _) = Queue::open(&options(folder)).unwrap();
    queue.register("mqtt", Start::Oldest).unwrap();
    fill(&mut queue, RECORDS / 3);
    queue.close().unwrap();
    let (mut queue, _) = Queue::open(&options(folder)).unwrap();
    fill(&mut queue, RECORDS / 3);
    queue.commit("mqtt", COMMITTED.min(queue.head())).unwrap();
    drop(queue);
    let (mut queue, _) = Queue::open(&options(folder)).unwrap();
    let left = RECORDS - queue.head();
    fill(&mut queue, left);
    queue.commit("mqtt", COMMITTED).unwrap();
    queue.flush().unwrap();
    assert_eq!(queue.head(), RECORDS);
}

/// Opens the damaged folder, uses it, and opens it once more.
fn trial(folder: &Path) -> Outcome {
    let whole: Vec<u64> = Salvage::search(folder)
        .unwrap()
        .blocks()
        .flatten()
        .map(|record| record.sequence)
        .collect();
    let (mut queue, report) = Queue::open(&options(folder)).expect("it opens");
    assert!(queue.head() >= RECORDS, "the head fell back to {}", queue.head());
    let mut reader = queue.reader();
    let before = read_all(&mut reader);
    for record in &before {
        assert!(
            record.sequence <= RECORDS,
            "a record {} that never was",
            record.sequence
        );
        assert!(
            record.telegram == telegram(record.sequence),
            "record {} came back otherwise",
            record.sequence
        );
    }
    let is_there = |sequence: &u64| {
        before
            .binary_search_by_key(sequence, |record| record.sequence)
            .is_ok()
    };
    let left: Vec<&u64> = whole.iter().filter(|sequence| !is_there(sequence)).collect();
    assert!(
        left.is_empty(),
        "whole in the files and not brought back: {left:?}"
    );
    let missing = RECORDS - before.len() as u64;
    assert!(
        queue.consumers().values().all(|&cursor| cursor <= queue.head()),
        "a cursor beyond the head"
    );
    let first_new = queue.append(arrival(RECORDS + 1), b"/new").unwrap();
    assert!(first_new > RECORDS, "sequence {first_new} appears twice");
    queue.flush().unwrap();
    for step in 0..5 {
        queue
            .maintain(captured_us(RECORDS + step * 6), (RECORDS + step * 6) * 1_000_000)
            .unwrap();
    }
    let status = queue.status();
    let told = (1..=RECORDS)
        .filter(|sequence| {
            let covers =
                |loss: &shared::wire::Loss| (loss.first_sequence..=loss.last_sequence).contains(sequence);
            status.losses.iter().any(covers)
                && before
                    .binary_search_by_key(sequence, |record| record.sequence)
                    .is_err()
        })
        .count() as u64;
    queue.close().unwrap();
    let salvaged = Salvage::search(folder).map_or(0, |salvage| salvage.records());

    let (queue, again) = Queue::open(&options(folder)).expect("it opens again");
    assert_eq!(again.moved_aside, None, "what was damaged is still there");
    let after = read_all(&mut queue.reader());
    assert_eq!(after.len(), before.len() + 1, "records went between two openings");
    assert_eq!(after.last().map(|record| record.sequence), Some(first_new));
    Outcome {
        report,
        missing,
        told,
        salvaged,
    }
}

/// Damages one file of the folder, chosen by its size, and says how.
fn damage(folder: &Path, seed: u64) -> String {
    let mut random = Random(seed);
    let mut files = Vec::new();
    list(folder, &mut files);
    files.sort();
    // Mostly the log, which is nearly all of the bytes, and each other file often enough.
    let log = folder.join("sled/db");
    let file = if random.below(3) > 0 {
        log
    } else {
        files[random.below(files.len() as u64) as usize].clone()
    };
    let mut bytes = fs::read(&file).unwrap();
    let length = bytes.len() as u64;
    let at = random.below(length) as usize;
    let name = file.strip_prefix(folder).unwrap().display().to_string();
    let words = match random.below(3) {
        0 if length > 0 => {
            let bit = 1 << random.below(8);
            bytes[at] ^= bit;
            format!("bit {bit:#04x} of byte {at} of {length} of {name} flipped")
        }
        1 if length > 0 => {
            let from = at / 4096 * 4096;
            let to = (from + 4096).min(bytes.len());
            bytes[from..to].fill(0);
            format!("bytes {from} to {to} of {length} of {name} zeroed")
        }
        _ => {
            bytes.truncate(at);
            format!("{name} of {length} bytes cut to {at}")
        }
    };
    fs::write(&file, bytes).unwrap();
    words
}

fn list(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap().flatten() {
        if entry.file_type().unwrap().is_dir() {
            list(&entry.path(), files);
        } else {
            files.push(entry.path());
        }
    }
}

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name)
        .ok()
        .and_then(|value| value.parse().ok())
        .unwrap_or(default)
}

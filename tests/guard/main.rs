//! A guard on what a telegram costs, in counts that do not depend on the machine's mood: allocations, bytes
//! stored, bytes written. Each bound leaves a little room above what it was when it was set; a change that
//! crosses one is a regression, or raises the bound and says why. Times are measured by `tests/bench`.

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "a test: what does not hold is a panic"
)]

use std::fs;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use capture::queue::{Arrival, Queue, QueueOptions};
use publisher::reading;
use shared::dsmr;
use shared::wire::codec;
use shared::wire::{Reply, Start};
use tests::household::{Dialect, Household, Settings};

// The bounds, for a telegram of a DSMR 5 household with three phases, panels and gas.
/// Allocations to parse one.
const PARSE_ALLOCATIONS: u64 = 4;
/// Allocations to parse one and write its JSON into a buffer that is there already.
const JSON_ALLOCATIONS: u64 = 4;
/// Allocations to read a hundred of a backlog and write them into a frame, and the bytes allocated for each: records
/// are read into memory that is there already.
const READ_ALLOCATIONS_OF_100: u64 = 12;
/// See above.
const READ_BYTES: u64 = 340;
/// Allocations to take a hundred from a frame: one to hold each.
const TAKE_ALLOCATIONS_OF_100: u64 = 105;
/// Bytes that each of [`STORED`] that were flushed one by one takes in the queue. Up to ten of them are of those that
/// wait in the journal, uncompressed.
const STORED_BYTES: u64 = 33;
/// Bytes given to the system to write for each, at a flush for each and at a flush for ten: a page of the journal for
/// each flush, and less than two hundred bytes.
const WRITTEN_BYTES_0S: u64 = 4_096 + 200;
/// See above.
const WRITTEN_BYTES_10S: u64 = 410 + 90;

/// Telegrams in the queue: enough for blocks to be grouped and merged many times.
const STORED: u64 = 6_000;
const START_US: i64 = 1_776_297_600_000_000;

/// The count of written bytes is the whole process's: one queue is filled at a time.
static ALONE: Mutex<()> = Mutex::new(());

#[test]
fn a_telegram_is_parsed_and_written_as_json_with_few_allocations() {
    let telegram = household().telegram().bytes;
    // What is set up once is not the telegram's.
    drop(dsmr::parse(&telegram));
    let parse = allocation_counter::measure(|| drop(dsmr::parse(&telegram))).count_total;
    let mut json = Vec::with_capacity(16 * 1024);
    let with_json = allocation_counter::measure(|| reading::write(&mut json, &dsmr::parse(&telegram), None));
    let with_json = with_json.count_total;
    assert!(
        json.len() > 1_000,
        "no reading: {}",
        String::from_utf8_lossy(&json)
    );
    println!("parse: {parse} allocations; parse and JSON: {with_json}");
    assert!(
        parse <= PARSE_ALLOCATIONS,
        "parsing a telegram takes {parse} allocations, at most {PARSE_ALLOCATIONS} are allowed"
    );
    assert!(
        with_json <= JSON_ALLOCATIONS,
        "a telegram to JSON takes {with_json} allocations, at most {JSON_ALLOCATIONS} are allowed"
    );
}

#[test]
fn a_telegram_takes_few_bytes_on_disk_and_few_are_written_for_it() {
    let (stored, written_0s) = queue_bytes(1);
    let (_, written_10s) = queue_bytes(10);
    println!("stored: {stored} bytes; written: {written_0s} at a flush for each, {written_10s} for ten");
    assert!(
        stored <= STORED_BYTES,
        "a telegram takes {stored} bytes on disk, at most {STORED_BYTES} are allowed"
    );
    assert!(
        written_0s <= WRITTEN_BYTES_0S,
        "a telegram is {written_0s} bytes written at flush_interval 0s, at most {WRITTEN_BYTES_0S} are allowed"
    );
    assert!(
        written_10s <= WRITTEN_BYTES_10S,
        "a telegram is {written_10s} bytes written at flush_interval 10s, at most {WRITTEN_BYTES_10S} are allowed"
    );
}

#[test]
fn a_telegram_of_a_backlog_is_handed_over_with_few_allocations() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let folder = tests::folder::Folder::new();
    let mut queue = opened(&folder.join("queue"));
    fill(&mut queue, 60);
    let mut reader = queue.reader();
    let mut frame = Vec::new();
    let (mut handed_over, mut reading, mut reading_bytes, mut taking) = (0, 0, 0, 0);
    let mut next = 1;
    while next <= STORED {
        let first = next;
        let read = allocation_counter::measure(|| {
            let batch = reader
                .read(first, publisher::source::BATCH_BYTES as usize)
                .unwrap();
            next = batch.records.last().expect("records up to the head").sequence + 1;
            let (records, head) = (batch.records, batch.head);
            codec::encode(&Reply::Records { records, head }, &mut frame).unwrap();
        });
        let body = frame.get(codec::LENGTH_BYTES..).unwrap_or_default();
        let taken = allocation_counter::measure(|| drop(codec::decode::<Reply>(body).unwrap()));
        // What the first batches set up serves the others.
        if first > STORED / 3 {
            handed_over += next - first;
            reading += read.count_total;
            reading_bytes += read.bytes_total;
            taking += taken.count_total;
        }
    }
    queue.close().unwrap();
    let (reading, taking) = (reading * 100 / handed_over, taking * 100 / handed_over);
    let bytes = reading_bytes / handed_over;
    println!("of 100: {reading} allocations to read, {bytes} bytes each; {taking} to take");
    assert!(
        reading <= READ_ALLOCATIONS_OF_100,
        "a hundred telegrams are read with {reading} allocations, at most {READ_ALLOCATIONS_OF_100} are allowed"
    );
    assert!(
        bytes <= READ_BYTES,
        "{bytes} bytes are allocated to read a telegram, at most {READ_BYTES} are allowed"
    );
    assert!(
        taking <= TAKE_ALLOCATIONS_OF_100,
        "a hundred telegrams are taken from a frame with {taking} allocations, at most {TAKE_ALLOCATIONS_OF_100} are \
         allowed"
    );
}

fn household() -> Household {
    Household::new(Settings {
        phases: 3,
        solar_peak_w: 4_800,
        gas_channel: Some(1),
        water_channel: None,
        starts_at: START_US / 1_000_000 - 1,
        ..Settings::seeded(6, Dialect::Dsmr5)
    })
}

/// An empty queue with one consumer.
fn opened(path: &Path) -> Queue {
    let (mut queue, _) = Queue::open(&QueueOptions {
        reserve_free_bytes: 0,
        ..QueueOptions::new(path)
    })
    .unwrap();
    queue.register("mqtt", Start::Oldest).unwrap();
    queue
}

/// Appends [`STORED`] telegrams, so many to a flush, and commits them a minute at a time.
fn fill(queue: &mut Queue, group: u64) {
    let mut household = household();
    for number in 1..=STORED {
        let uptime_us = number * 1_000_000;
        let captured_at_us = START_US + uptime_us as i64;
        let arrival = Arrival {
            captured_at_us,
            uptime_us,
        };
        queue.append(arrival, &household.telegram().bytes).unwrap();
        if number % group == 0 {
            queue.flush().unwrap();
            queue.maintain(captured_at_us, uptime_us).unwrap();
        }
        if number % 60 == 0 {
            queue.commit("mqtt", queue.head()).unwrap();
        }
    }
    queue.flush().unwrap();
}

/// Bytes stored and written for each telegram where so many share a flush.
fn queue_bytes(group: u64) -> (u64, u64) {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let folder = tests::folder::Folder::new();
    let mut queue = opened(&folder.join("queue"));
    let before = bytes_given_to_write();
    fill(&mut queue, group);
    let written = bytes_given_to_write() - before;
    // By the queue's own account, which its bound on the disk goes by: the folder's size rises in steps of half a
    // megabyte.
    let stored = queue.status().live_bytes;
    queue.close().unwrap();
    (stored / STORED, written / STORED)
}

/// What this process has given to the system to write: other than what reaches a disk it is counted on every file
/// system, and holds no pages that were written for other reasons.
fn bytes_given_to_write() -> u64 {
    let text = fs::read_to_string("/proc/self/io").expect("the system counts what is written");
    let line = text.lines().find_map(|line| line.strip_prefix("wchar: "));
    line.and_then(|count| count.parse().ok()).expect("a count")
}

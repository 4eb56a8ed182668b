//! Memory does not grow with what is in the queue. A binary of its own, since it looks at its whole process.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use capture::queue::{Arrival, Queue, QueueOptions};

/// Blocks as merging makes them: each as large as it may be. As many as thirty days have would take minutes
/// to write here; beyond some hundred it no longer matters how many.
const BLOCKS: u64 = 4000;
const BLOCK_BYTES: usize = 6000;
/// What the process may have grown by. Where nothing clears sled's cache opening alone takes 28 MB.
const MAX_GROWTH_BYTES: u64 = 20_000_000;

#[test]
fn writing_opening_and_reading_a_large_queue_takes_little_memory() {
    let folder = tempfile::tempdir_in(if std::path::Path::new("/dev/shm").is_dir() {
        "/dev/shm".into()
    } else {
        std::env::temp_dir()
    })
    .unwrap();
    let options = QueueOptions {
        retention: None,
        ..QueueOptions::new(folder.path())
    };
    let mut state = 1u64;
    let mut noise = || {
        let byte = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state as u8
        };
        std::iter::repeat_with(byte).take(BLOCK_BYTES).collect::<Vec<_>>()
    };

    let (mut queue, _) = Queue::open(&options).unwrap();
    let empty = resident_bytes();
    for second in 1..=BLOCKS {
        let arrival = Arrival {
            captured_at_us: second as i64 * 1_000_000,
            uptime_us: second * 1_000_000,
        };
        queue.append(arrival, &noise()).unwrap();
        queue.flush().unwrap();
        queue.maintain(arrival.captured_at_us, arrival.uptime_us).unwrap();
    }
    let written = resident_bytes();
    queue.close().unwrap();
    let (queue, _) = Queue::open(&options).unwrap();
    let opened = resident_bytes();
    let mut reader = queue.reader();
    let mut next = 1;
    while let Some(last) = reader.read(next, 64 * 1024).unwrap().records.last() {
        next = last.sequence + 1;
    }
    let read = resident_bytes();

    assert_eq!(next, BLOCKS + 1);
    println!("empty {empty}, written {written}, opened {opened}, read {read}");
    for (what, bytes) in [("writing", written), ("opening", opened), ("reading", read)] {
        let growth = bytes.saturating_sub(empty);
        assert!(growth < MAX_GROWTH_BYTES, "{what}: grown by {growth} bytes");
    }
}

fn resident_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
}

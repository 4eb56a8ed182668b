//! The bound on the folder's size, at any moment and however much comes at once.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};

use capture::queue::{Queue, QueueOptions, layout};
use shared::wire::Start;

use crate::support::{Random, arrival, captured_us, options, read_all, scratch};

const MIB: u64 = 1024 * 1024;

/// Measures a folder all the time.
struct Sampler {
    largest: Arc<AtomicU64>,
    is_over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Sampler {
    fn start(folder: &Path) -> Self {
        let (largest, is_over) = (Arc::<AtomicU64>::default(), Arc::<AtomicBool>::default());
        let thread = thread::spawn({
            let (folder, largest, is_over) = (folder.to_owned(), Arc::clone(&largest), Arc::clone(&is_over));
            move || {
                while !is_over.load(Ordering::Relaxed) {
                    largest.fetch_max(layout::disk_bytes(&folder), Ordering::Relaxed);
                    thread::yield_now();
                }
            }
        });
        Self {
            largest,
            is_over,
            thread: Some(thread),
        }
    }

    /// Ends it, and gives the largest size of all.
    fn finish(mut self) -> u64 {
        self.is_over.store(true, Ordering::Relaxed);
        self.thread.take().unwrap().join().unwrap();
        self.largest.load(Ordering::Relaxed)
    }
}

/// Telegrams of random characters, of so many kinds.
struct Flood {
    random: Random,
    bytes: usize,
    kinds: u64,
}

impl Flood {
    fn of(bytes: usize, kinds: u64) -> Self {
        Self {
            random: Random(3),
            bytes,
            kinds,
        }
    }

    /// Appends and flushes some hundred at a time, as much as memory takes, with little upkeep.
    fn pour(&mut self, queue: &mut Queue, telegrams: u64) {
        let until = queue.head() + telegrams;
        while queue.head() < until {
            let mut number = queue.head();
            loop {
                let telegram: Vec<u8> = (0..self.bytes)
                    .map(|_| (self.random.below(self.kinds)) as u8)
                    .collect();
                number += 1;
                if number > until.min(queue.head() + 512) || queue.append(arrival(number), &telegram).is_err()
                {
                    break;
                }
            }
            queue.flush().unwrap();
            queue
                .maintain(captured_us(number), number / 4096 * 5_000_000)
                .unwrap();
        }
    }
}

fn lost(queue: &Queue) -> u64 {
    let losses = queue.status().losses;
    losses
        .iter()
        .map(|loss| loss.last_sequence - loss.first_sequence + 1)
        .sum()
}

#[test]
fn the_folder_is_within_max_size_at_any_moment_of_a_flood_and_what_goes_is_counted() {
    for (max_size_bytes, bytes, kinds, telegrams) in [
        (8 * MIB, 700, 256, 60_000),
        (8 * MIB, 700, 16, 30_000),
        (8 * MIB, 8000, 256, 3_000),
        (32 * MIB, 700, 256, 60_000),
    ] {
        let folder = scratch();
        let settings = QueueOptions {
            max_size_bytes,
            ..options(folder.path())
        };
        let (mut queue, _) = Queue::open(&settings).unwrap();
        queue.register("mqtt", Start::Oldest).unwrap();
        let sampler = Sampler::start(folder.path());
        Flood::of(bytes, kinds).pour(&mut queue, telegrams);
        let tail = queue.reader().tail();
        assert_eq!((queue.head(), lost(&queue)), (telegrams, tail - 1));
        let live = queue.status().live_bytes;
        let records = read_all(&mut queue.reader());
        assert_eq!(records.len() as u64, telegrams + 1 - tail);
        queue.close().unwrap();
        let (queue, report) = Queue::open(&settings).unwrap();
        assert_eq!((report.losses, queue.reader().tail()), (Vec::new(), tail));
        drop(queue);
        let largest = sampler.finish();
        println!(
            "{max_size_bytes} bytes, telegrams of {bytes}: at most {largest}, {live} live, {tail} to {telegrams}"
        );
        assert!(
            largest <= max_size_bytes / 10 * 11,
            "{largest} bytes of {max_size_bytes}"
        );
        assert!(
            live >= max_size_bytes / 9,
            "only {live} bytes are kept of {max_size_bytes}"
        );
    }
}

#[test]
fn what_is_whole_in_a_refused_database_comes_back_within_max_size() {
    for (max_size_bytes, telegrams) in [(8 * MIB, 10_000), (32 * MIB, 30_000)] {
        let folder = scratch();
        let settings = QueueOptions {
            max_size_bytes,
            ..options(folder.path())
        };
        let (mut queue, _) = Queue::open(&settings).unwrap();
        queue.register("mqtt", Start::Oldest).unwrap();
        let mut flood = Flood::of(700, 256);
        flood.pour(&mut queue, telegrams);
        let sampler = Sampler::start(folder.path());
        for round in 1..=3 {
            let (tail, head) = (queue.reader().tail(), queue.head());
            queue.close().unwrap();
            fs::write(folder.path().join("sled/conf"), b"segment_size: a lot\nnonsense").unwrap();
            let (opened, report) = Queue::open(&settings).unwrap();
            queue = opened;
            assert!(report.moved_aside.is_some(), "{report:?}");
            assert_eq!(
                (report.losses, report.restored_records),
                (Vec::new(), head + 1 - tail)
            );
            assert_eq!(
                (queue.reader().tail(), queue.head()),
                (tail, head),
                "round {round}"
            );
            assert_eq!(read_all(&mut queue.reader()).len() as u64, head + 1 - tail);
            flood.pour(&mut queue, 1000);
        }
        drop(queue);
        let largest = sampler.finish();
        println!("{max_size_bytes} bytes: at most {largest}");
        assert!(
            largest <= max_size_bytes / 10 * 11,
            "{largest} bytes of {max_size_bytes}"
        );
    }
}

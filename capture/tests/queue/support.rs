//! Telegrams, times and folders for the queue's tests.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use capture::queue::{Arrival, Queue, QueueOptions, Reader};
use shared::record::Record;

/// A made-up telegram that differs with its number, of some 300 bytes.
pub(crate) fn telegram(number: u64) -> Vec<u8> {
    format!(
        "/ABC5MADE-UP\r\n\r\n1-3:0.2.8(50)\r\n0-0:1.0.0(260101{:06}W)\r\n1-0:1.8.1({:010.3}*kWh)\r\n\
         0-0:96.14.0(0001)\r\n1-0:1.7.0({:02}.{:03}*kW)\r\n1-0:32.7.0({}.{}*V)\r\n0-1:24.1.0(003)\r\n\
         0-1:24.2.1(260101120000W)({:09.3}*m3)\r\n!{:04X}\r\n",
        number % 1_000_000,
        1234.0 + number as f64 / 1000.0,
        number * 7 % 10,
        number * 7919 % 1000,
        229 + number % 3,
        number * 31 % 10,
        99.0 + number as f64 / 3600.0,
        number.wrapping_mul(0x9E37) & 0xFFFF,
    )
    .into_bytes()
}

/// The arrival of a telegram that comes this many seconds after a fixed time.
pub(crate) fn arrival(second: u64) -> Arrival {
    Arrival {
        captured_at_us: captured_us(second),
        uptime_us: second * 1_000_000,
    }
}

/// The system's clock at that second.
pub(crate) fn captured_us(second: u64) -> i64 {
    1_764_000_000_000_000 + second as i64 * 1_000_000
}

/// A folder that needs no disk where the machine has such.
pub(crate) fn scratch() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() {
        tempfile::tempdir_in(memory).unwrap()
    } else {
        tempfile::tempdir().unwrap()
    }
}

/// Options for a folder on a disk that may be small, trying again at once.
pub(crate) fn options(folder: &Path) -> QueueOptions {
    QueueOptions {
        retry_interval: Duration::ZERO,
        reserve_free_bytes: 0,
        open_patience: Duration::from_secs(60),
        ..QueueOptions::new(folder)
    }
}

/// Appends and flushes `count` telegrams one by one, numbered on from the head, with upkeep after each.
pub(crate) fn fill(queue: &mut Queue, count: u64) {
    for _ in 0..count {
        let number = queue.head() + 1;
        queue.append(arrival(number), &telegram(number)).unwrap();
        queue.flush().unwrap();
        queue.maintain(captured_us(number), number * 1_000_000).unwrap();
    }
}

/// Every record that there is.
pub(crate) fn read_all(reader: &mut Reader) -> Vec<Record> {
    let mut records: Vec<Record> = Vec::new();
    loop {
        let next = records.last().map_or(1, |record| record.sequence + 1);
        let batch = reader.read(next, 64 * 1024).unwrap();
        if batch.records.is_empty() {
            return records;
        }
        for record in batch.records {
            assert!(
                records.last().is_none_or(|last| last.sequence < record.sequence),
                "out of order"
            );
            records.push(record);
        }
    }
}

/// The database of a closed queue, through sled alone.
pub(crate) fn open_database(folder: &Path) -> sled::Db {
    let config = sled::Config::new()
        .path(folder.join("sled"))
        .segment_size(512 * 1024)
        .mode(sled::Mode::LowSpace);
    // It gives the file's lock back a moment after it was dropped.
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        match config.open() {
            Ok(database) => return database,
            Err(error) => assert!(
                error.to_string().contains("could not acquire lock") && Instant::now() < deadline,
                "{error}"
            ),
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Copies a folder with everything in it.
pub(crate) fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().flatten() {
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_folder(&entry.path(), &target);
        } else {
            // Copied without its holes filled: a file beyond its last byte is not there.
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// A small generator of random numbers, for seeds that can be printed.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (mixed ^ (mixed >> 31)) % bound.max(1)
    }
}

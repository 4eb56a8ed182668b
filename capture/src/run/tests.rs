//! A file as the port: what it gives is taken once, however often capture is started.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, FileType, Mode, mknodat};
use shared::telegram::crc16;

use super::*;
use crate::import::import;

/// A queue folder and files beside it.
struct Bench {
    folder: tempfile::TempDir,
}

impl Bench {
    fn new() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn file(&self, name: &str, telegrams: &[Vec<u8>]) -> PathBuf {
        fs::write(self.path(name), telegrams.concat()).unwrap();
        self.path(name)
    }

    fn config(&self, file: &Path) -> Config {
        let mut config = Config::default();
        config.port.address = PortAddress::File(file.to_owned());
        config.queue.path = self.path("queue");
        config.queue.socket = self.path("queue.sock");
        config
    }

    /// Runs capture once over the file; what is in the queue then.
    fn take_in(&self, file: &Path) -> Vec<Vec<u8>> {
        run(&self.config(file), true).unwrap();
        let (queue, _) = open_queue(&self.config(file)).unwrap();
        let mut reader = queue.reader();
        let mut telegrams = Vec::new();
        loop {
            let records = reader
                .read(telegrams.len() as u64 + 1, 1_000_000)
                .unwrap()
                .records;
            if records.is_empty() {
                return telegrams;
            }
            telegrams.extend(records.into_iter().map(|record| record.telegram.to_vec()));
        }
    }
}

fn without_crc(number: u32) -> Vec<u8> {
    format!("/ISK5\\2M550T-1012\r\n\r\n1-0:1.8.1({number:06}.000*kWh)\r\n!\r\n").into_bytes()
}

fn with_crc(number: u32) -> Vec<u8> {
    let mut telegram = without_crc(number);
    telegram.truncate(telegram.len() - 2);
    let crc = crc16::ARC.of(&telegram);
    telegram.extend_from_slice(format!("{crc:04X}\r\n").as_bytes());
    telegram
}

fn telegrams(numbers: std::ops::Range<u32>) -> Vec<Vec<u8>> {
    numbers.map(with_crc).collect()
}

#[test]
fn a_file_is_taken_once_however_often_capture_starts_and_goes_on_where_it_has_grown() {
    let bench = Bench::new();
    let file = bench.file("a.txt", &telegrams(0..600));
    assert_eq!(bench.take_in(&file), telegrams(0..600));
    assert_eq!(bench.take_in(&file), telegrams(0..600));
    let file = bench.file("a.txt", &telegrams(0..700));
    assert_eq!(bench.take_in(&file), telegrams(0..700));
    assert_eq!(bench.take_in(&file), telegrams(0..700));
    // Another file is taken, and the first one is still known.
    let other = bench.file("b.txt", &telegrams(1000..1010));
    let both = [telegrams(0..700), telegrams(1000..1010)].concat();
    assert_eq!(bench.take_in(&other), both);
    assert_eq!(bench.take_in(&file), both);
}

#[test]
fn a_file_that_ended_within_a_line_end_is_known_when_it_has_grown() {
    let bench = Bench::new();
    let mut cut = telegrams(0..5);
    let length = cut[4].len();
    cut[4].truncate(length - 2);
    let file = bench.file("a.txt", &cut);
    assert_eq!(bench.take_in(&file), cut);
    let file = bench.file("a.txt", &telegrams(0..8));
    assert_eq!(bench.take_in(&file), [cut, telegrams(5..8)].concat());
}

#[test]
fn import_and_the_port_know_of_each_other() {
    let bench = Bench::new();
    let file = bench.file("a.txt", &telegrams(0..10));
    let import = |file: &PathBuf| {
        let mut output = Vec::new();
        import(
            &bench.config(file),
            std::slice::from_ref(file),
            false,
            &mut output,
        )
        .unwrap();
        String::from_utf8(output).unwrap()
    };
    import(&file);
    assert_eq!(bench.take_in(&file), telegrams(0..10));
    let file = bench.file("a.txt", &telegrams(0..15));
    assert_eq!(bench.take_in(&file), telegrams(0..15));
    assert!(import(&file).contains(": 0 telegrams taken, 15 taken before"));
}

#[test]
fn the_port_takes_nothing_that_is_in_the_queue_from_a_file_of_another_form() {
    let bench = Bench::new();
    let timed = |second: u32| {
        let mut telegram =
            format!("/ISK5\\2M550T-1012\r\n\r\n0-0:1.0.0(1903201814{second:02}W)\r\n!").into_bytes();
        let crc = crc16::ARC.of(&telegram);
        telegram.extend_from_slice(format!("{crc:04X}\r\n").as_bytes());
        telegram
    };
    let seconds = |range: std::ops::Range<u32>| range.map(timed).collect::<Vec<_>>();
    let first = bench.file("a.txt", &seconds(10..30));
    let config = bench.config(&first);
    import(&config, std::slice::from_ref(&first), false, &mut Vec::new()).unwrap();
    // It holds them in the middle, and is taken in again after more has been taken from it.
    let second = bench.file("b.txt", &seconds(0..40));
    let once = [seconds(10..30), seconds(0..10), seconds(30..40)].concat();
    assert_eq!(bench.take_in(&second), once);
    let second = bench.file("b.txt", &seconds(0..50));
    assert_eq!(bench.take_in(&second), [once, seconds(40..50)].concat());
}

#[test]
fn a_file_whose_meter_begins_to_send_a_crc_gives_the_same_each_time() {
    let bench = Bench::new();
    let sent = [(0..5).map(without_crc).collect(), telegrams(5..10)].concat();
    let file = bench.file("a.txt", &sent);
    assert_eq!(bench.take_in(&file), sent);
    assert_eq!(bench.take_in(&file), sent);
}

#[test]
fn a_pipe_has_no_memory() {
    let bench = Bench::new();
    let pipe = bench.path("pipe");
    mknodat(CWD, &pipe, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
    for round in 1..=2 {
        let writer = pipe.clone();
        let writing = std::thread::spawn(move || {
            let mut pipe = OpenOptions::new().write(true).open(writer).unwrap();
            pipe.write_all(&telegrams(0..5).concat()).unwrap();
        });
        assert_eq!(bench.take_in(&pipe), vec![telegrams(0..5); round].concat());
        writing.join().unwrap();
    }
}

#[test]
fn a_keeper_that_goes_round_no_more_ends_capture_and_one_that_does_never() {
    let patience = Duration::from_millis(500);
    let (stop, stopped) = sync_channel(1);
    let heartbeat = Heartbeat::default();
    let failure = wait(&stopped, &heartbeat, patience).unwrap_err();
    assert_eq!(failure.exit, Exit::Storage);
    assert!(failure.words.contains("has not answered"), "{failure}");

    let beating = heartbeat.clone();
    std::thread::spawn(move || {
        for _ in 0..60 {
            beating.beat();
            std::thread::sleep(patience / 20);
        }
        stop.send(Stop::Signal("SIGTERM")).unwrap();
    });
    assert_eq!(
        wait(&stopped, &heartbeat, patience).unwrap(),
        Stop::Signal("SIGTERM")
    );
}

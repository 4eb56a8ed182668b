//! What is recorded: a process that keeps a queue as capture does, and says what it has been promised.
//!
//! It is this test binary itself, started under strace for one ignored test. What it says goes to a
//! file beside the recorded folder, a line for each promise, in the order of the file operations around it.
//! A second thread says which head a reader sees, the moment that it sees it.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use capture::queue::{Arrival, MAX_TELEGRAM_BYTES, Queue, QueueOptions, Reader};
use shared::wire::Start;
use tests::household::random::Random;

use super::recording::{self, Recording};

/// A life of the process: what it does, from this seed, in this start of the machine.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Life {
    pub(crate) plan: Plan,
    pub(crate) seed: u64,
    /// Which start of the machine it begins in.
    pub(crate) boot: u8,
    /// Number of its first telegram, so that no two lives' telegrams are alike.
    pub(crate) first_telegram: u64,
}

/// What a life does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Plan {
    /// From an empty folder: everything that a queue does, some hundred telegrams.
    Long,
    /// After a power cut: opening, and some telegrams.
    Short,
}

/// The bound on the queue's folder, in bytes, at first and after it was lowered.
pub(crate) const MAX_SIZE_BYTES: u64 = 64 << 20;
const LOWERED_MAX_SIZE_BYTES: u64 = 3_500_000;
const RETENTION_SECONDS: u64 = 100;
/// From this number on telegrams are large and hardly compress.
const BULK: u64 = 1 << 32;
/// From this number on they are as large as there are, and do not compress.
const LARGEST: u64 = 1 << 33;
/// From this number on they are large and compress well: few of them are enough to be grouped.
const WORDY: u64 = 1 << 34;

/// The options of a life's queue in this folder.
pub(crate) fn options(folder: &Path, boot: u8, max_size_bytes: u64) -> QueueOptions {
    QueueOptions {
        max_size_bytes,
        retention: Some(Duration::from_secs(RETENTION_SECONDS)),
        boot_id: [boot; 16],
        ..QueueOptions::new(folder)
    }
}

/// The telegram of this number: between 100 bytes and 16 KiB that compress as telegrams do, hardly, or not at all.
pub(crate) fn telegram(number: u64) -> Vec<u8> {
    let mut random = Random::new(number);
    if number >= WORDY {
        let mut text = format!("/KFM5KAIFA-METER\r\n\r\n0-0:96.1.1({number:016X})\r\n");
        for line in 0..300 {
            text.push_str(&format!("1-0:{}.8.1({number:010}*kWh)\r\n", line % 10));
        }
        text.push_str("!0000\r\n");
        return text.into_bytes();
    }
    if number >= LARGEST {
        return (0..MAX_TELEGRAM_BYTES).map(|_| random.below(256) as u8).collect();
    }
    let lines = match random.below(20) {
        _ if number >= BULK => 250,
        0 => 200,
        1..=5 => 60,
        _ => 20,
    };
    let is_noisy = random.happens(1, 6);
    let mut text = format!("/KFM5KAIFA-METER\r\n\r\n0-0:96.1.1({number:016X})\r\n");
    for line in 0..lines {
        if number >= BULK {
            let noise: String = (0..28).map(|_| (b'0' + random.below(64) as u8) as char).collect();
            text.push_str(&format!("{noise}\r\n"));
            continue;
        }
        let value = if is_noisy {
            random.below(1_000_000_000)
        } else {
            number * 7 + line
        };
        text.push_str(&format!("1-0:{line}.8.1({value:010}*kWh)\r\n"));
    }
    text.push_str("!0000\r\n");
    text.into_bytes()
}

/// When the telegram of this number was captured, in microseconds since 1970.
pub(crate) fn captured_at_us(number: u64) -> i64 {
    1_760_000_000_000_000 + number as i64 * 1_000_000
}

/// Records a life under `root`, which holds the queue's folder or nothing.
pub(crate) fn record(life: Life, root: &Path, beside: &Path) -> Recording {
    let said = beside.join("said");
    File::create(&said).unwrap();
    let mut program = Command::new(std::env::current_exe().unwrap());
    program
        .args([
            "--ignored",
            "--exact",
            "workload::lives_a_life_that_is_recorded",
            "--test-threads=1",
            "--quiet",
        ])
        .env(
            "SMARTMETER_POWER_LIFE",
            format!(
                "{:?} {} {} {} {} {}",
                life.plan,
                life.seed,
                life.boot,
                life.first_telegram,
                root.display(),
                said.display()
            ),
        );
    recording::record(&mut program, root, &said, &beside.join("trace"))
}

#[test]
#[ignore = "the recorded process, which the other tests start"]
fn lives_a_life_that_is_recorded() {
    let Ok(life) = std::env::var("SMARTMETER_POWER_LIFE") else {
        return;
    };
    let words: Vec<&str> = life.split(' ').collect();
    let number = |position: usize| words[position].parse().unwrap();
    let life = Life {
        plan: if words[0] == "Long" {
            Plan::Long
        } else {
            Plan::Short
        },
        seed: number(1),
        boot: number(2) as u8,
        first_telegram: number(3),
    };
    let said = File::options().write(true).open(words[5]).unwrap();
    Living {
        queue_path: PathBuf::from(words[4]).join("queue"),
        said: Arc::new(said),
        random: Random::new(life.seed),
        telegram: life.first_telegram,
        uptime_us: 1_000_000,
    }
    .live(life);
}

struct Living {
    queue_path: PathBuf,
    said: Arc<File>,
    random: Random,
    telegram: u64,
    uptime_us: u64,
}

impl Living {
    fn live(mut self, life: Life) {
        if life.plan == Plan::Short {
            let mut queue = self.open(life.boot, MAX_SIZE_BYTES);
            self.register(&mut queue, "mqtt");
            for _ in 0..12 {
                self.step(&mut queue, 1);
            }
            self.close(queue);
            return;
        }
        let mut queue = self.open(life.boot, MAX_SIZE_BYTES);
        for _ in 0..5 {
            self.step(&mut queue, 1);
        }
        self.register(&mut queue, "mqtt");
        for _ in 0..120 {
            self.step(&mut queue, 1);
        }
        self.register(&mut queue, "second");
        for _ in 0..30 {
            self.step(&mut queue, 6);
        }
        let next = std::mem::replace(&mut self.telegram, WORDY);
        for _ in 0..90 {
            self.step(&mut queue, 1);
        }
        self.telegram = next;
        self.close(queue);

        // The machine goes on, and the process ends without order.
        let mut queue = self.open(life.boot, MAX_SIZE_BYTES);
        for _ in 0..40 {
            self.step(&mut queue, 2);
        }
        self.forget(&mut queue, "second");
        for _ in 0..30 {
            self.step(&mut queue, 1);
        }
        drop(queue);

        // Another start of the machine, and much at once: something to be rid of.
        self.uptime_us = 1_000_000;
        let mut queue = self.open(life.boot + 1, MAX_SIZE_BYTES);
        self.register(&mut queue, "third");
        let next = std::mem::replace(&mut self.telegram, BULK);
        for _ in 0..6 {
            self.step(&mut queue, 160);
        }
        self.telegram = LARGEST;
        for _ in 0..20 {
            self.step(&mut queue, 1);
        }
        for _ in 0..4 {
            self.step(&mut queue, 90);
        }
        self.telegram = next;
        self.close(queue);

        // Less room: what is oldest goes, and the database is written anew.
        let mut queue = self.open(life.boot + 1, LOWERED_MAX_SIZE_BYTES);
        for _ in 0..12 {
            self.step(&mut queue, 3);
        }
        for _ in 0..8 {
            self.uptime_us += 5_000_000;
            self.maintain(&mut queue);
        }
        for _ in 0..10 {
            self.step(&mut queue, 1);
        }
        self.close(queue);
    }

    /// As capture does after every telegram or group of them, and a publisher beside it.
    fn step(&mut self, queue: &mut Queue, group: u64) {
        for _ in 0..=self.random.below(group) {
            self.uptime_us += 1_000_000;
            let arrival = Arrival {
                captured_at_us: captured_at_us(self.telegram),
                uptime_us: self.uptime_us,
            };
            let sequence = queue.append(arrival, &telegram(self.telegram)).unwrap();
            self.say(&format!("appended {sequence} {}", self.telegram));
            self.telegram += 1;
        }
        self.say("flush");
        let flushed = queue.flush().unwrap();
        self.say(&format!("flushed {} {}", flushed.head, queue.reader().tail()));
        let names: Vec<String> = queue.consumers().keys().cloned().collect();
        for name in names {
            // One is quick, one slow, and one never comes back.
            let commits = match name.as_str() {
                "mqtt" => true,
                "second" => self.random.happens(1, 10),
                _ => false,
            };
            if commits {
                let sequence = queue.head() - self.random.below(4).min(queue.head());
                self.say(&format!("commit {name} {sequence}"));
                queue.commit(&name, sequence).unwrap();
            }
        }
        self.maintain(queue);
    }

    fn maintain(&mut self, queue: &mut Queue) {
        self.uptime_us += 10_000;
        self.say("maintain");
        let done = queue
            .maintain(captured_at_us(self.telegram), self.uptime_us)
            .unwrap();
        self.say(&format!(
            "maintained {} {} {} {}",
            queue.reader().tail(),
            done.merged_blocks,
            done.trimmed_records,
            done.lost_records
        ));
    }

    fn open(&mut self, boot: u8, max_size_bytes: u64) -> Queue {
        self.say("open");
        let (queue, _) = Queue::open(&options(&self.queue_path, boot, max_size_bytes)).unwrap();
        let reader = queue.reader();
        self.say(&format!(
            "opened {} {} {}",
            queue.head(),
            reader.tail(),
            queue.identity()
        ));
        let said = Arc::clone(&self.said);
        std::thread::spawn(move || watch(&reader, &said));
        queue
    }

    fn register(&mut self, queue: &mut Queue, name: &str) {
        self.say(&format!("register {name}"));
        let cursor = queue.register(name, Start::Oldest).unwrap();
        self.say(&format!("registered {name} {cursor} {}", queue.reader().tail()));
    }

    fn forget(&mut self, queue: &mut Queue, name: &str) {
        self.say(&format!("forget {name}"));
        assert!(queue.forget(name).unwrap());
        self.say(&format!("forgot {name} {}", queue.reader().tail()));
    }

    fn close(&mut self, queue: Queue) {
        self.say("close");
        queue.close().unwrap();
        self.say("closed");
    }

    fn say(&self, words: &str) {
        say(&self.said, words);
    }
}

/// Says every head that a reader sees.
fn watch(reader: &Reader, said: &File) {
    let mut head = 0;
    while reader.wait_beyond(head, Duration::from_secs(600)) {
        head = reader.head();
        say(said, &format!("visible {head}"));
    }
}

/// One write for a line: two threads say something, and the recording must see each of it whole.
fn say(mut said: &File, words: &str) {
    said.write_all(format!("{words}\n").as_bytes()).unwrap();
}

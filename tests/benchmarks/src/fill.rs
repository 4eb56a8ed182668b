//! Queues that are full already, written through capture's own library.

use std::path::{Path, PathBuf};

use anyhow::Context;
use capture::queue::{Arrival, Queue, QueueOptions};
use shared::wire::Start;

use crate::telegrams::{START_US, Telegrams};

/// The consumer that the programs' defaults name.
pub const CONSUMER: &str = "mqtt";

/// A queue in this folder that keeps everything.
pub fn options(folder: &Path) -> QueueOptions {
    QueueOptions {
        max_size_bytes: 1 << 40,
        retention: None,
        ..QueueOptions::new(folder)
    }
}

/// How telegrams go into a queue.
#[derive(Debug, Clone, Copy)]
pub struct Filling {
    /// How many from its head on.
    pub telegrams: u64,
    /// How many share a flush: at one telegram a second that is the flush interval in seconds.
    pub group: u64,
    /// How many share a commit of the consumer, where there is one.
    pub commit_every: Option<u64>,
}

/// Appends telegrams behind the head, one for each second of time, with upkeep after each flush as capture
/// does it.
///
/// # Errors
/// As the queue's.
pub fn fill(queue: &mut Queue, telegrams: &Telegrams, filling: Filling) -> anyhow::Result<()> {
    let first = queue.head() + 1;
    for number in first..first + filling.telegrams {
        let uptime_us = number * 1_000_000;
        let captured_at_us = START_US + uptime_us as i64;
        queue.append(
            Arrival {
                captured_at_us,
                uptime_us,
            },
            telegrams.at(number - 1),
        )?;
        if (number + 1 - first) % filling.group == 0 {
            queue.flush()?;
            while queue.maintain(captured_at_us, uptime_us)?.has_more {}
        }
        if let Some(every) = filling.commit_every.filter(|every| number % every == 0) {
            queue.commit(CONSUMER, queue.head() / every * every)?;
        }
    }
    queue.flush()?;
    Ok(())
}

/// A folder for this run on the disk that is measured.
pub fn scratch() -> PathBuf {
    std::env::var_os("BENCH_SCRATCH").map_or_else(std::env::temp_dir, PathBuf::from)
}

/// A copy of a queue that holds so many telegrams of a day and its consumer at the start. Filled once for a run.
///
/// # Errors
/// Where it cannot be written.
pub fn filled(telegrams: u64, to: &Path) -> anyhow::Result<()> {
    let folder = scratch().join(format!("queue-{telegrams}"));
    if !folder.is_dir() {
        let unfinished = scratch().join(format!("queue-{telegrams}-unfinished"));
        let day = Telegrams::of_household(telegrams.clamp(1, 86_400) as usize);
        let (mut queue, _) = Queue::open(&options(&unfinished))?;
        queue.register(CONSUMER, Start::Oldest)?;
        let filling = Filling {
            telegrams,
            group: 130,
            commit_every: None,
        };
        fill(&mut queue, &day, filling)?;
        queue.close()?;
        std::fs::rename(&unfinished, &folder)?;
    }
    copy(&folder, to)
}

fn copy(from: &Path, to: &Path) -> anyhow::Result<()> {
    let copied = std::process::Command::new("cp")
        .args(["--recursive", "--sparse=always"])
        .arg(from)
        .arg(to)
        .status()?;
    anyhow::ensure!(copied.success(), "cp {} {}", from.display(), to.display());
    // What is written later shall not have to wait for this.
    let synced = std::process::Command::new("sync").status().context("sync")?;
    anyhow::ensure!(synced.success(), "sync");
    Ok(())
}

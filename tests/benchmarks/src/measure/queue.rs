//! The queue through capture's library, in the meter's time: what shares a flush at one telegram a second is what
//! the flush interval lasts, so a day passes in seconds and is written as in a day. Beside it the same telegrams
//! in the same groups in a plain file and in SQLite.

use std::path::{Path, PathBuf};
use std::time::Instant;

use capture::queue::{Queue, layout};
use shared::wire::Start;

use crate::figures::{figure, quantile};
use crate::fill::{self, CONSUMER, Filling};
use crate::floor::{Kept, Plain, Sqlite};
use crate::telegrams::Telegrams;
use crate::usage::Usage;

/// At one telegram a second an interval of 1 s holds one telegram as 0 s does.
const GROUPS: [u64; 3] = [1, 10, 60];
/// Where real captures are, from the project's folder on.
const CORPUS: &str = "../shared/telegrams";
const CAPTURE: &str = "nielsbasjes__CAPTURE_ttyUSB0-raw.txt";
const DAY: usize = 86_400;

/// Writes queues and what they are compared with.
///
/// # Errors
/// Where the disk fails.
pub fn measure(is_quick: bool) -> anyhow::Result<()> {
    let count = if is_quick { 1_200 } else { 9_600 };
    let telegrams = Telegrams::of_household(DAY);
    sync(if is_quick { 100 } else { 1_000 })?;
    figure("telegram_bytes", telegrams.mean_bytes());
    for group in GROUPS {
        // As many flushes at least as tell a rate, and as many telegrams as have been merged a few times.
        let count = count.max(group * 40);
        one("queue", group, count, |folder, usage| {
            written_to_queue(folder, &telegrams, group, count, usage)
        })?;
        let plain = |folder: &Path, usage: &mut Usage| {
            kept(
                Plain::create(&folder.join("file"))?,
                &telegrams,
                group,
                count,
                usage,
            )
        };
        one("plain", group, count, plain)?;
        let sqlite = |folder: &Path, usage: &mut Usage| {
            kept(
                Sqlite::create(&folder.join("database"))?,
                &telegrams,
                group,
                count,
                usage,
            )
        };
        one("sqlite", group, count, sqlite)?;
    }
    // A day whatever the size: the folder has some 2.5 MB that do not grow.
    stored("stored", &telegrams)?;
    if is_quick {
        return Ok(());
    }
    if let Some(capture) = Telegrams::of_capture(&corpus().join(CAPTURE), DAY) {
        stored("stored_capture", &capture)?;
    }
    Ok(())
}

/// One way to keep telegrams at one flush for so many: what it writes, what it costs.
fn one(
    what: &str,
    group: u64,
    count: u64,
    keep: impl FnOnce(&Path, &mut Usage) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let folder = tempfile::tempdir_in(fill::scratch())?;
    let mut before = Usage::default();
    keep(folder.path(), &mut before)?;
    let after = Usage::own();
    figure(
        &format!("{what}_{group}_written_bytes"),
        after.written_each(&before, count),
    );
    figure(
        &format!("{what}_{group}_cpu_us"),
        after.cpu_us_each(&before, count),
    );
    Ok(())
}

fn written_to_queue(
    folder: &Path,
    telegrams: &Telegrams,
    group: u64,
    count: u64,
    before: &mut Usage,
) -> anyhow::Result<()> {
    let (mut queue, _) = Queue::open(&fill::options(folder))?;
    queue.register(CONSUMER, Start::Oldest)?;
    *before = Usage::own();
    let filling = Filling {
        telegrams: count,
        group,
        commit_every: Some(60),
    };
    let started = Instant::now();
    fill::fill(&mut queue, telegrams, filling)?;
    figure(
        &format!("queue_{group}_wall_us"),
        started.elapsed().as_secs_f64() * 1e6 / count as f64,
    );
    Ok(())
}

fn kept(
    mut kept: impl Kept,
    telegrams: &Telegrams,
    group: u64,
    count: u64,
    before: &mut Usage,
) -> anyhow::Result<()> {
    *before = Usage::own();
    for first in (0..count).step_by(group as usize) {
        kept.keep(first..(first + group).min(count), telegrams)?;
    }
    Ok(())
}

/// What a flush for each telegram leaves on disk. In memory, where it takes a tenth of the time: how much it is
/// does not depend on where it is.
fn stored(what: &str, telegrams: &Telegrams) -> anyhow::Result<()> {
    let memory = Path::new("/dev/shm");
    let parent = if memory.is_dir() {
        memory.to_owned()
    } else {
        fill::scratch()
    };
    let folder = tempfile::tempdir_in(parent)?;
    let count = telegrams.iter().count() as u64;
    let (mut queue, _) = Queue::open(&fill::options(&folder.path().join("queue")))?;
    queue.register(CONSUMER, Start::Oldest)?;
    fill::fill(
        &mut queue,
        telegrams,
        Filling {
            telegrams: count,
            group: 1,
            commit_every: Some(60),
        },
    )?;
    queue.close()?;
    figure(
        &format!("{what}_bytes"),
        layout::disk_bytes(&folder.path().join("queue")) as f64 / count as f64,
    );
    figure(&format!("{what}_raw_bytes"), telegrams.mean_bytes());
    if what == "stored" {
        let path = folder.path().join("database");
        let mut sqlite = Sqlite::create(&path)?;
        for first in (0..count).step_by(600) {
            sqlite.keep(first..(first + 600).min(count), telegrams)?;
        }
        drop(sqlite);
        figure(
            "stored_sqlite_bytes",
            layout::disk_bytes(&path) as f64 / count as f64,
        );
    }
    Ok(())
}

/// How long this disk takes for a sync of one appended telegram's bytes: much of what follows waits for it.
fn sync(count: usize) -> anyhow::Result<()> {
    let folder = tempfile::tempdir_in(fill::scratch())?;
    let telegrams = Telegrams::of_household(1);
    let mut plain = Plain::create(&folder.path().join("file"))?;
    let mut took = Vec::new();
    for _ in 0..count {
        let started = Instant::now();
        plain.keep(0..1, &telegrams)?;
        took.push(started.elapsed().as_secs_f64() * 1e3);
    }
    figure("sync_median_ms", quantile(&mut took, 0.5));
    figure("sync_99_ms", quantile(&mut took, 0.99));
    Ok(())
}

fn corpus() -> PathBuf {
    std::env::var_os("P1_CORPUS").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(CORPUS),
        PathBuf::from,
    )
}

//! What grows with the number of telegrams stored: the time to open, memory, the cost of appending and of reading.
//! Each step in a process of its own, so that its memory is that step's alone.

use std::process::Command;
use std::time::Instant;

use anyhow::Context;
use capture::queue::{Queue, layout};
use shared::wire::Start;

use crate::figures::figure;
use crate::fill::{self, CONSUMER, Filling};
use crate::telegrams::Telegrams;
use crate::usage::Usage;

const STEPS: [u64; 6] = [1_000, 10_000, 100_000, 1_000_000, 10_000_000, 30_000_000];
/// Telegrams that are appended one by one at each step.
const APPENDED: u64 = 300;
/// Records that are read at places spread evenly.
const READ: u64 = 2_000;

/// Fills one queue further and further: up to a million, or with `BENCH_GROWTH` as many as that says.
///
/// # Errors
/// Where something of this machine fails.
pub fn measure(is_quick: bool) -> anyhow::Result<()> {
    let most = match std::env::var("BENCH_GROWTH") {
        Ok(most) => most.parse().context("BENCH_GROWTH")?,
        Err(_) if is_quick => 100_000,
        Err(_) => 1_000_000,
    };
    let folder = tempfile::tempdir_in(fill::scratch())?;
    for step in STEPS.into_iter().filter(|step| *step <= most) {
        for what in ["fill", "look"] {
            let status = Command::new(std::env::current_exe()?)
                .args(["growth-step", what])
                .arg(folder.path().join("queue"))
                .arg(step.to_string())
                .status()?;
            anyhow::ensure!(status.success(), "{what} up to {step}: {status}");
        }
    }
    Ok(())
}

/// One step: `fill FOLDER TELEGRAMS` or `look FOLDER TELEGRAMS`.
///
/// # Errors
/// Where something of this machine fails.
pub fn step(arguments: &[String]) -> anyhow::Result<()> {
    let [what, folder, telegrams] = arguments else {
        anyhow::bail!("growth-step fill|look FOLDER TELEGRAMS");
    };
    let telegrams: u64 = telegrams.parse()?;
    let options = fill::options(folder.as_ref());
    if what == "fill" {
        let day = Telegrams::of_household(telegrams.min(86_400) as usize);
        let (mut queue, _) = Queue::open(&options)?;
        queue.register(CONSUMER, Start::Oldest)?;
        let missing = telegrams - queue.head();
        fill::fill(
            &mut queue,
            &day,
            Filling {
                telegrams: missing,
                group: 130,
                commit_every: Some(130),
            },
        )?;
        queue.close()?;
        return Ok(());
    }
    let day = Telegrams::of_household(APPENDED as usize);
    let named = |what: &str| format!("growth_{telegrams}_{what}");
    let started = Instant::now();
    let (mut queue, _) = Queue::open(&options)?;
    figure(&named("open_ms"), started.elapsed().as_secs_f64() * 1e3);
    figure(&named("resident_bytes"), Usage::own().resident_bytes as f64);

    let mut reader = queue.reader();
    let before = Usage::own();
    for place in 0..READ {
        reader.read(1 + place * (telegrams / READ).max(1) % telegrams, 1)?;
    }
    figure(&named("read_us"), Usage::own().cpu_us_each(&before, READ));
    let before = Usage::own();
    let in_order = telegrams.min(20_000);
    let mut next = telegrams - in_order + 1;
    while let Some(last) = reader.read(next, 128 * 1024)?.records.last() {
        next = last.sequence + 1;
    }
    figure(
        &named("read_in_order_us"),
        Usage::own().cpu_us_each(&before, in_order),
    );

    let before = Usage::own();
    fill::fill(
        &mut queue,
        &day,
        Filling {
            telegrams: APPENDED,
            group: 1,
            commit_every: Some(60),
        },
    )?;
    let after = Usage::own();
    figure(&named("append_us"), after.cpu_us_each(&before, APPENDED));
    figure(
        &named("append_written_bytes"),
        after.written_each(&before, APPENDED),
    );
    figure(&named("resident_after_bytes"), after.resident_bytes as f64);
    queue.close()?;
    figure(
        &named("disk_bytes"),
        layout::disk_bytes(folder.as_ref()) as f64 / telegrams as f64,
    );
    Ok(())
}

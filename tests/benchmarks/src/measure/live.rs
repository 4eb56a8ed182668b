//! The real programs with a meter: at one telegram a second in real time, and as fast as it goes, with little and
//! with much in the queue.

use std::path::PathBuf;
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

use tests::broker::Mosquitto;
use tests::meter::Meter;
use tests::process::Process;

use crate::figures::figure;
use crate::floor::{Kept, Plain};
use crate::installation::{Configuration, Installation};
use crate::telegrams::Telegrams;
use crate::usage::Usage;

/// Flush intervals, each in an installation of its own and all at once, since the time is real.
const FLUSH_INTERVALS: [&str; 4] = ["0s", "1s", "10s", "60s"];
const PATIENCE: Duration = Duration::from_secs(300);
/// An hour, a day and thirty days of telegrams.
const DEPTHS: [u64; 3] = [3_600, 86_400, 2_592_000];

/// Measures both.
///
/// # Errors
/// Where something of this machine fails.
pub fn measure(is_quick: bool) -> anyhow::Result<()> {
    at_once(is_quick)?;
    in_real_time(if is_quick { 20 } else { 180 })?;
    for depth in DEPTHS.into_iter().take(if is_quick { 2 } else { 3 }) {
        with(depth, if is_quick { 500 } else { 5_000 })?;
    }
    Ok(())
}

struct Running {
    installation: Installation,
    capture: Process,
    publisher: Process,
}

fn in_real_time(seconds: u64) -> anyhow::Result<()> {
    let telegrams = Telegrams::of_household(seconds as usize + 8);
    let folder = tempfile::tempdir_in(crate::fill::scratch())?;
    let broker = Mosquitto::start(folder.path());
    let mut running = Vec::new();
    for flush_interval in FLUSH_INTERVALS {
        let installation = Installation::new()?;
        installation.configure(&Configuration {
            flush_interval,
            broker: broker.port(),
            has_all_topics: true,
            ..Configuration::default()
        })?;
        let (capture, publisher) = (installation.start_capture(), installation.start_publisher());
        installation.wait_until(PATIENCE, |status| {
            status
                .consumers
                .iter()
                .any(|consumer| consumer.report.as_ref().is_some_and(|report| report.is_connected))
        });
        running.push(Running {
            installation,
            capture,
            publisher,
        });
    }
    let (numbers, arrived) = sync_channel(1);
    let file = folder.path().join("plain");
    let plain = thread::spawn(move || keep_plain(file, &arrived));
    // The line's setting is found and everything has been needed once.
    let mut number = 0;
    let begins = Instant::now();
    let mut tick = |running: &mut Vec<Running>| {
        for one in running {
            one.installation.meter.send(telegrams.at(number));
        }
        let _ = numbers.send(number);
        number += 1;
        thread::sleep((begins + Duration::from_secs(number)).saturating_duration_since(Instant::now()));
    };
    (0..4).for_each(|_| tick(&mut running));
    let usages = |running: &[Running]| -> Vec<(Usage, Usage)> {
        let usage = |one: &Running| (Usage::of(one.capture.id()), Usage::of(one.publisher.id()));
        running.iter().map(usage).collect()
    };
    let before = usages(&running);
    (0..seconds).for_each(|_| tick(&mut running));
    let after = usages(&running);
    drop(numbers);
    let plain = plain.join().map_err(|_| anyhow::anyhow!("the plain file"))??;
    figure("live_plain_cpu_us", plain.as_secs_f64() * 1e6 / seconds as f64);
    for ((flush_interval, before), after) in FLUSH_INTERVALS.iter().zip(before).zip(after) {
        let (capture, publisher) = (
            after.0.cpu_us_each(&before.0, seconds),
            after.1.cpu_us_each(&before.1, seconds),
        );
        figure(&format!("live_{flush_interval}_capture_cpu_us"), capture);
        figure(&format!("live_{flush_interval}_publisher_cpu_us"), publisher);
        figure(&format!("live_{flush_interval}_cpu_us"), capture + publisher);
        figure(
            &format!("live_{flush_interval}_written_bytes"),
            after.0.written_each(&before.0, seconds),
        );
        figure(
            &format!("live_{flush_interval}_capture_resident_bytes"),
            after.0.resident_bytes as f64,
        );
        figure(
            &format!("live_{flush_interval}_publisher_resident_bytes"),
            after.1.resident_bytes as f64,
        );
    }
    figure("live_seconds", seconds as f64);
    Ok(())
}

/// The same telegrams at the same moments in a plain file, each synced: what it takes of a processor after the first
/// few.
fn keep_plain(path: PathBuf, numbers: &Receiver<u64>) -> anyhow::Result<Duration> {
    let own = || {
        let cpu = clock_gettime(ClockId::ThreadCPUTime);
        Duration::new(cpu.tv_sec as u64, cpu.tv_nsec as u32)
    };
    let telegrams = Telegrams::of_household(3_600);
    let mut plain = Plain::create(&path)?;
    let mut before = own();
    for number in numbers {
        plain.keep(number..number + 1, &telegrams)?;
        if number < 4 {
            before = own();
        }
    }
    Ok(own().saturating_sub(before))
}

/// As fast as capture reads, into an empty queue, with a publisher that keeps up as it can.
fn at_once(is_quick: bool) -> anyhow::Result<()> {
    let count = if is_quick { 2_000 } else { 20_000 };
    let telegrams = Telegrams::of_household(count as usize + 61);
    let folder = tempfile::tempdir_in(crate::fill::scratch())?;
    let broker = Mosquitto::start(folder.path());
    let mut installation = Installation::new()?;
    installation.configure(&Configuration {
        broker: broker.port(),
        has_all_topics: true,
        ..Configuration::default()
    })?;
    let (capture, publisher) = (installation.start_capture(), installation.start_publisher());
    installation.meter.send(telegrams.at(0));
    installation.wait_for_head(1, PATIENCE);
    let (before, before_publisher) = (Usage::of(capture.id()), Usage::of(publisher.id()));
    let started = Instant::now();
    for number in 1..=count + 60 {
        installation.meter.send(telegrams.at(number));
    }
    let accepted = installation.wait_for_head(count + 61, PATIENCE);
    // All whole minutes but the one that is open.
    installation.wait_for_cursor_unhurried(count / 60 * 60, PATIENCE);
    let (after, after_publisher) = (Usage::of(capture.id()), Usage::of(publisher.id()));
    let (capture, publisher) = (
        after.cpu_us_each(&before, count + 60),
        after_publisher.cpu_us_each(&before_publisher, count + 60),
    );
    figure("flat_capture_cpu_us", capture);
    figure("flat_publisher_cpu_us", publisher);
    figure("flat_cpu_us", capture + publisher);
    figure("flat_written_bytes", after.written_each(&before, count + 60));
    figure(
        "flat_telegrams_per_second",
        (count + 60) as f64 / accepted.duration_since(started).as_secs_f64(),
    );
    figure("flat_capture_resident_bytes", after.peak_resident_bytes as f64);
    figure(
        "flat_publisher_resident_bytes",
        after_publisher.peak_resident_bytes as f64,
    );
    Ok(())
}

/// As fast as capture reads, behind what is in the queue, with nobody who reads it.
fn with(depth: u64, count: u64) -> anyhow::Result<()> {
    let telegrams = Telegrams::of_household(count as usize + 1);
    let mut installation = Installation::filled(depth)?;
    installation.configure(&Configuration::default())?;
    let started = Instant::now();
    let capture = installation.spawn_capture();
    let serving = installation.wait_until(PATIENCE, |_| true);
    figure(
        &format!("depth_{depth}_start_ms"),
        serving.duration_since(started).as_secs_f64() * 1e3,
    );
    installation.meter.send(telegrams.at(0));
    installation.wait_for_head(depth + 1, PATIENCE);
    let before = Usage::of(capture.id());
    figure(
        &format!("depth_{depth}_resident_bytes"),
        before.resident_bytes as f64,
    );
    for number in 1..=count {
        installation.meter.send(telegrams.at(number));
    }
    installation.wait_for_head(depth + 1 + count, PATIENCE);
    let after = Usage::of(capture.id());
    figure(
        &format!("depth_{depth}_cpu_us"),
        after.cpu_us_each(&before, count),
    );
    figure(
        &format!("depth_{depth}_written_bytes"),
        after.written_each(&before, count),
    );
    Ok(())
}

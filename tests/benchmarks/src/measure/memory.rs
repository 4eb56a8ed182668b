//! Resident memory of each process: at rest, with thirty days that wait, and while they are delivered and replayed.

use std::thread;
use std::time::{Duration, Instant};

use tests::broker::Mosquitto;
use tests::meter::Meter;
use tests::process::Process;

use crate::figures::figure;
use crate::installation::{Configuration, Installation};
use crate::telegrams::Telegrams;
use crate::usage::Usage;

const PATIENCE: Duration = Duration::from_secs(600);
const DAY: u64 = 86_400;

/// Measures.
///
/// # Errors
/// Where something of this machine fails.
pub fn measure(is_quick: bool) -> anyhow::Result<()> {
    let folder = tempfile::tempdir_in(crate::fill::scratch())?;
    let broker = Mosquitto::start(folder.path());
    at_rest(&broker)?;
    let days = if is_quick { 1 } else { 30 };
    figure("memory_days", days as f64);
    under_backlog(&broker, days)
}

fn at_rest(broker: &Mosquitto) -> anyhow::Result<()> {
    let mut installation = Installation::new()?;
    installation.configure(&Configuration {
        broker: broker.port(),
        has_all_topics: true,
        ..Configuration::default()
    })?;
    let (capture, publisher) = (installation.start_capture(), installation.start_publisher());
    let telegrams = Telegrams::of_household(121);
    for number in 0..121 {
        installation.meter.send(telegrams.at(number));
    }
    installation.wait_for_cursor(60, PATIENCE);
    resident("memory_rest", &capture, &publisher);
    Ok(())
}

fn under_backlog(broker: &Mosquitto, days: u64) -> anyhow::Result<()> {
    let telegrams = days * DAY;
    let installation = Installation::filled(telegrams)?;
    // First the broker is away.
    installation.configure(&Configuration {
        has_all_topics: true,
        ..Configuration::default()
    })?;
    let capture = installation.start_capture();
    figure(
        "memory_backlog_alone_capture_bytes",
        Usage::of(capture.id()).resident_bytes as f64,
    );
    let mut publisher = installation.start_publisher();
    publisher.wait_to_say("trying again", PATIENCE);
    resident("memory_waiting", &capture, &publisher);
    publisher.terminate();
    drop(publisher);

    installation.configure(&Configuration {
        broker: broker.port(),
        has_all_topics: true,
        ..Configuration::default()
    })?;
    let publisher = installation.start_publisher();
    installation.wait_for_cursor(telegrams.min(3 * DAY) - 60, PATIENCE);
    peak("memory_delivering", &capture, &publisher);
    drop(publisher);

    let mut replay =
        installation.start_publisher_with(&["replay", "--from", "#1", "--to", &format!("#{}", DAY / 2)]);
    // The peak goes with the process: looked at until it has gone.
    let mut most = Usage::default();
    let started = Instant::now();
    while replay.is_running() {
        let now = Usage::of(replay.id());
        if now.peak_resident_bytes > most.peak_resident_bytes {
            most = now;
        }
        anyhow::ensure!(
            started.elapsed() < PATIENCE,
            "the replay does not end: {}",
            replay.said()
        );
        thread::sleep(Duration::from_millis(10));
    }
    anyhow::ensure!(
        replay.exit_status().is_some_and(|status| status.success()),
        "the replay failed: {}",
        replay.said()
    );
    figure("memory_replay_publisher_bytes", most.peak_resident_bytes as f64);
    figure(
        "memory_replay_capture_bytes",
        Usage::of(capture.id()).peak_resident_bytes as f64,
    );
    Ok(())
}

fn resident(what: &str, capture: &Process, publisher: &Process) {
    figure(
        &format!("{what}_capture_bytes"),
        Usage::of(capture.id()).resident_bytes as f64,
    );
    figure(
        &format!("{what}_publisher_bytes"),
        Usage::of(publisher.id()).resident_bytes as f64,
    );
}

fn peak(what: &str, capture: &Process, publisher: &Process) {
    figure(
        &format!("{what}_capture_bytes"),
        Usage::of(capture.id()).peak_resident_bytes as f64,
    );
    figure(
        &format!("{what}_publisher_bytes"),
        Usage::of(publisher.id()).peak_resident_bytes as f64,
    );
}

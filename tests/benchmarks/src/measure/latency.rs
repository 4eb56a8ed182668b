//! From the last byte of a telegram at the meter's end of the line to the message at a subscriber, each telegram
//! its own message. The next is sent when the one before has come.
//!
//! No reader sees a telegram before it is on disk, so there is no delivery *without* a flush. What the flush costs
//! shows by a queue in memory, where it costs nothing; what a longer `flush_interval` costs shows by a few.

use std::path::Path;
use std::time::{Duration, Instant};

use tests::broker::Mosquitto;
use tests::meter::Meter;
use tests::subscriber::Subscriber;

use crate::figures::{figure, median, quantile};
use crate::fill;
use crate::installation::{Configuration, Installation, TOPIC};
use crate::telegrams::Telegrams;

const PATIENCE: Duration = Duration::from_secs(30);

/// Measures.
///
/// # Errors
/// Where something of this machine fails.
pub fn measure(is_quick: bool) -> anyhow::Result<()> {
    let count = if is_quick { 1_000 } else { 10_000 };
    one("latency", &fill::scratch(), "0s", count)?;
    let memory = Path::new("/dev/shm");
    if memory.is_dir() {
        one("latency_memory", memory, "0s", count)?;
    }
    one(
        "latency_1s",
        &fill::scratch(),
        "1s",
        if is_quick { 5 } else { 30 },
    )
}

fn one(what: &str, parent: &Path, flush_interval: &str, count: u64) -> anyhow::Result<()> {
    let folder = tempfile::tempdir_in(fill::scratch())?;
    let broker = Mosquitto::start(folder.path());
    let subscriber = Subscriber::start(broker.port(), TOPIC);
    let mut installation = Installation::under(parent)?;
    installation.configure(&Configuration {
        send_interval: 0,
        flush_interval,
        broker: broker.port(),
        ..Configuration::default()
    })?;
    let _programs = (installation.start_capture(), installation.start_publisher());
    let telegrams = Telegrams::of_household(count as usize + WARM as usize);
    let mut took = Vec::new();
    for number in 0..count + WARM {
        let (last, before) = telegrams.at(number).split_last().expect("a telegram has bytes");
        installation.meter.send(before);
        let sent_at = Instant::now();
        installation.meter.send(&[*last]);
        let came_at = subscriber.wait_for("a telegram's message", PATIENCE, |messages| {
            messages
                .get(number as usize)
                .map(|message| message.at)
                .ok_or_else(|| format!("{number} wanted"))
        });
        if number >= WARM {
            took.push(came_at.duration_since(sent_at).as_secs_f64() * 1e3);
        }
    }
    figure(&format!("{what}_median_ms"), median(&mut took));
    figure(&format!("{what}_99_ms"), quantile(&mut took, 0.99));
    figure(&format!("{what}_worst_ms"), quantile(&mut took, 1.0));
    figure(&format!("{what}_count"), count as f64);
    Ok(())
}

/// Telegrams until the line's setting is found and everything has been needed once.
const WARM: u64 = 5;

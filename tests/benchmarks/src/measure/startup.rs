//! From the start of `capture` to the first telegram accepted, with a meter on the line that sends all the time,
//! and how large the programs are.

use std::time::{Duration, Instant};

use tests::broker::Mosquitto;
use tests::meter::Meter;

use crate::figures::{figure, median, quantile};
use crate::installation::{Configuration, Installation, programs};
use crate::telegrams::Telegrams;

const PATIENCE: Duration = Duration::from_secs(30);

/// Measures.
///
/// # Errors
/// Where something of this machine fails.
pub fn measure(is_quick: bool) -> anyhow::Result<()> {
    let telegrams = Telegrams::of_household(2);
    let folder = tempfile::tempdir_in(crate::fill::scratch())?;
    let broker = Mosquitto::start(folder.path());
    let (mut accepted, mut connected) = (Vec::new(), Vec::new());
    for _ in 0..if is_quick { 5 } else { 20 } {
        let mut installation = Installation::new()?;
        installation.configure(&Configuration {
            broker: broker.port(),
            ..Configuration::default()
        })?;
        let started = Instant::now();
        let _capture = installation.spawn_capture();
        installation.meter.send(telegrams.at(0));
        let first = installation.wait_for_head(1, PATIENCE);
        accepted.push(first.duration_since(started).as_secs_f64() * 1e3);
        let started = Instant::now();
        let _publisher = installation.start_publisher();
        let reported = installation.wait_until(PATIENCE, |status| {
            status
                .consumers
                .iter()
                .any(|consumer| consumer.report.as_ref().is_some_and(|report| report.is_connected))
        });
        connected.push(reported.duration_since(started).as_secs_f64() * 1e3);
    }
    figure("start_accepted_ms", median(&mut accepted));
    figure("start_accepted_worst_ms", quantile(&mut accepted, 1.0));
    figure("start_connected_ms", median(&mut connected));
    figure(
        "size_capture_bytes",
        std::fs::metadata(&programs().capture)?.len() as f64,
    );
    figure(
        "size_publisher_bytes",
        std::fs::metadata(&programs().publisher)?.len() as f64,
    );
    Ok(())
}

//! A day that waits, from the start of the publisher to the broker's last acknowledgement: through the real
//! capture's socket, to a real mosquitto on this machine and behind a delay. Beside it a bare loop of the same MQTT
//! library that sends the same payloads and does nothing else.
//!
//! What a delay costs at least: with as many bytes in flight as the publisher holds, a bare loop through the same
//! delay. That is the smallest time possible without holding more.

use std::time::{Duration, Instant};

use bytes::Bytes;
use publisher::aggregate::{Aggregator, Output, Settings};
use publisher::decrypt::Decryption;
use publisher::delivery::WINDOW_BYTES;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::Packet;
use rumqttc::v5::{Client, Event, MqttOptions};
use shared::config::OnTrouble;
use shared::record::Record;
use tests::broker::Mosquitto;

use crate::delay_line;
use crate::figures::{figure, median};
use crate::installation::{Configuration, Installation, TOPIC};
use crate::telegrams::{START_US, Telegrams};
use crate::usage::Usage;

const DAY: u64 = 86_400;
const PATIENCE: Duration = Duration::from_secs(600);
const EACH_WAY: Duration = Duration::from_millis(25);

/// Measures.
///
/// # Errors
/// Where something of this machine fails.
pub fn measure(is_quick: bool) -> anyhow::Result<()> {
    let folder = tempfile::tempdir_in(crate::fill::scratch())?;
    let broker = Mosquitto::start(folder.path());
    let rounds = if is_quick { 1 } else { 15 };
    let minutes = payloads(60);
    figure(
        "backlog_payload_bytes",
        minutes.iter().map(Bytes::len).sum::<usize>() as f64,
    );
    let (mut ours, mut bare_loop) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        // In turns, so that both have the same share of what else this machine does.
        bare_loop.push(bare(broker.port(), &minutes, u16::MAX)?);
        ours.push(deliver(broker.port(), 60, false, Some("backlog"))?);
    }
    figure("backlog_local_s", median(&mut ours));
    figure("bare_local_s", median(&mut bare_loop));
    figure(
        "backlog_local_all_topics_s",
        deliver(broker.port(), 60, true, None)?,
    );

    let distant = delay_line::start(broker.port(), EACH_WAY);
    figure("backlog_50ms_s", deliver(distant, 60, false, None)?);
    figure("bare_50ms_s", bare(distant, &minutes, in_flight(&minutes))?);
    drop(minutes);
    let seconds = payloads(1);
    figure("backlog_50ms_each_s", deliver(distant, 1, false, None)?);
    figure("bare_50ms_each_s", bare(distant, &seconds, in_flight(&seconds))?);
    figure("backlog_local_each_s", deliver(broker.port(), 1, false, None)?);
    figure("bare_local_each_s", bare(broker.port(), &seconds, u16::MAX)?);
    Ok(())
}

/// Seconds from the start of the publisher until the whole day is acknowledged and committed.
fn deliver(port: u16, send_interval: u32, has_all_topics: bool, usage: Option<&str>) -> anyhow::Result<f64> {
    // One more than a day: its first closes the last interval of the day.
    let installation = Installation::filled(DAY + 1)?;
    installation.configure(&Configuration {
        send_interval,
        broker: port,
        has_all_topics,
        ..Configuration::default()
    })?;
    let capture = installation.start_capture();
    let before = Usage::of(capture.id());
    let started = Instant::now();
    let publisher = installation.start_publisher();
    let done = installation.wait_for_cursor(DAY, PATIENCE);
    if let Some(what) = usage {
        let (after, publisher) = (Usage::of(capture.id()), Usage::of(publisher.id()));
        figure(&format!("{what}_capture_cpu_us"), after.cpu_us_each(&before, DAY));
        figure(
            &format!("{what}_publisher_cpu_us"),
            publisher.cpu_us_each(&Usage::default(), DAY),
        );
        figure(
            &format!("{what}_publisher_peak_bytes"),
            publisher.peak_resident_bytes as f64,
        );
    }
    Ok(done.duration_since(started).as_secs_f64())
}

/// What the publisher makes of that day, by its own library.
fn payloads(interval_seconds: u32) -> Vec<Bytes> {
    let settings = Settings {
        interval_seconds,
        max_payload_bytes: 512 * 1024,
        queue: "abcd2345".to_owned(),
        has_summary: false,
        has_state: false,
    };
    let mut aggregator = Aggregator::new(settings, Decryption::new(None, OnTrouble::Wait));
    let mut outputs = Vec::new();
    let mut payloads = Vec::new();
    let telegrams = Telegrams::of_household(DAY as usize);
    for sequence in 1..=DAY + 1 {
        let record = Record {
            sequence,
            captured_at_us: START_US + sequence as i64 * 1_000_000,
            silence_ms: 1_000,
            telegram: telegrams.at(sequence - 1).to_vec().into(),
        };
        let _ = aggregator.take(&record, &mut outputs);
        payloads.extend(outputs.drain(..).filter_map(|output| match output {
            Output::Readings { payload, .. } => Some(Bytes::from(payload)),
            _ => None,
        }));
    }
    payloads
}

/// How many of these are as many bytes as the publisher holds unacknowledged.
fn in_flight(payloads: &[Bytes]) -> u16 {
    let mean = payloads.iter().map(Bytes::len).sum::<usize>() / payloads.len();
    (WINDOW_BYTES / mean).clamp(1, usize::from(u16::MAX)) as u16
}

/// Seconds from connecting to the last acknowledgement.
fn bare(port: u16, payloads: &[Bytes], in_flight: u16) -> anyhow::Result<f64> {
    let started = Instant::now();
    let mut options = MqttOptions::new("bare", "127.0.0.1", port);
    options.set_outgoing_inflight_upper_limit(in_flight);
    let (client, mut connection) = Client::new(options, 256);
    let sender = std::thread::spawn({
        let payloads = payloads.to_vec();
        move || {
            payloads
                .into_iter()
                .try_for_each(|payload| client.publish(TOPIC, QoS::AtLeastOnce, false, payload))
        }
    });
    let mut open = payloads.len();
    for event in connection.iter() {
        if matches!(event?, Event::Incoming(Packet::PubAck(_))) {
            open -= 1;
            if open == 0 {
                break;
            }
        }
    }
    let seconds = started.elapsed().as_secs_f64();
    anyhow::ensure!(
        open == 0,
        "{open} of {} messages were not acknowledged",
        payloads.len()
    );
    drop(connection);
    drop(sender.join());
    Ok(seconds)
}

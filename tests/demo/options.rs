//! What can be asked of the demo.

use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;

/// Shows the smart-meter reader at work: meter, capture, queue, publisher, broker, subscriber.
///
/// Without any flag it needs nothing but this source: the meter and the broker are simulated, capture and
/// publisher are the real programs. It takes about half a minute and ends with 0 only if no telegram was
/// lost.
///
/// Exit codes: 0 nothing was lost, 1 something was, or could not be started, 64 usage, 130 interrupted.
#[derive(Debug, Clone, Parser)]
#[command(
    name = "demo",
    version,
    after_help = "Examples:\n  cargo run --release --bin demo\n  cargo run --release --bin demo -- --usb /dev/ttyUSB0 --mqtt_address localhost:1883"
)]
pub(crate) struct Options {
    /// Read this meter in place of the simulated one: a serial device or tcp://host:port
    #[arg(long, value_name = "PORT", value_parser = port)]
    pub(crate) usb: Option<String>,

    /// Publish to this broker in place of the embedded one, host:port without TLS. Only the connection of
    /// the demo's publisher is cut for a while: the broker itself is left alone
    #[arg(long = "mqtt_address", value_name = "ADDRESS", value_parser = broker)]
    pub(crate) mqtt_address: Option<(String, u16)>,

    /// Java properties file with the broker's `user` and `password`
    #[arg(long = "mqtt_cred_file", value_name = "FILE")]
    pub(crate) mqtt_cred_file: Option<PathBuf>,

    /// Topic of the readings
    #[arg(long = "mqtt_topic", value_name = "TOPIC", default_value = "smartmeter-demo", value_parser = shared::config::topic::topic)]
    pub(crate) mqtt_topic: String,

    /// Telegrams that the simulated meter sends a second
    #[arg(long, value_name = "TELEGRAMS", default_value_t = 25, value_parser = clap::value_parser!(u32).range(1..=5_000))]
    pub(crate) rate: u32,

    /// Seconds with the broker before it goes away
    #[arg(long, value_name = "SECONDS", default_value_t = 8, value_parser = clap::value_parser!(u64).range(..=86_400))]
    pub(crate) before: u64,

    /// Seconds without the broker
    #[arg(long, value_name = "SECONDS", default_value_t = 10, value_parser = clap::value_parser!(u64).range(..=86_400))]
    pub(crate) outage: u64,

    /// Which household; the same number gives the same one
    #[arg(long, value_name = "NUMBER", default_value_t = 6)]
    pub(crate) seed: u64,
}

impl Options {
    pub(crate) fn before(&self) -> Duration {
        Duration::from_secs(self.before)
    }

    pub(crate) fn outage(&self) -> Duration {
        Duration::from_secs(self.outage)
    }
}

/// A serial device that is there, or tcp://host:port.
fn port(text: &str) -> Result<String, String> {
    if let Some(address) = text.strip_prefix("tcp://") {
        let port = address.rsplit_once(':').map(|(_, port)| port.parse::<u16>());
        return match port {
            Some(Ok(_)) => Ok(text.to_owned()),
            _ => Err("expected tcp://host:port".to_owned()),
        };
    }
    match std::fs::metadata(text) {
        Ok(_) => Ok(text.to_owned()),
        Err(error) => Err(format!("{error}; expected a serial device or tcp://host:port")),
    }
}

/// Host and port of a broker.
fn broker(text: &str) -> Result<(String, u16), String> {
    let plain = text
        .strip_prefix("mqtt://")
        .or_else(|| text.strip_prefix("tcp://"))
        .unwrap_or(text);
    if plain.contains("://") {
        return Err(
            "the demo stands between publisher and broker to cut the connection, which it cannot do with TLS; \
             expected host:port"
                .to_owned(),
        );
    }
    let (host, port) = match plain.rsplit_once(':') {
        Some((host, port)) => (host, port),
        None => (plain, "1883"),
    };
    let port = port
        .parse()
        .ok()
        .filter(|port| *port != 0)
        .ok_or_else(|| format!("`{port}` is no port; expected host:port"))?;
    let host = host.trim_start_matches('[').trim_end_matches(']');
    Ok((if host.is_empty() { "localhost" } else { host }.to_owned(), port))
}

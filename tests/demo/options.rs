//! What can be asked of the demo.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::Parser;

/// Shows the smart-meter reader at work: meter, capture, queue, publisher, broker, subscriber.
///
/// Without any flag it needs nothing but this source: the meter and the broker are simulated, capture and
/// publisher are the real programs. It takes about half a minute and ends with 0 only if no telegram was
/// lost.
#[derive(Debug, Clone, Parser)]
#[command(
    name = "demo",
    after_help = "Examples:\n  cargo run --release --bin demo\n  cargo run --release --bin demo -- --usb /dev/ttyUSB0 --mqtt_address localhost:1883"
)]
pub(crate) struct Options {
    /// Read this meter in place of the simulated one: a serial device or tcp://host:port
    #[arg(long, value_name = "PORT")]
    pub(crate) usb: Option<String>,

    /// Publish to this broker in place of the embedded one, host:port without TLS. Only the connection of
    /// the demo's publisher is cut for a while: the broker itself is left alone
    #[arg(long = "mqtt_address", value_name = "ADDRESS")]
    pub(crate) mqtt_address: Option<String>,

    /// Java properties file with the broker's `user` and `password`
    #[arg(long = "mqtt_cred_file", value_name = "FILE")]
    pub(crate) mqtt_cred_file: Option<PathBuf>,

    /// Topic of the readings
    #[arg(long = "mqtt_topic", value_name = "TOPIC", default_value = "smartmeter-demo")]
    pub(crate) mqtt_topic: String,

    /// Telegrams that the simulated meter sends a second
    #[arg(long, value_name = "TELEGRAMS", default_value_t = 25, value_parser = clap::value_parser!(u32).range(1..=5_000))]
    pub(crate) rate: u32,

    /// Seconds with the broker before it goes away
    #[arg(long, value_name = "SECONDS", default_value_t = 8)]
    pub(crate) before: u64,

    /// Seconds without the broker
    #[arg(long, value_name = "SECONDS", default_value_t = 10)]
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

    /// Host and port of the real broker, where one was named.
    pub(crate) fn broker(&self) -> anyhow::Result<Option<(String, u16)>> {
        let Some(address) = &self.mqtt_address else {
            return Ok(None);
        };
        let plain = address
            .strip_prefix("mqtt://")
            .or_else(|| address.strip_prefix("tcp://"))
            .unwrap_or(address);
        if plain.contains("://") {
            bail!(
                "--mqtt_address {address}: the demo stands between publisher and broker to cut the connection, which it cannot do with TLS; expected host:port"
            );
        }
        let (host, port) = plain.rsplit_once(':').unwrap_or((plain, "1883"));
        let port = port
            .parse()
            .with_context(|| format!("--mqtt_address {address}: {port} is no port"))?;
        Ok(Some((
            if host.is_empty() { "localhost" } else { host }.to_owned(),
            port,
        )))
    }
}

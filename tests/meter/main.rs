//! The simulated household's meter as a program: it listens like a network P1 adapter and sends a
//! telegram of DSMR 5 every second, with the time that it is. For trying the containers without hardware.

use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use clap::Parser;
use tests::household::{Dialect, Household, Settings};
use tests::meter::{Meter, TcpMeter};

/// A simulated smart meter on a TCP port.
#[derive(Debug, Parser)]
#[command(version, after_help = "Example: meter --listen 127.0.0.1:2001")]
struct Arguments {
    /// Where to listen.
    #[arg(long, default_value = "127.0.0.1:2001", value_name = "ADDRESS:PORT")]
    listen: SocketAddr,
    /// Which household.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let mut settings = Settings::seeded(arguments.seed, Dialect::Dsmr5);
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
    settings.starts_at = i64::try_from(now)?;
    let mut household = Household::new(settings);
    let mut meter = TcpMeter::listen_at(arguments.listen)?;
    let started = Instant::now();
    for second in 1.. {
        let telegram = household.telegram();
        // A meter sends whether anybody listens or not.
        let _ = meter.send_within(&telegram.bytes, Duration::from_millis(200));
        thread::sleep((started + Duration::from_secs(second)).saturating_duration_since(Instant::now()));
    }
    Ok(())
}

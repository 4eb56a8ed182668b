//! What stands on the stage: meter, capture, publisher, proxy, broker and subscriber, all started and
//! stopped by this process. Dropping it ends both programs, whatever the reason.

use std::net::{TcpStream, ToSocketAddrs};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, ExitCode};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow, bail};
use shared::config::credentials::Credentials;
use shared::wire::Status;
use shared::wire::client::Client;
use tempfile::TempDir;
use tests::broker::Embedded;
use tests::household::{Dialect, Household, Settings, Truth};
use tests::meter::{Meter, PtyMeter, TcpMeter};
use tests::process::Process;
use tests::proxy::Proxy;
use tests::subscriber::Subscriber;

use crate::options::Options;

pub(crate) struct Stage {
    // In the order in which they are to be dropped: first who sends, last what is sent through.
    pub(crate) meter: Option<SimulatedMeter>,
    publisher: Process,
    capture: Process,
    pub(crate) subscriber: Subscriber,
    pub(crate) proxy: Proxy,
    status: Client,
    pub(crate) meter_name: String,
    pub(crate) broker_name: String,
    _folder: TempDir,
}

impl Stage {
    /// Starts everything; the meter is silent yet.
    pub(crate) fn set(options: &Options, is_interrupted: &AtomicBool) -> anyhow::Result<Self> {
        let folder = tempfile::Builder::new()
            .prefix("smartmeter-demo-")
            .tempdir()
            .context("no scratch folder can be made")?;
        let (proxy, broker_name) = match &options.mqtt_address {
            Some((host, port)) => {
                reach(host, *port)?;
                (Proxy::to_host(host, *port), format!("{host}:{port}"))
            }
            None => (
                Proxy::to(Embedded::start().map_err(|error| anyhow!(error))?.port()),
                "embedded".to_owned(),
            ),
        };
        let credentials = options
            .mqtt_cred_file
            .as_deref()
            .map(read_credentials)
            .transpose()?;
        let filter = format!("{}/#", options.mqtt_topic);
        let pair = credentials
            .as_ref()
            .map(|(user, password)| (user.as_str(), password.as_str()));
        // Straight to the broker, past the proxy: the subscriber is somebody else, whom the outage of the
        // publisher's connection does not concern.
        let (host, port) = proxy.target();
        let subscriber = Subscriber::try_start_at(&host, port, &filter, pair, PATIENCE)
            .map_err(|error| anyhow!("the broker does not take a subscriber: {error}"))?;

        let mut line: Option<Box<dyn Meter>> = None;
        let (address, meter_name) = match &options.usb {
            Some(port) => (port.clone(), port.clone()),
            None => {
                let meter = simulated_line(folder.path());
                let address = meter.address();
                line = Some(meter);
                (address, "simulated".to_owned())
            }
        };
        let configuration = configuration(options, &address, proxy.port());
        std::fs::write(folder.path().join("demo.yml"), configuration)
            .context("the scratch folder cannot be written to")?;
        let start = |name| {
            let mut command = program(name)?;
            command.current_dir(folder.path()).args(["-config", "demo.yml"]);
            anyhow::Ok(Process::start(name, &mut command))
        };
        let (mut capture, publisher) = (start(CAPTURE)?, start(PUBLISHER)?);

        let status = connect(&folder.path().join("queue.sock"), &mut capture, is_interrupted)?;
        let household = Household::new(Settings {
            phases: 3,
            solar_peak_w: 4_800,
            gas_channel: Some(1),
            water_channel: None,
            // Midday today, so that the sun shines.
            starts_at: now() - now() % 86_400 + 11 * 3_600,
            ..Settings::seeded(options.seed, Dialect::Dsmr5)
        });
        let mut stage = Self {
            meter: line.map(|line| SimulatedMeter::new(household, line, options.rate)),
            publisher,
            capture,
            subscriber,
            proxy,
            status,
            meter_name,
            broker_name,
            _folder: folder,
        };
        stage.wait_for_the_port(is_interrupted)?;
        Ok(stage)
    }

    /// How capture says it is doing.
    pub(crate) fn status(&mut self) -> anyhow::Result<Status> {
        let status = self.status.status();
        status.with_context(|| format!("capture does not answer. {}", self.said()))
    }

    /// Fails where one of the programs has ended, or the meter cannot send.
    pub(crate) fn check(&mut self) -> anyhow::Result<()> {
        for process in [&mut self.capture, &mut self.publisher] {
            if let Some(status) = process.exit_status() {
                bail!("a process has ended with {status}. It said:\n{}", process.said());
            }
        }
        if let Some(trouble) = self.meter.as_ref().and_then(SimulatedMeter::trouble) {
            bail!("the simulated meter cannot send: {trouble}. {}", self.said());
        }
        Ok(())
    }

    /// The last lines of both programs.
    pub(crate) fn said(&self) -> String {
        let tail = |process: &Process| {
            let said = process.said();
            let lines: Vec<&str> = said.lines().collect();
            lines[lines.len().saturating_sub(12)..].join("\n    ")
        };
        format!(
            "capture said last:\n    {}\n  publisher said last:\n    {}",
            tail(&self.capture),
            tail(&self.publisher)
        )
    }

    /// Ends both programs in order and says how long each took.
    pub(crate) fn strike(&mut self) -> [(&'static str, Duration); 2] {
        [
            ("publisher", self.publisher.terminate().1),
            ("capture", self.capture.terminate().1),
        ]
    }

    fn wait_for_the_port(&mut self, is_interrupted: &AtomicBool) -> anyhow::Result<()> {
        let started = Instant::now();
        loop {
            let status = self.status()?;
            if status.port_state.starts_with("open")
                || status.accepted > 0
                || is_interrupted.load(Ordering::Relaxed)
            {
                return Ok(());
            }
            if started.elapsed() > PATIENCE {
                bail!(
                    "the meter's port {} is not open: {}. {}",
                    status.port,
                    status.port_state,
                    self.said()
                );
            }
            self.check()?;
            thread::sleep(Duration::from_millis(20));
        }
    }
}

/// How long a broker, capture and the port may take before the demo says what is wrong.
const PATIENCE: Duration = Duration::from_secs(5);
const CAPTURE: &str = "capture";
const PUBLISHER: &str = "publisher";

/// This very program under the name of one of the two that are linked into it.
fn program(name: &str) -> anyhow::Result<Command> {
    let mut command =
        Command::new(std::env::current_exe().context("where this program is cannot be found out")?);
    command.arg0(name);
    tests::process::clean_environment(&mut command);
    Ok(command)
}

/// Runs as one of the two programs where it was started under its name.
pub(crate) fn as_program() -> Option<ExitCode> {
    let name = std::env::args_os().next()?;
    if name != CAPTURE && name != PUBLISHER {
        return None;
    }
    // A demo that is killed takes both programs along.
    let _ = rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::TERM));
    Some(if name == CAPTURE {
        capture::cli::main(std::env::args_os()).into()
    } else {
        publisher::cli::run(std::env::args_os()).into()
    })
}

/// Fails with the reason when nothing takes a connection there.
fn reach(host: &str, port: u16) -> anyhow::Result<()> {
    let addresses = (host, port)
        .to_socket_addrs()
        .map_err(|error| anyhow!("--mqtt_address: no host named {host} is known ({error})"))?;
    let mut last = None;
    for address in addresses {
        match TcpStream::connect_timeout(&address, PATIENCE) {
            Ok(_) => return Ok(()),
            Err(error) => last = Some(error),
        }
    }
    let error = last.map_or_else(|| "it has no address".to_owned(), |error| error.to_string());
    bail!("--mqtt_address: no broker takes a connection at {host}:{port}: {error}")
}

/// A pty, or TCP where this machine has none to give.
fn simulated_line(folder: &Path) -> Box<dyn Meter> {
    match PtyMeter::try_plug_in(&folder.join("ttyUSB0")) {
        Ok(meter) => Box::new(meter),
        Err(_) => Box::new(TcpMeter::listen()),
    }
}

fn configuration(options: &Options, usb: &str, port: u16) -> String {
    let topic = &options.mqtt_topic;
    let credentials = match &options.mqtt_cred_file {
        Some(file) => format!(
            "  cred_file: {:?}\n",
            std::path::absolute(file).unwrap_or_else(|_| file.clone())
        ),
        None => String::new(),
    };
    format!(
        "send_interval: 0\n\
         usb: {usb:?}\n\
         mqtt:\n\
         \x20 address: \"127.0.0.1:{port}\"\n\
         \x20 topic: {topic:?}\n\
         \x20 availability_topic: \"{topic}/availability\"\n\
         \x20 client_id: \"smartmeter-demo-{}\"\n\
         {credentials}\
         queue:\n\
         \x20 path: \"queue\"\n\
         \x20 socket: \"queue.sock\"\n",
        std::process::id(),
    )
}

fn connect(socket: &Path, capture: &mut Process, is_interrupted: &AtomicBool) -> anyhow::Result<Client> {
    let started = Instant::now();
    loop {
        match Client::connect(socket, Duration::from_secs(10)) {
            Ok(client) => return Ok(client),
            Err(error) => {
                if let Some(status) = capture.exit_status() {
                    bail!("capture has ended with {status}. It said:\n{}", capture.said());
                }
                if started.elapsed() > PATIENCE || is_interrupted.load(Ordering::Relaxed) {
                    bail!(
                        "capture does not serve its queue: {error}. It said:\n{}",
                        capture.said()
                    );
                }
            }
        }
        thread::sleep(Duration::from_millis(20));
    }
}

fn read_credentials(file: &Path) -> anyhow::Result<(String, String)> {
    let (credentials, _) = Credentials::load(file)?;
    Ok((
        credentials.user,
        credentials
            .password
            .map(|password| password.expose().to_owned())
            .unwrap_or_default(),
    ))
}

fn now() -> i64 {
    std::time::UNIX_EPOCH
        .elapsed()
        .map_or(0, |since| since.as_secs() as i64)
}

/// The meter's side: a thread that lives the household's life faster than the clock.
pub(crate) struct SimulatedMeter {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    is_sending: AtomicBool,
    is_ending: AtomicBool,
    sent: AtomicU64,
    truths: Mutex<Vec<Truth>>,
    trouble: Mutex<Option<String>>,
}

impl SimulatedMeter {
    fn new(household: Household, line: Box<dyn Meter>, rate: u32) -> Self {
        let shared = Arc::new(Shared::default());
        let thread = thread::spawn({
            let shared = Arc::clone(&shared);
            move || send(household, line, rate, &shared)
        });
        Self {
            shared,
            thread: Some(thread),
        }
    }

    /// It begins, or goes on, to send.
    pub(crate) fn begin(&self) {
        self.shared.is_sending.store(true, Ordering::Relaxed);
    }

    /// It stops after the telegram that it is sending.
    pub(crate) fn end(&mut self) {
        self.shared.is_ending.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }

    /// Telegrams sent in full.
    pub(crate) fn sent(&self) -> u64 {
        self.shared.sent.load(Ordering::Relaxed)
    }

    /// The truth about each of them.
    pub(crate) fn truths(&self) -> Vec<Truth> {
        self.shared
            .truths
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn trouble(&self) -> Option<String> {
        self.shared
            .trouble
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

impl Drop for SimulatedMeter {
    fn drop(&mut self) {
        self.end();
    }
}

fn send(household: Household, mut line: Box<dyn Meter>, rate: u32, shared: &Shared) {
    let pause = Duration::from_secs(1) / rate;
    let mut due = Instant::now();
    for telegram in household {
        loop {
            if shared.is_ending.load(Ordering::Relaxed) {
                return;
            }
            let is_sending = shared.is_sending.load(Ordering::Relaxed);
            let now = Instant::now();
            if is_sending && now >= due {
                break;
            }
            if !is_sending {
                due = now;
            }
            thread::sleep(
                pause
                    .min(Duration::from_millis(20))
                    .min(due.saturating_duration_since(now) + Duration::from_millis(1)),
            );
        }
        // A meter that was held up does not catch up.
        due = (due + pause).max(Instant::now());
        if let Err(error) = line.send_within(&telegram.bytes, Duration::from_secs(10)) {
            *shared.trouble.lock().unwrap_or_else(PoisonError::into_inner) = Some(error.to_string());
            return;
        }
        shared
            .truths
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(telegram.truth);
        shared.sent.fetch_add(1, Ordering::Relaxed);
    }
}

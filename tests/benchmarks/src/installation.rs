//! The real programs of an installation: a meter, a configuration, `capture`, `publisher`.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use shared::wire::Status;
use shared::wire::client::Client;
use tempfile::TempDir;
use tests::deadline::SOON;
use tests::meter::{Meter, PtyMeter};
use tests::process::Process;
use tests::programs::{self, Programs};

use crate::fill;

/// The installation, in a scratch folder of its own.
pub struct Installation {
    folder: TempDir,
    /// The meter, on a pty.
    pub meter: PtyMeter,
}

/// What is configured.
#[derive(Debug, Clone)]
pub struct Configuration<'a> {
    /// `send_interval`.
    pub send_interval: u32,
    /// `queue.flush_interval`.
    pub flush_interval: &'a str,
    /// Port of the broker on this machine.
    pub broker: u16,
    /// Whether summary, state and availability are published too.
    pub has_all_topics: bool,
}

/// Where readings are published.
pub const TOPIC: &str = "energy/smartmeter";

impl Default for Configuration<'_> {
    fn default() -> Self {
        Self {
            send_interval: 60,
            flush_interval: "0s",
            // Nothing listens there.
            broker: 9,
            has_all_topics: false,
        }
    }
}

impl Installation {
    /// On the disk that is measured.
    ///
    /// # Errors
    /// Where its folder cannot be made.
    pub fn new() -> anyhow::Result<Self> {
        Self::under(&fill::scratch())
    }

    /// In a folder under this one.
    ///
    /// # Errors
    /// Where it cannot be made.
    pub fn under(parent: &Path) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir_in(parent)?;
        let meter = PtyMeter::try_plug_in(&folder.path().join("meter"))?;
        Ok(Self { folder, meter })
    }

    /// The same with so many telegrams in its queue.
    ///
    /// # Errors
    /// Where they cannot be written.
    pub fn filled(telegrams: u64) -> anyhow::Result<Self> {
        let installation = Self::new()?;
        fill::filled(telegrams, &installation.queue())?;
        Ok(installation)
    }

    /// The queue's folder.
    pub fn queue(&self) -> PathBuf {
        self.folder.path().join("queue")
    }

    /// Its folder.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Writes the configuration.
    ///
    /// # Errors
    /// Where the file cannot be written.
    pub fn configure(&self, configuration: &Configuration<'_>) -> anyhow::Result<()> {
        let Configuration {
            send_interval,
            flush_interval,
            broker,
            has_all_topics,
        } = configuration;
        let further = if *has_all_topics {
            format!(
                "  summary_topic: {TOPIC}/summary\n  state_topic: {TOPIC}/state\n  availability_topic: {TOPIC}/availability\n"
            )
        } else {
            String::new()
        };
        // Several installations have one broker, and a second client of the same name would end the first one's
        // connection.
        let name = self
            .folder
            .path()
            .file_name()
            .unwrap_or_default()
            .to_string_lossy();
        let text = format!(
            "send_interval: {send_interval}\nusb: {:?}\nmqtt:\n  address: 127.0.0.1:{broker}\n  \
             client_id: 'bench{name}'\n  topic: {TOPIC}\n{further}\
             queue:\n  path: queue\n  socket: queue.sock\n  retention: forever\n  max_size: 64GiB\n  \
             flush_interval: {flush_interval}\n",
            self.meter.address()
        );
        std::fs::write(self.folder.path().join("smartmeter.yml"), text)?;
        Ok(())
    }

    /// Starts `capture`, and returns when it serves its queue.
    pub fn start_capture(&self) -> Process {
        let capture = self.spawn_capture();
        self.wait_until(SOON, |_| true);
        capture
    }

    /// Starts `capture` without waiting for anything.
    pub fn spawn_capture(&self) -> Process {
        programs::start_capture(self.folder.path(), &["-config", "smartmeter.yml"])
    }

    /// Starts `publisher`.
    pub fn start_publisher(&self) -> Process {
        programs::start_publisher(self.folder.path(), &["-config", "smartmeter.yml"])
    }

    /// Starts `publisher` with these arguments beside the configuration.
    pub fn start_publisher_with(&self, arguments: &[&str]) -> Process {
        let arguments = [&["-config", "smartmeter.yml"], arguments].concat();
        programs::start_publisher(self.folder.path(), &arguments)
    }

    /// Waits until capture says of itself what is wanted, and gives when that was. Panics at the deadline.
    pub fn wait_until(&self, deadline: Duration, is_wanted: impl Fn(&Status) -> bool) -> Instant {
        self.look_until(deadline, LOOK_AGAIN, is_wanted)
    }

    fn look_until(
        &self,
        deadline: Duration,
        pause: Duration,
        is_wanted: impl Fn(&Status) -> bool,
    ) -> Instant {
        let started = Instant::now();
        let mut client = None;
        let mut last = None;
        loop {
            if client.is_none() {
                client = Client::connect(&self.folder.path().join("queue.sock"), SOON).ok();
            }
            match client.as_mut().map(Client::status) {
                Some(Ok(status)) if is_wanted(&status) => return Instant::now(),
                Some(Ok(status)) => last = Some(status),
                Some(Err(_)) => client = None,
                None => {}
            }
            assert!(
                started.elapsed() < deadline,
                "waited {deadline:?} for capture; it said last: {last:?}"
            );
            std::thread::sleep(pause);
        }
    }

    /// Waits until this has been accepted.
    pub fn wait_for_head(&self, head: u64, deadline: Duration) -> Instant {
        self.wait_until(deadline, |status| status.head >= head)
    }

    /// As [`Self::wait_for_cursor`], where a publisher that has caught up takes its time.
    pub fn wait_for_cursor_unhurried(&self, cursor: u64, deadline: Duration) -> Instant {
        self.look_until(deadline, LOOK_SELDOM, |status| {
            status.consumers.iter().any(|consumer| consumer.cursor >= cursor)
        })
    }

    /// Waits until the publisher has committed up to this. Asks seldom enough that answering costs capture a hundredth
    /// of a processor, and more often towards the end.
    pub fn wait_for_cursor(&self, cursor: u64, deadline: Duration) -> Instant {
        let is_at =
            |status: &Status, cursor| status.consumers.iter().any(|consumer| consumer.cursor >= cursor);
        let nearly = cursor - cursor / 10;
        self.look_until(deadline, LOOK_BESIDE_WORK, |status| is_at(status, nearly));
        self.look_until(deadline, LOOK_AGAIN, |status| is_at(status, cursor))
    }
}

/// The programs that are measured.
pub fn programs() -> &'static Programs {
    Programs::built()
}

const LOOK_AGAIN: Duration = Duration::from_millis(2);
/// Between two looks beside what is measured.
const LOOK_BESIDE_WORK: Duration = Duration::from_millis(10);
const LOOK_SELDOM: Duration = Duration::from_secs(1);

//! A real mosquitto: a process with a configuration, a port and a folder of its own.

use std::fs;
use std::net::{Ipv4Addr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use crate::deadline::SOON;
use crate::ports;
use crate::process::Process;

/// The broker. It listens on its port of 127.0.0.1 while it runs.
#[derive(Debug)]
pub struct Mosquitto {
    folder: PathBuf,
    port: u16,
    process: Option<Process>,
}

impl Mosquitto {
    /// Starts one that takes anybody and keeps its files under this folder.
    pub fn start(folder: &Path) -> Self {
        Self::start_with(folder, "allow_anonymous true\n")
    }

    /// Starts one with these further lines of configuration, which say who may come in.
    pub fn start_with(folder: &Path, configuration: &str) -> Self {
        let folder = folder.join("mosquitto");
        fs::create_dir_all(&folder).expect("the broker's folder can be made");
        let mut broker = Self {
            folder,
            port: ports::free(),
            process: None,
        };
        broker.configure(configuration);
        broker.start_again();
        broker
    }

    /// Writes its configuration anew, for the next start.
    pub fn configure(&self, further: &str) {
        // Bounds off: a broker that drops messages for a slow subscriber would make this a test of
        // mosquitto. Persistent, so that a stop and a start lose nothing of it either.
        let configuration = format!(
            "listener {port} 127.0.0.1\n\
             user root\n\
             persistence true\n\
             persistence_location {folder}/\n\
             max_queued_messages 0\n\
             max_queued_bytes 0\n\
             max_inflight_messages 0\n\
             max_inflight_bytes 0\n\
             message_size_limit 0\n\
             set_tcp_nodelay true\n\
             log_dest stderr\n\
             log_type error\n\
             log_type warning\n\
             log_type notice\n\
             {further}",
            port = self.port,
            folder = self.folder.display(),
        );
        fs::write(self.file(), configuration).expect("the broker's configuration can be written");
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Its process, while it runs.
    pub fn process(&self) -> &Process {
        self.process.as_ref().expect("the broker has been started")
    }

    /// Stops it in order: it writes what it has to its folder.
    pub fn stop(&mut self) {
        let mut process = self.process.take().expect("the broker runs");
        let (status, _) = process.terminate();
        assert!(
            status.success(),
            "mosquitto ended with {status}; it said:\n{}",
            process.said()
        );
    }

    /// `kill -9`.
    pub fn kill(&mut self) {
        self.process.take().expect("the broker runs").kill();
    }

    /// Starts it on the same port and folder, and waits until it listens.
    pub fn start_again(&mut self) {
        assert!(self.process.is_none(), "the broker runs already");
        let mut command = Command::new(program());
        command.arg("-c").arg(self.file());
        // As the distribution runs it. With what the benchmark sets for the two programs it is another broker.
        for setting in ["MALLOC_ARENA_MAX", "MALLOC_TRIM_THRESHOLD_"] {
            command.env_remove(setting);
        }
        let mut process = Process::start("mosquitto", &mut command);
        let started = Instant::now();
        while TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).is_err() {
            assert!(
                process.is_running() && started.elapsed() < SOON,
                "mosquitto does not listen on {}; it said:\n{}",
                self.port,
                process.said()
            );
            std::thread::sleep(Duration::from_millis(5));
        }
        self.process = Some(process);
    }

    fn file(&self) -> PathBuf {
        self.folder.join("mosquitto.conf")
    }
}

/// Debian puts it where the path of a user who is not root does not lead.
fn program() -> &'static str {
    ["/usr/sbin/mosquitto", "/usr/local/sbin/mosquitto"]
        .into_iter()
        .find(|path| Path::new(path).exists())
        .unwrap_or("mosquitto")
}

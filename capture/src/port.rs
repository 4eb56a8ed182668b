//! The meter's port: a serial device, a TCP connection, a file or standard input, as one stream of bytes.
//!
//! Invariant: reading never waits to fill a buffer, so that a telegram's last byte is handed on
//! when it comes; every wait ends at once when capture is asked to stop, except that a name is looked up
//! and a connection made on a thread of its own, which is left behind; no listening socket is opened.

pub mod line_search;
pub mod pacing;
pub mod serial;
pub mod stop;
pub mod tcp;
pub mod trouble;

use std::fs::File;
use std::net::TcpStream;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::OFlags;
use rustix::io::Errno;
use serde::{Deserialize, Serialize};
use shared::config::PortAddress;

use serial::SerialPort;
use stop::Stop;
use trouble::Trouble;

/// Speed and frame of a serial line, as found or as configured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Line {
    /// 115200 baud, 8 data bits, no parity, 1 stop bit.
    Baud115200,
    /// 9600 baud, 7 data bits, even parity, 1 stop bit.
    Baud9600,
}

impl Line {
    /// The other of the two that meters use.
    #[must_use]
    pub fn other(self) -> Self {
        match self {
            Self::Baud115200 => Self::Baud9600,
            Self::Baud9600 => Self::Baud115200,
        }
    }
}

impl std::fmt::Display for Line {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Baud115200 => "115200-8N1",
            Self::Baud9600 => "9600-7E1",
        })
    }
}

/// An open port.
#[derive(Debug)]
pub enum Port {
    /// A serial device.
    Serial(SerialPort),
    /// A TCP connection.
    Tcp(TcpStream),
    /// A file.
    File(File),
    /// Standard input.
    Stdin(std::io::Stdin),
}

/// What came of a read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Came {
    /// This many bytes are in the buffer, at least one.
    Bytes(usize),
    /// Nothing within the time given, or capture is asked to stop.
    Nothing,
    /// There is an end, and this is it: of a file, or of a connection that the other side has closed.
    End,
}

impl Port {
    /// Opens what is at `address`; a serial device at `line`.
    ///
    /// # Errors
    ///
    /// In words that a person can act on. Nothing stays open.
    pub fn open(address: &PortAddress, line: Line, stop: &Stop) -> Result<Self, Trouble> {
        match address {
            PortAddress::Serial(device) => SerialPort::open(device, line).map(Self::Serial),
            PortAddress::Tcp { host, port } => tcp::connect(host, *port, stop).map(Self::Tcp),
            PortAddress::File(path) => {
                let problem = |source| Trouble::File {
                    path: path.clone(),
                    source,
                };
                // A pipe that nobody writes to yet is waited for by `read`, which can be stopped.
                let no_wait = OFlags::NONBLOCK.bits() as i32;
                let file = File::options()
                    .read(true)
                    .custom_flags(no_wait)
                    .open(path)
                    .map_err(problem)?;
                rustix::fs::fcntl_setfl(&file, OFlags::empty()).map_err(|errno| problem(errno.into()))?;
                if file.metadata().map_err(problem)?.is_dir() {
                    return Err(problem(std::io::ErrorKind::IsADirectory.into()));
                }
                Ok(Self::File(file))
            }
            PortAddress::Stdin => Ok(Self::Stdin(std::io::stdin())),
        }
    }

    /// Waits at most `longest` for bytes and reads what is there, without waiting for more.
    ///
    /// # Errors
    ///
    /// The port is gone or broken: open it again.
    pub fn read(&self, buffer: &mut [u8], longest: Duration, stop: &Stop) -> Result<Came, Trouble> {
        let timeout = rustix::event::Timespec::try_from(longest).ok();
        let mut waiting = [PollFd::new(self, PollFlags::IN), PollFd::new(stop, PollFlags::IN)];
        match poll(&mut waiting, timeout.as_ref()) {
            Ok(0) | Err(Errno::INTR) => return Ok(Came::Nothing),
            Ok(_) if stop.is_asked() => return Ok(Came::Nothing),
            Ok(_) => {}
            Err(errno) => return Err(self.broken(errno)),
        }
        self.read_now(buffer)
    }

    /// Reads what is there without waiting at all.
    ///
    /// # Errors
    ///
    /// The port is gone or broken: open it again.
    pub fn read_now(&self, buffer: &mut [u8]) -> Result<Came, Trouble> {
        match (rustix::io::read(self, buffer), self) {
            // A serial line has no end: its adapter was unplugged.
            (Ok(0), Self::Serial(_)) => Err(self.broken(Errno::NODEV)),
            (Ok(0), _) => Ok(Came::End),
            (Ok(bytes), _) => Ok(Came::Bytes(bytes)),
            (Err(Errno::INTR | Errno::AGAIN), _) => Ok(Came::Nothing),
            (Err(errno), _) => Err(self.broken(errno)),
        }
    }

    fn broken(&self, errno: Errno) -> Trouble {
        match self {
            Self::Serial(port) => Trouble::Unplugged {
                device: port.device().to_owned(),
                source: errno.into(),
            },
            _ => Trouble::Broken { source: errno.into() },
        }
    }
}

impl AsFd for Port {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Serial(port) => port.as_fd(),
            Self::Tcp(connection) => connection.as_fd(),
            Self::File(file) => file.as_fd(),
            Self::Stdin(stdin) => stdin.as_fd(),
        }
    }
}

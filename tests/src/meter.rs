//! The meter's end of the line: a pty that looks like a serial adapter, or a TCP port that looks like a
//! network P1 adapter.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::{OpenOptionsExt, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::OFlags;
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{OptionalActions, tcgetattr, tcsetattr};

/// Something that sends telegrams.
pub trait Meter: Send {
    /// What `usb` is set to in order to read it.
    fn address(&self) -> String;

    /// Sends the bytes, as fast as they are read.
    ///
    /// # Errors
    /// Where nobody reads for that long, or the line is gone.
    fn send_within(&mut self, bytes: &[u8], deadline: Duration) -> io::Result<()>;

    /// Sends the bytes; panics where nobody reads for half a minute.
    fn send(&mut self, bytes: &[u8]) {
        self.send_within(bytes, Duration::from_secs(30))
            .unwrap_or_else(|error| panic!("the meter at {} cannot send: {error}", self.address()));
    }
}

/// A serial adapter: a pty, with a symlink of a stable name to it, as udev makes them.
///
/// A pty has no speed and no parity, and it holds back the sender while nobody reads, so that nothing
/// sent is lost on a line that is open.
#[derive(Debug)]
pub struct PtyMeter {
    link: PathBuf,
    line: Option<File>,
}

impl PtyMeter {
    /// Plugs in the adapter: from now on there is a device of this name.
    pub fn plug_in(link: &Path) -> Self {
        Self::try_plug_in(link).unwrap_or_else(|error| panic!("a pty can be made: {error}"))
    }

    /// The same, where it is not sure that this machine has ptys.
    ///
    /// # Errors
    /// Where no pty can be had, or the link not be made.
    pub fn try_plug_in(link: &Path) -> io::Result<Self> {
        let (line, device) = open_pty()?;
        symlink(&device, link)?;
        Ok(Self {
            link: link.to_owned(),
            line: Some(line),
        })
    }

    /// Pulls the adapter out: the device is gone.
    pub fn unplug(&mut self) {
        self.line = None;
        fs::remove_file(&self.link).expect("the device's link can be removed");
    }

    /// Plugs it in again: another device, under the same name.
    pub fn plug_in_again(&mut self) {
        if self.link.is_symlink() {
            fs::remove_file(&self.link).expect("the device's link can be removed");
        }
        *self = Self::plug_in(&self.link);
    }
}

impl Meter for PtyMeter {
    fn address(&self) -> String {
        self.link.display().to_string()
    }

    fn send_within(&mut self, mut bytes: &[u8], deadline: Duration) -> io::Result<()> {
        let line = self
            .line
            .as_mut()
            .ok_or_else(|| io::Error::other("the adapter is not plugged in"))?;
        let ends = Instant::now() + deadline;
        while !bytes.is_empty() {
            let left = ends.saturating_duration_since(Instant::now());
            let timeout = Timespec {
                tv_sec: left.as_secs() as i64,
                tv_nsec: i64::from(left.subsec_nanos()),
            };
            let mut polled = [PollFd::new(&*line, PollFlags::OUT)];
            if poll(&mut polled, Some(&timeout))? == 0 {
                return Err(io::Error::new(
                    io::ErrorKind::TimedOut,
                    format!("nobody read for {deadline:?}"),
                ));
            }
            match line.write(bytes) {
                Ok(length) => bytes = &bytes[length..],
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// A raw pty: the meter's end and the device's name.
fn open_pty() -> io::Result<(File, PathBuf)> {
    let line = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?;
    grantpt(&line)?;
    unlockpt(&line)?;
    let device = PathBuf::from(ptsname(&line, Vec::new())?.to_string_lossy().into_owned());
    // Raw from the start, or the line would echo what is sent before the other end is opened. The setting
    // stays with the pty. The other end is not kept open: it must look unused.
    let other_end = OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(OFlags::NOCTTY.bits() as i32)
        .open(&device)?;
    let mut setting = tcgetattr(&other_end)?;
    setting.make_raw();
    tcsetattr(&other_end, OptionalActions::Now, &setting)?;
    rustix::fs::fcntl_setfl(&line, rustix::fs::fcntl_getfl(&line)? | OFlags::NONBLOCK)?;
    Ok((File::from(line), device))
}

/// A network P1 adapter: it listens, and sends to whoever is connected.
#[derive(Debug)]
pub struct TcpMeter {
    listener: TcpListener,
    address: SocketAddr,
    reader: Option<TcpStream>,
}

impl TcpMeter {
    /// One on a port of its own.
    pub fn listen() -> Self {
        Self::listen_at(SocketAddr::from(([127, 0, 0, 1], 0)))
            .expect("a port of this machine can be listened on")
    }

    /// One at this address; port 0 is any that is free.
    ///
    /// # Errors
    /// Where the address cannot be listened on.
    pub fn listen_at(address: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind(address)?;
        listener.set_nonblocking(true)?;
        Ok(Self {
            address: listener.local_addr()?,
            listener,
            reader: None,
        })
    }

    /// Drops the connection, if there is one.
    pub fn hang_up(&mut self) {
        self.reader = None;
    }

    /// Resets the connection, if there is one.
    pub fn reset(&mut self) {
        if let Some(reader) = &self.reader {
            rustix::net::sockopt::set_socket_linger(reader, Some(Duration::ZERO))
                .expect("a connection can be told not to linger");
        }
        self.hang_up();
    }

    fn reader(&mut self, deadline: Duration) -> io::Result<&mut TcpStream> {
        let ends = Instant::now() + deadline;
        // A reader that has gone, and the one that has come in its place.
        if let Some(reader) = &mut self.reader {
            reader.set_nonblocking(true)?;
            let is_gone = matches!(reader.read(&mut [0; 16]), Ok(0));
            reader.set_nonblocking(false)?;
            if is_gone {
                self.reader = None;
            }
        }
        while self.reader.is_none() {
            match self.listener.accept() {
                Ok((reader, _)) => {
                    reader.set_nonblocking(false)?;
                    reader.set_nodelay(true)?;
                    self.reader = Some(reader);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    if Instant::now() > ends {
                        return Err(io::Error::new(
                            io::ErrorKind::TimedOut,
                            format!("nobody connected for {deadline:?}"),
                        ));
                    }
                    std::thread::sleep(Duration::from_millis(5));
                }
                Err(error) => return Err(error),
            }
        }
        self.reader.as_mut().ok_or_else(|| io::Error::other("no reader"))
    }
}

impl Meter for TcpMeter {
    fn address(&self) -> String {
        format!("tcp://{}", self.address)
    }

    fn send_within(&mut self, bytes: &[u8], deadline: Duration) -> io::Result<()> {
        let reader = self.reader(deadline)?;
        reader.set_write_timeout(Some(deadline))?;
        reader.write_all(bytes)
    }
}

//! A serial device. `serialport` is named here and nowhere else: it claims the device for this process and
//! sets speed and parity.
//!
//! Reading goes through a descriptor of its own on the same device, opened first. serialport's own read
//! cannot be interrupted when capture is asked to stop, and drops what has come when an adapter is
//! unplugged.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{FileType, Mode, OFlags};
use rustix::io::Errno;
use serialport::{ClearBuffer, DataBits, FlowControl, Parity, SerialPort as _, StopBits, TTYPort};

use super::Line;
use super::trouble::Trouble;

/// An open serial device, this process's alone.
#[derive(Debug)]
pub struct SerialPort {
    device: PathBuf,
    reading: OwnedFd,
    settings: TTYPort,
}

impl SerialPort {
    /// Opens the device and sets the line.
    ///
    /// # Errors
    ///
    /// In words that a person can act on.
    pub fn open(device: &Path, line: Line) -> Result<Self, Trouble> {
        let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let reading = rustix::fs::open(device, flags, Mode::empty())
            .map_err(|errno| Trouble::of_device(device, errno))?;
        let is_device = rustix::fs::fstat(&reading)
            .is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice);
        if !is_device || !rustix::termios::isatty(&reading) {
            return Err(Trouble::of_device(device, Errno::NOTTY));
        }
        let (baud, data_bits, parity) = settings_of(line);
        let settings = serialport::new(device.to_string_lossy(), baud)
            .data_bits(data_bits)
            .parity(parity)
            .stop_bits(StopBits::One)
            .flow_control(FlowControl::None)
            .timeout(Duration::ZERO)
            .open_native()
            .map_err(|error| match error.kind {
                serialport::ErrorKind::NoDevice => Trouble::of_device(device, Errno::BUSY),
                _ => Trouble::Settings {
                    device: device.to_owned(),
                    line,
                    source: error.into(),
                },
            })?;
        Ok(Self {
            device: device.to_owned(),
            reading,
            settings,
        })
    }

    /// Sets the line anew, and throws away what has come at the old setting.
    ///
    /// # Errors
    ///
    /// The device is gone, or does not know the setting.
    pub fn set_line(&mut self, line: Line) -> Result<(), Trouble> {
        let (baud, data_bits, parity) = settings_of(line);
        let settings = &mut self.settings;
        settings
            .set_baud_rate(baud)
            .and_then(|()| settings.set_data_bits(data_bits))
            .and_then(|()| settings.set_parity(parity))
            .and_then(|()| settings.clear(ClearBuffer::Input))
            .map_err(|error| Trouble::Settings {
                device: self.device.clone(),
                line,
                source: error.into(),
            })
    }

    /// The device's path.
    #[must_use]
    pub fn device(&self) -> &Path {
        &self.device
    }
}

impl AsFd for SerialPort {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.reading.as_fd()
    }
}

fn settings_of(line: Line) -> (u32, DataBits, Parity) {
    match line {
        Line::Baud115200 => (115_200, DataBits::Eight, Parity::None),
        Line::Baud9600 => (9600, DataBits::Seven, Parity::Even),
    }
}

//! The meter's port: a serial device, a TCP connection, a file or standard input, as one stream of bytes.
//!
//! What always holds: reading never waits to fill a buffer, so that a telegram's last byte is handed on
//! when it comes; every wait ends within a tenth of a second when capture is asked to stop; serialport is
//! named here and nowhere else.

use serde::{Deserialize, Serialize};

/// Speed and frame of a serial line, as found or as configured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Line {
    /// 115200 baud, 8 data bits, no parity, 1 stop bit.
    Baud115200,
    /// 9600 baud, 7 data bits, even parity, 1 stop bit.
    Baud9600,
}

impl std::fmt::Display for Line {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Baud115200 => "115200-8N1",
            Self::Baud9600 => "9600-7E1",
        })
    }
}

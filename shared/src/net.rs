//! A TCP connection to a host, for capture's `tcp://` meter and for the publisher's broker: the name is looked up
//! at every attempt, and its addresses are raced.
//!
//! Invariants:
//!
//! * An address that does not answer delays the next one by a quarter of a second, not by a timeout.
//! * Looking up a name cannot be interrupted: whoever must not wait calls this on a thread of its own.

mod race;

use std::io;
use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

pub use race::race;

/// There is no connection.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The name has no address, or no name server answers.
    #[error("{0}")]
    Lookup(#[source] io::Error),
    /// No address answered; the error is that of the last one that failed.
    #[error("{0}")]
    Connect(#[source] io::Error),
}

/// Looks the name up and connects to the first of its addresses that answers within this time. The connection does
/// not block.
///
/// # Errors
/// [`ConnectError`]; its kind is [`io::ErrorKind::TimedOut`] if no address had answered by then.
pub fn connect(host: &str, port: u16, within: Duration) -> Result<TcpStream, ConnectError> {
    let addresses: Vec<_> = (host, port)
        .to_socket_addrs()
        .map_err(ConnectError::Lookup)?
        .collect();
    if addresses.is_empty() {
        return Err(ConnectError::Lookup(io::Error::other("the name has no address")));
    }
    race(&addresses, within).map_err(ConnectError::Connect)
}

//! A TCP connection to ser2net or to a network P1 adapter.
//!
//! A peer that vanishes without a word (a cut cable, an adapter that has hung) is noticed by keep-alive
//! probes within [`KEEPALIVE_IDLE`] + 3 × [`KEEPALIVE_EVERY`]; one whose network still answers but which
//! sends nothing, by the silence that intake allows.

use std::net::TcpStream;
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::time::Duration;

use rustix::net::sockopt;
use shared::net::{self, ConnectError};

use super::stop::Stop;
use super::trouble::Trouble;

/// How long a connection may be silent before the peer is probed.
pub const KEEPALIVE_IDLE: Duration = Duration::from_secs(15);

/// How long after one probe the next goes out; the third without an answer ends the connection.
pub const KEEPALIVE_EVERY: Duration = Duration::from_secs(5);

/// What the system may keep of a peer that sends faster than it is read, in bytes: otherwise some megabytes, which would
/// be a minute old when they are read.
const RECEIVED_BYTES: usize = 64 * 1024;

/// How long all addresses of the name have to answer.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Connects to the first address of `host` that answers.
///
/// # Errors
///
/// In words that a person can act on; also when asked to stop meanwhile.
pub fn connect(host: &str, port: u16, stop: &Stop) -> Result<TcpStream, Trouble> {
    let address = format!("{host}:{port}");
    let (sender, receiver) = sync_channel(1);
    let name = host.trim_matches(['[', ']']).to_owned();
    // Neither a name server nor a connection can be waited for together with a request to stop.
    std::thread::Builder::new()
        .name("connect".to_owned())
        .spawn(move || drop(sender.send(net::connect(&name, port, CONNECT_TIMEOUT))))
        .map_err(|source| Trouble::Connection {
            address: address.clone(),
            source,
        })?;
    loop {
        match receiver.recv_timeout(Duration::from_millis(50)) {
            Ok(Ok(connection)) => {
                return match prepare(&connection) {
                    Ok(()) => Ok(connection),
                    Err(source) => Err(Trouble::Connection { address, source }),
                };
            }
            Ok(Err(ConnectError::Lookup(source))) => {
                return Err(Trouble::UnknownHost {
                    host: host.to_owned(),
                    source,
                });
            }
            Ok(Err(ConnectError::Connect(source))) => return Err(Trouble::Connection { address, source }),
            Err(RecvTimeoutError::Timeout) if !stop.is_asked() => {}
            Err(_) => {
                return Err(Trouble::Connection {
                    address,
                    source: std::io::ErrorKind::Interrupted.into(),
                });
            }
        }
    }
}

fn prepare(connection: &TcpStream) -> std::io::Result<()> {
    sockopt::set_socket_keepalive(connection, true)?;
    sockopt::set_tcp_keepidle(connection, KEEPALIVE_IDLE)?;
    sockopt::set_tcp_keepintvl(connection, KEEPALIVE_EVERY)?;
    sockopt::set_tcp_keepcnt(connection, 3)?;
    sockopt::set_socket_recv_buffer_size(connection, RECEIVED_BYTES)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn a_connection_probes_a_peer_that_is_silent() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let connection = connect("127.0.0.1", port, &Stop::new().unwrap()).unwrap();
        assert!(sockopt::socket_keepalive(&connection).unwrap());
        assert_eq!(sockopt::tcp_keepidle(&connection).unwrap(), KEEPALIVE_IDLE);
        assert_eq!(sockopt::tcp_keepintvl(&connection).unwrap(), KEEPALIVE_EVERY);
        assert_eq!(sockopt::tcp_keepcnt(&connection).unwrap(), 3);
        // Linux counts its own needs in.
        assert!(sockopt::socket_recv_buffer_size(&connection).unwrap() <= 2 * RECEIVED_BYTES);
    }
}

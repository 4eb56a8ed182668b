//! The bytes between us and the broker: TCP, or TLS over it. The connection is our own, not the library's, for what
//! only its owner can do: race the addresses of a name, know what the broker's side has taken, keep little in the
//! system's buffers, and bound what comes in before anything is made of it.
//!
//! Invariants:
//!
//! * The system holds at most [`UNSENT_BYTES`] beyond what the network carries at present, so that a write that
//!   would block means that the broker's side takes no more, and what was written has been taken but for that much.
//! * Reading comes before writing: what the broker said before it hung up is heard.

use std::io;
use std::net::TcpStream as Connected;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, BytesMut};
use rustls::pki_types::ServerName;
use shared::config::BrokerAddress;
use shared::net::{self, ConnectError};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::Trouble;

/// Bytes that the system may hold before it sends them, and TLS before it hands them to the system.
const UNSENT_BYTES: u32 = 16 * 1024;
/// Bytes read at once.
const READ_BYTES: usize = 4 * 1024;

/// A connection to a broker.
pub(super) struct Transport(Stream);

enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// What [`Transport::exchange`] did.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Exchange {
    pub(super) read: usize,
    pub(super) written: usize,
    /// Whether the broker's side did not take all of it.
    pub(super) is_blocked: bool,
}

impl Transport {
    /// Connects within this time.
    pub(super) async fn open(
        broker: &BrokerAddress,
        tls: Option<&Arc<rustls::ClientConfig>>,
        within: Duration,
    ) -> Result<Self, Trouble> {
        let (host, port) = (broker.host.clone(), broker.port);
        let connected = tokio::task::spawn_blocking(move || net::connect(&host, port, within)).await;
        let tcp = match connected {
            Ok(Ok(connected)) => tcp(connected).map_err(|error| Trouble::from_error(broker, &error))?,
            Ok(Err(ConnectError::Lookup(error))) => return Err(Trouble::unknown_host(broker, &error)),
            Ok(Err(ConnectError::Connect(error))) => return Err(Trouble::from_error(broker, &error)),
            Err(error) => return Err(Trouble::from_error(broker, &error)),
        };
        let Some(config) = tls.filter(|_| broker.is_tls) else {
            return Ok(Self(Stream::Plain(tcp)));
        };
        let name = ServerName::try_from(broker.host.clone())
            .map_err(|error| Trouble::other(broker, format!("TLS: {error}: {}", broker.host)))?;
        let connector = TlsConnector::from(config.clone());
        let stream = connector
            .connect_with(name, tcp, |session| {
                session.set_buffer_limit(Some(UNSENT_BYTES as usize))
            })
            .await
            .map_err(|error| Trouble::from_error(broker, &error))?;
        Ok(Self(Stream::Tls(Box::new(stream))))
    }

    /// Reads and writes what can be, and waits until that is anything at all. What was written is taken from the
    /// front of `outgoing`.
    ///
    /// # Errors
    /// When the connection has ended: [`io::ErrorKind::UnexpectedEof`] if the broker closed it. What it had said
    /// before is in `incoming`.
    pub(super) async fn exchange(
        &mut self,
        incoming: &mut BytesMut,
        outgoing: &mut BytesMut,
    ) -> io::Result<Exchange> {
        std::future::poll_fn(|context| self.poll_exchange(context, incoming, outgoing)).await
    }

    fn poll_exchange(
        &mut self,
        context: &mut Context<'_>,
        incoming: &mut BytesMut,
        outgoing: &mut BytesMut,
    ) -> Poll<io::Result<Exchange>> {
        let mut done = Exchange::default();
        if let Poll::Ready(read) = self.poll_read(context, incoming) {
            done.read = read?;
        }
        match self.poll_write(context, outgoing, &mut done.written) {
            Poll::Ready(Ok(())) => {}
            Poll::Pending => done.is_blocked = true,
            Poll::Ready(Err(error)) => {
                // What the broker said last may say why.
                while let Poll::Ready(Ok(_)) = self.poll_read(context, incoming) {}
                return Poll::Ready(Err(error));
            }
        }
        if done.read == 0 && done.written == 0 {
            return Poll::Pending;
        }
        Poll::Ready(Ok(done))
    }

    fn poll_read(&mut self, context: &mut Context<'_>, incoming: &mut BytesMut) -> Poll<io::Result<usize>> {
        let mut bytes = [0; READ_BYTES];
        let mut buffer = ReadBuf::new(&mut bytes);
        ready!(match &mut self.0 {
            Stream::Plain(stream) => Pin::new(stream).poll_read(context, &mut buffer),
            Stream::Tls(stream) => Pin::new(stream).poll_read(context, &mut buffer),
        })?;
        let read = buffer.filled();
        if read.is_empty() {
            return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
        }
        incoming.extend_from_slice(read);
        Poll::Ready(Ok(read.len()))
    }

    /// Ready when all of it has been handed to the system.
    fn poll_write(
        &mut self,
        context: &mut Context<'_>,
        outgoing: &mut BytesMut,
        written: &mut usize,
    ) -> Poll<io::Result<()>> {
        while !outgoing.is_empty() {
            let count = ready!(match &mut self.0 {
                Stream::Plain(stream) => Pin::new(stream).poll_write(context, outgoing),
                Stream::Tls(stream) => Pin::new(stream).poll_write(context, outgoing),
            })?;
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            outgoing.advance(count);
            *written += count;
        }
        match &mut self.0 {
            Stream::Plain(_) => Poll::Ready(Ok(())),
            Stream::Tls(stream) => Pin::new(stream).poll_flush(context),
        }
    }
}

fn tcp(connected: Connected) -> io::Result<TcpStream> {
    connected.set_nodelay(true)?;
    socket2::SockRef::from(&connected).set_tcp_notsent_lowat(UNSENT_BYTES)?;
    TcpStream::from_std(connected)
}

//! The server: accepts on the Unix socket and gives each session a thread of its own, up to a bound.
//!
//! Invariant: a session that misbehaves ends, and nothing else does; the number of threads and
//! the memory for them are bounded whatever connects; stopping wakes every session.

pub mod session;
pub mod socket;

use std::io::{self, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::sync::mpsc::SyncSender;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;
use shared::rate::Rate;
use shared::wire::codec;
use shared::wire::{Refusal, Reply};

use crate::keeper::Message;
use crate::queue::Reader;
use session::Session;
use socket::Socket;

/// How much a client may take of capture.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Sessions at once.
    pub sessions: usize,
    /// From connecting to a whole hello.
    pub hello: Duration,
    /// From the first byte of a request to its last, and for taking a reply.
    pub frame: Duration,
    /// Between two requests, for a session that is no consumer. A consumer may be silent as long as it
    /// likes: it may be waiting for its broker.
    pub idle: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            sessions: 32,
            hello: Duration::from_secs(5),
            frame: Duration::from_secs(10),
            idle: Duration::from_secs(600),
        }
    }
}

/// The running server.
#[derive(Debug)]
pub struct Server {
    thread: JoinHandle<()>,
    wake: UnixStream,
}

impl Server {
    /// Serves the queue behind `reader` at `socket`; what changes the queue goes to `keeper`.
    ///
    /// # Errors
    ///
    /// Where the system gives no thread.
    pub fn start(
        socket: Socket,
        reader: Reader,
        keeper: SyncSender<Message>,
        limits: Limits,
    ) -> io::Result<Self> {
        socket.listener().set_nonblocking(true)?;
        let (wake, woken) = UnixStream::pair()?;
        let mut acceptor = Acceptor {
            socket,
            woken,
            reader,
            keeper,
            limits,
            told: Arc::new(Mutex::new(Rate::new(CONNECTIONS_AT_ONCE))),
            sessions: Vec::new(),
            next_number: 1,
            is_out_of_files: false,
            looked: Instant::now(),
        };
        let thread = std::thread::Builder::new()
            .name("server".to_owned())
            .spawn(move || acceptor.run())?;
        Ok(Self { thread, wake })
    }

    /// Ends all sessions, removes the socket and returns when that is done.
    pub fn stop(self) {
        drop(self.wake);
        // A panic there has been printed.
        let _ = self.thread.join();
    }
}

/// A session's thread, and its connection for ending it from outside.
struct Running {
    thread: JoinHandle<()>,
    stream: Arc<UnixStream>,
}

struct Acceptor {
    socket: Socket,
    woken: UnixStream,
    reader: Reader,
    keeper: SyncSender<Message>,
    limits: Limits,
    told: Arc<Mutex<Rate>>,
    sessions: Vec<Running>,
    next_number: u64,
    is_out_of_files: bool,
    looked: Instant,
}

impl Acceptor {
    fn run(&mut self) {
        while self.wait() {
            match self.socket.listener().accept() {
                Ok((stream, _)) => {
                    self.is_out_of_files = false;
                    self.admit(stream);
                }
                Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock) => {}
                Err(error) => {
                    // Too many open files, or no memory: sessions that end make room.
                    if !std::mem::replace(&mut self.is_out_of_files, true) {
                        tracing::warn!("cannot accept a connection at present: {error}");
                    }
                    std::thread::sleep(Duration::from_millis(200));
                }
            }
        }
        for session in &self.sessions {
            let _ = session.stream.shutdown(Shutdown::Both);
        }
        for session in self.sessions.drain(..) {
            let _ = session.thread.join();
        }
    }

    /// Waits for a connection, or for the time to look at the socket's name; `false` when the server is to stop.
    fn wait(&mut self) -> bool {
        if self.looked.elapsed() >= LOOK_INTERVAL {
            self.socket.keep_name();
            self.looked = Instant::now();
        }
        let mut files = [
            PollFd::new(self.socket.listener(), PollFlags::IN),
            PollFd::new(&self.woken, PollFlags::IN | PollFlags::RDHUP),
        ];
        let left = LOOK_INTERVAL.saturating_sub(self.looked.elapsed());
        loop {
            match rustix::event::poll(&mut files, Timespec::try_from(left).ok().as_ref()) {
                Err(Errno::INTR) => {}
                _ => return files.iter().skip(1).all(|file| file.revents().is_empty()),
            }
        }
    }

    fn admit(&mut self, stream: UnixStream) {
        self.sessions.retain(|session| !session.thread.is_finished());
        if self.sessions.len() >= self.limits.sessions {
            turn_away(&stream, self.limits.sessions);
            return;
        }
        let number = self.next_number;
        self.next_number += 1;
        let stream = Arc::new(stream);
        let theirs = Arc::clone(&stream);
        let session = Session::new(
            number,
            self.reader.clone(),
            self.keeper.clone(),
            self.limits,
            Arc::clone(&self.told),
        );
        let spawned = std::thread::Builder::new()
            .name(format!("session {number}"))
            .spawn(move || {
                session.run(&theirs);
                // The acceptor holds the connection too: without this the client would not see the end.
                let _ = theirs.shutdown(Shutdown::Both);
            });
        match spawned {
            Ok(thread) => self.sessions.push(Running { thread, stream }),
            Err(error) => tracing::warn!("no thread for a session: {error}"),
        }
    }
}

/// How often it is looked whether the socket's name is still ours.
const LOOK_INTERVAL: Duration = Duration::from_secs(3);

/// Lines of clients that connect and disconnect, one after the other: publishers that are restarted a few times.
const CONNECTIONS_AT_ONCE: u32 = 20;

/// Says that there are too many sessions, without waiting for anybody.
fn turn_away(stream: &UnixStream, limit: usize) {
    tracing::debug!("a connection is turned away: {limit} sessions are open");
    let reply = Reply::Refused {
        refusal: Refusal::Busy,
        message: format!("{limit} sessions are open already, no more are served at once; try again later"),
    };
    let mut frame = Vec::new();
    if codec::encode(&reply, &mut frame).is_ok() && stream.set_nonblocking(true).is_ok() {
        let _ = (&mut &*stream).write(&frame);
    }
}

#[cfg(test)]
mod tests;

//! The server: accepts on the Unix socket and gives each session a thread of its own, up to a bound.
//!
//! Invariant: a session that misbehaves ends, and nothing else does; the number of threads and
//! the memory for them are bounded whatever connects; stopping wakes every session.

pub mod activity;
pub mod allowance;
pub mod places;
pub mod session;
pub mod socket;
pub mod writers;

use std::io::{self, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::sync::mpsc::SyncSender;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;
use shared::config::CrcPolicy;
use shared::peer;
use shared::rate::Rate;
use shared::wire::codec;
use shared::wire::{Refusal, Reply};

use crate::clock;
use crate::keeper::Message;
use crate::queue::Reader;
use activity::Activity;
use allowance::{Allowances, Kind};
use places::{BRIEF, PLACES, Place, PlaceLimits, Verdict};
use session::{Guest, Session};
use socket::Socket;
use writers::Writers;

/// How much a client may take of capture.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Sessions at once.
    pub places: PlaceLimits,
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
            places: PLACES,
            hello: Duration::from_secs(5),
            frame: Duration::from_secs(10),
            idle: Duration::from_secs(600),
        }
    }
}

/// What all sessions have in common.
#[derive(Debug)]
pub struct Common {
    limits: Limits,
    /// Which telegrams are valid.
    policy: CrcPolicy,
    /// How often a client that comes and goes makes a line, all of them together.
    told: Mutex<Rate>,
    allowances: Mutex<Allowances>,
    /// Held by the one session that takes in a large request.
    large: Mutex<()>,
}

impl Common {
    /// Sessions within these limits, into which telegrams are taken by this policy.
    pub fn new(limits: Limits, policy: CrcPolicy) -> Self {
        Self {
            limits,
            policy,
            told: Mutex::new(Rate::new(CONNECTIONS_AT_ONCE)),
            allowances: Mutex::default(),
            large: Mutex::default(),
        }
    }

    /// What to put behind a line that a client has caused; none if it is not to be written.
    fn rated(&self) -> Option<String> {
        locked(&self.told).say(clock::uptime())
    }

    /// How long a session of this user waits before it asks for one more of this kind.
    fn take(&self, user: u32, kind: Kind) -> Duration {
        locked(&self.allowances).take(user, kind, clock::uptime())
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
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
        common: Common,
        writers: Writers,
    ) -> io::Result<Self> {
        socket.listener().set_nonblocking(true)?;
        let (wake, woken) = UnixStream::pair()?;
        let mut acceptor = Acceptor {
            socket,
            woken,
            reader,
            keeper,
            common: Arc::new(common),
            writers,
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
    user: u32,
    is_brief: bool,
    activity: Arc<Activity>,
}

impl Running {
    fn end(&self) {
        let _ = self.stream.shutdown(Shutdown::Both);
    }
}

struct Acceptor {
    socket: Socket,
    woken: UnixStream,
    reader: Reader,
    keeper: SyncSender<Message>,
    common: Arc<Common>,
    writers: Writers,
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
            session.end();
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
        let user = match peer::user(&stream) {
            Ok(user) => user,
            Err(error) => {
                tracing::debug!("the system does not tell whose a connection is: {error}");
                return;
            }
        };
        let is_brief = match self.judge(user) {
            Verdict::Free => false,
            Verdict::Instead(position) => {
                if let Some(session) = self.sessions.get(position) {
                    session.activity.give_up_place();
                    session.end();
                }
                false
            }
            Verdict::Brief => true,
            Verdict::Full => {
                turn_away(&stream, user);
                return;
            }
        };
        let number = self.next_number;
        self.next_number += 1;
        let stream = Arc::new(stream);
        let theirs = Arc::clone(&stream);
        let activity = Arc::new(Activity::default());
        let guest = Guest {
            number,
            user,
            may_change: self.writers.may_change(user),
            until: is_brief.then(|| Instant::now() + BRIEF),
            activity: Arc::clone(&activity),
        };
        let common = Arc::clone(&self.common);
        let session = Session::new(guest, self.reader.clone(), self.keeper.clone(), common);
        let spawned = std::thread::Builder::new()
            .name(format!("session {number}"))
            .spawn(move || {
                session.run(&theirs);
                // The acceptor holds the connection too: without this the client would not see the end.
                let _ = theirs.shutdown(Shutdown::Both);
            });
        match spawned {
            Ok(thread) => self.sessions.push(Running {
                thread,
                stream,
                user,
                is_brief,
                activity,
            }),
            Err(error) => tracing::warn!("no thread for a session: {error}"),
        }
    }

    /// What becomes of a client of this user; the position is that among all sessions.
    fn judge(&self, user: u32) -> Verdict {
        let limits = self.common.limits.places;
        if self.sessions.len() >= limits.all + limits.brief + MOST_ENDING {
            return Verdict::Full;
        }
        let has_place = |session: &&Running| !session.is_brief && !session.activity.has_given_up_place();
        let (mut places, mut positions) = (Vec::new(), Vec::new());
        let sessions = self.sessions.iter().enumerate();
        for (position, session) in sessions.filter(|(_, session)| has_place(session)) {
            let (stage, quiet) = session.activity.stage(clock::uptime());
            positions.push(position);
            places.push(Place {
                user: session.user,
                is_own: self.writers.is_own(session.user),
                stage,
                quiet,
            });
        }
        let brief = self.sessions.iter().filter(|session| session.is_brief);
        let brief: Vec<u32> = brief.map(|session| session.user).collect();
        match places::judge(&limits, &places, &brief, user, self.writers.is_own(user)) {
            Verdict::Instead(place) => positions
                .get(place)
                .map_or(Verdict::Full, |&position| Verdict::Instead(position)),
            other => other,
        }
    }
}

/// How often it is looked whether the socket's name is still ours.
const LOOK_INTERVAL: Duration = Duration::from_secs(3);

/// Sessions that have lost their place and whose threads have not ended yet, at most.
const MOST_ENDING: usize = 16;

/// Lines of clients that connect and disconnect, one after the other: publishers that are restarted a few times.
const CONNECTIONS_AT_ONCE: u32 = 20;

/// Says that there are too many sessions, without waiting for anybody.
fn turn_away(stream: &UnixStream, user: u32) {
    tracing::debug!("a connection of user {user} is turned away: too many sessions are open");
    let reply = Reply::Refused {
        refusal: Refusal::Busy,
        message: format!(
            "there are as many sessions already as may be, or as user {user} may have; try again later"
        ),
    };
    let mut frame = Vec::new();
    if codec::encode(&reply, &mut frame).is_ok() && stream.set_nonblocking(true).is_ok() {
        let _ = (&mut &*stream).write(&frame);
    }
}

#[cfg(test)]
mod tests;

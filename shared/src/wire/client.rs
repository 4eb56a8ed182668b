//! A session with capture, seen from the client's side: connect, then one request at a time, each
//! answered before the next is sent. [`Client::ask`] alone leaves its answer for later, so that its wait can be
//! cut short by another request.
//!
//! Every call returns within the time given to [`Client::connect`], and [`Client::read`] within that and
//! its own wait. After an error that is not a refusal the session is over ([`ClientError::is_refused`]
//! tells): drop the client and connect again.

use std::io::Write;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, sockopt};
use serde::Serialize;
use thiserror::Error;

use super::codec::{self, CodecError};
use super::deadline::Deadline;
use super::peer::{self, Stranger};
use super::{
    Digest, Identity, Imported, ImportedFile, PROTOCOL_VERSION, PublisherReport, Refusal, Reply, Request,
    Start, Status,
};
use crate::accounts;
use crate::bell::Bell;
use crate::record::Record;
use crate::regular_file;

/// Why there is no session with capture, or a request was not carried out.
#[derive(Debug, Error)]
pub enum ClientError {
    /// There is no socket of that name.
    #[error(
        "there is no socket {}: is capture running, and with the same queue.socket?", path.display()
    )]
    NoSocket {
        /// The socket.
        path: PathBuf,
    },
    /// The file is there, but nobody serves it.
    #[error("nobody serves the socket {}: capture is not running", path.display())]
    NotServed {
        /// The socket.
        path: PathBuf,
    },
    /// What is there is no socket.
    #[error("{} is {kind} and no socket (queue.socket)", path.display())]
    NotASocket {
        /// What is there.
        path: PathBuf,
        /// What kind of thing that is.
        kind: String,
    },
    /// The file's mode keeps this user out.
    #[error(
        "no permission to use the socket {}: run this with `sudo`, or {}",
        path.display(),
        group_advice(path)
    )]
    Permission {
        /// The socket.
        path: PathBuf,
    },
    /// Somebody serves it who may not be capture. Nothing was told.
    #[error(
        "the socket {} is served by {user} and so not by capture, which was expected to be {expected}: stop that \
         program, or give a queue.socket in a folder that only capture's user can write to",
        path.display()
    )]
    Stranger {
        /// The socket.
        path: PathBuf,
        /// Who serves it.
        user: String,
        /// Who may.
        expected: String,
    },
    /// Capture answered that it will not. The session goes on, except where the hello was refused.
    #[error("capture refused: {message}")]
    Refused {
        /// Why, for the program.
        refusal: Refusal,
        /// Why, in capture's words.
        message: String,
    },
    /// The connection was taken, and then nothing said. The other end accepts in its kernel, so that also a
    /// process that is stopped takes connections.
    #[error(
        "capture at {} does not answer: its process is stopped or does not get on", path.display()
    )]
    Silent {
        /// The socket.
        path: PathBuf,
    },
    /// The session broke, or never came to be.
    #[error("the session with capture at {} broke while {action}: {source}", path.display())]
    Broken {
        /// The socket.
        path: PathBuf,
        /// What was being done.
        action: &'static str,
        /// What happened.
        source: std::io::Error,
    },
    /// Capture sent something that this program does not understand. The session is over.
    #[error("capture at {} sent what this program does not understand: {detail}", path.display())]
    Misunderstood {
        /// The socket.
        path: PathBuf,
        /// What it was.
        detail: String,
    },
}

/// How to join the group that may use the socket; in general words if the socket's folder hides it.
fn group_advice(path: &Path) -> String {
    use std::os::unix::fs::MetadataExt;
    let of = |path: &Path| path.metadata().ok().map(|metadata| metadata.gid());
    let gid = of(path).or_else(|| path.parent().and_then(of));
    let user = accounts::user_name(rustix::process::geteuid().as_raw());
    group_words(
        gid.and_then(accounts::group_name).as_deref(),
        user.as_deref().unwrap_or("$USER"),
    )
}

fn group_words(group: Option<&str>, user: &str) -> String {
    match group {
        // Nobody should be in root's group for this.
        None | Some("root") => "join the group that capture runs as, and log in again".to_owned(),
        Some(group) => format!("join its group (`sudo usermod -aG {group} {user}`) and log in again"),
    }
}

impl ClientError {
    /// Whether capture answered that it will not, as opposed to not answering.
    pub fn is_refused(&self) -> bool {
        matches!(self, Self::Refused { .. })
    }

    /// Why capture refused, where it did.
    pub fn refusal(&self) -> Option<Refusal> {
        match self {
            Self::Refused { refusal, .. } => Some(*refusal),
            _ => None,
        }
    }
}

/// Answer to [`Client::open`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Opened {
    /// Last sequence that the consumer has committed; 0 where it begins with the first.
    pub cursor: u64,
    /// Highest durable sequence; 0 in an empty queue.
    pub head: u64,
}

/// Answer to [`Client::read`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Batch {
    /// Records in order of their sequence; never empty.
    Records {
        /// The records.
        records: Vec<Record>,
        /// Highest durable sequence.
        head: u64,
    },
    /// There is no record at or after the sequence asked for.
    Idle {
        /// Highest durable sequence.
        head: u64,
        /// The next record's silence will be at least this; see [`Reply::Idle`].
        silence_ms: u64,
    },
}

/// Answer to [`Client::locate`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Located {
    /// First sequence captured at or after the time; one more than the head where there is none.
    pub sequence: u64,
    /// Lowest sequence kept; one more than the head in an empty queue.
    pub tail: u64,
    /// Highest durable sequence.
    pub head: u64,
}

/// Telegrams from a file on their way into a queue; see [`Request::Append`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Append {
    /// Name of the file, for people.
    pub source: String,
    /// How many telegrams of that file came before these.
    pub offset: u64,
    /// Digest of the telegrams before these.
    pub before: Digest,
    /// Digest of those and these.
    pub after: Digest,
    /// The telegrams with their times, in order.
    pub telegrams: Vec<Imported>,
}

/// Answer to [`Client::append`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Appended {
    /// How many were taken: all of them, or none where these had been taken before.
    pub taken: u64,
    /// How many of the file have been taken by now.
    pub known: u64,
}

/// A session with capture.
#[derive(Debug)]
pub struct Client {
    path: PathBuf,
    stream: UnixStream,
    timeout: Duration,
    queue: String,
    version: String,
    request: Vec<u8>,
    reply: Vec<u8>,
    asked: Asked,
    is_over: bool,
}

/// What has become of the last [`Client::ask`].
#[derive(Debug)]
enum Asked {
    /// Its answer has been taken, or there was none.
    Nothing,
    /// It is still to be answered, by this moment.
    Until(Instant),
    /// This was answered, and is still to be taken.
    Answered(Reply),
}

impl Client {
    /// Connects to the socket that capture serves and exchanges hellos, for which it has [`GREETING`] at most.
    /// `timeout` bounds this and every later request.
    ///
    /// # Errors
    ///
    /// Any of [`ClientError`], each in words for a person.
    pub fn connect(path: &Path, timeout: Duration) -> Result<Self, ClientError> {
        let greeting = timeout.min(GREETING);
        let stream = connect_within(path, greeting)?;
        expect_capture(&stream, path)?;
        let mut client = Self {
            path: path.to_path_buf(),
            stream,
            timeout: greeting,
            queue: String::new(),
            version: String::new(),
            request: Vec::new(),
            reply: Vec::new(),
            asked: Asked::Nothing,
            is_over: false,
        };
        client.request.extend_from_slice(&codec::hello(PROTOCOL_VERSION));
        let greeted = client.exchange("greeting it", Duration::ZERO);
        match greeted.map_err(|error| silent(path, error))? {
            Reply::Welcome { queue, version } => {
                client.timeout = timeout;
                client.queue = queue;
                client.version = version;
                Ok(client)
            }
            Reply::Refused { refusal, message } => Err(ClientError::Refused { refusal, message }),
            other => Err(client.unexpected("the hello", &other)),
        }
    }

    /// Identity of the queue's folder.
    pub fn queue(&self) -> &str {
        &self.queue
    }

    /// Version of the capture program.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// Makes this session the consumer of that name; see [`Request::Open`].
    ///
    /// # Errors
    ///
    /// Refused as [`Refusal::ConsumerInUse`] where another session is that consumer.
    pub fn open(&mut self, consumer: &str, start: Start) -> Result<Opened, ClientError> {
        let request = Request::Open {
            consumer: consumer.to_owned(),
            start,
        };
        match self.request(&request, "opening the consumer", Duration::ZERO)? {
            Reply::Opened { cursor, head } => Ok(Opened { cursor, head }),
            other => Err(self.unexpected("the opening of a consumer", &other)),
        }
    }

    /// Records from sequence `from` on; see [`Request::Read`]. `wait` is how long capture may wait for a
    /// first one.
    ///
    /// # Errors
    ///
    /// Any of [`ClientError`].
    pub fn read(&mut self, from: u64, max_bytes: u32, wait: Duration) -> Result<Batch, ClientError> {
        let wait_ms = u32::try_from(wait.as_millis()).unwrap_or(u32::MAX);
        match self.request(
            &Request::Read {
                from,
                max_bytes,
                wait_ms,
            },
            READING,
            wait,
        )? {
            Reply::Records { records, head } => Ok(Batch::Records { records, head }),
            Reply::Idle { head, silence_ms } => Ok(Batch::Idle { head, silence_ms }),
            other => Err(self.unexpected("a read", &other)),
        }
    }

    /// Asks for records as [`Client::read`] does, and leaves the answer to [`Client::answer`]. Any other request
    /// before that ends capture's wait.
    ///
    /// # Errors
    ///
    /// As [`Client::read`]'s.
    pub fn ask(&mut self, from: u64, max_bytes: u32, wait: Duration) -> Result<(), ClientError> {
        let wait_ms = u32::try_from(wait.as_millis()).unwrap_or(u32::MAX);
        self.encode(&Request::Read {
            from,
            max_bytes,
            wait_ms,
        })?;
        self.begin(READING)?;
        let limit = self.timeout + wait;
        let written = Deadline::new(&self.stream, limit).write_all(&self.request);
        written.map_err(|source| self.broken(READING, source))?;
        self.asked = Asked::Until(Instant::now() + limit);
        self.is_over = false;
        Ok(())
    }

    /// Whether an answer to [`Client::ask`] is still to be taken.
    pub fn is_asked(&self) -> bool {
        !matches!(self.asked, Asked::Nothing)
    }

    /// The answer to [`Client::ask`]; none where the bell rings before it is there, or nothing was asked.
    ///
    /// # Errors
    ///
    /// As [`Client::read`]'s.
    pub fn answer(&mut self, bell: &Bell) -> Result<Option<Batch>, ClientError> {
        if let Asked::Until(end) = self.asked {
            if !self.is_answered_before(bell, end)? {
                return Ok(None);
            }
            self.begin(READING)?;
            let left = end.saturating_duration_since(Instant::now());
            self.asked = Asked::Answered(self.read_reply(READING, left, None)?);
        }
        match std::mem::replace(&mut self.asked, Asked::Nothing) {
            Asked::Answered(Reply::Records { records, head }) => Ok(Some(Batch::Records { records, head })),
            Asked::Answered(Reply::Idle { head, silence_ms }) => Ok(Some(Batch::Idle { head, silence_ms })),
            Asked::Answered(Reply::Refused { refusal, message }) => {
                Err(ClientError::Refused { refusal, message })
            }
            Asked::Answered(other) => Err(self.unexpected("a read", &other)),
            Asked::Nothing | Asked::Until(_) => Ok(None),
        }
    }

    /// Waits until the bell rings, with nothing asked. One that goes away meanwhile is noticed at once.
    ///
    /// # Errors
    ///
    /// Where the session has ended, or capture sends what nobody has asked for.
    pub fn rest(&mut self, bell: &Bell) -> Result<(), ClientError> {
        debug_assert!(!self.is_asked(), "rests though an answer is to be taken");
        let mut files = [
            PollFd::new(bell, PollFlags::IN),
            PollFd::new(&self.stream, PollFlags::IN | PollFlags::RDHUP),
        ];
        match rustix::event::poll(&mut files, None) {
            Ok(_) => {}
            Err(Errno::INTR) => return Ok(()),
            Err(error) => return Err(self.broken(RESTING, error.into())),
        }
        let [bell, _] = files;
        if !bell.revents().is_empty() {
            return Ok(());
        }
        self.begin(RESTING)?;
        let reply = self.read_reply(RESTING, self.timeout, None)?;
        Err(self.unexpected("nothing", &reply))
    }

    /// Whether capture sends something before the bell rings. At the end it counts as sending, so that reading
    /// says what is wrong.
    fn is_answered_before(&mut self, bell: &Bell, end: Instant) -> Result<bool, ClientError> {
        let mut files = [
            PollFd::new(&self.stream, PollFlags::IN | PollFlags::RDHUP),
            PollFd::new(bell, PollFlags::IN),
        ];
        let left = end.saturating_duration_since(Instant::now());
        match rustix::event::poll(&mut files, Timespec::try_from(left).ok().as_ref()) {
            Ok(0) => Ok(true),
            Ok(_) => {
                let [capture, _] = files;
                Ok(!capture.revents().is_empty())
            }
            Err(Errno::INTR) => Ok(false),
            Err(error) => Err(self.broken(READING, error.into())),
        }
    }

    /// The session's consumer is done with everything up to `sequence`; see [`Request::Commit`].
    ///
    /// # Errors
    ///
    /// Refused without [`Client::open`] before, or beyond the head.
    pub fn commit(&mut self, sequence: u64) -> Result<(), ClientError> {
        match self.request(&Request::Commit { sequence }, "committing", Duration::ZERO)? {
            Reply::Committed => Ok(()),
            other => Err(self.unexpected("a commit", &other)),
        }
    }

    /// What `publisher status` is to show of the publisher of this session.
    ///
    /// # Errors
    ///
    /// Refused without [`Client::open`] before.
    pub fn report(&mut self, report: PublisherReport) -> Result<(), ClientError> {
        match self.request(&Request::Report(report), "reporting", Duration::ZERO)? {
            Reply::Reported => Ok(()),
            other => Err(self.unexpected("a report", &other)),
        }
    }

    /// How capture is doing.
    ///
    /// # Errors
    ///
    /// Any of [`ClientError`].
    pub fn status(&mut self) -> Result<Status, ClientError> {
        match self.request(&Request::Status, "asking for its status", Duration::ZERO)? {
            Reply::Status(status) => Ok(*status),
            other => Err(self.unexpected("the question for its status", &other)),
        }
    }

    /// Under which identities the records were accepted, see [`Reply::Identities`]; none from a capture that does not
    /// know the question, since it has only one. It ends the session at that, so this connects again: ask before
    /// [`Self::open`].
    ///
    /// # Errors
    ///
    /// Any of [`ClientError`].
    pub fn identities(&mut self) -> Result<Option<Vec<Identity>>, ClientError> {
        match self.ask_identities(&Request::Identities, "asking for its identities") {
            Ok(identities) => Ok(Some(identities)),
            Err(error) if error.refusal() == Some(Refusal::Invalid) => {
                *self = Self::connect(&self.path, self.timeout)?;
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// This consumer has read another record there than the folder has; see [`Request::Renew`].
    ///
    /// # Errors
    ///
    /// Any of [`ClientError`].
    pub fn renew(
        &mut self,
        consumer: &str,
        queue: &str,
        sequence: u64,
    ) -> Result<Vec<Identity>, ClientError> {
        let request = Request::Renew {
            consumer: consumer.to_owned(),
            queue: queue.to_owned(),
            sequence,
        };
        self.ask_identities(&request, "telling that its folder is an older copy")
    }

    fn ask_identities(
        &mut self,
        request: &Request,
        action: &'static str,
    ) -> Result<Vec<Identity>, ClientError> {
        match self.request(request, action, Duration::ZERO)? {
            Reply::Identities(identities) => Ok(identities),
            other => Err(self.unexpected("the question for its identities", &other)),
        }
    }

    /// Where a time begins, in microseconds since 1970-01-01T00:00:00Z by capture's clock.
    ///
    /// # Errors
    ///
    /// Any of [`ClientError`].
    pub fn locate(&mut self, at_us: i64) -> Result<Located, ClientError> {
        match self.request(&Request::Locate { at_us }, "locating a time", Duration::ZERO)? {
            Reply::Located { sequence, tail, head } => Ok(Located { sequence, tail, head }),
            other => Err(self.unexpected("the question for a time", &other)),
        }
    }

    /// Appends telegrams from elsewhere; returns when they are durable. See [`Request::Append`]; all of
    /// them must fit in one frame ([`super::MAX_FRAME_BYTES`]).
    ///
    /// # Errors
    ///
    /// Refused as [`Refusal::Storage`] where the queue cannot take them at present, and as
    /// [`Refusal::Invalid`] where what came before them has not been taken.
    pub fn append(&mut self, part: Append) -> Result<Appended, ClientError> {
        let Append {
            source,
            offset,
            before,
            after,
            telegrams,
        } = part;
        let request = Request::Append {
            source,
            offset,
            before,
            after,
            telegrams,
        };
        match self.request(&request, "appending telegrams", Duration::ZERO)? {
            Reply::Appended { taken, known } => Ok(Appended { taken, known }),
            other => Err(self.unexpected("an append", &other)),
        }
    }

    /// The files imported so far.
    ///
    /// # Errors
    ///
    /// Any of [`ClientError`].
    pub fn imports(&mut self) -> Result<Vec<ImportedFile>, ClientError> {
        match self.request(&Request::Imports, "asking for what was imported", Duration::ZERO)? {
            Reply::Imports(files) => Ok(files),
            other => Err(self.unexpected("the question for what was imported", &other)),
        }
    }

    /// Removes a consumer; whether there was one of that name.
    ///
    /// # Errors
    ///
    /// Refused as [`Refusal::ConsumerInUse`] while a session has it open.
    pub fn forget(&mut self, consumer: &str) -> Result<bool, ClientError> {
        let request = Request::Forget {
            consumer: consumer.to_owned(),
        };
        match self.request(&request, "forgetting a consumer", Duration::ZERO)? {
            Reply::Forgotten { existed } => Ok(existed),
            other => Err(self.unexpected("the removal of a consumer", &other)),
        }
    }

    /// Sends a request and takes its reply; a refusal becomes an error.
    fn request<M: Serialize>(
        &mut self,
        request: &M,
        action: &'static str,
        wait: Duration,
    ) -> Result<Reply, ClientError> {
        self.encode(request)?;
        match self.exchange(action, wait)? {
            Reply::Refused { refusal, message } => Err(ClientError::Refused { refusal, message }),
            reply => Ok(reply),
        }
    }

    /// Makes a request ready to be sent.
    fn encode<M: Serialize>(&mut self, request: &M) -> Result<(), ClientError> {
        // Nothing was sent: the session is as it was.
        codec::encode(request, &mut self.request).map_err(|error| ClientError::Refused {
            refusal: Refusal::Invalid,
            message: error.to_string(),
        })
    }

    /// Sends the request and reads one reply, all within the client's time and `wait`.
    fn exchange(&mut self, action: &'static str, wait: Duration) -> Result<Reply, ClientError> {
        self.begin(action)?;
        let limit = self.timeout + wait;
        let started = Instant::now();
        // A refused hello may arrive although writing failed, so reading is tried all the same.
        let written = Deadline::new(&self.stream, limit).write_all(&self.request);
        // What was asked before is answered before.
        if let Asked::Until(_) = self.asked {
            self.asked = Asked::Answered(self.read_reply(READING, limit, None)?);
            self.is_over = true;
        }
        let left = limit.saturating_sub(started.elapsed());
        self.read_reply(action, left, written.err())
    }

    /// Whatever goes wrong before [`Client::read_reply`] leaves the session out of step, and ends it.
    fn begin(&mut self, action: &'static str) -> Result<(), ClientError> {
        if self.is_over {
            let source = std::io::Error::new(std::io::ErrorKind::NotConnected, "it had ended before");
            return Err(self.broken(action, source));
        }
        self.is_over = true;
        Ok(())
    }

    /// Reads one reply. `not_written` is why the request may not have arrived.
    fn read_reply(
        &mut self,
        action: &'static str,
        limit: Duration,
        not_written: Option<std::io::Error>,
    ) -> Result<Reply, ClientError> {
        match codec::read_frame(&mut Deadline::new(&self.stream, limit), &mut self.reply) {
            Ok(true) => {}
            Ok(false) => {
                let source = not_written.unwrap_or_else(|| {
                    std::io::Error::new(std::io::ErrorKind::UnexpectedEof, "capture ended it")
                });
                return Err(self.broken(action, source));
            }
            Err(error) => return Err(self.codec_error(error, action)),
        }
        let reply = codec::decode(&self.reply).map_err(|error| self.codec_error(error, action))?;
        self.is_over = false;
        Ok(reply)
    }

    fn broken(&self, action: &'static str, source: std::io::Error) -> ClientError {
        let path = self.path.clone();
        ClientError::Broken { path, action, source }
    }

    fn codec_error(&self, error: CodecError, action: &'static str) -> ClientError {
        let path = self.path.clone();
        match error {
            CodecError::Io(source) => ClientError::Broken { path, action, source },
            CodecError::CutShort { .. } => {
                let source = std::io::Error::new(std::io::ErrorKind::UnexpectedEof, error.to_string());
                ClientError::Broken { path, action, source }
            }
            other => ClientError::Misunderstood {
                path,
                detail: other.to_string(),
            },
        }
    }

    fn unexpected(&mut self, what: &str, reply: &Reply) -> ClientError {
        self.is_over = true;
        let mut name = format!("{reply:?}");
        name.truncate(name.find([' ', '(']).unwrap_or(name.len()));
        ClientError::Misunderstood {
            path: self.path.clone(),
            detail: format!("{name} in answer to {what}"),
        }
    }
}

const READING: &str = "reading records";
const RESTING: &str = "waiting for more telegrams";

/// How long capture may take for its hello, which waits for nothing there.
pub const GREETING: Duration = Duration::from_secs(5);

/// What it means that a hello is not answered.
fn silent(path: &Path, error: ClientError) -> ClientError {
    use std::io::ErrorKind::{TimedOut, WouldBlock};
    match error {
        ClientError::Broken { source, .. } if matches!(source.kind(), TimedOut | WouldBlock) => {
            ClientError::Silent {
                path: path.to_path_buf(),
            }
        }
        other => other,
    }
}

/// The process at the other end may be capture.
fn expect_capture(stream: &UnixStream, path: &Path) -> Result<(), ClientError> {
    let checked = peer::check(stream, path);
    let path = path.to_path_buf();
    match checked {
        Ok(Ok(())) => Ok(()),
        Ok(Err(Stranger { user, expected })) => Err(ClientError::Stranger { path, user, expected }),
        Err(source) => Err(ClientError::Broken {
            path,
            action: "asking whose it is",
            source,
        }),
    }
}

/// Connects without waiting longer than `timeout` for a place in the listener's queue.
fn connect_within(path: &Path, timeout: Duration) -> Result<UnixStream, ClientError> {
    let attempt = || -> Result<UnixStream, Errno> {
        let address = SocketAddrUnix::new(path)?;
        let socket = rustix::net::socket_with(
            AddressFamily::UNIX,
            SocketType::STREAM,
            SocketFlags::CLOEXEC,
            None,
        )?;
        sockopt::set_socket_timeout(&socket, sockopt::Timeout::Send, Some(timeout))?;
        loop {
            match rustix::net::connect(&socket, &address) {
                Err(Errno::INTR) => {}
                Err(error) => return Err(error),
                Ok(()) => return Ok(UnixStream::from(socket)),
            }
        }
    };
    let path = path.to_path_buf();
    attempt().map_err(|error| match error {
        Errno::NOENT | Errno::NOTDIR | Errno::CONNREFUSED | Errno::NOTSOCK => match regular_file::kind(&path)
        {
            None => ClientError::NoSocket { path },
            Some(kind) if kind == regular_file::SOCKET => ClientError::NotServed { path },
            Some(kind) => ClientError::NotASocket { path, kind },
        },
        Errno::ACCESS | Errno::PERM => ClientError::Permission { path },
        // As many connections wait to be accepted as may.
        Errno::AGAIN => ClientError::Silent { path },
        other => ClientError::Broken {
            path,
            action: "connecting",
            source: other.into(),
        },
    })
}

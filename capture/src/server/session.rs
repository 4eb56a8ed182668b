//! A session: one client on the socket, in a thread of its own. It reads the queue itself and hands what
//! changes the queue to the thread that keeps it.
//!
//! ```text
//! hello ─► welcome ─► (request ─► reply)*        ends at: the client's end, garbage, a frame that is too
//!    └──► refused (another version)                      long, cut short or too slow, a reply not taken,
//!                                                        a new identity of the queue
//! ```
//!
//! Invariant: whatever a client does, its session ends within the limits and its consumer is free
//! again; memory is bounded by one request and one reply.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::mpsc::{RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, MutexGuard, TryLockError};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;
use shared::bell::Bell;
use shared::record::Record;
use shared::telegram::assembler::Assembler;
use shared::telegram::exported;
use shared::wire::codec::{self, CodecError, HELLO_BYTES};
use shared::wire::deadline::Deadline;
use shared::wire::{
    Digest, Identity, Imported, MAX_FRAME_BYTES, MAX_REQUEST_BYTES, PROTOCOL_VERSION, Refusal, Reply, Request,
};
use thiserror::Error;

use super::activity::Activity;
use super::allowance::Kind;
use super::places::{BRIEF, Stage};
use super::{Common, locked, writers};
use crate::clock;
use crate::keeper::Message;
use crate::queue::{MAX_TELEGRAM_BYTES, ReadError, Reader};

/// Largest sum of the telegrams' bytes in one reply, whatever the client asks for.
const MAX_READ_BYTES: usize = 256 * 1024;

/// Bytes that a record takes in a frame beside its telegram, at most: three numbers and a length of up
/// to nine bytes each.
const RECORD_OVERHEAD_BYTES: usize = 36;

/// Longest wait for a record, whatever the client asks for.
const MAX_WAIT: Duration = Duration::from_secs(60);

/// How long an open waits for a session of the same consumer to end: a publisher that was killed and
/// started again is not turned away.
const HANDOVER: Duration = Duration::from_millis(500);

/// How long the thread that keeps the queue may take for an answer.
const ANSWER: Duration = Duration::from_secs(60);

/// Why a session ended other than by the client's orderly end.
#[derive(Debug, Error)]
enum Ended {
    #[error(transparent)]
    Codec(#[from] CodecError),
    #[error("the client speaks version {theirs} of the protocol, capture version {PROTOCOL_VERSION}")]
    Version { theirs: u32 },
    #[error("nothing was asked for {} s", seconds)]
    Idle { seconds: u64 },
    #[error("it asked for nothing while another client needed its place")]
    GivenUp,
    #[error("there was a place for {} s only", BRIEF.as_secs())]
    Brief,
    #[error("a request of {length} bytes exceeds the limit of {MAX_REQUEST_BYTES}, which only an append may")]
    TooLarge { length: usize },
    #[error("the client went away while it waited")]
    Gone,
    #[error("capture is stopping")]
    Stopping,
    #[error("the queue has a new identity")]
    Renewed,
    #[error("the queue's thread did not answer within {} s", ANSWER.as_secs())]
    Unanswered,
}

impl From<std::io::Error> for Ended {
    fn from(error: std::io::Error) -> Self {
        Self::Codec(error.into())
    }
}

/// A client that has a place.
#[derive(Debug)]
pub struct Guest {
    /// Number of its session, which no other has.
    pub number: u64,
    /// The user that it runs as.
    pub user: u32,
    /// Whether that user may change the queue.
    pub may_change: bool,
    /// Until when it has its place, if that is a brief one.
    pub until: Option<Instant>,
    /// What its session is at.
    pub activity: Arc<Activity>,
}

/// One client.
#[derive(Debug)]
pub struct Session {
    guest: Guest,
    reader: Reader,
    keeper: SyncSender<Message>,
    common: Arc<Common>,
    consumer: Option<String>,
    bell: Option<Arc<Bell>>,
    /// What the client has been told of them.
    identities: Arc<[Identity]>,
    vetting: Option<Box<Vetting>>,
}

/// The file whose telegrams are appended: what was learnt of its meters goes from part to part.
#[derive(Debug)]
struct Vetting {
    assembler: Assembler,
    /// Digest of the telegrams so far.
    after: Digest,
}

impl Session {
    /// A session of that client.
    pub fn new(guest: Guest, reader: Reader, keeper: SyncSender<Message>, common: Arc<Common>) -> Self {
        Self {
            guest,
            identities: reader.identities(),
            reader,
            keeper,
            common,
            consumer: None,
            bell: None,
            vetting: None,
        }
    }

    /// Serves the client to its end.
    pub fn run(mut self, stream: &UnixStream) {
        let ended = self.serve(stream);
        // Frees its consumer. A keeper that is gone keeps none.
        let session = self.guest.number;
        let _ = self.keeper.send(Message::SessionEnded { session });
        let why = match ended {
            _ if self.guest.activity.has_given_up_place() => Ended::GivenUp.to_string(),
            Ok(()) => "the client ended it".to_owned(),
            Err(error) => error.to_string(),
        };
        match self.consumer {
            Some(consumer) => {
                if let Some(more) = self.common.rated() {
                    tracing::info!("consumer {consumer} is disconnected: {why}{more}");
                }
            }
            None => tracing::debug!("session {session} ended: {why}"),
        }
    }

    fn serve(&mut self, stream: &UnixStream) -> Result<(), Ended> {
        self.wait_its_turn(Kind::Connection, stream)?;
        let mut hello = [0; HELLO_BYTES];
        Deadline::new(stream, self.common.limits.hello).read_exact(&mut hello)?;
        let mut buffer = Vec::new();
        let theirs = codec::hello_version(&hello)?;
        if theirs != PROTOCOL_VERSION {
            let message = format!(
                "the client speaks version {theirs} of the protocol and capture version {PROTOCOL_VERSION}: \
                 install capture and publisher of one release"
            );
            let reply = Reply::Refused {
                refusal: Refusal::Version,
                message,
            };
            self.reply(stream, reply, &mut buffer)?;
            return Err(Ended::Version { theirs });
        }
        let welcome = Reply::Welcome {
            queue: self.newest_identity(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
        };
        self.reply(stream, welcome, &mut buffer)?;
        loop {
            self.await_request(stream, &mut buffer)?;
            let Some(length) = codec::read_length(&mut self.deadline(stream))? else {
                return Ok(());
            };
            let common = Arc::clone(&self.common);
            let large = self.admit(length, &common, stream)?;
            if length > MAX_REQUEST_BYTES && large.is_none() {
                return Err(self.too_large(length, stream, &mut buffer)?);
            }
            codec::read_body(&mut self.deadline(stream), length, &mut buffer)?;
            if large.is_some() && !Request::is_append(&buffer) {
                return Err(self.too_large(length, stream, &mut buffer)?);
            }
            let request = match codec::decode(&buffer) {
                Ok(request) => request,
                Err(error) => {
                    let message = error.to_string();
                    let reply = Reply::Refused {
                        refusal: Refusal::Invalid,
                        message,
                    };
                    self.reply(stream, reply, &mut buffer)?;
                    return Err(error.into());
                }
            };
            // Another large request may come as soon as this one's memory is given back.
            if buffer.capacity() > KEPT_FOR_PARTS_BYTES {
                buffer = Vec::new();
            }
            let reply = self.answer(request, stream)?;
            drop(large);
            if self.consumer.is_none() {
                self.guest.activity.is_at(Stage::Guest);
            }
            self.reply(stream, reply, &mut buffer)?;
            if self.consumer.is_some() {
                self.guest.activity.is_at(Stage::Resting);
            }
        }
    }

    /// By when a frame has come or gone.
    fn deadline<'a>(&self, stream: &'a UnixStream) -> Deadline<'a> {
        let left = self
            .guest
            .until
            .map(|until| until.saturating_duration_since(Instant::now()));
        let frame = self.common.limits.frame;
        Deadline::new(stream, left.map_or(frame, |left| frame.min(left)))
    }

    /// Lets one large request be taken in at a time, of those who may append; the others wait.
    fn admit<'a>(
        &self,
        length: usize,
        common: &'a Common,
        stream: &UnixStream,
    ) -> Result<Option<MutexGuard<'a, ()>>, Ended> {
        if length <= MAX_REQUEST_BYTES || !self.guest.may_change {
            return Ok(None);
        }
        self.is_queued();
        loop {
            match common.large.try_lock() {
                Ok(large) => return Ok(Some(large)),
                Err(TryLockError::Poisoned(poisoned)) => return Ok(Some(poisoned.into_inner())),
                // Looked at again, and not waited for: who goes away meanwhile is to be noticed.
                Err(TryLockError::WouldBlock) => has_stayed(stream, LARGE_ROUND)?,
            }
        }
    }

    /// Its request waits for others. A consumer keeps its place.
    fn is_queued(&self) {
        self.guest.activity.is_at(match self.consumer {
            None => Stage::Queued,
            Some(_) => Stage::Busy,
        });
    }

    fn too_large(&self, length: usize, stream: &UnixStream, frame: &mut Vec<u8>) -> Result<Ended, Ended> {
        let ended = Ended::TooLarge { length };
        let reply = Reply::Refused {
            refusal: Refusal::Invalid,
            message: ended.to_string(),
        };
        self.reply(stream, reply, frame)?;
        Ok(ended)
    }

    fn reply(&self, stream: &UnixStream, reply: Reply, frame: &mut Vec<u8>) -> Result<(), Ended> {
        codec::encode(&reply, frame)?;
        // A client that does not take it keeps it only once in memory.
        drop(reply);
        self.deadline(stream).write_all(frame)?;
        Ok(())
    }

    /// Waits until the client's user may ask for one more of this kind. One that goes away meanwhile ends it.
    fn wait_its_turn(&self, kind: Kind, stream: &UnixStream) -> Result<(), Ended> {
        let turn = Instant::now() + self.common.take(self.guest.user, kind);
        loop {
            let left = turn.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(());
            }
            if let Err(ended) = has_stayed(stream, left) {
                locked(&self.common.allowances).give_back(self.guest.user, kind);
                return Err(ended);
            }
        }
    }

    /// Waits for the first byte of a request, or for the end. A client that pauses leaves little in the buffer: not
    /// earlier, since to make it grow again for every batch of a backlog takes as long as reading the batch.
    fn await_request(&self, stream: &UnixStream, buffer: &mut Vec<u8>) -> Result<(), Ended> {
        let limit = self.consumer.is_none().then_some(self.common.limits.idle);
        let until = limit.map(|limit| Instant::now() + limit);
        let until = self.guest.until.or(until);
        loop {
            let left = until.map(|until| until.saturating_duration_since(Instant::now()));
            let is_large = buffer.capacity() > KEPT_BYTES;
            let left = match left {
                _ if !is_large => left,
                Some(left) => Some(left.min(PAUSE)),
                None => Some(PAUSE),
            };
            // A span beyond what the system can count is none.
            let timeout = left.and_then(|left| Timespec::try_from(left).ok());
            let mut files = [PollFd::new(stream, PollFlags::IN | PollFlags::RDHUP)];
            match rustix::event::poll(&mut files, timeout.as_ref()) {
                Err(Errno::INTR) => {}
                Err(error) => return Err(std::io::Error::from(error).into()),
                Ok(0) if is_large => {
                    buffer.clear();
                    buffer.shrink_to(KEPT_BYTES);
                }
                Ok(0) if self.guest.until.is_some() => return Err(Ended::Brief),
                Ok(0) => {
                    return Err(Ended::Idle {
                        seconds: limit.unwrap_or_default().as_secs(),
                    });
                }
                Ok(_) => return Ok(()),
            }
        }
    }

    fn newest_identity(&self) -> String {
        let newest = self.identities.last();
        newest.map_or_else(String::new, |identity| identity.queue.clone())
    }

    fn answer(&mut self, request: Request, stream: &UnixStream) -> Result<Reply, Ended> {
        if let Some(kind) = Kind::of(&request) {
            self.is_queued();
            self.wait_its_turn(kind, stream)?;
        }
        if let Some(refused) = self.refusal(&request) {
            return Ok(refused);
        }
        self.guest.activity.is_at(match request {
            Request::Read { .. } if self.consumer.is_none() => Stage::Guest,
            _ => Stage::Busy,
        });
        match request {
            Request::Read {
                from,
                max_bytes,
                wait_ms,
            } => {
                let longest = if self.guest.until.is_some() {
                    Duration::ZERO
                } else {
                    MAX_WAIT
                };
                let wait = Duration::from_millis(u64::from(wait_ms)).min(longest);
                self.read(
                    from,
                    usize::try_from(max_bytes).unwrap_or(usize::MAX),
                    wait,
                    stream,
                )
            }
            Request::Locate { at_us } => Ok(match self.reader.locate(at_us) {
                Ok(sequence) => Reply::Located {
                    sequence,
                    tail: self.reader.tail(),
                    head: self.reader.head(),
                },
                Err(error) => refused_read(&error),
            }),
            Request::Open { consumer, start } => {
                let until = Instant::now() + HANDOVER;
                loop {
                    let request = Request::Open {
                        consumer: consumer.clone(),
                        start,
                    };
                    let reply = self.order(request)?;
                    match reply {
                        Reply::Refused {
                            refusal: Refusal::ConsumerInUse,
                            ..
                        } if Instant::now() < until => {
                            std::thread::sleep(Duration::from_millis(50));
                        }
                        Reply::Opened { cursor, head } => {
                            let lag = head.saturating_sub(cursor);
                            if let Some(more) = self.common.rated() {
                                tracing::info!(
                                    "consumer {consumer} is connected at {cursor}, {lag} behind{more}"
                                );
                            }
                            self.consumer = Some(consumer);
                            return Ok(reply);
                        }
                        other => return Ok(other),
                    }
                }
            }
            Request::Identities => Ok(self.tell_identities()),
            request @ Request::Renew { .. } => match self.order(request)? {
                Reply::Identities(_) => Ok(self.tell_identities()),
                other => Ok(other),
            },
            other => self.order(other),
        }
    }

    /// Why this is not carried out for this client, if it is not.
    fn refusal(&mut self, request: &Request) -> Option<Reply> {
        let change = writers::refusal(self.guest.user, request);
        match request {
            _ if change.is_some() && !self.guest.may_change => change,
            _ if change.is_some() && self.guest.until.is_some() => Some(Reply::Refused {
                refusal: Refusal::Busy,
                message:
                    "so many sessions are open that there is no place for more than a status; try again later"
                        .to_owned(),
            }),
            Request::Append {
                offset,
                before,
                after,
                telegrams,
                ..
            } => self.vet(*offset, *before, *after, telegrams).err(),
            _ => None,
        }
    }

    /// Whether all of these are valid telegrams, by the verdict that an import comes to.
    fn vet(
        &mut self,
        offset: u64,
        before: Digest,
        after: Digest,
        telegrams: &[Imported],
    ) -> Result<(), Reply> {
        let vetting = self.vetting.take();
        let goes_on = vetting.filter(|vetting| offset > 0 && vetting.after == before);
        let mut vetting = goes_on.unwrap_or_else(|| {
            Box::new(Vetting {
                assembler: Assembler::new(self.common.policy, BTreeSet::new()),
                after,
            })
        });
        for (position, imported) in telegrams.iter().enumerate() {
            // The queue says that this is too long.
            if imported.telegram.len() > MAX_TELEGRAM_BYTES {
                continue;
            }
            if let Err(why) = exported::whole(&imported.telegram, &mut vetting.assembler) {
                let message = format!(
                    "telegram {} of these {} is not valid: {why}; only valid telegrams are appended",
                    position + 1,
                    telegrams.len()
                );
                return Err(Reply::Refused {
                    refusal: Refusal::Invalid,
                    message,
                });
            }
        }
        vetting.after = after;
        self.vetting = Some(vetting);
        Ok(())
    }

    fn tell_identities(&mut self) -> Reply {
        self.identities = self.reader.identities();
        Reply::Identities(self.identities.to_vec())
    }

    /// Has the thread that keeps the queue carry out a request.
    fn order(&self, request: Request) -> Result<Reply, Ended> {
        let (answer, answered) = sync_channel(1);
        let order = Message::Order {
            session: self.guest.number,
            request,
            answer,
        };
        self.keeper.send(order).map_err(|_| Ended::Stopping)?;
        answered.recv_timeout(ANSWER).map_err(|error| match error {
            RecvTimeoutError::Timeout => Ended::Unanswered,
            RecvTimeoutError::Disconnected => Ended::Stopping,
        })
    }

    fn read(
        &mut self,
        from: u64,
        max_bytes: usize,
        wait: Duration,
        stream: &UnixStream,
    ) -> Result<Reply, Ended> {
        let until = Instant::now() + wait;
        let from = from.max(1);
        // One bell for as long as the session lasts.
        if self.bell.is_none() && !wait.is_zero() {
            self.bell = Some(self.reader.bell()?);
        }
        let mut is_asked = false;
        loop {
            // Before looking: what comes while it is looked rings again.
            if let Some(bell) = &self.bell {
                bell.silence();
            }
            let batch = self.reader.read(from, max_bytes.min(MAX_READ_BYTES));
            // After reading: the client would take what has been read for records of an identity before.
            if !Arc::ptr_eq(&self.identities, &self.reader.identities()) {
                return Err(Ended::Renewed);
            }
            match batch {
                Ok(batch) if !batch.records.is_empty() => {
                    return Ok(Reply::Records {
                        records: fitting(batch.records),
                        head: batch.head,
                    });
                }
                Ok(batch) => {
                    let left = until.saturating_duration_since(Instant::now());
                    let bell = self.bell.as_ref().filter(|_| !left.is_zero() && !is_asked);
                    let Some(bell) = bell else {
                        let silence_ms = self.reader.silence_ms(clock::uptime_us());
                        return Ok(Reply::Idle {
                            head: batch.head,
                            silence_ms,
                        });
                    };
                    if self.reader.is_closed() {
                        return Err(Ended::Stopping);
                    }
                    is_asked = wait_for(bell, stream, left)?;
                }
                Err(error) => return Ok(refused_read(&error)),
            }
        }
    }
}

/// What a session's buffer may keep once its client has paused, in bytes.
const KEPT_BYTES: usize = 64 * 1024;

/// What it may keep of a part of a file that came, in bytes: what `capture import` sends.
const KEPT_FOR_PARTS_BYTES: usize = 512 * 1024;

/// How long a client asks for nothing before that.
const PAUSE: Duration = Duration::from_secs(1);

fn refused_read(error: &ReadError) -> Reply {
    Reply::Refused {
        refusal: Refusal::Storage,
        message: format!("the queue cannot be read: {error}"),
    }
}

/// As many of the records as fit in a frame; at least one.
fn fitting(mut records: Vec<Record>) -> Vec<Record> {
    let mut bytes = 0;
    let room = MAX_FRAME_BYTES - 2 * RECORD_OVERHEAD_BYTES;
    let count = records
        .iter()
        .take_while(|record| {
            bytes += record.telegram.len() + RECORD_OVERHEAD_BYTES;
            bytes <= room
        })
        .count();
    records.truncate(count.max(1));
    records
}

/// Waits for so long, or less; a client that goes away meanwhile is an error.
fn has_stayed(stream: &UnixStream, longest: Duration) -> Result<(), Ended> {
    let mut files = [PollFd::new(stream, PollFlags::RDHUP)];
    match rustix::event::poll(&mut files, Timespec::try_from(longest).ok().as_ref()) {
        Ok(0) | Err(Errno::INTR) => Ok(()),
        Ok(_) => Err(Ended::Gone),
        Err(error) => Err(std::io::Error::from(error).into()),
    }
}

/// How often a session whose large request waits looks whether another's has been taken in.
const LARGE_ROUND: Duration = Duration::from_millis(50);

/// Waits until the bell rings, at most this long; true where the client asks for something else meanwhile. One
/// that goes away ends it.
fn wait_for(bell: &Bell, stream: &UnixStream, longest: Duration) -> Result<bool, Ended> {
    let mut files = [
        PollFd::new(stream, PollFlags::IN | PollFlags::RDHUP),
        PollFd::new(bell, PollFlags::IN),
    ];
    let timeout = Timespec::try_from(longest).ok();
    match rustix::event::poll(&mut files, timeout.as_ref()) {
        Ok(_) => {}
        Err(Errno::INTR) => return Ok(false),
        Err(error) => return Err(std::io::Error::from(error).into()),
    }
    let [client, _] = files;
    match client.revents() {
        events if events.is_empty() => Ok(false),
        PollFlags::IN => Ok(true),
        _ => Err(Ended::Gone),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use shared::config::CrcPolicy;

    use crate::queue::{Queue, QueueOptions};
    use crate::server::Limits;

    #[test]
    fn a_client_that_pauses_gives_the_room_of_a_large_reply_back_and_one_that_goes_on_does_not() {
        let folder = tempfile::tempdir().unwrap();
        let (queue, _) = Queue::open(&QueueOptions::new(folder.path().join("queue"))).unwrap();
        let (keeper, _kept) = sync_channel(1);
        let guest = Guest {
            number: 1,
            user: 0,
            may_change: true,
            until: None,
            activity: Arc::default(),
        };
        let common = Arc::new(Common::new(Limits::default(), CrcPolicy::Auto));
        let session = Session::new(guest, queue.reader(), keeper, common);
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let mut buffer = Vec::with_capacity(4 * KEPT_BYTES);

        theirs.write_all(b"x").unwrap();
        session.await_request(&ours, &mut buffer).unwrap();
        assert!(buffer.capacity() >= 4 * KEPT_BYTES);

        Deadline::new(&ours, PAUSE).read_exact(&mut [0]).unwrap();
        let asking = std::thread::spawn(move || {
            std::thread::sleep(PAUSE * 3 / 2);
            theirs.write_all(b"x").unwrap();
            theirs
        });
        session.await_request(&ours, &mut buffer).unwrap();
        assert!(
            buffer.capacity() <= KEPT_BYTES,
            "{} bytes kept",
            buffer.capacity()
        );
        drop(asking.join().unwrap());
    }
}

//! The session with capture: a thread of its own that connects to the socket, reads what it is told
//! to, and hands over commits and reports between two reads.
//!
//! Invariants:
//!
//! * It reads only on command, one batch at a time, so whoever gives the commands bounds the memory.
//! * Commands name the session they are for; those for a former one are dropped.
//! * A command never waits for a record: it ends the wait of the read that is under way.
//! * A session that ends is noticed at once, also while nothing is asked.
//! * What one session gives was accepted under one identity. If the next record is of another one, another
//!   session is told, on the same connection.
//! * A folder that is an older copy than what was read of it is found out: by a head below the last record read, or
//!   another record in its place. Capture then gives what follows a new identity, and nothing is asked for or
//!   committed by a sequence of the former history.
//! * It never gives up: without a session it tries again with back-off, and says each time why.

use std::hash::{DefaultHasher, Hasher};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TryRecvError, TrySendError, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use shared::backoff::Backoff;
use shared::bell::Bell;
use shared::record::Record;
use shared::wire::client::{Batch, Client, ClientError};
use shared::wire::{self, Identity, PublisherReport, Refusal, Start};

/// Bound on the telegrams' bytes in one batch. For each both programs wake several times, which on busy processors
/// takes longer than the work.
pub const BATCH_BYTES: u32 = 192 * 1024;
/// Longest wait of a read for a first record. A command ends it.
pub const LONGEST_WAIT: Duration = Duration::from_secs(5);

const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
const FIRST_DELAY: Duration = Duration::from_millis(200);
const LONGEST_DELAY: Duration = Duration::from_secs(5);
const COMMANDS: usize = 1024;
/// A sequence beyond every head, whose record is never there: the answer tells the head.
const BEYOND: u64 = u64::MAX / 2;

/// Whose cursor it is, and where.
#[derive(Debug, Clone)]
pub struct SourceSettings {
    /// Capture's socket.
    pub socket: PathBuf,
    /// The consumer's name.
    pub consumer: String,
    /// Where it begins when it is new.
    pub start: Start,
}

/// What the thread is told.
#[derive(Debug)]
pub enum SourceCommand {
    /// Read a batch. Answered by [`SourceEvent::Records`] or [`SourceEvent::Idle`].
    Read {
        /// In which session.
        session: u64,
        /// First sequence wanted.
        from: u64,
        /// Longest wait for a first record.
        wait: Duration,
    },
    /// Read the newest record. Answered by [`SourceEvent::Head`], or not at all in an empty queue.
    Head {
        /// In which session.
        session: u64,
    },
    /// Move the cursor.
    Commit {
        /// In which session.
        session: u64,
        /// To this sequence.
        sequence: u64,
    },
    /// What `publisher status` shows.
    Report {
        /// In which session.
        session: u64,
        /// The report.
        report: Box<PublisherReport>,
    },
    /// Carry out what was told before, and end.
    Finish,
}

/// What happened.
#[derive(Debug)]
pub enum SourceEvent {
    /// There is a session, and the consumer is ours.
    Opened(Box<Opened>),
    /// Records in order.
    Records {
        /// Never empty.
        records: Vec<Record>,
        /// Highest durable sequence.
        head: u64,
    },
    /// There is none yet.
    Idle {
        /// Highest durable sequence.
        head: u64,
        /// Milliseconds since the last telegram came; 0 while one is on its way to the disk.
        silence_ms: u64,
    },
    /// The newest record.
    Head(Box<Record>),
    /// There is no session; the next attempt follows.
    Away {
        /// Why, in words.
        words: String,
        /// Whether capture has refused: another publisher is this consumer.
        is_taken: bool,
    },
    /// The thread has ended after [`SourceCommand::Finish`].
    Finished,
}

/// What a session begins with.
#[derive(Debug)]
pub struct Opened {
    /// Number of the session, rising.
    pub session: u64,
    /// Identity of the queue.
    pub queue: String,
    /// Last sequence that the consumer has committed.
    pub cursor: u64,
    /// Highest durable sequence.
    pub head: u64,
    /// The record at the cursor, where it is still kept.
    pub before: Option<Record>,
    /// Milliseconds since the last telegram came.
    pub silence_ms: u64,
}

/// The running thread.
#[derive(Debug)]
pub struct Source {
    // In this order: the thread finds the channel closed when the bell has rung for the last time.
    commands: SyncSender<SourceCommand>,
    bell: Rope,
}

/// Rings with every command, and at the end.
#[derive(Debug)]
struct Rope(Arc<Bell>);

impl Drop for Rope {
    fn drop(&mut self) {
        self.0.ring();
    }
}

/// The thread has ended, or does not take commands any longer.
#[derive(Debug, thiserror::Error)]
#[error("the thread that keeps the session with capture does not take commands any longer")]
pub struct Stuck;

impl Source {
    /// Starts the thread. `report` is called on it for every event, and may block to slow it down.
    ///
    /// # Errors
    /// Where the system gives no thread, or no file.
    pub fn start(
        settings: SourceSettings,
        report: impl FnMut(SourceEvent) + Send + 'static,
    ) -> std::io::Result<Self> {
        let (commands, received) = sync_channel(COMMANDS);
        let bell = Arc::new(Bell::new()?);
        let rung = Arc::clone(&bell);
        thread::Builder::new().name("source".to_owned()).spawn(move || {
            Keeper {
                settings,
                report,
                commands: received,
                bell: rung,
                session: 0,
                seen: None,
                has_done: false,
            }
            .run();
        })?;
        let bell = Rope(bell);
        Ok(Self { commands, bell })
    }

    /// Hands commands over without waiting. Those that come together wake the thread once.
    ///
    /// # Errors
    /// [`Stuck`]; the rest of the commands is lost.
    pub fn tell(&self, commands: impl IntoIterator<Item = SourceCommand>) -> Result<(), Stuck> {
        for command in commands {
            self.commands.try_send(command).map_err(|error| match error {
                TrySendError::Full(_) | TrySendError::Disconnected(_) => Stuck,
            })?;
        }
        self.bell.0.ring();
        Ok(())
    }
}

/// Why a session ended.
enum Ended {
    Finished,
    Broken(String),
}

impl From<ClientError> for Ended {
    fn from(error: ClientError) -> Self {
        Self::Broken(error.to_string())
    }
}

/// What the thread keeps between sessions.
struct Keeper<R> {
    settings: SourceSettings,
    report: R,
    commands: Receiver<SourceCommand>,
    bell: Arc<Bell>,
    session: u64,
    /// The identity of the last session, and the last record that it gave.
    seen: Option<(String, Option<Seen>)>,
    /// Whether capture has carried out anything that it was asked for in this session.
    has_done: bool,
}

/// A record, to be known again.
#[derive(Debug, PartialEq, Eq)]
struct Seen {
    sequence: u64,
    captured_at_us: i64,
    hash: u64,
}

impl From<&Record> for Seen {
    fn from(record: &Record) -> Self {
        let mut hasher = DefaultHasher::new();
        hasher.write(&record.telegram);
        Self {
            sequence: record.sequence,
            captured_at_us: record.captured_at_us,
            hash: hasher.finish(),
        }
    }
}

/// A connection, and the identity whose records it gives at present.
struct Connection {
    client: Client,
    identities: Vec<Identity>,
    /// Which of them; one that there is.
    place: usize,
}

/// Why there is no session.
enum NotOpened {
    Client(ClientError),
    /// The folder is an older copy, and capture cannot give it a new identity.
    Older {
        queue: String,
        sequence: u64,
        version: String,
    },
}

impl From<ClientError> for NotOpened {
    fn from(error: ClientError) -> Self {
        Self::Client(error)
    }
}

impl<R: FnMut(SourceEvent)> Keeper<R> {
    fn run(mut self) {
        let mut backoff = Backoff::new(FIRST_DELAY, LONGEST_DELAY);
        loop {
            let (words, is_taken) = match self.open() {
                Ok((connection, opened)) => {
                    self.opened(opened);
                    let ended = self.serve(connection);
                    // One that is opened and refused at once, again and again, is no progress.
                    if std::mem::take(&mut self.has_done) {
                        backoff.reset();
                    }
                    match ended {
                        Ended::Finished => break,
                        Ended::Broken(words) => (words, false),
                    }
                }
                Err(error) => self.words(&error),
            };
            (self.report)(SourceEvent::Away { words, is_taken });
            if !self.pause(backoff.next_delay(crate::jitter::random())) {
                break;
            }
        }
        (self.report)(SourceEvent::Finished);
    }

    fn open(&mut self) -> Result<(Connection, Opened), NotOpened> {
        let mut client = Client::connect(&self.settings.socket, REQUEST_TIMEOUT)?;
        let told = client.identities()?;
        let can_renew = told.is_some();
        let mut identities = told.unwrap_or_else(|| vec![Identity::only(client.queue())]);
        if let Some((queue, sequence)) = self.missing(&mut client, &identities)? {
            if !can_renew {
                let version = client.version().to_owned();
                return Err(NotOpened::Older {
                    queue,
                    sequence,
                    version,
                });
            }
            identities = client.renew(&self.settings.consumer, &queue, sequence)?;
        }
        let opened = client.open(&self.settings.consumer, self.settings.start)?;
        // The identity of the next record; or of the last session, which has read on beyond the cursor.
        let of_next = wire::place_of(&identities, opened.cursor + 1);
        let of_last = self
            .seen
            .as_ref()
            .and_then(|(queue, _)| identities.iter().position(|identity| identity.queue == *queue));
        let place = of_next.max(of_last.unwrap_or(0));
        let mut connection = Connection {
            client,
            identities,
            place,
        };
        let cursor = opened.cursor.max(connection.first().saturating_sub(1));
        let opened = self.begin(&mut connection, cursor, opened.head)?;
        Ok((connection, opened))
    }

    /// The identity and the sequence of the last record read, if capture does not have it, or another one in its
    /// place, under the same identity.
    fn missing(
        &self,
        client: &mut Client,
        identities: &[Identity],
    ) -> Result<Option<(String, u64)>, ClientError> {
        let Some((queue, Some(seen))) = &self.seen else {
            return Ok(None);
        };
        // Under a former identity it is known what there is of it.
        if identities.last().is_none_or(|newest| newest.queue != *queue) {
            return Ok(None);
        }
        let is_there = match client.read(seen.sequence, 1, Duration::ZERO)? {
            // One that is no longer kept was delivered, or lost to the bound.
            Batch::Records { records, .. } => records
                .first()
                .is_none_or(|record| record.sequence != seen.sequence || Seen::from(record) == *seen),
            Batch::Idle { head, .. } => head >= seen.sequence,
        };
        Ok((!is_there).then(|| (queue.clone(), seen.sequence)))
    }

    /// What the next session of this connection begins with.
    fn begin(&self, connection: &mut Connection, cursor: u64, head: u64) -> Result<Opened, ClientError> {
        let client = &mut connection.client;
        let before = match cursor {
            0 => None,
            cursor => match client.read(cursor, 1, Duration::ZERO)? {
                Batch::Records { records, .. } => records
                    .into_iter()
                    .next()
                    .filter(|record| record.sequence == cursor),
                Batch::Idle { .. } => None,
            },
        };
        // Nothing is beyond the head, so the answer is how long the meter has been silent.
        let silence_ms = match client.read(head + 1, 1, Duration::ZERO)? {
            Batch::Idle { silence_ms, .. } => silence_ms,
            Batch::Records { .. } => 0,
        };
        Ok(Opened {
            session: self.session + 1,
            queue: connection.queue().to_owned(),
            cursor,
            head,
            before,
            silence_ms,
        })
    }

    fn opened(&mut self, opened: Opened) {
        self.session = opened.session;
        match &self.seen {
            Some((queue, _)) if *queue == opened.queue => {}
            _ => self.seen = Some((opened.queue.clone(), opened.before.as_ref().map(Seen::from))),
        }
        (self.report)(SourceEvent::Opened(Box::new(opened)));
    }

    /// Why there is no session, and whether that is because another session has it.
    fn words(&self, error: &NotOpened) -> (String, bool) {
        match error {
            NotOpened::Client(error) if error.refusal() == Some(Refusal::ConsumerInUse) => {
                let words = format!(
                    "the consumer {} is in use by another session: a former one of this publisher ends by \
                     itself; another publisher must be stopped, or given a name of its own as mqtt.consumer",
                    self.settings.consumer
                );
                (words, true)
            }
            NotOpened::Client(error) => (error.to_string(), false),
            NotOpened::Older {
                queue,
                sequence,
                version,
            } => {
                let words = format!(
                    "#{sequence} of the queue {queue} has been read and is no longer in it: its folder is an older \
                     copy, and this capture ({version}) cannot give it a new identity: install capture and \
                     publisher of one release"
                );
                (words, false)
            }
        }
    }

    /// Carries out commands until the session breaks. Commits that wait together are one.
    fn serve(&mut self, mut connection: Connection) -> Ended {
        let mut outstanding = Outstanding::default();
        loop {
            // Before looking: what is told from here on rings again.
            self.bell.silence();
            loop {
                match self.commands.try_recv() {
                    Ok(command) => outstanding.add(self.session, command),
                    Err(TryRecvError::Empty) => break,
                    Err(TryRecvError::Disconnected) => return Ended::Finished,
                }
            }
            let done = if outstanding.is_empty() && !connection.client.is_asked() {
                connection.client.rest(&self.bell).map_err(Ended::from)
            } else {
                self.carry_out(&mut connection, &mut outstanding)
            };
            if let Err(ended) = done {
                return ended;
            }
        }
    }

    fn carry_out(&mut self, connection: &mut Connection, outstanding: &mut Outstanding) -> Result<(), Ended> {
        let last = connection.last();
        let client = &mut connection.client;
        if let Some(sequence) = outstanding.commit.take() {
            // What was read beyond it was of another history.
            client.commit(last.map_or(sequence, |last| sequence.min(last)))?;
            self.has_done = true;
        }
        if let Some(report) = outstanding.report.take() {
            client.report(*report)?;
            self.has_done = true;
        }
        if outstanding.is_finish {
            return Err(Ended::Finished);
        }
        if std::mem::take(&mut outstanding.is_head) {
            if let Some(record) = newest(client)? {
                (self.report)(SourceEvent::Head(Box::new(record)));
            }
        }
        if let Some((from, wait)) = outstanding.read.take() {
            let from = last.map_or(from, |last| from.min(last + 1));
            client.ask(from, BATCH_BYTES, wait.min(LONGEST_WAIT))?;
        }
        let batch = client.answer(&self.bell)?;
        self.has_done |= batch.is_some();
        match batch {
            Some(Batch::Records { mut records, head }) => {
                let count = records.partition_point(|record| last.is_none_or(|last| record.sequence <= last));
                records.truncate(count);
                let Some(newest) = records.last() else {
                    return self.turn(connection, outstanding, head);
                };
                // What is before the cursor is read too, for deltas to count from.
                if let Some((_, seen)) = &mut self.seen {
                    if seen.as_ref().is_none_or(|seen| seen.sequence < newest.sequence) {
                        *seen = Some(Seen::from(newest));
                    }
                }
                (self.report)(SourceEvent::Records { records, head });
            }
            Some(Batch::Idle { head, silence_ms }) => {
                (self.report)(SourceEvent::Idle { head, silence_ms });
            }
            None => {}
        }
        Ok(())
    }

    /// All of this identity has been read, and there are records of the next.
    fn turn(
        &mut self,
        connection: &mut Connection,
        outstanding: &mut Outstanding,
        head: u64,
    ) -> Result<(), Ended> {
        connection.place += 1;
        let cursor = connection.first().saturating_sub(1);
        let opened = self.begin(connection, cursor, head)?;
        *outstanding = Outstanding {
            is_finish: outstanding.is_finish,
            ..Outstanding::default()
        };
        self.opened(opened);
        Ok(())
    }

    /// False where the thread is to end.
    fn pause(&self, delay: Duration) -> bool {
        let until = Instant::now() + delay;
        loop {
            match self
                .commands
                .recv_timeout(until.saturating_duration_since(Instant::now()))
            {
                Ok(SourceCommand::Finish) | Err(RecvTimeoutError::Disconnected) => return false,
                Ok(_) => {}
                Err(RecvTimeoutError::Timeout) => return true,
            }
        }
    }
}

impl Connection {
    fn queue(&self) -> &str {
        self.identities
            .get(self.place)
            .map_or("", |identity| &identity.queue)
    }

    /// The first sequence that may be of this identity.
    fn first(&self) -> u64 {
        self.identities
            .get(self.place)
            .map_or(1, |identity| identity.first_sequence)
    }

    /// The last one; none if it is the newest.
    fn last(&self) -> Option<u64> {
        let next = self.identities.get(self.place + 1)?;
        Some(next.first_sequence.saturating_sub(1))
    }
}

fn newest(client: &mut Client) -> Result<Option<Record>, ClientError> {
    let head = match client.read(BEYOND, 1, Duration::ZERO)? {
        Batch::Idle { head, .. } | Batch::Records { head, .. } => head,
    };
    if head == 0 {
        return Ok(None);
    }
    match client.read(head, 1, Duration::ZERO)? {
        Batch::Records { records, .. } => Ok(records.into_iter().next()),
        Batch::Idle { .. } => Ok(None),
    }
}

/// What the session is still to do.
#[derive(Default)]
struct Outstanding {
    commit: Option<u64>,
    report: Option<Box<PublisherReport>>,
    is_head: bool,
    read: Option<(u64, Duration)>,
    is_finish: bool,
}

impl Outstanding {
    fn is_empty(&self) -> bool {
        self.commit.is_none()
            && self.report.is_none()
            && !self.is_head
            && self.read.is_none()
            && !self.is_finish
    }

    fn add(&mut self, present: u64, command: SourceCommand) {
        match command {
            SourceCommand::Read { session, from, wait } if session == present => {
                self.read = Some((from, wait));
            }
            SourceCommand::Head { session } if session == present => self.is_head = true,
            SourceCommand::Commit { session, sequence } if session == present => {
                self.commit = self.commit.max(Some(sequence));
            }
            SourceCommand::Report { session, report } if session == present => self.report = Some(report),
            SourceCommand::Finish => self.is_finish = true,
            SourceCommand::Read { .. }
            | SourceCommand::Head { .. }
            | SourceCommand::Commit { .. }
            | SourceCommand::Report { .. } => {}
        }
    }
}

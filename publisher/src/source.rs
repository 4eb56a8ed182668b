//! The session with capture: a thread of its own that connects to the socket, reads what it is told
//! to, and hands over commits and reports between two reads.
//!
//! What always holds:
//!
//! * It reads only on command, one batch at a time, so whoever gives the commands bounds the memory.
//! * Commands name the session they are for; those for a former one are dropped.
//! * A command never waits for a record: it ends the wait of the read that is under way.
//! * A session that ends is noticed at once, also while nothing is asked.
//! * It never gives up: without a session it tries again with back-off, and says each time why.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TryRecvError, TrySendError, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use shared::backoff::Backoff;
use shared::bell::Bell;
use shared::record::Record;
use shared::wire::client::{Batch, Client, ClientError};
use shared::wire::{PublisherReport, Refusal, Start};

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
}

impl<R: FnMut(SourceEvent)> Keeper<R> {
    fn run(mut self) {
        let mut backoff = Backoff::new(FIRST_DELAY, LONGEST_DELAY);
        loop {
            let (words, is_taken) = match self.open() {
                Ok((client, opened)) => {
                    backoff.reset();
                    self.session = opened.session;
                    (self.report)(SourceEvent::Opened(Box::new(opened)));
                    match self.serve(client) {
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

    fn open(&self) -> Result<(Client, Opened), ClientError> {
        let mut client = Client::connect(&self.settings.socket, REQUEST_TIMEOUT)?;
        let opened = client.open(&self.settings.consumer, self.settings.start)?;
        let before = match opened.cursor {
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
        let silence_ms = match client.read(opened.head + 1, 1, Duration::ZERO)? {
            Batch::Idle { silence_ms, .. } => silence_ms,
            Batch::Records { .. } => 0,
        };
        let opened = Opened {
            session: self.session + 1,
            queue: client.queue().to_owned(),
            cursor: opened.cursor,
            head: opened.head,
            before,
            silence_ms,
        };
        Ok((client, opened))
    }

    /// Why there is no session, and whether that is because another publisher has it.
    fn words(&self, error: &ClientError) -> (String, bool) {
        if error.refusal() == Some(Refusal::ConsumerInUse) {
            let words = format!(
                "another publisher is the consumer {} already: stop it, or give this one a name of its own \
                 as mqtt.consumer",
                self.settings.consumer
            );
            return (words, true);
        }
        (error.to_string(), false)
    }

    /// Carries out commands until the session breaks. Commits that wait together are one.
    fn serve(&mut self, mut client: Client) -> Ended {
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
            let done = if outstanding.is_empty() && !client.is_asked() {
                client.rest(&self.bell).map_err(Ended::from)
            } else {
                self.carry_out(&mut client, &mut outstanding)
            };
            if let Err(ended) = done {
                return ended;
            }
        }
    }

    fn carry_out(&mut self, client: &mut Client, outstanding: &mut Outstanding) -> Result<(), Ended> {
        if let Some(sequence) = outstanding.commit.take() {
            client.commit(sequence)?;
        }
        if let Some(report) = outstanding.report.take() {
            client.report(*report)?;
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
            client.ask(from, BATCH_BYTES, wait.min(LONGEST_WAIT))?;
        }
        if let Some(batch) = client.answer(&self.bell)? {
            (self.report)(match batch {
                Batch::Records { records, head } => SourceEvent::Records { records, head },
                Batch::Idle { head, silence_ms } => SourceEvent::Idle { head, silence_ms },
            });
        }
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

#[cfg(test)]
mod fake;
#[cfg(test)]
mod tests;

//! The keeper: the one thread that owns the queue. Telegrams from intake and requests from sessions come
//! to it in one bounded channel; it appends, flushes, moves cursors, imports, trims, and answers.
//!
//! ```text
//! intake ──Arrived───────────────┐                     ┌── append, flush, maintain ──► queue
//! session ──────Order────────────► bounded channel ──► keeper
//! session ──────Order────────────►                     └── Reply ──► session
//! ```
//!
//! Invariants:
//!
//! * What is taken from the channel in one go is made durable in one flush, and nothing waits longer for
//!   its flush than `flush_interval`.
//! * A consumer belongs to at most one session, and is free as soon as that has ended.
//! * Trouble with the disk is said once and once when it is over; meanwhile telegrams wait in memory up to
//!   the queue's bound, and everything else goes on.

mod consumers;
mod progress;
mod trouble;

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender};
use std::time::{Duration, Instant};

use shared::commands::command;
use shared::outside::quoted;
use shared::rate::Rate;
use shared::wire::client::{Append, Appended};
use shared::wire::{ConsumerStatus, ImportedFile, Loss, MAX_FRAME_BYTES, Refusal, Reply, Request, Status};

use crate::clock;
use crate::heartbeat::Heartbeat;
use crate::import::chain::Chain;
use crate::import::part::{self, Import, PartError};
use crate::import::taken::Taken;
use crate::intake::{AcceptedTelegram, Arrived, IntakeStatus};
use crate::meter::MeterFile;
use crate::queue::{AppendError, Arrival, ConsumerError, FlushError, Queue};
use crate::run;
use crate::service_manager::ServiceManager;
use crate::words;
use consumers::Consumers;
use progress::{IMPORT, Progress};
use trouble::{Losing, MeterSilence, Tightness, Trouble};

/// What the keeper is told.
#[derive(Debug)]
pub enum Message {
    /// What arrives from now on comes from a regular file, behind what was taken of it before.
    FileBegins {
        /// Name of the file.
        source: String,
        /// What was taken.
        taken: Chain,
    },
    /// From intake.
    Arrived(Arrived),
    /// Intake has stopped: nothing arrives any more.
    IntakeEnded,
    /// From a session.
    Order {
        /// Number of the session.
        session: u64,
        /// What it asks for; reading and locating it does itself.
        request: Request,
        /// Where the answer goes.
        answer: SyncSender<Reply>,
    },
    /// A session is over: its consumer is free.
    SessionEnded {
        /// Number of the session.
        session: u64,
    },
    /// Make everything durable and end, as soon as intake has.
    Stop,
}

/// How many messages may wait for the keeper.
pub const CHANNEL_MESSAGES: usize = 512;

/// What the keeper needs to know of the configuration.
#[derive(Debug, Clone)]
pub struct KeeperSettings {
    /// Longest time between a telegram and its flush.
    pub flush_interval: Duration,
    /// Silence after which the meter counts as offline; none where the port is a file.
    pub meter_timeout: Option<Duration>,
    /// Whether intake can be made to wait without losing anything: where the port is a file.
    pub can_wait: bool,
    /// File of what has been imported.
    pub imports_file: PathBuf,
}

/// Says whether intake is to wait, because what it has read cannot be stored at present.
#[derive(Debug, Clone, Default)]
pub struct Gate(Arc<AtomicBool>);

impl Gate {
    /// Whether intake is to wait.
    pub fn is_shut(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    fn shut(&self, is_shut: bool) {
        self.0.store(is_shut, Ordering::Relaxed);
    }
}

/// A file has been read to its end, or cannot be, for this reason in words.
pub type InputEnd = Result<(), String>;

/// How intake is doing, asked for each status.
pub type AskIntake = Box<dyn Fn() -> IntakeStatus + Send>;

/// The thread that owns the queue.
pub struct Keeper {
    queue: Queue,
    settings: KeeperSettings,
    ask_intake: AskIntake,
    meter_file: MeterFile,
    taken: Taken,
    /// Where the port is a regular file.
    file: Option<Progress>,
    /// The import under way, and when it was last heard of. There is one at a time.
    import: Option<(Import, Instant)>,
    consumers: Consumers,
    service_manager: ServiceManager,
    heartbeat: Heartbeat,
    gate: Gate,
    /// Told once, when a file has been read and what it gave is durable.
    input_end: SyncSender<InputEnd>,
    started_at_us: i64,
    /// Telegrams that the queue has no room for, while intake waits.
    overflow: VecDeque<AcceptedTelegram>,
    unflushed_since: Option<Instant>,
    last_upkeep: Instant,
    has_more_upkeep: bool,
    input_ended: Option<InputEnd>,
    has_intake_ended: bool,
    stop_by: Option<Instant>,
    trouble: Trouble,
    tightness: Tightness,
    losing: Losing,
    /// The losses that were there at the start or have been said since.
    told_losses: Vec<Loss>,
    meter: MeterSilence,
    /// How often a client makes the line of a consumer that is forgotten.
    forgotten: Rate,
}

impl Keeper {
    /// A keeper of `queue`.
    ///
    /// # Errors
    ///
    /// Where the file of what has been imported cannot be read.
    pub fn new(
        queue: Queue,
        settings: KeeperSettings,
        ask_intake: AskIntake,
        meter_file: MeterFile,
        service_manager: ServiceManager,
        gate: Gate,
        input_end: SyncSender<InputEnd>,
    ) -> std::io::Result<Self> {
        let taken = Taken::open(&settings.imports_file, &mut queue.reader())?;
        let told_losses = queue.status().losses;
        let meter = MeterSilence::new(settings.meter_timeout, clock::uptime_us());
        Ok(Self {
            queue,
            heartbeat: Heartbeat::default(),
            settings,
            ask_intake,
            meter_file,
            taken,
            file: None,
            import: None,
            consumers: Consumers::default(),
            service_manager,
            gate,
            input_end,
            started_at_us: clock::now_us(),
            overflow: VecDeque::new(),
            unflushed_since: None,
            last_upkeep: Instant::now(),
            has_more_upkeep: false,
            input_ended: None,
            has_intake_ended: false,
            stop_by: None,
            trouble: Trouble::default(),
            tightness: Tightness::default(),
            losing: Losing::default(),
            told_losses,
            meter,
            forgotten: Rate::new(FORGOTTEN_AT_ONCE),
        })
    }

    /// How far each file has been taken into the queue.
    pub fn imports(&self) -> Vec<ImportedFile> {
        self.taken.files()
    }

    /// What it gives a sign of life to.
    pub fn heartbeat(&self) -> Heartbeat {
        self.heartbeat.clone()
    }

    /// Keeps the queue until it is told to stop, then closes it.
    ///
    /// # Errors
    ///
    /// Where what had arrived could not be made durable at the end.
    pub fn run(mut self, messages: &Receiver<Message>) -> Result<(), FlushError> {
        loop {
            match messages.recv_timeout(self.patience()) {
                Ok(message) => {
                    self.take(message);
                    // What waits already shares the flush.
                    for message in messages.try_iter().take(CHANNEL_MESSAGES) {
                        self.take(message);
                    }
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            self.heartbeat.beat();
            self.look();
            self.flush_where_due();
            self.upkeep();
            self.meter.look(clock::uptime_us());
            if self.service_manager.is_to_be_told() {
                let line = self.in_a_line();
                self.service_manager.alive(&line);
            }
            if self.overflow.is_empty() && self.queue.buffered_bytes() == 0 {
                if let Some(ended) = self.input_ended.take() {
                    self.file_over();
                    // Nobody needs to know where nobody waits for it.
                    let _ = self.input_end.try_send(ended);
                }
            }
            if self
                .stop_by
                .is_some_and(|by| self.has_intake_ended || Instant::now() >= by)
            {
                break;
            }
        }
        let stored = self.store_overflow();
        if let Err(error) = self.note_progress() {
            tracing::warn!("{error}: the last telegrams of the file will be taken again");
        }
        let head = self.queue.head();
        self.queue.close()?;
        stored?;
        if let Err(error) = self.taken.settle(head) {
            tracing::debug!("what was taken is found in the queue at the next start: {error}");
        }
        Ok(())
    }

    /// The port's file has been read: others may import.
    fn file_over(&mut self) {
        self.import.take_if(|(import, _)| import.number == IMPORT);
        if let Some(file) = self.file.as_ref().filter(|file| file.held_count() > 0) {
            let held = words::counted(file.held_count(), "telegram");
            tracing::info!("{}: {held} in the queue already", file.name());
        }
    }

    /// How long nothing needs to be done where no message comes.
    fn patience(&self) -> Duration {
        if self.has_more_upkeep || (self.is_looking() && self.trouble.is_none()) {
            return Duration::ZERO;
        }
        let tick = match self.stop_by {
            Some(_) => STOP_TICK,
            None if self.trouble.is_none() => TICK,
            None => TROUBLE_TICK,
        };
        match self.unflushed_since {
            Some(since) if self.trouble.is_none() => {
                tick.min(self.settings.flush_interval.saturating_sub(since.elapsed()))
            }
            _ => tick,
        }
    }

    fn take(&mut self, message: Message) {
        match message {
            Message::FileBegins { source, taken } => {
                let mut import = Import::new(IMPORT, &self.queue);
                import.begin(taken.telegrams, taken.digest, &self.taken);
                self.import = Some((import, Instant::now()));
                self.file = Some(Progress::new(source, taken));
            }
            Message::Arrived(Arrived::Telegram(telegram)) => {
                self.meter.heard(telegram.uptime_us);
                if self.is_looking() {
                    self.gate.shut(true);
                }
                if self.overflow.is_empty() && !self.is_looking() {
                    self.append(telegram);
                } else {
                    self.overflow.push_back(telegram);
                }
            }
            Message::Arrived(Arrived::Learnt(memory)) => self.meter_file.keep(&memory),
            Message::Arrived(Arrived::Ended) => self.input_ended = Some(Ok(())),
            Message::Arrived(Arrived::Unreadable(why)) => self.input_ended = Some(Err(why)),
            Message::IntakeEnded => self.has_intake_ended = true,
            Message::Order {
                session,
                request,
                answer,
            } => {
                let reply = self.answer(session, request);
                // The session may have ended meanwhile; its channel has room for one answer.
                let _ = answer.try_send(reply);
            }
            Message::SessionEnded { session } => {
                self.consumers.release(session);
                self.import.take_if(|(import, _)| import.number == session);
            }
            Message::Stop => {
                self.stop_by = Some(Instant::now() + INTAKE_PATIENCE);
                // Nothing more can be stored of what waits; it shall not keep intake from ending.
                self.gate.shut(false);
            }
        }
    }

    /// Whether it is still looked at what the queue holds, before more of the port's file is taken.
    fn is_looking(&self) -> bool {
        self.file_import()
            .is_some_and(|import| !import.present.is_looked_at())
    }

    fn file_import(&self) -> Option<&Import> {
        let import = self.import.as_ref().map(|(import, _)| import);
        import.filter(|import| import.number == IMPORT)
    }

    /// Goes on looking at what the queue holds, if the port's file waits for that.
    fn look(&mut self) {
        if !self.is_looking() {
            return;
        }
        if let Some(Err(error)) = self
            .import
            .as_mut()
            .map(|(import, _)| import.present.look(part::LOOK))
        {
            self.trouble.begun(&error);
        }
    }

    /// Whether the queue holds this telegram of the port's file; what cannot be looked up is taken.
    fn is_held(&mut self, telegram: &[u8]) -> bool {
        let Some((import, _)) = self.import.as_mut().filter(|(import, _)| import.number == IMPORT) else {
            return false;
        };
        import.present.holds(None, telegram).unwrap_or_else(|error| {
            tracing::debug!(
                "a telegram of the file is taken without looking whether the queue holds it: {error}"
            );
            false
        })
    }

    /// Gives a telegram to the queue; what has no room waits where intake can wait, else it is refused,
    /// which the queue counts. One of the port's file that the queue holds is left out.
    fn append(&mut self, telegram: AcceptedTelegram) {
        if self.is_held(&telegram.telegram) {
            if let Some(file) = &mut self.file {
                file.held(&telegram.telegram);
            }
            self.unflushed_since.get_or_insert_with(Instant::now);
            return;
        }
        let arrival = Arrival {
            captured_at_us: telegram.captured_at_us,
            uptime_us: telegram.uptime_us,
        };
        let mut appended = self.queue.append(arrival, &telegram.telegram);
        if matches!(appended, Err(AppendError::Full { .. })) && self.flush() {
            appended = self.queue.append(arrival, &telegram.telegram);
        }
        match appended {
            Ok(_) => {
                if let Some(file) = &mut self.file {
                    file.appended(&telegram.telegram);
                }
                self.unflushed_since.get_or_insert_with(Instant::now);
            }
            Err(AppendError::Full { .. }) if self.settings.can_wait => {
                self.gate.shut(true);
                self.overflow.push_back(telegram);
            }
            Err(error) => self.losing.refused(&error),
        }
    }

    fn flush_where_due(&mut self) {
        let is_due = self.unflushed_since.is_some_and(|since| {
            since.elapsed() >= self.settings.flush_interval
                || self.queue.buffered_bytes() >= FLUSH_BYTES
                || self.stop_by.is_some()
                || self.input_ended.is_some()
        });
        // What waits beside the queue is due whatever has made its room: a flush within an import or upkeep too.
        if (!is_due && self.overflow.is_empty()) || self.is_looking() {
            return;
        }
        while self.flush() && !self.overflow.is_empty() {
            self.append_overflow();
        }
        if self.overflow.is_empty() {
            self.gate.shut(false);
        }
    }

    /// Gives the queue as much of what waits beside it as one flush takes.
    fn append_overflow(&mut self) {
        while self.queue.buffered_bytes() < FLUSH_BYTES {
            let Some(telegram) = self.overflow.pop_front() else {
                break;
            };
            self.append(telegram);
        }
    }

    /// At the end: stores what waits beside the queue.
    ///
    /// # Errors
    ///
    /// Where the queue still has no room; how much is left has then been said.
    fn store_overflow(&mut self) -> Result<(), FlushError> {
        if self.is_looking() {
            // None of it counts as taken: at the next start the file is read again.
            self.overflow.clear();
        }
        while !self.overflow.is_empty() {
            if !self.flush() {
                if let Err(error) = self.queue.flush() {
                    tracing::error!(
                        "{} of the input could not be stored",
                        words::counted(self.overflow.len() as u64, "telegram")
                    );
                    return Err(error);
                }
            }
            self.append_overflow();
        }
        Ok(())
    }

    /// Makes durable what has been appended; `false` where that failed, which has then been said.
    fn flush(&mut self) -> bool {
        if let Err(error) = self.note_progress() {
            self.trouble.begun(&error);
            return false;
        }
        match self.queue.flush() {
            Ok(_) => {
                self.all_durable();
                true
            }
            Err(error) => {
                self.trouble.begun(&error);
                false
            }
        }
    }

    /// Notes which telegrams of the file are on their way to the disk.
    fn note_progress(&mut self) -> Result<(), String> {
        let Some(file) = &mut self.file else {
            return Ok(());
        };
        file.note(&mut self.taken, self.queue.head())
            .map_err(|error| format!("cannot write {}: {error}", self.settings.imports_file.display()))
    }

    fn all_durable(&mut self) {
        self.unflushed_since = None;
        self.trouble_over();
        self.tightness.look(self.queue.tightness());
        let settled = match &mut self.file {
            Some(file) => file.flushed(&mut self.taken, self.queue.head()),
            None => self.taken.settle(self.queue.head()),
        };
        if let Err(error) = settled {
            // The records are durable: after a restart they are found in the queue.
            tracing::warn!("cannot write {}: {error}", self.settings.imports_file.display());
        }
    }

    fn trouble_over(&mut self) {
        if !self.trouble.over() {
            return;
        }
        self.meter_file.retry();
        // A queue that was opened anew may have found some of it missing.
        let losses = self.queue.status().losses;
        for loss in losses.iter().filter(|loss| !self.told_losses.contains(loss)) {
            run::tell_loss(loss);
        }
        self.told_losses = losses;
    }

    fn upkeep(&mut self) {
        let is_due = self.has_more_upkeep
            || self.queue.is_group_due()
            || self.last_upkeep.elapsed() >= UPKEEP_INTERVAL;
        if !is_due {
            return;
        }
        self.last_upkeep = Instant::now();
        if let Err(error) = self.note_progress() {
            // What upkeep removes may be what is needed for writing it.
            self.trouble.begun(&error);
        }
        match self.queue.maintain(clock::now_us(), clock::uptime_us()) {
            Ok(done) => {
                self.has_more_upkeep = done.has_more;
                self.losing.trimmed(done.lost_records);
                if self.queue.buffered_bytes() == 0 {
                    self.all_durable();
                }
            }
            Err(error) => {
                self.has_more_upkeep = false;
                self.trouble.begun(&error);
            }
        }
    }

    fn answer(&mut self, session: u64, request: Request) -> Reply {
        match request {
            Request::Open { consumer, start } => {
                if let Err(reply) = self.consumers.admit(session, &consumer) {
                    return reply;
                }
                match self.queue.register(&consumer, start) {
                    Ok(cursor) => {
                        self.consumers.open(session, &consumer);
                        Reply::Opened {
                            cursor,
                            head: self.queue.head(),
                        }
                    }
                    Err(error) => self.refused(&error),
                }
            }
            Request::Commit { sequence } => {
                let Some(consumer) = self.consumers.of(session).map(str::to_owned) else {
                    return not_open("a commit");
                };
                match self.queue.commit(&consumer, sequence) {
                    Ok(()) => Reply::Committed,
                    Err(error) => {
                        if let ConsumerError::BeyondHead { sequence, .. } = error {
                            // A publisher that cannot say so by `Renew`: it finds the new identity when it comes again.
                            let identity = self.queue.identity().to_owned();
                            self.renew(&consumer, &identity, sequence);
                        }
                        self.refused(&error)
                    }
                }
            }
            Request::Report(report) => {
                if self.consumers.report(session, report) {
                    Reply::Reported
                } else {
                    not_open("a report")
                }
            }
            Request::Status => Reply::Status(Box::new(self.status())),
            Request::Append {
                source,
                offset,
                before,
                after,
                telegrams,
            } => self.import(
                session,
                &Append {
                    source,
                    offset,
                    before,
                    after,
                    telegrams,
                },
            ),
            Request::Imports => match self.admit(session) {
                Ok(()) => Reply::Imports(self.taken.files()),
                Err(reply) => reply,
            },
            Request::Renew {
                consumer,
                queue,
                sequence,
            } => self.renew(&consumer, &queue, sequence),
            Request::Forget { consumer } => {
                if self.consumers.is_open(&consumer) {
                    return Reply::Refused {
                        refusal: Refusal::ConsumerInUse,
                        message: format!("consumer {consumer} is connected: stop its publisher first"),
                    };
                }
                match self.queue.forget(&consumer) {
                    Ok(existed) => {
                        if existed {
                            if let Some(more) = self.forgotten.say(clock::uptime()) {
                                tracing::info!("consumer {consumer} is forgotten{more}");
                            }
                        }
                        self.consumers.forget(&consumer);
                        Reply::Forgotten { existed }
                    }
                    Err(error) => self.refused(&error),
                }
            }
            Request::Read { .. } | Request::Locate { .. } | Request::Identities => Reply::Refused {
                refusal: Refusal::Invalid,
                message: "a session reads by itself".to_owned(),
            },
        }
    }

    /// A consumer has read what is not there: the folder is an older copy than that.
    fn renew(&mut self, consumer: &str, identity: &str, sequence: u64) -> Reply {
        if self.queue.identity() == identity {
            let cursor = self.queue.consumers().get(consumer).copied().unwrap_or(0);
            if let Err(error) = self.queue.renew_after(cursor) {
                return self.refused(&error.into());
            }
            tracing::warn!(
                "the consumer {} has read #{sequence} of the queue {identity}, which is not in its folder: \
                 the folder is an older copy that was put back; {}",
                quoted(consumer),
                run::renewed(&self.queue)
            );
        }
        Reply::Identities(self.queue.identities())
    }

    fn refused(&mut self, error: &ConsumerError) -> Reply {
        let refusal = match error {
            ConsumerError::Storage(cause) => {
                self.trouble.begun(cause);
                Refusal::Storage
            }
            _ => Refusal::Invalid,
        };
        Reply::Refused {
            refusal,
            message: error.to_string(),
        }
    }

    /// Makes the session the one that imports, unless another does.
    fn admit(&mut self, session: u64) -> Result<(), Reply> {
        let other = self
            .import
            .as_ref()
            .filter(|(import, _)| import.number != session);
        if let Some((import, heard_at)) = other {
            if import.number == IMPORT || heard_at.elapsed() < IMPORT_PATIENCE {
                let message = match &self.file {
                    Some(file) if import.number == IMPORT => {
                        format!("capture takes in {} at present", file.name())
                    }
                    _ => "another import is under way".to_owned(),
                };
                return Err(Reply::Refused {
                    refusal: Refusal::Busy,
                    message,
                });
            }
            self.import = None;
        }
        let now = Instant::now();
        self.import
            .get_or_insert_with(|| (Import::new(session, &self.queue), now))
            .1 = now;
        Ok(())
    }

    /// Takes a part of a file, durable as a whole or not at all.
    fn import(&mut self, session: u64, append: &Append) -> Reply {
        if let Err(reply) = self.admit(session) {
            return reply;
        }
        // The part's records come behind what waits of capture's own file.
        if self.file.is_some() && self.queue.buffered_bytes() > 0 && !self.flush() {
            return Reply::Refused {
                refusal: Refusal::Storage,
                message: format!(
                    "the queue cannot be written: {}; import again when `{}` shows no trouble",
                    self.trouble.current().unwrap_or_default(),
                    command("capture status")
                ),
            };
        }
        let Some((import, _)) = &mut self.import else {
            return not_open("an append");
        };
        let taken = part::take(&mut self.queue, &mut self.taken, import, append);
        if self.queue.buffered_bytes() == 0 {
            self.unflushed_since = None;
        } else {
            self.unflushed_since.get_or_insert_with(Instant::now);
        }
        match taken {
            Ok(Appended { taken, known }) => Reply::Appended { taken, known },
            Err(error) => {
                if let PartError::Storage(cause) = &error {
                    self.trouble.begun(cause);
                }
                Reply::Refused {
                    refusal: error.refusal(),
                    message: error.to_string(),
                }
            }
        }
    }

    fn status(&self) -> Status {
        let queue = self.queue.status();
        let intake = (self.ask_intake)();
        let consumers = queue.cursors.iter().map(|(name, &cursor)| ConsumerStatus {
            name: name.clone(),
            cursor,
            lag: queue.head.saturating_sub(cursor),
            is_connected: self.consumers.is_open(name),
            report: self.consumers.last_report(name).cloned(),
        });
        let trouble = queue
            .trouble
            .or_else(|| self.trouble.current())
            .or_else(|| self.queue.tightness().map(str::to_owned))
            .map(|words| match queue.buffered_bytes {
                0 => words,
                bytes => format!("{words}; {bytes} bytes of telegrams wait in memory"),
            });
        let last_telegram_age_ms = queue
            .accepted
            .last_uptime_us
            .map(|at_us| clock::uptime_us().saturating_sub(at_us) / 1000);
        let mut losses = queue.losses;
        losses.drain(..losses.len().saturating_sub(MAX_LISTED_LOSSES));
        let mut damaged = queue.damaged;
        damaged.drain(..damaged.len().saturating_sub(MAX_LISTED_DAMAGED));
        let mut recently_rejected = intake.recently_rejected;
        let mut bytes = 0;
        let kept = recently_rejected
            .iter()
            .rev()
            .take_while(|stretch| {
                bytes += stretch.bytes.len();
                bytes <= MAX_FRAME_BYTES / 4
            })
            .count();
        recently_rejected.drain(..recently_rejected.len() - kept);
        Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            queue: queue.identity,
            started_at_us: self.started_at_us,
            port: intake.port,
            port_state: intake.port_state,
            accepted: queue.accepted.telegrams,
            rejected: intake.rejected,
            recently_rejected,
            last_telegram_age_ms,
            tail: queue.tail,
            head: queue.head,
            live_bytes: queue.live_bytes,
            disk_bytes: queue.disk_bytes,
            max_size_bytes: queue.max_size_bytes,
            consumers: consumers.collect(),
            losses,
            damaged: damaged.iter().map(|path| path.display().to_string()).collect(),
            refused: queue.refused,
            trouble,
        }
    }

    /// What the service manager shows.
    fn in_a_line(&self) -> String {
        let head = self.queue.head();
        match self.trouble.current() {
            Some(words) => format!("head {head}; {words}"),
            None => format!("head {head}; {}", (self.ask_intake)().port_state),
        }
    }
}

fn not_open(what: &str) -> Reply {
    Reply::Refused {
        refusal: Refusal::NotOpen,
        message: format!("{what} needs a consumer: the session has opened none"),
    }
}

/// Longest time between two looks at what may be due: longer than between two telegrams of most meters, which then
/// wake the keeper and nothing else does.
const TICK: Duration = Duration::from_secs(2);
/// The same while the disk is in trouble.
const TROUBLE_TICK: Duration = Duration::from_secs(1);
/// The same while stopping.
const STOP_TICK: Duration = Duration::from_millis(20);
/// How long intake may take to end when capture stops.
const INTAKE_PATIENCE: Duration = Duration::from_millis(500);
/// How long an import may say nothing before another may begin.
const IMPORT_PATIENCE: Duration = Duration::from_secs(60);
/// Between two steps of upkeep where there is nothing pressing.
const UPKEEP_INTERVAL: Duration = Duration::from_millis(900);
/// Telegrams that wait in memory for a longer `flush_interval`, at most, in bytes.
const FLUSH_BYTES: usize = 512 * 1024;
/// Lines of consumers that are forgotten, one after the other.
const FORGOTTEN_AT_ONCE: u32 = 10;
/// Folders of damaged databases that a status lists, the newest. The path of one has up to 4096 bytes.
const MAX_LISTED_DAMAGED: usize = 50;
/// Losses that a status lists, the newest.
const MAX_LISTED_LOSSES: usize = 200;

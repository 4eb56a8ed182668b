//! `publisher replay`: stored intervals published again, byte for byte as they were the first time,
//! beside a running publisher and without moving its cursor.
//!
//! The range is rounded outwards to whole intervals: what belongs to an interval follows from the
//! records alone, so replay reads back from where it is to begin until it has seen an interval end.
//! The interval that is still open at the head is not published: it has not been before either.

mod progress;

use std::io::Write;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;
use shared::config::{Config, OnTrouble};
use shared::exit::Exit;
use shared::moment::Moment;
use shared::wire::client::{Batch, Client, ClientError};
use shared::wire::{self, Identity};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::aggregate::{self, Aggregator, Output, Taken};
use crate::decrypt::{Decryption, Keys, Refusals};
use crate::delivery::{self, Action, Delivery, Event, Notice};
use crate::mqtt::{Command, Mqtt, MqttEvent, MqttSettings, Stuck, Topics};
use crate::settings::{self, SettingsError};
use crate::source::BATCH_BYTES;
use progress::Progress;

/// What to publish again, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplayOptions {
    /// Where to begin.
    pub from: Moment,
    /// Where to end; a time is not included, a sequence is. Up to the newest telegram where none.
    pub to: Option<Moment>,
    /// Readings alone, on this topic; as configured where none.
    pub topic: Option<String>,
}

/// Why a replay did not come to its end.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// A file that the configuration names does not do.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// The system gives no thread or no signals.
    #[error("cannot start: {0}")]
    System(#[from] std::io::Error),
    /// Capture does not answer, or refuses.
    #[error("{0}")]
    Capture(#[from] ClientError),
    /// The connection's thread has ended: a mistake in this program.
    #[error("{0}")]
    Stuck(#[from] Stuck),
    /// A telegram does not open.
    #[error("telegram #{sequence}: {why} (on_undecryptable: skip would pass over it)")]
    Undecryptable {
        /// Which.
        sequence: u64,
        /// Why.
        why: String,
    },
    /// Capture has begun another queue.
    #[error("capture serves another queue than at the start of the replay ({0})")]
    AnotherQueue(String),
}

const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// How far to read back at first for the beginning of an interval, in records.
const FIRST_LOOK_BACK: u64 = 256;
const CAPTURE_PAUSE: Duration = Duration::from_secs(1);
const EVENTS: usize = 256;

enum ReplayEvent {
    Mqtt(MqttEvent),
    Signal,
}

/// Publishes the range and waits until the broker has acknowledged all of it.
///
/// # Errors
/// [`ReplayError`]; a broker that is away is none, it is waited for.
pub fn replay(config: &Config, options: &ReplayOptions, out: impl Write) -> Result<Exit, ReplayError> {
    let (mqtt_settings, warnings) = settings::mqtt(&config.mqtt)?;
    let (keys, of_keys) = settings::keys(&config.decryption)?;
    for warning in warnings.iter().chain(&of_keys) {
        tracing::warn!("{warning}");
    }
    let mqtt_settings = of_its_own(mqtt_settings, options.topic.as_deref());
    let reader = Reader::connect(&config.queue.socket)?;
    let maker = Maker {
        settings: aggregate::Settings {
            interval_seconds: config.send_interval_seconds,
            max_payload_bytes: config.mqtt.max_payload_bytes,
            queue: String::new(),
            has_summary: mqtt_settings.topics.summary.is_some(),
            has_state: false,
        },
        keys,
        on_undecryptable: config.decryption.on_undecryptable,
    };
    let mut reader = reader;
    let Some(range) = Range::find(&mut reader, &maker, options)? else {
        tracing::info!("there is nothing in that range to replay");
        return Ok(Exit::Done);
    };
    let (events, received) = sync_channel(EVENTS);
    listen_to_signals(events.clone())?;
    let mqtt = Mqtt::start(mqtt_settings, move |event| {
        // Nobody listens any longer when the replay has ended.
        let _ = events.send(ReplayEvent::Mqtt(event));
    })?;
    mqtt.tell(Command::Connect {
        queue: Some(reader.identity_of(u64::MAX).0.to_owned()),
    })?;
    let delivery = Delivery::new(delivery::Settings {
        has_availability: false,
        on_rejected: config.mqtt.on_rejected,
    });
    let progress = Progress::new(out, range.first, range.last);
    let (queue, ends) = reader.identity_of(range.first);
    let mut aggregator = maker.aggregator(queue);
    prime(&mut reader, &mut aggregator, range.first)?;
    Replaying {
        reader,
        maker,
        aggregator,
        ends,
        delivery,
        mqtt,
        received,
        connection: None,
        next: range.first,
        last: range.last,
        done: range.first.saturating_sub(1),
        has_all: false,
        is_interrupted: false,
        told: None,
        refusals: Refusals::default(),
        started: Instant::now(),
        progress,
    }
    .run()
}

/// The same broker under another name, without will, state and availability.
fn of_its_own(settings: MqttSettings, topic: Option<&str>) -> MqttSettings {
    let topics = match topic {
        Some(topic) => Topics {
            readings: topic.to_owned(),
            summary: None,
            state: None,
            availability: None,
        },
        None => Topics {
            state: None,
            availability: None,
            ..settings.topics.clone()
        },
    };
    MqttSettings {
        client_id: format!("{}-replay-{}", settings.client_id, std::process::id()),
        will: None,
        topics,
        ..settings
    }
}

fn listen_to_signals(events: SyncSender<ReplayEvent>) -> std::io::Result<()> {
    let mut signals = Signals::new([SIGINT, SIGTERM])?;
    thread::Builder::new().name("signals".to_owned()).spawn(move || {
        for _ in signals.forever() {
            if events.send(ReplayEvent::Signal).is_err() {
                return;
            }
        }
    })?;
    Ok(())
}

/// Makes aggregators: one to find where intervals begin, one to publish.
struct Maker {
    settings: aggregate::Settings,
    keys: Option<Keys>,
    on_undecryptable: OnTrouble,
}

impl Maker {
    /// Of records of this identity.
    fn aggregator(&self, queue: &str) -> Aggregator {
        Aggregator::new(
            aggregate::Settings {
                queue: queue.to_owned(),
                ..self.settings.clone()
            },
            Decryption::new(self.keys.clone(), self.on_undecryptable),
        )
    }
}

/// Reads records through capture's socket, and connects again where the session breaks.
struct Reader {
    socket: PathBuf,
    client: Client,
    identities: Vec<Identity>,
}

impl Reader {
    fn connect(socket: &std::path::Path) -> Result<Self, ClientError> {
        let mut client = Client::connect(socket, REQUEST_TIMEOUT)?;
        let told = client.identities()?;
        let identities = told.unwrap_or_else(|| vec![Identity::only(client.queue())]);
        Ok(Self {
            socket: socket.to_owned(),
            client,
            identities,
        })
    }

    /// The identity of a record, and the last sequence that is of it; no bound if it is the newest.
    fn identity_of(&self, sequence: u64) -> (&str, u64) {
        let place = wire::place_of(&self.identities, sequence);
        let queue = self.identities.get(place).map_or("", |identity| &identity.queue);
        let next = self.identities.get(place + 1);
        let last = next.map_or(u64::MAX, |next| next.first_sequence.saturating_sub(1));
        (queue, last)
    }

    fn read(&mut self, from: u64) -> Result<Batch, ClientError> {
        self.client.read(from, BATCH_BYTES, Duration::ZERO)
    }

    fn reconnect(&mut self) -> Result<(), ReplayError> {
        let again = Self::connect(&self.socket)?;
        let newest = self.identities.last();
        if newest.is_some_and(|newest| !again.identities.contains(newest)) {
            return Err(ReplayError::AnotherQueue(again.client.queue().to_owned()));
        }
        *self = again;
        Ok(())
    }
}

/// The records to publish, whole intervals.
struct Range {
    first: u64,
    last: u64,
}

impl Range {
    /// None where it holds nothing.
    fn find(
        reader: &mut Reader,
        maker: &Maker,
        options: &ReplayOptions,
    ) -> Result<Option<Self>, ReplayError> {
        let everything = reader.client.locate(i64::MIN)?;
        let (tail, head) = (everything.tail, everything.head);
        let from = match options.from {
            Moment::At { at_us } => reader.client.locate(at_us)?.sequence,
            Moment::Sequence(sequence) => sequence,
        };
        let last = match options.to {
            Some(Moment::At { at_us }) => reader.client.locate(at_us)?.sequence.saturating_sub(1),
            Some(Moment::Sequence(sequence)) => sequence,
            None => head,
        };
        if from < tail && tail <= head && matches!(options.from, Moment::Sequence(_)) {
            tracing::warn!("telegrams before #{tail} are not kept any longer: beginning with #{tail}");
        }
        let (from, last) = (from.max(tail), last.min(head));
        if from > last {
            return Ok(None);
        }
        let first = interval_start(reader, maker, from, tail)?;
        Ok(Some(Self { first, last }))
    }
}

/// Shows the aggregation the records before `first` that what it gives depends on.
fn prime(reader: &mut Reader, aggregator: &mut Aggregator, first: u64) -> Result<(), ReplayError> {
    let mut next = first.saturating_sub(aggregator.look_back());
    while next < first {
        let Batch::Records { records, .. } = reader.read(next)? else {
            break;
        };
        for record in records.iter().filter(|record| record.sequence < first) {
            aggregator.prime(record);
        }
        next = records
            .last()
            .map_or(first, |record| record.sequence.saturating_add(1));
    }
    Ok(())
}

/// The first record of the interval that the record `from` is in.
fn interval_start(reader: &mut Reader, maker: &Maker, from: u64, tail: u64) -> Result<u64, ReplayError> {
    if maker.settings.interval_seconds == 0 {
        return Ok(from);
    }
    // With an identity an interval begins.
    let place = wire::place_of(&reader.identities, from);
    let identity = reader.identities.get(place);
    let tail = identity.map_or(tail, |identity| tail.max(identity.first_sequence));
    let mut look_back = FIRST_LOOK_BACK;
    loop {
        let begin = from.saturating_sub(look_back).max(tail);
        if let Some(end) = last_end_before(reader, maker, begin, from)? {
            return Ok(end + 1);
        }
        if begin == tail {
            return Ok(tail);
        }
        look_back = look_back.saturating_mul(4);
    }
}

/// The end of the last interval that ends before the record `from`, reading from `begin` on.
fn last_end_before(
    reader: &mut Reader,
    maker: &Maker,
    begin: u64,
    from: u64,
) -> Result<Option<u64>, ReplayError> {
    let mut aggregator = maker.aggregator(reader.identity_of(from).0);
    if maker.keys.is_some() {
        // Which telegrams are refused decides where intervals end.
        prime(reader, &mut aggregator, begin)?;
    }
    let mut outputs = Vec::new();
    let (mut has_read, mut end) = (false, None);
    let mut next = begin;
    while next <= from {
        let Batch::Records { records, .. } = reader.read(next)? else {
            break;
        };
        for record in records.iter().filter(|record| record.sequence <= from) {
            // What does not open is told when it is its turn to be published.
            let _ = aggregator.take(record, &mut outputs);
            for output in outputs.drain(..) {
                match output {
                    Output::Readings { .. } => has_read = true,
                    // What is skipped first may be in an interval that began before it.
                    Output::Closed { last_sequence } if has_read && last_sequence < from => {
                        end = Some(last_sequence);
                    }
                    _ => {}
                }
            }
        }
        next = records
            .last()
            .map_or(u64::MAX, |record| record.sequence.saturating_add(1));
    }
    Ok(end)
}

struct Replaying<W> {
    reader: Reader,
    maker: Maker,
    aggregator: Aggregator,
    /// The last sequence of the identity that the aggregation is of.
    ends: u64,
    delivery: Delivery,
    mqtt: Mqtt,
    received: Receiver<ReplayEvent>,
    connection: Option<u64>,
    /// The next record to read.
    next: u64,
    /// The range ends with the interval that holds this one.
    last: u64,
    /// The end of the last interval that is acknowledged in full.
    done: u64,
    has_all: bool,
    is_interrupted: bool,
    told: Option<String>,
    refusals: Refusals,
    started: Instant,
    progress: Progress<W>,
}

impl<W: Write> Replaying<W> {
    fn run(mut self) -> Result<Exit, ReplayError> {
        while !self.is_interrupted && (!self.has_all || !self.delivery.is_idle()) {
            let is_reading = !self.has_all && self.delivery.has_room();
            let event = if is_reading {
                self.received.try_recv().ok()
            } else {
                self.received.recv_timeout(Duration::from_millis(200)).ok()
            };
            match event {
                Some(ReplayEvent::Signal) => self.is_interrupted = true,
                Some(ReplayEvent::Mqtt(event)) => self.mqtt_event(event)?,
                None if is_reading => self.read()?,
                None => {}
            }
            self.deliver(Event::Tick)?;
            self.progress
                .show(self.done, self.delivery.counts().acknowledged, false);
        }
        self.progress
            .show(self.done, self.delivery.counts().acknowledged, true);
        self.goodbye();
        if self.is_interrupted {
            self.progress.interrupted(self.done + 1);
            return Ok(Exit::TryAgain);
        }
        self.progress.finished(self.done, self.delivery.counts());
        Ok(Exit::Done)
    }

    fn goodbye(&self) {
        if self.mqtt.tell(Command::Finish).is_err() {
            return;
        }
        let deadline = Instant::now() + Duration::from_secs(1);
        while let Ok(event) = self
            .received
            .recv_timeout(deadline.saturating_duration_since(Instant::now()))
        {
            if matches!(event, ReplayEvent::Mqtt(MqttEvent::Finished)) {
                return;
            }
        }
    }

    fn read(&mut self) -> Result<(), ReplayError> {
        let batch = match self.reader.read(self.next) {
            Ok(batch) => batch,
            Err(error) if error.is_refused() => return Err(error.into()),
            Err(error) => return self.wait_for_capture(&error),
        };
        let mut outputs = Vec::new();
        match batch {
            Batch::Records { records, .. } => {
                for record in records {
                    if record.sequence > self.ends {
                        self.turn_to(record.sequence)?;
                        if self.has_all {
                            break;
                        }
                    }
                    self.next = record.sequence + 1;
                    match self.aggregator.take(&record, &mut outputs) {
                        Taken::Read => {}
                        Taken::Skipped { why } => {
                            self.refusals.tell(self.started.elapsed(), record.sequence, &why);
                        }
                        Taken::Waiting { why } => {
                            let (sequence, why) = (record.sequence, why.to_string());
                            return Err(ReplayError::Undecryptable { sequence, why });
                        }
                    }
                    self.deliver_all(&mut outputs)?;
                    if self.has_all {
                        break;
                    }
                }
            }
            Batch::Idle { silence_ms, .. } => {
                self.aggregator.silence(silence_ms, &mut outputs);
                self.deliver_all(&mut outputs)?;
                if !self.has_all {
                    self.has_all = true;
                    self.progress.open_interval();
                }
            }
        }
        Ok(())
    }

    /// The next record is of another identity: that ends the interval, as it did the first time.
    fn turn_to(&mut self, sequence: u64) -> Result<(), ReplayError> {
        let mut outputs = Vec::new();
        self.aggregator.silence(u64::MAX, &mut outputs);
        self.deliver_all(&mut outputs)?;
        let place = wire::place_of(&self.reader.identities, sequence);
        let first = self
            .reader
            .identities
            .get(place)
            .map_or(1, |identity| identity.first_sequence);
        let (queue, ends) = self.reader.identity_of(sequence);
        self.aggregator = self.maker.aggregator(queue);
        prime(&mut self.reader, &mut self.aggregator, first)?;
        self.ends = ends;
        Ok(())
    }

    fn wait_for_capture(&mut self, error: &ClientError) -> Result<(), ReplayError> {
        self.tell(format!("{error}; waiting for capture"));
        thread::sleep(CAPTURE_PAUSE);
        match self.reader.reconnect() {
            // Still away: the next read fails again, and in between a signal is heard.
            Ok(()) | Err(ReplayError::Capture(_)) => Ok(()),
            Err(error) => Err(error),
        }
    }

    fn deliver_all(&mut self, outputs: &mut Vec<Output>) -> Result<(), ReplayError> {
        for output in std::mem::take(outputs) {
            if self.has_all {
                break;
            }
            match output {
                Output::Readings {
                    payload,
                    last_sequence,
                    ..
                } => {
                    self.deliver(Event::Readings {
                        payload: Bytes::from(payload),
                        last_sequence,
                    })?;
                }
                Output::Summary { payload } => {
                    let last_sequence = self.next.saturating_sub(1);
                    self.deliver(Event::Summary {
                        payload: Bytes::from(payload),
                        last_sequence,
                    })?;
                }
                Output::State(_) => {}
                Output::Closed { last_sequence } => {
                    self.deliver(Event::Closed { last_sequence })?;
                    self.has_all = last_sequence >= self.last;
                }
            }
        }
        Ok(())
    }

    fn mqtt_event(&mut self, event: MqttEvent) -> Result<(), ReplayError> {
        match event {
            MqttEvent::Connected {
                connection,
                broker,
                version,
                receive_maximum,
                largest_payload,
                takes_retained,
            } => {
                self.connection = Some(connection);
                self.told = None;
                tracing::info!("connected to {broker} ({version})");
                self.deliver(Event::Connected {
                    broker,
                    receive_maximum,
                    largest_payload,
                    takes_retained,
                })
            }
            MqttEvent::Taken { bytes, within } => self.deliver(Event::Taken { bytes, within }),
            MqttEvent::Unsent { ids } => ids
                .into_iter()
                .try_for_each(|id| self.deliver(Event::Unsent { id })),
            MqttEvent::Acknowledged { ids } => ids
                .into_iter()
                .try_for_each(|id| self.deliver(Event::Acknowledged { id })),
            MqttEvent::Rejected { id, fault, reason } => self.deliver(Event::Rejected { id, fault, reason }),
            MqttEvent::Lost(trouble) => {
                self.connection = None;
                self.tell(format!("lost the broker {trouble}; trying again"));
                self.deliver(Event::Disconnected {
                    fault: trouble.fault(),
                    reason: trouble.words,
                })
            }
            MqttEvent::Failed(trouble) => {
                self.tell(format!("no connection to the broker {trouble}; trying again"));
                Ok(())
            }
            MqttEvent::Left | MqttEvent::Finished => Ok(()),
        }
    }

    fn deliver(&mut self, event: Event) -> Result<(), ReplayError> {
        let mut actions = Vec::new();
        self.delivery.handle(self.started.elapsed(), event, &mut actions);
        for action in actions {
            match action {
                Action::Publish(message) => {
                    if let Some(connection) = self.connection {
                        self.mqtt.tell(Command::Publish { connection, message })?;
                    }
                }
                Action::Commit { sequence } => self.done = self.done.max(sequence),
                Action::Disconnect { reason } => {
                    if let Some(connection) = self.connection.take() {
                        self.mqtt.tell(Command::Abandon { connection, reason })?;
                    }
                }
                Action::Notice(Notice::Refused { bytes, last_sequence, reason, .. }) => self.tell(format!(
                    "the broker does not take a message of {bytes} bytes up to telegram #{last_sequence}: {reason}"
                )),
                Action::Notice(Notice::Skipped { bytes, last_sequence, reason, .. }) => tracing::warn!(
                    "passed over a message of {bytes} bytes up to telegram #{last_sequence}: {reason}"
                ),
                Action::Notice(notice) => tracing::warn!("{notice:?}"),
            }
        }
        Ok(())
    }

    fn tell(&mut self, words: String) {
        if self.told.as_ref() != Some(&words) {
            tracing::warn!("{words}");
            self.told = Some(words);
        }
    }
}

//! From records to acknowledged messages: what comes from capture and from the broker goes in, what
//! the two are told comes out. Holds the aggregation and the delivery, and neither clock, socket nor
//! thread, so that all of it can be tried with faults from a seed.
//!
//! Invariants:
//!
//! * A batch of records is asked for only while delivery has room, and not before all but the one before it
//!   have been taken in: memory is bounded by the window and two batches.
//! * Live, and where nothing can be published before the open interval ends, records are read several at once:
//!   the next read is held back until what closes the interval can be there, at most 20 s ([`pace`]). Until then
//!   nothing is asked for, and commits and reports go at once.
//! * What is to be taken in is so a little at a time, [`Flow::deadline`] being at once meanwhile: the next batch
//!   is read, and acknowledgements are heard, beside it.
//! * Without a session with capture, messages already held are still delivered, and what they commit
//!   is committed when capture is back.
//! * There is a connection to the broker from capture's first answer on, and also while capture is away;
//!   but none from capture's word that another publisher is this consumer until this one is: the broker
//!   would end that one's connection for ours.
//! * A queue of another identity is another sequence: what the former one gave is delivered, and
//!   nothing of it committed to the new one.

mod ahead;
mod broker;
mod demand;
mod pace;
mod words;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use shared::config::OnTrouble;
use shared::config::key::QUEUE;
use shared::record::Record;
use shared::wire::PublisherReport;
use shared::words::number;

use crate::aggregate::{self, Aggregator, Output, Taken};
use crate::decrypt::{Decryption, Keys, Refusals};
use crate::delivery::{self, Action, Delivery, Event, Fault, Notice};
use crate::misfits;
use crate::mqtt::{self, Command, MqttEvent, Topics};
use crate::source::{Opened, SourceCommand, SourceEvent};
use ahead::Ahead;
use broker::{BrokerLog, Standing};
use demand::Demand;
use pace::Pace;

pub use pace::PACE;

/// The longest wait before it is known that all that waited has been read.
const FIRST_WAIT: Duration = Duration::from_millis(500);
/// At least this often capture hears how the publisher does; a session that broke shows by it.
const REPORT_INTERVAL: Duration = Duration::from_secs(20);
/// At most this often, however much changes.
const REPORT_PAUSE: Duration = Duration::from_secs(1);
/// A telegram that does not open is tried again this often: nothing changes by itself.
const RETRY_INTERVAL: Duration = Duration::from_secs(60);
/// With messages outstanding, commits follow each other no faster: each costs both programs as much as a telegram.
const COMMIT_PAUSE: Duration = Duration::from_millis(20);
/// Records taken in before what they gave is handed on: a tenth of a millisecond.
const TAKEN_AT_ONCE: usize = 16;
/// Batches that may still be taken in when another is asked for. A second one would make nothing faster.
pub const READ_AHEAD: usize = 1;
/// Reasons told since the last success; more are not told.
const TOLD: usize = 16;

/// The values of the configuration that shape it.
#[derive(Debug, Clone)]
pub struct FlowSettings {
    /// Seconds an interval lasts; 0 publishes every telegram as it comes.
    pub interval_seconds: u32,
    /// Bound on an array of readings, in bytes.
    pub max_payload_bytes: usize,
    /// Where messages go; a kind without a topic is off.
    pub topics: Topics,
    /// How the broker knows this client, as configured.
    pub client_id: String,
    /// What to do with a message that the broker will never take.
    pub on_rejected: OnTrouble,
    /// Silence after which the meter counts as offline.
    pub meter_timeout: Duration,
    /// Keys of meters that encrypt.
    pub keys: Option<Keys>,
    /// What to do with a telegram that does not open.
    pub on_undecryptable: OnTrouble,
    /// Capture's socket, for log lines.
    pub socket: PathBuf,
}

/// When something happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Now {
    /// By a clock that does not jump.
    pub elapsed: Duration,
    /// By the system's clock, in microseconds since 1970-01-01T00:00:00Z.
    pub unix_us: i64,
}

/// What happened.
#[derive(Debug)]
pub enum FlowEvent {
    /// With capture.
    Source(SourceEvent),
    /// With the broker.
    Mqtt(MqttEvent),
    /// Time has passed.
    Tick,
    /// The publisher is to stop.
    Finish,
}

/// What to tell whom.
#[derive(Debug)]
pub enum Order {
    /// The session with capture.
    Source(SourceCommand),
    /// The connection to the broker.
    Mqtt(Command),
}

/// See the module.
#[derive(Debug)]
pub struct Flow {
    settings: FlowSettings,
    now: Now,
    delivery: Delivery,
    queue: Option<Queue>,
    session: Option<u64>,
    connection: Option<u64>,
    /// Whether the connection's thread has been told to keep one.
    is_connecting: bool,
    /// Another publisher is this consumer, for all that is known.
    is_taken: bool,
    /// Read and not taken in yet.
    ahead: Ahead,
    is_reading: bool,
    is_finishing: bool,
    waits_for_key: Option<(String, Duration)>,
    meter: Meter,
    pace: Pace,
    demand: Demand,
    told: Told,
    broker: BrokerLog,
    /// How the broker knows this client.
    client_id: String,
    report: Report,
}

/// The queue that is read, and how far.
#[derive(Debug)]
struct Queue {
    identity: String,
    aggregator: Aggregator,
    /// Last sequence that the aggregation has taken; the cursor at first.
    taken: u64,
    /// Whether the aggregation has seen what is before the first record that it takes.
    is_primed: bool,
    /// The queue's head, until its state can be published.
    newest: Option<Record>,
    /// Last sequence asked for and got.
    fetched: u64,
    /// Last sequence that may be committed.
    committed: u64,
    /// Last sequence that capture was sent to commit, and when.
    sent: (u64, Duration),
    head: u64,
}

/// What is known of the meter.
#[derive(Debug, Default)]
struct Meter {
    is_online: Option<bool>,
    /// Whether the newest record was read before it was asked for: then a record that comes is news.
    is_live: bool,
    /// Since when capture has not been there to ask.
    unknown_since: Option<Duration>,
}

/// What a person has been told since the last change.
#[derive(Debug, Default)]
struct Told {
    capture: Vec<String>,
    broker: Vec<String>,
    refusals: Refusals,
    /// That tags are required.
    tags: bool,
    misfits: misfits::Told,
}

impl Told {
    fn is_news(told: &mut Vec<String>, words: &str) -> bool {
        if told.len() >= TOLD || told.iter().any(|known| known == words) {
            return false;
        }
        told.push(words.to_owned());
        true
    }
}

/// What capture keeps for `publisher status`.
#[derive(Debug, Default)]
struct Report {
    connection: String,
    last_acknowledged_at_us: Option<i64>,
    skipped: BTreeMap<String, u64>,
    sent_at: Option<Duration>,
    is_due: bool,
}

impl Queue {
    /// Takes in the next record, and counts and tells what of it is not published. One that waits for a key
    /// is not taken.
    fn take(
        &mut self,
        record: &Record,
        now: Duration,
        report: &mut Report,
        told: &mut Told,
        outputs: &mut Vec<Output>,
    ) -> Taken {
        if record.sequence <= self.taken {
            if !self.is_primed {
                self.aggregator.prime(record);
                self.is_primed = record.sequence == self.taken;
            }
            return Taken::Read;
        }
        self.is_primed = true;
        let taken = self.aggregator.take(record, outputs);
        if self.aggregator.requires_tags_by_itself() && !std::mem::replace(&mut told.tags, true) {
            tracing::info!("{}", words::requires_tags(record.sequence));
        }
        match &taken {
            Taken::Read => {
                for misfit in self.aggregator.misfits() {
                    count(&mut report.skipped, "values that do not fit", 1);
                    if told.misfits.is_news(misfit) {
                        let sequence = record.sequence;
                        tracing::warn!("telegram #{sequence}: {misfit}; it is kept under Other_objects");
                    }
                }
                for held in self.aggregator.held_back() {
                    tracing::warn!("{}", words::held_back(&held));
                }
                for news in self.aggregator.stopped_news() {
                    report.is_due = true;
                    if news.has_stopped {
                        tracing::warn!("{}", words::stopped(&news));
                    } else {
                        tracing::info!("{}", words::stopped(&news));
                    }
                }
            }
            Taken::Skipped { why } => {
                count(&mut report.skipped, why.counted_as(), 1);
                report.is_due |= told.refusals.tell(now, record.sequence, why);
            }
            Taken::Waiting { .. } => return taken,
        }
        self.pass(record.sequence, report);
        taken
    }

    /// This record is done with; counts what is missing before it.
    fn pass(&mut self, sequence: u64, report: &mut Report) {
        let missing = sequence - self.taken - 1;
        if missing > 0 && self.taken > 0 {
            count(&mut report.skipped, "missing from the queue", missing);
            tracing::warn!("{}", words::gap(self.taken + 1, sequence - 1));
        }
        self.taken = sequence;
    }
}

impl Flow {
    /// With nothing known of capture and broker.
    pub fn new(settings: FlowSettings, now: Now) -> Self {
        let delivery = Delivery::new(delivery::Settings {
            has_availability: settings.topics.availability.is_some(),
            on_rejected: settings.on_rejected,
        });
        let pace = Pace::new(settings.meter_timeout);
        Self {
            settings,
            now,
            delivery,
            queue: None,
            session: None,
            connection: None,
            is_connecting: false,
            is_taken: false,
            ahead: Ahead::default(),
            is_reading: false,
            is_finishing: false,
            waits_for_key: None,
            meter: Meter {
                unknown_since: Some(now.elapsed),
                ..Meter::default()
            },
            pace,
            demand: Demand::default(),
            told: Told::default(),
            broker: BrokerLog::default(),
            client_id: String::new(),
            report: Report {
                connection: "connecting for the first time".to_owned(),
                ..Report::default()
            },
        }
    }

    /// When [`FlowEvent::Tick`] is due at the latest.
    pub fn deadline(&self) -> Duration {
        if self.can_take() {
            return self.now.elapsed;
        }
        // Without a session nothing is sent, whenever it was due.
        let sent_at = self.report.sent_at.filter(|_| self.session.is_some());
        let report = sent_at.unwrap_or(self.now.elapsed) + REPORT_INTERVAL;
        let soon = if self.report.is_due {
            self.now.elapsed + REPORT_PAUSE
        } else {
            report
        };
        let meter = self
            .meter
            .unknown_since
            .map(|since| since + self.settings.meter_timeout);
        let meter = meter.filter(|at| *at > self.now.elapsed);
        let commit = self.queue.as_ref().filter(|queue| queue.committed > queue.sent.0);
        let commit = commit.filter(|_| self.session.is_some());
        let commit = commit.map(|queue| queue.sent.1 + COMMIT_PAUSE);
        let deadlines = [self.delivery.deadline(), meter, commit, self.held_back_until()];
        deadlines
            .into_iter()
            .flatten()
            .fold(report.min(soon), Duration::min)
    }

    /// Whether everything sent has been acknowledged, the last word on availability included.
    pub fn is_quiet(&self) -> bool {
        self.delivery.is_quiet()
    }

    /// Payload bytes held, for tests of the bound.
    pub fn bytes_held(&self) -> usize {
        self.delivery.bytes_held()
    }

    /// Batches of records that were read and of which not all has been taken in, for tests of the bound.
    pub fn batches_ahead(&self) -> usize {
        self.ahead.batches()
    }

    /// How many records or messages were skipped, by what they were.
    pub fn skipped(&self) -> &BTreeMap<String, u64> {
        &self.report.skipped
    }

    /// What is said of the telegram that waits for a key, if one does.
    pub fn waits_for_key(&self) -> Option<&str> {
        self.waits_for_key.as_ref().map(|(words, _)| words.as_str())
    }

    /// Takes an event and appends what to tell whom.
    pub fn handle(&mut self, now: Now, event: FlowEvent, orders: &mut Vec<Order>) {
        self.now = now;
        match event {
            FlowEvent::Source(event) => self.source(event, orders),
            FlowEvent::Mqtt(event) => self.mqtt(event, orders),
            FlowEvent::Tick => self.tick(orders),
            FlowEvent::Finish => {
                self.is_finishing = true;
                self.deliver(Event::Finish, orders);
            }
        }
        self.take(orders);
        if let Some(too_slow) = self.demand.is_news(self.delivery.link_rate()) {
            tracing::warn!("{}", words::too_slow(too_slow));
        }
        let standing = self.standing();
        let told = self.broker.goes_on(self.now.elapsed, standing);
        self.tell_connected(told);
        self.send_commit(orders);
        self.ask(orders);
        self.send_report(orders);
    }

    fn source(&mut self, event: SourceEvent, orders: &mut Vec<Order>) {
        match event {
            SourceEvent::Opened(opened) => self.opened(*opened, orders),
            SourceEvent::Records { records, head } => {
                self.is_reading = false;
                let Some(queue) = &mut self.queue else { return };
                queue.head = head;
                if let Some(last) = records.last() {
                    queue.fetched = last.sequence;
                    self.pace.records(self.now, last.captured_at_us);
                }
                self.ahead.push(records);
                if self.meter.is_live {
                    self.meter_is(true, orders);
                }
            }
            SourceEvent::Idle { head, silence_ms } => {
                self.is_reading = false;
                if let Some(queue) = &mut self.queue {
                    queue.head = head;
                }
                self.meter.is_live = true;
                self.pace
                    .nothing(self.now.elapsed, Duration::from_millis(silence_ms));
                self.silence(silence_ms, orders);
            }
            SourceEvent::Head(record) => {
                if let Some(queue) = &mut self.queue {
                    queue.newest = Some(*record);
                }
                self.show_newest(orders);
            }
            SourceEvent::Away { words, is_taken } => {
                self.session = None;
                self.is_reading = false;
                self.meter.is_live = false;
                self.meter.unknown_since.get_or_insert(self.now.elapsed);
                if Told::is_news(&mut self.told.capture, &words) {
                    let what = if is_taken { "until then" } else { "for capture" };
                    tracing::warn!("{words}; waiting {what}");
                }
                // A capture that is away does not say that the other publisher has gone.
                self.is_taken |= is_taken;
                if self.is_taken == self.is_connecting {
                    if self.is_taken {
                        self.is_connecting = false;
                        orders.push(Order::Mqtt(Command::Leave));
                    } else {
                        self.connect(None, orders);
                    }
                }
            }
            SourceEvent::Finished => self.session = None,
        }
    }

    fn connect(&mut self, queue: Option<&str>, orders: &mut Vec<Order>) {
        self.is_connecting = true;
        self.client_id = mqtt::client_id(&self.settings.client_id, queue.unwrap_or(QUEUE));
        let queue = queue.map(str::to_owned);
        orders.push(Order::Mqtt(Command::Connect { queue }));
    }

    fn opened(&mut self, opened: Opened, orders: &mut Vec<Order>) {
        let Opened {
            session,
            queue: identity,
            cursor,
            head,
            silence_ms,
            ..
        } = opened;
        self.told.capture.clear();
        self.is_taken = false;
        // While capture was away the broker knew us by a name that stood in.
        let is_nameless = self.client_id.contains(QUEUE);
        if self.is_connecting && is_nameless {
            orders.push(Order::Mqtt(Command::Leave));
        }
        if !self.is_connecting || is_nameless {
            self.connect(Some(&identity), orders);
        }
        self.session = Some(session);
        self.is_reading = false;
        self.meter.is_live = false;
        self.report.is_due = true;
        self.report.sent_at = None;
        let waiting = head.saturating_sub(cursor);
        let socket = self.settings.socket.display();
        tracing::info!(
            "reading the queue {identity} at {socket}; {}",
            words::waiting(waiting)
        );
        match &mut self.queue {
            Some(queue) if queue.identity == identity && queue.committed >= cursor => {
                queue.head = head;
                queue.sent.0 = cursor;
            }
            former => {
                match former.take() {
                    // Another publisher was this consumer meanwhile. What it has committed it has published,
                    // the open interval that is dropped here included.
                    Some(same) if same.identity == identity => {
                        self.ahead = Ahead::default();
                        self.waits_for_key = None;
                        self.deliver(Event::NewQueue, orders);
                    }
                    Some(former) => self.leave(former, &identity, orders),
                    None => {}
                }
                let aggregator = self.aggregator(&identity);
                let fetched = cursor.saturating_sub(aggregator.look_back());
                self.queue = Some(Queue {
                    identity,
                    aggregator,
                    is_primed: fetched >= cursor,
                    newest: None,
                    taken: cursor,
                    fetched,
                    committed: cursor,
                    sent: (cursor, self.now.elapsed),
                    head,
                });
            }
        }
        if waiting > 0 {
            self.ask_for_the_head(orders);
        }
        self.meter_silence(silence_ms, orders);
    }

    /// The queue is another one. What the former gave is delivered, its open interval included and what was
    /// read from it and had no room yet, at most two batches. What waits for a key would hold up the present
    /// queue: it is given up.
    fn leave(&mut self, mut former: Queue, identity: &str, orders: &mut Vec<Order>) {
        tracing::warn!(
            "capture serves another queue than before ({identity}, was {}): what was read from the former \
             one is still published",
            former.identity
        );
        let mut outputs = Vec::new();
        let mut given_up = 0;
        for record in std::mem::take(&mut self.ahead).into_records() {
            let now = self.now.elapsed;
            if let Taken::Waiting { why } =
                former.take(&record, now, &mut self.report, &mut self.told, &mut outputs)
            {
                former.pass(record.sequence, &mut self.report);
                count(&mut self.report.skipped, why.counted_as(), 1);
                given_up += 1;
            }
        }
        former.aggregator.silence(u64::MAX, &mut outputs);
        if given_up > 0 {
            tracing::warn!(
                "telegrams of the former queue that wait for the right keys, now skipped: {}",
                number(given_up)
            );
        }
        self.waits_for_key = None;
        self.deliver_all(outputs, orders);
        self.deliver(Event::NewQueue, orders);
    }

    fn aggregator(&self, identity: &str) -> Aggregator {
        let settings = &self.settings;
        Aggregator::new(
            aggregate::Settings {
                interval_seconds: settings.interval_seconds,
                max_payload_bytes: settings.max_payload_bytes,
                queue: identity.to_owned(),
                has_summary: settings.topics.summary.is_some(),
                has_state: settings.topics.state.is_some(),
            },
            Decryption::new(settings.keys.clone(), settings.on_undecryptable),
        )
    }

    /// Capture has nothing newer, and says for how long.
    fn silence(&mut self, silence_ms: u64, orders: &mut Vec<Order>) {
        if let Some(queue) = self.queue.as_mut().filter(|_| self.ahead.is_empty()) {
            let mut outputs = Vec::new();
            queue.aggregator.silence(silence_ms, &mut outputs);
            self.deliver_all(outputs, orders);
        }
        self.meter_silence(silence_ms, orders);
    }

    fn meter_silence(&mut self, silence_ms: u64, orders: &mut Vec<Order>) {
        let silence = Duration::from_millis(silence_ms);
        self.meter.unknown_since = None;
        self.pace.is_silent(self.now.elapsed, silence);
        self.meter_is(silence < self.settings.meter_timeout, orders);
    }

    fn meter_is(&mut self, is_online: bool, orders: &mut Vec<Order>) {
        let was = self.meter.is_online.replace(is_online);
        if was == Some(is_online) {
            return;
        }
        if !is_online {
            let silence = shared::config::duration::in_words(self.settings.meter_timeout);
            tracing::warn!("no telegram for {silence} (meter_timeout): the meter counts as offline");
        } else if was.is_some() {
            tracing::info!("telegrams come again: the meter is online");
        }
        self.deliver(Event::Meter { is_online }, orders);
    }

    fn mqtt(&mut self, event: MqttEvent, orders: &mut Vec<Order>) {
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
                let words = format!("connected to {broker} ({version})");
                let told = self.broker.connected(self.now.elapsed, words.clone());
                self.tell_connected(told);
                self.report_connection(words);
                self.deliver(
                    Event::Connected {
                        broker,
                        receive_maximum,
                        largest_payload,
                        takes_retained,
                    },
                    orders,
                );
                if self.lag().is_some_and(|lag| lag > 0) {
                    self.ask_for_the_head(orders);
                }
            }
            MqttEvent::Taken { bytes, within } => self.deliver(Event::Taken { bytes, within }, orders),
            MqttEvent::Unsent { ids } => {
                for id in ids {
                    self.deliver(Event::Unsent { id }, orders);
                }
            }
            MqttEvent::Acknowledged { ids } => {
                self.report.last_acknowledged_at_us = Some(self.now.unix_us);
                self.report.is_due = true;
                for id in ids {
                    self.deliver(Event::Acknowledged { id }, orders);
                }
            }
            MqttEvent::Rejected { id, fault, reason } => {
                self.deliver(Event::Rejected { id, fault, reason }, orders);
            }
            MqttEvent::Lost(trouble) => {
                self.connection = None;
                Told::is_news(&mut self.told.broker, &trouble.to_string());
                let standing = self.standing();
                let told = self
                    .broker
                    .lost(self.now.elapsed, &trouble, &self.client_id, standing);
                if let Some(words) = told {
                    tracing::warn!("{words}");
                }
                self.report_connection(format!("lost {trouble}"));
                self.deliver(
                    Event::Disconnected {
                        fault: trouble.fault(),
                        reason: trouble.words,
                    },
                    orders,
                );
            }
            MqttEvent::Failed(trouble) => {
                let trouble = trouble.to_string();
                if Told::is_news(&mut self.told.broker, &trouble) {
                    tracing::warn!("no connection to the broker {trouble}; trying again");
                    self.report_connection(format!("not connected to {trouble}"));
                }
            }
            MqttEvent::Left => {
                self.connection = None;
                self.broker.left();
                let reason = "another session is this consumer".to_owned();
                let fault = Fault::Silence;
                self.deliver(Event::Disconnected { fault, reason }, orders);
            }
            MqttEvent::Finished => self.connection = None,
        }
    }

    fn lag(&self) -> Option<u64> {
        let queue = self.queue.as_ref()?;
        Some(queue.head.saturating_sub(queue.committed))
    }

    fn tell_connected(&mut self, words: Option<String>) {
        let Some(words) = words else { return };
        self.told.broker.clear();
        let waiting = self.lag().map(|lag| format!("; {}", words::waiting(lag)));
        tracing::info!("{words}{}", waiting.unwrap_or_default());
    }

    fn standing(&self) -> Standing {
        Standing {
            has_progressed: self.delivery.has_progressed(),
            is_idle: self.delivery.is_idle(),
        }
    }

    fn tick(&mut self, orders: &mut Vec<Order>) {
        self.deliver(Event::Tick, orders);
        let is_unknown_for_long = self
            .meter
            .unknown_since
            .is_some_and(|since| since + self.settings.meter_timeout <= self.now.elapsed);
        if is_unknown_for_long && self.meter.is_online != Some(false) {
            self.meter_is(false, orders);
        }
    }

    /// Whether there are records, and they can be taken in.
    pub fn can_take(&self) -> bool {
        let waits_for_key = self
            .waits_for_key
            .as_ref()
            .is_some_and(|(_, until)| *until > self.now.elapsed);
        self.queue.is_some()
            && !self.ahead.is_empty()
            && !self.is_finishing
            && !waits_for_key
            && self.delivery.has_room()
    }

    /// Takes some records in while delivery has room for what comes of them.
    fn take(&mut self, orders: &mut Vec<Order>) {
        let mut outputs = Vec::new();
        for _ in 0..TAKEN_AT_ONCE {
            if !self.can_take() {
                return;
            }
            let (Some(queue), Some(record)) = (&mut self.queue, self.ahead.first()) else {
                return;
            };
            let (sequence, captured_at_us) = (record.sequence, record.captured_at_us);
            let now = self.now.elapsed;
            let taken = queue.take(record, now, &mut self.report, &mut self.told, &mut outputs);
            self.show_newest(orders);
            match taken {
                Taken::Read => self.waits_for_key = None,
                Taken::Skipped { .. } => {}
                Taken::Waiting { why } => {
                    self.wait_for_key(sequence, why.to_string());
                    return;
                }
            }
            self.demand.take(captured_at_us, &outputs);
            self.ahead.pass();
            self.deliver_all(std::mem::take(&mut outputs), orders);
        }
    }

    /// The state as the queue's head says it, once it is known which totals are above zero: one that fell to zero is
    /// held back.
    fn show_newest(&mut self, orders: &mut Vec<Order>) {
        let Some(queue) = self.queue.as_mut().filter(|queue| queue.is_primed) else {
            return;
        };
        let newest = queue.newest.take();
        if let Some(state) = newest.and_then(|record| queue.aggregator.state_of(&record)) {
            let payload = Bytes::from(state.payload);
            let sequence = state.sequence;
            self.deliver(Event::State { payload, sequence }, orders);
        }
    }

    fn wait_for_key(&mut self, sequence: u64, why: String) {
        let until = self.now.elapsed + RETRY_INTERVAL;
        let is_news = self.waits_for_key.as_ref().is_none_or(|(known, _)| *known != why);
        if is_news {
            tracing::error!(
                "telegram #{sequence}: {why}; nothing is published until it opens (on_undecryptable: wait)"
            );
            self.report.is_due = true;
        }
        self.waits_for_key = Some((why, until));
    }

    fn deliver_all(&mut self, outputs: Vec<Output>, orders: &mut Vec<Order>) {
        let mut summarised = 0;
        for output in outputs {
            let event = match output {
                Output::Readings {
                    payload,
                    last_sequence,
                    ..
                } => {
                    summarised = last_sequence;
                    Event::Readings {
                        payload: Bytes::from(payload),
                        last_sequence,
                    }
                }
                Output::Summary { payload } => Event::Summary {
                    payload: Bytes::from(payload),
                    last_sequence: summarised,
                },
                Output::State(state) => Event::State {
                    payload: Bytes::from(state.payload),
                    sequence: state.sequence,
                },
                Output::Closed { last_sequence } => Event::Closed { last_sequence },
            };
            self.deliver(event, orders);
        }
    }

    fn deliver(&mut self, event: Event, orders: &mut Vec<Order>) {
        let mut actions = Vec::new();
        self.delivery.handle(self.now.elapsed, event, &mut actions);
        for action in actions {
            match action {
                Action::Publish(message) => {
                    if let Some(connection) = self.connection {
                        orders.push(Order::Mqtt(Command::Publish { connection, message }));
                    }
                }
                Action::Commit { sequence } => {
                    if let Some(queue) = &mut self.queue {
                        queue.committed = queue.committed.max(sequence);
                    }
                }
                Action::Disconnect { reason } => {
                    if let Some(connection) = self.connection.take() {
                        orders.push(Order::Mqtt(Command::Abandon { connection, reason }));
                    }
                }
                Action::Notice(notice) => self.notice(&notice),
            }
        }
    }

    /// Tells capture what may be committed: at once where nothing is outstanding.
    fn send_commit(&mut self, orders: &mut Vec<Order>) {
        let (Some(session), Some(queue)) = (self.session, &mut self.queue) else {
            return;
        };
        let (sent, at) = queue.sent;
        let is_due = self.delivery.is_idle() || self.is_finishing || self.now.elapsed >= at + COMMIT_PAUSE;
        if queue.committed > sent && is_due {
            let sequence = queue.committed;
            queue.sent = (sequence, self.now.elapsed);
            orders.push(Order::Source(SourceCommand::Commit { session, sequence }));
        }
    }

    fn notice(&mut self, notice: &Notice) {
        let topics = &self.settings.topics;
        let words = words::notice(notice, topics);
        match notice {
            Notice::Skipped { .. } => {
                count(&mut self.report.skipped, "refused by the broker", 1);
                tracing::warn!("{words}");
            }
            Notice::Refused { .. } | Notice::Unpublished { .. } => {
                tracing::error!("{words}");
            }
        }
        self.report.is_due = true;
    }

    /// Asks for the next batch where there is room for it: while one is still taken in, where it is known that more
    /// is waiting.
    fn ask(&mut self, orders: &mut Vec<Order>) {
        let (Some(session), Some(queue)) = (self.session, &self.queue) else {
            return;
        };
        let most = if queue.fetched < queue.head { READ_AHEAD } else { 0 };
        if self.is_reading || self.is_finishing || self.ahead.batches() > most || !self.delivery.has_room() {
            return;
        }
        let goes_along = self.is_report_due() && self.pace.is_half(self.now.elapsed);
        if self.held_back_until().is_some() && !goes_along {
            return;
        }
        // That nothing is waiting any more is told by a read that finds nothing, also while a telegram comes every
        // second.
        let wait = if self.meter.is_live {
            self.pace.longest_wait(self.now.elapsed)
        } else {
            FIRST_WAIT
        };
        let from = queue.fetched + 1;
        self.is_reading = true;
        orders.push(Order::Source(SourceCommand::Read { session, from, wait }));
    }

    /// Until when nothing is read because nothing could be published of it: where all up to the head has been taken
    /// in, the meter is known to be online, and an interval is open. None where a read is due.
    pub fn held_back_until(&self) -> Option<Duration> {
        let queue = self.queue.as_ref().filter(|_| self.session.is_some())?;
        let is_live = self.meter.is_live && self.meter.is_online == Some(true);
        let has_all = self.ahead.is_empty() && queue.fetched >= queue.head;
        if self.is_reading || self.is_finishing || !is_live || !has_all || !self.delivery.has_room() {
            return None;
        }
        let due = self.pace.due(queue.aggregator.closes_in()?);
        (due > self.now.elapsed).then_some(due)
    }

    fn ask_for_the_head(&self, orders: &mut Vec<Order>) {
        if let (Some(session), true) = (self.session, self.settings.topics.state.is_some()) {
            orders.push(Order::Source(SourceCommand::Head { session }));
        }
    }

    fn report_connection(&mut self, words: String) {
        self.report.connection = words;
        self.report.is_due = true;
        self.report.sent_at = None;
    }

    fn is_report_due(&self) -> bool {
        let age = self.report.sent_at.map(|at| self.now.elapsed.saturating_sub(at));
        match age {
            None => true,
            Some(age) => age >= REPORT_INTERVAL || (self.report.is_due && age >= REPORT_PAUSE),
        }
    }

    fn send_report(&mut self, orders: &mut Vec<Order>) {
        let Some(session) = self.session else { return };
        if !self.is_report_due() {
            return;
        }
        self.report.sent_at = Some(self.now.elapsed);
        self.report.is_due = false;
        let counts = self.delivery.counts();
        let connection = match &self.waits_for_key {
            Some((why, _)) => format!("{}; waiting for the key: {why}", self.report.connection),
            None => self.report.connection.clone(),
        };
        let mut report = Box::new(PublisherReport {
            at_us: self.now.unix_us,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            connection,
            is_connected: self.connection.is_some(),
            acknowledged_messages: counts.acknowledged,
            last_acknowledged_at_us: self.report.last_acknowledged_at_us,
            last_acknowledged_sequence: counts.last_acknowledged_sequence,
            skipped: self.report.skipped.clone(),
        });
        for (name, telegrams) in self.queue.iter().flat_map(|queue| queue.aggregator.stopped()) {
            report.has_stopped(name, telegrams);
        }
        orders.push(Order::Source(SourceCommand::Report { session, report }));
    }
}

/// Adds to a count, and tells what it is then.
fn count(counts: &mut BTreeMap<String, u64>, what: &str, by: u64) -> u64 {
    let count = counts.entry(what.to_owned()).or_default();
    *count = count.saturating_add(by);
    *count
}

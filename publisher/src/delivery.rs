//! Delivery: which message is sent when, and how far the cursor may move. A state machine without
//! clock, socket or thread: events go in with the time they happened at, actions come out.
//!
//! Invariants:
//!
//! * The cursor moves only to the end of a closed interval, and only when every message before that
//!   end has been acknowledged (or skipped, which is counted and said).
//! * Messages are first sent in the order in which they were offered.
//! * Everything that was sent and not acknowledged when a connection is lost is sent again on the
//!   next, byte for byte. An array of which the broker cannot have the end may be split first.
//! * Not more than the link to the broker carries in some seconds ([`link`]), and never more than [`WINDOW_BYTES`],
//!   are unacknowledged, a single larger message excepted, and never more messages than [`WINDOW_MESSAGES`] or than the broker's receive maximum.
//! * After [`LOSSES_BEFORE_ONE`] connections lost without progress one message is outstanding at a
//!   time, so that the one the broker will not take can be named.
//! * A state message is never of an older sequence than one already sent, and neither it nor
//!   availability holds up a commit. So after those lost connections the window goes first on every second one:
//!   a broker that hangs up after each message gets all of them, and who hangs up on the first message of a
//!   connection hangs up on that one.
//!
//! A message that the broker refuses stays at the front of the window, and with `on_rejected: wait`
//! it stays there for good: nothing is committed past it. With `skip` an array is halved, down to the
//! single reading that is at fault. It is skipped and counted on proof that it is this message, not the broker:
//!
//! 1. The broker refuses it for a reason that is about its content ([`Fault::Message`]) while nothing else is
//!    outstanding.
//! 2. After that the same broker acknowledges a later message of the same kind, the nearest that it takes. Only for
//!    this a message is first sent before an earlier one.
//! 3. It refuses this one once more, with nothing else in between on that connection.
//! 4. At least [`SKIP_SPAN`] after the first refusal, on another connection, the same broker refuses it again for such
//!    a reason.
//!
//! A message larger than the broker says that it takes needs no further proof. Refusals that are not about the message
//! ([`Fault::Standing`], such as a missing permission or a full queue), lost connections and silence
//! ([`Fault::Silence`]) prove nothing: they are always waited for.

pub mod array;
mod link;
mod window;

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use shared::config::OnTrouble;

use link::Link;
use window::{Progress, Proof, Step, Window};

/// Bound on payload bytes held and unacknowledged.
pub const WINDOW_BYTES: usize = 2 * 1024 * 1024;
/// Bound on messages held and unacknowledged: with 50 ms to the broker, 20,000 a second.
pub const WINDOW_MESSAGES: usize = 1024;
/// With messages outstanding, this long without any PUBACK, and without that the broker's side takes any more of
/// them, is a lost connection.
pub const ACKNOWLEDGEMENT_TIMEOUT: Duration = Duration::from_secs(60);
/// What is taken more slowly than this on the whole, in bytes a second, is not being taken: the slowest modem that a
/// meter was ever read by carries four times as much.
pub const LEAST_RATE: u32 = 256;
/// Connections lost without progress after which one message is outstanding at a time.
pub const LOSSES_BEFORE_ONE: u32 = 2;
/// Refusals of a message before it is halved, or its proof begins.
pub const REFUSALS_BEFORE_HALVING: u32 = 2;
/// Least time between the two refusals that prove that a message is never taken.
pub const SKIP_SPAN: Duration = Duration::from_secs(30);

/// Why state and availability are off for a connection.
const NO_RETAINED: &str = "the broker keeps no retained messages";

const FIRST_HOLD: Duration = Duration::from_secs(1);
const LONGEST_HOLD: Duration = Duration::from_secs(30);

/// What a message is about; the connection knows the topic of each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A JSON array of readings.
    Readings,
    /// The summary of an interval.
    Summary,
    /// The newest of every register and gauge; retained.
    State,
    /// `online` or `offline`; retained.
    Availability,
}

impl Kind {
    /// Whether the broker keeps the last message for later subscribers.
    pub fn is_retained(self) -> bool {
        matches!(self, Self::State | Self::Availability)
    }

    /// For log lines.
    pub fn name(self) -> &'static str {
        match self {
            Self::Readings => "readings",
            Self::Summary => "summary",
            Self::State => "state",
            Self::Availability => "availability",
        }
    }
}

/// A message on its way to the broker, QoS 1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Never given twice, not even to the same message sent again.
    pub id: u64,
    /// What it is about.
    pub kind: Kind,
    /// The bytes to publish.
    pub payload: Bytes,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// An array of readings to deliver.
    Readings {
        /// JSON.
        payload: Bytes,
        /// The highest sequence in it.
        last_sequence: u64,
    },
    /// A summary to deliver.
    Summary {
        /// JSON.
        payload: Bytes,
        /// The highest sequence in its interval.
        last_sequence: u64,
    },
    /// Everything up to this sequence has been offered, and its interval can no longer change.
    Closed {
        /// Where the cursor may move when all before is acknowledged.
        last_sequence: u64,
    },
    /// A newer state.
    State {
        /// JSON.
        payload: Bytes,
        /// The sequence that it is of.
        sequence: u64,
    },
    /// The meter has come or gone.
    Meter {
        /// Whether telegrams come.
        is_online: bool,
    },
    /// The queue is another one than before: what is held is still delivered, but not committed.
    NewQueue,
    /// The broker has accepted a connection.
    Connected {
        /// Which broker.
        broker: String,
        /// How many unacknowledged messages the broker takes.
        receive_maximum: u16,
        /// The largest payload it takes, in bytes; none where it names no bound.
        largest_payload: Option<usize>,
        /// Whether it keeps retained messages.
        takes_retained: bool,
    },
    /// The broker's side is taking what it was sent, and there is more for it to take.
    Taken {
        /// So many bytes.
        bytes: usize,
        /// In this time.
        within: Duration,
    },
    /// The broker cannot have this message: it was not sent the end of it, and the connection is gone.
    Unsent {
        /// Which.
        id: u64,
    },
    /// PUBACK with success, or with no matching subscribers.
    Acknowledged {
        /// Of which message.
        id: u64,
    },
    /// PUBACK with any other reason.
    Rejected {
        /// Of which message.
        id: u64,
        /// Whose fault it is.
        fault: Fault,
        /// The reason in words.
        reason: String,
    },
    /// The connection is gone.
    Disconnected {
        /// Whose fault it is.
        fault: Fault,
        /// Why, in words.
        reason: String,
    },
    /// Time has passed.
    Tick,
    /// The publisher stops: say so, send nothing else.
    Finish,
}

/// What a refusal is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The content of the message: another one may pass.
    Message,
    /// A permission, a quota, a full queue, the topic: no message passes until that has changed.
    Standing,
    /// The broker, or what lies before it, does not answer, or ends the connection for a reason that is not about a
    /// message. A smaller message may pass (a path that drops large packets behaves like this), so an array is
    /// halved, but nothing is skipped.
    Silence,
}

/// What to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Send it.
    Publish(Message),
    /// Move the cursor.
    Commit {
        /// To this sequence.
        sequence: u64,
    },
    /// Give the connection up; [`Event::Disconnected`] need not follow.
    Disconnect {
        /// Why, in words.
        reason: String,
    },
    /// Tell a person.
    Notice(Notice),
}

/// What a person should know, once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Notice {
    /// The broker refuses this message; delivery waits at it.
    Refused {
        /// What it is about.
        kind: Kind,
        /// Size of its payload in bytes.
        bytes: usize,
        /// The highest sequence in it.
        last_sequence: u64,
        /// Why, in words.
        reason: String,
    },
    /// A message was skipped for good.
    Skipped {
        /// What it is about.
        kind: Kind,
        /// Size of its payload in bytes.
        bytes: usize,
        /// The highest sequence in it.
        last_sequence: u64,
        /// Why, in words.
        reason: String,
    },
    /// State or availability messages are not taken; nothing waits for them.
    Unpublished {
        /// What they are about.
        kind: Kind,
        /// Why, in words.
        reason: String,
    },
}

/// Counts since the start, for `publisher status`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Messages acknowledged.
    pub acknowledged: u64,
    /// Messages skipped.
    pub skipped: u64,
    /// Highest sequence in an acknowledged message.
    pub last_acknowledged_sequence: Option<u64>,
}

/// Which kinds of message there are beside readings, and what to do with refused ones.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// Whether there is a topic for availability.
    pub has_availability: bool,
    /// What to do with a message that the broker will never take.
    pub on_rejected: OnTrouble,
}

/// The state machine; see the module.
#[derive(Debug)]
pub struct Delivery {
    settings: Settings,
    window: Window,
    link: Link,
    connection: Option<Connection>,
    next_id: u64,
    state: StateSlot,
    is_meter_online: Option<bool>,
    is_finishing: bool,
    losses: u32,
    /// How many connections there were.
    connections: u64,
    hold: Duration,
    held_until: Option<Duration>,
    named_beside_window: Vec<Kind>,
    counts: Counts,
}

/// What is known of the present connection.
#[derive(Debug)]
struct Connection {
    number: u64,
    broker: String,
    receive_maximum: usize,
    largest_payload: usize,
    takes_retained: bool,
    /// Everything sent, from the oldest unacknowledged on: packet ids are given in this order, so
    /// its length, not the number unacknowledged, is what must stay within the receive maximum.
    in_flight: VecDeque<InFlight>,
    bytes: usize,
    last_acknowledgement: Duration,
    /// What the broker's side has taken since then without an acknowledgement, and when the last of it.
    taken: Option<(usize, Duration)>,
    /// What was last said of availability, and the message while it is under way.
    availability: Option<(bool, Option<u64>)>,
    has_progressed: bool,
    /// Whether the broker has answered to anything.
    has_answered: bool,
}

#[derive(Debug, Clone)]
struct InFlight {
    id: u64,
    kind: Kind,
    bytes: usize,
    sent_at: Duration,
    /// What the link had delivered by then.
    delivered: u64,
    is_done: bool,
}

/// The newest state that is to be sent, and the one that is under way.
#[derive(Debug, Default)]
struct StateSlot {
    waiting: Option<(u64, Bytes)>,
    sent: Option<(u64, u64, Bytes)>,
    highest: u64,
}

impl Delivery {
    /// Nothing to deliver, no connection, nothing known of the meter: availability is not said before.
    pub fn new(settings: Settings) -> Self {
        Self {
            settings,
            window: Window::default(),
            link: Link::new(),
            connection: None,
            next_id: 1,
            state: StateSlot::default(),
            is_meter_online: None,
            is_finishing: false,
            losses: 0,
            connections: 0,
            hold: FIRST_HOLD,
            held_until: None,
            named_beside_window: Vec::new(),
            counts: Counts::default(),
        }
    }

    /// Whether there is room for more readings and summaries. Where there is not, whoever offers
    /// them stops reading the queue.
    pub fn has_room(&self) -> bool {
        self.window.bytes() < WINDOW_BYTES && self.window.messages() < WINDOW_MESSAGES
    }

    /// Whether nothing is held: the broker has acknowledged all readings and summaries.
    pub fn is_idle(&self) -> bool {
        self.window.messages() == 0
    }

    /// Whether every message sent on the present connection has been acknowledged.
    pub fn is_quiet(&self) -> bool {
        self.connection
            .as_ref()
            .is_none_or(|connection| connection.in_flight.is_empty())
    }

    /// Whether readings or a summary have been acknowledged on the present connection.
    pub fn has_progressed(&self) -> bool {
        self.connection
            .as_ref()
            .is_some_and(|connection| connection.has_progressed)
    }

    /// Payload bytes held.
    pub fn bytes_held(&self) -> usize {
        self.window.bytes()
    }

    /// What the link to the broker carries, in bytes a second, if it has shown that it is slow.
    pub fn link_rate(&self) -> Option<u64> {
        self.link.rate()
    }

    /// Counts since the start.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// When [`Event::Tick`] is due at the latest.
    pub fn deadline(&self) -> Option<Duration> {
        let connection = self.connection.as_ref()?;
        let proof = self.proof_deadline(connection);
        [connection.timeout(), self.held_until, proof]
            .into_iter()
            .flatten()
            .min()
    }

    /// Takes an event that happened at `now` (any clock that does not jump) and appends what to do.
    pub fn handle(&mut self, now: Duration, event: Event, actions: &mut Vec<Action>) {
        match event {
            Event::Readings {
                payload,
                last_sequence,
            } => {
                self.window.push(Kind::Readings, payload, last_sequence);
            }
            Event::Summary {
                payload,
                last_sequence,
            } => {
                self.window.push(Kind::Summary, payload, last_sequence);
            }
            Event::Closed { last_sequence } => self.window.close(last_sequence),
            Event::State { payload, sequence } => self.state.offer(sequence, payload),
            Event::Meter { is_online } => self.is_meter_online = Some(is_online),
            Event::NewQueue => {
                self.window.forget_ends();
                self.state.highest = 0;
            }
            Event::Connected {
                broker,
                receive_maximum,
                largest_payload,
                takes_retained,
            } => {
                self.forget_connection();
                self.connections += 1;
                let known = Connection::new(now, receive_maximum, largest_payload, takes_retained);
                self.connection = Some(Connection {
                    number: self.connections,
                    broker,
                    ..known
                });
            }
            Event::Taken { bytes, within } => self.taken(now, bytes, within),
            Event::Unsent { id } => self.window.unsent(id),
            Event::Acknowledged { id } => self.acknowledged(now, id),
            Event::Rejected { id, fault, reason } => self.rejected(now, id, fault, &reason, actions),
            Event::Disconnected { fault, reason } => self.lost(now, fault, &reason, actions),
            Event::Tick => self.tick(now, actions),
            Event::Finish => self.is_finishing = true,
        }
        self.advance(actions);
        self.send(now, actions);
    }

    /// Commits what is done with. That the front of the window moved is what counts as progress: an
    /// acknowledgement of something behind a message that the broker refuses does not.
    fn advance(&mut self, actions: &mut Vec<Action>) {
        let advanced = self.window.advance();
        if advanced.acknowledged > 0 {
            self.progressed();
        }
        if let Some(sequence) = advanced.end {
            actions.push(Action::Commit { sequence });
        }
    }

    fn progressed(&mut self) {
        self.losses = 0;
        self.hold = FIRST_HOLD;
        self.held_until = None;
        if let Some(connection) = &mut self.connection {
            connection.has_progressed = true;
        }
    }

    fn acknowledged(&mut self, now: Duration, id: u64) {
        let Some(connection) = &mut self.connection else {
            return;
        };
        let Some(sent) = connection.done(now, id) else {
            return;
        };
        let kind = sent.kind;
        self.link
            .acknowledged(sent.bytes, now.saturating_sub(sent.sent_at), sent.delivered);
        self.counts.acknowledged += 1;
        self.named_beside_window.retain(|named| *named != kind);
        match kind {
            Kind::Availability => connection.availability_answered(id),
            Kind::State => {
                self.state.answered(id);
                if self.is_idle() {
                    self.progressed();
                }
            }
            Kind::Readings | Kind::Summary => {
                let Some(place) = self.window.place_of(id) else {
                    return;
                };
                let sequence = self.window.acknowledge(place);
                let front = self.window.front_mut().filter(|front| front.kind == kind);
                if let Some(proof) = front.and_then(|front| front.proof_mut(&connection.broker)) {
                    if proof.step == Step::Other {
                        proof.step = Step::Confirmation;
                    }
                }
                self.counts.last_acknowledged_sequence = self.counts.last_acknowledged_sequence.max(sequence);
            }
        }
    }

    fn rejected(&mut self, now: Duration, id: u64, fault: Fault, reason: &str, actions: &mut Vec<Action>) {
        let Some(connection) = &mut self.connection else {
            return;
        };
        let Some(InFlight { kind, .. }) = connection.done(now, id) else {
            return;
        };
        let is_alone = connection.in_flight.is_empty();
        match kind {
            // These hold nothing up: the next ones are tried in their time.
            Kind::Availability => {
                connection.availability_answered(id);
                self.name_beside_window(kind, reason, actions);
            }
            Kind::State => {
                self.state.answered(id);
                self.name_beside_window(kind, reason, actions);
            }
            Kind::Readings | Kind::Summary => {
                let Some(place) = self.window.place_of(id) else {
                    return;
                };
                if let Some(held) = self.window.at_mut(place) {
                    held.progress = Progress::Waiting;
                }
                self.losses = self.losses.max(LOSSES_BEFORE_ONE);
                if self.window.is_first(place) {
                    self.held_until = Some(now + self.hold);
                    self.hold = (self.hold * 2).min(LONGEST_HOLD);
                    self.refused(now, place, fault, reason, is_alone, actions);
                } else {
                    self.held_until.get_or_insert(now + self.hold);
                    self.refused_as_other(place, fault);
                }
            }
        }
    }

    fn taken(&mut self, now: Duration, bytes: usize, within: Duration) {
        self.link.taken(bytes, within);
        if let Some(connection) = &mut self.connection {
            let (before, _) = connection.taken.unwrap_or_default();
            connection.taken = Some((before + bytes, now));
        }
    }

    /// The connection is gone, whoever ended it.
    fn lost(&mut self, now: Duration, fault: Fault, reason: &str, actions: &mut Vec<Action>) {
        let Some(connection) = &self.connection else {
            return;
        };
        let mut outstanding = connection.in_flight.iter().filter(|sent| !sent.is_done);
        let first = outstanding.next().map(|sent| (sent.id, sent.kind));
        let is_alone = outstanding.next().is_none();
        let (has_progressed, has_answered) = (connection.has_progressed, connection.has_answered);
        let place = first.and_then(|(id, _)| self.window.place_of(id));
        let place = place.filter(|place| self.window.is_first(*place));
        let is_named = fault == Fault::Message && is_alone;
        if let (true, Some(place)) = (is_named, place) {
            self.losses = self.losses.max(LOSSES_BEFORE_ONE).saturating_add(1);
            self.refused(now, place, fault, reason, is_alone, actions);
            self.forget_connection();
            return;
        }
        self.forget_connection();
        let Some((_, kind)) = first else { return };
        if has_progressed {
            return;
        }
        let was_one_at_a_time = self.losses >= LOSSES_BEFORE_ONE;
        self.losses = self.losses.saturating_add(1);
        // It may hang up after whatever it has answered.
        if !(was_one_at_a_time && is_alone) || has_answered {
            return;
        }
        match place {
            Some(place) => self.refused(now, place, fault, reason, is_alone, actions),
            None if matches!(kind, Kind::Readings | Kind::Summary) => {}
            None => {
                // Dashboards can wait for the next state, the backlog cannot wait for this one.
                self.state.waiting = None;
                self.name_beside_window(kind, reason, actions);
            }
        }
    }

    /// Tells once that messages of a kind that holds nothing up are refused.
    fn name_beside_window(&mut self, kind: Kind, reason: &str, actions: &mut Vec<Action>) {
        if !self.named_beside_window.contains(&kind) {
            self.named_beside_window.push(kind);
            actions.push(Action::Notice(Notice::Unpublished {
                kind,
                reason: reason.to_owned(),
            }));
        }
    }

    /// The first message was refused, or it may have been the reason why the connection was lost.
    fn refused(
        &mut self,
        now: Duration,
        place: usize,
        fault: Fault,
        reason: &str,
        is_alone: bool,
        actions: &mut Vec<Action>,
    ) {
        let Some(held) = self.window.at_mut(place) else {
            return;
        };
        held.refusals += 1;
        if fault != Fault::Message {
            held.wants_another();
        }
        let is_decided = held.refusals >= REFUSALS_BEFORE_HALVING;
        if !held.is_named {
            held.is_named = true;
            actions.push(Action::Notice(Notice::Refused {
                kind: held.kind,
                bytes: held.payload.len(),
                last_sequence: held.last_sequence,
                reason: reason.to_owned(),
            }));
        }
        if self.settings.on_rejected != OnTrouble::Skip || fault == Fault::Standing || !is_decided {
            return;
        }
        if self.window.halve(place) || fault != Fault::Message || !is_alone {
            return;
        }
        let (Some(connection), Some(held)) = (&self.connection, self.window.at_mut(place)) else {
            return;
        };
        let Some(proof) = held.proof_mut(&connection.broker) else {
            held.proofs.push(Proof {
                since: now,
                connection: connection.number,
                broker: connection.broker.clone(),
                step: Step::Other,
            });
            return;
        };
        let is_again = connection.number > proof.connection && now >= proof.since + SKIP_SPAN;
        match proof.step {
            Step::Confirmation => proof.step = Step::Again,
            Step::Again if is_again => self.skip(place, reason, actions),
            Step::Other | Step::Again => {}
        }
    }

    /// A later message was refused that was to show that the broker takes others: another one is tried next, or one of
    /// its readings.
    fn refused_as_other(&mut self, place: usize, fault: Fault) {
        let is_proving = self.window.front().is_some_and(|front| !front.proofs.is_empty());
        let Some(held) = self.window.at_mut(place).filter(|_| is_proving) else {
            return;
        };
        held.refusals += 1;
        if fault == Fault::Message && held.refusals >= REFUSALS_BEFORE_HALVING {
            self.window.halve(place);
        }
    }

    /// What the proof that the first message is never taken needs next.
    fn next(&self, now: Duration) -> Next {
        let (Some(connection), Some(front)) = (&self.connection, self.window.front()) else {
            return Next::First;
        };
        let Some(proof) = front.proof(&connection.broker) else {
            return Next::First;
        };
        match proof.step {
            Step::Other => {
                let other = self.window.other_waiting(front.kind, connection.largest_payload);
                other.map_or(Next::First, Next::Other)
            }
            Step::Confirmation => Next::First,
            Step::Again if now < proof.since + SKIP_SPAN => Next::Nothing,
            Step::Again if proof.connection == connection.number => Next::AnotherConnection,
            Step::Again => Next::First,
        }
    }

    /// When the connection on which a message was first refused has served.
    fn proof_deadline(&self, connection: &Connection) -> Option<Duration> {
        let proof = self.window.front()?.proof(&connection.broker)?;
        let is_due = proof.step == Step::Again && connection.in_flight.is_empty() && !self.is_finishing;
        let at = (proof.since + SKIP_SPAN).max(self.held_until.unwrap_or_default());
        is_due.then_some(at)
    }

    fn skip(&mut self, place: usize, reason: &str, actions: &mut Vec<Action>) {
        self.counts.skipped += 1;
        if let Some(held) = self.window.drop_message(place) {
            actions.push(Action::Notice(Notice::Skipped {
                kind: held.kind,
                bytes: held.payload.len(),
                last_sequence: held.last_sequence,
                reason: reason.to_owned(),
            }));
        }
    }

    fn tick(&mut self, now: Duration, actions: &mut Vec<Action>) {
        if self.held_until.is_some_and(|until| until <= now) {
            self.held_until = None;
        }
        let is_overdue = self
            .connection
            .as_ref()
            .and_then(Connection::timeout)
            .is_some_and(|deadline| deadline <= now);
        if is_overdue {
            let seconds = ACKNOWLEDGEMENT_TIMEOUT.as_secs();
            self.link.was_silent();
            actions.push(Action::Disconnect {
                reason: format!("the broker has acknowledged nothing for {seconds} s"),
            });
            self.lost(now, Fault::Silence, "the broker does not acknowledge it", actions);
        }
    }

    /// Everything outstanding is to be sent again; there is no connection.
    fn forget_connection(&mut self) {
        self.connection = None;
        if let Some(front) = self.window.front_mut() {
            front.wants_another();
        }
        self.held_until = None;
        self.window.rewind();
        self.state.rewind();
    }

    /// Sends what may be sent: availability, then the newest state, then the window in order.
    fn send(&mut self, now: Duration, actions: &mut Vec<Action>) {
        let Some(connection) = &mut self.connection else {
            return;
        };
        let bound = if self.losses >= LOSSES_BEFORE_ONE {
            1
        } else {
            WINDOW_MESSAGES
        };
        let bound = bound.min(connection.receive_maximum);

        let is_window_first = self.losses >= LOSSES_BEFORE_ONE && self.losses % 2 == 0;
        let is_held = self.held_until.is_some_and(|until| until > now);
        let goes_first = is_window_first && !self.is_finishing && !is_held && self.window.messages() > 0;
        if !goes_first || connection.has_answered {
            self.send_availability(now, bound, actions);
            self.send_state(now, bound, actions);
        }
        if self.is_finishing || is_held {
            return;
        }
        let next = self.next(now);
        if let (Next::AnotherConnection, true) = (next, self.is_quiet()) {
            let reason = "ended to try on another connection what the broker does not take".to_owned();
            actions.push(Action::Disconnect { reason });
            self.forget_connection();
            return;
        }
        while let Some(connection) = &mut self.connection {
            let waiting = match next {
                Next::First => self.window.first_waiting(),
                Next::Other(place) => self.window.waiting_at(place),
                Next::Nothing | Next::AnotherConnection => None,
            };
            let Some((place, held)) = waiting else {
                break;
            };
            let (kind, payload, may_be_cut) = (held.kind, held.payload.clone(), held.may_be_cut());
            let size = payload.len();
            if connection.in_flight.len() >= bound {
                break;
            }
            let largest = self.link.largest_array();
            if size > largest && may_be_cut && self.window.split(place, largest) {
                continue;
            }
            if connection.bytes > 0 && connection.bytes + size > self.link.at_once() {
                break;
            }
            if size > connection.largest_payload {
                let largest = connection.largest_payload;
                if self.window.split(place, largest) {
                    continue;
                }
                if !self.too_large(place, largest, actions) {
                    break;
                }
                continue;
            }
            let id = connection.sent(now, &mut self.next_id, kind, size, self.link.delivered());
            if let Some(held) = self.window.at_mut(place) {
                held.sent(id);
            }
            actions.push(Action::Publish(Message { id, kind, payload }));
        }
        // What goes first may be too large to go at all.
        if self.is_quiet() {
            self.send_availability(now, bound, actions);
            self.send_state(now, bound, actions);
        }
    }

    fn send_state(&mut self, now: Duration, bound: usize, actions: &mut Vec<Action>) {
        let is_held = self.held_until.is_some_and(|until| until > now);
        let Some(connection) = self
            .connection
            .as_mut()
            .filter(|_| !self.is_finishing && !is_held)
        else {
            return;
        };
        if connection.in_flight.len() >= bound || self.state.sent.is_some() {
            return;
        }
        if !connection.takes_retained {
            if self.state.waiting.is_some() {
                self.name_beside_window(Kind::State, NO_RETAINED, actions);
            }
            return;
        }
        let Some((sequence, payload)) = self.state.waiting.take() else {
            return;
        };
        let delivered = self.link.delivered();
        let id = connection.sent(now, &mut self.next_id, Kind::State, payload.len(), delivered);
        self.state.sent = Some((id, sequence, payload.clone()));
        actions.push(Action::Publish(Message {
            id,
            kind: Kind::State,
            payload,
        }));
    }

    fn send_availability(&mut self, now: Duration, bound: usize, actions: &mut Vec<Action>) {
        let Some(connection) = &mut self.connection else {
            return;
        };
        let wanted = if self.is_finishing {
            Some(false)
        } else {
            self.is_meter_online
        };
        let wanted = wanted.filter(|_| self.settings.has_availability);
        let Some(is_online) = wanted.filter(|_| connection.in_flight.len() < bound) else {
            return;
        };
        let is_said = connection.availability.is_some_and(|(said, under_way)| {
            said == is_online || (under_way.is_some() && !self.is_finishing)
        });
        if is_said {
            return;
        }
        if !connection.takes_retained {
            self.name_beside_window(Kind::Availability, NO_RETAINED, actions);
            return;
        }
        let payload = Bytes::from_static(if is_online { b"online" } else { b"offline" });
        let delivered = self.link.delivered();
        let id = connection.sent(
            now,
            &mut self.next_id,
            Kind::Availability,
            payload.len(),
            delivered,
        );
        connection.availability = Some((is_online, Some(id)));
        actions.push(Action::Publish(Message {
            id,
            kind: Kind::Availability,
            payload,
        }));
    }

    /// A message that cannot be cut is larger than the broker takes. True where it was skipped.
    fn too_large(&mut self, place: usize, largest: usize, actions: &mut Vec<Action>) -> bool {
        let Some(held) = self.window.at_mut(place) else {
            return false;
        };
        let reason = format!("the broker takes payloads of at most {largest} bytes");
        if self.settings.on_rejected == OnTrouble::Skip {
            self.counts.skipped += 1;
            if let Some(held) = self.window.drop_message(place) {
                actions.push(Action::Notice(Notice::Skipped {
                    kind: held.kind,
                    bytes: held.payload.len(),
                    last_sequence: held.last_sequence,
                    reason,
                }));
            }
            self.advance(actions);
            return true;
        }
        if !held.is_named {
            held.is_named = true;
            actions.push(Action::Notice(Notice::Refused {
                kind: held.kind,
                bytes: held.payload.len(),
                last_sequence: held.last_sequence,
                reason,
            }));
        }
        false
    }
}

/// What is to be sent next.
#[derive(Debug, Clone, Copy)]
enum Next {
    /// The first that waits, and what is behind it.
    First,
    /// Only the message of this place.
    Other(usize),
    Nothing,
    /// Nothing on this one.
    AnotherConnection,
}

impl Connection {
    fn new(
        now: Duration,
        receive_maximum: u16,
        largest_payload: Option<usize>,
        takes_retained: bool,
    ) -> Self {
        Self {
            number: 0,
            broker: String::new(),
            receive_maximum: usize::from(receive_maximum.max(1)),
            largest_payload: largest_payload.unwrap_or(usize::MAX),
            takes_retained,
            in_flight: VecDeque::new(),
            bytes: 0,
            last_acknowledgement: now,
            taken: None,
            availability: None,
            has_progressed: false,
            has_answered: false,
        }
    }

    fn sent(&mut self, now: Duration, next_id: &mut u64, kind: Kind, bytes: usize, delivered: u64) -> u64 {
        let id = *next_id;
        *next_id += 1;
        self.bytes += bytes;
        self.in_flight.push_back(InFlight {
            id,
            kind,
            bytes,
            sent_at: now,
            delivered,
            is_done: false,
        });
        id
    }

    /// The broker has answered to this message. None where it is not outstanding on this connection.
    fn done(&mut self, now: Duration, id: u64) -> Option<InFlight> {
        let sent = self
            .in_flight
            .iter_mut()
            .find(|sent| sent.id == id && !sent.is_done)?;
        sent.is_done = true;
        self.has_answered = true;
        self.bytes -= sent.bytes;
        let sent = sent.clone();
        self.last_acknowledgement = now;
        self.taken = None;
        while self.in_flight.front().is_some_and(|sent| sent.is_done) {
            self.in_flight.pop_front();
        }
        Some(sent)
    }

    fn availability_answered(&mut self, id: u64) {
        if let Some((_, under_way)) = &mut self.availability {
            if *under_way == Some(id) {
                *under_way = None;
            }
        }
    }

    /// When the connection counts as lost if nothing is acknowledged or taken until then. What is taken too slowly
    /// moves it by less than it takes.
    fn timeout(&self) -> Option<Duration> {
        let oldest = self.in_flight.front()?;
        let since = oldest.sent_at.max(self.last_acknowledgement);
        let (bytes, last) = self.taken.unwrap_or((0, since));
        let earned = Duration::from_secs(bytes as u64) / LEAST_RATE;
        Some(last.max(since).min(since + earned) + ACKNOWLEDGEMENT_TIMEOUT)
    }
}

impl StateSlot {
    fn offer(&mut self, sequence: u64, payload: Bytes) {
        if sequence > self.highest {
            self.highest = sequence;
            self.waiting = Some((sequence, payload));
        }
    }

    fn answered(&mut self, id: u64) {
        if self.sent.as_ref().is_some_and(|(sent, _, _)| *sent == id) {
            self.sent = None;
        }
    }

    /// What was under way is sent again, unless there is a newer one.
    fn rewind(&mut self) {
        if let Some((_, sequence, payload)) = self.sent.take() {
            self.waiting.get_or_insert((sequence, payload));
        }
    }
}

#[cfg(test)]
mod tests;

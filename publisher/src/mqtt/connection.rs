//! One connection from the attempt to its end, the same for both versions of MQTT.
//!
//! rumqttc gives the packets. Its own loop over them is not used: it owns its socket and shows nothing of it, takes
//! whatever a broker sends, keeps each topic alias, and counts a broker that is busy with a large payload as dead.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use shared::config::BrokerAddress;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::incoming::{Expected, Unexpected, next_packet};
use super::transport::{Exchange, Transport};
use super::{CONNECT_TIMEOUT, Cause, Command, KEEP_ALIVE, MqttEvent, MqttSettings, Trouble, Will};
use crate::delivery::{Fault, Kind, Message, WINDOW_MESSAGES};

/// How long a goodbye may take.
const GOODBYE: Duration = Duration::from_millis(300);
/// Bytes of packets made ahead of what the broker takes; a single larger packet excepted. A ping waits for no more.
const AHEAD_BYTES: usize = 64 * 1024;
/// How often it is told what the broker's side has taken, while there is more for it to take.
const TAKEN_INTERVAL: Duration = Duration::from_secs(1);

/// MQTT 3.1.1 and 5, 3.12.
const PING: [u8; 2] = [0xc0, 0];
/// MQTT 3.1.1 and 5, 3.14: a normal end.
pub(super) const DISCONNECT: [u8; 2] = [0xe0, 0];

/// PUBACK of a message that came in, with success. MQTT 3.1.1 and 5, 3.4.
pub(super) fn acknowledge(packet_id: u16) -> [u8; 4] {
    let [high, low] = packet_id.to_be_bytes();
    [0x40, 2, high, low]
}

/// The packets of a version of MQTT.
pub(super) trait Protocol {
    /// For log lines.
    const NAME: &'static str;
    /// What may come once the broker has accepted the connection.
    const ANSWERS: &'static [Expected];

    fn new(settings: &MqttSettings, broker: &BrokerAddress) -> Self;

    /// Appends CONNECT. False if it cannot be written, as the others.
    fn connect(settings: &MqttSettings, will: Option<&Will>, buffer: &mut BytesMut) -> bool;

    /// Appends PUBLISH, QoS 1.
    fn publish(topic: &str, is_retained: bool, packet_id: u16, payload: Bytes, buffer: &mut BytesMut)
    -> bool;

    /// Appends SUBSCRIBE to one topic, QoS 1.
    fn subscribe(topic: &str, packet_id: u16, buffer: &mut BytesMut) -> bool;

    /// What a whole packet says; trouble if that ends the connection.
    fn read(&self, packet: BytesMut) -> Result<Answer, Trouble>;
}

/// What the broker says.
#[derive(Debug)]
pub(super) enum Answer {
    /// CONNACK.
    Greeted(Greeting),
    /// PUBACK.
    Acknowledged {
        packet_id: u16,
        verdict: Result<(), (Fault, String)>,
    },
    /// PINGRESP.
    Alive,
    /// SUBACK, with the reason if the broker refuses.
    Subscribed {
        packet_id: u16,
        verdict: Result<(), String>,
    },
    /// PUBLISH. The packet id is 0 if nothing is to be acknowledged.
    Received {
        topic: String,
        payload: Bytes,
        packet_id: u16,
    },
}

/// What the broker says of itself when it accepts a connection.
#[derive(Debug)]
pub(super) struct Greeting {
    /// None: as many as there are packet ids.
    pub(super) receive_maximum: Option<u16>,
    pub(super) largest_packet: Option<u32>,
    pub(super) takes_retained: bool,
    /// Seconds; none: as we asked.
    pub(super) keep_alive: Option<u16>,
}

impl Default for Greeting {
    fn default() -> Self {
        Self {
            receive_maximum: None,
            largest_packet: None,
            takes_retained: true,
            keep_alive: None,
        }
    }
}

/// How a connection ended.
pub(super) enum Ended {
    /// It never began.
    Failed(Trouble),
    /// It was there and is gone.
    Lost {
        trouble: Trouble,
        /// Whether readings or a summary were acknowledged.
        has_progressed: bool,
    },
    /// As wanted, and the thread with it.
    Finished,
    /// As wanted, for the time being.
    Left,
}

/// Connects, and serves commands until the connection ends.
pub(super) async fn keep<P: Protocol>(
    settings: &MqttSettings,
    broker: &BrokerAddress,
    will: Option<&Will>,
    number: u64,
    commands: &mut mpsc::Receiver<Command>,
    report: &mut impl FnMut(MqttEvent),
) -> Ended {
    let protocol = P::new(settings, broker);
    let opening = tokio::time::timeout(CONNECT_TIMEOUT, open(&protocol, settings, broker, will));
    tokio::pin!(opening);
    let (mut line, greeting) = loop {
        tokio::select! {
            biased;
            command = commands.recv() => match command {
                Some(Command::Leave) => return Ended::Left,
                Some(Command::Finish) | None => return Ended::Finished,
                // For a former connection.
                Some(Command::Connect { .. } | Command::Publish { .. } | Command::Abandon { .. }) => {}
            },
            opened = &mut opening => match opened {
                Ok(Ok(opened)) => break opened,
                Ok(Err(trouble)) => return Ended::Failed(trouble),
                Err(_) => return Ended::Failed(Trouble::timed_out(broker)),
            },
        }
    };
    let mut life = Life::new(settings, broker, number, P::NAME);
    let mut pulse = Pulse::new(&greeting);
    let mut taking = Taking::default();
    let mut goodbye: Option<Goodbye> = None;
    life.put = line.outgoing.len() as u64;
    life.greeted(&greeting, report);
    loop {
        let heard = life.hear(&protocol, &mut line.incoming, &mut pulse, report);
        if let Err(trouble) = heard.and_then(|()| life.write::<P>(&mut line.outgoing)) {
            return life.ended(trouble, goodbye.as_ref(), line.outgoing.len(), report);
        }
        let now = Instant::now();
        if let Some(goodbye) = &mut goodbye {
            if goodbye.is_said && line.outgoing.is_empty() {
                return goodbye.ended();
            }
            if !goodbye.is_said && life.queued.is_empty() {
                goodbye.is_said = true;
                life.put(&mut line.outgoing, &DISCONNECT);
            }
        } else if pulse.is_due(now) {
            pulse.asked(now);
            life.put(&mut line.outgoing, &PING);
        }
        if life.is_quiet() && pulse.is_over(now) {
            let trouble = Trouble::other(broker, "the broker does not answer any longer");
            return life.ended(trouble, goodbye.as_ref(), line.outgoing.len(), report);
        }
        let wake = goodbye
            .as_ref()
            .map_or_else(|| pulse.deadline(now), |goodbye| goodbye.until);
        tokio::select! {
            biased;
            command = commands.recv(), if goodbye.is_none() => match command {
                Some(Command::Publish { connection, message }) if connection == number => {
                    life.queued.push_back(message);
                }
                Some(Command::Abandon { connection, reason }) if connection == number => {
                    let trouble = Trouble::other(broker, reason);
                    return life.ended(trouble, None, line.outgoing.len(), report);
                }
                Some(Command::Connect { .. } | Command::Publish { .. } | Command::Abandon { .. }) => {}
                Some(Command::Leave) => goodbye = Some(Goodbye::until_connect()),
                Some(Command::Finish) => goodbye = Some(Goodbye::for_good()),
                None => return Ended::Finished,
            },
            exchanged = line.transport.exchange(&mut line.incoming, &mut line.outgoing) => match exchanged {
                Ok(exchange) => {
                    life.handed_over(line.outgoing.len());
                    if let Some((bytes, within)) = taking.note(Instant::now(), exchange) {
                        report(MqttEvent::Taken { bytes, within });
                    }
                }
                Err(error) => {
                    // What it said before it hung up counts, and may say why.
                    let heard = life.hear(&protocol, &mut line.incoming, &mut pulse, report);
                    let trouble = heard.err().unwrap_or_else(|| Trouble::from_error(broker, &error));
                    return life.ended(trouble, goodbye.as_ref(), line.outgoing.len(), report);
                }
            },
            () = tokio::time::sleep_until(wake) => {
                if let Some(goodbye) = &goodbye {
                    return goodbye.ended();
                }
            }
        }
    }
}

/// A connection's bytes on their way in and out.
pub(super) struct Line {
    pub(super) transport: Transport,
    pub(super) incoming: BytesMut,
    pub(super) outgoing: BytesMut,
}

/// Connects and has the connection accepted.
pub(super) async fn open<P: Protocol>(
    protocol: &P,
    settings: &MqttSettings,
    broker: &BrokerAddress,
    will: Option<&Will>,
) -> Result<(Line, Greeting), Trouble> {
    let mut line = Line {
        transport: Transport::open(broker, settings.tls.as_ref(), CONNECT_TIMEOUT).await?,
        incoming: BytesMut::new(),
        outgoing: BytesMut::new(),
    };
    if !P::connect(settings, will, &mut line.outgoing) {
        let words = "client id, user name, password, or a topic is longer than MQTT can carry";
        return Err(Trouble::other(broker, words));
    }
    loop {
        let exchanged = line
            .transport
            .exchange(&mut line.incoming, &mut line.outgoing)
            .await;
        match next_packet(&mut line.incoming, &[Expected::ConnAck]) {
            Ok(Some(packet)) => {
                if let Answer::Greeted(greeting) = protocol.read(packet)? {
                    return Ok((line, greeting));
                }
            }
            Ok(None) => {}
            Err(unexpected @ Unexpected::TooLarge(_)) => {
                return Err(Trouble::other(broker, unexpected.to_string()));
            }
            Err(Unexpected::NotAsked(_) | Unexpected::Malformed) => {
                let words = "what answers there is not an MQTT broker";
                return Err(Trouble::new(broker, Cause::Unanswered, words));
            }
        }
        exchanged.map_err(|error| Trouble::from_error(broker, &error))?;
    }
}

/// See [`super::understood`].
pub(super) fn understood<P: Protocol>(
    settings: &MqttSettings,
    broker: &BrokerAddress,
    bytes: &[u8],
) -> (usize, Option<Trouble>) {
    let protocol = P::new(settings, broker);
    let asked = [&[Expected::SubAck, Expected::Publish], P::ANSWERS].concat();
    let mut incoming = BytesMut::from(bytes);
    let mut packets = 0;
    loop {
        let expected = if packets == 0 {
            &[Expected::ConnAck][..]
        } else {
            &asked
        };
        let packet = match next_packet(&mut incoming, expected) {
            Ok(Some(packet)) => packet,
            Ok(None) => return (packets, None),
            Err(unexpected) => return (packets, Some(Trouble::other(broker, unexpected.to_string()))),
        };
        if let Err(trouble) = protocol.read(packet) {
            return (packets, Some(trouble));
        }
        packets += 1;
    }
}

/// Whether the broker is still there while nothing is asked of it but that. While messages are outstanding, their
/// acknowledgement is the sign of life, and delivery waits for it: behind a payload on a slow line the answer to a
/// ping comes late.
struct Pulse {
    interval: Duration,
    /// When the next ping is due.
    due: Instant,
    /// Since when the answer is waited for.
    asked_at: Option<Instant>,
}

impl Pulse {
    fn new(greeting: &Greeting) -> Self {
        // A broker that wants no keep-alive at all says 0: we want to know all the same.
        let wanted = greeting.keep_alive.filter(|seconds| *seconds > 0);
        let wanted = wanted.map(|seconds| Duration::from_secs(seconds.into()));
        let interval = wanted.unwrap_or(KEEP_ALIVE).min(KEEP_ALIVE);
        Self {
            interval,
            due: Instant::now() + interval,
            asked_at: None,
        }
    }

    fn is_due(&self, now: Instant) -> bool {
        self.asked_at.is_none() && self.due <= now
    }

    fn asked(&mut self, now: Instant) {
        self.asked_at = Some(now);
    }

    /// PINGRESP. False if nobody asked.
    fn answered(&mut self) -> bool {
        self.due = Instant::now() + self.interval;
        self.asked_at.take().is_some()
    }

    /// The broker has acknowledged a message: it is there.
    fn acknowledged(&mut self) {
        if let Some(asked_at) = &mut self.asked_at {
            *asked_at = Instant::now();
        }
    }

    fn is_over(&self, now: Instant) -> bool {
        self.asked_at
            .is_some_and(|asked_at| asked_at + self.interval <= now)
    }

    /// When there is something to do for it: later than now.
    fn deadline(&self, now: Instant) -> Instant {
        let deadline = self
            .asked_at
            .map_or(self.due, |asked_at| asked_at + self.interval);
        if deadline > now {
            deadline
        } else {
            now + self.interval
        }
    }
}

/// What the broker's side takes while there is more for it to take.
#[derive(Default)]
struct Taking {
    since: Option<Instant>,
    bytes: usize,
}

impl Taking {
    /// How many bytes were taken, and within which time, if that is to be told.
    fn note(&mut self, now: Instant, exchange: Exchange) -> Option<(usize, Duration)> {
        let Some(since) = self.since else {
            self.since = exchange.is_blocked.then_some(now);
            return None;
        };
        self.bytes += exchange.written;
        let within = now.duration_since(since);
        let is_worth_telling = self.bytes > 0 && within >= TAKEN_INTERVAL;
        if exchange.is_blocked && !is_worth_telling {
            return None;
        }
        self.since = exchange.is_blocked.then_some(now);
        let bytes = std::mem::take(&mut self.bytes);
        is_worth_telling.then_some((bytes, within))
    }
}

/// A goodbye under way.
struct Goodbye {
    until: Instant,
    is_for_good: bool,
    is_said: bool,
}

impl Goodbye {
    fn for_good() -> Self {
        Self {
            until: Instant::now() + GOODBYE,
            is_for_good: true,
            is_said: false,
        }
    }

    fn until_connect() -> Self {
        Self {
            is_for_good: false,
            ..Self::for_good()
        }
    }

    fn ended(&self) -> Ended {
        if self.is_for_good {
            Ended::Finished
        } else {
            Ended::Left
        }
    }
}

/// What is known of a connection while it lasts.
struct Life<'a> {
    settings: &'a MqttSettings,
    broker: &'a BrokerAddress,
    number: u64,
    version: &'static str,
    has_progressed: bool,
    /// Acknowledged, and not reported yet.
    acknowledged: Vec<u64>,
    /// Messages that are not written yet, in order.
    queued: VecDeque<Message>,
    /// Messages written and not wholly handed over to the system yet, with the value of `put` at their end.
    handing_over: VecDeque<(u64, u64)>,
    /// Bytes ever put into `outgoing`.
    put: u64,
    /// Messages by the packet id that they were sent under.
    sent: HashMap<u16, (u64, Kind)>,
    last_packet_id: u16,
}

impl<'a> Life<'a> {
    fn new(
        settings: &'a MqttSettings,
        broker: &'a BrokerAddress,
        number: u64,
        version: &'static str,
    ) -> Self {
        Self {
            settings,
            broker,
            number,
            version,
            has_progressed: false,
            acknowledged: Vec::new(),
            queued: VecDeque::new(),
            handing_over: VecDeque::new(),
            put: 0,
            sent: HashMap::new(),
            last_packet_id: 0,
        }
    }

    fn greeted(&self, greeting: &Greeting, report: &mut impl FnMut(MqttEvent)) {
        // What a PUBLISH needs beside its payload: a header of at most five bytes, the topic
        // with its length, the packet id, and under MQTT 5 the length of no properties.
        let overhead = 5 + 2 + self.settings.topics.longest() + 2 + 1;
        let most = WINDOW_MESSAGES as u16;
        report(MqttEvent::Connected {
            connection: self.number,
            broker: address(self.broker),
            version: self.version,
            receive_maximum: greeting.receive_maximum.map_or(most, |maximum| maximum.min(most)),
            largest_payload: greeting.largest_packet.map(|bytes| {
                usize::try_from(bytes)
                    .unwrap_or(usize::MAX)
                    .saturating_sub(overhead)
            }),
            takes_retained: greeting.takes_retained,
        });
    }

    /// Whether nothing is outstanding.
    fn is_quiet(&self) -> bool {
        self.queued.is_empty() && self.sent.is_empty()
    }

    /// Takes what the broker has said, and reports what was acknowledged together: each report may wake who hears
    /// it.
    fn hear<P: Protocol>(
        &mut self,
        protocol: &P,
        incoming: &mut BytesMut,
        pulse: &mut Pulse,
        report: &mut impl FnMut(MqttEvent),
    ) -> Result<(), Trouble> {
        let heard = loop {
            match next_packet(incoming, P::ANSWERS) {
                Ok(None) => break Ok(()),
                Err(unexpected) => break Err(Trouble::other(self.broker, unexpected.to_string())),
                Ok(Some(packet)) => {
                    let answer = protocol.read(packet);
                    if let Err(trouble) = answer.and_then(|answer| self.take(answer, pulse, report)) {
                        break Err(trouble);
                    }
                }
            }
        };
        self.report_acknowledged(report);
        heard
    }

    fn report_acknowledged(&mut self, report: &mut impl FnMut(MqttEvent)) {
        if !self.acknowledged.is_empty() {
            let ids = std::mem::take(&mut self.acknowledged);
            report(MqttEvent::Acknowledged { ids });
        }
    }

    fn take(
        &mut self,
        answer: Answer,
        pulse: &mut Pulse,
        report: &mut impl FnMut(MqttEvent),
    ) -> Result<(), Trouble> {
        match answer {
            Answer::Acknowledged { packet_id, verdict } => {
                let Some((id, kind)) = self.sent.remove(&packet_id) else {
                    let words =
                        format!("the broker acknowledged packet id {packet_id}, which was not outstanding");
                    return Err(Trouble::other(self.broker, words));
                };
                pulse.acknowledged();
                match verdict {
                    Ok(()) => {
                        self.has_progressed |= matches!(kind, Kind::Readings | Kind::Summary);
                        self.acknowledged.push(id);
                    }
                    Err((fault, reason)) => {
                        // In the order in which the broker answered.
                        self.report_acknowledged(report);
                        report(MqttEvent::Rejected { id, fault, reason });
                    }
                }
                Ok(())
            }
            Answer::Alive if pulse.answered() => Ok(()),
            Answer::Alive | Answer::Greeted(_) | Answer::Subscribed { .. } | Answer::Received { .. } => {
                let words = "the broker sent an answer that was not asked for";
                Err(Trouble::other(self.broker, words))
            }
        }
    }

    /// Writes messages ahead of what the broker's side has taken.
    fn write<P: Protocol>(&mut self, outgoing: &mut BytesMut) -> Result<(), Trouble> {
        while outgoing.len() < AHEAD_BYTES {
            let Some(message) = self.queued.pop_front() else {
                if outgoing.is_empty() && self.sent.is_empty() && outgoing.capacity() > AHEAD_BYTES {
                    // The next may be long in coming.
                    *outgoing = BytesMut::new();
                }
                return Ok(());
            };
            let Some(topic) = self.settings.topics.of(message.kind) else {
                continue;
            };
            let packet_id = self.next_packet_id();
            let before = outgoing.len();
            let is_retained = message.kind.is_retained();
            if !P::publish(topic, is_retained, packet_id, message.payload, outgoing) {
                let words = format!("a message on {topic} is longer than MQTT can carry");
                return Err(Trouble::other(self.broker, words));
            }
            self.put += (outgoing.len() - before) as u64;
            self.sent.insert(packet_id, (message.id, message.kind));
            self.handing_over.push_back((self.put, message.id));
        }
        Ok(())
    }

    /// The next that is not outstanding; there are far more than may be.
    fn next_packet_id(&mut self) -> u16 {
        loop {
            self.last_packet_id = self.last_packet_id.checked_add(1).unwrap_or(1);
            if !self.sent.contains_key(&self.last_packet_id) {
                return self.last_packet_id;
            }
        }
    }

    fn put(&mut self, outgoing: &mut BytesMut, packet: &[u8]) {
        outgoing.extend_from_slice(packet);
        self.put += packet.len() as u64;
    }

    /// All that was put but for so many bytes has been handed over.
    fn handed_over(&mut self, left: usize) {
        let handed_over = self.put - left as u64;
        while self
            .handing_over
            .front()
            .is_some_and(|(end, _)| *end <= handed_over)
        {
            self.handing_over.pop_front();
        }
    }

    /// The connection has ended. The broker cannot have what it was not handed the end of.
    fn ended(
        &mut self,
        trouble: Trouble,
        goodbye: Option<&Goodbye>,
        left: usize,
        report: &mut impl FnMut(MqttEvent),
    ) -> Ended {
        self.handed_over(left);
        let unsent = self.handing_over.iter().map(|(_, id)| *id);
        let ids: Vec<u64> = unsent
            .chain(self.queued.iter().map(|message| message.id))
            .collect();
        if !ids.is_empty() {
            report(MqttEvent::Unsent { ids });
        }
        match goodbye {
            Some(goodbye) => goodbye.ended(),
            None => Ended::Lost {
                trouble: trouble.after_greeting(),
                has_progressed: self.has_progressed,
            },
        }
    }
}

/// `localhost:1883`, as in the configuration.
pub fn address(broker: &BrokerAddress) -> String {
    if broker.host.contains(':') {
        format!("[{}]:{}", broker.host, broker.port)
    } else {
        format!("{}:{}", broker.host, broker.port)
    }
}

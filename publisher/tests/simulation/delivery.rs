//! Delivery against a modelled queue and a modelled broker, with faults from a seed.
//!
//! One thread, a clock that is moved by hand. While faults last the broker refuses, closes, falls
//! silent, loses messages and acknowledgements with the connection, acknowledges late, twice, out of
//! order and under wrong ids, rejects for a while, and takes only so much; the publisher is killed
//! and starts again at the committed cursor. Then the faults stop, and within a bounded time the lag
//! must be zero and the broker must hold exactly what the model produced, first receptions in order,
//! duplicates byte for byte. At every step, nothing is committed that the broker has not taken.
//!
//! `SIMULATION_SEED` runs one seed alone.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use shared::config::OnTrouble;

use publisher::delivery::*;

use crate::random::Random;

const SEEDS: u64 = 400;
const INTERVALS: u64 = 60;

/// How often each fault was reached over all seeds: a fault that never happens proves nothing.
#[derive(Debug, Default)]
struct Reached {
    counts: BTreeMap<&'static str, u64>,
}

impl Reached {
    fn note(&mut self, fault: &'static str) {
        *self.counts.entry(fault).or_default() += 1;
    }
}

/// The messages of an interval, all of them a function of its number: what a queue gives is the same
/// each time it is read.
fn interval(number: u64) -> Vec<(Kind, Bytes)> {
    let mut random = Random(number);
    let parts = 1 + random.below(3);
    let mut messages: Vec<(Kind, Bytes)> = (0..parts)
        .map(|part| {
            let readings: Vec<String> = (0..1 + random.below(5))
                .map(|n| format!("{{\"interval\":{number},\"part\":{part},\"n\":{n}}}"))
                .collect();
            (Kind::Readings, Bytes::from(format!("[{}]", readings.join(","))))
        })
        .collect();
    messages.push((Kind::Summary, Bytes::from(format!("{{\"summary\":{number}}}"))));
    messages
}

/// The broker: what it has taken, by first reception, and what it still means to acknowledge.
#[derive(Default)]
struct Broker {
    received: Vec<Bytes>,
    is_known: BTreeMap<Bytes, u64>,
    /// Of the present publisher: a new one does not know what the one before it sent.
    newest_state: u64,
    is_silent: bool,
    to_acknowledge: Vec<u64>,
    on_the_wire: VecDeque<Message>,
    rejects_until: Duration,
}

impl Broker {
    fn take(&mut self, message: &Message) {
        match message.kind {
            Kind::Readings | Kind::Summary => {
                let times = self.is_known.entry(message.payload.clone()).or_default();
                *times += 1;
                if *times == 1 {
                    self.received.push(message.payload.clone());
                }
            }
            Kind::State => {
                let text = String::from_utf8_lossy(&message.payload).into_owned();
                let sequence = text.parse().expect("the model's state is a number");
                assert!(
                    sequence >= self.newest_state,
                    "state {sequence} after {}",
                    self.newest_state
                );
                self.newest_state = sequence;
            }
            Kind::Availability => {}
        }
    }
}

struct Simulation {
    seed: u64,
    random: Random,
    reached: Reached,
    now: Duration,
    delivery: Delivery,
    is_connected: bool,
    broker: Broker,
    next_interval: u64,
    next_message: usize,
    cursor: u64,
    had_rejections: bool,
}

impl Simulation {
    fn new(seed: u64) -> Self {
        Self {
            seed,
            random: Random(seed.wrapping_mul(0x0123_4567_89AB_CDEF) ^ 0x5EED),
            reached: Reached::default(),
            now: Duration::ZERO,
            delivery: Delivery::new(settings()),
            is_connected: false,
            broker: Broker::default(),
            next_interval: 1,
            next_message: 0,
            cursor: 0,
            had_rejections: false,
        }
    }

    fn handle(&mut self, event: Event) {
        let mut actions = Vec::new();
        self.delivery.handle(self.now, event, &mut actions);
        for action in actions {
            match action {
                Action::Publish(message) => {
                    assert!(
                        self.is_connected,
                        "seed {}: published without a connection",
                        self.seed
                    );
                    self.broker.on_the_wire.push_back(message);
                }
                Action::Commit { sequence } => self.commit(sequence),
                Action::Disconnect { .. } => {
                    self.reached.note("acknowledgement timed out");
                    self.cut();
                }
                Action::Notice(Notice::Refused { .. }) => self.reached.note("message named"),
                Action::Notice(notice) => {
                    assert!(
                        matches!(notice, Notice::Unpublished { .. }),
                        "seed {}: {notice:?}",
                        self.seed
                    );
                }
            }
        }
        assert!(
            self.delivery.bytes_held() <= WINDOW_BYTES + 4096,
            "seed {}: {} bytes held",
            self.seed,
            self.delivery.bytes_held()
        );
    }

    /// Nothing is committed that the broker has not taken.
    fn commit(&mut self, sequence: u64) {
        assert!(
            sequence > self.cursor,
            "seed {}: cursor moved back to {sequence}",
            self.seed
        );
        for number in self.cursor + 1..=sequence {
            for (kind, payload) in interval(number) {
                let is_held = self.broker.is_known.contains_key(&payload) || self.is_held_in_parts(&payload);
                assert!(
                    is_held,
                    "seed {}: {kind:?} of interval {number} was committed, not taken",
                    self.seed
                );
            }
        }
        self.cursor = sequence;
    }

    /// Whether every reading of the array is in some array that the broker took.
    fn is_held_in_parts(&self, payload: &Bytes) -> bool {
        let text = String::from_utf8_lossy(payload).into_owned();
        text.trim_matches(['[', ']']).split_inclusive('}').all(|reading| {
            let reading = reading.trim_start_matches(',');
            self.broker
                .received
                .iter()
                .any(|taken| String::from_utf8_lossy(taken).contains(reading))
        })
    }

    /// The connection is gone, and with it some of what is on the wire, in order.
    fn cut(&mut self) {
        let arrives = self.random.below(self.broker.on_the_wire.len() as u64 + 1) as usize;
        for message in self.broker.on_the_wire.drain(..arrives).collect::<Vec<_>>() {
            self.broker.take(&message);
        }
        self.broker.on_the_wire.clear();
        self.broker.to_acknowledge.clear();
        self.broker.is_silent = false;
        self.is_connected = false;
    }

    /// What the publisher does: reads on while there is room.
    fn offer(&mut self) {
        if !self.delivery.has_room() || self.next_interval > INTERVALS {
            return;
        }
        let number = self.next_interval;
        let messages = interval(number);
        match messages.get(self.next_message) {
            Some((kind, payload)) => {
                let payload = payload.clone();
                self.next_message += 1;
                self.handle(match kind {
                    Kind::Readings => Event::Readings {
                        payload,
                        last_sequence: number,
                    },
                    _ => Event::Summary {
                        payload,
                        last_sequence: number,
                    },
                });
            }
            None => {
                self.next_message = 0;
                self.next_interval += 1;
                self.handle(Event::Closed {
                    last_sequence: number,
                });
                self.handle(Event::State {
                    payload: Bytes::from(number.to_string()),
                    sequence: number,
                });
            }
        }
    }

    fn connect(&mut self) {
        let receive_maximum = if self.random.one_in(3) {
            1 + self.random.below(5) as u16
        } else {
            u16::MAX
        };
        let largest_payload = if self.random.one_in(5) {
            self.reached.note("small payloads only");
            Some(60)
        } else {
            None
        };
        self.is_connected = true;
        self.handle(Event::Connected {
            broker: "broker:1883".to_owned(),
            receive_maximum,
            largest_payload,
            takes_retained: true,
        });
    }

    /// One message arrives at the broker.
    fn arrive(&mut self) {
        let Some(message) = self.broker.on_the_wire.pop_front() else {
            return;
        };
        if self.broker.rejects_until > self.now {
            self.reached.note("message rejected");
            self.had_rejections = true;
            let fault = if self.random.one_in(2) {
                Fault::Standing
            } else {
                Fault::Message
            };
            self.handle(Event::Rejected {
                id: message.id,
                fault,
                reason: "no".to_owned(),
            });
            return;
        }
        self.broker.take(&message);
        self.broker.to_acknowledge.push(message.id);
    }

    fn acknowledge(&mut self, index: usize) {
        if self.broker.is_silent || index >= self.broker.to_acknowledge.len() {
            return;
        }
        let id = self.broker.to_acknowledge.remove(index);
        self.handle(Event::Acknowledged { id });
    }

    fn faulty_step(&mut self) {
        self.now += Duration::from_millis(self.random.below(2_000));
        match self.random.below(24) {
            0..=6 => self.offer(),
            7..=11 => self.arrive(),
            12..=15 => self.acknowledge(0),
            16 => {
                let waiting = self.broker.to_acknowledge.len() as u64;
                if waiting > 1 {
                    self.reached.note("acknowledged out of order");
                    let index = self.random.below(waiting) as usize;
                    self.acknowledge(index);
                }
            }
            17 => {
                if let Some(id) = self.broker.to_acknowledge.first().copied() {
                    self.reached.note("acknowledged twice");
                    self.acknowledge(0);
                    self.handle(Event::Acknowledged { id });
                }
            }
            18 => {
                self.reached.note("acknowledged under a wrong id");
                let id = u64::MAX - self.random.below(9);
                self.handle(Event::Acknowledged { id });
            }
            19 if self.is_connected && self.random.one_in(2) => {
                self.reached.note("connection cut");
                self.cut();
                self.handle(Event::Disconnected {
                    fault: Fault::Silence,
                    reason: "cut".to_owned(),
                });
            }
            20 if self.is_connected && self.random.one_in(4) => {
                self.reached.note("broker silent");
                self.broker.is_silent = true;
                self.now += Duration::from_secs(70);
            }
            21 if self.random.one_in(6) => {
                self.reached.note("publisher killed");
                self.cut();
                self.delivery = Delivery::new(settings());
                self.broker.newest_state = 0;
                self.next_interval = self.cursor + 1;
                self.next_message = 0;
            }
            22 if self.random.one_in(4) => self.broker.rejects_until = self.now + Duration::from_secs(20),
            23 if self.random.one_in(4) => {
                self.reached.note("meter silent");
                let is_online = self.random.one_in(2);
                self.handle(Event::Meter { is_online });
            }
            _ if !self.is_connected => self.connect(),
            _ => {}
        }
        self.handle(Event::Tick);
    }

    /// No faults any more: everything must come through in bounded time.
    fn heal(&mut self) {
        self.broker.rejects_until = Duration::ZERO;
        self.broker.is_silent = false;
        let mut steps = 0;
        while self.cursor < INTERVALS {
            steps += 1;
            assert!(
                steps < 20_000,
                "seed {}: stuck at {} of {INTERVALS}: {:?}",
                self.seed,
                self.cursor,
                self.delivery
            );
            self.now += Duration::from_millis(100);
            if !self.is_connected {
                self.is_connected = true;
                self.handle(Event::Connected {
                    broker: "broker:1883".to_owned(),
                    receive_maximum: 20,
                    largest_payload: None,
                    takes_retained: true,
                });
            }
            self.offer();
            self.arrive();
            self.acknowledge(0);
            self.handle(Event::Tick);
        }
    }

    fn check(&self) {
        let seed = self.seed;
        assert!(
            self.delivery.is_idle(),
            "seed {seed}: messages are held after the last commit"
        );
        let expected: Vec<Bytes> = (1..=INTERVALS)
            .flat_map(|number| interval(number).into_iter().map(|(_, payload)| payload))
            .collect();
        let readings = |messages: &[Bytes]| -> Vec<String> {
            let mut known = std::collections::BTreeSet::new();
            messages
                .iter()
                .flat_map(|payload| {
                    let text = String::from_utf8_lossy(payload).into_owned();
                    text.trim_matches(['[', ']'])
                        .split_inclusive('}')
                        .map(|reading| reading.trim_start_matches(',').to_owned())
                        .collect::<Vec<_>>()
                })
                .filter(|reading| known.insert(reading.clone()))
                .collect()
        };
        let mut taken = readings(&self.broker.received);
        let mut produced = readings(&expected);
        if self.had_rejections {
            // What was in flight behind a rejected message arrives before it.
            taken.sort();
            produced.sort();
        }
        assert_eq!(
            taken, produced,
            "seed {seed}: what the broker holds, in order of first reception"
        );
    }
}

fn settings() -> Settings {
    Settings {
        has_availability: true,
        on_rejected: OnTrouble::Wait,
    }
}

#[test]
fn nothing_is_lost_whatever_the_broker_does() {
    let seeds: Vec<u64> = match std::env::var("SIMULATION_SEED") {
        Ok(seed) => vec![seed.parse().expect("SIMULATION_SEED is a number")],
        Err(_) => (0..SEEDS).collect(),
    };
    let is_alone = seeds.len() == 1;
    let mut reached = Reached::default();
    for seed in seeds {
        let mut simulation = Simulation::new(seed);
        for _ in 0..1_500 {
            simulation.faulty_step();
        }
        simulation.reached.note(if simulation.cursor < INTERVALS {
            "lag to heal"
        } else {
            "no lag to heal"
        });
        simulation.heal();
        simulation.check();
        for (fault, count) in &simulation.reached.counts {
            *reached.counts.entry(fault).or_default() += count;
        }
    }
    if is_alone {
        return;
    }
    for fault in [
        "acknowledged out of order",
        "acknowledged twice",
        "acknowledged under a wrong id",
        "acknowledgement timed out",
        "broker silent",
        "connection cut",
        "lag to heal",
        "message named",
        "message rejected",
        "meter silent",
        "publisher killed",
        "small payloads only",
    ] {
        let count = reached.counts.get(fault).copied().unwrap_or(0);
        assert!(
            count >= 20,
            "{fault} was reached {count} times: {:?}",
            reached.counts
        );
    }
}

//! `on_rejected: skip` against modelled brokers that fail in every way that is not about a message, from a seed:
//! nothing that a well broker takes may ever be skipped, and of what no broker takes exactly that reading.
//!
//! `SKIPPING_SEED` runs one seed only.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use shared::config::OnTrouble;

use publisher::delivery::*;

use crate::random::Random;

const SEEDS: u64 = 300;
const STEP: Duration = Duration::from_millis(250);
const FAULTY: Duration = Duration::from_secs(1_800);
const MESSAGE_INTERVAL: Duration = Duration::from_secs(5);

/// What a broker does for a while.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Mode {
    Well,
    /// Accepts, and hangs up on the first message.
    HangsUp,
    /// Hangs up on every other message.
    HangsUpNowAndThen,
    /// DISCONNECT with 0x8B, 0x8E, 0x89 or 0x98 a moment after the connection.
    SendsAway,
    /// PUBACK 0x83 or 0x97 for everything.
    Full,
    /// The same for every other message.
    FullNowAndThen,
    /// Takes everything, acknowledges nothing.
    Silent,
    /// PUBACK 0x99 for everything.
    TakesNoFormat,
}

const MODES: [Mode; 8] = [
    Mode::Well,
    Mode::HangsUp,
    Mode::HangsUpNowAndThen,
    Mode::SendsAway,
    Mode::Full,
    Mode::FullNowAndThen,
    Mode::Silent,
    Mode::TakesNoFormat,
];

struct World {
    seed: u64,
    random: Random,
    now: Duration,
    delivery: Delivery,
    broker: Option<&'static str>,
    connects_at: Duration,
    modes: BTreeMap<&'static str, (Mode, Duration)>,
    wire: VecDeque<Message>,
    /// Readings that no broker takes.
    poison: BTreeSet<u64>,
    /// Whether poison is refused by DISCONNECT.
    disconnects: bool,
    offered: u64,
    received: BTreeSet<u64>,
    skipped: u64,
    committed: u64,
    reached: BTreeMap<Mode, u64>,
}

/// The numbers of the readings in an array.
fn numbers(payload: &Bytes) -> Vec<u64> {
    let text = String::from_utf8_lossy(payload).into_owned();
    let texts = text
        .split(|c: char| !c.is_ascii_digit())
        .filter(|text| !text.is_empty());
    texts.map(|text| text.parse().expect("digits")).collect()
}

impl World {
    fn new(seed: u64) -> Self {
        let mut random = Random(seed ^ 0x5C1B);
        let poison = (0..random.below(4)).map(|_| 1 + random.below(600)).collect();
        Self {
            seed,
            now: Duration::ZERO,
            delivery: Delivery::new(Settings {
                has_availability: true,
                on_rejected: OnTrouble::Skip,
            }),
            broker: None,
            connects_at: Duration::ZERO,
            modes: BTreeMap::new(),
            wire: VecDeque::new(),
            poison,
            disconnects: random.one_in(2),
            random,
            offered: 0,
            received: BTreeSet::new(),
            skipped: 0,
            committed: 0,
            reached: BTreeMap::new(),
        }
    }

    fn handle(&mut self, event: Event) {
        let mut actions = Vec::new();
        self.delivery.handle(self.now, event, &mut actions);
        for action in actions {
            match action {
                Action::Publish(message) => self.wire.push_back(message),
                Action::Disconnect { .. } => self.gone(),
                Action::Commit { sequence } => self.commit(sequence),
                Action::Notice(Notice::Skipped { last_sequence, .. }) => {
                    self.skipped += 1;
                    let seed = self.seed;
                    assert!(
                        self.skipped <= self.poison.len() as u64,
                        "seed {seed}: up to {last_sequence}"
                    );
                }
                Action::Notice(_) => {}
            }
        }
        let deadline = self.delivery.deadline();
        assert!(
            deadline.is_none_or(|at| at > self.now || !self.wire.is_empty()) || self.ticks(),
            "seed {}: due at {deadline:?}, and nothing to do at {:?}",
            self.seed,
            self.now
        );
    }

    /// Whether a tick does what is due.
    fn ticks(&mut self) -> bool {
        let mut actions = Vec::new();
        self.delivery.handle(self.now, Event::Tick, &mut actions);
        let is_done = self.delivery.deadline().is_none_or(|at| at > self.now);
        for action in actions {
            match action {
                Action::Publish(message) => self.wire.push_back(message),
                Action::Disconnect { .. } => self.gone(),
                other => panic!("seed {}: {other:?} by a tick", self.seed),
            }
        }
        is_done
    }

    fn commit(&mut self, sequence: u64) {
        for number in self.committed + 1..=sequence {
            assert!(
                self.received.contains(&number) || self.poison.contains(&number),
                "seed {}: {number} was committed, and no broker has it",
                self.seed
            );
        }
        self.committed = sequence;
    }

    fn gone(&mut self) {
        self.broker = None;
        self.wire.clear();
        self.connects_at = self.now + Duration::from_millis(500 + self.random.below(3_000));
    }

    fn lose(&mut self, fault: Fault) {
        self.gone();
        let reason = "gone".to_owned();
        self.handle(Event::Disconnected { fault, reason });
    }

    fn mode(&mut self, broker: &'static str) -> Mode {
        let (now, is_faulty) = (self.now, self.now < FAULTY);
        if !is_faulty {
            return Mode::Well;
        }
        if self.modes.get(broker).is_none_or(|(_, until)| *until <= now) {
            let mode = MODES[self.random.below(MODES.len() as u64) as usize];
            let until = now + Duration::from_secs(5 + self.random.below(300));
            self.modes.insert(broker, (mode, until));
            *self.reached.entry(mode).or_default() += 1;
        }
        self.modes.get(broker).map_or(Mode::Well, |(mode, _)| *mode)
    }

    fn step(&mut self) {
        self.now += STEP;
        let wanted = self.now.as_millis() / MESSAGE_INTERVAL.as_millis();
        if u128::from(self.offered / 3) < wanted && self.delivery.has_room() {
            let first = self.offered + 1;
            self.offered += 3;
            let payload = Bytes::from(format!(
                "[{{\"n\":{first}}},{{\"n\":{}}},{{\"n\":{}}}]",
                first + 1,
                first + 2
            ));
            let last_sequence = self.offered;
            self.handle(Event::Readings {
                payload,
                last_sequence,
            });
            self.handle(Event::Closed { last_sequence });
            self.handle(Event::Meter {
                is_online: last_sequence % 60 != 0,
            });
        }
        if self.broker.is_none() && self.connects_at <= self.now {
            let broker = if self.seed % 3 == 0 && self.random.one_in(2) {
                "second"
            } else {
                "first"
            };
            self.broker = Some(broker);
            self.handle(Event::Connected {
                broker: broker.to_owned(),
                receive_maximum: 100,
                largest_payload: None,
                takes_retained: true,
            });
        }
        let Some(broker) = self.broker else {
            return self.handle(Event::Tick);
        };
        let mode = self.mode(broker);
        if mode == Mode::SendsAway && self.random.one_in(4) {
            return self.lose(Fault::Silence);
        }
        for _ in 0..3 {
            self.arrive(mode);
        }
        self.handle(Event::Tick);
    }

    fn arrive(&mut self, mode: Mode) {
        let is_now = self.random.one_in(2);
        if mode == Mode::Silent || (mode == Mode::SendsAway && is_now) {
            return;
        }
        let Some(message) = self.wire.pop_front() else {
            return;
        };
        let (id, reason) = (message.id, "no".to_owned());
        let rejected = |fault| Event::Rejected { id, fault, reason };
        if message.kind == Kind::Availability {
            return self.handle(Event::Acknowledged { id });
        }
        let of_message = numbers(&message.payload);
        let is_poison = of_message.iter().any(|number| self.poison.contains(number));
        match mode {
            Mode::HangsUp => self.lose(Fault::Silence),
            Mode::HangsUpNowAndThen if is_now => self.lose(Fault::Silence),
            Mode::Full => self.handle(rejected(Fault::Standing)),
            Mode::FullNowAndThen if is_now => self.handle(rejected(Fault::Standing)),
            Mode::TakesNoFormat => self.handle(rejected(Fault::Message)),
            _ if is_poison && self.disconnects => self.lose(Fault::Message),
            _ if is_poison => self.handle(rejected(Fault::Message)),
            _ => {
                self.received.extend(of_message);
                self.handle(Event::Acknowledged { id });
            }
        }
    }

    fn run(&mut self) {
        while self.now < FAULTY {
            self.step();
        }
        let deadline = FAULTY + Duration::from_secs(1_200);
        while self.now < deadline && self.committed < 600 {
            self.step();
        }
        let last = self.offered;
        assert!(
            self.committed >= 600,
            "seed {}: stuck at {}",
            self.seed,
            self.committed
        );
        let lost: Vec<u64> = (1..=self.committed.min(last))
            .filter(|number| !self.received.contains(number) && !self.poison.contains(number))
            .collect();
        assert_eq!(lost, [0; 0], "seed {}", self.seed);
        let poison = self
            .poison
            .iter()
            .filter(|number| **number <= self.committed)
            .count();
        assert_eq!(self.skipped, poison as u64, "seed {}", self.seed);
    }
}

#[test]
fn only_what_is_never_taken_is_skipped_whatever_the_broker_does() {
    let seeds: Vec<u64> = match std::env::var("SKIPPING_SEED") {
        Ok(seed) => vec![seed.parse().expect("SKIPPING_SEED is a number")],
        Err(_) => (0..SEEDS).collect(),
    };
    let is_only_one = seeds.len() == 1;
    let (mut reached, mut skipped) = (BTreeMap::<Mode, u64>::new(), 0);
    for seed in seeds {
        let mut world = World::new(seed);
        world.run();
        skipped += world.skipped;
        for (mode, count) in world.reached {
            *reached.entry(mode).or_default() += count;
        }
    }
    let is_enough = MODES
        .iter()
        .all(|mode| reached.get(mode).is_some_and(|count| *count >= 50));
    assert!(
        is_only_one || (is_enough && skipped >= 100),
        "{skipped} skipped, {reached:?}"
    );
}

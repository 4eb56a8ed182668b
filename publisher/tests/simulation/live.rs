//! The flow before a meter that sends all the time, in a time that is moved by hand: that an interval is published the
//! moment that capture shows what closes it, though capture is asked only now and then.
//!
//! A seed gives the meter (a telegram every second or ten, with its time or without, its clock anywhere, silences),
//! capture (telegrams that become visible as they come or in groups) and what cannot be foreseen (clocks that are
//! set). When each interval can be published is computed from that alone.
//!
//! `LIVE_SEED` runs one seed alone.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use publisher::delivery::Kind;
use publisher::flow::*;
use publisher::mqtt::{Command, MqttEvent};
use publisher::source::{Opened, SourceCommand, SourceEvent};
use shared::record::Record;

use crate::flow::{settings, telegram};
use crate::random::Random;

const SEEDS: u64 = 120;
const QUEUE: &str = "queue";
const LENGTH_MS: u64 = 400_000;
/// From here on the publisher must have caught up.
const CAUGHT_UP_MS: u64 = 5_000;
/// Of a read that waits for a silence, which is told to the millisecond, and of commits that go together.
const TOLERANCE_MS: u64 = 25;
const UNIX_S: u64 = 1_700_000_000;

/// A telegram that will come.
struct Planned {
    arrives_ms: u64,
    visible_ms: u64,
    captured_at_us: i64,
    /// What the aggregation assigns it by, in seconds.
    time_s: i64,
    bytes: Vec<u8>,
}

/// What a seed stands for.
struct Plan {
    interval_s: u64,
    period_ms: u64,
    flush_ms: u64,
    has_silences: bool,
    telegrams: Vec<Planned>,
    /// When a clock was set.
    disturbed_ms: Option<u64>,
    /// When the system's clock was set, and by how much.
    step: Option<(u64, i64)>,
    begins_ms: u64,
    round_trip_ms: u64,
}

impl Plan {
    fn new(seed: u64) -> Self {
        let mut random = Random((seed ^ 0x11FE).wrapping_mul(0xD134_2543_DE82_EF95));
        let interval_s = [0, 1, 5, 10, 60, 60, 60, 300][random.below(8) as usize];
        let period_ms = [1_000, 1_000, 1_000, 5_000, 10_000][random.below(5) as usize];
        let flush_ms = [0, 0, 1_000, 10_000, 60_000][random.below(5) as usize];
        let has_silences = random.one_in(3);
        let has_time = !random.one_in(5);
        let mut ahead_s = [0, 0, 3_600, -7_200, -504_000_000][random.below(5) as usize];
        let disturbed_ms = random.one_in(2).then(|| 60_000 + random.below(LENGTH_MS / 2));
        let disturbance = random.below(3);
        let by_s = [-3_600, -7, -1, 1, 7, 3_600][random.below(6) as usize];
        let step = disturbed_ms.filter(|_| disturbance == 0).map(|at| (at, by_s));
        let mut stands_at = None;
        let mut telegrams = Vec::new();
        let mut sent_ms = random.below(period_ms);
        while sent_ms < LENGTH_MS {
            let is_disturbed = disturbed_ms.is_some_and(|at| at <= sent_ms);
            if is_disturbed && disturbance == 1 && stands_at.is_none() {
                ahead_s += by_s;
                stands_at = Some(None);
            }
            let clock_s = (UNIX_S + sent_ms / 1_000) as i64 + ahead_s;
            if is_disturbed && disturbance == 2 && stands_at.is_none() {
                stands_at = Some(Some(clock_s));
            }
            let clock_s = stands_at.flatten().unwrap_or(clock_s);
            let arrives_ms = sent_ms + 100 + random.below(200);
            let visible_ms = match flush_ms {
                0 => arrives_ms + random.below(5),
                // As after the first of a group.
                flush_ms => arrives_ms.next_multiple_of(flush_ms),
            };
            let captured_at_us = unix_us(arrives_ms, step);
            let number = telegrams.len() as u64 + 1;
            let with_time = telegram(QUEUE, number, clock_s);
            let bytes = if has_time {
                with_time
            } else {
                without_time(&with_time)
            };
            telegrams.push(Planned {
                arrives_ms,
                visible_ms,
                captured_at_us,
                time_s: if has_time {
                    clock_s
                } else {
                    captured_at_us.div_euclid(1_000_000)
                },
                bytes,
            });
            sent_ms += if has_silences && random.one_in(100) {
                period_ms * (3 + random.below(200_000 / period_ms))
            } else {
                period_ms
            };
        }
        Self {
            interval_s,
            period_ms,
            flush_ms,
            has_silences,
            telegrams,
            disturbed_ms,
            step,
            begins_ms: random.below(40_000),
            round_trip_ms: 1 + random.below(60),
        }
    }

    /// When each interval can be published at the earliest, by the last sequence in it.
    fn ends(&self) -> BTreeMap<u64, u64> {
        let mut ends = BTreeMap::new();
        let mut elapsed_ms = 0;
        for (at, pair) in self.telegrams.windows(2).enumerate() {
            let [last, next] = pair else { continue };
            let sequence = at as u64 + 1;
            let silence_ms = next.arrives_ms - last.arrives_ms;
            let number = |planned: &Planned| planned.time_s.div_euclid(self.interval_s.max(1) as i64);
            elapsed_ms += silence_ms;
            if self.interval_s == 0 {
                ends.insert(sequence, last.visible_ms);
            } else if silence_ms > 30_000 {
                // Capture says 0 while it is on its way to the disk.
                let is_told_ms = (last.arrives_ms + 30_001).max(last.visible_ms);
                ends.insert(sequence, is_told_ms.min(next.visible_ms));
            } else if number(last) != number(next) || elapsed_ms > self.interval_s * 1_000 + 30_000 {
                ends.insert(sequence, next.visible_ms);
            } else {
                continue;
            }
            elapsed_ms = 0;
        }
        ends
    }

    /// How late it may be then: near a clock that is set an interval may end that nobody could foresee.
    fn tolerance_ms(&self, at_ms: u64) -> u64 {
        let pace_ms = PACE.as_millis() as u64;
        let is_unforeseen = self.disturbed_ms.is_some_and(|disturbed_ms| {
            let lasts_ms = 3 * pace_ms + self.flush_ms + self.period_ms;
            (disturbed_ms..=disturbed_ms + lasts_ms).contains(&at_ms)
        });
        if is_unforeseen {
            pace_ms + TOLERANCE_MS
        } else {
            TOLERANCE_MS
        }
    }
}

fn unix_us(at_ms: u64, step: Option<(u64, i64)>) -> i64 {
    let stepped_s = step.map_or(0, |(step_ms, by_s)| if step_ms <= at_ms { by_s } else { 0 });
    (UNIX_S * 1_000 + at_ms) as i64 * 1_000 + stepped_s * 1_000_000
}

fn without_time(telegram: &[u8]) -> Vec<u8> {
    let lines = telegram.split_inclusive(|byte| *byte == b'\n');
    let lines = lines.filter(|line| !line.starts_with(b"0-0:1.0.0"));
    lines.flatten().copied().collect()
}

/// The publisher between the two, and what was seen of it.
struct Live {
    plan: Plan,
    now_ms: u64,
    flow: Flow,
    /// The read that waits: its first sequence, and until when.
    read: Option<(u64, u64)>,
    /// Messages to acknowledge, and when.
    sent: VecDeque<(u64, u64)>,
    reads: Vec<u64>,
    /// When the readings up to a sequence were published, and when committed.
    published: BTreeMap<u64, u64>,
    committed: BTreeMap<u64, u64>,
    availability: Vec<(u64, bool)>,
}

impl Live {
    fn new(plan: Plan) -> Self {
        let settings = FlowSettings {
            interval_seconds: plan.interval_s as u32,
            max_payload_bytes: 1024 * 1024,
            meter_timeout: Duration::from_secs(40),
            ..settings()
        };
        let now_ms = plan.begins_ms;
        let mut live = Self {
            now_ms,
            flow: Flow::new(settings, now(now_ms, plan.step)),
            plan,
            read: None,
            sent: VecDeque::new(),
            reads: Vec::new(),
            published: BTreeMap::new(),
            committed: BTreeMap::new(),
            availability: Vec::new(),
        };
        let opened = Opened {
            session: 1,
            queue: QUEUE.to_owned(),
            cursor: 0,
            head: live.head(),
            before: None,
            silence_ms: live.silence_ms(),
        };
        live.handle(FlowEvent::Source(SourceEvent::Opened(Box::new(opened))));
        live.handle(FlowEvent::Mqtt(MqttEvent::Connected {
            connection: 1,
            broker: "broker:1883".to_owned(),
            version: "MQTT 5",
            receive_maximum: 1_000,
            largest_payload: None,
            takes_retained: true,
        }));
        live
    }

    fn head(&self) -> u64 {
        let visible = |planned: &&Planned| planned.visible_ms <= self.now_ms;
        self.plan.telegrams.iter().take_while(visible).count() as u64
    }

    /// As capture tells it: 0 while a telegram is on its way to the disk.
    fn silence_ms(&self) -> u64 {
        let arrived = |planned: &&Planned| planned.arrives_ms <= self.now_ms;
        match self.plan.telegrams.iter().take_while(arrived).last() {
            Some(last) if last.visible_ms <= self.now_ms => self.now_ms - last.arrives_ms,
            _ => 0,
        }
    }

    fn handle(&mut self, event: FlowEvent) {
        let mut orders = Vec::new();
        let now = now(self.now_ms, self.plan.step);
        self.flow.handle(now, event, &mut orders);
        for order in orders {
            match order {
                Order::Source(command) => self.source(command),
                Order::Mqtt(Command::Publish { message, .. }) => {
                    self.sent
                        .push_back((self.now_ms + self.plan.round_trip_ms, message.id));
                    match message.kind {
                        Kind::Readings => {
                            let readings: Vec<serde_json::Value> =
                                serde_json::from_slice(&message.payload).expect("an array");
                            let last = readings.last().and_then(|reading| reading["Sequence"].as_u64());
                            self.published.insert(last.expect("a sequence"), self.now_ms);
                        }
                        Kind::Availability => {
                            let is_online = &message.payload[..] == b"online";
                            self.availability.push((self.now_ms, is_online));
                        }
                        Kind::Summary | Kind::State => {}
                    }
                }
                Order::Mqtt(Command::Connect { .. }) => {}
                Order::Mqtt(command) => panic!("nothing fails, and it is told {command:?}"),
            }
        }
    }

    fn source(&mut self, command: SourceCommand) {
        match command {
            SourceCommand::Read { from, wait, .. } => {
                assert!(self.read.is_none(), "two reads at once");
                self.reads.push(self.now_ms);
                self.read = Some((from, self.now_ms + wait.as_millis() as u64));
            }
            SourceCommand::Commit { sequence, .. } => {
                self.committed.insert(sequence, self.now_ms);
                self.end_wait();
            }
            SourceCommand::Report { .. } | SourceCommand::Head { .. } => self.end_wait(),
            SourceCommand::Finish => panic!("nobody said so"),
        }
    }

    /// Another request ends the wait of a read.
    fn end_wait(&mut self) {
        if let Some((_, until_ms)) = &mut self.read {
            *until_ms = self.now_ms;
        }
    }

    /// Answers the read that waits, where it can be answered.
    fn answer(&mut self) -> bool {
        let Some((from, until_ms)) = self.read else {
            return false;
        };
        let head = self.head();
        let event = if head >= from {
            let records = (from..=head).map(|sequence| self.record(sequence)).collect();
            SourceEvent::Records { records, head }
        } else if until_ms <= self.now_ms {
            let silence_ms = self.silence_ms();
            SourceEvent::Idle { head, silence_ms }
        } else {
            return false;
        };
        self.read = None;
        self.handle(FlowEvent::Source(event));
        true
    }

    fn record(&self, sequence: u64) -> Record {
        let at = sequence as usize - 1;
        let planned = &self.plan.telegrams[at];
        let before = at.checked_sub(1).map(|before| &self.plan.telegrams[before]);
        Record {
            sequence,
            captured_at_us: planned.captured_at_us,
            silence_ms: before.map_or(0, |before| planned.arrives_ms - before.arrives_ms),
            telegram: planned.bytes.clone().into(),
        }
    }

    /// Goes on to the next moment at which something happens.
    fn step(&mut self, seed: u64) {
        while self.answer() {}
        if self.flow.can_take() {
            return self.handle(FlowEvent::Tick);
        }
        let deadline_ms = self.flow.deadline().as_micros().div_ceil(1_000) as u64;
        let visible_ms = self.read.map(|(from, until_ms)| {
            let next = self.plan.telegrams.get(from as usize - 1);
            next.map_or(until_ms, |next| next.visible_ms.min(until_ms))
        });
        let acknowledged_ms = self.sent.front().map(|(at_ms, _)| *at_ms);
        let moments = [Some(deadline_ms), visible_ms, acknowledged_ms];
        let next_ms = moments.into_iter().flatten().fold(u64::MAX, u64::min);
        self.now_ms = self.now_ms.max(next_ms);
        if acknowledged_ms == Some(self.now_ms) {
            if let Some((_, id)) = self.sent.pop_front() {
                self.handle(FlowEvent::Mqtt(MqttEvent::Acknowledged { ids: vec![id] }));
            }
        } else if deadline_ms <= self.now_ms {
            self.handle(FlowEvent::Tick);
            let deadline = self.flow.deadline();
            assert!(
                deadline > Duration::from_millis(self.now_ms) || self.flow.can_take(),
                "seed {seed}: it would go round and round and do nothing"
            );
        }
    }

    fn run(&mut self, seed: u64) {
        let mut steps = 0;
        while self.now_ms < LENGTH_MS {
            steps += 1;
            assert!(steps < 100_000, "seed {seed}: stuck at {} ms", self.now_ms);
            self.step(seed);
        }
    }

    fn check_promptness(&self, seed: u64) -> usize {
        let mut checked = 0;
        for (sequence, end_ms) in self.plan.ends() {
            if end_ms < self.plan.begins_ms + CAUGHT_UP_MS || end_ms + 2 * PACE.as_millis() as u64 > LENGTH_MS
            {
                continue;
            }
            let published_ms = self.published.get(&sequence).copied();
            let published_ms = published_ms.unwrap_or_else(|| panic!("seed {seed}: {sequence} is not there"));
            let late_ms = published_ms.checked_sub(end_ms);
            let late_ms = late_ms.unwrap_or_else(|| {
                panic!("seed {seed}: {sequence} at {published_ms} ms, before its end at {end_ms} ms")
            });
            assert!(
                late_ms <= self.plan.tolerance_ms(end_ms),
                "seed {seed}: the interval up to {sequence} ended at {end_ms} ms and was published {late_ms} ms later"
            );
            let committed_ms = self.committed.range(sequence..).next().map(|(_, at_ms)| *at_ms);
            let committed_ms =
                committed_ms.unwrap_or_else(|| panic!("seed {seed}: {sequence} is not committed"));
            let bound_ms = published_ms + self.plan.round_trip_ms + TOLERANCE_MS;
            assert!(
                committed_ms <= bound_ms,
                "seed {seed}: {sequence} was published at {published_ms} ms and committed at {committed_ms} ms"
            );
            checked += 1;
        }
        checked
    }

    /// The meter goes offline 40 s after its last telegram, and is online with its next.
    fn check_availability(&self, seed: u64) -> usize {
        let mut checked = 0;
        for pair in self.plan.telegrams.windows(2) {
            let [last, next] = pair else { continue };
            let offline_ms = last.arrives_ms + 40_000;
            let begins_ms = self.plan.begins_ms + CAUGHT_UP_MS;
            if next.visible_ms <= offline_ms || last.visible_ms.max(begins_ms) >= offline_ms {
                continue;
            }
            let is_said = |is_online: bool, from_ms: u64, to_ms: u64| {
                let to_ms = to_ms + self.plan.tolerance_ms(to_ms) + 3 * self.plan.round_trip_ms;
                let mut said = self.availability.iter();
                said.any(|(said_ms, said)| *said == is_online && (from_ms..=to_ms).contains(said_ms))
            };
            if next.arrives_ms > offline_ms && offline_ms + 2 * 60_000 < LENGTH_MS {
                assert!(
                    is_said(false, offline_ms, offline_ms),
                    "seed {seed}: offline at {offline_ms} ms: {:?}",
                    self.availability
                );
                // Capture says that it is no longer silent while the telegram is on its way to the disk.
                let (from_ms, to_ms) = (next.arrives_ms, next.visible_ms);
                assert!(
                    to_ms + 60_000 > LENGTH_MS || is_said(true, from_ms, to_ms),
                    "seed {seed}: online at {to_ms} ms: {:?}",
                    self.availability
                );
                checked += 1;
            }
        }
        checked
    }
}

fn now(now_ms: u64, step: Option<(u64, i64)>) -> Now {
    Now {
        elapsed: Duration::from_millis(now_ms),
        unix_us: unix_us(now_ms, step),
    }
}

#[test]
fn an_interval_is_published_the_moment_it_ends_whatever_the_pace() {
    let seeds: Vec<u64> = match std::env::var("LIVE_SEED") {
        Ok(seed) => vec![seed.parse().expect("LIVE_SEED is a number")],
        Err(_) => (0..SEEDS).collect(),
    };
    let is_alone = seeds.len() == 1;
    let (mut ends, mut silences, mut disturbed, mut paced) = (0, 0, 0, 0);
    for seed in seeds {
        let mut live = Live::new(Plan::new(seed));
        live.run(seed);
        ends += live.check_promptness(seed);
        silences += live.check_availability(seed);
        disturbed += usize::from(live.plan.disturbed_ms.is_some());
        let is_held_back = live.plan.interval_s >= 60 && live.plan.period_ms == 1_000;
        if is_held_back && !live.plan.has_silences && live.plan.disturbed_ms.is_none() {
            paced += 1;
            let minutes = (LENGTH_MS - live.plan.begins_ms).div_ceil(60_000);
            let reads = live.reads.len() as u64;
            assert!(
                reads <= 11 * minutes + 5,
                "seed {seed}: {reads} reads in {minutes} minutes"
            );
        }
    }
    assert!(
        is_alone || (ends > 1_000 && silences >= 20 && disturbed >= 20 && paced >= 5),
        "{ends} ends of intervals, {silences} silences, {disturbed} clocks set, {paced} with few reads"
    );
}

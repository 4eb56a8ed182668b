//! Random operations against a model that is plain lists, reopening in every way among them.
//!
//! `PROPTEST_CASES` sets how many sequences of operations are tried.

use std::collections::BTreeMap;
use std::time::Duration;

use capture::queue::{Arrival, ConsumerError, Queue, QueueOptions};
use proptest::prelude::*;
use shared::record::{INTERVAL_SILENCE_MS, Record};
use shared::wire::{Imported, Start};

use crate::support::{options, read_all, scratch, telegram};

#[derive(Debug, Clone)]
enum Step {
    /// A telegram after this many milliseconds.
    Append(u64),
    Import(i64),
    Flush,
    Register(usize, Start),
    /// Commit this share of the head, in percent; more than 100 is beyond it.
    Commit(usize, u64),
    Forget(usize),
    /// Upkeep after this many seconds.
    Maintain(u64),
    /// The system's clock jumps by this many seconds; the other does not.
    Jump(i64),
    CloseAndOpen,
    /// The process ends without a word.
    KillAndOpen,
    /// The machine restarts after the process was closed in order.
    RebootAndOpen,
    /// The power goes.
    CutAndOpen,
}

const NAMES: [&str; 3] = ["mqtt", "second", "a third, with a longer name"];
const RETENTION: Duration = Duration::from_secs(300);

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        12 => prop_oneof![Just(1000u64), 0..40_000u64].prop_map(Step::Append),
        1 => any::<i64>().prop_map(Step::Import),
        8 => Just(Step::Flush),
        1 => (0..3usize, prop_oneof![Just(Start::Oldest), Just(Start::Newest)]).prop_map(|(name, start)| Step::Register(name, start)),
        3 => (0..3usize, 0..110u64).prop_map(|(name, percent)| Step::Commit(name, percent)),
        1 => (0..3usize).prop_map(Step::Forget),
        6 => (0..200u64).prop_map(Step::Maintain),
        1 => prop_oneof![Just(-2_000_000_000i64), Just(400_000_000), -4000..4000i64].prop_map(Step::Jump),
        1 => Just(Step::CloseAndOpen),
        1 => Just(Step::KillAndOpen),
        1 => Just(Step::RebootAndOpen),
        1 => Just(Step::CutAndOpen),
    ]
}

/// What the queue must do, as lists.
struct Model {
    /// All that was ever made durable.
    durable: Vec<Record>,
    waiting: Vec<Record>,
    /// What each had committed when it last was durable, and now.
    cursors: BTreeMap<&'static str, (u64, u64)>,
    /// The next sequence.
    next: u64,
    clock_us: i64,
    uptime_us: u64,
    last_arrival: Option<Option<u64>>,
    durable_arrival: Option<Option<u64>>,
    boot: u8,
}

impl Model {
    fn lowest_cursor(&self) -> Option<u64> {
        self.cursors.values().map(|(_, cursor)| *cursor).min()
    }

    fn flushed(&mut self) {
        self.durable.append(&mut self.waiting);
        self.durable_arrival = self.last_arrival;
        for (durable, cursor) in self.cursors.values_mut() {
            *durable = *cursor;
        }
    }

    fn killed(&mut self) {
        // What was never visible is given again.
        self.next = self.waiting.first().map_or(self.next, |record| record.sequence);
        self.waiting.clear();
        self.last_arrival = self.durable_arrival;
        for (durable, cursor) in self.cursors.values_mut() {
            *cursor = *durable;
        }
    }

    fn rebooted(&mut self) {
        self.boot += 1;
        self.uptime_us = 1_000_000;
        if !self.durable.is_empty() {
            self.last_arrival = Some(None);
            self.durable_arrival = Some(None);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, max_shrink_iters: 400, ..ProptestConfig::default() })]

    #[test]
    fn the_queue_does_what_the_model_does(steps in prop::collection::vec(step(), 1..120)) {
        run(&steps);
    }
}

fn run(steps: &[Step]) {
    let folder = scratch();
    let configured = |boot: u8| QueueOptions {
        retention: Some(RETENTION),
        boot_id: [boot; 16],
        ..options(folder.path())
    };
    let mut model = Model {
        durable: Vec::new(),
        waiting: Vec::new(),
        cursors: BTreeMap::new(),
        next: 1,
        clock_us: 1_764_000_000_000_000,
        uptime_us: 1_000_000,
        last_arrival: None,
        durable_arrival: None,
        boot: 1,
    };
    let mut queue = Queue::open(&configured(model.boot)).unwrap().0;
    let mut known_tail = 0;
    for step in steps {
        match step {
            Step::Append(after_ms) => {
                model.uptime_us += after_ms * 1000;
                model.clock_us += (after_ms * 1000) as i64;
                let silence_ms = match model.last_arrival {
                    None => 0,
                    Some(None) => INTERVAL_SILENCE_MS + 1,
                    Some(Some(last)) => (model.uptime_us - last) / 1000,
                };
                append(&mut model, silence_ms, |model, telegram| {
                    let arrival = Arrival {
                        captured_at_us: model.clock_us,
                        uptime_us: model.uptime_us,
                    };
                    (model.clock_us, queue.append(arrival, telegram).unwrap())
                });
                model.last_arrival = Some(Some(model.uptime_us));
            }
            Step::Import(captured_at_us) => {
                append(&mut model, 1234, |_, telegram| {
                    let imported = Imported {
                        captured_at_us: *captured_at_us,
                        silence_ms: 1234,
                        telegram: telegram.to_vec(),
                    };
                    (*captured_at_us, queue.append_imported(&imported).unwrap())
                });
                model.last_arrival = model.last_arrival.or(Some(None));
            }
            Step::Flush => {
                let flushed = queue.flush().unwrap();
                assert_eq!(flushed.records, model.waiting.len() as u64);
                model.flushed();
            }
            Step::Register(name, start) => {
                let head = queue.head();
                let tail = queue.reader().tail();
                let cursor = queue.register(NAMES[*name], *start).unwrap();
                let expected = match (model.cursors.get(NAMES[*name]), start) {
                    (Some((_, cursor)), _) => *cursor,
                    (None, Start::Newest) => head,
                    (None, Start::Oldest) => tail - 1,
                };
                assert_eq!(cursor, expected);
                model.cursors.entry(NAMES[*name]).or_insert((cursor, cursor));
            }
            Step::Commit(name, percent) => {
                let head = queue.head();
                let sequence = head * percent / 100;
                match (
                    queue.commit(NAMES[*name], sequence),
                    model.cursors.get_mut(NAMES[*name]),
                ) {
                    (Err(ConsumerError::Unknown { .. }), None) => {}
                    (Err(ConsumerError::BeyondHead { .. }), Some(_)) => assert!(sequence > head),
                    (Ok(()), Some((_, cursor))) => {
                        assert!(sequence <= head);
                        *cursor = sequence.max(*cursor);
                    }
                    (result, cursor) => panic!("{result:?} with cursor {cursor:?}"),
                }
            }
            Step::Forget(name) => {
                assert_eq!(
                    queue.forget(NAMES[*name]).unwrap(),
                    model.cursors.remove(NAMES[*name]).is_some()
                );
            }
            Step::Maintain(seconds) => {
                model.uptime_us += seconds * 1_000_000;
                model.clock_us += *seconds as i64 * 1_000_000;
                let done = queue.maintain(model.clock_us, model.uptime_us).unwrap();
                assert_eq!(done.lost_records, 0);
                // Upkeep may have flushed commits, and with them what waited.
                if queue.buffered_bytes() == 0 && !model.waiting.is_empty() {
                    model.flushed();
                }
            }
            Step::Jump(seconds) => model.clock_us += seconds * 1_000_000,
            Step::CloseAndOpen => {
                queue.close().unwrap();
                model.flushed();
                queue = open(&configured(model.boot), &model, 0);
            }
            Step::KillAndOpen => {
                drop(queue);
                model.killed();
                queue = open(&configured(model.boot), &model, 0);
                adopt_cursors(&mut model, &queue);
            }
            Step::RebootAndOpen => {
                queue.close().unwrap();
                model.flushed();
                model.rebooted();
                queue = open(&configured(model.boot), &model, 0);
            }
            Step::CutAndOpen => {
                drop(queue);
                model.killed();
                model.rebooted();
                queue = open(&configured(model.boot), &model, 1);
                adopt_cursors(&mut model, &queue);
                // Sequences are left out from the next on, and noted.
                let losses = queue.status().losses;
                let gap = losses.last().expect("what was left out is noted");
                assert!(
                    gap.first_sequence <= model.next && gap.last_sequence >= model.next,
                    "{gap:?}"
                );
                model.next = gap.last_sequence + 1;
            }
        }
        if let Some(first) = model.waiting.first() {
            assert!(queue.head() < first.sequence, "visible before it was durable");
        }
        check(&queue, &model, &mut known_tail);
    }
}

fn append(model: &mut Model, silence_ms: u64, give: impl FnOnce(&Model, &[u8]) -> (i64, u64)) {
    let telegram = telegram(model.next);
    let (captured_at_us, sequence) = give(model, &telegram);
    assert_eq!(
        sequence, model.next,
        "a sequence given twice, or a gap without a cause"
    );
    model.waiting.push(Record {
        sequence,
        captured_at_us,
        silence_ms,
        telegram: telegram.into(),
    });
    model.next = sequence + 1;
}

/// Opens the queue, which may leave out sequences only after a power cut.
fn open(options: &QueueOptions, model: &Model, gaps: usize) -> Queue {
    let (queue, report) = Queue::open(options).unwrap();
    assert!(report.losses.len() <= gaps, "{:?}", report.losses);
    assert_eq!(
        (report.damaged_blocks, report.restored_records, report.moved_aside),
        (0, 0, None)
    );
    for loss in &report.losses {
        let head = model.durable.last().map_or(0, |record| record.sequence);
        assert!(loss.first_sequence > head, "{loss:?} though {head} is durable");
    }
    queue
}

/// After a kill a cursor is where it last was durable, or where upkeep has made it durable since.
fn adopt_cursors(model: &mut Model, queue: &Queue) {
    for (name, (durable, cursor)) in &mut model.cursors {
        let now = queue
            .consumers()
            .get(*name)
            .copied()
            .expect("a registered consumer is there");
        assert!(
            now >= *durable,
            "the cursor of {name} went back from {durable} to {now}"
        );
        *durable = now;
        *cursor = now;
    }
}

fn check(queue: &Queue, model: &Model, known_tail: &mut u64) {
    let mut reader = queue.reader();
    let read = read_all(&mut reader);
    let tail = reader.tail();
    assert!(
        tail >= *known_tail,
        "the tail went back from {known_tail} to {tail}"
    );
    let has_trimmed = tail > std::mem::replace(known_tail, tail) && tail > 1;
    let expected: Vec<&Record> = model
        .durable
        .iter()
        .filter(|record| record.sequence >= tail)
        .collect();
    assert_eq!(read.len(), expected.len(), "records from {tail} on");
    for (read, expected) in read.iter().zip(expected) {
        let words = |record: &Record| {
            (
                record.sequence,
                record.captured_at_us,
                record.silence_ms,
                String::from_utf8_lossy(&record.telegram).into_owned(),
            )
        };
        assert_eq!(words(read), words(expected));
    }
    for (name, (_, cursor)) in &model.cursors {
        assert_eq!(queue.consumers().get(*name), Some(cursor), "{name}");
    }
    let removed: Vec<&Record> = model
        .durable
        .iter()
        .filter(|record| record.sequence < tail)
        .collect();
    // Judged when it happens: the clocks go on.
    if let Some(last) = removed.last().filter(|_| has_trimmed) {
        // Consumers that came later begin at the tail; those that were there had committed beyond.
        assert!(
            model.lowest_cursor().is_none_or(|cursor| cursor >= last.sequence),
            "removed before it was committed"
        );
        let later: u64 = model
            .durable
            .iter()
            .filter(|record| record.sequence > last.sequence)
            .map(|record| record.silence_ms)
            .sum();
        // Before this start of the machine it was silent for longer than an interval stays open.
        let before_ms = match model.last_arrival {
            Some(None) => INTERVAL_SILENCE_MS + 1,
            _ => 0,
        };
        let waited = model.uptime_us / 1000 + before_ms + later;
        assert!(
            waited > RETENTION.as_millis() as u64,
            "removed {} ms after it came",
            waited
        );
    }
}

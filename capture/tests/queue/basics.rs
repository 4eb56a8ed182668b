//! What was flushed is there and nothing else is visible; consumers; silence; times.

use std::time::Duration;

use capture::queue::mark::{MAX_CONSUMER_NAME_BYTES, MAX_CONSUMERS};
use capture::queue::{
    AppendError, Arrival, ConsumerError, MAX_TELEGRAM_BYTES, OpenError, Queue, QueueOptions,
};
use rustix::event::{PollFd, PollFlags, Timespec};
use shared::bell::Bell;
use shared::record::INTERVAL_SILENCE_MS;
use shared::wire::{Imported, Start};

use crate::support::{arrival, captured_us, fill, options, read_all, scratch, telegram};

#[test]
fn what_was_flushed_is_there_after_reopening_and_was_not_visible_before() {
    let folder = scratch();
    let (mut queue, report) = Queue::open(&options(folder.path())).unwrap();
    assert!(report.is_new);
    let mut reader = queue.reader();
    for number in 1..=1000 {
        assert_eq!(queue.append(arrival(number), &telegram(number)).unwrap(), number);
        assert_eq!(reader.head(), number - 1, "visible before it was flushed");
        if number % 100 == 1 {
            assert_eq!(read_all(&mut reader).len() as u64, number - 1);
        }
        queue.flush().unwrap();
        assert_eq!(reader.head(), number);
        queue.maintain(captured_us(number), number * 1_000_000).unwrap();
    }
    let identity = queue.identity().to_owned();
    queue.close().unwrap();

    let (queue, report) = Queue::open(&options(folder.path())).unwrap();
    assert_eq!(
        (report.losses.as_slice(), report.records, report.is_new),
        (&[][..], 1000, false)
    );
    assert_eq!(queue.identity(), identity);
    let mut reader = queue.reader();
    let records = read_all(&mut reader);
    assert_eq!(records.len(), 1000);
    for (number, record) in (1..).zip(&records) {
        assert_eq!(record.sequence, number);
        assert_eq!(record.telegram, telegram(number));
        assert_eq!(record.captured_at_us, captured_us(number));
        assert_eq!(record.silence_ms, if number == 1 { 0 } else { 1000 });
    }
    for second in [1, 7, 500, 999, 1000] {
        assert_eq!(reader.locate(captured_us(second)).unwrap(), second);
        assert_eq!(reader.locate(captured_us(second) - 999_999).unwrap(), second);
    }
    assert_eq!(reader.locate(captured_us(1001)).unwrap(), 1001);
}

#[test]
fn a_large_group_of_any_telegrams_comes_back_byte_for_byte() {
    let folder = scratch();
    let (mut queue, _) = Queue::open(&options(folder.path())).unwrap();
    let mut random = crate::support::Random(7);
    let telegrams: Vec<Vec<u8>> = (0..200)
        .map(|number| match number {
            0 => Vec::new(),
            1 => vec![0xB5; MAX_TELEGRAM_BYTES],
            _ => (0..random.below(9000)).map(|_| random.below(256) as u8).collect(),
        })
        .collect();
    for (number, telegram) in (1..).zip(&telegrams) {
        queue.append(arrival(number), telegram).unwrap();
    }
    assert_eq!(queue.flush().unwrap().records, 200);
    for step in 0..50 {
        queue
            .maintain(captured_us(200 + step), (200 + step) * 1_000_000)
            .unwrap();
    }
    drop(queue);
    let (queue, _) = Queue::open(&options(folder.path())).unwrap();
    let read: Vec<Vec<u8>> = read_all(&mut queue.reader())
        .into_iter()
        .map(|record| record.telegram.to_vec())
        .collect();
    assert_eq!(read.len(), telegrams.len());
    assert!(read == telegrams, "a telegram came back otherwise");
}

#[test]
fn a_batch_is_bounded_and_never_empty_while_there_are_records() {
    let folder = scratch();
    let (mut queue, _) = Queue::open(&options(folder.path())).unwrap();
    fill(&mut queue, 100);
    let length = telegram(1).len();
    let mut reader = queue.reader();
    assert_eq!(reader.read(1, 0).unwrap().records.len(), 1);
    assert_eq!(reader.read(1, 10 * length).unwrap().records.len(), 10);
    assert_eq!(reader.read(95, usize::MAX).unwrap().records.len(), 6);
    assert_eq!(reader.read(101, usize::MAX).unwrap().records.len(), 0);
    assert_eq!(reader.read(0, usize::MAX).unwrap().records.len(), 100);
}

#[test]
fn a_reader_waits_for_the_head_and_stops_when_the_queue_closes() {
    let folder = scratch();
    let (mut queue, _) = Queue::open(&options(folder.path())).unwrap();
    let reader = queue.reader();
    assert!(!reader.wait_beyond(0, Duration::from_millis(1)));
    let waiting = std::thread::spawn({
        let reader = reader.clone();
        move || {
            (
                reader.wait_beyond(0, Duration::from_secs(60)),
                reader.wait_beyond(1, Duration::from_secs(60)),
            )
        }
    });
    fill(&mut queue, 1);
    drop(queue);
    assert_eq!(waiting.join().unwrap(), (true, false));
}

#[test]
fn a_bell_rings_when_the_head_rises_and_when_the_queue_closes() {
    let folder = scratch();
    let (mut queue, _) = Queue::open(&options(folder.path())).unwrap();
    let reader = queue.reader();
    let bell = reader.bell().unwrap();
    assert!(!is_ringing(&bell));
    fill(&mut queue, 1);
    assert!(is_ringing(&bell));
    bell.silence();
    assert!(!is_ringing(&bell));
    assert!(!reader.is_closed());
    drop(queue);
    assert!(is_ringing(&bell));
    assert!(reader.is_closed());
}

fn is_ringing(bell: &Bell) -> bool {
    let mut files = [PollFd::new(bell, PollFlags::IN)];
    rustix::event::poll(&mut files, Some(&Timespec::default())).unwrap() == 1
}

#[test]
fn a_cursor_is_durable_monotone_and_never_beyond_the_head() {
    let folder = scratch();
    let (mut queue, _) = Queue::open(&options(folder.path())).unwrap();
    fill(&mut queue, 10);
    assert_eq!(queue.register("first", Start::Oldest).unwrap(), 0);
    assert_eq!(queue.register("later", Start::Newest).unwrap(), 10);
    queue.commit("first", 7).unwrap();
    queue.commit("first", 3).unwrap();
    assert_eq!(queue.consumers().get("first"), Some(&7));
    assert!(matches!(
        queue.commit("first", 11),
        Err(ConsumerError::BeyondHead {
            sequence: 11,
            head: 10
        })
    ));
    assert!(matches!(
        queue.commit("nobody", 1),
        Err(ConsumerError::Unknown { .. })
    ));
    assert_eq!(
        queue.register("first", Start::Newest).unwrap(),
        7,
        "registered again, it stays where it is"
    );
    queue.flush().unwrap();
    drop(queue);
    let (mut queue, _) = Queue::open(&options(folder.path())).unwrap();
    assert_eq!(queue.consumers().get("first"), Some(&7));
    assert_eq!(queue.consumers().get("later"), Some(&10));
    assert!(queue.forget("first").unwrap());
    assert!(!queue.forget("first").unwrap());
    drop(queue);
    let (mut queue, _) = Queue::open(&options(folder.path())).unwrap();
    assert_eq!(queue.consumers().len(), 1);
    for name in ["", "a\nb", &"x".repeat(MAX_CONSUMER_NAME_BYTES + 1)] {
        assert!(
            matches!(
                queue.register(name, Start::Oldest),
                Err(ConsumerError::Name { .. })
            ),
            "{name:?}"
        );
    }
    for number in 1..MAX_CONSUMERS {
        queue
            .register(
                &format!("{number:0width$}", width = MAX_CONSUMER_NAME_BYTES),
                Start::Oldest,
            )
            .unwrap();
    }
    assert!(matches!(
        queue.register("one too many", Start::Oldest),
        Err(ConsumerError::TooMany)
    ));
}

#[test]
fn a_commit_that_no_telegram_carries_is_written_by_upkeep() {
    let folder = scratch();
    let (mut queue, _) = Queue::open(&options(folder.path())).unwrap();
    fill(&mut queue, 3);
    queue.register("mqtt", Start::Oldest).unwrap();
    queue.maintain(captured_us(3), 3_000_000).unwrap();
    queue.commit("mqtt", 2).unwrap();
    queue.maintain(captured_us(13), 13_000_000).unwrap();
    drop(queue);
    let (queue, _) = Queue::open(&options(folder.path())).unwrap();
    assert_eq!(queue.consumers().get("mqtt"), Some(&2));
}

#[test]
fn the_silence_of_a_meter_that_never_speaks_grows() {
    let folder = scratch();
    let (mut queue, _) = Queue::open(&options(folder.path())).unwrap();
    let reader = queue.reader();
    assert_eq!(reader.silence_ms(5_000_000), 0);
    assert_eq!(reader.silence_ms(185_000_000), 180_000);
    let arrival = Arrival {
        captured_at_us: 1,
        uptime_us: 186_000_000,
    };
    queue.append(arrival, b"/x").unwrap();
    queue.close().unwrap();
    let rebooted = capture::queue::QueueOptions {
        boot_id: [9; 16],
        ..options(folder.path())
    };
    let (mut queue, _) = Queue::open(&rebooted).unwrap();
    let reader = queue.reader();
    assert_eq!(reader.silence_ms(2_000_000), INTERVAL_SILENCE_MS + 1);
    assert_eq!(reader.silence_ms(122_000_000), INTERVAL_SILENCE_MS + 1 + 120_000);
    let arrival = Arrival {
        captured_at_us: 2,
        uptime_us: 123_000_000,
    };
    queue.append(arrival, b"/x").unwrap();
    queue.flush().unwrap();
    let silences: Vec<u64> = read_all(&mut queue.reader())
        .iter()
        .map(|record| record.silence_ms)
        .collect();
    assert_eq!(silences, [0, INTERVAL_SILENCE_MS + 1 + 121_000]);
}

#[test]
fn an_import_after_a_silence_that_was_told_says_so_once() {
    let folder = scratch();
    let (mut queue, _) = Queue::open(&options(folder.path())).unwrap();
    let imported = |captured_at_us| Imported {
        captured_at_us,
        silence_ms: 1000,
        telegram: b"/y".to_vec(),
    };
    queue.append_imported(&imported(1)).unwrap();
    assert_eq!(
        queue.reader().silence_ms(1_000_000),
        0,
        "it is on its way to the disk"
    );
    queue.flush().unwrap();
    assert!(queue.reader().silence_ms(2_000_000) > INTERVAL_SILENCE_MS);
    queue.append_imported(&imported(2)).unwrap();
    queue.append_imported(&imported(3)).unwrap();
    queue.flush().unwrap();
    let silences: Vec<u64> = read_all(&mut queue.reader())
        .iter()
        .map(|record| record.silence_ms)
        .collect();
    assert_eq!(silences, [1000, INTERVAL_SILENCE_MS + 1, 1000]);
}

#[test]
fn silence_is_counted_across_processes_and_long_after_another_start_of_the_machine() {
    let folder = scratch();
    let (mut queue, _) = Queue::open(&options(folder.path())).unwrap();
    assert_eq!(queue.reader().silence_ms(500_000), 0, "nothing has come yet");
    // The system's clock jumps back and forth; the other does not.
    let arrivals = [
        (100, 1_000_000),
        (-5_000_000, 2_500_000),
        (4_000_000_000_000_000, 3_000_000),
    ];
    for (captured_at_us, uptime_us) in arrivals {
        queue
            .append(
                Arrival {
                    captured_at_us,
                    uptime_us,
                },
                b"/x",
            )
            .unwrap();
        assert_eq!(
            queue.reader().silence_ms(9_000_000),
            0,
            "a telegram is on its way to the disk"
        );
        queue.flush().unwrap();
    }
    assert_eq!(queue.reader().silence_ms(9_000_000), 6000);
    drop(queue);
    let (mut queue, _) = Queue::open(&options(folder.path())).unwrap();
    assert_eq!(queue.reader().silence_ms(9_000_000), 6000);
    queue
        .append(
            Arrival {
                captured_at_us: 0,
                uptime_us: 13_000_000,
            },
            b"/x",
        )
        .unwrap();
    queue.close().unwrap();
    let rebooted = capture::queue::QueueOptions {
        boot_id: [9; 16],
        ..options(folder.path())
    };
    let (mut queue, report) = Queue::open(&rebooted).unwrap();
    assert_eq!(report.losses, [], "closed in order, so no sequence is left out");
    assert!(queue.reader().silence_ms(1_000_000) > INTERVAL_SILENCE_MS);
    let imported = Imported {
        captured_at_us: 77,
        silence_ms: 12_345,
        telegram: b"/y".to_vec(),
    };
    assert_eq!(queue.append_imported(&imported).unwrap(), 5);
    queue
        .append(
            Arrival {
                captured_at_us: 0,
                uptime_us: 1_000_000,
            },
            b"/x",
        )
        .unwrap();
    queue.flush().unwrap();
    let records = read_all(&mut queue.reader());
    let silences: Vec<u64> = records.iter().map(|record| record.silence_ms).collect();
    // The imported one too: a reader had been told of the silence before it.
    let long = INTERVAL_SILENCE_MS + 1;
    assert_eq!(silences, [0, 1500, 500, 10_000, long, long]);
    let captured: Vec<i64> = records.iter().map(|record| record.captured_at_us).collect();
    assert_eq!(captured, [100, -5_000_000, 4_000_000_000_000_000, 0, 77, 0]);
}

#[test]
fn what_is_too_large_is_refused_and_what_waits_is_bounded() {
    let folder = scratch();
    let (mut queue, _) = Queue::open(&options(folder.path())).unwrap();
    let bytes = MAX_TELEGRAM_BYTES + 1;
    assert_eq!(
        queue.append(arrival(1), &vec![0; bytes]),
        Err(AppendError::TooLarge { bytes })
    );
    let mut taken = 0;
    while queue.append(arrival(taken), &[b'x'; MAX_TELEGRAM_BYTES]).is_ok() {
        taken += 1;
        assert!(taken < 1000, "nothing bounds what waits");
    }
    assert_eq!(queue.status().refused, 1);
    assert_eq!(queue.flush().unwrap().records, taken);
    assert_eq!(read_all(&mut queue.reader()).len() as u64, taken);
}

#[test]
fn a_second_process_is_told_that_the_queue_is_in_use() {
    let folder = scratch();
    let (queue, _) = Queue::open(&options(folder.path())).unwrap();
    let Err(error) = Queue::open(&options(folder.path())) else {
        panic!("opened twice")
    };
    assert!(matches!(error, OpenError::Locked { .. }));
    assert!(error.to_string().contains("in use by another process"), "{error}");
    drop(queue);
    Queue::open(&options(folder.path())).unwrap();
}

#[test]
fn old_records_go_when_every_consumer_has_them_and_not_before() {
    let folder = scratch();
    let (mut queue, _) = Queue::open(&QueueOptions {
        retention: Some(Duration::from_secs(60)),
        ..options(folder.path())
    })
    .unwrap();
    queue.register("mqtt", Start::Oldest).unwrap();
    queue.register("behind", Start::Oldest).unwrap();
    fill(&mut queue, 3000);
    queue.commit("mqtt", 3000).unwrap();
    queue.commit("behind", 2000).unwrap();
    let upkeep = |queue: &mut Queue| {
        for step in 0..60 {
            let second = 10_000 + step * 6;
            queue.maintain(captured_us(second), second * 1_000_000).unwrap();
        }
    };
    upkeep(&mut queue);
    let tail = queue.reader().tail();
    assert!((2..=2000).contains(&tail), "the tail is {tail}, one has 2000");
    queue.commit("behind", 3000).unwrap();
    upkeep(&mut queue);
    assert!(
        queue.reader().tail() > 2000,
        "now both have them: {}",
        queue.reader().tail()
    );
    assert_eq!(queue.status().losses, []);
}

#[test]
fn a_clock_that_jumps_ahead_removes_nothing_early_and_one_that_jumped_back_holds_nothing_for_ever() {
    const TWENTY_YEARS_US: i64 = 20 * 365 * 86_400 * 1_000_000;
    let folder = scratch();
    let (mut queue, _) = Queue::open(&QueueOptions {
        retention: Some(Duration::from_secs(4000)),
        ..options(folder.path())
    })
    .unwrap();
    queue.register("mqtt", Start::Oldest).unwrap();
    for number in 1..=3000 {
        // A wrong clock in the first half, then it is set right.
        let ahead_us = if number <= 1500 { TWENTY_YEARS_US } else { 0 };
        let arrival = Arrival {
            captured_at_us: captured_us(number) + ahead_us,
            ..arrival(number)
        };
        assert_eq!(queue.append(arrival, &telegram(number)).unwrap(), number);
        queue.flush().unwrap();
        queue.maintain(arrival.captured_at_us, arrival.uptime_us).unwrap();
    }
    queue.commit("mqtt", 1400).unwrap();
    let upkeep = |queue: &mut Queue, from_second: u64, ahead_us: i64| {
        for second in (from_second..from_second + 360).step_by(6) {
            queue
                .maintain(captured_us(second) + ahead_us, second * 1_000_000)
                .unwrap();
        }
    };
    // Within the retention by the clock that does not jump.
    for ahead_us in [TWENTY_YEARS_US, 2 * TWENTY_YEARS_US, -TWENTY_YEARS_US] {
        upkeep(&mut queue, 3006, ahead_us);
        assert_eq!(queue.reader().tail(), 1, "the clock is {ahead_us} us ahead");
    }
    // All that is delivered was captured in a future that never comes.
    upkeep(&mut queue, 9000, 0);
    let tail = queue.reader().tail();
    assert!((600..=1400).contains(&tail), "{tail} is the tail");
    queue.commit("mqtt", 3000).unwrap();
    upkeep(&mut queue, 9400, 0);
    assert!(
        queue.reader().tail() > 2000,
        "{} is the tail",
        queue.reader().tail()
    );
    let records = read_all(&mut queue.reader());
    assert!(
        records
            .windows(2)
            .all(|pair| pair[1].sequence == pair[0].sequence + 1)
    );
    assert_eq!(queue.status().losses, []);
}

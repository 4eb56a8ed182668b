//! The blocks of the last flushes wait beside sled, in its journal, and are as safe there.

use std::fs;
use std::path::Path;

use capture::queue::merge::GROUP_BLOCKS;
use capture::queue::{Queue, QueueOptions};
use shared::wire::Start;

use crate::support::{arrival, copy_folder, fill, open_database, options, read_all, scratch, telegram};

fn sequences(queue: &Queue) -> Vec<u64> {
    let records = read_all(&mut queue.reader());
    for record in &records {
        assert_eq!(
            record.telegram,
            telegram(record.sequence),
            "of #{}",
            record.sequence
        );
    }
    records.iter().map(|record| record.sequence).collect()
}

fn log(folder: &Path) -> Vec<u8> {
    fs::read(folder.join("sled/db")).unwrap()
}

#[test]
fn sled_is_written_once_for_many_flushes_and_a_kill_loses_none_of_them() {
    let folder = scratch();
    let (mut queue, _) = Queue::open(&options(folder.path())).unwrap();
    fill(&mut queue, 1);
    let before = log(folder.path());
    // As long as sixty-four have not come together, and within another start of the machine, too.
    let together = GROUP_BLOCKS as u64;
    for count in 1..=2 * together {
        if count < together {
            assert!(log(folder.path()) == before, "sled was written at flush {count}");
        }
        let copy = scratch();
        copy_folder(folder.path(), copy.path());
        for boot in [1, 2] {
            let cut = QueueOptions {
                boot_id: [boot; 16],
                ..options(copy.path())
            };
            let (queue, _) = Queue::open(&cut).unwrap();
            assert_eq!(sequences(&queue), (1..=count).collect::<Vec<_>>());
        }
        fill(&mut queue, 1);
    }
    assert!(log(folder.path()) != before, "sled was never written");
}

#[test]
fn a_commit_that_rode_on_a_telegram_survives_a_power_cut() {
    let folder = scratch();
    let (mut queue, _) = Queue::open(&options(folder.path())).unwrap();
    queue.register("mqtt", Start::Oldest).unwrap();
    fill(&mut queue, 10);
    queue.commit("mqtt", 7).unwrap();
    fill(&mut queue, 2);
    drop(queue);
    // The mark has a copy that was never synced.
    fs::remove_file(folder.path().join("mark")).unwrap();
    let (queue, _) = Queue::open(&options(folder.path())).unwrap();
    assert_eq!(queue.consumers().get("mqtt"), Some(&7));
}

#[test]
fn a_consumer_that_was_forgotten_and_comes_again_begins_anew() {
    for is_killed_between in [false, true] {
        let folder = scratch();
        let (mut queue, _) = Queue::open(&options(folder.path())).unwrap();
        queue.register("mqtt", Start::Oldest).unwrap();
        queue.register("second", Start::Oldest).unwrap();
        fill(&mut queue, 10);
        queue.commit("mqtt", 8).unwrap();
        queue.commit("second", 6).unwrap();
        fill(&mut queue, 2);
        assert!(queue.forget("mqtt").unwrap());
        if is_killed_between {
            drop(queue);
            queue = Queue::open(&options(folder.path())).unwrap().0;
        }
        assert_eq!(queue.register("mqtt", Start::Oldest).unwrap(), 0);
        fill(&mut queue, 2);
        drop(queue);
        fs::remove_file(folder.path().join("mark")).unwrap();
        let (queue, _) = Queue::open(&options(folder.path())).unwrap();
        assert_eq!(queue.consumers().get("mqtt"), Some(&0), "{is_killed_between}");
        assert_eq!(queue.consumers().get("second"), Some(&6));
        assert_eq!(sequences(&queue), (1..=14).collect::<Vec<_>>());
    }
}

#[test]
fn a_folder_without_a_journal_is_one_of_an_earlier_program() {
    let folder = scratch();
    let (mut queue, _) = Queue::open(&options(folder.path())).unwrap();
    queue.register("mqtt", Start::Oldest).unwrap();
    fill(&mut queue, 10);
    queue.close().unwrap();
    // An opening hands over what is in it.
    Queue::open(&options(folder.path())).unwrap().0.close().unwrap();
    fs::remove_file(folder.path().join("sled/journal")).unwrap();
    assert_eq!(
        open_database(folder.path()).open_tree("recent").unwrap().len(),
        10
    );
    let (mut queue, report) = Queue::open(&options(folder.path())).unwrap();
    assert_eq!((report.losses, report.records), (Vec::new(), 10));
    fill(&mut queue, 200);
    assert_eq!(sequences(&queue), (1..=210).collect::<Vec<_>>());
    queue.close().unwrap();
    // Those that were grouped are in no tree of their own any more.
    assert_eq!(open_database(folder.path()).open_tree("recent").unwrap().len(), 0);
}

#[test]
fn a_journal_that_is_damaged_costs_what_was_in_it_and_that_is_told() {
    let folder = scratch();
    let (mut queue, _) = Queue::open(&options(folder.path())).unwrap();
    fill(&mut queue, 100);
    queue.close().unwrap();
    let journal = folder.path().join("sled/journal");
    let length = fs::metadata(&journal).unwrap().len();
    fs::write(&journal, vec![0xA5; length as usize]).unwrap();
    let (mut queue, report) = Queue::open(&options(folder.path())).unwrap();
    let last = report.records;
    assert!((64..100).contains(&last), "{last} were in sled");
    let told: Vec<(u64, u64)> = (report.losses.iter())
        .map(|loss| (loss.first_sequence, loss.last_sequence))
        .collect();
    assert_eq!(told, [(last + 1, 100)]);
    assert_eq!(queue.append(arrival(101), &telegram(101)).unwrap(), 101);
    queue.flush().unwrap();
    let expected: Vec<u64> = (1..=last).chain([101]).collect();
    assert_eq!(sequences(&queue), expected);
}

/// Opens a copy of the folder as after a power cut, and wants all records without putting any back.
fn all_are_there_after_a_cut(folder: &Path, count: u64, what: &str) {
    let copy = scratch();
    copy_folder(folder, copy.path());
    let cut = QueueOptions {
        boot_id: [7; 16],
        ..options(copy.path())
    };
    let (queue, report) = Queue::open(&cut).unwrap();
    assert_eq!(report.restored_records, 0, "{what}");
    assert_eq!(sequences(&queue), (1..=count).collect::<Vec<_>>(), "{what}");
}

#[test]
fn a_large_flush_takes_along_what_waits_in_the_journal() {
    let folder = scratch();
    let (mut queue, _) = Queue::open(&options(folder.path())).unwrap();
    let mut number = 0;
    let mut flush = |queue: &mut Queue, count: u64| {
        for _ in 0..count {
            number += 1;
            queue.append(arrival(number), &telegram(number)).unwrap();
        }
        queue.flush().unwrap();
        queue.maintain(1_764_000_000_000_000, number * 1_000_000).unwrap();
        number
    };
    let mut head = flush(&mut queue, 1);
    all_are_there_after_a_cut(folder.path(), head, "one");
    // Grouped, merged, small ones between, and more than is held of what sled may drop.
    for count in [60, 1, 1, 300, 2, 60, 5, 2000, 1] {
        head = flush(&mut queue, count);
        all_are_there_after_a_cut(folder.path(), head, &format!("{count} up to {head}"));
    }
    for _ in 0..2 * GROUP_BLOCKS {
        head = flush(&mut queue, 1);
        all_are_there_after_a_cut(folder.path(), head, &format!("one by one up to {head}"));
    }
    queue.close().unwrap();
    all_are_there_after_a_cut(folder.path(), head, "closed");
}

#[test]
fn telegrams_that_cannot_be_grouped_do_not_fill_the_journal() {
    let folder = scratch();
    let (mut queue, _) = Queue::open(&options(folder.path())).unwrap();
    let mut random = crate::support::Random(5);
    // Two of them are as much as a block holds, so that each flush leaves one that nothing joins.
    let mut noise = move || -> Vec<u8> { (0..700).map(|_| random.below(256) as u8).collect() };
    let mut second = 0;
    for _ in 0..3 * GROUP_BLOCKS {
        for _ in 0..11 {
            second += 1;
            queue.append(arrival(second), &noise()).unwrap();
        }
        queue.flush().unwrap();
        queue.maintain(1_764_000_000_000_000, second * 1_000_000).unwrap();
    }
    let before = log(folder.path());
    for _ in 0..5 {
        second += 1;
        queue.append(arrival(second), &telegram(second)).unwrap();
        queue.flush().unwrap();
    }
    assert!(log(folder.path()) == before, "the journal has no room");
    assert_eq!(read_all(&mut queue.reader()).len() as u64, second);
}

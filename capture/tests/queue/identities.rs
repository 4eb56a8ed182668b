//! An older copy of the folder that is put back never gives a sequence again under the same identity.

use std::fs;
use std::path::{Path, PathBuf};

use capture::queue::mark::{Former, MAX_CONSUMER_NAME_BYTES, MAX_CONSUMERS, MAX_FORMER, Mark, MarkFile};
use capture::queue::{OpenReport, Queue, QueueOptions};
use shared::wire::{self, Identity, Start};

use crate::support::{Random, arrival, copy_folder, fill, options, read_all, scratch, telegram};

/// As the real program opens it.
fn noticing(folder: &Path) -> QueueOptions {
    QueueOptions {
        is_copy_renewed: true,
        ..options(folder)
    }
}

fn open(folder: &Path) -> (Queue, OpenReport) {
    Queue::open(&noticing(folder)).unwrap()
}

/// A queue and a copy of it that was taken at 103, both in one folder; the queue has gone on to 305.
struct Copied {
    folder: tempfile::TempDir,
    identity: String,
}

impl Copied {
    fn new() -> Self {
        let folder = scratch();
        let copied = Self {
            identity: String::new(),
            folder,
        };
        let (mut queue, _) = open(&copied.queue());
        queue.register("mqtt", Start::Oldest).unwrap();
        fill(&mut queue, 103);
        queue.commit("mqtt", 90).unwrap();
        let identity = queue.identity().to_owned();
        queue.close().unwrap();
        copy_folder(&copied.queue(), &copied.copy());
        let (mut queue, report) = open(&copied.queue());
        assert_eq!(report.renewed, None, "what was copied from is no copy");
        fill(&mut queue, 202);
        queue.commit("mqtt", 305).unwrap();
        queue.close().unwrap();
        Self { identity, ..copied }
    }

    fn queue(&self) -> PathBuf {
        self.folder.path().join("queue")
    }

    fn copy(&self) -> PathBuf {
        self.folder.path().join("copy")
    }

    fn put_back(&self) {
        fs::remove_dir_all(self.queue()).unwrap();
        copy_folder(&self.copy(), &self.queue());
    }
}

type PutBack = fn(&Copied);

fn identity(queue: &str, first_sequence: u64) -> Identity {
    Identity {
        queue: queue.to_owned(),
        first_sequence,
    }
}

#[test]
fn a_copy_that_is_put_back_goes_on_under_a_new_identity_and_keeps_the_former_for_what_is_in_it() {
    let ways: [(&str, PutBack); 3] = [
        ("in place of the folder", Copied::put_back),
        ("over the files of the folder", |copied| {
            copy_folder(&copied.copy(), &copied.queue());
        }),
        ("beside the folder, and moved", |copied| {
            let second = copied.folder.path().join("second");
            copy_folder(&copied.copy(), &second);
            fs::remove_dir_all(copied.queue()).unwrap();
            fs::rename(second, copied.queue()).unwrap();
        }),
    ];
    for (way, put_back) in ways {
        let copied = Copied::new();
        put_back(&copied);
        let (mut queue, report) = open(&copied.queue());
        assert_eq!(report.renewed.as_ref(), Some(&copied.identity), "{way}");
        let new = queue.identity().to_owned();
        assert_ne!(new, copied.identity, "{way}");
        fill(&mut queue, 10);
        let expected = [identity(&copied.identity, 1), identity(&new, 104)];
        assert_eq!(queue.identities(), expected, "{way}");
        assert_eq!(*queue.reader().identities(), expected, "{way}");
        assert_eq!(queue.consumers().get("mqtt"), Some(&90), "{way}");
        assert_eq!(
            (queue.head(), read_all(&mut queue.reader()).len()),
            (113, 113),
            "{way}"
        );
        assert_eq!(queue.status().losses, [], "{way}");
        // Said once: also after a kill, and with the identity's file gone.
        drop(queue);
        fs::remove_file(copied.queue().join("identity")).unwrap();
        let (queue, report) = open(&copied.queue());
        assert_eq!((report.renewed, queue.identity()), (None, &*new), "{way}");
        assert_eq!(queue.identities(), expected, "{way}");
    }
}

#[test]
fn a_copy_that_is_put_back_twice_gets_an_identity_each_time() {
    let copied = Copied::new();
    let mut seen = vec![copied.identity.clone()];
    for _ in 0..3 {
        copied.put_back();
        // An identity under which nothing was accepted is not kept.
        for _ in 0..2 {
            let (queue, _) = open(&copied.queue());
            queue.close().unwrap();
            let again = copied.folder.path().join("again");
            copy_folder(&copied.queue(), &again);
            fs::remove_dir_all(copied.queue()).unwrap();
            copy_folder(&again, &copied.queue());
            fs::remove_dir_all(again).unwrap();
        }
        let (mut queue, _) = open(&copied.queue());
        fill(&mut queue, 5);
        let identities = queue.identities();
        assert_eq!(identities.len(), 2, "{identities:?}");
        assert_eq!(identities[0], identity(&copied.identity, 1));
        assert!(
            !seen.contains(&identities[1].queue),
            "{identities:?} after {seen:?}"
        );
        seen.push(identities[1].queue.clone());
    }
}

#[test]
fn a_copy_taken_while_it_is_written_is_one_too() {
    for seed in 0..8 {
        let mut random = Random(seed);
        let folder = scratch();
        let [path, copy] = ["queue", "copy"].map(|name| folder.path().join(name));
        let (mut queue, _) = open(&path);
        fill(&mut queue, 1 + random.below(300));
        copy_folder(&path, &copy);
        let head = queue.head();
        fill(&mut queue, 50);
        let former = queue.identity().to_owned();
        // Either end: over the files, or in place of them.
        if seed % 2 == 0 {
            queue.close().unwrap();
        } else {
            drop(queue);
        }
        if seed % 4 < 2 {
            fs::remove_dir_all(&path).unwrap();
        }
        copy_folder(&copy, &path);
        let (mut queue, report) = open(&path);
        assert_eq!(report.renewed, Some(former.clone()), "seed {seed}");
        let first = queue.head() + 1;
        assert!(first > head, "seed {seed}: {first}");
        fill(&mut queue, 5);
        let identities = queue.identities();
        assert_eq!(wire::place_of(&identities, head), 0, "seed {seed}");
        assert_eq!(
            wire::place_of(&identities, first),
            1,
            "seed {seed}: {identities:?}"
        );
    }
}

#[test]
fn a_folder_that_is_moved_killed_or_of_an_earlier_version_keeps_its_identity() {
    let folder = scratch();
    let [path, moved] = ["queue", "moved"].map(|name| folder.path().join(name));
    let (mut queue, _) = open(&path);
    fill(&mut queue, 20);
    let identity = queue.identity().to_owned();
    drop(queue);
    let (queue, report) = open(&path);
    assert_eq!((report.renewed, queue.identity()), (None, &*identity), "killed");
    queue.close().unwrap();
    fs::rename(&path, &moved).unwrap();
    let (queue, report) = open(&moved);
    assert_eq!((report.renewed, queue.identity()), (None, &*identity), "moved");
    queue.close().unwrap();
    fs::remove_file(moved.join("birth.json")).unwrap();
    copy_folder(&moved, &path);
    let (queue, report) = open(&path);
    assert_eq!(
        (report.renewed, queue.identity()),
        (None, &*identity),
        "it says nothing"
    );
}

#[test]
fn an_older_database_or_an_older_mark_put_back_by_itself_gives_no_sequence_again() {
    for part in ["sled", "mark"] {
        let copied = Copied::new();
        let there = copied.queue().join(part);
        if there.is_dir() {
            fs::remove_dir_all(&there).unwrap();
            copy_folder(&copied.copy().join(part), &there);
        } else {
            fs::copy(copied.copy().join(part), &there).unwrap();
        }
        let (mut queue, report) = open(&copied.queue());
        assert_eq!(report.renewed, None, "{part}: it is not the folder that is older");
        assert!(queue.head() >= 305, "{part}: the head is {}", queue.head());
        let missing: u64 = (report.losses.iter())
            .map(|loss| loss.last_sequence - loss.first_sequence + 1)
            .sum();
        assert_eq!(missing + report.records, 305, "{part}: {report:?}");
        fill(&mut queue, 1);
        assert!(queue.head() > 305, "{part}");
    }
}

#[test]
fn a_consumer_that_knows_more_has_all_renewed_that_it_cannot_have_read() {
    let copied = Copied::new();
    copied.put_back();
    // A file system that does not tell when a file was born.
    let path = copied.queue().join("birth.json");
    let said = fs::read_to_string(&path).unwrap();
    let born = &said[said.find("\"born_ns\":").unwrap() + 10..said.find(',').unwrap()];
    fs::write(&path, said.replace(born, "null")).unwrap();
    // Two starts before the consumer comes.
    for _ in 0..2 {
        let (mut queue, report) = Queue::open(&noticing(&copied.queue())).unwrap();
        assert_eq!(report.renewed, None);
        fill(&mut queue, 7);
        let text = fs::read_to_string(&path).unwrap();
        drop(queue);
        let born = &text[text.find("\"born_ns\":").unwrap() + 10..text.find(',').unwrap()];
        fs::write(&path, text.replace(born, "null")).unwrap();
    }
    let (mut queue, _) = open(&copied.queue());
    queue.renew_after(90).unwrap();
    let new = queue.identity().to_owned();
    let expected = [identity(&copied.identity, 1), identity(&new, 104)];
    assert_eq!(queue.identities(), expected);
    // A second consumer that knows as much finds it done; one that insists gets another, for as much.
    queue.renew_after(90).unwrap();
    let identities = queue.identities();
    assert_eq!(identities.len(), 2, "{identities:?}");
    assert_eq!(identities[1].first_sequence, 104);
}

#[test]
fn the_identities_fit_beside_the_cursors_of_as_many_consumers_as_there_may_be() {
    let folder = scratch();
    let path = folder.path().join("mark");
    let (file, _) = MarkFile::open(&path).unwrap();
    let name = |number: usize| format!("{number:0>MAX_CONSUMER_NAME_BYTES$}");
    let mut mark = Mark {
        cursors: (0..MAX_CONSUMERS)
            .map(|number| (name(number), u64::MAX))
            .collect(),
        former: (0..MAX_FORMER as u64)
            .map(|number| Former {
                identity: *b"abcd2345",
                last: number,
            })
            .collect(),
        ..Mark::default()
    };
    file.write_synced(&mut mark).unwrap();
    assert_eq!(MarkFile::peek(&path), Some(mark));
}

#[test]
fn of_many_identities_the_newest_are_kept() {
    let folder = scratch();
    let (mut queue, _) = open(folder.path());
    for _ in 0..MAX_FORMER + 10 {
        fill(&mut queue, 1);
        queue.renew().unwrap();
    }
    let identities = queue.identities();
    assert_eq!(identities.len(), MAX_FORMER + 1);
    assert_eq!(identities[0].first_sequence, 1, "of the oldest that is known");
    assert!(identities.is_sorted_by_key(|identity| identity.first_sequence));
    assert_eq!(
        identities.last().map(|newest| newest.first_sequence),
        Some(queue.head() + 1)
    );
}

#[test]
fn a_copy_put_under_a_running_queue_is_told_as_a_loss_and_gives_no_sequence_again() {
    let copied = Copied::new();
    let (mut queue, _) = open(&copied.queue());
    copied.put_back();
    queue.append(arrival(306), &telegram(306)).unwrap();
    queue.flush().expect_err("what it was written to is gone");
    queue.flush().unwrap();
    let kept: Vec<u64> = read_all(&mut queue.reader())
        .iter()
        .map(|record| record.sequence)
        .collect();
    let expected: Vec<u64> = (1..=103).chain([306]).collect();
    assert_eq!(kept, expected);
    let losses: Vec<(u64, u64)> = (queue.status().losses.iter())
        .map(|loss| (loss.first_sequence, loss.last_sequence))
        .collect();
    assert_eq!(losses, [(104, 305)]);
    queue.close().unwrap();
    let (queue, report) = open(&copied.queue());
    assert_eq!((report.losses, queue.head()), (Vec::new(), 306));
    assert_eq!(queue.identities()[0].queue, copied.identity);
}

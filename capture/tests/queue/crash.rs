//! Killed, or cut off from power, between any two steps: the folder is copied at each, as it would be
//! found, and the copy opened.
//!
//! Killing leaves what was written and not synced, so the copies tell nothing about a disk that loses it;
//! of that, only the mark's unsynced slot is taken away here.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::{Arc, Mutex};

use capture::queue::mark::CEILING_STEP;
use capture::queue::{Queue, QueueOptions};
use shared::wire::Start;

use crate::support::{arrival, captured_us, copy_folder, fill, options, read_all, scratch, telegram};

struct Moment {
    step: &'static str,
    /// What readers had seen then.
    visible: u64,
    /// What consumers had been told then.
    cursors: BTreeMap<String, u64>,
    folder: tempfile::TempDir,
}

#[test]
fn a_crash_between_any_two_steps_loses_nothing_visible_and_gives_no_sequence_twice() {
    let folder = scratch();
    let settings = QueueOptions {
        retention: Some(std::time::Duration::from_secs(1_200)),
        ..options(folder.path())
    };
    let (mut queue, _) = Queue::open(&settings).unwrap();
    let moments = Arc::new(Mutex::new(Vec::new()));
    let told = Arc::new(Mutex::new(BTreeMap::new()));
    let mut seen: BTreeMap<&'static str, u64> = BTreeMap::new();
    queue.on_step(Box::new({
        let (moments, told, reader, path) = (
            Arc::clone(&moments),
            Arc::clone(&told),
            queue.reader(),
            folder.path().to_owned(),
        );
        move |step| {
            let times = seen.entry(step).or_default();
            *times += 1;
            // Each step's first few times, and now and then.
            if *times > 4 && *times % 97 > 1 {
                return;
            }
            let copy = scratch();
            copy_folder(&path, copy.path());
            let cursors = told.lock().unwrap().clone();
            moments.lock().unwrap().push(Moment {
                step,
                visible: reader.head(),
                cursors,
                folder: copy,
            });
        }
    }));
    fill(&mut queue, 20);
    for (name, start) in [("mqtt", Start::Oldest), ("second", Start::Newest)] {
        let cursor = queue.register(name, start).unwrap();
        told.lock().unwrap().insert(name.to_owned(), cursor);
    }
    for _ in 0..70 {
        fill(&mut queue, 30);
        queue.commit("mqtt", queue.head()).unwrap();
        queue.commit("second", queue.head() - 1).unwrap();
    }
    // As many together as make a block that only upkeep merges.
    for _ in 0..8 {
        for number in (queue.head() + 1..).take(90) {
            queue.append(arrival(number), &telegram(number)).unwrap();
        }
        queue.flush().unwrap();
        let second = queue.head();
        queue.maintain(captured_us(second), second * 1_000_000).unwrap();
    }
    told.lock().unwrap().remove("second");
    queue.forget("second").unwrap();
    drop(queue);

    let moments = std::mem::take(&mut *moments.lock().unwrap());
    let mut steps: BTreeMap<&str, u64> = BTreeMap::new();
    for moment in &moments {
        *steps.entry(moment.step).or_default() += 1;
        let killed = scratch();
        copy_folder(moment.folder.path(), killed.path());
        check(moment, killed.path(), &options(killed.path()), false);
        let cut = scratch();
        copy_folder(moment.folder.path(), cut.path());
        // What the mark was told without syncing never reached the disk.
        File::options()
            .write(true)
            .open(cut.path().join("mark"))
            .unwrap()
            .write_all_at(&[0; 4096], 0)
            .unwrap();
        check(
            moment,
            cut.path(),
            &QueueOptions {
                boot_id: [7; 16],
                ..options(cut.path())
            },
            true,
        );
    }
    println!("copies opened, by step: {steps:?}");
    for step in [
        "ceiling raised",
        "flush written",
        "group written",
        "flush marked",
        "merge written",
        "trim written",
        "registration written",
        "registration marked",
        "forgetting marked",
    ] {
        assert!(steps.contains_key(step), "the test never came to: {step}");
    }
}

fn check(moment: &Moment, path: &Path, options: &QueueOptions, is_cut: bool) {
    let step = moment.step;
    let (mut queue, report) = Queue::open(options).unwrap();
    assert_eq!(report.moved_aside, None, "{step}");
    let mut reader = queue.reader();
    let records = read_all(&mut reader);
    let tail = reader.tail();
    let expected: Vec<u64> = (tail..=moment.visible).collect();
    let there: Vec<u64> = records
        .iter()
        .map(|record| record.sequence)
        .filter(|&at| at <= moment.visible)
        .collect();
    assert_eq!(
        there, expected,
        "{step}: what was visible is there (power cut: {is_cut})"
    );
    assert!(
        records
            .iter()
            .all(|record| record.telegram == telegram(record.sequence)),
        "{step}"
    );
    for (name, cursor) in &moment.cursors {
        let now = queue
            .consumers()
            .get(name)
            .unwrap_or_else(|| panic!("{step}: {name} is not known any more"));
        assert!(
            now >= cursor,
            "{step}: the cursor of {name} went back from {cursor} to {now}"
        );
        assert!(
            *now <= queue.head(),
            "{step}: the cursor of {name} is beyond the head"
        );
        assert!(
            tail <= now + 1 || tail <= 1,
            "{step}: records were removed before {name} had them"
        );
    }
    let next = queue.append(arrival(99_999), b"/next").unwrap();
    assert!(next > moment.visible, "{step}: sequence {next} appears twice");
    let known = records.last().map_or(0, |record| record.sequence);
    if is_cut {
        // Some record above may have been visible and lost with the disk's cache: none of its sequences is used.
        assert!(
            next > known && next <= known + 2 * CEILING_STEP + 1,
            "{step}: {next} after {known}"
        );
        assert!(
            report.losses.iter().all(|loss| loss.first_sequence > known),
            "{step}: {:?}",
            report.losses
        );
        assert!(
            queue
                .status()
                .losses
                .iter()
                .any(|loss| loss.last_sequence == next - 1),
            "{step}: the gap is not told"
        );
    } else {
        assert_eq!(next, known + 1, "{step}: a gap without a power cut");
        assert_eq!(report.losses, [], "{step}");
    }
    queue.flush().unwrap();
    queue.close().unwrap();
    let (queue, report) = Queue::open(&QueueOptions {
        path: path.to_owned(),
        ..options.clone()
    })
    .unwrap();
    assert_eq!(
        (report.losses, queue.head()),
        (Vec::new(), next),
        "{step}: opened once more"
    );
}

#[test]
fn a_database_that_rolled_back_silently_is_noticed_and_no_sequence_or_cursor_goes_back() {
    let folder = scratch();
    let (mut queue, _) = Queue::open(&options(folder.path())).unwrap();
    queue.register("mqtt", Start::Oldest).unwrap();
    fill(&mut queue, 100);
    drop(queue);
    let old = scratch();
    copy_folder(&folder.path().join("sled"), old.path());
    let (mut queue, _) = Queue::open(&options(folder.path())).unwrap();
    fill(&mut queue, 50);
    queue.commit("mqtt", 140).unwrap();
    queue.flush().unwrap();
    drop(queue);
    // As if sled had opened without the last fifty, and nothing of them were left in its files.
    fs::remove_dir_all(folder.path().join("sled")).unwrap();
    copy_folder(old.path(), &folder.path().join("sled"));
    let (mut queue, report) = Queue::open(&options(folder.path())).unwrap();
    let losses: Vec<(u64, u64)> = report
        .losses
        .iter()
        .map(|loss| (loss.first_sequence, loss.last_sequence))
        .collect();
    assert_eq!(losses, [(101, 150)]);
    assert_eq!(queue.consumers().get("mqtt"), Some(&140));
    assert_eq!(queue.append(arrival(151), &telegram(151)).unwrap(), 151);
    queue.flush().unwrap();
    queue.maintain(captured_us(151), 151_000_000).unwrap();
    assert_eq!(read_all(&mut queue.reader()).len(), 101);
    queue.close().unwrap();
    let (queue, report) = Queue::open(&options(folder.path())).unwrap();
    assert_eq!(report.losses, [], "told once");
    assert_eq!(queue.status().losses.len(), 1, "and remembered");
}

#[test]
fn without_its_mark_the_queue_goes_on_above_what_may_have_been() {
    let folder = scratch();
    let (mut queue, _) = Queue::open(&options(folder.path())).unwrap();
    fill(&mut queue, 10);
    let identity = queue.identity().to_owned();
    queue.close().unwrap();
    fs::remove_file(folder.path().join("mark")).unwrap();
    let (mut queue, _) = Queue::open(&options(folder.path())).unwrap();
    assert_eq!(queue.identity(), identity);
    assert!(queue.append(arrival(11), &telegram(11)).unwrap() > 10 + CEILING_STEP);
    queue.close().unwrap();
    fs::remove_file(folder.path().join("identity")).unwrap();
    let (queue, _) = Queue::open(&options(folder.path())).unwrap();
    assert_eq!(queue.identity(), identity, "the mark knows it too");
}

#[test]
fn a_rebuild_cut_off_between_its_names_is_finished_or_undone() {
    for leftover in [
        "sled and sled-new",
        "sled-old and sled-new",
        "sled-old and sled",
        "sled-old alone",
    ] {
        let folder = scratch();
        let (mut queue, _) = Queue::open(&options(folder.path())).unwrap();
        fill(&mut queue, 30);
        drop(queue);
        let [current, new, old] = ["sled", "sled-new", "sled-old"].map(|name| folder.path().join(name));
        match leftover {
            "sled and sled-new" => {
                fs::create_dir(&new).unwrap();
                fs::write(new.join("db"), b"half a copy").unwrap();
            }
            "sled-old and sled-new" => {
                copy_folder(&current, &new);
                fs::rename(&current, &old).unwrap();
            }
            "sled-old and sled" => copy_folder(&current, &old),
            _ => fs::rename(&current, &old).unwrap(),
        }
        let (queue, report) = Queue::open(&options(folder.path())).unwrap();
        assert_eq!((report.losses, report.records), (Vec::new(), 30), "{leftover}");
        assert_eq!(read_all(&mut queue.reader()).len(), 30, "{leftover}");
        assert!(!new.exists() && !old.exists(), "{leftover}");
    }
}

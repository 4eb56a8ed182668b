//! Disks that are full, read-only or gone, and the bound on the folder's size.

use std::fs;
use std::path::Path;
use std::time::Duration;

use capture::queue::{AppendError, FlushError, MAX_BUFFERED_BYTES, Queue, QueueOptions, layout};
use shared::wire::Start;

use crate::support::{arrival, captured_us, fill, options, read_all, scratch, telegram};

const MIB: u64 = 1024 * 1024;

#[test]
fn the_folder_stays_within_max_size_under_load_and_what_goes_undelivered_is_counted_as_lost() {
    let folder = scratch();
    let max_size_bytes = 8 * MIB;
    let (mut queue, _) = Queue::open(&QueueOptions {
        max_size_bytes,
        ..options(folder.path())
    })
    .unwrap();
    queue.register("mqtt", Start::Oldest).unwrap();
    let mut random = crate::support::Random(3);
    let mut lost = 0;
    let mut largest = 0;
    for round in 1..=1200u64 {
        for _ in 0..10 {
            // Incompressible, so that it is soon full.
            let noise: Vec<u8> = (0..700).map(|_| random.below(256) as u8).collect();
            queue.append(arrival(round * 10), &noise).unwrap();
        }
        queue.flush().unwrap();
        lost += queue
            .maintain(captured_us(round * 10), round * 10_000_000)
            .unwrap()
            .lost_records;
        if round % 10 == 0 {
            let size = layout::disk_bytes(folder.path());
            largest = largest.max(size);
            assert!(size <= max_size_bytes, "{size} bytes on disk in round {round}");
        }
    }
    let status = queue.status();
    println!(
        "largest {largest}, live {}, lost {lost} of {}",
        status.live_bytes,
        queue.head()
    );
    assert!(lost > 1000, "the bound was never reached");
    assert_eq!(status.tail, lost + 1);
    let told: u64 = status
        .losses
        .iter()
        .map(|loss| loss.last_sequence - loss.first_sequence + 1)
        .sum();
    assert_eq!(told, lost);
    assert!(status.losses.iter().all(|loss| loss.cause.contains("max_size")));
    // The bound is used, as far as the database's own needs leave of so small a one.
    assert!(
        largest > max_size_bytes / 2 && status.live_bytes > max_size_bytes / 9,
        "the bound is hardly used"
    );
}

#[test]
fn a_lowered_max_size_makes_a_grown_folder_smaller_and_keeps_the_newest() {
    let folder = scratch();
    let mut random = crate::support::Random(4);
    let (mut queue, _) = Queue::open(&options(folder.path())).unwrap();
    for round in 1..=400u64 {
        for _ in 0..20 {
            let noise: Vec<u8> = (0..1000).map(|_| random.below(256) as u8).collect();
            queue.append(arrival(round * 20), &noise).unwrap();
        }
        queue.flush().unwrap();
        queue
            .maintain(captured_us(round * 20), round * 20_000_000)
            .unwrap();
    }
    let head = queue.head();
    queue.close().unwrap();
    let grown = layout::disk_bytes(folder.path());
    let max_size_bytes = 6 * MIB;
    assert!(grown > 2 * max_size_bytes, "it did not grow: {grown}");
    let (mut queue, _) = Queue::open(&QueueOptions {
        max_size_bytes,
        ..options(folder.path())
    })
    .unwrap();
    let mut reader = queue.reader();
    for step in 0..40 {
        queue
            .maintain(captured_us(8000 + step * 6), (8000 + step * 6) * 1_000_000)
            .unwrap();
    }
    let size = layout::disk_bytes(folder.path());
    assert!(size <= max_size_bytes, "{size} bytes are left of {grown}");
    let records = read_all(&mut reader);
    assert_eq!(records.last().map(|record| record.sequence), Some(head));
    assert_eq!(records.first().map(|record| record.sequence), Some(reader.tail()));
    assert!(records.len() > 300, "only {} records are left", records.len());
    // It goes on as before.
    assert_eq!(queue.append(arrival(9000), b"/next").unwrap(), head + 1);
    queue.flush().unwrap();
    drop(reader);
    queue.close().unwrap();
    let (queue, report) = Queue::open(&QueueOptions {
        max_size_bytes,
        ..options(folder.path())
    })
    .unwrap();
    assert_eq!((report.losses, queue.head()), (Vec::new(), head + 1));
}

#[test]
fn a_vanished_folder_is_made_again_and_sequences_go_on() {
    let outer = scratch();
    let folder = outer.path().join("queue");
    let (mut queue, _) = Queue::open(&options(&folder)).unwrap();
    queue.register("mqtt", Start::Oldest).unwrap();
    fill(&mut queue, 10);
    let identity = queue.identity().to_owned();
    fs::rename(&folder, outer.path().join("elsewhere")).unwrap();
    fs::remove_dir_all(outer.path().join("elsewhere")).unwrap();
    queue.append(arrival(11), &telegram(11)).unwrap();
    assert!(
        matches!(queue.flush(), Err(FlushError::Storage(_))),
        "nothing is durable in a folder that is gone"
    );
    assert_eq!(queue.reader().head(), 10, "visible though not durable");
    assert!(
        queue
            .status()
            .trouble
            .is_some_and(|words| words.contains("removed"))
    );
    queue.append(arrival(12), &telegram(12)).unwrap();
    assert_eq!(queue.flush().unwrap().records, 2);
    assert_eq!(queue.status().trouble, None);
    let sequences: Vec<u64> = read_all(&mut queue.reader())
        .iter()
        .map(|record| record.sequence)
        .collect();
    assert_eq!(sequences, [11, 12]);
    let losses: Vec<(u64, u64)> = queue
        .status()
        .losses
        .iter()
        .map(|loss| (loss.first_sequence, loss.last_sequence))
        .collect();
    assert_eq!(losses, [(1, 10)]);
    queue.close().unwrap();
    let (queue, _) = Queue::open(&options(&folder)).unwrap();
    assert_eq!((queue.identity(), queue.head()), (identity.as_str(), 12));
    assert_eq!(queue.consumers().get("mqtt"), Some(&0));
}

/// Needs the right to mount; elsewhere it says so.
#[test]
fn a_refused_database_on_a_disk_without_room_for_another_costs_the_oldest_and_capture_goes_on() {
    const RECORDS: u64 = 3000;
    for (left, after_a_power_cut) in [
        (6 * MIB, false),
        (6 * MIB, true),
        (3 * MIB, false),
        (3 * MIB, true),
        (MIB / 4, true),
    ] {
        let Some(disk) = SmallDisk::mount(24 * MIB) else {
            return;
        };
        let mut settings = options(&disk.path().join("queue"));
        let (mut queue, _) = Queue::open(&settings).unwrap();
        for number in 1..=RECORDS {
            queue.append(arrival(number), &incompressible(number)).unwrap();
            if number % 10 == 0 {
                queue.flush().unwrap();
            }
        }
        if after_a_power_cut {
            drop(queue);
            settings.boot_id = [9; 16];
            if left == 3 * MIB {
                // And without anything else that tells how far the sequences had come.
                fs::remove_file(settings.path.join("mark")).unwrap();
            }
        } else {
            queue.close().unwrap();
        }
        fs::write(settings.path.join("sled/conf"), b"segment_size: a lot\nnonsense").unwrap();
        let room = rustix::fs::statvfs(disk.path()).unwrap();
        let taken = (room.f_bavail * room.f_frsize).saturating_sub(left);
        let greedy = disk.path().join("greedy");
        let file = fs::File::create(&greedy).unwrap();
        rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, taken).unwrap();
        drop(file);

        let opened = Queue::open(&settings);
        if left < MIB {
            // Not even an empty one can be made. When there is room, all comes back.
            assert!(opened.is_err(), "{:?}", opened.map(|(_, report)| report));
            fs::remove_file(&greedy).unwrap();
            let (queue, report) = Queue::open(&settings).unwrap();
            assert_eq!((report.restored_records, queue.head()), (RECORDS, RECORDS));
            assert!(report.moved_aside.is_some());
            continue;
        }
        let (mut queue, report) = opened.unwrap();
        let lost = report.losses.iter().filter(|loss| loss.first_sequence <= RECORDS);
        let lost: u64 = lost
            .map(|loss| loss.last_sequence - loss.first_sequence + 1)
            .sum();
        println!(
            "{left} bytes left: {} came back, {lost} are lost",
            report.restored_records
        );
        assert_eq!(report.restored_records + lost, RECORDS, "{report:?}");
        assert_eq!(queue.head(), RECORDS);
        let kept = read_all(&mut queue.reader());
        assert_eq!(kept.len() as u64, report.restored_records);
        assert!(
            kept.iter()
                .all(|record| record.telegram == incompressible(record.sequence))
        );
        if left > 4 * MIB {
            assert!(lost > 0, "{report:?}");
            assert_eq!(
                kept.last().map(|record| record.sequence),
                Some(RECORDS),
                "the newest stay"
            );
        }
        fs::remove_file(&greedy).unwrap();
        let next = queue
            .append(arrival(RECORDS + 1), &incompressible(RECORDS + 1))
            .unwrap();
        assert!(next > RECORDS);
        assert_eq!(queue.flush().unwrap().head, next);
    }
}

/// Needs the right to mount; elsewhere it says so.
#[test]
fn a_full_disk_is_waited_out_and_nothing_that_was_taken_is_lost() {
    for reserve_free_bytes in [0, MIB] {
        let Some(disk) = SmallDisk::mount(16 * MIB) else {
            return;
        };
        let settings = QueueOptions {
            reserve_free_bytes,
            ..options(&disk.path().join("queue"))
        };
        let (mut queue, _) = Queue::open(&settings).unwrap();
        fill(&mut queue, 50);
        let ballast = disk.path().join("ballast");
        use_up(&ballast);
        let mut taken = 50;
        let mut failures = 0;
        let mut refused = 0;
        for number in 51..4000 {
            match queue.append(arrival(number), &incompressible(number)) {
                Ok(sequence) => {
                    taken += 1;
                    assert_eq!(sequence, taken);
                }
                Err(AppendError::Full { buffered }) => {
                    assert!(buffered + 1000 > MAX_BUFFERED_BYTES);
                    refused += 1;
                }
                Err(error) => panic!("{error}"),
            }
            if number % 250 == 0 {
                failures += u64::from(queue.flush().is_err());
                let _ = queue.maintain(captured_us(number), number * 1_000_000);
                assert!(queue.reader().head() <= taken);
            }
        }
        let words = queue.status().trouble.expect("it says that it is full");
        println!("{failures} flushes failed, {refused} telegrams refused: {words}");
        assert!(failures > 5 && refused > 100 && queue.status().refused == refused);
        assert_eq!(queue.reader().head() + (taken - queue.head()), taken);
        fs::remove_file(ballast).unwrap();
        queue.flush().unwrap();
        assert_eq!(queue.status().trouble, None);
        assert_eq!(queue.head(), taken);
        fill(&mut queue, 3);
        queue.close().unwrap();
        let (queue, report) = Queue::open(&settings).unwrap();
        assert_eq!(report.losses, []);
        let records = read_all(&mut queue.reader());
        assert_eq!(records.len() as u64, taken + 3);
        for record in records
            .iter()
            .filter(|record| record.sequence > 50 && record.sequence <= taken)
        {
            assert_eq!(record.telegram.len(), 1000);
        }
    }
}

/// Needs the right to mount; elsewhere it says so.
#[test]
fn on_a_disk_full_to_the_last_byte_telegrams_take_the_place_of_delivered_ones() {
    let Some(disk) = SmallDisk::mount(40 * MIB) else {
        return;
    };
    let settings = QueueOptions {
        reserve_free_bytes: 2 * MIB,
        ..options(&disk.path().join("queue"))
    };
    let (mut queue, _) = Queue::open(&settings).unwrap();
    queue.register("mqtt", Start::Oldest).unwrap();
    for _ in 0..300 {
        fill(&mut queue, 10);
        queue.commit("mqtt", queue.head()).unwrap();
    }
    let before = queue.head();
    // Another program that takes every byte there is, again and again.
    let greedy = disk.path().join("greedy");
    let mut largest = 0;
    for round in 0..1000 {
        use_up(&greedy);
        for _ in 0..10 {
            let number = queue.head() + 1;
            queue.append(arrival(number), &telegram(number)).unwrap();
            queue
                .flush()
                .unwrap_or_else(|error| panic!("stands still in round {round}: {error}"));
            queue.maintain(captured_us(number), number * 1_000_000).unwrap();
        }
        // What is not delivered is never given up for it.
        let delivered = queue.head() - 300;
        queue.commit("mqtt", delivered).unwrap();
        assert!(queue.reader().tail() <= delivered);
        largest = largest.max(layout::disk_bytes(&settings.path));
    }
    assert_eq!(queue.status().trouble, None);
    assert!(queue.tightness().is_some_and(|words| words.contains("is full")));
    assert_eq!((queue.head(), queue.status().refused), (before + 10_000, 0));
    // Killed and started again while there is not a byte.
    drop(queue);
    let (mut queue, report) = Queue::open(&settings).unwrap();
    assert_eq!((report.losses, queue.head()), (Vec::new(), before + 10_000));
    use_up(&greedy);
    for _ in 0..100 {
        let number = queue.head() + 1;
        queue.append(arrival(number), &telegram(number)).unwrap();
        queue.flush().unwrap();
    }
    let last = before + 10_100;
    println!("at most {largest} bytes; the tail is {}", queue.reader().tail());
    let records = read_all(&mut queue.reader());
    assert_eq!(
        records.first().map(|record| record.sequence),
        Some(queue.reader().tail())
    );
    assert_eq!(records.last().map(|record| record.sequence), Some(last));
    assert!(
        records
            .iter()
            .all(|record| record.telegram == telegram(record.sequence))
    );
    fs::remove_file(greedy).unwrap();
    fill(&mut queue, 10);
    assert_eq!(queue.tightness(), None);
    queue.close().unwrap();
    let (queue, report) = Queue::open(&settings).unwrap();
    assert_eq!((report.losses, queue.head()), (Vec::new(), last + 10));
}

/// Needs the right to mount; elsewhere it says so.
#[test]
fn room_is_taken_ahead_only_where_a_disk_is_getting_full_and_within_max_size() {
    for (disk_bytes, max_size_bytes, expected) in [
        (1024 * MIB, 1024 * MIB, 0..2 * MIB),
        (64 * MIB, 1024 * MIB, 8 * MIB..10 * MIB),
        (64 * MIB, 6 * MIB, 0..5 * MIB),
    ] {
        let Some(disk) = SmallDisk::mount(disk_bytes) else {
            return;
        };
        let settings = QueueOptions {
            reserve_free_bytes: 2 * MIB,
            max_size_bytes,
            ..options(&disk.path().join("queue"))
        };
        let (mut queue, _) = Queue::open(&settings).unwrap();
        fill(&mut queue, 20);
        let size = layout::disk_bytes(&settings.path);
        assert!(expected.contains(&size), "{size} bytes of {disk_bytes}");
        let reserve = settings.path.join("reserve");
        if max_size_bytes < 1024 * MIB {
            // The telegrams need it all, and the bound holds.
            for number in 21..12_000 {
                queue.append(arrival(number), &incompressible(number)).unwrap();
                if number % 10 == 0 {
                    queue.flush().unwrap();
                    queue.maintain(captured_us(number), number * 1_000_000).unwrap();
                }
                if number % 100 == 0 {
                    let size = layout::disk_bytes(&settings.path);
                    assert!(size <= max_size_bytes, "{size} bytes on disk at {number}");
                }
            }
            assert!(queue.reader().tail() > 1000, "the bound was never reached");
            assert_eq!(fs::metadata(reserve).unwrap().len(), 0);
            continue;
        }
        if size < 8 * MIB {
            assert!(!reserve.exists());
            continue;
        }
        disk.remount("size=3g");
        fill(&mut queue, 1);
        assert!(!reserve.exists(), "kept though the disk has room again");
        disk.remount("size=64m");
        fill(&mut queue, 1);
        queue.close().unwrap();
        let (mut queue, _) = Queue::open(&QueueOptions {
            max_size_bytes: 6 * MIB,
            ..settings.clone()
        })
        .unwrap();
        fill(&mut queue, 1);
        let size = layout::disk_bytes(&settings.path);
        assert!(size < 5 * MIB, "{size} bytes with a lowered max_size");
        queue.close().unwrap();
        let (mut queue, _) = Queue::open(&settings).unwrap();
        fill(&mut queue, 1);
        // With nothing delivered it lasts for a while, then the queue says that it is full.
        use_up(&disk.path().join("greedy"));
        let mut stored = 0;
        while stored < 50_000 {
            let number = queue.head() + 1;
            queue.append(arrival(number), &incompressible(number)).unwrap();
            if queue.flush().is_err() {
                break;
            }
            let _ = queue.maintain(captured_us(number), number * 1_000_000);
            stored += 1;
        }
        println!("{stored} telegrams were stored on the full disk");
        // sled never comes back from one that it cannot write, so there is to be none, however little compresses.
        let leaves_of_their_own = fs::read_dir(settings.path.join("sled/blobs")).unwrap().count();
        assert_eq!(leaves_of_their_own, 0);
        assert!((500..50_000).contains(&stored));
        assert!(queue.status().trouble.is_some_and(|words| words.contains("left")));
    }
}

/// Writes to a file until the disk has no byte left.
fn use_up(path: &Path) {
    use std::io::Write;
    let mut file = fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(path)
        .unwrap();
    let mut left = 64 * MIB;
    while left > 0 {
        if file.write_all(&vec![1; left.min(64 * 1024) as usize]).is_err() {
            left /= 2;
        }
    }
}

/// Needs the right to mount; elsewhere it says so.
#[test]
fn a_disk_that_became_read_only_is_waited_out() {
    let Some(disk) = SmallDisk::mount(16 * MIB) else {
        return;
    };
    let settings = options(&disk.path().join("queue"));
    let (mut queue, _) = Queue::open(&settings).unwrap();
    fill(&mut queue, 20);
    // Files that are open for writing keep a disk from becoming read-only: closed like after a failed write.
    drop(queue);
    disk.remount("ro");
    let Err(error) = Queue::open(&settings) else {
        panic!("opened on a read-only disk")
    };
    assert!(error.to_string().to_lowercase().contains("read-only"), "{error}");
    disk.remount("rw");
    let (mut queue, report) = Queue::open(&settings).unwrap();
    assert_eq!((report.losses, report.records), (Vec::new(), 20));
    fill(&mut queue, 1);
}

/// Needs the right to mount; elsewhere it says so.
#[test]
fn without_room_for_a_journal_all_goes_to_sled() {
    let Some(disk) = SmallDisk::mount(16 * MIB) else {
        return;
    };
    let settings = options(&disk.path().join("queue"));
    let journal = settings.path.join("sled/journal");
    let (mut queue, _) = Queue::open(&settings).unwrap();
    fill(&mut queue, 10);
    queue.close().unwrap();
    Queue::open(&settings).unwrap().0.close().unwrap();
    let journal_bytes = fs::metadata(&journal).unwrap().len();
    fs::remove_file(&journal).unwrap();
    let greedy = disk.path().join("greedy");
    use_up(&greedy);
    let all = fs::metadata(&greedy).unwrap().len();
    let file = fs::OpenOptions::new().write(true).open(&greedy).unwrap();
    file.set_len(all - journal_bytes + 64 * 1024).unwrap();
    drop(file);
    let (mut queue, report) = Queue::open(&settings).unwrap();
    assert!(!journal.exists(), "it is on a disk without room for it");
    assert_eq!((report.losses, report.records), (Vec::new(), 10));
    fill(&mut queue, 5);
    assert_eq!(read_all(&mut queue.reader()).len(), 15);
    queue.close().unwrap();
    fs::remove_file(&greedy).unwrap();
    let (mut queue, report) = Queue::open(&settings).unwrap();
    assert!(journal.exists());
    assert_eq!((report.losses, report.records), (Vec::new(), 15));
    fill(&mut queue, 5);
    assert_eq!(read_all(&mut queue.reader()).len(), 20);
}

/// A telegram of 1000 bytes that hardly compresses.
fn incompressible(number: u64) -> Vec<u8> {
    let mut random = crate::support::Random(number);
    (0..1000).map(|_| random.below(256) as u8).collect()
}

/// A file system in memory of a size.
struct SmallDisk {
    folder: tempfile::TempDir,
}

impl SmallDisk {
    fn mount(bytes: u64) -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let mounted = std::process::Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={bytes}"), "queue-test"])
            .arg(folder.path())
            .output();
        match mounted {
            Ok(output) if output.status.success() => Some(Self { folder }),
            other => {
                println!("SKIPPED: a small disk cannot be mounted here (not root?): {other:?}");
                None
            }
        }
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn remount(&self, mode: &str) {
        let remount = || {
            std::process::Command::new("mount")
                .args(["-o", &format!("remount,{mode}")])
                .arg(self.folder.path())
                .output()
                .unwrap()
        };
        // sled closes its file a moment after it was dropped, and an open one keeps the disk busy.
        let deadline = std::time::Instant::now() + Duration::from_secs(30);
        let mut done = remount();
        while !done.status.success() && std::time::Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(5));
            done = remount();
        }
        assert!(done.status.success(), "{done:?}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount")
            .arg("-l")
            .arg(self.folder.path())
            .status();
    }
}

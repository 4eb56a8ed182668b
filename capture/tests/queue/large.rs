//! Telegrams as large as there are, that do not compress: sled would keep leaves with many of them in files of their
//! own, whose names it never syncs, and where it cannot write one it waits for ever.

use std::fs;
use std::time::Duration;

use capture::queue::merge::MAX_STORED_BYTES;
use capture::queue::{MAX_TELEGRAM_BYTES, Queue, QueueOptions};
use shared::wire::Start;

use crate::support::{Random, arrival, captured_us, open_database, options, read_all, scratch};

/// Blocks just below what is large, and the largest.
const SMALL: usize = 300;
const MEDIUM: usize = MAX_STORED_BYTES - 100;
const LARGE: usize = MAX_TELEGRAM_BYTES;

#[test]
fn no_leaf_becomes_a_file_of_its_own() {
    let mut random = Random(7);
    let any: Vec<usize> = (0..400)
        .map(|_| [SMALL, MEDIUM, MAX_STORED_BYTES + 1, LARGE][random.below(4) as usize])
        .collect();
    let leafwise: Vec<usize> = (0..400)
        .map(|number| if number % 17 == 16 { LARGE } else { MEDIUM })
        .collect();
    for lengths in [vec![LARGE; 100], any, leafwise] {
        let folder = scratch();
        let settings = QueueOptions {
            retention: Some(Duration::from_secs(60)),
            ..options(folder.path())
        };
        let (mut queue, _) = Queue::open(&settings).unwrap();
        queue.register("mqtt", Start::Oldest).unwrap();
        for (number, length) in (1..).zip(&lengths) {
            queue.append(arrival(number), &noise(number, *length)).unwrap();
            if random.below(3) > 0 {
                queue.flush().unwrap();
            }
            // The first half is kept, then all but the last minute goes.
            if number > lengths.len() as u64 / 2 {
                queue.commit("mqtt", queue.head()).unwrap();
            }
            queue.maintain(captured_us(number), number * 1_000_000).unwrap();
            let files = fs::read_dir(settings.path.join("sled/blobs")).unwrap().count();
            assert_eq!(files, 0, "after telegram {number}");
        }
        queue.flush().unwrap();
        queue.close().unwrap();

        let (queue, report) = Queue::open(&settings).unwrap();
        assert_eq!((report.damaged_blocks, report.losses.len()), (0, 0));
        let records = read_all(&mut queue.reader());
        assert!(records.len() > 50 && records.len() < lengths.len() * 3 / 4);
        let large = records
            .iter()
            .filter(|record| record.telegram.len() > MAX_STORED_BYTES);
        let large = large.count();
        for record in records {
            let length = lengths[record.sequence as usize - 1];
            assert!(
                record.telegram == noise(record.sequence, length),
                "telegram {} is another",
                record.sequence
            );
        }
        queue.close().unwrap();

        // What lies beside a large block goes with it.
        let merged = open_database(&settings.path).open_tree("merged").unwrap();
        let beside = merged
            .iter()
            .keys()
            .filter(|key| key.as_ref().unwrap().len() != 8);
        assert_eq!(beside.count(), 2 * large);
    }
}

fn noise(number: u64, length: usize) -> Vec<u8> {
    let mut random = Random(number);
    (0..length).map(|_| random.below(256) as u8).collect()
}

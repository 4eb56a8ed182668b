//! What sled 0.34 does that would bite, each shown, so that a newer version or a changed setting is noticed.
//! The one place beside the queue's store that names sled.

use std::fs;

use capture::queue::Queue;

use crate::support::{arrival, copy_folder, fill, options, scratch, telegram};

#[test]
fn what_was_not_flushed_is_not_in_the_files() {
    let folder = scratch();
    let database = sled::Config::new()
        .path(folder.path())
        .flush_every_ms(None)
        .open()
        .unwrap();
    database.insert(b"flushed", b"1").unwrap();
    database.flush().unwrap();
    database.insert(b"unflushed", b"2").unwrap();
    let copy = scratch();
    copy_folder(folder.path(), copy.path());
    let copied = sled::open(copy.path()).unwrap();
    assert!(copied.get(b"flushed").unwrap().is_some());
    assert!(
        copied.get(b"unflushed").unwrap().is_none(),
        "an insert alone is durable now: flushing may be left out"
    );
}

#[test]
fn the_queue_is_in_the_files_when_flush_returns_and_not_before() {
    let folder = scratch();
    let (mut queue, _) = Queue::open(&options(folder.path())).unwrap();
    fill(&mut queue, 5);
    queue.append(arrival(6), &telegram(6)).unwrap();
    let copy = scratch();
    copy_folder(folder.path(), copy.path());
    let (copied, report) = Queue::open(&options(copy.path())).unwrap();
    assert_eq!((report.records, copied.head()), (5, 5));
}

#[test]
fn generated_ids_have_gaps_and_sequences_have_none() {
    let folder = scratch();
    let mut ids = Vec::new();
    for _ in 0..2 {
        // Dropping one gives its lock back a moment later.
        let started = std::time::Instant::now();
        let database = loop {
            match sled::open(folder.path()) {
                Ok(database) => break database,
                Err(error) => assert!(started.elapsed().as_secs() < 10, "{error}"),
            }
            std::thread::sleep(std::time::Duration::from_millis(10));
        };
        ids.push(database.generate_id().unwrap());
    }
    assert!(ids[1] > ids[0] + 1, "generate_id leaves no gap any more: {ids:?}");

    let folder = scratch();
    for sequence in 1..=5 {
        let (mut queue, _) = Queue::open(&options(folder.path())).unwrap();
        assert_eq!(
            queue.append(arrival(sequence), &telegram(sequence)).unwrap(),
            sequence
        );
        queue.flush().unwrap();
    }
}

#[test]
fn the_cache_and_the_flusher_are_set() {
    // The defaults are a gigabyte and a flush by itself every half second.
    let source = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/src/queue/store.rs")).unwrap();
    let code: String = source.split_whitespace().collect();
    assert!(code.contains(".cache_capacity(CACHE_BYTES)"));
    assert!(code.contains("constCACHE_BYTES:u64=1024*1024;"));
    assert!(code.contains(".flush_every_ms(None)"));
}

#[test]
fn sled_is_named_in_the_store_alone() {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/src");
    let mut folders = vec![std::path::PathBuf::from(root)];
    let mut named = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap().flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else if fs::read_to_string(&path).unwrap().contains("sled::") {
                named.push(path.strip_prefix(root).unwrap().to_owned());
            }
        }
    }
    named.sort();
    assert_eq!(
        named,
        ["queue/store/ballast.rs", "queue/store.rs"].map(std::path::PathBuf::from)
    );
}

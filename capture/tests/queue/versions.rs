//! A folder that a later version of this program has written is refused in words and left as it was; a byte
//! gone bad where the version stands is damage like any other, and no reason to stand still.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use capture::failure::Failure;
use capture::queue::{OpenError, Queue, block};
use shared::exit::Exit;
use shared::wire::Start;

use crate::support::{fill, open_database, options, read_all, scratch};

/// Where the mark's slots are; its version's byte is the fourth of each.
const SLOTS: [usize; 2] = [0, 4096];
/// More than wait in the journal.
const TELEGRAMS: u64 = 100;

#[test]
fn a_folder_of_a_later_version_is_refused_by_name_and_left_as_it_was() {
    for later in [&SLOTS[..], &SLOTS[..1], &SLOTS[1..]] {
        let folder = a_queue();
        let mark = folder.path().join("mark");
        let mut bytes = fs::read(&mark).unwrap();
        for &slot in later {
            seal_as(&mut bytes[slot..], 2);
        }
        fs::write(&mark, bytes).unwrap();
        // What a later version may well do to the rest: to this one it is no database at all.
        fs::write(folder.path().join("sled/db"), "something new").unwrap();
        let before = contents(folder.path());

        let error = Queue::open(&options(folder.path())).err().expect("it opened");
        assert!(
            matches!(error, OpenError::Later { found: 2, .. }),
            "{later:?}: {error}"
        );
        let failure = Failure::from(error);
        assert_eq!(failure.exit, Exit::Storage);
        for word in [
            &*folder.path().display().to_string(),
            "newer version",
            "format is 2",
        ] {
            assert!(failure.words.contains(word), "{failure}");
        }
        assert_eq!(
            contents(folder.path()),
            before,
            "{later:?}: the folder was changed"
        );
    }
}

#[test]
fn a_versions_byte_gone_bad_is_not_taken_for_a_later_version() {
    for bad in [&SLOTS[..], &SLOTS[..1], &SLOTS[1..]] {
        let folder = a_queue();
        let mark = folder.path().join("mark");
        let mut bytes = fs::read(&mark).unwrap();
        for slot in bad {
            bytes[slot + 3] ^= 0x82;
        }
        fs::write(&mark, bytes).unwrap();
        let (queue, report) = Queue::open(&options(folder.path())).unwrap();
        assert_eq!(report.moved_aside, None, "{bad:?}");
        assert_eq!(read_all(&mut queue.reader()).len() as u64, TELEGRAMS, "{bad:?}");
        assert_eq!(queue.consumers().get("mqtt"), Some(&20), "{bad:?}");
    }
}

#[test]
fn blocks_of_a_later_version_are_refused_and_kept_where_the_mark_is_lost() {
    let folder = a_queue();
    let mut later = Vec::new();
    with_block(folder.path(), |block| {
        seal_block_as(block, 2);
        later = block.to_vec();
    });
    fs::remove_file(folder.path().join("mark")).unwrap();
    for _ in 0..2 {
        let error = Queue::open(&options(folder.path())).err().expect("it opened");
        assert!(matches!(error, OpenError::Storage(_)), "{error}");
        let failure = Failure::from(error);
        assert_eq!(failure.exit, Exit::Storage);
        assert!(failure.words.contains("newer version of capture"), "{failure}");
        let names: Vec<String> = contents(folder.path())
            .into_keys()
            .map(|path| path.display().to_string())
            .collect();
        assert!(
            !names.iter().any(|name| name.starts_with("damaged-")),
            "moved aside: {names:?}"
        );
        with_block(folder.path(), |block| assert_eq!(block, later));
    }
    // Nothing stands in its way once the later version has gone back.
    with_block(folder.path(), |block| seal_block_as(block, 1));
    let (queue, _) = Queue::open(&options(folder.path())).unwrap();
    assert_eq!(read_all(&mut queue.reader()).len() as u64, TELEGRAMS);
}

#[test]
fn a_journal_of_a_later_version_is_refused_and_kept() {
    let folder = a_queue();
    let journal = folder.path().join("sled/journal");
    let mut bytes = fs::read(&journal).unwrap();
    let at = bytes
        .windows(4)
        .position(|window| *window == block::MAGIC)
        .unwrap();
    let length = block::verify(&bytes[at..]).unwrap().block_bytes();
    seal_block_as(&mut bytes[at..at + length], 2);
    fs::write(&journal, &bytes).unwrap();
    fs::remove_file(folder.path().join("mark")).unwrap();
    let failure = Failure::from(Queue::open(&options(folder.path())).err().expect("it opened"));
    assert!(failure.words.contains("newer version of capture"), "{failure}");
    assert_eq!(fs::read(&journal).unwrap(), bytes);
}

/// A queue of telegrams, most of them in sled and some in the journal, with a consumer at the twentieth, closed.
fn a_queue() -> tempfile::TempDir {
    let folder = scratch();
    let (mut queue, _) = Queue::open(&options(folder.path())).unwrap();
    queue.register("mqtt", Start::Oldest).unwrap();
    fill(&mut queue, TELEGRAMS);
    queue.commit("mqtt", 20).unwrap();
    queue.close().unwrap();
    folder
}

/// Makes a slot of the mark one of another version, as its documentation says.
fn seal_as(slot: &mut [u8], version: u8) {
    assert_eq!(slot[..4], *b"P1M\x01", "no slot of the mark's");
    let length = u32::from_le_bytes(slot[4..8].try_into().unwrap()) as usize;
    slot[3] = version;
    let checksum = crc32fast::hash(&[&[version], &slot[12..12 + length]].concat());
    slot[8..12].copy_from_slice(&checksum.to_le_bytes());
}

/// Makes a block one of another version, as its documentation says.
fn seal_block_as(block: &mut [u8], version: u8) {
    block[4] = version;
    let checksum = crc32fast::hash(&[&block[..52], &block[block::HEADER_BYTES..]].concat());
    block[52..56].copy_from_slice(&checksum.to_le_bytes());
}

/// Lets the first block that there is be looked at and changed, through sled alone.
fn with_block(folder: &Path, change: impl FnOnce(&mut [u8])) {
    let database = open_database(folder);
    let tree = ["merged", "grouped", "recent"]
        .map(|name| database.open_tree(name).unwrap())
        .into_iter()
        .find(|tree| !tree.is_empty())
        .expect("a tree with a block in it");
    let (key, value) = tree.first().unwrap().unwrap();
    let mut block = value.to_vec();
    change(&mut block);
    tree.insert(key, block).unwrap();
    database.flush().unwrap();
}

/// Every file of a folder, and what is in it.
fn contents(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let name = path.strip_prefix(folder).unwrap().to_owned();
                found.insert(name, fs::read(&path).unwrap());
            }
        }
    }
    found
}

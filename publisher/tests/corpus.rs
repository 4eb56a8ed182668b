//! Real telegrams of every dialect, which this repository does not hold: `P1_CORPUS` names their folder, by
//! default `../shared/telegrams` beside the repository. Where there is none these tests say so and end.
//!
//! Two oracles, neither of which asks the program: a table of values read off the telegrams by a person
//! (`corpus/expected.txt`), and a small second reader of its own (`corpus/second_reader.rs`) that says for
//! every object of every telegram where it must be found. Both look at the corpus twice: as it is, and with each CR LF
//! lost and restored (`corpus/line_ends.rs`).
//!
//! Beside the corpus stand reports of other readers' users, one input each (`corpus/reports.rs`).

#![expect(
    clippy::expect_used,
    reason = "a test ends where it meets what it cannot go on with"
)]

#[path = "corpus/expected.rs"]
mod expected;
#[path = "corpus/line_ends.rs"]
mod line_ends;
#[path = "corpus/reports.rs"]
mod reports;
#[path = "corpus/second_reader.rs"]
mod second_reader;

use std::path::{Path, PathBuf};

use publisher::decrypt::Keys;
use publisher::parse;
use serde_json::Value;
use shared::config::CrcPolicy;
use shared::telegram::assembler::{Found, find_all};

fn corpus() -> Option<PathBuf> {
    folder("P1_CORPUS", "telegrams", "real telegrams")
}

/// The folder that this variable names, by default this one beside the repository.
fn folder(variable: &str, name: &str, what: &str) -> Option<PathBuf> {
    let shared = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared");
    let folder = std::env::var_os(variable).map_or_else(|| shared.join(name), PathBuf::from);
    if folder.is_dir() {
        return Some(folder);
    }
    println!("skipped: there is no folder {} of {what}", folder.display());
    None
}

/// The readings of a file, and the lines about what is not valid in it, each without the file's name.
fn parsed(file: &Path) -> (Vec<Value>, Vec<String>) {
    let (mut readings, mut problems) = (Vec::new(), Vec::new());
    // The key of the one encrypted file.
    let settings = parse::Settings {
        crc: CrcPolicy::Auto,
        keys: Some(Keys::new([0xAA; 16])),
    };
    let no_stdin = &mut std::io::empty();
    parse::run(
        &[file.to_owned()],
        &settings,
        no_stdin,
        &mut readings,
        &mut problems,
    )
    .expect("memory");
    let name = format!("{}: ", file.display());
    let problems = String::from_utf8(problems).expect("UTF-8");
    let problems = problems
        .lines()
        .map(|line| line.strip_prefix(&name).expect("the file's name").to_owned());
    (
        serde_json::from_slice(&readings).expect("a JSON array"),
        problems.collect(),
    )
}

/// Asserts of each reading what the table says of its telegram.
fn must_say(file: &expected::File<'_>, readings: &[Value]) {
    assert_eq!(readings.len(), file.telegrams.len(), "{}: telegrams", file.name);
    for (reading, values) in readings.iter().zip(&file.telegrams) {
        for (pointer, expected) in values {
            let found = reading.pointer(&format!("/{pointer}")).map(Value::to_string);
            assert_eq!(found.as_deref(), expected.as_deref(), "{}: {pointer}", file.name);
        }
    }
}

/// Asserts of each object of these telegrams that its reading says it; how many there are.
fn must_say_every_object(name: &str, telegrams: &[Vec<u8>], readings: &[Value]) -> usize {
    let mut objects = 0;
    for (telegram, reading) in telegrams.iter().zip(readings) {
        for object in second_reader::objects(telegram) {
            objects += 1;
            if let Err(missing) = second_reader::is_said(&object, reading) {
                panic!("{name}: {object:?}: {missing} in {reading}");
            }
        }
    }
    objects
}

/// The telegrams in these bytes, but for encrypted ones.
fn telegrams(bytes: &[u8], crc: CrcPolicy) -> Vec<Vec<u8>> {
    let found = find_all(bytes, crc).into_iter();
    let telegrams = found.filter_map(|found| match found {
        Found::Telegram(telegram) if telegram.bytes.starts_with(b"/") => Some(telegram.bytes),
        _ => None,
    });
    telegrams.collect()
}

#[test]
fn every_file_says_what_a_person_reads_in_it() {
    let Some(corpus) = corpus() else { return };
    let files = expected::files();
    for file in &files {
        let (readings, problems) = parsed(&corpus.join(file.name));
        assert_eq!(problems, file.problems(), "{}: what is rejected", file.name);
        must_say(file, &readings);
    }
    let mut there: Vec<String> = std::fs::read_dir(&corpus)
        .expect("the folder")
        .map(|entry| {
            entry
                .expect("an entry")
                .file_name()
                .to_string_lossy()
                .into_owned()
        })
        .filter(|name| name != "INDEX.tsv")
        .collect();
    there.sort();
    let mut stated: Vec<&str> = files.iter().map(|file| file.name).collect();
    stated.sort_unstable();
    assert_eq!(there, stated, "every file of the corpus is in the table");
}

#[test]
fn every_object_of_every_telegram_is_where_it_must_be() {
    let Some(corpus) = corpus() else { return };
    let mut objects = 0;
    for file in expected::files() {
        let path = corpus.join(file.name);
        let bytes = std::fs::read(&path).expect("the file");
        let (readings, _) = parsed(&path);
        objects += must_say_every_object(file.name, &telegrams(&bytes, CrcPolicy::Auto), &readings);
    }
    assert!(
        objects > 18_000,
        "{objects} objects are fewer than the corpus holds"
    );
}

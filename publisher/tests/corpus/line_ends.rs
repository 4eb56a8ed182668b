//! Files of telegrams lose their CRs on the way: in a mail, in a repository, in a terminal's log. What is left is
//! telegrams of lines that end with LF. Their CRC counted the CRs, so it holds again when each is restored, and not
//! before; what the telegrams say is the same with and without.

use std::path::Path;

use publisher::reading;
use shared::config::CrcPolicy;
use shared::dsmr;

use super::{corpus, expected, must_say, must_say_every_object, parsed, telegrams};

/// Files that came without CRs, and how many telegrams are whole once these are restored.
const CAME_WITHOUT: [(&str, usize); 3] = [
    ("dsmr5__t211.txt", 1),
    ("mthmulders__input1_0.txt", 1),
    ("nielsbasjes__CAPTURE_ttyUSB0-mini.txt", 2),
];

/// Each CR LF as LF.
fn lost(bytes: &[u8]) -> Vec<u8> {
    let mut without = Vec::with_capacity(bytes.len());
    for (at, byte) in bytes.iter().enumerate() {
        if *byte != b'\r' || bytes.get(at + 1) != Some(&b'\n') {
            without.push(*byte);
        }
    }
    without
}

/// Each LF as CR LF.
fn restored(bytes: &[u8]) -> Vec<u8> {
    let lines = bytes.split_inclusive(|byte| *byte == b'\n');
    lines
        .flat_map(|line| match line.strip_suffix(b"\n") {
            Some(line) => [line, b"\r\n"],
            None => [line, b""],
        })
        .flatten()
        .copied()
        .collect()
}

/// What is published of a telegram.
fn json(telegram: &[u8]) -> String {
    let mut out = Vec::new();
    reading::write(&mut out, &dsmr::parse(telegram), None);
    String::from_utf8(out).expect("UTF-8")
}

/// Calls `look` with every readable file of the corpus and its bytes.
fn each_file(look: &mut dyn FnMut(&expected::File<'_>, &Path, Vec<u8>)) {
    let Some(corpus) = corpus() else { return };
    for file in expected::files() {
        let path = corpus.join(file.name);
        if !file.name.ends_with(".bin") {
            let bytes = std::fs::read(&path).expect("the file");
            look(&file, &path, bytes);
        }
    }
}

#[test]
fn a_file_whose_line_ends_were_lost_and_restored_says_the_same() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut objects = 0;
    each_file(&mut |file, _, bytes| {
        let bytes = restored(&lost(&bytes));
        let path = folder.path().join(file.name);
        std::fs::write(&path, &bytes).expect("a file");
        let (readings, _) = parsed(&path);
        objects += must_say_every_object(file.name, &telegrams(&bytes, CrcPolicy::Auto), &readings);
        match CAME_WITHOUT.iter().find(|(name, _)| *name == file.name) {
            Some((name, whole)) => assert_eq!(readings.len(), *whole, "{name}: its CRCs hold again"),
            None => must_say(file, &readings),
        }
    });
    assert!(objects == 0 || objects > 18_000, "{objects} objects are too few");
}

#[test]
fn a_telegram_without_its_crs_says_the_same_and_is_valid_only_without_a_crc() {
    let mut looked_at = 0;
    each_file(&mut |file, _, bytes| {
        let whole = telegrams(&bytes, CrcPolicy::Auto);
        let cut = telegrams(&lost(&bytes), CrcPolicy::Off);
        for telegram in &whole {
            let without = lost(telegram);
            assert_eq!(json(&without), json(telegram), "{}", file.name);
            // Some files' last line ends with LF only.
            assert_eq!(
                restored(&without).trim_ascii_end(),
                telegram.trim_ascii_end(),
                "{}",
                file.name
            );
            assert!(cut.contains(&without), "{}: {}", file.name, json(telegram));
            let has_crc = !telegram.trim_ascii_end().ends_with(b"!");
            let is_valid = !telegrams(&without, CrcPolicy::Auto).is_empty();
            assert_eq!(is_valid, !has_crc, "{}: {}", file.name, json(telegram));
            looked_at += 1;
        }
    });
    assert!(
        looked_at == 0 || looked_at > 600,
        "{looked_at} telegrams are too few"
    );
}

//! Real telegrams, which this repository does not hold: `P1_CORPUS` names their folder, by default
//! `../shared/telegrams` beside the repository. Where there is none these tests say so and end.

use std::fs;
use std::path::{Path, PathBuf};

use tests::folder::Folder;
use tests::household::crc;
use tests::programs::run_capture;

fn corpus() -> Option<PathBuf> {
    let folder = std::env::var_os("P1_CORPUS").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/telegrams"),
        PathBuf::from,
    );
    if folder.is_dir() {
        return Some(folder);
    }
    println!(
        "skipped: there is no folder {} of real telegrams",
        folder.display()
    );
    None
}

/// Exports what capture has accepted of a file.
fn accepted(folder: &Folder, file: &Path, queue: &str) -> Vec<u8> {
    let port = format!("file:{}", file.display());
    let places = ["--queue", queue, "--socket", "queue.sock"];
    run_capture(
        folder.path(),
        &[&["--usb", &port, "--once"], &places[..]].concat(),
    )
    .done();
    run_capture(folder.path(), &[&["export"], &places[..]].concat())
        .done()
        .output
}

/// The telegrams with a valid CRC-16/ARC, found by looking at every `/` at a line's start: slow and plain.
fn valid_telegrams(bytes: &[u8]) -> Vec<&[u8]> {
    let mut telegrams = Vec::new();
    let mut from = 0;
    while let Some(start) =
        (from..bytes.len()).find(|at| bytes[*at] == b'/' && (*at == 0 || bytes[*at - 1] == b'\n'))
    {
        from = start + 1;
        let Some(length) = bytes[start..]
            .windows(3)
            .position(|end| end == b"\r\n!" || end[..2] == *b"\n!")
        else {
            continue;
        };
        let mark = start
            + length
            + bytes[start + length..]
                .iter()
                .position(|byte| *byte == b'!')
                .unwrap_or(0);
        let digits = bytes
            .get(mark + 1..mark + 5)
            .and_then(|digits| std::str::from_utf8(digits).ok());
        let given = digits.and_then(|digits| u16::from_str_radix(digits, 16).ok());
        if given == Some(crc::arc(&bytes[start..=mark])) && bytes.get(mark + 5..mark + 7) == Some(b"\r\n") {
            telegrams.push(&bytes[start..mark + 7]);
            from = mark + 7;
        }
    }
    telegrams
}

#[test]
fn all_566_telegrams_of_the_long_capture_pass_byte_for_byte() {
    let Some(corpus) = corpus() else { return };
    let folder = Folder::new();
    let file = corpus.join("nielsbasjes__CAPTURE_ttyUSB0-raw.txt");
    let bytes = fs::read(&file).unwrap();
    let telegrams = valid_telegrams(&bytes);
    assert_eq!(telegrams.len(), 566);
    assert!(accepted(&folder, &file, "queue") == telegrams.concat());
}

#[test]
fn every_telegram_with_a_valid_crc_passes_byte_for_byte() {
    let Some(corpus) = corpus() else { return };
    let folder = Folder::new();
    let mut count = 0;
    for entry in fs::read_dir(&corpus).unwrap() {
        let file = entry.unwrap().path();
        if file.extension().is_none_or(|extension| extension != "txt") {
            continue;
        }
        let bytes = fs::read(&file).unwrap();
        let telegrams = valid_telegrams(&bytes);
        if telegrams.is_empty() || telegrams.len() > 10 {
            // None to keep, or the long capture, which has a test of its own.
            continue;
        }
        let name = file.file_name().unwrap().to_string_lossy().into_owned();
        let kept = accepted(&folder, &file, &format!("queue-{name}"));
        for telegram in telegrams {
            count += 1;
            assert!(
                kept.windows(telegram.len()).any(|window| window == telegram),
                "{name}: kept of it:\n{}",
                String::from_utf8_lossy(&kept)
            );
        }
    }
    assert!(
        count > 30,
        "{count} telegrams with a valid CRC in {}",
        corpus.display()
    );
}

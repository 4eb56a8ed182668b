//! Import as a whole: what goes in comes out again, and nothing goes in twice.

use std::fs;
use std::path::PathBuf;

use shared::config::Config;
use shared::record::Record;
use shared::telegram::crc16;
use shared::wire::Digest;

use super::chain::digest_of;
use super::part::take;
use super::taken::{Part, Taken};
use super::*;
use crate::export::{Format, Range, export};

/// A queue folder and files beside it.
struct Bench {
    folder: tempfile::TempDir,
    config: Config,
}

impl Bench {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut config = Config::default();
        config.queue.path = folder.path().join("queue");
        config.queue.socket = folder.path().join("queue.sock");
        Self { folder, config }
    }

    fn file(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.folder.path().join(name);
        fs::write(&path, bytes).unwrap();
        path
    }

    /// What import prints of this file.
    fn import(&self, path: &Path) -> String {
        let mut output = Vec::new();
        import(&self.config, &[path.to_owned()], false, &mut output).unwrap();
        let text = String::from_utf8(output).unwrap();
        text.strip_prefix(&format!("{}: ", path.display()))
            .unwrap()
            .trim_end()
            .to_owned()
    }

    fn export(&self, format: Format) -> Vec<u8> {
        let mut output = Vec::new();
        export(&self.config, Range::default(), format, &mut output).unwrap();
        output
    }

    fn records(&self) -> Vec<Record> {
        let (queue, _) = run::open_queue(&self.config).unwrap();
        let mut reader = queue.reader();
        let mut records = Vec::new();
        loop {
            let batch = reader.read(records.len() as u64 + 1, 1_000_000).unwrap().records;
            if batch.is_empty() {
                return records;
            }
            records.extend(batch);
        }
    }
}

/// A telegram with a CRC, sent at second `second` of 20 March 2019, 18:14 in winter time.
fn telegram(second: u32) -> Vec<u8> {
    let mut telegram = format!(
        "/ISK5\\2M550T-1012\r\n\r\n0-0:1.0.0(1903201814{second:02}W)\r\n1-0:1.8.1(00{second:04}.000*kWh)\r\n!"
    )
    .into_bytes();
    let crc = crc16::ARC.of(&telegram);
    telegram.extend_from_slice(format!("{crc:04X}\r\n").as_bytes());
    telegram
}

fn telegrams(seconds: std::ops::Range<u32>) -> Vec<u8> {
    seconds.flat_map(telegram).collect()
}

#[test]
fn a_raw_capture_comes_out_as_it_went_in_dated_by_its_telegrams() {
    let bench = Bench::new();
    let raw = telegrams(0..10);
    assert_eq!(bench.import(&bench.file("a.txt", &raw)), "10 telegrams taken");
    assert_eq!(bench.export(Format::Raw), raw);
    let records = bench.records();
    let start_us = "2019-03-20T17:14:00Z"
        .parse::<jiff::Timestamp>()
        .unwrap()
        .as_microsecond();
    for (number, record) in records.iter().enumerate() {
        assert_eq!(record.captured_at_us, start_us + 1_000_000 * number as i64);
        assert_eq!(record.silence_ms, if number == 0 { 30_001 } else { 1000 });
    }
}

#[test]
fn the_same_file_is_not_taken_twice_under_whatever_name() {
    let bench = Bench::new();
    let raw = telegrams(0..10);
    bench.import(&bench.file("a.txt", &raw));
    assert_eq!(
        bench.import(&bench.file("a.txt", &raw)),
        "0 telegrams taken, 10 taken before"
    );
    assert_eq!(
        bench.import(&bench.file("b.txt", &raw)),
        "0 telegrams taken, 10 taken before"
    );
    assert_eq!(bench.records().len(), 10);
}

#[test]
fn what_the_queue_holds_is_not_taken_from_a_file_of_another_form() {
    let (source, raw) = (Bench::new(), telegrams(0..40));
    source.import(&source.file("a.txt", &raw));
    let (raw, lines) = (source.export(Format::Raw), source.export(Format::Jsonl));
    let line_ends = [b"\r\n".as_slice(), &raw, b"\r\n\r\n"].concat();
    // From the fourth second to the sixtieth: it begins in the middle of what is known, and goes on after it.
    let overlapping = telegrams(4..59);
    let forms: [(&str, &[u8]); 4] = [
        ("raw.txt", &raw),
        ("lines.jsonl", &lines),
        ("ends.txt", &line_ends),
        ("overlapping.txt", &overlapping),
    ];
    for (first_name, first) in forms {
        let bench = Bench::new();
        bench.import(&bench.file(first_name, first));
        for (name, bytes) in forms {
            bench.import(&bench.file(name, bytes));
        }
        let mut held: Vec<Vec<u8>> = bench
            .records()
            .iter()
            .map(|record| record.telegram.to_vec())
            .collect();
        held.sort();
        assert_eq!(
            held,
            (0..59).map(telegram).collect::<Vec<_>>(),
            "{first_name} first"
        );
    }
}

#[test]
fn telegrams_that_are_equal_and_were_captured_at_different_times_are_all_taken() {
    let timeless = b"/KMP5 KA6U001585575011\r\n\r\n1-0:1.7.0(0000.20*kW)\r\n!\r\n";
    let line = |at_us: i64| {
        let line = crate::export::Line {
            sequence: None,
            captured_at: jiff::Timestamp::from_microsecond(at_us).unwrap(),
            silence_ms: None,
            telegram: timeless.iter().map(|&byte| char::from(byte)).collect(),
        };
        serde_json::to_string(&line).unwrap() + "\n"
    };
    let bench = Bench::new();
    let (first, second) = (
        line(1_000_000) + &line(11_000_000),
        line(11_000_000) + &line(21_000_000),
    );
    assert_eq!(
        bench.import(&bench.file("a.jsonl", first.as_bytes())),
        "2 telegrams taken"
    );
    assert_eq!(
        bench.import(&bench.file("b.jsonl", second.as_bytes())),
        "1 telegram taken, 1 taken before"
    );
    let times: Vec<i64> = bench
        .records()
        .iter()
        .map(|record| record.captured_at_us)
        .collect();
    assert_eq!(times, [1_000_000, 11_000_000, 21_000_000]);
}

#[test]
fn of_a_file_that_has_grown_the_new_part_is_taken_and_the_old_file_is_still_known() {
    let bench = Bench::new();
    bench.import(&bench.file("a.txt", &telegrams(0..10)));
    let grown = bench.import(&bench.file("a.txt", &telegrams(0..15)));
    assert_eq!(grown, "5 telegrams taken, 10 taken before");
    assert_eq!(bench.export(Format::Raw), telegrams(0..15));
    assert_eq!(
        bench.records()[10].silence_ms,
        1000,
        "the silence goes on across the border"
    );
    assert_eq!(
        bench.import(&bench.file("old.txt", &telegrams(0..10))),
        "0 telegrams taken, 10 taken before"
    );
}

#[test]
fn a_large_file_goes_in_parts_and_is_known_as_a_whole() {
    let bench = Bench::new();
    let raw: Vec<u8> = (0..30).flat_map(|_| telegrams(0..59)).collect();
    assert_eq!(bench.import(&bench.file("a.txt", &raw)), "1,770 telegrams taken");
    assert_eq!(
        bench.import(&bench.file("a.txt", &raw)),
        "0 telegrams taken, 1,770 taken before"
    );
    assert_eq!(bench.export(Format::Raw), raw);
}

#[test]
fn an_import_that_was_interrupted_goes_on_where_it_was() {
    let bench = Bench::new();
    let raw: Vec<u8> = (0..30).flat_map(|_| telegrams(0..59)).collect();
    let path = bench.file("a.txt", &raw);
    // The first part alone, as an import does that is killed then.
    let mut chain = Chain::default();
    let mut target = Target::open(&bench.config, false).unwrap();
    let mut part = Append {
        source: "a.txt".into(),
        offset: 0,
        before: chain.digest,
        after: chain.digest,
        telegrams: Vec::new(),
    };
    for second in 0..50 {
        chain.push(None, &telegram(second));
        part.telegrams.push(Imported {
            captured_at_us: 0,
            silence_ms: 0,
            telegram: telegram(second),
        });
    }
    part.after = chain.digest;
    let mut summary = Summary::default();
    target.append(&mut part, &mut summary).unwrap();
    assert_eq!(summary.taken, 50);
    drop(target);
    assert_eq!(bench.import(&path), "1,720 telegrams taken, 50 taken before");
    assert_eq!(bench.export(Format::Raw), raw);
}

#[test]
fn a_crash_between_the_queue_and_the_note_is_settled_by_what_the_queue_holds() {
    for is_durable in [false, true] {
        let bench = Bench::new();
        let (mut queue, _) = run::open_queue(&bench.config).unwrap();
        let imports = run::imports_file(&bench.config);
        let mut taken = Taken::open(&imports, &mut queue.reader()).unwrap();
        let first = telegram(1);
        let part = Part {
            import: 1,
            source: "a",
            offset: 0,
            before: Digest::default(),
            count: 1,
            after: [7; 16],
        };
        taken.begin(&part, queue.head(), &first).unwrap();
        if is_durable {
            queue
                .append_imported(&Imported {
                    captured_at_us: 0,
                    silence_ms: 0,
                    telegram: first.clone(),
                })
                .unwrap();
            queue.flush().unwrap();
        } else {
            // The sequence that the part would have had is another telegram's.
            queue
                .append_imported(&Imported {
                    captured_at_us: 0,
                    silence_ms: 0,
                    telegram: telegram(2),
                })
                .unwrap();
            queue.flush().unwrap();
        }
        drop(taken);
        let taken = Taken::open(&imports, &mut queue.reader()).unwrap();
        assert_eq!(
            taken.files().len(),
            usize::from(is_durable),
            "durable: {is_durable}"
        );
        assert!(!taken.is_unsettled());
    }
}

#[test]
fn an_export_comes_in_again_with_its_times_silences_and_bytes() {
    let bench = Bench::new();
    let mut queue = run::open_queue(&bench.config).unwrap().0;
    let mut odd = b"/KFM5\x02\xABKAIFA\r\n\r\n!".to_vec();
    let crc = crc16::ARC.of(&odd);
    odd.extend_from_slice(format!("{crc:04X}\r\n").as_bytes());
    let all = [
        Imported {
            captured_at_us: 1_700_000_000_123_456,
            silence_ms: 0,
            telegram: telegram(1),
        },
        // A clock that was set back, and bytes that are no text.
        Imported {
            captured_at_us: 1_600_000_000_000_001,
            silence_ms: 10_007,
            telegram: odd,
        },
        Imported {
            captured_at_us: -1,
            silence_ms: 30_001,
            telegram: telegram(3),
        },
    ];
    for imported in &all {
        queue.append_imported(imported).unwrap();
    }
    queue.close().unwrap();
    let lines = bench.export(Format::Jsonl);
    assert_eq!(lines.iter().filter(|byte| **byte == b'\n').count(), 3);

    let other = Bench::new();
    assert_eq!(other.import(&other.file("a.jsonl", &lines)), "3 telegrams taken");
    let back: Vec<Imported> = other
        .records()
        .into_iter()
        .map(|record| Imported {
            captured_at_us: record.captured_at_us,
            silence_ms: record.silence_ms,
            telegram: record.telegram.into(),
        })
        .collect();
    assert_eq!(back, all);
    assert_eq!(other.export(Format::Jsonl), lines);
}

#[test]
fn a_line_needs_no_more_than_a_time_and_a_telegram() {
    let bench = Bench::new();
    let text = String::from_utf8(telegram(5)).unwrap().replace('\\', "\\\\");
    let text = text.replace("\r\n", "\\r\\n");
    let line = format!("\n{{\"captured_at\":\"2026-11-20T09:00:00+01:00\",\"telegram\":\"{text}\"}}\n\n");
    assert_eq!(
        bench.import(&bench.file("a.jsonl", line.as_bytes())),
        "1 telegram taken"
    );
    let record = &bench.records()[0];
    assert_eq!(record.telegram, telegram(5));
    assert_eq!(
        jiff::Timestamp::from_microsecond(record.captured_at_us)
            .unwrap()
            .to_string(),
        "2026-11-20T08:00:00Z"
    );
}

#[test]
fn what_is_not_valid_is_counted_and_left_out() {
    let bench = Bench::new();
    let mut raw = b"noise before\r\n".to_vec();
    raw.extend(telegram(1));
    let mut flipped = telegram(2);
    flipped[40] ^= 1;
    raw.extend(&flipped);
    raw.extend(telegram(3));
    assert_eq!(
        bench.import(&bench.file("a.txt", &raw)),
        "2 telegrams taken, 2 stretches rejected"
    );
    assert_eq!(bench.export(Format::Raw), [telegram(1), telegram(3)].concat());

    let bench = Bench::new();
    let mut lines = Vec::new();
    for telegram in [telegram(1), flipped] {
        let line = crate::export::Line {
            sequence: None,
            captured_at: jiff::Timestamp::UNIX_EPOCH,
            silence_ms: None,
            telegram: telegram.iter().map(|&byte| char::from(byte)).collect(),
        };
        lines.extend(serde_json::to_vec(&line).unwrap());
        lines.push(b'\n');
    }
    lines.extend_from_slice("{\"captured_at\":\"yesterday\",\"telegram\":\"\"}\n{\n".as_bytes());
    lines.extend_from_slice(
        "{\"captured_at\":\"2026-11-20T09:00:00Z\",\"telegram\":\"/\u{2019}\"}".as_bytes(),
    );
    assert_eq!(
        bench.import(&bench.file("a.jsonl", &lines)),
        "1 telegram taken, 4 stretches rejected"
    );
}

#[test]
fn a_file_without_a_telegram_is_an_input_that_failed() {
    let bench = Bench::new();
    let other = bench.file("index.tsv", b"file\tsource\nno telegram at all\n");
    let good = bench.file("a.txt", &telegrams(0..3));
    let failure = import(&bench.config, &[other, good], false, &mut Vec::new()).unwrap_err();
    assert_eq!(failure.exit, Exit::Failed);
    assert!(failure.words.contains("index.tsv"), "{failure}");
    assert_eq!(bench.records().len(), 3, "the other file is taken all the same");
}

#[test]
fn a_file_that_is_missing_is_named_before_anything_is_made() {
    let bench = Bench::new();
    let missing = bench.folder.path().join("missing.txt");
    let good = bench.file("a.txt", &telegrams(0..3));
    let failure = import(&bench.config, &[good, missing.clone()], false, &mut Vec::new()).unwrap_err();
    assert_eq!(failure.exit, Exit::Failed);
    assert!(
        failure.words.contains(&missing.display().to_string()),
        "{failure}"
    );
    assert!(!bench.config.queue.path.exists());
}

#[test]
fn append_without_a_running_capture_says_so() {
    let bench = Bench::new();
    let file = bench.file("a.txt", &telegrams(0..3));
    let failure = import(&bench.config, &[file], true, &mut Vec::new()).unwrap_err();
    assert_eq!(failure.exit, Exit::TryAgain);
    assert!(
        failure.words.contains("--append needs a running capture"),
        "{failure}"
    );
}

#[test]
fn a_damaged_folder_gives_back_what_the_queue_does_not_hold() {
    let bench = Bench::new();
    bench.import(&bench.file("a.txt", &telegrams(0..20)));
    // The database goes; a copy of it stays as if it had been moved aside.
    let lost = bench.folder.path().join("damaged");
    fs::rename(bench.config.queue.path.join("sled"), &lost).unwrap();
    let (queue, _) = run::open_queue(&bench.config).unwrap();
    assert!(
        queue.reader().read(1, 100).unwrap().records.is_empty(),
        "nothing is left"
    );
    drop(queue);
    let run = || {
        let mut output = Vec::new();
        damaged(&bench.config, &lost, false, &mut output).unwrap();
        String::from_utf8(output).unwrap()
    };
    let first = run();
    assert!(
        first.contains("20 whole telegrams found") && first.contains("20 telegrams taken"),
        "{first}"
    );
    let second = run();
    assert!(second.contains("0 telegrams taken, 20 taken before"), "{second}");
    assert_eq!(bench.export(Format::Raw), telegrams(0..20));
}

#[test]
fn what_the_queue_still_holds_is_not_brought_back_twice() {
    let bench = Bench::new();
    bench.import(&bench.file("a.txt", &telegrams(0..20)));
    let copy = bench.folder.path().join("copy");
    fs::create_dir(&copy).unwrap();
    for file in ["db", "journal"] {
        fs::copy(bench.config.queue.path.join("sled").join(file), copy.join(file)).unwrap();
    }
    let mut output = Vec::new();
    damaged(&bench.config, &copy, false, &mut output).unwrap();
    let text = String::from_utf8(output).unwrap();
    assert!(
        text.contains("20 of them are in the queue as they were") && text.contains("0 telegrams taken"),
        "{text}"
    );
    assert_eq!(bench.records().len(), 20);
}

#[test]
fn a_part_that_failed_half_way_is_found_out() {
    let bench = Bench::new();
    let (mut queue, _) = run::open_queue(&bench.config).unwrap();
    let mut taken = Taken::open(&run::imports_file(&bench.config), &mut queue.reader()).unwrap();
    let too_large = Append {
        source: "a".into(),
        offset: 0,
        before: Digest::default(),
        after: digest_of(b"x"),
        telegrams: vec![
            Imported {
                captured_at_us: 0,
                silence_ms: 0,
                telegram: telegram(1),
            },
            Imported {
                captured_at_us: 0,
                silence_ms: 0,
                telegram: vec![b'/'; 100_000],
            },
        ],
    };
    let mut import = Import::new(1, &queue);
    let error = take(&mut queue, &mut taken, &mut import, &too_large).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("100000 bytes exceeds the limit of 16384"),
        "{error}"
    );
    queue.flush().unwrap();
    assert_eq!((queue.head(), taken.files().len()), (0, 0), "none of it");
}

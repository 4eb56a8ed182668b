//! Every dialect of the household through the real programs.

use std::collections::BTreeMap;

use serde_json::Value;
use tests::deadline::SOON;
use tests::folder::Folder;
use tests::household::dialect::Ending;
use tests::household::disturbance::with_even_parity;
use tests::household::encryption::Encryption;
use tests::household::{Dialect, Household, Settings, Telegram};
use tests::process::Ran;
use tests::programs::{run_capture, run_publisher};

use crate::installation::{Installation, assert_readings_are_true, household};

/// The telegrams of an hour of meter time or more, with a message shown in between.
fn telegrams(dialect: Dialect, seed: u64) -> Vec<Telegram> {
    let mut household = household(seed, dialect);
    let mut telegrams = household.telegrams(150);
    household.show_text("Op 3/4 wordt / gewerkt!");
    telegrams.extend(household.telegrams(150));
    household.power_failure(400);
    telegrams.extend(household.telegrams(100));
    telegrams
}

fn bytes(telegrams: &[Telegram]) -> Vec<u8> {
    telegrams
        .iter()
        .flat_map(|telegram| telegram.bytes.clone())
        .collect()
}

/// Compares the array that `publisher parse` printed, reading by reading.
fn assert_parsed_as(ran: &Ran, telegrams: &[Telegram], name: &str) {
    let readings = ran.json();
    let readings = readings
        .as_array()
        .unwrap_or_else(|| panic!("{name}: not an array: {}", ran.text()));
    assert_eq!(readings.len(), telegrams.len(), "{name}: {}", ran.errors);
    for (n, (reading, telegram)) in readings.iter().zip(telegrams).enumerate() {
        let differences = telegram.truth.differences(reading);
        assert!(
            differences.is_empty(),
            "{name}, telegram {n}:\n  {}\n{}",
            differences.join("\n  "),
            String::from_utf8_lossy(&telegram.bytes)
        );
    }
}

#[test]
fn parse_prints_exactly_what_every_dialect_says() {
    let folder = Folder::new();
    for dialect in Dialect::ALL {
        let mut telegrams = telegrams(dialect, 1);
        folder.write("telegrams.txt", bytes(&telegrams));
        let ran = run_publisher(folder.path(), &["parse", "telegrams.txt"]);
        if dialect.ending() == Ending::X25 {
            // Taken only after several in a row have needed it: the first few are rejected.
            let count = ran.json().as_array().map_or(0, Vec::len);
            assert!(
                (1..telegrams.len()).contains(&count),
                "{count} of {}",
                telegrams.len()
            );
            telegrams.drain(..telegrams.len() - count);
            assert!(telegrams.len() > 380);
        } else {
            assert_eq!(ran.code, Some(0), "{dialect:?}: {}", ran.errors);
        }
        assert_parsed_as(&ran, &telegrams, &format!("{dialect:?}"));
    }
}

#[test]
fn capture_keeps_every_dialect_byte_for_byte() {
    let folder = Folder::new();
    for dialect in Dialect::ALL {
        let telegrams = telegrams(dialect, 5);
        let sent = bytes(&telegrams);
        folder.write("telegrams.txt", &sent);
        let queue = format!("{dialect:?}");
        let arguments = [
            "--usb",
            "file:telegrams.txt",
            "--once",
            "--queue",
            &queue,
            "--socket",
            "queue.sock",
        ];
        run_capture(folder.path(), &arguments).done();
        let kept = run_capture(
            folder.path(),
            &["export", "--queue", &queue, "--socket", "queue.sock"],
        )
        .done()
        .output;
        if dialect.ending() == Ending::X25 {
            assert!(
                sent.ends_with(&kept) && kept.len() > sent.len() * 9 / 10,
                "{dialect:?}"
            );
        } else {
            assert!(
                kept == sent,
                "{dialect:?}: {} bytes sent, {} kept",
                sent.len(),
                kept.len()
            );
        }
    }
}

#[test]
fn seven_bit_text_on_an_eight_bit_line_is_understood() {
    let folder = Folder::new();
    let telegrams = telegrams(Dialect::Dsmr3, 6);
    folder.write("telegrams.txt", with_even_parity(&bytes(&telegrams)));
    let ran = run_publisher(folder.path(), &["parse", "telegrams.txt"]).done();
    assert_parsed_as(&ran, &telegrams, "7E1 read as 8N1");
}

/// A Luxembourg household that encrypts, with this key.
fn encrypting(key: u8, authentication_key: Option<[u8; 16]>) -> Household {
    let settings = household(7, Dialect::Luxembourg).settings().clone();
    let mut encryption = Encryption::with_key([key; 16]);
    encryption.authentication_key = authentication_key.unwrap_or(encryption.authentication_key);
    Household::new(Settings {
        encryption: Some(encryption),
        ..settings
    })
}

#[test]
fn an_encrypted_meter_is_read_with_the_key_whether_its_tag_verifies_or_not() {
    let folder = Folder::new();
    for authentication_key in [None, Some([0x77; 16])] {
        let mut household = encrypting(0xAB, authentication_key);
        let telegrams = household.telegrams(50);
        folder.write("frames.bin", bytes(&telegrams));
        folder.write("key.yml", format!("decryption_key: \"{}\"\n", "AB".repeat(16)));
        let ran = run_publisher(folder.path(), &["-config", "key.yml", "parse", "frames.bin"]).done();
        assert_parsed_as(&ran, &telegrams, "encrypted");
    }
}

#[test]
fn encrypted_frames_wait_for_their_key_and_lose_nothing() {
    let mut house = Installation::with(encrypting(0xCD, None));
    house.configure(0, "", "");
    let _capture = house.start_capture();
    let mut publisher = house.start_publisher();
    house.send(20);
    house.wait_for_head(20);
    tests::deadline::wait_for("the publisher to say that a key is missing", SOON, || {
        let said = publisher.said();
        if said.contains("key") { Ok(()) } else { Err(said) }
    });
    assert!(house.ledger().is_empty());
    publisher.terminate();

    house.configure(0, &format!("decryption_key: \"{}\"", "CD".repeat(16)), "");
    let _publisher = house.start_publisher();
    house.send(20);
    let ledger = house.wait_for_reading(40, SOON);
    assert_eq!(ledger.len(), 40);
    assert_readings_are_true(&ledger, house.truths());
}

#[test]
fn a_meter_without_a_clock_gets_captures() {
    let mut house = Installation::with(household(8, Dialect::Dsmr22));
    house.configure(0, "", "");
    let _capture = house.start_capture();
    let _publisher = house.start_publisher();
    house.send(10);
    let ledger = house.wait_for_reading(10, SOON);
    for ((_, reading), telegram) in ledger.readings().iter().zip(&house.sent) {
        telegram.truth.assert_published_as(reading);
        let (date, received) = (
            reading["Date_timestamp"].as_str().unwrap(),
            reading["Received_at"].as_str().unwrap(),
        );
        assert_eq!(date[..19], received[..19], "{reading}");
    }
}

#[test]
fn in_a_daylight_saving_night_no_interval_merges_and_none_vanishes() {
    use tests::household::calendar;
    for turn in [
        calendar::seconds(2026, 3, 29, 1, 0, 0),
        calendar::seconds(2026, 10, 25, 1, 0, 0),
    ] {
        let settings = household(9, Dialect::Dsmr42).settings().clone();
        let mut house = Installation::with(Household::new(Settings {
            starts_at: turn - 7_200,
            ..settings
        }));
        house.configure(3_600, "", "");
        let _capture = house.start_capture();
        let _publisher = house.start_publisher();
        // Four hours at one telegram in ten seconds: the hour that is doubled, or lost, in the middle.
        house.send(4 * 360);
        let count = house.sent.len() as u64;
        house.wait_for_reading(count - 1, SOON);
        let summaries = house.wait_for_received("summary", |summaries| summaries.len() >= 4);
        let mut by_hour: BTreeMap<String, u64> = BTreeMap::new();
        for telegram in &house.sent[..house.sent.len() - 1] {
            *by_hour
                .entry(calendar::rfc3339(telegram.truth.at - telegram.truth.at % 3_600))
                .or_default() += 1;
        }
        let told: BTreeMap<String, u64> = summaries
            .iter()
            .map(|summary| {
                let start = summary["interval_start"].as_str().unwrap_or_default().to_owned();
                (start, summary["telegrams"].as_u64().unwrap_or(0))
            })
            .collect();
        assert_eq!(told, by_hour);
        let ends: Vec<&Value> = summaries.iter().map(|summary| &summary["interval_end"]).collect();
        assert_eq!(ends.len(), 4, "{ends:?}");
    }
}

/// The pure core alone, so that a mistake shows without processes: aggregation of every dialect.
#[test]
fn aggregation_of_every_dialect_gives_the_households_readings_registers_and_gauges() {
    for dialect in Dialect::ALL {
        for seed in 0..3 {
            let telegrams = telegrams(dialect, seed);
            let (readings, summaries) = aggregated(&telegrams);
            assert_eq!(
                readings.len(),
                telegrams.len() - 1,
                "{dialect:?}: the last interval is open"
            );
            for (reading, telegram) in readings.iter().zip(&telegrams) {
                let differences = telegram.truth.differences(reading);
                assert!(
                    differences.is_empty(),
                    "{dialect:?} of seed {seed}:\n  {}\n{}",
                    differences.join("\n  "),
                    String::from_utf8_lossy(&telegram.bytes)
                );
            }
            for (summary, telegram) in summaries.iter().zip(&telegrams) {
                for (group, truths) in [
                    ("registers", &telegram.truth.registers),
                    ("gauges", &telegram.truth.gauges),
                ] {
                    let told: BTreeMap<&str, String> = summary[group]
                        .as_object()
                        .into_iter()
                        .flatten()
                        .map(|(name, value)| (name.as_str(), value["last"].to_string()))
                        .collect();
                    let expected: BTreeMap<&str, String> = truths
                        .iter()
                        .map(|(name, value)| (name.as_str(), value.normalize().to_string()))
                        .collect();
                    assert_eq!(told, expected, "{dialect:?} of seed {seed}, {group}");
                }
            }
        }
    }
}

/// Readings and summaries of telegrams that are an interval each.
fn aggregated(telegrams: &[Telegram]) -> (Vec<Value>, Vec<Value>) {
    use publisher::aggregate::{Aggregator, Output, Settings, Taken};
    use publisher::decrypt::Decryption;
    use shared::config::OnTrouble;
    use shared::record::Record;

    let settings = Settings {
        interval_seconds: 1,
        max_payload_bytes: 512 * 1024,
        queue: "queue".to_owned(),
        has_summary: true,
        has_state: false,
    };
    let mut aggregator = Aggregator::new(settings, Decryption::new(None, OnTrouble::Wait));
    let mut outputs = Vec::new();
    for (sequence, telegram) in (1..).zip(telegrams) {
        let record = Record {
            sequence,
            captured_at_us: telegram.truth.at * 1_000_000,
            silence_ms: 1_000,
            telegram: telegram.bytes.clone().into(),
        };
        assert_eq!(aggregator.take(&record, &mut outputs), Taken::Read);
    }
    let (mut readings, mut summaries) = (Vec::new(), Vec::new());
    for output in outputs {
        match output {
            Output::Readings { payload, .. } => {
                readings.extend(serde_json::from_slice::<Vec<Value>>(&payload).unwrap());
            }
            Output::Summary { payload } => summaries.push(serde_json::from_slice(&payload).unwrap()),
            Output::State(_) | Output::Closed { .. } => {}
        }
    }
    (readings, summaries)
}

//! The status as a person and as a program read it.

use std::collections::BTreeMap;

use shared::exit::Exit;
use shared::wire::{Loss, RejectedStretch};

use super::*;

const NOW_US: i64 = 1_800_000_000_000_000;

fn busy() -> Status {
    Status {
        version: "0.1.0".into(),
        queue: "k3v9x2ab".into(),
        started_at_us: NOW_US - 11_520_000_000,
        port: "/dev/ttyUSB0".into(),
        port_state: "open at 115200-8N1".into(),
        accepted: 12_345,
        rejected: BTreeMap::from([("noise".into(), 1), ("wrong_crc".into(), 3)]),
        recently_rejected: vec![RejectedStretch {
            at_us: NOW_US - 5_000_000,
            reason: "wrong_crc".into(),
            bytes: b"/ISK\x02\r\n!1234\r\n".to_vec(),
        }],
        last_telegram_age_ms: Some(400),
        tail: 101,
        head: 12_445,
        live_bytes: 700_000,
        disk_bytes: 1_258_291,
        max_size_bytes: 1 << 30,
        consumers: vec![
            ConsumerStatus {
                name: "attic".into(),
                cursor: 10_000,
                lag: 2_445,
                is_connected: false,
                report: None,
            },
            ConsumerStatus {
                name: "mqtt".into(),
                cursor: 12_445,
                lag: 0,
                is_connected: true,
                report: Some(PublisherReport {
                    connection: "connected to localhost:1883 (MQTT 5)".into(),
                    last_acknowledged_at_us: Some(NOW_US - 2_000_000),
                    skipped: BTreeMap::from([("undecryptable".into(), 2)]),
                    ..PublisherReport::default()
                }),
            },
        ],
        losses: vec![Loss {
            at_us: NOW_US - 86_400_000_000,
            first_sequence: 1,
            last_sequence: 100,
            cause: "removed to stay within max_size".into(),
        }],
        damaged: vec!["/q/damaged-1".into()],
        refused: 0,
        trouble: None,
    }
}

#[test]
fn a_person_sees_ages_sizes_lag_and_losses() {
    let expected = "\
capture    0.1.0, running for 3 h 12 min, queue k3v9x2ab
port       /dev/ttyUSB0: open at 115200-8N1
telegrams  12,345 accepted, the last 0.4 s ago
rejected   1 noise, 3 wrong_crc
queue      12,345 telegrams: #101 to #12445
           1.2 MiB on disk, 683.6 KiB of it in use; the bound is 1.0 GiB
consumers  attic: no publisher is running, at #10000, 2,445 telegrams behind
           mqtt: its publisher is running, at #12445, up to date
             connected to localhost:1883 (MQTT 5); last message acknowledged 2.0 s ago; 2 skipped: undecryptable
losses     #1 to #100, noticed 1 d ago: removed to stay within max_size
damaged    /q/damaged-1: `capture import --damaged /q/damaged-1` brings back what is whole in it
";
    assert_eq!(as_text(&busy(), &[], NOW_US, false), expected);
}

#[test]
fn a_folder_that_was_put_back_shows_its_identities() {
    let identity = |queue: &str, first_sequence| Identity {
        queue: queue.to_owned(),
        first_sequence,
    };
    let identities = [identity("abcdefgh", 1), identity("k3v9x2ab", 104)];
    let text = as_text(&busy(), &identities, NOW_US, false);
    let line = "identity   k3v9x2ab from #104 on, before that abcdefgh from #1 on\n";
    assert!(text.contains(line), "{text}");
    let value = as_json(&busy(), &identities, false);
    assert_eq!(value["identities"][1]["queue"], "k3v9x2ab");
    assert_eq!(value["identities"][1]["first_sequence"], 104);
    assert!(!as_text(&busy(), &identities[1..], NOW_US, false).contains("identity"));
}

#[test]
fn one_publisher_is_never_connected_and_not_connected_at_once() {
    let mut status = busy();
    status.consumers.remove(0);
    let consumer = &mut status.consumers[0];
    consumer.lag = 1;
    let report = consumer.report.as_mut().unwrap();
    report.connection = "not connected to localhost:1883: nothing listens there".into();
    let text = as_text(&status, &[], NOW_US, false);
    assert_eq!(text.matches("connected").count(), 1, "{text}");
    assert!(
        text.contains("mqtt: its publisher is running, at #12445, 1 telegram behind\n"),
        "{text}"
    );
    status.consumers[0].is_connected = false;
    let text = as_text(&status, &[], NOW_US, false);
    assert!(!text.contains("connected"), "{text}");
    assert!(text.contains("mqtt: no publisher is running"), "{text}");
    assert!(text.contains("last message acknowledged 2.0 s ago"), "{text}");
}

#[test]
fn trouble_and_lost_telegrams_cannot_be_overlooked() {
    let mut status = busy();
    status.trouble = Some("the disk is full".into());
    status.refused = 1_000;
    let text = as_text(&status, &[], NOW_US, false);
    assert_eq!(text.lines().nth(1), Some("TROUBLE    the disk is full"));
    assert!(text.contains("1,000 LOST"), "{text}");
}

#[test]
fn an_idle_capture_says_so_in_each_line() {
    let text = as_text(
        &Status {
            version: "0.1.0".into(),
            tail: 1,
            ..Status::default()
        },
        &[],
        0,
        false,
    );
    for words in [
        "none since the start",
        "rejected   none",
        "empty",
        "everything is kept",
        "losses     none",
    ] {
        assert!(text.contains(words), "{words} in {text}");
    }
}

#[test]
fn rejected_stretches_are_shown_as_they_came_on_request() {
    let text = as_text(&busy(), &[], NOW_US, true);
    assert!(
        text.ends_with("--- 5.0 s ago, wrong_crc, 14 bytes\n/ISK\\x02\n!1234\n"),
        "{text}"
    );
    assert!(!as_text(&busy(), &[], NOW_US, false).contains("!1234"));
}

#[test]
fn a_program_reads_the_same_from_json() {
    let value = as_json(&busy(), &[], true);
    assert_eq!(value["head"], 12_445);
    assert_eq!(value["consumers"][0]["lag"], 2_445);
    assert_eq!(
        value["consumers"][1]["connection"],
        "connected to localhost:1883 (MQTT 5)"
    );
    assert_eq!(value["started_at"], "2027-01-15T04:48:00Z");
    assert_eq!(value["losses"][0]["last_sequence"], 100);
    assert_eq!(value["recently_rejected"][0]["bytes"], "/ISK\u{2}\r\n!1234\r\n");
    assert_eq!(value["trouble"], Value::Null);
    assert!(as_json(&busy(), &[], false).get("recently_rejected").is_none());
}

#[test]
fn an_old_last_telegram_fails_the_check_and_none_at_all_too() {
    let check = |status: &Status, seconds| check_age(status, Duration::from_secs(seconds));
    assert!(check(&busy(), 1).is_ok());
    let mut old = busy();
    old.last_telegram_age_ms = Some(61_000);
    let failure = check(&old, 60).unwrap_err();
    assert_eq!(failure.exit, Exit::Failed);
    assert!(
        failure.words.contains("1 min 1 s old, the limit is 1 min"),
        "{failure}"
    );
    old.last_telegram_age_ms = None;
    assert!(
        check(&old, 60)
            .unwrap_err()
            .words
            .contains("no telegram has come")
    );
}

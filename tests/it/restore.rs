//! An older copy of the queue's folder is put back: nothing accepted goes unpublished, no `Queue` and `Sequence` name two
//! telegrams, and it is said once. With the real programs; the README's *Backups* word for word.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::Value;
use shared::wire::client::Client;
use tests::deadline::{SOON, wait_for};
use tests::process::Process;
use tests::programs::Programs;

use crate::installation::{Installation, TOPIC};

const PATIENCE: Duration = Duration::from_secs(60);
/// What capture says of it.
const SAID: &str = "no Queue and Sequence name two telegrams";

/// How a copy is put back.
type PutBack = fn(&Path, &Path);

#[test]
fn an_older_copy_put_back_under_a_publisher_that_lives_on_or_is_restarted_loses_nothing_and_names_nothing_twice()
 {
    for (seed, lives_on, put_back) in [
        (101, true, in_place_of as PutBack),
        (102, true, over),
        (103, false, in_place_of),
        (104, false, over),
    ] {
        let mut house = Installation::new(seed);
        house.configure(0, "", "");
        let mut capture = house.start_capture();
        let mut publisher = house.start_publisher();
        house.send(103);
        wait_for_readings(&house, 103);
        stop(&mut capture);
        copy(&house.folder.join("queue"), &house.folder.join("copy"));

        let mut capture = house.start_capture();
        house.send(202);
        wait_for_readings(&house, 305);
        stop(&mut capture);
        if !lives_on {
            stop(&mut publisher);
        }
        put_back(&house.folder.join("copy"), &house.folder.join("queue"));

        let capture = house.start_capture();
        let lines = publisher.lines_said();
        if !lives_on {
            publisher = house.start_publisher();
        }
        house.send(40);
        // Also behind the place where the former history ended.
        wait_for_readings(&house, 345);
        house.send(300);
        wait_for_readings(&house, 645);
        let expected = published(&house);
        assert_eq!(expected.queues.len(), 2, "{:?}", expected.queues);
        assert_eq!(capture.said().matches(SAID).count(), 1, "{}", capture.said());
        let status = house.capture(&["status"]).done().text();
        assert!(status.contains("from #104 on, before that"), "{status}");
        if lives_on {
            let said = publisher.said();
            let after: Vec<&str> = said.lines().skip(lines).collect();
            assert!(after.len() < 10, "{after:#?}");
            assert_eq!(expected.duplicates, 0, "it knows what it has delivered");
        }
        drop(capture);
        // And it is over: another start says nothing.
        let capture = house.start_capture();
        house.send(3);
        wait_for_readings(&house, 648);
        assert!(!capture.said().contains(SAID), "{}", capture.said());
        drop(publisher);
    }
}

#[test]
fn with_several_consumers_before_and_behind_the_copy_each_gets_everything_under_the_right_name() {
    let mut house = Installation::new(105);
    house.configure(2, "", "");
    let text = fs::read_to_string(house.folder.join("smartmeter.yml")).unwrap();
    let other = text
        .replace(TOPIC, "other/smartmeter")
        .replace("mqtt:\n", "mqtt:\n  consumer: other\n");
    house.folder.write("other.yml", other);
    let start_other = |house: &Installation| {
        tests::programs::start_publisher(house.folder.path(), &["-config", "other.yml"])
    };
    let subscriber = tests::subscriber::Subscriber::start(house.broker.port(), "other/smartmeter");

    let mut capture = house.start_capture();
    let _publisher = house.start_publisher();
    let mut other = start_other(&house);
    house.send(50);
    subscriber.wait_for("the other's readings", PATIENCE, |messages| {
        if messages.is_empty() {
            Err("none".to_owned())
        } else {
            Ok(())
        }
    });
    // It stays behind from here on.
    stop(&mut other);
    house.send(50);
    wait_for_readings(&house, 98);
    // Copied while it runs.
    copy(&house.folder.join("queue"), &house.folder.join("copy"));
    house.send(100);
    wait_for_readings(&house, 198);
    capture.kill();
    in_place_of(&house.folder.join("copy"), &house.folder.join("queue"));

    let capture = house.start_capture();
    let _other = start_other(&house);
    house.send(100);
    wait_for_readings(&house, 298);
    let kept = house.try_status().unwrap().head as usize;
    published(&house);
    let others = wait_for("the other's readings", PATIENCE, || {
        let messages = subscriber.messages();
        let readings = readings(messages.iter().map(|message| &*message.payload));
        // The last interval is open.
        if readings.len() + 3 >= kept {
            Ok(readings)
        } else {
            Err(format!("{} of {kept}", readings.len()))
        }
    });
    // Both brokers together: a pair names one telegram wherever it is read.
    let mut all: Vec<Value> = others;
    all.extend(house_readings(&house));
    assert_pairs_name_one(&all);
    assert_eq!(capture.said().matches(SAID).count(), 1, "{}", capture.said());
}

#[test]
fn a_copy_that_nobody_can_tell_is_found_out_by_the_publisher_or_renewed_by_a_command() {
    for knows in [true, false] {
        let mut house = Installation::new(106);
        house.configure(0, "", "");
        let mut capture = house.start_capture();
        let mut publisher = house.start_publisher();
        house.send(103);
        wait_for_readings(&house, 103);
        stop(&mut capture);
        // As an image of the whole disk would bring it back, and a file system without times of birth.
        let queue = house.folder.join("queue");
        fs::remove_file(queue.join("birth.json")).unwrap();
        copy(&queue, &house.folder.join("copy"));
        let mut capture = house.start_capture();
        house.send(202);
        wait_for_readings(&house, 305);
        stop(&mut capture);
        if !knows {
            stop(&mut publisher);
        }
        in_place_of(&house.folder.join("copy"), &queue);
        if !knows {
            let renewed = house.capture(&["renew"]).done().text();
            assert!(renewed.contains("from #104 on it has the identity"), "{renewed}");
        }
        let capture = house.start_capture();
        if knows {
            let refused = house.capture(&["renew"]);
            assert_eq!(refused.code, Some(75), "{refused:?}");
            assert!(refused.errors.contains("capture is running"), "{refused:?}");
        }
        house.send(7);
        house.wait_for_head(110);
        if !knows {
            publisher = house.start_publisher();
        }
        house.send(300);
        wait_for_readings(&house, 612);
        let published = published(&house);
        assert_eq!(published.queues.len(), 2, "{:?}", published.queues);
        let said = capture.said().matches(SAID).count();
        assert_eq!(said, usize::from(knows), "{}", capture.said());
        drop(publisher);
    }
}

#[test]
fn a_replay_over_both_gives_the_bytes_of_the_first_time() {
    let mut house = Installation::new(107);
    house.configure(2, "", "");
    let mut capture = house.start_capture();
    let mut publisher = house.start_publisher();
    house.send(103);
    wait_for_readings(&house, 100);
    stop(&mut capture);
    stop(&mut publisher);
    copy(&house.folder.join("queue"), &house.folder.join("copy"));
    in_place_of(&house.folder.join("copy"), &house.folder.join("queue"));
    let _capture = house.start_capture();
    let _publisher = house.start_publisher();
    house.send(60);
    wait_for_readings(&house, 160);
    // Each message once: what was not committed when both stopped comes again.
    let messages = |topic: &str| -> Vec<String> {
        let mut once: Vec<String> = Vec::new();
        for message in house.subscriber.messages() {
            let payload = String::from_utf8_lossy(&message.payload).into_owned();
            if message.topic == topic && !once.contains(&payload) {
                once.push(payload);
            }
        }
        once
    };
    let first = messages(TOPIC);
    assert_eq!(published(&house).queues.len(), 2);
    let again = format!("{TOPIC}/again");
    house
        .publisher(&["replay", "--from", "#1", "--to", "#155", "--topic", &again])
        .done();
    let again = wait_for("the replay", PATIENCE, || {
        let messages = messages(&again);
        let count = readings(messages.iter().map(String::as_bytes)).len();
        if count >= 155 {
            Ok(messages)
        } else {
            Err(format!("{count} readings"))
        }
    });
    assert_eq!(again[..], first[..again.len()]);
}

#[test]
fn the_backups_section_of_the_readme_is_followed_word_for_word() {
    let readme = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../README.md")).unwrap();
    let section = readme.split("\n### Backups\n").nth(1).expect("a section Backups");
    let section = section.split("\n## ").next().unwrap();
    let blocks: Vec<&str> = section
        .split("```sh\n")
        .skip(1)
        .map(|rest| rest.split("```").next().unwrap())
        .collect();
    let [make, put_back, bring_the_rest] = blocks[..] else {
        panic!("expected blocks that copy, put back, and bring the rest: {blocks:#?}");
    };

    let mut house = Installation::new(108);
    house.configure(0, "", "");
    // As a user has it who follows the section By hand: the queue is where it is by default.
    let text = fs::read_to_string(house.folder.join("smartmeter.yml")).unwrap();
    let text = text.split("queue:\n").next().unwrap();
    house.folder.write("smartmeter-config.yml", text);
    let path = house.folder.path().to_owned();
    let start = |mut program: Command, name| Process::start(name, program.current_dir(&path));
    let start_capture = || {
        let capture = start(Programs::built().capture(), "capture");
        wait_for("capture to serve its queue", SOON, || {
            Client::connect(&path.join("smartmeter-queue.sock"), SOON).map_err(|error| error.to_string())
        });
        capture
    };
    let start_publisher = || start(Programs::built().publisher(), "publisher");

    let mut capture = start_capture();
    let mut publisher = start_publisher();
    house.send(103);
    wait_for_readings(&house, 103);
    stop(&mut capture);
    follow(&path, make);
    let mut capture = start_capture();
    house.send(202);
    wait_for_readings(&house, 305);
    // Nobody is left who knows, and ten are not published.
    stop(&mut publisher);
    house.send(10);
    wait_for("ten more to be accepted", SOON, || {
        let client = Client::connect(&path.join("smartmeter-queue.sock"), SOON);
        let head = client.and_then(|mut client| Ok(client.status()?.head));
        match head {
            Ok(315) => Ok(()),
            other => Err(format!("{other:?}")),
        }
    });
    stop(&mut capture);
    let said = follow(&path, put_back);
    assert!(said.contains("from #104 on it has the identity"), "{said}");
    let _capture = start_capture();
    let _publisher = start_publisher();
    let said = follow(&path, bring_the_rest);
    assert!(said.contains("10"), "{said}");
    house.send(300);
    wait_for_readings(&house, 615);
    assert_eq!(published(&house).queues.len(), 2);
}

/// Carries commands out as a user types them, and gives what they say.
fn follow(folder: &Path, commands: &str) -> String {
    let programs = Programs::built();
    let bin = programs.capture().get_program().to_owned();
    let bin = Path::new(&bin).parent().unwrap().display().to_string();
    let path = format!("{bin}:{}", std::env::var("PATH").unwrap());
    let done = Command::new("sh")
        .args(["-e", "-c", commands])
        .current_dir(folder)
        .env("PATH", path)
        .output()
        .unwrap();
    assert!(done.status.success(), "{commands}: {done:?}");
    String::from_utf8_lossy(&done.stdout).into_owned()
}

fn stop(process: &mut Process) {
    assert!(process.terminate().0.success(), "{}", process.said());
}

fn copy(from: &Path, to: &Path) {
    let done = Command::new("cp").arg("-aT").args([from, to]).status().unwrap();
    assert!(done.success());
}

fn in_place_of(copied: &Path, queue: &Path) {
    fs::remove_dir_all(queue).unwrap();
    copy(copied, queue);
}

fn over(copied: &Path, queue: &Path) {
    copy(copied, queue);
}

/// The readings of these messages, in the order in which they came.
fn readings<'a>(payloads: impl Iterator<Item = &'a [u8]>) -> Vec<Value> {
    payloads
        .flat_map(|payload| serde_json::from_slice::<Vec<Value>>(payload).expect("an array"))
        .collect()
}

fn house_readings(house: &Installation) -> Vec<Value> {
    let messages = house.subscriber.messages();
    let of_topic = messages.iter().filter(|message| message.topic == TOPIC);
    readings(of_topic.map(|message| &*message.payload))
}

fn time(reading: &Value) -> &str {
    reading["Date_timestamp"]
        .as_str()
        .expect("the meter sends its time")
}

/// Waits until so many of the telegrams that were sent have been published, each counted once.
fn wait_for_readings(house: &Installation, count: usize) {
    wait_for(&format!("{count} telegrams to be published"), PATIENCE, || {
        let readings = house_readings(house);
        let times: BTreeSet<&str> = readings.iter().map(time).collect();
        if times.len() >= count {
            Ok(())
        } else {
            Err(format!("{} so far", times.len()))
        }
    });
}

/// What was published.
struct Published {
    queues: BTreeSet<String>,
    duplicates: usize,
}

/// Panics if a reading is not what the household produced, a pair names two telegrams, or a telegram has two names.
fn published(house: &Installation) -> Published {
    let readings = house_readings(house);
    let truths: BTreeMap<&str, _> = house
        .truths()
        .map(|truth| (truth.reading["Date_timestamp"].as_str().unwrap(), truth))
        .collect();
    let mut names = BTreeMap::new();
    for reading in &readings {
        truths[time(reading)].assert_published_as(reading);
        let name = (reading["Queue"].clone(), reading["Sequence"].clone());
        let known = names.entry(time(reading)).or_insert_with(|| name.clone());
        assert_eq!(*known, name, "two names of the telegram of {}", time(reading));
    }
    let duplicates = assert_pairs_name_one(&readings);
    let queue = |reading: &Value| reading["Queue"].as_str().expect("a Queue").to_owned();
    Published {
        queues: readings.iter().map(queue).collect(),
        duplicates,
    }
}

/// Panics if a `Queue` and `Sequence` name two telegrams. Returns how many came again.
fn assert_pairs_name_one(readings: &[Value]) -> usize {
    let mut known: BTreeMap<(String, u64), &Value> = BTreeMap::new();
    let mut duplicates = 0;
    for reading in readings {
        let sequence = reading["Sequence"].as_u64().expect("a Sequence");
        let name = (reading["Queue"].to_string(), sequence);
        match known.get(&name) {
            Some(first) => {
                assert_eq!(*first, reading, "{name:?} names two telegrams");
                duplicates += 1;
            }
            None => drop(known.insert(name, reading)),
        }
    }
    duplicates
}

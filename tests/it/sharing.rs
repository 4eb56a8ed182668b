//! Several at once: a second capture over one folder, a second publisher of one name, two publishers of
//! two names, strangers at the socket. Each harms nobody but itself.

use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use tests::broker::Mosquitto;
use tests::deadline::{SOON, wait_for};
use tests::folder::Folder;
use tests::household::Dialect;
use tests::household::random::Random;
use tests::ledger::Ledger;
use tests::programs::{run_capture, start_capture, start_publisher};
use tests::subscriber::Subscriber;

use crate::installation::{Installation, TOPIC, assert_readings_are_true, household};

#[test]
fn a_second_capture_over_the_same_folder_ends_in_words_and_the_first_goes_on() {
    let mut house = Installation::new(61);
    house.configure(0, "", "");
    let _capture = house.start_capture();
    let second = house.capture(&[]);
    assert!(matches!(second.code, Some(74 | 75 | 78)), "{second:?}");
    assert!(second.errors.contains("queue"), "{}", second.errors);
    // Over the same folder, but with a socket of its own.
    let other = run_capture(
        house.folder.path(),
        &[
            "--usb",
            "tcp://127.0.0.1:9",
            "--queue",
            "queue",
            "--socket",
            "b.sock",
        ],
    );
    assert!(matches!(other.code, Some(74 | 75 | 78)), "{other:?}");
    assert!(other.errors.contains("queue"), "{}", other.errors);

    let _publisher = house.start_publisher();
    house.send(20);
    let ledger = house.wait_for_reading(20, SOON);
    assert_readings_are_true(&ledger, house.truths());
}

#[test]
fn imports_of_one_file_at_once_take_it_once_while_the_meter_goes_on() {
    let mut house = Installation::new(66);
    house.configure(0, "", "");
    let _capture = house.start_capture();
    house.send(30);
    house.wait_for_head(30);
    let telegrams = household(67, Dialect::Dsmr5).telegrams(1500);
    let file: Vec<u8> = telegrams
        .into_iter()
        .flat_map(|telegram| telegram.bytes)
        .collect();
    house.folder.write("one.txt", &file);
    house
        .folder
        .write("another.txt", [b"\r\n".as_slice(), &file].concat());
    std::thread::scope(|scope| {
        let (folder, names) = (house.folder.path(), ["one.txt", "another.txt", "one.txt"]);
        let importing = names.map(|name| {
            scope.spawn(move || {
                let arguments = ["import", "--append", "-config", "smartmeter.yml", name];
                run_capture(folder, &arguments).done().text()
            })
        });
        let said: String = importing.map(|import| import.join().unwrap()).concat();
        assert_eq!(said.matches(": 1,500 telegrams taken").count(), 1, "{said}");
        assert_eq!(said.matches("1,500 taken before").count(), 2, "{said}");
    });
    house.send(10);
    house.wait_for_head(1540);
    for (format, name) in [("jsonl", "all.jsonl"), ("raw", "all.txt")] {
        let exported = house.capture(&["export", "--format", format]).done();
        house.folder.write(name, &exported.output);
        let said = house.capture(&["import", "--append", name]).done().text();
        assert!(said.contains(": 0 telegrams taken, 1,540 taken before"), "{said}");
    }
}

#[test]
fn a_second_publisher_of_the_same_name_is_refused_in_words_until_the_first_has_gone() {
    let mut house = Installation::new(62);
    house.configure(0, "", "");
    let _capture = house.start_capture();
    let mut first = house.start_publisher();
    house.send(10);
    house.wait_for_reading(10, SOON);
    let second = house.start_publisher();
    // It cannot know whether that is its own former session, which capture has not seen end yet.
    second.wait_to_say(
        "the consumer mqtt is in use by another session: a former one of this publisher ends by itself",
        SOON,
    );
    house.send(10);
    house.wait_for_reading(20, SOON);
    // Under the same client id the broker would have ended the first one's connection for the second's.
    assert_eq!(
        house.proxy.recording().versions.len(),
        1,
        "connections to the broker"
    );
    assert!(!first.said().contains("lost the broker"), "{}", first.said());
    first.terminate();
    house.send(10);
    let ledger = house.wait_for_reading(30, Duration::from_secs(90));
    assert_eq!(ledger.missing(30), Vec::<u64>::new());
    assert_readings_are_true(&ledger, house.truths());
}

#[test]
fn two_publishers_of_two_names_feed_two_brokers() {
    let mut house = Installation::new(63);
    house.configure(0, "", "");
    let elsewhere = Folder::new();
    let other = Mosquitto::start(elsewhere.path());
    let subscriber = Subscriber::start(other.port(), &format!("{TOPIC}/#"));
    let text = std::fs::read_to_string(house.folder.join("smartmeter.yml")).unwrap();
    let text = text.replace(
        &format!("127.0.0.1:{}", house.proxy.port()),
        &format!("127.0.0.1:{}", other.port()),
    );
    house
        .folder
        .write("other.yml", text.replace("mqtt:\n", "mqtt:\n  consumer: other\n"));
    let _capture = house.start_capture();
    let _one = house.start_publisher();
    house.send(30);
    house.wait_for_reading(30, SOON);
    let _two = start_publisher(house.folder.path(), &["-config", "other.yml"]);
    house.send(10);
    house.wait_for_reading(40, SOON);
    let ledger = subscriber.wait_for("40 readings at the other broker", SOON, |messages| {
        let ledger = Ledger::of(messages.iter().filter(|m| m.topic == TOPIC).map(|m| &*m.payload));
        if ledger.len() >= 40 {
            Ok(ledger)
        } else {
            Err(format!("{} readings", ledger.len()))
        }
    });
    assert_readings_are_true(&ledger, house.truths());
    let names: Vec<String> = house
        .try_status()
        .unwrap()
        .consumers
        .into_iter()
        .map(|consumer| consumer.name)
        .collect();
    assert_eq!(names, ["mqtt", "other"]);
}

#[test]
fn strangers_at_the_socket_end_their_own_session_and_nothing_else() {
    let mut house = Installation::new(64);
    house.configure(0, "", "");
    let _capture = house.start_capture();
    let mode = std::fs::metadata(house.socket()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o660, "the socket's mode is {mode:o}");
    let _publisher = house.start_publisher();
    house.send(10);
    house.wait_for_reading(10, SOON);

    let mut random = Random::new(64);
    let mut kept = Vec::new();
    for n in 0..120 {
        let Ok(mut stranger) = UnixStream::connect(house.socket()) else {
            continue;
        };
        let mut garbage: Vec<u8> = (0..random.below(400)).map(|_| random.below(256) as u8).collect();
        if n % 3 == 0 {
            // A right hello, then a length without an end, or garbage in a frame.
            garbage.splice(0..0, *b"P1QUEUE\n\x01\0\0\0");
        }
        drop(stranger.write_all(&garbage));
        if n % 2 == 0 {
            // Stays, says nothing more, and reads nothing.
            kept.push(stranger);
        }
    }
    house.send(30);
    let ledger = house.wait_for_reading(40, SOON);
    assert_readings_are_true(&ledger, house.truths());

    // Who sends no frame is sent away, or at least in nobody's way.
    drop(kept);
    wait_for("capture to answer a new session", SOON, || house.try_status());
    let mut late = UnixStream::connect(house.socket()).unwrap();
    late.set_read_timeout(Some(SOON)).unwrap();
    late.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    late.read_to_end(&mut answer)
        .expect("a session that is none is closed");
}

#[test]
fn a_device_that_is_not_there_is_waited_for_and_said_once_in_words() {
    let folder = Folder::new();
    let device = folder.join("ttyUSB7");
    let usb = device.display().to_string();
    let capture = start_capture(
        folder.path(),
        &["--usb", &usb, "--queue", "queue", "--socket", "queue.sock"],
    );
    capture.wait_to_say(&usb, SOON);
    let checked = run_capture(
        folder.path(),
        &[
            "--usb",
            &usb,
            "--queue",
            "other",
            "--socket",
            "other.sock",
            "--check",
        ],
    );
    assert_eq!(checked.code, Some(1), "{checked:?}");
    assert!(
        format!("{}{}", checked.text(), checked.errors).contains(&usb),
        "{checked:?}"
    );
    let status = wait_for("capture to serve its queue", SOON, || {
        let ran = run_capture(
            folder.path(),
            &["status", "--json", "--queue", "queue", "--socket", "queue.sock"],
        );
        if ran.code == Some(0) {
            Ok(ran.json())
        } else {
            Err(ran.errors)
        }
    });
    assert!(
        status["port_state"]
            .as_str()
            .is_some_and(|state| !state.starts_with("open")),
        "{status}"
    );
    let said = capture.said();
    let warnings: Vec<&str> = said
        .lines()
        .filter(|line| line.contains("WARN") && line.contains(&usb))
        .collect();
    assert_eq!(warnings.len(), 1, "said more than once:\n{said}");
}

#[test]
fn capture_at_a_serial_meter_holds_no_network_socket() {
    let mut house = Installation::new(64);
    house.configure(0, "", "");
    let capture = house.start_capture();
    let _publisher = house.start_publisher();
    house.send(5);
    house.wait_for_reading(5, SOON);

    let open = std::fs::read_dir(format!("/proc/{}/fd", capture.id()));
    if open.is_err() && !rustix::process::geteuid().is_root() {
        println!("skipped: only root sees what capture has open");
        return;
    }
    let own: Vec<String> = open
        .unwrap()
        .filter_map(|entry| std::fs::read_link(entry.unwrap().path()).ok())
        .filter_map(|target| {
            let inode = target.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?;
            Some(inode.to_owned())
        })
        .collect();
    assert!(!own.is_empty(), "it serves a Unix socket, so it holds one");
    for table in ["tcp", "tcp6", "udp", "udp6", "raw", "raw6"] {
        // A machine without IPv6 has no such table.
        let Ok(sockets) = std::fs::read_to_string(format!("/proc/net/{table}")) else {
            continue;
        };
        for line in sockets.lines().skip(1) {
            let inode = line.split_whitespace().nth(9).unwrap_or_default();
            assert!(!own.iter().any(|socket| socket == inode), "{table}: {line}");
        }
    }
}

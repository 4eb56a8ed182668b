//! What a broker may do to the real programs beside being away: deny by its access list, move to another address
//! under the same name. What a scripted one does is tried in `publisher`.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::time::Duration;

use tests::deadline::{SOON, wait_for};
use tests::process::Process;
use tests::programs::Programs;

use crate::installation::{Installation, TOPIC, assert_readings_are_true};

#[test]
fn what_the_access_list_denies_is_said_and_waits_uncommitted_until_it_is_allowed() {
    let mut house = Installation::new(91);
    house.broker.stop();
    let list = house.folder.join("acl");
    fs::write(
        &list,
        format!("topic read #\ntopic write {TOPIC}/state\ntopic write {TOPIC}/availability\n"),
    )
    .unwrap();
    let lists = format!("allow_anonymous true\nacl_file {}\n", list.display());
    house.broker.configure(&lists);
    house.broker.start_again();
    let _capture = house.start_capture();
    let publisher = house.start_publisher();
    house.send(60);
    house.send_into_the_next(10);
    let head = house.sent.len() as u64;
    house.wait_for_head(head);
    let line = publisher.wait_to_say("not authorized", SOON);
    assert!(line.contains("WARN") || line.contains("ERROR"), "{line}");
    let status = house.try_status().unwrap();
    let cursor = status.consumers.first().map(|consumer| consumer.cursor);
    assert_eq!(cursor, Some(0), "nothing the broker has denied is committed");
    assert_eq!(house.ledger().len(), 0);

    house.broker.stop();
    fs::write(&list, "topic readwrite #\n").unwrap();
    house.broker.start_again();
    let ledger = house.wait_for_reading(head - 1, Duration::from_secs(90));
    assert_eq!(ledger.missing(head - 1), Vec::<u64>::new());
    assert_readings_are_true(&ledger, house.truths());
}

/// Needs a mount namespace, for a list of hosts of its own; elsewhere it says so.
#[test]
fn a_broker_whose_name_has_another_address_is_found_there() {
    let mut house = Installation::new(92);
    let hosts = house.folder.write("hosts", "127.0.0.1 broker.test\n");
    let text = fs::read_to_string(house.folder.join("smartmeter.yml")).unwrap();
    house.folder.write(
        "smartmeter.yml",
        text.replace("address: \"127.0.0.1:", "address: \"broker.test:"),
    );
    let Some(namespace) = with_hosts(&hosts) else {
        return;
    };
    let _capture = house.start_capture();
    let publisher = Process::start(
        "publisher",
        namespace_command(&namespace, &hosts)
            .arg(&Programs::built().publisher)
            .args(["-config", "smartmeter.yml"])
            .current_dir(house.folder.path()),
    );
    house.send(100);
    house.wait_for_reading(80, SOON);

    // The broker moves: nothing is at the old address, the same port of another one leads to it.
    forward(&format!("127.0.0.2:{}", house.proxy.port()), house.broker.port());
    let said = publisher.lines_said();
    house.proxy.refuse();
    publisher.wait_to_say_after(said, "broker.test", SOON);
    fs::write(&hosts, "127.0.0.2 broker.test\n").unwrap();
    house.send(100);
    house.send_into_the_next(10);
    let head = house.sent.len() as u64;
    let ledger = house.wait_for_reading(head - 1, Duration::from_secs(90));
    assert_eq!(ledger.missing(head - 1), Vec::<u64>::new());
    assert_readings_are_true(&ledger, house.truths());
}

/// What runs a program with this file in the place of the system's list of hosts, where that can be done.
fn with_hosts(hosts: &std::path::Path) -> Option<Vec<&'static str>> {
    let tried = [
        vec!["unshare", "--mount"],
        vec!["unshare", "--mount", "--map-root-user"],
    ];
    let found = tried.into_iter().find(|namespace| {
        let output = namespace_command(namespace, hosts)
            .args(["getent", "hosts", "broker.test"])
            .output();
        output.is_ok_and(|output| output.stdout.starts_with(b"127.0.0.1"))
    });
    if found.is_none() {
        println!("SKIPPED: no mount namespace can be had here");
    }
    found
}

fn namespace_command(namespace: &[&str], hosts: &std::path::Path) -> Command {
    let mut command = Command::new(namespace[0]);
    command
        .args(&namespace[1..])
        .args(["sh", "-c", "mount --bind \"$0\" /etc/hosts && exec \"$@\""])
        .arg(hosts);
    command
}

/// Passes every connection at an address on to a port of this machine.
fn forward(address: &str, port: u16) {
    let listener = TcpListener::bind(address).unwrap();
    std::thread::spawn(move || {
        for incoming in listener.incoming() {
            let incoming = incoming.unwrap();
            let outgoing = wait_for("the broker to take a connection", SOON, || {
                TcpStream::connect(("127.0.0.1", port)).map_err(|error| error.to_string())
            });
            for (mut from, mut to) in [
                (incoming.try_clone().unwrap(), outgoing.try_clone().unwrap()),
                (outgoing, incoming),
            ] {
                std::thread::spawn(move || {
                    let _ = std::io::copy(&mut from, &mut to);
                    let _ = to.shutdown(std::net::Shutdown::Both);
                });
            }
        }
    });
}

/// What `publisher --check` prints of the broker, with this access list and these settings of mosquitto's.
fn checked(house: &mut Installation, list: &str, further: &str, arguments: &[&str]) -> (Option<i32>, String) {
    house.broker.stop();
    let acl = house.folder.join("acl");
    fs::write(&acl, list).unwrap();
    let configuration = format!("allow_anonymous true\nacl_file {}\n{further}\n", acl.display());
    house.broker.configure(&configuration);
    house.broker.start_again();
    let ran = house.publisher(&[&["--check"], arguments].concat());
    let text = ran.text();
    let results = text.split_once("\n\n").map_or("", |(_, results)| results);
    (ran.code, results.to_owned())
}

#[test]
fn a_check_says_of_the_readings_topic_whether_they_are_delivered_refused_or_discarded() {
    let mut house = Installation::new(93);
    let _capture = house.start_capture();
    let all = "topic readwrite #\n";
    let denied = format!("topic read #\ntopic write {TOPIC}/state\ntopic write {TOPIC}/availability\n");
    let delivered = format!("has delivered an empty array on {TOPIC}\n");
    for version in ["5", "3.1.1"] {
        let text = fs::read_to_string(house.folder.join("smartmeter.yml")).unwrap();
        let without: String = text
            .lines()
            .filter(|line| !line.trim_start().starts_with("version:"))
            .map(|line| format!("{line}\n"))
            .collect();
        let text = without.replacen("mqtt:\n", &format!("mqtt:\n  version: \"{version}\"\n"), 1);
        house.folder.write("smartmeter.yml", text);

        let (code, told) = checked(&mut house, all, "", &[]);
        assert_eq!(code, Some(0), "{told}");
        assert!(told.contains("was not tried; --deliver tries it"), "{told}");
        assert!(!told.contains("delivered an empty array"), "{told}");

        let (code, told) = checked(&mut house, all, "", &["--deliver"]);
        assert_eq!(code, Some(0), "{told}");
        assert!(told.contains(&delivered), "{told}");
        assert!(told.contains(&format!("(MQTT {version}")), "{told}");

        let (code, told) = checked(&mut house, &denied, "", &["--deliver"]);
        assert_eq!(code, Some(1), "{told}");
        // With a queue without a bound mosquitto 2.0.11 ends a connection of MQTT 3.1.1 at what it denies.
        let expected = match version {
            "5" => format!("refuses messages on {TOPIC}: not authorized to publish on this topic"),
            _ => format!("refuses messages on {TOPIC}: the broker closed the connection"),
        };
        assert!(
            told.contains("# FAILED mqtt.topic: ") && told.contains(&expected),
            "{told}"
        );

        if version == "3.1.1" {
            let bounded = "max_queued_messages 1000\nmax_queued_bytes 1000000";
            let (code, told) = checked(&mut house, &denied, bounded, &["--deliver"]);
            assert_eq!(code, Some(1), "{told}");
            let expected = format!("has acknowledged an empty array on {TOPIC} and has not delivered it");
            assert!(told.contains(&expected), "{told}");
        }

        // Nobody may read there: that it is delivered cannot be seen, and ok is not said.
        let unread = format!("topic write {TOPIC}\n");
        let (code, told) = checked(&mut house, &unread, "", &["--deliver"]);
        assert_eq!(code, Some(1), "{told}");
        assert!(told.contains("this user may not read there"), "{told}");
    }
    let status = house.try_status().unwrap();
    assert!(
        status.consumers.is_empty(),
        "a check is no consumer: {:?}",
        status.consumers
    );
}

#[test]
fn a_check_fails_at_what_a_run_would_fail_at() {
    let mut house = Installation::new(94);
    let _capture = house.start_capture();
    let all = "topic readwrite #\n";
    let (code, told) = checked(&mut house, all, "max_qos 0", &[]);
    assert_eq!(code, Some(1), "{told}");
    assert!(told.contains("Maximum QoS 0"), "{told}");
    let (code, told) = checked(&mut house, all, "retain_available false", &[]);
    assert_eq!(code, Some(1), "{told}");
    for key in ["state_topic", "availability_topic"] {
        let expected = format!("# FAILED mqtt.{key}: ");
        assert!(
            told.contains(&expected) && told.contains("keeps no retained messages"),
            "{told}"
        );
    }
    let (code, told) = checked(
        &mut house,
        all,
        "max_packet_size 4000\nmax_inflight_messages 7",
        &[],
    );
    assert_eq!(code, Some(0), "{told}");
    assert!(told.contains("at most 4,000 bytes in a message"), "{told}");
}

//! What a terminal is given: of names, files, telegrams and clients that want to act on it, nothing acts.

use std::fs::File;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use shared::telegram::crc16;
use shared::wire::client::Client;
use shared::wire::{PublisherReport, Start};
use tests::deadline::{SOON, wait_until};
use tests::folder::Folder;
use tests::programs::{Programs, start_capture};

/// Colour, bell, a window's title, the same with C1, a forged line, and a turned direction of writing.
const HOSTILE: &str = "\u{1b}[5m\u{7}\u{1b}]0;x\u{7}\u{9b}5m\u{9d}\u{7f}\u{8}\u{202e}\u{2066}\u{2028}";

#[test]
fn nothing_from_outside_acts_on_the_terminal() {
    let folder = Folder::new();
    let name = format!("a{HOSTILE}.txt");
    let mut telegram =
        format!("/ISK5\\{HOSTILE}2M550T\r\n\r\n0-0:96.13.0({HOSTILE})\r\n{HOSTILE}\r\n!").into_bytes();
    let crc = crc16::ARC.of(&telegram);
    telegram.extend_from_slice(format!("{crc:04X}\r\n").as_bytes());
    folder.write(
        &name,
        [telegram.as_slice(), HOSTILE.as_bytes(), b"\r\n/ISK5"].concat(),
    );
    folder.write("queue.txt", &telegram);
    folder.write(
        "lines.jsonl",
        format!("{{\"{HOSTILE}\":\"{HOSTILE}\"}}\n{{\"telegram\":\"{HOSTILE}"),
    );
    folder.write(
        "wrong.yml",
        format!("usb: {HOSTILE:?}\nmqtt:\n  {HOSTILE:?}: 1\n  topic: {HOSTILE:?}\n  address: {HOSTILE:?}\n"),
    );
    folder.write(&format!("{HOSTILE}.yml"), "usbb: 1\n");
    let queue = ["--queue", "queue", "--socket", "queue.sock"];
    let mut capture = start_capture(
        folder.path(),
        &[&["--usb", "file:queue.txt"], &queue[..]].concat(),
    );
    capture.wait_to_say("and durable", SOON);
    let mut client = Client::connect(&folder.join("queue.sock"), SOON).unwrap();
    client.open("mqtt", Start::Oldest).unwrap();
    let report = PublisherReport {
        version: HOSTILE.to_owned(),
        connection: format!("{HOSTILE}\n2026-11-20T08:00:00Z  INFO forged"),
        skipped: [(HOSTILE.to_owned(), 1)].into(),
        ..PublisherReport::default()
    };
    client.report(report).unwrap();

    let hostile_yml = format!("{HOSTILE}.yml");
    let hostile_flag = format!("--{HOSTILE}");
    let commands: [(&str, &[&str]); 16] = [
        ("capture", &["export"]),
        ("capture", &["export", "--format", "jsonl"]),
        ("capture", &["status"]),
        ("capture", &["status", "--json"]),
        ("capture", &["import", "--append", &name]),
        ("capture", &["import", "--append", "lines.jsonl"]),
        ("capture", &["import", HOSTILE]),
        ("capture", &["forget", HOSTILE]),
        ("capture", &["-config", "wrong.yml"]),
        ("capture", &["-config", &hostile_yml, "--check"]),
        ("capture", &[&hostile_flag]),
        ("publisher", &["status"]),
        ("publisher", &["status", "--json"]),
        ("publisher", &["parse", &name, "lines.jsonl", HOSTILE]),
        ("publisher", &["-config", "wrong.yml", "--check"]),
        ("publisher", &["replay", "--from", HOSTILE, "--topic", HOSTILE]),
    ];
    for (program, arguments) in commands {
        let is_alone = arguments.iter().any(|argument| argument.contains("config"));
        let arguments = [arguments, if is_alone { &[] } else { &queue[..] }].concat();
        let shown = on_a_terminal(folder.path(), program, &arguments);
        assert!(!shown.is_empty(), "{program} {arguments:?}");
        let own = [
            "\u{1b}[31m",
            "\u{1b}[32m",
            "\u{1b}[33m",
            "\u{1b}[0m",
            "\u{1b}[1m",
            "\u{1b}[4m",
            "\u{1b}[K",
        ];
        let rest = own.iter().fold(shown.clone(), |text, own| text.replace(own, ""));
        let acts =
            |c: char| (c.is_control() && !"\r\n".contains(c)) || "\u{202e}\u{2066}\u{2028}".contains(c);
        assert!(!rest.contains(acts), "{program} {arguments:?}: {rest:?}");
        assert!(
            !shown.lines().any(|line| line.starts_with("2026-11-20")),
            "{shown}"
        );
    }
    assert!(
        !capture.said().contains(|c: char| c.is_control() && c != '\n'),
        "{:?}",
        capture.said()
    );
    capture.terminate();
}

#[test]
fn no_meter_and_no_client_floods_the_log() {
    let folder = Folder::new();
    let meter = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("tcp://{}", meter.local_addr().unwrap());
    let arguments = ["--usb", &address, "--queue", "queue", "--socket", "queue.sock"];
    let mut capture = start_capture(folder.path(), &arguments);
    // A name for each telegram, each as long as a name may be.
    let (mut line, _) = meter.accept().unwrap();
    for number in 0..3000 {
        let mut telegram =
            format!("/ABC5{number}{}\r\n\r\n1-0:1.7.0(00.202*kW)\r\n!", "x".repeat(90)).into_bytes();
        let crc = crc16::ARC.of(&telegram);
        telegram.extend_from_slice(format!("{crc:04X}\r\n").as_bytes());
        line.write_all(&telegram).unwrap();
    }
    let mut client = Client::connect(&folder.join("queue.sock"), SOON).unwrap();
    wait_until("all telegrams to be taken", SOON, || {
        client.status().unwrap().head == 3000
    });
    // Beyond what a user may change at once each waits its turn.
    for _ in 0..40 {
        let mut client = Client::connect(&folder.join("queue.sock"), SOON).unwrap();
        client.open("flood", Start::Newest).unwrap();
        drop(client);
        let mut other = Client::connect(&folder.join("queue.sock"), SOON).unwrap();
        wait_until("the consumer to be free", SOON, || other.forget("flood").is_ok());
    }
    let said = capture.said();
    assert!(
        said.lines().count() < 60,
        "{} lines: {said}",
        said.lines().count()
    );
    assert!(said.len() < 10_000, "{} bytes", said.len());
    assert_eq!(
        said.matches("first telegram").count(),
        2,
        "the first, and the first of another: {said}"
    );
    assert!(!said.contains(&"x".repeat(70)), "a quotation is cut: {said}");
    capture.terminate();
}

/// What the program shows on a terminal that is its standard output and error.
fn on_a_terminal(folder: &Path, program: &str, arguments: &[&str]) -> String {
    let controller = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&controller).unwrap();
    unlockpt(&controller).unwrap();
    let path = ptsname(&controller, Vec::new()).unwrap();
    let terminal: OwnedFd = File::options()
        .read(true)
        .write(true)
        .open(path.to_str().unwrap())
        .unwrap()
        .into();
    let programs = Programs::built();
    let file = if program == "capture" {
        &programs.capture
    } else {
        &programs.publisher
    };
    let mut child = Command::new(file)
        .current_dir(folder)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(terminal.try_clone().unwrap())
        .stderr(terminal)
        .spawn()
        .unwrap();
    let reading = std::thread::spawn(move || {
        let mut shown = Vec::new();
        // The end of a terminal's other side is an error of input.
        let _ = File::from(controller).read_to_end(&mut shown);
        String::from_utf8_lossy(&shown).into_owned()
    });
    let until = std::time::Instant::now() + SOON;
    while child.try_wait().unwrap().is_none() {
        assert!(
            std::time::Instant::now() < until,
            "{program} {arguments:?} does not end"
        );
        std::thread::sleep(Duration::from_millis(5));
    }
    reading.join().unwrap()
}

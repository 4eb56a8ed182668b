//! Command lines and files as users have them: the Go program's work unchanged, and every command does
//! what its help says.

use std::collections::HashSet;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::fs::{CWD, FileType, Mode, mknodat};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tests::broker::Mosquitto;
use tests::deadline::{SOON, wait_for, wait_until};
use tests::folder::Folder;
use tests::ledger::Ledger;
use tests::meter::{Meter, PtyMeter};
use tests::process::{self, Process, clean_environment};
use tests::programs::{Programs, run_capture, run_publisher, start_capture, start_publisher};
use tests::subscriber::{Received, Subscriber};

use crate::installation::{Installation, TOPIC, assert_readings_are_true, household};
use tests::household::{Dialect, Household, Settings, crc};

/// Waits for the readings of a topic and gives them.
fn readings(subscriber: &Subscriber, topic: &str, count: usize) -> Ledger {
    let of_topic = |messages: &[Received]| {
        Ledger::of(
            messages
                .iter()
                .filter(|message| message.topic == topic)
                .map(|message| &*message.payload),
        )
    };
    subscriber.wait_for(&format!("{count} readings of {topic}"), SOON, |messages| {
        let ledger = of_topic(messages);
        if ledger.len() >= count {
            Ok(ledger)
        } else {
            Err(format!("{} readings", ledger.len()))
        }
    })
}

#[test]
fn the_go_programs_file_works_as_it_is_and_publishes_nothing_new() {
    let folder = Folder::new();
    let broker = Mosquitto::start(folder.path());
    let subscriber = Subscriber::start(broker.port(), "#");
    let mut meter = PtyMeter::plug_in(&folder.join("ttyUSB0"));
    // The file of its README, with the two addresses of this test.
    let file = format!(
        "send_interval: 1 # Seconds\n\
         debug: true\n\
         usb: {}\n\
         mqtt:\n\
         \x20 address: \"localhost:{}\"\n\
         \x20 topic: \"dev.sample.topic\"\n\
         \x20 # credfile: \"\"\n",
        meter.address(),
        broker.port()
    );
    folder.write("smartmeter-config.yml", file);
    let none: [&str; 0] = [];
    let _capture = start_capture(folder.path(), &none);
    let mut publisher = start_publisher(folder.path(), &["-config", "smartmeter-config.yml"]);
    let sent = household(41, Dialect::Dsmr5).telegrams(20);
    sent.iter().for_each(|telegram| meter.send(&telegram.bytes));
    let ledger = readings(&subscriber, "dev.sample.topic", 19);
    assert_readings_are_true(&ledger, sent.iter().map(|telegram| &telegram.truth));

    publisher.kill();
    let will = subscriber.wait_for("the will", SOON, |messages| {
        messages
            .iter()
            .find(|message| message.topic != "dev.sample.topic")
            .cloned()
            .ok_or_else(String::new)
    });
    assert_eq!(
        (will.topic.as_str(), &*will.payload),
        ("will:dev.sample.topic", &b"GoingDown"[..])
    );
    assert_eq!(
        subscriber.messages().last(),
        Some(&will),
        "nothing else was published"
    );
    let late = Subscriber::start(broker.port(), "#");
    publish_a_mark(broker.port());
    late.wait_for("the mark", SOON, |messages| {
        if messages.is_empty() {
            Err(String::new())
        } else {
            Ok(())
        }
    });
    assert_eq!(late.messages()[0].topic, "mark", "nothing was retained");
}

fn publish_a_mark(port: u16) {
    use rumqttc::{Client, Event, MqttOptions, Packet, QoS};
    let (client, mut connection) = Client::new(MqttOptions::new("mark", "127.0.0.1", port), 4);
    client.publish("mark", QoS::AtLeastOnce, false, "mark").unwrap();
    for event in connection.iter() {
        if matches!(event.unwrap(), Event::Incoming(Packet::PubAck(_))) {
            return;
        }
    }
}

#[test]
fn the_go_programs_command_lines_work_in_one_argument_and_in_many() {
    let folder = Folder::new();
    let broker = Mosquitto::start(folder.path());
    let subscriber = Subscriber::start(broker.port(), "go/#");
    let mut meter = PtyMeter::plug_in(&folder.join("ttyUSB0"));
    let (usb, address) = (meter.address(), format!("localhost:{}", broker.port()));
    let lines: [Vec<String>; 3] = [
        // As docker's users pass it: one argument.
        vec![format!(
            "-usb {usb} -mqtt_address {address} -mqtt_topic go/readings -interval 0 -debug"
        )],
        [
            format!("-usb={usb}"),
            format!("--mqtt_address={address}"),
            "-mqtt_topic=go/readings".into(),
            "--interval=0".into(),
            "-debug=true".into(),
        ]
        .to_vec(),
        [
            "-usb",
            &usb,
            "--mqtt_address",
            &address,
            "-mqtt_topic",
            "go/readings",
            "--interval",
            "0",
            "-debug",
            "true",
        ]
        .map(str::to_owned)
        .to_vec(),
    ];
    let mut household = household(42, Dialect::Dsmr5);
    for (round, line) in (1..).zip(&lines) {
        let mut capture = start_capture(folder.path(), line);
        let mut publisher = start_publisher(folder.path(), line);
        household
            .telegrams(5)
            .iter()
            .for_each(|telegram| meter.send(&telegram.bytes));
        readings(&subscriber, "go/readings", 5 * round);
        for process in [&mut publisher, &mut capture] {
            assert!(process.terminate().0.success(), "{line:?}");
        }
    }
}

#[test]
fn a_credentials_file_lets_the_publisher_in_and_a_wrong_one_is_told_in_words() {
    let folder = Folder::new();
    let passwords = folder.join("passwords");
    let made = Command::new("mosquitto_passwd")
        .arg("-b")
        .arg("-c")
        .arg(&passwords)
        .args(["meter", "s3cr=t"])
        .status();
    assert!(made.unwrap().success());
    let broker = Mosquitto::start_with(
        folder.path(),
        &format!("allow_anonymous false\npassword_file {}\n", passwords.display()),
    );
    let mut meter = PtyMeter::plug_in(&folder.join("ttyUSB0"));
    let credentials = folder.write(
        "mqtt.properties",
        "# of the broker\nuser=meter\npassword = wrong\n",
    );
    let arguments = [
        "-usb".to_owned(),
        meter.address(),
        "-mqtt_address".into(),
        format!("127.0.0.1:{}", broker.port()),
        "-mqtt_topic".into(),
        "secret/readings".into(),
        "-interval=0".into(),
        "-mqtt_cred_file".into(),
        credentials.display().to_string(),
    ];
    let subscriber = Subscriber::start_at("127.0.0.1", broker.port(), "secret/#", Some(("meter", "s3cr=t")));
    let _capture = start_capture(folder.path(), &arguments);
    let publisher = start_publisher(folder.path(), &arguments);
    household(43, Dialect::Dsmr5)
        .telegrams(3)
        .iter()
        .for_each(|telegram| meter.send(&telegram.bytes));
    wait_for("words about the credentials", SOON, || {
        let said = publisher.said().to_lowercase();
        let is_told = ["not authori", "password", "credentials"]
            .iter()
            .any(|word| said.contains(word));
        if is_told { Ok(()) } else { Err(said) }
    });
    assert!(
        !publisher.said().contains("wrong"),
        "a password is in the log:\n{}",
        publisher.said()
    );
    folder.write("mqtt.properties", "user=meter\npassword = s3cr\\=t\n");
    drop(publisher);
    let _publisher = start_publisher(folder.path(), &arguments);
    readings(&subscriber, "secret/readings", 3);
}

#[test]
fn mistakes_end_with_the_documented_code_and_name_what_is_wrong() {
    let folder = Folder::new();
    folder.write("misspelt.yml", "mqtt:\n  adress: localhost\n");
    folder.write("wrong.yml", "send_interval: soon\n");
    for run in [run_capture, run_publisher] {
        let ran = run(folder.path(), &["-config", "misspelt.yml"]);
        assert_eq!(ran.code, Some(78), "{}", ran.errors);
        for word in ["misspelt.yml", "adress", "address"] {
            assert!(ran.errors.contains(word), "no {word} in: {}", ran.errors);
        }
        let ran = run(folder.path(), &["-config", "wrong.yml"]);
        assert_eq!(ran.code, Some(78), "{}", ran.errors);
        for word in ["wrong.yml", "send_interval", "soon"] {
            assert!(ran.errors.contains(word), "no {word} in: {}", ran.errors);
        }
        let ran = run(folder.path(), &["-config", "absent.yml"]);
        assert_eq!(ran.code, Some(78), "{}", ran.errors);
        assert!(ran.errors.contains("absent.yml"), "{}", ran.errors);
        let ran = run(folder.path(), &["--no-such-flag"]);
        assert_eq!(ran.code, Some(64), "{}", ran.errors);
    }
}

#[test]
fn secrets_that_others_can_read_are_told_at_the_start_and_by_the_check() {
    let folder = Folder::new();
    let made = Command::new("openssl")
        .args([
            "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=Home", "-keyout",
        ])
        .arg(folder.join("client.key"))
        .arg("-out")
        .arg(folder.join("client.pem"))
        .stderr(Stdio::null())
        .status()
        .unwrap();
    assert!(made.success());
    folder.write("decryption.key", "AB".repeat(16));
    folder.write("authentication.key", "CD".repeat(16));
    folder.write("credentials", "user=a\npassword=b\n");
    folder.write(
        "open.yml",
        "decryption_key: file:decryption.key\n\
         authentication_key: file:authentication.key\n\
         mqtt:\n\
         \x20 address: ['broker.invalid:1883', 'mqtts://127.0.0.1:9', 'mqtt://127.0.0.1:9']\n\
         \x20 cred_file: credentials\n\
         \x20 client_cert_file: client.pem\n\
         \x20 client_key_file: client.key\n",
    );
    let files = [
        "decryption.key",
        "authentication.key",
        "credentials",
        "client.key",
    ];
    for (mode, who) in [
        (0o644, Some("every user of this machine can read it")),
        (0o640, Some("every member of its group can read it")),
        (0o600, None),
    ] {
        for file in files {
            std::fs::set_permissions(folder.join(file), PermissionsExt::from_mode(mode)).unwrap();
        }
        let checked = run_publisher(folder.path(), &["-config", "open.yml", "--check"]).text();
        let mut publisher = start_publisher(folder.path(), &["-config", "open.yml"]);
        publisher.wait_to_say("waiting for capture", SOON);
        publisher.terminate();
        let said = publisher.said();
        let mut expected = vec!["go to broker.invalid:1883 in clear text".to_owned()];
        expected.extend(
            who.into_iter()
                .flat_map(|who| files.map(|file| format!("{file} holds a secret and {who}"))),
        );
        for words in expected {
            let lines = |text: &str| text.lines().filter(|line| line.contains(&words)).count();
            assert_eq!(lines(&checked), 1, "mode {mode:o}, {words}:\n{checked}");
            assert_eq!(lines(&said), 1, "mode {mode:o}, {words}:\n{said}");
        }
        assert_eq!(said.contains("holds a secret"), who.is_some(), "{said}");
        assert!(checked.contains("# note   mqtt: user and password"), "{checked}");
    }
}

#[test]
fn what_stands_in_the_place_of_a_file_or_a_folder_is_named_and_not_waited_for() {
    let folder = Folder::new();
    let made = Mode::RUSR | Mode::WUSR;
    mknodat(CWD, folder.join("pipe"), FileType::Fifo, made, 0).unwrap();
    std::os::unix::fs::symlink("nowhere", folder.join("dangling")).unwrap();
    std::fs::create_dir(folder.join("made")).unwrap();
    folder.write("empty", "");
    for (name, what) in [
        ("pipe", "a named pipe"),
        ("dangling", "a link to nowhere"),
        ("made", "a folder"),
        ("/dev/zero", "a device"),
    ] {
        let keys = [
            format!("decryption_key: file:{name}"),
            format!("mqtt: {{cred_file: {name}}}"),
            format!("mqtt: {{address: 'mqtts://127.0.0.1:9', ca_file: {name}}}"),
            format!(
                "mqtt: {{address: 'mqtts://127.0.0.1:9', client_cert_file: {name}, client_key_file: {name}}}"
            ),
        ];
        for key in keys {
            folder.write("named.yml", format!("{key}\n"));
            let checked = run_publisher(folder.path(), &["-config", "named.yml", "--check"]);
            assert!(
                checked.text().contains(&format!("it is {what}")),
                "{key}: {checked:?}"
            );
        }
        let read = [
            run_capture(folder.path(), &["-config", name]),
            run_publisher(folder.path(), &["-config", name]),
            run_capture(folder.path(), &["import", name]),
        ];
        for ran in read {
            assert!(ran.errors.contains(&format!("is {what}")), "{ran:?}");
        }
    }
    for (name, what) in [
        ("pipe", "is a named pipe"),
        ("dangling", "is a link to nowhere"),
        ("empty", "is a regular file"),
    ] {
        for command in [
            &["--usb", "file:empty", "--once"][..],
            &["export"],
            &["import", "empty"],
        ] {
            let ran = run_capture(folder.path(), &[command, &["--queue", name]].concat());
            assert!(
                ran.errors.contains(what) && ran.errors.contains("queue.path"),
                "{ran:?}"
            );
            assert_eq!(
                ran.code,
                Some(if command == ["export"] { 1 } else { 74 }),
                "{ran:?}"
            );
        }
        let ran = run_capture(folder.path(), &["status", "--socket", name]);
        assert!(
            ran.errors.contains(what) && ran.errors.contains("queue.socket"),
            "{ran:?}"
        );
    }
    let waiting = ["--usb", "file:pipe", "--queue", "queue"];
    let checked = run_capture(folder.path(), &[&waiting[..], &["--check"]].concat());
    assert_eq!(checked.code, Some(0), "{checked:?}");
    let mut capture = start_capture(folder.path(), &waiting);
    capture.wait_to_say("port file:pipe", SOON);
    assert!(
        capture.terminate().0.success(),
        "a pipe that nobody writes to is no reason to go on"
    );
}

#[test]
fn every_commands_help_fits_80_columns_and_has_its_own_options_first() {
    let folder = Folder::new();
    for (program, commands) in [
        (
            "capture",
            &["", "run", "export", "import", "status", "forget", "renew"][..],
        ),
        ("publisher", &["", "run", "replay", "parse", "status"]),
    ] {
        let packaged = format!("smartmeter-{program}");
        for name in [program, &packaged] {
            for command in commands {
                let words = [*command, "--help"];
                let words = words.iter().filter(|word| !word.is_empty());
                let ran = installed_as(&folder, name)
                    .args(words)
                    .env("COLUMNS", "80")
                    .output()
                    .unwrap();
                assert_eq!(ran.status.code(), Some(0));
                help_reads_well(name, &String::from_utf8(ran.stdout).unwrap());
            }
        }
    }
}

/// A copy of the program whose name this ends with.
fn installed_as(folder: &Folder, name: &str) -> Command {
    let programs = Programs::built();
    let program = if name.ends_with("capture") {
        programs.capture()
    } else {
        programs.publisher()
    };
    let copy = folder.join(name);
    if !copy.exists() {
        // A program of its own copies it: a file that this process has open for writing cannot be started while
        // another test forks.
        let copied = Command::new("cp").arg(program.get_program()).arg(&copy).status();
        assert!(copied.unwrap().success());
    }
    let mut command = Command::new(&copy);
    clean_environment(&mut command);
    command
}

#[test]
fn hints_name_the_commands_of_the_package_if_it_has_installed_them() {
    let folder = Folder::new();
    let run = |name: &str, arguments: &[&str]| {
        let mut command = installed_as(&folder, name);
        process::run(command.current_dir(folder.path()).args(arguments), b"", SOON)
    };
    folder.write("words.txt", "no telegram\n");
    for (prefix, others) in [("", "smartmeter-capture"), ("smartmeter-", "`capture")] {
        let ran = run(
            &format!("{prefix}capture"),
            &["import", "--queue", "q", "words.txt"],
        );
        let error = format!(
            "{prefix}capture: no telegram in words.txt: expected a raw capture of a P1 port, or what "
        );
        let hint = format!("{error}`{prefix}capture export` printed");
        assert!(
            ran.errors.contains(&hint) && !ran.errors.contains(others),
            "{ran:?}"
        );
        let ran = run(&format!("{prefix}publisher"), &["--check"]);
        let hint = format!("the meter's port is checked by `{prefix}capture --check`");
        assert!(
            ran.text().contains(&hint) && !ran.text().contains(others),
            "{ran:?}"
        );
        let ran = run(&format!("{prefix}capture"), &["--version"]);
        assert_eq!(
            ran.text(),
            format!("{prefix}capture {}\n", env!("CARGO_PKG_VERSION"))
        );
    }
}

#[test]
fn who_may_not_use_the_socket_is_told_of_sudo_and_of_its_group() {
    let mut house = Installation::new(49);
    house.configure(10, "", "");
    let _capture = house.start_capture();
    house.send(1);
    house.wait_for_head(1);
    let socket = house.socket();
    let mut command = installed_as(&house.folder, "capture");
    command.current_dir("/").args(["status", "--socket"]).arg(&socket);
    let mode = std::fs::Permissions::from_mode;
    if rustix::process::geteuid().is_root() {
        // To an ordinary user the socket is another one's.
        command.uid(NOBODY).gid(NOBODY);
        std::fs::set_permissions(house.folder.path(), mode(0o755)).unwrap();
        std::os::unix::fs::chown(&socket, None, Some(DIALOUT)).unwrap();
    } else {
        std::fs::set_permissions(&socket, mode(0)).unwrap();
    }
    let ran = process::run(&mut command, b"", SOON);
    assert_eq!(ran.code, Some(1), "{ran:?}");
    let words = format!(
        "no permission to use the socket {}: run this with `sudo`, or join ",
        socket.display()
    );
    assert!(ran.errors.contains(&words), "{ran:?}");
    if rustix::process::geteuid().is_root() {
        let words = "join its group (`sudo usermod -aG dialout nobody`) and log in again";
        assert!(ran.errors.contains(words), "{ran:?}");
    }
}

/// As Debian numbers them.
const NOBODY: u32 = 65_534;
const DIALOUT: u32 = 20;

fn help_reads_well(program: &str, help: &str) {
    for line in help.lines() {
        assert!(line.chars().count() <= 80, "{line:?} is wider than 80 columns");
    }
    let (before, shared) = help
        .split_once("\nConfiguration (a flag stands for a key that the file leaves out):\n")
        .unwrap_or_else(|| panic!("no heading of the shared flags in:\n{help}"));
    assert!(
        before.contains("\nOptions:\n"),
        "no options of its own first:\n{help}"
    );
    assert!(
        !before.contains("--mqtt_address") && shared.contains("--mqtt_address"),
        "{help}"
    );
    let (_, examples) = shared
        .split_once("\nExample")
        .unwrap_or_else(|| panic!("no example in:\n{help}"));
    // Each on one line, so that it can be copied: what is wrapped does not begin with the program's name.
    let examples = examples.lines().skip(1).take_while(|line| !line.is_empty());
    assert!(
        examples.clone().count() > 0 && examples.clone().all(|line| line.contains(program)),
        "an example is wrapped in:\n{help}"
    );
    // Both programs speak in one voice: commands say what they do.
    let summary = help.lines().next().unwrap_or_default();
    let verb = summary.split([' ', ',']).next().unwrap_or_default();
    assert!(verb.ends_with('s'), "{summary:?} is not in the third person");
}

#[test]
fn a_fatal_error_of_a_service_is_a_log_line_in_both_and_that_of_a_command_is_not() {
    let folder = Folder::new();
    folder.write("wrong.yml", "# of a test\ninterval: 10\n");
    let expected = "wrong.yml:2: interval: unknown key; did you mean `send_interval`?\n";
    for program in ["capture", "publisher"] {
        let run = |arguments: &[&'static str]| match program {
            "capture" => run_capture(folder.path(), arguments),
            _ => run_publisher(folder.path(), arguments),
        };
        let ran = run(&["-config", "wrong.yml"]);
        assert_eq!(ran.code, Some(78), "{}", ran.errors);
        assert!(
            ran.errors.ends_with(&format!("ERROR {expected}")),
            "{}",
            ran.errors
        );
        let ran = run(&["status", "-config", "wrong.yml"]);
        assert_eq!(ran.errors, format!("{program}: {expected}"));
    }
}

#[test]
fn export_prints_byte_for_byte_what_the_meter_sent_with_and_without_capture_running() {
    let mut house = Installation::new(44);
    let mut capture = house.start_capture();
    house.send(120);
    house.wait_for_head(120);
    let all: Vec<u8> = house
        .sent
        .iter()
        .flat_map(|telegram| telegram.bytes.clone())
        .collect();
    let some: Vec<u8> = house.sent[9..20]
        .iter()
        .flat_map(|telegram| telegram.bytes.clone())
        .collect();
    for is_running in [true, false] {
        if !is_running {
            capture.terminate();
        }
        assert!(
            house.capture(&["export"]).done().output == all,
            "running: {is_running}"
        );
        let part = house
            .capture(&["export", "--from", "#10", "--to", "#20", "--format", "raw"])
            .done();
        assert_eq!(
            String::from_utf8_lossy(&part.output),
            String::from_utf8_lossy(&some),
            "running: {is_running}"
        );
        let exported = house
            .capture(&["export", "--from", "1h", "--format", "jsonl"])
            .done()
            .text();
        let lines: Vec<Value> = exported
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        assert_eq!(lines.len(), 120);
        house.folder.write("export.jsonl", &exported);
        house.folder.write("raw.txt", &all);
        assert_eq!(
            house.publisher(&["parse", "export.jsonl"]).done().text(),
            house.publisher(&["parse", "raw.txt"]).done().text(),
            "an export is parsed as what it holds"
        );
        for (line, (n, telegram)) in lines.iter().zip((1..).zip(&house.sent)) {
            assert_eq!(line["sequence"], n);
            assert!(
                line["captured_at"].as_str().is_some_and(|at| at.ends_with('Z')),
                "{line}"
            );
            assert_eq!(
                line["telegram"].as_str().map(str::as_bytes),
                Some(&*telegram.bytes)
            );
        }
    }
}

#[test]
fn an_export_that_is_interrupted_says_where_to_go_on_and_both_parts_are_the_whole() {
    let mut house = Installation::new(53);
    let telegrams = house.household.telegrams(2_000);
    let all: Vec<u8> = telegrams
        .iter()
        .flat_map(|telegram| telegram.bytes.clone())
        .collect();
    house.folder.write("telegrams.txt", &all);
    house.capture(&["import", "telegrams.txt"]).done();
    for is_running in [false, true] {
        let _capture = is_running.then(|| house.start_capture());
        let mut child = Programs::built()
            .capture()
            .current_dir(house.folder.path())
            .args(["-config", "smartmeter.yml", "export"])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // What is exported is more than the pipe holds: it waits for its reader.
        let mut output = child.stdout.take().unwrap();
        let mut part = vec![0; 1_000];
        output.read_exact(&mut part).unwrap();
        kill_process(Pid::from_child(&child), Signal::INT).unwrap();
        output.read_to_end(&mut part).unwrap();
        let ended = child.wait_with_output().unwrap();
        let errors = String::from_utf8_lossy(&ended.stderr).into_owned();
        assert_eq!(ended.status.code(), Some(75), "{errors}");
        let place = errors
            .split_once("go on with --from \"")
            .and_then(|(_, rest)| rest.split_once('"'))
            .map(|(place, _)| place.to_owned())
            .unwrap_or_else(|| panic!("no place in {errors:?}"));
        assert!(part.len() < all.len(), "it was done before it was interrupted");
        let rest = house.capture(&["export", "--from", &place]).done();
        part.extend_from_slice(&rest.output);
        assert!(part == all, "running: {is_running}, from {place}");
    }
}

#[test]
fn a_capture_that_is_stopped_is_told_as_such_and_soon() {
    let mut house = Installation::new(52);
    let capture = house.start_capture();
    house.send(5);
    house.wait_for_head(5);
    house.folder.write("telegrams.txt", &house.sent[0].bytes);
    capture.signal(Signal::STOP);
    // Its kernel takes connections for it, so only the answer is missing.
    for arguments in [
        &["export"][..],
        &["import", "--append", "telegrams.txt"],
        &["status"],
    ] {
        let began = Instant::now();
        let ran = house.capture(arguments);
        assert!(matches!(ran.code, Some(75 | 1)), "{arguments:?}: {ran:?}");
        assert!(
            ran.errors.contains("stopped") && ran.errors.contains("queue.sock"),
            "{arguments:?}: {ran:?}"
        );
        assert!(
            began.elapsed() < Duration::from_secs(15),
            "{arguments:?}: after {:?}",
            began.elapsed()
        );
    }
    capture.signal(Signal::CONT);
    let sent: usize = house.sent.iter().map(|telegram| telegram.bytes.len()).sum();
    assert_eq!(house.capture(&["export"]).done().output.len(), sent);
}

#[test]
fn both_programs_print_their_checks_alike() {
    let folder = Folder::new();
    let arguments = [
        "--usb",
        "file:missing.txt",
        "--mqtt_address",
        "127.0.0.1:1",
        "--queue",
        "queue",
        "--socket",
        "queue.sock",
        "--check",
    ];
    let of_capture = run_capture(folder.path(), &arguments);
    let of_publisher = run_publisher(folder.path(), &arguments);
    let parts = [&of_capture, &of_publisher].map(|ran| {
        assert_eq!(ran.code, Some(1), "{ran:?}");
        let text = ran.text();
        let (values, results) = text.split_once("\n\n").unwrap_or_else(|| panic!("{text}"));
        for line in results.lines() {
            let is_marked = ["# ok     ", "# FAILED ", "# note   "].map(|mark| line.starts_with(mark));
            assert!(is_marked.contains(&true), "{text}");
        }
        (values.to_owned(), results.to_owned())
    });
    assert_eq!(parts[0].0, parts[1].0);
    assert!(parts[0].0.starts_with("# no configuration file"), "{parts:?}");
    assert!(parts[0].1.contains("# FAILED usb: "), "{parts:?}");
    assert!(parts[1].1.contains("# FAILED mqtt.address: "), "{parts:?}");
}

#[test]
fn a_check_beside_a_capture_that_waits_for_its_port_fails() {
    let folder = Folder::new();
    let device = folder.join("ttyUSB0").display().to_string();
    let arguments = ["--usb", &device, "--queue", "queue", "--socket", "queue.sock"];
    let capture = start_capture(folder.path(), &arguments);
    wait_for("words about the device", SOON, || {
        let said = capture.said();
        if said.contains("there is no device") {
            Ok(())
        } else {
            Err(said)
        }
    });
    let check = run_capture(folder.path(), &[&arguments[..], &["--check"]].concat());
    let found =
        format!("# FAILED usb: {device} is with the running capture, which waits: there is no device");
    assert!(check.text().contains(&found), "{check:?}");
    assert_eq!(check.code, Some(1), "{check:?}");

    let _meter = PtyMeter::plug_in(&folder.join("ttyUSB0"));
    wait_for("the check to pass", SOON, || {
        let check = run_capture(folder.path(), &[&arguments[..], &["--check"]].concat());
        match check.code {
            Some(0) => Ok(()),
            _ => Err(check.text()),
        }
    });
}

#[test]
fn a_file_is_taken_in_once_and_capture_ends_when_all_is_durable() {
    let mut house = Installation::new(45);
    let sent = house.household.telegrams(200);
    let file: Vec<u8> = sent.iter().flat_map(|telegram| telegram.bytes.clone()).collect();
    house.folder.write("capture.txt", &file);
    let port = format!("file:{}", house.folder.join("capture.txt").display());
    let arguments = [
        "--usb",
        &port,
        "--queue",
        "queue",
        "--socket",
        "queue.sock",
        "--once",
    ];
    run_capture(house.folder.path(), &arguments).done();
    let exported = run_capture(
        house.folder.path(),
        &["export", "--queue", "queue", "--socket", "queue.sock"],
    )
    .done();
    assert!(
        exported.output == file,
        "{} bytes in, {} out",
        file.len(),
        exported.output.len()
    );

    // The same as an import into another queue, twice: the second time nothing is new.
    for _ in 0..2 {
        run_capture(
            house.folder.path(),
            &["import", "capture.txt", "--queue", "other"],
        )
        .done();
        let arguments = ["export", "--queue", "other", "--socket", "other.sock"];
        assert!(run_capture(house.folder.path(), &arguments).done().output == file);
    }
}

#[test]
fn status_tells_of_both_programs_what_is_so() {
    let mut house = Installation::new(46);
    house.configure(0, "", "");
    assert!(
        matches!(house.publisher(&["status"]).code, Some(1)),
        "nothing runs"
    );
    let _capture = house.start_capture();
    house.send(30);
    house.wait_for_head(30);
    let status = house.capture(&["status", "--json"]).done().json();
    assert_eq!(
        [&status["accepted"], &status["head"], &status["tail"]],
        [30, 30, 1],
        "{status}"
    );
    house.capture(&["status", "--max-age", "1h"]).done();
    assert!(house.capture(&["status"]).done().text().contains("30"));
    wait_until("the last telegram to be older than a second", SOON, || {
        house.capture(&["status", "--max-age", "1s"]).code == Some(1)
    });
    assert_eq!(
        house.publisher(&["status"]).code,
        Some(1),
        "no publisher is connected"
    );

    let _publisher = house.start_publisher();
    house.wait_for_reading(30, SOON);
    let status = wait_for("the publisher to report that it is done", SOON, || {
        let ran = house.publisher(&["status", "--json", "--max-lag", "0"]);
        if ran.code == Some(0) {
            Ok(ran.json())
        } else {
            Err(format!("{}{}", ran.text(), ran.errors))
        }
    });
    assert!(
        status.to_string().contains("mqtt"),
        "the consumer is named: {status}"
    );

    // While it is connected a consumer cannot be removed; one that does not exist is said.
    assert_ne!(house.capture(&["forget", "mqtt"]).code, Some(0));
}

#[test]
fn values_that_stop_coming_are_named_until_they_come_again() {
    let household = Household::new(Settings {
        phases: 1,
        period_seconds: 10,
        ..Settings::seeded(48, Dialect::Dsmr5)
    });
    let mut house = Installation::with(household);
    house.configure(60, "", "");
    let bytes: Vec<u8> = (house.household.telegrams(700).iter().enumerate())
        .flat_map(|(at, telegram)| match at {
            0..200 => telegram.bytes.clone(),
            _ => without_line(&telegram.bytes, "1-0:32.7.0"),
        })
        .collect();
    house.folder.write("year.txt", bytes);
    house.capture(&["import", "year.txt"]).done();
    let again = house.household.telegram().bytes;
    let _capture = house.start_capture();
    let publisher = house.start_publisher();
    let line = publisher.wait_to_say("values have stopped coming", SOON);
    assert!(
        line.contains("telegram #561") && line.contains("while telegrams go on: voltage_l1_v ("),
        "{line}"
    );
    let stopped = |expected: Value| {
        wait_for("the status to name what has stopped", SOON, || {
            let status = house.publisher(&["status", "--json"]).json();
            if status["stopped"] == expected {
                Ok(())
            } else {
                Err(status.to_string())
            }
        });
    };
    stopped(json!({ "voltage_l1_v": 500 }));
    let text = house.publisher(&["status"]).text();
    let words = "voltage_l1_v, not in the last 500 telegrams";
    assert!(text.contains(words), "{text}");
    let text = house.capture(&["status"]).text();
    assert!(
        text.contains("voltage_l1_v has stopped coming, 500 telegrams ago"),
        "{text}"
    );

    house.folder.write("again.txt", again);
    house.capture(&["import", "--append", "again.txt"]).done();
    publisher.wait_to_say("telegram #701: values come again: voltage_l1_v", SOON);
    stopped(json!({}));
    assert_eq!(
        publisher.said().matches("stopped coming").count(),
        1,
        "{}",
        publisher.said()
    );
}

/// The telegram without the line of this reference, with the CRC that it has then.
fn without_line(telegram: &[u8], reference: &str) -> Vec<u8> {
    let lines = telegram.split_inclusive(|byte| *byte == b'\n');
    let is_kept = |line: &&[u8]| !line.starts_with(reference.as_bytes()) && !line.starts_with(b"!");
    let mut rest = lines.filter(is_kept).collect::<Vec<_>>().concat();
    assert!(rest.len() + 10 < telegram.len(), "there is no {reference}");
    rest.push(b'!');
    let crc = crc::arc(&rest);
    rest.extend_from_slice(format!("{crc:04X}\r\n").as_bytes());
    rest
}

#[test]
fn a_consumer_that_is_gone_for_good_can_be_forgotten() {
    let mut house = Installation::new(47);
    house.configure(0, "", "");
    let _capture = house.start_capture();
    let mut publisher = house.start_publisher();
    house.send(5);
    house.wait_for_reading(5, SOON);
    publisher.terminate();
    let names = |house: &Installation| -> Vec<String> {
        house
            .try_status()
            .unwrap()
            .consumers
            .into_iter()
            .map(|consumer| consumer.name)
            .collect()
    };
    assert_eq!(names(&house), ["mqtt"]);
    house.capture(&["forget", "mqtt"]).done();
    assert_eq!(names(&house), Vec::<String>::new());
}

#[test]
fn a_replay_that_is_interrupted_says_where_to_go_on_and_both_parts_are_the_whole() {
    let mut house = Installation::new(54);
    house.configure(0, "", "");
    let telegrams = house.household.telegrams(3_000);
    let all: Vec<u8> = telegrams
        .iter()
        .flat_map(|telegram| telegram.bytes.clone())
        .collect();
    house.folder.write("telegrams.txt", &all);
    house.capture(&["import", "telegrams.txt"]).done();
    let _capture = house.start_capture();
    let payloads = |messages: &[Received]| -> Vec<Vec<u8>> {
        let mut known = HashSet::new();
        let payloads = messages.iter().map(|message| message.payload.to_vec());
        payloads.filter(|payload| known.insert(payload.clone())).collect()
    };
    let wait_for_all = |subscriber: &Subscriber| {
        subscriber.wait_for("every telegram", SOON, |messages| {
            let payloads = payloads(messages);
            if payloads.len() >= 3_000 {
                Ok(payloads)
            } else {
                Err(format!("{} messages", payloads.len()))
            }
        })
    };
    let whole = Subscriber::start(house.broker.port(), "whole/#");
    house
        .publisher(&["replay", "--from", "#1", "--topic", "whole/x"])
        .done();
    let whole = wait_for_all(&whole);

    // More than the window holds has come, so that some has been acknowledged, and nothing else will be.
    let parts = Subscriber::start(house.broker.port(), "parts/#");
    house.proxy.delay(Duration::from_millis(300));
    let arguments = [
        "-config",
        "smartmeter.yml",
        "replay",
        "--from",
        "#1",
        "--topic",
        "parts/x",
    ];
    let mut replay = start_publisher(house.folder.path(), &arguments);
    parts.wait_for("more than a window", SOON, |messages| {
        if messages.len() > 1_024 {
            Ok(())
        } else {
            Err(format!("{} messages", messages.len()))
        }
    });
    house.proxy.swallow_acknowledgements(true);
    replay.signal(Signal::INT);
    let line = replay.wait_to_say("go on with --from", SOON);
    assert_eq!(replay.wait(SOON).code(), Some(75));
    house.proxy.swallow_acknowledgements(false);
    house.proxy.delay(Duration::ZERO);
    let place = line.split('"').nth(1).unwrap();
    let number: u64 = place.trim_start_matches('#').parse().unwrap();
    assert!((2..=3_000).contains(&number), "{line}");
    let again = house
        .publisher(&["replay", "--from", place, "--topic", "parts/x"])
        .done();
    assert!(
        again
            .errors
            .contains(&format!("replayed telegrams {place} to #3000")),
        "{}",
        again.errors
    );
    assert!(wait_for_all(&parts) == whole, "from {place}");
}

#[test]
fn a_replay_publishes_the_same_bytes_again_and_moves_no_cursor() {
    let mut house = Installation::new(48);
    let _capture = house.start_capture();
    let _publisher = house.start_publisher();
    house.send(99);
    house.send_into_the_next(10);
    house.wait_for_reading(99, SOON);
    let first = house.subscriber.wait_for("the last summary", SOON, |messages| {
        let summaries = messages
            .iter()
            .filter(|message| message.topic.ends_with("/summary"))
            .count();
        if summaries >= 10 {
            Ok(messages.to_vec())
        } else {
            Err(format!("{summaries} summaries"))
        }
    });
    let delivered = |messages: &[Received]| -> Vec<(String, String)> {
        messages
            .iter()
            .filter(|message| message.topic == TOPIC || message.topic.ends_with("/summary"))
            .map(|message| {
                (
                    message.topic.clone(),
                    String::from_utf8_lossy(&message.payload).into_owned(),
                )
            })
            .collect()
    };
    let cursor = |house: &Installation| house.try_status().unwrap().consumers[0].cursor;
    wait_until("the cursor to stand at the last closed interval", SOON, || {
        cursor(&house) == 99
    });

    let count = house.subscriber.count();
    // Rounded outwards: sequence 25 is in the interval of 20 to 29, 50 in that of 50 to 59.
    house
        .publisher(&["replay", "--from", "#25", "--to", "#50"])
        .done();
    let expected: Vec<_> = delivered(&first)
        .into_iter()
        .filter(|(topic, payload)| {
            let payload: Value = serde_json::from_str(payload).unwrap();
            let sequence = if topic == TOPIC {
                &payload[0]["Sequence"]
            } else {
                &payload["first_sequence"]
            };
            (20..=50).contains(&sequence.as_u64().unwrap())
        })
        .collect();
    assert_eq!(
        expected.len(),
        8,
        "four intervals, each with readings and a summary"
    );
    let again = house.subscriber.wait_for("the replay", SOON, |messages| {
        let again = delivered(&messages[count..]);
        if again.len() >= 8 {
            Ok(again)
        } else {
            Err(format!("{} messages", again.len()))
        }
    });
    assert_eq!(again, expected);
    assert_eq!(cursor(&house), 99);

    // To another topic: the readings alone.
    let elsewhere = Subscriber::start(house.broker.port(), "elsewhere/#");
    house
        .publisher(&["replay", "--from", "#1", "--topic", "elsewhere/readings"])
        .done();
    readings(&elsewhere, "elsewhere/readings", 99);
    assert!(
        elsewhere
            .messages()
            .iter()
            .all(|message| message.topic == "elsewhere/readings")
    );
    assert_eq!(
        house.received("availability"),
        ["online"],
        "a replay neither says nor unsays that it is there"
    );
}

/// As the compositions ask for it: an engine would start it again for ever.
#[test]
fn where_it_is_asked_for_a_wrong_configuration_is_waited_out() {
    let folder = Folder::new();
    for name in ["capture", "publisher"] {
        let file = folder.write("smartmeter.yml", "usbb: /dev/ttyUSB0\n");
        let start = || {
            let mut command = match name {
                "capture" => Programs::built().capture(),
                _ => Programs::built().publisher(),
            };
            let asked = command
                .env("SMARTMETER_WAIT_FOR_CONFIG", "yes")
                .current_dir(folder.path());
            Process::start(name, asked.args(["--config", "smartmeter.yml"]))
        };
        let words = "waiting until smartmeter.yml changes";
        let mut changed = start();
        let mut stopped = start();
        for process in [&mut changed, &mut stopped] {
            process.wait_to_say("usbb", SOON);
            process.wait_to_say(words, SOON);
            assert!(process.is_running(), "{}", process.said());
        }
        assert_eq!(stopped.terminate().0.code(), Some(78));
        assert!(changed.is_running(), "{}", changed.said());
        std::fs::write(&file, "usb: /dev/none\n").unwrap();
        assert_eq!(changed.wait(SOON).code(), Some(78));

        // Otherwise, and for every other command, it ends at once.
        folder.write("smartmeter.yml", "usbb: /dev/ttyUSB0\n");
        let run = if name == "capture" {
            run_capture
        } else {
            run_publisher
        };
        assert_eq!(run(folder.path(), &["--config", "smartmeter.yml"]).code, Some(78));
    }
}

#[test]
fn a_configuration_that_is_a_folder_is_said_to_be_one() {
    let folder = Folder::new();
    std::fs::create_dir(folder.join("smartmeter-config.yml")).unwrap();
    for arguments in [&["status"][..], &["--config", "smartmeter-config.yml"]] {
        for ran in [
            run_capture(folder.path(), arguments),
            run_publisher(folder.path(), arguments),
        ] {
            assert_eq!(ran.code, Some(78), "{}", ran.errors);
            let words = "smartmeter-config.yml is a folder; ";
            assert!(ran.errors.contains(words), "{}", ran.errors);
        }
    }
}

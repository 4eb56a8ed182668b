//! The connection to a real mosquitto: versions, limits, permissions, passwords, TLS, will, restart.

#![expect(clippy::expect_used, reason = "a test that cannot go on has failed")]

use std::collections::VecDeque;
use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command as Program, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;
use publisher::delivery::{Fault, Kind, Message};
use publisher::mqtt::{
    Cause, Command, Login, Mqtt, MqttEvent, MqttSettings, TlsFiles, Topics, Trouble, Will, configure_tls,
};
use shared::config::{BrokerAddress, BrokerOrder, MqttVersion};

const DEADLINE: Duration = Duration::from_secs(20);

/// A mosquitto with a configuration of its own, in a folder of its own.
struct Mosquitto {
    folder: tempfile::TempDir,
    port: u16,
    process: Child,
}

impl Mosquitto {
    fn start(configuration: &str) -> Self {
        Self::start_in(tempfile::tempdir().expect("a folder"), configuration)
    }

    fn start_in(folder: tempfile::TempDir, configuration: &str) -> Self {
        let port = TcpListener::bind("127.0.0.1:0")
            .and_then(|it| it.local_addr())
            .expect("a port")
            .port();
        let text = configuration.replace("FOLDER", &folder.path().display().to_string());
        let text = format!("user root\nlistener {port} 127.0.0.1\n{text}\n");
        fs::write(folder.path().join("mosquitto.conf"), text).expect("a configuration");
        let process = Self::spawn(folder.path(), port);
        Self {
            folder,
            port,
            process,
        }
    }

    fn spawn(folder: &Path, port: u16) -> Child {
        let mut process = Program::new("mosquitto")
            .env(
                "PATH",
                format!("{}:/usr/sbin", std::env::var("PATH").unwrap_or_default()),
            )
            .arg("-c")
            .arg(folder.join("mosquitto.conf"))
            .stdout(Stdio::null())
            .stderr(fs::File::create(folder.join("mosquitto.log")).expect("a log"))
            .spawn()
            .expect("mosquitto is installed");
        let deadline = Instant::now() + DEADLINE;
        while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
            let log = fs::read_to_string(folder.join("mosquitto.log")).unwrap_or_default();
            assert!(
                process.try_wait().expect("its state").is_none(),
                "mosquitto ended: {log}"
            );
            assert!(Instant::now() < deadline, "mosquitto does not listen: {log}");
            thread::sleep(Duration::from_millis(10));
        }
        process
    }

    fn stop(&mut self) {
        self.process.kill().expect("it runs");
        self.process.wait().expect("it ended");
    }

    fn restart(&mut self) {
        self.process = Self::spawn(self.folder.path(), self.port);
    }

    fn settings(&self, version: MqttVersion) -> MqttSettings {
        MqttSettings {
            brokers: vec![BrokerAddress {
                host: "127.0.0.1".to_owned(),
                port: self.port,
                is_tls: false,
            }],
            order: BrokerOrder::Listed,
            version,
            client_id: "publisher-test".to_owned(),
            login: None,
            tls: None,
            will: None,
            topics: Topics {
                readings: "meter".to_owned(),
                summary: Some("meter/summary".to_owned()),
                state: Some("meter/state".to_owned()),
                availability: Some("meter/availability".to_owned()),
            },
        }
    }

    /// What mosquitto_sub prints of the next messages on this topic.
    fn subscribe(&self, topic: &str, count: usize) -> thread::JoinHandle<String> {
        // Line by line: it tells on standard output when it has subscribed.
        let program = Program::new("stdbuf")
            .args(["-oL", "mosquitto_sub"])
            .args([
                "-p",
                &self.port.to_string(),
                "-t",
                topic,
                "-q",
                "1",
                "-d",
                "-C",
                &count.to_string(),
            ])
            .args(["-W", "20"])
            .stdout(Stdio::piped())
            .spawn()
            .expect("mosquitto_sub is installed");
        let (ready, is_ready) = channel();
        let reader = thread::spawn(move || {
            let mut program = program;
            let mut text = String::new();
            let out = program.stdout.take().expect("piped");
            for line in std::io::BufRead::lines(std::io::BufReader::new(out)).map_while(Result::ok) {
                if line.starts_with("Subscribed") {
                    let _ = ready.send(());
                }
                text.push_str(&line);
                text.push('\n');
            }
            let _ = program.wait();
            text
        });
        is_ready.recv_timeout(DEADLINE).expect("subscribed");
        reader
    }
}

impl Drop for Mosquitto {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

struct Bench {
    mqtt: Mqtt,
    events: Receiver<MqttEvent>,
    connection: u64,
    /// Told together with one that was asked for.
    acknowledged: VecDeque<u64>,
}

impl Bench {
    fn start(settings: MqttSettings) -> Self {
        let (sender, events) = channel();
        let mqtt = Mqtt::start(settings, move |event| {
            let _ = sender.send(event);
        })
        .expect("a thread");
        mqtt.tell(Command::Connect {
            queue: Some("q1".to_owned()),
        })
        .expect("the thread runs");
        Self {
            mqtt,
            events,
            connection: 0,
            acknowledged: VecDeque::new(),
        }
    }

    fn next(&self) -> MqttEvent {
        self.events.recv_timeout(DEADLINE).expect("an event in time")
    }

    fn connected(&mut self) -> (&'static str, u16, Option<usize>) {
        loop {
            match self.next() {
                MqttEvent::Connected {
                    connection,
                    version,
                    receive_maximum,
                    largest_payload,
                    ..
                } => {
                    self.connection = connection;
                    return (version, receive_maximum, largest_payload);
                }
                MqttEvent::Failed(_) => {}
                other => panic!("expected a connection, came {other:?}"),
            }
        }
    }

    fn failed(&self) -> Trouble {
        match self.next() {
            MqttEvent::Failed(trouble) => trouble,
            other => panic!("expected a failure, came {other:?}"),
        }
    }

    fn publish(&self, id: u64, kind: Kind, payload: &[u8]) {
        let message = Message {
            id,
            kind,
            payload: Bytes::copy_from_slice(payload),
        };
        self.mqtt
            .tell(Command::Publish {
                connection: self.connection,
                message,
            })
            .expect("the thread runs");
    }

    fn acknowledged(&mut self) -> u64 {
        if self.acknowledged.is_empty() {
            match self.next() {
                MqttEvent::Acknowledged { ids } => self.acknowledged.extend(ids),
                other => panic!("expected an acknowledgement, came {other:?}"),
            }
        }
        self.acknowledged
            .pop_front()
            .expect("an event names at least one")
    }
}

#[test]
fn both_versions_deliver_what_the_broker_then_has() {
    for (version, name) in [(MqttVersion::Auto, "MQTT 5"), (MqttVersion::V311, "MQTT 3.1.1")] {
        let broker = Mosquitto::start("allow_anonymous true");
        let subscriber = broker.subscribe("meter", 21);
        let mut bench = Bench::start(broker.settings(version));
        let (found, receive_maximum, _) = bench.connected();
        assert_eq!(found, name);
        assert!(receive_maximum >= 20, "{receive_maximum}");
        let large = format!("large {}", "x".repeat(900 * 1024));
        bench.publish(1, Kind::Readings, large.as_bytes());
        for id in 2..=20 {
            bench.publish(id, Kind::Readings, format!("message {id}").as_bytes());
        }
        let mut ids: Vec<u64> = (1..=20).map(|_| bench.acknowledged()).collect();
        ids.sort_unstable();
        assert_eq!(ids, (1..=20).collect::<Vec<_>>());
        bench.publish(21, Kind::Readings, b"message 21");
        bench.acknowledged();
        let text = subscriber.join().expect("the subscriber");
        assert!(text.contains(&large));
        let order: Vec<&str> = text.lines().filter(|line| line.starts_with("message ")).collect();
        let expected: Vec<String> = (2..=21).map(|id| format!("message {id}")).collect();
        assert_eq!(order, expected);
    }
}

#[test]
fn what_the_access_list_denies_is_rejected_under_5_and_acknowledged_under_311() {
    let folder = tempfile::tempdir().expect("a folder");
    fs::write(folder.path().join("acl"), "topic write meter/state\n").expect("an access list");
    let broker = Mosquitto::start_in(folder, "allow_anonymous true\nacl_file FOLDER/acl");
    let mut bench = Bench::start(broker.settings(MqttVersion::V5));
    bench.connected();
    bench.publish(1, Kind::State, b"{}");
    assert_eq!(bench.acknowledged(), 1);
    bench.publish(2, Kind::Readings, b"[{}]");
    match bench.next() {
        MqttEvent::Rejected {
            id: 2,
            fault: Fault::Standing,
            reason,
        } => {
            assert!(reason.contains("not authorized"), "{reason}");
        }
        other => panic!("expected a rejection, came {other:?}"),
    }
    let mut settings = broker.settings(MqttVersion::V311);
    settings.client_id.push_str("-311");
    let mut bench = Bench::start(settings);
    bench.connected();
    bench.publish(3, Kind::Readings, b"[{}]");
    assert_eq!(
        bench.acknowledged(),
        3,
        "3.1.1 has no word for no: the README says so"
    );
}

#[test]
fn a_wrong_password_is_told_and_the_right_one_passes() {
    let folder = tempfile::tempdir().expect("a folder");
    let made = Program::new("mosquitto_passwd")
        .args(["-b", "-c"])
        .arg(folder.path().join("passwords"))
        .args(["meter", "right"])
        .status()
        .expect("mosquitto_passwd is installed");
    assert!(made.success());
    let broker = Mosquitto::start_in(folder, "allow_anonymous false\npassword_file FOLDER/passwords");
    for version in [MqttVersion::V5, MqttVersion::V311] {
        let mut settings = broker.settings(version);
        settings.login = Some(Login {
            user: "meter".to_owned(),
            password: "wrong".to_owned(),
        });
        let trouble = Bench::start(settings.clone()).failed();
        assert_eq!(trouble.cause, Cause::Credentials, "{trouble}");
        assert!(trouble.words.contains("mqtt.cred_file"), "{trouble}");
        settings.login = None;
        let trouble = Bench::start(settings.clone()).failed();
        assert!(
            trouble.words.contains("without a user name") || trouble.words.contains("wants a user"),
            "{trouble}"
        );
        settings.login = Some(Login {
            user: "meter".to_owned(),
            password: "right".to_owned(),
        });
        Bench::start(settings).connected();
    }
}

#[test]
fn the_broker_states_its_limit_and_a_message_within_it_passes() {
    let broker = Mosquitto::start("allow_anonymous true\nmax_packet_size 20000");
    let mut bench = Bench::start(broker.settings(MqttVersion::V5));
    let (_, _, largest) = bench.connected();
    let largest = largest.expect("mosquitto states its limit");
    assert!((19_900..20_000).contains(&largest), "{largest}");
    bench.publish(1, Kind::Availability, &vec![b'x'; largest]);
    assert_eq!(
        bench.acknowledged(),
        1,
        "the largest payload on the longest topic"
    );
}

#[test]
fn a_broker_that_is_restarted_is_found_again() {
    let mut broker = Mosquitto::start("allow_anonymous true");
    let mut bench = Bench::start(broker.settings(MqttVersion::Auto));
    bench.connected();
    broker.stop();
    assert!(matches!(bench.next(), MqttEvent::Lost(_)));
    let trouble = bench.failed();
    assert!(trouble.words.contains("refused"), "{trouble}");
    broker.restart();
    bench.connected();
    bench.publish(9, Kind::Readings, b"[{}]");
    assert_eq!(bench.acknowledged(), 9);
}

#[test]
fn the_will_is_published_where_the_client_vanishes_and_not_after_a_goodbye() {
    let broker = Mosquitto::start("allow_anonymous true");
    let subscriber = broker.subscribe("meter/availability", 2);
    let mut settings = broker.settings(MqttVersion::Auto);
    let will = |payload: &str| Will {
        topic: "meter/availability".to_owned(),
        payload: payload.to_owned(),
        is_retained: true,
    };
    settings.will = Some(will("after a goodbye"));
    let mut bench = Bench::start(settings.clone());
    bench.connected();
    bench.mqtt.tell(Command::Finish).expect("the thread runs");
    assert!(matches!(bench.next(), MqttEvent::Finished));
    settings.will = Some(will("vanished"));
    let mut bench = Bench::start(settings);
    bench.connected();
    bench.publish(1, Kind::Availability, b"online");
    bench.acknowledged();
    let (connection, reason) = (bench.connection, "given up".to_owned());
    bench
        .mqtt
        .tell(Command::Abandon { connection, reason })
        .expect("the thread runs");
    let text = subscriber.join().expect("the subscriber");
    let said: Vec<&str> = text
        .lines()
        .filter(|line| ["online", "vanished", "after a goodbye"].contains(line))
        .collect();
    assert_eq!(said, ["online", "vanished"]);
}

/// An authority, a certificate for localhost and one for a client, all of this house.
fn certificates(folder: &Path) {
    let openssl = |arguments: &[&str]| {
        let status = Program::new("openssl")
            .current_dir(folder)
            .args(arguments)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .expect("openssl is installed");
        assert!(status.success(), "openssl {arguments:?}");
    };
    let key = [
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:prime256v1",
        "-nodes",
    ];
    for name in ["ca", "other"] {
        let (pem, file, subject) = (
            format!("{name}.pem"),
            format!("{name}.key"),
            format!("/CN={name}"),
        );
        openssl(
            &[
                &[
                    "req", "-x509", "-days", "30", "-subj", &subject, "-keyout", &file, "-out", &pem,
                ][..],
                &key,
            ]
            .concat(),
        );
    }
    fs::write(folder.join("localhost.ext"), "subjectAltName=DNS:localhost\n").expect("a file");
    fs::write(folder.join("client.ext"), "extendedKeyUsage=clientAuth\n").expect("a file");
    for name in ["localhost", "client"] {
        let (request, file, pem, extension, subject) = (
            format!("{name}.csr"),
            format!("{name}.key"),
            format!("{name}.pem"),
            format!("{name}.ext"),
            format!("/CN={name}"),
        );
        openssl(
            &[
                &[
                    "req", "-new", "-subj", &subject, "-keyout", &file, "-out", &request,
                ][..],
                &key,
            ]
            .concat(),
        );
        openssl(&[
            "x509",
            "-req",
            "-days",
            "30",
            "-in",
            &request,
            "-CA",
            "ca.pem",
            "-CAkey",
            "ca.key",
            "-CAcreateserial",
            "-extfile",
            &extension,
            "-out",
            &pem,
        ]);
    }
}

#[test]
fn tls_with_a_home_authority_and_client_certificates() {
    let folder = tempfile::tempdir().expect("a folder");
    certificates(folder.path());
    let broker = Mosquitto::start_in(
        folder,
        "allow_anonymous true\ncafile FOLDER/ca.pem\ncertfile FOLDER/localhost.pem\nkeyfile FOLDER/localhost.key\n\
         require_certificate true",
    );
    let file = |name: &str| Some(broker.folder.path().join(name));
    let settings = |host: &str, files: &TlsFiles| {
        let mut settings = broker.settings(MqttVersion::Auto);
        settings.brokers = vec![BrokerAddress {
            host: host.to_owned(),
            port: broker.port,
            is_tls: true,
        }];
        settings.tls = Some(configure_tls(files).expect("TLS files"));
        settings
    };
    let good = TlsFiles {
        authority: file("ca.pem"),
        certificate: file("client.pem"),
        key: file("client.key"),
    };
    let mut bench = Bench::start(settings("localhost", &good));
    assert_eq!(bench.connected().0, "MQTT 5");
    bench.publish(1, Kind::Readings, b"[{}]");
    assert_eq!(bench.acknowledged(), 1);

    let trouble = Bench::start(settings(
        "localhost",
        &TlsFiles {
            authority: file("other.pem"),
            ..good.clone()
        },
    ))
    .failed();
    assert_eq!(trouble.cause, Cause::Tls, "{trouble}");
    assert!(trouble.words.contains("mqtt.ca_file"), "{trouble}");

    let trouble = Bench::start(settings("127.0.0.1", &good)).failed();
    assert_eq!(trouble.cause, Cause::Tls, "{trouble}");
    assert!(trouble.words.contains("another name"), "{trouble}");

    let anonymous = TlsFiles {
        certificate: None,
        key: None,
        ..good
    };
    let trouble = Bench::start(settings("localhost", &anonymous)).failed();
    assert_eq!(trouble.cause, Cause::Tls, "{trouble}");
    assert!(trouble.words.contains("mqtt.client_cert_file"), "{trouble}");
}

#[test]
fn a_self_signed_certificate_and_tls_where_plain_was_asked_and_the_reverse_are_told() {
    let folder = tempfile::tempdir().expect("a folder");
    certificates(folder.path());
    let broker = Mosquitto::start_in(
        folder,
        "allow_anonymous true\ncertfile FOLDER/ca.pem\nkeyfile FOLDER/ca.key",
    );
    let tls = configure_tls(&TlsFiles {
        authority: Some(broker.folder.path().join("ca.pem")),
        ..TlsFiles::default()
    })
    .expect("an authority");
    let over_tls = |port: u16| {
        let mut settings = broker.settings(MqttVersion::Auto);
        settings.brokers = vec![BrokerAddress {
            host: "localhost".to_owned(),
            port,
            is_tls: true,
        }];
        settings.tls = Some(tls.clone());
        settings
    };
    let trouble = Bench::start(over_tls(broker.port)).failed();
    assert_eq!(trouble.cause, Cause::Tls, "{trouble}");
    assert!(trouble.words.contains("issued by it"), "{trouble}");

    let trouble = Bench::start(broker.settings(MqttVersion::Auto)).failed();
    assert!(
        trouble
            .words
            .contains("does it expect TLS on this port (mqtts://)"),
        "{trouble}"
    );

    let plain = Mosquitto::start("allow_anonymous true");
    let trouble = Bench::start(over_tls(plain.port)).failed();
    assert!(trouble.words.contains("one without (mqtt://)"), "{trouble}");
}

//! The connection against a scripted broker: every trap of the MQTT library that could cost a
//! message, and every refusal that a user has to understand.

use std::collections::VecDeque;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use bytes::Bytes;

use publisher::delivery::{Fault, Kind, Message, WINDOW_MESSAGES};
use publisher::mqtt::*;
use shared::config::{BrokerAddress, BrokerOrder, MqttVersion};

use crate::broker::{FakeBroker, Peer, Received};

/// The thread under test with its events.
struct Bench {
    mqtt: Mqtt,
    events: Receiver<MqttEvent>,
    connection: u64,
    /// Told together with one that was asked for.
    acknowledged: VecDeque<u64>,
}

fn settings(addresses: &[std::net::SocketAddr]) -> MqttSettings {
    let broker = |address: &std::net::SocketAddr| BrokerAddress {
        host: address.ip().to_string(),
        port: address.port(),
        is_tls: false,
    };
    MqttSettings {
        brokers: addresses.iter().map(broker).collect(),
        order: BrokerOrder::Listed,
        version: MqttVersion::V5,
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

fn connect_of(queue: &str) -> Command {
    Command::Connect {
        queue: Some(queue.to_owned()),
    }
}

impl Bench {
    fn start(settings: MqttSettings) -> Self {
        let (sender, events) = channel();
        let mqtt = Mqtt::start(settings, move |event| {
            let _ = sender.send(event);
        })
        .expect("a thread");
        mqtt.tell(connect_of("q1")).expect("the thread runs");
        Self {
            mqtt,
            events,
            connection: 0,
            acknowledged: VecDeque::new(),
        }
    }

    fn next(&mut self) -> MqttEvent {
        assert!(
            self.acknowledged.is_empty(),
            "nobody asked for {:?}",
            self.acknowledged
        );
        self.events
            .recv_timeout(Duration::from_secs(20))
            .expect("an event within 20 s")
    }

    fn connected(&mut self) -> (&'static str, u16, Option<usize>) {
        match self.next() {
            MqttEvent::Connected {
                connection,
                version,
                receive_maximum,
                largest_payload,
                ..
            } => {
                self.connection = connection;
                (version, receive_maximum, largest_payload)
            }
            other => panic!("expected a connection, came {other:?}"),
        }
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

    fn lost(&mut self) -> Trouble {
        match self.next() {
            MqttEvent::Lost(trouble) => trouble,
            MqttEvent::Unsent { .. } => self.lost(),
            other => panic!("expected a loss, came {other:?}"),
        }
    }

    fn failed(&mut self) -> Trouble {
        match self.next() {
            MqttEvent::Failed(trouble) => trouble,
            other => panic!("expected a failure, came {other:?}"),
        }
    }

    fn publish(&self, id: u64, payload: &str) {
        self.publish_on(self.connection, id, Kind::Readings, payload.as_bytes());
    }

    fn publish_on(&self, connection: u64, id: u64, kind: Kind, payload: &[u8]) {
        let message = Message {
            id,
            kind,
            payload: Bytes::copy_from_slice(payload),
        };
        self.mqtt
            .tell(Command::Publish { connection, message })
            .expect("the thread runs");
    }
}

/// A connection that is up.
fn connect(broker: &FakeBroker) -> (Bench, Peer) {
    let mut bench = Bench::start(settings(&[broker.address]));
    let peer = broker.welcome(5);
    bench.connected();
    (bench, peer)
}

#[test]
fn the_connection_is_clean_and_carries_client_id_will_and_credentials() {
    for (version, level) in [(MqttVersion::V5, 5), (MqttVersion::V311, 4)] {
        let broker = FakeBroker::start();
        let mut settings = settings(&[broker.address]);
        settings.version = version;
        settings.login = Some(Login {
            user: "meter".to_owned(),
            password: "s3cret".to_owned(),
        });
        settings.will = Some(Will {
            topic: "will:meter".to_owned(),
            payload: "GoingDown".to_owned(),
            is_retained: false,
        });
        assert!(!format!("{:?}", settings.login).contains("s3cret"));
        let _bench = Bench::start(settings);
        let mut peer = broker.accept();
        let Received::Connect {
            level: found,
            flags,
            client_id,
            rest,
        } = peer.receive()
        else {
            panic!("expected CONNECT")
        };
        assert_eq!((found, client_id.as_str()), (level, "publisher-test"));
        // User, password, will with QoS 1 and not retained, clean.
        assert_eq!(flags, 0b1100_1110, "{flags:#b}");
        let rest = String::from_utf8_lossy(&rest).into_owned();
        for text in ["will:meter", "GoingDown", "meter", "s3cret"] {
            assert!(rest.contains(text), "{text} in {rest:?}");
        }
    }
}

#[test]
fn a_message_of_a_megabyte_passes_and_topics_follow_the_kind() {
    for (version, level) in [(MqttVersion::V5, 5), (MqttVersion::V311, 4)] {
        let broker = FakeBroker::start();
        let mut bench = Bench::start(MqttSettings {
            version,
            ..settings(&[broker.address])
        });
        let mut peer = broker.welcome(level);
        bench.connected();
        let large = vec![b'x'; 1024 * 1024];
        bench.publish_on(bench.connection, 7, Kind::Readings, &large);
        bench.publish_on(bench.connection, 8, Kind::State, b"{}");
        let Received::Publish {
            packet_id,
            topic,
            payload,
            is_retained,
            is_duplicate,
        } = peer.receive()
        else {
            panic!("expected PUBLISH")
        };
        assert_eq!(
            (topic.as_str(), payload.len(), is_retained, is_duplicate),
            ("meter", large.len(), false, false)
        );
        peer.acknowledge(packet_id);
        assert_eq!(bench.acknowledged(), 7);
        let Received::Publish {
            topic, is_retained, ..
        } = peer.receive()
        else {
            panic!("expected PUBLISH")
        };
        assert_eq!((topic.as_str(), is_retained), ("meter/state", true));
    }
}

#[test]
fn nothing_is_acknowledged_before_the_broker_says_so() {
    let broker = FakeBroker::start();
    let (mut bench, mut peer) = connect(&broker);
    bench.publish(1, "one");
    assert_eq!(peer.receive_message().1, "one");
    assert!(
        bench.events.recv_timeout(Duration::from_millis(300)).is_err(),
        "no PUBACK, no event"
    );
    peer.acknowledge(1);
    assert_eq!(bench.acknowledged(), 1);
}

#[test]
fn acknowledgements_in_any_order_find_their_messages() {
    let broker = FakeBroker::start();
    let (mut bench, mut peer) = connect(&broker);
    for id in 101..=105 {
        bench.publish(id, "x");
    }
    let mut packet_ids: Vec<u16> = (0..5).map(|_| peer.receive_message().0).collect();
    packet_ids.reverse();
    for packet_id in packet_ids {
        peer.acknowledge(packet_id);
    }
    let answered: Vec<u64> = (0..5).map(|_| bench.acknowledged()).collect();
    assert_eq!(answered, [105, 104, 103, 102, 101]);
}

#[test]
fn what_was_acknowledged_before_a_refusal_is_told_before_it() {
    let broker = FakeBroker::start();
    let (mut bench, mut peer) = connect(&broker);
    for id in 1..=4 {
        bench.publish(id, "x");
    }
    let packet_ids: Vec<u16> = (0..4).map(|_| peer.receive_message().0).collect();
    // In one piece: two PUBACKs, a refusal (quota exceeded) and another PUBACK.
    let answers = packet_ids.iter().zip([0x00, 0x00, 0x97, 0x00]);
    let answers = answers.flat_map(|(id, reason)| [0x40, 0x03, (id >> 8) as u8, *id as u8, reason]);
    peer.send(&answers.collect::<Vec<u8>>());
    assert_eq!([bench.acknowledged(), bench.acknowledged()], [1, 2]);
    assert!(matches!(bench.next(), MqttEvent::Rejected { id: 3, .. }));
    assert_eq!(bench.acknowledged(), 4);
}

#[test]
fn packet_ids_come_round_without_mixing_up_messages() {
    let broker = FakeBroker::start();
    let (mut bench, mut peer) = connect(&broker);
    let rounds = 3 * WINDOW_MESSAGES as u64;
    for id in 1..=rounds {
        bench.publish(id, &id.to_string());
        let (packet_id, payload) = peer.receive_message();
        assert_eq!(payload, id.to_string());
        peer.acknowledge(packet_id);
        assert_eq!(bench.acknowledged(), id);
    }
}

#[test]
fn an_acknowledgement_that_came_with_the_end_of_the_connection_counts() {
    // A broker that hangs up after every message would never get anywhere otherwise.
    for (version, level) in [(MqttVersion::V5, 5), (MqttVersion::V311, 4)] {
        let broker = FakeBroker::start();
        let mut bench = Bench::start(MqttSettings {
            version,
            ..settings(&[broker.address])
        });
        let mut peer = broker.welcome(level);
        bench.connected();
        for id in 1..=3 {
            bench.publish(id, "x");
        }
        let packet_ids: Vec<u16> = (0..3).map(|_| peer.receive_message().0).collect();
        let mut bytes = Vec::new();
        for packet_id in packet_ids {
            bytes.extend_from_slice(&[0x40, 2, 0, packet_id as u8]);
        }
        peer.send(&bytes);
        drop(peer);
        assert_eq!(
            (bench.acknowledged(), bench.acknowledged(), bench.acknowledged()),
            (1, 2, 3)
        );
        assert!(bench.lost().words.contains("closed the connection"));
    }
}

#[test]
fn what_was_asked_of_a_connection_that_is_gone_never_reaches_the_next() {
    let broker = FakeBroker::start();
    let (mut bench, mut peer) = connect(&broker);
    bench.publish(1, "old");
    assert_eq!(peer.receive_message().1, "old");
    let old = bench.connection;
    drop(peer);
    bench.publish_on(old, 2, Kind::Readings, b"stale, before the loss is known");
    bench.lost();
    bench.publish_on(old, 3, Kind::Readings, b"stale, while there is none");
    let mut peer = broker.welcome(5);
    bench.connected();
    bench.publish_on(old, 4, Kind::Readings, b"stale, on the new one");
    bench.publish(5, "new");
    let (packet_id, payload) = peer.receive_message();
    assert_eq!(
        payload, "new",
        "nothing is sent again that delivery did not send again"
    );
    peer.acknowledge(packet_id);
    assert_eq!(bench.acknowledged(), 5);
}

#[test]
fn unknown_and_repeated_acknowledgements_acknowledge_nothing_else() {
    let broker = FakeBroker::start();
    let (mut bench, mut peer) = connect(&broker);
    bench.publish(1, "a");
    bench.publish(2, "b");
    let first = peer.receive_message().0;
    let second = peer.receive_message().0;
    peer.acknowledge(first);
    assert_eq!(bench.acknowledged(), 1);
    peer.acknowledge(first);
    let trouble = bench.lost();
    assert!(trouble.words.contains("was not outstanding"), "{trouble}");
    let mut peer = broker.welcome(5);
    bench.connected();
    peer.acknowledge(200);
    assert!(
        bench.lost().words.contains("200"),
        "{second} was never acknowledged"
    );
}

#[test]
fn a_negative_acknowledgement_is_a_rejection_with_its_reason() {
    let broker = FakeBroker::start();
    let (mut bench, mut peer) = connect(&broker);
    for (id, reason, fault, words) in [
        (1, 0x87, Fault::Standing, "not authorized"),
        (2, 0x97, Fault::Standing, "quota exceeded"),
        (3, 0x99, Fault::Message, "payload format invalid"),
        (4, 0x83, Fault::Standing, "implementation specific"),
    ] {
        bench.publish(id, "x");
        let packet_id = peer.receive_message().0;
        peer.reject(packet_id, reason);
        match bench.next() {
            MqttEvent::Rejected {
                id: found,
                fault: of,
                reason,
            } => {
                assert_eq!((found, of), (id, fault));
                assert!(reason.contains(words), "{reason}");
            }
            other => panic!("expected a rejection, came {other:?}"),
        }
    }
    bench.publish(5, "x");
    let packet_id = peer.receive_message().0;
    peer.reject(packet_id, 0x10);
    assert_eq!(bench.acknowledged(), 5, "no matching subscribers is a success");
}

#[test]
fn the_brokers_limits_are_told() {
    let broker = FakeBroker::start();
    let mut bench = Bench::start(settings(&[broker.address]));
    let mut peer = broker.accept();
    peer.receive();
    // Receive maximum 7, maximum packet size 10,000.
    peer.greet_5(&[0x21, 0, 7, 0x27, 0, 0, 0x27, 0x10]);
    let (version, receive_maximum, largest_payload) = bench.connected();
    assert_eq!((version, receive_maximum), ("MQTT 5", 7));
    let largest = largest_payload.expect("a bound");
    // The largest payload on the longest topic must fit: 1 + 2 + 2 + topic + 2 + 1.
    assert!(largest + 8 + "meter/availability".len() <= 10_000, "{largest}");
    assert!(largest > 9_900);
}

#[test]
fn a_keep_alive_of_zero_from_the_broker_is_no_storm_of_pings() {
    let broker = FakeBroker::start();
    let mut bench = Bench::start(settings(&[broker.address]));
    let mut peer = broker.accept();
    peer.receive();
    peer.greet_5(&[0x13, 0, 0]);
    bench.connected();
    bench.publish(1, "x");
    let packet_id = peer.receive_message().0;
    peer.acknowledge(packet_id);
    assert_eq!(bench.acknowledged(), 1);
    assert!(
        bench.events.recv_timeout(Duration::from_millis(500)).is_err(),
        "the connection stays"
    );
}

#[test]
fn auto_falls_back_where_mqtt_5_is_refused_in_words_of_either_version() {
    for refusal in [&[0x20, 2, 0, 1][..], &[0x20, 3, 0, 0x84, 0][..]] {
        let broker = FakeBroker::start();
        let mut bench = Bench::start(MqttSettings {
            version: MqttVersion::Auto,
            ..settings(&[broker.address])
        });
        let mut peer = broker.accept();
        assert!(matches!(peer.receive(), Received::Connect { level: 5, .. }));
        peer.send(refusal);
        drop(peer);
        let _peer = broker.welcome(4);
        assert_eq!(bench.connected().0, "MQTT 3.1.1");
    }
}

#[test]
fn auto_falls_back_where_the_broker_hangs_up_on_mqtt_5_and_tries_it_first_next_time() {
    let broker = FakeBroker::start();
    let mut bench = Bench::start(MqttSettings {
        version: MqttVersion::Auto,
        ..settings(&[broker.address])
    });
    for _ in 0..2 {
        let mut peer = broker.accept();
        assert!(matches!(peer.receive(), Received::Connect { level: 5, .. }));
        drop(peer);
        let peer = broker.welcome(4);
        assert_eq!(bench.connected().0, "MQTT 3.1.1");
        drop(peer);
        bench.lost();
    }
}

#[test]
fn a_version_that_is_set_is_the_only_one_tried() {
    let broker = FakeBroker::start();
    let mut bench = Bench::start(settings(&[broker.address]));
    let mut peer = broker.accept();
    peer.receive();
    peer.send(&[0x20, 3, 0, 0x84, 0]);
    let trouble = bench.failed();
    assert_eq!(trouble.cause, Cause::Version);
    assert!(trouble.words.contains("MQTT 5"), "{trouble}");
    drop(peer);
    let mut peer = broker.accept();
    assert!(matches!(peer.receive(), Received::Connect { level: 5, .. }));
}

#[test]
fn refusals_are_told_in_words_that_name_what_to_change() {
    for (level, code, words) in [
        (5, 0x86, "mqtt.cred_file"),
        (5, 0x87, "mqtt.cred_file"),
        (5, 0x85, "mqtt.client_id"),
        (5, 0x88, "not available"),
        (5, 0x9d, "mqtt.address"),
        (4, 2, "mqtt.client_id"),
        (4, 3, "not available"),
        (4, 4, "mqtt.cred_file"),
        (4, 5, "mqtt.cred_file"),
    ] {
        let broker = FakeBroker::start();
        let version = if level == 5 {
            MqttVersion::V5
        } else {
            MqttVersion::V311
        };
        let mut bench = Bench::start(MqttSettings {
            version,
            ..settings(&[broker.address])
        });
        let mut peer = broker.accept();
        peer.receive();
        if level == 5 {
            peer.send(&[0x20, 3, 0, code, 0])
        } else {
            peer.greet_311(code)
        }
        let trouble = bench.failed();
        assert!(
            trouble.words.contains(words),
            "{code:#x} of level {level}: {trouble}"
        );
        assert!(trouble.to_string().starts_with("127.0.0.1:"), "{trouble}");
    }
}

#[test]
fn nobody_there_no_such_name_and_no_mqtt_are_told_apart() {
    let free = std::net::TcpListener::bind("127.0.0.1:0")
        .and_then(|it| it.local_addr())
        .expect("a port");
    let trouble = Bench::start(settings(&[free])).failed();
    assert_eq!(trouble.cause, Cause::Unreachable);
    assert!(trouble.words.contains("refused"), "{trouble}");

    let mut nameless = settings(&[free]);
    nameless.brokers[0].host = "no-such-host.invalid".to_owned();
    let trouble = Bench::start(nameless).failed();
    assert!(
        trouble.words.contains("no host named no-such-host.invalid"),
        "{trouble}"
    );

    let broker = FakeBroker::start();
    let mut bench = Bench::start(settings(&[broker.address]));
    let mut peer = broker.accept();
    peer.send(
        &b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\nConnection: close\r\n\r\n".repeat(2),
    );
    drop(peer);
    let trouble = bench.failed();
    assert!(trouble.words.contains("MQTT"), "{trouble}");

    // A web server waits for the end of a line, which never comes.
    let broker = FakeBroker::start();
    let mut bench = Bench::start(settings(&[broker.address]));
    let _peer = broker.accept();
    let trouble = bench.failed();
    assert_eq!(trouble.cause, Cause::TimedOut, "{trouble}");
    assert!(
        trouble.words.contains("no answer")
            && trouble.words.contains("an MQTT broker without TLS listens there"),
        "{trouble}"
    );
}

#[test]
fn tls_to_a_broker_without_it_and_the_reverse_are_told() {
    let broker = FakeBroker::start();
    let mut bench_settings = settings(&[broker.address]);
    bench_settings.brokers[0].is_tls = true;
    bench_settings.brokers[0].host = "localhost".to_owned();
    let authority = authority();
    bench_settings.tls = Some(
        configure_tls(&TlsFiles {
            authority: Some(authority.path().join("ca.pem")),
            ..TlsFiles::default()
        })
        .expect("an authority"),
    );
    let mut bench = Bench::start(bench_settings);
    let mut peer = broker.accept();
    peer.send(&[0x20, 2, 0, 1]);
    let trouble = bench.failed();
    assert_eq!(trouble.cause, Cause::Tls, "{trouble}");
    assert!(trouble.words.contains("does not speak TLS"), "{trouble}");

    let broker = FakeBroker::start();
    let mut bench = Bench::start(settings(&[broker.address]));
    drop(broker.accept());
    let trouble = bench.failed();
    assert!(trouble.words.contains("mqtts://"), "{trouble}");
}

#[test]
fn brokers_are_tried_in_turn_and_the_one_that_took_readings_is_preferred() {
    let free = std::net::TcpListener::bind("127.0.0.1:0")
        .and_then(|it| it.local_addr())
        .expect("a port");
    let broker = FakeBroker::start();
    let mut bench = Bench::start(settings(&[free, broker.address]));
    let began = Instant::now();
    assert!(bench.failed().words.contains("refused"));
    let mut peer = broker.welcome(5);
    bench.connected();
    assert!(
        began.elapsed() < Duration::from_millis(400),
        "no pause between the brokers of the list"
    );
    bench.publish(1, "x");
    let packet_id = peer.receive_message().0;
    peer.acknowledge(packet_id);
    bench.acknowledged();
    drop(peer);
    bench.lost();
    let _peer = broker.welcome(5);
    bench.connected();
}

#[test]
fn a_broker_that_acknowledges_no_readings_is_left_for_the_next() {
    let (first, second) = (FakeBroker::start(), FakeBroker::start());
    let mut bench = Bench::start(settings(&[first.address, second.address]));
    let mut peer = first.welcome(5);
    bench.connected();
    for (id, kind) in [(1, Kind::Availability), (2, Kind::State)] {
        bench.publish_on(bench.connection, id, kind, b"online");
        let packet_id = peer.receive_message().0;
        peer.acknowledge(packet_id);
        assert_eq!(bench.acknowledged(), id);
    }
    bench.publish(3, "readings");
    peer.receive_message();
    let (connection, reason) = (bench.connection, "acknowledges nothing".to_owned());
    bench
        .mqtt
        .tell(Command::Abandon { connection, reason })
        .expect("the thread runs");
    bench.lost();
    let mut peer = second.welcome(5);
    bench.connected();
    bench.publish(4, "readings");
    let packet_id = peer.receive_message().0;
    peer.acknowledge(packet_id);
    assert_eq!(bench.acknowledged(), 4);
    drop(peer);
    bench.lost();
    let _peer = second.welcome(5);
    bench.connected();
}

#[test]
fn what_is_no_progress_does_not_shorten_the_pause_between_attempts() {
    let broker = FakeBroker::start();
    let mut bench = Bench::start(settings(&[broker.address]));
    let began = Instant::now();
    let mut connections = 0;
    while began.elapsed() < Duration::from_secs(6) {
        let Some(mut peer) = broker.accept_within(Duration::from_secs(1)) else {
            continue;
        };
        connections += 1;
        peer.receive();
        peer.greet_5(&[]);
        bench.connected();
        bench.publish_on(bench.connection, connections, Kind::Availability, b"online");
        let packet_id = peer.receive_message().0;
        peer.acknowledge(packet_id);
        bench.acknowledged();
        drop(peer);
        bench.lost();
    }
    // With all of the shortest pauses there would be 6 to 12.
    assert!((2..=4).contains(&connections), "{connections} connections in 6 s");
}

#[test]
fn the_client_identifier_carries_the_queue() {
    let broker = FakeBroker::start();
    let settings = MqttSettings {
        client_id: "meter@pi-{queue}".to_owned(),
        ..settings(&[broker.address])
    };
    let _bench = Bench::start(settings);
    match broker.accept().receive() {
        Received::Connect { client_id, .. } => assert_eq!(client_id, "meter@pi-q1"),
        other => panic!("expected CONNECT, came {other:?}"),
    }
}

#[test]
fn a_broker_that_is_away_is_not_hammered() {
    let free = std::net::TcpListener::bind("127.0.0.1:0")
        .and_then(|it| it.local_addr())
        .expect("a port");
    let mut bench = Bench::start(settings(&[free]));
    let began = Instant::now();
    let mut attempts = 0;
    while began.elapsed() < Duration::from_secs(3) {
        if bench.events.recv_timeout(Duration::from_millis(100)).is_ok() {
            attempts += 1;
        }
    }
    assert!((2..=5).contains(&attempts), "{attempts} attempts in 3 s");
    bench.mqtt.tell(Command::Finish).expect("the thread runs");
    while !matches!(bench.next(), MqttEvent::Finished) {}
    assert!(
        began.elapsed() < Duration::from_secs(4),
        "a pause does not hold up the end"
    );
}

#[test]
fn giving_up_sends_no_goodbye_and_finishing_does() {
    let broker = FakeBroker::start();
    let (mut bench, mut peer) = connect(&broker);
    let reason = "nothing acknowledged".to_owned();
    bench
        .mqtt
        .tell(Command::Abandon {
            connection: bench.connection,
            reason,
        })
        .expect("the thread runs");
    assert!(bench.lost().words.contains("nothing acknowledged"));
    assert_eq!(peer.receive(), Received::Closed, "so that the will is published");
    let mut peer = broker.welcome(5);
    bench.connected();
    bench.mqtt.tell(Command::Finish).expect("the thread runs");
    assert_eq!(peer.receive(), Received::Disconnect);
    assert!(matches!(bench.next(), MqttEvent::Finished));
}

#[test]
fn there_is_no_connection_before_it_is_wanted_and_none_after_leaving() {
    for (version, level) in [(MqttVersion::V5, 5), (MqttVersion::V311, 4)] {
        let broker = FakeBroker::start();
        let (sender, events) = channel();
        let mqtt = Mqtt::start(
            MqttSettings {
                version,
                ..settings(&[broker.address])
            },
            move |event| {
                let _ = sender.send(event);
            },
        )
        .expect("a thread");
        let mut bench = Bench {
            mqtt,
            events,
            connection: 0,
            acknowledged: VecDeque::new(),
        };
        assert!(!broker.accepts_within(Duration::from_millis(300)));
        for _ in 0..2 {
            bench.mqtt.tell(connect_of("q1")).expect("the thread runs");
            let mut peer = broker.welcome(level);
            bench.connected();
            bench.publish(1, "x");
            assert_eq!(peer.receive_message().1, "x");
            bench.mqtt.tell(Command::Leave).expect("the thread runs");
            assert_eq!(
                peer.receive(),
                Received::Disconnect,
                "so that the will is not published"
            );
            assert!(matches!(bench.next(), MqttEvent::Left));
            assert!(!broker.accepts_within(Duration::from_millis(1_500)));
        }
        bench.mqtt.tell(Command::Finish).expect("the thread runs");
        assert!(matches!(bench.next(), MqttEvent::Finished));
    }
}

#[test]
fn leaving_ends_an_attempt_and_the_pause_between_two() {
    let broker = FakeBroker::start();
    let mut bench = Bench::start(settings(&[broker.address]));
    let peer = broker.accept();
    bench.mqtt.tell(Command::Leave).expect("the thread runs");
    assert!(matches!(bench.next(), MqttEvent::Left));
    drop(peer);
    bench.mqtt.tell(connect_of("q1")).expect("the thread runs");
    drop(broker.accept());
    bench.failed();
    bench.mqtt.tell(Command::Leave).expect("the thread runs");
    assert!(matches!(bench.next(), MqttEvent::Left));
    assert!(!broker.accepts_within(Duration::from_millis(1_500)));
}

#[test]
fn finishing_does_not_wait_for_an_attempt_under_way() {
    let broker = FakeBroker::start();
    let mut bench = Bench::start(settings(&[broker.address]));
    let mut peer = broker.accept();
    peer.receive();
    let began = Instant::now();
    bench.mqtt.tell(Command::Finish).expect("the thread runs");
    assert!(matches!(bench.next(), MqttEvent::Finished));
    assert!(began.elapsed() < Duration::from_millis(500));
    drop(peer);
}

#[test]
fn only_an_end_for_the_content_of_a_message_is_the_messages_fault() {
    let broker = FakeBroker::start();
    let (mut bench, mut peer) = connect(&broker);
    drop(peer);
    assert_eq!(bench.lost().fault(), Fault::Silence, "without a word");
    let standing = [0x80, 0x87, 0x89, 0x8b, 0x8e, 0x93, 0x97, 0x98];
    let of_content = [0x95, 0x99];
    for reason in standing.into_iter().chain(of_content) {
        let broker = FakeBroker::start();
        (bench, peer) = connect(&broker);
        peer.send(&[0xe0, 1, reason]);
        let expected = if of_content.contains(&reason) {
            Fault::Message
        } else {
            Fault::Silence
        };
        assert_eq!(bench.lost().fault(), expected, "{reason:#x}");
    }
}

#[test]
fn what_the_broker_says_as_it_disconnects_is_told() {
    let broker = FakeBroker::start();
    let (mut bench, mut peer) = connect(&broker);
    peer.send(&[0xe0, 2, 0x8e, 0]);
    let trouble = bench.lost();
    assert!(trouble.words.contains("mqtt.client_id"), "{trouble}");
    assert!(
        !broker.accepts_within(Duration::from_millis(300)),
        "the next attempt comes after a pause"
    );
}

/// A folder with the certificate of an authority: made by the tests that need one.
fn authority() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    let status = std::process::Command::new("openssl")
        .args([
            "req",
            "-x509",
            "-newkey",
            "rsa:2048",
            "-nodes",
            "-days",
            "30",
            "-subj",
            "/CN=Home authority",
        ])
        .arg("-keyout")
        .arg(folder.path().join("ca.key"))
        .arg("-out")
        .arg(folder.path().join("ca.pem"))
        .stderr(std::process::Stdio::null())
        .status()
        .expect("openssl is installed");
    assert!(status.success());
    folder
}

#[test]
fn tls_files_that_are_wrong_are_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let missing = folder.path().join("missing.pem");
    let error = configure_tls(&TlsFiles {
        authority: Some(missing.clone()),
        ..TlsFiles::default()
    });
    let words = error.expect_err("there is no such file").to_string();
    assert!(
        words.contains("mqtt.ca_file") && words.contains("missing.pem"),
        "{words}"
    );

    let text = folder.path().join("text.pem");
    std::fs::write(&text, "not a certificate").expect("a file");
    let words = configure_tls(&TlsFiles {
        authority: Some(text),
        ..TlsFiles::default()
    })
    .expect_err("no certificate")
    .to_string();
    assert!(words.contains("no certificate in PEM form"), "{words}");

    let authority = authority();
    let words = configure_tls(&TlsFiles {
        authority: Some(authority.path().join("ca.pem")),
        certificate: Some(authority.path().join("ca.pem")),
        key: None,
    })
    .expect_err("half of a pair")
    .to_string();
    assert!(words.contains("mqtt.client_key_file"), "{words}");
}

#[test]
fn what_was_not_asked_for_ends_the_connection_in_both_versions() {
    let sent: [(&[u8], &str); 12] = [
        (&[0x30, 3, 0, 1, b'a'], "PUBLISH"),
        (&[0x34, 0xff, 0xff, 0xff, 0x7f], "PUBLISH"),
        (&[0x50, 2, 0, 1], "PUBREC"),
        (&[0x62, 2, 0, 1], "PUBREL"),
        (&[0x70, 2, 0, 1], "PUBCOMP"),
        (&[0x90, 3, 0, 1, 0], "SUBACK"),
        (&[0xb0, 2, 0, 1], "UNSUBACK"),
        (&[0xf0, 0], "AUTH"),
        (&[0x20, 2, 0, 0], "CONNACK"),
        (&[0xd0, 0], "not asked for"),
        (&[0x40, 0x80, 0x80, 1], "16388 bytes"),
        (&[0x40, 2, 0, 9], "9, which was not outstanding"),
    ];
    for (version, level) in [(MqttVersion::V5, 5), (MqttVersion::V311, 4)] {
        for (bytes, words) in sent {
            let broker = FakeBroker::start();
            let mut bench = Bench::start(MqttSettings {
                version,
                ..settings(&[broker.address])
            });
            let mut peer = broker.welcome(level);
            bench.connected();
            peer.send(bytes);
            let trouble = bench.lost();
            assert!(trouble.words.contains(words), "{bytes:x?}: {trouble}");
            assert_eq!(peer.receive(), Received::Closed);
        }
    }
}

/// The answer to a CONNECT with these properties in CONNACK.
fn answered(properties: &[u8]) -> MqttEvent {
    let broker = FakeBroker::start();
    let mut bench = Bench::start(settings(&[broker.address]));
    let mut peer = broker.accept();
    peer.receive();
    peer.greet_5(properties);
    bench.next()
}

#[test]
fn what_connack_says_is_read() {
    for (properties, words) in [
        (&[0x21, 0, 0][..], "Receive Maximum 0"),
        (&[0x27, 0, 0, 0, 0], "Maximum Packet Size 0"),
        (&[0x24, 0], "at most once"),
        (&[0x24, 2], "Maximum QoS 2"),
    ] {
        match answered(properties) {
            MqttEvent::Failed(trouble) => assert!(trouble.words.contains(words), "{trouble}"),
            other => panic!("{properties:x?}: {other:?}"),
        }
    }
    for (properties, expected) in [
        (&[0x25, 0][..], false),
        (&[0x25, 1], true),
        (&[0x22, 0, 9, 0x24, 1], true),
    ] {
        match answered(properties) {
            MqttEvent::Connected { takes_retained, .. } => assert_eq!(takes_retained, expected),
            other => panic!("{properties:x?}: {other:?}"),
        }
    }
}

#[test]
fn a_broker_that_refuses_a_retained_will_gets_one_that_is_not() {
    let broker = FakeBroker::start();
    let mut settings = settings(&[broker.address]);
    settings.will = Some(Will {
        topic: "meter/availability".to_owned(),
        payload: "offline".to_owned(),
        is_retained: true,
    });
    let mut bench = Bench::start(settings);
    let is_retained = |peer: &mut Peer| match peer.receive() {
        Received::Connect { flags, .. } => flags & 0x20 != 0,
        other => panic!("expected CONNECT, came {other:?}"),
    };
    let mut peer = broker.accept();
    assert!(is_retained(&mut peer));
    peer.send(&[0x20, 3, 0, 0x9a, 0]);
    let mut peer = broker.accept();
    assert!(!is_retained(&mut peer));
    peer.greet_5(&[0x25, 0]);
    bench.connected();
    drop(peer);
    bench.lost();
    let mut peer = broker.accept();
    assert!(!is_retained(&mut peer), "it is known now");
    peer.send(&[0x20, 3, 0, 0x9a, 0]);
    let trouble = bench.failed();
    assert!(trouble.words.contains("retained"), "{trouble}");
}

#[test]
fn words_of_the_broker_are_escaped_and_cut() {
    let words = format!("\r\n2026-01-01 ERROR {}", "x".repeat(60));
    let property = [&[0x1f, 0, words.len() as u8][..], words.as_bytes()].concat();
    let length = property.len() as u8;
    let broker = FakeBroker::start();
    let (mut bench, mut peer) = connect(&broker);
    bench.publish(1, "x");
    let packet_id = peer.receive_message().0 as u8;
    peer.send(&[&[0x40, 4 + length, 0, packet_id, 0x97, length][..], &property].concat());
    let MqttEvent::Rejected { reason, .. } = bench.next() else {
        panic!("expected a rejection")
    };
    peer.send(&[&[0xe0, 2 + length, 0x8b, length][..], &property].concat());
    let goodbye = bench.lost().words;
    let mut peer = broker.accept();
    peer.receive();
    peer.send(&[&[0x20, 3 + length, 0, 0x97, length][..], &property].concat());
    for said in [reason, goodbye, bench.failed().words] {
        assert!(said.contains("\\r\\n2026-01-01 ERROR"), "{said}");
        assert!(
            !said.chars().any(char::is_control) && !said.contains(&words[2..]),
            "{said}"
        );
    }
}

#[test]
fn a_disconnect_may_leave_out_its_properties_and_its_reason() {
    for (bytes, words) in [
        (&[0xe0, 1, 0x8b][..], "shutting down"),
        (&[0xe0, 0], "without a reason"),
    ] {
        let broker = FakeBroker::start();
        let (mut bench, mut peer) = connect(&broker);
        peer.send(bytes);
        let trouble = bench.lost();
        assert!(trouble.words.contains(words), "{trouble}");
    }
}

#[test]
fn a_silent_broker_is_noticed_at_its_own_pace_unless_messages_are_outstanding() {
    let broker = FakeBroker::start();
    let mut bench = Bench::start(settings(&[broker.address]));
    let mut peer = broker.accept();
    peer.receive();
    // Server Keep Alive: 1 s.
    peer.greet_5(&[0x13, 0, 1]);
    bench.connected();
    let large = vec![b'x'; 8 * 1024 * 1024];
    bench.publish_on(bench.connection, 1, Kind::Readings, &large);
    // The line is busy for some pings: nothing is read of it.
    assert!(bench.events.recv_timeout(Duration::from_secs(4)).is_err());
    let packet_id = peer.receive_message().0;
    peer.acknowledge(packet_id);
    loop {
        match bench.next() {
            MqttEvent::Taken { .. } => {}
            MqttEvent::Acknowledged { ids } => break assert_eq!(ids, [1]),
            other => panic!("{other:?}"),
        }
    }
    let began = Instant::now();
    let trouble = bench.lost();
    assert!(trouble.words.contains("does not answer"), "{trouble}");
    assert!(began.elapsed() < Duration::from_secs(8), "{:?}", began.elapsed());
}

#[test]
fn messages_of_which_the_broker_cannot_have_the_end_are_named() {
    let broker = FakeBroker::start();
    let (mut bench, mut peer) = connect(&broker);
    bench.publish(1, "small");
    assert_eq!(peer.receive_message().1, "small");
    let large = vec![b'x'; 8 * 1024 * 1024];
    bench.publish_on(bench.connection, 2, Kind::Readings, &large);
    bench.publish(3, "behind it");
    let reason = "enough".to_owned();
    let connection = bench.connection;
    bench
        .mqtt
        .tell(Command::Abandon { connection, reason })
        .expect("the thread runs");
    match bench.next() {
        MqttEvent::Unsent { ids } => assert_eq!(ids, [2, 3], "the first one may be there"),
        other => panic!("{other:?}"),
    }
    assert!(bench.lost().words.contains("enough"));
}

//! The bench itself: brokers, proxy, subscriber and meters do what the other tests take for granted.

use std::io::Read;
use std::time::Duration;

use rumqttc::{Client, Event, MqttOptions, Packet, QoS};
use tests::broker::{Embedded, Mosquitto};
use tests::deadline::SOON;
use tests::folder::Folder;
use tests::meter::{Meter, PtyMeter, TcpMeter};
use tests::proxy::Proxy;
use tests::subscriber::Subscriber;

/// Publishes these payloads through a port and waits for as many PUBACKs.
fn publish(port: u16, payloads: impl Iterator<Item = Vec<u8>>) {
    let mut options = MqttOptions::new("bench", "127.0.0.1", port);
    options.set_max_packet_size(1 << 24, 1 << 24);
    let (client, mut connection) = Client::new(options, 2_000);
    let mut open = 0;
    for payload in payloads {
        client
            .publish("bench/topic", QoS::AtLeastOnce, false, payload)
            .unwrap();
        open += 1;
    }
    for event in connection.iter() {
        if let Event::Incoming(Packet::PubAck(_)) = event.unwrap() {
            open -= 1;
            if open == 0 {
                return;
            }
        }
    }
    panic!("the connection ended with {open} messages unacknowledged");
}

fn a_thousand_messages_arrive(port: u16, proxy: &Proxy) {
    let subscriber = Subscriber::start(port, "bench/#");
    let payload = |n: usize| format!("{n} {}", "x".repeat(n * 40)).into_bytes();
    publish(proxy.port(), (0..1_000).map(payload));
    subscriber.wait_for("a thousand messages", SOON, |messages| {
        if messages.len() == 1_000 {
            Ok(())
        } else {
            Err(format!("{} messages", messages.len()))
        }
    });
    for (n, message) in subscriber.messages().iter().enumerate() {
        assert_eq!(message.payload, payload(n), "message {n}");
    }
    let recording = proxy.recording();
    assert_eq!(recording.acknowledged.len(), 1_000);
    assert_eq!(recording.acknowledged[999].payload, payload(999));
    assert_eq!(recording.versions, [4]);
}

#[test]
fn mosquitto_carries_a_thousand_messages_and_the_proxy_records_them() {
    let folder = Folder::new();
    let broker = Mosquitto::start(folder.path());
    let proxy = Proxy::to(broker.port());
    a_thousand_messages_arrive(broker.port(), &proxy);
}

#[test]
fn the_embedded_broker_carries_a_thousand_messages_and_the_proxy_records_them() {
    let broker = Embedded::start().unwrap();
    let proxy = Proxy::to(broker.port());
    a_thousand_messages_arrive(broker.port(), &proxy);
}

#[test]
fn a_subscriber_gets_what_was_published_around_a_stop_of_mosquitto() {
    let folder = Folder::new();
    let mut broker = Mosquitto::start(folder.path());
    let subscriber = Subscriber::start(broker.port(), "bench/#");
    publish(broker.port(), (0..10).map(|n| vec![n]));
    broker.stop();
    broker.start_again();
    publish(broker.port(), (10..20).map(|n| vec![n]));
    subscriber.wait_for("twenty messages", SOON, |messages| {
        if messages.len() >= 20 {
            Ok(())
        } else {
            Err(format!("{} messages", messages.len()))
        }
    });
}

#[test]
fn a_proxy_that_refuses_lets_nobody_in_until_it_passes_again() {
    let folder = Folder::new();
    let broker = Mosquitto::start(folder.path());
    let proxy = Proxy::to(broker.port());
    publish(proxy.port(), [vec![1]].into_iter());
    proxy.refuse();
    let (_client, mut connection) = Client::new(MqttOptions::new("refused", "127.0.0.1", proxy.port()), 10);
    assert!(connection.recv_timeout(Duration::from_secs(5)).unwrap().is_err());
    assert_eq!(proxy.recording().refused, 1);
    proxy.pass();
    publish(proxy.port(), [vec![2]].into_iter());
    assert_eq!(proxy.recording().acknowledged.len(), 2);
}

#[test]
fn what_is_written_to_a_pty_is_read_from_its_device_byte_for_byte_also_after_replugging() {
    let folder = Folder::new();
    let mut meter = PtyMeter::plug_in(&folder.join("ttyUSB0"));
    for _ in 0..2 {
        // Every byte, line ends and control characters among them, in more than the pty holds.
        let sent: Vec<u8> = (0..40_000_u32).map(|n| n as u8).collect();
        let mut device = std::fs::File::open(meter.address()).unwrap();
        let length = sent.len();
        let reader = std::thread::spawn(move || {
            let mut read = vec![0; length];
            device.read_exact(&mut read).map(|()| read)
        });
        meter.send(&sent);
        assert_eq!(reader.join().unwrap().unwrap(), sent);
        meter.unplug();
        assert!(!folder.join("ttyUSB0").exists());
        meter.plug_in_again();
    }
}

#[test]
fn a_tcp_meter_sends_to_whoever_is_connected_and_notices_who_has_gone() {
    let mut meter = TcpMeter::listen();
    let address = meter.address().replace("tcp://", "");
    for _ in 0..2 {
        let mut reader = std::net::TcpStream::connect(&address).unwrap();
        meter.send(b"telegram");
        let mut read = [0; 8];
        reader.read_exact(&mut read).unwrap();
        assert_eq!(&read, b"telegram");
    }
    let refused = meter.send_within(b"nobody", Duration::from_millis(50));
    assert!(refused.is_err(), "nobody is connected");
}

//! A broker at its worst, or whoever is on the way to it: what it sends costs the publisher neither memory nor its
//! queue. It speaks first and asks nothing; every connection gets the next of its tricks.

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use tests::deadline::{SOON, wait_until};

use crate::installation::Installation;

/// How long it plays.
const PLAYS: Duration = Duration::from_secs(60);
/// What the publisher may hold of memory meanwhile: what README promises of it, and a third.
const RESIDENT_KB: u64 = 16 * 1024;

/// A trick: what is sent, with an answer to CONNECT before it or without.
struct Trick {
    name: &'static str,
    is_greeting: bool,
    bytes: fn() -> Vec<u8>,
    /// Byte after byte.
    is_slow: bool,
}

const TRICKS: [Trick; 12] = [
    Trick::flood("PUBLISHes with topic aliases", || {
        (1..=5_000_u16)
            .flat_map(|alias| publish(&[&[0x23][..], &alias.to_be_bytes()].concat(), 60_000))
            .collect()
    }),
    Trick::flood("PUBLISHes of QoS 2", || {
        (1..=5_000).flat_map(publish_of_qos_2).collect()
    }),
    Trick::flood("a packet of 256 MB", || {
        [&[0x30, 0xff, 0xff, 0xff, 0x7f][..], &vec![b'x'; 4_000_000]].concat()
    }),
    Trick::flood("a PUBACK of 256 MB", || {
        [&[0x40, 0xff, 0xff, 0xff, 0x7f][..], &vec![b'x'; 4_000_000]].concat()
    }),
    Trick::flood("PINGRESPs", || [0xd0, 0].repeat(1_000_000)),
    Trick::flood("PUBACKs", || {
        (1..=60_000_u16)
            .flat_map(|id| [0x40, 2, (id >> 8) as u8, id as u8])
            .collect()
    }),
    Trick::flood("SUBACKs", || [0x90, 4, 0, 1, 0, 0].repeat(100_000)),
    Trick::flood("a DISCONNECT of many words", || {
        let words = "\r\n2026-01-01T00:00:00Z ERROR all is lost \u{1b}[2J\u{7}".repeat(60);
        let properties = [&[0x1f][..], &(words.len() as u16).to_be_bytes(), words.as_bytes()].concat();
        packet(
            0xe0,
            &[&[0x8b][..], &length(properties.len()), &properties].concat(),
        )
    }),
    Trick::greeting("a CONNACK without an end", || {
        let property = [&[0x26, 0, 1, b'k', 0, 200][..], &[b'v'; 200]].concat();
        let properties = property.repeat(20_000);
        packet(
            0x20,
            &[&[0, 0][..], &length(properties.len()), &properties].concat(),
        )
    }),
    Trick::greeting("a CONNACK with a packet's worth of properties", || {
        let properties = [0x26, 0, 1, b'k', 0, 1, b'v'].repeat(570);
        packet(
            0x20,
            &[&[0, 0][..], &length(properties.len()), &properties].concat(),
        )
    }),
    Trick::greeting("noise", || {
        (0..4_000_000_u32)
            .map(|at| (at.wrapping_mul(2_654_435_761) >> 24) as u8)
            .collect()
    }),
    Trick {
        is_slow: true,
        ..Trick::greeting("a CONNACK in drops", || {
            [&[0x20, 0x83, 0x1f, 0, 0, 0x80, 0x1f][..], &[0x26; 4_000]].concat()
        })
    },
];

impl Trick {
    const fn flood(name: &'static str, bytes: fn() -> Vec<u8>) -> Self {
        Self {
            name,
            is_greeting: false,
            bytes,
            is_slow: false,
        }
    }

    const fn greeting(name: &'static str, bytes: fn() -> Vec<u8>) -> Self {
        Self {
            is_greeting: true,
            ..Self::flood(name, bytes)
        }
    }

    /// Until the publisher hangs up.
    fn play(&self, mut stream: TcpStream) -> std::io::Result<()> {
        stream.set_read_timeout(Some(Duration::from_secs(20)))?;
        let mut connect = [0; 1_024];
        let _ = stream.read(&mut connect)?;
        if !self.is_greeting {
            stream.write_all(&[0x20, 3, 0, 0, 0])?;
        }
        let bytes = (self.bytes)();
        if self.is_slow {
            for byte in bytes {
                stream.write_all(&[byte])?;
                thread::sleep(Duration::from_millis(50));
            }
        } else {
            stream.write_all(&bytes)?;
        }
        while stream.read(&mut connect)? > 0 {}
        Ok(())
    }
}

/// A remaining length, or that of properties.
fn length(mut length: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        let byte = (length % 128) as u8;
        length /= 128;
        if length == 0 {
            bytes.push(byte);
            return bytes;
        }
        bytes.push(byte | 0x80);
    }
}

fn packet(first: u8, body: &[u8]) -> Vec<u8> {
    [&[first][..], &length(body.len()), body].concat()
}

/// PUBLISH with QoS 0 and so long a topic.
fn publish(properties: &[u8], topic_bytes: u16) -> Vec<u8> {
    let topic = vec![b't'; usize::from(topic_bytes)];
    let body = [
        &topic_bytes.to_be_bytes()[..],
        &topic,
        &length(properties.len()),
        properties,
        b"x",
    ];
    packet(0x30, &body.concat())
}

fn publish_of_qos_2(id: u16) -> Vec<u8> {
    packet(0x34, &[&[0, 1, b't'][..], &id.to_be_bytes(), &[0], b"x"].concat())
}

/// What the process holds of memory at present, in kilobytes.
fn resident_kb(id: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{id}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[test]
fn a_hostile_broker_costs_the_publisher_neither_memory_nor_a_telegram() {
    let mut house = Installation::new(173);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let hostile = listener.local_addr().unwrap().to_string();
    let is_over = Arc::new(AtomicBool::new(false));
    let played: Arc<[AtomicUsize; TRICKS.len()]> = Arc::default();
    let player = thread::spawn({
        let (is_over, played) = (Arc::clone(&is_over), Arc::clone(&played));
        move || {
            for (turn, stream) in listener.incoming().enumerate() {
                if is_over.load(Ordering::SeqCst) {
                    return;
                }
                let turn = turn % TRICKS.len();
                let played = Arc::clone(&played);
                let stream = stream.unwrap();
                thread::spawn(move || {
                    // That it is hung up on is what is wanted.
                    let _ = TRICKS[turn].play(stream);
                    played[turn].fetch_add(1, Ordering::SeqCst);
                });
            }
        }
    });
    let file = house.folder.join("smartmeter.yml");
    let text = fs::read_to_string(&file).unwrap();
    let proxy = format!("127.0.0.1:{}", house.proxy.port());
    // Written often in the list, it plays often: the pause comes after the whole of it.
    let list = format!("[{}]", vec![format!("\"{hostile}\""); 12].join(", "));
    fs::write(&file, text.replace(&format!("\"{proxy}\""), &list)).unwrap();
    let _capture = house.start_capture();
    let mut publisher = house.start_publisher();
    house.send(60);

    let began = Instant::now();
    let mut most_kb = 0;
    while began.elapsed() < PLAYS || played.iter().any(|played| played.load(Ordering::SeqCst) == 0) {
        assert!(publisher.is_running(), "it ended:\n{}", publisher.said());
        assert!(
            began.elapsed() < 2 * PLAYS,
            "not all was played: {played:?}\n{}",
            publisher.said()
        );
        most_kb = most_kb.max(resident_kb(publisher.id()));
        assert!(
            most_kb <= RESIDENT_KB,
            "{most_kb} kB are resident:\n{}",
            publisher.said()
        );
        thread::sleep(Duration::from_millis(20));
    }
    println!(
        "at most {most_kb} kB resident; each trick: {:?}",
        TRICKS
            .iter()
            .map(|trick| trick.name)
            .zip(played.iter())
            .collect::<Vec<_>>()
    );
    let said = publisher.said();
    assert!(!said.chars().any(|c| c.is_control() && c != '\n'), "{said:?}");
    assert!(!said.lines().any(|line| line.starts_with("2026-01-01")), "{said}");
    assert!(said.len() < 64 * 1024, "{} bytes of log", said.len());

    // And then the right one.
    fs::write(&file, &text).unwrap();
    publisher.terminate();
    is_over.store(true, Ordering::SeqCst);
    let _ = TcpStream::connect(&hostile);
    player.join().unwrap();
    let _publisher = house.start_publisher();
    house.send_into_the_next(10);
    let head = house.sent.len() as u64;
    let ledger = house.wait_for_reading(head - 1, SOON);
    assert_eq!(ledger.missing(head - 1), Vec::<u64>::new());
    wait_until("the cursor to have followed", SOON, || {
        let status = house.try_status().unwrap();
        status
            .consumers
            .first()
            .is_some_and(|consumer| consumer.cursor >= head - 10)
    });
}

//! A scripted broker for tests: a TCP listener that speaks as much MQTT 3.1.1 and 5 as a publisher
//! needs, and does with each connection what the test tells it to.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

/// One client's connection, driven by the test.
pub(super) struct Peer {
    stream: TcpStream,
    level: u8,
}

/// A packet as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Received {
    Connect {
        level: u8,
        flags: u8,
        client_id: String,
        rest: Vec<u8>,
    },
    Publish {
        packet_id: u16,
        topic: String,
        payload: Vec<u8>,
        is_retained: bool,
        is_duplicate: bool,
    },
    Ping,
    Disconnect,
    Closed,
}

/// Accepts connections and hands each to the test.
pub(super) struct FakeBroker {
    pub(super) address: SocketAddr,
    peers: Receiver<Peer>,
}

impl FakeBroker {
    pub(super) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("its address");
        let (sender, peers) = channel();
        thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(stream) = stream else { return };
                stream
                    .set_read_timeout(Some(Duration::from_secs(20)))
                    .expect("a time-out");
                stream.set_nodelay(true).expect("no delay");
                if sender.send(Peer { stream, level: 0 }).is_err() {
                    return;
                }
            }
        });
        Self { address, peers }
    }

    /// The next connection that comes.
    pub(super) fn accept(&self) -> Peer {
        self.peers
            .recv_timeout(Duration::from_secs(20))
            .expect("the client connects")
    }

    /// The next connection, if one comes within this time.
    pub(super) fn accept_within(&self, time: Duration) -> Option<Peer> {
        self.peers.recv_timeout(time).ok()
    }

    /// The next connection, greeted with success after its CONNECT of this protocol level.
    pub(super) fn welcome(&self, level: u8) -> Peer {
        let mut peer = self.accept();
        match peer.receive() {
            Received::Connect { level: found, .. } => assert_eq!(found, level, "protocol level"),
            other => panic!("expected CONNECT, came {other:?}"),
        }
        if level == 5 {
            peer.greet_5(&[])
        } else {
            peer.greet_311(0)
        }
        peer
    }

    /// Whether another connection comes within this time.
    pub(super) fn accepts_within(&self, time: Duration) -> bool {
        self.peers.recv_timeout(time).is_ok()
    }
}

impl Peer {
    pub(super) fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).expect("the client reads");
    }

    pub(super) fn greet_311(&mut self, code: u8) {
        self.send(&[0x20, 2, 0, code]);
    }

    /// CONNACK of MQTT 5 with these properties.
    pub(super) fn greet_5(&mut self, properties: &[u8]) {
        let length = properties.len() as u8;
        self.send(&[&[0x20, 3 + length, 0, 0, length][..], properties].concat());
    }

    pub(super) fn acknowledge(&mut self, packet_id: u16) {
        let [high, low] = packet_id.to_be_bytes();
        self.send(&[0x40, 2, high, low]);
    }

    /// PUBACK of MQTT 5 with a reason.
    pub(super) fn reject(&mut self, packet_id: u16, reason: u8) {
        let [high, low] = packet_id.to_be_bytes();
        self.send(&[0x40, 3, high, low, reason]);
    }

    /// The next packet that is not a ping.
    pub(super) fn receive(&mut self) -> Received {
        loop {
            match self.receive_any() {
                Received::Ping => self.send(&[0xd0, 0]),
                other => return other,
            }
        }
    }

    /// The next PUBLISH's packet id and payload.
    pub(super) fn receive_message(&mut self) -> (u16, String) {
        match self.receive() {
            Received::Publish {
                packet_id, payload, ..
            } => (packet_id, String::from_utf8_lossy(&payload).into_owned()),
            other => panic!("expected PUBLISH, came {other:?}"),
        }
    }

    fn receive_any(&mut self) -> Received {
        let mut header = [0_u8; 1];
        if self.stream.read_exact(&mut header).is_err() {
            return Received::Closed;
        }
        let mut length = 0_usize;
        for shift in 0..4 {
            let mut byte = [0_u8; 1];
            self.stream.read_exact(&mut byte).expect("a remaining length");
            length |= usize::from(byte[0] & 0x7f) << (7 * shift);
            if byte[0] & 0x80 == 0 {
                break;
            }
        }
        let mut body = vec![0_u8; length];
        if self.stream.read_exact(&mut body).is_err() {
            return Received::Closed;
        }
        match header[0] >> 4 {
            1 => self.connect(&body),
            3 => self.publish(header[0], &body),
            12 => Received::Ping,
            14 => Received::Disconnect,
            other => panic!("packet type {other}"),
        }
    }

    fn connect(&mut self, body: &[u8]) -> Received {
        let level = body[6];
        let flags = body[7];
        let mut at = 10;
        if level == 5 {
            at += 1 + usize::from(body[at]);
        }
        let length = usize::from(u16::from_be_bytes([body[at], body[at + 1]]));
        let client_id = String::from_utf8_lossy(&body[at + 2..at + 2 + length]).into_owned();
        self.level = level;
        Received::Connect {
            level,
            flags,
            client_id,
            rest: body[at + 2 + length..].to_vec(),
        }
    }

    fn publish(&self, header: u8, body: &[u8]) -> Received {
        let length = usize::from(u16::from_be_bytes([body[0], body[1]]));
        let topic = String::from_utf8_lossy(&body[2..2 + length]).into_owned();
        let mut at = 2 + length;
        let packet_id = u16::from_be_bytes([body[at], body[at + 1]]);
        at += 2;
        if self.level == 5 {
            at += 1 + usize::from(body[at]);
        }
        Received::Publish {
            packet_id,
            topic,
            payload: body[at..].to_vec(),
            is_retained: header & 1 == 1,
            is_duplicate: header & 8 == 8,
        }
    }
}

//! The protocol on capture's socket: its bytes are frozen, what is encoded is decoded again, and no input
//! panics or makes it allocate.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;

use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::*;
use shared::record::Record;
use shared::wire::codec::{self, CodecError};
use shared::wire::{
    ConsumerStatus, Identity, Imported, ImportedFile, Loss, MAX_FRAME_BYTES, PROTOCOL_VERSION,
    PublisherReport, Refusal, RejectedStretch, Reply, Request, Start, Status,
};

// ---- golden bytes -----------------------------------------------------------------------------------

/// Each byte as two hex digits, or text between single quotes. Blanks are for the eye.
fn bytes(text: &str) -> Vec<u8> {
    let mut out = Vec::new();
    for (number, part) in text.split('\'').enumerate() {
        if number % 2 == 1 {
            out.extend_from_slice(part.as_bytes());
        } else {
            for pair in part.split_whitespace() {
                out.push(u8::from_str_radix(pair, 16).unwrap_or_else(|_| panic!("not hex: {pair:?}")));
            }
        }
    }
    out
}

fn assert_golden<M>(message: &M, golden: &str)
where
    M: serde::Serialize + serde::de::DeserializeOwned + PartialEq + std::fmt::Debug,
{
    let body = bytes(golden);
    let mut frame = Vec::new();
    codec::encode(message, &mut frame).unwrap();
    assert_eq!(hex(&frame[4..]), hex(&body), "{message:?}");
    assert_eq!(frame[..4], u32::try_from(body.len()).unwrap().to_le_bytes());
    assert_eq!(&codec::decode::<M>(&body).unwrap(), message);
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x} ")).collect()
}

#[test]
fn the_hello_is_the_magic_word_and_the_version() {
    assert_eq!(
        codec::hello(PROTOCOL_VERSION).to_vec(),
        bytes("'P1QUEUE' 0a 01 00 00 00")
    );
    assert_eq!(codec::hello_version(&codec::hello(7)).unwrap(), 7);
    assert!(matches!(
        codec::hello_version(b"GET / HTTP/1"),
        Err(CodecError::NotHello)
    ));
}

/// In the bytes: a number below 251 is itself; `fb` says that two bytes follow, `fc` four, `fd` eight; a
/// signed number is first folded (0, -1, 1, -2 to 0, 1, 2, 3); texts, byte strings, lists and maps begin
/// with their length; a choice begins with its number; an absent value is 00, a present one 01 and itself.
#[test]
fn every_request_is_frozen() {
    let telegram = b"/X\r\n\r\n!\r\n".to_vec();
    let golden = [
        (
            Request::Open {
                consumer: "mqtt".into(),
                start: Start::Oldest,
            },
            "00 04 'mqtt' 00",
        ),
        (
            Request::Open {
                consumer: "é".into(),
                start: Start::Newest,
            },
            "00 02 c3 a9 01",
        ),
        (
            Request::Read {
                from: 251,
                max_bytes: 262_144,
                wait_ms: 30_000,
            },
            "01 fb fb 00 fc 00 00 04 00 fb 30 75",
        ),
        (
            Request::Commit { sequence: u64::MAX },
            "02 fd ff ff ff ff ff ff ff ff",
        ),
        (
            Request::Report(PublisherReport {
                at_us: -1,
                version: "1".into(),
                connection: "connected".into(),
                is_connected: true,
                acknowledged_messages: 3,
                last_acknowledged_at_us: Some(2),
                last_acknowledged_sequence: None,
                skipped: BTreeMap::from([("rejected".into(), 1), ("undecryptable".into(), 2)]),
            }),
            "03 01 01 '1' 09 'connected' 01 03 01 04 00 02 08 'rejected' 01 0d 'undecryptable' 02",
        ),
        (Request::Status, "04"),
        (
            Request::Locate {
                at_us: 1_700_000_000_000_000,
            },
            "05 fd 00 80 3c 30 48 14 0c 00",
        ),
        (
            Request::Append {
                source: "a.txt".into(),
                offset: 65_536,
                before: [0xB1; 16],
                after: *b"0123456789abcdef",
                telegrams: vec![Imported {
                    captured_at_us: 5,
                    silence_ms: 1000,
                    telegram,
                }],
            },
            "06 05 'a.txt' fc 00 00 01 00 b1 b1 b1 b1 b1 b1 b1 b1 b1 b1 b1 b1 b1 b1 b1 b1 '0123456789abcdef' 01 0a fb e8 03 09 '/X' 0d 0a 0d 0a '!' 0d 0a",
        ),
        (Request::Imports, "08"),
        (
            Request::Forget {
                consumer: "old".into(),
            },
            "07 03 'old'",
        ),
        (Request::Identities, "09"),
        (
            Request::Renew {
                consumer: "mqtt".into(),
                queue: "k3v9x2ab".into(),
                sequence: 250,
            },
            "0a 04 'mqtt' 08 'k3v9x2ab' fa",
        ),
    ];
    let mut kinds = BTreeSet::new();
    for (request, text) in &golden {
        assert_golden(request, text);
        kinds.insert(match request {
            Request::Open { .. } => 0,
            Request::Read { .. } => 1,
            Request::Commit { .. } => 2,
            Request::Report(_) => 3,
            Request::Status => 4,
            Request::Locate { .. } => 5,
            Request::Append { .. } => 6,
            Request::Forget { .. } => 7,
            Request::Imports => 8,
            Request::Identities => 9,
            Request::Renew { .. } => 10,
        });
    }
    assert_eq!(kinds.len(), 11, "a request has no golden bytes");
}

#[test]
fn every_reply_is_frozen() {
    let record = Record {
        sequence: 7,
        captured_at_us: 3,
        silence_ms: 30_001,
        telegram: b"/X\r\n\r\n!\r\n".to_vec().into(),
    };
    let refused = |refusal, number: &str| {
        (
            Reply::Refused {
                refusal,
                message: "no".into(),
            },
            format!("0a {number} 02 'no'"),
        )
    };
    let golden = [
        (Reply::Welcome { queue: "k3v9x2ab".into(), version: "0.1.0".into() }, "00 08 'k3v9x2ab' 05 '0.1.0'".into()),
        (Reply::Opened { cursor: 0, head: 250 }, "01 00 fa".into()),
        (
            Reply::Records { records: vec![record], head: 9 },
            "02 01 07 06 fb 31 75 09 '/X' 0d 0a 0d 0a '!' 0d 0a 09".into(),
        ),
        (Reply::Idle { head: 1, silence_ms: 31_000 }, "03 01 fb 18 79".into()),
        (Reply::Committed, "04".into()),
        (Reply::Reported, "05".into()),
        (
            Reply::Status(Box::new(full_status())),
            "06 01 'v' 01 'q' 02 02 '/d' 04 'open' 05 01 05 'noise' 06 01 08 05 'noise' 02 00 ff 01 07 08 09 \
             0a 0b 0c 02 01 'a' 0d 0e 01 00 01 'b' 0f 10 00 01 02 01 '1' 02 'up' 01 03 00 01 04 00 \
             01 02 05 06 06 'damage' 01 02 '/x' 11 01 04 'full'"
                .into(),
        ),
        (Reply::Located { sequence: 4, tail: 2, head: 3 }, "07 04 02 03".into()),
        (Reply::Appended { taken: 1, known: 2 }, "08 01 02".into()),
        (Reply::Forgotten { existed: true }, "09 01".into()),
        refused(Refusal::Version, "00"),
        refused(Refusal::ConsumerInUse, "01"),
        refused(Refusal::NotOpen, "02"),
        refused(Refusal::Invalid, "03"),
        refused(Refusal::Storage, "04"),
        refused(Refusal::Busy, "05"),
        (
            Reply::Imports(vec![ImportedFile {
                source: "a.txt".into(),
                telegrams: 9,
                digest: *b"0123456789abcdef",
            }]),
            "0b 01 05 'a.txt' 09 '0123456789abcdef'".into(),
        ),
        (
            Reply::Identities(vec![Identity { queue: "k3v9x2ab".into(), first_sequence: 104 }]),
            "0c 01 08 'k3v9x2ab' 68".into(),
        ),
    ];
    let mut kinds = BTreeSet::new();
    for (reply, text) in &golden {
        assert_golden(reply, text);
        kinds.insert(match reply {
            Reply::Welcome { .. } => 0,
            Reply::Opened { .. } => 1,
            Reply::Records { .. } => 2,
            Reply::Idle { .. } => 3,
            Reply::Committed => 4,
            Reply::Reported => 5,
            Reply::Status(_) => 6,
            Reply::Located { .. } => 7,
            Reply::Appended { .. } => 8,
            Reply::Forgotten { .. } => 9,
            Reply::Refused { refusal, .. } => match refusal {
                Refusal::Version => 10,
                Refusal::ConsumerInUse => 11,
                Refusal::NotOpen => 12,
                Refusal::Invalid => 13,
                Refusal::Storage => 14,
                Refusal::Busy => 15,
            },
            Reply::Imports(_) => 16,
            Reply::Identities(_) => 17,
        });
    }
    assert_eq!(kinds.len(), 18, "a reply has no golden bytes");
}

/// A status with a value of its own in every field, so that no two can change places unnoticed.
fn full_status() -> Status {
    Status {
        version: "v".into(),
        queue: "q".into(),
        started_at_us: 1,
        port: "/d".into(),
        port_state: "open".into(),
        accepted: 5,
        rejected: BTreeMap::from([("noise".into(), 6)]),
        recently_rejected: vec![RejectedStretch {
            at_us: 4,
            reason: "noise".into(),
            bytes: vec![0, 255],
        }],
        last_telegram_age_ms: Some(7),
        tail: 8,
        head: 9,
        live_bytes: 10,
        disk_bytes: 11,
        max_size_bytes: 12,
        consumers: vec![
            ConsumerStatus {
                name: "a".into(),
                cursor: 13,
                lag: 14,
                is_connected: true,
                report: None,
            },
            ConsumerStatus {
                name: "b".into(),
                cursor: 15,
                lag: 16,
                is_connected: false,
                report: Some(PublisherReport {
                    at_us: 1,
                    version: "1".into(),
                    connection: "up".into(),
                    is_connected: true,
                    acknowledged_messages: 3,
                    last_acknowledged_at_us: None,
                    last_acknowledged_sequence: Some(4),
                    skipped: BTreeMap::new(),
                }),
            },
        ],
        losses: vec![Loss {
            at_us: 1,
            first_sequence: 5,
            last_sequence: 6,
            cause: "damage".into(),
        }],
        damaged: vec!["/x".into()],
        refused: 17,
        trouble: Some("full".into()),
    }
}

// ---- frames that are no frames ----------------------------------------------------------------------

/// A peer that announces and then sends nothing more; it notices how much room it is offered.
struct Announcing {
    head: Vec<u8>,
    largest_buffer: usize,
}

impl Read for Announcing {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        self.largest_buffer = self.largest_buffer.max(buffer.len());
        let count = self.head.len().min(buffer.len());
        buffer[..count].copy_from_slice(&self.head[..count]);
        self.head.drain(..count);
        Ok(count)
    }
}

#[test]
fn a_frame_above_the_limit_is_refused_before_its_body_is_read() {
    let length = u32::try_from(MAX_FRAME_BYTES + 1).unwrap();
    let mut peer = Announcing {
        head: length.to_le_bytes().to_vec(),
        largest_buffer: 0,
    };
    let mut body = Vec::new();
    let error = codec::read_frame(&mut peer, &mut body).unwrap_err();
    assert!(
        matches!(error, CodecError::TooLong { length } if length == MAX_FRAME_BYTES as u64 + 1),
        "{error}"
    );
    assert_eq!(peer.largest_buffer, 4, "only the length was read");
    assert_eq!(body.capacity(), 0);
}

#[test]
fn an_announced_megabyte_costs_nothing_until_it_comes() {
    let mut head = u32::try_from(MAX_FRAME_BYTES).unwrap().to_le_bytes().to_vec();
    head.extend_from_slice(b"only this");
    let mut peer = Announcing {
        head,
        largest_buffer: 0,
    };
    let mut body = Vec::new();
    let error = codec::read_frame(&mut peer, &mut body).unwrap_err();
    assert!(
        matches!(
            error,
            CodecError::CutShort {
                have: 9,
                want: MAX_FRAME_BYTES
            }
        ),
        "{error}"
    );
    assert!(body.capacity() <= 8 * 1024, "{} bytes for nine", body.capacity());
}

#[test]
fn a_session_may_end_between_frames_and_not_within_one() {
    let mut frame = Vec::new();
    codec::encode(&Request::Commit { sequence: 70_000 }, &mut frame).unwrap();
    let mut body = Vec::new();
    for length in 0..frame.len() {
        let outcome = codec::read_frame(&mut &frame[..length], &mut body);
        match length {
            0 => assert!(!outcome.unwrap()),
            _ => assert!(
                matches!(outcome, Err(CodecError::CutShort { .. })),
                "{length} bytes"
            ),
        }
    }
    assert!(codec::read_frame(&mut frame.as_slice(), &mut body).unwrap());
}

#[test]
fn a_message_that_fits_no_frame_is_not_sent() {
    let telegrams = vec![Imported {
        captured_at_us: 0,
        silence_ms: 0,
        telegram: vec![0; MAX_FRAME_BYTES],
    }];
    let mut frame = Vec::new();
    let request = Request::Append {
        source: String::new(),
        offset: 0,
        before: [0; 16],
        after: [0; 16],
        telegrams,
    };
    assert!(matches!(
        codec::encode(&request, &mut frame),
        Err(CodecError::TooLong { .. })
    ));
    assert!(frame.is_empty());
}

#[test]
fn lengths_inside_a_body_that_claim_more_than_there_is_are_refused() {
    // A telegram, a list and a text of 2^60 bytes or items.
    for text in [
        "06 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 01 00 00 fd 00 00 00 00 00 00 00 10",
        "06 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 fd 00 00 00 00 00 00 00 10",
        "07 fd 00 00 00 00 00 00 00 10",
    ] {
        let error = codec::decode::<Request>(&bytes(text)).unwrap_err();
        assert!(matches!(error, CodecError::Undecodable { .. }), "{error}");
    }
}

#[test]
fn bytes_behind_a_message_are_refused() {
    assert!(matches!(
        codec::decode::<Request>(&bytes("04 00")),
        Err(CodecError::Undecodable { .. })
    ));
}

// ---- properties -------------------------------------------------------------------------------------

fn start() -> impl Strategy<Value = Start> {
    prop_oneof![Just(Start::Oldest), Just(Start::Newest)]
}

fn counts() -> impl Strategy<Value = BTreeMap<String, u64>> {
    btree_map(".{0,12}", any::<u64>(), 0..4)
}

fn record() -> impl Strategy<Value = Record> {
    (any::<u64>(), any::<i64>(), any::<u64>(), vec(any::<u8>(), 0..200)).prop_map(
        |(sequence, captured_at_us, silence_ms, telegram)| Record {
            sequence,
            captured_at_us,
            silence_ms,
            telegram: telegram.into(),
        },
    )
}

fn imported() -> impl Strategy<Value = Imported> {
    (any::<i64>(), any::<u64>(), vec(any::<u8>(), 0..200)).prop_map(
        |(captured_at_us, silence_ms, telegram)| Imported {
            captured_at_us,
            silence_ms,
            telegram,
        },
    )
}

fn report() -> impl Strategy<Value = PublisherReport> {
    (
        any::<i64>(),
        ".{0,8}",
        ".{0,20}",
        any::<bool>(),
        any::<u64>(),
        option::of(any::<i64>()),
        option::of(any::<u64>()),
        counts(),
    )
        .prop_map(
            |(at_us, version, connection, is_connected, acknowledged_messages, at, sequence, skipped)| {
                PublisherReport {
                    at_us,
                    version,
                    connection,
                    is_connected,
                    acknowledged_messages,
                    last_acknowledged_at_us: at,
                    last_acknowledged_sequence: sequence,
                    skipped,
                }
            },
        )
}

fn request() -> impl Strategy<Value = Request> {
    prop_oneof![
        (".{0,20}", start()).prop_map(|(consumer, start)| Request::Open { consumer, start }),
        any::<(u64, u32, u32)>().prop_map(|(from, max_bytes, wait_ms)| Request::Read {
            from,
            max_bytes,
            wait_ms
        }),
        any::<u64>().prop_map(|sequence| Request::Commit { sequence }),
        report().prop_map(Request::Report),
        Just(Request::Status),
        any::<i64>().prop_map(|at_us| Request::Locate { at_us }),
        (
            ".{0,20}",
            any::<u64>(),
            any::<[[u8; 16]; 2]>(),
            vec(imported(), 0..5)
        )
            .prop_map(|(source, offset, [before, after], telegrams)| Request::Append {
                source,
                offset,
                before,
                after,
                telegrams,
            },),
        Just(Request::Imports),
        ".{0,20}".prop_map(|consumer| Request::Forget { consumer }),
    ]
}

fn status() -> impl Strategy<Value = Status> {
    let consumer = (
        ".{0,8}",
        any::<u64>(),
        any::<u64>(),
        any::<bool>(),
        option::of(report()),
    )
        .prop_map(|(name, cursor, lag, is_connected, report)| ConsumerStatus {
            name,
            cursor,
            lag,
            is_connected,
            report,
        });
    let loss = (any::<i64>(), any::<u64>(), any::<u64>(), ".{0,20}").prop_map(
        |(at_us, first_sequence, last_sequence, cause)| Loss {
            at_us,
            first_sequence,
            last_sequence,
            cause,
        },
    );
    let stretch = (any::<i64>(), ".{0,8}", vec(any::<u8>(), 0..50))
        .prop_map(|(at_us, reason, bytes)| RejectedStretch { at_us, reason, bytes });
    let texts = (".{0,8}", ".{0,8}", ".{0,8}", ".{0,20}", option::of(".{0,20}"));
    let numbers = (any::<[u64; 7]>(), any::<i64>(), option::of(any::<u64>()));
    let lists = (
        vec(consumer, 0..3),
        vec(loss, 0..3),
        vec(stretch, 0..3),
        counts(),
        vec(".{0,9}", 0..3),
    );
    (texts, numbers, lists).prop_map(|(texts, numbers, lists)| {
        let (version, queue, port, port_state, trouble) = texts;
        let (
            [
                accepted,
                tail,
                head,
                live_bytes,
                disk_bytes,
                max_size_bytes,
                refused,
            ],
            started_at_us,
            age,
        ) = numbers;
        let (consumers, losses, recently_rejected, rejected, damaged) = lists;
        Status {
            version,
            queue,
            started_at_us,
            port,
            port_state,
            accepted,
            rejected,
            recently_rejected,
            last_telegram_age_ms: age,
            tail,
            head,
            live_bytes,
            disk_bytes,
            max_size_bytes,
            consumers,
            losses,
            damaged,
            refused,
            trouble,
        }
    })
}

fn reply() -> impl Strategy<Value = Reply> {
    let refusal = prop_oneof![
        Just(Refusal::Version),
        Just(Refusal::ConsumerInUse),
        Just(Refusal::NotOpen),
        Just(Refusal::Invalid),
        Just(Refusal::Storage),
        Just(Refusal::Busy)
    ];
    prop_oneof![
        (".{0,8}", ".{0,8}").prop_map(|(queue, version)| Reply::Welcome { queue, version }),
        any::<(u64, u64)>().prop_map(|(cursor, head)| Reply::Opened { cursor, head }),
        (vec(record(), 0..6), any::<u64>()).prop_map(|(records, head)| Reply::Records { records, head }),
        any::<(u64, u64)>().prop_map(|(head, silence_ms)| Reply::Idle { head, silence_ms }),
        Just(Reply::Committed),
        Just(Reply::Reported),
        status().prop_map(|status| Reply::Status(Box::new(status))),
        any::<(u64, u64, u64)>().prop_map(|(sequence, tail, head)| Reply::Located { sequence, tail, head }),
        any::<(u64, u64)>().prop_map(|(taken, known)| Reply::Appended { taken, known }),
        any::<bool>().prop_map(|existed| Reply::Forgotten { existed }),
        (refusal, ".{0,20}").prop_map(|(refusal, message)| Reply::Refused { refusal, message }),
    ]
}

/// Hands out at most `step` bytes at a time, as a socket may.
struct Trickle<'a> {
    bytes: &'a [u8],
    step: usize,
}

impl Read for Trickle<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let count = self.step.min(buffer.len()).min(self.bytes.len());
        buffer[..count].copy_from_slice(&self.bytes[..count]);
        self.bytes = &self.bytes[count..];
        Ok(count)
    }
}

proptest! {
    #[test]
    fn what_is_encoded_is_decoded_however_it_is_cut(
        requests in vec(request(), 1..4), replies in vec(reply(), 1..4), step in 1..40_usize,
    ) {
        let mut stream = Vec::new();
        let mut frame = Vec::new();
        for request in &requests {
            codec::encode(request, &mut frame).unwrap();
            stream.extend_from_slice(&frame);
        }
        for reply in &replies {
            codec::encode(reply, &mut frame).unwrap();
            stream.extend_from_slice(&frame);
        }
        let mut peer = Trickle { bytes: &stream, step };
        let mut body = Vec::new();
        for request in &requests {
            prop_assert!(codec::read_frame(&mut peer, &mut body).unwrap());
            prop_assert_eq!(&codec::decode::<Request>(&body).unwrap(), request);
        }
        for reply in &replies {
            prop_assert!(codec::read_frame(&mut peer, &mut body).unwrap());
            prop_assert_eq!(&codec::decode::<Reply>(&body).unwrap(), reply);
        }
        prop_assert!(!codec::read_frame(&mut peer, &mut body).unwrap());
    }

    #[test]
    fn garbage_never_panics(garbage in vec(any::<u8>(), 0..2000)) {
        let mut body = Vec::new();
        let _ = codec::read_frame(&mut garbage.as_slice(), &mut body);
        prop_assert!(body.capacity() <= garbage.len() * 2 + 4096, "{} bytes", body.capacity());
        // Whatever it is taken for, it encodes to bytes that mean the same.
        if let Ok(request) = codec::decode::<Request>(&garbage) {
            let mut frame = Vec::new();
            codec::encode(&request, &mut frame).unwrap();
            prop_assert_eq!(codec::decode::<Request>(&frame[4..]).unwrap(), request);
        }
        if let Ok(reply) = codec::decode::<Reply>(&garbage) {
            let mut frame = Vec::new();
            codec::encode(&reply, &mut frame).unwrap();
            prop_assert_eq!(codec::decode::<Reply>(&frame[4..]).unwrap(), reply);
        }
    }

    #[test]
    fn a_damaged_frame_never_panics(reply in reply(), at in any::<prop::sample::Index>(), bit in 0..8_u32) {
        let mut frame = Vec::new();
        codec::encode(&reply, &mut frame).unwrap();
        let place = at.index(frame.len());
        frame[place] ^= 1_u8 << bit;
        let mut body = Vec::new();
        if let Ok(true) = codec::read_frame(&mut frame.as_slice(), &mut body) {
            let _ = codec::decode::<Reply>(&body);
        }
    }
}

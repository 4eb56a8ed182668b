//! The protocol on capture's Unix socket: one request, one reply, each in a frame of its own.
//!
//! # Order constraints
//!
//! 1. The client speaks first: a hello with the protocol's version; capture answers
//!    [`Reply::Welcome`] or [`Reply::Refused`] and, when the versions differ, ends the session.
//! 2. One request is outstanding at a time. Replies come in the order of the requests.
//! 3. [`Request::Open`] makes the session the only one of that consumer until it ends, and registers a
//!    new consumer durably before it answers. [`Request::Commit`] needs it; reading does not.
//! 4. A record in a reply has been flushed: *visible implies durable*.
//!
//! # Bytes
//!
//! ```text
//! hello    "P1QUEUE\n"  protocol u32 LE                     12 bytes, client to capture, once
//! frame    length u32 LE   body (length bytes)              both ways, length <= MAX_FRAME_BYTES
//! body     bincode 2, standard configuration (little endian, variable-length integers)
//! ```
//!
//! The length is checked before anything is allocated. A frame that is too long, cut short or not
//! decodable ends that session and nothing else. `shared/README.md` says what a client may take and ask for.

pub mod client;
pub mod codec;
pub mod deadline;
pub mod json;
mod peer;

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{self, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use crate::record::Record;

/// Version of this protocol. Raised with every change of what there is in a type of this file. What is added at the
/// end of [`Request`] and [`Reply`] keeps it: a capture that does not know a request refuses it as invalid, and its
/// client goes on without.
pub const PROTOCOL_VERSION: u32 = 1;

/// Largest body of a frame, in bytes.
pub const MAX_FRAME_BYTES: usize = 1024 * 1024;

/// Largest body of a request other than [`Request::Append`], in bytes.
pub const MAX_REQUEST_BYTES: usize = 16 * 1024;

/// Most telegrams in one [`Request::Append`].
pub const MAX_APPENDED_TELEGRAMS: usize = 4096;

/// What a client asks of capture.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Request {
    /// Be the consumer of this name; a new one is registered to begin at `start`. Answered by
    /// [`Reply::Opened`], or refused where another session has it open.
    Open {
        /// Name of the consumer.
        consumer: String,
        /// Where a new consumer begins.
        start: Start,
    },
    /// Records from sequence `from` on, in order: as many as fit in `max_bytes` of telegrams, at least
    /// one. Where there is none yet, waits up to `wait_ms` for one. Answered by [`Reply::Records`] or
    /// [`Reply::Idle`].
    Read {
        /// First sequence wanted. Where it is no longer kept, the reply begins with the next that is.
        from: u64,
        /// Bound on the telegrams' bytes in the reply.
        max_bytes: u32,
        /// Longest wait for a first record, in milliseconds; capture may wait less.
        wait_ms: u32,
    },
    /// The session's consumer is done with everything up to this sequence. Answered by
    /// [`Reply::Committed`]. A smaller one than already committed changes nothing; one beyond the head
    /// is refused.
    Commit {
        /// Last sequence done with.
        sequence: u64,
    },
    /// What the publisher of this session wants `publisher status` to show. Answered by [`Reply::Reported`].
    Report(PublisherReport),
    /// Answered by [`Reply::Status`].
    Status,
    /// First record captured at or after this time. Answered by [`Reply::Located`].
    Locate {
        /// Capture's time in microseconds since 1970-01-01T00:00:00Z.
        at_us: i64,
    },
    /// Append telegrams from elsewhere to the queue. Answered by [`Reply::Appended`] when they are durable.
    /// Refused where what came before these has not been taken: [`Request::Imports`] tells what has.
    Append {
        /// Name of the file that they come from, for people.
        source: String,
        /// How many telegrams of that file came before these.
        offset: u64,
        /// Digest of the telegrams before these; that of none where `offset` is 0.
        before: Digest,
        /// Digest of those and these.
        after: Digest,
        /// The telegrams with their times, in order: at most [`MAX_APPENDED_TELEGRAMS`], each of them valid.
        #[serde(deserialize_with = "few_telegrams")]
        telegrams: Vec<Imported>,
    },
    /// Remove a consumer and its cursor. Answered by [`Reply::Forgotten`]; refused while it is open.
    Forget {
        /// Name of the consumer.
        consumer: String,
    },
    /// What has been imported so far. Answered by [`Reply::Imports`].
    Imports,
    /// Under which identities the records were accepted. Answered by [`Reply::Identities`].
    Identities,
    /// The client has read this record, and it is not in the folder or another one is in its place: the folder is an
    /// older copy. Gives a new identity to what the consumer cannot have read, unless that identity is no longer the
    /// newest; every other session then ends. Answered by [`Reply::Identities`].
    Renew {
        /// Name of the consumer.
        consumer: String,
        /// The identity under which it was read.
        queue: String,
        /// Its sequence.
        sequence: u64,
    },
}

impl Request {
    /// Whether this body of a frame, which may be cut short, is that of a [`Request::Append`].
    pub fn is_append(body: &[u8]) -> bool {
        // The seventh; the wire's golden test freezes it.
        body.first() == Some(&6)
    }
}

/// A list is decoded only as far as one may be long: each telegram takes more memory than its bytes in the frame.
fn few_telegrams<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Imported>, D::Error> {
    struct Few;

    impl<'de> Visitor<'de> for Few {
        type Value = Vec<Imported>;

        fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(formatter, "at most {MAX_APPENDED_TELEGRAMS} telegrams")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<Self::Value, A::Error> {
            let mut telegrams = Vec::new();
            while let Some(telegram) = sequence.next_element()? {
                if telegrams.len() >= MAX_APPENDED_TELEGRAMS {
                    return Err(de::Error::custom(format_args!(
                        "more than {MAX_APPENDED_TELEGRAMS} telegrams in one request"
                    )));
                }
                telegrams.push(telegram);
            }
            Ok(telegrams)
        }
    }

    deserializer.deserialize_seq(Few)
}

/// Digest of the telegrams of a file from its first one on: tells how far it has been imported, whatever
/// its name is now and however it has grown since.
pub type Digest = [u8; 16];

/// What capture answers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Reply {
    /// The hello was accepted.
    Welcome {
        /// The newest identity of the queue's folder: eight characters.
        queue: String,
        /// Version of the capture program.
        version: String,
    },
    /// The consumer is this session's.
    Opened {
        /// Last sequence that the consumer has committed; 0 where it begins with the first.
        cursor: u64,
        /// Highest durable sequence; 0 in an empty queue.
        head: u64,
    },
    /// Records in order of their sequence; never empty.
    Records {
        /// The records.
        records: Vec<Record>,
        /// Highest durable sequence.
        head: u64,
    },
    /// There is no record at or after the sequence asked for.
    Idle {
        /// Highest durable sequence.
        head: u64,
        /// Milliseconds since the last telegram came, by the clock that gives [`Record::silence_ms`]:
        /// the next record's silence will be at least this. 0 while a telegram is on its way to the disk.
        silence_ms: u64,
    },
    /// The commit is taken. It is durable with the next flush.
    Committed,
    /// The report is taken.
    Reported,
    /// How capture is doing.
    Status(Box<Status>),
    /// Where a time begins.
    Located {
        /// First sequence captured at or after it; one more than the head where there is none.
        sequence: u64,
        /// Lowest sequence kept; one more than the head in an empty queue.
        tail: u64,
        /// Highest durable sequence.
        head: u64,
    },
    /// The telegrams are durable.
    Appended {
        /// How many were taken: all of them, or none where these had been taken before.
        taken: u64,
        /// How many of the source have been taken by now, in this import and earlier ones.
        known: u64,
    },
    /// The consumer is gone.
    Forgotten {
        /// Whether there was one of that name.
        existed: bool,
    },
    /// The request was not carried out. The session goes on, except after a hello.
    Refused {
        /// Why, for the program.
        refusal: Refusal,
        /// Why, in words for a person.
        message: String,
    },
    /// The files imported so far, those touched last at the end.
    Imports(Vec<ImportedFile>),
    /// The identities, oldest first: each names the records from its first sequence to before the next one's.
    Identities(Vec<Identity>),
}

/// An identity of the queue's folder, and where it begins.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// Eight characters, as `Queue` in what is published.
    pub queue: String,
    /// The first sequence that is accepted under it.
    pub first_sequence: u64,
}

impl Identity {
    /// That of a queue that has only ever had this one.
    pub fn only(queue: &str) -> Self {
        Self {
            queue: queue.to_owned(),
            first_sequence: 1,
        }
    }
}

/// Where in a list of identities that of a record is.
pub fn place_of(identities: &[Identity], sequence: u64) -> usize {
    let begun = identities.partition_point(|identity| identity.first_sequence <= sequence);
    begun.saturating_sub(1)
}

/// How far a file has been imported.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImportedFile {
    /// Its name when it was imported, for people.
    pub source: String,
    /// How many of its telegrams have been taken, from its first one on.
    pub telegrams: u64,
    /// Digest of those.
    pub digest: Digest,
}

/// Where a consumer that is new begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Start {
    /// With the oldest record that is kept.
    Oldest,
    /// With the next record to come.
    Newest,
}

/// Why a request was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Refusal {
    /// The hello was of another version.
    Version,
    /// Another session has this consumer open.
    ConsumerInUse,
    /// The request needs [`Request::Open`] first.
    NotOpen,
    /// A value is impossible, such as a commit beyond the head or an empty name.
    Invalid,
    /// The queue cannot be written to or read from at present.
    Storage,
    /// Too many sessions at once.
    Busy,
}

/// A telegram on its way into a queue from elsewhere.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Imported {
    /// When it was captured, in microseconds since 1970-01-01T00:00:00Z.
    pub captured_at_us: i64,
    /// Silence before it, in milliseconds.
    pub silence_ms: u64,
    /// The telegram byte for byte.
    #[serde(with = "serde_bytes")]
    pub telegram: Vec<u8>,
}

/// How capture is doing: what `capture status` and `publisher status` print.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// Version of the capture program.
    pub version: String,
    /// Identity of the queue's folder.
    pub queue: String,
    /// When capture started, in microseconds since 1970-01-01T00:00:00Z.
    pub started_at_us: i64,
    /// The port as configured.
    pub port: String,
    /// The port's state in words: `open at 115200-8N1`, `waiting: permission denied …`.
    pub port_state: String,
    /// Telegrams accepted since capture started: those that are durable.
    pub accepted: u64,
    /// Stretches of input rejected since capture started, by reason.
    pub rejected: BTreeMap<String, u64>,
    /// The last few rejected stretches, newest last.
    pub recently_rejected: Vec<RejectedStretch>,
    /// Milliseconds since the last telegram was accepted; none before the first.
    pub last_telegram_age_ms: Option<u64>,
    /// Lowest sequence kept; one more than the head in an empty queue.
    pub tail: u64,
    /// Highest durable sequence; 0 in an empty queue.
    pub head: u64,
    /// Bytes that the records kept take, by the queue's own account.
    pub live_bytes: u64,
    /// Bytes of the queue's folder on disk.
    pub disk_bytes: u64,
    /// The bound on the folder's size.
    pub max_size_bytes: u64,
    /// The consumers by name.
    pub consumers: Vec<ConsumerStatus>,
    /// What was lost, oldest first.
    pub losses: Vec<Loss>,
    /// Folders of databases that could not be opened and were moved aside: `capture import --damaged`
    /// brings back what is whole in them.
    pub damaged: Vec<String>,
    /// Telegrams that were not taken since the start, because too many waited for the disk already.
    pub refused: u64,
    /// What keeps the queue from taking telegrams at present, in words.
    pub trouble: Option<String>,
}

/// A stretch of input that was not a valid telegram.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RejectedStretch {
    /// When, in microseconds since 1970-01-01T00:00:00Z.
    pub at_us: i64,
    /// Why.
    pub reason: String,
    /// The bytes as they came, cut to a bound.
    #[serde(with = "serde_bytes")]
    pub bytes: Vec<u8>,
}

/// A consumer as the queue knows it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ConsumerStatus {
    /// Name of the consumer.
    pub name: String,
    /// Last sequence it committed.
    pub cursor: u64,
    /// Head less cursor.
    pub lag: u64,
    /// Whether a session has it open.
    pub is_connected: bool,
    /// What its publisher last reported.
    pub report: Option<PublisherReport>,
}

/// What a publisher says of itself through its session.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct PublisherReport {
    /// When, in microseconds since 1970-01-01T00:00:00Z.
    pub at_us: i64,
    /// Version of the publisher program.
    pub version: String,
    /// The connection to the broker in words: `connected to localhost:1883 (MQTT 5)`,
    /// `waiting for the key …`.
    pub connection: String,
    /// Whether the broker is connected.
    pub is_connected: bool,
    /// Messages acknowledged since the publisher started.
    pub acknowledged_messages: u64,
    /// When the broker last acknowledged a message.
    pub last_acknowledged_at_us: Option<i64>,
    /// Highest sequence in an acknowledged message.
    pub last_acknowledged_sequence: Option<u64>,
    /// Telegrams and messages passed over, by reason, and values that do not fit. Also, with [`WITHOUT`] before their
    /// names, values that have stopped coming: [`PublisherReport::stopped`].
    pub skipped: BTreeMap<String, u64>,
}

/// Before the name of a value that has stopped coming. It is in [`PublisherReport::skipped`], since a field of its own
/// would be another version of the protocol.
const WITHOUT: &str = "telegrams without ";

impl PublisherReport {
    /// This value has stopped coming so many telegrams ago.
    pub fn has_stopped(&mut self, name: &str, telegrams: u64) {
        self.skipped.insert(format!("{WITHOUT}{name}"), telegrams);
    }

    /// The values that have stopped coming, each with the number of telegrams since.
    pub fn stopped(&self) -> impl Iterator<Item = (&str, u64)> {
        let entries = self.skipped.iter();
        entries.filter_map(|(key, count)| Some((key.strip_prefix(WITHOUT)?, *count)))
    }

    /// How much was skipped, by reason.
    pub fn skipped(&self) -> impl Iterator<Item = (&str, u64)> {
        let entries = self.skipped.iter().filter(|(key, _)| !key.starts_with(WITHOUT));
        entries.map(|(reason, count)| (reason.as_str(), *count))
    }
}

/// Records that are gone without having been read by everyone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Loss {
    /// When it was noticed, in microseconds since 1970-01-01T00:00:00Z.
    pub at_us: i64,
    /// First sequence concerned.
    pub first_sequence: u64,
    /// Last sequence concerned.
    pub last_sequence: u64,
    /// What happened, in words.
    pub cause: String,
}

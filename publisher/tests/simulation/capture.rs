//! A capture for tests: serves records from memory on a real socket, and can be stopped, restarted and
//! given another identity.

use std::io::Write;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec};
use shared::record::Record;
use shared::wire::codec;
use shared::wire::{Identity, PublisherReport, Refusal, Reply, Request};

/// What it holds and was told, shared with the test.
#[derive(Default)]
pub(super) struct Held {
    pub(super) queue: String,
    pub(super) records: Vec<Record>,
    pub(super) silence_ms: u64,
    pub(super) cursor: u64,
    pub(super) commits: Vec<u64>,
    pub(super) reads: Vec<u64>,
    pub(super) reports: Vec<PublisherReport>,
    pub(super) is_in_use: bool,
    pub(super) refuses_commits: bool,
    /// None as of a capture that knows only one: then it is `queue`.
    pub(super) identities: Option<Vec<Identity>>,
    /// What it was told to renew after.
    pub(super) renewed: Vec<(String, u64)>,
    sessions: Vec<UnixStream>,
}

pub(super) struct FakeCapture {
    pub(super) folder: tempfile::TempDir,
    pub(super) held: Arc<Mutex<Held>>,
}

impl FakeCapture {
    pub(super) fn new() -> Self {
        let held = Held {
            queue: "abcdefgh".to_owned(),
            ..Held::default()
        };
        Self {
            folder: tempfile::tempdir().expect("a folder"),
            held: Arc::new(Mutex::new(held)),
        }
    }

    pub(super) fn socket(&self) -> PathBuf {
        self.folder.path().join("queue.sock")
    }

    /// Begins to serve.
    pub(super) fn serve(&self) {
        let _ = std::fs::remove_file(self.socket());
        let listener = UnixListener::bind(self.socket()).expect("a socket");
        let held = Arc::clone(&self.held);
        thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(stream) = stream else { return };
                let held = Arc::clone(&held);
                held.lock()
                    .unwrap()
                    .sessions
                    .push(stream.try_clone().expect("a copy"));
                thread::spawn(move || session(stream, &held));
            }
        });
    }

    /// Ends all sessions, and takes the socket away.
    pub(super) fn stop(&self) {
        std::fs::remove_file(self.socket()).expect("the socket");
        self.cut();
    }

    /// Ends all sessions.
    pub(super) fn cut(&self) {
        for session in self.held.lock().unwrap().sessions.drain(..) {
            let _ = session.shutdown(std::net::Shutdown::Both);
        }
    }

    pub(super) fn append(&self, telegram: &[u8]) {
        let mut held = self.held.lock().unwrap();
        let sequence = held.records.last().map_or(1, |last| last.sequence + 1);
        held.records.push(Record {
            sequence,
            captured_at_us: 1_700_000_000_000_000 + sequence as i64 * 1_000_000,
            silence_ms: 1_000,
            telegram: telegram.to_vec().into(),
        });
    }

    /// Waits until the test's condition holds of what it was told.
    pub(super) fn wait_until(&self, what: &str, condition: impl Fn(&Held) -> bool) {
        let deadline = Instant::now() + Duration::from_secs(10);
        while !condition(&self.held.lock().unwrap()) {
            assert!(Instant::now() < deadline, "{what} within 10 s");
            thread::sleep(Duration::from_millis(2));
        }
    }
}

fn session(mut stream: UnixStream, held: &Mutex<Held>) {
    let mut hello = [0; 12];
    if std::io::Read::read_exact(&mut stream, &mut hello).is_err() {
        return;
    }
    let queue = held.lock().unwrap().queue.clone();
    send(
        &mut stream,
        &Reply::Welcome {
            queue,
            version: "0.0.0".to_owned(),
        },
    );
    let mut body = Vec::new();
    while let Ok(true) = codec::read_frame(&mut stream, &mut body) {
        let request: Request = codec::decode(&body).expect("a request");
        let reply = answer(request, held, &stream);
        send(&mut stream, &reply);
        let invalid = Refusal::Invalid;
        if matches!(reply, Reply::Refused { refusal, .. } if refusal == invalid) {
            let _ = stream.shutdown(std::net::Shutdown::Both);
        }
    }
}

fn answer(request: Request, held: &Mutex<Held>, stream: &UnixStream) -> Reply {
    let head = |held: &Held| held.records.last().map_or(0, |last| last.sequence);
    match request {
        Request::Open { .. } => {
            let held = held.lock().unwrap();
            if held.is_in_use {
                return Reply::Refused {
                    refusal: Refusal::ConsumerInUse,
                    message: "in use".to_owned(),
                };
            }
            Reply::Opened {
                cursor: held.cursor,
                head: head(&held),
            }
        }
        Request::Read {
            from,
            max_bytes,
            wait_ms,
        } => {
            let deadline = Instant::now() + Duration::from_millis(wait_ms.into());
            held.lock().unwrap().reads.push(from);
            loop {
                let held = held.lock().unwrap();
                let mut bytes = 0;
                let records: Vec<Record> = held
                    .records
                    .iter()
                    .filter(|record| record.sequence >= from)
                    .take_while(|record| {
                        bytes += record.telegram.len();
                        bytes <= max_bytes as usize || bytes == record.telegram.len()
                    })
                    .cloned()
                    .collect();
                let head = head(&held);
                if !records.is_empty() {
                    return Reply::Records { records, head };
                }
                if Instant::now() >= deadline || is_asked(stream) {
                    return Reply::Idle {
                        head,
                        silence_ms: held.silence_ms,
                    };
                }
                drop(held);
                thread::sleep(Duration::from_millis(1));
            }
        }
        Request::Commit { sequence } => {
            let mut held = held.lock().unwrap();
            if held.refuses_commits {
                return Reply::Refused {
                    refusal: Refusal::Storage,
                    message: "no".to_owned(),
                };
            }
            held.commits.push(sequence);
            held.cursor = held.cursor.max(sequence);
            Reply::Committed
        }
        Request::Report(report) => {
            held.lock().unwrap().reports.push(report);
            Reply::Reported
        }
        Request::Identities | Request::Renew { .. } if held.lock().unwrap().identities.is_none() => {
            Reply::Refused {
                refusal: Refusal::Invalid,
                message: "not a message of this protocol".to_owned(),
            }
        }
        Request::Identities => Reply::Identities(held.lock().unwrap().identities.clone().unwrap_or_default()),
        Request::Renew { queue, sequence, .. } => {
            let mut held = held.lock().unwrap();
            held.renewed.push((queue, sequence));
            let cursor = held.cursor;
            let identities = held.identities.get_or_insert_default();
            identities.push(Identity {
                queue: "renewed2".to_owned(),
                first_sequence: cursor + 1,
            });
            Reply::Identities(identities.clone())
        }
        other => panic!("the publisher does not ask for {other:?}"),
    }
}

/// Whether the next request is there already.
fn is_asked(stream: &UnixStream) -> bool {
    let mut files = [PollFd::new(stream, PollFlags::IN)];
    matches!(rustix::event::poll(&mut files, Some(&Timespec::default())), Ok(1))
}

fn send(stream: &mut UnixStream, reply: &Reply) {
    let mut frame = Vec::new();
    codec::encode(reply, &mut frame).expect("a frame");
    // A session that was cut is what some tests are about.
    let _ = stream.write_all(&frame);
}

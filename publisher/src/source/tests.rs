//! The session with capture, against one that serves records from memory.

use std::sync::mpsc::{Receiver, channel};

use super::fake::FakeCapture;
use super::*;

struct Bench {
    source: Source,
    events: Receiver<SourceEvent>,
}

impl Bench {
    fn start(capture: &FakeCapture) -> Self {
        let (sender, events) = channel();
        let settings = SourceSettings {
            socket: capture.socket(),
            consumer: "mqtt".to_owned(),
            start: Start::Oldest,
        };
        let source = Source::start(settings, move |event| {
            let _ = sender.send(event);
        })
        .expect("a thread");
        Self { source, events }
    }

    fn next(&self) -> SourceEvent {
        self.events
            .recv_timeout(Duration::from_secs(10))
            .expect("an event within 10 s")
    }

    fn opened(&self) -> Opened {
        match self.next() {
            SourceEvent::Opened(opened) => *opened,
            other => panic!("expected a session, came {other:?}"),
        }
    }

    fn tell(&self, command: SourceCommand) {
        self.source.tell([command]).expect("the thread runs");
    }
}

const NO_WAIT: Duration = Duration::ZERO;

#[test]
fn a_session_begins_with_the_record_at_the_cursor_and_the_silence() {
    let capture = FakeCapture::new();
    for telegram in [b"one", b"two", b"six"] {
        capture.append(telegram);
    }
    capture.held.lock().unwrap().cursor = 2;
    capture.held.lock().unwrap().silence_ms = 700;
    capture.serve();
    let opened = Bench::start(&capture).opened();
    assert_eq!((opened.cursor, opened.head, opened.silence_ms), (2, 3, 700));
    assert_eq!(opened.queue, "abcdefgh");
    assert_eq!(
        opened.before.map(|record| record.telegram),
        Some(b"two"[..].into())
    );
}

#[test]
fn nothing_is_read_that_was_not_asked_for() {
    let capture = FakeCapture::new();
    capture.append(b"one");
    capture.serve();
    let bench = Bench::start(&capture);
    let Opened { session, .. } = bench.opened();
    capture.held.lock().unwrap().reads.clear();
    assert!(bench.events.recv_timeout(Duration::from_millis(300)).is_err());
    assert_eq!(capture.held.lock().unwrap().reads, Vec::<u64>::new());
    bench.tell(SourceCommand::Read {
        session,
        from: 1,
        wait: NO_WAIT,
    });
    assert!(matches!(bench.next(), SourceEvent::Records { head: 1, .. }));
    assert_eq!(capture.held.lock().unwrap().reads, [1]);
}

#[test]
fn a_record_that_comes_ends_the_wait_at_once() {
    let capture = FakeCapture::new();
    capture.serve();
    let bench = Bench::start(&capture);
    let Opened { session, .. } = bench.opened();
    capture.held.lock().unwrap().reads.clear();
    bench.tell(SourceCommand::Read {
        session,
        from: 1,
        wait: LONGEST_WAIT,
    });
    capture.wait_until("the read", |held| held.reads.last() == Some(&1));
    let began = Instant::now();
    capture.append(b"one");
    assert!(matches!(bench.next(), SourceEvent::Records { .. }));
    assert!(began.elapsed() < LONGEST_WAIT / 2, "{:?}", began.elapsed());
}

#[test]
fn commits_that_wait_together_are_one_and_the_last_is_not_lost_at_the_end() {
    let capture = FakeCapture::new();
    capture.append(b"one");
    capture.serve();
    let bench = Bench::start(&capture);
    let Opened { session, .. } = bench.opened();
    // Opening asks for what is beyond the head, too.
    capture.held.lock().unwrap().reads.clear();
    bench.tell(SourceCommand::Read {
        session,
        from: 2,
        wait: LONGEST_WAIT,
    });
    capture.wait_until("the read", |held| held.reads.last() == Some(&2));
    for sequence in [3, 5, 4] {
        bench.tell(SourceCommand::Commit { session, sequence });
    }
    bench.tell(SourceCommand::Finish);
    // The first of them may have ended the wait and gone alone.
    while !matches!(bench.next(), SourceEvent::Finished) {}
    let commits = &capture.held.lock().unwrap().commits;
    assert_eq!(commits.last(), Some(&5), "{commits:?}");
    assert!(commits.is_sorted(), "{commits:?}");
}

#[test]
fn a_command_ends_the_wait_of_a_read_and_both_are_answered() {
    let capture = FakeCapture::new();
    capture.serve();
    let bench = Bench::start(&capture);
    let Opened { session, .. } = bench.opened();
    for sequence in 1..=20 {
        capture.held.lock().unwrap().reads.clear();
        let began = Instant::now();
        bench.tell(SourceCommand::Read {
            session,
            from: 1,
            wait: LONGEST_WAIT,
        });
        capture.wait_until("the read", |held| held.reads.last() == Some(&1));
        bench.tell(SourceCommand::Commit { session, sequence });
        assert!(matches!(bench.next(), SourceEvent::Idle { .. }));
        capture.wait_until("the commit", |held| held.commits.last() == Some(&sequence));
        assert!(began.elapsed() < LONGEST_WAIT / 2, "{:?}", began.elapsed());
    }
}

#[test]
fn capture_may_come_late_go_and_come_back() {
    let capture = FakeCapture::new();
    let bench = Bench::start(&capture);
    let SourceEvent::Away { words, is_taken } = bench.next() else {
        panic!("there is no capture yet")
    };
    assert!(words.contains("queue.sock") && !is_taken, "{words}");
    capture.serve();
    let first = loop {
        if let SourceEvent::Opened(opened) = bench.next() {
            break opened.session;
        }
    };
    capture.held.lock().unwrap().reads.clear();
    bench.tell(SourceCommand::Read {
        session: first,
        from: 1,
        wait: LONGEST_WAIT,
    });
    capture.wait_until("the read", |held| held.reads.last() == Some(&1));
    capture.stop();
    while !matches!(bench.next(), SourceEvent::Away { .. }) {}
    bench.tell(SourceCommand::Commit {
        session: first,
        sequence: 7,
    });
    bench.tell(SourceCommand::Read {
        session: first,
        from: 1,
        wait: NO_WAIT,
    });
    capture.held.lock().unwrap().queue = "zyxwvuts".to_owned();
    capture.serve();
    let second = loop {
        if let SourceEvent::Opened(opened) = bench.next() {
            break *opened;
        }
    };
    assert!(second.session > first);
    assert_eq!(second.queue, "zyxwvuts");
    bench.tell(SourceCommand::Commit {
        session: first,
        sequence: 8,
    });
    bench.tell(SourceCommand::Commit {
        session: second.session,
        sequence: 1,
    });
    capture.wait_until("the commit", |held| !held.commits.is_empty());
    assert_eq!(
        capture.held.lock().unwrap().commits,
        [1],
        "those of the session before are dropped"
    );
}

#[test]
fn a_session_that_ends_is_noticed_though_nothing_is_asked() {
    let capture = FakeCapture::new();
    capture.serve();
    let bench = Bench::start(&capture);
    let first = bench.opened();
    capture.cut();
    let SourceEvent::Away { is_taken, .. } = bench.next() else {
        panic!("the session has ended")
    };
    assert!(!is_taken);
    assert!(bench.opened().session > first.session);
}

#[test]
fn it_ends_with_who_gives_the_commands() {
    let capture = FakeCapture::new();
    capture.serve();
    let bench = Bench::start(&capture);
    bench.opened();
    let Bench { source, events } = bench;
    drop(source);
    let last = events.recv_timeout(Duration::from_secs(10));
    assert!(matches!(last, Ok(SourceEvent::Finished)), "{last:?}");
}

#[test]
fn a_consumer_that_is_in_use_is_told_in_words() {
    let capture = FakeCapture::new();
    capture.held.lock().unwrap().is_in_use = true;
    capture.serve();
    let SourceEvent::Away { words, is_taken } = Bench::start(&capture).next() else {
        panic!("it is refused")
    };
    assert!(words.contains("mqtt.consumer") && is_taken, "{words}");
}

#[test]
fn the_newest_record_is_read_on_request_without_moving_on() {
    let capture = FakeCapture::new();
    for telegram in [b"one", b"two", b"six"] {
        capture.append(telegram);
    }
    capture.serve();
    let bench = Bench::start(&capture);
    let Opened { session, .. } = bench.opened();
    bench.tell(SourceCommand::Head { session });
    let SourceEvent::Head(record) = bench.next() else {
        panic!("the newest record")
    };
    assert_eq!(record.telegram, &b"six"[..]);
    assert_eq!(capture.held.lock().unwrap().commits, Vec::<u64>::new());
}

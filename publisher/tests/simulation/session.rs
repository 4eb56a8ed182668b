//! The session with capture, against one that serves records from memory.

use std::sync::mpsc::{Receiver, channel};

use std::time::{Duration, Instant};

use publisher::source::*;
use shared::wire::{Identity, Start};

use crate::capture::FakeCapture;

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

impl FakeCapture {
    /// With so many records, and a first identity up to this one and a second after it.
    fn of_two_identities(records: usize, last_of_the_first: u64) -> Self {
        let capture = Self::new();
        (0..records).for_each(|_| capture.append(b"telegram"));
        let mut held = capture.held.lock().unwrap();
        held.identities = Some(vec![
            Identity::only("abcdefgh"),
            Identity {
                queue: "ijkmnpqr".to_owned(),
                first_sequence: last_of_the_first + 1,
            },
        ]);
        drop(held);
        capture
    }
}

impl Bench {
    fn read(&self, session: u64, from: u64) -> SourceEvent {
        self.tell(SourceCommand::Read {
            session,
            from,
            wait: LONGEST_WAIT,
        });
        self.next()
    }

    fn read_up_to(&self, session: u64, from: u64) -> u64 {
        match self.read(session, from) {
            SourceEvent::Records { records, .. } => records.last().map_or(0, |record| record.sequence),
            other => panic!("expected records, came {other:?}"),
        }
    }

    fn away(&self) -> String {
        match self.next() {
            SourceEvent::Away { words, .. } => words,
            other => panic!("expected no session, came {other:?}"),
        }
    }
}

#[test]
fn records_of_two_identities_come_as_two_sessions() {
    let capture = FakeCapture::of_two_identities(9, 4);
    capture.held.lock().unwrap().cursor = 2;
    capture.serve();
    let bench = Bench::start(&capture);
    let first = bench.opened();
    assert_eq!((first.queue.as_str(), first.cursor), ("abcdefgh", 2));
    assert_eq!(
        bench.read_up_to(first.session, 3),
        4,
        "up to the end of the first"
    );
    let second = match bench.read(first.session, 5) {
        SourceEvent::Opened(opened) => *opened,
        other => panic!("expected the next session, came {other:?}"),
    };
    assert_eq!((second.queue.as_str(), second.cursor), ("ijkmnpqr", 4));
    assert_eq!(second.before.map(|record| record.sequence), Some(4));
    assert!(second.session > first.session);
    assert_eq!(bench.read_up_to(second.session, 5), 9);
    // A session that breaks goes on in the second, whose start is not committed yet.
    capture.cut();
    bench.away();
    let third = bench.opened();
    assert_eq!((third.queue.as_str(), third.cursor), ("ijkmnpqr", 4));
}

/// As after a copy of 1 to 4 was put back: what was read from 5 to 9 was of another history.
#[test]
fn of_a_former_identity_nothing_is_committed_or_asked_for_beyond_its_end() {
    let capture = FakeCapture::new();
    (0..9).for_each(|_| capture.append(b"telegram"));
    capture.held.lock().unwrap().identities = Some(vec![Identity::only("abcdefgh")]);
    capture.serve();
    let bench = Bench::start(&capture);
    let session = bench.opened().session;
    assert_eq!(bench.read_up_to(session, 1), 9);
    let put_back = FakeCapture::of_two_identities(6, 4);
    {
        let mut held = capture.held.lock().unwrap();
        let mut back = put_back.held.lock().unwrap();
        held.records = std::mem::take(&mut back.records);
        held.identities = back.identities.take();
    }
    capture.cut();
    bench.away();
    let opened = bench.opened();
    assert_eq!((opened.queue.as_str(), opened.cursor), ("abcdefgh", 0));
    let session = opened.session;
    bench.tell(SourceCommand::Commit { session, sequence: 9 });
    capture.wait_until("the commit", |held| !held.commits.is_empty());
    let second = match bench.read(session, 10) {
        SourceEvent::Opened(opened) => *opened,
        other => panic!("expected the next session, came {other:?}"),
    };
    assert_eq!((second.queue.as_str(), second.cursor), ("ijkmnpqr", 4));
    assert_eq!(bench.read_up_to(second.session, 5), 6);
    let held = capture.held.lock().unwrap();
    assert_eq!(held.commits, [4]);
    assert_eq!(held.renewed, [], "capture knew it already");
}

#[test]
fn a_head_below_what_was_read_and_another_record_in_its_place_are_told_as_proof() {
    for heads in [3, 30] {
        let capture = FakeCapture::new();
        (0..9).for_each(|_| capture.append(b"telegram"));
        capture.held.lock().unwrap().identities = Some(vec![Identity::only("abcdefgh")]);
        capture.serve();
        let bench = Bench::start(&capture);
        let session = bench.opened().session;
        assert_eq!(bench.read_up_to(session, 1), 9);
        // The same folder, as ever: no proof.
        capture.cut();
        bench.away();
        bench.opened();
        assert_eq!(capture.held.lock().unwrap().renewed, []);

        capture.held.lock().unwrap().records.truncate(3);
        (3..heads).for_each(|_| capture.append(b"of another history"));
        capture.cut();
        bench.away();
        let opened = bench.opened();
        assert_eq!(opened.queue, "renewed2");
        let proof = ("abcdefgh".to_owned(), 9);
        assert_eq!(capture.held.lock().unwrap().renewed, [proof], "head {heads}");
        assert_eq!(bench.read_up_to(opened.session, 1), heads);
    }
}

#[test]
fn a_capture_that_knows_one_identity_is_read_and_its_older_copy_refused_in_words() {
    let capture = FakeCapture::new();
    (0..9).for_each(|_| capture.append(b"telegram"));
    capture.serve();
    let bench = Bench::start(&capture);
    let opened = bench.opened();
    assert_eq!((opened.queue.as_str(), opened.head), ("abcdefgh", 9));
    assert_eq!(bench.read_up_to(opened.session, 1), 9);
    capture.held.lock().unwrap().records.truncate(3);
    capture.cut();
    bench.away();
    for _ in 0..2 {
        let words = bench.away();
        for part in [
            "#9 of the queue abcdefgh",
            "an older copy",
            "install capture and publisher of one release",
        ] {
            assert!(words.contains(part), "{words}");
        }
    }
    assert_eq!(capture.held.lock().unwrap().commits, Vec::<u64>::new());
}

#[test]
fn a_session_that_is_refused_at_once_again_and_again_is_tried_ever_more_seldom() {
    let capture = FakeCapture::new();
    capture.append(b"one");
    capture.held.lock().unwrap().refuses_commits = true;
    capture.serve();
    let bench = Bench::start(&capture);
    let began = Instant::now();
    for _ in 0..5 {
        let session = bench.opened().session;
        bench.tell(SourceCommand::Commit { session, sequence: 1 });
        assert!(bench.away().contains("refused"));
    }
    // Four delays that double from 200 ms on, each from half of it.
    assert!(
        began.elapsed() >= Duration::from_millis(1_500),
        "{:?}",
        began.elapsed()
    );
}

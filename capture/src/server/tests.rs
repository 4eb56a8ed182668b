//! The server against clients that do everything wrong, over the real keeper and a real queue.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use shared::bell::Bell;
use shared::config::CrcPolicy;
use shared::telegram::crc16;
use shared::wire::client::{Append, Batch, Client, ClientError};
use shared::wire::{
    Identity, Imported, MAX_FRAME_BYTES, MAX_REQUEST_BYTES, PROTOCOL_VERSION, PublisherReport, Refusal,
    Reply, Request, Start, codec,
};

use super::places::{BRIEF, PLACES};
use super::socket::Socket;
use super::writers::Writers;
use super::{Common, Limits, Server};
use crate::clock;
use crate::intake::{AcceptedTelegram, Arrived, IntakeStatus};
use crate::keeper::{CHANNEL_MESSAGES, Gate, InputEnd, Keeper, KeeperSettings, Message};
use crate::meter::MeterFile;
use crate::queue::{FlushError, Queue, QueueOptions};
use crate::service_manager::ServiceManager;

/// Long enough for a loaded machine, short enough to fail in one's lifetime.
const PATIENCE: Duration = Duration::from_secs(20);

/// Capture without a meter: what arrives is handed in.
struct Bench {
    messages: SyncSender<Message>,
    server: Option<Server>,
    keeper: Option<JoinHandle<Result<(), FlushError>>>,
    socket: PathBuf,
    folder: tempfile::TempDir,
}

impl Bench {
    fn new(limits: Limits) -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self::over(folder, limits)
    }

    fn over(folder: tempfile::TempDir, limits: Limits) -> Self {
        Self::flushing(folder, limits, Duration::ZERO)
    }

    fn flushing(folder: tempfile::TempDir, limits: Limits, flush_interval: Duration) -> Self {
        let path = folder.path().join("queue");
        let socket = folder.path().join("queue.sock");
        let (queue, _) = Queue::open(&QueueOptions::new(&path)).unwrap();
        let reader = queue.reader();
        let (messages, taken) = sync_channel(CHANNEL_MESSAGES);
        let (input_end, _input_ended) = sync_channel::<InputEnd>(1);
        let settings = KeeperSettings {
            flush_interval,
            meter_timeout: None,
            can_wait: false,
            imports_file: path.join("imports.json"),
        };
        let keeper = Keeper::new(
            queue,
            settings,
            Box::new(|| IntakeStatus {
                port: "/dev/meter".into(),
                accepted: 7,
                ..IntakeStatus::default()
            }),
            MeterFile::open(&path).0,
            ServiceManager::from_environment(),
            Gate::default(),
            input_end,
        )
        .unwrap();
        let keeper = std::thread::spawn(move || keeper.run(&taken));
        let (common, writers) = (Common::new(limits, CrcPolicy::Auto), Writers::new(&[]));
        let bound = Socket::bind(&socket).unwrap();
        let server = Server::start(bound, reader, messages.clone(), common, writers).unwrap();
        Self {
            messages,
            server: Some(server),
            keeper: Some(keeper),
            socket,
            folder,
        }
    }

    fn arrive(&self, count: u64) {
        for number in 0..count {
            let telegram = telegram(number);
            let arrived = AcceptedTelegram {
                captured_at_us: clock::now_us(),
                uptime_us: clock::uptime_us(),
                telegram,
            };
            self.messages
                .send(Message::Arrived(Arrived::Telegram(arrived)))
                .unwrap();
        }
    }

    fn client(&self) -> Client {
        Client::connect(&self.socket, PATIENCE).unwrap()
    }

    fn stranger(&self) -> UnixStream {
        let stream = UnixStream::connect(&self.socket).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    /// A stranger that has been welcomed.
    fn guest(&self) -> UnixStream {
        let mut stream = self.stranger();
        stream.write_all(&codec::hello(PROTOCOL_VERSION)).unwrap();
        assert!(matches!(reply(&mut stream), Reply::Welcome { .. }));
        stream
    }

    fn stop(mut self) -> tempfile::TempDir {
        self.messages.send(Message::IntakeEnded).unwrap();
        self.messages.send(Message::Stop).unwrap();
        self.keeper.take().unwrap().join().unwrap().unwrap();
        self.server.take().unwrap().stop();
        self.folder
    }
}

fn telegram(number: u64) -> Vec<u8> {
    sealed(format!(
        "/ISK5\\2M550T-1012\r\n\r\n1-0:1.8.1({number:06}.000*kWh)\r\n!"
    ))
}

fn sealed(text: String) -> Vec<u8> {
    let crc = crc16::ARC.of(text.as_bytes());
    format!("{text}{crc:04X}\r\n").into_bytes()
}

fn quick() -> Limits {
    Limits {
        places: PLACES,
        hello: Duration::from_millis(200),
        frame: Duration::from_millis(200),
        idle: PATIENCE,
    }
}

fn reply(stream: &mut UnixStream) -> Reply {
    let mut body = Vec::new();
    assert!(
        codec::read_frame(stream, &mut body).unwrap(),
        "the session ended without a reply"
    );
    codec::decode(&body).unwrap()
}

fn send(stream: &mut UnixStream, request: &Request) {
    let mut frame = Vec::new();
    codec::encode(request, &mut frame).unwrap();
    stream.write_all(&frame).unwrap();
}

/// Everything until the session ends; panics where it does not.
fn rest(stream: &mut UnixStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    match stream.read_to_end(&mut bytes) {
        Ok(_) => {}
        // Ended while something of ours lay unread there.
        Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => {}
        Err(error) => panic!("the session did not end: {error}"),
    }
    bytes
}

fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(started.elapsed() < PATIENCE, "not within {PATIENCE:?}: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn a_consumer_reads_commits_and_goes_on_where_it_was() {
    let bench = Bench::new(Limits::default());
    bench.arrive(5);
    let mut client = bench.client();
    let opened = client.open("mqtt", Start::Oldest).unwrap();
    assert_eq!(opened.cursor, 0);
    let mut sequences = Vec::new();
    while sequences.len() < 5 {
        match client
            .read(sequences.len() as u64 + 1, 1_000_000, PATIENCE)
            .unwrap()
        {
            Batch::Records { records, head } => {
                assert!(records.iter().all(|record| record.sequence <= head));
                sequences.extend(records.iter().map(|record| record.sequence));
            }
            Batch::Idle { .. } => panic!("idle with telegrams under way"),
        }
    }
    assert_eq!(sequences, [1, 2, 3, 4, 5]);
    client.commit(3).unwrap();
    let error = client.commit(6).unwrap_err();
    assert_eq!(error.refusal(), Some(Refusal::Invalid), "{error}");
    client
        .commit(2)
        .expect("going back changes nothing, and is no error");
    drop(client);

    let folder = bench.stop();
    let bench = Bench::over(folder, Limits::default());
    let mut client = bench.client();
    let opened = client.open("mqtt", Start::Newest).unwrap();
    assert_eq!(
        (opened.cursor, opened.head),
        (3, 5),
        "durable, and not begun anew"
    );
    bench.stop();
}

#[test]
fn a_read_waits_for_a_telegram_and_says_how_long_it_has_been_silent() {
    let bench = Bench::new(Limits::default());
    let mut client = bench.client();
    assert_eq!(
        client.read(1, 1000, Duration::ZERO).unwrap(),
        Batch::Idle {
            head: 0,
            silence_ms: 0
        }
    );
    std::thread::scope(|scope| {
        let reading = scope.spawn(|| client.read(1, 1000, PATIENCE));
        bench.arrive(1);
        match reading.join().unwrap().unwrap() {
            Batch::Records { records, .. } => assert_eq!(records[0].telegram, telegram(0)),
            Batch::Idle { .. } => panic!("the wait ended before the telegram came"),
        }
    });
    match client.read(2, 1000, Duration::from_millis(300)).unwrap() {
        Batch::Idle { head: 1, silence_ms } => assert!((300..20_000).contains(&silence_ms), "{silence_ms}"),
        other => panic!("{other:?}"),
    }
    bench.stop();
}

#[test]
fn another_request_ends_the_wait_of_a_read_and_both_are_answered_in_order() {
    let bench = Bench::new(quick());
    let mut client = bench.client();
    let (bell, began) = (Bell::new().unwrap(), Instant::now());
    let wait = Duration::from_secs(60);
    client.ask(1, u32::MAX, wait).unwrap();
    assert!(client.status().is_ok());
    assert!(matches!(
        client.answer(&bell).unwrap(),
        Some(Batch::Idle { head: 0, .. })
    ));
    assert!(!client.is_asked());
    // A bell ends the client's wait alone.
    client.ask(1, u32::MAX, wait).unwrap();
    bell.ring();
    assert_eq!(client.answer(&bell).unwrap(), None);
    assert!(client.is_asked());
    bell.silence();
    bench.arrive(1);
    assert!(matches!(
        client.answer(&bell).unwrap(),
        Some(Batch::Records { head: 1, .. })
    ));
    assert!(began.elapsed() < wait / 2, "{:?}", began.elapsed());
    bench.stop();
}

#[test]
fn garbage_ends_its_own_session_and_nothing_else() {
    let bench = Bench::new(quick());
    bench.arrive(1);
    let mut good = bench.client();
    good.open("mqtt", Start::Oldest).unwrap();

    let mut http = bench.stranger();
    http.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    assert!(
        rest(&mut http).is_empty(),
        "no word to who speaks another language"
    );

    let mut huge = bench.guest();
    huge.write_all(&u32::MAX.to_le_bytes()).unwrap();
    rest(&mut huge);

    let mut nonsense = bench.guest();
    nonsense.write_all(&[3, 0, 0, 0, 0xFF, 0xFF, 0xFF]).unwrap();
    match reply(&mut nonsense) {
        Reply::Refused {
            refusal: Refusal::Invalid,
            message,
        } => {
            assert!(message.contains("not a message of this protocol"), "{message}");
        }
        other => panic!("{other:?}"),
    }
    rest(&mut nonsense);

    good.commit(1).expect("the good session is as it was");
    bench.stop();
}

#[test]
fn another_version_is_refused_in_words() {
    let bench = Bench::new(quick());
    let mut stream = bench.stranger();
    stream.write_all(&codec::hello(PROTOCOL_VERSION + 1)).unwrap();
    match reply(&mut stream) {
        Reply::Refused {
            refusal: Refusal::Version,
            message,
        } => {
            assert!(
                message.contains("install capture and publisher of one release"),
                "{message}"
            );
        }
        other => panic!("{other:?}"),
    }
    rest(&mut stream);
    bench.stop();
}

#[test]
fn half_a_hello_and_half_a_frame_end_after_their_time() {
    let bench = Bench::new(quick());
    let mut shy = bench.stranger();
    shy.write_all(b"P1QU").unwrap();
    let mut half = bench.guest();
    send(
        &mut half,
        &Request::Open {
            consumer: "half".into(),
            start: Start::Oldest,
        },
    );
    assert!(matches!(reply(&mut half), Reply::Opened { .. }));
    half.write_all(&[100, 0, 0, 0, 1, 2]).unwrap();
    assert!(rest(&mut shy).is_empty());
    assert!(rest(&mut half).is_empty());
    let mut next = bench.client();
    next.open("half", Start::Oldest)
        .expect("its consumer is free again");
    bench.stop();
}

#[test]
fn a_reader_that_stops_reading_ends_itself_alone() {
    let bench = Bench::new(quick());
    bench.arrive(8000);
    let mut good = bench.client();
    until("all 8000 telegrams are durable", || {
        (good.locate(i64::MAX).unwrap().head == 8000).then_some(())
    });
    let mut stuck = bench.guest();
    send(
        &mut stuck,
        &Request::Open {
            consumer: "stuck".into(),
            start: Start::Oldest,
        },
    );
    assert!(matches!(reply(&mut stuck), Reply::Opened { .. }));
    // More replies than the socket's buffer takes, and none is read.
    let mut requests = Vec::new();
    let mut frame = Vec::new();
    codec::encode(
        &Request::Read {
            from: 1,
            max_bytes: u32::MAX,
            wait_ms: 0,
        },
        &mut frame,
    )
    .unwrap();
    for _ in 0..20 {
        requests.extend_from_slice(&frame);
    }
    stuck.write_all(&requests).unwrap();
    until("the stuck reader's consumer is free", || {
        good.open("stuck", Start::Oldest).ok()
    });
    match good.read(1, 1000, Duration::ZERO).unwrap() {
        Batch::Records { records, .. } => assert_eq!(records[0].sequence, 1),
        other => panic!("{other:?}"),
    }
    let served = rest(&mut stuck).len();
    assert!(
        served < 20 * 256 * 1024,
        "{served} bytes: all replies fitted, so nothing was tested"
    );
    bench.stop();
}

#[test]
fn of_a_hundred_connections_of_one_user_as_many_are_served_as_may_be_and_the_others_are_told() {
    let bench = Bench::new(Limits::default());
    let mut served = Vec::new();
    let mut turned_away = 0;
    for number in 0..100 {
        match Client::connect(&bench.socket, PATIENCE) {
            Ok(mut client) => {
                // Consumers, which lose their place only when they have asked for nothing for long.
                if number < PLACES.of_user {
                    client.open(&format!("consumer {number}"), Start::Oldest).unwrap();
                }
                served.push(client);
            }
            Err(error) => {
                assert_eq!(error.refusal(), Some(Refusal::Busy), "{error}");
                assert!(error.to_string().contains("as many sessions"), "{error}");
                turned_away += 1;
            }
        }
    }
    let places = PLACES.of_user + PLACES.brief_of_user;
    assert_eq!((served.len(), turned_away), (places, 100 - places));
    for client in &mut served {
        client.status().expect("who is served stays served");
    }
    let began = Instant::now();
    let brief = &mut served[PLACES.of_user];
    let refused = brief.open("one more", Start::Oldest).unwrap_err();
    assert_eq!(refused.refusal(), Some(Refusal::Busy), "{refused}");
    brief.read(1, 1000, PATIENCE).expect("it does not wait");
    until("the brief session ends", || brief.status().err());
    assert!(began.elapsed() < 2 * BRIEF, "{:?}", began.elapsed());
    served.remove(0);
    until("there is room again", || {
        let mut client = Client::connect(&bench.socket, PATIENCE).ok()?;
        client.open("one more", Start::Oldest).ok()
    });
    bench.stop();
}

#[test]
fn who_asks_for_nothing_loses_its_place_to_who_does_and_a_consumer_that_waits_does_not() {
    let bench = Bench::new(Limits::default());
    let mut consumer = bench.client();
    consumer.open("mqtt", Start::Oldest).unwrap();
    consumer.ask(1, 1000, 2 * PATIENCE).unwrap();
    let mut idle: Vec<Client> = (1..PLACES.of_user).map(|_| bench.client()).collect();
    for round in 0..3 {
        until("there is a place for another consumer", || {
            let mut client = Client::connect(&bench.socket, PATIENCE).ok()?;
            client.open(&format!("other {round}"), Start::Oldest).ok()
        });
    }
    let ended = idle.iter_mut().filter_map(|client| client.status().err()).count();
    assert!((1..=6).contains(&ended), "{ended} have lost their place");
    bench.arrive(1);
    assert!(matches!(
        consumer.answer(&Bell::new().unwrap()).unwrap(),
        Some(Batch::Records { .. })
    ));
    bench.stop();
}

#[test]
fn what_writes_is_carried_out_at_a_rate_and_its_session_waits_while_others_go_on() {
    let bench = Bench::new(Limits::default());
    let began = Instant::now();
    let mut other = bench.client();
    let slowest = std::thread::scope(|scope| {
        let looping = scope.spawn(|| {
            for _ in 0..20 {
                bench.client().open("flood", Start::Oldest).unwrap();
                let mut client = bench.client();
                until("it is free", || client.forget("flood").ok());
            }
        });
        let mut slowest = Duration::ZERO;
        while !looping.is_finished() {
            let asked = Instant::now();
            other.status().unwrap();
            slowest = slowest.max(asked.elapsed());
        }
        slowest
    });
    // 40 at least, of which 32 are at once.
    assert!(
        began.elapsed() >= Duration::from_millis(1600),
        "{:?}",
        began.elapsed()
    );
    assert!(slowest < Duration::from_secs(1), "{slowest:?} for a status");
    bench.stop();
}

#[test]
fn a_request_that_is_no_append_is_small() {
    let bench = Bench::new(Limits::default());
    let mut client = bench.client();
    client.open("mqtt", Start::Oldest).unwrap();
    let report = PublisherReport {
        connection: "x".repeat(MAX_REQUEST_BYTES),
        ..PublisherReport::default()
    };
    let error = client.report(report).unwrap_err();
    assert_eq!(error.refusal(), Some(Refusal::Invalid), "{error}");
    assert!(
        error
            .to_string()
            .contains("16395 bytes exceeds the limit of 16384"),
        "{error}"
    );
    client.status().expect_err("its session has ended");
    bench.stop();
}

#[test]
fn a_status_fits_a_frame_with_as_many_consumers_and_as_long_reports_as_may_be() {
    let bench = Bench::new(Limits::default());
    let acts = "\u{2028}";
    let report = PublisherReport {
        version: acts.repeat(300),
        connection: acts.repeat(1000),
        skipped: (0..300)
            .map(|number| (format!("{number:03}{}", acts.repeat(6)), u64::MAX))
            .collect(),
        ..PublisherReport::default()
    };
    for number in 0..32 {
        until("its consumer is open", || {
            let mut client = Client::connect(&bench.socket, PATIENCE).ok()?;
            client.open(&format!("{number:064}"), Start::Oldest).ok()?;
            client.report(report.clone()).ok()
        });
    }
    let mut client = bench.client();
    let status = client.status().unwrap();
    assert_eq!(status.consumers.len(), 32);
    let mut frame = Vec::new();
    codec::encode(&Reply::Status(Box::new(status.clone())), &mut frame).unwrap();
    assert!(frame.len() < MAX_FRAME_BYTES / 2, "{} bytes", frame.len());
    for consumer in &status.consumers {
        let report = consumer.report.as_ref().expect("it outlives its session");
        assert!(
            !report.connection.contains(acts) && !report.skipped.is_empty(),
            "{report:?}"
        );
    }
    let name = format!("{:064}", 7);
    until("its session has ended", || client.forget(&name).ok());
    client.open(&name, Start::Oldest).unwrap();
    let status = client.status().unwrap();
    let known = status
        .consumers
        .iter()
        .find(|consumer| consumer.name == name)
        .unwrap();
    assert_eq!(known.report, None, "it goes with its consumer");
    bench.stop();
}

#[test]
fn only_valid_telegrams_are_appended_at_whatever_times() {
    let bench = Bench::new(Limits::default());
    let mut client = bench.client();
    let part = |offset: u64, before: u8, telegrams: Vec<Vec<u8>>| Append {
        source: "a.txt".into(),
        offset,
        before: [before; 16],
        after: [before + 1; 16],
        telegrams: telegrams
            .into_iter()
            .enumerate()
            .map(|(number, telegram)| Imported {
                captured_at_us: if number % 2 == 0 { i64::MAX } else { i64::MIN },
                silence_ms: u64::MAX,
                telegram,
            })
            .collect(),
    };
    let unsealed = b"/ISK5\\2M550T-1012\r\n\r\n1-0:1.8.1(000001.000*kWh)\r\n!\r\n".to_vec();
    for (bad, why) in [
        (b"garbage".to_vec(), "is not valid"),
        (Vec::new(), "not one whole telegram"),
        ([telegram(1), telegram(2)].concat(), "not one whole telegram"),
        ([telegram(1), b"x".to_vec()].concat(), "is not valid"),
        (b"/ISK5\\2M550T\r\n\r\n!ABCD\r\n".to_vec(), "CRC"),
        (unsealed.clone(), "CRC"),
        (vec![b'/'; 17_000], "exceeds the limit of 16384"),
    ] {
        let error = client.append(part(0, 0, vec![telegram(0), bad])).unwrap_err();
        assert_eq!(error.refusal(), Some(Refusal::Invalid), "{error}");
        assert!(error.to_string().contains(why), "{error}");
    }
    assert_eq!(client.locate(i64::MAX).unwrap().head, 0);
    let many = client.append(part(0, 0, vec![Vec::new(); 5000])).unwrap_err();
    assert!(many.to_string().contains("more than 4096 telegrams"), "{many}");

    let mut client = bench.client();
    assert_eq!(
        client
            .append(part(0, 0, vec![telegram(0), telegram(1)]))
            .unwrap()
            .taken,
        2
    );
    // Of a meter that sends a CRC: known from the part before.
    client.append(part(2, 1, vec![unsealed.clone()])).unwrap_err();
    // By itself it is one of a meter that does not.
    assert_eq!(client.append(part(0, 0, vec![unsealed])).unwrap().taken, 1);
    bench.arrive(1);
    until("capture goes on", || {
        (client.locate(i64::MAX).unwrap().head == 4).then_some(())
    });
    bench.stop();
}

#[test]
fn a_consumer_belongs_to_one_session_until_that_ends() {
    let bench = Bench::new(Limits::default());
    let mut first = bench.client();
    first.open("mqtt", Start::Oldest).unwrap();
    first
        .open("mqtt", Start::Oldest)
        .expect("the same again is no second one");
    let error = first.open("other", Start::Oldest).unwrap_err();
    assert_eq!(error.refusal(), Some(Refusal::Invalid), "{error}");

    let mut second = bench.client();
    let error = second.open("mqtt", Start::Oldest).unwrap_err();
    assert_eq!(error.refusal(), Some(Refusal::ConsumerInUse));
    assert!(error.to_string().contains("consumer mqtt is in use"), "{error}");
    let error = second.forget("mqtt").unwrap_err();
    assert_eq!(error.refusal(), Some(Refusal::ConsumerInUse), "{error}");
    let error = second.commit(0).unwrap_err();
    assert_eq!(error.refusal(), Some(Refusal::NotOpen), "{error}");
    let error = second.report(PublisherReport::default()).unwrap_err();
    assert_eq!(error.refusal(), Some(Refusal::NotOpen), "{error}");

    drop(first);
    second
        .open("mqtt", Start::Oldest)
        .expect("free as soon as the first has gone");
    bench.stop();
}

#[test]
fn a_client_that_dies_while_it_waits_for_a_telegram_is_noticed() {
    let bench = Bench::new(Limits::default());
    let mut dying = bench.guest();
    send(
        &mut dying,
        &Request::Open {
            consumer: "mqtt".into(),
            start: Start::Oldest,
        },
    );
    assert!(matches!(reply(&mut dying), Reply::Opened { .. }));
    send(
        &mut dying,
        &Request::Read {
            from: 1,
            max_bytes: 1000,
            wait_ms: 60_000,
        },
    );
    drop(dying);
    // Within the time that an open waits for a hand-over: no second attempt is needed.
    bench.client().open("mqtt", Start::Oldest).unwrap();
    bench.stop();
}

#[test]
fn forgetting_removes_a_consumer_and_says_whether_there_was_one() {
    let bench = Bench::new(Limits::default());
    bench.client().open("old", Start::Oldest).unwrap();
    let mut client = bench.client();
    let forgotten = until("its session has ended", || client.forget("old").ok());
    assert!(forgotten);
    assert!(!client.forget("old").unwrap());
    assert!(client.status().unwrap().consumers.is_empty());
    bench.stop();
}

#[test]
fn an_impossible_name_is_refused_in_words() {
    let bench = Bench::new(Limits::default());
    let error = bench.client().open("", Start::Oldest).unwrap_err();
    assert_eq!(error.refusal(), Some(Refusal::Invalid));
    assert!(error.to_string().contains("name"), "{error}");
    bench.stop();
}

#[test]
fn the_status_tells_of_intake_queue_and_consumers() {
    let bench = Bench::new(Limits::default());
    bench.arrive(3);
    let mut client = bench.client();
    until("three telegrams are durable", || {
        (client.locate(i64::MAX).unwrap().head == 3).then_some(())
    });
    client.open("mqtt", Start::Oldest).unwrap();
    client.commit(2).unwrap();
    client
        .report(PublisherReport {
            connection: "connected".into(),
            ..PublisherReport::default()
        })
        .unwrap();
    let status = client.status().unwrap();
    assert_eq!(
        (status.port.as_str(), status.accepted),
        ("/dev/meter", 3),
        "what is durable, whatever intake has read"
    );
    assert_eq!((status.tail, status.head), (1, 3));
    assert_eq!(status.queue, client.queue());
    let consumer = &status.consumers[0];
    assert_eq!(
        (consumer.name.as_str(), consumer.cursor, consumer.lag),
        ("mqtt", 2, 1)
    );
    assert!(consumer.is_connected);
    assert_eq!(consumer.report.as_ref().unwrap().connection, "connected");
    assert_eq!(status.trouble, None);
    bench.stop();
}

#[test]
fn what_is_accepted_is_durable_and_what_was_imported_is_not_counted() {
    let folder = tempfile::tempdir().unwrap();
    let hour = Duration::from_secs(3600);
    let bench = Bench::flushing(folder, Limits::default(), hour);
    let mut client = bench.client();
    bench.arrive(3);
    let before = client.status().unwrap();
    assert_eq!(
        (before.accepted, before.last_telegram_age_ms),
        (0, None),
        "not flushed"
    );
    assert_eq!((before.head, before.tail, before.live_bytes), (0, 1, 0));
    // Durable with all that came before it.
    let import = Append {
        source: "a.txt".into(),
        offset: 0,
        before: [0; 16],
        after: [1; 16],
        telegrams: vec![Imported {
            captured_at_us: 5,
            silence_ms: 0,
            telegram: telegram(9),
        }],
    };
    client.append(import).unwrap();
    let after = client.status().unwrap();
    assert_eq!((after.accepted, after.head), (3, 4));
    assert!(
        after
            .last_telegram_age_ms
            .is_some_and(|age| u128::from(age) < PATIENCE.as_millis())
    );
    assert!(after.live_bytes > 0);
    bench.arrive(1);
    assert_eq!(client.status().unwrap().accepted, 3);
    drop(client);
    bench.stop();
}

#[test]
fn a_part_of_a_file_is_taken_once_and_only_behind_what_came_before_it() {
    let bench = Bench::new(Limits::default());
    let mut client = bench.client();
    let part = |offset: u64, before: u8, after: u8| Append {
        source: "a.txt".into(),
        offset,
        before: [before; 16],
        after: [after; 16],
        telegrams: (0..2)
            .map(|number| Imported {
                captured_at_us: 5,
                silence_ms: 0,
                telegram: telegram(offset + number),
            })
            .collect(),
    };
    let unfounded = client.append(part(2, 1, 2)).unwrap_err();
    assert_eq!(unfounded.refusal(), Some(Refusal::Invalid), "{unfounded}");
    let taken = client.append(part(0, 0, 1)).unwrap();
    assert_eq!((taken.taken, taken.known), (2, 2));
    let again = client.append(part(0, 0, 1)).unwrap();
    assert_eq!((again.taken, again.known), (0, 2));
    let next = client.append(part(2, 1, 2)).unwrap();
    assert_eq!((next.taken, next.known), (2, 4));
    assert_eq!(client.locate(i64::MAX).unwrap().head, 4);
    let files = client.imports().unwrap();
    assert_eq!(
        (files.len(), files[0].telegrams, files[0].digest),
        (1, 4, [2; 16])
    );
    bench.stop();
}

#[test]
fn one_import_goes_on_at_a_time_and_the_next_begins_when_it_has_ended() {
    let bench = Bench::new(Limits::default());
    let (mut one, mut other) = (bench.client(), bench.client());
    assert_eq!(one.imports().unwrap(), []);
    let refused = other.imports().unwrap_err();
    assert_eq!(refused.refusal(), Some(Refusal::Busy), "{refused}");
    let part = Append {
        source: "a.txt".into(),
        offset: 0,
        before: [0; 16],
        after: [1; 16],
        telegrams: vec![Imported {
            captured_at_us: 5,
            silence_ms: 0,
            telegram: telegram(1),
        }],
    };
    assert_eq!(one.append(part.clone()).unwrap().taken, 1);
    let mut under_another_name = part;
    under_another_name.after = [2; 16];
    let refused = other.append(under_another_name.clone()).unwrap_err();
    assert_eq!(refused.refusal(), Some(Refusal::Busy), "{refused}");
    drop(one);
    until("the first import's session is over", || other.imports().ok());
    let appended = other.append(under_another_name).unwrap();
    assert_eq!((appended.taken, appended.known), (0, 1), "the queue holds it");
    assert_eq!(other.locate(i64::MAX).unwrap().head, 1);
    bench.stop();
}

#[test]
fn stopping_wakes_every_session_and_removes_the_socket_within_a_second() {
    let bench = Bench::new(Limits::default());
    let socket = bench.socket.clone();
    let mut waiting = bench.client();
    let idle = bench.client();
    let elapsed = std::thread::scope(|scope| {
        let reading = scope.spawn(move || waiting.read(1, 1000, Duration::from_secs(60)));
        let started = Instant::now();
        let _folder = bench.stop();
        let elapsed = started.elapsed();
        let error = reading.join().unwrap().unwrap_err();
        assert!(matches!(error, ClientError::Broken { .. }), "{error}");
        elapsed
    });
    assert!(elapsed < Duration::from_secs(1), "it took {elapsed:?}");
    assert!(!socket.exists());
    drop(idle);
}

#[test]
fn who_cannot_connect_is_told_why() {
    let folder = tempfile::tempdir().unwrap();
    let words = |path: &Path| Client::connect(path, PATIENCE).unwrap_err().to_string();
    let missing = words(&folder.path().join("queue.sock"));
    assert!(
        missing.contains("there is no socket") && missing.contains("is capture running"),
        "{missing}"
    );
    let stale = folder.path().join("stale.sock");
    drop(std::os::unix::net::UnixListener::bind(&stale).unwrap());
    let words = words(&stale);
    assert!(words.contains("nobody serves"), "{words}");
}

#[test]
fn a_silence_that_was_told_is_a_silence_of_the_next_record() {
    // The telegram is stamped, then a reader is told of a longer silence, then it comes to the queue.
    let bench = Bench::new(Limits::default());
    bench.arrive(1);
    let mut client = bench.client();
    until("the first is durable", || {
        (client.locate(i64::MAX).unwrap().head == 1).then_some(())
    });
    let stamped_us = clock::uptime_us();
    let told_ms = until("a silence is told", || {
        match client.read(2, 1000, Duration::from_millis(200)).unwrap() {
            Batch::Idle { silence_ms, .. } => (silence_ms > 100).then_some(silence_ms),
            Batch::Records { .. } => panic!("nothing has come"),
        }
    });
    let late = AcceptedTelegram {
        captured_at_us: 0,
        uptime_us: stamped_us,
        telegram: telegram(1),
    };
    bench
        .messages
        .send(Message::Arrived(Arrived::Telegram(late)))
        .unwrap();
    match client.read(2, 1000, PATIENCE).unwrap() {
        Batch::Records { records, .. } => {
            let silence_ms = records[0].silence_ms;
            assert!(
                silence_ms >= told_ms,
                "{silence_ms} ms in the record, {told_ms} ms were told"
            );
        }
        other => panic!("{other:?}"),
    }
    bench.stop();
}

/// A consumer at 3 of 5 that has read up to 9 of another history, and a reader beside it that waits.
#[test]
fn what_a_consumer_knows_of_another_history_renews_the_identity_and_ends_the_sessions_that_know_the_former() {
    let is_told: [fn(&mut Client) -> bool; 2] = [
        |client| {
            let queue = client.queue().to_owned();
            let identities = client.renew("mqtt", &queue, 9).unwrap();
            identities.last().is_some_and(|newest| newest.queue != queue)
        },
        // As a publisher does that knows of no identities.
        |client| client.commit(9).unwrap_err().refusal() == Some(Refusal::Invalid),
    ];
    for tell in is_told {
        let bench = Bench::new(Limits::default());
        bench.arrive(5);
        let mut client = bench.client();
        until("five telegrams are durable", || {
            (client.locate(i64::MAX).unwrap().head == 5).then_some(())
        });
        client.open("mqtt", Start::Oldest).unwrap();
        client.commit(3).unwrap();
        let former = client.queue().to_owned();
        let mut beside = bench.client();
        beside.ask(6, 1_000_000, PATIENCE).unwrap();

        assert!(tell(&mut client));
        let ended = beside.answer(&Bell::new().unwrap()).unwrap_err();
        assert!(!ended.is_refused(), "{ended}");
        let mut again = bench.client();
        let identities = again.identities().unwrap().unwrap();
        let newest = again.queue().to_owned();
        assert_ne!(newest, former);
        // What the consumer has committed is of both histories.
        let expected = [(&former, 1), (&newest, 4)].map(|(queue, first_sequence)| Identity {
            queue: queue.clone(),
            first_sequence,
        });
        assert_eq!(identities, expected);
        // Who comes with the former identity now changes nothing.
        assert_eq!(again.renew("mqtt", &former, 9).unwrap(), identities);
        assert!(matches!(
            again.read(1, 1_000_000, PATIENCE),
            Ok(Batch::Records { .. })
        ));
        drop((client, beside, again));
        bench.stop();
    }
}

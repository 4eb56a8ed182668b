//! Clients of the socket at their worst, of a user who may only read and of one who may write: what they do costs
//! capture neither memory nor the disk's life, and the publisher and whoever asks for a status go on beside them.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use shared::wire::client::{Append, Client};
use shared::wire::codec;
use shared::wire::{Imported, PROTOCOL_VERSION, PublisherReport, Refusal, Request, Start};
use tests::deadline::{SOON, wait_until};
use tests::programs::Programs;

use crate::installation::{Installation, assert_readings_are_true};

/// How long each player plays.
const PLAYS: Duration = Duration::from_secs(15);
/// What capture may hold of memory meanwhile: its limit where it is installed.
const RESIDENT_BYTES: u64 = 64 << 20;
/// What it may write in a second on average, for the telegrams too.
const WRITTEN_BYTES_A_SECOND: u64 = 2 << 20;
/// How long a telegram may take to the subscriber on a machine that is busy with the players themselves.
const DELIVERED_WITHIN: Duration = Duration::from_secs(5);

/// May read, since its group is that of the socket.
const READER: u32 = 61_001;
/// Is named in `queue.writers`.
const WRITER: u32 = 61_002;
/// May read too, and does no harm.
const VISITOR: u32 = 61_003;

const TRICKS: [fn(&Path, u32, &Counts); 7] = [
    holds_sessions,
    opens_and_forgets,
    reports_much,
    appends_garbage,
    sends_halves,
    takes_no_reply,
    asks_and_asks,
];

/// What a player has done.
#[derive(Default)]
struct Counts {
    held: AtomicU64,
    changed: AtomicU64,
    reported: AtomicU64,
    refused_for_role: AtomicU64,
    appended: AtomicU64,
    refused_telegrams: AtomicU64,
}

impl Counts {
    /// Whether it was carried out; a refusal for the user's role is counted, and names the user and the key.
    fn is_done<T>(&self, done: Result<T, shared::wire::client::ClientError>) -> bool {
        match done {
            Ok(_) => true,
            Err(error) => {
                let words = error.to_string();
                if words.contains("queue.writers") {
                    let own = format!("user {}", rustix::process::geteuid().as_raw());
                    assert!(words.contains(&own), "{words}");
                    self.refused_for_role.fetch_add(1, Ordering::Relaxed);
                }
                if words.contains("only valid telegrams are appended") {
                    self.refused_telegrams.fetch_add(1, Ordering::Relaxed);
                }
                false
            }
        }
    }
}

fn connected(socket: &Path) -> Option<Client> {
    let client = Client::connect(socket, Duration::from_secs(10)).ok();
    if client.is_none() {
        // As soon as there may be a place again.
        thread::sleep(Duration::from_millis(20));
    }
    client
}

fn holds_sessions(socket: &Path, _: u32, counts: &Counts) {
    let mut held: Vec<Client> = connected(socket).into_iter().collect();
    let until = Instant::now() + Duration::from_secs(3);
    while Instant::now() < until {
        held.extend(connected(socket));
        counts.held.fetch_max(held.len() as u64, Ordering::Relaxed);
    }
}

fn opens_and_forgets(socket: &Path, turn: u32, counts: &Counts) {
    let Some(mut client) = connected(socket) else {
        return;
    };
    // The publisher's own name is in use, and must stay so.
    let name = if turn % 4 == 0 {
        "mqtt".to_owned()
    } else {
        format!("hostile {}", turn % 40)
    };
    let opened = client.open(&name, Start::Oldest);
    if counts.is_done(opened) {
        counts.changed.fetch_add(1, Ordering::Relaxed);
    }
    drop(client);
    if let Some(mut client) = connected(socket) {
        let forgotten = client.forget(&name);
        if counts.is_done(forgotten) {
            counts.changed.fetch_add(1, Ordering::Relaxed);
        }
    }
}

fn reports_much(socket: &Path, turn: u32, counts: &Counts) {
    let Some(mut client) = connected(socket) else {
        return;
    };
    let opened = client.open(&format!("reports {}", turn % 8), Start::Newest);
    counts.is_done(opened);
    let report = |bytes: usize| PublisherReport {
        version: "\u{1b}]0;\u{7}".repeat(bytes / 20),
        connection: "\u{2028}".repeat(bytes / 10),
        skipped: (0..bytes / 40)
            .map(|number| (format!("{number:020}"), 1))
            .collect(),
        ..PublisherReport::default()
    };
    if client.report(report(10_000)).is_ok() {
        counts.reported.fetch_add(1, Ordering::Relaxed);
    }
    let too_large = client.report(report(600_000)).unwrap_err();
    assert_ne!(too_large.refusal(), Some(Refusal::Storage), "{too_large}");
}

fn appends_garbage(socket: &Path, turn: u32, counts: &Counts) {
    let Some(mut client) = connected(socket) else {
        return;
    };
    let size = [10, 1_000, 200_000, 15_000][turn as usize % 4];
    let count = [3_000, 800, 5, 60][turn as usize % 4];
    let garbage = Imported {
        captured_at_us: i64::MIN,
        silence_ms: u64::MAX,
        telegram: vec![b'/'; size],
    };
    let append = Append {
        source: "x".repeat(5_000),
        offset: 0,
        before: [0; 16],
        after: [turn as u8; 16],
        telegrams: vec![garbage; count],
    };
    let appended = client.append(append);
    if counts.is_done(appended) {
        counts.appended.fetch_add(1, Ordering::Relaxed);
    }
}

fn sends_halves(socket: &Path, turn: u32, _: &Counts) {
    let Ok(mut stream) = UnixStream::connect(socket) else {
        return;
    };
    let _ = stream.set_read_timeout(Some(Duration::from_secs(4)));
    let hello = codec::hello(PROTOCOL_VERSION);
    let megabyte = [&1_048_576_u32.to_le_bytes()[..], &[6], &vec![0; 900_000]].concat();
    let bytes = match turn % 4 {
        0 => hello[..5].to_vec(),
        1 => [&hello[..], &[200, 0]].concat(),
        2 => [&hello[..], &16_000_u32.to_le_bytes(), &[3]].concat(),
        _ => [&hello[..], &megabyte].concat(),
    };
    // That it is hung up on is what is wanted.
    let _ = stream.write_all(&bytes);
    let _ = stream.read_to_end(&mut Vec::new());
}

fn takes_no_reply(socket: &Path, _: u32, _: &Counts) {
    let Ok(mut stream) = UnixStream::connect(socket) else {
        return;
    };
    let read = Request::Read {
        from: 1,
        max_bytes: u32::MAX,
        wait_ms: u32::MAX,
    };
    let mut frame = Vec::new();
    codec::encode(&read, &mut frame).unwrap();
    let _ = stream.write_all(&codec::hello(PROTOCOL_VERSION));
    let _ = stream.write_all(&frame.repeat(200));
    thread::sleep(Duration::from_secs(2));
}

fn asks_and_asks(socket: &Path, _: u32, counts: &Counts) {
    let Some(mut client) = connected(socket) else {
        return;
    };
    for _ in 0..100 {
        if client.status().is_err() {
            return;
        }
        let imports = client.imports();
        counts.is_done(imports);
    }
}

/// Plays every trick at once, several times.
#[test]
#[ignore = "is started by the other test, as another user"]
fn player() {
    let Some(socket) = std::env::var_os("SMARTMETER_TEST_HOSTILE") else {
        return;
    };
    let socket = Path::new(&socket);
    let (counts, began) = (Counts::default(), Instant::now());
    thread::scope(|scope| {
        for (number, trick) in TRICKS.iter().cycle().take(4 * TRICKS.len()).enumerate() {
            let counts = &counts;
            scope.spawn(move || {
                let mut turn = number as u32;
                while began.elapsed() < PLAYS {
                    trick(socket, turn, counts);
                    turn += 1;
                }
            });
        }
    });
    let of = |count: &AtomicU64| count.load(Ordering::Relaxed);
    println!(
        "\nplayed {} {} {} {} {} {}",
        of(&counts.held),
        of(&counts.changed),
        of(&counts.reported),
        of(&counts.refused_for_role),
        of(&counts.appended),
        of(&counts.refused_telegrams)
    );
}

/// Whether these tests may be another user.
fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// The command as this user, in the group of the socket; as ourselves if we may not be another.
fn run_as(command: &mut Command, user: u32) -> &mut Command {
    match is_root() {
        true => command.uid(user).gid(rustix::process::getegid().as_raw()),
        false => command,
    }
}

fn start_player(socket: &Path, user: u32) -> Child {
    let mut player = Command::new(std::env::current_exe().unwrap());
    player.args(["hostile_client::player", "--exact", "--ignored", "--nocapture"]);
    player
        .env("SMARTMETER_TEST_HOSTILE", socket)
        .stdout(Stdio::piped());
    run_as(&mut player, user).spawn().unwrap()
}

/// What it has done, in the order of [`Counts`].
fn played(player: Child) -> Vec<u64> {
    let output = player.wait_with_output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{text}");
    let line = text.lines().find_map(|line| line.strip_prefix("played "));
    let line = line.unwrap_or_else(|| panic!("it has not played: {text}"));
    line.split(' ').map(|count| count.parse().unwrap()).collect()
}

/// What the process has written to files, in bytes, whether the disk has it or not.
fn written_bytes(id: u32) -> u64 {
    let io = fs::read_to_string(format!("/proc/{id}/io")).unwrap();
    let line = io.lines().find_map(|line| line.strip_prefix("wchar: "));
    line.unwrap().parse().unwrap()
}

/// Runs a command of the visitor; its exit code and what it says.
fn visit(house: &Installation, program: &str, arguments: &[&str]) -> (Option<i32>, String) {
    let mut command = match program {
        "capture" => Programs::built().capture(),
        _ => Programs::built().publisher(),
    };
    command
        .current_dir(house.folder.path())
        .args(["-config", "smartmeter.yml"])
        .args(arguments);
    let ran = run_as(&mut command, VISITOR).output().unwrap();
    let text = [ran.stdout, ran.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    (ran.status.code(), text.concat())
}

/// A house whose socket the players reach, and in which one of them may write.
fn house() -> Installation {
    let house = Installation::new(181);
    house.configure(0, "", "");
    let text = fs::read_to_string(house.folder.join("smartmeter.yml")).unwrap();
    house
        .folder
        .write("smartmeter.yml", text + &format!("  writers: [{WRITER}]\n"));
    fs::set_permissions(house.folder.path(), fs::Permissions::from_mode(0o750)).unwrap();
    house
}

#[test]
fn hostile_clients_cost_capture_neither_memory_nor_the_disk_and_the_publisher_nothing() {
    let mut house = house();
    let capture = house.start_capture();
    let mut publisher = house.start_publisher();
    house.send(200);
    house.wait_for_reading(200, SOON);
    let (written, began) = (written_bytes(capture.id()), Instant::now());
    let mut users = vec![WRITER];
    users.extend(is_root().then_some(READER));
    let mut players: Vec<Child> = users
        .iter()
        .map(|user| start_player(&house.socket(), *user))
        .collect();

    let (mut slowest, mut most_bytes, mut rounds) = (Duration::ZERO, 0, 0);
    while players
        .iter_mut()
        .any(|player| player.try_wait().unwrap().is_none())
    {
        assert!(began.elapsed() < 6 * PLAYS, "the players do not end");
        let sent = Instant::now();
        house.send(1);
        house.wait_for_reading(house.sent.len() as u64, SOON);
        slowest = slowest.max(sent.elapsed());
        assert!(
            slowest <= DELIVERED_WITHIN,
            "a telegram took {slowest:?}\n{}",
            capture.said()
        );
        most_bytes = most_bytes.max(capture.resident_bytes().0);
        assert!(
            most_bytes <= RESIDENT_BYTES,
            "{most_bytes} bytes are resident\n{}",
            capture.said()
        );
        rounds += 1;
        if rounds == 10 {
            // One that starts in the crowd finds a place too.
            publisher.terminate();
            publisher = house.start_publisher();
        }
        for (program, argument) in [("capture", "status"), ("publisher", "status")] {
            let (code, said) = visit(&house, program, &[argument]);
            assert!(
                code == Some(0) || said.contains("not running"),
                "{program} {argument}: {said}"
            );
        }
    }
    let bytes_a_second = (written_bytes(capture.id()) - written) / began.elapsed().as_secs().max(1);
    println!(
        "in {:?}: {rounds} telegrams, the slowest in {slowest:?}; at most {most_bytes} bytes resident; \
         {bytes_a_second} bytes written a second",
        began.elapsed()
    );
    assert!(
        bytes_a_second <= WRITTEN_BYTES_A_SECOND,
        "{bytes_a_second} bytes a second"
    );
    assert!(rounds > 10, "{rounds} rounds");
    for (user, player) in users.into_iter().zip(players) {
        let played = played(player);
        println!("user {user}: {played:?}");
        let [
            held,
            changed,
            reported,
            refused_for_role,
            appended,
            refused_telegrams,
        ] = played[..]
        else {
            panic!("{played:?}");
        };
        assert!(held > 1 && appended == 0, "{played:?}");
        if user == READER {
            assert!(
                changed == 0 && reported == 0 && refused_for_role > 10,
                "{played:?}"
            );
        } else {
            assert!(
                changed > 10 && reported > 0 && refused_telegrams > 10,
                "{played:?}"
            );
        }
    }
    let ledger = house.ledger();
    assert_eq!(ledger.missing(house.sent.len() as u64), Vec::<u64>::new());
    assert_readings_are_true(&ledger, house.truths());
    let said = capture.said();
    assert!(said.len() < 64 * 1024, "{} bytes of log:\n{said}", said.len());
    assert!(!said.contains(|c: char| c.is_control() && c != '\n'), "{said:?}");
}

#[test]
fn who_may_only_read_reads_and_changes_nothing() {
    if !is_root() {
        println!("only root can be another user");
        return;
    }
    let mut house = house();
    let _capture = house.start_capture();
    house.send(30);
    house.wait_for_head(30);
    let (code, exported) = visit(&house, "capture", &["export", "--format", "raw"]);
    assert_eq!(
        (code, exported.matches("\n!").count()),
        (Some(0), 30),
        "{exported}"
    );
    let (code, said) = visit(&house, "capture", &["status"]);
    assert_eq!(code, Some(0), "{said}");
    let (code, said) = visit(
        &house,
        "publisher",
        &["replay", "--from", "#1", "--topic", "energy/again"],
    );
    assert_eq!(code, Some(0), "{said}");
    for arguments in [&["forget", "mqtt"][..], &["import", "--append", "smartmeter.yml"]] {
        let (code, said) = visit(&house, "capture", arguments);
        assert_eq!(code, Some(1), "{arguments:?}: {said}");
        assert!(
            said.contains(&format!("add {VISITOR} to queue.writers")),
            "{said}"
        );
    }

    // Its publisher waits and says so once, until it is told who it is; nothing is lost meanwhile.
    let mut command = Programs::built().publisher();
    command
        .current_dir(house.folder.path())
        .args(["-config", "smartmeter.yml"]);
    let publisher = tests::process::Process::start("publisher", run_as(&mut command, VISITOR));
    let refusal = format!("user {VISITOR} may read this queue, and not be the consumer mqtt");
    publisher.wait_to_say(&refusal, SOON);
    // Several times as long as the longest pause between two attempts.
    let until = Instant::now() + Duration::from_secs(12);
    wait_until("it to have tried again", SOON, || Instant::now() >= until);
    assert_eq!(
        publisher.said().matches(&refusal).count(),
        1,
        "{}",
        publisher.said()
    );
    assert!(house.try_status().unwrap().consumers.is_empty());
    drop(_capture);
    let file = house.folder.join("smartmeter.yml");
    let text = fs::read_to_string(&file).unwrap();
    fs::write(
        &file,
        text.replace(&WRITER.to_string(), &format!("{WRITER}, {VISITOR}")),
    )
    .unwrap();
    let _capture = house.start_capture();
    house.wait_for_reading(30, SOON);
    let (code, said) = visit(&house, "publisher", &["status"]);
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(house.ledger().missing(30), Vec::<u64>::new());
}

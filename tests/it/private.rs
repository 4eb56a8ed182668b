//! What is private stays private: the queue's files whatever the umask and whatever links were planted, the socket's
//! name, and the programs' memory. Nobody but capture passes for capture.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::os::unix::net::{UnixListener, UnixStream};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::process::Signal;
use tests::deadline::{SOON, wait_for, wait_until};
use tests::folder::Folder;
use tests::household::Dialect;
use tests::meter::TcpMeter;
use tests::process::{self, Process};
use tests::programs::Programs;

use crate::installation::{Installation, assert_readings_are_true, household};

/// The users and their group as the images have them, and somebody else.
const CAPTURE: u32 = 65_532;
const PUBLISHER: u32 = 65_533;
/// Names who may change the queue.
const WRITERS: &str = "SMARTMETER_QUEUE_WRITERS";
const NOBODY: u32 = 65_534;

fn mode(path: &Path) -> u32 {
    fs::symlink_metadata(path).unwrap().mode() & 0o7777
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

/// Everything in a folder, and the folder.
fn everything(folder: &Path) -> Vec<PathBuf> {
    let mut found = vec![folder.to_owned()];
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        match path.symlink_metadata().unwrap().is_dir() {
            true => found.extend(everything(&path)),
            false => found.push(path),
        }
    }
    found
}

/// A program with its arguments, as a shell starts it after this command of its own.
fn after(first: &str, program: &Command) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", &format!("{first} && exec \"$@\""), "sh"]);
    command.arg(program.get_program());
    process::clean_environment(&mut command);
    command
}

#[test]
fn the_queue_is_its_owners_alone_whatever_the_umask() {
    for (seed, umask) in [(90, "000"), (92, "077"), (93, "777")] {
        let mut house = Installation::new(seed);
        house.configure(0, "", "");
        let telegrams = household(seed + 10, Dialect::Dsmr5).telegrams(50);
        let file: Vec<u8> = telegrams
            .into_iter()
            .flat_map(|telegram| telegram.bytes)
            .collect();
        house.folder.write("file.txt", file);
        let program = Programs::built().capture();
        let run = |arguments: &[&str]| {
            let mut command = after(&format!("umask {umask}"), &program);
            command.current_dir(house.folder.path()).args(arguments);
            command.args(["-config", "smartmeter.yml"]);
            command
        };
        process::run(&mut run(&["import", "file.txt"]), b"", SOON).done();
        let (first, again) = (run(&[]), run(&[]));
        for (mut command, head) in [(first, 60), (again, 70)] {
            let mut capture = Process::start("capture", &mut command);
            wait_for("capture to serve its queue", SOON, || house.try_status());
            house.send(10);
            house.wait_for_head(head);
            assert_eq!(mode(&house.socket()), 0o660, "umask {umask}");
            assert!(
                !capture.said().contains("open to other users"),
                "{}",
                capture.said()
            );
            capture.terminate();
        }
        let found = everything(&house.folder.join("queue"));
        assert!(found.len() > 8, "{found:?}");
        for path in found {
            let expected = if path.is_dir() { 0o700 } else { 0o600 };
            assert_eq!(mode(&path), expected, "umask {umask}: {}", path.display());
        }
    }
}

#[test]
fn a_queue_that_is_open_to_others_is_told_with_the_command_that_closes_it() {
    let house = Installation::new(94);
    house.configure(0, "", "");
    house.start_capture().terminate();
    let queue = house.folder.join("queue");
    set_mode(&queue, 0o755);
    set_mode(&queue.join("mark"), 0o644);
    let words = "the queue's folder queue (mode 0755) and 1 of what is in it are open to other users";
    let command = "close it with: chmod -R g-w,o= queue";
    let mut capture = house.start_capture();
    let said = capture.wait_to_say(words, SOON);
    assert!(said.contains(command), "{said}");
    let checked = house.capture(&["--check"]).done().text();
    assert!(checked.contains(words) && checked.contains(command), "{checked}");
    assert_eq!(
        (mode(&queue), mode(&queue.join("mark"))),
        (0o755, 0o644),
        "it is not changed"
    );
    capture.terminate();
}

#[test]
fn links_planted_in_the_queue_lead_nowhere() {
    const NAMES: [&str; 21] = [
        "identity",
        "identity.next",
        "birth.json",
        "birth.next",
        "mark",
        "mark.next",
        "losses",
        "losses.next",
        "meter.json",
        "meter.next",
        "imports.json",
        "imports.next",
        "reserve",
        "sled",
        "sled-new",
        "sled-old",
        "sled/journal",
        "sled/db",
        "sled/conf",
        "sled/blobs",
        "damaged-20260101T000000Z",
    ];
    let mut house = Installation::new(95);
    house.configure(0, "", "");
    let victim = house.folder.join("victim");
    let file = victim.join("file");
    fs::create_dir(&victim).unwrap();
    let queue = house.folder.join("queue");
    let mut head = 0;
    for name in NAMES {
        fs::write(&file, "precious").unwrap();
        let leads_to = match name {
            "sled" | "sled-new" | "sled-old" | "sled/blobs" | "damaged-20260101T000000Z" => &victim,
            _ => &file,
        };
        let path = queue.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let aside = house.folder.join("aside");
        let had = fs::rename(&path, &aside).is_ok();
        symlink(leads_to, &path).unwrap();
        let mut command = Programs::built().capture();
        command
            .current_dir(house.folder.path())
            .args(["-config", "smartmeter.yml"]);
        let mut capture = Process::start("capture", &mut command);
        let refused = wait_for("capture to serve or to end", SOON, || {
            match capture.exit_status() {
                Some(status) => Ok(Some(status.code())),
                None => house.try_status().map(|_| None),
            }
        });
        if refused.is_none() {
            house.send(1);
            head += 1;
            wait_until("the telegram to be stored", SOON, || {
                house.try_status().is_ok_and(|status| status.head >= head)
            });
            capture.terminate();
        } else {
            assert_eq!(refused, Some(Some(74)), "{name}: {}", capture.said());
            capture.wait_to_say(&format!("queue/{name} is a symbolic link; expected a "), SOON);
            fs::remove_file(&path).unwrap();
            if had {
                fs::rename(&aside, &path).unwrap();
            }
        }
        let said = capture.said();
        assert_eq!(fs::read_to_string(&file).unwrap(), "precious", "{name}: {said}");
        let inside = fs::read_dir(&victim).unwrap().count();
        assert_eq!(inside, 1, "{name}: {:?}", everything(&victim));
        drop(fs::remove_file(&aside).or_else(|_| fs::remove_dir_all(&aside)));
    }
    let capture = house.start_capture();
    assert_eq!(
        house.try_status().unwrap().head,
        head,
        "nothing is lost by it: {}",
        capture.said()
    );
}

#[test]
fn capture_takes_its_sockets_name_again_and_leaves_a_live_one_in_its_place_alone() {
    let mut house = Installation::new(96);
    house.configure(0, "", "");
    let capture = house.start_capture();
    let publisher = house.start_publisher();
    house.send(5);
    house.wait_for_reading(5, SOON);

    fs::remove_file(house.socket()).unwrap();
    capture.wait_to_say("had been removed or replaced; it is made again", SOON);
    house.wait_for_head(5);
    assert_eq!(mode(&house.socket()), 0o660);

    fs::remove_file(house.socket()).unwrap();
    let other = UnixListener::bind(house.socket()).unwrap();
    let said = capture.wait_to_say("has been removed or replaced and cannot be made again", SOON);
    assert!(said.contains("another process, of user "), "{said}");
    // Looked at again, and again.
    for _ in 0..2 {
        drop(other.accept().unwrap());
    }
    // The session that is open goes on.
    house.send(5);
    let ledger = house.wait_for_reading(10, SOON);
    assert_readings_are_true(&ledger, house.truths());
    drop(other);
    house.wait_for_head(10);
    let said = capture.said();
    assert_eq!(said.matches("cannot be made again").count(), 1, "{said}");
    assert_eq!(said.matches("it is made again").count(), 2, "{said}");
    assert!(
        !publisher.said().contains("nobody serves"),
        "{}",
        publisher.said()
    );
}

/// Whether this is root, who can start programs as other users.
fn is_root() -> bool {
    let is_root = rustix::process::geteuid().is_root();
    if !is_root {
        println!("skipped: only root can start programs as other users");
    }
    is_root
}

/// Copies of the programs that every user can start, in the folder.
fn for_everyone(folder: &Folder) -> [PathBuf; 2] {
    set_mode(folder.path(), 0o755);
    let programs = Programs::built();
    [&programs.capture, &programs.publisher].map(|program| {
        let copy = folder.join(program.file_name().unwrap().to_str().unwrap());
        // A program of its own copies it: a file that this process has open for writing cannot be started while another
        // test forks.
        assert!(
            Command::new("cp")
                .arg(program)
                .arg(&copy)
                .status()
                .unwrap()
                .success()
        );
        copy
    })
}

/// A folder that belongs to that user and group.
fn folder_of(folder: &Folder, name: &str, uid: u32, gid: u32, mode: u32) -> PathBuf {
    let path = folder.join(name);
    fs::create_dir(&path).unwrap();
    chown(&path, Some(uid), Some(gid)).unwrap();
    set_mode(&path, mode);
    path
}

fn as_user(program: &Path, uid: u32, gid: u32, folder: &Folder, arguments: &[&str]) -> Command {
    let mut command = Command::new(program);
    process::clean_environment(&mut command);
    command
        .uid(uid)
        .gid(gid)
        .current_dir(folder.path())
        .args(arguments);
    command
}

#[test]
fn two_users_of_one_group_run_capture_and_publisher() {
    if !is_root() {
        return;
    }
    let folder = Folder::new();
    let [capture, publisher] = for_everyone(&folder);
    let mut house = Installation::at(
        folder,
        Box::new(TcpMeter::listen()),
        household(97, Dialect::Dsmr5),
    );
    house.configure(0, "", "");
    let own = folder_of(&house.folder, "own", CAPTURE, CAPTURE, 0o750);
    let text = fs::read_to_string(house.folder.join("smartmeter.yml")).unwrap();
    let text = text
        .replace("path: queue", "path: own/queue")
        .replace("socket: queue.sock", "socket: own/queue.sock");
    house.folder.write("smartmeter.yml", text);
    let arguments = ["-config", "smartmeter.yml"];
    let mut command = as_user(&capture, CAPTURE, CAPTURE, &house.folder, &arguments);
    let started = Process::start("capture", command.env(WRITERS, PUBLISHER.to_string()));
    started.wait_to_say("own/queue.sock", SOON);
    let delivering = Process::start(
        "publisher",
        &mut as_user(&publisher, PUBLISHER, CAPTURE, &house.folder, &arguments),
    );
    house.send(10);
    let ledger = house.wait_for_reading(10, SOON);
    assert_readings_are_true(&ledger, house.truths());
    assert_eq!(mode(&own.join("queue")), 0o700);

    for uid in [0, CAPTURE, PUBLISHER] {
        for program in [&capture, &publisher] {
            let status = [arguments.as_slice(), &["status"]].concat();
            process::run(
                &mut as_user(program, uid, CAPTURE, &house.folder, &status),
                b"",
                SOON,
            )
            .done();
        }
    }
    // Nobody but root looks into the memory of a program, not even another one of the same user.
    for process in [&started, &delivering] {
        let file = format!("/proc/{}/environ", process.id());
        assert_eq!(fs::metadata(&file).unwrap().uid(), 0, "{file}");
    }
}

#[test]
fn whoever_has_taken_the_place_of_capture_is_told_nothing_and_believed_in_nothing() {
    if !is_root() {
        return;
    }
    let folder = Folder::new();
    let [capture, publisher] = for_everyone(&folder);
    let mut house = Installation::at(
        folder,
        Box::new(TcpMeter::listen()),
        household(98, Dialect::Dsmr5),
    );
    house.configure(0, "", "");
    let shared = folder_of(&house.folder, "shared", 0, 0, 0o1777);
    folder_of(&house.folder, "strangers", NOBODY, NOBODY, 0o755);
    let socket = shared.join("queue.sock");
    let text = fs::read_to_string(house.folder.join("smartmeter.yml")).unwrap();
    house.folder.write(
        "smartmeter.yml",
        text.replace("socket: queue.sock", "socket: shared/queue.sock"),
    );
    let strange = [
        "--usb",
        "tcp://127.0.0.1:9",
        "--queue",
        "strangers/queue",
        "--socket",
        "shared/queue.sock",
    ];
    let mut stranger = Process::start(
        "stranger",
        &mut as_user(&capture, NOBODY, NOBODY, &house.folder, &strange),
    );
    wait_until("the stranger's socket", SOON, || {
        UnixStream::connect(&socket).is_ok()
    });
    set_mode(&socket, 0o666);

    let arguments = ["-config", "smartmeter.yml"];
    let delivering = Process::start(
        "publisher",
        &mut as_user(&publisher, PUBLISHER, PUBLISHER, &house.folder, &arguments),
    );
    let words = "the socket shared/queue.sock is served by user nobody (65534) and so not by capture, which was expected \
                 to be root, this user 65533 or user root (0), who owns its folder: stop that program";
    delivering.wait_to_say(words, SOON);
    for (program, command) in [
        (&capture, vec!["status"]),
        (&capture, vec!["export"]),
        (&capture, vec!["import", "--append", "smartmeter.yml"]),
        (&capture, vec!["forget", "mqtt"]),
        (&publisher, vec!["status"]),
        (&publisher, vec!["--check"]),
    ] {
        let arguments = [arguments.as_slice(), &command].concat();
        let mut started = as_user(program, PUBLISHER, PUBLISHER, &house.folder, &arguments);
        let ran = process::run(&mut started, b"", SOON);
        assert_ne!(ran.code, Some(0), "{command:?}: {ran:?}");
        assert!(
            (ran.errors.clone() + &ran.text()).contains(words),
            "{command:?}: {ran:?}"
        );
    }
    let replay = [arguments.as_slice(), &["replay", "--from", "1h"]].concat();
    let replaying = Process::start(
        "replay",
        &mut as_user(&publisher, PUBLISHER, PUBLISHER, &house.folder, &replay),
    );
    replaying.wait_to_say(words, SOON);
    drop(replaying);
    let consumers = stranger.said();
    assert!(!consumers.contains("mqtt"), "{consumers}");

    // The real one cannot remove what is a live socket; when it is gone, the publisher finds it by itself.
    let refused = process::run(&mut as_user(&capture, 0, 0, &house.folder, &arguments), b"", SOON);
    assert_eq!(refused.code, Some(75), "{refused:?}");
    assert!(
        refused
            .errors
            .contains("another process, of user nobody (65534), serves"),
        "{refused:?}"
    );
    stranger.kill();
    let mut command = as_user(&capture, 0, 0, &house.folder, &arguments);
    let _real = Process::start("capture", command.env(WRITERS, PUBLISHER.to_string()));
    wait_until("the real socket", SOON, || {
        UnixStream::connect(&socket).is_ok() && mode(&socket) == 0o660
    });
    set_mode(&socket, 0o666);
    house.send(10);
    let ledger = house.wait_for_reading(10, SOON);
    assert_readings_are_true(&ledger, house.truths());
    let said = delivering.said();
    assert_eq!(said.matches("is served by user nobody").count(), 1, "{said}");
}

#[test]
fn a_program_that_crashes_leaves_no_core_dump() {
    let house = Installation::new(99);
    house.configure(0, "", "");
    let everything_allowed = "ulimit -c unlimited";
    let crashed = |mut process: Process| {
        process.signal(Signal::ABORT);
        let status = process.wait(SOON);
        assert_eq!(status.signal(), Some(Signal::ABORT.as_raw()), "{status}");
        status.core_dumped()
    };
    // That a dump is noticed at all, here.
    let mut cat = after(everything_allowed, &Command::new("cat"));
    // Its input is empty, so that it needs one that never ends.
    cat.arg("/dev/zero").current_dir(house.folder.path());
    let can_dump = crashed(Process::start("cat", &mut cat));
    println!("core dumps are possible here: {can_dump}");
    for program in [Programs::built().capture(), Programs::built().publisher()] {
        let mut command = after(everything_allowed, &program);
        command
            .current_dir(house.folder.path())
            .args(["-config", "smartmeter.yml"]);
        let started = Process::start("program", &mut command);
        started.wait_to_say("INFO", SOON);
        let limits = fs::read_to_string(format!("/proc/{}/limits", started.id())).unwrap();
        let line = limits
            .lines()
            .find(|line| line.starts_with("Max core file size"))
            .unwrap();
        assert_eq!(
            line.split_whitespace().skip(4).take(2).collect::<Vec<_>>(),
            ["0", "0"],
            "{line}"
        );
        assert!(!crashed(started), "{program:?}");
    }
}

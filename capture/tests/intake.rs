//! Intake on ptys and TCP connections, as on a meter: what arrives, how it comes back, what it says.
//!
//! A pty carries neither speed nor parity nor line noise. What it does keep is the speed that was *set*,
//! so that the simulated meter below sends telegrams where that is its own and garbage where it is not.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "tests fail by panicking")]

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use capture::intake::{AcceptedTelegram, Arrived, Intake, Memory};
use capture::port::Line;
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use shared::config::{CrcPolicy, PortAddress, PortConfig, SerialSetting};

/// Longer than anything takes that a test waits for.
const DEADLINE: Duration = Duration::from_secs(20);

fn telegram(n: u32) -> Vec<u8> {
    let body = format!(
        "/ISK5\\2M550T-1012\r\n\r\n1-3:0.2.8(50)\r\n1-0:1.8.1({n:06}.829*kWh)\r\n{}!",
        "0-0:96.13.0()\r\n".repeat(40)
    );
    [
        body.as_bytes(),
        format!("{:04X}\r\n", arc(body.as_bytes())).as_bytes(),
    ]
    .concat()
}

fn old_telegram(n: u32) -> Vec<u8> {
    format!("/KMP5 ZABF001587315111\r\n\r\n1-0:1.8.1({n:05}.000*kWh)\r\n0-0:96.14.0(0001)\r\n!\r\n")
        .into_bytes()
}

fn arc(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0, |register, &byte| {
        (0..8).fold(register ^ u16::from(byte), |register, _| {
            if register & 1 == 1 {
                register >> 1 ^ 0xA001
            } else {
                register >> 1
            }
        })
    })
}

fn config(address: PortAddress, line: SerialSetting) -> PortConfig {
    PortConfig {
        address,
        line,
        crc: CrcPolicy::Auto,
    }
}

/// The meter's side of a pty.
struct Meter {
    side: File,
    device: PathBuf,
}

impl Meter {
    fn new() -> Self {
        let side: OwnedFd = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("a pty");
        grantpt(&side).expect("granted");
        unlockpt(&side).expect("unlocked");
        let device = PathBuf::from(
            ptsname(&side, Vec::new())
                .expect("its name")
                .to_str()
                .expect("text"),
        );
        Self {
            side: side.into(),
            device,
        }
    }

    fn address(&self) -> PortAddress {
        PortAddress::Serial(self.device.clone())
    }

    /// The speed that capture has set.
    fn speed(&self) -> u32 {
        rustix::termios::tcgetattr(&self.side)
            .expect("settings")
            .input_speed()
    }

    /// Sends as a meter of this speed: where capture has set another, it sees garbage.
    fn send_at(&mut self, speed: u32, bytes: &[u8]) {
        if self.speed() == speed {
            self.side.write_all(bytes).expect("sent");
        } else {
            let garbage: Vec<u8> = bytes
                .iter()
                .step_by(3)
                .map(|byte| byte.wrapping_mul(37) & 0xFE | 0x80)
                .collect();
            self.side.write_all(&garbage).expect("sent");
        }
    }
}

/// What arrives until one more telegram has, with the rest.
fn next_telegram(receiver: &Receiver<Arrived>, learnt: &mut Vec<Memory>) -> AcceptedTelegram {
    let until = Instant::now() + DEADLINE;
    loop {
        match receiver.recv_timeout(until.saturating_duration_since(Instant::now())) {
            Ok(Arrived::Telegram(telegram)) => return telegram,
            Ok(Arrived::Learnt(memory)) => learnt.push(memory),
            other => panic!("no telegram came: {other:?}"),
        }
    }
}

fn wait_until(what: &str, mut is_so: impl FnMut() -> bool, seen: impl Fn() -> String) {
    let until = Instant::now() + DEADLINE;
    while !is_so() {
        assert!(Instant::now() < until, "waited for {what}, but: {}", seen());
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn the_setting_of_either_kind_of_meter_is_found_within_two_telegrams_and_remembered() {
    for (speed, line, whole) in [
        (115_200, Line::Baud115200, telegram(1)),
        (9600, Line::Baud9600, old_telegram(1)),
    ] {
        for remembered in [None, Some(Line::Baud115200), Some(Line::Baud9600)] {
            let mut meter = Meter::new();
            let memory = Memory {
                line: remembered,
                ..Memory::default()
            };
            let (intake, receiver) =
                Intake::start(config(meter.address(), SerialSetting::Auto), memory).expect("starts");
            wait_until(
                "the port to open",
                || intake.status().port_state.starts_with("open"),
                || intake.status().port_state,
            );
            // It opens in the middle of a telegram.
            let mut sent = 0;
            meter.send_at(speed, &whole[whole.len() / 2..]);
            let (mut learnt, mut found) = (Vec::new(), None);
            while found.is_none() {
                std::thread::sleep(Duration::from_millis(700));
                meter.send_at(speed, &whole);
                sent += 1;
                found = match receiver.recv_timeout(Duration::from_millis(300)) {
                    Ok(Arrived::Telegram(telegram)) => Some(telegram),
                    Err(RecvTimeoutError::Timeout) => None,
                    other => panic!("{other:?}"),
                };
                assert!(
                    sent <= 2,
                    "{sent} telegrams at {speed}, remembered {remembered:?}: {:?}",
                    intake.status()
                );
            }
            assert_eq!(found.expect("it was found").telegram, whole);
            meter.send_at(speed, &whole);
            assert_eq!(next_telegram(&receiver, &mut learnt).telegram, whole);
            assert_eq!(intake.status().port_state, format!("open at {line}"));
            if remembered != Some(line) {
                assert_eq!(
                    learnt.last().and_then(|memory| memory.line),
                    Some(line),
                    "handed out to be kept"
                );
            }
            drop(receiver);
            intake.stop();
            assert!(intake.join());
        }
    }
}

#[test]
fn a_setting_that_stops_working_is_given_up_for_the_other() {
    let mut meter = Meter::new();
    let (intake, receiver) =
        Intake::start(config(meter.address(), SerialSetting::Auto), Memory::default()).expect("starts");
    wait_until(
        "the port to open",
        || intake.status().port_state.starts_with("open"),
        || intake.status().port_state,
    );
    meter.send_at(115_200, &telegram(1));
    let mut learnt = Vec::new();
    next_telegram(&receiver, &mut learnt);
    // Another meter is mounted.
    let mut sent = 0;
    let arrived = loop {
        meter.send_at(9600, &old_telegram(2));
        sent += 1;
        match receiver.recv_timeout(Duration::from_millis(600)) {
            Ok(Arrived::Telegram(telegram)) => break telegram,
            Ok(Arrived::Learnt(_)) | Err(RecvTimeoutError::Timeout) => {}
            other => panic!("{other:?}"),
        }
        assert!(sent < 8, "{:?}", intake.status());
    };
    assert_eq!(arrived.telegram, old_telegram(2));
    assert_eq!(intake.status().port_state, "open at 9600-7E1");
    intake.stop();
    drop(receiver);
    assert!(intake.join());
}

#[test]
fn telegrams_of_a_slow_line_arrive_with_their_last_byte_and_few_reads() {
    let mut meter = Meter::new();
    let (intake, receiver) = Intake::start(
        config(meter.address(), SerialSetting::Baud115200),
        Memory::default(),
    )
    .expect("starts");
    wait_until(
        "the port to open",
        || intake.status().port_state.starts_with("open"),
        || intake.status().port_state,
    );
    let thread = intake_thread();
    let whole = telegram(1);
    let (mut late, mut learnt, mut woken) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..8 {
        let before = switches(&thread);
        // 11.5 bytes a millisecond, as 115200 baud brings them.
        let begun = Instant::now();
        for (at, piece) in whole.chunks(11).enumerate() {
            let due = begun + Duration::from_micros(955) * u32::try_from(at).unwrap();
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
            meter.side.write_all(piece).expect("sent");
        }
        let sent = Instant::now();
        assert_eq!(next_telegram(&receiver, &mut learnt).telegram, whole);
        late.push(sent.elapsed());
        woken.push(switches(&thread) - before);
        std::thread::sleep(Duration::from_millis(100));
    }
    println!(
        "late by {late:?}, woken {woken:?} times for {} pieces",
        whole.chunks(11).count()
    );
    // Not a bound on this machine's speed: what is slept through grows with what is left of the telegram.
    late.sort();
    assert!(late[late.len() / 2] < Duration::from_millis(20), "{late:?}");
    woken.sort_unstable();
    assert!(
        woken[woken.len() / 2] < 40,
        "{woken:?} of {}",
        whole.chunks(11).count()
    );
    intake.stop();
    drop(receiver);
    assert!(intake.join());
}

/// The folder of the intake thread that was started last.
fn intake_thread() -> PathBuf {
    let threads = std::fs::read_dir("/proc/self/task").expect("threads").flatten();
    let of_intake = threads.filter(|thread| {
        std::fs::read_to_string(thread.path().join("comm")).is_ok_and(|name| name == "intake\n")
    });
    of_intake
        .map(|thread| thread.path())
        .max_by_key(|path| {
            path.file_name()
                .unwrap()
                .to_string_lossy()
                .parse::<u32>()
                .unwrap()
        })
        .expect("it runs")
}

/// How often a thread went to sleep.
fn switches(thread: &std::path::Path) -> u64 {
    let status = std::fs::read_to_string(thread.join("status")).expect("its status");
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"))
        .expect("the count");
    line.trim().parse().expect("a number")
}

#[test]
fn it_stops_at_once_whatever_it_waits_for() {
    let meter = Meter::new();
    let refused = TcpListener::bind("127.0.0.1:0")
        .expect("a port")
        .local_addr()
        .expect("its number")
        .port();
    for address in [
        meter.address(),
        PortAddress::Serial("/dev/there-is-no-such-device".into()),
        PortAddress::Tcp {
            host: "127.0.0.1".to_owned(),
            port: refused,
        },
        PortAddress::Tcp {
            host: "192.0.2.1".to_owned(),
            port: 9,
        },
    ] {
        let (intake, receiver) =
            Intake::start(config(address.clone(), SerialSetting::Auto), Memory::default()).expect("starts");
        // So long that it waits for what takes many seconds: a first telegram, an answer.
        std::thread::sleep(Duration::from_millis(800));
        let asked = Instant::now();
        intake.stop();
        assert_eq!(
            receiver.recv_timeout(DEADLINE),
            Err(RecvTimeoutError::Disconnected)
        );
        assert!(intake.join());
        assert!(
            asked.elapsed() < Duration::from_millis(200),
            "{address}: {:?}",
            asked.elapsed()
        );
    }
}

#[test]
fn an_adapter_that_is_unplugged_and_plugged_in_again_is_read_again() {
    let folder = tempfile::tempdir().expect("a folder");
    let device = folder.path().join("ttyUSB0");
    let (intake, receiver) = Intake::start(
        config(PortAddress::Serial(device.clone()), SerialSetting::Auto),
        Memory::default(),
    )
    .expect("starts");
    let state = || intake.status().port_state;
    wait_until("no such device", || state().contains("there is no device"), state);
    let mut learnt = Vec::new();
    for n in 0..3 {
        let mut meter = Meter::new();
        std::os::unix::fs::symlink(&meter.device, &device).expect("plugged in");
        wait_until("the port to open", || state().starts_with("open"), state);
        meter.side.write_all(&telegram(n)).expect("sent");
        assert_eq!(next_telegram(&receiver, &mut learnt).telegram, telegram(n));
        // What was sent just before it is unplugged counts, unless the kernel throws it away.
        std::fs::remove_file(&device).expect("unplugged");
        drop(meter);
        wait_until("the device to be gone", || state().starts_with("waiting"), state);
    }
    assert_eq!(intake.status().accepted, 3);
    intake.stop();
    drop(receiver);
    assert!(intake.join());
}

#[test]
fn a_device_that_another_program_has_open_is_named_with_that_program() {
    let meter = Meter::new();
    let (first, _first_receiver) =
        Intake::start(config(meter.address(), SerialSetting::Auto), Memory::default()).expect("starts");
    wait_until(
        "the first",
        || first.status().port_state.starts_with("open"),
        || first.status().port_state,
    );
    let (second, receiver) =
        Intake::start(config(meter.address(), SerialSetting::Auto), Memory::default()).expect("starts");
    wait_until(
        "the second",
        || second.status().port_state.contains("is in use"),
        || second.status().port_state,
    );
    first.stop();
    assert!(first.join());
    wait_until(
        "its turn",
        || second.status().port_state.starts_with("open"),
        || second.status().port_state,
    );
    second.stop();
    drop(receiver);
    assert!(second.join());
}

#[test]
fn a_port_that_says_something_else_and_closes_is_tried_less_and_less_often() {
    // As a terminal server does whose line is in use.
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = PortAddress::Tcp {
        host: "127.0.0.1".to_owned(),
        port: listener.local_addr().expect("its number").port(),
    };
    let (intake, _receiver) =
        Intake::start(config(address, SerialSetting::Auto), Memory::default()).expect("starts");
    let mut came = Vec::new();
    while came.len() < 5 {
        let mut stream = serve(&listener);
        came.push(Instant::now());
        stream.write_all(b"Port already in use\r\n").expect("it listens");
    }
    intake.stop();
    // 250 ms, 500 ms, 1 s, 2 s, each at least half of it, against four times at most 250 ms.
    let (first, last) = (came[0], came[came.len() - 1]);
    assert!(last - first > Duration::from_millis(1500), "{:?}", last - first);
    assert!(intake.join());
}

fn serve(listener: &TcpListener) -> TcpStream {
    listener.accept().expect("a connection").0
}

#[test]
fn a_dropped_connection_is_made_again_and_half_a_telegram_is_none() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("its number").port();
    let address = PortAddress::Tcp {
        host: "localhost".to_owned(),
        port,
    };
    let (intake, receiver) =
        Intake::start(config(address, SerialSetting::Auto), Memory::default()).expect("starts");
    let mut learnt = Vec::new();
    for n in 0..3 {
        let mut peer = serve(&listener);
        peer.write_all(&telegram(n)).expect("sent");
        assert_eq!(next_telegram(&receiver, &mut learnt).telegram, telegram(n));
        peer.write_all(&telegram(n)[..200]).expect("sent");
        // What is read after that would be an answer, and capture never sends one.
        peer.shutdown(std::net::Shutdown::Write).expect("closed");
        assert_eq!(peer.read(&mut [0]).expect("it closes too"), 0);
    }
    drop(listener);
    let state = || intake.status().port_state;
    wait_until(
        "refusal",
        || state().contains("cannot connect to localhost"),
        state,
    );
    assert!(state().contains("nothing listens there"), "{}", state());
    assert_eq!(intake.status().rejected.get("truncated"), Some(&3));
    assert_eq!(learnt.len(), 1, "the meter sends a CRC: learnt once");
    assert!(
        learnt[0]
            .meters_with_crc
            .contains(b"ISK5\\2M550T-1012".as_slice())
    );
    intake.stop();
    drop(receiver);
    assert!(intake.join());
}

#[test]
fn a_host_that_nobody_knows_is_named() {
    let address = PortAddress::Tcp {
        host: "no-such-host.invalid".to_owned(),
        port: 2001,
    };
    let (intake, receiver) =
        Intake::start(config(address, SerialSetting::Auto), Memory::default()).expect("starts");
    let state = || intake.status().port_state;
    wait_until(
        "the words",
        || state().contains("the host no-such-host.invalid is not known"),
        state,
    );
    intake.stop();
    drop(receiver);
    assert!(intake.join());
}

#[test]
fn a_file_is_read_once_to_its_last_telegram_and_the_end_is_told() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("capture.txt");
    let last = telegram(500);
    let stream: Vec<u8> = (0..500)
        .flat_map(telegram)
        .chain(last[..last.len() - 2].to_vec())
        .collect();
    std::fs::write(&path, &stream).expect("written");
    let (intake, receiver) = Intake::start(
        config(PortAddress::File(path), SerialSetting::Auto),
        Memory::default(),
    )
    .expect("starts");
    // The queue's thread falls behind: the reader waits, and drops nothing.
    std::thread::sleep(Duration::from_millis(200));
    assert!(intake.status().accepted <= 257, "{}", intake.status().accepted);
    let arrived: Vec<Arrived> = receiver.iter().collect();
    assert!(intake.join());
    let telegrams: Vec<u8> = arrived
        .iter()
        .filter_map(|arrived| match arrived {
            Arrived::Telegram(telegram) => Some(telegram.telegram.clone()),
            _ => None,
        })
        .flatten()
        .collect();
    assert!(
        telegrams == stream,
        "{} of {} bytes",
        telegrams.len(),
        stream.len()
    );
    assert_eq!(arrived.last(), Some(&Arrived::Ended));
}

#[test]
fn a_file_that_cannot_be_read_is_told() {
    let (intake, receiver) = Intake::start(
        config(PortAddress::File("/no/such/file".into()), SerialSetting::Auto),
        Memory::default(),
    )
    .expect("starts");
    let arrived: Vec<Arrived> = receiver.iter().collect();
    assert!(
        matches!(arrived.as_slice(), [Arrived::Unreadable(words)] if words.contains("/no/such/file")),
        "{arrived:?}"
    );
    assert!(intake.join());
}

#[test]
fn a_telegram_has_the_time_of_its_last_byte_by_both_clocks() {
    let mut meter = Meter::new();
    let (intake, receiver) =
        Intake::start(config(meter.address(), SerialSetting::Auto), Memory::default()).expect("starts");
    wait_until(
        "the port to open",
        || intake.status().port_state.starts_with("open"),
        || intake.status().port_state,
    );
    let now = || {
        std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .expect("after 1970")
            .as_micros() as i64
    };
    let whole = telegram(1);
    meter.side.write_all(&whole[..300]).expect("sent");
    std::thread::sleep(Duration::from_millis(150));
    let before = now();
    meter.side.write_all(&whole[300..]).expect("sent");
    let first = next_telegram(&receiver, &mut Vec::new());
    assert!(
        (before..=now()).contains(&first.captured_at_us),
        "{before} {} {}",
        first.captured_at_us,
        now()
    );
    meter.side.write_all(&whole).expect("sent");
    let second = next_telegram(&receiver, &mut Vec::new());
    let by_clock = second.captured_at_us - first.captured_at_us;
    let by_uptime = (second.uptime_us - first.uptime_us) as i64;
    assert!(
        (by_clock - by_uptime).abs() < 50_000,
        "{by_clock} and {by_uptime} microseconds"
    );
    assert!(
        intake
            .status()
            .last_telegram_age_ms
            .is_some_and(|age| age < 20_000)
    );
    intake.stop();
    drop(receiver);
    assert!(intake.join());
}

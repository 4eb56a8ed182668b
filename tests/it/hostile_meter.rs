//! A meter at its worst, or whoever answers at `tcp://`: what it sends costs capture no more memory, disk, processor and
//! log than its budget, and no telegram of the right meter that comes after it. And so for files: however large, the
//! folder is within `queue.max_size` at any moment.

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::net::sockopt;
use shared::telegram::crc16;
use shared::wire::Status;
use shared::wire::client::Client;
use tests::deadline::{SOON, wait_for, wait_until};
use tests::folder::Folder;
use tests::household::random::Random;
use tests::process::Process;
use tests::programs::{run_capture, start_capture};

/// How long it plays.
const PLAYS: Duration = Duration::from_secs(60);
const MAX_SIZE: &str = "8MiB";
const MAX_SIZE_BYTES: u64 = 8 << 20;
/// What README promises of capture's memory, twice: a build without optimisation is larger.
const RESIDENT_BYTES: u64 = 24 << 20;
const LOG_BYTES: usize = 8 * 1024;
/// What `/proc` counts processor time in, on every machine that Linux is used on.
const TICK_MS: u64 = 10;
/// Of one processor, by a build without optimisation.
const PROCESSOR_PERCENT: u64 = 20;

/// A trick, played on one connection for so long or until capture hangs up.
struct Trick {
    name: &'static str,
    lasts: Duration,
    play: fn(&mut TcpStream, &AtomicBool) -> std::io::Result<()>,
}

const TRICKS: [Trick; 9] = [
    Trick::lasting(
        "telegrams at full speed, each from another meter",
        15,
        |line, is_over| {
            pour(line, is_over, |random| {
                telegram(&format!("ABC5{:020}", random.below(u64::MAX)), random, 700)
            })
        },
    ),
    Trick::lasting("the smallest telegrams there are", 10, |line, is_over| {
        pour(line, is_over, |random| telegram("ABC5", random, 0))
    }),
    Trick::lasting("the largest telegrams there are", 10, |line, is_over| {
        pour(line, is_over, |random| telegram("ABC5", random, 7_500))
    }),
    Trick::lasting("noise", 4, |line, is_over| {
        pour(line, is_over, |random| {
            (0..4_096).map(|_| random.below(256) as u8).collect()
        })
    }),
    Trick::lasting("a telegram that never ends", 4, |line, is_over| {
        line.write_all(b"/ABC5\r\n\r\n")?;
        pour(line, is_over, |_| b"1-0:1.7.0(00.202*kW)\r\n".repeat(200))
    }),
    Trick::lasting("beginnings of telegrams", 4, |line, is_over| {
        pour(line, is_over, |_| b"/ABC5\r\n\r\n\xdb\x08".repeat(300))
    }),
    Trick::lasting("telegrams with a wrong CRC", 4, |line, is_over| {
        pour(line, is_over, |random| {
            let mut telegram = telegram("ABC5", random, 400);
            let middle = telegram.len() / 2;
            telegram[middle] ^= 1;
            telegram
        })
    }),
    Trick::lasting("one byte after the other", 2, |line, is_over| {
        for byte in telegram("ABC5", &mut Random::new(5), 700) {
            if is_over.load(Ordering::SeqCst) {
                break;
            }
            line.write_all(&[byte])?;
        }
        Ok(())
    }),
    Trick::lasting("half a telegram, and gone", 0, |line, _| {
        let telegram = telegram("ABC5", &mut Random::new(6), 700);
        line.write_all(&telegram)?;
        line.write_all(&telegram[..300])
    }),
];

impl Trick {
    const fn lasting(
        name: &'static str,
        seconds: u64,
        play: fn(&mut TcpStream, &AtomicBool) -> std::io::Result<()>,
    ) -> Self {
        Self {
            name,
            lasts: Duration::from_secs(seconds),
            play,
        }
    }
}

/// A telegram with so many random hex digits, and a CRC.
fn telegram(identification: &str, random: &mut Random, digits: usize) -> Vec<u8> {
    let mut bytes = format!("/{identification}\r\n\r\n").into_bytes();
    for _ in 0..digits / 100 {
        bytes.extend_from_slice(b"0-0:96.13.0(");
        bytes.extend((0..100).map(|_| b"0123456789ABCDEF"[random.below(16) as usize]));
        bytes.extend_from_slice(b")\r\n");
    }
    bytes.push(b'!');
    let crc = crc16::ARC.of(&bytes);
    bytes.extend_from_slice(format!("{crc:04X}\r\n").as_bytes());
    bytes
}

/// Sends a mebibyte of what `piece` gives again and again.
fn pour(
    line: &mut TcpStream,
    is_over: &AtomicBool,
    piece: impl Fn(&mut Random) -> Vec<u8>,
) -> std::io::Result<()> {
    let mut random = Random::new(7);
    let mut bytes = Vec::new();
    while bytes.len() < 1 << 20 {
        bytes.extend(piece(&mut random));
    }
    while !is_over.load(Ordering::SeqCst) {
        for chunk in bytes.chunks(64 * 1024) {
            line.write_all(chunk)?;
            if is_over.load(Ordering::SeqCst) {
                break;
            }
        }
    }
    Ok(())
}

/// Answers every connection with the next of its tricks.
struct Player {
    address: String,
    played: Arc<[AtomicUsize; TRICKS.len()]>,
    is_over: Arc<AtomicBool>,
    thread: Option<JoinHandle<TcpListener>>,
}

impl Player {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (played, is_over) = (
            Arc::<[AtomicUsize; TRICKS.len()]>::default(),
            Arc::<AtomicBool>::default(),
        );
        let thread = thread::spawn({
            let (played, is_over) = (Arc::clone(&played), Arc::clone(&is_over));
            move || {
                for turn in 0.. {
                    let (mut line, _) = listener.accept().unwrap();
                    if is_over.load(Ordering::SeqCst) {
                        break;
                    }
                    // What waits in the system at the end of a trick is read all the same.
                    sockopt::set_socket_send_buffer_size(&line, 32 * 1024).unwrap();
                    let trick = &TRICKS[turn % TRICKS.len()];
                    let is_turn_over = Arc::<AtomicBool>::default();
                    let ends = thread::spawn({
                        let is_turn_over = Arc::clone(&is_turn_over);
                        let line = line.try_clone().unwrap();
                        let (lasts, is_over) = (trick.lasts, Arc::clone(&is_over));
                        move || {
                            let began = Instant::now();
                            while began.elapsed() < lasts && !is_over.load(Ordering::SeqCst) {
                                thread::sleep(Duration::from_millis(20));
                            }
                            is_turn_over.store(true, Ordering::SeqCst);
                            // So that it does not wait for capture to read.
                            let _ = line.shutdown(std::net::Shutdown::Both);
                        }
                    });
                    let _ = (trick.play)(&mut line, &is_turn_over);
                    ends.join().unwrap();
                    played[turn % TRICKS.len()].fetch_add(1, Ordering::SeqCst);
                }
                listener
            }
        });
        Self {
            address,
            played,
            is_over,
            thread: Some(thread),
        }
    }

    fn has_played_all(&self) -> bool {
        self.played.iter().all(|played| played.load(Ordering::SeqCst) > 0)
    }

    /// Ends the play, and gives where the right meter may answer.
    fn finish(mut self) -> TcpListener {
        self.is_over.store(true, Ordering::SeqCst);
        // It may wait for a connection.
        let _ = TcpStream::connect(&self.address);
        self.thread.take().unwrap().join().unwrap()
    }
}

/// Measures a folder all the time.
struct Sampler {
    largest: Arc<AtomicU64>,
    is_over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Sampler {
    fn start(folder: &Path) -> Self {
        let (largest, is_over) = (Arc::<AtomicU64>::default(), Arc::<AtomicBool>::default());
        let thread = thread::spawn({
            let (folder, largest, is_over) = (folder.to_owned(), Arc::clone(&largest), Arc::clone(&is_over));
            move || {
                while !is_over.load(Ordering::SeqCst) {
                    largest.fetch_max(capture::queue::layout::disk_bytes(&folder), Ordering::SeqCst);
                    thread::sleep(Duration::from_millis(2));
                }
            }
        });
        Self {
            largest,
            is_over,
            thread: Some(thread),
        }
    }

    /// The largest size of all so far, which is within the bound and a tenth.
    fn expect_within_bound(&self) -> u64 {
        let largest = self.largest.load(Ordering::SeqCst);
        assert!(
            largest <= MAX_SIZE_BYTES / 10 * 11,
            "{largest} bytes on disk of {MAX_SIZE_BYTES}"
        );
        largest
    }
}

impl Drop for Sampler {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::SeqCst);
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

/// Processor time that a process has used.
fn processor_time(process: &Process) -> Duration {
    let stat = fs::read_to_string(format!("/proc/{}/stat", process.id())).unwrap();
    let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
    Duration::from_millis(ticks * TICK_MS)
}

fn configure(folder: &Folder, usb: &str) {
    let text =
        format!("usb: \"{usb}\"\nqueue:\n  path: queue\n  socket: queue.sock\n  max_size: {MAX_SIZE}\n");
    folder.write("smartmeter.yml", text);
}

fn status(folder: &Folder) -> Result<Status, String> {
    let mut client = Client::connect(&folder.join("queue.sock"), SOON).map_err(|error| error.to_string())?;
    client.status().map_err(|error| error.to_string())
}

/// How many telegrams the losses count.
fn lost(status: &Status) -> u64 {
    let losses = status.losses.iter();
    losses
        .map(|loss| loss.last_sequence - loss.first_sequence + 1)
        .sum()
}

#[test]
fn a_hostile_meter_costs_capture_no_more_than_its_budgets() {
    let folder = Folder::new();
    let player = Player::start();
    configure(&folder, &format!("tcp://{}", player.address));
    let mut capture = start_capture(folder.path(), &["-config", "smartmeter.yml"]);
    let sampler = Sampler::start(&folder.join("queue"));
    let began = Instant::now();
    while began.elapsed() < PLAYS || !player.has_played_all() {
        assert!(capture.is_running(), "it ended:\n{}", capture.said());
        assert!(
            began.elapsed() < 4 * PLAYS,
            "not all was played: {:?}",
            player.played
        );
        let resident = capture.resident_bytes().1;
        assert!(resident <= RESIDENT_BYTES, "{resident} bytes are resident");
        sampler.expect_within_bound();
        thread::sleep(Duration::from_millis(20));
    }
    let lasted = began.elapsed();
    let (used, said) = (processor_time(&capture), capture.said());
    let status = status(&folder).unwrap();
    println!(
        "{:?}\nin {lasted:?}: {used:?} of a processor, at most {} bytes resident and {} on disk, {} bytes of log, {} \
         telegrams of which {} are lost",
        TRICKS
            .iter()
            .map(|trick| trick.name)
            .zip(player.played.iter())
            .collect::<Vec<_>>(),
        capture.resident_bytes().1,
        sampler.expect_within_bound(),
        said.len(),
        status.head,
        lost(&status)
    );
    assert!(
        used.as_millis() * 100 <= lasted.as_millis() * u128::from(PROCESSOR_PERCENT),
        "{used:?} of a processor in {lasted:?}"
    );
    assert!(said.len() <= LOG_BYTES, "{} bytes of log:\n{said}", said.len());
    assert_eq!(said.matches("is read at 64 KiB a second").count(), 1, "{said}");
    assert_eq!((status.refused, lost(&status)), (0, status.tail - 1));

    // And then the right one, which is read as it sends.
    let meter = player.finish();
    let before = status.head;
    let (mut line, _) = meter.accept().unwrap();
    let right = telegram("RIGHT5", &mut Random::new(1), 700);
    line.write_all(&right).unwrap();
    wait_until("the right meter's telegram to be stored", SOON, || {
        let mut ran = run_capture(
            folder.path(),
            &[
                "export",
                "-config",
                "smartmeter.yml",
                "--from",
                &format!("#{}", before + 1),
            ],
        );
        ran.output.drain(..ran.output.len().saturating_sub(right.len()));
        ran.output == right
    });
    drop(line);
    capture.terminate();
    sampler.expect_within_bound();
}

#[test]
fn a_fast_peer_loses_nothing_and_capture_stops_at_once_while_it_waits() {
    let folder = Folder::new();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    configure(&folder, &format!("tcp://{}", listener.local_addr().unwrap()));
    let mut capture = start_capture(folder.path(), &["-config", "smartmeter.yml"]);
    let (mut line, _) = listener.accept().unwrap();
    let mut random = Random::new(9);
    let sent: Vec<u8> = (0..1_600)
        .flat_map(|_| telegram("ABC5", &mut random, 700))
        .collect();
    assert!(
        sent.len() > (1 << 20) + 128 * 1024,
        "{} bytes are no flood",
        sent.len()
    );
    let writer = thread::spawn(move || {
        line.write_all(&sent).unwrap();
        (line, sent)
    });
    capture.wait_to_say("sends faster than any meter", SOON);
    let (line, sent) = writer.join().unwrap();
    wait_for("all of it to be stored", SOON, || match status(&folder)?.head {
        1_600 => Ok(()),
        head => Err(format!("the head is {head}")),
    });
    let kept = run_capture(folder.path(), &["export", "-config", "smartmeter.yml"])
        .done()
        .output;
    assert!(
        sent.ends_with(&kept) && kept.len() > sent.len() / 2,
        "other bytes are stored"
    );

    // More than the budget is under way when it is to stop.
    let writer = thread::spawn(move || {
        let mut line = line;
        let _ = line.write_all(&sent.repeat(4));
        let _ = line.read(&mut [0]);
    });
    let began = Instant::now();
    capture.terminate();
    assert!(
        began.elapsed() < Duration::from_secs(5),
        "it stopped after {:?}",
        began.elapsed()
    );
    writer.join().unwrap();
}

#[test]
fn a_file_of_any_length_is_taken_within_max_size() {
    let folder = Folder::new();
    let mut random = Random::new(3);
    let file: Vec<u8> = (0..5_000)
        .flat_map(|_| telegram("ABC5", &mut random, 1_000))
        .collect();
    assert!(file.len() as u64 > MAX_SIZE_BYTES / 3 * 2);
    folder.write("meter.txt", &file);
    let sampler = Sampler::start(&folder.join("queue"));
    // With capture stopped.
    configure(&folder, "tcp://127.0.0.1:9");
    let import = |more: &[&str]| {
        let arguments = [&["import", "-config", "smartmeter.yml"][..], more, &["meter.txt"]].concat();
        run_capture(folder.path(), &arguments).done();
        sampler.expect_within_bound();
    };
    import(&[]);
    // As the port's file.
    fs::remove_dir_all(folder.join("queue")).unwrap();
    configure(&folder, "file:meter.txt");
    let mut capture = start_capture(folder.path(), &["-config", "smartmeter.yml"]);
    capture.wait_to_say("and durable", SOON);
    let taken = status(&folder).unwrap();
    assert_eq!((taken.head, lost(&taken)), (5_000, taken.tail - 1));
    sampler.expect_within_bound();
    capture.terminate();
    // And into a running one.
    fs::remove_dir_all(folder.join("queue")).unwrap();
    configure(&folder, "tcp://127.0.0.1:9");
    let mut capture = start_capture(folder.path(), &["-config", "smartmeter.yml"]);
    wait_until("the socket to be there", SOON, || status(&folder).is_ok());
    import(&["--append"]);
    let taken = status(&folder).unwrap();
    assert_eq!((taken.head, lost(&taken)), (5_000, taken.tail - 1));
    capture.terminate();
    println!("at most {} bytes on disk", sampler.expect_within_bound());
}

//! The demo in a terminal of any width, and what it says when it cannot be shown.

use std::fs::{File, OpenOptions};
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::fs::OFlags;
use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};
use tests::deadline::wait_for;
use tests::folder::Folder;
use tests::ports;
use tests::process::{Ran, run};

const ROWS: u16 = 24;
const A_WHILE: Duration = Duration::from_secs(90);
const SHORT: [&str; 4] = ["--before", "2", "--outage", "3"];

/// The demo in a terminal of its own.
struct Terminal {
    line: File,
    child: Child,
    screen: Screen,
    /// Where its scratch folder is made.
    folder: Folder,
    started: Instant,
    /// When each line that stays came.
    lines_at: Vec<Duration>,
}

impl Terminal {
    fn start(columns: u16, arguments: &[&str]) -> Self {
        let line = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
        grantpt(&line).unwrap();
        unlockpt(&line).unwrap();
        let name = ptsname(&line, Vec::new()).unwrap();
        let other_end = OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(OFlags::NOCTTY.bits() as i32)
            .open(Path::new(name.to_str().unwrap()))
            .unwrap();
        rustix::fs::fcntl_setfl(&line, rustix::fs::fcntl_getfl(&line).unwrap() | OFlags::NONBLOCK).unwrap();
        let folder = Folder::new();
        let stdio = || Stdio::from(other_end.try_clone().unwrap());
        let mut command = demo(&folder);
        command.args(arguments).env("TERM", "xterm");
        command
            .stdin(stdio())
            .stdout(stdio())
            .stderr(stdio())
            .process_group(0);
        set_width(&line, columns);
        Self {
            line: File::from(line),
            screen: Screen::new(columns),
            child: command.spawn().unwrap(),
            folder,
            started: Instant::now(),
            lines_at: Vec::new(),
        }
    }

    /// As when a person drags the window's edge.
    fn resize(&mut self, columns: u16) {
        self.read();
        set_width(&self.line, columns);
        self.screen.resize(columns);
    }

    /// Shows what has come.
    fn read(&mut self) {
        let mut buffer = [0; 4096];
        while let Ok(length @ 1..) = self.line.read(&mut buffer) {
            self.screen.write(&buffer[..length]);
            self.lines_at
                .resize(self.screen.lines.len(), self.started.elapsed());
        }
    }

    fn wait_for_a_line(&mut self, text: &str) {
        wait_for(text, A_WHILE, || {
            self.read();
            match self.screen.lines.iter().any(|line| line.contains(text)) {
                true => Ok(()),
                false => Err(self.screen.lines.join("\n")),
            }
        });
    }

    /// Waits for its end; gives the exit code.
    fn end(&mut self) -> Option<i32> {
        wait_for("the demo's end", A_WHILE, || {
            self.read();
            match self.child.try_wait().unwrap() {
                Some(status) => {
                    self.read();
                    Ok(status.code())
                }
                None => Err(self.screen.lines.join("\n")),
            }
        })
    }

    fn assert_nothing_is_left(&self) {
        let left: Vec<_> = std::fs::read_dir(self.folder.path()).unwrap().collect();
        assert!(left.is_empty(), "{left:?}");
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// As much of a terminal as the demo needs; anything else that is sent to it is a failure. A line that is longer than
/// it is wide would go on below, so it is counted as one that wraps.
struct Screen {
    columns: usize,
    /// Lines that have been left by a line feed.
    lines: Vec<String>,
    /// The line of the cursor, and its column.
    bottom: Vec<char>,
    column: usize,
    wrapped: Vec<String>,
    /// Drawings under way when the size changed may have had the old one.
    spared: usize,
    pending: Vec<u8>,
}

impl Screen {
    fn new(columns: u16) -> Self {
        Self {
            columns: columns.into(),
            lines: Vec::new(),
            bottom: Vec::new(),
            column: 0,
            wrapped: Vec::new(),
            spared: 0,
            pending: Vec::new(),
        }
    }

    fn resize(&mut self, columns: u16) {
        self.columns = columns.into();
        assert_eq!(
            self.column, 0,
            "the cursor rests where the terminal may break the line"
        );
        self.spared = 2;
    }

    fn write(&mut self, bytes: &[u8]) {
        self.pending.extend_from_slice(bytes);
        let whole = match std::str::from_utf8(&self.pending) {
            Ok(text) => text.to_owned(),
            Err(error) => String::from_utf8_lossy(&self.pending[..error.valid_up_to()]).into_owned(),
        };
        // A sequence may be cut in two by the read.
        let end = match whole.rfind('\u{1b}') {
            Some(at) if !whole[at + 1..].contains(|c: char| c.is_ascii_alphabetic()) => at,
            _ => whole.len(),
        };
        self.pending.drain(..end);
        let mut chars = whole[..end].chars();
        while let Some(c) = chars.next() {
            match c {
                '\r' => self.column = 0,
                '\n' => {
                    self.lines
                        .push(std::mem::take(&mut self.bottom).into_iter().collect());
                }
                '\u{1b}' => {
                    let mut sequence = String::new();
                    while !sequence.ends_with(|c: char| c.is_ascii_alphabetic()) {
                        sequence.extend(chars.next());
                    }
                    match sequence.as_str() {
                        "[J" => {
                            assert_eq!(self.column, 0);
                            self.bottom.clear();
                            self.spared = self.spared.saturating_sub(1);
                        }
                        colour if colour.ends_with('m') => {}
                        other => panic!("a terminal may not know {other:?}"),
                    }
                }
                c => {
                    if self.column >= self.columns && self.spared == 0 {
                        self.wrapped.push(self.bottom.iter().collect());
                    }
                    self.bottom.truncate(self.column);
                    self.bottom.push(c);
                    self.column += 1;
                }
            }
        }
    }

    fn assert_nothing_wrapped(&self) {
        assert_eq!(
            self.wrapped,
            Vec::<String>::new(),
            "wider than {}; all:\n{}",
            self.columns,
            self.lines.join("\n")
        );
        // A line a second and a half, and what is said once: nothing that was to be written over has scrolled.
        assert!(
            self.lines.len() < 50,
            "{} lines:\n{}",
            self.lines.len(),
            self.lines.join("\n")
        );
    }
}

fn set_width(line: impl std::os::fd::AsFd, columns: u16) {
    let size = Winsize {
        ws_row: ROWS,
        ws_col: columns,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    tcsetwinsize(line, size).unwrap();
}

fn demo(folder: &Folder) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_demo"));
    tests::process::clean_environment(&mut command);
    command.env("TMPDIR", folder.path()).env_remove("NO_COLOR");
    command
}

fn run_demo(arguments: &[&str]) -> Ran {
    let folder = Folder::new();
    let ran = run(demo(&folder).args(arguments), b"", A_WHILE);
    let left: Vec<_> = std::fs::read_dir(folder.path()).unwrap().collect();
    assert!(left.is_empty(), "{arguments:?} leaves {left:?}");
    ran
}

fn is_shown_at(columns: u16) {
    let mut terminal = Terminal::start(columns, &SHORT);
    let code = terminal.end();
    terminal.screen.assert_nothing_wrapped();
    assert_eq!(code, Some(0), "{}", terminal.screen.lines.join("\n"));
    let lines = &terminal.screen.lines;
    assert!(
        lines.iter().any(|line| line.contains("Nothing was lost")),
        "{lines:?}"
    );
    if columns >= 80 {
        let cut: Vec<&String> = lines.iter().filter(|line| line.ends_with('…')).collect();
        assert!(
            cut.is_empty(),
            "an ordinary terminal shows every line whole: {cut:?}"
        );
    }
    // From the broker's return on it is never long before the next line comes.
    let back = lines
        .iter()
        .position(|line| line.contains("The broker is back"))
        .unwrap();
    for (number, pair) in terminal.lines_at.windows(2).enumerate().skip(back) {
        let pause = pair[1].saturating_sub(pair[0]);
        assert!(
            pause < Duration::from_secs(3),
            "{pause:?} after {:?}",
            lines[number]
        );
    }
    terminal.assert_nothing_is_left();
}

#[test]
fn the_demo_is_shown_at_40_columns() {
    is_shown_at(40);
}

#[test]
fn the_demo_is_shown_at_80_columns() {
    is_shown_at(80);
}

#[test]
fn the_demo_is_shown_at_120_columns() {
    is_shown_at(120);
}

#[test]
fn the_demo_is_shown_in_a_terminal_that_becomes_narrower_and_wider() {
    let mut terminal = Terminal::start(120, &SHORT);
    for columns in [37, 200, 10, 80] {
        let lines = terminal.screen.lines.len();
        wait_for("further lines", A_WHILE, || {
            terminal.read();
            match terminal.screen.lines.len() {
                now if now > lines + 1 => Ok(()),
                now => Err(format!("{now} lines")),
            }
        });
        terminal.resize(columns);
    }
    assert_eq!(terminal.end(), Some(0), "{}", terminal.screen.lines.join("\n"));
    terminal.screen.assert_nothing_wrapped();
}

#[test]
fn a_demo_that_is_stopped_leaves_nothing() {
    for signal in [Signal::INT, Signal::TERM, Signal::HUP] {
        let mut terminal = Terminal::start(80, &SHORT);
        terminal.wait_for_a_line("receives");
        kill_process(Pid::from_child(&terminal.child), signal).unwrap();
        assert_eq!(terminal.end(), Some(130), "{}", terminal.screen.lines.join("\n"));
        assert!(
            terminal
                .screen
                .lines
                .last()
                .is_some_and(|line| line.contains("Stopped"))
        );
        terminal.assert_nothing_is_left();
    }
}

#[test]
fn a_demo_that_is_killed_takes_both_programs_along() {
    let mut terminal = Terminal::start(80, &SHORT);
    terminal.wait_for_a_line("receives");
    let demo = terminal.child.id();
    let children: Vec<i32> = std::fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| entry.unwrap().file_name().to_str()?.parse().ok())
        .filter(|pid| {
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            let behind = stat.rsplit(") ").next().unwrap_or_default();
            behind.split(' ').nth(1) == Some(&demo.to_string())
        })
        .collect();
    assert_eq!(children.len(), 2, "capture and publisher");
    kill_process(Pid::from_child(&terminal.child), Signal::KILL).unwrap();
    terminal.child.wait().unwrap();
    for child in children {
        let pid = Pid::from_raw(child).unwrap();
        wait_for("the end of a program", A_WHILE, || match test_kill_process(pid) {
            Ok(()) => Err(format!("{child} runs")),
            Err(_) => Ok(()),
        });
    }
}

#[test]
fn what_the_demo_cannot_do_is_a_sentence() {
    let closed = format!("localhost:{}", ports::free());
    // Takes connections and says nothing.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let silent = silent.local_addr().unwrap().to_string();
    for (arguments, code, words) in [
        (
            &["--mqtt_address", "no.such.host.invalid"][..],
            1,
            "no host named no.such.host.invalid is known",
        ),
        (
            &["--mqtt_address", &closed],
            1,
            "no broker takes a connection at localhost",
        ),
        (
            &["--mqtt_address", &silent],
            1,
            "the broker does not take a subscriber",
        ),
        (&["--mqtt_address", "localhost:none"], 64, "`none` is no port"),
        (&["--mqtt_address", "mqtts://localhost"], 64, "cannot do with TLS"),
        (&["--mqtt_cred_file", "/none", "--before", "0"], 1, "/none"),
        (&["--mqtt_topic", "a/#"], 64, "has a wildcard"),
        (
            &["--usb", "/dev/none"],
            64,
            "expected a serial device or tcp://host:port",
        ),
        (&["--usb", "tcp://meter"], 64, "expected tcp://host:port"),
        (&["--usb", "tcp://127.0.0.1:9"], 1, "is not open"),
        (&["--outage", "18446744073709551615"], 64, "86400"),
        (&["--no_such_flag"], 64, "--no_such_flag"),
    ] {
        let started = Instant::now();
        let ran = run_demo(arguments);
        assert_eq!(ran.code, Some(code), "{arguments:?}: {}", ran.errors);
        assert!(ran.errors.contains(words), "{arguments:?}: {}", ran.errors);
        assert!(!ran.errors.contains("panicked"), "{arguments:?}: {}", ran.errors);
        assert!(
            started.elapsed() < Duration::from_secs(20),
            "{arguments:?}: {:?}",
            started.elapsed()
        );
    }
    let version = run_demo(&["--version"]).done().text();
    assert_eq!(version, format!("demo {}\n", env!("CARGO_PKG_VERSION")));
    assert!(run_demo(&["--help"]).done().text().contains("Exit codes"));
}

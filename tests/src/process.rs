//! A process under test: what it says is kept, shown when the test fails, and can be waited for.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// A process, killed when this is dropped.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    log: Arc<Log>,
    readers: Vec<JoinHandle<()>>,
    status: Option<ExitStatus>,
}

/// What a process has said, both of its outputs line by line.
#[derive(Debug, Default)]
struct Log {
    lines: Mutex<Vec<String>>,
    has_grown: Condvar,
}

impl Process {
    /// Starts it, in a process group of its own, so that Ctrl-C in a terminal reaches it only through its
    /// owner. Its standard error and standard output are kept; its standard input is empty.
    pub fn start(name: &str, command: &mut Command) -> Self {
        let mut child = command
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{name} does not start: {error}: {command:?}"));
        let log = Arc::new(Log::default());
        let readers = vec![
            log.follow(child.stdout.take().expect("standard output is piped")),
            log.follow(child.stderr.take().expect("standard error is piped")),
        ];
        Self {
            name: name.to_owned(),
            child,
            log,
            readers,
            status: None,
        }
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Whether it has not ended.
    pub fn is_running(&mut self) -> bool {
        self.exit_status().is_none()
    }

    /// How it ended, where it has.
    pub fn exit_status(&mut self) -> Option<ExitStatus> {
        if self.status.is_none() {
            self.status = self.child.try_wait().expect("a child can be waited for");
        }
        self.status
    }

    /// All it has said so far.
    pub fn said(&self) -> String {
        self.log
            .lines
            .lock()
            .expect("the log's lock is not poisoned")
            .join("\n")
    }

    /// How many lines it has said: a place to [`Process::wait_to_say_after`].
    pub fn lines_said(&self) -> usize {
        self.log
            .lines
            .lock()
            .expect("the log's lock is not poisoned")
            .len()
    }

    /// Waits for a line that holds this text, and gives it.
    pub fn wait_to_say(&self, text: &str, deadline: Duration) -> String {
        self.wait_to_say_after(0, text, deadline)
    }

    /// The same, of the lines after the first so many.
    pub fn wait_to_say_after(&self, lines: usize, text: &str, deadline: Duration) -> String {
        let ends = Instant::now() + deadline;
        let mut said = self.log.lines.lock().expect("the log's lock is not poisoned");
        loop {
            if let Some(line) = said.iter().skip(lines).find(|line| line.contains(text)) {
                return line.clone();
            }
            let left = ends.saturating_duration_since(Instant::now());
            if left.is_zero() {
                // The lock is wanted again while this process is dropped.
                let lines = said.join("\n");
                drop(said);
                panic!(
                    "waited {deadline:?} for {} to say {text:?}; it said:\n{lines}",
                    self.name
                );
            }
            said = self
                .log
                .has_grown
                .wait_timeout(said, left)
                .expect("the log's lock is not poisoned")
                .0;
        }
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        let id = Pid::from_child(&self.child);
        kill_process(id, signal).unwrap_or_else(|error| panic!("{} cannot be signalled: {error}", self.name));
    }

    /// Waits for its end.
    pub fn wait(&mut self, deadline: Duration) -> ExitStatus {
        let started = Instant::now();
        loop {
            if let Some(status) = self.exit_status() {
                self.readers.drain(..).for_each(|reader| drop(reader.join()));
                return status;
            }
            assert!(
                started.elapsed() < deadline,
                "waited {deadline:?} for {} to end; it said:\n{}",
                self.name,
                self.said()
            );
            thread::sleep(Duration::from_millis(1));
        }
    }

    /// SIGTERM; gives how it ended and how long that took.
    pub fn terminate(&mut self) -> (ExitStatus, Duration) {
        let started = Instant::now();
        self.signal(Signal::TERM);
        let status = self.wait(Duration::from_secs(20));
        (status, started.elapsed())
    }

    /// SIGKILL; panics where it had ended before in another way.
    pub fn kill(&mut self) {
        self.signal(Signal::KILL);
        let status = self.wait(Duration::from_secs(20));
        assert_eq!(
            status.signal(),
            Some(Signal::KILL.as_raw()),
            "{} ended before it was killed: {status}; it said:\n{}",
            self.name,
            self.said()
        );
    }

    /// Resident memory in bytes, now and at its highest.
    pub fn resident_bytes(&self) -> (u64, u64) {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.id())).unwrap_or_default();
        let field = |name: &str| {
            let line = status.lines().find(|line| line.starts_with(name));
            line.and_then(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok())
                .unwrap_or(0)
                * 1024
        };
        (field("VmRSS:"), field("VmHWM:"))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.exit_status().is_none() {
            drop(self.child.kill());
            drop(self.child.wait());
        }
        self.readers.drain(..).for_each(|reader| drop(reader.join()));
        if thread::panicking() {
            let mut text = String::new();
            for line in self.said().lines() {
                let _ = writeln!(text, "    {line}");
            }
            eprintln!(
                "--- {} ({}) said:\n{text}",
                self.name,
                self.status.map_or("killed".into(), |s| s.to_string())
            );
        }
    }
}

impl Log {
    fn follow(self: &Arc<Self>, output: impl Read + Send + 'static) -> JoinHandle<()> {
        let log = Arc::clone(self);
        thread::spawn(move || {
            let mut output = BufReader::new(output);
            let mut line = Vec::new();
            while output.read_until(b'\n', &mut line).is_ok_and(|length| length > 0) {
                let text = String::from_utf8_lossy(&line).trim_end().to_owned();
                log.lines
                    .lock()
                    .expect("the log's lock is not poisoned")
                    .push(text);
                log.has_grown.notify_all();
                line.clear();
            }
        })
    }
}

/// What a program that ran to its end has given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ran {
    /// Exit code; none where a signal ended it.
    pub code: Option<i32>,
    /// Standard output.
    pub output: Vec<u8>,
    /// Standard error.
    pub errors: String,
}

impl Ran {
    /// Standard output as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.output).into_owned()
    }

    /// Standard output as JSON.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.output)
            .unwrap_or_else(|error| panic!("not JSON: {error}\n{}\n{}", self.text(), self.errors))
    }

    /// The same, where it ended with 0; panics with what it said where not.
    pub fn done(self) -> Self {
        assert_eq!(
            self.code,
            Some(0),
            "output:\n{}\nerrors:\n{}",
            self.text(),
            self.errors
        );
        self
    }
}

/// Runs a program to its end, with this on its standard input. Panics at the deadline.
pub fn run(command: &mut Command, input: &[u8], deadline: Duration) -> Ran {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("does not start: {error}: {command:?}"));
    let mut stdin = child.stdin.take().expect("standard input is piped");
    let input = input.to_vec();
    // A program that does not read its input closes it: that is its business.
    let writer = thread::spawn(move || drop(std::io::Write::write_all(&mut stdin, &input)));
    let output = collect(child.stdout.take().expect("standard output is piped"));
    let errors = collect(child.stderr.take().expect("standard error is piped"));
    let started = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait().expect("a child can be waited for") {
            break status;
        }
        if started.elapsed() > deadline {
            drop(child.kill());
            drop(child.wait());
            let errors = errors.join().unwrap_or_default();
            panic!(
                "waited {deadline:?} for the end of {command:?}; it said:\n{}",
                String::from_utf8_lossy(&errors)
            );
        }
        thread::sleep(Duration::from_millis(1));
    };
    drop(writer.join());
    Ran {
        code: status.code(),
        output: output.join().unwrap_or_default(),
        errors: String::from_utf8_lossy(&errors.join().unwrap_or_default()).into_owned(),
    }
}

fn collect(mut from: impl Read + Send + 'static) -> JoinHandle<Vec<u8>> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        drop(from.read_to_end(&mut bytes));
        bytes
    })
}

/// The environment of a program under test: this process's, without what would configure it.
pub fn clean_environment(command: &mut Command) {
    let ours: BTreeMap<_, _> = std::env::vars_os().collect();
    for name in ours
        .keys()
        .filter(|name| name.to_string_lossy().starts_with("SMARTMETER_"))
    {
        command.env_remove(name);
    }
    command.env("NO_COLOR", "1").env_remove("RUST_LOG");
}

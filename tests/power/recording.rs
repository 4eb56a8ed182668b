//! What a process did to the files under a folder, in order, as strace saw it.
//!
//! strace comes with every distribution and needs no rights that a process does not have over its own
//! children. It prints a system call when it begins and when it has ended, so that the recording knows
//! which writes a sync can have covered: those that had ended before it began.
//!
//! A call that could change a file unseen (a shared mapping, a copy inside the kernel) fails the
//! recording, so that nothing is taken for recorded that was not.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

/// A file or folder of the recording; [`ROOT`] is the folder that was recorded.
pub(crate) type Inode = usize;

/// The folder that was recorded.
pub(crate) const ROOT: Inode = 0;

/// A moment of the recording: what began or ended there. A power cut falls between two of them.
#[derive(Debug, Clone)]
pub(crate) enum Moment {
    /// A change has begun: from here on some of it may be on the disk.
    Begun(usize, Change),
    /// A change has ended: a sync that begins after this covers it.
    Ended(usize),
    /// A sync of this file or folder has begun.
    SyncBegun(usize, Inode),
    /// That sync has ended: what it covers is on the disk.
    SyncEnded(usize),
    /// The process has said this.
    Said(String),
}

/// A change of a file or of the names in a folder.
#[derive(Debug, Clone)]
pub(crate) enum Change {
    /// Bytes were written.
    Write {
        file: Inode,
        offset: u64,
        bytes: Arc<[u8]>,
    },
    /// The length was set: by truncating, or when an existing file was opened anew.
    Length { file: Inode, length: u64 },
    /// Names were given or taken, all or none of them: (folder, name, what it names from now on).
    Names(Vec<(Inode, String, Option<Inode>)>),
}

/// A recording.
#[derive(Debug)]
pub(crate) struct Recording {
    /// What happened, in order.
    pub(crate) moments: Vec<Moment>,
    /// What was under the folder before: the names of every folder, and the bytes of every file.
    pub(crate) before: Before,
    /// Which inodes are folders.
    pub(crate) folders: BTreeSet<Inode>,
}

impl Recording {
    /// The files that ever had this name.
    pub(crate) fn files_named(&self, wanted: &str) -> BTreeSet<Inode> {
        let before = self
            .before
            .names
            .iter()
            .map(|((_, name), inode)| (name, Some(*inode)));
        let changed = self.moments.iter().flat_map(|moment| match moment {
            Moment::Begun(_, Change::Names(names)) => names.as_slice(),
            _ => &[],
        });
        let changed = changed.map(|(_, name, inode)| (name, *inode));
        before
            .chain(changed)
            .filter(|(name, _)| *name == wanted)
            .filter_map(|(_, inode)| inode)
            .collect()
    }

    /// Most bytes that were written to a database and that no sync had covered, at any moment but while the queue was
    /// being opened: then sled fills with zeros what it will write over. A database that has no name yet does not
    /// count: cut off, it is thrown away.
    pub(crate) fn most_unsynced_bytes(&self) -> usize {
        let mut unsynced: HashMap<Inode, usize> = HashMap::new();
        let mut syncs: HashMap<usize, (Inode, usize)> = HashMap::new();
        let (mut most, mut is_opening) = (0, false);
        let (mut draft, mut draft_file) = (None, None);
        let databases = self.files_named("db");
        for moment in &self.moments {
            match moment {
                Moment::Begun(_, Change::Write { file, bytes, .. }) => {
                    let bytes_of_file = unsynced.entry(*file).or_default();
                    *bytes_of_file += bytes.len();
                    if databases.contains(file) && !is_opening && draft_file != Some(*file) {
                        most = most.max(*bytes_of_file);
                    }
                }
                Moment::Begun(_, Change::Names(names)) => {
                    for (folder, name, inode) in names {
                        if name == "sled-new" {
                            (draft, draft_file) = (*inode, None);
                        } else if name == "db" && draft == Some(*folder) {
                            draft_file = *inode;
                        }
                    }
                }
                Moment::SyncBegun(sync, file) => {
                    syncs.insert(*sync, (*file, unsynced.get(file).copied().unwrap_or_default()));
                }
                Moment::SyncEnded(sync) => {
                    if let Some((file, covered)) = syncs.remove(sync) {
                        let bytes_of_file = unsynced.entry(file).or_default();
                        *bytes_of_file = bytes_of_file.saturating_sub(covered);
                    }
                }
                Moment::Said(words) if words == "open" => is_opening = true,
                Moment::Said(words) if words.starts_with("opened ") => is_opening = false,
                _ => {}
            }
        }
        most
    }
}

/// The files and folders at the beginning of a recording, all of them durable.
#[derive(Debug, Default, Clone)]
pub(crate) struct Before {
    pub(crate) names: BTreeMap<(Inode, String), Inode>,
    pub(crate) files: BTreeMap<Inode, Vec<u8>>,
}

/// Runs a program under strace and records what it does under `root`. What it writes to the file `said`
/// is what it said. Its own output goes where this process's goes.
pub(crate) fn record(program: &mut Command, root: &Path, said: &Path, trace: &Path) -> Recording {
    let mut tracer = Tracer::new(root, said);
    let mut strace = Command::new("strace");
    strace
        .args([
            "-f",
            "--seccomp-bpf",
            "-qq",
            "-xx",
            "-s",
            "16777216",
            "-e",
            "signal=none",
        ])
        .args([
            "-e",
            &format!("trace={}", CALLS.map(|call| format!("?{call}")).join(",")),
        ])
        .arg("-o")
        .arg(trace)
        .arg("--")
        .arg(program.get_program())
        .args(program.get_args())
        .stdin(Stdio::null())
        .stdout(Stdio::null());
    for (name, value) in program.get_envs() {
        if let Some(value) = value {
            strace.env(name, value);
        }
    }
    let status = strace
        .status()
        .unwrap_or_else(|error| panic!("running strace, which tests/run installs: {error}"));
    assert!(
        status.success(),
        "the recorded process ended with {status}; what it did is in {}",
        trace.display()
    );
    let mut lines = BufReader::with_capacity(1 << 20, File::open(trace).unwrap());
    let mut line = Vec::new();
    while lines.read_until(b'\n', &mut line).unwrap() > 0 {
        tracer.take(std::str::from_utf8(&line).unwrap().trim_end());
        line.clear();
    }
    Recording {
        moments: tracer.moments,
        before: tracer.before,
        folders: tracer.folders,
    }
}

const CALLS: [&str; 35] = [
    "open",
    "openat",
    "creat",
    "close",
    "dup",
    "dup2",
    "dup3",
    "fcntl",
    "lseek",
    "write",
    "pwrite64",
    "writev",
    "pwritev",
    "pwritev2",
    "ftruncate",
    "truncate",
    "fallocate",
    "fsync",
    "fdatasync",
    "sync",
    "syncfs",
    "rename",
    "renameat",
    "renameat2",
    "link",
    "linkat",
    "unlink",
    "unlinkat",
    "mkdir",
    "mkdirat",
    "rmdir",
    "copy_file_range",
    "sendfile",
    "mmap",
    "symlinkat",
];

/// Follows the process: its open files and the names as it sees them.
struct Tracer {
    root: String,
    said: String,
    names: BTreeMap<(Inode, String), Inode>,
    before: Before,
    folders: BTreeSet<Inode>,
    inodes: usize,
    open: HashMap<i64, Open>,
    moments: Vec<Moment>,
    /// Calls that have begun and not ended, by thread: their text so far, and their number.
    unfinished: HashMap<String, (String, usize)>,
    next: usize,
}

#[derive(Clone, Copy)]
struct Open {
    what: What,
    /// Where the next `write` goes. Reading is not recorded, so that a file open for both has none.
    position: Option<u64>,
}

#[derive(Clone, Copy, PartialEq)]
enum What {
    Inode(Inode),
    Said,
}

impl Tracer {
    fn new(root: &Path, said: &Path) -> Self {
        let mut before = Before::default();
        let mut inodes = 1;
        let mut folders = BTreeSet::from([ROOT]);
        let mut unread = vec![(ROOT, root.to_owned())];
        while let Some((folder, path)) = unread.pop() {
            for entry in std::fs::read_dir(&path).unwrap() {
                let entry = entry.unwrap();
                let name = entry.file_name().into_string().unwrap();
                before.names.insert((folder, name), inodes);
                if entry.file_type().unwrap().is_dir() {
                    folders.insert(inodes);
                    unread.push((inodes, entry.path()));
                } else {
                    before.files.insert(inodes, std::fs::read(entry.path()).unwrap());
                }
                inodes += 1;
            }
        }
        Self {
            root: root.to_str().unwrap().to_owned(),
            said: said.to_str().unwrap().to_owned(),
            names: before.names.clone(),
            before,
            folders,
            inodes,
            open: HashMap::new(),
            moments: Vec::new(),
            unfinished: HashMap::new(),
            next: 0,
        }
    }

    /// Takes a line of strace's output.
    fn take(&mut self, line: &str) {
        let (thread, text) = line.split_once(' ').unwrap_or((line, ""));
        let text = text.trim_start();
        if text.starts_with("+++") || text.starts_with("---") {
            return;
        }
        if let Some(resumed) = text.strip_prefix("<... ") {
            let (begun, number) = self
                .unfinished
                .remove(thread)
                .expect("a call that resumes has begun");
            let (_, rest) = resumed.split_once(" resumed>").expect("a resumed call says so");
            self.ended(&format!("{begun}{rest}"), number);
            return;
        }
        let number = self.next;
        self.next += 1;
        match text.strip_suffix("<unfinished ...>") {
            Some(begun) => {
                let begun = begun.trim_end();
                self.begun(begun, number);
                self.unfinished
                    .insert(thread.to_owned(), (begun.to_owned(), number));
            }
            None => {
                self.begun(text, number);
                self.ended(text, number);
            }
        }
    }

    /// What a call changes is noted when it begins, if its text says all there is to know by then.
    fn begun(&mut self, text: &str, number: usize) {
        let (call, arguments) = split(text);
        match call {
            "write" | "writev" | "pwrite64" => {
                let Some(open) = self.open.get(&descriptor(&arguments)).copied() else {
                    return;
                };
                assert!(
                    call != "writev",
                    "the recorder does not follow: {}",
                    shortened(text)
                );
                let bytes = bytes_of(arguments[1]);
                match open.what {
                    What::Said => {
                        let words = String::from_utf8(bytes).unwrap();
                        self.moments
                            .extend(words.lines().map(|line| Moment::Said(line.to_owned())));
                    }
                    What::Inode(file) => {
                        let offset = if call == "write" {
                            let at = open
                                .position
                                .expect("a write goes to a place that the recorder knows");
                            let position = Some(at + bytes.len() as u64);
                            self.open.get_mut(&descriptor(&arguments)).unwrap().position = position;
                            at
                        } else {
                            arguments[3].parse().unwrap()
                        };
                        let bytes = bytes.into();
                        self.moments
                            .push(Moment::Begun(number, Change::Write { file, offset, bytes }));
                    }
                }
            }
            "ftruncate" => {
                if let Some(What::Inode(file)) = self.opened(&arguments) {
                    let length = arguments[1].parse().unwrap();
                    self.moments
                        .push(Moment::Begun(number, Change::Length { file, length }));
                }
            }
            "fsync" | "fdatasync" => {
                if let Some(What::Inode(inode)) = self.opened(&arguments) {
                    self.moments.push(Moment::SyncBegun(number, inode));
                }
            }
            "close" => {
                self.open.remove(&descriptor(&arguments));
            }
            _ => {}
        }
    }

    fn ended(&mut self, text: &str, number: usize) {
        let (call, arguments) = split(text);
        let (_, answer) = text.rsplit_once(" = ").unwrap_or(("", "?"));
        let answer: Option<i64> = answer.split(' ').next().and_then(|value| value.parse().ok());
        if answer.is_none() {
            // The process has ended in the middle of the call.
            return;
        }
        let is_ours = |tracer: &Self, text: &str| tracer.open.contains_key(&descriptor(&[text]));
        match call {
            "write" | "pwrite64" if is_ours(self, arguments[0]) => {
                let length = bytes_of(arguments[1]).len() as i64;
                assert_eq!(answer, Some(length), "a write was cut short: {}", shortened(text));
                self.moments.push(Moment::Ended(number));
            }
            "ftruncate" if is_ours(self, arguments[0]) => {
                assert_eq!(answer, Some(0), "{text}");
                self.moments.push(Moment::Ended(number));
            }
            "fsync" | "fdatasync" if is_ours(self, arguments[0]) => {
                assert_eq!(answer, Some(0), "{text}");
                self.moments.push(Moment::SyncEnded(number));
            }
            "open" | "openat" | "creat" => {
                let (folder, path, flags) = match call {
                    "openat" => (arguments[0], arguments[1], arguments[2]),
                    "open" => ("AT_FDCWD", arguments[0], arguments[1]),
                    _ => ("AT_FDCWD", arguments[0], "O_CREAT|O_WRONLY|O_TRUNC"),
                };
                if let Some(descriptor) = answer.filter(|&descriptor| descriptor >= 0) {
                    self.opens(descriptor, folder, path, flags, number);
                }
            }
            "dup" | "dup2" | "dup3" | "fcntl" => {
                let is_dup = call != "fcntl" || arguments[1].starts_with("F_DUPFD");
                if let (true, Some(open), Some(copy)) = (
                    is_dup,
                    self.open.get(&descriptor(&arguments)).copied(),
                    answer.filter(|&copy| copy >= 0),
                ) {
                    self.open.insert(copy, open);
                }
            }
            "mkdir" | "mkdirat" if answer == Some(0) => {
                let (folder, path) = at(call, &arguments, "mkdirat", 0);
                if let Some((folder, name)) = self.place(folder, path) {
                    let made = self.inode();
                    self.folders.insert(made);
                    self.names(number, vec![(folder, name, Some(made))]);
                }
            }
            "unlink" | "unlinkat" | "rmdir" if answer == Some(0) => {
                let (folder, path) = at(call, &arguments, "unlinkat", 0);
                if let Some((folder, name)) = self.place(folder, path) {
                    self.names(number, vec![(folder, name, None)]);
                }
            }
            "rename" | "renameat" | "renameat2" if answer == Some(0) => {
                let (from, to) = if call == "rename" {
                    (
                        self.place("AT_FDCWD", arguments[0]),
                        self.place("AT_FDCWD", arguments[1]),
                    )
                } else {
                    (
                        self.place(arguments[0], arguments[1]),
                        self.place(arguments[2], arguments[3]),
                    )
                };
                let Some((from, to)) = from.zip(to) else {
                    return;
                };
                let moved = self.names[&from];
                self.names(number, vec![(from.0, from.1, None), (to.0, to.1, Some(moved))]);
            }
            "lseek" => {
                if let (Some(open), Some(position)) = (self.open.get_mut(&descriptor(&arguments)), answer) {
                    open.position = open.position.and(u64::try_from(position).ok());
                }
            }
            "mmap" => {
                let is_followed = arguments.get(4).is_none_or(|text| !is_ours(self, text));
                assert!(
                    is_followed
                        || !(arguments[3].contains("MAP_SHARED") && arguments[2].contains("PROT_WRITE")),
                    "the recorder does not follow: {text}"
                );
            }
            "truncate" | "link" | "linkat" | "symlinkat" | "syncfs" | "sync" | "copy_file_range"
            | "sendfile" | "pwritev" | "pwritev2" | "fallocate" | "writev" => {
                let touches = is_ours(self, arguments.first().copied().unwrap_or_default())
                    || matches!(call, "sync" | "truncate" | "link" | "linkat" | "symlinkat");
                assert!(!touches, "the recorder does not follow: {}", shortened(text));
            }
            _ => {}
        }
    }

    fn opens(&mut self, descriptor: i64, folder: &str, path: &str, flags: &str, number: usize) {
        self.open.remove(&descriptor);
        if folder == "AT_FDCWD" && text_of(path) == self.said {
            self.open.insert(
                descriptor,
                Open {
                    what: What::Said,
                    position: Some(0),
                },
            );
            return;
        }
        if folder == "AT_FDCWD" && text_of(path) == self.root {
            self.open.insert(
                descriptor,
                Open {
                    what: What::Inode(ROOT),
                    position: Some(0),
                },
            );
            return;
        }
        let Some(place) = self.place(folder, path) else {
            return;
        };
        let is_followed = !flags
            .split('|')
            .any(|flag| matches!(flag, "O_SYNC" | "O_DSYNC" | "O_DIRECT" | "O_APPEND"));
        assert!(is_followed, "the recorder does not follow: {flags}");
        let file = match self.names.get(&place).copied() {
            Some(file) => {
                if flags.contains("O_TRUNC") {
                    self.moments
                        .push(Moment::Begun(number, Change::Length { file, length: 0 }));
                    self.moments.push(Moment::Ended(number));
                }
                file
            }
            None => {
                let file = self.inode();
                self.names(number, vec![(place.0, place.1, Some(file))]);
                file
            }
        };
        let position = (!flags.contains("O_RDWR")).then_some(0);
        self.open.insert(
            descriptor,
            Open {
                what: What::Inode(file),
                position,
            },
        );
    }

    fn opened(&self, arguments: &[&str]) -> Option<What> {
        self.open.get(&descriptor(arguments)).map(|open| open.what)
    }

    fn inode(&mut self) -> Inode {
        self.inodes += 1;
        self.inodes - 1
    }

    fn names(&mut self, number: usize, changes: Vec<(Inode, String, Option<Inode>)>) {
        for (folder, name, inode) in &changes {
            match inode {
                Some(inode) => self.names.insert((*folder, name.clone()), *inode),
                None => self.names.remove(&(*folder, name.clone())),
            };
        }
        self.moments.push(Moment::Begun(number, Change::Names(changes)));
        self.moments.push(Moment::Ended(number));
    }

    /// Folder and name that a path leads to; none outside the folder that is recorded.
    fn place(&self, folder: &str, path: &str) -> Option<(Inode, String)> {
        let path = text_of(path);
        let (mut folder, rest) = if path.starts_with('/') || folder == "AT_FDCWD" {
            (ROOT, path.strip_prefix(&self.root)?.strip_prefix('/')?.to_owned())
        } else {
            match self.open.get(&folder.parse().ok()?)?.what {
                What::Inode(folder) => (folder, path),
                What::Said => return None,
            }
        };
        let mut names: Vec<&str> = rest.split('/').filter(|name| !name.is_empty()).collect();
        let last = names.pop()?;
        for name in names {
            folder = *self.names.get(&(folder, name.to_owned()))?;
        }
        Some((folder, last.to_owned()))
    }
}

/// A call's name and its arguments.
fn split(text: &str) -> (&str, Vec<&str>) {
    let Some((call, rest)) = text.split_once('(') else {
        return (text, Vec::new());
    };
    let mut arguments = Vec::new();
    let mut from = 0;
    let mut depth = 0;
    let mut is_quoted = false;
    for (position, byte) in rest.bytes().enumerate() {
        match byte {
            b'"' => is_quoted = !is_quoted,
            _ if is_quoted => {}
            b'[' | b'{' | b'(' => depth += 1,
            b')' if depth == 0 => {
                arguments.push(rest[from..position].trim());
                return (call, arguments);
            }
            b']' | b'}' | b')' => depth -= 1,
            b',' if depth == 0 => {
                arguments.push(rest[from..position].trim());
                from = position + 1;
            }
            _ => {}
        }
    }
    arguments.push(rest[from..].trim());
    (call, arguments)
}

/// Folder and path of a call that has a form with a folder's descriptor and one without.
fn at<'a>(call: &str, arguments: &[&'a str], with_folder: &str, first: usize) -> (&'a str, &'a str) {
    if call == with_folder {
        (arguments[first], arguments[first + 1])
    } else {
        ("AT_FDCWD", arguments[first])
    }
}

fn descriptor(arguments: &[&str]) -> i64 {
    arguments.first().and_then(|text| text.parse().ok()).unwrap_or(-1)
}

fn text_of(argument: &str) -> String {
    String::from_utf8(bytes_of(argument)).unwrap_or_default()
}

/// The bytes of a string as strace prints it with `-xx`: `"\x41\x42"`.
fn bytes_of(argument: &str) -> Vec<u8> {
    let quoted = argument
        .strip_prefix('"')
        .and_then(|text| text.strip_suffix('"'))
        .unwrap_or_else(|| panic!("strace cut a string short: {}", shortened(argument)));
    let digit = |byte: u8| (byte as char).to_digit(16).expect("a hexadecimal digit") as u8;
    quoted
        .as_bytes()
        .chunks_exact(4)
        .map(|code| digit(code[2]) << 4 | digit(code[3]))
        .collect()
}

fn shortened(text: &str) -> &str {
    text.get(..200).unwrap_or(text)
}

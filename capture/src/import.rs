//! `capture import`: telegrams from files into a queue, its own or a running capture's.
//!
//! A file is read twice: once to know how far it has been imported already and how many telegrams it
//! holds, once to import the rest, part by part. Each part is durable before the next is sent, so an
//! import that is interrupted goes on where it was, and memory is that of one part.

pub mod chain;
pub mod known;
pub mod part;
pub mod present;
pub mod source;
pub mod taken;
pub mod timing;

use std::collections::VecDeque;
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use shared::commands::command;
use shared::config::{Config, CrcPolicy};
use shared::exit::Exit;
use shared::outside;
use shared::record::Record;
use shared::regular_file;
use shared::wire::client::{Append, Batch, Client, ClientError};
use shared::wire::{Imported, ImportedFile, Refusal};

use crate::clock;
use crate::export::REQUEST_TIMEOUT;
use crate::failure::Failure;
use crate::queue::{Queue, Salvage};
use crate::{run, words};
use chain::Chain;
use known::Beginning;
use part::{Import, PartError};
use source::{Entry, Item};
use taken::Taken;
use timing::Timing;

/// Where the telegrams go.
enum Target {
    Running(Client),
    Own {
        queue: Box<Queue>,
        taken: Taken,
        import: Box<Import>,
    },
}

/// Imports the files, into the running capture's queue with `append`, else into the one in `queue.path`,
/// which is made where it is not there. What was done is printed to `output`, a line a file.
///
/// # Errors
///
/// At the first file that cannot be read, or when the queue cannot take more; what was taken before stays.
pub fn import(
    config: &Config,
    files: &[PathBuf],
    append: bool,
    output: &mut dyn Write,
) -> Result<(), Failure> {
    // Before anything is opened or made: all of them can be read.
    for file in files {
        regular_file::open(file).map_err(|error| {
            let hint = match error.kind() {
                io::ErrorKind::InvalidInput => ", since import reads each file twice",
                _ => "",
            };
            Failure::failed(format!("cannot open {}: {error}{hint}", file.display()))
        })?;
    }
    let mut target = Target::open(config, append)?;
    let mut without = Vec::new();
    let imported: Result<(), Failure> = files.iter().try_for_each(|file| {
        let feed = Feed::File {
            path: file,
            policy: config.port.crc,
        };
        let summary = import_feed(&mut target, &feed)?;
        // Nobody may be left to be told; the import goes on.
        let _ = writeln!(output, "{summary}");
        if summary.taken == 0 && summary.known == 0 && summary.rejected > 0 {
            without.push(summary.name);
        }
        Ok(())
    });
    target.close()?;
    imported?;
    if without.is_empty() {
        Ok(())
    } else {
        Err(Failure::failed(format!(
            "no telegram in {}: expected a raw capture of a P1 port, or what `{}` printed",
            without.join(", "),
            command("capture export")
        )))
    }
}

/// What became of a file.
#[derive(Debug, Default)]
struct Summary {
    name: String,
    taken: u64,
    known: u64,
    rejected: u64,
    guessed: u64,
}

impl std::fmt::Display for Summary {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let name = outside::escaped(&self.name);
        write!(f, "{name}: {} taken", words::counted(self.taken, "telegram"))?;
        if self.known > 0 {
            write!(f, ", {} taken before", words::number(self.known))?;
        }
        if self.rejected > 0 {
            write!(
                f,
                ", {} rejected",
                words::counted_as(self.rejected, "stretch", "stretches")
            )?;
        }
        if self.guessed > 0 {
            write!(
                f,
                ", {} without a time dated by guess",
                words::number(self.guessed)
            )?;
        }
        Ok(())
    }
}

/// Why reading a file ended early.
enum Interrupted {
    Reading(io::Error),
    Target(Failure),
}

impl From<io::Error> for Interrupted {
    fn from(error: io::Error) -> Self {
        Self::Reading(error)
    }
}

/// Where entries come from: a file, or what is whole in a damaged database.
enum Feed<'a> {
    File {
        path: &'a Path,
        policy: CrcPolicy,
    },
    Damaged {
        folder: &'a Path,
        salvage: &'a Salvage,
        /// Stretches of sequences, both ends included, that the queue holds as they are: not wanted.
        held: &'a [(u64, u64)],
    },
}

impl Feed<'_> {
    fn path(&self) -> &Path {
        match self {
            Self::File { path, .. } => path,
            Self::Damaged { folder, .. } => folder,
        }
    }

    fn read<E: From<io::Error>>(&self, mut take: impl FnMut(Item) -> Result<(), E>) -> Result<(), E> {
        match self {
            Self::File { path, policy } => source::read(path, *policy, take),
            Self::Damaged { salvage, held, .. } => {
                for record in salvage.blocks().flatten() {
                    let place = held.partition_point(|(_, last)| *last < record.sequence);
                    if held
                        .get(place)
                        .is_some_and(|(first, _)| *first <= record.sequence)
                    {
                        continue;
                    }
                    take(Item::Telegram(Entry {
                        stated_at_us: Some(record.captured_at_us),
                        silence_ms: Some(record.silence_ms),
                        telegram: record.telegram.to_vec(),
                    }))?;
                }
                Ok(())
            }
        }
    }
}

fn import_feed(target: &mut Target, feed: &Feed<'_>) -> Result<Summary, Failure> {
    let path = feed.path();
    let unreadable = |error: io::Error| Failure::failed(format!("reading {}: {error}", path.display()));
    let name = path
        .file_name()
        .unwrap_or(path.as_os_str())
        .to_string_lossy()
        .into_owned();
    let mut summary = Summary {
        name: path.display().to_string(),
        ..Summary::default()
    };

    // How far it has been taken: the longest beginning of it that the queue knows.
    let mut beginning = Beginning::new(target.imports()?);
    feed.read(|item| {
        match item {
            Item::Telegram(entry) => beginning.push(entry.stated_at_us, &entry.telegram),
            Item::Rejected { place, reason } => {
                summary.rejected += 1;
                if summary.rejected <= MAX_NAMED_REJECTED {
                    tracing::warn!("{}, {place}: {reason}: not imported", path.display());
                }
            }
        }
        Ok::<(), io::Error>(())
    })
    .map_err(unreadable)?;
    let (whole, begun) = (beginning.whole(), beginning.longest());
    summary.known = begun.telegrams;

    let written_at = std::fs::metadata(path)
        .and_then(|metadata| metadata.modified())
        .ok();
    let written_at_us = written_at
        .and_then(|time| jiff::Timestamp::try_from(time).ok())
        .map_or_else(clock::now_us, |time| time.as_microsecond());
    let mut timing = Timing::new(written_at_us, whole.telegrams);
    let mut part = Append {
        source: name,
        offset: begun.telegrams,
        before: begun.digest,
        after: begun.digest,
        telegrams: Vec::new(),
    };
    let mut bytes = 0;
    let mut chain = Chain::default();
    let mut progress = Progress::new(path, begun.telegrams, whole.telegrams);
    let read = feed.read(|item| {
        let Item::Telegram(entry) = item else {
            return Ok(());
        };
        chain.push(entry.stated_at_us, &entry.telegram);
        let (captured_at_us, silence_ms) = timing.date(&entry);
        // What has come to the file since it was looked at is for another import.
        if chain.telegrams <= begun.telegrams || chain.telegrams > whole.telegrams {
            return Ok(());
        }
        bytes += entry.telegram.len();
        part.telegrams.push(Imported {
            captured_at_us,
            silence_ms,
            telegram: entry.telegram,
        });
        part.after = chain.digest;
        if bytes >= PART_BYTES || part.telegrams.len() >= PART_TELEGRAMS {
            bytes = 0;
            target
                .append(&mut part, &mut summary)
                .map_err(Interrupted::Target)?;
            progress.at(chain.telegrams);
        }
        Ok(())
    });
    let rest = match read {
        Ok(()) => target.append(&mut part, &mut summary),
        Err(Interrupted::Reading(error)) => Err(unreadable(error)),
        Err(Interrupted::Target(failure)) => Err(failure),
    };
    progress.over();
    summary.guessed = timing.guessed();
    rest.map_err(|failure| {
        let so_far = words::counted(part.offset, "telegram");
        Failure::new(
            failure.exit,
            format!(
                "{}: {failure} (taken so far: {so_far}; run it again to go on)",
                path.display()
            ),
        )
    })?;
    Ok(summary)
}

impl Target {
    fn open(config: &Config, append: bool) -> Result<Self, Failure> {
        if append {
            return Client::connect(&config.queue.socket, REQUEST_TIMEOUT)
                .map(Self::Running)
                .map_err(|error| match error {
                    ClientError::NoSocket { .. } | ClientError::NotServed { .. } => Failure::new(
                        Exit::TryAgain,
                        format!(
                            "--append needs a running capture: {error}; without --append the files go \
                                 into the queue in {}",
                            config.queue.path.display()
                        ),
                    ),
                    other => other.into(),
                });
        }
        let (queue, report) = run::open_queue(config).map_err(|failure| match failure.exit {
            Exit::TryAgain => Failure::new(
                Exit::TryAgain,
                format!("{failure}: with --append the running capture takes the files"),
            ),
            _ => failure,
        })?;
        run::tell(&report, &queue);
        let path = run::imports_file(config);
        let taken = Taken::open(&path, &mut queue.reader()).map_err(|error| {
            Failure::new(Exit::Storage, format!("cannot read {}: {error}", path.display()))
        })?;
        Ok(Self::Own {
            import: Box::new(Import::new(0, &queue)),
            queue: Box::new(queue),
            taken,
        })
    }

    fn imports(&mut self) -> Result<Vec<ImportedFile>, Failure> {
        match self {
            Self::Running(client) => Ok(when_not_busy(|| client.imports())?),
            Self::Own { taken, .. } => Ok(taken.files()),
        }
    }

    /// The next records of the queue from this sequence on; empty where there are none.
    fn read(&mut self, from: u64) -> Result<Vec<Record>, Failure> {
        match self {
            Self::Running(client) => match client.read(from, READ_BYTES, Duration::ZERO)? {
                Batch::Records { records, .. } => Ok(records),
                Batch::Idle { .. } => Ok(Vec::new()),
            },
            Self::Own { queue, .. } => queue
                .reader()
                .read(from, READ_BYTES as usize)
                .map(|batch| batch.records)
                .map_err(|error| Failure::new(Exit::Storage, format!("cannot read the queue: {error}"))),
        }
    }

    /// Sends the part and makes it the next, empty one; counts what became of its telegrams.
    fn append(&mut self, part: &mut Append, summary: &mut Summary) -> Result<(), Failure> {
        let next = Append {
            source: part.source.clone(),
            offset: part.offset + part.telegrams.len() as u64,
            before: part.after,
            after: part.after,
            telegrams: Vec::new(),
        };
        let appended = match self {
            Self::Running(client) => when_not_busy(|| client.append(part.clone()))?,
            Self::Own { queue, taken, import } => {
                let appended = loop {
                    match part::take(queue, taken, import, part) {
                        Ok(appended) => break appended,
                        Err(PartError::Looking) => {}
                        Err(error) => return Err(Failure::new(Exit::Storage, error.to_string())),
                    }
                };
                // Merging small blocks, and the bound on the size, also while nothing else goes on.
                while queue
                    .maintain(clock::now_us(), clock::uptime_us())
                    .map_err(|error| Failure::new(Exit::Storage, error.to_string()))?
                    .has_more
                {}
                appended
            }
        };
        summary.taken += appended.taken;
        summary.known += part.telegrams.len() as u64 - appended.taken;
        *part = next;
        Ok(())
    }

    fn close(self) -> Result<(), Failure> {
        match self {
            Self::Running(_) => Ok(()),
            Self::Own { queue, .. } => queue
                .close()
                .map_err(|error| Failure::new(Exit::Storage, format!("closing the queue: {error}"))),
        }
    }
}

/// Asks again while capture is busy with another import, or with looking at what the queue holds.
fn when_not_busy<T>(mut ask: impl FnMut() -> Result<T, ClientError>) -> Result<T, ClientError> {
    let mut is_told = false;
    loop {
        match ask() {
            Err(ClientError::Refused {
                refusal: Refusal::Busy,
                message,
            }) => {
                if !is_told {
                    tracing::info!("waiting: {message}");
                    is_told = true;
                }
                std::thread::sleep(BUSY_ROUND);
            }
            answered => return answered,
        }
    }
}

/// How long a capture that is busy is left in peace.
const BUSY_ROUND: Duration = Duration::from_millis(20);

/// A line on the terminal that tells how far it is.
struct Progress {
    name: String,
    from: u64,
    of: u64,
    started: Instant,
    shown_at: Option<Instant>,
    is_shown: bool,
}

impl Progress {
    fn new(path: &Path, from: u64, of: u64) -> Self {
        Self {
            name: path.display().to_string(),
            from,
            of,
            started: Instant::now(),
            shown_at: None,
            is_shown: io::stderr().is_terminal(),
        }
    }

    fn at(&mut self, telegrams: u64) {
        let is_time = self
            .shown_at
            .is_none_or(|at| at.elapsed() >= Duration::from_millis(500));
        if !self.is_shown || !is_time {
            return;
        }
        self.shown_at = Some(Instant::now());
        let rate = (telegrams - self.from) as f64 / self.started.elapsed().as_secs_f64().max(0.001);
        let (done, of) = (words::number(telegrams), words::counted(self.of, "telegram"));
        let _ = write!(
            io::stderr(),
            "\r{}: {done} of {of}, {rate:.0} a second ",
            outside::escaped(&self.name)
        );
    }

    fn over(&self) {
        if self.shown_at.is_some() {
            let _ = write!(io::stderr(), "\r\x1b[K");
        }
    }
}

/// Records read at a time, in bytes of telegrams.
const READ_BYTES: u32 = 256 * 1024;
/// Telegrams of one part, in bytes: well within a frame.
const PART_BYTES: usize = 256 * 1024;
/// Telegrams of one part.
const PART_TELEGRAMS: usize = 500;
/// Rejected stretches that are named; the rest is counted.
const MAX_NAMED_REJECTED: u64 = 20;

#[cfg(test)]
mod tests;

/// Brings back what is whole in a database that could not be opened: what the queue does not hold any
/// more is appended to it, under new sequences, with the times it had.
///
/// # Errors
///
/// Where nothing of it can be read, or the queue cannot take more.
pub fn damaged(config: &Config, folder: &Path, append: bool, output: &mut dyn Write) -> Result<(), Failure> {
    let salvage = Salvage::search(folder)
        .map_err(|error| Failure::failed(format!("cannot read {}: {error}", folder.display())))?;
    if salvage.is_empty() {
        let words = format!("nothing that is whole was found in {}", folder.display());
        return Err(Failure::failed(words));
    }
    let mut target = Target::open(config, append)?;
    let held = held(&mut target, &salvage)?;
    let feed = Feed::Damaged {
        folder,
        salvage: &salvage,
        held: &held,
    };
    let imported = import_feed(&mut target, &feed);
    target.close()?;
    let held: u64 = held.iter().map(|(first, last)| last - first + 1).sum();
    // Nobody may be left to be told.
    let _ = writeln!(
        output,
        "{} found, {} of them are in the queue as they were\n{}",
        words::counted(salvage.records(), "whole telegram"),
        words::number(held),
        imported?
    );
    Ok(())
}

/// The stretches of the salvaged records that the queue holds under the same sequences, in order.
fn held(target: &mut Target, salvage: &Salvage) -> Result<Vec<(u64, u64)>, Failure> {
    let mut held: Vec<(u64, u64)> = Vec::new();
    let mut kept: VecDeque<Record> = VecDeque::new();
    let mut is_all_read = false;
    for record in salvage.blocks().flatten() {
        while kept.front().is_some_and(|kept| kept.sequence < record.sequence) {
            kept.pop_front();
        }
        if kept.is_empty() && !is_all_read {
            kept = target.read(record.sequence)?.into();
            is_all_read = kept.is_empty();
        }
        if kept.front() == Some(&record) {
            match held.last_mut() {
                Some((_, last)) if *last + 1 == record.sequence => *last = record.sequence,
                _ => held.push((record.sequence, record.sequence)),
            }
        }
    }
    Ok(held)
}

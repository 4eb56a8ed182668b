//! `capture export`: stored telegrams on standard output, as they came or as JSON lines.
//!
//! ```text
//! raw     the telegrams byte for byte, one after the other
//! jsonl   {"sequence":7,"captured_at":"2026-11-20T08:00:00.123456Z","silence_ms":1000,"telegram":"/ISK…"}
//! ```
//!
//! In JSON every byte of a telegram is the character of that number (ISO 8859-1), since telegrams hold
//! bytes that are no text; so import gives back the very same bytes. `silence_ms` is there for the same
//! reason: intervals close on it, and no clock that jumps can tell it afterwards.
//!
//! Memory is that of one batch, however much is exported. An export that is interrupted, or that capture has
//! gone away from, has printed whole telegrams and says where to go on from: both parts together are the whole.

mod progress;

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use shared::config::Config;
use shared::exit::Exit;
use shared::moment::Moment;
use shared::outside;
use shared::record::Record;
use shared::wire::client::{Batch, Client, ClientError};

use crate::failure::Failure;
use crate::queue::{Queue, ReadError, Reader};
use crate::{run, words};
use progress::Progress;

/// How telegrams are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum Format {
    /// Byte for byte, one after the other.
    #[default]
    Raw,
    /// One JSON object a line.
    Jsonl,
}

/// One line of `jsonl`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    /// Sequence in the queue that it was exported from.
    #[serde(default)]
    pub sequence: Option<u64>,
    /// Capture's time, RFC 3339.
    pub captured_at: jiff::Timestamp,
    /// Silence before it, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub silence_ms: Option<u64>,
    /// Every byte as the character of that number.
    pub telegram: String,
}

/// What to export: half-open in time, both ends included in sequences.
#[derive(Debug, Clone, Copy, Default)]
pub struct Range {
    /// From this on; none is the oldest.
    pub from: Option<Moment>,
    /// Before this time, or up to and with this sequence; none is the newest.
    pub to: Option<Moment>,
}

/// Prints the range to `output`. A reader of it that goes away is no error.
///
/// # Errors
///
/// Where there is no queue, it cannot be read, `output` cannot be written, or it was interrupted by a signal.
pub fn export(config: &Config, range: Range, format: Format, output: impl Write) -> Result<(), Failure> {
    let is_interrupted = on_signals()
        .map_err(|error| Failure::new(Exit::TryAgain, format!("no handler for signals: {error}")))?;
    let mut output = io::BufWriter::with_capacity(64 * 1024, output);
    let mut source = Source::open(config)?;
    let copied = copy(&mut source, range, format, &mut output, &is_interrupted);
    source.close()?;
    match copied {
        Ok(()) => Ok(()),
        Err(CopyError::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        Err(CopyError::Output(error)) => Err(Failure::failed(format!("writing: {error}"))),
        Err(CopyError::Source(failure)) => Err(failure),
        Err(CopyError::Stopped { next, failure }) => {
            let (exit, words) = failure.map_or((Exit::TryAgain, "interrupted".to_owned()), |failure| {
                (failure.exit, failure.words)
            });
            Err(Failure::new(
                exit,
                format!("{words}: go on with --from \"#{next}\""),
            ))
        }
    }
}

/// A flag that the first SIGINT or SIGTERM sets. A second one ends the program at once: whoever reads the output
/// may have stopped doing so.
fn on_signals() -> io::Result<Arc<AtomicBool>> {
    let flag = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        signal_hook::flag::register_conditional_shutdown(signal, 128 + signal, Arc::clone(&flag))?;
        signal_hook::flag::register(signal, Arc::clone(&flag))?;
    }
    Ok(flag)
}

enum CopyError {
    Output(io::Error),
    Source(Failure),
    /// What was printed ends before `next`, by a signal or for this reason.
    Stopped {
        next: u64,
        failure: Option<Failure>,
    },
}

impl From<io::Error> for CopyError {
    fn from(error: io::Error) -> Self {
        Self::Output(error)
    }
}

impl From<Failure> for CopyError {
    fn from(failure: Failure) -> Self {
        Self::Source(failure)
    }
}

/// Copies the range. Damaged records are left out; `capture status` lists them.
fn copy(
    source: &mut Source,
    range: Range,
    format: Format,
    output: &mut impl Write,
    is_interrupted: &AtomicBool,
) -> Result<(), CopyError> {
    let mut next = match range.from {
        None => 1,
        Some(Moment::Sequence(sequence)) => sequence.max(1),
        Some(Moment::At { at_us }) => source.locate(at_us)?,
    };
    let last = match range.to {
        // What comes while this runs is not exported: it would never end.
        None => source.head()?,
        Some(Moment::Sequence(sequence)) => sequence,
        Some(Moment::At { at_us }) => source.locate(at_us)?.saturating_sub(1),
    };
    let first = next.max(source.locate(i64::MIN)?);
    let mut progress = Progress::new(first, last.min(source.head()?));
    while next <= last {
        let records = match source.read(next) {
            Ok(records) => records,
            Err(failure) => {
                output.flush()?;
                progress.end(next);
                let failure = Some(failure);
                return Err(CopyError::Stopped { next, failure });
            }
        };
        if records.is_empty() {
            break;
        }
        for record in records.iter().take_while(|record| record.sequence <= last) {
            if is_interrupted.load(Ordering::Relaxed) {
                output.flush()?;
                progress.end(next);
                return Err(CopyError::Stopped { next, failure: None });
            }
            print(record, format, output)?;
            next = record.sequence.saturating_add(1);
        }
        progress.show(next);
        if records.last().is_some_and(|record| record.sequence >= last) {
            break;
        }
    }
    output.flush()?;
    progress.end(next);
    Ok(())
}

/// A terminal that telegrams are shown on: what would act on it is escaped.
#[derive(Debug)]
pub struct Screen<W>(pub W);

impl<W: Write> Write for Screen<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write_all(words::telegram(bytes).as_bytes())?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

fn print(record: &Record, format: Format, output: &mut impl Write) -> io::Result<()> {
    match format {
        Format::Raw => output.write_all(&record.telegram),
        Format::Jsonl => {
            let line = serde_json::to_string(&Line::from(record))?;
            output.write_all(outside::escaped_json(&line).as_bytes())?;
            output.write_all(b"\n")
        }
    }
}

impl From<&Record> for Line {
    fn from(record: &Record) -> Self {
        Self {
            sequence: Some(record.sequence),
            // A clock cannot have shown what is out of range.
            captured_at: jiff::Timestamp::from_microsecond(record.captured_at_us).unwrap_or_default(),
            silence_ms: Some(record.silence_ms),
            telegram: record.telegram.iter().map(|&byte| char::from(byte)).collect(),
        }
    }
}

/// Where the records come from: a running capture, or its folder.
enum Source {
    Socket(Client),
    Folder {
        /// Held open while it is read, so that no capture starts on it meanwhile.
        queue: Box<Queue>,
        reader: Reader,
    },
}

impl Source {
    fn open(config: &Config) -> Result<Self, Failure> {
        if let Some(client) = running_capture(config)? {
            return Ok(Self::Socket(client));
        }
        let queue = existing_queue(config)?;
        let reader = queue.reader();
        Ok(Self::Folder {
            queue: Box::new(queue),
            reader,
        })
    }

    fn head(&mut self) -> Result<u64, Failure> {
        match self {
            Self::Socket(client) => Ok(client.locate(i64::MAX)?.head),
            Self::Folder { reader, .. } => Ok(reader.head()),
        }
    }

    fn locate(&mut self, at_us: i64) -> Result<u64, Failure> {
        match self {
            Self::Socket(client) => Ok(client.locate(at_us)?.sequence),
            Self::Folder { reader, .. } => reader.locate(at_us).map_err(|error| unreadable(&error)),
        }
    }

    /// The next records from this sequence on; empty where there are none.
    fn read(&mut self, from: u64) -> Result<Vec<Record>, Failure> {
        match self {
            Self::Socket(client) => match client.read(from, BATCH_BYTES, Duration::ZERO)? {
                Batch::Records { records, .. } => Ok(records),
                Batch::Idle { .. } => Ok(Vec::new()),
            },
            Self::Folder { reader, .. } => match reader.read(from, BATCH_BYTES as usize) {
                Ok(batch) => Ok(batch.records),
                Err(error) => Err(unreadable(&error)),
            },
        }
    }

    /// Notes that a folder was closed in order.
    fn close(self) -> Result<(), Failure> {
        match self {
            Self::Socket(_) => Ok(()),
            Self::Folder { queue, .. } => queue
                .close()
                .map_err(|error| Failure::new(Exit::Storage, format!("closing the queue: {error}"))),
        }
    }
}

fn unreadable(error: &ReadError) -> Failure {
    Failure::new(Exit::Storage, format!("cannot read the queue: {error}"))
}

/// A session with the capture that serves the configured queue; none where no capture runs, or where the
/// one that does serves another queue than the one in the configured folder.
///
/// # Errors
///
/// Where capture runs and the session cannot be had.
pub fn running_capture(config: &Config) -> Result<Option<Client>, Failure> {
    match Client::connect(&config.queue.socket, REQUEST_TIMEOUT) {
        Ok(client) => {
            let stored = std::fs::read_to_string(config.queue.path.join("identity")).unwrap_or_default();
            let is_other = !stored.trim().is_empty() && stored.trim() != client.queue();
            Ok((!is_other).then_some(client))
        }
        Err(ClientError::NoSocket { .. } | ClientError::NotServed { .. }) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// The queue in the configured folder, which must be there already.
///
/// # Errors
///
/// Where it is not, or cannot be opened.
pub fn existing_queue(config: &Config) -> Result<Queue, Failure> {
    require_queue(config)?;
    let (queue, report) = run::open_queue(config)?;
    run::tell(&report, &queue);
    Ok(queue)
}

/// That there is a queue in the configured folder.
///
/// # Errors
///
/// Where there is none.
pub fn require_queue(config: &Config) -> Result<(), Failure> {
    run::expect_folder(&config.queue.path).map_err(Failure::failed)?;
    if !config.queue.path.join("mark").exists() && !config.queue.path.join("sled").exists() {
        return Err(Failure::failed(format!(
            "there is no queue in {}, and no capture serves {}: give --queue or --socket",
            config.queue.path.display(),
            config.queue.socket.display()
        )));
    }
    Ok(())
}

/// How long capture may take for an answer.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);

/// Telegrams read at a time, in bytes.
const BATCH_BYTES: u32 = 256 * 1024;

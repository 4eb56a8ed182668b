//! From the port to the queue's thread: bytes become accepted telegrams with the time of their last byte,
//! over a bounded channel.
//!
//! ```text
//! port ──bytes──► intake's thread (assembler) ──Arrived──► bounded channel ──► the queue's thread
//! ```
//!
//! Invariant: a telegram that was accepted is in the channel or was taken from it, never dropped.
//! When the queue's thread falls behind, the reader waits, and the operating system's buffers behind it.
//! A peer at `tcp://` that sends much more than a meter is read at the rate of `budget`.
//! Rejected stretches are counted, and the last few are kept, within a bound.

mod budget;
mod ledger;
mod outages;
mod reader;
mod rejections;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread::JoinHandle;

use serde::{Deserialize, Serialize};
use shared::config::PortConfig;
use shared::wire::RejectedStretch;

use crate::port::Line;
use crate::port::stop::Stop;
use ledger::Ledger;
use reader::Reader;

/// What intake sends to the queue's thread, in the order of the stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Arrived {
    /// A telegram was accepted.
    Telegram(AcceptedTelegram),
    /// Something was learnt that is worth keeping across restarts: all that is known now. Persist it
    /// when convenient; a lost one is learnt again.
    Learnt(Memory),
    /// The file or standard input has been read to its end: no telegram follows. With `--once` capture
    /// ends when all of them are durable; otherwise it goes on serving.
    Ended,
    /// The file or standard input cannot be read, for this reason in words: nothing follows. With `--once`
    /// capture ends with an error; otherwise it goes on serving what it has.
    Unreadable(String),
}

/// A telegram and the moment of its last byte.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AcceptedTelegram {
    /// The system's clock, in microseconds since 1970-01-01T00:00:00Z.
    pub captured_at_us: i64,
    /// The time since boot (`CLOCK_BOOTTIME`: does not jump, counts suspend), in microseconds.
    pub uptime_us: u64,
    /// The telegram byte for byte.
    pub telegram: Vec<u8>,
}

/// What was learnt about the meter and its line, for the next start.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Memory {
    /// The setting at which the serial line last gave a valid telegram.
    pub line: Option<Line>,
    /// Identification lines of the meters that have sent a CRC: of these no telegram without one is taken.
    pub meters_with_crc: BTreeSet<Vec<u8>>,
}

/// What intake says of itself for `capture status`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct IntakeStatus {
    /// The port as configured: `/dev/ttyUSB0`, `tcp://host:port`, `file:PATH`.
    pub port: String,
    /// The port's state in words: `open at 115200-8N1`, `waiting: permission denied …`.
    pub port_state: String,
    /// Telegrams accepted since the start.
    pub accepted: u64,
    /// Stretches rejected since the start, by reason.
    pub rejected: BTreeMap<String, u64>,
    /// The last few rejected stretches, newest last.
    pub recently_rejected: Vec<RejectedStretch>,
    /// Milliseconds since the last telegram was accepted; none before the first.
    pub last_telegram_age_ms: Option<u64>,
}

/// Takes what intake accepts.
pub type Take = Box<dyn FnMut(Arrived) -> Result<(), NobodyTakes> + Send>;

/// Nobody takes what intake accepts any more: it ends.
#[derive(Debug)]
pub struct NobodyTakes;

/// How the words of a port's state begin while it is tried again and again; what is wrong follows.
pub const WAITING: &str = "waiting: ";

/// The running intake thread.
#[derive(Debug)]
pub struct Intake {
    stop: Stop,
    ledger: Ledger,
    thread: JoinHandle<()>,
}

impl Intake {
    /// Starts reading `port`. `memory` is what [`Arrived::Learnt`] last handed out, or the default.
    /// Telegrams, and what was learnt, come from the receiver; when it is dropped, intake ends.
    ///
    /// # Errors
    ///
    /// Where the operating system gives no thread. A port that cannot be opened is no error: intake says
    /// so and tries again.
    pub fn start(port: PortConfig, memory: Memory) -> std::io::Result<(Self, Receiver<Arrived>)> {
        let (sender, receiver) = sync_channel(CHANNEL_TELEGRAMS);
        let take = move |arrived| sender.send(arrived).map_err(|_| NobodyTakes);
        Ok((Self::start_into(port, memory, Box::new(take))?, receiver))
    }

    /// As [`Self::start`], giving everything to `take`, in intake's own thread. It is dropped when intake ends.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub fn start_into(port: PortConfig, memory: Memory, take: Take) -> std::io::Result<Self> {
        let stop = Stop::new()?;
        let ledger = Ledger::new(port.address.to_string());
        let reader = Reader::new(port, memory, take, ledger.clone(), stop.clone());
        let thread = std::thread::Builder::new()
            .name("intake".to_owned())
            .spawn(move || reader.run())?;
        Ok(Self { stop, ledger, thread })
    }

    /// How it is doing now.
    #[must_use]
    pub fn status(&self) -> IntakeStatus {
        self.ledger.status()
    }

    /// Asks it to stop: within 200 ms the receiver finds the channel closed, after what was accepted
    /// before. Does not wait.
    pub fn stop(&self) {
        self.stop.ask();
    }

    /// Waits until it has stopped. The receiver must be dropped or read until closed meanwhile, since a
    /// full channel makes intake wait. Whether it ended in order: not by a panic.
    pub fn join(self) -> bool {
        self.thread.join().is_ok()
    }
}

/// How many telegrams may wait for the queue's thread before reading waits: 4 MiB of the longest.
const CHANNEL_TELEGRAMS: usize = 256;

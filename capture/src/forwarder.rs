//! Between intake and the keeper: hands on what intake accepts.
//!
//! What a meter sends goes straight to the keeper, in intake's thread: waking another one costs more than all that it
//! would do. What comes from a file is handed on by a thread that can wait.
//!
//! Of a regular file it passes over what the queue has taken before, so that a capture that is started
//! again and again takes the file in once. For that it reads the beginning of the file itself, as far as
//! anything that is remembered can reach. What is not a regular file has no memory.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender};
use std::thread::JoinHandle;
use std::time::Duration;

use shared::config::{CrcPolicy, PortAddress, PortConfig};
use shared::wire::ImportedFile;

use crate::import::chain::Chain;
use crate::import::known::Beginning;
use crate::import::source::{self, Item};
use crate::intake::{Arrived, NobodyTakes, Take};
use crate::keeper::{Gate, Message};
use crate::shutdown::Stop;
use crate::words;

/// A regular file that is read as the port.
#[derive(Debug)]
pub struct PortFile {
    path: PathBuf,
    policy: CrcPolicy,
}

impl PortFile {
    /// The port's file, where it is a regular one.
    pub fn of(port: &PortConfig) -> Option<Self> {
        match &port.address {
            PortAddress::File(path) if path.is_file() => Some(Self {
                path: path.clone(),
                policy: port.crc,
            }),
            _ => None,
        }
    }

    fn name(&self) -> String {
        let name = self.path.file_name().unwrap_or(self.path.as_os_str());
        name.to_string_lossy().into_owned()
    }

    /// The longest beginning of it that is known; none where capture is stopping.
    fn known(&self, files: Vec<ImportedFile>, is_stopping: &AtomicBool) -> io::Result<Option<Chain>> {
        let mut beginning = Beginning::new(files);
        if beginning.is_over() {
            return Ok(Some(beginning.longest()));
        }
        let read = source::read_raw(&self.path, self.policy, |item| {
            if is_stopping.load(Ordering::Relaxed) {
                return Err(Enough::Stopping);
            }
            if let Item::Telegram(entry) = item {
                beginning.push(None, &entry.telegram);
            }
            if beginning.is_over() {
                return Err(Enough::Over);
            }
            Ok(())
        });
        match read {
            Ok(()) | Err(Enough::Over) => Ok(Some(beginning.longest())),
            Err(Enough::Stopping) => Ok(None),
            Err(Enough::Unreadable(error)) => Err(error),
        }
    }
}

/// Why reading ahead ended.
enum Enough {
    Over,
    Stopping,
    Unreadable(io::Error),
}

impl From<io::Error> for Enough {
    fn from(error: io::Error) -> Self {
        Self::Unreadable(error)
    }
}

/// What is between intake and the keeper.
#[derive(Debug)]
pub struct Forwarder {
    /// To the keeper.
    pub messages: SyncSender<Message>,
    /// Shut while the keeper has no room.
    pub gate: Gate,
    /// Told where intake ends by itself.
    pub stop: SyncSender<Stop>,
    /// Capture is stopping: nothing is read ahead any more.
    pub is_stopping: Arc<AtomicBool>,
}

impl Forwarder {
    /// Hands on everything without a thread. The keeper is told when this is dropped, as intake does at its end.
    pub fn directly(self) -> Take {
        let ends = OnEnd(self);
        Box::new(move |arrived| {
            let sent = ends.0.messages.send(Message::Arrived(arrived));
            sent.map_err(|_| NobodyTakes)
        })
    }

    fn ended(&self, is_in_order: bool) {
        // Where the keeper is gone, or capture is stopping already, nobody needs to know.
        let _ = self.messages.send(Message::IntakeEnded);
        if !is_in_order {
            let _ = self.stop.try_send(Stop::Fault("intake"));
        }
    }

    /// Starts it as a thread. `file` is the port's, with the files that the queue remembers.
    ///
    /// # Errors
    ///
    /// Where the operating system gives no thread.
    pub fn start(
        self,
        arrivals: Receiver<Arrived>,
        file: Option<(PortFile, Vec<ImportedFile>)>,
    ) -> io::Result<JoinHandle<()>> {
        std::thread::Builder::new()
            .name("forwarder".to_owned())
            .spawn(move || {
                let is_in_order = match file {
                    Some((file, files)) => self.forward_file(arrivals, &file, files),
                    None => self.forward(arrivals),
                };
                self.ended(is_in_order.is_ok());
            })
    }

    /// Hands on everything. `Err` where it ended without a word.
    fn forward(&self, arrivals: impl IntoIterator<Item = Arrived>) -> Result<(), EndedByItself> {
        let mut is_read_to_its_end = false;
        for arrived in arrivals {
            is_read_to_its_end |= matches!(arrived, Arrived::Ended | Arrived::Unreadable(_));
            while self.gate.is_shut() {
                std::thread::sleep(GATE_ROUND);
            }
            if self.messages.send(Message::Arrived(arrived)).is_err() {
                return Ok(());
            }
        }
        if is_read_to_its_end {
            Ok(())
        } else {
            Err(EndedByItself)
        }
    }

    /// Hands on what is new in the file.
    fn forward_file(
        &self,
        arrivals: Receiver<Arrived>,
        file: &PortFile,
        files: Vec<ImportedFile>,
    ) -> Result<(), EndedByItself> {
        let path = file.path.display();
        let unreadable = |words: String| self.forward([Arrived::Unreadable(words)]);
        let known = match file.known(files, &self.is_stopping) {
            Ok(Some(known)) => known,
            Ok(None) => return Ok(()),
            Err(error) => {
                tracing::warn!("cannot read {path}: {error}");
                return unreadable(format!("cannot read {path}: {error}"));
            }
        };
        if known.telegrams > 0 {
            let count = words::counted(known.telegrams, "telegram");
            tracing::info!("{path}: {count} taken before");
        }
        let begins = Message::FileBegins {
            source: file.name(),
            taken: known,
        };
        if self.messages.send(begins).is_err() {
            return Ok(());
        }
        // What a file teaches of its meters is not kept for another port.
        let mut arrivals = arrivals
            .into_iter()
            .filter(|arrived| !matches!(arrived, Arrived::Learnt(_)));
        let mut passed = Chain::default();
        while passed.telegrams < known.telegrams {
            match arrivals.next() {
                Some(Arrived::Telegram(telegram)) => passed.push(None, &telegram.telegram),
                Some(other) => return self.forward([other].into_iter().chain(arrivals)),
                None => return Err(EndedByItself),
            }
        }
        if passed != known {
            let words = format!("{path} was changed while it was read: start capture again");
            tracing::error!("{words}");
            return unreadable(words);
        }
        self.forward(arrivals)
    }
}

/// Tells that intake has ended, also where it panicked. A meter's port is never read to its end.
struct OnEnd(Forwarder);

impl Drop for OnEnd {
    fn drop(&mut self) {
        self.0.ended(false);
    }
}

/// Intake has ended before the port was read to its end: it was stopped, or by a fault.
struct EndedByItself;

/// How often a shut gate is looked at.
const GATE_ROUND: Duration = Duration::from_millis(20);

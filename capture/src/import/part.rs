//! A part of a file goes into a queue: durable as a whole, and no telegram of it a second time.
//!
//! Two things tell what has been taken: how far this very file has been ([`Taken`]), which holds when the queue has
//! let go of its telegrams and when they state no time; and what the queue holds ([`Present`]), wherever that came
//! from. One import goes on at a time, so that neither changes under it.

use std::time::Duration;

use shared::commands::command;
use shared::outside::quoted;
use shared::wire::client::{Append, Appended};
use shared::wire::{Digest, Refusal};
use thiserror::Error;

use super::present::Present;
use super::taken::{Part, Taken, Verdict};
use crate::queue::{AppendError, FlushError, MAX_TELEGRAM_BYTES, Queue, ReadError};

/// Why a part was not taken. Where that is for want of room or of a working disk, it may still become
/// durable later; an import that is run again finds out.
#[derive(Debug, Error)]
pub enum PartError {
    /// A telegram is longer than any.
    #[error("telegram of {bytes} bytes exceeds the limit of {MAX_TELEGRAM_BYTES}")]
    TooLarge {
        /// Its length.
        bytes: usize,
    },
    /// What came before it in its file has not been taken.
    #[error(
        "the {offset} telegrams of {} before these have not been imported into this queue",
        quoted(source_name)
    )]
    Unfounded {
        /// How many came before.
        offset: u64,
        /// The file.
        source_name: String,
    },
    /// The queue cannot be written.
    #[error(
        "the queue cannot be written: {0}; import again when `{status}` shows no trouble",
        status = command("capture status")
    )]
    Storage(#[from] FlushError),
    /// The queue has no room for them in memory.
    #[error(
        "the queue takes no telegrams: {0}; import again when `{status}` shows no trouble",
        status = command("capture status")
    )]
    Append(#[from] AppendError),
    /// What the queue holds has not been looked at whole yet: the same part again goes on with that.
    #[error("it is looked at what the queue holds already")]
    Looking,
    /// It cannot be looked at what the queue holds.
    #[error(
        "the queue cannot be read: {0}; import again when `{status}` shows no trouble",
        status = command("capture status")
    )]
    Read(#[from] ReadError),
    /// What has been imported cannot be written down.
    #[error("cannot write down what has been imported: {0}")]
    Taken(std::io::Error),
}

impl PartError {
    /// What a session is told.
    pub fn refusal(&self) -> Refusal {
        match self {
            Self::TooLarge { .. } | Self::Unfounded { .. } => Refusal::Invalid,
            Self::Looking => Refusal::Busy,
            Self::Storage(_) | Self::Append(_) | Self::Read(_) | Self::Taken(_) => Refusal::Storage,
        }
    }
}

/// An import under way.
#[derive(Debug)]
pub struct Import {
    /// Tells it from another: the session's number.
    pub number: u64,
    /// What the queue held when the file was begun.
    pub present: Present,
    /// What came before the next part of the file.
    before: Option<(u64, Digest)>,
}

impl Import {
    /// An import of this number into the queue.
    pub fn new(number: u64, queue: &Queue) -> Self {
        Self {
            number,
            present: Present::new(queue.reader()),
            before: None,
        }
    }

    /// A file begins, or goes on, behind so many telegrams of this digest.
    pub fn begin(&mut self, offset: u64, before: Digest, taken: &Taken) {
        if self.before != Some((offset, before)) {
            self.present.begin(taken.stretches(before));
            self.before = Some((offset, before));
        }
    }
}

/// Takes what is new of a part. What else waits in the queue's memory becomes durable with it.
///
/// # Errors
///
/// As [`PartError`] says.
pub fn take(
    queue: &mut Queue,
    taken: &mut Taken,
    import: &mut Import,
    append: &Append,
) -> Result<Appended, PartError> {
    let count = append.telegrams.len() as u64;
    let known = append.offset.saturating_add(count);
    if append.telegrams.is_empty() {
        return Ok(Appended {
            taken: 0,
            known: append.offset,
        });
    }
    if let Some(large) = append
        .telegrams
        .iter()
        .find(|one| one.telegram.len() > MAX_TELEGRAM_BYTES)
    {
        return Err(PartError::TooLarge {
            bytes: large.telegram.len(),
        });
    }
    // From here on nothing waits in the queue's memory, so the part's records come next, as one.
    queue.flush()?;
    taken.settle(queue.head()).map_err(PartError::Taken)?;
    let part = Part {
        import: import.number,
        source: &append.source,
        offset: append.offset,
        before: append.before,
        count,
        after: append.after,
    };
    match taken.judge(&part) {
        Verdict::Take => {}
        Verdict::Known => return Ok(Appended { taken: 0, known }),
        Verdict::Unfounded => {
            return Err(PartError::Unfounded {
                offset: append.offset,
                source_name: append.source.clone(),
            });
        }
    }
    import.begin(append.offset, append.before, taken);
    if !import.present.look(LOOK)? {
        return Err(PartError::Looking);
    }
    let mut new = Vec::new();
    for imported in &append.telegrams {
        if !import
            .present
            .holds(Some(imported.captured_at_us), &imported.telegram)?
        {
            new.push(imported);
        }
    }
    let first_telegram = new.first().map_or(&[][..], |first| &first.telegram);
    taken
        .begin(&part, queue.head(), first_telegram)
        .map_err(PartError::Taken)?;
    for imported in &new {
        queue.append_imported(imported)?;
    }
    queue.flush()?;
    // They are durable: should this fail, the queue tells at the next start.
    taken.settle(queue.head()).map_err(PartError::Taken)?;
    import.before = Some((known, append.after));
    Ok(Appended {
        taken: new.len() as u64,
        known,
    })
}

/// How long it is looked at what the queue holds before something else has its turn.
pub const LOOK: Duration = Duration::from_millis(50);

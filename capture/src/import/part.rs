//! A part of a file goes into a queue: durable as a whole, and not a second time.

use shared::wire::Refusal;
use shared::wire::client::{Append, Appended};
use thiserror::Error;

use super::taken::{Part, Taken, Verdict};
use crate::queue::{AppendError, FlushError, MAX_TELEGRAM_BYTES, Queue};

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
    #[error("the {offset} telegrams of {source_name} before these have not been imported into this queue")]
    Unfounded {
        /// How many came before.
        offset: u64,
        /// The file.
        source_name: String,
    },
    /// The queue cannot be written.
    #[error("the queue cannot be written: {0}; import again when `capture status` shows no trouble")]
    Storage(#[from] FlushError),
    /// The queue has no room for them in memory.
    #[error("the queue takes no telegrams: {0}; import again when `capture status` shows no trouble")]
    Append(#[from] AppendError),
    /// What has been imported cannot be written down.
    #[error("cannot write down what has been imported: {0}")]
    Taken(std::io::Error),
}

impl PartError {
    /// What a session is told.
    pub fn refusal(&self) -> Refusal {
        match self {
            Self::TooLarge { .. } | Self::Unfounded { .. } => Refusal::Invalid,
            Self::Storage(_) | Self::Append(_) | Self::Taken(_) => Refusal::Storage,
        }
    }
}

/// Takes a part, unless it has been taken already. What else waits in the queue's memory becomes durable
/// with it. `import` tells imports that run at the same time apart.
///
/// # Errors
///
/// As [`PartError`] says.
pub fn take(
    queue: &mut Queue,
    taken: &mut Taken,
    import: u64,
    append: &Append,
) -> Result<Appended, PartError> {
    let count = append.telegrams.len() as u64;
    let known = append.offset.saturating_add(count);
    let Some(first) = append.telegrams.first() else {
        return Ok(Appended {
            taken: 0,
            known: append.offset,
        });
    };
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
    taken.settle().map_err(PartError::Taken)?;
    let part = Part {
        import,
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
    taken
        .begin(&part, queue.head(), &first.telegram)
        .map_err(PartError::Taken)?;
    for imported in &append.telegrams {
        queue.append_imported(imported)?;
    }
    queue.flush()?;
    // They are durable: should this fail, the queue tells at the next start.
    taken.settle().map_err(PartError::Taken)?;
    Ok(Appended { taken: count, known })
}

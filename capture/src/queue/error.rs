//! Why the queue did not do what it was asked to, an enumeration for each operation.

use std::io;
use std::path::{Path, PathBuf};

use shared::commands::command;
use shared::outside::quoted;
use thiserror::Error;

use super::MAX_BUFFERED_BYTES;
use super::MAX_TELEGRAM_BYTES;
use super::mark::{MAX_CONSUMER_NAME_BYTES, MAX_CONSUMERS, VERSION};
use super::store::StoreError;

/// Why a queue could not be opened. Nothing of it is open afterwards.
#[derive(Debug, Error)]
pub enum OpenError {
    /// Another process has the queue open.
    #[error("the queue {path} is in use by another process", path = path.display())]
    Locked {
        /// The queue's folder.
        path: PathBuf,
    },
    /// A later version of this program has written it. Nothing in the folder has been touched.
    #[error(
        "the queue {path} was written by a newer version of capture (its format is {found}, this version \
         knows 1 to {VERSION})",
        path = path.display()
    )]
    Later {
        /// The queue's folder.
        path: PathBuf,
        /// The format's version.
        found: u8,
    },
    /// Something else has a name of the queue's. Nothing in the folder has been touched.
    #[error("{path} {found}", path = path.display())]
    NotOwn {
        /// What has the name.
        path: PathBuf,
        /// What it is, and what is expected.
        found: String,
    },
    /// The system refuses: no room, no permission, read-only.
    #[error("{action} {path}: {source}", path = path.display())]
    System {
        /// What was tried.
        action: &'static str,
        /// With what.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The database cannot be opened, for a reason that is not in its contents.
    #[error(transparent)]
    Storage(#[from] StoreError),
}

/// What the system refused, as [`OpenError::System`].
pub(super) fn system(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> OpenError {
    let path = path.to_owned();
    move |source| OpenError::System { action, path, source }
}

/// Why a telegram was not taken. The queue is as it was.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum AppendError {
    /// It is larger than any meter's.
    #[error("telegram of {bytes} bytes exceeds the limit of {MAX_TELEGRAM_BYTES}")]
    TooLarge {
        /// Its length.
        bytes: usize,
    },
    /// Telegrams cannot be made durable at present, and as many as fit wait already.
    #[error("{buffered} bytes of telegrams wait for the disk already, the limit is {MAX_BUFFERED_BYTES}")]
    Full {
        /// Bytes that wait.
        buffered: usize,
    },
}

/// Why a flush failed. Its records stay in memory, invisible, and the next flush writes them again.
#[derive(Debug, Error)]
pub enum FlushError {
    /// The database failed. It is closed, and opened again by a later flush.
    #[error(transparent)]
    Storage(#[from] StoreError),
    /// The mark cannot be written.
    #[error("writing {path}: {source}", path = path.display())]
    Mark {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The queue is out of order, and it is too early to try again.
    #[error("{trouble}; trying again in {seconds} s")]
    Waiting {
        /// What is wrong.
        trouble: String,
        /// Seconds until the next try.
        seconds: u64,
    },
}

/// Why a consumer could not be registered, moved or forgotten. Nothing has changed.
#[derive(Debug, Error)]
pub enum ConsumerError {
    /// The name is empty, too long or holds control characters.
    #[error(
        "a consumer's name has 1 to {MAX_CONSUMER_NAME_BYTES} bytes and no control characters: {:?}",
        quoted(name)
    )]
    Name {
        /// The name.
        name: String,
    },
    /// There are as many consumers as there may be.
    #[error(
        "there are {MAX_CONSUMERS} consumers already: `{}` removes one that is gone",
        command("capture forget NAME")
    )]
    TooMany,
    /// There is no consumer of that name.
    #[error("there is no consumer {:?}", quoted(name))]
    Unknown {
        /// The name.
        name: String,
    },
    /// The sequence has not been made durable yet.
    #[error("sequence {sequence} is beyond the head, {head}")]
    BeyondHead {
        /// The sequence asked for.
        sequence: u64,
        /// The head.
        head: u64,
    },
    /// It could not be made durable.
    #[error(transparent)]
    Storage(#[from] FlushError),
}

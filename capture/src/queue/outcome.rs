//! What the queue is asked for and what it answers, as values.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use shared::wire::Loss;

use super::own_files;

/// How to open a queue.
#[derive(Debug, Clone)]
pub struct QueueOptions {
    /// The queue's folder. Made where it does not exist.
    pub path: PathBuf,
    /// Bound on the folder's size on disk, in bytes.
    pub max_size_bytes: u64,
    /// How long committed records are kept; none is for ever.
    pub retention: Option<Duration>,
    /// Which start of the machine this is.
    pub boot_id: [u8; 16],
    /// How long opening the database may take before it counts as damaged.
    pub open_patience: Duration,
    /// How long after a failure the database is opened again.
    pub retry_interval: Duration,
    /// Bytes that are left free on the disk.
    pub reserve_free_bytes: u64,
    /// Whether a folder that is found to be a copy gets a new identity. Off unless asked for, since a copy also
    /// stands for what a crash leaves behind.
    pub is_copy_renewed: bool,
    /// Whether the socket lies in the folder, so that its group must reach it.
    pub has_socket: bool,
}

impl QueueOptions {
    /// The defaults of the configuration for a folder, on this machine.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            max_size_bytes: 1 << 30,
            retention: Some(Duration::from_secs(7 * 86_400)),
            boot_id: current_boot_id(),
            open_patience: Duration::from_secs(300),
            retry_interval: super::recovery::RETRY_INTERVAL,
            reserve_free_bytes: 2 * 1024 * 1024,
            is_copy_renewed: false,
            has_socket: false,
        }
    }

    /// Of the queue's folder when it is made.
    pub(super) fn folder_mode(&self) -> u32 {
        if self.has_socket {
            own_files::FOLDER_WITH_SOCKET_MODE
        } else {
            own_files::FOLDER_MODE
        }
    }
}

/// When a telegram came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Arrival {
    /// The system's clock, in microseconds since 1970-01-01T00:00:00Z.
    pub captured_at_us: i64,
    /// The clock that does not jump and counts from the start of the machine, in microseconds.
    pub uptime_us: u64,
}

/// What was found when the queue was opened.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OpenReport {
    /// Whether the folder is new.
    pub is_new: bool,
    /// The identity before, if the folder is a copy and has got a new one.
    pub renewed: Option<String>,
    /// Records that are kept.
    pub records: u64,
    /// Blocks that were not whole and are gone.
    pub damaged_blocks: u64,
    /// Where a database that could not be opened was moved to, and why.
    pub moved_aside: Option<(PathBuf, String)>,
    /// Records that were brought back from what was damaged.
    pub restored_records: u64,
    /// What was found lost or left out, each noted in the status too.
    pub losses: Vec<Loss>,
}

/// What a flush did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Flushed {
    /// Records that are durable and visible now and were not before.
    pub records: u64,
    /// Highest durable sequence.
    pub head: u64,
}

/// What a step of maintenance did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Maintained {
    /// Blocks merged into larger ones.
    pub merged_blocks: u64,
    /// Records removed because every consumer had them and they were old.
    pub trimmed_records: u64,
    /// Records removed because of the bound on the size before some consumer had them.
    pub lost_records: u64,
    /// Whether there is more to do at once.
    pub has_more: bool,
}

/// What came from the meter since the queue was opened, and is durable.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Accepted {
    /// How many telegrams.
    pub telegrams: u64,
    /// When the last of them came, by the clock of [`Arrival::uptime_us`].
    pub last_uptime_us: Option<u64>,
}

/// How the queue is doing.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct QueueStatus {
    /// Identity of the folder.
    pub identity: String,
    /// Lowest sequence kept; one more than the head in an empty queue.
    pub tail: u64,
    /// Highest durable sequence; 0 in an empty queue.
    pub head: u64,
    /// Bytes that the records take by the queue's own account.
    pub live_bytes: u64,
    /// Bytes of the folder on disk.
    pub disk_bytes: u64,
    /// The bound on the folder's size.
    pub max_size_bytes: u64,
    /// The consumers' cursors.
    pub cursors: BTreeMap<String, u64>,
    /// What was lost, oldest first.
    pub losses: Vec<Loss>,
    /// What keeps the queue from taking telegrams at present, in words.
    pub trouble: Option<String>,
    /// Telegrams that wait to be made durable, in bytes.
    pub buffered_bytes: u64,
    /// Telegrams refused because too many waited already.
    pub refused: u64,
    /// What has been accepted since the start.
    pub accepted: Accepted,
    /// Damaged databases beside the present one.
    pub damaged: Vec<PathBuf>,
}

/// Which start of the machine this is; zeros where the system does not tell.
pub fn current_boot_id() -> [u8; 16] {
    let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let digits: Vec<u8> = text
        .chars()
        .filter_map(|digit| digit.to_digit(16))
        .map(|digit| digit as u8)
        .collect();
    let mut id = [0; 16];
    for (byte, pair) in id.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = pair.iter().fold(0, |value, digit| value << 4 | digit);
    }
    id
}

//! What a session is at, as the thread that accepts connections sees it while the session's own thread goes on.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use super::places::Stage;
use crate::clock;

/// What a session is at, and since when.
#[derive(Debug)]
pub struct Activity {
    /// Milliseconds of uptime, and in the two lowest bits the stage.
    since: AtomicU64,
    has_given_up_place: AtomicBool,
}

impl Default for Activity {
    /// A guest from now on.
    fn default() -> Self {
        Self {
            since: AtomicU64::new(packed(Stage::Guest)),
            has_given_up_place: AtomicBool::new(false),
        }
    }
}

impl Activity {
    /// The session is at this from now on.
    pub fn is_at(&self, stage: Stage) {
        self.since.store(packed(stage), Ordering::Relaxed);
    }

    /// What the session is at, and for how long it has been.
    pub fn stage(&self, now: Duration) -> (Stage, Duration) {
        let since = self.since.load(Ordering::Relaxed);
        let stage = match since & 3 {
            GUEST => Stage::Guest,
            RESTING => Stage::Resting,
            QUEUED => Stage::Queued,
            _ => Stage::Busy,
        };
        (stage, now.saturating_sub(Duration::from_millis(since >> 2)))
    }

    /// The session ends, since another client needs its place.
    pub fn give_up_place(&self) {
        self.has_given_up_place.store(true, Ordering::Relaxed);
    }

    /// Whether it does.
    pub fn has_given_up_place(&self) -> bool {
        self.has_given_up_place.load(Ordering::Relaxed)
    }
}

fn packed(stage: Stage) -> u64 {
    let now_ms = u64::try_from(clock::uptime().as_millis()).unwrap_or(u64::MAX >> 2);
    let stage = match stage {
        Stage::Guest => GUEST,
        Stage::Resting => RESTING,
        Stage::Queued => QUEUED,
        Stage::Busy => BUSY,
    };
    (now_ms << 2) | stage
}

const GUEST: u64 = 0;
const RESTING: u64 = 1;
const QUEUED: u64 = 2;
const BUSY: u64 = 3;

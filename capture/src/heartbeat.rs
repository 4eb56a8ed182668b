//! Whether the keeper still goes round. Its database may wait for ever inside a call, and a thread cannot be freed from
//! that, only the process: it ends, and what manages it (a container engine, systemd) starts it again.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// When the keeper last began a round, by a clock that stands still while the machine sleeps.
#[derive(Debug, Clone)]
pub struct Heartbeat {
    since: Instant,
    beat_ms: Arc<AtomicU64>,
}

impl Heartbeat {
    /// One that has just begun.
    pub fn begin() -> Self {
        Self {
            since: Instant::now(),
            beat_ms: Arc::default(),
        }
    }

    /// A round begins.
    pub fn beat(&self) {
        self.beat_ms.store(self.now_ms(), Ordering::Relaxed);
    }

    /// How long ago that was.
    pub fn age(&self) -> Duration {
        Duration::from_millis(self.now_ms().saturating_sub(self.beat_ms.load(Ordering::Relaxed)))
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.since.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

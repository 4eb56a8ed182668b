//! Whether the keeper still goes round. Its database may wait for ever inside a call, and a thread cannot be freed from
//! that, only the process: it ends, and what manages it (a container engine, systemd) starts it again.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Counts the keeper's rounds.
#[derive(Debug, Clone, Default)]
pub struct Heartbeat(Arc<AtomicU64>);

impl Heartbeat {
    /// A round begins.
    pub fn beat(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    /// How many have begun.
    pub fn count(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

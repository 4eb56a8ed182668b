//! What intake says of itself: shared with whoever asks for the status. The lock is held for a copy only.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use shared::telegram::assembler::Rejected;
use shared::wire::RejectedStretch;

use super::IntakeStatus;
use crate::clock;

/// How many rejected stretches are kept, and how many bytes of each: a few whole telegrams as they came.
const KEPT_STRETCHES: usize = 5;
const KEPT_BYTES: usize = 4096;

/// The counts and the port's state.
#[derive(Debug, Clone)]
pub(super) struct Ledger(Arc<Mutex<Entries>>);

#[derive(Debug)]
struct Entries {
    status: IntakeStatus,
    last_telegram: Option<Duration>,
}

impl Ledger {
    pub(super) fn new(port: String) -> Self {
        let status = IntakeStatus {
            port,
            port_state: "not open yet".to_owned(),
            ..IntakeStatus::default()
        };
        Self(Arc::new(Mutex::new(Entries {
            status,
            last_telegram: None,
        })))
    }

    pub(super) fn status(&self) -> IntakeStatus {
        let entries = self.entries();
        let age = entries.last_telegram.map(|at| clock::uptime().saturating_sub(at));
        let last_telegram_age_ms = age.map(|age| u64::try_from(age.as_millis()).unwrap_or(u64::MAX));
        IntakeStatus {
            last_telegram_age_ms,
            ..entries.status.clone()
        }
    }

    pub(super) fn port_is(&self, state: String) {
        self.entries().status.port_state = state;
    }

    pub(super) fn accepted(&self, uptime: Duration) {
        let mut entries = self.entries();
        entries.status.accepted += 1;
        entries.last_telegram = Some(uptime);
    }

    pub(super) fn rejected(&self, rejected: &Rejected, at_us: i64) {
        let status = &mut self.entries().status;
        let name = rejected.reason.name();
        match status.rejected.get_mut(name) {
            Some(count) => *count += 1,
            None => drop(status.rejected.insert(name.to_owned(), 1)),
        }
        if status.recently_rejected.len() >= KEPT_STRETCHES {
            status.recently_rejected.remove(0);
        }
        let meaning = rejected
            .meaning()
            .map_or_else(String::new, |words| format!("; {words}"));
        let reason = format!("{name}: {}{meaning}", rejected.reason);
        let bytes = rejected.bytes.iter().copied().take(KEPT_BYTES).collect();
        status
            .recently_rejected
            .push(RejectedStretch { at_us, reason, bytes });
    }

    /// What a thread left behind that panicked is whole: each entry is written at once.
    fn entries(&self) -> MutexGuard<'_, Entries> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

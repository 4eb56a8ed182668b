//! The bells of all readers that have one, rung when the head rises and when the queue closes.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use shared::bell::Bell;

#[derive(Debug, Default)]
pub(super) struct Bells {
    hung: Mutex<Vec<Weak<Bell>>>,
}

impl Bells {
    /// Another one, until it is dropped.
    pub(super) fn hang(&self) -> io::Result<Arc<Bell>> {
        let bell = Arc::new(Bell::new()?);
        self.lock().push(Arc::downgrade(&bell));
        Ok(bell)
    }

    /// Rings all of them.
    pub(super) fn ring(&self) {
        self.lock().retain(|bell| {
            let bell = bell.upgrade();
            if let Some(bell) = &bell {
                bell.ring();
            }
            bell.is_some()
        });
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Weak<Bell>>> {
        self.hung.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

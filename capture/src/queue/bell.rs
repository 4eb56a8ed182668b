//! Bells: files that readers poll beside their client's socket, to learn that the queue has grown.
//!
//! A reader that waited on a condition variable alone would have to look at its client every so often, and that
//! would be most of what capture does all day.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use rustix::event::EventfdFlags;

/// The bells of all readers that have one.
#[derive(Debug, Default)]
pub(super) struct Bells {
    hung: Mutex<Vec<Weak<OwnedFd>>>,
}

impl Bells {
    /// Another one, until it is dropped.
    pub(super) fn hang(&self) -> io::Result<Bell> {
        let file = rustix::event::eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        let file = Arc::new(file);
        self.lock().push(Arc::downgrade(&file));
        Ok(Bell { file })
    }

    /// Rings all of them.
    pub(super) fn ring(&self) {
        self.lock().retain(|bell| {
            let Some(file) = bell.upgrade() else { return false };
            // One that has rung four thousand million times and was never silenced is readable all the same.
            let _ = rustix::io::write(&*file, &1_u64.to_ne_bytes());
            true
        });
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Weak<OwnedFd>>> {
        self.hung.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Readable from when it rings until it is silenced. It rings when the head rises and when the queue closes.
#[derive(Debug)]
pub struct Bell {
    file: Arc<OwnedFd>,
}

impl Bell {
    /// Silences it. Whoever then looks at the queue and finds nothing new can poll it and miss nothing.
    pub fn silence(&self) {
        let mut count = [0; 8];
        // An error is that it has not rung.
        let _ = rustix::io::read(&*self.file, &mut count);
    }
}

impl AsFd for Bell {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

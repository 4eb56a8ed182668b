//! Asking the intake thread to stop, so that it notices within any wait.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::io::Errno;

/// A request to stop, shared between who asks and who waits. Once asked, it stays so.
#[derive(Debug, Clone)]
pub struct Stop(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    is_asked: AtomicBool,
    /// Readable from the moment of asking on.
    event: OwnedFd,
}

impl Stop {
    /// Nobody has asked yet.
    ///
    /// # Errors
    ///
    /// Where the process has no file descriptor left.
    pub fn new() -> std::io::Result<Self> {
        let event = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        Ok(Self(Arc::new(Shared {
            is_asked: AtomicBool::new(false),
            event,
        })))
    }

    /// Asks.
    pub fn ask(&self) {
        self.0.is_asked.store(true, Ordering::SeqCst);
        // It can fail only where it has been asked 2^64 times.
        let _ = rustix::io::write(&self.0.event, &1u64.to_ne_bytes());
    }

    /// Whether it has been asked.
    #[must_use]
    pub fn is_asked(&self) -> bool {
        self.0.is_asked.load(Ordering::SeqCst)
    }

    /// Waits so long, or until asked. Whether it has been asked.
    pub fn wait(&self, longest: Duration) -> bool {
        let until = Instant::now() + longest;
        while !self.is_asked() {
            let left = until.saturating_duration_since(Instant::now());
            let timeout = Timespec::try_from(left).ok();
            match poll(&mut [PollFd::new(self, PollFlags::IN)], timeout.as_ref()) {
                Err(Errno::INTR) => {}
                _ => break,
            }
        }
        self.is_asked()
    }
}

impl AsFd for Stop {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.event.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_waits_is_woken_and_who_comes_later_does_not_wait() {
        let stop = Stop::new().expect("an event");
        assert!(!stop.wait(Duration::from_millis(1)));
        let asked = stop.clone();
        let waiting = std::thread::spawn(move || asked.wait(Duration::from_secs(3600)));
        stop.ask();
        assert!(waiting.join().expect("it ends"));
        assert!(stop.wait(Duration::from_secs(3600)));
    }
}

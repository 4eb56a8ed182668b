//! A bell: a file that one thread rings and another polls, beside whatever else it waits for.
//!
//! Who waits for two things at once, a message of another thread and a peer on a socket, would otherwise have to look
//! at one of them every so often, and that would be most of what these programs do all day.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::event::EventfdFlags;

/// Readable from when it rings until it is silenced.
#[derive(Debug)]
pub struct Bell {
    file: OwnedFd,
}

impl Bell {
    /// One that does not ring.
    ///
    /// # Errors
    /// Where the system has no more files for this process.
    pub fn new() -> io::Result<Self> {
        let file = rustix::event::eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        Ok(Self { file })
    }

    /// Rings it.
    pub fn ring(&self) {
        // It fails only where it has rung 2^64 times without being silenced, and is readable then.
        let _ = rustix::io::write(&self.file, &1_u64.to_ne_bytes());
    }

    /// Silences it. Who then looks at what it rings for and finds nothing can poll it and miss nothing.
    pub fn silence(&self) {
        let mut count = [0; 8];
        // An error is that it has not rung.
        let _ = rustix::io::read(&self.file, &mut count);
    }
}

impl AsFd for Bell {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

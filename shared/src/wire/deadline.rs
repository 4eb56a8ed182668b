//! A socket that is used until a moment and not beyond, however slowly the other side reads or writes: a
//! time-out per call would let a peer that sends a byte every few seconds hold a session for ever.

use std::io::{Error, ErrorKind, Read, Result, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

/// A stream with a deadline for all that is read and written through it.
#[derive(Debug)]
pub struct Deadline<'a> {
    stream: &'a UnixStream,
    end: Instant,
}

impl<'a> Deadline<'a> {
    /// The stream from now on for as long as `limit`.
    pub fn new(stream: &'a UnixStream, limit: Duration) -> Self {
        Self {
            stream,
            end: Instant::now() + limit,
        }
    }

    fn left(&self) -> Result<Duration> {
        let left = self.end.saturating_duration_since(Instant::now());
        if left.is_zero() { Err(late()) } else { Ok(left) }
    }
}

impl Read for Deadline<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize> {
        self.stream.set_read_timeout(Some(self.left()?))?;
        (&mut &*self.stream).read(buffer).map_err(name_lateness)
    }
}

impl Write for Deadline<'_> {
    fn write(&mut self, bytes: &[u8]) -> Result<usize> {
        self.stream.set_write_timeout(Some(self.left()?))?;
        (&mut &*self.stream).write(bytes).map_err(name_lateness)
    }

    fn flush(&mut self) -> Result<()> {
        Ok(())
    }
}

/// The system calls an elapsed time-out "resource temporarily unavailable".
fn name_lateness(error: Error) -> Error {
    if error.kind() == ErrorKind::WouldBlock {
        late()
    } else {
        error
    }
}

fn late() -> Error {
    Error::new(ErrorKind::TimedOut, "the other side took too long")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_that_sends_a_byte_at_a_time_does_not_move_the_deadline() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let drip = std::thread::spawn(move || {
            while theirs.write_all(b"x").is_ok() {
                std::thread::sleep(Duration::from_millis(5));
            }
        });
        let started = Instant::now();
        let error = Deadline::new(&ours, Duration::from_millis(100))
            .read_exact(&mut [0; 4096])
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TimedOut, "{error}");
        assert!(started.elapsed() >= Duration::from_millis(100));
        drop(ours);
        drip.join().unwrap();
    }

    #[test]
    fn a_peer_that_does_not_read_ends_the_writing() {
        let (ours, _theirs) = UnixStream::pair().unwrap();
        let much = vec![0; 16 * 1024 * 1024];
        let error = Deadline::new(&ours, Duration::from_millis(100))
            .write_all(&much)
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TimedOut, "{error}");
    }
}

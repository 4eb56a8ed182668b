//! Threads whose waits may end late.
//!
//! sled starts seven threads for its writes, each of which waits for work a second at a time, for as long as the
//! process lives: seven wake-ups a second from cold caches. At a telegram a second, with a flush every ten, that was two fifths of what
//! both programs took. What ends such a wait in time is work; that it ends at all without any means nothing. So they are
//! started where the kernel may be late by [`SLACK`]: a thread takes that over from the one that starts it.

use std::num::NonZeroU64;
use std::time::Duration;

use rustix::thread::set_current_timer_slack;

/// By how much a wait may end late. The kernel counts it in nanoseconds, in 32 bits on a small machine.
const SLACK: Duration = Duration::from_secs(if usize::BITS > 32 { 60 } else { 4 });

/// Runs `work`; the waits of all threads that it starts may end late from then on.
pub(super) fn with_late_threads<T>(work: impl FnOnce() -> T) -> T {
    // Where the system refuses, all is as it was without.
    let _ = set_current_timer_slack(u64::try_from(SLACK.as_nanos()).ok().and_then(NonZeroU64::new));
    // Also where sled panics.
    let _in_time = InTime;
    work()
}

/// Ends the waits of this thread in time again when it is dropped.
struct InTime;

impl Drop for InTime {
    fn drop(&mut self) {
        let _ = set_current_timer_slack(None);
    }
}

#[cfg(test)]
mod tests {
    use std::io::ErrorKind;

    use super::super::{Change, Store};
    use super::*;

    #[test]
    fn a_thread_that_is_started_within_may_be_late_and_this_one_not() {
        let own = || slack_ns(&rustix::thread::gettid().to_string()).unwrap();
        let before = own();
        let within = with_late_threads(|| std::thread::spawn(own)).join();
        assert_eq!(within.unwrap(), SLACK.as_nanos());
        assert_eq!(own(), before);
        assert_ne!(before, SLACK.as_nanos());
    }

    #[test]
    fn the_threads_of_sled_may_be_late() {
        let folder = tempfile::tempdir().unwrap();
        let opened = Store::open(folder.path(), Duration::from_secs(60)).unwrap();
        let change = Change {
            cursors: vec![("mqtt".to_owned(), 1)],
            ..Change::default()
        };
        opened.store.write(&change).unwrap();
        let mut looked_at = 0;
        for task in std::fs::read_dir("/proc/self/task").unwrap().flatten() {
            let name = std::fs::read_to_string(task.path().join("comm")).unwrap_or_default();
            if name.starts_with("sled-io") {
                match slack_ns(&task.file_name().to_string_lossy()) {
                    Ok(slack) => assert_eq!(slack, SLACK.as_nanos()),
                    Err(error) => {
                        assert_eq!(error.kind(), ErrorKind::PermissionDenied);
                        println!("not shown: only root sees it of another thread");
                    }
                }
                looked_at += 1;
            }
        }
        assert!(looked_at > 0, "sled has no threads of that name");
    }

    fn slack_ns(thread: &str) -> std::io::Result<u128> {
        let text = std::fs::read_to_string(format!("/proc/{thread}/timerslack_ns"))?;
        Ok(text.trim().parse().unwrap())
    }
}

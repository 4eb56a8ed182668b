//! Waiting for something that can be observed, with a deadline that says what was seen instead.

use std::thread;
use std::time::{Duration, Instant};

/// Long enough for anything that happens at once on a machine that is busy with other tests.
pub const SOON: Duration = Duration::from_secs(30);

/// Waits until `look` gives a value. Until then it gives what it saw, which the panic at the deadline
/// prints.
pub fn wait_for<T>(what: &str, deadline: Duration, mut look: impl FnMut() -> Result<T, String>) -> T {
    let started = Instant::now();
    loop {
        match look() {
            Ok(value) => return value,
            Err(seen) if started.elapsed() >= deadline => {
                panic!("waited {deadline:?} for {what}; last seen: {seen}")
            }
            Err(_) => thread::sleep(LOOK_AGAIN),
        }
    }
}

/// Waits until `is_so`, where there is nothing to tell in between.
pub fn wait_until(what: &str, deadline: Duration, mut is_so: impl FnMut() -> bool) {
    wait_for(what, deadline, || {
        if is_so() { Ok(()) } else { Err("not so".to_owned()) }
    });
}

const LOOK_AGAIN: Duration = Duration::from_millis(5);

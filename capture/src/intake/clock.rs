//! The two clocks: the system's, which may jump, and the time since boot, which does not.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// The system's clock, in microseconds since 1970-01-01T00:00:00Z.
pub(super) fn now_us() -> i64 {
    let now = clock_gettime(ClockId::Realtime);
    now.tv_sec
        .saturating_mul(1_000_000)
        .saturating_add(now.tv_nsec / 1000)
}

/// The time since boot, suspend included.
pub(super) fn uptime() -> Duration {
    let now = clock_gettime(ClockId::Boottime);
    Duration::new(
        now.tv_sec.try_into().unwrap_or_default(),
        now.tv_nsec.try_into().unwrap_or_default(),
    )
}

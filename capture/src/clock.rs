//! The two clocks of a record: the system's, which a person understands and which jumps, and the time
//! since boot, which does neither.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// The system's clock, in microseconds since 1970-01-01T00:00:00Z. Machines without a battery clock boot
/// into the past, and it may be set back at any time.
pub fn now_us() -> i64 {
    let now = clock_gettime(ClockId::Realtime);
    now.tv_sec
        .saturating_mul(1_000_000)
        .saturating_add(now.tv_nsec / 1000)
}

/// The time since boot (`CLOCK_BOOTTIME`): never set, never slewed back, counts suspend.
pub fn uptime() -> Duration {
    let now = clock_gettime(ClockId::Boottime);
    Duration::new(
        now.tv_sec.try_into().unwrap_or_default(),
        now.tv_nsec.try_into().unwrap_or_default(),
    )
}

/// [`uptime`] in microseconds.
pub fn uptime_us() -> u64 {
    u64::try_from(uptime().as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uptime_never_goes_back() {
        let mut last = uptime_us();
        assert!(last > 0);
        for _ in 0..1000 {
            let next = uptime_us();
            assert!(next >= last, "{next} after {last}");
            last = next;
        }
    }
}

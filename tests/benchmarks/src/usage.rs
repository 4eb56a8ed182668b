//! What a process has used, as the kernel tells it.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// A process's counters at a moment.
#[derive(Debug, Clone, Copy, Default)]
pub struct Usage {
    /// Time on a processor, user and system, of the threads that there are.
    pub cpu: Duration,
    /// Bytes that it has caused to be sent to a disk. File systems without one count none.
    pub written_bytes: u64,
    /// Resident memory.
    pub resident_bytes: u64,
    /// Resident memory at its highest.
    pub peak_resident_bytes: u64,
}

impl Usage {
    /// Of another process.
    pub fn of(id: u32) -> Self {
        Self {
            cpu: cpu_of(id),
            ..Self::without_cpu(PathBuf::from(format!("/proc/{id}")))
        }
    }

    /// Of this process.
    pub fn own() -> Self {
        let cpu = clock_gettime(ClockId::ProcessCPUTime);
        Self {
            cpu: Duration::new(cpu.tv_sec as u64, cpu.tv_nsec as u32),
            ..Self::without_cpu(PathBuf::from("/proc/self"))
        }
    }

    fn without_cpu(process: PathBuf) -> Self {
        Self {
            cpu: Duration::ZERO,
            written_bytes: number_after(&process.join("io"), "write_bytes:"),
            resident_bytes: number_after(&process.join("status"), "VmRSS:") * 1024,
            peak_resident_bytes: number_after(&process.join("status"), "VmHWM:") * 1024,
        }
    }

    /// Time on a processor since then, in microseconds for each of so many.
    pub fn cpu_us_each(&self, since: &Self, count: u64) -> f64 {
        self.cpu.saturating_sub(since.cpu).as_secs_f64() * 1e6 / count as f64
    }

    /// Bytes written since then for each of so many.
    pub fn written_each(&self, since: &Self, count: u64) -> f64 {
        self.written_bytes.saturating_sub(since.written_bytes) as f64 / count as f64
    }
}

/// The kernel's clock ticks are 10 ms, as much as a hundred telegrams take; the scheduler counts nanoseconds for
/// each thread. Threads that have ended are missing: sessions, not what telegrams go through.
fn cpu_of(id: u32) -> Duration {
    let threads = fs::read_dir(format!("/proc/{id}/task"))
        .into_iter()
        .flatten()
        .flatten();
    let nanoseconds = threads.filter_map(|thread| {
        let text = fs::read_to_string(thread.path().join("schedstat")).ok()?;
        text.split_whitespace().next()?.parse::<u64>().ok()
    });
    Duration::from_nanos(nanoseconds.sum())
}

fn number_after(file: &std::path::Path, key: &str) -> u64 {
    let text = fs::read_to_string(file);
    let is_denied = matches!(&text, Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied);
    assert!(
        !is_denied,
        "{} is for root only, since the programs keep their memory to themselves: measure as root",
        file.display()
    );
    let text = text.unwrap_or_default();
    text.lines()
        .find_map(|line| line.strip_prefix(key))
        .and_then(|rest| rest.split_whitespace().next())
        .and_then(|number| number.parse().ok())
        .unwrap_or(0)
}

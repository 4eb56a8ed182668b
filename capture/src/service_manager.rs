//! What systemd is told where it asks (`sd_notify(3)`): that capture is ready, that it is alive, how it is
//! doing, and that it stops. Nothing happens where `NOTIFY_SOCKET` is not set.

use std::time::{Duration, Instant};

use sd_notify::NotifyState;

/// The service manager, if there is one.
#[derive(Debug)]
pub struct ServiceManager {
    is_there: bool,
    /// How often it wants to hear from us.
    every: Duration,
    told_at: Option<Instant>,
    line: String,
}

impl ServiceManager {
    /// The one that started this process.
    pub fn from_environment() -> Self {
        let is_there = std::env::var_os("NOTIFY_SOCKET").is_some();
        let mut watchdog_us = 0;
        let has_watchdog = is_there && sd_notify::watchdog_enabled(false, &mut watchdog_us);
        // Half of its time, so that one late turn is no death.
        let every = if has_watchdog {
            Duration::from_micros(watchdog_us / 2)
        } else {
            STATUS_INTERVAL
        };
        Self {
            is_there,
            every: every.min(STATUS_INTERVAL),
            told_at: None,
            line: String::new(),
        }
    }

    /// The queue is open and served.
    pub fn ready(&self) {
        self.tell(&[NotifyState::Ready]);
    }

    /// Capture stops.
    pub fn stopping(&self) {
        self.tell(&[NotifyState::Stopping]);
    }

    /// Whether it is time for [`ServiceManager::alive`].
    pub fn is_to_be_told(&self) -> bool {
        self.is_there && self.told_at.is_none_or(|at| at.elapsed() >= self.every)
    }

    /// The thread that matters most goes round; `line` says how capture is doing.
    pub fn alive(&mut self, line: &str) {
        self.told_at = Some(Instant::now());
        if line == self.line {
            self.tell(&[NotifyState::Watchdog]);
        } else {
            self.tell(&[NotifyState::Watchdog, NotifyState::Status(line)]);
            line.clone_into(&mut self.line);
        }
    }

    fn tell(&self, state: &[NotifyState<'_>]) {
        if self.is_there {
            // It asked; where it no longer listens that is its affair.
            let _ = sd_notify::notify(false, state);
        }
    }
}

const STATUS_INTERVAL: Duration = Duration::from_secs(10);

//! Being told to stop: SIGTERM and SIGINT. The first stops in order, the second ends at once; while
//! capture is still opening its queue the first ends at once too, which costs nothing.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::SyncSender;

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::keeper::InputEnd;

/// Why capture is to stop.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stop {
    /// A signal came.
    Signal(&'static str),
    /// With `--once`: what the file gave is durable; or it cannot be read.
    InputEnded(InputEnd),
    /// A thread has ended by itself, which it never should.
    Fault(&'static str),
}

/// The thread that waits for signals.
#[derive(Debug)]
pub struct Signalled {
    is_running: Arc<AtomicBool>,
}

impl Signalled {
    /// Waits for signals from now on. A process that is the first of its container has no default action
    /// for them, so this comes before anything that takes time.
    ///
    /// # Errors
    ///
    /// Where the system gives no handler or no thread.
    pub fn start(stop: SyncSender<Stop>) -> io::Result<Self> {
        let mut signals = Signals::new([SIGTERM, SIGINT])?;
        let is_running = Arc::new(AtomicBool::new(false));
        let running = Arc::clone(&is_running);
        std::thread::Builder::new()
            .name("signals".to_owned())
            .spawn(move || {
                let mut is_first = true;
                for signal in signals.forever() {
                    let name = if signal == SIGINT { "SIGINT" } else { "SIGTERM" };
                    if !running.load(Ordering::Acquire) {
                        tracing::info!("stopped by {name} before the queue was open");
                        signal_hook::low_level::exit(0);
                    }
                    if !is_first {
                        tracing::warn!("ended at once by a second {name}");
                        signal_hook::low_level::exit(128 + signal);
                    }
                    is_first = false;
                    // Where the receiver is gone the program is ending anyway.
                    let _ = stop.try_send(Stop::Signal(name));
                }
            })?;
        Ok(Self { is_running })
    }

    /// From now on the first signal stops in order.
    pub fn running(&self) {
        self.is_running.store(true, Ordering::Release);
    }
}

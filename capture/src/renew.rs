//! `capture renew`: gives the queue a new identity, after a copy of its folder was put back in a way that the folder
//! itself cannot tell (an image of a whole disk, a file system without times of birth).

use std::io::Write;

use shared::config::Config;
use shared::exit::Exit;

use crate::export::{require_queue, running_capture};
use crate::failure::Failure;
use crate::run;

/// Renews the identity of the queue in the configured folder, on which no capture may be running.
///
/// # Errors
///
/// Where capture runs, or the queue is not there or cannot be written.
pub fn renew(config: &Config, output: &mut dyn Write) -> Result<(), Failure> {
    if running_capture(config)?.is_some() {
        let words = format!(
            "capture is running on the queue {}: stop it first, put the copy back, and renew before it is started",
            config.queue.path.display()
        );
        return Err(Failure::new(Exit::TryAgain, words));
    }
    require_queue(config)?;
    let (mut queue, report) = run::open_queue(config)?;
    // Of a folder that has told by itself that it is a copy it is done.
    if report.renewed.is_none() {
        let storage = |error| Failure::new(Exit::Storage, format!("{error}"));
        queue.renew().map_err(storage)?;
    }
    let renewed = run::renewed(&queue);
    queue
        .close()
        .map_err(|error| Failure::new(Exit::Storage, format!("closing the queue: {error}")))?;
    // Nobody may be left to be told.
    let _ = writeln!(output, "{}: {renewed}", config.queue.path.display());
    Ok(())
}

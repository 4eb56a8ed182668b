//! `capture forget`: removes a consumer that is gone for good, so that it holds nothing back any more.

use std::io::Write;

use shared::config::Config;
use shared::exit::Exit;

use crate::export::{existing_queue, running_capture};
use crate::failure::Failure;

/// Removes the consumer, through the socket while capture runs, else in the folder.
///
/// # Errors
///
/// Where there is no consumer of that name, it is connected, or the queue cannot be written.
pub fn forget(config: &Config, name: &str, output: &mut dyn Write) -> Result<(), Failure> {
    let (existed, others) = match running_capture(config)? {
        Some(mut client) => {
            let existed = client.forget(name)?;
            let others = client
                .status()?
                .consumers
                .into_iter()
                .map(|consumer| consumer.name)
                .collect();
            (existed, others)
        }
        None => {
            let mut queue = existing_queue(config)?;
            let storage = |error: &dyn std::fmt::Display| Failure::new(Exit::Storage, error.to_string());
            let existed = queue.forget(name).map_err(|error| storage(&error))?;
            let others: Vec<String> = queue.consumers().keys().cloned().collect();
            queue.close().map_err(|error| storage(&error))?;
            (existed, others)
        }
    };
    if existed {
        // Nobody may be left to be told.
        let _ = writeln!(output, "consumer {name} is forgotten");
        return Ok(());
    }
    let known = if others.is_empty() {
        "there are none".to_owned()
    } else {
        others.join(", ")
    };
    Err(Failure::failed(format!(
        "there is no consumer {name:?}; the consumers are: {known}"
    )))
}

//! `capture status`: how the running capture is doing, for a person or as JSON.

use std::fmt::Write as _;
use std::io::Write;
use std::time::Duration;

use serde_json::{Value, json};
use shared::commands::command;
use shared::config::Config;
use shared::outside;
use shared::wire::client::Client;
use shared::wire::json::time;
use shared::wire::{ConsumerStatus, Identity, PublisherReport, Status};

use crate::clock;
use crate::failure::Failure;
use crate::words;

/// What is asked for.
#[derive(Debug, Clone, Copy, Default)]
pub struct Wanted {
    /// As JSON.
    pub is_json: bool,
    /// Fail where the last telegram is older.
    pub max_age: Option<Duration>,
    /// The last few rejected stretches as they came.
    pub has_rejected: bool,
}

/// Prints the status of the capture that serves the configured socket.
///
/// # Errors
///
/// Where it is not reachable, or the last telegram is older than asked for.
pub fn status(config: &Config, wanted: Wanted, output: &mut dyn Write) -> Result<(), Failure> {
    let (status, identities) = Client::connect(&config.queue.socket, ANSWER_TIMEOUT)
        .and_then(|mut client| Ok((client.status()?, client.identities()?)))
        .map_err(|error| Failure::failed(error.to_string()))?;
    let identities = identities.unwrap_or_else(|| vec![Identity::only(&status.queue)]);
    let text = if wanted.is_json {
        let json = format!("{:#}\n", as_json(&status, &identities, wanted.has_rejected));
        outside::escaped_json(&json).into_owned()
    } else {
        as_text(&status, &identities, clock::now_us(), wanted.has_rejected)
    };
    // A reader that went away has seen what it wanted.
    let _ = output.write_all(text.as_bytes());
    match wanted.max_age {
        Some(limit) => check_age(&status, limit),
        None => Ok(()),
    }
}

/// Whether the last telegram is no older than `limit`.
fn check_age(status: &Status, limit: Duration) -> Result<(), Failure> {
    let limit_words = words::duration(limit);
    match status.last_telegram_age_ms.map(Duration::from_millis) {
        Some(age) if age <= limit => Ok(()),
        Some(age) => Err(Failure::failed(format!(
            "the last telegram is {} old, the limit is {limit_words}; port: {}",
            words::duration(age),
            status.port_state
        ))),
        None => Err(Failure::failed(format!(
            "no telegram has come since capture started; the limit is {limit_words}; port: {}",
            status.port_state
        ))),
    }
}

/// For a person at `now_us`, in microseconds since 1970-01-01T00:00:00Z.
fn as_text(status: &Status, identities: &[Identity], now_us: i64, has_rejected: bool) -> String {
    let mut text = Text::default();
    let running = since(status.started_at_us, now_us);
    text.line(
        "capture",
        &format!(
            "{}, running for {running}, queue {}",
            status.version, status.queue
        ),
    );
    if let Some(trouble) = &status.trouble {
        text.line("TROUBLE", trouble);
    }
    text.line("port", &format!("{}: {}", status.port, status.port_state));
    let last = match status.last_telegram_age_ms {
        Some(age) => format!("the last {} ago", words::duration(Duration::from_millis(age))),
        None => "none since the start".to_owned(),
    };
    text.line(
        "telegrams",
        &format!("{} accepted, {last}", words::number(status.accepted)),
    );
    if status.refused > 0 {
        text.line(
            "",
            &format!(
                "{} LOST: not taken while the disk was in trouble",
                words::number(status.refused)
            ),
        );
    }
    let rejected: Vec<String> = status
        .rejected
        .iter()
        .map(|(reason, count)| format!("{} {reason}", words::number(*count)))
        .collect();
    text.line(
        "rejected",
        &if rejected.is_empty() {
            "none".to_owned()
        } else {
            rejected.join(", ")
        },
    );
    let kept = (status.head + 1).saturating_sub(status.tail);
    text.line(
        "queue",
        &match kept {
            0 => format!("empty, the last sequence was {}", status.head),
            _ => format!(
                "{}: #{} to #{}",
                words::counted(kept, "telegram"),
                status.tail,
                status.head
            ),
        },
    );
    text.line(
        "",
        &format!(
            "{} on disk, {} of it in use; the bound is {}",
            words::size(status.disk_bytes),
            words::size(status.live_bytes),
            words::size(status.max_size_bytes)
        ),
    );
    // A copy of the folder was put back, or may have been.
    if identities.len() > 1 {
        let newest_first: Vec<String> = identities
            .iter()
            .rev()
            .map(|identity| format!("{} from #{} on", identity.queue, identity.first_sequence))
            .collect();
        text.line("identity", &newest_first.join(", before that "));
    }
    if status.consumers.is_empty() {
        text.line("consumers", "none: everything is kept up to the bound");
    }
    for (number, consumer) in status.consumers.iter().enumerate() {
        text.line(
            if number == 0 { "consumers" } else { "" },
            &consumer_line(consumer),
        );
        let report = consumer.report.as_ref();
        let line = report.map(|report| report_line(report, consumer.is_connected, now_us));
        if let Some(line) = line.filter(|line| !line.is_empty()) {
            text.line("", &format!("  {line}"));
        }
    }
    if status.losses.is_empty() {
        text.line("losses", "none");
    }
    for (number, loss) in status.losses.iter().enumerate() {
        let name = if number == 0 { "losses" } else { "" };
        let ago = since(loss.at_us, now_us);
        text.line(
            name,
            &format!(
                "#{} to #{}, noticed {ago} ago: {}",
                loss.first_sequence, loss.last_sequence, loss.cause
            ),
        );
    }
    for (number, folder) in status.damaged.iter().enumerate() {
        let name = if number == 0 { "damaged" } else { "" };
        text.line(
            name,
            &format!(
                "{folder}: `{} {folder}` brings back what is whole in it",
                command("capture import --damaged")
            ),
        );
    }
    if has_rejected {
        text.0.push('\n');
        if status.recently_rejected.is_empty() {
            text.0.push_str("nothing was rejected since the start\n");
        }
        for stretch in &status.recently_rejected {
            let ago = since(stretch.at_us, now_us);
            let _ = writeln!(
                text.0,
                "--- {ago} ago, {}, {}",
                outside::escaped(&stretch.reason),
                words::counted(stretch.bytes.len() as u64, "byte")
            );
            text.0.push_str(words::telegram(&stretch.bytes).trim_end());
            text.0.push('\n');
        }
    }
    text.0
}

fn consumer_line(consumer: &ConsumerStatus) -> String {
    let behind = match consumer.lag {
        0 => "up to date".to_owned(),
        lag => format!("{} behind", words::counted(lag, "telegram")),
    };
    // "Connected" is said of the broker, and of nothing else.
    let publisher = if consumer.is_connected {
        "its publisher is running"
    } else {
        "no publisher is running"
    };
    format!(
        "{}: {publisher}, at #{}, {behind}",
        consumer.name, consumer.cursor
    )
}

fn report_line(report: &PublisherReport, is_running: bool, now_us: i64) -> String {
    // Whether a publisher that has gone was connected says nothing any longer.
    let mut parts = Vec::new();
    if is_running {
        parts.push(report.connection.clone());
    }
    if let Some(at_us) = report.last_acknowledged_at_us {
        parts.push(format!("last message acknowledged {} ago", since(at_us, now_us)));
    }
    for (reason, count) in report.skipped() {
        parts.push(format!("{} skipped: {reason}", words::number(count)));
    }
    for (name, count) in report.stopped() {
        let telegrams = words::counted(count, "telegram");
        parts.push(format!("{name} has stopped coming, {telegrams} ago"));
    }
    parts.join("; ")
}

fn since(at_us: i64, now_us: i64) -> String {
    // A clock that was set back gives no span.
    let span = u64::try_from(now_us.saturating_sub(at_us)).unwrap_or(0);
    words::duration(Duration::from_micros(span))
}

/// Lines with a name at their left.
#[derive(Default)]
struct Text(String);

impl Text {
    fn line(&mut self, name: &str, text: &str) {
        let _ = writeln!(self.0, "{name:<11}{}", outside::escaped(text));
    }
}

/// The same for a program: times are RFC 3339, ages and sizes carry their unit in the name.
fn as_json(status: &Status, identities: &[Identity], has_rejected: bool) -> Value {
    let consumers: Vec<Value> = status
        .consumers
        .iter()
        .map(|consumer| Value::Object(consumer.to_json()))
        .collect();
    let identities: Vec<Value> = identities
        .iter()
        .map(|identity| json!({ "queue": identity.queue, "first_sequence": identity.first_sequence }))
        .collect();
    let losses: Vec<Value> = status
        .losses
        .iter()
        .map(|loss| {
            json!({
                "at": time(loss.at_us),
                "first_sequence": loss.first_sequence,
                "last_sequence": loss.last_sequence,
                "cause": loss.cause,
            })
        })
        .collect();
    let mut value = json!({
        "version": status.version,
        "queue": status.queue,
        "identities": identities,
        "started_at": time(status.started_at_us),
        "port": status.port,
        "port_state": status.port_state,
        "accepted": status.accepted,
        "rejected": status.rejected,
        "refused": status.refused,
        "last_telegram_age_ms": status.last_telegram_age_ms,
        "tail": status.tail,
        "head": status.head,
        "live_bytes": status.live_bytes,
        "disk_bytes": status.disk_bytes,
        "max_size_bytes": status.max_size_bytes,
        "consumers": consumers,
        "losses": losses,
        "damaged": status.damaged,
        "trouble": status.trouble,
    });
    if let (true, Some(object)) = (has_rejected, value.as_object_mut()) {
        let stretches = status.recently_rejected.iter().map(|stretch| {
            let bytes: String = stretch.bytes.iter().map(|&byte| char::from(byte)).collect();
            json!({ "at": time(stretch.at_us), "reason": stretch.reason, "bytes": bytes })
        });
        object.insert("recently_rejected".to_owned(), stretches.collect());
    }
    value
}

/// How long capture may take for an answer: a health check wants to know soon.
const ANSWER_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(5);

#[cfg(test)]
mod tests;

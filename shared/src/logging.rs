//! Log lines on standard error, for a person to read.
//!
//! ```text
//! 2026-11-20T08:00:00Z  INFO port opened port=/dev/ttyUSB0 setting=115200-8N1
//! ```
//!
//! The time is left out where systemd's journal reads standard error, since it keeps its own. Colour is
//! for terminals alone, and not where `NO_COLOR` is set. Standard output is for results and never has a
//! log line on it.

use std::io::{self, IsTerminal};

use tracing::Level;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::FormatFields;
use tracing_subscriber::fmt::format::{FormatEvent, Writer};
use tracing_subscriber::fmt::time::FormatTime;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;

use crate::outside;

/// The crates whose lines are ours; others may only warn.
const OURS: [&str; 5] = ["capture", "publisher", "shared", "tests", "demo"];

/// Crates of which everything that they warn of, one line for each message or attempt, is told by us as
/// well, in our words and once: what came as an error, or as the broker's answer.
const TOLD_BY_US: [&str; 2] = ["rumqttc", "rustls"];

/// Starts logging for the whole process, at debug level or at info. A second call changes nothing.
pub fn start(debug: bool) {
    let is_journal = std::env::var("JOURNAL_STREAM").is_ok_and(|stream| is_standard_error(&stream));
    let has_color =
        io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let layer = tracing_subscriber::fmt::layer()
        .with_writer(io::stderr)
        .with_ansi(has_color)
        .event_format(Line {
            has_time: !is_journal,
        });
    // Only fails where logging has been started before, as in tests that share a process.
    let _ = tracing_subscriber::registry()
        .with(targets(debug))
        .with(layer)
        .try_init();
}

fn targets(debug: bool) -> Targets {
    let (level, theirs) = if debug {
        (LevelFilter::DEBUG, LevelFilter::WARN)
    } else {
        (LevelFilter::INFO, LevelFilter::OFF)
    };
    Targets::new()
        .with_default(LevelFilter::WARN)
        .with_targets(OURS.map(|name| (name, level)))
        .with_targets(TOLD_BY_US.map(|name| (name, theirs)))
}

/// Whether standard error is the stream that systemd names: `device:inode` in decimal
/// (`systemd.exec(5)`, `$JOURNAL_STREAM`).
fn is_standard_error(journal_stream: &str) -> bool {
    rustix::fs::fstat(io::stderr())
        .is_ok_and(|stat| journal_stream == format!("{}:{}", stat.st_dev, stat.st_ino))
}

/// One line: time, level, message, fields.
struct Line {
    has_time: bool,
}

impl<S, N> FormatEvent<S, N> for Line
where
    S: tracing::Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        context: &tracing_subscriber::fmt::FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &tracing::Event<'_>,
    ) -> std::fmt::Result {
        if self.has_time {
            UtcSeconds.format_time(&mut writer)?;
            writer.write_char(' ')?;
        }
        let level = *event.metadata().level();
        match writer.has_ansi_escapes() {
            true => write!(writer, "\x1b[{}m{level:>5}\x1b[0m ", color(level))?,
            false => write!(writer, "{level:>5} ")?,
        }
        let mut fields = String::new();
        context.format_fields(Writer::new(&mut fields), event)?;
        // Whatever words of others are in it, an event is one line.
        writeln!(writer, "{}", outside::escaped(&fields))
    }
}

/// The terminal's codes for red, yellow, green and blue.
fn color(level: Level) -> &'static str {
    match level {
        Level::ERROR => "31",
        Level::WARN => "33",
        Level::INFO => "32",
        _ => "34",
    }
}

/// UTC, RFC 3339, whole seconds.
struct UtcSeconds;

impl FormatTime for UtcSeconds {
    fn format_time(&self, writer: &mut Writer<'_>) -> std::fmt::Result {
        write!(writer, "{:.0}", jiff::Timestamp::now())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    /// What is written for these events.
    fn written(has_time: bool, debug: bool, has_color: bool, events: impl FnOnce()) -> String {
        #[derive(Clone, Default)]
        struct Lines(Arc<Mutex<Vec<u8>>>);
        impl io::Write for Lines {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                self.0.lock().unwrap().write(bytes)
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let lines = Lines::default();
        let sink = lines.clone();
        let layer = tracing_subscriber::fmt::layer()
            .with_writer(move || sink.clone())
            .with_ansi(has_color)
            .event_format(Line { has_time });
        let subscriber = tracing_subscriber::registry().with(targets(debug)).with(layer);
        tracing::subscriber::with_default(subscriber, events);
        let bytes = lines.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn a_line_has_time_level_message_and_fields() {
        let line = written(true, false, false, || {
            tracing::info!(port = "/dev/ttyUSB0", "port opened")
        });
        let (time, rest) = line.split_once(' ').unwrap();
        assert_eq!(rest, " INFO port opened port=\"/dev/ttyUSB0\"\n");
        assert_eq!(time.len(), "2026-11-20T08:00:00Z".len(), "{time}");
        time.parse::<jiff::Timestamp>().unwrap();
    }

    #[test]
    fn the_journal_gets_no_time_and_a_terminal_gets_colour() {
        assert_eq!(
            written(false, false, false, || tracing::warn!("broker away")),
            " WARN broker away\n"
        );
        let colored = written(false, false, true, || tracing::error!("disk full"));
        assert!(colored.starts_with("\x1b[31mERROR\x1b[0m "), "{colored:?}");
    }

    #[test]
    fn an_event_is_one_line_without_control_characters_whatever_is_in_it() {
        for has_color in [false, true] {
            let line = written(false, false, has_color, || {
                tracing::warn!(
                    reason = "a\u{1b}[2J",
                    "broker says \r\n2026-11-20T08:00:00Z  INFO forged\u{9b}\u{202e}"
                );
            });
            assert_eq!(line.matches('\n').count(), 1, "{line:?}");
            let line = line.trim_end().replace("\u{1b}[33m", "").replace("\u{1b}[0m", "");
            assert!(
                !line.contains(char::is_control) && !line.contains('\u{202e}'),
                "{line:?}"
            );
            assert!(line.contains("forged") && line.contains("[2J"), "{line:?}");
        }
    }

    #[test]
    fn debug_lines_need_debug_and_dependencies_may_only_warn() {
        let events = || {
            tracing::debug!("ours");
            tracing::info!(target: "rumqttc", "theirs");
            tracing::debug!(target: "sled::pagecache", "theirs");
            tracing::warn!(target: "sled::pagecache", "a warning of theirs");
            tracing::error!(target: "rumqttc::v5::state", "what we tell in our words");
        };
        assert_eq!(
            written(false, false, false, events),
            " WARN a warning of theirs\n"
        );
        assert_eq!(
            written(false, true, false, events),
            "DEBUG ours\n WARN a warning of theirs\nERROR what we tell in our words\n"
        );
    }

    #[test]
    fn only_the_stream_that_systemd_names_is_the_journal() {
        let stat = rustix::fs::fstat(io::stderr()).unwrap();
        assert!(is_standard_error(&format!("{}:{}", stat.st_dev, stat.st_ino)));
        assert!(!is_standard_error(&format!(
            "{}:{}",
            stat.st_dev,
            stat.st_ino + 1
        )));
        assert!(!is_standard_error(""));
    }
}

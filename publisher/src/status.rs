//! `publisher status`: what the running publisher last reported through its session, and its lag.

use std::fmt::Write as _;
use std::path::Path;
use std::str::FromStr;
use std::time::Duration;

use jiff::Timestamp;
use shared::config::duration;
use shared::outside;
use shared::wire::client::{Batch, Client, ClientError};
use shared::wire::{ConsumerStatus, Status};
use shared::words::{counted, number};

const TIMEOUT: Duration = Duration::from_secs(5);

/// The bound of `--max-lag`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MaxLag {
    /// So many telegrams that are not published yet.
    Telegrams(u64),
    /// So long ago that the oldest of them came.
    Age(Duration),
}

impl FromStr for MaxLag {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Ok(telegrams) = text.parse() {
            return Ok(Self::Telegrams(telegrams));
        }
        duration::parse(text)
            .map(Self::Age)
            .ok_or_else(|| "expected a number of telegrams, such as 1000, or a time, such as 5m".to_owned())
    }
}

/// What there is to say of a consumer.
#[derive(Debug, Clone)]
pub struct PublisherStatus {
    /// The consumer's name.
    pub consumer: String,
    /// The queue's identity.
    pub queue: String,
    /// Highest durable sequence.
    pub head: u64,
    /// The consumer, where capture knows it.
    pub known: Option<ConsumerStatus>,
    /// How long ago the oldest telegram came that is not published yet.
    pub oldest_age: Option<Duration>,
}

impl PublisherStatus {
    /// Asks capture.
    ///
    /// # Errors
    /// Where capture does not answer.
    pub fn ask(socket: &Path, consumer: &str, now: Timestamp) -> Result<Self, ClientError> {
        let mut client = Client::connect(socket, TIMEOUT)?;
        let Status {
            queue,
            head,
            consumers,
            ..
        } = client.status()?;
        let known = consumers.into_iter().find(|known| known.name == consumer);
        let mut oldest_age = None;
        if let Some(known) = known.as_ref().filter(|known| known.lag > 0) {
            if let Batch::Records { records, .. } = client.read(known.cursor + 1, 1, Duration::ZERO)? {
                let captured_at_us = records.first().map(|record| record.captured_at_us);
                oldest_age = captured_at_us.map(|at| {
                    let age_us = now.as_microsecond().saturating_sub(at).max(0);
                    Duration::from_micros(age_us.unsigned_abs())
                });
            }
        }
        Ok(Self {
            consumer: consumer.to_owned(),
            queue,
            head,
            known,
            oldest_age,
        })
    }

    /// Whether a publisher runs under this consumer's name, with a lag within the bound. An age counts from the end of
    /// an interval: before that nothing waits for the broker.
    pub fn is_well(&self, max_lag: Option<MaxLag>, send_interval: Duration) -> bool {
        let Some(known) = self.known.as_ref().filter(|known| known.is_connected) else {
            return false;
        };
        match max_lag {
            None => true,
            Some(MaxLag::Telegrams(bound)) => known.lag <= bound,
            Some(MaxLag::Age(bound)) => self.oldest_age.is_none_or(|age| age <= bound + send_interval),
        }
    }

    /// One JSON object.
    pub fn to_json(&self) -> serde_json::Value {
        let mut object = match &self.known {
            Some(known) => known.to_json(),
            None => serde_json::Map::from_iter([
                ("consumer".to_owned(), serde_json::json!(self.consumer)),
                ("is_running".to_owned(), serde_json::json!(false)),
            ]),
        };
        object.insert("queue".to_owned(), serde_json::json!(self.queue));
        object.insert("head".to_owned(), serde_json::json!(self.head));
        let age = self.oldest_age.map(|age| age.as_secs());
        object.insert("oldest_age_seconds".to_owned(), serde_json::json!(age));
        object.into()
    }

    /// Lines for a person.
    pub fn to_text(&self) -> String {
        let mut text = String::new();
        let mut line = |name: &str, value: &str| {
            // Writing to a string does not fail.
            let _ = writeln!(text, "{name:<18}{}", outside::escaped(value));
        };
        line("consumer", &self.consumer);
        line(
            "queue",
            &format!("{}, newest telegram #{}", self.queue, self.head),
        );
        let Some(known) = &self.known else {
            line(
                "publisher",
                "capture knows no consumer of this name: no publisher has run under it yet",
            );
            return text;
        };
        line(
            "publisher",
            if known.is_connected {
                "running"
            } else {
                "not running"
            },
        );
        let lag = match (known.lag, self.oldest_age) {
            (0, _) => "none: everything is published".to_owned(),
            (lag, Some(age)) => {
                let age = duration::in_words(Duration::from_secs(age.as_secs()));
                format!("{}, the oldest {age} ago", telegrams(lag))
            }
            (lag, None) => telegrams(lag),
        };
        line("lag", &lag);
        line("cursor", &format!("#{}", known.cursor));
        let Some(report) = &known.report else { return text };
        // Whether a publisher that has gone was connected says nothing any longer.
        if known.is_connected {
            line("broker", &report.connection);
        }
        let acknowledged = match (report.last_acknowledged_at_us, report.last_acknowledged_sequence) {
            (Some(at_us), Some(sequence)) => {
                let messages = counted(report.acknowledged_messages, "message");
                format!(
                    "{messages}, the last at {} with telegram #{sequence}",
                    moment(at_us)
                )
            }
            _ => number(report.acknowledged_messages),
        };
        line("acknowledged", &acknowledged);
        for (reason, count) in report.skipped() {
            line("skipped", &format!("{} {reason}", number(count)));
        }
        for (name, count) in report.stopped() {
            line(
                "stopped coming",
                &format!("{name}, not in the last {}", telegrams(count)),
            );
        }
        line("reported", &moment(report.at_us));
        text
    }
}

fn telegrams(count: u64) -> String {
    counted(count, "telegram")
}

fn moment(at_us: i64) -> String {
    Timestamp::from_microsecond(at_us)
        .map(|at| format!("{at:.0}"))
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(lag: u64, oldest_age: u64, is_connected: bool) -> PublisherStatus {
        let known = ConsumerStatus {
            name: "mqtt".to_owned(),
            cursor: 10,
            lag,
            is_connected,
            report: None,
        };
        PublisherStatus {
            consumer: "mqtt".to_owned(),
            queue: "abcdefgh".to_owned(),
            head: 10 + lag,
            known: Some(known),
            oldest_age: Some(Duration::from_secs(oldest_age)),
        }
    }

    const HOUR: Duration = Duration::from_secs(3_600);

    #[test]
    fn the_bound_on_the_lag_is_a_number_of_telegrams_or_a_time() {
        assert_eq!("1000".parse(), Ok(MaxLag::Telegrams(1000)));
        assert_eq!("5m".parse(), Ok(MaxLag::Age(Duration::from_secs(300))));
        assert!("soon".parse::<MaxLag>().is_err());
        let well = |status: PublisherStatus, bound: &str| {
            status.is_well(Some(bound.parse().expect("a bound")), Duration::ZERO)
        };
        assert!(well(status(1000, 900, true), "1000"));
        assert!(!well(status(1001, 1, true), "1000"));
        assert!(well(status(1001, 300, true), "5m"));
        assert!(!well(status(1, 301, true), "5m"));
        let hourly = |age| status(1, age, true).is_well(Some(MaxLag::Age(Duration::from_secs(300))), HOUR);
        assert!(hourly(3_900) && !hourly(3_901));
    }

    #[test]
    fn no_publisher_or_no_such_consumer_is_not_well() {
        assert!(status(1_000_000, 1, true).is_well(None, Duration::ZERO));
        assert!(!status(0, 0, false).is_well(None, Duration::ZERO));
        let unknown = PublisherStatus {
            known: None,
            ..status(0, 0, true)
        };
        assert!(!unknown.is_well(None, Duration::ZERO));
        assert!(unknown.to_text().contains("no consumer of this name"));
    }

    #[test]
    fn values_that_have_stopped_are_named() {
        let mut status = status(0, 0, true);
        let mut report = shared::wire::PublisherReport::default();
        report.has_stopped("voltage_l1_v", 3_412);
        if let Some(known) = &mut status.known {
            known.report = Some(report);
        }
        let text = status.to_text();
        assert!(
            text.contains("\nstopped coming    voltage_l1_v, not in the last 3,412 telegrams\n"),
            "{text}"
        );
        assert!(!text.contains("skipped"), "{text}");
    }

    #[test]
    fn the_lines_name_lag_and_age() {
        let text = status(12_345, 90, true).to_text();
        assert!(text.contains("12,345 telegrams, the oldest 90s ago"), "{text}");
        assert!(text.contains("running"));
    }
}

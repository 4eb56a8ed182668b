//! Which session is which consumer at present, and what each last reported. Cursors are the queue's.

use std::collections::BTreeMap;

use shared::outside;
use shared::wire::{PublisherReport, Refusal, Reply};

/// The consumers as their sessions go.
#[derive(Debug, Default)]
pub(super) struct Consumers {
    /// The session of each open consumer.
    sessions: BTreeMap<String, u64>,
    reports: BTreeMap<String, PublisherReport>,
}

impl Consumers {
    /// Whether this session may open this consumer; the refusal where not.
    pub(super) fn admit(&self, session: u64, consumer: &str) -> Result<(), Reply> {
        if let Some(own) = self.of(session).filter(|own| *own != consumer) {
            return Err(Reply::Refused {
                refusal: Refusal::Invalid,
                message: format!(
                    "the session is consumer {own} already and cannot be {} too",
                    outside::quoted(consumer)
                ),
            });
        }
        match self.sessions.get(consumer) {
            Some(&other) if other != session => Err(Reply::Refused {
                refusal: Refusal::ConsumerInUse,
                message: format!(
                    "consumer {consumer} is in use by another session: a former one of the same publisher ends by \
                     itself; another publisher must be stopped, or given a name of its own (mqtt.consumer)"
                ),
            }),
            _ => Ok(()),
        }
    }

    /// The consumer is this session's.
    pub(super) fn open(&mut self, session: u64, consumer: &str) {
        self.sessions.insert(consumer.to_owned(), session);
    }

    /// The session has ended.
    pub(super) fn release(&mut self, session: u64) {
        self.sessions.retain(|_, owner| *owner != session);
    }

    /// The consumer that this session is.
    pub(super) fn of(&self, session: u64) -> Option<&str> {
        self.sessions
            .iter()
            .find(|(_, owner)| **owner == session)
            .map(|(name, _)| name.as_str())
    }

    /// Whether some session is this consumer.
    pub(super) fn is_open(&self, consumer: &str) -> bool {
        self.sessions.contains_key(consumer)
    }

    /// Keeps what the session's publisher says; `false` where the session is no consumer.
    pub(super) fn report(&mut self, session: u64, report: PublisherReport) -> bool {
        let Some(name) = self.of(session).map(str::to_owned) else {
            return false;
        };
        self.reports.insert(name, within_bounds(report));
        true
    }

    /// What the consumer's publisher last said.
    pub(super) fn last_report(&self, consumer: &str) -> Option<&PublisherReport> {
        self.reports.get(consumer)
    }

    /// The consumer is gone.
    pub(super) fn forget(&mut self, consumer: &str) {
        self.reports.remove(consumer);
    }
}

/// What a publisher says of itself, no longer than a publisher's own words are and without control characters.
fn within_bounds(report: PublisherReport) -> PublisherReport {
    let words = |text: &str| outside::cut(text, REPORTED_CHARACTERS);
    let version = outside::quoted(&report.version);
    let connection = words(&report.connection);
    let mut bytes = version.len() + connection.len();
    let skipped = report
        .skipped
        .iter()
        .map(|(reason, count)| (outside::cut(reason, REASON_CHARACTERS), *count));
    let skipped = skipped.take_while(|(reason, _)| {
        bytes += reason.len() + REASON_OVERHEAD_BYTES;
        bytes <= REPORTED_BYTES
    });
    PublisherReport {
        version,
        connection,
        skipped: skipped.collect(),
        ..report
    }
}

/// Longest description of the connection in a report, in characters.
const REPORTED_CHARACTERS: usize = 500;
/// Longest reason of a report for which something was skipped, in characters.
const REASON_CHARACTERS: usize = 100;
/// What a reason takes in a frame beside its text, at most: a length and a number.
const REASON_OVERHEAD_BYTES: usize = 12;
/// Largest report that is kept, in bytes. A publisher has a few reasons, and some seventy values that may stop coming.
const REPORTED_BYTES: usize = 8 * 1024;

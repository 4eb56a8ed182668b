//! What a person is told of messages and telegrams, with numbers as people write them.

use shared::commands::command;
use shared::words::number;

use super::demand::TooSlow;
use crate::delivery::{Kind, Notice};
use crate::mqtt::Topics;
use crate::registers::HeldBack;
use crate::stopped::News;

/// `1 telegram waits to be published`.
pub(super) fn waiting(telegrams: u64) -> String {
    match telegrams {
        0 => "nothing is waiting to be published".to_owned(),
        1 => "1 telegram is waiting to be published".to_owned(),
        _ => format!("{} telegrams are waiting to be published", number(telegrams)),
    }
}

/// Sequences that the queue no longer has.
pub(super) fn gap(first: u64, last: u64) -> String {
    let why = command("capture status");
    let kept = format!("lost before they could be published (`{why}` tells why)");
    if first == last {
        format!("telegram #{first} is missing from the queue: {kept}")
    } else {
        let telegrams = number(last - first + 1);
        format!("{telegrams} telegrams, #{first} to #{last}, are missing from the queue: {kept}")
    }
}

/// A tag has verified, and no authentication key is configured.
pub(super) fn requires_tags(sequence: u64) -> String {
    format!(
        "the tags of this meter's telegrams verify with the published authentication key: from #{sequence} on only \
         telegrams whose tag verifies are published; so that it stays so whatever happens to the queue, set \
         authentication_key to that key"
    )
}

/// A total fell to zero.
pub(super) fn held_back(held: &HeldBack) -> String {
    let HeldBack {
        register,
        value,
        sequence,
    } = held;
    format!(
        "telegram #{sequence}: {register} fell from {value} to 0; summary and state leave it out until it is above 0 \
         again, for at most 10 minutes of meter time"
    )
}

/// Values have stopped coming, or come again.
pub(super) fn stopped(news: &News) -> String {
    let News {
        names,
        has_stopped,
        sequence,
    } = news;
    let names = names.join(", ");
    if *has_stopped {
        format!(
            "telegram #{sequence}: values have stopped coming for more than an hour, while telegrams go on: {names} \
             (`{}` names them until they come again)",
            command("publisher status")
        )
    } else {
        format!("telegram #{sequence}: values come again: {names}")
    }
}

/// That a backlog can only grow.
pub(super) fn too_slow(too_slow: TooSlow) -> String {
    format!(
        "the link to the broker is too slow for this meter: it carries about {} bytes a second, and what is published \
         needs about {}; readings arrive later and later and wait in the queue meanwhile (a longer send_interval does \
         not make them fewer)",
        number(too_slow.carried),
        number(too_slow.needed)
    )
}

/// What delivery has to say, with the topic that it is about.
pub(super) fn notice(notice: &Notice, topics: &Topics) -> String {
    let topic = |kind: Kind| topics.of(kind).unwrap_or_default().to_owned();
    match notice {
        Notice::Refused {
            kind,
            bytes,
            last_sequence,
            reason,
        } => format!(
            "the broker does not take the {} up to telegram #{last_sequence} ({} bytes on {}): {reason}; \
             delivery waits at it",
            kind.name(),
            number(*bytes as u64),
            topic(*kind),
        ),
        Notice::Skipped {
            kind,
            bytes,
            last_sequence,
            reason,
        } => format!(
            "skipped the {} up to telegram #{last_sequence} ({} bytes on {}), which the broker does not \
             take: {reason}",
            kind.name(),
            number(*bytes as u64),
            topic(*kind),
        ),
        Notice::Unpublished { kind, reason } => {
            format!(
                "the broker does not take the {} on {}: {reason}",
                kind.name(),
                topic(*kind)
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gap_names_its_first_and_last_telegram() {
        assert!(gap(5, 5).starts_with("telegram #5 is missing"));
        assert!(gap(5, 1_004).starts_with("1,000 telegrams, #5 to #1004, are missing"));
    }
}

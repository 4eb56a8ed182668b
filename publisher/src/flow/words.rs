//! What a person is told of messages and telegrams, with numbers as people write them.

use crate::delivery::{Kind, Notice};
use crate::mqtt::Topics;

/// `1 telegram waits to be published`.
pub(super) fn waiting(telegrams: u64) -> String {
    match telegrams {
        0 => "nothing is waiting to be published".to_owned(),
        1 => "1 telegram is waiting to be published".to_owned(),
        _ => format!("{} telegrams are waiting to be published", grouped(telegrams)),
    }
}

/// Sequences that the queue no longer has.
pub(super) fn gap(first: u64, last: u64) -> String {
    let kept = "lost before they could be published (`capture status` tells why)";
    if first == last {
        format!("telegram #{first} is missing from the queue: {kept}")
    } else {
        let telegrams = grouped(last - first + 1);
        format!("{telegrams} telegrams, #{first} to #{last}, are missing from the queue: {kept}")
    }
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
             delivery waits at it (mqtt.on_rejected: skip would pass over what the broker never takes)",
            kind.name(),
            grouped(*bytes as u64),
            topic(*kind),
        ),
        Notice::Skipped {
            kind,
            bytes,
            last_sequence,
            reason,
        } => format!(
            "passed over the {} up to telegram #{last_sequence} ({} bytes on {}), which the broker does not \
             take: {reason}",
            kind.name(),
            grouped(*bytes as u64),
            topic(*kind),
        ),
        Notice::Unpublished { kind, reason } => {
            format!(
                "the broker does not take the {} on {}: {reason}",
                kind.name(),
                topic(*kind)
            )
        }
        Notice::SkippingStopped => {
            "the broker takes nothing at all, so the messages are not to blame: nothing more is passed over \
             until it takes one"
                .to_owned()
        }
    }
}

/// `1,234,567`.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index) % 3 == 0 {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped_by_thousands() {
        for (number, text) in [(0, "0"), (999, "999"), (1_000, "1,000"), (1_234_567, "1,234,567")] {
            assert_eq!(grouped(number), text);
        }
    }

    #[test]
    fn a_gap_names_its_first_and_last_telegram() {
        assert!(gap(5, 5).starts_with("telegram #5 is missing"));
        assert!(gap(5, 1_004).starts_with("1,000 telegrams, #5 to #1004, are missing"));
    }
}

//! Names that are sent to a broker or kept by the queue: topics, client identifiers, consumers.

/// Longest text that MQTT can carry in a topic or a client identifier, in bytes (MQTT 5, 1.5.4).
pub(super) const LONGEST_TEXT_BYTES: usize = 65_535;

/// Longest name of a consumer, in bytes: it is shown in tables.
const LONGEST_CONSUMER_BYTES: usize = 64;

/// A topic to publish to (MQTT 5, 4.7).
///
/// # Errors
/// What is wrong with it and what is expected, in words that follow the topic.
pub fn topic(text: &str) -> Result<String, String> {
    if text.contains(['+', '#']) {
        return Err(
            "has a wildcard (`+` or `#`); expected a topic to publish to, such as energy/smartmeter".into(),
        );
    }
    mqtt_text(text, "a topic such as energy/smartmeter")
}

/// An MQTT client identifier.
pub(super) fn client_id(text: &str) -> Result<String, String> {
    mqtt_text(text, "a client identifier such as smartmeter-reader")
}

/// The name of a consumer of the queue.
pub(super) fn consumer(text: &str) -> Result<String, String> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    let starts_well = text.starts_with(|c: char| c.is_ascii_alphanumeric());
    if starts_well && text.chars().all(is_plain) && text.len() <= LONGEST_CONSUMER_BYTES {
        return Ok(text.to_owned());
    }
    Err(format!(
        "is no name of a consumer; expected a letter or digit and then letters, digits, `-`, `_` or `.`, \
         {LONGEST_CONSUMER_BYTES} at most"
    ))
}

/// Text that every broker takes: not empty, not too long, and without the characters that MQTT 5
/// (1.5.4) lets a broker end the connection for.
fn mqtt_text(text: &str, expected: &str) -> Result<String, String> {
    if text.is_empty() {
        return Err(format!("is empty; expected {expected}"));
    }
    if text.len() > LONGEST_TEXT_BYTES {
        return Err(format!(
            "is {} bytes long; expected at most {LONGEST_TEXT_BYTES}",
            text.len()
        ));
    }
    if text.chars().any(|c| c.is_control() || is_noncharacter(c)) {
        return Err(format!("has a control character in it; expected {expected}"));
    }
    Ok(text.to_owned())
}

fn is_noncharacter(c: char) -> bool {
    let code = u32::from(c);
    (0xFDD0..=0xFDEF).contains(&code) || code & 0xFFFE == 0xFFFE
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topics_that_a_broker_takes_are_taken() {
        for text in [
            "dev.sample.topic",
            "energy/smartmeter",
            "/a//b",
            "meter één",
            "$own/x",
            &"t".repeat(65_535),
        ] {
            assert_eq!(topic(text).as_deref(), Ok(text));
        }
    }

    #[test]
    fn topics_that_a_broker_refuses_are_refused_with_the_reason() {
        for (text, reason) in [
            ("", "empty"),
            ("energy/#", "wildcard"),
            ("energy/+/x", "wildcard"),
            ("a\0b", "control"),
            ("a\nb", "control"),
            ("a\u{fffe}", "control"),
            (&"t".repeat(65_536), "65536 bytes"),
            (&"é".repeat(32_768), "65536 bytes"),
        ] {
            let fault = topic(text).expect_err("a topic no broker takes");
            assert!(fault.contains(reason), "{fault}");
        }
    }

    #[test]
    fn consumers_have_plain_names() {
        for text in ["mqtt", "cloud-2", "home.lan", "A_b", &"x".repeat(64)] {
            assert_eq!(consumer(text).as_deref(), Ok(text));
        }
        for text in ["", ".hidden", "-x", "a/b", "two words", "één", &"x".repeat(65)] {
            assert!(consumer(text).is_err(), "{text} was taken");
        }
    }
}

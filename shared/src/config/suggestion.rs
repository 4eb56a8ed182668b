//! What a misspelt name was probably meant to be.

/// The name that is nearest to what was written, where one is near enough to be meant.
///
/// Case, `_` and `-` do not count. A last part alone, or one in the wrong section, finds its key:
/// `topic` suggests `mqtt.topic`.
pub fn suggestion<'a>(written: &str, names: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    names
        .into_iter()
        .map(|name| (distance(written, name), name))
        .filter(|(distance, _)| *distance <= longest_distance(written))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| name)
}

/// Whole paths count as they are; their last parts alone a little worse.
fn distance(written: &str, name: &str) -> usize {
    let whole = strsim::damerau_levenshtein(&plain(written), &plain(name));
    let last = 1 + strsim::damerau_levenshtein(&plain(last_part(written)), &plain(last_part(name)));
    whole.min(last)
}

fn longest_distance(written: &str) -> usize {
    (plain(last_part(written)).chars().count() / 3).clamp(1, 3)
}

fn last_part(path: &str) -> &str {
    path.rsplit('.').next().unwrap_or(path)
}

fn plain(name: &str) -> String {
    name.chars()
        .filter(|c| !matches!(c, '_' | '-' | '.'))
        .flat_map(char::to_lowercase)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAMES: [&str; 6] = [
        "usb",
        "send_interval",
        "mqtt.address",
        "mqtt.topic",
        "mqtt.state_topic",
        "queue.path",
    ];

    #[test]
    fn a_slip_finds_its_key() {
        for (written, meant) in [
            ("mqtt.adress", "mqtt.address"),
            ("sendInterval", "send_interval"),
            ("send-interval", "send_interval"),
            ("topic", "mqtt.topic"),
            ("mqtt.usb", "usb"),
            ("mqtt.state-topic", "mqtt.state_topic"),
            ("qeue.path", "queue.path"),
        ] {
            assert_eq!(suggestion(written, NAMES), Some(meant), "for {written}");
        }
    }

    #[test]
    fn what_is_like_nothing_gets_no_suggestion() {
        for written in ["influxdb", "x", "mqtt.password", ""] {
            assert_eq!(suggestion(written, NAMES), None, "for {written}");
        }
    }
}

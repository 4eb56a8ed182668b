//! Text from outside, such as a meter, a broker, a file's name or a client of the socket: shown on a terminal and in
//! a log with its control characters escaped, and quoted only as far as a person reads.

use std::borrow::Cow;
use std::fmt::Write as _;

/// Longest quotation, in characters.
pub const QUOTED_CHARACTERS: usize = 64;

/// The text with everything escaped that a terminal would not show but do: control characters (C0, DEL and C1), what
/// ends a line, and what turns the direction of writing. `\u{1b}` stands for ESC.
pub fn escaped(text: &str) -> Cow<'_, str> {
    escaped_but(text, |_| false)
}

/// The same of a text of several lines that this program has put together.
pub fn escaped_lines(text: &str) -> Cow<'_, str> {
    escaped_but(text, |c| c == '\n')
}

/// The text escaped, and cut to [`QUOTED_CHARACTERS`].
pub fn quoted(text: &str) -> String {
    cut(text, QUOTED_CHARACTERS)
}

/// The text escaped, and cut to so many characters of it.
pub fn cut(text: &str, characters: usize) -> String {
    match text.char_indices().nth(characters) {
        None => escaped(text).into_owned(),
        Some((end, _)) => format!("{}…", escaped(text.get(..end).unwrap_or_default())),
    }
}

/// A JSON document whose texts hold nothing that a terminal would do: what JSON leaves as it is becomes `\u0080`.
pub fn escaped_json(document: &str) -> Cow<'_, str> {
    // Line ends and blanks between the values are the document's own; within a text they are escaped already.
    let is_acting = |c: char| is_acting(c) && !c.is_ascii_whitespace();
    if !document.contains(is_acting) {
        return Cow::Borrowed(document);
    }
    let mut json = String::with_capacity(document.len());
    for c in document.chars() {
        if is_acting(c) {
            // Writing to a text does not fail.
            let _ = write!(json, "\\u{:04x}", u32::from(c));
        } else {
            json.push(c);
        }
    }
    Cow::Owned(json)
}

fn escaped_but(text: &str, is_kept: impl Fn(char) -> bool) -> Cow<'_, str> {
    let is_escaped = |c: char| is_acting(c) && !is_kept(c);
    if !text.contains(is_escaped) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        match is_escaped(c) {
            true => shown.extend(c.escape_default()),
            false => shown.push(c),
        }
    }
    Cow::Owned(shown)
}

/// Control characters, the separators of lines and paragraphs, and Unicode's marks, embeddings, overrides and isolates
/// of direction (UAX #9).
fn is_acting(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{2028}' | '\u{2029}')
        || matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_acts_is_escaped_and_what_is_read_is_not() {
        assert_eq!(escaped("a\u{1b}[2J\r\n\tb"), "a\\u{1b}[2J\\r\\n\\tb");
        assert_eq!(
            escaped("\u{7f}\u{9b}\u{2028}\u{202e}"),
            "\\u{7f}\\u{9b}\\u{2028}\\u{202e}"
        );
        assert_eq!(escaped("Zähler № 5 – \"ok\" \\"), "Zähler № 5 – \"ok\" \\");
        assert_eq!(escaped_lines("one\ntwo\u{7}"), "one\ntwo\\u{7}");
        assert_eq!(quoted(&"ä".repeat(64)), "ä".repeat(64));
        assert_eq!(quoted(&"\n".repeat(65)), format!("{}…", "\\n".repeat(64)));
    }

    proptest::proptest! {
        #[test]
        fn nothing_that_acts_is_left(text: String) {
            proptest::prop_assert!(!escaped(&text).contains(is_acting));
            proptest::prop_assert!(!escaped_lines(&text).replace('\n', "").contains(is_acting));
            let json = serde_json::to_string(&text).unwrap();
            let escaped = escaped_json(&json);
            proptest::prop_assert!(!escaped.contains(is_acting));
            proptest::prop_assert_eq!(serde_json::from_str::<String>(&escaped).unwrap(), text);
        }
    }
}

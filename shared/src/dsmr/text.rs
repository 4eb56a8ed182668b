//! Bytes of a telegram as text.

use std::borrow::Cow;

use super::Text;

/// Each byte as the character of the same number (Latin-1). Borrows where all of it is ASCII.
pub(super) fn latin1(bytes: &[u8]) -> Text<'_> {
    match std::str::from_utf8(bytes) {
        Ok(text) if bytes.is_ascii() => Cow::Borrowed(text),
        _ => Cow::Owned(bytes.iter().copied().map(char::from).collect()),
    }
}

/// The text without its borrow.
pub(super) fn owned(text: Text<'_>) -> Text<'static> {
    Cow::Owned(text.into_owned())
}

/// A text message: pairs of hex digits, each pair a byte of the text, or (as one meter sends it) the text
/// itself. The bytes are UTF-8 where they are valid as such, else Latin-1.
pub(super) fn message(bytes: &[u8]) -> Text<'_> {
    match from_hex(bytes) {
        Some(decoded) => Cow::Owned(
            String::from_utf8(decoded).unwrap_or_else(|error| latin1(error.as_bytes()).into_owned()),
        ),
        None => latin1(bytes),
    }
}

/// The bytes that pairs of hex digits stand for; none where it is anything else.
pub(super) fn from_hex(digits: &[u8]) -> Option<Vec<u8>> {
    if digits.len() % 2 != 0 {
        return None;
    }
    digits
        .chunks_exact(2)
        .map(|pair| match pair {
            [high, low] => Some(hex_digit(*high)? << 4 | hex_digit(*low)?),
            _ => None,
        })
        .collect()
}

fn hex_digit(digit: u8) -> Option<u8> {
    char::from(digit)
        .to_digit(16)
        .and_then(|value| u8::try_from(value).ok())
}

/// Without blanks at either end. Nearly all that is asked has none, which two bytes tell.
#[inline]
pub(super) fn trim(bytes: &[u8]) -> &[u8] {
    match bytes {
        [first, .., last] if *first > b' ' && *last > b' ' => bytes,
        _ => bytes.trim_ascii(),
    }
}

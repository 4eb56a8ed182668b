//! Data objects: one line each, a name and what stands in brackets behind it. A line that begins with a
//! bracket goes on with the one before (DSMR 2.2 and 3 put the gas reading there).

use std::borrow::Cow;

use memchr::memchr;

use super::Text;
use super::obis::Obis;
use super::text::{latin1, trim};

/// A data object as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Object<'t> {
    name: Cow<'t, [u8]>,
    contents: Cow<'t, [u8]>,
}

impl<'t> Object<'t> {
    /// The contents begin with `(`.
    pub(super) fn new(name: &'t [u8], contents: &'t [u8]) -> Self {
        Self {
            name: Cow::Borrowed(name),
            contents: Cow::Borrowed(contents),
        }
    }

    /// Its OBIS reference without the suffix that means *the present value*; for an object named otherwise
    /// whatever stands before the first bracket.
    pub fn reference(&self) -> Text<'_> {
        latin1(&self.name)
    }

    /// What stands in each pair of brackets. Where brackets do not pair up, the rest as it is.
    pub fn groups(&self) -> impl Iterator<Item = Text<'_>> {
        groups(&self.contents).map(latin1)
    }

    /// The name as bytes.
    pub(super) fn name(&self) -> &[u8] {
        &self.name
    }

    /// The same without the telegram that it was read from.
    pub fn into_owned(self) -> Object<'static> {
        Object {
            name: Cow::Owned(self.name.into_owned()),
            contents: Cow::Owned(self.contents.into_owned()),
        }
    }
}

/// What stands in each pair of brackets.
pub(super) fn groups(contents: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = trim(contents);
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let group = match (
            rest.strip_prefix(b"("),
            rest.iter().position(|&byte| byte == b')'),
        ) {
            (Some(inside), Some(close)) => {
                rest = trim(rest.get(close + 1..).unwrap_or_default());
                inside.get(..close - 1).unwrap_or_default()
            }
            (Some(inside), None) => {
                rest = b"";
                inside
            }
            (None, _) => std::mem::take(&mut rest),
        };
        Some(group)
    })
}

/// What stands in the only pair of brackets; none where there are more, or something beside them.
pub(super) fn single(contents: &[u8]) -> Option<&[u8]> {
    let inside = bracketed(contents)?;
    (!inside.iter().any(|byte| matches!(byte, b'(' | b')'))).then_some(inside)
}

/// What stands between the first bracket and the last.
pub(super) fn bracketed(contents: &[u8]) -> Option<&[u8]> {
    trim(contents).strip_prefix(b"(")?.strip_suffix(b")")
}

/// Whether all brackets are empty, so that the object says nothing.
pub(super) fn is_blank(contents: &[u8]) -> bool {
    // The second byte tells of nearly all.
    !matches!(contents, [b'(', b'0'..=b'9', ..])
        && contents
            .iter()
            .all(|byte| matches!(byte, b'(' | b')') || byte.is_ascii_whitespace())
}

/// A piece of a telegram's body.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Piece<'t> {
    /// A data object: its name, which is this reference where it is one and nothing else, and its contents
    /// from the first bracket on.
    Object {
        reference: Option<Obis>,
        name: &'t [u8],
        contents: &'t [u8],
    },
    /// A line that is none.
    Line(&'t [u8]),
    /// The line that begins with `!` and ends the telegram: what stands behind the `!`.
    End(&'t [u8]),
}

/// The identification line without `/`, and everything after it.
pub(super) fn identification(telegram: &[u8]) -> (&[u8], &[u8]) {
    match telegram.strip_prefix(b"/") {
        Some(text) => split_line(text),
        None => telegram.split_at(0),
    }
}

/// The pieces of what comes after the identification line, blank lines left out, up to the telegram's end.
pub(super) fn pieces(body: &[u8]) -> impl Iterator<Item = Piece<'_>> {
    let mut rest = body;
    std::iter::from_fn(move || {
        loop {
            let start = rest;
            let (line, after) = split_line(rest);
            rest = after;
            match line.first() {
                None if start.is_empty() => return None,
                None => continue,
                Some(b'!') => {
                    rest = b"";
                    return Some(Piece::End(trim(line.get(1..).unwrap_or_default())));
                }
                Some(_) => {}
            }
            let (reference, bracket) = match Obis::read_front(line) {
                // Which is nearly every line, and spares looking for its bracket.
                Some((reference, behind @ [b'(', ..])) => (Some(reference), line.len() - behind.len()),
                _ => match line.iter().position(|&byte| byte == b'(') {
                    Some(bracket) if bracket > 0 => (None, bracket),
                    _ if trim(line).is_empty() => continue,
                    _ => return Some(Piece::Line(line)),
                },
            };
            let mut end = line.len();
            while rest.first() == Some(&b'(') {
                let (continuation, after) = split_line(rest);
                end = start.len() - rest.len() + continuation.len();
                rest = after;
            }
            let (name, contents) = start.get(..end).unwrap_or_default().split_at(bracket);
            return Some(Piece::Object {
                reference,
                name,
                contents,
            });
        }
    })
}

/// A line without its end, and what comes after it.
fn split_line(text: &[u8]) -> (&[u8], &[u8]) {
    let (line, rest) = match memchr(b'\n', text) {
        Some(end) => (
            text.get(..end).unwrap_or_default(),
            text.get(end + 1..).unwrap_or_default(),
        ),
        None => text.split_at(text.len()),
    };
    (line.strip_suffix(b"\r").unwrap_or(line), rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inside(contents: &str) -> Vec<String> {
        groups(contents.as_bytes())
            .map(|group| String::from_utf8_lossy(group).into_owned())
            .collect()
    }

    #[test]
    fn every_byte_between_brackets_is_in_one_group() {
        assert_eq!(inside("(00.1*kW)"), ["00.1*kW"]);
        assert_eq!(inside("()"), [""]);
        assert_eq!(inside("(1)()\r\n(2)"), ["1", "", "2"]);
        assert_eq!(inside("(1"), ["1"]);
        assert_eq!(inside("(1)junk(2)"), ["1", "junk(2)"]);
        assert_eq!(inside("(a (b) c)"), ["a (b", "c)"]);
    }

    fn object(name: &'static [u8], contents: &'static [u8]) -> Piece<'static> {
        Piece::Object {
            reference: Obis::read(name),
            name,
            contents,
        }
    }

    #[test]
    fn a_line_that_begins_with_a_bracket_goes_on_with_the_one_before() {
        let found: Vec<_> = pieces(b"a(1)\r\n(2)\r\n(3)\r\nb(4)\r\n").collect();
        assert_eq!(found, [object(b"a", b"(1)\r\n(2)\r\n(3)"), object(b"b", b"(4)")]);
        let found: Vec<_> = pieces(b"(1)\njunk\nc(2)").collect();
        assert_eq!(
            found,
            [Piece::Line(b"(1)"), Piece::Line(b"junk"), object(b"c", b"(2)")]
        );
    }

    #[test]
    fn an_exclamation_mark_ends_the_telegram_only_at_the_start_of_a_line() {
        let (id, body) = identification(b"/id\r\n\r\na(wow!)\r\n!12AB\r\nrest");
        assert_eq!(id, b"id");
        let found: Vec<_> = pieces(body).collect();
        assert_eq!(found, [object(b"a", b"(wow!)"), Piece::End(b"12AB")]);
    }
}

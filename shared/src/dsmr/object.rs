//! Data objects: one line each, a name and what stands in brackets behind it. A line that begins with a
//! bracket goes on with the one before (DSMR 2.2 and 3 put the gas reading there), which may be a bare name. A profile's
//! brackets may hold lines that look like data objects (Hungary): up to the bracket that closes, they are its own.

use std::borrow::Cow;

use memchr::memchr;

use super::Text;
use super::reference::Obis;
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

    /// What stands in each pair of brackets, each line of it by itself. Where brackets do not pair up, the rest as it
    /// is.
    pub fn groups(&self) -> impl Iterator<Item = Text<'_>> {
        let lines = groups(&self.contents).flat_map(|group| {
            let lines = group.split(|&byte| byte == b'\n').map(trim);
            let has_lines = memchr(b'\n', group).is_some();
            // Of a group without lines even what is blank.
            let whole = (!has_lines).then_some(group);
            whole
                .into_iter()
                .chain(lines.filter(move |line| has_lines && !line.is_empty()))
        });
        lines.map(latin1)
    }

    /// Whether the other has the same reference.
    pub fn is_named_as(&self, other: &Self) -> bool {
        self.name == other.name
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

/// What stands in each pair of brackets, pairs within it included.
pub(super) fn groups(contents: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = trim(contents);
    // Looked for once in vain, what closes a pair with pairs within it is not there.
    let mut can_nest = true;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let first = memchr(b')', rest);
        let close = first.and_then(|first| {
            let is_nested = can_nest && memchr(b'(', rest.get(1..first).unwrap_or_default()).is_some();
            let nested = is_nested.then(|| closing(rest)).flatten();
            can_nest &= !is_nested || nested.is_some();
            nested.or(Some(first))
        });
        let group = match (rest.strip_prefix(b"("), close) {
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

/// Where the pair that the text begins with closes.
fn closing(text: &[u8]) -> Option<usize> {
    let mut depth = 0_usize;
    text.iter().position(|byte| {
        match byte {
            b'(' => depth += 1,
            b')' => depth = depth.saturating_sub(1),
            _ => return false,
        }
        depth == 0
    })
}

/// How many pairs are open behind the text, of which so many were before.
fn open_behind(text: &[u8], before: usize) -> usize {
    text.iter().fold(before, |open, byte| match byte {
        b'(' => open + 1,
        b')' => open.saturating_sub(1),
        _ => open,
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

/// The identification line without `/`, and everything after it. Some meters end this line with a CR only: what comes
/// then is a data object.
pub(super) fn identification(telegram: &[u8]) -> (&[u8], &[u8]) {
    let Some(text) = telegram.strip_prefix(b"/") else {
        return telegram.split_at(0);
    };
    let (line, rest) = split_line(text);
    let end = memchr(b'\r', line).filter(|end| {
        let behind = line.get(end + 1..).unwrap_or_default();
        behind.is_empty() || Obis::read_front(behind.trim_ascii_start()).is_some()
    });
    let Some(end) = end else { return (line, rest) };
    let (line, mut rest) = text.split_at(end);
    while let [b'\r', after @ ..] = rest {
        rest = after;
    }
    (line, rest)
}

/// The pieces of what comes after the identification line, blank lines left out, up to the telegram's end.
pub(super) fn pieces(body: &[u8]) -> impl Iterator<Item = Piece<'_>> {
    let mut rest = body;
    // Looked for once in vain, the bracket that closes a profile is not there.
    let mut can_be_block = true;
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
                bare => match memchr(b'(', line) {
                    Some(bracket) if bracket > 0 => (None, bracket),
                    None if bare.is_some() && rest.first() == Some(&b'(') => (None, line.len()),
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
            let of_line = || Obis::read_front(line).map(|(reference, _)| reference);
            if can_be_block && reference.or_else(of_line).is_some_and(Obis::is_profile) {
                let open = open_behind(start.get(bracket..end).unwrap_or_default(), 0);
                match block(rest, open) {
                    Some((0, _)) => {}
                    Some((length, after)) => {
                        end = start.len() - rest.len() + length;
                        rest = after;
                    }
                    None => can_be_block = false,
                }
            }
            let (name, contents) = start.get(..end).unwrap_or_default().split_at(bracket);
            let contents = contents.trim_ascii_start();
            return Some(Piece::Object {
                reference,
                name,
                contents,
            });
        }
    })
}

/// How many bytes of the text belong to the object before it, of which so many brackets are open, and what comes after
/// their line. None where the brackets do not close before the telegram ends.
fn block(text: &[u8], mut open: usize) -> Option<(usize, &[u8])> {
    let (mut rest, mut length) = (text, 0);
    while open > 0 {
        let (line, after) = split_line(rest);
        if rest.is_empty() || line.first() == Some(&b'!') {
            return None;
        }
        open = open_behind(line, open);
        length = text.len() - rest.len() + line.len();
        rest = after;
    }
    // What goes on with it goes on.
    while length > 0 && rest.first() == Some(&b'(') {
        let (line, after) = split_line(rest);
        length = text.len() - rest.len() + line.len();
        rest = after;
    }
    Some((length, rest))
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
        assert_eq!(inside("(a (b) c)"), ["a (b) c"]);
        assert_eq!(inside("((ER11))"), ["(ER11)"]);
        assert_eq!(inside("(1)((2)(3))(4)"), ["1", "(2)(3)", "4"]);
        assert_eq!(inside("(1)((2)(3)(4"), ["1", "(2", "3", "4"]);
        assert_eq!(inside(")(1)"), [")(1)"]);
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
    fn a_name_by_itself_goes_on_with_the_line_behind_it() {
        let found: Vec<_> = pieces(b"0-1:24.2.1\r\n(1)\r\n(2)\r\njunk\r\n(3)\r\n1-0:1.7.0\r\n").collect();
        assert_eq!(
            found,
            [
                Piece::Object {
                    reference: None,
                    name: b"0-1:24.2.1",
                    contents: b"(1)\r\n(2)"
                },
                Piece::Line(b"junk"),
                Piece::Line(b"(3)"),
                Piece::Line(b"1-0:1.7.0"),
            ]
        );
    }

    /// The names of the pieces.
    fn names(body: &str) -> Vec<String> {
        let name = |piece| match piece {
            Piece::Object { name, .. } | Piece::Line(name) => String::from_utf8_lossy(name).into_owned(),
            Piece::End(_) => "!".to_owned(),
        };
        pieces(body.as_bytes()).map(name).collect()
    }

    #[test]
    fn a_profile_owns_the_lines_up_to_the_bracket_that_closes_it() {
        for block in [
            "0-0:98.1.0\r\n(\r\n1-0:1.8.0(1*kWh)\r\n)",
            "0-0:98.1.0(\r\n0-0:1.0.0(260101000000W)\r\n1-0:1.8.0(1*kWh)\r\n)",
            "0-0:98.1.0(1)(\n1-0:1.8.0(1*kWh))\n(2)",
            "1-0:99.97.0(\r\n(1)(0-0:96.7.19)\r\n1-0:1.8.0(1*kWh)\r\n)\r\n(3)",
            "0-0:98.1.0(1-0:1.8.0(1*kWh)1-0:1.7.0(1*kW))",
        ] {
            let name = &block[..block.find(['(', '\r']).unwrap_or(0)];
            let body = format!("a(1)\r\n{block}\r\nb(2)\r\n!\r\n");
            assert_eq!(names(&body), ["a", name, "b", "!"], "{block}");
        }
    }

    #[test]
    fn a_profile_that_never_closes_owns_its_line_only() {
        assert_eq!(
            names("0-0:98.1.0(12)(1-0:1.6.0\r\n1-0:1.8.0(1*kWh)\r\n1-0:1.7.0(1*kW)\r\n!\r\n"),
            ["0-0:98.1.0", "1-0:1.8.0", "1-0:1.7.0", "!"]
        );
    }

    #[test]
    fn an_identification_line_may_end_with_a_cr_only() {
        for end in ["\r", "\n", "\r\n", "\r\r\n", "\r\r"] {
            let telegram = format!("/XYZ5 id{end}1-3:0.2.8(50)\r\n!\r\n");
            let (id, body) = identification(telegram.as_bytes());
            assert_eq!(id, b"XYZ5 id");
            let text = String::from_utf8_lossy(body).into_owned();
            assert_eq!(names(&text), ["1-3:0.2.8", "!"], "{end:?}");
        }
    }

    #[test]
    fn an_exclamation_mark_ends_the_telegram_only_at_the_start_of_a_line() {
        let (id, body) = identification(b"/id\r\n\r\na(wow!)\r\n!12AB\r\nrest");
        assert_eq!(id, b"id");
        let found: Vec<_> = pieces(body).collect();
        assert_eq!(found, [object(b"a", b"(wow!)"), Piece::End(b"12AB")]);
    }
}

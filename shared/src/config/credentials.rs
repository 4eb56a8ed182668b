//! The credentials file: Java properties with `user` and `password`.
//!
//! The syntax is that of `java.util.Properties.load`, read here and not by a crate: the maintained one
//! brings a regular-expression engine and its own encodings for what is a page of code, and would not
//! tell UTF-8 from Latin-1. `${}` is literal. No error holds any of the file's text, since a line that
//! is not understood may be the password.

use std::io;
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use super::secret::{SecretText, read_private};

/// User and password for the broker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Credentials {
    /// `user`.
    pub user: String,
    /// `password`; a broker may ask for none.
    pub password: Option<SecretText>,
}

/// Why credentials could not be loaded. A later try may succeed.
#[derive(Debug, thiserror::Error)]
pub enum CredentialsError {
    /// The file cannot be read.
    #[error("cannot read credentials file {path}: {source}")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// It is no properties file, or it lacks the user.
    #[error("credentials file {path}: {fault}")]
    Invalid {
        /// The file.
        path: PathBuf,
        /// What is wrong and what is expected, without any of its text.
        fault: String,
    },
}

impl Credentials {
    /// Loads a credentials file; beside it come warnings for the log.
    ///
    /// # Errors
    /// Where the file cannot be read, is no properties file or has no `user`.
    pub fn load(path: &Path) -> Result<(Self, Vec<String>), CredentialsError> {
        let unreadable = |source| CredentialsError::Unreadable {
            path: path.to_owned(),
            source,
        };
        let invalid = |fault| CredentialsError::Invalid {
            path: path.to_owned(),
            fault,
        };
        let (bytes, warning) = read_private(path).map_err(unreadable)?;
        let (credentials, unused) = from_properties(&bytes).map_err(invalid)?;
        let unused = (unused > 0).then(|| {
            let path = path.display();
            format!("{path} has {unused} further keys beside `user` and `password`, which have no effect")
        });
        Ok((credentials, warning.into_iter().chain(unused).collect()))
    }
}

/// The credentials in a properties file, and how many further keys it has.
fn from_properties(bytes: &[u8]) -> Result<(Credentials, usize), String> {
    let properties = properties(&decode(bytes))?;
    // As in Java, the last of several counts.
    let last = |name: &str| {
        properties
            .iter()
            .rev()
            .find(|(key, _)| key.as_str() == name)
            .map(|(_, value)| value.as_str())
    };
    let unused = properties
        .iter()
        .filter(|(key, _)| !["user", "password"].contains(&key.as_str()))
        .count();
    match last("user") {
        Some(user) if !user.is_empty() => Ok((
            Credentials {
                user: user.to_owned(),
                password: last("password").map(|password| SecretText::new(password.to_owned())),
            },
            unused,
        )),
        Some(_) => Err("`user` is empty; expected a line `user=NAME`".to_owned()),
        None => {
            let alike = ["username", "User", "login", "mqtt.user"];
            let meant = alike
                .iter()
                .find(|name| properties.iter().any(|(key, _)| key.as_str() == **name));
            let meant = meant.map_or_else(String::new, |name| format!(" (it has `{name}`)"));
            Err(format!(
                "has no `user`{meant}; expected the lines `user=NAME` and `password=PASSWORD`"
            ))
        }
    }
}

/// A piece of the file on the way to what it says. Each is made with room for all of it: one that grows leaves pieces of
/// itself behind in memory.
type Piece = Zeroizing<String>;

fn piece(longest: usize) -> Piece {
    Zeroizing::new(String::with_capacity(longest))
}

/// UTF-8 where it is valid, else Latin-1, which is what Java wrote for twenty years. Every line end becomes `\n`.
fn decode(bytes: &[u8]) -> Piece {
    let bytes = bytes.strip_prefix("\u{feff}".as_bytes()).unwrap_or(bytes);
    let mut decoded = piece(2 * bytes.len());
    match std::str::from_utf8(bytes) {
        Ok(text) => decoded.push_str(text),
        Err(_) => decoded.extend(bytes.iter().copied().map(char::from)),
    }
    let mut text = piece(decoded.len());
    for (index, line) in decoded.split('\n').enumerate() {
        if index > 0 {
            text.push('\n');
        }
        let line = line.strip_suffix('\r').unwrap_or(line);
        text.extend(line.chars().map(|c| if c == '\r' { '\n' } else { c }));
    }
    text
}

/// Keys and values in the order of the file.
fn properties(text: &str) -> Result<Vec<(Piece, Piece)>, String> {
    let mut properties = Vec::new();
    for (number, line) in logical_lines(text) {
        let (key, value) = split(&line);
        let unescaped = |text| unescape(text).map_err(|fault| format!("line {number} {fault}"));
        properties.push((unescaped(key)?, unescaped(value)?));
    }
    Ok(properties)
}

const BLANKS: [char; 3] = [' ', '\t', '\x0c'];

/// Lines joined where one ends in an odd number of backslashes, without comments and blank lines, each
/// with the number of its first.
fn logical_lines(text: &str) -> Vec<(usize, Piece)> {
    let lines: Vec<&str> = text
        .split('\n')
        .map(|line| line.trim_start_matches(BLANKS))
        .collect();
    let mut logical = Vec::new();
    let mut begun: Option<(usize, Piece)> = None;
    for (index, line) in lines.iter().enumerate() {
        if begun.is_none() && (line.is_empty() || line.starts_with(['#', '!'])) {
            continue;
        }
        let content = line.strip_suffix('\\').filter(|_| goes_on(line));
        let (_, joined) = begun.get_or_insert_with(|| {
            let rest = lines.get(index..).unwrap_or_default();
            let last = rest.iter().position(|line| !goes_on(line)).unwrap_or(rest.len());
            let length = rest.iter().take(last + 1).map(|line| line.len()).sum();
            (index + 1, piece(length))
        });
        joined.push_str(content.unwrap_or(line));
        if content.is_none() {
            logical.extend(begun.take());
        }
    }
    logical.extend(begun);
    logical
}

/// Whether the next line belongs to this one.
fn goes_on(line: &str) -> bool {
    let backslashes = line.len() - line.trim_end_matches('\\').len();
    backslashes % 2 == 1
}

/// Key and value, both still escaped: the key ends at the first blank, `=` or `:` without a backslash.
fn split(line: &str) -> (&str, &str) {
    let mut is_escaped = false;
    let end = line.char_indices().find(|(_, c)| {
        let ends = !is_escaped && (BLANKS.contains(c) || "=:".contains(*c));
        is_escaped = !is_escaped && *c == '\\';
        ends
    });
    let (key, rest) = line.split_at(end.map_or(line.len(), |(at, _)| at));
    let rest = rest.trim_start_matches(BLANKS);
    let value = rest
        .strip_prefix(['=', ':'])
        .map_or(rest, |value| value.trim_start_matches(BLANKS));
    (key, value)
}

/// Replaces `\t`, `\n`, `\r`, `\f`, `\uXXXX` (UTF-16, so pairs stand for one character); before anything
/// else a backslash is dropped.
fn unescape(text: &str) -> Result<Piece, String> {
    let mut units = Zeroizing::new(Vec::with_capacity(text.len()));
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        let plain =
            match c {
                '\\' => match chars.next() {
                    None => break,
                    Some('t') => '\t',
                    Some('n') => '\n',
                    Some('r') => '\r',
                    Some('f') => '\x0c',
                    Some('u') => {
                        let digits: String = chars.by_ref().take(4).collect();
                        let is_hex = digits.len() == 4 && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
                        let unit = u16::from_str_radix(&digits, 16).ok().filter(|_| is_hex);
                        units.push(unit.ok_or(
                            "has `\\u` without four hex digits; a backslash itself is written `\\\\`",
                        )?);
                        continue;
                    }
                    Some(other) => other,
                },
                plain => plain,
            };
        units.extend_from_slice(plain.encode_utf16(&mut [0; 2]));
    }
    let mut unescaped = piece(3 * units.len());
    for character in char::decode_utf16(units.iter().copied()) {
        unescaped.push(character.map_err(|_| "has half of a `\\u` pair; expected both halves")?);
    }
    Ok(unescaped)
}

#[cfg(test)]
mod tests {
    use super::super::secret::memory;
    use super::*;

    fn read(text: &[u8]) -> (String, Option<String>) {
        let (credentials, _) = from_properties(text).unwrap_or_else(|fault| panic!("{fault}"));
        (
            credentials.user,
            credentials.password.map(|password| password.expose().to_owned()),
        )
    }

    #[test]
    fn a_password_that_is_dropped_is_in_the_memory_no_longer() {
        // Made here, so that nothing but what is looked for holds it. The é is two bytes and the backslash none.
        const LENGTH: usize = 48;
        let letter = |index: usize| b'a' + ((13 * index * index + 7 * index) % 101 % 26) as u8;
        for (before, after) in [
            ("user=a\npassword=", ""),
            ("user=\\\nb\npassword = \\\n x\u{e9}", "\nhost=c\r\n"),
        ] {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("credentials");
            std::fs::write(&path, before).unwrap();
            memory::write(&path, LENGTH, letter);
            memory::write(&path, after.len(), |index| after.as_bytes()[index]);
            let (credentials, _) = Credentials::load(&path).unwrap();
            let password = credentials.password.as_ref().unwrap().expose();
            assert!(password.len() >= LENGTH, "{} bytes", password.len());
            // The allocator writes to the beginning of what is given back.
            let rest = || memory::copies(LENGTH - 16, |index| letter(16 + index));
            assert_eq!(rest(), 1, "the password, and nothing of the file");
            drop(credentials);
            assert_eq!(rest(), 0);
        }
    }

    #[track_caller]
    fn assert_reads(text: impl AsRef<[u8]>, user: &str, password: &str) {
        assert_eq!(read(text.as_ref()), (user.to_owned(), Some(password.to_owned())));
    }

    #[test]
    fn the_file_of_the_go_program_is_read() {
        assert_reads("user=meter\npassword=s3cret\n", "meter", "s3cret");
    }

    #[test]
    fn every_separator_is_taken() {
        for separator in ["=", ":", " ", "\t", " = ", " : ", "\t=\t", "   "] {
            assert_reads(format!("user{separator}a\npassword{separator}b"), "a", "b");
        }
        assert_reads("user==a\npassword:=b", "=a", "=b");
    }

    #[test]
    fn comments_blank_lines_and_line_ends_do_not_count() {
        assert_reads(
            "# user=x\r\n! user=y\r\n\r\n  user=a\r\n\t\r\n password=b\r\n",
            "a",
            "b",
        );
        assert_reads("user=a\rpassword=b", "a", "b");
        assert_reads("#comment \\\nuser=a\npassword=b", "a", "b");
    }

    #[test]
    fn a_password_may_hold_what_looks_like_syntax() {
        assert_reads("user=a\npassword=${HOME}#!=: x", "a", "${HOME}#!=: x");
        assert_reads("user=a\npassword=b  ", "a", "b  ");
        assert_reads("user=a\npassword='\"b\"'", "a", "'\"b\"'");
    }

    #[test]
    fn lines_go_on_after_a_backslash() {
        assert_reads("user=a\npassword=one\\\n   two\\\n\tthree", "a", "onetwothree");
        assert_reads("user=a\npassword=one\\\\\n", "a", "one\\");
        assert_reads("us\\\n  er=a\npassword=b\\\n#c", "a", "b#c");
        assert_reads("user=a\npassword=b\\", "a", "b");
    }

    #[test]
    fn escapes_are_resolved() {
        assert_reads("user=a\\=\\:\\ b\npassword=\\ x\\tz\\\\\\q", "a=: b", " x\tz\\q");
        assert_reads("user=\\u0041\\u00e9\npassword=\\uD83D\\uDE00", "Aé", "\u{1f600}");
        assert_reads("us\\u0065r=a\npassword=b", "a", "b");
        assert_eq!(
            properties("a\\=b\\ c=d").unwrap(),
            [("a=b c".to_owned().into(), "d".to_owned().into())]
        );
    }

    #[test]
    fn utf_8_and_latin_1_are_both_read() {
        assert_reads("user=één\npassword=p\u{1f600}", "één", "p\u{1f600}");
        assert_reads(b"user=\xe9\xe9n\npassword=\xa3", "één", "£");
        assert_reads("\u{feff}user=a\npassword=b", "a", "b");
    }

    #[test]
    fn the_last_of_several_counts_and_a_password_may_be_missing() {
        assert_reads("user=a\nuser=b\npassword=c\npassword=d", "b", "d");
        assert_eq!(read(b"user=a"), ("a".to_owned(), None));
        assert_eq!(read(b"user=a\npassword="), ("a".to_owned(), Some(String::new())));
    }

    #[test]
    fn what_is_wrong_is_said_without_the_secret() {
        for (text, reason) in [
            ("", "no `user`"),
            ("password=hunter2", "no `user`"),
            ("username=me\npassword=hunter2", "it has `username`"),
            ("hunter2", "no `user`"),
            ("user=\npassword=hunter2", "`user` is empty"),
            (
                "user=a\npassword=hunter2\\u12",
                "line 2 has `\\u` without four hex digits",
            ),
            ("user=a\npassword=hunter2\\u+123", "without four hex digits"),
            ("user=a\npassword=hunter2\\ud83d", "half of a"),
        ] {
            let fault = from_properties(text.as_bytes()).expect_err(text);
            assert!(fault.contains(reason), "{text:?}: {fault}");
            assert!(!fault.contains("hunter2"), "{fault}");
        }
    }

    #[test]
    fn an_open_file_and_unused_keys_get_warnings() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("mqtt.properties");
        std::fs::write(&path, "user=a\npassword=b\nhost=c\n").unwrap();
        for (mode, expected) in [(0o644, 2), (0o640, 2), (0o600, 1)] {
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            let (credentials, warnings) = Credentials::load(&path).unwrap();
            assert_eq!(credentials.user, "a");
            assert_eq!(warnings.len(), expected, "mode {mode:o}: {warnings:?}");
        }
    }

    #[test]
    fn a_missing_file_is_named() {
        let error = Credentials::load(Path::new("/nonexistent/credentials")).expect_err("missing");
        assert!(error.to_string().contains("/nonexistent/credentials"), "{error}");
    }

    /// A text as `java.util.Properties.store` writes it: blanks, separators and comment signs with a
    /// backslash, everything else beyond printable ASCII as UTF-16.
    fn as_java_writes(text: &str) -> String {
        let mut written = String::new();
        for c in text.chars() {
            match c {
                ' ' | '=' | ':' | '#' | '!' | '\\' => written.extend(['\\', c]),
                ' '..='~' => written.push(c),
                _ => c
                    .encode_utf16(&mut [0; 2])
                    .iter()
                    .for_each(|unit| written += &format!("\\u{unit:04X}")),
            }
        }
        written
    }

    proptest::proptest! {
        #[test]
        fn what_java_writes_is_read_back(user in "\\PC{1,20}|.{1,20}", password in ".{0,40}", blanks in "[ \t]{0,3}") {
            let file = format!(
                "#Sat Nov 21 08:00:00 CET 2026\r\n{blanks}user={}\r\n{blanks}password={}\r\n",
                as_java_writes(&user),
                as_java_writes(&password)
            );
            proptest::prop_assert_eq!(read(file.as_bytes()), (user, Some(password)));
        }

        #[test]
        fn no_file_makes_it_panic(bytes: Vec<u8>) {
            let _ = from_properties(&bytes);
        }
    }
}

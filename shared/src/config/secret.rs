//! The meter's keys and the broker's password: values that are never printed and that are cleared from memory when they
//! are no longer used. Keys are given in the configuration or in a file of their own.
//!
//! What is cleared are these values and all that is read on the way to them from a file of their own. What cannot be:
//! a key that stands in the configuration file, in the environment or on the command line, of which the YAML library,
//! the kernel and the arguments hold copies; what is handed to other crates, see `publisher::mqtt`.

use std::fmt;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::process::{getegid, geteuid};
use zeroize::{Zeroize, Zeroizing};

use super::KeySource;
use crate::regular_file;

/// A 128-bit key. It does not print. Moving it leaves no copy behind.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretKey(Box<[u8; 16]>);

impl SecretKey {
    /// The key's bytes, for the cipher alone.
    pub fn bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

impl From<[u8; 16]> for SecretKey {
    fn from(bytes: [u8; 16]) -> Self {
        Self(Box::new(bytes))
    }
}

impl Drop for SecretKey {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretKey(not shown)")
    }
}

/// A text such as a password. It does not print.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretText(String);

impl SecretText {
    pub(super) fn new(text: String) -> Self {
        Self(text)
    }

    /// The text, for the broker alone.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl Drop for SecretText {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl fmt::Debug for SecretText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretText(not shown)")
    }
}

/// Why a key could not be loaded.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The file cannot be read.
    #[error("cannot read key file {path}: {source}")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The file holds something else.
    #[error(
        "key file {path} does not hold a key; expected 32 hex digits and nothing else (its content is not shown)"
    )]
    NoKey {
        /// The file.
        path: PathBuf,
    },
}

impl KeySource {
    /// The key, read from its file where it is in one, and warnings about that file.
    ///
    /// # Errors
    /// Where the file cannot be read or holds no key. A later try may succeed.
    pub fn load(&self) -> Result<(SecretKey, Vec<String>), KeyError> {
        let path = match self {
            Self::Key(key) => return Ok((key.clone(), Vec::new())),
            Self::File(path) => path,
        };
        let unreadable = |source| KeyError::Unreadable {
            path: path.clone(),
            source,
        };
        let (bytes, warning) = read_private(path).map_err(unreadable)?;
        let key = std::str::from_utf8(&bytes)
            .ok()
            .and_then(|text| parse_key(text.trim()));
        let key = key.ok_or_else(|| KeyError::NoKey { path: path.clone() })?;
        Ok((key, warning.into_iter().collect()))
    }
}

/// `decryption_key` and `authentication_key` as configured. The error never holds the value.
pub(super) fn key_source(text: &str) -> Result<KeySource, String> {
    match text.strip_prefix("file:") {
        Some("") => Err("names no file after `file:`; expected file:PATH".into()),
        Some(path) if is_in_place_of_path(path) => {
            Err("holds no path after `file:`; expected file:PATH, or 32 hex digits without `file:`".into())
        }
        Some(path) => Ok(KeySource::File(PathBuf::from(path))),
        None => parse_key(text).map(KeySource::Key).ok_or_else(|| {
            format!(
                "is {} characters that are no key; expected 32 hex digits, or file:PATH",
                text.chars().count()
            )
        }),
    }
}

/// Whether a text that someone gave may hold a password or a key: then it is printed nowhere.
pub fn may_be_in(text: &str) -> bool {
    const WORDS: [&str; 6] = ["pass", "pwd", "secret", "token", "credential", "login"];
    let lower = text.to_lowercase();
    text.contains(['@', '=', '?']) || WORDS.iter().any(|word| lower.contains(word)) || is_like_key(text)
}

/// Whether a text is made of hex digits, as many as a piece of a key has.
pub(super) fn is_like_key(text: &str) -> bool {
    // A long number is no key.
    let fewest_digits = if text.contains(|c: char| c.is_ascii_alphabetic()) {
        16
    } else {
        24
    };
    let is_between = |c: char| c.is_whitespace() || ":-_.,".contains(c);
    let digits = text.strip_prefix("0x").unwrap_or(text).trim_matches(is_between);
    digits.chars().all(|c| c.is_ascii_hexdigit() || is_between(c))
        && digits.chars().filter(char::is_ascii_hexdigit).count() >= fewest_digits
}

/// Whether what stands where a file's path is expected is more likely what that file should hold.
pub(super) fn is_in_place_of_path(text: &str) -> bool {
    let is_pair = |(name, _): (&str, &str)| !name.contains(['/', '.']);
    is_like_key(text)
        || text.contains(['\n', '\r'])
        || text.split_once(['=', ':']).is_some_and(is_pair)
        || (text.contains('@') && !text.contains('/'))
}

/// The 16 bytes of 32 hex digits.
fn parse_key(text: &str) -> Option<SecretKey> {
    let mut key = SecretKey::from([0; 16]);
    if text.len() != 2 * key.0.len() {
        return None;
    }
    for (byte, pair) in key.0.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        for digit in pair {
            *byte = *byte << 4 | char::from(*digit).to_digit(16)? as u8;
        }
    }
    Some(key)
}

/// The bytes of a file that only this user should read, and a warning if others can.
pub(super) fn read_private(path: &Path) -> io::Result<(Zeroizing<Vec<u8>>, Option<String>)> {
    let (bytes, metadata) = regular_file::read(path, LONGEST_SECRET_FILE_BYTES)?;
    Ok((Zeroizing::new(bytes), others_read(path, &metadata)))
}

/// A warning if this file, which holds a secret, can be read by others than those it is meant for. None if it cannot be
/// looked at.
pub fn warning(path: &Path) -> Option<String> {
    let metadata = path.metadata().ok()?;
    others_read(path, &metadata)
}

/// As [`warning`]. A file of another owner, or of a group that is not this user's first one, has been given to its group
/// on purpose: that is how a service is let read it.
pub(super) fn others_read(path: &Path, metadata: &std::fs::Metadata) -> Option<String> {
    const EVERYONE_READS: u32 = 0o004;
    const GROUP_READS: u32 = 0o040;
    let has = |bit: u32| metadata.is_file() && metadata.mode() & bit != 0;
    let is_ours = metadata.uid() == geteuid().as_raw() && metadata.gid() == getegid().as_raw();
    let (who, class) = match (has(EVERYONE_READS), has(GROUP_READS) && is_ours) {
        (false, false) => return None,
        (false, true) => ("every member of its group", "g"),
        (true, false) => ("every user of this machine", "o"),
        (true, true) => ("every user of this machine", "go"),
    };
    let path = path.display();
    Some(format!(
        "{path} holds a secret and {who} can read it; mend that with: chmod {class}= {path}"
    ))
}

/// Longest file with a key or credentials, in bytes.
const LONGEST_SECRET_FILE_BYTES: u64 = 64 * 1024;

#[cfg(test)]
pub(super) mod memory;

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    const DIGITS: &str = "00112233445566778899AABBccddeeff";

    fn file(content: &[u8], mode: u32) -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        std::fs::write(&path, content).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        (folder, path)
    }

    #[test]
    fn thirty_two_hex_digits_are_a_key() {
        let expected: Vec<u8> = (0..16).map(|n| n * 0x11).collect();
        let (key, warnings) = key_source(DIGITS).unwrap().load().unwrap();
        assert_eq!(key.bytes().as_slice(), expected);
        assert_eq!(warnings, Vec::<String>::new());
    }

    #[test]
    fn a_file_may_hold_the_key_with_a_line_end() {
        for end in ["", "\n", "\r\n", " \n"] {
            let (_folder, path) = file(format!("{DIGITS}{end}").as_bytes(), 0o600);
            let (key, warnings) = key_source(&format!("file:{}", path.display()))
                .unwrap()
                .load()
                .unwrap();
            assert_eq!(key.bytes()[15], 0xff);
            assert_eq!(warnings, Vec::<String>::new());
        }
    }

    #[test]
    fn a_file_that_others_read_gets_a_warning() {
        for (mode, who, class) in [
            (0o644, "every user", "chmod go="),
            (0o604, "every user", "chmod o="),
            (0o640, "every member of its group", "chmod g="),
            (0o440, "every member of its group", "chmod g="),
        ] {
            let (_folder, path) = file(DIGITS.as_bytes(), mode);
            let (_, warnings) = KeySource::File(path.clone()).load().unwrap();
            assert_eq!(warnings.len(), 1, "mode {mode:o}");
            assert!(
                warnings[0].contains(who) && warnings[0].contains(class),
                "mode {mode:o}: {}",
                warnings[0]
            );
            assert_eq!(warning(&path).as_ref(), warnings.first());
        }
        for mode in [0o600, 0o400] {
            let (_folder, path) = file(DIGITS.as_bytes(), mode);
            assert_eq!(warning(&path), None, "mode {mode:o}");
        }
    }

    #[test]
    fn a_file_that_was_given_to_a_group_on_purpose_gets_none() {
        if !geteuid().is_root() {
            eprintln!("skipped: only root gives files to other groups");
            return;
        }
        let (_folder, path) = file(DIGITS.as_bytes(), 0o640);
        let other = getegid().as_raw() + 1;
        std::os::unix::fs::chown(&path, None, Some(other)).unwrap();
        assert_eq!(warning(&path), None, "the package's configuration");
        std::os::unix::fs::chown(&path, Some(other), Some(getegid().as_raw())).unwrap();
        assert_eq!(warning(&path), None, "another owner's");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        assert!(warning(&path).is_some_and(|words| words.contains("chmod o=")));
    }

    #[test]
    fn what_is_no_key_is_refused_without_being_shown() {
        let long = DIGITS.repeat(2);
        for text in [
            "",
            "0011",
            &DIGITS[1..],
            &long,
            "0011223344556677889 AABBccddeeff",
            "zz112233445566778899AABBccddeeff",
        ] {
            let fault = key_source(text).expect_err("no key");
            assert!(text.is_empty() || !fault.contains(text), "{fault}");
            let (_folder, path) = file(text.as_bytes(), 0o600);
            let fault = KeySource::File(path).load().expect_err("no key").to_string();
            assert!(text.is_empty() || !fault.contains(text), "{fault}");
        }
    }

    #[test]
    fn a_key_that_is_dropped_is_in_the_memory_no_longer() {
        // Made here, so that nothing but what is looked for holds it.
        let byte = |index: usize| (index as u8).wrapping_mul(0x4F) ^ 0xA7;
        let digit = |index: usize| {
            let half = if index % 2 == 0 {
                byte(index / 2) >> 4
            } else {
                byte(index / 2) & 0xF
            };
            b"0123456789abcdef"[usize::from(half)]
        };
        let (folder, path) = file(b"", 0o600);
        memory::write(&path, 32, digit);
        let source = KeySource::File(path);
        let (key, _) = source.load().unwrap();
        let moved = Some((0, key.clone()));
        assert_eq!(
            memory::copies(16, byte),
            2,
            "the key and its clone, and none from moving it"
        );
        assert_eq!(memory::copies(32, digit), 0, "what was read of the file");
        // The allocator writes to the beginning of what is given back, and uses some of it again at once.
        let many = vec![key.clone(); 3000];
        let half = || memory::copies(8, |index| byte(8 + index));
        assert_eq!(half(), 3002);
        drop((key, moved, many));
        assert_eq!(half(), 0);
        drop(folder);
    }

    #[test]
    fn a_missing_key_file_is_named() {
        let fault = KeySource::File("/nonexistent/key".into())
            .load()
            .expect_err("missing")
            .to_string();
        assert!(fault.contains("/nonexistent/key"), "{fault}");
    }

    #[test]
    fn nothing_that_holds_a_secret_prints_it() {
        let source = key_source(DIGITS).unwrap();
        let (key, _) = source.load().unwrap();
        let password = SecretText::new("hunter2".into());
        let printed = format!("{source:?} {key:?} {password:?}").to_lowercase();
        for secret in ["0011", "eeff", "238", "255", "hunter2"] {
            assert!(!printed.contains(secret), "{printed}");
        }
    }
}

//! A mistake in the configuration, and where a value came from: what a person needs to mend it.
//!
//! No mistake ever holds the value of a secret key.

use std::fmt;
use std::path::PathBuf;

use super::secret;

/// Where a value came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// The configuration file.
    File(PathBuf),
    /// A flag, named without dashes.
    Flag(&'static str),
    /// An environment variable.
    Environment(String),
    /// Nothing was given.
    Default,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Flag(name) => write!(f, "flag --{name}"),
            Self::Environment(name) => write!(f, "environment variable {name}"),
            Self::Default => f.write_str("default"),
        }
    }
}

/// One thing to mend.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistake {
    /// Where the value stands.
    pub origin: Origin,
    /// Dotted path of the key; empty where the mistake is about the file as a whole.
    pub key: String,
    /// The line of the file on which the key stands, if that is known.
    pub line: Option<usize>,
    /// The value and what is expected, in words.
    pub fault: String,
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.origin)?;
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
        }
        match self.key.as_str() {
            "" => write!(f, ": {}", self.fault),
            key => write!(f, ": {key}: {}", self.fault),
        }
    }
}

/// All that is to be mended, in the order of the file; never empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistakes(pub Vec<Mistake>);

impl fmt::Display for Mistakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.as_slice() {
            [only] => write!(f, "{only}"),
            many => {
                write!(f, "{} mistakes in the configuration:", many.len())?;
                many.iter()
                    .take(MOST_SHOWN)
                    .try_for_each(|mistake| write!(f, "\n  {mistake}"))?;
                match many.len().saturating_sub(MOST_SHOWN) {
                    0 => Ok(()),
                    more => write!(f, "\n  and {more} more"),
                }
            }
        }
    }
}

/// Mistakes that are shown; of more the number is.
const MOST_SHOWN: usize = 50;

/// A value as it is shown in a mistake: quoted, without control characters, cut where it is long, and not at all
/// where it may hold a secret.
pub(super) fn shown(text: &str) -> String {
    const LONGEST: usize = 80;
    if secret::may_be_in(text) {
        return NOT_SHOWN.to_owned();
    }
    let clean: String = text
        .chars()
        .map(|c| if c.is_control() { '\u{fffd}' } else { c })
        .take(LONGEST)
        .collect();
    let more = if text.chars().count() > LONGEST { "…" } else { "" };
    format!("`{clean}{more}`")
}

/// An address as it is shown in a mistake. `given` is all that stands at the key: a password with a comma makes a list
/// of it. Of an address with a user name no more is shown than the host and port behind it.
pub(super) fn shown_address(text: &str, given: &[String]) -> String {
    let text = text.trim();
    let has_user = |text: &str| text.contains('@');
    let host = text.rsplit_once('@').map(|(_, host)| host);
    match host {
        Some(host) if given.len() <= 1 && is_host_and_port(host) => format!("`…@{host}`"),
        Some(_) => NOT_SHOWN.to_owned(),
        None if given.iter().any(|text| has_user(text)) => NOT_SHOWN.to_owned(),
        None => {
            let (scheme, rest) = text.split_once("://").unwrap_or(("", text));
            // What is no port may be a password, if the host was forgotten.
            match rest.split_once(':') {
                Some((host, port)) if !is_port(port) && !is_ipv6(rest) => {
                    let scheme = if scheme.is_empty() {
                        String::new()
                    } else {
                        format!("{scheme}://")
                    };
                    shown(&format!("{scheme}{host}:…"))
                }
                _ => shown(text),
            }
        }
    }
}

fn is_host_and_port(text: &str) -> bool {
    let (host, port) = text.split_once(':').unwrap_or((text, "1"));
    is_port(port)
        && host
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "-._".contains(c))
}

fn is_port(text: &str) -> bool {
    text.len() <= 5 && text.chars().all(|c| c.is_ascii_digit())
}

fn is_ipv6(text: &str) -> bool {
    text.starts_with('[') || (text.contains("::") && text.chars().all(|c| c.is_ascii_hexdigit() || c == ':'))
}

/// The name of a key as it is shown: as it is where it looks like one.
pub(super) fn shown_key(path: &str) -> &str {
    const LONGEST: usize = 60;
    let is_name = path
        .chars()
        .all(|c| c.is_ascii_alphanumeric() || "_-.<".contains(c));
    if is_name && path.len() <= LONGEST && !secret::is_like_key(path) {
        path
    } else {
        "a key whose name is not shown"
    }
}

/// Stands for a value.
const NOT_SHOWN: &str = "a value that is not shown, since it may hold a secret,";

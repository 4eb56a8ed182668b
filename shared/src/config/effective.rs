//! What is in effect, for `--check`: every key with its value and where that came from.
//!
//! The listing is itself a valid configuration file. Secrets are not in it.

use std::fmt::{self, Write as _};

use super::key::{ALL, Key};
use super::mistake::Origin;
use crate::outside;

/// One key with its value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    path: &'static str,
    is_hidden: bool,
    /// None where the key is off, several where it is a list.
    texts: Vec<String>,
    origin: Origin,
}

impl Entry {
    /// An entry; the value of a secret is dropped here, unless it names a file.
    pub(super) fn new(key: &Key, texts: Vec<String>, origin: Origin) -> Self {
        let is_hidden = key.is_secret && texts.iter().any(|text| !text.trim().starts_with("file:"));
        let texts = if is_hidden {
            Vec::new()
        } else {
            texts.iter().map(|text| text.trim().to_owned()).collect()
        };
        Self {
            path: key.path,
            is_hidden,
            texts,
            origin,
        }
    }
}

/// Every key with its value, in the order of the reference file. Its `Display` is the listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Effective(Vec<Entry>);

impl Effective {
    pub(super) fn new(mut entries: Vec<Entry>) -> Self {
        let position = |entry: &Entry| ALL.iter().position(|key| key.path == entry.path);
        entries.sort_by_key(position);
        Self(entries)
    }

    #[cfg(test)]
    pub(super) fn paths(&self) -> Vec<&'static str> {
        self.0.iter().map(|entry| entry.path).collect()
    }
}

impl fmt::Display for Effective {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut section = "";
        for entry in &self.0 {
            let (entry_section, name) = entry.path.rsplit_once('.').unwrap_or(("", entry.path));
            if entry_section != section {
                writeln!(f, "{entry_section}:")?;
                section = entry_section;
            }
            let mut line = String::new();
            if !section.is_empty() {
                line.push_str("  ");
            }
            if entry.is_hidden {
                line.push_str("# ");
            }
            write!(line, "{name}:")?;
            match entry.texts.as_slice() {
                _ if entry.is_hidden => line.push_str(" (given, not shown)"),
                [] => {}
                [only] => write!(line, " {}", quoted(only))?,
                many => write!(
                    line,
                    " [{}]",
                    many.iter()
                        .map(|text| quoted(text))
                        .collect::<Vec<_>>()
                        .join(", ")
                )?,
            }
            let origin = entry.origin.to_string();
            writeln!(f, "{line:COLUMN$} # {}", outside::escaped(&origin))?;
        }
        Ok(())
    }
}

/// Where the origins stand, so that they can be read down the page.
const COLUMN: usize = 50;

/// A text as YAML reads it back: as it is where that is safe, else in double quotes (JSON's are YAML's).
fn quoted(text: &str) -> String {
    let is_plain = text.starts_with(|c: char| c.is_ascii_alphanumeric() || "./".contains(c))
        && text
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "._-/:@+".contains(c))
        && !text.ends_with(':')
        && !NULLS.contains(&text.to_ascii_lowercase().as_str());
    if is_plain {
        text.to_owned()
    } else {
        outside::escaped_json(&serde_json::Value::from(text).to_string()).into_owned()
    }
}

/// Words that YAML takes for nothing where they stand without quotes.
const NULLS: [&str; 2] = ["null", "~"];

//! The YAML file: where it is looked for, and what it holds, as text.
//!
//! The only place that names serde_yaml. A scalar keeps the text that the user wrote, so that a topic
//! of `1.10` is not turned into the number 1.1, and `yes` is as good as `true` where a switch is wanted.
//! For that the document is read twice: first for its shape, then once more with the shape as a guide,
//! asking for text at every leaf.

use std::cell::Cell;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use crate::regular_file;
use serde::de::{self, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};

/// Where the file is looked for when none is named, in this order.
pub const PLACES: [&str; 3] = [
    "./smartmeter-config.yml",
    "/config/smartmeter-reader.yml",
    "/etc/smartmeter-reader/smartmeter-reader.yml",
];

/// Longest configuration file, in bytes.
const LONGEST_FILE_BYTES: u64 = 64 * 1024;

/// Deepest nesting. The configuration has two levels; what is deeper takes the library the square of its depth in
/// time.
const DEEPEST: usize = 32;

/// What stands at a place of the document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Node {
    /// Nothing, `null` or `~`.
    Null,
    /// A scalar, as it was written.
    Text(String),
    /// A sequence.
    List(Vec<Node>),
    /// A mapping in its order; a key that stands twice is here twice.
    Map(Vec<(String, Node)>),
}

/// Why a file could not be taken in.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// The file that was named does not exist.
    #[error(
        "configuration file {path} does not exist; name another with --config, or leave that out to look in {}",
        PLACES.join(", ")
    )]
    Missing {
        /// The file named.
        path: PathBuf,
    },
    /// It exists and cannot be read.
    #[error("cannot read configuration file {path}: {source}{}", advice(source))]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// It is a folder.
    #[error(
        "configuration file {path} is a folder; {}",
        folder_advice(crate::container::is_inside())
    )]
    Folder {
        /// The folder.
        path: PathBuf,
    },
    /// It is not YAML.
    #[error("configuration file {path} is not valid YAML: {fault}")]
    Syntax {
        /// The file.
        path: PathBuf,
        /// Where and why, without any value.
        fault: String,
    },
}

fn advice(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::PermissionDenied => {
            "; run this with `sudo`, or let the user that runs it read the file"
        }
        _ => "",
    }
}

fn folder_advice(is_inside: bool) -> &'static str {
    if is_inside {
        "the container engine makes one when the file that it is to mount does not exist on the host: remove the folder \
         there, put the file in its place, and recreate the container (docker compose up -d --force-recreate)"
    } else {
        "expected a file"
    }
}

/// The file to read: the one named, which must exist, else the first of `places` that does.
pub(super) fn find(named: Option<&Path>, places: &[PathBuf]) -> Result<Option<PathBuf>, FileError> {
    let candidates = named.map_or_else(|| places.to_vec(), |path| vec![path.to_owned()]);
    for path in candidates {
        match path.metadata() {
            Ok(metadata) if metadata.is_dir() => return Err(FileError::Folder { path }),
            Ok(_) => return Ok(Some(path)),
            // A link to nothing is a file that is meant.
            Err(_) if path.is_symlink() => return Ok(Some(path)),
            Err(source)
                if matches!(
                    source.kind(),
                    io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
                ) => {}
            Err(source) => return Err(FileError::Unreadable { path, source }),
        }
    }
    named.map_or(Ok(None), |path| {
        Err(FileError::Missing {
            path: path.to_owned(),
        })
    })
}

/// A file that was taken in.
#[derive(Debug)]
pub(super) struct Document {
    /// What it holds.
    pub(super) root: Node,
    text: String,
}

/// Takes the file in.
pub(super) fn read(path: &Path) -> Result<Document, FileError> {
    let unreadable = |source| FileError::Unreadable {
        path: path.to_owned(),
        source,
    };
    let syntax = |fault| FileError::Syntax {
        path: path.to_owned(),
        fault,
    };
    let (bytes, _) = regular_file::read(path, LONGEST_FILE_BYTES).map_err(unreadable)?;
    let text = String::from_utf8(bytes)
        .map_err(|error| syntax(format!("byte {} is not UTF-8", error.utf8_error().valid_up_to())))?;
    let root = parse(&text).map_err(syntax)?;
    Ok(Document { root, text })
}

impl Document {
    /// The line on which a key stands: the first time, or the last. It may be written under any of its `names`.
    pub(super) fn line_of(&self, sections: &[&str], names: &[&str], is_last: bool) -> Option<usize> {
        let text = without_byte_order_mark(&self.text);
        let mut line = None;
        for skipped in 0.. {
            let key = KeySeed {
                sections,
                names,
                skipped: &Cell::new(skipped),
            };
            let Err(error) = key.deserialize(serde_yaml::Deserializer::from_str(text)) else {
                break;
            };
            line = error.location().map(|at| at.line());
            if !is_last || line.is_none() {
                break;
            }
        }
        line
    }
}

fn without_byte_order_mark(text: &str) -> &str {
    text.strip_prefix('\u{feff}').unwrap_or(text)
}

/// The document in a text; the error says where and why, and holds no value.
pub(super) fn parse(text: &str) -> Result<Node, String> {
    let text = without_byte_order_mark(text);
    if let Some(line) = too_deep(text) {
        return Err(format!(
            "line {line} is nested deeper than {DEEPEST} levels; expected sections of one level"
        ));
    }
    let fault = |error| without_value(error) + &advice_on_tabs(text);
    let shape = ShapeSeed
        .deserialize(serde_yaml::Deserializer::from_str(text))
        .map_err(fault)?;
    TextSeed(&shape)
        .deserialize(serde_yaml::Deserializer::from_str(text))
        .map_err(fault)
}

/// The number of the first line that may be nested too deep. Brackets and signs of lists count wherever they stand, so
/// that nothing is deeper than was counted.
fn too_deep(text: &str) -> Option<usize> {
    let (mut brackets, mut indents) = (0_usize, Vec::new());
    for (index, line) in text.split(['\n', '\r']).enumerate() {
        let content = line.trim_start_matches(' ');
        if content.is_empty() {
            continue;
        }
        let indent = line.len() - content.len();
        while indents.last().is_some_and(|last| *last >= indent) {
            indents.pop();
        }
        indents.push(indent);
        let signs = content
            .split(' ')
            .take_while(|word| ["-", "?", ":"].contains(word))
            .count();
        let mut deepest = brackets;
        for byte in content.bytes() {
            match byte {
                b'[' | b'{' => brackets += 1,
                b']' | b'}' => brackets = brackets.saturating_sub(1),
                _ => {}
            }
            deepest = deepest.max(brackets);
        }
        if deepest + indents.len() + signs > DEEPEST {
            return Some(index + 1);
        }
    }
    None
}

/// The library's own words hold no value when the syntax is wrong, but do when a tag or type is.
fn without_value(error: serde_yaml::Error) -> String {
    let words = error.to_string();
    if !words.contains("invalid ") {
        return words;
    }
    let place = error
        .location()
        .map_or_else(String::new, |at| format!(" at line {}", at.line()));
    format!("only text, numbers, lists and sections can stand in it, and no tags such as !!binary{place}")
}

/// The commonest slip, which the library does not name.
fn advice_on_tabs(text: &str) -> String {
    let line = text
        .lines()
        .position(|line| line.trim_start_matches(' ').starts_with('\t'));
    line.map_or_else(String::new, |index| {
        format!(
            "; line {} is indented with a tab, and YAML takes blanks alone",
            index + 1
        )
    })
}

/// Reads the document's shape: what is a list, a section, text or nothing. Leaves hold no text yet.
struct ShapeSeed;

impl<'de> DeserializeSeed<'de> for ShapeSeed {
    type Value = Node;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Node, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for ShapeSeed {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("text, a number, a list or a section")
    }

    fn visit_unit<E>(self) -> Result<Node, E> {
        Ok(Node::Null)
    }

    fn visit_none<E>(self) -> Result<Node, E> {
        Ok(Node::Null)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Node, E> {
        Ok(Node::Text(String::new()))
    }

    fn visit_i64<E>(self, _: i64) -> Result<Node, E> {
        Ok(Node::Text(String::new()))
    }

    fn visit_u64<E>(self, _: u64) -> Result<Node, E> {
        Ok(Node::Text(String::new()))
    }

    fn visit_i128<E>(self, _: i128) -> Result<Node, E> {
        Ok(Node::Text(String::new()))
    }

    fn visit_u128<E>(self, _: u128) -> Result<Node, E> {
        Ok(Node::Text(String::new()))
    }

    fn visit_f64<E>(self, _: f64) -> Result<Node, E> {
        Ok(Node::Text(String::new()))
    }

    fn visit_str<E>(self, _: &str) -> Result<Node, E> {
        Ok(Node::Text(String::new()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Node, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element_seed(ShapeSeed)? {
            list.push(item);
        }
        Ok(Node::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Node, A::Error> {
        let mut map = Vec::new();
        while let Some(key) = entries.next_key::<String>()? {
            map.push((key, entries.next_value_seed(ShapeSeed)?));
        }
        Ok(Node::Map(map))
    }
}

/// Reads the document again along its shape, with the text of every leaf.
struct TextSeed<'a>(&'a Node);

impl<'de> DeserializeSeed<'de> for TextSeed<'_> {
    type Value = Node;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Node, D::Error> {
        match self.0 {
            Node::Null => deserializer.deserialize_any(ShapeSeed),
            Node::Text(_) => deserializer.deserialize_str(self),
            Node::List(_) => deserializer.deserialize_seq(self),
            Node::Map(_) => deserializer.deserialize_map(self),
        }
    }
}

impl<'de> Visitor<'de> for TextSeed<'_> {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the same document as before")
    }

    fn visit_str<E>(self, text: &str) -> Result<Node, E> {
        Ok(Node::Text(text.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Node, A::Error> {
        let Node::List(shapes) = self.0 else {
            return Err(de::Error::custom("invalid shape"));
        };
        let mut list = Vec::with_capacity(shapes.len());
        for shape in shapes {
            list.extend(items.next_element_seed(TextSeed(shape))?);
        }
        // serde_yaml wants to be asked once more before a sequence counts as ended.
        match items.next_element::<de::IgnoredAny>()? {
            None => Ok(Node::List(list)),
            Some(_) => Err(de::Error::custom("invalid shape")),
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Node, A::Error> {
        let Node::Map(shapes) = self.0 else {
            return Err(de::Error::custom("invalid shape"));
        };
        let mut map = Vec::with_capacity(shapes.len());
        for (_, shape) in shapes {
            if let Some(key) = entries.next_key::<String>()? {
                map.push((key, entries.next_value_seed(TextSeed(shape))?));
            }
        }
        match entries.next_key::<de::IgnoredAny>()? {
            None => Ok(Node::Map(map)),
            Some(_) => Err(de::Error::custom("invalid shape")),
        }
    }
}

/// Reads the document up to a key, and fails there: the library tells the place of a fault and nothing else's.
#[derive(Clone, Copy)]
struct KeySeed<'a> {
    /// The sections around the key that are still to be entered.
    sections: &'a [&'a str],
    names: &'a [&'a str],
    /// How many keys of that name come before the one that is meant.
    skipped: &'a Cell<usize>,
}

impl<'de> DeserializeSeed<'de> for KeySeed<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for KeySeed<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a section")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<(), A::Error> {
        let Some((section, inner)) = self.sections.split_first() else {
            while entries.next_key_seed(NameSeed(self))?.is_some() {
                entries.next_value::<de::IgnoredAny>()?;
            }
            return Ok(());
        };
        while let Some(key) = entries.next_key::<String>()? {
            if key == *section {
                entries.next_value_seed(KeySeed {
                    sections: inner,
                    ..self
                })?;
            } else {
                entries.next_value::<de::IgnoredAny>()?;
            }
        }
        Ok(())
    }
}

/// Fails at a key of the name that is looked for.
struct NameSeed<'a>(KeySeed<'a>);

impl<'de> DeserializeSeed<'de> for NameSeed<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for NameSeed<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E: de::Error>(self, name: &str) -> Result<(), E> {
        if !self.0.names.contains(&name) {
            return Ok(());
        }
        match self.0.skipped.get().checked_sub(1) {
            None => Err(E::custom("here")),
            Some(left) => {
                self.0.skipped.set(left);
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_explained_by_the_engine_only_in_a_container() {
        assert!(folder_advice(true).contains("container engine"));
        assert!(!folder_advice(false).contains("container"));
    }
}

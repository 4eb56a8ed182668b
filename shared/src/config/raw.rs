//! What was given for each key, as text, and where: the file, the flags and the environment brought
//! together before anything is checked.
//!
//! The file wins over a flag, a flag over the environment. A null in the file, and an empty text for a
//! key that is off by default, count as not given.

use std::collections::BTreeMap;
use std::path::Path;

use super::file::Node;
use super::flags::Flags;
use super::key::{self, ALL, ENVIRONMENT_PREFIX, Key, SECTIONS};
use super::mistake::{Mistake, Origin, shown_key};
use super::suggestion::suggestion;
use crate::container;

/// How the mistake of a key begins that was given before: it is about the last of that name.
pub(super) const STANDS_TWICE: &str = "stands twice";

/// Environment variables by name; a value that is not UTF-8 is none.
pub type Environment = BTreeMap<String, Option<String>>;

/// What was given for a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Given {
    /// A text.
    Text(String),
    /// A list of texts.
    List(Vec<String>),
    /// Something that no key takes, in words.
    Other(&'static str),
}

/// Everything given, by the path of its key.
#[derive(Debug, Default)]
pub(super) struct Raw {
    /// What applies, and where it came from.
    pub(super) values: BTreeMap<&'static str, (Given, Origin)>,
    /// What is wrong whatever the values are.
    pub(super) mistakes: Vec<Mistake>,
    /// What is worth saying.
    pub(super) warnings: Vec<String>,
}

impl Raw {
    /// Brings the three together.
    pub(super) fn gather(file: Option<(&Path, &Node)>, flags: &Flags, environment: &Environment) -> Self {
        let mut raw = Self::default();
        if let Some((path, document)) = file {
            raw.take_file(path, document);
        }
        for key in ALL {
            let Some(flag) = key.flag else { continue };
            if let Some(text) = flags.text(flag) {
                raw.offer(key, text.to_owned(), Origin::Flag(flag));
            }
            let variable = key::environment_variable(flag);
            match environment.get(&variable) {
                None => {}
                // Compose files write `${VAR:-}`: empty is as good as not there.
                Some(Some(text)) if text.is_empty() => {}
                Some(Some(text)) => raw.offer(key, text.clone(), Origin::Environment(variable)),
                Some(None) => raw.mistakes.push(Mistake {
                    origin: Origin::Environment(variable),
                    key: key.path.to_owned(),
                    line: None,
                    fault: "is not UTF-8; expected plain text".to_owned(),
                }),
            }
        }
        raw.warn_of_unknown_variables(environment);
        raw
    }

    /// Takes a value of a lower rank than all before; warns where the file overrules it.
    fn offer(&mut self, key: &Key, text: String, origin: Origin) {
        if text.is_empty() && key.default.is_none() {
            return;
        }
        match self.values.get(key.path) {
            None => {
                self.values.insert(key.path, (Given::Text(text), origin));
            }
            Some((given, file @ Origin::File(_))) if *given != Given::Text(text) => {
                self.warnings
                    .push(format!("{origin} is ignored: {file} sets {}", key.path));
            }
            Some(_) => {}
        }
    }

    fn take_file(&mut self, path: &Path, document: &Node) {
        let origin = Origin::File(path.to_owned());
        match document {
            Node::Null => {}
            Node::Map(entries) => self.take_section(&origin, "", entries),
            Node::Text(_) | Node::List(_) => self.mistakes.push(Mistake {
                origin,
                key: String::new(),
                line: None,
                fault: "holds no keys; expected lines such as `usb: /dev/ttyUSB0`".to_owned(),
            }),
        }
    }

    fn take_section(&mut self, origin: &Origin, section: &str, entries: &[(String, Node)]) {
        let mut written_before: Vec<(&str, &str)> = Vec::new();
        for (name, node) in entries {
            if self.mistakes.len() >= MOST_MISTAKES {
                return;
            }
            let path = if section.is_empty() {
                name.clone()
            } else {
                format!("{section}.{name}")
            };
            let mut fault = |fault: String| {
                self.mistakes.push(Mistake {
                    origin: origin.clone(),
                    key: shown_key(&path).to_owned(),
                    line: None,
                    fault,
                });
            };
            let key = ALL.iter().find(|key| is_spelling(key, section, name));
            let canonical = key.map_or(path.as_str(), |key| key.path);
            let before = written_before
                .iter()
                .find(|(path, _)| *path == canonical)
                .map(|(_, name)| *name);
            if let Some(before) = before {
                fault(match before == name.as_str() {
                    true => format!("{STANDS_TWICE}; expected once"),
                    false => format!("{STANDS_TWICE}, also as `{before}`; expected once"),
                });
                continue;
            }
            let canonical = key
                .map(|key| key.path)
                .or_else(|| SECTIONS.iter().copied().find(|known| *known == path));
            let Some(canonical) = canonical else {
                fault(match name.split_once('.') {
                    Some((section, name)) if shown_key(&path) == path => {
                        format!("unknown key; write `{name}:` below `{section}:`")
                    }
                    _ => unknown_key(&path),
                });
                continue;
            };
            written_before.push((canonical, name));
            let is_off_by_default = key.is_some_and(|key| key.default.is_none());
            match (key, node) {
                (_, Node::Null) => {}
                (Some(_), Node::Text(text)) if text.is_empty() && is_off_by_default => {}
                (Some(key), node) => {
                    self.values.insert(key.path, (given(node), origin.clone()));
                }
                (None, Node::Map(entries)) => self.take_section(origin, canonical, entries),
                (None, Node::Text(_) | Node::List(_)) => {
                    fault(
                        "is a section; expected keys below it, each on a line of its own and indented"
                            .to_owned(),
                    );
                }
            }
        }
    }

    /// A misspelt variable would be without effect and without a word.
    fn warn_of_unknown_variables(&mut self, environment: &Environment) {
        let known: Vec<String> = Flags::names()
            .map(key::environment_variable)
            .chain([container::WAIT_VARIABLE.to_owned()])
            .collect();
        for name in environment
            .keys()
            .filter(|name| name.starts_with(ENVIRONMENT_PREFIX))
        {
            if known.contains(name) {
                continue;
            }
            let meant = suggestion(name, known.iter().map(String::as_str));
            let meant = meant.map_or_else(String::new, |meant| format!("; did you mean {meant}?"));
            self.warnings.push(format!(
                "environment variable {name} is not known and has no effect{meant}"
            ));
        }
    }
}

/// Mistakes of a file that are looked for: what has more is no configuration.
const MOST_MISTAKES: usize = 200;

/// Whether a name in a section is that of the key.
fn is_spelling(key: &Key, section: &str, name: &str) -> bool {
    let (key_section, key_name) = key.path.rsplit_once('.').unwrap_or(("", key.path));
    section == key_section && (name == key_name || key.alias == Some(name))
}

fn unknown_key(path: &str) -> String {
    const OF_CREDENTIALS: [&str; 6] = ["user", "username", "password", "pass", "passwd", "login"];
    let name = path.rsplit('.').next().unwrap_or(path);
    if OF_CREDENTIALS.contains(&name) {
        return "unknown key; user and password stand in the file that mqtt.cred_file names".to_owned();
    }
    // The flag of a key has another name in places, and people write that.
    let of_flag = ALL
        .iter()
        .find(|key| key.flag == Some(name.replace('-', "_").as_str()));
    let names = ALL.iter().map(|key| key.path).chain(SECTIONS.iter().copied());
    match of_flag.map(|key| key.path).or_else(|| suggestion(path, names)) {
        Some(meant) => format!("unknown key; did you mean `{meant}`?"),
        None => {
            "unknown key; config/smartmeter-reader.example.yml and the README list all there are".to_owned()
        }
    }
}

fn given(node: &Node) -> Given {
    match node {
        Node::Null => Given::Other("nothing"),
        Node::Text(text) => Given::Text(text.clone()),
        Node::Map(_) => Given::Other("a section"),
        Node::List(items) => items
            .iter()
            .map(|item| match item {
                Node::Text(text) => Some(text.clone()),
                Node::Null | Node::List(_) | Node::Map(_) => None,
            })
            .collect::<Option<_>>()
            .map_or(Given::Other("a list of something else than text"), Given::List),
    }
}

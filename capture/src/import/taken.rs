//! What has been imported: how far each file has been taken, so that none of it is taken twice.
//!
//! A small JSON file beside the queue's mark, replaced as a whole:
//!
//! ```text
//! {"files":[{"source":"2025.txt","telegrams":86400,"digest":"9f…","stretches":[[1,86400]]}],
//!  "unsettled":{"source":"2026.txt","telegrams":500,"digest":"1c…","before":"00…","after_sequence":86400,
//!               "first_telegram":"77…"}}
//! ```
//!
//! A part is written down as *unsettled* before it goes into the queue and as taken after it is durable. A
//! crash in between is settled by looking at the queue: the part was taken if the first record behind
//! `after_sequence` is its first telegram, since a part is durable as a whole or not at all.

use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use shared::wire::{Digest, ImportedFile};

use super::chain::digest_of;
use crate::queue::Reader;
use crate::queue::layout::replace_file;

/// Files that are remembered; beyond that the one touched longest ago is forgotten.
pub const MAX_FILES: usize = 2000;

/// Stretches of a file that are remembered: one more each time that its import is interrupted or that a meter's
/// telegram comes between its parts.
const MAX_STRETCHES: usize = 64;

/// Longest name of a file that is kept, in bytes.
const MAX_NAME_BYTES: usize = 256;

/// How far files have been imported.
#[derive(Debug)]
pub struct Taken {
    path: PathBuf,
    stored: Stored,
}

#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Stored {
    files: Vec<File>,
    unsettled: Option<Unsettled>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct File {
    source: String,
    telegrams: u64,
    #[serde(with = "hex")]
    digest: Digest,
    /// Stretches of the queue's sequences, both ends included, in which its telegrams are.
    #[serde(default)]
    stretches: Vec<(u64, u64)>,
    /// The import that wrote it: going on within one import replaces its entry, another one's stays.
    #[serde(skip)]
    import: Option<u64>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Unsettled {
    source: String,
    telegrams: u64,
    #[serde(with = "hex")]
    digest: Digest,
    #[serde(with = "hex")]
    before: Digest,
    after_sequence: u64,
    #[serde(with = "hex")]
    first_telegram: Digest,
    #[serde(skip)]
    import: Option<u64>,
}

/// A part of a file on its way into the queue.
#[derive(Debug, Clone, Copy)]
pub struct Part<'a> {
    /// Which import it belongs to: the session's number.
    pub import: u64,
    /// Name of the file.
    pub source: &'a str,
    /// Telegrams of the file before it.
    pub offset: u64,
    /// Digest of those.
    pub before: Digest,
    /// Telegrams in it.
    pub count: u64,
    /// Digest of all to its end.
    pub after: Digest,
}

/// What is to be done with a part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It goes on where an import ended, or begins a file.
    Take,
    /// It has been taken before.
    Known,
    /// What came before it has not been taken.
    Unfounded,
}

impl Taken {
    /// Reads the file; where there is none, nothing has been imported. One that cannot be understood is
    /// the same, and a warning.
    ///
    /// # Errors
    ///
    /// Where it is there and cannot be read.
    pub fn open(path: &Path, reader: &mut Reader) -> io::Result<Self> {
        let stored = match std::fs::read(path) {
            Ok(bytes) => serde_json::from_slice(&bytes).unwrap_or_else(|error| {
                tracing::warn!(
                    "{} is not understood ({error}): what was imported so far may be imported again",
                    path.display()
                );
                Stored::default()
            }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Stored::default(),
            Err(error) => return Err(error),
        };
        let mut taken = Self {
            path: path.to_path_buf(),
            stored,
        };
        if let Some(unsettled) = &taken.stored.unsettled {
            let next = reader.read(unsettled.after_sequence.saturating_add(1), 1);
            let is_there = next.is_ok_and(|batch| {
                batch
                    .records
                    .first()
                    .is_some_and(|record| digest_of(&record.telegram) == unsettled.first_telegram)
            });
            if is_there {
                taken.settle(reader.head())?;
            } else {
                taken.stored.unsettled = None;
            }
        }
        Ok(taken)
    }

    /// How far each file has been taken, those touched last at the end.
    pub fn files(&self) -> Vec<ImportedFile> {
        let listed = |file: &File| ImportedFile {
            source: file.source.clone(),
            telegrams: file.telegrams,
            digest: file.digest,
        };
        self.stored.files.iter().map(listed).collect()
    }

    /// What is to be done with this part.
    pub fn judge(&self, part: &Part<'_>) -> Verdict {
        if self
            .position(part.offset.saturating_add(part.count), part.after)
            .is_some()
        {
            Verdict::Known
        } else if (part.offset == 0 && part.before == Digest::default())
            || self.position(part.offset, part.before).is_some()
        {
            Verdict::Take
        } else {
            Verdict::Unfounded
        }
    }

    /// Whether a part has been begun of which it is not known whether it is durable.
    pub fn is_unsettled(&self) -> bool {
        self.stored.unsettled.is_some()
    }

    /// Writes down that this part is on its way, as the next records behind `after_sequence`.
    ///
    /// # Errors
    ///
    /// Where the file cannot be written; nothing has changed then.
    pub fn begin(&mut self, part: &Part<'_>, after_sequence: u64, first_telegram: &[u8]) -> io::Result<()> {
        self.stored.unsettled = Some(Unsettled {
            source: cut(part.source),
            telegrams: part.offset.saturating_add(part.count),
            digest: part.after,
            before: part.before,
            after_sequence,
            first_telegram: digest_of(first_telegram),
            import: Some(part.import),
        });
        self.write().inspect_err(|_| self.stored.unsettled = None)
    }

    /// The part that was begun is durable, and `head` the highest sequence that is.
    ///
    /// # Errors
    ///
    /// Where the file cannot be written: after a crash the queue tells.
    pub fn settle(&mut self, head: u64) -> io::Result<()> {
        let Some(unsettled) = self.stored.unsettled.take() else {
            return Ok(());
        };
        let mut stretches = self.stretches(unsettled.before);
        if unsettled.after_sequence < head {
            match stretches.last_mut() {
                Some((_, last)) if *last == unsettled.after_sequence => *last = head,
                _ => stretches.push((unsettled.after_sequence + 1, head)),
            }
            // Too many: the two oldest become one, with what is between them.
            if stretches.len() > MAX_STRETCHES {
                let (first, _) = stretches.remove(0);
                if let Some(oldest) = stretches.first_mut() {
                    oldest.0 = first;
                }
            }
        }
        let same_import = self.stored.files.iter().position(|file| {
            file.digest == unsettled.before && file.import.is_some() && file.import == unsettled.import
        });
        if let Some(position) = same_import {
            self.stored.files.remove(position);
        }
        self.stored.files.push(File {
            source: unsettled.source,
            telegrams: unsettled.telegrams,
            digest: unsettled.digest,
            stretches,
            import: unsettled.import,
        });
        let surplus = self.stored.files.len().saturating_sub(MAX_FILES);
        self.stored.files.drain(..surplus);
        self.write()
    }

    /// The stretches of the queue's sequences, both ends included, in which the telegrams of this digest are.
    pub fn stretches(&self, digest: Digest) -> Vec<(u64, u64)> {
        let mut newest_first = self.stored.files.iter().rev();
        newest_first
            .find(|file| file.digest == digest)
            .map_or_else(Vec::new, |file| file.stretches.clone())
    }

    fn position(&self, telegrams: u64, digest: Digest) -> Option<usize> {
        self.stored
            .files
            .iter()
            .position(|file| file.telegrams == telegrams && file.digest == digest)
    }

    fn write(&self) -> io::Result<()> {
        let bytes = serde_json::to_vec(&self.stored)?;
        replace_file(&self.path, &bytes)
    }
}

/// A name that is not too long, cut at a character.
fn cut(name: &str) -> String {
    let end = (0..=MAX_NAME_BYTES.min(name.len()))
        .rev()
        .find(|&end| name.is_char_boundary(end));
    name.get(..end.unwrap_or(0)).unwrap_or_default().to_owned()
}

/// Digests as hexadecimal digits.
mod hex {
    use serde::de::Error as _;
    use serde::{Deserialize, Deserializer, Serializer};
    use shared::wire::Digest;

    pub(super) fn serialize<S: Serializer>(digest: &Digest, serializer: S) -> Result<S::Ok, S::Error> {
        let text: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        serializer.serialize_str(&text)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Digest, D::Error> {
        let text = String::deserialize(deserializer)?;
        let number = u128::from_str_radix(&text, 16).map_err(D::Error::custom)?;
        if text.len() == 2 * size_of::<Digest>() {
            Ok(number.to_be_bytes())
        } else {
            Err(D::Error::custom("a digest has 32 hexadecimal digits"))
        }
    }
}

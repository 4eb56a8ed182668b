//! What was learnt about the meter and its line, kept in the queue's folder across restarts: a small JSON
//! file, replaced as a whole. A lost one is learnt again.

use std::path::{Path, PathBuf};

use crate::intake::Memory;
use crate::queue::layout::replace_file;

/// The file.
#[derive(Debug)]
pub struct MeterFile {
    path: PathBuf,
    /// What could not be written yet.
    unwritten: Option<Memory>,
}

impl MeterFile {
    /// The file in the queue's folder, and what it holds; the default where it holds nothing that is
    /// understood.
    pub fn open(folder: &Path) -> (Self, Memory) {
        let path = folder.join("meter.json");
        let memory = std::fs::read(&path)
            .ok()
            .and_then(|bytes| serde_json::from_slice(&bytes).ok())
            .unwrap_or_default();
        (
            Self {
                path,
                unwritten: None,
            },
            memory,
        )
    }

    /// Keeps this. Where it cannot be written a warning says so once.
    pub fn keep(&mut self, memory: &Memory) {
        let written = serde_json::to_vec(memory)
            .map_err(std::io::Error::from)
            .and_then(|bytes| replace_file(&self.path, &bytes));
        match written {
            Ok(()) => self.unwritten = None,
            Err(error) => {
                if self.unwritten.replace(memory.clone()).is_none() {
                    tracing::warn!(
                        "what was learnt about the meter cannot be kept in {}: {error}",
                        self.path.display()
                    );
                }
            }
        }
    }

    /// Tries again where something could not be written.
    pub fn retry(&mut self) {
        if let Some(memory) = self.unwritten.clone() {
            self.keep(&memory);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::port::Line;

    #[test]
    fn what_is_kept_is_found_again_and_damage_is_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let (mut file, memory) = MeterFile::open(folder.path());
        assert_eq!(memory, Memory::default());
        let memory = Memory {
            line: Some(Line::Baud9600),
            meters_with_crc: [b"ISK5\\2M\xAB\x02".to_vec()].into(),
        };
        file.keep(&memory);
        assert_eq!(MeterFile::open(folder.path()).1, memory);
        std::fs::write(folder.path().join("meter.json"), b"{\"line\":").unwrap();
        assert_eq!(MeterFile::open(folder.path()).1, Memory::default());
    }
}

//! A scratch folder for one test: removed when the test has passed, kept and named when it has failed.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread;

/// The folder.
#[derive(Debug)]
pub struct Folder {
    folder: Option<tempfile::TempDir>,
}

impl Folder {
    /// A new, empty one. `SMARTMETER_TEST_DIR` says where, by default the system's temporary folder.
    pub fn new() -> Self {
        let mut builder = tempfile::Builder::new();
        builder.prefix("smartmeter-");
        let folder = match std::env::var_os("SMARTMETER_TEST_DIR") {
            Some(parent) => builder.tempdir_in(parent),
            None => builder.tempdir(),
        };
        Self {
            folder: Some(folder.expect("a scratch folder can be made")),
        }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.folder
            .as_ref()
            .expect("the folder is there until it is dropped")
            .path()
    }

    /// A name in it.
    pub fn join(&self, name: &str) -> PathBuf {
        self.path().join(name)
    }

    /// A file in it with this content.
    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.join(name);
        fs::write(&path, content).expect("a file in the scratch folder can be written");
        path
    }
}

impl Default for Folder {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if thread::panicking()
            && let Some(folder) = self.folder.take()
        {
            eprintln!("--- the test's folder is kept: {}", folder.keep().display());
        }
    }
}

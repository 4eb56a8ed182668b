//! Files for claims about what reads files.

use std::path::{Path, PathBuf};

/// A file of this process that is gone with it.
pub(crate) struct File(PathBuf);

impl File {
    /// Under this name, with these bytes.
    pub(crate) fn holding(name: &str, bytes: &[u8]) -> Self {
        let thread = format!("{:?}", std::thread::current().id());
        let name = format!("smartmeter-fuzz-{name}-{}-{thread}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::write(&path, bytes).expect("the temporary folder takes a file");
        Self(path)
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for File {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

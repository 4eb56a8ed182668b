//! Files that are read whole or twice, such as keys, certificates and configurations: regular files, and nothing else.
//!
//! A named pipe would be waited for, a device never ends, and a folder's error names neither. None of them is opened
//! for reading: what stands under the name is looked at first, and again through what was opened.

use std::fs::{File, FileType, Metadata, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::Path;

/// Opens it.
///
/// # Errors
/// What the system says; where something else stands under the name, or nothing behind a link, what that is.
pub fn open(path: &Path) -> io::Result<File> {
    let metadata = std::fs::metadata(path).map_err(|error| dangling(path).unwrap_or(error))?;
    expect_regular(&metadata)?;
    // Should it have become a pipe meanwhile, opening it does not wait.
    let no_wait = rustix::fs::OFlags::NONBLOCK.bits() as i32;
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(no_wait)
        .open(path)
        .map_err(|error| whose(&metadata, error))?;
    expect_regular(&file.metadata()?)?;
    Ok(file)
}

/// A refusal, with whose the file is and who asks: containers do not know the machine's users by name.
fn whose(metadata: &Metadata, error: io::Error) -> io::Error {
    if error.kind() != io::ErrorKind::PermissionDenied {
        return error;
    }
    let (user, group) = (
        rustix::process::geteuid().as_raw(),
        rustix::process::getegid().as_raw(),
    );
    let said = format!(
        "{error}: it is of user {}, group {}, mode {:03o}; this program runs as user {user}, group {group}",
        metadata.uid(),
        metadata.gid(),
        metadata.mode() & 0o777,
    );
    io::Error::new(error.kind(), said)
}

/// All of its bytes, which are no more than `longest`, and what the system says of it.
///
/// # Errors
/// As [`open`], and where it is longer.
pub fn read(path: &Path, longest: u64) -> io::Result<(Vec<u8>, Metadata)> {
    let file = open(path)?;
    let metadata = file.metadata()?;
    // All at once: a secret that grows leaves pieces of itself behind.
    let mut bytes = Vec::with_capacity(metadata.len().min(longest) as usize + 1);
    file.take(longest + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > longest {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            format!("it is longer than {longest} bytes"),
        ));
    }
    Ok((bytes, metadata))
}

/// What stands under this name, if it is anything else than a file or folder that can be reached: for a sentence
/// after "is".
pub fn kind(path: &Path) -> Option<String> {
    match std::fs::metadata(path) {
        Ok(metadata) => Some(kind_of(metadata.file_type()).to_owned()),
        Err(_) => std::fs::read_link(path)
            .ok()
            .map(|target| format!("a link to {}, which cannot be reached", target.display())),
    }
}

/// What [`kind`] says of a socket.
pub const SOCKET: &str = "a socket";

fn kind_of(file_type: FileType) -> &'static str {
    if file_type.is_dir() {
        "a folder"
    } else if file_type.is_fifo() {
        "a named pipe"
    } else if file_type.is_socket() {
        SOCKET
    } else if file_type.is_char_device() || file_type.is_block_device() {
        "a device"
    } else {
        "a regular file"
    }
}

fn expect_regular(metadata: &Metadata) -> io::Result<()> {
    if metadata.is_file() {
        return Ok(());
    }
    let words = format!("it is {}; expected a regular file", kind_of(metadata.file_type()));
    Err(io::Error::new(io::ErrorKind::InvalidInput, words))
}

fn dangling(path: &Path) -> Option<io::Error> {
    let target = std::fs::read_link(path).ok()?;
    let error = std::fs::metadata(path).err()?;
    let words = format!("it is a link to {}: {error}", target.display());
    Some(io::Error::new(error.kind(), words))
}

#[cfg(test)]
mod tests {
    use rustix::fs::{CWD, FileType as Kind, Mode, mknodat};

    use super::*;

    #[test]
    fn what_is_no_regular_file_is_said_to_be_what_it_is_without_waiting() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        mknodat(CWD, at("pipe"), Kind::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(at("socket")).unwrap();
        std::os::unix::fs::symlink("nowhere", at("dangling")).unwrap();
        std::os::unix::fs::symlink("pipe", at("to a pipe")).unwrap();
        std::os::unix::fs::symlink("loop", at("loop")).unwrap();
        std::fs::create_dir(at("folder")).unwrap();
        std::fs::write(at("file"), "key").unwrap();
        std::os::unix::fs::symlink("file", at("link")).unwrap();
        for (path, words) in [
            (at("pipe"), "it is a named pipe; expected a regular file"),
            (at("to a pipe"), "it is a named pipe; expected"),
            (at("socket"), "it is a socket; expected"),
            (at("folder"), "it is a folder; expected"),
            ("/dev/zero".into(), "it is a device; expected"),
            (at("dangling"), "it is a link to nowhere: No such file"),
            (at("loop"), "it is a link to loop: Too many levels"),
            (at("missing"), "No such file"),
        ] {
            let error = read(&path, 3).unwrap_err().to_string();
            assert!(error.contains(words), "{}: {error}", path.display());
        }
        for name in ["file", "link"] {
            assert_eq!(read(&at(name), 3).unwrap().0, b"key");
            let error = read(&at(name), 2).unwrap_err().to_string();
            assert!(error.contains("longer than 2 bytes"), "{error}");
        }
    }
}

//! The socket in the file system: made with its mode, put in the place of a stale one, never in that of
//! a live one, and removed at the end where it is still ours.
//!
//! The mode is 0660 from the first moment: it is set on the socket before that has a name, and the name
//! then takes it over (less the umask, which can only take away).

use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use rustix::fs::Mode;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use shared::regular_file;
use thiserror::Error;

/// Longest path of a socket in bytes (`sun_path` of `unix(7)`, less the closing zero).
pub const MAX_PATH_BYTES: usize = 107;

/// Readable and writable by owner and group.
const MODE: u32 = 0o660;

/// Connections that may wait for the server's attention.
const BACKLOG: i32 = 64;

/// Why there is no socket.
#[derive(Debug, Error)]
pub enum SocketError {
    /// Another process serves it.
    #[error("another process serves the socket {} already: is capture running twice? (queue.socket)", path.display())]
    Live {
        /// The socket.
        path: PathBuf,
    },
    /// Something else has its name.
    #[error(
        "{} is there already and is no socket but {kind}: remove it, or give another queue.socket", path.display()
    )]
    NotASocket {
        /// What is there.
        path: PathBuf,
        /// What kind of thing that is.
        kind: String,
    },
    /// The name does not fit in a socket's address.
    #[error(
        "the path of the socket is {length} bytes long, the system takes {MAX_PATH_BYTES}: {} (queue.socket)",
        path.display()
    )]
    TooLong {
        /// The path.
        path: PathBuf,
        /// Its length.
        length: usize,
    },
    /// The system refuses.
    #[error("cannot {action} {}: {source} (queue.socket)", path.display())]
    Refused {
        /// What was tried.
        action: &'static str,
        /// On which path.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
}

/// What is at the socket's path now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found {
    /// Nothing.
    Nothing,
    /// A socket that nobody serves.
    Stale,
}

/// Looks at the path without changing anything.
///
/// # Errors
///
/// Where a process serves the socket, something else has its name, or it cannot be looked at.
pub fn inspect(path: &Path) -> Result<Found, SocketError> {
    let length = path.as_os_str().len();
    if length > MAX_PATH_BYTES {
        return Err(SocketError::TooLong {
            path: path.to_path_buf(),
            length,
        });
    }
    let path = path.to_path_buf();
    let metadata = match fs::symlink_metadata(&path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Found::Nothing),
        Err(source) => {
            return Err(SocketError::Refused {
                action: "look at",
                path,
                source,
            });
        }
    };
    if !metadata.file_type().is_socket() {
        let kind = match regular_file::kind(&path) {
            // A link to a socket is none.
            Some(kind) if metadata.is_symlink() && !kind.contains("link") => format!("a link to {kind}"),
            kind => kind.unwrap_or_else(|| "something else".to_owned()),
        };
        return Err(SocketError::NotASocket { path, kind });
    }
    match UnixStream::connect(&path) {
        Ok(_) => Err(SocketError::Live { path }),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Ok(Found::Stale),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Found::Nothing),
        Err(source) => Err(SocketError::Refused {
            action: "try the socket",
            path,
            source,
        }),
    }
}

/// A listening socket with a name.
#[derive(Debug)]
pub struct Socket {
    listener: UnixListener,
    path: PathBuf,
    /// Device and inode of the name, to tell whether it is still ours.
    identity: Option<(u64, u64)>,
}

impl Socket {
    /// Listens at `path`, whose folder is made where it does not exist. A stale socket is replaced.
    ///
    /// # Errors
    ///
    /// As [`inspect`], and where the system refuses.
    pub fn bind(path: &Path) -> Result<Self, SocketError> {
        let refused = |action, source: io::Error| SocketError::Refused {
            action,
            path: path.to_path_buf(),
            source,
        };
        if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            fs::create_dir_all(folder).map_err(|error| refused("make the folder of", error))?;
        }
        if inspect(path)? == Found::Stale {
            fs::remove_file(path).map_err(|error| refused("remove the stale socket", error))?;
        }
        let listener = Self::listen(path).map_err(|error| match error.kind() {
            // Somebody was quicker between the look and this.
            io::ErrorKind::AddrInUse => SocketError::Live {
                path: path.to_path_buf(),
            },
            _ => refused("listen at", error),
        })?;
        let identity = fs::symlink_metadata(path)
            .ok()
            .map(|metadata| (metadata.dev(), metadata.ino()));
        fs::set_permissions(path, fs::Permissions::from_mode(MODE))
            .map_err(|error| refused("set the mode of", error))?;
        Ok(Self {
            listener,
            path: path.to_path_buf(),
            identity,
        })
    }

    fn listen(path: &Path) -> io::Result<UnixListener> {
        let socket = rustix::net::socket_with(
            AddressFamily::UNIX,
            SocketType::STREAM,
            SocketFlags::CLOEXEC,
            None,
        )?;
        rustix::fs::fchmod(&socket, Mode::from_raw_mode(MODE))?;
        rustix::net::bind(&socket, &SocketAddrUnix::new(path)?)?;
        rustix::net::listen(&socket, BACKLOG)?;
        Ok(UnixListener::from(socket))
    }

    /// The listening end.
    pub fn listener(&self) -> &UnixListener {
        &self.listener
    }

    /// Its name.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Socket {
    /// Removes the name, unless another socket has taken it.
    fn drop(&mut self) {
        let now = fs::symlink_metadata(&self.path)
            .ok()
            .map(|metadata| (metadata.dev(), metadata.ino()));
        if now.is_some() && now == self.identity {
            // Nobody can be told any more; the next start finds it stale.
            let _ = fs::remove_file(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_is_for_owner_and_group_and_goes_with_its_server() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("made/for/it/queue.sock");
        let socket = Socket::bind(&path).unwrap();
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o660, "{mode:o}");
        UnixStream::connect(&path).unwrap();
        drop(socket);
        assert!(!path.exists());
    }

    #[test]
    fn a_stale_socket_is_replaced_and_a_live_one_is_an_error_that_names_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("queue.sock");
        // A listener that goes without removing its name, as a killed process does.
        drop(UnixListener::bind(&path).unwrap());
        assert!(path.exists());
        let socket = Socket::bind(&path).unwrap();
        let error = Socket::bind(&path).unwrap_err();
        assert!(matches!(error, SocketError::Live { .. }), "{error}");
        assert!(error.to_string().contains(&path.display().to_string()), "{error}");
        UnixStream::connect(&path).expect("the live one is as it was");
        drop(socket);
    }

    #[test]
    fn what_is_no_socket_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("precious");
        fs::write(&path, "data").unwrap();
        assert!(matches!(
            Socket::bind(&path).unwrap_err(),
            SocketError::NotASocket { .. }
        ));
        assert_eq!(fs::read(&path).unwrap(), b"data");
    }

    #[test]
    fn a_name_that_another_socket_has_taken_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("queue.sock");
        let first = Socket::bind(&path).unwrap();
        fs::remove_file(&path).unwrap();
        let second = Socket::bind(&path).unwrap();
        drop(first);
        UnixStream::connect(&path).expect("the second one's name is still there");
        drop(second);
    }

    #[test]
    fn a_path_that_fits_no_address_is_refused_with_both_lengths() {
        let path = Path::new("/tmp").join("x".repeat(120));
        let error = Socket::bind(&path).unwrap_err().to_string();
        assert!(error.contains("125 bytes") && error.contains("107"), "{error}");
    }
}

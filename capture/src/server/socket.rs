//! The socket in the file system: made with its mode, put in the place of a stale one, never in that of
//! a live one, made again when its name is gone, and removed at the end if it is still ours.
//!
//! The mode is 0660 from the first moment, whatever the umask: it is set on the socket before that has a name, and
//! the name takes it over. Nothing is ever changed by path.

use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use rustix::fs::Mode;
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use shared::{accounts, peer, regular_file};
use thiserror::Error;

use crate::queue::own_files::{make_outer_folder, with_umask};

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
    #[error(
        "another process, of {user}, serves the socket {} already: is capture running twice? (queue.socket)",
        path.display()
    )]
    Live {
        /// The socket.
        path: PathBuf,
        /// Whose process that is.
        user: String,
    },
    /// It is another user's, who lets nobody try it.
    #[error(
        "the socket {} belongs to {user}, who does not let this one use it: remove it, or give another queue.socket",
        path.display()
    )]
    Others {
        /// The socket.
        path: PathBuf,
        /// Whose it is.
        user: String,
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
    match server_of(&path) {
        Ok(user) => Err(SocketError::Live { path, user }),
        Err(Errno::CONNREFUSED) => Ok(Found::Stale),
        Err(Errno::NOENT) => Ok(Found::Nothing),
        Err(Errno::ACCESS) => Err(SocketError::Others {
            path,
            user: accounts::user(metadata.uid()),
        }),
        Err(error) => Err(SocketError::Refused {
            action: "try the socket",
            path,
            source: error.into(),
        }),
    }
}

/// The user whose process serves a socket.
fn server_of(path: &Path) -> Result<String, Errno> {
    let socket = unix_socket()?;
    match rustix::net::connect(&socket, &SocketAddrUnix::new(path)?) {
        Ok(()) => {
            let user = peer::user(&UnixStream::from(socket)).ok();
            Ok(user.map_or_else(|| UNKNOWN.to_owned(), accounts::user))
        }
        // As many connections wait there as may.
        Err(Errno::AGAIN) => Ok(UNKNOWN.to_owned()),
        Err(error) => Err(error),
    }
}

const UNKNOWN: &str = "a user that is not known";

/// A socket without a name that waits for nothing.
fn unix_socket() -> Result<rustix::fd::OwnedFd, Errno> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)
}

/// A listening socket with a name.
#[derive(Debug)]
pub struct Socket {
    listener: UnixListener,
    path: PathBuf,
    /// Device and inode of the name, to tell whether it is still ours. While the listener is open no other file gets
    /// these.
    identity: Option<(u64, u64)>,
    /// Why the name, which is lost, could not be taken again.
    trouble: Option<String>,
}

impl Socket {
    /// Listens at `path`, whose folder is made if it does not exist. A stale socket is replaced.
    ///
    /// # Errors
    ///
    /// As [`inspect`], and if the system refuses.
    pub fn bind(path: &Path) -> Result<Self, SocketError> {
        let refused = |action, source: io::Error| SocketError::Refused {
            action,
            path: path.to_path_buf(),
            source,
        };
        if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            make_outer_folder(folder).map_err(|error| refused("make the folder of", error))?;
        }
        if inspect(path)? == Found::Stale {
            fs::remove_file(path).map_err(|error| refused("remove the stale socket", error))?;
        }
        let listener = Self::listen(path).map_err(|error| match error {
            // Somebody was quicker between the look and this.
            Errno::ADDRINUSE => SocketError::Live {
                path: path.to_path_buf(),
                user: server_of(path).unwrap_or_else(|_| UNKNOWN.to_owned()),
            },
            error => refused("listen at", error.into()),
        })?;
        Ok(Self {
            listener,
            path: path.to_path_buf(),
            identity: identity_of(path),
            trouble: None,
        })
    }

    fn listen(path: &Path) -> Result<UnixListener, Errno> {
        let socket = unix_socket()?;
        rustix::fs::fchmod(&socket, Mode::from_raw_mode(MODE))?;
        with_umask(!MODE, || rustix::net::bind(&socket, &SocketAddrUnix::new(path)?))?;
        rustix::net::listen(&socket, BACKLOG)?;
        Ok(UnixListener::from(socket))
    }

    /// Takes the name again if it is gone, or leads to a socket that nobody serves. What else has taken it is left
    /// alone. Each change is said once. While the name is ours this costs one look at it.
    pub fn keep_name(&mut self) {
        let path = self.path.display();
        let now = identity_of(&self.path);
        if now.is_some() && now == self.identity {
            if self.trouble.take().is_some() {
                tracing::info!("the socket {path} is back in its place");
            }
            return;
        }
        match Self::bind(&self.path) {
            Ok(socket) => {
                tracing::warn!("the socket {path} had been removed or replaced; it is made again");
                *self = socket;
            }
            Err(error) => {
                let words = error.to_string();
                if self.trouble.as_ref() != Some(&words) {
                    tracing::warn!(
                        "the socket {path} has been removed or replaced and cannot be made again: {words}; sessions \
                         that are open go on, new ones are not possible until that changes"
                    );
                }
                self.trouble = Some(words);
            }
        }
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
        let now = identity_of(&self.path);
        if now.is_some() && now == self.identity {
            // Nobody can be told any more; the next start finds it stale.
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn identity_of(path: &Path) -> Option<(u64, u64)> {
    let metadata = fs::symlink_metadata(path).ok()?;
    Some((metadata.dev(), metadata.ino()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_socket_is_for_owner_and_group_and_goes_with_its_server() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("made/for/it/queue.sock");
        let socket = Socket::bind(&path).unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
        assert_eq!(mode(&path), 0o660);
        assert_eq!(mode(path.parent().unwrap()), 0o750);
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
    fn a_name_that_is_gone_is_taken_again_whatever_became_of_it() {
        type Fate = fn(&Path);
        let fates: [(&str, Fate); 4] = [
            ("removed", |path| fs::remove_file(path).unwrap()),
            ("its folder removed", |path| {
                fs::remove_dir_all(path.parent().unwrap()).unwrap();
            }),
            ("its folder made again", |path| {
                let folder = path.parent().unwrap();
                fs::rename(folder, folder.with_extension("old")).unwrap();
                fs::create_dir(folder).unwrap();
            }),
            ("another program's, which has gone", |path| {
                fs::remove_file(path).unwrap();
                drop(UnixListener::bind(path).unwrap());
            }),
        ];
        for (words, fate) in fates {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("run/queue.sock");
            let mut socket = Socket::bind(&path).unwrap();
            let before = identity_of(&path);
            socket.keep_name();
            assert_eq!(identity_of(&path), before, "nothing was wrong");
            fate(&path);
            socket.keep_name();
            UnixStream::connect(&path).unwrap_or_else(|error| panic!("{words}: {error}"));
            socket
                .listener()
                .accept()
                .unwrap_or_else(|error| panic!("{words}: {error}"));
            let mode = fs::metadata(&path).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o660, "{words}");
            drop(socket);
            assert!(!path.exists(), "{words}: it is removed at the end");
        }
    }

    #[test]
    fn what_others_have_put_in_the_place_of_the_name_is_left_alone_until_it_goes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("queue.sock");
        let mut socket = Socket::bind(&path).unwrap();
        fs::remove_file(&path).unwrap();
        let other = UnixListener::bind(&path).unwrap();
        let theirs = identity_of(&path);
        socket.keep_name();
        let trouble = socket.trouble.clone().unwrap();
        let own = accounts::user(rustix::process::geteuid().as_raw());
        assert!(
            trouble.contains(&format!("another process, of {own}, serves")),
            "{trouble}"
        );
        socket.keep_name();
        assert_eq!(
            (identity_of(&path), socket.trouble.clone()),
            (theirs, Some(trouble))
        );

        drop(other);
        fs::remove_file(&path).unwrap();
        fs::write(&path, "data").unwrap();
        socket.keep_name();
        assert!(
            socket.trouble.clone().unwrap().contains("a regular file"),
            "{:?}",
            socket.trouble
        );
        assert_eq!(fs::read(&path).unwrap(), b"data");

        fs::remove_file(&path).unwrap();
        socket.keep_name();
        assert_eq!(socket.trouble, None);
        UnixStream::connect(&path).unwrap();
    }

    #[test]
    fn a_live_one_that_takes_no_more_connections_is_not_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("queue.sock");
        let full = unix_socket().unwrap();
        rustix::net::bind(&full, &SocketAddrUnix::new(&path).unwrap()).unwrap();
        rustix::net::listen(&full, 0).unwrap();
        let _waiting = UnixStream::connect(&path).unwrap();
        let error = inspect(&path).unwrap_err();
        assert!(matches!(error, SocketError::Live { .. }), "{error}");
    }

    #[test]
    fn a_path_that_fits_no_address_is_refused_with_both_lengths() {
        let path = Path::new("/tmp").join("x".repeat(120));
        let error = Socket::bind(&path).unwrap_err().to_string();
        assert!(error.contains("125 bytes") && error.contains("107"), "{error}");
    }
}

//! Whose process serves the socket: nothing is told to it or believed of it before it is one that may be capture.
//!
//! A socket in a folder that others can write to may be anybody's, who would then feed the publisher telegrams of
//! their own. The kernel says which user listens (`SO_PEERCRED` of `unix(7)`). It may be
//!
//! * root, or the user of this program;
//! * the owner of the folder that holds the socket, who could put another one there anyway. That owner does not count
//!   if everyone can replace what is in the folder, or could have made the folder: it lies in one like `/tmp`, and
//!   neither root nor this user owns it, nor does it belong to a group of this user.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixStream;
use std::path::Path;

use crate::{accounts, peer};

/// Another user's process than any that may be capture.
#[derive(Debug)]
pub(super) struct Stranger {
    /// Who serves the socket.
    pub(super) user: String,
    /// Who may.
    pub(super) expected: String,
}

/// Whether capture may be at the other end of this connection to the socket at `path`.
///
/// # Errors
/// If the system does not say who is there.
pub(super) fn check(stream: &UnixStream, path: &Path) -> io::Result<Result<(), Stranger>> {
    let server = peer::user(stream)?;
    let this = This::new()?;
    if this.trusts(server) {
        return Ok(Ok(()));
    }
    let owner = owner(path, &this);
    if owner == Ok(server) {
        return Ok(Ok(()));
    }
    let owner = match owner {
        Ok(owner) => format!("{}, who owns its folder", accounts::user(owner)),
        Err(why) => format!("the owner of its folder, but {why}"),
    };
    Ok(Err(Stranger {
        user: accounts::user(server),
        expected: format!("root, this {} or {owner}", accounts::user(this.uid)),
    }))
}

/// Who this program runs as.
struct This {
    uid: u32,
    groups: Vec<u32>,
}

impl This {
    fn new() -> io::Result<Self> {
        let mut groups = rustix::process::getgroups()?;
        groups.push(rustix::process::getegid());
        Ok(Self {
            uid: rustix::process::geteuid().as_raw(),
            groups: groups.into_iter().map(|group| group.as_raw()).collect(),
        })
    }

    fn trusts(&self, uid: u32) -> bool {
        uid == ROOT || uid == self.uid
    }
}

/// A folder on the way to the socket.
#[derive(Debug, Clone, Copy)]
struct Folder {
    uid: u32,
    gid: u32,
    mode: u32,
}

/// The owner of the socket's folder, or why that counts for nothing.
fn owner(socket: &Path, this: &This) -> Result<u32, &'static str> {
    let folder = match socket.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let folders = folder.canonicalize().and_then(|folder| {
        let folders = folder.ancestors().map(|folder| {
            let metadata = folder.metadata()?;
            Ok(Folder {
                uid: metadata.uid(),
                gid: metadata.gid(),
                mode: metadata.mode(),
            })
        });
        folders.collect::<io::Result<Vec<_>>>()
    });
    owner_of(&folders.map_err(|_| "that cannot be looked at")?, this)
}

/// As [`owner`], of the folder and those above it.
fn owner_of(folders: &[Folder], this: &This) -> Result<u32, &'static str> {
    let everyone_writes = |folder: &Folder| folder.mode & 0o002 != 0;
    let folder = folders.first().ok_or("that cannot be looked at")?;
    if everyone_writes(folder) && folder.mode & STICKY == 0 {
        return Err("everyone can replace what is in it");
    }
    let is_vouched = |folder: &Folder| this.trusts(folder.uid) || this.groups.contains(&folder.gid);
    // Root is in no group because of this program: the owner counts as it is.
    let has_groups = this.uid != ROOT;
    let anyone_made = |inner: &Folder, outer: &Folder| everyone_writes(outer) && !is_vouched(inner);
    let mut steps = folders.iter().zip(folders.iter().skip(1));
    if has_groups && steps.any(|(inner, outer)| anyone_made(inner, outer)) {
        return Err("everyone could have made it");
    }
    Ok(folder.uid)
}

const ROOT: u32 = 0;
const STICKY: u32 = 0o1000;

#[cfg(test)]
mod tests {
    use super::*;

    const CAPTURE: u32 = 65532;
    const PUBLISHER: u32 = 65533;
    const STRANGER: u32 = 1001;

    fn publisher() -> This {
        This {
            uid: PUBLISHER,
            groups: vec![CAPTURE],
        }
    }

    fn folders(found: &[(u32, u32)]) -> Vec<Folder> {
        let folder = |&(uid, mode)| Folder { uid, gid: uid, mode };
        found.iter().map(folder).collect()
    }

    #[test]
    fn the_owner_of_a_folder_counts_unless_anyone_could_have_put_the_socket_or_the_folder_there() {
        let root = (ROOT, 0o755);
        let tmp = (ROOT, 0o1777);
        for (found, expected, words) in [
            (
                vec![(CAPTURE, 0o750), root, root],
                Some(CAPTURE),
                "a folder in /run",
            ),
            (
                vec![(CAPTURE, 0o770), root, root],
                Some(CAPTURE),
                "the group could replace it, not be its owner",
            ),
            (vec![tmp, root], Some(ROOT), "/tmp itself: root may serve there"),
            (vec![(CAPTURE, 0o777), root], None, "everyone replaces"),
            (vec![(CAPTURE, 0o1777), root], Some(CAPTURE), "sticky"),
            (
                vec![(CAPTURE, 0o750), tmp, root],
                Some(CAPTURE),
                "in /tmp, of a group of ours",
            ),
            (
                vec![(CAPTURE, 0o750), (ROOT, 0o755), tmp, root],
                Some(CAPTURE),
                "below root's folder in /tmp",
            ),
            (
                vec![(STRANGER, 0o755), tmp, root],
                None,
                "a stranger's folder in /tmp",
            ),
            (
                vec![(STRANGER, 0o755), (STRANGER, 0o755), tmp, root],
                None,
                "one deeper",
            ),
            (vec![], None, "nothing"),
        ] {
            assert_eq!(owner_of(&folders(&found), &publisher()).ok(), expected, "{words}");
        }
    }

    #[test]
    fn root_takes_the_owner_as_it_is() {
        let this = This {
            uid: ROOT,
            groups: vec![ROOT],
        };
        let found = folders(&[(CAPTURE, 0o755), (ROOT, 0o1777), (ROOT, 0o755)]);
        assert_eq!(owner_of(&found, &this), Ok(CAPTURE));
    }

    #[test]
    fn root_and_this_user_may_serve_anywhere() {
        let this = publisher();
        assert!(this.trusts(ROOT) && this.trusts(PUBLISHER));
        assert!(!this.trusts(CAPTURE) && !this.trusts(STRANGER));
    }

    #[test]
    fn a_process_of_this_user_is_taken_for_capture() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("queue.sock");
        let _listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
        let stream = UnixStream::connect(&path).unwrap();
        assert!(check(&stream, &path).unwrap().is_ok());
    }
}

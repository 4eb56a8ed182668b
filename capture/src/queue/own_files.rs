//! The queue's files and folders are its own: nobody but their owner enters or reads them, whatever the umask, and no
//! link leads out of them.
//!
//! What telegrams say tells when somebody is at home. And whoever can put a link under a name in the folder, such as
//! `mark` or `losses.next`, would otherwise choose which file is written to with capture's rights.
//!
//! * What is made is made with its mode, and no mode is ever changed by path.
//! * What is opened for writing is opened without following a link; what is replaced is written under a name that did
//!   not exist a moment before.
//! * A folder or file that others can reach is told and not changed: somebody may have meant it. Only the folder of a
//!   new queue is closed: an empty folder of our own, as a container engine makes one for a volume.

use std::fs::{self, DirBuilder, File, Metadata, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use shared::regular_file;

use super::layout::Layout;

/// Of a file of the queue.
const FILE_MODE: u32 = 0o600;
/// Of the queue's folder, and of those in it.
pub(super) const FOLDER_MODE: u32 = 0o700;
/// Of the queue's folder if the socket lies in it, whose group must reach that.
pub(super) const FOLDER_WITH_SOCKET_MODE: u32 = 0o710;
/// Of the socket's folder, and of those above the queue's: the group passes through them.
const OUTER_FOLDER_MODE: u32 = 0o750;
/// Rights of others, and of the group to change something.
const OPEN: u32 = 0o027;

/// Opens a file to read and write it, or makes an empty one.
///
/// # Errors
/// If something else than a regular file has its name, or the system refuses.
pub(super) fn open_or_make(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true);
    match open(&options, path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => make(OpenOptions::new().read(true), path),
        opened => opened,
    }
}

/// Makes the file that is to take the place of `path` under that name with another ending, and tells its name. What a
/// process that was killed has left there is removed.
///
/// # Errors
/// If the system refuses.
pub(super) fn make_next(path: &Path) -> io::Result<(File, PathBuf)> {
    let next = path.with_extension("next");
    match fs::remove_file(&next) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    Ok((make(&mut OpenOptions::new(), &next)?, next))
}

/// Opens a file that there is to write into it.
///
/// # Errors
/// As [`open_or_make`].
pub(super) fn open_to_write(path: &Path) -> io::Result<File> {
    open(OpenOptions::new().read(true).write(true), path)
}

fn open(options: &OpenOptions, path: &Path) -> io::Result<File> {
    // Should it be a pipe, opening it does not wait.
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let file = options.clone().custom_flags(flags.bits() as i32).open(path);
    let file = file.map_err(|error| match Errno::from_io_error(&error) {
        Some(Errno::LOOP) => io::Error::other(format!("it is {LINK}; expected a regular file")),
        _ => error,
    })?;
    if file.metadata()?.is_file() {
        return Ok(file);
    }
    let kind = regular_file::kind(path).unwrap_or_else(|| "something else".to_owned());
    Err(io::Error::other(format!("it is {kind}; expected a regular file")))
}

/// No link is followed where nothing may be.
fn make(options: &mut OpenOptions, path: &Path) -> io::Result<File> {
    let file = options.write(true).create_new(true).mode(FILE_MODE).open(path)?;
    // The umask may have taken the owner's own rights.
    file.set_permissions(Permissions::from_mode(FILE_MODE))?;
    Ok(file)
}

/// Makes a folder that the group passes through, and those above it.
///
/// # Errors
/// If one cannot be made.
pub(crate) fn make_outer_folder(path: &Path) -> io::Result<()> {
    let mut builder = DirBuilder::new();
    builder.recursive(true).mode(OUTER_FOLDER_MODE);
    with_umask(!OUTER_FOLDER_MODE, || builder.create(path))
}

/// Makes the folder, with that mode, and those above it. An empty one of our own is given the mode if everyone can
/// enter or read it.
///
/// # Errors
/// If one cannot be made.
pub(super) fn make_folder(path: &Path, mode: u32) -> io::Result<()> {
    if let Some(outer) = path.parent().filter(|outer| !outer.as_os_str().is_empty()) {
        make_outer_folder(outer)?;
    }
    match with_umask(!mode, || DirBuilder::new().mode(mode).create(path)) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => close_new(path, mode),
        made => made,
    }
}

/// Closes a folder in which nothing is yet.
fn close_new(path: &Path, mode: u32) -> io::Result<()> {
    const OTHERS: u32 = 0o007;
    // One that cannot be read cannot be told to be empty; opening what is in it says what is wrong.
    let Ok(folder) = File::open(path) else {
        return Ok(());
    };
    let metadata = folder.metadata()?;
    let is_own = metadata.uid() == rustix::process::geteuid().as_raw();
    if is_own && metadata.mode() & OTHERS != 0 && fs::read_dir(path)?.next().is_none() {
        folder.set_permissions(Permissions::from_mode(mode))?;
    }
    Ok(())
}

/// Does this with a umask. The umask is the whole process's: what other threads make meanwhile names its own mode, or
/// lies in a folder that only the owner enters.
pub(crate) fn with_umask<T>(umask: u32, make: impl FnOnce() -> T) -> T {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _guard = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let before = rustix::process::umask(Mode::from_raw_mode(umask & 0o777));
    let made = make();
    rustix::process::umask(before);
    made
}

/// What has a name of the queue's is what it should be.
///
/// # Errors
/// The path, and what is there in place of what.
pub(crate) fn expect_own(layout: &Layout) -> Result<(), (PathBuf, String)> {
    let files = [
        layout.identity(),
        layout.birth(),
        layout.mark(),
        layout.losses(),
        layout.reserve(),
        layout.root().join("meter.json"),
        layout.root().join("imports.json"),
    ];
    for path in files {
        expect(path, Metadata::is_file, "a regular file")?;
    }
    for folder in [layout.database(), layout.database_new(), layout.database_old()] {
        for inner in inside(&folder).flat_map(|inner| inside(&inner).chain([inner])) {
            expect(inner, |found| found.is_file() || found.is_dir(), "a regular file")?;
        }
        expect(folder, Metadata::is_dir, "a folder")?;
    }
    Ok(())
}

fn expect(path: PathBuf, is_so: fn(&Metadata) -> bool, expected: &str) -> Result<(), (PathBuf, String)> {
    match fs::symlink_metadata(&path) {
        Ok(found) if !is_so(&found) => {
            let kind = match regular_file::kind(&path) {
                Some(kind) if !found.is_symlink() => kind,
                _ => LINK.to_owned(),
            };
            Err((path, format!("is {kind}; expected {expected} of the queue's own")))
        }
        _ => Ok(()),
    }
}

/// What other users can reach of the folder, and how that is ended, as a sentence; nothing if all is closed.
pub(crate) fn open_to_others(layout: &Layout) -> Option<String> {
    let root = layout.root();
    let mode = |path: &Path| {
        let metadata = fs::symlink_metadata(path).ok()?;
        (!metadata.is_symlink()).then(|| metadata.mode() & 0o777)
    };
    let inner: Vec<PathBuf> = inside(root)
        .flat_map(|path| inside(&path).chain([path]))
        .filter(|path| mode(path).is_some_and(|mode| mode & OPEN != 0))
        .collect();
    let own = fs::metadata(root).ok()?.mode() & 0o777;
    let shown = root.display();
    let what = match (own & OPEN != 0, inner.as_slice()) {
        (false, []) => return None,
        (true, []) => format!("the queue's folder {shown} is open to other users (mode {own:04o})"),
        (true, inner) => format!(
            "the queue's folder {shown} (mode {own:04o}) and {} of what is in it are open to other users",
            inner.len()
        ),
        (false, [one]) => format!(
            "{} in the queue's folder is open to other users (mode {:04o})",
            one.display(),
            mode(one).unwrap_or_default()
        ),
        (false, inner) => format!(
            "{} files in the queue's folder {shown} are open to other users",
            inner.len()
        ),
    };
    Some(format!(
        "{what}, and telegrams tell when somebody is at home; close it with: chmod -R g-w,o= {shown}"
    ))
}

fn inside(folder: &Path) -> impl Iterator<Item = PathBuf> + use<> {
    // A link that leads to a folder is none of the queue's.
    let is_folder = fs::symlink_metadata(folder).is_ok_and(|metadata| metadata.is_dir());
    let entries = is_folder.then(|| fs::read_dir(folder).ok()).flatten();
    entries.into_iter().flatten().flatten().map(|entry| entry.path())
}

const LINK: &str = "a symbolic link";

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::symlink_metadata(path).unwrap().mode() & 0o7777
    }

    fn set_mode(path: &Path, mode: u32) {
        fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn what_is_made_is_the_owners_alone_whatever_the_umask() {
        for umask in [0o000, 0o022, 0o077] {
            let folder = tempfile::tempdir().unwrap();
            let at = |name: &str| folder.path().join(name);
            make_folder(&at("above/queue"), FOLDER_MODE).unwrap();
            assert_eq!(
                (mode(&at("above/queue")), mode(&at("above"))),
                (0o700, 0o750),
                "{umask:o}"
            );
            let made = with_umask(umask, || (open_or_make(&at("mark")), make_next(&at("losses"))));
            let (_, next) = made.1.unwrap();
            assert_eq!((mode(&at("mark")), mode(&next)), (0o600, 0o600), "{umask:o}");
            assert!(made.0.is_ok() && open_or_make(&at("mark")).is_ok(), "{umask:o}");
        }
    }

    #[test]
    fn only_a_new_folder_of_our_own_that_everyone_enters_is_closed() {
        let folder = tempfile::tempdir().unwrap();
        for (before, has_file, after) in [
            (0o755, false, 0o700),
            (0o775, false, 0o700),
            (0o2750, false, 0o2750),
            (0o700, false, 0o700),
            (0o755, true, 0o755),
        ] {
            let path = folder.path().join(format!("{before:o}-{has_file}"));
            fs::create_dir(&path).unwrap();
            set_mode(&path, before);
            if has_file {
                fs::write(path.join("mark"), "").unwrap();
            }
            make_folder(&path, FOLDER_MODE).unwrap();
            assert_eq!(mode(&path), after, "{before:o}, with a file: {has_file}");
        }
    }

    #[test]
    fn no_link_is_followed_and_what_it_leads_to_stays_as_it_was() {
        let folder = tempfile::tempdir().unwrap();
        let victim = folder.path().join("victim");
        fs::write(&victim, "precious").unwrap();
        let at = |name: &str| folder.path().join(name);
        for name in ["mark", "losses.next"] {
            symlink(&victim, at(name)).unwrap();
        }
        symlink(at("nothing"), at("dangling")).unwrap();
        for name in ["mark", "dangling"] {
            let error = open_or_make(&at(name)).unwrap_err().to_string();
            assert!(
                error.contains("symbolic link; expected a regular file"),
                "{error}"
            );
        }
        let (next, name) = make_next(&at("losses")).unwrap();
        io::Write::write_all(&mut &next, b"new").unwrap();
        assert_eq!(
            (fs::read(&victim).unwrap(), fs::read(name).unwrap()),
            (b"precious".to_vec(), b"new".to_vec())
        );
        assert!(!at("nothing").exists());
    }

    #[test]
    fn what_is_open_to_others_is_told_with_the_command_that_closes_it() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("queue");
        let layout = Layout::new(&root);
        make_folder(&root, FOLDER_MODE).unwrap();
        drop(open_or_make(&layout.mark()).unwrap());
        assert_eq!(open_to_others(&layout), None);
        set_mode(&layout.mark(), 0o640);
        assert_eq!(open_to_others(&layout), None, "the group may be meant");
        set_mode(&layout.mark(), 0o644);
        let told = open_to_others(&layout).unwrap();
        assert!(
            told.starts_with(&format!("{} in", layout.mark().display())),
            "{told}"
        );
        set_mode(&root, 0o770);
        let told = open_to_others(&layout).unwrap();
        let expected = format!("the queue's folder {} (mode 0770) and 1 of what", root.display());
        assert!(told.starts_with(&expected), "{told}");
        assert!(
            told.ends_with(&format!("chmod -R g-w,o= {}", root.display())),
            "{told}"
        );
        let command = told.rsplit_once(": ").unwrap().1;
        assert!(
            std::process::Command::new("sh")
                .args(["-c", command])
                .status()
                .unwrap()
                .success()
        );
        assert_eq!(open_to_others(&layout), None);
    }

    #[test]
    fn what_has_a_name_of_the_queues_is_what_it_should_be() {
        let folder = tempfile::tempdir().unwrap();
        let layout = Layout::new(folder.path());
        assert_eq!(expect_own(&layout), Ok(()));
        fs::create_dir(layout.database()).unwrap();
        fs::write(layout.mark(), "").unwrap();
        assert_eq!(expect_own(&layout), Ok(()));
        for path in [
            layout.losses(),
            layout.database().join("db"),
            layout.database_new(),
        ] {
            symlink(folder.path(), &path).unwrap();
            let (named, words) = expect_own(&layout).unwrap_err();
            assert_eq!(named, path);
            assert!(words.starts_with("is a symbolic link; expected a"), "{words}");
            fs::remove_file(&path).unwrap();
        }
    }
}

//! What a process keeps to itself from its first moment on: the files that it makes, and its memory, which holds keys
//! and passwords.

use rustix::fs::Mode;
use rustix::process::{DumpableBehavior, Resource, Rlimit};

/// Files and folders are made for their owner alone, unless they name another mode. The memory goes into no core dump,
/// and no other process but root's can look into it: the limit speaks of files only, so that a program which the system
/// hands core dumps to (`systemd-coredump`) is kept out by the second.
pub fn keep_to_itself() {
    const OWNER_ALONE: u32 = 0o077;
    rustix::process::umask(Mode::from_raw_mode(OWNER_ALONE));
    let none = Rlimit {
        current: Some(0),
        maximum: Some(0),
    };
    // Linux refuses neither to anybody. An emulator that does not know them makes no core dumps of the program either.
    let _ = rustix::process::setrlimit(Resource::Core, none);
    let _ = rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable);
}

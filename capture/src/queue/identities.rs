//! Identities of the folder: `Queue` and `Sequence` name a telegram, so a folder that may have gone on elsewhere must
//! not give its next sequences under the same identity.
//!
//! An older copy of the folder that is put back has a head below sequences that were visible already. Whoever goes on
//! from there gives the same sequences to other telegrams. So the folder takes a new identity from the next sequence
//! on, and goes on counting: sequences rise as ever, cursors stay where they are, and what is stored keeps the identity
//! under which it was accepted. For those the copy and what it was made of agree, so a duplicate is still the same bytes.
//!
//! | who knows | what happens |
//! |---|---|
//! | the folder itself: it is a copy, see [`super::birth`] | a new identity when it is opened, before anything is accepted |
//! | a consumer that has read a sequence above the head, or another telegram under it | a new identity from the first opening after that consumer's cursor on, or else from the cursor on: all that may be another telegram there. Every other session ends, since it may have been told the identity before |
//! | nobody | `capture renew`, run by whoever puts the copy back |
//!
//! The identities are in the mark, in one write with each other. If the mark is lost the newest one counts for all that
//! is stored: a telegram then has two names, but still no name two telegrams.

use std::fs::File;
use std::io::{self, Read};
use std::sync::{Arc, PoisonError};

use shared::wire::Identity;

use super::layout;
use super::mark::{Former, MAX_FORMER, Mark};
use super::reader::Shared;
use super::{FlushError, Queue};

impl Queue {
    /// Identity under which telegrams are accepted: eight characters.
    pub fn identity(&self) -> &str {
        std::str::from_utf8(&self.mark.identity).unwrap_or_default()
    }

    /// The identities and where they begin, oldest first; the last one is that of what is accepted now.
    pub fn identities(&self) -> Vec<Identity> {
        of(&self.mark)
    }

    /// Gives every sequence that is not given yet a new identity.
    ///
    /// # Errors
    /// If it cannot be made durable; the identity is then as it was.
    pub fn renew(&mut self) -> Result<(), FlushError> {
        self.renew_from(self.mark.next)
    }

    /// Gives a new identity to what a consumer, whose cursor this is, cannot have read: another history than this one
    /// is known to it.
    ///
    /// # Errors
    /// As [`Self::renew`].
    pub fn renew_after(&mut self, cursor: u64) -> Result<(), FlushError> {
        let first = self.birth.first_after(cursor).unwrap_or(cursor + 1);
        self.renew_from(first.min(self.mark.next))
    }

    fn renew_from(&mut self, first: u64) -> Result<(), FlushError> {
        let before = (self.mark.identity, self.mark.former.clone());
        let begins = self.mark.former.last().map_or(1, |former| former.last + 1);
        // One under which nothing was accepted is not kept.
        if first > begins {
            self.mark.former.push(Former {
                identity: self.mark.identity,
                last: first - 1,
            });
            let surplus = self.mark.former.len().saturating_sub(MAX_FORMER);
            self.mark.former.drain(..surplus);
        }
        let drawn = draw().map_err(|source| FlushError::Mark {
            path: self.layout.mark(),
            source,
        });
        let written = drawn.and_then(|identity| {
            self.mark.identity = identity;
            self.write_mark_synced()
        });
        if written.is_err() {
            (self.mark.identity, self.mark.former) = before;
            return written;
        }
        // For people to read; the next opening makes up for it.
        if let Err(error) = layout::replace_file(&self.layout.identity(), &line(self.mark.identity)) {
            tracing::debug!("cannot write {}: {error}", self.layout.identity().display());
        }
        self.shared.name(&self.mark);
        Ok(())
    }
}

impl Shared {
    /// Takes over the identities of the mark, and wakes whoever waits under those before.
    pub(super) fn name(&self, mark: &Mark) {
        *self.identities.lock().unwrap_or_else(PoisonError::into_inner) = of(mark).into();
        self.announce();
    }

    /// As [`Queue::identities`].
    pub(super) fn identities(&self) -> Arc<[Identity]> {
        let identities = self.identities.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(&identities)
    }
}

fn of(mark: &Mark) -> Vec<Identity> {
    let ends = mark.former.iter().map(|former| former.last);
    let names = mark.former.iter().map(|former| former.identity);
    names
        .chain([mark.identity])
        .zip([0].into_iter().chain(ends))
        .map(|(name, before)| Identity {
            queue: String::from_utf8_lossy(&name).into_owned(),
            first_sequence: before + 1,
        })
        .collect()
}

/// An identity that no folder has.
pub(super) fn draw() -> io::Result<[u8; 8]> {
    let mut drawn = [0; 8];
    File::open("/dev/urandom")?.read_exact(&mut drawn)?;
    Ok(drawn.map(|byte| {
        ALPHABET
            .get(usize::from(byte) % ALPHABET.len())
            .copied()
            .unwrap_or(b'a')
    }))
}

/// As it is in the file.
pub(super) fn line(identity: [u8; 8]) -> Vec<u8> {
    [&identity[..], b"\n"].concat()
}

const ALPHABET: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";

//! Which telegrams are believed to be the meter's, from what came before them.
//!
//! * With an authentication key in the configuration only frames whose tag verifies are taken.
//! * Without one, tags are required from the first that has verified, and telegrams that are not encrypted are refused.
//! * A frame is taken only if its counter is above that of the last frame with the same system title. Only frames that
//!   were taken move the counter, so nobody without the key can set it: the counter and the system title go into the
//!   nonce, and a frame with others does not open.
//!
//! All of it follows from the records in the order of their sequence, and nothing is kept beside them: a reader that
//! begins anywhere looks at the [`crate::registers::LOOK_BACK`] sequences before, as it does for registers, and then
//! takes and refuses the same records. It is less strict than one that has read everything only if no genuine telegram
//! is among those. What was required once is required until this reader ends, however much comes that is refused.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::time::Duration;

use shared::config::OnTrouble;
use shared::rate::Rate;

use super::{Keys, Parts, Undecryptable, is_encrypted};

/// Meters whose counters are kept, the most recently seen.
const MOST_METERS: usize = 8;

/// Opens records as they come, and knows what to do with those that do not open.
#[derive(Debug)]
pub struct Decryption {
    keys: Option<Keys>,
    on_undecryptable: OnTrouble,
    has_opened: bool,
    has_verified: bool,
    counters: Vec<Counter>,
}

/// The counter of the last frame of a meter that was taken, and that record's sequence.
#[derive(Debug)]
struct Counter {
    system_title: [u8; 8],
    value: u32,
    sequence: u64,
}

/// A record that was looked into.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Opened<'r> {
    /// The telegram.
    Telegram(Cow<'r, [u8]>),
    /// It does not open, or is not believed, and is skipped.
    Skipped(Undecryptable),
    /// It does not open; nothing may pass until it does.
    Waiting(Undecryptable),
}

/// A telegram that can be taken, and what taking it changes.
struct Judged<'r> {
    telegram: Cow<'r, [u8]>,
    /// System title and counter of its frame, and whether the tag has verified.
    frame: Option<([u8; 8], u32, bool)>,
}

impl Decryption {
    /// With the keys of the configuration, if it has any.
    pub fn new(keys: Option<Keys>, on_undecryptable: OnTrouble) -> Self {
        Self {
            keys,
            on_undecryptable,
            has_opened: false,
            has_verified: false,
            counters: Vec::new(),
        }
    }

    /// Whether what is taken depends on the records before.
    pub(crate) fn looks_back(&self) -> bool {
        self.keys.is_some()
    }

    /// Whether tags are required because one has verified, without an authentication key in the configuration.
    pub(crate) fn requires_tags_by_itself(&self) -> bool {
        self.has_verified && !self.has_authentication_key()
    }

    /// The telegram of the next record. A frame that does not open is waited for while none has opened yet, since
    /// the key may be wrong; once one has, it is damaged or forged, and skipped.
    pub(crate) fn open<'r>(&mut self, telegram: &'r [u8], sequence: u64) -> Opened<'r> {
        match self.judge(telegram, sequence) {
            Ok(Judged { telegram, frame }) => {
                if let Some((system_title, counter, is_authentic)) = frame {
                    self.has_opened = true;
                    self.has_verified |= is_authentic;
                    self.note_counter(system_title, counter, sequence);
                }
                Opened::Telegram(telegram)
            }
            Err(why) if self.has_opened || self.on_undecryptable == OnTrouble::Skip => Opened::Skipped(why),
            Err(why) => Opened::Waiting(why),
        }
    }

    /// The telegram of a record that has been taken last or comes later, as it would be taken next. None if it would
    /// not.
    pub(crate) fn peek<'r>(&self, telegram: &'r [u8], sequence: u64) -> Option<Cow<'r, [u8]>> {
        self.judge(telegram, sequence).ok().map(|judged| judged.telegram)
    }

    fn judge<'r>(&self, telegram: &'r [u8], sequence: u64) -> Result<Judged<'r>, Undecryptable> {
        if !is_encrypted(telegram) {
            return match () {
                () if self.has_verified => Err(Undecryptable::NotEncrypted),
                () if self.has_authentication_key() => Err(Undecryptable::NoTag),
                () => Ok(Judged {
                    telegram: Cow::Borrowed(telegram),
                    frame: None,
                }),
            };
        }
        let keys = self.keys.as_ref().ok_or(Undecryptable::NoKey)?;
        let parts = Parts::of(telegram)?;
        let inside = match parts.open(keys) {
            Err(Undecryptable::WrongAuthenticationKey { meter }) if self.has_verified => {
                return Err(Undecryptable::WrongTag { meter });
            }
            Ok(inside) if self.has_verified && !inside.is_authentic => {
                return Err(Undecryptable::WrongTag { meter: parts.meter() });
            }
            opened => opened?,
        };
        let (system_title, counter) = (parts.system_title, parts.frame_counter);
        let last = self
            .counters
            .iter()
            .find(|last| last.system_title == system_title);
        match last {
            Some(last) if last.sequence != sequence && counter <= last.value => {
                Err(Undecryptable::OldCounter {
                    meter: parts.meter(),
                    counter,
                    last: last.value,
                })
            }
            _ => Ok(Judged {
                telegram: Cow::Owned(inside.telegram),
                frame: Some((system_title, counter, inside.is_authentic)),
            }),
        }
    }

    fn has_authentication_key(&self) -> bool {
        self.keys
            .as_ref()
            .is_some_and(|keys| keys.authentication.is_some())
    }

    fn note_counter(&mut self, system_title: [u8; 8], value: u32, sequence: u64) {
        let counter = Counter {
            system_title,
            value,
            sequence,
        };
        let known = self
            .counters
            .iter_mut()
            .find(|known| known.system_title == system_title);
        if let Some(known) = known {
            *known = counter;
        } else if self.counters.len() < MOST_METERS {
            self.counters.push(counter);
        } else if let Some(oldest) = self.counters.iter_mut().min_by_key(|known| known.sequence) {
            *oldest = counter;
        }
    }
}

/// What a person is told of telegrams that are skipped: the first of each kind, then one a minute with the number of the
/// others.
#[derive(Debug, Default)]
pub(crate) struct Refusals(BTreeMap<&'static str, Rate>);

impl Refusals {
    /// Tells of one, or counts it for the next time. Whether it was told.
    pub(crate) fn tell(&mut self, now: Duration, sequence: u64, why: &Undecryptable) -> bool {
        let rate = self.0.entry(why.counted_as()).or_insert_with(|| Rate::new(1));
        let more = rate.say(now);
        if let Some(more) = &more {
            tracing::warn!("telegram #{sequence}: {why}; it is skipped{more}");
        }
        more.is_some()
    }
}

#[cfg(test)]
mod tests;

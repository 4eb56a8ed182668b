//! What the clients of one user may ask of capture in a time: some of each kind at once, and then one after each span.
//! Beyond that the session that asks waits, and no other.
//!
//! Pure: the monotonic clock is handed in.

use std::collections::BTreeMap;
use std::time::Duration;

use shared::wire::Request;

/// What is counted, each kind by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A connection.
    Connection,
    /// A question to the thread that keeps the queue: a status, or what has been imported.
    Question,
    /// What is written with the next flush: a commit or a report.
    Note,
    /// What is made durable by itself: a consumer that is opened or forgotten, a renewed identity.
    Change,
    /// A part of a file that is appended.
    Part,
}

impl Kind {
    /// What carrying out this request counts as; none if the session reads by itself.
    pub fn of(request: &Request) -> Option<Self> {
        match request {
            Request::Read { .. } | Request::Locate { .. } | Request::Identities => None,
            Request::Status | Request::Imports => Some(Self::Question),
            Request::Commit { .. } | Request::Report(_) => Some(Self::Note),
            Request::Open { .. } | Request::Forget { .. } | Request::Renew { .. } => Some(Self::Change),
            Request::Append { .. } => Some(Self::Part),
        }
    }

    /// How many there may be at once, and after what span one more.
    const fn rate(self) -> (u32, Duration) {
        match self {
            Self::Connection | Self::Question => (200, Duration::from_millis(10)),
            Self::Note => (400, Duration::from_millis(5)),
            Self::Change => (32, Duration::from_millis(200)),
            Self::Part => (40, Duration::from_millis(50)),
        }
    }
}

/// What all users have asked for.
#[derive(Debug, Default)]
pub struct Allowances {
    /// When all that a user has asked for would have been carried out, one after each span.
    users: BTreeMap<u32, [Duration; KINDS]>,
}

const KINDS: usize = Kind::Part as usize + 1;

/// From so many users on, those that are owed nothing are dropped.
const MANY_USERS: usize = 64;

impl Allowances {
    /// Counts one of this kind. How long its session waits before it is carried out.
    pub fn take(&mut self, user: u32, kind: Kind, now: Duration) -> Duration {
        if self.users.len() >= MANY_USERS {
            self.users
                .retain(|_, done_at| done_at.iter().any(|done_at| *done_at > now));
        }
        let (at_once, every) = kind.rate();
        let Some(done_at) = self.users.entry(user).or_default().get_mut(kind as usize) else {
            return Duration::ZERO;
        };
        *done_at = (*done_at).max(now) + every;
        done_at.saturating_sub(now + every * at_once)
    }

    /// One that was counted is not carried out after all.
    pub fn give_back(&mut self, user: u32, kind: Kind) {
        let done_at = self
            .users
            .get_mut(&user)
            .and_then(|kinds| kinds.get_mut(kind as usize));
        if let Some(done_at) = done_at {
            *done_at = done_at.saturating_sub(kind.rate().1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Duration = Duration::from_secs(1000);

    #[test]
    fn some_are_carried_out_at_once_and_the_others_one_after_each_span() {
        let mut allowances = Allowances::default();
        let mut take = |user, now| allowances.take(user, Kind::Change, now);
        let waits: Vec<Duration> = (0..35).map(|_| take(1, NOW)).collect();
        assert!(waits[..32].iter().all(Duration::is_zero), "{waits:?}");
        assert_eq!(waits[32..], [200, 400, 600].map(Duration::from_millis));
        assert_eq!(take(2, NOW), Duration::ZERO, "another user has its own");
        assert_eq!(
            take(1, NOW + Duration::from_millis(600)),
            Duration::from_millis(200)
        );
        assert_eq!(take(1, NOW + Duration::from_secs(60)), Duration::ZERO);
    }

    #[test]
    fn each_kind_counts_by_itself_and_what_is_given_back_does_not() {
        let mut allowances = Allowances::default();
        for _ in 0..32 {
            allowances.take(1, Kind::Change, NOW);
        }
        assert_eq!(allowances.take(1, Kind::Note, NOW), Duration::ZERO);
        for _ in 0..3 {
            assert_eq!(allowances.take(1, Kind::Change, NOW), Duration::from_millis(200));
            allowances.give_back(1, Kind::Change);
        }
    }

    #[test]
    fn users_that_are_owed_nothing_take_no_memory() {
        let mut allowances = Allowances::default();
        for user in 0..10_000 {
            allowances.take(user, Kind::Connection, NOW + Duration::from_secs(u64::from(user)));
        }
        assert!(allowances.users.len() <= MANY_USERS);
    }
}

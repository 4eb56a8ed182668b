//! Who gets a place when clients want more sessions than there are: each user up to a number, some places for the
//! queue's own user, and a few that end soon, so that a status can be asked for in any crowd.
//!
//! Pure: what the sessions are at is handed in.
//!
//! Invariants: nobody loses a place to a user who has as many as its own. A consumer that waits for records, and a
//! request that is being carried out, never lose theirs.

use std::time::Duration;

/// How many sessions there may be.
#[derive(Debug, Clone, Copy)]
pub struct PlaceLimits {
    /// Sessions at once, without those that end soon.
    pub all: usize,
    /// Of those, sessions of one user.
    pub of_user: usize,
    /// Of all, those that only root and capture's own user get.
    pub kept: usize,
    /// Further sessions, each for [`BRIEF`] and without a consumer.
    pub brief: usize,
    /// Of those, sessions of one user.
    pub brief_of_user: usize,
}

/// 32 sessions, of which one user has at most 24, and 4 brief ones beside them.
pub const PLACES: PlaceLimits = PlaceLimits {
    all: 32,
    of_user: 24,
    kept: 4,
    brief: 4,
    brief_of_user: 1,
};

/// How long a session lasts that has a place only for a status, an export's first part and the like.
pub const BRIEF: Duration = Duration::from_secs(5);

/// How long a session without a consumer asks for nothing before another of its user may have its place.
pub const QUIET_GUEST: Duration = Duration::from_secs(1);

/// How long a consumer asks for nothing, not even for records to come, before it may lose its place. Its publisher
/// waits for the broker then, and connects again.
pub const QUIET_CONSUMER: Duration = Duration::from_secs(60);

/// A session, when another client wants a place.
#[derive(Debug, Clone, Copy)]
pub struct Place {
    /// Its user.
    pub user: u32,
    /// Whether that is root, or capture's own.
    pub is_own: bool,
    /// What it is at.
    pub stage: Stage,
    /// Since when.
    pub quiet: Duration,
}

/// What a session is at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// It has no consumer, and asks for nothing or waits for records.
    Guest,
    /// It has a consumer, and asks for nothing.
    Resting,
    /// It has no consumer, and its request waits until its user's turn has come.
    Queued,
    /// A request is being carried out; of a consumer also a wait for records.
    Busy,
}

/// What becomes of a client that connects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// There is a place.
    Free,
    /// There is one as soon as this session has ended, by its position.
    Instead(usize),
    /// There is only a brief one.
    Brief,
    /// There is none.
    Full,
}

/// What becomes of a client of this user. `places` are the sessions that are not brief, `brief` the users of those
/// that are.
pub fn judge(limits: &PlaceLimits, places: &[Place], brief: &[u32], user: u32, is_own: bool) -> Verdict {
    let of = |user: u32| places.iter().filter(|place| place.user == user).count();
    let own = of(user);
    let others = places.iter().filter(|place| !place.is_own).count();
    let is_crowded = !is_own && others + limits.kept >= limits.all;
    let is_at_limit = own >= limits.of_user;
    if !is_crowded && !is_at_limit && places.len() < limits.all {
        return Verdict::Free;
    }
    let may_end = |place: &Place| {
        let least = if place.user == user {
            QUIET_GUEST
        } else {
            Duration::ZERO
        };
        let is_quiet = match place.stage {
            Stage::Guest => place.quiet >= least,
            Stage::Resting => place.quiet >= QUIET_CONSUMER,
            Stage::Queued => place.user != user,
            Stage::Busy => false,
        };
        let is_spared = is_at_limit || (is_crowded && place.is_own);
        let is_heavier = !is_spared && of(place.user) > own + 1;
        is_quiet && (place.user == user || is_heavier)
    };
    let victim = places
        .iter()
        .enumerate()
        .filter(|(_, place)| may_end(place))
        .max_by_key(|(_, place)| (of(place.user), place.quiet));
    if let Some((position, _)) = victim {
        return Verdict::Instead(position);
    }
    let brief_of_user = brief.iter().filter(|other| **other == user).count();
    match brief.len() < limits.brief && brief_of_user < limits.brief_of_user {
        true => Verdict::Brief,
        false => Verdict::Full,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWN: u32 = 10;
    const PUBLISHER: u32 = 20;
    const HOSTILE: u32 = 66;
    const LONG: Duration = Duration::from_secs(3600);

    fn places(of: &[(u32, usize, Stage, Duration)]) -> Vec<Place> {
        let place = |&(user, count, stage, quiet): &(u32, usize, Stage, Duration)| {
            let is_own = user == OWN;
            std::iter::repeat_n(
                Place {
                    user,
                    is_own,
                    stage,
                    quiet,
                },
                count,
            )
        };
        of.iter().flat_map(place).collect()
    }

    fn verdict(places: &[Place], user: u32) -> Verdict {
        judge(&PLACES, places, &[], user, user == OWN)
    }

    #[test]
    fn there_are_places_until_they_are_taken() {
        let all = places(&[(HOSTILE, 23, Stage::Busy, LONG)]);
        assert_eq!(verdict(&all, HOSTILE), Verdict::Free);
        let all = places(&[(HOSTILE, 24, Stage::Busy, LONG)]);
        assert_eq!(verdict(&all, HOSTILE), Verdict::Brief, "one user has no more");
        assert_eq!(verdict(&all, PUBLISHER), Verdict::Free);
        let all = places(&[(HOSTILE, 24, Stage::Busy, LONG), (67, 4, Stage::Busy, LONG)]);
        assert_eq!(verdict(&all, PUBLISHER), Verdict::Brief, "the rest is kept");
        assert_eq!(verdict(&all, OWN), Verdict::Free);
    }

    #[test]
    fn who_asks_for_nothing_makes_room_and_who_waits_for_records_as_a_consumer_does_not() {
        let quiet = Duration::from_secs(2);
        for (stage, quiet, expected) in [
            (Stage::Guest, quiet, Verdict::Instead(0)),
            (Stage::Guest, Duration::ZERO, Verdict::Brief),
            (Stage::Resting, quiet, Verdict::Brief),
            (Stage::Resting, LONG, Verdict::Instead(0)),
            (Stage::Busy, LONG, Verdict::Brief),
        ] {
            let all = places(&[(HOSTILE, 1, stage, quiet), (HOSTILE, 23, Stage::Busy, LONG)]);
            assert_eq!(verdict(&all, HOSTILE), expected, "{stage:?} for {quiet:?}");
        }
        let all = places(&[
            (OWN, 8, Stage::Guest, quiet),
            (OWN, 1, Stage::Guest, LONG),
            (OWN, 15, Stage::Guest, quiet),
        ]);
        assert_eq!(
            verdict(&all, OWN),
            Verdict::Instead(8),
            "the one that is quiet the longest"
        );
    }

    #[test]
    fn a_user_with_few_sessions_gets_a_place_of_one_with_many_and_never_the_other_way_round() {
        let all = places(&[
            (PUBLISHER, 1, Stage::Guest, LONG),
            (67, 4, Stage::Guest, LONG),
            (HOSTILE, 23, Stage::Guest, Duration::ZERO),
        ]);
        assert_eq!(verdict(&all, 21), Verdict::Instead(27));
        let queued = places(&[(HOSTILE, 24, Stage::Queued, LONG), (67, 4, Stage::Busy, LONG)]);
        assert_eq!(verdict(&queued, PUBLISHER), Verdict::Instead(23));
        assert_eq!(verdict(&queued, HOSTILE), Verdict::Brief);
        let own = places(&[(OWN, 12, Stage::Guest, LONG), (HOSTILE, 20, Stage::Busy, LONG)]);
        assert_eq!(verdict(&own, PUBLISHER), Verdict::Instead(11));
        let quiet = places(&[
            (PUBLISHER, 14, Stage::Guest, LONG),
            (HOSTILE, 14, Stage::Busy, LONG),
        ]);
        assert_eq!(verdict(&quiet, HOSTILE), Verdict::Brief);
        let kept = places(&[
            (OWN, 4, Stage::Guest, LONG),
            (HOSTILE, 14, Stage::Busy, LONG),
            (67, 14, Stage::Busy, LONG),
        ]);
        assert_eq!(
            verdict(&kept, PUBLISHER),
            Verdict::Brief,
            "the kept ones are not to be had"
        );
    }

    #[test]
    fn brief_places_are_for_several_users() {
        let all = places(&[(HOSTILE, 14, Stage::Busy, LONG), (67, 14, Stage::Busy, LONG)]);
        let brief = |brief: &[u32], user| judge(&PLACES, &all, brief, user, false);
        assert_eq!(brief(&[], HOSTILE), Verdict::Brief);
        assert_eq!(brief(&[HOSTILE], HOSTILE), Verdict::Full);
        assert_eq!(brief(&[HOSTILE, 67, 68], PUBLISHER), Verdict::Brief);
        assert_eq!(brief(&[HOSTILE, 67, 68, 69], PUBLISHER), Verdict::Full);
    }
}

//! Power cuts: what had been visible is there, whatever of the rest the disk has kept.
//!
//! `kill -9` leaves the kernel's pages alone, so it says nothing about power. Here a process keeps a queue
//! while every change that it makes to its files, and every sync, is recorded ([`recording`]). Then the
//! power is cut at some moment of the recording: a folder is made of what was synced up to there and a
//! seeded choice of the rest, torn, dropped and out of order ([`disk`]). The queue is opened in it and held
//! to what its process had been promised by then ([`promises`], [`verdict`]). Some of these folders are
//! lived in again under a recording of their own, and the power is cut again, while the first cut is still
//! being repaired.
//!
//! | setting | |
//! |---|---|
//! | `SMARTMETER_POWER_CUTS` | how many cuts, by default 300 |
//! | `SMARTMETER_SEED` | which ones |

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "these are tests, their own functions included"
)]

mod disk;
mod promises;
mod recording;
mod verdict;
mod workload;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, mpsc};

use tests::folder::Folder;
use tests::household::random::Random;

use disk::{Disk, FLAVOURS, Flavour, Left};
use promises::Promises;
use recording::{Change, Moment, Recording};
use verdict::Found;
use workload::{Life, Plan};

#[test]
fn what_had_been_visible_is_there_after_the_power_was_cut() {
    let Some(()) = strace() else {
        return;
    };
    let cuts: u64 = std::env::var("SMARTMETER_POWER_CUTS").map_or(300, |cuts| cuts.parse().unwrap());
    let seed = std::env::var("SMARTMETER_SEED").map_or(44, |seed| seed.parse().unwrap());
    eprintln!("seed {seed}, {cuts} power cuts");
    let folder = Folder::new();
    let mut random = Random::new(seed);
    let mut counts = Counts::default();

    // Half of the cuts in a long life, half while what an earlier cut has left is opened and goes on.
    let root = folder.join("long");
    std::fs::create_dir_all(&root).unwrap();
    let life = Life {
        plan: Plan::Long,
        seed,
        boot: 1,
        first_telegram: 1,
    };
    let long = workload::record(life, &root, &beside(&folder, "long"));
    let first = cut_all(
        "long",
        &long,
        &Promises::default(),
        cuts.div_ceil(2),
        3,
        &mut random,
        &folder,
        &mut counts,
    );

    let again = (cuts / 2).min((cuts / 40).max(8));
    for number in 0..again {
        // Wherever the first cut fell: what it left is lived in from here on.
        let at = first[random.below(first.len() as u64) as usize];
        let name = format!("again-{number}");
        let (promises, left) = cut_one(&long, at, &folder.join(&name));
        let life = Life {
            plan: Plan::Short,
            seed: seed + number,
            boot: 10,
            first_telegram: 1_000_000 * (number + 1),
        };
        let short = workload::record(life, &folder.join(&name), &beside(&folder, &name));
        let share = (cuts / 2 * (number + 1) / again) - (cuts / 2 * number / again);
        counts.count_left(&left);
        cut_all(
            &name,
            &short,
            &promises,
            share,
            11,
            &mut random,
            &folder,
            &mut counts,
        );
    }

    eprintln!("{counts}");
    counts.reached_everything();
}

/// Whether there is strace. It may be missing on a developer's machine, not where the change is checked.
fn strace() -> Option<()> {
    let runs = Command::new("strace").args(["-o", "/dev/null", "true"]).output();
    if runs.as_ref().is_ok_and(|output| output.status.success()) {
        return Some(());
    }
    assert!(
        std::env::var_os("CI").is_none(),
        "strace does not run here: {runs:?}"
    );
    eprintln!("skipped: strace does not run here, and tests/run installs it: {runs:?}");
    None
}

fn beside(folder: &Folder, name: &str) -> PathBuf {
    let path = folder.join(&format!("{name}-beside"));
    std::fs::create_dir_all(&path).unwrap();
    path
}

/// A cut that is to be made: the state before the moment of this number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Cut {
    at: usize,
    flavour: Flavour,
    seed: u64,
}

/// A folder as a power cut left it, and what it is held to.
struct Trial {
    cut: Cut,
    phase: &'static str,
    folder: PathBuf,
    promises: Promises,
    tail: u64,
    left: Left,
}

/// Cuts the power `count` times within a recording, and judges what is left. Gives the cuts.
#[allow(clippy::too_many_arguments, reason = "the parts of one experiment")]
fn cut_all(
    name: &str,
    recording: &Recording,
    before: &Promises,
    count: u64,
    boot: u8,
    random: &mut Random,
    folder: &Folder,
    counts: &mut Counts,
) -> Vec<Cut> {
    counts.most_unsynced_bytes = counts.most_unsynced_bytes.max(recording.most_unsynced_bytes());
    let phases = phases(recording);
    let cuts = draw(&phases, recording, count, random);
    let (sender, receiver) = mpsc::sync_channel::<Trial>(2);
    let receiver = Mutex::new(receiver);
    let results = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                loop {
                    let trial = receiver.lock().unwrap().recv();
                    let Ok(trial) = trial else {
                        return;
                    };
                    let result =
                        verdict::judge(&trial.folder, &trial.promises, trial.tail, boot, 900_000_000);
                    if result.is_ok() {
                        std::fs::remove_dir_all(&trial.folder).unwrap();
                    }
                    results.lock().unwrap().push((trial, result));
                }
            });
        }
        let mut disk = Disk::new(recording);
        let mut promises = before.clone();
        let mut due = cuts.iter().peekable();
        for (at, moment) in recording.moments.iter().enumerate() {
            while let Some(cut) = due.next_if(|cut| cut.at == at) {
                let target = folder.join(&format!("{name}-cut-{at}-{}", cut.seed));
                let left = disk.cut(cut.flavour, &mut Random::new(cut.seed), &target);
                let trial = Trial {
                    cut: *cut,
                    phase: phases[at],
                    folder: target,
                    promises: promises.clone(),
                    tail: promises.tail_after(&recording.moments[at..]),
                    left,
                };
                sender.send(trial).unwrap();
            }
            disk.take(moment);
            promises.take(moment);
        }
        drop(sender);
    });
    let mut failures = Vec::new();
    for (trial, result) in results.into_inner().unwrap() {
        match result {
            Ok(found) => counts.count(&trial, &found),
            Err(words) => {
                // The folder has been opened since: once more as the cut left it.
                let mut untouched = trial.folder.clone().into_os_string();
                untouched.push("-untouched");
                cut_one(recording, trial.cut, untouched.as_ref());
                failures.push(format!(
                    "{words}\n    {:?} in {name}, during {} ({}), visible up to {}, kept from {}: {}",
                    trial.cut,
                    trial.phase,
                    trial.promises.under_way,
                    trial.promises.visible,
                    trial.tail,
                    trial.folder.display()
                ));
            }
        }
    }
    failures.sort();
    assert!(
        failures.is_empty(),
        "{} of {count} cuts broke a promise:\n  {}",
        failures.len(),
        failures.iter().take(10).cloned().collect::<Vec<_>>().join("\n  ")
    );
    cuts
}

/// One cut alone, to go on from.
fn cut_one(recording: &Recording, cut: Cut, target: &Path) -> (Promises, Left) {
    let mut disk = Disk::new(recording);
    let mut promises = Promises::default();
    for moment in &recording.moments[..cut.at] {
        disk.take(moment);
        promises.take(moment);
    }
    let left = disk.cut(cut.flavour, &mut Random::new(cut.seed), target);
    promises.tail = promises.tail_after(&recording.moments[cut.at..]);
    (promises, left)
}

/// Draws the moments: each phase gets its share, so that a short one is cut too. Within a phase, half are any
/// moment, and half between the beginning of a write and the end of the sync that covers it, where most can
/// go wrong.
fn draw(phases: &[&'static str], recording: &Recording, count: u64, random: &mut Random) -> Vec<Cut> {
    let mut of_phase: BTreeMap<(bool, &str), Vec<usize>> = BTreeMap::new();
    for (at, phase) in phases.iter().enumerate() {
        let is_file = !matches!(recording.moments[at], Moment::Said(_));
        let before = at.checked_sub(1).and_then(|before| recording.moments.get(before));
        let is_unsynced = matches!(
            before,
            Some(Moment::Begun(_, Change::Write { .. }) | Moment::SyncBegun(..))
        );
        if is_file {
            of_phase.entry((false, phase)).or_default().push(at);
        }
        if is_unsynced {
            of_phase.entry((true, phase)).or_default().push(at);
        }
    }
    let of_phase: Vec<Vec<usize>> = of_phase.into_values().collect();
    let mut cuts: Vec<Cut> = (0..count)
        .map(|number| {
            let moments = if number % 2 == 0 {
                &of_phase[(number / 2) as usize % of_phase.len()]
            } else {
                random.pick(&of_phase)
            };
            Cut {
                at: *random.pick(moments),
                flavour: FLAVOURS[if random.happens(1, 2) {
                    4
                } else {
                    random.below(4) as usize
                }],
                seed: random.next_u64() >> 16,
            }
        })
        .collect();
    cuts.sort();
    cuts
}

/// What the process was about at each moment.
fn phases(recording: &Recording) -> Vec<&'static str> {
    let mut phases = Vec::with_capacity(recording.moments.len());
    let mut phase = "start";
    let mut has_opened = !recording.before.names.is_empty();
    for (at, moment) in recording.moments.iter().enumerate() {
        if let Moment::Said(words) = moment {
            phase = match words.split(' ').next().unwrap_or_default() {
                "open" if has_opened => "opening",
                "open" => "first creation",
                "flush" => "flushing",
                "maintain" => maintenance(&recording.moments[at..]),
                "register" => "registering",
                "forget" => "forgetting",
                "close" => "closing",
                "opened" | "flushed" | "maintained" | "registered" | "forgot" | "closed" => {
                    has_opened = true;
                    "between"
                }
                _ => phase,
            };
        }
        phases.push(phase);
    }
    mark_rebuild(recording, &mut phases);
    phases
}

/// What a call of `maintain` turns out to do.
fn maintenance(moments: &[Moment]) -> &'static str {
    let done = moments.iter().find_map(|moment| match moment {
        Moment::Said(words) => words.strip_prefix("maintained "),
        _ => None,
    });
    let numbers: Vec<u64> = done
        .unwrap_or_default()
        .split(' ')
        .filter_map(|number| number.parse().ok())
        .collect();
    match numbers.as_slice() {
        [_, _, _, lost] if *lost > 0 => "trimming by size",
        [_, _, trimmed, _] if *trimmed > 0 => "trimming by age",
        [_, merged, _, _] if *merged > 0 => "merging",
        _ => "maintaining",
    }
}

/// A rebuild lies between making `sled-new` and the last change to `sled-old`.
fn mark_rebuild(recording: &Recording, phases: &mut [&'static str]) {
    let named = |moment: &Moment, wanted: &str| matches!(moment, Moment::Begun(_, Change::Names(names)) if names.iter().any(|(_, name, _)| name == wanted));
    let mut at = 0;
    while let Some(from) = recording.moments[at..]
        .iter()
        .position(|moment| named(moment, "sled-new"))
    {
        let from = at + from;
        let said = |moment: &Moment| matches!(moment, Moment::Said(words) if words.starts_with("maintained") || words.starts_with("opened"));
        let end = recording.moments[from..]
            .iter()
            .position(said)
            .map_or(recording.moments.len(), |end| from + end);
        let last = recording.moments[from..end]
            .iter()
            .rposition(|moment| named(moment, "sled-old") || named(moment, "sled-new"))
            .map_or(from, |last| from + last);
        phases[from..=last].fill("rebuilding");
        at = end;
    }
}

/// The segments of the queue's database.
const SEGMENT_BYTES: usize = 512 * 1024;

/// How often each thing was reached.
#[derive(Debug, Default)]
struct Counts {
    cuts: u64,
    phases: BTreeMap<&'static str, u64>,
    flavours: BTreeMap<Flavour, u64>,
    left: Left,
    with_torn: u64,
    with_dropped: u64,
    with_reordered: u64,
    most_unsynced_bytes: usize,
    found: Found,
}

impl Counts {
    fn count(&mut self, trial: &Trial, found: &Found) {
        self.cuts += 1;
        *self.phases.entry(trial.phase).or_default() += 1;
        *self.flavours.entry(trial.cut.flavour).or_default() += 1;
        self.count_left(&trial.left);
        self.with_torn += u64::from(trial.left.torn > 0);
        self.with_dropped += u64::from(trial.left.dropped > 0);
        self.with_reordered += u64::from(trial.left.reordered > 0);
        self.found.beyond += found.beyond;
        self.found.moved_aside += found.moved_aside;
        self.found.left_out += found.left_out;
        self.found.put_back += found.put_back;
    }

    fn count_left(&mut self, left: &Left) {
        self.left.unsynced += left.unsynced;
        self.left.dropped += left.dropped;
        self.left.torn += left.torn;
        self.left.reordered += left.reordered;
        self.left.names_dropped += left.names_dropped;
        self.left.lengths_without_bytes += left.lengths_without_bytes;
    }

    fn reached_everything(&self) {
        for phase in [
            "first creation",
            "opening",
            "flushing",
            "registering",
            "forgetting",
            "merging",
            "trimming by age",
            "trimming by size",
            "rebuilding",
            "closing",
        ] {
            assert!(self.phases.contains_key(phase), "no cut during {phase}: {self}");
        }
        for flavour in FLAVOURS {
            assert!(
                self.flavours.contains_key(&flavour),
                "no cut of flavour {flavour:?}: {self}"
            );
        }
        // sled may write over what it has written anew a whole segment ago, synced or not.
        assert!(
            self.most_unsynced_bytes <= SEGMENT_BYTES,
            "more than a segment was written between two syncs: {self}"
        );
        let left = &self.left;
        for (what, count) in [
            ("dropped", left.dropped),
            ("torn", left.torn),
            ("reordered", left.reordered),
            ("names dropped", left.names_dropped),
            ("lengths without bytes", left.lengths_without_bytes),
            ("records beyond the visible", self.found.beyond),
            ("sequences left out", self.found.left_out),
        ] {
            assert!(count > 0, "none {what}: {self}");
        }
    }
}

impl std::fmt::Display for Counts {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { left, found, .. } = self;
        writeln!(formatter, "{} power cuts", self.cuts)?;
        writeln!(formatter, "  during: {:?}", self.phases)?;
        writeln!(formatter, "  kept of what was not synced: {:?}", self.flavours)?;
        writeln!(
            formatter,
            "  cuts with writes dropped {}, torn {}, out of order {}",
            self.with_dropped, self.with_torn, self.with_reordered
        )?;
        writeln!(
            formatter,
            "  of {} unsynced writes: {} dropped, {} torn, {} out of order; {} names dropped, {} lengths without bytes",
            left.unsynced,
            left.dropped,
            left.torn,
            left.reordered,
            left.names_dropped,
            left.lengths_without_bytes
        )?;
        writeln!(
            formatter,
            "  at most {} bytes of a file between two syncs",
            self.most_unsynced_bytes
        )?;
        write!(
            formatter,
            "  found: {} records durable and not yet visible, {} openings that left out sequences, {} databases moved aside before anything was visible, {} records put back that sled had dropped",
            found.beyond, found.left_out, found.moved_aside, found.put_back
        )
    }
}

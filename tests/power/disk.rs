//! A disk that keeps what was synced, and of the rest whatever a power cut may leave.
//!
//! # What survives
//!
//! *For certain*: the bytes and the length of a file after `fsync` or `fdatasync` of that file has
//! returned, as far as they were written before it began; the names in a folder after `fsync` of that
//! folder has returned. Nothing else: not `sync_file_range`, not closing, not the end of the process, and
//! not a file's own name when only the file was synced.
//!
//! *Perhaps*: of what came after, each sector (512 or 4096 bytes) holds any state that it has had since
//! the last sync, independently of the other sectors, of the length and of the names; the length is any
//! that the file has had since; each giving or taking of a name has happened or not, a rename as a whole.
//! A sector that was being written may hold the first bytes of one state and the rest of an older one.
//!
//! That is POSIX, to the letter, and more than ext4, XFS or a drive without a cache would do. Those
//! order things; so besides mixtures there are cuts that keep a beginning of everything in its order,
//! nothing, or all.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;
use std::sync::Arc;

use tests::household::random::Random;

use super::recording::{Change, Inode, Moment, ROOT, Recording};

/// The disk at some moment of a recording.
pub(crate) struct Disk {
    /// Durable bytes.
    files: BTreeMap<Inode, Vec<u8>>,
    /// Durable names.
    names: BTreeMap<(Inode, String), Inode>,
    folders: BTreeSet<Inode>,
    /// What is not durable, in order.
    pending: Vec<Pending>,
    /// Syncs under way: the numbers of the changes that each covers.
    syncs: HashMap<usize, Vec<usize>>,
}

struct Pending {
    number: usize,
    has_ended: bool,
    change: Change,
}

/// How a cut treats what was not synced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Flavour {
    /// All of it is gone.
    Dropped,
    /// All of it is there, as after the end of a process.
    Kept,
    /// What came before some moment is there, in order.
    Beginning,
    /// Names in order; writes and lengths independently, each whole or not at all.
    Reordered,
    /// Everything independently, and writes torn.
    Mixed,
}

/// All flavours.
pub(crate) const FLAVOURS: [Flavour; 5] = [
    Flavour::Dropped,
    Flavour::Kept,
    Flavour::Beginning,
    Flavour::Reordered,
    Flavour::Mixed,
];

/// What a cut has done, to be counted.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Left {
    /// Writes that had been made and not synced.
    pub(crate) unsynced: u64,
    /// Writes of which nothing is there.
    pub(crate) dropped: u64,
    /// Writes of which some is there: of several sectors, or of the bytes of one.
    pub(crate) torn: u64,
    /// Writes that are whole although an earlier one is not.
    pub(crate) reordered: u64,
    /// Names that were given or taken and are as before.
    pub(crate) names_dropped: u64,
    /// Files that are longer than what was written to them.
    pub(crate) lengths_without_bytes: u64,
}

impl Disk {
    /// The disk before a recording.
    pub(crate) fn new(recording: &Recording) -> Self {
        Self {
            files: recording.before.files.clone(),
            names: recording.before.names.clone(),
            folders: recording.folders.clone(),
            pending: Vec::new(),
            syncs: HashMap::new(),
        }
    }

    /// Goes on by one moment.
    pub(crate) fn take(&mut self, moment: &Moment) {
        match moment {
            Moment::Begun(number, change) => self.pending.push(Pending {
                number: *number,
                has_ended: false,
                change: change.clone(),
            }),
            Moment::Ended(number) => {
                for pending in self
                    .pending
                    .iter_mut()
                    .filter(|pending| pending.number == *number)
                {
                    pending.has_ended = true;
                }
            }
            Moment::SyncBegun(number, inode) => {
                let covered = self
                    .pending
                    .iter()
                    .filter(|pending| pending.has_ended && is_of(&pending.change, *inode))
                    .map(|pending| pending.number)
                    .collect();
                self.syncs.insert(*number, covered);
            }
            Moment::SyncEnded(number) => {
                let covered: BTreeSet<usize> = self
                    .syncs
                    .remove(number)
                    .unwrap_or_default()
                    .into_iter()
                    .collect();
                let pending = std::mem::take(&mut self.pending);
                for pending in pending {
                    if covered.contains(&pending.number) {
                        self.make_durable(pending.change);
                    } else {
                        self.pending.push(pending);
                    }
                }
            }
            Moment::Said(_) => {}
        }
    }

    fn make_durable(&mut self, change: Change) {
        match change {
            Change::Write { file, offset, bytes } => {
                write(self.files.entry(file).or_default(), offset, &bytes)
            }
            Change::Length { file, length } => self.files.entry(file).or_default().resize(length as usize, 0),
            Change::Names(names) => apply(&mut self.names, &names),
        }
    }

    /// Makes the folder `target` what a power cut at this moment may leave.
    pub(crate) fn cut(&self, flavour: Flavour, random: &mut Random, target: &Path) -> Left {
        let mut left = Left::default();
        let sector: usize = if random.happens(1, 2) { 512 } else { 4096 };
        let beginning = random.below(self.pending.len() as u64 + 1) as usize;
        let names_beginning = random.below(self.pending.len() as u64 + 1) as usize;
        // A disk that loses much in one cut and little in another.
        let kept_of_8 = 1 + random.below(7);

        let mut names = self.names.clone();
        let mut files: BTreeMap<Inode, Surviving<'_>> = BTreeMap::new();
        for (position, pending) in self.pending.iter().enumerate() {
            let fate = match flavour {
                Flavour::Dropped => Fate::Dropped,
                Flavour::Kept => Fate::Whole,
                Flavour::Beginning if position < beginning => Fate::Whole,
                Flavour::Beginning if position == beginning => Fate::Torn,
                Flavour::Beginning => Fate::Dropped,
                Flavour::Reordered | Flavour::Mixed if !random.happens(kept_of_8, 8) => Fate::Dropped,
                Flavour::Mixed if random.happens(1, 3) => Fate::Torn,
                Flavour::Reordered | Flavour::Mixed => Fate::Whole,
            };
            match &pending.change {
                Change::Names(changes) => {
                    let is_kept = match flavour {
                        Flavour::Reordered => position < names_beginning,
                        _ => fate == Fate::Whole,
                    };
                    if is_kept {
                        apply(&mut names, changes);
                    } else {
                        left.names_dropped += 1;
                    }
                }
                Change::Write { file, offset, bytes } => {
                    let durable = self.files.get(file).map_or(&[][..], Vec::as_slice);
                    files
                        .entry(*file)
                        .or_insert_with(|| Surviving::new(durable))
                        .write(position, *offset, bytes, fate, sector, random);
                }
                Change::Length { file, length } => {
                    let durable = self.files.get(file).map_or(&[][..], Vec::as_slice);
                    files
                        .entry(*file)
                        .or_insert_with(|| Surviving::new(durable))
                        .resize(position, *length, fate == Fate::Whole);
                }
            }
        }

        let mut bytes_of: BTreeMap<Inode, Vec<u8>> = BTreeMap::new();
        let mut remains = Vec::new();
        for (file, surviving) in files {
            let is_loose = flavour == Flavour::Mixed && random.happens(1, 2);
            bytes_of.insert(
                file,
                surviving.settle(is_loose, sector, random, &mut left, &mut remains),
            );
        }
        left.count(remains);
        self.build(ROOT, &names, &bytes_of, target);
        left
    }

    fn build(
        &self,
        folder: Inode,
        names: &BTreeMap<(Inode, String), Inode>,
        bytes_of: &BTreeMap<Inode, Vec<u8>>,
        target: &Path,
    ) {
        std::fs::create_dir_all(target).unwrap();
        for ((_, name), inode) in names.range((folder, String::new())..(folder + 1, String::new())) {
            let path = target.join(name);
            if self.folders.contains(inode) {
                self.build(*inode, names, bytes_of, &path);
                continue;
            }
            let empty = Vec::new();
            let bytes = bytes_of
                .get(inode)
                .or_else(|| self.files.get(inode))
                .unwrap_or(&empty);
            std::fs::write(&path, bytes).unwrap();
        }
    }
}

fn is_of(change: &Change, inode: Inode) -> bool {
    match change {
        Change::Write { file, .. } | Change::Length { file, .. } => *file == inode,
        Change::Names(names) => names.iter().any(|(folder, _, _)| *folder == inode),
    }
}

fn apply(names: &mut BTreeMap<(Inode, String), Inode>, changes: &[(Inode, String, Option<Inode>)]) {
    for (folder, name, inode) in changes {
        match inode {
            Some(inode) => names.insert((*folder, name.clone()), *inode),
            None => names.remove(&(*folder, name.clone())),
        };
    }
}

fn write(file: &mut Vec<u8>, offset: u64, bytes: &[u8]) {
    let end = offset as usize + bytes.len();
    if file.len() < end {
        file.resize(end, 0);
    }
    file[offset as usize..end].copy_from_slice(bytes);
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Dropped,
    Torn,
    Whole,
}

/// A file's unsynced changes, and which of them reach which sector.
struct Surviving<'a> {
    durable: &'a [u8],
    changes: Vec<Reaching>,
}

struct Reaching {
    /// Its place among all unsynced changes.
    order: usize,
    change: Step,
    /// The sectors that have reached the state after this change.
    sectors: Sectors,
    fate: Fate,
}

enum Step {
    Write(usize, Arc<[u8]>),
    Length(usize),
}

enum Sectors {
    None,
    All,
    These(BTreeSet<usize>),
}

impl<'a> Surviving<'a> {
    fn new(durable: &'a [u8]) -> Self {
        Self {
            durable,
            changes: Vec::new(),
        }
    }

    fn write(
        &mut self,
        order: usize,
        offset: u64,
        bytes: &Arc<[u8]>,
        fate: Fate,
        sector: usize,
        random: &mut Random,
    ) {
        let first = offset as usize / sector;
        let last = (offset as usize + bytes.len().max(1) - 1) / sector;
        let sectors = match fate {
            Fate::Dropped => Sectors::None,
            Fate::Whole => Sectors::All,
            Fate::Torn if random.happens(1, 2) => {
                // In order up to somewhere, as a drive does that is cut off while it writes.
                let end = first + random.below((last - first + 1) as u64) as usize;
                Sectors::These((first..end).collect())
            }
            Fate::Torn => Sectors::These((first..=last).filter(|_| random.happens(1, 2)).collect()),
        };
        self.changes.push(Reaching {
            order,
            change: Step::Write(offset as usize, Arc::clone(bytes)),
            sectors,
            fate,
        });
    }

    fn resize(&mut self, order: usize, length: u64, is_kept: bool) {
        self.changes.push(Reaching {
            order,
            change: Step::Length(length as usize),
            sectors: if is_kept { Sectors::All } else { Sectors::None },
            fate: if is_kept { Fate::Whole } else { Fate::Dropped },
        });
    }

    /// The bytes that are left. Where `is_loose`, the length goes its own way.
    fn settle(
        self,
        is_loose: bool,
        sector: usize,
        random: &mut Random,
        left: &mut Left,
        remains: &mut Vec<(usize, Remains)>,
    ) -> Vec<u8> {
        // The state that each sector has reached: the number of changes that it has seen.
        let mut reached: BTreeMap<usize, usize> = BTreeMap::new();
        let mut longest = self.durable.len();
        for (position, reaching) in self.changes.iter().enumerate() {
            if let Step::Write(offset, bytes) = &reaching.change {
                longest = longest.max(offset + bytes.len());
                for number in offset / sector..=(offset + bytes.len().max(1) - 1) / sector {
                    let entry = reached.entry(number).or_insert(0);
                    let is_reached = match &reaching.sectors {
                        Sectors::None => false,
                        Sectors::All => true,
                        Sectors::These(these) => these.contains(&number),
                    };
                    if is_reached {
                        *entry = position + 1;
                    }
                }
            }
        }
        let mut result = self.durable.to_vec();
        result.resize(longest, 0);
        // Truncated and longer again: what nobody has written since is zeros.
        for reaching in &self.changes {
            if let (Step::Length(length), Fate::Whole) = (&reaching.change, reaching.fate) {
                if *length < longest {
                    result[*length..].fill(0);
                }
            }
        }
        for (&number, &state) in &reached {
            let from = number * sector;
            let to = (from + sector).min(longest);
            let newest = self.state(from, to, state);
            let touching = self.changes.iter().enumerate().filter(|(_, reaching)| {
                matches!(&reaching.change, Step::Write(offset, bytes) if *offset < to && offset + bytes.len() > from)
            });
            let torn_later = touching
                .filter(|(position, reaching)| *position >= state && reaching.fate == Fate::Torn)
                .map(|(position, _)| position)
                .next();
            match torn_later {
                // The sector was being written: the first bytes of the new state, the rest of the old.
                Some(position) if random.happens(1, 3) => {
                    let newer = self.state(from, to, position + 1);
                    let split = random.below((to - from) as u64) as usize;
                    result[from..from + split].copy_from_slice(&newer[..split]);
                    result[from + split..to].copy_from_slice(&newest[split..]);
                }
                _ => result[from..to].copy_from_slice(&newest),
            }
        }

        let lengths: Vec<usize> = std::iter::once(self.durable.len())
            .chain(self.changes.iter().scan(self.durable.len(), |length, reaching| {
                *length = match &reaching.change {
                    Step::Write(offset, bytes) => (*length).max(offset + bytes.len()),
                    Step::Length(length) => *length,
                };
                Some(*length)
            }))
            .collect();
        let mut length = self.durable.len();
        for reaching in &self.changes {
            match (&reaching.change, &reaching.sectors) {
                (_, Sectors::None) => {}
                (Step::Length(set), _) => length = *set,
                (Step::Write(offset, bytes), Sectors::All) => length = length.max(offset + bytes.len()),
                (Step::Write(offset, bytes), Sectors::These(these)) => {
                    if let Some(last) = these.last() {
                        length = length.max(((last + 1) * sector).min(offset + bytes.len()));
                    }
                }
            }
        }
        if is_loose {
            let longest = lengths.iter().copied().max().unwrap_or_default();
            let chosen = if random.happens(1, 2) {
                longest
            } else {
                *random.pick(&lengths)
            };
            if chosen > length {
                left.lengths_without_bytes += 1;
            }
            length = chosen;
        }
        result.resize(length, 0);
        remains.extend(self.remains(&result));
        result
    }

    /// What lies between two places after so many of the changes.
    fn state(&self, from: usize, to: usize, changes: usize) -> Vec<u8> {
        let mut bytes = vec![0; to - from];
        let durable = self
            .durable
            .get(from..self.durable.len().min(to))
            .unwrap_or_default();
        bytes[..durable.len()].copy_from_slice(durable);
        for reaching in &self.changes[..changes] {
            match &reaching.change {
                Step::Length(length) => {
                    if *length < to {
                        bytes[length.saturating_sub(from)..].fill(0);
                    }
                }
                Step::Write(offset, written) => {
                    let start = (*offset).max(from);
                    let end = (offset + written.len()).min(to);
                    if start < end {
                        bytes[start - from..end - from]
                            .copy_from_slice(&written[start - offset..end - offset]);
                    }
                }
            }
        }
        bytes
    }

    /// Where the last of the writes ends.
    fn end(&self) -> usize {
        let ends = self.changes.iter().map(|reaching| match &reaching.change {
            Step::Write(offset, bytes) => offset + bytes.len(),
            Step::Length(_) => 0,
        });
        ends.max().unwrap_or(0)
    }

    /// What became of each write, by what is there and not by what was decided: its number in the order of
    /// all changes, and how much of it there is. Bytes that a later write has covered say nothing, nor do
    /// those that were there before.
    fn remains(&self, result: &[u8]) -> Vec<(usize, Remains)> {
        let mut covered = vec![false; result.len().max(self.end())];
        let mut remains = Vec::new();
        for reaching in self.changes.iter().rev() {
            let Step::Write(offset, bytes) = &reaching.change else {
                continue;
            };
            let (mut there, mut missing) = (0, 0);
            for (at, byte) in bytes.iter().enumerate() {
                let position = offset + at;
                if std::mem::replace(&mut covered[position], true) || self.durable.get(position) == Some(byte)
                {
                    continue;
                }
                if result.get(position) == Some(byte) {
                    there += 1;
                } else {
                    missing += 1;
                }
            }
            // Bytes that are equal by chance do not make a write torn: a tenth of either is needed.
            let some = (there + missing) / 10;
            remains.push((
                reaching.order,
                match (there, missing) {
                    (0, 0) => continue,
                    _ if there > some && missing > some => Remains::Torn,
                    _ if there > missing => Remains::Whole,
                    _ => Remains::Dropped,
                },
            ));
        }
        remains
    }
}

/// How much of a write there is after a cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Remains {
    Dropped,
    Torn,
    Whole,
}

impl Left {
    /// Counts the writes of all files.
    fn count(&mut self, mut remains: Vec<(usize, Remains)>) {
        remains.sort_by_key(|(order, _)| *order);
        let mut has_gap = false;
        for (_, remains) in remains {
            self.unsynced += 1;
            match remains {
                Remains::Dropped => self.dropped += 1,
                Remains::Torn => self.torn += 1,
                Remains::Whole => self.reordered += u64::from(has_gap),
            }
            has_gap |= remains != Remains::Whole;
        }
    }
}

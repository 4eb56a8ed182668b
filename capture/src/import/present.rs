//! Which telegrams the queue holds already, so that an import takes none of them a second time.
//!
//! Two telegrams are the same if their bytes are the same but for line ends and parity bits, and
//!
//! | a telegram with | is the same if |
//! |---|---|
//! | a time of its own | both were captured at the same time, or one of them has no other time than its own |
//! | no time (DSMR 2.2 and 3) | both were captured at the same time |
//! | a frame's counter (encrypted) | always: no meter encrypts two frames alike |
//!
//! A raw capture states no time of capture. So what is imported from one has its own time, and is the same as the
//! telegram that came from the meter, whenever that was. What is repeated within one file is kept: only what the
//! queue held before the import began counts.
//!
//! The queue is in the order of arrival, not of time. So it is read once, and of each zone of 1,024 records the
//! range of their places in time is kept; a zone is read again when a telegram's place is in its range. Memory is
//! 32 bytes a zone and [`KEPT_ZONES`] zones.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use sha2::{Digest as _, Sha256};
use shared::telegram::seven_bit;

use crate::queue::{ReadError, Reader};

/// Records of one zone.
const ZONE_RECORDS: u64 = 1024;
/// Zones whose records are kept in memory: 24 KiB each.
const KEPT_ZONES: usize = 64;
/// Bytes of telegrams that are read at a time.
const READ_BYTES: usize = 128 * 1024;
/// Zones near a telegram are looked up for all places up to so far behind it: an hour of a meter's own time.
const NEAR_PLACES: i64 = 10_000;

/// What the queue held when an import began.
#[derive(Debug)]
pub struct Present {
    reader: Reader,
    /// The highest sequence that counts.
    until: u64,
    /// Stretches of sequences, both ends included, in which the file itself is: taken by an import of it that ended
    /// early.
    own: Vec<(u64, u64)>,
    zones: Vec<Zone>,
    /// The first sequence that is in no zone yet.
    next: u64,
    near: Near,
    kept: VecDeque<(usize, Vec<Held>)>,
}

/// Records that follow each other in the queue.
#[derive(Debug, Clone, Copy)]
struct Zone {
    first: u64,
    last: u64,
    from_place: i64,
    to_place: i64,
}

/// The zones that hold any place between the two.
#[derive(Debug, Default)]
struct Near {
    from_place: i64,
    to_place: i64,
    zones: Vec<usize>,
}

/// A record, by what is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Held {
    content: u64,
    captured_at_us: i64,
    sequence: u64,
}

impl Present {
    /// For the queue of this reader; nothing counts before [`Self::begin`].
    pub fn new(reader: Reader) -> Self {
        Self {
            reader,
            until: 0,
            own: Vec::new(),
            zones: Vec::new(),
            next: 1,
            near: Near::default(),
            kept: VecDeque::new(),
        }
    }

    /// An import begins: what the queue holds now counts, but for what this very file has given, which is in the
    /// stretches of sequences `own`.
    pub fn begin(&mut self, own: Vec<(u64, u64)>) {
        self.until = self.reader.head();
        self.own = own;
    }

    /// Reads what has not been looked at yet, for at most this long. `true` when all has been.
    ///
    /// # Errors
    ///
    /// Where the queue cannot be read.
    pub fn look(&mut self, longest: Duration) -> Result<bool, ReadError> {
        let begun = Instant::now();
        while self.next <= self.until {
            if begun.elapsed() >= longest {
                return Ok(false);
            }
            let batch = self.reader.read(self.next, READ_BYTES)?.records;
            let Some(last) = batch.last() else { break };
            let next = last.sequence + 1;
            for record in batch.iter().take_while(|record| record.sequence <= self.until) {
                let place = place(&record.telegram, record.captured_at_us);
                match self.zones.last_mut() {
                    Some(zone) if record.sequence < zone.first + ZONE_RECORDS => {
                        zone.add(record.sequence, place)
                    }
                    _ => self.zones.push(Zone::of(record.sequence, place)),
                }
            }
            self.next = next.min(self.until + 1);
        }
        self.next = self.next.max(self.until + 1);
        // What was found near a place, and what was kept of the last zone, may have grown.
        self.near = Near::default();
        self.kept.retain(|(zone, _)| zone + 1 < self.zones.len());
        Ok(true)
    }

    /// Whether all that counts has been looked at.
    pub fn is_looked_at(&self) -> bool {
        self.next > self.until
    }

    /// Whether the queue held this telegram when the import began. `captured_at_us` is none for a file whose
    /// telegrams say of their time no more than they state themselves.
    ///
    /// # Errors
    ///
    /// Where the queue cannot be read.
    pub fn holds(&mut self, captured_at_us: Option<i64>, telegram: &[u8]) -> Result<bool, ReadError> {
        let place = place(telegram, captured_at_us.unwrap_or_default());
        self.come_near(place);
        if self.near.zones.is_empty() {
            return Ok(false);
        }
        let content = content(telegram);
        let near = std::mem::take(&mut self.near.zones);
        let mut is_held = Ok(false);
        for &zone in &near {
            if self.zones.get(zone).is_some_and(|zone| zone.contains(place)) {
                is_held = self.is_in_zone(zone, content, captured_at_us, telegram);
                if !matches!(is_held, Ok(false)) {
                    break;
                }
            }
        }
        self.near.zones = near;
        is_held
    }

    fn come_near(&mut self, place: i64) {
        let near = &mut self.near;
        if (near.from_place..=near.to_place).contains(&place) && place != 0 {
            return;
        }
        (near.from_place, near.to_place) = (place, place.saturating_add(NEAR_PLACES));
        near.zones.clear();
        let zones = self.zones.iter().enumerate();
        let overlapping =
            zones.filter(|(_, zone)| zone.from_place <= near.to_place && zone.to_place >= place);
        near.zones.extend(overlapping.map(|(number, _)| number));
    }

    fn is_in_zone(
        &mut self,
        number: usize,
        content: u64,
        captured_at_us: Option<i64>,
        telegram: &[u8],
    ) -> Result<bool, ReadError> {
        self.keep(number)?;
        let held = self.kept.back().map_or(&[][..], |(_, held)| held);
        let from = held.partition_point(|held| held.content < content);
        let alike = held.iter().skip(from).take_while(|held| held.content == content);
        let is_own = |sequence: u64| {
            self.own
                .iter()
                .any(|&(first, last)| (first..=last).contains(&sequence))
        };
        let mut times = None;
        Ok(alike.filter(|held| !is_own(held.sequence)).any(|held| {
            match times.get_or_insert_with(|| Times::of(telegram)) {
                Times::Counted => true,
                Times::None => captured_at_us == Some(held.captured_at_us),
                Times::Own(own) => {
                    captured_at_us.is_none_or(|at_us| at_us == held.captured_at_us || at_us == *own)
                        || held.captured_at_us == *own
                }
            }
        }))
    }

    /// Has the records of this zone as the last of those that are kept.
    fn keep(&mut self, number: usize) -> Result<(), ReadError> {
        if let Some(position) = self.kept.iter().position(|(zone, _)| *zone == number) {
            if let Some(kept) = self.kept.remove(position) {
                self.kept.push_back(kept);
            }
            return Ok(());
        }
        let mut held = Vec::new();
        if let Some(&Zone { first, last, .. }) = self.zones.get(number) {
            let mut next = first;
            while next <= last {
                let batch = self.reader.read(next, READ_BYTES)?.records;
                let Some(newest) = batch.last() else { break };
                next = newest.sequence + 1;
                held.extend(
                    batch
                        .iter()
                        .take_while(|record| record.sequence <= last)
                        .map(|record| Held {
                            content: content(&record.telegram),
                            captured_at_us: record.captured_at_us,
                            sequence: record.sequence,
                        }),
                );
            }
        }
        held.sort_unstable();
        if self.kept.len() >= KEPT_ZONES {
            self.kept.pop_front();
        }
        self.kept.push_back((number, held));
        Ok(())
    }
}

impl Zone {
    fn of(sequence: u64, place: i64) -> Self {
        Self {
            first: sequence,
            last: sequence,
            from_place: place,
            to_place: place,
        }
    }

    fn add(&mut self, sequence: u64, place: i64) {
        self.last = sequence;
        self.from_place = self.from_place.min(place);
        self.to_place = self.to_place.max(place);
    }

    fn contains(&self, place: i64) -> bool {
        (self.from_place..=self.to_place).contains(&place)
    }
}

/// What a telegram says of its time.
enum Times {
    /// The time of its own, in microseconds since 1970-01-01T00:00:00Z.
    Own(i64),
    /// It is a frame, which is counted.
    Counted,
    /// Nothing.
    None,
}

impl Times {
    fn of(telegram: &[u8]) -> Self {
        if counter(telegram).is_some() {
            return Self::Counted;
        }
        match shared::dsmr::parse(telegram).time {
            Some(time) => Self::Own(time.as_microsecond()),
            None => Self::None,
        }
    }
}

/// Where a telegram is looked for: a number that equal telegrams share and that rises with time. It is the digits of
/// the telegram's own time, a frame's counter, or the second in which it was captured.
fn place(telegram: &[u8], captured_at_us: i64) -> i64 {
    counter(telegram)
        .or_else(|| own_digits(telegram))
        .unwrap_or_else(|| captured_at_us.div_euclid(1_000_000))
}

fn own_digits(telegram: &[u8]) -> Option<i64> {
    let telegram = seven_bit::stripped(telegram);
    let at = telegram
        .windows(TIME_OBJECT.len())
        .position(|bytes| bytes == TIME_OBJECT)?;
    let digits = telegram.get(at + TIME_OBJECT.len()..)?.get(..TIME_DIGITS)?;
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// The data object of the meter's time, up to its value of twelve digits and the mark of summer or winter.
const TIME_OBJECT: &[u8] = b"\n0-0:1.0.0(";
const TIME_DIGITS: usize = 12;

/// The counter of an encrypted frame: `DB`, the system title with its length, the length of the rest, the security
/// byte, the counter (DLMS general-glo-ciphering).
fn counter(telegram: &[u8]) -> Option<i64> {
    let [FRAME_TAG, TITLE_BYTES, ..] = telegram else {
        return None;
    };
    let rest = telegram.get(2 + usize::from(TITLE_BYTES)..)?;
    let length_bytes = match rest.first()? {
        0x82 => 3,
        0x81 => 2,
        _ => 1,
    };
    let counter = rest.get(length_bytes + 1..)?.first_chunk()?;
    Some(i64::from(u32::from_be_bytes(*counter)))
}

const FRAME_TAG: u8 = 0xDB;
const TITLE_BYTES: u8 = 8;

/// A digest of what is compared.
fn content(telegram: &[u8]) -> u64 {
    let mut hash = Sha256::new();
    if counter(telegram).is_some() {
        hash.update(telegram);
    } else {
        let telegram = seven_bit::stripped(telegram);
        for line in telegram
            .split(|&byte| matches!(byte, b'\r' | b'\n'))
            .filter(|line| !line.is_empty())
        {
            hash.update(line);
            hash.update(b"\n");
        }
    }
    hash.finalize()
        .first_chunk()
        .map_or(0, |bytes| u64::from_le_bytes(*bytes))
}

#[cfg(test)]
mod tests {
    use shared::wire::Imported;

    use super::*;
    use crate::queue::{Queue, QueueOptions};

    const OWN_US: i64 = 1_553_102_043_000_000;
    const TIMED: &str = "/ISK5\r\n\r\n0-0:1.0.0(190320181403W)\r\n1-0:1.7.0(00.202*kW)\r\n!\r\n";
    const TIMELESS: &str = "/KMP5\r\n\r\n1-0:1.7.0(0000.20*kW)\r\n!\r\n";

    fn queue_of(records: &[(i64, &[u8])]) -> (tempfile::TempDir, Queue) {
        let folder = tempfile::tempdir().unwrap();
        let (mut queue, _) = Queue::open(&QueueOptions::new(folder.path().join("queue"))).unwrap();
        for (captured_at_us, telegram) in records {
            let imported = Imported {
                captured_at_us: *captured_at_us,
                silence_ms: 0,
                telegram: telegram.to_vec(),
            };
            queue.append_imported(&imported).unwrap();
        }
        queue.flush().unwrap();
        (folder, queue)
    }

    fn present(queue: &Queue, own: Vec<(u64, u64)>) -> Present {
        let mut present = Present::new(queue.reader());
        present.begin(own);
        while !present.look(Duration::ZERO).unwrap() {
            assert!(present.look(Duration::from_secs(60)).unwrap());
        }
        present
    }

    #[test]
    fn content_and_time_make_a_telegram_the_same() {
        let frame = [
            &[0xDB, 8][..],
            b"12345678",
            &[0x82, 0, 9, 0x30, 0, 0, 0, 7],
            b"abcd",
        ]
        .concat();
        let (timed, timeless) = (TIMED.as_bytes(), TIMELESS.as_bytes());
        let with_parity: Vec<u8> = timed.iter().map(|&byte| seven_bit::with_parity(byte)).collect();
        let bare_lines = TIMED.replace("\r\n", "\n").into_bytes();
        let other = TIMED.replace("00.202", "00.203").into_bytes();
        type Told<'a, T> = (T, &'a [u8]);
        let cases: [(Told<'_, i64>, Told<'_, Option<i64>>, bool); 14] = [
            ((7, timed), (Some(7), timed), true),
            ((7, timed), (Some(8), timed), false),
            ((7, timed), (Some(OWN_US), timed), true),
            ((OWN_US, timed), (Some(8), timed), true),
            ((7, timed), (None, timed), true),
            ((7, timed), (Some(7), &with_parity), true),
            ((7, timed), (Some(7), &bare_lines), true),
            ((7, timed), (Some(7), &other), false),
            ((7, timeless), (Some(7), timeless), true),
            ((7, timeless), (Some(8), timeless), false),
            ((7, timeless), (None, timeless), false),
            ((7, &frame), (Some(99_000_000), &frame), true),
            ((7, &frame), (None, &frame), true),
            ((7, timeless), (Some(7), timed), false),
        ];
        for (number, ((held_at_us, held), (at_us, telegram), is_same)) in cases.into_iter().enumerate() {
            let (_folder, queue) = queue_of(&[(held_at_us, held)]);
            let is_held = present(&queue, Vec::new()).holds(at_us, telegram).unwrap();
            assert_eq!(is_held, is_same, "case {number}");
        }
    }

    #[test]
    fn what_came_after_the_import_began_and_what_the_file_itself_gave_does_not_count() {
        let (_folder, mut queue) = queue_of(&[(OWN_US, TIMED.as_bytes())]);
        let mut begun = present(&queue, Vec::new());
        let later = TIMED.replace("00.202", "09.999");
        let imported = Imported {
            captured_at_us: OWN_US,
            silence_ms: 0,
            telegram: later.clone().into_bytes(),
        };
        queue.append_imported(&imported).unwrap();
        queue.flush().unwrap();
        assert!(!begun.holds(None, later.as_bytes()).unwrap());
        begun.begin(Vec::new());
        assert!(!begun.is_looked_at());
        assert!(begun.look(Duration::from_secs(60)).unwrap());
        assert!(begun.holds(None, later.as_bytes()).unwrap());
        assert!(
            !present(&queue, vec![(1, 1)])
                .holds(None, TIMED.as_bytes())
                .unwrap()
        );
        assert!(
            present(&queue, vec![(2, 2)])
                .holds(None, TIMED.as_bytes())
                .unwrap()
        );
    }

    #[test]
    fn each_of_many_telegrams_in_any_order_is_found_and_no_other() {
        let telegram = |number: u64| {
            let (minute, second) = (number / 60 % 60, number % 60);
            let hour = number / 3600;
            format!(
                "/ISK5\r\n\r\n0-0:1.0.0(190320{hour:02}{minute:02}{second:02}W)\r\n1-0:1.8.1({number})\r\n!\r\n"
            )
        };
        // Two files, the newer one first, so that the queue is not in the order of time.
        let telegrams: Vec<String> = (4000..8000).chain(0..4000).map(telegram).collect();
        let records: Vec<(i64, &[u8])> = telegrams
            .iter()
            .enumerate()
            .map(|(number, telegram)| (number as i64, telegram.as_bytes()))
            .collect();
        let (_folder, queue) = queue_of(&records);
        let mut present = present(&queue, Vec::new());
        for number in (0..8000).rev().chain([8000, 8001]) {
            let is_held = present.holds(None, telegram(number).as_bytes()).unwrap();
            assert_eq!(is_held, number < 8000, "{number}");
        }
        assert!(present.kept.len() <= KEPT_ZONES);
    }
}

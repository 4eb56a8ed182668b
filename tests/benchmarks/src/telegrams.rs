//! Telegrams to measure with: of the simulated household, which every machine has, and of a real capture where
//! there is one.

use std::path::Path;

use tests::household::crc;
use tests::household::{Dialect, Household, Settings};

/// A stretch of telegrams, used again from its start when it is longer than that.
#[derive(Debug, Clone)]
pub struct Telegrams(Vec<Vec<u8>>);

/// When the first telegram of every stretch is captured, in microseconds since 1970-01-01T00:00:00Z: the start
/// of a minute.
pub const START_US: i64 = 1_776_297_600_000_000;

impl Telegrams {
    /// Of a household with three phases, panels and gas, one a second from [`START_US`] on.
    pub fn of_household(count: usize) -> Self {
        let settings = Settings {
            phases: 3,
            solar_peak_w: 4_800,
            gas_channel: Some(1),
            water_channel: None,
            // The first telegram is of the end of the first period.
            starts_at: START_US / 1_000_000 - 1,
            ..Settings::seeded(6, Dialect::Dsmr5)
        };
        let mut household = Household::new(settings);
        Self((0..count).map(|_| household.telegram().bytes).collect())
    }

    /// Of a capture, its clock moved on by a second for each and the CRC made right again; none where the file
    /// has none.
    pub fn of_capture(file: &Path, count: usize) -> Option<Self> {
        let capture = std::fs::read(file).ok()?;
        let found = cut(&capture);
        if found.is_empty() {
            return None;
        }
        let moved = (0..count).zip(found.iter().cycle());
        Some(Self(
            moved
                .map(|(second, template)| moved_on(template, second))
                .collect(),
        ))
    }

    /// The telegram of this second.
    pub fn at(&self, second: u64) -> &[u8] {
        &self.0[(second % self.0.len() as u64) as usize]
    }

    /// All of them, once.
    pub fn iter(&self) -> impl Iterator<Item = &[u8]> {
        self.0.iter().map(Vec::as_slice)
    }

    /// Bytes of a telegram, on the average.
    pub fn mean_bytes(&self) -> f64 {
        self.0.iter().map(Vec::len).sum::<usize>() as f64 / self.0.len() as f64
    }
}

/// From `/` to the line end after the CRC.
fn cut(capture: &[u8]) -> Vec<&[u8]> {
    let mut telegrams = Vec::new();
    let mut rest = capture;
    while let Some(start) = rest.iter().position(|&byte| byte == b'/') {
        rest = &rest[start..];
        let Some(bang) = rest.windows(2).position(|pair| pair == b"\n!") else {
            break;
        };
        let Some(end) = rest[bang + 2..].iter().position(|&byte| byte == b'\n') else {
            break;
        };
        let (telegram, tail) = rest.split_at(bang + 2 + end + 1);
        telegrams.push(telegram);
        rest = tail;
    }
    telegrams
}

fn moved_on(template: &[u8], second: usize) -> Vec<u8> {
    let mut telegram = template.to_vec();
    let line = b"0-0:1.0.0(";
    if let Some(at) = telegram.windows(line.len()).position(|window| window == line) {
        let time =
            jiff::Timestamp::from_second(START_US / 1_000_000 + second as i64).expect("a time of this age");
        let text = time.strftime("%y%m%d%H%M%S").to_string();
        telegram[at + line.len()..][..text.len()].copy_from_slice(text.as_bytes());
    }
    if let Some(bang) = telegram.iter().rposition(|&byte| byte == b'!') {
        let sum = crc::arc(&telegram[..=bang]);
        if let Some(place) = telegram.get_mut(bang + 1..bang + 5) {
            place.copy_from_slice(format!("{sum:04X}").as_bytes());
        }
    }
    telegram
}

//! Of a telegram that is like the one before only what is new is read and written. This must show nowhere: whatever
//! came before, its readings and its object are those that the telegram gives by itself.
//!
//! Runs of telegrams, each changed a little from the one before, as a meter changes them and as no meter does; and
//! the real ones (see `corpus.rs`), each file's among the others'.

#![expect(
    clippy::expect_used,
    reason = "a test ends where it meets what it cannot go on with"
)]

use std::path::{Path, PathBuf};

use proptest::prelude::*;
use publisher::aggregate::{Aggregator, Output, Settings, Taken};
use publisher::decrypt::Decryption;
use shared::config::{CrcPolicy, OnTrouble};
use shared::dsmr::{self, DeviceKind, Difference, Field, Fields, Quantity, Readings, Series};
use shared::record::Record;
use shared::telegram::assembler::{Found, find_all};
use shared::telegram::seven_bit::with_parity;

/// Telegrams to begin with: of three generations and countries, with every kind of object.
const TELEGRAMS: [&str; 6] = [
    "/ISK5\\2M550T-1012\r\n\r\n1-3:0.2.8(50)\r\n0-0:1.0.0(190320181403W)\r\n0-0:96.1.1(4530303434)\r\n\
     1-0:1.8.1(000576.239*kWh)\r\n1-0:1.8.2(000465.162*kWh)\r\n1-0:2.8.1(000000.000*kWh)\r\n\
     0-0:96.14.0(0002)\r\n1-0:1.7.0(00.193*kW)\r\n1-0:2.7.0(00.000*kW)\r\n0-0:96.7.21(00009)\r\n\
     1-0:99.97.0(1)(0-0:96.7.19)(190201235231W)(0000003231*s)\r\n1-0:32.32.0(00006)\r\n1-0:32.36.0(00001)\r\n\
     0-0:96.13.0(6869)\r\n1-0:32.7.0(236.1*V)\r\n1-0:31.7.0(001*A)\r\n1-0:21.7.0(00.193*kW)\r\n\
     1-0:3.7.0(00.123*kvar)\r\n0-1:24.1.0(003)\r\n0-1:96.1.0(4730)\r\n0-1:24.2.1(190320181003W)(00304.089*m3)\r\n\
     !67B1\r\n",
    "/FLU5\\253769484_A\r\n\r\n0-0:96.1.4(50217)\r\n0-0:1.0.0(220901152201S)\r\n1-0:1.8.1(000123.456*kWh)\r\n\
     1-0:1.4.0(02.351*kW)\r\n1-0:1.6.0(220908152201S)(02.589*kW)\r\n\
     0-0:98.1.0(1)(1-0:1.6.0)(1-0:1.6.0)(220801000000S)(220729181500S)(04.329*kW)\r\n0-0:96.3.10(1)\r\n\
     0-0:17.0.0(999.9*kW)\r\n1-0:31.4.0(999*A)\r\n0-2:24.1.0(007)\r\n0-2:24.2.1(220901152001S)(00012.345*m3)\r\n\
     !0AB3\r\n",
    "/KMP5 KA6U001660297912\r\n\r\n0-0:96.1.1(204B41)\r\n1-0:1.8.1(16113.918*kWh)\r\n1-0:1.7.0(0000.98*kW)\r\n\
     0-0:96.13.1()\r\n0-0:96.13.0()\r\n0-1:24.1.0(3)\r\n0-1:24.3.0(161129200000)(00)(60)(1)(0-1:24.2.1)(m3)\r\n\
     (03410.391)\r\n!\r\n",
    "/LGF5E360\r\n\r\n0-0:1.0.0(210430111804S)\r\n1-0:1.8.0(000001.100*kWh)\r\n1-1:1.8.0(000002.200*kWh)\r\n\
     1-0:1.8.0*255(000003.300*kWh)\r\n1-1:32.7.0(230.0*V)\r\n1-0:1.8.0(000001.100*kWh)\r\n0-0:96.1.255(ABC)\r\n\
     what is this\r\n!BEEF\r\n",
    "/XYZ5\r\n\r\n!AB3\r\n",
    "/HLY5\r0-0:1.0.0(260104162515W)\r\n1-0:1.8.3(003668.743*kWh)\r\n1-0:16.7.0(-00.250*kW)\r\n\
     1-0:1.6.0(08.796*kW)(260102010000)\r\n1-0:2.7.0(299.999*kW)\r\n1-0:31.7.0(0.005*kA)\r\n\
     0-0:98.1.0\r\n(\r\n0-0:1.0.0(260101000000W)\r\n1-0:1.8.3(003600.000*kWh)\r\n)\r\n0-1:24.1.0(003)\r\n\
     0-1:24.2.1(260104162500W)(00304089*dm3)\r\n0-2:24.1.0(003)\r\n0-2:24.2.1(260105162520W)(00001.000*m3)\r\n\
     1-0:1.8.3(003668.744*kWh)\r\n!67B1\r\n",
];

/// What makes the next telegram of the last.
#[derive(Debug, Clone)]
enum Change {
    /// As a meter does: some of the digits are others.
    Digits(Vec<(usize, u8)>),
    /// One byte is another, of those that mean something or of any.
    Byte(usize, u8),
    /// The lines are in another order.
    Swapped(usize, usize),
    Removed(usize),
    Repeated(usize, usize),
    /// It comes with parity bits, or without.
    Parity(bool),
    /// Another meter's.
    Other(usize),
}

fn change() -> impl Strategy<Value = Change> {
    let place = 0_usize..4096;
    let meant = prop::sample::select(b"()*.:-!/\r\n 0159SWkhVAm3".to_vec());
    prop_oneof![
        12 => prop::collection::vec((place.clone(), b'0'..=b'9'), 0..12).prop_map(Change::Digits),
        4 => (place.clone(), prop_oneof![meant, any::<u8>()]).prop_map(|(at, byte)| Change::Byte(at, byte)),
        1 => (place.clone(), place.clone()).prop_map(|(one, other)| Change::Swapped(one, other)),
        1 => place.clone().prop_map(Change::Removed),
        1 => (place.clone(), place.clone()).prop_map(|(line, before)| Change::Repeated(line, before)),
        1 => any::<bool>().prop_map(Change::Parity),
        2 => (0..TELEGRAMS.len()).prop_map(Change::Other),
    ]
}

/// A telegram on its way through changes; parity bits come last.
struct Meter {
    telegram: Vec<u8>,
    has_parity: bool,
}

impl Meter {
    fn change(&mut self, change: &Change) {
        let telegram = &mut self.telegram;
        let mut lines: Vec<Vec<u8>> = telegram
            .split_inclusive(|&byte| byte == b'\n')
            .map(<[u8]>::to_vec)
            .collect();
        let line = |at: &usize| at % lines.len().max(1);
        match change {
            Change::Digits(digits) => {
                let places: Vec<usize> = (0..telegram.len())
                    .filter(|&at| telegram[at].is_ascii_digit())
                    .collect();
                for (at, digit) in digits {
                    if let Some(&place) = places.get(at % places.len().max(1)) {
                        telegram[place] = *digit;
                    }
                }
                return;
            }
            Change::Byte(at, byte) => {
                if let Some(length) = Some(telegram.len()).filter(|&length| length > 0) {
                    telegram[at % length] = *byte;
                }
                return;
            }
            Change::Other(index) => {
                *telegram = TELEGRAMS[*index].into();
                return;
            }
            Change::Parity(has_parity) => {
                self.has_parity = *has_parity;
                return;
            }
            _ if lines.is_empty() => return,
            Change::Swapped(one, other) => {
                let (one, other) = (line(one), line(other));
                lines.swap(one, other);
            }
            Change::Removed(at) => drop(lines.remove(line(at))),
            Change::Repeated(at, before) => {
                let (at, before) = (line(at), line(before));
                lines.insert(before, lines[at].clone());
            }
        }
        self.telegram = lines.concat();
    }

    fn telegram(&self) -> Vec<u8> {
        match self.has_parity {
            true => self.telegram.iter().map(|&byte| with_parity(byte)).collect(),
            false => self.telegram.clone(),
        }
    }
}

/// An aggregation that makes a message of each telegram, and what of a telegram it has to make.
struct Publisher {
    aggregator: Aggregator,
    series: Series,
    sequence: u64,
    /// How many telegrams were like the one before.
    alike: u64,
}

impl Publisher {
    fn new() -> Self {
        Self {
            aggregator: aggregator(),
            series: Series::default(),
            sequence: 0,
            alike: 0,
        }
    }

    /// Asserts that this telegram gives the same behind those before it as by itself.
    fn take(&mut self, telegram: &[u8]) {
        let before = self.series.readings().clone();
        let difference = self.series.read(telegram);
        let alone = dsmr::parse(telegram).into_owned();
        // As text, which shows trailing zeros that make no difference to a number.
        assert_eq!(format!("{:?}", self.series.readings()), format!("{alone:?}"));
        if let Difference::Fields(fields) = difference {
            self.alike += 1;
            assert_eq!(without(before, fields), without(alone, fields));
        }
        self.sequence += 1;
        let record = Record {
            sequence: self.sequence,
            captured_at_us: 1_700_000_000_000_000 + self.sequence as i64 * 987_654,
            silence_ms: 987,
            telegram: telegram.to_vec().into(),
        };
        assert_eq!(
            payload(&mut self.aggregator, &record),
            payload(&mut aggregator(), &record),
            "behind others and alone"
        );
    }
}

/// The readings without these fields.
fn without(mut readings: Readings<'static>, fields: Fields) -> impl PartialEq + std::fmt::Debug {
    if fields.contains(Field::Time) {
        readings.time = None;
    }
    if fields.contains(Field::Crc) {
        readings.crc = None;
    }
    let quantities = std::mem::take(&mut readings.quantities);
    let others: Vec<_> = Quantity::ALL
        .into_iter()
        .filter(|quantity| !fields.contains(Field::Quantity(*quantity)))
        .map(|quantity| quantities.value(quantity))
        .collect();
    (readings, others)
}

fn aggregator() -> Aggregator {
    let settings = Settings {
        interval_seconds: 0,
        max_payload_bytes: 1 << 20,
        queue: "abcd2345".to_owned(),
        has_summary: false,
        has_state: false,
    };
    Aggregator::new(settings, Decryption::new(None, OnTrouble::Skip))
}

fn payload(aggregator: &mut Aggregator, record: &Record) -> String {
    let mut outputs = Vec::new();
    assert_eq!(aggregator.take(record, &mut outputs), Taken::Read);
    let payload = outputs.into_iter().find_map(|output| match output {
        Output::Readings { payload, .. } => Some(payload),
        _ => None,
    });
    String::from_utf8(payload.expect("a message for each")).expect("UTF-8")
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_telegram_gives_the_same_whatever_came_before(
        first in 0..TELEGRAMS.len(),
        changes in prop::collection::vec(change(), 1..24),
    ) {
        let mut meter = Meter { telegram: TELEGRAMS[first].into(), has_parity: false };
        let mut publisher = Publisher::new();
        publisher.take(&meter.telegram());
        for change in &changes {
            meter.change(change);
            let telegram = meter.telegram();
            // An encrypted frame is no telegram.
            if !telegram.starts_with(&[0xDB, 0x08]) {
                publisher.take(&telegram);
            }
        }
    }
}

#[test]
fn a_telegram_of_which_any_one_byte_is_another_is_read_as_by_itself() {
    for telegram in TELEGRAMS {
        let mut changed = telegram.as_bytes().to_vec();
        let mut series = Series::default();
        for at in 0..changed.len() {
            for byte in *b"\n\r ()*.-:!/09aSW" {
                let before = std::mem::replace(&mut changed[at], byte);
                series.read(telegram.as_bytes());
                series.read(&changed);
                assert_eq!(*series.readings(), dsmr::parse(&changed), "{byte:#04x} at {at}");
                changed[at] = before;
            }
        }
    }
}

#[test]
fn of_what_a_meter_says_every_second_only_what_is_new_is_read() {
    let mut publisher = Publisher::new();
    for second in 0..60 {
        let telegram = TELEGRAMS[0]
            .replace("190320181403W", &format!("1903201814{second:02}W"))
            .replace("000576.239", &format!("000576.{:03}", 239 + second / 7))
            .replace("00.193", &format!("0{}.{:03}", second % 3, second * 13 % 1000))
            .replace("236.1", &format!("2{:02}.{}", 30 + second % 5, second % 10))
            .replace("67B1", &format!("{:04x}", second * 1017));
        publisher.take(telegram.as_bytes());
    }
    assert_eq!(publisher.alike, 59);
}

#[test]
fn which_gas_meter_is_the_live_one_follows_the_time_that_is_new() {
    let mut publisher = Publisher::new();
    let live = |publisher: &Publisher| {
        let gas = publisher.series.readings().live_device(DeviceKind::Gas);
        gas.map(|gas| gas.channel)
    };
    // A day before the reading of channel 1, to and fro.
    let mut channels = Vec::new();
    for time in [
        "181231205958W",
        "181231205959W",
        "181231210000W",
        "181231210001W",
        "181231205959W",
        "190101205959W",
    ] {
        let telegram = format!(
            "/ISK5\r\n\r\n0-0:1.0.0({time})\r\n0-1:24.1.0(003)\r\n0-1:24.2.1(190101210000W)(01269.375*m3)\r\n\
             0-2:24.1.0(003)\r\n0-2:24.2.1(180301210000W)(00017.100*m3)\r\n!67B1\r\n"
        );
        publisher.take(telegram.as_bytes());
        channels.extend(live(&publisher));
    }
    assert_eq!(channels, [2, 2, 1, 1, 2, 1]);
    // Where it stays, only the time is read.
    assert_eq!(publisher.alike, 2);
}

#[test]
fn real_telegrams_give_the_same_whatever_came_before() {
    let folder = std::env::var_os("P1_CORPUS").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/telegrams"),
        PathBuf::from,
    );
    if !folder.is_dir() {
        println!(
            "skipped: there is no folder {} of real telegrams",
            folder.display()
        );
        return;
    }
    let mut files: Vec<PathBuf> = std::fs::read_dir(&folder)
        .expect("the folder")
        .map(|entry| entry.expect("an entry").path())
        .collect();
    files.sort();
    let mut publisher = Publisher::new();
    let mut last: Option<Vec<u8>> = None;
    for file in files {
        let bytes = std::fs::read(&file).expect("the file");
        for found in find_all(&bytes, CrcPolicy::Auto) {
            let Found::Telegram(telegram) = found else {
                continue;
            };
            if !telegram.bytes.starts_with(&[0xDB, 0x08]) {
                publisher.take(&telegram.bytes);
                // And among another meter's.
                if let Some(last) = last.replace(telegram.bytes.clone()) {
                    publisher.take(&last);
                    publisher.take(&telegram.bytes);
                }
            }
        }
    }
    println!(
        "{} telegrams, {} of them like the one before",
        publisher.sequence, publisher.alike
    );
    assert!(publisher.alike > 0);
}

//! What a telegram costs from its bytes to finished JSON, stage by stage, and beside it what the `dsmr5`
//! crate takes for the same bytes.
//!
//! * `parse` times every stage, ours and theirs in turn, in nanoseconds a telegram.
//! * `parse counts` counts instructions and allocations a telegram, with valgrind. These repeat to the digit
//!   where times do not.
//! * `parse run STAGE --passes N` only works, for a profiler.
//!
//! Each figure is one JSON object a line on standard output: `{"what":"parse_ours_ns","value":…}`.
//!
//! The telegrams are those of four simulated households with a DSMR 5 meter, or of the files that are named.
//! Both sides get the same: what `dsmr5` does not read whole is left out for both, and told.

use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use clap::{Parser, Subcommand, ValueEnum};
use dsmr5::state::State;
use dsmr5::{Reader, Readout};
use jiff::Timestamp;
use publisher::aggregate::{Aggregator, Settings};
use publisher::decrypt::Decryption;
use publisher::reading::{self, Origin};
use publisher::source::BATCH_BYTES;
use shared::config::{CrcPolicy, OnTrouble};
use shared::dsmr;
use shared::record::Record;
use shared::telegram::assembler::{Check, Found, find_all};
use shared::telegram::crc16;
use shared::wire::{Reply, codec};
use tests::household::{self, Dialect, Household};

#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    action: Option<Action>,
    /// Raw captures to take the telegrams from, in place of the simulated households.
    #[arg(global = true)]
    files: Vec<PathBuf>,
}

#[derive(Subcommand)]
enum Action {
    /// Times every stage; also without any command.
    Times,
    /// Counts instructions and allocations of every stage.
    Counts,
    /// Runs one stage over all telegrams, this often.
    Run {
        stage: Stage,
        #[arg(long, default_value_t = 1)]
        passes: usize,
    },
}

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Stage {
    /// The CRC.
    CrcOurs,
    /// Everything that a telegram says.
    ParseOurs,
    /// Both.
    CrcAndParseOurs,
    /// Both, and the JSON object of the readings.
    JsonOurs,
    /// From a stream of bytes: found in it, CRC checked, parsed.
    StreamOurs,
    /// The records in a frame of capture's.
    DecodeOurs,
    /// All that the publisher makes of a record: readings, summary and state, at an interval of 60 s.
    AggregateOurs,
    /// The CRC, and where the objects begin and end.
    CheckDsmr5,
    /// The same and every object.
    CrcAndParseDsmr5,
    /// The same gathered into `State`, as JSON.
    JsonDsmr5,
    /// From a stream of bytes.
    StreamDsmr5,
}

/// Each of ours beside what does the same, as far as it does.
const STAGES: [(Stage, Option<Stage>); 7] = [
    (Stage::CrcOurs, Some(Stage::CheckDsmr5)),
    (Stage::ParseOurs, None),
    (Stage::CrcAndParseOurs, Some(Stage::CrcAndParseDsmr5)),
    (Stage::JsonOurs, Some(Stage::JsonDsmr5)),
    (Stage::StreamOurs, Some(Stage::StreamDsmr5)),
    (Stage::DecodeOurs, None),
    (Stage::AggregateOurs, None),
];

/// Rounds of timing; the middle one counts.
const ROUNDS: usize = 31;
const PASSES_A_ROUND: usize = 2;
/// Passes of the shorter and of the longer run under valgrind, whose difference is free of everything else.
const COUNTED_PASSES: (usize, usize) = (1, 3);

const HOUSEHOLDS: u64 = 4;
const TELEGRAMS_OF_A_HOUSEHOLD: usize = 300;

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    match arguments.action {
        None | Some(Action::Times) => times(&Material::of(&arguments.files)?),
        Some(Action::Counts) => counts(&arguments.files),
        Some(Action::Run { stage, passes }) => {
            let material = Material::of(&arguments.files)?;
            stage.run(&material, passes);
            Ok(())
        }
    }
}

fn print(what: &str, value: f64) {
    let value = (value * 100.0).round() / 100.0;
    println!("{}", serde_json::json!({ "what": what, "value": value }));
}

impl Stage {
    /// As it is written on the command line and before a figure's unit: `crc_and_parse_ours`.
    fn name(self) -> String {
        let name = self.to_possible_value().map(|value| value.get_name().to_owned());
        name.unwrap_or_default()
    }

    fn figure(self, unit: &str) -> String {
        format!("{}_{unit}", self.name().replace('-', "_"))
    }

    fn run(self, material: &Material, passes: usize) {
        for _ in 0..passes {
            match self {
                Self::DecodeOurs => decode(&material.frames),
                Self::AggregateOurs => aggregate(&material.records),
                Self::StreamOurs => stream_ours(&material.stream),
                Self::StreamDsmr5 => stream_dsmr5(&material.stream),
                Self::CrcOurs => each(&material.records, |record| given_crc_fits(&record.telegram)),
                Self::ParseOurs => each(&material.records, |record| {
                    black_box(dsmr::parse(&record.telegram));
                    true
                }),
                Self::CrcAndParseOurs => each(&material.records, |record| {
                    black_box(dsmr::parse(&record.telegram));
                    given_crc_fits(&record.telegram)
                }),
                Self::JsonOurs => json_ours(&material.records),
                Self::CheckDsmr5 => each(&material.readouts, |readout| readout.to_telegram().is_ok()),
                Self::CrcAndParseDsmr5 => each(&material.readouts, |readout| every_object_dsmr5(readout)),
                Self::JsonDsmr5 => json_dsmr5(&material.readouts),
            }
        }
    }
}

/// The telegrams as each stage takes them.
struct Material {
    records: Vec<Record>,
    readouts: Vec<Readout>,
    frames: Vec<Vec<u8>>,
    stream: Vec<u8>,
}

impl Material {
    fn of(files: &[PathBuf]) -> Result<Self> {
        let all = if files.is_empty() {
            of_households()
        } else {
            of_files(files)?
        };
        let found = all.len();
        let (telegrams, readouts): (Vec<_>, Vec<_>) = all
            .into_iter()
            .filter_map(
                |(name, telegram)| match readout(&telegram).filter(every_object_dsmr5) {
                    Some(readout) => Some((telegram, readout)),
                    None => {
                        eprintln!("left out, since dsmr5 does not read all of it: {name}");
                        None
                    }
                },
            )
            .unzip();
        ensure!(!telegrams.is_empty(), "no telegram that dsmr5 reads");
        let bytes: usize = telegrams.iter().map(Vec::len).sum();
        eprintln!(
            "{} of {found} telegrams, {} bytes each",
            telegrams.len(),
            bytes / telegrams.len()
        );
        let stream = telegrams.concat();
        let records: Vec<Record> = telegrams.into_iter().zip(1..).map(record).collect();
        Ok(Self {
            frames: frames(&records)?,
            records,
            readouts,
            stream,
        })
    }
}

fn of_households() -> Vec<(String, Vec<u8>)> {
    (1..=HOUSEHOLDS)
        .flat_map(|seed| {
            Household::new(household::Settings::seeded(seed, Dialect::Dsmr5))
                .take(TELEGRAMS_OF_A_HOUSEHOLD)
                .map(move |telegram| (format!("household {seed}"), telegram.bytes))
        })
        .collect()
}

fn of_files(files: &[PathBuf]) -> Result<Vec<(String, Vec<u8>)>> {
    let mut telegrams = Vec::new();
    for file in files {
        let bytes = std::fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
        for found in find_all(&bytes, CrcPolicy::Required) {
            if let Found::Telegram(telegram) = found
                && telegram.check == Check::Arc
            {
                let name = file.file_name().map(Path::new).unwrap_or(file);
                telegrams.push((name.display().to_string(), telegram.bytes));
            }
        }
    }
    Ok(telegrams)
}

fn record((telegram, sequence): (Vec<u8>, u64)) -> Record {
    Record {
        sequence,
        captured_at_us: 1_795_000_000_000_000 + i64::try_from(sequence).unwrap_or_default() * 1_000_000,
        silence_ms: 1_000,
        telegram: telegram.into(),
    }
}

/// The frames that capture would send these records in.
fn frames(records: &[Record]) -> Result<Vec<Vec<u8>>> {
    let bytes: usize = records.iter().map(|record| record.telegram.len()).sum();
    let in_a_frame = (BATCH_BYTES as usize * records.len() / bytes).max(1);
    let encoded = records.chunks(in_a_frame).map(|records| {
        let mut frame = Vec::new();
        let reply = Reply::Records {
            records: records.to_vec(),
            head: 1 << 24,
        };
        codec::encode(&reply, &mut frame)?;
        frame.drain(..codec::LENGTH_BYTES);
        Ok(frame)
    });
    encoded.collect()
}

/// The telegram as `dsmr5` holds it; none where it has no room for it.
fn readout(telegram: &[u8]) -> Option<Readout> {
    let mut buffer = [0; 2048];
    buffer.get_mut(..telegram.len())?.copy_from_slice(telegram);
    Some(Readout { buffer })
}

/// Whether `dsmr5` reads every object of it.
fn every_object_dsmr5(readout: &Readout) -> bool {
    readout
        .to_telegram()
        .is_ok_and(|telegram| telegram.objects().all(|object| black_box(object).is_ok()))
}

fn each<T>(items: &[T], succeeds: impl Fn(&T) -> bool) {
    for item in items {
        assert!(
            succeeds(black_box(item)),
            "a telegram that was read before is not read now"
        );
    }
}

/// Whether the CRC behind `!` is that of the bytes before it.
fn given_crc_fits(telegram: &[u8]) -> bool {
    let end = telegram.iter().rposition(|&byte| byte == b'!');
    let parts = end.and_then(|end| telegram.split_at_checked(end + 1));
    parts.is_some_and(|(checked, given)| {
        let given = given.get(..4).and_then(|digits| std::str::from_utf8(digits).ok());
        given.and_then(|digits| u16::from_str_radix(digits, 16).ok()) == Some(crc16::ARC.of(checked))
    })
}

fn json_ours(records: &[Record]) {
    let mut json = Vec::new();
    each_mut(records, |record| {
        json.clear();
        let origin = Origin {
            received_at: Timestamp::from_microsecond(record.captured_at_us).unwrap_or_default(),
            queue: "k3v9x2ma",
            sequence: record.sequence,
        };
        reading::write(&mut json, &dsmr::parse(&record.telegram), Some(origin));
        black_box(&json);
        given_crc_fits(&record.telegram)
    });
}

fn json_dsmr5(readouts: &[Readout]) {
    let mut json = Vec::new();
    each_mut(readouts, |readout| {
        json.clear();
        let telegram = readout.to_telegram().ok();
        let state = telegram.and_then(|telegram| State::try_from(&telegram).ok());
        let is_written = state.is_some_and(|state| serde_json::to_writer(&mut json, &state).is_ok());
        black_box(&json);
        is_written
    });
}

fn each_mut<T>(items: &[T], mut succeeds: impl FnMut(&T) -> bool) {
    for item in items {
        assert!(
            succeeds(black_box(item)),
            "a telegram that was read before is not read now"
        );
    }
}

fn stream_ours(stream: &[u8]) {
    for found in find_all(black_box(stream), CrcPolicy::Required) {
        if let Found::Telegram(telegram) = found {
            black_box(dsmr::parse(&telegram.bytes));
        }
    }
}

fn stream_dsmr5(stream: &[u8]) {
    let bytes = black_box(stream).iter().map(|&byte| Ok::<u8, ()>(byte));
    for readout in Reader::new(bytes) {
        assert!(readout.is_ok_and(|readout| every_object_dsmr5(&readout)));
    }
}

fn decode(frames: &[Vec<u8>]) {
    for frame in frames {
        let reply = codec::decode::<Reply>(black_box(frame));
        assert!(matches!(black_box(reply), Ok(Reply::Records { .. })));
    }
}

fn aggregate(records: &[Record]) {
    let settings = Settings {
        interval_seconds: 60,
        max_payload_bytes: 512 * 1024,
        queue: "k3v9x2ma".to_owned(),
        has_summary: true,
        has_state: true,
    };
    let mut aggregator = Aggregator::new(settings, Decryption::new(None, OnTrouble::Wait));
    let mut outputs = Vec::new();
    for record in records {
        let taken = aggregator.take(black_box(record), &mut outputs);
        assert!(taken == publisher::aggregate::Taken::Read);
        black_box(outputs.drain(..).count());
    }
}

fn times(material: &Material) -> Result<()> {
    let mut taken = vec![(Vec::new(), Vec::new(), Vec::new()); STAGES.len()];
    for _ in 0..ROUNDS {
        for ((ours, theirs), (own, other, ratios)) in STAGES.iter().zip(&mut taken) {
            let ours = nanoseconds(*ours, material);
            own.push(ours);
            if let Some(theirs) = theirs.map(|theirs| nanoseconds(theirs, material)) {
                other.push(theirs);
                ratios.push(theirs / ours);
            }
        }
    }
    for ((ours, theirs), (own, other, ratios)) in STAGES.into_iter().zip(taken) {
        print(&ours.figure("ns"), median(own));
        if let Some(theirs) = theirs {
            print(&theirs.figure("ns"), median(other));
            print(&ours.figure("times_as_fast_as_dsmr5"), median(ratios));
        }
    }
    Ok(())
}

/// A telegram's share of the time of one round.
fn nanoseconds(stage: Stage, material: &Material) -> f64 {
    let begin = Instant::now();
    stage.run(material, PASSES_A_ROUND);
    begin.elapsed().as_nanos() as f64 / (PASSES_A_ROUND * material.records.len()) as f64
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}

fn counts(files: &[PathBuf]) -> Result<()> {
    let telegrams = Material::of(files)?.records.len();
    let (few, many) = COUNTED_PASSES;
    let a_telegram = |count: &dyn Fn(usize) -> Result<u64>| -> Result<f64> {
        let more = count(many)?.saturating_sub(count(few)?);
        Ok(more as f64 / ((many - few) * telegrams) as f64)
    };
    for stage in STAGES
        .into_iter()
        .flat_map(|(ours, theirs)| [Some(ours), theirs])
        .flatten()
    {
        let callgrind = ["--tool=callgrind", "--callgrind-out-file=/dev/null"];
        let instructions = a_telegram(&|passes| count(&callgrind, "Collected :", stage, passes, files))?;
        print(&stage.figure("instructions"), instructions);
        let memcheck = ["--tool=memcheck", "--leak-check=no"];
        let allocations = a_telegram(&|passes| count(&memcheck, "total heap usage:", stage, passes, files))?;
        print(&stage.figure("allocations"), allocations);
    }
    Ok(())
}

/// The number behind `label` in what valgrind says of a run of this very program.
fn count(tool: &[&str], label: &str, stage: Stage, passes: usize, files: &[PathBuf]) -> Result<u64> {
    let output = Command::new("valgrind")
        .args(tool)
        .arg(std::env::current_exe().context("this program's own file is gone")?)
        .args(["run", &stage.name(), "--passes", &passes.to_string()])
        .args(files)
        .output()
        .context("cannot run valgrind (apt-get install valgrind)")?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(
        output.status.success(),
        "valgrind ended with {}: {said}",
        output.status
    );
    let behind = said.split(label).nth(1).unwrap_or_default();
    let number = behind
        .split_whitespace()
        .next()
        .unwrap_or_default()
        .replace(',', "");
    number
        .parse()
        .with_context(|| format!("no number behind {label:?} in what valgrind says: {said}"))
}

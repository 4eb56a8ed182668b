//! Measures the queue: bytes stored and written a telegram, time to reopen, resident memory.
//!
//! ```text
//! queue_figures write FOLDER [--telegrams 86400] [--group 1] [--source FILE] [--commit-every 60]
//! queue_figures open FOLDER
//! ```
//!
//! `write` fills a queue with the telegrams of a capture, repeated with their clock moved on by a second
//! each and their CRC computed anew (or with made-up ones where no source is given), flushing after
//! every `group` telegrams. `open` opens it again and says what that takes. Each prints one line of JSON.

#![expect(clippy::print_stderr, reason = "progress is for the person who waits")]

use std::path::Path;
use std::time::Instant;

use anyhow::{Context, bail};
use capture::queue::{Arrival, Queue, QueueOptions, layout};
use shared::wire::Start;

fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let command = arguments.next().context("write or open?")?;
    let folder = arguments.next().context("which folder?")?;
    let mut telegrams = 86_400u64;
    let mut group = 1u64;
    let mut commit_every = 60u64;
    let mut source = None;
    while let Some(option) = arguments.next() {
        let value = arguments
            .next()
            .with_context(|| format!("{option} needs a value"))?;
        match option.as_str() {
            "--telegrams" => telegrams = value.parse()?,
            "--group" => group = value.parse()?,
            "--commit-every" => commit_every = value.parse()?,
            "--source" => source = Some(std::fs::read(&value).with_context(|| value.clone())?),
            other => bail!("unknown option {other}"),
        }
    }
    let folder = Path::new(&folder);
    match command.as_str() {
        "write" => write(folder, telegrams, group, commit_every, source.as_deref()),
        "open" => open(folder),
        other => bail!("unknown command {other}"),
    }
}

fn write(
    folder: &Path,
    telegrams: u64,
    group: u64,
    commit_every: u64,
    source: Option<&[u8]>,
) -> anyhow::Result<()> {
    let templates = source.map_or_else(made_up, telegrams_of);
    let (mut queue, _) = Queue::open(&QueueOptions::new(folder))?;
    queue.register("mqtt", Start::Oldest)?;
    let before = written_bytes();
    let started = Instant::now();
    let mut raw = 0;
    for (number, template) in (1..=telegrams).zip(templates.iter().cycle()) {
        let telegram = moved_on(template, number);
        raw += telegram.len();
        let captured_at_us = START_US + number as i64 * 1_000_000;
        queue.append(
            Arrival {
                captured_at_us,
                uptime_us: number * 1_000_000,
            },
            &telegram,
        )?;
        if number % group == 0 {
            queue.flush()?;
            queue.maintain(captured_at_us, number * 1_000_000)?;
        }
        if number % 5000 == 0 && std::env::var_os("PROGRESS").is_some() {
            eprintln!(
                "{number} {} {}",
                (written_bytes() - before) / number,
                resident_bytes() / 1024
            );
        }
        if number % commit_every == 0 {
            queue.commit("mqtt", queue.head())?;
        }
    }
    queue.flush()?;
    let written = written_bytes() - before;
    let seconds = started.elapsed().as_secs_f64();
    let resident = resident_bytes();
    let status = queue.status();
    queue.close()?;
    let disk = layout::disk_bytes(folder);
    print_line(&serde_json::json!({
        "telegrams": telegrams, "group": group, "raw_bytes_each": raw as f64 / telegrams as f64,
        "live_bytes_each": status.live_bytes as f64 / telegrams as f64,
        "disk_bytes_each": disk as f64 / telegrams as f64,
        "disk_bytes": disk,
        "disk_per_live": disk as f64 / status.live_bytes as f64,
        "written_bytes_each": written as f64 / telegrams as f64,
        "telegrams_per_second": telegrams as f64 / seconds,
        "resident_bytes": resident,
    }));
    Ok(())
}

fn open(folder: &Path) -> anyhow::Result<()> {
    let started = Instant::now();
    let (queue, report) = Queue::open(&QueueOptions::new(folder))?;
    let seconds = started.elapsed().as_secs_f64();
    let resident = resident_bytes();
    let mut reader = queue.reader();
    let started = Instant::now();
    let mut next = 1;
    let mut read = 0;
    loop {
        let batch = reader.read(next, 256 * 1024)?;
        let Some(last) = batch.records.last() else { break };
        next = last.sequence + 1;
        read += batch.records.len();
    }
    let read_seconds = started.elapsed().as_secs_f64();
    print_line(&serde_json::json!({
        "records": report.records, "open_seconds": seconds, "resident_bytes_open": resident,
        "read_records": read, "read_seconds": read_seconds, "resident_bytes_read": resident_bytes(),
        "disk_bytes": layout::disk_bytes(folder),
    }));
    Ok(())
}

/// The telegrams of a capture, from `/` to the line end after the CRC.
fn telegrams_of(capture: &[u8]) -> Vec<Vec<u8>> {
    let mut telegrams = Vec::new();
    let mut rest = capture;
    while let Some(start) = rest.iter().position(|&byte| byte == b'/') {
        rest = rest.get(start..).unwrap_or_default();
        let Some(bang) = rest.windows(2).position(|pair| pair == b"\n!") else {
            break;
        };
        let Some(end) = rest
            .get(bang + 2..)
            .and_then(|tail| tail.iter().position(|&byte| byte == b'\n'))
        else {
            break;
        };
        let (telegram, tail) = rest.split_at(bang + 2 + end + 1);
        telegrams.push(telegram.to_vec());
        rest = tail;
    }
    telegrams
}

/// Telegrams with registers that rise and gauges that wander, from a fixed seed.
fn made_up() -> Vec<Vec<u8>> {
    let mut state = 0x9E37_79B9_7F4A_7C15u64;
    let mut random = move |below: u64| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state % below
    };
    let mut watt_hours = 1_234_567u64;
    (0..3600)
        .map(|_| {
            let watts = 300 + random(60);
            watt_hours += u64::from(random(10) == 0);
            format!(
                "/ABC5MADE-UP\r\n\r\n1-3:0.2.8(50)\r\n0-0:1.0.0(260101120000W)\r\n0-0:96.1.1(4530303030303030303030303030303030)\r\n\
                 1-0:1.8.1({:06}.{:03}*kWh)\r\n1-0:1.8.2(002345.678*kWh)\r\n0-0:96.14.0(0001)\r\n1-0:1.7.0(00.{:03}*kW)\r\n\
                 1-0:2.7.0(00.000*kW)\r\n1-0:32.7.0({}.{}*V)\r\n1-0:31.7.0(001*A)\r\n1-0:21.7.0(00.{:03}*kW)\r\n\
                 0-1:24.1.0(003)\r\n0-1:24.2.1(260101120000W)(00123.456*m3)\r\n!0000\r\n",
                watt_hours / 1000, watt_hours % 1000, watts, 229 + random(3), random(10), watts,
            )
            .into_bytes()
        })
        .collect()
}

/// The telegram with its time line set to `second` seconds after a fixed time, and its CRC made right.
fn moved_on(template: &[u8], second: u64) -> Vec<u8> {
    let mut telegram = template.to_vec();
    let line = b"0-0:1.0.0(";
    if let Some(at) = telegram.windows(line.len()).position(|window| window == line) {
        let time = jiff::Timestamp::from_second(START_US / 1_000_000 + second as i64).unwrap_or_default();
        let text = time.strftime("%y%m%d%H%M%S").to_string();
        if let Some(place) = telegram.get_mut(at + line.len()..at + line.len() + text.len()) {
            place.copy_from_slice(text.as_bytes());
        }
    }
    if let Some(bang) = telegram.iter().rposition(|&byte| byte == b'!') {
        let crc = telegram.iter().take(bang + 1).fold(0u16, |crc, &byte| {
            (0..8).fold(crc ^ u16::from(byte), |crc, _| {
                if crc & 1 == 1 {
                    (crc >> 1) ^ 0xA001
                } else {
                    crc >> 1
                }
            })
        });
        if let Some(place) = telegram.get_mut(bang + 1..bang + 5) {
            place.copy_from_slice(format!("{crc:04X}").as_bytes());
        }
    }
    telegram
}

fn written_bytes() -> u64 {
    number_after("/proc/self/io", "write_bytes: ")
}

fn resident_bytes() -> u64 {
    number_after("/proc/self/status", "VmRSS:") * 1024
}

fn number_after(file: &str, key: &str) -> u64 {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    text.lines()
        .find_map(|line| line.strip_prefix(key))
        .and_then(|rest| rest.split_whitespace().next())
        .and_then(|number| number.parse().ok())
        .unwrap_or(0)
}

#[expect(clippy::print_stdout, reason = "its result")]
fn print_line(value: &serde_json::Value) {
    println!("{value}");
}

const START_US: i64 = 1_764_000_000_000_000;

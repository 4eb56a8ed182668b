//! The telegrams of a file to import: a raw capture, cut and checked as intake does, or JSON lines as
//! export writes them.
//!
//! Invariant: memory is bounded by one line or telegram, and what is not a valid telegram is
//! handed out as rejected with its place and the reason, never imported.

use std::collections::BTreeSet;
use std::io::{self, BufRead, BufReader};
use std::path::Path;

use shared::config::CrcPolicy;
use shared::regular_file;
use shared::telegram::assembler::Assembler;
use shared::telegram::exported;
use shared::telegram::found::{Found, Rejected};
use shared::words::counted;

use crate::export::Line;

/// A telegram of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Capture's time as the file states it, in microseconds since 1970-01-01T00:00:00Z.
    pub stated_at_us: Option<i64>,
    /// The silence before it as the file states it, in milliseconds.
    pub silence_ms: Option<u64>,
    /// The telegram byte for byte.
    pub telegram: Vec<u8>,
}

/// What is in a file, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Item {
    /// A valid telegram.
    Telegram(Entry),
    /// Something else: where, and why.
    Rejected {
        /// `byte 1204` or `line 7`.
        place: String,
        /// In words.
        reason: String,
    },
}

/// Reads the file and hands out what is in it, as far as `take` wants it.
///
/// # Errors
///
/// Where the file cannot be read, or the error of `take`.
pub fn read<E: From<io::Error>>(
    path: &Path,
    policy: CrcPolicy,
    mut take: impl FnMut(Item) -> Result<(), E>,
) -> Result<(), E> {
    let mut input = BufReader::with_capacity(64 * 1024, regular_file::open(path)?);
    if exported::begins_as_json(&mut input)? {
        read_lines(input, policy, &mut take)
    } else {
        read_stream(input, policy, &mut take)
    }
}

/// The same of a file that is a raw capture, whatever it looks like.
///
/// # Errors
///
/// As [`read`].
pub fn read_raw<E: From<io::Error>>(
    path: &Path,
    policy: CrcPolicy,
    mut take: impl FnMut(Item) -> Result<(), E>,
) -> Result<(), E> {
    let input = BufReader::with_capacity(64 * 1024, regular_file::open(path)?);
    read_stream(input, policy, &mut take)
}

fn read_stream<E: From<io::Error>>(
    mut input: impl BufRead,
    policy: CrcPolicy,
    take: &mut impl FnMut(Item) -> Result<(), E>,
) -> Result<(), E> {
    let mut assembler = Assembler::new(policy, BTreeSet::new());
    let mut found = Vec::new();
    loop {
        let bytes = input.fill_buf()?;
        let count = bytes.len();
        if count == 0 {
            assembler.finish(&mut found);
        } else {
            assembler.push(bytes, &mut found);
        }
        for one in found.drain(..) {
            take(match one {
                Found::Telegram(telegram) => Item::Telegram(Entry {
                    stated_at_us: None,
                    silence_ms: None,
                    telegram: telegram.bytes,
                }),
                Found::Rejected(rejected) => Item::Rejected {
                    place: format!("byte {}", rejected.position),
                    reason: reason(&rejected),
                },
            })?;
        }
        if count == 0 {
            return Ok(());
        }
        input.consume(count);
    }
}

fn read_lines<E: From<io::Error>>(
    mut input: impl BufRead,
    policy: CrcPolicy,
    take: &mut impl FnMut(Item) -> Result<(), E>,
) -> Result<(), E> {
    let mut assembler = Assembler::new(policy, BTreeSet::new());
    let mut line = Vec::new();
    let mut number = 0_u64;
    while let Some(read) = exported::next_line(&mut input, &mut line)? {
        number += 1;
        if line.trim_ascii().is_empty() {
            continue;
        }
        let item = match read {
            Ok(()) => entry(&line, &mut assembler),
            Err(why) => Err(why.to_string()),
        };
        take(match item {
            Ok(entry) => Item::Telegram(entry),
            Err(reason) => Item::Rejected {
                place: format!("line {number}"),
                reason,
            },
        })?;
    }
    Ok(())
}

/// The telegram of a line of JSON, or why there is none.
fn entry(line: &[u8], assembler: &mut Assembler) -> Result<Entry, String> {
    let line: Line =
        serde_json::from_slice(line).map_err(|error| format!("not a line of an export: {error}"))?;
    let telegram = exported::telegram(&line.telegram, assembler).map_err(|why| why.to_string())?;
    Ok(Entry {
        stated_at_us: Some(line.captured_at.as_microsecond()),
        silence_ms: line.silence_ms,
        telegram: telegram.bytes,
    })
}

fn reason(rejected: &Rejected) -> String {
    let bytes = counted(rejected.length, "byte");
    match rejected.meaning() {
        Some(meaning) => format!("{} ({bytes}; {meaning})", rejected.reason),
        None => format!("{} ({bytes})", rejected.reason),
    }
}

//! `publisher parse`: the readings of the telegrams in files, as one JSON array.
//!
//! The files are cut into telegrams as capture cuts what comes from the meter, and in constant memory,
//! whatever their size. What is no valid telegram is named with its position and the reason. A file that
//! begins with `{` is what `capture export --format jsonl` printed: a telegram a line, each of its bytes as
//! the character of that number (ISO 8859-1).

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};

use shared::config::CrcPolicy;
use shared::dsmr;
use shared::exit::Exit;
use shared::outside;
use shared::telegram::assembler::{Assembler, Found, Rejected, Telegram};
use shared::telegram::exported;
use shared::words;

use crate::decrypt::{Keys, Undecryptable, decrypt, is_encrypted};
use crate::reading;

/// How telegrams are taken.
#[derive(Debug)]
pub struct Settings {
    /// `crc`: whether telegrams without a CRC are taken.
    pub crc: CrcPolicy,
    /// The keys of the meter, where it encrypts.
    pub keys: Option<Keys>,
}

/// Parses these files in turn; `-` is `stdin`. The array goes to `readings`, one telegram a line, and a line
/// for what is not valid to `problems`, a hundred of each file at most. [`Exit::Failed`] where there was anything of the kind.
///
/// # Errors
///
/// Where `readings` or `problems` cannot be written to. A file that cannot be read is a problem like others.
pub fn run(
    files: &[PathBuf],
    settings: &Settings,
    stdin: &mut dyn Read,
    readings: &mut dyn Write,
    problems: &mut dyn Write,
) -> io::Result<Exit> {
    let mut report = Report {
        readings,
        problems,
        has_readings: false,
        has_problems: false,
        named: 0,
        unnamed: 0,
        found: 0,
        object: Vec::new(),
    };
    for path in files {
        if path.as_os_str() == "-" {
            report.take(Path::new("standard input"), stdin, settings)?;
            report.end_of_file(Path::new("standard input"))?;
            continue;
        }
        match File::open(path) {
            Ok(mut file) => report.take(path, &mut file, settings)?,
            Err(error) => report.problem(path, &format_args!("cannot be opened: {error}"))?,
        }
        report.end_of_file(path)?;
    }
    report.end()
}

/// What is written.
struct Report<'w> {
    readings: &'w mut dyn Write,
    problems: &'w mut dyn Write,
    has_readings: bool,
    has_problems: bool,
    /// Lines written about the file at hand.
    named: u64,
    /// What was not written, beyond [`MAX_NAMED`].
    unnamed: u64,
    /// How many telegrams and problems there were.
    found: u64,
    /// The JSON object of the telegram at hand; kept for its memory.
    object: Vec<u8>,
}

impl Report<'_> {
    /// Takes in one file.
    fn take(&mut self, path: &Path, file: &mut dyn Read, settings: &Settings) -> io::Result<()> {
        let mut file = BufReader::with_capacity(16 * 1024, file);
        let found_before = self.found;
        let is_empty = matches!(file.fill_buf(), Ok([]));
        let taken = match exported::begins_as_json(&mut file) {
            Ok(true) => self.take_lines(path, &mut file, settings),
            Ok(false) => self.take_stream(path, &mut file, settings),
            Err(error) => Err(Stopped::Reading(error)),
        };
        match taken {
            Ok(()) if self.found > found_before => Ok(()),
            Ok(()) if is_empty => self.problem(path, &format_args!("is empty, so it holds no telegram")),
            Ok(()) => self.problem(path, &format_args!("holds no telegram")),
            Err(Stopped::Reading(error)) => self.problem(path, &format_args!("cannot be read on: {error}")),
            Err(Stopped::Writing(error)) => Err(error),
        }
    }

    fn take_stream(
        &mut self,
        path: &Path,
        file: &mut impl BufRead,
        settings: &Settings,
    ) -> Result<(), Stopped> {
        let mut assembler = Assembler::new(settings.crc, BTreeSet::new());
        let mut found = Vec::new();
        loop {
            let count = match file.fill_buf() {
                Ok([]) => break,
                Ok(bytes) => {
                    assembler.push(bytes, &mut found);
                    bytes.len()
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => {
                    // What came before is told before the error.
                    assembler.finish(&mut found);
                    self.report(path, found.drain(..), settings)?;
                    return Err(Stopped::Reading(error));
                }
            };
            file.consume(count);
            self.report(path, found.drain(..), settings)?;
        }
        assembler.finish(&mut found);
        Ok(self.report(path, found.drain(..), settings)?)
    }

    fn take_lines(
        &mut self,
        path: &Path,
        file: &mut impl BufRead,
        settings: &Settings,
    ) -> Result<(), Stopped> {
        let mut assembler = Assembler::new(settings.crc, BTreeSet::new());
        let mut line = Vec::new();
        let mut number = 0_u64;
        while let Some(read) = exported::next_line(file, &mut line).map_err(Stopped::Reading)? {
            number += 1;
            if line.trim_ascii().is_empty() {
                continue;
            }
            let telegram = match read {
                Ok(()) => telegram_of(&line, &mut assembler),
                Err(why) => Err(why.to_string()),
            };
            let problem = match telegram {
                Ok(telegram) => match opened(&telegram, settings) {
                    Ok(readable) => {
                        self.reading(path, &format!("line {number}"), &readable)?;
                        continue;
                    }
                    Err(why) => why.to_string(),
                },
                Err(why) => why,
            };
            self.problem(path, &format_args!("line {number}: {problem}"))?;
        }
        Ok(())
    }

    fn report(
        &mut self,
        path: &Path,
        found: impl Iterator<Item = Found>,
        settings: &Settings,
    ) -> io::Result<()> {
        for found in found {
            match found {
                Found::Telegram(telegram) => self.telegram(path, &telegram, settings)?,
                Found::Rejected(rejected) => self.rejected(path, &rejected)?,
            }
        }
        Ok(())
    }

    fn telegram(&mut self, path: &Path, telegram: &Telegram, settings: &Settings) -> io::Result<()> {
        let place = format!("byte {}", telegram.position);
        match opened(telegram, settings) {
            Ok(readable) => self.reading(path, &place, &readable),
            Err(why) => self.problem(path, &format_args!("{place}: {why}")),
        }
    }

    fn reading(&mut self, path: &Path, place: &str, telegram: &[u8]) -> io::Result<()> {
        self.found += 1;
        let understood = dsmr::parse(telegram);
        self.object.clear();
        reading::write(&mut self.object, &understood, None);
        self.readings
            .write_all(if self.has_readings { b",\n" } else { b"[" })?;
        self.has_readings = true;
        self.readings.write_all(&self.object)?;
        for line in &understood.not_understood {
            // The telegram is valid all the same, so this is said and does not count.
            let line = outside::quoted(line);
            self.tell(
                path,
                &format_args!("{place}: its line \"{line}\" is no data object"),
            )?;
        }
        Ok(())
    }

    fn rejected(&mut self, path: &Path, rejected: &Rejected) -> io::Result<()> {
        let Rejected {
            position,
            length,
            reason,
            ..
        } = rejected;
        let bytes = words::counted(*length, "byte");
        let meaning = rejected
            .meaning()
            .map_or_else(String::new, |words| format!(" ({words})"));
        self.problem(
            path,
            &format_args!("byte {position}: {bytes} rejected: {reason}{meaning}"),
        )
    }

    fn problem(&mut self, path: &Path, what: &std::fmt::Arguments<'_>) -> io::Result<()> {
        self.has_problems = true;
        self.found += 1;
        self.tell(path, what)
    }

    /// Names it, unless enough has been named of this file.
    fn tell(&mut self, path: &Path, what: &std::fmt::Arguments<'_>) -> io::Result<()> {
        if self.named == MAX_NAMED {
            self.unnamed += 1;
            return Ok(());
        }
        self.named += 1;
        let line = format!("{}: {what}", path.display());
        writeln!(self.problems, "{}", outside::escaped(&line))
    }

    fn end_of_file(&mut self, path: &Path) -> io::Result<()> {
        self.named = 0;
        match std::mem::take(&mut self.unnamed) {
            0 => Ok(()),
            unnamed => {
                let unnamed = words::number(unnamed);
                let line = format!("{}: {unnamed} more like these are not named", path.display());
                writeln!(self.problems, "{}", outside::escaped(&line))
            }
        }
    }

    fn end(self) -> io::Result<Exit> {
        self.readings
            .write_all(if self.has_readings { b"]\n" } else { b"[]\n" })?;
        self.readings.flush()?;
        Ok(if self.has_problems {
            Exit::Failed
        } else {
            Exit::Done
        })
    }
}

/// What is named of one file; the rest is counted.
const MAX_NAMED: u64 = 100;

/// Why a file was not taken in to its end.
enum Stopped {
    /// It cannot be read on, which is the file's problem.
    Reading(io::Error),
    /// What comes of it cannot be written.
    Writing(io::Error),
}

impl From<io::Error> for Stopped {
    fn from(error: io::Error) -> Self {
        Self::Writing(error)
    }
}

/// One line of an export; what else is in it says nothing of the readings.
#[derive(serde::Deserialize)]
struct Line {
    telegram: String,
}

/// The telegram of a line of an export, or why there is none.
fn telegram_of(line: &[u8], assembler: &mut Assembler) -> Result<Telegram, String> {
    let line: Line = serde_json::from_slice(line)
        .map_err(|error| format!("not a line of an export (capture export --format jsonl): {error}"))?;
    exported::telegram(&line.telegram, assembler).map_err(|why| why.to_string())
}

/// The telegram's text, decrypted where it must be.
fn opened<'t>(telegram: &'t Telegram, settings: &Settings) -> Result<Cow<'t, [u8]>, Undecryptable> {
    if !is_encrypted(&telegram.bytes) {
        return Ok(Cow::Borrowed(&telegram.bytes));
    }
    let keys = settings.keys.as_ref().ok_or(Undecryptable::NoKey)?;
    decrypt(&telegram.bytes, keys).map(Cow::Owned)
}

#[cfg(test)]
mod tests;

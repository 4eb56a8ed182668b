//! `publisher parse`: the readings of the telegrams in files, as one JSON array.
//!
//! The files are cut into telegrams as capture cuts what comes from the meter, and in constant memory,
//! whatever their size. What is no valid telegram is named with its position and the reason.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use shared::config::CrcPolicy;
use shared::dsmr;
use shared::exit::Exit;
use shared::telegram::assembler::{Assembler, Found, Rejected, Telegram};

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
/// for everything that is not valid to `problems`. [`Exit::Failed`] where there was anything of the kind.
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
        object: Vec::new(),
    };
    for path in files {
        if path.as_os_str() == "-" {
            report.take(Path::new("standard input"), stdin, settings)?;
            continue;
        }
        match File::open(path) {
            Ok(mut file) => report.take(path, &mut file, settings)?,
            Err(error) => report.problem(path, &format_args!("cannot be opened: {error}"))?,
        }
    }
    report.end()
}

/// What is written.
struct Report<'w> {
    readings: &'w mut dyn Write,
    problems: &'w mut dyn Write,
    has_readings: bool,
    has_problems: bool,
    /// The JSON object of the telegram at hand; kept for its memory.
    object: Vec<u8>,
}

impl Report<'_> {
    /// Takes in one file.
    fn take(&mut self, path: &Path, file: &mut dyn Read, settings: &Settings) -> io::Result<()> {
        let mut assembler = Assembler::new(settings.crc, BTreeSet::new());
        let mut found = Vec::new();
        let mut bytes = [0; 16 * 1024];
        loop {
            let read = match file.read(&mut bytes) {
                Ok(0) => break,
                Ok(read) => read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => {
                    self.problem(path, &format_args!("cannot be read on: {error}"))?;
                    break;
                }
            };
            assembler.push(bytes.get(..read).unwrap_or_default(), &mut found);
            self.report(path, found.drain(..), settings)?;
        }
        assembler.finish(&mut found);
        self.report(path, found.drain(..), settings)
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
        if !is_encrypted(&telegram.bytes) {
            return self.reading(path, telegram.position, &telegram.bytes);
        }
        match settings
            .keys
            .as_ref()
            .ok_or(Undecryptable::NoKey)
            .and_then(|keys| decrypt(&telegram.bytes, keys))
        {
            Ok(opened) => self.reading(path, telegram.position, &opened),
            Err(why) => self.problem(path, &format_args!("byte {}: {why}", telegram.position)),
        }
    }

    fn reading(&mut self, path: &Path, position: u64, telegram: &[u8]) -> io::Result<()> {
        let understood = dsmr::parse(telegram);
        self.object.clear();
        reading::write(&mut self.object, &understood, None);
        self.readings
            .write_all(if self.has_readings { b",\n" } else { b"[" })?;
        self.has_readings = true;
        self.readings.write_all(&self.object)?;
        for line in &understood.not_understood {
            // The telegram is valid all the same, so this is said and does not count.
            let line = line.escape_debug();
            writeln!(
                self.problems,
                "{}: byte {position}: its line \"{line}\" is no data object",
                path.display()
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
        self.problem(
            path,
            &format_args!("byte {position}: {length} bytes rejected: {reason}"),
        )
    }

    fn problem(&mut self, path: &Path, what: &std::fmt::Arguments<'_>) -> io::Result<()> {
        self.has_problems = true;
        writeln!(self.problems, "{}: {what}", path.display())
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

#[cfg(test)]
mod tests;

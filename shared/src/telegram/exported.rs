//! The lines of `capture export --format jsonl`, as far as both programs read them: a JSON object a line, in
//! it the telegram, each of its bytes as the character of that number (ISO 8859-1).
//!
//! Invariant: memory is bounded by one line, and a telegram comes out byte for byte as it went in, or
//! not at all.

use std::io::{self, BufRead, Read};

use thiserror::Error;

use super::assembler::{Assembler, MAX_TELEGRAM_BYTES};
use super::crc16;
use super::found::{Check, Found, Reason, Rejected, Telegram};

/// Longest line that is looked at: the longest telegram, each byte as an escape of six characters, and what
/// stands beside it.
pub const MAX_LINE_BYTES: u64 = 6 * MAX_TELEGRAM_BYTES as u64 + 1024;

/// Why there is no telegram in a line.
#[derive(Debug, Error)]
pub enum NotExported {
    /// The line is longer than [`MAX_LINE_BYTES`].
    #[error("longer than {MAX_LINE_BYTES} bytes")]
    TooLong,
    /// A character of the text stands for no byte.
    #[error("{0:?} in the telegram is no byte: every character is one byte")]
    NoByte(char),
    /// It is not valid.
    #[error("{} ({} bytes)", .0.reason, .0.length)]
    Rejected(Rejected),
    /// There is less than one, or more.
    #[error("not one whole telegram")]
    NotOne,
}

/// Whether a file holds such lines: a telegram begins with `/` or a frame's bytes, a line of JSON with `{`.
///
/// # Errors
/// Where the file cannot be read.
pub fn begins_as_json(file: &mut impl BufRead) -> io::Result<bool> {
    loop {
        match file.fill_buf() {
            Ok(bytes) => {
                let first = bytes.iter().find(|byte| !byte.is_ascii_whitespace());
                return Ok(first == Some(&b'{'));
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// Reads the next line into `line`; none at the end of the file. One that is too long is read over, and what
/// is in `line` of it means nothing.
///
/// # Errors
/// Where the file cannot be read.
pub fn next_line(file: &mut impl BufRead, line: &mut Vec<u8>) -> io::Result<Option<Result<(), NotExported>>> {
    line.clear();
    let count = file.by_ref().take(MAX_LINE_BYTES).read_until(b'\n', line)?;
    if count == 0 {
        return Ok(None);
    }
    if count as u64 == MAX_LINE_BYTES && line.last() != Some(&b'\n') {
        file.skip_until(b'\n')?;
        return Ok(Some(Err(NotExported::TooLong)));
    }
    Ok(Some(Ok(())))
}

/// The telegram that this text of a line stands for. `assembler` is asked whether it is valid, so that what
/// it learns of a meter goes from line to line.
///
/// # Errors
/// Where it is no valid telegram, or not one alone.
pub fn telegram(text: &str, assembler: &mut Assembler) -> Result<Telegram, NotExported> {
    let bytes: Vec<u8> = text
        .chars()
        .map(|character| u8::try_from(u32::from(character)).map_err(|_| NotExported::NoByte(character)))
        .collect::<Result<_, _>>()?;
    whole(&bytes, assembler)
}

/// The telegram that these bytes are, and nothing beside it. `assembler` as in [`telegram`].
///
/// # Errors
/// If they are no valid telegram, or not one only.
pub fn whole(bytes: &[u8], assembler: &mut Assembler) -> Result<Telegram, NotExported> {
    let mut found = Vec::new();
    assembler.push(bytes, &mut found);
    assembler.finish(&mut found);
    let only = found.len() == 1;
    match found.into_iter().next() {
        Some(Found::Telegram(one)) if only && one.bytes == bytes => Ok(one),
        // The assembler believes in this CRC only after several; capture did, or it were no export.
        Some(Found::Rejected(Rejected {
            reason: Reason::WrongCrc { given, .. },
            ..
        })) if only && is_x25(bytes, given) => Ok(Telegram {
            position: 0,
            bytes: bytes.to_vec(),
            check: Check::X25,
        }),
        Some(Found::Rejected(rejected)) => Err(NotExported::Rejected(rejected)),
        _ => Err(NotExported::NotOne),
    }
}

fn is_x25(telegram: &[u8], given: u16) -> bool {
    let end = telegram.iter().rposition(|&byte| byte == b'!');
    let checked = end.and_then(|end| telegram.get(..=end)).unwrap_or_default();
    crc16::X25.of(checked) == given
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::config::CrcPolicy;

    fn sealed(crc: &crc16::Crc16) -> Vec<u8> {
        let mut telegram = b"/ABC5\xB3\r\n\r\n1-0:1.7.0(00.318*kW)\r\n!".to_vec();
        telegram.extend_from_slice(format!("{:04X}\r\n", crc.of(&telegram)).as_bytes());
        telegram
    }

    fn read(bytes: &[u8]) -> Result<Telegram, NotExported> {
        let text: String = bytes.iter().map(|&byte| char::from(byte)).collect();
        telegram(&text, &mut Assembler::new(CrcPolicy::Auto, BTreeSet::new()))
    }

    #[test]
    fn a_telegram_comes_out_byte_for_byte_under_either_crc() {
        for (crc, check) in [(&crc16::ARC, Check::Arc), (&crc16::X25, Check::X25)] {
            let one = read(&sealed(crc)).unwrap();
            assert_eq!((one.bytes, one.check), (sealed(crc), check));
        }
    }

    #[test]
    fn what_is_not_one_valid_telegram_is_told_apart() {
        let one = sealed(&crc16::ARC);
        let spoilt = String::from_utf8_lossy(&one).replace("318", "319").into_bytes();
        assert!(matches!(read(&spoilt), Err(NotExported::Rejected(_))));
        assert!(matches!(
            read(&[&one[..], &one].concat()),
            Err(NotExported::NotOne)
        ));
        assert!(matches!(read(b""), Err(NotExported::NotOne)));
        let mut assembler = Assembler::new(CrcPolicy::Auto, BTreeSet::new());
        assert!(matches!(
            telegram("\u{20ac}", &mut assembler),
            Err(NotExported::NoByte('\u{20ac}'))
        ));
    }

    #[test]
    fn a_line_that_is_too_long_is_read_over_and_the_next_one_is_whole() {
        let long = vec![b'x'; 3 * MAX_LINE_BYTES as usize];
        let mut file = &[&b"a\n"[..], &long, b"\nb"].concat()[..];
        let mut line = Vec::new();
        let mut read = Vec::new();
        while let Some(one) = next_line(&mut file, &mut line).unwrap() {
            assert!(line.len() as u64 <= MAX_LINE_BYTES);
            read.push(one.ok().map(|()| line.clone()));
        }
        assert_eq!(read, [Some(b"a\n".to_vec()), None, Some(b"b".to_vec())]);
    }
}

//! What the assembler claims of any stream, checked without its own code: the CRC is computed bit by bit,
//! the stream is put together again from what was found.
//!
//! The input is a recipe, since hardly any bytes have a CRC that fits by chance: each step takes some
//! bytes as they are, or makes a telegram of them, a frame, the beginning of one.

use std::collections::BTreeSet;

use shared::config::CrcPolicy;
use shared::telegram::assembler::{Assembler, Check, Found, MAX_TELEGRAM_BYTES, Telegram};

/// Most that each byte of a stream may be looked at, on average.
const LOOKS_PER_BYTE: u64 = 64;

/// Asserts every claim for the stream that `recipe` makes.
pub(crate) fn hold_for(recipe: &[u8]) {
    let [policy, chunk, recipe @ ..] = recipe else {
        return;
    };
    let policy = [CrcPolicy::Auto, CrcPolicy::Required, CrcPolicy::Off][usize::from(policy % 3)];
    let last = telegram(b"END5\\fuzz", b"1-0:1.7.0(00.193*kW)\r\n", false, arc);
    let mut stream = stream_of(recipe);
    stream.extend(b"\r\n");
    stream.extend(&last);
    stream.extend(&last);

    let at_once = cut(&stream, policy, stream.len().max(1));
    let in_pieces = cut(&stream, policy, usize::from(*chunk) + 1);
    assert_eq!(
        at_once,
        in_pieces,
        "cut into pieces of {}",
        usize::from(*chunk) + 1
    );
    assert_covers(&stream, &at_once);
    let telegrams: Vec<&Telegram> = at_once
        .iter()
        .filter_map(|found| match found {
            Found::Telegram(telegram) => Some(telegram),
            Found::Rejected(_) => None,
        })
        .collect();
    telegrams
        .iter()
        .for_each(|telegram| assert_whole(telegram, policy));
    let tail: Vec<&[u8]> = telegrams
        .iter()
        .rev()
        .take(2)
        .map(|telegram| telegram.bytes.as_slice())
        .collect();
    assert_eq!(
        tail,
        [&last, &last],
        "what came before cost a telegram behind it: {at_once:?}"
    );
}

fn cut(stream: &[u8], policy: CrcPolicy, chunk: usize) -> Vec<Found> {
    let mut assembler = Assembler::new(policy, BTreeSet::new());
    let mut found = Vec::new();
    for bytes in stream.chunks(chunk) {
        assembler.push(bytes, &mut found);
        assert!(assembler.pending_bytes() <= 3 * MAX_TELEGRAM_BYTES);
    }
    assembler.finish(&mut found);
    let bound = LOOKS_PER_BYTE * stream.len() as u64 + 10_000;
    assert!(
        assembler.bytes_examined() <= bound,
        "{} looks at {} bytes",
        assembler.bytes_examined(),
        stream.len()
    );
    found
}

/// Every byte is in what was found, in order and as it came, except blank lines; one may be there twice.
fn assert_covers(stream: &[u8], found: &[Found]) {
    let is_blank = |bytes: &[u8]| bytes.iter().all(|byte| b"\r\n \t\x8d".contains(byte));
    let mut at = 0;
    for found in found {
        let (position, bytes, length) = match found {
            Found::Telegram(telegram) => (telegram.position, &telegram.bytes, telegram.bytes.len()),
            Found::Rejected(rejected) => (rejected.position, &rejected.bytes, rejected.length as usize),
        };
        let position = position as usize;
        assert!(position + 1 >= at, "{position} was decided already, up to {at}");
        assert!(
            is_blank(stream.get(at..position).unwrap_or_default()),
            "{at}..{position} is lost"
        );
        assert!(length > 0 && bytes.len() == length.min(MAX_TELEGRAM_BYTES));
        assert_eq!(
            stream.get(position..position + bytes.len()),
            Some(bytes.as_slice())
        );
        at = position + length;
    }
    assert!(is_blank(stream.get(at..).unwrap_or_default()), "{at}.. is lost");
}

/// A telegram is what its check says.
fn assert_whole(telegram: &Telegram, policy: CrcPolicy) {
    let bytes = &telegram.bytes;
    assert!(bytes.len() <= MAX_TELEGRAM_BYTES);
    if telegram.check == Check::EncryptedFrame {
        let &[0xDB, 0x08, _, _, _, _, _, _, _, _, 0x82, high, low, 0x30, ..] = bytes.as_slice() else {
            panic!("no head: {bytes:?}")
        };
        assert_eq!(bytes.len(), 13 + usize::from(high) * 256 + usize::from(low));
        return;
    }
    let has_parity = bytes.first() == Some(&0xAF);
    let meant: Vec<u8> = bytes
        .iter()
        .map(|byte| if has_parity { byte & 0x7F } else { *byte })
        .collect();
    assert_eq!(meant.first(), Some(&b'/'));
    let mark = meant
        .windows(2)
        .rposition(|pair| b"\r\n".contains(&pair[0]) && pair[1] == b'!')
        .expect("an end")
        + 1;
    let digits = String::from_utf8_lossy(&meant[mark + 1..]).trim_end().to_owned();
    let crc = u16::from_str_radix(&digits, 16).ok();
    match telegram.check {
        Check::Arc => assert_eq!(crc, Some(arc(&meant[..=mark]))),
        Check::X25 => assert_eq!(crc, Some(x25(&meant[..=mark]))),
        _ => assert!(
            policy == CrcPolicy::Off || policy == CrcPolicy::Auto && digits.is_empty(),
            "{digits:?}"
        ),
    }
    if has_parity && policy != CrcPolicy::Off {
        let odd = bytes[..=mark]
            .iter()
            .filter(|byte| byte.count_ones() % 2 == 1)
            .count();
        assert_eq!(odd, 0, "characters with a wrong parity");
    }
}

/// The recipe's steps: a kind, a number of bytes, and those bytes.
fn stream_of(mut recipe: &[u8]) -> Vec<u8> {
    let mut stream = Vec::new();
    while let [kind, length, rest @ ..] = recipe {
        let (bytes, rest) = rest.split_at(usize::from(*length).min(rest.len()));
        recipe = rest;
        match kind % 12 {
            0..=2 => stream.extend(bytes),
            3 => stream.extend(telegram(b"ISK5\\fuzz", bytes, false, arc)),
            4 => stream.extend(telegram(b"ISK5\\fuzz", bytes, true, arc)),
            5 => stream.extend(telegram(b"HOL5\\fuzz", bytes, false, x25)),
            6 => stream.extend([b"/KMP5 fuzz\r\n", bytes, b"\r\n!\r\n"].concat()),
            7 => stream.extend(frame(bytes, bytes.len())),
            8 => stream.extend(frame(bytes, bytes.len() + usize::from(*kind) * 64)),
            9 => {
                let whole = telegram(b"ISK5\\fuzz", bytes, kind % 2 == 1, arc);
                stream.extend(&whole[..usize::from(*length) % whole.len()]);
            }
            10 => stream.extend(bytes.repeat(usize::from(*kind))),
            _ => stream.extend(
                [
                    b"\r\n/",
                    bytes,
                    b"\r\n!",
                    bytes.get(..4).unwrap_or_default(),
                    b"\r\n",
                ]
                .concat(),
            ),
        }
    }
    stream
}

fn telegram(name: &[u8], body: &[u8], has_parity: bool, crc: fn(&[u8]) -> u16) -> Vec<u8> {
    let mut bytes = [b"/", name, b"\r\n\r\n", body, b"\r\n!"].concat();
    if has_parity {
        bytes.iter_mut().for_each(|byte| *byte &= 0x7F);
    }
    let digits = format!("{:04X}\r\n", crc(&bytes));
    bytes.extend(digits.as_bytes());
    if has_parity {
        for byte in &mut bytes {
            *byte |= if byte.count_ones() % 2 == 1 { 0x80 } else { 0 };
        }
    }
    bytes
}

fn frame(ciphertext: &[u8], claimed: usize) -> Vec<u8> {
    let length = u16::try_from(claimed + 17).unwrap_or(u16::MAX).to_be_bytes();
    [
        b"\xdb\x08FUZZFUZZ\x82",
        length.as_slice(),
        b"\x30\0\0\0\x01",
        ciphertext,
        &[0x5A; 12],
    ]
    .concat()
}

fn arc(bytes: &[u8]) -> u16 {
    bitwise(bytes, 0, 0xA001)
}

fn x25(bytes: &[u8]) -> u16 {
    !bitwise(bytes, 0xFFFF, 0x8408)
}

fn bitwise(bytes: &[u8], start: u16, polynomial: u16) -> u16 {
    bytes.iter().fold(start, |register, &byte| {
        (0..8).fold(register ^ u16::from(byte), |register, _| {
            if register & 1 == 1 {
                register >> 1 ^ polynomial
            } else {
                register >> 1
            }
        })
    })
}

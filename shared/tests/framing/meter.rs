//! Telegrams and frames made for these tests, with a CRC computed bit by bit, not by the code under test.

use std::collections::BTreeSet;

use shared::config::CrcPolicy;
use shared::telegram::assembler::{Assembler, Check, Found, Reason};

/// The objects of a DSMR 5 telegram; `n` makes telegrams differ.
pub(crate) fn body(n: u32) -> String {
    format!(
        "/ISK5\\2M550T-1012\r\n\r\n1-3:0.2.8(50)\r\n0-0:1.0.0(190324150541W)\r\n\
         0-0:96.1.1(4530303434303037313331363530363138)\r\n1-0:1.8.1({n:06}.829*kWh)\r\n\
         1-0:1.8.2(003224.632*kWh)\r\n0-0:96.14.0(0001)\r\n1-0:1.7.0(00.{:03}*kW)\r\n0-0:96.13.0()\r\n\
         1-0:32.7.0(237.1*V)\r\n0-1:24.1.0(003)\r\n0-1:24.2.1(190324150500W)(02354.{n:03}*m3)\r\n!",
        n % 1000
    )
}

/// A DSMR 5 telegram.
pub(crate) fn telegram(n: u32) -> Vec<u8> {
    with_crc(body(n).as_bytes())
}

/// A DSMR 2.2 telegram, without CRC.
pub(crate) fn old_telegram(n: u32) -> Vec<u8> {
    format!(
        "/KMP5 ZABF001587315111\r\n\r\n0-0:96.1.1(204C413655303031363630323937393132)\r\n\
         1-0:1.8.1({n:05}.000*kWh)\r\n1-0:1.8.2(00084.000*kWh)\r\n0-0:96.14.0(0001)\r\n\
         1-0:1.7.0(0000.98*kW)\r\n0-0:17.0.0(0999.00*kW)\r\n0-0:96.3.10(1)\r\n0-0:96.13.1()\r\n0-0:96.13.0()\r\n\
         0-1:24.1.0(3)\r\n0-1:24.3.0(121030140000)(00)(60)(1)(0-1:24.2.1)(m3)\r\n(00024.123)\r\n!\r\n"
    )
    .into_bytes()
}

/// `body` from `/` to `!`, with its CRC and line end.
pub(crate) fn with_crc(body: &[u8]) -> Vec<u8> {
    [body, format!("{:04X}\r\n", arc(body)).as_bytes()].concat()
}

/// The same with CRC-16/X-25.
pub(crate) fn with_x25(body: &[u8]) -> Vec<u8> {
    [
        body,
        format!("{:04X}\r\n", !bitwise(body, 0xFFFF, 0x8408)).as_bytes(),
    ]
    .concat()
}

/// As a 7E1 line read as 8N1 shows it.
pub(crate) fn with_parity(telegram: &[u8]) -> Vec<u8> {
    telegram
        .iter()
        .map(|&byte| byte | if byte.count_ones() % 2 == 1 { 0x80 } else { 0 })
        .collect()
}

/// An encrypted frame of so many bytes of ciphertext, which looks like noise: it comes from a xorshift.
pub(crate) fn frame(ciphertext_bytes: u16, seed: u64) -> Vec<u8> {
    let mut frame = b"\xdb\x08SAGgp\x00\x01\x02\x82".to_vec();
    frame.extend((ciphertext_bytes + 17).to_be_bytes());
    frame.extend([0x30, 0x10, 0, 0, 1]);
    frame.extend(noise(usize::from(ciphertext_bytes) + 12, seed));
    frame
}

/// Bytes of any value.
pub(crate) fn noise(bytes: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    (0..bytes)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 32) as u8
        })
        .collect()
}

/// CRC-16/ARC, bit by bit.
pub(crate) fn arc(bytes: &[u8]) -> u16 {
    bitwise(bytes, 0, 0xA001)
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

/// An assembler that has seen no meter.
pub(crate) fn assembler(policy: CrcPolicy) -> Assembler {
    Assembler::new(policy, BTreeSet::new())
}

/// The telegrams among what was found.
pub(crate) fn telegrams(found: &[Found]) -> Vec<&[u8]> {
    found
        .iter()
        .filter_map(|found| match found {
            Found::Telegram(telegram) => Some(telegram.bytes.as_slice()),
            Found::Rejected(_) => None,
        })
        .collect()
}

/// How each telegram was checked.
pub(crate) fn checks(found: &[Found]) -> Vec<Check> {
    found
        .iter()
        .filter_map(|found| match found {
            Found::Telegram(telegram) => Some(telegram.check),
            Found::Rejected(_) => None,
        })
        .collect()
}

/// Position, length and reason of each rejected stretch.
pub(crate) fn rejected(found: &[Found]) -> Vec<(u64, u64, Reason)> {
    found
        .iter()
        .filter_map(|found| match found {
            Found::Rejected(rejected) => Some((rejected.position, rejected.length, rejected.reason)),
            Found::Telegram(_) => None,
        })
        .collect()
}

/// Asserts that what was found covers the stream in order, that every byte is as it came, and that only
/// blank lines are in nothing that was found.
pub(crate) fn assert_covers(stream: &[u8], found: &[Found]) {
    let mut at = 0;
    for found in found {
        let (position, bytes, length) = match found {
            Found::Telegram(telegram) => (telegram.position, &telegram.bytes, telegram.bytes.len()),
            Found::Rejected(rejected) => (rejected.position, &rejected.bytes, rejected.length as usize),
        };
        let position = usize::try_from(position).expect("a test stream is short");
        // The last byte of a frame may begin what follows as well.
        assert!(
            position + 1 >= at,
            "found at {position}, but everything up to {at} was decided: {found:?}"
        );
        let between = stream.get(at..position).unwrap_or_default();
        assert!(
            between.iter().all(|byte| b"\r\n \t\x8d".contains(byte)),
            "{at}..{position} is lost: {between:?}"
        );
        assert!(length > 0 && bytes.len() == length.min(16 * 1024));
        assert_eq!(
            stream.get(position..position + bytes.len()),
            Some(bytes.as_slice()),
            "not what came"
        );
        at = position + length;
    }
    let behind = stream.get(at..).unwrap_or_default();
    assert!(
        behind.iter().all(|byte| b"\r\n \t\x8d".contains(byte)),
        "{at}.. is lost: {behind:?}"
    );
}

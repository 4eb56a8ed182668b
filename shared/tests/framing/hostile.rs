//! Input made to be slow or large. What is counted is bytes looked at, each as often as it was, so that the
//! result does not depend on the machine.

use std::collections::BTreeSet;

use shared::config::CrcPolicy;
use shared::telegram::assembler::{Assembler, Found, MAX_TELEGRAM_BYTES};

use crate::meter::{assembler, assert_covers, frame, noise, old_telegram, telegram, telegrams, with_parity};

fn false_head(length: u16) -> Vec<u8> {
    [
        b"\xdb\x08\x01\x02\x03\x04\x05\x06\x07\x08\x82".as_slice(),
        &(length - 13).to_be_bytes(),
        &[0x30],
    ]
    .concat()
}

/// Patterns that hit every loop of the assembler, repeated.
fn patterns() -> Vec<(&'static str, Vec<u8>)> {
    let held = [false_head(40), b"..............\r\n/ABC5\r\n01".to_vec()].concat();
    vec![
        ("zeros", vec![0; 64]),
        ("line ends", b"\r\n".to_vec()),
        ("starts", b"\n/".to_vec()),
        ("starts without lines", b"/ABC5".to_vec()),
        ("ends", b"\n!\n".to_vec()),
        ("ends with digits", b"\n!0000\n".to_vec()),
        ("ends that are none", b"\n!0000x".to_vec()),
        ("starts and ends", b"\n/ABC5\n!1\n".to_vec()),
        (
            "starts within lines and ends",
            b"\n/AAA5xx/ABC5xx/ABC5\n!\x01\n".to_vec(),
        ),
        (
            "ends with parity",
            [b"\n\xaf".as_slice(), &with_parity(b"ABC5\r\n!0000\r\n")].concat(),
        ),
        ("heads", false_head(16_384)),
        ("heads of short frames", false_head(31)),
        ("frames that wait", held.clone()),
        (
            "frames that wait among text",
            [held, b"(text)\r\n".repeat(40)].concat(),
        ),
        (
            "a head and ends",
            [false_head(16_384), b"\n!\n".repeat(3000)].concat(),
        ),
        (
            "a head and ends with digits",
            [false_head(16_384), b"\n/ABC5\n!0000\n".repeat(1200)].concat(),
        ),
        (
            "a head and starts within lines",
            [false_head(16_384), b"/ABC5".repeat(3000), b"\n!\n".repeat(20)].concat(),
        ),
        (
            "a head inside a telegram",
            [b"\n/ABC5".to_vec(), false_head(16_384), vec![b'x'; 100]].concat(),
        ),
        (
            "a start and no end",
            [b"\n/ABC5\n".to_vec(), vec![b'x'; 40_000]].concat(),
        ),
        ("a telegram", telegram(1)),
        ("a telegram cut in a line", telegram(1)[..300].to_vec()),
        ("an old telegram", old_telegram(1)),
        ("a frame", frame(480, 1)),
        ("noise", noise(5000, 1)),
    ]
}

#[test]
fn the_work_done_is_linear_in_the_input_whatever_it_is() {
    for (name, pattern) in patterns() {
        for policy in [CrcPolicy::Auto, CrcPolicy::Required, CrcPolicy::Off] {
            let examined = |bytes: usize| {
                let mut assembler = assembler(policy);
                let mut found = Vec::new();
                let stream: Vec<u8> = pattern.iter().copied().cycle().take(bytes).collect();
                for chunk in stream.chunks(1000) {
                    assembler.push(chunk, &mut found);
                    found.clear();
                }
                assembler.finish(&mut found);
                assembler.bytes_examined()
            };
            let (small, large) = (examined(60_000), examined(240_000));
            assert!(
                large <= 60 * 240_000,
                "{name} under {policy:?}: {large} looks at 240000 bytes"
            );
            assert!(
                large <= 5 * small + 100_000,
                "{name} under {policy:?}: {small} for 60000, {large} for 240000"
            );
        }
    }
}

#[test]
fn what_is_pending_and_what_is_handed_out_is_bounded_whatever_comes() {
    for (name, pattern) in patterns() {
        let mut assembler = assembler(CrcPolicy::Auto);
        let stream: Vec<u8> = pattern.iter().copied().cycle().take(150_000).collect();
        let mut found = Vec::new();
        for byte in stream {
            assembler.push(&[byte], &mut found);
            assert!(
                assembler.pending_bytes() <= 3 * MAX_TELEGRAM_BYTES,
                "{name}: {}",
                assembler.pending_bytes()
            );
            for found in found.drain(..) {
                let (Found::Telegram(shared::telegram::assembler::Telegram { bytes, .. })
                | Found::Rejected(shared::telegram::assembler::Rejected { bytes, .. })) = found;
                assert!(bytes.len() <= MAX_TELEGRAM_BYTES, "{name}: {} bytes", bytes.len());
            }
        }
    }
}

#[test]
fn endless_noise_is_reported_while_it_lasts() {
    for pattern in [vec![0], noise(5000, 2), b"/ABC5\n".repeat(3), b"\n/ABC5".to_vec()] {
        let mut assembler = assembler(CrcPolicy::Auto);
        let mut found = Vec::new();
        let stream: Vec<u8> = pattern.iter().copied().cycle().take(1_300_000).collect();
        assembler.push(&stream, &mut found);
        assert!(!found.is_empty(), "{:?}…", &pattern[..pattern.len().min(10)]);
        assembler.finish(&mut found);
        assert_covers(&stream, &found);
    }
}

#[test]
fn no_more_meters_are_remembered_than_a_bound() {
    let mut assembler = Assembler::new(CrcPolicy::Auto, BTreeSet::new());
    let mut found = Vec::new();
    for n in 0..1000 {
        let body = crate::meter::body(n).replace("M550T-1012", &format!("{n}{}", "x".repeat(300)));
        assembler.push(&crate::meter::with_crc(body.as_bytes()), &mut found);
    }
    assert_eq!(telegrams(&found).len(), 1000);
    let bytes: usize = assembler.meters_with_crc().iter().map(Vec::len).sum();
    assert!(bytes <= 256 * 256, "{bytes}");
}

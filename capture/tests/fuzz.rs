//! A short, seeded run of what the fuzz targets for the socket's frames, for imports and for what is stored claim.

#![expect(clippy::expect_used, reason = "a claim that does not hold ends the test")]

#[path = "../../tests/fuzz/claims/blocks.rs"]
mod blocks;
#[path = "../../tests/fuzz/claims/folder.rs"]
mod folder;
#[path = "../../tests/fuzz/claims/frames.rs"]
mod frames;
#[path = "../../tests/fuzz/claims/imports.rs"]
mod imports;
#[path = "../../tests/fuzz/claims/losses.rs"]
mod losses;
#[path = "../../tests/fuzz/claims/mark.rs"]
mod mark;
#[path = "../../tests/fuzz/claims/mixed.rs"]
mod mixed;
#[path = "../../tests/fuzz/claims/scratch.rs"]
mod scratch;
#[path = "../../tests/fuzz/claims/session.rs"]
mod session;

use mixed::mixed;

#[test]
fn the_claims_of_the_frames_target_hold_for_seeded_bytes() {
    let pieces: [&[u8]; 8] = [
        b"\0",
        b"\x01",
        b"\x05\0\0\0",
        b"\xFB\xFF\xFF",
        b"\xFD\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF",
        b"\x04mqtt",
        b"\x02",
        b"\x08\0\0\0\x06\x04mqtt\0\0",
    ];
    for seed in 0..3000 {
        frames::hold_for(&mixed(seed, &pieces));
    }
}

#[test]
fn the_claims_of_the_blocks_target_hold_for_seeded_bytes() {
    let pieces: [&[u8]; 6] = [
        b"P1B\xB5\x01\x01",
        b"\x02\0",
        b"\0\0\x05/ABC\n",
        b"\x80",
        b"\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\x01",
        b"\x28\xB5\x2F\xFD",
    ];
    for seed in 0..1000 {
        blocks::hold_for(&mixed(seed, &pieces));
    }
}

#[test]
fn the_claims_of_the_imports_target_hold_for_seeded_files() {
    let pieces: [&[u8]; 16] = [
        b"/ABC5\r\n\r\n1-0:1.8.1(1*kWh)\r\n!\r\n",
        b"/ABC5\r\n\r\n0-0:1.0.0(",
        b"!0000\r\n",
        b"!\r\n",
        b"\xdb\x08",
        b"{\"sequence\":1,\"captured_at\":\"2026-01-01T00:00:00Z\",\"telegram\":\"/A\\r\\n\\r\\n!\\r\\n\"}\n",
        b"{\"telegram\":\"",
        b"\"captured_at\":\"+9999999-01-01T00:00:00Z\",",
        b"\"silence_ms\":18446744073709551615,",
        b"\\u0000\\ud800",
        b"\"}\n",
        b"{",
        b"\n",
        b"\x1b[2J",
        b"[[[[[[[[",
        b"\xff\xfe",
    ];
    let telegrams: usize = (0..1_000)
        .map(|seed| imports::hold_for(&mixed(seed, &pieces)))
        .sum();
    assert!(telegrams > 1_000, "{telegrams} telegrams are hardly any");
}

#[test]
fn the_claims_of_the_losses_target_hold_for_seeded_lists() {
    let pieces: [&[u8]; 10] = [
        b"{\"first_sequence\":",
        b",\"last_sequence\":",
        b",\"at_us\":0,\"cause\":\"",
        b"\"}\n",
        b"{\"first_sequence\":3,\"last_sequence\":9,\"at_us\":5,\"cause\":\"x\"}\n",
        b"{\"first_sequence\":9,\"last_sequence\":18446744073709551615,\"at_us\":5,\"cause\":\"y\"}\n",
        b"{\"first_sequence\":9,\"last_sequence\":3,\"at_us\":5,\"cause\":\"x\"}\n",
        b"18446744073709551615",
        b"0",
        b"\n",
    ];
    let losses: usize = (0..1_000)
        .map(|seed| losses::hold_for(&mixed(seed, &pieces)))
        .sum();
    assert!(losses > 1_000, "{losses} losses are hardly any");
}

#[test]
fn the_claims_of_the_marks_target_hold_for_seeded_bytes() {
    let pieces: [&[u8]; 6] = [
        b"P1M\x01",
        b"\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF",
        b"\x04mqtt\x05\0\0\0\0\0\0\0",
        b"\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0",
        b"\x01",
        b"\x02\x04mqtt\x05\0\0\0\0\0\0\0",
    ];
    let marks: usize = (0..1_000).map(|seed| mark::hold_for(&mixed(seed, &pieces))).sum();
    assert!(marks > 100, "{marks} marks are hardly any");
}

#[test]
fn the_claims_of_the_folders_target_hold_for_seeded_damages() {
    assert!(folder::hold_for(&[]), "without damage everything is there");
    let whole = (0..60).filter(|seed| folder::hold_for(&mixed(*seed, &[b"\x04\x04\x10\x02\0\x01\0\x01"])));
    assert!(whole.count() < 60, "no damage took anything");
}

#[test]
fn the_claims_of_the_sessions_target_hold_for_seeded_orders() {
    let replies: usize = (0..40)
        .map(|seed| session::hold_for(&mixed(seed, &[b"\x20mqtt", b"\x06", b"\x41"])))
        .sum();
    assert!(
        replies > 60,
        "{replies} replies are hardly more than the first of each"
    );
}

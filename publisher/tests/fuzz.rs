//! A short, seeded run of what the fuzz targets for parser, decryption and aggregation claim.

#![expect(
    clippy::expect_used,
    reason = "a test ends where it meets what it cannot go on with"
)]

#[path = "../../tests/fuzz/claims/aggregation.rs"]
mod aggregation;
#[path = "../../tests/fuzz/claims/decryption.rs"]
mod decryption;
#[path = "../../tests/fuzz/claims/parser.rs"]
mod parser;

/// Noise (splitmix64) mixed with pieces that matter to the code under test.
fn mixed(seed: u64, pieces: &[&[u8]]) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let mut next = move || {
        state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (state ^ state >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ mixed >> 31
    };
    let mut bytes = Vec::new();
    for _ in 0..next() % 120 {
        let pick = usize::try_from(next() % (pieces.len() as u64 + 4)).expect("small");
        match pieces.get(pick) {
            Some(piece) => bytes.extend_from_slice(piece),
            None => bytes.push(next().to_le_bytes()[0]),
        }
    }
    bytes
}

const TELEGRAM_PIECES: [&[u8]; 26] = [
    b"/",
    b"\xAF",
    b"\r\n",
    b"\n",
    b"!",
    b"(",
    b")",
    b"*",
    b".",
    b"-",
    b"0",
    b"19",
    b"()",
    b")(",
    b"*kWh)\r\n",
    b"*m3)\r\n",
    b"1-0:1.8.1(",
    b"0-0:1.0.0(",
    b"0-1:24.2.1(",
    b"0-1:24.3.0(",
    b"0-2:96.1.0(",
    b"0-0:98.1.0(",
    b"1-0:99.97.0(",
    b"1-0:1.6.0)(",
    b"190320181403W)(",
    b"0-0:96.13.0(",
];

#[test]
fn the_claims_of_the_parsers_target_hold_for_seeded_telegrams() {
    for seed in 0..3000 {
        parser::hold_for(&mixed(seed, &TELEGRAM_PIECES));
    }
}

#[test]
fn the_claims_of_the_decryptions_target_hold_for_seeded_frames() {
    for seed in 0..3000 {
        decryption::hold_for(&mixed(
            seed,
            &[b"\xDB\x08", b"SYSTEMID", b"\x82\x00\x40\x30", b"\x30"],
        ));
    }
}

#[test]
fn the_claims_of_the_aggregations_target_hold_for_seeded_records() {
    let mut pieces = TELEGRAM_PIECES.to_vec();
    pieces.extend([
        &b"\0"[..],
        b"\0clockclosi/\r\n0-0:1.0.0(190320181403W)\r\n",
        b"\0clockclo\xFF\xFF\xDB\x08",
    ]);
    for seed in 0..1000 {
        aggregation::hold_for(&mixed(seed, &pieces));
    }
}

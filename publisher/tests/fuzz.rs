//! A short, seeded run of what the fuzz targets for parser, decryption and aggregation claim.

#![expect(clippy::expect_used, reason = "a claim that does not hold ends the test")]

#[path = "../../tests/fuzz/claims/aggregation.rs"]
mod aggregation;
#[path = "../../tests/fuzz/claims/decryption.rs"]
mod decryption;
#[path = "../../tests/fuzz/claims/mixed.rs"]
mod mixed;
#[path = "../../tests/fuzz/claims/parser.rs"]
mod parser;

use mixed::mixed;

const TELEGRAM_PIECES: [&[u8]; 42] = [
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
    b"00.318*kW)\r\n",
    b"*kA)\r\n",
    b"*MWh)\r\n",
    b"*V)\r\n",
    b"*GJ)\r\n",
    b"260102010000W)",
    b"000101010000W)(",
    b"12345678901234567890123456789",
    b"99.999",
    b"e3",
    b"\xB3",
    b"1-0:1.7.0(",
    b"1-0:32.7.0(",
    b"1-0:1.6.0(",
    b"0-0:17.0.0(",
    b"0-0:98.1.0\r\n(\r\n",
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

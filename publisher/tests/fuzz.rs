//! A short, seeded run of what the fuzz targets for parser, decryption, aggregation and broker claim.

#![expect(clippy::expect_used, reason = "a claim that does not hold ends the test")]

#[path = "../../tests/fuzz/claims/aggregation.rs"]
mod aggregation;
#[path = "../../tests/fuzz/claims/broker.rs"]
mod broker;
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

/// References and groups, whole, of kinds that fit and that do not, in any order behind each other.
const ODD_OBJECTS: [&[u8]; 70] = [
    b"\r\n",
    b"\r\n",
    b"\n",
    b"\r\n1-0:1.8.0",
    b"\r\n1-0:1.8.3",
    b"\r\n1-0:2.8.6",
    b"\r\n1-0:2.8.9",
    b"\r\n1-1:1.7.0",
    b"\r\n1-0:1.7.0",
    b"\r\n1-0:1.7.0*255",
    b"\r\n1-0:2.7.0.255",
    b"\r\n1-0:16.7.0",
    b"\r\n1-0:21.7.0",
    b"\r\n1-0:32.7.0",
    b"\r\n1-0:31.7.0",
    b"\r\n1-0:1.4.0",
    b"\r\n1-0:2.4.0",
    b"\r\n1-0:1.6.0",
    b"\r\n1-0:2.6.0",
    b"\r\n0-0:17.0.0",
    b"\r\n1-0:31.4.0",
    b"\r\n0-0:96.3.10",
    b"\r\n0-0:96.7.21",
    b"\r\n0-0:1.0.0",
    b"\r\n0-0:96.1.1",
    b"\r\n0-0:96.13.0",
    b"\r\n0-0:98.1.0",
    b"\r\n1-0:99.97.0",
    b"\r\n0-0:24.2.1",
    b"\r\n0-1:24.1.0(003)",
    b"\r\n0-1:24.2.1",
    b"\r\n0-1:24.2.3",
    b"\r\n0-1:24.4.0",
    b"\r\n0-2:24.1.0(004)",
    b"\r\n0-2:24.2.1",
    b"\r\n0-3:24.3.0",
    b"\r\n0-5:24.2.1",
    b"(260102010000W)",
    b"(260102010000)",
    b"(000101010000W)",
    b"(632525252525W)",
    b"(000000000000W)",
    b"(00.318*kW)",
    b"(00.318*Kw)",
    b"(00.318)",
    b"(318)",
    b"(-00.318*kW)",
    b"(00.318*)",
    b"(260102*MW)",
    b"(230.1*V)",
    b"(0.005*kA)",
    b"(000123.456*KWH)",
    b"(123456789012345*Wh)",
    b"(00304.089*m3)",
    b"(00304089*l)",
    b"(00304.089*m\xB3)",
    b"(12.785*gj)",
    b"(190320181003W)(99999999.999*m3)",
    b"(99999999*GJ)(190320181003W)",
    b"(00304.089*ft3)",
    b"(1e9*kW)",
    b"(1.234567890123456789012345678*kWh)",
    b"(99999999999999999999999999999*A)",
    b"(999.99*A)",
    b"(99.999*kW)",
    b"(1)(1-0:1.6.0)(1-0:1.6.0)",
    b"(0000003231*s)",
    b"((1-0:1.8.0(1*kWh)",
    b"(00.1*kW",
    b"00.1*kW)",
];

#[test]
fn the_claims_hold_for_seeded_telegrams_of_odd_objects() {
    let mut pieces = ODD_OBJECTS.to_vec();
    pieces.push(b"\r\n!\r\n\0clockclo\xE8\x03/XYZ5\r\n");
    for seed in 0..1000 {
        let objects = mixed(seed, &pieces);
        for telegram in objects.split(|&byte| byte == 0) {
            parser::hold_for(&[b"/XYZ5\r\n", telegram, b"\r\n!\r\n"].concat());
        }
        aggregation::hold_for(&[b"\x0A\xFFclockclo\xE8\x03/XYZ5\r\n", &objects[..]].concat());
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

/// Heads of packets, whole packets, and parts of properties.
const PACKET_PIECES: [&[u8]; 22] = [
    b"\x20\x02\x00\x00",
    b"\x20\x03\x00\x00\x00",
    b"\x20\x0d\x00\x00\x0a\x21\x00\x0a\x27\x00\x00\x40\x00\x24\x01",
    b"\x20\x0a\x00\x87\x07\x1f\x00\x04\x1b[2J",
    b"\x40\x02\x00\x01",
    b"\x40\x03\x00\x01\x87",
    b"\x40\x0b\x00\x01\x97\x07\x1f\x00\x04no\r\n",
    b"\xd0\x00",
    b"\xe0\x00",
    b"\xe0\x01\x8b",
    b"\xe0\x09\x8e\x07\x1f\x00\x04\xc2\x9bxy",
    b"\x90\x04\x00\x01\x00\x01",
    b"\x90\x03\x00\x01\x01",
    b"\x32\x07\x00\x01a\x00\x02\x00x",
    b"\x30\x03\x00\x01a",
    b"\x40\xff\xff\x7f",
    b"\x26\x00\x01k\x00\x01v",
    b"\xff",
    b"\x00",
    b"\x80\x20",
    b"\x1f\xff\xff",
    b"\x13\x00\x00",
];

#[test]
fn the_claims_of_the_brokers_target_hold_for_seeded_packets() {
    let mut packets = 0;
    for seed in 0..20_000 {
        let bytes = mixed(seed, &PACKET_PIECES);
        packets += broker::hold_for(&bytes);
        packets += broker::hold_for(&[b"\x20\x02\x00\x00", &bytes[..]].concat());
        packets += broker::hold_for(&[b"\x20\x03\x00\x00\x00", &bytes[..]].concat());
    }
    assert!(
        packets > 50_000,
        "{packets} packets are hardly more than the first of each"
    );
}

//! A short, seeded run of what the fuzz targets for configuration and credentials claim.

#![expect(clippy::expect_used, reason = "a claim that does not hold ends the test")]

#[path = "../../tests/fuzz/claims/configuration.rs"]
mod configuration;
#[path = "../../tests/fuzz/claims/credentials.rs"]
mod credentials;
#[path = "../../tests/fuzz/claims/mixed.rs"]
mod mixed;
#[path = "../../tests/fuzz/claims/scratch.rs"]
mod scratch;

use mixed::mixed;

const FILE_PIECES: [&[u8]; 60] = [
    b"\n",
    b"\n",
    b"\n",
    b"\0",
    b"\0",
    b"mqtt:\n  ",
    b"  ",
    b"queue:\n  path: ",
    b"\n  address: ",
    b"\n  topic: ",
    b"send_interval: ",
    b"interval: 10\n",
    b"usb: ",
    b"usb: tcp://host:23\n",
    b"usb: \"file:a b\"\n",
    b"serial: auto\n",
    b"debug: yes\n",
    b"crc: off\n",
    b"crc: required\n",
    b"decryption_key: ",
    b"00112233445566778899aabbccddeeff",
    b"file:/nowhere",
    b"meter_timeout: 2m\n",
    b"localhost:1883",
    b"mqtts://[::1]:8883",
    b"user:password@host",
    b", ",
    b"[",
    b"]",
    b"{",
    b"}",
    b"\"",
    b"'",
    b"&a ",
    b"*a\n",
    b"<<: *a\n",
    b"- ",
    b"? ",
    b"!!binary ",
    b"|\n  ",
    b": ",
    b"#",
    b"\x1b[2J",
    "\u{9b}".as_bytes(),
    b"\xff",
    b"~",
    b"1e9",
    b"99999999999999999999",
    b"-1",
    b"0.5",
    b"  max_payload: 512KiB\n",
    b"  retention: forever\n",
    b"  max_size: 1GiB\n",
    b"  flush_interval: 0s\n",
    b"  summary_topic: a/b\n",
    b"  client_id: \"{queue} {hostname}\"\n",
    b"%YAML 1.1\n---\n",
    b"---\n",
    b"\xef\xbb\xbf",
    b"\r\n",
];

#[test]
fn the_claims_of_the_configurations_target_hold_for_seeded_files() {
    let seeds = (0..6_000).filter(|seed| configuration::hold_for(&mixed(*seed, &FILE_PIECES)));
    assert!(seeds.count() > 50, "hardly any file was a configuration");
}

const CREDENTIALS_PIECES: [&[u8]; 20] = [
    b"user",
    b"password",
    b"=",
    b":",
    b" ",
    b"\n",
    b"\r",
    b"\\",
    b"\\\n  ",
    b"\\u0041",
    b"\\uzzzz",
    b"#",
    b"!",
    b"\0",
    b"\0",
    b"${HOME}",
    b"\xe9",
    "\u{e9}".as_bytes(),
    b"\x1b[2J",
    b"\t\x0c",
];

#[test]
fn the_claims_of_the_credentials_target_hold_for_seeded_files() {
    for seed in 0..3_000 {
        credentials::hold_for(&mixed(seed, &CREDENTIALS_PIECES));
    }
}

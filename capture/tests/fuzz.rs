//! A short, seeded run of what the fuzz targets for the socket's frames and for stored blocks claim.

#[path = "../../tests/fuzz/claims/blocks.rs"]
mod blocks;
#[path = "../../tests/fuzz/claims/frames.rs"]
mod frames;
#[path = "../../tests/fuzz/claims/mixed.rs"]
mod mixed;

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

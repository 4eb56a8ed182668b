//! Input for the seeded, short runs of the claims.

/// Noise (splitmix64) mixed with pieces that matter to the code under test.
pub(crate) fn mixed(seed: u64, pieces: &[&[u8]]) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let mut next = move || {
        state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (state ^ state >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ mixed >> 31
    };
    let mut bytes = Vec::new();
    for _ in 0..next() % 120 {
        let pick = next() % (pieces.len() as u64 + 4);
        match pieces.get(pick as usize) {
            Some(piece) => bytes.extend_from_slice(piece),
            None => bytes.push(next().to_le_bytes()[0]),
        }
    }
    bytes
}

//! A short, seeded run of the fuzz target's claims, for every day.

#[path = "../../../tests/fuzz/claims/assembler.rs"]
mod claims;

use crate::meter::noise;

#[test]
fn the_claims_of_the_fuzz_target_hold_for_seeded_recipes() {
    let pieces: [&[u8]; 14] = [
        b"\r\n",
        b"/",
        b"!",
        b"\n!",
        b"\n/ISK5",
        b"\xaf",
        b"\x8d",
        b"\xdb\x08",
        b"\x82\x01\x00\x30",
        b"/ABC",
        b"!0000\r\n",
        b"\xdb\x08AAAAAAAA\x82\x00\x40\x30",
        b"1-0:1.7.0(1*kW)\r\n",
        b"!\r\n",
    ];
    for seed in 0..3000 {
        // Steps of a recipe whose bytes are noise mixed with what matters to the assembler.
        let choices = noise(200, seed);
        let mut recipe = choices[..2].to_vec();
        for choice in choices[2..].chunks(6) {
            let mut bytes: Vec<u8> = Vec::new();
            for pick in &choice[2.min(choice.len())..] {
                bytes.extend(
                    pieces
                        .get(usize::from(pick % 28))
                        .copied()
                        .unwrap_or(std::slice::from_ref(pick)),
                );
            }
            recipe.push(choice[0]);
            recipe.push(u8::try_from(bytes.len()).unwrap_or(u8::MAX));
            recipe.extend(bytes);
        }
        claims::hold_for(&recipe);
    }
}

//! The assembler at the end of a bad cable: of every dialect it accepts exactly the telegrams that the
//! cable spared, byte for byte, however the stream is cut into reads.

use std::collections::BTreeSet;

use shared::config::CrcPolicy;
use shared::telegram::assembler::{Assembler, Found};
use tests::household::Dialect;
use tests::household::dialect::Ending;
use tests::household::disturbance::{Cable, Disturbance, Rates};
use tests::household::random::Random;

use crate::installation::household;

/// Telegrams without disturbance at the beginning, in which the assembler learns what the meter is like.
const QUIET: usize = 20;

#[test]
fn exactly_the_spared_telegrams_of_every_dialect_are_accepted() {
    for dialect in Dialect::ALL {
        for seed in 0..4 {
            let has_crc = dialect.ending() != Ending::NoCrc;
            let rates = Rates {
                flipped: if has_crc { 80 } else { 0 },
                cut: 80,
                noise: 80,
            };
            let mut cable = Cable::new(seed, rates);
            let mut household = household(seed, dialect);
            let mut stream = Vec::new();
            let mut spared = Vec::new();
            let mut last = Disturbance::None;
            for n in 0..1_500 {
                let telegram = household.telegram();
                let (bytes, disturbance) = if n < QUIET {
                    (telegram.bytes.clone(), Disturbance::None)
                } else {
                    cable.carry(&telegram)
                };
                stream.extend(bytes);
                if disturbance.spares_the_telegram() {
                    spared.push((telegram.bytes, disturbance, last));
                }
                last = disturbance;
            }
            assert!(spared.len() < 1_450, "the cable was bad");
            let accepted = accepted(&stream, seed);
            let first = if dialect.ending() == Ending::X25 {
                spared.len().saturating_sub(accepted.len())
            } else {
                0
            };
            assert!(
                first < QUIET,
                "{dialect:?} of seed {seed}: {} of {}",
                accepted.len(),
                spared.len()
            );
            for (n, (accepted, (telegram, disturbance, before))) in
                accepted.iter().zip(&spared[first..]).enumerate()
            {
                assert!(
                    accepted == telegram,
                    "{dialect:?} of seed {seed}, number {n} ({disturbance:?} after {before:?}):\n{}\naccepted:\n{}",
                    String::from_utf8_lossy(telegram),
                    String::from_utf8_lossy(accepted)
                );
            }
            assert_eq!(accepted.len(), spared.len() - first, "{dialect:?} of seed {seed}");
        }
    }
}

/// What the assembler accepts of a stream that comes in reads of random length.
fn accepted(stream: &[u8], seed: u64) -> Vec<Vec<u8>> {
    let mut random = Random::new(seed);
    let mut assembler = Assembler::new(CrcPolicy::Auto, BTreeSet::new());
    let mut found = Vec::new();
    let mut rest = stream;
    while !rest.is_empty() {
        let (read, after) = rest.split_at(rest.len().min(1 + random.below(2_000) as usize));
        assembler.push(read, &mut found);
        rest = after;
    }
    assembler.finish(&mut found);
    found
        .into_iter()
        .filter_map(|found| match found {
            Found::Telegram(telegram) => Some(telegram.bytes),
            Found::Rejected(_) => None,
        })
        .collect()
}

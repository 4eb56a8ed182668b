//! What happens to telegrams on their way: flipped bytes, cut telegrams, noise between them. Seeded, and
//! it says which telegrams must still be accepted.

use super::Telegram;
use super::random::Random;

/// How often what happens, each out of a thousand telegrams.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Rates {
    /// One bit of the telegram, between `/` and the CRC, is flipped.
    pub flipped: u64,
    /// The telegram stops somewhere and the next begins.
    pub cut: u64,
    /// Bytes that are no telegram come before it.
    pub noise: u64,
}

/// What happened to a telegram.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Disturbance {
    /// Nothing: it must be accepted.
    None,
    /// A bit was flipped: it must be rejected.
    Flipped {
        /// Which byte.
        at: usize,
        /// Which bit.
        bit: u32,
    },
    /// It stopped after so many bytes: it must be rejected.
    Cut {
        /// Bytes that came.
        after: usize,
    },
    /// Noise came before it: it must be accepted all the same.
    Noise {
        /// Bytes of it.
        length: usize,
    },
}

impl Disturbance {
    /// Whether the telegram must be accepted.
    pub fn spares_the_telegram(self) -> bool {
        matches!(self, Self::None | Self::Noise { .. })
    }
}

/// A bad cable.
#[derive(Debug, Clone)]
pub struct Cable {
    random: Random,
    rates: Rates,
}

impl Cable {
    /// A cable that disturbs at these rates.
    pub fn new(seed: u64, rates: Rates) -> Self {
        Self {
            random: Random::new(seed ^ 0xCAB1E),
            rates,
        }
    }

    /// What comes out at the other end, and what happened on the way.
    pub fn carry(&mut self, telegram: &Telegram) -> (Vec<u8>, Disturbance) {
        let Self { random, rates } = self;
        let mut bytes = telegram.bytes.clone();
        if random.happens(rates.flipped, 1_000) {
            // Up to and including `!`: every single flipped bit there changes the CRC. Behind it, a flip
            // may turn one way of writing the same CRC into another.
            let end = bytes
                .iter()
                .rposition(|byte| *byte == b'!')
                .unwrap_or(bytes.len() - 1);
            let at = random.below(end as u64 + 1) as usize;
            let bit = random.below(8) as u32;
            bytes[at] ^= 1 << bit;
            (bytes, Disturbance::Flipped { at, bit })
        } else if random.happens(rates.cut, 1_000) {
            let after = 1 + random.below(bytes.len() as u64 - 8) as usize;
            bytes.truncate(after);
            // The line of a meter that stopped ends before the next telegram begins.
            bytes.extend_from_slice(b"\r\n");
            (bytes, Disturbance::Cut { after })
        } else if random.happens(rates.noise, 1_000) {
            let length = 1 + random.below(200) as usize;
            let mut noisy: Vec<u8> = (0..length).map(|_| noise_byte(random)).collect();
            noisy.extend_from_slice(b"\r\n");
            noisy.extend_from_slice(&bytes);
            (noisy, Disturbance::Noise { length })
        } else {
            (bytes, Disturbance::None)
        }
    }
}

/// What a reader at 8N1 sees of a line at 7E1: each character with its parity in the top bit.
pub fn with_even_parity(bytes: &[u8]) -> Vec<u8> {
    bytes
        .iter()
        .map(|byte| {
            if byte.count_ones() % 2 == 1 {
                byte | 0x80
            } else {
                *byte
            }
        })
        .collect()
}

/// Any byte, but none that begins or ends a telegram: this is the noise of a line, not an attack.
fn noise_byte(random: &mut Random) -> u8 {
    loop {
        let byte = random.below(256) as u8;
        if !matches!(byte, b'/' | b'!' | 0xDB) {
            return byte;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Dialect, Household, Settings, crc};
    use super::*;

    #[test]
    fn every_disturbance_happens_and_only_those_that_spare_the_telegram_leave_its_crc_right() {
        let household = Household::new(Settings::seeded(5, Dialect::Dsmr5));
        let mut cable = Cable::new(
            5,
            Rates {
                flipped: 100,
                cut: 100,
                noise: 100,
            },
        );
        let mut seen = [0; 4];
        for telegram in household.take(2_000) {
            let (bytes, disturbance) = cable.carry(&telegram);
            let is_whole = bytes.ends_with(&telegram.bytes);
            assert_eq!(is_whole, disturbance.spares_the_telegram(), "{disturbance:?}");
            seen[match disturbance {
                Disturbance::None => 0,
                Disturbance::Flipped { .. } => 1,
                Disturbance::Cut { .. } => 2,
                Disturbance::Noise { .. } => 3,
            }] += 1;
            let end = telegram.bytes.len() - 6;
            let written = format!("{:04X}", crc::arc(&telegram.bytes[..end]));
            assert_eq!(written.as_bytes(), &telegram.bytes[end..end + 4]);
        }
        assert!(seen.iter().all(|count| *count > 100), "{seen:?}");
    }
}

//! Randomness for the jitter of back-off. Nothing depends on its quality.

use std::hash::{BuildHasher, Hasher, RandomState};

/// Uniform over all of `u32`: the standard library seeds its hasher from the system.
pub(crate) fn random() -> u32 {
    (RandomState::new().build_hasher().finish() >> 32) as u32
}

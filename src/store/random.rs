//! A small random generator for sampling keys and elements. Not for secrets.

use std::hash::{BuildHasher, RandomState};

/// SplitMix64 (Steele, Lea, Flood, "Fast splittable pseudorandom number generators").
#[derive(Debug)]
pub struct Rng(u64);

impl Rng {
    pub(super) fn from_entropy() -> Rng {
        Rng(RandomState::new().hash_one(0))
    }

    /// Another generator, independent of this one, for whoever cannot hold on to this one.
    pub fn split(&mut self) -> Rng {
        Rng(self.next_u64())
    }

    #[inline]
    pub fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Uniform below `bound`, which is not zero (bias below 2^-32 for any bound that fits in memory).
    #[inline]
    pub fn below(&mut self, bound: u64) -> u64 {
        debug_assert!(bound > 0);
        ((self.next_u64() as u128 * bound as u128) >> 64) as u64
    }

    /// Uniform in [0, 1).
    pub fn unit(&mut self) -> f64 {
        (self.next_u64() >> 11) as f64 / (1u64 << 53) as f64
    }
}

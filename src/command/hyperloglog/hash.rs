//! Which register an element counts in, and how high it would set it.

use super::layout::{REGISTERS, REGISTER_BITS};

/// Bits of the hash in which zeros are counted.
pub const COUNTED_BITS: u32 = 64 - REGISTER_BITS;

const SEED: u64 = 0xadc8_3b19;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pattern {
    pub register: usize,
    /// The zeros in front of the first one of the hash, and that one: 1 to `COUNTED_BITS` + 1.
    pub count: u8,
}

impl Pattern {
    pub fn of(element: &[u8]) -> Pattern {
        let hash = murmur_hash_64a(element, SEED);
        // A one at the end, for a hash that has none.
        let counted = hash >> REGISTER_BITS | 1 << COUNTED_BITS;
        Pattern { register: (hash % REGISTERS as u64) as usize, count: counted.trailing_zeros() as u8 + 1 }
    }
}

/// MurmurHash2, the 64-bit version for 64-bit machines, by Austin Appleby (public domain).
fn murmur_hash_64a(bytes: &[u8], seed: u64) -> u64 {
    const M: u64 = 0xc6a4_a793_5bd1_e995;
    const R: u32 = 47;
    let mut hash = seed ^ (bytes.len() as u64).wrapping_mul(M);
    let (words, rest) = bytes.as_chunks::<8>();
    for word in words {
        let mut k = u64::from_le_bytes(*word).wrapping_mul(M);
        k ^= k >> R;
        hash = (hash ^ k.wrapping_mul(M)).wrapping_mul(M);
    }
    if !rest.is_empty() {
        let mut last = [0; 8];
        last[..rest.len()].copy_from_slice(rest);
        hash = (hash ^ u64::from_le_bytes(last)).wrapping_mul(M);
    }
    hash ^= hash >> R;
    hash = hash.wrapping_mul(M);
    hash ^ hash >> R
}

//! The header of a HyperLogLog value, 16 bytes in front of the registers:
//!
//! ```text
//! 0     4   5        8            16
//! HYLL  E   0  0  0  C C C C C C C C  registers
//! ```
//!
//! `E` is the encoding. `C` is the count when it was last asked for, little endian; its top bit says that registers have
//! changed since.

use std::ops::Range;

use super::CommandError;

/// 2^14: the standard error is 0.81%.
pub const REGISTERS: usize = 1 << REGISTER_BITS;
/// Bits of an element's hash that choose its register.
pub const REGISTER_BITS: u32 = 14;

/// All registers, a byte for each.
pub type Registers = [u8; REGISTERS];

pub const HEADER_BYTES: usize = 16;
const MAGIC: &[u8; 4] = b"HYLL";
const ENCODING: usize = 4;
const COUNT: Range<usize> = 8..HEADER_BYTES;
const COUNT_IS_STALE: u8 = 0x80;

/// Registers take six bits each.
pub const DENSE_BYTES: usize = HEADER_BYTES + REGISTERS * 6 / 8;

const DENSE: u8 = 0;
const SPARSE: u8 = 1;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    Dense,
    Sparse,
}

/// What counts nothing: sparse, one run of zeros, and the remembered count 0.
pub const EMPTY: [u8; HEADER_BYTES + 2] =
    [b'H', b'Y', b'L', b'L', SPARSE, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x7f, 0xff];

pub fn not_a_hyperloglog() -> CommandError {
    CommandError::other("WRONGTYPE Key is not a valid HyperLogLog string value.")
}

pub fn corrupted() -> CommandError {
    CommandError::other("INVALIDOBJ Corrupted HLL object detected")
}

/// Refuses a string that cannot be a HyperLogLog. One that passes may still have corrupted sparse registers.
pub fn check(value: &[u8]) -> Result<Encoding, CommandError> {
    if value.len() < HEADER_BYTES || !value.starts_with(MAGIC) {
        return Err(not_a_hyperloglog());
    }
    match value[ENCODING] {
        DENSE if value.len() == DENSE_BYTES => Ok(Encoding::Dense),
        SPARSE => Ok(Encoding::Sparse),
        _ => Err(not_a_hyperloglog()),
    }
}

/// Of a value that has been checked.
pub fn encoding(value: &[u8]) -> Encoding {
    match value[ENCODING] {
        SPARSE => Encoding::Sparse,
        _ => Encoding::Dense,
    }
}

/// An empty dense value with the header of a sparse one.
pub fn dense_with_header_of(value: &[u8]) -> Vec<u8> {
    let mut dense = vec![0; DENSE_BYTES];
    dense[..HEADER_BYTES].copy_from_slice(&value[..HEADER_BYTES]);
    dense[ENCODING] = DENSE;
    dense
}

/// The count, unless registers have changed since it was taken.
pub fn remembered_count(value: &[u8]) -> Option<i64> {
    let mut count = [0; 8];
    count.copy_from_slice(&value[COUNT]);
    (count[7] & COUNT_IS_STALE == 0).then(|| i64::from_le_bytes(count))
}

pub fn remember_count(value: &mut [u8], count: i64) {
    value[COUNT].copy_from_slice(&count.to_le_bytes());
}

pub fn forget_count(value: &mut [u8]) {
    value[COUNT.end - 1] |= COUNT_IS_STALE;
}

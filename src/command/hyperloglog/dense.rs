//! The dense encoding: 16,384 registers of six bits, packed from the least significant bit of each byte on, so that four
//! registers are three bytes read as one little-endian number.
//!
//! Every function here takes a whole value, header included, that `layout::check` found to be dense.

use super::estimate::Histogram;
use super::layout::{Registers, DENSE_BYTES, HEADER_BYTES};

const REGISTER_MAX: u32 = 0x3f;

/// The byte in which a register begins, and at which bit.
fn place(register: usize) -> (usize, usize) {
    (HEADER_BYTES + register * 6 / 8, register * 6 % 8)
}

pub fn get(value: &[u8], register: usize) -> u8 {
    let (at, shift) = place(register);
    // The last register ends with the last byte.
    let next = value.get(at + 1).copied().unwrap_or(0);
    (u16::from_le_bytes([value[at], next]) >> shift) as u8 & REGISTER_MAX as u8
}

pub fn set(value: &mut [u8], register: usize, count: u8) {
    let (at, shift) = place(register);
    let mask = (REGISTER_MAX << shift) as u16;
    let bits = u16::from(count) << shift;
    let [low, high] = mask.to_le_bytes();
    value[at] = value[at] & !low | bits as u8;
    if high != 0 {
        value[at + 1] = value[at + 1] & !high | (bits >> 8) as u8;
    }
}

/// All registers in order, four at a time.
fn quads(value: &[u8]) -> impl Iterator<Item = [u8; 4]> + '_ {
    let (packed, _) = value[HEADER_BYTES..DENSE_BYTES].as_chunks::<3>();
    packed.iter().map(|&[a, b, c]| {
        let bits = u32::from_le_bytes([a, b, c, 0]);
        [0, 6, 12, 18].map(|shift| (bits >> shift & REGISTER_MAX) as u8)
    })
}

pub fn histogram(value: &[u8]) -> Histogram {
    let mut histogram = Histogram::default();
    for quad in quads(value) {
        for count in quad {
            histogram.add(count, 1);
        }
    }
    histogram
}

/// Raises `registers` to those of the value.
pub fn merge(value: &[u8], registers: &mut Registers) {
    let (quads_of, _) = registers.as_chunks_mut::<4>();
    for (registers, quad) in quads_of.iter_mut().zip(quads(value)) {
        for (register, count) in registers.iter_mut().zip(quad) {
            *register = count.max(*register);
        }
    }
}

/// Sets all registers.
pub fn assign(value: &mut [u8], registers: &Registers) {
    let (packed, _) = value[HEADER_BYTES..DENSE_BYTES].as_chunks_mut::<3>();
    let (quads, _) = registers.as_chunks::<4>();
    for (packed, &[a, b, c, d]) in packed.iter_mut().zip(quads) {
        let bits = u32::from(a) | u32::from(b) << 6 | u32::from(c) << 12 | u32::from(d) << 18;
        packed.copy_from_slice(&bits.to_le_bytes()[..3]);
    }
}

#[cfg(test)]
mod tests {
    use super::super::layout::{dense_with_header_of, EMPTY, REGISTERS};
    use super::*;

    #[test]
    fn registers_hold_their_value_and_leave_their_neighbours_alone() {
        let mut value = dense_with_header_of(&EMPTY);
        let mut registers = [0; REGISTERS];
        let pattern = |i: usize| (i * 31 % 64) as u8;
        for i in 0..REGISTERS {
            // From the middle outwards in both directions, so that both neighbours are set before and after.
            let register = (i * 4099) % REGISTERS;
            set(&mut value, register, 63);
            set(&mut value, register, pattern(register));
            registers[register] = pattern(register);
        }
        let mut histogram_expected = Histogram::default();
        for (register, &count) in registers.iter().enumerate() {
            assert_eq!(get(&value, register), count, "{register}");
            histogram_expected.add(count, 1);
        }
        let mut merged = [0; REGISTERS];
        merge(&value, &mut merged);
        assert_eq!(merged, registers);
        assert_eq!(histogram(&value), histogram_expected);
        let mut assigned = dense_with_header_of(&EMPTY);
        assign(&mut assigned, &registers);
        assert_eq!(assigned, value);
    }
}

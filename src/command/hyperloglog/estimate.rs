//! The number of elements that registers speak of.
//!
//! Otmar Ertl, "New cardinality estimation algorithms for HyperLogLog sketches" (arXiv:1702.01284), algorithm 6: the estimate
//! depends only on how many registers have each value. The order of the operations is Redis's, so that the last bit of each
//! sum, and with it each count, is too.

use super::hash::COUNTED_BITS;
use super::layout::{Registers, REGISTERS};

/// 1 / (2 ln 2)
const ALPHA: f64 = 0.721_347_520_444_481_7;

/// How many registers have each value. Corrupted ones may have values that no element leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Histogram([u32; 64]);

impl Default for Histogram {
    fn default() -> Histogram {
        Histogram([0; 64])
    }
}

impl Histogram {
    pub fn of(registers: &Registers) -> Histogram {
        let mut histogram = Histogram::default();
        for &count in registers {
            histogram.add(count, 1);
        }
        histogram
    }

    /// Adds registers of the same value, which is below 64.
    #[inline]
    pub fn add(&mut self, count: u8, registers: usize) {
        self.0[usize::from(count & 63)] += registers as u32;
    }

    pub fn estimate(&self) -> i64 {
        let m = REGISTERS as f64;
        let [zeros, counts @ ..] = &self.0;
        let (counts, above) = counts.split_at(COUNTED_BITS as usize);
        let mut z = m * tau((m - f64::from(above[0])) / m);
        for &registers in counts.iter().rev() {
            z += f64::from(registers);
            z *= 0.5;
        }
        z += m * sigma(f64::from(*zeros) / m);
        let estimate = ALPHA * m * m / z;
        if estimate.is_finite() {
            estimate.round() as i64
        } else {
            // Only corrupted registers come to this; then it is what C's llroundl makes of infinity on x86.
            i64::MIN
        }
    }
}

/// x^1 + x^2 + 2 x^4 + 4 x^8 + ...: converges within some tens of steps.
fn sigma(mut x: f64) -> f64 {
    if x == 1.0 {
        return f64::INFINITY;
    }
    let (mut y, mut z) = (1.0, x);
    loop {
        x *= x;
        let before = z;
        z += x * y;
        y += y;
        if z == before {
            return z;
        }
    }
}

/// Converges within some tens of steps.
fn tau(mut x: f64) -> f64 {
    if x == 0.0 || x == 1.0 {
        return 0.0;
    }
    let (mut y, mut z) = (1.0, 1.0 - x);
    loop {
        x = x.sqrt();
        let before = z;
        y *= 0.5;
        z -= (1.0 - x) * (1.0 - x) * y;
        if z == before {
            return z / 3.0;
        }
    }
}

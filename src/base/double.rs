//! The decimal text of a double, as Redis 7.2 writes it in replies (ZSCORE, INCRBYFLOAT's RESP3 form and others).
//!
//! Clients and scripts compare these texts, so they must be Redis's to the byte. Redis 7.2 prints the digits
//! that Grisu2 finds (Florian Loitsch, "Printing Floating-Point Numbers Quickly and Accurately with Integers",
//! 2010): they always read back as the same double and are nearly always the shortest that do. Nearly: that is
//! why no library that finds the shortest ones can be used here.

pub use super::double_printf::format_double_17g;

use super::double_powers::{binary_exponent, FIRST_EXPONENT, SIGNIFICANDS, STEP};

/// The longest text is a sign, 17 digits and 7 zeros.
const TEXT_LEN_MAX: usize = 32;
const DIGITS_MAX: usize = 20;

const FRACTION_BITS: u32 = 52;
const HIDDEN_BIT: u64 = 1 << FRACTION_BITS;
/// Exponents are those of the significand read as an integer.
const EXPONENT_BIAS: i32 = 1023 + FRACTION_BITS as i32;

/// Whole numbers up to this are printed as such; it is exact.
const INTEGER_MAX: f64 = (i64::MAX / 2) as f64;

/// The text of a double; short, and kept without an allocation.
#[derive(Clone, Copy)]
pub struct DoubleText {
    bytes: [u8; TEXT_LEN_MAX],
    len: u8,
}

impl DoubleText {
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }

    pub fn as_str(&self) -> &str {
        std::str::from_utf8(self.as_bytes()).unwrap_or_default()
    }

    fn push(&mut self, bytes: &[u8]) {
        let start = usize::from(self.len);
        self.bytes[start..start + bytes.len()].copy_from_slice(bytes);
        self.len += bytes.len() as u8;
    }

    fn push_zeros(&mut self, count: usize) {
        self.push(&[b'0'; TEXT_LEN_MAX][..count]);
    }
}

impl std::ops::Deref for DoubleText {
    type Target = str;
    fn deref(&self) -> &str {
        self.as_str()
    }
}

impl std::fmt::Debug for DoubleText {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?}", self.as_str())
    }
}

/// `inf`, `-inf`, `nan`, `0`, `-0`, whole numbers below 2^62 with all their digits, anything else in as few
/// digits as Grisu2 finds: `0.1`, `3.14e-7`, `1e+300`.
pub fn format_double(value: f64) -> DoubleText {
    if value != 0.0 && value.abs() <= INTEGER_MAX && value.trunc() == value {
        let mut text = DoubleText { bytes: [0; TEXT_LEN_MAX], len: 0 };
        text.push(itoa::Buffer::new().format(value as i64).as_bytes());
        return text;
    }
    format_double_digits(value)
}

/// As [`format_double`], but large whole numbers are no exception: `5e+9`. Redis has this form in fingerprints of values.
pub fn format_double_digits(value: f64) -> DoubleText {
    let mut text = DoubleText { bytes: [0; TEXT_LEN_MAX], len: 0 };
    if value.is_nan() {
        text.push(b"nan");
    } else if value.is_infinite() {
        text.push(if value < 0.0 { b"-inf" } else { b"inf" });
    } else if value == 0.0 {
        text.push(if value.is_sign_negative() { b"-0" } else { b"0" });
    } else {
        if value < 0.0 {
            text.push(b"-");
        }
        Decimal::of(value.abs()).write(&mut text, value < 0.0);
    }
    text
}

/// `significand * 2^exponent`.
#[derive(Clone, Copy)]
struct Binary {
    significand: u64,
    exponent: i32,
}

impl Binary {
    /// `value` is positive and finite.
    fn of(value: f64) -> Self {
        let fraction = value.to_bits() & (HIDDEN_BIT - 1);
        match (value.to_bits() >> FRACTION_BITS) as i32 {
            0 => Binary { significand: fraction, exponent: 1 - EXPONENT_BIAS },
            exponent => Binary { significand: fraction | HIDDEN_BIT, exponent: exponent - EXPONENT_BIAS },
        }
    }

    /// The same number with the highest bit of the significand set.
    fn normalized(self) -> Self {
        let shift = self.significand.leading_zeros();
        Binary { significand: self.significand << shift, exponent: self.exponent - shift as i32 }
    }

    /// The numbers halfway to the next double below and above, the upper one normalized and the lower one with
    /// the same exponent. Below a power of two doubles lie twice as dense.
    fn boundaries(self) -> (Self, Self) {
        let upper =
            Binary { significand: (self.significand << 1) + 1, exponent: self.exponent - 1 }.normalized();
        let shift = if self.significand == HIDDEN_BIT { 2 } else { 1 };
        let lower = ((self.significand << shift) - 1) << (self.exponent - shift - upper.exponent);
        (Binary { significand: lower, exponent: upper.exponent }, upper)
    }

    /// The product, rounded to 64 bits.
    fn times(self, other: Self) -> Self {
        let product = u128::from(self.significand) * u128::from(other.significand);
        Binary {
            significand: ((product + (1 << 63)) >> 64) as u64,
            exponent: self.exponent + other.exponent + 64,
        }
    }
}

/// A power of ten that brings a normalized number of this binary exponent to an exponent of -60 to -32, so that its
/// whole part fits 32 bits; and its decimal exponent. Where two would do, Redis's choice.
fn scaling_power(exponent: i32) -> (Binary, i32) {
    const LOG10_OF_2: f64 = 0.301_029_995_663_981_14;
    let estimate = (-f64::from(exponent + SIGNIFICANDS.len() as i32) * LOG10_OF_2) as i32;
    let mut index = ((estimate - FIRST_EXPONENT) / STEP).clamp(0, SIGNIFICANDS.len() as i32 - 1) as usize;
    // The estimate is at most one entry off.
    loop {
        let power = Binary { significand: SIGNIFICANDS[index], exponent: binary_exponent(index) };
        match exponent + power.exponent + 64 {
            ..-60 if index + 1 < SIGNIFICANDS.len() => index += 1,
            -31.. if index > 0 => index -= 1,
            _ => return (power, FIRST_EXPONENT + STEP * index as i32),
        }
    }
}

/// `0.digits` would be a fraction: the number is the digits read as an integer, times `10^exponent`.
struct Decimal {
    digits: [u8; DIGITS_MAX],
    len: usize,
    exponent: i32,
}

impl Decimal {
    /// Grisu2. `value` is positive and finite.
    fn of(value: f64) -> Self {
        let binary = Binary::of(value);
        let (lower, upper) = binary.boundaries();
        let (power, power_exponent) = scaling_power(upper.exponent);
        let exact = binary.normalized().times(power);
        let mut upper = upper.times(power);
        let mut lower = lower.times(power);
        // The products may be off by one: stay inside for sure.
        upper.significand -= 1;
        lower.significand += 1;
        let mut decimal = Decimal { digits: [0; DIGITS_MAX], len: 0, exponent: -power_exponent };
        decimal.generate(upper, upper.significand - exact.significand, upper.significand - lower.significand);
        decimal
    }

    /// Writes digits of `upper` until what is left is within `width`, then steps the last digit down towards the
    /// number itself, which lies `distance` below `upper`.
    fn generate(&mut self, upper: Binary, distance: u64, mut width: u64) {
        let shift = -upper.exponent as u32;
        let fraction_mask = (1u64 << shift) - 1;
        let mut whole = upper.significand >> shift;
        let mut fraction = upper.significand & fraction_mask;
        for kappa in (0..10).rev() {
            let unit = 10u64.pow(kappa);
            self.push(whole / unit);
            whole %= unit;
            let rest = (whole << shift) + fraction;
            if rest <= width {
                self.exponent += kappa as i32;
                return self.round(width, rest, unit << shift, distance);
            }
        }
        let mut unit = 1u64;
        // Ends: `width` grows tenfold each time and `fraction` stays below 2^60.
        loop {
            fraction = fraction.wrapping_mul(10);
            width = width.wrapping_mul(10);
            unit = unit.wrapping_mul(10);
            self.exponent -= 1;
            self.push(fraction >> shift);
            fraction &= fraction_mask;
            if fraction < width || self.len == DIGITS_MAX {
                return self.round(width, fraction, fraction_mask + 1, distance.wrapping_mul(unit));
            }
        }
    }

    /// Leading zeros are dropped.
    fn push(&mut self, digit: u64) {
        if digit != 0 || self.len != 0 {
            self.digits[self.len] = b'0' + digit as u8;
            self.len += 1;
        }
    }

    fn round(&mut self, width: u64, mut rest: u64, unit: u64, distance: u64) {
        let Some(last) = self.digits[..self.len].last_mut() else {
            return;
        };
        while rest < distance
            && width - rest >= unit
            && (rest + unit < distance || distance - rest > rest + unit - distance)
        {
            *last -= 1;
            rest += unit;
        }
    }

    /// Plain when that is short, otherwise with an exponent of at least one digit and always a sign.
    fn write(&self, text: &mut DoubleText, negative: bool) {
        let digits = &self.digits[..self.len];
        let magnitude = self.exponent + self.len as i32 - 1;
        if self.exponent >= 0 && magnitude.unsigned_abs() < self.len as u32 + 7 {
            text.push(digits);
            text.push_zeros(self.exponent as usize);
        } else if self.exponent < 0 && (self.exponent > -7 || magnitude.unsigned_abs() < 4) {
            let decimals = self.exponent.unsigned_abs() as usize;
            if self.len <= decimals {
                text.push(b"0.");
                text.push_zeros(decimals - self.len);
                text.push(digits);
            } else {
                let (whole, fraction) = digits.split_at(self.len - decimals);
                text.push(whole);
                text.push(b".");
                text.push(fraction);
            }
        } else {
            let digits = &digits[..self.len.min(18 - usize::from(negative))];
            text.push(&digits[..1]);
            if digits.len() > 1 {
                text.push(b".");
                text.push(&digits[1..]);
            }
            text.push(if magnitude < 0 { b"e-" } else { b"e+" });
            text.push(itoa::Buffer::new().format(magnitude.unsigned_abs()).as_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Texts that Redis 7.2.6 gives.
    #[test]
    fn texts_are_those_of_redis() {
        let cases: &[(f64, &str)] = &[
            (0.0, "0"),
            (-0.0, "-0"),
            (f64::INFINITY, "inf"),
            (f64::NEG_INFINITY, "-inf"),
            (f64::NAN, "nan"),
            (-f64::NAN, "nan"),
            (1.0, "1"),
            (-17.0, "-17"),
            (3.5, "3.5"),
            (0.1, "0.1"),
            (-0.1, "-0.1"),
            (1e15, "1000000000000000"),
            (4611686018427387904.0, "4611686018427387904"),
            (-4611686018427387904.0, "-4611686018427387904"),
            (4611686018427388928.0, "4611686018427389000"),
            (6963663114552178000.0, "6963663114552178000"),
            (1e20, "1e+20"),
            (1.5e300, "1.5e+300"),
            (767027.236, "767027.236"),
            (-522219.755, "-522219.755"),
            (-8.670854060000001e+5, "-8.670854060000001e+5"),
            (4.819839730205769e-181, "4.819839730205769e-181"),
            (0.0001, "0.0001"),
            (1e-7, "1e-7"),
            (1.25e-7, "1.25e-7"),
            (f64::MAX, "1.7976931348623157e+308"),
            (f64::MIN_POSITIVE, "2.2250738585072014e-308"),
            (5e-324, "5e-324"),
            // Not the shortest digits, or not the closest.
            (239151396479516.88, "239151396479516.87"),
            (-7.488274221796829, "-7.4882742217968294"),
            (-3.444418313650998e-109, "-3.4444183136509978e-109"),
            (2.4758800785707605e+27, "2.4758800785707606e+27"),
        ];
        for (value, expected) in cases {
            assert_eq!(format_double(*value).as_str(), *expected);
        }
    }

    proptest! {
        #[test]
        fn the_text_reads_back_as_the_same_double(bits: u64) {
            let value = f64::from_bits(bits);
            prop_assume!(value.is_finite());
            let text = format_double(value);
            prop_assert_eq!(text.parse::<f64>().unwrap().to_bits(), value.to_bits(), "{:?}", text);
        }
    }

    #[test]
    fn every_exponent_reads_back() {
        for exponent in 0..2047u64 {
            for fraction in [0, 1, HIDDEN_BIT / 3, HIDDEN_BIT - 1] {
                for sign in [0, 1 << 63] {
                    let value = f64::from_bits(sign | exponent << FRACTION_BITS | fraction);
                    assert_eq!(format_double(value).parse::<f64>().unwrap().to_bits(), value.to_bits());
                }
            }
        }
    }
}

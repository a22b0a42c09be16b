//! The number that INCRBYFLOAT and HINCRBYFLOAT compute with: C's `long double` as x86-64 has it.
//!
//! Redis parses both numbers with `strtold`, adds them in the x87 unit's 80-bit format (a 64-bit mantissa) and prints the
//! sum with `%.17Lf`, trailing zeros removed. Clients and replicas see these digits, so that 3.0 + 1.1 must print as
//! `4.1` and large sums must end where Redis's end. Rust has neither the type nor access to the C functions, so the
//! format is done here in integers: parse exactly and round once, add and round once, print exactly and round once, each
//! time to nearest, ties to even.
//!
//! Values are `mantissa * 2^exponent`. Only what is needed exists: parse, add, print, and for the timeouts of blocking
//! commands, which Redis computes in the same format, seconds as milliseconds.

/// Inputs at least this long are not numbers, as in Redis (the size of its buffer).
const TEXT_LEN_MAX: usize = 5 * 1024;

const MANTISSA_BITS: i32 = 64;
/// Exponent of a mantissa's lowest bit in the smallest (denormal) numbers: 2^-16445.
const EXPONENT_MIN: i32 = -16_445;
/// The same in the largest numbers: (2^64 - 1) * 2^16320 is the largest finite one.
const EXPONENT_MAX: i32 = 16_320;
/// 10^4933 is beyond the largest finite number, 10^-4952 below half of the smallest one.
const DECIMAL_EXPONENT_MAX: i64 = 4_933;
const DECIMAL_EXPONENT_MIN: i64 = -4_952;
/// What an exponent in the text saturates at; far beyond where it matters, even for the longest text.
const TEXT_EXPONENT_MAX: i64 = 1_000_000;

/// Digits after the point that are printed before trailing zeros are removed.
const DECIMALS: usize = 17;
const TEN_TO_DECIMALS: u128 = 10u128.pow(DECIMALS as u32);

/// A power of ten that fits a limb, to move digits in and out of a `Big` in groups.
const GROUP: u64 = 10_000_000_000_000_000_000;
const GROUP_DIGITS: usize = 19;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LongDouble {
    /// `mantissa` has its top bit set, unless `exponent` is `EXPONENT_MIN` or the number is zero (exponent 0).
    Finite {
        negative: bool,
        mantissa: u64,
        exponent: i32,
    },
    Infinite {
        negative: bool,
    },
    /// The sum of two opposite infinities. Never parsed: the text "nan" is not a number to Redis.
    NotANumber,
}

use LongDouble::{Finite, Infinite, NotANumber};

impl LongDouble {
    pub const ZERO: LongDouble = Finite { negative: false, mantissa: 0, exponent: 0 };

    /// Reads what Redis's `string2ld` accepts: the whole text is one number of `strtold`'s (decimal or hexadecimal, signs,
    /// "inf", "infinity"), with no space around it, neither too large nor too small to represent. None: not a valid float.
    pub fn parse(text: &[u8]) -> Option<LongDouble> {
        if text.is_empty() || text.len() >= TEXT_LEN_MAX {
            return None;
        }
        let (negative, digits) = match text[0] {
            b'-' => (true, &text[1..]),
            b'+' => (false, &text[1..]),
            _ => (false, text),
        };
        if digits.eq_ignore_ascii_case(b"inf") || digits.eq_ignore_ascii_case(b"infinity") {
            return Some(Infinite { negative });
        }
        let (value, is_zero) = match digits {
            [b'0', b'x' | b'X', hexadecimal @ ..] => parse_hexadecimal(negative, hexadecimal)?,
            _ => parse_decimal(negative, digits)?,
        };
        match value {
            Finite { mantissa: 0, .. } if !is_zero => None,
            Finite { .. } => Some(value),
            Infinite { .. } | NotANumber => None,
        }
    }

    pub fn is_finite(self) -> bool {
        matches!(self, Finite { .. })
    }

    /// The sum, rounded to the nearest representable number.
    pub fn plus(self, other: LongDouble) -> LongDouble {
        match (self, other) {
            (NotANumber, _) | (_, NotANumber) => NotANumber,
            (Infinite { negative: a }, Infinite { negative: b }) if a != b => NotANumber,
            (infinite @ Infinite { .. }, _) | (_, infinite @ Infinite { .. }) => infinite,
            (
                Finite { negative: a_negative, mantissa: a, exponent: a_exponent },
                Finite { negative: b_negative, mantissa: b, exponent: b_exponent },
            ) => {
                if a == 0 {
                    return other;
                }
                if b == 0 {
                    return self;
                }
                if (a_exponent, a) < (b_exponent, b) {
                    return other.plus(self);
                }
                // 62 bits of room below the larger number and one above it for the carry. What the smaller number loses
                // beyond that is remembered in its lowest bit: it can only decide a rounding, because when leading
                // bits cancel by more than one place the exponents differ by at most one and nothing was lost.
                const ROOM: u32 = 62;
                let wide_a = u128::from(a) << ROOM;
                let full_b = u128::from(b) << ROOM;
                let distance = a_exponent.abs_diff(b_exponent).min(127);
                let lost = full_b & ((1u128 << distance) - 1) != 0;
                let wide_b = (full_b >> distance) | u128::from(lost);
                let sum = if a_negative == b_negative { wide_a + wide_b } else { wide_a - wide_b };
                round(a_negative, sum, a_exponent - ROOM as i32, false)
            }
        }
    }

    /// A number of seconds in milliseconds, rounded up. None: above the largest integer. Below the smallest one, that.
    pub fn seconds_to_ms(self) -> Option<i64> {
        let (negative, mantissa, exponent) = match self {
            NotANumber | Infinite { negative: false } => return None,
            Infinite { negative: true } => return Some(i64::MIN),
            // Rounded to the format's 64 bits, as by the x87's multiplication.
            Finite { negative, mantissa, exponent } => {
                match round(negative, u128::from(mantissa) * 1000, exponent, false) {
                    Finite { negative, mantissa, exponent } => (negative, mantissa, exponent),
                    _ => return if negative { Some(i64::MIN) } else { None },
                }
            }
        };
        let whole = match exponent {
            // The lowest bit of a mantissa with its top bit set counts more than 1: beyond 2^64.
            1.. if mantissa != 0 => None,
            0.. => Some(mantissa),
            _ => {
                let shift = exponent.unsigned_abs();
                let floor = mantissa.checked_shr(shift).unwrap_or(0);
                let has_rest = floor.checked_shl(shift).unwrap_or(0) != mantissa;
                Some(floor + u64::from(has_rest && !negative))
            }
        };
        match whole.map(i64::try_from) {
            Some(Ok(ms)) if negative => Some(-ms),
            Some(Ok(ms)) => Some(ms),
            _ if negative => Some(i64::MIN),
            _ => None,
        }
    }

    /// The text Redis stores and answers: 17 decimals, without trailing zeros, without a sign before zero.
    pub fn to_text(self) -> String {
        let (negative, mantissa, exponent) = match self {
            Infinite { negative } => return if negative { "-inf" } else { "inf" }.to_owned(),
            NotANumber => return "nan".to_owned(),
            Finite { negative, mantissa, exponent } => (negative, mantissa, exponent),
        };
        let mut text = if exponent >= 0 {
            let mut integer = Big::from(u128::from(mantissa));
            integer.shift_left(exponent as usize);
            integer.to_text()
        } else {
            // Below 2^121, and a shift by 128 or more leaves less than half.
            let scaled = u128::from(mantissa) * TEN_TO_DECIMALS;
            let units = shift_right_to_nearest(scaled, exponent.unsigned_abs(), false);
            let (integer, decimals) = (units / TEN_TO_DECIMALS, units % TEN_TO_DECIMALS);
            let text = format!("{integer}.{decimals:0DECIMALS$}");
            text.trim_end_matches('0').trim_end_matches('.').to_owned()
        };
        if negative && text != "0" {
            text.insert(0, '-');
        }
        text
    }
}

/// The number nearest to `(mantissa + something below one, if sticky) * 2^exponent`.
fn round(negative: bool, mantissa: u128, exponent: i32, sticky: bool) -> LongDouble {
    if mantissa == 0 {
        return Finite { negative, mantissa: 0, exponent: 0 };
    }
    let bits = 128 - mantissa.leading_zeros() as i32;
    // Where the lowest bit of the result will be: 64 below the top, but never below the denormals' place.
    let target = (exponent + bits - MANTISSA_BITS).max(EXPONENT_MIN);
    let shift = target - exponent;
    let (rounded, target) = if shift <= 0 {
        debug_assert!(!sticky, "what was lost lies below bits that are kept");
        (mantissa << -shift, target)
    } else {
        let rounded = shift_right_to_nearest(mantissa, shift.unsigned_abs(), sticky);
        if rounded >> MANTISSA_BITS != 0 {
            (rounded >> 1, target + 1)
        } else {
            (rounded, target)
        }
    };
    if target > EXPONENT_MAX {
        return Infinite { negative };
    }
    let exponent = if rounded == 0 { 0 } else { target };
    // Fits: at most 64 bits by the choice of `target`.
    Finite { negative, mantissa: rounded as u64, exponent }
}

/// `(value + something below one, if sticky) / 2^shift`, to nearest, ties to even; `shift` is above zero.
fn shift_right_to_nearest(value: u128, shift: u32, sticky: bool) -> u128 {
    if shift > u128::BITS {
        return 0;
    }
    let kept = value.checked_shr(shift).unwrap_or(0);
    let rest = value & (u128::MAX >> (u128::BITS - shift));
    let half = 1u128 << (shift - 1);
    kept + u128::from(rest > half || (rest == half && (sticky || kept & 1 == 1)))
}

/// An exponent as it follows `e` or `p`: an optional sign and at least one digit, to the end. Saturates.
fn parse_exponent(text: &[u8]) -> Option<i64> {
    let (negative, digits) = match text {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        _ => (false, text),
    };
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let magnitude =
        digits.iter().fold(0i64, |sum, &digit| (sum * 10 + i64::from(digit - b'0')).min(TEXT_EXPONENT_MAX));
    Some(if negative { -magnitude } else { magnitude })
}

/// A number's text cut into integer digits, decimals and exponent. At least one digit is there.
struct Parts<'a> {
    integer: &'a [u8],
    decimals: &'a [u8],
    exponent: i64,
}

fn split<'a>(text: &'a [u8], is_digit: fn(&u8) -> bool, exponent_letter: u8) -> Option<Parts<'a>> {
    let (number, exponent) = match text.iter().position(|byte| byte.eq_ignore_ascii_case(&exponent_letter)) {
        Some(at) => (&text[..at], parse_exponent(&text[at + 1..])?),
        None => (text, 0),
    };
    let (integer, decimals) = match number.iter().position(|&byte| byte == b'.') {
        Some(at) => (&number[..at], &number[at + 1..]),
        None => (number, &number[..0]),
    };
    let has_digit = !integer.is_empty() || !decimals.is_empty();
    (has_digit && integer.iter().chain(decimals).all(is_digit)).then_some(Parts {
        integer,
        decimals,
        exponent,
    })
}

/// The number and whether its text says exactly zero (a zero otherwise is an underflow).
fn parse_decimal(negative: bool, text: &[u8]) -> Option<(LongDouble, bool)> {
    let parts = split(text, u8::is_ascii_digit, b'e')?;
    let all = parts.integer.iter().chain(parts.decimals).copied();
    let digits: Vec<u8> = all.skip_while(|&digit| digit == b'0').collect();
    let significant = digits.iter().rposition(|&digit| digit != b'0').map_or(0, |last| last + 1);
    if significant == 0 {
        return Some((round(negative, 0, 0, false), true));
    }
    // The value is `digits[..significant] * 10^scale`, between 10^(magnitude - 1) and 10^magnitude.
    let scale = parts.exponent - parts.decimals.len() as i64 + (digits.len() - significant) as i64;
    let magnitude = scale + significant as i64;
    if magnitude > DECIMAL_EXPONENT_MAX {
        return Some((Infinite { negative }, false));
    }
    if magnitude < DECIMAL_EXPONENT_MIN {
        return Some((round(negative, 0, 0, false), false));
    }
    let mut numerator = Big::from_digits(&digits[..significant]);
    let mut denominator = Big::from(1);
    // Both fit: the magnitude is bounded above and the number of digits by the text.
    if scale >= 0 {
        numerator.multiply_by_power_of_ten(scale as usize);
    } else {
        denominator.multiply_by_power_of_ten(scale.unsigned_abs() as usize);
    }
    Some((divide(negative, numerator, denominator), false))
}

fn parse_hexadecimal(negative: bool, text: &[u8]) -> Option<(LongDouble, bool)> {
    let parts = split(text, u8::is_ascii_hexdigit, b'p')?;
    let mut exponent = parts.exponent - 4 * parts.decimals.len() as i64;
    let mut mantissa = 0u128;
    let mut sticky = false;
    for &byte in parts.integer.iter().chain(parts.decimals) {
        let digit = match byte {
            b'0'..=b'9' => byte - b'0',
            _ => (byte | 0x20) - b'a' + 10,
        };
        if mantissa >> 124 == 0 {
            mantissa = mantissa << 4 | u128::from(digit);
        } else {
            sticky |= digit != 0;
            exponent += 4;
        }
    }
    // Beyond these every nonzero mantissa of 128 bits overflows or vanishes.
    let exponent = exponent.clamp(2 * i64::from(EXPONENT_MIN), 2 * i64::from(EXPONENT_MAX)) as i32;
    Some((round(negative, mantissa, exponent, sticky), mantissa == 0))
}

/// The number nearest to `numerator / denominator`, both above zero.
fn divide(negative: bool, mut numerator: Big, mut denominator: Big) -> LongDouble {
    // Scaled so that the quotient has 66 or 67 bits: the mantissa's, and at least two to round by.
    const QUOTIENT_BITS: i64 = 66;
    let shift = QUOTIENT_BITS - (numerator.bits() as i64 - denominator.bits() as i64);
    if shift >= 0 {
        numerator.shift_left(shift as usize);
    } else {
        denominator.shift_left(shift.unsigned_abs() as usize);
    }
    // Long division, one bit at a time, from the highest that can be set.
    let mut quotient = 0u128;
    denominator.shift_left(QUOTIENT_BITS as usize);
    for _ in 0..=QUOTIENT_BITS {
        quotient <<= 1;
        if numerator.subtract_if_not_less(&denominator) {
            quotient |= 1;
        }
        denominator.shift_right_one();
    }
    // Below 2^15 in size: the texts are bounded.
    round(negative, quotient, -shift as i32, !numerator.is_zero())
}

/// A whole number of any size: limbs, lowest first, none of the highest ones zero.
#[derive(Debug)]
struct Big {
    limbs: Vec<u64>,
}

impl From<u128> for Big {
    fn from(value: u128) -> Self {
        let mut big = Big { limbs: vec![value as u64, (value >> 64) as u64] };
        big.trim();
        big
    }
}

impl Big {
    /// `digits` are ASCII.
    fn from_digits(digits: &[u8]) -> Big {
        let mut big = Big { limbs: Vec::with_capacity(digits.len() / GROUP_DIGITS + 1) };
        for group in digits.chunks(GROUP_DIGITS) {
            let value = group.iter().fold(0u64, |sum, &digit| sum * 10 + u64::from(digit - b'0'));
            big.multiply_add(10u64.pow(group.len() as u32), value);
        }
        big
    }

    fn multiply_by_power_of_ten(&mut self, power: usize) {
        for _ in 0..power / GROUP_DIGITS {
            self.multiply_add(GROUP, 0);
        }
        self.multiply_add(10u64.pow((power % GROUP_DIGITS) as u32), 0);
    }

    fn multiply_add(&mut self, factor: u64, summand: u64) {
        let mut carry = summand;
        for limb in &mut self.limbs {
            let product = u128::from(*limb) * u128::from(factor) + u128::from(carry);
            *limb = product as u64;
            carry = (product >> 64) as u64;
        }
        if carry != 0 {
            self.limbs.push(carry);
        }
    }

    fn shift_left(&mut self, bits: usize) {
        let part = (bits % 64) as u32;
        if part != 0 {
            self.multiply_add(1 << part, 0);
        }
        if !self.is_zero() {
            self.limbs.splice(0..0, std::iter::repeat_n(0, bits / 64));
        }
    }

    fn shift_right_one(&mut self) {
        let mut carry = 0;
        for limb in self.limbs.iter_mut().rev() {
            let lowest = *limb << 63;
            *limb = *limb >> 1 | carry;
            carry = lowest;
        }
        self.trim();
    }

    /// Subtracts `other` and says true; says false, unchanged, when it is the larger one.
    fn subtract_if_not_less(&mut self, other: &Big) -> bool {
        let less = match self.limbs.len().cmp(&other.limbs.len()) {
            std::cmp::Ordering::Equal => self.limbs.iter().rev().lt(other.limbs.iter().rev()),
            ordering => ordering.is_lt(),
        };
        if less {
            return false;
        }
        let mut borrow = false;
        for (index, limb) in self.limbs.iter_mut().enumerate() {
            let subtrahend = other.limbs.get(index).copied().unwrap_or(0);
            let (difference, first) = limb.overflowing_sub(subtrahend);
            let (difference, second) = difference.overflowing_sub(u64::from(borrow));
            *limb = difference;
            borrow = first || second;
        }
        self.trim();
        true
    }

    fn bits(&self) -> usize {
        self.limbs.last().map_or(0, |top| self.limbs.len() * 64 - top.leading_zeros() as usize)
    }

    fn is_zero(&self) -> bool {
        self.limbs.is_empty()
    }

    fn to_text(&self) -> String {
        let mut limbs = self.limbs.clone();
        let mut groups = Vec::new();
        while !limbs.is_empty() {
            let mut rest = 0u64;
            for limb in limbs.iter_mut().rev() {
                let dividend = u128::from(rest) << 64 | u128::from(*limb);
                *limb = (dividend / u128::from(GROUP)) as u64;
                rest = (dividend % u128::from(GROUP)) as u64;
            }
            while limbs.last() == Some(&0) {
                limbs.pop();
            }
            groups.push(rest);
        }
        let mut text = groups.pop().unwrap_or(0).to_string();
        for group in groups.iter().rev() {
            text.push_str(&format!("{group:0GROUP_DIGITS$}"));
        }
        text
    }

    fn trim(&mut self) {
        while self.limbs.last() == Some(&0) {
            self.limbs.pop();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sum(a: &str, b: &str) -> String {
        let parse =
            |text: &str| LongDouble::parse(text.as_bytes()).unwrap_or_else(|| panic!("{text} is a number"));
        parse(a).plus(parse(b)).to_text()
    }

    /// Each sum was computed with `strtold`, `+` and `printf("%.17Lf")` on x86-64.
    #[test]
    fn sums_print_the_digits_of_the_x87_unit() {
        for (a, b, expected) in [
            ("3.0", "1.1", "4.1"),
            ("0.1", "0.2", "0.3"),
            ("1", "-1.1", "-0.1"),
            ("17179869184", "1.5", "17179869185.5"),
            ("1e15", "0.1", "1000000000000000.0999755859375"),
            ("123456789012345678", "0.123456789", "123456789012345678.125"),
            ("-2.5e3", "2500", "0"),
            ("1e-17", "0", "0.00000000000000001"),
            ("6e-18", "0", "0.00000000000000001"),
            ("5e-18", "0", "0"),
            ("4.9e-18", "0", "0"),
            ("-1e-18", "0", "0"),
            ("9223372036854775807", "1", "9223372036854775808"),
            ("18446744073709551615", "1", "18446744073709551616"),
            ("1e30", "1", "1000000000000000000024696061952"),
            ("0x1.8p1", "0x.8", "3.5"),
            (".5", "5.", "5.5"),
            ("+1", "1E+2", "101"),
        ] {
            assert_eq!(sum(a, b), expected, "{a} + {b}");
        }
    }

    #[test]
    fn rounding_is_to_the_nearest_and_ties_go_to_even() {
        // 2^64 + 1 lies halfway between two numbers, 2^64 + 3 too; one more digit decides.
        assert_eq!(sum("18446744073709551617", "0"), "18446744073709551616");
        assert_eq!(sum("18446744073709551619", "0"), "18446744073709551620");
        assert_eq!(sum("18446744073709551617.0000000000000000000000000001", "0"), "18446744073709551618");
        assert_eq!(sum("18446744073709551616", "1"), "18446744073709551616");
        assert_eq!(sum("18446744073709551616", "1.00000001"), "18446744073709551618");
        assert_eq!(sum("18446744073709551616", "-0.5"), "18446744073709551616");
        assert_eq!(sum("18446744073709551616", "-0.50000001"), "18446744073709551615");
    }

    #[test]
    fn the_ends_of_the_range_are_numbers_and_beyond_them_is_not() {
        let finite = |text: &str| LongDouble::parse(text.as_bytes()).is_some_and(LongDouble::is_finite);
        for text in [
            "1.18973149535723176502e4932",
            "3.6451995318824746025e-4951",
            "2e-4951",
            "0x1p-16445",
            "0e999999999999",
        ] {
            assert!(finite(text), "{text}");
        }
        for text in
            ["1.18973149535723176509e4932", "1e4933", "1.8e-4951", "0x1p-16446", "1e-99999999999999999999"]
        {
            assert_eq!(LongDouble::parse(text.as_bytes()), None, "{text}");
        }
        assert_eq!(sum("1e4932", "0").len(), 4933);
        let largest = LongDouble::parse(b"1e4932").unwrap();
        assert!(!largest.plus(largest).is_finite());
    }

    #[test]
    fn infinities_parse_but_do_not_add_up() {
        for text in ["inf", "-INF", "+infinity", "Infinity"] {
            let infinite = LongDouble::parse(text.as_bytes()).unwrap();
            assert!(!infinite.plus(LongDouble::ZERO).is_finite(), "{text}");
        }
        let (plus, minus) = (LongDouble::parse(b"inf").unwrap(), LongDouble::parse(b"-inf").unwrap());
        assert_eq!(plus.plus(minus), NotANumber);
    }

    #[test]
    fn text_that_is_not_wholly_a_number_is_refused() {
        for text in [
            "", " 1", "1 ", "nan", "-nan", "1e", "1e+", "e5", ".", "-", "+-1", "1_0", "1,5", "0x", "0x.",
            "0x1p", "in", "1\0", "infinit", "abc",
        ] {
            assert_eq!(LongDouble::parse(text.as_bytes()), None, "{text:?}");
        }
        let long = |len: usize| LongDouble::parse("0".repeat(len).as_bytes()).is_some();
        assert!(long(TEXT_LEN_MAX - 1));
        assert!(!long(TEXT_LEN_MAX));
    }
}

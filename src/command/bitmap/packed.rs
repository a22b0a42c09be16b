//! Integers of 1 to 64 bits at any bit of a string, most significant bit first: BITFIELD's types, and how they overflow.

use super::super::parse::integer;
use super::CommandError;

/// `i1` to `i64`, or `u1` to `u63`: what RESP has no integers for is left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IntegerType {
    pub signed: bool,
    pub bits: u32,
}

/// What becomes of a value that does not fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Overflow {
    /// It loses its upper bits.
    Wrap,
    /// It becomes the largest or smallest that fits.
    Sat,
    /// It is not stored.
    Fail,
}

impl IntegerType {
    pub fn parse(text: &[u8]) -> Result<IntegerType, CommandError> {
        let parsed = match text {
            [sign @ (b'i' | b'u'), bits @ ..] => {
                let signed = *sign == b'i';
                // Redis reads this number as a C string.
                let bits = bits.split(|byte| *byte == 0).next().unwrap_or_default();
                let bits = integer(bits).ok().and_then(|bits| u32::try_from(bits).ok());
                bits.filter(|bits| (1..=if signed { 64 } else { 63 }).contains(bits))
                    .map(|bits| IntegerType { signed, bits })
            }
            _ => None,
        };
        parsed.ok_or(CommandError::other(
            "ERR Invalid bitfield type. Use something like i16 u8. Note that u64 is not supported but i64 is.",
        ))
    }

    /// The integer at bit `offset`. Beyond the end of the string all bits are 0.
    pub fn get(self, string: &[u8], offset: u64) -> i64 {
        let window = window(string.get((offset >> 3) as usize..).unwrap_or_default());
        let value = (window << (offset & 7) >> (128 - self.bits)) as u64;
        if self.signed {
            self.sign_extended(value as i64)
        } else {
            value as i64
        }
    }

    /// Stores the lower bits of `value` at bit `offset`; the string has to reach that far.
    pub fn set(self, string: &mut [u8], offset: u64, value: i64) {
        let end = (offset + u64::from(self.bits)).div_ceil(8) as usize;
        let bytes = &mut string[(offset >> 3) as usize..end];
        let shift = 128 - self.bits - (offset & 7) as u32;
        let ones = (1u128 << self.bits) - 1;
        let kept = window(bytes) & !(ones << shift);
        let new = kept | ((value as u128 & ones) << shift);
        let len = bytes.len();
        bytes.copy_from_slice(&new.to_be_bytes()[..len]);
    }

    /// `value + increment` as this type has it, and whether it overflowed; what cannot be stored under `Fail` is None.
    ///
    /// `value` itself need not fit: BITFIELD SET adds 0 to what the client sent.
    pub fn add(self, value: i64, increment: i64, overflow: Overflow) -> Option<i64> {
        let (exceeds, falls_short, min, max) = if self.signed {
            self.signed_limits(value, increment)
        } else {
            self.unsigned_limits(value, increment)
        };
        let sum = value.wrapping_add(increment);
        match overflow {
            _ if !exceeds && !falls_short => Some(sum),
            Overflow::Wrap if self.signed => Some(self.sign_extended(sum)),
            Overflow::Wrap => Some(sum & max),
            Overflow::Sat => Some(if exceeds { max } else { min }),
            Overflow::Fail => None,
        }
    }

    /// Whether the sum is too large, whether it is too small, and the type's limits.
    fn signed_limits(self, value: i64, increment: i64) -> (bool, bool, i64, i64) {
        let max = i64::MAX >> (64 - self.bits);
        let min = -max - 1;
        let is_narrow = self.bits < 64;
        // For a value near the end of 64 bits this wraps, and a narrow type then counts it as too large: as in Redis, where
        // `SET i8 0 -9223372036854775808` saturates to 127.
        let room_above = max.wrapping_sub(value);
        let room_below = min.wrapping_sub(value);
        let exceeds = value > max
            || (is_narrow && increment > room_above)
            || (value >= 0 && increment > 0 && increment > room_above);
        let falls_short = value < min
            || (is_narrow && increment < room_below)
            || (value < 0 && increment < 0 && increment < room_below);
        (exceeds, !exceeds && falls_short, min, max)
    }

    /// A negative value counts as a very large one.
    fn unsigned_limits(self, value: i64, increment: i64) -> (bool, bool, i64, i64) {
        let max = i64::MAX >> (63 - self.bits);
        let exceeds = value < 0 || value > max || increment > max - value;
        let falls_short = !exceeds && increment < -value;
        (exceeds, falls_short, 0, max)
    }

    fn sign_extended(self, value: i64) -> i64 {
        let unused = 64 - self.bits;
        value << unused >> unused
    }
}

/// An integer of 64 bits may reach into nine bytes.
const WINDOW_BYTES: usize = 9;

/// The first bytes, at the upper end of a word and followed by zeros.
fn window(bytes: &[u8]) -> u128 {
    let mut word = [0; 16];
    let len = bytes.len().min(WINDOW_BYTES);
    word[..len].copy_from_slice(&bytes[..len]);
    u128::from_be_bytes(word)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn any_type() -> impl Strategy<Value = IntegerType> {
        prop_oneof![
            (1u32..=64).prop_map(|bits| IntegerType { signed: true, bits }),
            (1u32..=63).prop_map(|bits| IntegerType { signed: false, bits }),
        ]
    }

    proptest! {
        #[test]
        fn an_integer_reads_back_and_leaves_its_neighbours_alone(
            kind in any_type(), offset in 0u64..100, value in any::<i64>(), fill in any::<u8>()
        ) {
            let mut string = vec![fill; 30];
            let before = string.clone();
            kind.set(&mut string, offset, value);
            let fits = kind.add(value, 0, Overflow::Wrap).unwrap();
            prop_assert_eq!(kind.get(&string, offset), fits);
            let bit = |string: &[u8], at: u64| string[(at / 8) as usize] >> (7 - at % 8) & 1;
            for at in (0..240).filter(|at| !(offset..offset + u64::from(kind.bits)).contains(at)) {
                prop_assert_eq!(bit(&string, at), bit(&before, at));
            }
        }

        #[test]
        fn sums_agree_with_wider_arithmetic(kind in any_type(), seed in any::<i64>(), increment in any::<i64>()) {
            let value = kind.add(seed, 0, Overflow::Wrap).unwrap();
            let (min, max) = if kind.signed {
                (-(1i128 << (kind.bits - 1)), (1i128 << (kind.bits - 1)) - 1)
            } else {
                (0, (1i128 << kind.bits) - 1)
            };
            let sum = i128::from(value) + i128::from(increment);
            let fits = (min..=max).contains(&sum);
            let wrapped = (sum - min).rem_euclid(max - min + 1) + min;
            prop_assert_eq!(kind.add(value, increment, Overflow::Fail).map(i128::from), fits.then_some(sum));
            prop_assert_eq!(kind.add(value, increment, Overflow::Sat).map(i128::from), Some(sum.clamp(min, max)));
            prop_assert_eq!(kind.add(value, increment, Overflow::Wrap).map(i128::from), Some(wrapped));
        }
    }

    #[test]
    fn types_are_a_sign_and_a_number_of_bits() {
        let parse =
            |text: &str| IntegerType::parse(text.as_bytes()).ok().map(|kind| (kind.signed, kind.bits));
        assert_eq!(parse("i1"), Some((true, 1)));
        assert_eq!(parse("i64"), Some((true, 64)));
        assert_eq!(parse("u63"), Some((false, 63)));
        assert_eq!(parse("u8\0x"), Some((false, 8)));
        for text in ["", "i", "u0", "u64", "i65", "i-1", "U8", "8", "u08", "u4294967297"] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}

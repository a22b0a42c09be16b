//! Looking through a bitmap: BITCOUNT and BITPOS, both over a range of bytes or of bits.

use super::super::parse::integer;
use super::{Args, CommandError, CommandResult, Context};

/// A range of bits, both ends included, that lies within the string.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct BitRange {
    first: u64,
    last: u64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Unit {
    Byte,
    Bit,
}

impl Unit {
    fn parse(text: &[u8]) -> Result<Unit, CommandError> {
        if text.eq_ignore_ascii_case(b"bit") {
            Ok(Unit::Bit)
        } else if text.eq_ignore_ascii_case(b"byte") {
            Ok(Unit::Byte)
        } else {
            Err(CommandError::Syntax)
        }
    }

    /// What two numbers select of `len` bytes; negative ones count from the end. None when that is nothing.
    fn select(self, start: i64, end: i64, len: usize) -> Option<BitRange> {
        // A string is far shorter than 2^60 bytes.
        let total = if self == Unit::Bit { len as i64 * 8 } else { len as i64 };
        let from_front = |index: i64| if index < 0 { (total + index).max(0) } else { index };
        let (start, end) = (from_front(start), from_front(end).min(total - 1));
        if start > end {
            return None;
        }
        // Both lie between 0 and total - 1 now.
        let (start, end) = (start as u64, end as u64);
        Some(match self {
            Unit::Bit => BitRange { first: start, last: end },
            Unit::Byte => BitRange { first: start * 8, last: end * 8 + 7 },
        })
    }
}

/// BITCOUNT key [start end [BYTE | BIT]]
pub fn bitcount(ctx: &mut Context, args: Args) -> CommandResult {
    // Nobody reads the other arguments when there is no key.
    let count = match ctx.store.read(ctx.db, args[1]) {
        Some(value) => {
            let mut digits = itoa::Buffer::new();
            let string = value.string(&mut digits)?;
            counted_range(&args[2..], string.len())?.map_or(0, |range| count_ones(string, range))
        }
        None => 0,
    };
    ctx.reply.integer(count as i64);
    Ok(())
}

fn counted_range(args: Args, len: usize) -> Result<Option<BitRange>, CommandError> {
    let (start, end, unit) = match args {
        [] => return Ok(Unit::Byte.select(0, -1, len)),
        [start, end] => (start, end, None),
        [start, end, unit] => (start, end, Some(unit)),
        _ => return Err(CommandError::Syntax),
    };
    let (start, end) = (integer(start)?, integer(end)?);
    if start < 0 && end < 0 && start > end {
        return Ok(None);
    }
    let unit = unit.map_or(Ok(Unit::Byte), |unit| Unit::parse(unit))?;
    Ok(unit.select(start, end, len))
}

/// BITPOS key bit [start [end [BYTE | BIT]]]
pub fn bitpos(ctx: &mut Context, args: Args) -> CommandResult {
    let bit = match integer(args[2])? {
        0 => false,
        1 => true,
        _ => return Err(CommandError::other("ERR The bit argument must be 1 or 0.")),
    };
    let Some(value) = ctx.store.read(ctx.db, args[1]) else {
        // Zeros without end.
        ctx.reply.integer(if bit { -1 } else { 0 });
        return Ok(());
    };
    let mut digits = itoa::Buffer::new();
    let string = value.string(&mut digits)?;
    let (range, has_end) = searched_range(&args[3..], string.len())?;
    let found = range.and_then(|range| find_bit(string, range, bit));
    let position = match found {
        Some(position) => position as i64,
        // The string is all ones, and after it come zeros, unless the client said where to stop.
        None if range.is_some() && !bit && !has_end => string.len() as i64 * 8,
        None => -1,
    };
    ctx.reply.integer(position);
    Ok(())
}

/// The range, and whether the client gave its end.
fn searched_range(args: Args, len: usize) -> Result<(Option<BitRange>, bool), CommandError> {
    let (start, unit, end) = match args {
        [] => return Ok((Unit::Byte.select(0, -1, len), false)),
        [start] => (integer(start)?, Unit::Byte, None),
        [start, end] => (integer(start)?, Unit::Byte, Some(integer(end)?)),
        // A wrong unit is reported before a wrong end.
        [start, end, unit] => (integer(start)?, Unit::parse(unit)?, Some(integer(end)?)),
        _ => return Err(CommandError::Syntax),
    };
    Ok((unit.select(start, end.unwrap_or(-1), len), end.is_some()))
}

const fn mask_from(first: u64) -> u8 {
    0xff >> (first & 7)
}

const fn mask_to(last: u64) -> u8 {
    0xff << (7 - (last & 7))
}

fn count_ones(string: &[u8], range: BitRange) -> u64 {
    let bytes = &string[(range.first >> 3) as usize..=(range.last >> 3) as usize];
    let (words, rest) = bytes.as_chunks::<8>();
    let mut count: u64 = words.iter().map(|word| u64::from(u64::from_ne_bytes(*word).count_ones())).sum();
    count += rest.iter().map(|byte| u64::from(byte.count_ones())).sum::<u64>();
    // The range may begin and end within a byte.
    let before = bytes[0] & !mask_from(range.first);
    let after = bytes[bytes.len() - 1] & !mask_to(range.last);
    count - u64::from(before.count_ones()) - u64::from(after.count_ones())
}

/// The first bit in the range that is `bit`.
fn find_bit(string: &[u8], range: BitRange, bit: bool) -> Option<u64> {
    let (first, last) = ((range.first >> 3) as usize, (range.last >> 3) as usize);
    // Sought is always a one.
    let flip = if bit { 0 } else { 0xff };
    let position =
        |index: usize, byte: u8| (byte != 0).then(|| index as u64 * 8 + u64::from(byte.leading_zeros()));
    if first == last {
        return position(first, (string[first] ^ flip) & mask_from(range.first) & mask_to(range.last));
    }
    position(first, (string[first] ^ flip) & mask_from(range.first))
        .or_else(|| {
            let index = first + 1 + find_other(&string[first + 1..last], flip)?;
            position(index, string[index] ^ flip)
        })
        .or_else(|| position(last, (string[last] ^ flip) & mask_to(range.last)))
}

/// The index of the first byte that is not `byte`.
fn find_other(bytes: &[u8], byte: u8) -> Option<usize> {
    let (words, _) = bytes.as_chunks::<8>();
    let skipped = words.iter().position(|word| *word != [byte; 8]).unwrap_or(words.len()) * 8;
    bytes[skipped..].iter().position(|other| *other != byte).map(|index| skipped + index)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn is_set(string: &[u8], offset: u64) -> bool {
        string[(offset / 8) as usize] >> (7 - offset % 8) & 1 == 1
    }

    proptest! {
        #[test]
        fn words_find_and_count_the_bits_that_are_there(
            string in prop::collection::vec(prop_oneof![4 => Just(0u8), 4 => Just(0xff), 1 => any::<u8>()], 1..80),
            first in 0u64..640,
            last in 0u64..640,
        ) {
            let last = last.min(string.len() as u64 * 8 - 1);
            let first = first.min(last);
            let range = BitRange { first, last };
            let ones = (first..=last).filter(|offset| is_set(&string, *offset)).count();
            prop_assert_eq!(count_ones(&string, range), ones as u64);
            for bit in [false, true] {
                let expected = (first..=last).find(|offset| is_set(&string, *offset) == bit);
                prop_assert_eq!(find_bit(&string, range, bit), expected);
            }
        }
    }
}

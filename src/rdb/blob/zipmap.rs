//! Zipmaps, the small hashes of Redis before 2.6: number of pairs, then length and bytes of each field and value, an end mark.
//! After the length of a value stands how many unused bytes follow it.

use super::END;

/// In the place of a number of pairs too large for it.
const COUNT_UNKNOWN: u8 = 254;
/// A length that four more bytes hold.
const LONG_LENGTH: u8 = 254;

/// A zipmap that has been checked. It is not empty.
#[derive(Clone, Copy, Debug)]
pub struct Zipmap<'a> {
    pairs: &'a [u8],
}

impl<'a> Zipmap<'a> {
    /// `None` unless every byte of it is as it must be.
    pub fn check(blob: &'a [u8]) -> Option<Zipmap<'a>> {
        let (&announced, rest) = blob.split_first()?;
        let (&END, pairs) = rest.split_last()? else { return None };
        let mut count = 0;
        let mut rest = pairs;
        while !rest.is_empty() {
            rest = decode(rest)?.1;
            count += 1;
        }
        let count_is_right = announced == COUNT_UNKNOWN || announced as usize == count;
        (count > 0 && count_is_right).then_some(Zipmap { pairs })
    }

    pub fn iter(&self) -> Iter<'a> {
        Iter { rest: self.pairs }
    }
}

/// Fields with their values.
#[derive(Clone, Debug)]
pub struct Iter<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Iter<'a> {
    type Item = (&'a [u8], &'a [u8]);
    fn next(&mut self) -> Option<Self::Item> {
        let (pair, rest) = decode(self.rest)?;
        self.rest = rest;
        Some(pair)
    }
}

type Pair<'a> = (&'a [u8], &'a [u8]);

fn decode(bytes: &[u8]) -> Option<(Pair<'_>, &[u8])> {
    let (len, rest) = length(bytes)?;
    let (field, rest) = rest.split_at_checked(len)?;
    let (len, rest) = length(rest)?;
    let (&unused, rest) = rest.split_first()?;
    let (value, rest) = rest.split_at_checked(len)?;
    Some(((field, value), rest.get(unused as usize..)?))
}

fn length(bytes: &[u8]) -> Option<(usize, &[u8])> {
    match bytes.split_first()? {
        (&LONG_LENGTH, rest) => {
            let (len, rest) = rest.split_first_chunk()?;
            Some((u32::from_le_bytes(*len) as usize, rest))
        }
        (&END, _) => None,
        (&len, rest) => Some((len as usize, rest)),
    }
}

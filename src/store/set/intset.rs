//! A small set of integers: a width, then the integers in ascending order, each in so many bytes.
//!
//! ```text
//! width in bytes, u16: 2, 4 or 8 | integer | integer | ...
//! ```
//!
//! All little-endian. The width is that of the widest integer there has ever been, as in Redis.

const WIDTH_BYTES: usize = 2;
const WIDTH_MIN: usize = 2;

/// The bytes of an empty one.
pub(super) const EMPTY: [u8; WIDTH_BYTES] = (WIDTH_MIN as u16).to_le_bytes();

/// An integer set to read.
#[derive(Clone, Copy, Debug)]
pub struct Integers<'a> {
    bytes: &'a [u8],
}

fn width_of(value: i64) -> usize {
    if i16::try_from(value).is_ok() {
        2
    } else if i32::try_from(value).is_ok() {
        4
    } else {
        8
    }
}

impl<'a> Integers<'a> {
    pub fn new(bytes: &'a [u8]) -> Integers<'a> {
        debug_assert!(bytes.len() >= WIDTH_BYTES);
        Integers { bytes }
    }

    pub fn as_bytes(self) -> &'a [u8] {
        self.bytes
    }

    fn width(self) -> usize {
        usize::from(u16::from_le_bytes([self.bytes[0], self.bytes[1]]))
    }

    pub fn len(self) -> usize {
        (self.bytes.len() - WIDTH_BYTES) / self.width()
    }

    pub fn is_empty(self) -> bool {
        self.bytes.len() == WIDTH_BYTES
    }

    /// The integer that is greater than `index` others.
    pub fn get(self, index: usize) -> i64 {
        read(&self.bytes[WIDTH_BYTES..], self.width(), index)
    }

    /// The index of an integer; when it is not there, the index at which it would be.
    pub fn find(self, value: i64) -> Result<usize, usize> {
        let (mut low, mut high) = (0, self.len());
        while low < high {
            let middle = low + (high - low) / 2;
            match self.get(middle).cmp(&value) {
                std::cmp::Ordering::Equal => return Ok(middle),
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Greater => high = middle,
            }
        }
        Err(low)
    }

    pub fn contains(self, value: i64) -> bool {
        self.find(value).is_ok()
    }

    #[cfg(test)]
    pub fn iter(self) -> impl Iterator<Item = i64> + 'a {
        (0..self.len()).map(move |index| self.get(index))
    }
}

fn read(body: &[u8], width: usize, index: usize) -> i64 {
    let at = &body[index * width..][..width];
    match *at {
        [a, b] => i64::from(i16::from_le_bytes([a, b])),
        [a, b, c, d] => i64::from(i32::from_le_bytes([a, b, c, d])),
        _ => i64::from_le_bytes(at.try_into().expect("an integer is 2, 4 or 8 bytes wide")),
    }
}

fn write(body: &mut [u8], width: usize, index: usize, value: i64) {
    body[index * width..][..width].copy_from_slice(&value.to_le_bytes()[..width]);
}

/// Adds an integer; false when it was there.
pub(super) fn insert(bytes: &mut Vec<u8>, value: i64) -> bool {
    let integers = Integers::new(bytes);
    let (width, len) = (integers.width(), integers.len());
    if width_of(value) > width {
        // Beyond all that are there, so at one end.
        let at = if value < 0 { 0 } else { len };
        widen(bytes, width, width_of(value));
        open(bytes, width_of(value), at, value);
        return true;
    }
    let Err(at) = integers.find(value) else { return false };
    open(bytes, width, at, value);
    true
}

fn widen(bytes: &mut Vec<u8>, old: usize, new: usize) {
    let len = (bytes.len() - WIDTH_BYTES) / old;
    bytes.resize(WIDTH_BYTES + len * new, 0);
    bytes[..WIDTH_BYTES].copy_from_slice(&(new as u16).to_le_bytes());
    let body = &mut bytes[WIDTH_BYTES..];
    // From the last on, so that none is overwritten before it is read.
    for index in (0..len).rev() {
        let value = read(body, old, index);
        write(body, new, index, value);
    }
}

/// Puts an integer in front of number `at`.
fn open(bytes: &mut Vec<u8>, width: usize, at: usize, value: i64) {
    let (end, offset) = (bytes.len(), WIDTH_BYTES + at * width);
    bytes.resize(end + width, 0);
    bytes.copy_within(offset..end, offset + width);
    write(&mut bytes[WIDTH_BYTES..], width, at, value);
}

/// Takes out an integer; false when it was not there.
pub(super) fn remove(bytes: &mut Vec<u8>, value: i64) -> bool {
    let integers = Integers::new(bytes);
    let Ok(at) = integers.find(value) else { return false };
    let offset = WIDTH_BYTES + at * integers.width();
    let end = offset + integers.width();
    bytes.drain(offset..end);
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    #[test]
    fn widening_keeps_every_integer_in_order() {
        let mut bytes = EMPTY.to_vec();
        for value in [5, -5, 32_767, -32_768, 40_000, -3_000_000_000, i64::MAX, i64::MIN, 0] {
            assert!(insert(&mut bytes, value));
            assert!(!insert(&mut bytes, value));
        }
        let values: Vec<i64> = Integers::new(&bytes).iter().collect();
        assert_eq!(values, [i64::MIN, -3_000_000_000, -32_768, -5, 0, 5, 32_767, 40_000, i64::MAX]);
        assert_eq!(&bytes[..3], [8, 0, 0]);
    }

    proptest! {
        #[test]
        fn it_is_a_set_in_order(changes in prop::collection::vec((any::<bool>(), prop_oneof![
            -50i64..50, -40_000i64..40_000, any::<i64>()
        ]), 0..300)) {
            let (mut bytes, mut model) = (EMPTY.to_vec(), BTreeSet::new());
            for (adds, value) in changes {
                if adds {
                    prop_assert_eq!(insert(&mut bytes, value), model.insert(value));
                } else {
                    prop_assert_eq!(remove(&mut bytes, value), model.remove(&value));
                }
                prop_assert_eq!(Integers::new(&bytes).contains(value), model.contains(&value));
            }
            prop_assert!(Integers::new(&bytes).iter().eq(model.into_iter()));
        }
    }
}

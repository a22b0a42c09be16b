//! Elements as in a listpack, but without the length behind each, which only those need who walk backwards. Streams keep
//! their entries so, and add the lengths when a listpack is asked for.

use super::element::{backlen_size, integer_size, read, write, write_backlen};
use super::Item;

/// Appends an element. Returns the bytes that it would take in a listpack.
#[inline]
pub(in crate::store) fn push(bytes: &mut Vec<u8>, element: &[u8]) -> usize {
    let start = bytes.len();
    write(bytes, element);
    let size = bytes.len() - start;
    bytes.truncate(start + bare_size(size));
    size
}

/// The element at the head of `bytes`, and the bytes that it takes.
#[inline]
pub(in crate::store) fn item(bytes: &[u8]) -> (Item<'_>, usize) {
    let (item, size) = read(bytes);
    (item, bare_size(size))
}

/// An element's size without the length behind it, from its size with that.
#[inline]
pub(in crate::store) fn bare_size(size: usize) -> usize {
    // By `backlen_size`: the first two limits are the largest sizes with a length of one and of two bytes.
    match size {
        0..=128 => size - 1,
        129..=16_384 => size - 2,
        _ => {
            let backlen = (3..=5).find(|backlen| backlen_size(size - backlen) == *backlen);
            size - backlen.expect("every length has a size")
        }
    }
}

/// Bytes that an integer takes in a listpack.
pub(in crate::store) fn integer_in_listpack(value: i64) -> usize {
    integer_size(value) + 1
}

/// Appends an element to a listpack's bytes: `bare` is exactly one element.
pub(in crate::store) fn write_to_listpack(bare: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(bare);
    let start = out.len();
    out.resize(start + backlen_size(bare.len()), 0);
    write_backlen(&mut out[start..], bare.len());
}

/// Appends an integer to a listpack's bytes.
pub(in crate::store) fn write_integer_to_listpack(value: i64, out: &mut Vec<u8>) {
    write(out, itoa::Buffer::new().format(value).as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_come_back_and_go_into_a_listpack_as_if_written_there() {
        for len in [
            0, 1, 63, 64, 125, 126, 127, 128, 4095, 4096, 16_376, 16_377, 16_378, 16_400, 2_097_144,
            2_097_150,
        ] {
            let element = vec![b'x'; len];
            let (mut bare, mut listpack, mut direct) = (Vec::new(), Vec::new(), Vec::new());
            let size = push(&mut bare, &element);
            assert_eq!(item(&bare), (Item::Bytes(&element), bare.len()), "{len}");
            write_to_listpack(&bare, &mut listpack);
            write(&mut direct, &element);
            assert_eq!((listpack.len(), &listpack), (size, &direct), "{len}");
        }
        for value in [0, 127, 128, -1, 4095, -4096, 40_000, 1 << 22, 1 << 30, i64::MIN, i64::MAX] {
            let mut bare = Vec::new();
            let size = push(&mut bare, value.to_string().as_bytes());
            assert_eq!(size, integer_in_listpack(value));
            assert_eq!(item(&bare), (Item::Int(value), size - 1));
        }
    }
}

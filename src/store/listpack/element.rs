//! One element of a listpack: its encodings, and the length behind it.

use crate::store::parse_integer;

/// Strings up to this length have it in their first byte.
const LEN6_MAX: usize = (1 << 6) - 1;
/// Strings up to this length have it in two bytes; longer ones have four more bytes for it.
const LEN12_MAX: usize = (1 << 12) - 1;

const UINT7_MAX: i64 = 127;
const INT13_MAX: i64 = (1 << 12) - 1;
const INT24_MAX: i64 = (1 << 23) - 1;

const STRING_6: u8 = 0x80;
const INT_13: u8 = 0xC0;
const STRING_12: u8 = 0xE0;
const STRING_32: u8 = 0xF0;
const INT_16: u8 = 0xF1;
const INT_24: u8 = 0xF2;
const INT_32: u8 = 0xF3;
const INT_64: u8 = 0xF4;
/// Ends a listpack in Redis; no element begins with it.
pub(super) const TERMINATOR: u8 = 0xFF;

/// An element as it is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Item<'a> {
    Int(i64),
    Bytes(&'a [u8]),
}

impl<'a> Item<'a> {
    /// The bytes of the element; an integer's digits are written into `digits`.
    #[inline]
    pub fn bytes<'b>(self, digits: &'b mut itoa::Buffer) -> &'b [u8]
    where
        'a: 'b,
    {
        match self {
            Item::Int(value) => digits.format(value).as_bytes(),
            Item::Bytes(bytes) => bytes,
        }
    }

    pub fn to_vec(self) -> Vec<u8> {
        self.bytes(&mut itoa::Buffer::new()).to_vec()
    }

    /// The integer that the element is, or the canonical form of.
    pub fn integer(self) -> Option<i64> {
        match self {
            Item::Int(value) => Some(value),
            Item::Bytes(bytes) => parse_integer(bytes),
        }
    }

    /// Length of its bytes.
    pub fn byte_len(self) -> usize {
        match self {
            Item::Int(value) => itoa::Buffer::new().format(value).len(),
            Item::Bytes(bytes) => bytes.len(),
        }
    }
}

/// What elements are compared with: prepared once, compared often.
#[derive(Clone, Copy, Debug)]
pub struct Needle<'a> {
    bytes: &'a [u8],
    integer: Option<i64>,
}

impl<'a> Needle<'a> {
    pub fn new(bytes: &'a [u8]) -> Needle<'a> {
        Needle { bytes, integer: parse_integer(bytes) }
    }

    #[inline]
    pub fn is(&self, item: Item) -> bool {
        match item {
            Item::Int(value) => self.integer == Some(value),
            Item::Bytes(bytes) => bytes == self.bytes,
        }
    }
}

/// Bytes of encoding and data of a string.
fn string_size(len: usize) -> usize {
    match len {
        ..=LEN6_MAX => 1 + len,
        _ if len <= LEN12_MAX => 2 + len,
        _ => 5 + len,
    }
}

pub(super) fn integer_size(value: i64) -> usize {
    match value {
        0..=UINT7_MAX => 1,
        _ if (-INT13_MAX - 1..=INT13_MAX).contains(&value) => 2,
        _ if i16::try_from(value).is_ok() => 3,
        _ if (-INT24_MAX - 1..=INT24_MAX).contains(&value) => 4,
        _ if i32::try_from(value).is_ok() => 5,
        _ => 9,
    }
}

/// Bytes of encoding and data.
pub(super) fn encoded_size(element: &[u8]) -> usize {
    match parse_integer(element) {
        Some(value) => integer_size(value),
        None => string_size(element.len()),
    }
}

/// Bytes of the length behind an element, `size` being that length.
#[inline]
pub(super) fn backlen_size(size: usize) -> usize {
    // The odd limits are Redis's.
    match size {
        0..=127 => 1,
        128..=16_382 => 2,
        16_383..=2_097_150 => 3,
        2_097_151..=268_435_454 => 4,
        _ => 5,
    }
}

pub(super) fn write_backlen(at: &mut [u8], size: usize) {
    let mut rest = size;
    for (index, byte) in at.iter_mut().enumerate().rev() {
        // The first byte, read last, says that nothing is in front of it.
        let more = if index > 0 { 0x80 } else { 0 };
        *byte = (rest & 0x7f) as u8 | more;
        rest >>= 7;
    }
}

fn write_integer(at: &mut [u8], value: i64) {
    match at.len() {
        1 => at[0] = value as u8,
        2 => {
            let bits = (value & 0x1fff) as u16;
            at[0] = INT_13 | (bits >> 8) as u8;
            at[1] = bits as u8;
        }
        size => {
            at[0] = match size {
                3 => INT_16,
                4 => INT_24,
                5 => INT_32,
                _ => INT_64,
            };
            at[1..].copy_from_slice(&value.to_le_bytes()[..size - 1]);
        }
    }
}

fn write_string(at: &mut [u8], bytes: &[u8]) {
    let len = bytes.len();
    let data = at.len() - len;
    match data {
        1 => at[0] = STRING_6 | len as u8,
        2 => {
            at[0] = STRING_12 | (len >> 8) as u8;
            at[1] = len as u8;
        }
        _ => {
            at[0] = STRING_32;
            at[1..5].copy_from_slice(&(len as u32).to_le_bytes());
        }
    }
    at[data..].copy_from_slice(bytes);
}

/// Writes an element into exactly the room that it takes.
pub(in crate::store) fn write_at(at: &mut [u8], element: &[u8]) {
    let integer = parse_integer(element);
    let size = integer.map_or_else(|| string_size(element.len()), integer_size);
    let (data, backlen) = at.split_at_mut(size);
    match integer {
        Some(value) => write_integer(data, value),
        None => write_string(data, element),
    }
    write_backlen(backlen, size);
}

/// Writes an element to the end.
pub(super) fn write(bytes: &mut Vec<u8>, element: &[u8]) {
    let size = encoded_size(element);
    let start = bytes.len();
    bytes.resize(start + size + backlen_size(size), 0);
    write_at(&mut bytes[start..], element);
}

/// The element at the head of `bytes`, and how many bytes it takes with its length behind.
///
/// Only for bytes that are known to begin with one: written here, or checked (`check`, `check_encoding`) when they came from outside.
#[inline]
pub(super) fn read(bytes: &[u8]) -> (Item<'_>, usize) {
    let first = bytes[0];
    let (item, size) = match first {
        0..=0x7f => return (Item::Int(i64::from(first)), 2),
        0x80..=0xbf => {
            let len = (first & 0x3f) as usize;
            return (Item::Bytes(&bytes[1..1 + len]), 2 + len);
        }
        0xc0..=0xdf => {
            let bits = u16::from(first & 0x1f) << 8 | u16::from(bytes[1]);
            // Sign-extends from 13 bits.
            return (Item::Int(i64::from((bits << 3) as i16 >> 3)), 3);
        }
        0xe0..=0xef => {
            let len = usize::from(first & 0x0f) << 8 | usize::from(bytes[1]);
            (Item::Bytes(&bytes[2..2 + len]), 2 + len)
        }
        STRING_32 => {
            let len = u32::from_le_bytes([bytes[1], bytes[2], bytes[3], bytes[4]]) as usize;
            (Item::Bytes(&bytes[5..5 + len]), 5 + len)
        }
        _ => {
            let size = integer_bytes(first);
            let mut value = [0; 8];
            value[..size].copy_from_slice(&bytes[1..1 + size]);
            let unused = 64 - 8 * size as u32;
            (Item::Int(i64::from_le_bytes(value) << unused >> unused), 1 + size)
        }
    };
    (item, size + backlen_size(size))
}

/// Bytes of data of an integer of 16 bits or more.
fn integer_bytes(encoding: u8) -> usize {
    match encoding {
        INT_16 => 2,
        INT_24 => 3,
        INT_32 => 4,
        INT_64 => 8,
        // Nobody writes another one, and what comes from outside is checked by `check`.
        _ => unreachable!("no listpack encoding: {encoding:#x}"),
    }
}

/// The size of the element that ends where `bytes` end, its length included.
#[inline]
pub(super) fn size_before(bytes: &[u8]) -> usize {
    let (size, backlen) = read_backlen(bytes).expect("an element ends with its length");
    size + backlen
}

/// Length at the end of `bytes`, and the bytes that it takes itself.
fn read_backlen(bytes: &[u8]) -> Option<(usize, usize)> {
    let (mut size, mut shift) = (0usize, 0);
    for (index, byte) in bytes.iter().rev().take(5).enumerate() {
        size |= usize::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some((size, index + 1));
        }
        shift += 7;
    }
    None
}

/// The size of the element at the head of bytes from outside, its length included; `None` when it is no element, or does
/// not fit.
pub(super) fn check(bytes: &[u8]) -> Option<usize> {
    let whole = check_encoding(bytes)?;
    let (size, backlen) = read_backlen(&bytes[..whole])?;
    (size + backlen == whole && backlen == backlen_size(size)).then_some(whole)
}

/// As `check`, but the length behind the element may be any.
pub(super) fn check_encoding(bytes: &[u8]) -> Option<usize> {
    let byte = |index: usize| bytes.get(index).copied().map(usize::from);
    let size = match *bytes.first()? {
        0..=0x7f => 1,
        first @ 0x80..=0xbf => 1 + (first & 0x3f) as usize,
        0xc0..=0xdf => 2,
        first @ 0xe0..=0xef => 2 + (usize::from(first & 0x0f) << 8 | byte(1)?),
        STRING_32 => {
            5 + u32::from_le_bytes([*bytes.get(1)?, *bytes.get(2)?, *bytes.get(3)?, *bytes.get(4)?]) as usize
        }
        encoding @ (INT_16 | INT_24 | INT_32 | INT_64) => 1 + integer_bytes(encoding),
        _ => return None,
    };
    let whole = size.checked_add(backlen_size(size))?;
    (whole <= bytes.len()).then_some(whole)
}

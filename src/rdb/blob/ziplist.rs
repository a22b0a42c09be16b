//! Ziplists, which listpacks replaced in Redis 7: total bytes, offset of the last entry, number of entries, the entries, an
//! end mark. An entry begins with the length of the one before it.

use super::END;
use crate::store::listpack::Item;

const HEADER_LEN: usize = 10;
const COUNT_UNKNOWN: u16 = u16::MAX;
/// A length of the entry before that is this long or longer takes four more bytes, which this one announces.
const LONG_PREVIOUS: u8 = 254;

/// A ziplist that has been checked.
#[derive(Clone, Copy, Debug)]
pub struct Ziplist<'a> {
    entries: &'a [u8],
    count: usize,
}

impl<'a> Ziplist<'a> {
    /// `None` unless every byte of it is as it must be.
    pub fn check(blob: &'a [u8]) -> Option<Ziplist<'a>> {
        let (header, rest) = blob.split_first_chunk::<HEADER_LEN>()?;
        let (&END, entries) = rest.split_last()? else { return None };
        let [a, b, c, d, e, f, g, h, i, j] = *header;
        let total = u32::from_le_bytes([a, b, c, d]) as usize;
        let tail = u32::from_le_bytes([e, f, g, h]) as usize;
        let announced = u16::from_le_bytes([i, j]);
        if total != blob.len() || tail > blob.len() - 1 {
            return None;
        }
        let (mut at, mut previous, mut count) = (0, 0, 0);
        while at < entries.len() {
            let entry = decode(&entries[at..])?;
            if entry.previous != previous {
                return None;
            }
            previous = entry.len;
            at += entry.len;
            count += 1;
        }
        let tail_is_right = count == 0 || tail == HEADER_LEN + entries.len() - previous;
        let count_is_right = announced == COUNT_UNKNOWN || announced as usize == count;
        (tail_is_right && count_is_right).then_some(Ziplist { entries, count })
    }

    pub fn len(&self) -> usize {
        self.count
    }

    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    pub fn iter(&self) -> Iter<'a> {
        Iter { rest: self.entries }
    }
}

#[derive(Clone, Debug)]
pub struct Iter<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Iter<'a> {
    type Item = Item<'a>;
    fn next(&mut self) -> Option<Item<'a>> {
        let entry = decode(self.rest)?;
        self.rest = &self.rest[entry.len..];
        Some(entry.element)
    }
}

struct Entry<'a> {
    element: Item<'a>,
    /// Bytes of the entry before, as this one has it.
    previous: usize,
    /// Bytes of this one.
    len: usize,
}

/// The entry that `bytes` begin with.
fn decode(bytes: &[u8]) -> Option<Entry<'_>> {
    let (previous, at) = match *bytes.first()? {
        LONG_PREVIOUS => (u32::from_le_bytes(*bytes[1..].first_chunk()?) as usize, 5),
        END => return None,
        previous => (previous as usize, 1),
    };
    let (&encoding, rest) = bytes.get(at..)?.split_first()?;
    let text = |header: usize, len: usize| Some((Item::Bytes(rest.get(header..)?.get(..len)?), header + len));
    let signed = |len: usize| {
        let mut number = [0; 8];
        number[8 - len..].copy_from_slice(rest.get(..len)?);
        Some((Item::Int(i64::from_le_bytes(number) >> (64 - 8 * len)), len))
    };
    let (element, data_len) = match encoding {
        0x00..=0x3f => text(0, encoding as usize),
        0x40..=0x7f => text(1, ((encoding & 0x3f) as usize) << 8 | *rest.first()? as usize),
        0x80..=0xbf => text(4, u32::from_be_bytes(*rest.first_chunk()?) as usize),
        0xc0 => signed(2),
        0xd0 => signed(4),
        0xe0 => signed(8),
        0xf0 => signed(3),
        0xfe => signed(1),
        0xf1..=0xfd => Some((Item::Int((encoding & 0x0f) as i64 - 1), 0)),
        _ => None,
    }?;
    Some(Entry { element, previous, len: at + 1 + data_len })
}

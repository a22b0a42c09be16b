//! A listpack: elements packed one after the other, the shape of every small collection.
//!
//! Elements are encoded exactly as in Redis's listpack (its specification: "Listpack specification", Salvatore Sanfilippo,
//! 2017): encoding and data, then the length of those two, written so that it can be read backwards. What Redis
//! writes around them, a header with the total length and a terminator, is left out in memory, since whoever holds a listpack
//! knows its length; [`write_redis`] and [`read_redis`] put it on and take it off.
//!
//! ```text
//! in memory | count, u16 | element | element | ...
//! element   | encoding and data | length of those, read from the right |
//! ```
//!
//! A count of [`COUNT_UNKNOWN`] says that there are so many elements, or more, that they must be counted by walking.
//!
//! A position is the offset of an element's first byte; the position behind the last element is [`Items::end`]. Positions
//! come from this module's functions, and hold until the listpack changes.

pub(in crate::store) mod bare;
mod element;
mod redis;
#[cfg(test)]
mod tests;

use element::{backlen_size, read, size_before, write};

pub(in crate::store) use element::write_at;
pub use element::{Item, Needle};
pub use redis::{read_redis, read_redis_leniently, write_redis, REDIS_OVERHEAD_BYTES};

/// Bytes in front of the first element.
const COUNT_BYTES: usize = 2;
/// There are this many elements or more.
pub const COUNT_UNKNOWN: u16 = u16::MAX;

/// A listpack to read.
#[derive(Clone, Copy, Debug)]
pub struct Items<'a> {
    bytes: &'a [u8],
}

impl<'a> Items<'a> {
    /// `bytes` are a listpack's, as [`Listpack::as_bytes`] gives them.
    pub fn new(bytes: &'a [u8]) -> Items<'a> {
        debug_assert!(bytes.len() >= COUNT_BYTES);
        Items { bytes }
    }

    pub fn as_bytes(self) -> &'a [u8] {
        self.bytes
    }

    /// The elements without the count in front of them.
    pub fn body(self) -> &'a [u8] {
        &self.bytes[COUNT_BYTES..]
    }

    fn count_field(self) -> u16 {
        u16::from_le_bytes([self.bytes[0], self.bytes[1]])
    }

    /// Number of elements.
    pub fn len(self) -> usize {
        match self.count_field() {
            COUNT_UNKNOWN => self.iter().count(),
            count => count as usize,
        }
    }

    pub fn is_empty(self) -> bool {
        self.bytes.len() == COUNT_BYTES
    }

    /// The position of the first element; the end when there is none.
    pub fn first(self) -> usize {
        COUNT_BYTES
    }

    pub fn end(self) -> usize {
        self.bytes.len()
    }

    /// The position of the last element.
    pub fn last(self) -> Option<usize> {
        self.before(self.end())
    }

    /// The element at a position.
    #[inline]
    pub fn item(self, position: usize) -> Item<'a> {
        read(&self.bytes[position..]).0
    }

    /// The position after an element's.
    #[inline]
    pub fn after(self, position: usize) -> usize {
        position + read(&self.bytes[position..]).1
    }

    /// The position before one.
    #[inline]
    pub fn before(self, position: usize) -> Option<usize> {
        (position > COUNT_BYTES).then(|| position - size_before(&self.bytes[..position]))
    }

    /// The position of element number `index`; those from the end count from -1.
    pub fn seek(self, index: i64) -> Option<usize> {
        let field = self.count_field();
        if field != COUNT_UNKNOWN {
            let len = i64::from(field);
            let index = if index < 0 { index + len } else { index };
            if index < 0 || index >= len {
                return None;
            }
            return if index <= len / 2 { self.nth(index) } else { self.nth_back(len - 1 - index) };
        }
        if index < 0 {
            self.nth_back(-1 - index)
        } else {
            self.nth(index)
        }
    }

    fn nth(self, index: i64) -> Option<usize> {
        let mut position = COUNT_BYTES;
        for _ in 0..index {
            if position >= self.end() {
                return None;
            }
            position = self.after(position);
        }
        (position < self.end()).then_some(position)
    }

    fn nth_back(self, index: i64) -> Option<usize> {
        let mut position = self.last()?;
        for _ in 0..index {
            position = self.before(position)?;
        }
        Some(position)
    }

    /// Elements from the first to the last.
    pub fn iter(self) -> Iter<'a> {
        self.iter_from(COUNT_BYTES)
    }

    /// Elements from a position on.
    pub fn iter_from(self, position: usize) -> Iter<'a> {
        Iter { bytes: self.bytes, front: position, back: self.bytes.len() }
    }

    /// The position of the first element equal to `needle` among those at `from` and every `step`-th one after it (2: the
    /// fields of a hash).
    #[inline]
    pub fn find(self, needle: &Needle, from: usize, step: usize) -> Option<usize> {
        let mut position = from;
        let mut skip = 0;
        while position < self.bytes.len() {
            let (item, size) = read(&self.bytes[position..]);
            if skip == 0 {
                if needle.is(item) {
                    return Some(position);
                }
                skip = step;
            }
            skip -= 1;
            position += size;
        }
        None
    }
}

/// Elements of a listpack, from both ends.
#[derive(Clone, Debug)]
pub struct Iter<'a> {
    bytes: &'a [u8],
    front: usize,
    back: usize,
}

impl Iter<'_> {
    /// The position of the element that `next` will give; the end when there is none.
    pub fn position(&self) -> usize {
        self.front
    }
}

impl<'a> Iterator for Iter<'a> {
    type Item = Item<'a>;

    #[inline]
    fn next(&mut self) -> Option<Item<'a>> {
        if self.front >= self.back {
            return None;
        }
        let (item, size) = read(&self.bytes[self.front..]);
        self.front += size;
        Some(item)
    }
}

impl<'a> DoubleEndedIterator for Iter<'a> {
    fn next_back(&mut self) -> Option<Item<'a>> {
        if self.front >= self.back {
            return None;
        }
        self.back -= size_before(&self.bytes[..self.back]);
        Some(read(&self.bytes[self.back..]).0)
    }
}

/// A listpack to change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listpack {
    bytes: Vec<u8>,
}

impl Default for Listpack {
    fn default() -> Listpack {
        Listpack::new()
    }
}

impl Listpack {
    pub fn new() -> Listpack {
        Listpack { bytes: vec![0; COUNT_BYTES] }
    }

    /// The listpack that `as_bytes` or `into_bytes` gave.
    pub fn from_bytes(bytes: Vec<u8>) -> Listpack {
        debug_assert!(bytes.len() >= COUNT_BYTES);
        Listpack { bytes }
    }

    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    #[inline]
    pub fn items(&self) -> Items<'_> {
        Items { bytes: &self.bytes }
    }

    pub fn len(&self) -> usize {
        self.items().len()
    }

    pub fn is_empty(&self) -> bool {
        self.items().is_empty()
    }

    /// Bytes of the listpack.
    pub fn size_bytes(&self) -> usize {
        self.bytes.len()
    }

    /// Bytes allocated for it.
    pub fn capacity(&self) -> usize {
        self.bytes.capacity()
    }

    /// Bytes that an element adds.
    pub fn size_of(element: &[u8]) -> usize {
        let size = element::encoded_size(element);
        size + backlen_size(size)
    }

    fn set_count(&mut self, count: usize) {
        let field = u16::try_from(count).unwrap_or(COUNT_UNKNOWN);
        self.bytes[..COUNT_BYTES].copy_from_slice(&field.to_le_bytes());
    }

    /// A count that is not known can only be found by walking once it may have become known again.
    fn count_changed(&mut self, added: usize, removed: usize) {
        match self.items().count_field() {
            COUNT_UNKNOWN if removed > 0 => {
                let count = self.items().iter().count();
                self.set_count(count);
            }
            COUNT_UNKNOWN => {}
            count => self.set_count(count as usize + added - removed),
        }
    }

    pub fn push_back(&mut self, element: &[u8]) {
        write(&mut self.bytes, element);
        self.count_changed(1, 0);
    }

    /// As `push_back` with the digits of an integer.
    #[cfg(test)]
    pub fn push_back_int(&mut self, value: i64) {
        self.push_back(itoa::Buffer::new().format(value).as_bytes());
    }

    #[cfg(test)]
    pub fn push_front(&mut self, element: &[u8]) {
        self.insert(COUNT_BYTES, element);
    }

    /// Puts an element in front of the one at `position`; returns the position behind it, where that one is now.
    pub fn insert(&mut self, position: usize, element: &[u8]) -> usize {
        let size = self.splice(position, 0, element);
        self.count_changed(1, 0);
        position + size
    }

    /// Puts another element in the place of one; returns the position behind it.
    pub fn replace(&mut self, position: usize, element: &[u8]) -> usize {
        let old = self.items().after(position) - position;
        position + self.splice(position, old, element)
    }

    /// Writes `element` over the `old` bytes at `position`, and returns its size.
    fn splice(&mut self, position: usize, old: usize, element: &[u8]) -> usize {
        let size = Listpack::size_of(element);
        let end = self.bytes.len();
        if size > old {
            self.bytes.resize(end + size - old, 0);
        }
        self.bytes.copy_within(position + old..end, position + size);
        if size < old {
            self.bytes.truncate(end + size - old);
        }
        element::write_at(&mut self.bytes[position..position + size], element);
        size
    }

    /// Takes out `count` elements from `position` on, or as many as there are; returns how many. The elements that were
    /// behind them are at `position` then.
    pub fn remove(&mut self, position: usize, count: usize) -> usize {
        let items = self.items();
        let (mut end, mut removed) = (position, 0);
        while removed < count && end < items.end() {
            end = items.after(end);
            removed += 1;
        }
        self.bytes.drain(position..end);
        if removed > 0 {
            self.count_changed(0, removed);
        }
        removed
    }

    /// Splits it: what is at `position` and behind is returned, the rest stays.
    pub fn split_off(&mut self, position: usize) -> Listpack {
        let mut tail = Listpack::new();
        tail.bytes.extend_from_slice(&self.bytes[position..]);
        let count = tail.items().iter().count();
        tail.set_count(count);
        self.bytes.truncate(position);
        let left = self.items().iter().count();
        self.set_count(left);
        tail
    }

    /// Adds the elements of another one at the end.
    pub fn append(&mut self, other: Items) {
        let known = |items: Items| items.count_field() != COUNT_UNKNOWN;
        let count = (known(self.items()) && known(other)).then(|| self.len() + other.len());
        self.bytes.extend_from_slice(other.body());
        self.set_count(count.unwrap_or(usize::from(COUNT_UNKNOWN)));
    }
}

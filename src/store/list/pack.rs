//! A listpack that is changed at both ends: in front of it there may be a gap.
//!
//! A plain listpack has to be moved up for every LPUSH and down for every LPOP, up to 8 KiB each. Here what LPOP takes
//! away becomes part of the gap, and LPUSH writes into it; when it is used up the elements are moved once, so far that there is
//! room for half as many bytes again. Behind the elements, the spare capacity of the buffer does the same for RPUSH.

use crate::store::listpack::{write_at, Items, Listpack, COUNT_UNKNOWN};
use crate::store::memory::block_size;

/// Bytes of the number of elements, which stands in front of the first.
const COUNT_BYTES: usize = 2;

/// The size of most full nodes: memory for growth ends there.
const USUAL_LIMIT: usize = 8192;

/// Bytes to allocate for `used` ones that `size` are added to.
fn grown(used: usize, size: usize) -> usize {
    let wanted = block_size(used + size.max(used / 2));
    if used + size <= USUAL_LIMIT {
        wanted.min(USUAL_LIMIT)
    } else {
        wanted
    }
}

#[derive(Debug)]
pub(super) struct Pack {
    /// The gap, and behind it a listpack as [`Items`] reads it.
    bytes: Vec<u8>,
    /// Bytes of the gap.
    gap: usize,
}

impl Default for Pack {
    fn default() -> Pack {
        Pack::new()
    }
}

impl Pack {
    pub fn new() -> Pack {
        Pack { bytes: vec![0; COUNT_BYTES], gap: 0 }
    }

    /// The elements of a listpack.
    pub fn from_bytes(bytes: Vec<u8>) -> Pack {
        debug_assert!(bytes.len() >= COUNT_BYTES);
        Pack { bytes, gap: 0 }
    }

    pub fn of(element: &[u8]) -> Pack {
        let mut bytes = Vec::with_capacity(block_size(COUNT_BYTES + Listpack::size_of(element)));
        bytes.resize(COUNT_BYTES, 0);
        let mut pack = Pack { bytes, gap: 0 };
        pack.push_back(element);
        pack
    }

    /// The bytes of the listpack, in the same memory.
    pub fn into_bytes(mut self) -> Vec<u8> {
        self.close_gap();
        self.bytes
    }

    /// The buffer, to be used for something else.
    pub fn into_buffer(self) -> Vec<u8> {
        self.bytes
    }

    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[self.gap..]
    }

    pub fn items(&self) -> Items<'_> {
        Items::new(self.as_bytes())
    }

    /// Number of elements.
    pub fn count(&self) -> usize {
        self.items().len()
    }

    pub fn is_empty(&self) -> bool {
        self.items().is_empty()
    }

    /// Bytes of the listpack.
    pub fn size_bytes(&self) -> usize {
        self.bytes.len() - self.gap
    }

    /// Bytes allocated.
    pub fn memory(&self) -> usize {
        block_size(self.bytes.capacity())
    }

    /// A copy without room to grow.
    pub fn duplicate(&self) -> Pack {
        Pack::from_bytes(self.as_bytes().to_vec())
    }

    pub fn push_back(&mut self, element: &[u8]) {
        let count = self.count();
        let size = Listpack::size_of(element);
        if self.bytes.capacity() - self.bytes.len() < size {
            self.make_room_behind(size);
        }
        let end = self.bytes.len();
        self.bytes.resize(end + size, 0);
        write_at(&mut self.bytes[end..], element);
        self.set_count(count + 1);
    }

    pub fn push_front(&mut self, element: &[u8]) {
        let count = self.count();
        let size = Listpack::size_of(element);
        if self.gap < size {
            self.make_room_in_front(size);
        }
        self.gap -= size;
        let first = self.gap + COUNT_BYTES;
        write_at(&mut self.bytes[first..first + size], element);
        self.set_count(count + 1);
    }

    /// Takes away the first element. There must be one.
    pub fn drop_first(&mut self) {
        let count = self.count();
        let items = self.items();
        self.gap += items.after(items.first()) - items.first();
        self.set_count(count - 1);
    }

    /// Takes away the last element. There must be one.
    pub fn drop_last(&mut self) {
        let count = self.count();
        let Some(last) = self.items().last() else { return };
        self.bytes.truncate(self.gap + last);
        self.set_count(count - 1);
    }

    /// Lets `change` work on the elements as on any listpack.
    pub fn edit<R>(&mut self, change: impl FnOnce(&mut Listpack) -> R) -> R {
        let mut listpack = Listpack::from_bytes(std::mem::take(self).into_bytes());
        let result = change(&mut listpack);
        *self = Pack::from_bytes(listpack.into_bytes());
        result
    }

    /// Removes the elements for which `is_unwanted`, at most `max` of them, the first or the last ones; returns how many.
    pub fn remove_where(
        &mut self,
        max: usize,
        from_end: bool,
        is_unwanted: impl Fn(crate::store::listpack::Item) -> bool,
    ) -> usize {
        let items = self.items();
        let mut unwanted = Vec::new();
        let mut iter = items.iter();
        loop {
            let position = iter.position();
            let Some(item) = iter.next() else { break };
            if is_unwanted(item) {
                unwanted.push(position..iter.position());
                if !from_end && unwanted.len() == max {
                    break;
                }
            }
        }
        let surplus = unwanted.len().saturating_sub(max);
        unwanted.drain(..surplus);
        if unwanted.is_empty() {
            return 0;
        }
        let count = self.count();
        let mut to = self.gap + unwanted[0].start;
        for (index, removed) in unwanted.iter().enumerate() {
            let next = unwanted.get(index + 1).map_or(self.bytes.len(), |next| self.gap + next.start);
            let kept = self.gap + removed.end..next;
            let len = kept.len();
            self.bytes.copy_within(kept, to);
            to += len;
        }
        self.bytes.truncate(to);
        self.set_count(count - unwanted.len());
        self.give_back_room();
        unwanted.len()
    }

    /// Gives back memory that is not needed while nothing is added.
    pub fn give_back_room(&mut self) {
        if block_size(self.size_bytes()) < self.memory() {
            self.bytes = self.as_bytes().to_vec();
            self.gap = 0;
        }
    }

    fn set_count(&mut self, count: usize) {
        let field = u16::try_from(count).unwrap_or(COUNT_UNKNOWN);
        self.bytes[self.gap..self.gap + COUNT_BYTES].copy_from_slice(&field.to_le_bytes());
    }

    fn close_gap(&mut self) {
        if self.gap > 0 {
            self.bytes.drain(..self.gap);
            self.gap = 0;
        }
    }

    #[cold]
    fn make_room_behind(&mut self, size: usize) {
        let used = self.size_bytes();
        // A queue leaves its room in front.
        if self.gap >= used.max(size) {
            self.close_gap();
            return;
        }
        let mut bytes = Vec::with_capacity(grown(used, size));
        bytes.extend_from_slice(self.as_bytes());
        *self = Pack::from_bytes(bytes);
    }

    #[cold]
    fn make_room_in_front(&mut self, size: usize) {
        let used = self.size_bytes();
        let wanted = grown(used, size);
        if self.bytes.capacity() >= wanted {
            let end = self.bytes.len();
            self.bytes.resize(wanted.max(end), 0);
            self.bytes.copy_within(self.gap..end, wanted - used);
            self.bytes.truncate(wanted);
            self.gap = wanted - used;
            return;
        }
        let mut bytes = Vec::with_capacity(wanted);
        bytes.resize(wanted - used, 0);
        bytes.extend_from_slice(self.as_bytes());
        *self = Pack { bytes, gap: wanted - used };
    }
}

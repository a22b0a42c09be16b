//! A node: a run of entries packed one after the other.
//!
//! Redis packs a run of entries into a listpack, behind a *master entry* with the field names of the first, so that entries
//! with the same fields need not repeat them; the limits of a node, and what is trimmed approximately, are about those
//! listpacks. Gyre's nodes hold the same entries with the same limits, and become the same listpacks when one is
//! asked for (see `redis`), but take a half to two thirds of the memory:
//!
//! ```text
//! node  | field | field | ... | entry | entry | ...
//! entry | tag | ID | [number of fields] | [field] value | [field] value | ...
//! tag   | bit 0: deleted | bit 1: fields as the first entry's, left out | bits 2, 3: form of the ID | bits 4 to 7: milliseconds
//! ```
//!
//! An ID is told from the one in front of it, for the first entry from the node's own. The next of the same
//! millisecond, and the first of one of the 16 that follow, take no byte besides the tag. Fields and values are elements of a listpack
//! without the length behind them. Redis's entries carry six to nine bytes more; they can be walked backwards,
//! which here is done by walking forwards first.
//!
//! A deletion flips a bit. Nothing else in a node ever changes but that entries come to its end.

use super::id::StreamId;
use crate::store::listpack::bare;
use crate::store::listpack::{Item, Needle, REDIS_OVERHEAD_BYTES};
use crate::store::memory::block_size;
use crate::store::Settings;

/// The entry is deleted; it keeps its place until its whole node goes.
pub(super) const DELETED: u8 = 1;
/// The entry has the fields of the node's first.
pub(super) const SAME_FIELDS: u8 = 2;

const FORM_SHIFT: u32 = 2;
/// The millisecond of the one in front, and its number plus one.
const FORM_NEXT: u8 = 0;
/// Number 0 of a millisecond up to 16 later; how much later, less one, is in the tag.
const FORM_SOON: u8 = 1;
/// Number 0 of a later millisecond; how much later follows.
const FORM_LATER: u8 = 2;
/// How much later, and then the number; within one millisecond how much greater the number is.
const FORM_ANY: u8 = 3;
const SOON_SHIFT: u32 = 4;
const SOON_MS_MAX: u64 = 16;

/// A node's listpack, and what one entry may hold, bytes: as in Redis, below what a listpack's own lengths can tell.
pub const LISTPACK_BYTES_MAX: usize = 1 << 30;

#[derive(Clone, Debug)]
pub struct Node {
    first: StreamId,
    pub(super) bytes: Vec<u8>,
    pub(super) live: u32,
    pub(super) deleted: u32,
    /// Where the entries begin.
    pub(super) entries_at: u32,
    /// Number of fields of the first entry.
    pub(super) fields: u32,
    /// Of Redis's listpack, but for the two counts in it.
    listpack_rest_bytes: u32,
}

/// One entry of a node, deleted or not.
#[derive(Clone, Copy, Debug)]
pub(super) struct RawEntry {
    pub id: StreamId,
    pub at: usize,
    pub tag: u8,
    /// Number of fields.
    pub fields: u32,
    /// Where its fields and values, or values, are.
    pub data: usize,
    pub end: usize,
}

impl RawEntry {
    pub fn is_deleted(&self) -> bool {
        self.tag & DELETED != 0
    }

    pub fn has_same_fields(&self) -> bool {
        self.tag & SAME_FIELDS != 0
    }
}

/// Walks over a node's entries.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scan<'a> {
    pub node: &'a Node,
    pub at: usize,
    /// The ID of the entry in front.
    pub previous: StreamId,
}

impl Iterator for Scan<'_> {
    type Item = RawEntry;

    #[inline]
    fn next(&mut self) -> Option<RawEntry> {
        let entry = self.node.entry_at(self.at, self.previous)?;
        self.at = entry.end;
        self.previous = entry.id;
        Some(entry)
    }
}

impl Node {
    /// A node for an entry of these fields and values in turn, which is to be pushed next.
    /// `buffer` is what its bytes go into.
    pub(super) fn new(first: StreamId, pairs: &[&[u8]], mut buffer: Vec<u8>) -> Node {
        buffer.clear();
        let mut node = Node { bytes: buffer, ..Node::empty(first) };
        for pair in pairs.chunks_exact(2) {
            let size = bare::push(&mut node.bytes, pair[0]);
            node.count_master_field(size);
        }
        node.end_master();
        node
    }

    pub(super) fn empty(first: StreamId) -> Node {
        Node {
            first,
            bytes: Vec::new(),
            live: 0,
            deleted: 0,
            entries_at: 0,
            fields: 0,
            listpack_rest_bytes: 0,
        }
    }

    /// Adds a field of the first entry as it is in a listpack, without the length behind it.
    pub(super) fn push_master_field(&mut self, bare: &[u8], size_in_listpack: usize) {
        self.bytes.extend_from_slice(bare);
        self.count_master_field(size_in_listpack);
    }

    fn count_master_field(&mut self, size_in_listpack: usize) {
        self.listpack_rest_bytes += size_in_listpack as u32;
        self.fields += 1;
    }

    /// The number of fields and the zero that ends the master entry are in the listpack only.
    pub(super) fn end_master(&mut self) {
        self.entries_at = self.bytes.len() as u32;
        let around = REDIS_OVERHEAD_BYTES
            + bare::integer_in_listpack(i64::from(self.fields))
            + bare::integer_in_listpack(0);
        self.listpack_rest_bytes += around as u32;
    }

    /// The ID of its first entry, deleted or not.
    pub fn first_id(&self) -> StreamId {
        self.first
    }

    /// Entries that are not deleted.
    pub fn live(&self) -> u64 {
        u64::from(self.live)
    }

    pub fn deleted(&self) -> u64 {
        u64::from(self.deleted)
    }

    /// Bytes of the listpack that Redis keeps for these entries.
    pub fn listpack_bytes(&self) -> usize {
        self.listpack_rest_bytes as usize
            + bare::integer_in_listpack(i64::from(self.live))
            + bare::integer_in_listpack(i64::from(self.deleted))
    }

    /// Bytes allocated, without `Self`.
    pub(super) fn memory(&self) -> usize {
        match self.bytes.capacity() {
            0 => 0,
            capacity => block_size(capacity),
        }
    }

    /// Takes no more memory than it needs from now on. Returns the buffer that it was in, for the next node.
    pub(super) fn seal(&mut self) -> Vec<u8> {
        // The allocator shrinks a block in place, which gives nothing back, unless half of it is free.
        let exact = self.bytes.as_slice().to_vec();
        std::mem::replace(&mut self.bytes, exact)
    }

    /// Whether an entry with fields and values of this length belongs into a new node.
    pub(super) fn is_full(&self, entry_bytes: usize, settings: &Settings) -> bool {
        let bytes_max = match settings.stream_node_max_bytes {
            0 => LISTPACK_BYTES_MAX,
            bytes => bytes.min(LISTPACK_BYTES_MAX),
        };
        let entries_max = settings.stream_node_max_entries;
        self.listpack_bytes() + entry_bytes >= bytes_max
            || entries_max != 0 && (self.live() + self.deleted()) as i64 >= entries_max
    }

    /// Adds an entry of fields and values in turn. `previous` is the ID of the last one, deleted or not.
    pub(super) fn push(&mut self, id: StreamId, previous: StreamId, pairs: &[&[u8]]) {
        let fields = pairs.len() / 2;
        let same = self.has_fields(pairs);
        self.push_head(id, previous, if same { SAME_FIELDS } else { 0 }, fields);
        let mut size = 0;
        for pair in pairs.chunks_exact(2) {
            if !same {
                size += bare::push(&mut self.bytes, pair[0]);
            }
            size += bare::push(&mut self.bytes, pair[1]);
        }
        self.listpack_rest_bytes += size as u32;
    }

    /// Begins an entry: all but its fields and values, for which `push_element` is to be called.
    pub(super) fn push_head(&mut self, id: StreamId, previous: StreamId, flags: u8, fields: usize) {
        let later_ms = id.ms.wrapping_sub(previous.ms);
        let form = match (later_ms, id.seq) {
            (0, seq) if Some(seq) == previous.seq.checked_add(1) => FORM_NEXT,
            (1..=SOON_MS_MAX, 0) => FORM_SOON,
            (1.., 0) => FORM_LATER,
            _ => FORM_ANY,
        };
        let soon = if form == FORM_SOON { (later_ms - 1) as u8 } else { 0 };
        self.bytes.push(flags | form << FORM_SHIFT | soon << SOON_SHIFT);
        if matches!(form, FORM_LATER | FORM_ANY) {
            push_varint(&mut self.bytes, later_ms);
        }
        if form == FORM_ANY {
            let number = if later_ms == 0 { id.seq.wrapping_sub(previous.seq) } else { id.seq };
            push_varint(&mut self.bytes, number);
        }
        let same = flags & SAME_FIELDS != 0;
        if !same {
            push_varint(&mut self.bytes, fields as u64);
        }
        match flags & DELETED {
            0 => self.live += 1,
            _ => self.deleted += 1,
        }
        let (ms, seq) = self.delta(id);
        let mut size = bare::integer_in_listpack(i64::from(flags))
            + bare::integer_in_listpack(ms)
            + bare::integer_in_listpack(seq)
            + bare::integer_in_listpack(element_count(fields, same));
        if !same {
            size += bare::integer_in_listpack(fields as i64);
        }
        self.listpack_rest_bytes += size as u32;
    }

    /// Adds a field or value as it is in a listpack, without the length behind it.
    pub(super) fn push_element(&mut self, bare: &[u8], size_in_listpack: usize) {
        self.bytes.extend_from_slice(bare);
        self.listpack_rest_bytes += size_in_listpack as u32;
    }

    /// An ID as Redis's listpack has it: what is added to the node's.
    pub(super) fn delta(&self, id: StreamId) -> (i64, i64) {
        (id.ms.wrapping_sub(self.first.ms) as i64, id.seq.wrapping_sub(self.first.seq) as i64)
    }

    fn has_fields(&self, pairs: &[&[u8]]) -> bool {
        if pairs.len() / 2 != self.fields as usize {
            return false;
        }
        let mut at = 0;
        pairs.chunks_exact(2).all(|pair| {
            let (item, size) = bare::item(&self.bytes[at..]);
            at += size;
            match item {
                Item::Bytes(bytes) => bytes == pair[0],
                integer => Needle::new(pair[0]).is(integer),
            }
        })
    }

    pub(super) fn scan(&self) -> Scan<'_> {
        Scan { node: self, at: self.entries_at as usize, previous: self.first }
    }

    /// The entry at a place, `previous` being the ID of the one in front; `None` at the end.
    #[inline]
    fn entry_at(&self, at: usize, previous: StreamId) -> Option<RawEntry> {
        let tag = *self.bytes.get(at)?;
        let mut data = at + 1;
        let id = match tag >> FORM_SHIFT & 3 {
            FORM_NEXT => StreamId::new(previous.ms, previous.seq + 1),
            FORM_SOON => StreamId::new(previous.ms.wrapping_add(u64::from(tag >> SOON_SHIFT) + 1), 0),
            FORM_LATER => {
                let later_ms = read_varint(&self.bytes, &mut data);
                StreamId::new(previous.ms.wrapping_add(later_ms), 0)
            }
            _ => {
                let later_ms = read_varint(&self.bytes, &mut data);
                let number = read_varint(&self.bytes, &mut data);
                match later_ms {
                    0 => StreamId::new(previous.ms, previous.seq.wrapping_add(number)),
                    _ => StreamId::new(previous.ms.wrapping_add(later_ms), number),
                }
            }
        };
        let (fields, elements) = if tag & SAME_FIELDS != 0 {
            (self.fields, self.fields)
        } else {
            let fields = read_varint(&self.bytes, &mut data) as u32;
            (fields, 2 * fields)
        };
        let mut end = data;
        for _ in 0..elements {
            end += bare::item(&self.bytes[end..]).1;
        }
        Some(RawEntry { id, at, tag, fields, data, end })
    }

    /// Marks an entry as deleted.
    pub(super) fn delete(&mut self, at: usize) {
        debug_assert!(self.bytes[at] & DELETED == 0);
        self.bytes[at] |= DELETED;
        self.live -= 1;
        self.deleted += 1;
    }

    /// Marks entries as deleted from the first on while `wanted` says so of each, deleted ones included. Returns how many were
    /// not deleted before.
    pub(super) fn delete_while(&mut self, mut wanted: impl FnMut(&RawEntry) -> bool) -> u64 {
        let (mut at, mut previous, mut count) = (self.entries_at as usize, self.first, 0);
        while let Some(entry) = self.entry_at(at, previous).filter(&mut wanted) {
            if !entry.is_deleted() {
                self.delete(entry.at);
                count += 1;
            }
            (at, previous) = (entry.end, entry.id);
        }
        count
    }
}

/// Elements of an entry in Redis's listpack, the count itself left out.
pub(super) fn element_count(fields: usize, same: bool) -> i64 {
    let fields = fields as i64;
    3 + if same { fields } else { 2 * fields + 1 }
}

/// Seven bits a byte, the lowest first; the high bit says that more follow.
fn push_varint(bytes: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
}

#[inline]
fn read_varint(bytes: &[u8], at: &mut usize) -> u64 {
    let (mut value, mut shift) = (0, 0);
    loop {
        let byte = bytes[*at];
        *at += 1;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return value;
        }
        shift += 7;
    }
}

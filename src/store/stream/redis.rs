//! Nodes as the listpacks that Redis keeps, and writes into files:
//!
//! ```text
//! node  | live entries | deleted entries | number of fields | field ... | 0 | entry ...
//! entry | flags | ms | seq | values, or number of fields and fields with values | elements of the entry so far
//! ```
//!
//! Flags are the low two bits of our tags; an ID is what is to be added to the node's. (Redis's t_stream.c describes it.)

use super::id::StreamId;
use super::node::{element_count, Node, DELETED, SAME_FIELDS};
use crate::store::listpack::{bare, Item, Items, Iter, COUNT_UNKNOWN};

const END: u8 = 0xFF;

impl Node {
    /// Appends the node's listpack in Redis's form, header and terminator included.
    pub fn write_listpack(&self, out: &mut Vec<u8>) {
        let start = out.len();
        out.reserve(self.listpack_bytes());
        out.extend_from_slice(&(self.listpack_bytes() as u32).to_le_bytes());
        out.extend_from_slice(&[0; 2]);
        bare::write_integer_to_listpack(i64::from(self.live), out);
        bare::write_integer_to_listpack(i64::from(self.deleted), out);
        bare::write_integer_to_listpack(i64::from(self.fields), out);
        let mut elements = 4 + self.copy_elements(0, self.fields, out).1;
        bare::write_integer_to_listpack(0, out);
        for entry in self.scan() {
            let same = entry.has_same_fields();
            bare::write_integer_to_listpack(i64::from(entry.tag & (DELETED | SAME_FIELDS)), out);
            let (ms, seq) = self.delta(entry.id);
            bare::write_integer_to_listpack(ms, out);
            bare::write_integer_to_listpack(seq, out);
            let copied = if same {
                entry.fields
            } else {
                bare::write_integer_to_listpack(i64::from(entry.fields), out);
                2 * entry.fields
            };
            self.copy_elements(entry.data, copied, out);
            let count = element_count(entry.fields as usize, same);
            bare::write_integer_to_listpack(count, out);
            elements += count as usize + 1;
        }
        out.push(END);
        debug_assert_eq!(out.len() - start, self.listpack_bytes());
        let field = u16::try_from(elements).unwrap_or(COUNT_UNKNOWN);
        out[start + 4..start + 6].copy_from_slice(&field.to_le_bytes());
    }

    /// Copies elements to a listpack. Returns where they end, and how many there were.
    fn copy_elements(&self, mut at: usize, count: u32, out: &mut Vec<u8>) -> (usize, usize) {
        for _ in 0..count {
            let size = bare::item(&self.bytes[at..]).1;
            bare::write_to_listpack(&self.bytes[at..at + size], out);
            at += size;
        }
        (at, count as usize)
    }

    /// The node of a listpack whose elements have been checked, as `read_redis` does. `None` when they are no node's, or not
    /// those that the counts say.
    pub fn from_listpack(first: StreamId, items: Items) -> Option<Node> {
        let mut elements = Elements { items, iter: items.iter() };
        let (live, deleted) = (elements.integer()?, elements.integer()?);
        let fields = elements.integer()?;
        let mut node = Node::empty(first);
        for _ in 0..fields {
            let (bare, size) = elements.next()?;
            node.push_master_field(bare, size);
        }
        node.end_master();
        if fields < 0 || elements.integer()? != 0 {
            return None;
        }
        let mut previous = first;
        while let Some(flags) = elements.iter.next() {
            let flags = u8::try_from(flags.integer()?).ok()?;
            let same = flags & SAME_FIELDS != 0;
            let ms = first.ms.wrapping_add(elements.integer()? as u64);
            let id = StreamId::new(ms, first.seq.wrapping_add(elements.integer()? as u64));
            let own = if same { fields } else { elements.integer()? };
            let own = u32::try_from(own).ok()?;
            if flags > (DELETED | SAME_FIELDS) {
                return None;
            }
            node.push_head(id, previous, flags, own as usize);
            previous = id;
            for _ in 0..if same { u64::from(own) } else { 2 * u64::from(own) } {
                let (bare, size) = elements.next()?;
                node.push_element(bare, size);
            }
            if elements.integer()? != element_count(own as usize, same) {
                return None;
            }
        }
        node.seal();
        (node.live() as i64 == live && node.deleted() as i64 == deleted).then_some(node)
    }
}

struct Elements<'a> {
    items: Items<'a>,
    iter: Iter<'a>,
}

impl<'a> Elements<'a> {
    /// An element without the length behind it, and its size with that.
    fn next(&mut self) -> Option<(&'a [u8], usize)> {
        let start = self.iter.position();
        self.iter.next()?;
        let size = self.iter.position() - start;
        Some((&self.items.as_bytes()[start..start + bare::bare_size(size)], size))
    }

    fn integer(&mut self) -> Option<i64> {
        match self.iter.next()? {
            Item::Int(value) => Some(value),
            text => text.integer(),
        }
    }
}

//! Walking over a range of entries, in either direction.

use super::id::StreamId;
use super::node::{Node, RawEntry, Scan};
use super::nodes::{NodePosition, Nodes};
use crate::store::listpack::{bare, Item};

/// Entries that a walk backwards decodes at a time. It remembers one place of a node for each so many entries.
const BLOCK_ENTRIES: usize = 128;

/// An entry that is not deleted.
#[derive(Clone, Copy, Debug)]
pub struct Entry<'a> {
    node: &'a Node,
    raw: RawEntry,
}

impl<'a> Entry<'a> {
    pub fn id(&self) -> StreamId {
        self.raw.id
    }

    /// Number of fields.
    pub fn len(&self) -> usize {
        self.raw.fields as usize
    }

    /// Fields with their values, in the order in which they were added.
    pub fn fields(&self) -> Fields<'a> {
        Fields {
            bytes: &self.node.bytes,
            // Those of the first entry are in front of the node's entries.
            fields_at: self.raw.has_same_fields().then_some(0),
            at: self.raw.data,
            left: self.raw.fields,
        }
    }
}

pub struct Fields<'a> {
    bytes: &'a [u8],
    fields_at: Option<usize>,
    at: usize,
    left: u32,
}

impl<'a> Iterator for Fields<'a> {
    type Item = (Item<'a>, Item<'a>);

    #[inline]
    fn next(&mut self) -> Option<(Item<'a>, Item<'a>)> {
        self.left = self.left.checked_sub(1)?;
        let at = self.fields_at.as_mut().unwrap_or(&mut self.at);
        let (field, size) = bare::item(&self.bytes[*at..]);
        *at += size;
        let (value, size) = bare::item(&self.bytes[self.at..]);
        self.at += size;
        Some((field, value))
    }
}

/// Entries from a first ID to a last one.
pub struct Range<'a> {
    nodes: &'a Nodes,
    place: Option<NodePosition>,
    scan: Option<Scan<'a>>,
    start: StreamId,
    end: StreamId,
}

impl<'a> Range<'a> {
    pub(super) fn new(nodes: &'a Nodes, start: StreamId, end: StreamId) -> Range<'a> {
        let place = nodes.seek(start).or_else(|| nodes.first());
        let scan = place.map(|place| nodes.get(place).scan());
        Range { nodes, place, scan, start, end }
    }
}

impl<'a> Iterator for Range<'a> {
    type Item = Entry<'a>;

    #[inline]
    fn next(&mut self) -> Option<Entry<'a>> {
        loop {
            let scan = self.scan.as_mut()?;
            let node = scan.node;
            match scan.find(|raw| raw.id >= self.start && !raw.is_deleted()) {
                Some(raw) if raw.id <= self.end => return Some(Entry { node, raw }),
                Some(_) => self.scan = None,
                None => {
                    self.place = self.place.and_then(|place| self.nodes.after(place));
                    self.scan = self.place.map(|place| self.nodes.get(place).scan());
                }
            }
        }
    }
}

/// As `Range`, from the last to the first.
pub struct RangeBack<'a> {
    nodes: &'a Nodes,
    place: Option<NodePosition>,
    /// Where blocks of the node begin, those of which are still to come.
    blocks: Vec<Scan<'a>>,
    /// The entries of the block in progress, those in range that are still to come.
    block: Vec<RawEntry>,
    start: StreamId,
    end: StreamId,
}

impl<'a> RangeBack<'a> {
    pub(super) fn new(nodes: &'a Nodes, start: StreamId, end: StreamId) -> RangeBack<'a> {
        let mut range =
            RangeBack { nodes, place: nodes.seek(end), blocks: Vec::new(), block: Vec::new(), start, end };
        range.enter();
        range
    }

    /// Finds the blocks of the node that the walk has come to.
    fn enter(&mut self) {
        let Some(place) = self.place else { return };
        let mut scan = self.nodes.get(place).scan();
        loop {
            let block = scan;
            let mut entries = scan.by_ref().take(BLOCK_ENTRIES);
            let Some(first) = entries.next() else { return };
            let rest = entries.count();
            // Later blocks of a node have later IDs.
            if first.id > self.end {
                return;
            }
            self.blocks.push(block);
            if rest + 1 < BLOCK_ENTRIES {
                return;
            }
        }
    }
}

impl<'a> Iterator for RangeBack<'a> {
    type Item = Entry<'a>;

    fn next(&mut self) -> Option<Entry<'a>> {
        loop {
            let node = self.nodes.get(self.place?);
            if let Some(raw) = self.block.pop() {
                if raw.id < self.start {
                    self.place = None;
                    return None;
                }
                return Some(Entry { node, raw });
            }
            match self.blocks.pop() {
                Some(block) => {
                    let in_range = |raw: &RawEntry| raw.id <= self.end && !raw.is_deleted();
                    self.block.extend(block.take(BLOCK_ENTRIES).filter(in_range));
                }
                None => {
                    self.place = self.place.and_then(|place| self.nodes.before(place));
                    self.enter();
                }
            }
        }
    }
}

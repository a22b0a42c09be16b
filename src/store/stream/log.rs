//! The entries of a stream and what is known about all that ever were: an append-only log that is cut at its head.

use super::id::StreamId;
use super::node::{Node, LISTPACK_BYTES_MAX};
use super::nodes::{NodePosition, Nodes};
use super::radix;
use super::range::{Range, RangeBack};
use crate::store::Settings;

#[derive(Debug, Default)]
pub struct EntryLog {
    pub(super) nodes: Nodes,
    length: u64,
    first_id: StreamId,
    last_id: StreamId,
    max_deleted_id: StreamId,
    entries_added: u64,
    /// ID of the last entry that is not deleted; 0-0 without any.
    last_live_id: StreamId,
    /// ID of the last entry of the last node, deleted or not.
    tail_id: StreamId,
    /// Nodes that trimming has taken off, too many to be freed at once.
    pub(super) trimmed: Nodes,
}

/// The largest buffer that goes from one node to the next, bytes: that of a node of the default size.
const BUFFER_MAX: usize = 4096;
/// Nodes that trimming frees at once.
const FREED_AT_ONCE_MAX: usize = 64;

/// What trimming is to leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// So many entries.
    Entries(u64),
    /// Entries from this ID on.
    From(StreamId),
}

/// How to cut the oldest entries off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trim {
    pub keep: Keep,
    /// Only whole nodes go.
    pub approximate: bool,
    /// At most so many entries go, if they are not few enough to be part of a node; 0: any number.
    pub limit: u64,
}

/// An entry that cannot be added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooLarge;

/// Bytes of fields and values; an entry with too many does not fit into a node.
pub fn check_entry_size(pairs: &[&[u8]]) -> Result<usize, TooLarge> {
    let bytes = pairs.iter().map(|part| part.len()).sum();
    if bytes > LISTPACK_BYTES_MAX {
        return Err(TooLarge);
    }
    Ok(bytes)
}

impl EntryLog {
    /// Number of entries.
    pub fn len(&self) -> u64 {
        self.length
    }

    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// ID of the first entry; 0-0 without any.
    pub fn first_id(&self) -> StreamId {
        self.first_id
    }

    /// The last ID given out, or set by XSETID: there need not be an entry of this ID.
    pub fn last_id(&self) -> StreamId {
        self.last_id
    }

    /// ID of the last entry; 0-0 without any.
    pub fn last_entry_id(&self) -> StreamId {
        self.last_live_id
    }

    /// The greatest ID that XDEL deleted.
    pub fn max_deleted_id(&self) -> StreamId {
        self.max_deleted_id
    }

    /// How many entries were ever added.
    pub fn entries_added(&self) -> u64 {
        self.entries_added
    }

    pub fn set_last_id(&mut self, id: StreamId) {
        self.last_id = id;
    }

    pub fn set_max_deleted_id(&mut self, id: StreamId) {
        self.max_deleted_id = id;
    }

    pub fn set_entries_added(&mut self, count: u64) {
        self.entries_added = count;
    }

    /// Number of nodes.
    pub fn node_count(&self) -> usize {
        self.nodes.len()
    }

    /// Nodes of the radix tree that Redis would keep them in. Looks at every node.
    pub fn radix_tree_nodes(&self) -> u64 {
        radix::tree_nodes(self.nodes.iter().map(Node::first_id))
    }

    /// Whether an entry behind `start`, or `start` itself, may have been deleted by XDEL.
    pub fn has_gaps_from(&self, start: StreamId) -> bool {
        self.length > 0
            && self.max_deleted_id != StreamId::MIN
            && self.first_id <= self.max_deleted_id
            && start <= self.max_deleted_id
    }

    /// How many entries had been added when that of this ID was; `None` when that cannot be known, because it is neither at
    /// an end of the stream nor outside, or because entries between were deleted.
    pub fn entries_until(&self, id: StreamId) -> Option<i64> {
        let added = self.entries_added as i64;
        if self.entries_added == 0 || id == self.last_id || self.length == 0 && id < self.last_id {
            return Some(added);
        }
        let has_gaps = self.max_deleted_id != StreamId::MIN && self.max_deleted_id >= self.first_id;
        if id > self.last_id || has_gaps {
            return None;
        }
        let before_first = added.wrapping_sub(self.length as i64);
        match id.cmp(&self.first_id) {
            std::cmp::Ordering::Less => Some(before_first),
            std::cmp::Ordering::Equal => Some(before_first.wrapping_add(1)),
            std::cmp::Ordering::Greater => None,
        }
    }

    /// The nodes in order.
    pub fn nodes(&self) -> impl Iterator<Item = &Node> {
        self.nodes.iter()
    }

    /// The nodes in order from the one on that holds `id`, or would.
    pub fn nodes_from(&self, id: StreamId) -> impl Iterator<Item = &Node> {
        let first = self.nodes.seek(id).or(self.nodes.first());
        std::iter::successors(first, |place| self.nodes.after(*place)).map(|place| self.nodes.get(place))
    }

    /// Entries from `start` to `end`, both included.
    pub fn range(&self, start: StreamId, end: StreamId) -> Range<'_> {
        Range::new(&self.nodes, start, end)
    }

    /// As `range`, the last first.
    pub fn range_back(&self, start: StreamId, end: StreamId) -> RangeBack<'_> {
        RangeBack::new(&self.nodes, start, end)
    }

    /// Whether there is an entry of this ID.
    pub fn contains(&self, id: StreamId) -> bool {
        self.range(id, id).next().is_some()
    }

    /// The ID that the first node begins with, which may be a deleted entry's.
    pub fn first_node_id(&self) -> Option<StreamId> {
        self.nodes.first().map(|place| self.nodes.get(place).first_id())
    }

    /// Adds an entry of fields and values in turn. Its ID has to be greater than the last.
    pub fn append(&mut self, id: StreamId, pairs: &[&[u8]], settings: &Settings) -> Result<(), TooLarge> {
        debug_assert!(id > self.last_id, "IDs grow");
        let bytes = check_entry_size(pairs)?;
        let tail = match self.nodes.last() {
            Some(tail) if !self.nodes.get(tail).is_full(bytes, settings) => tail,
            full => {
                let mut buffer = Vec::new();
                if let Some(full) = full {
                    buffer = self.nodes.change(full, Node::seal);
                    self.drop_tails_behind(id);
                }
                if buffer.capacity() > BUFFER_MAX {
                    buffer = Vec::new();
                }
                self.nodes.push(Node::new(id, pairs, buffer));
                self.tail_id = id;
                self.nodes.last().expect("just added")
            }
        };
        let previous = self.tail_id;
        self.nodes.change(tail, |node| node.push(id, previous, pairs));
        self.length += 1;
        // A payload may say any number.
        self.entries_added = self.entries_added.wrapping_add(1);
        self.last_id = id;
        self.last_live_id = id;
        self.tail_id = id;
        if self.length == 1 {
            self.first_id = id;
        }
        Ok(())
    }

    /// XSETID may set the last ID back behind deleted entries. Nodes that begin with such a one hold nothing, and would
    /// be behind the new node.
    fn drop_tails_behind(&mut self, id: StreamId) {
        while let Some(tail) = self.nodes.last() {
            if self.nodes.get(tail).first_id() < id {
                return;
            }
            self.nodes.remove(tail);
        }
    }

    /// Deletes an entry; false when there is none of this ID. Leaves `first_id` and `max_deleted_id` to
    /// `deleted`, which is to be called after the last of them.
    fn delete(&mut self, id: StreamId) -> bool {
        let Some(place) = self.nodes.seek(id) else { return false };
        let node = self.nodes.get(place);
        let found = node.scan().find(|entry| entry.id >= id && !entry.is_deleted());
        let Some(entry) = found.filter(|entry| entry.id == id) else { return false };
        if node.live() == 1 {
            self.remove_node(place);
        } else {
            self.nodes.change(place, |node| node.delete(entry.at));
        }
        self.length -= 1;
        if id == self.last_live_id {
            let last = self.range_back(StreamId::MIN, StreamId::MAX).next();
            self.last_live_id = last.map_or(StreamId::MIN, |entry| entry.id());
        }
        true
    }

    fn remove_node(&mut self, place: NodePosition) -> Node {
        let is_tail = self.nodes.after(place).is_none();
        let node = self.nodes.remove(place);
        if is_tail {
            let tail = self.nodes.last();
            self.tail_id = tail
                .and_then(|tail| self.nodes.get(tail).scan().last())
                .map_or(StreamId::MIN, |entry| entry.id);
        }
        node
    }

    /// XDEL: deletes entries, and returns how many there were.
    pub fn delete_all(&mut self, ids: &[StreamId]) -> u64 {
        let mut deleted = 0;
        let mut lost_first = false;
        for id in ids {
            if self.delete(*id) {
                lost_first |= *id == self.first_id;
                self.max_deleted_id = self.max_deleted_id.max(*id);
                deleted += 1;
            }
        }
        if lost_first {
            self.find_first();
        }
        deleted
    }

    fn find_first(&mut self) {
        let first = self.range(StreamId::MIN, StreamId::MAX).next();
        self.first_id = first.map_or(StreamId::MIN, |entry| entry.id());
    }

    /// Cuts the oldest entries off, and returns how many. `Stream::take_trimmed` is to be called afterwards.
    pub fn trim(&mut self, trim: &Trim) -> u64 {
        let (mut deleted, mut nodes) = (0, 0);
        while let Some(place) = self.nodes.first() {
            let node = self.nodes.get(place);
            let entries = node.live();
            if matches!(trim.keep, Keep::Entries(count) if self.length <= count) {
                break;
            }
            if trim.limit > 0 && deleted + entries > trim.limit {
                break;
            }
            let whole = match trim.keep {
                Keep::Entries(count) => self.length - entries >= count,
                Keep::From(id) => self.ends_before(place, id),
            };
            if whole {
                let node = self.remove_node(place);
                nodes += 1;
                if nodes > FREED_AT_ONCE_MAX {
                    self.trimmed.push(node);
                }
                self.length -= entries;
                deleted += entries;
                continue;
            }
            if !trim.approximate {
                deleted += self.trim_in_node(place, trim.keep);
            }
            break;
        }
        if self.length == 0 {
            self.first_id = StreamId::MIN;
            self.last_live_id = StreamId::MIN;
        } else if deleted > 0 {
            self.find_first();
        }
        deleted
    }

    /// Whether every entry of a node, deleted ones included, has an ID below `id`.
    fn ends_before(&self, place: NodePosition, id: StreamId) -> bool {
        let node = self.nodes.get(place);
        match self.nodes.after(place) {
            _ if node.first_id() >= id => false,
            Some(next) if self.nodes.get(next).first_id() <= id => true,
            Some(_) => node.scan().last().is_none_or(|entry| entry.id < id),
            None => self.tail_id < id,
        }
    }

    /// Deletes the first entries of a node, which are not all.
    fn trim_in_node(&mut self, place: NodePosition, keep: Keep) -> u64 {
        let mut excess = match keep {
            Keep::Entries(count) => self.length - count,
            Keep::From(_) => u64::MAX,
        };
        let deleted = self.nodes.change(place, |node| {
            node.delete_while(|entry| {
                if excess == 0 || matches!(keep, Keep::From(id) if entry.id >= id) {
                    return false;
                }
                excess -= u64::from(!entry.is_deleted());
                true
            })
        });
        self.length -= deleted;
        deleted
    }

    /// Adds a node that holds entries behind all that there are; for loading.
    pub(super) fn push_node(&mut self, node: Node) {
        self.length += node.live();
        for entry in node.scan() {
            self.tail_id = entry.id;
            if !entry.is_deleted() {
                self.last_live_id = entry.id;
            }
        }
        self.nodes.push(node);
    }

    /// What loading cannot tell from the entries.
    pub(super) fn set_counters(&mut self, last_id: StreamId, max_deleted_id: StreamId, entries_added: u64) {
        self.last_id = last_id;
        self.max_deleted_id = max_deleted_id;
        self.entries_added = entries_added;
        self.find_first();
    }

    pub(super) fn duplicate(&self) -> EntryLog {
        self.with_nodes(self.nodes.duplicate())
    }

    /// The same but for the nodes.
    pub(super) fn with_nodes(&self, nodes: Nodes) -> EntryLog {
        EntryLog { nodes, trimmed: Nodes::default(), ..*self }
    }
}

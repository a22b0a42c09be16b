//! Streams: a log of entries (`log`, its nodes in `node` and `nodes`), and groups of consumers who share the work on them
//! (`group`).
//!
//! Memory and pieces are running totals: everything that changes a group goes through `Stream::change_group`.

mod build;
mod excerpt;
mod group;
mod id;
mod log;
mod node;
mod nodes;
mod radix;
mod range;
mod redis;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::ops::Bound;

use super::collection::Collection;
use super::memory::block_size;
use super::object::Object;
use super::{Kind, Value, ValueType};

pub use build::{Contradiction, Counters, StreamBuilder};
pub use group::{Consumer, ConsumerNumber, Group, Pending};
pub use id::{IdText, StreamId};
pub use log::{check_entry_size, EntryLog, Keep, TooLarge, Trim};
pub use node::Node;
pub use range::{Entry, Fields, Range, RangeBack};

/// A stream; boxed, so that it makes no other object larger.
#[derive(Debug, Default)]
pub struct Stream {
    inner: Box<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    log: EntryLog,
    groups: BTreeMap<Box<[u8]>, Group>,
    /// Of all groups.
    group_bytes: usize,
    group_pieces: usize,
}

fn group_bytes(name: &[u8], group: &Group) -> usize {
    block_size(name.len()) + group.memory()
}

impl Stream {
    /// The entries.
    pub fn log(&self) -> &EntryLog {
        &self.inner.log
    }

    pub fn log_mut(&mut self) -> &mut EntryLog {
        &mut self.inner.log
    }

    /// Groups in the order of their names.
    pub fn groups(&self) -> impl ExactSizeIterator<Item = (&[u8], &Group)> {
        self.inner.groups.iter().map(|(name, group)| (&name[..], group))
    }

    /// The first group behind this name, or of all.
    pub fn group_after(&self, name: Option<&[u8]>) -> Option<(&[u8], &Group)> {
        let start = name.map_or(Bound::Unbounded, Bound::Excluded);
        let mut behind = self.inner.groups.range::<[u8], _>((start, Bound::Unbounded));
        behind.next().map(|(name, group)| (&name[..], group))
    }

    pub fn group(&self, name: &[u8]) -> Option<&Group> {
        self.inner.groups.get(name)
    }

    /// Lets `change` alter a group, with the entries to look at; `None` when there is none of this name.
    pub fn change_group<R>(
        &mut self,
        name: &[u8],
        change: impl FnOnce(&mut Group, &EntryLog) -> R,
    ) -> Option<R> {
        let inner = &mut *self.inner;
        let group = inner.groups.get_mut(name)?;
        let (bytes, pieces) = (group.memory(), group.pieces());
        let result = change(group, &inner.log);
        inner.group_bytes = inner.group_bytes - bytes + group.memory();
        inner.group_pieces = inner.group_pieces - pieces + group.pieces();
        Some(result)
    }

    /// Adds a group; false when there is one of this name.
    pub fn add_group(&mut self, name: &[u8], group: Group) -> bool {
        let inner = &mut *self.inner;
        if inner.groups.contains_key(name) {
            return false;
        }
        inner.group_bytes += group_bytes(name, &group);
        inner.group_pieces += group.pieces();
        inner.groups.insert(name.into(), group);
        true
    }

    /// Takes a group out, with everything that is pending in it, as a stream of nothing else, which may take long to free;
    /// `None` when there is none of this name.
    pub fn take_group(&mut self, name: &[u8]) -> Option<Stream> {
        let inner = &mut *self.inner;
        let group = inner.groups.remove(name)?;
        inner.group_bytes -= group_bytes(name, &group);
        inner.group_pieces -= group.pieces();
        let mut rest = Stream::default();
        rest.add_group(name, group);
        Some(rest)
    }

    /// What trimming has left to be freed, as a stream of its own.
    pub fn take_trimmed(&mut self) -> Option<Stream> {
        let trimmed = &mut self.inner.log.trimmed;
        (trimmed.len() > 0).then(|| {
            let mut rest = Stream::default();
            rest.inner.log.nodes = std::mem::take(trimmed);
            rest
        })
    }
}

impl Collection for Stream {
    const TYPE: ValueType = ValueType::Stream;
    type View<'a> = &'a Stream;

    fn empty() -> Stream {
        Stream::default()
    }

    fn kind(&self) -> Kind {
        Kind::Stream
    }

    /// A stream without entries is still there.
    fn is_empty(&self) -> bool {
        false
    }

    fn view(&self) -> &Stream {
        self
    }

    fn view_of<'a>(value: &Value<'a>) -> Option<&'a Stream> {
        match value {
            Value::Stream(stream) => Some(stream),
            _ => None,
        }
    }

    fn packed(&self) -> Option<&[u8]> {
        None
    }

    fn from_packed(_: Kind, _: Vec<u8>) -> Stream {
        unreachable!("a stream is never packed")
    }

    fn view_packed(_: Kind, _: &[u8]) -> &Stream {
        unreachable!("a stream is never packed")
    }

    fn into_packed(self) -> Vec<u8> {
        Vec::new()
    }

    fn into_object(self) -> Object {
        Object::Stream(self)
    }

    fn of_object(object: &mut Object) -> Option<&mut Stream> {
        match object {
            Object::Stream(stream) => Some(stream),
            _ => None,
        }
    }

    fn memory(&self) -> usize {
        block_size(size_of::<Inner>()) + self.inner.log.nodes.memory() + self.inner.group_bytes
    }

    fn duplicate(&self) -> Stream {
        let inner = Inner {
            log: self.inner.log.duplicate(),
            groups: self.inner.groups.clone(),
            group_bytes: self.inner.group_bytes,
            group_pieces: self.inner.group_pieces,
        };
        Stream { inner: Box::new(inner) }
    }

    fn pieces(&self) -> usize {
        1 + self.inner.log.nodes.len() + self.inner.group_pieces
    }

    fn free_some(&mut self, pieces: usize) -> usize {
        let inner = &mut *self.inner;
        let mut freed = inner.log.nodes.free_some(pieces);
        while freed < pieces {
            let Some(mut first) = inner.groups.first_entry() else { break };
            inner.group_bytes -= first.get().memory();
            let of_group = first.get_mut().free_some(pieces - freed);
            inner.group_bytes += first.get().memory();
            if of_group == 0 {
                let (name, group) = first.remove_entry();
                inner.group_bytes -= group_bytes(&name, &group);
            }
            freed += of_group.max(1);
        }
        freed
    }
}

//! Values that live outside their entry, behind one pointer: large strings, and collections that are not packed into it.
//!
//! To add a type: implement [`Collection`], give it a variant here, and one in [`Value`] for commands to read it by.

use bytes::{Bytes, BytesMut};

use super::collection::Collection;
use super::memory::block_size;
use super::value::{Kind, Value};
use super::{Hash, List, Set, SortedSet, Stream};

/// Pieces that an object may be freed in at once; one with more is freed by `Store::free_some`.
pub(super) const FREE_AT_ONCE_MAX: usize = 64;

/// A value outside its entry.
#[derive(Debug)]
pub enum Object {
    /// A large string.
    String(SharedString),
    List(List),
    Set(Set),
    Hash(Hash),
    SortedSet(SortedSet),
    Stream(Stream),
}

/// Runs one expression on the collection of an object, or another on its string.
macro_rules! on_collection {
    ($object:expr, $collection:ident => $then:expr, $string:pat => $else:expr) => {
        match $object {
            Object::String($string) => $else,
            Object::List($collection) => $then,
            Object::Set($collection) => $then,
            Object::Hash($collection) => $then,
            Object::SortedSet($collection) => $then,
            Object::Stream($collection) => $then,
        }
    };
}

/// A string in a reference-counted buffer, so that it can be sent without a copy.
#[derive(Debug, Default)]
pub struct SharedString {
    pub(super) bytes: Bytes,
    /// Bytes allocated for it; `Bytes` does not tell.
    capacity: usize,
}

impl SharedString {
    pub(super) fn new(bytes: Bytes) -> SharedString {
        SharedString { capacity: bytes.len(), bytes }
    }

    pub(super) fn from_mut(bytes: BytesMut) -> SharedString {
        SharedString { capacity: bytes.capacity(), bytes: bytes.freeze() }
    }

    /// The bytes to be changed. When a reply still holds them they are copied, so that it sends what it was given.
    pub(super) fn into_mut(self) -> BytesMut {
        self.bytes.try_into_mut().unwrap_or_else(|shared| BytesMut::from(&shared[..]))
    }
}

impl Object {
    pub fn kind(&self) -> Kind {
        on_collection!(self, collection => collection.kind(), _ => Kind::RawShared)
    }

    pub(super) fn outline_mut(&mut self) -> Option<&mut SharedString> {
        match self {
            Object::String(shared) => Some(shared),
            _ => None,
        }
    }

    pub fn value(&self) -> Value<'_> {
        match self {
            Object::String(shared) => Value::Shared(&shared.bytes),
            Object::List(list) => Value::List(list.view()),
            Object::Set(set) => Value::Set(set.view()),
            Object::Hash(hash) => Value::Hash(hash.view()),
            Object::SortedSet(sorted_set) => Value::SortedSet(sorted_set.view()),
            Object::Stream(stream) => Value::Stream(stream),
        }
    }

    /// Bytes allocated, this box included.
    pub fn memory(&self) -> usize {
        let own = block_size(size_of::<Object>());
        own + on_collection!(self, collection => collection.memory(), shared => block_size(shared.capacity))
    }

    /// A copy that shares no memory with this one.
    pub fn duplicate(&self) -> Object {
        on_collection!(
            self,
            collection => collection.duplicate().into_object(),
            shared => Object::String(SharedString::new(Bytes::copy_from_slice(&shared.bytes)))
        )
    }

    /// About how many allocations dropping it gives back.
    pub fn pieces(&self) -> usize {
        on_collection!(self, collection => collection.pieces(), _ => 1)
    }

    /// Frees up to `pieces` of it, and returns how many. Once it returns 0 the rest is dropped at once.
    /// Only called on a value that nobody can reach any more.
    pub fn free_some(&mut self, pieces: usize) -> usize {
        on_collection!(self, collection => collection.free_some(pieces), _ => 0)
    }
}

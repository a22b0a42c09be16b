//! Values that live outside their entry, behind one pointer.
//!
//! An entry whose kind is "boxed" holds a pointer to an `Object`. To add a type: give it a variant here, answer the
//! five questions below (what it is, what it looks like, what it weighs, how to copy it, how to free it in steps), and
//! a variant in [`Value`] for commands to read it by. Nothing else in `store` has to know.

use bytes::{Bytes, BytesMut};

use super::memory::block_size;
use super::value::{Kind, Value};

/// Pieces that an object may be freed in at once; one with more is freed by `Store::free_some`.
pub(super) const FREE_AT_ONCE_MAX: usize = 64;

/// A value outside its entry.
#[derive(Debug)]
pub enum Object {
    /// A large string.
    String(Outline),
    /// Stands in for a collection in the tests of freeing in steps.
    #[cfg(test)]
    Fixture(Vec<Vec<u8>>),
}

/// A string in a reference-counted buffer, so that it can be sent without a copy.
#[derive(Debug, Default)]
pub struct Outline {
    pub(super) bytes: Bytes,
    /// Bytes allocated for it; `Bytes` does not tell.
    capacity: usize,
}

impl Outline {
    pub(super) fn new(bytes: Bytes) -> Outline {
        Outline { capacity: bytes.len(), bytes }
    }

    pub(super) fn from_mut(bytes: BytesMut) -> Outline {
        Outline { capacity: bytes.capacity(), bytes: bytes.freeze() }
    }

    /// The bytes to be changed. When a reply still holds them they are copied, so that it sends what it was given.
    pub(super) fn into_mut(self) -> BytesMut {
        self.bytes.try_into_mut().unwrap_or_else(|shared| BytesMut::from(&shared[..]))
    }
}

impl Object {
    pub fn kind(&self) -> Kind {
        match self {
            Object::String(_) => Kind::RawShared,
            #[cfg(test)]
            Object::Fixture(_) => Kind::ListQuicklist,
        }
    }

    pub(super) fn outline_mut(&mut self) -> Option<&mut Outline> {
        match self {
            Object::String(outline) => Some(outline),
            #[cfg(test)]
            Object::Fixture(_) => None,
        }
    }

    pub fn value(&self) -> Value<'_> {
        match self {
            Object::String(outline) => Value::Shared(&outline.bytes),
            #[cfg(test)]
            Object::Fixture(_) => Value::Int(0),
        }
    }

    /// Bytes allocated, this box included.
    pub fn memory(&self) -> usize {
        let own = block_size(size_of::<Object>());
        match self {
            Object::String(outline) => own + block_size(outline.capacity),
            #[cfg(test)]
            Object::Fixture(items) => own + items.iter().map(|item| 24 + item.len()).sum::<usize>(),
        }
    }

    /// A copy that shares no memory with this one.
    pub fn duplicate(&self) -> Object {
        match self {
            Object::String(outline) => Object::String(Outline::new(Bytes::copy_from_slice(&outline.bytes))),
            #[cfg(test)]
            Object::Fixture(items) => Object::Fixture(items.clone()),
        }
    }

    /// About how many allocations dropping it gives back.
    pub fn pieces(&self) -> usize {
        match self {
            Object::String(_) => 1,
            #[cfg(test)]
            Object::Fixture(items) => items.len(),
        }
    }

    /// Frees up to `pieces` of it, and returns how many. Once it returns 0 the rest is dropped at once.
    /// Only called on a value that nobody can reach any more.
    pub fn free_some(&mut self, pieces: usize) -> usize {
        match self {
            Object::String(_) => {
                let _one_buffer = pieces;
                0
            }
            #[cfg(test)]
            Object::Fixture(items) => items.drain(..pieces.min(items.len())).count(),
        }
    }
}

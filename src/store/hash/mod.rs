//! Hashes.

use super::collection::Collection;
use super::listpack::{Items, Listpack};
use super::memory::block_size;
use super::object::Object;
use super::{Kind, Value, ValueType};

#[derive(Debug)]
pub enum Hash {
    Packed(Listpack),
}

/// A hash to read.
#[derive(Clone, Copy, Debug)]
pub enum HashView<'a> {
    Packed(Items<'a>),
}

impl HashView<'_> {
    pub fn kind(self) -> Kind {
        match self {
            HashView::Packed(_) => Kind::HashListpack,
        }
    }
}

impl Collection for Hash {
    const TYPE: ValueType = ValueType::Hash;
    type View<'a> = HashView<'a>;

    fn empty() -> Hash {
        Hash::Packed(Listpack::new())
    }

    fn kind(&self) -> Kind {
        self.view().kind()
    }

    fn is_empty(&self) -> bool {
        match self {
            Hash::Packed(listpack) => listpack.is_empty(),
        }
    }

    fn view(&self) -> HashView<'_> {
        match self {
            Hash::Packed(listpack) => HashView::Packed(listpack.items()),
        }
    }

    fn view_of<'a>(value: &Value<'a>) -> Option<HashView<'a>> {
        match value {
            Value::Hash(view) => Some(*view),
            _ => None,
        }
    }

    fn packed(&self) -> Option<&[u8]> {
        match self {
            Hash::Packed(listpack) => Some(listpack.as_bytes()),
        }
    }

    fn from_packed(_: Kind, bytes: Vec<u8>) -> Hash {
        Hash::Packed(Listpack::from_bytes(bytes))
    }

    fn view_packed(_: Kind, bytes: &[u8]) -> HashView<'_> {
        HashView::Packed(Items::new(bytes))
    }

    fn into_packed(self) -> Vec<u8> {
        match self {
            Hash::Packed(listpack) => listpack.into_bytes(),
        }
    }

    fn into_object(self) -> Object {
        Object::Hash(self)
    }

    fn of_object(object: &mut Object) -> Option<&mut Hash> {
        match object {
            Object::Hash(this) => Some(this),
            _ => None,
        }
    }

    fn memory(&self) -> usize {
        match self {
            Hash::Packed(listpack) => block_size(listpack.capacity()),
        }
    }

    fn duplicate(&self) -> Hash {
        match self {
            Hash::Packed(listpack) => Hash::Packed(listpack.clone()),
        }
    }

    fn pieces(&self) -> usize {
        1
    }

    fn free_some(&mut self, _: usize) -> usize {
        0
    }
}

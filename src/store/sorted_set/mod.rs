//! Sorted sets.

use super::collection::Collection;
use super::listpack::{Items, Listpack};
use super::memory::block_size;
use super::object::Object;
use super::{Kind, Value, ValueType};

#[derive(Debug)]
pub enum SortedSet {
    Packed(Listpack),
}

/// A sorted set to read.
#[derive(Clone, Copy, Debug)]
pub enum SortedSetView<'a> {
    Packed(Items<'a>),
}

impl SortedSetView<'_> {
    pub fn kind(self) -> Kind {
        match self {
            SortedSetView::Packed(_) => Kind::SortedSetListpack,
        }
    }
}

impl Collection for SortedSet {
    const TYPE: ValueType = ValueType::SortedSet;
    type View<'a> = SortedSetView<'a>;

    fn empty() -> SortedSet {
        SortedSet::Packed(Listpack::new())
    }

    fn kind(&self) -> Kind {
        self.view().kind()
    }

    fn is_empty(&self) -> bool {
        match self {
            SortedSet::Packed(listpack) => listpack.is_empty(),
        }
    }

    fn view(&self) -> SortedSetView<'_> {
        match self {
            SortedSet::Packed(listpack) => SortedSetView::Packed(listpack.items()),
        }
    }

    fn view_of<'a>(value: &Value<'a>) -> Option<SortedSetView<'a>> {
        match value {
            Value::SortedSet(view) => Some(*view),
            _ => None,
        }
    }

    fn packed(&self) -> Option<&[u8]> {
        match self {
            SortedSet::Packed(listpack) => Some(listpack.as_bytes()),
        }
    }

    fn from_packed(_: Kind, bytes: Vec<u8>) -> SortedSet {
        SortedSet::Packed(Listpack::from_bytes(bytes))
    }

    fn view_packed(_: Kind, bytes: &[u8]) -> SortedSetView<'_> {
        SortedSetView::Packed(Items::new(bytes))
    }

    fn into_packed(self) -> Vec<u8> {
        match self {
            SortedSet::Packed(listpack) => listpack.into_bytes(),
        }
    }

    fn into_object(self) -> Object {
        Object::SortedSet(self)
    }

    fn of_object(object: &mut Object) -> Option<&mut SortedSet> {
        match object {
            Object::SortedSet(this) => Some(this),
            _ => None,
        }
    }

    fn memory(&self) -> usize {
        match self {
            SortedSet::Packed(listpack) => block_size(listpack.capacity()),
        }
    }

    fn duplicate(&self) -> SortedSet {
        match self {
            SortedSet::Packed(listpack) => SortedSet::Packed(listpack.clone()),
        }
    }

    fn pieces(&self) -> usize {
        1
    }

    fn free_some(&mut self, _: usize) -> usize {
        0
    }
}

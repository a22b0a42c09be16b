//! Sets.

use super::collection::Collection;
use super::listpack::{Items, Listpack};
use super::memory::block_size;
use super::object::Object;
use super::{Kind, Value, ValueType};

#[derive(Debug)]
pub enum Set {
    Packed(Listpack),
}

/// A set to read.
#[derive(Clone, Copy, Debug)]
pub enum SetView<'a> {
    Packed(Items<'a>),
}

impl SetView<'_> {
    pub fn kind(self) -> Kind {
        match self {
            SetView::Packed(_) => Kind::SetListpack,
        }
    }
}

impl Collection for Set {
    const TYPE: ValueType = ValueType::Set;
    type View<'a> = SetView<'a>;

    fn empty() -> Set {
        Set::Packed(Listpack::new())
    }

    fn kind(&self) -> Kind {
        self.view().kind()
    }

    fn is_empty(&self) -> bool {
        match self {
            Set::Packed(listpack) => listpack.is_empty(),
        }
    }

    fn view(&self) -> SetView<'_> {
        match self {
            Set::Packed(listpack) => SetView::Packed(listpack.items()),
        }
    }

    fn view_of<'a>(value: &Value<'a>) -> Option<SetView<'a>> {
        match value {
            Value::Set(view) => Some(*view),
            _ => None,
        }
    }

    fn packed(&self) -> Option<&[u8]> {
        match self {
            Set::Packed(listpack) => Some(listpack.as_bytes()),
        }
    }

    fn from_packed(_: Kind, bytes: Vec<u8>) -> Set {
        Set::Packed(Listpack::from_bytes(bytes))
    }

    fn view_packed(_: Kind, bytes: &[u8]) -> SetView<'_> {
        SetView::Packed(Items::new(bytes))
    }

    fn into_packed(self) -> Vec<u8> {
        match self {
            Set::Packed(listpack) => listpack.into_bytes(),
        }
    }

    fn into_object(self) -> Object {
        Object::Set(self)
    }

    fn of_object(object: &mut Object) -> Option<&mut Set> {
        match object {
            Object::Set(this) => Some(this),
            _ => None,
        }
    }

    fn memory(&self) -> usize {
        match self {
            Set::Packed(listpack) => block_size(listpack.capacity()),
        }
    }

    fn duplicate(&self) -> Set {
        match self {
            Set::Packed(listpack) => Set::Packed(listpack.clone()),
        }
    }

    fn pieces(&self) -> usize {
        1
    }

    fn free_some(&mut self, _: usize) -> usize {
        0
    }
}

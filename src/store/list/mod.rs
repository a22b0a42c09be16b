//! Lists.

use super::collection::Collection;
use super::listpack::{Items, Listpack};
use super::memory::block_size;
use super::object::Object;
use super::{Kind, Settings, Value, ValueType};

#[derive(Debug)]
pub enum List {
    Packed(Listpack),
}

impl List {
    pub fn push_back(&mut self, element: &[u8], _: &Settings) {
        let List::Packed(listpack) = self;
        listpack.push_back(element);
    }
}

/// A list to read.
#[derive(Clone, Copy, Debug)]
pub enum ListView<'a> {
    Packed(Items<'a>),
}

impl ListView<'_> {
    pub fn kind(self) -> Kind {
        match self {
            ListView::Packed(_) => Kind::ListListpack,
        }
    }
}

impl Collection for List {
    const TYPE: ValueType = ValueType::List;
    type View<'a> = ListView<'a>;

    fn empty() -> List {
        List::Packed(Listpack::new())
    }

    fn kind(&self) -> Kind {
        self.view().kind()
    }

    fn is_empty(&self) -> bool {
        match self {
            List::Packed(listpack) => listpack.is_empty(),
        }
    }

    fn view(&self) -> ListView<'_> {
        match self {
            List::Packed(listpack) => ListView::Packed(listpack.items()),
        }
    }

    fn view_of<'a>(value: &Value<'a>) -> Option<ListView<'a>> {
        match value {
            Value::List(view) => Some(*view),
            _ => None,
        }
    }

    fn packed(&self) -> Option<&[u8]> {
        match self {
            List::Packed(listpack) => Some(listpack.as_bytes()),
        }
    }

    fn from_packed(_: Kind, bytes: Vec<u8>) -> List {
        List::Packed(Listpack::from_bytes(bytes))
    }

    fn view_packed(_: Kind, bytes: &[u8]) -> ListView<'_> {
        ListView::Packed(Items::new(bytes))
    }

    fn into_packed(self) -> Vec<u8> {
        match self {
            List::Packed(listpack) => listpack.into_bytes(),
        }
    }

    fn into_object(self) -> Object {
        Object::List(self)
    }

    fn of_object(object: &mut Object) -> Option<&mut List> {
        match object {
            Object::List(this) => Some(this),
            _ => None,
        }
    }

    fn memory(&self) -> usize {
        match self {
            List::Packed(listpack) => block_size(listpack.capacity()),
        }
    }

    fn duplicate(&self) -> List {
        match self {
            List::Packed(listpack) => List::Packed(listpack.clone()),
        }
    }

    fn pieces(&self) -> usize {
        1
    }

    fn free_some(&mut self, _: usize) -> usize {
        0
    }
}

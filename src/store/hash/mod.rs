//! Hashes: a listpack of fields and values in turn, or a table (see `store::members`).
//!
//! When the first becomes the second is Redis 7.2's, and it never goes back.

#[cfg(test)]
mod tests;
mod view;

pub use view::{HashIter, HashView};

use super::collection::Collection;
use super::listpack::{Item, Items, Listpack, Needle};
use super::members::Members;
use super::memory::block_size;
use super::object::Object;
use super::{Kind, Settings, Value, ValueType};

/// The most bytes in a listpack, as in Redis.
const PACKED_BYTES_MAX: usize = 1 << 30;

#[derive(Debug)]
pub enum Hash {
    Packed(Listpack),
    Table(Members<true>),
}

impl Hash {
    /// The hash of a listpack's elements: fields, which are different from each other, and values in turn.
    pub fn from_listpack(listpack: Listpack) -> Hash {
        debug_assert!(listpack.len().is_multiple_of(2));
        Hash::Packed(listpack)
    }

    /// The value of a field.
    pub fn get(&self, field: &[u8]) -> Option<Item<'_>> {
        self.view().get(field)
    }

    /// Becomes a table at once when these fields and values, which are about to be set, are too many or too long.
    pub fn prepare_for(&mut self, pairs: &[&[u8]], settings: &Settings) {
        let Hash::Packed(listpack) = self else { return };
        let is_too_long = |element: &&[u8]| element.len() > settings.hash_max_listpack_value;
        let bytes: usize = pairs.iter().map(|element| element.len()).sum();
        if pairs.len() / 2 > settings.hash_max_listpack_entries
            || pairs.iter().any(is_too_long)
            || listpack.size_bytes() + bytes > PACKED_BYTES_MAX
        {
            self.become_table();
        }
    }

    /// Gives a field a value; false when it had one already.
    pub fn set(&mut self, field: &[u8], value: &[u8], settings: &Settings) -> bool {
        let listpack = match self {
            Hash::Packed(listpack) if field.len().max(value.len()) <= settings.hash_max_listpack_value => {
                listpack
            }
            _ => return self.become_table().set(field, value),
        };
        let items = listpack.items();
        let found = items.find(&Needle::new(field), items.first(), 2);
        match found {
            Some(position) => {
                let position = items.after(position);
                listpack.replace(position, value);
            }
            None => {
                listpack.push_back(field);
                listpack.push_back(value);
            }
        }
        if listpack.len() / 2 > settings.hash_max_listpack_entries {
            self.become_table();
        }
        found.is_none()
    }

    /// Takes out a field; false when it was not there.
    pub fn remove(&mut self, field: &[u8]) -> bool {
        match self {
            Hash::Packed(listpack) => {
                let items = listpack.items();
                let found = items.find(&Needle::new(field), items.first(), 2);
                found.map(|position| listpack.remove(position, 2)).is_some()
            }
            Hash::Table(table) => table.remove(field),
        }
    }

    fn become_table(&mut self) -> &mut Members<true> {
        if let Hash::Packed(_) = self {
            let mut table = Members::default();
            let (mut digits, mut more_digits) = (itoa::Buffer::new(), itoa::Buffer::new());
            for (field, value) in self.view().iter() {
                table.set(field.bytes(&mut digits), value.bytes(&mut more_digits));
            }
            *self = Hash::Table(table);
        }
        match self {
            Hash::Table(table) => table,
            Hash::Packed(_) => unreachable!("it has just become a table"),
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
            Hash::Table(table) => table.is_empty(),
        }
    }

    #[inline]
    fn view(&self) -> HashView<'_> {
        match self {
            Hash::Packed(listpack) => HashView::Packed(listpack.items()),
            Hash::Table(table) => HashView::Table(table),
        }
    }

    #[inline]
    fn view_of<'a>(value: &Value<'a>) -> Option<HashView<'a>> {
        match value {
            Value::Hash(view) => Some(*view),
            _ => None,
        }
    }

    fn packed(&self) -> Option<&[u8]> {
        match self {
            Hash::Packed(listpack) => Some(listpack.as_bytes()),
            Hash::Table(_) => None,
        }
    }

    fn from_packed(_: Kind, bytes: Vec<u8>) -> Hash {
        Hash::Packed(Listpack::from_bytes(bytes))
    }

    #[inline]
    fn view_packed(_: Kind, bytes: &[u8]) -> HashView<'_> {
        HashView::Packed(Items::new(bytes))
    }

    fn into_packed(self) -> Vec<u8> {
        match self {
            Hash::Packed(listpack) => listpack.into_bytes(),
            Hash::Table(_) => Vec::new(),
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
            Hash::Table(table) => table.memory(),
        }
    }

    fn duplicate(&self) -> Hash {
        match self {
            Hash::Packed(listpack) => Hash::Packed(listpack.clone()),
            Hash::Table(table) => Hash::Table(table.clone()),
        }
    }

    fn pieces(&self) -> usize {
        match self {
            Hash::Packed(_) => 1,
            Hash::Table(table) => table.pieces(),
        }
    }

    fn free_some(&mut self, pieces: usize) -> usize {
        match self {
            Hash::Packed(_) => 0,
            Hash::Table(table) => table.free_some(pieces),
        }
    }
}

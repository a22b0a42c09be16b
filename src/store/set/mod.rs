//! Sets: integers in order (see `intset`), a listpack, or a table (see `store::members`).
//!
//! When one gives way to another is Redis 7.2's: a set of nothing but integers begins as the first, becomes a listpack
//! with its first string, and either becomes a table when it gets too large. It never goes back by itself; but what
//! a command stores anew may be smaller again.

mod intset;
#[cfg(test)]
mod tests;
mod view;

pub use intset::Integers;
pub use view::{SetIter, SetView};

use super::collection::Collection;
use super::listpack::{Item, Items, Listpack, Needle};
use super::members::{Choice, Members};
use super::memory::block_size;
use super::object::Object;
use super::random::Rng;
use super::value::parse_integer;
use super::{Kind, Settings, Value, ValueType};

/// The most integers in order, whatever the configuration allows.
const INTEGERS_MAX: usize = 1 << 30;
/// The most bytes in a listpack, as in Redis.
const PACKED_BYTES_MAX: usize = 1 << 30;
/// What Redis counts for a listpack without elements, bytes.
const PACKED_OVERHEAD_BYTES: usize = 7;

#[derive(Debug)]
pub enum Set {
    /// The bytes of `Integers`.
    Integers(Vec<u8>),
    Packed(Listpack),
    Table(Members<false>),
}

fn integers_max(settings: &Settings) -> usize {
    settings.set_max_intset_entries.min(INTEGERS_MAX)
}

impl Set {
    pub fn integers() -> Set {
        Set::Integers(intset::EMPTY.to_vec())
    }

    /// An empty one, in the form that suits a set of about `count` members, `first` among them.
    pub fn suited_to(first: &[u8], count: usize, settings: &Settings) -> Set {
        if count <= settings.set_max_intset_entries && parse_integer(first).is_some() {
            Set::integers()
        } else if count <= settings.set_max_listpack_entries {
            Set::Packed(Listpack::new())
        } else {
            Set::Table(Members::default())
        }
    }

    /// The set of a listpack's elements, which are different from each other.
    pub fn from_listpack(listpack: Listpack) -> Set {
        Set::Packed(listpack)
    }

    fn len(&self) -> usize {
        self.view().len()
    }

    /// Becomes a table at once when about to get so many members.
    pub fn prepare_for(&mut self, count: usize, settings: &Settings) {
        let max = match self {
            Set::Integers(_) => settings.set_max_intset_entries,
            Set::Packed(_) => settings.set_max_listpack_entries,
            Set::Table(_) => return,
        };
        if count > max {
            self.become_table();
        }
    }

    /// Adds a member; false when it was there.
    pub fn add(&mut self, member: &[u8], settings: &Settings) -> bool {
        match self {
            Set::Table(table) => table.insert(member),
            Set::Packed(listpack) => {
                let items = listpack.items();
                if items.find(&Needle::new(member), items.first(), 1).is_some() {
                    return false;
                }
                if items.len() < settings.set_max_listpack_entries
                    && member.len() <= settings.set_max_listpack_value
                    && items.as_bytes().len() + member.len() <= PACKED_BYTES_MAX
                {
                    listpack.push_back(member);
                    return true;
                }
                self.become_table().insert(member)
            }
            Set::Integers(_) => match parse_integer(member) {
                Some(value) => self.add_integer(value, settings),
                None if self.may_become_packed(member, settings) => {
                    let mut listpack = self.to_listpack();
                    listpack.push_back(member);
                    *self = Set::Packed(listpack);
                    true
                }
                None => self.become_table().insert(member),
            },
        }
    }

    /// As `add` with the digits of an integer.
    pub fn add_integer(&mut self, value: i64, settings: &Settings) -> bool {
        let Set::Integers(bytes) = self else {
            return self.add(itoa::Buffer::new().format(value).as_bytes(), settings);
        };
        let added = intset::insert(bytes, value);
        if added && Integers::new(bytes).len() > integers_max(settings) {
            self.become_table();
        }
        added
    }

    pub fn add_item(&mut self, item: Item, settings: &Settings) -> bool {
        match item {
            Item::Int(value) => self.add_integer(value, settings),
            Item::Bytes(bytes) => self.add(bytes, settings),
        }
    }

    /// Whether integers in order may become a listpack to take in `member`, which is none.
    fn may_become_packed(&self, member: &[u8], settings: &Settings) -> bool {
        let Set::Integers(bytes) = self else { return false };
        let integers = Integers::new(bytes);
        let mut longest = 0;
        let mut total = 0;
        if !integers.is_empty() {
            // The longest is one of the two ends.
            for value in [integers.get(0), integers.get(integers.len() - 1)] {
                let mut digits = itoa::Buffer::new();
                let digits = digits.format(value).as_bytes();
                longest = longest.max(digits.len());
                total = total.max(PACKED_OVERHEAD_BYTES + Listpack::size_of(digits) * integers.len());
            }
        }
        integers.len() < settings.set_max_listpack_entries
            && member.len() <= settings.set_max_listpack_value
            && longest <= settings.set_max_listpack_value
            && total + member.len() <= PACKED_BYTES_MAX
    }

    fn to_listpack(&self) -> Listpack {
        let mut listpack = Listpack::new();
        let mut digits = itoa::Buffer::new();
        for item in self.view().iter() {
            listpack.push_back(item.bytes(&mut digits));
        }
        listpack
    }

    fn become_table(&mut self) -> &mut Members<false> {
        if !matches!(self, Set::Table(_)) {
            let mut table = Members::default();
            let mut digits = itoa::Buffer::new();
            for item in self.view().iter() {
                table.insert(item.bytes(&mut digits));
            }
            *self = Set::Table(table);
        }
        match self {
            Set::Table(table) => table,
            _ => unreachable!("it has just become a table"),
        }
    }

    /// Integers only, and not too many of them: they are put in order.
    pub fn become_integers(&mut self, settings: &Settings) {
        if matches!(self, Set::Integers(_)) || self.len() > integers_max(settings) {
            return;
        }
        let mut bytes = intset::EMPTY.to_vec();
        for item in self.view().iter() {
            let Some(value) = item.integer() else { return };
            intset::insert(&mut bytes, value);
        }
        *self = Set::Integers(bytes);
    }

    /// Takes out a member; false when it was not there.
    pub fn remove(&mut self, member: &[u8]) -> bool {
        match self {
            Set::Table(table) => table.remove(member),
            Set::Packed(listpack) => {
                let items = listpack.items();
                let found = items.find(&Needle::new(member), items.first(), 1);
                found.map(|position| listpack.remove(position, 1)).is_some()
            }
            Set::Integers(bytes) => parse_integer(member).is_some_and(|value| intset::remove(bytes, value)),
        }
    }

    pub fn remove_item(&mut self, item: Item) -> bool {
        match (self, item) {
            (Set::Integers(bytes), Item::Int(value)) => intset::remove(bytes, value),
            (set, item) => set.remove(item.bytes(&mut itoa::Buffer::new())),
        }
    }

    /// Takes out a random member, after `each` has seen it. `None` when there is none.
    pub fn pop<R>(&mut self, rng: &mut Rng, each: impl FnOnce(Item) -> R) -> Option<R> {
        if self.is_empty() {
            return None;
        }
        match self {
            Set::Table(table) => table.pop(rng, |member, _| each(Item::Bytes(member))),
            Set::Packed(listpack) => {
                let items = listpack.items();
                let position = items.seek(rng.below(items.len() as u64) as i64)?;
                let result = each(items.item(position));
                listpack.remove(position, 1);
                Some(result)
            }
            Set::Integers(bytes) => {
                let integers = Integers::new(bytes);
                let value = integers.get(rng.below(integers.len() as u64) as usize);
                intset::remove(bytes, value);
                Some(each(Item::Int(value)))
            }
        }
    }

    /// Takes out `count` random members of more, after `each` has seen them.
    pub fn pop_some(&mut self, count: usize, rng: &mut Rng, settings: &Settings, mut each: impl FnMut(Item)) {
        let len = self.len();
        debug_assert!(count < len);
        let remaining = len - count;
        let few_remain = remaining.saturating_mul(POP_RATIO) <= count;
        if let (Set::Table(_), false) = (&self, few_remain) {
            for _ in 0..count {
                self.pop(rng, &mut each);
            }
            return;
        }
        // All pass by once, and what remains is stored anew. When that is little it takes the form of a new set, so that
        // what was a table may be a listpack again.
        let mut rest = match self {
            Set::Integers(_) => Set::integers(),
            _ => Set::Packed(Listpack::new()),
        };
        let mut choice = Choice::new(remaining, len);
        let mut digits = itoa::Buffer::new();
        for item in self.view().iter() {
            if !choice.takes(rng) {
                each(item);
                continue;
            }
            match (&mut rest, item) {
                (Set::Packed(listpack), item) if !few_remain => listpack.push_back(item.bytes(&mut digits)),
                (Set::Integers(bytes), Item::Int(value)) if !few_remain => {
                    intset::insert(bytes, value);
                }
                (rest, item) => {
                    rest.add_item(item, settings);
                }
            }
        }
        *self = rest;
    }
}

/// With fewer members remaining than one for so many that are taken out, those are what is stored anew.
const POP_RATIO: usize = 5;

impl Collection for Set {
    const TYPE: ValueType = ValueType::Set;
    type View<'a> = SetView<'a>;

    fn empty() -> Set {
        Set::integers()
    }

    fn kind(&self) -> Kind {
        self.view().kind()
    }

    fn is_empty(&self) -> bool {
        match self {
            Set::Integers(bytes) => Integers::new(bytes).is_empty(),
            Set::Packed(listpack) => listpack.is_empty(),
            Set::Table(table) => table.is_empty(),
        }
    }

    #[inline]
    fn view(&self) -> SetView<'_> {
        match self {
            Set::Integers(bytes) => SetView::Integers(Integers::new(bytes)),
            Set::Packed(listpack) => SetView::Packed(listpack.items()),
            Set::Table(table) => SetView::Table(table),
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
            Set::Integers(bytes) => Some(bytes),
            Set::Packed(listpack) => Some(listpack.as_bytes()),
            Set::Table(_) => None,
        }
    }

    fn from_packed(kind: Kind, bytes: Vec<u8>) -> Set {
        match kind {
            Kind::SetIntset => Set::Integers(bytes),
            _ => Set::Packed(Listpack::from_bytes(bytes)),
        }
    }

    #[inline]
    fn view_packed(kind: Kind, bytes: &[u8]) -> SetView<'_> {
        match kind {
            Kind::SetIntset => SetView::Integers(Integers::new(bytes)),
            _ => SetView::Packed(Items::new(bytes)),
        }
    }

    fn into_packed(self) -> Vec<u8> {
        match self {
            Set::Integers(bytes) => bytes,
            Set::Packed(listpack) => listpack.into_bytes(),
            Set::Table(_) => Vec::new(),
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
            Set::Integers(bytes) => block_size(bytes.capacity()),
            Set::Packed(listpack) => block_size(listpack.capacity()),
            Set::Table(table) => table.memory(),
        }
    }

    fn duplicate(&self) -> Set {
        match self {
            Set::Integers(bytes) => Set::Integers(bytes.clone()),
            Set::Packed(listpack) => Set::Packed(listpack.clone()),
            Set::Table(table) => Set::Table(table.clone()),
        }
    }

    fn pieces(&self) -> usize {
        match self {
            Set::Table(table) => table.pieces(),
            _ => 1,
        }
    }

    fn free_some(&mut self, pieces: usize) -> usize {
        match self {
            Set::Table(table) => table.free_some(pieces),
            _ => 0,
        }
    }
}

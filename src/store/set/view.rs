//! Reading a set, whatever its form.

use std::collections::HashSet;

use super::super::members::{self, Choice, Members};
use super::{parse_integer, Integers, Item, Items, Kind, Needle, Rng};

/// With so many integers for one that is wanted, they are drawn; with fewer, all are passed through.
const DRAW_RATIO: usize = 3;

/// A set to read.
#[derive(Clone, Copy, Debug)]
pub enum SetView<'a> {
    Integers(Integers<'a>),
    Packed(Items<'a>),
    Table(&'a Members<false>),
}

impl<'a> SetView<'a> {
    pub fn kind(self) -> Kind {
        match self {
            SetView::Integers(_) => Kind::SetIntset,
            SetView::Packed(_) => Kind::SetListpack,
            SetView::Table(_) => Kind::SetHashtable,
        }
    }

    pub fn len(self) -> usize {
        match self {
            SetView::Integers(integers) => integers.len(),
            SetView::Packed(items) => items.len(),
            SetView::Table(table) => table.len(),
        }
    }

    /// Sets in the keyspace never are.
    pub fn is_empty(self) -> bool {
        self.len() == 0
    }

    pub fn contains(self, member: &[u8]) -> bool {
        match self {
            SetView::Integers(integers) => {
                parse_integer(member).is_some_and(|value| integers.contains(value))
            }
            SetView::Packed(items) => items.find(&Needle::new(member), items.first(), 1).is_some(),
            SetView::Table(table) => table.contains(member),
        }
    }

    pub fn contains_item(self, item: Item) -> bool {
        match (self, item) {
            (SetView::Integers(integers), Item::Int(value)) => integers.contains(value),
            (set, item) => set.contains(item.bytes(&mut itoa::Buffer::new())),
        }
    }

    /// All members: of integers in order, of a listpack as they were added, of a table in no order.
    pub fn iter(self) -> SetIter<'a> {
        match self {
            SetView::Integers(integers) => SetIter::Integers(integers, 0),
            SetView::Packed(items) => SetIter::Packed(items.iter()),
            SetView::Table(table) => SetIter::Table(table.iter()),
        }
    }

    /// A random member. `None` when there is none.
    pub fn random(self, rng: &mut Rng) -> Option<Item<'a>> {
        if self.is_empty() {
            return None;
        }
        match self {
            SetView::Integers(integers) => {
                Some(Item::Int(integers.get(rng.below(integers.len() as u64) as usize)))
            }
            SetView::Packed(items) => {
                items.seek(rng.below(items.len() as u64) as i64).map(|position| items.item(position))
            }
            SetView::Table(table) => table.random(rng).map(|(member, _)| Item::Bytes(member)),
        }
    }

    /// Shows `count` different random members, or all when there are not more.
    pub fn sample(self, count: usize, rng: &mut Rng, mut each: impl FnMut(Item)) {
        match self {
            SetView::Table(table) => table.sample(count, rng, |member, _| each(Item::Bytes(member))),
            SetView::Integers(integers) if count.saturating_mul(DRAW_RATIO) <= integers.len() => {
                let mut drawn = HashSet::with_capacity(count);
                while drawn.len() < count {
                    let index = rng.below(integers.len() as u64) as usize;
                    if drawn.insert(index) {
                        each(Item::Int(integers.get(index)));
                    }
                }
            }
            SetView::Integers(_) | SetView::Packed(_) => {
                let mut choice = Choice::new(count, self.len());
                for item in self.iter() {
                    if choice.is_done() {
                        break;
                    }
                    if choice.takes(rng) {
                        each(item);
                    }
                }
            }
        }
    }

    /// Shows some members from `position` on (0 to begin), in the order of `iter`, and returns the position behind them; `None` when
    /// there are no more. Positions are good while nothing changes. A set that is no table is shown at once.
    pub fn walk(self, position: usize, mut each: impl FnMut(Item)) -> Option<usize> {
        match self {
            SetView::Table(table) => table.walk(position, |member, _| each(Item::Bytes(member))),
            _ if position > 0 => None,
            _ => {
                self.iter().for_each(each);
                Some(1)
            }
        }
    }

    /// One step of a scan: shows some members, and returns the next cursor (see `Members::scan`). A set that is no table is
    /// shown at once.
    pub fn scan(self, cursor: u64, mut each: impl FnMut(Item)) -> u64 {
        match self {
            SetView::Table(table) => table.scan(cursor, |member, _| each(Item::Bytes(member))),
            _ => {
                self.iter().for_each(each);
                0
            }
        }
    }
}

/// The members of a set.
#[derive(Clone, Debug)]
pub enum SetIter<'a> {
    /// From this index on.
    Integers(Integers<'a>, usize),
    Packed(super::super::listpack::Iter<'a>),
    Table(members::Iter<'a, false>),
}

impl<'a> Iterator for SetIter<'a> {
    type Item = Item<'a>;

    #[inline]
    fn next(&mut self) -> Option<Item<'a>> {
        match self {
            SetIter::Integers(integers, index) => {
                let value = (*index < integers.len()).then(|| Item::Int(integers.get(*index)));
                *index += 1;
                value
            }
            SetIter::Packed(items) => items.next(),
            SetIter::Table(members) => members.next().map(|(member, _)| Item::Bytes(member)),
        }
    }
}

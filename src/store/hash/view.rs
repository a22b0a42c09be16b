//! Reading a hash, whatever its form.

use super::super::listpack::{self, Item};
use super::super::members::{self, Choice, Members};
use super::super::random::Rng;
use super::{Items, Kind, Needle};

/// A hash to read.
#[derive(Clone, Copy, Debug)]
pub enum HashView<'a> {
    Packed(Items<'a>),
    Table(&'a Members<true>),
}

impl<'a> HashView<'a> {
    pub fn kind(self) -> Kind {
        match self {
            HashView::Packed(_) => Kind::HashListpack,
            HashView::Table(_) => Kind::HashHashtable,
        }
    }

    /// Number of fields.
    pub fn len(self) -> usize {
        match self {
            HashView::Packed(items) => items.len() / 2,
            HashView::Table(table) => table.len(),
        }
    }

    /// Hashes in the keyspace never are.
    pub fn is_empty(self) -> bool {
        self.len() == 0
    }

    /// The value of a field.
    #[inline]
    pub fn get(self, field: &[u8]) -> Option<Item<'a>> {
        match self {
            HashView::Packed(items) => {
                let position = items.find(&Needle::new(field), items.first(), 2)?;
                Some(items.item(items.after(position)))
            }
            HashView::Table(table) => table.get(field).map(Item::Bytes),
        }
    }

    /// Fields with their values: of a listpack as they were added, of a table in no order.
    pub fn iter(self) -> HashIter<'a> {
        match self {
            HashView::Packed(items) => HashIter::Packed(items.iter()),
            HashView::Table(table) => HashIter::Table(table.iter()),
        }
    }

    /// A random field with its value. `None` when there is none.
    pub fn random(self, rng: &mut Rng) -> Option<(Item<'a>, Item<'a>)> {
        if self.is_empty() {
            return None;
        }
        match self {
            HashView::Packed(items) => {
                let field = items.seek(2 * rng.below(self.len() as u64) as i64)?;
                Some((items.item(field), items.item(items.after(field))))
            }
            HashView::Table(table) => {
                table.random(rng).map(|(field, value)| (Item::Bytes(field), Item::Bytes(value)))
            }
        }
    }

    /// Shows `count` different random fields, or all when there are not more.
    pub fn sample(self, count: usize, rng: &mut Rng, mut each: impl FnMut(Item, Item)) {
        match self {
            HashView::Table(table) => table.sample(count, rng, |f, v| each(Item::Bytes(f), Item::Bytes(v))),
            HashView::Packed(_) => {
                let mut choice = Choice::new(count, self.len());
                for (field, value) in self.iter() {
                    if choice.is_done() {
                        break;
                    }
                    if choice.takes(rng) {
                        each(field, value);
                    }
                }
            }
        }
    }

    /// Shows some fields from `position` on (0 to begin), in the order of `iter`, and returns the position behind them; `None` when
    /// there are no more. Positions are good while nothing changes. A hash that is no table is shown at once.
    pub fn walk(self, position: usize, mut each: impl FnMut(Item, Item)) -> Option<usize> {
        match self {
            HashView::Table(table) => table.walk(position, |f, v| each(Item::Bytes(f), Item::Bytes(v))),
            HashView::Packed(_) if position > 0 => None,
            HashView::Packed(_) => {
                self.iter().for_each(|(field, value)| each(field, value));
                Some(1)
            }
        }
    }

    /// One step of a scan: shows some fields, and returns the next cursor (see `Members::scan`). A hash that is no table is
    /// shown at once.
    pub fn scan(self, cursor: u64, mut each: impl FnMut(Item, Item)) -> u64 {
        match self {
            HashView::Table(table) => table.scan(cursor, |f, v| each(Item::Bytes(f), Item::Bytes(v))),
            HashView::Packed(_) => {
                self.iter().for_each(|(field, value)| each(field, value));
                0
            }
        }
    }
}

/// The fields of a hash with their values.
#[derive(Clone, Debug)]
pub enum HashIter<'a> {
    Packed(listpack::Iter<'a>),
    Table(members::Iter<'a, true>),
}

impl<'a> Iterator for HashIter<'a> {
    type Item = (Item<'a>, Item<'a>);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        match self {
            HashIter::Packed(items) => {
                let field = items.next()?;
                Some((field, items.next()?))
            }
            HashIter::Table(members) => {
                members.next().map(|(field, value)| (Item::Bytes(field), Item::Bytes(value)))
            }
        }
    }
}

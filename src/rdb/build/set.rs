//! Sets: integers in order, packed, or a table, as the configuration has it.

use super::packing::without_duplicates;
use super::{DUPLICATE, TWICE};
use crate::rdb::blob::Intset;
use crate::rdb::error::Reason;
use crate::rdb::mend::Mending;
use crate::store::listpack::{Item, Listpack};
use crate::store::{Collection, Kind, Set, Settings};

pub struct SetBuilder {
    set: Set,
    /// The set is a listpack from the payload, of which nobody knows whether a member occurs twice.
    is_unverified: bool,
}

impl SetBuilder {
    pub fn new() -> SetBuilder {
        SetBuilder { set: Set::integers(), is_unverified: false }
    }

    /// So many members are announced.
    pub fn expect(&mut self, len: u64, settings: &Settings) {
        if len > settings.set_max_intset_entries as u64 {
            self.set = empty_table();
        }
    }

    pub fn member(&mut self, member: Item, settings: &Settings) -> Result<(), Reason> {
        if self.set.add_item(member, settings) {
            Ok(())
        } else {
            Err(DUPLICATE)
        }
    }

    pub fn packed(
        &mut self,
        listpack: Listpack,
        settings: &Settings,
        mending: &mut Mending,
    ) -> Result<(), Reason> {
        if listpack.len() <= settings.set_max_listpack_entries {
            self.set = Set::from_listpack(listpack);
            self.is_unverified = true;
            return Ok(());
        }
        self.set = empty_table();
        for member in listpack.items().iter() {
            if self.member(member, settings).is_err() {
                mending.allow(TWICE)?;
            }
        }
        Ok(())
    }

    pub fn intset(&mut self, numbers: Intset, settings: &Settings) -> Result<(), Reason> {
        if numbers.len() <= settings.set_max_intset_entries {
            let width = (numbers.width() as u16).to_le_bytes();
            self.set = Set::from_packed(Kind::SetIntset, [&width, numbers.numbers()].concat());
            return Ok(());
        }
        self.set = empty_table();
        numbers.iter().try_for_each(|number| self.member(Item::Int(number), settings))
    }

    pub fn finish(self, mending: &mut Mending) -> Result<Set, Reason> {
        if let (Set::Packed(listpack), true) = (&self.set, self.is_unverified) {
            if let Some(listpack) = without_duplicates(listpack.items(), 1, mending)? {
                return Ok(Set::from_listpack(listpack));
            }
        }
        Ok(self.set)
    }
}

fn empty_table() -> Set {
    Set::Table(Default::default())
}

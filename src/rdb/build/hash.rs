//! Hashes: packed while the configuration allows it. As in Redis, the lengths of fields and values only decide where they
//! come one by one.

use super::packing::without_duplicates;
use super::{DUPLICATE, TWICE};
use crate::rdb::error::Reason;
use crate::rdb::mend::Mending;
use crate::store::listpack::{Item, Listpack};
use crate::store::{Hash, Settings};

pub struct HashBuilder {
    packed: Listpack,
    /// Has everything once it is there.
    table: Option<Hash>,
}

impl HashBuilder {
    pub fn new() -> HashBuilder {
        HashBuilder { packed: Listpack::new(), table: None }
    }

    /// So many fields are announced.
    pub fn expect(&mut self, len: u64, settings: &Settings) {
        if len > settings.hash_max_listpack_entries as u64 {
            self.table = Some(empty_table());
        }
    }

    pub fn pair(
        &mut self,
        field: Item,
        value: Item,
        settings: &Settings,
        mending: &mut Mending,
    ) -> Result<(), Reason> {
        let is_too_long = field.byte_len().max(value.byte_len()) > settings.hash_max_listpack_value;
        if self.table.is_none() && is_too_long {
            self.unpack(settings, mending)?;
        }
        let (mut digits, mut more_digits) = (itoa::Buffer::new(), itoa::Buffer::new());
        let (field, value) = (field.bytes(&mut digits), value.bytes(&mut more_digits));
        if let Some(table) = &mut self.table {
            // Redis refuses it, too.
            return if table.set(field, value, settings) { Ok(()) } else { Err(DUPLICATE) };
        }
        self.packed.push_back(field);
        self.packed.push_back(value);
        Ok(())
    }

    pub fn packed(
        &mut self,
        listpack: Listpack,
        settings: &Settings,
        mending: &mut Mending,
    ) -> Result<(), Reason> {
        self.packed = listpack;
        if self.packed.len() / 2 > settings.hash_max_listpack_entries {
            self.unpack(settings, mending)?;
        }
        Ok(())
    }

    fn unpack(&mut self, settings: &Settings, mending: &mut Mending) -> Result<(), Reason> {
        let mut table = empty_table();
        let (mut digits, mut more_digits) = (itoa::Buffer::new(), itoa::Buffer::new());
        let mut items = self.packed.items().iter();
        while let (Some(field), Some(value)) = (items.next(), items.next()) {
            let (field, value) = (field.bytes(&mut digits), value.bytes(&mut more_digits));
            if table.get(field).is_some() {
                mending.allow(TWICE)?;
            } else {
                table.set(field, value, settings);
            }
        }
        self.packed = Listpack::new();
        self.table = Some(table);
        Ok(())
    }

    pub fn finish(self, mending: &mut Mending) -> Result<Hash, Reason> {
        match self.table {
            Some(table) => Ok(table),
            None => {
                let mended = without_duplicates(self.packed.items(), 2, mending)?;
                Ok(Hash::from_listpack(mended.unwrap_or(self.packed)))
            }
        }
    }
}

fn empty_table() -> Hash {
    Hash::Table(Default::default())
}

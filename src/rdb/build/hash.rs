//! Hashes: packed while the configuration allows it. As in Redis, the lengths of fields and values only decide where they
//! come one by one.

use super::packing::refuse_duplicates;
use super::DUPLICATE;
use crate::rdb::error::Reason;
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

    pub fn pair(&mut self, field: Item, value: Item, settings: &Settings) -> Result<(), Reason> {
        let is_too_long = field.byte_len().max(value.byte_len()) > settings.hash_max_listpack_value;
        if self.table.is_none() && is_too_long {
            self.unpack(settings)?;
        }
        let (mut digits, mut more_digits) = (itoa::Buffer::new(), itoa::Buffer::new());
        let (field, value) = (field.bytes(&mut digits), value.bytes(&mut more_digits));
        if let Some(table) = &mut self.table {
            let is_new = table.set(field, value, settings);
            return if is_new { Ok(()) } else { Err(DUPLICATE) };
        }
        self.packed.push_back(field);
        self.packed.push_back(value);
        Ok(())
    }

    pub fn packed(&mut self, listpack: Listpack, settings: &Settings) -> Result<(), Reason> {
        self.packed = listpack;
        if self.packed.len() / 2 > settings.hash_max_listpack_entries {
            self.unpack(settings)?;
        }
        Ok(())
    }

    fn unpack(&mut self, settings: &Settings) -> Result<(), Reason> {
        self.table = Some(empty_table());
        let packed = std::mem::take(&mut self.packed);
        let mut items = packed.items().iter();
        while let (Some(field), Some(value)) = (items.next(), items.next()) {
            self.pair(field, value, settings)?;
        }
        Ok(())
    }

    pub fn finish(self, look_for_duplicates: bool) -> Result<Hash, Reason> {
        match self.table {
            Some(table) => Ok(table),
            None => {
                if look_for_duplicates {
                    refuse_duplicates(self.packed.items(), 2)?;
                }
                Ok(Hash::from_listpack(self.packed))
            }
        }
    }
}

fn empty_table() -> Hash {
    Hash::Table(Default::default())
}

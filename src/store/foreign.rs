//! Keys of other shards, lent for one command: while it runs they look like this shard's own.
//!
//! A command whose keys live on several shards runs on one of them, on copies of the others' values
//! (`txn/transactions.md`). A key whose slot this store does not own is looked up among the lent ones; those that the command
//! touched go back to their owners afterwards, and nothing of them stays.

use super::{Detached, Store};

impl Store {
    /// Lends a key, before the command runs. `None`: the key exists nowhere, and may be created.
    pub fn borrow_foreign(&mut self, db: usize, key: &[u8], value: Option<Detached>) {
        let _ = (db, key, value);
        todo!()
    }

    /// After the command: what has become of the lent keys that it touched. The others are forgotten.
    pub fn return_foreign(&mut self) -> Vec<(usize, Vec<u8>, Option<Detached>)> {
        todo!()
    }
}

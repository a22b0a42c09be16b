//! One database: a hash table per slot, and how many keys each slot holds.
//!
//! A table per slot keeps every growth small, and makes slot migration, CLUSTER GETKEYSINSLOT and per-slot counts
//! direct. The tables of an unused database are not allocated.
//!
//! Tables hold words of live entries only, which is what the `unsafe` here and in the files that use it relies on:
//! words enter by `insert` and leave by `remove` or `take_tables`, and an entry is freed only after its word has left.

use std::hash::{BuildHasher, Hasher};

use foldhash::quality::RandomState;

use super::census::Census;
use super::entry::{self, Entry};
use super::random::Rng;
use super::table::{empty_tables, Owner, Table};

/// Hashes keys, and keeps the account of all memory of a store.
#[derive(Debug, Default)]
pub(super) struct Keys {
    /// Seeded at random, so that nobody can prepare keys that collide.
    hasher: RandomState,
    used: usize,
}

impl Keys {
    #[inline]
    pub(super) fn hash_key(&self, key: &[u8]) -> u64 {
        let mut hasher = self.hasher.build_hasher();
        hasher.write(key);
        hasher.finish()
    }

    /// Bytes allocated for entries, objects and tables.
    pub(super) fn used(&self) -> usize {
        self.used
    }
}

impl Owner for Keys {
    fn hash(&self, word: u64) -> u64 {
        self.hash_key(entry_of(word).key())
    }

    fn prefetch(&self, word: u64) {
        entry::prefetch(word);
    }

    #[inline]
    fn allocated(&mut self, bytes: usize) {
        self.used += bytes;
    }

    #[inline]
    fn freed(&mut self, bytes: usize) {
        debug_assert!(self.used >= bytes);
        self.used -= bytes;
    }
}

/// The entry of a word that is in a table, or has just been taken out of one and not been freed.
#[inline]
pub(super) fn entry_of<'a>(word: u64) -> Entry<'a> {
    // SAFETY: tables hold words of live entries only (see the module's comment). No caller keeps the entry beyond a
    // change to it: references to its bytes leave the store only bound to a borrow of the store.
    unsafe { Entry::from_word(word) }
}

/// Slots are known by their numbers in the shard's `SlotSet`.
#[derive(Default)]
pub(super) struct Database {
    tables: Box<[Table]>,
    keys: Census,
    volatile: Census,
    /// Running estimate of the mean time to live of keys that have one.
    pub avg_ttl_ms: i64,
    /// Where active expiry goes on: slot, and cursor in its table.
    pub expire_slot: usize,
    pub expire_cursor: u64,
}

impl Database {
    pub(super) fn keys(&self) -> &Census {
        &self.keys
    }

    pub(super) fn volatile(&self) -> &Census {
        &self.volatile
    }

    pub(super) fn table(&self, slot: usize) -> Option<&Table> {
        self.tables.get(slot)
    }

    pub(super) fn tables(&self) -> &[Table] {
        &self.tables
    }

    /// The word of the key, expired or not.
    #[inline]
    pub(super) fn find(&self, slot: usize, hash: u64, key: &[u8]) -> Option<u64> {
        self.tables.get(slot)?.get(hash, |word| entry_of(word).key() == key)
    }

    #[inline]
    pub(super) fn find_mut(&mut self, slot: usize, hash: u64, key: &[u8]) -> Option<&mut u64> {
        self.tables.get_mut(slot)?.get_mut(hash, |word| entry_of(word).key() == key)
    }

    /// Adds an entry, of a key that is not there. `slots` is how many the shard owns.
    ///
    /// `slot` is below that: commands of clients run where their keys are (`txn::plan`), and what is read from files is looked at
    /// first (`shard/loading/replay`, `persist/rdb/file/load`).
    pub(super) fn insert(&mut self, slot: usize, hash: u64, word: u64, slots: usize, keys: &mut Keys) {
        if self.tables.is_empty() {
            self.tables = empty_tables(slots);
            keys.allocated(size_of_val(&*self.tables));
            self.keys = Census::new(slots);
            self.volatile = Census::new(slots);
        }
        self.tables[slot].insert(hash, word, keys);
        self.keys.add(slot);
        if entry::has_expiry(word) {
            self.volatile.add(slot);
        }
    }

    /// Takes a word out; the entry stays for the caller to free.
    pub(super) fn remove(
        &mut self,
        slot: usize,
        hash: u64,
        is_it: impl FnMut(u64) -> bool,
        keys: &mut Keys,
    ) -> Option<u64> {
        let word = self.tables.get_mut(slot)?.remove(hash, is_it, keys)?;
        self.keys.sub(slot);
        if entry::has_expiry(word) {
            self.volatile.sub(slot);
        }
        Some(word)
    }

    /// To be called when an entry gained or lost its expiry.
    #[inline]
    pub(super) fn recount_expiry(&mut self, slot: usize, had: bool, has: bool) {
        match (had, has) {
            (false, true) => self.volatile.add(slot),
            (true, false) => self.volatile.sub(slot),
            _ => {}
        }
    }

    /// Empties the database and hands over its tables, entries and all.
    pub(super) fn take_tables(&mut self) -> Box<[Table]> {
        std::mem::take(self).tables
    }

    /// A random entry, all nearly as likely.
    pub(super) fn random(&self, rng: &mut Rng) -> Option<u64> {
        if self.keys.total() == 0 {
            return None;
        }
        self.tables[self.keys.slot_of_nth(rng.below(self.keys.total()))].random(rng)
    }

    /// A random entry with an expiry. Within a slot where few have one, those after many without are likelier.
    pub(super) fn random_volatile(&self, rng: &mut Rng) -> Option<u64> {
        if self.volatile.total() == 0 {
            return None;
        }
        let slot = self.volatile.slot_of_nth(rng.below(self.volatile.total()));
        let table = &self.tables[slot];
        for _ in 0..VOLATILE_TRIES_MAX {
            match table.random(rng) {
                Some(word) if entry::has_expiry(word) => return Some(word),
                _ => {}
            }
        }
        table.iter_round(rng).find(|&word| entry::has_expiry(word))
    }

    /// Every entry, in order of slots.
    pub(super) fn iter(&self) -> impl Iterator<Item = u64> + '_ {
        self.tables.iter().flat_map(Table::iter)
    }
}

/// Fair draws for a key with an expiry before walking the slot's table in search of one.
const VOLATILE_TRIES_MAX: usize = 16;

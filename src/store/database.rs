//! One database: a hash table per slot, and how many keys each slot holds.
//!
//! A table per slot keeps every growth small, and makes slot migration, CLUSTER GETKEYSINSLOT and per-slot counts
//! direct. The tables of an unused database are not allocated.
//!
//! Tables hold words of live entries only, which is what the `unsafe` here and in the files that use it relies on:
//! words enter by `insert` and leave by `remove` or `take_tables`, and an entry is freed only after its word has left. To a
//! table a word is a number; [`SlotTable`] and [`Database`] alone turn such numbers into [`Word`]s again.

use std::hash::{BuildHasher, Hasher};

use foldhash::quality::RandomState;

use super::entry::{self, Word};
use super::random::Rng;
use super::slot_counts::SlotCounts;
use super::table::{Owner, Table};
use super::tables::Tables;

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
    fn hash(&self, bits: u64) -> u64 {
        // SAFETY: the tables ask only about what they hold: words of live entries.
        self.hash_key(unsafe { Word::from_bits(bits) }.entry().key())
    }

    fn prefetch(&self, bits: u64) {
        // SAFETY: as above.
        entry::prefetch(unsafe { Word::from_bits(bits) });
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

/// The table of one slot, and its words as what they are. Invariant: they are words of live entries.
#[derive(Clone, Copy)]
pub(super) struct SlotTable<'a>(&'a Table);

impl<'a> SlotTable<'a> {
    /// # Safety
    /// The table is that of a slot of a database, whether the database still has it or not, and its entries are live.
    #[inline]
    pub(super) unsafe fn new(table: &'a Table) -> Self {
        SlotTable(table)
    }

    /// Keys.
    pub(super) fn len(self) -> usize {
        self.0.len()
    }

    /// # Safety
    /// `bits` are in this table.
    #[inline]
    unsafe fn word(bits: u64) -> Word {
        // SAFETY: by the contract above and the invariant.
        unsafe { Word::from_bits(bits) }
    }

    #[inline]
    pub(super) fn find(self, hash: u64, key: &[u8]) -> Option<Word> {
        // SAFETY: the table shows and answers words that it holds.
        let is_it = |bits| unsafe { Self::word(bits) }.entry().key() == key;
        // SAFETY: as above.
        self.0.get(hash, is_it).map(|bits| unsafe { Self::word(bits) })
    }

    /// Where the word of the key is; valid until the table changes. It may be given another word of the same key.
    #[inline]
    pub(super) fn place_of(self, hash: u64, key: &[u8]) -> Option<*mut Word> {
        // SAFETY: as `find`.
        let is_it = |bits| unsafe { Self::word(bits) }.entry().key() == key;
        // A `Word` is laid out as its bits.
        self.0.place_of(hash, is_it).map(<*mut u64>::cast)
    }

    /// As [`Table::scan`].
    #[inline]
    pub(super) fn scan(self, cursor: u64, mut visit: impl FnMut(Word)) -> u64 {
        // SAFETY: as `find`.
        self.0.scan(cursor, |bits| visit(unsafe { Self::word(bits) }))
    }

    /// As [`Table::scan_places`].
    #[inline]
    pub(super) fn scan_places(self, cursor: u64, mut visit: impl FnMut(*mut Word)) -> u64 {
        self.0.scan_places(cursor, |place| visit(place.cast()))
    }

    pub(super) fn iter(self) -> impl Iterator<Item = Word> + 'a {
        // SAFETY: as `find`.
        self.0.iter().map(|bits| unsafe { Self::word(bits) })
    }

    fn random(self, rng: &mut Rng) -> Option<Word> {
        // SAFETY: as `find`.
        self.0.random(rng).map(|bits| unsafe { Self::word(bits) })
    }

    fn iter_round(self, rng: &mut Rng) -> impl Iterator<Item = Word> + 'a {
        // SAFETY: as `find`.
        self.0.iter_round(rng).map(|bits| unsafe { Self::word(bits) })
    }

    /// The place of the table itself, for prefetching.
    #[inline]
    pub(super) fn place(self) -> *const Table {
        self.0
    }

    /// As [`Table::first_line`].
    #[inline]
    pub(super) fn first_line(self, hash: u64) -> Option<*const u64> {
        self.0.first_line(hash).map(<*mut u64>::cast_const)
    }

    /// As [`Table::first_match`].
    #[inline]
    pub(super) fn first_match(self, hash: u64) -> Option<Word> {
        // SAFETY: as `find`.
        self.0.first_match(hash).map(|bits| unsafe { Self::word(bits) })
    }
}

/// Slots are known by their numbers in the shard's `SlotSet`.
#[derive(Default)]
pub(super) struct Database {
    tables: Tables,
    keys: SlotCounts,
    volatile: SlotCounts,
    /// Running estimate of the mean time to live of keys that have one.
    pub avg_ttl_ms: i64,
    /// Where active expiry goes on: slot, and cursor in its table.
    pub expire_slot: usize,
    pub expire_cursor: u64,
}

impl Database {
    pub(super) fn keys(&self) -> &SlotCounts {
        &self.keys
    }

    pub(super) fn volatile(&self) -> &SlotCounts {
        &self.volatile
    }

    #[inline]
    pub(super) fn table(&self, slot: usize) -> Option<SlotTable<'_>> {
        // SAFETY: see the module's comment.
        self.tables.get(slot).map(|table| unsafe { SlotTable::new(table) })
    }

    pub(super) fn tables(&self) -> impl Iterator<Item = SlotTable<'_>> {
        // SAFETY: see the module's comment.
        self.tables.iter().map(|table| unsafe { SlotTable::new(table) })
    }

    /// The word of the key, expired or not.
    #[inline]
    pub(super) fn find(&self, slot: usize, hash: u64, key: &[u8]) -> Option<Word> {
        self.table(slot)?.find(hash, key)
    }

    /// As [`SlotTable::place_of`].
    #[inline]
    pub(super) fn place_of(&self, slot: usize, hash: u64, key: &[u8]) -> Option<*mut Word> {
        self.table(slot)?.place_of(hash, key)
    }

    /// Adds an entry, of a key that is not there. `slots` is how many the shard owns.
    ///
    /// `slot` is below that: commands of clients run where their keys are (`txn::plan`), and what is read from files is looked at
    /// first (`shard/loading/replay`, `persist/rdb/file/load`).
    pub(super) fn insert(&mut self, slot: usize, hash: u64, word: Word, slots: usize, keys: &mut Keys) {
        if self.tables.is_empty() {
            self.tables = Tables::new(slots);
            self.keys = SlotCounts::new(slots);
            self.volatile = SlotCounts::new(slots);
        }
        self.tables.for_use(slot, keys).insert(hash, word.bits(), keys);
        self.keys.add(slot);
        if entry::has_expiry(word) {
            self.volatile.add(slot);
        }
    }

    /// Takes the word of an entry out; the entry stays for the caller to free.
    pub(super) fn remove(&mut self, slot: usize, hash: u64, word: Word, keys: &mut Keys) -> Option<Word> {
        // SAFETY: the table shows words that it holds.
        let is_it = |bits| entry::is_same(unsafe { Word::from_bits(bits) }, word);
        let bits = self.tables.get_mut(slot)?.remove(hash, is_it, keys)?;
        // SAFETY: it was in the table, and its entry has not been freed.
        let word = unsafe { Word::from_bits(bits) };
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
    pub(super) fn take_tables(&mut self) -> Tables {
        std::mem::take(self).tables
    }

    /// A random entry, all nearly as likely.
    pub(super) fn random(&self, rng: &mut Rng) -> Option<Word> {
        if self.keys.total() == 0 {
            return None;
        }
        self.table(self.keys.slot_of_nth(rng.below(self.keys.total())))?.random(rng)
    }

    /// A random entry with an expiry. Within a slot where few have one, those after many without are likelier.
    pub(super) fn random_volatile(&self, rng: &mut Rng) -> Option<Word> {
        if self.volatile.total() == 0 {
            return None;
        }
        let slot = self.volatile.slot_of_nth(rng.below(self.volatile.total()));
        let table = self.table(slot)?;
        for _ in 0..VOLATILE_TRIES_MAX {
            match table.random(rng) {
                Some(word) if entry::has_expiry(word) => return Some(word),
                _ => {}
            }
        }
        table.iter_round(rng).find(|&word| entry::has_expiry(word))
    }

    /// Every entry, in order of slots.
    pub(super) fn iter(&self) -> impl Iterator<Item = Word> + '_ {
        self.tables().flat_map(SlotTable::iter)
    }
}

/// Fair draws for a key with an expiry before walking the slot's table in search of one.
const VOLATILE_TRIES_MAX: usize = 16;

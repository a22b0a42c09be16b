//! Operations on whole databases: sizes, scans, random keys, flushes, and slots.

use smallvec::SmallVec;

use super::entry::Word;
use super::lookup::Home;
use super::{Detached, SlotSet, Store, Value};

/// Bits of a scan cursor that hold the slot; the cursor within the slot's table is above them.
const SLOT_BITS: u32 = 14;
/// Buckets that one call of `scan` looks at for each key that it was asked for.
const SCAN_BUCKETS_PER_KEY: usize = 10;
/// Expired keys that RANDOMKEY comes upon before it gives up.
const RANDOM_KEY_TRIES_MAX: usize = 100;

/// Words of one bucket, as a rule.
pub(super) type Words = SmallVec<[Word; 16]>;

/// Gets a key, its value and expiry (Unix milliseconds); false ends the walk.
pub type Visit<'a> = dyn FnMut(&[u8], Value, Option<i64>) -> bool + 'a;

/// All that is to be kept of a key when it is written somewhere.
#[derive(Debug)]
pub struct KeyView<'a> {
    pub key: &'a [u8],
    pub value: Value<'a>,
    /// Unix time, milliseconds.
    pub expire_at: Option<i64>,
    pub usage: Usage,
}

/// What `maxmemory-policy` judges a key by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Usage {
    /// The policy asks for neither.
    NotAsked,
    /// Seconds since the last use.
    Idle(u32),
    /// The LFU counter, decayed until now.
    Frequency(u8),
}

impl Store {
    /// Number of keys, those that have expired but have not been deleted yet included.
    pub fn len(&self, db: usize) -> usize {
        self.databases[db].keys().total() as usize
    }

    pub fn is_empty(&self, db: usize) -> bool {
        self.len(db) == 0
    }

    /// Number of keys with an expiry.
    pub fn volatile_len(&self, db: usize) -> usize {
        self.databases[db].volatile().total() as usize
    }

    /// Estimated mean time to live of the keys that have one, milliseconds (INFO keyspace). 0 when unknown.
    pub fn avg_ttl_ms(&self, db: usize) -> i64 {
        self.databases[db].avg_ttl_ms
    }

    /// A key, all about as likely. Expired ones that it comes upon are deleted.
    pub fn random_key(&mut self, db: usize) -> Option<Vec<u8>> {
        for _ in 0..RANDOM_KEY_TRIES_MAX {
            let word = self.databases[db].random(&mut self.rng)?;
            if !self.has_expired(word) {
                return Some(word.entry().key().to_vec());
            }
            if self.may_expire(word) {
                self.delete_expired(self.home_of(db, word), word);
            }
        }
        None
    }

    /// Visits about `count` keys from `cursor` on, and returns the cursor to go on with, 0 at the end. A key that is there
    /// from the first call to the last is visited at least once, whatever happens between calls.
    ///
    /// The low 14 bits of a cursor are the slot that comes next, so a cursor tells its shard; 0 begins at this
    /// shard's first slot, and so does that slot's number.
    pub fn scan(&mut self, db: usize, cursor: u64, count: usize, visit: &mut dyn FnMut(&[u8], Value)) -> u64 {
        let mut slot = self.slots().number_from((cursor & ((1 << SLOT_BITS) - 1)) as u16);
        let mut within = cursor >> SLOT_BITS;
        let (mut visited, mut buckets) = (0, 0);
        let count = count.max(1);
        let mut expired = Words::new();
        let next = loop {
            if within == 0 {
                // To the next slot that holds any key.
                match self.databases[db].keys().next_from(slot) {
                    Some(next) => slot = next,
                    None => break 0,
                }
            }
            if visited >= count || buckets >= count.saturating_mul(SCAN_BUCKETS_PER_KEY) {
                break within << SLOT_BITS | u64::from(self.slots().slot(slot));
            }
            let Some(table) = self.databases[db].table(slot) else {
                break 0;
            };
            within = table.scan(within, |word| {
                visited += 1;
                if self.has_expired(word) {
                    expired.push(word);
                } else {
                    let entry = word.entry();
                    visit(entry.key(), entry.value());
                }
            });
            buckets += 1;
            if within == 0 {
                slot += 1;
            }
        };
        for word in expired {
            if self.may_expire(word) {
                self.delete_expired(self.home_of(db, word), word);
            }
        }
        next
    }

    /// Visits every key with its value and expiry (Unix milliseconds), expired ones included, slot by slot, until `visit`
    /// answers false.
    pub fn for_each_key(&self, db: usize, visit: &mut Visit) {
        for word in self.databases[db].iter() {
            let entry = word.entry();
            if !visit(entry.key(), entry.value(), entry.expire_at()) {
                return;
            }
        }
    }

    /// As `for_each_key`, with all there is to keep of each. Changes nothing and allocates nothing.
    pub fn for_each_view(&self, db: usize, visit: &mut dyn FnMut(KeyView) -> bool) {
        for word in self.databases[db].iter() {
            if !visit(self.view(word)) {
                return;
            }
        }
    }

    /// What is to be kept of the entry of a word in a table.
    pub(super) fn view(&self, word: Word) -> KeyView<'_> {
        // SAFETY: the entry changes only through the store, which stays borrowed for as long as the view.
        let entry = unsafe { word.entry_for() };
        let policy = self.settings.maxmemory_policy;
        let usage = if policy.is_lfu() {
            Usage::Frequency(entry.clock().counter(&self.settings, self.now_ms))
        } else if policy.is_lru() {
            Usage::Idle(entry.clock().idle_s(self.now_ms))
        } else {
            Usage::NotAsked
        };
        KeyView { key: entry.key(), value: entry.value(), expire_at: entry.expire_at(), usage }
    }

    /// Empties one database, or all, and returns how many keys that were. Their memory is given back by `free_some`.
    pub fn clear(&mut self, db: Option<usize>) -> u64 {
        if let Some(slots) = self.flushes_only.clone() {
            let databases = db.map_or(0..self.databases(), |db| db..db + 1);
            return databases.map(|db| self.take_slots(db, &slots).len() as u64).sum();
        }
        let databases = match db {
            Some(db) => db..db + 1,
            None => 0..self.databases.len(),
        };
        let mut cleared = 0;
        for db in databases {
            self.tell_watchers_of_all(db, None);
            cleared += self.databases[db].keys().total();
            let bytes = self.share_of(db);
            let tables = self.databases[db].take_tables();
            if let Some(tables) = self.before_flush(db, tables) {
                self.garbage.add_tables(tables, bytes);
            }
            self.waiting.note_all(db);
        }
        cleared
    }

    /// About the memory of a database: its share in what is used, by the number of keys.
    fn share_of(&self, db: usize) -> usize {
        let all: u64 = self.databases.iter().map(|database| database.keys().total()).sum();
        let live = self.keys.used().saturating_sub(self.garbage.bytes) as u128;
        (live * u128::from(self.databases[db].keys().total()) / u128::from(all.max(1))) as usize
    }

    /// Memory that counts as used and waits for `free_some`, about.
    pub fn garbage_bytes(&self) -> usize {
        self.garbage.bytes
    }

    /// Exchanges the contents of two databases.
    pub fn swap(&mut self, a: usize, b: usize) {
        if a == b {
            return;
        }
        if let Some(slots) = self.flushes_only.clone() {
            let (from_a, from_b) = (self.take_slots(a, &slots), self.take_slots(b, &slots));
            from_a.into_iter().for_each(|(key, value)| self.put(b, &key, value));
            from_b.into_iter().for_each(|(key, value)| self.put(a, &key, value));
            return;
        }
        self.tell_watchers_of_all(a, Some(b));
        self.tell_watchers_of_all(b, Some(a));
        self.databases.swap(a, b);
        self.after_swap(a, b);
        self.waiting.note_all(a);
        self.waiting.note_all(b);
        self.pool.clear();
    }

    /// Takes all keys of some slots out of a database, with their values. Costs what these slots hold.
    fn take_slots(&mut self, db: usize, slots: &SlotSet) -> Vec<(Box<[u8]>, Detached)> {
        let keys = self.keys_of(db, slots);
        keys.into_iter().filter_map(|key| self.take(db, &key).map(|value| (key, value))).collect()
    }

    /// Removes all keys of some slots. Costs what these slots hold.
    pub fn remove_slots(&mut self, slots: &SlotSet) {
        for db in 0..self.databases() {
            for key in self.keys_of(db, slots) {
                self.remove(db, &key);
            }
        }
    }

    /// All keys of some slots, those of other shards left out.
    fn keys_of(&self, db: usize, slots: &SlotSet) -> Vec<Box<[u8]>> {
        let tables = slots.iter().filter_map(|slot| self.databases[db].table(self.index_of_slot(slot)?));
        tables.flat_map(|table| table.iter().map(|word| word.entry().key().into())).collect()
    }

    /// Number of keys of database 0 in a slot (CLUSTER COUNTKEYSINSLOT); 0 for a slot of another shard.
    pub fn count_in_slot(&self, slot: u16) -> usize {
        match self.index_of_slot(slot) {
            Some(index) => self.databases[0].keys().of(index),
            None => 0,
        }
    }

    /// Up to `count` keys of database 0 in a slot (CLUSTER GETKEYSINSLOT).
    pub fn keys_in_slot(&self, slot: u16, count: usize) -> Vec<Vec<u8>> {
        let table = self.index_of_slot(slot).and_then(|index| self.databases[0].table(index));
        table.map_or_else(Vec::new, |table| {
            table.iter().take(count).map(|word| word.entry().key().to_vec()).collect()
        })
    }

    fn index_of_slot(&self, slot: u16) -> Option<usize> {
        self.slots().contains(slot).then(|| self.slots().number(slot).into())
    }

    /// Frees about `objects` keys or elements of what was flushed, overwritten or deleted; true when more is left.
    pub fn free_some(&mut self, objects: usize) -> bool {
        self.garbage.free_some(objects, &mut self.keys);
        self.stats.lazyfreed_objects += std::mem::take(&mut self.garbage.freed);
        !self.garbage.is_empty()
    }

    /// Where the key of a word in a table belongs.
    pub(super) fn home_of(&self, db: usize, word: Word) -> Home {
        let slot = self.slots().number(super::slot_of(word.entry().key())).into();
        Home { db, slot, hash: self.keys.hash_key(word.entry().key()) }
    }
}

//! The store itself: what it holds, and the one way by which every operation finds a key.

use std::cell::Cell;
use std::rc::Rc;

use bytes::BytesMut;
use smallvec::SmallVec;

use super::changes::Changes;
use super::clock::Clock;
use super::database::{Database, Keys};
use super::entry::{self, Content, Word};
use super::evict::EvictionPool;
use super::lazyfree::LazyFree;
use super::object::Object;
use super::random::Rng;
use super::snapshot::{Renewal, Snapshot};
use super::watch::Replacement;
use super::{
    slot_of, EventClass, Events, ExpireCycle, Guard, Prefetched, Settings, SlotSet, StoreStats, Value,
    Waiting, WatchFlag, Watches,
};

/// The keyspace of one shard.
///
/// Keys are those of the slots it owns. A key of another slot, or while it is guarded of none that was planned, is never there:
/// what is written under it is gone, and the store says afterwards that it has been asked for one (`end_guard`). Databases are
/// numbered from 0; a number out of range is a bug of the caller and panics.
pub struct Store {
    pub settings: Settings,
    pub events: Events,
    pub watches: Watches,
    pub changes: Changes,
    pub waiting: Waiting,
    pub stats: StoreStats,
    /// Changes since the last save, counted by commands.
    pub dirty: u64,
    /// Keys deleted because they had expired, oldest first, while `log_enabled`: (database, key), to be logged and
    /// replicated as DEL, in front of the effect of the command that came upon them.
    pub expired_effects: Vec<(usize, Vec<u8>)>,
    /// Someone wants `expired_effects`, and drains it after each command and each cycle.
    pub log_enabled: bool,
    /// False while a log or replication stream is applied: an expired key is there until its DEL comes.
    pub expire_on_access: bool,
    /// The slots that a flush or a swap of databases is about: all, but when it comes from the log of a shard that had these.
    pub flushes_only: Option<SlotSet>,
    /// True while clients' writes are paused: an expired key is absent, but nothing is deleted.
    pub expire_paused: bool,
    /// True on a replica, but while a client's write runs: an expired key is absent, and its master is the one that deletes it.
    pub keeps_expired: bool,
    /// Look-ups leave the LRU/LFU clocks alone.
    pub no_touch: bool,
    /// Says which keys must stay although they have expired, or memory is short.
    pub guard: Option<Rc<dyn Guard>>,
    /// A key was found that had expired, and was not deleted because of the guard, since this was last set to false.
    pub passed_over: bool,

    pub(super) now_ms: i64,
    slots: SlotSet,
    /// So many slots, by their numbers in `slots`, hold keys that may be used without a further look: all, or none while
    /// only `planned` keys may be.
    open_slots: u16,
    planned: SmallVec<[(usize, u64); 8]>,
    strayed: Cell<bool>,
    hint: SlotHint,
    pub(super) databases: Vec<Database>,
    pub(super) keys: Keys,
    /// New entries get it, and an entry with another one may have to be saved before it changes (see `snapshot`).
    pub(super) epoch: u64,
    /// Epochs that were given up before every entry had got them.
    pub(super) stale_epochs: u64,
    pub(super) renewal: Renewal,
    pub(super) snapshot: Option<Box<Snapshot>>,
    pub(super) rng: Rng,
    pub(super) garbage: LazyFree,
    pub(super) cycle: ExpireCycle,
    pub(super) pool: EvictionPool,
    /// The buffer in which `modify_string` works on strings that lie in their entry.
    pub(super) scratch: BytesMut,
    /// The buffer in which `update` works on collections that lie in their entry.
    pub(super) pack_scratch: Vec<u8>,
}

/// The key whose slot somebody computed already, known by where it lies.
#[derive(Clone, Copy, Default)]
struct SlotHint {
    address: usize,
    len: usize,
    slot: u16,
    /// The key's hash too, when it is known.
    hash: Option<u64>,
}

/// Where a key belongs, there or not.
#[derive(Clone, Copy)]
pub(super) struct Home {
    pub db: usize,
    /// Its number in the shard's `SlotSet`; `NOWHERE` when the key may not be here.
    pub slot: usize,
    pub hash: u64,
}

/// No table has this number.
pub(super) const NOWHERE: usize = usize::MAX;

impl Store {
    pub fn new(slots: SlotSet, databases: usize) -> Store {
        let open_slots = slots.len() as u16;
        Store {
            settings: Settings::default(),
            events: Events::default(),
            watches: Watches::default(),
            changes: Changes::default(),
            waiting: Waiting::default(),
            stats: StoreStats::default(),
            dirty: 0,
            expired_effects: Vec::new(),
            log_enabled: false,
            expire_on_access: true,
            flushes_only: None,
            expire_paused: false,
            keeps_expired: false,
            no_touch: false,
            guard: None,
            passed_over: false,
            now_ms: 0,
            slots,
            open_slots,
            planned: SmallVec::new(),
            strayed: Cell::new(false),
            hint: SlotHint::default(),
            databases: (0..databases).map(|_| Database::default()).collect(),
            keys: Keys::default(),
            epoch: 0,
            stale_epochs: 0,
            renewal: Renewal::default(),
            snapshot: None,
            rng: Rng::from_entropy(),
            garbage: LazyFree::default(),
            cycle: ExpireCycle::default(),
            pool: EvictionPool::default(),
            scratch: BytesMut::new(),
            pack_scratch: Vec::new(),
        }
    }

    /// What time it is until the next call: Unix time, milliseconds.
    pub fn set_time(&mut self, now_ms: i64) {
        self.now_ms = now_ms;
        self.clear_slot_hint();
    }

    pub fn now_ms(&self) -> i64 {
        self.now_ms
    }

    pub fn slots(&self) -> &SlotSet {
        &self.slots
    }

    pub fn databases(&self) -> usize {
        self.databases.len()
    }

    /// Spares the next look-ups of this very slice (the same bytes at the same address) computing its slot. Holds until the
    /// next hint, `clear_slot_hint` or `set_time`; whoever reuses the memory of the key must do one of them first.
    #[inline]
    pub fn slot_hint(&mut self, key: &[u8], slot: u16) {
        debug_assert_eq!(slot, slot_of(key));
        self.hint = SlotHint { address: key.as_ptr() as usize, len: key.len(), slot, hash: None };
    }

    /// As `slot_hint`, with the hash that looking ahead has computed too.
    #[inline]
    pub fn prefetch_hint(&mut self, key: &[u8], ahead: Prefetched) {
        debug_assert_eq!(ahead.slot, slot_of(key));
        self.hint = SlotHint {
            address: key.as_ptr() as usize,
            len: key.len(),
            slot: ahead.slot,
            hash: Some(ahead.hash),
        };
    }

    #[inline]
    pub fn clear_slot_hint(&mut self) {
        self.hint.address = 0;
    }

    /// Bytes allocated for keys, values and tables, what waits for `free_some` included.
    pub fn used_memory(&self) -> usize {
        self.keys.used()
    }

    #[inline]
    pub(super) fn home(&self, db: usize, key: &[u8]) -> Home {
        let hinted = self.hint.address == key.as_ptr() as usize && self.hint.len == key.len();
        let slot = if hinted { self.hint.slot } else { slot_of(key) };
        debug_assert_eq!(slot, slot_of(key), "a slot hint outlived its key");
        let hash = match self.hint.hash {
            Some(hash) if hinted => hash,
            _ => self.keys.hash_key(key),
        };
        let number = self.slots.number(slot);
        let slot = if number < self.open_slots { number.into() } else { self.guarded_slot(db, number, hash) };
        Home { db, slot, hash }
    }

    /// Where a key of a guarded store, or of another shard, belongs.
    #[cold]
    fn guarded_slot(&self, db: usize, slot: u16, hash: u64) -> usize {
        let is_owned = usize::from(slot) < self.slots.len();
        let is_planned = self.open_slots > 0 || self.planned.binary_search(&(db, hash)).is_ok();
        if is_owned && is_planned {
            return slot.into();
        }
        self.strayed.set(true);
        NOWHERE
    }

    /// Until `end_guard` only these keys are there, each in its database.
    pub fn guard<'k>(&mut self, keys: impl Iterator<Item = (usize, &'k [u8])>) {
        self.planned.clear();
        self.planned.extend(keys.map(|(db, key)| (db, self.keys.hash_key(key))));
        self.planned.sort_unstable();
        self.open_slots = 0;
    }

    pub fn is_guarded(&self) -> bool {
        self.open_slots == 0
    }

    /// Whether, since the last call, the store has been asked for a key that may not be here.
    #[inline]
    pub fn end_guard(&mut self) -> bool {
        self.open_slots = self.slots.len() as u16;
        self.strayed.replace(false)
    }

    #[inline]
    pub(super) fn has_expired(&self, word: Word) -> bool {
        entry::has_expiry(word) && self.is_past(word)
    }

    fn is_past(&self, word: Word) -> bool {
        self.expire_on_access && word.entry().expire_at().is_some_and(|at| self.now_ms > at)
    }

    /// The word of a key that is alive. One that has expired is deleted on sight.
    #[inline]
    pub(super) fn find(&mut self, home: Home, key: &[u8]) -> Option<Word> {
        let word = self.databases[home.db].find(home.slot, home.hash, key)?;
        if self.has_expired(word) {
            self.expire_on_access_found(home, word);
            return None;
        }
        Some(word)
    }

    /// The place of the word that `find` would answer, for whoever calls `before_change` or `before_replacement` with it.
    #[inline]
    pub(super) fn find_place(&mut self, home: Home, key: &[u8]) -> Option<*mut Word> {
        let place = self.databases[home.db].place_of(home.slot, home.hash, key)?;
        // SAFETY: the place is in a table of this store, which does not change before the next line.
        let word = unsafe { *place };
        if self.has_expired(word) {
            self.expire_on_access_found(home, word);
            return None;
        }
        Some(place)
    }

    /// The place of the word that `find` would answer, and what is needed to change it. A snapshot in progress has what it needs
    /// of the entry then.
    #[inline]
    pub(super) fn find_mut(&mut self, home: Home, key: &[u8]) -> Option<(&mut Word, &mut Keys)> {
        let place = self.find_place(home, key)?;
        // SAFETY: the table has not changed since the place was found.
        if entry::epoch_of(unsafe { *place }) != self.epoch {
            // SAFETY: as above; nobody else has a reference to the word.
            self.before_change(home.db, unsafe { &mut *place });
        }
        // SAFETY: as above, and the store stays borrowed for as long as the reference lives.
        Some((unsafe { &mut *place }, &mut self.keys))
    }

    /// Lets `change` alter the boxed object of a key; `None` when there is no such key or its value is not boxed.
    pub(super) fn change_object<R>(
        &mut self,
        home: Home,
        key: &[u8],
        change: impl FnOnce(&mut Object) -> R,
    ) -> Option<R> {
        let (word, keys) = self.find_mut(home, key)?;
        // SAFETY: the word is in its table, and nobody else refers to its entry.
        unsafe { entry::with_object(word, keys, change) }
    }

    #[cold]
    fn expire_on_access_found(&mut self, home: Home, word: Word) {
        if self.may_expire(word) {
            self.delete_expired(home, word);
        }
    }

    /// Whether the key is there and has not expired, changing nothing.
    fn is_live(&self, db: usize, key: &[u8]) -> bool {
        let home = self.home(db, key);
        self.databases[db].find(home.slot, home.hash, key).is_some_and(|word| !self.has_expired(word))
    }

    /// Adds an entry for a key that is not there, and raises its "new" event.
    pub(super) fn insert(
        &mut self,
        home: Home,
        key: &[u8],
        content: Content,
        expire_at: Option<i64>,
        clock: Clock,
    ) {
        if home.slot == NOWHERE {
            return;
        }
        let word = entry::create(key, content, expire_at, clock, &mut self.keys);
        let word = entry::with_epoch(word, self.epoch);
        self.databases[home.db].insert(home.slot, home.hash, word, self.slots.len(), &mut self.keys);
        self.events.raise(home.db, EventClass::NEW, "new", key);
        self.ready(home.db, key);
    }

    /// Takes an entry out of its table and frees it.
    pub(super) fn delete(&mut self, home: Home, word: Word) {
        let word = self.unlink(home, word);
        self.destroy(home.db, word);
    }

    /// Takes an entry out of its table, and returns its word. To be followed by `destroy`, or `before_removal` where the value
    /// lives on.
    pub(super) fn unlink(&mut self, home: Home, word: Word) -> Word {
        let removed = self.databases[home.db].remove(home.slot, home.hash, word, &mut self.keys);
        if !self.waiting.is_empty() {
            self.waiting.note_gone(home.db, word.entry().key());
        }
        removed.expect("a word to be unlinked is in its table")
    }

    /// Frees an entry that `unlink` took out.
    pub(super) fn destroy(&mut self, db: usize, word: Word) {
        if entry::epoch_of(word) != self.epoch {
            return self.destroy_unsaved(db, word);
        }
        self.destroy_saved(word);
    }

    pub(super) fn destroy_saved(&mut self, word: Word) {
        // SAFETY: the word is in no table any more, and callers do not use it again.
        let object = unsafe { entry::destroy(word, &mut self.keys) };
        self.garbage.dispose(object, &mut self.keys);
    }

    #[inline]
    pub(super) fn fresh_clock(&self) -> Clock {
        Clock::fresh(&self.settings, self.now_ms)
    }

    #[inline]
    pub(super) fn touch_clock(&mut self, word: Word) {
        if !self.no_touch {
            let entry = word.entry();
            entry.set_clock(entry.clock().used(&self.settings, self.now_ms, &mut self.rng));
        }
    }

    /// A value to read. Counts a hit or a miss (which raises "keymiss"), and touches the key's clock unless `no_touch`.
    #[inline]
    pub fn read(&mut self, db: usize, key: &[u8]) -> Option<Value<'_>> {
        let home = self.home(db, key);
        let Some(word) = self.find(home, key) else {
            self.stats.keyspace_misses += 1;
            self.events.raise(db, EventClass::KEY_MISS, "keymiss", key);
            return None;
        };
        self.stats.keyspace_hits += 1;
        self.touch_clock(word);
        // SAFETY: the entry changes only through the store, which stays borrowed for as long as the value.
        Some(unsafe { word.entry_for() }.value())
    }

    /// A value, for OBJECT, TYPE, TTL and what is about to change it: no statistics, no touch.
    #[inline]
    pub fn peek(&mut self, db: usize, key: &[u8]) -> Option<Value<'_>> {
        let home = self.home(db, key);
        // SAFETY: as `read`.
        self.find(home, key).map(|word| unsafe { word.entry_for() }.value())
    }

    /// As `peek`.
    pub fn exists(&mut self, db: usize, key: &[u8]) -> bool {
        let home = self.home(db, key);
        self.find(home, key).is_some()
    }

    /// Tells those who watch the key that it changed. Costs one branch while nobody watches any.
    #[inline]
    pub fn touched(&mut self, db: usize, key: &[u8]) {
        if !self.watches.is_empty() {
            self.tell_watchers(db, key);
        }
        self.changes.note(key, true);
    }

    /// There is something new for those who wait for this key. Costs one branch while nobody waits for any.
    #[inline]
    pub fn ready(&mut self, db: usize, key: &[u8]) {
        if !self.waiting.is_empty() {
            self.waiting.note(db, key);
        }
    }

    #[cold]
    fn tell_watchers(&mut self, db: usize, key: &[u8]) {
        let home = self.home(db, key);
        let exists = self.databases[db].find(home.slot, home.hash, key).is_some();
        self.watches.touch(db, key, exists);
    }

    /// Sets `flag` when the key changes. Watching a key again with the same flag does nothing.
    pub fn watch(&mut self, db: usize, key: &[u8], flag: &WatchFlag) {
        let home = self.home(db, key);
        let word = self.databases[db].find(home.slot, home.hash, key);
        let expired = word.is_some_and(|word| self.has_expired(word));
        self.watches.add(db, key, flag, expired);
    }

    pub fn unwatch(&mut self, db: usize, key: &[u8], flag: &WatchFlag) {
        self.watches.remove(db, key, flag);
    }

    /// To be asked at EXEC about each watched key: whether it expired since, unnoticed so far, which counts as a change.
    pub fn watched_key_expired(&self, db: usize, key: &[u8], flag: &WatchFlag) -> bool {
        let home = self.home(db, key);
        let word = self.databases[db].find(home.slot, home.hash, key);
        word.is_some_and(|word| self.has_expired(word)) && self.watches.was_live(db, key, flag)
    }

    /// Tells the watchers of database `db` that its keys are about to be replaced by those of `by`, or by nothing.
    pub(super) fn tell_watchers_of_all(&mut self, db: usize, by: Option<usize>) {
        if self.watches.is_empty() {
            return;
        }
        let mut watches = std::mem::take(&mut self.watches);
        watches.touch_all(db, |key| {
            let is_in = |db: usize| {
                let home = self.home(db, key);
                self.databases[db].find(home.slot, home.hash, key).is_some()
            };
            let exists = by.is_some_and(is_in);
            Replacement {
                existed: is_in(db),
                exists,
                is_expired: exists && by.is_some_and(|by| !self.is_live(by, key)),
            }
        });
        self.watches = watches;
    }
}

impl Drop for Store {
    /// Tables do not know what their words mean, so their entries are freed here.
    fn drop(&mut self) {
        self.end_snapshot();
        for database in &mut self.databases {
            self.garbage.add_tables(database.take_tables(), 0);
        }
        while !self.garbage.is_empty() {
            self.garbage.free_some(usize::MAX, &mut self.keys);
        }
    }
}

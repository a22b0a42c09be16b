//! A second keyspace beside the one that serves, and how it takes its place: a replica loads what its master sends into it.
//!
//! What belongs to clients stays where it is: watched keys, those that somebody waits for, counts, settings. What belongs to the keys
//! goes with them: their tables, the seed by which they are hashed, the account of their memory, and what waits to be freed.

use super::watch::Replacement;
use super::Store;

impl Store {
    /// An empty store for the same slots and databases, which obeys the same settings.
    pub fn empty_like(&self) -> Store {
        let mut store = Store::new(self.slots().clone(), self.databases());
        store.settings = self.settings.clone();
        store.set_time(self.now_ms());
        // What expires there is for this store to judge, once it has the keys.
        store.expire_on_access = false;
        store
    }

    /// Takes all keys of `other`, and gives it its own. No snapshot may be open: what it has not saved would be lost to it. Watchers of
    /// keys that are in either are told, and so are those who wait for keys; it is no client's write, so no event is raised.
    pub fn exchange(&mut self, other: &mut Store) {
        self.end_snapshot();
        other.end_snapshot();
        self.clear_slot_hint();
        other.clear_slot_hint();
        self.tell_watchers_of_exchange(other);
        std::mem::swap(&mut self.databases, &mut other.databases);
        std::mem::swap(&mut self.keys, &mut other.keys);
        std::mem::swap(&mut self.garbage, &mut other.garbage);
        // Entries carry the epoch of their store.
        std::mem::swap(&mut self.epoch, &mut other.epoch);
        std::mem::swap(&mut self.stale_epochs, &mut other.stale_epochs);
        std::mem::swap(&mut self.renewal, &mut other.renewal);
        self.pool.clear();
        self.cycle = Default::default();
        for db in 0..self.databases() {
            self.waiting.note_all(db);
            self.dirty += (self.len(db) + other.len(db)) as u64;
        }
    }

    fn tell_watchers_of_exchange(&mut self, other: &Store) {
        if self.watches.is_empty() {
            return;
        }
        let mut watches = std::mem::take(&mut self.watches);
        for db in 0..self.databases() {
            watches.touch_all(db, |key| {
                let expire_at = other.expiry_in_table(db, key);
                Replacement {
                    existed: self.expiry_in_table(db, key).is_some(),
                    exists: expire_at.is_some(),
                    is_expired: expire_at.flatten().is_some_and(|at| self.now_ms() > at),
                }
            });
        }
        self.watches = watches;
    }

    /// When a key expires, whether it has or not; `None`: there is no such key.
    fn expiry_in_table(&self, db: usize, key: &[u8]) -> Option<Option<i64>> {
        let home = self.home(db, key);
        self.databases[db].find(home.slot, home.hash, key).map(|word| word.entry().expire_at())
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Detached, SlotSet, Ttl, Usage, WatchFlag};
    use super::*;

    fn store() -> Store {
        let mut store = Store::new(SlotSet::ALL, 2);
        store.set_time(1000);
        store
    }

    fn text(store: &mut Store, db: usize, key: &str) -> Option<String> {
        let value = store.peek(db, key.as_bytes())?;
        let mut digits = itoa::Buffer::new();
        Some(String::from_utf8_lossy(value.string(&mut digits).unwrap()).into_owned())
    }

    #[test]
    fn the_keys_change_places_and_what_clients_have_stays() {
        let mut store = store();
        store.set_string(0, b"old", b"1", Ttl::None);
        store.set_string(0, b"both", b"1", Ttl::None);
        store.set_string(1, b"far", b"1", Ttl::None);
        let mut aside = store.empty_like();
        assert_eq!(aside.len(0), 0);
        aside.load(0, b"new", Detached::from_string(b"2", None), Usage::NotAsked);
        aside.load(0, b"both", Detached::from_string(b"2", Some(900)), Usage::NotAsked);
        let flags: Vec<WatchFlag> = ["old", "new", "both", "none"]
            .map(|key| {
                let flag = WatchFlag::new();
                store.watch(0, key.as_bytes(), &flag);
                flag
            })
            .into();
        let (used, of_aside) = (store.used_memory(), aside.used_memory());
        store.exchange(&mut aside);
        assert_eq!((store.used_memory(), aside.used_memory()), (of_aside, used));
        assert_eq!(flags.iter().map(WatchFlag::is_set).collect::<Vec<_>>(), [true, true, true, false]);
        assert_eq!(text(&mut store, 0, "new").as_deref(), Some("2"));
        assert_eq!(text(&mut store, 0, "old"), None);
        assert_eq!((store.len(1), aside.len(1)), (0, 1));
        assert_eq!(text(&mut aside, 0, "old").as_deref(), Some("1"));
        assert_eq!(text(&mut store, 0, "both"), None, "it has expired");
        store.set_string(0, b"more", b"3", Ttl::None);
        aside.clear(None);
        while aside.free_some(1) {}
        assert_eq!(aside.used_memory(), 0);
    }

    #[test]
    fn a_replica_hides_what_has_expired_and_deletes_nothing() {
        let mut store = store();
        store.set_string(0, b"a", b"1", Ttl::At(900));
        store.keeps_expired = true;
        assert!(!store.exists(0, b"a"));
        store.expire_cycle(1000, &|| 0);
        assert_eq!((store.len(0), store.stats.expired_keys), (1, 0));
        assert!(store.copy_value(0, b"a").is_none());
        // Its master's commands see it.
        store.expire_on_access = false;
        assert!(store.exists(0, b"a"));
        store.expire_on_access = true;
        // A client writes to it where replicas may be written to.
        store.keeps_expired = false;
        assert!(!store.exists(0, b"a"));
        assert_eq!((store.len(0), store.stats.expired_keys), (0, 1));
    }
}

//! Looking ahead: when several requests are known before the first one runs, their keys are fetched into the
//! processor's caches together.
//!
//! Finding a key reads three places that depend on each other (the slot's table, the bucket, the entry), and in a
//! keyspace larger than the caches each is a wait for memory. Done for a whole pipeline in step, the waits overlap.
//! Nothing here changes anything or can be wrong: a table that grows in between only makes a fetch useless.

use smallvec::SmallVec;

use super::lookup::Home;
use super::{entry, slot_of, Store};

/// Keys of a file that are fetched together: enough for their waits to overlap, and few enough for what was fetched to be there
/// still when it is used.
pub const UPCOMING_MAX: usize = 16;

/// A key's slot and hash, computed once.
#[derive(Clone, Copy, Debug)]
pub struct Prefetched {
    pub(super) slot: u16,
    pub(super) hash: u64,
}

#[inline]
fn fetch<T>(place: *const T) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a prefetch has no effect but on caches, whatever the address.
    unsafe {
        std::arch::x86_64::_mm_prefetch(place.cast(), std::arch::x86_64::_MM_HINT_T0)
    };
    #[cfg(not(target_arch = "x86_64"))]
    let _ = place;
}

impl Store {
    /// Step one, for a key of a slot that this store owns: fetches the slot's table.
    #[inline]
    pub fn prefetch_table(&self, db: usize, key: &[u8], slot: u16) -> Prefetched {
        let ahead = Prefetched { slot, hash: self.keys.hash_key(key) };
        if let Some(table) = self.databases[db].table(self.home_prefetched(db, ahead).slot) {
            fetch(table.place());
        }
        ahead
    }

    /// Step two: fetches the bucket.
    #[inline]
    pub fn fetch_bucket(&self, db: usize, ahead: Prefetched) {
        let home = self.home_prefetched(db, ahead);
        if let Some(line) = self.databases[db].table(home.slot).and_then(|table| table.first_line(home.hash))
        {
            fetch(line);
        }
    }

    /// Step three: fetches the entry, if the bucket has one that may be it.
    #[inline]
    pub fn fetch_entry(&self, db: usize, ahead: Prefetched) {
        let home = self.home_prefetched(db, ahead);
        if let Some(word) = self.databases[db].table(home.slot).and_then(|table| table.first_match(home.hash))
        {
            entry::prefetch(word);
        }
    }

    #[inline]
    fn home_prefetched(&self, db: usize, ahead: Prefetched) -> Home {
        Home { db, slot: self.slots().number(ahead.slot).into(), hash: ahead.hash }
    }
}

/// The keys that come next in a file, by where they stand in it.
#[derive(Debug, Default)]
pub struct Upcoming {
    keys: SmallVec<[(u64, Known); UPCOMING_MAX]>,
    next: usize,
}

/// What looking ahead has found out about a key.
#[derive(Clone, Copy, Debug)]
pub struct Known {
    pub slot: u16,
    /// Of keys whose slot the store owns.
    pub ahead: Option<Prefetched>,
}

impl Upcoming {
    /// What is known of the key at `position`. When nothing is, `find` is called, to tell the keys from there on, of database
    /// `db`, and they are fetched: at most [`UPCOMING_MAX`] of them count.
    #[inline]
    pub fn take(
        &mut self,
        store: &Store,
        db: usize,
        position: u64,
        find: impl FnOnce(&mut dyn FnMut(u64, &[u8])),
    ) -> Option<Known> {
        if self.keys.last().is_none_or(|(last, _)| *last < position) {
            self.fetch(store, db, find);
        }
        while let Some((at, known)) = self.keys.get(self.next).copied() {
            if at > position {
                break;
            }
            self.next += 1;
            if at == position {
                return Some(known);
            }
        }
        None
    }

    fn fetch(&mut self, store: &Store, db: usize, find: impl FnOnce(&mut dyn FnMut(u64, &[u8]))) {
        self.keys.clear();
        self.next = 0;
        let slots = store.slots();
        find(&mut |position, key| {
            if self.keys.len() < UPCOMING_MAX {
                let slot = slot_of(key);
                let ahead = slots.contains(slot).then(|| store.prefetch_table(db, key, slot));
                self.keys.push((position, Known { slot, ahead }));
            }
        });
        for ahead in self.keys.iter().filter_map(|(_, known)| known.ahead) {
            store.fetch_bucket(db, ahead);
        }
        for ahead in self.keys.iter().filter_map(|(_, known)| known.ahead) {
            store.fetch_entry(db, ahead);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::SlotSet;

    #[test]
    fn upcoming_keys_are_known_by_their_position_whatever_is_skipped() {
        let store = Store::new(SlotSet::range(0, 8192), 1);
        let mut upcoming = Upcoming::default();
        let mut asked = 0;
        let keys: Vec<Vec<u8>> = (0..100u64).map(|i| format!("key:{i}").into_bytes()).collect();
        for position in [0u64, 1, 5, 15, 16, 40, 41, 99, 100] {
            let known = upcoming.take(&store, 0, position, |each| {
                asked += 1;
                for (at, key) in keys.iter().enumerate().skip(position as usize) {
                    each(at as u64, key);
                }
            });
            assert_eq!(known.is_some(), position < 100);
            if let Some(known) = known {
                let slot = slot_of(&keys[position as usize]);
                assert_eq!((known.slot, known.ahead.is_some()), (slot, store.slots().contains(slot)));
            }
        }
        assert_eq!(asked, 5);
    }
}

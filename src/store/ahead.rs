//! Looking ahead: when several requests are known before the first one runs, their keys are fetched into the
//! processor's caches together.
//!
//! Finding a key reads three places that depend on each other (the slot's table, the bucket, the entry), and in a
//! keyspace larger than the caches each is a wait for memory. Done for a whole pipeline in step, the waits overlap.
//! Nothing here changes anything or can be wrong: a table that grows in between only makes a fetch useless.

use super::lookup::Home;
use super::{entry, Store};

/// A key's slot and hash, computed once.
#[derive(Clone, Copy)]
pub struct Ahead {
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
    pub fn look_ahead(&self, db: usize, key: &[u8], slot: u16) -> Ahead {
        let ahead = Ahead { slot, hash: self.keys.hash_key(key) };
        if let Some(table) = self.databases[db].table(self.home_ahead(db, ahead).slot) {
            fetch(table);
        }
        ahead
    }

    /// Step two: fetches the bucket.
    #[inline]
    pub fn fetch_bucket(&self, db: usize, ahead: Ahead) {
        let home = self.home_ahead(db, ahead);
        if let Some(line) = self.databases[db].table(home.slot).and_then(|table| table.first_line(home.hash))
        {
            fetch(line);
        }
    }

    /// Step three: fetches the entry, if the bucket has one that may be it.
    #[inline]
    pub fn fetch_entry(&self, db: usize, ahead: Ahead) {
        let home = self.home_ahead(db, ahead);
        if let Some(word) = self.databases[db].table(home.slot).and_then(|table| table.first_match(home.hash))
        {
            entry::prefetch(word);
        }
    }

    #[inline]
    fn home_ahead(&self, db: usize, ahead: Ahead) -> Home {
        Home { db, slot: ahead.slot.wrapping_sub(self.slots().start()) as usize, hash: ahead.hash }
    }
}

//! WATCH: who must be told when a key changes before their EXEC.
//!
//! A client hands the store a flag that it shares with it; the store sets the flag when the key changes, and EXEC reads
//! it. The flag is atomic because the client may live on another shard. Touching a key costs one branch while nobody
//! watches anything.
//!
//! A key that expires while watched counts as changed, unless it had expired already when WATCH was called: then its
//! deletion changes nothing that the client could have seen. Each registration remembers that.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;

use smallvec::SmallVec;

/// Shared between a client and the shards whose keys it watches; clones are the same flag.
#[derive(Clone, Debug, Default)]
pub struct WatchFlag(Arc<AtomicBool>);

impl WatchFlag {
    pub fn new() -> WatchFlag {
        WatchFlag::default()
    }

    /// A watched key has changed: the next EXEC must fail.
    pub fn set(&self) {
        self.0.store(true, Ordering::Release);
    }

    pub fn is_set(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }

    /// For the client, after EXEC, DISCARD or UNWATCH, once it is unregistered everywhere.
    #[cfg(test)]
    pub fn clear(&self) {
        self.0.store(false, Ordering::Release);
    }

    fn is_same(&self, other: &WatchFlag) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

#[derive(Debug)]
struct Registration {
    flag: WatchFlag,
    /// The key had expired already, though not been deleted yet, when the registration was made.
    expired: bool,
}

type WatchedKeys = HashMap<Box<[u8]>, SmallVec<[Registration; 1]>>;

/// What became of one watched key when its whole database was replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Replacement {
    pub existed: bool,
    pub exists: bool,
    /// The new one has expired but is not deleted yet.
    pub is_expired: bool,
}

/// The watched keys of one store.
#[derive(Debug, Default)]
pub struct Watches {
    /// Per database, made longer when needed.
    databases: Vec<WatchedKeys>,
    /// Number of registrations in all databases.
    len: usize,
}

impl Watches {
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Number of (client, key) pairs registered.
    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.len
    }

    pub(super) fn add(&mut self, db: usize, key: &[u8], flag: &WatchFlag, expired: bool) {
        if self.databases.len() <= db {
            self.databases.resize_with(db + 1, HashMap::new);
        }
        let registrations = self.databases[db].entry(key.into()).or_default();
        if registrations.iter().any(|r| r.flag.is_same(flag)) {
            return;
        }
        registrations.push(Registration { flag: flag.clone(), expired });
        self.len += 1;
    }

    /// Forgets one registration, if it is there.
    pub fn remove(&mut self, db: usize, key: &[u8], flag: &WatchFlag) {
        let Some(keys) = self.databases.get_mut(db) else {
            return;
        };
        let Some(registrations) = keys.get_mut(key) else {
            return;
        };
        let before = registrations.len();
        registrations.retain(|r| !r.flag.is_same(flag));
        self.len -= before - registrations.len();
        if registrations.is_empty() {
            keys.remove(key);
        }
    }

    /// Whether this registration exists and was made while the key was alive or absent.
    pub(super) fn was_live(&self, db: usize, key: &[u8], flag: &WatchFlag) -> bool {
        let registrations = self.databases.get(db).and_then(|keys| keys.get(key));
        registrations.is_some_and(|rs| rs.iter().any(|r| r.flag.is_same(flag) && !r.expired))
    }

    /// The key changed; `exists` tells whether it is there after the change.
    pub(super) fn touch(&mut self, db: usize, key: &[u8], exists: bool) {
        let Some(registrations) = self.databases.get_mut(db).and_then(|keys| keys.get_mut(key)) else {
            return;
        };
        for registration in registrations {
            if registration.expired && !exists {
                registration.expired = false;
            } else {
                registration.flag.set();
            }
        }
    }

    /// Every key of the database was replaced (FLUSHDB, FLUSHALL, SWAPDB); `look` tells what that meant for one key.
    pub(super) fn touch_all(&mut self, db: usize, mut look: impl FnMut(&[u8]) -> Replacement) {
        let Some(keys) = self.databases.get_mut(db) else {
            return;
        };
        for (key, registrations) in keys {
            let Replacement { existed, exists, is_expired } = look(key);
            if !existed && !exists {
                continue;
            }
            for registration in registrations {
                match (registration.expired, exists) {
                    (true, false) => registration.expired = false,
                    (true, true) if is_expired => {}
                    (false, true) if !existed && is_expired => registration.expired = true,
                    _ => registration.flag.set(),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_sets_every_flag_on_that_key_and_no_other() {
        let mut watches = Watches::default();
        let (a, b, c) = (WatchFlag::new(), WatchFlag::new(), WatchFlag::new());
        watches.add(0, b"k", &a, false);
        watches.add(0, b"k", &b, false);
        watches.add(1, b"k", &c, false);
        watches.touch(0, b"k", true);
        assert!(a.is_set() && b.is_set() && !c.is_set());
        watches.touch(9, b"k", true);
    }

    #[test]
    fn registering_twice_counts_once_and_removal_forgets() {
        let mut watches = Watches::default();
        let flag = WatchFlag::new();
        watches.add(0, b"k", &flag, false);
        watches.add(0, b"k", &flag.clone(), true);
        assert_eq!(watches.len(), 1);
        watches.remove(0, b"k", &WatchFlag::new());
        assert_eq!(watches.len(), 1);
        watches.remove(0, b"k", &flag);
        assert!(watches.is_empty());
        watches.touch(0, b"k", true);
        assert!(!flag.is_set());
    }

    #[test]
    fn deleting_a_key_that_had_expired_before_the_watch_is_no_change() {
        let mut watches = Watches::default();
        let flag = WatchFlag::new();
        watches.add(0, b"k", &flag, true);
        assert!(!watches.was_live(0, b"k", &flag));
        watches.touch(0, b"k", false);
        assert!(!flag.is_set());
        watches.touch(0, b"k", true);
        assert!(flag.is_set());
    }

    #[test]
    fn a_flush_touches_only_keys_that_existed() {
        let mut watches = Watches::default();
        let (present, absent) = (WatchFlag::new(), WatchFlag::new());
        watches.add(0, b"present", &present, false);
        watches.add(0, b"absent", &absent, false);
        watches.touch_all(0, |key| Replacement {
            existed: key == b"present",
            exists: false,
            is_expired: false,
        });
        assert!(present.is_set() && !absent.is_set());
    }
}

//! Snapshots that end before their walk does leave entries of older epochs behind: those that a child goes on with, which has
//! its own copy, and those that are given up. In slices, while none is open, all entries get the present epoch, long before a
//! number comes round again.

use super::super::entry::{self, Word, EPOCHS};
use super::super::Store;

/// So many epochs may be left behind before it is worth a walk.
const STALE_MAX: u64 = EPOCHS / 4;
/// And so many before it must not wait for a better moment.
const STALE_URGENT: u64 = EPOCHS / 2;
/// Buckets between two questions whether to go on.
const BUCKETS: usize = 64;

/// How far the walk is.
#[derive(Debug, Default)]
pub(in crate::store) struct Renewal {
    db: usize,
    slot: usize,
    cursor: u64,
}

impl Store {
    /// Whether there are enough entries of old epochs about, and no snapshot that has a use for them.
    pub fn wants_renewal(&self) -> bool {
        self.snapshot.is_none() && self.stale_epochs >= STALE_MAX
    }

    /// Whether that should not wait for the end of a child, for which memory is copied then.
    pub fn renewal_is_urgent(&self) -> bool {
        self.stale_epochs >= STALE_URGENT
    }

    /// Gives some entries the present epoch, until `until` answers true or all have it. True: there are more. Nothing to do
    /// while a snapshot is open.
    pub fn renew_some(&mut self, until: &dyn Fn() -> bool) -> bool {
        if !self.wants_renewal() {
            return false;
        }
        let mut at = std::mem::take(&mut self.renewal);
        while at.db < self.databases.len() {
            self.renew_buckets(&mut at);
            if until() {
                self.renewal = at;
                return true;
            }
        }
        self.stale_epochs = 0;
        false
    }

    fn renew_buckets(&self, at: &mut Renewal) {
        let database = &self.databases[at.db];
        if at.cursor == 0 {
            match database.keys().next_from(at.slot) {
                Some(slot) => at.slot = slot,
                None => return *at = Renewal { db: at.db + 1, ..Renewal::default() },
            }
        }
        if let Some(table) = database.table(at.slot) {
            for _ in 0..BUCKETS {
                // SAFETY: the place is in a live table that nobody changes meanwhile.
                let renew = |place: *mut Word| unsafe { *place = entry::with_epoch(*place, self.epoch) };
                at.cursor = table.scan_places(at.cursor, renew);
                if at.cursor == 0 {
                    break;
                }
            }
        }
        if at.cursor == 0 {
            at.slot += 1;
        }
    }

    /// What the walk has passed over is elsewhere now: it begins again.
    pub(super) fn restart_renewal(&mut self) {
        self.renewal = Renewal::default();
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::{KeyView, SaveKeys, SlotSet, SnapshotBuffer, SnapshotOptions, Ttl, Value};
    use super::*;

    struct Nothing;

    impl SaveKeys for Nothing {
        fn database(&mut self, _: usize, _: usize, _: usize, _: &mut SnapshotBuffer) {}
        fn key(&mut self, _: usize, _: &KeyView, _: &mut SnapshotBuffer) {}
        fn begin(&mut self, _: usize, _: &KeyView, _: &mut SnapshotBuffer) {}
        fn piece(&mut self, _: &Value, _: &mut SnapshotBuffer) -> bool {
            true
        }
    }

    fn old(store: &Store) -> usize {
        let mut old = 0;
        for table in store.databases.iter().flat_map(|database| database.tables()) {
            let mut cursor = 0;
            loop {
                cursor = table.scan(cursor, |word| old += usize::from(entry::epoch_of(word) != store.epoch));
                if cursor == 0 {
                    break;
                }
            }
        }
        old
    }

    fn with_old_keys() -> Store {
        let mut store = Store::new(SlotSet::ALL, 2);
        store.set_time(1_700_000_000_000);
        for number in 0..1000 {
            store.set_string(1, format!("key{number}").as_bytes(), b"value", Ttl::None);
        }
        while !store.wants_renewal() {
            store.begin_snapshot(SnapshotOptions::default(), Box::new(Nothing)).unwrap();
            store.end_snapshot();
        }
        store
    }

    #[test]
    fn all_get_the_present_epoch_whatever_happens_to_databases_meanwhile() {
        for steps in [0, 1, 2, 100] {
            let mut store = with_old_keys();
            assert_eq!(old(&store), 1000);
            for _ in 0..steps {
                assert!(store.renew_some(&|| true));
            }
            // The walk has been to database 0 by now.
            store.swap(0, 1);
            while store.renew_some(&|| true) {}
            assert_eq!((old(&store), store.wants_renewal()), (0, false), "{steps}");
        }
    }

    #[test]
    fn a_snapshot_in_the_middle_of_it_has_it_begin_again() {
        let mut store = with_old_keys();
        assert!(store.renew_some(&|| true) && store.renew_some(&|| true));
        store.begin_snapshot(SnapshotOptions::default(), Box::new(Nothing)).unwrap();
        assert!(!store.renew_some(&|| true), "a snapshot needs the epochs");
        store.end_snapshot();
        while store.renew_some(&|| true) {}
        assert_eq!(old(&store), 0);
    }
}

//! The locks of a shard as its store sees them: which keys it must not delete by itself.
//!
//! Shard and store look at the same locks. The shard says on whose behalf it works, so that a transaction that finds a key of its own
//! expired deletes it as any command would.

use std::cell::{Cell, RefCell};

use super::locks::{fingerprint, Answer, Fingerprint, Locks, Number, Scope};
use crate::store::Guard;

#[derive(Debug, Default)]
pub struct GuardedLocks {
    locks: RefCell<Locks>,
    acting: Cell<Option<Number>>,
}

impl Guard for GuardedLocks {
    fn protects(&self, key: &[u8]) -> bool {
        let locks = self.locks.borrow();
        !locks.is_idle() && locks.is_held(fingerprint(key), self.acting.get())
    }
}

impl GuardedLocks {
    /// What runs until the next call runs for this transaction. Returns the one before it.
    pub fn act_for(&self, number: Option<Number>) -> Option<Number> {
        self.acting.replace(number)
    }

    /// The transaction for which the shard works.
    pub fn acting(&self) -> Option<Number> {
        self.acting.get()
    }

    #[inline]
    pub fn is_idle(&self) -> bool {
        self.locks.borrow().is_idle()
    }

    pub fn conflicts_in_order(&self, scope: &Scope, client: Fingerprint) -> bool {
        self.locks.borrow().conflicts_in_order(scope, client)
    }

    pub fn conflicts_with_holders(&self, scope: &Scope, except: Option<Number>) -> bool {
        self.locks.borrow().conflicts_with_holders(scope, except)
    }

    pub fn request(&self, number: Number, scope: &Scope) -> Answer {
        self.locks.borrow_mut().request(number, scope)
    }

    pub fn request_in_order(&self, number: Number, scope: &Scope, client: Fingerprint) -> Answer {
        self.locks.borrow_mut().request_in_order(number, scope, client)
    }

    pub fn release(&self, number: Number, granted: &mut Vec<Number>) {
        self.locks.borrow_mut().release(number, granted);
    }

    pub fn is_wanted_whole(&self) -> bool {
        self.locks.borrow().is_wanted_whole()
    }

    pub fn active(&self) -> usize {
        self.locks.borrow().active()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::table::KeyAccess;
    use crate::txn::locks::Intent;

    fn scope(key: &[u8], access: KeyAccess) -> Scope {
        Scope::Keys(smallvec::smallvec![Intent { key: fingerprint(key), access }])
    }

    #[test]
    fn a_key_is_protected_while_another_transaction_holds_it_by_any_intent() {
        let locks = GuardedLocks::default();
        assert!(!locks.protects(b"a"));
        locks.request(1, &scope(b"a", KeyAccess::Read));
        locks.request(2, &scope(b"a", KeyAccess::Read));
        assert!(locks.protects(b"a") && !locks.protects(b"b"));
        locks.act_for(Some(1));
        assert!(locks.protects(b"a"), "2 holds it too");
        locks.release(2, &mut Vec::new());
        assert!(!locks.protects(b"a"), "nobody else holds it");
        locks.act_for(None);
        assert!(locks.protects(b"a"));
        locks.release(1, &mut Vec::new());
        assert!(!locks.protects(b"a"));
    }

    #[test]
    fn the_whole_keyspace_protects_each_key_and_one_that_waits_protects_none() {
        for access in [KeyAccess::Read, KeyAccess::Write] {
            let locks = GuardedLocks::default();
            locks.request(1, &Scope::Whole(access));
            locks.request(2, &scope(b"b", KeyAccess::Write));
            assert!(locks.protects(b"a") && locks.protects(b"b"));
            locks.act_for(Some(1));
            assert!(!locks.protects(b"a") && !locks.protects(b"b"), "2 has seen nothing yet");
        }
    }
}

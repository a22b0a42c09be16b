//! Keys that the store may not delete by itself, because the work of a transaction on them is half done.
//!
//! A transaction has one time, and a key that is there at that time is there until the transaction ends. But expiry and eviction are
//! writes that nobody has asked for: they hold no intent. So the store asks before it deletes a key that has expired, or that it
//! would evict. An expired key that it may not delete is absent for everybody but the transaction (whose time is an earlier one),
//! and stays in its table; the next look-up or cycle after the transaction deletes it.
//!
//! The store asks only when it has found such a key, so this costs nothing elsewhere.

use std::fmt::Debug;

use super::entry::Word;
use super::Store;

/// Who knows which keys others work on.
pub trait Guard: Debug {
    /// Whether somebody else than the work in progress holds the key, in any database.
    fn protects(&self, key: &[u8]) -> bool;
}

impl Store {
    /// Whether the entry of a word in a table must stay.
    pub(super) fn is_protected(&self, word: Word) -> bool {
        self.guard.as_ref().is_some_and(|guard| guard.protects(word.entry().key()))
    }

    /// Whether an entry that has expired may be deleted now. When it may not, what the command in progress does may depend on its
    /// absence, which no log tells.
    pub(super) fn may_expire(&mut self, word: Word) -> bool {
        if self.expire_paused || self.keeps_expired {
            return false;
        }
        let is_protected = self.is_protected(word);
        self.passed_over |= is_protected;
        !is_protected
    }
}

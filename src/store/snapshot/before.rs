//! What has to be done before an entry that is not saved yet changes or goes: the cold side of one branch on every write.

use super::super::entry::{self, Content, Word};
use super::super::Store;
use super::Snapshot;
use crate::store::tables::Tables;

impl Store {
    /// To be called before an entry in a table changes that has not got the present epoch yet. It has then.
    #[cold]
    pub(in crate::store) fn before_change(&mut self, db: usize, word: &mut Word) {
        self.before_removal(db, *word);
        *word = entry::with_epoch(*word, self.epoch);
    }

    /// The same for an entry that is in no table any more, and whose value lives on.
    #[cold]
    pub(in crate::store) fn before_removal(&mut self, db: usize, word: Word) {
        let Some(mut snapshot) = self.snapshot.take() else { return };
        if let Some(number) = snapshot.image.number_of(db).filter(|_| snapshot.wants(word)) {
            snapshot.save_now(self, number, word);
        }
        self.snapshot = Some(snapshot);
    }

    /// As `before_change`, when all that changes is the expiry: a large value goes on waiting for its turn.
    #[cold]
    pub(in crate::store) fn before_expiry(&mut self, db: usize, word: &mut Word) {
        if let Some(mut snapshot) = self.snapshot.take() {
            let is_left = snapshot.is_large(*word) && snapshot.wants(*word);
            let number = snapshot.image.number_of(db).filter(|_| is_left);
            if let Some(number) = number {
                snapshot.remember_expiry(number, *word);
            }
            self.snapshot = Some(snapshot);
            if number.is_some() {
                return;
            }
        }
        self.before_change(db, word);
    }

    /// As `before_change`, when the value is going to be another. A large one is left to the snapshot; the entry has another
    /// then, which nobody may see.
    #[cold]
    pub(in crate::store) fn before_replacement(&mut self, db: usize, word: &mut Word) {
        if let Some(mut snapshot) = self.snapshot.take() {
            let is_left = snapshot.is_large(*word) && snapshot.wants(*word);
            let number = snapshot.image.number_of(db).filter(|_| is_left);
            if let Some(number) = number {
                let orphan = snapshot.orphan_of(self, number, *word);
                let (expire_at, clock) = (word.entry().expire_at(), word.entry().clock());
                // SAFETY: nobody else refers to the entry.
                let object =
                    unsafe { entry::replace(word, Content::Int(0), expire_at, clock, &mut self.keys) };
                *word = entry::with_epoch(*word, self.epoch);
                snapshot.adopt(orphan, object.expect("what is large is an object"), &mut self.keys);
            }
            self.snapshot = Some(snapshot);
            if number.is_some() {
                return;
            }
        }
        self.before_change(db, word);
    }

    /// Frees an entry that `unlink` took out, once it is saved or its value is left to the snapshot.
    #[cold]
    pub(in crate::store) fn destroy_unsaved(&mut self, db: usize, mut word: Word) {
        self.before_replacement(db, &mut word);
        self.destroy_saved(word);
    }

    /// Returns the tables of a flushed database, unless the snapshot has to save them first.
    pub(in crate::store) fn before_flush(&mut self, db: usize, tables: Tables) -> Option<Tables> {
        match &mut self.snapshot {
            None => Some(tables),
            Some(snapshot) => snapshot.image.flushed(db, tables),
        }
    }

    pub(in crate::store) fn after_swap(&mut self, a: usize, b: usize) {
        self.restart_renewal();
        if let Some(snapshot) = &mut self.snapshot {
            snapshot.image.swapped(a, b);
        }
    }
}

impl Snapshot {
    /// Writes an entry that is about to change, whole, and whatever it costs.
    fn save_now(&mut self, store: &Store, number: usize, word: Word) {
        if self.is_current(number, word.entry().key()) {
            self.finish_current(&word.entry().value());
        } else {
            self.save_whole(store, number, word);
        }
    }
}

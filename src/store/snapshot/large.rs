//! Large values: written in pieces, one value at a time.
//!
//! Between two pieces the value stays where it is, in its entry or, when its key is gone, with the snapshot. An
//! entry gets its epoch with the last piece, so that whoever is about to change it before knows.

use super::super::database::Keys;
use super::super::entry::{self, Word};
use super::super::object::Object;
use super::super::table::Owner;
use super::super::{slot_of, KeyView, Store, Usage, Value};
use super::Snapshot;

/// The value of which a part is written.
pub(super) struct Current {
    number: usize,
    key: Box<[u8]>,
    /// The value, when its key is gone. What it takes is in the store's account.
    pub orphan: Option<Box<Object>>,
    pub memory_bytes: usize,
}

/// A value that is to be saved though its key is gone.
pub(super) struct Orphan<T = Box<Object>> {
    number: usize,
    key: Box<[u8]>,
    expire_at: Option<i64>,
    usage: Usage,
    pub object: T,
    /// In the store's account.
    pub memory_bytes: usize,
}

impl Snapshot {
    pub(super) fn is_current(&self, number: usize, key: &[u8]) -> bool {
        self.current.as_ref().is_some_and(|current| {
            current.orphan.is_none() && current.number == number && *current.key == *key
        })
    }

    /// What is to be saved of an entry.
    pub(super) fn view<'a>(&self, store: &'a Store, number: usize, word: Word) -> KeyView<'a> {
        let mut view = store.view(word);
        if !self.expiries.is_empty() {
            if let Some(expire_at) = self.expiries.get(&(number, view.key.into())) {
                view.expire_at = *expire_at;
            }
        }
        view
    }

    /// The expiry of a large value, not saved yet, is about to change.
    pub(super) fn remember_expiry(&mut self, number: usize, word: Word) {
        let entry = word.entry();
        // In front of a value that is being written its expiry is written already.
        if !self.is_current(number, entry.key()) {
            self.expiries.entry((number, entry.key().into())).or_insert(entry.expire_at());
        }
    }

    pub(super) fn orphan_of(&self, store: &Store, number: usize, word: Word) -> Orphan<()> {
        let view = self.view(store, number, word);
        Orphan {
            number,
            key: view.key.into(),
            expire_at: view.expire_at,
            usage: view.usage,
            object: (),
            memory_bytes: 0,
        }
    }

    /// Takes over a value that has left its entry.
    pub(super) fn adopt(&mut self, orphan: Orphan<()>, object: Box<Object>, keys: &mut Keys) {
        let memory_bytes = object.memory();
        keys.allocated(memory_bytes);
        if self.is_current(orphan.number, &orphan.key) {
            if let Some(current) = &mut self.current {
                current.orphan = Some(object);
                current.memory_bytes = memory_bytes;
            }
            return;
        }
        let Orphan { number, key, expire_at, usage, .. } = orphan;
        self.orphans.push_back(Orphan { number, key, expire_at, usage, object, memory_bytes });
    }

    /// Goes on with large values; false when there is none to be saved now.
    pub(super) fn save_large(&mut self, store: &mut Store) -> bool {
        if self.current.is_some() {
            self.save_piece(store);
        } else if let Some(orphan) = self.orphans.pop_front() {
            let Orphan { number, key, expire_at, usage, object, memory_bytes } = orphan;
            let view = KeyView { key: &key, value: object.value(), expire_at, usage };
            self.saver.begin(number, &view, &mut self.out);
            self.current = Some(Current { number, key, orphan: Some(object), memory_bytes });
        } else if let Some((number, key)) = self.next.pop_front() {
            self.begin_key(store, number, key);
        } else {
            return false;
        }
        true
    }

    fn begin_key(&mut self, store: &Store, number: usize, key: Box<[u8]>) {
        let Some(place) = self.place_of(store, number, &key) else { return };
        // SAFETY: the place is in a live table, which nobody changes meanwhile.
        let word = unsafe { *place };
        if entry::epoch_of(word) == store.epoch {
            return;
        }
        if !self.is_large(word) {
            self.save_whole(store, number, word);
            // SAFETY: as above.
            unsafe { *place = entry::with_epoch(word, store.epoch) };
            return;
        }
        let view = self.view(store, number, word);
        self.saver.begin(number, &view, &mut self.out);
        self.current = Some(Current { number, key, orphan: None, memory_bytes: 0 });
    }

    /// Where the word of a key of the image is, if its entry is still there.
    fn place_of(&self, store: &Store, number: usize, key: &[u8]) -> Option<*mut Word> {
        let slot = store.slots().number(slot_of(key)).into();
        let table = self.image.table(&store.databases, number, slot)?;
        table.place_of(store.keys.hash_key(key), key)
    }

    fn save_piece(&mut self, store: &mut Store) {
        let Some(current) = &self.current else { return };
        if let Some(object) = &current.orphan {
            if self.saver.piece(&object.value(), &mut self.out) {
                self.end_current(store);
            }
            return;
        }
        let place = self.place_of(store, current.number, &current.key);
        let place = place.expect("who takes an entry away that is being saved tells the snapshot");
        // SAFETY: the place is in a live table, which nobody changes meanwhile.
        let word = unsafe { *place };
        if self.saver.piece(&word.entry().value(), &mut self.out) {
            // SAFETY: as above.
            unsafe { *place = entry::with_epoch(word, store.epoch) };
            self.end_current(store);
        }
    }

    /// Writes what is left of the value in progress, which is in an entry that is about to change.
    pub(super) fn finish_current(&mut self, value: &Value) {
        while !self.saver.piece(value, &mut self.out) {}
        self.close_current();
    }

    fn end_current(&mut self, store: &mut Store) {
        if let Some(Current { orphan: Some(object), memory_bytes, .. }) = self.close_current() {
            store.keys.freed(memory_bytes);
            store.garbage.dispose(Some(object), &mut store.keys);
        }
    }

    fn close_current(&mut self) -> Option<Current> {
        self.out.append(&mut self.background_thread);
        self.keys_saved += 1;
        self.current.take()
    }
}

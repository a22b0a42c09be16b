//! Snapshots without fork: the keyspace as it was at one instant, written out in slices while commands go on changing it.
//!
//! The word of each entry has an *epoch*. Opening a snapshot makes the store's epoch the next number, and does nothing
//! else: every entry has another epoch now, which says that it is part of the image and not saved yet. Saving an entry
//! gives it the store's epoch, and so has a new entry, which is no part of the image. From there on two things go on at
//! once:
//!
//! * the *walk* (`walk`) passes over all tables in slices, and saves what it finds unsaved;
//! * whoever is about to change, replace or remove an unsaved entry has it saved first (`before`).
//!
//! Either way an entry is written exactly once, in the state that it had when the snapshot was opened. When the walk
//! is over every entry has the store's epoch, and the next snapshot can be opened. With none open all that a write
//! pays is one comparison, of the epoch in the word that it has in hand.
//!
//! A snapshot that ends half-way leaves entries of several epochs behind. That is why there are [`EPOCHS`] of them
//! and not two: whatever is not the present one means "not saved". Before a number comes round again all entries get the
//! present one, in slices (`renew`); only when too little time was left for that, all at once.
//!
//! Two ends are half-way: one is given up; or a forked child goes on with a copy of it that nothing changes any more
//! (`snapshot_keeps_still`), and the store needs it no longer.
//!
//! # Databases
//!
//! The image has the numbers that databases had at the cut. What became of them since is in `Image`: SWAPDB exchanges two, and
//! the tables of a flushed one are taken over, saved, and only then freed.
//!
//! # Large values
//!
//! A value that takes long to write is saved in pieces (`large`), one value at a time; the records of other
//! entries that have to be saved meanwhile go into a buffer *aside*, to follow it. Such a value must not change until it is
//! done:
//!
//! * when its key is deleted, expired, evicted, flushed or overwritten, the snapshot takes the value over;
//! * a command that changes it should be held back: `snapshot_blocks` tells that it should, and `snapshot_prioritise` makes it
//!   the next to be saved;
//! * if it changes all the same, what is left of it is written at once, however long that takes.

mod before;
mod buffer;
mod large;
mod renew;
mod walk;

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

pub use self::buffer::SnapshotBuffer;
use self::large::{Current, Orphan};
pub(in crate::store) use self::renew::Renewal;
use self::walk::{Image, Walk};
use super::database::SlotTable;
use super::entry::{self, Word, EPOCHS};
use super::table::Owner;
use super::{slot_of, KeyView, SlotSet, Store, Value};

/// Writes the keys of a snapshot, in whatever format. Databases have the numbers that they had when it was opened.
pub trait SaveKeys {
    /// A database, with its number of keys and of those with an expiry. Called for each that has keys, before everything else.
    fn database(&mut self, db: usize, keys: usize, volatile: usize, out: &mut SnapshotBuffer);

    /// A whole key. May come between the pieces of another, and goes into another buffer then.
    fn key(&mut self, db: usize, view: &KeyView, out: &mut SnapshotBuffer);

    /// Begins a key whose value is large: all that stands in front of the value.
    fn begin(&mut self, db: usize, view: &KeyView, out: &mut SnapshotBuffer);

    /// Goes on with the value of the key that was begun, which has not changed since and is the same as then, if not at the same
    /// address. Writes some ten KiB; true when that was the last piece.
    fn piece(&mut self, value: &Value, out: &mut SnapshotBuffer) -> bool;
}

/// How to make a snapshot.
#[derive(Clone, Copy, Debug)]
pub struct SnapshotOptions {
    /// A value of more memory than that is saved in pieces.
    pub large_bytes: usize,
    /// The walk rests while more than that waits to be taken.
    pub ahead_bytes_max: usize,
}

impl Default for SnapshotOptions {
    fn default() -> SnapshotOptions {
        SnapshotOptions { large_bytes: 64 * 1024, ahead_bytes_max: 4 << 20 }
    }
}

/// A snapshot is open already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SnapshotOpen;

/// How far a snapshot is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SnapshotProgress {
    /// All is written, though not all need have been taken.
    pub is_done: bool,
    pub keys_saved: u64,
    pub keys_total: u64,
    /// Bytes written.
    pub bytes: u64,
    /// Bytes that wait to be taken. The walk does not let them become many; commands that change what is not saved yet may.
    pub waiting_bytes: usize,
}

/// A snapshot that is open.
pub(super) struct Snapshot {
    options: SnapshotOptions,
    saver: Box<dyn SaveKeys>,
    out: SnapshotBuffer,
    /// Behind the value that is being written in pieces.
    background_thread: SnapshotBuffer,
    image: Image,
    walk: Walk,
    /// The value that is being written in pieces.
    current: Option<Current>,
    /// Large values that have lost their keys.
    orphans: VecDeque<Orphan>,
    /// Keys of large values that the walk has come upon, or someone waits for: database of the image, and key. Each is in
    /// here once as a rule; what is saved or gone is passed over.
    next: VecDeque<(usize, Box<[u8]>)>,
    /// Expiries that large values of the image had, where they have changed since: by database of the image, and key.
    expiries: HashMap<(usize, Box<[u8]>), Option<i64>>,
    /// Only the walk changes anything any more.
    is_still: bool,
    /// The keys of these slots make the image; `None`: all.
    slots: Option<Arc<SlotSet>>,
    keys_saved: u64,
    keys_total: u64,
}

impl Snapshot {
    fn progress(&self) -> SnapshotProgress {
        SnapshotProgress {
            is_done: self.is_done(),
            keys_saved: self.keys_saved,
            keys_total: self.keys_total,
            bytes: self.out.written() + self.background_thread.written(),
            waiting_bytes: self.out.len() + self.background_thread.len(),
        }
    }

    fn is_done(&self) -> bool {
        self.walk.is_over() && self.current.is_none() && self.orphans.is_empty() && self.next.is_empty()
    }

    /// Where the records of whole keys go.
    fn between(&mut self) -> (&mut dyn SaveKeys, &mut SnapshotBuffer) {
        let out = if self.current.is_some() { &mut self.background_thread } else { &mut self.out };
        (&mut *self.saver, out)
    }
}

impl Store {
    /// Opens a snapshot of all databases as they are now.
    pub fn begin_snapshot(
        &mut self,
        options: SnapshotOptions,
        saver: Box<dyn SaveKeys>,
    ) -> Result<(), SnapshotOpen> {
        self.begin_snapshot_of(None, options, saver)
    }

    /// Opens a snapshot of all keys in `slots`, or in all slots, as they are now.
    pub fn begin_snapshot_of(
        &mut self,
        slots: Option<Arc<SlotSet>>,
        options: SnapshotOptions,
        mut saver: Box<dyn SaveKeys>,
    ) -> Result<(), SnapshotOpen> {
        if self.snapshot.is_some() {
            return Err(SnapshotOpen);
        }
        if self.stale_epochs >= EPOCHS - 1 {
            self.renew_epochs();
        }
        self.epoch = (self.epoch + 1) % EPOCHS;
        // Until the snapshot is done.
        self.stale_epochs += 1;
        let mut out = SnapshotBuffer::default();
        let mut keys_total = 0;
        for db in 0..self.databases.len() {
            let (keys, volatile) = self.count(db, slots.as_deref());
            if keys > 0 {
                saver.database(db, keys, volatile, &mut out);
                keys_total += keys as u64;
            }
        }
        self.snapshot = Some(Box::new(Snapshot {
            options,
            saver,
            out,
            background_thread: SnapshotBuffer::default(),
            image: Image::new(self.databases.len()),
            walk: Walk::default(),
            current: None,
            orphans: VecDeque::new(),
            next: VecDeque::new(),
            expiries: HashMap::new(),
            is_still: false,
            slots,
            keys_saved: 0,
            keys_total,
        }));
        self.restart_renewal();
        Ok(())
    }

    /// The keys of a database that are in these slots, and those with an expiry among them; of some slots, at most that many.
    fn count(&self, db: usize, slots: Option<&SlotSet>) -> (usize, usize) {
        let Some(slots) = slots else { return (self.len(db), self.volatile_len(db)) };
        let tables = self.databases[db].tables().enumerate();
        let wanted = tables.filter(|(number, _)| slots.contains(self.slots().slot(*number)));
        let keys = wanted.map(|(_, table)| table.len()).sum();
        (keys, self.volatile_len(db).min(keys))
    }

    pub fn snapshot_is_open(&self) -> bool {
        self.snapshot.is_some()
    }

    /// `None` when none is open.
    pub fn snapshot_progress(&self) -> Option<SnapshotProgress> {
        self.snapshot.as_ref().map(|snapshot| snapshot.progress())
    }

    /// Takes out what comes next, in chunks of some ten KiB; `None` when there is no full one, or nothing any more once the
    /// snapshot is done.
    pub fn snapshot_take(&mut self) -> Option<Vec<u8>> {
        let snapshot = self.snapshot.as_mut()?;
        // A walk that rests must go on once everything has been taken.
        let all = snapshot.is_done() || snapshot.out.len() > snapshot.options.ahead_bytes_max;
        snapshot.out.take(all)
    }

    /// Closes the snapshot, if one is open. What has not been taken is lost, and what has not been saved never will be.
    pub fn end_snapshot(&mut self) {
        let Some(mut snapshot) = self.snapshot.take() else { return };
        if let Some(Current { orphan: Some(object), memory_bytes, .. }) = snapshot.current.take() {
            self.keys.freed(memory_bytes);
            self.garbage.dispose(Some(object), &mut self.keys);
        }
        for orphan in snapshot.orphans {
            self.keys.freed(orphan.memory_bytes);
            self.garbage.dispose(Some(orphan.object), &mut self.keys);
        }
        for tables in snapshot.image.take_flushed() {
            self.garbage.add_tables(tables, 0);
        }
    }

    /// From here on nothing changes the store but the walk, because this is a child's copy of it. What is saved need not be
    /// marked then, and no memory is copied for marks.
    pub fn snapshot_keeps_still(&mut self) {
        if let Some(snapshot) = &mut self.snapshot {
            snapshot.is_still = true;
        }
    }

    /// Whether a command that is about to change this key should wait for the snapshot, because its value is large and not
    /// saved yet.
    #[inline]
    pub fn snapshot_blocks(&self, db: usize, key: &[u8]) -> bool {
        match &self.snapshot {
            None => false,
            Some(snapshot) => self.blocks(snapshot, db, key),
        }
    }

    #[cold]
    fn blocks(&self, snapshot: &Snapshot, db: usize, key: &[u8]) -> bool {
        let home = self.home(db, key);
        let word = self.databases[db].find(home.slot, home.hash, key);
        word.is_some_and(|word| self.is_unsaved(word) && snapshot.is_large(word) && snapshot.wants(word))
    }

    /// Someone waits for this key (see `snapshot_blocks`): it is saved next.
    pub fn snapshot_prioritise(&mut self, db: usize, key: &[u8]) {
        if let Some(snapshot) = &mut self.snapshot {
            if let Some(number) = snapshot.image.number_of(db).filter(|_| snapshot.wants_key(key)) {
                snapshot.next.retain(|(other, other_key)| (*other, &other_key[..]) != (number, key));
                snapshot.next.push_front((number, key.into()));
            }
        }
    }

    #[inline]
    fn is_unsaved(&self, word: Word) -> bool {
        entry::epoch_of(word) != self.epoch
    }

    /// Gives every entry the present epoch. Takes as long as the keyspace is large.
    fn renew_epochs(&mut self) {
        for database in &self.databases {
            for table in database.tables() {
                renew_table(table, self.epoch);
            }
        }
        self.stale_epochs = 0;
    }
}

fn renew_table(table: SlotTable, epoch: u64) {
    let mut cursor = 0;
    loop {
        // SAFETY: the place is in a live table that nobody changes meanwhile.
        cursor = table.scan_places(cursor, |place| unsafe { *place = entry::with_epoch(*place, epoch) });
        if cursor == 0 {
            return;
        }
    }
}

impl Snapshot {
    fn wants(&self, word: Word) -> bool {
        self.wants_key(word.entry().key())
    }

    fn wants_key(&self, key: &[u8]) -> bool {
        self.slots.as_ref().is_none_or(|slots| slots.contains(slot_of(key)))
    }

    fn is_large(&self, word: Word) -> bool {
        entry::is_boxed(word)
            && word.entry().object().is_some_and(|object| object.memory() > self.options.large_bytes)
    }
}

//! The walk: passes over every table of the image, bucket by bucket, and saves what it finds unsaved.
//!
//! Its cursor is that of `Table::scan`, so it comes upon everything that was there when it began, however tables grow and shrink
//! meanwhile. What it comes upon twice it recognises by its epoch.

use smallvec::SmallVec;

use super::super::database::{Database, SlotTable};
use super::super::entry::{self, Word};
use super::super::Store;
use super::{Snapshot, SnapshotProgress};
use crate::store::tables::Tables;

/// Entries whose memory is asked for at once, before the first of them is saved.
const BATCH: usize = 32;
/// Buckets looked at for a batch: bounds the search where they are empty.
const BATCH_BUCKETS_MAX: usize = 64;
/// Slots without keys that are passed over at once.
const EMPTY_SLOTS_MAX: usize = 1024;

/// Where the databases are that the image consists of.
pub(super) struct Image {
    /// By the number that a database had when the snapshot was opened.
    parts: Vec<Section>,
    /// By the number that a database has now: which of the image it is; `None`: none of it is left in there.
    numbers: Vec<Option<usize>>,
}

/// A database of the image.
enum Section {
    /// It is the store's, with this number.
    Live(usize),
    /// It has been flushed since.
    Flushed(Tables),
    /// All of it is saved.
    Done,
}

/// What comes next.
#[derive(Debug, Default)]
pub(super) struct Walk {
    /// The number of the image's database.
    number: usize,
    slot: usize,
    cursor: u64,
    is_over: bool,
}

impl Walk {
    pub(super) fn is_over(&self) -> bool {
        self.is_over
    }
}

impl Image {
    pub(super) fn new(databases: usize) -> Image {
        Image {
            parts: (0..databases).map(Section::Live).collect(),
            numbers: (0..databases).map(Some).collect(),
        }
    }

    /// Which database of the image database `db` is now.
    pub(super) fn number_of(&self, db: usize) -> Option<usize> {
        self.numbers[db]
    }

    /// The table of a slot of a database of the image.
    pub(super) fn table<'a>(
        &'a self,
        databases: &'a [Database],
        number: usize,
        slot: usize,
    ) -> Option<SlotTable<'a>> {
        match &self.parts[number] {
            Section::Live(db) => databases[*db].table(slot),
            // SAFETY: the tables of a database, whose entries are freed when the image is done with them.
            Section::Flushed(tables) => tables.get(slot).map(|table| unsafe { SlotTable::new(table) }),
            Section::Done => None,
        }
    }

    /// The first slot from `slot` on that may hold keys: an error when so many have been passed over that the search should go on
    /// later, from there.
    fn next_slot(&self, databases: &[Database], number: usize, slot: usize) -> Result<Option<usize>, usize> {
        match &self.parts[number] {
            Section::Live(db) => Ok(databases[*db].keys().next_from(slot)),
            Section::Flushed(tables) => {
                let end = tables.len().min(slot + EMPTY_SLOTS_MAX);
                match (slot..end).find(|&slot| !tables[slot].is_empty()) {
                    None if end < tables.len() => Err(end),
                    found => Ok(found),
                }
            }
            Section::Done => Ok(None),
        }
    }

    /// Ends a database of the image: returns the tables of one that was flushed.
    fn finish(&mut self, number: usize) -> Option<Tables> {
        match std::mem::replace(&mut self.parts[number], Section::Done) {
            Section::Flushed(tables) => Some(tables),
            Section::Live(db) => {
                self.numbers[db] = None;
                None
            }
            Section::Done => None,
        }
    }

    /// Database `db` has been flushed: takes its tables if they are still to be saved, else they are the caller's.
    pub(super) fn flushed(&mut self, db: usize, tables: Tables) -> Option<Tables> {
        match self.numbers[db].take() {
            Some(number) if !tables.is_empty() => {
                self.parts[number] = Section::Flushed(tables);
                None
            }
            Some(number) => {
                self.parts[number] = Section::Done;
                None
            }
            None => Some(tables),
        }
    }

    pub(super) fn swapped(&mut self, a: usize, b: usize) {
        self.numbers.swap(a, b);
        for db in [a, b] {
            if let Some(number) = self.numbers[db] {
                self.parts[number] = Section::Live(db);
            }
        }
    }

    /// Takes out the tables that are only here any more.
    pub(super) fn take_flushed(&mut self) -> impl Iterator<Item = Tables> + '_ {
        self.parts.iter_mut().filter_map(|part| match std::mem::replace(part, Section::Done) {
            Section::Flushed(tables) => Some(tables),
            Section::Live(_) | Section::Done => None,
        })
    }
}

impl Store {
    /// Goes on with the snapshot until it is done, `until` answers true (it is asked after each key and each piece of a large
    /// value), or too much waits to be taken. `None` when none is open.
    pub fn snapshot_step(&mut self, until: &dyn Fn() -> bool) -> Option<SnapshotProgress> {
        let mut snapshot = self.snapshot.take()?;
        while !snapshot.is_done() && snapshot.out.len() <= snapshot.options.ahead_bytes_max {
            if !snapshot.save_large(self) {
                snapshot.save_batch(self, until);
            }
            if until() {
                break;
            }
        }
        // Of some slots only, the others' entries are as they were.
        if snapshot.is_done() && !snapshot.is_still && snapshot.slots.is_none() {
            self.stale_epochs = 0;
        }
        let progress = snapshot.progress();
        self.snapshot = Some(snapshot);
        Some(progress)
    }
}

impl Snapshot {
    /// Saves the next few entries, fewer when `until` answers true.
    fn save_batch(&mut self, store: &mut Store, until: &dyn Fn() -> bool) {
        let number = self.walk.number;
        if self.walk.cursor == 0 {
            match self.image.next_slot(&store.databases, number, self.walk.slot) {
                Ok(Some(slot)) => {
                    self.walk.slot = slot;
                    let wanted = store.slots().slot(slot);
                    if self.slots.as_ref().is_some_and(|slots| !slots.contains(wanted)) {
                        self.walk.slot += 1;
                        return;
                    }
                }
                Ok(None) => return self.next_database(store),
                Err(slot) => {
                    self.walk.slot = slot;
                    return;
                }
            }
        }
        let mut places = SmallVec::<[*mut Word; 2 * BATCH]>::new();
        let mut cursor = self.walk.cursor;
        let Some(table) = self.image.table(&store.databases, number, self.walk.slot) else {
            return self.next_database(store);
        };
        for _ in 0..BATCH_BUCKETS_MAX {
            cursor = table.scan_places(cursor, |place| {
                // SAFETY: the place is in a live table.
                let word = unsafe { *place };
                if entry::epoch_of(word) != store.epoch {
                    entry::prefetch(word);
                    places.push(place);
                }
            });
            if cursor == 0 || places.len() >= BATCH {
                break;
            }
        }
        let last = places.len();
        for (index, place) in places.into_iter().enumerate() {
            // SAFETY: nothing changes the table before this loop is over.
            let word = unsafe { *place };
            if self.is_large(word) {
                // It is saved before the walk goes on.
                self.next.push_back((number, word.entry().key().into()));
                continue;
            }
            self.save_whole(store, number, word);
            if self.is_still {
                // The walk comes by here once, and not again.
                until();
                continue;
            }
            // SAFETY: as above.
            unsafe { *place = entry::with_epoch(word, store.epoch) };
            if index + 1 < last && until() {
                // The same buckets come again, and what has been saved is passed over then.
                return;
            }
        }
        self.walk.cursor = cursor;
        if cursor == 0 {
            self.walk.slot += 1;
        }
    }

    fn next_database(&mut self, store: &mut Store) {
        if let Some(tables) = self.image.finish(self.walk.number) {
            store.garbage.add_tables(tables, 0);
        }
        self.walk = Walk { number: self.walk.number + 1, ..Walk::default() };
        self.walk.is_over = self.walk.number == store.databases.len();
    }

    /// Writes an entry that is not large, or that can not wait.
    pub(super) fn save_whole(&mut self, store: &Store, number: usize, word: Word) {
        let view = self.view(store, number, word);
        let (saver, out) = self.between();
        saver.key(number, &view, out);
        self.keys_saved += 1;
    }
}

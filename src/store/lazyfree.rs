//! Freeing in steps what would take long to free at once: flushed databases and large objects.
//!
//! What lands here is out of reach already. `Store::free_some` works it off between requests; until then its memory
//! counts as used.

use std::collections::VecDeque;

use super::database::Keys;
use super::entry::{self, Word};
use super::object::{Object, FREE_AT_ONCE_MAX};
use super::table::{Owner, Table};
use super::tables::Tables;

/// Empty tables that cost as much to pass over as one object costs to free.
const TABLES_PER_STEP: usize = 32;

enum Garbage {
    /// From number `next` on.
    Tables {
        tables: Tables,
        next: usize,
    },
    Object {
        object: Box<Object>,
        memory_bytes: usize,
    },
}

/// What waits to be freed. Its bound is the memory that the store may use: nothing here is not counted there.
#[derive(Default)]
pub(super) struct LazyFree {
    queue: VecDeque<Garbage>,
    /// About how much memory that is.
    pub bytes: usize,
    /// Objects and entries freed so far.
    pub freed: u64,
}

impl LazyFree {
    pub(super) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// `bytes`: about what they and what is in them take.
    pub(super) fn add_tables(&mut self, tables: Tables, bytes: usize) {
        if !tables.is_empty() {
            self.bytes += bytes;
            self.queue.push_back(Garbage::Tables { tables, next: 0 });
        }
    }

    /// Frees an object that has left its entry, at once when it is small.
    pub(super) fn dispose(&mut self, object: Option<Box<Object>>, keys: &mut Keys) {
        let before = keys.used();
        self.queue_object(object, keys);
        self.bytes += keys.used() - before;
    }

    fn queue_object(&mut self, object: Option<Box<Object>>, keys: &mut Keys) {
        let Some(object) = object else { return };
        if object.pieces() > FREE_AT_ONCE_MAX {
            let memory_bytes = object.memory();
            keys.allocated(memory_bytes);
            self.queue.push_back(Garbage::Object { object, memory_bytes });
        }
    }

    /// Frees about `objects` entries or pieces of objects.
    pub(super) fn free_some(&mut self, objects: usize, keys: &mut Keys) {
        let before = keys.used();
        self.work_off(objects, keys);
        let freed = before.saturating_sub(keys.used());
        self.bytes = if self.queue.is_empty() { 0 } else { self.bytes.saturating_sub(freed) };
    }

    fn work_off(&mut self, objects: usize, keys: &mut Keys) {
        let mut left = objects.max(1);
        while left > 0 {
            let Some(garbage) = self.queue.pop_front() else {
                return;
            };
            match garbage {
                Garbage::Tables { mut tables, mut next } => {
                    let finished = self.free_tables(&mut tables, &mut next, &mut left, keys);
                    if finished {
                        keys.freed(tables.used_bytes());
                    } else {
                        self.queue.push_front(Garbage::Tables { tables, next });
                    }
                }
                Garbage::Object { mut object, memory_bytes } => match object.free_some(left) {
                    0 => {
                        drop(object);
                        keys.freed(memory_bytes);
                        self.freed += 1;
                        left -= 1;
                    }
                    pieces => {
                        left = left.saturating_sub(pieces);
                        let rest = object.memory().min(memory_bytes);
                        keys.freed(memory_bytes - rest);
                        self.queue.push_front(Garbage::Object { object, memory_bytes: rest });
                    }
                },
            }
        }
    }

    fn free_tables(
        &mut self,
        tables: &mut [Table],
        next: &mut usize,
        left: &mut usize,
        keys: &mut Keys,
    ) -> bool {
        while *next < tables.len() {
            if *left == 0 {
                return false;
            }
            let drained = tables[*next].drain_some(*left, keys, |bits, keys| {
                // SAFETY: the word came out of a table that nobody else can reach, so its entry is live and unused.
                let object = unsafe { entry::destroy(Word::from_bits(bits), keys) };
                self.queue_object(object, keys);
            });
            self.freed += drained as u64;
            *left = left.saturating_sub(drained);
            if tables[*next].is_empty() {
                *next += 1;
                if next.is_multiple_of(TABLES_PER_STEP) {
                    *left = left.saturating_sub(1);
                }
            }
        }
        true
    }
}

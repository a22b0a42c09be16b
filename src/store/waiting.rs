//! Who waits for keys to become ready: the clients of blocking commands.
//!
//! One queue for each key that somebody waits for, in the order in which they began to wait. The store notes a key when it
//! comes into being, is replaced, or goes while somebody wants to know that; it serves nobody itself: after a command, or after a
//! whole transaction, the shard takes the noted keys and goes through their queues (`shard/blocking.md`). Noting costs
//! one branch while nobody waits for anything.
//!
//! The `cursor` of a queue is how far that has come. It goes back to the head whenever the key is noted anew, so that a key
//! that changes while somebody is being offered it is offered to everybody again.

use std::collections::btree_map::BTreeMap;
use std::collections::HashMap;
use std::ops::Bound;

use super::ValueType;

/// Names a waiter, and orders it among all waiters of the process; never 0 and never reused.
pub type WaitNumber = u64;

/// What a queue knows of one that waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueuePosition {
    /// The shard that runs its command again.
    pub shard: u32,
    /// A key of another type does not wake it.
    pub wake_on: ValueType,
    /// It also wants to know when the key goes or is replaced.
    pub also_on_deletion: bool,
}

#[derive(Debug, Default)]
struct Queue {
    places: BTreeMap<WaitNumber, QueuePosition>,
    /// How many of them want to know of deletions.
    on_deletion: usize,
    /// Those up to this number have had their turn since the key was last noted.
    cursor: WaitNumber,
    /// The key is in the list of ready ones.
    is_listed: bool,
    /// Somebody on another shard makes up their mind about the key; the others wait for that.
    offered_to: Option<WaitNumber>,
}

/// A key and its database.
pub type ReadyKey = (usize, Box<[u8]>);

/// The queues of one store.
#[derive(Debug, Default)]
pub struct Waiting {
    /// Per database, made longer when needed.
    databases: Vec<HashMap<Box<[u8]>, Queue, foldhash::quality::RandomState>>,
    /// Number of queues in all databases, and of those in which somebody wants to know of deletions.
    queues: usize,
    queues_on_deletion: usize,
    ready: Vec<ReadyKey>,
}

impl Waiting {
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.queues == 0
    }

    /// Keys that somebody waits for.
    pub fn keys(&self) -> usize {
        self.queues
    }

    /// Those of them whose deletion somebody wants to know of.
    pub fn keys_on_deletion(&self) -> usize {
        self.queues_on_deletion
    }

    #[inline]
    pub fn has_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    /// The keys noted since the last call, in that order.
    pub fn take_ready(&mut self) -> Vec<ReadyKey> {
        std::mem::take(&mut self.ready)
    }

    /// Puts back keys of `take_ready` that nobody could be served with yet.
    pub fn put_back(&mut self, keys: &mut Vec<ReadyKey>) {
        self.ready.append(keys);
    }

    /// Somebody waits for the key from now on. A key named twice by one command is waited for once.
    pub fn add(&mut self, db: usize, key: &[u8], number: WaitNumber, place: QueuePosition) {
        if self.databases.len() <= db {
            self.databases.resize_with(db + 1, HashMap::default);
        }
        let queue = match self.databases[db].get_mut(key) {
            Some(queue) => queue,
            None => {
                self.queues += 1;
                self.databases[db].entry(key.into()).or_default()
            }
        };
        if queue.places.insert(number, place).is_none() && place.also_on_deletion {
            queue.on_deletion += 1;
            self.queues_on_deletion += usize::from(queue.on_deletion == 1);
        }
    }

    /// Forgets one that waits, if it is there. When the key was on offer to it, the next ones get their turn.
    pub fn remove(&mut self, db: usize, key: &[u8], number: WaitNumber) {
        let Some(queues) = self.databases.get_mut(db) else { return };
        let Some(queue) = queues.get_mut(key) else { return };
        let Some(place) = queue.places.remove(&number) else { return };
        if place.also_on_deletion {
            queue.on_deletion -= 1;
            self.queues_on_deletion -= usize::from(queue.on_deletion == 0);
        }
        if queue.places.is_empty() {
            queues.remove(key);
            self.queues -= 1;
        } else {
            self.end_offer(db, key, number);
        }
    }

    fn queue_mut(&mut self, db: usize, key: &[u8]) -> Option<&mut Queue> {
        self.databases.get_mut(db)?.get_mut(key)
    }

    fn list(&mut self, db: usize, key: &[u8]) {
        let Some(queue) = self.queue_mut(db, key) else { return };
        if !queue.is_listed && queue.offered_to.is_none() {
            queue.is_listed = true;
            self.ready.push((db, key.into()));
        }
    }

    /// The key is there, or has something new.
    #[cold]
    pub fn note(&mut self, db: usize, key: &[u8]) {
        if let Some(queue) = self.queue_mut(db, key) {
            queue.cursor = 0;
            self.list(db, key);
        }
    }

    /// The key is gone, or another value has taken the place of the one it had.
    #[cold]
    pub fn note_gone(&mut self, db: usize, key: &[u8]) {
        if self.queues_on_deletion > 0 && self.queue_mut(db, key).is_some_and(|queue| queue.on_deletion > 0) {
            self.note(db, key);
        }
    }

    /// All keys of the database are others now, or gone.
    #[cold]
    pub fn note_all(&mut self, db: usize) {
        let Some(queues) = self.databases.get(db) else { return };
        let keys: Vec<Box<[u8]>> = queues.keys().cloned().collect();
        for key in keys {
            self.note(db, &key);
        }
    }

    /// Begins to serve a listed key: the number of the last in its queue. None when there is nobody to serve now.
    pub fn begin(&mut self, db: usize, key: &[u8]) -> Option<WaitNumber> {
        let queue = self.queue_mut(db, key)?;
        queue.is_listed = false;
        if queue.offered_to.is_some() {
            return None;
        }
        queue.places.last_key_value().map(|(number, _)| *number)
    }

    /// The next whose turn it is.
    pub fn next(&self, db: usize, key: &[u8]) -> Option<(WaitNumber, QueuePosition)> {
        let queue = self.databases.get(db)?.get(key)?;
        let mut rest = queue.places.range((Bound::Excluded(queue.cursor), Bound::Unbounded));
        rest.next().map(|(number, place)| (*number, *place))
    }

    /// Somebody in the key's queue waits for its deletion.
    pub fn wants_deletion(&self, db: usize, key: &[u8]) -> bool {
        self.databases.get(db).and_then(|queues| queues.get(key)).is_some_and(|queue| queue.on_deletion > 0)
    }

    /// `number` has its turn now.
    pub fn advance(&mut self, db: usize, key: &[u8], number: WaitNumber) {
        if let Some(queue) = self.queue_mut(db, key) {
            queue.cursor = number;
        }
    }

    /// As `advance`; nobody else gets a turn before `end_offer`.
    pub fn offer(&mut self, db: usize, key: &[u8], number: WaitNumber) {
        if let Some(queue) = self.queue_mut(db, key) {
            queue.cursor = number;
            queue.offered_to = Some(number);
        }
    }

    /// `number` does not want the key, or is gone: those behind it get their turn.
    pub fn end_offer(&mut self, db: usize, key: &[u8], number: WaitNumber) {
        if let Some(queue) = self.queue_mut(db, key) {
            if queue.offered_to == Some(number) {
                queue.offered_to = None;
                self.list(db, key);
            }
        }
    }

    /// The key is listed but cannot be served now: it stays listed until it is put back.
    pub fn postpone(&mut self, db: usize, key: &[u8]) {
        if let Some(queue) = self.queue_mut(db, key) {
            queue.is_listed = true;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: QueuePosition = QueuePosition { shard: 0, wake_on: ValueType::List, also_on_deletion: false };
    const ON_DELETION: QueuePosition =
        QueuePosition { shard: 0, wake_on: ValueType::Stream, also_on_deletion: true };

    fn ready(waiting: &mut Waiting) -> Vec<String> {
        let list = waiting.take_ready();
        list.iter().map(|(db, key)| format!("{db}:{}", String::from_utf8_lossy(key))).collect()
    }

    #[test]
    fn a_key_is_listed_once_and_only_while_somebody_waits_for_it() {
        let mut waiting = Waiting::default();
        waiting.note(0, b"k");
        waiting.add(0, b"k", 5, HERE);
        waiting.note(1, b"k");
        waiting.note(0, b"other");
        assert!(!waiting.has_ready());
        waiting.note(0, b"k");
        waiting.note(0, b"k");
        assert_eq!(ready(&mut waiting), ["0:k"]);
        assert_eq!(waiting.begin(0, b"k"), Some(5));
        waiting.note(0, b"k");
        assert_eq!(ready(&mut waiting), ["0:k"]);
        waiting.remove(0, b"k", 5);
        assert_eq!(waiting.begin(0, b"k"), None);
        assert!(waiting.is_empty());
    }

    #[test]
    fn turns_go_by_number_and_begin_anew_when_the_key_is_noted() {
        let mut waiting = Waiting::default();
        for number in [9, 3, 7] {
            waiting.add(0, b"k", number, HERE);
        }
        let next = |waiting: &Waiting| waiting.next(0, b"k").map(|(number, _)| number);
        assert_eq!(next(&waiting), Some(3));
        waiting.advance(0, b"k", 3);
        assert_eq!(next(&waiting), Some(7));
        waiting.remove(0, b"k", 7);
        assert_eq!(next(&waiting), Some(9));
        waiting.advance(0, b"k", 9);
        assert_eq!(next(&waiting), None);
        waiting.note(0, b"k");
        assert_eq!(next(&waiting), Some(3));
    }

    #[test]
    fn while_a_key_is_on_offer_nobody_else_is_served_and_its_end_goes_on_behind() {
        let mut waiting = Waiting::default();
        waiting.add(0, b"k", 1, HERE);
        waiting.add(0, b"k", 2, HERE);
        waiting.note(0, b"k");
        ready(&mut waiting);
        waiting.begin(0, b"k");
        waiting.offer(0, b"k", 1);
        waiting.end_offer(0, b"k", 2);
        assert!(!waiting.has_ready(), "it was not offered to 2");
        waiting.end_offer(0, b"k", 1);
        assert_eq!(ready(&mut waiting), ["0:k"]);
        assert_eq!((waiting.begin(0, b"k"), waiting.next(0, b"k").unwrap().0), (Some(2), 2));
        waiting.offer(0, b"k", 2);
        // New elements meanwhile: 1 gets another turn, when 2 has made up its mind.
        waiting.note(0, b"k");
        assert!(!waiting.has_ready());
        waiting.remove(0, b"k", 2);
        assert_eq!(ready(&mut waiting), ["0:k"]);
        assert_eq!((waiting.begin(0, b"k"), waiting.next(0, b"k").unwrap().0), (Some(1), 1));
    }

    #[test]
    fn deletions_are_noted_for_those_who_want_to_know() {
        let mut waiting = Waiting::default();
        waiting.add(0, b"k", 1, HERE);
        waiting.note_gone(0, b"k");
        assert!(!waiting.has_ready());
        waiting.add(0, b"k", 2, ON_DELETION);
        waiting.note_gone(0, b"k");
        assert_eq!(ready(&mut waiting), ["0:k"]);
        assert_eq!((waiting.keys(), waiting.keys_on_deletion()), (1, 1));
        waiting.begin(0, b"k");
        waiting.remove(0, b"k", 2);
        waiting.note_gone(0, b"k");
        assert!(!waiting.has_ready());
        assert_eq!((waiting.keys(), waiting.keys_on_deletion()), (1, 0));
        waiting.note_all(0);
        assert_eq!(ready(&mut waiting), ["0:k"]);
    }
}

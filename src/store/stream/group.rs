//! Consumer groups: which entries a group has been given, and by which of its consumers they are pending.
//!
//! An entry that was delivered and not yet acknowledged is in its group's list, which knows everything about the delivery, and its ID is in the
//! list of the one consumer who has it. Only this module changes either, always both.

use std::collections::{btree_map, BTreeMap, BTreeSet};
use std::ops::RangeInclusive;

use super::id::StreamId;
use super::log::EntryLog;
use crate::store::memory::block_size;

/// About what a pending entry takes in the two lists: trees whose leaves are half full when IDs grow.
const PENDING_BYTES: usize = 120;
/// About what a consumer or group takes besides its name.
const CONSUMER_BYTES: usize = 160;
const GROUP_BYTES: usize = 160;

/// A consumer within its group, stays the same while the consumer is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ConsumerNumber(u32);

/// The delivery of an entry that waits for its acknowledgement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pending {
    pub consumer: ConsumerNumber,
    /// Unix time in milliseconds.
    pub delivered_ms: i64,
    pub deliveries: u64,
}

#[derive(Clone, Debug)]
pub struct Consumer {
    name: Box<[u8]>,
    /// When it last tried to do anything, Unix time in milliseconds.
    pub seen_ms: i64,
    /// When it last got an entry; `None`: never.
    pub active_ms: Option<i64>,
    pending: BTreeSet<StreamId>,
}

impl Consumer {
    pub fn name(&self) -> &[u8] {
        &self.name
    }

    pub fn pending_len(&self) -> usize {
        self.pending.len()
    }

    /// IDs of its pending entries, in order, from `start` on.
    pub fn pending_from(&self, start: StreamId) -> impl Iterator<Item = StreamId> + '_ {
        self.pending.range(start..).copied()
    }
}

#[derive(Clone, Debug)]
pub struct Group {
    /// The last entry delivered; those behind it are new to the group.
    pub last_id: StreamId,
    /// How many entries the group has read, those it skipped included; `None`: unknown.
    pub entries_read: Option<i64>,
    pending: BTreeMap<StreamId, Pending>,
    consumers: BTreeMap<ConsumerNumber, Consumer>,
    names: BTreeMap<Box<[u8]>, ConsumerNumber>,
    next_number: u32,
    /// Bytes of the consumers.
    consumer_bytes: usize,
}

fn consumer_bytes(name: &[u8]) -> usize {
    CONSUMER_BYTES + 2 * block_size(name.len())
}

impl Group {
    pub fn new(last_id: StreamId, entries_read: Option<i64>) -> Group {
        Group {
            last_id,
            entries_read,
            pending: BTreeMap::new(),
            consumers: BTreeMap::new(),
            names: BTreeMap::new(),
            next_number: 0,
            consumer_bytes: 0,
        }
    }

    pub fn pending_len(&self) -> usize {
        self.pending.len()
    }

    pub fn consumer_count(&self) -> usize {
        self.consumers.len()
    }

    /// Consumers in the order of their names.
    pub fn consumers(&self) -> impl Iterator<Item = &Consumer> {
        self.names.values().map(|number| self.consumer(*number))
    }

    pub fn find_consumer(&self, name: &[u8]) -> Option<ConsumerNumber> {
        self.names.get(name).copied()
    }

    /// Panics on the number of a consumer that has been deleted.
    pub fn consumer(&self, number: ConsumerNumber) -> &Consumer {
        &self.consumers[&number]
    }

    pub fn consumer_mut(&mut self, number: ConsumerNumber) -> &mut Consumer {
        // Numbers do not leave this group, and those of a deleted consumer's entries go with it: no payload names one.
        self.consumers.get_mut(&number).expect("numbers are those of consumers that are there")
    }

    /// A new consumer, seen now; `None` when there is one of this name.
    pub fn create_consumer(&mut self, name: &[u8], now_ms: i64) -> Option<ConsumerNumber> {
        let btree_map::Entry::Vacant(place) = self.names.entry(name.into()) else { return None };
        // After 2^32 creations numbers begin again, with those that are free.
        let mut number = ConsumerNumber(self.next_number);
        while self.consumers.contains_key(&number) {
            number = ConsumerNumber(number.0.wrapping_add(1));
        }
        self.next_number = number.0.wrapping_add(1);
        place.insert(number);
        let consumer =
            Consumer { name: name.into(), seen_ms: now_ms, active_ms: None, pending: BTreeSet::new() };
        self.consumers.insert(number, consumer);
        self.consumer_bytes += consumer_bytes(name);
        Some(number)
    }

    /// Deletes a consumer with all that is pending for it, and returns how many entries that were; `None` when there is none of this name.
    pub fn delete_consumer(&mut self, name: &[u8]) -> Option<usize> {
        let number = self.names.remove(name)?;
        let consumer = self.consumers.remove(&number)?;
        for id in &consumer.pending {
            self.pending.remove(id);
        }
        self.consumer_bytes -= consumer_bytes(name);
        Some(consumer.pending.len())
    }

    pub fn pending(&self, id: StreamId) -> Option<&Pending> {
        self.pending.get(&id)
    }

    /// Pending entries within a range of IDs, in order.
    pub fn pending_range(
        &self,
        range: RangeInclusive<StreamId>,
    ) -> impl DoubleEndedIterator<Item = (StreamId, &Pending)> {
        // The tree panics on an empty range.
        let range = (!range.is_empty()).then(|| self.pending.range(range));
        range.into_iter().flatten().map(|(id, pending)| (*id, pending))
    }

    /// Makes an entry pending as said, whoever had it before.
    pub fn assign(&mut self, id: StreamId, pending: Pending) {
        let before = self.pending.insert(id, pending);
        if let Some(before) = before.filter(|before| before.consumer != pending.consumer) {
            self.consumer_mut(before.consumer).pending.remove(&id);
        } else if before.is_some() {
            return;
        }
        self.consumer_mut(pending.consumer).pending.insert(id);
    }

    /// Delivers what is pending for a consumer again, from `start` on, up to `limit` entries: `deliver` says whether the stream
    /// still has one. Returns how many there were.
    pub fn deliver_again(
        &mut self,
        number: ConsumerNumber,
        start: StreamId,
        limit: usize,
        now_ms: i64,
        mut deliver: impl FnMut(StreamId) -> bool,
    ) -> usize {
        let mut count = 0;
        for id in self.consumers[&number].pending_from(start).take(limit) {
            count += 1;
            if deliver(id) {
                let pending =
                    self.pending.get_mut(&id).expect("what is pending for a consumer is for its group");
                pending.delivered_ms = now_ms;
                pending.deliveries = pending.deliveries.wrapping_add(1);
            }
        }
        count
    }

    /// How many entries the group has still to read; `None` when that cannot be known.
    pub fn lag(&self, log: &EntryLog) -> Option<i64> {
        let added = log.entries_added() as i64;
        match self.entries_read {
            _ if added == 0 => Some(0),
            Some(read) if !log.has_gaps_from(self.last_id) => Some(added.wrapping_sub(read)),
            _ => Some(added.wrapping_sub(log.entries_until(self.last_id)?)),
        }
    }

    /// Notes that an entry, behind all that were delivered, is delivered now.
    pub fn read_up_to(&mut self, id: StreamId, log: &EntryLog) {
        match &mut self.entries_read {
            Some(read) if !log.has_gaps_from(id) => *read = read.wrapping_add(1),
            read if log.entries_added() > 0 => *read = log.entries_until(id),
            _ => {}
        }
        self.last_id = id;
    }

    /// Takes an entry out of the pending ones; false when it was not among them.
    pub fn acknowledge(&mut self, id: StreamId) -> bool {
        let Some(pending) = self.pending.remove(&id) else { return false };
        self.consumer_mut(pending.consumer).pending.remove(&id);
        true
    }

    /// About the bytes allocated for it.
    pub(super) fn memory(&self) -> usize {
        GROUP_BYTES + self.consumer_bytes + self.pending.len() * PENDING_BYTES
    }

    /// About how many allocations it consists of.
    pub(super) fn pieces(&self) -> usize {
        1 + self.consumers.len() + self.pending.len() / 4
    }

    /// Frees up to `pieces` of a group that nobody can reach any more; 0 when nothing is left.
    pub(super) fn free_some(&mut self, pieces: usize) -> usize {
        let mut freed = 0;
        while freed < pieces {
            if self.pending.pop_first().is_some() {
                freed += 1;
                continue;
            }
            let Some(mut last) = self.consumers.last_entry() else { break };
            if last.get_mut().pending.pop_first().is_none() {
                let name = last.remove().name;
                self.names.remove(&name);
            }
            freed += 1;
        }
        freed
    }
}

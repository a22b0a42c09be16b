//! `maxmemory`: who evicts, and when.
//!
//! The limit is the process's, and a shard evicts keys of its own only. A shard that finds the process over it, which it looks
//! at before each command of its clients, draws the shard that is to evict, by how many keys of each may go: what goes is then
//! about what would go if all keys lay together. When that is another shard it is told, and the command goes on;
//! memory is over the limit until the word has arrived.
//!
//! What has been evicted, deleted or flushed but waits to be freed in steps (`store::lazyfree`) still counts as used. But it is
//! room already: nothing is evicted or refused for its sake.

use super::housekeeping::Weights;
use super::Shard;
use crate::base::Stamp;
use crate::shard::message::MemoryMessage;
use crate::store::{Eviction, MaxmemoryPolicy};

/// The longest slice of eviction that no request of this shard's clients asks for.
const EVICT_SLICE_US: u64 = 500;

/// How long a command evicts before it runs, by `maxmemory-eviction-tenacity`: as in Redis 50 us for each of the first 10, then 15 % more for each,
/// and at 100 without end.
fn eviction_slice_us(tenacity: u32) -> u64 {
    match tenacity {
        0..=10 => 50 * u64::from(tenacity),
        11..=99 => (500.0 * 1.15f64.powi(tenacity as i32 - 10)) as u64,
        _ => u64::MAX,
    }
}

impl Shard {
    /// Sees to it that the process gets under `maxmemory`. False when it stays over it because no key may ever go. While those that
    /// may are in the hands of transactions it stays over it, too, until the first command after them; that is no reason to refuse
    /// anything.
    pub(super) fn make_room(&mut self) -> bool {
        if self.store.expire_paused || self.ignores_maxmemory() {
            return true;
        }
        if !self.is_over_limit() {
            return true;
        }
        let started = Stamp::now();
        let has_made_room = self.evict_for_a_while(started);
        self.executor.note_spike(&self.turn, "eviction-cycle", Stamp::now().nanos_since(started));
        has_made_room
    }

    fn evict_for_a_while(&mut self, started: Stamp) -> bool {
        // Each pass takes one key away; a key is at least some dozen bytes, so their number is bounded by the excess.
        while self.is_over_limit() {
            let spent_us = Stamp::now().nanos_since(started) / 1000;
            if spent_us >= eviction_slice_us(self.turn.config.memory.maxmemory_eviction_tenacity) {
                // The rest goes between requests.
                self.upkeep.background.evict_soon();
                return true;
            }
            match self.draw_evictor() {
                Some(shard) if shard == self.id => match self.evict() {
                    Eviction::Done(_) => {}
                    Eviction::NotNow => return true,
                    Eviction::Never => return false,
                },
                Some(shard) => {
                    self.have_evict(shard);
                    return true;
                }
                None => return false,
            }
        }
        true
    }

    /// Whether `make_room` would answer false. Evicts nothing, so it may be asked inside a transaction.
    pub(super) fn lacks_room(&mut self) -> bool {
        !self.store.expire_paused
            && !self.ignores_maxmemory()
            && self.is_over_limit()
            && self.draw_evictor().is_none()
    }

    /// Evicts for a while, between requests, and has the next turns go on until the process is under the limit.
    pub(super) fn evict_some(&mut self) {
        self.upkeep.background.forget_eviction();
        if self.store.expire_paused || self.ignores_maxmemory() || !self.is_over_limit() {
            return;
        }
        let started = Stamp::now();
        let mut has_keys = true;
        while has_keys && self.is_over_limit() {
            if Stamp::now().nanos_since(started) >= EVICT_SLICE_US * 1000 {
                self.upkeep.background.evict_soon();
                break;
            }
            has_keys = matches!(self.evict(), Eviction::Done(_));
        }
        self.executor.note_spike(&self.turn, "eviction-cycle", Stamp::now().nanos_since(started));
        self.serve_if_ready();
    }

    fn is_over_limit(&mut self) -> bool {
        let limit = self.turn.config.memory.maxmemory;
        if limit == 0 {
            return false;
        }
        let used = self.shared.used_memory();
        if used <= limit {
            return false;
        }
        self.publish_garbage();
        let garbage: u64 = self.shared.stats.iter().map(|stats| stats.garbage_bytes.get()).sum();
        used.saturating_sub(garbage) > limit
    }

    /// Tells all shards how much memory of this one waits to be freed, and has it freed soon.
    pub(super) fn publish_garbage(&mut self) {
        let bytes = self.store.garbage_bytes() as u64;
        self.stats.garbage_bytes.set(bytes);
        if bytes > 0 {
            self.upkeep.background.free_soon(&self.turn);
        }
    }

    fn evict(&mut self) -> Eviction {
        let outcome = self.store.evict_one();
        if let Eviction::Done(evicted) = &outcome {
            self.log_evicted(evicted);
            self.tell_of_changes(0);
        }
        outcome
    }

    /// The shard that is to evict a key; `None` when no key of any may go.
    fn draw_evictor(&mut self) -> Option<usize> {
        let policy = self.store.settings.maxmemory_policy;
        if policy == MaxmemoryPolicy::NoEviction {
            return None;
        }
        let evictable = |shard: usize| -> u64 {
            let of_database = |db: usize| {
                let gauges = &self.shared.stats[shard].databases[db];
                match (shard == self.id, policy.is_volatile()) {
                    (true, true) => self.store.volatile_len(db) as u64,
                    (true, false) => self.store.len(db) as u64,
                    (false, true) => gauges.volatile_keys.get(),
                    (false, false) => gauges.keys.get(),
                }
            };
            (0..self.store.databases()).map(of_database).sum()
        };
        let weights: Weights = self.turn.slots.all().map(evictable).collect();
        self.upkeep.housekeeping.draw_shard(&self.turn, &weights)
    }

    fn have_evict(&mut self, shard: usize) {
        self.upkeep.housekeeping.evicting.resize(self.turn.slots.shards(), false);
        if std::mem::replace(&mut self.upkeep.housekeeping.evicting[shard], true) {
            return;
        }
        self.send(shard, MemoryMessage::Evict { home: self.id }.into());
    }

    /// Another shard finds that there is too much memory, and that this one has most of what may go.
    pub(super) fn told_to_evict(&mut self, home: usize) {
        self.evict_some();
        self.send(home, MemoryMessage::Evicted { shard: self.id }.into());
    }
}

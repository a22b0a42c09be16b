//! Work that nobody waits for: deleting expired keys, evicting others after `maxmemory` was lowered, freeing what large deletions
//! left behind, giving freed memory back to the system, and making keys ready for the next snapshots.
//!
//! It is done in slices between requests, none longer than `SLICE_US`, so that a million keys that expire at once or a
//! FLUSHALL ASYNC cost no request more than that. Ten times a second the shard looks whether there is such work; while
//! there is, slices follow each other at a distance that leaves the rest of the time to requests, and the
//! shard does not wait for long.

use super::scatter::Ask;
use super::Shard;
use crate::base::Stamp;
use crate::runtime::purge::Sweep;
use crate::shard::turn::TurnState;
use crate::store::Store;

/// The longest slice: what a request may have to wait for it.
const SLICE_US: u64 = 500;
/// From the beginning of one slice of expiry to the next, at `active-expire-effort` 1: a quarter of the time is used,
/// as in Redis. Each step of effort brings them closer.
const EXPIRE_PERIOD_US: i64 = 2000;
const EXPIRE_PERIOD_LESS_PER_EFFORT_US: i64 = 100;
/// The same for freeing memory.
const FREE_PERIOD_US: i64 = 1000;
/// The same for making keys ready for the next snapshots.
const RENEW_PERIOD_US: i64 = 2000;
/// The same for giving freed memory back.
const SWEEP_PERIOD_US: i64 = 4000;
/// Objects freed between two looks at the clock.
const FREE_AT_ONCE: usize = 64;

/// When the next slices are due, Unix microseconds; `None`: there was nothing left to do.
#[derive(Default)]
pub(super) struct Background {
    expire_at_us: Option<i64>,
    free_at_us: Option<i64>,
    renew_at_us: Option<i64>,
    sweep: Option<(i64, Sweep)>,
    /// What the slices of expiry have taken since the last look, nanoseconds, and those that free what expiry has deleted.
    expiry_nanos: u64,
    /// Some of the memory that waits to be freed was that of expired keys.
    frees_expired: bool,
    /// Questions that are answered when it has been noted what the expiry under way takes.
    asked: Vec<Ask>,
    evicts: bool,
}

impl Background {
    /// Whether keys that have expired are being deleted, or freed.
    fn expires(&self) -> bool {
        self.expire_at_us.is_some() || self.frees_expired
    }

    /// The next turn evicts some keys.
    pub(super) fn evict_soon(&mut self) {
        self.evicts = true;
    }

    pub(super) fn forget_eviction(&mut self) {
        self.evicts = false;
    }

    /// There is memory to free, which need not wait for the next look.
    pub(super) fn free_soon(&mut self, turn: &TurnState) {
        self.free_at_us.get_or_insert(turn.now_us);
    }

    fn free_slice(&mut self, turn: &TurnState, store: &mut Store) {
        let started = Stamp::now();
        self.free_at_us = None;
        while store.free_some(FREE_AT_ONCE) {
            if Stamp::now().nanos_since(started) / 1000 >= SLICE_US {
                self.free_at_us = Some(turn.now_us + FREE_PERIOD_US);
                break;
            }
        }
        if self.frees_expired {
            self.expiry_nanos += Stamp::now().nanos_since(started);
            self.frees_expired = self.free_at_us.is_some();
        }
    }

    /// Much of what was allocated is not needed any more: gives what this shard has of it back.
    pub(super) fn sweep_memory(&mut self, turn: &TurnState) {
        self.sweep = Some((turn.now_us, Sweep::default()));
    }

    fn sweep_slice(&mut self, turn: &TurnState) {
        let Some((_, mut sweep)) = self.sweep.take() else { return };
        if sweep.go_on(SLICE_US * 1000) {
            self.sweep = Some((turn.now_us + SWEEP_PERIOD_US, sweep));
        }
    }
}

impl Shard {
    /// Ten times a second: looks for work. True when memory waits to be freed.
    pub(super) fn look_for_background_work(&mut self) -> bool {
        self.note_expiry();
        self.expire_slice();
        self.upkeep.background.free_slice(&self.turn, &mut self.store);
        self.renew_slice();
        self.upkeep.background.free_at_us.is_some()
    }

    fn note_expiry(&mut self) {
        let expiry_nanos = std::mem::take(&mut self.upkeep.background.expiry_nanos);
        self.executor.note_spike(&self.turn, "expire-cycle", expiry_nanos);
        for ask in std::mem::take(&mut self.upkeep.background.asked) {
            self.answer_ask(ask);
        }
    }

    /// Answers when it has been noted what the expiry takes that is under way: it ends, or a tenth of a second is over.
    pub(super) fn answer_after_expiry(&mut self, ask: Ask) {
        if self.upkeep.background.expires() && !self.upkeep.housekeeping.is_off {
            self.upkeep.background.asked.push(ask);
        } else {
            self.answer_ask(ask);
        }
    }

    /// In each turn: the slices that are due. True while there is more to do.
    pub(super) fn do_background_work(&mut self) -> bool {
        if self.upkeep.background.expire_at_us.is_some_and(|at| self.turn.now_us >= at) {
            self.expire_slice();
        }
        if self.upkeep.background.free_at_us.is_some_and(|at| self.turn.now_us >= at) {
            self.upkeep.background.free_slice(&self.turn, &mut self.store);
        }
        if self.upkeep.background.renew_at_us.is_some_and(|at| self.turn.now_us >= at) {
            self.renew_slice();
        }
        if self.upkeep.background.sweep.as_ref().is_some_and(|(at, _)| self.turn.now_us >= *at) {
            self.upkeep.background.sweep_slice(&self.turn);
        }
        if self.upkeep.background.expiry_nanos > 0 && !self.upkeep.background.expires() {
            self.note_expiry();
        }
        if self.upkeep.background.evicts {
            self.evict_some();
        }
        let due = &self.upkeep.background;
        due.evicts
            || due.expire_at_us.is_some()
            || due.free_at_us.is_some()
            || due.renew_at_us.is_some()
            || due.sweep.is_some()
    }

    fn expire_slice(&mut self) {
        self.upkeep.background.expire_at_us = None;
        let settings = &self.store.settings;
        if !settings.active_expire || self.store.expire_paused {
            return;
        }
        let effort = i64::from(settings.active_expire_effort.clamp(1, 10)) - 1;
        let capped = self.store.stats.expired_time_cap_reached_count;
        let garbage_bytes = self.store.garbage_bytes();
        let started = Stamp::now();
        self.store.expire_cycle(SLICE_US, &|| Stamp::now().nanos_since(started) / 1000);
        self.log_expired();
        let nanos = Stamp::now().nanos_since(started);
        if self.store.stats.expired_time_cap_reached_count != capped {
            let period = EXPIRE_PERIOD_US - EXPIRE_PERIOD_LESS_PER_EFFORT_US * effort;
            self.upkeep.background.expire_at_us = Some(self.turn.now_us + period);
        }
        self.stats.expire_cycle_us.add(nanos / 1000);
        self.upkeep.background.expiry_nanos += nanos;
        self.upkeep.background.frees_expired |= self.store.garbage_bytes() > garbage_bytes;
        self.tell_of_changes(0);
        self.serve_if_ready();
    }

    /// Makes the keys ready for the snapshots to come; while a child shares their memory it would only be copied for that.
    fn renew_slice(&mut self) {
        self.upkeep.background.renew_at_us = None;
        let waits = self.saving.has_own_part() && !self.store.renewal_is_urgent();
        if waits || !self.store.wants_renewal() {
            return;
        }
        let started = Stamp::now();
        if self.store.renew_some(&|| Stamp::now().nanos_since(started) / 1000 >= SLICE_US) {
            self.upkeep.background.renew_at_us = Some(self.turn.now_us + RENEW_PERIOD_US);
        }
    }
}

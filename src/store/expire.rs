//! Expiry: keys found expired are deleted on sight, and a cycle looks for those that nobody asks for.
//!
//! There is no second table of keys with an expiry. Their number per slot is known, so the cycle walks the slots that have
//! any, bucket by bucket; the words tell which entries to look at. As in Redis it repeats while a large share
//! of the keys it looked at had expired, since then there are likely more, and stops when its time is up.
//! `active-expire-effort` makes a turn longer and the share that is put up with smaller.

use super::database_ops::Words;
use super::entry::{self, Word};
use super::lookup::Home;
use super::{EventClass, Store};

/// Keys with an expiry looked at per turn, at effort 1; each step of effort adds a quarter.
const KEYS_PER_TURN: usize = 20;
/// Buckets looked at per turn for each key to be looked at: bounds a turn where such keys are rare.
const BUCKETS_PER_KEY: usize = 20;
/// Percent of expired keys that end the repetition, at effort 1; each step of effort takes one off.
const STALE_PERC_MAX: usize = 10;
/// Weight of one cycle in the running estimate of stale keys.
const STALE_WEIGHT: f64 = 0.05;
/// Weight of one turn in the running mean of TTLs: one part in this many.
const TTL_PARTS: i64 = 50;

/// Where the next cycle goes on.
#[derive(Debug, Default)]
pub struct ExpireCycle {
    db: usize,
}

/// What one turn found.
#[derive(Default)]
struct Turn {
    sampled: usize,
    expired: usize,
    /// Expired, but they have to stay: they count for how far the turn has come, and for nothing else.
    held: usize,
    ttl_sum_ms: i64,
}

impl Store {
    /// Looks for expired keys for at most about `budget_us` microseconds, as `now_us` (any steady clock) counts them.
    pub fn expire_cycle(&mut self, budget_us: u64, now_us: &dyn Fn() -> u64) {
        if !self.settings.active_expire || self.expire_paused || self.keeps_expired || !self.expire_on_access
        {
            return;
        }
        let effort = self.settings.active_expire_effort.clamp(1, 10) as usize - 1;
        let keys_per_turn = KEYS_PER_TURN + KEYS_PER_TURN / 4 * effort;
        let stale_perc_max = STALE_PERC_MAX - effort;
        let start_us = now_us();
        let (mut sampled, mut expired) = (0, 0);
        let mut time_is_up = false;
        for _ in 0..self.databases.len() {
            if time_is_up {
                break;
            }
            let db = self.cycle.db % self.databases.len();
            // Moves on even when the time is up, so that one full database does not starve the others.
            self.cycle.db = db + 1;
            while self.databases[db].volatile().total() > 0 {
                let turn = self.expire_turn(db, keys_per_turn);
                sampled += turn.sampled;
                expired += turn.expired;
                self.note_ttl(db, &turn);
                if now_us().saturating_sub(start_us) >= budget_us {
                    time_is_up = true;
                    self.stats.expired_time_cap_reached_count += 1;
                    break;
                }
                let seen = turn.sampled + turn.held;
                if seen > 0 && turn.expired * 100 / seen <= stale_perc_max {
                    break;
                }
            }
            if self.databases[db].volatile().total() == 0 {
                self.databases[db].avg_ttl_ms = 0;
            }
        }
        let stale_perc = if sampled > 0 { expired as f64 * 100.0 / sampled as f64 } else { 0.0 };
        self.stats.expired_stale_perc =
            stale_perc * STALE_WEIGHT + self.stats.expired_stale_perc * (1.0 - STALE_WEIGHT);
    }

    /// Looks at about `keys` keys with an expiry, from where the last turn ended.
    fn expire_turn(&mut self, db: usize, keys: usize) -> Turn {
        let mut turn = Turn::default();
        let mut buckets = 0;
        let wanted = keys.min(self.volatile_len(db));
        while turn.sampled + turn.held < wanted && buckets < wanted * BUCKETS_PER_KEY {
            let database = &mut self.databases[db];
            if database.expire_cursor == 0 {
                let next = database.volatile().next_from(database.expire_slot);
                let Some(slot) = next.or_else(|| database.volatile().next_from(0)) else {
                    break;
                };
                database.expire_slot = slot;
            }
            let slot = database.expire_slot;
            let mut words = Words::new();
            let Some(table) = database.table(slot) else {
                break;
            };
            let next = table.scan(database.expire_cursor, |word| {
                if entry::has_expiry(word) {
                    words.push(word);
                }
            });
            database.expire_cursor = next;
            if next == 0 {
                database.expire_slot += 1;
            }
            buckets += 1;
            for word in words {
                if self.has_expired(word) {
                    if self.is_protected(word) {
                        turn.held += 1;
                        continue;
                    }
                    turn.sampled += 1;
                    turn.expired += 1;
                    let hash = self.keys.hash_key(word.entry().key());
                    self.delete_expired(Home { db, slot, hash }, word);
                } else if let Some(at_ms) = word.entry().expire_at() {
                    turn.sampled += 1;
                    turn.ttl_sum_ms = turn.ttl_sum_ms.saturating_add(at_ms.saturating_sub(self.now_ms));
                }
            }
        }
        turn
    }

    fn note_ttl(&mut self, db: usize, turn: &Turn) {
        let live = (turn.sampled - turn.expired) as i64;
        if live > 0 {
            let mean = turn.ttl_sum_ms / live;
            let average = &mut self.databases[db].avg_ttl_ms;
            *average =
                if *average == 0 { mean } else { *average / TTL_PARTS * (TTL_PARTS - 1) + mean / TTL_PARTS };
        }
    }

    /// Deletes an entry that has expired, and tells everyone concerned.
    #[cold]
    pub(super) fn delete_expired(&mut self, home: Home, word: Word) {
        let word = self.unlink(home, word);
        let key = word.entry().key();
        self.stats.expired_keys += 1;
        self.events.raise(home.db, EventClass::EXPIRED, "expired", key);
        if !self.watches.is_empty() {
            self.watches.touch(home.db, key, false);
        }
        self.changes.note(key, false);
        if self.log_enabled {
            self.expired_effects.push((home.db, key.to_vec()));
        }
        self.destroy(home.db, word);
    }
}

//! Eviction: which key goes when memory is short.
//!
//! Exact LRU order would cost two pointers per key. As Redis does, a few random keys are looked at and the best candidates
//! kept in a small pool from one eviction to the next, which comes close to the exact order (Redis documentation, "Key
//! eviction", "Approximated LRU algorithm"). The pool holds copies of keys, and a candidate that is gone by
//! the time it would be evicted is passed over.

use super::entry::{self, Word};
use super::lookup::Home;
use super::{slot_of, EventClass, MaxmemoryPolicy, Store};

/// Candidates kept.
const POOL_LEN_MAX: usize = 16;
/// Rounds of sampling before giving up: keys drawn may all be candidates already that are gone, or have to stay.
const ROUNDS_MAX: usize = 32;
/// Keys of a database that a random policy draws before it gives up, because all had to stay.
const DRAWS_MAX: usize = 16;

/// A key that eviction removed: to be logged and replicated as a DEL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Evicted {
    pub db: usize,
    pub key: Vec<u8>,
}

/// What an attempt to evict a key came to.
#[derive(Debug, PartialEq, Eq)]
pub enum Eviction {
    Done(Evicted),
    /// The keys that might go are those that transactions work on. They may go when these end.
    NotNow,
    /// The policy lets no key go.
    Never,
}

#[derive(Debug)]
struct Candidate {
    /// The higher, the sooner it goes.
    score: u64,
    db: usize,
    key: Vec<u8>,
}

/// The best candidates seen, the best last.
#[derive(Debug, Default)]
pub(super) struct EvictionPool {
    candidates: Vec<Candidate>,
    /// The policy that gave the scores; those of another mean nothing.
    policy: MaxmemoryPolicy,
    /// Where the random policies look next.
    next_db: usize,
}

impl EvictionPool {
    pub(super) fn clear(&mut self) {
        self.candidates.clear();
    }

    fn offer(&mut self, score: u64, db: usize, key: &[u8]) {
        let full = self.candidates.len() == POOL_LEN_MAX;
        if full && score <= self.candidates[0].score {
            return;
        }
        if self.candidates.iter().any(|c| c.db == db && c.key == key) {
            return;
        }
        if full {
            self.candidates.remove(0);
        }
        let at = self.candidates.partition_point(|c| c.score < score);
        self.candidates.insert(at, Candidate { score, db, key: key.to_vec() });
    }
}

impl Store {
    /// Evicts the key that the policy points out, and raises its "evicted" event. A key that transactions work on is passed over.
    pub fn evict_one(&mut self) -> Eviction {
        let policy = self.settings.maxmemory_policy;
        let mut is_any_held = false;
        let victim = match policy {
            MaxmemoryPolicy::NoEviction => None,
            MaxmemoryPolicy::AllKeysRandom | MaxmemoryPolicy::VolatileRandom => {
                self.random_victim(policy, &mut is_any_held)
            }
            _ => self.best_victim(policy, &mut is_any_held),
        };
        let (home, word) = match victim {
            Some(victim) => victim,
            None if is_any_held => return Eviction::NotNow,
            None => return Eviction::Never,
        };
        let word = self.unlink(home, word);
        let key = word.entry().key().to_vec();
        self.stats.evicted_keys += 1;
        self.events.raise(home.db, EventClass::EVICTED, "evicted", &key);
        if !self.watches.is_empty() {
            self.watches.touch(home.db, &key, false);
        }
        self.changes.note(&key, false);
        self.destroy(home.db, word);
        Eviction::Done(Evicted { db: home.db, key })
    }

    fn random_victim(&mut self, policy: MaxmemoryPolicy, is_any_held: &mut bool) -> Option<(Home, Word)> {
        for _ in 0..self.databases.len() {
            let db = self.pool.next_db % self.databases.len();
            self.pool.next_db = db + 1;
            for _ in 0..DRAWS_MAX {
                let Some(word) = self.sample(db, policy) else { break };
                if !self.is_protected(word) {
                    return Some((self.home_of(db, word), word));
                }
                *is_any_held = true;
            }
        }
        None
    }

    fn sample(&mut self, db: usize, policy: MaxmemoryPolicy) -> Option<Word> {
        let database = &self.databases[db];
        if policy.is_volatile() {
            database.random_volatile(&mut self.rng)
        } else {
            database.random(&mut self.rng)
        }
    }

    fn best_victim(&mut self, policy: MaxmemoryPolicy, is_any_held: &mut bool) -> Option<(Home, Word)> {
        if self.pool.policy != policy {
            self.pool.clear();
            self.pool.policy = policy;
        }
        for _ in 0..ROUNDS_MAX {
            let mut any = false;
            for db in 0..self.databases.len() {
                any |= self.fill_pool(db, policy);
            }
            if !any {
                return None;
            }
            while let Some(best) = self.pool.candidates.pop() {
                let slot = self.slots().number(slot_of(&best.key)).into();
                let hash = self.keys.hash_key(&best.key);
                let word = self.databases[best.db].find(slot, hash, &best.key);
                let evictable = |&word: &Word| !policy.is_volatile() || entry::has_expiry(word);
                match word.filter(evictable) {
                    Some(word) if self.is_protected(word) => *is_any_held = true,
                    Some(word) => return Some((Home { db: best.db, slot, hash }, word)),
                    None => {}
                }
            }
        }
        None
    }

    /// Offers some keys of a database to the pool; false when it has none to offer.
    fn fill_pool(&mut self, db: usize, policy: MaxmemoryPolicy) -> bool {
        let mut any = false;
        for _ in 0..self.settings.maxmemory_samples.max(1) {
            let Some(word) = self.sample(db, policy) else {
                break;
            };
            any = true;
            let entry = word.entry();
            let score = match policy {
                MaxmemoryPolicy::VolatileTtl => {
                    // Soonest first; an expiry may be any i64.
                    let at_ms = entry.expire_at().unwrap_or(i64::MAX);
                    u64::MAX - (at_ms as u64 ^ 1 << 63)
                }
                _ if policy.is_lfu() => (u8::MAX - entry.clock().counter(&self.settings, self.now_ms)) as u64,
                _ => entry.clock().idle_s(self.now_ms) as u64,
            };
            self.pool.offer(score, db, entry.key());
        }
        any
    }
}

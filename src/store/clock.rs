//! The three bytes per entry that eviction judges by: when it was last used, or how often.
//!
//! Under an LRU policy (and those that need neither) they hold the low 24 bits of Unix time in seconds. Under an LFU
//! policy they hold the time of the last decay (low 16 bits of Unix minutes) above an 8-bit logarithmic counter
//! (Redis documentation, "Key eviction", "The new LFU mode"). Changing the policy reinterprets them, as in Redis.

use super::random::Rng;
use super::settings::Settings;

/// A new key starts here, so that it is not evicted before it had a chance.
pub const LFU_INITIAL: u8 = 5;

const LRU_MASK: u32 = 0xff_ffff;

/// An entry's 24 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Clock(pub(super) u32);

impl Clock {
    /// Replaced by a fresh one when its value is put into a store.
    pub(super) const UNSET: Clock = Clock(u32::MAX);

    /// The clock of an entry made or overwritten now.
    pub(super) fn fresh(settings: &Settings, now_ms: i64) -> Clock {
        if settings.maxmemory_policy.is_lfu() {
            Clock::lfu(now_ms, LFU_INITIAL)
        } else {
            Clock::lru(now_ms, 0)
        }
    }

    /// Last used `idle_s` seconds ago.
    pub(super) fn lru(now_ms: i64, idle_s: u64) -> Clock {
        Clock((now_ms / 1000).wrapping_sub(idle_s as i64) as u32 & LRU_MASK)
    }

    pub(super) fn lfu(now_ms: i64, counter: u8) -> Clock {
        Clock(((now_ms / 60_000) as u32 & 0xffff) << 8 | counter as u32)
    }

    /// Seconds since the last use, modulo 2^24 (194 days).
    pub(super) fn idle_s(self, now_ms: i64) -> u32 {
        ((now_ms / 1000) as u32).wrapping_sub(self.0) & LRU_MASK
    }

    /// The counter after the decay that is due: one for every `lfu-decay-time` minutes.
    pub(super) fn counter(self, settings: &Settings, now_ms: i64) -> u8 {
        let counter = self.0 as u8;
        if settings.lfu_decay_time == 0 {
            return counter;
        }
        let elapsed_minutes = ((now_ms / 60_000) as u32).wrapping_sub(self.0 >> 8) & 0xffff;
        let periods = elapsed_minutes / settings.lfu_decay_time;
        counter.saturating_sub(periods.min(255) as u8)
    }

    /// After one more use.
    #[inline]
    pub(super) fn used(self, settings: &Settings, now_ms: i64, rng: &mut Rng) -> Clock {
        if !settings.maxmemory_policy.is_lfu() {
            return Clock::lru(now_ms, 0);
        }
        let counter = self.counter(settings, now_ms);
        let above = counter.saturating_sub(LFU_INITIAL) as f64;
        let odds = above * settings.lfu_log_factor as f64 + 1.0;
        let grows = counter < u8::MAX && rng.unit() < 1.0 / odds;
        Clock::lfu(now_ms, counter + grows as u8)
    }
}

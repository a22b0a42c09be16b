//! What the server knows of itself: counters, latencies, digests. Who shows them is not known here.

pub mod digest;
mod error_counts;
pub(crate) mod histogram;
pub(crate) mod latency;
pub(crate) mod logo;
pub(crate) mod lolwut;
pub(crate) mod metrics;
pub(crate) mod rates;
pub(crate) mod stats;
pub(crate) mod turns;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard};

/// What is observed of all shards together. The locks are held for a few instructions.
#[derive(Debug, Default)]
pub struct ServerStats {
    rates: Mutex<rates::Rates>,
    latency: Mutex<latency::Events>,
    /// Bytes allocated, at most and when the server was ready.
    pub peak_memory: AtomicU64,
    pub startup_memory: AtomicU64,
    slow_log_id: AtomicU64,
}

impl ServerStats {
    pub fn rates(&self) -> MutexGuard<'_, rates::Rates> {
        self.rates.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    pub fn latency(&self) -> MutexGuard<'_, latency::Events> {
        self.latency.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// Raises the peak when `used` is above it, and returns it.
    pub fn peak_memory(&self, used: u64) -> u64 {
        self.peak_memory.fetch_max(used, Ordering::Relaxed).max(used)
    }

    /// The number of the next entry of the slow log.
    pub fn next_slow_log_id(&self) -> u64 {
        self.slow_log_id.fetch_add(1, Ordering::Relaxed)
    }
}

//! Counters of one shard, written by its thread alone and read by any.
//!
//! A counter is an atomic for the readers' sake only: its one writer loads and stores it, which costs what a
//! plain number costs.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::Mutex;

#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// For the one writer.
    #[inline]
    pub fn add(&self, amount: u64) {
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_add(amount), Ordering::Relaxed);
    }

    #[inline]
    pub fn set(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }

    #[inline]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// What INFO commandstats tells of one command.
#[derive(Debug, Default)]
pub struct CommandStats {
    pub calls: Counter,
    pub nanos: Counter,
    pub rejected: Counter,
    pub failed: Counter,
}

/// What INFO keyspace tells of one database of one shard.
#[derive(Debug, Default)]
pub struct DatabaseStats {
    pub keys: Counter,
    pub volatile_keys: Counter,
    pub avg_ttl_ms: Counter,
}

/// Distinct error codes counted; an application that invents codes in scripts must not grow this without end.
const ERROR_CODES_MAX: usize = 128;

#[derive(Debug)]
pub struct ShardStats {
    pub commands: Vec<CommandStats>,
    pub databases: Vec<DatabaseStats>,
    /// By error code (`ERR`, `WRONGTYPE`), with the text's first word.
    pub errors: Mutex<BTreeMap<String, u64>>,

    pub commands_processed: Counter,
    pub connections_received: Counter,
    pub connections_rejected: Counter,
    pub clients: Counter,
    pub blocked_clients: Counter,
    pub bytes_in: Counter,
    pub bytes_out: Counter,
    pub reads: Counter,
    pub writes: Counter,
    pub error_replies: Counter,
    pub keyspace_hits: Counter,
    pub keyspace_misses: Counter,
    pub expired_keys: Counter,
    pub evicted_keys: Counter,
    pub evicted_clients: Counter,
    pub query_buffer_closes: Counter,
    pub output_buffer_closes: Counter,
    pub used_memory: Counter,
    pub clients_memory: Counter,
    /// Bytes of the largest client that may be evicted.
    pub largest_client: Counter,
    pub expire_cycle_us: Counter,
    pub remote_commands: Counter,
    pub transactions: Counter,
    pub transaction_retries: Counter,
    pub loop_turns: Counter,
    /// Changes since the last save.
    pub dirty: Counter,
    pub expired_stale_permille: Counter,
    pub expired_time_cap_reached: Counter,
    pub watching_clients: Counter,
    pub input_buffer_max: Counter,
    pub output_buffer_max: Counter,
    pub lazyfree_pending: Counter,
    pub lazyfreed: Counter,
}

impl ShardStats {
    pub fn new(commands: usize, databases: usize) -> Self {
        ShardStats {
            commands: (0..commands).map(|_| CommandStats::default()).collect(),
            databases: (0..databases).map(|_| DatabaseStats::default()).collect(),
            errors: Mutex::default(),
            commands_processed: Counter::default(),
            connections_received: Counter::default(),
            connections_rejected: Counter::default(),
            clients: Counter::default(),
            blocked_clients: Counter::default(),
            bytes_in: Counter::default(),
            bytes_out: Counter::default(),
            reads: Counter::default(),
            writes: Counter::default(),
            error_replies: Counter::default(),
            keyspace_hits: Counter::default(),
            keyspace_misses: Counter::default(),
            expired_keys: Counter::default(),
            evicted_keys: Counter::default(),
            evicted_clients: Counter::default(),
            query_buffer_closes: Counter::default(),
            output_buffer_closes: Counter::default(),
            used_memory: Counter::default(),
            clients_memory: Counter::default(),
            largest_client: Counter::default(),
            expire_cycle_us: Counter::default(),
            remote_commands: Counter::default(),
            transactions: Counter::default(),
            transaction_retries: Counter::default(),
            loop_turns: Counter::default(),
            dirty: Counter::default(),
            expired_stale_permille: Counter::default(),
            expired_time_cap_reached: Counter::default(),
            watching_clients: Counter::default(),
            input_buffer_max: Counter::default(),
            output_buffer_max: Counter::default(),
            lazyfree_pending: Counter::default(),
            lazyfreed: Counter::default(),
        }
    }

    /// Counts an error reply, by its first word.
    pub fn count_error(&self, text: &str) {
        self.error_replies.add(1);
        let code = text.split(' ').next().unwrap_or("ERR");
        // A panic elsewhere while holding the lock leaves counts that are still counts.
        let mut errors = self.errors.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if let Some(count) = errors.get_mut(code) {
            *count += 1;
        } else if errors.len() < ERROR_CODES_MAX {
            errors.insert(code.to_owned(), 1);
        }
    }

    pub fn keys(&self) -> u64 {
        self.databases.iter().map(|db| db.keys.get()).sum()
    }
}

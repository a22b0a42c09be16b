//! Counters of one shard, written by its thread alone and read by any.
//!
//! A counter is an atomic for the readers' sake only: its one writer loads and stores it, which costs what a
//! plain number costs.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::OnceLock;

use super::error_counts::ErrorCounts;
use super::histogram::Histogram;

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
    /// Made on the first call: most commands are never called.
    latency: OnceLock<Histogram>,
}

impl CommandStats {
    /// None when no call's time was recorded.
    pub fn latency(&self) -> Option<&Histogram> {
        self.latency.get()
    }
}

/// What INFO keyspace tells of one database of one shard.
#[derive(Debug, Default)]
pub struct DatabaseStats {
    pub keys: Counter,
    pub volatile_keys: Counter,
    pub avg_ttl_ms: Counter,
}

/// Declares `ShardStats`: the counters that CONFIG RESETSTAT sets back to zero, and the gauges that it leaves alone.
macro_rules! shard_stats {
    (
        counters { $($(#[$counter_doc:meta])* $counter:ident,)* }
        gauges { $($(#[$gauge_doc:meta])* $gauge:ident,)* }
    ) => {
        #[derive(Debug)]
        pub struct ShardStats {
            pub commands: Vec<CommandStats>,
            pub databases: Vec<DatabaseStats>,
            /// By error code (`ERR`, `WRONGTYPE`), with the text's first word.
            pub errors: ErrorCounts,
            /// `latency-tracking`.
            pub tracks_latency: AtomicBool,
            $($(#[$counter_doc])* pub $counter: Counter,)*
            $($(#[$gauge_doc])* pub $gauge: Counter,)*
        }

        impl ShardStats {
            pub fn new(commands: usize, databases: usize) -> Self {
                ShardStats {
                    commands: (0..commands).map(|_| CommandStats::default()).collect(),
                    databases: (0..databases).map(|_| DatabaseStats::default()).collect(),
                    errors: ErrorCounts::default(),
                    tracks_latency: AtomicBool::new(true),
                    $($counter: Counter::default(),)*
                    $($gauge: Counter::default(),)*
                }
            }

            /// CONFIG RESETSTAT; by the thread that writes them.
            pub fn reset(&self) {
                for command in &self.commands {
                    for counter in [&command.calls, &command.nanos, &command.rejected, &command.failed] {
                        counter.set(0);
                    }
                    if let Some(latency) = command.latency() {
                        latency.reset();
                    }
                }
                self.errors.reset();
                $(self.$counter.set(0);)*
            }
        }
    };
}

shard_stats! {
    counters {
        commands_processed,
        connections_received,
        connections_rejected,
        bytes_in,
        bytes_out,
        reads,
        writes,
        error_replies,
        refused_logins,
        denied_commands,
        denied_keys,
        denied_channels,
        keyspace_hits,
        keyspace_misses,
        expired_keys,
        evicted_keys,
        evicted_clients,
        query_buffer_closes,
        output_buffer_closes,
        expire_cycle_us,
        remote_commands,
        /// What went to other shards: messages, bytes of requests and replies in them, and how many sleepers were woken for that.
        messages_sent,
        message_bytes,
        doorbells,
        /// How often the shard has gone to sleep, and has waited awake instead.
        sleeps,
        awake_waits,
        transactions,
        transaction_retries,
        /// Turns of the loop in which something had arrived, and what they took.
        loop_turns,
        loop_nanos,
        loop_nanos_max,
        cron_nanos,
        commands_per_turn_max,
        expired_stale_permille,
        expired_time_cap_reached,
        lazyfreed,
        aof_delayed_fsync,
    }
    gauges {
        clients,
        blocked_clients,
        clients_in_timeout,
        /// Keys that blocked clients wait for; those whose deletion would wake one.
        blocking_keys,
        blocking_keys_on_nokey,
        used_memory,
        clients_memory,
        /// Bytes of the largest client that may be evicted.
        largest_client,
        /// Changes since the start.
        dirty,
        /// Of the snapshot in progress: keys written, memory copied (bytes; now, at most), when that was found (Unix microseconds).
        snapshot_keys,
        snapshot_copied,
        snapshot_copied_peak,
        snapshot_copied_at_us,
        /// Names with subscribers that the shard counts: of its own channels, and of all patterns.
        pubsub_channels,
        pubsub_patterns,
        pubsub_shard_channels,
        /// Connections that track; keys that they have read, and how many of them have read each, together; prefixes.
        tracking_clients,
        tracking_keys,
        tracking_items,
        tracking_prefixes,
        input_buffer_max,
        output_buffer_max,
        lazyfree_pending,
        /// Bytes deleted that wait to be freed.
        garbage_bytes,
        /// Of the append-only file: bytes of all that would be read at a start, now and after the last rewrite; those not written
        /// yet; those not on the disk yet; whether a sync is under way and how long the last one took; why it fails, 0 if
        /// it does not.
        aof_current_size,
        aof_base_size,
        aof_buffer_length,
        aof_pending_bytes,
        aof_pending_fsync,
        aof_last_fsync_us,
        aof_errno,
        /// Connections whose writes wait for a disk that is slower than they are.
        writers_waiting_for_disk,
        /// Unix seconds; 0: never.
        aof_rewritten_at_s,
    }
}

impl ShardStats {
    /// Counts a call of the command with this id.
    #[inline]
    pub fn called(&self, id: u16, nanos: u64) {
        let command = &self.commands[id as usize];
        command.calls.add(1);
        command.nanos.add(nanos);
        self.commands_processed.add(1);
        if self.tracks_latency.load(Ordering::Relaxed) {
            command.latency.get_or_init(Histogram::default).record(nanos);
        }
    }

    /// Counts an error reply, by its first word.
    pub fn count_error(&self, text: &[u8]) {
        self.error_replies.add(1);
        self.errors.count(text);
    }

    pub fn keys(&self) -> u64 {
        self.databases.iter().map(|db| db.keys.get()).sum()
    }
}

//! What happens ten times a second and not for a request: idle and paused clients, limits, the gauges that
//! INFO reads, and the way to the end.

use crate::shard::connections::Connections;
use crate::shard::message::ConnectionMessage;
use crate::shard::message::MemoryMessage;
use crate::shard::scatter::Question;
use crate::shard::turn::TurnState;
use std::collections::HashMap;
use std::sync::atomic::Ordering;

use smallvec::SmallVec;

use super::shared::Shutdown;
use super::Shard;
use crate::base::log::Level;
use crate::base::Token;
use crate::client::{Connection, Flag, Suspension};
use crate::config::OutputBufferLimit;
use crate::observe::stats::{Counter, ShardStats};
use crate::runtime::purge;
use crate::shard::pause::Ticket;

/// Connections looked at in one cron run.
const CLIENTS_PER_CRON_MIN: usize = 200;
/// A connection idle for so long gives its buffers back.
const IDLE_SHRINK_MS: i64 = 2000;
/// How long a shutdown waits for clients to take their last replies.
const DRAIN_MS: i64 = 1000;
/// The time that all shards have to put together what they have freed before it is purged.
const CRONS_BEFORE_PURGE: u64 = 2;

/// A number for each shard.
pub(super) type Weights = SmallVec<[u64; 16]>;

#[derive(Default)]
pub struct Housekeeping {
    /// Memory that may go back to the system, and that is about to: the cron of this number does it.
    pub shortfall: purge::Shortfall,
    pub purge_at: Option<u64>,
    /// Held back by CLIENT PAUSE: when each was.
    pub paused: HashMap<Token, Ticket, foldhash::fast::RandomState>,
    /// Of each shard whether it has been told to evict, and has not yet.
    pub evicting: Vec<bool>,
    pub stopping: bool,
    /// DEBUG PAUSE-CRON.
    pub is_off: bool,
    stop_at_ms: i64,
    next_client: usize,
    random: u64,
}

/// Have every thread see your figures as they are now.
#[derive(Clone)]
pub struct PublishGauges;

impl Question for PublishGauges {
    type Answer = ();

    fn answer(self, shard: &mut Shard) {
        shard.publish_now();
    }
}

impl TurnState {
    pub(super) fn output_limits(&self, c: &Connection) -> OutputBufferLimit {
        let limits = &self.config.network.client_output_buffer_limit;
        if c.flags.has(Flag::Subscriber) {
            return limits.pubsub;
        }
        let unlimited = limits.normal == OutputBufferLimit::default();
        if c.flags.has(Flag::Monitor) && unlimited {
            // A monitor is a normal client, as in Redis. But what it is sent it did not ask for, so it has a limit in
            // any case.
            limits.replica
        } else {
            limits.normal
        }
    }

    /// Samples what INFO calls instantaneous, for all shards.
    fn sample_rates(&self) {
        let sum = |counter: fn(&ShardStats) -> &Counter| {
            self.shared.stats.iter().map(|s| counter(s).get()).sum::<u64>()
        };
        let now_ms = self.now_ms() as u64;
        let turns = sum(|s| &s.loop_turns);
        let mut rates = self.shared.server_stats.rates();
        rates.commands.sample(sum(|s| &s.commands_processed), now_ms, 1000);
        rates.bytes_in.sample(sum(|s| &s.bytes_in), now_ms, 1000);
        rates.bytes_out.sample(sum(|s| &s.bytes_out), now_ms, 1000);
        rates.loop_turns.sample(turns, now_ms, 1000);
        rates.turn_us.sample(sum(|s| &s.loop_nanos) / 1000, turns, 1);
        self.shared.server_stats.peak_memory(self.shared.used_memory());
    }

    /// Keys of a database, on all shards.
    pub(super) fn key_count(&self, db: usize) -> u64 {
        self.shared.stats.iter().map(|stats| stats.databases[db].keys.get()).sum()
    }
}

impl Connections {
    pub(super) fn resume_congested(&mut self) {
        let congested = std::mem::take(&mut self.congested);
        self.resume(congested, Suspension::Pipeline);
    }

    pub(super) fn resume(&mut self, tokens: Vec<Token>, from: Suspension) {
        for token in tokens {
            if let Some(mut connection) = self.table.take(token) {
                if connection.suspension == from {
                    self.resume_suspended(&mut connection);
                }
                self.table.put_back(connection);
            }
        }
    }
}

impl Housekeeping {
    /// A shard, chosen at random by these weights; `None` when they are all 0.
    pub(super) fn draw_shard(&mut self, turn: &TurnState, weights: &Weights) -> Option<usize> {
        let total: u64 = weights.iter().sum();
        if total == 0 {
            return None;
        }
        // xorshift64*: enough to spread RANDOMKEY.
        let mut x = self.random.wrapping_add(turn.now_us as u64) | 1;
        x ^= x >> 12;
        x ^= x << 25;
        x ^= x >> 27;
        self.random = x;
        let mut at = x.wrapping_mul(0x2545_f491_4f6c_dd1d) % total;
        weights.iter().position(|&weight| {
            let is_here = at < weight;
            at = at.saturating_sub(weight);
            is_here
        })
    }
}

impl Shard {
    pub(super) fn run_cron(&mut self) {
        self.connections.listeners.placed.clear();
        // Somebody waits for each of these; what is behind them is housekeeping, which DEBUG PAUSE-CRON stops.
        self.check_shutdown();
        self.watch_part();
        self.heed_log();
        self.connections.accept_again();
        self.resume_paused();
        self.expire_own_keys();
        self.connections.end_scripts_of_the_gone(&self.turn);
        if self.turn.is_leader() {
            self.shut_down_if_asked();
        }
        if self.upkeep.housekeeping.is_off {
            return;
        }
        let deferred = self.look_for_background_work();
        self.evict_some();
        self.check_clients();
        self.publish_gauges(deferred);
        if self.turn.is_leader() {
            self.shared.migrator.close_idle_links();
            self.turn.sample_rates();
            self.give_memory_back();
            self.save_if_due();
            self.rewrite_if_due();
        }
    }

    fn check_shutdown(&mut self) {
        if self.shared.shutdown.load(Ordering::Acquire) == Shutdown::Asked as u64
            && !self.upkeep.housekeeping.stopping
        {
            self.begin_stop();
        }
    }

    /// Looks at some of the connections: idle ones, buffers, limits.
    fn check_clients(&mut self) {
        let tokens = self.connections.table.tokens();
        if tokens.is_empty() {
            self.connections.account_all_clients(&self.turn);
            return;
        }
        let now_ms = self.turn.now_ms();
        let timeout_ms = i64::from(self.turn.config.network.timeout) * 1000;
        let count = tokens.len().min(CLIENTS_PER_CRON_MIN.max(tokens.len() / 10));
        for step in 0..count {
            let token = tokens[(self.upkeep.housekeeping.next_client + step) % tokens.len()];
            let Some(mut connection) = self.connections.table.take(token) else { continue };
            let c = &mut *connection;
            let idle_ms = now_ms - c.last_active_ms;
            let waits_for_peer = matches!(c.suspension, Suspension::None | Suspension::Output);
            let listens = c.flags.any(Flag::Monitor as u32 | Flag::Subscriber as u32);
            if timeout_ms > 0 && idle_ms > timeout_ms && waits_for_peer && !listens {
                crate::log!(Level::Verbose, "Closing idle client");
                self.close(c);
            } else {
                let idle = idle_ms > IDLE_SHRINK_MS;
                c.shrink_input(idle);
                if idle {
                    self.connections.look_after(c);
                    c.output.shrink();
                    c.pipeline.shrink();
                    c.output.reset_peak();
                    c.parser.release_memory();
                }
            }
            self.check_output_limits(c);
            self.finish(connection);
        }
        self.upkeep.housekeeping.next_client = (self.upkeep.housekeeping.next_client + count) % tokens.len();
        self.connections.account_all_clients(&self.turn);
    }

    /// Closes a connection whose unread output is beyond its class's limits.
    pub(super) fn check_output_limits(&mut self, c: &mut Connection) {
        let pending = c.unsent_bytes() as u64;
        self.stats.output_buffer_max.set(self.stats.output_buffer_max.get().max(pending));
        let limits = self.turn.output_limits(c);
        let hard = limits.hard_bytes > 0 && pending >= limits.hard_bytes;
        let mut soft = false;
        if limits.soft_bytes > 0 && pending >= limits.soft_bytes {
            if c.over_soft_limit_since_ms == 0 {
                c.over_soft_limit_since_ms = self.turn.now_ms();
            } else {
                soft = self.turn.now_ms() - c.over_soft_limit_since_ms > limits.soft_seconds as i64 * 1000;
            }
        } else {
            c.over_soft_limit_since_ms = 0;
        }
        if hard || soft {
            self.close_over_limits(c);
        }
    }

    /// Closes a client, of shard `home`, whose reply is so large that it was not even made whole.
    pub(super) fn close_for_output(&mut self, home: usize, client: Token) {
        self.send(home, ConnectionMessage::CloseOverLimits(client).into());
    }

    /// What `client` would be sent is too much.
    pub(super) fn close_client_over_limits(&mut self, client: Token) {
        let Some(mut connection) = self.connections.table.take(client) else { return };
        self.close_over_limits(&mut connection);
        self.finish(connection);
    }

    fn close_over_limits(&mut self, c: &mut Connection) {
        if c.flags.any(Flag::Closing as u32 | Flag::Replay as u32) {
            return;
        }
        crate::log_text!(
            Level::Warning,
            "Client ",
            self.turn.describe_client(c),
            " scheduled to be closed ASAP for overcoming of output buffer limits."
        );
        self.stats.output_buffer_closes.add(1);
        if !self.turn.slots.is_single() && !c.pipeline.is_empty() {
            self.drop_remote_requests(c);
        }
        self.close(c);
    }

    /// Has every thread see this shard's figures as they are now.
    pub(super) fn publish_now(&mut self) {
        self.connections.account_all_clients(&self.turn);
        self.publish_gauges(self.stats.lazyfree_pending.get() > 0);
    }

    /// Gives back what this thread holds for nothing.
    pub(super) fn sweep_own_memory(&mut self) {
        purge::collect_own();
        self.upkeep.background.sweep_memory(&self.turn);
    }

    /// Has memory that was freed a while ago purged.
    fn give_memory_back(&mut self) {
        if self.upkeep.housekeeping.shortfall.look(self.shared.used_memory() as usize) {
            for shard in self.turn.slots.all() {
                self.send(shard, MemoryMessage::Sweep.into());
            }
            self.upkeep.housekeeping.purge_at = Some(self.upkeep.cron_runs + CRONS_BEFORE_PURGE);
        }
        if self.upkeep.housekeeping.purge_at.is_some_and(|at| self.upkeep.cron_runs >= at) {
            self.upkeep.housekeeping.purge_at = None;
            if let Err(error) = purge::begin() {
                crate::log!(Level::Verbose, "Freed memory cannot be given back to the system now: {error}");
            }
        }
    }

    pub(super) fn publish_gauges(&mut self, lazyfree_deferred: bool) {
        for (index, gauge) in self.stats.databases.iter().enumerate() {
            gauge.keys.set(self.store.len(index) as u64);
            gauge.volatile_keys.set(self.store.volatile_len(index) as u64);
            gauge.avg_ttl_ms.set(self.store.avg_ttl_ms(index).max(0) as u64);
        }
        let stats = &self.store.stats;
        self.stats.keyspace_hits.set(stats.keyspace_hits);
        self.stats.keyspace_misses.set(stats.keyspace_misses);
        self.stats.expired_keys.set(stats.expired_keys);
        self.stats.evicted_keys.set(stats.evicted_keys);
        self.stats.expired_time_cap_reached.set(stats.expired_time_cap_reached_count);
        self.stats.expired_stale_permille.set((stats.expired_stale_perc * 10.0) as u64);
        self.stats.used_memory.set(self.store.used_memory() as u64);
        self.stats.lazyfreed.set(stats.lazyfreed_objects);
        self.count_blocked();
        self.stats.clients.set(self.connections.table.open() as u64);
        self.stats.lazyfree_pending.set(u64::from(lazyfree_deferred));
        self.publish_garbage();
        self.journal.log.publish();
    }

    /// A shard, chosen at random, weighed by its number of keys in `db`; this one when there are none.
    pub(super) fn shard_by_weight(&mut self, db: usize) -> usize {
        let keys = |shard: usize| {
            if shard == self.id {
                self.store.len(db) as u64
            } else {
                self.shared.stats[shard].databases[db].keys.get()
            }
        };
        let keys: Weights = self.turn.slots.all().map(keys).collect();
        self.upkeep.housekeeping.draw_shard(&self.turn, &keys).unwrap_or(self.id)
    }

    /// Stops listening; the connections get `DRAIN_MS` to take their last replies.
    pub(super) fn begin_stop(&mut self) {
        self.upkeep.housekeeping.stopping = true;
        self.upkeep.housekeeping.stop_at_ms = self.turn.now_ms() + DRAIN_MS;
        self.connections.stop_listening(|_| true);
        self.end_applier();
        for token in self.connections.table.tokens() {
            if let Some(mut connection) = self.connections.table.take(token) {
                connection.flags.set(Flag::CloseAfterReply);
                if connection.waiting.is_some()
                    || matches!(connection.suspension, Suspension::Blocked | Suspension::Reply)
                {
                    self.close(&mut connection);
                }
                connection.suspension = Suspension::None;
                self.finish(connection);
            }
        }
    }

    /// Everything that a stopping shard waits for has happened, or took too long.
    pub(super) fn is_drained(&self) -> bool {
        self.connections.table.is_empty()
            && self.peers.outbox.is_empty()
            && self.peers.loopback.is_empty()
            && self.journal.log.is_settled()
            || self.turn.now_ms() > self.upkeep.housekeeping.stop_at_ms
    }
}

//! One shard: a range of slots, the connections that it serves, and its end of the mesh.
//!
//! This is where the rooms meet: completions of the socket ring become input of connections (`io`), input becomes
//! requests (`request`), requests run here (`call`) or travel (`route`, `outbox`), transactions take their steps
//! (`transactions`), questions go to all shards and come back (`asks`). Each file has one of these concerns;
//! this one has the parts and the order of a turn.

mod accept;
mod background;
mod batches;
pub mod blocking;
mod call;
mod client_memory;
pub mod clients;
pub mod commands;
mod connections;
mod cursor;
mod effects;
mod executor;
pub mod following;
mod housekeeping;
mod inbox;
mod info;
mod io;
mod journal;
pub mod loading;
pub mod log;
mod memory_figures;
mod memory_limit;
pub mod message;
mod outbox;
mod partial_outputs;
pub mod pause;
mod peers;
pub mod pubsub;
pub mod push;
mod redact;
mod refusals;
mod remote_output;
mod remote_values;
mod replication;
mod replies;
mod request;
mod route;
pub mod saving;
mod scatter;
pub mod scripts;
mod settings;
mod share;
pub mod shared;
mod slow;
mod subscribers;
mod tracking;
mod transactions;
mod turn;
mod upkeep;
pub mod users;

use crate::shard::turn::TurnState;
use std::sync::atomic::Ordering;
use std::sync::Arc;

use message::Message;
use shared::Shared;

use crate::command::Caller;
use crate::observe::stats::ShardStats;
use crate::rdb;
use crate::runtime::clock;
use crate::runtime::executor::{Service, Turn};
use crate::runtime::mesh::Mesh;
use crate::runtime::ring::{Completion, SocketRing};
use crate::store::Store;

pub use route::Flow;

/// The shard that leads what concerns all of them: snapshots, append-only files, settings, the end.
pub const LEADER: usize = 0;

/// Messages taken from one other shard in one turn, so that its flood does not starve the connections.
const MESSAGES_PER_TURN: usize = 64;
/// So long a shard waits awake for the next message of a transaction, nanoseconds. Going to sleep and being woken takes longer.
const AWAKE_NANOS: u64 = 50_000;

/// What a shard is made of. Each service owns what it keeps; the methods of `Shard` are what needs several of them.
pub struct Shard {
    pub id: usize,
    pub shared: Arc<Shared>,
    pub stats: Arc<ShardStats>,
    pub store: Store,
    /// What this turn goes by: the time, the configuration, the users.
    pub turn: turn::TurnState,
    /// Sockets, what is to be sent and read on them, listeners.
    pub connections: connections::Connections,
    /// What goes to the other shards and comes from them.
    peers: peers::Peers,
    /// What running commands needs between two of them.
    executor: executor::Executor,
    transactions: transactions::Transactions,
    /// What commands did, in order, and where it goes.
    pub journal: journal::Journal,
    /// Snapshots, and what is loaded of what was kept.
    saving: saving::Saving,
    /// What the task that owns replication is to do for this server's clients, and what there is to do as a replica.
    replication: replication::Service,
    scripts: scripts::Scripts,
    /// Who is told of what others do.
    subscribers: subscribers::Subscribers,
    /// What is done between requests.
    upkeep: upkeep::Upkeep,
}

impl TurnState {
    pub(super) fn is_leader(&self) -> bool {
        self.id == LEADER
    }

    pub fn now_ms(&self) -> i64 {
        self.now_us / 1000
    }

    /// What commands may know about the client on whose behalf they run.
    fn caller_of(&self, connection: &crate::client::Connection) -> Caller {
        Caller {
            client_id: connection.id,
            home: self.id as u32,
            connection: slow::pack(connection.token),
            // What is replayed was allowed when it was written.
            user: if connection.flags.has(crate::client::Flag::Replay) { 0 } else { connection.user.serial },
            remembers_reads: connection
                .tracking
                .as_deref()
                .is_some_and(|tracking| tracking.remembers_reads()),
            no_touch: connection.flags.has(crate::client::Flag::NoTouch),
            bulk_len_max: self.config.network.proto_max_bulk_len,
            replaying: connection.flags.has(crate::client::Flag::Replay),
            from_master: connection.flags.has(crate::client::Flag::Master),
            // A stream does not wait.
            deny_blocking: connection.flags.has(crate::client::Flag::Master),
            lazyfree_lazy_user_flush: self.config.memory.lazyfree_lazy_user_flush,
            rdb_format: self.rdb_format(),
            ..Caller::default()
        }
    }

    /// How values are serialised.
    fn rdb_format(&self) -> rdb::Format {
        let version = match self.config.engine.rdb_version {
            10 => rdb::Version::V10,
            _ => rdb::Version::V11,
        };
        let compression = if self.config.persistence.rdbcompression {
            rdb::Compression::Lzf
        } else {
            rdb::Compression::None
        };
        rdb::Format { version, compression }
    }
}

impl Shard {
    pub fn new(id: usize, shared: Arc<Shared>, mesh: Mesh<Message>) -> Self {
        let turn = turn::TurnState::new(id, &shared);
        let stats = shared.stats[id].clone();
        let databases = turn.config.general.databases as usize;
        let mut store = Store::new(turn.slots.slots_of(id), databases);
        store.set_time(turn.now_us / 1000);
        let transactions = transactions::Transactions::default();
        store.guard = Some(transactions.locks.clone());
        let shards = shared.shards;
        let mut shard = Shard {
            id,
            store,
            turn,
            connections: connections::Connections::default(),
            peers: peers::Peers::new(mesh, shards),
            executor: executor::Executor::new(shards),
            journal: journal::Journal::new(
                log::Log::new(id, stats.clone(), shared.logs.clone()),
                transactions.locks.clone(),
            ),
            transactions,
            saving: saving::Saving::default(),
            replication: replication::Service::default(),
            scripts: scripts::Scripts::default(),
            subscribers: subscribers::Subscribers::new(shards),
            upkeep: upkeep::Upkeep::default(),
            stats,
            shared,
        };
        shard.apply_config();
        shard
    }

    /// Takes over a changed configuration.
    fn refresh_config(&mut self) {
        let version = self.shared.config_version.load(Ordering::Acquire);
        if version != self.turn.config_version {
            self.turn.config_version = version;
            self.turn.config = self.shared.current_config();
            self.turn.slots = self.shared.current_slots();
            self.apply_config();
            self.refresh_users();
            self.sleep_with_others();
        }
    }

    /// DEBUG SLEEP of any shard holds them all up.
    fn sleep_with_others(&mut self) {
        let left_us = self.shared.sleep_until_us.load(Ordering::Relaxed) - clock::unix_us();
        if left_us > 0 {
            std::thread::sleep(std::time::Duration::from_micros(left_us as u64));
            self.turn.now_us = clock::unix_us();
            self.store.set_time(self.turn.now_us / 1000);
        }
    }

    fn receive_messages(&mut self) -> bool {
        let mut more = false;
        for source in self.turn.slots.all() {
            let mut taken = 0;
            while taken < MESSAGES_PER_TURN {
                let Some(message) = self.peers.mesh.receive(source) else { break };
                // What another shard sends after CONFIG SET has answered there must find the new configuration here.
                self.refresh_config();
                self.handle_message(source, message);
                self.turn.meter.note_traffic();
                taken += 1;
            }
            more |= taken == MESSAGES_PER_TURN;
        }
        more
    }

    /// Takes in what other threads have posted, to run in this turn.
    fn take_thread_inbox(&mut self) {
        let letters = self.shared.thread_inbox.take(self.id);
        self.peers.loopback.extend(letters);
    }

    fn drain_loopback(&mut self) {
        while let Some(message) = self.peers.loopback.pop_front() {
            self.handle_message(self.id, message);
        }
    }
}

impl Service for Shard {
    fn begin(&mut self) {
        self.turn.number += 1;
        self.turn.meter.begin();
        self.turn.now_us = clock::unix_us();
        self.store.set_time(self.turn.now_us / 1000);
        if self.store.expire_paused {
            self.resume_paused();
        }
        self.refresh_config();
        self.look_into_inbox();
    }

    fn completed(&mut self, ring: &mut SocketRing, completion: Completion) {
        let is_traffic = matches!(
            completion,
            Completion::Received { .. } | Completion::Accepted { .. } | Completion::Starved { .. }
        ) || matches!(completion, Completion::ReceiveEnded { .. });
        if is_traffic {
            self.turn.meter.note_traffic();
        }
        match completion {
            Completion::Received { token, buffer, len, armed } => {
                self.received(ring, token, buffer, len, armed)
            }
            Completion::Sent { token, result } => self.sent(token, result),
            Completion::Starved { token } => self.starved(token),
            Completion::ReceiveEnded { token, errno } => self.receive_ended(token, errno),
            Completion::Accepted { listener, result, armed } => self.accepted(listener, result, armed),
            Completion::FileWritten { token, result } => {
                self.journal.log.wrote(token, result, self.turn.now_us / 1000)
            }
            Completion::FileSynced { token, result } => {
                self.journal.log.synced(token, result, self.turn.now_us / 1000)
            }
            Completion::Doorbell => self.take_thread_inbox(),
        }
    }

    fn turn(&mut self, ring: &mut SocketRing) -> Turn {
        let postponed = std::mem::take(&mut self.peers.next_turn);
        let mut more = self.receive_messages();
        more |= self.run_deferred();
        self.drain_loopback();
        self.do_chores(postponed);
        self.connections.resume_congested();
        self.hand_over_connections();
        if self.gives_connections_away() {
            self.give_away_connections();
        }
        more |= self.run_runnable();
        more |= self.load_slice();
        more |= self.follow_slice();
        more |= self.snapshot_slice();
        let later = self.do_background_work() | self.saving.is_snapshot_under_way();
        self.end_due_waits();
        self.drain_loopback();
        self.log_turn_end(ring);
        let congested = self.send_outbox(ring);
        self.connections.do_ring_jobs(ring);
        self.flush_outputs(ring);
        self.turn.meter.end(&self.stats);
        if self.upkeep.housekeeping.stopping && self.is_drained() {
            // Whether the server may end without it has been decided before.
            let _ = self.end_log();
            return Turn::Stop;
        }
        let waiting = !self.connections.runnable.is_empty() || !self.connections.congested.is_empty();
        if more || congested || waiting || !self.peers.next_turn.is_empty() {
            Turn::Ready
        } else if later {
            Turn::Soon
        } else {
            Turn::Idle
        }
    }

    fn awake_nanos(&mut self) -> u64 {
        if self.turn.slots.is_single() {
            return 0;
        }
        let nanos = if self.transactions.expects_next_step(&self.turn) {
            AWAKE_NANOS
        } else {
            self.peers.asked.awake_nanos()
        };
        self.stats.awake_waits.add(u64::from(nanos > 0));
        nanos
    }

    fn has_message(&self) -> bool {
        self.peers.mesh.has_message()
    }

    fn about_to_sleep(&mut self) -> bool {
        let sleeps = self.peers.mesh.about_to_sleep();
        self.stats.sleeps.add(u64::from(sleeps));
        sleeps
    }

    fn awake(&mut self) {
        self.peers.mesh.awake();
    }

    fn due_at_us(&self) -> Option<i64> {
        let due = [
            self.executor.blocked.next_deadline_us(),
            self.journal.log.due_at_us(),
            self.connections.partial.due_at_us(),
        ];
        due.into_iter().flatten().min()
    }

    fn cron(&mut self) {
        self.upkeep.cron_runs += 1;
        self.turn.meter.note_traffic();
        self.take_thread_inbox();
        self.run_cron();
        self.turn.meter.end_cron(&self.stats);
    }
}

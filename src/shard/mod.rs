//! One shard: a range of slots, the connections that it serves, and its end of the mesh.
//!
//! This is where the rooms meet: completions of the socket ring become input of connections (`io`), input becomes
//! requests (`request`), requests run here or travel (`execute`, `outbox`), transactions take their steps
//! (`transactions`), questions go to all shards and come back (`asks`). Each file has one of these concerns;
//! this one has the parts and the order of a turn.

mod accept;
mod asks;
mod background;
pub mod blocking;
mod client_memory;
pub mod clients;
pub mod commands;
mod effects;
mod execute;
mod far_output;
mod housekeeping;
mod inbox;
mod info;
mod io;
pub mod loading;
mod loans;
pub mod log;
mod memory_figures;
mod memory_limit;
pub mod message;
mod outbox;
pub mod pause;
pub mod pubsub;
pub mod push;
mod redact;
mod request;
pub mod saving;
pub mod scripts;
mod settings;
mod share;
pub mod shared;
mod slow;
mod tracking;
mod transactions;
pub mod users;

use std::collections::{HashMap, VecDeque};
use std::rc::Rc;
use std::sync::atomic::Ordering;
use std::sync::Arc;

use clients::Clients;
use message::Message;
use shared::Shared;

use crate::acl::Users;
use crate::base::{Stamp, Token};
use crate::command::Caller;
use crate::config::Config;
use crate::observe::stats::ShardStats;
use crate::observe::turns::TurnMeter;
use crate::rdb;
use crate::resp::Reply;
use crate::runtime::clock;
use crate::runtime::executor::{Service, Turn};
use crate::runtime::mesh::Mesh;
use crate::runtime::ring::{Completion, SocketRing};
use crate::store::{SlotRange, Store};
use crate::txn::guard::GuardedLocks;
use crate::txn::locks::Number;
use crate::txn::plan::Topology;

pub use asks::Asks;
pub use request::Flow;

/// Messages taken from one other shard in one turn, so that its flood does not starve the connections.
const MESSAGES_PER_TURN: usize = 64;
/// So long a shard waits awake for the next message of a transaction, nanoseconds. Going to sleep and being woken takes longer.
const AWAKE_NANOS: u64 = 50_000;

pub struct Shard {
    pub id: usize,
    pub shared: Arc<Shared>,
    pub config: Arc<Config>,
    config_version: u64,
    pub stats: Arc<ShardStats>,
    pub topology: Topology,
    pub store: Store,
    pub clients: Clients,

    pub log: log::Log,
    held: log::held::Held,

    mesh: Mesh<Message>,
    outbox: outbox::Outbox,
    /// Messages to itself: a transaction's coordinator is often also one of its shards.
    loopback: VecDeque<Message>,

    /// Shared with the store, which deletes no key by itself that a transaction holds.
    locks: Rc<GuardedLocks>,
    /// Who waits behind the intents, or holds them, on this shard.
    lock_owners: HashMap<Number, transactions::Owner, foldhash::fast::RandomState>,
    transactions: transactions::Transactions,
    /// While a connection's command runs inside a transaction: which one, and its index there.
    inside: Option<(crate::txn::message::TransactionId, usize)>,
    asks: Asks,
    effects: effects::Effects,
    saving: saving::Saving,
    loading: Option<Box<loading::Loading>>,
    /// DEBUG RELOAD MERGE: keys that are there already are replaced.
    merges_at_load: bool,
    meetings: loading::Meetings,
    workbench: loans::Workbench,

    /// Connections with output to send / input to run.
    to_flush: Vec<Token>,
    runnable: Vec<Token>,
    /// Operations for the ring, queued where no ring is at hand.
    ring_jobs: Vec<io::RingJob>,
    listeners: accept::Listeners,
    /// A reply that has others in front of it is written here first.
    spare_reply: Reply,

    pub now_us: i64,
    turn_number: u64,
    /// Time that commands have taken here, nanoseconds.
    spent_nanos: u64,
    /// What the reply to a client has at most: the larger of its classes' hard limits, 0 without.
    reply_bytes_max: usize,
    /// The requests of each other shard that wait for its next share.
    arrived: Vec<execute::ArrivedRequests>,
    /// Those that wait for the peer of their connection, by its shard and token.
    set_aside: far_output::SetAside,
    cron_runs: u64,
    slow_log: slow::SlowLog,
    blocked: blocking::Blocked,
    monitors: commands::monitor::Monitors,
    users: Arc<Users>,
    scripts: scripts::Scripts,
    pubsub: pubsub::PubSub,
    pushes: push::Pushes,
    trackers: tracking::Trackers,
    client_memory: client_memory::ClientMemory,
    turn_meter: TurnMeter,
    housekeeping: housekeeping::Housekeeping,
    background: background::Background,
}

impl Shard {
    pub fn new(id: usize, shared: Arc<Shared>, mesh: Mesh<Message>) -> Self {
        let config = shared.current_config();
        let users = shared.current_users();
        let config_version = shared.config_version.load(Ordering::Acquire);
        let stats = shared.stats[id].clone();
        let topology = Topology { shards: shared.shards };
        let mut store = Store::new(SlotRange::of_shard(id, shared.shards), config.general.databases as usize);
        let now_us = clock::unix_us();
        store.set_time(now_us / 1000);
        let locks = Rc::new(GuardedLocks::default());
        store.guard = Some(locks.clone());
        let log = log::Log::new(id, stats.clone(), shared.logs.clone());
        let mut shard = Shard {
            id,
            config,
            config_version,
            stats,
            topology,
            store,
            clients: Clients::default(),
            log,
            held: log::held::Held::default(),
            outbox: outbox::Outbox::new(shared.shards),
            shared,
            mesh,
            loopback: VecDeque::new(),
            locks,
            lock_owners: HashMap::default(),
            transactions: transactions::Transactions::default(),
            inside: None,
            asks: Asks::default(),
            effects: effects::Effects::default(),
            saving: saving::Saving::default(),
            loading: None,
            merges_at_load: false,
            meetings: loading::Meetings::default(),
            workbench: loans::Workbench::default(),
            to_flush: Vec::new(),
            runnable: Vec::new(),
            ring_jobs: Vec::new(),
            listeners: accept::Listeners::default(),
            spare_reply: Reply::default(),
            now_us,
            turn_number: 0,
            spent_nanos: 0,
            reply_bytes_max: 0,
            arrived: (0..topology.shards).map(|_| Default::default()).collect(),
            set_aside: far_output::SetAside::default(),
            cron_runs: 0,
            slow_log: slow::SlowLog::default(),
            blocked: blocking::Blocked::default(),
            monitors: commands::monitor::Monitors::default(),
            users,
            scripts: scripts::Scripts::default(),
            pubsub: pubsub::PubSub::default(),
            pushes: push::Pushes::new(topology.shards),
            trackers: tracking::Trackers::default(),
            client_memory: client_memory::ClientMemory::default(),
            turn_meter: TurnMeter::default(),
            housekeeping: housekeeping::Housekeeping::default(),
            background: background::Background::default(),
        };
        shard.apply_config();
        shard
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

    /// Takes over a changed configuration.
    fn refresh_config(&mut self) {
        let version = self.shared.config_version.load(Ordering::Acquire);
        if version != self.config_version {
            self.config_version = version;
            self.config = self.shared.current_config();
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
            self.now_us = clock::unix_us();
            self.store.set_time(self.now_us / 1000);
        }
    }

    fn receive_messages(&mut self) -> bool {
        let mut more = false;
        for source in 0..self.topology.shards {
            let mut taken = 0;
            while taken < MESSAGES_PER_TURN {
                let Some(message) = self.mesh.receive(source) else { break };
                // What another shard sends after CONFIG SET has answered there must find the new configuration here.
                self.refresh_config();
                self.handle_message(source, message);
                self.turn_meter.note_traffic();
                taken += 1;
            }
            more |= taken == MESSAGES_PER_TURN;
        }
        more
    }

    /// Takes in what other threads have posted, to run in this turn.
    fn take_mail(&mut self) {
        let letters = self.shared.mail.take(self.id);
        self.loopback.extend(letters.into_iter().map(Message::Call));
    }

    fn drain_loopback(&mut self) {
        while let Some(message) = self.loopback.pop_front() {
            self.handle_message(self.id, message);
        }
    }
}

impl Service for Shard {
    fn begin(&mut self) {
        self.turn_number += 1;
        self.turn_meter.begin();
        self.now_us = clock::unix_us();
        self.store.set_time(self.now_us / 1000);
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
            self.turn_meter.note_traffic();
        }
        match completion {
            Completion::Received { token, buffer, len, armed } => {
                self.received(ring, token, buffer, len, armed)
            }
            Completion::Sent { token, result } => self.sent(token, result),
            Completion::Starved { token } => self.starved(token),
            Completion::ReceiveEnded { token, errno } => self.receive_ended(token, errno),
            Completion::Accepted { listener, result, armed } => self.accepted(listener, result, armed),
            Completion::FileWritten { token, result } => self.log.wrote(token, result, self.now_us / 1000),
            Completion::FileSynced { token, result } => self.log.synced(token, result, self.now_us / 1000),
            Completion::Doorbell => self.take_mail(),
        }
    }

    fn turn(&mut self, ring: &mut SocketRing) -> Turn {
        let postponed = std::mem::take(&mut self.asks.next_turn);
        let mut more = self.receive_messages();
        more |= self.run_set_aside();
        self.drain_loopback();
        self.answer_postponed(postponed);
        self.resume_congested();
        self.hand_over_connections();
        more |= self.run_runnable();
        more |= self.load_slice();
        more |= self.snapshot_slice();
        let later = self.do_background_work() | self.is_snapshot_under_way();
        self.end_due_waits();
        self.drain_loopback();
        self.log_turn_end(ring);
        let congested = self.send_outbox(ring);
        self.do_ring_jobs(ring);
        self.flush_outputs(ring);
        self.turn_meter.end(&self.stats);
        if self.housekeeping.stopping && self.is_drained() {
            // Whether the server may end without it has been decided before.
            let _ = self.end_log();
            return Turn::Stop;
        }
        let waiting = !self.runnable.is_empty() || !self.housekeeping.congested.is_empty();
        if more || congested || waiting || !self.asks.next_turn.is_empty() {
            Turn::Ready
        } else if later {
            Turn::Soon
        } else {
            Turn::Idle
        }
    }

    fn expects_message(&mut self) -> bool {
        self.expects_next_step()
    }

    fn await_message(&mut self) -> bool {
        let began = Stamp::now();
        while !self.mesh.has_message() {
            if Stamp::now().nanos_since(began) > AWAKE_NANOS {
                return false;
            }
            // Whoever else wants the core has it.
            std::thread::yield_now();
        }
        true
    }

    fn about_to_sleep(&mut self) -> bool {
        self.mesh.about_to_sleep()
    }

    fn awake(&mut self) {
        self.mesh.awake();
    }

    fn due_at_us(&self) -> Option<i64> {
        let (waits, log) = (self.blocked.next_deadline_us(), self.log.due_at_us());
        waits.into_iter().chain(log).min()
    }

    fn cron(&mut self) {
        self.cron_runs += 1;
        self.turn_meter.note_traffic();
        self.take_mail();
        self.run_cron();
        self.turn_meter.end_cron(&self.stats);
    }
}

//! What the task owns, and what both of its sides need: the history, the stream, the backlog, the replicas.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::Instant;

use tokio::sync::mpsc::{channel, Receiver, WeakUnboundedSender};
use tokio::sync::Notify;

use super::event::{Asked, Event};
use super::failover::Handover;
use super::feed::Feed;
use super::message::{Answer, ReplMessage, SnapshotOrder};
use super::peer::{FromSockets, Peer, SocketEvent};
use super::snapshot::Snapshot;
use super::status::{ReplStatus, Shown};
use super::wait::Waiting;
use super::Post;
use crate::config::Config;
use crate::journal::feed::{Bell, FILL_BYTES_MAX};
use crate::process;
use crate::repl::backlog::{Backlog, ReaderId};
use crate::repl::failover::{Failover, State as FailoverState};
use crate::repl::history::{History, ReplicationId, NO_ID};
use crate::repl::master::handshake::{JobId, Replica, ReplicaId, Replicas, Settings};
use crate::repl::roles::{self, LinkFacts, ReplicaLine};
use crate::repl::sequencer::StreamWriter;
use crate::resp::Reply;

/// The shard that leads what concerns all of them.
pub const LEADER: usize = 0;
/// What sockets have brought and the task has yet to look at; each is a piece of at most `peer::PIECE_BYTES`.
const SOCKET_EVENTS_MAX: usize = 256;
/// A replica is throttled for at half of the lowest limit of its output.
const THROTTLE_PART: u64 = 2;

/// The smallest history, bytes.
const BACKLOG_SIZE_MIN: u64 = 16 * 1024;

pub struct Core {
    pub shards: usize,
    pub config: Arc<Config>,
    /// Which one it is, as shards count them.
    config_version: u64,
    pub status: Arc<ReplStatus>,
    post: Post,
    /// For callbacks on other threads. Does not keep the task alive.
    pub events: WeakUnboundedSender<Event>,
    pub from_sockets: FromSockets,
    pub socket_events: Option<Receiver<SocketEvent>>,
    pub woken: Arc<Notify>,
    started: Instant,

    pub history: History,
    pub writer: StreamWriter,
    pub backlog: Option<Backlog>,
    /// What shards do, on its way into the stream.
    pub feed: Feed,
    pub replicas: Replicas,
    pub peers: BTreeMap<ReplicaId, Peer>,
    pub snapshots: BTreeMap<JobId, Snapshot>,
    /// Places in the backlog that outlive their connections for a while.
    pub kept: BTreeMap<ReplicaId, ReaderId>,
    pub waiting: Waiting,
    pub failover: Failover,
    pub handover: Handover,
    pub is_throttled: bool,
    /// This server follows another one: its snapshots begin where all shards have the stream up to one offset.
    pub is_replica: bool,
    pub held_snapshots: Vec<SnapshotOrder>,
    /// Of a replica: the database that its master's stream has selected there.
    pub stream_db: usize,
    /// The offset at which limits of all replicas were looked at last.
    pub looked_at: u64,
    /// DEBUG SLEEP.
    pub sleeps_until: Option<Instant>,
}

/// `repl-backlog-size`; no smaller than Redis has it, for its blocks are what replicas are sent.
pub fn backlog_size(config: &Config) -> u64 {
    config.replication.repl_backlog_size.max(BACKLOG_SIZE_MIN)
}

/// A random id.
pub fn new_id() -> ReplicationId {
    ReplicationId::parse(process::random_id().as_bytes()).unwrap_or(NO_ID)
}

/// Of a server that has just started, and is a master.
pub fn shown_at_start(id: ReplicationId) -> Shown {
    let history = History::new(id);
    let facts = roles::Facts {
        link: None,
        replicas: Vec::new(),
        good_replicas: None,
        failover: FailoverState::None,
        history: &history,
        offset: 0,
        backlog_size: 0,
        backlog: None,
    };
    shown(&facts)
}

fn shown(facts: &roles::Facts) -> Shown {
    let mut role = Reply::default();
    roles::role(facts, &mut role);
    Shown { info: roles::info(facts), role: role.take_parts().0 }
}

impl Core {
    pub fn new(
        shards: usize,
        config: Arc<Config>,
        id: ReplicationId,
        status: Arc<ReplStatus>,
        post: Post,
        events: WeakUnboundedSender<Event>,
        woken: Arc<Notify>,
    ) -> Core {
        let (sender, socket_events) = channel(SOCKET_EVENTS_MAX);
        let from_sockets = FromSockets { sender, woken: woken.clone() };
        let replicas = Replicas::new(settings(&config));
        let mut core = Core {
            shards,
            config,
            config_version: 0,
            status,
            post,
            events,
            from_sockets,
            socket_events: Some(socket_events),
            woken,
            started: Instant::now(),
            history: History::new(id),
            writer: StreamWriter::new(0, None),
            backlog: None,
            feed: Feed::default(),
            replicas,
            peers: BTreeMap::new(),
            snapshots: BTreeMap::new(),
            kept: BTreeMap::new(),
            waiting: Waiting::default(),
            failover: Failover::default(),
            handover: Handover::default(),
            is_throttled: false,
            is_replica: false,
            held_snapshots: Vec::new(),
            stream_db: 0,
            looked_at: 0,
            sleeps_until: None,
        };
        core.publish(None);
        core
    }

    pub fn now_ms(&self) -> u64 {
        self.started.elapsed().as_millis() as u64
    }

    pub fn tell(&self, shard: usize, message: ReplMessage) {
        (self.post)(shard, message);
    }

    pub fn tell_all(&self, message: impl Fn() -> ReplMessage) {
        (0..self.shards).for_each(|shard| self.tell(shard, message()));
    }

    pub fn answer(&self, asked: Asked, answer: Answer) {
        self.tell(asked.home, ReplMessage::Answer { number: asked.number, answer });
    }

    /// Rung by shards when the feed has something.
    pub fn bell(&self) -> Bell {
        let woken = self.woken.clone();
        Arc::new(move || woken.notify_one())
    }

    /// The data of another history take the place of those of this one: nothing of the stream so far is of use.
    pub fn drop_stream(&mut self) {
        self.backlog = None;
        self.kept.clear();
        self.peers.values_mut().for_each(Peer::forget_stream);
        self.feed.end();
    }

    pub fn configure(&mut self, config: Arc<Config>, version: u64) {
        self.config = config;
        self.config_version = version;
        if !self.config.persistence.appendonly {
            self.log_is_off();
        }
        self.replicas.configure(settings(&self.config));
        if let Some(backlog) = &mut self.backlog {
            backlog.resize(backlog_size(&self.config));
        }
    }

    /// What the stream has grown by goes into the backlog.
    pub fn flush(&mut self) {
        if self.writer.pending().is_empty() {
            return;
        }
        if let Some(backlog) = &mut self.backlog {
            backlog.append(self.writer.pending());
        }
        self.writer.clear();
    }

    /// The same, up to the byte of this offset.
    pub fn flush_up_to(&mut self, offset: u64) {
        let Some(backlog) = &mut self.backlog else { return };
        let len = usize::try_from(offset.saturating_sub(backlog.end())).unwrap_or(usize::MAX);
        backlog.append(self.writer.front(len));
        self.writer.drop_front(len);
    }

    /// What shards see, and commands show. `link`: to the master, of a replica.
    pub fn publish(&mut self, link: Option<LinkFacts>) {
        let now_ms = self.now_ms();
        let counts = self.replicas.counts();
        let status = &self.status;
        let good = self.replicas.good_now(now_ms);
        let is_saving = self.snapshots.values().any(Snapshot::is_being_made);
        status.is_saving.store(is_saving, Ordering::Relaxed);
        status.good_replicas.store(good, Ordering::Relaxed);
        *status.lags_ms.lock().unwrap_or_else(PoisonError::into_inner) = self.replicas.lags_ms(now_ms);
        status.counted_by.store(self.config_version, Ordering::Release);
        status.is_active.store(self.backlog.is_some() || link.is_some(), Ordering::Relaxed);
        status.is_replica.store(link.is_some(), Ordering::Relaxed);
        status.link_is_up.store(link.as_ref().is_some_and(|link| link.is_up), Ordering::Relaxed);
        status.counts.sync_full.store(counts.full, Ordering::Relaxed);
        status.counts.sync_partial_ok.store(counts.partial_ok, Ordering::Relaxed);
        status.counts.sync_partial_err.store(counts.partial_err, Ordering::Relaxed);
        let backlog_bytes = self.backlog.as_ref().map_or(0, Backlog::memory_bytes);
        let peers: u64 = self.peers.values().map(Peer::memory_bytes).sum();
        status.memory.backlog.store(backlog_bytes, Ordering::Relaxed);
        status.memory.buffers.store(backlog_bytes, Ordering::Relaxed);
        status.memory.replicas.store(peers, Ordering::Relaxed);
        let facts = roles::Facts {
            link,
            replicas: self.replicas.iter().filter(|of| of.is_shown()).map(|of| line(of, now_ms)).collect(),
            good_replicas: self.replicas.good_replicas(now_ms),
            failover: self.failover.state(),
            history: &self.history,
            offset: self.writer.offset(),
            backlog_size: backlog_size(&self.config),
            backlog: self.backlog.as_ref().map(|log| (log.first_byte_offset(), log.histlen())),
        };
        status.show(shown(&facts));
    }
}

pub fn line(replica: &Replica, now_ms: u64) -> ReplicaLine {
    let host = replica.peer.rsplit_once(':').map_or(replica.peer.as_str(), |(host, _)| host);
    ReplicaLine {
        host: replica.options.address.clone().unwrap_or_else(|| host.as_bytes().to_vec()),
        port: replica.options.listening_port,
        state: replica.state_name(),
        is_online: replica.is_online(),
        offset: replica.acked.applied,
        lag_ms: replica.lag_ms(now_ms),
    }
}

/// What the configuration says of replicas.
fn settings(config: &Config) -> Settings {
    let repl = &config.replication;
    let limit = &config.network.client_output_buffer_limit.replica;
    let seconds = |seconds: u32| u64::from(seconds) * 1000;
    // A limit below the backlog counts as the backlog.
    let lowest = [limit.hard_bytes, limit.soft_bytes].into_iter().filter(|bytes| *bytes > 0).min();
    Settings {
        timeout_ms: seconds(repl.repl_timeout),
        ping_period_ms: seconds(repl.repl_ping_replica_period),
        diskless: repl.repl_diskless_sync,
        diskless_delay_ms: seconds(repl.repl_diskless_sync_delay),
        diskless_max_replicas: repl.repl_diskless_sync_max_replicas,
        backlog_size: backlog_size(config),
        backlog_ttl_ms: repl.repl_backlog_ttl.saturating_mul(1000),
        hard_limit: limit.hard_bytes,
        soft_limit: limit.soft_bytes,
        soft_ms: limit.soft_seconds * 1000,
        throttle_bytes: lowest.map_or(0, |bytes| bytes.max(backlog_size(config)) / THROTTLE_PART),
        under_way_bytes: FILL_BYTES_MAX as u64,
        min_replicas_to_write: repl.min_replicas_to_write,
        min_replicas_max_lag_ms: seconds(repl.min_replicas_max_lag),
        channels: true,
    }
}

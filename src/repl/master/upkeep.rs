//! The replicas of this server as time passes: acknowledgements, progress, timeouts, limits.

use super::handshake::{Replicas, CHANNEL_GRACE_MS, KEEP_ALIVE_MS, THROTTLE_MS};
use super::replica::{Action, Drop, JobId, Replica, ReplicaId, State, Target};
use super::request::World;
use crate::base::log::Level;

/// How long after another connection with the same address has come an acknowledgement shows that this one is alive, milliseconds.
const DOUBT_MS: u64 = 500;

impl Replicas {
    /// REPLCONF ACK.
    pub fn ack(&mut self, id: ReplicaId, applied: i64, durable: Option<i64>, is_whole: bool, now_ms: u64) {
        let Some(replica) = self.replicas.get_mut(&id) else { return };
        let unsigned = |offset: i64| u64::try_from(offset).unwrap_or(0);
        replica.heard_at_ms = now_ms;
        // One that was on its way when the connection died shows nothing.
        let is_alive = |since: u64| now_ms.saturating_sub(since) >= DOUBT_MS;
        if replica.doubted_since_ms.is_some_and(is_alive) {
            replica.doubted_since_ms = None;
        }
        replica.acked.applied = replica.acked.applied.max(unsigned(applied));
        replica.acked.durable = replica.acked.durable.max(durable.map_or(0, unsigned));
        if !is_whole {
            return;
        }
        replica.ack_at_ms = now_ms;
        if replica.state == (State::Online { held: true }) {
            replica.state = State::Online { held: false };
            self.actions.push(Action::Stream(id, None));
        }
    }

    /// Something has come from the replica, and be it a newline: it is alive, though it may take nothing while it loads.
    pub fn heard(&mut self, id: ReplicaId, now_ms: u64) {
        if let Some(replica) = self.replicas.get_mut(&id) {
            replica.heard_at_ms = now_ms;
        }
    }

    /// The replica has taken bytes, and has `pending` more to take: of the stream, and of a snapshot that goes over its socket.
    pub fn progress(&mut self, id: ReplicaId, took: u64, pending: u64, now_ms: u64) {
        let settings = &self.settings;
        let Some(replica) = self.replicas.get_mut(&id) else { return };
        if took > 0 || pending == 0 {
            replica.progress_at_ms = now_ms;
        }
        replica.pending = pending;
        if pending <= settings.throttle_from() {
            replica.throttled_since_ms = None;
        } else {
            replica.throttled_since_ms.get_or_insert(now_ms);
        }
        // What was on its way to the stream when writers began to wait drops nobody who is alive.
        let under_way = if settings.throttle_bytes > 0 && replica.is_alive(now_ms) {
            settings.under_way_bytes
        } else {
            0
        };
        let hard = settings.hard_limit().saturating_add(under_way);
        let soft = settings.soft_limit.saturating_add(under_way);
        let is_over_soft = settings.soft_limit > 0 && pending >= soft;
        let since = *replica.over_soft_since_ms.get_or_insert(now_ms);
        if !is_over_soft {
            replica.over_soft_since_ms = None;
        }
        let limit = if pending >= hard {
            hard
        } else if is_over_soft && now_ms.saturating_sub(since) > settings.soft_ms {
            soft
        } else {
            return;
        };
        self.drop_replica(id, Drop::OutputLimit { pending, limit }, now_ms);
    }

    /// Whether new writes are to wait now, for a replica that is alive, but slower than they are. To be asked after each step of the
    /// stream, and some times a second at least.
    ///
    /// What a replica may have to take grows ever more slowly towards its limit and never reaches it:
    ///
    /// ```text
    ///   limit   ------------------------------------      a replica above the curve stops the writers, until time or the
    ///                               . - - - - - -         replica has brought it below
    ///                       .  '
    ///                  .'
    ///   from   .......'
    ///                  |<- THROTTLE_MS ->|
    /// ```
    ///
    /// So a replica that loads its snapshot is not dropped at the limit, to begin with another snapshot: writers are slowed down for as
    /// long as it takes, and never stand still.
    pub fn wants_throttle(&self, now_ms: u64) -> bool {
        let settings = &self.settings;
        if settings.throttle_bytes == 0 {
            return false;
        }
        let from = settings.throttle_from();
        let room = settings.ceiling().saturating_sub(from) as f64;
        let is_above = |replica: &Replica| {
            let Some(since) = replica.throttled_since_ms else { return false };
            let passed = now_ms.saturating_sub(since) as f64 / THROTTLE_MS as f64;
            let allowed = from + (room * (1.0 - (-passed).exp())) as u64;
            // While its snapshot becomes a file, it is this server that lets it wait.
            let waits = matches!(replica.state, State::Snapshot { job } if self.jobs.get(&job).is_some_and(|job| job.target == Target::File));
            (waits || replica.is_alive(now_ms)) && replica.pending > allowed
        };
        self.replicas.values().any(is_above)
    }

    /// The connection is gone.
    pub fn gone(&mut self, id: ReplicaId, now_ms: u64) {
        let Some(replica) = self.replicas.remove(&id) else { return };
        self.actions
            .push(Action::Log(Level::Notice, format!("Connection with replica {} lost.", replica.name())));
        self.forget(replica, now_ms);
    }

    pub(super) fn drop_replica(&mut self, id: ReplicaId, cause: Drop, now_ms: u64) {
        let Some(replica) = self.replicas.remove(&id) else { return };
        let name = replica.name();
        match &cause {
            Drop::NoAck => {
                let line = format!("Disconnecting timedout replica (streaming sync): {name}");
                self.log(Level::Warning, line);
            }
            Drop::Stalled => {
                let line = format!("Disconnecting timedout replica (full sync): {name}");
                self.log(Level::Warning, line);
            }
            Drop::NoChannel => {
                let line =
                    format!("Disconnecting replica {name}: the connection for its snapshot did not come");
                self.log(Level::Warning, line);
            }
            Drop::OutputLimit { pending, limit } => {
                let state = replica.state_name();
                let line = format!(
                    "Disconnecting replica {name} for overcoming of output buffer limits: state={state} \
                     pending_bytes={pending} limit_bytes={limit}"
                );
                self.log(Level::Warning, line);
            }
            Drop::SnapshotFailed | Drop::Done => {}
        }
        self.actions.push(Action::Close(id, cause));
        self.forget(replica, now_ms);
    }

    fn forget(&mut self, replica: Replica, now_ms: u64) {
        if replica.is_channel() && replica.options.main_client.is_none() && replica.cause.is_some() {
            // Its replica asks for the stream by another connection, now or soon.
            self.reserved.insert(replica.id, now_ms + CHANNEL_GRACE_MS);
        } else {
            self.actions.push(Action::Release(replica.id));
        }
        if let State::Snapshot { job } = replica.state {
            if self.of_job(job).is_empty() && self.jobs.remove(&job).is_some() {
                self.actions.push(Action::CancelSnapshot(job));
            }
        }
        if self.replicas.is_empty() {
            self.none_since_ms = Some(now_ms);
        }
    }

    /// Time passes: to be called some times a second. `is_paused`: the stream must not grow, for a failover waits for its end.
    pub fn tick(&mut self, world: &World, is_paused: bool, now_ms: u64) {
        // By the period as it is now: one that was set to hours keeps the stream as it is from here on.
        let is_due = |last_ms: u64| now_ms.saturating_sub(last_ms) >= self.settings.ping_period_ms;
        if self.last_ping_ms.is_none_or(is_due) {
            self.last_ping_ms = Some(now_ms);
            // A replica sends on what its own master sends, PINGs included.
            if !self.replicas.is_empty() && !world.is_replica && !is_paused {
                self.actions.push(Action::Ping);
            }
        }
        if now_ms >= self.next_keep_alive_ms {
            self.next_keep_alive_ms = now_ms + KEEP_ALIVE_MS;
            let jobs = &self.jobs;
            let waits = |replica: &&Replica| match replica.state {
                State::WaitSnapshot => true,
                State::Snapshot { job } => {
                    jobs.get(&job).is_some_and(|job| job.target == Target::File || job.offset.is_none())
                }
                _ => false,
            };
            let ids = self.replicas.values().filter(waits).map(|replica| replica.id);
            self.actions.extend(ids.map(|id| Action::Send(id, b"\n".to_vec())));
        }
        let timeout_ms = self.settings.timeout_ms;
        let is_over = |since_ms: u64| now_ms.saturating_sub(since_ms) > timeout_ms;
        let mut dropped = Vec::new();
        for replica in self.replicas.values() {
            let to_socket = |job: &JobId| {
                self.jobs.get(job).is_some_and(|job| job.target == Target::Sockets && job.offset.is_some())
            };
            match &replica.state {
                State::Online { .. } | State::Streaming if !replica.is_old && is_over(replica.ack_at_ms) => {
                    dropped.push((replica.id, Drop::NoAck));
                }
                State::Snapshot { job } if to_socket(job) && is_over(replica.progress_at_ms) => {
                    dropped.push((replica.id, Drop::Stalled));
                }
                State::SendFile { .. } if is_over(replica.progress_at_ms.max(replica.heard_at_ms)) => {
                    dropped.push((replica.id, Drop::Stalled));
                }
                State::WaitChannel if is_over(replica.since_ms) => {
                    dropped.push((replica.id, Drop::NoChannel));
                }
                _ => {}
            }
        }
        for (id, cause) in dropped {
            self.drop_replica(id, cause, now_ms);
        }
        let late: Vec<ReplicaId> =
            self.reserved.iter().filter(|(_, until)| **until <= now_ms).map(|(id, _)| *id).collect();
        late.into_iter().for_each(|id| self.release(id));
        let ttl_ms = self.settings.backlog_ttl_ms;
        let is_idle = self.none_since_ms.is_some_and(|since| now_ms.saturating_sub(since) > ttl_ms);
        if ttl_ms > 0 && is_idle && world.backlog.is_some() && !world.is_replica && self.reserved.is_empty() {
            self.none_since_ms = None;
            self.actions.push(Action::FreeBacklog);
            let seconds = ttl_ms / 1000;
            let line =
                format!("Replication backlog freed after {seconds} seconds without connected replicas.");
            self.log(Level::Notice, line);
        }
        self.start_snapshots(now_ms);
    }

    /// All are to be disconnected: this server's own history has changed, and they must ask again.
    pub fn disconnect_all(&mut self, now_ms: u64) {
        let ids: Vec<ReplicaId> = self.replicas.keys().copied().collect();
        for id in ids {
            self.drop_replica(id, Drop::Done, now_ms);
        }
    }
}

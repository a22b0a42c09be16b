//! The replicas of this server: how they get in, how they are kept up to date, and why they are dropped.
//!
//! Events come in (a request, a snapshot that has begun, an acknowledgement, a second that has passed), and [`Action`]s go out. The states
//! of a replica, with what INFO calls them:
//!
//! ```text
//!             PSYNC: the backlog has it
//!   request ------------------------------------------------------------> Online (online)
//!      |                                                                   ^
//!      | full                                                              |
//!      v           a snapshot begins               to a file, sent whole   |
//!   WaitSnapshot -----------------> Snapshot ------------> SendFile -------+
//!   (wait_bgsave)                   (wait_bgsave)          (send_bulk)     |
//!                                      |   over the socket, all written    |
//!                                      +------> Online, held until the first acknowledgement
//!
//!   With a connection of its own for the snapshot, Redis 8's way:
//!   request -> WaitChannel -> Streaming (send_bulk_and_stream), when the snapshot begins -> Online
//! ```
//!
//! A replica's bytes are kept from the snapshot's offset on by a reader of the backlog ([`Action::Hold`]), and leave when its state allows
//! it ([`Action::Stream`]). Bounds: replicas are clients, bounded by `maxclients`; what one has not taken, by
//! `client-output-buffer-limit replica`; new writes are slowed down before that ([`Replicas::wants_throttle`]), but not for one
//! of which nothing is heard for [`THROTTLE_PATIENCE_MS`].

use std::collections::BTreeMap;

use super::options::{Capabilities, Filter, Options};
pub use super::replica::{Action, Counts, Cut, Drop, JobId, Replica, ReplicaId, State, Target};
pub use super::request::{Request, World};
use super::wait::Acked;
use crate::base::log::Level;
use crate::command::CommandError;
use crate::repl::history::{Decision, FullCause, History};
use crate::store::parse_integer;

/// A replica that takes nothing for so long, and of which nothing is heard, slows nobody down any more, milliseconds.
pub const THROTTLE_PATIENCE_MS: u64 = 5_000;
/// In each such time two thirds of the room are used that is left below the limit, milliseconds.
pub(super) const THROTTLE_MS: u64 = 10_000;
/// How long the stream is kept for a Valkey replica whose snapshot came by another connection, milliseconds.
pub(super) const CHANNEL_GRACE_MS: u64 = 60_000;
pub(super) const KEEP_ALIVE_MS: u64 = 1_000;

/// What the configuration says.
#[derive(Clone, Debug)]
pub struct Settings {
    /// `repl-timeout`, milliseconds.
    pub timeout_ms: u64,
    /// `repl-ping-replica-period`, milliseconds.
    pub ping_period_ms: u64,
    /// `repl-diskless-sync`.
    pub diskless: bool,
    pub diskless_delay_ms: u64,
    /// 0: never earlier than the delay.
    pub diskless_max_replicas: u32,
    pub backlog_size: u64,
    /// 0: for ever.
    pub backlog_ttl_ms: u64,
    /// `client-output-buffer-limit replica`: bytes (0: none), bytes for so long.
    pub hard_limit: u64,
    pub soft_limit: u64,
    pub soft_ms: u64,
    /// New writes are slowed down while a replica has more than this to take, bytes; or more than half of what its limit lets it have,
    /// if that is less. 0: never.
    pub throttle_bytes: u64,
    /// What may be on its way into the stream when writers are slowed down, bytes: a replica that takes what it can may have so much more
    /// to take than its hard limit.
    pub under_way_bytes: u64,
    pub min_replicas_to_write: u32,
    pub min_replicas_max_lag_ms: u64,
    /// Whether snapshots may have a connection of their own.
    pub channels: bool,
}

impl Settings {
    /// A limit below the backlog would drop a replica that could go on at once.
    pub(super) fn hard_limit(&self) -> u64 {
        match self.hard_limit {
            0 => u64::MAX,
            limit => limit.max(self.backlog_size),
        }
    }

    /// What throttling lets a replica have to take at most. The rest up to the limit is for what is on its way to the stream.
    pub(super) fn ceiling(&self) -> u64 {
        let limit = match self.soft_limit {
            0 => self.hard_limit(),
            soft => soft.min(self.hard_limit()),
        };
        match limit {
            u64::MAX => self.throttle_bytes.saturating_mul(2),
            limit => limit - limit / 8,
        }
    }

    pub(super) fn throttle_from(&self) -> u64 {
        self.throttle_bytes.min(self.ceiling() / 2)
    }
}

#[derive(Debug)]
pub(super) struct Job {
    pub target: Target,
    pub filter: Filter,
    pub capabilities: Capabilities,
    /// Offset of the last byte that it has; `None`: not begun.
    pub offset: Option<u64>,
}

#[derive(Debug)]
pub struct Replicas {
    pub(super) settings: Settings,
    pub(super) replicas: BTreeMap<ReplicaId, Replica>,
    pub(super) jobs: BTreeMap<JobId, Job>,
    pub(super) jobs_made: u64,
    /// Valkey's snapshot connections that are done or gone, and until when their stream is kept.
    pub(super) reserved: BTreeMap<ReplicaId, u64>,
    pub(super) counts: Counts,
    pub(super) causes: BTreeMap<&'static str, u64>,
    pub(super) last_ping_ms: Option<u64>,
    pub(super) next_keep_alive_ms: u64,
    pub(super) none_since_ms: Option<u64>,
    pub(super) actions: Vec<Action>,
}

impl Replicas {
    pub fn new(settings: Settings) -> Replicas {
        Replicas {
            settings,
            replicas: BTreeMap::new(),
            jobs: BTreeMap::new(),
            jobs_made: 0,
            reserved: BTreeMap::new(),
            counts: Counts::default(),
            causes: BTreeMap::new(),
            last_ping_ms: None,
            next_keep_alive_ms: 0,
            none_since_ms: None,
            actions: Vec::new(),
        }
    }

    pub fn configure(&mut self, settings: Settings) {
        self.settings = settings;
    }

    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Whether the replica is getting its snapshot by its socket.
    pub fn gets_snapshot(&self, id: ReplicaId) -> bool {
        self.replicas.get(&id).is_some_and(|replica| matches!(replica.state, State::Snapshot { .. }))
    }

    /// Whether the stream is kept for a while after the connection that carried a snapshot.
    pub fn is_reserved(&self, id: ReplicaId) -> bool {
        self.reserved.contains_key(&id)
    }

    pub fn take_actions(&mut self) -> Vec<Action> {
        std::mem::take(&mut self.actions)
    }

    pub fn iter(&self) -> impl Iterator<Item = &Replica> {
        self.replicas.values()
    }

    pub fn get(&self, id: ReplicaId) -> Option<&Replica> {
        self.replicas.get(&id)
    }

    pub fn is_empty(&self) -> bool {
        self.replicas.is_empty()
    }

    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// Full synchronisations by cause.
    pub fn causes(&self) -> &BTreeMap<&'static str, u64> {
        &self.causes
    }

    /// Of those that are online, for WAIT.
    pub fn acks(&self) -> Vec<Acked> {
        self.replicas.values().filter(|replica| replica.counts()).map(|replica| replica.acked).collect()
    }

    /// INFO's `min_slaves_good_slaves`; `None` while nothing is demanded.
    pub fn good_replicas(&self, now_ms: u64) -> Option<u32> {
        let settings = &self.settings;
        if settings.min_replicas_to_write == 0 || settings.min_replicas_max_lag_ms == 0 {
            return None;
        }
        Some(self.good_now(now_ms))
    }

    /// Replicas that are online and not late, whether or not some are demanded.
    pub fn good_now(&self, now_ms: u64) -> u32 {
        // Seconds, as in Redis: a lag of 10.9 seconds is one of 10.
        let lag_max_s = self.settings.min_replicas_max_lag_ms / 1000;
        let is_good = |replica: &&Replica| replica.counts() && replica.lag_ms(now_ms) / 1000 <= lag_max_s;
        self.replicas.values().filter(is_good).count() as u32
    }

    /// Of those that WAIT would count: when they acknowledged last, milliseconds ago.
    pub fn lags_ms(&self, now_ms: u64) -> Vec<u64> {
        self.replicas
            .values()
            .filter(|replica| replica.counts())
            .map(|replica| replica.lag_ms(now_ms))
            .collect()
    }

    /// Whether `min-replicas-to-write` lets a master write.
    pub fn may_write(&self, now_ms: u64) -> bool {
        self.good_replicas(now_ms).is_none_or(|good| good >= self.settings.min_replicas_to_write)
    }

    pub(super) fn log(&mut self, level: Level, text: String) {
        self.actions.push(Action::Log(level, text));
    }

    /// SYNC or PSYNC came. `Err`: the answer; the connection stays what it was. `has_output`: replies of it have not left yet.
    #[allow(clippy::too_many_arguments)] // what a request of a replica may depend on
    pub fn request(
        &mut self,
        id: ReplicaId,
        options: Options,
        peer: String,
        request: Request,
        world: &World,
        has_output: bool,
        now_ms: u64,
    ) -> Result<(), CommandError> {
        if self.replicas.contains_key(&id) {
            return Ok(());
        }
        if world.failing_over {
            return Err(CommandError::other("NOMASTERLINK Can't SYNC while failing over"));
        }
        if world.is_replica && !world.link_up {
            return Err(CommandError::other("NOMASTERLINK Can't SYNC while not connected with my master"));
        }
        if has_output {
            return Err(CommandError::other("ERR SYNC and PSYNC are invalid with pending output"));
        }
        if options.filter.is_any() && !options.capabilities.eof {
            return Err(CommandError::other("ERR Filtered replica requires EOF capability"));
        }
        let mut replica = Replica {
            id,
            options,
            peer,
            state: State::WaitSnapshot,
            is_old: request == Request::Sync,
            acked: Acked::default(),
            ack_at_ms: now_ms,
            doubted_since_ms: None,
            progress_at_ms: now_ms,
            heard_at_ms: now_ms,
            throttled_since_ms: None,
            since_ms: now_ms,
            over_soft_since_ms: None,
            pending: 0,
            cause: None,
            snapshot_bytes: 0,
        };
        let name = replica.name();
        self.log(Level::Notice, format!("Replica {name} asks for synchronization"));
        let decision = match request {
            Request::Sync => Decision::Full(FullCause::Sync),
            Request::Psync { id, offset, .. } => {
                let Some(offset) = parse_integer(offset) else {
                    self.log(
                        Level::Warning,
                        format!("Replica {name} asks for synchronization but with a wrong offset"),
                    );
                    return Err(CommandError::NotInteger);
                };
                let decision = world.history.decide(id, offset, world.backlog);
                if let Decision::Full(cause) = decision {
                    for (is_warning, line) in world.history.log_lines(cause, id, &name) {
                        let level = if is_warning { Level::Warning } else { Level::Notice };
                        self.log(level, line);
                    }
                }
                decision
            }
        };
        self.none_since_ms = None;
        // Replicas may share an address (behind NAT), so the older connection is not closed.
        for other in self.replicas.values_mut().filter(|other| !replica.is_channel() && other.name() == name)
        {
            other.doubted_since_ms = Some(now_ms);
        }
        match decision {
            Decision::Continue { from } => {
                self.counts.partial_ok += 1;
                let line = if replica.options.capabilities.psync2 {
                    format!("+CONTINUE {}\r\n", world.history.id())
                } else {
                    "+CONTINUE\r\n".to_owned()
                };
                let bytes = (world.offset + 1).saturating_sub(from);
                self.actions.push(Action::Send(id, line.into_bytes()));
                // What was held for its snapshot's connection begins at the same place.
                self.actions.push(Action::Stream(id, Some(from)));
                if let Some(channel) = replica.options.rdb_client {
                    self.release(channel);
                }
                self.log(
                    Level::Notice,
                    format!(
                        "Partial resynchronization request from {name} accepted. Sending {bytes} bytes of backlog \
                         starting from offset {from}."
                    ),
                );
                replica.state = State::Online { held: false };
                self.replicas.insert(id, replica);
            }
            Decision::Full(cause) => self.full(replica, cause, world, now_ms),
        }
        Ok(())
    }

    pub(super) fn release(&mut self, channel: ReplicaId) {
        if self.reserved.remove(&channel).is_some() {
            self.actions.push(Action::Release(channel));
        }
    }

    fn full(&mut self, mut replica: Replica, cause: FullCause, world: &World, now_ms: u64) {
        self.counts.partial_err += u64::from(cause.is_failed_partial());
        let id = replica.id;
        let capabilities = replica.options.capabilities;
        let is_main = !replica.options.rdb_channel && !replica.options.rdb_only && !replica.is_old;
        let by_channel = self.settings.channels && self.settings.diskless && capabilities.eof && is_main;
        if by_channel && capabilities.dual_channel {
            // It asks again on this connection, as soon as it knows from where.
            self.actions.push(Action::Send(id, b"+DUALCHANNELSYNC\r\n".to_vec()));
            return;
        }
        if world.backlog.is_none() && !self.actions.contains(&Action::MakeBacklog) {
            self.actions.push(Action::MakeBacklog);
        }
        replica.cause = Some(cause);
        if by_channel && capabilities.rdb_channel {
            self.actions.push(Action::Send(id, format!("+RDBCHANNELSYNC {id}\r\n").into_bytes()));
            replica.state = State::WaitChannel;
            self.replicas.insert(id, replica);
            return;
        }
        self.counts.full += 1;
        *self.causes.entry(cause.name()).or_default() += 1;
        let joins = self.jobs.iter().find(|(_, job)| {
            let has_all = job.capabilities.and(capabilities) == job.capabilities;
            // Where a snapshot becomes a file, who comes late gets the same one, if the stream since then is still here.
            let from = job.offset.map(|offset| offset + 1);
            let is_kept = from.is_some_and(|from| world.backlog.is_some_and(|log| log.contains(from)));
            job.target == Target::File && job.filter == replica.options.filter && has_all && is_kept
        });
        let joined = joins.and_then(|(id, job)| Some((*id, job.offset?)));
        self.replicas.insert(id, replica);
        if let Some((job, offset)) = joined {
            self.begin(id, job, offset, world.history);
            self.log(Level::Notice, "Waiting for end of BGSAVE for SYNC".into());
        }
        self.start_snapshots(now_ms);
    }

    /// Begins a snapshot for those that wait, if it is time.
    pub(super) fn start_snapshots(&mut self, now_ms: u64) {
        if self.jobs.values().any(|job| job.offset.is_none()) {
            return;
        }
        let mut waiting =
            self.replicas.values().filter(|replica| replica.state == State::WaitSnapshot).peekable();
        let Some(first) = waiting.peek() else { return };
        let filter = first.options.filter;
        let group: Vec<&Replica> = waiting.filter(|replica| replica.options.filter == filter).collect();
        let capabilities = group.iter().map(|replica| replica.options.capabilities);
        let Some(capabilities) = capabilities.reduce(Capabilities::and) else { return };
        let to_sockets = (self.settings.diskless || filter.is_any()) && capabilities.eof;
        let waited_ms =
            group.iter().map(|replica| now_ms.saturating_sub(replica.since_ms)).max().unwrap_or(0);
        let enough = self.settings.diskless_max_replicas;
        let is_due = !to_sockets
            || waited_ms >= self.settings.diskless_delay_ms
            || (enough > 0 && group.len() as u64 >= u64::from(enough));
        if !is_due {
            return;
        }
        let target = if to_sockets { Target::Sockets } else { Target::File };
        let versions = group.iter().map(|replica| replica.options.version).collect();
        let ids: Vec<ReplicaId> = group.iter().map(|replica| replica.id).collect();
        self.jobs_made += 1;
        let job = self.jobs_made;
        self.jobs.insert(job, Job { target, filter, capabilities, offset: None });
        for id in ids {
            if let Some(replica) = self.replicas.get_mut(&id) {
                replica.state = State::Snapshot { job };
            }
        }
        let kind = if to_sockets { "replicas sockets" } else { "disk" };
        self.log(Level::Notice, format!("Starting BGSAVE for SYNC with target: {kind}"));
        self.actions.push(Action::StartSnapshot { job, target, filter, versions });
    }

    pub(super) fn of_job(&self, job: JobId) -> Vec<ReplicaId> {
        let is_of = |replica: &&Replica| match replica.state {
            State::Snapshot { job: of } | State::SendFile { job: of } => of == job,
            _ => false,
        };
        self.replicas.values().filter(is_of).map(|replica| replica.id).collect()
    }

    /// The cut was made: a snapshot has begun.
    pub fn snapshot_began(&mut self, job: JobId, cut: Cut, history: &History) {
        let Some(target) = self.jobs.get_mut(&job).map(|of| {
            of.offset = Some(cut.offset);
            of.target
        }) else {
            return;
        };
        for id in self.of_job(job) {
            let Some(replica) = self.replicas.get(&id) else { continue };
            let (is_channel, main) = (replica.is_channel(), replica.options.main_client);
            if is_channel && main.is_none() {
                // Valkey: the end of the snapshot, and which connection it was.
                let (offset, history, db) = (cut.offset, history.id(), cut.stream_db);
                let line = format!("$ENDOFF:{offset} {history} {db} {id}\r\n");
                self.actions.push(Action::Send(id, line.into_bytes()));
                self.actions.push(Action::Hold(id, cut.offset + 1));
                if let Some(replica) = self.replicas.get_mut(&id) {
                    replica.state = State::Snapshot { job };
                }
            } else {
                self.begin(id, job, cut.offset, history);
            }
            if target == Target::Sockets {
                let line = [b"$EOF:", &cut.mark[..], b"\r\n"].concat();
                self.actions.push(Action::Send(id, line));
            }
        }
    }

    /// A replica gets the snapshot of `job`, which has the stream up to `offset`.
    fn begin(&mut self, id: ReplicaId, job: JobId, offset: u64, history: &History) {
        let Some(replica) = self.replicas.get_mut(&id) else { return };
        replica.state = State::Snapshot { job };
        let (is_old, rdb_only) = (replica.is_old, replica.options.rdb_only);
        let main = replica.options.main_client.filter(|_| replica.options.rdb_channel);
        if !is_old {
            let line = format!("+FULLRESYNC {} {offset}\r\n", history.id());
            self.actions.push(Action::Send(id, line.into_bytes()));
        }
        match main.and_then(|main| self.replicas.get_mut(&main)) {
            Some(main) if main.state == State::WaitChannel => {
                main.state = State::Streaming;
                let main = main.id;
                self.actions.push(Action::Stream(main, Some(offset + 1)));
            }
            Some(_) => {}
            None if rdb_only => {}
            None => self.actions.push(Action::Hold(id, offset + 1)),
        }
    }

    /// A snapshot is complete: the file is there, or all of it has been written to the sockets, its mark included.
    pub fn snapshot_ended(&mut self, job: JobId, outcome: Option<u64>, now_ms: u64) {
        let Some(ended) = self.jobs.remove(&job) else { return };
        for id in self.of_job(job) {
            let Some(bytes) = outcome else {
                self.log(Level::Warning, "BGSAVE for replication failed".into());
                if ended.offset.is_none() {
                    let line = b"-ERR BGSAVE failed, replication can't continue\r\n".to_vec();
                    self.actions.push(Action::Send(id, line));
                }
                self.drop_replica(id, Drop::SnapshotFailed, now_ms);
                continue;
            };
            if let Some(replica) = self.replicas.get_mut(&id) {
                replica.snapshot_bytes = bytes;
                replica.progress_at_ms = now_ms;
            }
            match ended.target {
                Target::Sockets => self.has_snapshot(id, true, now_ms),
                Target::File => {
                    if let Some(replica) = self.replicas.get_mut(&id) {
                        replica.state = State::SendFile { job };
                    }
                    self.actions.push(Action::Send(id, format!("${bytes}\r\n").into_bytes()));
                    self.actions.push(Action::SendFile(id, job));
                }
            }
        }
        self.start_snapshots(now_ms);
    }

    /// The whole file has been written to the replica's socket.
    pub fn file_sent(&mut self, id: ReplicaId, now_ms: u64) {
        if self.replicas.get(&id).is_some_and(|replica| matches!(replica.state, State::SendFile { .. })) {
            self.has_snapshot(id, false, now_ms);
        }
    }

    pub(super) fn has_snapshot(&mut self, id: ReplicaId, held: bool, now_ms: u64) {
        let Some(replica) = self.replicas.get_mut(&id) else { return };
        let name = replica.name();
        let (cause, bytes) = (replica.cause.map_or("", FullCause::name), replica.snapshot_bytes);
        let seconds = now_ms.saturating_sub(replica.since_ms) as f64 / 1000.0;
        replica.ack_at_ms = now_ms;
        let is_done = replica.options.rdb_only || replica.is_channel();
        let main = replica.options.main_client;
        replica.state = if is_done { State::Done } else { State::Online { held } };
        self.log(
            Level::Notice,
            format!(
                "Full sync of replica {name}: cause={cause} bytes={bytes} seconds={seconds:.3} outcome=ok"
            ),
        );
        if !is_done {
            self.log(Level::Notice, format!("Synchronization with replica {name} succeeded"));
            if !held {
                self.actions.push(Action::Stream(id, None));
            }
            return;
        }
        match main.and_then(|main| self.replicas.get_mut(&main)) {
            Some(main) if main.state == State::Streaming => {
                main.state = State::Online { held: false };
                main.ack_at_ms = now_ms;
            }
            _ => {}
        }
        self.log(
            Level::Notice,
            format!("RDB transfer completed, rdb only replica ({name}) should be disconnected asap"),
        );
        self.drop_replica(id, Drop::Done, now_ms);
    }
}

#[cfg(test)]
#[path = "handshake_tests.rs"]
mod tests;

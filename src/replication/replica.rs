//! This server as a replica: whom it follows, and what comes over the link.
//!
//! ```text
//!            REPLICAOF                 barrier               what was done as a master
//!   Master ------------> Becoming ---------------> Draining -- is in the stream ----------> Following
//!      ^                    ^                                                               |     |
//!      |                    +-------- all that was given out is applied -- REPLICAOF -------+     |
//!      +-- barrier -- Promoting <---- all that was given out is applied -- REPLICAOF NO ONE ------+
//! ```
//!
//! `repl` decides: `Link` what bytes mean, `Cutter` where commands begin, `Schedule` which shard runs them when. Here are the socket, the
//! file, and the messages to shards. What takes several steps rests as a state; each round looks what can go on.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::mpsc::Sender;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::core::{new_id, Core, LEADER};
use super::event::{Asked, Event};
use super::follow::{AsideReport, FollowEvent, FollowMessage, Told};
use super::link::{Connection, LinkEvent};
use super::message::{Answer, ReplMessage};
use super::payload::PayloadFile;
use super::task;
use crate::base::log::{self, Level};
use crate::config::Config;
use crate::journal::Ticket;
use crate::repl::backlog::Backlog;
use crate::repl::replica::forward::Forward;
use crate::repl::replica::link::{Action, Link, Resume, Settings};
use crate::repl::replica::stream::{Bounds, Cutter, Schedule, Target, WorkId};
use crate::repl::roles::LinkFacts;
use crate::repl::sequencer::StreamWriter;
use crate::repl::wire::shown;

/// What waits for shards, bytes; from then on the link is not read.
const SCHEDULE_BYTES_MAX: usize = 16 << 20;
/// A command of a master, and a transaction of one, bytes.
const COMMAND_BYTES_MAX: usize = 1 << 30;
const TRANSACTION_BYTES_MAX: usize = 1 << 30;
/// Pieces of input that are looked at in one round.
const PIECES_MAX: usize = 32;

/// A server to follow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Master {
    pub host: Vec<u8>,
    pub port: u16,
}

/// REPLICAOF, SLAVEOF, what the configuration says, or a failover.
#[derive(Debug)]
pub struct Order {
    /// `None`: NO ONE.
    pub master: Option<Master>,
    pub asked: Option<Asked>,
    /// This server was the master itself, and asks the other one to become one.
    pub is_failover: bool,
    /// Who has said so, for the log.
    pub client: Vec<u8>,
    /// Told when every shard has its role, at the start.
    pub begun: Option<Sender<()>>,
}

#[derive(Default)]
enum Stage {
    #[default]
    Master,
    /// Shards have been told to become those of a replica.
    Becoming(Order),
    /// They are; what they did before is on its way into the stream.
    Draining {
        order: Order,
        next: Ticket,
    },
    Following,
    /// What shards were given is being applied; then comes the order.
    Settling(Order),
    /// Shards have been told to become those of a master.
    Promoting(Order),
}

/// How far a snapshot is.
enum Incoming {
    /// On its way into the file.
    File { file: PayloadFile, start: Option<Resume>, has_all: bool },
    /// Shards load it.
    Loading { file: PayloadFile, start: Option<Resume>, missing: usize, report: Result<AsideReport, String> },
    /// It takes the place of what was here.
    TakingOver { file: PayloadFile, start: Option<Resume>, report: AsideReport },
}

/// What follows another server.
#[derive(Default)]
pub struct Follower {
    stage: Stage,
    orders: VecDeque<Order>,
    active: Option<Box<Active>>,
    /// Counts loads, so that what a given-up one says is known as such.
    loads: u64,
}

struct Active {
    master: Master,
    link: Link,
    cutter: Cutter,
    schedule: Schedule,
    forward: Forward,
    connection: Option<Connection>,
    /// Input that the link does not want yet.
    held: Bytes,
    retry_at_ms: Option<u64>,
    incoming: Option<Incoming>,
    /// Snapshots for this server's own replicas that begin at the schedule's barrier, and have not yet.
    cuts: usize,
}

impl Follower {
    /// Whether this server is a replica.
    pub fn is_replica(&self) -> bool {
        match &self.stage {
            Stage::Master => false,
            Stage::Becoming(_) | Stage::Draining { .. } | Stage::Following | Stage::Settling(_) => true,
            Stage::Promoting(_) => false,
        }
    }

    /// It has its master's data, and the stream.
    pub fn is_up(&self) -> bool {
        matches!(self.stage, Stage::Following)
            && self.active.as_ref().is_some_and(|active| active.link.is_up())
    }

    /// The database that the stream has selected at the applied offset.
    pub fn applied_db(&self) -> Option<usize> {
        self.active.as_ref().map(|active| active.schedule.applied_db())
    }

    /// What INFO and ROLE show; `None`: this server is a master.
    pub fn facts(&self, core: &Core) -> Option<LinkFacts> {
        if !self.is_replica() {
            return None;
        }
        let now_ms = core.now_ms();
        let replication = &core.config.replication;
        let mut facts = LinkFacts {
            host: Vec::new(),
            port: 0,
            state: "connect",
            is_up: false,
            silent_ms: None,
            sync: None,
            down_ms: None,
            offsets: None,
            priority: replication.replica_priority,
            is_read_only: replication.replica_read_only,
            is_announced: replication.replica_announced,
        };
        let ordered = match &self.stage {
            Stage::Becoming(order) | Stage::Draining { order, .. } => order.master.as_ref(),
            _ => None,
        };
        if let Some(master) = ordered.or(self.active.as_ref().map(|active| &active.master)) {
            (facts.host, facts.port) = (master.host.clone(), master.port);
        }
        if let (Some(active), Stage::Following | Stage::Settling(_)) = (&self.active, &self.stage) {
            let link = &active.link;
            let silent_ms = now_ms.saturating_sub(link.last_io_ms());
            facts.state = link.state_name();
            facts.is_up = self.is_up();
            facts.silent_ms = link.is_up().then_some(silent_ms);
            let (read, total) = link.progress().unwrap_or_else(|| active.loading_bytes());
            facts.sync = link.is_syncing().then_some((read, total, silent_ms));
            facts.down_ms = link.down_since_ms().map(|since| now_ms.saturating_sub(since));
            facts.offsets =
                link.resume().map(|resume| (active.cutter.read().max(resume.offset), resume.offset));
        }
        Some(facts)
    }

    /// REPLICAOF. Orders are carried out one after the other.
    pub fn order(&mut self, core: &mut Core, order: Order) {
        self.orders.push_back(order);
        self.round(core);
    }

    /// The master that this one follows hands over to it (PSYNC with FAILOVER): the history is its own from here on, and shards learn it at
    /// a barrier. The old master has waited until everything was applied.
    pub fn promote(&mut self, core: &mut Core) {
        crate::log!(Level::Notice, "Failover request received for replid {}.", core.history.id());
        let Some(active) = &mut self.active else { return };
        active.hang_up();
        self.begin_promotion(
            core,
            Order { master: None, asked: None, is_failover: false, client: Vec::new(), begun: None },
        );
    }

    /// Ten times a second.
    pub fn tick(&mut self, core: &mut Core) {
        if let (Stage::Following, Some(active)) = (&self.stage, &mut self.active) {
            let mut actions = Vec::new();
            active.link.tick(core.now_ms(), &mut actions);
            self.act(core, &Bytes::new(), actions);
        }
    }

    pub fn configure(&mut self, config: &Config) {
        if let Some(active) = &mut self.active {
            active.link.configure(settings(config));
        }
    }

    /// What can go on.
    pub fn round(&mut self, core: &mut Core) {
        self.take_order(core);
        match &mut self.stage {
            Stage::Draining { next, .. } if core.feed.has_left(*next) => self.begin_following(core),
            Stage::Settling(_) => {
                if self.active.as_ref().is_none_or(|active| active.schedule.is_idle()) {
                    self.settled(core);
                }
            }
            _ => {}
        }
        if matches!(self.stage, Stage::Following) {
            self.follow(core);
        }
        self.give_out(core);
        core.is_replica = self.is_replica();
        if !core.held_snapshots.is_empty() {
            self.cut(core);
        }
    }

    /// Has snapshots for this server's own replicas made when what all shards have is the stream at one offset.
    fn cut(&mut self, core: &mut Core) {
        let Some(active) = self.active.as_mut().filter(|active| active.incoming.is_none()) else { return };
        active.schedule.raise_barrier();
        if !active.schedule.is_at_barrier() {
            return;
        }
        core.stream_db = active.schedule.applied_db();
        for mut order in std::mem::take(&mut core.held_snapshots) {
            active.cuts += 1;
            order.fields = vec![
                ("repl-stream-db".to_owned(), core.stream_db.to_string().into_bytes()),
                ("repl-id".to_owned(), core.history.id().as_bytes().to_vec()),
                ("repl-offset".to_owned(), core.writer.offset().to_string().into_bytes()),
            ];
            core.tell(LEADER, ReplMessage::Snapshot(Box::new(order)));
        }
    }

    fn take_order(&mut self, core: &mut Core) {
        let is_taking_over = self
            .active
            .as_ref()
            .is_some_and(|active| matches!(active.incoming, Some(Incoming::TakingOver { .. })));
        if is_taking_over || !matches!(self.stage, Stage::Master | Stage::Following) {
            return;
        }
        let Some(order) = self.orders.pop_front() else { return };
        let is_master = matches!(self.stage, Stage::Master);
        match &order.master {
            None if is_master => self.answer(core, &order, Answer::Done),
            Some(master)
                if self.active.as_ref().is_some_and(|active| active.master == *master) && !is_master =>
            {
                let text = "REPLICAOF would result into synchronization with the master we are already connected with. \
                            No operation performed.";
                crate::log!(Level::Notice, "{text}");
                self.answer(core, &order, Answer::AlreadyConnected);
            }
            Some(_) if is_master => self.become_replica(core, order),
            _ => {
                self.hang_up(core);
                self.stage = Stage::Settling(order);
            }
        }
        // There may be another one.
        core.woken.notify_one();
    }

    fn answer(&self, core: &Core, order: &Order, answer: Answer) {
        if let Some(asked) = order.asked {
            core.answer(asked, answer);
        }
        if let Some(begun) = &order.begun {
            // The thread that starts the server may have given up.
            let _ = begun.send(());
        }
    }

    /// The connection goes, and what has not been given out; a snapshot that is not in its place is given up.
    fn hang_up(&mut self, core: &mut Core) {
        let Some(active) = &mut self.active else { return };
        active.hang_up();
        if active.incoming.take().is_some_and(|incoming| matches!(incoming, Incoming::Loading { .. })) {
            core.tell_all(|| ReplMessage::Follow(FollowMessage::DropAside));
        }
        self.loads += 1;
    }

    /// Everything that was given out is applied.
    fn settled(&mut self, core: &mut Core) {
        let Stage::Settling(order) = std::mem::take(&mut self.stage) else { return };
        match order.master {
            None => self.begin_promotion(core, order),
            Some(_) => self.become_replica(core, order),
        }
    }

    fn become_replica(&mut self, core: &mut Core, order: Order) {
        self.stage = Stage::Becoming(order);
        let told = self.told(core);
        core.tell(LEADER, ReplMessage::Follow(FollowMessage::BecomeReplica { told }));
    }

    fn begin_promotion(&mut self, core: &mut Core, order: Order) {
        core.history.promote(core.writer.offset(), new_id());
        crate::log!(
            Level::Notice,
            "Setting secondary replication ID to {}, valid up to offset: {}. New replication ID is {}",
            core.history.second_id(),
            core.history.second_offset(),
            core.history.id()
        );
        self.active = None;
        if core.backlog.is_none() {
            core.backlog =
                Some(Backlog::new(core.config.replication.repl_backlog_size, core.writer.offset()));
        }
        core.writer.forget_selected();
        let now_ms = core.now_ms();
        core.replicas.disconnect_all(now_ms);
        self.stage = Stage::Promoting(order);
        let (bell, told) = (core.bell(), self.told(core));
        core.tell(LEADER, ReplMessage::Follow(FollowMessage::BecomeMaster { bell: Some(bell), told }));
    }

    fn told(&self, core: &Core) -> Told {
        let (load, tell) = (self.loads, task::sender(core));
        Arc::new(move |event| tell(Event::Follow { load, event }))
    }

    /// Of a shard.
    pub fn event(&mut self, core: &mut Core, load: u64, event: FollowEvent) {
        match event {
            FollowEvent::IsReplica { next } => {
                if let Stage::Becoming(order) = std::mem::take(&mut self.stage) {
                    self.stage = Stage::Draining { order, next };
                }
            }
            FollowEvent::IsMaster { reader } => {
                let Stage::Promoting(order) = std::mem::take(&mut self.stage) else { return };
                if let Some(reader) = reader {
                    core.feed_began(reader);
                }
                crate::log_text!(
                    Level::Notice,
                    "MASTER MODE enabled (user request from '",
                    &order.client,
                    "')"
                );
                self.answer(core, &order, Answer::Done);
            }
            FollowEvent::Applied { work } => self.applied(core, work, true),
            FollowEvent::ApplyFailed { work } => self.applied(core, work, false),
            FollowEvent::LoadedAside { result, .. } if load == self.loads => self.loaded_aside(core, result),
            FollowEvent::LoadedAside { .. } => {}
            FollowEvent::TookOver => self.took_over(core),
        }
        self.round(core);
    }

    /// Everything that was done as a master is in the stream.
    fn begin_following(&mut self, core: &mut Core) {
        let Stage::Draining { order, .. } = std::mem::take(&mut self.stage) else { return };
        core.feed.end();
        core.flush();
        let Some(master) = order.master.clone() else { return };
        let (now_ms, offset) = (core.now_ms(), core.writer.offset());
        // Without a backlog nothing was counted: the data are of no history.
        let resume = core.backlog.is_some().then(|| Resume { id: core.history.id(), offset });
        let db = self.applied_db().or(core.writer.selected()).unwrap_or(0);
        let link = Link::new(settings(&core.config), resume, order.is_failover, now_ms);
        crate::log!(Level::Notice, "Connecting to MASTER {}:{}", shown(&master.host), master.port);
        if !order.client.is_empty() {
            crate::log_text!(
                Level::Notice,
                format_args!(
                    "REPLICAOF {}:{} enabled (user request from '",
                    shown(&master.host),
                    master.port
                ),
                &order.client,
                "')"
            );
        }
        let mut active = Box::new(Active {
            master,
            link,
            cutter: Cutter::new(offset, db, bounds(&core.config)),
            schedule: Schedule::new(core.shards, offset, db, SCHEDULE_BYTES_MAX),
            forward: Forward::new(offset),
            connection: None,
            held: Bytes::new(),
            retry_at_ms: Some(now_ms),
            incoming: None,
            cuts: 0,
        });
        active.link.applied(offset, None);
        self.active = Some(active);
        self.stage = Stage::Following;
        self.answer(core, &order, Answer::Done);
    }

    /// The connection, and what comes over it.
    fn follow(&mut self, core: &mut Core) {
        self.reconnect(core);
        let mut pieces = 0;
        while pieces < PIECES_MAX {
            pieces += 1;
            let Some(active) = &mut self.active else { return };
            if !active.may_take() {
                break;
            }
            if !active.held.is_empty() {
                let input = std::mem::take(&mut active.held);
                self.input(core, input);
                continue;
            }
            let Some(event) = active.connection.as_mut().and_then(Connection::next) else { break };
            let (now_ms, mut actions) = (core.now_ms(), Vec::new());
            match event {
                LinkEvent::Connected => active.link.connected(now_ms, &mut actions),
                LinkEvent::Lost(error) => active.link.lost(&error, now_ms, &mut actions),
                LinkEvent::Input(bytes) => {
                    core.status.counts.bytes_in.fetch_add(bytes.len() as u64, Ordering::Relaxed);
                    self.input(core, bytes);
                    continue;
                }
            }
            self.act(core, &Bytes::new(), actions);
        }
        self.file_may_be_whole(core);
        self.acknowledge(core);
        if pieces == PIECES_MAX {
            // There may be more, in the next round.
            core.woken.notify_one();
        }
    }

    fn reconnect(&mut self, core: &mut Core) {
        let Some(active) = &mut self.active else { return };
        let now_ms = core.now_ms();
        let is_due = active.retry_at_ms.is_some_and(|at| at <= now_ms);
        // The next attempt goes on behind what is applied: all that was given out.
        if active.link.is_active() || !is_due || !active.schedule.is_idle() {
            return;
        }
        active.retry_at_ms = None;
        active.link.connecting(now_ms);
        crate::log!(Level::Notice, "MASTER <-> REPLICA sync started");
        let patience = Duration::from_secs(u64::from(core.config.replication.repl_timeout));
        let Master { host, port } = active.master.clone();
        active.connection = Some(Connection::begin(host, port, patience, core.woken.clone()));
    }

    fn input(&mut self, core: &mut Core, input: Bytes) {
        let Some(active) = &mut self.active else { return };
        let mut actions = Vec::new();
        let taken = active.link.input(&input, core.now_ms(), &mut actions);
        active.held = input.slice(taken..);
        self.act(core, &input, actions);
    }

    fn act(&mut self, core: &mut Core, input: &Bytes, actions: Vec<Action>) {
        for action in actions {
            let Some(active) = &mut self.active else { return };
            match action {
                Action::Send(bytes) => {
                    core.status.counts.bytes_out.fetch_add(bytes.len() as u64, Ordering::Relaxed);
                    if let Some(connection) = &active.connection {
                        connection.send(bytes);
                    }
                }
                Action::Log(level, text) => {
                    if log::enabled(level) {
                        log::write(level, format_args!("{text}"));
                    }
                }
                Action::Continue { id } => {
                    active.restart_stream(core);
                    if core.backlog.is_none() {
                        let size = core.config.replication.repl_backlog_size;
                        core.backlog = Some(Backlog::new(size, core.writer.offset()));
                    }
                    if id.is_some_and(|id| core.history.continue_as(id, core.writer.offset())) {
                        let now_ms = core.now_ms();
                        core.replicas.disconnect_all(now_ms);
                    }
                }
                Action::BeginLoad { start, .. } => {
                    match PayloadFile::create(core.woken.clone()) {
                        Ok(file) => active.incoming = Some(Incoming::File { file, start, has_all: false }),
                        Err(error) => {
                            let text = format!("Opening the temp file needed for MASTER <-> REPLICA synchronization: {error}");
                            return self.lose(core, &text);
                        }
                    }
                }
                Action::PayloadBytes(range) => active.push_payload(input.slice(range)),
                Action::PayloadHeld(bytes) => active.push_payload(bytes.into()),
                Action::EndLoad => {
                    if let Some(Incoming::File { has_all, .. }) = &mut active.incoming {
                        *has_all = true;
                    }
                }
                Action::Stream(range) => {
                    if let Err(error) = active.stream(&input[range]) {
                        crate::log!(Level::Warning, "{error}");
                        return self.lose(core, &error);
                    }
                }
                Action::Close(_) => {
                    self.hang_up(core);
                }
                Action::RetryAfter(after_ms) => active.retry_at_ms = Some(core.now_ms() + after_ms),
            }
        }
    }

    /// The link is closed for a reason of this server's.
    fn lose(&mut self, core: &mut Core, why: &str) {
        let Some(active) = &mut self.active else { return };
        let mut actions = Vec::new();
        active.link.lost(why, core.now_ms(), &mut actions);
        self.act(core, &Bytes::new(), actions);
    }

    fn file_may_be_whole(&mut self, core: &mut Core) {
        let Some(active) = &mut self.active else { return };
        let Some(Incoming::File { file, has_all: true, .. }) = &mut active.incoming else { return };
        let Some(written) = file.end() else { return };
        let Some(Incoming::File { file, start, .. }) = active.incoming.take() else { return };
        if let Err(error) = written {
            crate::log!(
                Level::Warning,
                "Write error or short write writing to the DB dump file needed for MASTER <-> REPLICA synchronization: {error}"
            );
            return self.loaded(core, false);
        }
        crate::log!(Level::Notice, "MASTER <-> REPLICA sync: Loading DB in memory");
        let path: PathBuf = file.path().to_owned();
        active.incoming =
            Some(Incoming::Loading { file, start, missing: core.shards, report: Ok(AsideReport::default()) });
        self.loads += 1;
        let told = self.told(core);
        core.tell_all(|| {
            ReplMessage::Follow(FollowMessage::LoadAside { path: path.clone(), told: told.clone() })
        });
    }

    /// A shard has read the file.
    fn loaded_aside(&mut self, core: &mut Core, result: Result<AsideReport, String>) {
        let Some(active) = &mut self.active else { return };
        let Some(Incoming::Loading { missing, report, .. }) = &mut active.incoming else { return };
        *missing = missing.saturating_sub(1);
        match (&mut *report, result) {
            (Ok(sum), Ok(one)) => {
                sum.counts.add(one.counts);
                sum.stream_db = sum.stream_db.or(one.stream_db);
            }
            (Ok(_), Err(why)) => *report = Err(why),
            (Err(_), _) => {}
        }
        if *missing > 0 {
            return;
        }
        let Some(Incoming::Loading { file, start, report, .. }) = active.incoming.take() else { return };
        match report {
            Err(why) => {
                crate::log!(
                    Level::Warning,
                    "What the master has sent is no good, and what was here stays: {why}"
                );
                core.tell_all(|| ReplMessage::Follow(FollowMessage::DropAside));
                self.loaded(core, false);
            }
            Ok(report) => {
                active.incoming = Some(Incoming::TakingOver { file, start, report });
                let told = self.told(core);
                core.tell(LEADER, ReplMessage::Follow(FollowMessage::TakeOver { told }));
            }
        }
    }

    fn took_over(&mut self, core: &mut Core) {
        let Some(active) = &mut self.active else { return };
        let Some(Incoming::TakingOver { file, start, report }) = active.incoming.take() else { return };
        crate::log!(Level::Notice, "{}", report.counts.log_line());
        keep_file(file, &core.config);
        // A master that is too old to have ids counts from nothing.
        let start = start.unwrap_or_else(|| Resume { id: new_id(), offset: 0 });
        core.history.adopt(start.id);
        core.writer = StreamWriter::new(start.offset, None);
        core.drop_stream();
        core.backlog = Some(Backlog::new(core.config.replication.repl_backlog_size, start.offset));
        let now_ms = core.now_ms();
        core.replicas.disconnect_all(now_ms);
        active.begin_stream(core, start.offset, report.stream_db.unwrap_or(0));
        self.loaded(core, true);
    }

    fn loaded(&mut self, core: &mut Core, is_good: bool) {
        let Some(active) = &mut self.active else { return };
        let mut actions = Vec::new();
        active.link.loaded(is_good, core.now_ms(), &mut actions);
        self.act(core, &Bytes::new(), actions);
    }

    /// Gives shards what they may run now.
    fn give_out(&mut self, core: &mut Core) {
        let told = self.told(core);
        let Some(active) = &mut self.active else { return };
        while let Some(work) = active.schedule.next_work() {
            let shard = match &work.target {
                Target::One(shard) => *shard,
                Target::Several(shards) => shards.first().copied().unwrap_or(LEADER),
            };
            let apply = FollowMessage::Apply { work: work.id, items: work.items, told: told.clone() };
            core.tell(shard, ReplMessage::Follow(apply));
        }
        active.advance(core);
    }

    fn applied(&mut self, core: &mut Core, work: WorkId, is_good: bool) {
        let Some(active) = &mut self.active else { return };
        active.schedule.done(work);
        active.advance(core);
        if !is_good {
            crate::log!(
                Level::Warning,
                "A shard could not apply what the master has sent: a full synchronization is needed"
            );
            active.link.forget();
            self.lose(core, "the stream could not be applied");
        }
    }

    fn acknowledge(&mut self, core: &mut Core) {
        let Some(active) = &mut self.active else { return };
        if active.schedule.take_ack_due() {
            let mut actions = Vec::new();
            active.link.acknowledge(core.now_ms(), &mut actions);
            self.act(core, &Bytes::new(), actions);
        }
    }

    /// A snapshot that was ordered at the barrier has begun, or will not.
    pub fn cut_is_over(&mut self) {
        if let Some(active) = &mut self.active {
            active.cuts = active.cuts.saturating_sub(1);
            if active.cuts == 0 {
                active.schedule.lower_barrier();
            }
        }
    }
}

impl Active {
    /// Whether more input has a use.
    fn may_take(&mut self) -> bool {
        let has_room = match &mut self.incoming {
            Some(Incoming::File { file, .. }) => file.give(),
            Some(_) => false,
            None => !self.schedule.is_full(),
        };
        // Before the connection is there the link wants no input, but hears of it.
        has_room && (self.link.wants_input() || self.link.state_name() == "connecting")
    }

    fn loading_bytes(&self) -> (u64, Option<u64>) {
        match &self.incoming {
            Some(
                Incoming::File { file, .. }
                | Incoming::Loading { file, .. }
                | Incoming::TakingOver { file, .. },
            ) => (file.bytes, Some(file.bytes)),
            None => (0, None),
        }
    }

    fn push_payload(&mut self, bytes: Bytes) {
        if let Some(Incoming::File { file, .. }) = &mut self.incoming {
            file.push(bytes);
        }
    }

    fn hang_up(&mut self) {
        self.connection = None;
        self.held = Bytes::new();
        self.schedule.drop_waiting();
    }

    /// Cuts the bytes, for the schedule.
    fn stream(&mut self, bytes: &[u8]) -> Result<(), String> {
        self.cutter.push(bytes);
        self.forward.push(bytes);
        while let Some(item) = self.cutter.next().map_err(|error| error.to_string())? {
            self.schedule.push(item);
        }
        Ok(())
    }

    /// What is applied is the own replicas' to get.
    fn advance(&mut self, core: &mut Core) {
        let applied = self.schedule.applied();
        let bytes = self.forward.up_to(applied);
        if !bytes.is_empty() {
            core.writer.forward(&bytes);
            core.flush();
        }
        self.link.applied(applied, None);
    }

    /// The link goes on behind what is applied.
    fn restart_stream(&mut self, core: &Core) {
        let (offset, db) = (self.schedule.applied(), self.schedule.applied_db());
        self.begin_stream(core, offset, db);
    }

    fn begin_stream(&mut self, core: &Core, offset: u64, db: usize) {
        self.cutter = Cutter::new(offset, db, bounds(&core.config));
        self.schedule = Schedule::new(core.shards, offset, db, SCHEDULE_BYTES_MAX);
        self.forward = Forward::new(offset);
        self.cuts = 0;
    }
}

fn bounds(config: &Config) -> Bounds {
    Bounds {
        command_max: COMMAND_BYTES_MAX,
        transaction_max: TRANSACTION_BYTES_MAX,
        databases: config.general.databases as usize,
    }
}

fn settings(config: &Config) -> Settings {
    let replication = &config.replication;
    let (announced, port) = (replication.replica_announce_port, config.network.port);
    Settings {
        user: replication.masteruser.clone(),
        password: replication.masterauth.clone(),
        port: if announced > 0 { announced } else { port },
        address: replication.replica_announce_ip.clone(),
        timeout_ms: u64::from(replication.repl_timeout) * 1000,
    }
}

/// As Redis's, the file of the snapshot becomes the server's own.
fn keep_file(file: PayloadFile, config: &Config) {
    let to = PathBuf::from(&config.persistence.dbfilename);
    tokio::task::spawn_blocking(move || {
        if let Err(error) = std::fs::rename(file.path(), &to) {
            crate::log!(
                Level::Warning,
                "Failed trying to rename the temp DB into {} in MASTER <-> REPLICA synchronization: {error}",
                to.display()
            );
        }
        drop(file);
    });
}

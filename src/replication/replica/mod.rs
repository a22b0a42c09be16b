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

mod active;
mod connection;
mod load;
mod payload;
mod session;

use std::collections::VecDeque;
use std::sync::atomic::Ordering;
use std::sync::mpsc::Sender;
use std::sync::Arc;

use bytes::Bytes;

use super::core::{backlog_size, new_id, Core, LEADER};
use super::event::{Asked, Event};
use super::follow::{FollowEvent, FollowMessage, Told};
use super::message::{Answer, ReplMessage};
use super::task;
use crate::base::log::Level;
use crate::command::CommandError;
use crate::config::Config;
use crate::journal::Ticket;
use crate::repl::backlog::Backlog;
use crate::repl::replica::link::{Link, Resume};
use crate::repl::roles::LinkFacts;
use crate::repl::wire::shown;
use active::{settings, Active, Incoming};

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

/// What follows another server.
#[derive(Default)]
pub struct Follower {
    stage: Stage,
    orders: VecDeque<Order>,
    active: Option<Box<Active>>,
    /// Counts loads, so that what a given-up one says is known as such.
    loads: u64,
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

    /// No change of the role is under way.
    pub fn is_settled(&self) -> bool {
        self.orders.is_empty() && matches!(self.stage, Stage::Master | Stage::Following)
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

    /// Ten times a second.
    pub fn tick(&mut self, core: &mut Core) {
        if let (Stage::Following, Some(active)) = (&self.stage, &mut self.active) {
            let mut actions = Vec::new();
            if active.link.is_up() && active.link.durable() != Some(active.schedule.applied()) {
                core.ask_own_disk();
            }
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
            Stage::Settling(_) if self.active.as_ref().is_none_or(|active| active.schedule.is_idle()) => {
                self.settled(core);
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
        if order.asked.is_some() && core.failover.is_under_way() {
            let error = CommandError::other("ERR REPLICAOF not allowed while failing over.");
            self.answer(core, &order, Answer::Refused(error));
            return core.woken.notify_one();
        }
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

    /// Whoever asks next sees the new role.
    fn answer(&self, core: &mut Core, order: &Order, answer: Answer) {
        let facts = self.facts(core);
        core.publish(facts);
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
        if let Some(Incoming::Loading { .. } | Incoming::Link { .. }) = active.incoming.take() {
            core.tell_all(|| ReplMessage::Follow(FollowMessage::DropAside));
        }
        core.status.loading.in_progress.store(false, Ordering::Relaxed);
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
            core.backlog = Some(Backlog::new(backlog_size(&core.config), core.writer.offset()));
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
                core.end_waits();
                if let Stage::Becoming(order) = std::mem::take(&mut self.stage) {
                    self.stage = Stage::Draining { order, next };
                }
            }
            FollowEvent::IsMaster { reader } => {
                let Stage::Promoting(order) = std::mem::take(&mut self.stage) else { return };
                if let Some(reader) = reader {
                    core.feed_began(reader);
                }
                core.tell(LEADER, ReplMessage::Follows(None));
                let by = if order.is_failover { "failover" } else { "user" };
                crate::log_text!(
                    Level::Notice,
                    format_args!("MASTER MODE enabled ({by} request from '"),
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
        core.tell(LEADER, ReplMessage::Follows(Some(master.clone())));
        let mut active = Box::new(Active::new(master, link, core, db));
        active.link.applied(offset, None);
        self.active = Some(active);
        self.stage = Stage::Following;
        self.answer(core, &order, Answer::Done);
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

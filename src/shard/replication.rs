//! A shard's side of replication: connections that become replicas, clients that ask the task and wait for its answer, and the orders
//! of the task.
//!
//! A connection that has asked for synchronisation goes to the task (`crate::replication`) when nothing of it is left here: its replies have
//! left, and the ring holds no receive of its socket. What remains is a shell, so that lists of clients show it, limits count it, and CLIENT
//! KILL reaches it: its end is the end of the connection, which the task sees.

use std::collections::HashMap;
use std::os::fd::AsFd;
use std::sync::atomic::Ordering;

use super::following::Following;
use super::message::Message;
use super::pause::ObeyPause;
use super::saving::message::LeaderRequest;
use super::saving::sync::{FullSync, SyncEvent};
use super::transactions::{Answers, Later, Phase};
use super::{saving, Shard};
use crate::base::error_text;
use crate::base::log::Level;
use crate::base::Token;
use crate::client::{Connection, Flag, Suspension};
use crate::command::table::{CommandSpec, Flag as CommandFlag, Handler, KeyAccess};
use crate::command::CommandError;
use crate::config::ReplicaOf;
use crate::rdb;
use crate::replication::{
    Answer, Asked, Event, FollowMessage, Hold, Master, Newcomer, ReplMessage, SnapshotNews, SnapshotOrder,
    WaitOrder,
};
use crate::resp::{Protocol, Reply};
use crate::runtime::socket;

#[derive(Default)]
pub struct Service {
    /// Connections that are to go to the task, and the commands that they have sent.
    leaving: Vec<(Token, Vec<Vec<u8>>)>,
    /// Commands that wait for what the task shows to be as of now.
    asked: HashMap<u64, Asking>,
    /// WAITs of this turn, with the clients whose writes of this turn they wait for.
    waits: Vec<(WaitOrder, Option<Token>)>,
    /// The task wants to know when the log is on the disk up to this position.
    syncs: Vec<(u64, u64)>,
    /// `min-replicas-to-write`; 0 when no write depends on replicas.
    pub good_replicas_min: u32,
    /// As a replica.
    pub(super) following: Following,
}

/// What is to be done when the task has answered.
struct Asking {
    later: Later,
    protocol: Protocol,
    then: Then,
}

pub enum Then {
    Role,
    /// INFO with these sections.
    Info(Vec<Vec<u8>>),
    /// WAIT where it may not block.
    Wait(&'static CommandSpec),
    ReplicaOf(&'static CommandSpec),
    Failover(&'static CommandSpec),
}

// Commands of clients.
impl Shard {
    /// The connection goes to the task as soon as nothing of it is left here.
    pub(super) fn becomes_replica(&mut self, c: &mut Connection, args: &[&[u8]]) {
        c.flags.set(Flag::Replica);
        c.suspension = Suspension::GivenAway;
        self.connections.hold_back(c);
        self.replication.leaving.push((c.token, args.iter().map(|arg| arg.to_vec()).collect()));
    }

    /// In each turn.
    pub(super) fn give_away_connections(&mut self) {
        for (token, args) in std::mem::take(&mut self.replication.leaving) {
            // One that has gone needs no answer.
            let Some(mut connection) = self.connections.table.take(token) else { continue };
            let c = &mut *connection;
            if c.flags.has(Flag::Closing) {
                self.connections.table.put_back(connection);
                continue;
            }
            if c.flags.has(Flag::Receiving) || !c.output.is_drained() || !c.pipeline.is_empty() {
                self.replication.leaving.push((token, args));
                self.finish(connection);
                continue;
            }
            let newcomer = match c.socket.as_ref().map(|socket| socket::duplicate(socket.as_fd())) {
                Some(Ok(socket)) => Newcomer {
                    id: c.id,
                    socket,
                    options: c.replica_options.take().map(|options| *options).unwrap_or_default(),
                    peer: String::from_utf8_lossy(&self.turn.peer_text(c)).into_owned(),
                    args,
                    input: c.input.split_off(c.input_start),
                    home: self.id,
                    shell: token,
                },
                failed => {
                    if let Some(Err(error)) = failed {
                        let why = error_text(&error);
                        crate::log!(Level::Warning, "The connection of a replica cannot be served: {why}");
                    }
                    self.close(c);
                    self.finish(connection);
                    continue;
                }
            };
            (c.input, c.input_start) = (Vec::new(), 0);
            self.shared.replication.tell(Event::Newcomer(Box::new(newcomer)));
            self.finish(connection);
        }
    }

    /// Whether connections wait to be given away.
    pub(super) fn gives_connections_away(&self) -> bool {
        !self.replication.leaving.is_empty()
    }

    /// The task is asked to show how things stand, and then the command is answered.
    pub(super) fn ask_replication(&mut self, c: &mut Connection, then: Then) {
        self.ask_replication_for(c, then, Event::Refresh);
    }

    /// The task is asked for something, and then the command is answered.
    pub(super) fn ask_replication_for(
        &mut self,
        c: &mut Connection,
        then: Then,
        event: impl FnOnce(Asked) -> Event,
    ) {
        let protocol = c.output.reply.protocol();
        let later = self.transactions.reply_later(c);
        let number = self.shared.next_transaction();
        self.replication.asked.insert(number, Asking { later, protocol, then });
        self.shared.replication.tell(event(Asked { home: self.id, number }));
    }

    /// WAIT and WAITAOF where they may not block: what there is.
    pub(super) fn wait_at_once(
        &mut self,
        c: &mut Connection,
        spec: &'static CommandSpec,
        order: impl FnOnce(Asked) -> WaitOrder,
    ) {
        let protocol = c.output.reply.protocol();
        let later = self.transactions.reply_later(c);
        let number = self.shared.next_transaction();
        self.replication.asked.insert(number, Asking { later, protocol, then: Then::Wait(spec) });
        let order = order(Asked { home: self.id, number });
        self.send_wait(c, order);
    }

    /// It leaves with this turn's ticket, if there is one.
    pub(super) fn send_wait(&mut self, c: &mut Connection, order: WaitOrder) {
        let has_written = c.flags.has(Flag::HasWritten);
        c.flags.clear(Flag::HasWritten);
        let order = WaitOrder { ticket_end: c.written_before, ..order };
        self.replication.waits.push((order, has_written.then_some(c.token)));
    }

    /// The turn's ticket has been drawn: every write that a client has been told of has a smaller one than the next.
    pub(super) fn send_waits(&mut self) {
        for (mut order, writer) in std::mem::take(&mut self.replication.waits) {
            if let Some(token) = writer {
                order.ticket_end = self.shared.tickets.next();
                if let Some(c) = self.connections.table.get(token) {
                    c.written_before = order.ticket_end;
                }
            }
            self.shared.replication.tell(Event::Wait(order));
        }
    }

    /// `min-replicas-to-write` is not met.
    #[inline]
    pub(super) fn lacks_replicas(&self) -> bool {
        self.replication.good_replicas_min > 0 && self.has_too_few_replicas()
    }

    #[cold]
    fn has_too_few_replicas(&self) -> bool {
        let status = &self.shared.replication.status;
        if status.is_replica.load(Ordering::Relaxed) {
            return false;
        }
        // The task may not have heard yet of what CONFIG SET has answered here.
        let good = if status.counted_by.load(Ordering::Acquire) < self.turn.config_version {
            status.count_good(u64::from(self.turn.config.replication.min_replicas_max_lag))
        } else {
            status.good_replicas.load(Ordering::Relaxed)
        };
        good < self.replication.good_replicas_min
    }

    pub(super) fn replication_config_changed(&mut self) {
        let replication = &self.turn.config.replication;
        let is_demanded = replication.min_replicas_max_lag > 0;
        self.replication.good_replicas_min = if is_demanded { replication.min_replicas_to_write } else { 0 };
        if self.turn.is_leader() {
            let (config, version) = (self.turn.config.clone(), self.turn.config_version);
            self.shared.replication.tell(Event::Configure { config, version });
        }
    }
}

// What the task says.
impl Shard {
    pub(super) fn about_replication(&mut self, message: ReplMessage) {
        match message {
            ReplMessage::BeginFeed(bell) => {
                self.begin_feed(bell, |shard, reader| {
                    shard.shared.replication.tell(Event::FeedBegan(reader));
                });
            }
            ReplMessage::EndFeed => self.end_feed(),
            ReplMessage::Snapshot(order) => self.snapshot_for_replicas(*order),
            ReplMessage::SnapshotMayFlow(job) => {
                self.tell_leader(LeaderRequest::SendSync { job, before: Vec::new() });
            }
            ReplMessage::CloseShell(token) => {
                if let Some(mut connection) = self.connections.table.take(token) {
                    self.close(&mut connection);
                    self.finish(connection);
                }
            }
            ReplMessage::Answer { number, answer } => self.replication_answered(number, answer),
            ReplMessage::HoldWrites { hold, round } => self.hold_writes(hold, round),
            ReplMessage::LetWrites(hold) => {
                self.shared.pause.release(hold);
                self.ask_all(ObeyPause, |_, _| {});
            }
            // The end of the turn sees.
            ReplMessage::WritersMayGoOn => {}
            ReplMessage::Follows(master) => self.note_master(master),
            ReplMessage::Follow(message) => self.about_following(message),
            ReplMessage::TellWhenSynced { round } => {
                self.replication.syncs.push((round, self.journal.log.appended()));
            }
        }
    }

    /// The leader: clients' writes wait, and nothing else writes either. When all shards know, nothing of what was under way is left at a
    /// barrier: the task is told which tickets it has.
    fn hold_writes(&mut self, hold: Hold, round: u64) {
        self.shared.pause.hold_writes(hold);
        self.ask_all_until_all_know(ObeyPause, move |shard, _| {
            let done = move |shard: &mut Shard, _: Answers| {
                // Of what this shard did in this turn, too.
                shard.journal.draw_ticket();
                let next = shard.shared.tickets.next();
                shard.shared.replication.tell(Event::WritesAreHeld { hold, round, next });
                false
            };
            shard.at_barrier(KeyAccess::Write, [Phase::here(done)]);
        });
    }

    /// The configuration says whom this server follows, as CONFIG GET and CONFIG REWRITE show it.
    fn note_master(&mut self, master: Option<Master>) {
        // Changes of the configuration come one after the other.
        let settings = self.shared.settings();
        let mut config = (*self.shared.current_config()).clone();
        config.replication.replicaof = master.map(|Master { host, port }| ReplicaOf { host, port });
        self.shared.publish_config(config);
        drop(settings);
    }

    fn snapshot_for_replicas(&mut self, order: SnapshotOrder) {
        let SnapshotOrder { job, socket, content, is_oldest, bell, fields } = order;
        let events = self.shared.replication.events.clone();
        let told = move |event| {
            let news = match event {
                SyncEvent::AtBarrier { job, ticket, reader } => {
                    SnapshotNews::AtBarrier { job, ticket, reader }
                }
                SyncEvent::Ended { result, bytes } => SnapshotNews::Ended { result, bytes },
            };
            events.tell(Event::Snapshot(job, news));
        };
        let content = saving::Content { keys: content.keys, functions: content.functions };
        let sync = FullSync {
            socket,
            content,
            version: is_oldest.then_some(rdb::Version::V10),
            slots: None,
            fields,
            after: Vec::new(),
            bell,
            told: Box::new(told),
        };
        self.tell_leader(LeaderRequest::FullSync(Box::new(sync)));
    }

    fn replication_answered(&mut self, number: u64, answer: Answer) {
        let Some(Asking { later, protocol, then }) = self.replication.asked.remove(&number) else {
            if let Answer::Wait(answer) = answer {
                self.wait_is_over(number, answer);
            }
            return;
        };
        let mut reply = Reply::new(protocol);
        match (then, answer) {
            (Then::Role, _) => {
                reply.raw(&self.shared.replication.status.shown().role);
                self.complete(later, reply);
            }
            (Then::Info(wanted), _) => self.answer_info(wanted, protocol, later),
            (Then::Wait(_), Answer::Wait(answer)) => {
                answer.write(&mut reply);
                self.complete(later, reply);
            }
            (Then::ReplicaOf(_), Answer::AlreadyConnected) => {
                reply.simple("OK Already connected to specified master");
                self.complete(later, reply);
            }
            (Then::ReplicaOf(spec) | Then::Failover(spec), Answer::Refused(error)) => {
                self.complete_with(later, Some(spec), Err(error))
            }
            (Then::ReplicaOf(spec) | Then::Failover(spec), _) => {
                self.complete_with(later, Some(spec), Ok(()))
            }
            (Then::Wait(spec), _) => {
                self.complete_with(later, Some(spec), Err(CommandError::other("ERR WAIT has no answer")));
            }
        }
    }

    /// At the end of a turn: what the log has on the disk.
    pub(super) fn report_syncs(&mut self) {
        if self.replication.syncs.is_empty() {
            return;
        }
        if !self.journal.log.is_open() {
            if !self.turn.config.persistence.appendonly {
                self.replication.syncs.clear();
                self.shared.replication.tell(Event::LogIsOff);
            }
            // Otherwise the log is about to begin, with all that there is.
            self.replication.syncs.iter_mut().for_each(|(_, position)| *position = 0);
            return;
        }
        if self.turn.is_leader() && self.saving.aof_is_starting() {
            // What a log is written beside counts for nothing while its base is not complete.
            return;
        }
        let durable = self.journal.log.durable();
        for (round, position) in std::mem::take(&mut self.replication.syncs) {
            if position <= durable {
                self.shared.replication.tell(Event::LogSynced { round });
            } else {
                self.replication.syncs.push((round, position));
            }
        }
    }
}

/// Whether a client that has sent the command may have written by it.
#[inline]
pub(super) fn may_have_written(spec: &CommandSpec) -> bool {
    spec.is(CommandFlag::Write)
        || spec.is(CommandFlag::MayReplicate)
        || matches!(spec.handler, Handler::Script)
        || spec.role == crate::command::table::Role::Exec
}

impl From<FollowMessage> for Message {
    fn from(message: FollowMessage) -> Message {
        ReplMessage::Follow(message).into()
    }
}

/// A message of the task, in a shard's inbox.
impl From<ReplMessage> for Message {
    fn from(message: ReplMessage) -> Message {
        Message::Replication(Box::new(message))
    }
}

//! FAILOVER: what its decisions (`repl::failover`) mean, for the master that hands over and for the replica that takes over.
//!
//! ```text
//!   command -- HoldWrites --> leader -- all know, barrier --> WritesAreHeld -- the stream has all of it --> replicas are asked
//!   one has everything: REPLICAOF it, without a client -- its link is answered --> LetWrites
//!                                                       -- ABORT, refused -----> REPLICAOF NO ONE, and then LetWrites
//! ```
//!
//! Writes of clients wait at their shards from the command to the end. Then they are refused here, for this server is a replica, or go on.

use super::core::{line, Core, LEADER};
use super::event::Asked;
use super::message::{Answer, Hold, ReplMessage};
use super::replica::{Master, Order};
use super::task::Task;
use crate::base::log::{self, Level};
use crate::journal::Ticket;
use crate::repl::failover::{Action, Candidate, Command, Facts};
use crate::repl::master::handshake::ReplicaId;

/// What is on its way while this server hands over, or takes over.
#[derive(Default)]
pub struct Handover {
    /// Counts the times that writes were held back, so that an answer to an earlier time is known as such.
    round: u64,
    /// What every shard did before it stopped has a smaller ticket.
    stopped: Option<Ticket>,
    /// The link has an answer of the server that is to take over: whether it does.
    pub answer: Option<bool>,
    /// Writes may go on when this server has its role.
    is_ending: bool,
    /// Requests with FAILOVER that wait until this server is a master: of which connections, and what they have asked.
    pub requests: Vec<(ReplicaId, Vec<Vec<u8>>)>,
}

impl Task {
    pub fn failover_command(&mut self, asked: Asked, command: Command) {
        let now_ms = self.core.now_ms();
        let is_replica = self.follower.is_replica();
        let outcome =
            self.core.with_facts(is_replica, |failover, facts| failover.command(command, facts, now_ms));
        match outcome {
            Ok(actions) => {
                self.failover_actions(actions);
                self.publish();
                self.core.answer(asked, Answer::Done);
            }
            Err(error) => self.core.answer(asked, Answer::Refused(error)),
        }
    }

    /// In each round.
    pub fn fail_over(&mut self) {
        if self.core.handover.is_ending && self.follower.is_settled() {
            self.core.handover.is_ending = false;
            self.core.tell(LEADER, ReplMessage::LetWrites(Hold::Failover));
        }
        self.admit_requests();
        let answer = self.core.handover.answer.take();
        if !self.core.failover.is_under_way() {
            return;
        }
        if let Some(is_accepted) = answer {
            let actions = self.core.failover.answered(is_accepted);
            self.failover_actions(actions);
        }
        let now_ms = self.core.now_ms();
        if self.core.handover.stopped.is_some_and(|next| self.core.feed.has_left(next)) {
            self.core.handover.stopped = None;
            let actions = self.core.failover.paused(self.core.writer.offset(), now_ms);
            self.failover_actions(actions);
        }
        let is_replica = self.follower.is_replica();
        let actions = self.core.with_facts(is_replica, |failover, facts| failover.tick(facts, now_ms));
        self.failover_actions(actions);
    }

    /// The master of this server hands over to it (PSYNC with FAILOVER). It is served when what was given out is applied, and the history is
    /// this server's own; shards learn it at a barrier.
    pub fn take_over(&mut self, id: ReplicaId, args: &[&[u8]]) {
        let address = self.core.peers.get(&id).map(|peer| peer.address.clone()).unwrap_or_default();
        crate::log!(Level::Notice, "Failover request received for replid {}.", self.core.history.id());
        self.core.handover.requests.push((id, args.iter().map(|arg| arg.to_vec()).collect()));
        let client = format!("addr={address}").into_bytes();
        let order = Order { master: None, asked: None, is_failover: true, client, begun: None };
        self.follower.order(&mut self.core, order);
        self.admit_requests();
    }

    /// Those who have asked this server to take over are its replicas now.
    fn admit_requests(&mut self) {
        if self.core.handover.requests.is_empty() {
            return;
        }
        if self.follower.is_replica() && !self.follower.is_settled() {
            return;
        }
        for (id, args) in std::mem::take(&mut self.core.handover.requests) {
            if self.follower.is_replica() {
                // It was told to follow somebody else meanwhile.
                self.core.close_peer(id);
                continue;
            }
            let args: Vec<&[u8]> = args.iter().map(Vec::as_slice).collect();
            self.admit_or_refuse(id, &args);
        }
    }

    fn failover_actions(&mut self, actions: Vec<Action>) {
        let order =
            |master| Order { master, asked: None, is_failover: true, client: Vec::new(), begun: None };
        for action in actions {
            match action {
                Action::Pause => {
                    let handover = &mut self.core.handover;
                    handover.is_ending = false;
                    handover.round += 1;
                    let round = handover.round;
                    self.core.tell(LEADER, ReplMessage::HoldWrites { hold: Hold::Failover, round });
                }
                Action::AskForAcks => {
                    self.core.writer.ask_for_acks();
                    self.core.flush();
                }
                Action::Unpause => {
                    self.core.handover.stopped = None;
                    self.core.handover.is_ending = true;
                    self.core.woken.notify_one();
                }
                Action::Follow { host, port } => {
                    // What is no port cannot be connected to, which the link finds out.
                    let port = u16::try_from(port).unwrap_or(0);
                    self.follower.order(&mut self.core, order(Some(Master { host, port })));
                }
                Action::BecomeMaster => self.follower.order(&mut self.core, order(None)),
                Action::Log(level, text) => {
                    if log::enabled(level) {
                        log::write(level, format_args!("{text}"));
                    }
                }
            }
        }
    }
}

impl Core {
    /// Nothing is written any more; what was before has smaller tickets.
    pub fn writes_are_held(&mut self, hold: Hold, round: u64, next: Ticket) {
        match hold {
            // Otherwise it has been given up meanwhile.
            Hold::Failover if round == self.handover.round && !self.handover.is_ending => {
                self.handover.stopped = Some(next);
            }
            Hold::Failover => {}
        }
    }

    fn with_facts<R>(
        &mut self,
        is_replica: bool,
        decide: impl FnOnce(&mut crate::repl::failover::Failover, &Facts) -> R,
    ) -> R {
        let now_ms = self.now_ms();
        let of = |replica| {
            let of = line(replica, now_ms);
            Candidate {
                host: of.host,
                port: of.port,
                is_online: of.is_online,
                acked: of.offset,
                acked_at_ms: replica.ack_at_ms,
            }
        };
        let replicas: Vec<Candidate> = self.replicas.iter().filter(|of| of.is_shown()).map(of).collect();
        let facts =
            Facts { is_cluster: false, is_replica, offset: self.writer.offset(), replicas: &replicas };
        decide(&mut self.failover, &facts)
    }
}

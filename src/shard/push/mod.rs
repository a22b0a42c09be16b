//! What connections are told unasked: messages of Pub/Sub, and invalidations of what they have read.
//!
//! Each shard has an inbox that all shards put messages for its connections into. Whoever puts one in does so before the answer to
//! what it is about is on its way, and a shard looks into its inbox before it takes in requests. So who asks the
//! server after that answer has been told before.
//!
//! A message waits for the log as a reply does, where it was made; in a transaction first for the end of the part that it is about.
//!
//! What waits for a shard is bounded, in its inbox and for the logs together. When it is too much the shard's connections that are
//! told anything are closed: nobody misses a message without noticing.

mod inbox;

use crate::shard::journal::Journal;
use crate::shard::message::SubscriberMessage;
use crate::shard::peers::Chore;
use crate::shard::peers::Peers;
use crate::shard::subscribers::Subscribers;
use crate::shard::turn::TurnState;
use crate::store::Store;
use std::collections::VecDeque;
use std::mem;

pub use self::inbox::{Inbox, Push};
use super::Shard;
use crate::base::log::Level;
use crate::base::Token;
use crate::client::Flag;
use crate::resp::{Protocol, Reply};

/// Messages that a shard writes to its connections before others get their turn.
const WRITTEN_PER_TURN: usize = 4096;

#[derive(Debug)]
pub(super) struct Pushes {
    /// Messages that wait for the log: up to which position, and for the connections of which shard.
    held: VecDeque<(u64, usize, Push)>,
    /// The shards that messages have been put into the inbox of, and which do not know yet.
    to_wake: Vec<bool>,
    /// They are told later in this turn.
    is_scheduled: bool,
}

impl Pushes {
    pub fn new(shards: usize) -> Pushes {
        Pushes { held: VecDeque::new(), to_wake: vec![false; shards], is_scheduled: false }
    }
}

impl Subscribers {
    /// Has shard `shard` tell its connections.
    pub(super) fn push_to_shard(
        &mut self,
        turn: &TurnState,
        store: &mut Store,
        peers: &mut Peers,
        journal: &mut Journal,
        shard: usize,
        push: Push,
    ) {
        if let Err(is_first) = turn.shared.inboxes[shard].make_room(&push) {
            self.wake_later(peers, shard);
            if is_first {
                self.give_up_held(turn, shard);
            }
            return;
        }
        if let Some(push) = journal.wait_for_unit(store, shard, push) {
            self.push_when_released(turn, peers, journal, shard, push);
        }
    }

    /// Sends messages, for which there is room, when what is appended by now is released.
    pub(super) fn push_all(
        &mut self,
        turn: &TurnState,
        peers: &mut Peers,
        journal: &mut Journal,
        pushes: Vec<(usize, Push)>,
    ) {
        for (shard, push) in pushes {
            self.push_when_released(turn, peers, journal, shard, push);
        }
    }

    fn push_when_released(
        &mut self,
        turn: &TurnState,
        peers: &mut Peers,
        journal: &mut Journal,
        shard: usize,
        push: Push,
    ) {
        // Behind those that wait already.
        let last = self.pushes.held.back().map(|(position, ..)| *position);
        // With replicas no message leaves in front of the turn's ticket.
        let fed_at = journal.is_fed().then(|| journal.log.appended());
        match journal.log.held_at().or(fed_at).or(last) {
            Some(position) => self.pushes.held.push_back((position, shard, push)),
            None => self.put_into_inbox(turn, peers, shard, push),
        }
    }

    /// All connections that they might have been for are about to be closed.
    fn give_up_held(&mut self, turn: &TurnState, shard: usize) {
        let inbox = &turn.shared.inboxes[shard];
        self.pushes.held.retain(|(_, to, push)| {
            if *to == shard {
                inbox.give_up(push);
            }
            *to != shard
        });
    }

    /// The log has come to `released`. To be called before the replies that waited for it go out.
    pub(super) fn let_pushes_go(&mut self, turn: &TurnState, peers: &mut Peers, released: u64) {
        while self.pushes.held.front().is_some_and(|(position, ..)| *position <= released) {
            let Some((_, shard, push)) = self.pushes.held.pop_front() else { return };
            self.put_into_inbox(turn, peers, shard, push);
        }
    }

    fn put_into_inbox(&mut self, turn: &TurnState, peers: &mut Peers, shard: usize, push: Push) {
        turn.shared.inboxes[shard].put(push);
        self.wake_later(peers, shard);
    }

    fn wake_later(&mut self, peers: &mut Peers, shard: usize) {
        self.pushes.to_wake[shard] = true;
        if !mem::replace(&mut self.pushes.is_scheduled, true) {
            peers.do_later(Chore::WakeShards);
        }
    }
}

impl Shard {
    /// Tells the shards that have got messages to look into their inboxes.
    pub(super) fn wake_shards(&mut self) {
        self.subscribers.pushes.is_scheduled = false;
        for shard in self.turn.slots.all() {
            if mem::take(&mut self.subscribers.pushes.to_wake[shard]) {
                self.send(shard, SubscriberMessage::InboxFilled.into());
            }
        }
    }

    /// Before requests are taken in: whoever has heard elsewhere that something was published or has changed finds it here told of.
    #[inline]
    pub(super) fn look_into_inbox(&mut self) {
        if !self.shared.inboxes[self.id].is_empty() {
            self.empty_inbox();
        }
    }

    /// Tells this shard's connections what there is to tell.
    pub(super) fn empty_inbox(&mut self) {
        if self.shared.inboxes[self.id].take_overrun() {
            self.close_subscribers();
        }
        let mut written = 0;
        while written < WRITTEN_PER_TURN {
            let Some(push) = self.shared.inboxes[self.id].take() else { return };
            written += match push {
                Push::Publication(publication) => 1 + self.deliver(&publication),
                Push::Invalidation(invalidation) => {
                    self.invalidate(invalidation);
                    1
                }
                Push::Redirected(redirected) => {
                    self.invalidate_redirected(redirected);
                    1
                }
            };
        }
        self.peers.do_next_turn(Chore::EmptyInbox);
    }

    fn close_subscribers(&mut self) {
        for token in self.connections.table.tokens() {
            let Some(mut connection) = self.connections.table.take(token) else { continue };
            let c = &mut *connection;
            let is_told = c.flags.has(Flag::Subscriber) || c.tracking.is_some();
            if is_told && !c.flags.has(Flag::Closing) {
                crate::log_text!(
                    Level::Warning,
                    "Closing subscriber that messages from another shard cannot reach fast enough: ",
                    self.turn.describe_client(c)
                );
                self.stats.output_buffer_closes.add(1);
                self.close(c);
            }
            self.finish(connection);
        }
    }

    /// Writes a message to a connection, also to one that has switched replies off. It goes behind the replies that are
    /// under way, but does not wait for a command that is blocked where the protocol can tell the two apart.
    pub(super) fn push_to_connection(&mut self, token: Token, write: impl FnOnce(&mut Reply)) {
        let Some(mut connection) = self.connections.table.take(token) else { return };
        let c = &mut *connection;
        if c.is_open() {
            let protocol = c.output.reply.protocol();
            if c.pipeline.is_empty() || c.waiting.is_some() && protocol == Protocol::Resp3 {
                write(&mut c.output.reply);
            } else {
                let mut reply = mem::take(&mut self.executor.spare_reply);
                reply.set_protocol(protocol);
                write(&mut reply);
                c.pipeline.push(&mut reply);
                self.executor.spare_reply = reply;
            }
        }
        self.finish(connection);
    }
}

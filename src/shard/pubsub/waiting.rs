//! PUBLISHes that wait until the shards that listen have read what their connections sent before: a subscriber that has left is
//! neither counted nor told. (A shard that is busy with something long is not waited for.)

use smallvec::SmallVec;

use super::topic_of;
use crate::client::Connection;
use crate::command::table::CommandSpec;
use crate::command::{Args, Caller};
use crate::resp::{Protocol, Reply};
use crate::shard::message::Message;
use crate::shard::Shard;
use crate::txn::message::{BatchedRequest, Origin, OwnedArgs, OwnedCommand};

/// A PUBLISH or SPUBLISH of a client of shard `home`.
#[derive(Debug)]
struct Publish {
    home: usize,
    origin: Origin,
    command: OwnedCommand,
    caller: Caller,
    protocol: Protocol,
}

/// A shard that takes longer to answer is busy with something else: nobody waits for it, and it is not asked again before it has answered.
const PATIENCE_US: i64 = 20_000;

/// Their number is bounded by the pipelines of their clients, where each has a place.
#[derive(Debug, Default)]
pub struct WaitingPublishes {
    /// Those of the next round, in the order in which they came, and the shards that listen to them.
    next: Vec<Publish>,
    next_shards: SmallVec<[usize; 8]>,
    round: Option<Round>,
    /// Shards that have been asked and have not answered, in this round or in one before.
    silent: SmallVec<[usize; 8]>,
}

/// Publishes that are due when these shards have answered.
#[derive(Debug)]
struct Round {
    publishes: Vec<Publish>,
    missing: SmallVec<[usize; 8]>,
    until_us: i64,
}

impl Shard {
    /// Takes the command, if it has to wait for listeners. `c` is a connection of this shard, which owns the channel.
    pub(in crate::shard) fn publish_waits(
        &mut self,
        c: &mut Connection,
        spec: &'static CommandSpec,
        args: Args,
    ) -> bool {
        let shards = self.listening_shards(spec, args);
        if shards.is_empty() {
            return false;
        }
        let command = OwnedCommand::new(spec, c.db, OwnedArgs::from_slices(args));
        let (caller, protocol) = (self.caller_of(c), c.output.reply.protocol());
        let publish = Publish { home: self.id, origin: self.reserve(c), command, caller, protocol };
        self.wait_for_listeners(publish, &shards);
        true
    }

    /// The same for a request of another shard's client.
    pub(in crate::shard) fn arrived_publish_waits(
        &mut self,
        home: usize,
        request: &BatchedRequest,
        args: Args,
    ) -> bool {
        let shards = self.listening_shards(request.spec, args);
        if shards.is_empty() {
            return false;
        }
        let command = OwnedCommand::new(request.spec, request.db, OwnedArgs::from_slices(args));
        let BatchedRequest { origin, caller, protocol, .. } = *request;
        self.wait_for_listeners(Publish { home, origin, command, caller, protocol }, &shards);
        true
    }

    /// None, too, when a single shard has read everything in the order in which it came.
    fn listening_shards(&self, spec: &CommandSpec, args: Args) -> SmallVec<[usize; 8]> {
        match args {
            [_, channel, _] if self.topology.shards > 1 => self.listeners(topic_of(spec), channel).1,
            _ => SmallVec::new(),
        }
    }

    fn wait_for_listeners(&mut self, publish: Publish, shards: &[usize]) {
        let waiting = &mut self.pubsub.waiting;
        waiting.next.push(publish);
        for shard in shards {
            if !waiting.next_shards.contains(shard) {
                waiting.next_shards.push(*shard);
            }
        }
        if waiting.round.is_none() {
            self.ask_listeners();
        }
    }

    /// Begins a round, if anything waits for one.
    fn ask_listeners(&mut self) {
        while self.pubsub.waiting.round.is_none() && !self.pubsub.waiting.next.is_empty() {
            let waiting = &mut self.pubsub.waiting;
            let publishes = std::mem::take(&mut waiting.next);
            let mut missing = std::mem::take(&mut waiting.next_shards);
            missing.retain(|shard| !waiting.silent.contains(shard));
            waiting.silent.extend(missing.iter().copied());
            let asked = missing.clone();
            waiting.round = Some(Round { publishes, missing, until_us: self.now_us + PATIENCE_US });
            let home = self.id;
            for shard in asked {
                // In its next turn it has read what its sockets hold now, and what that is about is on its way here before the answer.
                let answer = move |shard: &mut Shard| {
                    let from = shard.id;
                    let caught_up = move |shard: &mut Shard| shard.listener_caught_up(from);
                    shard.send(home, Message::Call(Box::new(caught_up)));
                };
                let question = move |shard: &mut Shard| shard.asks.next_turn.push(Box::new(answer));
                self.send(shard, Message::Call(Box::new(question)));
            }
            self.end_round_if_due();
        }
    }

    fn listener_caught_up(&mut self, from: usize) {
        let waiting = &mut self.pubsub.waiting;
        waiting.silent.retain(|shard| *shard != from);
        if let Some(round) = &mut waiting.round {
            round.missing.retain(|shard| *shard != from);
        }
        self.end_round_if_due();
        self.ask_listeners();
    }

    /// In each turn. True while a round is under way.
    pub(in crate::shard) fn look_after_publishes(&mut self) -> bool {
        if self.pubsub.waiting.round.is_none() {
            return false;
        }
        self.end_round_if_due();
        self.ask_listeners();
        self.pubsub.waiting.round.is_some()
    }

    fn end_round_if_due(&mut self) {
        let now_us = self.now_us;
        let due = |round: &mut Round| round.missing.is_empty() || now_us >= round.until_us;
        let Some(round) = self.pubsub.waiting.round.take_if(due) else { return };
        for Publish { home, origin, command, caller, protocol } in round.publishes {
            let mut reply = Reply::new(protocol);
            let (spec, db) = (command.spec, command.db);
            let blocked = self.run_command(spec, db, &command.args.slices(), &caller, &mut reply);
            debug_assert!(blocked.is_none(), "PUBLISH does not block");
            self.reply_to(home, origin, &mut reply);
        }
    }
}

//! Where a request runs: not at all (`refusals`), in a MULTI's queue, here (`call`), on the shard that owns its keys (`outbox`),
//! or on several, as a transaction.

use super::blocking::may_block;
use super::call::{Call, Called, Within};
use super::replication::may_have_written;
use super::request::Prepared;
use super::transactions::Waiting;
use super::Shard;
use crate::base::Token;
use crate::client::{Connection, Flag, Queued, Suspension};
use crate::command::table::{CommandSpec, Flag as CommandFlag, Handler, Role};
use crate::command::Args;
use crate::shard::connections::Connections;
use crate::shard::transactions::Transactions;
use crate::shard::turn::TurnState;
use crate::store::{slot_of, Prefetched};
use crate::txn::locks::{fingerprint_of_client, Scope};
use crate::txn::message::{BatchedRequest, OwnedArgs, OwnedCommand};
use crate::txn::plan::{locate, Plan};

/// What became of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Taken {
    Yes,
    /// It stays at the head of the input; the connection's stall says until when.
    NotYet,
}

/// Whether a command of the connection has answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    Done,
    /// The reply comes through the connection's pipeline.
    Later,
    /// A transaction has begun that runs the command, counts it and answers.
    Begun,
    /// Not now: the stall that the command has set says until when.
    NotYet,
}

impl Connections {
    /// Suspensions the connection until the next turn.
    fn look_again(&mut self, c: &mut Connection) {
        c.suspension = Suspension::Pipeline;
        self.congested.push(c.token);
    }
}

impl Transactions {
    /// Lets a command of a client, served by shard `home`, wait until the intents in front of it are gone, and what the same client
    /// has waiting: of its commands for one shard none overtakes another.
    pub(super) fn wait_behind(
        &mut self,
        turn: &TurnState,
        scope: &Scope,
        home: usize,
        client: Token,
        waiting: Waiting,
    ) {
        let number = turn.shared.next_transaction();
        self.participant.wait(number, scope, fingerprint_of_client(home, client), waiting);
    }
}

impl Shard {
    pub(super) fn dispatch(&mut self, c: &mut Connection, request: &Prepared) -> Taken {
        let args = &request.args[..];
        let resolved = request.spec.map_or_else(|| self.shared.names.resolve(args), Ok);
        let spec = match resolved {
            Ok(spec) => spec,
            Err(error) => {
                if self.is_cross_protocol(c, args) {
                    return Taken::Yes;
                }
                // A wrong number of arguments is held against the command.
                self.refuse(c, self.shared.names.find(args), &error);
                c.end_request();
                return Taken::Yes;
            }
        };
        c.last_command = Some(spec);
        if may_have_written(spec) {
            c.flags.set(Flag::HasWritten);
        }
        let evicted = self.store.stats.evicted_keys;
        if let Some(error) = self.refusal(c, spec, args) {
            self.refuse(c, Some(spec), &error);
            c.end_request();
            return Taken::Yes;
        }
        if c.tracking.is_some() && self.store.stats.evicted_keys != evicted {
            // It hears of what had to go for the command before the reply, so in the next turn.
            self.connections.look_again(c);
            return Taken::NotYet;
        }
        if self.scripts.is_paused(&self.turn, spec, args, c) {
            self.hold_for_pause(c);
            return Taken::NotYet;
        }
        if self.journal.is_held_by_log(&self.turn, c, spec) {
            return Taken::NotYet;
        }
        let taken = match &mut c.multi {
            Some(multi) if !runs_inside_multi(spec) => {
                let args = OwnedArgs::from_slices(args);
                multi.bytes += args.bytes();
                multi.queue.push(Queued { spec, args });
                self.write_reply(c, |_, _, reply| reply.simple("QUEUED"));
                Taken::Yes
            }
            _ => {
                let taken = self.route(c, spec, args, request.ahead);
                if taken == Taken::Yes {
                    self.subscribers.show_to_monitors(&self.turn, &mut self.peers, c, c.db, spec, args);
                }
                taken
            }
        };
        if taken == Taken::Yes {
            c.end_request();
        }
        taken
    }

    fn route(
        &mut self,
        c: &mut Connection,
        spec: &'static CommandSpec,
        args: Args,
        ahead: Option<Prefetched>,
    ) -> Taken {
        if matches!(spec.handler, Handler::Connection | Handler::Container) {
            // What changes or shows the server does so behind the requests in front of it.
            if spec.is(CommandFlag::Admin) && !c.may_begin_transaction() {
                return Taken::NotYet;
            }
            return self.run_connection_command(c, spec, args);
        }
        if let Handler::Script = spec.handler {
            return self.route_script(c, spec, args);
        }
        if let Some((index, _)) = spec.single_key() {
            let key = args[index];
            let owner = match ahead {
                Some(ahead) => {
                    self.store.prefetch_hint(key, ahead);
                    self.id
                }
                None => {
                    let slot = slot_of(key);
                    let owner = self.turn.slots.shard_of_slot(slot);
                    if owner == self.id {
                        self.store.slot_hint(key, slot);
                    }
                    owner
                }
            };
            let taken = self.at(c, spec, args, owner);
            // It may not have run.
            self.store.clear_slot_hint();
            return taken;
        }
        let may_block = may_block(spec, args);
        // Those in front are answered first, and those behind wait: while it waits nothing of its client runs.
        if may_block && !c.may_begin_transaction() {
            return Taken::NotYet;
        }
        let taken = self.route_by_keys(c, spec, args);
        if may_block && taken == Taken::Yes && !c.pipeline.is_empty() && c.suspension == Suspension::None {
            c.suspension = Suspension::Blocked;
        }
        taken
    }

    fn route_by_keys(&mut self, c: &mut Connection, spec: &'static CommandSpec, args: Args) -> Taken {
        let located = locate(spec, args, &self.turn.slots, || self.turn.key_count(c.db));
        match &located.plan {
            Plan::Anywhere => {
                self.call_for(c, spec, args);
                Taken::Yes
            }
            Plan::At(shard) | Plan::Cursor { shard, .. } => self.at(c, spec, args, *shard),
            Plan::EveryShard { .. } if self.turn.slots.is_single() && !self.turn.empties_saved_file(spec) => {
                self.at(c, spec, args, self.id)
            }
            Plan::Split(..) | Plan::RemoteValues { .. } | Plan::Reach { .. } | Plan::EveryShard { .. } => {
                if !c.may_begin_transaction() {
                    return Taken::NotYet;
                }
                let command = OwnedCommand::new(spec, c.db, OwnedArgs::from_slices(args));
                self.begin_transaction(c, vec![command], vec![located], false);
                Taken::Yes
            }
        }
    }

    /// A script runs where its keys are, if that is one shard and it is known to keep to them.
    fn route_script(&mut self, c: &mut Connection, spec: &'static CommandSpec, args: Args) -> Taken {
        self.guard_large_values(spec, c.db, args);
        if self.turn.slots.is_single() {
            return self.at_shown(c, spec, args, self.id);
        }
        // One without keys runs where its client is.
        let owner = if self.scripts.script_reaches_remote_keys(&self.turn, spec, args) {
            None
        } else {
            let located = locate(spec, args, &self.turn.slots, || 0);
            match located.plan {
                Plan::At(owner) => Some(owner).filter(|owner| located.keys.are_all_on(*owner)),
                _ => Some(self.id),
            }
        };
        let Some(owner) = owner else {
            if !c.may_begin_transaction() {
                return Taken::NotYet;
            }
            self.subscribers.show_script(&self.turn, &mut self.peers, c, c.db, spec, args);
            let command = OwnedCommand::new(spec, c.db, OwnedArgs::from_slices(args));
            self.begin_transaction(c, vec![command], Vec::new(), false);
            return Taken::Yes;
        };
        self.at_shown(c, spec, args, owner)
    }

    /// As `at`, for a script. It is shown before what it calls, and so once it is sure that it has its turn.
    fn at_shown(
        &mut self,
        c: &mut Connection,
        spec: &'static CommandSpec,
        args: Args,
        owner: usize,
    ) -> Taken {
        let may_have_to_wait = owner != self.id || !self.transactions.locks.is_idle();
        if may_have_to_wait && !self.may_reserve(c, owner) {
            return Taken::NotYet;
        }
        self.subscribers.show_script(&self.turn, &mut self.peers, c, c.db, spec, args);
        self.at(c, spec, args, owner)
    }

    /// Runs a command whose keys are all on shard `owner`.
    fn at(&mut self, c: &mut Connection, spec: &'static CommandSpec, args: Args, owner: usize) -> Taken {
        if owner == self.id {
            let Some((scope, command)) = self.intents_in_front((self.id, c.token), spec, c.db, args) else {
                self.call_for(c, spec, args);
                return Taken::Yes;
            };
            if !self.may_reserve(c, owner) {
                return Taken::NotYet;
            }
            let (shard, origin, caller) = (self.id, c.reserve(), self.turn.caller_of(c));
            let protocol = c.output.reply.protocol();
            let waiting = Waiting::Command { shard, origin, command, caller, protocol };
            self.transactions.wait_behind(&self.turn, &scope, self.id, c.token, waiting);
            return Taken::Yes;
        }
        if !self.may_reserve(c, owner) {
            return Taken::NotYet;
        }
        let origin = c.reserve();
        let request = BatchedRequest {
            origin,
            spec,
            db: c.db,
            caller: self.turn.caller_of(c),
            protocol: c.output.reply.protocol(),
            argument_count: args.len(),
        };
        self.stats.remote_commands.add(1);
        self.peers.asked.add();
        self.peers.outbox.requests(owner).push(request, args);
        self.peers.outbox.bound(owner);
        Taken::Yes
    }

    /// Runs a command of the connection on this shard.
    fn call_for(&mut self, c: &mut Connection, spec: &'static CommandSpec, args: Args) {
        let (db, caller) = (c.db, self.turn.caller_of(c));
        let call = Call { spec, db, args, caller: &caller, within: Within::Nothing };
        let mut called = Called::Replied;
        self.write_reply(c, |shard, _, reply| called = shard.call(call, reply));
        self.journal.note_run(c, spec, args);
        match called {
            Called::Replied | Called::Failed(_) => {}
            Called::Standing(script) => {
                let origin = c.reserve();
                c.suspension = Suspension::Reply;
                self.adopt_script(script, self.id, origin, None);
            }
            Called::Blocked(run) => {
                let command = OwnedCommand::new(spec, db, OwnedArgs::from_slices(args));
                self.block_connection(c, command, run);
            }
        }
    }

    /// Whether one more request may wait for shard `owner`; otherwise the connection stalls.
    pub(super) fn may_reserve(&mut self, c: &mut Connection, owner: usize) -> bool {
        if c.pipeline.is_full() || self.peers.outbox.is_congested(owner) {
            c.suspension = Suspension::Pipeline;
            if c.pipeline.is_empty() {
                // No reply will come to wake it.
                self.connections.look_again(c);
            }
            return false;
        }
        true
    }
}

/// What is not queued in a MULTI, but run at once.
fn runs_inside_multi(spec: &CommandSpec) -> bool {
    matches!(spec.role, Role::Exec | Role::Discard | Role::Multi | Role::Watch | Role::Quit | Role::Reset)
}

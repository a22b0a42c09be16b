//! `call`: the one place where a command runs.
//!
//! Everybody who runs a command on this shard's store comes here: connections (`route`), other shards' requests (`batches`), MULTI
//! bodies and transactions (`transactions/participant`), scripts (`scripts/drive`), commands on lent keys (`remote_values`), clients that
//! are woken (`blocking/serve`), and the replay of a log (`loading/replay`). They say what the command is a part of, and where its reply
//! goes; what a command brings about is brought about here:
//!
//! 1. the command runs, with the keys that it may use guarded;
//! 2. its reply or its error is written, and counted: statistics, slow log (`account`);
//! 3. its effect becomes part of a unit of the log (`effects`);
//! 4. subscribers hear its events, and clients with copies what has changed;
//! 5. unless it is part of something longer, clients that have waited for what it did get their turn.
//!
//! Whether it may run at all is asked before: `refusals` for what clients send, `intents_in_front` for who is in front of it. Monitors are
//! shown a command where its client is connected (`route`), which is often another shard.
//!
//! Commands that need the connection or the server and no keys (`Handler::Connection`) run in `commands`, and are counted here.

use super::scripts::Run;
use super::Shard;
use crate::base::log::Level;
use crate::base::{Stamp, Token};
use crate::command::table::{CommandSpec, Gather, Handler, KeyPositions, Reaching, Role, Spread};
use crate::command::{Args, Audience, Caller, CommandError, CommandResult, Context, Effect};
use crate::resp::Reply;
use crate::shard::executor::Executor;
use crate::shard::turn::TurnState;
use crate::store::Store;
use crate::txn::locks::{fingerprint_of_client, Scope};
use crate::txn::message::{BlockedRun, OwnedArgs, OwnedCommand};

/// A command that is to run on this shard's store.
#[derive(Clone, Copy)]
pub(super) struct Call<'a> {
    pub spec: &'static CommandSpec,
    pub db: usize,
    pub args: Args<'a>,
    pub caller: &'a Caller,
    pub within: Within,
}

/// What a call is a part of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Within {
    /// Nothing: when it is done, those who waited for it get their turn.
    Nothing,
    /// A MULTI body, a script, a transaction, or the turns of those who waited. They get theirs at its end.
    Longer,
    /// The replay of a log: what it does has been counted, logged and told before.
    Replay,
}

/// What came of a call.
pub(super) enum Called {
    /// The reply is written.
    Replied,
    /// The same, and it is this error.
    Failed(CommandError),
    /// There is no reply yet, and nothing is counted: the client waits.
    Blocked(BlockedRun),
    /// A script that has not come to its end.
    Standing(Box<Run>),
}

impl Called {
    pub fn is_answered(&self) -> bool {
        matches!(self, Called::Replied | Called::Failed(_))
    }
}

/// What a handler has left.
type Ran = (CommandResult, Effect, Option<Box<crate::command::Blocking>>);

impl TurnState {
    pub(super) fn count_failure(&self, spec: &CommandSpec, text: &[u8]) {
        self.stats.commands[spec.id as usize].failed.add(1);
        self.stats.count_error(text);
    }
}

impl Executor {
    /// A command asked for a key that is not in its plan: an error of the server's, which the client and the operator are told.
    #[cold]
    fn strayed(&mut self, spec: &CommandSpec) -> CommandError {
        self.workbench.has_strayed = true;
        crate::log!(
            Level::Warning,
            "The command {} used a key that it does not name. Please report this.",
            spec.name
        );
        CommandError::other("ERR the command used a key that its arguments do not name")
    }
}

impl Shard {
    /// Runs one command on this shard's keys. Its reply, an error included, goes to the end of `reply`.
    pub(super) fn call(&mut self, call: Call, reply: &mut Reply) -> Called {
        if let Handler::Script = call.spec.handler {
            return self.call_script(call, reply);
        }
        let Call { spec, args, caller, within, .. } = call;
        let mark = reply.mark();
        let dirty = self.store.dirty;
        self.store.no_touch = caller.no_touch;
        self.store.passed_over = false;
        let started = Stamp::now();
        let rule = self.obey_expiry_rule(spec, caller);
        let (result, effect, blocking) = self.run_handler(call, reply);
        if rule.is_some() {
            self.note_own_expiries(spec, call.db, args, caller);
        }
        self.restore_expiry_rule(rule);
        // The memory of the key may be another's from here on, in the same turn.
        self.store.clear_slot_hint();
        if within == Within::Replay {
            self.store.events.take();
            return result.map_or_else(Called::Failed, |()| Called::Replied);
        }
        let nanos = Stamp::now().nanos_since(started);
        self.executor.spent_nanos += nanos;
        let nanos = nanos + caller.spent_nanos;
        let called = match (result, blocking) {
            (Ok(()), Some(blocking)) => {
                reply.truncate(mark);
                Called::Blocked((blocking, nanos))
            }
            (Ok(()), None) => Called::Replied,
            (Err(error), _) => Called::Failed(error),
        };
        match &called {
            Called::Blocked(_) => {}
            Called::Failed(error) => {
                let text = error.text();
                reply.truncate(mark);
                reply.error(&text);
                self.account(spec, args, caller, nanos, Some(&text));
                if caller.from_master {
                    self.warn_of_applied(spec.name.as_bytes(), &text);
                }
            }
            Called::Replied | Called::Standing(_) => self.account(spec, args, caller, nanos, None),
        }
        self.bring_about(call, &called, effect, dirty);
        if within == Within::Nothing {
            self.serve_if_ready();
        }
        called
    }

    /// Runs a command inside something longer, where it can neither block nor be a script.
    pub(super) fn call_in_longer(&mut self, command: &OwnedCommand, caller: &Caller, reply: &mut Reply) {
        let OwnedCommand { spec, db, ref args, .. } = *command;
        let called =
            self.call(Call { spec, db, args: &args.slices(), caller, within: Within::Longer }, reply);
        debug_assert!(called.is_answered(), "{} has no reply inside something longer", spec.name);
    }

    #[inline]
    fn run_handler(&mut self, call: Call, reply: &mut Reply) -> Ran {
        let Call { spec, db, args, caller, .. } = call;
        match spec.handler {
            Handler::Keys(run, spread) => {
                let restricted;
                let mut caller = caller;
                if let Spread::Reach(_) = spread {
                    restricted =
                        Caller { may_not_reach: !self.turn.may_reach(spec, args, caller.user), ..*caller };
                    caller = &restricted;
                }
                if spec.has_movable_keys() {
                    self.guard_keys(spec, db, args);
                }
                let mut ctx = context(&mut self.store, db, reply, caller);
                let result = run(&mut ctx, args);
                let (effect, blocking) = (ctx.effect, ctx.blocking);
                let result = if self.store.end_guard() { Err(self.executor.strayed(spec)) } else { result };
                (result, effect, blocking)
            }
            Handler::EveryShard(_, Gather::Cursor) => {
                (self.run_with_cursor(call, reply), Effect::default(), None)
            }
            Handler::EveryShard(run, _) => {
                if let Role::Libraries(change) = spec.role {
                    let result = self.change_libraries(change, args, caller, reply);
                    return (result, Effect::default(), None);
                }
                let mut ctx = context(&mut self.store, db, reply, caller);
                let result = run(&mut ctx, args);
                (result, ctx.effect, None)
            }
            Handler::Channel => {
                let (turn, store) = (&self.turn, &mut self.store);
                let (peers, journal) = (&mut self.peers, &mut self.journal);
                let listeners = self.subscribers.run_publish(turn, store, peers, journal, spec, args);
                reply.integer(listeners as i64);
                (Ok(()), Effect::default(), None)
            }
            // Routing never brings these here.
            Handler::Connection | Handler::Container | Handler::Script => (Ok(()), Effect::default(), None),
        }
    }

    /// What a command has done reaches the log, and those who want to know. `dirty` is the store's count from before it ran.
    #[inline]
    fn bring_about(&mut self, call: Call, called: &Called, effect: Effect, dirty: u64) {
        let Call { spec, db, args, caller, .. } = call;
        let changes = self.store.dirty - dirty;
        if caller.remembers_reads && !matches!(called, Called::Blocked(_)) {
            self.remember_reads(spec, args, caller);
        }
        if let (Handler::EveryShard(..), Called::Replied) = (spec.handler, called) {
            self.note_flush(spec);
        }
        if caller.on_excerpts {
            if let Effect::Instead(effects) = effect {
                self.executor.workbench.effects = effects;
            }
        } else if self.store.log_enabled && caller.audience != Audience::Nobody {
            self.collect(call, effect, changes != 0);
        }
        if changes != 0 {
            self.stats.dirty.add(changes);
            self.show_len(db);
        }
        self.tell_of_changes(caller.client_id);
    }

    /// FLUSHALL and FLUSHDB concern more than this shard's keys.
    fn note_flush(&mut self, spec: &CommandSpec) {
        if self.turn.is_leader() && spec.role == Role::FlushAll {
            self.all_flushed();
        }
        if matches!(spec.role, Role::FlushAll | Role::FlushDb) {
            self.subscribers.all_copies_are_outdated(&self.turn, &mut self.peers);
        }
    }

    /// Counts a command that has got its reply, and the time that it took. `error`: the text of it, when it is one.
    #[inline(always)]
    pub(super) fn account(
        &mut self,
        spec: &'static CommandSpec,
        args: Args,
        caller: &Caller,
        nanos: u64,
        error: Option<&[u8]>,
    ) {
        if !caller.is_extra_part {
            self.stats.called(spec.id, nanos);
            if let Some(text) = error {
                self.turn.count_failure(spec, text);
            }
        }
        self.note_slow(spec, args, caller, nanos);
        self.note_time_taken(nanos);
    }

    /// The intents that a client's command has to wait for: those of transactions, of a snapshot that has not saved a value yet, and
    /// what the same client has waiting already.
    #[inline]
    pub(super) fn intents_in_front(
        &mut self,
        (home, client): (usize, Token),
        spec: &'static CommandSpec,
        db: usize,
        args: Args,
    ) -> Option<(Scope, OwnedCommand)> {
        self.guard_large_values(spec, db, args);
        if self.transactions.locks.is_idle() {
            return None;
        }
        let command = OwnedCommand::new(spec, db, OwnedArgs::from_slices(args));
        let scope = self.turn.own_scope(std::slice::from_ref(&command))?;
        let client = fingerprint_of_client(home, client);
        self.transactions.locks.conflicts_in_order(&scope, client).then_some((scope, command))
    }

    /// A command whose keys depend on its options finds no others than those that it has intents for and its user was allowed.
    fn guard_keys(&mut self, spec: &'static CommandSpec, db: usize, args: Args) {
        // On a workbench the loans say which keys there are. SORT may look up any key then.
        if self.store.is_guarded() || Reaching::of(spec, args).is_some() {
            return;
        }
        let mut keys = KeyPositions::new();
        spec.key_positions(args, &mut keys);
        self.store.guard(keys.iter().map(|key| (db, args[key.index])));
    }

    /// Tells the other shards how many keys a database has here.
    pub(super) fn show_len(&self, db: usize) {
        if let Some(gauge) = self.stats.databases.get(db) {
            gauge.keys.set(self.store.len(db) as u64);
        }
    }
}

pub(super) fn context<'a>(
    store: &'a mut Store,
    db: usize,
    reply: &'a mut Reply,
    caller: &'a Caller,
) -> Context<'a> {
    Context { store, db, reply, caller, effect: Effect::default(), blocking: None }
}

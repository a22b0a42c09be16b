//! A script as a transaction: the coordinator has each of its calls run on the shards that own its keys, and gives it turns.

use crate::shard::connections::Connections;
use crate::shard::peers::Chore;
use crate::shard::turn::TurnState;
use std::sync::atomic::{AtomicBool, Ordering};

use super::{Run, Slow, Standing};
use crate::base::log::Level;
use crate::base::Stamp;
use crate::client::Flag as ClientFlag;
use crate::command::table::{CommandSpec, Flag, Handler, KeyAccess, KeyPositions, Reaching};
use crate::command::{Args, Caller};
use crate::resp::Text;
use crate::resp::{Protocol, Reply};
use crate::runtime::clock;
use crate::script::{Outcome, Progress, Resume};
use crate::shard::message::Message;
use crate::shard::slow::unpack;
use crate::shard::transactions::{flat, Ran, Transaction};
use crate::shard::{Flow, Shard};
use crate::txn::locks::{fingerprint, fingerprint_of_client, Answer, Intent, Number, Scope};
use crate::txn::message::{Origin, OwnedArgs, OwnedCommand, TransactionId};
use crate::txn::participant::Coordinator;
use crate::txn::plan::Scopes;

/// A script that has taken so long may be killed, nanoseconds.
const SLOW_NANOS: u64 = 5_000_000;

/// A script that has not written and whose client has closed its side of the connection ends when it has taken so long, nanoseconds.
const HALF_CLOSED_NANOS: u64 = 500_000_000;

/// What a transaction that runs a script does next.
pub(in crate::shard) enum Going {
    /// It waits for something, or the script has ended.
    On,
    /// The call at this index of its commands is to be run.
    Call(usize),
    /// The script needs what the transaction does not hold: all of it begins again.
    Again,
    /// The same, but it has written: it goes on when the transaction holds everything.
    Further,
}

// Scripts that began in one go.
impl TurnState {
    /// What a script that ran here in one go has to hold: with several shards the keys that it names and those that it has touched.
    fn scope_of_standing(&self, run: &Run) -> Scope {
        if self.slots.is_single() {
            return Scope::Whole(KeyAccess::Write);
        }
        let args = run.command.args.slices();
        let mut keys = KeyPositions::new();
        run.command.spec.key_positions(&args, &mut keys);
        let named = keys.iter().map(|key| Intent { key: fingerprint(args[key.index]), access: key.access });
        Scope::Keys(named.chain(run.touched.iter().copied()).collect())
    }

    fn everything(&self) -> Scopes {
        let mut scopes = Scopes::default();
        scopes.add_whole(self.slots.all(), KeyAccess::Write);
        scopes
    }

    /// Whether the transaction holds what a call needs.
    fn covers(&self, t: &Transaction, spec: &CommandSpec, args: Args, keys: &KeyPositions) -> bool {
        if self.slots.is_single() {
            return true;
        }
        let whole = |access| t.intents.covers_whole(self.slots.all(), access);
        if matches!(spec.handler, Handler::EveryShard(..)) {
            return whole(KeyAccess::Write);
        }
        if Reaching::of(spec, args).is_some() && !whole(KeyAccess::Read) {
            return false;
        }
        keys.iter().all(|key| {
            let name = args[key.index];
            t.intents.covers(self.slots.shard_of(name), fingerprint(name), key.access)
        })
    }

    /// A script lets others have their turn.
    pub(super) fn note_standing(&self, run: &mut Run, shards: &[usize]) {
        if run.slow.is_none() {
            run.slow = Some(self.shared.scripts.add_slow(Slow {
                is_function: run.is_function(),
                name: run.what.name(),
                command: run.command.args.clone(),
                started: run.started,
                has_written: AtomicBool::new(run.has_written),
                // What is replayed has no client.
                home: (!run.caller.replaying).then_some(run.caller.home as usize),
                connection: unpack(run.caller.connection),
                is_killed: AtomicBool::new(false),
            }));
        }
        let ms = Stamp::now().nanos_since(run.started) / 1_000_000;
        let threshold_ms = self.config.general.busy_reply_threshold;
        // 0: never.
        if threshold_ms == 0 || ms < threshold_ms {
            return;
        }
        run.shown_us = run.shown_us.max(clock::unix_us());
        if !run.is_busy {
            run.is_busy = true;
            self.shared.scripts.change_busy(shards.iter().copied(), true);
            let name = run.what.name();
            let kill = if run.is_function() { "FUNCTION KILL" } else { "SCRIPT KILL" };
            crate::log!(
                Level::Warning,
                "Slow script detected: still in execution after {ms} milliseconds. You can try killing the script using the \
                 {kill} command. Script name is: {name}."
            );
        }
    }

    /// A script holds nobody up any more.
    pub(super) fn let_others_in(&self, run: &mut Run, shards: &[usize]) {
        if std::mem::take(&mut run.is_busy) {
            self.shared.scripts.change_busy(shards.iter().copied(), false);
        }
        if let Some(slow) = run.slow.take() {
            self.shared.scripts.remove_slow(&slow);
        }
    }
}

impl Connections {
    /// Ends scripts whose clients, which this shard has served, are gone. One that has written goes on to its end. (To half close a
    /// connection is to leave as well, but not at once: such a client may still read a reply that comes soon.)
    pub(in crate::shard) fn end_scripts_of_the_gone(&mut self, turn: &TurnState) {
        if !turn.shared.scripts.is_any_slow() {
            return;
        }
        let mine = turn.shared.scripts.slow_of(turn.id);
        for slow in mine {
            let (is_closed, is_half_closed) = match self.table.get(slow.connection) {
                Some(c) => (c.flags.has(ClientFlag::Closing), c.flags.has(ClientFlag::PeerClosed)),
                None => (true, false),
            };
            let took_nanos = Stamp::now().nanos_since(slow.started);
            if (is_closed || is_half_closed && took_nanos > HALF_CLOSED_NANOS)
                && !slow.has_written.load(Ordering::Relaxed)
            {
                slow.is_killed.store(true, Ordering::Relaxed);
            }
        }
    }
}

impl Shard {
    /// A script that the last command was goes on in another way; its reply goes to `origin` at shard `home`. `holding`: the number by
    /// which it holds its keys already, if it had to wait for them.
    ///
    /// Nobody has come between the script's first call and this, so it finds the queues as they were then: no one held its keys,
    /// and no one waited for them but behind `holding`. It takes them now, and has them from its first call to its end.
    pub(in crate::shard) fn adopt_script(
        &mut self,
        run: Box<Run>,
        home: usize,
        origin: Origin,
        holding: Option<Number>,
    ) -> Ran {
        if run.standing == Standing::Everywhere {
            let (command, caller, protocol) = (run.command.clone(), run.caller, run.protocol);
            self.end_body(false);
            self.abandon_script(run);
            self.begin_everywhere(home, origin, command, caller, protocol);
            // It has written nothing, but may have come upon keys that had expired.
            self.serve_if_ready();
            return Ran::ToItsEnd;
        }
        self.stats.transactions.add(1);
        let scope = self.turn.scope_of_standing(&run);
        let (number, answer) = match holding {
            Some(number) => {
                self.transactions.locks.extend(number, &scope);
                (number, Answer::Granted)
            }
            None => {
                let number = self.shared.next_transaction();
                let answer = if run.named.is_empty() {
                    // The client is this shard's, and its next request waits for the reply.
                    self.transactions.locks.request(number, &scope)
                } else {
                    let client = fingerprint_of_client(home, origin.client);
                    self.transactions.locks.request_in_order(number, &scope, client)
                };
                (number, answer)
            }
        };
        debug_assert!(answer != Answer::Refused, "nobody can have a later number");
        debug_assert!(
            answer == Answer::Granted
                || !self.turn.slots.is_single() && run.named.is_empty() && run.touched.is_empty(),
            "a script has run with what it did not hold"
        );
        let id = self.transactions.next_id();
        let mut scopes = Scopes::default();
        scopes.by_shard.push((self.id, scope));
        let goes_further = run.standing == Standing::Further;
        let mut transaction = Transaction::new(vec![run.command.clone()], scopes, origin);
        transaction.caller = run.caller;
        transaction.protocol = run.protocol;
        transaction.intents.adopt(number);
        transaction.home = Some(home);
        transaction.is_awaited = self.journal.log.is_open();
        transaction.next = 1;
        transaction.script = Some((0, run));
        self.journal.body_becomes_part(&self.turn, &mut self.store, number);
        let mut transaction = Box::new(transaction);
        if goes_further {
            self.go_further(id, transaction);
            return Ran::AsTransaction;
        }
        if answer == Answer::Granted {
            transaction.intents.begin_waiting();
            self.peers.do_next_turn(Chore::GoOnWithScript(id));
        } else {
            // It has touched nothing yet.
            transaction.intents.await_lock(self.id);
            let coordinator = Coordinator { shard: self.id, transaction: id, watch: None };
            self.transactions.participant.await_grant(coordinator, number);
        }
        self.transactions.running.insert(id, transaction);
        Ran::AsTransaction
    }

    /// Begins a script as a transaction over everything, at the shard that serves its client.
    fn begin_everywhere(
        &mut self,
        home: usize,
        origin: Origin,
        command: OwnedCommand,
        caller: Caller,
        protocol: Protocol,
    ) {
        let caller = Caller { in_script: false, deny_blocking: false, at_us: None, ..caller };
        // By message even to this shard, where the connection is in the hands of who runs its requests.
        self.send(home, Message::BeginScript(Box::new(BeginScript { origin, command, caller, protocol })));
    }

    pub(in crate::shard) fn begin_script_everywhere(&mut self, begin: BeginScript) {
        let BeginScript { origin, command, caller, protocol } = begin;
        let scopes = self.turn.everything();
        self.start(Transaction { caller, protocol, ..Transaction::new(vec![command], scopes, origin) });
    }

    /// A script that has not written anything does not go on.
    pub(super) fn abandon_script(&mut self, mut run: Box<Run>) {
        run.memory.learn(true);
        debug_assert!(!run.is_busy, "nobody is let in again");
        run.execution.kill();
        // It ends by an error at its next look around, or at its next call.
        let mut with = Resume::Refused(Text::default());
        while !matches!(run.execution.resume(with), Progress::Done(_)) {
            with = Resume::Refused(Text::default());
        }
    }
}

// A transaction's script.
impl Shard {
    /// The command at `command` is a script: prepares it.
    pub(in crate::shard) fn begin_script(&mut self, t: &mut Transaction, command: usize) {
        let OwnedCommand { spec, db, ref args, .. } = t.commands[command];
        let args = args.slices();
        let started = Stamp::now();
        match self.prepare_script(spec, db, &args, &t.caller, t.protocol) {
            Ok(run) => t.script = Some((command, run)),
            Err(error) => {
                let mut reply = Reply::new(t.protocol);
                self.script_refused(spec, &args, &t.caller, started, &error, &mut reply);
                drop(args);
                t.replies[command] = flat(&mut reply);
            }
        }
    }

    /// Lets the script go on until it waits for something, or ends.
    pub(in crate::shard) fn go_on_script(&mut self, id: TransactionId, t: &mut Transaction) -> Going {
        let Some((place, mut run)) = t.script.take() else { return Going::On };
        if Stamp::now().nanos_since(run.started) > SLOW_NANOS {
            let shards = t.intents.shards();
            self.turn.note_standing(&mut run, &shards);
        }
        if run.slow.as_ref().is_some_and(|slow| slow.is_killed.load(Ordering::Relaxed)) {
            run.execution.kill();
        }
        if run.awaits_reply {
            run.awaits_reply = false;
            t.commands.pop();
            run.resume = t.replies.pop().map(Resume::Reply);
        }
        if let Some(call) = run.call.take() {
            // It stood at this when it became a transaction.
            match self.call_remote(id, t, &mut run, call.spec, call.args) {
                RemoteCall::Answered(resume) => run.resume = Some(resume),
                RemoteCall::Going(going) => {
                    t.script = Some((place, run));
                    return going;
                }
            }
        }
        run.execution.begin_slice();
        loop {
            let with = run.resume.take().unwrap_or(Resume::GoOn);
            let mut is_turn_over = run.execution.has_taken_long();
            let resume = match run.execution.resume(with) {
                Progress::Done(outcome) => {
                    self.end_remote(t, place, run, *outcome);
                    return Going::On;
                }
                Progress::Slice => {
                    is_turn_over = true;
                    Resume::GoOn
                }
                Progress::AskPermission(args) => Resume::Permission(self.turn.may_call(&run, &args.slices())),
                Progress::Call(args) => {
                    let checked = self.check_call(&mut run, &args.slices());
                    match checked.map(|spec| self.call_remote(id, t, &mut run, spec, args)) {
                        Err(why) => Resume::Refused(why),
                        Ok(RemoteCall::Answered(resume)) => resume,
                        Ok(RemoteCall::Going(going)) => {
                            t.script = Some((place, run));
                            return going;
                        }
                    }
                }
            };
            run.resume = Some(resume);
            if is_turn_over {
                t.script = Some((place, run));
                t.intents.begin_waiting();
                self.peers.do_next_turn(Chore::GoOnWithScript(id));
                return Going::On;
            }
        }
    }

    /// The script has ended.
    fn end_remote(&mut self, t: &mut Transaction, place: usize, mut run: Box<Run>, outcome: Outcome) {
        let shards = t.intents.shards();
        self.turn.let_others_in(&mut run, &shards);
        t.caller = run.outer_caller;
        t.protocol = run.protocol;
        let mut reply = Reply::new(t.protocol);
        self.end_script(run, outcome, &mut reply);
        t.replies[place] = flat(&mut reply);
    }

    /// Runs a call, or finds out how.
    fn call_remote(
        &mut self,
        id: TransactionId,
        t: &mut Transaction,
        run: &mut Run,
        spec: &'static CommandSpec,
        args: OwnedArgs,
    ) -> RemoteCall {
        let slices = args.slices();
        if let Handler::Connection | Handler::Container = spec.handler {
            if spec.is(Flag::Quick) {
                return RemoteCall::Answered(Resume::Reply(self.call_now(run, spec, &slices)));
            }
            return self.call_for_connection(id, t, run, spec, &slices);
        }
        let mut keys = KeyPositions::new();
        spec.key_positions(&slices, &mut keys);
        run.note_keys(spec, &slices, &keys);
        if !self.turn.covers(t, spec, &slices, &keys) {
            if !run.has_written && !t.is_exec {
                return RemoteCall::Going(Going::Again);
            }
            run.memory.learn(true);
            drop(slices);
            run.call = Some(OwnedCommand::new(spec, run.db, args));
            return RemoteCall::Going(Going::Further);
        }
        run.note_write(spec);
        let is_here = !matches!(spec.handler, Handler::EveryShard(..))
            && Reaching::of(spec, &slices).is_none()
            && keys.iter().all(|key| self.turn.slots.shard_of(slices[key.index]) == self.id)
            && (!keys.is_empty() || !matches!(spec.handler, Handler::Channel));
        if is_here && t.intents.has(self.id) {
            let step = t.intents.step_here();
            self.journal.enter_part(&mut self.store, t.intents.number(), step);
            let reply = self.call_now(run, spec, &slices);
            self.journal.leave_part(&self.turn, &mut self.store);
            return RemoteCall::Answered(Resume::Reply(reply));
        }
        self.subscribers.show_script_call(&mut self.peers, run.db, spec, &slices);
        drop(slices);
        run.awaits_reply = true;
        t.caller = run.caller_of_call();
        t.protocol = run.execution.protocol();
        t.commands.push(OwnedCommand::new(spec, run.db, args));
        t.replies.push(Vec::new());
        RemoteCall::Going(Going::Call(t.commands.len() - 1))
    }

    /// A command that needs a connection: on one that is made for it.
    fn call_for_connection(
        &mut self,
        id: TransactionId,
        t: &mut Transaction,
        run: &mut Run,
        spec: &'static CommandSpec,
        args: Args,
    ) -> RemoteCall {
        self.subscribers.show_script_call(&mut self.peers, run.db, spec, args);
        let mut connection = self.turn.connection_of_script(run);
        let mut reply = Reply::new(run.execution.protocol());
        let place = t.commands.len();
        let outer = self.transactions.inside.replace((id, place));
        let flow = self.call_connection_command(&mut connection, spec, args, &mut reply);
        self.transactions.inside = outer;
        if flow != Flow::Later {
            return RemoteCall::Answered(Resume::Reply(flat(&mut reply)));
        }
        run.awaits_reply = true;
        t.commands.push(OwnedCommand::new(spec, run.db, OwnedArgs::from_slices(args)));
        t.replies.push(Vec::new());
        t.begin_waiting();
        RemoteCall::Going(Going::On)
    }

    /// The script has written and needs what the transaction does not hold. It keeps what it has until it holds everything.
    ///
    /// One at a time does so: of two, each might need what the other keeps. A second one at the same time is cut in two instead: what it
    /// has done so far is one transaction, and the rest, over everything, is another.
    pub(in crate::shard) fn go_further(&mut self, id: TransactionId, mut transaction: Box<Transaction>) {
        let t = &mut *transaction;
        if let Some((_, run)) = &mut t.script {
            let shards = t.intents.shards();
            self.turn.let_others_in(run, &shards);
        }
        if t.intents.has_participants() && self.shared.scripts.begin_reaching() {
            t.intents.hold_also(self.turn.everything());
        } else {
            self.end_part_of(id, t);
            t.intents.hold(self.turn.everything());
        }
        self.lock_all(id, transaction);
    }

    /// The script begins again, with intents on everything.
    pub(in crate::shard) fn begin_again(&mut self, mut transaction: Box<Transaction>) {
        self.give_back(&transaction);
        let Some((place, mut run)) = transaction.script.take() else { return };
        let shards = transaction.intents.shards();
        self.turn.let_others_in(&mut run, &shards);
        let protocol = run.protocol;
        self.abandon_script(run);
        let command = transaction.commands.swap_remove(place);
        let home = transaction.home.unwrap_or(self.id);
        self.begin_everywhere(home, transaction.origin, command, transaction.caller, protocol);
    }
}

// Scripts that take long.
/// A script that is to run as a transaction over everything, on its way to the shard that serves its client.
pub struct BeginScript {
    origin: Origin,
    command: OwnedCommand,
    caller: Caller,
    protocol: Protocol,
}

enum RemoteCall {
    Answered(Resume),
    Going(Going),
}

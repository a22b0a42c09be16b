//! A script as a transaction: the coordinator has each of its calls run on the shards that own its keys, and gives it turns.

use std::sync::atomic::{AtomicBool, Ordering};

use super::{Run, Slow, Standing};
use crate::command::table::{CommandSpec, Handler, KeyAccess, KeyPositions, Reaching};
use crate::command::{Args, Caller};
use crate::observe::log::Level;
use crate::resp::{Protocol, Reply};
use crate::runtime::clock::Stamp;
use crate::script::{Outcome, Progress, Resume};
use crate::shard::message::Message;
use crate::shard::transactions::{flat, Owner, Transaction};
use crate::shard::{Flow, Shard};
use crate::txn::locks::{fingerprint, Answer, Scope};
use crate::txn::message::{Origin, OwnedArgs, OwnedCommand, TransactionId};
use crate::txn::plan::Scopes;

/// A script that has taken so long may be killed, nanoseconds.
const SLOW_NANOS: u64 = 5_000_000;

/// What a transaction that runs a script does next.
pub(in crate::shard) enum Going {
    /// It waits for something, or the script has ended.
    On,
    /// The call at this index of its commands is to be run.
    Call(usize),
    /// The script needs what the transaction does not hold: all of it begins again.
    Again,
    /// The same, but it has written: the transaction ends, and the script goes on in another one.
    InAnother,
}

// Scripts that began in one go.
impl Shard {
    /// A script that the last command was goes on in another way; its reply goes to `origin` at shard `home`.
    pub(in crate::shard) fn adopt_script(&mut self, mut run: Box<Run>, home: usize, origin: Origin) {
        if run.standing == Standing::Everywhere {
            let (command, caller, protocol) = (run.command.clone(), run.caller, run.protocol);
            self.end_body(false);
            self.abandon_script(run);
            return self.begin_everywhere(home, origin, command, caller, protocol);
        }
        if run.standing == Standing::CutInTwo {
            // What it has done so far is whole.
            self.end_body(false);
            let mut transaction = Transaction::new(vec![run.command.clone()], self.everything(), origin);
            transaction.caller = run.caller;
            transaction.protocol = run.protocol;
            transaction.home = Some(home);
            transaction.next = 1;
            transaction.script = Some((0, run));
            return self.start(transaction);
        }
        self.stats.transactions.add(1);
        let number = self.shared.next_transaction();
        let scope = Scope::Whole(KeyAccess::Write);
        let answer = self.locks.request(number, &scope);
        debug_assert!(answer != Answer::Refused, "nobody can have a later number");
        if answer != Answer::Granted {
            run.is_unprotected = true;
            self.scripts.unprotected += 1;
        }
        let id = self.transactions.next_id();
        let mut scopes = Scopes::default();
        scopes.by_shard.push((self.id, scope));
        let mut transaction = Transaction::new(vec![run.command.clone()], scopes, origin);
        transaction.caller = run.caller;
        transaction.protocol = run.protocol;
        transaction.number = number;
        transaction.home = Some(home);
        // What another shard is told waits in the outbox for what is in the log then.
        transaction.is_awaited = home == self.id && self.log.holds_replies();
        transaction.next = 1;
        transaction.outstanding = 1;
        transaction.script = Some((0, run));
        self.body_becomes_part(number);
        self.transactions.running.insert(id, Box::new(transaction));
        if answer == Answer::Granted {
            self.go_on_next_turn(id);
        } else {
            self.lock_owners
                .insert(number, Owner::Coordinator { shard: self.id, transaction: id, watch: None });
        }
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
        let begin = move |shard: &mut Shard| {
            let scopes = shard.everything();
            shard.start(Transaction { caller, protocol, ..Transaction::new(vec![command], scopes, origin) });
        };
        // By message even to this shard, where the connection is in the hands of who runs its requests.
        self.send(home, Message::Call(Box::new(begin)));
    }

    fn everything(&self) -> Scopes {
        let mut scopes = Scopes::default();
        scopes.add_whole(self.topology.shards, KeyAccess::Write);
        scopes
    }

    /// A script that has not written anything does not go on.
    pub(super) fn abandon_script(&mut self, mut run: Box<Run>) {
        run.memory.learn(true);
        debug_assert!(!run.is_busy, "nobody is let in again");
        run.execution.kill();
        // It ends by an error at its next look around, or at its next call.
        let mut with = Resume::Refused(String::new());
        while !matches!(run.execution.resume(with), Progress::Done(_)) {
            with = Resume::Refused(String::new());
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
        if std::mem::take(&mut run.is_unprotected) {
            self.scripts.unprotected -= 1;
        }
        if Stamp::now().nanos_since(run.started) > SLOW_NANOS {
            let shards: Vec<usize> = t.participants.iter().map(|p| p.shard).collect();
            self.note_standing(&mut run, &shards);
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
            match self.call_far(id, t, &mut run, call.spec, call.args) {
                Called::Answered(resume) => run.resume = Some(resume),
                Called::Going(going) => {
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
                    self.end_far(t, place, run, *outcome);
                    return Going::On;
                }
                Progress::Slice => {
                    is_turn_over = true;
                    Resume::GoOn
                }
                Progress::AskPermission(args) => Resume::Permission(self.may_call(&run, &args.slices())),
                Progress::Call(args) => {
                    let checked = self.check_call(&mut run, &args.slices());
                    match checked.map(|spec| self.call_far(id, t, &mut run, spec, args)) {
                        Err(why) => Resume::Refused(why),
                        Ok(Called::Answered(resume)) => resume,
                        Ok(Called::Going(going)) => {
                            t.script = Some((place, run));
                            return going;
                        }
                    }
                }
            };
            run.resume = Some(resume);
            if is_turn_over {
                t.script = Some((place, run));
                t.outstanding += 1;
                self.go_on_next_turn(id);
                return Going::On;
            }
        }
    }

    fn go_on_next_turn(&mut self, id: TransactionId) {
        let go_on = move |shard: &mut Shard| {
            if let Some(mut transaction) = shard.transactions.running.remove(&id) {
                transaction.outstanding -= 1;
                shard.advance(id, transaction);
            }
        };
        self.asks.next_turn.push(Box::new(go_on));
    }

    /// The script has ended.
    fn end_far(&mut self, t: &mut Transaction, place: usize, mut run: Box<Run>, outcome: Outcome) {
        let shards: Vec<usize> = t.participants.iter().map(|p| p.shard).collect();
        self.let_others_in(&mut run, &shards);
        t.caller = run.outer_caller;
        t.protocol = run.protocol;
        let mut reply = Reply::new(t.protocol);
        self.end_script(run, outcome, &mut reply);
        t.replies[place] = flat(&mut reply);
    }

    /// Runs a call, or finds out how.
    fn call_far(
        &mut self,
        id: TransactionId,
        t: &mut Transaction,
        run: &mut Run,
        spec: &'static CommandSpec,
        args: OwnedArgs,
    ) -> Called {
        let slices = args.slices();
        if let Handler::Connection | Handler::Container = spec.handler {
            if spec.name == "select" || spec.name == "time" {
                return Called::Answered(Resume::Reply(self.call_now(run, spec, &slices)));
            }
            return self.call_for_connection(id, t, run, spec, &slices);
        }
        let mut keys = KeyPositions::new();
        spec.key_positions(&slices, &mut keys);
        run.note_keys(spec, &slices, &keys);
        if !self.covers(t, spec, &slices, &keys) {
            if !run.has_written && !t.is_exec {
                return Called::Going(Going::Again);
            }
            run.memory.learn(true);
            drop(slices);
            run.call = Some(OwnedCommand::new(spec, run.db, args));
            return Called::Going(Going::InAnother);
        }
        run.note_write(spec);
        let is_here = !matches!(spec.handler, Handler::EveryShard(..))
            && Reaching::of(spec, &slices).is_none()
            && keys.iter().all(|key| self.topology.owner(slices[key.index]) == self.id)
            && (!keys.is_empty() || !matches!(spec.handler, Handler::Channel));
        if is_here && t.participants.iter().any(|p| p.shard == self.id) {
            self.enter_part(t.number);
            let reply = self.call_now(run, spec, &slices);
            self.leave_part();
            return Called::Answered(Resume::Reply(reply));
        }
        self.show_script_call(run.db, spec, &slices);
        drop(slices);
        run.awaits_reply = true;
        t.caller = run.caller_of_call();
        t.protocol = run.execution.protocol();
        t.commands.push(OwnedCommand::new(spec, run.db, args));
        t.replies.push(Vec::new());
        Called::Going(Going::Call(t.commands.len() - 1))
    }

    /// A command that needs a connection: on one that is made for it.
    fn call_for_connection(
        &mut self,
        id: TransactionId,
        t: &mut Transaction,
        run: &mut Run,
        spec: &'static CommandSpec,
        args: Args,
    ) -> Called {
        self.show_script_call(run.db, spec, args);
        let mut connection = self.connection_of_script(run);
        let mut reply = Reply::new(run.execution.protocol());
        let place = t.commands.len();
        let outer = self.inside.replace((id, place));
        let flow = self.call_connection_command(&mut connection, spec, args, &mut reply);
        self.inside = outer;
        if flow != Flow::Later {
            return Called::Answered(Resume::Reply(flat(&mut reply)));
        }
        run.awaits_reply = true;
        t.commands.push(OwnedCommand::new(spec, run.db, OwnedArgs::from_slices(args)));
        t.replies.push(Vec::new());
        t.begin_waiting();
        Called::Going(Going::On)
    }

    /// Whether the transaction holds what a call needs.
    fn covers(&self, t: &Transaction, spec: &CommandSpec, args: Args, keys: &KeyPositions) -> bool {
        if self.topology.shards == 1 {
            return true;
        }
        let whole = |access: KeyAccess| {
            let holds = |shard: usize| {
                t.participants.iter().any(|p| {
                    p.shard == shard
                        && matches!(p.scope, Scope::Whole(held) if held == KeyAccess::Write || held == access)
                })
            };
            (0..self.topology.shards).all(holds)
        };
        if matches!(spec.handler, Handler::EveryShard(..)) {
            return whole(KeyAccess::Write);
        }
        if Reaching::of(spec, args).is_some() && !whole(KeyAccess::Read) {
            return false;
        }
        keys.iter().all(|key| {
            let (name, owner) = (args[key.index], self.topology.owner(args[key.index]));
            let suffices = |held: KeyAccess| held == KeyAccess::Write || held == key.access;
            t.participants.iter().filter(|p| p.shard == owner).any(|p| match &p.scope {
                Scope::Whole(held) => suffices(*held),
                Scope::Keys(intents) => {
                    let wanted = fingerprint(name);
                    intents.iter().any(|intent| intent.key == wanted && suffices(intent.access))
                }
            })
        })
    }

    /// The script goes on in another transaction, with intents on everything: what has been done so far is whole.
    pub(in crate::shard) fn go_on_in_another(
        &mut self,
        id: TransactionId,
        mut transaction: Box<Transaction>,
    ) {
        let t = &mut *transaction;
        if let Some((_, run)) = &mut t.script {
            let shards: Vec<usize> = t.participants.iter().map(|p| p.shard).collect();
            self.let_others_in(run, &shards);
        }
        self.end_part_of(id, t);
        t.hold(self.everything());
        self.lock_all(id, transaction);
    }

    /// The script begins again, with intents on everything.
    pub(in crate::shard) fn begin_again(&mut self, mut transaction: Box<Transaction>) {
        self.release_all(&mut transaction);
        let Some((place, mut run)) = transaction.script.take() else { return };
        let shards: Vec<usize> = transaction.participants.iter().map(|p| p.shard).collect();
        self.let_others_in(&mut run, &shards);
        let protocol = run.protocol;
        self.abandon_script(run);
        let command = transaction.commands.swap_remove(place);
        let home = transaction.home.unwrap_or(self.id);
        self.begin_everywhere(home, transaction.origin, command, transaction.caller, protocol);
    }
}

// Scripts that take long.
impl Shard {
    /// A script lets others have their turn.
    pub(super) fn note_standing(&mut self, run: &mut Run, shards: &[usize]) {
        if run.slow.is_none() {
            run.slow = Some(self.shared.scripts.add_slow(Slow {
                is_function: run.is_function(),
                name: run.what.name(),
                command: run.command.args.clone(),
                started: run.started,
                has_written: AtomicBool::new(run.has_written),
                is_killed: AtomicBool::new(false),
            }));
        }
        let ms = Stamp::now().nanos_since(run.started) / 1_000_000;
        if !run.is_busy && ms >= self.config.general.busy_reply_threshold {
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
    pub(super) fn let_others_in(&mut self, run: &mut Run, shards: &[usize]) {
        if std::mem::take(&mut run.is_busy) {
            self.shared.scripts.change_busy(shards.iter().copied(), false);
        }
        if let Some(slow) = run.slow.take() {
            self.shared.scripts.remove_slow(&slow);
        }
    }
}

enum Called {
    Answered(Resume),
    Going(Going),
}

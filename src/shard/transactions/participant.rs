//! A participant: holds intents for transactions, runs their parts, and lets those behind them go on.

use super::work::{Run, Work, WorkResult};
use super::{flat, Waiting};
use crate::base::{Stamp, Token};
use crate::command::table::KeyAccess;
use crate::command::Caller;
use crate::resp::{Protocol, Reply};
use crate::shard::call::{Call, Called, Within};
use crate::shard::message::Message;
use crate::shard::transactions::Transactions;
use crate::shard::turn::TurnState;
use crate::shard::Shard;
use crate::txn::locks::{fingerprint_of_client, Number, Scope};
use crate::txn::message::{Ending, ExecBody, Origin, OwnedCommand, TransactionId, Watch};
use crate::txn::participant::{Coordinator, Granted, Strengthening, Verdict};

/// What became of something that waited for its intents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::shard) enum Ran {
    ToItsEnd,
    /// It goes on as a transaction, which holds the intents now.
    AsTransaction,
}

impl TurnState {
    /// The intents that `commands` need on this shard; None when they have no key here.
    pub(in crate::shard) fn own_scope(&self, commands: &[OwnedCommand]) -> Option<Scope> {
        let scopes = self.scopes_of(commands);
        scopes.by_shard.into_iter().find(|(shard, _)| *shard == self.id).map(|(_, scope)| scope)
    }

    fn exec_scope(&self, body: &ExecBody) -> Option<Scope> {
        let mut scopes = self.scopes_of(&body.commands);
        for (_, key) in body.watch.iter().flat_map(|watch| &watch.keys) {
            scopes.add_key(self.slots.shard_of(key), key, KeyAccess::Read);
        }
        scopes.by_shard.into_iter().find(|(shard, _)| *shard == self.id).map(|(_, scope)| scope)
    }
}

impl Transactions {
    /// A body of one of this shard's own clients waits for the intents in front of it.
    pub(in crate::shard) fn exec_behind(
        &mut self,
        turn: &TurnState,
        scope: &Scope,
        origin: Origin,
        body: Box<ExecBody>,
    ) {
        self.wait_behind(turn, scope, turn.id, origin.client, Waiting::Exec { shard: turn.id, origin, body });
    }
}

impl Shard {
    pub(in crate::shard) fn lock(&mut self, coordinator: Coordinator, number: Number, scope: &Scope) {
        if let Some(verdict) = self.transactions.participant.lock(coordinator, number, scope) {
            self.tell_verdict(verdict);
        }
    }

    fn tell_verdict(&mut self, verdict: Verdict) {
        let Verdict { coordinator: Coordinator { shard, transaction, watch }, number, is_granted } = verdict;
        let watch_until_ms =
            is_granted.then(|| watch.map_or(i64::MAX, |watch| self.watch_until_ms(number, &watch)));
        self.send(shard, Message::Locked { from: self.id, transaction, number, watch_until_ms });
    }

    /// When the first of the watched keys expires that are there.
    fn watch_until_ms(&mut self, number: Number, watch: &Watch) -> i64 {
        self.check_watched_expiry(watch);
        // The transaction's time is a later one, and known to nobody yet.
        let expire_at = watch.keys.iter().filter_map(|(db, key)| {
            self.act_for(Some(number), |shard| shard.store.expire_at(*db, key).flatten())
        });
        expire_at.min().unwrap_or(i64::MAX)
    }

    /// A transaction that holds intents by `old` wants the whole keyspace, by `number`.
    pub(in crate::shard) fn strengthen(&mut self, coordinator: Coordinator, old: Number, number: Number) {
        self.journal.units.rename_part(old, number);
        let shared = &self.shared;
        let next = || shared.next_transaction();
        let Strengthening { refused, granted, verdict } =
            self.transactions.participant.strengthen(coordinator, old, number, next);
        refused.into_iter().for_each(|verdict| self.tell_verdict(verdict));
        self.grant(granted);
        if let Some(verdict) = verdict {
            self.tell_verdict(verdict);
        }
    }

    /// A watched key that has expired since counts as changed, deleted or not.
    fn check_watched_expiry(&mut self, watch: &Watch) {
        for (db, key) in &watch.keys {
            if self.store.watched_key_expired(*db, key, &watch.flag) {
                watch.flag.set();
            }
        }
    }

    pub(in crate::shard) fn run_step(&mut self, run: Run) {
        let Run { coordinator, transaction, number, step, caller, protocol, work, ending } = run;
        self.journal.enter_part(&mut self.store, number, step);
        let result = match (work, caller.at_us) {
            (Work::Barrier(work), _) => {
                let done = move |shard: &mut Shard, answer| {
                    let (from, result) = (shard.id, WorkResult::AtBarrier(answer));
                    shard.send(coordinator, Message::Ran { from, transaction, result });
                };
                let Some(answer) = self.do_barrier_work(work, number, done) else {
                    return self.journal.leave_part(&self.turn, &mut self.store);
                };
                WorkResult::AtBarrier(answer)
            }
            (work, Some(at_us)) => self.at_instant(at_us, |shard| {
                shard.by_expiry_rule_of(&caller, |shard| {
                    shard.do_work(coordinator, transaction, work, &caller, protocol)
                })
            }),
            (work, None) => self.do_work(coordinator, transaction, work, &caller, protocol),
        };
        self.journal.leave_part(&self.turn, &mut self.store);
        self.send(coordinator, Message::Ran { from: self.id, transaction, result });
        if let Some(ending) = ending {
            self.release(number, ending);
        }
    }

    fn do_work(
        &mut self,
        coordinator: usize,
        transaction: TransactionId,
        work: Work,
        caller: &Caller,
        protocol: Protocol,
    ) -> WorkResult {
        match work {
            Work::Commands(commands) => {
                let mut replies = Vec::with_capacity(commands.len());
                // What a script calls is no reply to the client.
                let most = if caller.in_script { 0 } else { self.executor.reply_bytes_max };
                let mut bytes = 0;
                for (index, command) in commands {
                    let mut reply = Reply::new(protocol);
                    reply.bound(if most == 0 { 0 } else { most.saturating_sub(bytes).max(1) });
                    self.call_in_longer(&command, caller, &mut reply);
                    bytes += reply.len();
                    if most > 0 && bytes > most {
                        // All commands run, but nobody hears the rest.
                        reply.clear();
                    }
                    replies.push((index, flat(&mut reply)));
                }
                if most > 0 && bytes > most {
                    self.send(coordinator, Message::ReplyOverLimits { transaction });
                }
                WorkResult::Replies(replies)
            }
            Work::RemoteValues(command) => {
                if caller.remembers_reads {
                    self.remember_reads(command.spec, &command.args.slices(), caller);
                }
                let remote_values = self.copy_own_values(&command);
                self.settle_looks(command.db);
                WorkResult::Copied(remote_values)
            }
            Work::Reach(command) => {
                let wanted = self.wanted_by(&command, caller);
                self.settle_looks(command.db);
                WorkResult::Reached(wanted)
            }
            Work::CopyWanted(command, wanted) => {
                let remote_values = self.copy_own_values_and(&command, &wanted);
                self.settle_looks(command.db);
                WorkResult::Copied(remote_values)
            }
            Work::RunWithRemoteValues(index, command, remote_values) => {
                let mut reply = Reply::new(protocol);
                let (outcome, blocked) =
                    self.run_with_remote_values(&command, remote_values, caller, &mut reply);
                WorkResult::RanWithRemoteValues { command: index, reply: flat(&mut reply), outcome, blocked }
            }
            Work::WriteBack(remote_values, uses) => {
                for remote_value in remote_values {
                    self.write_back(remote_value);
                }
                self.note_uses(uses);
                self.tell_changes(caller.client_id);
                WorkResult::WrittenBack
            }
            Work::Apply(effects, uses) => {
                self.apply(&effects, caller);
                self.note_uses(uses);
                WorkResult::WrittenBack
            }
            // It has no caller, and is done by `run_step`.
            Work::Barrier(_) => WorkResult::WrittenBack,
        }
    }

    /// Removes a transaction's intents and lets those behind it go on.
    pub(in crate::shard) fn release(&mut self, number: Number, mut ending: Ending) {
        let mut granted = Vec::new();
        self.note_uses(std::mem::take(&mut ending.uses));
        self.end_part(number, &ending);
        self.serve_before_release(number);
        self.transactions.participant.release(number, &mut granted);
        self.grant(granted);
    }

    /// These hold all that they wanted now, and so do those behind them that run here at once and end.
    fn grant(&mut self, mut granted: Vec<Number>) {
        let mut next = 0;
        while next < granted.len() {
            let number = granted[next];
            next += 1;
            match self.transactions.participant.granted(number) {
                Granted::Coordinator(coordinator) => {
                    self.tell_verdict(Verdict { coordinator, number, is_granted: true });
                }
                Granted::Waiting(waiting) => {
                    let ran = self.act_for(Some(number), |shard| shard.run_waiting(number, *waiting));
                    if ran == Ran::ToItsEnd {
                        self.serve_before_release(number);
                        self.transactions.participant.release(number, &mut granted);
                    }
                }
                Granted::Nobody => self.transactions.participant.release(number, &mut granted),
            }
        }
    }

    /// Runs what holds its intents by `number` now.
    fn run_waiting(&mut self, number: Number, waiting: Waiting) -> Ran {
        match waiting {
            Waiting::Command { shard, origin, command, caller, protocol } => {
                let mut reply = self.executor.new_reply(protocol);
                let (spec, db, args) = (command.spec, command.db, command.args.slices());
                let call = Call { spec, db, args: &args, caller: &caller, within: Within::Longer };
                let called = self.call(call, &mut reply);
                drop(args);
                match called {
                    Called::Standing(script) => {
                        return self.adopt_script(script, shard, origin, Some(number))
                    }
                    Called::Blocked(run) => self.block_origin(shard, origin, command, caller, protocol, run),
                    Called::Replied | Called::Failed(_) => self.give_reply(shard, origin, &mut reply),
                }
            }
            Waiting::Exec { shard, origin, body } => {
                let mut reply = self.executor.new_reply(body.protocol);
                self.run_exec(&body, &mut reply);
                self.give_reply(shard, origin, &mut reply);
            }
        }
        Ran::ToItsEnd
    }

    /// As `reply_to`, for a reply with a bound.
    fn give_reply(&mut self, home: usize, origin: Origin, reply: &mut Reply) {
        if reply.is_over_bound() {
            self.close_for_output(home, origin.client);
        }
        self.reply_to(home, origin, reply);
    }

    /// A MULTI body of which every key is on this shard.
    pub(in crate::shard) fn exec_here(&mut self, from: usize, origin: Origin, body: Box<ExecBody>) {
        let mut reply = self.executor.new_reply(body.protocol);
        match self.exec_or_body(from, origin.client, body, &mut reply) {
            None => self.give_reply(from, origin, &mut reply),
            Some((scope, body)) => {
                let waiting = Waiting::Exec { shard: from, origin, body };
                self.transactions.wait_behind(&self.turn, &scope, from, origin.client, waiting);
            }
        }
    }

    /// Runs the body, or hands it back with the intents that it has to wait for.
    pub(in crate::shard) fn exec_or_body(
        &mut self,
        home: usize,
        client: Token,
        body: Box<ExecBody>,
        reply: &mut Reply,
    ) -> Option<(Scope, Box<ExecBody>)> {
        if self.store.snapshot_is_open() {
            for command in &body.commands {
                self.guard_large_values(command.spec, command.db, &command.args.slices());
            }
        }
        if !self.transactions.locks.is_idle() {
            if let Some(scope) = self.turn.exec_scope(&body) {
                if self.transactions.locks.conflicts_in_order(&scope, fingerprint_of_client(home, client)) {
                    return Some((scope, body));
                }
            }
        }
        self.run_exec(&body, reply);
        None
    }

    pub(in crate::shard) fn run_exec(&mut self, body: &ExecBody, reply: &mut Reply) {
        if let Some(watch) = &body.watch {
            self.check_watched_expiry(watch);
            for (db, key) in &watch.keys {
                self.store.unwatch(*db, key, &watch.flag);
            }
            if watch.flag.is_set() {
                reply.null_array();
                return;
            }
        }
        let started = Stamp::now();
        reply.array(body.commands.len());
        let outer = self.journal.begin_body();
        for command in &body.commands {
            self.call_in_longer(command, &body.caller, reply);
        }
        self.end_body(outer);
        self.note_time_taken(Stamp::now().nanos_since(started));
        self.serve_if_ready();
    }
}

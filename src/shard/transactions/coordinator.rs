//! The coordinator: takes the intents, then the steps, then answers.

use crate::shard::connections::Connections;
use crate::shard::journal::Journal;
use crate::shard::peers::Chore;
use crate::shard::turn::TurnState;

use super::record::Transaction;
use super::work::{Run, Work, WorkResult};
use crate::client::{Connection, Flag as ClientFlag, Suspension};
use crate::command::table::{CommandSpec, Flag, Handler, KeyAccess, Reaching, Role};
use crate::command::Caller;
use crate::resp::{Protocol, Reply};
use crate::shard::message::Message;
use crate::shard::saving::message::{FlushAnswer, LeaderRequest};
use crate::shard::scripts::Going;
use crate::shard::Shard;
use crate::store::WaitNumber;
use crate::txn::coordinator::{Locked, Request};
use crate::txn::locks::Number;
use crate::txn::message::{Ending, Origin, OwnedCommand, TransactionId, Watch};
use crate::txn::plan::{locate, Join, Located, LocatedKeys, Plan, Scopes, ShardArgs};
use crate::txn::step::{Complete, Step};
use std::sync::Arc;

impl TurnState {
    /// The intents of `commands` on each shard.
    pub(in crate::shard) fn scopes_of(&self, commands: &[OwnedCommand]) -> Scopes {
        let mut scopes = Scopes::default();
        for command in commands {
            self.add_scopes(command, None, &mut scopes);
        }
        scopes
    }

    fn add_scopes(&self, command: &OwnedCommand, keys: Option<&LocatedKeys>, scopes: &mut Scopes) {
        let spec = command.spec;
        let slices = command.args.slices();
        let shards = self.slots.all();
        // With one shard nobody remembers what a script touches, so it may be anything.
        if matches!(spec.handler, Handler::Script)
            && (self.slots.is_single() || self.script_may_reach_remote_keys(spec, &slices))
        {
            return scopes.add_whole(shards, KeyAccess::Write);
        }
        if let Handler::EveryShard(..) = spec.handler {
            let access = if spec.is(Flag::Write) { KeyAccess::Write } else { KeyAccess::Read };
            return scopes.add_whole(shards, access);
        }
        if Reaching::of(spec, &slices).is_some() {
            scopes.add_whole(shards, KeyAccess::Read);
        }
        match keys {
            Some(keys) => keys.add_scopes(&slices, scopes),
            None => LocatedKeys::of(spec, &slices, &self.slots).add_scopes(&slices, scopes),
        }
    }

    /// A new transaction of `commands`, the first of which may have been located, that needs `scopes` besides.
    fn transaction_of(
        &self,
        commands: Vec<OwnedCommand>,
        located: Vec<Located>,
        mut scopes: Scopes,
        origin: Origin,
    ) -> Transaction {
        let mut plans = Vec::with_capacity(commands.len());
        let mut located = located.into_iter();
        for command in &commands {
            let found = located.next().or_else(|| match command.spec.handler {
                Handler::Keys(..) => Some(self.locate(command)),
                _ => None,
            });
            self.add_scopes(command, found.as_ref().map(|found| &found.keys), &mut scopes);
            // What concerns every shard goes by how much there is when it runs.
            let stays = matches!(command.spec.handler, Handler::Keys(..));
            plans.push(found.filter(|_| stays).map(|found| found.plan));
        }
        Transaction { plans, ..Transaction::new(commands, scopes, origin) }
    }

    fn locate(&self, command: &OwnedCommand) -> Located {
        locate(command.spec, &command.args.slices(), &self.slots, || self.key_count(command.db))
    }

    /// The plan of a command of the transaction, which is about to run.
    fn take_plan(&self, t: &mut Transaction, command: usize) -> Plan {
        let known = t.plans.get_mut(command).and_then(Option::take);
        known.unwrap_or_else(|| self.locate(&t.commands[command]).plan)
    }

    /// FLUSHALL with save points: it is answered when what was saved cannot come back.
    pub(in crate::shard) fn empties_saved_file(&self, spec: &CommandSpec) -> bool {
        spec.role == Role::FlushAll && !self.config.persistence.save.0.is_empty()
    }
}

impl Connections {
    /// A command of a MULTI body may log in, or change users: those after it are for the user as he is then, as in Redis.
    fn follow_user(&mut self, turn: &TurnState, t: &mut Transaction) {
        let Some(known) = &t.user else { return };
        let Some(connection) = self.table.take(t.origin.client) else { return };
        let user = turn.current_user(&connection);
        if !Arc::ptr_eq(known, &user) {
            t.caller.user = user.serial;
            for command in &mut t.commands[t.next..] {
                command.denied =
                    turn.denial_at_exec(&connection, &user, command.spec, &command.args.slices());
            }
            t.user = Some(user);
        }
        self.table.put_back(connection);
    }
}

impl Journal {
    /// What `shard` is to know when it gets its intents back. In front of the first of these messages the transaction takes its place.
    fn ending_of(
        &mut self,
        turn: &TurnState,
        id: TransactionId,
        t: &mut Transaction,
        shard: usize,
    ) -> Ending {
        let ending = t.ending(shard, turn.id, id);
        if !std::mem::replace(&mut t.is_placed, true) {
            self.place(t.intents.number(), &ending.writers);
        }
        ending
    }
}

impl Shard {
    /// Starts a transaction for the connection, which stalls until its reply.
    pub(in crate::shard) fn begin_transaction(
        &mut self,
        c: &mut Connection,
        commands: Vec<OwnedCommand>,
        located: Vec<Located>,
        is_exec: bool,
    ) {
        let watch = c
            .watching
            .as_deref()
            .filter(|_| is_exec)
            .map(|watching| Watch { flag: watching.flag.clone(), keys: watching.keys.clone() });
        let mut scopes = Scopes::default();
        for (_, key) in watch.iter().flat_map(|watch| &watch.keys) {
            scopes.add_key(self.turn.slots.shard_of(key), key, KeyAccess::Read);
        }
        let origin = c.reserve();
        c.suspension = Suspension::Reply;
        self.start(Transaction {
            caller: Caller { deny_blocking: is_exec, ..self.turn.caller_of(c) },
            protocol: c.output.reply.protocol(),
            watch,
            is_exec,
            // What is replayed is nobody's.
            user: (is_exec && !c.flags.has(ClientFlag::Replay)).then(|| c.user.clone()),
            ..self.turn.transaction_of(commands, located, scopes, origin)
        });
    }

    /// Runs the command of a blocked client again.
    pub(in crate::shard) fn begin_rerun(
        &mut self,
        number: WaitNumber,
        origin: Origin,
        command: OwnedCommand,
        caller: Caller,
        protocol: Protocol,
    ) {
        let transaction = self.turn.transaction_of(vec![command], Vec::new(), Scopes::default(), origin);
        self.start(Transaction { caller, protocol, waiter: Some(number), ..transaction });
    }

    pub(in crate::shard) fn start(&mut self, mut transaction: Transaction) {
        let id = self.transactions.next_id();
        self.stats.transactions.add(1);
        transaction.is_awaited = transaction.barrier.is_none() && self.journal.log.is_open();
        self.lock_all(id, Box::new(transaction));
    }

    pub(in crate::shard) fn lock_all(&mut self, id: TransactionId, mut transaction: Box<Transaction>) {
        let number = self.shared.next_transaction();
        transaction.is_placed = false;
        for (shard, request) in transaction.intents.request(number) {
            let message = match request {
                Request::Strengthen(old) => {
                    Message::Strengthen { coordinator: self.id, transaction: id, old, number }
                }
                Request::Lock(scope) => {
                    let watch = transaction.watch.as_ref();
                    let watch = watch.map(|watch| watch.of_shard(shard, &self.turn.slots));
                    Message::Lock { coordinator: self.id, transaction: id, number, scope, watch }
                }
            };
            self.send(shard, message);
        }
        if !transaction.intents.has_participants() {
            // No key at all (MULTI with PING only). The connection is still in the hands of who runs its requests, so the
            // commands come after them.
            self.peers.do_later(Chore::AdvanceTransaction(id));
        }
        self.transactions.running.insert(id, transaction);
    }

    /// `watch_until_ms`: when the first of the keys expires that it watches there; `None` when it is not granted.
    pub(in crate::shard) fn locked(
        &mut self,
        from: usize,
        id: TransactionId,
        number: Number,
        watch_until_ms: Option<i64>,
    ) {
        let Some(t) = self.transactions.running.get_mut(&id) else { return };
        let locked = t.intents.locked(from, number, watch_until_ms);
        if let Locked::Stale | Locked::Waiting = locked {
            return;
        }
        let Some(mut transaction) = self.transactions.running.remove(&id) else { return };
        if locked == Locked::Refused {
            self.stats.transaction_retries.add(1);
            self.give_back(&transaction);
            return self.lock_all(id, transaction);
        }
        if locked == (Locked::Holds { reached_further: true }) {
            self.shared.scripts.end_reaching();
        }
        let mut changed = false;
        if let Some(Watch { flag, keys }) = transaction.watch.take() {
            // It is held to the time at which its commands run.
            let at_us = *transaction.caller.at_us.get_or_insert_with(|| self.instant_now());
            changed = flag.is_set() || at_us / 1000 > transaction.intents.watch_until_ms();
            self.unwatch_keys(flag, keys);
        }
        if changed {
            self.give_back(&transaction);
            let mut reply = Reply::new(transaction.protocol);
            reply.null_array();
            self.answer(transaction.origin, reply);
        } else {
            self.advance(id, transaction);
        }
    }

    /// Gives intents back before they were used, or before they are asked for anew.
    pub(in crate::shard) fn give_back(&mut self, transaction: &Transaction) {
        let number = transaction.intents.number();
        for shard in transaction.intents.give_back() {
            self.send(shard, Message::Release { number, ending: Ending::default() });
        }
    }

    /// Takes the next steps, until one has to wait for answers or all commands have run.
    pub(in crate::shard) fn advance(&mut self, id: TransactionId, mut transaction: Box<Transaction>) {
        let t = &mut *transaction;
        if t.barrier.is_some() {
            self.advance_barrier(id, t);
        } else if t.caller.at_us.is_none() {
            t.caller.at_us = Some(self.instant_now());
        }
        while !t.intents.is_waiting() && (t.script.is_some() || t.next < t.commands.len()) {
            if t.script.is_some() {
                match self.go_on_script(id, t) {
                    Going::On => {}
                    Going::Again => return self.begin_again(transaction),
                    Going::Further => return self.go_further(id, transaction),
                    Going::Call(call) => self.run_call(id, t, call),
                }
                continue;
            }
            self.connections.follow_user(&self.turn, t);
            let command = t.next;
            let is_denied = t.commands[command].denied.is_some();
            if let (Handler::Script, false) = (t.commands[command].spec.handler, is_denied) {
                t.next += 1;
                self.begin_script(t, command);
                continue;
            }
            if t.commands[command].is_for_connection() {
                t.next += 1;
                self.run_for_connection(id, t, command);
                continue;
            }
            let plan = self.turn.take_plan(t, command);
            if let Plan::Anywhere | Plan::At(_) | Plan::Cursor { .. } = plan {
                t.keep_plan(command, plan);
                self.run_whole(id, t);
            } else {
                t.next += 1;
                self.run_planned(id, t, command, plan);
            }
        }
        if t.intents.is_waiting() {
            self.transactions.running.insert(id, transaction);
        } else {
            self.finish_transaction(id, transaction);
        }
    }

    /// Takes the first step of a script's call, which is command `call`.
    fn run_call(&mut self, id: TransactionId, t: &mut Transaction, call: usize) {
        let plan = self.turn.take_plan(t, call);
        self.run_planned(id, t, call, plan);
    }

    /// Takes the first step of a command.
    fn run_planned(&mut self, id: TransactionId, t: &mut Transaction, command: usize, plan: Plan) {
        match plan {
            Plan::Split(parts, joining) => self.run_parts(id, t, command, parts, joining),
            Plan::EveryShard { join: joining, .. } => {
                let args = t.commands[command].args.clone();
                let parts = (self.turn.slots.all())
                    .map(|shard| ShardArgs { shard, args: args.clone(), key_indexes: Default::default() })
                    .collect();
                self.run_parts(id, t, command, parts, joining);
            }
            Plan::RemoteValues { home, foreign } => self.fetch_remote_values(id, t, command, home, foreign),
            Plan::Reach { home } => {
                let work = Work::Reach(t.commands[command].clone());
                self.step(id, t, home, work, false);
                t.step = Step::Reaching { command, home };
            }
            Plan::Anywhere => self.run_at(id, t, command, self.id),
            Plan::At(shard) | Plan::Cursor { shard, .. } => self.run_at(id, t, command, shard),
        }
    }

    fn run_at(&mut self, id: TransactionId, t: &mut Transaction, command: usize, shard: usize) {
        t.step = Step::Commands;
        let work = Work::Commands(vec![(command, t.commands[command].clone())]);
        self.step(id, t, shard, work, false);
    }

    /// Sends one step to one shard.
    pub(super) fn step(
        &mut self,
        id: TransactionId,
        t: &mut Transaction,
        shard: usize,
        work: Work,
        last: bool,
    ) {
        let release = t.intents.send(shard, last);
        let ending = release.then(|| self.journal.ending_of(&self.turn, id, t, shard));
        let run = Run {
            coordinator: self.id,
            transaction: id,
            number: t.intents.number(),
            step: t.intents.step(),
            caller: t.caller,
            protocol: t.protocol,
            work,
            ending,
        };
        self.send(shard, Message::Run(Box::new(run)));
    }

    /// Runs the commands from `t.next` on that are each on one shard, all at once: commands on different shards
    /// have different keys, and those on one shard keep their order.
    fn run_whole(&mut self, id: TransactionId, t: &mut Transaction) {
        let mut by_shard: Vec<(usize, Vec<(usize, OwnedCommand)>)> = Vec::new();
        let mut publisher = None;
        while t.next < t.commands.len() {
            let command = &t.commands[t.next];
            if command.is_for_connection() || matches!(command.spec.handler, Handler::Script) {
                break;
            }
            let is_publish = matches!(command.spec.handler, Handler::Channel);
            let shard = match self.turn.take_plan(t, t.next) {
                Plan::Anywhere => self.id,
                Plan::At(shard) | Plan::Cursor { shard, .. } => shard,
                plan => {
                    t.keep_plan(t.next, plan);
                    break;
                }
            };
            if is_publish {
                // What is published on several shards keeps its order: one after the other.
                if publisher.replace(shard).is_some_and(|before| before != shard) {
                    break;
                }
            }
            let entry = (t.next, t.commands[t.next].clone());
            match by_shard.iter_mut().find(|(s, _)| *s == shard) {
                Some((_, list)) => list.push(entry),
                None => by_shard.push((shard, vec![entry])),
            }
            t.next += 1;
        }
        t.step = Step::Commands;
        let last = t.next == t.commands.len();
        for (shard, commands) in by_shard {
            self.step(id, t, shard, Work::Commands(commands), last);
        }
    }

    fn run_parts(
        &mut self,
        id: TransactionId,
        t: &mut Transaction,
        command: usize,
        mut parts: Vec<ShardArgs>,
        joining: Join,
    ) {
        let last = t.next == t.commands.len();
        for (number, part) in parts.iter_mut().enumerate() {
            let owned =
                OwnedCommand { args: std::mem::take(&mut part.args), ..t.commands[command].without_args() };
            t.caller.is_extra_part = number > 0;
            self.step(id, t, part.shard, Work::Commands(vec![(command, owned)]), last);
        }
        t.caller.is_extra_part = false;
        t.step = Step::parts(command, parts, joining);
    }

    pub(in crate::shard) fn ran(&mut self, from: usize, id: TransactionId, result: WorkResult) {
        let Some(mut transaction) = self.transactions.running.remove(&id) else { return };
        let t = &mut *transaction;
        t.intents.answered();
        match result {
            WorkResult::Replies(list) => {
                for (command, mut reply) in list {
                    if t.script.is_none() && self.executor.reply_bytes_max > 0 {
                        t.reply_bytes += reply.len();
                        if t.reply_bytes > self.executor.reply_bytes_max {
                            // The transaction ends as it would; its client does not stay for it.
                            if !matches!(t.step, Step::Parts { .. }) {
                                reply = Vec::new();
                            }
                            self.close_for_output(t.home.unwrap_or(self.id), t.origin.client);
                        }
                    }
                    if let Some(reply) = t.step.take_reply(from, reply) {
                        t.replies[command] = reply;
                    }
                }
            }
            WorkResult::Reached(wanted) => {
                if let Step::Reaching { command, home } = t.step {
                    self.copy_wanted(id, t, command, home, wanted);
                }
            }
            WorkResult::Copied(values) => t.step.take_values(values),
            WorkResult::RanWithRemoteValues { command, reply, outcome, blocked } => {
                t.replies[command] = reply;
                t.blocked = blocked;
                self.settle_remote_values(id, t, outcome);
            }
            WorkResult::WrittenBack => {}
            WorkResult::AtBarrier(answer) => {
                if let Some(barrier) = &mut t.barrier {
                    barrier.answered(from, self.turn.slots.shards(), answer);
                }
            }
        }
        if !t.intents.is_waiting() {
            let commands = &t.commands;
            match t.step.complete(|command| self.shard_by_weight(commands[command].db)) {
                Complete::Nothing => {}
                Complete::Reply { command, reply } => t.replies[command] = reply,
                Complete::Copied { command, home, remote_values } => {
                    let work = Work::RunWithRemoteValues(command, t.commands[command].clone(), remote_values);
                    self.step(id, t, home, work, false);
                }
            }
        }
        self.advance(id, transaction);
    }

    /// Closes the client of a transaction, whose replies are more than it may have.
    pub(in crate::shard) fn close_client_of(&mut self, id: TransactionId) {
        if let Some(transaction) = self.transactions.running.get(&id) {
            let (home, client) = (transaction.home.unwrap_or(self.id), transaction.origin.client);
            self.close_for_output(home, client);
        }
    }

    fn finish_transaction(&mut self, id: TransactionId, mut transaction: Box<Transaction>) {
        if transaction.barrier.is_some() {
            return self.release_all_unreleased(id, &mut transaction, true);
        }
        if let Some(run) = transaction.blocked.take() {
            match transaction.waiter {
                Some(number) => self.block_remote_again(number, run),
                None => self.block_remote(&mut transaction, run),
            }
            return self.release_all_unreleased(id, &mut transaction, false);
        }
        if let Some(number) = transaction.waiter {
            self.end_rerun(number);
        }
        self.release_all_unreleased(id, &mut transaction, true);
        let mut reply = Reply::new(transaction.protocol);
        if transaction.is_exec {
            reply.array(transaction.replies.len());
        }
        for encoded in transaction.replies.drain(..) {
            reply.raw(&encoded);
        }
        let (home, origin) = (transaction.home.unwrap_or(self.id), transaction.origin);
        let awaited = transaction.is_awaited.then_some(transaction.intents.participants());
        let answer = FlushAnswer { coordinator: self.id, transaction: id, awaited, home, origin, reply };
        if transaction.commands.iter().any(|command| self.turn.empties_saved_file(command.spec)) {
            self.tell_leader(LeaderRequest::AnswerWhenFlushed(Box::new(answer)));
        } else {
            self.answer_flushed(answer);
        }
    }

    /// A transaction's answer leaves as soon as what it did may be seen.
    pub(in crate::shard) fn answer_flushed(&mut self, answer: FlushAnswer) {
        let FlushAnswer { transaction, awaited, home, origin, mut reply, .. } = answer;
        match awaited {
            Some(participants) => self.answer_when_released(transaction, participants, home, origin, reply),
            None => self.reply_to(home, origin, &mut reply),
        }
    }

    /// Gives back what a transaction holds, as at its end, but answers nobody: it goes on as another one.
    pub(in crate::shard) fn end_part_of(&mut self, id: TransactionId, transaction: &mut Transaction) {
        self.release_all_unreleased(id, transaction, false);
    }

    fn release_all_unreleased(&mut self, id: TransactionId, t: &mut Transaction, is_answered: bool) {
        for shard in t.intents.unreleased() {
            let mut ending = self.journal.ending_of(&self.turn, id, t, shard);
            ending.report_to = ending.report_to.filter(|_| is_answered);
            self.send(shard, Message::Release { number: t.intents.number(), ending });
        }
    }
}

//! A participant: holds intents for transactions, runs their parts, and lets those behind them go on.

use super::work::{Run, Work, WorkResult};
use super::{flat, Owner, Waiting};
use crate::command::table::KeyAccess;
use crate::resp::Reply;
use crate::runtime::ring::Token;
use crate::shard::loans::Outcome;
use crate::shard::message::Message;
use crate::shard::Shard;
use crate::txn::locks::{fingerprint_of_client, Answer, Number, Scope};
use crate::txn::message::{
    BatchedRequest, Ending, ExecBody, Origin, OwnedArgs, OwnedCommand, TransactionId, Watch,
};

impl Shard {
    pub(in crate::shard) fn lock(
        &mut self,
        coordinator: usize,
        transaction: TransactionId,
        number: Number,
        scope: &Scope,
        watch: Option<Watch>,
    ) {
        match self.request_lock(number, scope) {
            Answer::Granted => self.tell_granted(coordinator, transaction, number, watch),
            Answer::Waiting => {
                let owner = Owner::Coordinator { shard: coordinator, transaction, watch };
                self.lock_owners.insert(number, owner);
            }
            Answer::Refused => {
                self.send(coordinator, Message::Locked { from: self.id, transaction, number, granted: false })
            }
        }
    }

    #[cfg(not(feature = "unsafe-no-intents"))]
    fn request_lock(&mut self, number: Number, scope: &Scope) -> Answer {
        self.locks.request(number, scope)
    }

    /// For the test of the tests: the history checker must find what happens without intents.
    #[cfg(feature = "unsafe-no-intents")]
    fn request_lock(&mut self, _number: Number, _scope: &Scope) -> Answer {
        Answer::Granted
    }

    fn tell_granted(
        &mut self,
        coordinator: usize,
        transaction: TransactionId,
        number: Number,
        watch: Option<Watch>,
    ) {
        if let Some(watch) = watch {
            self.check_watched_expiry(&watch);
        }
        self.send(coordinator, Message::Locked { from: self.id, transaction, number, granted: true });
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
        let Run { coordinator, transaction, number, caller, protocol, work, ending } = run;
        self.enter_part(number);
        if let Some(at_ms) = caller.at_ms {
            self.store.set_time(at_ms);
        }
        let result = match work {
            Work::Commands(commands) => {
                let mut replies = Vec::with_capacity(commands.len());
                for (index, command) in commands {
                    let mut reply = Reply::new(protocol);
                    let args = command.args.slices();
                    let run = self.run_command(command.spec, command.db, &args, &caller, &mut reply);
                    debug_assert!(run.is_none(), "{} blocks in a transaction", command.spec.name);
                    replies.push((index, flat(&mut reply)));
                }
                WorkResult::Replies(replies)
            }
            Work::Lend(command) => {
                if caller.remembers_reads {
                    self.remember_reads(command.spec, &command.args.slices(), &caller);
                }
                WorkResult::Lent(self.lend_own(&command))
            }
            Work::Reach(command) => WorkResult::Reached(self.wanted_by(&command, &caller)),
            Work::LendWanted(command, wanted) => WorkResult::Lent(self.lend_own_and(&command, &wanted)),
            Work::RunWithLoans(index, command, loans) => {
                let mut reply = Reply::new(protocol);
                let (outcome, blocked) = self.run_with_loans(&command, loans, &caller, &mut reply);
                let reply = flat(&mut reply);
                match outcome {
                    Outcome::Changed(changed) => WorkResult::Changed(index, reply, changed, blocked),
                    Outcome::Effects(effects) => WorkResult::Effects(index, reply, effects, blocked),
                }
            }
            Work::TakeBack(loans) => {
                for loan in loans {
                    self.take_back(loan);
                }
                self.tell_changes(caller.client_id);
                WorkResult::TakenBack
            }
            Work::Apply(effects) => {
                self.apply(&effects, &caller);
                WorkResult::TakenBack
            }
            Work::Barrier(at_each) => {
                at_each(self, number);
                WorkResult::TakenBack
            }
            Work::BarrierInTurns(at_each) => {
                let done = move |shard: &mut Shard| {
                    let (from, result) = (shard.id, WorkResult::TakenBack);
                    shard.send(coordinator, Message::Ran { from, transaction, result });
                };
                at_each(self, Box::new(done));
                return self.leave_part();
            }
        };
        self.leave_part();
        if caller.at_ms.is_some() {
            self.store.set_time(self.now_us / 1000);
        }
        self.send(coordinator, Message::Ran { from: self.id, transaction, result });
        if let Some(ending) = ending {
            self.release(number, &ending);
        }
    }

    /// Removes a transaction's intents and lets those behind it go on.
    pub(in crate::shard) fn release(&mut self, number: Number, ending: &Ending) {
        let mut granted = Vec::new();
        self.end_part(number, ending);
        self.serve_before_release(number);
        self.lock_owners.remove(&number);
        self.locks.release(number, &mut granted);
        let mut next = 0;
        while next < granted.len() {
            let number = granted[next];
            next += 1;
            match self.lock_owners.remove(&number) {
                Some(Owner::Coordinator { shard, transaction, watch }) => {
                    self.tell_granted(shard, transaction, number, watch);
                }
                Some(Owner::Waiting(waiting)) => {
                    self.run_waiting(number, *waiting);
                    self.serve_before_release(number);
                    self.locks.release(number, &mut granted);
                }
                None => self.locks.release(number, &mut granted),
            }
        }
    }

    /// Runs what holds its intents by `number` now.
    fn run_waiting(&mut self, number: Number, waiting: Waiting) {
        match waiting {
            Waiting::Command { shard, origin, command, caller, protocol } => {
                let mut reply = Reply::new(protocol);
                let (spec, db) = (command.spec, command.db);
                self.scripts.holding = Some(number);
                let run = self.run_command(spec, db, &command.args.slices(), &caller, &mut reply);
                self.scripts.holding = None;
                if let Some(script) = self.take_standing_script() {
                    return self.adopt_script(script, shard, origin);
                }
                match run {
                    Some(run) => self.block_origin(shard, origin, command, caller, protocol, run),
                    None => self.reply_to(shard, origin, &mut reply),
                }
            }
            Waiting::Exec { shard, origin, body } => {
                let mut reply = Reply::new(body.protocol);
                self.run_exec(&body, &mut reply);
                self.reply_to(shard, origin, &mut reply);
            }
        }
    }

    /// Another shard's request waits when a transaction has an intent on its keys.
    pub(in crate::shard) fn wait_if_conflicting(
        &mut self,
        from: usize,
        request: &BatchedRequest,
        args: &[&[u8]],
    ) -> bool {
        let command = OwnedCommand::new(request.spec, request.db, OwnedArgs::from_slices(args));
        let Some(scope) = self.own_scope(std::slice::from_ref(&command)) else { return false };
        let client = request.origin.client;
        if !self.locks.conflicts_in_order(&scope, fingerprint_of_client(from, client)) {
            return false;
        }
        let waiting = Waiting::Command {
            shard: from,
            origin: request.origin,
            command,
            caller: request.caller,
            protocol: request.protocol,
        };
        self.wait_behind(&scope, from, client, waiting);
        true
    }

    /// The intents that `commands` need on this shard; None when they have no key here.
    pub(in crate::shard) fn own_scope(&self, commands: &[OwnedCommand]) -> Option<Scope> {
        let scopes = self.scopes_of(commands);
        scopes.by_shard.into_iter().find(|(shard, _)| *shard == self.id).map(|(_, scope)| scope)
    }

    /// A MULTI body of which every key is on this shard.
    pub(in crate::shard) fn exec_here(&mut self, from: usize, origin: Origin, body: Box<ExecBody>) {
        let mut reply = Reply::new(body.protocol);
        match self.exec_or_body(from, origin.client, body, &mut reply) {
            None => self.reply_to(from, origin, &mut reply),
            Some((scope, body)) => {
                let waiting = Waiting::Exec { shard: from, origin, body };
                self.wait_behind(&scope, from, origin.client, waiting);
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
        if !self.locks.is_idle() {
            if let Some(scope) = self.exec_scope(&body) {
                if self.locks.conflicts_in_order(&scope, fingerprint_of_client(home, client)) {
                    return Some((scope, body));
                }
            }
        }
        self.run_exec(&body, reply);
        None
    }

    /// A body of one of this shard's own clients waits for the intents in front of it.
    pub(in crate::shard) fn exec_behind(&mut self, scope: &Scope, origin: Origin, body: Box<ExecBody>) {
        self.wait_behind(scope, self.id, origin.client, Waiting::Exec { shard: self.id, origin, body });
    }

    fn exec_scope(&self, body: &ExecBody) -> Option<Scope> {
        let mut scopes = self.scopes_of(&body.commands);
        for (_, key) in body.watch.iter().flat_map(|watch| &watch.keys) {
            scopes.add_key(self.topology.owner(key), key, KeyAccess::Read);
        }
        scopes.by_shard.into_iter().find(|(shard, _)| *shard == self.id).map(|(_, scope)| scope)
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
        reply.array(body.commands.len());
        let outer = self.begin_body();
        for command in &body.commands {
            let args = command.args.slices();
            let run = self.run_command(command.spec, command.db, &args, &body.caller, reply);
            debug_assert!(run.is_none(), "{} blocks in a transaction", command.spec.name);
        }
        self.end_body(outer);
        self.serve_if_ready();
    }
}

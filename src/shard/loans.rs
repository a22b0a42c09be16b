//! Commands whose keys live on several shards and that cannot be cut by key (RENAME, COPY, MSETNX, LCS, ...).
//!
//! The owners of foreign keys lend copies of their values (`txn/transactions.md`). The command runs on a store of its
//! own that holds exactly its keys, the lent ones and copies of this shard's, and nothing else; each key
//! carries a watch there, which tells afterwards whether the command changed it. Only those values are written
//! back, here and to their owners.
//!
//! Of a value that the command only overwrites nothing is lent but that it exists. And a command that touches little of
//! values that may be large (LMOVE, SMOVE) runs on excerpts of them: what comes back then is what to do to each key,
//! as commands on one key, which their owners run.

use super::Shard;
use crate::command::table::{self, Handler, KeyFlag, KeyPosition, KeyPositions, Reaching, Spread, Wanted};
use crate::command::{Args, Caller};
use crate::resp::Reply;
use crate::store::{Detached, SlotRange, Store, WatchFlag};
use crate::txn::message::{BlockedRun, Loan, OwnedArgs, OwnedCommand};
use crate::txn::plan::database_of;

/// The store for such commands, made when the first one comes and empty between two of them.
#[derive(Default)]
pub(super) struct Workbench {
    store: Option<Store>,
    /// What the command in progress says that it does, when it runs on excerpts.
    pub effects: Vec<Vec<Vec<u8>>>,
    /// The command in progress has asked for a key that nobody lent: nothing of what it did counts.
    pub has_strayed: bool,
}

/// What a command has done to the keys of other shards.
pub(super) enum Outcome {
    Changed(Vec<Loan>),
    Effects(Vec<OwnedCommand>),
}

impl Shard {
    /// What `command` needs of this shard's keys.
    pub(super) fn lend_own(&mut self, command: &OwnedCommand) -> Vec<Loan> {
        let mut loans = Vec::new();
        self.add_own(command, &command.args.slices(), &mut loans);
        loans
    }

    /// Which keys `command`, whose first key is this shard's, will look up that it does not name.
    pub(super) fn wanted_by(&mut self, command: &OwnedCommand, caller: &Caller) -> Vec<Wanted> {
        let args = command.args.slices();
        match Reaching::of(command.spec, &args) {
            // It will be refused.
            Some(_) if !self.may_reach(command.spec, &args, caller.user) => Vec::new(),
            Some(reaching) => (reaching.wanted)(&mut self.store, command.db, &args),
            None => Vec::new(),
        }
    }

    /// What `command` needs of this shard's keys and, by `wanted`, of further ones.
    pub(super) fn lend_own_and(&mut self, command: &OwnedCommand, wanted: &[Wanted]) -> Vec<Loan> {
        let args = command.args.slices();
        let Some(reaching) = Reaching::of(command.spec, &args) else { return Vec::new() };
        let mut named = Vec::new();
        self.add_own(command, &args, &mut named);
        let mut loans = Vec::new();
        for wishes in wanted.chunk_by(|a, b| a.key == b.key) {
            let key = &wishes[0].key;
            let was_named = named.len();
            named.retain(|loan| loan.key != *key);
            // What is replaced has to be there as well, whatever it is.
            let value = if named.len() < was_named {
                self.store.clone_value(command.db, key)
            } else {
                (reaching.excerpt)(&mut self.store, command.db, wishes)
            };
            loans.push(Loan { db: command.db, key: key.clone(), value });
        }
        loans.append(&mut named);
        loans
    }

    fn add_own(&mut self, command: &OwnedCommand, args: Args, loans: &mut Vec<Loan>) {
        let mut keys = KeyPositions::new();
        command.spec.key_positions(args, &mut keys);
        for position in &keys {
            let key = args[position.index];
            let db = database_of(command.spec, args, position.index, command.db, self.store.databases());
            if self.topology.owner(key) != self.id {
                continue;
            }
            let is_read = !is_overwritten(position);
            match loans.iter_mut().find(|loan| loan.db == db && loan.key == key) {
                // It is read too: its existence is not enough.
                Some(loan) if is_read => loan.value = self.loan(command, args, position, db),
                Some(_) => {}
                None => {
                    let value = self.loan(command, args, position, db);
                    loans.push(Loan { db, key: key.to_vec(), value });
                }
            }
        }
    }

    fn loan(
        &mut self,
        command: &OwnedCommand,
        args: Args,
        position: &KeyPosition,
        db: usize,
    ) -> Option<Detached> {
        let key = args[position.index];
        match command.spec.handler {
            Handler::Keys(_, Spread::Excerpt(excerpt)) => excerpt(&mut self.store, db, args, position.index),
            _ if is_overwritten(position) => {
                self.store.exists(db, key).then(|| Detached::from_string(b"", None))
            }
            _ => self.store.clone_value(db, key),
        }
    }

    /// Runs `command` with its foreign keys in `loans`. Tells what it did to those, and how it blocked.
    pub(super) fn run_with_loans(
        &mut self,
        command: &OwnedCommand,
        mut loans: Vec<Loan>,
        caller: &Caller,
        reply: &mut Reply,
    ) -> (Outcome, Option<BlockedRun>) {
        let slices = command.args.slices();
        self.add_own(command, &slices, &mut loans);
        let on_excerpts = matches!(command.spec.handler, Handler::Keys(_, Spread::Excerpt(_)));
        let caller = Caller { on_excerpts, ..*caller };

        let databases = self.store.databases();
        let mut bench =
            self.workbench.store.take().unwrap_or_else(|| Store::new(SlotRange::of_shard(0, 1), databases));
        bench.set_time(self.store.now_ms());
        bench.settings = self.store.settings.clone();
        // On excerpts, those who own the values raise the events.
        let events = if on_excerpts { Default::default() } else { self.store.events.classes() };
        bench.events.set_classes(events);
        bench.log_enabled = on_excerpts;
        let mut watched = Vec::with_capacity(loans.len());
        for Loan { db, key, value } in loans {
            if let Some(value) = value {
                bench.put(db, &key, value.reallocated());
            }
            let flag = WatchFlag::new();
            bench.watch(db, &key, &flag);
            watched.push((db, key, flag));
        }
        bench.dirty = 0;
        bench.guard(watched.iter().map(|(db, key, _)| (*db, key.as_slice())));
        self.workbench.has_strayed = false;

        std::mem::swap(&mut self.store, &mut bench);
        let blocked = self.run_command(command.spec, command.db, &slices, &caller, reply);
        std::mem::swap(&mut self.store, &mut bench);
        // The run has told about the other store.
        self.show_len(command.db);

        let counts = !std::mem::take(&mut self.workbench.has_strayed);
        let mut foreign = Vec::new();
        for (db, key, flag) in watched {
            bench.unwatch(db, &key, &flag);
            let value = bench.take(db, &key);
            if on_excerpts || !counts || !flag.is_set() {
                continue;
            }
            let loan = Loan { db, key, value };
            if self.topology.owner(&loan.key) == self.id {
                self.take_back(loan);
            } else {
                foreign.push(loan);
            }
        }
        if !on_excerpts && counts {
            self.store.dirty += bench.dirty;
        }
        self.workbench.store = Some(bench);
        if !counts {
            self.workbench.effects.clear();
        }
        let outcome = if on_excerpts {
            Outcome::Effects(self.take_effects(command.db, &caller))
        } else {
            Outcome::Changed(foreign)
        };
        (outcome, blocked)
    }

    /// Runs what the command on excerpts does to this shard's keys, and returns the rest.
    fn take_effects(&mut self, db: usize, caller: &Caller) -> Vec<OwnedCommand> {
        let effects = std::mem::take(&mut self.workbench.effects);
        let (own, foreign): (Vec<_>, _) = effects
            .iter()
            .map(|effect| {
                let args: Vec<&[u8]> = effect.iter().map(Vec::as_slice).collect();
                let spec = table::lookup(args[0]).expect("a command logs one that there is");
                OwnedCommand::new(spec, db, OwnedArgs::from_slices(&args))
            })
            .partition(|effect| self.owner_of_effect(effect) == self.id);
        self.apply(&own, caller);
        foreign
    }

    /// The shard of the key of a command on one key.
    pub(super) fn owner_of_effect(&self, effect: &OwnedCommand) -> usize {
        let args = effect.args.slices();
        let mut keys = KeyPositions::new();
        effect.spec.key_positions(&args, &mut keys);
        // An effect without a key would do nothing anywhere.
        keys.first().map_or(self.id, |key| self.topology.owner(args[key.index]))
    }

    /// Does to this shard's keys what a command has done on excerpts of them, which has counted the call.
    pub(super) fn apply(&mut self, effects: &[OwnedCommand], caller: &Caller) {
        let caller = Caller { is_extra_part: true, on_excerpts: false, ..*caller };
        let mut reply = Reply::default();
        for effect in effects {
            self.run_command(effect.spec, effect.db, &effect.args.slices(), &caller, &mut reply);
            reply.clear();
        }
    }

    /// Writes what a command made of one of this shard's keys.
    pub(super) fn take_back(&mut self, Loan { db, key, value }: Loan) {
        match value {
            Some(value) => self.store.put(db, &key, value.reallocated()),
            None => {
                self.store.remove(db, &key);
            }
        }
        self.store.touched(db, &key);
        self.log_value(db, &key);
        self.show_len(db);
    }
}

/// The command replaces or removes the value without looking at it.
fn is_overwritten(position: &KeyPosition) -> bool {
    position.flags.contains(KeyFlag::Ow) && !position.flags.contains(KeyFlag::Access)
}

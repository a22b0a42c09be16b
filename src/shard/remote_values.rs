//! Commands whose keys live on several shards and that cannot be cut by key (RENAME, COPY, MSETNX, LCS, ...).
//!
//! The owners of foreign keys send copies of their values (`txn/transactions.md`). The command runs on a store of its
//! own that holds exactly its keys, the remote ones and copies of this shard's, and nothing else; each key
//! carries a watch there, which tells afterwards whether the command changed it. Only those values are written
//! back, here and to their owners.
//!
//! Of a value that the command only overwrites nothing is sent but that it exists. And a command that touches little of
//! values that may be large (LMOVE, SMOVE) runs on excerpts of them: what comes back then is what to do to each key,
//! as commands on one key, which their owners run.

use super::call::{Call, Called, Within};
use super::Shard;
use crate::command::table::{self, Handler, KeyFlag, KeyPosition, KeyPositions, Reaching, Spread, Wanted};
use crate::command::{Args, Caller};
use crate::resp::Reply;
use crate::shard::executor::Executor;
use crate::shard::turn::TurnState;
use crate::store::{Detached, EventClass, SlotSet, Store, WatchFlag};
use crate::txn::message::{BlockedRun, OwnedArgs, OwnedCommand, RemoteValue, Use};
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
#[derive(Debug, Default)]
pub struct Outcome {
    pub changed: Vec<RemoteValue>,
    /// Of a command that ran on excerpts.
    pub effects: Vec<OwnedCommand>,
    /// What it has used and not changed. Of a command that ran on excerpts: whatever it has used.
    pub uses: Vec<Use>,
}

impl TurnState {
    /// The shard of the key of a command on one key.
    pub(super) fn owner_of_effect(&self, effect: &OwnedCommand) -> usize {
        let args = effect.args.slices();
        let mut keys = KeyPositions::new();
        effect.spec.key_positions(&args, &mut keys);
        // An effect without a key would do nothing anywhere.
        keys.first().map_or(self.id, |key| self.slots.shard_of(args[key.index]))
    }
}

impl Executor {
    /// A command on excerpts has come upon these keys, which had expired: their owners come upon them, too. What it does to one
    /// of them does that anyway.
    fn delete_expired_by_effect(&mut self, expired: Vec<(usize, Vec<u8>)>) {
        for (_, key) in expired {
            if !self.workbench.effects.iter().any(|effect| effect.contains(&key)) {
                self.workbench.effects.push(vec![b"PERSIST".to_vec(), key]);
            }
        }
    }
}

impl Shard {
    /// What `command` needs of this shard's keys.
    pub(super) fn copy_own_values(&mut self, command: &OwnedCommand) -> Vec<RemoteValue> {
        let mut remote_values = Vec::new();
        self.add_own(command, &command.args.slices(), &mut remote_values);
        remote_values
    }

    /// Which keys `command`, whose first key is this shard's, will look up that it does not name.
    pub(super) fn wanted_by(&mut self, command: &OwnedCommand, caller: &Caller) -> Vec<Wanted> {
        let args = command.args.slices();
        let Some(reaching) = Reaching::of(command.spec, &args) else { return Vec::new() };
        if !self.turn.may_reach(command.spec, &args, caller.user) {
            // It will be refused.
            return Vec::new();
        }
        let mut keys = KeyPositions::new();
        command.spec.key_positions(&args, &mut keys);
        // The command itself comes upon that.
        if keys.first().is_some_and(|first| self.store.is_expired(command.db, args[first.index])) {
            return Vec::new();
        }
        // It will look at the key itself, too, and that look is the one that counts.
        let (hits, misses) = (self.store.stats.keyspace_hits, self.store.stats.keyspace_misses);
        let classes = self.store.events.classes();
        self.store.events.set_classes(EventClass::NONE);
        self.store.no_touch = true;
        let wanted = (reaching.wanted)(&mut self.store, command.db, &args);
        self.store.events.set_classes(classes);
        self.store.stats.keyspace_hits = hits;
        self.store.stats.keyspace_misses = misses;
        wanted
    }

    /// What `command` needs of this shard's keys and, by `wanted`, of further ones.
    pub(super) fn copy_own_values_and(
        &mut self,
        command: &OwnedCommand,
        wanted: &[Wanted],
    ) -> Vec<RemoteValue> {
        let args = command.args.slices();
        let Some(reaching) = Reaching::of(command.spec, &args) else { return Vec::new() };
        let mut named = Vec::new();
        self.add_own(command, &args, &mut named);
        let mut remote_values = Vec::new();
        for wanted_values in wanted.chunk_by(|a, b| a.key == b.key) {
            let key = &wanted_values[0].key;
            let was_named = named.len();
            named.retain(|remote_value| remote_value.key != *key);
            // What is replaced has to be there as well, whatever it is.
            let value = if named.len() < was_named {
                self.store.copy_value(command.db, key)
            } else {
                let excerpt = (reaching.excerpt)(&mut self.store, command.db, wanted_values);
                excerpt.map(|excerpt| self.store.used_as(command.db, key, excerpt))
            };
            remote_values.push(RemoteValue { db: command.db, key: key.clone(), value });
        }
        remote_values.append(&mut named);
        remote_values
    }

    fn add_own(&mut self, command: &OwnedCommand, args: Args, remote_values: &mut Vec<RemoteValue>) {
        let mut keys = KeyPositions::new();
        command.spec.key_positions(args, &mut keys);
        for position in &keys {
            let key = args[position.index];
            let db = database_of(command.spec, args, position.index, command.db, self.store.databases());
            if self.turn.slots.shard_of(key) != self.id {
                continue;
            }
            let is_read = !is_overwritten(position);
            match remote_values
                .iter_mut()
                .find(|remote_value| remote_value.db == db && remote_value.key == key)
            {
                // It is read too: its existence is not enough.
                Some(remote_value) if is_read => {
                    remote_value.value = self.remote_value(command, args, position, db)
                }
                Some(_) => {}
                None => {
                    let value = self.remote_value(command, args, position, db);
                    remote_values.push(RemoteValue { db, key: key.to_vec(), value });
                }
            }
        }
    }

    fn remote_value(
        &mut self,
        command: &OwnedCommand,
        args: Args,
        position: &KeyPosition,
        db: usize,
    ) -> Option<Detached> {
        let key = args[position.index];
        match command.spec.handler {
            Handler::Keys(_, Spread::Excerpt(excerpt)) if !self.store.is_expired(db, key) => {
                let excerpt = excerpt(&mut self.store, db, args, position.index);
                excerpt.map(|excerpt| self.store.used_as(db, key, excerpt))
            }
            Handler::Keys(_, Spread::Excerpt(_)) => self.store.copy_stand_in(db, key),
            _ if is_overwritten(position) => self.store.copy_stand_in(db, key),
            _ => self.store.copy_value(db, key),
        }
    }

    /// What looking for keys to lend has come upon is told before anything else is done.
    pub(super) fn settle_looks(&mut self, db: usize) {
        self.show_len(db);
        self.tell_of_changes(0);
    }

    /// Runs `command` with its foreign keys in `remote_values`. Tells what it did to those, and how it blocked.
    pub(super) fn run_with_remote_values(
        &mut self,
        command: &OwnedCommand,
        mut remote_values: Vec<RemoteValue>,
        caller: &Caller,
        reply: &mut Reply,
    ) -> (Outcome, Option<BlockedRun>) {
        let slices = command.args.slices();
        self.add_own(command, &slices, &mut remote_values);
        self.settle_looks(command.db);
        let on_excerpts = matches!(command.spec.handler, Handler::Keys(_, Spread::Excerpt(_)));
        let caller = Caller { on_excerpts, ..*caller };

        let databases = self.store.databases();
        let mut bench =
            self.executor.workbench.store.take().unwrap_or_else(|| Store::new(SlotSet::ALL, databases));
        bench.set_time(self.store.now_ms());
        bench.settings = self.store.settings.clone();
        bench.log_enabled = on_excerpts;
        bench.expire_on_access = false;
        let mut copied = Vec::with_capacity(remote_values.len());
        for RemoteValue { db, key, value } in remote_values {
            let clock = value.as_ref().map(Detached::clock);
            if let Some(value) = value {
                bench.put(db, &key, value.reallocated());
            }
            let flag = WatchFlag::new();
            bench.watch(db, &key, &flag);
            copied.push((db, key, flag, clock));
        }
        bench.expire_on_access = self.store.expire_on_access;
        bench.expire_paused = self.store.expire_paused;
        bench.keeps_expired = self.store.keeps_expired;
        // The keys are new to this store only. On excerpts, those who own the values raise the events of changes.
        let classes = self.store.events.classes();
        let is_raised = |class: &EventClass| classes.contains(*class);
        let misses = [EventClass::KEY_MISS, EventClass::KEYSPACE, EventClass::KEYEVENT];
        let misses = misses.into_iter().filter(is_raised).fold(EventClass::NONE, |all, class| all | class);
        bench.events.set_classes(if on_excerpts { misses } else { classes });
        bench.dirty = 0;
        bench.guard(copied.iter().map(|(db, key, _, _)| (*db, key.as_slice())));
        self.executor.workbench.has_strayed = false;
        bench.stats = Default::default();

        std::mem::swap(&mut self.store, &mut bench);
        let call = Call {
            spec: command.spec,
            db: command.db,
            args: &slices,
            caller: &caller,
            within: Within::Longer,
        };
        let blocked = match self.call(call, reply) {
            Called::Blocked(run) => Some(run),
            _ => None,
        };
        std::mem::swap(&mut self.store, &mut bench);
        // What it has not come upon does not expire here.
        bench.expire_on_access = false;
        bench.events.set_classes(EventClass::NONE);
        // The run has told about the other store.
        self.show_len(command.db);
        self.store.stats.keyspace_hits += bench.stats.keyspace_hits;
        self.store.stats.keyspace_misses += bench.stats.keyspace_misses;

        let counts = !std::mem::take(&mut self.executor.workbench.has_strayed);
        if counts {
            self.store.dirty += bench.dirty;
        } else {
            self.executor.workbench.effects.clear();
        }
        let mut outcome = Outcome::default();
        let mut own_uses = Vec::new();
        if on_excerpts {
            self.executor.delete_expired_by_effect(std::mem::take(&mut bench.expired_effects));
            outcome.effects = self.take_effects(command.db, &caller);
        }
        for (db, key, flag, before) in copied {
            bench.unwatch(db, &key, &flag);
            let value = bench.take(db, &key);
            if !counts {
                continue;
            }
            let is_own = self.turn.slots.shard_of(&key) == self.id;
            if flag.is_set() && !on_excerpts {
                let remote_value = RemoteValue { db, key, value };
                if is_own {
                    self.write_back(remote_value);
                } else {
                    outcome.changed.push(remote_value);
                }
            } else if let Some(clock) = value.map(|value| value.clock()).filter(|now| Some(*now) != before) {
                let used = Use { db, key, clock };
                if is_own {
                    own_uses.push(used);
                } else if before.is_some() {
                    outcome.uses.push(used);
                }
            }
        }
        self.note_uses(own_uses);
        self.tell_changes(caller.client_id);
        // The copies are small or were made in one go, too.
        while bench.free_some(usize::MAX) {}
        self.executor.workbench.store = Some(bench);
        (outcome, blocked)
    }

    /// Runs what the command on excerpts does to this shard's keys, and returns the rest.
    fn take_effects(&mut self, db: usize, caller: &Caller) -> Vec<OwnedCommand> {
        let effects = std::mem::take(&mut self.executor.workbench.effects);
        let (own, foreign): (Vec<_>, _) = effects
            .iter()
            .map(|effect| {
                let args: Vec<&[u8]> = effect.iter().map(Vec::as_slice).collect();
                let spec = table::lookup(args[0]).expect("a command logs one that there is");
                OwnedCommand::new(spec, db, OwnedArgs::from_slices(&args))
            })
            .partition(|effect| self.turn.owner_of_effect(effect) == self.id);
        self.apply(&own, caller);
        foreign
    }

    /// Does to this shard's keys what a command has done on excerpts of them, which has counted the call and its changes, and
    /// knows how the keys were used.
    pub(super) fn apply(&mut self, effects: &[OwnedCommand], caller: &Caller) {
        let caller = Caller { is_extra_part: true, on_excerpts: false, no_touch: true, ..*caller };
        let (dirty, counted) = (self.store.dirty, self.stats.dirty.get());
        let (hits, misses) = (self.store.stats.keyspace_hits, self.store.stats.keyspace_misses);
        let mut reply = Reply::default();
        for effect in effects {
            self.call_in_longer(effect, &caller, &mut reply);
            reply.clear();
        }
        self.store.dirty = dirty;
        self.stats.dirty.set(counted);
        self.store.stats.keyspace_hits = hits;
        self.store.stats.keyspace_misses = misses;
    }

    /// Notes how keys of this shard were used on another one.
    pub(super) fn note_uses(&mut self, uses: Vec<Use>) {
        for Use { db, key, clock } in uses {
            self.store.note_use(db, &key, clock);
        }
    }

    /// Writes what a command made of one of this shard's keys.
    pub(super) fn write_back(&mut self, RemoteValue { db, key, value }: RemoteValue) {
        // The command has raised the events.
        let classes = self.store.events.classes();
        self.store.events.set_classes(Default::default());
        let is_changed = match value {
            Some(value) => {
                self.store.put(db, &key, value.reallocated());
                true
            }
            // One that had expired goes here for that reason.
            None => self.store.remove(db, &key),
        };
        self.store.events.set_classes(classes);
        if is_changed {
            self.store.touched(db, &key);
            self.log_value(db, &key);
        } else {
            self.log_expired();
        }
        self.show_len(db);
    }
}

/// The command replaces or removes the value without looking at it.
fn is_overwritten(position: &KeyPosition) -> bool {
    position.flags.contains(KeyFlag::Ow) && !position.flags.contains(KeyFlag::Access)
}

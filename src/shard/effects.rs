//! What commands did becomes commands in the journal: themselves, others in their place, or the values that they left.

use super::call::Call;
use super::push::Push;
use super::Shard;
use crate::command::table::{CommandSpec, Handler, KeyAccess, KeyPositions};
use crate::command::{Args, Audience, Effect};
use crate::journal::Place;
use crate::rdb;
use crate::shard::journal::Journal;
use crate::shard::turn::TurnState;
use crate::store::Evicted;
use crate::store::Store;
use crate::txn::locks::Number;
use crate::txn::plan::database_of;
use smallvec::SmallVec;

impl Journal {
    /// Keys that were found expired become part of the unit in progress.
    fn collect_expired(&mut self, turn: &TurnState, store: &mut Store) {
        if store.expired_effects.is_empty() {
            return;
        }
        let del = deletion(turn.config.memory.lazyfree_lazy_expire);
        for (db, key) in std::mem::take(&mut store.expired_effects) {
            self.units.push(Place::in_db(db), &[del, &key]);
        }
    }

    /// A message about what happens now waits for the end of the unit in progress, which it may be about. Gives it back when there
    /// is none.
    pub(super) fn wait_for_unit(&mut self, store: &mut Store, shard: usize, push: Push) -> Option<Push> {
        // A shard that only publishes for a transaction has no part that would end.
        let is_within = match self.units.part() {
            Some(number) => self.locks.knows(number),
            None => self.units.is_in_body() && store.log_enabled,
        };
        if !is_within {
            return Some(push);
        }
        self.units.attach((shard, push));
        None
    }

    /// The commands until `end_body` are one unit. Returns what that is to be given: whether they are part of a unit anyway.
    pub(super) fn begin_body(&mut self) -> bool {
        self.units.begin_body()
    }

    /// What has been done since `begin_body` becomes the beginning of a transaction's part.
    pub(super) fn body_becomes_part(&mut self, turn: &TurnState, store: &mut Store, number: Number) {
        if store.log_enabled {
            self.collect_expired(turn, store);
        }
        self.units.body_becomes_part(number);
    }

    /// What is done until `leave_part` is this shard's part of a transaction, in this step of it.
    pub(super) fn enter_part(&mut self, store: &mut Store, number: Number, step: u32) {
        self.locks.act_for(Some(number));
        if store.log_enabled {
            self.units.enter_part(number, step);
        }
    }

    pub(super) fn leave_part(&mut self, turn: &TurnState, store: &mut Store) {
        self.locks.act_for(None);
        if self.units.part().is_some() {
            self.collect_expired(turn, store);
            self.units.leave_part();
        }
    }
}

impl Shard {
    /// Takes down what a command did. `changed`: whether it changed anything.
    pub(super) fn collect(&mut self, call: Call, effect: Effect, changed: bool) {
        let Call { spec, db, args, caller, .. } = call;
        self.journal.collect_expired(&self.turn, &mut self.store);
        if changed && self.store.passed_over && matches!(effect, Effect::Verbatim) {
            return self.log_values_of(spec, db, args);
        }
        let is_everywhere = matches!(spec.handler, Handler::EveryShard(..));
        let place = Place { is_everywhere, audience: caller.audience, ..Place::in_db(db) };
        // A unit is opened only for what is in it: a shard that publishes for a transaction has no part that would end.
        match effect {
            Effect::Verbatim if changed => self.journal.units.push(place, args),
            Effect::Verbatim => self.collect_publication(spec, place, args),
            Effect::Instead(commands) => {
                for command in &commands {
                    let args: SmallVec<[&[u8]; 8]> = command.iter().map(Vec::as_slice).collect();
                    self.journal.units.push(place, &args);
                }
            }
        }
        self.unit_may_end();
    }

    /// Replicas have subscribers too.
    #[inline]
    fn collect_publication(&mut self, spec: &CommandSpec, place: Place, args: Args) {
        let is_wanted = self.journal.units.wanted().publications && place.audience.has_replicas();
        if !is_wanted || !matches!(spec.handler, Handler::Channel) {
            return;
        }
        // A shard that only publishes for a transaction has no part that would end: there it stands by itself.
        let has_no_part = |number| !self.journal.locks.knows(number);
        let place = Place { audience: Audience::Replicas, ..place };
        if self.journal.units.part().is_some_and(has_no_part) {
            self.journal.append_alone(place, args, self.turn.now_us);
        } else {
            self.journal.units.push(place, args);
        }
    }

    /// Keys that expiry found, each by itself.
    pub(super) fn log_expired(&mut self) {
        if self.store.expired_effects.is_empty() {
            return;
        }
        let del = deletion(self.turn.config.memory.lazyfree_lazy_expire);
        for (db, key) in std::mem::take(&mut self.store.expired_effects) {
            self.journal.units.push(Place::in_db(db), &[del, &key]);
            self.unit_may_end();
        }
    }

    pub(super) fn log_evicted(&mut self, evicted: &Evicted) {
        if self.store.log_enabled {
            let del = deletion(self.turn.config.memory.lazyfree_lazy_eviction);
            self.journal.units.push(Place::in_db(evicted.db), &[del, &evicted.key]);
            self.unit_may_end();
        }
    }

    /// Takes down what a key holds now, whoever made it.
    pub(super) fn log_value(&mut self, db: usize, key: &[u8]) {
        if !self.store.log_enabled {
            return;
        }
        // A replica may be of a version that reads nothing newer: it does not say.
        let version = if self.journal.is_fed() { rdb::Version::V10 } else { self.turn.rdb_format().version };
        let format = rdb::Format { version, ..self.turn.rdb_format() };
        let payload = self.store.peek(db, key).map(|value| rdb::dump(&value, format));
        let expire_at = self.store.expire_at(db, key).flatten();
        self.journal.collect_expired(&self.turn, &mut self.store);
        let place = Place::in_db(db);
        match payload {
            None => self.journal.units.push(place, &[b"DEL", key]),
            Some(payload) => {
                let mut digits = itoa::Buffer::new();
                let expire_at = digits.format(expire_at.unwrap_or(0)).as_bytes();
                let args: [&[u8]; 6] = [b"RESTORE", key, expire_at, &payload, b"REPLACE", b"ABSTTL"];
                self.journal.units.push(place, &args);
            }
        }
        self.unit_may_end();
    }

    /// Takes down what a command has left in the keys that it may change. It has taken for absent an expired key that is still there,
    /// because a transaction works on it; in the log, too, the key goes only behind that transaction, so the command itself would do
    /// something else when it is replayed.
    #[cold]
    fn log_values_of(&mut self, spec: &CommandSpec, db: usize, args: Args) {
        let mut keys = KeyPositions::new();
        spec.key_positions(args, &mut keys);
        let outer = self.journal.begin_body();
        for position in keys.iter().filter(|position| position.access == KeyAccess::Write) {
            let key = args[position.index];
            let db = database_of(spec, args, position.index, db, self.store.databases());
            self.log_value(db, key);
        }
        self.end_body(outer);
    }

    pub(super) fn end_body(&mut self, is_inner: bool) {
        self.journal.units.end_body(is_inner);
        if self.store.log_enabled {
            self.unit_may_end();
        }
    }

    fn unit_may_end(&mut self) {
        self.journal.unit_may_end(self.turn.now_us);
        let attached = self.journal.units.take_attached();
        if !attached.is_empty() {
            self.subscribers.push_all(&self.turn, &mut self.peers, &mut self.journal, attached);
        }
    }
}

fn deletion(lazy: bool) -> &'static [u8] {
    if lazy {
        b"UNLINK"
    } else {
        b"DEL"
    }
}

//! What commands did, on its way to the shard's log: collected by unit, and appended as whole units.
//!
//! A unit is what one command, one MULTI body or one transaction over shards did to this shard, the deletions of keys that it
//! found expired included. A command by itself is a unit as soon as it has run; a body when it ends; a shard's part of a
//! transaction when its intents are given back, which may be several steps later. Since nobody else touches its keys meanwhile,
//! that the units of others come in front of it changes nothing. Messages about what a unit does (events, invalidations) wait for its
//! end, and then as long as the log has them wait. `persist/persistence.md` tells what the log looks like.

use super::message::Message;
use super::push::Push;
use super::Shard;
use crate::command::table::{CommandSpec, KeyAccess, KeyPositions};
use crate::command::{Args, Effect};
use crate::persist::aof::write::{put_command, put_part, Timestamps};
use crate::rdb;
use crate::store::Evicted;
use crate::txn::locks::Number;
use crate::txn::message::Ending;
use crate::txn::plan::database_of;
use smallvec::SmallVec;
use std::collections::HashMap;

/// Commands that belong together, encoded.
#[derive(Debug, Default)]
struct Unit {
    bytes: Vec<u8>,
    /// The database of each command, and where it ends in `bytes`.
    commands: SmallVec<[(usize, usize); 4]>,
    /// Messages that are sent when the unit is appended, and the shards that they are for.
    pushes: Vec<(usize, Push)>,
}

/// A unit's buffer larger than this is given back to the allocator.
const KEPT_BYTES_MAX: usize = 64 * 1024;

impl Unit {
    fn push(&mut self, db: usize, args: Args) {
        put_command(&mut self.bytes, args);
        self.commands.push((db, self.bytes.len()));
    }

    fn is_empty(&self) -> bool {
        self.commands.is_empty()
    }

    /// Forgets its commands.
    fn clear(&mut self) {
        self.commands.clear();
        if self.bytes.capacity() > KEPT_BYTES_MAX {
            self.bytes = Vec::new();
        } else {
            self.bytes.clear();
        }
    }

    /// Appends the unit to `log`, whose database is `log_db`.
    fn put(&self, log: &mut Vec<u8>, log_db: &mut Option<usize>) {
        let several = self.commands.len() > 1;
        if several {
            put_command(log, &[b"MULTI"]);
        }
        let mut from = 0;
        for (db, end) in &self.commands {
            if *log_db != Some(*db) {
                put_command(log, &[b"SELECT", itoa::Buffer::new().format(*db).as_bytes()]);
                *log_db = Some(*db);
            }
            log.extend_from_slice(&self.bytes[from..*end]);
            from = *end;
        }
        if several {
            put_command(log, &[b"EXEC"]);
        }
    }
}

#[derive(Debug, Default)]
pub(super) struct Effects {
    unit: Unit,
    /// The commands that run now are a MULTI body, whose unit ends with it.
    in_body: bool,
    /// The transaction whose part runs now.
    part: Option<Number>,
    parts: HashMap<Number, Unit, foldhash::fast::RandomState>,
    /// The database that the log is in; `None` at the beginning of a file.
    log_db: Option<usize>,
    timestamps: Timestamps,
}

impl Shard {
    /// Whether what commands do is wanted by anyone.
    pub(super) fn set_logging(&mut self, on: bool) {
        self.store.log_enabled = on;
        self.journal.effects.log_db = None;
        if !on {
            let effects = std::mem::take(&mut self.journal.effects);
            self.store.expired_effects.clear();
            for unit in std::iter::once(effects.unit).chain(effects.parts.into_values()) {
                self.push_all(unit.pushes);
            }
        }
    }

    /// The log goes on in a new file, which says anew what database it is in.
    pub(super) fn log_continues_in_new_file(&mut self) {
        self.journal.effects.log_db = None;
        self.journal.effects.timestamps = Timestamps::default();
    }

    /// With `aof-timestamp-enabled`, to be called in front of each unit.
    fn log_time(&mut self) {
        if self.turn.config.persistence.aof_timestamp_enabled {
            let now_s = self.turn.now_us / 1_000_000;
            self.journal.effects.timestamps.put(self.journal.log.buffer(), now_s);
        }
    }

    /// Takes down what a command did. `changed`: whether it changed anything.
    pub(super) fn collect(
        &mut self,
        spec: &CommandSpec,
        db: usize,
        args: Args,
        effect: Effect,
        changed: bool,
    ) {
        self.collect_expired();
        if changed && self.store.passed_over && matches!(effect, Effect::Verbatim) {
            return self.log_values_of(spec, db, args);
        }
        // A unit is opened only for what is in it: a shard that publishes for a transaction has no part that would end.
        match effect {
            Effect::Verbatim if changed => self.journal.effects.open_unit().push(db, args),
            Effect::Verbatim => {}
            Effect::Instead(commands) => {
                for command in &commands {
                    let args: SmallVec<[&[u8]; 8]> = command.iter().map(Vec::as_slice).collect();
                    self.journal.effects.open_unit().push(db, &args);
                }
            }
        }
        self.unit_may_end();
    }

    /// Keys that were found expired become part of the unit in progress.
    fn collect_expired(&mut self) {
        if self.store.expired_effects.is_empty() {
            return;
        }
        let expired = std::mem::take(&mut self.store.expired_effects);
        let del = deletion(self.turn.config.memory.lazyfree_lazy_expire);
        let unit = self.journal.effects.open_unit();
        for (db, key) in expired {
            unit.push(db, &[del, &key]);
        }
    }

    /// Keys that expiry found, each by itself.
    pub(super) fn log_expired(&mut self) {
        if self.store.expired_effects.is_empty() {
            return;
        }
        let del = deletion(self.turn.config.memory.lazyfree_lazy_expire);
        for (db, key) in std::mem::take(&mut self.store.expired_effects) {
            self.journal.effects.open_unit().push(db, &[del, &key]);
            self.unit_may_end();
        }
    }

    pub(super) fn log_evicted(&mut self, evicted: &Evicted) {
        if self.store.log_enabled {
            let del = deletion(self.turn.config.memory.lazyfree_lazy_eviction);
            self.journal.effects.open_unit().push(evicted.db, &[del, &evicted.key]);
            self.unit_may_end();
        }
    }

    /// A message about what happens now waits for the end of the unit in progress, which it may be about. Gives it back when there
    /// is none.
    pub(super) fn wait_for_unit(&mut self, shard: usize, push: Push) -> Option<Push> {
        let effects = &mut self.journal.effects;
        let unit = match effects.part {
            // A shard that only publishes for a transaction has no part that would end.
            Some(number) if !self.transactions.locks.knows(number) => return Some(push),
            Some(number) => effects.parts.entry(number).or_default(),
            None if effects.in_body && self.store.log_enabled => &mut effects.unit,
            None => return Some(push),
        };
        unit.pushes.push((shard, push));
        None
    }

    /// Takes down what a key holds now, whoever made it.
    pub(super) fn log_value(&mut self, db: usize, key: &[u8]) {
        if !self.store.log_enabled {
            return;
        }
        let format = self.rdb_format();
        let payload = self.store.peek(db, key).map(|value| rdb::dump(&value, format));
        let expire_at = self.store.expire_at(db, key).flatten();
        self.collect_expired();
        let unit = self.journal.effects.open_unit();
        match payload {
            None => unit.push(db, &[b"DEL", key]),
            Some(payload) => {
                let mut digits = itoa::Buffer::new();
                let expire_at = digits.format(expire_at.unwrap_or(0)).as_bytes();
                unit.push(db, &[b"RESTORE", key, expire_at, &payload, b"REPLACE", b"ABSTTL"]);
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
        let outer = self.begin_body();
        for position in keys.iter().filter(|position| position.access == KeyAccess::Write) {
            let key = args[position.index];
            let db = database_of(spec, args, position.index, db, self.store.databases());
            self.log_value(db, key);
        }
        self.end_body(outer);
    }

    /// The commands until `end_body` are one unit. Returns what that is to be given: whether they are part of a unit anyway.
    pub(super) fn begin_body(&mut self) -> bool {
        std::mem::replace(&mut self.journal.effects.in_body, true)
    }

    /// What has been done since `begin_body` becomes the beginning of a transaction's part.
    pub(super) fn body_becomes_part(&mut self, number: Number) {
        self.journal.effects.in_body = false;
        if self.store.log_enabled {
            self.collect_expired();
            let unit = std::mem::take(&mut self.journal.effects.unit);
            self.journal.effects.parts.insert(number, unit);
        }
    }

    /// A transaction goes on under another number.
    pub(super) fn rename_part(&mut self, old: Number, number: Number) {
        if let Some(unit) = self.journal.effects.parts.remove(&old) {
            self.journal.effects.parts.insert(number, unit);
        }
    }

    pub(super) fn end_body(&mut self, is_inner: bool) {
        self.journal.effects.in_body = is_inner;
        if self.store.log_enabled {
            self.unit_may_end();
        }
    }

    /// What is done until `leave_part` is this shard's part of a transaction.
    pub(super) fn enter_part(&mut self, number: Number) {
        self.transactions.locks.act_for(Some(number));
        if self.store.log_enabled {
            self.journal.effects.part = Some(number);
        }
    }

    pub(super) fn leave_part(&mut self) {
        self.transactions.locks.act_for(None);
        if self.journal.effects.part.is_some() {
            self.collect_expired();
            self.journal.effects.part = None;
        }
    }

    /// A transaction gives back its intents here: its part is whole.
    pub(super) fn end_part(&mut self, number: Number, ending: &Ending) {
        if !self.store.log_enabled {
            return self.part_ended(number, ending, false);
        }
        let writers = &ending.writers;
        let unit = self.journal.effects.parts.remove(&number).unwrap_or_default();
        let is_shared = writers.len() > 1 && writers.contains(&(self.id as u16));
        if is_shared || !unit.is_empty() {
            self.log_time();
        }
        if is_shared {
            put_part(self.journal.log.buffer(), number, writers, unit.is_empty());
        }
        if is_shared || !unit.is_empty() {
            unit.put(self.journal.log.buffer(), &mut self.journal.effects.log_db);
            self.journal.log.unit_end();
        }
        self.push_all(unit.pushes);
        self.part_ended(number, ending, is_shared);
    }

    fn part_ended(&mut self, number: Number, ending: &Ending, is_logged: bool) {
        let writers = ending.writers.len();
        if ending.is_awaited && writers > 1 && ending.writers.contains(&(self.id as u16)) {
            // Also when the log has just been closed, or opened, here: the others count on it.
            if is_logged {
                self.journal.log.await_transaction(number, writers);
            } else {
                let moved = self.journal.log.miss_transaction(number, writers);
                self.tell_of_releases(&moved);
            }
        }
        if let Some((coordinator, transaction)) = ending.report_to {
            self.report_when_released(coordinator, transaction);
        }
    }

    /// To be called when more of the log may be safe.
    pub(super) fn settle_parts(&mut self) {
        let moved = self.journal.log.settle_parts();
        self.tell_of_releases(&moved);
    }

    fn tell_of_releases(&mut self, shards: &[usize]) {
        for shard in shards {
            self.send(*shard, Message::PartsReleased);
        }
    }

    fn unit_may_end(&mut self) {
        if self.journal.effects.in_body || self.journal.effects.part.is_some() {
            return;
        }
        if !self.journal.effects.unit.is_empty() {
            self.log_time();
            self.journal.effects.unit.put(self.journal.log.buffer(), &mut self.journal.effects.log_db);
            self.journal.effects.unit.clear();
            self.journal.log.unit_end();
        }
        if !self.journal.effects.unit.pushes.is_empty() {
            let pushes = std::mem::take(&mut self.journal.effects.unit.pushes);
            self.push_all(pushes);
        }
    }
}

impl Effects {
    /// What runs now is part of a MULTI body or a script.
    pub(super) fn is_in_body(&self) -> bool {
        self.in_body
    }

    fn open_unit(&mut self) -> &mut Unit {
        match self.part {
            Some(number) => self.parts.entry(number).or_default(),
            None => &mut self.unit,
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

#[cfg(test)]
mod tests {
    use super::*;

    fn put(unit: &Unit, db: Option<usize>) -> (String, Option<usize>) {
        let (mut log, mut db) = (Vec::new(), db);
        unit.put(&mut log, &mut db);
        (String::from_utf8(log).unwrap().replace("\r\n", " "), db)
    }

    #[test]
    fn one_command_is_logged_as_it_is_and_several_inside_multi() {
        let mut unit = Unit::default();
        unit.push(0, &[b"SET", b"k", b"v"]);
        assert_eq!(put(&unit, Some(0)).0, "*3 $3 SET $1 k $1 v ");
        unit.push(0, &[b"DEL", b"k"]);
        let (log, _) = put(&unit, Some(0));
        assert_eq!(log, "*1 $5 MULTI *3 $3 SET $1 k $1 v *2 $3 DEL $1 k *1 $4 EXEC ");
    }

    #[test]
    fn the_database_is_said_when_it_changes_and_at_the_beginning_of_a_file() {
        let mut unit = Unit::default();
        unit.push(3, &[b"DEL", b"k"]);
        assert_eq!(put(&unit, None), ("*2 $6 SELECT $1 3 *2 $3 DEL $1 k ".to_owned(), Some(3)));
        assert_eq!(put(&unit, Some(3)).0, "*2 $3 DEL $1 k ");
    }
}

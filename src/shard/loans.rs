//! Commands whose keys live on several shards and that cannot be cut by key (RENAME, COPY, MSETNX, LCS, ...).
//!
//! The owners of foreign keys lend copies of their values (`txn/transactions.md`). The command runs on a store of its
//! own that holds exactly its keys, the lent ones and copies of this shard's, and nothing else; each key
//! carries a watch there, which tells afterwards whether the command changed it. Only those values are written
//! back, here and to their owners.

use super::blocking::BlockedRun;
use super::Shard;
use crate::command::table::KeyPositions;
use crate::command::Caller;
use crate::resp::Reply;
use crate::store::{SlotRange, Store, WatchFlag};
use crate::txn::message::{Loan, OwnedCommand};
use crate::txn::plan::database_of;

/// The store for such commands, made when the first one comes and empty between two of them.
#[derive(Default)]
pub(super) struct Workbench {
    store: Option<Store>,
}

impl Shard {
    /// Runs `command` with its foreign keys in `loans`. Returns those of them that it changed, and how it blocked.
    pub(super) fn run_with_loans(
        &mut self,
        command: &OwnedCommand,
        mut loans: Vec<Loan>,
        caller: &Caller,
        reply: &mut Reply,
    ) -> (Vec<Loan>, Option<BlockedRun>) {
        let slices = command.args.slices();
        let mut keys = KeyPositions::new();
        command.spec.key_positions(&slices, &mut keys);
        for position in &keys {
            let key = slices[position.index];
            let db = database_of(command.spec, &slices, position.index, command.db, self.store.databases());
            if self.topology.owner(key) == self.id
                && !loans.iter().any(|loan| loan.db == db && loan.key == key)
            {
                let value = self.store.clone_value(db, key);
                loans.push(Loan { db, key: key.to_vec(), value });
            }
        }

        let databases = self.store.databases();
        let mut bench =
            self.workbench.store.take().unwrap_or_else(|| Store::new(SlotRange::of_shard(0, 1), databases));
        bench.set_time(self.store.now_ms());
        bench.settings = self.store.settings.clone();
        bench.events.set_classes(self.store.events.classes());
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

        std::mem::swap(&mut self.store, &mut bench);
        let blocked = self.run_command(command.spec, command.db, &slices, caller, reply);
        std::mem::swap(&mut self.store, &mut bench);

        self.store.dirty += bench.dirty;
        let mut foreign = Vec::new();
        for (db, key, flag) in watched {
            bench.unwatch(db, &key, &flag);
            let value = bench.take(db, &key);
            if !flag.is_set() {
                continue;
            }
            let loan = Loan { db, key, value };
            if self.topology.owner(&loan.key) == self.id {
                self.take_back(loan);
            } else {
                foreign.push(loan);
            }
        }
        self.workbench.store = Some(bench);
        (foreign, blocked)
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
    }
}

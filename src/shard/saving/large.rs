//! Large values that a snapshot without fork has not saved yet: who wants to change one waits until it is, in the queues of
//! the shard's intents, and everybody else goes on. Saving it at once would hold up all of them.
//!
//! A transaction over shards does not wait here: what it changes is saved on the spot.

use std::collections::HashMap;

use crate::command::table::{CommandSpec, KeyAccess, KeyPositions};
use crate::shard::Shard;
use crate::txn::locks::{fingerprint, Answer, Fingerprint, Intent, Number, Scope};
use crate::txn::message::Ending;

/// The snapshot's own read intents: on which keys, and by what number.
#[derive(Debug, Default)]
pub(in crate::shard) struct LargeValues {
    held: HashMap<Fingerprint, (Number, usize, Vec<u8>)>,
}

impl LargeValues {
    /// Whether somebody waits for one to be saved.
    pub fn are_awaited(&self) -> bool {
        !self.held.is_empty()
    }
}

impl Shard {
    /// To be called before a command on this shard's keys looks whether it conflicts with an intent.
    #[inline]
    pub(in crate::shard) fn guard_large_values(&mut self, spec: &CommandSpec, db: usize, args: &[&[u8]]) {
        if self.store.snapshot_is_open() {
            self.hold_large_values(spec, db, args);
        }
    }

    #[cold]
    fn hold_large_values(&mut self, spec: &CommandSpec, db: usize, args: &[&[u8]]) {
        let mut keys = KeyPositions::new();
        spec.key_positions(args, &mut keys);
        for position in keys.iter().filter(|position| position.access == KeyAccess::Write) {
            let key = args[position.index];
            if self.turn.slots.shard_of(key) != self.id || !self.store.snapshot_blocks(db, key) {
                continue;
            }
            let fingerprint = fingerprint(key);
            if self.saving.large.held.contains_key(&fingerprint) {
                continue;
            }
            let number = self.shared.next_transaction();
            let scope =
                Scope::Keys(smallvec::smallvec![Intent { key: fingerprint, access: KeyAccess::Read }]);
            match self.transactions.locks.request(number, &scope) {
                Answer::Granted => {
                    self.saving.large.held.insert(fingerprint, (number, db, key.to_vec()));
                    self.store.snapshot_prioritise(db, key);
                }
                // A transaction is in front of it, and will have changed the value by then.
                Answer::Waiting | Answer::Refused => self.transactions.locks.release(number, &mut Vec::new()),
            }
        }
    }

    /// Lets those go on whose values are saved by now.
    pub(super) fn release_saved_values(&mut self) {
        if self.saving.large.held.is_empty() {
            return;
        }
        let saved: Vec<Fingerprint> = self
            .saving
            .large
            .held
            .iter()
            .filter(|(_, (_, db, key))| !self.store.snapshot_blocks(*db, key))
            .map(|(fingerprint, _)| *fingerprint)
            .collect();
        for fingerprint in saved {
            if let Some((number, ..)) = self.saving.large.held.remove(&fingerprint) {
                self.release(number, Ending::default());
            }
        }
    }
}

//! Keys with a time to live that clients have written to a replica that may be written to. Their master knows nothing of them, so nobody
//! would ever delete them: this server does, when they have expired.
//!
//! The number of names that are kept is bounded by the keys that there are: what is gone, or lives for ever, is forgotten.

use std::collections::BTreeSet;

use crate::command::table::{CommandSpec, Flag as CommandFlag, KeyPositions};
use crate::command::{Args, Caller};
use crate::shard::Shard;

/// Keys that are looked at ten times a second.
const LOOKS_MAX: usize = 256;

#[derive(Default)]
pub(super) struct OwnExpiries {
    keys: BTreeSet<(usize, Vec<u8>)>,
    /// The last one that was looked at.
    at: Option<(usize, Vec<u8>)>,
}

impl Shard {
    /// A command has run on a replica.
    #[cold]
    pub(in crate::shard) fn note_own_expiries(
        &mut self,
        spec: &CommandSpec,
        db: usize,
        args: Args,
        caller: &Caller,
    ) {
        if caller.from_master || caller.replaying || !spec.is(CommandFlag::Write) {
            return;
        }
        let mut positions = KeyPositions::new();
        spec.key_positions(args, &mut positions);
        for key in positions.iter().filter_map(|position| args.get(position.index)) {
            if self.store.slots().contains(crate::store::slot_of(key))
                && self.store.expire_at(db, key).flatten().is_some()
            {
                self.replication.following.own_expiries.keys.insert((db, key.to_vec()));
            }
        }
    }

    /// Ten times a second.
    pub(in crate::shard) fn expire_own_keys(&mut self) {
        if self.replication.following.own_expiries.keys.is_empty() || self.store.expire_paused {
            return;
        }
        let own = &self.replication.following.own_expiries;
        let from = own.at.clone().map_or(std::ops::Bound::Unbounded, std::ops::Bound::Excluded);
        let due: Vec<_> =
            own.keys.range((from, std::ops::Bound::Unbounded)).take(LOOKS_MAX).cloned().collect();
        self.replication.following.own_expiries.at = due.last().cloned().filter(|_| due.len() == LOOKS_MAX);
        let keeps_expired = std::mem::replace(&mut self.store.keeps_expired, false);
        for (db, key) in due {
            // Looked up, what has expired goes.
            if self.store.expire_at(db, &key).flatten().is_none() {
                self.replication.following.own_expiries.keys.remove(&(db, key));
            }
        }
        self.store.keeps_expired = keeps_expired;
        self.log_expired();
        self.tell_of_changes(0);
    }
}

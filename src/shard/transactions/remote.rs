//! The steps of a command that runs with values of other shards: their owners send copies, the command runs, and what it changed goes back
//! (`shard/remote_values`).

use std::collections::BTreeMap;

use super::record::Transaction;
use super::work::Work;
use crate::command::table::{KeyPositions, Wanted};
use crate::shard::remote_values::Outcome;
use crate::shard::Shard;
use crate::txn::message::TransactionId;
use crate::txn::step::Step;

impl Shard {
    pub(super) fn fetch_remote_values(
        &mut self,
        id: TransactionId,
        t: &mut Transaction,
        command: usize,
        home: usize,
        foreign: Vec<(usize, crate::command::table::KeyPosition)>,
    ) {
        let mut shards: Vec<usize> = foreign.iter().map(|(shard, _)| *shard).collect();
        shards.sort_unstable();
        shards.dedup();
        for shard in shards {
            let work = Work::RemoteValues(t.commands[command].clone());
            self.step(id, t, shard, work, false);
        }
        t.step = Step::copying(command, home);
    }

    /// Borrows what the command needs of the keys that it will look up, and of those that it names.
    pub(super) fn copy_wanted(
        &mut self,
        id: TransactionId,
        t: &mut Transaction,
        command: usize,
        home: usize,
        wanted: Vec<Wanted>,
    ) {
        let mut by_shard: Vec<Vec<Wanted>> = vec![Vec::new(); self.turn.slots.shards()];
        for request in wanted {
            by_shard[self.turn.slots.shard_of(&request.key)].push(request);
        }
        let owned = t.commands[command].clone();
        let slices = owned.args.slices();
        let mut keys = KeyPositions::new();
        owned.spec.key_positions(&slices, &mut keys);
        for (shard, wanted) in by_shard.into_iter().enumerate() {
            let is_named =
                shard != home && keys.iter().any(|key| self.turn.slots.shard_of(slices[key.index]) == shard);
            if is_named || !wanted.is_empty() {
                self.step(id, t, shard, Work::CopyWanted(owned.clone(), wanted), false);
            }
        }
        t.step = Step::copying(command, home);
    }

    /// Has the owners of lent keys take over what a command has done to them.
    pub(super) fn settle_remote_values(&mut self, id: TransactionId, t: &mut Transaction, outcome: Outcome) {
        let Outcome { changed, effects, uses } = outcome;
        let mut by_shard: BTreeMap<usize, Outcome> = BTreeMap::new();
        for remote_value in changed {
            by_shard
                .entry(self.turn.slots.shard_of(&remote_value.key))
                .or_default()
                .changed
                .push(remote_value);
        }
        for effect in effects {
            by_shard.entry(self.turn.owner_of_effect(&effect)).or_default().effects.push(effect);
        }
        // What comes behind the command may ask how a key was used. If nothing does, the owner hears of it at the end.
        let may_be_asked = t.is_exec || t.script.is_some();
        for used in uses {
            let owner = self.turn.slots.shard_of(&used.key);
            match by_shard.get_mut(&owner) {
                Some(outcome) => outcome.uses.push(used),
                None if may_be_asked => by_shard.entry(owner).or_default().uses.push(used),
                None => t.uses.push((owner, used)),
            }
        }
        t.step = Step::Commands;
        for (shard, Outcome { changed, effects, uses }) in by_shard {
            let work =
                if effects.is_empty() { Work::WriteBack(changed, uses) } else { Work::Apply(effects, uses) };
            self.step(id, t, shard, work, false);
        }
    }
}

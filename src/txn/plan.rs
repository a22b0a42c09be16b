//! Routing: which shards a command needs, and how it is cut over them.

use smallvec::SmallVec;

use super::locks::{fingerprint, Intent, Scope};
use super::message::OwnedArgs;
use crate::command::table::{
    CommandSpec, Flag, Gather, Handler, KeyAccess, KeyPosition, KeyPositions, Reaching, Spread,
};
use crate::command::{keys, scan, Args};
use crate::store::{shard_of_slot, slot_of};

/// Which shard owns which key.
#[derive(Clone, Copy, Debug)]
pub struct Topology {
    pub shards: usize,
}

impl Topology {
    #[inline]
    pub fn owner(&self, key: &[u8]) -> usize {
        if self.shards == 1 {
            0
        } else {
            shard_of_slot(slot_of(key), self.shards)
        }
    }

    /// The items by the shard that owns the key of each, in their order.
    pub fn by_owner<T>(
        &self,
        items: impl IntoIterator<Item = T>,
        key: impl Fn(&T) -> &[u8],
    ) -> Vec<(usize, Vec<T>)> {
        let mut by_owner: Vec<(usize, Vec<T>)> = Vec::new();
        for item in items {
            let owner = self.owner(key(&item));
            match by_owner.iter_mut().find(|(shard, _)| *shard == owner) {
                Some((_, list)) => list.push(item),
                None => by_owner.push((owner, vec![item])),
            }
        }
        by_owner
    }
}

/// One shard's part of a command that is cut by key.
#[derive(Debug)]
pub struct Part {
    pub shard: usize,
    pub args: OwnedArgs,
    /// Of the part's keys, the index of each in the whole command's keys.
    pub key_indexes: SmallVec<[usize; 8]>,
}

/// How the replies of parts become the command's reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Join {
    Sum,
    /// Elements in the order of the whole command's keys; their number.
    Interleave(usize),
    Concat,
    First,
    /// One that is not null, if there is any; of which shard is chosen by weight.
    OneOf,
    /// Of a whole walk over the keys in one step: up to the first shard that needs another, whose cursor it has.
    Walk,
}

#[derive(Debug)]
pub enum Plan {
    /// Needs no key: any shard will do, so the client's own.
    Anywhere,
    /// One shard runs it whole.
    At(usize),
    /// Each shard runs its part; locks are on the keys.
    Split(Vec<Part>, Join),
    /// `home` runs it; others lend it the keys at these positions.
    Lend { home: usize, foreign: Vec<(usize, KeyPosition)> },
    /// As `Lend`, once `home` has told which keys it will look up besides; locks are on the whole keyspace.
    Reach { home: usize },
    /// Every shard runs it on its whole keyspace.
    EveryShard { access: KeyAccess, join: Join },
    /// SCAN from within a walk, or in a database of many keys: the shard that the cursor names.
    Cursor { shard: usize },
}

/// A walk over so many keys at most is one step, if its COUNT says so: clients expect a cursor of 0 then. (Shards stand still for it.)
const KEYS_OF_ONE_STEP_MAX: u64 = 1000;

/// SCAN's cursor over all shards: the shard is its remainder.
pub fn outer_cursor(inner: u64, shard: usize, shards: usize) -> u64 {
    match inner {
        0 if shard + 1 == shards => 0,
        0 => (shard + 1) as u64,
        inner => inner * shards as u64 + shard as u64,
    }
}

fn split(args: Args, step: usize, topology: Topology) -> Vec<Part> {
    let mut parts: Vec<Part> = Vec::new();
    for (index, group) in args[1..].chunks(step).enumerate() {
        let shard = topology.owner(group[0]);
        let at = parts.iter().position(|part| part.shard == shard).unwrap_or_else(|| {
            let mut owned = OwnedArgs::default();
            owned.push(args[0]);
            parts.push(Part { shard, args: owned, key_indexes: SmallVec::new() });
            parts.len() - 1
        });
        let part = &mut parts[at];
        part.key_indexes.push(index);
        for arg in group {
            part.args.push(arg);
        }
    }
    parts
}

/// Plans a command whose arity has been checked. `keys` are its key positions, empty when it has none; `key_count` tells how many
/// keys its database has.
pub fn plan(
    spec: &CommandSpec,
    args: Args,
    keys: &[KeyPosition],
    topology: Topology,
    key_count: impl FnOnce() -> u64,
) -> Plan {
    match spec.handler {
        Handler::Keys(_, spread) => {
            let Some(first) = keys.first() else { return Plan::Anywhere };
            let home = topology.owner(args[first.index]);
            if topology.shards > 1 && Reaching::of(spec, args).is_some() {
                return Plan::Reach { home };
            }
            if keys[1..].iter().all(|key| topology.owner(args[key.index]) == home) {
                return Plan::At(home);
            }
            match spread {
                Spread::SplitSum { step } => Plan::Split(split(args, step, topology), Join::Sum),
                Spread::SplitArray => Plan::Split(split(args, 1, topology), Join::Interleave(keys.len())),
                // A wrong number of arguments is an error that the command itself words.
                Spread::SplitOk { step } if !(args.len() - 1).is_multiple_of(step) => Plan::At(home),
                Spread::SplitOk { step } => Plan::Split(split(args, step, topology), Join::First),
                Spread::Lend | Spread::Excerpt(_) | Spread::Reach(_) => {
                    let foreign = keys
                        .iter()
                        .map(|key| (topology.owner(args[key.index]), *key))
                        .filter(|(shard, _)| *shard != home)
                        .collect();
                    Plan::Lend { home, foreign }
                }
            }
        }
        Handler::EveryShard(_, gather) => {
            let access = if spec.is(Flag::Write) { KeyAccess::Write } else { KeyAccess::Read };
            match gather {
                Gather::Sum => Plan::EveryShard { access, join: Join::Sum },
                Gather::Concat => Plan::EveryShard { access, join: Join::Concat },
                Gather::First => Plan::EveryShard { access, join: Join::First },
                Gather::RandomShard => Plan::EveryShard { access, join: Join::OneOf },
                Gather::Cursor
                    if topology.shards > 1
                        && scan::step_of_walk(args)
                            .is_some_and(|count| key_count() <= count.min(KEYS_OF_ONE_STEP_MAX)) =>
                {
                    Plan::EveryShard { access, join: Join::Walk }
                }
                Gather::Cursor => {
                    // A cursor that is no number is an error that the command itself words, on any shard.
                    match args.get(1).and_then(|text| crate::command::parse::cursor(text).ok()) {
                        Some(cursor) => Plan::Cursor { shard: (cursor % topology.shards as u64) as usize },
                        None => Plan::Anywhere,
                    }
                }
            }
        }
        Handler::Channel => Plan::At(topology.owner(args[1])),
        Handler::Connection | Handler::Container => Plan::Anywhere,
        // Whoever runs it knows more about it than its keys.
        Handler::Script => match keys.first() {
            None => Plan::Anywhere,
            Some(first) => Plan::At(topology.owner(args[first.index])),
        },
    }
}

/// The database that the key at `index` is in: the client's, but for the destination of COPY ... DB.
pub fn database_of(spec: &CommandSpec, args: Args, index: usize, db: usize, databases: usize) -> usize {
    if spec.name != "copy" || index != 2 {
        return db;
    }
    keys::copy_database(args, databases).unwrap_or(db)
}

/// The intents that a command needs on each shard.
pub fn scopes(args: Args, keys: &KeyPositions, topology: Topology, scopes: &mut Scopes) {
    for key in keys {
        let name = args[key.index];
        scopes.add_key(topology.owner(name), name, key.access);
    }
}

/// What a transaction wants of each shard, collected.
#[derive(Debug, Default)]
pub struct Scopes {
    pub by_shard: SmallVec<[(usize, Scope); 4]>,
}

impl Scopes {
    pub fn add_key(&mut self, shard: usize, key: &[u8], access: KeyAccess) {
        let intent = Intent { key: fingerprint(key), access };
        match self.by_shard.iter_mut().find(|(s, _)| *s == shard) {
            Some((_, Scope::Keys(intents))) => intents.push(intent),
            // A whole-keyspace read does not cover a write to one key.
            Some((_, whole @ Scope::Whole(_))) => {
                if access == KeyAccess::Write {
                    *whole = Scope::Whole(KeyAccess::Write);
                }
            }
            None => self.by_shard.push((shard, Scope::Keys(smallvec::smallvec![intent]))),
        }
    }

    /// The whole keyspace of every shard.
    pub fn add_whole(&mut self, shards: usize, access: KeyAccess) {
        for shard in 0..shards {
            match self.by_shard.iter_mut().find(|(s, _)| *s == shard) {
                Some((_, scope)) => {
                    let writes = access == KeyAccess::Write
                        || match scope {
                            Scope::Whole(before) => *before == KeyAccess::Write,
                            Scope::Keys(intents) => intents.iter().any(|i| i.access == KeyAccess::Write),
                        };
                    *scope = Scope::Whole(if writes { KeyAccess::Write } else { KeyAccess::Read });
                }
                None => self.by_shard.push((shard, Scope::Whole(access))),
            }
        }
    }
}

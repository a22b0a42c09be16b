//! Routing: which shards a command needs, and how it is cut over them.

use std::ops::Range;

use smallvec::SmallVec;

use super::locks::{fingerprint, Intent, Scope};
use super::message::OwnedArgs;
use crate::command::table::{
    CommandSpec, Gather, Handler, KeyAccess, KeyPosition, KeyPositions, Reaching, Role, Spread,
};
use crate::command::{keys, scan, Args};
use crate::slots::SlotMap;

/// One shard's part of a command that is cut by key.
#[derive(Debug)]
pub struct ShardArgs {
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
    Split(Vec<ShardArgs>, Join),
    /// `home` runs it; others lend it the keys at these positions.
    RemoteValues { home: usize, foreign: Vec<(usize, KeyPosition)> },
    /// As `RemoteValues`, once `home` has told which keys it will look up besides; locks are on the whole keyspace.
    Reach { home: usize },
    /// Every shard runs it on its whole keyspace.
    EveryShard { join: Join },
    /// SCAN from within a walk, or in a database of many keys: the shard that the cursor names.
    Cursor { shard: usize },
}

/// A walk over so many keys at most is one step, if its COUNT says so: clients expect a cursor of 0 then. (Shards stand still for it.)
const KEYS_OF_ONE_STEP_MAX: u64 = 1000;

/// Where a command runs, and its keys. A request is located once: whoever gets it next gets this too.
#[derive(Debug)]
pub struct Located {
    pub plan: Plan,
    pub keys: LocatedKeys,
}

/// The keys of a command, and the shard of each.
#[derive(Debug)]
pub struct LocatedKeys {
    pub positions: KeyPositions,
    shards: SmallVec<[u16; 4]>,
}

impl LocatedKeys {
    pub fn of(spec: &CommandSpec, args: Args, slots: &SlotMap) -> LocatedKeys {
        let mut positions = KeyPositions::new();
        spec.key_positions(args, &mut positions);
        let shards = positions.iter().map(|key| slots.shard_of(args[key.index]) as u16).collect();
        LocatedKeys { positions, shards }
    }

    /// Whether a shard has all of them.
    pub fn are_all_on(&self, shard: usize) -> bool {
        self.shards.iter().all(|of| usize::from(*of) == shard)
    }

    /// Whether one of these shards has any of them.
    pub fn are_any_on(&self, is_one: impl Fn(usize) -> bool) -> bool {
        self.shards.iter().any(|of| is_one(usize::from(*of)))
    }

    /// Adds the intents that the command, of these arguments, needs on its keys.
    pub fn add_scopes(&self, args: Args, scopes: &mut Scopes) {
        for (key, shard) in self.positions.iter().zip(&self.shards) {
            scopes.add_key((*shard).into(), args[key.index], key.access);
        }
    }
}

/// Finds out where a command runs whose arity has been checked. `key_count` tells how many keys its database has.
///
/// A cluster adds to the answers, from what the map says of the keys' slots: that another node has them (MOVED, ASK), or that they
/// are several where one is needed (CROSSSLOT).
pub fn locate(spec: &CommandSpec, args: Args, slots: &SlotMap, key_count: impl FnOnce() -> u64) -> Located {
    let keys = LocatedKeys::of(spec, args, slots);
    let plan = match spec.handler {
        Handler::Keys(_, spread) => plan_of_keys(spec, spread, args, &keys, slots),
        Handler::EveryShard(_, gather) => plan_of_all(gather, args, slots, key_count),
        Handler::Channel => Plan::At(slots.shard_of(args[1])),
        Handler::Connection | Handler::Container => Plan::Anywhere,
        // Whoever runs it knows more about it than its keys.
        Handler::Script => keys.shards.first().map_or(Plan::Anywhere, |shard| Plan::At((*shard).into())),
    };
    Located { plan, keys }
}

fn plan_of_keys(spec: &CommandSpec, spread: Spread, args: Args, keys: &LocatedKeys, slots: &SlotMap) -> Plan {
    let shards = &keys.shards[..];
    let Some(first) = shards.first() else { return Plan::Anywhere };
    let home = usize::from(*first);
    if !slots.is_single() && Reaching::of(spec, args).is_some() {
        return Plan::Reach { home };
    }
    if keys.are_all_on(home) {
        return Plan::At(home);
    }
    match spread {
        Spread::SplitSum { step } => Plan::Split(split(args, step, shards), Join::Sum),
        Spread::SplitArray => Plan::Split(split(args, 1, shards), Join::Interleave(shards.len())),
        // A wrong number of arguments is an error that the command itself words.
        Spread::SplitOk { step } if !(args.len() - 1).is_multiple_of(step) => Plan::At(home),
        Spread::SplitOk { step } => Plan::Split(split(args, step, shards), Join::First),
        Spread::RemoteValues | Spread::Excerpt(_) | Spread::Reach(_) => {
            let owned = keys.positions.iter().zip(shards).map(|(key, shard)| (usize::from(*shard), *key));
            Plan::RemoteValues { home, foreign: owned.filter(|(shard, _)| *shard != home).collect() }
        }
    }
}

fn plan_of_all(gather: Gather, args: Args, slots: &SlotMap, key_count: impl FnOnce() -> u64) -> Plan {
    let join = match gather {
        Gather::Sum => Join::Sum,
        Gather::Concat => Join::Concat,
        Gather::First => Join::First,
        Gather::RandomShard => Join::OneOf,
        Gather::Cursor => {
            let is_one_step = !slots.is_single()
                && scan::step_of_walk(args)
                    .is_some_and(|count| key_count() <= count.min(KEYS_OF_ONE_STEP_MAX));
            if !is_one_step {
                // A cursor that is no number is an error that the command itself words, on any shard.
                let cursor = args.get(1).and_then(|text| crate::command::parse::cursor(text).ok());
                return cursor
                    .map_or(Plan::Anywhere, |cursor| Plan::Cursor { shard: slots.split_cursor(cursor).0 });
            }
            Join::Walk
        }
    };
    Plan::EveryShard { join }
}

/// Cuts a command whose keys are every `step`th of its arguments; `shards` are those of the keys.
fn split(args: Args, step: usize, shards: &[u16]) -> Vec<ShardArgs> {
    let mut parts: Vec<ShardArgs> = Vec::new();
    for (index, (group, shard)) in args[1..].chunks(step).zip(shards).enumerate() {
        let shard = usize::from(*shard);
        let at = parts.iter().position(|part| part.shard == shard).unwrap_or_else(|| {
            let mut owned = OwnedArgs::default();
            owned.push(args[0]);
            parts.push(ShardArgs { shard, args: owned, key_indexes: SmallVec::new() });
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

/// The database that the key at `index` is in: the client's, but for the destination of COPY ... DB.
pub fn database_of(spec: &CommandSpec, args: Args, index: usize, db: usize, databases: usize) -> usize {
    if spec.role != Role::Copy || index != 2 {
        return db;
    }
    keys::copy_database(args, databases).unwrap_or(db)
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
    pub fn add_whole(&mut self, shards: Range<usize>, access: KeyAccess) {
        for shard in shards {
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

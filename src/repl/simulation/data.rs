//! What a server of the simulation has, and what can be done to it. Lists keep each value that was ever pushed, so what is lost, doubled or out
//! of order shows.

use std::collections::{BTreeMap, BTreeSet};

use crate::repl::replica::stream::{Command, Item};
use crate::slots::shard_of_slot;
use crate::store::slot_of;

pub const SHARDS: usize = 3;

pub fn shard_of(key: &str) -> usize {
    shard_of_slot(slot_of(key.as_bytes()), SHARDS)
}

/// A command's change to one shard.
#[derive(Clone, Debug)]
pub enum Effect {
    Push(usize, String, u64),
    Remove(usize, String),
    Flush,
}

/// What a stream or a log asks for.
pub fn effect_of(command: &Command) -> Option<Effect> {
    let args = command.args();
    let word =
        |index: usize| args.get(index).and_then(|arg| std::str::from_utf8(arg).ok()).unwrap_or_default();
    match word(0) {
        "RPUSH" => Some(Effect::Push(command.db, word(1).into(), word(2).parse().unwrap_or(0))),
        "DEL" => Some(Effect::Remove(command.db, word(1).into())),
        "FLUSHALL" => Some(Effect::Flush),
        // A stream that is out of step. It shows in the data.
        _ => None,
    }
}

/// The effects of an item, and the shards that have them.
pub fn effects_of(item: &Item) -> Vec<(usize, Effect)> {
    let commands = match item {
        Item::Command(command) => std::slice::from_ref(command),
        Item::Transaction { commands, .. } => commands,
        Item::Nothing { .. } | Item::AckWanted { .. } => &[],
    };
    let mut effects = Vec::new();
    for effect in commands.iter().filter_map(effect_of) {
        match &effect {
            Effect::Push(_, key, _) | Effect::Remove(_, key) => effects.push((shard_of(key), effect)),
            Effect::Flush => effects.extend((0..SHARDS).map(|shard| (shard, Effect::Flush))),
        }
    }
    effects
}

/// The digest of what each shard has.
pub type Digests = [u64; SHARDS];

/// Of each key of each database the values that were pushed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Data {
    shards: [BTreeMap<(usize, String), Vec<u64>>; SHARDS],
    digests: Digests,
}

fn digest_of(db: usize, key: &str, index: usize, value: u64) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325u64;
    let numbers = [db as u64, index as u64, value];
    for byte in key.bytes().chain(numbers.iter().flat_map(|number| number.to_le_bytes())) {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
    }
    hash
}

impl Data {
    pub fn apply(&mut self, shard: usize, effect: &Effect) {
        match effect {
            Effect::Push(db, key, value) => {
                let values = self.shards[shard].entry((*db, key.clone())).or_default();
                let digest = digest_of(*db, key, values.len(), *value);
                values.push(*value);
                self.digests[shard] = self.digests[shard].wrapping_add(digest);
            }
            Effect::Remove(db, key) => {
                let values = self.shards[shard].remove(&(*db, key.clone())).unwrap_or_default();
                for (index, value) in values.iter().enumerate() {
                    let digest = digest_of(*db, key, index, *value);
                    self.digests[shard] = self.digests[shard].wrapping_sub(digest);
                }
            }
            Effect::Flush => {
                self.shards[shard].clear();
                self.digests[shard] = 0;
            }
        }
    }

    pub fn apply_item(&mut self, item: &Item) {
        effects_of(item).iter().for_each(|(shard, effect)| self.apply(*shard, effect));
    }

    pub fn digests(&self) -> Digests {
        self.digests
    }

    pub fn values(&self) -> BTreeSet<u64> {
        self.shards.iter().flat_map(BTreeMap::values).flatten().copied().collect()
    }

    /// As a snapshot: text, a line for each value. The stream has `db` selected.
    pub fn to_payload(&self, db: usize) -> Vec<u8> {
        let mut text = format!("REDIS {db}\n");
        for ((db, key), values) in self.shards.iter().flatten() {
            values.iter().for_each(|value| text.push_str(&format!("{db} {key} {value}\n")));
        }
        text.push_str("END\n");
        text.into_bytes()
    }

    /// The data, and the database that the stream has selected; `None`: the snapshot is not whole.
    pub fn of_payload(payload: &[u8]) -> Option<(Data, usize)> {
        let text = std::str::from_utf8(payload).ok()?.strip_suffix("END\n")?;
        let mut lines = text.lines();
        let db = lines.next()?.strip_prefix("REDIS ")?.parse().ok()?;
        let mut data = Data::default();
        for line in lines {
            let words: Vec<&str> = line.split(' ').collect();
            let effect = Effect::Push(words[0].parse().ok()?, words[1].into(), words[2].parse().ok()?);
            data.apply(shard_of(words[1]), &effect);
        }
        Some((data, db))
    }
}

/// Keys of the simulation are of several shards.
#[test]
fn keys_are_spread_over_shards() {
    let shards: BTreeSet<usize> = (0..8).map(|n| shard_of(&format!("k{n}"))).collect();
    assert_eq!(shards.len(), SHARDS);
}

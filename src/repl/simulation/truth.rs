//! What must hold of a stream and of those who follow it.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::node::{apply_item, Data, BOUNDS};
use super::world::{Finding, World};
use crate::repl::history::ReplicationId;
use crate::repl::replica::stream::{Cutter, Item};

/// What the stream of one history does, by reading it as nobody else does.
pub struct Truth {
    /// Where it comes from, and up to which offset it is the same.
    pub parent: Option<(ReplicationId, u64)>,
    cutter: Cutter,
    data: Data,
    digest: u64,
    /// After each item.
    pub digests: HashMap<u64, u64>,
    pub end: u64,
}

fn hash(db: usize, key: &str, index: usize, value: u64) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325u64;
    let numbers = [db as u64, index as u64, value];
    for byte in key.bytes().chain(numbers.iter().flat_map(|number| number.to_le_bytes())) {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
    }
    hash
}

fn digest(data: &Data) -> u64 {
    let of_key = |((db, key), values): (&(usize, String), &Vec<u64>)| {
        let of_value = |(index, value): (usize, &u64)| hash(*db, key, index, *value);
        values.iter().enumerate().map(of_value).fold(0u64, u64::wrapping_add)
    };
    data.iter().map(of_key).fold(0, u64::wrapping_add)
}

impl Truth {
    pub fn new(parent: Option<(ReplicationId, u64)>, offset: u64, data: Data) -> Truth {
        let digest = digest(&data);
        let cutter = Cutter::new(offset, 0, BOUNDS);
        Truth { parent, cutter, data, digest, digests: HashMap::from([(offset, digest)]), end: offset }
    }
}

impl World {
    pub(super) fn read_emitted(&mut self, index: usize) -> Result<(), Finding> {
        for (id, bytes) in std::mem::take(&mut self.nodes[index].emitted) {
            let Some(truth) = self.truths.get_mut(&id) else { continue };
            truth.cutter.push(&bytes);
            loop {
                let item = truth
                    .cutter
                    .next()
                    .map_err(|error| Finding::BadStream { node: index, error: error.to_string() })?;
                let Some(item) = item else { break };
                whole(&item, &self.transactions)?;
                let before: u64 = touched(&truth.data, &item);
                apply_item(&mut truth.data, &item);
                let after = touched(&truth.data, &item);
                truth.digest = truth.digest.wrapping_sub(before).wrapping_add(after);
                truth.end = item.end();
                truth.digests.insert(item.end(), truth.digest);
            }
        }
        Ok(())
    }

    /// Whether a replica has what the stream of its history had.
    pub(super) fn compare(&mut self, index: usize) -> Result<(), Finding> {
        let node = &self.nodes[index];
        let Some(follower) = &node.follower else { return Ok(()) };
        let offset = follower.schedule.applied();
        let mut id = node.history.id();
        let mut truth = self.truths.get(&id);
        while let Some((parent, fork)) = truth.and_then(|truth| truth.parent) {
            if offset > fork {
                break;
            }
            id = parent;
            truth = self.truths.get(&id);
        }
        let Some(truth) = truth else { return Ok(()) };
        if offset > truth.end {
            return Err(Finding::AheadOfMaster { node: index, offset });
        }
        if truth.digests.get(&offset) != Some(&digest(&node.data)) {
            let is_boundary = truth.digests.contains_key(&offset);
            let what = format!(
                "id {id}, known {is_boundary}, stream at {}, {} keys here, now {}",
                truth.end,
                node.data.len(),
                self.now_ms
            );
            return Err(Finding::Differs { node: index, offset, what });
        }
        self.seen.count("compared");
        Ok(())
    }

    /// Whether `index` could have gone on for a replica that asks so.
    pub(super) fn could_continue(&self, index: usize, id: &str, offset: i64) -> bool {
        let node = &self.nodes[index];
        let current = node.history.id();
        let Ok(next) = u64::try_from(offset) else { return false };
        let is_before = |(before, fork): (ReplicationId, u64)| before.to_string() == id && next <= fork + 1;
        let is_prefix = current.to_string() == id || self.before[index].is_some_and(is_before);
        is_prefix && node.backlog.as_ref().is_some_and(|backlog| backlog.contains(next))
    }
}

/// The digest of the keys that an item names.
fn touched(data: &Data, item: &Item) -> u64 {
    let mut keys = BTreeSet::new();
    let commands = match item {
        Item::Command(command) => std::slice::from_ref(command),
        Item::Transaction { commands, .. } => commands,
        _ => &[],
    };
    for command in commands {
        keys.insert((
            command.db,
            String::from_utf8_lossy(command.args().get(1).copied().unwrap_or_default()).into_owned(),
        ));
    }
    let of = |key: &(usize, String)| Some((key.clone(), data.get(key)?.clone()));
    digest(&keys.iter().filter_map(of).collect())
}

/// A transaction is one item, with all its keys.
fn whole(item: &Item, transactions: &HashMap<u64, usize>) -> Result<(), Finding> {
    let commands = match item {
        Item::Command(command) => std::slice::from_ref(command),
        Item::Transaction { commands, .. } => commands,
        _ => &[],
    };
    let mut found: BTreeMap<u64, usize> = BTreeMap::new();
    for command in commands {
        let args = command.args();
        if let Some(value) = args.get(2).and_then(|text| std::str::from_utf8(text).ok()?.parse().ok()) {
            *found.entry(value).or_default() += 1;
        }
    }
    for (value, count) in found {
        if transactions.get(&value).is_some_and(|keys| *keys != count) {
            return Err(Finding::HalfTransaction { value });
        }
    }
    Ok(())
}

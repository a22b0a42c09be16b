//! What must hold of a stream and of those who follow it.

use std::collections::{BTreeMap, HashMap};

use super::data::{Data, Digests, SHARDS};
use super::node::{Node, BOUNDS};
use super::world::{Finding, World};
use crate::repl::history::ReplicationId;
use crate::repl::replica::stream::{Cutter, Item};

/// What the stream of one history does, by reading it as nobody else does.
pub struct Truth {
    /// Where it comes from, and up to which offset it is the same.
    pub parent: Option<(ReplicationId, u64)>,
    cutter: Cutter,
    data: Data,
    /// After each item.
    digests: BTreeMap<u64, Digests>,
    end: u64,
}

impl Truth {
    pub fn new(parent: Option<(ReplicationId, u64)>, offset: u64, data: Data) -> Truth {
        let cutter = Cutter::new(offset, 0, BOUNDS);
        let digests = BTreeMap::from([(offset, data.digests())]);
        Truth { parent, cutter, data, digests, end: offset }
    }
}

/// A history, and up to where.
pub type Until = (ReplicationId, u64);

impl World {
    pub(super) fn read_emitted(&mut self, index: usize) -> Result<(), Finding> {
        for (id, bytes) in std::mem::take(&mut self.nodes[index].emitted) {
            let Some(truth) = self.truths.get_mut(&id) else { continue };
            truth.cutter.push(&bytes);
            loop {
                let item = truth.cutter.next();
                let item =
                    item.map_err(|error| Finding::BadStream { node: index, error: error.to_string() })?;
                let Some(item) = item else { break };
                whole(&item, &self.transactions)?;
                truth.data.apply_item(&item);
                truth.end = item.end();
                truth.digests.insert(item.end(), truth.data.digests());
            }
        }
        Ok(())
    }

    /// A history up to an offset, and the older ones that it has, each with the offset up to which it has them.
    pub(super) fn line(&self, (mut id, mut until): Until) -> Vec<Until> {
        let mut line = vec![(id, until)];
        while let Some((parent, fork)) = self.truths.get(&id).and_then(|truth| truth.parent) {
            (id, until) = (parent, until.min(fork));
            line.push((id, until));
        }
        line
    }

    /// Whether what stands at the offset of a history is in what a server has.
    pub(super) fn includes(&self, of: Until, (id, offset): Until) -> bool {
        self.line(of).iter().any(|(older, until)| *older == id && offset <= *until)
    }

    /// The end of what both have.
    pub(super) fn common(&self, one: Until, other: Until) -> Option<u64> {
        let one = self.line(one);
        let of =
            |(id, until): Until| one.iter().find(|(older, _)| *older == id).map(|(_, fork)| until.min(*fork));
        self.line(other).into_iter().find_map(of)
    }

    /// Where a server stands: in which history, and where in it; `None`: its data are of none.
    pub(super) fn standing_of(&self, node: &Node) -> Option<Until> {
        node.backlog.as_ref()?;
        Some((node.history.id(), node.writer.offset()))
    }

    /// Whether a server has what the stream of its history had at its offset. To be asked where shards do not run ahead.
    pub(super) fn compare(&mut self, index: usize) -> Result<(), Finding> {
        let node = &self.nodes[index];
        let Some((id, offset)) = self.standing_of(node) else { return Ok(()) };
        let line = self.line((id, offset));
        let own = line.iter().rev().find(|(_, until)| *until == offset).map_or(id, |(older, _)| *older);
        let Some(truth) = self.truths.get(&own) else { return Ok(()) };
        if offset > truth.end {
            return Err(Finding::AheadOfMaster { node: index, offset });
        }
        if truth.digests.get(&offset) != Some(&node.data.digests()) {
            let is_boundary = truth.digests.contains_key(&offset);
            let what = format!("id {own}, known {is_boundary}, stream at {}, now {}", truth.end, self.now_ms);
            return Err(Finding::Differs { node: index, offset, what });
        }
        self.seen.count("compared");
        Ok(())
    }

    /// Whether each shard of a replica has what the stream left in its keys at some offset, from the acknowledged one to the last that has
    /// come; at every moment.
    pub(super) fn has_prefix(&mut self, index: usize) -> Result<(), Finding> {
        let node = &self.nodes[index];
        let Some(follower) = node.follower.as_ref().filter(|follower| follower.link.is_up()) else {
            return Ok(());
        };
        let Some((id, applied)) = self.standing_of(node) else { return Ok(()) };
        if follower.prefix_seen == Some((applied, node.data.digests())) {
            return Ok(());
        }
        let read = follower.cutter.read();
        let own = node.data.digests();
        let mut is_found = [false; SHARDS];
        for (id, until) in self.line((id, read)) {
            let Some(truth) = self.truths.get(&id).filter(|_| applied <= until) else { continue };
            for digests in truth.digests.range(applied..=until).map(|(_, digests)| digests) {
                (0..SHARDS).for_each(|shard| is_found[shard] |= digests[shard] == own[shard]);
            }
        }
        if let Some(shard) = is_found.iter().position(|is_found| !is_found) {
            return Err(Finding::NoPrefix { node: index, shard, applied, read });
        }
        self.seen.count("prefix");
        let Some(follower) = &mut self.nodes[index].follower else { return Ok(()) };
        follower.prefix_seen = Some((applied, own));
        Ok(())
    }

    /// Whether `index` could have gone on for a replica that asks so.
    pub(super) fn could_continue(&self, index: usize, id: &str, offset: i64) -> bool {
        let node = &self.nodes[index];
        let current = node.history.id();
        let Ok(next) = u64::try_from(offset) else { return false };
        let is_before = |(before, fork): Until| before.to_string() == id && next <= fork + 1;
        let is_prefix = current.to_string() == id || self.before[index].is_some_and(is_before);
        is_prefix && node.backlog.as_ref().is_some_and(|backlog| backlog.contains(next))
    }
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

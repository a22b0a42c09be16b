//! The map of the slots: which node of a cluster has a slot, in what state it is, and which shard of this node serves it.
//!
//! Every shard has the same map, as one value that is replaced when something changes; a shard takes a new one over at the begin of
//! a turn, so nothing moves within a turn. Whoever wants to know where a key is asks here, and nobody else computes with the number
//! of shards: which slots a shard has is what the map says, and they need not follow each other.
//!
//! ```text
//! key --slot_of()--> slot --SlotMap--> node, state, shard --SlotSet--> number of its table in the shard's store
//! ```
//!
//! A node by itself has every slot, and each of its shards an even share, one range.

use std::ops::Range;

use crate::store::{slot_of, SlotSet, SLOTS};

/// The number of a node in the map of its cluster.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(pub u16);

impl NodeId {
    /// The node that the map belongs to.
    pub const SELF: NodeId = NodeId(0);
}

/// Where a slot stands between two nodes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SlotState {
    #[default]
    Stable,
    /// Its keys go to another node, one by one.
    MigratingTo(NodeId),
    /// Its keys come from another node, which has it until all are here.
    ImportingFrom(NodeId),
}

/// What the map says of a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SlotEntry {
    pub node: NodeId,
    pub state: SlotState,
    /// The shard that serves it here, or would if it were this node's.
    pub shard: usize,
}

#[derive(Clone, Debug)]
pub struct SlotMap {
    shards: usize,
    /// By slot. What each request asks for is by itself, so that it stays in the cache.
    shard_of: Box<[u16]>,
    owners: Box<[(NodeId, SlotState)]>,
}

impl SlotMap {
    /// That of a node by itself.
    pub fn even(shards: usize) -> SlotMap {
        assert!(shards > 0 && shards <= SLOTS, "{shards} shards");
        SlotMap {
            shards,
            shard_of: (0..SLOTS as u16).map(|slot| shard_of_slot(slot, shards) as u16).collect(),
            owners: vec![Default::default(); SLOTS].into(),
        }
    }

    /// Changes what it says of a slot.
    pub fn assign(&mut self, slot: u16, place: SlotEntry) {
        assert!(place.shard < self.shards, "shard {} of {}", place.shard, self.shards);
        self.shard_of[usize::from(slot)] = place.shard as u16;
        self.owners[usize::from(slot)] = (place.node, place.state);
    }

    pub fn place(&self, slot: u16) -> SlotEntry {
        let (node, state) = self.owners[usize::from(slot)];
        SlotEntry { node, state, shard: self.shard_of_slot(slot) }
    }

    /// Number of shards.
    #[inline]
    pub fn shards(&self) -> usize {
        self.shards
    }

    /// All shards.
    #[inline]
    pub fn all(&self) -> Range<usize> {
        0..self.shards
    }

    /// All shards but one.
    pub fn others(&self, shard: usize) -> impl Iterator<Item = usize> {
        self.all().filter(move |other| *other != shard)
    }

    #[inline]
    pub fn is_single(&self) -> bool {
        self.shards == 1
    }

    /// The shard of a slot, below `SLOTS`.
    #[inline]
    pub fn shard_of_slot(&self, slot: u16) -> usize {
        self.shard_of[usize::from(slot) % SLOTS].into()
    }

    /// The shard of a key.
    #[inline]
    pub fn shard_of(&self, key: &[u8]) -> usize {
        if self.is_single() {
            0
        } else {
            self.shard_of_slot(slot_of(key))
        }
    }

    /// The items by the shard of the key of each, in their order.
    pub fn by_owner<T>(
        &self,
        items: impl IntoIterator<Item = T>,
        key: impl Fn(&T) -> &[u8],
    ) -> Vec<(usize, Vec<T>)> {
        let mut by_owner: Vec<(usize, Vec<T>)> = Vec::new();
        for item in items {
            let owner = self.shard_of(key(&item));
            match by_owner.iter_mut().find(|(shard, _)| *shard == owner) {
                Some((_, list)) => list.push(item),
                None => by_owner.push((owner, vec![item])),
            }
        }
        by_owner
    }

    /// The slots that a shard serves.
    pub fn slots_of(&self, shard: usize) -> SlotSet {
        SlotSet::of((0..SLOTS as u16).filter(|slot| self.shard_of_slot(*slot) == shard))
    }

    /// The shard whose turn it is in a walk over all (SCAN), and the cursor that it knows itself.
    pub fn split_cursor(&self, cursor: u64) -> (usize, u64) {
        let shards = self.shards as u64;
        ((cursor % shards) as usize, cursor / shards)
    }

    /// The cursor to go on with, once a shard has answered this one. 0: that was all.
    pub fn join_cursor(&self, shard: usize, inner: u64) -> u64 {
        join_cursor(shard, inner, self.shards)
    }

    /// A shard's share of what all have together; the shares differ by one at most.
    pub fn share_of(&self, total: usize, shard: usize) -> usize {
        (total + self.shards - 1 - shard) / self.shards
    }
}

/// As `SlotMap::join_cursor`, of a walk over so many shards.
pub fn join_cursor(shard: usize, inner: u64, shards: usize) -> u64 {
    match inner {
        0 if shard + 1 == shards => 0,
        0 => (shard + 1) as u64,
        inner => inner * shards as u64 + shard as u64,
    }
}

/// The shard that has `slot` where each of `shards` has an even share: the inverse of `even_share`.
pub fn shard_of_slot(slot: u16, shards: usize) -> usize {
    ((usize::from(slot) + 1) * shards - 1) / SLOTS
}

/// The slots of shard number `shard` of `shards` where each has an even share: on a node by itself, and in the files of one.
pub fn even_share(shard: usize, shards: usize) -> SlotSet {
    assert!(shard < shards && shards <= SLOTS, "shard {shard} of {shards}");
    SlotSet::range((shard * SLOTS / shards) as u16, ((shard + 1) * SLOTS / shards) as u16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_slot_has_one_shard_and_the_shares_are_even() {
        for shards in [1, 2, 3, 5, 7, 16, 61, 1000, SLOTS] {
            let map = SlotMap::even(shards);
            let lens: Vec<usize> = map.all().map(|shard| even_share(shard, shards).len()).collect();
            assert_eq!(lens.iter().sum::<usize>(), SLOTS);
            assert!(lens.iter().max().unwrap() - lens.iter().min().unwrap() <= 1);
            for slot in 0..SLOTS as u16 {
                let shard = map.shard_of_slot(slot);
                assert!(even_share(shard, shards).contains(slot), "slot {slot} of shard {shard} of {shards}");
            }
        }
        assert_eq!(SlotMap::even(3).slots_of(1), even_share(1, 3));
    }

    #[test]
    fn a_slot_goes_where_it_is_assigned() {
        let mut map = SlotMap::even(2);
        let key = b"foo";
        let slot = slot_of(key);
        let place = SlotEntry { node: NodeId(3), state: SlotState::MigratingTo(NodeId(4)), shard: 0 };
        assert_eq!(map.place(slot), SlotEntry { node: NodeId::SELF, state: SlotState::Stable, shard: 1 });
        map.assign(slot, place);
        assert_eq!((map.place(slot), map.shard_of(key)), (place, 0));
        let (first, second) = (map.slots_of(0), map.slots_of(1));
        assert!(first.contains(slot) && !second.contains(slot));
        assert_eq!((first.len(), second.len()), (SLOTS / 2 + 1, SLOTS / 2 - 1));
    }

    #[test]
    fn a_walk_goes_over_every_shard_and_ends_behind_the_last() {
        let map = SlotMap::even(3);
        assert_eq!(map.split_cursor(map.join_cursor(1, 77)), (1, 77));
        assert_eq!(map.join_cursor(0, 0), 1);
        assert_eq!(map.split_cursor(1), (1, 0));
        assert_eq!(map.join_cursor(2, 0), 0);
    }

    #[test]
    fn shares_add_up() {
        let map = SlotMap::even(3);
        for total in 0..10 {
            let shares: Vec<usize> = map.all().map(|shard| map.share_of(total, shard)).collect();
            assert_eq!(shares.iter().sum::<usize>(), total);
            assert!(shares[0] - shares[2] <= 1);
        }
    }
}

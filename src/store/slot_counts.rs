//! How many keys each slot of a database holds.
//!
//! Answers what a walk over thousands of tables would be too slow for: which slot holds the n-th key (so that a random
//! key is as likely from a full slot as it should be), and which slot comes next that holds any. Counts are summed per
//! block of slots, and a question looks at the blocks and then within one: some tens of additions. An update is two.

/// Slots of one block; 128 blocks for all slots.
const BLOCK_SLOTS: usize = 128;

/// Counts per slot, numbered from the first slot of the shard.
#[derive(Debug, Default)]
pub(super) struct SlotCounts {
    slots: Box<[u32]>,
    blocks: Box<[u64]>,
    total: u64,
}

impl SlotCounts {
    pub(super) fn new(slots: usize) -> SlotCounts {
        SlotCounts {
            slots: vec![0; slots].into(),
            blocks: vec![0; slots.div_ceil(BLOCK_SLOTS)].into(),
            total: 0,
        }
    }

    pub(super) fn total(&self) -> u64 {
        self.total
    }

    pub(super) fn of(&self, slot: usize) -> usize {
        self.slots.get(slot).map_or(0, |&count| count as usize)
    }

    #[inline]
    pub(super) fn add(&mut self, slot: usize) {
        self.slots[slot] += 1;
        self.blocks[slot / BLOCK_SLOTS] += 1;
        self.total += 1;
    }

    #[inline]
    pub(super) fn sub(&mut self, slot: usize) {
        debug_assert!(self.slots[slot] > 0);
        self.slots[slot] -= 1;
        self.blocks[slot / BLOCK_SLOTS] -= 1;
        self.total -= 1;
    }

    /// The slot that holds the key number `nth`, counted from 0 below the total.
    pub(super) fn slot_of_nth(&self, nth: u64) -> usize {
        debug_assert!(nth < self.total);
        let mut left = nth;
        let mut block = 0;
        while left >= self.blocks[block] {
            left -= self.blocks[block];
            block += 1;
        }
        let mut slot = block * BLOCK_SLOTS;
        while left >= self.slots[slot] as u64 {
            left -= self.slots[slot] as u64;
            slot += 1;
        }
        slot
    }

    /// The first slot from `slot` on that holds a key.
    pub(super) fn next_from(&self, slot: usize) -> Option<usize> {
        if self.total == 0 {
            return None;
        }
        let block_end = (slot / BLOCK_SLOTS + 1) * BLOCK_SLOTS;
        let in_range = |from: usize, to: usize| {
            let to = to.min(self.slots.len());
            (from.min(to)..to).find(|&slot| self.slots[slot] > 0)
        };
        in_range(slot, block_end).or_else(|| {
            let block = (block_end / BLOCK_SLOTS..self.blocks.len()).find(|&block| self.blocks[block] > 0)?;
            in_range(block * BLOCK_SLOTS, (block + 1) * BLOCK_SLOTS)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_is_found_in_its_slot() {
        for slots in [1, 5, 127, 128, 129, 5461, 16_384] {
            let mut slot_counts = SlotCounts::new(slots);
            let mut expected = Vec::new();
            for slot in (0..slots).filter(|slot| slot % 3 != 1) {
                for _ in 0..slot % 7 {
                    slot_counts.add(slot);
                    expected.push(slot);
                }
            }
            assert_eq!(slot_counts.total() as usize, expected.len());
            for (nth, &slot) in expected.iter().enumerate() {
                assert_eq!(slot_counts.slot_of_nth(nth as u64), slot);
            }
            for from in 0..slots {
                let next = (from..slots).find(|&slot| slot_counts.of(slot) > 0);
                assert_eq!(slot_counts.next_from(from), next, "{slots} slots from {from}");
            }
            for slot in expected {
                slot_counts.sub(slot);
            }
            assert_eq!((slot_counts.total(), slot_counts.next_from(0)), (0, None));
        }
    }
}

//! How many keys each slot of a database holds.
//!
//! Answers what a walk over thousands of tables would be too slow for: which slot holds the n-th key (so that a random
//! key is as likely from a full slot as it should be), and which slot comes next that holds any. Counts are summed per
//! block of slots, and a question looks at the blocks and then within one: some tens of additions. An update is two.

/// Slots of one block; 128 blocks for all slots.
const BLOCK_SLOTS: usize = 128;

type Block = [u32; BLOCK_SLOTS];

/// Counts per slot, numbered from the first slot of the shard. A block without a key takes no memory until it has had one.
#[derive(Debug, Default)]
pub(super) struct SlotCounts {
    blocks: Box<[Option<Box<Block>>]>,
    /// Of all slots of a block.
    sums: Box<[u64]>,
    total: u64,
}

impl SlotCounts {
    pub(super) fn new(slots: usize) -> SlotCounts {
        let blocks = slots.div_ceil(BLOCK_SLOTS);
        SlotCounts { blocks: (0..blocks).map(|_| None).collect(), sums: vec![0; blocks].into(), total: 0 }
    }

    pub(super) fn total(&self) -> u64 {
        self.total
    }

    pub(super) fn of(&self, slot: usize) -> usize {
        let block = self.blocks.get(slot / BLOCK_SLOTS).and_then(Option::as_ref);
        block.map_or(0, |counts| counts[slot % BLOCK_SLOTS] as usize)
    }

    #[inline]
    pub(super) fn add(&mut self, slot: usize) {
        let block = self.blocks[slot / BLOCK_SLOTS].get_or_insert_with(|| Box::new([0; BLOCK_SLOTS]));
        block[slot % BLOCK_SLOTS] += 1;
        self.sums[slot / BLOCK_SLOTS] += 1;
        self.total += 1;
    }

    #[inline]
    pub(super) fn sub(&mut self, slot: usize) {
        debug_assert!(self.of(slot) > 0);
        if let Some(block) = &mut self.blocks[slot / BLOCK_SLOTS] {
            block[slot % BLOCK_SLOTS] -= 1;
        }
        self.sums[slot / BLOCK_SLOTS] -= 1;
        self.total -= 1;
    }

    /// The slot that holds the key number `nth`, counted from 0 below the total.
    pub(super) fn slot_of_nth(&self, nth: u64) -> usize {
        debug_assert!(nth < self.total);
        let mut left = nth;
        let mut block = 0;
        while left >= self.sums[block] {
            left -= self.sums[block];
            block += 1;
        }
        let mut slot = block * BLOCK_SLOTS;
        while left >= self.of(slot) as u64 {
            left -= self.of(slot) as u64;
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
        let in_range = |from: usize, to: usize| (from..to).find(|&slot| self.of(slot) > 0);
        in_range(slot, block_end).or_else(|| {
            let block = (block_end / BLOCK_SLOTS..self.sums.len()).find(|&block| self.sums[block] > 0)?;
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

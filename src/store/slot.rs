//! Hash slots: which of the 16,384 slots a key lives in, and which shard owns a slot.
//!
//! The slot of a key is CRC16/XMODEM of the key modulo 16,384. When the key holds a `{` and a later `}` with at least
//! one byte between them, only the bytes between the first `{` and the first `}` after it count (the Redis cluster
//! specification, "Hash tags"), so that a client can place related keys together. Every key of every request passes
//! here once, so the CRC takes eight bytes a step.

use std::ops::Range;

/// Number of hash slots, as in a Redis cluster.
pub const SLOTS: usize = 16_384;

const POLYNOMIAL: u16 = 0x1021;

/// `TABLES[k][b]`: what byte `b` contributes to the CRC when `k` more bytes follow it in the same step.
static TABLES: [[u16; 256]; 8] = build_tables();

const fn build_tables() -> [[u16; 256]; 8] {
    let mut tables = [[0u16; 256]; 8];
    let mut byte = 0;
    while byte < 256 {
        let mut crc = (byte as u16) << 8;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 0x8000 != 0 { (crc << 1) ^ POLYNOMIAL } else { crc << 1 };
            bit += 1;
        }
        tables[0][byte] = crc;
        byte += 1;
    }
    let mut following = 1;
    while following < 8 {
        let mut byte = 0;
        while byte < 256 {
            let crc = tables[following - 1][byte];
            tables[following][byte] = (crc << 8) ^ tables[0][(crc >> 8) as usize];
            byte += 1;
        }
        following += 1;
    }
    tables
}

/// CRC16/XMODEM: polynomial 0x1021, initial value 0, not reflected, no final xor.
fn crc16(bytes: &[u8]) -> u16 {
    let t = &TABLES;
    let mut crc = 0u16;
    let mut rest = bytes;
    while let Some((head, tail)) = rest.split_first_chunk::<8>() {
        let first = crc ^ u16::from_be_bytes([head[0], head[1]]);
        crc = t[7][(first >> 8) as usize]
            ^ t[6][(first & 0xff) as usize]
            ^ t[5][head[2] as usize]
            ^ t[4][head[3] as usize]
            ^ t[3][head[4] as usize]
            ^ t[2][head[5] as usize]
            ^ t[1][head[6] as usize]
            ^ t[0][head[7] as usize];
        rest = tail;
    }
    if let Some((head, tail)) = rest.split_first_chunk::<4>() {
        let first = crc ^ u16::from_be_bytes([head[0], head[1]]);
        crc = t[3][(first >> 8) as usize]
            ^ t[2][(first & 0xff) as usize]
            ^ t[1][head[2] as usize]
            ^ t[0][head[3] as usize];
        rest = tail;
    }
    for &byte in rest {
        crc = (crc << 8) ^ t[0][((crc >> 8) as u8 ^ byte) as usize];
    }
    crc
}

/// The part of the key that decides its slot: its hash tag, or all of it.
fn hashed_part(key: &[u8]) -> &[u8] {
    let Some(open) = memchr::memchr(b'{', key) else {
        return key;
    };
    match memchr::memchr(b'}', &key[open + 1..]) {
        Some(len) if len > 0 => &key[open + 1..open + 1 + len],
        _ => key,
    }
}

/// The slot of a key, below [`SLOTS`].
#[inline]
pub fn slot_of(key: &[u8]) -> u16 {
    crc16(hashed_part(key)) & (SLOTS as u16 - 1)
}

/// A contiguous range of slots, owned by one shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SlotRange {
    start: u16,
    /// One past the last slot; at most [`SLOTS`].
    end: u16,
}

impl SlotRange {
    /// Every slot.
    pub const ALL: SlotRange = SlotRange { start: 0, end: SLOTS as u16 };

    /// The slots `start..end`; `end` is at most [`SLOTS`].
    pub fn new(start: u16, end: u16) -> SlotRange {
        assert!(start < end && end as usize <= SLOTS, "slot range {start}..{end} is empty or beyond {SLOTS}");
        SlotRange { start, end }
    }

    /// The slots that shard number `shard` of `shards` owns. Ranges differ in size by one slot at most.
    pub fn of_shard(shard: usize, shards: usize) -> SlotRange {
        assert!(shard < shards && shards <= SLOTS, "shard {shard} of {shards}");
        SlotRange { start: (shard * SLOTS / shards) as u16, end: ((shard + 1) * SLOTS / shards) as u16 }
    }

    pub fn start(self) -> u16 {
        self.start
    }

    /// One past the last slot.
    pub fn end(self) -> u16 {
        self.end
    }

    /// Number of slots, at least one.
    #[allow(clippy::len_without_is_empty)] // never empty
    pub fn len(self) -> usize {
        (self.end - self.start) as usize
    }

    pub fn contains(self, slot: u16) -> bool {
        (self.start..self.end).contains(&slot)
    }

    pub fn iter(self) -> Range<u16> {
        self.start..self.end
    }
}

/// Any slots.
#[derive(Clone, PartialEq, Eq)]
pub struct SlotSet {
    bits: Box<[u64; SLOTS / 64]>,
}

impl SlotSet {
    pub fn new(slots: impl IntoIterator<Item = u16>) -> SlotSet {
        let mut bits = Box::new([0; SLOTS / 64]);
        for slot in slots.into_iter().map(usize::from).filter(|slot| *slot < SLOTS) {
            bits[slot / 64] |= 1 << (slot % 64);
        }
        SlotSet { bits }
    }

    #[inline]
    pub fn contains(&self, slot: u16) -> bool {
        self.bits.get(usize::from(slot) / 64).is_some_and(|word| word >> (slot % 64) & 1 == 1)
    }

    pub fn len(&self) -> usize {
        self.bits.iter().map(|word| word.count_ones() as usize).sum()
    }

    pub fn is_empty(&self) -> bool {
        self.bits.iter().all(|word| *word == 0)
    }
}

impl std::fmt::Debug for SlotSet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SlotSet of {}", self.len())
    }
}

/// The shard, of `shards`, that owns `slot`: the inverse of [`SlotRange::of_shard`].
#[inline]
pub fn shard_of_slot(slot: u16, shards: usize) -> usize {
    ((slot as usize + 1) * shards - 1) / SLOTS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_contains_the_slots_that_it_was_made_of_and_no_others() {
        let set = SlotSet::new([0, 63, 64, 16_383, 64, 16_384]);
        assert_eq!((set.len(), set.is_empty()), (4, false));
        let found: Vec<u16> = (0..SLOTS as u16 + 2).filter(|slot| set.contains(*slot)).collect();
        assert_eq!(found, [0, 63, 64, 16_383]);
        assert!(SlotSet::new([]).is_empty());
    }

    #[test]
    fn crc_matches_the_published_check_value() {
        assert_eq!(crc16(b"123456789"), 0x31c3);
        assert_eq!(crc16(b""), 0);
    }

    #[test]
    fn crc_of_every_length_equals_the_bitwise_definition() {
        let bytes: Vec<u8> = (0..100u32).map(|i| (i * 37 + 11) as u8).collect();
        for len in 0..=bytes.len() {
            let mut crc = 0u16;
            for &byte in &bytes[..len] {
                crc ^= (byte as u16) << 8;
                for _ in 0..8 {
                    crc = if crc & 0x8000 != 0 { (crc << 1) ^ POLYNOMIAL } else { crc << 1 };
                }
            }
            assert_eq!(crc16(&bytes[..len]), crc, "length {len}");
        }
    }

    #[test]
    fn slots_match_redis() {
        // From CLUSTER KEYSLOT of redis-server 7.0.15.
        assert_eq!(slot_of(b"foo"), 12182);
        assert_eq!(slot_of(b"somekey"), 11058);
        assert_eq!(slot_of(b"foo{hash_tag}"), 2515);
        assert_eq!(slot_of(b"bar{hash_tag}"), 2515);
    }

    #[test]
    fn only_a_nonempty_first_tag_counts() {
        assert_eq!(slot_of(b"{user1000}.following"), slot_of(b"user1000"));
        assert_eq!(slot_of(b"foo{{bar}}zap"), slot_of(b"{bar"));
        assert_eq!(slot_of(b"foo{bar}{zap}"), slot_of(b"bar"));
        assert_ne!(slot_of(b"foo{}{bar}"), slot_of(b"bar"));
        assert_ne!(slot_of(b"foo{bar"), slot_of(b"bar"));
        assert_eq!(crc16(b"foo{}{bar}") & 16383, slot_of(b"foo{}{bar}"));
    }

    #[test]
    fn every_slot_has_the_one_shard_whose_range_holds_it() {
        for shards in [1, 2, 3, 5, 7, 16, 61, 1000, SLOTS] {
            let mut expected = 0;
            for shard in 0..shards {
                let range = SlotRange::of_shard(shard, shards);
                assert_eq!(range.start(), expected);
                for slot in range.iter() {
                    assert_eq!(shard_of_slot(slot, shards), shard);
                }
                expected = range.end();
            }
            assert_eq!(expected as usize, SLOTS);
        }
    }
}

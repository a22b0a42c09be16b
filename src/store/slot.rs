//! Hash slots: which of the 16,384 slots a key lives in, and sets of slots.
//!
//! The slot of a key is CRC16/XMODEM of the key modulo 16,384. When the key holds a `{` and a later `}` with at least
//! one byte between them, only the bytes between the first `{` and the first `}` after it count (the Redis cluster
//! specification, "Hash tags"), so that a client can place related keys together. Every key of every request passes
//! here once, so the CRC takes eight bytes a step.

use std::sync::Arc;

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

/// A set of slots, those of one shard as a rule. Each has a number there, by its place among them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlotSet {
    first: u16,
    len: u16,
    /// None: they follow each other from `first` on.
    scattered: Option<Arc<Scattered>>,
}

#[derive(Debug, PartialEq, Eq)]
struct Scattered {
    /// By slot; `NOT_HERE` for those of others.
    numbers: Vec<u16>,
    /// By number, rising.
    slots: Vec<u16>,
}

/// No slot has this number.
const NOT_HERE: u16 = u16::MAX;

impl SlotSet {
    /// Every slot.
    pub const ALL: SlotSet = SlotSet { first: 0, len: SLOTS as u16, scattered: None };

    /// The slots `start..end`; `end` is at most [`SLOTS`].
    pub fn range(start: u16, end: u16) -> SlotSet {
        assert!(start < end && end as usize <= SLOTS, "slot range {start}..{end} is empty or beyond {SLOTS}");
        SlotSet { first: start, len: end - start, scattered: None }
    }

    /// These slots, which rise and are below [`SLOTS`].
    pub fn of(slots: impl Iterator<Item = u16>) -> SlotSet {
        let slots: Vec<u16> = slots.collect();
        let (first, len) = (slots.first().copied().unwrap_or(0), slots.len() as u16);
        let follow = slots.iter().zip(first..).all(|(slot, next)| *slot == next);
        if follow {
            return SlotSet { first, len, scattered: None };
        }
        let mut numbers = vec![NOT_HERE; SLOTS];
        for (slot, number) in slots.iter().zip(0..) {
            numbers[usize::from(*slot)] = number;
        }
        SlotSet { first, len, scattered: Some(Arc::new(Scattered { numbers, slots })) }
    }

    #[allow(clippy::len_without_is_empty)] // a shard without slots is nothing special
    pub fn len(&self) -> usize {
        self.len.into()
    }

    pub fn is_all(&self) -> bool {
        self.len() == SLOTS
    }

    /// The number of a slot among these; of one that is not, nothing below `len`.
    #[inline]
    pub fn number(&self, slot: u16) -> u16 {
        match &self.scattered {
            None => slot.wrapping_sub(self.first),
            Some(scattered) => scattered.numbers[usize::from(slot) % SLOTS],
        }
    }

    #[inline]
    pub fn contains(&self, slot: u16) -> bool {
        self.number(slot) < self.len
    }

    /// The slot of a number below `len`.
    pub fn slot(&self, number: usize) -> u16 {
        match &self.scattered {
            None => self.first + number as u16,
            Some(scattered) => scattered.slots[number],
        }
    }

    /// The number of the first slot that is `slot` or behind it; `len` when there is none.
    pub fn number_from(&self, slot: u16) -> usize {
        match &self.scattered {
            None => usize::from(slot.saturating_sub(self.first)).min(self.len()),
            Some(scattered) => scattered.slots.partition_point(|own| *own < slot),
        }
    }

    /// Rising.
    pub fn iter(&self) -> impl Iterator<Item = u16> + '_ {
        (0..self.len()).map(|number| self.slot(number))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_contains_the_slots_that_it_was_made_of_and_no_others() {
        let set = SlotSet::of([0, 63, 64, 16_383].into_iter());
        assert_eq!(set.len(), 4);
        let found: Vec<u16> = (0..SLOTS as u16).filter(|slot| set.contains(*slot)).collect();
        assert_eq!(found, [0, 63, 64, 16_383]);
        assert_eq!(SlotSet::of(std::iter::empty()).len(), 0);
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
    fn a_set_numbers_its_slots_whether_they_follow_each_other_or_not() {
        let scattered: Vec<u16> = (0..SLOTS as u16).filter(|slot| slot % 3 == 1 || *slot > 16_000).collect();
        let following: Vec<u16> = (5_000..9_000).collect();
        for slots in [scattered, following, vec![], (0..SLOTS as u16).collect()] {
            let set = SlotSet::of(slots.iter().copied());
            assert_eq!(set.iter().collect::<Vec<_>>(), slots);
            assert_eq!((set.len(), set.is_all()), (slots.len(), slots.len() == SLOTS));
            for slot in 0..SLOTS as u16 {
                let number = slots.binary_search(&slot).ok();
                assert_eq!(set.contains(slot), number.is_some(), "slot {slot}");
                if let Some(number) = number {
                    assert_eq!((usize::from(set.number(slot)), set.slot(number)), (number, slot));
                }
                assert_eq!(set.number_from(slot), slots.partition_point(|own| *own < slot), "from {slot}");
            }
        }
    }
}

//! Large sets and hashes: linear hashing over packed buckets.
//!
//! What a hash table usually spends on an element, a pointer and the rounding of an allocation, is as much as a small
//! element itself. Here a bucket of about a dozen elements is one allocation (see `bucket`), so that a 14-byte member
//! costs about 18 bytes. The table is Litwin's linear hashing, as the keyspace's (see `store::table`, which says how
//! a hash finds its bucket): it grows and shrinks by one bucket at a time, and no single change ever pays for its size.
//! Buckets lie in segments of [`SEGMENT_BUCKETS`], which do not move.
//!
//! `Members<false>` is a set. `Members<true>` has a value with each member, which lies behind it in one element:
//!
//! ```text
//! member                       of a set
//! length, u8 | member | value  of a hash, in the bucket
//! length, u32 | member | value of a hash, in a block of its own
//! ```

mod block;
mod bucket;
#[cfg(test)]
mod tests;

use std::collections::HashSet;
use std::hash::{BuildHasher, Hasher};

use foldhash::quality::RandomState;

use self::bucket::{Bucket, BucketPosition, Places, Stored, INLINE_LEN_MAX};
use super::memory::block_size;
use super::random::Rng;

/// A bucket is split when there are more elements per bucket than this.
const LOAD_MAX: usize = 12;
/// And two are merged when there are fewer than this (see `maybe_shrink`).
const LOAD_MIN: usize = 6;
/// Buckets of a segment: 4 KiB of addresses.
const SEGMENT_BUCKETS: usize = 512;
/// Tries at a random element before settling for a less fair one.
const RANDOM_TRIES_MAX: usize = 256;
/// A bucket with this many elements or more is always accepted as a random one. Hardly any has more.
const RANDOM_FULL: u64 = 32;
/// So many buckets ahead of a walk the processor is asked for what comes.
const WALK_PREFETCH: usize = 3;
/// With so many elements in the table for one that is wanted, they are drawn; with fewer, all are passed through.
const DRAW_RATIO: usize = 3;

/// A set of byte strings, with a value each when `VALUES`.
#[derive(Clone, Debug)]
pub struct Members<const VALUES: bool> {
    segments: Vec<Vec<Bucket>>,
    buckets: usize,
    len: usize,
    /// Elements in blocks of their own.
    long_elements: usize,
    /// Bytes allocated for buckets and long elements.
    element_memory: usize,
    hasher: RandomState,
}

/// The element of one bucket, by where it is.
#[derive(Clone, Copy)]
struct Spot {
    bucket: usize,
    place: BucketPosition,
}

impl<const VALUES: bool> Default for Members<VALUES> {
    fn default() -> Self {
        Members {
            segments: Vec::new(),
            buckets: 0,
            len: 0,
            long_elements: 0,
            element_memory: 0,
            hasher: RandomState::default(),
        }
    }
}

/// The smallest power of two not below `buckets`, less one.
#[inline]
fn mask_of(buckets: usize) -> u64 {
    debug_assert!(buckets > 0);
    (buckets as u64).next_power_of_two() - 1
}

#[inline]
fn tag_of(hash: u64) -> u8 {
    (hash >> 56) as u8
}

/// Member and value of an element.
#[inline]
fn parts_of<const VALUES: bool>(stored: Stored<'_>) -> (&[u8], &[u8]) {
    if !VALUES {
        return (stored.bytes, &[]);
    }
    if stored.is_long {
        let (len, rest) = stored.bytes.split_at(4);
        let len = u32::from_le_bytes(len.try_into().expect("split off as 4 bytes"));
        rest.split_at(len as usize)
    } else {
        stored.bytes[1..].split_at(usize::from(stored.bytes[0]))
    }
}

impl<const VALUES: bool> Members<VALUES> {
    pub fn len(&self) -> usize {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Bytes allocated, `Self` apart.
    pub fn memory(&self) -> usize {
        let Some(last) = self.segments.last() else { return 0 };
        let outer = block_size(self.segments.capacity() * size_of::<Vec<Bucket>>());
        let full = (self.segments.len() - 1) * SEGMENT_BUCKETS * size_of::<Bucket>();
        outer + full + block_size(last.capacity() * size_of::<Bucket>()) + self.element_memory
    }

    /// Allocations.
    pub fn pieces(&self) -> usize {
        self.buckets + self.long_elements
    }

    pub fn contains(&self, member: &[u8]) -> bool {
        self.find(self.hash(member), member).is_some()
    }

    #[inline]
    fn hash(&self, member: &[u8]) -> u64 {
        let mut hasher = self.hasher.build_hasher();
        hasher.write(member);
        hasher.finish()
    }

    #[inline]
    fn bucket_of(&self, hash: u64) -> usize {
        let mask = mask_of(self.buckets);
        let bucket = hash & mask;
        let exists = bucket < self.buckets as u64;
        (if exists { bucket } else { bucket & (mask >> 1) }) as usize
    }

    #[inline]
    fn bucket(&self, bucket: usize) -> &Bucket {
        &self.segments[bucket / SEGMENT_BUCKETS][bucket % SEGMENT_BUCKETS]
    }

    #[inline]
    fn bucket_mut(&mut self, bucket: usize) -> &mut Bucket {
        &mut self.segments[bucket / SEGMENT_BUCKETS][bucket % SEGMENT_BUCKETS]
    }

    #[inline]
    fn find(&self, hash: u64, member: &[u8]) -> Option<Spot> {
        if self.buckets == 0 {
            return None;
        }
        let bucket = self.bucket_of(hash);
        let is_it = |stored: Stored| parts_of::<VALUES>(stored).0 == member;
        let place = self.bucket(bucket).find(tag_of(hash), is_it)?;
        Some(Spot { bucket, place })
    }

    #[inline]
    fn at(&self, spot: Spot) -> (&[u8], &[u8]) {
        parts_of::<VALUES>(self.bucket(spot.bucket).stored(spot.place))
    }

    /// Adds an element that is not there.
    fn add(&mut self, hash: u64, member: &[u8], value: &[u8]) {
        if self.buckets == 0 {
            self.push_bucket(Bucket::default());
        }
        self.len += 1;
        if self.len > LOAD_MAX * self.buckets {
            self.grow();
        }
        let bucket = self.bucket_of(hash);
        self.push(bucket, tag_of(hash), member, value);
    }

    fn push(&mut self, bucket: usize, tag: u8, member: &[u8], value: &[u8]) {
        let len = usize::from(VALUES) + member.len() + value.len();
        let bucket = self.bucket_mut(bucket);
        let before = bucket.memory();
        let mut long_memory = None;
        match (VALUES, len <= INLINE_LEN_MAX) {
            (false, true) => bucket.push(tag, &[member]),
            // Shorter than `INLINE_LEN_MAX`.
            (true, true) => bucket.push(tag, &[&[member.len() as u8], member, value]),
            (false, false) => long_memory = Some(bucket.push_long(tag, &[member])),
            (true, false) => {
                // Strings are shorter than 4 GiB.
                let member_len = (member.len() as u32).to_le_bytes();
                long_memory = Some(bucket.push_long(tag, &[&member_len, member, value]));
            }
        }
        let after = bucket.memory();
        self.element_memory = self.element_memory + after - before + long_memory.unwrap_or(0);
        self.long_elements += usize::from(long_memory.is_some());
    }

    /// Takes an element out of its bucket.
    fn take(&mut self, spot: Spot) {
        let bucket = self.bucket_mut(spot.bucket);
        let long_memory = bucket.memory_of(spot.place);
        let before = bucket.memory() + long_memory;
        bucket.remove(spot.place);
        let after = bucket.memory();
        self.element_memory = self.element_memory + after - before;
        self.long_elements -= usize::from(long_memory > 0);
    }

    /// Takes out a member, and its value.
    pub fn remove(&mut self, member: &[u8]) -> bool {
        match self.find(self.hash(member), member) {
            Some(spot) => {
                self.remove_at(spot);
                true
            }
            None => false,
        }
    }

    fn remove_at(&mut self, spot: Spot) {
        self.take(spot);
        self.len -= 1;
        self.maybe_shrink();
    }

    /// Takes out a random element, after `each` has seen it.
    pub fn pop<R>(&mut self, rng: &mut Rng, each: impl FnOnce(&[u8], &[u8]) -> R) -> Option<R> {
        let spot = self.random_spot(rng)?;
        let (member, value) = self.at(spot);
        let result = each(member, value);
        self.remove_at(spot);
        Some(result)
    }

    /// A random element, each with nearly the same probability.
    pub fn random(&self, rng: &mut Rng) -> Option<(&[u8], &[u8])> {
        self.random_spot(rng).map(|spot| self.at(spot))
    }

    fn random_spot(&self, rng: &mut Rng) -> Option<Spot> {
        let (bucket, index) = self.random_index(rng)?;
        Some(Spot { bucket, place: self.bucket(bucket).nth(index) })
    }

    /// Taking a bucket as often as it is full makes every element as likely as any other.
    fn random_index(&self, rng: &mut Rng) -> Option<(usize, usize)> {
        if self.len == 0 {
            return None;
        }
        if self.buckets == 1 {
            return Some((0, rng.below(self.len as u64) as usize));
        }
        for _ in 0..RANDOM_TRIES_MAX {
            let bucket = rng.below(self.buckets as u64) as usize;
            let elements = self.bucket(bucket).len() as u64;
            let index = rng.below(elements.max(RANDOM_FULL));
            if index < elements {
                return Some((bucket, index as usize));
            }
        }
        let start = rng.below(self.buckets as u64) as usize;
        let mut round = (start..self.buckets).chain(0..start);
        let bucket = round.find(|&bucket| self.bucket(bucket).len() > 0)?;
        Some((bucket, rng.below(self.bucket(bucket).len() as u64) as usize))
    }

    /// Shows `count` different random elements, or all when there are not more; every choice of them is as likely as
    /// any other.
    pub fn sample(&self, count: usize, rng: &mut Rng, mut each: impl FnMut(&[u8], &[u8])) {
        if count.saturating_mul(DRAW_RATIO) > self.len {
            let mut choice = Choice::new(count, self.len);
            self.iter().filter(|_| choice.takes(rng)).for_each(|(member, value)| each(member, value));
            return;
        }
        let mut drawn = HashSet::with_capacity(count);
        while drawn.len() < count {
            let Some(index) = self.random_index(rng) else { return };
            if drawn.insert(index) {
                let (bucket, index) = index;
                let (member, value) = self.at(Spot { bucket, place: self.bucket(bucket).nth(index) });
                each(member, value);
            }
        }
    }

    /// One step of a scan from `cursor` (0 to begin): visits a bucket, and returns the cursor of the next, 0 after the last.
    ///
    /// An element that is there from the first step to the last is visited at least once, however the table grows and
    /// shrinks between steps (see `Table::scan`, which does the same).
    pub fn scan(&self, cursor: u64, mut visit: impl FnMut(&[u8], &[u8])) -> u64 {
        if self.buckets == 0 {
            return 0;
        }
        let mut mask = mask_of(self.buckets);
        let low = cursor & (mask >> 1);
        let sibling = low + (mask >> 1) + 1;
        if sibling >= self.buckets as u64 {
            // Not split in this round: the interval is as wide as in the last one.
            mask >>= 1;
        }
        let bucket = self.bucket((cursor & mask) as usize);
        for place in bucket.places() {
            let (member, value) = parts_of::<VALUES>(bucket.stored(place));
            visit(member, value);
        }
        (cursor | !mask).reverse_bits().wrapping_add(1).reverse_bits()
    }

    /// Shows the elements of the next bucket from `position` on (0 to begin), and returns the position behind it; `None` after
    /// the last. Positions are good while nothing changes.
    pub fn walk(&self, position: usize, mut visit: impl FnMut(&[u8], &[u8])) -> Option<usize> {
        if position >= self.buckets {
            return None;
        }
        if position + WALK_PREFETCH < self.buckets {
            self.bucket(position + WALK_PREFETCH).prefetch();
        }
        let bucket = self.bucket(position);
        for place in bucket.places() {
            let (member, value) = parts_of::<VALUES>(bucket.stored(place));
            visit(member, value);
        }
        Some(position + 1)
    }

    /// All elements, in no order.
    pub fn iter(&self) -> Iter<'_, VALUES> {
        Iter { members: self, next_bucket: 0, bucket: None, places: Places::NONE }
    }

    /// Frees some allocations, about `pieces` of them, and returns how many. Once it returns 0 nothing is left. (Look-ups
    /// in between would miss: for what nobody can reach any more.)
    pub fn free_some(&mut self, pieces: usize) -> usize {
        let mut freed = 0;
        while freed < pieces && self.buckets > 0 {
            let bucket = self.pop_bucket();
            let mut memory = bucket.memory();
            let long = bucket.places().map(|place| bucket.memory_of(place)).filter(|&memory| memory > 0);
            let mut long_elements = 0;
            for long_memory in long {
                memory += long_memory;
                long_elements += 1;
            }
            freed += 1 + long_elements;
            self.len -= bucket.len();
            self.long_elements -= long_elements;
            self.element_memory -= memory;
        }
        freed
    }

    /// One bucket more: the next in turn is split between itself and a new last one.
    fn grow(&mut self) {
        let new = self.buckets;
        let bit = 1 << new.ilog2();
        // Apart from the table while their elements are hashed.
        let mut from = std::mem::take(self.bucket_mut(new & !bit));
        let before = from.memory();
        let to = from.split(|stored| self.hash(parts_of::<VALUES>(stored).0) & bit as u64 != 0);
        self.element_memory = self.element_memory + from.memory() + to.memory() - before;
        *self.bucket_mut(new & !bit) = from;
        self.push_bucket(to);
    }

    /// One bucket fewer, when there are too many: the last returns into the one that it was split from.
    fn maybe_shrink(&mut self) {
        // The margin keeps small tables from shrinking right after they grew.
        if self.len + LOAD_MIN > LOAD_MIN * self.buckets {
            return;
        }
        let last = self.buckets - 1;
        if last == 0 {
            if self.len == 0 {
                self.pop_bucket();
            }
            return;
        }
        let bucket = self.pop_bucket();
        let into = self.bucket_mut(last & !(1 << last.ilog2()));
        let before = bucket.memory() + into.memory();
        into.absorb(bucket);
        let after = into.memory();
        self.element_memory = self.element_memory + after - before;
    }

    fn push_bucket(&mut self, bucket: Bucket) {
        if self.buckets.is_multiple_of(SEGMENT_BUCKETS) {
            // The first grows with its table, others are for large tables.
            let capacity = if self.buckets == 0 { 1 } else { SEGMENT_BUCKETS };
            self.segments.push(Vec::with_capacity(capacity));
        }
        if let Some(segment) = self.segments.last_mut() {
            if segment.len() == segment.capacity() {
                // To the next power of two, whatever capacity a copy has come with.
                segment.reserve_exact((segment.len() + 1).next_power_of_two() - segment.len());
            }
            segment.push(bucket);
        }
        self.buckets += 1;
    }

    fn pop_bucket(&mut self) -> Bucket {
        let segment = self.segments.last_mut().expect("a table with a bucket has a segment");
        let bucket = segment.pop().expect("the last segment has the last bucket");
        self.buckets -= 1;
        if segment.is_empty() {
            self.segments.pop();
            if self.segments.len() * 4 <= self.segments.capacity() {
                self.segments.shrink_to(self.segments.len() * 2);
            }
        } else if self.segments.len() == 1 {
            let segment = &mut self.segments[0];
            if segment.len() * 4 <= segment.capacity() {
                segment.shrink_to(segment.len() * 2);
            }
        }
        bucket
    }
}

impl Members<false> {
    /// Adds a member; false when it was there.
    pub fn insert(&mut self, member: &[u8]) -> bool {
        let hash = self.hash(member);
        if self.find(hash, member).is_some() {
            return false;
        }
        self.add(hash, member, &[]);
        true
    }
}

impl Members<true> {
    pub fn get(&self, member: &[u8]) -> Option<&[u8]> {
        self.find(self.hash(member), member).map(|spot| self.at(spot).1)
    }

    /// Gives a member a value; false when it had one already.
    pub fn set(&mut self, member: &[u8], value: &[u8]) -> bool {
        let hash = self.hash(member);
        let Some(spot) = self.find(hash, member) else {
            self.add(hash, member, value);
            return true;
        };
        if self.at(spot).1.len() == value.len() {
            let stored = self.bucket_mut(spot.bucket).stored_mut(spot.place);
            let start = stored.len() - value.len();
            stored[start..].copy_from_slice(value);
        } else {
            self.take(spot);
            self.push(spot.bucket, tag_of(hash), member, value);
        }
        false
    }
}

/// Elements of a table, in no order.
#[derive(Clone, Debug)]
pub struct Iter<'a, const VALUES: bool> {
    members: &'a Members<VALUES>,
    next_bucket: usize,
    bucket: Option<&'a Bucket>,
    places: Places<'a>,
}

impl<'a, const VALUES: bool> Iterator for Iter<'a, VALUES> {
    type Item = (&'a [u8], &'a [u8]);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let (Some(bucket), Some(place)) = (self.bucket, self.places.next()) {
                return Some(parts_of::<VALUES>(bucket.stored(place)));
            }
            if self.next_bucket == self.members.buckets {
                return None;
            }
            let bucket = self.members.bucket(self.next_bucket);
            self.next_bucket += 1;
            if self.next_bucket < self.members.buckets {
                self.members.bucket(self.next_bucket).prefetch();
            }
            self.bucket = Some(bucket);
            self.places = bucket.places();
        }
    }
}

/// Chooses among elements that pass one after the other, so that every choice of so many is as likely as any other
/// (selection sampling: Knuth, "The Art of Computer Programming", volume 2, algorithm S).
#[derive(Clone, Copy, Debug)]
pub struct Choice {
    wanted: usize,
    to_come: usize,
}

impl Choice {
    /// `count` out of `len`.
    pub fn new(count: usize, len: usize) -> Choice {
        Choice { wanted: count, to_come: len }
    }

    /// Whether the next one is chosen.
    pub fn takes(&mut self, rng: &mut Rng) -> bool {
        if self.wanted == 0 || self.to_come == 0 {
            return false;
        }
        let takes = rng.below(self.to_come as u64) < self.wanted as u64;
        self.to_come -= 1;
        self.wanted -= usize::from(takes);
        takes
    }

    pub fn is_done(&self) -> bool {
        self.wanted == 0
    }
}

//! The hash table of the keyspace, sets and hashes: linear hashing over cache lines.
//!
//! Linear hashing (Litwin, "Linear hashing: a new tool for file and table addressing", VLDB 1980) grows and shrinks by
//! one bucket at a time, so that no single operation pays for the size of the table. With `n` buckets and `m` the
//! power of two at or above `n`, a hash belongs to bucket `hash mod m` if that exists, else to `hash mod m/2`. Growing
//! by one splits one bucket between itself and the new last one; shrinking undoes that.
//!
//! A word is what the owner wants it to be, a tagged pointer as a rule; the [`Owner`] tells the hash of what it stands
//! for when a bucket is split, and keeps the account of memory. A bucket is one cache line of seven words and their
//! tags, and overflows into a half line and then more lines (see `node`): at seven words a bucket on average, the table
//! costs about 12 bytes a word, at every size. Fuller buckets would overflow into more lines per look-up, and emptier
//! ones would waste more than they save.
//!
//! Lines lie in segments, so that growing moves nothing: 8 lines each for the first 128, then 16, 32, and 64 (4 KiB, and
//! from there a table of any size stays with them). All are sizes that the allocator hands out aligned and without
//! waste. The last segment is only as long as the next power of two. Up to [`INLINE_SEGMENTS`] are addressed from the
//! table itself, which fills one cache line.
//!
//! The table does not own what its words mean: whoever drops it empties it with [`Table::drain_some`] first.

mod node;
#[cfg(test)]
mod tests;

use std::alloc::{alloc, dealloc, handle_alloc_error, Layout};
use std::ptr::null_mut;

use self::node::{Bits, Node, LINE_BYTES, LINE_U64S, LINE_WORDS};
use super::random::Rng;

/// The table splits a bucket when it holds more words per bucket than this.
const LOAD_MAX: u64 = LINE_WORDS as u64;
/// And merges two when it holds fewer than this many (see `maybe_shrink`).
const LOAD_MIN: u64 = 4;
/// Segments addressed from the table itself.
const INLINE_SEGMENTS: usize = 6;
/// An outer directory returns into the table at this length, lower than the above so as not to flip at the border.
const INLINE_AGAIN_SEGMENTS: usize = 4;
/// Bits of bucket number within the smallest and the largest segment.
const SEGMENT_SHIFT_MIN: u32 = 3;
const SEGMENT_SHIFT_MAX: u32 = 6;
/// Buckets in the smallest segments, together: from here on segments double.
const SMALL_BUCKETS: u32 = 16 << SEGMENT_SHIFT_MIN;
/// Tries at a random word before settling for a less fair one.
const RANDOM_TRIES_MAX: usize = 64;
/// A bucket with this many words or more is always accepted as a random one.
const RANDOM_FULL_WORDS: u64 = 14;

/// What a table needs to know about its words, and whom it tells about memory.
pub trait Owner {
    /// The hash of what the word stands for.
    fn hash(&self, word: u64) -> u64;
    /// `hash` will be asked about this word soon.
    fn prefetch(&self, _word: u64) {}
    fn allocated(&mut self, bytes: usize);
    fn freed(&mut self, bytes: usize);
}

/// Words by hash. An all-zero one is empty and valid.
#[repr(C, align(64))]
pub struct Table {
    /// Addresses of the segments; when there are more than fit, the address and the capacity of an array of them.
    directory: [*mut u64; INLINE_SEGMENTS],
    len: u64,
    buckets: u32,
    /// Segments that the outer directory has room for; 0: the directory is in here.
    outer_capacity: u32,
}

impl Default for Table {
    fn default() -> Table {
        Table { directory: [null_mut(); INLINE_SEGMENTS], len: 0, buckets: 0, outer_capacity: 0 }
    }
}

/// Which segment holds a bucket, and how far into it.
#[derive(Clone, Copy)]
struct Address {
    segment: usize,
    offset: usize,
}

#[inline]
fn address(bucket: u32) -> Address {
    let shift = if bucket < SMALL_BUCKETS {
        SEGMENT_SHIFT_MIN
    } else {
        (bucket.ilog2() - SMALL_BUCKETS.ilog2() + SEGMENT_SHIFT_MIN + 1).min(SEGMENT_SHIFT_MAX)
    };
    // Each doubling of the segments' length leaves 8 more of them behind than `bucket >> shift` counts.
    let earlier = (shift - SEGMENT_SHIFT_MIN) * 8;
    Address {
        segment: (earlier + (bucket >> shift)) as usize,
        offset: (bucket & ((1 << shift) - 1)) as usize,
    }
}

/// The smallest power of two not below `buckets`, less one.
#[inline]
fn mask_of(buckets: u32) -> u64 {
    debug_assert!(buckets > 0);
    (1u64 << (64 - (buckets as u64 - 1).leading_zeros())) - 1
}

#[inline]
fn tag_of(hash: u64) -> u8 {
    (hash >> 56) as u8
}

impl Table {
    pub fn len(&self) -> usize {
        self.len as usize
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// About what the table itself has allocated, bytes.
    pub fn memory(&self) -> usize {
        let lines = (self.buckets as usize * LINE_BYTES).max(self.len() * 12);
        lines + self.outer_capacity as usize * size_of::<*mut u64>()
    }

    /// The word of this hash that `is_it` accepts.
    #[inline]
    pub fn get(&self, hash: u64, is_it: impl FnMut(u64) -> bool) -> Option<u64> {
        // SAFETY: `find` answers places inside live nodes.
        self.find(hash, is_it).map(|place| unsafe { *place })
    }

    /// Where the word of this hash is that `is_it` accepts; valid until the table changes. It may be given another word of the
    /// same hash.
    pub(super) fn place_of(&self, hash: u64, is_it: impl FnMut(u64) -> bool) -> Option<*mut u64> {
        self.find(hash, is_it)
    }

    /// Where a look-up of this hash begins; for prefetching.
    #[inline]
    pub(super) fn first_line(&self, hash: u64) -> Option<*mut u64> {
        (self.buckets != 0).then(|| self.line(self.bucket_of(hash)).place(0))
    }

    /// A word that a look-up of this hash would read first; for prefetching.
    #[inline]
    pub(super) fn first_match(&self, hash: u64) -> Option<u64> {
        if self.buckets == 0 {
            return None;
        }
        let node = self.line(self.bucket_of(hash));
        node.matches(tag_of(hash)).next().map(|index| node.word(index))
    }

    #[inline]
    fn find(&self, hash: u64, mut is_it: impl FnMut(u64) -> bool) -> Option<*mut u64> {
        if self.buckets == 0 {
            return None;
        }
        let tag = tag_of(hash);
        let mut node = self.line(self.bucket_of(hash));
        loop {
            for index in node.matches(tag) {
                if is_it(node.word(index)) {
                    return Some(node.place(index));
                }
            }
            node = node.next()?;
        }
    }

    /// Adds a word. Whether an equal one is there already is the caller's to know.
    pub fn insert(&mut self, hash: u64, word: u64, owner: &mut impl Owner) {
        self.len += 1;
        if self.len > LOAD_MAX * self.buckets as u64 {
            self.grow(owner);
        }
        self.line(self.bucket_of(hash)).push(word, tag_of(hash), owner);
    }

    /// Takes out the word of this hash that `is_it` accepts.
    pub fn remove(
        &mut self,
        hash: u64,
        mut is_it: impl FnMut(u64) -> bool,
        owner: &mut impl Owner,
    ) -> Option<u64> {
        if self.buckets == 0 {
            return None;
        }
        let tag = tag_of(hash);
        let line = self.line(self.bucket_of(hash));
        let mut node = line;
        loop {
            for index in node.matches(tag) {
                let word = node.word(index);
                if is_it(word) {
                    line.remove(node, index, owner);
                    self.len -= 1;
                    self.maybe_shrink(owner);
                    return Some(word);
                }
            }
            node = node.next()?;
        }
    }

    /// Takes out every word of the last few buckets, about `words` of them, and frees the buckets; returns how many words.
    /// Once it returns 0 the table is empty and holds no memory. (Look-ups in between would miss: for tables nobody
    /// can reach any more.)
    pub fn drain_some<O: Owner>(
        &mut self,
        words: usize,
        owner: &mut O,
        mut each: impl FnMut(u64, &mut O),
    ) -> usize {
        let mut drained = 0;
        while drained < words && self.buckets > 0 {
            let line = self.line(self.buckets - 1);
            line.drain(owner, |word, _, owner| {
                drained += 1;
                each(word, owner);
            });
            self.pop_line(owner);
        }
        self.len -= drained as u64;
        drained
    }

    /// One step of a scan from `cursor` (0 to begin): visits a bucket, and returns the cursor of the next, 0 after the last.
    ///
    /// A word that is in the table from the first step to the last is visited at least once, however the table grows and
    /// shrinks between steps. The cursor counts in reversed binary (the idea of Redis's dictScan, due to Pieter
    /// Noordhuis): a bucket is then an interval of the sequence, which splitting cuts in two and merging joins, and all
    /// before the cursor has been visited. Cursors stay below twice the most buckets that the table has had.
    pub fn scan(&self, cursor: u64, mut visit: impl FnMut(u64)) -> u64 {
        // SAFETY: the places shown are inside live nodes.
        self.scan_places(cursor, |place| visit(unsafe { *place }))
    }

    /// As `scan`, with the places of the words, which are valid until the table changes and may be given other words of
    /// the same hash.
    pub(super) fn scan_places(&self, cursor: u64, mut visit: impl FnMut(*mut u64)) -> u64 {
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
        let bucket = cursor & mask;
        let mut node = Some(self.line(bucket as u32));
        while let Some(current) = node {
            current.occupied().for_each(|index| visit(current.place(index)));
            node = current.next();
        }
        (cursor | !mask).reverse_bits().wrapping_add(1).reverse_bits()
    }

    fn visit_bucket(&self, bucket: u32, visit: &mut impl FnMut(u64)) {
        let mut node = Some(self.line(bucket));
        while let Some(current) = node {
            for index in current.occupied() {
                visit(current.word(index));
            }
            node = current.next();
        }
    }

    /// A word, each with nearly the same probability.
    pub(super) fn random(&self, rng: &mut Rng) -> Option<u64> {
        if self.len == 0 {
            return None;
        }
        if self.buckets == 1 {
            return self.nth_of_bucket(0, rng.below(self.len));
        }
        for _ in 0..RANDOM_TRIES_MAX {
            // Taking a bucket as often as it is full makes every word as likely as any other.
            let bucket = rng.below(self.buckets as u64) as u32;
            let mut words = 0;
            self.visit_bucket(bucket, &mut |_| words += 1);
            if words > 0 && rng.below(RANDOM_FULL_WORDS) < words {
                return self.nth_of_bucket(bucket, rng.below(words));
            }
        }
        self.iter_from(rng.below(self.buckets as u64) as u32).next().or_else(|| self.iter().next())
    }

    fn nth_of_bucket(&self, bucket: u32, nth: u64) -> Option<u64> {
        let mut seen = 0;
        let mut found = None;
        self.visit_bucket(bucket, &mut |word| {
            if seen == nth {
                found = Some(word);
            }
            seen += 1;
        });
        found
    }

    pub fn iter(&self) -> Iter<'_> {
        self.iter_from(0)
    }

    /// Begins at a random bucket and goes round once.
    pub(super) fn iter_round(&self, rng: &mut Rng) -> impl Iterator<Item = u64> + '_ {
        let start = if self.buckets == 0 { 0 } else { rng.below(self.buckets as u64) as u32 };
        let first = Iter { end: self.buckets, ..self.iter_from(start) };
        first.chain(Iter { end: start, ..self.iter_from(0) })
    }

    fn iter_from(&self, bucket: u32) -> Iter<'_> {
        Iter { table: self, bucket, end: self.buckets, node: None, words: Bits::NONE }
    }

    #[inline]
    fn bucket_of(&self, hash: u64) -> u32 {
        let mask = mask_of(self.buckets);
        let bucket = hash & mask;
        let split = bucket < self.buckets as u64;
        (if split { bucket } else { bucket & (mask >> 1) }) as u32
    }

    #[inline]
    fn line(&self, bucket: u32) -> Node {
        debug_assert!(bucket < self.buckets);
        let Address { segment, offset } = address(bucket);
        // SAFETY: segments hold all buckets below `self.buckets`, and this is one of them.
        unsafe { Node::line(self.segment(segment).add(offset * LINE_U64S)) }
    }

    #[inline]
    fn segment(&self, index: usize) -> *mut u64 {
        if self.outer_capacity == 0 {
            self.directory[index]
        } else {
            debug_assert!(index < self.outer_capacity as usize);
            // SAFETY: the outer directory has entries for all segments, and this is one of them.
            unsafe { *self.directory[0].cast::<*mut u64>().add(index) }
        }
    }

    fn set_segment(&mut self, index: usize, lines: *mut u64, owner: &mut impl Owner) {
        if self.outer_capacity == 0 && index < INLINE_SEGMENTS {
            self.directory[index] = lines;
            return;
        }
        if index >= self.outer_capacity as usize {
            self.resize_outer((index + 1).next_power_of_two(), index, owner);
        }
        // SAFETY: the outer directory has just been made long enough if it was not.
        unsafe { *self.directory[0].cast::<*mut u64>().add(index) = lines }
    }

    /// Moves the `used` entries of the directory into an outer one of `capacity` entries, or back into the table when that
    /// is 0.
    fn resize_outer(&mut self, capacity: usize, used: usize, owner: &mut impl Owner) {
        let old = self.directory;
        let old_capacity = self.outer_capacity as usize;
        let from = if old_capacity == 0 { old.as_ptr() } else { old[0].cast::<*mut u64>().cast_const() };
        let mut inline = [null_mut(); INLINE_SEGMENTS];
        // SAFETY: `from` and `to` are both at least `used` long, and differ: `inline` and fresh memory are new.
        unsafe {
            if capacity == 0 {
                std::ptr::copy_nonoverlapping(from, inline.as_mut_ptr(), used);
            } else {
                let to = allocate(capacity * size_of::<*mut u64>(), owner);
                std::ptr::copy_nonoverlapping(from, to.cast::<*mut u64>(), used);
                inline[0] = to;
            }
            if old_capacity != 0 {
                release(old[0], old_capacity * size_of::<*mut u64>(), owner);
            }
        }
        self.directory = inline;
        self.outer_capacity = capacity as u32;
    }

    /// Adds an empty line after the last.
    fn push_line(&mut self, owner: &mut impl Owner) {
        let Address { segment, offset } = address(self.buckets);
        if offset == 0 {
            let lines = allocate(LINE_BYTES, owner);
            self.set_segment(segment, lines, owner);
        } else if offset.is_power_of_two() {
            self.resize_segment(segment, offset, offset * 2, offset, owner);
        }
        self.buckets += 1;
        // SAFETY: the segment reaches beyond `offset` now; the line there is not in use yet.
        unsafe { self.segment(segment).add(offset * LINE_U64S).write_bytes(0, LINE_U64S) };
    }

    /// Frees the last line, which is empty.
    fn pop_line(&mut self, owner: &mut impl Owner) {
        self.buckets -= 1;
        let Address { segment, offset } = address(self.buckets);
        if offset == 0 {
            // SAFETY: a segment whose first line was the last of the table is one line long.
            unsafe { release(self.segment(segment), LINE_BYTES, owner) };
            self.shrink_directory(segment, owner);
        } else if offset.is_power_of_two() {
            self.resize_segment(segment, offset * 2, offset, offset, owner);
        }
    }

    fn shrink_directory(&mut self, segments: usize, owner: &mut impl Owner) {
        let capacity = self.outer_capacity as usize;
        if capacity == 0 {
            self.directory[segments] = null_mut();
        } else if segments <= INLINE_AGAIN_SEGMENTS {
            self.resize_outer(0, segments, owner);
        } else if segments <= capacity / 4 {
            self.resize_outer(capacity / 2, segments, owner);
        }
    }

    fn resize_segment(
        &mut self,
        segment: usize,
        old: usize,
        new: usize,
        used: usize,
        owner: &mut impl Owner,
    ) {
        let from = self.segment(segment);
        let to = allocate(new * LINE_BYTES, owner);
        // SAFETY: both are at least `used` lines long, and `to` is fresh. `from` was allocated with `old` lines.
        unsafe {
            std::ptr::copy_nonoverlapping(from, to, used * LINE_U64S);
            release(from, old * LINE_BYTES, owner);
        }
        self.set_segment(segment, to, owner);
    }

    /// One bucket more: the next in turn is split between itself and a new last one.
    fn grow(&mut self, owner: &mut impl Owner) {
        assert!(self.buckets < u32::MAX, "a table is bounded at 2^32 - 1 buckets");
        let new = self.buckets;
        self.push_line(owner);
        if new == 0 {
            return;
        }
        let bit = 1u64 << new.ilog2();
        let from = self.line(new & !(bit as u32));
        let to = self.line(new);
        let mut node = Some(from);
        while let Some(current) = node {
            for index in current.occupied() {
                owner.prefetch(current.word(index));
            }
            node = current.next();
        }
        from.drain(owner, |word, tag, owner| {
            let target = if owner.hash(word) & bit != 0 { to } else { from };
            target.push(word, tag, owner);
        });
    }

    /// One bucket fewer, when there are too many: the last returns into the one that it was split from. Needs no
    /// hashes, as the tag stays the same.
    fn maybe_shrink(&mut self, owner: &mut impl Owner) {
        // The margin keeps small tables from shrinking right after they grew.
        if self.len + LOAD_MIN > LOAD_MIN * self.buckets as u64 {
            return;
        }
        let last = self.buckets - 1;
        if last > 0 {
            let into = self.line(last & !(1 << last.ilog2()));
            self.line(last).drain(owner, |word, tag, owner| into.push(word, tag, owner));
        } else if self.len > 0 {
            return;
        }
        self.pop_line(owner);
    }
}

fn block_layout(bytes: usize) -> Layout {
    // Bounded by the directory of 2^32 buckets; lines are to be aligned to cache lines.
    Layout::from_size_align(bytes, LINE_BYTES).expect("a segment or directory of valid size")
}

fn allocate(bytes: usize, owner: &mut impl Owner) -> *mut u64 {
    let layout = block_layout(bytes);
    owner.allocated(bytes);
    // SAFETY: no caller asks for zero bytes.
    let block = unsafe { alloc(layout) };
    if block.is_null() {
        handle_alloc_error(layout);
    }
    block.cast()
}

/// # Safety
/// `block` came from `allocate` with the same size, and is not used any more.
unsafe fn release(block: *mut u64, bytes: usize, owner: &mut impl Owner) {
    // SAFETY: by the contract above.
    unsafe {
        owner.freed(bytes);
        dealloc(block.cast(), block_layout(bytes));
    }
}

/// Every word, in no order.
pub struct Iter<'a> {
    table: &'a Table,
    bucket: u32,
    end: u32,
    /// Where `words` are; the one after it comes next, or the next bucket.
    node: Option<Node>,
    words: Bits,
}

impl Iterator for Iter<'_> {
    type Item = u64;

    fn next(&mut self) -> Option<u64> {
        loop {
            if let Some(node) = self.node {
                if let Some(index) = self.words.next() {
                    return Some(node.word(index));
                }
                self.node = node.next();
            } else if self.bucket < self.end {
                self.node = Some(self.table.line(self.bucket));
                self.bucket += 1;
            } else {
                return None;
            }
            self.words = self.node.map_or(Bits::NONE, Node::occupied);
        }
    }
}

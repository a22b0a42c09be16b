//! The nodes that buckets are made of: a line of 64 bytes with seven words, or half a line with three.
//!
//! ```text
//! line  | word 0 | word 1 | ... | word 6 | control |      half  | word 0 | word 1 | word 2 | control |
//! ```
//!
//! The control word holds one tag byte per word (byte `i` for word `i`) and, in its top byte, bit `i` for "word `i`
//! is in use" and bit 7 for "word 6 is no entry but the address of the bucket's next node". Eight bits of hash
//! beside the words let a look-up pass over 255 of 256 strangers without reading what they point to.

use std::alloc::{alloc, dealloc, handle_alloc_error, Layout};

use super::Owner;

/// Words in a line.
pub(super) const LINE_WORDS: usize = 7;
/// Words in half a line.
const HALF_WORDS: usize = 3;
/// Bytes of a line: a cache line.
pub(super) const LINE_BYTES: usize = 64;
/// `u64`s of a line, control word included.
pub(super) const LINE_U64S: usize = LINE_BYTES / 8;

const CHAINED: u64 = 1 << 63;
const OCCUPIED_SHIFT: u32 = 56;
const OCCUPIED: u64 = 0x7f;
const EACH_TAG: u64 = 0x0001_0101_0101_0101;
const LOW_BITS_OF_TAGS: u64 = 0x007f_7f7f_7f7f_7f7f;
const HIGH_BITS_OF_TAGS: u64 = 0x0080_8080_8080_8080;
/// Multiplied with bits 0, 8, 16, ... gathers them in the top byte.
const GATHER: u64 = 0x0102_0408_1020_4080;
/// In the address of a next node: it is half a line.
const HALF_MARK: u64 = 1;

/// One node of a bucket in a live table.
///
/// Invariant, which every method relies on: `words` points to `capacity + 1` initialised `u64`s (`capacity` being
/// [`LINE_WORDS`] or [`HALF_WORDS`]) that the table owns and nobody else refers to. Who makes a `Node` vouches for it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Node {
    words: *mut u64,
    capacity: usize,
}

impl Node {
    /// # Safety
    /// `words` points to a line, as the invariant of `Node` wants it.
    #[inline]
    pub(super) unsafe fn line(words: *mut u64) -> Node {
        Node { words, capacity: LINE_WORDS }
    }

    fn allocate(capacity: usize, owner: &mut impl Owner) -> Node {
        let layout = Node::layout(capacity);
        owner.allocated(layout.size());
        // SAFETY: the layout's size is not zero.
        let words = unsafe { alloc(layout) }.cast::<u64>();
        if words.is_null() {
            handle_alloc_error(layout);
        }
        let node = Node { words, capacity };
        // SAFETY: fresh memory of this node's size.
        unsafe { words.write_bytes(0, capacity + 1) };
        node
    }

    /// Gives the memory of an overflow node back. It must not be reachable from its bucket any more.
    pub(super) fn free(self, owner: &mut impl Owner) {
        let layout = Node::layout(self.capacity);
        owner.freed(layout.size());
        // SAFETY: `allocate` got it with this layout, and the caller has unlinked it.
        unsafe { dealloc(self.words.cast(), layout) }
    }

    fn layout(capacity: usize) -> Layout {
        let size = (capacity + 1) * 8;
        // As aligned as large, so that no node straddles two cache lines. Both are powers of two: cannot fail.
        Layout::from_size_align(size, size).expect("a node's size is a power of two")
    }

    #[inline]
    fn control(self) -> u64 {
        // SAFETY: the invariant.
        unsafe { *self.words.add(self.capacity) }
    }

    #[inline]
    fn set_control(self, control: u64) {
        // SAFETY: the invariant.
        unsafe { *self.words.add(self.capacity) = control }
    }

    #[inline]
    pub(super) fn word(self, index: usize) -> u64 {
        debug_assert!(index < self.capacity);
        // SAFETY: the invariant; callers' indices come from the control word, which has one bit per word.
        unsafe { *self.words.add(index) }
    }

    /// Where a word is; valid until the table is changed.
    #[inline]
    pub(super) fn place(self, index: usize) -> *mut u64 {
        debug_assert!(index < self.capacity);
        // SAFETY: as `word`.
        unsafe { self.words.add(index) }
    }

    #[inline]
    fn set_word(self, index: usize, word: u64) {
        debug_assert!(index < self.capacity);
        // SAFETY: as `word`.
        unsafe { *self.words.add(index) = word }
    }

    pub(super) fn tag(self, index: usize) -> u8 {
        (self.control() >> (index * 8)) as u8
    }

    /// The words in use, one bit each.
    #[inline]
    pub(super) fn occupied(self) -> Bits {
        Bits((self.control() >> OCCUPIED_SHIFT & OCCUPIED) as u8)
    }

    /// The words in use whose tag is `tag`.
    #[inline]
    pub(super) fn matches(self, tag: u8) -> Bits {
        let control = self.control();
        let differing = (control ^ (tag as u64 * EACH_TAG)) & (LOW_BITS_OF_TAGS | HIGH_BITS_OF_TAGS);
        // The high bit of each byte of `sum` is set when any lower bit of that byte differs; no carry leaves a byte.
        let sum = (differing & LOW_BITS_OF_TAGS) + LOW_BITS_OF_TAGS;
        let equal = !(sum | differing) & HIGH_BITS_OF_TAGS;
        let gathered = (equal >> 7).wrapping_mul(GATHER) >> OCCUPIED_SHIFT;
        Bits((gathered & (control >> OCCUPIED_SHIFT) & OCCUPIED) as u8)
    }

    #[inline]
    pub(super) fn next(self) -> Option<Node> {
        if self.control() & CHAINED == 0 {
            return None;
        }
        let address = self.word(LINE_WORDS - 1);
        let capacity = if address & HALF_MARK != 0 { HALF_WORDS } else { LINE_WORDS };
        Some(Node { words: (address & !HALF_MARK) as *mut u64, capacity })
    }

    fn link(self, next: Node) {
        let mark = if next.capacity == HALF_WORDS { HALF_MARK } else { 0 };
        self.set_word(LINE_WORDS - 1, next.words as u64 | mark);
        let unused = self.control() & !(1 << (OCCUPIED_SHIFT as usize + LINE_WORDS - 1));
        self.set_control(unused | CHAINED);
    }

    fn put(self, index: usize, word: u64, tag: u8) {
        self.set_word(index, word);
        let other_tags = self.control() & !(0xff << (index * 8));
        self.set_control(other_tags | (tag as u64) << (index * 8) | 1 << (OCCUPIED_SHIFT as usize + index));
    }

    fn clear(self, index: usize) {
        self.set_control(self.control() & !(1 << (OCCUPIED_SHIFT as usize + index)));
    }

    fn vacancy(self) -> Option<usize> {
        let entries = if self.control() & CHAINED != 0 { self.capacity - 1 } else { self.capacity };
        let free = !(self.control() >> OCCUPIED_SHIFT) & ((1 << entries) - 1);
        (free != 0).then(|| free.trailing_zeros() as usize)
    }

    /// Forgets its words and its next node.
    fn reset(self) {
        self.set_control(0);
    }

    /// Adds a word to the bucket that starts with this line.
    pub(super) fn push(self, word: u64, tag: u8, owner: &mut impl Owner) {
        let mut parent = None;
        let mut node = self;
        loop {
            if let Some(index) = node.vacancy() {
                return node.put(index, word, tag);
            }
            match node.next() {
                Some(next) => {
                    parent = Some(node);
                    node = next;
                }
                None => break,
            }
        }
        // The last node is full: a half becomes a line, a line gives its last word's place to the address of a new half.
        let next = match parent {
            Some(parent) if node.capacity == HALF_WORDS => {
                let line = Node::allocate(LINE_WORDS, owner);
                node.copy_to(line);
                parent.link(line);
                node.free(owner);
                line
            }
            _ => {
                let half = Node::allocate(HALF_WORDS, owner);
                half.put(0, node.word(LINE_WORDS - 1), node.tag(LINE_WORDS - 1));
                node.link(half);
                half
            }
        };
        // Both have room: 3 of 7 words in use, or 1 of 3.
        let index = next.vacancy().expect("a node just enlarged has room");
        next.put(index, word, tag);
    }

    fn copy_to(self, other: Node) {
        for (free, index) in self.occupied().enumerate() {
            other.put(free, self.word(index), self.tag(index));
        }
    }

    /// Removes the word at `index` of `node`, a node of the bucket that starts with this line. The hole is filled from
    /// the bucket's last node, which is shrunk or freed when it can be.
    pub(super) fn remove(self, node: Node, index: usize, owner: &mut impl Owner) {
        let mut parent = None;
        let mut last = self;
        while let Some(next) = last.next() {
            parent = Some(last);
            last = next;
        }
        if last == node {
            last.clear(index);
        } else {
            // A last node that is chained to holds at least two words.
            let from = last.occupied().next().expect("an overflow node is never empty");
            node.put(index, last.word(from), last.tag(from));
            last.clear(from);
        }
        let Some(parent) = parent else { return };
        match last.occupied().count() {
            1 => {
                let from = last.occupied().next().expect("counted");
                parent.set_control(parent.control() & !CHAINED);
                parent.put(LINE_WORDS - 1, last.word(from), last.tag(from));
                last.free(owner);
            }
            2 if last.capacity == LINE_WORDS => {
                let half = Node::allocate(HALF_WORDS, owner);
                last.copy_to(half);
                parent.link(half);
                last.free(owner);
            }
            _ => {}
        }
    }

    /// Empties the bucket that starts with this line, handing each word and tag to `each`, which may push into this very
    /// bucket.
    pub(super) fn drain<O: Owner>(self, owner: &mut O, mut each: impl FnMut(u64, u8, &mut O)) {
        let mut line = [0u64; LINE_U64S];
        // SAFETY: the invariant: a line is this long. The copy is a line by itself, alive for this call.
        let copy = unsafe {
            std::ptr::copy_nonoverlapping(self.words, line.as_mut_ptr(), LINE_U64S);
            Node::line(line.as_mut_ptr())
        };
        self.reset();
        let mut current = copy;
        loop {
            for index in current.occupied() {
                each(current.word(index), current.tag(index), owner);
            }
            let next = current.next();
            if current != copy {
                current.free(owner);
            }
            match next {
                Some(next) => current = next,
                None => return,
            }
        }
    }
}

/// A set of indices below 8, iterated from the lowest.
#[derive(Clone, Copy)]
pub(super) struct Bits(u8);

impl Bits {
    pub(super) const NONE: Bits = Bits(0);

    #[inline]
    pub(super) fn count(self) -> usize {
        self.0.count_ones() as usize
    }
}

impl Iterator for Bits {
    type Item = usize;

    #[inline]
    fn next(&mut self) -> Option<usize> {
        if self.0 == 0 {
            return None;
        }
        let index = self.0.trailing_zeros();
        self.0 &= self.0 - 1;
        Some(index as usize)
    }
}

//! Large sorted sets: a tree for the order, and a hash table from members to their elements.
//!
//! Each element is one allocation, to which both point: 12 bytes in the table (see `table`), six in a leaf of the tree, and
//! about one for what leaves are not full and for the nodes above them.

use std::hash::{BuildHasher, Hasher};
use std::ops::Range;

use foldhash::quality::RandomState;

use super::element::Element;
use super::tree::{Tree, Walk};
use super::{AddRule, Added, Change, Score};
use crate::store::listpack::Items;
use crate::store::memory::block_size;
use crate::store::table::{Owner, Table};

pub struct Large {
    members: Table,
    tree: Tree,
    owner: Members,
}

// SAFETY: it owns all that it points to, and shares nothing with other threads.
unsafe impl Send for Large {}

/// What the table needs to know about its words, and the account of what it and the elements allocate.
#[derive(Default)]
struct Members {
    hasher: RandomState,
    memory: usize,
}

impl Members {
    #[inline]
    fn hash_member(&self, member: &[u8]) -> u64 {
        let mut hasher = self.hasher.build_hasher();
        hasher.write(member);
        hasher.finish()
    }
}

/// The element that a word of the table stands for.
#[inline]
fn element_of(word: u64) -> Element {
    // SAFETY: words of the table are addresses of elements, which leave it before they are destroyed; only `free_some`
    // keeps to that by never looking at a word again.
    unsafe { Element::from_word(word) }
}

impl Owner for Members {
    fn hash(&self, word: u64) -> u64 {
        self.hash_member(element_of(word).member())
    }
    fn prefetch(&self, word: u64) {
        element_of(word).prefetch();
    }
    fn allocated(&mut self, bytes: usize) {
        self.memory += bytes;
    }
    fn freed(&mut self, bytes: usize) {
        self.memory -= bytes;
    }
}

impl Large {
    pub(super) fn new() -> Box<Large> {
        Box::new(Large { members: Table::default(), tree: Tree::new(), owner: Members::default() })
    }

    pub(super) fn of_packed(items: Items) -> Box<Large> {
        let mut large = Large::new();
        let mut digits = itoa::Buffer::new();
        for (member, score) in super::packed::Pairs::all(items) {
            large.add_new(member.bytes(&mut digits), score.get());
        }
        large
    }

    pub(super) fn len(&self) -> usize {
        self.tree.len()
    }

    /// Bytes allocated, its own box included.
    pub(super) fn memory(&self) -> usize {
        block_size(size_of::<Large>()) + self.owner.memory + self.tree.memory()
    }

    #[inline]
    fn find(&self, member: &[u8]) -> Option<Element> {
        self.find_hashed(self.owner.hash_member(member), member)
    }

    #[inline]
    fn find_hashed(&self, hash: u64, member: &[u8]) -> Option<Element> {
        self.members.get(hash, |word| element_of(word).member() == member).map(element_of)
    }

    pub(super) fn score(&self, member: &[u8]) -> Option<Score> {
        self.find(member).map(Element::score)
    }

    pub(super) fn rank(&self, member: &[u8]) -> Option<(usize, Score)> {
        self.find(member).map(|element| (self.tree.rank(element), element.score()))
    }

    pub(super) fn add(&mut self, member: &[u8], score: Score, rule: &AddRule) -> Added {
        let hash = self.owner.hash_member(member);
        match self.find_hashed(hash, member) {
            Some(element) => match rule.apply(element.score(), score) {
                Change::None(added) => added,
                Change::To(score) => {
                    self.rescore(element, score);
                    Added::Updated(score)
                }
            },
            None if rule.only_present => Added::Refused,
            None => {
                self.add_hashed(hash, member, score);
                Added::New(score)
            }
        }
    }

    /// Adds an element whose member is not there.
    pub(super) fn add_new(&mut self, member: &[u8], score: Score) {
        self.add_hashed(self.owner.hash_member(member), member, score);
    }

    fn add_hashed(&mut self, hash: u64, member: &[u8], score: Score) {
        let element = Element::create(member, score);
        self.owner.allocated(element.memory());
        self.members.insert(hash, element.to_word(), &mut self.owner);
        self.tree.insert(element);
    }

    fn rescore(&mut self, element: Element, score: Score) {
        if self.tree.rescore_in_place(element, score) {
            return;
        }
        self.tree.remove_some(self.tree.rank(element), 1);
        element.set_score(score);
        self.tree.insert(element);
    }

    pub(super) fn remove(&mut self, member: &[u8]) -> bool {
        let Some(element) = self.find(member) else { return false };
        self.tree.remove_some(self.tree.rank(element), 1);
        self.forget(element);
        true
    }

    pub(super) fn remove_ranks(&mut self, ranks: Range<usize>) {
        let mut left = ranks.len();
        while left > 0 {
            let removed = self.tree.remove_some(ranks.start, left);
            left -= removed.len();
            for element in removed {
                self.forget(element);
            }
        }
    }

    /// Frees an element that the tree has given up.
    fn forget(&mut self, element: Element) {
        let hash = self.owner.hash_member(element.member());
        let word = element.to_word();
        let found = self.members.remove(hash, |other| other == word, &mut self.owner);
        debug_assert_eq!(found, Some(word));
        self.owner.freed(element.memory());
        // SAFETY: neither the tree nor the table has it any more, and nobody else keeps elements.
        unsafe { element.destroy() };
    }

    /// As `Tree::partition_point`.
    pub(super) fn count_before(&self, is_before: impl Fn(Score, &[u8]) -> bool) -> usize {
        self.tree.partition_point(&|score, element| is_before(score, element.member()))
    }

    pub(super) fn elements(&self, ranks: Range<usize>, reverse: bool) -> LargeElements<'_> {
        LargeElements(self.tree.walk(ranks, reverse))
    }

    pub(super) fn scan<'a>(&'a self, cursor: u64, mut visit: impl FnMut(&'a [u8], Score)) -> u64 {
        self.members.scan(cursor, |word| {
            let (member, score) = parts(element_of(word));
            visit(member, score);
        })
    }

    #[cfg(test)]
    pub(super) fn check(&self) {
        self.tree.check();
        assert_eq!(self.members.len(), self.len());
    }

    pub(super) fn duplicate(&self) -> Box<Large> {
        let mut copy = Large::new();
        for (member, score) in self.elements(0..self.len(), false) {
            copy.add_new(member, score);
        }
        copy
    }

    /// Each element counts twice: once in the table, and once for itself.
    pub(super) fn pieces(&self) -> usize {
        self.members.len() + self.len()
    }

    pub(super) fn free_some(&mut self, pieces: usize) -> usize {
        // First the table, which from now on would refer to elements that are gone.
        let drained = self.members.drain_some(pieces, &mut self.owner, |_, _| {});
        if drained > 0 {
            return drained;
        }
        let mut freed = 0;
        while freed < pieces {
            let Some(leaf) = self.tree.pop_leaf() else { break };
            for index in 0..leaf.len() {
                let element = leaf.get(index);
                self.owner.freed(element.memory());
                // SAFETY: the table is empty, the leaf is not in the tree any more, and its elements are not used again.
                unsafe { element.destroy() };
            }
            freed += leaf.len();
        }
        freed
    }
}

fn parts<'a>(element: Element) -> (&'a [u8], Score) {
    (element.member(), element.score())
}

impl Drop for Large {
    fn drop(&mut self) {
        while self.free_some(usize::MAX) > 0 {}
    }
}

impl std::fmt::Debug for Large {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Large({} elements)", self.len())
    }
}

/// Elements of a large sorted set in its order, or backwards.
#[derive(Clone)]
pub struct LargeElements<'a>(Walk<'a>);

impl<'a> Iterator for LargeElements<'a> {
    type Item = (&'a [u8], Score);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        self.0.next().map(parts)
    }
}

impl std::fmt::Debug for LargeElements<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("LargeElements")
    }
}

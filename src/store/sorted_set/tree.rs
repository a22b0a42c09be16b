//! The order of a large sorted set: a B+tree whose inner nodes count, so that elements are found by score and member, by
//! number, and numbers by either, in logarithmic time.
//!
//! Additions make room on their way down, splitting full nodes before they enter them; removals mend on their way up. So
//! no operation touches more than two or three nodes per level. The tree does not own the elements.

use std::ops::Range;

use smallvec::SmallVec;

use super::element::Element;
use super::node::{Inner, Leaf, Node, NodeMut, NodeRef};
use super::range::order;
use super::Score;

/// Elements that were taken out of one leaf: up to `LEAF_MAX`, for which there is room without an allocation.
pub(super) type Removed = SmallVec<[Element; 96]>;

/// So many elements ahead of an iterator the processor is asked for what they hold.
const PREFETCH_DISTANCE: usize = 6;

pub(super) struct Tree {
    root: Node,
    len: usize,
    /// Bytes of all nodes.
    memory: usize,
}

impl Tree {
    pub(super) fn new() -> Tree {
        let root = Node::Leaf(Leaf::new());
        Tree { len: 0, memory: root.memory(), root }
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn memory(&self) -> usize {
        self.memory
    }

    /// Adds an element that is not in it.
    pub(super) fn insert(&mut self, element: Element) {
        let (score, member) = (element.score(), element.member());
        let is_before = |other_score: Score, other: Element| is_less(other_score, other, score, member);
        if self.root.is_full() {
            let root = std::mem::replace(&mut self.root, Node::Leaf(Leaf::new()));
            self.root = Node::Inner(Inner::above(root));
            self.memory += self.root.memory();
        }
        self.len += 1;
        let mut node = self.root.as_mut();
        loop {
            match node {
                NodeMut::Leaf(leaf) => {
                    let index = leaf.partition_point(&is_before);
                    return leaf.insert(index, element);
                }
                NodeMut::Inner(inner) => {
                    let mut index = inner.child_where(&is_before);
                    if inner.is_child_full(index) {
                        self.memory += inner.make_room(index, &is_before);
                        index = inner.child_where(&is_before);
                    }
                    inner.element_added(index, element, score);
                    node = inner.child_mut(index);
                }
            }
        }
    }

    /// How many elements fulfil a condition that those in front fulfil and those behind do not.
    pub(super) fn partition_point(&self, is_before: &impl Fn(Score, Element) -> bool) -> usize {
        let mut node = self.root.as_ref();
        let mut count = 0;
        loop {
            match node {
                NodeRef::Leaf(leaf) => return count + leaf.partition_point(is_before),
                NodeRef::Inner(inner) => {
                    let index = inner.child_where(is_before);
                    count += inner.count_before(index);
                    node = inner.child(index);
                }
            }
        }
    }

    /// The number of an element that is in it.
    pub(super) fn rank(&self, element: Element) -> usize {
        let (score, member) = (element.score(), element.member());
        self.partition_point(&|other_score, other| is_less(other_score, other, score, member))
    }

    /// Changes the score of an element that is in it, if that leaves it between the same two neighbours in its leaf.
    pub(super) fn rescore_in_place(&self, element: Element, score: Score) -> bool {
        let (old, member) = (element.score(), element.member());
        let is_not_behind =
            |other_score: Score, other: Element| order((other_score, other.member()), (old, member)).is_le();
        let mut node = self.root.as_ref();
        let leaf = loop {
            match node {
                NodeRef::Leaf(leaf) => break leaf,
                NodeRef::Inner(inner) => node = inner.child(inner.child_where(&is_not_behind)),
            }
        };
        // The element is the last one that is not behind itself.
        let index = leaf.partition_point(&is_not_behind) - 1;
        debug_assert_eq!(leaf.get(index), element);
        // The first of a leaf is known to the nodes above it, with its score.
        if index == 0 || index + 1 == leaf.len() {
            return false;
        }
        let (before, behind) = (leaf.get(index - 1), leaf.get(index + 1));
        let stays = order((before.score(), before.member()), (score, member)).is_lt()
            && order((score, member), (behind.score(), behind.member())).is_lt();
        if stays {
            element.set_score(score);
        }
        stays
    }

    /// Takes out elements from number `rank` on, up to `max` of them, and at most those in one leaf. There is at least one.
    pub(super) fn remove_some(&mut self, rank: usize, max: usize) -> Removed {
        let mut removed = Removed::new();
        let mut freed = 0;
        remove_below(self.root.as_mut(), rank, max, &mut removed, &mut freed);
        self.len -= removed.len();
        self.memory -= freed;
        // An inner root with one child is a level too many.
        while matches!(&self.root, Node::Inner(inner) if inner.len() <= 1) {
            self.memory -= size_of::<Inner>();
            match std::mem::replace(&mut self.root, Node::Leaf(Leaf::new())) {
                Node::Inner(inner) if inner.len() == 1 => self.root = inner.into_only_child(),
                _ => self.memory += self.root.memory(),
            }
        }
        removed
    }

    /// The leaf that holds element number `rank`, which exists, and its place there.
    fn find(&self, mut rank: usize) -> (&Leaf, usize) {
        let mut node = self.root.as_ref();
        loop {
            match node {
                NodeRef::Leaf(leaf) => return (leaf, rank),
                NodeRef::Inner(inner) => {
                    let (index, rank_below) = inner.child_at(rank);
                    rank = rank_below;
                    node = inner.child(index);
                }
            }
        }
    }

    /// The elements with these numbers, all of which exist; the last first when `reverse` is set.
    pub(super) fn walk(&self, ranks: Range<usize>, reverse: bool) -> Walk<'_> {
        debug_assert!(ranks.start <= ranks.end && ranks.end <= self.len);
        Walk { tree: self, ranks, reverse, leaf: None }
    }

    /// Takes out the last leaf of a tree that nobody looks into any more; `None` when it is empty. What became of the
    /// elements is the caller's.
    pub(super) fn pop_leaf(&mut self) -> Option<Box<Leaf>> {
        let leaf = match &mut self.root {
            Node::Inner(inner) => {
                let (leaf, freed) = inner.pop_leaf()?;
                self.memory -= freed;
                if inner.len() == 0 {
                    self.memory -= size_of::<Inner>();
                    self.root = Node::Leaf(Leaf::new());
                    self.memory += self.root.memory();
                }
                leaf
            }
            Node::Leaf(leaf) if leaf.len() == 0 => return None,
            Node::Leaf(leaf) => std::mem::replace(leaf, Leaf::new()),
        };
        self.len -= leaf.len();
        Some(leaf)
    }
}

/// Whether an element lies before a score and member.
#[inline]
fn is_less(other_score: Score, other: Element, score: Score, member: &[u8]) -> bool {
    other_score < score || (other_score == score && other.member() < member)
}

fn remove_below(node: NodeMut, rank: usize, max: usize, removed: &mut Removed, freed: &mut usize) {
    match node {
        NodeMut::Leaf(leaf) => {
            let count = max.min(leaf.len() - rank);
            removed.extend((rank..rank + count).map(|index| leaf.get(index)));
            leaf.remove(rank, count);
        }
        NodeMut::Inner(inner) => {
            let (index, rank) = inner.child_at(rank);
            remove_below(inner.child_mut(index), rank, max, removed, freed);
            *freed += inner.mend(index, removed.len());
        }
    }
}

/// Elements in order, or backwards.
#[derive(Clone)]
pub(super) struct Walk<'a> {
    tree: &'a Tree,
    /// Those that are still to come.
    ranks: Range<usize>,
    reverse: bool,
    /// Where the next one is, unless its leaf has to be found first.
    leaf: Option<(&'a Leaf, usize)>,
}

impl Iterator for Walk<'_> {
    type Item = Element;

    #[inline]
    fn next(&mut self) -> Option<Element> {
        if self.ranks.is_empty() {
            return None;
        }
        let next = if self.reverse { self.ranks.end - 1 } else { self.ranks.start };
        let (leaf, index) = match self.leaf {
            Some(place) => place,
            None => self.tree.find(next),
        };
        let ahead = if self.reverse {
            self.ranks.end -= 1;
            self.leaf = index.checked_sub(1).map(|index| (leaf, index));
            index.checked_sub(PREFETCH_DISTANCE)
        } else {
            self.ranks.start += 1;
            self.leaf = Some((leaf, index + 1)).filter(|(leaf, index)| *index < leaf.len());
            Some(index + PREFETCH_DISTANCE).filter(|index| *index < leaf.len())
        };
        if let Some(ahead) = ahead {
            leaf.get(ahead).prefetch();
        }
        Some(leaf.get(index))
    }
}

#[cfg(test)]
impl Tree {
    /// Asserts that the tree is what it should be.
    pub(super) fn check(&self) {
        self.root.check();
        assert_eq!(self.root.count(), self.len);
        let elements: Vec<Element> = self.walk(0..self.len, false).collect();
        assert_eq!(elements.len(), self.len);
        for pair in elements.windows(2) {
            assert!(is_less(pair[0].score(), pair[0], pair[1].score(), pair[1].member()));
        }
        if self.len > 1000 {
            let per_element = self.memory as f64 / self.len as f64;
            assert!(per_element < 22.0, "{per_element} bytes an element for the nodes");
        }
    }
}

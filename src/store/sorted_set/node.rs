//! The nodes of the tree: leaves that hold elements, and inner nodes that hold leaves or inner nodes.
//!
//! A leaf is one block of 512 bytes with up to 85 addresses, without scores: to compare with an element is to visit it, and
//! that happens only in the one leaf that a search ends in. An inner node (2 KiB) keeps for each child its first element
//! with its score, so that most comparisons there need not visit any element, and the number of elements below it, by
//! which elements are found by number.

use super::element::{Element, SLOT_BYTES};
use super::range::order;
use super::Score;

/// Elements in a leaf: as many as fill a block of 512 bytes with their number.
pub(super) const LEAF_MAX: usize = 85;
/// Children of an inner node: as many as fill a block of 2 KiB.
pub(super) const INNER_MAX: usize = 63;
/// A full leaf moves elements to a neighbour that has room for this many, before it is split.
const LEAF_ROOM_MIN: usize = LEAF_MAX / 8;
/// Two neighbours become one when they fill no more than this of it: not quite full, so as not to be split again soon.
const LEAF_JOINED_MAX: usize = LEAF_MAX * 3 / 4;
const INNER_JOINED_MAX: usize = INNER_MAX * 3 / 4;

/// Elements in order.
pub(super) struct Leaf {
    len: u8,
    slots: [[u8; SLOT_BYTES]; LEAF_MAX],
}

impl Leaf {
    pub(super) fn new() -> Box<Leaf> {
        Box::new(Leaf { len: 0, slots: [[0; SLOT_BYTES]; LEAF_MAX] })
    }

    #[inline]
    pub(super) fn len(&self) -> usize {
        self.len as usize
    }

    fn is_full(&self) -> bool {
        self.len() == LEAF_MAX
    }

    /// The element at an index below the length.
    #[inline]
    pub(super) fn get(&self, index: usize) -> Element {
        // SAFETY: slots below the length were written by `insert`, or moved from such, and are removed from the leaf
        // before their elements are destroyed.
        unsafe { Element::from_slot(self.slots[..self.len()][index]) }
    }

    /// How many elements fulfil a condition that those in front fulfil and those behind do not.
    #[inline]
    pub(super) fn partition_point(&self, is_before: &impl Fn(Score, Element) -> bool) -> usize {
        let (mut low, mut high) = (0, self.len());
        while low < high {
            let middle = (low + high) / 2;
            let element = self.get(middle);
            if is_before(element.score(), element) {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        low
    }

    /// Puts an element in front of the one at `index`. There is room.
    pub(super) fn insert(&mut self, index: usize, element: Element) {
        let len = self.len();
        self.slots.copy_within(index..len, index + 1);
        self.slots[index] = element.to_slot();
        self.len += 1;
    }

    /// Takes out `count` elements from `index` on; what becomes of them is the caller's.
    pub(super) fn remove(&mut self, index: usize, count: usize) {
        let len = self.len();
        self.slots.copy_within(index + count..len, index);
        self.len -= count as u8;
    }

    /// Moves elements to or from the beginning of the right neighbour, so that `len` stay here.
    fn balance(&mut self, right: &mut Leaf, len: usize) {
        let (here, there) = (self.len(), right.len());
        if len < here {
            let moved = here - len;
            right.slots.copy_within(..there, moved);
            right.slots[..moved].copy_from_slice(&self.slots[len..here]);
        } else {
            let moved = len - here;
            self.slots[here..len].copy_from_slice(&right.slots[..moved]);
            right.slots.copy_within(moved..there, 0);
        }
        self.len = len as u8;
        right.len = (here + there - len) as u8;
    }
}

/// A node that nobody holds: the root, or a child on its way from one place to another.
pub(super) enum Node {
    Leaf(Box<Leaf>),
    Inner(Box<Inner>),
}

#[derive(Clone, Copy)]
pub(super) enum NodeRef<'a> {
    Leaf(&'a Leaf),
    Inner(&'a Inner),
}

pub(super) enum NodeMut<'a> {
    Leaf(&'a mut Leaf),
    Inner(&'a mut Inner),
}

impl Node {
    #[inline]
    pub(super) fn as_ref(&self) -> NodeRef<'_> {
        match self {
            Node::Leaf(leaf) => NodeRef::Leaf(leaf),
            Node::Inner(inner) => NodeRef::Inner(inner),
        }
    }

    #[inline]
    pub(super) fn as_mut(&mut self) -> NodeMut<'_> {
        match self {
            Node::Leaf(leaf) => NodeMut::Leaf(leaf),
            Node::Inner(inner) => NodeMut::Inner(inner),
        }
    }

    pub(super) fn is_full(&self) -> bool {
        match self {
            Node::Leaf(leaf) => leaf.is_full(),
            Node::Inner(inner) => inner.len() == INNER_MAX,
        }
    }

    pub(super) fn memory(&self) -> usize {
        match self {
            Node::Leaf(_) => size_of::<Leaf>(),
            Node::Inner(_) => size_of::<Inner>(),
        }
    }

    /// The number of elements in and below it.
    pub(super) fn count(&self) -> usize {
        match self {
            Node::Leaf(leaf) => leaf.len(),
            Node::Inner(inner) => inner.counts[..inner.len()].iter().sum::<u64>() as usize,
        }
    }
}

/// All of one kind: the tree is as deep everywhere.
enum Children {
    Leaves([Option<Box<Leaf>>; INNER_MAX]),
    Inners([Option<Box<Inner>>; INNER_MAX]),
}

/// Children in order. What is kept about a child is always true: its first element is the first one, and lives.
pub(super) struct Inner {
    len: usize,
    scores: [Score; INNER_MAX],
    firsts: [Option<Element>; INNER_MAX],
    counts: [u64; INNER_MAX],
    children: Children,
}

/// What a node says that must be there, because of its length.
const PRESENT: &str = "a child below the length is there";

impl Children {
    fn none_like(&self) -> Children {
        match self {
            Children::Leaves(_) => Children::Leaves([const { None }; INNER_MAX]),
            Children::Inners(_) => Children::Inners([const { None }; INNER_MAX]),
        }
    }

    fn put(&mut self, index: usize, child: Node) {
        match (self, child) {
            (Children::Leaves(row), Node::Leaf(leaf)) => row[index] = Some(leaf),
            (Children::Inners(row), Node::Inner(inner)) => row[index] = Some(inner),
            _ => unreachable!("a tree is as deep everywhere"),
        }
    }

    fn take(&mut self, index: usize) -> Node {
        match self {
            Children::Leaves(row) => Node::Leaf(row[index].take().expect(PRESENT)),
            Children::Inners(row) => Node::Inner(row[index].take().expect(PRESENT)),
        }
    }

    /// Moves the children from `from` on by one place, to an end that is empty.
    fn shift_right(&mut self, from: usize, len: usize) {
        match self {
            Children::Leaves(row) => row[from..=len].rotate_right(1),
            Children::Inners(row) => row[from..=len].rotate_right(1),
        }
    }

    /// Moves the children behind an empty place into it.
    fn shift_left(&mut self, to: usize, len: usize) {
        match self {
            Children::Leaves(row) => row[to..len].rotate_left(1),
            Children::Inners(row) => row[to..len].rotate_left(1),
        }
    }
}

impl Inner {
    /// A node over a tree that is not empty.
    pub(super) fn above(child: Node) -> Box<Inner> {
        let children = match child {
            Node::Leaf(_) => Children::Leaves([const { None }; INNER_MAX]),
            Node::Inner(_) => Children::Inners([const { None }; INNER_MAX]),
        };
        let mut inner = Inner::with(children);
        inner.insert(0, child);
        inner
    }

    fn with(children: Children) -> Box<Inner> {
        Box::new(Inner {
            len: 0,
            scores: [0.0; INNER_MAX],
            firsts: [None; INNER_MAX],
            counts: [0; INNER_MAX],
            children,
        })
    }

    #[inline]
    pub(super) fn len(&self) -> usize {
        self.len
    }

    #[inline]
    fn first(&self, index: usize) -> Element {
        self.firsts[..self.len][index].expect(PRESENT)
    }

    #[inline]
    pub(super) fn child(&self, index: usize) -> NodeRef<'_> {
        match &self.children {
            Children::Leaves(row) => NodeRef::Leaf(row[index].as_deref().expect(PRESENT)),
            Children::Inners(row) => NodeRef::Inner(row[index].as_deref().expect(PRESENT)),
        }
    }

    #[inline]
    pub(super) fn child_mut(&mut self, index: usize) -> NodeMut<'_> {
        match &mut self.children {
            Children::Leaves(row) => NodeMut::Leaf(row[index].as_deref_mut().expect(PRESENT)),
            Children::Inners(row) => NodeMut::Inner(row[index].as_deref_mut().expect(PRESENT)),
        }
    }

    /// The child that a condition ends in (see `Leaf::partition_point`): the last whose first element fulfils it, or the
    /// first child.
    #[inline]
    pub(super) fn child_where(&self, is_before: &impl Fn(Score, Element) -> bool) -> usize {
        // The first element of the first child need not be looked at.
        let (mut low, mut high) = (0, self.len - 1);
        while low < high {
            let middle = (low + high).div_ceil(2);
            if is_before(self.scores[middle], self.first(middle)) {
                low = middle;
            } else {
                high = middle - 1;
            }
        }
        low
    }

    /// The child that holds element number `rank`, and that element's number in it.
    pub(super) fn child_at(&self, mut rank: usize) -> (usize, usize) {
        for (index, &count) in self.counts[..self.len].iter().enumerate() {
            if rank < count as usize {
                return (index, rank);
            }
            rank -= count as usize;
        }
        unreachable!("the number of an element below the count of its node")
    }

    /// Elements in the children in front of one.
    #[inline]
    pub(super) fn count_before(&self, index: usize) -> usize {
        self.counts[..index].iter().sum::<u64>() as usize
    }

    /// Says that an element has been, or is about to be, put into or below a child.
    #[inline]
    pub(super) fn element_added(&mut self, index: usize, element: Element, score: Score) {
        self.counts[index] += 1;
        if index == 0 && order((score, element.member()), (self.scores[0], self.first(0).member())).is_lt() {
            self.scores[0] = score;
            self.firsts[0] = Some(element);
        }
    }

    fn insert(&mut self, index: usize, child: Node) {
        let len = self.len;
        let (first, count) = (first_of(child.as_ref()), child.count());
        self.scores.copy_within(index..len, index + 1);
        self.firsts.copy_within(index..len, index + 1);
        self.counts.copy_within(index..len, index + 1);
        self.children.shift_right(index, len);
        self.len += 1;
        self.scores[index] = first.score();
        self.firsts[index] = Some(first);
        self.counts[index] = count as u64;
        self.children.put(index, child);
    }

    fn remove(&mut self, index: usize) -> Node {
        let len = self.len;
        let child = self.children.take(index);
        self.scores.copy_within(index + 1..len, index);
        self.firsts.copy_within(index + 1..len, index);
        self.counts.copy_within(index + 1..len, index);
        self.children.shift_left(index, len);
        self.len -= 1;
        child
    }

    /// Moves the children from `at` on to the end of another node.
    fn move_tail(&mut self, at: usize, to: &mut Inner) {
        for index in at..self.len {
            let end = to.len;
            to.scores[end] = self.scores[index];
            to.firsts[end] = self.firsts[index];
            to.counts[end] = self.counts[index];
            to.children.put(end, self.children.take(index));
            to.len += 1;
        }
        self.len = at;
    }

    #[inline]
    pub(super) fn is_child_full(&self, index: usize) -> bool {
        match self.child(index) {
            NodeRef::Leaf(leaf) => leaf.is_full(),
            NodeRef::Inner(inner) => inner.len == INNER_MAX,
        }
    }

    /// Makes room in a full child, for an element in front of the one at `place` when it is a leaf. This node has room for
    /// one child more. Returns the bytes allocated.
    pub(super) fn make_room(&mut self, index: usize, is_before: &impl Fn(Score, Element) -> bool) -> usize {
        match self.child_mut(index) {
            NodeMut::Leaf(leaf) => {
                let place = leaf.partition_point(is_before);
                self.make_room_in_leaf(index, place)
            }
            NodeMut::Inner(inner) => {
                let mut right = Inner::with(inner.children.none_like());
                inner.move_tail(INNER_MAX / 2, &mut right);
                self.adopt(index, Node::Inner(right))
            }
        }
    }

    fn make_room_in_leaf(&mut self, index: usize, place: usize) -> usize {
        // Who adds in ascending or descending order leaves full leaves behind.
        if place == LEAF_MAX && index + 1 == self.len {
            return self.split_leaf(index, LEAF_MAX - 1);
        }
        if place == 0 && index == 0 {
            return self.split_leaf(index, 1);
        }
        let has_room = |index: usize| self.counts[index] as usize <= LEAF_MAX - LEAF_ROOM_MIN;
        if index + 1 < self.len && has_room(index + 1) {
            self.balance_leaves(index);
            return 0;
        }
        if index > 0 && has_room(index - 1) {
            self.balance_leaves(index - 1);
            return 0;
        }
        self.split_leaf(index, LEAF_MAX / 2)
    }

    fn split_leaf(&mut self, index: usize, at: usize) -> usize {
        let mut right = Leaf::new();
        match self.child_mut(index) {
            NodeMut::Leaf(leaf) => leaf.balance(&mut right, at),
            NodeMut::Inner(_) => unreachable!("only leaves are split here"),
        }
        self.adopt(index, Node::Leaf(right))
    }

    /// Takes in, behind a child, what was split off it. Returns its bytes.
    fn adopt(&mut self, index: usize, right: Node) -> usize {
        let memory = right.memory();
        self.counts[index] -= right.count() as u64;
        self.insert(index + 1, right);
        memory
    }

    /// Spreads the elements of two neighbouring leaves evenly.
    fn balance_leaves(&mut self, left: usize) {
        let right = left + 1;
        let Children::Leaves(row) = &mut self.children else { unreachable!("only leaves are balanced") };
        let [Some(a), Some(b)] = &mut row[left..=right] else { unreachable!("{PRESENT}") };
        let half = (a.len() + b.len()) / 2;
        a.balance(b, half);
        self.counts[left] = a.len() as u64;
        self.counts[right] = b.len() as u64;
        self.update_first(right);
    }

    fn update_first(&mut self, index: usize) {
        let first = first_of(self.child(index));
        if self.firsts[index] != Some(first) {
            self.firsts[index] = Some(first);
            self.scores[index] = first.score();
        }
    }

    /// Puts right what is kept about a child from or from below which elements were taken, and does away with it when it is
    /// empty, or fits into a neighbour. Returns the bytes freed.
    pub(super) fn mend(&mut self, index: usize, removed: usize) -> usize {
        self.counts[index] -= removed as u64;
        if self.counts[index] == 0 {
            return self.remove(index).memory();
        }
        self.update_first(index);
        if index + 1 < self.len && self.can_join(index, index) {
            return self.join(index);
        }
        if index > 0 && self.can_join(index - 1, index) {
            return self.join(index - 1);
        }
        0
    }

    /// Whether a child and the one behind it fit into one; never, when the child number `changed` is more than half full.
    fn can_join(&self, left: usize, changed: usize) -> bool {
        match self.child(changed) {
            NodeRef::Leaf(leaf) => {
                let joined = self.counts[left] + self.counts[left + 1];
                leaf.len() <= LEAF_MAX / 2 && joined as usize <= LEAF_JOINED_MAX
            }
            NodeRef::Inner(inner) if inner.len <= INNER_MAX / 2 => {
                let len = |index: usize| match self.child(index) {
                    NodeRef::Inner(inner) => inner.len,
                    NodeRef::Leaf(_) => unreachable!("a tree is as deep everywhere"),
                };
                len(left) + len(left + 1) <= INNER_JOINED_MAX
            }
            NodeRef::Inner(_) => false,
        }
    }

    fn join(&mut self, left: usize) -> usize {
        let added = self.counts[left + 1];
        let right = self.remove(left + 1);
        let memory = right.memory();
        match (self.child_mut(left), right) {
            (NodeMut::Leaf(leaf), Node::Leaf(mut right)) => {
                let joined = leaf.len() + right.len();
                leaf.balance(&mut right, joined);
            }
            (NodeMut::Inner(inner), Node::Inner(mut right)) => right.move_tail(0, inner),
            _ => unreachable!("a tree is as deep everywhere"),
        }
        self.counts[left] += added;
        memory
    }

    /// The only child, of a node that has no other.
    pub(super) fn into_only_child(mut self) -> Node {
        debug_assert_eq!(self.len, 1);
        self.children.take(0)
    }

    /// Takes out the last leaf below this node, leaving what is kept about the children as it was: for a tree that nobody
    /// looks into any more. Returns it with the bytes freed.
    pub(super) fn pop_leaf(&mut self) -> Option<(Box<Leaf>, usize)> {
        let last = self.len.checked_sub(1)?;
        let Children::Inners(row) = &mut self.children else {
            let Node::Leaf(leaf) = self.children.take(last) else { unreachable!("{PRESENT}") };
            self.len = last;
            return Some((leaf, size_of::<Leaf>()));
        };
        let inner = row[last].as_deref_mut().expect(PRESENT);
        let (leaf, mut freed) = inner.pop_leaf()?;
        if inner.len == 0 {
            row[last] = None;
            self.len = last;
            freed += size_of::<Inner>();
        }
        Some((leaf, freed))
    }
}

/// The first element in or below a node that is not empty.
fn first_of(node: NodeRef) -> Element {
    match node {
        NodeRef::Leaf(leaf) => leaf.get(0),
        NodeRef::Inner(inner) => inner.first(0),
    }
}

#[cfg(test)]
impl Node {
    /// Asserts that everything kept about children is true, and returns the depth below this node.
    pub(super) fn check(&self) -> usize {
        check(self.as_ref())
    }
}

#[cfg(test)]
fn check(node: NodeRef) -> usize {
    let NodeRef::Inner(inner) = node else { return 0 };
    assert!(inner.len > 0);
    let mut depths = Vec::new();
    for index in 0..inner.len {
        let child = inner.child(index);
        let count = match child {
            NodeRef::Leaf(leaf) => leaf.len(),
            NodeRef::Inner(inner) => inner.counts[..inner.len].iter().sum::<u64>() as usize,
        };
        assert!(count > 0, "an empty child");
        assert_eq!(inner.counts[index], count as u64);
        assert_eq!(inner.first(index), first_of(child));
        assert_eq!(inner.scores[index], first_of(child).score());
        depths.push(check(child));
    }
    assert!(depths.iter().all(|depth| *depth == depths[0]), "{depths:?}");
    depths[0] + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_fill_blocks_that_the_allocator_has() {
        assert!(size_of::<Leaf>() <= 512 && size_of::<Inner>() <= 2048);
    }
}

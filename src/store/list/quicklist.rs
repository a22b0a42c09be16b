//! A large list: nodes of a few KiB each in a tree. Redis calls it a quicklist, and so does OBJECT ENCODING.
//!
//! The nodes at the two ends, `depth` of them, are as they are; those in between are compressed when the list was made with a
//! depth. Whatever adds or removes a node calls `settle`, which sees to that.

use super::node::{Body, Limit, Node, NodeItems, Shape};
use super::pack::Pack;
use super::tree::Tree;
use super::{End, Side};
use crate::store::listpack::{Item, Items, Needle};
use crate::store::Settings;

#[derive(Debug)]
pub(super) struct Quicklist {
    tree: Tree,
    shape: Shape,
    /// What the nodes have allocated.
    bytes: usize,
}

impl Quicklist {
    pub fn new(settings: &Settings) -> Quicklist {
        let shape = Shape {
            limit: Limit(settings.list_max_listpack_size),
            depth: settings.list_compress_depth as usize,
        };
        Quicklist { tree: Tree::default(), shape, bytes: 0 }
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        self.tree.size().elements
    }

    pub fn nodes(&self) -> usize {
        self.tree.size().nodes
    }

    /// Bytes allocated: those of the nodes, and about what the tree takes.
    pub fn memory(&self) -> usize {
        self.bytes + self.nodes() * size_of::<Node>()
    }

    pub fn duplicate(&self) -> Quicklist {
        let tree = self.tree.map(&Node::duplicate);
        let mut bytes = 0;
        let mut number = 0;
        while number < tree.size().nodes {
            let (run, index) = tree.run(number);
            bytes += run[index..].iter().map(Node::memory).sum::<usize>();
            number += run.len() - index;
        }
        Quicklist { tree, shape: self.shape, bytes }
    }

    /// Adds a listpack's elements behind all others, in a node of their own.
    pub fn push_pack(&mut self, pack: Pack) {
        let number = self.nodes();
        self.add(number, Node::packed(pack));
        self.settle(number);
    }

    /// Adds an element behind all others, in a node of its own.
    pub fn push_alone(&mut self, element: &[u8], settings: &Settings) {
        let number = self.nodes();
        self.add(number, Node::of(element, self.shape, settings.quicklist_packed_threshold));
        self.settle(number);
    }

    pub fn push(&mut self, end: End, element: &[u8], settings: &Settings) {
        let nodes = self.nodes();
        let at_end = match end {
            End::Head => 0,
            End::Tail => nodes.saturating_sub(1),
        };
        let plain_from = settings.quicklist_packed_threshold;
        if nodes > 0 && self.tree.node(at_end).has_room_for(element, self.shape, plain_from) {
            self.change(at_end, |node| push_into(node, end, element));
            return;
        }
        if nodes > 0 {
            self.change(at_end, Node::seal);
        }
        let number = if end == End::Head { 0 } else { nodes };
        self.add(number, Node::of(element, self.shape, plain_from));
        self.settle(number);
    }

    /// Takes the element at an end away, after `take` has seen it.
    pub fn pop<R>(&mut self, end: End, take: impl FnOnce(Item) -> R) -> Option<R> {
        let number = match end {
            End::Head => 0,
            End::Tail => self.nodes().checked_sub(1)?,
        };
        if self.nodes() == 0 {
            return None;
        }
        let mut scratch = Vec::new();
        let node = self.tree.node(number);
        let result = match node.items(&mut scratch) {
            NodeItems::Plain(bytes) => take(Item::Bytes(bytes)),
            NodeItems::Packed(items) => take(match end {
                End::Head => items.item(items.first()),
                End::Tail => items.item(items.last().expect("no node is empty")),
            }),
        };
        if node.count == 1 {
            self.remove(number);
            self.settle(number);
        } else {
            self.change(number, |node| {
                node.edit(|pack| match end {
                    End::Head => pack.drop_first(),
                    End::Tail => pack.drop_last(),
                })
            });
        }
        Some(result)
    }

    /// Takes away the elements from number `index` on, and returns them.
    pub fn split_off(&mut self, index: usize) -> Quicklist {
        let mut tail = Quicklist { tree: Tree::default(), shape: self.shape, bytes: 0 };
        if index < self.len() {
            let number = self.boundary(index);
            tail.tree = self.tree.split_off(number);
            // The smaller part is counted.
            let (counted, other_is_tail) =
                if tail.nodes() < self.nodes() { (&tail, false) } else { (&*self, true) };
            let mut part = 0;
            for_each_node(&counted.tree, |node| part += node.memory());
            let rest = self.bytes - part;
            (self.bytes, tail.bytes) = if other_is_tail { (part, rest) } else { (rest, part) };
            self.settle_ends();
            tail.settle_ends();
        }
        tail
    }

    /// The number of the node that begins with element `index`; a node is split for it if need be.
    fn boundary(&mut self, index: usize) -> usize {
        let (number, within) = self.tree.find(index);
        if within == 0 {
            return number;
        }
        self.split(number, within);
        number + 1
    }

    /// Splits a node in front of its element number `at`.
    fn split(&mut self, number: usize, at: usize) {
        let right = self.change(number, |node| {
            let right = node.split_off(at);
            node.seal();
            right
        });
        self.add(number + 1, right);
    }

    /// Puts another element in the place of number `index`, which there must be.
    pub fn set(&mut self, index: usize, element: &[u8], settings: &Settings) {
        let plain_from = settings.quicklist_packed_threshold;
        let (number, within) = self.tree.find(index);
        let node = self.tree.node(number);
        if node.count == 1 {
            self.set_single(number, element, plain_from);
        } else if node.may_replace(within, element, self.shape, plain_from) {
            self.change(number, |node| {
                node.edit(|pack| {
                    pack.edit(|listpack| {
                        let position = listpack.items().seek(within as i64).expect("it was found there");
                        listpack.replace(position, element);
                    })
                })
            });
            self.settle(number);
        } else {
            self.change(number, |node| {
                node.edit(|pack| {
                    pack.edit(|listpack| {
                        let position = listpack.items().seek(within as i64).expect("it was found there");
                        listpack.remove(position, 1);
                    })
                })
            });
            self.insert(number, within, element, plain_from);
        }
    }

    /// Puts another element in the place of a node's only one. It stays by itself, however small it is, as in Redis: but
    /// behind what was never packed it joins its neighbour.
    fn set_single(&mut self, number: usize, element: &[u8], plain_from: usize) {
        let joins = self.tree.node(number).is_plain(plain_from)
            && number + 1 < self.nodes()
            && self.tree.node(number + 1).has_room_for(element, self.shape, plain_from);
        if joins {
            self.remove(number);
            self.change(number, |node| push_into(node, End::Head, element));
        } else {
            let node = Node::of(element, self.shape, plain_from);
            self.change(number, |old| *old = node);
        }
        self.settle(number);
    }

    /// Puts an element beside the first one equal to `needle`; false when there is none.
    pub fn insert_beside(
        &mut self,
        needle: &Needle,
        side: Side,
        element: &[u8],
        settings: &Settings,
    ) -> bool {
        let mut number = 0;
        let mut scratch = Vec::new();
        while number < self.nodes() {
            let found = match self.tree.node(number).items(&mut scratch) {
                NodeItems::Plain(bytes) => needle.is(Item::Bytes(bytes)).then_some(0),
                NodeItems::Packed(items) => Iterator::position(&mut items.iter(), |item| needle.is(item)),
            };
            if let Some(at) = found {
                let at = at + usize::from(side == Side::After);
                self.insert(number, at, element, settings.quicklist_packed_threshold);
                return true;
            }
            number += 1;
        }
        false
    }

    /// Adds an element in front of element number `at` of a node, or behind its last.
    fn insert(&mut self, number: usize, at: usize, element: &[u8], plain_from: usize) {
        let count = self.tree.node(number).count as usize;
        let has_room = |list: &Quicklist, number: usize| {
            list.tree.node(number).has_room_for(element, list.shape, plain_from)
        };
        if has_room(self, number) {
            self.change(number, |node| insert_into(node, at, element));
            self.settle(number);
        } else if at == 0 && number > 0 && has_room(self, number - 1) {
            self.change(number - 1, |node| push_into(node, End::Tail, element));
            self.settle(number - 1);
        } else if at == count && number + 1 < self.nodes() && has_room(self, number + 1) {
            self.change(number + 1, |node| push_into(node, End::Head, element));
            self.settle(number + 1);
        } else {
            let between = match at {
                0 => number,
                _ if at == count => number + 1,
                _ => {
                    self.split(number, at);
                    number + 1
                }
            };
            self.add(between, Node::of(element, self.shape, plain_from));
            for number in between.saturating_sub(1)..=between + 1 {
                self.settle(number);
            }
            if at != 0 && at != count {
                self.merge_around(between);
            }
        }
    }

    /// Joins a node with its neighbours where both fit into one; compressed ones are left alone.
    fn merge_around(&mut self, number: usize) {
        let merge = |list: &mut Quicklist, left: usize| {
            let fits = left + 1 < list.nodes()
                && list.tree.node(left).has_room_for_node(list.tree.node(left + 1), list.shape);
            if fits {
                let right = list.remove(left + 1);
                list.change(left, |node| node.append(&right));
                list.settle(left);
            }
            fits
        };
        merge(self, number);
        if number > 0 {
            merge(self, number - 1);
        }
    }

    /// Removes elements equal to `needle`: at most `max`, from one end on; returns how many.
    pub fn remove_equal(&mut self, needle: &Needle, max: usize, from: End) -> usize {
        let mut removed = 0;
        let mut passed = 0;
        while passed < self.nodes() && removed < max {
            let number = match from {
                End::Head => passed,
                End::Tail => self.nodes() - 1 - passed,
            };
            let count = self.tree.node(number).count as usize;
            let mut scratch = Vec::new();
            let is_there = |items: Items| items.find(needle, items.first(), 1).is_some();
            let found = match self.tree.node(number).items(&mut scratch) {
                NodeItems::Plain(bytes) => needle.is(Item::Bytes(bytes)),
                NodeItems::Packed(items) => is_there(items),
            };
            if !found {
                passed += 1;
                continue;
            }
            let mut node = self.remove(number);
            let here = node.remove_equal(needle, max - removed, from == End::Tail);
            removed += here;
            if here < count {
                self.add(number, node);
                self.settle(number);
                passed += 1;
            }
        }
        if removed > 0 {
            self.settle_ends();
        }
        removed
    }

    /// The elements of a list that is small enough to be one listpack; nothing is left here then.
    pub fn take_pack(&mut self, limit: Limit, half: bool, plain_from: usize) -> Option<Pack> {
        if self.nodes() != 1 {
            return None;
        }
        let node = self.tree.node(0);
        let bytes = match &node.body {
            Body::Packed(pack) => pack.size_bytes(),
            Body::Compressed { len, .. } => *len as usize,
            Body::Plain(element) if element.len() < plain_from => element.len(),
            Body::Plain(_) => return None,
        };
        if !limit.holds(bytes, node.count as usize, half) {
            return None;
        }
        let mut node = self.remove(0);
        match &mut node.body {
            Body::Plain(element) => Some(Pack::of(element)),
            _ => node.pack_mut().map(std::mem::take),
        }
    }

    /// Frees the last node; false when there is none.
    pub fn free_node(&mut self) -> bool {
        match self.nodes().checked_sub(1) {
            Some(last) => {
                self.remove(last);
                true
            }
            None => false,
        }
    }

    /// Calls `visit` with the elements from number `index` on, towards the tail or (`from` the tail) towards the head, until it
    /// answers false.
    pub fn visit(&self, index: usize, from: End, mut visit: impl FnMut(Item) -> bool) {
        if index >= self.len() {
            return;
        }
        let (mut number, within) = self.tree.find(index);
        let mut within = Some(within);
        let mut scratch = Vec::new();
        loop {
            let (run, at) = self.tree.run(number);
            let (mut steps, mut at) = (0, at);
            loop {
                let more = match run[at].items(&mut scratch) {
                    NodeItems::Plain(bytes) => visit(Item::Bytes(bytes)),
                    NodeItems::Packed(items) => visit_items(items, within, from, &mut visit),
                };
                within = None;
                if !more {
                    return;
                }
                steps += 1;
                let last = match from {
                    End::Head => at + 1 == run.len(),
                    End::Tail => at == 0,
                };
                if last {
                    break;
                }
                at = if from == End::Head { at + 1 } else { at - 1 };
            }
            match from {
                End::Head => number += steps,
                End::Tail if steps > number => return,
                End::Tail => number -= steps,
            }
            if number >= self.nodes() {
                return;
            }
        }
    }

    /// Calls `visit` with each node.
    pub fn visit_nodes(&self, mut visit: impl FnMut(NodeItems)) {
        let mut scratch = Vec::new();
        for_each_node(&self.tree, |node| visit(node.items(&mut scratch)));
    }

    /// Calls `visit` with the nodes from number `number` on, until it answers false.
    pub fn visit_nodes_from(&self, mut number: usize, mut visit: impl FnMut(NodeItems) -> bool) {
        let mut scratch = Vec::new();
        while number < self.nodes() {
            let (run, index) = self.tree.run(number);
            if !run[index..].iter().all(|node| visit(node.items(&mut scratch))) {
                return;
            }
            number += run.len() - index;
        }
    }

    fn change<R>(&mut self, number: usize, change: impl FnOnce(&mut Node) -> R) -> R {
        let (bytes, result) = self.tree.change(number, |node| {
            let before = node.memory();
            let result = change(node);
            ((before, node.memory()), result)
        });
        self.bytes = self.bytes - bytes.0 + bytes.1;
        result
    }

    fn add(&mut self, number: usize, node: Node) {
        self.bytes += node.memory();
        self.tree.insert(number, node);
    }

    fn remove(&mut self, number: usize) -> Node {
        let node = self.tree.remove(number);
        self.bytes -= node.memory();
        node
    }

    /// Compresses or decompresses node `number`, and those that its coming or going has moved into or out of the ends.
    fn settle(&mut self, number: usize) {
        let depth = self.shape.depth;
        if depth == 0 {
            return;
        }
        let nodes = self.nodes();
        // A change adds up to two nodes at once: a part that was split off, and a new one.
        let at_head = depth.saturating_sub(2)..depth + 2;
        let at_tail = nodes.saturating_sub(depth + 2)..(nodes + 2).saturating_sub(depth);
        for number in at_head.chain(at_tail).chain([number]) {
            if number < nodes {
                self.settle_one(number);
            }
        }
    }

    /// After several nodes have gone: what is at the ends now is not compressed.
    fn settle_ends(&mut self) {
        let (depth, nodes) = (self.shape.depth, self.nodes());
        if depth == 0 {
            return;
        }
        let at_head = 0..depth.min(nodes);
        let at_tail = nodes.saturating_sub(depth).max(at_head.end)..nodes;
        for number in at_head.chain(at_tail) {
            self.settle_one(number);
        }
    }

    fn settle_one(&mut self, number: usize) {
        let depth = self.shape.depth;
        let is_inner = number >= depth && number + depth < self.nodes();
        let node = self.tree.node(number);
        if is_inner && matches!(node.body, Body::Packed(_)) {
            self.change(number, Node::compress);
        } else if !is_inner && node.is_compressed() {
            self.change(number, Node::decompress);
        }
    }
}

fn for_each_node(tree: &Tree, mut visit: impl FnMut(&Node)) {
    let mut number = 0;
    while number < tree.size().nodes {
        let (run, index) = tree.run(number);
        run[index..].iter().for_each(&mut visit);
        number += run.len() - index;
    }
}

fn push_into(node: &mut Node, end: End, element: &[u8]) {
    node.edit(|pack| match end {
        End::Head => pack.push_front(element),
        End::Tail => pack.push_back(element),
    });
}

fn insert_into(node: &mut Node, at: usize, element: &[u8]) {
    let count = node.count as usize;
    match at {
        0 => push_into(node, End::Head, element),
        _ if at == count => push_into(node, End::Tail, element),
        _ => node.edit(|pack| {
            pack.edit(|listpack| {
                let position = listpack.items().seek(at as i64).unwrap_or(listpack.items().end());
                listpack.insert(position, element);
            })
        }),
    }
}

/// Calls `visit` with the elements of a listpack from number `within` on (`None`: all), until it answers false; so does this
/// then.
pub(super) fn visit_items(
    items: Items,
    within: Option<usize>,
    from: End,
    visit: &mut impl FnMut(Item) -> bool,
) -> bool {
    match from {
        End::Head => {
            let start = match within {
                Some(within) => items.seek(within as i64).unwrap_or(items.end()),
                None => items.first(),
            };
            items.iter_from(start).all(visit)
        }
        End::Tail => {
            let mut position = match within {
                Some(within) => items.seek(within as i64),
                None => items.last(),
            };
            while let Some(at) = position {
                if !visit(items.item(at)) {
                    return false;
                }
                position = items.before(at);
            }
            true
        }
    }
}

#[cfg(test)]
impl Quicklist {
    /// Counts what is kept as running totals, and looks at which nodes are compressed.
    pub fn check(&self) {
        let (mut bytes, mut elements, mut number) = (0, 0, 0);
        let depth = self.shape.depth;
        for_each_node(&self.tree, |node| {
            let mut scratch = Vec::new();
            let count = match node.items(&mut scratch) {
                NodeItems::Packed(items) => items.iter().count(),
                NodeItems::Plain(_) => 1,
            };
            assert!(count > 0 && count == node.count as usize, "{count} and {}", node.count);
            bytes += node.memory();
            elements += count;
            let is_inner = depth > 0 && number >= depth && number + depth < self.nodes();
            assert!(is_inner || !node.is_compressed(), "node {number} of {}", self.nodes());
            if is_inner && matches!(node.body, Body::Packed(_)) {
                let mut again = node.duplicate();
                again.compress();
                assert!(!again.is_compressed(), "node {number} of {}", self.nodes());
            }
            number += 1;
        });
        assert_eq!((bytes, elements, number), (self.bytes, self.len(), self.nodes()));
    }
}

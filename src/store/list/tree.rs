//! The nodes of a large list, in order: a B-tree that knows how many nodes and elements each branch holds.
//!
//! Finding the node of an element by its index, and adding or removing a node anywhere, touch one path from the root,
//! of at most [`FANOUT`] entries a level: nothing that is moved or allocated at once is larger than that, however long the
//! list. A list of up to [`FANOUT`] nodes, half a megabyte as usual, is one branch.

use super::node::Node;

const FANOUT: usize = 64;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Size {
    pub nodes: usize,
    pub elements: usize,
}

impl Size {
    fn of(node: &Node) -> Size {
        Size { nodes: 1, elements: node.count as usize }
    }

    fn add(&mut self, other: Size) {
        self.nodes += other.nodes;
        self.elements += other.elements;
    }

    fn subtract(&mut self, other: Size) {
        self.nodes -= other.nodes;
        self.elements -= other.elements;
    }
}

#[derive(Debug)]
enum Branch {
    Leaf(Vec<Node>),
    Inner(Vec<Child>),
}

#[derive(Debug)]
struct Child {
    size: Size,
    branch: Branch,
}

impl Child {
    fn of(branch: Branch) -> Child {
        Child { size: branch.size(), branch }
    }
}

#[derive(Debug)]
pub(super) struct Tree {
    size: Size,
    root: Branch,
}

impl Default for Tree {
    fn default() -> Tree {
        Tree { size: Size::default(), root: Branch::Leaf(Vec::new()) }
    }
}

impl Tree {
    pub fn size(&self) -> Size {
        self.size
    }

    /// Nodes from number `number` on that lie together, and that number's index among them. There must be one.
    pub fn run(&self, mut number: usize) -> (&[Node], usize) {
        debug_assert!(number < self.size.nodes);
        let mut branch = &self.root;
        let mut nodes = self.size.nodes;
        loop {
            match branch {
                Branch::Leaf(leaf) => return (leaf, number),
                Branch::Inner(children) => {
                    let (index, before) = child_of_node(children, nodes, number);
                    number -= before;
                    nodes = children[index].size.nodes;
                    branch = &children[index].branch;
                }
            }
        }
    }

    pub fn node(&self, number: usize) -> &Node {
        let (run, index) = self.run(number);
        &run[index]
    }

    /// The number of the node that holds element `index`, and the element's number in it. There must be one.
    pub fn find(&self, mut index: usize) -> (usize, usize) {
        debug_assert!(index < self.size.elements);
        let mut branch = &self.root;
        let mut number = 0;
        loop {
            match branch {
                Branch::Leaf(leaf) => {
                    for node in leaf {
                        if index < node.count as usize {
                            break;
                        }
                        index -= node.count as usize;
                        number += 1;
                    }
                    return (number, index);
                }
                Branch::Inner(children) => {
                    for child in children {
                        branch = &child.branch;
                        if index < child.size.elements {
                            break;
                        }
                        index -= child.size.elements;
                        number += child.size.nodes;
                    }
                }
            }
        }
    }

    /// Changes a node, which is not left empty.
    pub fn change<R>(&mut self, number: usize, change: impl FnOnce(&mut Node) -> R) -> R {
        change_in(&mut self.root, &mut self.size, number, change)
    }

    /// Adds a node in front of number `number`, or behind all.
    pub fn insert(&mut self, number: usize, node: Node) {
        self.size.add(Size::of(&node));
        if let Some(right) = self.root.insert(number, node) {
            let left = std::mem::replace(&mut self.root, Branch::Inner(Vec::with_capacity(FANOUT)));
            if let Branch::Inner(children) = &mut self.root {
                children.extend([Child::of(left), Child::of(right)]);
            }
        }
    }

    pub fn remove(&mut self, number: usize) -> Node {
        let node = self.root.remove(number);
        self.size.subtract(Size::of(&node));
        self.lower();
        node
    }

    /// Takes away the nodes from number `number` on.
    pub fn split_off(&mut self, number: usize) -> Tree {
        let root = self.root.split_off(number);
        let mut right = Tree { size: root.size(), root };
        self.size.subtract(right.size);
        self.lower();
        right.lower();
        right
    }

    /// A root with a single child is not needed.
    fn lower(&mut self) {
        while let Branch::Inner(children) = &mut self.root {
            match children.len() {
                0 => self.root = Branch::Leaf(Vec::new()),
                1 => self.root = children.swap_remove(0).branch,
                _ => return,
            }
        }
    }

    /// A tree of the nodes that `copy` makes of these.
    pub fn map(&self, copy: &impl Fn(&Node) -> Node) -> Tree {
        Tree { size: self.size, root: self.root.map(copy) }
    }
}

/// The child that holds node `number`, and how many nodes are before it. Those at the ends are found at once.
fn child_of_node(children: &[Child], nodes: usize, number: usize) -> (usize, usize) {
    let last = children.len() - 1;
    let before_last = nodes - children[last].size.nodes;
    if number >= before_last {
        return (last, before_last);
    }
    let mut before = 0;
    for (index, child) in children.iter().enumerate() {
        if number < before + child.size.nodes {
            return (index, before);
        }
        before += child.size.nodes;
    }
    (last, before_last)
}

fn change_in<R>(
    branch: &mut Branch,
    size: &mut Size,
    number: usize,
    change: impl FnOnce(&mut Node) -> R,
) -> R {
    let (before, after, result) = match branch {
        Branch::Leaf(leaf) => {
            let node = &mut leaf[number];
            let before = node.count as usize;
            let result = change(node);
            debug_assert!(node.count > 0);
            (before, node.count as usize, result)
        }
        Branch::Inner(children) => {
            let (index, passed) = child_of_node(children, size.nodes, number);
            let child = &mut children[index];
            let before = child.size.elements;
            let result = change_in(&mut child.branch, &mut child.size, number - passed, change);
            (before, child.size.elements, result)
        }
    };
    size.elements = size.elements - before + after;
    result
}

impl Branch {
    fn size(&self) -> Size {
        let mut size = Size::default();
        match self {
            Branch::Leaf(leaf) => leaf.iter().for_each(|node| size.add(Size::of(node))),
            Branch::Inner(children) => children.iter().for_each(|child| size.add(child.size)),
        }
        size
    }

    /// Returns what has to stand to the right of this one when it was full.
    fn insert(&mut self, number: usize, node: Node) -> Option<Branch> {
        match self {
            Branch::Leaf(leaf) => insert_into(leaf, number, node).map(Branch::Leaf),
            Branch::Inner(children) => {
                let nodes: usize = children.iter().map(|child| child.size.nodes).sum();
                // Behind the last node of a child rather than in front of the first of the next.
                let (index, before) = child_of_node(children, nodes, number.saturating_sub(1));
                let child = &mut children[index];
                let added = Size::of(&node);
                match child.branch.insert(number - before, node) {
                    None => {
                        child.size.add(added);
                        None
                    }
                    Some(right) => {
                        child.size = child.branch.size();
                        insert_into(children, index + 1, Child::of(right)).map(Branch::Inner)
                    }
                }
            }
        }
    }

    fn remove(&mut self, number: usize) -> Node {
        match self {
            Branch::Leaf(leaf) => leaf.remove(number),
            Branch::Inner(children) => {
                let nodes = children.iter().map(|child| child.size.nodes).sum();
                let (index, before) = child_of_node(children, nodes, number);
                let child = &mut children[index];
                let node = child.branch.remove(number - before);
                child.size.subtract(Size::of(&node));
                if child.size.nodes == 0 {
                    children.remove(index);
                } else if index + 1 < children.len() {
                    join(children, index);
                } else if index > 0 {
                    join(children, index - 1);
                }
                node
            }
        }
    }

    fn split_off(&mut self, number: usize) -> Branch {
        match self {
            Branch::Leaf(leaf) => Branch::Leaf(leaf.split_off(number)),
            Branch::Inner(children) => {
                let nodes: usize = children.iter().map(|child| child.size.nodes).sum();
                if number >= nodes {
                    return Branch::Inner(Vec::new());
                }
                let (index, before) = child_of_node(children, nodes, number);
                let mut right = children.split_off(index + 1);
                let child = &mut children[index];
                let branch = child.branch.split_off(number - before);
                child.size = child.branch.size();
                if child.size.nodes == 0 {
                    children.pop();
                }
                right.insert(0, Child::of(branch));
                Branch::Inner(right)
            }
        }
    }

    fn entries(&self) -> usize {
        match self {
            Branch::Leaf(leaf) => leaf.len(),
            Branch::Inner(children) => children.len(),
        }
    }

    fn map(&self, copy: &impl Fn(&Node) -> Node) -> Branch {
        match self {
            Branch::Leaf(leaf) => Branch::Leaf(leaf.iter().map(copy).collect()),
            Branch::Inner(children) => {
                let children = children.iter();
                Branch::Inner(
                    children
                        .map(|child| Child { size: child.size, branch: child.branch.map(copy) })
                        .collect(),
                )
            }
        }
    }
}

/// Puts the child behind `index` into that one, when both together are half of a full one.
fn join(children: &mut Vec<Child>, index: usize) {
    if children[index].branch.entries() + children[index + 1].branch.entries() > FANOUT / 2 {
        return;
    }
    let right = children.remove(index + 1);
    let left = &mut children[index];
    left.size.add(right.size);
    match (&mut left.branch, right.branch) {
        (Branch::Leaf(left), Branch::Leaf(mut right)) => left.append(&mut right),
        (Branch::Inner(left), Branch::Inner(mut right)) => left.append(&mut right),
        _ => unreachable!("all leaves are equally deep"),
    }
}

/// Returns what has to stand to the right of `entries` when they were full. At the ends only the new entry is split off, so that
/// lists that grow there have full branches.
fn insert_into<T>(entries: &mut Vec<T>, index: usize, entry: T) -> Option<Vec<T>> {
    if entries.len() < FANOUT {
        entries.insert(index, entry);
        return None;
    }
    let mut right = Vec::with_capacity(FANOUT);
    if index == entries.len() {
        right.push(entry);
    } else if index == 0 {
        std::mem::swap(entries, &mut right);
        entries.push(entry);
    } else {
        let half = FANOUT / 2;
        right.extend(entries.drain(half..));
        if index <= half {
            entries.insert(index, entry);
        } else {
            right.insert(index - half, entry);
        }
    }
    Some(right)
}

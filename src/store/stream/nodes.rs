//! The nodes of a stream in the order of their IDs, in chunks of bounded size: nodes come at the end, go mostly from the front, and
//! neither ever moves more than a chunk or the short list of chunks.

use std::collections::VecDeque;

use super::id::StreamId;
use super::node::Node;
use crate::store::memory::block_size;

const CHUNK_NODES_MAX: usize = 64;

#[derive(Debug, Default)]
pub(super) struct Nodes {
    /// None is empty.
    chunks: VecDeque<VecDeque<Node>>,
    count: usize,
    /// Bytes allocated for the nodes and chunks.
    memory: usize,
}

/// Where a node is; good until a node comes or goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NodePosition {
    chunk: usize,
    index: usize,
}

fn chunk_memory(chunk: &VecDeque<Node>) -> usize {
    block_size(chunk.capacity() * size_of::<Node>())
}

impl Nodes {
    pub fn len(&self) -> usize {
        self.count
    }

    pub fn memory(&self) -> usize {
        let list = self.chunks.capacity() * size_of::<VecDeque<Node>>();
        self.memory + if list == 0 { 0 } else { block_size(list) }
    }

    pub fn get(&self, place: NodePosition) -> &Node {
        &self.chunks[place.chunk][place.index]
    }

    /// Lets `change` alter a node.
    pub fn change<R>(&mut self, place: NodePosition, change: impl FnOnce(&mut Node) -> R) -> R {
        let node = &mut self.chunks[place.chunk][place.index];
        let before = node.memory();
        let result = change(node);
        self.memory = self.memory - before + node.memory();
        result
    }

    pub fn first(&self) -> Option<NodePosition> {
        (self.count > 0).then_some(NodePosition { chunk: 0, index: 0 })
    }

    pub fn last(&self) -> Option<NodePosition> {
        let chunk = self.chunks.back()?;
        Some(NodePosition { chunk: self.chunks.len() - 1, index: chunk.len() - 1 })
    }

    pub fn after(&self, place: NodePosition) -> Option<NodePosition> {
        if place.index + 1 < self.chunks[place.chunk].len() {
            return Some(NodePosition { index: place.index + 1, ..place });
        }
        (place.chunk + 1 < self.chunks.len()).then_some(NodePosition { chunk: place.chunk + 1, index: 0 })
    }

    pub fn before(&self, place: NodePosition) -> Option<NodePosition> {
        if place.index > 0 {
            return Some(NodePosition { index: place.index - 1, ..place });
        }
        let chunk = place.chunk.checked_sub(1)?;
        Some(NodePosition { chunk, index: self.chunks[chunk].len() - 1 })
    }

    /// The last node that begins at `id` or in front of it.
    pub fn seek(&self, id: StreamId) -> Option<NodePosition> {
        // Readers are mostly at the end.
        let last = self.last()?;
        if self.get(last).first_id() <= id {
            return Some(last);
        }
        let chunk = self.chunks.partition_point(|chunk| chunk[0].first_id() <= id).checked_sub(1)?;
        let index = self.chunks[chunk].partition_point(|node| node.first_id() <= id) - 1;
        Some(NodePosition { chunk, index })
    }

    pub fn iter(&self) -> impl Iterator<Item = &Node> {
        self.chunks.iter().flatten()
    }

    /// Adds a node behind the last.
    pub fn push(&mut self, node: Node) {
        debug_assert!(self.last().is_none_or(|last| self.get(last).first_id() < node.first_id()));
        if self.chunks.back().is_none_or(|chunk| chunk.len() >= CHUNK_NODES_MAX) {
            self.chunks.push_back(VecDeque::with_capacity(1));
            self.memory += chunk_memory(&self.chunks[self.chunks.len() - 1]);
        }
        let chunk = self.chunks.back_mut().expect("there is one now");
        if chunk.len() == chunk.capacity() {
            self.memory -= chunk_memory(chunk);
            chunk.reserve_exact(chunk.len().min(CHUNK_NODES_MAX - chunk.len()));
            self.memory += chunk_memory(chunk);
        }
        self.memory += node.memory();
        self.count += 1;
        chunk.push_back(node);
    }

    pub fn remove(&mut self, place: NodePosition) -> Node {
        let chunk = &mut self.chunks[place.chunk];
        let node = chunk.remove(place.index).expect("a place is a node's");
        self.memory -= node.memory() + chunk_memory(chunk);
        self.count -= 1;
        if chunk.is_empty() {
            self.chunks.remove(place.chunk);
        } else {
            if chunk.len() <= chunk.capacity() / 4 {
                chunk.shrink_to(chunk.len() * 2);
            }
            self.memory += chunk_memory(chunk);
        }
        node
    }

    /// Frees up to `count` nodes of a stream that nobody can reach any more, and returns how many.
    pub fn free_some(&mut self, count: usize) -> usize {
        let mut freed = 0;
        while freed < count {
            let Some(place) = self.last() else { break };
            self.remove(place);
            freed += 1;
        }
        freed
    }

    pub fn duplicate(&self) -> Nodes {
        let mut copy = Nodes::default();
        for node in self.iter() {
            // A clone takes no more memory than it needs.
            copy.push(node.clone());
        }
        copy
    }
}

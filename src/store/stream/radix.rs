//! How many nodes Redis's radix tree over a stream would have, which XINFO STREAM tells.
//!
//! The tree's keys are the IDs of the stream's nodes, 16 bytes each. Every key ends in a leaf; keys part at branching
//! nodes; between a branching node's child byte and the next branching node or leaf a run of bytes is one node. Where keys part follows from the
//! length of the prefix that each has in common with its neighbour.

use super::id::StreamId;

const KEY_BYTES: u32 = 16;

/// Bytes that the big-endian forms of two IDs have in common at the front.
fn common_prefix(a: StreamId, b: StreamId) -> u32 {
    let key = |id: StreamId| u128::from(id.ms) << 64 | u128::from(id.seq);
    (key(a) ^ key(b)).leading_zeros() / 8
}

/// Nodes of the tree over IDs in ascending order.
pub(super) fn tree_nodes(ids: impl Iterator<Item = StreamId>) -> u64 {
    // Depths of the branching nodes on the path to the last key.
    let mut path: Vec<u32> = Vec::with_capacity(KEY_BYTES as usize);
    let mut nodes = 0;
    // A branching node or leaf at `depth`, with the run in front of it if there is one behind the parent's child byte.
    let reached =
        |depth: u32, parent: Option<u32>| 1 + u64::from(depth > parent.map_or(0, |depth| depth + 1));
    let mut last = None;
    for id in ids {
        if let Some(last) = last.replace(id) {
            let common = common_prefix(last, id);
            // The leaf of the last key hangs at the deeper of the two places where it parts from a neighbour.
            nodes += reached(KEY_BYTES, path.last().copied().max(Some(common)));
            while let Some(depth) = path.pop_if(|depth| *depth > common) {
                nodes += reached(depth, path.last().copied().max(Some(common)));
            }
            if path.last() != Some(&common) {
                path.push(common);
            }
        }
    }
    if last.is_none() {
        return 1;
    }
    nodes += reached(KEY_BYTES, path.last().copied());
    while let Some(depth) = path.pop() {
        nodes += reached(depth, path.last().copied());
    }
    nodes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trees_have_as_many_nodes_as_redis_says() {
        let count = |ids: &[(u64, u64)]| tree_nodes(ids.iter().map(|(ms, seq)| StreamId::new(*ms, *seq)));
        assert_eq!(count(&[]), 1);
        assert_eq!(count(&[(1, 1)]), 2);
        // Root run of 15 bytes, branching, two leaves.
        assert_eq!(count(&[(1, 1), (1, 2)]), 4);
        // Root run of 7, branching, two runs, two leaves.
        assert_eq!(count(&[(1, 1), (2, 1)]), 6);
    }
}

//! The other shards, as this one sees them: the mesh, what waits to be sent, and questions that are open.

use std::collections::VecDeque;

use super::asks::Asks;
use super::message::Message;
use super::outbox::Outbox;
use crate::runtime::mesh::Mesh;

pub(super) struct Peers {
    pub mesh: Mesh<Message>,
    pub outbox: Outbox,
    /// Messages to itself: a transaction's coordinator is often also one of its shards.
    pub loopback: VecDeque<Message>,
    pub asks: Asks,
}

impl Peers {
    pub fn new(mesh: Mesh<Message>, shards: usize) -> Peers {
        Peers { mesh, outbox: Outbox::new(shards), loopback: VecDeque::new(), asks: Asks::default() }
    }
}

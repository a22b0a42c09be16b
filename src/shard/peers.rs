//! The other shards, as this one sees them: the mesh, what waits to be sent, and questions that are open.

use std::collections::VecDeque;

use super::message::Message;
use super::outbox::Outbox;
use super::scatter::{Ask, Scatter};
use crate::runtime::mesh::Mesh;
use crate::txn::message::TransactionId;

pub(super) struct Peers {
    pub mesh: Mesh<Message>,
    pub outbox: Outbox,
    /// Messages to itself: a transaction's coordinator is often also one of its shards.
    pub loopback: VecDeque<Message>,
    /// Questions to the others.
    pub scatter: Scatter,
    /// To be done in the next turn.
    pub next_turn: Vec<Chore>,
}

/// What a shard has set itself to do, later in this turn or in the next one.
pub enum Chore {
    EvictClients,
    SendMonitorLines,
    /// Tell the shards that have something in their inboxes.
    WakeShards,
    BroadcastChanges,
    TellOutdated,
    EmptyInbox,
    AdvanceTransaction(TransactionId),
    GoOnWithScript(TransactionId),
    Answer(Box<Ask>),
    HeldHaveResumed,
}

impl Peers {
    pub fn new(mesh: Mesh<Message>, shards: usize) -> Peers {
        Peers {
            mesh,
            outbox: Outbox::new(shards),
            loopback: VecDeque::new(),
            scatter: Scatter::default(),
            next_turn: Vec::new(),
        }
    }
}

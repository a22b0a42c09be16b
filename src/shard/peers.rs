//! The other shards, as this one sees them: the mesh, what waits to be sent, and questions that are open.

use std::collections::VecDeque;

use super::message::Message;
use super::outbox::Outbox;
use super::scatter::{Ask, Scatter};
use crate::base::Stamp;
use crate::runtime::mesh::Mesh;
use crate::txn::message::TransactionId;

pub(super) struct Peers {
    pub mesh: Mesh<Message>,
    pub outbox: Outbox,
    /// Messages to itself: a transaction's coordinator is often also one of its shards.
    pub loopback: VecDeque<Message>,
    /// Questions to the others.
    pub scatter: Scatter,
    pub asked: Asked,
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
            asked: Asked::default(),
            next_turn: Vec::new(),
        }
    }
}

/// Answers to requests are waited for awake for so long, nanoseconds.
const AWAKE_NANOS: u64 = 20_000;

/// Requests of this shard's clients that other shards work on, as far as their answers are due: who has been parked there waits for
/// something else.
#[derive(Default)]
pub(super) struct Asked {
    due: usize,
    /// There are some that `at` does not know yet.
    is_new: bool,
    /// When the last ones left.
    at: Option<Stamp>,
}

impl Asked {
    #[inline]
    pub fn add(&mut self) {
        self.due += 1;
        self.is_new = true;
    }

    /// So many have been answered, or parked.
    #[inline]
    pub fn remove(&mut self, requests: usize) {
        // Somebody who was parked and has gone may be counted twice.
        self.due = self.due.saturating_sub(requests);
    }

    /// So long the answers are worth being waited for awake, nanoseconds, at the end of a turn.
    pub fn awake_nanos(&mut self) -> u64 {
        if std::mem::take(&mut self.is_new) {
            self.at = Some(Stamp::now());
        }
        let waited = self.at.filter(|_| self.due > 0).map(|at| Stamp::now().nanos_since(at));
        waited.map_or(0, |nanos| AWAKE_NANOS.saturating_sub(nanos))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_that_are_due_are_waited_for() {
        let mut asked = Asked::default();
        assert_eq!(asked.awake_nanos(), 0);
        asked.add();
        asked.add();
        assert!(asked.awake_nanos() > 0);
        asked.remove(1);
        assert!(asked.awake_nanos() > 0 || asked.at.is_some(), "one is open");
        asked.remove(1);
        assert_eq!(asked.awake_nanos(), 0);
        asked.remove(1);
        asked.add();
        assert_eq!(asked.due, 1);
    }
}

//! Tickets: one order out of N shards.
//!
//! A shard draws a ticket for what it did in a turn after the last of it is complete and before any reply or message of the turn
//! leaves. So if a client saw a reply and then wrote elsewhere, or a shard acted on a message, the later write has the larger ticket.
//! Each ticket that is drawn belongs to exactly one batch: there are no holes.

use std::sync::atomic::{AtomicU64, Ordering};

pub type Ticket = u64;

/// The counter that all shards share.
#[derive(Debug, Default)]
pub struct Tickets {
    next: AtomicU64,
}

impl Tickets {
    /// That a message between two draws orders them needs no fence of its own: all draws are changes of one value, and what happens before
    /// another change of it comes before it in its order.
    pub(super) fn draw(&self) -> Ticket {
        self.next.fetch_add(1, Ordering::Relaxed)
    }

    /// The first ticket that has not been drawn. Whoever begins to listen reads it while no shard has anything to say: at a barrier.
    pub fn next(&self) -> Ticket {
        self.next.load(Ordering::Acquire)
    }
}

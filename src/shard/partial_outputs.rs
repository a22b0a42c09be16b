//! One send for a pipeline. Some requests of a pipeline run here, some on other shards, and the first replies are there before the last.
//! A send takes longer than several requests do, and the client has no use for a part; so what is there waits for
//! the rest, for a moment and while it is little.

use std::collections::VecDeque;

use super::Shard;
use crate::base::Token;
use crate::client::{Connection, Flag, Suspension};
use crate::runtime::ring::SocketRing;

/// So long a part of the replies waits for the others, microseconds. As a rule they take a tenth of that.
const PATIENCE_US: i64 = 1000;
/// So much is sent at once, bytes: a send of it costs as much as the copy.
const BYTES_MAX: usize = 16 * 1024;

/// The connections whose replies wait, the longest waiting first.
#[derive(Default)]
pub(super) struct PartialOutputs {
    /// With the time at which they are sent, Unix microseconds. One that has been sent meanwhile is passed over.
    queue: VecDeque<(i64, Token)>,
    /// How many of them do wait.
    waiting: usize,
}

impl PartialOutputs {
    /// When the first of them is to be sent, Unix microseconds.
    pub(super) fn due_at_us(&self) -> Option<i64> {
        self.queue.front().map(|(due_us, _)| *due_us)
    }

    fn add(&mut self, c: &mut Connection, due_us: i64) {
        if !c.flags.has(Flag::PartialOutput) {
            c.flags.set(Flag::PartialOutput);
            self.queue.push_back((due_us, c.token));
            self.waiting += 1;
        }
    }

    /// The connection waits no longer. False: it did not.
    pub(super) fn remove(&mut self, c: &mut Connection) -> bool {
        if !c.flags.has(Flag::PartialOutput) {
            return false;
        }
        c.flags.clear(Flag::PartialOutput);
        self.waiting -= 1;
        if self.waiting == 0 {
            // Nobody is woken for those that have been served.
            self.queue.clear();
        }
        true
    }

    fn next_due(&mut self, now_us: i64) -> Option<Token> {
        if self.due_at_us()? > now_us {
            return None;
        }
        self.queue.pop_front().map(|(_, token)| token)
    }
}

impl Shard {
    /// Whether the connection's replies wait for those that other shards still work on.
    pub(super) fn waits_for_rest(&mut self, c: &mut Connection) -> bool {
        let is_partial = !c.pipeline.is_empty()
            && matches!(c.suspension, Suspension::None | Suspension::Pipeline | Suspension::Earlier)
            && !c.flags.has(Flag::Runnable)
            && !c.output.is_in_flight()
            && c.unsent_bytes() < BYTES_MAX;
        if is_partial {
            self.connections.partial.add(c, self.turn.now_us + PATIENCE_US);
        } else {
            self.connections.partial.remove(c);
        }
        is_partial
    }

    /// Sends what has waited for long enough.
    pub(super) fn flush_overdue(&mut self, ring: &mut SocketRing) {
        while let Some(token) = self.connections.partial.next_due(self.turn.now_us) {
            let Some(mut connection) = self.connections.table.take(token) else { continue };
            if self.connections.partial.remove(&mut connection) {
                self.send_output(ring, &mut connection);
            }
            self.connections.table.put_back(connection);
        }
    }
}

//! What must not be seen before the log is as far: with `appendfsync always` no reply leaves the shard before everything
//! is released that had been appended when it was made.
//!
//! - A connection's output is sent in batches. Each waits for the position of the last thing that was done for the connection
//!   when the batch was made; what comes later is in a later batch, so nobody starves.
//! - Replies to other shards' clients wait in the outbox, by target. Messages between the shards of a transaction do not wait: the
//!   log needs them to go on.
//! - The answer of a transaction is made by its coordinator, from what other shards have done: `durable` tells how it waits.
//!
//! Without `always` nothing is in any of these, and all that is left of this is a comparison for each batch.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::mem;

use super::Log;
use crate::client::{Connection, Flag, Stall};
use crate::command::table::{CommandSpec, Flag as CommandFlag};
use crate::observe::log::Level;
use crate::runtime::ring::{SocketRing, Token};
use crate::runtime::sys::error_text;
use crate::shard::Shard;

#[derive(Default)]
pub struct Held {
    /// Connections with a batch of output, by the position that it waits for.
    outputs: BinaryHeap<Reverse<(u64, u32, u32)>>,
    /// Connections whose writes wait for a disk that is slower than they are.
    writers: Vec<Token>,
    /// How far the log was when something was let go last: `counted` and `released`.
    progress: (u64, u64),
}

impl Log {
    /// The position for which a reply has to wait that is made now.
    #[inline]
    pub fn held_at(&self) -> Option<u64> {
        self.holds(self.appended).then_some(self.appended)
    }
}

impl Shard {
    /// The turn is over: writes what it has appended, and lets go what may be seen meanwhile.
    pub(in crate::shard) fn log_turn_end(&mut self, ring: &mut SocketRing) {
        if self.log.is_open() {
            self.log.step(ring, self.now_us);
            self.note_log_spikes();
        }
        let progress = (self.log.counted(), self.log.released());
        if progress != self.held.progress {
            self.held.progress = progress;
            self.log_advanced();
            // What it tells itself.
            self.drain_loopback();
            self.let_go(progress.1);
        }
        if !self.held.writers.is_empty() && !self.log.is_congested() {
            let writers = mem::take(&mut self.held.writers);
            self.resume(writers, Stall::Log);
        }
    }

    /// The shard stops: everything goes to the disk.
    pub(in crate::shard) fn end_log(&mut self) {
        if let Err(error) = self.log.flush_now() {
            crate::log!(Level::Warning, "Error writing to the AOF file: {}", error_text(&error));
        }
    }

    fn note_log_spikes(&mut self) {
        if self.log.spikes.is_empty() {
            return;
        }
        let mut spikes = mem::take(&mut self.log.spikes);
        for (event, nanos) in spikes.drain(..) {
            self.note_spike(event, nanos);
        }
        self.log.spikes = spikes;
    }

    fn let_go(&mut self, released: u64) {
        while let Some(Reverse((position, index, generation))) = self.held.outputs.peek().copied() {
            if position > released {
                break;
            }
            self.held.outputs.pop();
            if let Some(mut connection) = self.clients.take(Token { index, generation }) {
                connection.flags.clear(Flag::Held);
                self.queue_flush(&mut connection);
                self.clients.put_back(connection);
            }
        }
        self.outbox.let_go(released);
    }

    /// Whether the batch of output that comes next has to wait; it is let go when the log is as far.
    #[inline]
    pub(in crate::shard) fn hold_output(&mut self, c: &mut Connection) -> bool {
        if !self.log.holds(c.staged_at) || c.output.is_drained() || c.output.is_in_flight() {
            return false;
        }
        if !c.flags.has(Flag::Held) {
            c.flags.set(Flag::Held);
            self.held.outputs.push(Reverse((c.staged_at, c.token.index, c.token.generation)));
        }
        true
    }

    /// Whether the command has to wait for a disk that is slower than its clients; the connection stalls then.
    #[inline]
    pub(in crate::shard) fn is_held_by_log(&mut self, c: &mut Connection, spec: &CommandSpec) -> bool {
        if !self.log.is_congested() {
            return false;
        }
        let queue = c.multi.iter().filter(|_| spec.name == "exec").flat_map(|multi| &multi.queue);
        let writes =
            spec.is(CommandFlag::Write) || queue.into_iter().any(|queued| queued.spec.is(CommandFlag::Write));
        if writes {
            c.stall = Stall::Log;
            self.held.writers.push(c.token);
        }
        writes
    }
}

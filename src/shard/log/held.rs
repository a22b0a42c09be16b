//! What must not be seen before the log is as far: no reply leaves the shard before everything is released that had been
//! appended when it was made. With `appendfsync always` that is when the disk has it, with the other policies when the kernel does,
//! which is nearly always before the turn ends (`inline_writes`).
//!
//! - A connection's output is sent in batches. Each waits for the position of the last thing that was done for the connection
//!   when the batch was made; what comes later is in a later batch, so nobody starves.
//! - Replies to other shards' clients wait in the outbox, by target. Messages between the shards of a transaction do not wait: the
//!   log needs them to go on.
//! - The answer of a transaction is made by its coordinator, from what other shards have done. Each of those says when it has
//!   released what it had when it gave its intents back; the answer waits for all of them.
//!
//! What does not look at keys waits for nothing: the server can be asked and told what to do about a disk that fails. Nor, with
//! `always`, do reads then of keys that have not changed (`unreleased_keys`).
//!
//! When the turn's bytes were written directly nothing is in any of these, and all that is left is a comparison for each batch.

use crate::shard::journal::Journal;
use crate::shard::turn::TurnState;
use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, VecDeque};
use std::mem;

use super::Log;
use crate::base::error_text;
use crate::base::log::Level;
use crate::base::Stamp;
use crate::base::Token;
use crate::client::{Connection, Flag, Suspension};
use crate::command::table::{CommandSpec, Flag as CommandFlag, Handler, KeyPositions};
use crate::command::Args;
use crate::resp::Reply;
use crate::runtime::ring::SocketRing;
use crate::shard::message::Message;
use crate::shard::refusals::any_command;
use crate::shard::saving::message::ShardOrder;
use crate::shard::Shard;
use crate::txn::message::{Origin, TransactionId};

/// An answer that is there but for what the participants' disks have to say.
#[derive(Default)]
struct Unreleased {
    /// Participants not heard of; negative while the answer is not there itself.
    missing: i64,
    answer: Option<Answer>,
}

struct Answer {
    /// The shard that serves the client.
    home: usize,
    origin: Origin,
    reply: Reply,
}

#[derive(Default)]
pub struct Held {
    /// Connections with a batch of output, by the position that it waits for.
    outputs: BinaryHeap<Reverse<(u64, u32, u32)>>,
    /// What coordinators are to be told, in the order of the positions.
    reports: VecDeque<(u64, usize, TransactionId)>,
    /// This shard's own transactions.
    answers: HashMap<TransactionId, Unreleased, foldhash::fast::RandomState>,
    /// Connections whose writes wait for a disk that is slower than they are, and since when there are any.
    writers: Vec<Token>,
    writers_since: Option<Stamp>,
    /// What was let go last.
    released: u64,
}

/// Something that was acknowledged is not on the disk. The server's log says why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unkept;

impl Log {
    /// The position for which a reply has to wait that is made now.
    #[inline]
    pub fn held_at(&self) -> Option<u64> {
        self.holds(self.appended).then_some(self.appended)
    }
}

impl Journal {
    /// A command has run for the connection here: what it replied may have to wait.
    #[inline]
    pub(in crate::shard) fn note_run(&mut self, c: &mut Connection, spec: &CommandSpec, args: Args) {
        if self.log.is_open() && self.may_show(spec, args) {
            c.made_at = self.log.appended();
        }
    }

    /// Whether the command may have shown, or done, what may not be seen yet.
    pub(in crate::shard) fn may_show(&mut self, spec: &CommandSpec, args: Args) -> bool {
        let may_take_long = self.log.is_failing_somewhere() && self.log.waits_for_disk();
        if spec.is(CommandFlag::Write) || !may_take_long {
            return true;
        }
        let mut keys = KeyPositions::new();
        spec.key_positions(args, &mut keys);
        self.log.is_fresh(keys.iter().map(|key| args[key.index]))
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
    pub(in crate::shard) fn is_held_by_log(
        &mut self,
        turn: &TurnState,
        c: &mut Connection,
        spec: &CommandSpec,
    ) -> bool {
        if !self.is_congested() {
            return false;
        }
        let writes = any_command(c, spec, may_append);
        if writes {
            c.suspension = Suspension::Log;
            self.held.writers.push(c.token);
            self.held.writers_since.get_or_insert_with(Stamp::now);
            turn.stats.writers_waiting_for_disk.set(self.held.writers.len() as u64);
        }
        writes
    }
}

impl Shard {
    /// The turn is over: writes what it has appended, and lets go what may be seen meanwhile.
    pub(in crate::shard) fn log_turn_end(&mut self, ring: &mut SocketRing) {
        self.journal.draw_ticket();
        if self.journal.log.is_open() {
            self.journal.log.step(ring, self.turn.now_us);
            self.note_log_spikes();
        }
        self.settle_parts();
        let released = self.journal.log.released();
        if released != self.journal.held.released {
            self.journal.held.released = released;
            self.let_go(released);
        } else if self.journal.is_fed() {
            // What was published waits for the ticket.
            self.subscribers.let_pushes_go(&self.turn, &mut self.peers, released);
            self.drain_loopback();
        }
        // What was let go may have done something.
        self.journal.draw_ticket();
        self.send_waits();
        self.journal.release_feed();
        self.report_syncs();
        if self.journal.log.has_caught_up() {
            self.wake_writers();
        }
        if !self.journal.held.writers.is_empty() && !self.journal.is_congested() {
            self.let_writers_go_on();
        }
    }

    /// The shard stops: everything goes to the disk.
    pub(in crate::shard) fn end_log(&mut self) -> Result<(), Unkept> {
        if self.journal.log.is_open() && self.turn.is_leader() && !self.upkeep.housekeeping.stopping {
            crate::log!(Level::Notice, "Calling fsync() on the AOF file.");
        }
        let outcome = self.journal.log.flush_now();
        if let Err(error) = &outcome {
            crate::log!(Level::Warning, "Error writing to the AOF file: {}", error_text(error));
        }
        // With `always` what is not on the disk was not acknowledged.
        let is_missed = outcome.is_err() && !self.journal.log.waits_for_disk();
        if is_missed || self.journal.log.wants_rewrite() {
            return Err(Unkept);
        }
        Ok(())
    }

    /// The disk has caught up with a log, or with a snapshot, of this shard's: shards whose clients wait for that may have nothing
    /// else to do.
    pub(in crate::shard) fn wake_writers(&mut self) {
        for shard in self.turn.slots.all() {
            self.send(shard, ShardOrder::WritersMayGoOn.into());
        }
    }

    fn let_writers_go_on(&mut self) {
        let writers = mem::take(&mut self.journal.held.writers);
        if let Some(since) = self.journal.held.writers_since.take() {
            self.executor.note_spike(&self.turn, "write-held", Stamp::now().nanos_since(since));
        }
        self.stats.writers_waiting_for_disk.set(0);
        self.connections.resume(writers, Suspension::Log);
    }

    fn note_log_spikes(&mut self) {
        if self.journal.log.spikes.is_empty() {
            return;
        }
        let mut spikes = mem::take(&mut self.journal.log.spikes);
        for (event, nanos) in spikes.drain(..) {
            self.executor.note_spike(&self.turn, event, nanos);
        }
        self.journal.log.spikes = spikes;
    }

    fn let_go(&mut self, released: u64) {
        self.journal.log.drop_kept();
        self.subscribers.let_pushes_go(&self.turn, &mut self.peers, released);
        while let Some(Reverse((position, index, generation))) = self.journal.held.outputs.peek().copied() {
            if position > released {
                break;
            }
            self.journal.held.outputs.pop();
            if let Some(mut connection) = self.connections.table.take(Token { index, generation }) {
                connection.flags.clear(Flag::Held);
                self.connections.queue_flush(&mut connection);
                self.connections.table.put_back(connection);
            }
        }
        self.peers.outbox.let_go(released);
        while self.journal.held.reports.front().is_some_and(|(position, ..)| *position <= released) {
            if let Some((_, coordinator, transaction)) = self.journal.held.reports.pop_front() {
                self.send(coordinator, Message::Released { transaction });
            }
        }
        // What this shard tells itself.
        self.drain_loopback();
    }

    /// A participant has given the intents of a transaction back: tells the coordinator when that may be seen. To be called
    /// whenever the coordinator counts on it.
    pub(in crate::shard) fn report_when_released(&mut self, coordinator: usize, transaction: TransactionId) {
        match self.journal.log.held_at() {
            Some(position) => self.journal.held.reports.push_back((position, coordinator, transaction)),
            None => self.send(coordinator, Message::Released { transaction }),
        }
    }

    /// Answers a transaction that this shard coordinates as soon as `participants` reports have come, which may have been before.
    pub(in crate::shard) fn answer_when_released(
        &mut self,
        transaction: TransactionId,
        participants: usize,
        home: usize,
        origin: Origin,
        reply: Reply,
    ) {
        let held = self.journal.held.answers.entry(transaction).or_default();
        held.missing += participants as i64;
        held.answer = Some(Answer { home, origin, reply });
        self.answer_if_released(transaction);
    }

    pub(in crate::shard) fn participant_released(&mut self, transaction: TransactionId) {
        self.journal.held.answers.entry(transaction).or_default().missing -= 1;
        self.answer_if_released(transaction);
    }

    fn answer_if_released(&mut self, transaction: TransactionId) {
        if self
            .journal
            .held
            .answers
            .get(&transaction)
            .is_some_and(|held| held.missing == 0 && held.answer.is_some())
        {
            let held = self.journal.held.answers.remove(&transaction);
            if let Some(Answer { home, origin, mut reply }) = held.and_then(|held| held.answer) {
                self.reply_to(home, origin, &mut reply);
            }
        }
    }
}

/// Whether what the command does may be written to the log.
fn may_append(spec: &CommandSpec) -> bool {
    spec.is(CommandFlag::Write)
        || matches!(spec.handler, Handler::Script) && spec.is(CommandFlag::MayReplicate)
}

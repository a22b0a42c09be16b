//! When what a transaction over shards did counts as safe, with `appendfsync always`.
//!
//! Each shard that logs a part of it tells the others when its own part is on the disk; until all have, none lets a
//! reply go that was made behind its part, for recovery might cut the part off again and all that follows it. And every shard
//! that took part in it tells the coordinator, which holds the answer until then. (`persist/persistence.md`, "When a write
//! counts".)

use std::collections::{HashMap, VecDeque};

use super::message::Message;
use super::Shard;
use crate::txn::locks::Number;
use crate::txn::message::{Ending, TransactionId, Writers};

#[derive(Debug, Default)]
pub(super) struct Durability {
    /// Own parts that are not on the disk yet, and where each ends, in order.
    own_parts: VecDeque<(u64, Number, Writers)>,
    /// Coordinators to tell when everything before a position counts, in order of positions.
    to_confirm: VecDeque<(u64, usize, TransactionId)>,
    /// How many other writers of a transaction have not told yet that their part is on the disk. Below zero while this shard's own
    /// part is not logged yet.
    others: HashMap<Number, i64, foldhash::fast::RandomState>,
}

impl Shard {
    /// Whether answers wait for the disk.
    pub(super) fn confirms(&self) -> bool {
        self.log.holds_replies()
    }

    /// This shard's part of a transaction, if it has logged one, ends here.
    pub(super) fn confirm_when_durable(&mut self, number: Number, ending: &Ending, is_logged: bool) {
        let Some((coordinator, transaction)) = ending.confirm else { return };
        let position = self.log.appended();
        if is_logged {
            self.log.await_transaction(number);
            self.durability.own_parts.push_back((position, number, ending.writers.clone()));
            self.note_others(number, ending.writers.len() as i64 - 1);
        }
        self.durability.to_confirm.push_back((position, coordinator, transaction));
        self.log_advanced();
    }

    /// Another writer's part of a transaction is on the disk.
    pub(super) fn part_durable(&mut self, number: Number) {
        self.note_others(number, -1);
        self.log_advanced();
    }

    fn note_others(&mut self, number: Number, change: i64) {
        let missing = self.durability.others.entry(number).or_default();
        *missing += change;
        if *missing == 0 {
            self.durability.others.remove(&number);
            self.log.transaction_durable(number);
        }
    }

    /// To be called when more of the log is on the disk, or counts.
    pub(super) fn log_advanced(&mut self) {
        let durable = self.log.counted();
        while self.durability.own_parts.front().is_some_and(|(position, ..)| *position <= durable) {
            let Some((_, number, writers)) = self.durability.own_parts.pop_front() else { break };
            for writer in writers.iter().map(|writer| usize::from(*writer)) {
                if writer != self.id {
                    self.send(writer, Message::PartDurable { number });
                }
            }
        }
        let released = self.log.released();
        while self.durability.to_confirm.front().is_some_and(|(position, ..)| *position <= released) {
            let Some((_, coordinator, transaction)) = self.durability.to_confirm.pop_front() else { break };
            self.send(coordinator, Message::Confirmed { transaction });
        }
    }
}

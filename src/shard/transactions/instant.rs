//! One time for one transaction: whatever it does, on whichever shard and in however many turns, happens at the instant at which
//! its coordinator learnt that it holds all its intents. Scripts and MULTI bodies find no key expired that was there when they began.

use crate::runtime::clock;
use crate::shard::Shard;
use crate::txn::locks::Number;

/// A command that has taken so long moves the time for those behind it in the same turn, nanoseconds. Shorter ones are not worth a
/// look at the clock: a turn of them may be late by as much.
const MOVES_TIME_NANOS: u64 = 1_000_000;

impl Shard {
    /// A command, or a body, has run for so long. What is part of something longer has no time of its own.
    #[inline]
    pub(in crate::shard) fn note_time_taken(&mut self, nanos: u64) {
        if nanos >= MOVES_TIME_NANOS && self.scripts.frozen_us.is_none() && !self.journal.units.is_in_body() {
            self.instant_now();
        }
    }

    /// The time for a transaction that begins now, Unix microseconds. It is read anew: what other shards have shown meanwhile, at times
    /// of theirs, is not to be undone by it.
    pub(super) fn instant_now(&mut self) -> i64 {
        self.turn.now_us = self.turn.now_us.max(clock::unix_us());
        self.store.set_time(self.turn.now_us / 1000);
        self.turn.now_us
    }

    /// Does `work` as if it were that time, Unix microseconds.
    pub(in crate::shard) fn at_instant<R>(&mut self, at_us: i64, work: impl FnOnce(&mut Shard) -> R) -> R {
        let now_us = std::mem::replace(&mut self.turn.now_us, at_us);
        self.store.set_time(at_us / 1000);
        let outer_us = self.scripts.frozen_us.replace(at_us);
        let result = work(self);
        self.scripts.frozen_us = outer_us;
        // What comes next on this shard sees what has been done: its time is no earlier one.
        self.turn.now_us = now_us.max(at_us);
        self.store.set_time(self.turn.now_us / 1000);
        result
    }

    /// Does `work` for a transaction that holds intents here: its own keys are no reason for the store to keep what has expired.
    pub(in crate::shard) fn act_for<R>(
        &mut self,
        number: Option<Number>,
        work: impl FnOnce(&mut Shard) -> R,
    ) -> R {
        let outer = self.transactions.locks.act_for(number);
        let result = work(self);
        self.transactions.locks.act_for(outer);
        result
    }
}

//! CLIENT PAUSE: which commands wait, until when, and who waits.
//!
//! The pause is one number that all shards read, so that they agree on it. A connection whose command must wait keeps it
//! at the head of its input and stalls; when the pause ends, every shard lets its own connections go on, and each
//! command is looked at anew. While clients may not write nothing else may either: keys neither expire nor are evicted.

use super::scatter::Question;
use super::Shard;
use crate::base::Token;
use crate::client::{Connection, Flag, Suspension};
use crate::command::table::{CommandSpec, Flag as CommandFlag, Handler};
use crate::command::Args;
use std::sync::atomic::{AtomicI64, Ordering};

/// What a pause holds back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Paused {
    /// Commands that may write, or that replicas would see.
    Writes,
    All,
}

/// The pause in force, for all shards: Unix milliseconds of its end, doubled, plus one when it holds back everything. Zero
/// when there is none.
#[derive(Debug, Default)]
pub struct Pause(AtomicI64);

impl Pause {
    pub fn in_force(&self, now_ms: i64) -> Option<Paused> {
        let state = self.0.load(Ordering::Relaxed);
        (state >> 1 > now_ms).then_some(if state & 1 == 1 { Paused::All } else { Paused::Writes })
    }

    /// Adds a pause to the one in force, if any: the later end counts, and the wider effect.
    pub fn extend(&self, until_ms: i64, what: Paused, now_ms: i64) {
        let until_ms = until_ms.min(i64::MAX >> 1);
        let extended = |state: i64| {
            let (old_until_ms, old_all) = (state >> 1, state & 1);
            let all = if old_until_ms > now_ms { old_all } else { 0 };
            Some(old_until_ms.max(until_ms) << 1 | all | i64::from(what == Paused::All))
        };
        // It always has an answer, so it cannot fail.
        let _ = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, extended);
    }

    pub fn end(&self) {
        self.0.store(0, Ordering::Relaxed);
    }
}

/// A pause begins, changes or ends.
#[derive(Clone)]
pub struct ObeyPause;

impl Question for ObeyPause {
    type Answer = ();

    fn answer(self, shard: &mut Shard) {
        shard.obey_pause();
    }
}

impl Shard {
    pub(super) fn pause_in_force(&self) -> Option<Paused> {
        self.shared.pause.in_force(self.now_ms())
    }

    /// Whether the command must wait for the end of a pause. Monitors are told apart from clients, as replicas are.
    pub(super) fn is_paused(&mut self, spec: &CommandSpec, args: Args, c: &Connection) -> bool {
        match self.pause_in_force() {
            None => false,
            _ if c.flags.has(Flag::Monitor) => false,
            Some(Paused::All) => true,
            Some(Paused::Writes) => {
                let mut queue = c.queue_of(spec).iter();
                self.may_write(spec, args)
                    || queue.any(|queued| self.may_write(queued.spec, &queued.args.slices()))
            }
        }
    }

    /// Whether the command may write, or do what replicas would see. A script that says what it does is taken at its word, in
    /// both directions: one called by EVAL_RO that does not say `no-writes` may write.
    fn may_write(&mut self, spec: &CommandSpec, args: Args) -> bool {
        match spec.handler {
            Handler::Script => match self.declared_flags(spec, args) {
                Some(flags) => !flags.no_writes,
                None => may_write(spec),
            },
            _ => may_write(spec),
        }
    }

    /// Suspensions a connection until the pause ends.
    pub(super) fn hold_for_pause(&mut self, c: &mut Connection) {
        c.suspension = Suspension::Paused;
        self.upkeep.housekeeping.paused.push(c.token);
        self.count_blocked();
    }

    /// A connection ends while it waits.
    pub(super) fn forget_paused(&mut self, token: Token) {
        self.upkeep.housekeeping.paused.retain(|paused| *paused != token);
        self.count_blocked();
    }

    /// Those that wait for the end of a pause, and in blocking commands.
    pub(super) fn count_blocked(&self) {
        let stats = &self.stats;
        stats
            .blocked_clients
            .set((self.upkeep.housekeeping.paused.len() + self.executor.blocked.clients) as u64);
        stats.clients_in_timeout.set(self.executor.blocked.deadlines() as u64);
        stats.blocking_keys.set(self.store.waiting.keys() as u64);
        stats.blocking_keys_on_nokey.set(self.store.waiting.keys_on_deletion() as u64);
    }

    /// A pause begins, or changes: what this shard does by itself stops too.
    pub(super) fn obey_pause(&mut self) {
        self.store.expire_paused = self.pause_in_force().is_some();
        self.resume_paused();
    }

    /// Lets everything go on once the pause is over.
    pub(super) fn resume_paused(&mut self) {
        if self.pause_in_force().is_some() {
            return;
        }
        self.store.expire_paused = false;
        self.serve_postponed();
        if !self.upkeep.housekeeping.paused.is_empty() {
            let paused = std::mem::take(&mut self.upkeep.housekeeping.paused);
            self.count_blocked();
            self.resume(paused, Suspension::Paused);
        }
    }
}

fn may_write(spec: &CommandSpec) -> bool {
    spec.is(CommandFlag::Write) || spec.is(CommandFlag::MayReplicate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longer_and_the_wider_pause_wins() {
        let pause = Pause::default();
        assert_eq!(pause.in_force(0), None);
        pause.extend(200, Paused::All, 0);
        pause.extend(20, Paused::Writes, 0);
        assert_eq!(pause.in_force(199), Some(Paused::All));
        assert_eq!(pause.in_force(200), None);
    }

    #[test]
    fn a_pause_that_is_over_widens_nothing() {
        let pause = Pause::default();
        pause.extend(100, Paused::All, 0);
        pause.extend(300, Paused::Writes, 150);
        assert_eq!(pause.in_force(299), Some(Paused::Writes));
        pause.end();
        assert_eq!(pause.in_force(160), None);
    }

    #[test]
    fn a_pause_may_be_as_long_as_numbers_go() {
        let pause = Pause::default();
        pause.extend(i64::MAX, Paused::Writes, 0);
        assert_eq!(pause.in_force(i64::MAX / 4), Some(Paused::Writes));
    }
}

//! CLIENT PAUSE: which commands wait, until when, and who waits.
//!
//! The pause is one number that all shards read, so that they agree on it. A connection whose command must wait keeps it
//! at the head of its input and stalls; when the pause ends, they go on in the order in which their commands came, over all
//! shards, and each command is looked at anew. While clients may not write nothing else may either: keys neither expire nor are evicted.
//!
//! How they go on: the shard that sees the end first begins, and there is one that does at a time (`Held::is_resuming`).
//!
//! | step | what happens |
//! | --- | --- |
//! | one is taken | the first in the order (with one shard: all); its shard is told to resume it (`ResumeHeld`) |
//! | it goes on | that shard reads its command in the same turn, and sends what is for others |
//! | all have heard | in the next turn that shard asks all whether they have heard (`Heard`), and takes the next one |
//! | none is left | CLIENT UNPAUSE is answered |

use super::peers::Chore;
use super::scatter::{Heard, Question};
use super::transactions::Later;
use super::Shard;
use crate::base::Token;
use crate::client::{Connection, Flag, Suspension};
use crate::command::table::{CommandSpec, Flag as CommandFlag, Handler};
use crate::command::Args;
use crate::resp::Reply;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// What a pause holds back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Paused {
    /// Commands that may write, or that replicas would see.
    Writes,
    All,
}

/// The pause in force, for all shards, and whom it holds back.
#[derive(Debug, Default)]
pub struct Pause {
    /// Unix milliseconds of its end, doubled, plus one when it holds back everything. Zero when there is none.
    state: AtomicI64,
    held: Mutex<Held>,
}

/// When a command was held back, in the order over all shards.
pub type Ticket = u64;

/// Connections of one shard that go on together.
type Run = Vec<(Ticket, Token)>;

/// The connections of all shards that wait for the end of a pause. There are never more than connections.
#[derive(Debug, Default)]
struct Held {
    last: Ticket,
    order: BTreeMap<Ticket, (usize, Token)>,
    is_resuming: bool,
}

impl Pause {
    pub fn in_force(&self, now_ms: i64) -> Option<Paused> {
        let state = self.state.load(Ordering::Relaxed);
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
        let _ = self.state.fetch_update(Ordering::Relaxed, Ordering::Relaxed, extended);
    }

    pub fn end(&self) {
        self.state.store(0, Ordering::Relaxed);
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn hold(&self, shard: usize, token: Token) -> Ticket {
        let mut held = self.held();
        held.last += 1;
        let ticket = held.last;
        held.order.insert(ticket, (shard, token));
        ticket
    }

    /// Whether the caller is to resume those that are held: nobody else does.
    fn begin_resuming(&self) -> bool {
        !std::mem::replace(&mut self.held().is_resuming, true)
    }

    fn is_resuming(&self) -> bool {
        self.held().is_resuming
    }

    /// The next that go on, of one shard, at most so many. `None`: there are no more, or this is 0, and resuming has ended.
    fn next_run(&self, count_max: usize) -> Option<(usize, Run)> {
        let mut held = self.held();
        let first = held.order.first_key_value().map(|(_, (shard, _))| *shard).filter(|_| count_max > 0);
        let Some(shard) = first else {
            held.is_resuming = false;
            return None;
        };
        let mut run = Vec::new();
        while run.len() < count_max {
            let Some(entry) = held.order.first_entry().filter(|entry| entry.get().0 == shard) else { break };
            run.push((*entry.key(), entry.get().1));
            entry.remove();
        }
        Some((shard, run))
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

/// Let these of your connections go on.
#[derive(Clone)]
pub struct ResumeHeld {
    run: Run,
}

impl Question for ResumeHeld {
    type Answer = ();

    fn answer(self, shard: &mut Shard) {
        if shard.pause_in_force().is_some() {
            // The next one has begun: they keep their places, but for those who have left.
            let own = &shard.upkeep.housekeeping.paused;
            let left = self.run.into_iter().filter(|(_, token)| own.contains_key(token));
            let mut held = shard.shared.pause.held();
            held.order.extend(left.map(|(ticket, token)| (ticket, (shard.id, token))));
            held.is_resuming = false;
            return;
        }
        let tokens: Vec<Token> = self.run.into_iter().map(|(_, token)| token).collect();
        for token in &tokens {
            shard.upkeep.housekeeping.paused.remove(token);
        }
        shard.count_blocked();
        shard.resume(tokens, Suspension::Paused);
        shard.do_next_turn(Chore::HeldHaveResumed);
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

    /// Suspends a connection until the pause ends.
    pub(super) fn hold_for_pause(&mut self, c: &mut Connection) {
        let ticket = self.shared.pause.hold(self.id, c.token);
        c.suspension = Suspension::Paused;
        self.upkeep.housekeeping.paused.insert(c.token, ticket);
        self.count_blocked();
    }

    /// A connection ends while it waits.
    pub(super) fn forget_paused(&mut self, token: Token) {
        if let Some(ticket) = self.upkeep.housekeeping.paused.remove(&token) {
            self.shared.pause.held().order.remove(&ticket);
        }
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
        if !self.upkeep.housekeeping.paused.is_empty() && self.shared.pause.begin_resuming() {
            self.resume_next_held();
        }
    }

    /// Has the next of those go on that were held back. With several shards it is one: the next command draws its number, by which
    /// transactions have their order, when all have heard what the one before it wants.
    fn resume_next_held(&mut self) {
        let count_max = match self.pause_in_force() {
            Some(_) => 0,
            None if self.turn.slots.shards() == 1 => usize::MAX,
            None => 1,
        };
        if let Some((shard, run)) = self.shared.pause.next_run(count_max) {
            self.ask_one(shard, ResumeHeld { run });
        }
    }

    /// Those of this shard that were told to have read their commands: what these want is on its way.
    pub(super) fn held_have_resumed(&mut self) {
        self.ask_all(Heard, |shard, _| shard.resume_next_held());
    }

    /// The reply to CLIENT UNPAUSE: the commands that were held back come before what its client sends next.
    pub(super) fn answer_unpause(&mut self, later: Later) {
        if self.shared.pause.is_resuming() {
            // Asked again in the next turn of each.
            return self.ask_all_caught_up(Heard, move |shard, _| shard.answer_unpause(later));
        }
        let mut reply = Reply::default();
        reply.ok();
        self.complete(later, reply);
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
    fn those_that_are_held_go_on_in_the_order_in_which_they_came() {
        let pause = Pause::default();
        let token = |index| Token { index, generation: 0 };
        let tickets = [(0, 1), (1, 2), (1, 3), (0, 4)].map(|(shard, index)| pause.hold(shard, token(index)));
        assert!(pause.begin_resuming() && !pause.begin_resuming());
        assert_eq!(pause.next_run(2), Some((0, [(tickets[0], token(1))].to_vec())));
        assert_eq!(pause.next_run(2), Some((1, [(tickets[1], token(2)), (tickets[2], token(3))].to_vec())));
        // Another pause.
        assert_eq!(pause.next_run(0), None);
        assert!(!pause.is_resuming() && pause.begin_resuming());
        assert_eq!(pause.next_run(2), Some((0, [(tickets[3], token(4))].to_vec())));
        assert_eq!(pause.next_run(2), None);
        assert!(!pause.is_resuming());
    }

    #[test]
    fn a_pause_may_be_as_long_as_numbers_go() {
        let pause = Pause::default();
        pause.extend(i64::MAX, Paused::Writes, 0);
        assert_eq!(pause.in_force(i64::MAX / 4), Some(Paused::Writes));
    }
}

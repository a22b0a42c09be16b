//! CLIENT PAUSE: which commands wait, until when, and who waits.
//!
//! The pause is one number that all shards read, so that they agree on it. A connection whose command must wait keeps it
//! at the head of its input and stalls; when the pause ends, they go on in the order in which their commands came, over all
//! shards, and each command is looked at anew. While clients may not write nothing else may either: keys neither expire nor are evicted.
//! A failover holds writes back in the same way (`Hold`), and CLIENT UNPAUSE does not end that.
//!
//! How they go on: the shard that sees the end first begins, and there is one that does at a time (`Held::is_resuming`).
//!
//! | step | what happens |
//! | --- | --- |
//! | one is taken | the first in the order (with one shard: all; of thousands several); its shard is told to resume it (`ResumeHeld`) |
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
use crate::replication::Hold;
use crate::resp::Reply;
use crate::runtime::clock;
use crate::shard::scripts::Scripts;
use crate::shard::turn::TurnState;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

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
    /// A bit for each [`Hold`] in force.
    holds: AtomicU32,
    /// Unix milliseconds of its end, doubled, plus one when it holds back everything. Zero when there is none.
    state: AtomicI64,
    held: Mutex<Held>,
}

/// When a command was held back, in the order over all shards.
pub type Ticket = u64;

/// Connections that go on in one round, and their shards.
type Round = Vec<(Ticket, usize, Token)>;

/// With several shards those that were held go on one after the other; of more than this several go on in one round, in any order
/// among them, so that the last does not wait for ever.
const ROUNDS_MAX: usize = 2_000;

/// The connections of all shards that wait for the end of a pause. There are never more than connections.
#[derive(Debug, Default)]
struct Held {
    last: Ticket,
    order: BTreeMap<Ticket, (usize, Token)>,
    is_resuming: bool,
    /// How many go on in one round.
    round_len: usize,
    /// Shards whose part of the round has not been heard by all.
    outstanding: usize,
}

impl Pause {
    pub fn in_force(&self, now_ms: i64) -> Option<Paused> {
        let state = self.state.load(Ordering::Relaxed);
        if state >> 1 > now_ms {
            return Some(if state & 1 == 1 { Paused::All } else { Paused::Writes });
        }
        (self.holds.load(Ordering::Relaxed) != 0).then_some(Paused::Writes)
    }

    /// Holds back writes until `release`; shards are to be told.
    pub fn hold_writes(&self, hold: Hold) {
        self.holds.fetch_or(hold as u32, Ordering::Relaxed);
    }

    pub fn release(&self, hold: Hold) {
        self.holds.fetch_and(!(hold as u32), Ordering::Relaxed);
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

    /// Whether there is none now: turns of several shards have several times.
    fn is_over(&self) -> bool {
        self.in_force(clock::unix_us() / 1000).is_none()
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
    fn begin_resuming(&self, shards: usize) -> bool {
        let mut held = self.held();
        held.round_len = match shards {
            1 => usize::MAX,
            _ => held.order.len().div_ceil(ROUNDS_MAX).max(1),
        };
        !std::mem::replace(&mut held.is_resuming, true)
    }

    fn is_resuming(&self) -> bool {
        self.held().is_resuming
    }

    /// Those that go on next. None: there are no more, or `may_resume` says no, and resuming has ended.
    fn next_round(&self, may_resume: bool) -> Round {
        let mut held = self.held();
        let count = if may_resume { held.round_len } else { 0 };
        let mut round = Round::new();
        while round.len() < count {
            let Some((ticket, (shard, token))) = held.order.pop_first() else { break };
            round.push((ticket, shard, token));
        }
        held.is_resuming = !round.is_empty();
        round
    }

    /// Whether the part of a shard in the round was the last.
    fn part_ends(&self) -> bool {
        let mut held = self.held();
        held.outstanding -= 1;
        held.outstanding == 0
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
    round: Arc<Round>,
}

impl Question for ResumeHeld {
    type Answer = ();

    fn answer(self, shard: &mut Shard) {
        let id = shard.id;
        let own: Vec<(Ticket, Token)> = self
            .round
            .iter()
            .filter(|(_, of, _)| *of == id)
            .map(|(ticket, _, token)| (*ticket, *token))
            .collect();
        let paused = &mut shard.upkeep.housekeeping.paused;
        if shard.shared.pause.is_over() {
            for (_, token) in &own {
                paused.remove(token);
            }
            shard.count_blocked();
            shard.connections.resume(own.into_iter().map(|(_, token)| token).collect(), Suspension::Paused);
        } else {
            // The next one has begun: they keep their places, but for those who have left.
            let left = own.into_iter().filter(|(_, token)| paused.contains_key(token));
            shard.shared.pause.held().order.extend(left.map(|(ticket, token)| (ticket, (id, token))));
        }
        shard.peers.do_next_turn(Chore::HeldHaveResumed);
    }
}

impl TurnState {
    pub(super) fn pause_in_force(&self) -> Option<Paused> {
        self.shared.pause.in_force(self.now_ms())
    }
}

impl Scripts {
    /// Whether the command must wait for the end of a pause. Monitors are told apart from clients, as replicas are.
    pub(super) fn is_paused(
        &mut self,
        turn: &TurnState,
        spec: &CommandSpec,
        args: Args,
        c: &Connection,
    ) -> bool {
        match turn.pause_in_force() {
            None => false,
            _ if c.flags.has(Flag::Monitor) => false,
            Some(Paused::All) => true,
            Some(Paused::Writes) => {
                let mut queue = c.queue_of(spec).iter();
                self.may_write(turn, spec, args)
                    || queue.any(|queued| self.may_write(turn, queued.spec, &queued.args.slices()))
            }
        }
    }

    /// Whether the command may write, or do what replicas would see. A script that says what it does is taken at its word, in
    /// both directions: one called by EVAL_RO that does not say `no-writes` may write.
    fn may_write(&mut self, turn: &TurnState, spec: &CommandSpec, args: Args) -> bool {
        match spec.handler {
            Handler::Script => match self.declared_flags(turn, spec, args) {
                Some(flags) => !flags.no_writes,
                None => may_write(spec),
            },
            _ => may_write(spec),
        }
    }
}

impl Shard {
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
        self.store.expire_paused = self.turn.pause_in_force().is_some();
        self.resume_paused();
    }

    /// Lets everything go on once the pause is over.
    pub(super) fn resume_paused(&mut self) {
        if self.turn.pause_in_force().is_some() {
            return;
        }
        self.store.expire_paused = false;
        self.serve_postponed();
        if !self.upkeep.housekeeping.paused.is_empty()
            && self.shared.pause.begin_resuming(self.turn.slots.shards())
        {
            self.resume_next_held();
        }
    }

    /// Has the next of those go on that were held back. With several shards it is one: the next command draws its number, by which
    /// transactions have their order, when all have heard what the one before it wants.
    fn resume_next_held(&mut self) {
        let round = self.shared.pause.next_round(self.shared.pause.is_over());
        let mut shards: Vec<usize> = round.iter().map(|(_, shard, _)| *shard).collect();
        shards.sort_unstable();
        shards.dedup();
        self.shared.pause.held().outstanding = shards.len();
        let round = Arc::new(round);
        for shard in shards {
            self.ask_one(shard, ResumeHeld { round: round.clone() });
        }
    }

    /// Those of this shard that were told to have read their commands: what these want is on its way.
    pub(super) fn held_have_resumed(&mut self) {
        self.ask_all(Heard, |shard, _| {
            if shard.shared.pause.part_ends() {
                shard.resume_next_held();
            }
        });
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
    fn what_the_server_holds_back_outlasts_the_pauses_of_clients() {
        let pause = Pause::default();
        pause.hold_writes(Hold::Failover);
        pause.extend(100, Paused::All, 0);
        assert_eq!(pause.in_force(50), Some(Paused::All));
        pause.end();
        assert_eq!(pause.in_force(50), Some(Paused::Writes));
        assert_eq!(pause.in_force(i64::MAX), Some(Paused::Writes));
        pause.release(Hold::Failover);
        assert_eq!(pause.in_force(0), None);
    }

    #[test]
    fn those_that_are_held_go_on_in_the_order_in_which_they_came() {
        let pause = Pause::default();
        let token = |index| Token { index, generation: 0 };
        let tickets = [(0, 1), (1, 2), (1, 3), (0, 4)].map(|(shard, index)| pause.hold(shard, token(index)));
        assert!(pause.begin_resuming(2) && !pause.begin_resuming(2));
        assert_eq!(pause.next_round(true), [(tickets[0], 0, token(1))]);
        assert_eq!(pause.next_round(true), [(tickets[1], 1, token(2))]);
        // Another pause.
        assert_eq!(pause.next_round(false), []);
        assert!(!pause.is_resuming() && pause.begin_resuming(1));
        assert_eq!(pause.next_round(true), [(tickets[2], 1, token(3)), (tickets[3], 0, token(4))]);
        assert!(pause.is_resuming());
        assert_eq!(pause.next_round(true), []);
        assert!(!pause.is_resuming());
    }

    #[test]
    fn the_rounds_of_many_that_are_held_have_a_bound() {
        let pause = Pause::default();
        let count = ROUNDS_MAX as u32 * 5 / 2;
        for index in 0..count {
            pause.hold(index as usize % 3, Token { index, generation: 0 });
        }
        assert!(pause.begin_resuming(3));
        let rounds: Vec<Round> =
            std::iter::from_fn(|| Some(pause.next_round(true)).filter(|r| !r.is_empty())).collect();
        assert!(rounds.len() <= ROUNDS_MAX);
        let order: Vec<u32> = rounds.iter().flatten().map(|(_, _, token)| token.index).collect();
        assert_eq!(order, (0..count).collect::<Vec<_>>());
    }

    #[test]
    fn a_pause_may_be_as_long_as_numbers_go() {
        let pause = Pause::default();
        pause.extend(i64::MAX, Paused::Writes, 0);
        assert_eq!(pause.in_force(i64::MAX / 4), Some(Paused::Writes));
    }
}

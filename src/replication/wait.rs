//! WAIT and WAITAOF.
//!
//! A client waits for what it wrote: everything with a ticket below `ticket_end`. While that is not in the stream yet the order rests;
//! then it is an offset, and `Waiters` has it.
//!
//! This server's own disk: shards are asked in rounds to say when their logs are on the disk up to where they are now. When all have, so is
//! everything up to the offset that the stream had when the round began.

use std::collections::BTreeMap;
use std::time::Duration;

use super::core::Core;
use super::event::{Asked, WaitOrder};
use super::message::{Answer, ReplMessage};
use crate::repl::master::wait::{Acked, Request, Standing, Waiters};

#[derive(Default)]
pub struct Waiting {
    waiters: Waiters,
    asked: BTreeMap<u64, Asked>,
    /// Those whose writes are not in the stream yet.
    unplaced: Vec<(WaitOrder, Option<u64>)>,
    /// INFO and ROLE, for which what is shown is to be as of now.
    pub refresh: Vec<Asked>,
    round: Option<Round>,
    rounds: u64,
    /// The log is on the disk up to here.
    durable: u64,
    /// The last client that asked for this server's disk had a log to ask for.
    has_log: bool,
    /// A client has asked for this server's disk since the last round began.
    wants_round: bool,
}

struct Round {
    number: u64,
    missing: usize,
    /// Everything up to here is on the disk when it ends.
    offset: u64,
}

impl Core {
    pub fn wait(&mut self, order: WaitOrder) {
        let deadline_ms = order.timeout_ms.map(|ms| self.now_ms().saturating_add(ms));
        self.waiting.unplaced.push((order, deadline_ms));
    }

    /// The orders whose place in the stream has come.
    fn place_waits(&mut self, acks: &[Acked]) {
        let now_ms = self.now_ms();
        for (order, deadline_ms) in std::mem::take(&mut self.waiting.unplaced) {
            let is_late = deadline_ms.is_some_and(|deadline| deadline <= now_ms) || !order.may_block;
            let placed = self.feed.offset_of(order.ticket_end, self.writer.offset());
            let WaitOrder { asked, request, may_block, has_log, .. } = order;
            let offset = match placed {
                Some(offset) => offset,
                None if is_late => u64::MAX,
                None => {
                    self.waiting.unplaced.push((order, deadline_ms));
                    continue;
                }
            };
            let mut offset = offset;
            if let Request::Durable { local, .. } = request {
                self.waiting.has_log = has_log;
                if local > 0 && self.backlog.is_none() {
                    // Without a stream nothing is counted; so that this differs from what is on the disk already.
                    self.writer.skip();
                    offset = self.writer.offset();
                }
                self.waiting.wants_round |= has_log;
            }
            let standing = standing(acks, self.waiting.has_log, self.waiting.durable);
            let waiters = &mut self.waiting.waiters;
            match waiters.wait(asked.number, request, offset, deadline_ms, &standing, may_block) {
                Some(answer) => self.answer(asked, Answer::Wait(answer)),
                None => drop(self.waiting.asked.insert(asked.number, asked)),
            }
        }
    }

    /// Whether replicas have been asked for acknowledgements, since somebody waits.
    pub fn ask_for_acks(&mut self) -> bool {
        let acks = self.replicas.acks();
        if !self.waiting.unplaced.is_empty() {
            self.place_waits(&acks);
        }
        if self.waiting.waiters.is_empty() && !self.waiting.wants_round {
            return false;
        }
        self.begin_round();
        if self.failover.is_under_way() || acks.is_empty() || self.backlog.is_none() {
            return false;
        }
        let asks = self.waiting.waiters.take_request_for_acks();
        if asks {
            self.writer.ask_for_acks();
        }
        asks
    }

    fn begin_round(&mut self) {
        if self.waiting.round.is_some() || !std::mem::take(&mut self.waiting.wants_round) {
            return;
        }
        self.waiting.rounds += 1;
        let number = self.waiting.rounds;
        self.waiting.round = Some(Round { number, missing: self.shards, offset: self.writer.offset() });
        self.tell_all(|| ReplMessage::TellWhenSynced { round: number });
    }

    /// There is no log any more: those who wait for it wait in vain.
    pub fn log_is_off(&mut self) {
        self.waiting.round = None;
        self.waiting.has_log = false;
    }

    /// A shard's log is on the disk up to where it was when the round began.
    pub fn log_synced(&mut self, round: u64) {
        let Some(current) = self.waiting.round.as_mut().filter(|current| current.number == round) else {
            return;
        };
        current.missing = current.missing.saturating_sub(1);
        if current.missing == 0 {
            self.waiting.durable = self.waiting.durable.max(current.offset);
            self.waiting.round = None;
        }
    }

    /// Of a replica, for its master: up to where everything is on the disk; `None` without a log.
    pub fn durable(&self) -> Option<u64> {
        self.config.persistence.appendonly.then_some(self.waiting.durable)
    }

    /// The master wants to know more of it than is known.
    pub fn ask_own_disk(&mut self) {
        if self.config.persistence.appendonly && self.waiting.durable < self.writer.offset() {
            self.waiting.wants_round = true;
        }
    }

    /// The offsets so far are of data that are gone.
    pub fn forget_durable(&mut self) {
        self.waiting.round = None;
        self.waiting.durable = 0;
    }

    /// Those that have what they wait for, or have waited for long enough.
    pub fn answer_waits(&mut self) {
        if self.waiting.waiters.is_empty() {
            return;
        }
        let acks = self.replicas.acks();
        let standing = standing(&acks, self.waiting.has_log, self.waiting.durable);
        let now_ms = self.now_ms();
        let mut answers = self.waiting.waiters.satisfied(&standing);
        answers.extend(self.waiting.waiters.expired(now_ms, &standing));
        for (number, answer) in answers {
            if let Some(asked) = self.waiting.asked.remove(&number) {
                self.answer(asked, Answer::Wait(answer));
            }
        }
    }

    /// CLIENT UNBLOCK.
    pub fn end_wait(&mut self, asked: Asked) {
        let acks = self.replicas.acks();
        self.place_waits(&acks);
        let standing = standing(&acks, self.waiting.has_log, self.waiting.durable);
        if let Some(answer) = self.waiting.waiters.remove(asked.number, &standing) {
            self.waiting.asked.remove(&asked.number);
            self.answer(asked, Answer::Wait(answer));
        } else if let Some((order, deadline_ms)) =
            self.waiting.unplaced.iter_mut().find(|of| of.0.asked == asked)
        {
            // Its writes are not in the stream yet.
            order.may_block = false;
            *deadline_ms = Some(0);
        }
    }

    pub fn forget_wait(&mut self, asked: Asked) {
        self.waiting.unplaced.retain(|(order, _)| order.asked != asked);
        self.waiting.asked.remove(&asked.number);
        let standing = standing(&[], self.waiting.has_log, self.waiting.durable);
        self.waiting.waiters.remove(asked.number, &standing);
    }

    /// The server becomes a replica: offsets of its history mean nothing any more. Its shards have let these clients go.
    pub fn end_waits(&mut self) {
        self.waiting.waiters.drain();
        self.waiting.asked.clear();
        self.waiting.unplaced.clear();
    }

    /// When somebody has waited for long enough, from now.
    pub fn next_deadline(&self) -> Option<Duration> {
        let unplaced = self.waiting.unplaced.iter().filter_map(|(_, deadline_ms)| *deadline_ms).min();
        let failover = self.failover.deadline_ms(self.now_ms());
        let next =
            self.waiting.waiters.next_deadline_ms().into_iter().chain(unplaced).chain(failover).min()?;
        Some(Duration::from_millis(next.saturating_sub(self.now_ms())))
    }
}

fn standing(replicas: &[Acked], has_log: bool, durable: u64) -> Standing<'_> {
    Standing { replicas, durable: has_log.then_some(durable), is_replica: false }
}

//! Makes one stream out of what N shards did.
//!
//! A shard draws a *ticket* from one counter in each turn that has something to say, and its feed (`journal::feed`) brings exactly one
//! [`Batch`] for each ticket that it has drawn. So tickets have no holes: whoever is missing is only late, and a shard that says nothing
//! draws none and is waited for by nobody. Batches leave in ticket order.
//!
//! A transaction over several shards stands in the batch of its coordinator as a [`InBatch::Placeholder`], drawn while all its intents
//! were held. Its parts come from the shards that wrote ([`FeedPart`]), and the stream waits at the placeholder until all are here:
//!
//! ```text
//!   ticket      7            8                      9
//!   shard       1            0 (coordinator)        1
//!   batch       [SET a]      [INCR b, T5 {0, 1}]    [SET c]        parts of T5: from 0 [SET x], from 1 [SET y]
//!
//!   stream      SET a        INCR b  MULTI SET x SET y EXEC  SET c
//! ```
//!
//! Making a part never waits for the stream, so there is no deadlock. What waits here still counts in the feed's fill, by which new writes
//! are slowed down. A unit of more than one command is wrapped into MULTI and EXEC, a transaction's parts as one.
//!
//! The snapshot of a full synchronisation is cut behind a batch that is a mark: its replica needs the stream from exactly there
//! ([`Sequencer::offset_of_cut`]), and knows of no selected database.
//!
//! [`StreamWriter`] owns the offset and the selected database: every byte that it writes counts.

use std::collections::{HashMap, VecDeque};
use std::fmt;

use smallvec::SmallVec;

#[cfg(test)]
pub use super::writer::Fault;
pub use super::writer::StreamWriter;
use crate::journal::feed::{Batch, Delivery, Fed, FeedPart, InBatch, Load};
use crate::journal::{Number, Ticket, Unit, View};

/// A ticket further ahead than this of the next one to leave cannot have been drawn: writes had been slowed down long before.
const TICKETS_AHEAD_MAX: usize = 1 << 24;
/// Rounds of emission whose tickets can be turned into offsets exactly; an older ticket gets the offset of the oldest of them.
const ROUNDS_MAX: usize = 4096;
/// Cuts whose offset is known. A cut is asked for soon after it is made.
const CUTS_MAX: usize = 1024;

/// A shard broke the rules: the stream can no longer be trusted, and all replicas need a full synchronisation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Violation {
    /// A second batch for a ticket, or one from before the beginning, or from far in the future.
    Ticket { ticket: Ticket, shard: usize },
    /// A second part of one shard.
    Part { transaction: Number, shard: usize },
    /// A part of a shard that is no writer of the transaction.
    NoWriter { transaction: Number, shard: usize },
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Violation::Ticket { ticket, shard } => {
                write!(f, "shard {shard} brought a batch for the ticket {ticket}, which is taken")
            }
            Violation::Part { transaction, shard } => {
                write!(f, "shard {shard} brought two parts of the transaction {transaction}")
            }
            Violation::NoWriter { transaction, shard } => {
                write!(
                    f,
                    "shard {shard} brought a part of the transaction {transaction}, which it does not write"
                )
            }
        }
    }
}

/// What the stream stands at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Waiting {
    /// A ticket that has been drawn, for later ones are here.
    Batch(Ticket),
    Parts {
        transaction: Number,
        missing: SmallVec<[u16; 4]>,
    },
}

/// A ticket, and an offset at which everything up to it is in the stream.
#[derive(Clone, Copy, Debug)]
struct Mark {
    ticket: Ticket,
    offset: u64,
}

/// A part that is here.
#[derive(Debug)]
struct Part {
    shard: usize,
    unit: Unit,
    _load: Load,
}

type Parts = HashMap<Number, SmallVec<[Part; 2]>>;

#[derive(Debug)]
pub struct Sequencer {
    /// The next ticket to leave.
    next: Ticket,
    /// Batches from `next` on; `None`: drawn, but not here yet.
    window: VecDeque<Option<(Batch, Load)>>,
    /// Entries of the batch at the front that have left already.
    left_of_first: usize,
    /// Parts that are here, by their transactions.
    parts: Parts,
    /// One for each round of emission, and one for each cut, in the order of their tickets.
    rounds: VecDeque<Mark>,
    cuts: VecDeque<Mark>,
}

impl Sequencer {
    /// `first` is the first ticket that will come: that of the feed's reader.
    pub fn new(first: Ticket) -> Sequencer {
        Sequencer {
            next: first,
            window: VecDeque::new(),
            left_of_first: 0,
            parts: HashMap::new(),
            rounds: VecDeque::new(),
            cuts: VecDeque::new(),
        }
    }

    /// What a shard's feed brings, in any order.
    pub fn deliver(&mut self, delivery: Delivery) -> Result<(), Violation> {
        let Delivery { fed, load } = delivery;
        match fed {
            Fed::Batch(batch) => self.batch(batch, load),
            Fed::Part(part) => self.part(part, load),
        }
    }

    fn batch(&mut self, batch: Batch, load: Load) -> Result<(), Violation> {
        let violation = Violation::Ticket { ticket: batch.ticket, shard: batch.shard };
        let place = batch.ticket.checked_sub(self.next).ok_or(violation)?;
        let place = usize::try_from(place).map_err(|_| violation)?;
        if place >= TICKETS_AHEAD_MAX {
            return Err(violation);
        }
        if place >= self.window.len() {
            self.window.resize_with(place + 1, || None);
        }
        let Some(slot) = self.window.get_mut(place).filter(|slot| slot.is_none()) else {
            return Err(violation);
        };
        *slot = Some((batch, load));
        Ok(())
    }

    /// A part, before or after its placeholder.
    fn part(&mut self, part: FeedPart, load: Load) -> Result<(), Violation> {
        let FeedPart { transaction, shard, unit } = part;
        let parts = self.parts.entry(transaction).or_default();
        if parts.iter().any(|part| part.shard == shard) {
            return Err(Violation::Part { transaction, shard });
        }
        parts.push(Part { shard, unit, _load: load });
        Ok(())
    }

    /// Writes what can leave. `Err` when a shard broke the rules, at the place where it was noticed.
    pub fn emit(&mut self, out: &mut StreamWriter) -> Result<(), Violation> {
        let before = out.offset();
        let first = self.next;
        #[cfg(test)]
        if out.fault == Fault::PartOutside {
            for part in self.parts.values_mut().flatten() {
                out.unit(std::mem::take(&mut part.unit).view());
            }
        }
        let outcome = self.emit_batches(out);
        if self.next > first && out.offset() > before {
            keep(&mut self.rounds, ROUNDS_MAX, Mark { ticket: self.next - 1, offset: out.offset() });
        }
        outcome
    }

    fn emit_batches(&mut self, out: &mut StreamWriter) -> Result<(), Violation> {
        while let Some(Some((batch, _))) = self.window.front() {
            for entry in batch.entries().skip(self.left_of_first) {
                match entry {
                    InBatch::Unit(view) => out.unit(view),
                    InBatch::Placeholder { transaction, writers } => {
                        if !emit_transaction(&mut self.parts, transaction, writers, out)? {
                            return Ok(());
                        }
                    }
                }
                self.left_of_first += 1;
            }
            if batch.is_mark {
                out.forget_selected();
                keep(&mut self.cuts, CUTS_MAX, Mark { ticket: batch.ticket, offset: out.offset() });
            }
            self.window.pop_front();
            self.left_of_first = 0;
            self.next += 1;
        }
        Ok(())
    }

    /// What the stream stands at; `None` when nothing waits.
    pub fn waiting(&self) -> Option<Waiting> {
        let Some((batch, _)) = self.window.front()? else { return Some(Waiting::Batch(self.next)) };
        let Some(InBatch::Placeholder { transaction, writers }) = batch.entries().nth(self.left_of_first)
        else {
            return None;
        };
        let here = parts_of(&self.parts, transaction);
        let is_missing = |writer: &u16| !here.iter().any(|part| part.shard == usize::from(*writer));
        let missing = writers.iter().copied().filter(is_missing).collect();
        Some(Waiting::Parts { transaction, missing })
    }

    /// The next ticket to leave: what was drawn before it is in the stream.
    pub fn next_ticket(&self) -> Ticket {
        self.next
    }

    /// An offset at which all that was drawn up to `ticket` is in the stream, which may be somewhat more than needed; `None` when it
    /// is not in the stream yet. `now` is the stream's offset.
    pub fn offset_after(&self, ticket: Ticket, now: u64) -> Option<u64> {
        if ticket >= self.next {
            return None;
        }
        let index = self.rounds.partition_point(|round| round.ticket < ticket);
        Some(self.rounds.get(index).map_or(now, |round| round.offset))
    }

    /// The offset of the last byte that a snapshot has which was cut at `ticket`, exactly; `None` when the stream is not there yet, or
    /// long past it. It selects a database again from there on.
    pub fn offset_of_cut(&self, ticket: Ticket) -> Option<u64> {
        let index = self.cuts.partition_point(|cut| cut.ticket < ticket);
        self.cuts.get(index).filter(|cut| cut.ticket == ticket).map(|cut| cut.offset)
    }
}

fn keep(marks: &mut VecDeque<Mark>, max: usize, mark: Mark) {
    marks.push_back(mark);
    if marks.len() > max {
        marks.pop_front();
    }
}

fn parts_of(parts: &Parts, transaction: Number) -> &[Part] {
    parts.get(&transaction).map_or(&[][..], |parts| parts.as_slice())
}

/// Writes a transaction, if all its parts are here.
fn emit_transaction(
    parts: &mut Parts,
    transaction: Number,
    writers: &[u16],
    out: &mut StreamWriter,
) -> Result<bool, Violation> {
    let here = parts_of(parts, transaction);
    let is_writer = |part: &&Part| writers.iter().any(|writer| usize::from(*writer) == part.shard);
    if let Some(part) = here.iter().find(|part| !is_writer(part)) {
        return Err(Violation::NoWriter { transaction, shard: part.shard });
    }
    let part_of = |writer: &u16| here.iter().find(|part| part.shard == usize::from(*writer));
    let views: Vec<View> = writers.iter().filter_map(part_of).map(|part| part.unit.view()).collect();
    if views.len() < writers.len() {
        return Ok(false);
    }
    out.transaction(&views);
    parts.remove(&transaction);
    Ok(true)
}

#[cfg(test)]
#[path = "sequencer_tests.rs"]
mod tests;

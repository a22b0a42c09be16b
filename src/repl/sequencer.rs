//! Makes one stream out of what N shards did.
//!
//! A shard draws a *ticket* from one counter in each turn that has something to say, and brings exactly one [`Batch`] for each ticket
//! that it has drawn. So tickets have no holes: whoever is missing is only late, and a shard that says nothing draws none and is
//! waited for by nobody. Batches leave in ticket order.
//!
//! A transaction over several shards stands in the batch of its coordinator as a [`Entry::Placeholder`], drawn while all its intents
//! were held. Its parts come from the shards that wrote ([`Part`]), and the stream waits at the placeholder until all are here:
//!
//! ```text
//!   ticket      7            8                      9
//!   shard       1            0 (coordinator)        1
//!   batch       [SET a]      [INCR b, T5 {0, 1}]    [SET c]        parts of T5: from 0 [SET x], from 1 [SET y]
//!
//!   stream      SET a        INCR b  MULTI SET x SET y EXEC  SET c
//! ```
//!
//! Making a part never waits for the stream, so there is no deadlock; what waits here is bounded by slowing down new writes
//! ([`Sequencer::fill`]). A unit of more than one effect is wrapped into MULTI and EXEC, a transaction's parts as one.
//!
//! [`StreamWriter`] owns the offset and the selected database: every byte that it writes counts.

use std::collections::{HashMap, VecDeque};
use std::fmt;

use smallvec::SmallVec;

#[cfg(test)]
pub use super::writer::Fault;
pub use super::writer::{Effect, StreamWriter, Unit};

/// A ticket further ahead than this of the next one to leave cannot have been drawn: writes had been slowed down long before.
const TICKETS_AHEAD_MAX: usize = 1 << 24;

pub type Ticket = u64;
pub type TransactionNumber = u64;

/// Rounds of emission whose tickets can be turned into offsets exactly; an older ticket gets the offset of the oldest of them.
const MARKS_MAX: usize = 4096;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    Unit(Unit),
    /// A transaction over several shards has its place here. `writers` are the shards that will bring a [`Part`], in the order in which
    /// their parts are joined.
    Placeholder {
        transaction: TransactionNumber,
        writers: SmallVec<[usize; 4]>,
    },
}

impl Entry {
    fn memory_bytes(&self) -> usize {
        match self {
            Entry::Unit(unit) => unit.memory_bytes(),
            Entry::Placeholder { .. } => size_of::<Entry>(),
        }
    }
}

/// What a shard says with one ticket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    pub ticket: Ticket,
    pub shard: usize,
    /// May be empty: the ticket was drawn, and there is nothing to say after all.
    pub entries: Vec<Entry>,
}

/// A shard's part of a transaction that has a placeholder. May be empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    pub transaction: TransactionNumber,
    pub shard: usize,
    pub unit: Unit,
}

/// A shard broke the rules: the stream can no longer be trusted, and all replicas need a full synchronisation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Violation {
    /// A second batch for a ticket, or one from before the beginning, or from far in the future.
    Ticket { ticket: Ticket, shard: usize },
    /// A second part of one shard.
    Part { transaction: TransactionNumber, shard: usize },
    /// A part of a shard that is no writer of the transaction.
    NoWriter { transaction: TransactionNumber, shard: usize },
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
        transaction: TransactionNumber,
        missing: SmallVec<[usize; 4]>,
    },
}

/// A ticket up to which, with the others of its round, the stream had been written at an offset.
#[derive(Debug)]
struct Mark {
    ticket: Ticket,
    offset: u64,
}

#[derive(Debug)]
pub struct Sequencer {
    /// The next ticket to leave.
    next: Ticket,
    /// Batches from `next` on; `None`: drawn, but not here yet.
    window: VecDeque<Option<Batch>>,
    /// Entries of the batch at the front that have left already.
    left_of_first: usize,
    /// Parts that are here, by their transactions.
    parts: HashMap<TransactionNumber, SmallVec<[(usize, Unit); 2]>>,
    /// Bytes of all that waits here.
    fill: usize,
    fill_max: usize,
    marks: VecDeque<Mark>,
    /// Transactions that have left since the last [`Sequencer::take_left`].
    left: Vec<TransactionNumber>,
}

impl Sequencer {
    /// `first` is the first ticket that will be drawn. What waits should be less than `fill_max` bytes.
    pub fn new(first: Ticket, fill_max: usize) -> Sequencer {
        Sequencer {
            next: first,
            window: VecDeque::new(),
            left_of_first: 0,
            parts: HashMap::new(),
            fill: 0,
            fill_max,
            marks: VecDeque::new(),
            left: Vec::new(),
        }
    }

    /// Transactions that have left since the last call: what belongs to their parts is needed no longer.
    pub fn take_left(&mut self) -> Vec<TransactionNumber> {
        std::mem::take(&mut self.left)
    }

    /// Bytes that wait here.
    pub fn fill(&self) -> usize {
        self.fill
    }

    /// New writes are to wait. What is under way must still be taken.
    pub fn is_over(&self) -> bool {
        self.fill > self.fill_max
    }

    /// A batch, in any order.
    pub fn batch(&mut self, batch: Batch) -> Result<(), Violation> {
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
        self.fill += batch.entries.iter().map(Entry::memory_bytes).sum::<usize>();
        *slot = Some(batch);
        Ok(())
    }

    /// A part, before or after its placeholder.
    pub fn part(&mut self, part: Part) -> Result<(), Violation> {
        let Part { transaction, shard, unit } = part;
        let parts = self.parts.entry(transaction).or_default();
        if parts.iter().any(|(from, _)| *from == shard) {
            return Err(Violation::Part { transaction, shard });
        }
        self.fill += unit.memory_bytes();
        parts.push((shard, unit));
        Ok(())
    }

    /// Writes what can leave. `Err` when a shard broke the rules, at the place where it was noticed.
    pub fn emit(&mut self, out: &mut StreamWriter) -> Result<(), Violation> {
        self.emit_up_to(Ticket::MAX, out)
    }

    /// The same, up to and with the batch of the ticket `last`: a snapshot has just what was drawn so far.
    pub fn emit_up_to(&mut self, last: Ticket, out: &mut StreamWriter) -> Result<(), Violation> {
        let before = out.offset();
        let first = self.next;
        #[cfg(test)]
        if out.fault == Fault::PartOutside {
            for unit in self.parts.values_mut().flatten().map(|(_, unit)| unit) {
                out.units(&[&std::mem::take(unit)]);
            }
        }
        let outcome = self.emit_batches(last, out);
        if self.next > first && out.offset() > before {
            self.marks.push_back(Mark { ticket: self.next - 1, offset: out.offset() });
            if self.marks.len() > MARKS_MAX {
                self.marks.pop_front();
            }
        }
        outcome
    }

    fn emit_batches(&mut self, last: Ticket, out: &mut StreamWriter) -> Result<(), Violation> {
        while self.next <= last {
            let Some(Some(batch)) = self.window.front() else { break };
            while let Some(entry) = batch.entries.get(self.left_of_first) {
                match entry {
                    Entry::Unit(unit) => out.units(&[unit]),
                    Entry::Placeholder { transaction, writers } => {
                        let here = self.parts.get(transaction).map_or(&[][..], |parts| parts.as_slice());
                        if let Some((shard, _)) = here.iter().find(|(shard, _)| !writers.contains(shard)) {
                            return Err(Violation::NoWriter { transaction: *transaction, shard: *shard });
                        }
                        let part_of = |writer: &usize| here.iter().find(|(shard, _)| shard == writer);
                        let units: SmallVec<[&Unit; 4]> =
                            writers.iter().filter_map(part_of).map(|(_, unit)| unit).collect();
                        if units.len() < writers.len() {
                            return Ok(());
                        }
                        out.units(&units);
                        let bytes: usize = units.iter().map(|unit| unit.memory_bytes()).sum();
                        drop(units);
                        self.fill -= bytes.min(self.fill);
                        self.parts.remove(transaction);
                        self.left.push(*transaction);
                    }
                }
                self.fill -= entry.memory_bytes().min(self.fill);
                self.left_of_first += 1;
            }
            self.window.pop_front();
            self.left_of_first = 0;
            self.next += 1;
        }
        Ok(())
    }

    /// What the stream stands at; `None` when nothing waits.
    pub fn waiting(&self) -> Option<Waiting> {
        let Some(batch) = self.window.front()? else { return Some(Waiting::Batch(self.next)) };
        let Some(Entry::Placeholder { transaction, writers }) = batch.entries.get(self.left_of_first) else {
            return None;
        };
        let here = self.parts.get(transaction);
        let is_here = |shard: &usize| here.is_some_and(|parts| parts.iter().any(|(from, _)| from == shard));
        let missing = writers.iter().copied().filter(|shard| !is_here(shard)).collect();
        Some(Waiting::Parts { transaction: *transaction, missing })
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
        let index = self.marks.partition_point(|mark| mark.ticket < ticket);
        Some(self.marks.get(index).map_or(now, |mark| mark.offset))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unit(effects: &[(usize, &str)]) -> Unit {
        let mut unit = Unit::default();
        for (db, text) in effects {
            let args: Vec<&[u8]> = text.split(' ').map(str::as_bytes).collect();
            unit.push(*db, &args);
        }
        unit
    }

    fn batch(ticket: Ticket, shard: usize, entries: Vec<Entry>) -> Batch {
        Batch { ticket, shard, entries }
    }

    fn place(transaction: TransactionNumber, writers: &[usize]) -> Entry {
        Entry::Placeholder { transaction, writers: writers.into() }
    }

    fn set(key: &str) -> Entry {
        Entry::Unit(unit(&[(0, &format!("SET {key} 1"))]))
    }

    /// The stream, one command a word list.
    fn shown(bytes: &[u8]) -> Vec<String> {
        let text = String::from_utf8(bytes.to_vec()).unwrap();
        let mut lines = text.split("\r\n");
        let mut commands = Vec::new();
        while let Some(count) = lines.next().and_then(|line| line.strip_prefix('*')) {
            let mut words = Vec::new();
            for _ in 0..count.parse().unwrap() {
                let len: usize = lines.next().unwrap()[1..].parse().unwrap();
                let word = lines.next().unwrap();
                assert_eq!(word.len(), len);
                words.push(word);
            }
            commands.push(words.join(" "));
        }
        commands
    }

    fn run(sequencer: &mut Sequencer, out: &mut StreamWriter) -> Vec<String> {
        let before = out.offset();
        sequencer.emit(out).unwrap();
        let bytes = out.take();
        assert_eq!(out.offset() - before, bytes.len() as u64, "every byte counts");
        shown(&bytes)
    }

    fn new() -> (Sequencer, StreamWriter) {
        (Sequencer::new(1, 1000), StreamWriter::new(0, None))
    }

    #[test]
    fn batches_leave_in_the_order_of_their_tickets() {
        let (mut sequencer, mut out) = new();
        sequencer.batch(batch(3, 0, vec![set("c")])).unwrap();
        assert_eq!(sequencer.waiting(), Some(Waiting::Batch(1)));
        sequencer.batch(batch(1, 0, vec![set("a")])).unwrap();
        assert_eq!(run(&mut sequencer, &mut out), ["SELECT 0", "SET a 1"]);
        assert_eq!(sequencer.waiting(), Some(Waiting::Batch(2)));
        sequencer.batch(batch(2, 1, vec![set("b")])).unwrap();
        assert_eq!(run(&mut sequencer, &mut out), ["SET b 1", "SET c 1"]);
        assert_eq!((sequencer.waiting(), sequencer.fill(), sequencer.next_ticket()), (None, 0, 4));
    }

    #[test]
    fn an_empty_batch_holds_nobody_up() {
        let (mut sequencer, mut out) = new();
        sequencer.batch(batch(2, 1, vec![set("b")])).unwrap();
        sequencer.batch(batch(1, 0, vec![])).unwrap();
        assert_eq!(run(&mut sequencer, &mut out), ["SELECT 0", "SET b 1"]);
    }

    #[test]
    fn a_unit_of_several_effects_is_one_transaction() {
        let (mut sequencer, mut out) = new();
        let effects = [(0, "DEL x"), (0, "SET y 1")];
        sequencer.batch(batch(1, 0, vec![Entry::Unit(unit(&effects)), Entry::Unit(unit(&[]))])).unwrap();
        assert_eq!(run(&mut sequencer, &mut out), ["MULTI", "SELECT 0", "DEL x", "SET y 1", "EXEC"]);
    }

    #[test]
    fn a_database_is_selected_when_it_changes() {
        let (mut sequencer, mut out) = new();
        let of = |db, text| Entry::Unit(unit(&[(db, text)]));
        let entries = vec![of(0, "SET a 1"), of(0, "SET b 1"), of(9, "SET c 1"), of(0, "SET d 1")];
        sequencer.batch(batch(1, 0, entries)).unwrap();
        let expected = ["SELECT 0", "SET a 1", "SET b 1", "SELECT 9", "SET c 1", "SELECT 0", "SET d 1"];
        assert_eq!(run(&mut sequencer, &mut out), expected);
        out.forget_selected();
        sequencer.batch(batch(2, 0, vec![of(0, "SET e 1")])).unwrap();
        assert_eq!(run(&mut sequencer, &mut out), ["SELECT 0", "SET e 1"]);
        let swap = unit(&[(1, "COPY a b DB 2"), (2, "DEL b")]);
        sequencer.batch(batch(3, 0, vec![Entry::Unit(swap)])).unwrap();
        let expected = ["MULTI", "SELECT 1", "COPY a b DB 2", "SELECT 2", "DEL b", "EXEC"];
        assert_eq!(run(&mut sequencer, &mut out), expected);
    }

    #[test]
    fn a_transaction_stands_at_its_placeholder_as_one() {
        let (mut sequencer, mut out) = new();
        let part = |shard, text| Part { transaction: 5, shard, unit: unit(&[(0, text)]) };
        sequencer.part(part(1, "SET y 1")).unwrap();
        sequencer.batch(batch(3, 1, vec![set("c")])).unwrap();
        sequencer.batch(batch(1, 1, vec![set("a")])).unwrap();
        sequencer.batch(batch(2, 0, vec![set("b"), place(5, &[0, 1]), set("d")])).unwrap();
        assert_eq!(run(&mut sequencer, &mut out), ["SELECT 0", "SET a 1", "SET b 1"]);
        assert_eq!(
            sequencer.waiting(),
            Some(Waiting::Parts { transaction: 5, missing: SmallVec::from_slice(&[0]) })
        );
        assert_eq!(run(&mut sequencer, &mut out), [""; 0], "nothing leaves twice");
        sequencer.part(part(0, "SET x 1")).unwrap();
        let expected = ["MULTI", "SET x 1", "SET y 1", "EXEC", "SET d 1", "SET c 1"];
        assert_eq!(run(&mut sequencer, &mut out), expected);
        assert_eq!(sequencer.fill(), 0);
    }

    #[test]
    fn a_transaction_of_which_one_effect_is_left_needs_no_multi() {
        let (mut sequencer, mut out) = new();
        sequencer.batch(batch(1, 0, vec![place(5, &[0, 1]), place(6, &[]), place(7, &[1])])).unwrap();
        sequencer.part(Part { transaction: 5, shard: 1, unit: unit(&[]) }).unwrap();
        sequencer.part(Part { transaction: 5, shard: 0, unit: unit(&[(0, "DEL x")]) }).unwrap();
        sequencer.part(Part { transaction: 7, shard: 1, unit: unit(&[]) }).unwrap();
        assert_eq!(run(&mut sequencer, &mut out), ["SELECT 0", "DEL x"]);
        assert_eq!(sequencer.next_ticket(), 2);
    }

    #[test]
    fn who_breaks_the_rules_is_named() {
        let (mut sequencer, mut out) = new();
        assert_eq!(
            sequencer.batch(batch(0, 3, vec![])),
            Err(Violation::Ticket { ticket: 0, shard: 3 }),
            "before the beginning"
        );
        sequencer.batch(batch(2, 0, vec![])).unwrap();
        let again = Violation::Ticket { ticket: 2, shard: 1 };
        assert_eq!(sequencer.batch(batch(2, 1, vec![])), Err(again));
        let part = |shard| Part { transaction: 5, shard, unit: unit(&[(0, "SET x 1")]) };
        sequencer.part(part(0)).unwrap();
        assert_eq!(sequencer.part(part(0)), Err(Violation::Part { transaction: 5, shard: 0 }));
        sequencer.batch(batch(1, 0, vec![place(5, &[1])])).unwrap();
        assert_eq!(sequencer.emit(&mut out), Err(Violation::NoWriter { transaction: 5, shard: 0 }));
    }

    #[test]
    fn the_fill_is_what_waits() {
        let (mut sequencer, mut out) = new();
        sequencer
            .batch(batch(2, 0, vec![Entry::Unit(unit(&[(0, &format!("SET k {}", "v".repeat(2000)))]))]))
            .unwrap();
        assert!(sequencer.fill() > 2000 && sequencer.is_over());
        sequencer.batch(batch(1, 1, vec![])).unwrap();
        run(&mut sequencer, &mut out);
        assert_eq!((sequencer.fill(), sequencer.is_over()), (0, false));
    }

    #[test]
    fn a_ticket_is_turned_into_an_offset() {
        let (mut sequencer, mut out) = new();
        assert_eq!(sequencer.offset_after(0, 0), Some(0), "what was before the beginning");
        sequencer.batch(batch(1, 0, vec![set("a")])).unwrap();
        assert_eq!(sequencer.offset_after(1, 0), None);
        run(&mut sequencer, &mut out);
        let first = out.offset();
        assert_eq!(sequencer.offset_after(1, first), Some(first));
        sequencer.batch(batch(2, 0, vec![])).unwrap();
        run(&mut sequencer, &mut out);
        sequencer.batch(batch(3, 0, vec![set("b")])).unwrap();
        run(&mut sequencer, &mut out);
        assert_eq!(sequencer.offset_after(1, out.offset()), Some(first));
        assert_eq!(sequencer.offset_after(3, out.offset()), Some(out.offset()));
        for ticket in 4..4 + 2 * MARKS_MAX as u64 {
            sequencer.batch(batch(ticket, 0, vec![set("c")])).unwrap();
            run(&mut sequencer, &mut out);
        }
        let old = sequencer.offset_after(1, out.offset()).unwrap();
        assert!(old >= first && old <= out.offset(), "never too small");
        assert_eq!(sequencer.marks.len(), MARKS_MAX);
    }

    #[test]
    fn pings_and_requests_for_acks_count() {
        let mut out = StreamWriter::new(100, Some(2));
        out.ping();
        out.ask_for_acks();
        out.forward(b"*1\r\n$4\r\nPING\r\n");
        assert_eq!(out.offset(), 100 + 14 + 37 + 14);
        assert_eq!(shown(&out.take()), ["PING", "REPLCONF GETACK *", "PING"]);
        assert_eq!(out.selected(), Some(2));
    }
}

//! The journal of one shard: what commands did, in order, and who wants to know.
//!
//! ```text
//!  commands -> Journal --- unit or part ---> sinks: the append-only log
//!              collects, opens and closes           the feed of replication (`feed`)
//!              units and parts                      slots on their way elsewhere
//! ```
//!
//! A *unit* is what one command, one MULTI body or one transaction over shards did to this shard, the deletions of keys that it
//! found expired included. A command by itself is a unit as soon as it has run; a body when it ends; a shard's *part* of a
//! transaction when its intents are given back, which may be several steps later. Since no other command touches its keys
//! meanwhile, it changes nothing that the units of others come in front of it.
//!
//! Something else may wait for the end of a unit: what is *attached* to it (messages about what it does).
//!
//! Where no sink is, nothing is encoded. The room does no I/O and knows of no shard: `shard/journal.rs` has the sinks.

pub mod feed;
mod sink;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
mod tickets;
mod unit;

use std::collections::HashMap;

use crate::command::Args;

pub use sink::{Entry, Part, Sink, Wanted};
pub use tickets::{Ticket, Tickets};
pub use unit::{Command, Place, Slots, Unit, View};

/// The number of a transaction, as `txn` gives them: no two are equal.
pub type Number = u64;

/// A unit that is not complete.
#[derive(Debug)]
struct Open<A> {
    unit: Unit,
    attached: Vec<A>,
}

impl<A> Default for Open<A> {
    fn default() -> Open<A> {
        Open { unit: Unit::default(), attached: Vec::new() }
    }
}

/// A part that is complete, and what was attached to it.
#[derive(Debug)]
pub struct Ended<A> {
    pub unit: Unit,
    pub attached: Vec<A>,
}

#[derive(Debug)]
pub struct Journal<A> {
    wanted: Wanted,
    open: Open<A>,
    /// The commands that run now are a MULTI body or a script, whose unit ends with it.
    in_body: bool,
    /// The transaction whose part runs now, and its step.
    part: Option<(Number, u32)>,
    parts: HashMap<Number, Open<A>, foldhash::fast::RandomState>,
}

impl<A> Default for Journal<A> {
    fn default() -> Journal<A> {
        Journal {
            wanted: Wanted::default(),
            open: Open::default(),
            in_body: false,
            part: None,
            parts: HashMap::default(),
        }
    }
}

impl<A> Journal<A> {
    pub fn wanted(&self) -> Wanted {
        self.wanted
    }

    /// The sinks have changed. Where none wants units any more, those in progress are dropped; what was attached to them comes back.
    pub fn set_wanted(&mut self, wanted: Wanted) -> Vec<A> {
        self.wanted = wanted;
        if wanted.units {
            return Vec::new();
        }
        let Journal { open, parts, .. } = std::mem::replace(self, Journal { wanted, ..Journal::default() });
        std::iter::once(open).chain(parts.into_values()).flat_map(|open| open.attached).collect()
    }

    /// A command of the unit in progress.
    pub fn push(&mut self, place: Place, args: Args) {
        let wants_slots = self.wanted.slots;
        let step = self.part.map_or(0, |(_, step)| step);
        self.open_now().unit.push(Place { step, ..place }, args, wants_slots);
    }

    fn open_now(&mut self) -> &mut Open<A> {
        match self.part {
            Some((number, _)) => self.parts.entry(number).or_default(),
            None => &mut self.open,
        }
    }

    /// What runs now is part of a MULTI body or a script.
    pub fn is_in_body(&self) -> bool {
        self.in_body
    }

    /// The transaction whose part runs now.
    pub fn part(&self) -> Option<Number> {
        self.part.map(|(number, _)| number)
    }

    /// Attaches something to the unit in progress.
    pub fn attach(&mut self, attached: A) {
        self.open_now().attached.push(attached);
    }

    /// The unit of a command or body, if it is complete and has anything. To be followed by `forget_unit`.
    pub fn complete_unit(&self) -> Option<&Unit> {
        let is_complete = !self.in_body && self.part.is_none() && !self.open.unit.is_empty();
        is_complete.then_some(&self.open.unit)
    }

    pub fn forget_unit(&mut self) {
        self.open.unit.clear();
    }

    /// What was attached to a unit of this shard's own that is complete.
    #[inline]
    pub fn take_attached(&mut self) -> Vec<A> {
        if self.in_body || self.part.is_some() || self.open.attached.is_empty() {
            return Vec::new();
        }
        std::mem::take(&mut self.open.attached)
    }

    /// The commands until `end_body` are one unit. Returns what that is to be given: whether they are part of a unit anyway.
    pub fn begin_body(&mut self) -> bool {
        std::mem::replace(&mut self.in_body, true)
    }

    pub fn end_body(&mut self, is_inner: bool) {
        self.in_body = is_inner;
    }

    /// What has been done since `begin_body` becomes the beginning of a transaction's part.
    pub fn body_becomes_part(&mut self, number: Number) {
        self.in_body = false;
        if self.wanted.units {
            let open = std::mem::take(&mut self.open);
            self.parts.insert(number, open);
        }
    }

    /// A transaction goes on under another number.
    pub fn rename_part(&mut self, old: Number, number: Number) {
        if let Some(open) = self.parts.remove(&old) {
            self.parts.insert(number, open);
        }
    }

    /// What is done until `leave_part` is this shard's part of a transaction.
    pub fn enter_part(&mut self, number: Number, step: u32) {
        if self.wanted.units {
            self.part = Some((number, step));
        }
    }

    pub fn leave_part(&mut self) {
        self.part = None;
    }

    /// A transaction gives back its intents here: its part is complete.
    pub fn end_part(&mut self, number: Number) -> Ended<A> {
        let Open { unit, attached } = self.parts.remove(&number).unwrap_or_default();
        Ended { unit, attached }
    }
}

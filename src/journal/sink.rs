//! What the journal hands to its sinks, and what they ask of it.

use super::unit::Unit;
use super::Number;

/// A unit, on its way to the sinks.
#[derive(Clone, Copy, Debug)]
pub struct Entry<'a> {
    pub unit: &'a Unit,
    /// It is this shard's part of a transaction over shards. Then it may be empty.
    pub part: Option<Part<'a>>,
    /// Unix microseconds.
    pub now_us: i64,
}

#[derive(Clone, Copy, Debug)]
pub struct Part<'a> {
    pub transaction: Number,
    /// The shards that have a part of it, this one among them.
    pub writers: &'a [u16],
}

/// Takes units, in the order in which a shard made them.
pub trait Sink {
    fn append(&mut self, entry: &Entry);
}

/// What the sinks that there are ask for. Nothing is encoded for those that there are not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    pub units: bool,
    /// Units carry the slots of their keys.
    pub slots: bool,
    /// What is published, too.
    pub publications: bool,
}

//! The steps of transactions, as they travel between the shards, and what comes back.

use super::barrier::{BarrierAnswer, BarrierWork};
use crate::command::table::Wanted;
use crate::command::Caller;
use crate::resp::Protocol;
use crate::shard::remote_values::Outcome;
use crate::txn::locks::Number;
use crate::txn::message::{BlockedRun, Ending, OwnedCommand, RemoteValue, TransactionId, Use};

/// A step of a transaction, on one shard.
pub enum Work {
    /// Commands with the index of each in the transaction.
    Commands(Vec<(usize, OwnedCommand)>),
    /// Copies of what this command needs of the shard's keys.
    RemoteValues(OwnedCommand),
    /// Which keys this command will look up that it does not name.
    Reach(OwnedCommand),
    /// As `RemoteValues`, and what the command needs of these keys.
    CopyWanted(OwnedCommand, Vec<Wanted>),
    /// A command, with the foreign values that it needs.
    RunWithRemoteValues(usize, OwnedCommand, Vec<RemoteValue>),
    /// What the command changed of the lent keys, and used.
    WriteBack(Vec<RemoteValue>, Vec<Use>),
    /// What the command, run on excerpts, does to the shard's keys, and how it has used them.
    Apply(Vec<OwnedCommand>, Vec<Use>),
    Barrier(BarrierWork),
}

#[derive(Debug)]
pub enum WorkResult {
    Replies(Vec<(usize, Vec<u8>)>),
    Reached(Vec<Wanted>),
    Copied(Vec<RemoteValue>),
    /// The reply of a command that ran with loans, and how it blocked.
    RanWithRemoteValues {
        command: usize,
        reply: Vec<u8>,
        outcome: Outcome,
        blocked: Option<BlockedRun>,
    },
    WrittenBack,
    AtBarrier(BarrierAnswer),
}

pub struct Run {
    pub coordinator: usize,
    pub transaction: TransactionId,
    pub number: Number,
    /// How manieth step of the transaction it is.
    pub step: u32,
    pub caller: Caller,
    pub protocol: Protocol,
    pub work: Work,
    /// The last step on this shard: its intents end with it.
    pub ending: Option<Ending>,
}

//! Both sides of a transaction: the coordinator, which takes the steps (`coordinator`), and the participants, which hold intents
//! and run their parts (`participant`). The record that the coordinator keeps is in `record`, what it sends in `work`, what all shards do at a barrier in `barrier`;
//! `remote` has the steps of a command with values of other shards, `for_connection` those that need the client's connection. The protocol and why it is right are told in `txn/transactions.md`.

mod barrier;
mod coordinator;
mod for_connection;
mod instant;
mod participant;
mod record;
mod remote;
mod work;

use crate::shard::turn::TurnState;
use std::collections::HashMap;
use std::rc::Rc;

use crate::base::Stamp;
use crate::base::Token;
use crate::command::Caller;
use crate::resp::{Protocol, Reply};
use crate::shard::AWAKE_NANOS;
use crate::txn::guard::GuardedLocks;
use crate::txn::message::{ExecBody, Origin, OwnedCommand, TransactionId};
use crate::txn::participant::Participant;

pub(super) use barrier::{Answers, BarrierAnswer, BarrierWork, Phase};
pub(super) use participant::Ran;
pub(super) use record::Transaction;
pub use work::{Run, WorkResult};

/// With so many transactions under way a shard waits awake for the next message. With more there is always something to do soon, and
/// the core is better left to others.
const FEW: std::ops::RangeInclusive<usize> = 1..=3;

/// Something that runs on this shard alone, as soon as the intents in front of it are gone.
pub(super) enum Waiting {
    Command { shard: usize, origin: Origin, command: OwnedCommand, caller: Caller, protocol: Protocol },
    Exec { shard: usize, origin: Origin, body: Box<ExecBody> },
}

pub(super) struct Transactions {
    /// Shared with the store, which deletes no key by itself that a transaction holds.
    pub(super) locks: Rc<GuardedLocks>,
    /// Who waits behind the intents on this shard.
    pub(super) participant: Participant<Waiting>,
    /// While a connection's command runs inside a transaction: which one, and its index there.
    pub(super) inside: Option<(TransactionId, usize)>,
    pub(super) running: HashMap<TransactionId, Box<Transaction>, foldhash::fast::RandomState>,
    last: u64,
    /// When all shards stood still last, if that is not long ago.
    stood_still: Option<Stamp>,
}

impl Default for Transactions {
    fn default() -> Transactions {
        let locks = Rc::<GuardedLocks>::default();
        Transactions {
            participant: Participant::new(locks.clone()),
            locks,
            inside: None,
            running: HashMap::default(),
            last: 0,
            stood_still: None,
        }
    }
}

impl Transactions {
    pub(super) fn next_id(&mut self) -> TransactionId {
        self.last += 1;
        Token { index: self.last as u32, generation: (self.last >> 32) as u32 }
    }
}

impl Transactions {
    /// Whether the next message of a transaction comes soon: few are under way here, or all shards stand still for one, or did a
    /// moment ago. (A script that does not name its keys goes to and fro between shards for every call.)
    pub(super) fn expects_next_step(&mut self, turn: &TurnState) -> bool {
        if turn.slots.is_single() {
            return false;
        }
        if self.locks.is_wanted_whole() {
            self.stood_still = Some(Stamp::now());
        }
        let is_recent = |at: &Stamp| Stamp::now().nanos_since(*at) <= AWAKE_NANOS;
        self.stood_still = self.stood_still.filter(is_recent);
        self.stood_still.is_some() || FEW.contains(&self.locks.active())
    }
}

/// Where a reply that comes later belongs.
#[derive(Clone, Copy, Debug)]
pub enum Later {
    InPipeline(Origin),
    InTransaction(TransactionId, usize),
}

/// The bytes of a reply, large values copied in.
pub(super) fn flat(reply: &mut Reply) -> Vec<u8> {
    let (plain, shared) = reply.take_parts();
    if shared.is_empty() {
        return plain;
    }
    let mut bytes =
        Vec::with_capacity(plain.len() + shared.iter().map(|(_, value)| value.len()).sum::<usize>());
    let mut from = 0;
    for (offset, value) in shared {
        bytes.extend_from_slice(&plain[from..offset]);
        bytes.extend_from_slice(&value);
        from = offset;
    }
    bytes.extend_from_slice(&plain[from..]);
    bytes
}

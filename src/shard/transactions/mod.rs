//! Both sides of a transaction: the coordinator, which takes the steps (`coordinator`), and the participants, which hold intents
//! and run their parts (`participant`). The protocol and why it is right are told in `txn/transactions.md`.

mod coordinator;
mod participant;

use std::collections::HashMap;

use crate::command::Caller;
use crate::resp::{Protocol, Reply};
use crate::runtime::ring::Token;
use crate::txn::message::{ExecBody, Origin, OwnedCommand, TransactionId, Watch};
use crate::txn::transaction::Transaction;

/// Who is behind an entry of the lock queues that waits.
pub(super) enum Owner {
    /// A transaction; its coordinator is to be told.
    Coordinator {
        shard: usize,
        transaction: TransactionId,
        watch: Option<Watch>,
    },
    Waiting(Box<Waiting>),
}

/// Something that runs on this shard alone, as soon as the intents in front of it are gone.
pub(super) enum Waiting {
    Command { shard: usize, origin: Origin, command: OwnedCommand, caller: Caller, protocol: Protocol },
    Exec { shard: usize, origin: Origin, body: Box<ExecBody> },
}

#[derive(Default)]
pub(super) struct Transactions {
    running: HashMap<TransactionId, Box<Transaction>, foldhash::fast::RandomState>,
    last: u64,
    /// Those whose answers leave only when all is on the disk.
    confirming: HashMap<TransactionId, Confirming, foldhash::fast::RandomState>,
}

struct Confirming {
    /// Participants that have not confirmed yet.
    missing: usize,
    answer: Option<(Origin, Reply)>,
}

impl Transactions {
    fn expect_confirmations(&mut self, id: TransactionId, missing: usize) {
        if missing > 0 {
            self.confirming.insert(id, Confirming { missing, answer: None });
        }
    }

    fn expect_no_confirmations(&mut self, id: TransactionId) {
        self.confirming.remove(&id);
    }

    /// Keeps the answer until all participants have confirmed; gives it back when nothing has to be waited for.
    fn hold_answer(&mut self, id: TransactionId, origin: Origin, reply: Reply) -> Option<Reply> {
        match self.confirming.get_mut(&id) {
            Some(confirming) => {
                confirming.answer = Some((origin, reply));
                None
            }
            None => Some(reply),
        }
    }

    /// One participant has confirmed; the answer that may leave now.
    fn confirm(&mut self, id: TransactionId) -> Option<(Origin, Reply)> {
        let confirming = self.confirming.get_mut(&id)?;
        confirming.missing -= 1;
        if confirming.missing > 0 {
            return None;
        }
        // Each confirms behind its last step, so by now the answer is there.
        self.confirming.remove(&id)?.answer
    }

    fn next_id(&mut self) -> TransactionId {
        self.last += 1;
        Token { index: self.last as u32, generation: (self.last >> 32) as u32 }
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

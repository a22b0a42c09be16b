//! The messages between shards. Those from one shard to another arrive in the order they were sent.

use std::os::fd::OwnedFd;

use super::transactions::{Run, WorkResult};
use crate::base::Token;
use crate::runtime::listen;
use crate::txn::locks::{Number, Scope};
use crate::txn::message::{Ending, ExecBody, Origin, ReplyBatch, RequestBatch, TransactionId, Watch};

pub enum Message {
    Requests(Box<RequestBatch>),
    Replies(Box<ReplyBatch>),
    /// EXEC of a body that one other shard runs whole.
    Exec {
        coordinator: usize,
        origin: Origin,
        body: Box<ExecBody>,
    },
    Lock {
        coordinator: usize,
        transaction: TransactionId,
        number: Number,
        scope: Scope,
        watch: Option<Watch>,
    },
    /// A transaction that has run goes on as `number`, and wants the whole keyspace; it keeps what it holds as `old`.
    Strengthen {
        coordinator: usize,
        transaction: TransactionId,
        old: Number,
        number: Number,
    },
    Locked {
        from: usize,
        transaction: TransactionId,
        number: Number,
        /// None: it is refused. Else when the first of the watched keys expires here, Unix milliseconds.
        watch_until_ms: Option<i64>,
    },
    Run(Box<Run>),
    Ran {
        from: usize,
        transaction: TransactionId,
        result: WorkResult,
    },
    Release {
        number: Number,
        ending: Ending,
    },
    /// Parts of transactions on the receiver's log are released: there is something to look at in `log::parts`.
    PartsReleased,
    /// To a transaction's coordinator: what a participant had appended when it gave the intents back is released.
    Released {
        transaction: TransactionId,
    },
    /// About clients that wait in blocking commands.
    Blocking(Box<super::blocking::Notice>),
    /// A new connection for the target shard.
    Adopt(Adopted),
    /// Anything rare: runs on the target shard.
    Call(Call),
    /// The answer to question `ask` of the receiver.
    Answer {
        ask: Token,
        from: usize,
        value: Box<dyn std::any::Any + Send>,
    },
}

/// Something to run on a shard.
pub type Call = Box<dyn FnOnce(&mut super::Shard) + Send>;

/// An accepted socket.
#[derive(Debug)]
pub struct Adopted {
    pub socket: OwnedFd,
    /// Given out where connections are accepted, so that they are numbered in that order.
    pub id: u64,
    pub kind: listen::Kind,
}

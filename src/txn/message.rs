//! What travels between shards: requests and replies of a turn, and the pieces that transactions are made of.

use crate::base::Token;
use crate::command::table::{CommandSpec, Handler};
use crate::command::{Blocking, Caller};
use crate::resp::{Protocol, Text};
use crate::slots::SlotMap;
use crate::store::{Clock, Detached, WatchFlag};
use bytes::Bytes;
use smallvec::SmallVec;
use std::sync::atomic::AtomicUsize;
use std::sync::Arc;

pub use crate::command::{OwnedArgs, Slices};

/// A command that travels, or waits.
#[derive(Clone, Debug)]
pub struct OwnedCommand {
    pub spec: &'static CommandSpec,
    pub db: usize,
    pub args: OwnedArgs,
    /// It is not run, but answered by this error: EXEC finds that its user may not any more.
    pub denied: Option<Text>,
}

impl OwnedCommand {
    pub fn new(spec: &'static CommandSpec, db: usize, args: OwnedArgs) -> OwnedCommand {
        OwnedCommand { spec, db, args, denied: None }
    }

    /// Whether the client's own shard answers it without a look at keys.
    pub fn is_for_connection(&self) -> bool {
        matches!(self.spec.handler, Handler::Connection | Handler::Container) || self.denied.is_some()
    }

    /// The same command in the same database, to be given other arguments.
    pub fn without_args(&self) -> OwnedCommand {
        OwnedCommand::new(self.spec, self.db, OwnedArgs::default())
    }
}

/// A connection's request, to name its place in the pipeline when the reply comes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Origin {
    pub client: Token,
    pub place: u32,
}

/// One request in a batch; its arguments lie in the batch.
#[derive(Clone, Copy, Debug)]
pub struct BatchedRequest {
    pub origin: Origin,
    pub spec: &'static CommandSpec,
    pub db: usize,
    pub caller: Caller,
    pub protocol: Protocol,
    pub argument_count: usize,
}

/// The requests that one shard has for another after one turn.
#[derive(Debug, Default)]
pub struct RequestBatch {
    pub requests: Vec<BatchedRequest>,
    pub bytes: Vec<u8>,
    /// Lengths of all arguments, in order.
    pub lengths: Vec<usize>,
}

impl RequestBatch {
    pub fn push(&mut self, request: BatchedRequest, args: &[&[u8]]) {
        self.requests.push(request);
        for arg in args {
            self.bytes.extend_from_slice(arg);
            self.lengths.push(arg.len());
        }
    }

    pub fn clear(&mut self) {
        self.requests.clear();
        self.bytes.clear();
        self.lengths.clear();
    }
}

/// The replies of one turn: encoded one after the other.
#[derive(Debug, Default)]
pub struct ReplyBatch {
    pub plain: Vec<u8>,
    /// Large values, each in front of the plain byte at its offset.
    pub shared: Vec<(usize, Bytes)>,
    /// Whose reply ends where in `plain`, and how many of `shared` belong to it.
    pub replies: Vec<(Origin, usize, usize)>,
    /// Where the bytes of large ones are counted until they have been taken in, and how many.
    pub untaken: Option<(Arc<AtomicUsize>, usize)>,
}

impl ReplyBatch {
    pub fn clear(&mut self) {
        self.plain.clear();
        self.shared.clear();
        self.replies.clear();
        self.untaken = None;
    }
}

/// The coordinator's name for a transaction.
pub type TransactionId = Token;

/// The shards that may change something in a transaction: each of them logs a part of it.
pub type Writers = SmallVec<[u16; 4]>;

/// What a shard is to know when a transaction gives its intents back there.
#[derive(Debug, Default)]
pub struct Ending {
    /// Empty when the transaction has not run.
    pub writers: Writers,
    /// Nothing behind a part of it counts before all of its parts are safe, as far as `appendfsync` makes them so.
    pub is_awaited: bool,
    /// Whom to tell when what the transaction saw or did here counts.
    pub report_to: Option<(usize, TransactionId)>,
    /// Which keys of the shard it has used on another one.
    pub uses: Vec<Use>,
}

/// A MULTI body whose keys are all on the shard that gets it.
#[derive(Debug)]
pub struct ExecBody {
    pub commands: Vec<OwnedCommand>,
    pub watch: Option<Watch>,
    pub caller: Caller,
    pub protocol: Protocol,
}

/// Watched keys, and the flag that tells whether one of them has changed.
#[derive(Clone, Debug)]
pub struct Watch {
    pub flag: WatchFlag,
    pub keys: Vec<(usize, Vec<u8>)>,
}

impl Watch {
    /// With those of the keys that `shard` owns.
    pub fn of_shard(&self, shard: usize, slots: &SlotMap) -> Watch {
        let keys = self.keys.iter().filter(|(_, key)| slots.shard_of(key) == shard).cloned().collect();
        Watch { flag: self.flag.clone(), keys }
    }
}

/// A value lent to another shard, or coming back; `None`: no such key.
#[derive(Debug)]
pub struct RemoteValue {
    pub db: usize,
    pub key: Vec<u8>,
    pub value: Option<Detached>,
}

/// A lent key that was used and not changed.
#[derive(Debug)]
pub struct Use {
    pub db: usize,
    pub key: Vec<u8>,
    pub clock: Clock,
}

/// What a command has said that blocked, and the nanoseconds that it took.
pub type BlockedRun = (Box<Blocking>, u64);

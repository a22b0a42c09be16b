//! The messages between shards. Those from one shard to another arrive in the order they were sent.

use bytes::Bytes;

use std::fs::File;

use super::commands::config::ConfigChange;
use super::commands::migrate::Delivered;
use super::loading::{Done, Step};
use super::peers::Chore;
use super::pubsub::CountSubscriber;
use super::remote_output::{Allowed, Client};
use super::saving::message::SnapshotMessage;
use super::saving::ShutdownRequest;
use super::scatter::{AnyAnswer, Ask};
use super::scripts::BeginScript;
use super::slow::SlowEntry;
use super::tracking::Reader;
use super::transactions::{Later, Run, WorkResult};
use super::users::UserChange;
use crate::acl::{Context, Reason};
use crate::base::Token;
use crate::client::Redirect;
use crate::command::table::CommandSpec;
use crate::command::CommandError;
use crate::persist::aof::manifest::Manifest;
use crate::replication::ReplMessage;
use crate::resp::{Protocol, Reply};
use crate::store::{SlotSet, WatchFlag};
use std::os::fd::OwnedFd;

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
    /// To a transaction's coordinator: what its client would be sent is too much.
    ReplyOverLimits {
        transaction: TransactionId,
    },
    BeginScript(Box<BeginScript>),
    /// The reply to a command of the receiver's client, or of its transaction.
    Complete {
        later: Later,
        reply: Box<Reply>,
    },
    /// As `Complete`, for a command that changes settings.
    Finish {
        answer_to: AnswerTo,
        answer: Result<Answer, CommandError>,
    },
    /// A new connection for the target shard.
    Adopt(Adopted),
    Connections(ConnectionMessage),
    Subscribers(SubscriberMessage),
    Settings(SettingsMessage),
    Memory(MemoryMessage),
    /// A question, see `scatter`.
    Ask(Box<Ask>),
    /// The answer to question `ask` of the receiver.
    Answer {
        ask: Token,
        from: usize,
        answer: Box<AnyAnswer>,
    },
    Snapshot(Box<SnapshotMessage>),
    /// A signal has come.
    ShutDown(ShutdownRequest),
    /// What became of keys that MIGRATE has sent.
    Delivered(Box<Delivered>),
    Chore(Chore),
    Load(LoadMessage),
    Replication(Box<ReplMessage>),
    /// What a test does to a shard.
    #[cfg(test)]
    Call(Call),
}

impl Message {
    /// Bytes of requests and replies in it.
    pub(super) fn bytes(&self) -> usize {
        match self {
            Message::Requests(batch) => batch.bytes.len(),
            Message::Replies(batch) => batch.plain.len(),
            _ => 0,
        }
    }
}

/// About what a shard reads from files, at the start and when an AOF is loaded while it serves.
pub enum LoadMessage {
    /// At the start: load this; `done` is told what came of it, on the shard's thread.
    Begin { steps: Vec<Step>, done: Done },
    /// At the start: the log goes on in this file; `base_len` counts for its growth. `barrier`: all logs have this one in front.
    OpenLog { file: File, len: u64, base_len: u64, barrier: Option<Number>, done: Told },
    /// The logs that are replayed next are those of a shard that had these slots; `None`: of this one.
    ReplayFor { slots: Option<SlotSet>, done: Told },
    /// Everything is loaded.
    End { done: Told },
    /// To the leader: the logs that there are, which have begun.
    LogsHaveBegun(Box<Manifest>),
    /// To the shard that accepts: clients may come.
    AcceptAgain,
    /// A shard has come to a command of its log that it waits for the receiver with (`loading/rendezvous`).
    GuestHasCome { position: u64 },
    /// The command has run.
    RendezvousIsOver,
}

/// Called when a shard has done what it was told.
pub type Told = Box<dyn FnOnce() + Send>;

/// About a connection of the receiver.
pub enum ConnectionMessage {
    /// The ACL forbade a command of it.
    Denied { token: Token, reason: Reason, object: Vec<u8>, context: Context },
    /// A command of it was slow.
    WasSlow { token: Token, entry: Box<SlowEntry> },
    /// What it would be sent is too much.
    CloseOverLimits(Token),
    /// Which requests of a connection of the sender's may run.
    AllowRemoteRequests { client: Client, allowed: Allowed },
    /// A connection of the sender's has ended.
    ForgetRemoteRequests(Client),
}

/// About who is told of what others do.
pub enum SubscriberMessage {
    Count(CountSubscriber),
    /// There is something in the receiver's inbox.
    InboxFilled,
    /// A connection tracks no more.
    EndTracking {
        reader: Reader,
        prefixes: Vec<Box<[u8]>>,
    },
    /// The client that was to be told in place of the receiver's is gone.
    RedirectBroken {
        from: Reader,
        to: Redirect,
    },
    /// Lines for monitors.
    MonitorLines(Bytes),
    /// Some lines could not be sent to the receiver's monitors.
    CloseMonitors,
    /// Shard `home` has one monitor less.
    MonitorGone {
        home: usize,
    },
    /// A connection watches these keys no more.
    Unwatch {
        flag: WatchFlag,
        keys: Vec<(usize, Vec<u8>)>,
    },
}

/// To the shard where settings are changed, so that changes come one after the other.
pub enum SettingsMessage {
    ChangeConfig(Box<ConfigChange>),
    ChangeUsers { change: UserChange, answer_to: AnswerTo },
}

/// About memory that all shards share.
pub enum MemoryMessage {
    /// The receiver is to evict some keys, and to tell `home` when it has.
    Evict {
        home: usize,
    },
    Evicted {
        shard: usize,
    },
    /// What the receiver's thread holds for nothing is to be given back.
    Sweep,
}

macro_rules! into_message {
    ($($message:ident => $variant:ident),*) => {
        $(impl From<$message> for Message {
            fn from(message: $message) -> Message {
                Message::$variant(message)
            }
        })*
    };
}

into_message! {
    ConnectionMessage => Connections,
    SubscriberMessage => Subscribers,
    SettingsMessage => Settings,
    MemoryMessage => Memory,
    LoadMessage => Load
}

/// Where the answer to a command goes that is carried out on another shard.
#[derive(Clone, Copy)]
pub struct AnswerTo {
    pub home: usize,
    pub later: Later,
    pub spec: Option<&'static CommandSpec>,
    pub protocol: Protocol,
}

/// What such a command is answered.
#[derive(Clone, Copy)]
pub enum Answer {
    Ok,
    Count(usize),
}

/// Something to run on a shard.
#[cfg(test)]
pub type Call = Box<dyn FnOnce(&mut super::Shard) + Send>;

/// An accepted socket.
#[derive(Debug)]
pub struct Adopted {
    pub socket: OwnedFd,
    /// Given out where connections are accepted, so that they are numbered in that order.
    pub id: u64,
    pub kind: listen::Kind,
}

//! What shards, and threads, tell each other about snapshots and the append-only files.
//!
//! ```text
//!   any shard   -- Request --> leader -- at the barrier: begin_part --> each shard
//!   each shard  -- Report ---> leader:  Due, Begun, Ended (snapshot/mod.rs has the states), Durable
//!   leader      -- Order ----> each shard
//!   a thread    -- Done -----> leader
//! ```

use std::os::fd::OwnedFd;

use super::bases::Prepared;
use super::shutdown::ShutdownRequest;
use super::sync::FullSync;
use crate::base::text::Text;
use crate::config::SnapshotMethod;
use crate::persist::aof::Manifest;
use crate::persist::backup::Outcome;
use crate::rdb::file::FileChecksum;
use crate::resp::Reply;
use crate::shard::blocking::Asker;
use crate::shard::loading::Reload;
use crate::shard::message::{AnswerTo, Message};
use crate::shard::transactions::Later;
use crate::snapshot::{Begun, Written};
use crate::txn::message::{Origin, TransactionId};

/// Number of a job, given out by the leader.
pub type JobId = u64;

pub enum SnapshotMessage {
    Request(LeaderRequest),
    Report(PartReport),
    Order(ShardOrder),
    Done(ThreadReport),
}

/// To the leader.
pub enum LeaderRequest {
    Save(Asker),
    Bgsave {
        schedule: bool,
        method: Option<SnapshotMethod>,
        asker: Asker,
    },
    /// BGSAVE where nobody can wait for it to begin.
    ScheduleBgsave,
    Pipesave(Asker),
    /// DUMPSAVE; `socket` is the client's.
    Dumpsave {
        socket: OwnedFd,
        asker: Asker,
    },
    FullSync(Box<FullSync>),
    /// What stands in front of a full synchronisation's file: its bytes may flow.
    SendSync {
        job: JobId,
        before: Vec<u8>,
    },
    Bgrewriteaof(Asker),
    ScheduleRewrite,
    Shutdown(ShutdownRequest),
    AbortShutdown(Asker),
    Reload(Reload, Asker),
    LoadAof(Asker),
    /// `aof-disable-auto-gc` is off again.
    CollectHistory,
    /// `appendonly` has changed; `must_wait`: inside a transaction.
    SwitchAof {
        must_wait: bool,
    },
    /// OK is to be answered when an AOF that is being switched on has begun.
    AnswerWhenAofHasBegun(AnswerTo),
    /// FLUSHALL is to be answered when what was saved cannot come back.
    AnswerWhenFlushed(Box<FlushAnswer>),
    /// The disk has no room for the log of a shard.
    GiveWay,
    /// A log has lost what only a rewrite makes good.
    RepairLog,
}

/// A shard to the leader.
pub enum PartReport {
    /// It is past the cut, and waits to be told to fork.
    Due {
        job: JobId,
        shard: usize,
    },
    Begun {
        job: JobId,
        shard: usize,
        begun: Begun,
    },
    Ended {
        job: JobId,
        shard: usize,
        written: Written,
    },
    /// Its log is on the disk up to the cut.
    Durable {
        job: JobId,
    },
}

/// The leader to a shard.
pub enum ShardOrder {
    MayFork {
        job: JobId,
        at_us: i64,
    },
    /// A part is not wanted any more.
    Stop {
        job: JobId,
    },
    /// A snapshot that needs the disk has begun, or ended.
    SnapshotOnDisk(bool),
    CloseLog,
    /// The manifest names the shard's new base, of `len` bytes.
    BaseInstalled {
        len: u64,
    },
    /// The dump has ended, and its client's connection with it.
    DumpEnded(Later),
    /// What saved the keyspace is gone.
    Flushed(Box<FlushAnswer>),
    /// Writers need not wait for a disk any more.
    WritersMayGoOn,
}

/// A background thread to the leader.
pub enum ThreadReport {
    Joined {
        job: JobId,
        result: Result<(), Text>,
    },
    StreamEnded {
        job: JobId,
        outcome: Outcome,
    },
    /// The files of a rewrite's step are open.
    Prepared {
        shards: Vec<usize>,
        prepared: Result<Box<Prepared>, Text>,
    },
    BasesInstalled {
        job: JobId,
        shards: Vec<usize>,
        checksums: Vec<FileChecksum>,
        is_first: bool,
        installed: Result<Manifest, Text>,
    },
    FilesRemoved,
}

/// The answer to a transaction with FLUSHALL, which its coordinator gives later.
pub struct FlushAnswer {
    pub coordinator: usize,
    pub transaction: TransactionId,
    /// How many participants are to have released what they did.
    pub awaited: Option<usize>,
    pub home: usize,
    pub origin: Origin,
    pub reply: Reply,
}

macro_rules! into_message {
    ($($message:ident => $variant:ident),*) => {
        $(impl From<$message> for Message {
            fn from(message: $message) -> Message {
                Message::Snapshot(Box::new(SnapshotMessage::$variant(message)))
            }
        })*
    };
}

into_message! {
    LeaderRequest => Request,
    PartReport => Report,
    ShardOrder => Order,
    ThreadReport => Done
}

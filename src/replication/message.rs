//! What the task tells shards.

use std::os::fd::OwnedFd;

use super::follow::FollowMessage;
use super::replica::Master;
use crate::base::Token;
use crate::command::CommandError;
use crate::journal::feed::Bell;
use crate::repl::master::handshake::JobId;
use crate::repl::master::wait;

pub enum ReplMessage {
    /// To the leader: what all shards do is to be fed to the task from now on.
    BeginFeed(Bell),
    /// To the leader: the feed is needed no longer.
    EndFeed,
    /// To the leader.
    Snapshot(Box<SnapshotOrder>),
    /// To the leader: the bytes of its job may flow.
    SnapshotMayFlow(u64),
    /// The connection that was given away is over.
    CloseShell(Token),
    Answer {
        number: u64,
        answer: Answer,
    },
    /// To the leader: whom this server follows, for the configuration.
    Follows(Option<Master>),
    /// To shards of a replica.
    Follow(FollowMessage),
    /// To the leader: nothing is to be written for a while, and the task told when nothing is.
    HoldWrites {
        hold: Hold,
        round: u64,
    },
    /// To the leader: the end of that.
    LetWrites(Hold),
    /// New writes need not wait any more.
    WritersMayGoOn,
    /// To be answered when the log is on the disk up to where it is now.
    TellWhenSynced {
        round: u64,
    },
}

/// Why nothing is written for a while.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hold {
    Failover = 1,
}

/// To a command that has asked the task.
pub enum Answer {
    /// What was asked for has been done.
    Done,
    /// REPLICAOF the server that this one follows already.
    AlreadyConnected,
    Refused(CommandError),
    Wait(wait::Answer),
}

/// A snapshot that goes to replicas.
pub struct SnapshotOrder {
    pub job: JobId,
    /// Where its bytes go.
    pub socket: OwnedFd,
    pub content: Content,
    /// In the oldest version of RDB: a replica does not say that it reads newer ones.
    pub is_oldest: bool,
    pub bell: Bell,
    /// Of the file's header: `repl-id`, `repl-offset`, `repl-stream-db`.
    pub fields: Vec<(String, Vec<u8>)>,
}

/// What is in a snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Content {
    pub keys: bool,
    pub functions: bool,
}

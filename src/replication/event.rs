//! What the task is told.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Instant;

use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::Notify;

use super::follow::FollowEvent;
use super::message::Hold;
use super::replica::Order;
use crate::base::Token;
use crate::config::Config;
use crate::journal::feed::FeedReader;
use crate::journal::Ticket;
use crate::repl::failover;
use crate::repl::master::handshake::{JobId, ReplicaId};
use crate::repl::master::options::Options;
use crate::repl::master::wait;

/// Where an answer goes: to a command of a client of shard `home`, which knows it by the number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asked {
    pub home: usize,
    pub number: u64,
}

pub enum Event {
    /// SYNC or PSYNC: the connection is the task's from here on.
    Newcomer(Box<Newcomer>),
    Wait(WaitOrder),
    /// CLIENT UNBLOCK: the client gets what there is.
    EndWait(Asked),
    /// The client that waits is gone.
    ForgetWait(Asked),
    /// What INFO and ROLE show is to be as of now.
    Refresh(Asked),
    /// DEBUG CHANGE-REPL-ID.
    ChangeId,
    /// The configuration has changed.
    Configure {
        config: Arc<Config>,
        version: u64,
    },
    /// DEBUG SLEEP: the whole server does nothing.
    SleepUntil(Instant),
    /// REPLICAOF.
    ReplicaOf(Order),
    /// FAILOVER.
    Failover(Asked, failover::Command),
    /// No shard writes any more, as `ReplMessage::HoldWrites` wants it; what was written before has smaller tickets.
    WritesAreHeld {
        hold: Hold,
        round: u64,
        next: Ticket,
    },
    /// Of a shard, about what the follower has told it; what it says of a load that was given up counts nothing.
    Follow {
        load: u64,
        event: FollowEvent,
    },
    /// The feed of all shards begins.
    FeedBegan(FeedReader),
    Snapshot(JobId, SnapshotNews),
    /// A shard has no log, and is to have none: nothing will ever be on the disk.
    LogIsOff,
    /// A shard's log is on the disk up to where it was when it was asked, in this round.
    LogSynced {
        round: u64,
    },
}

/// The way to the task, from any thread; it never waits.
#[derive(Clone)]
pub struct Events {
    pub(super) sender: UnboundedSender<Event>,
    pub(super) woken: Arc<Notify>,
}

impl Events {
    /// After the task has ended, with the process, nobody hears it.
    pub fn tell(&self, event: Event) {
        let _ = self.sender.send(event);
        self.woken.notify_one();
    }
}

/// A connection that has asked for synchronisation, which has nothing more to send.
pub struct Newcomer {
    /// The client's id, which is the replica's too.
    pub id: ReplicaId,
    /// A descriptor of the connection of its own.
    pub socket: OwnedFd,
    pub options: Options,
    /// The other end, as host and port.
    pub peer: String,
    /// The whole command.
    pub args: Vec<Vec<u8>>,
    /// What came after it.
    pub input: Vec<u8>,
    /// The shard that keeps the connection's place in the list of clients, and which it is.
    pub home: usize,
    pub shell: Token,
}

/// WAIT and WAITAOF.
#[derive(Clone, Copy, Debug)]
pub struct WaitOrder {
    pub asked: Asked,
    pub request: wait::Request,
    /// Every write of the client has a smaller ticket. 0: it has not written.
    pub ticket_end: Ticket,
    /// Milliseconds from now. `None`: for ever.
    pub timeout_ms: Option<u64>,
    /// Not so in MULTI and in scripts.
    pub may_block: bool,
    pub has_log: bool,
}

/// What becomes of a snapshot.
pub enum SnapshotNews {
    /// The snapshot has what has at most this ticket. `job` is the leader's number of it.
    AtBarrier { job: u64, ticket: Ticket, reader: Option<FeedReader> },
    /// `bytes`: that the socket has taken.
    Ended { result: Result<(), String>, bytes: u64 },
    /// It is a file now, of so many bytes, or is none.
    InFile(Result<u64, String>),
}

//! What the task that owns replication asks of shards while this server follows another one, and what it is told.
//!
//! ```text
//!   task -- BecomeReplica, BecomeMaster --> leader       barrier: every shard has the new role
//!        -- Apply -----------------------> a shard      the commands of the master that are its to run, in order
//!        -- LoadAside -------------------> every shard  reads the snapshot into a second store beside the one that serves
//!        -- TakeOver --------------------> leader       barrier: every shard exchanges the two
//!        -- DropAside -------------------> every shard  the file was no good
//!        <- FollowEvent ------------------ each of them
//! ```

use std::path::PathBuf;
use std::sync::Arc;

use super::intake::Intake;
use crate::journal::feed::{Bell, FeedReader};
use crate::journal::Ticket;
use crate::rdb::file::Counts;
use crate::repl::replica::stream::{Item, WorkId};

/// How the task is told, on a shard's thread: it must not wait there.
pub type Told = Arc<dyn Fn(FollowEvent) + Send + Sync>;

pub enum FollowMessage {
    /// To the leader: from the barrier on, clients may not write, and nothing expires by itself.
    BecomeReplica {
        told: Told,
    },
    /// To the leader: the opposite. With a bell, what is done from the barrier on is fed to a reader, unless it is already.
    BecomeMaster {
        bell: Option<Bell>,
        told: Told,
    },
    /// Commands of the master. What several shards need goes to one of them, while none of them has other work.
    Apply {
        work: WorkId,
        items: Vec<Item>,
        told: Told,
    },
    LoadAside {
        source: AsideSource,
        told: Told,
    },
    /// More of the snapshot is there, or its end.
    GoOnLoading,
    DropAside,
    /// To the leader, when every shard has loaded the file.
    TakeOver {
        told: Told,
    },
}

/// Where a shard has the snapshot from.
pub enum AsideSource {
    File(PathBuf),
    /// The link, as it comes (`repl-diskless-load`).
    Link(Arc<Intake>),
}

pub enum FollowEvent {
    /// Everything that was done before as a master has a smaller ticket.
    IsReplica {
        next: Ticket,
    },
    IsMaster {
        reader: Option<FeedReader>,
    },
    Applied {
        work: WorkId,
    },
    /// What the shard has is not what the stream says: only a full synchronisation helps.
    ApplyFailed {
        work: WorkId,
    },
    LoadedAside {
        result: Result<AsideReport, String>,
    },
    TookOver,
}

/// What a shard has loaded, and what the file says of itself.
#[derive(Clone, Debug, Default)]
pub struct AsideReport {
    pub counts: Counts,
    /// The database that the stream has selected where the file was made (`repl-stream-db`).
    pub stream_db: Option<usize>,
}

//! Snapshots as a service: what the shard that leads decides about them. It does no I/O and knows of no shard: events come in, actions
//! go out (`shard/saving` carries them out).
//!
//! A *job* makes one snapshot of all shards, at one barrier, for one consumer: a file, bases of the append-only log, a command, a
//! client. Several jobs may be under way (`admission`). A shard's share of a job is its *part*.
//!
//! # A job
//!
//! | state | event | next state | actions |
//! | --- | --- | --- | --- |
//! | Waiting | room in the stores | Cutting | Cut |
//! | Cutting | a part is Due, and all others are due or begun | Cutting | Fork one of them |
//! | Cutting | the last part has Begun | Writing | Began |
//! | Cutting, Writing | a part Ended, and is whole | the same | PartWhole |
//! | Cutting, Writing | a part Ended, and is not | the same | Stop, the first time |
//! | Writing | all parts are whole, and the logs are durable up to the cut | Finishing | Finish |
//! | Writing | all parts have ended, one is not whole | Over, of a stream: Finishing | End |
//! | Writing | all parts are whole, but it gives way to logs that are not durable | Over | End |
//! | any | GiveUp, GiveWay | the same | Stop |
//! | Finishing | Finished | Over | End |
//!
//! A stream's relay works from the beginning and always says how it ended (`Finished`), maybe before the parts have: then Stop, and
//! End behind the last part.
//!
//! # Parts
//!
//! | stage | event | next stage |
//! | --- | --- | --- |
//! | Expected | Due: the shard is past the cut, its store keeps what changes, and a child is to go on with that | Due |
//! | Expected, Due, Forking | Begun | Writing |
//! | Due | (its turn has come) | Forking |
//! | Writing | Ended | Ended |

mod admission;
mod job;
#[cfg(test)]
mod tests;

pub use admission::{admit, Refusal};
pub use job::{Action, Begun, Event, Failed, Job, State, Totals, Whole, Written};

/// What a snapshot is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Purpose {
    /// BGSAVE and the save points.
    Background,
    /// SAVE.
    Foreground,
    /// A new base for the logs of some shards.
    Rewrite,
    /// PIPESAVE.
    Pipe,
    /// DUMPSAVE, and SYNC.
    Dump,
    /// A replica's full synchronisation.
    FullSync,
}

impl Purpose {
    /// Whether it is a stream, which needs no disk.
    pub fn is_stream(self) -> bool {
        matches!(self, Purpose::Pipe | Purpose::Dump | Purpose::FullSync)
    }

    /// What the log calls it.
    pub fn name(self) -> &'static str {
        match self {
            Purpose::Background | Purpose::Foreground => "Background saving",
            Purpose::Rewrite => "Background append only file rewriting",
            Purpose::Pipe => "Background pipesave",
            Purpose::Dump => "Background dumpsave",
            Purpose::FullSync => "Background full resynchronisation",
        }
    }
}

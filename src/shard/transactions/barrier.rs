//! What shards do at a barrier: an instant at which no transaction over shards is half done.
//!
//! ```text
//!   coordinator   Here ----> Each ------------------------------> Here, with the answers of all shards ----> ...
//!                             | BarrierWork      ^ BarrierAnswer
//!   every shard               +--- does it ------+    all at once, in several turns if need be, or one after the other
//! ```

use std::sync::Arc;

use crate::persist::aof::{Folder, Manifest};
use crate::rdb::file::FileChecksum;
use crate::shard::journal::MadeFeeds;
use crate::shard::loading::Reload;
use crate::shard::saving::SnapshotCut;
use crate::shard::Shard;
use crate::txn::locks::Number;

/// What every shard does at a barrier.
#[derive(Clone)]
pub enum BarrierWork {
    /// Its part of this snapshot begins.
    BeginPart(Arc<SnapshotCut>),
    /// Its part of this snapshot is written at once.
    WritePart(Arc<SnapshotCut>),
    /// Its log ends.
    EndLog,
    /// It loads the RDB file anew, in several turns.
    LoadRdb(Reload),
    /// It loads its log anew, in several turns.
    LoadLog(Arc<(Folder, Manifest)>),
    /// Its feed of replication begins, unless there is one.
    AttachFeed(MadeFeeds),
    DetachFeed,
    /// The server's role changes.
    BecomeReplica,
    BecomeMaster,
    /// What was loaded beside its keys takes their place.
    ExchangeStores,
}

/// What came of it.
#[derive(Debug, Default)]
pub enum BarrierAnswer {
    /// The shard has not answered.
    #[default]
    None,
    Done,
    /// Whether it succeeded; what went wrong is in the log.
    Outcome(bool),
    /// A part that was written at once.
    Written(Result<FileChecksum, String>),
}

impl BarrierAnswer {
    pub fn failed(&self) -> bool {
        matches!(self, BarrierAnswer::Outcome(false) | BarrierAnswer::Written(Err(_)) | BarrierAnswer::None)
    }
}

/// The answers of all shards, in their order.
pub type Answers = Vec<BarrierAnswer>;

/// What the coordinator does at a barrier, with the answers of the phase before; whether the barrier is never left again.
pub type AtCoordinator = Box<dyn FnOnce(&mut Shard, Answers) -> bool>;

/// As `AtCoordinator`; tells what follows.
pub type Decision = Box<dyn FnOnce(&mut Shard, Answers) -> Vec<Phase>>;

/// What happens while no transaction over shards is half done.
pub enum Phase {
    /// Every shard does this, all at the same time.
    Each(BarrierWork),
    /// One shard after the other does this, and goes on as soon as it is done. The last phase, if there is one like it.
    InTurn(BarrierWork),
    /// The coordinator does this.
    Here(AtCoordinator),
    /// The coordinator decides what follows. The last phase, if there is one like it.
    Decide(Decision),
}

impl Phase {
    pub fn here(run: impl FnOnce(&mut Shard, Answers) -> bool + 'static) -> Phase {
        Phase::Here(Box::new(run))
    }
}

impl Shard {
    /// Does what every shard does at the barrier `number`. `None`: it takes several turns, and `done` is called at the end.
    pub(super) fn do_barrier_work(
        &mut self,
        work: BarrierWork,
        number: Number,
        done: impl FnOnce(&mut Shard, BarrierAnswer) + Send + 'static,
    ) -> Option<BarrierAnswer> {
        let loaded = |shard: &mut Shard, is_loaded| done(shard, BarrierAnswer::Outcome(is_loaded));
        match work {
            BarrierWork::BeginPart(cut) => self.begin_part(&cut, number),
            BarrierWork::WritePart(cut) => {
                return Some(BarrierAnswer::Written(self.write_part_at_once(&cut)));
            }
            BarrierWork::EndLog => return Some(BarrierAnswer::Outcome(self.end_log().is_ok())),
            BarrierWork::LoadRdb(options) => {
                self.load_rdb_in_turns(options, loaded);
                return None;
            }
            BarrierWork::LoadLog(files) => {
                self.load_log_in_turns(&files.0, &files.1, loaded);
                return None;
            }
            BarrierWork::AttachFeed(made) => self.attach_feed(&made),
            BarrierWork::DetachFeed => self.detach_feed(),
            BarrierWork::BecomeReplica => self.become_replica_here(),
            BarrierWork::BecomeMaster => self.become_master_here(),
            BarrierWork::ExchangeStores => self.exchange_with_aside(),
        }
        Some(BarrierAnswer::Done)
    }
}

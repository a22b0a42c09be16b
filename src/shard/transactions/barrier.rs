//! What shards do at a barrier: an instant at which no transaction over shards is half done.
//!
//! ```text
//!   coordinator   Here ----> Each ------------------------------> Here, with the answers of all shards ----> ...
//!                             | BarrierWork      ^ BarrierAnswer
//!   every shard               +--- does it ------+    all at once, in several turns if need be, or one after the other
//! ```

use std::sync::Arc;

use super::record::{Barrier, Step, Transaction};
use super::work::Work;
use crate::base::Token;
use crate::command::table::KeyAccess;
use crate::persist::aof::{Folder, Manifest};
use crate::rdb::file::FileChecksum;
use crate::shard::journal::MadeFeeds;
use crate::shard::loading::Reload;
use crate::shard::saving::SnapshotCut;
use crate::shard::Shard;
use crate::txn::locks::Number;
use crate::txn::message::{Origin, TransactionId};
use crate::txn::plan::Scopes;

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

/// Of the phase of a barrier that has ended.
fn answers_of(t: &mut Transaction) -> Answers {
    t.barrier.as_mut().map_or_else(Answers::new, |barrier| std::mem::take(&mut barrier.answers))
}

impl Shard {
    /// Goes through `phases` while no transaction over shards is half done. With `access` to read, reads go on meanwhile.
    pub(in crate::shard) fn at_barrier(
        &mut self,
        access: KeyAccess,
        phases: impl IntoIterator<Item = Phase>,
    ) {
        let mut scopes = Scopes::default();
        scopes.add_whole(self.turn.slots.all(), access);
        // No client's: nobody is answered.
        let origin = Origin { client: Token { index: u32::MAX, generation: u32::MAX }, place: 0 };
        let barrier = Some(Barrier { phases: phases.into_iter().collect(), turn: 0, answers: Vec::new() });
        self.start(Transaction { barrier, ..Transaction::new(Vec::new(), scopes, origin) });
    }

    /// The next phase of a barrier. Phases that wait for answers leave some outstanding.
    pub(super) fn advance_barrier(&mut self, id: TransactionId, t: &mut Transaction) {
        let shards = self.turn.slots.shards();
        while t.outstanding == 0 {
            let Some(phase) = t.barrier.as_mut().and_then(|barrier| barrier.phases.pop_front()) else {
                return;
            };
            t.step = Step::WritingBack;
            match phase {
                Phase::Here(run) => {
                    let answers = answers_of(t);
                    t.outstanding += usize::from(run(self, answers));
                }
                Phase::Decide(decide) => {
                    let phases = decide(self, answers_of(t));
                    if let Some(barrier) = &mut t.barrier {
                        barrier.phases.extend(phases);
                    }
                }
                Phase::Each(work) => {
                    for shard in 0..shards {
                        self.step(id, t, shard, Work::Barrier(work.clone()), false);
                    }
                }
                Phase::InTurn(work) => {
                    let Some(barrier) = &mut t.barrier else { return };
                    let shard = barrier.turn;
                    barrier.turn += 1;
                    let is_last_phase = barrier.phases.is_empty();
                    if barrier.turn < shards {
                        barrier.phases.push_front(Phase::InTurn(work.clone()));
                    }
                    self.step(id, t, shard, Work::Barrier(work), is_last_phase);
                }
            }
        }
    }

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

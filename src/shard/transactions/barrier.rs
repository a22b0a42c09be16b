//! What this server's shards do at a barrier (`crate::txn::barrier`).

use std::sync::Arc;

use super::record::Transaction;
use super::work::Work;
use crate::base::Token;
use crate::command::table::KeyAccess;
use crate::persist::aof::{Folder, Manifest};
use crate::rdb::file::FileChecksum;
use crate::shard::journal::MadeFeeds;
use crate::shard::loading::Reload;
use crate::shard::saving::SnapshotCut;
use crate::shard::Shard;
use crate::txn::barrier::{self, Next};
use crate::txn::locks::Number;
use crate::txn::message::{Origin, TransactionId};
use crate::txn::plan::Scopes;
use crate::txn::step::Step;

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
pub struct Decision(Decide);

type Decide = Box<dyn FnOnce(&mut Shard, Answers) -> Vec<Phase>>;

pub type Phase = barrier::Phase<BarrierWork, AtCoordinator, Decision>;
pub type Barrier = barrier::Barrier<BarrierWork, BarrierAnswer, AtCoordinator, Decision>;

impl Phase {
    pub fn here(run: impl FnOnce(&mut Shard, Answers) -> bool + 'static) -> Phase {
        Phase::Here(Box::new(run))
    }

    pub fn decide(decide: impl FnOnce(&mut Shard, Answers) -> Vec<Phase> + 'static) -> Phase {
        Phase::Decide(Decision(Box::new(decide)))
    }
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
        let barrier = Some(Barrier::new(phases));
        self.start(Transaction { barrier, ..Transaction::new(Vec::new(), scopes, origin) });
    }

    /// The next phase of a barrier. Phases that wait for answers leave some outstanding.
    pub(super) fn advance_barrier(&mut self, id: TransactionId, t: &mut Transaction) {
        let shards = self.turn.slots.shards();
        while !t.intents.is_waiting() {
            let Some(next) = t.barrier.as_mut().and_then(|barrier| barrier.next(shards)) else { return };
            t.step = Step::Commands;
            match next {
                Next::Here(run, answers) => {
                    if run(self, answers) {
                        t.intents.begin_waiting();
                    }
                }
                Next::Decide(Decision(decide), answers) => {
                    let phases = decide(self, answers);
                    if let Some(barrier) = &mut t.barrier {
                        barrier.go_on_with(phases);
                    }
                }
                Next::Each(work) => {
                    for shard in 0..shards {
                        self.step(id, t, shard, Work::Barrier(work.clone()), false);
                    }
                }
                Next::At { shard, work, is_last } => {
                    self.step(id, t, shard, Work::Barrier(work), is_last);
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

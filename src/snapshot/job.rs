//! One snapshot, as the shard that leads knows it: see the tables in `mod.rs`.

use smallvec::SmallVec;

use super::Purpose;
use crate::rdb::file::FileChecksum;

/// What a shard tells when it has begun with its part.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Begun {
    /// Of the child that writes it.
    pub pid: Option<i32>,
    pub fork_us: Option<u64>,
    pub keys: u64,
    /// Its count of changes at the cut.
    pub changes: u64,
}

/// A part that is whole: how long it is, with its checksum, and the memory that was copied meanwhile.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Whole {
    pub checksummed: FileChecksum,
    pub copied_bytes: u64,
}

/// Why a part is not whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failed {
    /// It could not begin.
    Fork(String),
    Killed(i32),
    /// It could not be written.
    Write(String),
}

pub type Written = Result<Whole, Failed>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// The shards' stores keep what changes for another job.
    Waiting,
    /// The barrier is on its way, or parts wait to be forked.
    Cutting,
    Writing,
    /// The parts become what was asked for.
    Finishing,
    Over,
}

/// Whether what it makes is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Wanted,
    /// Not any more: its end is no failure.
    GivenUp,
    /// It has been stopped, to leave its space on the disk to the logs: that is one.
    GivesWay,
}

#[derive(Debug)]
enum Stage {
    /// The shard is not at the cut yet.
    Expected,
    Due,
    Forking,
    Writing,
    Ended(Written),
}

#[derive(Debug)]
struct ShardState {
    stage: Stage,
    /// A shard may be at the cut and write nothing.
    is_written: bool,
    /// The shard's store keeps what changes.
    holds_store: bool,
}

#[derive(Clone, Debug)]
pub enum Event {
    /// The stores keep nothing for another job.
    StoresFree,
    Due(usize),
    Begun(usize, Begun),
    Ended(usize, Written),
    /// A shard's log is on the disk up to the cut.
    Durable,
    GiveUp,
    GiveWay,
    /// What `Finish` has asked for, or a stream's relay, has ended well, or not.
    Finished(bool),
}

#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// The barrier.
    Cut,
    /// A shard is to fork, at once or after a pause in which it answers what has waited.
    Fork {
        shard: usize,
        pause: bool,
    },
    /// Every shard has begun.
    Began,
    PartWhole {
        shard: usize,
        len: u64,
    },
    /// No part is wanted any more.
    Stop,
    /// All parts are whole.
    Finish(Vec<FileChecksum>),
    /// Nothing more comes.
    End {
        ok: bool,
    },
}

pub type Actions = SmallVec<[Action; 2]>;

/// Sums over the shards.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    pub begun: usize,
    pub keys: u64,
    pub changes: u64,
    /// Of the first child.
    pub pid: Option<i32>,
    /// The longest fork.
    pub fork_us: u64,
}

#[derive(Debug)]
pub struct Job {
    pub purpose: Purpose,
    state: State,
    fate: Fate,
    parts: Vec<ShardState>,
    /// Logs that are not on the disk up to the cut.
    undurable: usize,
    /// How a stream's relay has ended, before the parts.
    finished: Option<bool>,
    is_stopped: bool,
    /// The last shard that began had forked.
    has_just_forked: bool,
    pub totals: Totals,
}

impl Job {
    /// `writes`: which shards write a part.
    pub fn new(purpose: Purpose, writes: impl IntoIterator<Item = bool>) -> Job {
        let part = |is_written| ShardState { stage: Stage::Expected, is_written, holds_store: is_written };
        let parts: Vec<ShardState> = writes.into_iter().map(part).collect();
        Job {
            purpose,
            state: State::Waiting,
            fate: Fate::Wanted,
            undurable: if purpose == Purpose::Rewrite { parts.len() } else { 0 },
            parts,
            finished: None,
            is_stopped: false,
            has_just_forked: false,
            totals: Totals::default(),
        }
    }

    pub fn state(&self) -> State {
        self.state
    }

    pub fn is_given_up(&self) -> bool {
        self.fate == Fate::GivenUp
    }

    /// Whether it takes room on the disk that it could give to the logs.
    pub fn may_give_way(&self) -> bool {
        self.fate == Fate::Wanted && !self.purpose.is_stream() && self.state != State::Over
    }

    /// Whether some shard's store keeps, or may soon keep, what changes for it.
    pub fn holds_stores(&self) -> bool {
        !matches!(self.state, State::Waiting | State::Over) && self.parts.iter().any(|part| part.holds_store)
    }

    /// How the parts have ended that have.
    pub fn ended(&self) -> impl Iterator<Item = &Written> {
        self.parts.iter().filter(|part| part.is_written).filter_map(|part| match &part.stage {
            Stage::Ended(written) => Some(written),
            _ => None,
        })
    }

    pub fn on(&mut self, event: Event) -> Actions {
        let mut actions = Actions::new();
        match event {
            Event::StoresFree if self.state == State::Waiting => {
                self.state = State::Cutting;
                actions.push(Action::Cut);
            }
            Event::StoresFree => {}
            Event::Due(shard) => self.set_stage(shard, Stage::Due),
            Event::Begun(shard, begun) => self.begun(shard, begun, &mut actions),
            Event::Ended(shard, written) => self.part_ended(shard, written, &mut actions),
            Event::Durable => self.undurable = self.undurable.saturating_sub(1),
            Event::GiveUp => {
                self.fate = Fate::GivenUp;
                self.stop(&mut actions);
            }
            Event::GiveWay => {
                self.fate = Fate::GivesWay;
                self.stop(&mut actions);
            }
            Event::Finished(ok) => {
                self.finished = Some(ok);
                if !ok && matches!(self.state, State::Cutting | State::Writing) {
                    self.stop(&mut actions);
                }
            }
        }
        self.go_on(&mut actions);
        actions
    }

    fn set_stage(&mut self, shard: usize, stage: Stage) {
        if let Some(part) = self.parts.get_mut(shard) {
            part.stage = stage;
        }
    }

    fn begun(&mut self, shard: usize, begun: Begun, actions: &mut Actions) {
        let totals = &mut self.totals;
        totals.begun += 1;
        totals.keys += begun.keys;
        totals.changes += begun.changes;
        totals.pid = totals.pid.or(begun.pid);
        totals.fork_us = totals.fork_us.max(begun.fork_us.unwrap_or(0));
        self.has_just_forked = begun.fork_us.is_some();
        let Some(part) = self.parts.get_mut(shard) else { return };
        // A child has its own copy of what its shard's store keeps.
        part.holds_store &= begun.pid.is_none();
        part.stage = if part.is_written { Stage::Writing } else { Stage::Ended(Ok(Whole::default())) };
        if totals.begun == self.parts.len() && self.state == State::Cutting {
            self.state = State::Writing;
            actions.push(Action::Began);
        }
    }

    fn part_ended(&mut self, shard: usize, written: Written, actions: &mut Actions) {
        match &written {
            Ok(whole) => actions.push(Action::PartWhole { shard, len: whole.checksummed.len }),
            // The others' work is for nothing.
            Err(_) => self.stop(actions),
        }
        if let Some(part) = self.parts.get_mut(shard) {
            part.holds_store = false;
            part.stage = Stage::Ended(written);
        }
    }

    fn stop(&mut self, actions: &mut Actions) {
        if self.state == State::Waiting {
            // No shard, and no relay, knows of it.
            self.state = State::Over;
            actions.push(Action::End { ok: false });
        } else if !std::mem::replace(&mut self.is_stopped, true) {
            actions.push(Action::Stop);
        }
    }

    fn go_on(&mut self, actions: &mut Actions) {
        match self.state {
            State::Cutting => self.fork_next(actions),
            State::Writing => self.finish_if_ready(actions),
            State::Finishing => self.end_if_finished(actions),
            State::Waiting | State::Over => {}
        }
    }

    /// Has the next shard fork, unless one is at it or has not come to the cut.
    fn fork_next(&mut self, actions: &mut Actions) {
        let is_early = |part: &ShardState| matches!(part.stage, Stage::Expected | Stage::Forking);
        if self.parts.iter().any(is_early) {
            return;
        }
        let due = self.parts.iter().position(|part| matches!(part.stage, Stage::Due));
        if let Some(shard) = due {
            self.set_stage(shard, Stage::Forking);
            actions.push(Action::Fork { shard, pause: self.has_just_forked });
        }
    }

    fn finish_if_ready(&mut self, actions: &mut Actions) {
        let stage = |part: &ShardState| match &part.stage {
            Stage::Ended(Ok(whole)) => Some(Some(whole.checksummed)),
            Stage::Ended(Err(_)) => Some(None),
            _ => None,
        };
        let Some(ended): Option<Vec<Option<FileChecksum>>> = self.parts.iter().map(stage).collect() else {
            return;
        };
        let whole: Option<Vec<FileChecksum>> = ended.into_iter().collect();
        match whole.filter(|_| self.fate != Fate::GivenUp && self.finished.is_none()) {
            Some(checksums) if self.undurable == 0 => {
                self.state = State::Finishing;
                actions.push(Action::Finish(checksums));
            }
            // The bases are in the way of the logs that they wait for.
            Some(_) if self.fate == Fate::GivesWay => self.end(false, actions),
            Some(_) => {}
            None if self.purpose.is_stream() => {
                self.state = State::Finishing;
                self.end_if_finished(actions);
            }
            None => self.end(false, actions),
        }
    }

    fn end_if_finished(&mut self, actions: &mut Actions) {
        if let Some(ok) = self.finished {
            self.end(ok, actions);
        }
    }

    fn end(&mut self, ok: bool, actions: &mut Actions) {
        self.state = State::Over;
        actions.push(Action::End { ok });
    }
}

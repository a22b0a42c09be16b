//! The coordinator's record of one transaction: what it holds, what it runs next, what has been answered.

use std::collections::VecDeque;
use std::sync::Arc;

use smallvec::SmallVec;

use super::barrier::{Answers, Phase};
use crate::acl::User;
use crate::command::Caller;
use crate::resp::Protocol;
use crate::shard::scripts::Run;
use crate::store::WaitNumber;
use crate::txn::locks::{Number, Scope};
use crate::txn::message::{
    BlockedRun, Ending, Origin, OwnedCommand, RemoteValue, TransactionId, Use, Watch, Writers,
};
use crate::txn::plan::{Join, Plan, Scopes, ShardArgs};

#[derive(Debug)]
pub struct Participant {
    pub shard: usize,
    pub scope: Scope,
    /// Its Locked has not come yet.
    pub awaited: bool,
    /// Its intents have been given back, with its last step.
    pub released: bool,
    /// The transaction has run there already, and keeps what it holds while it waits for more.
    pub kept: bool,
}

/// What the answers of the step in progress are for.
#[derive(Debug)]
pub enum Step {
    Locking,
    /// Whole commands; each reply has its own place.
    Commands,
    /// The parts of command `command`.
    Parts {
        command: usize,
        parts: Vec<ShardArgs>,
        join: Join,
        replies: Vec<(usize, Vec<u8>)>,
    },
    /// The home shard finds out which keys command `command` will look up.
    Reaching {
        command: usize,
        home: usize,
    },
    /// RemoteValues for command `command` are on their way to the coordinator.
    Copying {
        command: usize,
        home: usize,
        remote_values: Vec<RemoteValue>,
    },
    /// The home shard runs with its loans.
    WithRemoteValues,
    /// Owners take back what changed.
    WritingBack,
}

/// A transaction that holds intents on the whole keyspace of every shard, for its phases.
pub struct Barrier {
    pub phases: VecDeque<Phase>,
    /// Whose turn is next in a phase that goes from shard to shard.
    pub turn: usize,
    /// Of the phase in progress, or the last one.
    pub answers: Answers,
}

pub struct Transaction {
    pub origin: Origin,
    pub caller: Caller,
    pub protocol: Protocol,
    pub number: Number,
    pub participants: SmallVec<[Participant; 4]>,
    pub watch: Option<Watch>,
    /// When the first of the watched keys expires that were there when they were locked, Unix milliseconds.
    pub watch_until_ms: i64,
    pub commands: Vec<OwnedCommand>,
    /// Of each, where it runs, if that has been found out and stays so.
    pub plans: Vec<Option<Plan>>,
    /// The next command to run.
    pub next: usize,
    /// Encoded, one for each command.
    pub replies: Vec<Vec<u8>>,
    /// Bytes of all that have come.
    pub reply_bytes: usize,
    pub step: Step,
    /// Answers that the step in progress still waits for.
    pub outstanding: usize,
    /// How many steps it has taken.
    pub steps: u32,
    /// It has its place among what replicas get.
    pub is_placed: bool,
    /// A MULTI body: the reply is an array of the commands' replies.
    pub is_exec: bool,
    /// Of a MULTI body: the user by whose rights its commands have been looked at.
    pub user: Option<Arc<User>>,
    /// Runs a blocked client's command again, of this number.
    pub waiter: Option<WaitNumber>,
    /// Copied keys that have been used, whose owners hear of it when they get the intents back.
    pub uses: Vec<(usize, Use)>,
    /// The command has blocked.
    pub blocked: Option<BlockedRun>,
    /// It is no client's command, but this.
    pub barrier: Option<Barrier>,
    /// There are logs: its answer waits until everything is safe in them.
    pub is_awaited: bool,
    /// The shard that serves the client.
    pub home: Option<usize>,
    /// The script that one of the commands is, and which; calls of it come behind the commands.
    pub script: Option<(usize, Box<Run>)>,
}

fn participants(scopes: Scopes) -> SmallVec<[Participant; 4]> {
    let participant =
        |(shard, scope)| Participant { shard, scope, awaited: false, released: false, kept: false };
    scopes.by_shard.into_iter().map(participant).collect()
}

impl Transaction {
    /// One that has taken no step yet.
    pub fn new(commands: Vec<OwnedCommand>, scopes: Scopes, origin: Origin) -> Transaction {
        Transaction {
            origin,
            caller: Caller::default(),
            protocol: Protocol::Resp2,
            number: 0,
            participants: participants(scopes),
            watch: None,
            watch_until_ms: i64::MAX,
            replies: vec![Vec::new(); commands.len()],
            reply_bytes: 0,
            commands,
            plans: Vec::new(),
            next: 0,
            step: Step::Locking,
            outstanding: 0,
            steps: 0,
            is_placed: false,
            is_exec: false,
            user: None,
            waiter: None,
            uses: Vec::new(),
            blocked: None,
            barrier: None,
            is_awaited: false,
            home: None,
            script: None,
        }
    }

    /// It is to hold these intents too; it keeps those that it holds.
    pub fn hold_also(&mut self, scopes: Scopes) {
        let held = std::mem::replace(&mut self.participants, participants(scopes));
        for participant in &mut self.participants {
            participant.kept = held.iter().any(|held| held.shard == participant.shard);
        }
        self.step = Step::Locking;
    }

    /// Whether it waits for more than it holds, after it has run.
    pub fn reaches_further(&self) -> bool {
        self.participants.iter().any(|participant| participant.kept)
    }

    /// It is to hold these intents, in place of those that it held.
    pub fn hold(&mut self, scopes: Scopes) {
        self.participants = participants(scopes);
        self.step = Step::Locking;
    }

    /// A command has been looked at, and is not run yet. What concerns every shard goes by how much there is when it runs.
    pub fn keep_plan(&mut self, command: usize, plan: Plan) {
        if let (Some(place), false) = (self.plans.get_mut(command), matches!(plan, Plan::EveryShard { .. })) {
            *place = Some(plan);
        }
    }

    /// A command in progress answers later.
    pub fn begin_waiting(&mut self) {
        self.step = Step::Commands;
        self.outstanding += 1;
    }

    /// What `shard` is to know when it gets its intents back.
    pub fn ending(&mut self, shard: usize, coordinator: usize, id: TransactionId) -> Ending {
        let uses = self.uses.extract_if(.., |(owner, _)| *owner == shard).map(|(_, used)| used).collect();
        let writes = |p: &&Participant| p.scope.writes();
        let writers: Writers = match self.barrier {
            // What a barrier does is logged by itself.
            Some(_) => Writers::new(),
            None => self.participants.iter().filter(writes).map(|p| p.shard as u16).collect(),
        };
        // One that has blocked has no answer yet that might wait.
        let is_answered = self.is_awaited && self.blocked.is_none();
        let report_to = is_answered.then_some((coordinator, id));
        Ending { writers, is_awaited: self.is_awaited, report_to, uses }
    }
}

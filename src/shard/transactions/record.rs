//! The coordinator's record of one transaction: what it holds, what it runs next, what has been answered.

use std::sync::Arc;

use super::barrier::Barrier;
use crate::acl::User;
use crate::command::Caller;
use crate::resp::Protocol;
use crate::shard::scripts::Run;
use crate::store::WaitNumber;
use crate::txn::coordinator::Coordination;
use crate::txn::message::{BlockedRun, Ending, Origin, OwnedCommand, TransactionId, Use, Watch, Writers};
use crate::txn::plan::{Plan, Scopes};
use crate::txn::step::Step;

pub struct Transaction {
    pub origin: Origin,
    pub caller: Caller,
    pub protocol: Protocol,
    /// What it has asked for and holds.
    pub intents: Coordination,
    pub watch: Option<Watch>,
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

impl Transaction {
    /// One that has taken no step yet.
    pub fn new(commands: Vec<OwnedCommand>, scopes: Scopes, origin: Origin) -> Transaction {
        Transaction {
            origin,
            caller: Caller::default(),
            protocol: Protocol::Resp2,
            intents: Coordination::new(scopes),
            watch: None,
            replies: vec![Vec::new(); commands.len()],
            reply_bytes: 0,
            commands,
            plans: Vec::new(),
            next: 0,
            step: Step::Commands,
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

    /// A command has been looked at, and is not run yet. What concerns every shard goes by how much there is when it runs.
    pub fn keep_plan(&mut self, command: usize, plan: Plan) {
        if let (Some(place), false) = (self.plans.get_mut(command), matches!(plan, Plan::EveryShard { .. })) {
            *place = Some(plan);
        }
    }

    /// A command in progress answers later.
    pub fn begin_waiting(&mut self) {
        self.step = Step::Commands;
        self.intents.begin_waiting();
    }

    /// What `shard` is to know when it gets its intents back.
    pub fn ending(&mut self, shard: usize, coordinator: usize, id: TransactionId) -> Ending {
        let uses = self.uses.extract_if(.., |(owner, _)| *owner == shard).map(|(_, used)| used).collect();
        let writers: Writers = match self.barrier {
            // What a barrier does is logged by itself.
            Some(_) => Writers::new(),
            None => self.intents.writers(),
        };
        // One that has blocked has no answer yet that might wait.
        let is_answered = self.is_awaited && self.blocked.is_none();
        let report_to = is_answered.then_some((coordinator, id));
        Ending { writers, is_awaited: self.is_awaited, report_to, uses }
    }
}

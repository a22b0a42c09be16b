//! Clients that wait in a blocking command: how they begin, and all the ways in which it ends but the one that they
//! wait for, which is in `serve` (the shard that owns the keys) and `rerun` (the client's own, when the keys are on several).
//! `blocking.md` tells the whole.
//!
//! A wait has a number, and a record on exactly one shard: where all its keys are, or else the client's home. Only that shard
//! ends it, so that an element and a timeout never both become the reply. The home knows where the record is, in the
//! connection, and nothing else.

mod rerun;
mod serve;

use std::collections::{BTreeSet, HashMap};

use super::message::Message;
use super::transactions::Later;
use super::Shard;
use crate::client::{Connection, Flag, Suspension, WaitingAt};
use crate::command::table::{CommandSpec, KeyPositions};
use crate::command::{BlockTimeout, Caller, CommandError, WaitFor};
use crate::repl::master::wait;
use crate::replication::{Asked, Event, WaitOrder};
use crate::resp::{Protocol, Reply};
use crate::runtime::clock;
use crate::store::{QueuePosition, ReadyKey, WaitNumber};
use crate::txn::message::{BlockedRun, Origin, OwnedArgs, OwnedCommand};

/// Why a wait ends without what it was for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Its time is up, or CLIENT UNBLOCK says so.
    Timeout,
    /// CLIENT UNBLOCK ERROR
    Error,
    /// This server follows another one from now on.
    RoleChanged,
    /// Nobody is left to hear the answer.
    Gone,
}

/// Who asked for CLIENT UNBLOCK and is to be told whether it did anything.
#[derive(Clone, Copy, Debug)]
pub struct Asker {
    pub home: usize,
    pub later: Later,
}

/// What shards tell each other about waits.
#[derive(Debug)]
pub enum Notice {
    /// To the home of a client: its command waits there.
    Parked { origin: Origin, at: WaitingAt },
    /// To an owner: a client of another shard waits for these keys. Comes while the client's transaction still holds them.
    Enter { db: usize, keys: Vec<Vec<u8>>, number: WaitNumber, place: QueuePosition },
    /// To an owner: it waits no more.
    Leave { db: usize, keys: Vec<Vec<u8>>, number: WaitNumber },
    /// To the home: the key is ready, and it is this client's turn. Answered with `Leave` or `Declined`.
    Offer { from: usize, key: Vec<u8>, number: WaitNumber },
    /// To an owner: the command found nothing after all and waits on.
    Declined { db: usize, key: Vec<u8>, number: WaitNumber },
    /// To where the record is: the client is gone.
    Gone { number: WaitNumber },
    /// The same: CLIENT UNBLOCK.
    Unblock { number: WaitNumber, end: End, asker: Asker },
}

struct Waiter {
    home: usize,
    origin: Origin,
    deadline_us: Option<i64>,
    wait: Wait,
}

enum Wait {
    Keys(Box<KeyWait>),
    /// WAIT. The record is at home.
    Replicas(&'static CommandSpec),
}

struct KeyWait {
    command: OwnedCommand,
    caller: Caller,
    protocol: Protocol,
    /// In the command's database, each once.
    keys: Vec<Vec<u8>>,
    /// The command's keys are on several shards.
    remote: Option<Remote>,
}

/// The state of a wait for keys of several shards.
#[derive(Default)]
struct Remote {
    /// The command is being run again.
    running: bool,
    /// Owners that hold a key back until it has run.
    offers: Vec<(usize, Vec<u8>)>,
    /// What wanted to end the wait meanwhile; the first one does, if the command still waits then.
    ends: Vec<(End, Option<Asker>)>,
}

#[derive(Default)]
pub(super) struct Blocked {
    waiters: HashMap<WaitNumber, Waiter, foldhash::fast::RandomState>,
    /// Unix microseconds.
    deadlines: BTreeSet<(i64, WaitNumber)>,
    /// This shard's connections that wait, wherever the records are.
    pub clients: usize,
    /// Ready keys that cannot be served now: a transaction holds them, or clients are paused.
    postponed: Vec<ReadyKey>,
}

impl Blocked {
    /// When the next wait ends by itself, Unix microseconds.
    pub fn next_deadline_us(&self) -> Option<i64> {
        self.deadlines.first().map(|(at_us, _)| *at_us)
    }

    pub fn deadlines(&self) -> usize {
        self.deadlines.len()
    }

    fn add(&mut self, number: WaitNumber, waiter: Waiter) {
        if let Some(at_us) = waiter.deadline_us {
            self.deadlines.insert((at_us, number));
        }
        self.waiters.insert(number, waiter);
    }
}

impl KeyWait {
    /// The command has blocked anew: what it runs with next time.
    fn block_again(&mut self, (blocking, nanos): BlockedRun) {
        self.caller.spent_nanos = nanos;
        if let Some(args) = blocking.again {
            let args: Vec<&[u8]> = args.iter().map(Vec::as_slice).collect();
            self.command.args = OwnedArgs::from_slices(&args);
        }
    }
}

/// Whether the command with these arguments may wait: then requests behind it must not overtake it.
pub(super) fn may_block(spec: &CommandSpec, args: &[&[u8]]) -> bool {
    use crate::command::table::Flag;
    // What looks like the option may be the name of a key: that costs a little time.
    spec.is(Flag::Blocking)
        && (!spec.is(Flag::BlocksByOption) || args.iter().any(|arg| arg.eq_ignore_ascii_case(b"block")))
}

// The beginning.
impl Shard {
    /// A command of one of this shard's connections, which is in the caller's hands, has run here and blocked.
    pub(super) fn block_connection(&mut self, c: &mut Connection, command: OwnedCommand, run: BlockedRun) {
        let origin = c.reserve();
        let (caller, protocol) = (self.turn.caller_of(c), c.output.reply.protocol());
        let at = self.park(self.id, origin, command, caller, protocol, run);
        self.note_waiting(c, at);
    }

    /// As `block_connection`, for a command that came as a message or has waited for intents.
    pub(super) fn block_origin(
        &mut self,
        home: usize,
        origin: Origin,
        command: OwnedCommand,
        caller: Caller,
        protocol: Protocol,
        run: BlockedRun,
    ) {
        let at = self.park(home, origin, command, caller, protocol, run);
        if home == self.id {
            self.parked(origin, at);
        } else {
            self.notify(home, Notice::Parked { origin, at });
        }
    }

    /// Makes the record of a command whose keys are all here.
    fn park(
        &mut self,
        home: usize,
        origin: Origin,
        command: OwnedCommand,
        caller: Caller,
        protocol: Protocol,
        run: BlockedRun,
    ) -> WaitingAt {
        self.record(home, origin, command, caller, protocol, run, None)
    }

    #[allow(clippy::too_many_arguments)]
    fn record(
        &mut self,
        home: usize,
        origin: Origin,
        command: OwnedCommand,
        caller: Caller,
        protocol: Protocol,
        run: BlockedRun,
        remote: Option<Remote>,
    ) -> WaitingAt {
        let number = self.shared.next_transaction();
        let blocking = &*run.0;
        let place = QueuePosition {
            shard: self.id as u32,
            wake_on: blocking.wake_on,
            also_on_deletion: blocking.also_on_deletion,
        };
        let deadline_us = match blocking.timeout {
            BlockTimeout::Never => None,
            BlockTimeout::After(ms) => {
                let us = i64::try_from(ms).unwrap_or(i64::MAX).saturating_mul(1000);
                Some(clock::unix_us().saturating_add(us))
            }
        };
        let keys = waited_keys(&command, blocking.wait_for);
        for (owner, keys) in self.turn.slots.by_owner(keys.clone(), |key| key) {
            if owner == self.id {
                for key in keys {
                    self.store.waiting.add(command.db, &key, number, place);
                }
            } else {
                self.notify(owner, Notice::Enter { db: command.db, keys, number, place });
            }
        }
        let mut wait = KeyWait { command, caller, protocol, keys, remote };
        wait.block_again(run);
        self.executor
            .blocked
            .add(number, Waiter { home, origin, deadline_us, wait: Wait::Keys(Box::new(wait)) });
        self.count_blocked();
        WaitingAt { shard: self.id, number }
    }

    /// WAIT and WAITAOF. The task of replication knows when they end.
    pub(super) fn wait_for_replicas(&mut self, c: &mut Connection, order: impl FnOnce(Asked) -> WaitOrder) {
        let (Some(spec), Later::InPipeline(origin)) = (c.last_command, self.transactions.reply_later(c))
        else {
            return;
        };
        let number = self.shared.next_transaction();
        let waiter = Waiter { home: self.id, origin, deadline_us: None, wait: Wait::Replicas(spec) };
        self.executor.blocked.add(number, waiter);
        let order = order(Asked { home: self.id, number });
        self.send_wait(c, order);
        self.note_waiting(c, WaitingAt { shard: self.id, number });
    }

    /// The task of replication has the answer.
    pub(super) fn wait_is_over(&mut self, number: WaitNumber, answer: wait::Answer) {
        let Some(waiter) = self.remove_waiter(number) else { return };
        let Wait::Replicas(spec) = waiter.wait else { return };
        self.stats.called(spec.id, 0);
        let mut reply = Reply::default();
        answer.write(&mut reply);
        self.complete(Later::InPipeline(waiter.origin), reply);
    }

    fn note_waiting(&mut self, c: &mut Connection, at: WaitingAt) {
        c.suspension = Suspension::Blocked;
        c.waiting = Some(at);
        self.executor.blocked.clients += 1;
        self.count_blocked();
    }

    /// A command of one of this shard's connections, which is not taken, waits at `at`.
    fn parked(&mut self, origin: Origin, at: WaitingAt) {
        self.peers.asked.remove(1);
        let Some(mut connection) = self.connections.table.take(origin.client) else {
            return self.forget_wait(at);
        };
        let c = &mut *connection;
        // Whoever has closed their side will not read an answer that may come in an hour.
        if c.flags.any(Flag::PeerClosed as u32 | Flag::CloseAfterReply as u32) {
            self.close(c);
        }
        if c.flags.has(Flag::Closing) {
            self.forget_wait(at);
        } else {
            self.note_waiting(c, at);
        }
        self.finish(connection);
    }
}

// The end.
impl Shard {
    /// The reply for which the connection has stalled is there.
    pub(super) fn end_suspension(&mut self, c: &mut Connection) {
        if c.waiting.take().is_some() {
            self.executor.blocked.clients -= 1;
            self.count_blocked();
        }
        self.connections.resume_suspended(c);
    }

    /// The connection ends.
    pub(super) fn stop_waiting(&mut self, c: &mut Connection) {
        if let Some(at) = c.waiting.take() {
            self.executor.blocked.clients -= 1;
            self.count_blocked();
            self.forget_wait(at);
        }
    }

    fn forget_wait(&mut self, at: WaitingAt) {
        if at.shard == self.id {
            self.end_wait(at.number, End::Gone, None);
        } else {
            self.notify(at.shard, Notice::Gone { number: at.number });
        }
    }

    /// Ends the waits whose time is up.
    pub(super) fn end_due_waits(&mut self) {
        while let Some((at_us, number)) = self.executor.blocked.deadlines.first().copied() {
            if at_us > self.turn.now_us {
                return;
            }
            self.executor.blocked.deadlines.pop_first();
            self.end_wait(number, End::Timeout, None);
        }
    }

    /// No wait outlasts a change of the server's role.
    pub(super) fn end_waits_for_role_change(&mut self) {
        let numbers: Vec<WaitNumber> = self.executor.blocked.waiters.keys().copied().collect();
        for number in numbers {
            self.end_wait(number, End::RoleChanged, None);
        }
    }

    /// Ends a wait, now or, when its command is being run, unless that has an answer. `asker` learns whether it did.
    fn end_wait(&mut self, number: WaitNumber, end: End, asker: Option<Asker>) {
        let Some(waiter) = self.executor.blocked.waiters.get_mut(&number) else {
            return self.tell_asker(asker, false);
        };
        if let Wait::Keys(wait) = &mut waiter.wait {
            if let Some(remote) = wait.remote.as_mut().filter(|remote| remote.running) {
                return remote.ends.push((end, asker));
            }
        }
        let asked = Asked { home: self.id, number };
        if matches!(waiter.wait, Wait::Replicas(_)) && end == End::Timeout {
            // It gets what there is.
            self.shared.replication.tell(Event::EndWait(asked));
            return self.tell_asker(asker, true);
        }
        let Some(waiter) = self.remove_waiter(number) else { return };
        self.tell_asker(asker, true);
        if matches!(waiter.wait, Wait::Replicas(_)) {
            self.shared.replication.tell(Event::ForgetWait(asked));
        }
        match (waiter.wait, end) {
            (_, End::Gone) | (Wait::Replicas(_), End::Timeout) => {}
            (Wait::Keys(wait), _) => {
                let mut reply = Reply::new(wait.protocol);
                let spec = wait.command.spec;
                self.stats.called(spec.id, wait.caller.spent_nanos);
                if end == End::Timeout {
                    reply.null_array();
                } else {
                    let text = unblocked(end).text();
                    self.turn.count_failure(spec, &text);
                    reply.error(&text);
                }
                self.reply_to(waiter.home, waiter.origin, &mut reply);
            }
            (Wait::Replicas(spec), End::Error | End::RoleChanged) => {
                self.stats.called(spec.id, 0);
                self.complete_with(Later::InPipeline(waiter.origin), Some(spec), Err(unblocked(end)));
            }
        }
    }

    /// Removes the record and its places in the queues.
    fn remove_waiter(&mut self, number: WaitNumber) -> Option<Waiter> {
        let waiter = self.executor.blocked.waiters.remove(&number)?;
        if let Some(at_us) = waiter.deadline_us {
            self.executor.blocked.deadlines.remove(&(at_us, number));
        }
        if let Wait::Keys(wait) = &waiter.wait {
            let db = wait.command.db;
            for (owner, keys) in self.turn.slots.by_owner(wait.keys.clone(), |key| key) {
                if owner == self.id {
                    self.leave(db, &keys, number);
                } else {
                    self.notify(owner, Notice::Leave { db, keys, number });
                }
            }
        }
        self.count_blocked();
        Some(waiter)
    }

    fn leave(&mut self, db: usize, keys: &[Vec<u8>], number: WaitNumber) {
        for key in keys {
            self.store.waiting.remove(db, key, number);
        }
    }

    fn tell_asker(&mut self, asker: Option<Asker>, did: bool) {
        let Some(Asker { home, later }) = asker else { return };
        let mut reply = Reply::default();
        reply.integer(i64::from(did));
        self.send(home, Message::Complete { later, reply: Box::new(reply) });
    }

    /// CLIENT UNBLOCK of the client whose wait is at `at`.
    pub(super) fn unblock_client(&mut self, at: WaitingAt, end: End, later: Later) {
        let asker = Asker { home: self.id, later };
        self.notify(at.shard, Notice::Unblock { number: at.number, end, asker });
    }
}

// Notices.
impl Shard {
    fn notify(&mut self, shard: usize, notice: Notice) {
        self.send(shard, Message::Blocking(Box::new(notice)));
    }

    pub(super) fn noticed(&mut self, notice: Notice) {
        match notice {
            Notice::Parked { origin, at } => self.parked(origin, at),
            Notice::Enter { db, keys, number, place } => {
                for key in keys {
                    self.store.waiting.add(db, &key, number, place);
                }
            }
            Notice::Leave { db, keys, number } => self.leave(db, &keys, number),
            Notice::Offer { from, key, number } => self.offered(from, key, number),
            Notice::Declined { db, key, number } => self.store.waiting.end_offer(db, &key, number),
            Notice::Gone { number } => self.end_wait(number, End::Gone, None),
            Notice::Unblock { number, end, asker } => self.end_wait(number, end, Some(asker)),
        }
        self.count_blocked();
        self.serve_if_ready();
    }
}

fn unblocked(end: End) -> CommandError {
    CommandError::other(match end {
        End::RoleChanged => wait::UNBLOCKED,
        _ => "UNBLOCKED client unblocked via CLIENT UNBLOCK",
    })
}

/// The keys that a blocked command waits for, each once.
fn waited_keys(command: &OwnedCommand, wait_for: WaitFor) -> Vec<Vec<u8>> {
    let slices = command.args.slices();
    let mut positions = KeyPositions::new();
    command.spec.key_positions(&slices, &mut positions);
    let count = match wait_for {
        WaitFor::EveryKey => positions.len(),
        WaitFor::FirstKey => 1,
    };
    let mut keys: Vec<Vec<u8>> = Vec::with_capacity(count);
    for position in positions.iter().take(count) {
        let key = slices[position.index];
        if !keys.iter().any(|known| known == key) {
            keys.push(key.to_vec());
        }
    }
    keys
}

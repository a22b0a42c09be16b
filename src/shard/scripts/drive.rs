//! Running a script here, in one go.

use crate::shard::scripts::Scripts;
use crate::shard::transactions::Transactions;
use std::sync::atomic::Ordering;

use smallvec::SmallVec;

use super::{Run, Standing};
use crate::base::Stamp;
use crate::command::table::{CommandSpec, Flag, Handler, KeyPositions, Reaching};
use crate::command::{Args, Caller, CommandError};
use crate::resp::Reply;
use crate::script::{Outcome, Progress, Resume, What};
use crate::shard::call::{Call, Called, Within};
use crate::shard::transactions::flat;
use crate::shard::{Flow, Shard};
use crate::txn::locks::{fingerprint, Fingerprint, Intent, Scope};
use crate::txn::message::{OwnedArgs, OwnedCommand};
use crate::txn::plan::{locate, Located, Plan};

/// A script that has run for so long lets others have their turn, nanoseconds.
const IN_ONE_GO_NANOS: u64 = 10_000_000;

impl Transactions {
    /// Notes keys of this shard that the script has not named, to be held for it should it stand. False: others have them, or wait
    /// for them.
    fn take_unnamed(&mut self, run: &mut Run, args: Args, keys: &KeyPositions) -> bool {
        let unnamed = keys.iter().map(|key| Intent { key: fingerprint(args[key.index]), access: key.access });
        let unnamed: SmallVec<[Intent; 4]> = unnamed.filter(|intent| !run.names(intent.key)).collect();
        if unnamed.is_empty() {
            return true;
        }
        let new =
            unnamed.iter().filter(|intent| run.touched.iter().rev().take(8).all(|known| known != *intent));
        let new: SmallVec<[Intent; 4]> = new.copied().collect();
        let is_free = !self.locks.conflicts(&Scope::Keys(unnamed));
        if is_free {
            run.touched.extend_from_slice(&new);
        }
        is_free
    }
}

impl Scripts {
    /// What TIME answers the script whose call runs now, Unix microseconds. None: no script calls.
    pub(in crate::shard) fn time_in_script(&self) -> Option<i64> {
        self.frozen_us
    }
}

impl Shard {
    /// `call` of a command that is a script.
    pub(in crate::shard) fn call_script(&mut self, call: Call, reply: &mut Reply) -> Called {
        let Call { spec, db, args, caller, within } = call;
        let started = Stamp::now();
        let called = match self.prepare_script(spec, db, args, caller, reply.protocol()) {
            Ok(mut run) => {
                let outer = self.journal.begin_body();
                let Some(outcome) = self.drive(&mut run) else { return Called::Standing(run) };
                self.end_body(outer);
                self.end_script(run, *outcome, reply);
                Called::Replied
            }
            Err(error) => {
                self.script_refused(spec, args, caller, started, &error, reply);
                Called::Failed(error)
            }
        };
        if within == Within::Nothing {
            self.serve_if_ready();
        }
        called
    }

    /// It cannot be run, for this reason.
    pub(super) fn script_refused(
        &mut self,
        spec: &'static CommandSpec,
        args: Args,
        caller: &Caller,
        started: Stamp,
        error: &CommandError,
        reply: &mut Reply,
    ) {
        let nanos = Stamp::now().nanos_since(started);
        self.executor.spent_nanos += nanos;
        let text = error.text();
        reply.error(&text);
        self.account(spec, args, caller, nanos, Some(&text));
    }

    /// The script has come to its end: accounts for it, and gives the reply.
    pub(super) fn end_script(&mut self, run: Box<Run>, outcome: Outcome, reply: &mut Reply) {
        let Run {
            execution, version, memory, command, caller, started, touches_others, slow, is_busy, ..
        } = *run;
        debug_assert!(!is_busy, "a script that holds others up ends unseen");
        if let Some(slow) = slow {
            self.shared.scripts.remove_slow(&slow);
        }
        if !self.turn.slots.is_single() && (touches_others || !outcome.failed) {
            memory.learn(touches_others);
        }
        self.scripts.keep_vm(&self.turn, execution, version);
        let nanos = Stamp::now().nanos_since(started);
        self.executor.spent_nanos += nanos;
        let spec = command.spec;
        if outcome.failed {
            self.stats.commands[spec.id as usize].failed.add(1);
        }
        if let Some(error) = &outcome.uncounted_error {
            self.stats.count_error(error);
        }
        let mut written = outcome.reply;
        reply.append(&mut written);
        let caller = Caller { in_script: false, at_us: None, ..caller };
        self.account(spec, &command.args.slices(), &caller, nanos, None);
    }

    /// Runs a script to its end, or until it cannot go on in the same way.
    pub(super) fn drive(&mut self, run: &mut Run) -> Option<Box<Outcome>> {
        run.execution.begin_slice();
        loop {
            let with = run.resume.take().unwrap_or(Resume::GoOn);
            let resume = match run.execution.resume(with) {
                Progress::Done(outcome) => return Some(outcome),
                Progress::Slice => {
                    run.execution.begin_slice();
                    Resume::GoOn
                }
                Progress::AskPermission(args) => Resume::Permission(self.turn.may_call(run, &args.slices())),
                Progress::Call(args) => {
                    let checked = self.check_call(run, &args.slices());
                    match checked.map(|spec| self.call_here(run, spec, args)) {
                        Err(why) => Resume::Refused(why),
                        Ok(Some(resume)) => resume,
                        Ok(None) => return None,
                    }
                }
            };
            run.resume = Some(resume);
            if Stamp::now().nanos_since(run.started) > IN_ONE_GO_NANOS {
                run.standing = Standing::Here;
                return None;
            }
        }
    }

    /// Runs a call of a script on this shard. None: that cannot be done, and the script stands at the call.
    fn call_here(&mut self, run: &mut Run, spec: &'static CommandSpec, args: OwnedArgs) -> Option<Resume> {
        let slices = args.slices();
        let standing = match self.place_of(run, spec, &slices) {
            CallPlace::Here => {
                let reply = self.call_now(run, spec, &slices);
                return Some(Resume::Reply(reply));
            }
            CallPlace::Later => Standing::Here,
            CallPlace::Elsewhere if run.has_written => {
                run.memory.learn(true);
                Standing::Further
            }
            CallPlace::Elsewhere => Standing::Everywhere,
        };
        drop(slices);
        run.standing = standing;
        run.call = Some(OwnedCommand::new(spec, run.db, args));
        None
    }

    fn place_of(&mut self, run: &mut Run, spec: &'static CommandSpec, args: Args) -> CallPlace {
        if let Handler::Connection | Handler::Container = spec.handler {
            return if spec.is(Flag::Quick) { CallPlace::Here } else { CallPlace::Later };
        }
        let Located { plan, keys } = locate(spec, args, &self.turn.slots, || self.turn.key_count(run.db));
        let keys = keys.positions;
        run.note_keys(spec, args, &keys);
        let is_single = self.turn.slots.is_single();
        match plan {
            Plan::Anywhere => {}
            Plan::At(shard) if shard == self.id => {}
            Plan::Cursor { .. } if is_single => {}
            Plan::At(_) if matches!(spec.handler, Handler::Channel) => return CallPlace::Later,
            Plan::EveryShard { .. } if is_single && !self.turn.empties_saved_file(spec) => {}
            _ if is_single => return CallPlace::Later,
            _ => return CallPlace::Elsewhere,
        }
        self.guard_large_values(spec, run.db, args);
        // A single shard has been empty of transactions since the script began, or is held by it as a whole. What is replayed is
        // behind the barrier already.
        let has_unnamed = !is_single && run.touches_others && !run.caller.replaying;
        if has_unnamed && !self.transactions.take_unnamed(run, args, &keys) {
            return CallPlace::Elsewhere;
        }
        CallPlace::Here
    }

    /// Runs a call on this shard's keys, or one that needs none; returns its encoded reply.
    pub(super) fn call_now(&mut self, run: &mut Run, spec: &'static CommandSpec, args: Args) -> Vec<u8> {
        let mut reply = Reply::new(run.execution.protocol());
        run.note_write(spec);
        self.subscribers.show_script_call(&mut self.peers, run.db, spec, args);
        if let Handler::Connection | Handler::Container = spec.handler {
            let mut connection = self.turn.connection_of_script(run);
            let shown_us = run.shown_us;
            let flow = self.at_instant(run.now_us, |shard| {
                // Time stands still, but for what TIME says to a script that takes very long.
                shard.scripts.frozen_us = Some(shown_us);
                shard.call_connection_command(&mut connection, spec, args, &mut reply)
            });
            debug_assert!(flow == Flow::Done, "{} answers later", spec.name);
            // SELECT is for the script alone.
            run.db = connection.db;
            return flat(&mut reply);
        }
        let caller = run.caller_of_call();
        let db = run.db;
        let call = Call { spec, db, args, caller: &caller, within: Within::Longer };
        let called = self.at_instant(run.now_us, |shard| shard.call(call, &mut reply));
        debug_assert!(called.is_answered(), "{} blocks in a script", spec.name);
        flat(&mut reply)
    }
}

/// Where a call can run.
enum CallPlace {
    Here,
    /// On this shard, but not at once.
    Later,
    /// It needs other shards.
    Elsewhere,
}

impl Run {
    pub(super) fn is_function(&self) -> bool {
        matches!(self.what, What::Function(_))
    }

    /// On whose behalf its calls run.
    pub(super) fn caller_of_call(&self) -> Caller {
        Caller { audience: self.execution.audience(), ..self.caller }
    }

    /// A call is about to run.
    pub(super) fn note_write(&mut self, spec: &CommandSpec) {
        if spec.is(Flag::Write) {
            self.has_written = true;
            if let Some(slow) = &self.slow {
                slow.has_written.store(true, Ordering::Relaxed);
            }
        }
    }

    fn names(&self, key: Fingerprint) -> bool {
        self.named.binary_search(&key).is_ok()
    }

    /// Remembers whether a call keeps to the keys that the script has named.
    pub(super) fn note_keys(&mut self, spec: &CommandSpec, args: Args, keys: &KeyPositions) {
        let is_named = |key: &[u8]| self.names(fingerprint(key));
        let reaches = matches!(spec.handler, Handler::EveryShard(..)) || Reaching::of(spec, args).is_some();
        if reaches || !keys.iter().all(|key| is_named(args[key.index])) {
            self.touches_others = true;
        }
    }
}

//! Why a command may not run, or not yet. Everybody asks here before `call`.
//!
//! A client's request passes `refusal`, whose order is that of Redis: it decides which error a client sees. A command of a client that
//! has waited passes `refusal_when_woken`. What a script calls has been asked for as a part of it, and passes `scripts::call_refusal`,
//! whose texts are others.

use crate::command::table::Gather;
use crate::command::table::Handler;
use crate::shard::journal::Journal;
use crate::shard::turn::TurnState;
use std::sync::atomic::Ordering;

use super::Shard;
use crate::client::{Connection, Flag, Multi, Queued};
use crate::command::table::{CommandSpec, Flag as CommandFlag, Role};
use crate::command::{Args, Caller, CommandError};
use crate::resp::Protocol;
use crate::text;
use crate::txn::plan::LocatedKeys;

impl TurnState {
    /// What the configuration and the connection allow, whoever the user is.
    #[inline]
    fn refusal_by_login(&self, c: &Connection, spec: &CommandSpec) -> Option<CommandError> {
        if spec.is(CommandFlag::Protected) && !self.may_use_protected(c, spec) {
            return Some(refusal_of_protected(spec));
        }
        if !self.is_admitted(c) && !spec.is(CommandFlag::NoAuth) {
            return Some(CommandError::other("NOAUTH Authentication required."));
        }
        if c.multi.is_some() && spec.is(CommandFlag::NoMulti) {
            return Some(CommandError::other("ERR Command not allowed inside a transaction"));
        }
        None
    }

    /// What the server does at this moment leaves no room for it.
    #[inline]
    fn refusal_by_state(&self, c: &Connection, spec: &CommandSpec) -> Option<CommandError> {
        if self.shared.status.is_loading() && any_command(c, spec, |spec| !spec.is(CommandFlag::Loading)) {
            return Some(CommandError::other("LOADING Redis is loading the dataset in memory"));
        }
        if !spec.is(CommandFlag::AllowBusy) && self.is_held_up(spec) {
            return Some(self.busy_error());
        }
        None
    }

    /// Whether a script has held up for long what the command needs: this shard, or all of them.
    #[inline]
    fn is_held_up(&self, spec: &CommandSpec) -> bool {
        let scripts = &self.shared.scripts;
        scripts.is_busy(self.id) || needs_all_shards(spec) && scripts.is_any_busy()
    }

    /// The same of the body of a MULTI, wherever its keys are: all of it would wait for the script.
    pub(super) fn is_body_held_up(&self, c: &Connection, multi: &Multi) -> bool {
        let scripts = &self.shared.scripts;
        if !scripts.is_any_busy() {
            return false;
        }
        let is_busy = |shard| scripts.is_busy(shard);
        let waits = |queued: &Queued| {
            let keys = LocatedKeys::of(queued.spec, &queued.args.slices(), &self.slots);
            needs_all_shards(queued.spec) || keys.are_any_on(is_busy)
        };
        let watched = c.watching.as_ref().map(|watching| watching.keys.as_slice()).unwrap_or_default();
        multi.queue.iter().any(waits) || watched.iter().any(|(_, key)| is_busy(self.slots.shard_of(key)))
    }
}

impl Journal {
    /// Writes are refused when they could not be kept, and PING with them, so that whoever watches the server notices.
    #[inline]
    fn refusal_by_disk(
        &mut self,
        turn: &TurnState,
        c: &Connection,
        spec: &CommandSpec,
    ) -> Option<CommandError> {
        let save_failed = turn.shared.status.save_failed.load(Ordering::Relaxed);
        if !save_failed && self.log.write_refusal().is_none() || turn.shared.status.is_loading() {
            return None;
        }
        let is_concerned =
            spec.role == Role::Ping || any_command(c, spec, |spec| spec.is(CommandFlag::Write));
        if is_concerned {
            self.disk_refusal(turn)
        } else {
            None
        }
    }

    /// Why writes are refused, when they could not be kept.
    pub(super) fn disk_refusal(&mut self, turn: &TurnState) -> Option<CommandError> {
        let save_failed = turn.shared.status.save_failed.load(Ordering::Relaxed);
        let persistence = &turn.config.persistence;
        if save_failed && persistence.stop_writes_on_bgsave_error && !persistence.save.0.is_empty() {
            return Some(CommandError::CannotSave);
        }
        self.log.write_refusal()
    }
}

impl Shard {
    /// Answers a request with the reason why it does not run.
    pub(super) fn refuse(&mut self, c: &mut Connection, spec: Option<&CommandSpec>, error: &CommandError) {
        if let Some(multi) = &mut c.multi {
            multi.refused = true;
        }
        if let Some(spec) = spec {
            self.stats.commands[spec.id as usize].rejected.add(1);
        }
        let mut text = error.text();
        if spec.is_some_and(|spec| spec.role == Role::Exec) {
            // Without MULTI too.
            c.multi = None;
            self.unwatch_all(c);
            let why = text.strip_prefix(b"ERR ").unwrap_or(&text);
            text = text!("EXECABORT Transaction discarded because of: ", why);
        }
        self.stats.count_error(&text);
        self.write_reply(c, |_, _, reply| reply.error(&text));
    }

    /// Why the request may not run. The first reason counts.
    #[inline]
    pub(super) fn refusal(
        &mut self,
        c: &Connection,
        spec: &'static CommandSpec,
        args: Args,
    ) -> Option<CommandError> {
        if c.flags.has(Flag::Replay) {
            return None;
        }
        self.turn
            .refusal_by_login(c, spec)
            .or_else(|| self.turn.refusal_by_user(c, spec, args))
            // The place of a cluster's answers: MOVED, ASK, CROSSSLOT, CLUSTERDOWN.
            .or_else(|| self.refusal_by_memory(c, spec))
            .or_else(|| self.journal.refusal_by_disk(&self.turn, c, spec))
            .or_else(|| self.refusal_by_replicas(c, spec))
            .or_else(|| self.refusal_by_role(c, spec))
            .or_else(|| refusal_by_subscription(c, spec))
            .or_else(|| self.refusal_by_link(c, spec))
            .or_else(|| self.turn.refusal_by_state(c, spec))
            .or_else(|| refusal_by_monitor(c, spec))
    }

    /// Why the command of a client that has waited may not run again: its user may have lost the right to run it, and memory may have
    /// run out.
    pub(super) fn refusal_when_woken(
        &mut self,
        spec: &'static CommandSpec,
        args: Args,
        caller: &Caller,
    ) -> Option<CommandError> {
        if let Some(error) = self.refusal_by_user_of(spec, args, caller) {
            return Some(error);
        }
        let is_full = self.turn.config.memory.maxmemory > 0 && !self.make_room();
        (is_full && spec.is(CommandFlag::DenyOom)).then_some(CommandError::OutOfMemory)
    }

    #[inline]
    fn refusal_by_memory(&mut self, c: &Connection, spec: &CommandSpec) -> Option<CommandError> {
        if self.turn.config.memory.maxmemory == 0 || self.make_room() {
            return None;
        }
        // What is queued takes memory too.
        let would_queue =
            c.multi.is_some() && !matches!(spec.role, Role::Exec | Role::Discard | Role::Quit | Role::Reset);
        let is_denied = would_queue || any_command(c, spec, |spec| spec.is(CommandFlag::DenyOom));
        is_denied.then_some(CommandError::OutOfMemory)
    }

    /// `min-replicas-to-write` is not met.
    #[inline]
    fn refusal_by_replicas(&self, c: &Connection, spec: &CommandSpec) -> Option<CommandError> {
        let is_refused = self.lacks_replicas() && any_command(c, spec, |spec| spec.is(CommandFlag::Write));
        is_refused.then(no_replicas)
    }
}

#[inline]
fn needs_all_shards(spec: &CommandSpec) -> bool {
    match spec.handler {
        // It goes on with one of them.
        Handler::EveryShard(_, Gather::Cursor) => false,
        Handler::EveryShard(..) => true,
        _ => spec.is(CommandFlag::NeedsAllShards),
    }
}

#[cold]
pub(super) fn no_replicas() -> CommandError {
    CommandError::other("NOREPLICAS Not enough good replicas to write.")
}

#[cold]
fn refusal_of_protected(spec: &CommandSpec) -> CommandError {
    let (what, directive) = if spec.role == Role::Module {
        ("MODULE", "enable-module-command")
    } else {
        ("DEBUG", "enable-debug-command")
    };
    CommandError::other(format!(
        "ERR {what} command not allowed. If the {directive} option is set to \"local\", you can run it from a local \
         connection, otherwise you need to set this option in the configuration file, and then restart the server."
    ))
}

/// Without RESP3 a subscriber takes whatever comes for messages.
#[inline]
fn refusal_by_subscription(c: &Connection, spec: &CommandSpec) -> Option<CommandError> {
    let is_deaf = c.flags.has(Flag::Subscriber) && c.output.reply.protocol() == Protocol::Resp2;
    let is_allowed =
        spec.role.answers_with_messages() || matches!(spec.role, Role::Ping | Role::Quit | Role::Reset);
    if !is_deaf || is_allowed {
        return None;
    }
    Some(CommandError::other(format!(
        "ERR Can't execute '{}': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET are allowed in this context",
        spec.name
    )))
}

/// To Redis a monitor is a replica.
#[inline]
fn refusal_by_monitor(c: &Connection, spec: &CommandSpec) -> Option<CommandError> {
    let is_denied = c.flags.has(Flag::Monitor) && any_command(c, spec, touches_keys);
    is_denied.then(|| CommandError::other("ERR Replica can't interact with the keyspace"))
}

/// Whether it is so with the command, or with one of those that EXEC would run.
#[inline]
pub(super) fn any_command(
    c: &Connection,
    spec: &CommandSpec,
    mut is_so: impl FnMut(&CommandSpec) -> bool,
) -> bool {
    is_so(spec) || c.queue_of(spec).iter().any(|queued| is_so(queued.spec))
}

pub(super) fn touches_keys(spec: &CommandSpec) -> bool {
    spec.is(CommandFlag::ReadOnly) || spec.is(CommandFlag::Write) || spec.is(CommandFlag::MayReplicate)
}

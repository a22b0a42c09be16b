//! The role of a shard: that of its server, since the last barrier at which it changed.

use std::sync::atomic::Ordering;

use crate::client::{Connection, Flag};
use crate::command::table::{CommandSpec, Flag as CommandFlag, KeyAccess};
use crate::command::{Caller, CommandError};
use crate::journal::feed::Bell;
use crate::replication::{FollowEvent, Told};
use crate::shard::refusals::any_command;
use crate::shard::transactions::{Answers, BarrierWork, Phase};
use crate::shard::Shard;

/// What a store does about keys that have expired.
#[derive(Clone, Copy)]
pub(in crate::shard) struct ExpiryRule {
    expire_on_access: bool,
    keeps_expired: bool,
}

impl Shard {
    /// The leader: this server follows another one from a barrier on. Clients in blocking commands are let go; what was done before
    /// is all in the feed, which ends.
    pub(super) fn become_replica(&mut self, told: Told) {
        let done = move |shard: &mut Shard, _: Answers| {
            told(FollowEvent::IsReplica { next: shard.shared.tickets.next() });
            false
        };
        let phases = [Phase::Each(BarrierWork::BecomeReplica), Phase::here(done)];
        self.at_barrier(KeyAccess::Write, phases);
    }

    /// At a barrier: this shard's part of it.
    pub(in crate::shard) fn become_replica_here(&mut self) {
        self.end_feed_with_all();
        self.replication.following.is_replica = true;
        self.store.keeps_expired = true;
        self.unblock_for_role_change();
    }

    /// The leader: this server is a master from a barrier on.
    pub(super) fn become_master(&mut self, bell: Option<Bell>, told: Told) {
        let mut phases = vec![Phase::Each(BarrierWork::BecomeMaster)];
        let made = bell.map(|bell| {
            let (make, attach, made) = self.phases_of_feed(bell);
            phases.extend([make, attach]);
            made
        });
        let done = move |_: &mut Shard, _: Answers| {
            told(FollowEvent::IsMaster { reader: made.and_then(|made| made.take()) });
            false
        };
        phases.push(Phase::here(done));
        self.at_barrier(KeyAccess::Write, phases);
    }

    /// At a barrier: this shard's part of it.
    pub(in crate::shard) fn become_master_here(&mut self) {
        self.replication.following.is_replica = false;
        self.replication.following.own_expiries = Default::default();
        self.store.keeps_expired = false;
        self.end_applier();
    }

    /// Why a client's command may not run on a replica: it writes, and replicas are read only.
    #[inline]
    pub(in crate::shard) fn refusal_by_role(
        &self,
        c: &Connection,
        spec: &CommandSpec,
    ) -> Option<CommandError> {
        let is_refused =
            self.is_read_only_replica() && any_command(c, spec, |spec| spec.is(CommandFlag::Write));
        is_refused.then(read_only)
    }

    /// Why a client's command may not run while the link to the master is down.
    #[inline]
    pub(in crate::shard) fn refusal_by_link(
        &self,
        c: &Connection,
        spec: &CommandSpec,
    ) -> Option<CommandError> {
        let is_refused = self.is_stale() && any_command(c, spec, |spec| !spec.is(CommandFlag::Stale));
        is_refused.then(master_down)
    }

    /// Whether clients, and their scripts, may only read here.
    #[inline]
    pub(in crate::shard) fn is_read_only_replica(&self) -> bool {
        self.replication.following.is_replica && self.turn.config.replication.replica_read_only
    }

    /// Whether the data may be old, and are not to be served then.
    #[inline]
    pub(in crate::shard) fn is_stale(&self) -> bool {
        self.replication.following.is_replica
            && !self.turn.config.replication.replica_serve_stale_data
            && !self.shared.replication.status.link_is_up.load(Ordering::Relaxed)
    }

    /// The rule by which a command of a replica finds keys that have expired, and the one that is in force otherwise: its master's
    /// commands find them, for its master deletes them; a client's do not, and only what writes (to a replica that may be written to)
    /// deletes them.
    #[inline]
    pub(in crate::shard) fn obey_expiry_rule(
        &mut self,
        spec: &CommandSpec,
        caller: &Caller,
    ) -> Option<ExpiryRule> {
        if !self.replication.following.is_replica {
            return None;
        }
        let before = self.expiry_rule();
        if caller.from_master {
            self.store.expire_on_access = false;
        } else if spec.is(CommandFlag::Write) {
            self.store.keeps_expired = false;
        }
        Some(before)
    }

    fn expiry_rule(&self) -> ExpiryRule {
        ExpiryRule { expire_on_access: self.store.expire_on_access, keeps_expired: self.store.keeps_expired }
    }

    #[inline]
    pub(in crate::shard) fn restore_expiry_rule(&mut self, before: Option<ExpiryRule>) {
        if let Some(ExpiryRule { expire_on_access, keeps_expired }) = before {
            self.store.expire_on_access = expire_on_access;
            self.store.keeps_expired = keeps_expired;
        }
    }

    /// Does `work` of a transaction that came from the master, or from a client.
    pub(in crate::shard) fn by_expiry_rule_of<R>(
        &mut self,
        caller: &Caller,
        work: impl FnOnce(&mut Shard) -> R,
    ) -> R {
        if !caller.from_master {
            return work(self);
        }
        let before = self.expiry_rule();
        self.store.expire_on_access = false;
        let result = work(self);
        self.restore_expiry_rule(Some(before));
        result
    }

    /// Whether memory is for somebody else to be short of: the master evicts.
    pub(in crate::shard) fn ignores_maxmemory(&self) -> bool {
        self.replication.following.is_replica && self.turn.config.replication.replica_ignore_maxmemory
    }

    /// Clients that wait on this shard are told why they wait no more, and those that this shard serves are closed then, as Redis's.
    fn unblock_for_role_change(&mut self) {
        for token in self.connections.table.tokens() {
            if let Some(c) = self.connections.table.get(token).filter(|c| c.waiting.is_some()) {
                c.flags.set(Flag::CloseAfterReply);
            }
        }
        self.end_waits_for_role_change();
    }
}

#[cold]
pub(in crate::shard) fn master_down() -> CommandError {
    CommandError::other("MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.")
}

#[cold]
pub(in crate::shard) fn read_only() -> CommandError {
    CommandError::other("READONLY You can't write against a read only replica.")
}

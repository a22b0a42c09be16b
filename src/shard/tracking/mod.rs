//! CLIENT TRACKING: clients keep copies of what they read, and are told when it changes.
//!
//! The shard that owns a key remembers which connections have read it, and puts an invalidation into the inbox of their shards when it changes
//! (`push/inbox.rs`), before the reply to the change is on its way. A shard looks into its inbox before it takes in requests: who
//! asks the server after a change was answered has heard of it before the answer. And an invalidation goes behind the replies that
//! its connection still waits for, one of which may be to the read that it is about.
//!
//! In broadcasting mode a client names prefixes instead, which every shard knows; the changes of a turn are told together, for
//! each prefix.

mod table;

use crate::shard::journal::Journal;
use crate::shard::message::SubscriberMessage;
use crate::shard::peers::Chore;
use crate::shard::peers::Peers;
use crate::shard::scatter::Question;
use crate::shard::subscribers::Subscribers;
use crate::shard::turn::TurnState;
use crate::store::Store;
use std::collections::{BTreeMap, HashMap};

use bytes::Bytes;
use smallvec::SmallVec;

pub use self::table::Reader;
use self::table::Table;
use super::push::Push;
use super::slow;
use super::Shard;
use crate::client::{Connection, Redirect};
use crate::command::table::{CommandSpec, Flag as CommandFlag, KeyPositions};
use crate::command::{Args, Caller};
use crate::resp::{Protocol, Reply};
use crate::store::Change;

/// The channel that invalidations come on to a connection of RESP2 that they are redirected to.
const CHANNEL: &[u8] = b"__redis__:invalidate";

/// Keys that a connection may have copies of have changed.
#[derive(Clone, Debug)]
pub struct Invalidation {
    pub to: Reader,
    /// The client that has changed them; 0 for none.
    pub by: u64,
    pub is_broadcast: bool,
    /// None: all.
    pub keys: Option<SmallVec<[Bytes; 1]>>,
}

/// An invalidation for another connection than `from`, which has asked for it.
#[derive(Clone, Debug)]
pub struct Redirected {
    pub from: Reader,
    pub to: Redirect,
    pub keys: Option<SmallVec<[Bytes; 1]>>,
}

/// Who is told of a prefix, and whether also of its own changes.
type Audience = HashMap<Reader, bool, foldhash::fast::RandomState>;

#[derive(Debug, Default)]
pub(super) struct Trackers {
    /// Connections that track, on all shards.
    count: usize,
    table: Table,
    /// Keys that the tables of all shards may have together, and of these, this shard's share.
    keys_max: usize,
    share: usize,
    prefixes: BTreeMap<Box<[u8]>, Audience>,
    /// What this turn has changed that somebody broadcasts, and by which client.
    changed: BTreeMap<Box<[u8]>, u64>,
}

/// A connection begins to track, or another time with further prefixes.
#[derive(Clone)]
pub struct BeginTracking {
    pub reader: Reader,
    pub is_new: bool,
    pub prefixes: Vec<Box<[u8]>>,
    pub no_loop: bool,
}

impl Question for BeginTracking {
    type Answer = ();

    fn answer(self, shard: &mut Shard) {
        let trackers = &mut shard.subscribers.trackers;
        trackers.count += usize::from(self.is_new);
        for prefix in self.prefixes {
            trackers.prefixes.entry(prefix).or_default().insert(self.reader, self.no_loop);
        }
        shard.store.changes.is_wanted = true;
        shard.subscribers.show_tracking(&shard.turn);
    }
}

impl TurnState {
    pub(super) fn reader_of(&self, c: &Connection) -> Reader {
        Reader { home: self.id, token: c.token, id: c.id }
    }
}

impl Subscribers {
    /// A connection tracks no more. On every shard.
    pub(super) fn end_tracking(
        &mut self,
        turn: &TurnState,
        store: &mut Store,
        reader: Reader,
        prefixes: &[Box<[u8]>],
    ) {
        self.trackers.count -= 1;
        for prefix in prefixes {
            let Some(audience) = self.trackers.prefixes.get_mut(prefix) else { continue };
            audience.remove(&reader);
            if audience.is_empty() {
                self.trackers.prefixes.remove(prefix);
            }
        }
        if self.trackers.count == 0 {
            self.trackers.table.clear();
            self.trackers.changed.clear();
            store.changes.is_wanted = false;
            store.changes.take();
        }
        self.show_tracking(turn);
    }

    fn show_tracking(&self, turn: &TurnState) {
        turn.stats.tracking_keys.set(self.trackers.table.len() as u64);
        turn.stats.tracking_items.set(self.trackers.table.items() as u64);
        turn.stats.tracking_prefixes.set(self.trackers.prefixes.len() as u64);
    }

    /// `tracking-table-max-keys` may have changed.
    pub(super) fn limit_tracking(
        &mut self,
        turn: &TurnState,
        store: &mut Store,
        peers: &mut Peers,
        journal: &mut Journal,
    ) {
        let all = turn.config.network.tracking_table_max_keys;
        self.trackers.keys_max = if all == 0 { usize::MAX } else { all };
        self.trackers.share = turn.slots.share_of(all, turn.id);
        self.evict_tracked(turn, store, peers, journal);
    }

    /// Forgets the oldest keys when all shards together have too many, and this one more than its share.
    fn evict_tracked(
        &mut self,
        turn: &TurnState,
        store: &mut Store,
        peers: &mut Peers,
        journal: &mut Journal,
    ) {
        self.show_tracking(turn);
        let all = || -> u64 { turn.shared.stats.iter().map(|stats| stats.tracking_keys.get()).sum() };
        if self.trackers.table.len() <= self.trackers.share || all() <= self.trackers.keys_max as u64 {
            return;
        }
        let excess = all() as usize - self.trackers.keys_max;
        let left = self.trackers.table.len().saturating_sub(excess).max(self.trackers.share);
        while self.trackers.table.len() > left {
            let Some((key, readers)) = self.trackers.table.evict() else { break };
            for to in readers {
                let keys = Some(smallvec::smallvec![Bytes::copy_from_slice(&key)]);
                self.push_to_shard(
                    turn,
                    store,
                    peers,
                    journal,
                    to.home,
                    Push::Invalidation(Invalidation { to, by: 0, is_broadcast: false, keys }),
                );
            }
        }
        self.show_tracking(turn);
    }

    /// Tells those who may have copies of what has changed; `by` is the client that has changed it.
    pub(super) fn tell_changes(
        &mut self,
        turn: &TurnState,
        store: &mut Store,
        peers: &mut Peers,
        journal: &mut Journal,
        by: u64,
    ) {
        if store.changes.is_empty() {
            return;
        }
        for Change { key, by_command } in store.changes.take() {
            let by = if by_command { by } else { 0 };
            for to in self.trackers.table.forget(&key) {
                let keys = Some(smallvec::smallvec![Bytes::copy_from_slice(&key)]);
                self.push_to_shard(
                    turn,
                    store,
                    peers,
                    journal,
                    to.home,
                    Push::Invalidation(Invalidation { to, by, is_broadcast: false, keys }),
                );
            }
            let is_awaited = |prefix: &[u8]| key.starts_with(prefix);
            if self.trackers.prefixes.keys().any(|prefix| is_awaited(prefix)) {
                if self.trackers.changed.is_empty() {
                    peers.do_later(Chore::BroadcastChanges);
                }
                // Whoever changes it last: an expiry behind a change of one's own is news.
                self.trackers.changed.insert(key, by);
            }
        }
        self.show_tracking(turn);
    }

    /// Tells of what the turn has changed.
    pub(super) fn broadcast_changes(
        &mut self,
        turn: &TurnState,
        store: &mut Store,
        peers: &mut Peers,
        journal: &mut Journal,
    ) {
        let changed = std::mem::take(&mut self.trackers.changed);
        let mut invalidations = Vec::new();
        for (prefix, audience) in &self.trackers.prefixes {
            for (to, no_loop) in audience {
                let news = changed
                    .iter()
                    .filter(|(key, by)| key.starts_with(prefix) && !(*no_loop && **by == to.id));
                let keys: SmallVec<[Bytes; 1]> = news.map(|(key, _)| Bytes::copy_from_slice(key)).collect();
                if !keys.is_empty() {
                    invalidations.push(Invalidation { to: *to, by: 0, is_broadcast: true, keys: Some(keys) });
                }
            }
        }
        for invalidation in invalidations {
            self.push_to_shard(
                turn,
                store,
                peers,
                journal,
                invalidation.to.home,
                Push::Invalidation(invalidation),
            );
        }
    }

    /// A database, or all of them, has been emptied: what anybody has copies of counts no more. Every shard tells its own connections;
    /// nobody reads again before all shards have emptied theirs.
    pub(super) fn all_copies_are_outdated(&mut self, turn: &TurnState, peers: &mut Peers) {
        if self.trackers.count == 0 {
            return;
        }
        self.trackers.table.clear();
        self.show_tracking(turn);
        self.trackers.changed.clear();
        // Behind the reply to the connection that has asked for it.
        peers.do_later(Chore::TellOutdated);
    }
}

impl Shard {
    /// What has changed reaches those who listen for events of keys, and those who may have copies; `by` is the client that has changed it.
    pub(super) fn tell_of_changes(&mut self, by: u64) {
        self.subscribers.publish_events(&self.turn, &mut self.store, &mut self.peers, &mut self.journal);
        self.tell_changes(by);
    }

    /// Only those who may have copies.
    pub(super) fn tell_changes(&mut self, by: u64) {
        self.subscribers.tell_changes(&self.turn, &mut self.store, &mut self.peers, &mut self.journal, by);
    }

    /// Remembers which of this shard's keys a command reads, for a client that keeps copies.
    pub(super) fn remember_reads(&mut self, spec: &CommandSpec, args: Args, caller: &Caller) {
        if !spec.is(CommandFlag::ReadOnly) || self.subscribers.trackers.count == 0 {
            return;
        }
        let mut positions = KeyPositions::new();
        spec.key_positions(args, &mut positions);
        let reader = Reader {
            home: caller.home as usize,
            token: slow::unpack(caller.connection),
            id: caller.client_id,
        };
        for position in &positions {
            let key = args[position.index];
            if self.turn.slots.shard_of(key) == self.turn.id {
                self.subscribers.trackers.table.remember(key, reader);
            }
        }
        self.subscribers.evict_tracked(&self.turn, &mut self.store, &mut self.peers, &mut self.journal);
    }

    /// The connection ends, is reset, or tracks no more.
    pub(super) fn forget_tracking(&mut self, c: &mut Connection) {
        let Some(tracking) = c.tracking.take() else { return };
        let reader = self.turn.reader_of(c);
        self.stats.tracking_clients.set(self.stats.tracking_clients.get() - 1);
        for shard in self.turn.slots.all() {
            let prefixes = tracking.prefixes.clone();
            // Behind what has told of its begin.
            self.send(shard, SubscriberMessage::EndTracking { reader, prefixes }.into());
        }
    }

    pub(super) fn tell_outdated(&mut self) {
        let readers: Vec<Reader> = self
            .connections
            .table
            .iter()
            .filter(|c| c.tracking.is_some())
            .map(|c| self.turn.reader_of(c))
            .collect();
        for to in readers {
            self.invalidate(Invalidation { to, by: 0, is_broadcast: false, keys: None });
        }
    }

    /// Tells a connection of this shard.
    pub(super) fn invalidate(&mut self, invalidation: Invalidation) {
        let Invalidation { to, by, is_broadcast, keys } = invalidation;
        let Some(c) = self.connections.table.get(to.token).filter(|c| c.id == to.id) else { return };
        let protocol = c.output.reply.protocol();
        let Some(tracking) = &c.tracking else { return };
        let is_outdated = keys.is_some() && tracking.is_broadcast != is_broadcast;
        if is_outdated || tracking.no_loop && by == to.id {
            return;
        }
        match tracking.redirect {
            Some(redirect) => {
                let redirected = Redirected { from: to, to: redirect, keys };
                self.subscribers.push_to_shard(
                    &self.turn,
                    &mut self.store,
                    &mut self.peers,
                    &mut self.journal,
                    redirect.shard,
                    Push::Redirected(redirected),
                );
            }
            None if protocol == Protocol::Resp3 => {
                self.push_to_connection(to.token, |reply| {
                    reply.push(2);
                    reply.bulk(b"invalidate");
                    write_keys(reply, keys.as_deref());
                });
            }
            // It could not tell it from a reply.
            None => {}
        }
    }

    /// Tells a connection of this shard what another has asked for.
    pub(super) fn invalidate_redirected(&mut self, Redirected { from, to, keys }: Redirected) {
        let target = self.connections.table.get(to.token).filter(|c| c.id == to.id && c.is_open());
        let Some((protocol, listens)) =
            target.map(|c| (c.output.reply.protocol(), c.subscriptions.is_some()))
        else {
            return self.send(from.home, SubscriberMessage::RedirectBroken { from, to }.into());
        };
        if protocol == Protocol::Resp3 {
            self.push_to_connection(to.token, |reply| {
                reply.push(2);
                reply.bulk(b"invalidate");
                write_keys(reply, keys.as_deref());
            });
        } else if listens {
            self.push_to_connection(to.token, |reply| {
                reply.push(3);
                reply.bulk(b"message");
                reply.bulk(CHANNEL);
                write_keys(reply, keys.as_deref());
            });
        }
    }

    pub(super) fn redirect_is_broken(&mut self, from: Reader, to: Redirect) {
        let Some(c) = self.connections.table.get(from.token).filter(|c| c.id == from.id) else { return };
        let protocol = c.output.reply.protocol();
        let Some(tracking) = c.tracking.as_deref_mut().filter(|tracking| tracking.redirect == Some(to))
        else {
            return;
        };
        tracking.is_broken = true;
        if protocol == Protocol::Resp3 {
            self.push_to_connection(from.token, |reply| {
                reply.push(2);
                reply.bulk(b"tracking-redir-broken");
                reply.integer(to.id as i64);
            });
        }
    }
}

fn write_keys(reply: &mut Reply, keys: Option<&[Bytes]>) {
    match keys {
        Some(keys) => {
            reply.array(keys.len());
            keys.iter().for_each(|key| reply.bulk(key));
        }
        None => reply.null(),
    }
}

//! MULTI EXEC DISCARD WATCH UNWATCH.
//!
//! A body whose keys are all here runs at once and costs no more than its commands; one whose keys are all on one
//! other shard travels as one message; anything else is a transaction (`txn/transactions.md`).

use crate::shard::message::SubscriberMessage;
use crate::shard::scatter::Question;
use crate::shard::turn::TurnState;

use super::Handler;
use crate::client::{Connection, Flag, Multi, Watching};
use crate::command::table::{Handler as Where, Role};
use crate::command::{Args, Caller, CommandError};
use crate::resp::Reply;
use crate::resp::Text;
use crate::shard::message::Message;
use crate::shard::{Flow, Shard};
use crate::store::{parse_integer, WatchFlag};
use crate::text;
use crate::txn::message::{ExecBody, OwnedCommand, Watch};
use crate::txn::plan::{locate, Plan};

pub const COMMANDS: &[(&str, Handler)] =
    &[("multi", multi), ("exec", exec), ("discard", discard), ("watch", watch), ("unwatch", unwatch)];

type Outcome = Result<Flow, CommandError>;

fn multi(_: &mut Shard, c: &mut Connection, reply: &mut Reply, _: Args) -> Outcome {
    if c.multi.is_some() {
        return Err(CommandError::other("ERR MULTI calls can not be nested"));
    }
    c.multi = Some(Box::new(Multi::default()));
    reply.ok();
    Ok(Flow::Done)
}

fn discard(shard: &mut Shard, c: &mut Connection, reply: &mut Reply, _: Args) -> Outcome {
    if c.multi.take().is_none() {
        return Err(CommandError::other("ERR DISCARD without MULTI"));
    }
    shard.unwatch_all(c);
    reply.ok();
    Ok(Flow::Done)
}

/// Where the commands of a body can run.
enum Reach {
    OneShard(usize),
    Transaction,
}

fn exec(shard: &mut Shard, c: &mut Connection, reply: &mut Reply, _: Args) -> Outcome {
    let Some(multi) = c.multi.take() else {
        return Err(CommandError::other("ERR EXEC without MULTI"));
    };
    if multi.refused {
        shard.unwatch_all(c);
        return Err(CommandError::other("EXECABORT Transaction discarded because of previous errors."));
    }
    if shard.turn.is_body_held_up(c, &multi) {
        shard.unwatch_all(c);
        let why = shard.turn.busy_error().text();
        return Err(CommandError::other(text!("EXECABORT Transaction discarded because of: ", why)));
    }
    let denied = shard.turn.denied_at_exec(c, &multi);
    let reach = if denied.is_empty() { shard.turn.reach_of(c, &multi) } else { Reach::Transaction };
    let ready = match reach {
        Reach::OneShard(owner) if owner == shard.id => true,
        Reach::OneShard(owner) => shard.may_reserve(c, owner),
        Reach::Transaction => c.may_begin_transaction(),
    };
    if !ready {
        c.multi = Some(multi);
        return Ok(Flow::NotYet);
    }
    let mut commands = shard.bodies(c, *multi);
    for (index, why) in denied {
        commands[index].denied = Some(why);
    }
    if shard.subscribers.is_monitored() && !c.watching.as_ref().is_some_and(|watching| watching.flag.is_set())
    {
        for command in commands.iter().filter(|command| command.denied.is_none()) {
            let args = command.args.slices();
            if let Where::Script = command.spec.handler {
                shard.subscribers.show_script(
                    &shard.turn,
                    &mut shard.peers,
                    c,
                    command.db,
                    command.spec,
                    &args,
                );
            } else {
                shard.subscribers.show_to_monitors(
                    &shard.turn,
                    &mut shard.peers,
                    c,
                    command.db,
                    command.spec,
                    &args,
                );
            }
        }
    }
    match reach {
        Reach::OneShard(owner) => {
            let body = Box::new(ExecBody {
                commands,
                watch: c.watching.as_ref().map(|w| Watch { flag: w.flag.clone(), keys: w.keys.clone() }),
                caller: Caller { deny_blocking: true, ..shard.turn.caller_of(c) },
                protocol: reply.protocol(),
            });
            if owner == shard.id {
                match shard.exec_or_body(owner, c.token, body, reply) {
                    None => {
                        shard.unwatch_all(c);
                        return Ok(Flow::Done);
                    }
                    Some((scope, body)) => {
                        let origin = c.reserve();
                        c.suspension = crate::client::Suspension::Reply;
                        shard.transactions.exec_behind(&shard.turn, &scope, origin, body);
                    }
                }
            } else {
                let origin = c.reserve();
                shard.send(owner, Message::Exec { coordinator: shard.id, origin, body });
            }
        }
        Reach::Transaction => shard.begin_transaction(c, commands, Vec::new(), true),
    }
    // Who runs it drops the watches, after the look at their flag: until then a change must still set it.
    c.watching = None;
    Ok(Flow::Later)
}

fn watch(shard: &mut Shard, c: &mut Connection, reply: &mut Reply, args: Args) -> Outcome {
    if c.multi.is_some() {
        return Err(CommandError::other("ERR WATCH inside MULTI is not allowed"));
    }
    // A flag that is set already dooms EXEC whatever else is watched.
    if c.watching.as_ref().is_some_and(|watching| watching.flag.is_set()) {
        reply.ok();
        return Ok(Flow::Done);
    }
    let db = c.db;
    let watching =
        c.watching.get_or_insert_with(|| Box::new(Watching { flag: WatchFlag::new(), keys: Vec::new() }));
    let mut added: Vec<Vec<u8>> = Vec::new();
    for key in &args[1..] {
        let wanted = (db, key.to_vec());
        if !watching.keys.contains(&wanted) {
            added.push(key.to_vec());
            watching.keys.push(wanted);
        }
    }
    let flag = watching.flag.clone();
    if added.iter().all(|key| shard.turn.slots.shard_of(key) == shard.id) {
        for key in added {
            shard.store.watch(db, &key, &flag);
        }
        reply.ok();
        return Ok(Flow::Done);
    }
    // The client may tell others that it watches as soon as it has its reply, so every owner must know by then.
    shard.ask_all_for(c, WatchKeys { db, keys: added, flag }, |_, _, reply| reply.ok());
    Ok(Flow::Later)
}

/// Watch those of the keys that are yours.
#[derive(Clone)]
pub struct WatchKeys {
    db: usize,
    keys: Vec<Vec<u8>>,
    flag: WatchFlag,
}

impl Question for WatchKeys {
    type Answer = ();

    fn answer(self, shard: &mut Shard) {
        for key in self.keys.iter().filter(|key| shard.turn.slots.shard_of(key) == shard.id) {
            shard.store.watch(self.db, key, &self.flag);
        }
    }
}

fn unwatch(shard: &mut Shard, c: &mut Connection, reply: &mut Reply, _: Args) -> Outcome {
    shard.unwatch_all(c);
    reply.ok();
    Ok(Flow::Done)
}

impl TurnState {
    /// The queued commands that the user may not run any more, and what is answered in their place.
    fn denied_at_exec(&self, c: &Connection, multi: &Multi) -> Vec<(usize, Text)> {
        if c.flags.has(Flag::MayEverything) {
            return Vec::new();
        }
        let queue = multi.queue.iter().enumerate();
        queue
            .filter_map(|(index, queued)| {
                let why = self.denial_at_exec(c, &c.user, queued.spec, &queued.args.slices())?;
                Some((index, why))
            })
            .collect()
    }

    fn reach_of(&self, c: &Connection, multi: &Multi) -> Reach {
        let mut only = None;
        let mut add = |shard: usize| *only.get_or_insert(shard) == shard;
        for queued in &multi.queue {
            let slices = queued.args.slices();
            match queued.spec.handler {
                Where::Keys(..) => {}
                // One shard is everything.
                Where::EveryShard(..) if self.slots.is_single() => continue,
                // Scripts, too, need a coordinator.
                _ => return Reach::Transaction,
            }
            let located = locate(queued.spec, &slices, &self.slots, || self.key_count(c.db));
            let fits = match located.plan {
                Plan::At(shard) => add(shard),
                Plan::Anywhere => true,
                _ => false,
            };
            if !fits {
                return Reach::Transaction;
            }
        }
        let watched = c.watching.as_ref().map(|watching| watching.keys.as_slice()).unwrap_or_default();
        if !watched.iter().all(|(_, key)| add(self.slots.shard_of(key))) {
            return Reach::Transaction;
        }
        Reach::OneShard(only.unwrap_or(self.id))
    }
}

impl Shard {
    pub(in crate::shard) fn unwatch_all(&mut self, c: &mut Connection) {
        let Some(watching) = c.watching.take() else { return };
        let Watching { flag, keys } = *watching;
        self.unwatch_keys(flag, keys);
    }

    /// Has the owners drop watches.
    pub(in crate::shard) fn unwatch_keys(&mut self, flag: WatchFlag, keys: Vec<(usize, Vec<u8>)>) {
        for (owner, keys) in self.turn.slots.by_owner(keys, |(_, key)| key) {
            self.send(owner, SubscriberMessage::Unwatch { flag: flag.clone(), keys }.into());
        }
    }

    /// Drops what a connection leaves behind in the shards when it ends or is reset.
    pub(in crate::shard) fn forget_client_state(&mut self, c: &mut Connection) {
        c.multi = None;
        self.unwatch_all(c);
        self.forget_monitor(c);
        self.forget_subscriptions(c);
        self.forget_tracking(c);
    }

    /// The queued commands, each with the database that SELECTs among them give it.
    fn bodies(&self, c: &Connection, multi: Multi) -> Vec<OwnedCommand> {
        let mut db = c.db;
        multi
            .queue
            .into_iter()
            .map(|queued| {
                if queued.spec.role == Role::Select {
                    let wanted = queued.args.slices().get(1).and_then(|text| parse_integer(text));
                    if let Some(wanted) = wanted.and_then(|n| usize::try_from(n).ok()) {
                        if wanted < self.store.databases() {
                            db = wanted;
                        }
                    }
                }
                OwnedCommand::new(queued.spec, db, queued.args)
            })
            .collect()
    }
}

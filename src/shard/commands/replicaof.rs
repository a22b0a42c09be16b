//! REPLICAOF SLAVEOF FAILOVER: which server this one follows. `crate::replication` does what they ask for.

use std::sync::atomic::Ordering;

use super::Handler;
use crate::client::{Connection, Flag};
use crate::command::{Args, CommandError};
use crate::repl::failover;
use crate::replication::{Event, Master, Order};
use crate::resp::Reply;
use crate::shard::replication::Then;
use crate::shard::{Flow, Shard};
use crate::store::parse_integer;

pub const COMMANDS: &[(&str, Handler)] =
    &[("replicaof", replicaof), ("slaveof", replicaof), ("failover", failover)];

/// REPLICAOF host port, and REPLICAOF NO ONE: answered when every shard has its new role.
fn replicaof(
    shard: &mut Shard,
    c: &mut Connection,
    reply: &mut Reply,
    args: Args,
) -> Result<Flow, CommandError> {
    if shard.shared.replication.status.is_loading() {
        return Err(CommandError::other("LOADING Redis is loading the dataset in memory"));
    }
    let is_no_one = args[1].eq_ignore_ascii_case(b"no") && args[2].eq_ignore_ascii_case(b"one");
    let master = if is_no_one {
        None
    } else {
        if c.flags.has(Flag::Replica) {
            return Err(CommandError::other("ERR Command is not valid when client is a replica."));
        }
        let port = parse_integer(args[2]).and_then(|port| u16::try_from(port).ok());
        let port = port.ok_or_else(|| CommandError::other("ERR Invalid master port"))?;
        Some(Master { host: args[1].to_vec(), port })
    };
    let order =
        Order { master, asked: None, is_failover: false, client: shard.turn.describe_client(c), begun: None };
    if shard.transactions.is_inside_transaction() {
        // The change of role needs all shards to itself: it comes behind the transaction.
        // What the transaction asks about replication is asked of the task, which knows then.
        shard.shared.replication.status.is_active.store(true, Ordering::Relaxed);
        shard.shared.replication.tell(Event::ReplicaOf(order));
        reply.ok();
        return Ok(Flow::Done);
    }
    // What it has asked for before is done before.
    if !c.may_begin_transaction() {
        return Ok(Flow::NotYet);
    }
    let Some(spec) = c.last_command else { return Err(CommandError::Syntax) };
    shard.ask_replication_for(c, Then::ReplicaOf(spec), |asked| {
        Event::ReplicaOf(Order { asked: Some(asked), ..order })
    });
    Ok(Flow::Later)
}

/// FAILOVER [TO host port [FORCE]] [ABORT] [TIMEOUT milliseconds]: answered when it has begun.
fn failover(shard: &mut Shard, c: &mut Connection, _: &mut Reply, args: Args) -> Result<Flow, CommandError> {
    let command = failover::Command::parse(args)?;
    // What it has asked for before is done before.
    if !shard.transactions.is_inside_transaction() && !c.may_begin_transaction() {
        return Ok(Flow::NotYet);
    }
    let Some(spec) = c.last_command else { return Err(CommandError::Syntax) };
    shard.ask_replication_for(c, Then::Failover(spec), |asked| Event::Failover(asked, command));
    Ok(Flow::Later)
}

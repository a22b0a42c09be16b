//! REPLCONF PSYNC SYNC ROLE WAIT WAITAOF: this server as a master. `crate::replication` does what they ask for.

use super::Handler;
use crate::base::log::Level;
use crate::client::{Connection, Flag};
use crate::command::{Args, BlockTimeout, CommandError};
use crate::repl::master::options::Replconf;
use crate::repl::master::wait::{Request, Standing};
use crate::replication::WaitOrder;
use crate::resp::Reply;
use crate::shard::replication::Then;
use crate::shard::{Flow, Shard};
use crate::store::parse_integer;
use std::sync::atomic::Ordering;

pub const COMMANDS: &[(&str, Handler)] = &[
    ("replconf", replconf),
    ("psync", synchronise),
    ("sync", synchronise),
    ("role", role),
    ("wait", wait),
    ("waitaof", wait_aof),
];

type Outcome = Result<Flow, CommandError>;

/// REPLCONF option value [option value ...]: what a replica says of itself before it asks for synchronisation.
fn replconf(_: &mut Shard, c: &mut Connection, reply: &mut Reply, args: Args) -> Outcome {
    let options = c.replica_options.get_or_insert_with(Box::default);
    if options.replconf(args, false)? == Replconf::Ok {
        reply.ok();
    }
    Ok(Flow::Done)
}

/// SYNC, and PSYNC replicationid offset. What can be refused is refused here, where the connection stays one of a client.
fn synchronise(shard: &mut Shard, c: &mut Connection, _: &mut Reply, args: Args) -> Outcome {
    if c.flags.has(Flag::Monitor) {
        return Err(CommandError::other("ERR Replica can't interact with the keyspace"));
    }
    if !c.may_begin_transaction() {
        return Ok(Flow::NotYet);
    }
    let status = &shard.shared.replication.status;
    if status.is_replica.load(Ordering::Relaxed) && !status.link_is_up.load(Ordering::Relaxed) {
        let is_failover = args.get(3).is_some_and(|word| word.eq_ignore_ascii_case(b"failover"));
        if !is_failover {
            return Err(CommandError::other("NOMASTERLINK Can't SYNC while not connected with my master"));
        }
    }
    let is_bare = |options: &crate::repl::master::options::Options| {
        options.filter.is_any() && !options.capabilities.eof
    };
    if c.replica_options.as_deref().is_some_and(is_bare) {
        return Err(CommandError::other("ERR Filtered replica requires EOF capability"));
    }
    if let [_, _, offset, ..] = args {
        if parse_integer(offset).is_none() {
            let peer = shard.turn.peer_text(c);
            crate::log_text!(
                Level::Warning,
                "Replica ",
                &peer,
                " asks for synchronization but with a wrong offset"
            );
            return Err(CommandError::NotInteger);
        }
    }
    shard.becomes_replica(c, args);
    Ok(Flow::Later)
}

fn role(shard: &mut Shard, c: &mut Connection, reply: &mut Reply, _: Args) -> Outcome {
    if !shard.shared.replication.status.is_active() {
        reply.raw(&shard.shared.replication.status.shown().role);
        return Ok(Flow::Done);
    }
    shard.ask_replication(c, Then::Role);
    Ok(Flow::Later)
}

fn standing(shard: &Shard) -> Standing<'static> {
    Standing {
        replicas: &[],
        durable: shard.turn.config.persistence.appendonly.then_some(0),
        is_replica: shard.shared.replication.status.is_replica.load(Ordering::Relaxed),
    }
}

/// WAIT numreplicas timeout
fn wait(shard: &mut Shard, c: &mut Connection, reply: &mut Reply, args: Args) -> Outcome {
    let (request, timeout) = Request::wait(args, &standing(shard), shard.turn.now_ms())?;
    begin_wait(shard, c, reply, request, timeout)
}

/// WAITAOF numlocal numreplicas timeout
fn wait_aof(shard: &mut Shard, c: &mut Connection, reply: &mut Reply, args: Args) -> Outcome {
    let (request, timeout) = Request::wait_aof(args, &standing(shard), shard.turn.now_ms())?;
    begin_wait(shard, c, reply, request, timeout)
}

fn begin_wait(
    shard: &mut Shard,
    c: &mut Connection,
    reply: &mut Reply,
    request: Request,
    timeout: BlockTimeout,
) -> Outcome {
    if c.socket.is_none() {
        // In a script, which cannot wait for the task: what it has just written no replica has.
        reply.integer(0);
        return Ok(Flow::Done);
    }
    let may_block = !shard.transactions.is_inside_transaction();
    // It waits for what the client has written before, and nothing else is under way while a client is blocked.
    if may_block && !c.may_begin_transaction() {
        return Ok(Flow::NotYet);
    }
    let Some(spec) = c.last_command else { return Err(CommandError::Syntax) };
    let timeout_ms = match timeout {
        BlockTimeout::Never => None,
        BlockTimeout::After(ms) => Some(ms),
    };
    let has_log = shard.turn.config.persistence.appendonly;
    let order = |asked| WaitOrder { asked, request, ticket_end: 0, timeout_ms, may_block, has_log };
    if may_block {
        shard.wait_for_replicas(c, order);
    } else {
        shard.wait_at_once(c, spec, order);
    }
    Ok(Flow::Later)
}

//! TIME ROLE WAIT LOLWUT: commands about the server as a whole.

use super::Handler;
use crate::client::Connection;
use crate::command::{Args, CommandError};
use crate::observe::lolwut;
use crate::resp::Reply;
use crate::runtime::clock;
use crate::shard::{Flow, Shard};
use crate::store::parse_integer;

pub const COMMANDS: &[(&str, Handler)] =
    &[("time", time), ("role", role), ("wait", wait), ("lolwut", lolwut)];

type Outcome = Result<Flow, CommandError>;

fn time(shard: &mut Shard, _: &mut Connection, reply: &mut Reply, _: Args) -> Outcome {
    let now_us = shard.time_in_script().unwrap_or_else(clock::unix_us);
    reply.array(2);
    reply.bulk_integer(now_us / 1_000_000);
    reply.bulk_integer(now_us % 1_000_000);
    Ok(Flow::Done)
}

fn role(_: &mut Shard, _: &mut Connection, reply: &mut Reply, _: Args) -> Outcome {
    reply.array(3);
    reply.bulk(b"master");
    reply.integer(0);
    reply.array(0);
    Ok(Flow::Done)
}

/// WAIT numreplicas timeout. No replica will ever confirm here, so a client that wants one waits for its timeout.
fn wait(shard: &mut Shard, c: &mut Connection, reply: &mut Reply, args: Args) -> Outcome {
    let wanted = parse_integer(args[1]).ok_or(CommandError::NotInteger)?;
    let timeout_ms = parse_integer(args[2])
        .ok_or_else(|| CommandError::other("ERR timeout is not an integer or out of range"))?;
    if timeout_ms < 0 {
        return Err(CommandError::other("ERR timeout is negative"));
    }
    if wanted <= 0 || shard.is_inside_transaction() {
        reply.integer(0);
        return Ok(Flow::Done);
    }
    // It waits for what the client has written before, and nothing else is under way while a client is blocked.
    if !shard.may_begin_transaction(c) {
        return Ok(Flow::NotYet);
    }
    let deadline_us = match timeout_ms {
        0 => None,
        ms => Some(clock::unix_us().saturating_add(ms.saturating_mul(1000))),
    };
    shard.wait_for_replicas(c, deadline_us);
    Ok(Flow::Later)
}

/// LOLWUT [VERSION version] [columns] [rows]; what is no number is ignored, unless it follows a version.
fn lolwut(_: &mut Shard, _: &mut Connection, reply: &mut Reply, args: Args) -> Outcome {
    let (mut rest, mut draws_sizes) = (&args[1..], false);
    if let [option, version, tail @ ..] = rest {
        if option.eq_ignore_ascii_case(b"version") {
            // Only the drawings of these versions have a size in Redis.
            draws_sizes = matches!(parse_integer(version).ok_or(CommandError::NotInteger)?, 5 | 6);
            rest = tail;
        }
    }
    let mut sizes = [lolwut::COLUMNS, lolwut::ROWS];
    for (size, text) in sizes.iter_mut().zip(rest) {
        match parse_integer(text) {
            Some(wanted) => *size = wanted.clamp(1, lolwut::SIDE_MAX as i64) as usize,
            None if draws_sizes => return Err(CommandError::NotInteger),
            None => {}
        }
    }
    let turn = (clock::unix_us() % lolwut::TURNS as i64) as usize;
    let art = lolwut::draw(sizes[0], sizes[1], turn);
    reply.verbatim("txt", format!("{art}\nRedis ver. {}\n", crate::REDIS_VERSION).as_bytes());
    Ok(Flow::Done)
}

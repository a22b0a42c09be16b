//! TIME LOLWUT: commands about the server as a whole.

use super::Handler;
use crate::client::Connection;
use crate::command::{Args, CommandError};
use crate::observe::lolwut;
use crate::resp::Reply;
use crate::runtime::clock;
use crate::shard::{Flow, Shard};
use crate::store::parse_integer;

pub const COMMANDS: &[(&str, Handler)] = &[("time", time), ("lolwut", lolwut)];

type Outcome = Result<Flow, CommandError>;

fn time(shard: &mut Shard, _: &mut Connection, reply: &mut Reply, _: Args) -> Outcome {
    let now_us = shard.scripts.time_in_script().unwrap_or_else(clock::unix_us);
    reply.array(2);
    reply.bulk_integer(now_us / 1_000_000);
    reply.bulk_integer(now_us % 1_000_000);
    Ok(Flow::Done)
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

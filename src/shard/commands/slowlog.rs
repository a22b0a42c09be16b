//! SLOWLOG GET LEN RESET HELP.

use super::{help, Handler};
use crate::client::Connection;
use crate::command::{subcommand_syntax, Args, CommandError};
use crate::resp::Reply;
use crate::shard::scatter::Question;
use crate::shard::slow::SlowEntry;
use crate::shard::{Flow, Shard};
use crate::store::parse_integer;

pub const COMMANDS: &[(&str, Handler)] =
    &[("slowlog|get", get), ("slowlog|len", len), ("slowlog|reset", reset), ("slowlog|help", print_help)];

/// Entries that GET shows when it is not told how many.
const ENTRIES_SHOWN: usize = 10;

const HELP: &[&str] = &[
    "GET [<count>]",
    "    Show the latest entries, 10 unless told otherwise, all with -1: number, Unix time, microseconds, arguments,",
    "    address and name of the client.",
    "LEN",
    "    Count the entries.",
    "RESET",
    "    Empty the log.",
];

type Outcome = Result<Flow, CommandError>;

fn get(shard: &mut Shard, c: &mut Connection, _: &mut Reply, args: Args) -> Outcome {
    if args.len() > 3 {
        return Err(subcommand_syntax("SLOWLOG", args));
    }
    let wrong = || CommandError::other("ERR count should be greater than or equal to -1");
    let wanted = match args.get(2) {
        None => ENTRIES_SHOWN,
        Some(count) => match parse_integer(count).ok_or_else(wrong)? {
            -1 => usize::MAX,
            count => usize::try_from(count).map_err(|_| wrong())?,
        },
    };
    let wanted = wanted.min(shard.turn.config.observing.slowlog_max_len as usize);
    shard.ask_all_for(c, LatestSlow { wanted }, move |_, answers, reply| {
        let mut entries: Vec<SlowEntry> = answers.into_iter().flatten().collect();
        entries.sort_by_key(|entry| std::cmp::Reverse(entry.id));
        entries.truncate(wanted);
        reply.array(entries.len());
        for entry in entries {
            reply.array(6);
            reply.integer(entry.id as i64);
            reply.integer(entry.unix_s);
            reply.integer(entry.duration_us as i64);
            reply.array(entry.args.len());
            entry.args.iter().for_each(|arg| reply.bulk(arg));
            reply.bulk(&entry.client_address);
            reply.bulk(&entry.client_name);
        }
    });
    Ok(Flow::Later)
}

fn len(shard: &mut Shard, c: &mut Connection, _: &mut Reply, _: Args) -> Outcome {
    let max = shard.turn.config.observing.slowlog_max_len;
    shard.ask_all_for(c, SlowLen, move |_, answers, reply| {
        reply.integer(answers.iter().sum::<u64>().min(max) as i64);
    });
    Ok(Flow::Later)
}

fn reset(shard: &mut Shard, c: &mut Connection, _: &mut Reply, _: Args) -> Outcome {
    shard.ask_all_for(c, ForgetSlow, |_, _, reply| reply.ok());
    Ok(Flow::Later)
}

/// Your latest entries, at most `wanted`.
#[derive(Clone)]
pub struct LatestSlow {
    wanted: usize,
}

impl Question for LatestSlow {
    type Answer = Vec<SlowEntry>;

    fn answer(self, shard: &mut Shard) -> Vec<SlowEntry> {
        shard.executor.slow_log.entries.iter().take(self.wanted).cloned().collect()
    }
}

/// How many entries you have.
#[derive(Clone)]
pub struct SlowLen;

impl Question for SlowLen {
    type Answer = u64;

    fn answer(self, shard: &mut Shard) -> u64 {
        shard.executor.slow_log.entries.len() as u64
    }
}

/// Forget your entries.
#[derive(Clone)]
pub struct ForgetSlow;

impl Question for ForgetSlow {
    type Answer = ();

    fn answer(self, shard: &mut Shard) {
        shard.executor.slow_log.entries.clear();
    }
}

fn print_help(_: &mut Shard, _: &mut Connection, reply: &mut Reply, _: Args) -> Outcome {
    help(reply, "SLOWLOG", HELP);
    Ok(Flow::Done)
}

//! SCRIPT and its subcommands.

use super::{help, Handler};
use crate::client::Connection;
use crate::command::{Args, CommandError};
use crate::resp::Reply;
use crate::script::Sha;
use crate::shard::scripts::Unkillable;
use crate::shard::{Flow, Shard};

pub const COMMANDS: &[(&str, Handler)] = &[
    ("script|debug", debug),
    ("script|exists", exists),
    ("script|flush", flush),
    ("script|help", print_help),
    ("script|kill", kill),
    ("script|load", load),
];

const HELP: &[&str] = &[
    "DEBUG (YES|SYNC|NO)",
    "    Set the debug mode of scripts; only NO is there.",
    "EXISTS <sha1> [<sha1> ...]",
    "    Tell which of the scripts the server knows.",
    "FLUSH [ASYNC|SYNC]",
    "    Forget all scripts.",
    "KILL",
    "    End a slow script that has not written anything.",
    "LOAD <script>",
    "    Let the server know a script without running it.",
];

type Outcome = Result<Flow, CommandError>;

fn debug(_: &mut Shard, _: &mut Connection, reply: &mut Reply, args: Args) -> Outcome {
    match &args[2].to_ascii_lowercase()[..] {
        b"no" => reply.ok(),
        b"yes" | b"sync" => return Err(CommandError::other(
            "ERR the script debugger is not there: use redis.log(), or debug the script on a Redis server",
        )),
        _ => return Err(CommandError::other("ERR Use SCRIPT DEBUG YES/SYNC/NO")),
    }
    Ok(Flow::Done)
}

fn exists(shard: &mut Shard, _: &mut Connection, reply: &mut Reply, args: Args) -> Outcome {
    reply.array(args.len() - 2);
    for sha in &args[2..] {
        let known = Sha::parse(sha).and_then(|sha| shard.shared.scripts.get(&sha));
        reply.integer(i64::from(known.is_some()));
    }
    Ok(Flow::Done)
}

fn flush(shard: &mut Shard, _: &mut Connection, reply: &mut Reply, args: Args) -> Outcome {
    let is_known = |word: &[u8]| word.eq_ignore_ascii_case(b"sync") || word.eq_ignore_ascii_case(b"async");
    match args {
        [_, _] => {}
        [_, _, word] if is_known(word) => {}
        _ => return Err(CommandError::other("ERR SCRIPT FLUSH only support SYNC|ASYNC option")),
    }
    shard.shared.scripts.flush();
    reply.ok();
    Ok(Flow::Done)
}

fn load(shard: &mut Shard, _: &mut Connection, reply: &mut Reply, args: Args) -> Outcome {
    let known = shard.scripts.learn_script(&shard.turn, args[2])?;
    reply.bulk(known.script.sha.bytes());
    Ok(Flow::Done)
}

fn kill(shard: &mut Shard, _: &mut Connection, reply: &mut Reply, _: Args) -> Outcome {
    shard.shared.scripts.kill(false).map_err(Unkillable::error)?;
    reply.ok();
    Ok(Flow::Done)
}

fn print_help(_: &mut Shard, _: &mut Connection, reply: &mut Reply, _: Args) -> Outcome {
    help(reply, "SCRIPT", HELP);
    Ok(Flow::Done)
}

//! FUNCTION and its subcommands that change nothing. What changes the libraries is in `shard/scripts/libraries.rs`.

use super::{help, Handler};
use crate::base::Stamp;
use crate::client::Connection;
use crate::command::{Args, CommandError};
use crate::resp::c_text;
use crate::resp::Reply;
use crate::script::{Library, ENGINE};
use crate::shard::scripts::Unkillable;
use crate::shard::{Flow, Shard};
use crate::text;

pub const COMMANDS: &[(&str, Handler)] = &[
    ("function|dump", dump),
    ("function|help", print_help),
    ("function|kill", kill),
    ("function|list", list),
    ("function|stats", stats),
];

const HELP: &[&str] = &[
    "LOAD [REPLACE] <FUNCTION CODE>",
    "    Load a library of functions.",
    "DELETE <LIBRARY NAME>",
    "    Delete a library.",
    "LIST [LIBRARYNAME PATTERN] [WITHCODE]",
    "    Tell of the libraries, all or those whose name matches, and their functions.",
    "STATS",
    "    Tell which function runs, and how many there are.",
    "KILL",
    "    End a slow function that has not written anything.",
    "FLUSH [ASYNC|SYNC]",
    "    Delete all libraries.",
    "DUMP",
    "    Return all libraries, serialised.",
    "RESTORE <PAYLOAD> [FLUSH|APPEND|REPLACE]",
    "    Load what DUMP has returned: in place of all libraries, besides them, or in place of those of the same names.",
];

type Outcome = Result<Flow, CommandError>;

fn dump(shard: &mut Shard, _: &mut Connection, reply: &mut Reply, _: Args) -> Outcome {
    let payload = shard.shared.scripts.libraries().dump(shard.turn.rdb_format());
    reply.bulk(&payload);
    Ok(Flow::Done)
}

fn list(shard: &mut Shard, _: &mut Connection, reply: &mut Reply, args: Args) -> Outcome {
    let (mut pattern, mut with_code) = (None, false);
    let mut rest = &args[2..];
    while let [word, tail @ ..] = rest {
        rest = match tail {
            tail if !with_code && word.eq_ignore_ascii_case(b"withcode") => {
                with_code = true;
                tail
            }
            [name, tail @ ..] if pattern.is_none() && word.eq_ignore_ascii_case(b"libraryname") => {
                pattern = Some(*name);
                tail
            }
            [] if pattern.is_none() && word.eq_ignore_ascii_case(b"libraryname") => {
                return Err(CommandError::other("ERR library name argument was not given"));
            }
            _ => {
                return Err(CommandError::other(text!("ERR Unknown argument ", c_text(word))));
            }
        };
    }
    let libraries = shard.shared.scripts.libraries();
    let chosen: Vec<_> = libraries.matching(pattern.unwrap_or(b"*")).collect();
    reply.array(chosen.len());
    for library in chosen {
        reply.map(if with_code { 4 } else { 3 });
        describe(reply, library);
        if with_code {
            reply.bulk(b"library_code");
            reply.bulk(&library.code);
        }
    }
    Ok(Flow::Done)
}

fn describe(reply: &mut Reply, library: &Library) {
    reply.bulk(b"library_name");
    reply.bulk(library.name.as_bytes());
    reply.bulk(b"engine");
    reply.bulk(ENGINE.as_bytes());
    reply.bulk(b"functions");
    reply.array(library.functions.len());
    for function in &library.functions {
        reply.map(3);
        reply.bulk(b"name");
        reply.bulk(function.name.as_bytes());
        reply.bulk(b"description");
        match &function.description {
            Some(text) => reply.bulk(text),
            None => reply.null(),
        }
        reply.bulk(b"flags");
        let flags = function.flags.names();
        reply.set(flags.len());
        flags.iter().for_each(|flag| reply.simple(flag));
    }
}

fn stats(shard: &mut Shard, _: &mut Connection, reply: &mut Reply, _: Args) -> Outcome {
    let slow = shard.shared.scripts.slowest();
    if slow.as_ref().is_some_and(|slow| !slow.is_function) {
        return Err(shard.turn.busy_error());
    }
    reply.map(2);
    reply.bulk(b"running_script");
    match slow {
        None => reply.null(),
        Some(slow) => {
            reply.map(3);
            reply.bulk(b"name");
            reply.bulk(slow.name.as_bytes());
            reply.bulk(b"command");
            let args = slow.command.slices();
            reply.array(args.len());
            args.iter().for_each(|arg| reply.bulk(arg));
            reply.bulk(b"duration_ms");
            reply.integer((Stamp::now().nanos_since(slow.started) / 1_000_000) as i64);
        }
    }
    let libraries = shard.shared.scripts.libraries();
    reply.bulk(b"engines");
    reply.map(1);
    reply.bulk(ENGINE.as_bytes());
    reply.map(2);
    reply.bulk(b"libraries_count");
    reply.integer(libraries.libraries_count() as i64);
    reply.bulk(b"functions_count");
    reply.integer(libraries.functions_count() as i64);
    Ok(Flow::Done)
}

fn kill(shard: &mut Shard, _: &mut Connection, reply: &mut Reply, _: Args) -> Outcome {
    shard.shared.scripts.kill(true).map_err(Unkillable::error)?;
    reply.ok();
    Ok(Flow::Done)
}

fn print_help(_: &mut Shard, _: &mut Connection, reply: &mut Reply, _: Args) -> Outcome {
    help(reply, "FUNCTION", HELP);
    Ok(Flow::Done)
}

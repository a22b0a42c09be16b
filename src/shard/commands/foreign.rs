//! What this server has nothing of, and clients ask for all the same: cluster mode and modules.

use super::{help, Handler};
use crate::client::Connection;
use crate::command::{Args, CommandError};
use crate::resp::Reply;
use crate::shard::{Flow, Shard};

pub const COMMANDS: &[(&str, Handler)] = &[
    ("asking", no_cluster),
    ("cluster", no_cluster),
    ("readonly", no_cluster),
    ("readwrite", no_cluster),
    ("module|help", print_help),
    ("module|list", list),
    ("module|load", no_modules),
    ("module|loadex", no_modules),
    ("module|unload", no_modules),
];

const HELP: &[&str] = &[
    "LIST",
    "    Return the modules, of which there are none.",
    "LOAD <path> [<arg> ...]",
    "LOADEX <path> [[CONFIG NAME VALUE]...] [ARGS ...]",
    "UNLOAD <name>",
    "    An error: this server has no modules.",
];

type Outcome = Result<Flow, CommandError>;

fn no_cluster(_: &mut Shard, _: &mut Connection, _: &mut Reply, _: Args) -> Outcome {
    Err(CommandError::other("ERR This instance has cluster support disabled"))
}

fn list(_: &mut Shard, _: &mut Connection, reply: &mut Reply, _: Args) -> Outcome {
    reply.array(0);
    Ok(Flow::Done)
}

fn no_modules(_: &mut Shard, _: &mut Connection, _: &mut Reply, _: Args) -> Outcome {
    Err(CommandError::other("ERR this server has no modules; see its documentation for what it has instead"))
}

fn print_help(_: &mut Shard, _: &mut Connection, reply: &mut Reply, _: Args) -> Outcome {
    help(reply, "MODULE", HELP);
    Ok(Flow::Done)
}

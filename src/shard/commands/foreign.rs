//! What this server has nothing of, and clients ask for all the same: cluster mode and modules.

use super::{help, Handler};
use crate::client::Connection;
use crate::command::{Args, CommandError};
use crate::observe::log::Level;
use crate::resp::{c_text, Reply};
use crate::shard::{Flow, Shard};

pub const COMMANDS: &[(&str, Handler)] = &[
    ("asking", no_cluster),
    ("cluster", no_cluster),
    ("readonly", no_cluster),
    ("readwrite", no_cluster),
    ("module|help", print_help),
    ("module|list", list),
    ("module|load", load),
    ("module|loadex", load),
    ("module|unload", unload),
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

/// Redis's answer to a module that it cannot load; the log says why.
fn load(_: &mut Shard, _: &mut Connection, _: &mut Reply, args: Args) -> Outcome {
    crate::log_text!(
        Level::Warning,
        "Module ",
        c_text(args[2]),
        " failed to load: Gyre has no C module API, and loads no modules"
    );
    Err(CommandError::other("ERR Error loading the extension. Please check the server logs."))
}

fn unload(_: &mut Shard, _: &mut Connection, _: &mut Reply, _: Args) -> Outcome {
    Err(CommandError::other("ERR Error unloading module: no such module with that name"))
}

fn print_help(_: &mut Shard, _: &mut Connection, reply: &mut Reply, _: Args) -> Outcome {
    help(reply, "MODULE", HELP);
    Ok(Flow::Done)
}

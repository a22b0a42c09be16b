//! What this server has nothing of, and clients ask for all the same: cluster mode and modules.

use super::{help, Handler};
use crate::base::log::Level;
use crate::client::Connection;
use crate::command::{Args, CommandError};
use crate::resp::{c_text, Reply};
use crate::shard::{Flow, Shard};

pub const COMMANDS: &[(&str, Handler)] = &[
    ("asking", no_cluster),
    ("cluster|addslots", no_cluster),
    ("cluster|addslotsrange", no_cluster),
    ("cluster|bumpepoch", no_cluster),
    ("cluster|count-failure-reports", no_cluster),
    ("cluster|countkeysinslot", no_cluster),
    ("cluster|delslots", no_cluster),
    ("cluster|delslotsrange", no_cluster),
    ("cluster|failover", no_cluster),
    ("cluster|flushslots", no_cluster),
    ("cluster|forget", no_cluster),
    ("cluster|getkeysinslot", no_cluster),
    ("cluster|help", no_cluster),
    ("cluster|info", no_cluster),
    ("cluster|keyslot", no_cluster),
    ("cluster|links", no_cluster),
    ("cluster|meet", no_cluster),
    ("cluster|myid", no_cluster),
    ("cluster|myshardid", no_cluster),
    ("cluster|nodes", no_cluster),
    ("cluster|replicas", no_cluster),
    ("cluster|replicate", no_cluster),
    ("cluster|reset", no_cluster),
    ("cluster|saveconfig", no_cluster),
    ("cluster|set-config-epoch", no_cluster),
    ("cluster|setslot", no_cluster),
    ("cluster|shards", no_cluster),
    ("cluster|slaves", no_cluster),
    ("cluster|slots", no_cluster),
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

//! COMMAND, which `crate::command::command_cmd` answers from the table, under the names that this server's configuration gives.

use super::{help, Handler};
use crate::client::Connection;
use crate::command::{command_cmd, Args, CommandError};
use crate::resp::Reply;
use crate::shard::{Flow, Shard};

pub const COMMANDS: &[(&str, Handler)] = &[
    ("command", command),
    ("command|count", count),
    ("command|info", info),
    ("command|docs", docs),
    ("command|list", list),
    ("command|getkeys", get_keys),
    ("command|getkeysandflags", get_keys_and_flags),
    ("command|help", print_help),
];

type Outcome = Result<Flow, CommandError>;

fn command(shard: &mut Shard, _: &mut Connection, reply: &mut Reply, _: Args) -> Outcome {
    command_cmd::command(reply, shard.shared.names);
    Ok(Flow::Done)
}

fn count(shard: &mut Shard, _: &mut Connection, reply: &mut Reply, _: Args) -> Outcome {
    command_cmd::count(reply, shard.shared.names);
    Ok(Flow::Done)
}

fn info(shard: &mut Shard, _: &mut Connection, reply: &mut Reply, args: Args) -> Outcome {
    command_cmd::info(reply, shard.shared.names, args);
    Ok(Flow::Done)
}

fn docs(shard: &mut Shard, _: &mut Connection, reply: &mut Reply, args: Args) -> Outcome {
    command_cmd::docs(reply, shard.shared.names, args);
    Ok(Flow::Done)
}

fn list(shard: &mut Shard, _: &mut Connection, reply: &mut Reply, args: Args) -> Outcome {
    command_cmd::list(reply, shard.shared.names, args)?;
    Ok(Flow::Done)
}

fn get_keys(shard: &mut Shard, _: &mut Connection, reply: &mut Reply, args: Args) -> Outcome {
    command_cmd::get_keys(reply, shard.shared.names, args)?;
    Ok(Flow::Done)
}

fn get_keys_and_flags(shard: &mut Shard, _: &mut Connection, reply: &mut Reply, args: Args) -> Outcome {
    command_cmd::get_keys_and_flags(reply, shard.shared.names, args)?;
    Ok(Flow::Done)
}

fn print_help(_: &mut Shard, _: &mut Connection, reply: &mut Reply, _: Args) -> Outcome {
    help(reply, "COMMAND", command_cmd::HELP);
    Ok(Flow::Done)
}

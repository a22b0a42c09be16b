//! CLIENT: what a connection says about itself here, other connections in `list` and `kill`, all of them at once in
//! `pause`.

pub(in crate::shard) mod kill;
pub(in crate::shard) mod list;
pub(in crate::shard) mod pause;
pub(in crate::shard) mod tracking;

use super::connection::checked_name;
use super::{help, Handler};
use crate::client::{Connection, Flag};
use crate::command::{Args, CommandError};
use crate::resp::c_text;
use crate::resp::Reply;
use crate::shard::{Flow, Shard};
use crate::text;

pub const COMMANDS: &[(&str, Handler)] = &[
    ("client|id", id),
    ("client|info", list::info),
    ("client|list", list::list),
    ("client|kill", kill::kill),
    ("client|getname", get_name),
    ("client|setname", set_name),
    ("client|setinfo", set_info),
    ("client|getredir", tracking::get_redirection),
    ("client|tracking", tracking::tracking),
    ("client|caching", tracking::caching),
    ("client|trackinginfo", tracking::info),
    ("client|no-evict", no_evict),
    ("client|no-touch", no_touch),
    ("client|reply", reply_mode),
    ("client|pause", pause::pause),
    ("client|unpause", pause::unpause),
    ("client|unblock", pause::unblock),
    ("client|help", print_help),
];

type Outcome = Result<Flow, CommandError>;

/// The classes of clients that CLIENT LIST and CLIENT KILL tell apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ClientType {
    /// Monitors too.
    Normal,
    Master,
    Replica,
    Pubsub,
}

impl ClientType {
    fn by_name(name: &[u8]) -> Result<Self, CommandError> {
        match name.to_ascii_lowercase().as_slice() {
            b"normal" => Ok(ClientType::Normal),
            b"master" => Ok(ClientType::Master),
            b"slave" | b"replica" => Ok(ClientType::Replica),
            b"pubsub" => Ok(ClientType::Pubsub),
            _ => Err(CommandError::other(text!("ERR Unknown client type '", c_text(name), "'"))),
        }
    }

    fn of(c: &Connection) -> Self {
        if c.flags.has(Flag::Master) {
            ClientType::Master
        } else if c.flags.has(Flag::Replica) {
            ClientType::Replica
        } else if c.flags.has(Flag::Subscriber) {
            ClientType::Pubsub
        } else {
            ClientType::Normal
        }
    }
}

fn id(_: &mut Shard, c: &mut Connection, reply: &mut Reply, _: Args) -> Outcome {
    reply.integer(c.id as i64);
    Ok(Flow::Done)
}

fn get_name(_: &mut Shard, c: &mut Connection, reply: &mut Reply, _: Args) -> Outcome {
    if c.name.is_empty() {
        reply.null();
    } else {
        reply.bulk(&c.name);
    }
    Ok(Flow::Done)
}

fn set_name(_: &mut Shard, c: &mut Connection, reply: &mut Reply, args: Args) -> Outcome {
    c.name = checked_name(args[2])?;
    reply.ok();
    Ok(Flow::Done)
}

fn set_info(_: &mut Shard, c: &mut Connection, reply: &mut Reply, args: Args) -> Outcome {
    let (attribute, value) = (args[2], args[3]);
    let target = match attribute.to_ascii_lowercase().as_slice() {
        b"lib-name" => &mut c.library_name,
        b"lib-ver" => &mut c.library_version,
        _ => {
            return Err(CommandError::other(text!("ERR Unrecognized option '", c_text(attribute), "'")));
        }
    };
    if !c_text(value).iter().all(u8::is_ascii_graphic) {
        return Err(CommandError::other(text!(
            "ERR ",
            c_text(attribute),
            " cannot contain spaces, newlines or special characters."
        )));
    }
    *target = value.into();
    reply.ok();
    Ok(Flow::Done)
}

fn switch(c: &mut Connection, flag: Flag, reply: &mut Reply, word: &[u8]) -> Outcome {
    match word.to_ascii_lowercase().as_slice() {
        b"on" => c.flags.set(flag),
        b"off" => c.flags.clear(flag),
        _ => return Err(CommandError::Syntax),
    }
    reply.ok();
    Ok(Flow::Done)
}

fn no_evict(_: &mut Shard, c: &mut Connection, reply: &mut Reply, args: Args) -> Outcome {
    switch(c, Flag::NoEvict, reply, args[2])
}

fn no_touch(_: &mut Shard, c: &mut Connection, reply: &mut Reply, args: Args) -> Outcome {
    switch(c, Flag::NoTouch, reply, args[2])
}

fn reply_mode(_: &mut Shard, c: &mut Connection, reply: &mut Reply, args: Args) -> Outcome {
    match args[2].to_ascii_lowercase().as_slice() {
        b"on" => {
            c.flags.clear(Flag::ReplyOff);
            c.flags.clear(Flag::ReplySkip);
            reply.ok();
        }
        b"off" => c.flags.set(Flag::ReplyOff),
        b"skip" if c.flags.has(Flag::ReplyOff) => {}
        b"skip" => c.flags.set(Flag::ReplySkipNext),
        _ => return Err(CommandError::Syntax),
    }
    Ok(Flow::Done)
}

const HELP: &[&str] = &[
    "CACHING (YES|NO)",
    "    Choose whether what the next command reads is tracked.",
    "GETREDIR",
    "    Show the connection that invalidations for this one are redirected to, -1 for none.",
    "GETNAME",
    "    Show the name of this connection.",
    "ID",
    "    Show the ID of this connection.",
    "INFO",
    "    Describe this connection.",
    "KILL <ip:port>",
    "    Close the connection that comes from <ip:port>.",
    "KILL <option> <value> [<option> <value> [...]]",
    "    Close the connections to which all options apply. Options are:",
    "    * ADDR (<ip:port>|<unixsocket>:0)",
    "      Where the connection comes from.",
    "    * ID <id>",
    "      The connection's ID.",
    "    * LADDR (<ip:port>|<unixsocket>:0)",
    "      The address of this server that it is connected to.",
    "    * TYPE (NORMAL|MASTER|REPLICA|PUBSUB)",
    "      The type of client.",
    "    * USER <username>",
    "      The user that it is logged in as.",
    "    * SKIPME (YES|NO)",
    "      Leave this connection alone (default: yes).",
    "LIST [options ...]",
    "    Describe connections, a line each. Options are:",
    "    * ID <id> [<id> ...]",
    "      These connections only.",
    "    * TYPE (NORMAL|MASTER|REPLICA|PUBSUB)",
    "      Connections of this type only.",
    "UNPAUSE",
    "    End the pause: clients go on at once.",
    "PAUSE <timeout> [WRITE|ALL]",
    "    Hold back all commands, or only those that write, for <timeout> milliseconds.",
    "REPLY (ON|OFF|SKIP)",
    "    Switch replies to this connection on or off, or leave out the next one.",
    "SETNAME <name>",
    "    Name this connection.",
    "SETINFO <option> <value>",
    "    Tell the server about the client's library. Options are:",
    "    * LIB-NAME: the library's name.",
    "    * LIB-VER: the library's version.",
    "TRACKING (ON|OFF) [REDIRECT <id>] [BCAST] [PREFIX <prefix> [...]] [OPTIN] [OPTOUT] [NOLOOP]",
    "    Have this connection told when what it has read changes.",
    "TRACKINGINFO",
    "    Show what is tracked for this connection.",
    "UNBLOCK <clientid> [TIMEOUT|ERROR]",
    "    Wake a client out of a blocking command.",
    "NO-EVICT (ON|OFF)",
    "    Spare this connection when clients use too much memory.",
    "NO-TOUCH (ON|OFF)",
    "    Leave the LRU/LFU clocks of the keys that this connection reads alone.",
];

fn print_help(_: &mut Shard, _: &mut Connection, reply: &mut Reply, _: Args) -> Outcome {
    help(reply, "CLIENT", HELP);
    Ok(Flow::Done)
}

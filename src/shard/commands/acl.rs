//! ACL and its subcommands.

use super::{help, Handler};
use crate::acl::Selector;
use crate::base::error_text;
use crate::client::Connection;
use crate::command::table::{self, Category};
use crate::command::{subcommand_syntax, Args, CommandError};
use crate::resp::Reply;
use crate::resp::{c_text, c_text_cut};
use crate::shard::users::UserChange;
use crate::shard::{Flow, Shard};
use crate::store::parse_integer;
use crate::text;

pub const COMMANDS: &[(&str, Handler)] = &[
    ("acl|cat", categories),
    ("acl|deluser", delete_users),
    ("acl|dryrun", dry_run),
    ("acl|genpass", generate_password),
    ("acl|getuser", get_user),
    ("acl|help", print_help),
    ("acl|list", list),
    ("acl|load", load),
    ("acl|log", log),
    ("acl|save", save),
    ("acl|setuser", set_user),
    ("acl|users", names),
    ("acl|whoami", who_am_i),
];

const HELP: &[&str] = &[
    "CAT [<category>]",
    "    List the categories of commands, or the commands of <category>.",
    "DELUSER <username> [<username> ...]",
    "    Delete users, and close their connections.",
    "DRYRUN <username> <command> [<arg> ...]",
    "    Tell whether the user may run the command, without running it.",
    "GETUSER <username>",
    "    Return the user's rules.",
    "GENPASS [<bits>]",
    "    Make a password of 256 bits, or of as many as are wanted.",
    "LIST",
    "    Return all users as lines of an ACL file.",
    "LOAD",
    "    Replace the users by those of the ACL file.",
    "LOG [<count> | RESET]",
    "    Return what users were denied lately, or forget it.",
    "SAVE",
    "    Write the users to the ACL file.",
    "SETUSER <username> <attribute> [<attribute> ...]",
    "    Make a user, or change one by rules.",
    "USERS",
    "    Return the names of all users.",
    "WHOAMI",
    "    Return the name of the connection's user.",
];

const PASSWORD_BITS: i64 = 256;
const PASSWORD_BITS_MAX: i64 = 4096;
/// Entries that LOG returns when it is not told how many.
const LOG_ENTRIES: usize = 10;

type Outcome = Result<Flow, CommandError>;

fn categories(_: &mut Shard, _: &mut Connection, reply: &mut Reply, args: Args) -> Outcome {
    let names: Vec<&str> = match args {
        [_, _] => Category::ALL.iter().map(|category| category.name()).collect(),
        [_, _, name] => {
            let category = Category::by_name(name).ok_or_else(|| {
                CommandError::other(text!("ERR Unknown category '", c_text_cut(name, 128), "'"))
            })?;
            table::all().filter(|spec| spec.categories.contains(category)).map(|spec| spec.name).collect()
        }
        _ => return Err(subcommand_syntax("ACL", args)),
    };
    reply.array(names.len());
    names.iter().for_each(|name| reply.bulk(name.as_bytes()));
    Ok(Flow::Done)
}

fn set_user(shard: &mut Shard, c: &mut Connection, _: &mut Reply, args: Args) -> Outcome {
    if args[2].iter().any(|byte| byte.is_ascii_whitespace() || *byte == 0x0b || *byte == 0) {
        return Err(CommandError::other("ERR Usernames can't contain spaces or null characters"));
    }
    let words = args[2..].iter().map(|word| word.to_vec()).collect();
    Ok(shard.change_users(c, UserChange::Set(words)))
}

fn delete_users(shard: &mut Shard, c: &mut Connection, _: &mut Reply, args: Args) -> Outcome {
    if args[2..].contains(&crate::acl::DEFAULT_USER) {
        return Err(CommandError::other("ERR The 'default' user cannot be removed"));
    }
    let names = args[2..].iter().map(|name| name.to_vec()).collect();
    Ok(shard.change_users(c, UserChange::Delete(names)))
}

fn get_user(shard: &mut Shard, _: &mut Connection, reply: &mut Reply, args: Args) -> Outcome {
    let Some(user) = shard.turn.users.get(args[2]).cloned() else {
        reply.null();
        return Ok(Flow::Done);
    };
    reply.map(6);
    reply.bulk(b"flags");
    let flags = user.flags();
    reply.set(flags.len());
    flags.iter().for_each(|flag| reply.bulk(flag.as_bytes()));
    reply.bulk(b"passwords");
    reply.array(user.passwords().len());
    user.passwords().for_each(|hash| reply.bulk(hash.as_bytes()));
    let [root, others @ ..] = user.selectors() else { return Ok(Flow::Done) };
    describe(reply, root);
    reply.bulk(b"selectors");
    reply.array(others.len());
    for selector in others {
        reply.map(3);
        describe(reply, selector);
    }
    Ok(Flow::Done)
}

fn describe(reply: &mut Reply, selector: &Selector) {
    for (name, text) in [
        ("commands", selector.commands_text()),
        ("keys", selector.keys_text()),
        ("channels", selector.channels_text()),
    ] {
        reply.bulk(name.as_bytes());
        reply.bulk(&text);
    }
}

fn list(shard: &mut Shard, _: &mut Connection, reply: &mut Reply, _: Args) -> Outcome {
    reply.array(shard.turn.users.iter().len());
    shard.turn.users.iter().for_each(|user| reply.bulk(&user.line()));
    Ok(Flow::Done)
}

fn names(shard: &mut Shard, _: &mut Connection, reply: &mut Reply, _: Args) -> Outcome {
    reply.array(shard.turn.users.iter().len());
    shard.turn.users.iter().for_each(|user| reply.bulk(&user.name));
    Ok(Flow::Done)
}

fn who_am_i(_: &mut Shard, c: &mut Connection, reply: &mut Reply, _: Args) -> Outcome {
    reply.bulk(&c.user.name);
    Ok(Flow::Done)
}

fn load(shard: &mut Shard, c: &mut Connection, _: &mut Reply, _: Args) -> Outcome {
    check_file(shard)?;
    Ok(shard.change_users(c, UserChange::Load))
}

fn save(shard: &mut Shard, _: &mut Connection, reply: &mut Reply, _: Args) -> Outcome {
    check_file(shard)?;
    shard.turn.save_users()?;
    reply.ok();
    Ok(Flow::Done)
}

fn check_file(shard: &Shard) -> Result<(), CommandError> {
    if shard.turn.config.security.aclfile.as_os_str().is_empty() {
        return Err(CommandError::other(
            "ERR This Redis instance is not configured to use an ACL file. You may want to specify users via the ACL \
             SETUSER command and then issue a CONFIG REWRITE (assuming you have a Redis configuration file set) in order to \
             store users in the Redis configuration.",
        ));
    }
    Ok(())
}

fn generate_password(_: &mut Shard, _: &mut Connection, reply: &mut Reply, args: Args) -> Outcome {
    let bits = match args {
        [_, _] => PASSWORD_BITS,
        [_, _, bits] => parse_integer(bits).ok_or(CommandError::NotInteger)?,
        _ => return Err(subcommand_syntax("ACL", args)),
    };
    if !(1..=PASSWORD_BITS_MAX).contains(&bits) {
        return Err(CommandError::other(format!(
            "ERR ACL GENPASS argument must be the number of bits for the output password, a positive number up to \
             {PASSWORD_BITS_MAX}"
        )));
    }
    let digits = (bits as usize).div_ceil(4);
    let password = crate::process::random_hex(digits).map_err(|error| {
        CommandError::other(format!("ERR The system has no random bits: {}", error_text(&error)))
    })?;
    reply.bulk(password.as_bytes());
    Ok(Flow::Done)
}

fn log(shard: &mut Shard, _: &mut Connection, reply: &mut Reply, args: Args) -> Outcome {
    let count = match args {
        [_, _] => LOG_ENTRIES,
        [_, _, word] if word.eq_ignore_ascii_case(b"reset") => {
            shard.shared.acl_log().clear();
            reply.ok();
            return Ok(Flow::Done);
        }
        [_, _, count] => parse_integer(count).ok_or(CommandError::NotInteger)?.max(0) as usize,
        _ => return Err(subcommand_syntax("ACL", args)),
    };
    let entries = shard.shared.acl_log().newest(count);
    let now_ms = shard.turn.now_ms();
    reply.array(entries.len());
    for entry in entries {
        reply.map(10);
        reply.bulk(b"count");
        reply.integer(entry.count as i64);
        reply.bulk(b"reason");
        reply.bulk(entry.reason.name().as_bytes());
        reply.bulk(b"context");
        reply.bulk(entry.context.name().as_bytes());
        reply.bulk(b"object");
        reply.bulk(&entry.object);
        reply.bulk(b"username");
        reply.bulk(&entry.user);
        reply.bulk(b"age-seconds");
        reply.double((now_ms - entry.updated_ms) as f64 / 1000.0);
        reply.bulk(b"client-info");
        reply.bulk(&entry.client);
        reply.bulk(b"entry-id");
        reply.integer(entry.id as i64);
        reply.bulk(b"timestamp-created");
        reply.integer(entry.created_ms);
        reply.bulk(b"timestamp-last-updated");
        reply.integer(entry.updated_ms);
    }
    Ok(Flow::Done)
}

fn dry_run(shard: &mut Shard, _: &mut Connection, reply: &mut Reply, args: Args) -> Outcome {
    let user = shard.turn.users.get(args[2]).cloned();
    let user =
        user.ok_or_else(|| CommandError::other(text!("ERR User '", c_text(args[2]), "' not found")))?;
    let request = &args[3..];
    let spec = shard
        .shared
        .names
        .find(request)
        .ok_or_else(|| CommandError::other(text!("ERR Command '", c_text(request[0]), "' not found")))?;
    if !spec.accepts(request.len()) {
        return Err(CommandError::other(format!(
            "ERR wrong number of arguments for '{}' command",
            spec.name
        )));
    }
    match user.check(spec, request) {
        Ok(()) => reply.ok(),
        Err(denial) => reply.bulk(&denial.long_text(&user, spec, request)),
    }
    Ok(Flow::Done)
}

fn print_help(_: &mut Shard, _: &mut Connection, reply: &mut Reply, _: Args) -> Outcome {
    help(reply, "ACL", HELP);
    Ok(Flow::Done)
}

//! XGROUP: making, moving and removing groups and their consumers.

use super::id::{any_id, strict_id};
use super::{group_changed, no_group_for_key};
use crate::command::parse::integer;
use crate::command::{subcommand_syntax, Args, CommandError, CommandResult, Context};
use crate::store::stream::{Group, Stream, StreamId};

const HELP: [&str; 17] = [
    "XGROUP <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
    "CREATE <key> <groupname> <id|$> [option]",
    "    Create a new consumer group. Options are:",
    "    * MKSTREAM",
    "      Create the empty stream if it does not exist.",
    "    * ENTRIESREAD entries_read",
    "      Set the group's entries_read counter (internal use).",
    "CREATECONSUMER <key> <groupname> <consumer>",
    "    Create a new consumer in the specified group.",
    "DELCONSUMER <key> <groupname> <consumer>",
    "    Remove the specified consumer.",
    "DESTROY <key> <groupname>",
    "    Remove the specified group.",
    "SETID <key> <groupname> <id|$> [ENTRIESREAD entries_read]",
    "    Set the current group ID and entries_read counter.",
    "HELP",
    "    Print this help.",
];

/// XGROUP HELP
pub fn xgroup_help(ctx: &mut Context, _: Args) -> CommandResult {
    ctx.reply.array(HELP.len());
    for line in HELP {
        ctx.reply.simple(line);
    }
    Ok(())
}

#[derive(Default)]
struct Options {
    make_stream: bool,
    entries_read: Option<i64>,
}

/// What follows the ID of CREATE and SETID; only the first may make the stream.
fn options(args: Args, may_make_stream: bool) -> Result<Options, CommandError> {
    let mut options = Options::default();
    let mut rest = &args[5..];
    while let [option, more @ ..] = rest {
        rest = match more {
            more if may_make_stream && option.eq_ignore_ascii_case(b"mkstream") => {
                options.make_stream = true;
                more
            }
            [count, more @ ..] if option.eq_ignore_ascii_case(b"entriesread") => {
                options.entries_read = match integer(count)? {
                    -1 => None,
                    count @ 0.. => Some(count),
                    _ => return Err(CommandError::other("ERR value for ENTRIESREAD must be positive or -1")),
                };
                more
            }
            _ => return Err(subcommand_syntax("XGROUP", args)),
        };
    }
    Ok(options)
}

fn requires_key() -> CommandError {
    CommandError::other(
        "ERR The XGROUP subcommand requires the key to exist. Note that for CREATE you may want to use the MKSTREAM option \
         to create an empty stream automatically.",
    )
}

/// Fails unless there is a stream with this group.
fn require_group(ctx: &mut Context, key: &[u8], group: &[u8]) -> CommandResult {
    let stream = ctx.store.peek_as::<Stream>(ctx.db, key)?.ok_or_else(requires_key)?;
    if stream.group(group).is_none() {
        return Err(no_group_for_key(group, key));
    }
    Ok(())
}

/// XGROUP CREATE key group id | $ [MKSTREAM] [ENTRIESREAD entries-read]
pub fn xgroup_create(ctx: &mut Context, args: Args) -> CommandResult {
    let (key, name) = (args[2], args[3]);
    let options = options(args, true)?;
    let stream = ctx.store.peek_as::<Stream>(ctx.db, key)?;
    if stream.is_none() && !options.make_stream {
        return Err(requires_key());
    }
    // Six options would be repetitions.
    if args.len() > 8 {
        return Err(subcommand_syntax("XGROUP", args));
    }
    let last_id = match args[4] {
        b"$" => stream.map_or(StreamId::MIN, |stream| stream.log().last_id()),
        id => strict_id(id, 0)?,
    };
    let group = Group::new(last_id, options.entries_read);
    let updated =
        ctx.store.update_or_create::<Stream, _>(ctx.db, key, |stream, _| stream.add_group(name, group))?;
    if updated.created {
        // A new key is a change of the key, a new group is none.
        ctx.store.touched(ctx.db, key);
    }
    if !updated.result {
        return Err(CommandError::other("BUSYGROUP Consumer Group name already exists"));
    }
    group_changed(ctx, key, "xgroup-create");
    ctx.reply.ok();
    Ok(())
}

/// XGROUP SETID key group id | $ [ENTRIESREAD entries-read]
pub fn xgroup_setid(ctx: &mut Context, args: Args) -> CommandResult {
    let (key, name) = (args[2], args[3]);
    let options = options(args, false)?;
    require_group(ctx, key, name)?;
    if args.len() > 7 {
        return Err(subcommand_syntax("XGROUP", args));
    }
    let last_id = match args[4] {
        b"$" => None,
        id => Some(any_id(id, 0)?),
    };
    ctx.store.update::<Stream, _>(ctx.db, key, |stream, _| {
        stream.change_group(name, |group, log| {
            group.last_id = last_id.unwrap_or(log.last_id());
            group.entries_read = options.entries_read;
        })
    })?;
    group_changed(ctx, key, "xgroup-setid");
    ctx.reply.ok();
    Ok(())
}

/// XGROUP DESTROY key group
pub fn xgroup_destroy(ctx: &mut Context, args: Args) -> CommandResult {
    let (key, name) = (args[2], args[3]);
    let updated = ctx.store.update::<Stream, _>(ctx.db, key, |stream, _| stream.take_group(name))?;
    let group = updated.ok_or_else(requires_key)?.result;
    let removed = group.is_some();
    group.into_iter().for_each(|group| ctx.store.discard(group));
    if removed {
        group_changed(ctx, key, "xgroup-destroy");
        // Consumers who wait for this group have to be told.
        ctx.ready(key);
    }
    ctx.reply.integer(i64::from(removed));
    Ok(())
}

/// XGROUP CREATECONSUMER key group consumer
pub fn xgroup_createconsumer(ctx: &mut Context, args: Args) -> CommandResult {
    let (key, name, consumer) = (args[2], args[3], args[4]);
    require_group(ctx, key, name)?;
    let now_ms = ctx.now_ms();
    let updated = ctx.store.update::<Stream, _>(ctx.db, key, |stream, _| {
        stream.change_group(name, |group, _| group.create_consumer(consumer, now_ms).is_some())
    })?;
    let created = updated.and_then(|updated| updated.result).unwrap_or(false);
    if created {
        group_changed(ctx, key, "xgroup-createconsumer");
    }
    ctx.reply.integer(i64::from(created));
    Ok(())
}

/// XGROUP DELCONSUMER key group consumer
pub fn xgroup_delconsumer(ctx: &mut Context, args: Args) -> CommandResult {
    let (key, name, consumer) = (args[2], args[3], args[4]);
    require_group(ctx, key, name)?;
    let updated = ctx.store.update::<Stream, _>(ctx.db, key, |stream, _| {
        stream.change_group(name, |group, _| group.delete_consumer(consumer)).flatten()
    })?;
    let pending = updated.and_then(|updated| updated.result);
    if pending.is_some() {
        group_changed(ctx, key, "xgroup-delconsumer");
    }
    ctx.reply.integer(pending.unwrap_or(0) as i64);
    Ok(())
}

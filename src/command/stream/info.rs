//! XINFO.

use super::{no_group_for_key, reply_entry, reply_id};
use crate::command::parse::integer;
use crate::command::{subcommand_syntax, Args, CommandError, CommandResult, Context};
use crate::resp::Reply;
use crate::store::stream::{Consumer, Entry, EntryLog, Group, Stream, StreamId};

/// Entries and pending entries that XINFO STREAM FULL shows of each when it is not told how many.
const FULL_COUNT: i64 = 10;

const HELP: [&str; 9] = [
    "XINFO <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
    "CONSUMERS <key> <groupname>",
    "    Show consumers of <groupname>.",
    "GROUPS <key>",
    "    Show the stream consumer groups.",
    "STREAM <key> [FULL [COUNT <count>]",
    "    Show information about the stream.",
    "HELP",
    "    Print this help.",
];

/// XINFO HELP
pub fn xinfo_help(ctx: &mut Context, _: Args) -> CommandResult {
    ctx.reply.array(HELP.len());
    for line in HELP {
        ctx.reply.simple(line);
    }
    Ok(())
}

fn field_integer(reply: &mut Reply, name: &str, value: i64) {
    reply.bulk(name.as_bytes());
    reply.integer(value);
}

fn field_integer_or_null(reply: &mut Reply, name: &str, value: Option<i64>) {
    reply.bulk(name.as_bytes());
    match value {
        Some(value) => reply.integer(value),
        None => reply.null(),
    }
}

fn field_id(reply: &mut Reply, name: &str, id: StreamId) {
    reply.bulk(name.as_bytes());
    reply_id(reply, id);
}

fn field_bulk(reply: &mut Reply, name: &str, value: &[u8]) {
    reply.bulk(name.as_bytes());
    reply.bulk(value);
}

/// XINFO CONSUMERS key group
pub fn xinfo_consumers(ctx: &mut Context, args: Args) -> CommandResult {
    let (key, name) = (args[2], args[3]);
    let now_ms = ctx.now_ms();
    let stream = ctx.store.read_as::<Stream>(ctx.db, key)?.ok_or(CommandError::NoSuchKey)?;
    let group = stream.group(name).ok_or_else(|| no_group_for_key(name, key))?;
    ctx.reply.array(group.consumer_count());
    for consumer in group.consumers() {
        let reply = &mut *ctx.reply;
        reply.map(4);
        field_bulk(reply, "name", consumer.name());
        field_integer(reply, "pending", consumer.pending_len() as i64);
        field_integer(reply, "idle", now_ms.wrapping_sub(consumer.seen_ms).max(0));
        field_integer(reply, "inactive", consumer.active_ms.map_or(-1, |ms| now_ms.wrapping_sub(ms)));
    }
    Ok(())
}

/// XINFO GROUPS key
pub fn xinfo_groups(ctx: &mut Context, args: Args) -> CommandResult {
    let stream = ctx.store.read_as::<Stream>(ctx.db, args[2])?.ok_or(CommandError::NoSuchKey)?;
    let reply = &mut *ctx.reply;
    reply.array(stream.groups().len());
    for (name, group) in stream.groups() {
        reply.map(6);
        field_bulk(reply, "name", name);
        field_integer(reply, "consumers", group.consumer_count() as i64);
        field_integer(reply, "pending", group.pending_len() as i64);
        field_id(reply, "last-delivered-id", group.last_id);
        field_integer_or_null(reply, "entries-read", group.entries_read);
        field_integer_or_null(reply, "lag", group.lag(stream.log()));
    }
    Ok(())
}

/// XINFO STREAM key [FULL [COUNT count]]
pub fn xinfo_stream(ctx: &mut Context, args: Args) -> CommandResult {
    let stream = ctx.store.read_as::<Stream>(ctx.db, args[2])?.ok_or(CommandError::NoSuchKey)?;
    let is = |arg: &[u8], name: &[u8]| arg.eq_ignore_ascii_case(name);
    let count = match &args[3..] {
        [] => {
            describe(ctx.reply, stream.log(), 10);
            describe_briefly(ctx.reply, stream);
            return Ok(());
        }
        [full] if is(full, b"full") => FULL_COUNT,
        [full, count, number] if is(full, b"full") && is(count, b"count") => match integer(number)? {
            ..0 => FULL_COUNT,
            number => number,
        },
        _ => return Err(subcommand_syntax("XINFO", args)),
    };
    describe(ctx.reply, stream.log(), 9);
    // 0 is all.
    describe_fully(ctx.reply, stream, if count == 0 { usize::MAX } else { count as usize });
    Ok(())
}

/// What both forms tell, at the head of a map of `pairs`.
fn describe(reply: &mut Reply, log: &EntryLog, pairs: usize) {
    reply.map(pairs);
    field_integer(reply, "length", log.len() as i64);
    field_integer(reply, "radix-tree-keys", log.node_count() as i64);
    field_integer(reply, "radix-tree-nodes", log.radix_tree_nodes() as i64);
    field_id(reply, "last-generated-id", log.last_id());
    field_id(reply, "max-deleted-entry-id", log.max_deleted_id());
    field_integer(reply, "entries-added", log.entries_added() as i64);
    field_id(reply, "recorded-first-entry-id", log.first_id());
}

fn describe_briefly(reply: &mut Reply, stream: &Stream) {
    field_integer(reply, "groups", stream.groups().len() as i64);
    let log = stream.log();
    let mut field_entry = |name: &str, entry: Option<Entry>| {
        reply.bulk(name.as_bytes());
        match entry {
            Some(entry) => reply_entry(reply, &entry),
            None => reply.null(),
        }
    };
    field_entry("first-entry", log.range(StreamId::MIN, StreamId::MAX).next());
    field_entry("last-entry", log.range_back(StreamId::MIN, StreamId::MAX).next());
}

fn describe_fully(reply: &mut Reply, stream: &Stream, count: usize) {
    reply.bulk(b"entries");
    let place = reply.defer_array();
    let mut len = 0;
    for entry in stream.log().range(StreamId::MIN, StreamId::MAX).take(count) {
        reply_entry(reply, &entry);
        len += 1;
    }
    reply.finish(place, len);
    reply.bulk(b"groups");
    reply.array(stream.groups().len());
    for (name, group) in stream.groups() {
        reply.map(7);
        field_bulk(reply, "name", name);
        field_id(reply, "last-delivered-id", group.last_id);
        field_integer_or_null(reply, "entries-read", group.entries_read);
        field_integer_or_null(reply, "lag", group.lag(stream.log()));
        field_integer(reply, "pel-count", group.pending_len() as i64);
        reply.bulk(b"pending");
        let shown = group.pending_len().min(count);
        reply.array(shown);
        for (id, pending) in group.pending_range(StreamId::MIN..=StreamId::MAX).take(shown) {
            reply.array(4);
            reply_id(reply, id);
            reply.bulk(group.consumer(pending.consumer).name());
            reply.integer(pending.delivered_ms);
            reply.integer(pending.deliveries as i64);
        }
        reply.bulk(b"consumers");
        reply.array(group.consumer_count());
        for consumer in group.consumers() {
            describe_consumer(reply, group, consumer, count);
        }
    }
}

fn describe_consumer(reply: &mut Reply, group: &Group, consumer: &Consumer, count: usize) {
    reply.map(5);
    field_bulk(reply, "name", consumer.name());
    field_integer(reply, "seen-time", consumer.seen_ms);
    field_integer(reply, "active-time", consumer.active_ms.unwrap_or(-1));
    field_integer(reply, "pel-count", consumer.pending_len() as i64);
    reply.bulk(b"pending");
    let shown = consumer.pending_len().min(count);
    reply.array(shown);
    for id in consumer.pending_from(StreamId::MIN).take(shown) {
        let pending = group.pending(id).expect("what is pending for a consumer is for its group");
        reply.array(3);
        reply_id(reply, id);
        reply.integer(pending.delivered_ms);
        reply.integer(pending.deliveries as i64);
    }
}

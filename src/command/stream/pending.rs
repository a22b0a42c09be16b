//! What is delivered and not acknowledged: XACK, XPENDING.

use super::delete::strict_ids;
use super::id::{range_end, range_start};
use super::{no_key_or_group, reply_id};
use crate::command::parse::integer;
use crate::command::{Args, CommandError, CommandResult, Context};
use crate::resp::Reply;
use crate::store::stream::{Group, Stream, StreamId};

/// XACK key group id [id ...]
pub fn xack(ctx: &mut Context, args: Args) -> CommandResult {
    let (key, name) = (args[1], args[2]);
    let found = ctx.store.read_as::<Stream>(ctx.db, key)?.and_then(|stream| stream.group(name));
    if found.is_none() {
        ctx.reply.integer(0);
        return Ok(());
    }
    let ids = strict_ids(&args[3..])?;
    let updated = ctx.store.update::<Stream, _>(ctx.db, key, |stream, _| {
        stream.change_group(name, |group, _| ids.iter().filter(|id| group.acknowledge(**id)).count())
    })?;
    let acknowledged = updated.and_then(|updated| updated.result).unwrap_or(0);
    ctx.store.dirty += acknowledged as u64;
    ctx.reply.integer(acknowledged as i64);
    Ok(())
}

/// Which pending entries to list.
struct Filter<'a> {
    idle_ms_min: i64,
    start: StreamId,
    end: StreamId,
    count: usize,
    consumer: Option<&'a [u8]>,
}

impl<'a> Filter<'a> {
    fn parse(args: Args<'a>) -> Result<Filter<'a>, CommandError> {
        let (idle_ms_min, range) = match args {
            [idle, ms, rest @ ..] if idle.eq_ignore_ascii_case(b"idle") => (integer(ms)?, rest),
            rest => (0, rest),
        };
        let ([start, end, count], consumer) = range.split_first_chunk::<3>().ok_or(CommandError::Syntax)?;
        // Less than none is none.
        let count = usize::try_from(integer(count)?).unwrap_or(0);
        let (start, end) = (range_start(start)?, range_end(end)?);
        Ok(Filter { idle_ms_min, start, end, count, consumer: consumer.first().copied() })
    }
}

/// XPENDING key group [[IDLE min-idle-time] start end count [consumer]]
pub fn xpending(ctx: &mut Context, args: Args) -> CommandResult {
    let (key, name) = (args[1], args[2]);
    if args.len() != 3 && !(6..=9).contains(&args.len()) {
        return Err(CommandError::Syntax);
    }
    let filter = match &args[3..] {
        [] => None,
        filter => Some(Filter::parse(filter)?),
    };
    let now_ms = ctx.now_ms();
    let stream = ctx.store.read_as::<Stream>(ctx.db, key)?;
    let group = stream.and_then(|stream| stream.group(name)).ok_or_else(|| no_key_or_group(key, name))?;
    match filter {
        None => summarise(ctx.reply, group),
        Some(filter) => list(ctx.reply, group, &filter, now_ms),
    }
    Ok(())
}

/// How many are pending, the first and the last, and how many each consumer has.
fn summarise(reply: &mut Reply, group: &Group) {
    reply.array(4);
    reply.integer(group.pending_len() as i64);
    let mut all = group.pending_range(StreamId::MIN..=StreamId::MAX).map(|(id, _)| id);
    let Some(first) = all.next() else {
        reply.null();
        reply.null();
        reply.null_array();
        return;
    };
    reply_id(reply, first);
    reply_id(reply, all.next_back().unwrap_or(first));
    let place = reply.defer_array();
    let mut len = 0;
    for consumer in group.consumers().filter(|consumer| consumer.pending_len() > 0) {
        reply.array(2);
        reply.bulk(consumer.name());
        reply.bulk_integer(consumer.pending_len() as i64);
        len += 1;
    }
    reply.finish(place, len);
}

fn list(reply: &mut Reply, group: &Group, filter: &Filter, now_ms: i64) {
    match filter.consumer.map(|name| group.find_consumer(name)) {
        // Nobody of this name.
        Some(None) => reply.array(0),
        Some(Some(number)) => {
            let ids = group.consumer(number).pending_from(filter.start);
            list_of(reply, group, filter, now_ms, ids);
        }
        None => {
            let all = group.pending_range(filter.start..=StreamId::MAX);
            list_of(reply, group, filter, now_ms, all.map(|(id, _)| id));
        }
    }
}

fn list_of(
    reply: &mut Reply,
    group: &Group,
    filter: &Filter,
    now_ms: i64,
    ids: impl Iterator<Item = StreamId>,
) {
    let place = reply.defer_array();
    let listed = ids
        .take_while(|id| *id <= filter.end)
        .filter_map(|id| Some((id, group.pending(id)?)))
        .map(|(id, pending)| (id, pending, now_ms.wrapping_sub(pending.delivered_ms)))
        .filter(|(_, _, idle_ms)| filter.idle_ms_min == 0 || *idle_ms >= filter.idle_ms_min)
        .take(filter.count);
    let mut len = 0;
    for (id, pending, idle_ms) in listed {
        reply.array(4);
        reply_id(reply, id);
        reply.bulk(group.consumer(pending.consumer).name());
        reply.integer(idle_ms.max(0));
        reply.integer(pending.deliveries as i64);
        len += 1;
    }
    reply.finish(place, len);
}

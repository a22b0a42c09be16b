//! Reading by index, and LTRIM.

use super::super::parse::integer;
use super::{bounds, element_number, write_item, Args, CommandResult, Context};
use crate::store::{Collection, End, EventClass, List};

/// LLEN key
pub fn llen(ctx: &mut Context, args: Args) -> CommandResult {
    let len = ctx.store.read_as::<List>(ctx.db, args[1])?.map_or(0, |list| list.len());
    ctx.reply.integer(len as i64);
    Ok(())
}

/// LINDEX key index
pub fn lindex(ctx: &mut Context, args: Args) -> CommandResult {
    let Some(list) = ctx.store.read_as::<List>(ctx.db, args[1])? else {
        ctx.reply.null();
        return Ok(());
    };
    let index = integer(args[2])?;
    match element_number(index, list.len()) {
        Some(index) => list.visit(index, End::Head, |item| {
            write_item(ctx.reply, item);
            false
        }),
        None => ctx.reply.null(),
    }
    Ok(())
}

/// LRANGE key start stop
pub fn lrange(ctx: &mut Context, args: Args) -> CommandResult {
    let (start, stop) = (integer(args[2])?, integer(args[3])?);
    let Some(list) = ctx.store.read_as::<List>(ctx.db, args[1])? else {
        ctx.reply.array(0);
        return Ok(());
    };
    let wanted = bounds(start, stop, list.len());
    ctx.reply.array(wanted.len());
    let mut left = wanted.len();
    if left > 0 {
        list.visit(wanted.start, End::Head, |item| {
            write_item(ctx.reply, item);
            left -= 1;
            left > 0
        });
    }
    Ok(())
}

/// LTRIM key start stop
pub fn ltrim(ctx: &mut Context, args: Args) -> CommandResult {
    let key = args[1];
    let (start, stop) = (integer(args[2])?, integer(args[3])?);
    let updated = ctx.store.update(ctx.db, key, |list: &mut List, tools| {
        let len = list.view().len();
        let kept = bounds(start, stop, len);
        let behind = (kept.end < len).then(|| list.split_off(kept.end));
        let in_front = (kept.start > 0).then(|| list.split_front(kept.start));
        list.shrink(tools.settings);
        (len - kept.len(), behind, in_front)
    })?;
    ctx.reply.ok();
    let Some(updated) = updated else { return Ok(()) };
    let (count, behind, in_front) = updated.result;
    for part in [behind, in_front].into_iter().flatten() {
        ctx.store.discard(part);
    }
    // Redis tells of it even when nothing was cut off, but then counts no change.
    ctx.also_changed(ctx.db, key, EventClass::LIST, "ltrim");
    ctx.store.dirty += count as u64;
    if updated.removed {
        ctx.store.events.raise(ctx.db, EventClass::GENERIC, "del", key);
    }
    Ok(())
}

//! Changing elements: LSET, LINSERT, LREM.

use super::super::parse::integer;
use super::{element_number, Args, CommandError, CommandResult, Context};
use crate::store::{Collection, End, EventClass, List, Side};

/// LSET key index element
pub fn lset(ctx: &mut Context, args: Args) -> CommandResult {
    let (key, element) = (args[1], args[3]);
    let index = integer(args[2]);
    let updated = ctx.store.update(ctx.db, key, |list: &mut List, tools| {
        let index = index?;
        list.grow(element.len(), 1, tools.settings);
        let number = element_number(index, list.view().len()).ok_or(CommandError::IndexOutOfRange)?;
        list.set(number, element, tools.settings);
        list.shrink(tools.settings);
        Ok::<(), CommandError>(())
    })?;
    updated.ok_or(CommandError::NoSuchKey)?.result?;
    ctx.changed(key, EventClass::LIST, "lset");
    ctx.reply.ok();
    Ok(())
}

/// LINSERT key BEFORE | AFTER pivot element
pub fn linsert(ctx: &mut Context, args: Args) -> CommandResult {
    let (key, pivot, element) = (args[1], args[3], args[4]);
    let side = match args[2] {
        side if side.eq_ignore_ascii_case(b"before") => Side::Before,
        side if side.eq_ignore_ascii_case(b"after") => Side::After,
        _ => return Err(CommandError::Syntax),
    };
    let updated = ctx.store.update(ctx.db, key, |list: &mut List, tools| {
        list.grow(element.len(), 1, tools.settings);
        let found = list.insert_beside(pivot, side, element, tools.settings);
        found.then(|| list.view().len())
    })?;
    match updated.map(|updated| updated.result) {
        None => ctx.reply.integer(0),
        Some(None) => ctx.reply.integer(-1),
        Some(Some(len)) => {
            ctx.changed(key, EventClass::LIST, "linsert");
            ctx.reply.integer(len as i64);
        }
    }
    Ok(())
}

/// LREM key count element: the first ones when `count` is positive, the last ones when it is negative, all when it is 0.
pub fn lrem(ctx: &mut Context, args: Args) -> CommandResult {
    let (key, element) = (args[1], args[3]);
    let count = integer(args[2])?;
    let (max, from) = match count {
        0 => (usize::MAX, End::Head),
        1.. => (count as usize, End::Head),
        _ => (count.unsigned_abs() as usize, End::Tail),
    };
    let updated = ctx.store.update(ctx.db, key, |list: &mut List, tools| {
        let removed = list.remove_equal(element, max, from);
        if removed > 0 {
            list.shrink(tools.settings);
        }
        removed
    })?;
    let Some(updated) = updated else {
        ctx.reply.integer(0);
        return Ok(());
    };
    if updated.result > 0 {
        ctx.changed(key, EventClass::LIST, "lrem");
        ctx.store.dirty += updated.result as u64 - 1;
    }
    if updated.removed {
        ctx.store.events.raise(ctx.db, EventClass::GENERIC, "del", key);
    }
    ctx.reply.integer(updated.result as i64);
    Ok(())
}

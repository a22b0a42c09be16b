//! Adding elements at an end.

use super::{Args, CommandResult, Context};
use crate::store::{Collection, End, EventClass, List, Tools};

/// LPUSH key element [element ...]
pub fn lpush(ctx: &mut Context, args: Args) -> CommandResult {
    push(ctx, args, End::Head)
}

/// RPUSH key element [element ...]
pub fn rpush(ctx: &mut Context, args: Args) -> CommandResult {
    push(ctx, args, End::Tail)
}

/// LPUSHX key element [element ...]
pub fn lpushx(ctx: &mut Context, args: Args) -> CommandResult {
    push_if_there(ctx, args, End::Head)
}

/// RPUSHX key element [element ...]
pub fn rpushx(ctx: &mut Context, args: Args) -> CommandResult {
    push_if_there(ctx, args, End::Tail)
}

fn push(ctx: &mut Context, args: Args, end: End) -> CommandResult {
    let (key, elements) = (args[1], &args[2..]);
    let add = |list: &mut List, tools: &mut Tools| push_all(list, tools, end, elements);
    let len = ctx.store.update_or_create(ctx.db, key, add)?.result;
    pushed(ctx, key, end, elements.len(), len);
    Ok(())
}

fn push_if_there(ctx: &mut Context, args: Args, end: End) -> CommandResult {
    let (key, elements) = (args[1], &args[2..]);
    let add = |list: &mut List, tools: &mut Tools| push_all(list, tools, end, elements);
    match ctx.store.update(ctx.db, key, add)? {
        Some(updated) => pushed(ctx, key, end, elements.len(), updated.result),
        None => ctx.reply.integer(0),
    }
    Ok(())
}

/// Returns the length of the list then.
fn push_all(list: &mut List, tools: &mut Tools, end: End, elements: Args) -> usize {
    let bytes = elements.iter().map(|element| element.len()).sum();
    list.grow(bytes, elements.len(), tools.settings);
    for element in elements {
        list.push(end, element, tools.settings);
    }
    list.view().len()
}

fn pushed(ctx: &mut Context, key: &[u8], end: End, count: usize, len: usize) {
    ctx.changed(key, EventClass::LIST, event(end));
    ctx.store.dirty += count as u64 - 1;
    ctx.reply.integer(len as i64);
}

pub(super) fn event(end: End) -> &'static str {
    match end {
        End::Head => "lpush",
        End::Tail => "rpush",
    }
}

//! Moving an element from one list to another, or to the other end of the same one.

use smallvec::SmallVec;

use super::push::event;
use super::{elements_removed, end, write_item, Args, CommandError, CommandResult, Context};
use crate::store::listpack::Item;
use crate::store::{End, EventClass, List, Tools};

/// A copy of the element on its way.
type Element = SmallVec<[u8; 256]>;

/// LMOVE source destination LEFT | RIGHT LEFT | RIGHT
pub fn lmove(ctx: &mut Context, args: Args) -> CommandResult {
    let (from, to) = (end(args[3])?, end(args[4])?);
    if !transfer(ctx, args[1], args[2], from, to)? {
        ctx.reply.null();
    }
    Ok(())
}

/// RPOPLPUSH source destination
pub fn rpoplpush(ctx: &mut Context, args: Args) -> CommandResult {
    if !transfer(ctx, args[1], args[2], End::Tail, End::Head)? {
        ctx.reply.null();
    }
    Ok(())
}

/// Moves an element and writes it; false, and nothing is written, when there is no source.
pub(super) fn transfer(
    ctx: &mut Context,
    source: &[u8],
    destination: &[u8],
    from: End,
    to: End,
) -> Result<bool, CommandError> {
    if ctx.store.peek_as::<List>(ctx.db, source)?.is_none() {
        return Ok(false);
    }
    let mut element = Element::new();
    let reply = &mut *ctx.reply;
    let mut take = |item: Item, element: &mut Element| {
        element.extend_from_slice(item.bytes(&mut itoa::Buffer::new()));
        write_item(reply, item);
    };
    let mut source_removed = false;
    if source == destination {
        let rotate = |list: &mut List, tools: &mut Tools| {
            list.pop(from, |item| take(item, &mut element));
            list.grow(element.len(), 1, tools.settings);
            list.push(to, &element, tools.settings);
            list.shrink(tools.settings);
        };
        ctx.store.update(ctx.db, source, rotate)?;
    } else {
        if let Err(error) = ctx.store.peek_as::<List>(ctx.db, destination) {
            ctx.store.use_key(ctx.db, source);
            ctx.store.use_key(ctx.db, destination);
            return Err(error.into());
        }
        let pop = |list: &mut List, tools: &mut Tools| {
            list.pop(from, |item| take(item, &mut element));
            list.shrink(tools.settings);
        };
        let popped = ctx.store.update(ctx.db, source, pop)?;
        source_removed = popped.is_some_and(|popped| popped.removed);
        ctx.store.update_or_create(ctx.db, destination, |list: &mut List, tools| {
            list.grow(element.len(), 1, tools.settings);
            list.push(to, &element, tools.settings);
        })?;
    }
    ctx.also_changed(ctx.db, destination, EventClass::LIST, event(to));
    elements_removed(ctx, source, from, 1, source_removed);
    if ctx.caller.on_excerpts {
        ctx.log_instead(&[if from == End::Head { b"LPOP" } else { b"RPOP" }, source]);
        ctx.log_instead(&[if to == End::Head { b"LPUSH" } else { b"RPUSH" }, destination, &element]);
    }
    Ok(true)
}

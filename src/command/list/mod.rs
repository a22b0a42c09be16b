//! The list commands. By file: `push` and `pop` at the ends, `range` (LRANGE, LTRIM, LINDEX), `edit` (LSET, LINSERT, LREM),
//! `position` (LPOS), `transfer` (LMOVE and its kin), `blocking` (the forms that wait).

mod blocking;
mod edit;
mod pop;
mod position;
mod push;
mod range;
#[cfg(test)]
mod tests;
mod transfer;

pub use blocking::{blmove, blmpop, blpop, brpop, brpoplpush};
pub use edit::{linsert, lrem, lset};
pub use pop::{lmpop, lpop, pop_count, rpop};
pub use position::lpos;
pub use push::{lpush, lpushx, rpush, rpushx};
pub use range::{lindex, llen, lrange, ltrim};
pub use transfer::{lmove, rpoplpush};

use super::{Args, CommandError, CommandResult, Context};
use crate::resp::Reply;
use crate::store::listpack::Item;
use crate::store::{parse_integer, End, EventClass};

fn write_item(reply: &mut Reply, item: Item) {
    match item {
        Item::Int(value) => reply.bulk_integer(value),
        Item::Bytes(bytes) => reply.bulk(bytes),
    }
}

/// LEFT or RIGHT.
fn end(text: &[u8]) -> Result<End, CommandError> {
    match text {
        _ if text.eq_ignore_ascii_case(b"left") => Ok(End::Head),
        _ if text.eq_ignore_ascii_case(b"right") => Ok(End::Tail),
        _ => Err(CommandError::Syntax),
    }
}

/// An integer of at least `min`; anything else is answered with `error`.
fn at_least(min: i64, text: &[u8], error: &'static str) -> Result<usize, CommandError> {
    let value = parse_integer(text).filter(|value| *value >= min);
    value.map(|value| value as usize).ok_or(CommandError::other(error))
}

/// The element that `index` means, when there is one: those from the end count from -1.
fn element_number(index: i64, len: usize) -> Option<usize> {
    let index = if index < 0 { index.checked_add(len as i64)? } else { index };
    usize::try_from(index).ok().filter(|index| *index < len)
}

/// What two numbers select of `len` elements, as LRANGE reads them: both included, negative ones count from the end.
fn bounds(start: i64, stop: i64, len: usize) -> std::ops::Range<usize> {
    let from_front = |index: i64| if index < 0 { index + len as i64 } else { index };
    let (start, stop) = (from_front(start).max(0), from_front(stop).min(len as i64 - 1));
    if start > stop {
        return 0..0;
    }
    // Both are between 0 and len - 1 now.
    start as usize..stop as usize + 1
}

/// What is to be told after `count` elements were taken away at an end.
fn elements_removed(ctx: &mut Context, key: &[u8], from: End, count: usize, key_removed: bool) {
    let name = match from {
        End::Head => "lpop",
        End::Tail => "rpop",
    };
    ctx.changed(key, EventClass::LIST, name);
    ctx.store.dirty += count as u64 - 1;
    if key_removed {
        ctx.store.events.raise(ctx.db, EventClass::GENERIC, "del", key);
    }
}

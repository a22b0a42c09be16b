//! Taking elements out: ZREM, and by range ZREMRANGEBYRANK, ZREMRANGEBYSCORE, ZREMRANGEBYLEX.

use std::ops::Range;

use super::super::elements::raise_removed;
use super::super::parse::integer;
use super::range::clamp_ranks;
use super::{lex_range, score_range, Args, CommandResult, Context};
use crate::store::{Collection, EventClass, SortedSet, SortedSetView};

/// ZREM key member [member ...]
pub fn zrem(ctx: &mut Context, args: Args) -> CommandResult {
    let key = args[1];
    let updated = ctx.store.update(ctx.db, key, |set: &mut SortedSet, _| {
        let mut removed = 0;
        for member in &args[2..] {
            removed += usize::from(set.remove(member));
            if set.is_empty() {
                break;
            }
        }
        removed
    })?;
    let (removed, emptied) = updated.map_or((0, false), |updated| (updated.result, updated.removed));
    report(ctx, key, removed, emptied, "zrem");
    Ok(())
}

/// ZREMRANGEBYRANK key start stop
pub fn zremrangebyrank(ctx: &mut Context, args: Args) -> CommandResult {
    let (start, end) = (integer(args[2])?, integer(args[3])?);
    remove_range(ctx, args[1], "zremrangebyrank", |view| clamp_ranks(start, end, view.len()))
}

/// ZREMRANGEBYSCORE key min max
pub fn zremrangebyscore(ctx: &mut Context, args: Args) -> CommandResult {
    let range = score_range(args[2], args[3])?;
    remove_range(ctx, args[1], "zremrangebyscore", |view| view.ranks_by_score(&range))
}

/// ZREMRANGEBYLEX key min max
pub fn zremrangebylex(ctx: &mut Context, args: Args) -> CommandResult {
    let range = lex_range(args[2], args[3])?;
    remove_range(ctx, args[1], "zremrangebylex", |view| view.ranks_by_lex(&range))
}

fn remove_range(
    ctx: &mut Context,
    key: &[u8],
    event: &'static str,
    select: impl Fn(SortedSetView) -> Range<usize>,
) -> CommandResult {
    let selected = ctx.store.peek_as::<SortedSet>(ctx.db, key)?.map(|view| (select(view), view.len()));
    let (ranks, len) = selected.unwrap_or_default();
    let (removed, emptied) = (ranks.len(), !ranks.is_empty() && ranks.len() == len);
    if emptied {
        // All at once: the memory of a large one is given back step by step.
        ctx.store.remove(ctx.db, key);
    } else if removed > 0 {
        ctx.store.update(ctx.db, key, |set: &mut SortedSet, _| set.remove_ranks(ranks))?;
    }
    report(ctx, key, removed, emptied, event);
    Ok(())
}

/// Answers with how many elements were taken out, and tells about it.
fn report(ctx: &mut Context, key: &[u8], removed: usize, emptied: bool, event: &'static str) {
    if removed > 0 {
        ctx.changed(key, EventClass::ZSET, event);
        ctx.store.dirty += removed as u64 - 1;
    }
    raise_removed(ctx, key, emptied);
    ctx.reply.integer(removed as i64);
}

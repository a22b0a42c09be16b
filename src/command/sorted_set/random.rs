//! ZRANDMEMBER and ZSCAN: elements in no order.

use super::super::elements::{scan_elements, write_item, Wanted};
use super::{Args, CommandError, CommandResult, Context};
use crate::base::double::{format_double, format_double_17g};
use crate::resp::{Protocol, Reply};
use crate::store::listpack::Item;
use crate::store::{Kind, Score, SortedSet, SortedSetView};

/// Scores are shown for so many elements at most; Redis cannot count more.
const WITH_SCORES_MAX: usize = i64::MAX as usize / 2;

/// ZRANDMEMBER key [count [WITHSCORES]]
pub fn zrandmember(ctx: &mut Context, args: Args) -> CommandResult {
    let mut rng = ctx.store.rng().split();
    let Some(count) = args.get(2) else {
        match ctx.store.read_as::<SortedSet>(ctx.db, args[1])? {
            Some(view) => write_item(ctx.reply, view.random(&mut rng).0),
            None => ctx.reply.null(),
        }
        return Ok(());
    };
    let wanted = Wanted::parse(count)?;
    let with_scores = match args[3..] {
        [] => false,
        [option] if option.eq_ignore_ascii_case(b"withscores") => true,
        _ => return Err(CommandError::Syntax),
    };
    let (Wanted::Different(count) | Wanted::Repeated(count)) = wanted;
    if with_scores && count > WITH_SCORES_MAX {
        return Err(CommandError::other("ERR value is out of range"));
    }
    let Some(view) = ctx.store.read_as::<SortedSet>(ctx.db, args[1])? else {
        ctx.reply.array(0);
        return Ok(());
    };
    let wanted = wanted.bounded()?;
    let returned = match wanted {
        Wanted::Different(count) => count.min(view.len()),
        Wanted::Repeated(count) => count,
    };
    let nested = with_scores && ctx.reply.protocol() == Protocol::Resp3;
    ctx.reply.array(if with_scores && !nested { 2 * returned } else { returned });
    let reply = &mut *ctx.reply;
    let mut write = |member: Item, score: Score| {
        if nested {
            reply.array(2);
        }
        write_item(reply, member);
        if with_scores {
            reply.double(score);
        }
    };
    match wanted {
        Wanted::Different(count) => view.sample(count, &mut rng, write),
        Wanted::Repeated(count) => {
            for _ in 0..count {
                let (member, score) = view.random(&mut rng);
                write(member, score);
            }
        }
    }
    Ok(())
}

/// ZSCAN key cursor [MATCH pattern] [COUNT count]
pub fn zscan(ctx: &mut Context, args: Args) -> CommandResult {
    scan_elements::<SortedSet, 2>(ctx, args, |view, cursor, reply, matches| {
        view.scan(cursor, |member, score| {
            if matches(member) {
                write_item(reply, member);
                write_scanned_score(reply, view, score);
            }
        })
    })
}

/// As Redis writes it here: of a small set what is stored, of a large one with more digits than need be.
fn write_scanned_score(reply: &mut Reply, view: SortedSetView, score: Score) {
    if view.kind() == Kind::SortedSetListpack {
        reply.bulk(format_double(score).as_bytes());
    } else {
        reply.bulk(format_double_17g(score).as_bytes());
    }
}

//! Asking about elements: ZCARD, ZCOUNT, ZLEXCOUNT, ZSCORE, ZMSCORE, ZRANK, ZREVRANK.

use super::{lex_range, score_range, Args, CommandError, CommandResult, Context};
use crate::store::SortedSet;

/// ZCARD key
pub fn zcard(ctx: &mut Context, args: Args) -> CommandResult {
    let len = ctx.store.read_as::<SortedSet>(ctx.db, args[1])?.map_or(0, |view| view.len());
    ctx.reply.integer(len as i64);
    Ok(())
}

/// ZCOUNT key min max
pub fn zcount(ctx: &mut Context, args: Args) -> CommandResult {
    let range = score_range(args[2], args[3])?;
    let view = ctx.store.read_as::<SortedSet>(ctx.db, args[1])?;
    ctx.reply.integer(view.map_or(0, |view| view.ranks_by_score(&range).len()) as i64);
    Ok(())
}

/// ZLEXCOUNT key min max
pub fn zlexcount(ctx: &mut Context, args: Args) -> CommandResult {
    let range = lex_range(args[2], args[3])?;
    let view = ctx.store.read_as::<SortedSet>(ctx.db, args[1])?;
    ctx.reply.integer(view.map_or(0, |view| view.ranks_by_lex(&range).len()) as i64);
    Ok(())
}

/// ZSCORE key member
pub fn zscore(ctx: &mut Context, args: Args) -> CommandResult {
    match ctx.store.read_as::<SortedSet>(ctx.db, args[1])?.and_then(|view| view.score(args[2])) {
        Some(score) => ctx.reply.double(score),
        None => ctx.reply.null(),
    }
    Ok(())
}

/// ZMSCORE key member [member ...]
pub fn zmscore(ctx: &mut Context, args: Args) -> CommandResult {
    let view = ctx.store.read_as::<SortedSet>(ctx.db, args[1])?;
    ctx.reply.array(args.len() - 2);
    for member in &args[2..] {
        match view.and_then(|view| view.score(member)) {
            Some(score) => ctx.reply.double(score),
            None => ctx.reply.null(),
        }
    }
    Ok(())
}

/// ZRANK key member [WITHSCORE]
pub fn zrank(ctx: &mut Context, args: Args) -> CommandResult {
    rank(ctx, args, false, "zrank")
}

/// ZREVRANK key member [WITHSCORE]
pub fn zrevrank(ctx: &mut Context, args: Args) -> CommandResult {
    rank(ctx, args, true, "zrevrank")
}

fn rank(ctx: &mut Context, args: Args, reverse: bool, command: &'static str) -> CommandResult {
    let with_score = match args[3..] {
        [] => false,
        [option] if option.eq_ignore_ascii_case(b"withscore") => true,
        [_] => return Err(CommandError::Syntax),
        _ => return Err(CommandError::WrongArity(command)),
    };
    let Some(view) = ctx.store.read_as::<SortedSet>(ctx.db, args[1])? else {
        no_rank(ctx, with_score);
        return Ok(());
    };
    let Some((rank, score)) = view.rank(args[2]) else {
        no_rank(ctx, with_score);
        return Ok(());
    };
    let rank = if reverse { view.len() - 1 - rank } else { rank };
    if with_score {
        ctx.reply.array(2);
    }
    ctx.reply.integer(rank as i64);
    if with_score {
        ctx.reply.double(score);
    }
    Ok(())
}

fn no_rank(ctx: &mut Context, with_score: bool) {
    if with_score {
        ctx.reply.null_array();
    } else {
        ctx.reply.null();
    }
}

//! Taking elements from the ends: ZPOPMIN, ZPOPMAX, ZMPOP and the forms of these that wait for an element.

use super::super::elements::{raise_removed, write_item};
use super::super::parse::{block_timeout_seconds, integer, numbered_keys, BadCount};
use super::super::{BlockTimeout, Blocking, WaitFor};
use super::{Args, CommandError, CommandResult, Context};
use crate::resp::Protocol;
use crate::store::{Collection, EventClass, SortedSet, ValueType};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Min,
    Max,
}

impl End {
    fn event(self) -> &'static str {
        match self {
            End::Min => "zpopmin",
            End::Max => "zpopmax",
        }
    }

    fn command(self) -> &'static [u8] {
        match self {
            End::Min => b"ZPOPMIN",
            End::Max => b"ZPOPMAX",
        }
    }
}

/// How what was taken is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shape {
    /// Members and scores in turn.
    Flat,
    /// An array for each element.
    Nested,
    /// The key, then members and scores in turn.
    KeyThenFlat,
    /// The key, and an array of arrays.
    KeyAndNested,
}

/// ZPOPMIN key [count]
pub fn zpopmin(ctx: &mut Context, args: Args) -> CommandResult {
    pop_one_key(ctx, args, End::Min)
}

/// ZPOPMAX key [count]
pub fn zpopmax(ctx: &mut Context, args: Args) -> CommandResult {
    pop_one_key(ctx, args, End::Max)
}

fn pop_one_key(ctx: &mut Context, args: Args, end: End) -> CommandResult {
    let key = args[1];
    let (count, shape) = match args.len() {
        2 => (1, Shape::Flat),
        3 => {
            let count = integer(args[2]).ok().and_then(|count| usize::try_from(count).ok());
            let count = count.ok_or(CommandError::other("ERR value is out of range, must be positive"))?;
            let nested = ctx.reply.protocol() == Protocol::Resp3;
            (count, if nested { Shape::Nested } else { Shape::Flat })
        }
        _ => return Err(CommandError::Syntax),
    };
    if ctx.store.peek_as::<SortedSet>(ctx.db, key)?.is_none() || count == 0 {
        ctx.reply.array(0);
        return Ok(());
    }
    pop(ctx, key, end, count, shape)?;
    Ok(())
}

/// Takes up to `count` elements of a key that exists, and answers with them; returns how many.
fn pop(ctx: &mut Context, key: &[u8], end: End, count: usize, shape: Shape) -> Result<usize, CommandError> {
    let reply = &mut *ctx.reply;
    let updated = ctx.store.update(ctx.db, key, |set: &mut SortedSet, _| {
        let view = set.view();
        let len = view.len();
        let taken = count.min(len);
        match shape {
            Shape::Flat => reply.array(2 * taken),
            Shape::Nested => reply.array(taken),
            Shape::KeyThenFlat => {
                reply.array(2 * taken + 1);
                reply.bulk(key);
            }
            Shape::KeyAndNested => {
                reply.array(2);
                reply.bulk(key);
                reply.array(taken);
            }
        }
        let ranks = if end == End::Min { 0..taken } else { len - taken..len };
        for (member, score) in view.elements(ranks.clone(), end == End::Max) {
            if matches!(shape, Shape::Nested | Shape::KeyAndNested) {
                reply.array(2);
            }
            write_item(reply, member);
            reply.double(score);
        }
        set.remove_ranks(ranks);
        taken
    })?;
    let Some(updated) = updated else { return Ok(0) };
    ctx.changed(key, EventClass::ZSET, end.event());
    ctx.store.dirty += updated.result as u64 - 1;
    raise_removed(ctx, key, updated.removed);
    Ok(updated.result)
}

/// BZPOPMIN key [key ...] timeout
pub fn bzpopmin(ctx: &mut Context, args: Args) -> CommandResult {
    pop_or_wait(ctx, args, End::Min)
}

/// BZPOPMAX key [key ...] timeout
pub fn bzpopmax(ctx: &mut Context, args: Args) -> CommandResult {
    pop_or_wait(ctx, args, End::Max)
}

fn pop_or_wait(ctx: &mut Context, args: Args, end: End) -> CommandResult {
    let (keys, timeout) = (&args[1..args.len() - 1], args[args.len() - 1]);
    let timeout = block_timeout_seconds(timeout, ctx.now_ms())?;
    let Some(key) = first_present(ctx, keys)? else {
        wait(ctx, timeout);
        return Ok(());
    };
    pop(ctx, key, end, 1, Shape::KeyThenFlat)?;
    ctx.log_instead(&[end.command(), key]);
    Ok(())
}

/// ZMPOP numkeys key [key ...] MIN | MAX [COUNT count]
pub fn zmpop(ctx: &mut Context, args: Args) -> CommandResult {
    let MultiPop { keys, end, count } = MultiPop::parse(&args[1..])?;
    match first_present(ctx, keys)? {
        Some(key) => pop_and_log(ctx, key, end, count)?,
        None => ctx.reply.null_array(),
    }
    Ok(())
}

/// BZMPOP timeout numkeys key [key ...] MIN | MAX [COUNT count]
pub fn bzmpop(ctx: &mut Context, args: Args) -> CommandResult {
    let MultiPop { keys, end, count } = MultiPop::parse(&args[2..])?;
    let timeout = block_timeout_seconds(args[1], ctx.now_ms())?;
    match first_present(ctx, keys)? {
        Some(key) => pop_and_log(ctx, key, end, count)?,
        None => wait(ctx, timeout),
    }
    Ok(())
}

/// Logged as what was taken, so that it needs no look at other keys when the log is read.
fn pop_and_log(ctx: &mut Context, key: &[u8], end: End, count: usize) -> CommandResult {
    let taken = pop(ctx, key, end, count, Shape::KeyAndNested)?;
    ctx.log_instead(&[end.command(), key, itoa::Buffer::new().format(taken).as_bytes()]);
    Ok(())
}

/// The first key that exists; it must be a sorted set.
fn first_present<'a>(ctx: &mut Context, keys: Args<'a>) -> Result<Option<&'a [u8]>, CommandError> {
    for key in keys {
        if ctx.store.peek_as::<SortedSet>(ctx.db, key)?.is_some() {
            return Ok(Some(key));
        }
    }
    Ok(None)
}

fn wait(ctx: &mut Context, timeout: BlockTimeout) {
    if ctx.caller.deny_blocking {
        ctx.reply.null_array();
        return;
    }
    ctx.block(Blocking {
        timeout,
        wait_for: WaitFor::EveryKey,
        wake_on: ValueType::SortedSet,
        also_on_deletion: false,
        again: None,
    });
}

/// How many elements ZMPOP and its like may take, their arguments beginning with the number of keys; `None`: they are wrong.
pub fn pop_count(args: Args) -> Option<usize> {
    MultiPop::parse(args).ok().map(|request| request.count)
}

/// What follows the name of ZMPOP.
struct MultiPop<'a> {
    keys: Args<'a>,
    end: End,
    count: usize,
}

impl<'a> MultiPop<'a> {
    fn parse(args: Args<'a>) -> Result<MultiPop<'a>, CommandError> {
        let positive = |text: &[u8], error: &'static str| {
            let number = integer(text).ok().and_then(|number| usize::try_from(number).ok());
            number.filter(|&number| number > 0).ok_or(CommandError::other(error))
        };
        let (keys, rest) = match numbered_keys(args) {
            Ok((keys, rest)) if !keys.is_empty() => (keys, rest),
            Err(BadCount::TooMany) => return Err(CommandError::Syntax),
            Ok(_) | Err(BadCount::NotAnInteger | BadCount::Negative) => {
                return Err(CommandError::other("ERR numkeys should be greater than 0"));
            }
        };
        let (end, options) = rest.split_first().ok_or(CommandError::Syntax)?;
        let end = match end {
            end if end.eq_ignore_ascii_case(b"min") => End::Min,
            end if end.eq_ignore_ascii_case(b"max") => End::Max,
            _ => return Err(CommandError::Syntax),
        };
        let count = match options {
            [] => 1,
            [name, count, rest @ ..] if name.eq_ignore_ascii_case(b"count") => {
                let count = positive(count, "ERR count should be greater than 0")?;
                if !rest.is_empty() {
                    return Err(CommandError::Syntax);
                }
                count
            }
            _ => return Err(CommandError::Syntax),
        };
        Ok(MultiPop { keys, end, count })
    }
}

//! Taking elements away at an end.

use super::{at_least, elements_removed, end, write_item, Args, CommandError, CommandResult, Context};
use crate::command::parse::{numbered_keys, BadCount};
use crate::resp::Reply;
use crate::store::{Collection, End, List, Tools};

/// More elements than this are not taken one by one, but split off.
const ONE_BY_ONE_MAX: usize = 64;

/// LPOP key [count]
pub fn lpop(ctx: &mut Context, args: Args) -> CommandResult {
    pop(ctx, args, End::Head, "lpop")
}

/// RPOP key [count]
pub fn rpop(ctx: &mut Context, args: Args) -> CommandResult {
    pop(ctx, args, End::Tail, "rpop")
}

fn pop(ctx: &mut Context, args: Args, from: End, command: &'static str) -> CommandResult {
    let key = args[1];
    let count = match args.len() {
        2 => None,
        3 => Some(at_least(0, args[2], "ERR value is out of range, must be positive")?),
        _ => return Err(CommandError::WrongArity(command)),
    };
    match count {
        None => {
            if !pop_one(ctx, key, from, |_| ())? {
                ctx.reply.null();
            }
        }
        Some(0) => match ctx.store.peek_as::<List>(ctx.db, key)? {
            Some(_) => ctx.reply.array(0),
            None => ctx.reply.null_array(),
        },
        Some(count) => {
            if pop_many(ctx, key, from, count, |_| ())?.is_none() {
                ctx.reply.null_array();
            }
        }
    }
    Ok(())
}

/// Takes one element and writes it, behind what `before` writes; false, and nothing is written, when there is no list.
pub(super) fn pop_one(
    ctx: &mut Context,
    key: &[u8],
    from: End,
    before: impl FnOnce(&mut Reply),
) -> Result<bool, CommandError> {
    let take = |list: &mut List, tools: &mut Tools| {
        before(ctx.reply);
        list.pop(from, |item| write_item(ctx.reply, item));
        list.shrink(tools.settings);
    };
    let Some(updated) = ctx.store.update(ctx.db, key, take)? else { return Ok(false) };
    elements_removed(ctx, key, from, 1, updated.removed);
    Ok(true)
}

/// Takes up to `count` elements and writes them as an array, behind what `before` writes. Returns how many; `None`, and nothing
/// is written, when there is no list.
pub(super) fn pop_many(
    ctx: &mut Context,
    key: &[u8],
    from: End,
    count: usize,
    before: impl FnOnce(&mut Reply),
) -> Result<Option<usize>, CommandError> {
    let take = |list: &mut List, tools: &mut Tools| {
        before(ctx.reply);
        let len = list.view().len();
        let count = count.min(len);
        ctx.reply.array(count);
        let mut rest = None;
        if count <= ONE_BY_ONE_MAX {
            for _ in 0..count {
                list.pop(from, |item| write_item(ctx.reply, item));
            }
        } else {
            let mut left = count;
            let first = if from == End::Head { 0 } else { len - 1 };
            list.view().visit(first, from, |item| {
                write_item(ctx.reply, item);
                left -= 1;
                left > 0
            });
            rest = Some(match from {
                End::Head => list.split_front(count),
                End::Tail => list.split_off(len - count),
            });
        }
        list.shrink(tools.settings);
        (count, rest)
    };
    let Some(updated) = ctx.store.update(ctx.db, key, take)? else { return Ok(None) };
    let (count, rest) = updated.result;
    if let Some(rest) = rest {
        ctx.store.discard(rest);
    }
    elements_removed(ctx, key, from, count, updated.removed);
    Ok(Some(count))
}

/// LMPOP numkeys key [key ...] LEFT | RIGHT [COUNT count]
pub fn lmpop(ctx: &mut Context, args: Args) -> CommandResult {
    let request = Request::parse(&args[1..])?;
    if !request.pop(ctx)? {
        ctx.reply.null_array();
    }
    Ok(())
}

/// How many elements LMPOP and its like may take, their arguments beginning with the number of keys; `None`: they are wrong.
pub fn pop_count(args: Args) -> Option<usize> {
    Request::parse(args).ok().map(|request| request.count)
}

/// What LMPOP and BLMPOP are asked for.
pub(super) struct Request<'a> {
    keys: Args<'a>,
    from: End,
    count: usize,
}

impl<'a> Request<'a> {
    /// `args` begin with the number of keys.
    pub fn parse(args: Args<'a>) -> Result<Request<'a>, CommandError> {
        let (keys, rest) = match numbered_keys(args) {
            Ok((keys, rest)) if !keys.is_empty() => (keys, rest),
            Err(BadCount::TooMany) => return Err(CommandError::Syntax),
            Ok(_) | Err(BadCount::NotAnInteger | BadCount::Negative) => {
                return Err(CommandError::other("ERR numkeys should be greater than 0"));
            }
        };
        let (from, mut options) = rest.split_first().ok_or(CommandError::Syntax)?;
        let from = end(from)?;
        let mut count = None;
        while let [name, value, rest @ ..] = options {
            if count.is_some() || !name.eq_ignore_ascii_case(b"count") {
                return Err(CommandError::Syntax);
            }
            count = Some(at_least(1, value, "ERR count should be greater than 0")?);
            options = rest;
        }
        if !options.is_empty() {
            return Err(CommandError::Syntax);
        }
        Ok(Request { keys, from, count: count.unwrap_or(1) })
    }

    /// Pops from the first list that there is, and answers; false when there is none.
    pub fn pop(&self, ctx: &mut Context) -> Result<bool, CommandError> {
        for key in self.keys {
            let popped = pop_many(ctx, key, self.from, self.count, |reply| {
                reply.array(2);
                reply.bulk(key);
            })?;
            if let Some(count) = popped {
                let command: &[u8] = if self.from == End::Head { b"LPOP" } else { b"RPOP" };
                ctx.log_instead(&[command, key, itoa::Buffer::new().format(count).as_bytes()]);
                return Ok(true);
            }
        }
        Ok(false)
    }
}

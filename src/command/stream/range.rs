//! Looking at the entries of one stream: XRANGE, XREVRANGE, XLEN.

use super::id::{range_end, range_start};
use super::reply_entry;
use crate::command::parse::integer;
use crate::command::{Args, CommandError, CommandResult, Context};
use crate::store::stream::{Entry, Stream};

/// XRANGE key start end [COUNT count]
pub fn xrange(ctx: &mut Context, args: Args) -> CommandResult {
    let (start, end) = (range_start(args[2])?, range_end(args[3])?);
    reply_with_range(ctx, args, |stream| stream.log().range(start, end))
}

/// XREVRANGE key end start [COUNT count]
pub fn xrevrange(ctx: &mut Context, args: Args) -> CommandResult {
    let (start, end) = (range_start(args[3])?, range_end(args[2])?);
    reply_with_range(ctx, args, |stream| stream.log().range_back(start, end))
}

fn reply_with_range<'a, I: Iterator<Item = Entry<'a>>>(
    ctx: &'a mut Context,
    args: Args,
    range: impl FnOnce(&'a Stream) -> I,
) -> CommandResult {
    let count = count_option(&args[4..])?;
    let Some(stream) = ctx.store.read_as::<Stream>(ctx.db, args[1])? else {
        ctx.reply.array(0);
        return Ok(());
    };
    if count == Some(0) {
        ctx.reply.null_array();
        return Ok(());
    }
    let place = ctx.reply.defer_array();
    let mut len = 0;
    for entry in range(stream).take(count.unwrap_or(usize::MAX)) {
        reply_entry(ctx.reply, &entry);
        len += 1;
    }
    ctx.reply.finish(place, len);
    Ok(())
}

/// `None` without COUNT; the last one counts.
fn count_option(mut options: Args) -> Result<Option<usize>, CommandError> {
    let mut count = None;
    while let [name, rest @ ..] = options {
        let [number, rest @ ..] = rest else { return Err(CommandError::Syntax) };
        if !name.eq_ignore_ascii_case(b"count") {
            return Err(CommandError::Syntax);
        }
        // Redis takes -1 for no COUNT, but not when it is given.
        count = Some(usize::try_from(integer(number)?).unwrap_or(0));
        options = rest;
    }
    Ok(count)
}

/// XLEN key
pub fn xlen(ctx: &mut Context, args: Args) -> CommandResult {
    let len = ctx.store.read_as::<Stream>(ctx.db, args[1])?.map_or(0, |stream| stream.log().len());
    ctx.reply.integer(len as i64);
    Ok(())
}

//! Parts of a string: APPEND, STRLEN, SETRANGE, GETRANGE and its old name SUBSTR.

use super::super::parse::integer;
use super::super::Caller;
use super::{Args, CommandError, CommandResult, Context};
use crate::store::{EventClass, Ttl};

/// APPEND key value
pub fn append(ctx: &mut Context, args: Args) -> CommandResult {
    let (key, value) = (args[1], args[2]);
    let Some(current) = ctx.store.peek(ctx.db, key) else {
        // A new key gets the encoding that SET would choose.
        ctx.store.set_string(ctx.db, key, value, Ttl::None);
        ctx.changed(key, EventClass::STRING, "append");
        ctx.reply.integer(value.len() as i64);
        return Ok(());
    };
    let len = current.string_len()?;
    check_len(ctx.caller, len, value.len())?;
    let len = ctx.store.modify_string(ctx.db, key, |string| {
        string.extend_from_slice(value);
        string.len()
    })?;
    ctx.changed(key, EventClass::STRING, "append");
    ctx.reply.integer(len as i64);
    Ok(())
}

/// STRLEN key
pub fn strlen(ctx: &mut Context, args: Args) -> CommandResult {
    let key = args[1];
    let len = match ctx.store.read(ctx.db, key) {
        Some(value) => value.string_len()?,
        None => 0,
    };
    ctx.reply.integer(len as i64);
    Ok(())
}

/// SETRANGE key offset value: overwrites from `offset` on, after zeros where the string is shorter.
pub fn setrange(ctx: &mut Context, args: Args) -> CommandResult {
    let (key, value) = (args[1], args[3]);
    let offset = integer(args[2])?;
    let offset = usize::try_from(offset).map_err(|_| CommandError::other("ERR offset is out of range"))?;
    let writes = !value.is_empty();
    let fits = check_len(ctx.caller, offset, value.len());
    let len = ctx.store.modify_string(ctx.db, key, |string| {
        if writes && fits.is_ok() {
            string.write_at(offset, value);
        }
        string.len()
    })?;
    if writes {
        fits?;
        ctx.changed(key, EventClass::STRING, "setrange");
    }
    ctx.reply.integer(len as i64);
    Ok(())
}

/// GETRANGE key start end: both ends included, negative ones count from the end.
pub fn getrange(ctx: &mut Context, args: Args) -> CommandResult {
    let key = args[1];
    let (start, end) = (integer(args[2])?, integer(args[3])?);
    let Some(value) = ctx.store.read(ctx.db, key) else {
        ctx.reply.bulk(b"");
        return Ok(());
    };
    let mut digits = itoa::Buffer::new();
    let string = value.string(&mut digits)?;
    ctx.reply.bulk(&string[bounds(start, end, string.len())]);
    Ok(())
}

/// SUBSTR key start end
pub fn substr(ctx: &mut Context, args: Args) -> CommandResult {
    getrange(ctx, args)
}

/// What GETRANGE's two numbers select of `len` bytes.
fn bounds(start: i64, end: i64, len: usize) -> std::ops::Range<usize> {
    if len == 0 || (start < 0 && end < 0 && start > end) {
        return 0..0;
    }
    let len = len as i64;
    let from_front = |index: i64| {
        if index < 0 {
            (len + index).max(0)
        } else {
            index
        }
    };
    let (start, end) = (from_front(start), from_front(end).min(len - 1));
    if start > end {
        return 0..0;
    }
    // Both are between 0 and len - 1 now.
    start as usize..end as usize + 1
}

/// Refuses a string longer than a client could ever send; a log or a primary is obeyed.
fn check_len(caller: &Caller, len: usize, more: usize) -> CommandResult {
    let fits = len.checked_add(more).is_some_and(|total| total <= caller.bulk_len_max);
    if fits || caller.replaying {
        Ok(())
    } else {
        Err(CommandError::StringTooLong)
    }
}

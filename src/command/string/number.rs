//! Strings as numbers: INCR, DECR, INCRBY, DECRBY, INCRBYFLOAT.

use super::super::long_double::LongDouble;
use super::super::parse::integer;
use super::{Args, CommandError, CommandResult, Context};
use crate::store::{EventClass, Ttl};

/// INCR key
pub fn incr(ctx: &mut Context, args: Args) -> CommandResult {
    add(ctx, args[1], 1)
}

/// DECR key
pub fn decr(ctx: &mut Context, args: Args) -> CommandResult {
    add(ctx, args[1], -1)
}

/// INCRBY key increment
pub fn incrby(ctx: &mut Context, args: Args) -> CommandResult {
    let increment = integer(args[2])?;
    add(ctx, args[1], increment)
}

/// DECRBY key decrement
pub fn decrby(ctx: &mut Context, args: Args) -> CommandResult {
    let decrement = integer(args[2])?;
    let increment = decrement.checked_neg().ok_or(CommandError::other("ERR decrement would overflow"))?;
    add(ctx, args[1], increment)
}

fn add(ctx: &mut Context, key: &[u8], increment: i64) -> CommandResult {
    let sum = ctx.store.modify_int(ctx.db, key, |value| {
        value.unwrap_or(0).checked_add(increment).ok_or(CommandError::Overflow)
    })?;
    ctx.changed(key, EventClass::STRING, "incrby");
    ctx.reply.integer(sum);
    Ok(())
}

/// INCRBYFLOAT key increment
pub fn incrbyfloat(ctx: &mut Context, args: Args) -> CommandResult {
    let key = args[1];
    let value = match ctx.store.peek(ctx.db, key) {
        Some(value) => {
            LongDouble::parse(value.string(&mut itoa::Buffer::new())?).ok_or(CommandError::NotFloat)?
        }
        None => LongDouble::ZERO,
    };
    let increment = LongDouble::parse(args[2]).ok_or(CommandError::NotFloat)?;
    let sum = value.plus(increment);
    if !sum.is_finite() {
        return Err(CommandError::NotNumberResult);
    }
    let text = sum.to_text();
    // As text even when it is whole: Redis leaves it to later writes to choose a better encoding.
    ctx.store.set_text(ctx.db, key, text.as_bytes(), Ttl::Keep);
    ctx.changed(key, EventClass::STRING, "incrbyfloat");
    ctx.reply.bulk(text.as_bytes());
    // The sum itself, so that no difference in arithmetic or formatting can make two copies of the data differ.
    ctx.log_instead(&[b"SET", key, text.as_bytes(), b"KEEPTTL"]);
    Ok(())
}

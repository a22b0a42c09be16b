//! Values as numbers: HINCRBY, HINCRBYFLOAT.

use super::super::long_double::LongDouble;
use super::super::parse::integer;
use super::{Args, CommandError, CommandResult, Context};
use crate::store::{EventClass, Hash};

/// HINCRBY key field increment
pub fn hincrby(ctx: &mut Context, args: Args) -> CommandResult {
    let (key, field) = (args[1], args[2]);
    let increment = integer(args[3])?;
    let updated = ctx.store.update_or_create::<Hash, _>(ctx.db, key, |hash, tools| {
        let value = match hash.get(field) {
            Some(value) => value.integer().ok_or(CommandError::other("ERR hash value is not an integer"))?,
            None => 0,
        };
        let sum = value.checked_add(increment).ok_or(CommandError::Overflow)?;
        hash.set(field, itoa::Buffer::new().format(sum).as_bytes(), tools.settings);
        Ok::<i64, CommandError>(sum)
    })?;
    let sum = updated.result?;
    ctx.changed(key, EventClass::HASH, "hincrby");
    ctx.reply.integer(sum);
    Ok(())
}

/// HINCRBYFLOAT key field increment
pub fn hincrbyfloat(ctx: &mut Context, args: Args) -> CommandResult {
    let (key, field) = (args[1], args[2]);
    let increment = LongDouble::parse(args[3]).ok_or(CommandError::NotFloat)?;
    if !increment.is_finite() {
        return Err(CommandError::other("ERR value is NaN or Infinity"));
    }
    let updated = ctx.store.update_or_create::<Hash, _>(ctx.db, key, |hash, tools| {
        let value = match hash.get(field) {
            Some(value) => LongDouble::parse(value.bytes(&mut itoa::Buffer::new()))
                .ok_or(CommandError::other("ERR hash value is not a float"))?,
            None => LongDouble::ZERO,
        };
        let sum = value.plus(increment);
        if !sum.is_finite() {
            return Err(CommandError::NotNumberResult);
        }
        let text = sum.to_text();
        hash.set(field, text.as_bytes(), tools.settings);
        Ok(text)
    })?;
    let text = updated.result?;
    ctx.changed(key, EventClass::HASH, "hincrbyfloat");
    ctx.reply.bulk(text.as_bytes());
    // The sum itself, so that no difference in arithmetic or formatting can make two copies of the data differ.
    ctx.log_instead(&[b"HSET", key, field, text.as_bytes()]);
    Ok(())
}

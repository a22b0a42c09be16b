//! Reading fields: HGET, HMGET, HGETALL, HKEYS, HVALS, HLEN, HSTRLEN, HEXISTS.

use super::super::elements::write_item;
use super::{Args, CommandResult, Context};
use crate::store::Hash;

/// HGET key field
pub fn hget(ctx: &mut Context, args: Args) -> CommandResult {
    let hash = ctx.store.read_as::<Hash>(ctx.db, args[1])?;
    match hash.and_then(|hash| hash.get(args[2])) {
        Some(value) => write_item(ctx.reply, value),
        None => ctx.reply.null(),
    }
    Ok(())
}

/// HMGET key field [field ...]
pub fn hmget(ctx: &mut Context, args: Args) -> CommandResult {
    let fields = &args[2..];
    let hash = ctx.store.read_as::<Hash>(ctx.db, args[1])?;
    ctx.reply.array(fields.len());
    for field in fields {
        match hash.and_then(|hash| hash.get(field)) {
            Some(value) => write_item(ctx.reply, value),
            None => ctx.reply.null(),
        }
    }
    Ok(())
}

/// HGETALL key
pub fn hgetall(ctx: &mut Context, args: Args) -> CommandResult {
    let Some(hash) = ctx.store.read_as::<Hash>(ctx.db, args[1])? else {
        ctx.reply.map(0);
        return Ok(());
    };
    ctx.reply.map(hash.len());
    for (field, value) in hash.iter() {
        write_item(ctx.reply, field);
        write_item(ctx.reply, value);
    }
    Ok(())
}

/// HKEYS key
pub fn hkeys(ctx: &mut Context, args: Args) -> CommandResult {
    let Some(hash) = ctx.store.read_as::<Hash>(ctx.db, args[1])? else {
        ctx.reply.array(0);
        return Ok(());
    };
    ctx.reply.array(hash.len());
    hash.iter().for_each(|(field, _)| write_item(ctx.reply, field));
    Ok(())
}

/// HVALS key
pub fn hvals(ctx: &mut Context, args: Args) -> CommandResult {
    let Some(hash) = ctx.store.read_as::<Hash>(ctx.db, args[1])? else {
        ctx.reply.array(0);
        return Ok(());
    };
    ctx.reply.array(hash.len());
    hash.iter().for_each(|(_, value)| write_item(ctx.reply, value));
    Ok(())
}

/// HLEN key
pub fn hlen(ctx: &mut Context, args: Args) -> CommandResult {
    let hash = ctx.store.read_as::<Hash>(ctx.db, args[1])?;
    ctx.reply.integer(hash.map_or(0, |hash| hash.len() as i64));
    Ok(())
}

/// HSTRLEN key field
pub fn hstrlen(ctx: &mut Context, args: Args) -> CommandResult {
    let hash = ctx.store.read_as::<Hash>(ctx.db, args[1])?;
    let value = hash.and_then(|hash| hash.get(args[2]));
    ctx.reply.integer(value.map_or(0, |value| value.byte_len() as i64));
    Ok(())
}

/// HEXISTS key field
pub fn hexists(ctx: &mut Context, args: Args) -> CommandResult {
    let hash = ctx.store.read_as::<Hash>(ctx.db, args[1])?;
    let exists = hash.is_some_and(|hash| hash.get(args[2]).is_some());
    ctx.reply.integer(i64::from(exists));
    Ok(())
}

//! The hash commands: setting and deleting fields here, and by file: `read`, `number` (HINCRBY and its kin), `random`, and
//! `scan`.

mod number;
mod random;
mod read;
mod scan;
#[cfg(test)]
mod tests;

pub use number::{hincrby, hincrbyfloat};
pub use random::hrandfield;
pub use read::{hexists, hget, hgetall, hkeys, hlen, hmget, hstrlen, hvals};
pub use scan::hscan;

use super::elements::raise_removed;
use super::{Args, CommandError, CommandResult, Context};
use crate::store::{EventClass, Hash};

/// HSET key field value [field value ...]
pub fn hset(ctx: &mut Context, args: Args) -> CommandResult {
    let created = set_all(ctx, args, "hset")?;
    ctx.reply.integer(created);
    Ok(())
}

/// HMSET key field value [field value ...]: as HSET, with another answer.
pub fn hmset(ctx: &mut Context, args: Args) -> CommandResult {
    set_all(ctx, args, "hmset")?;
    ctx.reply.ok();
    Ok(())
}

/// Sets the fields of HSET, and returns how many are new.
fn set_all(ctx: &mut Context, args: Args, command: &'static str) -> Result<i64, CommandError> {
    if !args.len().is_multiple_of(2) {
        return Err(CommandError::WrongArity(command));
    }
    let (key, pairs) = (args[1], &args[2..]);
    let updated = ctx.store.update_or_create::<Hash, _>(ctx.db, key, |hash, tools| {
        hash.prepare_for(pairs, tools.settings);
        let set = |pair: &&[&[u8]]| hash.set(pair[0], pair[1], tools.settings);
        pairs.chunks_exact(2).filter(set).count()
    })?;
    ctx.changed(key, EventClass::HASH, "hset");
    ctx.store.dirty += pairs.len() as u64 / 2 - 1;
    Ok(updated.result as i64)
}

/// HSETNX key field value
pub fn hsetnx(ctx: &mut Context, args: Args) -> CommandResult {
    let (key, field, value) = (args[1], args[2], args[3]);
    let updated = ctx.store.update_or_create::<Hash, _>(ctx.db, key, |hash, tools| {
        let is_free = hash.get(field).is_none();
        if is_free {
            hash.set(field, value, tools.settings);
        }
        is_free
    })?;
    if updated.result {
        ctx.changed(key, EventClass::HASH, "hset");
    }
    ctx.reply.integer(i64::from(updated.result));
    Ok(())
}

/// HDEL key field [field ...]
pub fn hdel(ctx: &mut Context, args: Args) -> CommandResult {
    let (key, fields) = (args[1], &args[2..]);
    let updated = ctx
        .store
        .update::<Hash, _>(ctx.db, key, |hash, _| fields.iter().filter(|field| hash.remove(field)).count())?;
    let (deleted, removed) = updated.map_or((0, false), |updated| (updated.result, updated.removed));
    if deleted > 0 {
        ctx.changed(key, EventClass::HASH, "hdel");
        raise_removed(ctx, key, removed);
        ctx.store.dirty += deleted as u64 - 1;
    }
    ctx.reply.integer(deleted as i64);
    Ok(())
}

//! The set commands: members here, and by file: `random` (SPOP, SRANDMEMBER), `algebra` (SINTER, SUNION, SDIFF and what
//! stores their results), and `scan`.

mod algebra;
mod random;
mod scan;
#[cfg(test)]
mod tests;

pub use algebra::{sdiff, sdiffstore, sinter, sintercard, sinterstore, sunion, sunionstore};
pub use random::{spop, srandmember};
pub use scan::sscan;

use super::elements::{raise_removed, write_item};
use super::{Args, CommandError, CommandResult, Context};
use crate::store::{Collection, EventClass, Set};

/// SADD key member [member ...]
pub fn sadd(ctx: &mut Context, args: Args) -> CommandResult {
    let (key, members) = (args[1], &args[2..]);
    let added = add(ctx, key, members)?;
    if added > 0 {
        ctx.changed(key, EventClass::SET, "sadd");
        ctx.store.dirty += added as u64 - 1;
    }
    ctx.reply.integer(added as i64);
    Ok(())
}

/// Adds members to a set, there or not, and returns how many are new.
fn add(ctx: &mut Context, key: &[u8], members: &[&[u8]]) -> Result<usize, CommandError> {
    let updated = ctx.store.update_or_create::<Set, _>(ctx.db, key, |set, tools| {
        if set.is_empty() {
            *set = Set::suited_to(members[0], members.len(), tools.settings);
        } else {
            set.prepare_for(members.len(), tools.settings);
        }
        members.iter().filter(|member| set.add(member, tools.settings)).count()
    })?;
    Ok(updated.result)
}

/// SREM key member [member ...]
pub fn srem(ctx: &mut Context, args: Args) -> CommandResult {
    let (key, members) = (args[1], &args[2..]);
    let updated = ctx
        .store
        .update::<Set, _>(ctx.db, key, |set, _| members.iter().filter(|member| set.remove(member)).count())?;
    let (deleted, removed) = updated.map_or((0, false), |updated| (updated.result, updated.removed));
    if deleted > 0 {
        ctx.changed(key, EventClass::SET, "srem");
        raise_removed(ctx, key, removed);
        ctx.store.dirty += deleted as u64 - 1;
    }
    ctx.reply.integer(deleted as i64);
    Ok(())
}

/// SMOVE source destination member
pub fn smove(ctx: &mut Context, args: Args) -> CommandResult {
    let (from, to, member) = (args[1], args[2], args[3]);
    let Some(source) = ctx.store.peek_as::<Set>(ctx.db, from)? else {
        ctx.reply.integer(0);
        return Ok(());
    };
    let is_there = source.contains(member);
    // Its type is looked at even when there is nothing to move.
    let target = ctx.store.peek_as::<Set>(ctx.db, to).map(|_| ());
    if target.is_err() || !is_there || from == to {
        ctx.store.use_key(ctx.db, from);
        ctx.store.use_key(ctx.db, to);
    }
    target?;
    if is_there && from != to {
        let updated = ctx.store.update::<Set, _>(ctx.db, from, |set, _| set.remove(member))?;
        ctx.changed(from, EventClass::SET, "srem");
        raise_removed(ctx, from, updated.is_some_and(|updated| updated.removed));
        if add(ctx, to, &[member])? > 0 {
            ctx.changed(to, EventClass::SET, "sadd");
        }
        if ctx.caller.on_excerpts {
            ctx.log_instead(&[b"SREM", from, member]);
            ctx.log_instead(&[b"SADD", to, member]);
        }
    }
    ctx.reply.integer(i64::from(is_there));
    Ok(())
}

/// SISMEMBER key member
pub fn sismember(ctx: &mut Context, args: Args) -> CommandResult {
    let set = ctx.store.read_as::<Set>(ctx.db, args[1])?;
    ctx.reply.integer(i64::from(set.is_some_and(|set| set.contains(args[2]))));
    Ok(())
}

/// SMISMEMBER key member [member ...]
pub fn smismember(ctx: &mut Context, args: Args) -> CommandResult {
    let members = &args[2..];
    let set = ctx.store.read_as::<Set>(ctx.db, args[1])?;
    ctx.reply.array(members.len());
    for member in members {
        ctx.reply.integer(i64::from(set.is_some_and(|set| set.contains(member))));
    }
    Ok(())
}

/// SCARD key
pub fn scard(ctx: &mut Context, args: Args) -> CommandResult {
    let set = ctx.store.read_as::<Set>(ctx.db, args[1])?;
    ctx.reply.integer(set.map_or(0, |set| set.len() as i64));
    Ok(())
}

/// SMEMBERS key
pub fn smembers(ctx: &mut Context, args: Args) -> CommandResult {
    let Some(set) = ctx.store.read_as::<Set>(ctx.db, args[1])? else {
        ctx.reply.set(0);
        return Ok(());
    };
    ctx.reply.set(set.len());
    set.iter().for_each(|member| write_item(ctx.reply, member));
    Ok(())
}

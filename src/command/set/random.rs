//! Random members: SPOP, SRANDMEMBER.
//!
//! SPOP reaches the log and the replicas as SREM of what it took out, since they would draw other members.

use super::super::elements::{raise_removed, write_item, Wanted};
use super::super::parse::integer;
use super::{Args, CommandError, CommandResult, Context};
use crate::store::listpack::Item;
use crate::store::{EventClass, Set};

/// Members of one SREM in the log.
const LOGGED_MEMBERS_MAX: usize = 1024;

/// SPOP key [count]
pub fn spop(ctx: &mut Context, args: Args) -> CommandResult {
    match args[2..] {
        [] => pop_one(ctx, args[1]),
        [count] => {
            // Redis has the one error for everything that is no count.
            let count = integer(count).ok().and_then(|count| usize::try_from(count).ok());
            let count =
                count.ok_or_else(|| CommandError::other("ERR value is out of range, must be positive"))?;
            pop_many(ctx, args[1], count)
        }
        _ => Err(CommandError::Syntax),
    }
}

fn pop_one(ctx: &mut Context, key: &[u8]) -> CommandResult {
    let is_logged = ctx.store.log_enabled;
    let updated = ctx.store.update::<Set, _>(ctx.db, key, |set, tools| {
        set.pop(tools.rng, |member| {
            write_item(ctx.reply, member);
            is_logged.then(|| member.to_vec())
        })
    })?;
    let Some(updated) = updated else {
        ctx.reply.null();
        return Ok(());
    };
    ctx.changed(key, EventClass::SET, "spop");
    raise_removed(ctx, key, updated.removed);
    if let Some(Some(member)) = updated.result {
        ctx.log_instead(&[b"SREM", key, &member]);
    }
    Ok(())
}

fn pop_many(ctx: &mut Context, key: &[u8], count: usize) -> CommandResult {
    let len = ctx.store.peek_as::<Set>(ctx.db, key)?.map_or(0, |set| set.len());
    if len == 0 || count == 0 {
        ctx.reply.set(0);
        return Ok(());
    }
    ctx.reply.set(count.min(len));
    if count >= len {
        return pop_all(ctx, key, len);
    }
    let is_logged = ctx.store.log_enabled;
    let mut popped: Vec<Vec<u8>> = Vec::new();
    ctx.store.update::<Set, _>(ctx.db, key, |set, tools| {
        set.pop_some(count, tools.rng, tools.settings, |member| {
            write_item(ctx.reply, member);
            if is_logged {
                popped.push(member.to_vec());
            }
        });
    })?;
    ctx.changed(key, EventClass::SET, "spop");
    ctx.store.dirty += count as u64 - 1;
    for members in popped.chunks(LOGGED_MEMBERS_MAX) {
        let head: [&[u8]; 2] = [b"SREM", key];
        let command: Vec<&[u8]> = head.into_iter().chain(members.iter().map(Vec::as_slice)).collect();
        ctx.log_instead(&command);
    }
    Ok(())
}

/// Takes out all members: the key goes with them.
fn pop_all(ctx: &mut Context, key: &[u8], len: usize) -> CommandResult {
    if let Some(set) = ctx.store.peek_as::<Set>(ctx.db, key)? {
        set.iter().for_each(|member| write_item(ctx.reply, member));
    }
    ctx.store.remove(ctx.db, key);
    ctx.changed(key, EventClass::SET, "spop");
    raise_removed(ctx, key, true);
    ctx.store.dirty += len as u64 - 1;
    let verb: &[u8] = if ctx.store.settings.lazyfree_lazy_server_del { b"UNLINK" } else { b"DEL" };
    ctx.log_instead(&[verb, key]);
    Ok(())
}

/// SRANDMEMBER key [count]
pub fn srandmember(ctx: &mut Context, args: Args) -> CommandResult {
    let mut rng = ctx.store.rng().split();
    let wanted = match args[2..] {
        [] => {
            let set = ctx.store.read_as::<Set>(ctx.db, args[1])?;
            match set.and_then(|set| set.random(&mut rng)) {
                Some(member) => write_item(ctx.reply, member),
                None => ctx.reply.null(),
            }
            return Ok(());
        }
        [count] => Wanted::parse(count)?,
        _ => return Err(CommandError::Syntax),
    };
    let Some(set) = ctx.store.read_as::<Set>(ctx.db, args[1])? else {
        ctx.reply.array(0);
        return Ok(());
    };
    match wanted.bounded()? {
        Wanted::Different(count) => {
            ctx.reply.array(count.min(set.len()));
            set.sample(count, &mut rng, |member: Item| write_item(ctx.reply, member));
        }
        Wanted::Repeated(count) => {
            ctx.reply.array(count);
            for _ in 0..count {
                if let Some(member) = set.random(&mut rng) {
                    write_item(ctx.reply, member);
                }
            }
        }
    }
    Ok(())
}

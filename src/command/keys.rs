//! Commands on keys of any type, and on whole databases.

use super::glob::glob_match;
use super::parse::{database, small_integer};
use super::{Args, CommandError, CommandResult, Context};
use crate::store::EventClass;

/// Objects that a synchronous FLUSHDB or FLUSHALL frees per call into the store.
const FREED_PER_STEP: usize = 1024;

/// DEL key [key ...]
pub fn del(ctx: &mut Context, args: Args) -> CommandResult {
    let mut count = 0;
    for key in &args[1..] {
        if ctx.store.remove(ctx.db, key) {
            ctx.changed(key, EventClass::GENERIC, "del");
            count += 1;
        }
    }
    ctx.reply.integer(count);
    Ok(())
}

/// UNLINK key [key ...]: as DEL, which frees large values step by step too.
pub fn unlink(ctx: &mut Context, args: Args) -> CommandResult {
    del(ctx, args)
}

/// EXISTS key [key ...]: a key counts as often as it is named.
pub fn exists(ctx: &mut Context, args: Args) -> CommandResult {
    let mut count = 0;
    for key in &args[1..] {
        let found = ctx.store.exists(ctx.db, key);
        ctx.count_read(key, found);
        count += i64::from(found);
    }
    ctx.reply.integer(count);
    Ok(())
}

/// TYPE key
pub fn type_of(ctx: &mut Context, args: Args) -> CommandResult {
    let key = args[1];
    let name = ctx
        .store
        .peek(ctx.db, key)
        .map(|value| value.value_type().name());
    ctx.count_read(key, name.is_some());
    ctx.reply.simple(name.unwrap_or("none"));
    Ok(())
}

/// TOUCH key [key ...]
pub fn touch(ctx: &mut Context, args: Args) -> CommandResult {
    let mut count = 0;
    for key in &args[1..] {
        let found = ctx.store.touch(ctx.db, key);
        ctx.count_read(key, found);
        count += i64::from(found);
    }
    ctx.reply.integer(count);
    Ok(())
}

/// RENAME key newkey
pub fn rename(ctx: &mut Context, args: Args) -> CommandResult {
    let (from, to) = (args[1], args[2]);
    if !ctx.store.exists(ctx.db, from) {
        return Err(CommandError::NoSuchKey);
    }
    if from != to {
        ctx.store.remove(ctx.db, to);
        move_value(ctx, from, to);
    }
    ctx.reply.ok();
    Ok(())
}

/// RENAMENX key newkey
pub fn renamenx(ctx: &mut Context, args: Args) -> CommandResult {
    let (from, to) = (args[1], args[2]);
    if !ctx.store.exists(ctx.db, from) {
        return Err(CommandError::NoSuchKey);
    }
    let free = !ctx.store.exists(ctx.db, to);
    if free {
        move_value(ctx, from, to);
    }
    ctx.reply.integer(i64::from(free));
    Ok(())
}

/// `from` exists, `to` does not.
fn move_value(ctx: &mut Context, from: &[u8], to: &[u8]) {
    if let Some(value) = ctx.store.take(ctx.db, from) {
        ctx.store.put(ctx.db, to, value);
        ctx.changed(from, EventClass::GENERIC, "rename_from");
        ctx.also_changed(ctx.db, to, EventClass::GENERIC, "rename_to");
    }
}

/// COPY source destination [DB index] [REPLACE]
pub fn copy(ctx: &mut Context, args: Args) -> CommandResult {
    let (from, to) = (args[1], args[2]);
    let mut to_db = ctx.db;
    let mut replace = false;
    let mut rest = args[3..].iter();
    while let Some(option) = rest.next() {
        if option.eq_ignore_ascii_case(b"replace") {
            replace = true;
        } else if option.eq_ignore_ascii_case(b"db") {
            let index = rest.next().ok_or(CommandError::Syntax)?;
            to_db = database(index, ctx.store.databases())?;
        } else {
            return Err(CommandError::Syntax);
        }
    }
    if to_db == ctx.db && from == to {
        return Err(CommandError::SameObject);
    }
    let found = ctx.store.read(ctx.db, from).is_some();
    if !found || (!replace && ctx.store.exists(to_db, to)) {
        ctx.reply.integer(0);
        return Ok(());
    }
    if let Some(value) = ctx.store.clone_value(ctx.db, from) {
        ctx.store.remove(to_db, to);
        ctx.store.put(to_db, to, value);
        ctx.changed_in(to_db, to, EventClass::GENERIC, "copy_to");
    }
    ctx.reply.integer(1);
    Ok(())
}

/// MOVE key db
pub fn move_to(ctx: &mut Context, args: Args) -> CommandResult {
    let key = args[1];
    let to_db = database(args[2], ctx.store.databases())?;
    if to_db == ctx.db {
        return Err(CommandError::SameObject);
    }
    if !ctx.store.exists(ctx.db, key) || ctx.store.exists(to_db, key) {
        ctx.reply.integer(0);
        return Ok(());
    }
    if let Some(value) = ctx.store.take(ctx.db, key) {
        ctx.store.put(to_db, key, value);
        ctx.changed(key, EventClass::GENERIC, "move_from");
        ctx.also_changed(to_db, key, EventClass::GENERIC, "move_to");
    }
    ctx.reply.integer(1);
    Ok(())
}

/// SWAPDB index1 index2
pub fn swapdb(ctx: &mut Context, args: Args) -> CommandResult {
    let first =
        small_integer(args[1]).map_err(|_| CommandError::other("ERR invalid first DB index"))?;
    let second =
        small_integer(args[2]).map_err(|_| CommandError::other("ERR invalid second DB index"))?;
    let databases = ctx.store.databases();
    let existing = |index: i32| {
        usize::try_from(index)
            .ok()
            .filter(|&index| index < databases)
            .ok_or(CommandError::DbIndexOutOfRange)
    };
    let (first, second) = (existing(first)?, existing(second)?);
    if first != second {
        ctx.store.swap(first, second);
    }
    ctx.store.dirty += 1;
    ctx.reply.ok();
    Ok(())
}

/// KEYS pattern
pub fn keys(ctx: &mut Context, args: Args) -> CommandResult {
    let pattern = args[1];
    let every = pattern == b"*";
    let now_ms = ctx.now_ms();
    let place = ctx.reply.defer_array();
    let mut count = 0;
    let reply = &mut *ctx.reply;
    ctx.store.for_each_key(ctx.db, &mut |key, _, expire_at| {
        let alive = expire_at.is_none_or(|at_ms| now_ms <= at_ms);
        if alive && (every || glob_match(pattern, key, false)) {
            reply.bulk(key);
            count += 1;
        }
        true
    });
    ctx.reply.finish(place, count);
    Ok(())
}

/// RANDOMKEY
pub fn randomkey(ctx: &mut Context, _: Args) -> CommandResult {
    match ctx.store.random_key(ctx.db) {
        Some(key) => ctx.reply.bulk(&key),
        None => ctx.reply.null(),
    }
    Ok(())
}

/// DBSIZE
pub fn dbsize(ctx: &mut Context, _: Args) -> CommandResult {
    ctx.reply.integer(ctx.store.len(ctx.db) as i64);
    Ok(())
}

/// FLUSHDB [ASYNC | SYNC]
pub fn flushdb(ctx: &mut Context, args: Args) -> CommandResult {
    flush(ctx, args, Some(ctx.db))
}

/// FLUSHALL [ASYNC | SYNC]
pub fn flushall(ctx: &mut Context, args: Args) -> CommandResult {
    flush(ctx, args, None)
}

fn flush(ctx: &mut Context, args: Args, db: Option<usize>) -> CommandResult {
    let in_steps = match args[1..] {
        [] => ctx.caller.lazyfree_lazy_user_flush,
        [option] if option.eq_ignore_ascii_case(b"async") => true,
        [option] if option.eq_ignore_ascii_case(b"sync") => false,
        _ => return Err(CommandError::Syntax),
    };
    ctx.store.dirty += ctx.store.clear(db);
    // Bounded by what was there: nothing is added meanwhile.
    while !in_steps && ctx.store.free_some(FREED_PER_STEP) {}
    // Also when nothing was there to delete: replicas may hold keys that expired here.
    ctx.log_instead(args);
    ctx.reply.ok();
    Ok(())
}

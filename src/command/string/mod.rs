//! The string commands: reading and writing whole values here, and by file: `number` (INCR and its kin), `range` (parts of a
//! string), `many` (several keys at once), `lcs` (the longest common subsequence).

mod lcs;
mod many;
mod number;
mod range;
#[cfg(test)]
mod tests;

pub use lcs::lcs;
pub use many::{mget, mset, msetnx};
pub use number::{decr, decrby, incr, incrby, incrbyfloat};
pub use range::{append, getrange, setrange, strlen, substr};

use super::expire::{clear_deadline, delete_as_expired, is_past};
use super::parse::{Base, Condition, Expiry, GetexOptions, SetOptions, Unit};
use super::{Args, CommandError, CommandResult, Context};
use crate::resp::Reply;
use crate::store::{EventClass, Ttl, Value, ValueType, WrongType};

/// Writes a string as a bulk reply. A large one is not copied.
pub fn write_string(value: &Value, reply: &mut Reply) -> Result<(), WrongType> {
    match value {
        Value::Int(value) => reply.bulk_integer(*value),
        Value::Bytes(bytes) => reply.bulk(bytes),
        Value::Shared(bytes) => reply.shared_bulk(bytes),
        _ => return Err(WrongType),
    }
    Ok(())
}

/// GET key
pub fn get(ctx: &mut Context, args: Args) -> CommandResult {
    reply_with_value(ctx, args[1])
}

/// The string that `key` holds, or null.
fn reply_with_value(ctx: &mut Context, key: &[u8]) -> CommandResult {
    match ctx.store.read(ctx.db, key) {
        Some(value) => write_string(&value, ctx.reply)?,
        None => ctx.reply.null(),
    }
    Ok(())
}

/// SET key value [NX | XX] [GET] [EX seconds | PX milliseconds | EXAT seconds | PXAT milliseconds | KEEPTTL]
pub fn set(ctx: &mut Context, args: Args) -> CommandResult {
    let (key, value) = (args[1], args[2]);
    if args.len() == 3 {
        write(ctx, key, value, Ttl::None);
        ctx.reply.ok();
        return Ok(());
    }
    let options = SetOptions::parse(&args[3..])?;
    let deadline = options.expiry.map(|expiry| expiry.deadline(ctx.now_ms(), "set")).transpose()?;
    if options.get {
        reply_with_value(ctx, key)?;
    }
    if let Some(condition) = options.condition {
        if ctx.store.exists(ctx.db, key) != (condition == Condition::KeyExists) {
            if !options.get {
                ctx.reply.null();
            }
            return Ok(());
        }
    }
    match (deadline, options.expiry) {
        (Some(at_ms), Some(Expiry { unit: Unit::Milliseconds, base: Base::Epoch, .. })) => {
            write_until(ctx, key, value, at_ms);
        }
        (Some(at_ms), _) => {
            write_until(ctx, key, value, at_ms);
            log_with_deadline(ctx, key, value, at_ms);
        }
        (None, _) => {
            write(ctx, key, value, if options.keep_ttl { Ttl::Keep } else { Ttl::None });
            if options.get {
                log_without_get(ctx, args);
            }
        }
    }
    if !options.get {
        ctx.reply.ok();
    }
    Ok(())
}

/// SETNX key value
pub fn setnx(ctx: &mut Context, args: Args) -> CommandResult {
    let (key, value) = (args[1], args[2]);
    let absent = !ctx.store.exists(ctx.db, key);
    if absent {
        write(ctx, key, value, Ttl::None);
    }
    ctx.reply.integer(i64::from(absent));
    Ok(())
}

/// SETEX key seconds value
pub fn setex(ctx: &mut Context, args: Args) -> CommandResult {
    set_for(ctx, args, Unit::Seconds, "setex")
}

/// PSETEX key milliseconds value
pub fn psetex(ctx: &mut Context, args: Args) -> CommandResult {
    set_for(ctx, args, Unit::Milliseconds, "psetex")
}

fn set_for(ctx: &mut Context, args: Args, unit: Unit, command: &'static str) -> CommandResult {
    let (key, amount, value) = (args[1], args[2], args[3]);
    let at_ms = Expiry { amount, unit, base: Base::Now }.deadline(ctx.now_ms(), command)?;
    write_until(ctx, key, value, at_ms);
    log_with_deadline(ctx, key, value, at_ms);
    ctx.reply.ok();
    Ok(())
}

/// GETSET key value
pub fn getset(ctx: &mut Context, args: Args) -> CommandResult {
    let (key, value) = (args[1], args[2]);
    reply_with_value(ctx, key)?;
    write(ctx, key, value, Ttl::None);
    ctx.log_instead(&[b"SET", key, value]);
    Ok(())
}

/// GETDEL key
pub fn getdel(ctx: &mut Context, args: Args) -> CommandResult {
    let key = args[1];
    reply_with_value(ctx, key)?;
    if ctx.store.remove(ctx.db, key) {
        ctx.log_instead(&[b"DEL", key]);
        ctx.changed(key, EventClass::GENERIC, "del");
    }
    Ok(())
}

/// GETEX key [EX seconds | PX milliseconds | EXAT seconds | PXAT milliseconds | PERSIST]
pub fn getex(ctx: &mut Context, args: Args) -> CommandResult {
    let key = args[1];
    let options = GetexOptions::parse(&args[2..])?;
    let deadline = options.expiry.map(|expiry| (expiry.deadline(ctx.now_ms(), "getex"), expiry.base));
    let Some(value) = ctx.store.read(ctx.db, key) else {
        ctx.reply.null();
        return Ok(());
    };
    // A wrong type is reported before a wrong time, and a missing key before both.
    if value.value_type() != ValueType::String {
        return Err(CommandError::WrongType);
    }
    let deadline = match deadline {
        Some((at_ms, base)) => Some((at_ms?, base)),
        None => None,
    };
    write_string(&value, ctx.reply)?;
    match deadline {
        Some((at_ms, Base::Epoch)) if is_past(ctx, at_ms) => delete_as_expired(ctx, key),
        Some((at_ms, _)) => {
            ctx.store.set_expire(ctx.db, key, Some(at_ms));
            ctx.log_instead(&[b"PEXPIREAT", key, itoa::Buffer::new().format(at_ms).as_bytes()]);
            ctx.changed(key, EventClass::GENERIC, "expire");
        }
        None => {
            if options.persist && clear_deadline(ctx, key) {
                ctx.log_instead(&[b"PERSIST", key]);
            }
        }
    }
    Ok(())
}

/// Stores a value, whatever the key held.
fn write(ctx: &mut Context, key: &[u8], value: &[u8], ttl: Ttl) {
    ctx.store.set_string(ctx.db, key, value, ttl);
    ctx.changed(key, EventClass::STRING, "set");
}

/// As `write`, with a time to live: Redis sets that in a second step, and tells about it.
fn write_until(ctx: &mut Context, key: &[u8], value: &[u8], at_ms: i64) {
    write(ctx, key, value, Ttl::At(at_ms));
    ctx.store.events.raise(ctx.db, EventClass::GENERIC, "expire", key);
}

/// A relative time to live would mean something else when the log is read.
fn log_with_deadline(ctx: &mut Context, key: &[u8], value: &[u8], at_ms: i64) {
    ctx.log_instead(&[b"SET", key, value, b"PXAT", itoa::Buffer::new().format(at_ms).as_bytes()]);
}

/// SET as it came, but for GET: nobody reads that reply.
fn log_without_get(ctx: &mut Context, args: Args) {
    let options = args[3..].iter().filter(|option| !option.eq_ignore_ascii_case(b"get"));
    let command: Vec<&[u8]> = args[..3].iter().chain(options).copied().collect();
    ctx.log_instead(&command);
}

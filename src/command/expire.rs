//! Times to live: EXPIRE and its three forms, TTL and its three, PERSIST.

use super::parse::{integer, Unit};
use super::{Args, CommandError, CommandResult, Context};
use crate::store::EventClass;

/// EXPIRE key seconds [NX | XX | GT | LT]
pub fn expire(ctx: &mut Context, args: Args) -> CommandResult {
    let now_ms = ctx.now_ms();
    set_deadline(ctx, args, now_ms, Unit::Seconds, "expire")
}

/// PEXPIRE key milliseconds [NX | XX | GT | LT]
pub fn pexpire(ctx: &mut Context, args: Args) -> CommandResult {
    let now_ms = ctx.now_ms();
    set_deadline(ctx, args, now_ms, Unit::Milliseconds, "pexpire")
}

/// EXPIREAT key unix-time-seconds [NX | XX | GT | LT]
pub fn expireat(ctx: &mut Context, args: Args) -> CommandResult {
    set_deadline(ctx, args, 0, Unit::Seconds, "expireat")
}

/// PEXPIREAT key unix-time-milliseconds [NX | XX | GT | LT]
pub fn pexpireat(ctx: &mut Context, args: Args) -> CommandResult {
    set_deadline(ctx, args, 0, Unit::Milliseconds, "pexpireat")
}

/// When EXPIRE applies; several may be given and all must hold.
#[derive(Default)]
struct Conditions {
    without_deadline: bool,
    with_deadline: bool,
    later: bool,
    earlier: bool,
}

impl Conditions {
    fn parse(options: Args) -> Result<Conditions, CommandError> {
        let mut parsed = Conditions::default();
        for option in options {
            match option.to_ascii_lowercase().as_slice() {
                b"nx" => parsed.without_deadline = true,
                b"xx" => parsed.with_deadline = true,
                b"gt" => parsed.later = true,
                b"lt" => parsed.earlier = true,
                _ => {
                    let option = String::from_utf8_lossy(option);
                    return Err(CommandError::other(format!(
                        "ERR Unsupported option {option}"
                    )));
                }
            }
        }
        if parsed.without_deadline && (parsed.with_deadline || parsed.later || parsed.earlier) {
            return Err(CommandError::other(
                "ERR NX and XX, GT or LT options at the same time are not compatible",
            ));
        }
        if parsed.later && parsed.earlier {
            return Err(CommandError::other(
                "ERR GT and LT options at the same time are not compatible",
            ));
        }
        Ok(parsed)
    }

    /// A key without a deadline lives forever: nothing is later than that, everything is earlier.
    fn hold(&self, current_ms: Option<i64>, at_ms: i64) -> bool {
        (!self.without_deadline || current_ms.is_none())
            && (!self.with_deadline || current_ms.is_some())
            && (!self.later || current_ms.is_some_and(|current_ms| at_ms > current_ms))
            && (!self.earlier || current_ms.is_none_or(|current_ms| at_ms < current_ms))
    }
}

/// The four forms of EXPIRE: the second argument counts in `unit` from `base_ms`.
fn set_deadline(
    ctx: &mut Context,
    args: Args,
    base_ms: i64,
    unit: Unit,
    command: &'static str,
) -> CommandResult {
    let (key, amount) = (args[1], args[2]);
    let conditions = Conditions::parse(&args[3..])?;
    let amount = integer(amount)?;
    let amount_ms = match unit {
        Unit::Seconds => amount.checked_mul(1000),
        Unit::Milliseconds => Some(amount),
    };
    // Negative amounts are fine: that time has passed.
    let at_ms = amount_ms.and_then(|amount_ms| amount_ms.checked_add(base_ms));
    let at_ms = at_ms.ok_or(CommandError::InvalidExpire(command))?;

    let current_ms = ctx.store.expire_at(ctx.db, key);
    let applies = current_ms.is_some_and(|current_ms| conditions.hold(current_ms, at_ms));
    ctx.reply.integer(i64::from(applies));
    if !applies {
        return Ok(());
    }
    if is_past(ctx, at_ms) {
        delete_as_expired(ctx, key);
        return Ok(());
    }
    ctx.store.set_expire(ctx.db, key, Some(at_ms));
    ctx.changed(key, EventClass::GENERIC, "expire");
    if command != "pexpireat" {
        let mut at_text = itoa::Buffer::new();
        let mut logged: Vec<&[u8]> = vec![b"PEXPIREAT", key, at_text.format(at_ms).as_bytes()];
        logged.extend(&args[3..]);
        ctx.log_instead(&logged);
    }
    Ok(())
}

/// Whether a deadline set now would find its key expired already. What a log or a primary says is done as said: they
/// delete keys in their own words.
pub(super) fn is_past(ctx: &Context, at_ms: i64) -> bool {
    at_ms <= ctx.now_ms() && !ctx.caller.replaying
}

/// What a deadline in the past comes to.
pub(super) fn delete_as_expired(ctx: &mut Context, key: &[u8]) {
    ctx.store.remove(ctx.db, key);
    let verb: &[u8] = if ctx.store.settings.lazyfree_lazy_expire {
        b"UNLINK"
    } else {
        b"DEL"
    };
    ctx.log_instead(&[verb, key]);
    ctx.changed(key, EventClass::GENERIC, "del");
}

/// TTL key
pub fn ttl(ctx: &mut Context, args: Args) -> CommandResult {
    let now_ms = ctx.now_ms();
    reply_with_time(ctx, args[1], now_ms, Unit::Seconds)
}

/// PTTL key
pub fn pttl(ctx: &mut Context, args: Args) -> CommandResult {
    let now_ms = ctx.now_ms();
    reply_with_time(ctx, args[1], now_ms, Unit::Milliseconds)
}

/// EXPIRETIME key
pub fn expiretime(ctx: &mut Context, args: Args) -> CommandResult {
    reply_with_time(ctx, args[1], 0, Unit::Seconds)
}

/// PEXPIRETIME key
pub fn pexpiretime(ctx: &mut Context, args: Args) -> CommandResult {
    reply_with_time(ctx, args[1], 0, Unit::Milliseconds)
}

/// The deadline of `key` counted from `base_ms`; -1 when it has none, -2 when there is no such key.
fn reply_with_time(ctx: &mut Context, key: &[u8], base_ms: i64, unit: Unit) -> CommandResult {
    let deadline = ctx.store.expire_at(ctx.db, key);
    ctx.count_read(key, deadline.is_some());
    ctx.reply.integer(match deadline {
        None => -2,
        Some(None) => -1,
        Some(Some(at_ms)) => {
            let time_ms = at_ms.saturating_sub(base_ms).max(0);
            match unit {
                Unit::Milliseconds => time_ms,
                // To the nearest.
                Unit::Seconds => time_ms / 1000 + i64::from(time_ms % 1000 >= 500),
            }
        }
    });
    Ok(())
}

/// PERSIST key
pub fn persist(ctx: &mut Context, args: Args) -> CommandResult {
    let key = args[1];
    let persisted = clear_deadline(ctx, key);
    ctx.reply.integer(i64::from(persisted));
    Ok(())
}

/// Makes `key` live forever; says whether it did not before.
pub(super) fn clear_deadline(ctx: &mut Context, key: &[u8]) -> bool {
    let had_one = matches!(ctx.store.expire_at(ctx.db, key), Some(Some(_)));
    if had_one {
        ctx.store.set_expire(ctx.db, key, None);
        ctx.changed(key, EventClass::GENERIC, "persist");
    }
    had_one
}

//! Times to live: EXPIRE and its three forms, TTL and its three, PERSIST.

use super::parse::{integer, Unit};
use super::{Args, CommandError, CommandResult, Context};
use crate::resp::c_text;
use crate::store::EventClass;
use crate::text;

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
                    return Err(CommandError::other(text!("ERR Unsupported option ", c_text(option))));
                }
            }
        }
        if parsed.without_deadline && (parsed.with_deadline || parsed.later || parsed.earlier) {
            return Err(CommandError::other(
                "ERR NX and XX, GT or LT options at the same time are not compatible",
            ));
        }
        if parsed.later && parsed.earlier {
            return Err(CommandError::other("ERR GT and LT options at the same time are not compatible"));
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
    let verb: &[u8] = if ctx.store.settings.lazyfree_lazy_expire { b"UNLINK" } else { b"DEL" };
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

#[cfg(test)]
mod tests {
    use crate::command::testing::{Bench, START_MS};

    #[test]
    fn the_four_forms_set_the_same_deadline_and_are_logged_as_one() {
        let mut bench = Bench::new();
        let at_s = START_MS / 1000 + 100;
        for command in [
            "EXPIRE k 100".to_owned(),
            "PEXPIRE k 100000".to_owned(),
            format!("EXPIREAT k {at_s}"),
            format!("PEXPIREAT k {at_s}000"),
        ] {
            bench.run("SET k v");
            assert_eq!(bench.run(&command), ":1\r\n");
            assert_eq!(bench.logged(), [format!("PEXPIREAT k {at_s}000")]);
            assert_eq!(bench.run("PTTL k"), ":100000\r\n");
            assert_eq!(bench.run("EXPIRETIME k"), format!(":{at_s}\r\n"));
            assert_eq!(bench.run("PEXPIRETIME k"), format!(":{at_s}000\r\n"));
        }
        bench.run("EXPIRE k 200 GT");
        assert_eq!(bench.logged(), [format!("PEXPIREAT k {}000 GT", at_s + 100)]);
    }

    #[test]
    fn conditions_hold_or_nothing_changes() {
        let mut bench = Bench::new();
        for (ttl, options, applies) in [
            ("", "50 NX", true),
            ("EX 100", "50 NX", false),
            ("", "50 XX", false),
            ("EX 100", "50 XX", true),
            ("EX 100", "50 GT", false),
            ("EX 100", "100 GT", false),
            ("EX 100", "150 GT", true),
            ("", "150 GT", false),
            ("EX 100", "50 lt", true),
            ("EX 100", "100 LT", false),
            ("", "150 LT", true),
            ("", "150 LT XX", false),
            ("EX 100", "150 XX GT", true),
            ("", "-1 NX", true),
            ("EX 100", "-1 GT", false),
        ] {
            bench.run(&format!("SET k v {ttl}"));
            let reply = bench.run(&format!("EXPIRE k {options}"));
            assert_eq!(reply, format!(":{}\r\n", applies as u8), "{ttl}: {options}");
            assert_eq!(bench.logged().len(), applies as usize, "{ttl}: {options}");
        }
        assert_eq!(bench.run("EXPIRE absent 10"), ":0\r\n");
    }

    #[test]
    fn a_deadline_in_the_past_deletes_unless_a_log_is_replayed() {
        let mut bench = Bench::new();
        bench.listen("AKE");
        for command in ["EXPIRE k 0", "PEXPIRE k -1", "EXPIREAT k 1", "PEXPIREAT k -9223372036854775808"] {
            bench.run("SET k v");
            bench.events();
            assert_eq!(bench.run(command), ":1\r\n");
            assert_eq!(bench.logged(), ["DEL k"], "{command}");
            assert_eq!(bench.events(), ["0:del k"], "{command}");
            assert_eq!(bench.run("EXISTS k"), ":0\r\n");
        }
        bench.caller.replaying = true;
        bench.store.expire_on_access = false;
        bench.run("SET k v");
        bench.run("PEXPIREAT k 1");
        assert_eq!(bench.run("EXISTS k"), ":1\r\n");
    }

    #[test]
    fn amounts_that_overflow_are_refused_by_name() {
        let mut bench = Bench::new();
        for (command, name) in [
            ("EXPIRE k 9223372036854775807", "expire"),
            ("EXPIRE k -9223372036854775808", "expire"),
            ("EXPIRE k 9223372036854775", "expire"),
            ("PEXPIRE k 9223372036854775807", "pexpire"),
            ("EXPIREAT k 9223372036854776", "expireat"),
        ] {
            assert_eq!(
                bench.run(command),
                format!("-ERR invalid expire time in '{name}' command\r\n"),
                "{command}"
            );
        }
        assert_eq!(bench.run("PEXPIREAT k 9223372036854775807"), ":0\r\n");
        assert_eq!(bench.run("EXPIRE k 1.5"), "-ERR value is not an integer or out of range\r\n");
        assert_eq!(bench.run("EXPIRE k x AB"), "-ERR Unsupported option AB\r\n");
        assert_eq!(
            bench.run("EXPIRE k x NX LT"),
            "-ERR NX and XX, GT or LT options at the same time are not compatible\r\n"
        );
        assert_eq!(
            bench.run("EXPIRE k x GT LT"),
            "-ERR GT and LT options at the same time are not compatible\r\n"
        );
    }

    #[test]
    fn times_are_told_to_the_nearest_second() {
        let mut bench = Bench::new();
        assert_eq!(bench.run("TTL k"), ":-2\r\n");
        bench.run("SET k v");
        assert_eq!(bench.run("PTTL k"), ":-1\r\n");
        bench.run("PEXPIRE k 1500");
        assert_eq!(bench.run("TTL k"), ":2\r\n");
        bench.run("PEXPIRE k 1499");
        assert_eq!(bench.run("TTL k"), ":1\r\n");
        bench.wait_ms(1499);
        assert_eq!(bench.run("PTTL k"), ":0\r\n");
        bench.wait_ms(1);
        assert_eq!(bench.run("PTTL k"), ":-2\r\n");
        bench.run("SET k v PXAT 9223372036854775807");
        assert_eq!(bench.run("EXPIRETIME k"), ":9223372036854776\r\n");
    }

    #[test]
    fn persist_says_whether_there_was_something_to_remove() {
        let mut bench = Bench::new();
        bench.listen("AKE");
        bench.run("SET k v EX 100");
        bench.events();
        assert_eq!(bench.run("PERSIST k"), ":1\r\n");
        assert_eq!(bench.events(), ["0:persist k"]);
        assert_eq!(bench.run("PERSIST k"), ":0\r\n");
        assert_eq!(bench.run("PERSIST absent"), ":0\r\n");
        assert_eq!(bench.run("TTL k"), ":-1\r\n");
    }
}

//! Values as bytes that another server can make them from again: DUMP and RESTORE.

#[cfg(test)]
mod tests;

use super::parse::integer;
use super::{Args, CommandError, CommandResult, Context};
use crate::base::log::Level;
use crate::rdb::file::{internal_error, Doing};
use crate::rdb::{self, redis_text, Checks, PayloadError};
use crate::store::{Detached, EventClass};

/// DUMP key
pub fn dump(ctx: &mut Context, args: Args) -> CommandResult {
    let format = ctx.caller.rdb_format;
    match ctx.store.read(ctx.db, args[1]) {
        Some(value) => ctx.reply.shared_bulk(&rdb::dump(&value, format).into()),
        None => ctx.reply.null(),
    }
    Ok(())
}

#[derive(Clone, Copy, Debug, Default)]
struct Options {
    replace: bool,
    /// The TTL is a Unix time.
    absolute: bool,
    idle_s: Option<u64>,
    frequency: Option<u8>,
}

impl Options {
    fn parse(options: &[&[u8]]) -> Result<Options, CommandError> {
        let mut parsed = Options::default();
        let mut rest = options.iter();
        while let Some(option) = rest.next() {
            if option.eq_ignore_ascii_case(b"replace") {
                parsed.replace = true;
            } else if option.eq_ignore_ascii_case(b"absttl") {
                parsed.absolute = true;
            } else if option.eq_ignore_ascii_case(b"idletime") && parsed.frequency.is_none() {
                let seconds = integer(rest.next().ok_or(CommandError::Syntax)?)?;
                let seconds = u64::try_from(seconds)
                    .map_err(|_| CommandError::other("ERR Invalid IDLETIME value, must be >= 0"))?;
                parsed.idle_s = Some(seconds);
            } else if option.eq_ignore_ascii_case(b"freq") && parsed.idle_s.is_none() {
                let frequency = integer(rest.next().ok_or(CommandError::Syntax)?)?;
                let frequency = u8::try_from(frequency)
                    .map_err(|_| CommandError::other("ERR Invalid FREQ value, must be >= 0 and <= 255"))?;
                parsed.frequency = Some(frequency);
            } else {
                return Err(CommandError::Syntax);
            }
        }
        Ok(parsed)
    }
}

/// RESTORE key ttl payload [REPLACE] [ABSTTL] [IDLETIME seconds] [FREQ frequency]
pub fn restore(ctx: &mut Context, args: Args) -> CommandResult {
    let (key, payload) = (args[1], args[3]);
    let options = Options::parse(&args[4..])?;
    if !options.replace && ctx.store.exists(ctx.db, key) {
        return Err(CommandError::BusyKey);
    }
    let ttl = integer(args[2])?;
    if ttl < 0 {
        return Err(CommandError::other("ERR Invalid TTL value, must be >= 0"));
    }
    // What a log has was taken once, by a server that may have looked less closely.
    let checks = if ctx.caller.replaying { Checks::Mend } else { Checks::Deep };
    let mut value = rdb::restore(payload, &ctx.store.settings, checks).map_err(refusal)?;
    let replaced = options.replace && ctx.store.remove(ctx.db, key);
    let expire_at = match ttl {
        0 => None,
        _ if options.absolute => Some(ttl),
        // Wraps around as in Redis, into the past.
        _ => Some(ttl.wrapping_add(ctx.now_ms())),
    };
    if expire_at.is_some_and(|at_ms| at_ms <= ctx.now_ms()) && !ctx.caller.replaying {
        if replaced {
            let lazily = ctx.store.settings.lazyfree_lazy_server_del;
            ctx.log_instead(&[if lazily { b"UNLINK" } else { b"DEL" }, key]);
            ctx.changed(key, EventClass::GENERIC, "del");
        }
        ctx.reply.ok();
        return Ok(());
    }
    value.set_expire_at(expire_at);
    store(ctx, key, value, &options);
    if let (Some(at_ms), false) = (expire_at, options.absolute) {
        let mut digits = itoa::Buffer::new();
        let mut logged = args.to_vec();
        logged[2] = digits.format(at_ms).as_bytes();
        logged.push(b"ABSTTL");
        ctx.log_instead(&logged);
    }
    ctx.changed(key, EventClass::GENERIC, "restore");
    ctx.reply.ok();
    Ok(())
}

/// Stores the value as if last used when, or as often as, the options say; what the policy does not count is left out.
fn store(ctx: &mut Context, key: &[u8], value: Detached, options: &Options) {
    ctx.store.put(ctx.db, key, value);
    let counts_uses = ctx.store.settings.maxmemory_policy.is_lfu();
    match (options.idle_s, options.frequency) {
        (Some(idle_s), _) if !counts_uses => ctx.store.set_idle(ctx.db, key, idle_s),
        (_, Some(frequency)) if counts_uses => ctx.store.set_freq(ctx.db, key, frequency),
        _ => true,
    };
}

fn refusal(error: PayloadError) -> CommandError {
    match error {
        PayloadError::VersionOrChecksum => {
            CommandError::other("ERR DUMP payload version or checksum are wrong")
        }
        PayloadError::Value { kind, error } => {
            let reason = redis_text(kind, &error.reason);
            crate::log!(Level::Verbose, "{}", internal_error(error.position, Doing::Value, &reason));
            CommandError::other("ERR Bad data format")
        }
    }
}

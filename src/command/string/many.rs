//! Several strings at once: MGET, MSET, MSETNX.

use super::{write, Args, CommandError, CommandResult, Context};
use crate::store::Ttl;

/// MGET key [key ...]. A key of another type reads as null.
pub fn mget(ctx: &mut Context, args: Args) -> CommandResult {
    let keys = &args[1..];
    ctx.reply.array(keys.len());
    for key in keys {
        match ctx.store.read(ctx.db, key) {
            Some(value) => {
                if value.write_string(ctx.reply).is_err() {
                    ctx.reply.null();
                }
            }
            None => ctx.reply.null(),
        }
    }
    Ok(())
}

/// MSET key value [key value ...]
pub fn mset(ctx: &mut Context, args: Args) -> CommandResult {
    let pairs = pairs(args, "mset")?;
    write_all(ctx, pairs);
    ctx.reply.ok();
    Ok(())
}

/// MSETNX key value [key value ...]: all of them, or none when one of the keys exists.
pub fn msetnx(ctx: &mut Context, args: Args) -> CommandResult {
    let pairs = pairs(args, "msetnx")?;
    let free = pairs.iter().step_by(2).all(|key| !ctx.store.use_key(ctx.db, key));
    if free {
        write_all(ctx, pairs);
    }
    ctx.reply.integer(i64::from(free));
    Ok(())
}

/// What follows the name: keys and values in turn.
fn pairs<'a>(args: Args<'a>, command: &'static str) -> Result<Args<'a>, CommandError> {
    if args.len().is_multiple_of(2) {
        return Err(CommandError::WrongArity(command));
    }
    Ok(&args[1..])
}

fn write_all(ctx: &mut Context, pairs: Args) {
    for pair in pairs.chunks_exact(2) {
        write(ctx, pair[0], pair[1], Ttl::None);
    }
}

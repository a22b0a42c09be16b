//! The forms that wait until there is an element: BLPOP, BRPOP, BLMPOP, BLMOVE, BRPOPLPUSH.

use super::pop::{pop_one, Request};
use super::transfer::transfer;
use super::{end, Args, CommandResult, Context};
use crate::command::parse::block_timeout_seconds;
use crate::command::{BlockTimeout, Blocking, WaitFor};
use crate::store::{End, ValueType};

/// BLPOP key [key ...] timeout
pub fn blpop(ctx: &mut Context, args: Args) -> CommandResult {
    pop(ctx, args, End::Head)
}

/// BRPOP key [key ...] timeout
pub fn brpop(ctx: &mut Context, args: Args) -> CommandResult {
    pop(ctx, args, End::Tail)
}

fn pop(ctx: &mut Context, args: Args, from: End) -> CommandResult {
    let (keys, timeout) = (&args[1..args.len() - 1], args[args.len() - 1]);
    let timeout = block_timeout_seconds(timeout, ctx.now_ms())?;
    for key in keys {
        let popped = pop_one(ctx, key, from, |reply| {
            reply.array(2);
            reply.bulk(key);
        })?;
        if popped {
            ctx.log_instead(&[if from == End::Head { b"LPOP" } else { b"RPOP" }, key]);
            return Ok(());
        }
    }
    wait(ctx, timeout, WaitFor::EveryKey);
    Ok(())
}

/// BLMPOP timeout numkeys key [key ...] LEFT | RIGHT [COUNT count]
pub fn blmpop(ctx: &mut Context, args: Args) -> CommandResult {
    let request = Request::parse(&args[2..])?;
    let timeout = block_timeout_seconds(args[1], ctx.now_ms())?;
    if !request.pop(ctx)? {
        wait(ctx, timeout, WaitFor::EveryKey);
    }
    Ok(())
}

/// BLMOVE source destination LEFT | RIGHT LEFT | RIGHT timeout
pub fn blmove(ctx: &mut Context, args: Args) -> CommandResult {
    let (from, to) = (end(args[3])?, end(args[4])?);
    let timeout = block_timeout_seconds(args[5], ctx.now_ms())?;
    if transfer(ctx, args[1], args[2], from, to)? {
        if !ctx.caller.on_excerpts {
            ctx.log_instead(&[b"LMOVE", args[1], args[2], args[3], args[4]]);
        }
    } else {
        wait_for_source(ctx, timeout);
    }
    Ok(())
}

/// BRPOPLPUSH source destination timeout
pub fn brpoplpush(ctx: &mut Context, args: Args) -> CommandResult {
    let timeout = block_timeout_seconds(args[3], ctx.now_ms())?;
    if transfer(ctx, args[1], args[2], End::Tail, End::Head)? {
        if !ctx.caller.on_excerpts {
            ctx.log_instead(&[b"RPOPLPUSH", args[1], args[2]]);
        }
    } else {
        wait_for_source(ctx, timeout);
    }
    Ok(())
}

fn wait(ctx: &mut Context, timeout: BlockTimeout, wait_for: WaitFor) {
    if ctx.caller.deny_blocking {
        ctx.reply.null_array();
    } else {
        let wake_on = ValueType::List;
        ctx.block(Blocking { timeout, wait_for, wake_on, also_on_deletion: false, again: None });
    }
}

fn wait_for_source(ctx: &mut Context, timeout: BlockTimeout) {
    if ctx.caller.deny_blocking {
        ctx.reply.null();
    } else {
        wait(ctx, timeout, WaitFor::FirstKey);
    }
}

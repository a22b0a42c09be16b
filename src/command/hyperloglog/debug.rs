//! PFDEBUG: what is inside of a HyperLogLog.

use crate::resp::c_text;
use crate::text;
use std::fmt::Write;

use super::layout::{self, Encoding};
use super::{dense, sparse, Args, CommandError, CommandResult, Context, REGISTERS};

/// PFDEBUG GETREG | DECODE | ENCODING | TODENSE key
pub fn pfdebug(ctx: &mut Context, args: Args) -> CommandResult {
    let (subcommand, key) = (args[1], args[2]);
    let Some(value) = ctx.store.peek(ctx.db, key) else {
        return Err(CommandError::other("ERR The specified key does not exist"));
    };
    let mut digits = itoa::Buffer::new();
    let bytes = value.string(&mut digits)?;
    let encoding = layout::check(bytes)?;
    let is = |name: &[u8]| subcommand.eq_ignore_ascii_case(name);
    if is(b"getreg") {
        to_dense(ctx, key, encoding)?;
        reply_with_registers(ctx, key)?;
    } else if is(b"decode") {
        if encoding != Encoding::Sparse {
            return Err(CommandError::other("ERR HLL encoding is not sparse"));
        }
        ctx.reply.bulk(decoded(bytes).as_bytes());
    } else if is(b"encoding") {
        ctx.reply.simple(if encoding == Encoding::Dense { "dense" } else { "sparse" });
    } else if is(b"todense") {
        let converted = to_dense(ctx, key, encoding)?;
        ctx.reply.integer(i64::from(converted));
    } else {
        let name = c_text(subcommand);
        return Err(CommandError::other(text!("ERR Unknown PFDEBUG subcommand '", name, "'")));
    }
    Ok(())
}

/// True when that changed something, which is then logged.
fn to_dense(ctx: &mut Context, key: &[u8], encoding: Encoding) -> Result<bool, CommandError> {
    if encoding == Encoding::Dense {
        return Ok(false);
    }
    ctx.store.modify_string(ctx.db, key, sparse::to_dense)??;
    ctx.store.dirty += 1;
    Ok(true)
}

fn reply_with_registers(ctx: &mut Context, key: &[u8]) -> CommandResult {
    let mut registers = [0; REGISTERS];
    if let Some(value) = ctx.store.peek(ctx.db, key) {
        dense::merge(value.string(&mut itoa::Buffer::new())?, &mut registers);
    }
    ctx.reply.array(REGISTERS);
    for register in registers {
        ctx.reply.integer(i64::from(register));
    }
    Ok(())
}

/// The runs of a sparse value in letters: `z` zeros, `Z` zeros in the long form, `v` a value and for how many registers.
fn decoded(value: &[u8]) -> String {
    let mut text = String::new();
    for run in sparse::runs(value) {
        let separator = if text.is_empty() { "" } else { " " };
        // Writing to a String cannot fail.
        let _ = match (run.value, run.size_bytes) {
            (0, 1) => write!(text, "{separator}z:{}", run.registers),
            (0, _) => write!(text, "{separator}Z:{}", run.registers),
            (value, _) => write!(text, "{separator}v:{value},{}", run.registers),
        };
    }
    text
}

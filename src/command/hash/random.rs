//! HRANDFIELD.

use super::super::elements::{write_item, Wanted};
use super::{Args, CommandError, CommandResult, Context};
use crate::resp::{Protocol, Reply};
use crate::store::listpack::Item;
use crate::store::Hash;

/// HRANDFIELD key [count [WITHVALUES]]
pub fn hrandfield(ctx: &mut Context, args: Args) -> CommandResult {
    let mut rng = ctx.store.rng().split();
    if args.len() == 2 {
        let hash = ctx.store.read_as::<Hash>(ctx.db, args[1])?;
        match hash.and_then(|hash| hash.random(&mut rng)) {
            Some((field, _)) => write_item(ctx.reply, field),
            None => ctx.reply.null(),
        }
        return Ok(());
    }
    let wanted = Wanted::parse(args[2])?;
    let with_values = match args[3..] {
        [] => false,
        [option] if option.eq_ignore_ascii_case(b"withvalues") => true,
        _ => return Err(CommandError::Syntax),
    };
    if with_values {
        // In RESP2 there are twice as many elements, which must be a number still.
        let (Wanted::Different(count) | Wanted::Repeated(count)) = wanted;
        if count > i64::MAX as usize / 2 {
            return Err(CommandError::other("ERR value is out of range"));
        }
    }
    let Some(hash) = ctx.store.read_as::<Hash>(ctx.db, args[1])? else {
        ctx.reply.array(0);
        return Ok(());
    };
    match wanted.bounded()? {
        Wanted::Different(count) => {
            write_head(ctx.reply, count.min(hash.len()), with_values);
            hash.sample(count, &mut rng, |field, value| write_pair(ctx.reply, field, value, with_values));
        }
        Wanted::Repeated(count) => {
            write_head(ctx.reply, count, with_values);
            for _ in 0..count {
                if let Some((field, value)) = hash.random(&mut rng) {
                    write_pair(ctx.reply, field, value, with_values);
                }
            }
        }
    }
    Ok(())
}

fn write_head(reply: &mut Reply, fields: usize, with_values: bool) {
    let is_flat = with_values && reply.protocol() == Protocol::Resp2;
    reply.array(if is_flat { fields * 2 } else { fields });
}

/// A field, with its value beside it, or in RESP3 in an array with it.
fn write_pair(reply: &mut Reply, field: Item, value: Item, with_values: bool) {
    if with_values && reply.protocol() == Protocol::Resp3 {
        reply.array(2);
    }
    write_item(reply, field);
    if with_values {
        write_item(reply, value);
    }
}

//! HSCAN: the fields of a hash in steps, with SCAN's guarantee.

use super::super::elements::{write_item, write_scan, ScanOptions};
use super::super::parse::cursor;
use super::{Args, CommandResult, Context};
use crate::resp::Reply;
use crate::store::Hash;

/// HSCAN key cursor [MATCH pattern] [COUNT count]
pub fn hscan(ctx: &mut Context, args: Args) -> CommandResult {
    let start = cursor(args[2])?;
    // Apart, because the cursor stands in front of the elements and is known after them.
    let mut elements = Reply::new(ctx.reply.protocol());
    let Some(hash) = ctx.store.read_as::<Hash>(ctx.db, args[1])? else {
        write_scan(ctx.reply, 0, 0, &mut elements);
        return Ok(());
    };
    let options = ScanOptions::parse(&args[3..])?;
    let mut returned = 0;
    let next = options.run(start, |cursor| {
        let mut seen = 0;
        let next = hash.scan(cursor, |field, value| {
            seen += 1;
            if options.matches(field) {
                write_item(&mut elements, field);
                write_item(&mut elements, value);
                returned += 2;
            }
        });
        (next, seen)
    });
    write_scan(ctx.reply, next, returned, &mut elements);
    Ok(())
}

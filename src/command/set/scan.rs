//! SSCAN: the members of a set in steps, with SCAN's guarantee.

use super::super::elements::{write_item, write_scan, ScanOptions};
use super::super::parse::cursor;
use super::{Args, CommandResult, Context};
use crate::resp::Reply;
use crate::store::Set;

/// SSCAN key cursor [MATCH pattern] [COUNT count]
pub fn sscan(ctx: &mut Context, args: Args) -> CommandResult {
    let start = cursor(args[2])?;
    // Apart, because the cursor stands in front of the members and is known after them.
    let mut members = Reply::new(ctx.reply.protocol());
    let Some(set) = ctx.store.read_as::<Set>(ctx.db, args[1])? else {
        write_scan(ctx.reply, 0, 0, &mut members);
        return Ok(());
    };
    let options = ScanOptions::parse(&args[3..])?;
    let mut returned = 0;
    let next = options.run(start, |cursor| {
        let mut seen = 0;
        let next = set.scan(cursor, |member| {
            seen += 1;
            if options.matches(member) {
                write_item(&mut members, member);
                returned += 1;
            }
        });
        (next, seen)
    });
    write_scan(ctx.reply, next, returned, &mut members);
    Ok(())
}

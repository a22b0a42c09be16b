//! HSCAN: the fields of a hash in steps, with SCAN's guarantee.

use super::super::elements::{scan_elements, write_item};
use super::{Args, CommandResult, Context};
use crate::store::Hash;

/// HSCAN key cursor [MATCH pattern] [COUNT count]
pub fn hscan(ctx: &mut Context, args: Args) -> CommandResult {
    scan_elements::<Hash, 2>(ctx, args, |hash, cursor, reply, matches| {
        hash.scan(cursor, |field, value| {
            if matches(field) {
                write_item(reply, field);
                write_item(reply, value);
            }
        })
    })
}

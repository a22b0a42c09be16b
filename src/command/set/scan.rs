//! SSCAN: the members of a set in steps, with SCAN's guarantee.

use super::super::elements::{scan_elements, write_item};
use super::{Args, CommandResult, Context};
use crate::store::Set;

/// SSCAN key cursor [MATCH pattern] [COUNT count]
pub fn sscan(ctx: &mut Context, args: Args) -> CommandResult {
    scan_elements::<Set, 1>(ctx, args, |set, cursor, reply, matches| {
        set.scan(cursor, |member| {
            if matches(member) {
                write_item(reply, member);
            }
        })
    })
}

//! Bits of strings: SETBIT and GETBIT here, and by file: `scan` (BITCOUNT, BITPOS), `combine` (BITOP), `field` (BITFIELD) with
//! `packed` (the integers in it).
//!
//! A bitmap is a string; bit 0 is the most significant bit of its first byte, and beyond its end all bits are 0. Reads work
//! on the string where it lies, however large it is.

mod combine;
mod field;
mod packed;
mod scan;
#[cfg(test)]
mod tests;

pub use combine::bitop;
pub use field::{bitfield, bitfield_keys, bitfield_ro};
pub use scan::{bitcount, bitpos};

use super::parse::integer;
use super::{Args, Caller, CommandError, CommandResult, Context};
use crate::store::EventClass;

/// SETBIT key offset value: answers what the bit was.
pub fn setbit(ctx: &mut Context, args: Args) -> CommandResult {
    let key = args[1];
    let offset = bit_offset(ctx.caller, integer(args[2]).ok())?;
    let bit = match integer(args[3]) {
        Ok(0) => false,
        Ok(1) => true,
        _ => return Err(CommandError::other("ERR bit is not an integer or out of range")),
    };
    let (index, mask) = place(offset);
    let (old, changed) = ctx.store.modify_string(ctx.db, key, |string| {
        let grows = string.len() <= index;
        if grows {
            string.resize(index + 1, 0);
        }
        // Asked for even when the bit stays what it is: like Redis's, the value is raw from now on.
        let byte = &mut string.as_mut_slice()[index];
        let old = *byte & mask != 0;
        if bit {
            *byte |= mask;
        } else {
            *byte &= !mask;
        }
        (old, grows || old != bit)
    })?;
    if changed {
        ctx.changed(key, EventClass::STRING, "setbit");
    }
    ctx.reply.integer(i64::from(old));
    Ok(())
}

/// GETBIT key offset
pub fn getbit(ctx: &mut Context, args: Args) -> CommandResult {
    let (index, mask) = place(bit_offset(ctx.caller, integer(args[2]).ok())?);
    let bit = match ctx.store.read(ctx.db, args[1]) {
        Some(value) => {
            let mut digits = itoa::Buffer::new();
            value.string(&mut digits)?.get(index).is_some_and(|byte| byte & mask != 0)
        }
        None => false,
    };
    ctx.reply.integer(i64::from(bit));
    Ok(())
}

/// The byte that a bit is in, and the bit in that byte.
fn place(offset: u64) -> (usize, u8) {
    ((offset >> 3) as usize, 0x80 >> (offset & 7))
}

/// Refuses an offset that is none, or lies beyond the longest string that a client could send; a log or a primary is obeyed.
fn bit_offset(caller: &Caller, offset: Option<i64>) -> Result<u64, CommandError> {
    offset
        .and_then(|offset| u64::try_from(offset).ok())
        .filter(|offset| offset >> 3 < caller.bulk_len_max as u64 || caller.replaying)
        .ok_or(CommandError::other("ERR bit offset is not an integer or out of range"))
}

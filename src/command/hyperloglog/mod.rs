//! HyperLogLog: PFADD, PFCOUNT and PFMERGE here, PFDEBUG in `debug`, PFSELFTEST in `selftest`.
//!
//! The value is a string that clients, replicas and RDB files see, so it is Redis's to the byte. `layout` has its header,
//! `hash` says which register an element counts in, `sparse` and `dense` are its two encodings, and `estimate` makes a
//! number out of the registers.

mod debug;
mod dense;
mod estimate;
mod hash;
mod layout;
mod selftest;
mod sparse;
#[cfg(test)]
mod tests;

pub use debug::pfdebug;
pub use selftest::pfselftest;

use super::table::keys::FoundKeys;
use super::{Args, CommandError, CommandResult, Context};
use crate::store::{EventClass, StringBuf};
use estimate::Histogram;
use hash::Pattern;
use layout::{Encoding, Registers, EMPTY, REGISTERS};
use sparse::{Cursor, Outcome};

/// PFADD key [element ...]: 1 when a register changed or the key is new.
pub fn pfadd(ctx: &mut Context, args: Args) -> CommandResult {
    let (key, elements) = (args[1], &args[2..]);
    let sparse_len_max = ctx.store.settings.hll_sparse_max_bytes;
    let (changes, result) = modify(ctx, key, |value, is_new| {
        let mut changes = u64::from(is_new);
        let mut result = Ok(());
        for element in elements {
            match add(value, Pattern::of(element), sparse_len_max) {
                Ok(changed) => changes += u64::from(changed),
                Err(corrupted) => {
                    result = Err(corrupted);
                    break;
                }
            }
        }
        if changes > 0 {
            layout::forget_count(value.as_mut_slice());
        }
        (changes, result)
    })?;
    // What was added before the value turned out to be corrupted stays added.
    if changes > 0 {
        ctx.changed(key, EventClass::STRING, "pfadd");
        ctx.store.dirty += changes - 1;
    }
    result?;
    ctx.reply.integer(i64::from(changes > 0));
    Ok(())
}

/// PFCOUNT key [key ...]: of several keys, the count of their union.
pub fn pfcount(ctx: &mut Context, args: Args) -> CommandResult {
    let count = match &args[1..] {
        [key] => count_one(ctx, key)?,
        keys => {
            let mut registers = [0; REGISTERS];
            for key in keys {
                merge(ctx, key, &mut registers)?;
            }
            Histogram::of(&registers).estimate()
        }
    };
    ctx.reply.integer(count);
    Ok(())
}

/// The count that the value remembers, or else the one that it will remember from now on. To change that is no write to
/// clients, but watchers and replicas are told.
fn count_one(ctx: &mut Context, key: &[u8]) -> Result<i64, CommandError> {
    let Some(value) = ctx.store.read(ctx.db, key) else { return Ok(0) };
    let mut digits = itoa::Buffer::new();
    let bytes = value.string(&mut digits)?;
    let encoding = layout::check(bytes)?;
    if let Some(count) = layout::remembered_count(bytes) {
        return Ok(count);
    }
    let histogram = match encoding {
        Encoding::Dense => dense::histogram(bytes),
        Encoding::Sparse => sparse::histogram(bytes)?,
    };
    let count = histogram.estimate();
    ctx.store.modify_string(ctx.db, key, |value| layout::remember_count(value.as_mut_slice(), count))?;
    ctx.store.dirty += 1;
    ctx.store.touched(ctx.db, key);
    Ok(count)
}

/// PFMERGE's keys: without sources too, of which the key specs find none, the destination is one.
pub fn pfmerge_keys(args: Args, found: &mut FoundKeys) -> CommandResult {
    found.key(1, 0);
    (2..args.len()).for_each(|index| found.key(index, 1));
    Ok(())
}

/// PFMERGE destkey [sourcekey ...]: the destination is one of the sources.
pub fn pfmerge(ctx: &mut Context, args: Args) -> CommandResult {
    let destination = args[1];
    let sparse_len_max = ctx.store.settings.hll_sparse_max_bytes;
    let mut registers = [0; REGISTERS];
    let mut any_dense = false;
    for key in &args[1..] {
        any_dense |= merge(ctx, key, &mut registers)? == Some(Encoding::Dense);
    }
    modify(ctx, destination, |value, _| {
        if any_dense {
            sparse::to_dense(value)?;
        }
        if layout::encoding(value) == Encoding::Sparse {
            set_ascending(value, &registers, sparse_len_max)?;
        }
        // Made dense before, or on the way.
        if layout::encoding(value) == Encoding::Dense {
            dense::assign(value.as_mut_slice(), &registers);
        }
        layout::forget_count(value.as_mut_slice());
        Ok::<_, CommandError>(())
    })??;
    ctx.changed(destination, EventClass::STRING, "pfadd");
    ctx.reply.ok();
    Ok(())
}

/// Raises the registers of a sparse value, until they are all set or it has become dense.
fn set_ascending(value: &mut StringBuf, registers: &Registers, sparse_len_max: usize) -> CommandResult {
    let mut cursor = Cursor::default();
    for (index, &count) in registers.iter().enumerate().filter(|(_, count)| **count > 0) {
        if sparse::raise(value, index, count, sparse_len_max, &mut cursor)? == Outcome::TooLarge {
            return sparse::to_dense(value);
        }
    }
    Ok(())
}

/// Raises `registers` to those of `key`, which count as 0 when there is no such key. Returns its encoding.
fn merge(ctx: &mut Context, key: &[u8], registers: &mut Registers) -> Result<Option<Encoding>, CommandError> {
    let Some(value) = ctx.store.read(ctx.db, key) else { return Ok(None) };
    let mut digits = itoa::Buffer::new();
    let bytes = value.string(&mut digits)?;
    let encoding = layout::check(bytes)?;
    match encoding {
        Encoding::Dense => dense::merge(bytes, registers),
        Encoding::Sparse => sparse::merge(bytes, registers)?,
    }
    Ok(Some(encoding))
}

/// Counts an element in a value that has been checked. True when that raised a register.
fn add(value: &mut StringBuf, pattern: Pattern, sparse_len_max: usize) -> Result<bool, CommandError> {
    let Pattern { register, count } = pattern;
    if layout::encoding(value) == Encoding::Sparse {
        match sparse::raise(value, register, count, sparse_len_max, &mut Cursor::default())? {
            Outcome::Unchanged => return Ok(false),
            Outcome::Raised => return Ok(true),
            Outcome::TooLarge => sparse::to_dense(value)?,
        }
    }
    let raises = dense::get(value, register) < count;
    if raises {
        dense::set(value.as_mut_slice(), register, count);
    }
    Ok(raises)
}

/// Lets `change` alter the HyperLogLog that `key` holds, in one look-up; when there is none it is made first, and
/// `change` is told.
fn modify<R>(
    ctx: &mut Context,
    key: &[u8],
    mut change: impl FnMut(&mut StringBuf, bool) -> R,
) -> Result<R, CommandError> {
    let existing = ctx.store.modify_string(ctx.db, key, |value| match value.is_empty() {
        true => None,
        false => Some(layout::check(value).map(|_| change(value, false))),
    })?;
    match existing {
        Some(result) => result,
        // An empty string looks the same as none.
        None if ctx.store.exists(ctx.db, key) => Err(layout::not_a_hyperloglog()),
        None => Ok(ctx.store.modify_string(ctx.db, key, |value| {
            value.assign(&EMPTY);
            change(value, true)
        })?),
    }
}

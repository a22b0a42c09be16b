//! BITFIELD and BITFIELD_RO: a string as an array of small integers, with several reads and writes in one command.

use smallvec::SmallVec;

use super::super::parse::integer;
use super::packed::{IntegerType, Overflow};
use super::{bit_offset, Args, Caller, CommandError, CommandResult, Context};
use crate::command::table::{keys::FoundKeys, movable};
use crate::resp::Reply;
use crate::store::EventClass;

#[derive(Clone, Copy)]
struct Operation {
    kind: IntegerType,
    /// Bits.
    offset: u64,
    action: Action,
}

#[derive(Clone, Copy)]
enum Action {
    Get,
    /// Answers the old value.
    Set(i64, Overflow),
    /// Answers the new value.
    IncrBy(i64, Overflow),
}

type Operations = SmallVec<[Operation; 4]>;

/// BITFIELD key [GET encoding offset | [OVERFLOW WRAP | SAT | FAIL] SET encoding offset value | INCRBY encoding offset increment ...]
pub fn bitfield(ctx: &mut Context, args: Args) -> CommandResult {
    let operations = parse(ctx.caller, &args[2..])?;
    match bits_written(&operations) {
        Some(bits) => write(ctx, args[1], &operations, bits),
        None => read(ctx, args[1], &operations),
    }
}

/// BITFIELD_RO key [GET encoding offset ...]
pub fn bitfield_ro(ctx: &mut Context, args: Args) -> CommandResult {
    let operations = parse(ctx.caller, &args[2..])?;
    if bits_written(&operations).is_some() {
        return Err(CommandError::other("ERR BITFIELD_RO only supports the GET subcommand"));
    }
    read(ctx, args[1], &operations)
}

/// BITFIELD's key, which it only reads as long as every operation does.
pub fn bitfield_keys(args: Args, found: &mut FoundKeys) -> CommandResult {
    // An offset that is too large is refused when it runs.
    let caller = Caller { bulk_len_max: usize::MAX, ..Caller::default() };
    let operations = parse(&caller, &args[2..])?;
    let is_write = bits_written(&operations).is_some();
    found.key_used(1, if is_write { movable::MODIFY } else { movable::READ });
    Ok(())
}

fn parse(caller: &Caller, mut rest: Args) -> Result<Operations, CommandError> {
    let mut operations = Operations::new();
    let mut overflow = Overflow::Wrap;
    loop {
        let is = |word: &[u8], name: &str| word.eq_ignore_ascii_case(name.as_bytes());
        rest = match rest {
            [] => return Ok(operations),
            [word, kind, offset, rest @ ..] if is(word, "get") => {
                let (kind, offset) = parse_place(caller, kind, offset)?;
                operations.push(Operation { kind, offset, action: Action::Get });
                rest
            }
            [word, kind, offset, value, rest @ ..] if is(word, "set") || is(word, "incrby") => {
                let (kind, offset) = parse_place(caller, kind, offset)?;
                let value = integer(value)?;
                let action = if is(word, "set") {
                    Action::Set(value, overflow)
                } else {
                    Action::IncrBy(value, overflow)
                };
                operations.push(Operation { kind, offset, action });
                rest
            }
            [word, name, rest @ ..] if is(word, "overflow") => {
                overflow = parse_overflow(name)?;
                rest
            }
            _ => return Err(CommandError::Syntax),
        };
    }
}

/// A type, and an offset in bits, or with a `#` in front in integers of that type.
fn parse_place(caller: &Caller, kind: &[u8], offset: &[u8]) -> Result<(IntegerType, u64), CommandError> {
    let kind = IntegerType::parse(kind)?;
    let offset = match offset {
        // It wraps around in Redis too.
        [b'#', index @ ..] => integer(index).ok().map(|index| index.wrapping_mul(i64::from(kind.bits))),
        offset => integer(offset).ok(),
    };
    Ok((kind, bit_offset(caller, offset)?))
}

fn parse_overflow(name: &[u8]) -> Result<Overflow, CommandError> {
    let kinds: [(&[u8], Overflow); 3] =
        [(b"wrap", Overflow::Wrap), (b"sat", Overflow::Sat), (b"fail", Overflow::Fail)];
    let found = kinds.iter().find(|(word, _)| name.eq_ignore_ascii_case(word));
    found.map(|(_, overflow)| *overflow).ok_or(CommandError::other("ERR Invalid OVERFLOW type specified"))
}

/// How far the string has to reach for every write to find its bits; None when all operations only read.
fn bits_written(operations: &[Operation]) -> Option<u64> {
    let writes = operations.iter().filter(|operation| !matches!(operation.action, Action::Get));
    writes.map(|operation| operation.offset + u64::from(operation.kind.bits)).max()
}

fn read(ctx: &mut Context, key: &[u8], operations: &[Operation]) -> CommandResult {
    let value = ctx.store.read(ctx.db, key);
    let mut digits = itoa::Buffer::new();
    let string = match &value {
        Some(value) => value.string(&mut digits)?,
        None => b"",
    };
    ctx.reply.array(operations.len());
    for operation in operations {
        ctx.reply.integer(operation.kind.get(string, operation.offset));
    }
    Ok(())
}

fn write(ctx: &mut Context, key: &[u8], operations: &[Operation], bits: u64) -> CommandResult {
    let len = bits.div_ceil(8) as usize;
    let reply = &mut *ctx.reply;
    let (grows, changes) = ctx.store.modify_string(ctx.db, key, |string| {
        let grows = string.len() < len;
        if grows {
            string.resize(len, 0);
        }
        let bytes = string.as_mut_slice();
        reply.array(operations.len());
        let stored = operations.iter().filter(|operation| operation.run(bytes, reply, grows)).count();
        (grows, stored as u64)
    })?;
    if changes > 0 {
        ctx.changed(key, EventClass::STRING, "setbit");
        ctx.store.dirty += changes - 1;
    } else if grows {
        // All writes overflowed and failed, yet the string has grown. Redis tells nobody; it is logged here, since what is read
        // back after a restart must be what was there before it.
        ctx.store.dirty += 1;
        ctx.store.touched(ctx.db, key);
    }
    Ok(())
}

impl Operation {
    /// Runs and answers it. True when it changed something, or stored something in a string that has `grown`.
    fn run(&self, bytes: &mut [u8], reply: &mut Reply, grown: bool) -> bool {
        let old = self.kind.get(bytes, self.offset);
        let (new, answers_old) = match self.action {
            Action::Get => {
                reply.integer(old);
                return false;
            }
            Action::Set(value, overflow) => (self.kind.add(value, 0, overflow), true),
            Action::IncrBy(increment, overflow) => (self.kind.add(old, increment, overflow), false),
        };
        let Some(new) = new else {
            reply.null();
            return false;
        };
        self.kind.set(bytes, self.offset, new);
        reply.integer(if answers_old { old } else { new });
        grown || old != new
    }
}

//! XDEL, and XSETID, which sets what a stream remembers of entries that are gone.

use smallvec::SmallVec;

use super::id::strict_id;
use crate::command::parse::integer;
use crate::command::{Args, CommandError, CommandResult, Context};
use crate::store::stream::{EntryLog, Stream, StreamId};
use crate::store::EventClass;

pub type Ids = SmallVec<[StreamId; 8]>;

/// All IDs, or the error of the first that is none.
pub fn strict_ids(args: Args) -> Result<Ids, CommandError> {
    args.iter().map(|arg| strict_id(arg, 0)).collect()
}

/// XDEL key id [id ...]
pub fn xdel(ctx: &mut Context, args: Args) -> CommandResult {
    let key = args[1];
    // A wrong type is reported before a wrong ID, and a missing key before both.
    if ctx.store.peek_as::<Stream>(ctx.db, key)?.is_none() {
        ctx.reply.integer(0);
        return Ok(());
    }
    let ids = strict_ids(&args[2..])?;
    let updated =
        ctx.store.update::<Stream, _>(ctx.db, key, |stream, _| stream.log_mut().delete_all(&ids))?;
    let deleted = updated.map_or(0, |updated| updated.result);
    if deleted > 0 {
        ctx.changed(key, EventClass::STREAM, "xdel");
        ctx.store.dirty += deleted - 1;
    }
    ctx.reply.integer(deleted as i64);
    Ok(())
}

/// XSETID key last-id [ENTRIESADDED entries-added] [MAXDELETEDID max-deleted-id]
pub fn xsetid(ctx: &mut Context, args: Args) -> CommandResult {
    let (key, last_id) = (args[1], strict_id(args[2], 0)?);
    let (mut entries_added, mut max_deleted_id) = (None, StreamId::MIN);
    let mut rest = &args[3..];
    while let [option, more @ ..] = rest {
        let [value, more @ ..] = more else { return Err(CommandError::Syntax) };
        if option.eq_ignore_ascii_case(b"entriesadded") {
            let count = u64::try_from(integer(value)?);
            entries_added =
                Some(count.map_err(|_| CommandError::other("ERR entries_added must be positive"))?);
        } else if option.eq_ignore_ascii_case(b"maxdeletedid") {
            max_deleted_id = strict_id(value, 0)?;
            if last_id < max_deleted_id {
                return Err(CommandError::other(
                    "ERR The ID specified in XSETID is smaller than the provided max_deleted_entry_id",
                ));
            }
        } else {
            return Err(CommandError::Syntax);
        }
        rest = more;
    }
    let updated = ctx.store.update::<Stream, _>(ctx.db, key, |stream, _| {
        let log = stream.log_mut();
        check(log, last_id, entries_added)?;
        log.set_last_id(last_id);
        if let Some(count) = entries_added {
            log.set_entries_added(count);
        }
        if max_deleted_id != StreamId::MIN {
            log.set_max_deleted_id(max_deleted_id);
        }
        Ok::<_, CommandError>(())
    })?;
    updated.ok_or(CommandError::NoSuchKey)?.result?;
    super::group_changed(ctx, key, "xsetid");
    ctx.reply.ok();
    Ok(())
}

fn check(log: &EntryLog, last_id: StreamId, entries_added: Option<u64>) -> CommandResult {
    if last_id < log.max_deleted_id() {
        return Err(CommandError::other(
            "ERR The ID specified in XSETID is smaller than current max_deleted_entry_id",
        ));
    }
    if log.is_empty() {
        return Ok(());
    }
    if last_id < log.last_entry_id() {
        return Err(CommandError::other(
            "ERR The ID specified in XSETID is smaller than the target stream top item",
        ));
    }
    if entries_added.is_some_and(|count| count < log.len()) {
        return Err(CommandError::other(
            "ERR The entries_added specified in XSETID is smaller than the target stream length",
        ));
    }
    Ok(())
}

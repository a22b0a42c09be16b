//! XADD.

use super::id::PartialId;
use super::trim::{log_with, NewId, Options};
use crate::command::{Args, CommandError, CommandResult, Context};
use crate::store::stream::{Stream, StreamId};
use crate::store::{EventClass, Settings};

/// What became of a stream to which an entry was added.
struct Added {
    id: StreamId,
    trimmed: u64,
    /// What was decided here, to be logged in place of what was left open.
    decided: Option<[(usize, Vec<u8>); 2]>,
    /// What is to be freed.
    rest: Option<Stream>,
}

/// XADD key [NOMKSTREAM] [MAXLEN | MINID [= | ~] threshold [LIMIT count]] * | id field value [field value ...]
pub fn xadd(ctx: &mut Context, args: Args) -> CommandResult {
    let options = Options::of_xadd(args, ctx)?;
    let key = args[1];
    let pairs = args.get(options.id_at + 1..).unwrap_or_default();
    if pairs.is_empty() || !pairs.len().is_multiple_of(2) {
        return Err(CommandError::WrongArity("xadd"));
    }
    if options.id == NewId::Given(PartialId::Whole(StreamId::MIN)) {
        return Err(CommandError::other("ERR The ID specified in XADD must be greater than 0-0"));
    }
    let now_ms = ctx.now_ms() as u64;
    let logs = ctx.store.log_enabled;
    let add = |stream: &mut Stream, settings: &Settings| {
        let log = stream.log_mut();
        let id = next_id(options.id, log.last_id(), now_ms)?;
        log.append(id, pairs, settings)
            .map_err(|_| CommandError::other("ERR Elements are too large to be stored"))?;
        let trimmed = options.trim.map_or(0, |trim| log.trim(&trim));
        let decided = if logs { options.exact_threshold(log) } else { None };
        let rest = stream.take_trimmed();
        Ok::<_, CommandError>(Added { id, trimmed, decided, rest })
    };
    let added = if options.no_mkstream {
        match ctx.store.update::<Stream, _>(ctx.db, key, |stream, tools| add(stream, tools.settings))? {
            Some(updated) => updated.result?,
            None => {
                ctx.reply.null();
                return Ok(());
            }
        }
    } else {
        let updated = ctx
            .store
            .update_or_create::<Stream, _>(ctx.db, key, |stream, tools| add(stream, tools.settings))?;
        updated.result?
    };
    let Added { id, trimmed, decided, rest } = added;
    rest.into_iter().for_each(|rest| ctx.store.discard(rest));
    super::reply_id(ctx.reply, id);
    ctx.changed(key, EventClass::STREAM, "xadd");
    if trimmed > 0 {
        ctx.store.events.raise(ctx.db, EventClass::STREAM, "xtrim", key);
    }
    let id_was_open = !matches!(options.id, NewId::Given(PartialId::Whole(_)));
    if logs && (id_was_open || decided.is_some()) {
        let mut replaced = decided.map_or_else(Vec::new, Vec::from);
        replaced.push((options.id_at, id.text().to_vec()));
        log_with(ctx, args, &replaced);
    }
    ctx.ready(key);
    Ok(())
}

fn next_id(wanted: NewId, last_id: StreamId, now_ms: u64) -> Result<StreamId, CommandError> {
    let Some(next) = last_id.next() else {
        return Err(CommandError::other(
            "ERR The stream has exhausted the last possible ID, unable to add more items",
        ));
    };
    let id = match wanted {
        NewId::Auto if now_ms > last_id.ms => Some(StreamId::new(now_ms, 0)),
        NewId::Auto => Some(next),
        NewId::Given(PartialId::Whole(id)) => Some(id),
        // Its next millisecond would not be the one that was asked for.
        NewId::Given(PartialId::Ms(ms)) if ms == last_id.ms => {
            last_id.seq.checked_add(1).map(|seq| StreamId::new(ms, seq))
        }
        NewId::Given(PartialId::Ms(ms)) => Some(StreamId::new(ms, 0)),
    };
    id.filter(|id| *id > last_id).ok_or(CommandError::other(
        "ERR The ID specified in XADD is equal or smaller than the target stream top item",
    ))
}

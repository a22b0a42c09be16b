//! XTRIM, and the options by which XADD trims too.

use super::id::{partial_id, strict_id, PartialId};
use crate::command::parse::integer;
use crate::command::{Args, CommandError, CommandResult, Context};
use crate::store::stream::{EntryLog, Keep, Stream, StreamId, Trim};
use crate::store::{EventClass, Settings};

/// Nodes that approximate trimming takes off when it is not told how many entries.
const NODES_AT_ONCE: i64 = 100;
/// Where the entries of a node have no limit.
const LIMIT_DEFAULT: i64 = 10_000;
const LIMIT_DEFAULT_MAX: i64 = 1_000_000;

/// The ID of a new entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NewId {
    /// `*`
    Auto,
    Given(PartialId),
}

/// What stands between the key and the fields.
#[derive(Debug)]
pub struct Options {
    pub trim: Option<Trim>,
    /// Where the threshold of `trim` is among the arguments.
    threshold_at: usize,
    pub no_mkstream: bool,
    pub id: NewId,
    /// Where the ID is; at the end when there is none.
    pub id_at: usize,
}

impl Options {
    /// Reads the options of XADD, up to the ID.
    pub fn of_xadd(args: Args, ctx: &Context) -> Result<Options, CommandError> {
        Options::read(args, true, ctx)
    }

    fn read(args: Args, is_xadd: bool, ctx: &Context) -> Result<Options, CommandError> {
        let mut options =
            Options { trim: None, threshold_at: 0, no_mkstream: false, id: NewId::Auto, id_at: args.len() };
        let mut limit = None;
        let mut at = 2;
        while at < args.len() {
            let option = args[at];
            let is = |name: &[u8]| option.eq_ignore_ascii_case(name);
            let has_more = at + 1 < args.len();
            if is_xadd && option == b"*" {
                options.id_at = at;
                break;
            } else if has_more && (is(b"maxlen") || is(b"minid")) {
                if options.trim.is_some() {
                    return Err(CommandError::other(
                        "ERR syntax error, MAXLEN and MINID options at the same time are not compatible",
                    ));
                }
                let has_sign = at + 2 < args.len() && matches!(args[at + 1], b"~" | b"=");
                let approximate = has_sign && args[at + 1] == b"~";
                at += 1 + usize::from(has_sign);
                let keep =
                    if is(b"maxlen") { entries(args[at])? } else { Keep::From(strict_id(args[at], 0)?) };
                options.trim = Some(Trim { keep, approximate, limit: 0 });
                options.threshold_at = at;
            } else if has_more && is(b"limit") {
                at += 1;
                let entries = integer(args[at])?;
                if entries < 0 {
                    return Err(CommandError::other("ERR The LIMIT argument must be >= 0."));
                }
                limit = Some(entries);
            } else if is_xadd && is(b"nomkstream") {
                options.no_mkstream = true;
            } else if is_xadd {
                options.id = NewId::Given(partial_id(option)?);
                options.id_at = at;
                break;
            } else {
                return Err(CommandError::Syntax);
            }
            at += 1;
        }
        let Some(trim) = &mut options.trim else {
            return match limit {
                Some(1..) => Err(CommandError::other(
                    "ERR syntax error, LIMIT cannot be used without specifying a trimming strategy",
                )),
                _ if !is_xadd => Err(CommandError::other(
                    "ERR syntax error, XTRIM must be called with a trimming strategy",
                )),
                Some(_) if !ctx.caller.replaying => Err(limit_without_tilde()),
                _ => Ok(options),
            };
        };
        if !ctx.caller.replaying {
            trim.limit = match limit {
                Some(_) if !trim.approximate => return Err(limit_without_tilde()),
                Some(limit) => limit as u64,
                None if trim.approximate => default_limit(&ctx.store.settings),
                None => 0,
            };
        }
        Ok(options)
    }

    /// What is to be logged in place of a threshold that was kept to approximately: exactly what became of the
    /// stream. Two places among the arguments, with what stands there instead.
    pub fn exact_threshold(&self, log: &EntryLog) -> Option<[(usize, Vec<u8>); 2]> {
        let trim = self.trim.filter(|trim| trim.approximate)?;
        let threshold = match trim.keep {
            Keep::Entries(_) => log.len().to_string().into_bytes(),
            Keep::From(_) => log.first_node_id().unwrap_or(StreamId::MAX).text().to_vec(),
        };
        Some([(self.threshold_at - 1, b"=".to_vec()), (self.threshold_at, threshold)])
    }
}

fn limit_without_tilde() -> CommandError {
    CommandError::other("ERR syntax error, LIMIT cannot be used without the special ~ option")
}

fn entries(text: &[u8]) -> Result<Keep, CommandError> {
    let count = integer(text)?;
    match u64::try_from(count) {
        Ok(count) => Ok(Keep::Entries(count)),
        Err(_) => Err(CommandError::other("ERR The MAXLEN argument must be >= 0.")),
    }
}

fn default_limit(settings: &Settings) -> u64 {
    let limit = match settings.stream_node_max_entries.wrapping_mul(NODES_AT_ONCE) {
        ..=0 => LIMIT_DEFAULT,
        limit => limit.min(LIMIT_DEFAULT_MAX),
    };
    limit as u64
}

/// Logs the command with some of its arguments replaced.
pub fn log_with(ctx: &mut Context, args: Args, replaced: &[(usize, Vec<u8>)]) {
    let mut command = args.to_vec();
    for (at, arg) in replaced {
        command[*at] = arg;
    }
    ctx.log_instead(&command);
}

/// XTRIM key MAXLEN | MINID [= | ~] threshold [LIMIT count]
pub fn xtrim(ctx: &mut Context, args: Args) -> CommandResult {
    let options = Options::read(args, false, ctx)?;
    let key = args[1];
    let logs = ctx.store.log_enabled;
    let trimmed = ctx.store.update::<Stream, _>(ctx.db, key, |stream, _| {
        let log = stream.log_mut();
        let trimmed = options.trim.map_or(0, |trim| log.trim(&trim));
        (trimmed, if logs { options.exact_threshold(log) } else { None }, stream.take_trimmed())
    })?;
    let (trimmed, replaced, rest) = trimmed.map_or((0, None, None), |updated| updated.result);
    rest.into_iter().for_each(|rest| ctx.store.discard(rest));
    if trimmed > 0 {
        if let Some(replaced) = replaced {
            log_with(ctx, args, &replaced);
        }
        ctx.changed(key, EventClass::STREAM, "xtrim");
        ctx.store.dirty += trimmed - 1;
    }
    ctx.reply.integer(trimmed as i64);
    Ok(())
}

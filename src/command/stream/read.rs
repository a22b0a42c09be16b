//! XREAD, and the arguments that XREADGROUP has in common with it.

use smallvec::SmallVec;

use super::id::strict_id;
use super::reply_entry;
use crate::command::parse::{block_timeout_ms, integer};
use crate::command::table::keys::FoundKeys;
use crate::command::{c_text, Args, BlockTimeout, Blocking, CommandError, CommandResult, Context, WaitFor};
use crate::resp::{DeferredLen, Protocol, Reply};
use crate::store::stream::{Stream, StreamId};
use crate::store::{Detached, Store, ValueType};

/// What stands in front of the IDs.
pub struct Options<'a> {
    /// Entries of each stream.
    pub count: usize,
    /// BLOCK
    pub block: Option<BlockTimeout>,
    /// Group and consumer.
    pub group: Option<(&'a [u8], &'a [u8])>,
    pub no_ack: bool,
    pub keys: Args<'a>,
    pub ids: Args<'a>,
}

impl<'a> Options<'a> {
    /// `in_script`: it may not say that it would wait.
    pub fn parse(
        args: Args<'a>,
        is_group: bool,
        now_ms: i64,
        in_script: bool,
    ) -> Result<Options<'a>, CommandError> {
        let mut options =
            Options { count: usize::MAX, block: None, group: None, no_ack: false, keys: &[], ids: &[] };
        let mut rest = &args[1..];
        let (keys, ids) = loop {
            let [option, more @ ..] = rest else { return Err(CommandError::Syntax) };
            let is = |name: &[u8]| option.eq_ignore_ascii_case(name);
            rest = match more {
                [_, ..] if is(b"block") && in_script => {
                    let name = c_text(args[0]);
                    let text = format!("ERR {name} command is not allowed with BLOCK option from scripts");
                    return Err(CommandError::other(text));
                }
                [timeout, more @ ..] if is(b"block") => {
                    options.block = Some(block_timeout_ms(timeout, now_ms)?);
                    more
                }
                [count, more @ ..] if is(b"count") => {
                    // 0 and less is all.
                    options.count = match integer(count)? {
                        count @ 1.. => count as usize,
                        _ => usize::MAX,
                    };
                    more
                }
                [_, ..] if is(b"streams") => {
                    if !more.len().is_multiple_of(2) {
                        return Err(unbalanced(is_group));
                    }
                    break more.split_at(more.len() / 2);
                }
                [_, _, ..] if is(b"group") && !is_group => return Err(only_for_groups("GROUP")),
                [group, consumer, more @ ..] if is(b"group") => {
                    options.group = Some((group, consumer));
                    more
                }
                _ if is(b"noack") && !is_group => return Err(only_for_groups("NOACK")),
                more if is(b"noack") => {
                    options.no_ack = true;
                    more
                }
                _ => return Err(CommandError::Syntax),
            };
        };
        Ok(Options { keys, ids, ..options })
    }
}

/// XREAD's keys.
pub fn xread_keys(args: Args, found: &mut FoundKeys) -> CommandResult {
    keys_of(args, false, found)
}

/// XREADGROUP's keys.
pub fn xreadgroup_keys(args: Args, found: &mut FoundKeys) -> CommandResult {
    keys_of(args, true, found)
}

fn keys_of(args: Args, is_group: bool, found: &mut FoundKeys) -> CommandResult {
    // A timeout that would end after the end of time is refused when it runs.
    let options = Options::parse(args, is_group, 0, false)?;
    if is_group && options.group.is_none() {
        return Err(missing_group());
    }
    let first = args.len() - 2 * options.keys.len();
    (first..first + options.keys.len()).for_each(|index| found.key(index, 0));
    Ok(())
}

/// What a command over several shards needs of the value of its key at argument number `index`, cut by `cut`, which gets the
/// options and the ID.
pub fn excerpt_by(
    store: &mut Store,
    db: usize,
    args: Args,
    index: usize,
    is_group: bool,
    cut: impl FnOnce(&Stream, &Options, &[u8]) -> Stream,
) -> Option<Detached> {
    let key = args[index];
    // The command itself says what is wrong with its arguments.
    let options = Options::parse(args, is_group, store.now_ms(), false).ok()?;
    let first = args.len() - 2 * options.keys.len();
    let id = index.checked_sub(first).and_then(|at| options.ids.get(at))?;
    if options.keys.iter().filter(|other| **other == key).count() > 1 {
        return store.clone_value(db, key);
    }
    match store.peek_as::<Stream>(db, key) {
        Ok(stream) => stream.map(|stream| Detached::from_collection(cut(stream, &options, id), None)),
        // Any value of another type is as wrong.
        Err(_) => Some(Detached::from_string(b"", None)),
    }
}

/// What XREAD needs of a stream of another shard: the entries that it replies with.
pub fn xread_excerpt(store: &mut Store, db: usize, args: Args, index: usize) -> Option<Detached> {
    excerpt_by(store, db, args, index, false, |stream, options, id| {
        let start = strict_id(id, 0).ok().and_then(StreamId::next);
        stream.excerpt(start, options.count)
    })
}

pub(super) fn missing_group() -> CommandError {
    CommandError::other("ERR Missing GROUP option for XREADGROUP")
}

fn unbalanced(is_group: bool) -> CommandError {
    let (command, symbol) = if is_group { ("xreadgroup", '>') } else { ("xread", '$') };
    CommandError::other(format!(
        "ERR Unbalanced '{command}' list of streams: for each stream key an ID or '{symbol}' must be specified."
    ))
}

fn only_for_groups(option: &str) -> CommandError {
    CommandError::other(format!(
        "ERR The {option} option is only supported by XREADGROUP. You called XREAD instead."
    ))
}

/// A reply of several streams with their entries: a map in RESP3, an array of pairs in RESP2.
pub struct StreamsReply {
    place: DeferredLen,
    len: usize,
}

impl StreamsReply {
    pub fn new(reply: &mut Reply) -> StreamsReply {
        let place = match reply.protocol() {
            Protocol::Resp2 => reply.defer_array(),
            Protocol::Resp3 => reply.defer_map(),
        };
        StreamsReply { place, len: 0 }
    }

    /// Begins a stream, whose entries have to follow.
    pub fn stream(&mut self, reply: &mut Reply, key: &[u8]) {
        if reply.protocol() == Protocol::Resp2 {
            reply.array(2);
        }
        reply.bulk(key);
        self.len += 1;
    }

    /// Ends the reply; false, with nothing written, when there was no stream.
    pub fn finish(self, reply: &mut Reply) -> bool {
        let any = self.len > 0;
        if any {
            reply.finish(self.place, self.len);
        }
        any
    }
}

/// There is nothing to answer with: waits, if that was wanted, or says so.
pub fn wait_or_null(ctx: &mut Context, options: &Options, is_group: bool, again: Option<Vec<Vec<u8>>>) {
    match options.block {
        Some(timeout) if !ctx.caller.deny_blocking => ctx.block(Blocking {
            timeout,
            wait_for: WaitFor::EveryKey,
            wake_on: ValueType::Stream,
            also_on_deletion: is_group,
            again,
        }),
        _ => ctx.reply.null_array(),
    }
}

/// XREAD [COUNT count] [BLOCK milliseconds] STREAMS key [key ...] id | $ [id | $ ...]
pub fn xread(ctx: &mut Context, args: Args) -> CommandResult {
    let options = Options::parse(args, false, ctx.now_ms(), ctx.caller.in_script)?;
    let mut after: SmallVec<[StreamId; 8]> = SmallVec::new();
    for (key, id) in options.keys.iter().zip(options.ids) {
        let stream = ctx.store.read_as::<Stream>(ctx.db, key)?;
        after.push(match *id {
            b"$" => stream.map_or(StreamId::MIN, |stream| stream.log().last_id()),
            b">" => {
                return Err(CommandError::other(
                    "ERR The > ID can be specified only when calling XREADGROUP using the GROUP <group> <consumer> \
                     option.",
                ));
            }
            id => strict_id(id, 0)?,
        });
    }
    let mut streams = StreamsReply::new(ctx.reply);
    for (key, after) in options.keys.iter().zip(&after) {
        let Some(stream) = ctx.store.read_as::<Stream>(ctx.db, key)? else { continue };
        let log = stream.log();
        if log.is_empty() || log.last_entry_id() <= *after {
            continue;
        }
        streams.stream(ctx.reply, key);
        let place = ctx.reply.defer_array();
        let mut len = 0;
        let start = after.next().expect("there is a greater ID");
        for entry in log.range(start, StreamId::MAX).take(options.count) {
            reply_entry(ctx.reply, &entry);
            len += 1;
        }
        ctx.reply.finish(place, len);
    }
    if !streams.finish(ctx.reply) {
        let again = options.ids.contains(&&b"$"[..]).then(|| with_ids(args, options.ids, &after));
        wait_or_null(ctx, &options, false, again);
    }
    Ok(())
}

/// The command with what each `$` stood for when it was sent: later the last ID will be another.
fn with_ids(args: Args, ids: Args, after: &[StreamId]) -> Vec<Vec<u8>> {
    let head = args[..args.len() - ids.len()].iter().map(|arg| arg.to_vec());
    let ids = ids.iter().zip(after).map(|(id, after)| match *id {
        b"$" => after.text().to_vec(),
        id => id.to_vec(),
    });
    head.chain(ids).collect()
}

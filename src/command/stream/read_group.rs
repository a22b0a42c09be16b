//! XREADGROUP.

use smallvec::SmallVec;

use super::id::strict_id;
use super::read::{excerpt_by, missing_group, wait_or_null, Options, StreamsReply};
use super::{group_changed, log_as_claim, log_group_id, reply_entry, reply_id};
use crate::command::{Args, CommandError, CommandResult, Context};
use crate::resp::c_text;
use crate::resp::Reply;
use crate::store::stream::{ConsumerNumber, EntryLog, Group, Pending, Stream, StreamId};
use crate::store::{Detached, Store};
use crate::text;

/// From where a consumer wants to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum From {
    /// `>`: what the group has not had yet.
    New,
    /// What is pending for the consumer, behind an ID.
    History(StreamId),
}

impl From {
    fn parse(id: &[u8]) -> Result<From, CommandError> {
        match id {
            b"$" => Err(CommandError::other(
                "ERR The $ ID is meaningless in the context of XREADGROUP: you want to read the history of this consumer by \
                 specifying a proper ID, or use the > ID to get new messages. The $ ID would just return an empty result set.",
            )),
            b">" => Ok(From::New),
            id => match strict_id(id, 0)? {
                StreamId::MAX => Ok(From::New),
                id => Ok(From::History(id)),
            },
        }
    }
}

/// What XREADGROUP needs of a stream of another shard: the entries that it replies with, and where the group is. Its owner
/// then runs the same command on the stream alone.
pub fn xreadgroup_excerpt(store: &mut Store, db: usize, args: Args, index: usize) -> Option<Detached> {
    excerpt_by(store, db, args, index, true, |stream, options, id| {
        let (group, consumer) = options.group.unwrap_or_default();
        let history = match From::parse(id) {
            Ok(From::History(id)) => id.next(),
            _ => None,
        };
        stream.excerpt_for_group(group, consumer, history, options.count)
    })
}

/// XREADGROUP GROUP group consumer [COUNT count] [BLOCK milliseconds] [NOACK] STREAMS key [key ...] id | > [id | > ...]
pub fn xreadgroup(ctx: &mut Context, args: Args) -> CommandResult {
    let options = Options::parse(args, true, ctx.now_ms(), ctx.caller.in_script)?;
    let Some((group, consumer)) = options.group else {
        return Err(missing_group());
    };
    // Whatever it does is logged by what follows from it.
    ctx.log_nothing();
    let mut from: SmallVec<[From; 8]> = SmallVec::new();
    for (key, id) in options.keys.iter().zip(options.ids) {
        let stream = ctx.store.read_as::<Stream>(ctx.db, key)?;
        if stream.and_then(|stream| stream.group(group)).is_none() {
            return Err(CommandError::other(text!(
                "NOGROUP No such key '",
                c_text(key),
                "' or consumer group '",
                c_text(group),
                "' in XREADGROUP with GROUP option"
            )));
        }
        from.push(From::parse(id)?);
    }
    let mut streams = StreamsReply::new(ctx.reply);
    for (key, from) in options.keys.iter().zip(&from) {
        let delivery = Delivery { key, group, consumer, from: *from, options: &options };
        delivery.run(ctx, &mut streams)?;
    }
    if ctx.caller.on_excerpts {
        log_each(ctx, &options, (group, consumer));
    }
    if !streams.finish(ctx.reply) {
        wait_or_null(ctx, &options, true, None);
    }
    Ok(())
}

/// For the owners of the streams: the command on each of them alone.
fn log_each(ctx: &mut Context, options: &Options, (group, consumer): (&[u8], &[u8])) {
    let mut digits = itoa::Buffer::new();
    // 0 is all.
    let count = digits.format(if options.count == usize::MAX { 0 } else { options.count }).as_bytes();
    for (key, id) in options.keys.iter().zip(options.ids) {
        let head: [&[u8]; 6] = [b"XREADGROUP", b"GROUP", group, consumer, b"COUNT", count];
        let no_ack: &[&[u8]] = if options.no_ack { &[b"NOACK"] } else { &[] };
        let command = [&head[..], no_ack, &[b"STREAMS", key, id]].concat();
        ctx.log_instead(&command);
    }
}

/// The part of the command that is about one stream.
struct Delivery<'a> {
    key: &'a [u8],
    group: &'a [u8],
    consumer: &'a [u8],
    from: From,
    options: &'a Options<'a>,
}

/// What one delivery did, to be logged.
#[derive(Default)]
struct Outcome {
    created_consumer: bool,
    /// There was something to reply with.
    served: bool,
    /// Entries that are pending now, each with the last ID of the group when it was delivered. Only while somebody logs.
    claims: Vec<(StreamId, Pending, StreamId)>,
    /// Where the group has got to, when no claim tells it.
    group_id: Option<(StreamId, Option<i64>)>,
}

impl Delivery<'_> {
    fn run(&self, ctx: &mut Context, streams: &mut StreamsReply) -> CommandResult {
        let (now_ms, logs) = (ctx.now_ms(), ctx.store.log_enabled);
        let Context { store, reply, db, .. } = ctx;
        let updated = store.update::<Stream, _>(*db, self.key, |stream, _| {
            stream.change_group(self.group, |group, log| self.serve(group, log, now_ms, logs, reply, streams))
        })?;
        // The key and the group were there when the command began, and nothing runs in between.
        let Some(outcome) = updated.and_then(|updated| updated.result) else { return Ok(()) };
        if ctx.caller.on_excerpts {
            // The owner does the rest. But it is this run that counts.
            ctx.store.dirty += u64::from(outcome.created_consumer) + u64::from(outcome.served);
            return Ok(());
        }
        if outcome.created_consumer {
            group_changed(ctx, self.key, "xgroup-createconsumer");
            if self.options.no_ack {
                ctx.log_instead(&[b"XGROUP", b"CREATECONSUMER", self.key, self.group, self.consumer]);
            }
        }
        for (id, pending, last_id) in &outcome.claims {
            log_as_claim(ctx, (self.key, self.group, self.consumer), *id, pending, *last_id);
        }
        if let Some((last_id, entries_read)) = outcome.group_id {
            log_group_id(ctx, self.key, self.group, last_id, entries_read);
        }
        ctx.store.dirty += u64::from(outcome.served);
        Ok(())
    }

    fn serve(
        &self,
        group: &mut Group,
        log: &EntryLog,
        now_ms: i64,
        logs: bool,
        reply: &mut Reply,
        streams: &mut StreamsReply,
    ) -> Outcome {
        let mut outcome = Outcome::default();
        let number = group.find_consumer(self.consumer).unwrap_or_else(|| {
            outcome.created_consumer = true;
            group.create_consumer(self.consumer, now_ms).expect("there is none of this name")
        });
        group.consumer_mut(number).seen_ms = now_ms;
        match self.from {
            From::History(id) => {
                streams.stream(reply, self.key);
                outcome.served = true;
                let start = id.next().expect("the greatest ID means new entries");
                deliver_again(group, log, number, start, self.options.count, now_ms, reply);
            }
            From::New if !log.is_empty() && log.last_entry_id() > group.last_id => {
                streams.stream(reply, self.key);
                outcome.served = true;
                self.deliver_new(group, log, number, now_ms, logs, reply, &mut outcome);
            }
            From::New => {}
        }
        outcome
    }

    #[allow(clippy::too_many_arguments)]
    fn deliver_new(
        &self,
        group: &mut Group,
        log: &EntryLog,
        consumer: ConsumerNumber,
        now_ms: i64,
        logs: bool,
        reply: &mut Reply,
        outcome: &mut Outcome,
    ) {
        let place = reply.defer_array();
        let mut len = 0;
        let start = group.last_id.next().expect("there is a greater ID");
        for entry in log.range(start, StreamId::MAX).take(self.options.count) {
            let id = entry.id();
            group.read_up_to(id, log);
            reply_entry(reply, &entry);
            len += 1;
            if !self.options.no_ack {
                let pending = Pending { consumer, delivered_ms: now_ms, deliveries: 1 };
                group.assign(id, pending);
                if logs {
                    outcome.claims.push((id, pending, group.last_id));
                }
            }
        }
        if self.options.no_ack {
            outcome.group_id = Some((group.last_id, group.entries_read));
        } else {
            group.consumer_mut(consumer).active_ms = Some(now_ms);
        }
        reply.finish(place, len);
    }
}

/// Entries that the stream has lost since are told by their ID alone.
fn deliver_again(
    group: &mut Group,
    log: &EntryLog,
    consumer: ConsumerNumber,
    start: StreamId,
    count: usize,
    now_ms: i64,
    reply: &mut Reply,
) {
    let place = reply.defer_array();
    let len = group.deliver_again(consumer, start, count, now_ms, |id| {
        let entry = log.range(id, id).next();
        match &entry {
            Some(entry) => reply_entry(reply, entry),
            None => {
                reply.array(2);
                reply_id(reply, id);
                reply.null_array();
            }
        }
        entry.is_some()
    });
    reply.finish(place, len);
}

//! Taking over what another consumer has not acknowledged: XCLAIM, XAUTOCLAIM.

use super::delete::Ids;
use super::id::{range_start, strict_id};
use super::{group_changed, log_as_claim, log_group_id, no_key_or_group, reply_entry, reply_id};
use crate::command::parse::integer;
use crate::command::{Args, CommandError, CommandResult, Context};
use crate::resp::c_text;
use crate::resp::Reply;
use crate::store::stream::{ConsumerNumber, EntryLog, Group, Pending, Stream, StreamId};
use crate::text;

/// Entries that XAUTOCLAIM claims when it is not told how many.
const AUTOCLAIM_COUNT: i64 = 100;
/// Redis's bound.
const AUTOCLAIM_COUNT_MAX: i64 = i64::MAX / 16;
/// Pending entries that XAUTOCLAIM looks at for each that it may claim.
const AUTOCLAIM_ATTEMPTS: u64 = 10;

/// What a claim did, to be logged and counted.
#[derive(Default)]
struct Outcome {
    created_consumer: bool,
    /// Pending entries that changed hands or were dropped: the ID, what is logged of it, its consumer's name when that is
    /// another one than the claiming, and the last ID of the group.
    changes: u64,
    logged: Vec<(StreamId, Pending, Option<Vec<u8>>, StreamId)>,
    /// The group's new last ID, when no logged claim tells it.
    group_id: Option<(StreamId, Option<i64>)>,
}

/// A group while a consumer claims what is pending in it.
struct Claimer<'a> {
    group: &'a mut Group,
    log: &'a EntryLog,
    consumer: ConsumerNumber,
    now_ms: i64,
    just_id: bool,
    logs: bool,
    outcome: &'a mut Outcome,
}

impl<'a> Claimer<'a> {
    fn new(
        group: &'a mut Group,
        log: &'a EntryLog,
        name: &[u8],
        now_ms: i64,
        just_id: bool,
        logs: bool,
        outcome: &'a mut Outcome,
    ) -> Claimer<'a> {
        let consumer = group.find_consumer(name).unwrap_or_else(|| {
            outcome.created_consumer = true;
            group.create_consumer(name, now_ms).expect("there is none of this name")
        });
        group.consumer_mut(consumer).seen_ms = now_ms;
        Claimer { group, log, consumer, now_ms, just_id, logs, outcome }
    }

    /// Drops a pending entry that the stream has lost.
    fn drop_lost(&mut self, id: StreamId, pending: &Pending) {
        self.note(id, pending);
        self.group.acknowledge(id);
    }

    fn take(&mut self, id: StreamId, delivered_ms: i64, deliveries: u64, reply: &mut Reply) {
        let pending = Pending { consumer: self.consumer, delivered_ms, deliveries };
        self.group.assign(id, pending);
        self.group.consumer_mut(self.consumer).active_ms = Some(self.now_ms);
        self.note(id, &pending);
        if self.just_id {
            reply_id(reply, id);
        } else if let Some(entry) = self.log.range(id, id).next() {
            reply_entry(reply, &entry);
        }
    }

    fn note(&mut self, id: StreamId, pending: &Pending) {
        self.outcome.changes += 1;
        if self.logs {
            let other = (pending.consumer != self.consumer)
                .then(|| self.group.consumer(pending.consumer).name().to_vec());
            self.outcome.logged.push((id, *pending, other, self.group.last_id));
        }
    }
}

impl Outcome {
    fn tell(self, ctx: &mut Context, key: &[u8], group: &[u8], consumer: &[u8]) {
        if self.created_consumer {
            group_changed(ctx, key, "xgroup-createconsumer");
        }
        for (id, pending, other, last_id) in &self.logged {
            let consumer = other.as_deref().unwrap_or(consumer);
            log_as_claim(ctx, (key, group, consumer), *id, pending, *last_id);
        }
        ctx.store.dirty += self.changes;
        if let Some((last_id, entries_read)) = self.group_id {
            log_group_id(ctx, key, group, last_id, entries_read);
            ctx.store.dirty += 1;
        }
    }
}

/// Fails unless there is a stream with this group.
fn require_group(ctx: &mut Context, key: &[u8], group: &[u8]) -> CommandResult {
    let stream = ctx.store.read_as::<Stream>(ctx.db, key)?;
    if stream.and_then(|stream| stream.group(group)).is_none() {
        return Err(no_key_or_group(key, group));
    }
    Ok(())
}

fn idle_ms(text: &[u8], command: &str) -> Result<i64, CommandError> {
    let error = || CommandError::other(format!("ERR Invalid min-idle-time argument for {command}"));
    Ok(integer(text).map_err(|_| error())?.max(0))
}

/// What follows XCLAIM's IDs.
#[derive(Default)]
struct Options {
    /// When the entries count as delivered, Unix time in milliseconds.
    delivered_ms: Option<i64>,
    deliveries: Option<u64>,
    force: bool,
    just_id: bool,
    last_id: StreamId,
}

impl Options {
    fn parse(args: Args, now_ms: i64) -> Result<Options, CommandError> {
        let number = |text: &[u8], option: &str| {
            let error = || CommandError::other(format!("ERR Invalid {option} option argument for XCLAIM"));
            integer(text).map_err(|_| error())
        };
        let mut options = Options::default();
        let mut rest = args;
        while let [option, more @ ..] = rest {
            let is = |name: &[u8]| option.eq_ignore_ascii_case(name);
            rest = match more {
                more if is(b"force") => {
                    options.force = true;
                    more
                }
                more if is(b"justid") => {
                    options.just_id = true;
                    more
                }
                [ms, more @ ..] if is(b"idle") => {
                    options.delivered_ms = Some(now_ms.wrapping_sub(number(ms, "IDLE")?));
                    more
                }
                [ms, more @ ..] if is(b"time") => {
                    options.delivered_ms = Some(number(ms, "TIME")?);
                    more
                }
                [count, more @ ..] if is(b"retrycount") => {
                    // Less than zero is as if it were not given.
                    options.deliveries = u64::try_from(number(count, "RETRYCOUNT")?).ok();
                    more
                }
                [id, more @ ..] if is(b"lastid") => {
                    options.last_id = strict_id(id, 0)?;
                    more
                }
                _ => {
                    let option = c_text(option);
                    return Err(CommandError::other(text!("ERR Unrecognized XCLAIM option '", option, "'")));
                }
            };
        }
        Ok(options)
    }
}

/// XCLAIM key group consumer min-idle-time id [id ...] [IDLE ms] [TIME unix-time-milliseconds] [RETRYCOUNT count] [FORCE]
/// [JUSTID] [LASTID id]
pub fn xclaim(ctx: &mut Context, args: Args) -> CommandResult {
    let (key, name, consumer) = (args[1], args[2], args[3]);
    require_group(ctx, key, name)?;
    let idle_ms_min = idle_ms(args[4], "XCLAIM")?;
    let ids: Ids = args[5..].iter().map_while(|arg| strict_id(arg, 0).ok()).collect();
    let (now_ms, logs) = (ctx.now_ms(), ctx.store.log_enabled);
    let options = Options::parse(&args[5 + ids.len()..], now_ms)?;
    // A time that makes no sense, by a client's clock that is ahead, is no reason to fail.
    let delivered_ms = options.delivered_ms.filter(|ms| (0..=now_ms).contains(ms)).unwrap_or(now_ms);

    ctx.log_nothing();
    let mut outcome = Outcome::default();
    let Context { store, reply, db, .. } = ctx;
    store.update::<Stream, _>(*db, key, |stream, _| {
        stream.change_group(name, |group, log| {
            let moved = options.last_id > group.last_id;
            if moved {
                group.last_id = options.last_id;
            }
            let mut claimer = Claimer::new(group, log, consumer, now_ms, options.just_id, logs, &mut outcome);
            let place = reply.defer_array();
            let mut len = 0;
            for id in &ids {
                let pending = claimer.group.pending(*id).copied();
                if !log.contains(*id) {
                    if let Some(pending) = pending {
                        claimer.drop_lost(*id, &pending);
                    }
                    continue;
                }
                let deliveries = match pending {
                    Some(pending)
                        if idle_ms_min > 0 && now_ms.wrapping_sub(pending.delivered_ms) < idle_ms_min =>
                    {
                        continue;
                    }
                    Some(pending) => pending.deliveries,
                    None if options.force => 1,
                    None => continue,
                };
                let once_more = deliveries.wrapping_add(u64::from(!options.just_id));
                claimer.take(*id, delivered_ms, options.deliveries.unwrap_or(once_more), reply);
                len += 1;
            }
            reply.finish(place, len);
            if moved && outcome.changes == 0 {
                outcome.group_id = Some((group.last_id, group.entries_read));
            }
        })
    })?;
    outcome.tell(ctx, key, name, consumer);
    Ok(())
}

/// XAUTOCLAIM key group consumer min-idle-time start [COUNT count] [JUSTID]
pub fn xautoclaim(ctx: &mut Context, args: Args) -> CommandResult {
    let (key, name, consumer) = (args[1], args[2], args[3]);
    let idle_ms_min = idle_ms(args[4], "XAUTOCLAIM")?;
    let start = range_start(args[5])?;
    let (mut count, mut just_id) = (AUTOCLAIM_COUNT as u64, false);
    let mut rest = &args[6..];
    while let [option, more @ ..] = rest {
        rest = match more {
            [number, more @ ..] if option.eq_ignore_ascii_case(b"count") => {
                let number = integer(number).ok().filter(|n| (1..=AUTOCLAIM_COUNT_MAX).contains(n));
                count = number.ok_or(CommandError::other("ERR COUNT must be > 0"))? as u64;
                more
            }
            more if option.eq_ignore_ascii_case(b"justid") => {
                just_id = true;
                more
            }
            _ => return Err(CommandError::Syntax),
        };
    }
    // A wrong type or a missing group is reported after a wrong option.
    require_group(ctx, key, name)?;
    let (now_ms, logs) = (ctx.now_ms(), ctx.store.log_enabled);

    ctx.log_nothing();
    let mut outcome = Outcome::default();
    let Context { store, reply, db, .. } = ctx;
    // The first element of the reply is known last.
    let mut claimed = Reply::new(reply.protocol());
    store.update::<Stream, _>(*db, key, |stream, _| {
        stream.change_group(name, |group, log| {
            let mut claimer = Claimer::new(group, log, consumer, now_ms, just_id, logs, &mut outcome);
            let place = claimed.defer_array();
            let (mut len, mut lost) = (0, Vec::new());
            let mut next = Some(start);
            let mut attempts = count.saturating_mul(AUTOCLAIM_ATTEMPTS);
            let mut left = count;
            let found = |group: &Group, from: Option<StreamId>| {
                from.and_then(|from| group.pending_range(from..=StreamId::MAX).next().map(|(id, p)| (id, *p)))
            };
            while attempts > 0 && left > 0 {
                let Some((id, pending)) = found(claimer.group, next) else { break };
                attempts -= 1;
                next = id.next();
                if !log.contains(id) {
                    claimer.drop_lost(id, &pending);
                    lost.push(id);
                } else if idle_ms_min > 0 && now_ms.wrapping_sub(pending.delivered_ms) < idle_ms_min {
                    continue;
                } else {
                    let deliveries = pending.deliveries.wrapping_add(u64::from(!just_id));
                    claimer.take(id, now_ms, deliveries, &mut claimed);
                    len += 1;
                }
                left -= 1;
            }
            claimed.finish(place, len);
            reply.array(3);
            // Where to go on.
            reply_id(reply, found(claimer.group, next).map_or(StreamId::MIN, |(id, _)| id));
            reply.append(&mut claimed);
            reply.array(lost.len());
            for id in lost {
                reply_id(reply, id);
            }
        })
    })?;
    outcome.tell(ctx, key, name, consumer);
    Ok(())
}

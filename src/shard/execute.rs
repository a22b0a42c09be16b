//! Runs commands on this shard's store, for its own clients and for other shards', and accounts for them.

use super::Shard;
use crate::command::table::{CommandSpec, Gather, Handler};
use crate::command::{Args, Caller, CommandResult, Context, Effect};
use crate::resp::Reply;
use crate::runtime::clock::Stamp;
use crate::store::Store;
use crate::txn::message::{Origin, ReplyBatch, RequestBatch, Slices};
use crate::txn::plan::outer_cursor;

impl Shard {
    /// Runs one command on this shard's keys; its reply, an error included, goes to the end of `reply`.
    #[inline]
    pub(super) fn run_command(
        &mut self,
        spec: &'static CommandSpec,
        db: usize,
        args: Args,
        caller: &Caller,
        reply: &mut Reply,
    ) {
        let mark = reply.mark();
        let dirty = self.store.dirty;
        self.store.no_touch = caller.no_touch;
        let started = Stamp::now();
        let result = match spec.handler {
            Handler::Keys(run, _) => run(&mut context(&mut self.store, db, reply, caller), args),
            Handler::EveryShard(_, Gather::Cursor) => self.run_with_cursor(spec, db, args, caller, reply),
            Handler::EveryShard(run, _) => run(&mut context(&mut self.store, db, reply, caller), args),
            // Routing never brings these here.
            Handler::Connection | Handler::Container => Ok(()),
        };
        let nanos = Stamp::now().nanos_since(started);
        if !caller.is_extra_part {
            self.stats.called(spec.id, nanos);
        }
        if let Err(error) = result {
            let text = error.to_string();
            if !caller.is_extra_part {
                self.stats.commands[spec.id as usize].failed.add(1);
                self.stats.count_error(&text);
            }
            reply.truncate(mark);
            reply.error(&text);
        }
        if self.store.dirty != dirty {
            self.stats.dirty.add(self.store.dirty - dirty);
            if let Some(gauge) = self.stats.databases.get(db) {
                gauge.keys.set(self.store.len(db) as u64);
            }
        }
        if !self.store.events.is_empty() {
            self.store.events.take();
        }
        self.note_slow(spec, args, caller, nanos);
    }

    /// SCAN: the client's cursor names the shard too; the command itself knows only this shard's part of it.
    fn run_with_cursor(
        &mut self,
        spec: &'static CommandSpec,
        db: usize,
        args: Args,
        caller: &Caller,
        reply: &mut Reply,
    ) -> CommandResult {
        let Handler::EveryShard(run, _) = spec.handler else { return Ok(()) };
        let shards = self.topology.shards as u64;
        let outer = args.get(1).and_then(|text| crate::command::parse::cursor(text).ok());
        let (Some(outer), true) = (outer, shards > 1) else {
            return run(&mut context(&mut self.store, db, reply, caller), args);
        };
        let inner = (outer / shards).to_string();
        let mut inner_args: Slices = args.iter().copied().collect();
        inner_args[1] = inner.as_bytes();
        let mut part = Reply::new(reply.protocol());
        run(&mut context(&mut self.store, db, &mut part, caller), &inner_args)?;
        // The reply is an array of the cursor and the elements: only the cursor changes.
        let (plain, _) = part.take_parts();
        let next = cursor_of(&plain);
        let (digits, rest) = match next {
            Some((cursor, rest)) => (outer_cursor(cursor, self.id, self.topology.shards), rest),
            None => {
                reply.raw(&plain);
                return Ok(());
            }
        };
        reply.array(2);
        reply.bulk_integer(digits as i64);
        reply.raw(&plain[rest..]);
        Ok(())
    }

    /// Runs the requests that another shard's clients have for this one.
    pub(super) fn run_batch(&mut self, from: usize, batch: Box<RequestBatch>) {
        let mut at = 0;
        let mut argument = 0;
        for request in &batch.requests {
            let lengths = &batch.lengths[argument..argument + request.argument_count];
            argument += request.argument_count;
            let args: Slices = lengths
                .iter()
                .map(|len| {
                    let arg = &batch.bytes[at..at + len];
                    at += len;
                    arg
                })
                .collect();
            if !self.locks.is_idle() && self.wait_if_conflicting(from, request, &args) {
                continue;
            }
            let mut reply = std::mem::take(&mut self.spare_reply);
            reply.set_protocol(request.protocol);
            self.run_command(request.spec, request.db, &args, &request.caller, &mut reply);
            self.reply_to(from, request.origin, &mut reply);
            self.spare_reply = reply;
        }
        self.outbox.recycle_requests(batch);
    }

    /// Hands a reply to the shard whose client waits for it. `reply` is left empty.
    pub(super) fn reply_to(&mut self, shard: usize, origin: Origin, reply: &mut Reply) {
        if shard == self.id {
            let reply = std::mem::take(reply);
            self.answer(origin, reply);
            return;
        }
        push_reply(self.outbox.replies(shard), origin, reply);
    }

    /// Replies of this shard's clients' requests that another shard ran.
    pub(super) fn take_replies(&mut self, mut batch: Box<ReplyBatch>) {
        let mut from = 0;
        let mut shared = std::mem::take(&mut batch.shared).into_iter();
        for (origin, end, shared_count) in &batch.replies {
            let Some(mut connection) = self.clients.take(origin.client) else {
                shared.by_ref().take(*shared_count).for_each(drop);
                from = *end;
                continue;
            };
            let c = &mut *connection;
            let mut reply = Reply::new(c.output.reply.protocol());
            let plain = &batch.plain[from..*end];
            let mut done = 0;
            for (offset, value) in shared.by_ref().take(*shared_count) {
                reply.raw(&plain[done..offset - from]);
                reply.raw_shared(value);
                done = offset - from;
            }
            reply.raw(&plain[done..]);
            from = *end;
            c.pipeline.fill(origin.place, reply);
            self.finish(connection);
        }
        self.outbox.recycle_replies(batch);
    }

    /// A reply for a place in the pipeline of one of this shard's clients, which is not taken.
    pub(super) fn answer(&mut self, origin: Origin, reply: Reply) {
        if let Some(mut connection) = self.clients.take(origin.client) {
            connection.pipeline.fill(origin.place, reply);
            if connection.stall == crate::client::Stall::Reply {
                self.unstall(&mut connection);
            }
            self.finish(connection);
        }
    }
}

fn push_reply(batch: &mut ReplyBatch, origin: Origin, reply: &mut Reply) {
    let start = batch.plain.len();
    let mut shared_count = 0;
    if let Some(plain) = reply.as_bytes_if_plain() {
        batch.plain.extend_from_slice(plain);
        reply.clear();
    } else {
        let (plain, shared) = reply.take_parts();
        batch.plain.extend_from_slice(&plain);
        shared_count = shared.len();
        batch.shared.extend(shared.into_iter().map(|(offset, value)| (start + offset, value)));
    }
    batch.replies.push((origin, batch.plain.len(), shared_count));
}

fn context<'a>(store: &'a mut Store, db: usize, reply: &'a mut Reply, caller: &'a Caller) -> Context<'a> {
    Context { store, db, reply, caller, effect: Effect::default() }
}

/// The cursor at the head of `*2 $len cursor ...`, and where the second element begins.
fn cursor_of(plain: &[u8]) -> Option<(u64, usize)> {
    let rest = plain.strip_prefix(b"*2\r\n$")?;
    let line = memchr::memchr(b'\n', rest)?;
    let len: usize = std::str::from_utf8(&rest[..line - 1]).ok()?.parse().ok()?;
    let digits = rest.get(line + 1..line + 1 + len)?;
    let cursor = std::str::from_utf8(digits).ok()?.parse().ok()?;
    Some((cursor, 5 + line + 1 + len + 2))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cursor_of_a_scan_reply_is_found() {
        let reply = b"*2\r\n$3\r\n417\r\n*1\r\n$1\r\na\r\n";
        let (cursor, rest) = cursor_of(reply).unwrap();
        assert_eq!((cursor, &reply[rest..]), (417, &b"*1\r\n$1\r\na\r\n"[..]));
        assert_eq!(cursor_of(b"-ERR no\r\n"), None);
    }
}

//! Replies of commands that did not run in the hands of their connection: on their way to the shard that serves the client, and
//! into the place in the connection's pipeline that was reserved for them.

use std::sync::atomic::Ordering;

use super::Shard;
use crate::client::{Connection, Suspension};
use crate::resp::Reply;
use crate::txn::message::{Origin, ReplyBatch};

impl Shard {
    /// Hands a reply to the shard whose client waits for it. `reply` is left empty.
    pub(super) fn reply_to(&mut self, shard: usize, origin: Origin, reply: &mut Reply) {
        if shard == self.id {
            let reply = std::mem::take(reply);
            self.answer(origin, reply);
            return;
        }
        push_reply(self.peers.outbox.replies(shard, true), origin, reply);
    }

    /// Replies of this shard's clients' requests that another shard ran.
    pub(super) fn take_replies(&mut self, mut batch: Box<ReplyBatch>) {
        if let Some((untaken, bytes)) = batch.untaken.take() {
            untaken.fetch_sub(bytes, Ordering::Relaxed);
        }
        let mut from = 0;
        let mut shared = std::mem::take(&mut batch.shared).into_iter();
        // Replies of one client follow each other as a rule.
        let mut current: Option<Box<Connection>> = None;
        self.peers.asked.remove(batch.replies.len());
        for (origin, end, shared_count) in &batch.replies {
            if current.as_ref().is_none_or(|connection| connection.token != origin.client) {
                self.end_replies(current.take());
                current = self.connections.table.take(origin.client);
            }
            let plain = &batch.plain[from..*end];
            match &mut current {
                None => shared.by_ref().take(*shared_count).for_each(drop),
                Some(c) if *shared_count == 0 => {
                    c.pipeline.fill_plain(origin.place, plain, &mut c.output.reply)
                }
                Some(c) => {
                    let mut reply = Reply::new(c.output.reply.protocol());
                    let mut done = 0;
                    for (offset, value) in shared.by_ref().take(*shared_count) {
                        reply.raw(&plain[done..offset - from]);
                        reply.raw_shared(value);
                        done = offset - from;
                    }
                    reply.raw(&plain[done..]);
                    c.pipeline.fill(origin.place, &mut reply);
                }
            }
            from = *end;
            if let Some(c) = current.as_mut().filter(|c| c.suspension == Suspension::Blocked) {
                self.end_suspension(c);
            }
        }
        self.end_replies(current);
        self.peers.outbox.recycle_replies(batch);
    }

    fn end_replies(&mut self, connection: Option<Box<Connection>>) {
        if let Some(mut connection) = connection {
            // The replies may have left the pipeline already.
            self.connections.places_filled(&mut connection);
            self.finish(connection);
        }
    }

    /// A reply for a place in the pipeline of one of this shard's clients, which is not taken.
    pub(super) fn answer(&mut self, origin: Origin, reply: Reply) {
        self.answer_of(origin, reply, true);
    }

    /// As `answer`; `shows_keys`: whether it may tell of what commands have done to keys.
    pub(super) fn answer_of(&mut self, origin: Origin, mut reply: Reply, shows_keys: bool) {
        if let Some(mut connection) = self.connections.table.take(origin.client) {
            if shows_keys {
                connection.made_at = self.journal.log.appended();
            }
            connection.pipeline.fill(origin.place, &mut reply);
            if matches!(connection.suspension, Suspension::Reply | Suspension::Blocked) {
                self.end_suspension(&mut connection);
            }
            self.finish(connection);
        }
    }
}

pub(super) fn push_reply(batch: &mut ReplyBatch, origin: Origin, reply: &mut Reply) {
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

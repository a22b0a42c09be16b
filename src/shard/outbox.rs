//! What this shard has for the others: one batch of requests and one of replies for each, built during a turn
//! and sent at its end, and single messages. When a queue of the mesh is full the messages wait here, in order,
//! and connections stop producing more.

use std::collections::VecDeque;

use super::message::Message;
use super::Shard;
use crate::runtime::ring::SocketRing;
use crate::txn::message::{ReplyBatch, RequestBatch};

/// Bytes of requests after which a batch is sent without waiting for the end of the turn.
const BATCH_BYTES_MAX: usize = 256 * 1024;
/// Messages that may wait for one shard before connections on this one are held back.
pub const WAITING_MESSAGES_MAX: usize = 1024;

#[derive(Default)]
struct Target {
    requests: Option<Box<RequestBatch>>,
    replies: Option<Box<ReplyBatch>>,
    /// Replies that wait for nothing although the log holds others.
    free_replies: Option<Box<ReplyBatch>>,
    waiting: VecDeque<Message>,
    /// Replies that the log still holds, each with its position there.
    held: VecDeque<(u64, Message)>,
    /// Something was sent since the doorbell was last looked at.
    sent: bool,
}

pub struct Outbox {
    targets: Vec<Target>,
    // In boxes, because that is how they travel.
    #[allow(clippy::vec_box)]
    spare_requests: Vec<Box<RequestBatch>>,
    #[allow(clippy::vec_box)]
    spare_replies: Vec<Box<ReplyBatch>>,
}

/// Emptied batches kept for the next turns.
const SPARES_MAX: usize = 16;
/// A spare larger than this is given back to the allocator.
const SPARE_BYTES_MAX: usize = 64 * 1024;

impl Outbox {
    pub fn new(shards: usize) -> Self {
        Outbox {
            targets: (0..shards).map(|_| Target::default()).collect(),
            spare_requests: Vec::new(),
            spare_replies: Vec::new(),
        }
    }

    pub fn is_congested(&self, target: usize) -> bool {
        self.targets[target].waiting.len() > WAITING_MESSAGES_MAX
    }

    pub fn is_empty(&self) -> bool {
        self.targets.iter().all(|t| {
            t.waiting.is_empty()
                && t.held.is_empty()
                && t.requests.is_none()
                && t.replies.is_none()
                && t.free_replies.is_none()
        })
    }

    /// The batch of requests being built for `target`.
    pub fn requests(&mut self, target: usize) -> &mut RequestBatch {
        let spare = &mut self.spare_requests;
        self.targets[target].requests.get_or_insert_with(|| spare.pop().unwrap_or_default())
    }

    /// The batch of replies for `target`: of those that wait for the log if it holds replies, or of those that do not.
    pub fn replies(&mut self, target: usize, is_held: bool) -> &mut ReplyBatch {
        let spare = &mut self.spare_replies;
        let t = &mut self.targets[target];
        let batch = if is_held { &mut t.replies } else { &mut t.free_replies };
        batch.get_or_insert_with(|| spare.pop().unwrap_or_default())
    }

    /// Closes a batch that has grown large.
    pub fn bound(&mut self, target: usize) {
        let t = &mut self.targets[target];
        if t.requests.as_ref().is_some_and(|batch| batch.bytes.len() >= BATCH_BYTES_MAX) {
            t.close_requests();
        }
    }

    /// Lets replies go that were made at `released` or before.
    pub fn let_go(&mut self, released: u64) {
        for t in &mut self.targets {
            while t.held.front().is_some_and(|(position, _)| *position <= released) {
                t.waiting.extend(t.held.pop_front().map(|(_, message)| message));
            }
        }
    }

    pub fn recycle_requests(&mut self, mut batch: Box<RequestBatch>) {
        if self.spare_requests.len() < SPARES_MAX && batch.bytes.capacity() <= SPARE_BYTES_MAX {
            batch.clear();
            self.spare_requests.push(batch);
        }
    }

    pub fn recycle_replies(&mut self, mut batch: Box<ReplyBatch>) {
        if self.spare_replies.len() < SPARES_MAX && batch.plain.capacity() <= SPARE_BYTES_MAX {
            batch.clear();
            self.spare_replies.push(batch);
        }
    }
}

impl Target {
    /// Puts the batches behind the messages that wait. The log holds replies that are made at `held_at`.
    fn close(&mut self, held_at: Option<u64>) {
        self.close_requests();
        if let Some(batch) = self.free_replies.take() {
            self.push_reply(Message::Replies(batch), None);
        }
        if let Some(batch) = self.replies.take() {
            self.push_reply(Message::Replies(batch), held_at);
        }
    }

    fn close_requests(&mut self) {
        if let Some(batch) = self.requests.take() {
            self.waiting.push_back(Message::Requests(batch));
        }
    }

    fn push_reply(&mut self, message: Message, held_at: Option<u64>) {
        match held_at {
            Some(position) => self.held.push_back((position, message)),
            None => self.waiting.push_back(message),
        }
    }
}

impl Shard {
    /// Sends one message, behind everything that was sent or batched for `target` before.
    pub fn send(&mut self, target: usize, message: Message) {
        if target == self.id {
            self.peers.loopback.push_back(message);
            return;
        }
        let held_at = self.journal.log.held_at();
        let t = &mut self.peers.outbox.targets[target];
        t.close(held_at);
        t.waiting.push_back(message);
    }

    /// As `send`, for a message that completes a client's command: it waits for the log as a reply does.
    pub(super) fn send_reply(&mut self, target: usize, message: Message) {
        if target == self.id {
            self.peers.loopback.push_back(message);
            return;
        }
        let held_at = self.journal.log.held_at();
        let t = &mut self.peers.outbox.targets[target];
        t.close(held_at);
        t.push_reply(message, held_at);
    }

    /// Hands over what the turn produced, and wakes who sleeps. True when a queue was full.
    pub(super) fn send_outbox(&mut self, ring: &mut SocketRing) -> bool {
        let mut congested = false;
        let held_at = self.journal.log.held_at();
        for target in 0..self.peers.outbox.targets.len() {
            let t = &mut self.peers.outbox.targets[target];
            t.close(held_at);
            while let Some(message) = t.waiting.pop_front() {
                let bytes = message.bytes();
                match self.peers.mesh.send(target, message) {
                    Ok(()) => {
                        t.sent = true;
                        self.stats.messages_sent.add(1);
                        self.stats.message_bytes.add(bytes as u64);
                    }
                    Err(message) => {
                        t.waiting.push_front(message);
                        congested = true;
                        break;
                    }
                }
            }
            if t.sent {
                t.sent = false;
                if let Some(fd) = self.peers.mesh.bell_to_ring(target) {
                    self.stats.doorbells.add(1);
                    ring.ring_doorbell(fd);
                }
            }
        }
        congested
    }
}

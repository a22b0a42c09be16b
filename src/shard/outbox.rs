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
    waiting: VecDeque<Message>,
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
        self.targets.iter().all(|t| t.waiting.is_empty() && t.requests.is_none() && t.replies.is_none())
    }

    /// The batch of requests being built for `target`.
    pub fn requests(&mut self, target: usize) -> &mut RequestBatch {
        let spare = &mut self.spare_requests;
        self.targets[target].requests.get_or_insert_with(|| spare.pop().unwrap_or_default())
    }

    pub fn replies(&mut self, target: usize) -> &mut ReplyBatch {
        let spare = &mut self.spare_replies;
        self.targets[target].replies.get_or_insert_with(|| spare.pop().unwrap_or_default())
    }

    /// Closes a batch that has grown large.
    pub fn bound(&mut self, target: usize) {
        let t = &mut self.targets[target];
        if t.requests.as_ref().is_some_and(|batch| batch.bytes.len() >= BATCH_BYTES_MAX) {
            t.close();
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
    /// Puts the batches behind the messages that wait.
    fn close(&mut self) {
        if let Some(batch) = self.requests.take() {
            self.waiting.push_back(Message::Requests(batch));
        }
        if let Some(batch) = self.replies.take() {
            self.waiting.push_back(Message::Replies(batch));
        }
    }
}

impl Shard {
    /// Sends one message, behind everything that was sent or batched for `target` before.
    pub fn send(&mut self, target: usize, message: Message) {
        if target == self.id {
            self.loopback.push_back(message);
            return;
        }
        let t = &mut self.outbox.targets[target];
        t.close();
        t.waiting.push_back(message);
    }

    /// Runs `call` later in this turn, when no connection is being worked on.
    pub(super) fn call_self(&mut self, call: impl FnOnce(&mut Shard) + Send + 'static) {
        self.loopback.push_back(Message::Call(Box::new(call)));
    }

    /// Hands over what the turn produced, and wakes who sleeps. True when a queue was full.
    pub(super) fn send_outbox(&mut self, ring: &mut SocketRing) -> bool {
        let mut congested = false;
        for target in 0..self.outbox.targets.len() {
            let t = &mut self.outbox.targets[target];
            t.close();
            while let Some(message) = t.waiting.pop_front() {
                match self.mesh.send(target, message) {
                    Ok(()) => t.sent = true,
                    Err(message) => {
                        t.waiting.push_front(message);
                        congested = true;
                        break;
                    }
                }
            }
            if t.sent {
                t.sent = false;
                if let Some(fd) = self.mesh.bell_to_ring(target) {
                    ring.ring_doorbell(fd);
                }
            }
        }
        congested
    }
}

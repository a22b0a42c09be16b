//! What the connections of one shard are to be told unasked: a queue that every shard puts messages into, so that they come out in the
//! order in which they went in, whoever put them there. (The mesh has a queue for each pair of shards, and those know
//! nothing of each other.) No lock, and nothing is touched by a shard that has nothing to tell.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use bytes::Bytes;
use crossbeam_queue::SegQueue;

use super::super::tracking::{Invalidation, Redirected};
use crate::client::Topic;

/// What may wait for a shard that takes nothing in, bytes.
const WAITING_BYTES_MAX: usize = 64 << 20;

/// Something that no request has asked for.
#[derive(Clone, Debug)]
pub enum Push {
    Publication(Publication),
    Invalidation(Invalidation),
    Redirected(Redirected),
}

impl Push {
    fn bytes(&self) -> usize {
        let bytes = match self {
            Push::Publication(publication) => publication.channel.len() + publication.message.len(),
            Push::Invalidation(Invalidation { keys, .. }) | Push::Redirected(Redirected { keys, .. }) => {
                keys.iter().flatten().map(|key| key.len() + size_of::<Bytes>()).sum()
            }
        };
        bytes + size_of::<Self>()
    }
}

/// A message on its way.
#[derive(Clone, Debug)]
pub struct Publication {
    /// A channel or a shard channel.
    pub topic: Topic,
    pub channel: Bytes,
    pub message: Bytes,
}

#[derive(Debug, Default)]
pub struct Inbox {
    queue: SegQueue<Push>,
    waiting_bytes: AtomicUsize,
    is_overrun: AtomicBool,
}

impl Inbox {
    /// From any shard.
    pub fn put(&self, push: Push) {
        let bytes = push.bytes();
        if self.waiting_bytes.fetch_add(bytes, Ordering::Relaxed) + bytes > WAITING_BYTES_MAX {
            self.waiting_bytes.fetch_sub(bytes, Ordering::Relaxed);
            self.is_overrun.store(true, Ordering::Release);
        } else {
            self.queue.push(push);
        }
    }

    #[inline]
    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// The next message.
    pub fn take(&self) -> Option<Push> {
        let push = self.queue.pop()?;
        self.waiting_bytes.fetch_sub(push.bytes(), Ordering::Relaxed);
        Some(push)
    }

    /// Whether some messages could not wait any more, since the last time that this was asked.
    pub fn take_overrun(&self) -> bool {
        self.is_overrun.load(Ordering::Acquire) && self.is_overrun.swap(false, Ordering::AcqRel)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_waits_is_bounded_and_a_loss_is_known_once() {
        let message = Bytes::from(vec![0; WAITING_BYTES_MAX / 4]);
        let publication = Push::Publication(Publication {
            topic: Topic::Channel,
            channel: Bytes::from_static(b"news"),
            message,
        });
        let inbox = Inbox::default();
        for _ in 0..3 {
            inbox.put(publication.clone());
        }
        assert!(!inbox.take_overrun());
        inbox.put(publication.clone());
        assert!(inbox.take_overrun() && !inbox.take_overrun());
        assert_eq!(std::iter::from_fn(|| inbox.take()).count(), 3);
        inbox.put(publication);
        assert!(!inbox.take_overrun(), "there is room again");
    }
}

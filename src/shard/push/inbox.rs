//! What the connections of one shard are to be told unasked: a queue that every shard puts messages into, so that they come out in the
//! order in which they went in, whoever put them there. (The mesh has a queue for each pair of shards, and those know
//! nothing of each other.) No lock, and nothing is touched by a shard that has nothing to tell.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use bytes::Bytes;
use crossbeam_queue::SegQueue;

use crate::shard::pubsub::Publication;
use crate::shard::tracking::{Invalidation, Redirected};

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

#[derive(Debug, Default)]
pub struct Inbox {
    queue: SegQueue<Push>,
    waiting_bytes: AtomicUsize,
    is_overrun: AtomicBool,
}

impl Inbox {
    /// Makes room for a message, which is then put in, or given up. Without room it is an overrun; `Err` tells whether it is the
    /// first that the shard has not taken notice of.
    pub fn make_room(&self, push: &Push) -> Result<(), bool> {
        let bytes = push.bytes();
        if self.waiting_bytes.fetch_add(bytes, Ordering::Relaxed) + bytes <= WAITING_BYTES_MAX {
            return Ok(());
        }
        self.waiting_bytes.fetch_sub(bytes, Ordering::Relaxed);
        Err(!self.is_overrun.swap(true, Ordering::AcqRel))
    }

    /// From any shard, and only if there is room.
    pub fn put(&self, push: Push) {
        self.queue.push(push);
    }

    /// Room was made for it, but it is not put in.
    pub fn give_up(&self, push: &Push) {
        self.waiting_bytes.fetch_sub(push.bytes(), Ordering::Relaxed);
    }

    #[inline]
    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// The next message.
    pub fn take(&self) -> Option<Push> {
        let push = self.queue.pop()?;
        self.give_up(&push);
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
    use crate::client::Topic;

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
            assert_eq!(inbox.make_room(&publication), Ok(()));
            inbox.put(publication.clone());
        }
        assert!(!inbox.take_overrun());
        assert_eq!(inbox.make_room(&publication), Err(true));
        assert_eq!(inbox.make_room(&publication), Err(false));
        assert!(inbox.take_overrun() && !inbox.take_overrun());
        assert_eq!(std::iter::from_fn(|| inbox.take()).count(), 3);
        for _ in 0..10 {
            assert_eq!(inbox.make_room(&publication), Ok(()), "there is room again");
            inbox.give_up(&publication);
        }
        assert!(!inbox.take_overrun());
    }
}

//! What threads that are no shards hand to a shard: the mesh has queues between shards only.
//!
//! For what happens rarely: a message costs a lock and system calls. The shard looks into its inbox when its doorbell
//! rings, and ten times a second in case that the bell is out of order.

use std::io;
use std::os::fd::RawFd;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::sync::{Mutex, MutexGuard};

use super::ring::Knocker;

struct ShardInbox<T> {
    messages: Mutex<Vec<T>>,
    /// Whether there are any, so that looking costs nothing as a rule.
    has_any: AtomicBool,
    ring_fd: AtomicI32,
}

impl<T> ShardInbox<T> {
    fn messages(&self) -> MutexGuard<'_, Vec<T>> {
        // A list is whole whenever its lock is free.
        self.messages.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

/// An inbox for each shard. Each message belongs to something under way whose number is bounded by who began it.
pub struct ThreadInbox<T> {
    boxes: Vec<ShardInbox<T>>,
    /// Made when the first message is posted.
    knocker: Mutex<Option<Knocker>>,
}

impl<T> ThreadInbox<T> {
    pub fn new(shards: usize) -> ThreadInbox<T> {
        let inbox = |_| ShardInbox {
            messages: Mutex::new(Vec::new()),
            has_any: AtomicBool::new(false),
            ring_fd: AtomicI32::new(-1),
        };
        ThreadInbox { boxes: (0..shards).map(inbox).collect(), knocker: Mutex::new(None) }
    }

    /// To be called once, by the shard's own thread.
    pub fn set_ring(&self, shard: usize, fd: RawFd) {
        self.boxes[shard].ring_fd.store(fd, Ordering::Release);
    }

    /// From any thread.
    pub fn post(&self, shard: usize, message: T) {
        let inbox = &self.boxes[shard];
        {
            let mut messages = inbox.messages();
            messages.push(message);
            inbox.has_any.store(true, Ordering::Release);
        }
        let fd = inbox.ring_fd.load(Ordering::Acquire);
        if fd >= 0 {
            // The shard finds the message a little later when this fails.
            let _ = self.knock(fd);
        }
    }

    fn knock(&self, fd: RawFd) -> io::Result<()> {
        // After a panic it is made anew.
        let mut knocker = self.knocker.lock().unwrap_or_else(|poisoned| {
            let mut knocker = poisoned.into_inner();
            *knocker = None;
            knocker
        });
        match &mut *knocker {
            Some(knocker) => knocker.knock(fd),
            none => none.insert(Knocker::new()?).knock(fd),
        }
    }

    /// The letters that have come for `shard`, in order.
    pub fn take(&self, shard: usize) -> Vec<T> {
        let inbox = &self.boxes[shard];
        if !inbox.has_any.load(Ordering::Acquire) {
            return Vec::new();
        }
        let mut messages = inbox.messages();
        inbox.has_any.store(false, Ordering::Release);
        std::mem::take(&mut messages)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_come_once_in_order_and_to_their_shard() {
        let thread_inbox = ThreadInbox::new(2);
        assert!(thread_inbox.take(1).is_empty());
        thread_inbox.post(1, "a");
        thread_inbox.post(1, "b");
        assert!(thread_inbox.take(0).is_empty());
        assert_eq!(thread_inbox.take(1), ["a", "b"]);
        assert!(thread_inbox.take(1).is_empty());
    }
}

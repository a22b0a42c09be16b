//! What threads that are no shards hand to a shard: the mesh has queues between shards only.
//!
//! For what happens rarely: a letter costs a lock and system calls. The shard looks into its letterbox when its doorbell
//! rings, and ten times a second in case that the bell is out of order.

use std::io;
use std::os::fd::RawFd;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::sync::{Mutex, MutexGuard};

use super::ring::Knocker;

struct Letterbox<T> {
    letters: Mutex<Vec<T>>,
    /// Whether there are any, so that looking costs nothing as a rule.
    has_any: AtomicBool,
    ring_fd: AtomicI32,
}

impl<T> Letterbox<T> {
    fn letters(&self) -> MutexGuard<'_, Vec<T>> {
        // A list is whole whenever its lock is free.
        self.letters.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

/// A letterbox for each shard. Each letter belongs to something under way whose number is bounded by who began it.
pub struct Mail<T> {
    boxes: Vec<Letterbox<T>>,
    /// Made when the first letter is posted.
    knocker: Mutex<Option<Knocker>>,
}

impl<T> Mail<T> {
    pub fn new(shards: usize) -> Mail<T> {
        let letterbox = |_| Letterbox {
            letters: Mutex::new(Vec::new()),
            has_any: AtomicBool::new(false),
            ring_fd: AtomicI32::new(-1),
        };
        Mail { boxes: (0..shards).map(letterbox).collect(), knocker: Mutex::new(None) }
    }

    /// To be called once, by the shard's own thread.
    pub fn set_ring(&self, shard: usize, fd: RawFd) {
        self.boxes[shard].ring_fd.store(fd, Ordering::Release);
    }

    /// From any thread.
    pub fn post(&self, shard: usize, letter: T) {
        let letterbox = &self.boxes[shard];
        {
            let mut letters = letterbox.letters();
            letters.push(letter);
            letterbox.has_any.store(true, Ordering::Release);
        }
        let fd = letterbox.ring_fd.load(Ordering::Acquire);
        if fd >= 0 {
            // The shard finds the letter a little later when this fails.
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
        let letterbox = &self.boxes[shard];
        if !letterbox.has_any.load(Ordering::Acquire) {
            return Vec::new();
        }
        let mut letters = letterbox.letters();
        letterbox.has_any.store(false, Ordering::Release);
        std::mem::take(&mut letters)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_come_once_in_order_and_to_their_shard() {
        let mail = Mail::new(2);
        assert!(mail.take(1).is_empty());
        mail.post(1, "a");
        mail.post(1, "b");
        assert!(mail.take(0).is_empty());
        assert_eq!(mail.take(1), ["a", "b"]);
        assert!(mail.take(1).is_empty());
    }
}

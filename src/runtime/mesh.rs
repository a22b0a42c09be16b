//! The mesh: one lock-free queue for each ordered pair of shards, and the doorbells that wake sleepers.
//!
//! A queue has one producer and one consumer, so a push is a store and a release, and messages between two
//! shards never overtake each other (transactions rely on it). A producer rings the target's doorbell only when the
//! target has said that it is about to sleep; a busy shard finds its messages when its turn comes round.

use std::cell::Cell;
use std::mem::MaybeUninit;
use std::os::fd::RawFd;

use super::sync::{fence, Arc, AtomicBool, AtomicI32, AtomicUsize, Ordering, UnsafeCell};

/// Messages in one queue; a power of two. A message carries a whole turn's requests, so few are ever in flight.
pub const QUEUE_MESSAGES: usize = 256;

#[repr(align(64))]
struct Padded<T>(T);

struct Queue<T> {
    slots: Box<[UnsafeCell<MaybeUninit<T>>]>,
    /// Next to read; written by the consumer.
    head: Padded<AtomicUsize>,
    /// Next to write; written by the producer.
    tail: Padded<AtomicUsize>,
}

// SAFETY: a slot is touched by the producer only between head and head+capacity beyond tail, and by the
// consumer only below tail; the acquire/release pairs on head and tail order the two.
unsafe impl<T: Send> Sync for Queue<T> {}
// SAFETY: as above; values of T move between threads, hence T: Send.
unsafe impl<T: Send> Send for Queue<T> {}

impl<T> Queue<T> {
    fn new(capacity: usize) -> Self {
        assert!(capacity.is_power_of_two());
        Queue {
            slots: (0..capacity).map(|_| UnsafeCell::new(MaybeUninit::uninit())).collect(),
            head: Padded(AtomicUsize::new(0)),
            tail: Padded(AtomicUsize::new(0)),
        }
    }
}

impl<T> Drop for Queue<T> {
    fn drop(&mut self) {
        // Both ends are gone, so these are the last values.
        let (head, tail) = (self.head.0.load(Ordering::Relaxed), self.tail.0.load(Ordering::Relaxed));
        for at in head..tail {
            let index = at & (self.slots.len() - 1);
            // SAFETY: slots in head..tail hold values that nobody has taken, and we are the last owner.
            self.slots[index].with_mut(|slot| unsafe { (*slot).assume_init_drop() });
        }
    }
}

/// The sending end; only one exists.
pub struct Producer<T> {
    queue: Arc<Queue<T>>,
    tail: Cell<usize>,
    head_seen: Cell<usize>,
}

impl<T> Producer<T> {
    /// Hands the message back when the queue is full.
    pub fn push(&self, message: T) -> Result<(), T> {
        let tail = self.tail.get();
        if tail - self.head_seen.get() == self.queue.slots.len() {
            self.head_seen.set(self.queue.head.0.load(Ordering::Acquire));
            if tail - self.head_seen.get() == self.queue.slots.len() {
                return Err(message);
            }
        }
        let index = tail & (self.queue.slots.len() - 1);
        // SAFETY: we are the only producer, and the slot is free: head is beyond it by a whole round.
        self.queue.slots[index].with_mut(|slot| unsafe { (*slot).write(message) });
        self.tail.set(tail + 1);
        self.queue.tail.0.store(tail + 1, Ordering::Release);
        Ok(())
    }
}

/// The receiving end; only one exists.
pub struct Consumer<T> {
    queue: Arc<Queue<T>>,
    head: Cell<usize>,
}

impl<T> Consumer<T> {
    pub fn pop(&self) -> Option<T> {
        let head = self.head.get();
        if head == self.queue.tail.0.load(Ordering::Acquire) {
            return None;
        }
        let index = head & (self.queue.slots.len() - 1);
        // SAFETY: we are the only consumer, and the slot is below tail: the producer has written it.
        let message = self.queue.slots[index].with_mut(|slot| unsafe { (*slot).assume_init_read() });
        self.head.set(head + 1);
        self.queue.head.0.store(head + 1, Ordering::Release);
        Some(message)
    }

    pub fn is_empty(&self) -> bool {
        self.head.get() == self.queue.tail.0.load(Ordering::Acquire)
    }
}

pub fn queue<T>(capacity: usize) -> (Producer<T>, Consumer<T>) {
    let queue = Arc::new(Queue::new(capacity));
    let producer = Producer { queue: queue.clone(), tail: Cell::new(0), head_seen: Cell::new(0) };
    (producer, Consumer { queue, head: Cell::new(0) })
}

/// Whether a shard sleeps, and how to wake it.
pub struct Bell {
    sleeping: Padded<AtomicBool>,
    ring_fd: AtomicI32,
}

impl Bell {
    fn new() -> Self {
        Bell { sleeping: Padded(AtomicBool::new(false)), ring_fd: AtomicI32::new(-1) }
    }
}

/// One shard's ends of all its queues.
pub struct Mesh<T> {
    shard: usize,
    to: Vec<Option<Producer<T>>>,
    from: Vec<Option<Consumer<T>>>,
    bells: Arc<Vec<Bell>>,
}

impl<T> Mesh<T> {
    /// The meshes of `shards` shards, connected.
    pub fn connect(shards: usize) -> Vec<Mesh<T>> {
        Self::with_capacity(shards, QUEUE_MESSAGES)
    }

    /// As `connect`, with room for `messages` (a power of two) in each queue.
    pub fn with_capacity(shards: usize, messages: usize) -> Vec<Mesh<T>> {
        let bells = Arc::new((0..shards).map(|_| Bell::new()).collect::<Vec<_>>());
        let mut all: Vec<Mesh<T>> = (0..shards)
            .map(|shard| Mesh {
                shard,
                to: (0..shards).map(|_| None).collect(),
                from: (0..shards).map(|_| None).collect(),
                bells: bells.clone(),
            })
            .collect();
        for source in 0..shards {
            for target in (0..shards).filter(|t| *t != source) {
                let (producer, consumer) = queue(messages);
                all[source].to[target] = Some(producer);
                all[target].from[source] = Some(consumer);
            }
        }
        all
    }

    /// To be called once, by the shard's own thread, before others may send.
    pub fn set_ring(&self, fd: RawFd) {
        self.bells[self.shard].ring_fd.store(fd, Ordering::Release);
    }

    /// Hands the message back when the queue is full: the caller keeps it and tries again next turn.
    pub fn send(&self, target: usize, message: T) -> Result<(), T> {
        match &self.to[target] {
            Some(producer) => producer.push(message),
            None => Err(message),
        }
    }

    /// After sending to `target`: the ring to knock at, when it sleeps and nobody else has knocked.
    pub fn bell_to_ring(&self, target: usize) -> Option<RawFd> {
        // Orders our push before our look at the flag; `about_to_sleep` does the same the other way round, so that
        // either we see the flag or the sleeper sees the message.
        fence(Ordering::SeqCst);
        let bell = &self.bells[target];
        if bell.sleeping.0.load(Ordering::Relaxed) && bell.sleeping.0.swap(false, Ordering::AcqRel) {
            let fd = bell.ring_fd.load(Ordering::Acquire);
            return (fd >= 0).then_some(fd);
        }
        None
    }

    pub fn receive(&self, source: usize) -> Option<T> {
        self.from[source].as_ref().and_then(Consumer::pop)
    }

    /// Whether a message has come.
    pub fn has_message(&self) -> bool {
        !self.from.iter().flatten().all(Consumer::is_empty)
    }

    /// Announces that this shard is about to sleep. False when a message is there after all: then it must not.
    pub fn about_to_sleep(&self) -> bool {
        if self.bells.len() == 1 {
            return true;
        }
        self.bells[self.shard].sleeping.0.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        if !self.has_message() {
            return true;
        }
        self.awake();
        false
    }

    pub fn awake(&self) {
        if self.bells.len() > 1 {
            self.bells[self.shard].sleeping.0.store(false, Ordering::Relaxed);
        }
    }
}

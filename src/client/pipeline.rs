//! Keeps a connection's replies in the order of its requests while shards answer in theirs.
//!
//! A request that another shard runs takes a place; the replies of later requests wait behind it. When every
//! place in front is filled, the replies move to the output. A connection whose requests are all
//! answered at once never has a place.
//!
//! Replies that wait lie one after the other in one buffer, which begins anew when nothing waits any more; only
//! one that is large is kept by itself.

use std::collections::VecDeque;

use crate::resp::Reply;

/// Requests of one connection that may wait for answers of other shards; beyond it no further request is
/// taken from the connection's input.
pub const PLACES_MAX: usize = 4096;
/// An empty buffer larger than this is given back to the allocator, bytes.
const KEPT_BYTES_MAX: usize = 32 * 1024;
/// A reply of so many bytes is kept by itself.
const LARGE_BYTES_MIN: usize = 64 * 1024;

#[derive(Debug, Default)]
pub struct Pipeline {
    /// Number of the first place.
    first: u32,
    places: VecDeque<PendingReply>,
    /// The replies that wait, and some that have left.
    held: Vec<u8>,
    /// Bytes of those in `held` that wait, and of those with large values.
    held_bytes: usize,
    filled_bytes: usize,
}

#[derive(Debug)]
enum PendingReply {
    Waiting,
    /// Waiting, but the client has switched replies off.
    WaitingToDrop,
    /// Filled, with this part of `held`.
    Held {
        start: usize,
        end: usize,
    },
    /// Filled, with a large one.
    Filled(Box<Reply>),
}

impl Pipeline {
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    pub fn is_full(&self) -> bool {
        self.places.len() >= PLACES_MAX
    }

    pub fn len(&self) -> usize {
        self.places.len()
    }

    /// Bytes allocated.
    pub fn memory_bytes(&self) -> usize {
        self.held.capacity() + self.filled_bytes + self.places.capacity() * size_of::<PendingReply>()
    }

    /// The number of the first place that waits, once those in front have been drained.
    pub fn first_waiting(&self) -> Option<u32> {
        matches!(self.places.front(), Some(PendingReply::Waiting | PendingReply::WaitingToDrop))
            .then_some(self.first)
    }

    /// Bytes of the replies that wait.
    #[inline]
    pub fn waiting_bytes(&self) -> usize {
        self.held_bytes + self.filled_bytes
    }

    /// Gives back the buffers of a connection that has been idle.
    pub fn shrink(&mut self) {
        if self.places.is_empty() {
            self.places = VecDeque::new();
            self.held = Vec::new();
        }
    }

    /// A place for a reply that will come; the number names it to `fill`. With `drop_reply` nothing is sent for it.
    pub fn reserve(&mut self, drop_reply: bool) -> u32 {
        self.places.push_back(if drop_reply { PendingReply::WaitingToDrop } else { PendingReply::Waiting });
        self.first.wrapping_add(self.places.len() as u32 - 1)
    }

    /// A reply that is there already but has others in front of it. Leaves `reply` empty, with its buffer.
    pub fn push(&mut self, reply: &mut Reply) {
        let place = self.hold(reply);
        self.places.push_back(place);
    }

    /// Fills a place; the place is open exactly once, so a number that is not waiting is a broken invariant.
    pub fn fill(&mut self, number: u32, reply: &mut Reply) {
        let filled = match self.waiting(number) {
            PendingReply::WaitingToDrop => {
                reply.clear();
                PendingReply::Held { start: 0, end: 0 }
            }
            _ => self.hold(reply),
        };
        *self.waiting(number) = filled;
    }

    /// As `fill`, with the reply's bytes. Those of the first place go to the output at once.
    pub fn fill_plain(&mut self, number: u32, bytes: &[u8], output: &mut Reply) {
        let is_first = number == self.first;
        match self.waiting(number) {
            place @ PendingReply::WaitingToDrop => *place = PendingReply::Held { start: 0, end: 0 },
            _ if is_first => {
                output.raw(bytes);
                self.pop();
            }
            _ => {
                let place = if bytes.len() < LARGE_BYTES_MIN {
                    self.keep(bytes)
                } else {
                    let mut reply = Reply::new(output.protocol());
                    reply.raw(bytes);
                    self.filled_bytes += reply.len();
                    PendingReply::Filled(Box::new(reply))
                };
                *self.waiting(number) = place;
            }
        }
    }

    fn waiting(&mut self, number: u32) -> &mut PendingReply {
        let index = number.wrapping_sub(self.first) as usize;
        let places = self.places.len();
        match self.places.get_mut(index) {
            Some(place @ (PendingReply::Waiting | PendingReply::WaitingToDrop)) => place,
            _ => panic!("reply {number} has no open place (first {}, {places} places)", self.first),
        }
    }

    fn hold(&mut self, reply: &mut Reply) -> PendingReply {
        match reply.as_bytes_if_plain() {
            Some(bytes) if bytes.len() < LARGE_BYTES_MIN => {
                let place = self.keep(bytes);
                reply.clear();
                place
            }
            _ => {
                self.filled_bytes += reply.len();
                let protocol = reply.protocol();
                PendingReply::Filled(Box::new(std::mem::replace(reply, Reply::new(protocol))))
            }
        }
    }

    /// Puts a reply behind those in `held`. When half of them have left those that wait are put together first: a client that
    /// never lets its last reply come before it sends another request must not make it grow for ever.
    fn keep(&mut self, bytes: &[u8]) -> PendingReply {
        if self.held.len() > KEPT_BYTES_MAX && self.held.len() / 2 > self.held_bytes {
            let mut together = Vec::with_capacity(2 * self.held_bytes);
            for place in &mut self.places {
                if let PendingReply::Held { start, end } = place {
                    let moved = together.len();
                    together.extend_from_slice(&self.held[*start..*end]);
                    (*start, *end) = (moved, together.len());
                }
            }
            self.held = together;
        }
        let start = self.held.len();
        self.held.extend_from_slice(bytes);
        self.held_bytes += bytes.len();
        PendingReply::Held { start, end: self.held.len() }
    }

    fn pop(&mut self) {
        match self.places.pop_front() {
            Some(PendingReply::Held { start, end }) => self.held_bytes -= end - start,
            Some(PendingReply::Filled(reply)) => self.filled_bytes -= reply.len(),
            _ => {}
        }
        self.first = self.first.wrapping_add(1);
        if self.places.is_empty() {
            if self.held.capacity() > KEPT_BYTES_MAX {
                self.held = Vec::new();
            } else {
                self.held.clear();
            }
        }
    }

    /// Moves the replies that have none in front of them any more to `output`.
    pub fn drain_into(&mut self, output: &mut Reply) {
        loop {
            match self.places.front_mut() {
                Some(PendingReply::Held { start, end }) => output.raw(&self.held[*start..*end]),
                Some(PendingReply::Filled(reply)) => {
                    self.filled_bytes -= reply.len();
                    output.append(reply);
                }
                Some(PendingReply::Waiting | PendingReply::WaitingToDrop) | None => return,
            }
            self.pop();
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn reply(text: &str) -> Reply {
        let mut reply = Reply::default();
        reply.raw(text.as_bytes());
        reply
    }

    fn text(output: &Reply) -> String {
        output.segments().map(String::from_utf8_lossy).collect()
    }

    #[test]
    fn replies_leave_in_the_order_of_their_requests() {
        let (mut pipeline, mut output) = (Pipeline::default(), Reply::default());
        let a = pipeline.reserve(false);
        pipeline.push(&mut reply("b"));
        let c = pipeline.reserve(true);
        let d = pipeline.reserve(false);
        let e = pipeline.reserve(false);
        pipeline.fill_plain(d, b"d", &mut output);
        pipeline.fill(c, &mut reply("c"));
        pipeline.drain_into(&mut output);
        assert_eq!(text(&output), "");
        let mut large = reply("[");
        large.raw_shared(Bytes::from_static(b"large"));
        large.raw(b"]");
        pipeline.fill(e, &mut large);
        pipeline.fill_plain(a, b"a", &mut output);
        pipeline.drain_into(&mut output);
        assert_eq!(text(&output), "abd[large]");
        assert!(pipeline.is_empty() && pipeline.held.is_empty());
    }

    #[test]
    #[should_panic(expected = "has no open place")]
    fn a_place_is_filled_once() {
        let (mut pipeline, mut output) = (Pipeline::default(), Reply::default());
        let _first = pipeline.reserve(false);
        let second = pipeline.reserve(false);
        pipeline.fill_plain(second, b"x", &mut output);
        pipeline.fill_plain(second, b"y", &mut output);
    }
}

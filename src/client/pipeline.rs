//! Keeps a connection's replies in the order of its requests while shards answer in theirs.
//!
//! A request that another shard runs takes a place; the replies of later requests wait behind it. When every
//! place in front is filled, the replies move to the output. A connection whose requests are all
//! answered at once never has a place.

use std::collections::VecDeque;

use crate::resp::Reply;

/// Requests of one connection that may wait for answers of other shards; beyond it no further request is
/// taken from the connection's input.
pub const PLACES_MAX: usize = 4096;

#[derive(Debug, Default)]
pub struct Pipeline {
    /// Number of the first place.
    first: u32,
    places: VecDeque<Place>,
}

#[derive(Debug)]
enum Place {
    Waiting,
    /// Waiting, but the client has switched replies off.
    WaitingToDrop,
    Filled(Reply),
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

    /// A place for a reply that will come; the number names it to `fill`. With `drop_reply` nothing is sent for it.
    pub fn reserve(&mut self, drop_reply: bool) -> u32 {
        self.places.push_back(if drop_reply { Place::WaitingToDrop } else { Place::Waiting });
        self.first.wrapping_add(self.places.len() as u32 - 1)
    }

    /// A reply that is there already but has others in front of it.
    pub fn push(&mut self, reply: Reply) {
        self.places.push_back(Place::Filled(reply));
    }

    /// Fills a place; the place is open exactly once, so a number that is not waiting is a broken invariant.
    pub fn fill(&mut self, number: u32, reply: Reply) {
        let index = number.wrapping_sub(self.first) as usize;
        match self.places.get_mut(index) {
            Some(place @ Place::Waiting) => *place = Place::Filled(reply),
            Some(place @ Place::WaitingToDrop) => *place = Place::Filled(Reply::default()),
            _ => panic!(
                "reply {number} has no open place (first {}, {} places)",
                self.first,
                self.places.len()
            ),
        }
    }

    /// Moves the replies that have none in front of them any more to `output`.
    pub fn drain_into(&mut self, output: &mut Reply) {
        while let Some(Place::Filled(reply)) = self.places.front_mut() {
            output.append(reply);
            self.places.pop_front();
            self.first = self.first.wrapping_add(1);
        }
    }
}

//! What a connection listens to: channels, patterns of channels, and shard channels.

use std::collections::HashSet;

use super::topic::{PerTopic, Topic};
use crate::resp::Reply;

pub type Names = HashSet<Box<[u8]>, foldhash::fast::RandomState>;

#[derive(Debug, Default)]
pub struct Subscriptions {
    names: PerTopic<Names>,
    name_bytes: usize,
}

impl Subscriptions {
    pub fn of(&self, topic: Topic) -> &Names {
        &self.names[topic]
    }

    /// True: it was not subscribed to before.
    pub fn add(&mut self, topic: Topic, name: &[u8]) -> bool {
        let is_new = !self.names[topic].contains(name);
        if is_new {
            self.names[topic].insert(name.into());
            self.name_bytes += name.len();
        }
        is_new
    }

    /// True: it was subscribed to.
    pub fn remove(&mut self, topic: Topic, name: &[u8]) -> bool {
        let was_there = self.names[topic].remove(name);
        if was_there {
            self.name_bytes -= name.len();
        }
        was_there
    }

    /// What the answer to a change of this kind of subscription counts: shard channels by themselves, the others together.
    pub fn counted_with(&self, topic: Topic) -> usize {
        match topic {
            Topic::Channel | Topic::Pattern => {
                self.names[Topic::Channel].len() + self.names[Topic::Pattern].len()
            }
            Topic::ShardChannel => self.names[Topic::ShardChannel].len(),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.names.iter().all(Names::is_empty)
    }

    pub fn memory_bytes(&self) -> usize {
        let room: usize = self.names.iter().map(Names::capacity).sum();
        size_of::<Self>() + self.name_bytes + room * (size_of::<Box<[u8]>>() + 1)
    }
}

/// Tells a connection that a subscription began or ended; `left` is what it is still subscribed to.
pub fn confirm(reply: &mut Reply, what: &str, name: Option<&[u8]>, left: usize) {
    reply.push(3);
    reply.bulk(what.as_bytes());
    match name {
        Some(name) => reply.bulk(name),
        None => reply.null(),
    }
    reply.integer(left as i64);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn channels_and_patterns_count_together_and_shard_channels_apart() {
        let mut subscriptions = Subscriptions::default();
        assert!(subscriptions.add(Topic::Channel, b"a"));
        assert!(!subscriptions.add(Topic::Channel, b"a"), "once is enough");
        assert!(subscriptions.add(Topic::Pattern, b"a"));
        assert!(subscriptions.add(Topic::ShardChannel, b"a"));
        assert_eq!(subscriptions.counted_with(Topic::Channel), 2);
        assert_eq!(subscriptions.counted_with(Topic::Pattern), 2);
        assert_eq!(subscriptions.counted_with(Topic::ShardChannel), 1);
        assert!(subscriptions.remove(Topic::Channel, b"a"));
        assert!(!subscriptions.remove(Topic::Channel, b"a"));
        assert!(!subscriptions.is_empty());
        assert!(
            subscriptions.remove(Topic::Pattern, b"a") && subscriptions.remove(Topic::ShardChannel, b"a")
        );
        assert!(subscriptions.is_empty());
    }
}

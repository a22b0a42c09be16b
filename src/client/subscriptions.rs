//! What a connection listens to: channels, patterns of channels, and shard channels.

use std::collections::HashSet;

use crate::resp::Reply;

/// The three name spaces of Pub/Sub.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Topic {
    Channel,
    /// A glob pattern of channels.
    Pattern,
    ShardChannel,
}

type Names = HashSet<Box<[u8]>, foldhash::fast::RandomState>;

#[derive(Debug, Default)]
pub struct Subscriptions {
    channels: Names,
    patterns: Names,
    shard_channels: Names,
    name_bytes: usize,
}

impl Subscriptions {
    pub fn of(&self, topic: Topic) -> &HashSet<Box<[u8]>, foldhash::fast::RandomState> {
        match topic {
            Topic::Channel => &self.channels,
            Topic::Pattern => &self.patterns,
            Topic::ShardChannel => &self.shard_channels,
        }
    }

    fn of_mut(&mut self, topic: Topic) -> &mut Names {
        match topic {
            Topic::Channel => &mut self.channels,
            Topic::Pattern => &mut self.patterns,
            Topic::ShardChannel => &mut self.shard_channels,
        }
    }

    /// True: it was not subscribed to before.
    pub fn add(&mut self, topic: Topic, name: &[u8]) -> bool {
        let is_new = !self.of(topic).contains(name);
        if is_new {
            self.of_mut(topic).insert(name.into());
            self.name_bytes += name.len();
        }
        is_new
    }

    /// True: it was subscribed to.
    pub fn remove(&mut self, topic: Topic, name: &[u8]) -> bool {
        let was_there = self.of_mut(topic).remove(name);
        if was_there {
            self.name_bytes -= name.len();
        }
        was_there
    }

    /// What the answer to a change of this kind of subscription counts: shard channels by themselves, the others together.
    pub fn counted_with(&self, topic: Topic) -> usize {
        match topic {
            Topic::Channel | Topic::Pattern => self.channels.len() + self.patterns.len(),
            Topic::ShardChannel => self.shard_channels.len(),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.channels.is_empty() && self.patterns.is_empty() && self.shard_channels.is_empty()
    }

    pub fn memory_bytes(&self) -> usize {
        let room = self.channels.capacity() + self.patterns.capacity() + self.shard_channels.capacity();
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

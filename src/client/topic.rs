//! The name spaces of Pub/Sub.

use std::ops::{Index, IndexMut};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Topic {
    Channel,
    /// A glob pattern of channels.
    Pattern,
    ShardChannel,
}

impl Topic {
    pub const ALL: [Topic; 3] = [Topic::Channel, Topic::Pattern, Topic::ShardChannel];
}

/// One thing for each name space.
#[derive(Debug, Default)]
pub struct PerTopic<T>([T; 3]);

impl<T> PerTopic<T> {
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.0.iter()
    }
}

impl<T> Index<Topic> for PerTopic<T> {
    type Output = T;

    fn index(&self, topic: Topic) -> &T {
        &self.0[topic as usize]
    }
}

impl<T> IndexMut<Topic> for PerTopic<T> {
    fn index_mut(&mut self, topic: Topic) -> &mut T {
        &mut self.0[topic as usize]
    }
}

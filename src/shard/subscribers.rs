//! Who is told of what others do: subscribers of channels, clients that keep copies of values, monitors.

use super::commands::monitor::Monitors;
use super::pubsub::PubSub;
use super::push::Pushes;
use super::tracking::Trackers;

pub(super) struct Subscribers {
    pub pubsub: PubSub,
    pub pushes: Pushes,
    pub trackers: Trackers,
    pub monitors: Monitors,
}

impl Subscribers {
    pub fn new(shards: usize) -> Subscribers {
        Subscribers {
            pubsub: PubSub::default(),
            pushes: Pushes::new(shards),
            trackers: Trackers::default(),
            monitors: Monitors::default(),
        }
    }
}

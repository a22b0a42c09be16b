//! This server as a replica: the link to its master, and what comes over it. (The seam: the task calls these.)

use super::core::Core;
use crate::repl::roles::LinkFacts;

/// What follows another server.
#[derive(Default)]
pub struct Follower {}

impl Follower {
    /// Whether this server is a replica.
    pub fn is_replica(&self) -> bool {
        false
    }

    /// It has its master's data, and the stream.
    pub fn is_up(&self) -> bool {
        false
    }

    /// What INFO and ROLE show; `None`: this server is a master.
    pub fn facts(&self, _core: &Core) -> Option<LinkFacts> {
        None
    }

    /// The master that this one follows hands over to it (PSYNC with FAILOVER).
    pub fn promote(&mut self, _core: &mut Core) {}

    /// Ten times a second.
    pub fn tick(&mut self, _core: &mut Core) {}
}

//! A shard of a server that follows another one.
//!
//! The link to the master is the control plane's, and so is what the stream says. Here is what only a shard can do: it runs the
//! commands that are its to run (`apply`), loads the master's snapshot beside the keys that it serves and exchanges the two at a
//! barrier (`aside`), and obeys its role: clients may not write, and nothing expires or is evicted by itself (`role`).

mod apply;
mod aside;
mod own_keys;
mod role;

pub(super) use role::{master_down, read_only};

use super::Shard;
use crate::replication::FollowMessage;

#[derive(Default)]
pub(super) struct Following {
    /// This server is a replica, as of the last barrier.
    pub is_replica: bool,
    applier: apply::Applier,
    aside: aside::Aside,
    own_expiries: own_keys::OwnExpiries,
}

impl Shard {
    pub(super) fn about_following(&mut self, message: FollowMessage) {
        match message {
            FollowMessage::BecomeReplica { told } => self.become_replica(told),
            FollowMessage::BecomeMaster { bell, told } => self.become_master(bell, told),
            FollowMessage::Apply { work, items, told } => self.apply_items(work, items, told),
            FollowMessage::LoadAside { source, told } => self.load_aside(source, told),
            FollowMessage::GoOnLoading => self.replication.following.aside.has_more(),
            FollowMessage::DropAside => self.drop_aside(),
            FollowMessage::TakeOver { told } => self.take_over(told),
        }
    }

    /// In each turn. True: there is more to do at once.
    #[inline]
    pub(super) fn follow_slice(&mut self) -> bool {
        if self.replication.following.applier.is_busy() {
            self.go_on_applying();
        }
        self.replication.following.aside.is_busy() && self.aside_slice()
    }
}

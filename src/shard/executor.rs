//! What running commands needs between two of them: buffers that are kept, requests that wait for their turn, clients that
//! block, and what is known of slow ones.

use super::batches::ArrivedRequests;
use super::blocking::Blocked;
use super::remote_output::DeferredRequests;
use super::remote_values::Workbench;
use super::slow::SlowLog;
use crate::resp::{Protocol, Reply};

#[derive(Default)]
pub(super) struct Executor {
    /// A reply that has others in front of it is written here first.
    pub spare_reply: Reply,
    pub workbench: Workbench,
    /// Time that commands have taken here, nanoseconds.
    pub spent_nanos: u64,
    /// What the reply to a client has at most: the larger of its classes' hard limits, 0 without.
    pub reply_bytes_max: usize,
    /// The requests of each other shard that wait for its next share.
    pub arrived: Vec<ArrivedRequests>,
    /// Those that wait for the peer of their connection, by its shard and token.
    pub deferred: DeferredRequests,
    pub slow_log: SlowLog,
    pub blocked: Blocked,
}

impl Executor {
    pub fn new(shards: usize) -> Executor {
        Executor { arrived: (0..shards).map(|_| Default::default()).collect(), ..Executor::default() }
    }

    /// A reply to write to, which has the bound of a client's. To be given back to `spare_reply`, empty.
    #[inline]
    pub fn take_reply(&mut self, protocol: Protocol) -> Reply {
        let mut reply = std::mem::take(&mut self.spare_reply);
        reply.set_protocol(protocol);
        reply.bound(self.reply_bytes_max);
        reply
    }

    /// A new one, as `take_reply`.
    pub fn new_reply(&self, protocol: Protocol) -> Reply {
        let mut reply = Reply::new(protocol);
        reply.bound(self.reply_bytes_max);
        reply
    }
}

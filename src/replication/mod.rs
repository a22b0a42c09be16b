//! Replication at work: the task that owns it, the sockets of replicas, and what it and the shards tell each other.
//!
//! `repl` decides and does no I/O; the task here does what it says. One task of the control plane owns all of it, so there are no locks:
//!
//! ```text
//!   shards ---- Event -----------> task: history, stream, backlog, replicas, waiters; the link to a master (`replica`)
//!          ---- feed, bell ------>   |
//!          <--- ReplMessage ------   |      (shard 0 leads: the feed, snapshots)
//!   clients <-- ReplMessage::Answer  |
//!   replicas <--- sockets ---------> |      (`peer`)
//!   INFO, refusals <-- ReplStatus -- +
//! ```
//!
//! A shard reads `ReplStatus` and waits for nothing. Events of shards are bounded by the clients that wait for their answers; what comes
//! from sockets by a queue of `SOCKET_EVENTS_MAX`, at which sockets are not read.

mod core;
mod event;
mod failover;
mod feed;
pub mod follow;
mod intake;
mod master;
mod message;
mod peer;
mod replica;
mod snapshot;
mod status;
mod task;
mod wait;

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::mpsc::{unbounded_channel, UnboundedReceiver};
use tokio::sync::Notify;

use crate::config::Config;
use crate::control::Control;
use crate::repl::history::ReplicationId;

pub use event::{Asked, Event, Events, Newcomer, SnapshotNews, WaitOrder};
pub use follow::{AsideReport, AsideSource, FollowEvent, FollowMessage, Told};
pub use intake::IntakeReader;
pub use message::{Answer, Hold, ReplMessage, SnapshotOrder};
pub use replica::{Master, Order};
pub use status::ReplStatus;

/// How a shard is told something, by its number. Never waits.
pub type Post = Arc<dyn Fn(usize, ReplMessage) + Send + Sync>;

/// The way to the task, from any thread, and what it shows.
pub struct Replication {
    pub events: Events,
    /// Until the task has begun.
    begun: Mutex<Option<(UnboundedReceiver<Event>, ReplicationId)>>,
    pub status: Arc<ReplStatus>,
}

impl Replication {
    pub fn new() -> Replication {
        let (sender, receiver) = unbounded_channel();
        let events = Events { sender, woken: Arc::new(Notify::new()) };
        let id = core::new_id();
        let status = Arc::new(ReplStatus::new(id));
        Replication { events, begun: Mutex::new(Some((receiver, id))), status }
    }

    /// Begins the task; once.
    pub fn start(&self, control: &Control, shards: usize, config: Arc<Config>, post: Post) {
        let begun = self.begun.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some((receiver, id)) = begun {
            let (sender, woken) = (self.events.sender.downgrade(), self.events.woken.clone());
            let core = core::Core::new(shards, config, id, self.status.clone(), post, sender, woken);
            control.spawn(task::run(core, receiver));
        }
    }

    /// Never waits. After the task has ended, with the process, nobody hears it.
    pub fn tell(&self, event: Event) {
        self.events.tell(event);
    }
}

impl Default for Replication {
    fn default() -> Replication {
        Replication::new()
    }
}

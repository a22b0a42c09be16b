//! What all shards of the process share. Nothing here is touched on the path of a request but counters that are
//! read, and the version of the configuration.

use std::path::PathBuf;
use std::sync::atomic::{AtomicI64, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use super::message::Message;
pub use super::pause::Pause;
use crate::acl::{AclLog, Users};
use crate::config::Config;
use crate::control::Control;
use crate::journal::Tickets;
use crate::migrate::Migrator;
use crate::observe::stats::ShardStats;
use crate::observe::ServerStats;
use crate::persist::status::Status;
use crate::process::{OomScore, Title};
use crate::replication::Replication;
use crate::runtime::thread_inbox::ThreadInbox;
use crate::slots::SlotMap;

/// How the process is to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
pub enum Shutdown {
    No = 0,
    /// Output is flushed, then every shard stops.
    Asked = 1,
    /// What is to be kept is being written; if that fails it is `No` again.
    Saving = 2,
}

/// What CONFIG needs besides the values.
#[derive(Debug, Default)]
pub struct Settings {
    pub file: Option<PathBuf>,
    pub title: Option<Title>,
    pub oom_score: Option<OomScore>,
    /// The program's path, and who watches over it, for INFO.
    pub executable: PathBuf,
    pub supervisor: &'static str,
}

pub struct Shared {
    pub shards: usize,
    pub stats: Vec<Arc<ShardStats>>,
    /// The configuration in force; shards keep their own `Arc` and look again when the version changes.
    pub config: Mutex<Arc<Config>>,
    /// Who may do what; taken over with a new version of the configuration.
    pub(crate) users: Mutex<Arc<Users>>,
    pub(crate) acl_log: Mutex<AclLog>,
    /// Which slots are where; so is this.
    pub(crate) slots: Mutex<Arc<SlotMap>>,
    pub config_version: AtomicU64,
    pub scripts: super::scripts::KnownScripts,
    /// Held while CONFIG changes something, so that changes come one after the other.
    pub settings: Mutex<Settings>,
    /// Command names, as the configuration renames them; made once at boot and never freed.
    pub names: &'static crate::command::table::Names,
    pub transaction_number: AtomicU64,
    pub client_id: AtomicU64,
    pub connected: AtomicUsize,
    pub pause: Pause,
    /// What the shards' logs know of each other.
    pub logs: Arc<super::log::Common>,
    /// The order of what all shards do, for replicas.
    pub tickets: Arc<Tickets>,
    pub shutdown: AtomicU64,
    /// DEBUG SLEEP: until when (Unix microseconds) no shard does anything; looked at with a new version of the configuration.
    pub sleep_until_us: AtomicI64,
    pub server_stats: ServerStats,
    /// What is known of saving and loading.
    pub status: Status,
    /// What threads that are no shards have for one to run.
    pub thread_inbox: ThreadInbox<Message>,
    /// MIGRATE's way to other servers.
    pub migrator: Arc<Migrator>,
    /// Tasks that wait for other servers.
    pub(crate) control: Control,
    /// The task that owns replication.
    pub replication: Replication,
    /// What the connections of each shard are to be told.
    pub inboxes: Vec<super::push::Inbox>,
    /// Subscriptions to channels and patterns, of all clients.
    pub listeners: AtomicUsize,
    pub started_ms: i64,
    pub run_id: String,
    pub maxclients: AtomicUsize,
    /// The port that the server really listens on.
    pub port: AtomicU64,
}

impl Shared {
    /// A number after all that were given out before.
    pub fn next_transaction(&self) -> u64 {
        self.transaction_number.fetch_add(1, Ordering::Relaxed) + 1
    }

    pub fn next_client_id(&self) -> u64 {
        self.client_id.fetch_add(1, Ordering::Relaxed) + 1
    }

    pub fn current_config(&self) -> Arc<Config> {
        // A panic while holding the lock would have ended the process (panic = abort in release).
        self.config.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).clone()
    }

    pub fn publish_config(&self, config: Config) {
        *self.config.lock().unwrap_or_else(|poisoned| poisoned.into_inner()) = Arc::new(config);
        self.config_version.fetch_add(1, Ordering::Release);
    }

    pub fn current_slots(&self) -> Arc<SlotMap> {
        self.slots.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).clone()
    }

    pub fn current_users(&self) -> Arc<Users> {
        self.users.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).clone()
    }

    pub fn publish_users(&self, users: Users) {
        *self.users.lock().unwrap_or_else(|poisoned| poisoned.into_inner()) = Arc::new(users);
        self.config_version.fetch_add(1, Ordering::Release);
    }

    /// ACL LOG of all shards.
    pub fn acl_log(&self) -> MutexGuard<'_, AclLog> {
        self.acl_log.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// What CONFIG needs besides the values, for one at a time.
    pub fn settings(&self) -> MutexGuard<'_, Settings> {
        self.settings.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// Bytes in use by all shards' keyspaces and buffers, as of each one's last turn.
    pub fn used_memory(&self) -> u64 {
        crate::runtime::alloc::allocated_bytes() as u64
    }
}

//! What shards read of replication without asking, and the text for INFO and ROLE.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::repl::history::ReplicationId;

#[derive(Debug)]
pub struct ReplStatus {
    /// This server follows another one.
    pub is_replica: AtomicBool,
    /// Of a replica: it has its master's data, and hears of what changes.
    pub link_is_up: AtomicBool,
    /// A snapshot for replicas is being made.
    pub is_saving: AtomicBool,
    /// There is a stream, or a master: what is shown changes all the time.
    pub is_active: AtomicBool,
    /// Replicas that are online and not late.
    pub good_replicas: AtomicU32,
    /// The version of the configuration by which they were counted.
    pub counted_by: AtomicU64,
    /// Of the replicas that are online: when they were heard of last, milliseconds before they were counted.
    pub lags_ms: Mutex<Vec<u64>>,
    /// Of a replica: the snapshot that is being loaded.
    pub loading: Loading,
    pub memory: Memory,
    pub counts: Counts,
    shown: Mutex<Shown>,
}

/// A snapshot on its way into this server, beside the data that serve meanwhile.
#[derive(Debug, Default)]
pub struct Loading {
    pub in_progress: AtomicBool,
    /// What is here is of the same history as what comes, and older: Redis's `async_loading`.
    pub is_async: AtomicBool,
    pub began_s: AtomicU64,
    /// 0: not known.
    pub total_bytes: AtomicU64,
    pub loaded_bytes: AtomicU64,
}

/// Bytes.
#[derive(Debug, Default)]
pub struct Memory {
    pub backlog: AtomicU64,
    /// The backlog, and what waits for replicas.
    pub buffers: AtomicU64,
    /// Of the connections of replicas.
    pub replicas: AtomicU64,
}

/// Since the start.
#[derive(Debug, Default)]
pub struct Counts {
    pub sync_full: AtomicU64,
    pub sync_partial_ok: AtomicU64,
    pub sync_partial_err: AtomicU64,
    /// Bytes to and from replicas, and to and from the master.
    pub bytes_out: AtomicU64,
    pub bytes_in: AtomicU64,
}

/// What commands show.
#[derive(Clone, Debug, Default)]
pub struct Shown {
    /// INFO's section, without its head.
    pub info: Vec<u8>,
    /// The reply of ROLE.
    pub role: Vec<u8>,
}

impl ReplStatus {
    /// Of a master without replicas.
    pub fn new(id: ReplicationId) -> ReplStatus {
        let status = ReplStatus {
            is_replica: AtomicBool::new(false),
            link_is_up: AtomicBool::new(false),
            is_saving: AtomicBool::new(false),
            is_active: AtomicBool::new(false),
            good_replicas: AtomicU32::new(0),
            counted_by: AtomicU64::new(0),
            lags_ms: Mutex::default(),
            loading: Loading::default(),
            memory: Memory::default(),
            counts: Counts::default(),
            shown: Mutex::default(),
        };
        status.show(super::core::shown_at_start(id));
        status
    }

    fn lock(&self) -> MutexGuard<'_, Shown> {
        // Whole whenever the lock is free.
        self.shown.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn shown(&self) -> Shown {
        self.lock().clone()
    }

    pub(super) fn show(&self, shown: Shown) {
        *self.lock() = shown;
    }

    /// Replicas that are online and not later than `lag_max_s`, for whoever has a newer configuration than the task.
    pub fn count_good(&self, lag_max_s: u64) -> u32 {
        let lags = self.lags_ms.lock().unwrap_or_else(PoisonError::into_inner);
        lags.iter().filter(|ms| **ms / 1000 <= lag_max_s).count() as u32
    }

    pub fn is_loading(&self) -> bool {
        self.loading.in_progress.load(Ordering::Relaxed)
    }

    /// Whether what is shown has to be asked for.
    pub fn is_active(&self) -> bool {
        self.is_active.load(Ordering::Relaxed)
    }
}

//! What is known of saving, rewriting and loading: for INFO, for LASTSAVE, and for deciding whether writes are refused.
//!
//! One shard leads each of these and writes here; every shard reads.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// How something went the last time, and how it is going.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TaskStatus {
    /// Whether the last one succeeded; true when there was none.
    pub ok: bool,
    /// How long it took, seconds.
    pub last_s: Option<i64>,
    /// When the one in progress began, Unix seconds.
    pub began_s: Option<i64>,
    /// When the last one ended, Unix seconds.
    pub ended_s: Option<i64>,
    /// Memory that was copied because of it, bytes.
    pub copied_bytes: u64,
    /// How many there were, and how many in a row have failed.
    pub count: u64,
    pub failures_in_a_row: u64,
    /// When the last good one ended, Unix seconds.
    pub good_at_s: Option<i64>,
}

impl Default for TaskStatus {
    fn default() -> TaskStatus {
        TaskStatus {
            ok: true,
            last_s: None,
            began_s: None,
            ended_s: None,
            copied_bytes: 0,
            count: 0,
            failures_in_a_row: 0,
            good_at_s: None,
        }
    }
}

impl TaskStatus {
    pub fn begin(&mut self, now_s: i64) {
        self.began_s = Some(now_s);
    }

    /// The one in progress has ended.
    pub fn end(&mut self, ok: bool, now_s: i64) {
        self.last_s = self.began_s.take().map(|began| now_s - began);
        self.ok = ok;
        self.ended_s = Some(now_s);
        self.count += 1;
        if ok {
            self.failures_in_a_row = 0;
            self.good_at_s = Some(now_s);
        } else {
            self.failures_in_a_row += 1;
        }
    }

    pub fn word(&self) -> &'static str {
        if self.ok {
            "ok"
        } else {
            "err"
        }
    }
}

#[derive(Clone, Debug, Default)]
pub struct Figures {
    /// Of BGSAVE and the save points.
    pub rdb: TaskStatus,
    pub rdb_saves: u64,
    /// When the keyspace was last saved, Unix seconds.
    pub saved_at_s: i64,
    pub rewrite: TaskStatus,
    /// BGREWRITEAOF waits for something else to end.
    pub rewrite_is_scheduled: bool,
    pub pipesave: TaskStatus,
    pub dumpsave: TaskStatus,
    pub pipesave_exit: Option<i32>,
    pub pipesave_bytes: u64,
    pub dumpsave_bytes: u64,
    pub last_fork_us: u64,
    pub forks: u64,
    pub keys_loaded: u64,
    pub keys_expired_at_load: u64,
}

/// How loading at the start goes.
#[derive(Debug, Default)]
pub struct Loading {
    pub in_progress: AtomicBool,
    pub began_s: AtomicU64,
    pub total_bytes: AtomicU64,
    pub loaded_bytes: AtomicU64,
    /// Memory that was used when what is loaded was written, bytes.
    pub used_memory_then: AtomicU64,
}

#[derive(Debug, Default)]
pub struct Status {
    figures: Mutex<Figures>,
    /// The last snapshot in the background has failed.
    pub save_failed: AtomicBool,
    /// Changes, over all shards and since the start, that the last save holds.
    pub saved_changes: AtomicU64,
    /// Keys that the snapshot in progress is to have; 0: none is.
    pub snapshot_keys_total: AtomicU64,
    /// What clients write is logged, or will be as soon as the first rewrite is done.
    pub aof_is_on: AtomicBool,
    pub loading: Loading,
}

impl Status {
    pub fn figures(&self) -> MutexGuard<'_, Figures> {
        // Plain numbers: they are whole whenever the lock is free.
        self.figures.lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[inline]
    pub fn is_loading(&self) -> bool {
        self.loading.in_progress.load(Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_course_tells_of_its_last_end_and_of_failures_in_a_row() {
        let mut task_status = TaskStatus::default();
        assert_eq!((task_status.word(), task_status.last_s), ("ok", None));
        task_status.begin(100);
        task_status.end(false, 107);
        task_status.begin(110);
        task_status.end(false, 111);
        assert_eq!(
            (task_status.word(), task_status.last_s, task_status.failures_in_a_row),
            ("err", Some(1), 2)
        );
        task_status.begin(120);
        task_status.end(true, 125);
        assert_eq!(
            (task_status.word(), task_status.failures_in_a_row, task_status.good_at_s),
            ("ok", 0, Some(125))
        );
    }
}

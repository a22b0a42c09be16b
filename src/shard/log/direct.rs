//! Writes that the kernel has before the replies of the turn leave.
//!
//! With `everysec` and `no` replies do not wait for the log. While a write is under way in the ring they are sent, and should the
//! process be killed at that moment what they acknowledge is lost. But nearly always the kernel only copies the bytes, and then the
//! shard may as well wait for that: a process that is killed then has lost nothing. It takes no more processor time than a worker of the
//! ring does, which many file systems need for it.
//!
//! A write goes through the ring where it may take longer: while any of the logs is being synced (a journal that is being
//! committed lets nobody into the blocks that it writes), while a snapshot is written, when there is much of it, and for a while
//! after one has taken long.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::atomic::Ordering;
use std::sync::Arc;

use super::{Common, Log};
use crate::config::AppendFsync;

/// More than this is better copied by somebody else than the shard.
const DIRECT_BYTES_MAX: usize = 64 * 1024;
/// What takes longer has waited for the disk.
const SLOW_WRITE_NANOS: u64 = 2_000_000;
/// So long writes go through the ring then.
const PAUSE_MS: i64 = 1_000;

/// Counts a sync in flight among those of all logs.
#[derive(Debug)]
pub(super) struct SyncInFlight {
    common: Arc<Common>,
}

impl SyncInFlight {
    pub fn new(common: Arc<Common>) -> SyncInFlight {
        common.syncing.fetch_add(1, Ordering::Relaxed);
        SyncInFlight { common }
    }
}

impl Drop for SyncInFlight {
    fn drop(&mut self) {
        self.common.syncing.fetch_sub(1, Ordering::Relaxed);
    }
}

/// When the disk was last slow.
#[derive(Debug, Default)]
pub(super) struct Direct {
    pause_until_ms: i64,
}

impl Direct {
    /// A write has taken so long.
    pub fn note(&mut self, nanos: u64, now_ms: i64) {
        if nanos > SLOW_WRITE_NANOS {
            self.pause_until_ms = now_ms + PAUSE_MS;
        }
    }

    #[cfg(test)]
    pub fn never() -> Direct {
        Direct { pause_until_ms: i64::MAX }
    }
}

impl Log {
    /// Whether a write of `len` bytes need not wait for the disk, as far as one can know.
    pub(super) fn may_write_directly(&self, len: usize, now_ms: i64) -> bool {
        len <= DIRECT_BYTES_MAX
            && self.policy() != AppendFsync::Always
            && now_ms >= self.disk.direct.pause_until_ms
            && !self.rewriting
            && !self.disk.is_failing()
            && self.common.syncing.load(Ordering::Relaxed) == 0
    }
}

/// Writes as much as the kernel takes.
pub(super) fn write(file: &File, bytes: &[u8], offset: u64) -> Result<usize, i32> {
    file.write_at(bytes, offset).map_err(|error| error.raw_os_error().unwrap_or(libc::EIO))
}

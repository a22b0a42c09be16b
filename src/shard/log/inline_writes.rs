//! Writes that the kernel has before the turn ends.
//!
//! No reply leaves before the kernel has the bytes of what it acknowledges, so the time until then is part of every answer. Nearly
//! always the kernel only copies the bytes, and the shard does that itself: its replies leave in the same turn. It takes no more
//! processor time than a worker of the ring does, which many file systems need for it, and no worker has to be given a core first.
//!
//! A write may take long, though: a journal that is being committed lets nobody into the blocks that it writes, and the kernel slows
//! down who writes when a snapshot has filled its memory with what the disk has not taken. While some log is being synced or a
//! snapshot is written, writes are therefore judged by themselves. After a slow one those that come under the same circumstances go
//! through the ring for a while: their replies wait (`held`), and the shard does not.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::atomic::Ordering;
use std::sync::Arc;

use super::{Common, Log};
use crate::config::AppendFsync;

/// More than this is better copied by somebody else than the shard.
const DIRECT_BYTES_MAX: usize = 256 * 1024;
/// What takes longer has waited for the disk.
const SLOW_WRITE_NANOS: u64 = 2_000_000;
/// So long writes go through the ring then: the first time, and at most.
const PAUSE_MS_MIN: i64 = 1_000;
const PAUSE_MS_MAX: i64 = 16_000;

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

/// What else the disk does at the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Load {
    Quiet,
    /// A log is being synced, or a snapshot is written.
    Busy,
}

/// When writes were last slow.
#[derive(Debug, Default)]
struct Slowness {
    pause_until_ms: i64,
    pause_ms: i64,
}

impl Slowness {
    fn note(&mut self, now_ms: i64) {
        // Slow again as soon as it was tried again: longer. After a good time as at first.
        let is_recent = now_ms < self.pause_until_ms + self.pause_ms;
        self.pause_ms = if is_recent { (self.pause_ms * 2).min(PAUSE_MS_MAX) } else { PAUSE_MS_MIN };
        self.pause_until_ms = now_ms + self.pause_ms;
    }
}

#[derive(Debug, Default)]
pub(super) struct InlineWrites {
    quiet: Slowness,
    busy: Slowness,
}

impl InlineWrites {
    fn slowness(&mut self, load: Load) -> &mut Slowness {
        match load {
            Load::Quiet => &mut self.quiet,
            Load::Busy => &mut self.busy,
        }
    }

    /// A write has taken so long.
    pub fn note(&mut self, load: Load, nanos: u64, now_ms: i64) {
        if nanos > SLOW_WRITE_NANOS {
            self.slowness(load).note(now_ms);
        }
    }

    #[cfg(test)]
    pub fn never() -> InlineWrites {
        let never = || Slowness { pause_until_ms: i64::MAX / 2, pause_ms: 0 };
        InlineWrites { quiet: never(), busy: never() }
    }
}

impl Log {
    /// The circumstances under which a write of `len` bytes need not wait for the disk, as far as one can know. `None`: it may.
    pub(super) fn may_write_inline(&mut self, len: usize, now_ms: i64) -> Option<Load> {
        let is_busy = self.rewriting || self.common.syncing.load(Ordering::Relaxed) > 0;
        let load = if is_busy { Load::Busy } else { Load::Quiet };
        let may = len <= DIRECT_BYTES_MAX
            && self.policy() != AppendFsync::Always
            && now_ms >= self.disk.inline_writes.slowness(load).pause_until_ms
            && !self.disk.is_failing();
        may.then_some(load)
    }
}

/// Writes as much as the kernel takes.
pub(super) fn write(file: &File, bytes: &[u8], offset: u64) -> Result<usize, i32> {
    file.write_at(bytes, offset).map_err(|error| error.raw_os_error().unwrap_or(libc::EIO))
}

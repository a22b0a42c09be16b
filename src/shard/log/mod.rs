//! The append-only log of one shard while it runs: what a turn has appended goes to the disk through the shard's own
//! ring, and everybody can ask how far it has got. `persist/persistence.md` tells what is appended and why it counts when.
//!
//! Everything is a *position*: a number of bytes that only grows, over all the files that the log has had.
//!
//! - `appended`: the end of the last whole unit.
//! - `written`: the kernel has it. A write that fails, or a sync, may move this back.
//! - `durable`: the disk has it.
//! - `safe`: nobody can lose it any more by what the policy allows for. With `appendfsync always` that is `durable`, with the
//!   other policies `written`: the kernel keeps it when the process is killed.
//! - `released`: everything before is safe here and belongs to no transaction that is not yet safe elsewhere. A reply leaves
//!   when this has reached what was appended when it was made (`held`).
//!
//! One write is under way at a time; what comes meanwhile collects in another buffer and goes with the next one. The memory
//! of a write is the kernel's until its completion: a piece in flight is neither changed nor dropped, whatever becomes of
//! the log (`leaving`). What is written stays in memory until it is durable, as far as `KEPT_BYTES_MAX` goes: when a sync
//! fails, the kernel may have dropped what it had taken, and nobody else could write that again.
//!
//! `disk` decides what is written and synced when, and what happens when that fails; `unreleased_keys` tells then what may be read; `parts` knows the transactions
//! over shards; `held` keeps back what must not be seen yet.

mod disk;
pub mod held;
mod inline_writes;
mod parts;
mod sink;
#[cfg(test)]
mod tests;
mod unreleased_keys;

use std::collections::VecDeque;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::rc::Rc;
use std::sync::atomic::{AtomicI32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::{io, mem};

use crate::base::error_text;
use crate::command::CommandError;
use crate::config::{AppendFsync, Config};
use crate::observe::stats::ShardStats;
use crate::txn::locks::Number;

/// Appended but not written, bytes of one shard. A disk that is slower than the clients fills this; then their writes wait. While
/// the disk fails they are refused.
pub const BACKLOG_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// Written but not durable, and still in memory, bytes of one shard. What is beyond cannot be written again when a sync
/// fails: then the log is damaged until a rewrite replaces it.
const KEPT_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// An empty buffer larger than this is given back to the allocator.
const SPARE_BYTES_MAX: usize = 256 * 1024;

/// What all shards' logs know of each other.
#[derive(Debug, Default)]
pub struct Common {
    /// Logs that take no writes now, and why the last of them does not (an errno).
    refusing: AtomicUsize,
    errno: AtomicI32,
    /// Logs whose disk fails, whether they take writes or not.
    failing: AtomicUsize,
    /// Logs, and snapshots, whose disk is slower than their clients.
    lagging: AtomicUsize,
    /// Syncs in flight.
    syncing: AtomicUsize,
    doubts: Mutex<parts::Doubts>,
    /// How often something has been released in `doubts`.
    releases: AtomicUsize,
}

/// Whole units, one after the other.
#[derive(Debug, Default)]
struct Piece {
    /// The position of the first byte.
    from: u64,
    bytes: Vec<u8>,
    /// Where units end, positions; empty when that is not known any more.
    ends: Vec<u64>,
}

impl Piece {
    fn end(&self) -> u64 {
        self.from + self.bytes.len() as u64
    }
}

/// One of the log's files. The last one is written; those in front of it end where the next begins, and go once they are durable.
#[derive(Debug)]
struct LogFile {
    file: Rc<File>,
    /// The log's position where this file takes over, and its offset in the file.
    from: u64,
    offset: u64,
}

/// A write or sync that the kernel still works on although the log has turned away.
#[derive(Debug)]
struct Leaving {
    operation: u32,
    _file: Rc<File>,
    piece: Piece,
}

#[derive(Debug)]
pub struct Log {
    shard: usize,
    stats: Arc<ShardStats>,
    common: Arc<Common>,
    appendfsync: AppendFsync,
    no_sync_on_rewrite: bool,
    /// A rewrite or a BGSAVE is in progress.
    rewriting: bool,
    says_snapshot_lags: bool,

    /// Empty when the log is closed.
    files: VecDeque<LogFile>,
    /// What units are appended to.
    filling: Piece,
    /// To be written, in order; the first one may be in part already, or in flight.
    queue: VecDeque<Piece>,
    /// Written, not yet durable or not yet released.
    kept: VecDeque<Piece>,
    /// Emptied.
    spare: Piece,
    leaving: Vec<Leaving>,

    appended: u64,
    /// Where the last unit begins.
    last_unit: u64,
    written: u64,
    durable: u64,
    /// A sync is wanted up to here, whatever the policy.
    sync_wanted: u64,
    parts: parts::Parts,
    /// How many of `Common::releases` have been looked at.
    releases: usize,
    disk: disk::Disk,
    unreleased: unreleased_keys::UnreleasedKeys,
    /// Events for the latency monitor: name and nanoseconds.
    spikes: Vec<(&'static str, u64)>,
    /// Bytes of the log's files that count for auto-aof-rewrite-percentage: now, and after the last rewrite.
    size: u64,
    base_size: u64,
    form: sink::Form,
}

impl Log {
    pub fn new(shard: usize, stats: Arc<ShardStats>, common: Arc<Common>) -> Self {
        Log {
            shard,
            stats,
            common,
            appendfsync: AppendFsync::EverySecond,
            no_sync_on_rewrite: false,
            rewriting: false,
            says_snapshot_lags: false,
            files: VecDeque::new(),
            filling: Piece::default(),
            queue: VecDeque::new(),
            kept: VecDeque::new(),
            spare: Piece::default(),
            leaving: Vec::new(),
            appended: 0,
            last_unit: 0,
            written: 0,
            durable: 0,
            sync_wanted: 0,
            parts: parts::Parts::default(),
            releases: 0,
            disk: disk::Disk::default(),
            unreleased: unreleased_keys::UnreleasedKeys::default(),
            spikes: Vec::new(),
            size: 0,
            base_size: 0,
            form: sink::Form::default(),
        }
    }

    /// Takes over what the configuration says. A policy that asks for more catches up by itself.
    pub fn configure(&mut self, config: &Config) {
        self.appendfsync = config.persistence.appendfsync;
        self.no_sync_on_rewrite = config.persistence.no_appendfsync_on_rewrite;
        self.form.has_timestamps = config.persistence.aof_timestamp_enabled;
    }

    /// Whether a rewrite or a BGSAVE is in progress: `no-appendfsync-on-rewrite` asks, and a disk that is full because of it.
    pub fn set_rewriting(&mut self, rewriting: bool) {
        self.rewriting = rewriting;
    }

    #[inline]
    pub fn is_open(&self) -> bool {
        !self.files.is_empty()
    }

    /// What counts now of `appendfsync`.
    fn policy(&self) -> AppendFsync {
        if self.no_sync_on_rewrite && self.rewriting {
            AppendFsync::No
        } else {
            self.appendfsync
        }
    }

    /// Whether replies wait for the disk, and not only for the kernel.
    #[inline]
    pub fn waits_for_disk(&self) -> bool {
        self.is_open() && self.policy() == AppendFsync::Always
    }

    /// Begins with a file that has `len` bytes, all of them durable. Not opened with O_APPEND: the log writes at offsets.
    pub fn open(&mut self, file: File, len: u64) {
        debug_assert!(!self.is_open(), "the log is open");
        self.files.push_back(LogFile { file: Rc::new(file), from: self.appended, offset: len });
        self.written = self.appended;
        self.durable = self.appended;
        self.last_unit = self.appended;
        // What a closed log was given belongs to no file.
        self.filling.bytes.clear();
        self.filling.ends.clear();
        self.filling.from = self.appended;
        self.disk.last_sync_s = 0;
        self.form.begin_file();
    }

    /// Later units go to this new, empty file. The old one is synced and closed once it has all that belongs to it.
    pub fn switch(&mut self, file: File) {
        debug_assert!(self.is_open(), "the log is closed");
        self.seal();
        self.files.push_back(LogFile { file: Rc::new(file), from: self.appended, offset: 0 });
        self.form.begin_file();
        self.retire_files();
    }

    /// Ends: what is not on the disk yet goes there first, if it takes it. Blocks for that.
    pub fn close(&mut self) -> io::Result<()> {
        let outcome = self.flush_now();
        self.turn_away();
        self.files.clear();
        self.queue.clear();
        self.forget_kept(u64::MAX);
        self.forget_unreleased();
        self.filling.bytes.clear();
        self.filling.ends.clear();
        self.filling.from = self.appended;
        self.written = self.appended;
        self.durable = self.appended;
        let common = self.common.clone();
        self.parts.leave(&mut doubts(&common), self.shard);
        common.releases.fetch_add(1, Ordering::Relaxed);
        self.disk.forget_troubles();
        self.tell_others();
        outcome
    }

    /// Where the unit in progress is appended. By the end of the turn only whole units may be in it.
    #[inline]
    pub fn buffer(&mut self) -> &mut Vec<u8> {
        &mut self.filling.bytes
    }

    /// The unit in progress is whole.
    #[inline]
    pub fn unit_end(&mut self) {
        let end = self.filling.end();
        if end > self.appended {
            self.filling.ends.push(end);
            self.last_unit = self.appended;
            self.appended = end;
        }
    }

    #[inline]
    pub fn appended(&self) -> u64 {
        self.appended
    }

    pub fn durable(&self) -> u64 {
        self.durable
    }

    /// Everything before this is as safe as the policy makes it. A disk that fails holds up replies only with `always`: with the
    /// other policies new writes are refused instead.
    #[inline]
    fn safe(&self) -> u64 {
        if !self.is_open() {
            u64::MAX
        } else if self.policy() == AppendFsync::Always {
            self.durable
        } else if self.disk.is_failing() {
            u64::MAX
        } else {
            self.written
        }
    }

    /// Everything, when the log is closed.
    #[inline]
    pub fn released(&self) -> u64 {
        let safe = self.safe();
        self.parts.limit().map_or(safe, |limit| limit.min(safe))
    }

    /// Whether what was made at `position` must not be seen yet.
    #[inline]
    pub fn holds(&self, position: u64) -> bool {
        position > self.released()
    }

    /// The last unit is this shard's part of a transaction that is answered when it is safe, and of which `writers` shards write a
    /// part. Each of them calls this, or `miss_transaction`.
    pub fn await_transaction(&mut self, number: Number, writers: usize) {
        self.parts.begin(number, writers, self.last_unit, self.appended);
    }

    /// As `await_transaction`, where nothing is logged (any more). Returns the shards that may release something.
    pub fn miss_transaction(&mut self, number: Number, writers: usize) -> parts::Moved {
        let moved = doubts(&self.common).without_part(number, writers);
        self.common.releases.fetch_add(usize::from(!moved.is_empty()), Ordering::Relaxed);
        moved
    }

    /// To be called at the end of each turn. Returns the other shards that may release something since.
    pub fn settle_parts(&mut self) -> parts::Moved {
        if self.parts.is_empty() {
            return parts::Moved::new();
        }
        let safe = self.safe();
        let releases = self.common.releases.load(Ordering::Relaxed);
        if releases == self.releases && !self.parts.has_news(safe) {
            return parts::Moved::new();
        }
        self.releases = releases;
        let mut moved = self.parts.exchange(&mut doubts(&self.common), self.shard, safe);
        if !moved.is_empty() {
            self.common.releases.fetch_add(1, Ordering::Relaxed);
        }
        moved.retain(|shard| *shard != self.shard);
        moved
    }

    /// Has everything appended so far synced soon, whatever the policy.
    pub fn request_sync(&mut self) {
        self.sync_wanted = self.appended;
    }

    /// Appended, and not written yet.
    pub fn backlog(&self) -> u64 {
        self.appended - self.written
    }

    /// Why a write may not run now, on any shard.
    #[inline]
    pub fn write_refusal(&self) -> Option<CommandError> {
        if self.common.refusing.load(Ordering::Relaxed) == 0 {
            return None;
        }
        let errno = self.common.errno.load(Ordering::Relaxed);
        Some(CommandError::CannotLog(error_text(&io::Error::from_raw_os_error(errno)).into()))
    }

    /// Whether some shard's disk fails. Replies may then wait for long, also on the others.
    #[inline]
    pub fn is_failing_somewhere(&self) -> bool {
        self.common.failing.load(Ordering::Relaxed) > 0
    }

    /// Whether writes must wait because some shard's disk is slower than its clients.
    #[inline]
    pub fn is_congested(&self) -> bool {
        self.common.lagging.load(Ordering::Relaxed) > 0
    }

    /// The sizes that INFO shows: of all that would be read at a start now, and what that was after the last rewrite.
    pub fn set_sizes(&mut self, size: u64, base_size: u64) {
        self.size = size;
        self.base_size = base_size;
    }

    #[cfg(test)]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Moves what has been appended to the queue.
    fn seal(&mut self) {
        debug_assert_eq!(self.filling.end(), self.appended, "a unit is not whole");
        if self.filling.bytes.is_empty() {
            return;
        }
        let next = Piece { from: self.appended, ..mem::take(&mut self.spare) };
        self.queue.push_back(mem::replace(&mut self.filling, next));
    }

    /// Keeps the memory of a piece that is not needed any more for the next one.
    fn recycle(&mut self, mut piece: Piece) {
        if piece.bytes.capacity() <= SPARE_BYTES_MAX && piece.bytes.capacity() > self.spare.bytes.capacity() {
            piece.bytes.clear();
            piece.ends.clear();
            self.spare = piece;
        }
    }

    /// The file that the byte at `position` belongs to, and its offset there.
    fn place(&self, position: u64) -> Option<(Rc<File>, u64)> {
        let file = self.files.iter().rev().find(|file| file.from <= position).or(self.files.front())?;
        Some((file.file.clone(), file.offset + position - file.from))
    }

    /// Writes and syncs everything, and blocks until that is done: for an orderly end. What is in flight is written a second
    /// time, the same bytes to the same place.
    pub fn flush_now(&mut self) -> io::Result<()> {
        if !self.is_open() {
            return Ok(());
        }
        self.seal();
        let from = if self.disk.must_roll_back { self.durable } else { self.written };
        for piece in self.kept.iter().chain(&self.queue) {
            if piece.end() <= from {
                continue;
            }
            let start = from.max(piece.from);
            let Some((file, offset)) = self.place(start) else { continue };
            if let Err(error) = file.write_all_at(&piece.bytes[(start - piece.from) as usize..], offset) {
                self.disk.is_torn = true;
                return Err(error);
            }
        }
        if self.durable < self.appended {
            for file in &self.files {
                file.file.sync_data()?;
            }
        }
        self.turn_away();
        self.queue.clear();
        self.size += self.appended - self.written;
        self.written = self.appended;
        self.durable = self.appended;
        self.forget_kept(self.appended);
        self.retire_files();
        self.disk.forget_troubles();
        self.tell_others();
        Ok(())
    }

    /// Tells all shards whether writes have to wait for this one's snapshot; true when that is new.
    pub fn say_snapshot_lags(&mut self, lags: bool) -> bool {
        let is_new = self.says_snapshot_lags != lags;
        count(&self.common.lagging, &mut self.says_snapshot_lags, lags);
        is_new
    }

    /// Tells all shards whether writes are refused, or have to wait, because of this one.
    fn tell_others(&mut self) {
        let refuses = self.is_open() && self.refuses();
        if refuses {
            self.common.errno.store(self.disk.errno(), Ordering::Relaxed);
        }
        count(&self.common.refusing, &mut self.disk.says_refusing, refuses);
        let failing = self.is_open() && self.disk.is_failing();
        count(&self.common.failing, &mut self.disk.says_failing, failing);
        let backlog = self.backlog();
        let bound = if self.disk.says_lagging { BACKLOG_BYTES_MAX / 2 } else { BACKLOG_BYTES_MAX };
        let lags = self.is_open() && !self.disk.is_failing() && backlog >= bound;
        self.disk.has_caught_up |= self.disk.says_lagging && !lags;
        count(&self.common.lagging, &mut self.disk.says_lagging, lags);
    }

    /// Whether writes have stopped waiting for this log since this was asked last.
    pub(super) fn has_caught_up(&mut self) -> bool {
        mem::take(&mut self.disk.has_caught_up)
    }

    /// Writes the gauges that INFO reads.
    pub fn publish(&self) {
        let stats = &self.stats;
        stats.aof_current_size.set(self.size);
        stats.aof_base_size.set(self.base_size);
        stats.aof_buffer_length.set(self.backlog());
        stats.aof_pending_bytes.set(self.appended - self.durable);
        stats.aof_pending_fsync.set(u64::from(self.disk.is_syncing()));
        stats.aof_errno.set(self.disk.errno() as u64);
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        // The kernel may still read what is in flight.
        self.turn_away();
        mem::forget(mem::take(&mut self.leaving));
    }
}

fn doubts(common: &Common) -> std::sync::MutexGuard<'_, parts::Doubts> {
    common.doubts.lock().unwrap_or_else(PoisonError::into_inner)
}

fn count(counter: &AtomicUsize, said: &mut bool, now: bool) {
    if *said != now {
        *said = now;
        if now {
            counter.fetch_add(1, Ordering::Relaxed);
        } else {
            counter.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

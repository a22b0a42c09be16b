//! What the log gives to the disk and when, and what happens when the disk does not take it.
//!
//! | `appendfsync` | a write | a sync |
//! | --- | --- | --- |
//! | `always` | as soon as the last one is durable, and a group has come together | linked to each write |
//! | `everysec` | at once (`inline_writes`), or as soon as the last one is done | once a Unix second, so that all shards sync at the same moment |
//! | `no` | the same | only when asked for, or of a file that is complete |
//!
//! When the log goes on in a new file, the one before it is synced at once. With `always` nothing is written to the new one before
//! that has succeeded. With the other policies writes go on meanwhile; what a power failure takes off the end of the older
//! file shows to a recovery, because the new one begins with the barrier that the older one ends with (`#AFTER`).
//!
//! A write that fails leaves the file cut behind the last whole unit that fitted, and everything behind that in memory. A
//! sync that fails takes `written` back to `durable`: what lies between is written again, from memory, to the same places.
//! Either is tried again after a pause, without end; whatever succeeds continues where it was.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::mem;
use std::os::fd::AsRawFd;
use std::rc::Rc;

use super::inline_writes::{self, InlineWrites, SyncInFlight};
use super::{Leaving, Log, Piece, BACKLOG_BYTES_MAX, KEPT_BYTES_MAX};
use crate::base::error_text;
use crate::base::log::Level;
use crate::base::Stamp;
use crate::base::Token;
use crate::config::AppendFsync;
use crate::runtime::ring::{SocketRing, FILE_WRITE_MAX};

/// The first and the longest pause after a failure.
const RETRY_MS_MIN: i64 = 100;
const RETRY_MS_MAX: i64 = 1000;
/// A group of units waits for more as long as a sync takes, but no shorter than fifty answered clients take to ask again, and no
/// longer than the second bound, microseconds.
const GROUP_WAIT_US_MIN: i64 = 250;
pub(super) const GROUP_WAIT_US_MAX: i64 = 1000;
/// After one that has waited in vain so many groups do not wait.
const IMPATIENT_GROUPS: u32 = 16;
/// A sync that takes longer is said to be slow.
const SLOW_SYNC_MS: i64 = 2000;
/// Written pieces up to this size are kept together, in pieces of that size.
const MERGED_BYTES_MAX: usize = 16 * 1024;
const MERGED_PIECE_BYTES: usize = 256 * 1024;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Trouble {
    Write,
    Sync,
}

/// What failed last, until it succeeds.
#[derive(Clone, Copy, Debug)]
struct Failure {
    trouble: Trouble,
    errno: i32,
    pause_ms: i64,
    retry_at_ms: i64,
    /// A rewrite was in progress, which may have taken the space.
    during_rewrite: bool,
}

/// The write in flight: of the first piece of the queue, from `written` on.
#[derive(Debug)]
struct Writing {
    operation: u32,
    file: Rc<File>,
    len: usize,
    began: Stamp,
    /// What the latency monitor calls it.
    kind: &'static str,
    /// A sync follows by itself.
    linked: bool,
}

#[derive(Debug)]
struct Syncing {
    operation: u32,
    file: Rc<File>,
    /// Everything in front of this is durable when it succeeds.
    until: u64,
    began: Stamp,
    began_ms: i64,
    linked: bool,
    said_slow: bool,
    _counted: SyncInFlight,
}

/// The units that one sync of `always` makes durable. Clients that were answered together ask again together, but not at the
/// same moment: without a pause the first few have the disk to themselves, and the others wait for two syncs each time. So a
/// group waits for as many as were under way when the last one ended, about as long as a sync takes; and when that
/// turns out to be in vain, the next ones do not wait.
#[derive(Debug, Default)]
struct Group {
    /// Units in flight.
    syncing: usize,
    /// How many units may be expected.
    expected: usize,
    /// When this one waits no longer, Unix microseconds.
    until_us: Option<i64>,
    /// So many groups will not wait.
    impatient: u32,
}

#[derive(Debug, Default)]
pub(super) struct Disk {
    group: Group,
    pub inline_writes: InlineWrites,
    writing: Option<Writing>,
    syncing: Option<Syncing>,
    failure: Option<Failure>,
    operations: u32,
    /// The Unix second of the last sync of `everysec`.
    pub last_sync_s: i64,
    /// Behind `written` the file may have bytes that are part of a unit.
    pub is_torn: bool,
    /// A sync has failed while a write was in flight.
    pub must_roll_back: bool,
    /// What was written last must be synced before the trouble with a sync counts as over.
    sync_failed: bool,
    /// Something that was neither durable nor in memory any more may be lost in the file.
    is_damaged: bool,
    damage_errno: i32,
    pub says_refusing: bool,
    pub says_failing: bool,
    pub says_lagging: bool,
    /// It lagged, and shards whose clients waited for it are to be told that it does not any more.
    pub has_caught_up: bool,
}

impl Disk {
    pub fn is_failing(&self) -> bool {
        self.failure.is_some()
    }

    pub fn is_syncing(&self) -> bool {
        self.syncing.is_some()
    }

    /// Zero when all is well.
    pub fn errno(&self) -> i32 {
        let damage = if self.is_damaged { self.damage_errno } else { 0 };
        self.failure.map_or(damage, |failure| failure.errno)
    }

    pub fn forget_troubles(&mut self) {
        self.group = Group::default();
        self.failure = None;
        self.sync_failed = false;
        self.is_torn = false;
        self.must_roll_back = false;
    }

    #[cfg(test)]
    pub fn sync_token(&self) -> Token {
        token(self.syncing.as_ref().map_or(0, |syncing| syncing.operation))
    }

    fn next_operation(&mut self) -> u32 {
        self.operations = self.operations.wrapping_add(1);
        self.operations
    }
}

fn token(operation: u32) -> Token {
    Token { index: operation, generation: 0 }
}

impl Log {
    /// Something is in flight: the log's memory is the kernel's.
    pub fn is_in_flight(&self) -> bool {
        self.disk.writing.is_some() || self.disk.syncing.is_some()
    }

    /// Everything that was appended is where the policy wants it.
    pub fn is_settled(&self) -> bool {
        !self.is_open() || !self.is_in_flight() && self.written == self.appended
    }

    /// A rewrite or BGSAVE in progress is to be given up: the disk needs the space, or fails.
    pub fn wants_space(&self) -> bool {
        self.disk.is_failing()
    }

    /// The file may have lost what nobody can write again: only a rewrite, from what is in memory, makes it whole.
    pub fn wants_rewrite(&self) -> bool {
        self.disk.is_damaged
    }

    /// A rewrite has replaced everything that was appended before it began.
    pub fn repaired(&mut self) {
        self.disk.is_damaged = false;
        self.tell_others();
    }

    /// Whether writes are refused because of this log.
    pub(super) fn refuses(&self) -> bool {
        let full = self.backlog() >= BACKLOG_BYTES_MAX;
        let failing = self.disk.failure.is_some_and(|failure| {
            // With `always` the reply waits until the disk works again. And space that a rewrite took comes back soon.
            let accepts = self.waits_for_disk() || failure.during_rewrite;
            full || !accepts
        });
        failing || self.disk.is_damaged
    }

    /// Starts what can be started: to be called when a turn is over, with what it appended.
    pub(super) fn step(&mut self, ring: &mut SocketRing, now_us: i64) {
        if !self.is_open() {
            return;
        }
        let (now_ms, now_s) = (now_us / 1000, now_us / 1_000_000);
        self.note_slow_sync(now_ms);
        let may_write = self.disk.failure.is_none_or(|failure| now_ms >= failure.retry_at_ms);
        let may_sync = may_write || self.disk.failure.is_some_and(|f| f.trouble == Trouble::Write);
        if may_write && self.disk.writing.is_none() {
            if self.waits_for_group(now_us) {
                return self.tell_others();
            }
            while self.start_write(ring, now_ms) {}
        }
        self.disk.group.until_us = None;
        if may_sync && self.disk.syncing.is_none() && self.sync_is_due(now_s) {
            self.start_sync(ring, now_ms);
        }
        self.tell_others();
    }

    /// When the log wants a turn even if nothing arrives, Unix microseconds.
    pub fn due_at_us(&self) -> Option<i64> {
        self.disk.group.until_us
    }

    /// Whether what has been appended waits for more to come, to be synced together.
    fn waits_for_group(&mut self, now_us: i64) -> bool {
        let units = self.filling.ends.len();
        let may_start = self.disk.syncing.is_none() && self.queue.is_empty() && units > 0;
        if !may_start || self.policy() != AppendFsync::Always {
            return false;
        }
        let group = &mut self.disk.group;
        if group.impatient > 0 {
            group.impatient -= 1;
        } else if units < group.expected {
            let wait_us =
                (self.stats.aof_last_fsync_us.get() as i64).clamp(GROUP_WAIT_US_MIN, GROUP_WAIT_US_MAX);
            if now_us < *group.until_us.get_or_insert(now_us + wait_us) {
                return true;
            }
            if units < group.expected * 3 / 4 {
                group.impatient = IMPATIENT_GROUPS;
            }
        }
        group.syncing = units;
        false
    }

    /// True: it has been done, and there may be more to write.
    fn start_write(&mut self, ring: &mut SocketRing, now_ms: i64) -> bool {
        if self.disk.is_torn {
            let _ = self.cut_torn();
        }
        let always = self.policy() == AppendFsync::Always;
        if always && self.disk.syncing.is_some() {
            // One is synced after the other, so that what is durable is the beginning of what is written. What comes meanwhile
            // goes together.
            return false;
        }
        if self.queue.is_empty() {
            self.seal();
        }
        let Some(piece) = self.queue.front() else { return false };
        let Some((file, offset)) = self.place(self.written) else { return false };
        let is_front = self.files.front().is_some_and(|front| Rc::ptr_eq(&front.file, &file));
        if always && !is_front {
            // The file before it is complete, and is being synced. The sync that is linked to this write would be of this file
            // alone, and prove nothing. Without `always` the kernel may have it now: what is lost of the file before it shows.
            return false;
        }
        // The first piece is the one that `written` stands in. Were it not, the file could not be continued.
        let done = self.written.checked_sub(piece.from);
        let Some(left) = done.and_then(|done| piece.bytes.len().checked_sub(done as usize)) else {
            self.lose_queue();
            return false;
        };
        let len = left.min(FILE_WRITE_MAX);
        let load = self.may_write_inline(len, now_ms);
        let waiting =
            self.queue.front().and_then(|piece| piece.bytes.get((self.written - piece.from) as usize..));
        let Some(bytes) = waiting.and_then(|bytes| bytes.get(..len)) else { return false };
        let began = Stamp::now();
        let kind = self.kind_of_write();
        let operation = self.disk.next_operation();
        let writing = Writing { operation, file: file.clone(), len, began, kind, linked: always };
        if let Some(load) = load {
            let result = inline_writes::write(&file, bytes, offset);
            self.disk.writing = Some(writing);
            let before = self.written;
            self.wrote(token(operation), result, now_ms);
            self.disk.inline_writes.note(load, Stamp::now().nanos_since(began), now_ms);
            return self.written > before && !self.disk.is_failing();
        }
        if always {
            ring.write_and_sync_file(token(operation), file.as_raw_fd(), bytes, offset);
            let (file, until) = (file.clone(), self.written + len as u64);
            self.disk.last_sync_s = now_ms / 1000;
            self.disk.syncing = Some(Syncing {
                operation,
                file,
                until,
                began,
                began_ms: now_ms,
                linked: true,
                said_slow: false,
                _counted: SyncInFlight::new(self.common.clone()),
            });
        } else {
            ring.write_file(token(operation), file.as_raw_fd(), bytes, offset);
        }
        self.disk.writing = Some(writing);
        false
    }

    /// What waits to be written does not fit behind what is written: it is dropped, and only a rewrite makes the log whole again.
    #[cold]
    fn lose_queue(&mut self) {
        crate::log!(Level::Warning, "The AOF buffer does not continue the AOF file. Writes are refused until a rewrite has replaced it.");
        self.queue.clear();
        self.filling.bytes.clear();
        self.filling.ends.clear();
        self.filling.from = self.appended;
        self.move_written(self.appended);
        self.disk.is_damaged = true;
        self.disk.damage_errno = libc::EIO;
    }

    /// What the latency monitor calls a write that begins now.
    fn kind_of_write(&self) -> &'static str {
        if self.disk.syncing.is_some() {
            "aof-write-pending-fsync"
        } else if self.rewriting {
            "aof-write-active-child"
        } else {
            "aof-write-alone"
        }
    }

    /// What a sync of the first file would make durable.
    fn syncable(&self) -> u64 {
        self.files.get(1).map_or(self.written, |next| next.from.min(self.written))
    }

    fn sync_is_due(&self, now_s: i64) -> bool {
        let until = self.syncable();
        if until <= self.durable || self.disk.must_roll_back {
            return false;
        }
        let is_complete = self.files.get(1).is_some_and(|next| next.from == until);
        is_complete
            || self.sync_wanted > self.durable && self.sync_wanted <= until
            || self.disk.sync_failed
            || match self.policy() {
                AppendFsync::Always => true,
                AppendFsync::EverySecond => now_s != self.disk.last_sync_s,
                AppendFsync::No => false,
            }
    }

    fn start_sync(&mut self, ring: &mut SocketRing, now_ms: i64) {
        let until = self.syncable();
        let Some(file) = self.files.front().map(|front| front.file.clone()) else { return };
        let operation = self.disk.next_operation();
        ring.sync_file(token(operation), file.as_raw_fd());
        self.disk.last_sync_s = now_ms / 1000;
        self.disk.syncing = Some(Syncing {
            operation,
            file,
            until,
            began: Stamp::now(),
            began_ms: now_ms,
            linked: false,
            said_slow: false,
            _counted: SyncInFlight::new(self.common.clone()),
        });
    }

    fn note_slow_sync(&mut self, now_ms: i64) {
        let Some(syncing) = &mut self.disk.syncing else { return };
        if !syncing.said_slow && !syncing.linked && now_ms - syncing.began_ms >= SLOW_SYNC_MS {
            syncing.said_slow = true;
            self.stats.aof_delayed_fsync.add(1);
            crate::log!(
                Level::Notice,
                "Asynchronous AOF fsync is taking too long (disk is busy?). Writing the AOF buffer without waiting for fsync \
                 to complete, this may slow down Redis."
            );
        }
    }

    /// A write has ended.
    pub fn wrote(&mut self, token: Token, result: Result<usize, i32>, now_ms: i64) {
        let Some(writing) = self.disk.writing.take_if(|writing| writing.operation == token.index) else {
            return self.left(token.index);
        };
        let now = Stamp::now();
        let nanos = now.nanos_since(writing.began);
        self.spikes.push((writing.kind, nanos));
        self.spikes.push(("aof-write", nanos));
        if let (true, Some(syncing)) = (writing.linked, &mut self.disk.syncing) {
            syncing.began = now;
        }
        match result {
            Ok(len) if len == writing.len => {
                self.advance_written(self.written + len as u64);
                self.write_succeeded();
            }
            Ok(len) => self.was_short(len, writing.len, now_ms),
            Err(libc::EINTR | libc::EAGAIN) => {}
            Err(errno) => {
                let why = error_text(&io::Error::from_raw_os_error(errno));
                self.fail(Trouble::Write, errno, now_ms, &format!("Error writing to the AOF file: {why}"));
            }
        }
        if let (true, Some(syncing)) = (writing.linked, &mut self.disk.syncing) {
            // Of a write that was not whole it cannot be the proof.
            syncing.until = syncing.until.min(self.written);
        }
        if mem::take(&mut self.disk.must_roll_back) {
            self.roll_back();
        }
    }

    fn write_succeeded(&mut self) {
        match &mut self.disk.failure {
            Some(failure) if failure.trouble == Trouble::Write => {
                if self.disk.sync_failed {
                    failure.trouble = Trouble::Sync;
                } else {
                    self.solved();
                }
            }
            _ => {}
        }
    }

    /// The disk has taken `len` bytes of `expected`: the file is cut behind the last whole unit among them.
    fn was_short(&mut self, len: usize, expected: usize, now_ms: i64) {
        let reached = self.written + len as u64;
        let whole = self.queue.front().map_or(self.written, |piece| {
            let floor = piece.from.max(self.durable);
            let count = piece.ends.partition_point(|end| *end <= reached);
            let end = count.checked_sub(1).map_or(floor, |last| piece.ends[last]);
            // Without known ends it goes back to where the piece begins.
            if piece.ends.is_empty() || end < floor {
                floor
            } else {
                end
            }
        });
        self.move_written(whole);
        self.disk.is_torn = true;
        let line =
            format!("Short write while writing to the AOF file: (nwritten={len}, expected={expected})");
        let is_new = self.fail(Trouble::Write, libc::ENOSPC, now_ms, &line);
        if let Err(error) = self.cut_torn() {
            if is_new {
                crate::log!(
                    Level::Warning,
                    "Could not remove short write from the append-only file.  Redis may refuse to load the AOF the next time it \
                     starts.  ftruncate: {}",
                    error_text(&error)
                );
            }
        }
    }

    /// Cuts the file behind what is written. When that fails, too, it is tried again before the next write, which
    /// otherwise puts the rest of the same unit there.
    fn cut_torn(&mut self) -> io::Result<()> {
        let Some((file, offset)) = self.place(self.written) else { return Ok(()) };
        file.set_len(offset)?;
        self.disk.is_torn = false;
        Ok(())
    }

    /// A sync has ended.
    pub fn synced(&mut self, token: Token, result: Result<(), i32>, now_ms: i64) {
        let Some(syncing) = self.disk.syncing.take_if(|syncing| syncing.operation == token.index) else {
            return self.left(token.index);
        };
        match result {
            // A file that cannot be synced (a pipe, /dev/null) is as safe as it gets.
            Ok(()) | Err(libc::EINVAL) => {
                let nanos = Stamp::now().nanos_since(syncing.began);
                self.stats.aof_last_fsync_us.set(nanos / 1000);
                self.spikes.push(("aof-fsync", nanos));
                if syncing.linked {
                    self.disk.group.expected = self.disk.group.syncing + self.filling.ends.len();
                    self.spikes.push(("aof-fsync-always", nanos));
                }
                self.durable = self.durable.max(syncing.until);
                self.drop_kept();
                self.retire_files();
                self.sync_succeeded();
            }
            // The write in front of it has failed and says why.
            Err(libc::ECANCELED | libc::EINTR | libc::EAGAIN) => {}
            Err(errno) => {
                let why = error_text(&io::Error::from_raw_os_error(errno));
                self.disk.sync_failed = true;
                self.fail(Trouble::Sync, errno, now_ms, &format!("Fail to fsync the AOF file: {why}"));
                if self.disk.writing.is_some() {
                    self.disk.must_roll_back = true;
                } else {
                    self.roll_back();
                }
            }
        }
    }

    fn sync_succeeded(&mut self) {
        if mem::take(&mut self.disk.sync_failed)
            && self.disk.failure.is_some_and(|failure| failure.trouble == Trouble::Sync)
        {
            self.solved();
        }
    }

    /// True when nothing had failed before.
    fn fail(&mut self, trouble: Trouble, errno: i32, now_ms: i64, line: &str) -> bool {
        let before = self.disk.failure;
        let pause_ms = before.map_or(RETRY_MS_MIN, |failure| (failure.pause_ms * 2).min(RETRY_MS_MAX));
        let during_rewrite = self.rewriting;
        let retry_at_ms = now_ms + pause_ms;
        self.disk.failure = Some(Failure { trouble, errno, pause_ms, retry_at_ms, during_rewrite });
        let is_new = before.is_none_or(|failure| failure.trouble != trouble);
        if is_new {
            crate::log!(Level::Warning, "{line}");
        }
        self.tell_others();
        is_new
    }

    fn solved(&mut self) {
        self.disk.failure = None;
        if !self.disk.is_damaged {
            crate::log!(Level::Notice, "AOF write error looks solved, Gyre can write again.");
        }
        self.tell_others();
    }

    fn move_written(&mut self, to: u64) {
        self.size = self.size.saturating_add_signed(to as i64 - self.written as i64);
        self.written = to;
    }

    /// The kernel has everything in front of `to`: pieces that end there have done their duty.
    fn advance_written(&mut self, to: u64) {
        self.move_written(to);
        while let Some(piece) = pop_front_if(&mut self.queue, |piece| piece.end() <= to) {
            self.keep(piece);
        }
        self.retire_files();
    }

    /// Keeps what has been written for as long as a sync may fail.
    fn keep(&mut self, mut piece: Piece) {
        if self.policy() == AppendFsync::No {
            // Nobody asks when it is durable.
            self.forget_kept(u64::MAX);
            return self.recycle(piece);
        }
        let is_small = piece.bytes.len() <= MERGED_BYTES_MAX && self.policy() != AppendFsync::Always;
        // A piece is of one file.
        let begins_file = self.files.iter().any(|file| file.from == piece.from);
        match self.kept.back_mut() {
            Some(last)
                if is_small
                    && !begins_file
                    && last.bytes.capacity() - last.bytes.len() >= piece.bytes.len() =>
            {
                last.bytes.extend_from_slice(&piece.bytes);
                self.recycle(piece);
            }
            _ if is_small => {
                let mut bytes = Vec::with_capacity(MERGED_PIECE_BYTES);
                bytes.extend_from_slice(&piece.bytes);
                self.kept.push_back(Piece { from: piece.from, bytes, ends: Vec::new() });
                self.recycle(piece);
            }
            _ => {
                piece.ends.clear();
                self.kept.push_back(piece);
            }
        }
        while self.kept.front().is_some_and(|first| self.written - first.from > KEPT_BYTES_MAX) {
            self.kept.pop_front();
        }
    }

    /// Drops what nobody asks for any more.
    pub(super) fn drop_kept(&mut self) {
        self.forget_kept(self.durable.min(self.released()));
        if !self.holds(self.appended) {
            self.forget_unreleased();
        }
    }

    /// Drops what is kept of the time before `until`.
    pub(super) fn forget_kept(&mut self, until: u64) {
        while let Some(piece) = pop_front_if(&mut self.kept, |piece| piece.end() <= until) {
            self.recycle(piece);
        }
    }

    /// After a failed sync: what is not durable is written again.
    fn roll_back(&mut self) {
        while self.kept.back().is_some_and(|piece| piece.end() > self.durable) {
            if let Some(piece) = self.kept.pop_back() {
                self.queue.push_front(piece);
            }
        }
        let first = self.queue.front().map_or(self.written, |piece| piece.from);
        if first > self.durable {
            self.disk.is_damaged = true;
            self.disk.damage_errno = self.disk.errno();
            crate::log!(
                Level::Warning,
                "The AOF file may have lost {} bytes that were not in memory any more. Writes are refused until a rewrite has replaced it.",
                first - self.durable
            );
        }
        self.move_written(first.max(self.durable).min(self.written));
    }

    /// Closes files that have all that belongs to them, on the disk.
    pub(super) fn retire_files(&mut self) {
        while self.files.get(1).is_some_and(|next| next.from <= self.durable) {
            self.files.pop_front();
        }
    }

    /// Lets what is in flight end without the log.
    pub(super) fn turn_away(&mut self) {
        if let Some(Writing { operation, file, .. }) = self.disk.writing.take() {
            let piece = self.queue.pop_front().unwrap_or_default();
            self.leaving.push(Leaving { operation, _file: file, piece });
        }
        if let Some(Syncing { operation, file, linked: false, .. }) = self.disk.syncing.take() {
            self.leaving.push(Leaving { operation, _file: file, piece: Piece::default() });
        }
    }

    /// Something that the log had turned away from has ended.
    fn left(&mut self, operation: u32) {
        if let Some(index) = self.leaving.iter().position(|leaving| leaving.operation == operation) {
            drop(self.leaving.swap_remove(index).piece);
        }
    }
}

fn pop_front_if<T>(queue: &mut VecDeque<T>, wanted: impl FnOnce(&T) -> bool) -> Option<T> {
    if queue.front().is_some_and(wanted) {
        queue.pop_front()
    } else {
        None
    }
}

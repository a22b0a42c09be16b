//! A shard's part of a snapshot: begun at the cut, and watched until it is written.
//!
//! Forked, a child writes it. Without fork the shard does, in slices between requests, through a thread that waits for the disk.
//!
//! With several shards a snapshot without fork is opened at the cut in both cases. It keeps what changes until the shard is told
//! to fork; its child then goes on with it. So shards fork one after the other, with a pause in which they answer what has
//! waited, and a client waits for one fork and not for the sum of them.

use crate::shard::saving::Saving;
use crate::shard::turn::TurnState;
use crate::store::Store;
use std::fs::File;
use std::sync::atomic::Ordering;
use std::sync::Arc;

use super::message::{JobId, PartReport};
use super::{PartFile, SnapshotCut};
use crate::base::error_text;
use crate::base::log::Level;
use crate::base::Stamp;
use crate::config::SnapshotMethod;
use crate::persist::snapshot::forked::{self, PartOptions};
use crate::persist::snapshot::writer::PartWriter;
use crate::persist::snapshot::Forkless;
use crate::process::OomRole;
use crate::rdb::file::FileChecksum;
use crate::rdb::Format;
use crate::runtime::arena::Inherit;
use crate::runtime::fork::{Child, End, ForkOptions, Turn};
use crate::shard::Shard;
use crate::snapshot::{Begun, Failed, Purpose, Whole, Written};
use crate::store::SnapshotOptions;
use crate::txn::locks::Number;

/// The longest slice of a snapshot without fork: what a request may have to wait for it.
const SLICE_US: u64 = 250;
/// So much may wait for the disk before the shard stops making more, bytes.
const AHEAD_BYTES: usize = 2 << 20;
/// So much may wait altogether, in front of a disk that is slower than the changes; then the snapshot fails, bytes.
const WAITING_BYTES_MAX: usize = 256 << 20;
/// The same for a replica, all shards together, bytes.
const SYNC_WAITING_BYTES_MAX: usize = 64 << 20;
/// What a fork takes for each GiB of a shard's memory, until one has been seen, microseconds: page tables for pages of 4 KiB.
const FORK_US_PER_GIB: u64 = 30_000;
const GIB: u64 = 1 << 30;

/// This shard's part of a snapshot.
pub(in crate::shard) struct OwnPart {
    id: JobId,
    purpose: Purpose,
    way: Way,
    /// When it began, for `rdb-key-save-delay`.
    since: Stamp,
}

enum Way {
    /// The snapshot is open, and a child is to go on with it.
    Due(Box<Due>),
    Forked(Child),
    /// The snapshot is open, and this shard writes it.
    Forkless(PartWriter),
    /// There is nothing to be written but what stands in front of the keys.
    HeadOnly(PartWriter),
}

impl OwnPart {
    /// Whether the snapshot that is open in the store is this one's: of all parts at most one's.
    fn holds_store(&self) -> bool {
        matches!(self.way, Way::Due(_) | Way::Forkless(_))
    }
}

/// What a child writes.
#[derive(Clone, Copy)]
enum Image {
    /// The keyspace as it is when it is forked.
    Store,
    /// The snapshot that is open, from where the shard has left it.
    Snapshot,
}

/// A fork that is still to come.
struct Due {
    cut: Arc<SnapshotCut>,
    /// As it was at the cut.
    head: Vec<u8>,
    begun: Begun,
    /// From when on, Unix microseconds; `None`: the leader has not said yet.
    fork_at_us: Option<i64>,
}

impl TurnState {
    fn part_options<'a>(&self, cut: &SnapshotCut, head: &'a [u8], ends_file: bool) -> PartOptions<'a> {
        self.options_of_part(cut.format, cut.checksum, head, ends_file)
    }

    pub(super) fn options_of_part<'a>(
        &self,
        format: Format,
        checksum: bool,
        head: &'a [u8],
        ends_file: bool,
    ) -> PartOptions<'a> {
        let persistence = &self.config.persistence;
        PartOptions {
            format,
            checksum,
            head,
            ends_file,
            sync_as_it_grows: persistence.rdb_save_incremental_fsync,
            key_delay_us: persistence.rdb_key_save_delay,
            as_commands: false,
        }
    }

    /// Whether the snapshot can be made by children that are forked at the cut.
    pub(super) fn may_fork_at_cut(&self, cut: &SnapshotCut) -> bool {
        self.method_of(cut) != SnapshotMethod::Forkless || !cut.has_keys || cut.purpose == Purpose::Foreground
    }

    fn method_of(&self, cut: &SnapshotCut) -> SnapshotMethod {
        match cut.purpose {
            // Whatever it costs, its end must not depend on memory for a copy of everything.
            Purpose::FullSync => SnapshotMethod::Forkless,
            _ => cut.method.unwrap_or(self.config.engine.snapshot_method),
        }
    }

    fn head_of_part(&self, cut: &SnapshotCut, number: Number, as_commands: bool) -> Vec<u8> {
        match cut.purpose {
            Purpose::Rewrite if as_commands => self.head_of_commands(number),
            Purpose::Rewrite => self.header(cut.format, Some(number)),
            _ => self.header_of(cut),
        }
    }
}

impl Saving {
    /// The leader: all shards are past the cut, and no other one forks.
    pub(super) fn may_fork(&mut self, id: JobId, at_us: i64) {
        for own in &mut self.own {
            if let Way::Due(due) = &mut own.way {
                if own.id == id {
                    due.fork_at_us = Some(at_us);
                }
            }
        }
    }

    /// Whether a fork of this shard would hold it up for less than `snapshot-fork-stall-max-ms`, as far as one can tell.
    fn fork_is_cheap(&self, turn: &TurnState, store: &mut Store) -> bool {
        let us_per_gib = self.fork_us_per_gib.unwrap_or(FORK_US_PER_GIB);
        let estimate_us = store.used_memory() as u64 * us_per_gib / GIB;
        estimate_us <= u64::from(turn.config.engine.snapshot_fork_stall_max_ms) * 1000
    }

    /// Whether a part of a snapshot is in progress here.
    pub(in crate::shard) fn has_own_part(&self) -> bool {
        !self.own.is_empty()
    }

    /// Whether there is more to do soon: a fork is due, or a snapshot without fork is in progress, from which the disk takes
    /// what waits for it without a word.
    pub(in crate::shard) fn is_snapshot_under_way(&self) -> bool {
        self.own.iter().any(OwnPart::holds_store)
    }
}

impl Shard {
    /// Writes this shard's part at once.
    pub(super) fn write_part(&self, cut: &SnapshotCut) -> std::io::Result<FileChecksum> {
        match &cut.parts[self.id] {
            Some(part) => {
                let head = self.turn.header_of(cut);
                let options = self.turn.part_options(cut, &head, part.ends_file);
                forked::write_part(&self.store, &part.file, &options, &mut || {})
            }
            None => Ok(FileChecksum::default()),
        }
    }

    /// At the cut.
    pub(in crate::shard) fn begin_part(&mut self, cut: &Arc<SnapshotCut>, number: Number) {
        if cut.purpose == Purpose::Rewrite {
            self.cut_log(cut, number);
        }
        let job = cut.id;
        let Some(part) = &cut.parts[self.id] else { return self.report_begun(job, Begun::default()) };
        let begun = Begun { keys: self.keys_of_all(), changes: self.stats.dirty.get(), ..Begun::default() };
        let written = if cut.purpose == Purpose::Foreground {
            let written = self.write_part(cut);
            written.map(whole).map_err(|error| Failed::Write(error_text(&error)))
        } else if cut.is_stopped.load(Ordering::Relaxed) {
            Err(Failed::Killed(libc::SIGUSR1))
        } else {
            return match self.begin_in_background(cut, part, number, begun) {
                Ok(Way::Due(due)) => {
                    let shard = self.id;
                    let (purpose, way, since) = (cut.purpose, Way::Due(due), Stamp::now());
                    self.saving.own.push(OwnPart { id: job, purpose, way, since });
                    self.tell_leader(PartReport::Due { job, shard });
                }
                begins => self.has_begun(cut, begun, begins),
            };
        };
        self.report_begun(job, begun);
        self.report_ended(job, written);
    }

    fn report_begun(&mut self, job: JobId, begun: Begun) {
        let shard = self.id;
        self.tell_leader(PartReport::Begun { job, shard, begun });
    }

    fn report_ended(&mut self, job: JobId, written: Written) {
        let shard = self.id;
        self.tell_leader(PartReport::Ended { job, shard, written });
    }

    /// The part is being written, or cannot be.
    fn has_begun(&mut self, cut: &SnapshotCut, mut begun: Begun, begins: Result<Way, Failed>) {
        let id = cut.id;
        if let Ok(Way::Forked(child)) = &begins {
            begun.pid = Some(child.pid());
            begun.fork_us = Some(child.fork_us());
            if let (Purpose::Background, Some(part)) = (cut.purpose, &cut.parts[self.id]) {
                part.rename(format!("temp-{}.rdb", child.pid()).into());
            }
        }
        let failed = match begins {
            Ok(way) => {
                self.saving.own.push(OwnPart { id, purpose: cut.purpose, way, since: Stamp::now() });
                None
            }
            Err(failed) => Some(failed),
        };
        self.report_begun(id, begun);
        if let Some(failed) = failed {
            self.report_ended(id, Err(failed));
        }
    }

    fn begin_in_background(
        &mut self,
        cut: &Arc<SnapshotCut>,
        part: &PartFile,
        number: Number,
        begun: Begun,
    ) -> Result<Way, Failed> {
        if !cut.has_keys {
            // The thread of the writer waits for whoever takes it.
            let writer = self.start_writer(cut, part, &self.turn.header_of(cut))?;
            writer.complete();
            return Ok(Way::HeadOnly(writer));
        }
        let forks = match self.turn.method_of(cut) {
            SnapshotMethod::Fork => true,
            SnapshotMethod::Forkless => false,
            SnapshotMethod::Auto => {
                cut.forks_at_cut() || self.saving.fork_is_cheap(&self.turn, &mut self.store)
            }
        };
        if forks && !cut.forks_one_by_one() {
            let head = self.turn.head_of_part(cut, number, cut.as_commands);
            if let Some(child) = self.fork(cut, part, &head, Image::Store)? {
                return Ok(Way::Forked(child));
            }
        }
        // Values come in pieces here, which there are no commands for. Whoever reads a base sees which form it has.
        let head = self.turn.head_of_part(cut, number, false);
        let saver = Box::new(Forkless::new(cut.format));
        let slots = cut.slots.clone();
        if self.store.begin_snapshot_of(slots, SnapshotOptions::default(), saver).is_err() {
            return Err(Failed::Write("another snapshot is open".to_owned()));
        }
        if forks && cut.forks_one_by_one() {
            return Ok(Way::Due(Box::new(Due { cut: cut.clone(), head, begun, fork_at_us: None })));
        }
        self.write_itself(cut, part, &head)
    }

    /// The open snapshot is written by the shard.
    fn write_itself(&mut self, cut: &SnapshotCut, part: &PartFile, head: &[u8]) -> Result<Way, Failed> {
        let started = self.start_writer(cut, part, head);
        let writer = started.inspect_err(|_| self.store.end_snapshot())?;
        Ok(Way::Forkless(writer))
    }

    fn start_writer(&self, cut: &SnapshotCut, part: &PartFile, head: &[u8]) -> Result<PartWriter, Failed> {
        let options = self.turn.part_options(cut, head, part.ends_file);
        let writer = part.file.try_clone().and_then(|file| PartWriter::start(file, &options));
        writer.map_err(|error| Failed::Write(error_text(&error)))
    }

    /// Forks the child that writes the part. What it uses must be this shard's own memory: it has no other's. `None`: the system refuses, and the shard may write the part itself.
    fn fork(
        &mut self,
        cut: &SnapshotCut,
        part: &PartFile,
        head: &[u8],
        image: Image,
    ) -> Result<Option<Child>, Failed> {
        let file = part.file.try_clone().map_err(|error| Failed::Write(error_text(&error)))?;
        let options = self.turn.part_options(cut, head, part.ends_file);
        let options = PartOptions { as_commands: cut.as_commands, ..options };
        match self.fork_child(cut.purpose, &file, &options, image) {
            Ok(child) => {
                self.executor.note_spike(&self.turn, "fork", child.fork_us() * 1000);
                let used = self.store.used_memory() as u64;
                if used > GIB / 8 {
                    self.saving.fork_us_per_gib = Some(child.fork_us() * GIB / used);
                }
                Ok(Some(child))
            }
            Err(error) if self.turn.method_of(cut) == SnapshotMethod::Auto => {
                crate::log!(
                    Level::Notice,
                    "Shard {} can't fork ({}): it writes its part of the snapshot itself",
                    self.id,
                    error_text(&error)
                );
                Ok(None)
            }
            Err(error) => Err(Failed::Fork(error_text(&error))),
        }
    }

    fn fork_if_due(&mut self) {
        let now_us = self.turn.now_us;
        let is_due = |own: &OwnPart| match &own.way {
            Way::Due(due) => due.fork_at_us.is_some_and(|at_us| now_us >= at_us),
            _ => false,
        };
        let Some(at) = self.saving.own.iter().position(is_due) else { return self.throttle_until_fork() };
        let Way::Due(due) = self.saving.own.remove(at).way else { return };
        let Due { cut, head, begun, .. } = *due;
        let Some(part) = &cut.parts[self.id] else { return };
        let begins = match self.fork(&cut, part, &head, Image::Snapshot) {
            Ok(Some(child)) => Ok(Way::Forked(child)),
            Ok(None) => self.write_itself(&cut, part, &head),
            Err(failed) => Err(failed),
        };
        if !matches!(begins, Ok(Way::Forkless(_))) {
            self.close_snapshot();
        }
        self.has_begun(&cut, begun, begins);
    }

    /// What changes before the fork is kept for it in memory, and that has a bound.
    fn throttle_until_fork(&mut self) {
        if self.saving.own.iter().any(|own| matches!(own.way, Way::Due(_))) {
            let kept = self.store.snapshot_progress().map_or(0, |progress| progress.waiting_bytes);
            self.throttle_writers(false, kept);
        }
    }

    fn fork_child(
        &mut self,
        purpose: Purpose,
        file: &File,
        options: &PartOptions,
        image: Image,
    ) -> std::io::Result<Child> {
        let (name, what) = match purpose {
            Purpose::Rewrite => ("gyre-aof-rewrite", "AOF rewrite"),
            Purpose::Pipe => ("gyre-rdb-pipesave", "RDB"),
            Purpose::Dump => ("gyre-rdb-dumpsave", "RDB"),
            _ => ("gyre-rdb-bgsave", "RDB"),
        };
        let (title, oom_score_adj) = {
            let settings = self.shared.settings();
            let title = settings.title.as_ref().and_then(|title| title.of_child(&self.turn.config, name));
            let score = settings.oom_score.as_ref();
            (title, score.and_then(|score| score.wanted(&self.turn.config, OomRole::Child)))
        };
        let fork = ForkOptions {
            keep: &[],
            purpose: what,
            title: title.as_deref(),
            inherit: Inherit::OwnShard,
            oom_score_adj,
        };
        match image {
            Image::Snapshot => forked::fork_rest(Turn::take(), &mut self.store, file, options, &fork),
            Image::Store => forked::fork_part(Turn::take(), &self.store, file, options, &fork),
        }
    }

    fn keys_of_all(&self) -> u64 {
        (0..self.store.databases()).map(|db| self.store.len(db) as u64).sum()
    }

    /// In each turn: a fork that is due, or a slice of a snapshot without fork. True: there is more to do at once.
    pub(in crate::shard) fn snapshot_slice(&mut self) -> bool {
        if self.saving.own.is_empty() {
            return false;
        }
        self.fork_if_due();
        let Some((purpose, writer)) = forkless(&self.saving.own) else { return false };
        let handed_over = writer.waiting_bytes();
        let kept = self.store.snapshot_progress().map_or(0, |progress| progress.waiting_bytes);
        let for_backup = matches!(purpose, Purpose::Pipe | Purpose::Dump);
        self.throttle_writers(for_backup, handed_over + kept);
        // Who waits for a large value to be saved must not wait for whoever takes the snapshot.
        if handed_over > AHEAD_BYTES && !self.saving.large.are_awaited() {
            return false;
        }
        let Some((_, writer)) = forkless(&self.saving.own) else { return false };
        let started = Stamp::now();
        let (until, is_early) =
            (move || Stamp::now().nanos_since(started) > SLICE_US * 1000, self.walk_is_early());
        if is_early {
            return false;
        }
        let is_slowed = self.turn.config.persistence.rdb_key_save_delay > 0;
        let until = move || is_slowed || until();
        let Some(progress) = self.store.snapshot_step(&until) else { return false };
        while let Some(chunk) = self.store.snapshot_take() {
            writer.put(chunk);
        }
        self.stats.snapshot_keys.set(progress.keys_saved);
        if progress.is_done {
            writer.complete();
            self.store.end_snapshot();
        }
        self.release_saved_values();
        !progress.is_done
    }

    /// `rdb-key-save-delay`, of a snapshot without fork: it has saved more keys than it may have by now. Nobody waits for it asleep.
    fn walk_is_early(&self) -> bool {
        let delay_us = self.turn.config.persistence.rdb_key_save_delay;
        let (Ok(delay_us), Some(progress)) = (u64::try_from(delay_us), self.store.snapshot_progress()) else {
            return false;
        };
        let since = self.saving.own.iter().find(|own| own.holds_store()).map(|own| own.since);
        let passed_us = since.map_or(u64::MAX, |since| Stamp::now().nanos_since(since) / 1000);
        delay_us > 0 && progress.keys_saved.saturating_mul(delay_us) > passed_us
    }

    /// Ten times a second: how far the parts are, and whether they have ended.
    pub(in crate::shard) fn watch_part(&mut self) {
        self.watch_cut();
        let mut at = 0;
        while at < self.saving.own.len() {
            match self.outcome_of(at) {
                None => at += 1,
                Some(written) => {
                    let own = self.saving.own.remove(at);
                    let id = own.id;
                    self.end_own_part(own);
                    self.report_ended(id, written);
                }
            }
        }
    }

    fn outcome_of(&mut self, at: usize) -> Option<Written> {
        let shards = self.turn.slots.shards();
        let Shard { saving, store, stats, .. } = self;
        let bytes_max = waiting_bytes_max(saving.own[at].purpose, shards);
        match &mut saving.own[at].way {
            Way::Due(_) => None,
            Way::Forked(child) => {
                let progress = child.progress();
                stats.snapshot_keys.set(progress.keys);
                stats.snapshot_copied.set(progress.copied_bytes);
                stats.snapshot_copied_peak.set(progress.copied_bytes_peak);
                stats.snapshot_copied_at_us.set(progress.copied_at_us.unwrap_or(0).max(0) as u64);
                end_of_child(child)
            }
            Way::Forkless(writer) => {
                let waiting = store.snapshot_progress().map_or(0, |progress| progress.waiting_bytes);
                if waiting + writer.waiting_bytes() > bytes_max {
                    let why = "it is taken more slowly than the changes come that have to be kept for it";
                    return Some(Err(Failed::Write(why.to_owned())));
                }
                outcome_of_writer(writer)
            }
            Way::HeadOnly(writer) => outcome_of_writer(writer),
        }
    }

    fn end_own_part(&mut self, own: OwnPart) {
        if own.holds_store() {
            self.close_snapshot();
        }
        if self.saving.own.is_empty() {
            for gauge in [
                &self.stats.snapshot_keys,
                &self.stats.snapshot_copied,
                &self.stats.snapshot_copied_peak,
                &self.stats.snapshot_copied_at_us,
            ] {
                gauge.set(0);
            }
        }
    }

    /// The shard has nothing more to do for the snapshot.
    fn close_snapshot(&mut self) {
        self.end_throttle();
        self.store.end_snapshot();
        self.release_saved_values();
    }

    /// The part is not wanted any more.
    pub(super) fn stop_part(&mut self, id: JobId) {
        let Some(at) = self.saving.own.iter().position(|own| own.id == id) else { return };
        if let Way::Forked(child) = &self.saving.own[at].way {
            return child.kill();
        }
        let own = self.saving.own.remove(at);
        if let Way::Due(due) = &own.way {
            let begun = due.begun;
            self.report_begun(id, begun);
        }
        self.end_own_part(own);
        self.report_ended(id, Err(Failed::Killed(libc::SIGUSR1)));
    }
}

fn waiting_bytes_max(purpose: Purpose, shards: usize) -> usize {
    match purpose {
        Purpose::FullSync => SYNC_WAITING_BYTES_MAX / shards,
        _ => WAITING_BYTES_MAX,
    }
}

fn whole(checksummed: FileChecksum) -> Whole {
    Whole { checksummed, copied_bytes: 0 }
}

fn forkless(own: &[OwnPart]) -> Option<(Purpose, &PartWriter)> {
    own.iter().find_map(|own| match &own.way {
        Way::Forkless(writer) => Some((own.purpose, writer)),
        _ => None,
    })
}

fn outcome_of_writer(writer: &PartWriter) -> Option<Written> {
    Some(writer.take_outcome()?.map(whole).map_err(|error| Failed::Write(error_text(&error))))
}

fn end_of_child(child: &mut Child) -> Option<Written> {
    let end = match child.poll() {
        Ok(None) => return None,
        Ok(Some(end)) => end,
        Err(error) => {
            crate::log!(Level::Warning, "Waiting for a child that saves: {}", error_text(&error));
            End::Exited(forked::EXIT_FAILED)
        }
    };
    let progress = child.progress();
    Some(match end {
        End::Exited(0) => Ok(Whole {
            checksummed: FileChecksum { len: progress.written_bytes, crc: progress.crc },
            copied_bytes: progress.copied_bytes_peak,
        }),
        End::Exited(_) => {
            let error = std::io::Error::from_raw_os_error(progress.errno.unwrap_or(libc::EIO));
            Err(Failed::Write(error_text(&error)))
        }
        End::Killed(signal) => Err(Failed::Killed(signal)),
    })
}

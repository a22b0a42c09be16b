//! Rewriting the logs: each shard's gets a new base, and what the base holds goes.
//!
//! The leader keeps the manifest. BGREWRITEAOF goes from shard to shard, so that the memory and the space that it needs are
//! one shard's. A step is: a new increment and the file for the base are opened; at a barrier every log notes the cut, and the
//! shard goes on in the new increment and begins with its base; when that is written, and every log is on the disk
//! up to the cut, the manifest names the new files, and the old ones go. What waits for the disk does so on a thread of its own.
//!
//! When AOF is switched on, all shards take that step together, and the manifest names nothing before it is done.

use super::bases::{delete_history, install, prepare, Prepared};
use super::message::{JobId, LeaderRequest, PartReport, ShardOrder, ThreadReport};
use super::SnapshotCut;
use crate::base::error_text;
use crate::base::log::Level;
use crate::base::text::Text;
use crate::command::CommandError;
use crate::persist::aof::write::{put_after, put_cut};
use crate::persist::aof::{BaseFormat, Folder, FolderError, Layout, Manifest};
use crate::rdb::file::FileChecksum;
use crate::runtime::{background_thread, clock};
use crate::shard::blocking::Asker;
use crate::shard::journal::Journal;
use crate::shard::message::{Answer, AnswerTo};
use crate::shard::saving::Saving;
use crate::shard::turn::TurnState;
use crate::shard::Shard;
use crate::snapshot::{admit, Event, Purpose, Refusal};
use crate::txn::locks::Number;
use std::collections::VecDeque;
use std::fs::File;
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};

/// After so many failures in a row the next try waits, first a minute, then twice as long each time, as in Redis.
const FAILURES_BEFORE_WAITING: u64 = 3;
const WAIT_MIN_S: i64 = 60;
const WAIT_MAX_S: i64 = 3600;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum State {
    #[default]
    Off,
    /// The logs are written, but count only when each shard has a base.
    Starting,
    On,
}

/// The shards that get a base now.
struct Step {
    shards: Vec<usize>,
    /// The number of each one's new increment.
    first_kept: Vec<Option<i64>>,
    format: BaseFormat,
}

/// What the leader knows of the append-only files.
#[derive(Default)]
pub(super) struct Rewrites {
    state: State,
    manifest: Option<Manifest>,
    /// Shards that still get a base in the rewrite in progress.
    left: VecDeque<usize>,
    step: Option<Step>,
    is_active: bool,
    is_scheduled: bool,
    asker: Option<Asker>,
    copied_bytes: u64,
    /// AOF was switched off meanwhile.
    is_given_up: bool,
    /// Who waits until it has begun; bounded by the clients.
    begun: Vec<AnswerTo>,
    /// After so many failures the log has said that the next try waits.
    waits_after: u64,
    /// It left its space on the disk to the logs: not all shards have a new base.
    has_given_way: bool,
}

impl super::Saving {
    /// AOF has been switched on, and a server that started now would not find it.
    pub fn aof_is_starting(&self) -> bool {
        self.rewrites.is_first()
    }
}

impl Rewrites {
    /// AOF has been switched on, and nothing counts of it yet.
    pub fn is_first(&self) -> bool {
        self.state == State::Starting
    }

    pub fn is_active(&self) -> bool {
        self.is_active
    }

    /// The rewrite in progress, if there is one, does not go on with further shards, and counts as failed.
    pub fn give_way(&mut self) {
        self.has_given_way = self.is_active;
        self.left.clear();
    }
}

// The leader.
impl TurnState {
    pub(in crate::shard) fn aof_folder(&self) -> Folder {
        let config = &self.config;
        let dir = std::env::current_dir().unwrap_or_else(|_| PathBuf::from("."));
        Folder::new(&dir, &config.persistence.appenddirname, &config.persistence.appendfilename)
    }
}

impl Saving {
    /// Reads the manifest anew. It is the one in force only where this server's logs are in it, if it writes any, and no rewrite is about
    /// to change it: otherwise it is only what there is to be read.
    pub(in crate::shard) fn reread_manifest(&mut self, turn: &TurnState) -> Result<Manifest, FolderError> {
        let mut manifest = turn.aof_folder().load(turn.slots.shards() as u16)?;
        let rewrites = &self.rewrites;
        let is_in_force = match rewrites.state {
            // Numbers of files begin again where the files are gone, as in Redis.
            State::Off => true,
            State::Starting => false,
            State::On => self.writes(&manifest),
        };
        if is_in_force && !rewrites.is_active {
            delete_history(&turn.aof_folder(), &mut manifest);
            self.rewrites.manifest = Some(manifest.clone());
        }
        Ok(manifest)
    }

    /// Whether the manifest names the increments that are being written.
    fn writes(&self, manifest: &Manifest) -> bool {
        let in_force = self.rewrites.manifest.as_ref().map(Manifest::newest);
        let last =
            |layout: &Layout, shard| layout.chain(shard).and_then(|chain| chain.increments.last().cloned());
        in_force.is_some_and(|in_force| {
            in_force.shards() == manifest.newest().shards()
                && (0..in_force.shards()).all(|shard| last(in_force, shard) == last(manifest.newest(), shard))
        })
    }

    /// `aof-disable-auto-gc` is off again: what it has kept goes.
    pub(in crate::shard) fn collect_history(&mut self, turn: &TurnState) {
        let folder = turn.aof_folder();
        // While a base is put into its place the manifest is elsewhere; what is left goes behind that.
        if self.rewrites.is_active {
            return;
        }
        if let Some(manifest) = self.rewrites.manifest.as_mut().filter(|m| !m.history().is_empty()) {
            delete_history(&folder, manifest);
        }
    }

    /// The logs are open, and this is the manifest that names them.
    pub fn aof_has_started(&mut self, turn: &TurnState, manifest: Manifest) {
        let is_older = manifest.layouts().len() > 1;
        self.rewrites.state = State::On;
        self.rewrites.manifest = Some(manifest);
        turn.shared.status.aof_is_on.store(true, Ordering::Relaxed);
        if is_older {
            crate::log!(Level::Notice, "The AOF was written with another number of shards: rewriting it");
            self.schedule_rewrite(turn);
        }
    }

    /// BGREWRITEAOF where nobody can wait for it to begin.
    pub(in crate::shard) fn schedule_rewrite(&mut self, turn: &TurnState) {
        self.rewrites.is_scheduled = true;
        turn.shared.status.figures().rewrite_is_scheduled = true;
    }

    /// A log has lost what only a rewrite makes good.
    pub(super) fn repair_log(&mut self, turn: &TurnState) {
        if !self.rewrites.is_active && !self.rewrites.is_scheduled {
            self.schedule_rewrite(turn);
        }
    }

    fn unschedule_rewrite(&mut self, turn: &TurnState) {
        self.rewrites.is_scheduled = false;
        turn.shared.status.figures().rewrite_is_scheduled = false;
    }

    /// Shards that have not begun do not get a base.
    pub(super) fn forget_rewrites(&mut self) {
        self.rewrites.left.clear();
    }

    fn waits_after_failures(&mut self, turn: &TurnState) -> bool {
        let (failures, ended_s) = {
            let figures = turn.shared.status.figures();
            (figures.rewrite.failures_in_a_row, figures.rewrite.ended_s)
        };
        if failures < FAILURES_BEFORE_WAITING {
            return false;
        }
        let doublings = (failures - FAILURES_BEFORE_WAITING).min(16) as u32;
        let wait_s = (WAIT_MIN_S << doublings).min(WAIT_MAX_S);
        let waits = ended_s.is_some_and(|ended_s| turn.now_us / 1_000_000 - ended_s < wait_s);
        if waits && std::mem::replace(&mut self.rewrites.waits_after, failures) != failures {
            crate::log!(
                Level::Warning,
                "Background AOF rewrite has repeatedly failed and triggered the limit, will retry in {} minutes",
                wait_s / 60
            );
        }
        waits
    }
}

impl Journal {
    /// What follows in this log comes behind a barrier. After a power failure logs may have kept different ones: from here on the last
    /// one is the same on all shards again, as recovery needs it to know the parts of a transaction as such.
    pub fn note_barrier(&mut self, number: Number) {
        put_cut(self.log.buffer(), number);
        self.log.unit_end();
    }
}

impl Shard {
    /// BGREWRITEAOF.
    pub(in crate::shard) fn bgrewriteaof(&mut self, asker: Asker) {
        if self.saving.is_ending() {
            return self.saving.deferred.push(LeaderRequest::Bgrewriteaof(asker));
        }
        let answer = match admit(Purpose::Rewrite, self.saving.purposes()) {
            Ok(()) => return self.start_rewrites(Some(asker)),
            Err(Refusal::InProgress) => {
                Err(CommandError::other("ERR Background append only file rewriting already in progress"))
            }
            Err(Refusal::Another) => {
                self.saving.schedule_rewrite(&self.turn);
                Ok("Background append only file rewriting scheduled")
            }
        };
        self.answer_asker(asker, answer);
    }

    /// `appendonly` has changed; `must_wait`: inside a transaction.
    pub(in crate::shard) fn switch_aof(&mut self, must_wait: bool) {
        let on = self.shared.current_config().persistence.appendonly;
        match (on, self.saving.rewrites.state) {
            (true, State::Off) => {
                self.saving.rewrites.state = State::Starting;
                self.shared.status.aof_is_on.store(true, Ordering::Relaxed);
                if must_wait || self.saving.is_busy() {
                    self.saving.schedule_rewrite(&self.turn);
                    crate::log!(
                        Level::Notice,
                        "AOF was enabled but there is already another background operation. An AOF background was scheduled to \
                         start when possible."
                    );
                } else {
                    self.start_rewrites(None);
                }
            }
            (false, State::Starting | State::On) => self.stop_aof(),
            _ => {}
        }
    }

    /// Answers OK when a rewrite that is about to begin, because `appendonly` was switched on, has begun; usually at once.
    pub(super) fn answer_when_aof_has_begun(&mut self, answer_to: AnswerTo) {
        let shards = self.turn.slots.shards();
        let rewrite = self.saving.of(Purpose::Rewrite);
        let has_begun = rewrite.is_some_and(|active| active.job.totals.begun == shards);
        let rewrites = &mut self.saving.rewrites;
        if rewrites.is_first() && rewrites.is_active && !has_begun {
            rewrites.begun.push(answer_to);
        } else {
            self.send_answer(answer_to, Ok(Answer::Ok));
        }
    }

    pub(super) fn rewrite_has_begun(&mut self) {
        for answer_to in std::mem::take(&mut self.saving.rewrites.begun) {
            self.send_answer(answer_to, Ok(Answer::Ok));
        }
    }

    /// The data that the logs are of goes. They begin anew with `switch_aof`.
    pub(in crate::shard) fn suspend_aof(&mut self) {
        if self.saving.rewrites.state != State::Off {
            self.stop_aof();
        }
    }

    fn stop_aof(&mut self) {
        let was_starting = self.saving.rewrites.state == State::Starting;
        if self.saving.rewrites.is_active {
            crate::log!(Level::Notice, "Killing AOF child");
            self.saving.rewrites.is_given_up = true;
            self.saving.forget_rewrites();
            if let Some(id) = self.saving.of(Purpose::Rewrite).map(|active| active.cut.id) {
                self.job_event(id, Event::GiveUp);
            }
        }
        self.saving.rewrites.state = State::Off;
        self.saving.unschedule_rewrite(&self.turn);
        self.shared.status.aof_is_on.store(false, Ordering::Relaxed);
        for shard in self.turn.slots.all() {
            self.send(shard, ShardOrder::CloseLog.into());
        }
        if was_starting {
            self.remove_temporary_increments();
        }
    }

    /// What was logged for a base that did not come.
    fn remove_temporary_increments(&mut self) {
        let (folder, shards) = (self.turn.aof_folder(), self.turn.slots.shards() as u16);
        let removed: Vec<_> = (0..shards)
            .map(|shard| folder.delete_temporary_increment(shard, shards))
            .filter(|removed| !removed.files.is_empty())
            .collect();
        for message in removed.iter().flat_map(|removed| &removed.log_messages) {
            crate::log_text!(Level::Notice, message);
        }
        self.off_thread("aof-remove", move || {
            drop(removed);
            ThreadReport::FilesRemoved
        });
    }

    fn start_rewrites(&mut self, asker: Option<Asker>) {
        // In this order: whoever asks sees one of the two.
        self.shared.status.figures().rewrite.begin(clock::unix_us() / 1_000_000);
        self.saving.unschedule_rewrite(&self.turn);
        let rewrites = &mut self.saving.rewrites;
        rewrites.is_active = true;
        rewrites.is_given_up = false;
        rewrites.has_given_way = false;
        rewrites.copied_bytes = 0;
        rewrites.asker = asker;
        rewrites.left = self.turn.slots.all().collect();
        self.next_rewrite_step();
    }

    fn next_rewrite_step(&mut self) {
        let rewrites = &mut self.saving.rewrites;
        let shards: Vec<usize> = match rewrites.state {
            // They count together.
            State::Starting => rewrites.left.drain(..).collect(),
            State::On | State::Off => rewrites.left.pop_front().into_iter().collect(),
        };
        if shards.is_empty() {
            let ok = !rewrites.has_given_way;
            return self.end_rewrites(ok);
        }
        let (state, folder, all) = (rewrites.state, self.turn.aof_folder(), self.turn.slots.shards());
        let manifest = self.saving.rewrites.manifest.clone();
        let format = match self.turn.config.persistence.aof_use_rdb_preamble {
            true => BaseFormat::Rdb,
            false => BaseFormat::Aof,
        };
        self.off_thread("aof-prepare", move || {
            let prepared = prepare(&folder, manifest, state, &shards, all, format).map(Box::new);
            ThreadReport::Prepared { shards, prepared }
        });
    }

    /// The files of a step are open.
    pub(super) fn step_prepared(&mut self, shards: Vec<usize>, prepared: Result<Box<Prepared>, Text>) {
        match prepared {
            Ok(prepared) => self.begin_rewrite_step(shards, *prepared),
            Err(why) => {
                crate::log_text!(Level::Warning, why);
                self.end_rewrites(false);
            }
        }
    }

    fn begin_rewrite_step(&mut self, shards: Vec<usize>, prepared: Prepared) {
        let Prepared { manifest, parts, increments, first_kept, format } = prepared;
        let rewrites = &mut self.saving.rewrites;
        // It is written: also when the step is given up, what follows begins with the increments that it names.
        rewrites.manifest = Some(manifest);
        if rewrites.is_given_up {
            super::remove_files(&parts);
            return self.end_rewrites(false);
        }
        rewrites.step = Some(Step { shards, first_kept, format });
        let asker = rewrites.asker.take();
        self.saving.last_id += 1;
        let checksum = self.turn.config.persistence.rdbchecksum;
        let (id, rdb_format) = (self.saving.last_id, self.turn.rdb_format());
        let cut = SnapshotCut::new(id, Purpose::Rewrite, rdb_format, checksum, parts);
        let (increments, as_commands) = (Mutex::new(increments), format == BaseFormat::Aof);
        let cut = SnapshotCut { increments, as_commands, ..cut };
        self.cut_now(Arc::new(cut), asker);
    }

    /// The bases are written, and the logs are on the disk up to the cut.
    pub(super) fn install_bases(&mut self, id: JobId, cut: &Arc<SnapshotCut>, checksums: Vec<FileChecksum>) {
        let rewrites = &self.saving.rewrites;
        let (Some(step), Some(manifest)) = (&rewrites.step, rewrites.manifest.clone()) else {
            return self.job_event(id, Event::Finished(false));
        };
        if rewrites.is_given_up {
            // AOF was switched off, and may be on again: these bases are of before that.
            return self.job_event(id, Event::Finished(false));
        }
        let (cut, state) = (cut.clone(), rewrites.state);
        let (shards, first_kept, format) = (step.shards.clone(), step.first_kept.clone(), step.format);
        let (folder, all) = (self.turn.aof_folder(), self.turn.slots.shards() as u16);
        let deletes_history = !self.turn.config.persistence.aof_disable_auto_gc;
        crate::log!(Level::Notice, "Background AOF rewrite terminated with success");
        let install_all = move |shards: &[usize]| -> Result<Manifest, Text> {
            let mut manifest = manifest;
            if state == State::Starting {
                folder.mark_beginning().map_err(|error| error.text())?;
            }
            for (shard, first_kept) in shards.iter().zip(first_kept) {
                let Some(part) = &cut.parts[*shard] else { continue };
                install(&folder, &mut manifest, state, (*shard as u16, all), part, format, first_kept)?;
            }
            folder.write(&mut manifest).map_err(|error| error.text())?;
            if deletes_history {
                delete_history(&folder, &mut manifest);
            }
            Ok(manifest)
        };
        self.off_thread("aof-install", move || {
            let installed = install_all(&shards);
            let is_first = state == State::Starting;
            ThreadReport::BasesInstalled { job: id, shards, checksums, is_first, installed }
        });
    }

    /// `is_first`: nothing counted of the logs when the step began.
    pub(super) fn bases_installed(
        &mut self,
        id: JobId,
        shards: &[usize],
        checksums: &[FileChecksum],
        is_first: bool,
        installed: Result<Manifest, Text>,
    ) {
        let manifest = match installed {
            Ok(manifest) => manifest,
            Err(why) => {
                crate::log_text!(Level::Warning, why);
                return self.job_event(id, Event::Finished(false));
            }
        };
        let rewrites = &mut self.saving.rewrites;
        rewrites.manifest = Some(manifest);
        // If AOF was switched off meanwhile, and on again, the logs have a gap that only the next bases close.
        if is_first && !rewrites.is_given_up {
            rewrites.state = State::On;
        }
        for shard in shards.iter().copied() {
            let len = checksums[shard].len;
            self.send(shard, ShardOrder::BaseInstalled { len }.into());
        }
        crate::log!(Level::Notice, "Background AOF rewrite finished successfully");
        self.job_event(id, Event::Finished(true));
    }

    /// A step is over, in whatever way.
    pub(super) fn rewrite_step_ended(&mut self, ok: bool, is_given_up: bool, copied: u64) {
        let rewrites = &mut self.saving.rewrites;
        rewrites.copied_bytes = rewrites.copied_bytes.max(copied);
        rewrites.step = None;
        if is_given_up {
            rewrites.is_given_up = true;
        }
        if ok && !rewrites.is_given_up {
            self.next_rewrite_step();
        } else {
            self.end_rewrites(false);
        }
    }

    fn end_rewrites(&mut self, ok: bool) {
        let rewrites = &mut self.saving.rewrites;
        rewrites.is_active = false;
        rewrites.left.clear();
        let asker = rewrites.asker.take();
        let is_given_up = std::mem::take(&mut rewrites.is_given_up);
        if rewrites.state == State::Starting {
            // It is tried again. In front of its end: whoever asks sees one of the two.
            self.saving.schedule_rewrite(&self.turn);
            self.remove_temporary_increments();
        }
        self.rewrite_has_begun();
        let rewrites = &mut self.saving.rewrites;
        let copied = rewrites.copied_bytes;
        {
            let mut figures = self.shared.status.figures();
            figures.rewrite.copied_bytes = copied;
            if is_given_up {
                figures.rewrite.began_s = None;
            } else {
                figures.rewrite.end(ok, clock::unix_us() / 1_000_000);
            }
        }
        if let Some(asker) = asker {
            self.answer_asker(asker, Err(CommandError::other("ERR")));
        }
    }

    /// Ten times a second: a rewrite that was asked for, or that the size of the logs asks for.
    pub(in crate::shard) fn rewrite_if_due(&mut self) {
        let is_stopping = self.upkeep.housekeeping.stopping || self.shared.status.is_loading();
        if self.saving.is_busy() || is_stopping {
            return;
        }
        if self.saving.rewrites.is_scheduled {
            if !self.saving.waits_after_failures(&self.turn) {
                self.start_rewrites(None);
            }
            return;
        }
        let persistence = &self.turn.config.persistence;
        let percentage = u64::from(persistence.auto_aof_rewrite_percentage);
        if self.saving.rewrites.state != State::On || percentage == 0 {
            return;
        }
        let (mut size, mut base) = (0, 0);
        for stats in &self.shared.stats {
            size += stats.aof_current_size.get();
            base += stats.aof_base_size.get();
        }
        if size <= persistence.auto_aof_rewrite_min_size {
            return;
        }
        let growth = (size as f64 * 100.0 / base.max(1) as f64) as u64;
        if growth >= 100 + percentage && !self.saving.waits_after_failures(&self.turn) {
            crate::log!(Level::Notice, "Starting automatic rewriting of AOF on {}% growth", growth - 100);
            self.start_rewrites(None);
        }
    }

    /// Does what may wait for the disk on a thread of its own, which reports then. `name`: at most 15 bytes.
    fn off_thread(&mut self, name: &str, work: impl FnOnce() -> ThreadReport + Send + 'static) {
        let (shared, id) = (self.shared.clone(), self.id);
        let started = background_thread::spawn_with(name, work, move |work| {
            shared.thread_inbox.post(id, work().into())
        });
        if let Err((_, work)) = started {
            // Better late than never: it is done here, and waited for.
            self.thread_done(work());
        }
    }
}

// Every shard.
impl Shard {
    /// At the cut: the log notes it, and goes on in a new file if it gets a new base.
    pub(super) fn cut_log(&mut self, cut: &SnapshotCut, number: Number) {
        let increment = cut
            .increments
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
            .get_mut(self.id)
            .and_then(Option::take);
        if self.journal.log.is_open() {
            put_cut(self.journal.log.buffer(), number);
            self.journal.log.unit_end();
            self.journal.log.request_sync();
            self.saving.awaited_sync = Some((cut.id, self.journal.log.appended()));
            if let Some(file) = increment {
                self.journal.log.switch(file);
                put_after(self.journal.log.buffer(), number);
                self.journal.log.unit_end();
            }
        } else {
            if let Some(file) = increment {
                self.open_log(file, 0);
            }
            self.tell_leader(PartReport::Durable { job: cut.id });
        }
        self.saving.cut_at = self.journal.log.appended();
    }

    /// From now on what commands do is logged.
    pub fn open_log(&mut self, file: File, len: u64) {
        self.journal.log.open(file, len);
        self.sinks_changed();
    }

    pub(in crate::shard) fn close_log(&mut self) {
        if self.journal.log.is_open() {
            if let Err(error) = self.journal.log.close() {
                crate::log!(Level::Warning, "Error writing to the AOF file: {}", error_text(&error));
            }
            self.sinks_changed();
        }
    }

    /// Ten times a second: what this shard's log wants of the leader.
    pub(in crate::shard) fn heed_log(&mut self) {
        if self.journal.log.wants_space() {
            self.tell_leader(LeaderRequest::GiveWay);
        } else if self.journal.log.wants_rewrite() {
            self.tell_leader(LeaderRequest::RepairLog);
        }
    }

    /// Ten times a second.
    pub(super) fn watch_cut(&mut self) {
        let Some((id, position)) = self.saving.awaited_sync else { return };
        if !self.journal.log.is_open() || self.journal.log.durable() >= position {
            self.saving.awaited_sync = None;
            self.tell_leader(PartReport::Durable { job: id });
        }
    }

    /// The manifest names this shard's new base, of `len` bytes.
    pub(super) fn base_installed(&mut self, len: u64) {
        let size = len + (self.journal.log.appended() - self.saving.cut_at);
        self.journal.log.set_sizes(size, size);
        self.journal.log.repaired();
        self.stats.aof_rewritten_at_s.set((self.turn.now_us / 1_000_000) as u64);
    }
}

//! Loading what was kept: each shard reads the files that concern it, in slices, and answers its clients in between that it
//! is loading.
//!
//! The boot thread decides what is read and in which order (`crate::recovery`), and gives each shard a job for each phase of it.
//! DEBUG RELOAD runs such jobs at once.

mod reload;
mod rendezvous;
mod replay;

use crate::log_text;
use crate::shard::saving::Saving;
use crate::shard::turn::TurnState;
use crate::store::Store;
use std::collections::VecDeque;
use std::fs::File;
use std::path::PathBuf;
use std::sync::atomic::Ordering::Relaxed;

pub use reload::Reload;
pub use rendezvous::RendezvousPoints;

use super::Shard;
use crate::base::log::Level;
use crate::base::Stamp;
use crate::config::SanitizeDumpPayload;
use crate::log;
use crate::persist::aof::scan::has_rdb_preamble;
use crate::rdb::file::{Counts, Failure, Load, LoadOptions, Progress};
use crate::rdb::Checks;
use crate::store::SlotSet;

/// The longest slice, while clients wait to hear that the server is loading.
const SLICE_US: u64 = 2000;

/// A file, or what to do before the next one.
#[derive(Clone, Debug)]
pub enum Step {
    /// Forget what was loaded before.
    Clear,
    /// Forget what was loaded before of these slots.
    Forget(SlotSet),
    /// An RDB file, of which this shard takes the keys of its slots.
    Rdb {
        path: PathBuf,
        /// It is the base of an AOF: expired keys are deleted by what follows.
        is_base: bool,
        /// The slots that the shard which wrote it had; `None`: all.
        owned: Option<SlotSet>,
    },
    /// A file of the log that only this shard wrote, and where what counts of it ends. It may begin with an RDB file.
    Log { path: PathBuf, until: u64 },
    /// A file of a log that was written by another number of shards, and where what counts of it begins and ends. Each shard takes
    /// what concerns its keys, at the same time as the others.
    ForeignLog {
        path: PathBuf,
        from: u64,
        until: u64,
        /// The slots that the shard which wrote it had.
        owned: SlotSet,
    },
    /// Make the file at this path, an RDB file that holds what was loaded: the first base of the log.
    WriteBase { path: PathBuf },
}

/// What a shard has loaded.
#[derive(Clone, Debug, Default)]
pub struct Report {
    pub counts: Counts,
    /// Commands replayed.
    pub commands: u64,
    /// Where the RDB files end that were read, in order.
    pub rdb_ends: Vec<u64>,
    /// The length of the base that was written.
    pub base_len: u64,
}

/// Why a shard could not load its files. What the log needs to know has been logged.
#[derive(Debug)]
pub struct LoadFailed {
    pub path: PathBuf,
    /// gyre-check-rdb may tell more about the file.
    pub is_damaged_rdb: bool,
}

enum Current {
    /// An RDB file, and up to where a log follows it.
    Rdb(PathBuf, Box<Load<File>>, u64),
    Log(PathBuf, Box<replay::Replay>),
}

/// What is told at the end, on the shard's thread.
pub type Done = Box<dyn FnOnce(&mut Shard, Result<Report, LoadFailed>) + Send>;

/// What this shard loads, if it does.
#[derive(Default)]
pub(super) struct Loader {
    pub loading: Option<Box<Loading>>,
    /// DEBUG RELOAD MERGE: keys that are there already are replaced.
    pub merges: bool,
    pub rendezvous: RendezvousPoints,
}

/// A shard's job of one phase.
pub(super) struct Loading {
    steps: VecDeque<Step>,
    current: Option<Current>,
    report: Report,
    /// Bytes that the leader has counted as loaded.
    counted: u64,
    done: Option<Done>,
}

impl Loading {
    fn new(steps: Vec<Step>) -> Loading {
        Loading { steps: steps.into(), current: None, report: Report::default(), counted: 0, done: None }
    }
}

impl TurnState {
    fn count_loaded(&self, loading: &mut Loading, position: u64) {
        let more = position.saturating_sub(loading.counted);
        loading.counted = position;
        self.shared.status.loading.loaded_bytes.fetch_add(more, Relaxed);
    }
}

impl Saving {
    pub(super) fn load_options(&self, turn: &TurnState, store: &mut Store, is_base: bool) -> LoadOptions {
        let persistence = &turn.config.persistence;
        LoadOptions {
            with_checksum: persistence.rdbchecksum && !store.settings.skips_checksums,
            keeps_expired: is_base,
            owned: None,
            replaces: self.loader.merges,
            checks: match persistence.sanitize_dump_payload {
                SanitizeDumpPayload::Yes => Checks::Deep,
                SanitizeDumpPayload::No | SanitizeDumpPayload::Clients => Checks::Mend,
            },
            key_load_delay: persistence.key_load_delay,
        }
    }
}

impl Shard {
    /// Begins to load; `done` is called when that has ended.
    pub fn begin_loading(&mut self, steps: Vec<Step>, done: Done) {
        self.store.expire_on_access = false;
        self.saving.loader.loading = Some(Box::new(Loading { done: Some(done), ..Loading::new(steps) }));
    }

    /// Everything is loaded, and the log is open: what expires from now on is in it. A key that went before would be there again at the
    /// next start, below what was written to it since.
    pub fn end_loading(&mut self) {
        self.store.expire_on_access = true;
    }

    /// While a log is replayed that another number of shards has written, expired keys stay until their deletion comes, and what
    /// flushes or swaps databases is in the log of each of those shards: each time it is about the keys that this one had.
    pub fn replay_for(&mut self, slots: Option<SlotSet>) {
        self.store.expire_on_access = false;
        self.store.flushes_only = slots.and_then(partial);
    }

    /// A slice of loading, if there is a job. True: there is more.
    pub(super) fn load_slice(&mut self) -> bool {
        let Some(mut loading) = self.saving.loader.loading.take() else { return false };
        let started = Stamp::now();
        let until = move || Stamp::now().nanos_since(started) > SLICE_US * 1000;
        match self.load_some(&mut loading, &until) {
            Ok(false) => {
                let waits = matches!(&loading.current, Some(Current::Log(_, replay)) if replay.waits());
                self.saving.loader.loading = Some(loading);
                // Answers of other shards wake this one up; until then the processor is theirs.
                !waits
            }
            outcome => {
                if !self.shared.status.is_loading() {
                    self.store.expire_on_access = true;
                }
                if let Some(done) = loading.done.take() {
                    done(self, outcome.map(|_| loading.report));
                }
                false
            }
        }
    }

    /// Loads until `until` says so. True: all of it is done.
    fn load_some(&mut self, loading: &mut Loading, until: &dyn Fn() -> bool) -> Result<bool, LoadFailed> {
        loop {
            match loading.current.take() {
                Some(Current::Rdb(path, mut load, until_byte)) => {
                    let progress = load.step(&mut self.store, until);
                    self.take_notes(&mut load);
                    match progress {
                        Err(failure) => return Err(self.rdb_failed(path, &failure)),
                        Ok(Progress::Done) => {
                            loading.report.counts.add(load.counts());
                            self.turn.count_loaded(loading, load.position());
                            loading.counted = 0;
                            let end = load.position();
                            loading.report.rdb_ends.push(end);
                            if end < until_byte {
                                loading.current =
                                    Some(begin_log(path, end, until_byte, false, self.own_slots())?);
                            }
                        }
                        Ok(Progress::More) => {
                            self.turn.count_loaded(loading, load.position());
                            loading.current = Some(Current::Rdb(path, load, until_byte));
                        }
                    }
                }
                Some(Current::Log(path, mut replay)) => match self.replay_some(&mut replay, until) {
                    Err(error) => {
                        error.log(&path);
                        return Err(LoadFailed { path, is_damaged_rdb: false });
                    }
                    Ok(is_done) => {
                        self.turn.count_loaded(loading, replay.position());
                        if is_done {
                            loading.report.commands += replay.commands();
                            loading.counted = 0;
                        } else {
                            let waits = replay.waits();
                            loading.current = Some(Current::Log(path, replay));
                            if waits {
                                return Ok(false);
                            }
                        }
                    }
                },
                None => match loading.steps.pop_front() {
                    None => return Ok(true),
                    Some(Step::WriteBase { path }) => loading.report.base_len = self.write_base(path)?,
                    Some(step) => loading.current = self.begin_step(step)?,
                },
            }
            if until() {
                return Ok(false);
            }
        }
    }

    fn begin_step(&mut self, step: Step) -> Result<Option<Current>, LoadFailed> {
        match step {
            Step::Clear => {
                self.store.clear(None);
                while self.store.free_some(usize::MAX) {}
                Ok(None)
            }
            Step::Forget(slots) => {
                self.store.remove_slots(&slots);
                while self.store.free_some(usize::MAX) {}
                Ok(None)
            }
            Step::Rdb { path, is_base, owned } => {
                let options =
                    LoadOptions { owned, ..self.saving.load_options(&self.turn, &mut self.store, is_base) };
                let file = File::open(&path).map_err(|error| {
                    log_text!(
                        Level::Warning,
                        "Fatal error: can't open the RDB file ",
                        path,
                        format_args!(" for reading: {error}")
                    );
                    LoadFailed { path: path.clone(), is_damaged_rdb: false }
                })?;
                match Load::new(file, options) {
                    Ok(load) => Ok(Some(Current::Rdb(path, Box::new(load), 0))),
                    Err(failure) => Err(self.rdb_failed(path, &failure)),
                }
            }
            Step::Log { path, until } => {
                let has_preamble =
                    File::open(&path).and_then(|file| has_rdb_preamble(&file)).unwrap_or_default();
                if !has_preamble {
                    return begin_log(path, 0, until, false, self.own_slots()).map(Some);
                }
                let current = self.begin_step(Step::Rdb { path, is_base: true, owned: self.own_slots() })?;
                Ok(current.map(|current| match current {
                    Current::Rdb(path, load, _) => Current::Rdb(path, load, until),
                    other => other,
                }))
            }
            Step::ForeignLog { path, from, until, owned } => {
                begin_log(path, from, until, true, partial(owned)).map(Some)
            }
            Step::WriteBase { .. } => Ok(None),
        }
    }

    /// Writes what was loaded as the base of this shard's log; returns its length.
    fn write_base(&self, path: PathBuf) -> Result<u64, LoadFailed> {
        let written = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .open(&path)
            .and_then(|file| self.write_whole(&file));
        written.map_err(|error| {
            log_text!(Level::Warning, "Error writing the AOF base file ", path, format_args!(": {error}"));
            LoadFailed { path, is_damaged_rdb: false }
        })
    }

    /// The slots of which keys may be in a file of this shard's own; `None`: all.
    fn own_slots(&self) -> Option<SlotSet> {
        partial(self.store.slots().clone())
    }

    /// What a file says of itself is the same for all shards: one of them tells it.
    fn take_notes(&mut self, load: &mut Load<File>) {
        for note in load.take_notes() {
            if self.turn.is_leader() || note.is_of_key {
                log_text!(note.level, note.text);
            }
        }
        let functions = load.take_functions();
        if self.turn.is_leader() {
            if let Err(why) = self.scripts.load_libraries(&self.turn, &functions) {
                crate::log_text!(
                    Level::Warning,
                    "A library of functions cannot be loaded, and is left out: ",
                    why
                );
            }
            if let Some(bytes) = load.facts().used_memory {
                self.shared.status.loading.used_memory_then.store(bytes, Relaxed);
            }
        }
    }

    fn rdb_failed(&self, path: PathBuf, failure: &Failure) -> LoadFailed {
        for line in failure.log_lines() {
            log!(Level::Warning, "{line}");
        }
        log_text!(Level::Warning, "The file is ", path, format_args!(": {failure}"));
        LoadFailed { path, is_damaged_rdb: failure.is_damage() }
    }
}

/// The slots, unless these are all.
fn partial(slots: SlotSet) -> Option<SlotSet> {
    Some(slots).filter(|slots| !slots.is_all())
}

fn begin_log(
    path: PathBuf,
    from: u64,
    until: u64,
    is_foreign: bool,
    owned: Option<SlotSet>,
) -> Result<Current, LoadFailed> {
    match replay::Replay::open(&path, from, until, is_foreign, owned) {
        Ok(replay) => Ok(Current::Log(path, Box::new(replay))),
        Err(error) => {
            error.log(&path);
            Err(LoadFailed { path, is_damaged_rdb: false })
        }
    }
}

//! Loading what was kept: each shard reads the files that concern it, in slices, and answers its clients in between that it
//! is loading.
//!
//! The boot thread decides what is read and in which order (`crate::recovery`), and gives each shard a job for each phase of it.
//! DEBUG RELOAD runs such jobs at once.

mod reload;
mod replay;

use std::collections::VecDeque;
use std::fs::File;
use std::path::PathBuf;
use std::sync::atomic::Ordering::Relaxed;

pub use reload::Reload;
pub use replay::ReplayError;

use super::Shard;
use crate::config::SanitizeDumpPayload;
use crate::log;
use crate::observe::log::Level;
use crate::persist::rdb::file::{Counts, Failure, Load, LoadOptions, Progress};
use crate::persist::rdb::Checks;
use crate::runtime::clock::Stamp;

/// The longest slice, while clients wait to hear that the server is loading.
const SLICE_US: u64 = 2000;

/// A file, or what to do before the next one.
#[derive(Clone, Debug)]
pub enum Step {
    /// Forget what was loaded before.
    Clear,
    /// An RDB file, of which this shard takes the keys of its slots.
    Rdb {
        path: PathBuf,
        /// It is the base of an AOF: expired keys are deleted by what follows.
        is_base: bool,
    },
    /// An append-only file that only this shard wrote, and where what counts of it begins and ends.
    Aof { path: PathBuf, from: u64, until: u64 },
}

/// What a shard has loaded.
#[derive(Clone, Debug, Default)]
pub struct Report {
    pub counts: Counts,
    /// Commands replayed.
    pub commands: u64,
}

/// Why a shard could not load its files. What the log needs to know has been logged.
#[derive(Debug)]
pub struct LoadFailed {
    pub path: PathBuf,
    /// gyre-check-rdb may tell more about the file.
    pub is_damaged_rdb: bool,
}

enum Current {
    Rdb(PathBuf, Box<Load<File>>),
    Aof(PathBuf, Box<replay::Replay>),
}

/// What is told at the end, on the shard's thread.
pub type Done = Box<dyn FnOnce(&mut Shard, Result<Report, LoadFailed>) + Send>;

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

impl Shard {
    /// Begins to load; `done` is called when that has ended.
    pub fn begin_loading(&mut self, steps: Vec<Step>, done: Done) {
        self.store.expire_on_access = false;
        self.loading = Some(Box::new(Loading { done: Some(done), ..Loading::new(steps) }));
    }

    /// A slice of loading, if there is a job. True: there is more.
    pub(super) fn load_slice(&mut self) -> bool {
        let Some(mut loading) = self.loading.take() else { return false };
        let started = Stamp::now();
        let until = move || Stamp::now().nanos_since(started) > SLICE_US * 1000;
        match self.load_some(&mut loading, &until) {
            Ok(false) => {
                self.loading = Some(loading);
                true
            }
            outcome => {
                self.store.expire_on_access = true;
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
                Some(Current::Rdb(path, mut load)) => {
                    let progress = load.step(&mut self.store, until);
                    self.take_notes(&mut load);
                    match progress {
                        Err(failure) => return Err(self.rdb_failed(path, &failure)),
                        Ok(Progress::Done) => {
                            loading.report.counts.add(load.counts());
                            self.count_loaded(loading, load.position());
                            loading.counted = 0;
                        }
                        Ok(Progress::More) => {
                            self.count_loaded(loading, load.position());
                            loading.current = Some(Current::Rdb(path, load));
                        }
                    }
                }
                Some(Current::Aof(path, mut replay)) => match self.replay_some(&mut replay, until) {
                    Err(error) => {
                        error.log(&path);
                        return Err(LoadFailed { path, is_damaged_rdb: false });
                    }
                    Ok(is_done) => {
                        self.count_loaded(loading, replay.position());
                        if is_done {
                            loading.report.commands += replay.commands();
                            loading.counted = 0;
                        } else {
                            loading.current = Some(Current::Aof(path, replay));
                        }
                    }
                },
                None => match loading.steps.pop_front() {
                    None => return Ok(true),
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
            Step::Rdb { path, is_base } => {
                let options = self.load_options(is_base);
                let file = File::open(&path).map_err(|error| {
                    log!(
                        Level::Warning,
                        "Fatal error: can't open the RDB file {} for reading: {error}",
                        path.display()
                    );
                    LoadFailed { path: path.clone(), is_damaged_rdb: false }
                })?;
                match Load::new(file, options) {
                    Ok(load) => Ok(Some(Current::Rdb(path, Box::new(load)))),
                    Err(failure) => Err(self.rdb_failed(path, &failure)),
                }
            }
            Step::Aof { path, from, until } => match replay::Replay::open(&path, from, until) {
                Ok(replay) => Ok(Some(Current::Aof(path, Box::new(replay)))),
                Err(error) => {
                    error.log(&path);
                    Err(LoadFailed { path, is_damaged_rdb: false })
                }
            },
        }
    }

    fn load_options(&self, is_base: bool) -> LoadOptions {
        let persistence = &self.config.persistence;
        LoadOptions {
            with_checksum: persistence.rdbchecksum,
            keeps_expired: is_base,
            replaces: self.merges_at_load,
            checks: match persistence.sanitize_dump_payload {
                SanitizeDumpPayload::Yes => Checks::Duplicates,
                SanitizeDumpPayload::No | SanitizeDumpPayload::Clients => Checks::Encoding,
            },
            key_load_delay: persistence.key_load_delay,
        }
    }

    /// What a file says of itself is the same for all shards: one of them tells it.
    fn take_notes(&mut self, load: &mut Load<File>) {
        let notes = load.take_notes();
        if self.id == 0 {
            for note in notes {
                log!(note.level, "{}", note.text);
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
        LoadFailed { path, is_damaged_rdb: failure.is_damage() }
    }

    fn count_loaded(&self, loading: &mut Loading, position: u64) {
        let more = position.saturating_sub(loading.counted);
        loading.counted = position;
        self.shared.status.loading.loaded_bytes.fetch_add(more, Relaxed);
    }
}

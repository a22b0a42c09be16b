//! DEBUG RELOAD and DEBUG LOADAOF: what was kept, read back into a running server, for tests.
//!
//! All of it happens at one barrier, so that clients see the data before or after, never in between. Until then they are answered
//! that the server is loading, as at its start.

use crate::shard::turn::TurnState;
use std::cell::Cell;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::atomic::Ordering;
use std::sync::Arc;

use super::{LoadFailed, Report, Step};
use crate::base::log::Level;
use crate::command::table::KeyAccess;
use crate::command::CommandError;
use crate::persist::aof::{Chain, Folder, Manifest};
use crate::shard::blocking::Asker;
use crate::shard::transactions::{Answers, BarrierAnswer, BarrierWork, Phase};
use crate::shard::Shard;

/// The options of DEBUG RELOAD.
#[derive(Clone, Copy, Debug)]
pub struct Reload {
    pub saves: bool,
    pub flushes: bool,
    pub merges: bool,
}

const LOAD_AOF_FAILED: &str = "ERR Error trying to load the AOF files, check server logs.";

/// All shards load, and the client is answered.
fn phases_of_reload(options: Reload, asker: Asker) -> Vec<Phase> {
    let answer = move |shard: &mut Shard, answers: Answers| {
        shard.shared.status.loading.in_progress.store(false, Ordering::Relaxed);
        let answer = if answers.iter().any(BarrierAnswer::failed) {
            Err(CommandError::other("ERR Error trying to load the RDB dump, check server logs."))
        } else {
            crate::log!(Level::Warning, "DB reloaded by DEBUG RELOAD");
            Ok("OK")
        };
        shard.answer_asker(asker, answer);
        false
    };
    vec![
        Phase::here(|shard, _| shard.turn.announce_loading()),
        Phase::Each(BarrierWork::LoadRdb(options)),
        Phase::here(answer),
    ]
}

impl TurnState {
    /// From now on clients are answered that the server is loading.
    fn announce_loading(&self) -> bool {
        let loading = &self.shared.status.loading;
        loading.began_s.store((self.now_us / 1_000_000) as u64, Ordering::Relaxed);
        loading.total_bytes.store(0, Ordering::Relaxed);
        loading.loaded_bytes.store(0, Ordering::Relaxed);
        loading.in_progress.store(true, Ordering::Relaxed);
        false
    }
}

impl Shard {
    /// DEBUG RELOAD, on the shard that leads.
    pub fn reload(&mut self, options: Reload, asker: Asker) {
        if !options.saves {
            return self.at_barrier(KeyAccess::Write, phases_of_reload(options, asker));
        }
        self.give_up_snapshots();
        let is_saved = Rc::new(Cell::new(true));
        let saved = is_saved.clone();
        let mut phases = self.saving.save_at_once(&self.turn, move |_, result| {
            saved.set(result.is_ok());
            false
        });
        phases.push(Phase::decide(move |shard, _| {
            if is_saved.get() {
                return phases_of_reload(options, asker);
            }
            shard.answer_asker(asker, Err(CommandError::other("ERR")));
            Vec::new()
        }));
        self.at_barrier(KeyAccess::Write, phases);
    }

    /// DEBUG LOADAOF, on the shard that leads.
    pub fn load_aof(&mut self, asker: Asker) {
        let folder = self.turn.aof_folder();
        let manifest = match self.saving.reread_manifest(&self.turn) {
            Ok(manifest) if manifest.is_empty() => {
                crate::log_text!(Level::Warning, "There is no AOF in ", folder.path());
                return self.answer_asker(asker, Err(CommandError::other(LOAD_AOF_FAILED)));
            }
            Ok(manifest) if usize::from(manifest.newest().shards()) == self.turn.slots.shards() => manifest,
            Ok(_) => {
                let why = "ERR the AOF files are those of another number of shards, wait for their rewrite";
                return self.answer_asker(asker, Err(CommandError::other(why)));
            }
            Err(error) => {
                crate::log_text!(Level::Warning, error.text());
                return self.answer_asker(asker, Err(CommandError::other(LOAD_AOF_FAILED)));
            }
        };
        let answer = move |shard: &mut Shard, answers: Answers| {
            shard.shared.status.loading.in_progress.store(false, Ordering::Relaxed);
            let answer = if answers.iter().any(BarrierAnswer::failed) {
                Err(CommandError::other(LOAD_AOF_FAILED))
            } else {
                shard.turn.note_all_saved();
                crate::log!(Level::Notice, "Append Only File loaded by DEBUG LOADAOF");
                Ok("OK")
            };
            shard.answer_asker(asker, answer);
            false
        };
        let phases = vec![
            Phase::here(|shard, _| shard.turn.announce_loading()),
            Phase::Each(BarrierWork::LoadLog(Arc::new((folder, manifest)))),
            Phase::here(answer),
        ];
        self.at_barrier(KeyAccess::Write, phases);
    }

    /// `done` learns whether all of the shard's log could be loaded.
    pub(in crate::shard) fn load_log_in_turns(
        &mut self,
        folder: &Folder,
        manifest: &Manifest,
        done: impl FnOnce(&mut Shard, bool) + Send + 'static,
    ) {
        if self.end_log().is_err() {
            // What is in memory is more than what would be read.
            return done(self, false);
        }
        let mut steps = vec![Step::Clear];
        for entry in manifest.newest().chain(self.id as u16).into_iter().flat_map(Chain::files) {
            let path = folder.path_of(&entry.name);
            match folder.len_of(&entry.name) {
                Ok(until) => steps.push(Step::Log { path, until }),
                Err(error) => {
                    crate::log_text!(Level::Warning, error.text());
                    return done(self, false);
                }
            }
        }
        self.load_in_turns(steps, done);
    }

    pub(in crate::shard) fn load_rdb_in_turns(
        &mut self,
        options: Reload,
        done: impl FnOnce(&mut Shard, bool) + Send + 'static,
    ) {
        let path = PathBuf::from(&self.turn.config.persistence.dbfilename);
        let mut steps = Vec::new();
        if options.flushes {
            steps.push(Step::Clear);
        }
        steps.push(Step::Rdb { path, is_base: false, owned: None });
        self.saving.loader.merges = options.merges;
        self.load_in_turns(steps, move |shard, is_loaded| {
            shard.saving.loader.merges = false;
            done(shard, is_loaded);
        });
    }

    fn load_in_turns(&mut self, steps: Vec<Step>, done: impl FnOnce(&mut Shard, bool) + Send + 'static) {
        for step in &steps {
            if let Step::Rdb { path, .. } | Step::Log { path, .. } = step {
                let len = std::fs::metadata(path).map_or(0, |file| file.len());
                self.shared.status.loading.total_bytes.fetch_add(len, Ordering::Relaxed);
            }
        }
        self.store.log_enabled = false;
        let ended = move |shard: &mut Shard, outcome: Result<Report, LoadFailed>| {
            shard.end_loading();
            // `appendonly` may have been switched off meanwhile: a log that is closed must get nothing.
            shard.store.log_enabled = shard.journal.wanted().units;
            for db in 0..shard.store.databases() {
                shard.show_len(db);
            }
            done(shard, outcome.is_ok());
        };
        self.begin_loading(steps, Box::new(ended));
    }
}

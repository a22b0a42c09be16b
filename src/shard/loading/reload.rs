//! DEBUG RELOAD and DEBUG LOADAOF: what was kept, read back into a running server, for tests.
//!
//! All of it happens at one barrier, so that clients see the data before or after, never in between.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use super::{Loading, Step};
use crate::command::table::KeyAccess;
use crate::command::CommandError;
use crate::observe::log::Level;
use crate::persist::aof::{Chain, Folder, Manifest};
use crate::shard::blocking::Asker;
use crate::shard::transactions::Phase;
use crate::shard::Shard;

/// The options of DEBUG RELOAD.
#[derive(Clone, Copy, Debug)]
pub struct Reload {
    pub saves: bool,
    pub flushes: bool,
    pub merges: bool,
}

const LOAD_AOF_FAILED: &str = "ERR Error trying to load the AOF files, check server logs.";

impl Shard {
    /// DEBUG RELOAD, on the shard that leads.
    pub fn reload(&mut self, options: Reload, asker: Asker) {
        let failed: Arc<Mutex<Option<&'static str>>> = Arc::default();
        let note = |failed: &Mutex<Option<&'static str>>, what| {
            failed.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).get_or_insert(what);
        };
        let mut phases = Vec::new();
        if options.saves {
            self.give_up_snapshot();
            let failed = failed.clone();
            phases.extend(self.save_at_once(move |_, result| {
                if result.is_err() {
                    note(&failed, "ERR");
                }
                false
            }));
        }
        let theirs = failed.clone();
        phases.push(Phase::Each(Arc::new(move |shard: &mut Shard, _| {
            let is_saved = theirs.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).is_none();
            if is_saved && !shard.load_rdb_at_once(options) {
                note(&theirs, "ERR Error trying to load the RDB dump, check server logs.");
            }
        })));
        phases.push(Phase::Here(Box::new(move |shard, _| {
            let failed = failed.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).take();
            let answer = match failed {
                None => {
                    crate::log!(Level::Warning, "DB reloaded by DEBUG RELOAD");
                    Ok("OK")
                }
                Some(error) => Err(CommandError::other(error)),
            };
            shard.answer_asker(asker, answer);
            false
        })));
        self.at_barrier(KeyAccess::Write, phases);
    }

    /// DEBUG LOADAOF, on the shard that leads.
    pub fn load_aof(&mut self, asker: Asker) {
        let folder = self.aof_folder();
        let manifest = match self.reread_manifest() {
            Ok(manifest) if usize::from(manifest.newest().shards()) == self.topology.shards => manifest,
            Ok(_) => {
                let why = "ERR the AOF files are those of another number of shards, wait for their rewrite";
                return self.answer_asker(asker, Err(CommandError::other(why)));
            }
            Err(error) => {
                crate::log!(Level::Warning, "{error}");
                return self.answer_asker(asker, Err(CommandError::other(LOAD_AOF_FAILED)));
            }
        };
        let failed = Arc::new(AtomicBool::new(false));
        let theirs = failed.clone();
        let load = move |shard: &mut Shard, _| {
            if !shard.load_log_at_once(&folder, &manifest) {
                theirs.store(true, Ordering::Relaxed);
            }
        };
        let answer = move |shard: &mut Shard, _| {
            let answer = if failed.load(Ordering::Relaxed) {
                Err(CommandError::other(LOAD_AOF_FAILED))
            } else {
                shard.note_all_saved();
                crate::log!(Level::Notice, "Append Only File loaded by DEBUG LOADAOF");
                Ok("OK")
            };
            shard.answer_asker(asker, answer);
            false
        };
        self.at_barrier(KeyAccess::Write, vec![Phase::Each(Arc::new(load)), Phase::Here(Box::new(answer))]);
    }

    fn load_log_at_once(&mut self, folder: &Folder, manifest: &Manifest) -> bool {
        self.end_log();
        let mut steps = vec![Step::Clear];
        for entry in manifest.newest().chain(self.id as u16).into_iter().flat_map(Chain::files) {
            let path = folder.path_of(&entry.name);
            match folder.len_of(&entry.name) {
                Ok(until) => steps.push(Step::Log { path, until }),
                Err(error) => {
                    crate::log!(Level::Warning, "{error}");
                    return false;
                }
            }
        }
        self.load_at_once(steps)
    }

    fn load_rdb_at_once(&mut self, options: Reload) -> bool {
        let path = PathBuf::from(&self.config.persistence.dbfilename);
        let mut steps = Vec::new();
        if options.flushes {
            steps.push(Step::Clear);
        }
        steps.push(Step::Rdb { path, is_base: false });
        self.merges_at_load = options.merges;
        let is_loaded = self.load_at_once(steps);
        self.merges_at_load = false;
        is_loaded
    }

    fn load_at_once(&mut self, steps: Vec<Step>) -> bool {
        let logs = std::mem::replace(&mut self.store.log_enabled, false);
        self.store.expire_on_access = false;
        let outcome = self.load_some(&mut Loading::new(steps), &|| false);
        self.store.expire_on_access = true;
        self.store.log_enabled = logs;
        for db in 0..self.store.databases() {
            self.show_len(db);
        }
        outcome.is_ok()
    }
}

//! DEBUG RELOAD and DEBUG LOADAOF: what was kept, read back into a running server, for tests.
//!
//! All of it happens at one barrier, so that clients see the data before or after, never in between.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use super::{Loading, Step};
use crate::command::table::KeyAccess;
use crate::command::CommandError;
use crate::observe::log::Level;
use crate::shard::blocking::Asker;
use crate::shard::Shard;
use crate::txn::transaction::Phase;

/// The options of DEBUG RELOAD.
#[derive(Clone, Copy, Debug)]
pub struct Reload {
    pub saves: bool,
    pub flushes: bool,
    pub merges: bool,
}

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

    fn load_rdb_at_once(&mut self, options: Reload) -> bool {
        let path = PathBuf::from(&self.config.persistence.dbfilename);
        let mut steps = Vec::new();
        if options.flushes {
            steps.push(Step::Clear);
        }
        steps.push(Step::Rdb { path, is_base: false });
        let logs = std::mem::replace(&mut self.store.log_enabled, false);
        self.store.expire_on_access = false;
        self.merges_at_load = options.merges;
        let outcome = self.load_some(&mut Loading::new(steps), &|| false);
        self.merges_at_load = false;
        self.store.expire_on_access = true;
        self.store.log_enabled = logs;
        for db in 0..self.store.databases() {
            self.show_len(db);
        }
        outcome.is_ok()
    }
}

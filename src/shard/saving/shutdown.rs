//! The way to the end: what is in progress is given up, what is to be kept is written, and only then the shards stop.
//!
//! The last save happens at a barrier that is not left any more, so that nothing is acknowledged behind it that would be lost.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};

use super::{join, Purpose};
use crate::command::table::KeyAccess;
use crate::command::CommandError;
use crate::observe::log::Level;
use crate::persist::rdb::file::Stretch;
use crate::runtime::signals;
use crate::runtime::sys::error_text;
use crate::shard::blocking::Asker;
use crate::shard::shared::Shutdown as Stage;
use crate::shard::Shard;
use crate::txn::transaction::Phase;

/// How the server is to end.
#[derive(Clone, Copy, Debug, Default)]
pub struct Wish {
    /// `None`: if there are save points.
    pub save: Option<bool>,
    /// Even if saving fails.
    pub force: bool,
    /// Whose command it was; otherwise a signal's.
    pub asker: Option<Asker>,
}

#[derive(Debug, Default)]
pub(super) struct Shutdown {
    /// Waits for the snapshot in progress to be gone.
    waiting: Option<Wish>,
    /// The last save is being written.
    is_under_way: bool,
}

impl Shard {
    /// To be called on the shard that leads.
    pub fn begin_shutdown(&mut self, wish: Wish) {
        if self.saving.shutdown.waiting.is_some() || self.saving.shutdown.is_under_way {
            return;
        }
        crate::log!(Level::Warning, "User requested shutdown...");
        self.shared.shutdown.store(Stage::Saving as u64, Ordering::Release);
        self.saving.shutdown.waiting = Some(wish);
        if self.give_up_snapshot() {
            crate::log!(Level::Warning, "There is a child saving an .rdb. Killing it!");
        } else {
            self.shutdown_may_go_on();
        }
    }

    /// Nothing is in progress any more that a shutdown might wait for.
    pub(super) fn shutdown_may_go_on(&mut self) {
        let Some(wish) = self.saving.shutdown.waiting.take() else { return };
        if self.shared.status.is_loading() {
            // What is not there yet must not replace what is on the disk.
            return self.stop_all();
        }
        self.saving.shutdown.is_under_way = true;
        let mut phases = vec![Phase::Each(Arc::new(|shard: &mut Shard, _| shard.end_log()))];
        if wish.save.unwrap_or(!self.config.persistence.save.0.is_empty()) {
            crate::log!(Level::Notice, "Saving the final RDB snapshot before exiting.");
            phases.extend(self.save_at_once(move |shard, result| shard.last_save_ended(wish, result)));
        } else {
            phases.push(Phase::Here(Box::new(|shard, _| {
                shard.stop_all();
                true
            })));
        }
        self.at_barrier(KeyAccess::Write, phases);
    }

    /// Phases of a barrier that write the keyspace to `dbfilename`; `then` says whether the barrier is to stay.
    pub(in crate::shard) fn save_at_once(
        &mut self,
        then: impl FnOnce(&mut Shard, Result<(), String>) -> bool + Send + 'static,
    ) -> Vec<Phase> {
        let cut = match self.new_cut(Purpose::Foreground, None) {
            Ok(cut) => Arc::new(cut),
            Err(why) => return vec![Phase::Here(Box::new(|shard, _| then(shard, Err(why))))],
        };
        type Parts = Vec<Option<Result<Stretch, String>>>;
        let written: Arc<Mutex<Parts>> = Arc::new(Mutex::new(vec![None; self.topology.shards]));
        let lock = |parts: &Mutex<Parts>| -> Parts {
            std::mem::take(&mut *parts.lock().unwrap_or_else(|poisoned| poisoned.into_inner()))
        };
        let (parts, results) = (cut.clone(), written.clone());
        let write = move |shard: &mut Shard, _| {
            let result = shard.write_part(&parts).map_err(|error| error_text(&error));
            results.lock().unwrap_or_else(|poisoned| poisoned.into_inner())[shard.id] = Some(result);
        };
        let join = move |shard: &mut Shard, _| {
            let stretches: Result<Vec<Stretch>, String> = lock(&written).into_iter().flatten().collect();
            let result = match stretches {
                Ok(stretches) => join::join(&cut, &stretches),
                Err(why) => Err(format!("Write error while saving DB to the disk: {why}")),
            };
            match &result {
                Ok(()) => crate::log!(Level::Notice, "DB saved on disk"),
                Err(why) => {
                    super::remove_files(&cut.parts);
                    crate::log!(Level::Warning, "{why}");
                }
            }
            shard.note_saved(Purpose::Foreground, result.is_ok(), 0);
            then(shard, result)
        };
        vec![Phase::Each(Arc::new(write)), Phase::Here(Box::new(join))]
    }

    fn last_save_ended(&mut self, wish: Wish, result: Result<(), String>) -> bool {
        if result.is_ok() {
            self.stop_all();
            return true;
        }
        if wish.force {
            crate::log!(Level::Warning, "Error trying to save the DB. Exit anyway.");
            self.stop_all();
            return true;
        }
        crate::log!(Level::Warning, "Error trying to save the DB, can't exit.");
        self.saving.shutdown.is_under_way = false;
        self.shared.shutdown.store(Stage::No as u64, Ordering::Release);
        match wish.asker {
            Some(asker) => {
                let error = CommandError::other("ERR Errors trying to SHUTDOWN. Check logs.");
                self.answer_asker(asker, Err(error));
            }
            None => crate::log!(
                Level::Warning,
                "SIGTERM received but errors trying to shut down the server, check the logs for more information"
            ),
        }
        false
    }

    fn stop_all(&mut self) {
        self.shared.shutdown.store(Stage::Asked as u64, Ordering::Release);
        signals::ring();
    }
}

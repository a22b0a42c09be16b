//! The way to the end: what is in progress is given up, what is to be kept is written, and only then the shards stop.
//!
//! The last save happens at a barrier that is not left any more, so that nothing is acknowledged behind it that would be lost. The server
//! does not end when that save fails, or when the append-only files lack something that was acknowledged, unless it is told to.

use crate::shard::connections::Connections;
use crate::shard::saving::Saving;
use crate::shard::turn::TurnState;
use std::sync::atomic::Ordering;
use std::sync::Arc;

use super::{join, SnapshotCut};
use crate::base::error_text;
use crate::base::log::Level;
use crate::base::text::Text;
use crate::command::table::KeyAccess;
use crate::command::CommandError;
use crate::rdb::file::FileChecksum;
use crate::runtime::signals;
use crate::shard::blocking::Asker;
use crate::shard::shared::Shutdown as Stage;
use crate::shard::transactions::{Answers, BarrierAnswer, BarrierWork, Phase};
use crate::shard::Shard;
use crate::snapshot::Purpose;
use crate::text;

/// DEBUG PAUSE-CRON holds up a shutdown that a signal has asked for, as in Redis, but not for longer.
const CRON_PAUSE_MAX_MS: i64 = 1000;

/// How the server is to end.
#[derive(Clone, Copy, Debug, Default)]
pub struct ShutdownRequest {
    /// `None`: if there are save points.
    pub save: Option<bool>,
    /// Even if saving fails.
    pub force: bool,
    /// Whose command it was; otherwise a signal's.
    pub asker: Option<Asker>,
}

#[derive(Debug, Default)]
pub(super) struct Shutdown {
    /// A signal's, which is looked at ten times a second as in Redis, and when it came.
    asked: Option<(ShutdownRequest, i64)>,
    /// Waits for the snapshot in progress to be gone.
    waiting: Option<ShutdownRequest>,
    /// The last save is being written.
    is_under_way: bool,
    /// Others who have asked for it meanwhile: answered if the server does not end.
    others: Vec<Asker>,
}

// The shard that leads.
impl Saving {
    /// Phases of a barrier that write the keyspace to `dbfilename`; `then` says whether the barrier is to stay.
    pub(in crate::shard) fn save_at_once(
        &mut self,
        turn: &TurnState,
        then: impl FnOnce(&mut Shard, Result<(), Text>) -> bool + 'static,
    ) -> Vec<Phase> {
        let cut = match self.new_cut(turn, Purpose::Foreground, None) {
            Ok(cut) => Arc::new(cut),
            Err(why) => {
                crate::log_text!(Level::Warning, why);
                return vec![Phase::here(|shard, _| then(shard, Err(why)))];
            }
        };
        let written = cut.clone();
        let join = move |shard: &mut Shard, answers: Answers| {
            let part = |answer| match answer {
                BarrierAnswer::Written(result) => result,
                _ => Err("a shard has written no part".to_owned()),
            };
            let checksums: Result<Vec<FileChecksum>, String> = answers.into_iter().map(part).collect();
            let result = match checksums {
                Ok(checksums) => join::join(&cut, &checksums),
                Err(why) => Err(text!("Write error while saving DB to the disk: ", why)),
            };
            match &result {
                Ok(()) => {
                    crate::log!(Level::Notice, "DB saved on disk");
                    shard.turn.note_all_saved();
                }
                Err(why) => {
                    super::remove_files(&cut.parts);
                    crate::log_text!(Level::Warning, why);
                }
            }
            shard.turn.note_saved(Purpose::Foreground, result.is_ok(), 0);
            then(shard, result)
        };
        vec![Phase::Each(BarrierWork::WritePart(written)), Phase::here(join)]
    }
}

impl Connections {
    /// What a script that runs has done is not in the log, nor will it be; there may be no end of it to wait for.
    fn stop_beside_script(&mut self, turn: &TurnState) {
        crate::log!(Level::Warning, "A script is still running, and ends unfinished.");
        self.stop_all(turn);
    }

    fn stop_all(&mut self, turn: &TurnState) {
        // Whoever is told that the server ends finds nobody listening any more.
        self.end_listening();
        turn.shared.shutdown.store(Stage::Asked as u64, Ordering::Release);
        signals::ring();
    }
}

impl Shard {
    /// A signal asks for it.
    pub fn shut_down_by_signal(&mut self, request: ShutdownRequest) {
        let asked_ms = self.saving.shutdown.asked.map_or(self.turn.now_ms(), |(_, asked_ms)| asked_ms);
        self.saving.shutdown.asked = Some((request, asked_ms));
        self.shut_down_if_asked();
    }

    /// Ten times a second, and at once where nothing keeps it from that.
    pub(in crate::shard) fn shut_down_if_asked(&mut self) {
        let (waits, now_ms) = (self.upkeep.housekeeping.is_off, self.turn.now_ms());
        let is_due = |asked: &mut (ShutdownRequest, i64)| !waits || now_ms - asked.1 >= CRON_PAUSE_MAX_MS;
        if let Some((request, _)) = self.saving.shutdown.asked.take_if(is_due) {
            self.begin_shutdown(request);
        }
    }

    /// SHUTDOWN ABORT: possible as long as nothing is being written.
    pub(in crate::shard) fn abort_shutdown(&mut self, asker: Asker) {
        let shutdown = &mut self.saving.shutdown;
        let (asked, waiting) = (shutdown.asked.take(), shutdown.waiting.take());
        if asked.is_none() && waiting.is_none() {
            let error = CommandError::other("ERR No shutdown in progress.");
            return self.answer_asker(asker, Err(error));
        }
        if let Some(request) = waiting {
            self.refuse_shutdown(request);
        }
        crate::log!(Level::Notice, "Shutdown manually aborted.");
        self.answer_asker(asker, Ok("OK"));
    }

    pub fn begin_shutdown(&mut self, request: ShutdownRequest) {
        if self.saving.shutdown.waiting.is_some() || self.saving.shutdown.is_under_way {
            if request.save == Some(false) && self.shared.scripts.is_any_slow() {
                // The one before waits for the end of a script, which may never come.
                return self.connections.stop_beside_script(&self.turn);
            }
            return self.saving.shutdown.others.extend(request.asker);
        }
        crate::log!(Level::Notice, "User requested shutdown...");
        let rewrites = self.saving.of(Purpose::Rewrite).is_some();
        if self.saving.rewrites.is_first() && self.saving.rewrites.is_active() {
            // What was written before AOF was switched on is in no file yet.
            if !request.force {
                crate::log!(Level::Warning, "Writing initial AOF, can't exit.");
                return self.fail_shutdown(request);
            }
            crate::log!(Level::Warning, "Writing initial AOF. Exit anyway.");
        }
        self.shared.shutdown.store(Stage::Saving as u64, Ordering::Release);
        self.saving.shutdown.waiting = Some(request);
        if !self.give_up_snapshots() {
            return self.shutdown_may_go_on();
        }
        if rewrites {
            crate::log!(Level::Warning, "There is a child rewriting the AOF. Killing it!");
        } else {
            crate::log!(Level::Warning, "There is a child saving an .rdb. Killing it!");
        }
    }

    fn fail_shutdown(&mut self, request: ShutdownRequest) {
        crate::log!(
            Level::Warning,
            "Errors trying to shut down the server. Check the logs for more information."
        );
        self.refuse_shutdown(request);
    }

    fn refuse_shutdown(&mut self, request: ShutdownRequest) {
        self.shared.shutdown.store(Stage::No as u64, Ordering::Release);
        let others = std::mem::take(&mut self.saving.shutdown.others);
        for asker in request.asker.into_iter().chain(others) {
            let error = CommandError::other("ERR Errors trying to SHUTDOWN. Check logs.");
            self.answer_asker(asker, Err(error));
        }
    }

    /// Nothing is in progress any more that a shutdown might wait for.
    pub(super) fn shutdown_may_go_on(&mut self) {
        if !self.saving.jobs.is_empty() {
            return;
        }
        let Some(request) = self.saving.shutdown.waiting.take() else { return };
        if self.shared.status.is_loading() {
            // What is not there yet must not replace what is on the disk.
            return self.connections.stop_all(&self.turn);
        }
        if request.save == Some(false) && self.shared.scripts.is_any_slow() {
            return self.connections.stop_beside_script(&self.turn);
        }
        self.saving.shutdown.is_under_way = true;
        let decide = move |shard: &mut Shard, answers: Answers| {
            shard.end_after_logs(request, answers.iter().any(BarrierAnswer::failed))
        };
        self.at_barrier(KeyAccess::Write, [Phase::Each(BarrierWork::EndLog), Phase::decide(decide)]);
    }

    /// The logs have ended; `is_missed`: without something that was acknowledged. What is to be done then.
    fn end_after_logs(&mut self, request: ShutdownRequest, is_missed: bool) -> Vec<Phase> {
        if is_missed && (request.force || request.save == Some(false)) {
            crate::log!(Level::Warning, "The AOF lacks writes that were acknowledged. Exit anyway.");
        } else if is_missed {
            crate::log!(
                Level::Warning,
                "The AOF lacks writes that were acknowledged, can't exit. They are written as soon as the disk takes them: free \
                 some space. To exit without them use SHUTDOWN NOSAVE or SHUTDOWN FORCE."
            );
            self.saving.shutdown.is_under_way = false;
            self.fail_shutdown(request);
            return Vec::new();
        }
        if request.save.unwrap_or(!self.turn.config.persistence.save.0.is_empty()) {
            crate::log!(Level::Notice, "Saving the final RDB snapshot before exiting.");
            self.saving.save_at_once(&self.turn, move |shard, result| shard.last_save_ended(request, result))
        } else {
            let stop = |shard: &mut Shard, _: Answers| {
                shard.connections.stop_all(&shard.turn);
                true
            };
            vec![Phase::here(stop)]
        }
    }

    /// At a barrier: this shard's part of a snapshot that all write at once.
    pub(in crate::shard) fn write_part_at_once(&mut self, cut: &SnapshotCut) -> Result<FileChecksum, String> {
        self.write_part(cut).map_err(|error| error_text(&error))
    }

    fn last_save_ended(&mut self, request: ShutdownRequest, result: Result<(), Text>) -> bool {
        if result.is_ok() {
            self.connections.stop_all(&self.turn);
            return true;
        }
        if request.force {
            crate::log!(Level::Warning, "Error trying to save the DB. Exit anyway.");
            self.connections.stop_all(&self.turn);
            return true;
        }
        crate::log!(Level::Warning, "Error trying to save the DB, can't exit.");
        self.saving.shutdown.is_under_way = false;
        self.fail_shutdown(request);
        false
    }
}

//! Snapshots of all shards in one RDB file: SAVE, BGSAVE, the save points, and what is left when they fail.
//!
//! Shard 0 leads. It opens the files, and at a barrier each shard fixes its state and begins with its part (`part`): by
//! writing, at once or in slices, or by a forked child, for which it is told when if there are several shards. When all parts
//! are written, a thread of its own joins them and puts the file in its place (`join`). One snapshot is under way at a time,
//! whatever it is for. `persist/persistence.md` has the whole.

mod backup;
mod bases;
mod cut;
mod join;
mod large;
mod pace;
mod part;
mod points;
mod rewrite;
mod shutdown;

use std::collections::VecDeque;
use std::fs::File;
use std::sync::atomic::Ordering;
use std::sync::Arc;

pub(super) use backup::{Content, Dump, Handover};
pub use cut::remove_temporary_files;
use cut::{remove_files, Begun, Cut, Failed, PartFile, Purpose, Written};
pub(super) use part::OwnPart;
pub use shutdown::Wish;

use super::blocking::Asker;
use super::message::{Call, Message};
use super::Shard;
use crate::base::log::Level;
use crate::command::table::KeyAccess;
use crate::command::CommandError;
use crate::config::SnapshotMethod;
use crate::persist::snapshot::forked::{self, PartOptions};
use crate::rdb::file::Stretch;
use crate::resp::Reply;
use crate::runtime::clock;
use crate::shard::transactions::Phase;

/// Between two shards' forks: what has waited on one for the other is answered meanwhile, microseconds.
const FORK_PAUSE_US: i64 = 20_000;

/// The leader's record of the snapshot in progress.
struct Job {
    cut: Arc<Cut>,
    begun: usize,
    /// Shards that are past the cut and are to fork one by one, and whether one of them has been told to.
    due: VecDeque<usize>,
    is_forking: bool,
    /// Sums over the shards.
    changes: u64,
    keys: u64,
    pid: Option<i32>,
    /// The longest fork.
    fork_us: u64,
    /// Of each shard; nothing is expected of those that write no part.
    written: Vec<Option<Written>>,
    /// Who is told when it has begun (BGSAVE) or ended (SAVE).
    asker: Option<Asker>,
    /// It is not wanted any more: its end is no failure.
    is_given_up: bool,
    /// It has been stopped, to leave its space on the disk to the logs: that is one.
    gives_way: bool,
}

#[derive(Default)]
pub(super) struct Saving {
    last_id: u64,
    job: Option<Job>,
    /// BGSAVE SCHEDULE, or BGSAVE inside MULTI.
    is_scheduled: bool,
    /// When the last one in the background began, Unix milliseconds.
    tried_at_ms: i64,
    /// This shard's own part.
    own: Option<OwnPart>,
    pace: pace::Pace,
    /// Where this shard's log was cut last, and until that is on the disk, for which snapshot.
    cut_at: u64,
    awaited_sync: Option<(u64, u64)>,
    /// What this shard's last fork took.
    fork_us_per_gib: Option<u64>,
    rewrites: rewrite::Rewrites,
    large: large::LargeValues,
    /// The backup in progress.
    backup: Option<backup::Backup>,
    /// This shard's clients that wait for a dump until what they were answered before is sent.
    handovers: Vec<Handover>,
    shutdown: shutdown::Shutdown,
    /// Commands that came while a snapshot that was given up had not ended yet; bounded by the clients, who wait for them.
    deferred: Vec<Call>,
    /// The configuration is being changed by a command of a transaction, in front of whose end nothing can begin.
    pub is_inside_transaction: bool,
    /// FLUSHALL has emptied what `dbfilename` holds.
    is_outdated: bool,
    /// Who waits until it does not hold that any more; bounded by the clients.
    flushed: Vec<Call>,
}

impl Saving {
    pub fn is_busy(&self) -> bool {
        self.job.is_some()
    }

    fn is_ending(&self) -> bool {
        self.job.as_ref().is_some_and(|job| job.is_given_up)
    }
}

// The leader.
impl Shard {
    /// Runs `call` on the shard that leads.
    pub(super) fn tell_leader(&mut self, call: impl FnOnce(&mut Shard) + Send + 'static) {
        self.send(0, Message::Call(Box::new(call)));
    }

    /// Answers a command about snapshots, of whatever shard's client.
    pub(super) fn answer_asker(&mut self, asker: Asker, answer: Result<&'static str, CommandError>) {
        let Asker { home, later } = asker;
        let tell = move |shard: &mut Shard| {
            let mut reply = Reply::default();
            match answer {
                Ok(text) => reply.simple(text),
                Err(error) => {
                    let text = error.text();
                    shard.stats.count_error(&text);
                    reply.error(&text);
                }
            }
            shard.complete(later, reply);
        };
        self.send(home, Message::Call(Box::new(tell)));
    }

    /// BGSAVE.
    pub(super) fn bgsave(&mut self, schedule: bool, method: Option<SnapshotMethod>, asker: Asker) {
        if self.saving.is_ending() {
            return self.saving.deferred.push(Box::new(move |leader| leader.bgsave(schedule, method, asker)));
        }
        let answer = match self.saving.job.as_ref().map(|job| job.cut.purpose) {
            None if !self.saving.rewrites.is_active() => {
                return self.start_snapshot(Purpose::Background, method, Some(asker));
            }
            Some(Purpose::Background) => {
                Err(CommandError::other("ERR Background save already in progress"))
            }
            _ if schedule => {
                self.saving.is_scheduled = true;
                Ok("Background saving scheduled")
            }
            _ => Err(CommandError::other(
                "ERR Another child process is active (AOF?): can't BGSAVE right now. Use BGSAVE SCHEDULE in order to \
                 schedule a BGSAVE whenever possible.",
            )),
        };
        self.answer_asker(asker, answer);
    }

    /// BGSAVE where nobody can wait for it to begin.
    pub(super) fn schedule_bgsave(&mut self) {
        self.saving.is_scheduled = true;
    }

    /// SAVE.
    pub(super) fn save(&mut self, asker: Asker) {
        if self.saving.is_ending() {
            return self.saving.deferred.push(Box::new(move |leader| leader.save(asker)));
        }
        if self.saving.is_busy() {
            let answer = Err(CommandError::other("ERR Background save already in progress"));
            return self.answer_asker(asker, answer);
        }
        self.start_snapshot(Purpose::Foreground, None, Some(asker));
    }

    /// FLUSHALL: what is being saved is not wanted any more, and with save points what was saved must not come back.
    pub(super) fn all_flushed(&mut self) {
        if self.shared.status.is_loading() {
            // A log says it again; what follows in it is not there yet.
            return;
        }
        if self.saving.job.as_ref().is_some_and(|job| job.cut.purpose == Purpose::Background) {
            self.give_up_snapshot();
        }
        if !self.turn.config.persistence.save.0.is_empty() {
            self.saving.is_outdated = true;
            self.save_if_outdated();
        }
    }

    /// Does `call` when the file that FLUSHALL has made obsolete is replaced, or at once if that has to wait for a rewrite.
    pub(super) fn when_flushed(&mut self, call: Box<dyn FnOnce(&mut Shard) + Send>) {
        let is_saving = self.saving.job.as_ref().is_some_and(|job| job.cut.purpose != Purpose::Rewrite);
        if is_saving && !self.saving.rewrites.is_active() {
            self.saving.flushed.push(call);
        } else {
            call(self);
        }
    }

    fn save_if_outdated(&mut self) {
        if self.saving.is_outdated && !self.saving.is_busy() && !self.saving.rewrites.is_active() {
            self.saving.is_outdated = false;
            self.start_snapshot(Purpose::Foreground, None, None);
        }
    }

    /// A snapshot has ended, and everything that belongs to it.
    fn go_on_after_snapshot(&mut self) {
        for call in std::mem::take(&mut self.saving.deferred) {
            call(self);
        }
        self.shutdown_may_go_on();
        self.save_if_outdated();
        if !self.saving.is_busy() {
            for call in std::mem::take(&mut self.saving.flushed) {
                call(self);
            }
        }
        // One save after the other must not keep a rewrite that is scheduled waiting for ever.
        self.rewrite_if_due();
    }

    fn start_snapshot(&mut self, purpose: Purpose, method: Option<SnapshotMethod>, asker: Option<Asker>) {
        if purpose == Purpose::Background {
            self.saving.is_scheduled = false;
            self.saving.tried_at_ms = self.now_ms();
            self.shared.status.figures().rdb.begin(clock::unix_us() / 1_000_000);
        }
        let cut = match self.new_cut(purpose, method) {
            Ok(cut) => Arc::new(cut),
            Err(why) => {
                crate::log!(Level::Warning, "{why}");
                self.note_saved(purpose, false, 0);
                if let Some(asker) = asker {
                    self.answer_asker(asker, Err(CommandError::other("ERR")));
                }
                return;
            }
        };
        self.cut_now(cut, asker);
    }

    /// Begins with the parts, at a barrier.
    fn cut_now(&mut self, cut: Arc<Cut>, asker: Option<Asker>) {
        let none: Written = Ok((Stretch::default(), 0));
        self.saving.job = Some(Job {
            cut: cut.clone(),
            begun: 0,
            due: VecDeque::new(),
            is_forking: false,
            changes: 0,
            keys: 0,
            pid: None,
            fork_us: 0,
            written: cut.parts.iter().map(|part| part.is_none().then(|| none.clone())).collect(),
            asker,
            is_given_up: false,
            gives_way: false,
        });
        if !cut.purpose.is_backup() {
            self.tell_logs_of_snapshot(true);
        }
        // Those that fork at the cut do better one by one.
        let in_turn = !cut.forks_one_by_one();
        let each = Arc::new(move |shard: &mut Shard, number| shard.begin_part(&cut, number));
        let phase = if in_turn { Phase::InTurn(each) } else { Phase::Each(each) };
        self.at_barrier(KeyAccess::Read, [phase]);
    }

    /// While a snapshot is being written the logs may do without syncs, and know what takes the space on the disk.
    fn tell_logs_of_snapshot(&mut self, is_busy: bool) {
        for shard in self.turn.slots.all() {
            let tell = move |shard: &mut Shard| shard.journal.log.set_rewriting(is_busy);
            self.send(shard, Message::Call(Box::new(tell)));
        }
    }

    /// Writes this shard's keys as the base of its log, and waits for the disk; returns the file's length. Before there are clients.
    pub(super) fn write_whole(&self, file: &File) -> std::io::Result<u64> {
        let format = self.rdb_format();
        let persistence = &self.turn.config.persistence;
        let as_commands = !persistence.aof_use_rdb_preamble;
        let head = if as_commands { self.head_of_commands(0) } else { self.header(format, Some(0)) };
        let options = self.options_of_part(format, persistence.rdbchecksum, &head, true);
        let options = PartOptions { as_commands, ..options };
        let stretch = forked::write_part(&self.store, file, &options, &mut || {})?;
        Ok(stretch.len)
    }

    /// A shard is past the cut, and waits to be told to fork.
    fn part_is_due(&mut self, id: u64, shard: usize) {
        let Some(job) = self.saving.job.as_mut().filter(|job| job.cut.id == id) else { return };
        job.due.push_back(shard);
        self.fork_next(id, 0);
    }

    /// Has the next shard fork after a pause, unless one is at it or has not come to the cut.
    fn fork_next(&mut self, id: u64, pause_us: i64) {
        let shards = self.turn.slots.shards();
        let Some(job) = self.saving.job.as_mut() else { return };
        if job.is_forking || job.begun + job.due.len() < shards {
            return;
        }
        let Some(shard) = job.due.pop_front() else { return };
        job.is_forking = true;
        let at_us = clock::unix_us() + pause_us;
        self.send(shard, Message::Call(Box::new(move |shard: &mut Shard| shard.may_fork(id, at_us))));
    }

    /// A shard has begun with its part.
    fn part_begun(&mut self, id: u64, begun: Begun) {
        let shards = self.turn.slots.shards();
        let Some(job) = self.saving.job.as_mut().filter(|job| job.cut.id == id) else { return };
        job.begun += 1;
        job.changes += begun.changes;
        job.keys += begun.keys;
        job.pid = job.pid.or(begun.pid);
        if let Some(fork_us) = begun.fork_us {
            job.fork_us = job.fork_us.max(fork_us);
            let mut figures = self.shared.status.figures();
            figures.last_fork_us = job.fork_us;
            figures.forks += 1;
        }
        self.shared.status.snapshot_keys_total.store(job.keys, Ordering::Relaxed);
        job.is_forking = false;
        let pause_us = begun.fork_us.map_or(0, |_| FORK_PAUSE_US);
        self.fork_next(id, pause_us);
        let Some(job) = self.saving.job.as_mut() else { return };
        if job.begun < shards || job.cut.purpose == Purpose::Foreground {
            return;
        }
        let what = job.cut.purpose.name();
        let answer = match job.cut.purpose {
            Purpose::Rewrite => "Background append only file rewriting started",
            Purpose::Pipe => "Background pipesave started",
            _ => "Background saving started",
        };
        match job.pid {
            Some(pid) => crate::log!(Level::Notice, "{what} started by pid {pid}"),
            None => crate::log!(Level::Notice, "{what} started without fork"),
        }
        if job.cut.purpose == Purpose::Dump {
            // The dump is the answer.
            return;
        }
        if let Some(asker) = job.asker.take() {
            self.answer_asker(asker, Ok(answer));
        }
        self.rewrite_has_begun();
    }

    /// A shard's part has ended.
    fn part_written(&mut self, id: u64, shard: usize, written: Written) {
        let Some(job) = self.saving.job.as_mut().filter(|job| job.cut.id == id) else { return };
        let has_failed = written.is_err();
        if let Some(backup) = &self.saving.backup {
            backup.part_ended(shard, &written);
        }
        job.written[shard] = Some(written);
        if has_failed {
            // The others' work is for nothing.
            self.stop_parts(id);
        }
        let Some(job) = self.saving.job.as_ref() else { return };
        if job.written.iter().any(Option::is_none) {
            return;
        }
        let stretches: Option<Vec<Stretch>> = job
            .written
            .iter()
            .map(|written| written.as_ref().and_then(|w| w.as_ref().ok()).map(|(stretch, _)| *stretch))
            .collect();
        match stretches {
            stretches if job.cut.purpose.is_backup() => {
                let checksum = job.cut.checksum;
                self.backup_written(id, stretches, checksum);
            }
            None => self.snapshot_ended(id, Err(())),
            Some(stretches) if job.cut.purpose == Purpose::Rewrite => self.bases_written(id, stretches),
            Some(stretches) => {
                let (cut, shared) = (job.cut.clone(), self.shared.clone());
                join::on_thread(cut, stretches, move |result| {
                    let tell = move |shard: &mut Shard| {
                        let result = result.map_err(|error| crate::log!(Level::Warning, "{error}"));
                        shard.snapshot_ended(id, result);
                    };
                    shared.mail.post(0, Message::Call(Box::new(tell)));
                });
            }
        }
    }

    fn snapshot_ended(&mut self, id: u64, result: Result<(), ()>) {
        let Some(job) = self.saving.job.take_if(|job| job.cut.id == id) else { return };
        let purpose = job.cut.purpose;
        self.shared.status.snapshot_keys_total.store(0, Ordering::Relaxed);
        if result.is_err() {
            remove_files(&job.cut.parts);
        }
        self.tell_logs_of_snapshot(false);
        let what = match purpose {
            Purpose::Rewrite => "Background AOF rewrite",
            _ => "Background saving",
        };
        let mut copied = 0;
        if job.is_given_up && purpose == Purpose::Background {
            crate::log!(Level::Warning, "{what} terminated by signal {}", libc::SIGUSR1);
        }
        for written in job.written.iter().flatten() {
            match written {
                Ok((_, bytes)) => copied += bytes,
                Err(_) if job.is_given_up => {}
                Err(Failed::Fork(why)) if purpose == Purpose::Rewrite => {
                    crate::log!(Level::Warning, "Can't rewrite append only file in background: fork: {why}");
                }
                Err(Failed::Fork(why)) => {
                    crate::log!(Level::Warning, "Can't save in background: fork: {why}");
                }
                // The other parts are stopped when one has failed.
                Err(Failed::Killed(libc::SIGUSR1)) => {}
                Err(Failed::Killed(signal)) => {
                    crate::log!(Level::Warning, "{what} terminated by signal {signal}");
                }
                Err(Failed::Write(why)) => {
                    crate::log!(Level::Warning, "Write error while saving DB to the disk: {why}");
                    match purpose {
                        Purpose::Background => crate::log!(Level::Warning, "Background saving error"),
                        Purpose::Rewrite => crate::log!(Level::Warning, "{what} terminated with error"),
                        _ => {}
                    }
                }
            }
        }
        if purpose == Purpose::Rewrite {
            if let Some(asker) = job.asker {
                self.answer_asker(asker, Err(CommandError::other("ERR")));
            }
            self.rewrite_step_ended(result, job.is_given_up, copied);
            join::close_files(job.cut);
            return self.go_on_after_snapshot();
        }
        if result.is_ok() {
            crate::log!(Level::Notice, "DB saved on disk");
            if purpose == Purpose::Background {
                crate::log!(Level::Notice, "Background saving terminated with success");
            }
            self.shared.status.saved_changes.store(job.changes, Ordering::Relaxed);
        }
        if job.is_given_up {
            self.shared.status.figures().rdb.began_s = None;
        } else {
            self.note_saved(purpose, result.is_ok(), copied);
        }
        if let Some(asker) = job.asker {
            let answer = match (purpose, result) {
                (Purpose::Foreground, Ok(())) => Ok("OK"),
                _ => Err(CommandError::other("ERR")),
            };
            self.answer_asker(asker, answer);
        }
        join::close_files(job.cut);
        self.go_on_after_snapshot();
    }

    fn note_saved(&mut self, purpose: Purpose, ok: bool, copied: u64) {
        let now_s = clock::unix_us() / 1_000_000;
        let status = &self.shared.status;
        let mut figures = status.figures();
        match purpose {
            Purpose::Background => {
                figures.rdb.copied_bytes = copied;
                figures.rdb.end(ok, now_s);
            }
            Purpose::Foreground if ok => figures.rdb.ok = true,
            _ => {}
        }
        if ok {
            figures.saved_at_s = now_s;
            figures.rdb_saves += 1;
        }
        if ok || purpose == Purpose::Background {
            status.save_failed.store(!ok, Ordering::Relaxed);
        }
    }

    /// Ends the snapshot in progress, of which nothing is to be left. False: there is none.
    pub(super) fn give_up_snapshot(&mut self) -> bool {
        self.forget_rewrites();
        let Some(job) = &mut self.saving.job else { return false };
        job.is_given_up = true;
        let id = job.cut.id;
        if let Some(backup) = &self.saving.backup {
            backup.give_up();
        }
        self.stop_parts(id);
        true
    }

    /// The disk has no room for what clients write: what only needs room to be faster or safer later gives way. Monitoring
    /// is to see that, and the next try to come after a pause: it has failed.
    pub(super) fn give_way(&mut self) {
        // A backup takes no space.
        let takes_space = |job: &&mut Job| !job.gives_way && !job.is_given_up && !job.cut.purpose.is_backup();
        let Some(job) = self.saving.job.as_mut().filter(takes_space) else { return };
        job.gives_way = true;
        let id = job.cut.id;
        crate::log!(
            Level::Warning,
            "The AOF can't be written: the snapshot in progress is given up, to leave it the space on the disk"
        );
        self.saving.rewrites.give_way();
        self.stop_parts(id);
        self.drop_bases_in_the_way(id);
    }

    fn stop_parts(&mut self, id: u64) {
        if let Some(job) = self.saving.job.as_ref().filter(|job| job.cut.id == id) {
            job.cut.is_stopped.store(true, Ordering::Relaxed);
        }
        for shard in self.turn.slots.all() {
            self.send(shard, Message::Call(Box::new(move |shard: &mut Shard| shard.stop_part(id))));
        }
    }
}

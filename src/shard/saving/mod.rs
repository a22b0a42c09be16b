//! Snapshots of all shards: SAVE, BGSAVE, the save points, backups, and what is left when they fail.
//!
//! One shard leads. What it decides is written without I/O in `crate::snapshot`; here it is carried out. The leader opens the files, and
//! at a barrier each shard fixes its state and begins with its part (`part`): by writing, at once or in slices, or by a forked child, for
//! which it is told when if there are several shards. When all parts are written, a thread of its own joins them and puts the file
//! in its place (`join`). Several may be under way (`crate::snapshot::admit`). `message` has what the shards tell each other,
//! `persist/persistence.md` the whole.

mod backup;
mod bases;
mod cut;
mod dispatch;
mod join;
mod large;
pub mod message;
mod part;
mod points;
mod rewrite;
mod shutdown;
pub mod sync;
mod throttle;

use crate::shard::turn::TurnState;
use std::fs::File;
use std::sync::atomic::Ordering;
use std::sync::Arc;

pub use backup::Content;
pub(super) use backup::Handover;
pub use cut::remove_temporary_files;
pub use cut::SnapshotCut;
use cut::{remove_files, PartFile};
use message::{FlushAnswer, JobId, LeaderRequest, ShardOrder, ThreadReport};
pub(super) use part::OwnPart;
pub use shutdown::ShutdownRequest;

use super::blocking::Asker;
use super::loading::Loader;
use super::message::Message;
use super::{Shard, LEADER};
use crate::base::log::Level;
use crate::command::table::KeyAccess;
use crate::command::CommandError;
use crate::config::SnapshotMethod;
use crate::persist::snapshot::forked::{self, PartOptions};
use crate::rdb::file::FileChecksum;
use crate::resp::Reply;
use crate::runtime::clock;
use crate::shard::transactions::{BarrierWork, Phase};
use crate::snapshot::{admit, Action, Begun, Event, Failed, Job, Purpose, Refusal, State, Totals};

/// Between two shards' forks: what has waited on one for the other is answered meanwhile, microseconds.
const FORK_PAUSE_US: i64 = 20_000;

/// A snapshot that is under way, at the leader.
struct Active {
    cut: Arc<SnapshotCut>,
    job: Job,
    /// Who is told when it has begun (BGSAVE) or ended (SAVE).
    asker: Option<Asker>,
    /// Of a stream.
    stream: Option<backup::Stream>,
}

#[derive(Default)]
pub(super) struct Saving {
    pub loader: Loader,
    last_id: JobId,
    /// At the leader. Those that write the own files are one at a time, and streams are bounded by their kinds.
    jobs: Vec<Active>,
    /// BGSAVE SCHEDULE, or BGSAVE inside MULTI.
    is_scheduled: bool,
    /// When the last one in the background began, Unix milliseconds.
    tried_at_ms: i64,
    /// This shard's own parts, one for each job.
    own: Vec<OwnPart>,
    throttle: throttle::Throttle,
    /// Where this shard's log was cut last, and until that is on the disk, for which job.
    cut_at: u64,
    awaited_sync: Option<(JobId, u64)>,
    /// Snapshots under way that need the disk, as this shard has heard.
    on_disk: usize,
    /// What this shard's last fork took.
    fork_us_per_gib: Option<u64>,
    rewrites: rewrite::Rewrites,
    large: large::LargeValues,
    /// This shard's clients that wait for a dump until what they were answered before is sent.
    handovers: Vec<Handover>,
    shutdown: shutdown::Shutdown,
    /// Commands that came while a snapshot that was given up had not ended yet; bounded by the clients, who wait for them.
    deferred: Vec<LeaderRequest>,
    /// The configuration is being changed by a command of a transaction, in front of whose end nothing can begin.
    pub is_inside_transaction: bool,
    /// FLUSHALL has emptied what `dbfilename` holds.
    is_outdated: bool,
    /// Who waits until it does not hold that any more; bounded by the clients.
    flushed: Vec<FlushAnswer>,
}

impl Saving {
    fn job(&mut self, id: JobId) -> Option<&mut Active> {
        self.jobs.iter_mut().find(|active| active.cut.id == id)
    }

    fn of(&self, purpose: Purpose) -> Option<&Active> {
        self.jobs.iter().find(|active| active.job.purpose == purpose)
    }

    /// What is under way; a rewrite counts from its first step to its last.
    fn purposes(&self) -> impl Iterator<Item = Purpose> + '_ {
        let rewrite = self.rewrites.is_active().then_some(Purpose::Rewrite);
        self.jobs.iter().map(|active| active.job.purpose).chain(rewrite)
    }

    /// Whether something is under way that writes the own files.
    fn is_busy(&self) -> bool {
        self.purposes().any(|purpose| !purpose.is_stream())
    }

    /// What was given up has not ended yet.
    fn is_ending(&self) -> bool {
        self.jobs.iter().any(|active| active.job.is_given_up() && !active.job.purpose.is_stream())
    }
}

// The leader.
impl TurnState {
    fn note_saved(&self, purpose: Purpose, ok: bool, copied: u64) {
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
}

impl Shard {
    /// Asks the shard that leads.
    pub(super) fn tell_leader(&mut self, request: impl Into<Message>) {
        self.send(LEADER, request.into());
    }

    /// Answers a command about snapshots, of whatever shard's client.
    pub(super) fn answer_asker(&mut self, asker: Asker, answer: Result<&'static str, CommandError>) {
        let Asker { home, later } = asker;
        let mut reply = Reply::default();
        match answer {
            Ok(text) => reply.simple(text),
            Err(error) => {
                let text = error.text();
                self.stats.count_error(&text);
                reply.error(&text);
            }
        }
        self.send(home, Message::Complete { later, reply: Box::new(reply) });
    }

    /// BGSAVE.
    fn bgsave(&mut self, schedule: bool, method: Option<SnapshotMethod>, asker: Asker) {
        if self.saving.is_ending() {
            return self.saving.deferred.push(LeaderRequest::Bgsave { schedule, method, asker });
        }
        let is_saving = self.saving.of(Purpose::Background).is_some();
        let answer = match admit(Purpose::Background, self.saving.purposes()) {
            Ok(()) => return self.start_snapshot(Purpose::Background, method, Some(asker)),
            Err(Refusal::InProgress) if is_saving => {
                Err(CommandError::other("ERR Background save already in progress"))
            }
            Err(_) if schedule => {
                self.saving.is_scheduled = true;
                Ok("Background saving scheduled")
            }
            Err(_) => Err(CommandError::other(
                "ERR Another child process is active (AOF?): can't BGSAVE right now. Use BGSAVE SCHEDULE in order to \
                 schedule a BGSAVE whenever possible.",
            )),
        };
        self.answer_asker(asker, answer);
    }

    /// SAVE.
    fn save(&mut self, asker: Asker) {
        if self.saving.is_ending() {
            return self.saving.deferred.push(LeaderRequest::Save(asker));
        }
        let jobs = self.saving.jobs.iter().map(|active| active.job.purpose);
        if admit(Purpose::Foreground, jobs).is_err() {
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
        if let Some(id) = self.saving.of(Purpose::Background).map(|active| active.cut.id) {
            self.job_event(id, Event::GiveUp);
        }
        if !self.turn.config.persistence.save.0.is_empty() {
            self.saving.is_outdated = true;
            self.save_if_outdated();
        }
    }

    /// Has FLUSHALL answered when the file that it has made obsolete is replaced, or at once if that has to wait for a rewrite.
    fn answer_when_flushed(&mut self, answer: Box<FlushAnswer>) {
        let saves = [Purpose::Background, Purpose::Foreground];
        let is_saving = saves.into_iter().any(|purpose| self.saving.of(purpose).is_some());
        if is_saving && !self.saving.rewrites.is_active() {
            self.saving.flushed.push(*answer);
        } else {
            self.send(answer.coordinator, ShardOrder::Flushed(answer).into());
        }
    }

    fn save_if_outdated(&mut self) {
        if self.saving.is_outdated && !self.saving.is_busy() {
            self.saving.is_outdated = false;
            self.start_snapshot(Purpose::Foreground, None, None);
        }
    }

    /// A snapshot has ended, and everything that belongs to it.
    fn go_on_after_snapshot(&mut self) {
        self.start_waiting();
        for request in std::mem::take(&mut self.saving.deferred) {
            self.serve_request(request);
        }
        self.shutdown_may_go_on();
        self.save_if_outdated();
        if !self.saving.jobs.iter().any(|active| !active.job.purpose.is_stream()) {
            for answer in std::mem::take(&mut self.saving.flushed) {
                self.send(answer.coordinator, ShardOrder::Flushed(Box::new(answer)).into());
            }
        }
        // One save after the other must not keep a rewrite that is scheduled waiting for ever.
        self.rewrite_if_due();
    }

    fn start_snapshot(&mut self, purpose: Purpose, method: Option<SnapshotMethod>, asker: Option<Asker>) {
        if purpose == Purpose::Background {
            self.saving.is_scheduled = false;
            self.saving.tried_at_ms = self.turn.now_ms();
            self.shared.status.figures().rdb.begin(clock::unix_us() / 1_000_000);
        }
        let cut = match self.saving.new_cut(&self.turn, purpose, method) {
            Ok(cut) => Arc::new(cut),
            Err(why) => {
                crate::log_text!(Level::Warning, why);
                self.turn.note_saved(purpose, false, 0);
                if let Some(asker) = asker {
                    self.answer_asker(asker, Err(CommandError::other("ERR")));
                }
                return;
            }
        };
        self.cut_now(cut, asker);
    }

    /// A job is under way; it begins as soon as the stores have room for it.
    fn cut_now(&mut self, cut: Arc<SnapshotCut>, asker: Option<Asker>) {
        self.start_job(cut, asker, None);
    }

    fn start_job(&mut self, cut: Arc<SnapshotCut>, asker: Option<Asker>, stream: Option<backup::Stream>) {
        let job = Job::new(cut.purpose, cut.parts.iter().map(Option::is_some));
        self.saving.jobs.push(Active { cut, job, asker, stream });
        self.start_waiting();
    }

    /// Starts the jobs that wait, in order. A store keeps what changes for one job at a time; a child needs nobody to do so when it is
    /// forked at the cut, so a job that forks does not wait.
    fn start_waiting(&mut self) {
        let waits = |active: &&Active| active.job.state() == State::Waiting;
        while let Some(active) = self.saving.jobs.iter().find(waits) {
            let id = active.cut.id;
            let is_free = !self.saving.jobs.iter().any(|active| active.job.holds_stores());
            if !is_free && !self.turn.may_fork_at_cut(&active.cut) {
                return;
            }
            active.cut.at_cut.store(!is_free, Ordering::Relaxed);
            self.job_event(id, Event::StoresFree);
        }
    }

    /// Something has happened to a job.
    fn job_event(&mut self, id: JobId, event: Event) {
        let Some(active) = self.saving.job(id) else { return };
        for action in active.job.on(event) {
            self.act(id, action);
        }
    }

    fn act(&mut self, id: JobId, action: Action) {
        let Some(active) = self.saving.job(id) else { return };
        match action {
            Action::Cut => {
                let cut = active.cut.clone();
                let bell = active.stream.as_ref().and_then(backup::Stream::bell);
                let first = bell.map_or_else(Vec::new, |bell| self.phases_of_sync(id, bell));
                self.cut(cut, first);
            }
            Action::Fork { shard, pause } => {
                let at_us = clock::unix_us() + if pause { FORK_PAUSE_US } else { 0 };
                self.send(shard, ShardOrder::MayFork { job: id, at_us }.into());
            }
            Action::Began => self.snapshot_began(id),
            Action::PartWhole { shard, len } => {
                if let Some(stream) = &active.stream {
                    stream.part_is_whole(shard, len);
                }
            }
            Action::Stop => {
                if let Some(stream) = &active.stream {
                    stream.give_up();
                }
                active.cut.is_stopped.store(true, Ordering::Relaxed);
                for shard in self.turn.slots.all() {
                    self.send(shard, ShardOrder::Stop { job: id }.into());
                }
            }
            Action::Finish(checksums) => self.finish_snapshot(id, checksums),
            Action::End { ok } => {
                let at = self.saving.jobs.iter().position(|active| active.cut.id == id);
                if let Some(active) = at.map(|at| self.saving.jobs.remove(at)) {
                    self.snapshot_ended(active, ok);
                }
            }
        }
    }

    /// The barrier, with what is `first` there.
    fn cut(&mut self, cut: Arc<SnapshotCut>, first: Vec<Phase>) {
        if !cut.purpose.is_stream() {
            self.tell_logs_of_snapshot(true);
        }
        // Those that fork at the cut do better one by one.
        let in_turn = !cut.forks_one_by_one();
        let work = BarrierWork::BeginPart(cut);
        let phase = if in_turn { Phase::InTurn(work) } else { Phase::Each(work) };
        self.at_barrier(KeyAccess::Read, first.into_iter().chain([phase]));
    }

    /// While a snapshot is being written the logs may do without syncs, and know what takes the space on the disk.
    fn tell_logs_of_snapshot(&mut self, begins: bool) {
        for shard in self.turn.slots.all() {
            self.send(shard, ShardOrder::SnapshotOnDisk(begins).into());
        }
    }

    /// Writes this shard's keys as the base of its log, and waits for the disk; returns the file's length. Before there are clients.
    pub(super) fn write_whole(&self, file: &File) -> std::io::Result<u64> {
        let format = self.turn.rdb_format();
        let persistence = &self.turn.config.persistence;
        let as_commands = !persistence.aof_use_rdb_preamble;
        let head =
            if as_commands { self.turn.head_of_commands(0) } else { self.turn.header(format, Some(0)) };
        let options = self.turn.options_of_part(format, persistence.rdbchecksum, &head, true);
        let options = PartOptions { as_commands, ..options };
        let checksummed = forked::write_part(&self.store, file, &options, &mut || {})?;
        Ok(checksummed.len)
    }

    /// A shard has begun with its part.
    fn part_begun(&mut self, id: JobId, shard: usize, begun: Begun) {
        if self.saving.job(id).is_none() {
            return;
        }
        if begun.fork_us.is_some() {
            self.shared.status.figures().forks += 1;
        }
        self.job_event(id, Event::Begun(shard, begun));
        let Some(active) = self.saving.job(id) else { return };
        let Totals { keys, fork_us, .. } = active.job.totals;
        if begun.fork_us.is_some() {
            self.shared.status.figures().last_fork_us = fork_us;
        }
        self.shared.status.snapshot_keys_total.store(keys, Ordering::Relaxed);
        // A child that has begun needs nothing of its shard's store any more.
        self.start_waiting();
    }

    /// All shards have begun.
    fn snapshot_began(&mut self, id: JobId) {
        let Some(active) = self.saving.job(id) else { return };
        let purpose = active.job.purpose;
        let answer = match purpose {
            Purpose::Foreground => return,
            Purpose::Rewrite => "Background append only file rewriting started",
            Purpose::Pipe => "Background pipesave started",
            Purpose::Background | Purpose::Dump | Purpose::FullSync => "Background saving started",
        };
        let what = purpose.name();
        match active.job.totals.pid {
            Some(pid) => crate::log!(Level::Notice, "{what} started by pid {pid}"),
            None if purpose == Purpose::FullSync => {
                let pid = std::process::id();
                crate::log!(Level::Notice, "Background RDB transfer started by pid {pid}, without fork");
            }
            None => crate::log!(Level::Notice, "{what} started without fork"),
        }
        // The dump is the answer.
        if purpose != Purpose::Dump {
            if let Some(asker) = active.asker.take() {
                self.answer_asker(asker, Ok(answer));
            }
        }
        if purpose == Purpose::Rewrite {
            self.rewrite_has_begun();
        }
    }

    /// All parts are whole.
    fn finish_snapshot(&mut self, id: JobId, checksums: Vec<FileChecksum>) {
        let Some(active) = self.saving.job(id) else { return };
        let cut = active.cut.clone();
        match active.job.purpose {
            Purpose::Pipe | Purpose::Dump | Purpose::FullSync => {
                if let Some(stream) = &active.stream {
                    stream.finish(&checksums, cut.checksum);
                }
            }
            Purpose::Rewrite => self.install_bases(id, &cut, checksums),
            Purpose::Background | Purpose::Foreground => {
                let shared = self.shared.clone();
                join::on_thread(cut, checksums, move |result| {
                    shared.thread_inbox.post(LEADER, ThreadReport::Joined { job: id, result }.into());
                });
            }
        }
    }

    /// A job is over.
    fn snapshot_ended(&mut self, active: Active, ok: bool) {
        if self.saving.jobs.is_empty() {
            self.shared.status.snapshot_keys_total.store(0, Ordering::Relaxed);
        }
        if active.job.purpose.is_stream() {
            self.stream_is_over(active, ok);
            return self.go_on_after_snapshot();
        }
        let Active { cut, job, asker, .. } = active;
        let purpose = job.purpose;
        if !ok {
            remove_files(&cut.parts);
        }
        self.tell_logs_of_snapshot(false);
        let copied = say_how_parts_ended(&job);
        if purpose == Purpose::Rewrite {
            if let Some(asker) = asker {
                self.answer_asker(asker, Err(CommandError::other("ERR")));
            }
            self.rewrite_step_ended(ok, job.is_given_up(), copied);
            join::close_files(cut);
            return self.go_on_after_snapshot();
        }
        if ok {
            crate::log!(Level::Notice, "DB saved on disk");
            if purpose == Purpose::Background {
                crate::log!(Level::Notice, "Background saving terminated with success");
            }
            self.shared.status.saved_changes.store(job.totals.changes, Ordering::Relaxed);
        }
        if job.is_given_up() {
            self.shared.status.figures().rdb.began_s = None;
        } else {
            self.turn.note_saved(purpose, ok, copied);
        }
        if let Some(asker) = asker {
            let answer = match purpose {
                Purpose::Foreground if ok => Ok("OK"),
                _ => Err(CommandError::other("ERR")),
            };
            self.answer_asker(asker, answer);
        }
        join::close_files(cut);
        self.go_on_after_snapshot();
    }

    /// Ends what is under way, of which nothing is to be left. False: there is nothing.
    pub(in crate::shard) fn give_up_snapshots(&mut self) -> bool {
        self.saving.forget_rewrites();
        let ids: Vec<JobId> = self.saving.jobs.iter().map(|active| active.cut.id).collect();
        for id in &ids {
            self.job_event(*id, Event::GiveUp);
        }
        !ids.is_empty()
    }

    /// The disk has no room for what clients write: what only needs room to be faster or safer later gives way. Monitoring
    /// is to see that, and the next try to come after a pause: it has failed.
    fn give_way(&mut self) {
        let takes_space = self.saving.jobs.iter().find(|active| active.job.may_give_way());
        let Some(id) = takes_space.map(|active| active.cut.id) else { return };
        crate::log!(
            Level::Warning,
            "The AOF can't be written: the snapshot in progress is given up, to leave it the space on the disk"
        );
        self.saving.rewrites.give_way();
        self.job_event(id, Event::GiveWay);
    }
}

/// For the log: how the parts of a file have ended. Returns the bytes that were copied for them.
fn say_how_parts_ended(job: &Job) -> u64 {
    let purpose = job.purpose;
    let what = match purpose {
        Purpose::Rewrite => "Background AOF rewrite",
        _ => "Background saving",
    };
    if job.is_given_up() && purpose == Purpose::Background {
        crate::log!(Level::Warning, "{what} terminated by signal {}", libc::SIGUSR1);
    }
    let mut copied = 0;
    for written in job.ended() {
        match written {
            Ok(whole) => copied += whole.copied_bytes,
            Err(_) if job.is_given_up() => {}
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
    copied
}

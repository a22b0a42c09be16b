//! What comes over the link: answers, a snapshot, the stream; and what becomes of it.

use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;

use super::active::Incoming;
use super::connection::{Connection, LinkEvent};
use super::payload::PayloadFile;
use super::{Follower, Master};
use crate::base::log::{self, Level};
use crate::config::Config;
use crate::repl::backlog::Backlog;
use crate::repl::replica::link::{Action, Cause, Resume};
use crate::repl::replica::stream::{Target, WorkId};
use crate::repl::sequencer::StreamWriter;
use crate::replication::core::{new_id, Core, LEADER};
use crate::replication::follow::{AsideReport, FollowMessage};
use crate::replication::message::ReplMessage;

/// Pieces of input that are looked at in one round.
const PIECES_MAX: usize = 32;

impl Follower {
    /// The connection, and what comes over it.
    pub(super) fn follow(&mut self, core: &mut Core) {
        self.reconnect(core);
        let mut pieces = 0;
        while pieces < PIECES_MAX {
            pieces += 1;
            let Some(active) = &mut self.active else { return };
            if !active.may_take() {
                break;
            }
            if !active.held.is_empty() {
                let input = std::mem::take(&mut active.held);
                self.input(core, input);
                continue;
            }
            let Some(event) = active.connection.as_mut().and_then(Connection::next) else { break };
            let (now_ms, mut actions) = (core.now_ms(), Vec::new());
            match event {
                LinkEvent::Connected => active.link.connected(now_ms, &mut actions),
                LinkEvent::Lost(error) => active.link.lost(&error, now_ms, &mut actions),
                LinkEvent::Input(bytes) => {
                    core.status.counts.bytes_in.fetch_add(bytes.len() as u64, Ordering::Relaxed);
                    self.input(core, bytes);
                    continue;
                }
            }
            self.act(core, &Bytes::new(), actions);
        }
        self.file_may_be_whole(core);
        self.acknowledge(core);
        if pieces == PIECES_MAX {
            // There may be more, in the next round.
            core.woken.notify_one();
        }
    }

    fn reconnect(&mut self, core: &mut Core) {
        let Some(active) = &mut self.active else { return };
        let now_ms = core.now_ms();
        let is_due = active.retry_at_ms.is_some_and(|at| at <= now_ms);
        // The next attempt goes on behind what is applied: all that was given out.
        if active.link.is_active() || !is_due || !active.schedule.is_idle() {
            return;
        }
        active.retry_at_ms = None;
        active.link.connecting(now_ms);
        crate::log!(Level::Notice, "MASTER <-> REPLICA sync started");
        let patience = Duration::from_secs(u64::from(core.config.replication.repl_timeout));
        let Master { host, port } = active.master.clone();
        active.connection = Some(Connection::begin(host, port, patience, core.woken.clone()));
    }

    fn input(&mut self, core: &mut Core, input: Bytes) {
        let Some(active) = &mut self.active else { return };
        let mut actions = Vec::new();
        let taken = active.link.input(&input, core.now_ms(), &mut actions);
        active.held = input.slice(taken..);
        self.act(core, &input, actions);
    }

    pub(super) fn act(&mut self, core: &mut Core, input: &Bytes, actions: Vec<Action>) {
        for action in actions {
            let Some(active) = &mut self.active else { return };
            match action {
                Action::Send(bytes) => {
                    core.status.counts.bytes_out.fetch_add(bytes.len() as u64, Ordering::Relaxed);
                    if let Some(connection) = &active.connection {
                        connection.send(bytes);
                    }
                }
                Action::Log(level, text) => {
                    if log::enabled(level) {
                        log::write(level, format_args!("{text}"));
                    }
                }
                Action::Continue { id } => {
                    core.handover.answer = Some(true);
                    active.restart_stream(core);
                    if core.backlog.is_none() {
                        let size = core.config.replication.repl_backlog_size;
                        core.backlog = Some(Backlog::new(size, core.writer.offset()));
                    }
                    if id.is_some_and(|id| core.history.continue_as(id, core.writer.offset())) {
                        let now_ms = core.now_ms();
                        core.replicas.disconnect_all(now_ms);
                    }
                }
                Action::BeginLoad { start, .. } => {
                    core.handover.answer = Some(true);
                    match PayloadFile::create(core.woken.clone()) {
                        Ok(file) => active.incoming = Some(Incoming::File { file, start, has_all: false }),
                        Err(error) => {
                            let text = format!("Opening the temp file needed for MASTER <-> REPLICA synchronization: {error}");
                            return self.lose(core, &text);
                        }
                    }
                }
                Action::PayloadBytes(range) => active.push_payload(input.slice(range)),
                Action::PayloadHeld(bytes) => active.push_payload(bytes.into()),
                Action::EndLoad => {
                    if let Some(Incoming::File { has_all, .. }) = &mut active.incoming {
                        *has_all = true;
                    }
                }
                Action::Stream(range) => {
                    if let Err(error) = active.stream(&input[range]) {
                        crate::log!(Level::Warning, "{error}");
                        return self.lose(core, &error);
                    }
                }
                Action::Close(cause) => {
                    if cause == Cause::FailoverRejected {
                        core.handover.answer = Some(false);
                    }
                    self.hang_up(core);
                }
                Action::RetryAfter(after_ms) => active.retry_at_ms = Some(core.now_ms() + after_ms),
            }
        }
    }

    /// The link is closed for a reason of this server's.
    fn lose(&mut self, core: &mut Core, why: &str) {
        let Some(active) = &mut self.active else { return };
        let mut actions = Vec::new();
        active.link.lost(why, core.now_ms(), &mut actions);
        self.act(core, &Bytes::new(), actions);
    }

    fn file_may_be_whole(&mut self, core: &mut Core) {
        let Some(active) = &mut self.active else { return };
        let Some(Incoming::File { file, has_all: true, .. }) = &mut active.incoming else { return };
        let Some(written) = file.end() else { return };
        let Some(Incoming::File { file, start, .. }) = active.incoming.take() else { return };
        if let Err(error) = written {
            crate::log!(
                Level::Warning,
                "Write error or short write writing to the DB dump file needed for MASTER <-> REPLICA synchronization: {error}"
            );
            return self.loaded(core, false);
        }
        crate::log!(Level::Notice, "MASTER <-> REPLICA sync: Loading DB in memory");
        let path: PathBuf = file.path().to_owned();
        active.incoming =
            Some(Incoming::Loading { file, start, missing: core.shards, report: Ok(AsideReport::default()) });
        self.loads += 1;
        let told = self.told(core);
        core.tell_all(|| {
            ReplMessage::Follow(FollowMessage::LoadAside { path: path.clone(), told: told.clone() })
        });
    }

    /// A shard has read the file.
    pub(super) fn loaded_aside(&mut self, core: &mut Core, result: Result<AsideReport, String>) {
        let Some(active) = &mut self.active else { return };
        let Some(Incoming::Loading { missing, report, .. }) = &mut active.incoming else { return };
        *missing = missing.saturating_sub(1);
        match (&mut *report, result) {
            (Ok(sum), Ok(one)) => {
                sum.counts.add(one.counts);
                sum.stream_db = sum.stream_db.or(one.stream_db);
            }
            (Ok(_), Err(why)) => *report = Err(why),
            (Err(_), _) => {}
        }
        if *missing > 0 {
            return;
        }
        let Some(Incoming::Loading { file, start, report, .. }) = active.incoming.take() else { return };
        match report {
            Err(why) => {
                crate::log!(
                    Level::Warning,
                    "What the master has sent is no good, and what was here stays: {why}"
                );
                core.tell_all(|| ReplMessage::Follow(FollowMessage::DropAside));
                self.loaded(core, false);
            }
            Ok(report) => {
                active.incoming = Some(Incoming::TakingOver { file, start, report });
                let told = self.told(core);
                core.tell(LEADER, ReplMessage::Follow(FollowMessage::TakeOver { told }));
            }
        }
    }

    pub(super) fn took_over(&mut self, core: &mut Core) {
        let Some(active) = &mut self.active else { return };
        let Some(Incoming::TakingOver { file, start, report }) = active.incoming.take() else { return };
        crate::log!(Level::Notice, "{}", report.counts.log_line());
        keep_file(file, &core.config);
        // A master that is too old to have ids counts from nothing.
        let start = start.unwrap_or_else(|| Resume { id: new_id(), offset: 0 });
        core.history.adopt(start.id);
        core.writer = StreamWriter::new(start.offset, None);
        core.drop_stream();
        core.backlog = Some(Backlog::new(core.config.replication.repl_backlog_size, start.offset));
        let now_ms = core.now_ms();
        core.replicas.disconnect_all(now_ms);
        active.begin_stream(core, start.offset, report.stream_db.unwrap_or(0));
        self.loaded(core, true);
    }

    fn loaded(&mut self, core: &mut Core, is_good: bool) {
        let Some(active) = &mut self.active else { return };
        let mut actions = Vec::new();
        active.link.loaded(is_good, core.now_ms(), &mut actions);
        self.act(core, &Bytes::new(), actions);
    }

    /// Gives shards what they may run now.
    pub(super) fn give_out(&mut self, core: &mut Core) {
        let told = self.told(core);
        let Some(active) = &mut self.active else { return };
        while let Some(work) = active.schedule.next_work() {
            let shard = match &work.target {
                Target::One(shard) => *shard,
                Target::Several(shards) => shards.first().copied().unwrap_or(LEADER),
            };
            let apply = FollowMessage::Apply { work: work.id, items: work.items, told: told.clone() };
            core.tell(shard, ReplMessage::Follow(apply));
        }
        active.advance(core);
    }

    pub(super) fn applied(&mut self, core: &mut Core, work: WorkId, is_good: bool) {
        let Some(active) = &mut self.active else { return };
        active.schedule.done(work);
        active.advance(core);
        if !is_good {
            crate::log!(
                Level::Warning,
                "A shard could not apply what the master has sent: a full synchronization is needed"
            );
            active.link.forget();
            self.lose(core, "the stream could not be applied");
        }
    }

    fn acknowledge(&mut self, core: &mut Core) {
        let Some(active) = &mut self.active else { return };
        if active.schedule.take_ack_due() {
            let mut actions = Vec::new();
            active.link.acknowledge(core.now_ms(), &mut actions);
            self.act(core, &Bytes::new(), actions);
        }
    }
}

/// As Redis's, the file of the snapshot becomes the server's own.
fn keep_file(file: PayloadFile, config: &Config) {
    let to = PathBuf::from(&config.persistence.dbfilename);
    tokio::task::spawn_blocking(move || {
        if let Err(error) = std::fs::rename(file.path(), &to) {
            crate::log!(
                Level::Warning,
                "Failed trying to rename the temp DB into {} in MASTER <-> REPLICA synchronization: {error}",
                to.display()
            );
        }
        drop(file);
    });
}

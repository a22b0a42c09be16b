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
use crate::replication::core::{backlog_size, new_id, Core, LEADER};
use crate::replication::follow::FollowMessage;
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
                        let size = backlog_size(&core.config);
                        core.backlog = Some(Backlog::new(size, core.writer.offset()));
                    }
                    if id.is_some_and(|id| core.history.continue_as(id, core.writer.offset())) {
                        let now_ms = core.now_ms();
                        core.replicas.disconnect_all(now_ms);
                    }
                }
                Action::BeginLoad { start, total } => {
                    core.handover.answer = Some(true);
                    if let Err(text) = self.begin_load(core, start, total) {
                        return self.lose(core, &text);
                    }
                }
                Action::PayloadBytes(range) => self.payload(core, input.slice(range)),
                Action::PayloadHeld(bytes) => self.payload(core, bytes.into()),
                Action::EndLoad => {
                    active.end_payload();
                    if let Some(Incoming::Link { .. }) = &active.incoming {
                        core.tell_all(|| ReplMessage::Follow(FollowMessage::GoOnLoading));
                        self.may_take_over(core);
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
    pub(super) fn lose(&mut self, core: &mut Core, why: &str) {
        let Some(active) = &mut self.active else { return };
        let mut actions = Vec::new();
        active.link.lost(why, core.now_ms(), &mut actions);
        self.act(core, &Bytes::new(), actions);
    }

    pub(super) fn took_over(&mut self, core: &mut Core) {
        let Some(active) = &mut self.active else { return };
        let Some(Incoming::TakingOver { file, start, report }) = active.incoming.take() else { return };
        core.status.loading.in_progress.store(false, Ordering::Relaxed);
        crate::log!(Level::Notice, "{}", report.counts.log_line());
        if let Some(file) = file {
            keep_file(file, &core.config);
        }
        // A master that is too old to have ids counts from nothing.
        let start = start.unwrap_or_else(|| Resume { id: new_id(), offset: 0 });
        core.forget_durable();
        core.history.adopt(start.id);
        core.writer = StreamWriter::new(start.offset, None);
        core.drop_stream();
        core.backlog = Some(Backlog::new(backlog_size(&core.config), start.offset));
        let now_ms = core.now_ms();
        core.replicas.disconnect_all(now_ms);
        active.begin_stream(core, start.offset, report.stream_db.unwrap_or(0));
        self.loaded(core, true);
    }

    pub(super) fn loaded(&mut self, core: &mut Core, is_good: bool) {
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
            core.ask_own_disk();
            let mut actions = Vec::new();
            active.link.acknowledge(core.now_ms(), &mut actions);
            self.act(core, &Bytes::new(), actions);
        }
    }
}

impl Follower {
    /// A round about this server's own disk may have ended: what it has shown is the master's to know at once.
    pub fn log_is_synced(&mut self, core: &mut Core) {
        let Some(active) = self.active.as_mut().filter(|active| active.link.is_up()) else { return };
        if active.link.durable() == core.durable() {
            return;
        }
        active.advance(core);
        let mut actions = Vec::new();
        active.link.acknowledge(core.now_ms(), &mut actions);
        self.act(core, &Bytes::new(), actions);
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

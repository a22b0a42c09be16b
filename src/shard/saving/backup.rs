//! PIPESAVE and DUMPSAVE: snapshots that become streams. `persist/backup.rs` has how a stream is made of the parts.
//!
//! A dump takes its client's connection: the home shard waits until the client has got all earlier replies, and gives the
//! shard that leads a second descriptor of the socket. From then on the shard neither reads nor writes there; it closes the
//! connection when the dump has ended. As long as nothing of the dump was sent, an error can still be answered.

use crate::shard::saving::Saving;
use crate::shard::turn::TurnState;
use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::time::Duration;

use super::message::{JobId, LeaderRequest, ShardOrder, ThreadReport};
use super::sync::{SyncEvent, Told};
use super::{Active, PartFile, SnapshotCut};
use crate::base::error_text;
use crate::base::log::Level;
use crate::base::Token;
use crate::client::Flag;
use crate::command::CommandError;
use crate::journal::feed::Bell;
use crate::persist::backup::{Before, Failure, Order, Outcome, Relay, Target};
use crate::rdb::file::{trailer, FileChecksum};
use crate::runtime::{clock, pipes, socket};
use crate::shard::blocking::Asker;
use crate::shard::transactions::Later;
use crate::shard::{Shard, LEADER};
use crate::snapshot::{admit, Event, Failed, Purpose};

/// What is in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Content {
    pub keys: bool,
    pub functions: bool,
}

impl Content {
    pub const ALL: Content = Content { keys: true, functions: true };
}

/// A client that is to get a dump.
#[derive(Debug)]
pub(in crate::shard) struct Handover {
    pub client: Token,
    pub asker: Asker,
}

/// The leader's record of a stream, beside its job.
pub(super) struct Stream {
    relay: Relay,
    outcome: Option<Outcome>,
    /// Of a full synchronisation.
    sync: Option<(Told, Bell)>,
}

impl Stream {
    pub fn for_sync(relay: Relay, told: Told, bell: Bell) -> Stream {
        Stream { relay, outcome: None, sync: Some((told, bell)) }
    }

    pub fn bell(&self) -> Option<Bell> {
        self.sync.as_ref().map(|(_, bell)| bell.clone())
    }

    pub fn tell(&self, event: SyncEvent) {
        if let Some((told, _)) = &self.sync {
            told(event);
        }
    }

    pub fn send(&self, before: Vec<u8>) {
        self.relay.send(before);
    }

    pub fn give_up(&self) {
        self.relay.give_up();
    }

    pub fn part_is_whole(&self, shard: usize, len: u64) {
        self.relay.part_is_whole(shard, len);
    }

    /// All parts are whole.
    pub fn finish(&self, checksums: &[FileChecksum], checksum: bool) {
        let whole = checksums.iter().copied().reduce(FileChecksum::then).unwrap_or_default();
        self.relay.finish(trailer(whole, checksum));
    }
}

// Every shard.
impl TurnState {
    /// A pipe for each shard's part: the ends to read from, and what the shards write.
    pub(super) fn pipes_of_parts(&self) -> std::io::Result<(Vec<File>, Vec<Option<PartFile>>)> {
        let pipes = self.slots.all().map(|_| {
            let (from, file) = pipes::pipe()?;
            Ok((from, Some(PartFile::new(PathBuf::new(), file, false))))
        });
        pipes.collect()
    }

    /// Pipes for the parts, and who reads them.
    fn prepare_backup(
        &self,
        id: JobId,
        purpose: Purpose,
        target: Target,
        content: Content,
        [before, after]: [Vec<u8>; 2],
    ) -> std::io::Result<(SnapshotCut, Relay)> {
        let format = self.rdb_format();
        let (sources, parts) = self.pipes_of_parts()?;
        let patience = Duration::from_secs(u64::from(self.config.replication.repl_timeout));
        let before = Before::Now(before);
        let order = Order { target, before, after, parts: sources, patience };
        let shared = self.shared.clone();
        let relay = Relay::start(order, move |outcome| {
            shared.thread_inbox.post(LEADER, ThreadReport::StreamEnded { job: id, outcome }.into());
        })?;
        let cut = SnapshotCut::new(id, purpose, format, self.config.persistence.rdbchecksum, parts);
        Ok((SnapshotCut { has_keys: content.keys, has_functions: content.functions, ..cut }, relay))
    }
}

impl Saving {
    /// The client is to get a dump as soon as it has got its earlier replies.
    pub(in crate::shard) fn hand_over_later(&mut self, handover: Handover) {
        self.handovers.push(handover);
    }

    /// Why no stream of this kind can begin now.
    fn stream_refusal(&self, purpose: Purpose) -> Option<CommandError> {
        admit(purpose, self.purposes()).err()?;
        Some(CommandError::other(format!("ERR {} already in progress", purpose.name())))
    }
}

impl Shard {
    /// In each turn: gives connections away that have nothing more to send.
    pub(in crate::shard) fn hand_over_connections(&mut self) {
        if self.saving.handovers.is_empty() {
            return;
        }
        for handover in std::mem::take(&mut self.saving.handovers) {
            // A client that has gone needs no answer.
            let Some(c) = self.connections.table.get(handover.client) else { continue };
            if c.flags.has(Flag::Closing) {
                continue;
            }
            if !c.output.is_drained() {
                self.saving.handovers.push(handover);
                continue;
            }
            let Handover { asker, .. } = handover;
            let Some(socket) = &c.socket else { continue };
            match socket::duplicate(socket.as_fd()) {
                Ok(socket) => self.tell_leader(LeaderRequest::Dumpsave { socket, asker }),
                Err(error) => {
                    let error = CommandError::other(format!("ERR {}", error_text(&error)));
                    self.answer_asker(asker, Err(error));
                }
            }
        }
    }

    /// The dump has ended, and the connection with it.
    pub(super) fn end_dumped(&mut self, later: Later) {
        let Later::InPipeline(origin) = later else { return };
        self.settle_call(origin.client);
        if let Some(mut connection) = self.connections.table.take(origin.client) {
            self.close(&mut connection);
            self.finish(connection);
        }
    }
}

// The leader.
impl Shard {
    /// PIPESAVE.
    pub(super) fn pipesave(&mut self, asker: Asker) {
        let command = self.turn.config.engine.pipesavecommand.clone();
        let error = if command.is_empty() {
            Some(CommandError::other(
                "ERR PIPESAVE needs a command: set 'pipesavecommand' in the configuration file and restart the server",
            ))
        } else {
            self.saving.stream_refusal(Purpose::Pipe)
        };
        match error {
            Some(error) => self.answer_asker(asker, Err(error)),
            None => {
                let target = Target::Command(command);
                self.start_backup(Purpose::Pipe, target, Content::ALL, [Vec::new(), Vec::new()], asker)
            }
        }
    }

    /// DUMPSAVE; `socket` is the client's.
    pub(super) fn dumpsave(&mut self, socket: OwnedFd, asker: Asker) {
        if let Some(error) = self.saving.stream_refusal(Purpose::Dump) {
            return self.answer_asker(asker, Err(error));
        }
        self.start_backup(
            Purpose::Dump,
            Target::Client(socket),
            Content::ALL,
            [Vec::new(), Vec::new()],
            asker,
        );
    }

    fn start_backup(
        &mut self,
        purpose: Purpose,
        target: Target,
        content: Content,
        frame: [Vec<u8>; 2],
        asker: Asker,
    ) {
        let id = self.saving.last_id + 1;
        match self.turn.prepare_backup(id, purpose, target, content, frame) {
            Ok((cut, relay)) => {
                self.saving.last_id = id;
                {
                    let mut figures = self.shared.status.figures();
                    let now_s = clock::unix_us() / 1_000_000;
                    match purpose {
                        Purpose::Pipe => figures.pipesave.begin(now_s),
                        _ => figures.dumpsave.begin(now_s),
                    }
                }
                self.start_job(cut.into(), Some(asker), Some(Stream { relay, outcome: None, sync: None }));
            }
            Err(error) => {
                let why = error_text(&error);
                crate::log!(Level::Warning, "{} can't begin: {why}", purpose.name());
                let error = CommandError::other(format!("ERR {} can't begin: {why}", purpose.name()));
                self.answer_asker(asker, Err(error));
            }
        }
    }

    /// The relay has ended.
    pub(super) fn stream_ended(&mut self, id: JobId, outcome: Outcome) {
        let ok = outcome.result.is_ok();
        if let Some(stream) = self.saving.job(id).and_then(|active| active.stream.as_mut()) {
            stream.outcome = Some(outcome);
            self.job_event(id, Event::Finished(ok));
        }
    }

    /// The relay, and all parts, have ended.
    pub(super) fn stream_is_over(&mut self, active: Active, ok: bool) {
        let Active { job, asker, stream, .. } = active;
        // One that was given up while it waited has nothing to tell.
        let (outcome, sync) = stream.map_or((None, None), |stream| (stream.outcome, stream.sync));
        let outcome = outcome.unwrap_or(Outcome { result: Err(Failure::GivenUp), bytes: 0, exit: None });
        let (purpose, what) = (job.purpose, job.purpose.name());
        let mut copied = 0;
        let mut why = match &outcome.result {
            Err(Failure::Target(why)) => Some(why.clone()),
            Ok(()) | Err(Failure::GivenUp) => None,
        };
        for written in job.ended() {
            match written {
                Ok(whole) => copied += whole.copied_bytes,
                // The other parts are stopped when one has failed, and all when the stream has.
                Err(Failed::Killed(libc::SIGUSR1)) => {}
                Err(Failed::Fork(error)) => why = Some(format!("fork: {error}")),
                Err(Failed::Killed(signal)) => why = Some(format!("terminated by signal {signal}")),
                // When the target has failed first, this only follows from it.
                Err(Failed::Write(error)) => why = why.or_else(|| Some(error.clone())),
            }
        }
        let why = why.unwrap_or_else(|| "it was given up".to_owned());
        if let Some((told, _)) = sync {
            let result = if ok { Ok(()) } else { Err(why.clone()) };
            told(SyncEvent::Ended { result, bytes: outcome.bytes });
        }
        match ok {
            true => crate::log!(Level::Notice, "{what} terminated with success: {} bytes", outcome.bytes),
            false if job.is_given_up() => crate::log!(Level::Warning, "{what} was given up"),
            false => crate::log!(Level::Warning, "{what} failed: {why}"),
        }
        if purpose != Purpose::FullSync {
            let mut figures = self.shared.status.figures();
            let task_status = match purpose {
                Purpose::Pipe => {
                    figures.pipesave_bytes = outcome.bytes;
                    figures.pipesave_exit = outcome.exit;
                    &mut figures.pipesave
                }
                _ => {
                    figures.dumpsave_bytes = outcome.bytes;
                    &mut figures.dumpsave
                }
            };
            task_status.copied_bytes = copied;
            task_status.end(ok, clock::unix_us() / 1_000_000);
        }
        match asker {
            Some(Asker { home, later }) if purpose == Purpose::Dump && outcome.bytes > 0 => {
                self.send(home, ShardOrder::DumpEnded(later).into());
            }
            Some(asker) => {
                self.answer_asker(asker, Err(CommandError::other(format!("ERR {what} failed: {why}"))));
            }
            None => {}
        }
    }
}
